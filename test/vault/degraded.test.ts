/** How many chunks a put has stored with less than their redundancy. */
import { describe, expect, test } from 'vitest';
import { parseShardObjectName, shardObjectName } from '../../src/format/shard.ts';
import type { Warning } from '../../src/vault/call.ts';
import { always, faulty, storageError } from '../support/faulty-bucket.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { all, CHUNK_SIZE, getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

const random = seededRandom(53);
const THREE = random.bytes(3 * CHUNK_SIZE);

function takeAway(made: TestVault): void {
  const [first] = made.buckets;
  if (first !== undefined) first.wrap = (plain) => faulty(plain, always('unavailable'));
}

function giveBack(made: TestVault): void {
  const [first] = made.buckets;
  if (first !== undefined) first.wrap = (plain) => plain;
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

describe('content whose chunks are in the buckets that answer', () => {
  test('is neither new nor sent again while one is away, and is whole when that is back', async () => {
    await using made = await testVault();
    await putBytes(made.vault, THREE, { name: 'a' });
    await made.session.guard.end();
    takeAway(made);
    const chunks = made.objects('chunks/');
    const vault = await made.reopen();
    for (const dryRun of [true, false]) {
      expect(await putBytes(vault, THREE, { name: 'b', dryRun })).toMatchObject({
        chunksStored: 0,
        bytesNew: 0,
        degradedChunks: 3,
        degraded: true,
      });
    }
    expect(made.objects('chunks/')).toEqual(chunks);
    await made.session.guard.end();
    giveBack(made);
    expect(await putBytes(made.vault, THREE, { name: 'c' })).toMatchObject({
      chunksStored: 0,
      degradedChunks: 0,
      degraded: false,
    });
    expect(made.objects('chunks/')).toEqual(chunks);
  });

  test('is completed where another bucket can take what is missing, and is not new', async () => {
    await using made = await testVault({ buckets: 4, redundancy: { k: 2, m: 1 } });
    // Sixteen chunks, so that every bucket has a shard of some.
    const many = random.bytes(16 * CHUNK_SIZE);
    await putBytes(made.vault, many, { name: 'a' });
    await made.session.guard.end();
    takeAway(made);
    const lacking = made.objects('chunks/').filter((object) => object.startsWith('memory:1 ')).length;
    const first = await putBytes(made.vault, many, { name: 'b' });
    expect(first).toMatchObject({ chunksStored: 0, bytesNew: 0, degradedChunks: 0 });
    expect(made.objects('chunks/')).toHaveLength(16 * 3 + lacking);
    await made.session.guard.end();
    // Now it can be read without any other.
    const { buckets } = made;
    buckets[1]?.storage.clear();
    expect((await getBytes(made.vault, first.hash)).equals(many)).toBe(true);
  });

  test('is new where it could not be read back from them', async () => {
    await using made = await testVault();
    await putBytes(made.vault, THREE, { name: 'a' });
    await made.session.guard.end();
    for (const name of made.buckets[1]?.storage.keys() ?? [])
      if (name.startsWith('chunks/')) made.buckets[1]?.storage.delete(name);
    takeAway(made);
    const stored = await putBytes(made.vault, THREE, { name: 'b' });
    expect(stored).toMatchObject({ chunksStored: 3, bytesNew: THREE.length, degradedChunks: 3 });
    expect((await getBytes(made.vault, stored.hash)).equals(THREE)).toBe(true);
  });

  test('is sealed again where a shard of another sealing lies beside them', async () => {
    await using made = await testVault();
    await putBytes(made.vault, THREE, { name: 'a' });
    await made.session.guard.end();
    takeAway(made);
    // Whose names lead nowhere: who plants some must not have a put rely on them.
    for (const [i, { storage }] of made.buckets.slice(1).entries()) {
      const before = Array.from(storage);
      for (const [name, bytes] of before) {
        const shard = parseShardObjectName(name);
        if (shard === null) continue;
        storage.delete(name);
        storage.set(shardObjectName({ ...shard, sealing: '00000000' }), Buffer.alloc(bytes.length));
        if (i === 0) storage.set(name, bytes);
      }
    }
    const stored = await putBytes(made.vault, THREE, { name: 'b' });
    expect((await getBytes(made.vault, stored.hash)).equals(THREE)).toBe(true);
  });
});
