/** Buckets that are removed while others have the vault open: nothing may be stored there any more. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Vault } from '../../src/vault/vault.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { CHUNK_SIZE, discrepancies, getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

const random = seededRandom(6);
const CONTENT = random.bytes(8 * CHUNK_SIZE);

describe('A process that has used a bucket which another one removes', () => {
  let made: TestVault;
  let early: Vault;

  beforeEach(async () => {
    made = await testVault({ buckets: 3, redundancy: { k: 1, m: 0 } });
    early = await made.reopen();
    // It has seen the markers of all buckets.
    await putBytes(early, random.bytes(8 * CHUNK_SIZE), { name: 'before' });
  });

  afterEach(async () => made[Symbol.asyncDispose]());

  test('stores what it puts afterwards in the others', async () => {
    expect(await made.vault.removeBucket('memory:3')).toMatchObject({ removed: true });
    const { hash } = await putBytes(early, CONTENT, { name: 'after' });
    expect(made.buckets[2]?.storage.size).toBe(0);
    expect((await getBytes(await made.reopen(), hash)).equals(CONTENT)).toBe(true);
    expect(await discrepancies(made.catalog, made.buckets)).toEqual([]);
  });

  test('loses nothing that it puts while the bucket is emptied', async () => {
    const hashes: Promise<string>[] = [];
    const bucket = made.buckets[2];
    if (bucket === undefined) throw new RangeError('There is a third bucket.');
    bucket.wrap = (storage) => ({
      ...storage,
      async *list(prefix, call) {
        hashes.push(putBytes(early, CONTENT, { name: 'meanwhile' }).then(({ hash }) => hash));
        await hashes[0];
        yield* storage.list(prefix, call);
      },
    });
    await made.vault.removeBucket('memory:3');
    expect(hashes.length).toBeGreaterThan(0);
    const late = await made.reopen();
    for (const hash of await Promise.all(hashes)) {
      expect((await getBytes(late, hash)).equals(CONTENT)).toBe(true);
    }
  });

  test('repairs nothing into it', async () => {
    const { hash } = await putBytes(made.vault, CONTENT, { name: 'file' });
    await made.vault.removeBucket('memory:3');
    await early.repair({ redundancy: { k: 1, m: 1 } });
    expect(made.buckets[2]?.storage.size).toBe(0);
    expect((await getBytes(await made.reopen(), hash)).equals(CONTENT)).toBe(true);
    expect(await made.vault.verify({ depth: 'data' })).toMatchObject({ outcome: 'whole' });
  });
});
