import { createHash, randomBytes } from 'node:crypto';
import { appendFile, mkdir, readdir, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

const HASH = /^[0-9a-f]{64}$/;
const MIB = 1024 * 1024;

let box: Sandbox;

/** A sandbox for every test of a block. */
function ownSandbox(): void {
  beforeEach(async () => {
    box = await sandbox();
  });
  afterEach(async () => {
    await box[Symbol.asyncDispose]();
  });
}

/** One sandbox for all tests of a block, which leave it as they find it. */
function sharedSandbox(): void {
  beforeAll(async () => {
    box = await sandbox();
    await box.makeVault();
  });
  afterAll(async () => {
    await box[Symbol.asyncDispose]();
  });
}

describe('init', () => {
  ownSandbox();

  test('--local makes three folders beside the catalog, says nothing without a terminal, and the vault works', async () => {
    expect(await box.run(['init', '--local'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    await writeFile(box.at('a.txt'), 'hello');
    const put = await box.run(['put', 'a.txt']);
    expect(put).toMatchObject({ exit: 0, stderr: '' });
    expect(await box.run(['get', put.stdout.trim(), '-o', '-'])).toMatchObject({ exit: 0, stdout: 'hello' });
    for (const number of [1, 2, 3]) expect(await readdir(box.bucket(number))).toContain('vault.json');
    expect((await stat(box.bucket(1))).mode & 0o777).toBe(0o700);
  });

  test('takes folders as they are written, and says as JSON what it made', async () => {
    const { exit, stdout, stderr } = await box.run([
      'init',
      '--bucket',
      'one',
      '--bucket',
      './two',
      '--db',
      'my.db',
      '--redundancy',
      '1+1',
      '--json',
    ]);
    expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({
      redundancy: '1+1',
      buckets: [`file://${box.at('one')}`, `file://${box.at('two')}`],
    });
    expect(await box.run(['ls', '--db', 'my.db'])).toMatchObject({ exit: 0, stdout: '' });
  });

  test('never overwrites a vault', async () => {
    await box.makeVault();
    const { exit, stderr } = await box.run(['init', '--local']);
    expect(exit).toBe(2);
    expect(stderr).toMatch(/^vault: There is a vault already/);
  });

  test('refuses more redundancy than there are buckets', async () => {
    const { exit, stderr } = await box.run(['init', '--bucket', 'one', '--redundancy', '2+1']);
    expect(exit).toBe(2);
    expect(stderr).toMatch(/^vault: Redundancy 2\+1 needs 3 buckets or more/);
  });
});

test('without a vault every verb says how to make one', async () => {
  await using empty = await sandbox();
  for (const args of [['ls'], ['get', 'x'], ['rm', 'x'], ['sweep'], ['info']]) {
    const { exit, stdout, stderr } = await empty.run(args);
    expect({ exit, stdout }).toEqual({ exit: 10, stdout: '' });
    expect(stderr).toContain('vault init');
  }
});

describe('put', () => {
  ownSandbox();
  beforeEach(async () => box.makeVault());

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

  test('goes on after a file that is missing or a folder, and ends with the gravest code', async () => {
    await writeFile(box.at('a'), 'a');
    await writeFile(box.at('z'), 'z');
    await mkdir(box.at('docs'));
    const missing = await box.run(['put', 'a', 'missing', 'z']);
    expect(missing.exit).toBe(4);
    expect(missing.stdout.trimEnd().split('\n')).toHaveLength(2);
    expect(missing.stderr).toBe('vault: There is no file missing.\n');
    const folder = await box.run(['put', 'docs/', 'a', 'missing']);
    expect(folder.exit).toBe(2);
    expect(folder.stdout.trimEnd().split('\n')).toHaveLength(1);
    expect(folder.stderr).toMatch(/docs is a folder.*tar -cf - docs \| vault put - --name docs\.tar\n/);
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

  test('with a bucket gone stores what it can, ends with 3, and says what completes it', async () => {
    await rename(box.bucket(2), `${box.bucket(2)}-away`);
    await writeFile(box.at('a'), randomBytes(1000));
    const { exit, stdout, stderr } = await box.run(['put', 'a']);
    expect(exit).toBe(3);
    expect(stdout.trim()).toMatch(HASH);
    expect(stderr).toMatch(/^vault: warning: .*bucket-2/m);
    expect(stderr).toMatch(/^vault: warning: 1 file is stored with less redundancy .*"vault repair"/m);
    expect((await box.run(['get', 'a', '-o', '-'])).stdoutBytes).toEqual(await readFile(box.at('a')));
  });
});

describe('get', () => {
  sharedSandbox();
  const bytes = randomBytes(3 * MIB + 5);
  beforeAll(async () => {
    await mkdir(box.at('docs'));
    await writeFile(box.at('docs', 'report.pdf'), bytes, { mode: 0o640 });
    await utimes(box.at('docs', 'report.pdf'), 1_700_000_000, 1_700_000_000);
    await box.run(['put', 'docs/report.pdf']);
  });

  test('writes the base name into the current folder, with time and mode, and never overwrites it unasked', async () => {
    expect(await box.run(['get', 'docs/report.pdf'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    expect(await readFile(box.at('report.pdf'))).toEqual(bytes);
    const { mode, mtimeMs } = await stat(box.at('report.pdf'));
    expect({ mode: mode & 0o777, mtimeMs }).toEqual({ mode: 0o640, mtimeMs: 1_700_000_000_000 });
    await writeFile(box.at('report.pdf'), 'mine');
    const again = await box.run(['get', 'docs/report.pdf']);
    expect(again.exit).toBe(2);
    expect(again.stderr).toMatch(/report\.pdf exists and was not overwritten\. Use --force/);
    expect(await readFile(box.at('report.pdf'), 'utf8')).toBe('mine');
    expect(await box.run(['get', 'docs/report.pdf', '--force'])).toMatchObject({ exit: 0 });
    expect(await readFile(box.at('report.pdf'))).toEqual(bytes);
  });

  test('takes a hash, a prefix of it, a name, and a name typed as a path', async () => {
    const { hash } = JSON.parse((await box.run(['ls', '--json'])).stdout);
    for (const reference of [hash, hash.slice(0, 8), hash.slice(0, 12).toUpperCase(), './docs/report.pdf']) {
      const { exit, stdoutBytes } = await box.run(['get', reference, '-o', '-']);
      expect({ exit, sha: sha256(stdoutBytes) }).toEqual({ exit: 0, sha: sha256(bytes) });
    }
  });

  test('writes into a folder, and as JSON says where', async () => {
    await mkdir(box.at('out'));
    const { stdout } = await box.run(['get', 'docs/report.pdf', '-o', 'out', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ name: 'docs/report.pdf', path: join('out', 'report.pdf') });
    expect(await readFile(box.at('out', 'report.pdf'))).toEqual(bytes);
  });

  test('of a name that leads elsewhere stays in the folder', async () => {
    await box.run(['put', 'docs/report.pdf', '--name', '../../etc/passwd']);
    await box.run(['get', '../../etc/passwd']);
    expect(await readFile(box.at('passwd'))).toEqual(bytes);
    await box.run(['put', 'docs/report.pdf', '--name', 'a/..']);
    const { exit, stderr } = await box.run(['get', 'a/..']);
    expect(exit).toBe(2);
    expect(stderr).toMatch(/cannot be that of a file here\. Say where to write it with -o <path>\./);
  });

  test('of something unknown ends with 4', async () => {
    const { exit, stderr } = await box.run(['get', 'nothing']);
    expect({ exit, stderr }).toEqual({
      exit: 4,
      stderr: 'vault: No file has the name or hash "nothing". "vault ls" shows what there is.\n',
    });
  });

  test('gets round a lost bucket with one warning', async () => {
    await rename(box.bucket(1), `${box.bucket(1)}-away`);
    const { exit, stdoutBytes, stderr } = await box.run(['get', 'docs/report.pdf', '-o', '-']);
    await rename(`${box.bucket(1)}-away`, box.bucket(1));
    expect({ exit, sha: sha256(stdoutBytes) }).toEqual({ exit: 0, sha: sha256(bytes) });
    expect(stderr).toMatch(/^vault: warning: .*bucket-1.*\n$/);
  });

  test('into a pipe that closes early is no error', async () => {
    const { exit, stdout, stderr } = await box.shell(
      'set -o pipefail; vault get docs/report.pdf -o - | head -c 5 | wc -c; echo ${PIPESTATUS[0]}',
    );
    expect({ exit, stderr, stdout: stdout.split(/\s+/).filter(Boolean) }).toEqual({
      exit: 0,
      stderr: '',
      stdout: ['5', '0'],
    });
  });

  test('onto a full disk ends with 5', async () => {
    const { stdout, stderr } = await box.shell('vault get docs/report.pdf -o - > /dev/full; echo $?');
    expect(stdout).toBe('5\n');
    expect(stderr).toMatch(/^vault: Cannot write to standard output: .*ENOSPC/);
  });

  // Last, for what it leaves.
  test('with too much damage ends with 6, says which bucket lacks what, and leaves no file', async () => {
    for (const number of [1, 2]) {
      for (const name of await readdir(join(box.bucket(number), 'chunks'), { recursive: true })) {
        await writeFile(join(box.bucket(number), 'chunks', name), 'rotten').catch(() => undefined);
      }
    }
    const { exit, stderr } = await box.run(['get', 'docs/report.pdf', '-o', 'out.pdf']);
    expect(exit).toBe(6);
    expect(stderr).toMatch(/bucket-1/);
    expect(stderr).toMatch(/bucket-2/);
    expect(await readdir(box.path)).not.toContain('out.pdf');
  });
});

describe('ls', () => {
  sharedSandbox();
  beforeAll(async () => {
    await mkdir(box.at('docs'));
    for (const name of ['a.txt', 'docs/b.pdf', 'two\nlines', '日本語.pdf']) {
      await writeFile(box.at(name), `content of ${name}`);
      await box.run(['put', name]);
    }
  });

  test('is one line a file, newest first, with short hashes and names that cannot break out', async () => {
    const { exit, stdout, stderr } = await box.run(['ls']);
    expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' });
    expect(stdout.trimEnd().split('\n')).toEqual([
      row('日本語.pdf'),
      row("\\$'two\\\\nlines'"),
      row('docs/b.pdf'),
      row('a.txt'),
    ]);
  });

  test('prints JSON lines with the facts of every file', async () => {
    const { stdout } = await box.run(['--json', 'ls']);
    const files = stdout
      .trimEnd()
      .split('\n')
      .map((line): unknown => JSON.parse(line));
    expect(files).toHaveLength(4);
    expect(files[1]).toEqual({
      hash: expect.stringMatching(HASH),
      name: 'two\nlines',
      size: 20,
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      modifiedAt: expect.stringMatching(/Z$/),
      expiresAt: null,
      mode: expect.stringMatching(/^0[0-7]{3}$/),
      chunkSize: MIB,
      chunks: 1,
      redundancy: '2+1',
    });
  });

  test('takes a pattern', async () => {
    const { stdout } = await box.run(['ls', '*.pdf', '--json']);
    const names = stdout
      .trimEnd()
      .split('\n')
      .map((line): unknown => JSON.parse(line).name);
    expect(names).toEqual(['日本語.pdf', 'docs/b.pdf']);
    expect(await box.run(['ls', 'nothing*'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
  });

  test('--long has whole hashes and exact sizes', async () => {
    const { stdout } = await box.run(['ls', '-l', 'a.txt']);
    expect(stdout).toMatch(/^[0-9a-f]{64} {2}16 {2}\S+ \S+ {2}\S+ \S+ {2}- {2}2\+1 {2}1 {2}a\.txt\n$/);
  });

  test('shows the newest version of a name, and with --all every one', async () => {
    await box.run(['put', '-', '--name', 'v'], { stdin: 'one' });
    await box.run(['put', '-', '--name', 'v'], { stdin: 'two' });
    expect((await box.run(['ls', 'v'])).stdout.trimEnd().split('\n')).toHaveLength(1);
    expect((await box.run(['ls', 'v', '--all'])).stdout.trimEnd().split('\n')).toHaveLength(2);
    expect((await box.run(['get', 'v', '-o', '-'])).stdout).toBe('two');
    await box.run(['rm', 'v', '--all-versions']);
    expect((await box.run(['ls', 'v', '--all'])).stdout).toBe('');
  });

  test('into a pipe that closes early is no error', async () => {
    const { stdout, stderr } = await box.shell('vault ls | true; echo ${PIPESTATUS[0]}');
    expect({ stdout, stderr }).toEqual({ stdout: '0\n', stderr: '' });
  });
});

describe('rm and sweep', () => {
  ownSandbox();
  beforeEach(async () => {
    await box.makeVault();
    for (const name of ['a', 'b', 'c']) await writeFile(box.at(name), `content of ${name}`);
    await box.run(['put', 'a', 'b', 'c']);
  });

  test('rm removes several files and their objects, and says so only as JSON', async () => {
    expect(await box.run(['rm', 'a', './b'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    const { stdout } = await box.run(['rm', 'c', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ name: 'c', hash: expect.stringMatching(HASH) });
    expect((await box.run(['ls'])).stdout).toBe('');
    const objects = await readdir(join(box.bucket(1), 'chunks'), { recursive: true, withFileTypes: true });
    expect(objects.filter((entry) => entry.isFile())).toEqual([]);
  });

  test('rm removes nothing if one is unknown', async () => {
    const { exit, stderr } = await box.run(['rm', 'a', 'unknown']);
    expect(exit).toBe(4);
    expect(stderr).toContain('"unknown"');
    expect((await box.run(['ls'])).stdout.trimEnd().split('\n')).toHaveLength(3);
  });

  test('rm with a bucket away ends with 3, and sweep later pays the debt', async () => {
    await rename(box.bucket(2), `${box.bucket(2)}-away`);
    const { exit, stderr } = await box.run(['rm', 'a']);
    expect(exit).toBe(3);
    expect(stderr).toMatch(/could not be removed .*"vault sweep"/);
    expect((await box.run(['sweep'])).exit).toBe(3);
    await rename(`${box.bucket(2)}-away`, box.bucket(2));
    expect(await box.run(['sweep'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
  });

  test('sweep removes what has expired', async () => {
    await box.run(['put', 'a', '--name', 'short-lived', '--expires', '1ms']);
    const { exit, stdout } = await box.run(['sweep', '--json']);
    expect(exit).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ expired: [{ name: 'short-lived' }], objectsOwed: 0 });
  });
});

describe('info', () => {
  sharedSandbox();
  beforeAll(async () => {
    await box.run(['put', '-', '--name', 'a'], { stdin: 'content of a' });
  });

  test('info draws where the shards lie', async () => {
    const { exit, stdout } = await box.run(['info', 'a']);
    expect(exit).toBe(0);
    expect(stdout).toMatch(/^name +a$/m);
    expect(stdout).toMatch(/^redundancy +2\+1: any 1 bucket may be lost$/m);
    expect(stdout.match(/bucket-\d +1 +\d+ B +█$/gm)).toHaveLength(3);
  });

  test('info as JSON has every chunk and its places', async () => {
    const { stdout } = await box.run(['info', 'a', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      name: 'a',
      degradedChunks: 0,
      placement: [
        {
          length: 12,
          redundancy: '2+1',
          shards: expect.arrayContaining([expect.stringMatching('bucket-1')]),
        },
      ],
    });
  });

  test('info without a file describes the vault', async () => {
    const { stdout } = await box.run(['info']);
    expect(stdout).toMatch(/^redundancy +2\+1$/m);
    expect(stdout.match(/^bucket .*bucket-\d$/gm)).toHaveLength(3);
  });
});

describe('recover', () => {
  ownSandbox();
  beforeEach(async () => {
    await box.makeVault();
    await box.run(['put', '-', '--name', 'kept'], { stdin: 'kept all the same' });
  });

  test('rebuilds a lost catalog from the buckets', async () => {
    const buckets = [1, 2, 3].flatMap((number) => ['--bucket', box.bucket(number)]);
    const { exit, stdout, stderr } = await box.run(['recover', '--db', 'new.db', ...buckets]);
    expect({ exit, stdout, stderr }).toEqual({ exit: 0, stdout: '', stderr: '' });
    const got = await box.run(['get', 'kept', '-o', '-', '--db', 'new.db']);
    expect(got).toMatchObject({ exit: 0, stdout: 'kept all the same' });
  });

  test('without one bucket ends with 3 and says which files lack something', async () => {
    const buckets = [1, 2].flatMap((number) => ['--bucket', box.bucket(number)]);
    const { exit, stdout, stderr } = await box.run(['recover', '--db', 'new.db', ...buckets]);
    expect(exit).toBe(3);
    expect(stdout).toMatch(/^HASH +CONDITION +NAME\n[0-9a-f]{12} {2}degraded +kept\n$/);
    expect(stderr).toMatch(/^vault: warning: 1 file lacks some pieces and can be read\. "vault repair"/m);
    expect((await box.run(['get', 'kept', '-o', '-', '--db', 'new.db'])).stdout).toBe('kept all the same');
  });

  test('of folders that hold no vault ends with 10', async () => {
    await mkdir(box.at('empty'));
    expect((await box.run(['recover', '--db', 'new.db', '--bucket', 'empty'])).exit).toBe(10);
  });

  test('needs buckets', async () => {
    const { exit, stderr } = await box.run(['recover']);
    expect(exit).toBe(2);
    expect(stderr).toMatch(/^vault: Say --bucket /);
  });
});

function row(name: string): unknown {
  return expect.stringMatching(
    new RegExp(`^[0-9a-f]{12}  +\\d+ B  \\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d  ${name}$`),
  );
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
