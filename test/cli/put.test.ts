import { createHash, randomBytes } from 'node:crypto';
import { appendFile, mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
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

test('refuses standard input that is a folder or closed, and stores an empty one', async () => {
  await mkdir(box.at('folder'));
  const put = 'vault put - --name n --json';
  for (const [from, says] of [
    ['< folder', 'Standard input is a folder'],
    ['<&-', 'Standard input is closed'],
  ]) {
    const { stdout, stderr } = await box.shell(`${put} ${from}; echo $?`);
    expect({ from, stdout }).toEqual({ from, stdout: '2\n' });
    expect(stderr).toContain(says);
  }
  expect((await box.run(['ls'])).stdout).toBe('');
  for (const from of ['< /dev/null', '< empty']) {
    await writeFile(box.at('empty'), '');
    const { stdout } = await box.shell(`${put} ${from}`);
    expect(JSON.parse(stdout)).toMatchObject({ name: 'n', size: 0 });
  }
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

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
