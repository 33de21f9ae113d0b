// Tables that lie in chunks: what their entries say of the chunks is checked before those are read.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import { contentRefs, neededChunks } from '../../src/vault/files/tables.ts';
import { all, CHUNK_SIZE, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

const MOST_ENTRIES = 4_096;

let made: TestVault;
let asked = 0;
beforeAll(async () => {
  made = await testVault({ buckets: 1 });
  for (const bucket of made.buckets) {
    bucket.wrap = (plain) => ({
      ...plain,
      list() {
        asked += 1;
        throw new VaultError('unavailable', 'The test’s bucket is down.');
      },
    });
  }
});
afterAll(() => made[Symbol.asyncDispose]());

const table = (length: number) => ({
  size: CHUNK_SIZE,
  chunkSize: CHUNK_SIZE,
  depth: 1 as const,
  refs: [{ tag: Buffer.alloc(32, 1), hash: Buffer.alloc(32, 2), length }],
  inline: null,
});

describe.each([
  ['ids', 36, (length: number) => all(neededChunks(made.session, table(length)))],
  ['a content', 68, (length: number) => all(contentRefs(made.session, { table: table(length), chunks: 1 }))],
] as const)('A chunk of a table of %s', (_, size, read) => {
  test.each([
    ['with half an entry', size + size / 2],
    ['with more entries than there may be', (MOST_ENTRIES + 1) * size],
  ])('%s is not asked for', async (__, length) => {
    asked = 0;
    await expect(read(length)).rejects.toMatchObject({ code: 'damaged' });
    expect(asked).toBe(0);
  });

  test('of a right length is', async () => {
    asked = 0;
    await expect(read(MOST_ENTRIES * size)).rejects.toMatchObject({ code: 'unavailable' });
    expect(asked).toBeGreaterThan(0);
  });
});
