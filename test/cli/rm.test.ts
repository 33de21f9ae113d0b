import { readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

const HASH = /^[0-9a-f]{64}$/;

let box: Sandbox;
beforeEach(async () => {
  box = await sandbox();
  await box.makeVault();
});
afterEach(async () => {
  await box[Symbol.asyncDispose]();
});

beforeEach(async () => {
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
