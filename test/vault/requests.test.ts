import { randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { CHUNK_SIZE, getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

type Kind = 'put' | 'get' | 'remove' | 'list';

let requests: Record<Kind, number>;
beforeEach(() => {
  requests = { put: 0, get: 0, remove: 0, list: 0 };
});

/** The bucket, with its requests counted. */
function counted(bucket: Bucket): Bucket {
  return {
    label: bucket.label,
    put: (...args) => {
      requests.put += 1;
      return bucket.put(...args);
    },
    get: (...args) => {
      requests.get += 1;
      return bucket.get(...args);
    },
    remove: (...args) => {
      requests.remove += 1;
      return bucket.remove(...args);
    },
    list: (...args) => {
      requests.list += 1;
      return bucket.list(...args);
    },
    close: () => bucket.close(),
  };
}

async function countedVault(): Promise<TestVault> {
  const made = await testVault();
  for (const bucket of made.buckets) bucket.wrap = counted;
  return made;
}

describe('No request is made that is not needed:', () => {
  for (const chunks of [1, 7, 40]) {
    test(`a put of ${chunks} new chunks uploads each shard and each manifest once`, async () => {
      await using made = await countedVault();
      await putBytes(made.vault, randomBytes(chunks * CHUNK_SIZE), { name: 'a' });
      // Three shards a chunk and a manifest a bucket; each bucket's marker is looked at once.
      expect(requests).toEqual({ put: chunks * 3 + 3, get: 3, remove: 0, list: 0 });
    });
  }

  test('a put of known content uploads manifests alone, and one of an unchanged file nothing', async () => {
    await using made = await countedVault();
    const bytes = randomBytes(5 * CHUNK_SIZE);
    await putBytes(made.vault, bytes, { name: 'a' });
    requests = { put: 0, get: 0, remove: 0, list: 0 };
    await putBytes(made.vault, bytes, { name: 'b' });
    expect(requests).toEqual({ put: 3, get: 0, remove: 0, list: 0 });
    await putBytes(made.vault, bytes, { name: 'b' });
    // One manifest is read, to be sure that the file that is said to be there can be.
    expect(requests).toEqual({ put: 3, get: 1, remove: 0, list: 0 });
  });

  test('a get reads one manifest and k shards a chunk', async () => {
    await using made = await countedVault();
    await putBytes(made.vault, randomBytes(10 * CHUNK_SIZE), { name: 'a' });
    requests = { put: 0, get: 0, remove: 0, list: 0 };
    await getBytes(made.vault, 'a');
    expect(requests).toEqual({ put: 0, get: 1 + 10 * 2, remove: 0, list: 0 });
  });

  test('a removal removes each object once, and lists nothing', async () => {
    await using made = await countedVault();
    await putBytes(made.vault, randomBytes(10 * CHUNK_SIZE), { name: 'a' });
    requests = { put: 0, get: 0, remove: 0, list: 0 };
    await made.vault.remove(['a']);
    expect(requests).toEqual({ put: 0, get: 0, remove: 10 * 3 + 3, list: 0 });
  });

  test('a listing of files asks no bucket', async () => {
    await using made = await countedVault();
    await Array.fromAsync(made.vault.list());
    expect(requests).toEqual({ put: 0, get: 0, remove: 0, list: 0 });
  });
});
