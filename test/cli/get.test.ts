import { createHash, randomBytes } from 'node:crypto';
import { lstat, mkdir, readdir, readFile, rename, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

const MIB = 1024 * 1024;

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

const report = randomBytes(3 * MIB + 5);
beforeAll(async () => {
  await mkdir(box.at('docs'));
  await writeFile(box.at('docs', 'report.pdf'), report, { mode: 0o640 });
  await utimes(box.at('docs', 'report.pdf'), 1_700_000_000, 1_700_000_000);
  await box.run(['put', 'docs/report.pdf']);
});

test('writes the base name into the current folder, with time and mode, and never overwrites it unasked', async () => {
  expect(await box.run(['get', 'docs/report.pdf'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
  expect(sha256(await readFile(box.at('report.pdf')))).toBe(sha256(report));
  const { mode, mtimeMs } = await stat(box.at('report.pdf'));
  expect({ mode: mode & 0o777, mtimeMs }).toEqual({ mode: 0o640, mtimeMs: 1_700_000_000_000 });
  await writeFile(box.at('report.pdf'), 'mine');
  const again = await box.run(['get', 'docs/report.pdf']);
  expect(again.exit).toBe(2);
  expect(again.stderr).toMatch(/report\.pdf exists and was not overwritten\. Use --force/);
  expect(await readFile(box.at('report.pdf'), 'utf8')).toBe('mine');
  expect(await box.run(['get', 'docs/report.pdf', '--force'])).toMatchObject({ exit: 0 });
  expect(sha256(await readFile(box.at('report.pdf')))).toBe(sha256(report));
});

test('takes a hash, a prefix of it, a name, and a name typed as a path', async () => {
  const { hash } = JSON.parse((await box.run(['ls', '--json'])).stdout);
  for (const reference of [hash, hash.slice(0, 8), hash.slice(0, 12).toUpperCase(), './docs/report.pdf']) {
    const { exit, stdoutBytes } = await box.run(['get', reference, '-o', '-']);
    expect({ exit, sha: sha256(stdoutBytes) }).toEqual({ exit: 0, sha: sha256(report) });
  }
});

test('prints what is typed twice twice, and writes it into a folder once', async () => {
  await box.run(['put', '-', '--name', 'one'], { stdin: 'one.' });
  await box.run(['put', '-', '--name', 'other'], { stdin: 'other.' });
  expect((await box.run(['cat', 'one', 'other', 'one'])).stdout).toBe('one.other.one.');
  await mkdir(box.at('once'));
  const { stdout } = await box.run(['get', 'one', 'one', '-o', 'once', '--json']);
  expect(stdout.trim().split('\n')).toHaveLength(1);
});

test('writes into a folder, and as JSON says where', async () => {
  await mkdir(box.at('out'));
  const { stdout } = await box.run(['get', 'docs/report.pdf', '-o', 'out', '--json']);
  expect(JSON.parse(stdout)).toMatchObject({ name: 'docs/report.pdf', path: join('out', 'report.pdf') });
  expect(sha256(await readFile(box.at('out', 'report.pdf')))).toBe(sha256(report));
});

test('of a name that leads elsewhere stays in the folder', async () => {
  await box.run(['put', 'docs/report.pdf', '--name', '../../etc/passwd']);
  await box.run(['get', '../../etc/passwd']);
  expect(sha256(await readFile(box.at('passwd')))).toBe(sha256(report));
  await box.run(['put', 'docs/report.pdf', '--name', 'a/..']);
  const { exit, stderr } = await box.run(['get', 'a/..']);
  expect(exit).toBe(2);
  expect(stderr).toMatch(/is not possible for a file here\. Choose where to write it with -o <path>\./);
});

test("takes names of any characters, and any target that is a file's", async () => {
  const name = '漢'.repeat(84);
  await writeFile(box.at(name), report);
  await box.run(['put', name]);
  await mkdir(box.at('long'));
  expect(await box.run(['get', name, '-o', 'long'])).toMatchObject({ exit: 0, stderr: '' });
  expect(await readdir(box.at('long'))).toEqual([name]);
  expect(sha256(await readFile(box.at('long', name)))).toBe(sha256(report));
});

test('takes a symbolic link for the file that it is, and never replaces a device', async () => {
  await symlink('nowhere', box.at('link'));
  const refused = await box.run(['get', 'docs/report.pdf', '-o', 'link']);
  expect(refused.exit).toBe(2);
  expect(refused.stderr).toMatch(/"link" exists and was not overwritten/);
  expect(await box.run(['get', 'docs/report.pdf', '-o', 'link', '--force'])).toMatchObject({ exit: 0 });
  expect((await lstat(box.at('link'))).isFile()).toBe(true);
  // Its own descriptors are links to whatever is open, here a file.
  const device = await box.shell(
    'mkfifo pipe; for name in /dev/fd/1 pipe; do vault get docs/report.pdf --force -o $name > file; echo $?; done',
  );
  expect(device.stdout).toBe('2\n2\n');
  expect(device.stderr.match(/is a device or a pipe/g)).toHaveLength(2);
  const folder = await box.run(['get', 'docs/report.pdf', '-o', 'none/']);
  expect(folder).toMatchObject({ exit: 2, stderr: expect.stringMatching(/There is no folder none\//) });
});

test('of something unknown ends with 4', async () => {
  const { exit, stderr } = await box.run(['get', 'nothing']);
  expect({ exit, stderr }).toEqual({
    exit: 4,
    stderr: 'vault: No file has the name or hash "nothing". "vault ls" shows what there is.\n',
  });
});

test('gets round a lost bucket, whichever it is, with one warning', async () => {
  for (const number of [1, 2, 3]) {
    await rename(box.bucket(number), `${box.bucket(number)}-away`);
    const { exit, stdoutBytes, stderr } = await box.run(['get', 'docs/report.pdf', '-o', '-']);
    await rename(`${box.bucket(number)}-away`, box.bucket(number));
    expect({ exit, sha: sha256(stdoutBytes) }).toEqual({ exit: 0, sha: sha256(report) });
    expect(stderr).toMatch(new RegExp(`^(vault: warning: .*bucket-${number}.*\n)?$`));
  }
});

test('into a pipe that closes early says that the file is not whole there', async () => {
  const { exit, stdout, stderr } = await box.shell(
    'set -o pipefail; vault get docs/report.pdf -o - | head -c 5 | wc -c; echo ${PIPESTATUS[0]}',
  );
  expect({ exit, stderr, stdout: stdout.split(/\s+/).filter(Boolean) }).toEqual({
    exit: 0,
    stderr: 'vault: Whoever read standard output has gone before the whole file was written.\n',
    stdout: ['5', '5'],
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

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
