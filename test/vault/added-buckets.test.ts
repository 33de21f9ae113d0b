/** Buckets that are added while others have the vault open: to these they must not look like buckets that have been given up. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Vault } from '../../src/vault/vault.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { all, CHUNK_SIZE, discrepancies, getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

const CONTENT = seededRandom(5).bytes(20 * CHUNK_SIZE);

describe('An operation of a process that opened the vault before two buckets were added', () => {
  let made: TestVault;
  let early: Vault;

  beforeEach(async () => {
    made = await testVault({ buckets: 4, redundancy: { k: 1, m: 1 } });
    for (const url of ['memory:3', 'memory:4']) {
      await made.vault.removeBucket(url);
      made.buckets.find((bucket) => bucket.url === url)?.storage.clear();
    }
    early = await made.reopen();
    for (const url of ['memory:3', 'memory:4']) await made.vault.addBucket(url);
    // Some of its chunks lie in the new buckets alone.
    await putBytes(made.vault, CONTENT, { name: 'file' });
  });

  afterEach(async () => made[Symbol.asyncDispose]());

  test.each(['listing', 'data'] as const)('finds everything whole: verify by %s', async (depth) => {
    const before = await all(made.catalog.listChunks());
    expect(await early.verify({ depth })).not.toMatchObject({ outcome: 'lost' });
    expect(await all(made.catalog.listChunks())).toEqual(before);
    await made.vault.sweep({ strayGraceMs: 0 });
    expect(await made.vault.verify({ depth: 'data' })).toMatchObject({ outcome: 'whole' });
  });

  test('moves nothing: repair', async () => {
    const before = await all(made.catalog.listChunks());
    expect(await early.repair({ depth: 'data' })).toMatchObject({ chunksRepaired: 0 });
    expect(await all(made.catalog.listChunks())).toEqual(before);
  });

  test('reads on without a warning: get', async () => {
    const warnings: string[] = [];
    const bytes = await getBytes(early, 'file', ({ message }) => warnings.push(message));
    expect(bytes.equals(CONTENT)).toBe(true);
    expect(warnings).toEqual([]);
  });

  test('stores nothing again: put', async () => {
    expect(await putBytes(early, CONTENT, { name: 'other' })).toMatchObject({ chunksStored: 0 });
  });

  test('leaves nothing behind: rm', async () => {
    await early.remove(['file']);
    await made.vault.sweep();
    expect(await discrepancies(made.catalog, made.buckets)).toEqual([]);
  });
});
