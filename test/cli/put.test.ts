import { createHash, randomBytes } from 'node:crypto';
import { appendFile, mkdir, open, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openBucket } from '../../src/buckets/open.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { openSession } from '../../src/vault/open.ts';
import { Vault } from '../../src/vault/vault.ts';
import { ContentCutter } from '../../src/vault/write/content-cutter.ts';
import { parts } from '../vault/harness.ts';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

const HASH = /^[0-9a-f]{64}$/;
const MIB = 1024 * 1024;

let box: Sandbox;
beforeEach(async () => {
  box = await sandbox();
  await box.makeVault();
});
afterEach(async () => {
  await box[Symbol.asyncDispose]();
});

test('prints one hash a file, in order, and nothing else', async () => {
  const names = ['b', 'a', 'c d', 'empty'];
  for (const name of names) await writeFile(box.at(name), name === 'empty' ? '' : `content of ${name}`);
  const { exit, stdout, stderr } = await box.run(['put', ...names.map((name) => `./${name}`)]);
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' });
  const hashes = stdout.trimEnd().split('\n');
  expect(hashes).toHaveLength(4);
  for (const [index, hash] of hashes.entries()) {
    expect(hash).toMatch(HASH);
    const info = await box.run(['info', hash, '--json']);
    expect(JSON.parse(info.stdout)).toMatchObject({ hash, name: names[index] });
  }
});

test('of unchanged content under the same name prints the same hash and stores nothing', async () => {
  await writeFile(box.at('a'), randomBytes(100_000));
  const first = await box.run(['put', 'a', '--json']);
  const second = await box.run(['put', 'a', '--json']);
  expect(JSON.parse(first.stdout)).toMatchObject({ unchanged: false, chunks: 1, chunksStored: 1 });
  expect(JSON.parse(second.stdout)).toMatchObject({ unchanged: true, chunksStored: 0, bytesStored: 0 });
  expect(JSON.parse(second.stdout).hash).toBe(JSON.parse(first.stdout).hash);
});

test('takes standard input', async () => {
  const bytes = randomBytes(3 * MIB + 17);
  const put = await box.run(['put', '-', '--name', 'from stdin', '--chunk-size', '64K'], { stdin: bytes });
  expect(put).toMatchObject({ exit: 0, stderr: '' });
  const got = await box.run(['get', 'from stdin', '-o', '-']);
  expect(got.exit).toBe(0);
  expect(sha256(got.stdoutBytes)).toBe(sha256(bytes));
});

test('goes on after a file that is missing, and ends with the worst code', async () => {
  await writeFile(box.at('a'), 'a');
  await writeFile(box.at('z'), 'z');
  const missing = await box.run(['put', 'a', 'missing', 'z']);
  expect(missing.exit).toBe(4);
  expect(missing.stdout.trimEnd().split('\n')).toHaveLength(2);
  expect(missing.stderr).toBe('vault: There is no file "missing".\n');
});

test('refuses a file that changes while it is read', async () => {
  await writeFile(box.at('log'), randomBytes(8 * MIB));
  const put = box.start(['put', 'log', '--limit-upload', '4M']);
  const ended = new AbortController();
  const writing = (async () => {
    while (!ended.signal.aborted) {
      await appendFile(box.at('log'), 'more\n');
      await delay(5);
    }
  })();
  const { exit, stdout, stderr } = await put.ended;
  ended.abort();
  await writing;
  expect({ exit, stdout }).toEqual({ exit: 5, stdout: '' });
  expect(stderr).toMatch(/^vault: log changed while it was read/);
  expect((await box.run(['ls'])).stdout).toBe('');
});

test('refuses standard input that is a folder or closed, or empty unless that is asked for', async () => {
  await mkdir(box.at('folder'));
  const put = 'vault put - --name n --json';
  for (const [line, says] of [
    [`${put} < folder`, 'Standard input is a folder'],
    [`${put} <&-`, 'Standard input is closed'],
    ['vault put /dev/stdin --name n <&-', 'Standard input is closed'],
  ]) {
    const { stdout, stderr } = await box.shell(`${line}; echo $?`);
    expect({ line, stdout }).toEqual({ line, stdout: '2\n' });
    expect(stderr).toContain(says);
  }
  await writeFile(box.at('empty'), '');
  for (const from of ['< /dev/null', '< empty', '< <(true)']) {
    const { stdout, stderr } = await box.shell(`${put} ${from}; echo $?`);
    expect({ from, stdout }).toEqual({ from, stdout: '2\n' });
    expect(stderr).toContain('Nothing came from standard input, so nothing was stored. --allow-empty stores');
  }
  expect((await box.run(['ls'])).stdout).toBe('');
  for (const from of ['< /dev/null', '< empty']) {
    const { stdout } = await box.shell(`${put} --allow-empty ${from}`);
    expect(JSON.parse(stdout)).toMatchObject({ name: 'n', size: 0 });
  }
});

test('reads no list of standard input that is a folder or closed', async () => {
  await box.shell('mkdir docs folder; echo s > docs/secret.tmp; vault put docs');
  const versions = (await box.run(['ls', '--all', '--json'])).stdout;
  for (const line of [
    'put docs --exclude-from -',
    'put --files-from - --allow-empty',
    'put docs --files-from - --allow-empty',
    'diff docs --exclude-from -',
    'put docs --exclude-from /dev/stdin',
  ]) {
    for (const [from, says] of [
      ['< folder', /" cannot be read: .*(is a folder|illegal operation on a directory)/],
      ['<&-', '" cannot be read: standard input is closed'],
    ]) {
      const { exit, stdout, stderr } = await box.shell(`vault ${line} ${from}`);
      expect({ line, from, exit, stdout }).toEqual({ line, from, exit: 2, stdout: '' });
      expect(stderr).toMatch(says ?? '');
    }
  }
  expect((await box.run(['ls', '--all', '--json'])).stdout).toBe(versions);
});

test.each(['put', 'diff'])('reads standard input once: %s', async (verb) => {
  await box.shell('mkdir docs; echo s > docs/secret.tmp; vault put docs');
  const { exit, stdout, stderr } = await box.run([
    verb,
    'docs',
    '--exclude-from',
    '-',
    '--exclude-from',
    '-',
  ]);
  expect({ exit, stdout }).toEqual({ exit: 2, stdout: '' });
  expect(stderr).toContain('Standard input ("-") can be read only once.');
});

test.each([
  ['find w -type f -print0 | vault put --files-from - -0', ['w/b', 'w/\uFFFD']],
  ['find w -type f | vault put --files-from - --json', ['w/b', 'w/\uFFFD']],
  ["printf 'w/a\\xff' | vault put --files-from - -n", []],
])('of a path in a list that is no UTF-8 stores no other file, and goes on: %s', async (line, names) => {
  await box.shell(String.raw`mkdir w; echo mine > $'w/\xff'; echo other > $'w/\xef\xbf\xbd'; echo b > w/b`);
  const { exit, stderr } = await box.shell(line);
  expect(exit).toBe(2);
  expect(stderr).toMatch(/\$'w\/a?(\\\\xff|\\xff)' in the list of --files-from is not UTF-8 text/);
  expect((await box.run(['ls', '-0'])).stdout.split('\0').filter(Boolean).toSorted()).toEqual(names);
  expect((await box.run(['cat', 'w/\uFFFD'])).stdout).toBe(names.length > 0 ? 'other\n' : '');
});

test('refuses an empty list of paths unless that is asked for, and what is no list', async () => {
  const empty = await box.run(['put', '--files-from', '-']);
  expect(empty).toMatchObject({
    exit: 2,
    stderr: expect.stringMatching(/^vault: The list of --files-from "-" is empty.*--allow-empty/),
  });
  expect(await box.run(['put', '--files-from', '-', '--allow-empty', '-q'])).toMatchObject({
    exit: 0,
    stderr: '',
  });
  await writeFile(box.at('a'), 'a');
  const marked = await box.run(['put', '--files-from', '-'], { stdin: '\uFEFFa\r\n' });
  expect(marked).toMatchObject({ exit: 0, stderr: '' });
  // What a file is called counts, and not another one.
  for (const name of ['a\r', '\uFEFFa']) {
    await writeFile(box.at(name), name);
    await box.run(['put', '--files-from', '-'], { stdin: `${name}\n` });
    expect((await box.run(['cat', name])).stdout).toBe(name);
  }
  for (const option of ['--files-from', '--exclude-from']) {
    const wide = await box.run(['put', 'a', option, '-'], { stdin: Buffer.from('\uFEFF*.tmp\n', 'utf16le') });
    expect(wide).toMatchObject({
      exit: 2,
      stderr: expect.stringMatching(/has NUL bytes\. Write it in UTF-8/),
    });
  }
  const endless = await box.run(['put', 'a', '--exclude-from', '/dev/zero']);
  expect(endless).toMatchObject({ exit: 2, stderr: expect.stringMatching(/it is longer than 16(\.0)? MiB/) });
});

test('stores what a process substitution gives, and ends at once when a pipe stalls', async () => {
  const { stdout } = await box.shell('vault put <(printf given) --name given --json');
  expect(JSON.parse(stdout)).toMatchObject({ size: 5 });
  await box.shell('mkfifo pipe');
  const put = box.start(['put', 'pipe']);
  // Opens when the command has opened it.
  await using writer = await open(box.at('pipe'), 'w');
  await writer.write('begun');
  put.process.kill('SIGTERM');
  const { exit, stderr } = await put.ended;
  expect({ exit, stderr }).toEqual({ exit: 130, stderr: 'vault: Interrupted.\n' });
});

test('with a bucket gone stores what it can, ends with 3, and says what completes it', async () => {
  await rename(box.bucket(2), `${box.bucket(2)}-away`);
  await writeFile(box.at('a'), randomBytes(20_000));
  const { exit, stdout, stderr } = await box.run(['put', 'a']);
  expect(exit).toBe(3);
  expect(stdout.trim()).toMatch(HASH);
  expect(stderr).toMatch(/^vault: warning: .*bucket-2/m);
  expect(stderr).toMatch(/^vault: warning: 1 file is stored with less redundancy .*"vault repair"/m);
  expect((await box.run(['get', 'a', '-o', '-'])).stdoutBytes).toEqual(await readFile(box.at('a')));
});

test('of small files with a bucket gone ends with 3 as well, until the bucket is back', async () => {
  await writeFile(box.at('a'), 'small enough for its manifest');
  await rename(box.bucket(2), `${box.bucket(2)}-away`);
  const { exit, stdout, stderr } = await box.run(['put', 'a']);
  expect({ exit, stdout }).toEqual({ exit: 3, stdout: expect.stringMatching(/^[0-9a-f]{64}\n$/) });
  expect(stderr).toMatch(/^vault: warning: .*bucket-2/m);
  expect(stderr).toMatch(/^vault: warning: 1 file is stored with less redundancy .*"vault repair"/m);
  expect(JSON.parse((await box.run(['put', 'a', '--name', 'b', '--json'])).stdout)).toMatchObject({
    degraded: true,
  });
  await rename(`${box.bucket(2)}-away`, box.bucket(2));
  expect(await box.run(['put', 'a', '--name', 'c'])).toMatchObject({ exit: 0, stderr: '' });
  expect((await box.run(['repair'])).exit).toBe(0);
  const manifests = await Promise.all(
    [1, 2, 3].map((number) => readdir(join(box.bucket(number), 'manifests'))),
  );
  for (const names of manifests) expect(names.toSorted()).toEqual(manifests[0]?.toSorted());
});

test('with a bucket gone that no chunk needs ends with 3 as well', async () => {
  await using wide = await sandbox();
  await wide.makeVault({ buckets: 4 });
  await rename(wide.bucket(4), `${wide.bucket(4)}-away`);
  await writeFile(wide.at('a'), randomBytes(20_000));
  const { exit, stderr } = await wide.run(['put', 'a']);
  expect(exit).toBe(3);
  expect(stderr).toMatch(/^vault: warning: .*bucket-4/m);
});

describe('says to somebody who looks on', () => {
  const SAID = /(Stored .*|a is unchanged.*)\r\n/;
  beforeEach(async () => {
    await writeFile(box.at('a'), 'hello\n');
    await writeFile(box.at('big'), Buffer.alloc(6 * MIB, randomBytes(2 * MIB)));
  });

  test.each(['xterm-256color', 'dumb'])('what was stored, and what of it was new (TERM %s)', async (TERM) => {
    const said: (string | undefined)[] = [];
    for (const args of [['a'], ['a'], ['a', '--name', 'b\u001b'], ['big'], ['big', '--name', 'again']]) {
      const run = box.terminal(['put', ...args], { env: { TERM } });
      expect(await run.exit).toBe(0);
      said.push(SAID.exec(run.shown)?.[1]);
    }
    await writeFile(box.at('big'), Buffer.concat([await readFile(box.at('big')), randomBytes(4 * MIB)]));
    const run = box.terminal(['put', 'big'], { env: { TERM } });
    expect(await run.exit).toBe(0);
    said.push(SAID.exec(run.shown)?.[1]);
    expect(said).toEqual([
      'Stored a: 6 B, all new.',
      'a is unchanged: 6 B, nothing new.',
      "Stored $'b\\x1b': 6 B, all new.",
      'Stored big: 6.0 MiB, 2.0 MiB new, 4.0 MiB there already.',
      'Stored again: 6.0 MiB, nothing new.',
      'Stored big: 10 MiB, 4.0 MiB new, 6.0 MiB there already.',
    ]);
  });

  test('and nothing of it to a file or a program', async () => {
    const run = box.terminalOf('exec vault put a > out');
    expect(await run.exit).toBe(0);
    expect(SAID.exec(run.shown)?.[1]).toBe('Stored a: 6 B, all new.');
    expect(run.shown).not.toMatch(/[0-9a-f]{64}/);
    expect(await readFile(box.at('out'), 'utf8')).toMatch(/^[0-9a-f]{64}\n$/);
    for (const flag of ['--quiet', '--json']) {
      const silent = box.terminal(['put', 'a', flag]);
      expect(await silent.exit).toBe(0);
      expect(silent.shown).not.toContain('nothing new');
    }
  });
});

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** How many chunks one content has that another one has not, by the key that this vault cuts by. */
async function changedChunks(before: Uint8Array, after: Uint8Array): Promise<number> {
  const session = await openSession(parts(await openCatalog(box.db), (url) => openBucket(url)));
  await using _ = new Vault(session);
  const chunksOf = (content: Uint8Array): string[] => {
    const cutter = new ContentCutter(session.keys.writer.cut);
    const chunks: string[] = [];
    for (let at = 0; at < content.length;) {
      const length = cutter.next(content.subarray(at), true) ?? 0;
      chunks.push(sha256(content.subarray(at, at + length)));
      at += length;
    }
    return chunks;
  };
  const known = new Set(chunksOf(before));
  return chunksOf(after).filter((chunk) => !known.has(chunk)).length;
}

test('in chunks that are cut by content: what is inserted in the middle moves no others', async () => {
  const bytes = randomBytes(6 * MIB);
  await writeFile(box.at('dump'), bytes);
  const first = await box.run(['put', 'dump', '--chunks', 'content', '--json']);
  expect(JSON.parse(first.stdout)).toMatchObject({ chunkSize: null, bytesNew: bytes.length });
  const changed = Buffer.concat([bytes.subarray(0, 3 * MIB), Buffer.from('more'), bytes.subarray(3 * MIB)]);
  const second = await box.run(['put', '-', '--name', 'dump', '--chunks', 'content', '--json'], {
    stdin: changed,
  });
  expect(JSON.parse(second.stdout)).toMatchObject({ unchanged: false });
  expect(JSON.parse(second.stdout).chunksStored).toBe(await changedChunks(bytes, changed));
  const got = await box.run(['get', 'dump', '-o', '-']);
  expect(sha256(got.stdoutBytes)).toBe(sha256(changed));
  expect((await box.run(['info', 'dump'])).stdout).toMatch(/cut by content/);
  expect((await box.run(['verify', '--read-data'])).exit).toBe(0);
});
