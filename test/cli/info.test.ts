import { randomBytes } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

/** Too much for a manifest, and less than a chunk. */
const CONTENT = randomBytes(20_000);

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

beforeAll(async () => {
  await box.run(['put', '-', '--name', 'a'], { stdin: CONTENT });
});

test('info draws where the shards lie', async () => {
  const { exit, stdout } = await box.run(['info', 'a']);
  expect(exit).toBe(0);
  expect(stdout).toMatch(/^name +a$/m);
  expect(stdout).toMatch(/^redundancy +2\+1: survives the loss of any 1 bucket$/m);
  expect(stdout.match(/bucket-\d +1 +[\d.]+ KiB +█$/gm)).toHaveLength(3);
});

test('info as JSON has every chunk and its places', async () => {
  const { stdout } = await box.run(['info', 'a', '--json']);
  expect(JSON.parse(stdout)).toMatchObject({
    name: 'a',
    chunksDegraded: 0,
    placement: [
      {
        length: 20_480,
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

test('info of a small file counts the copies that are there', async () => {
  await box.run(['put', '-', '--name', 'small'], { stdin: Buffer.from('small') });
  const { stdout } = await box.run(['info', 'small']);
  expect(stdout).toMatch(/^redundancy +3 copies: survives the loss of any 2 buckets$/m);
  expect(stdout).not.toMatch(/^in buckets +0 B$/m);
  await rename(box.bucket(1), `${box.bucket(1)}.away`);
  const less = await box.run(['info', 'small']);
  await rename(`${box.bucket(1)}.away`, box.bucket(1));
  expect(less.stdout).toMatch(/^redundancy +2 copies: survives the loss of any 1 bucket$/m);
});
