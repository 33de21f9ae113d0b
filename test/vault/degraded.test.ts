/** How many chunks a put has stored with less than their redundancy. */
import { expect, test } from 'vitest';
import type { Warning } from '../../src/vault/call.ts';
import { always, faulty, storageError } from '../support/faulty-bucket.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { all, CHUNK_SIZE, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

const random = seededRandom(53);
const THREE = random.bytes(3 * CHUNK_SIZE);

function takeAway(made: TestVault): void {
  const [first] = made.buckets;
  if (first !== undefined) first.wrap = (plain) => faulty(plain, always('unavailable'));
}

test('of a put with every bucket at hand there are none', async () => {
  await using made = await testVault();
  expect(await putBytes(made.vault, THREE, { name: 'a' })).toMatchObject({
    chunksStored: 3,
    degradedChunks: 0,
    degraded: false,
  });
});

test('each that lacks a shard counts, and those that were there whole do not', async () => {
  await using made = await testVault();
  await putBytes(made.vault, THREE.subarray(0, 2 * CHUNK_SIZE), { name: 'a' });
  takeAway(made);
  // What a bucket that is away holds does not count as there.
  expect(await putBytes(made.vault, random.bytes(2 * CHUNK_SIZE + 5), { name: 'b' })).toMatchObject({
    chunksStored: 3,
    degradedChunks: 3,
    degraded: true,
  });
});

test('what a bucket lists that takes nothing new it has', async () => {
  await using made = await testVault();
  await putBytes(made.vault, THREE, { name: 'a' });
  await made.session.guard.end();
  const rows = await all(made.catalog.chunks.walk());
  const [first] = made.buckets;
  const refused = { kind: 'fail', when: 'before', error: storageError('denied') } as const;
  if (first !== undefined)
    first.wrap = (plain) => faulty(plain, ({ operation }) => (operation === 'put' ? refused : null));
  const warnings: Warning[] = [];
  const onWarning = (warning: Warning): void => void warnings.push(warning);
  expect(await putBytes(made.vault, THREE, { name: 'a', onWarning })).toMatchObject({
    unchanged: true,
    chunksStored: 0,
    degradedChunks: 0,
    degraded: false,
  });
  expect(warnings).toMatchObject([{ kind: 'bucket-down', bucket: first?.url }]);
  expect(await all(made.catalog.chunks.walk())).toEqual(rows);
  // Of what is new it has none.
  expect(await putBytes(made.vault, random.bytes(CHUNK_SIZE), { name: 'b' })).toMatchObject({
    degradedChunks: 1,
    degraded: true,
  });
});

test('one that comes twice in a file counts once', async () => {
  await using made = await testVault();
  takeAway(made);
  const part = random.bytes(CHUNK_SIZE);
  expect(await putBytes(made.vault, Buffer.concat([part, part, part]), { name: 'a' })).toMatchObject({
    chunksStored: 1,
    degradedChunks: 1,
  });
});

test('what stays in the manifest has none, and says by its copies that a bucket was away', async () => {
  await using made = await testVault();
  takeAway(made);
  expect(await putBytes(made.vault, random.bytes(100), { name: 'a' })).toMatchObject({
    degradedChunks: 0,
    manifestCopies: 2,
    degraded: true,
  });
});

test('content that is there under its name, with too few shards, is completed as far as it goes and counts', async () => {
  await using made = await testVault();
  takeAway(made);
  await putBytes(made.vault, THREE, { name: 'a' });
  const again = await putBytes(made.vault, THREE, { name: 'a' });
  expect(again).toMatchObject({ degradedChunks: 3, degraded: true });
  const [first] = made.buckets;
  if (first !== undefined) first.wrap = (plain) => plain;
  await made.session.guard.end();
  expect(await putBytes(made.vault, THREE, { name: 'a' })).toMatchObject({
    degradedChunks: 0,
    degraded: false,
  });
});
