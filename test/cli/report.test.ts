/** Where `vault report` writes its page. */
import { lstat, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { smallDisk } from '../support/small-disk.ts';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await mkdir(box.at('pages'));
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

test('replaces the page before, and nothing that is no file', async () => {
  await writeFile(box.at('pages', 'page'), 'before');
  const made = await box.shell('umask 027; vault report -o pages/page');
  expect(made).toMatchObject({ exit: 0, stderr: '' });
  expect(await readFile(box.at('pages', 'page'), 'utf8')).toMatch(/^<!doctype html>/i);
  expect((await lstat(box.at('pages', 'page'))).mode & 0o777).toBe(0o640);
  await symlink('page', box.at('pages', 'link'));
  await symlink('none', box.at('pages', 'dangling'));
  const nodes = 'mkfifo pages/pipe; mknod pages/nul c 1 3 2> none; ls pages/nul 2> none';
  const names = ['pipe', ...((await box.shell(nodes)).stdout === '' ? [] : ['nul'])];
  const before = await readdir(box.at('pages'));
  for (const name of names) {
    const refused = await box.run(['report', '-o', `pages/${name}`]);
    expect(refused).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining(`pages/${name}" is a device or a pipe`),
    });
    expect((await lstat(box.at('pages', name))).isFile()).toBe(false);
  }
  for (const name of ['link', 'dangling']) {
    const refused = await box.run(['report', '-o', `pages/${name}`]);
    expect(refused).toMatchObject({ exit: 2, stderr: expect.stringContaining('is a symbolic link') });
    expect((await lstat(box.at('pages', name))).isSymbolicLink()).toBe(true);
  }
  expect(await box.run(['report', '-o', 'pages'])).toMatchObject({ exit: 2 });
  expect(await box.run(['report', '-o', 'no/page'])).toMatchObject({ exit: 2 });
  expect(await readdir(box.at('pages'))).toEqual(before);
});

test('says that a disk is full with 5', async ({ skip }) => {
  await using disk = await smallDisk(box.at('disk'), 1024 * 1024);
  if (disk === null) return skip();
  await disk.fill();
  const { exit, stderr } = await box.run(['report', '-o', 'disk/page']);
  expect({ exit, stderr }).toEqual({
    exit: 5,
    stderr: expect.stringMatching(
      /^vault: disk\/page could not be written: ENOSPC: .*\. Make room, or raise the quota, and repeat\.\n$/,
    ),
  });
  expect(await readdir(disk.path)).toEqual(['ballast']);
});
