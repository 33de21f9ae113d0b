import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { CHUNK_SIZE, getBytes, putBytes, testVault } from './harness.ts';
import type { TestBucket } from './harness.ts';

/** From now on, changes a byte of every object when it is read for the first time. */
function garbleFirstReads(bucket: TestBucket): void {
  const read = new Set<string>();
  bucket.wrap = (inner): Bucket => ({
    ...inner,
    async get(name, call) {
      const bytes = await inner.get(name, call);
      if (!read.has(name)) bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
      read.add(name);
      return bytes;
    },
  });
}

test.each(['1+0', '2+1'])(
  'Bytes that change on the way, from every bucket, but once, do no harm: %s',
  async (redundancy) => {
    const [k = 1, m = 0] = redundancy.split('+').map(Number);
    await using made = await testVault({ buckets: k + m, redundancy: { k, m } });
    const content = randomBytes(5 * CHUNK_SIZE + 1);
    await putBytes(made.vault, content, { name: 'file' });
    made.buckets.forEach(garbleFirstReads);
    expect((await getBytes(made.vault, 'file')).equals(content)).toBe(true);
  },
);
