import { mkdir, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

const HASH = /^[0-9a-f]{64}$/;
const MIB = 1024 * 1024;

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

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
    kind: 'file',
    name: 'two\nlines',
    size: 20,
    createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
    modifiedAt: expect.stringMatching(/Z$/),
    expiresAt: null,
    mode: expect.stringMatching(/^0[0-7]{3}$/),
    chunkSize: 2 * MIB,
    chunks: 0,
    version: expect.any(Number),
    locked: false,
    writer: expect.stringMatching(/^[0-9a-f]{32}$/),
    label: null,
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

test('takes a hash, or as much of one as it shows', async () => {
  const { stdout } = await box.run(['ls', 'a.txt']);
  const [short = ''] = stdout.split(' ');
  expect((await box.run(['ls', short])).stdout).toBe(stdout);
  expect((await box.run(['ls', '0'.repeat(64)])).exit).toBe(4);
});

test('of names, those that nothing has are an error, once the others are listed', async () => {
  expect(await box.run(['ls', 'a.txt', 'nothing', 'docs/nothing'])).toMatchObject({
    exit: 4,
    stdout: expect.stringMatching(/^\S+ .* a\.txt\n$/),
    stderr: 'vault: No file has the name "nothing". "vault ls" shows what there is.\n',
  });
  for (const name of ['docs/nothing', 'nothing/'])
    expect(await box.run(['ls', name])).toMatchObject({ exit: 4, stdout: '' });
  expect(await box.run(['ls', '--deleted', 'a.txt'])).toMatchObject({
    exit: 4,
    stderr: expect.stringContaining('"vault ls --deleted"'),
  });
  expect(await box.run(['ls', 'a.txt', '--larger', '1GiB'])).toMatchObject({ exit: 0, stdout: '' });
});

test('--long has whole hashes and exact sizes', async () => {
  const { stdout } = await box.run(['ls', '-l', 'a.txt']);
  expect(stdout).toMatch(/^[0-9a-f]{64} {2}16 {2}\S+ \S+ {2}\S+ \S+ {2}- {2}0 {2}a\.txt\n$/);
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

function row(name: string): unknown {
  return expect.stringMatching(
    new RegExp(`^[0-9a-f]{12}  +\\d+ B  \\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d  ${name}$`),
  );
}

test('sorts, and lists only what is newer or larger than asked', async () => {
  const names = async (...flags: readonly string[]): Promise<string[]> =>
    (await box.run(['ls', '-0', ...flags])).stdout.split('\0').slice(0, -1);
  await box.run(['put', '-', '--name', 'large'], { stdin: 'x'.repeat(30_000) });
  expect(await names('--sort', 'name')).toEqual(['a.txt', 'docs/b.pdf', 'large', 'two\nlines', '日本語.pdf']);
  expect(await names('--sort', 'size')).toEqual(['large', '日本語.pdf', 'docs/b.pdf', 'two\nlines', 'a.txt']);
  expect(await names('--sort', 'time')).toEqual(['large', '日本語.pdf', 'two\nlines', 'docs/b.pdf', 'a.txt']);
  expect(await names('--larger', '16')).toHaveLength(4);
  expect(await names('--larger', '29K')).toEqual(['large']);
  expect(await names('--since', '1h')).toHaveLength(5);
  expect(await names('--since', '1ms')).toEqual([]);
  expect(await names('--since', '2020-01-01')).toHaveLength(5);
  expect(await names('--since', '2999-12-31 23:59')).toEqual([]);
  await box.run(['rm', 'large']);
});

test('takes several patterns, and counts on a terminal', async () => {
  const run = box.terminal(['ls', 'a.txt', '*.pdf']);
  await run.waitFor(/3 files, \d+ B\./);
  expect(await run.exit).toBe(0);
  const none = box.terminal(['ls', '--larger', '1G']);
  await none.waitFor('There is no such file.');
});
