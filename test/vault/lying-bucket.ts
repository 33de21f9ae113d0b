/** A bucket that shows complete sets of shards which need no other bucket. */
import { finishShardObject, sealingOf, shardObjectName, shardObjectSize } from '../../src/format/shard.ts';
import type { TestBucket } from './harness.ts';

/**
 * Loses what it has of chunks, and shows of each one that has a right checksum and is not it.
 *
 * @param as `m`: of the set, whose `k` is 1: 0 gives a complete one. `sealedSize`: what it is said to be. `before`: a sealing that the set
 *   comes before
 */
export function lie(
  liar: TestBucket,
  chunks: ReadonlySet<string>,
  { m = 0, sealedSize = 1_000, before = 'g' } = {},
): void {
  for (const name of liar.storage.keys()) if (name.startsWith('chunks/')) liar.storage.delete(name);
  const nonce = Buffer.alloc(12);
  while (sealingOf(nonce, sealedSize) >= before) nonce.writeUInt32BE(nonce.readUInt32BE() + 1);
  const sealing = sealingOf(nonce, sealedSize);
  for (const chunkId of chunks) {
    for (let index = 0; index <= m; index += 1) {
      const object = Buffer.alloc(shardObjectSize(sealedSize, 1));
      finishShardObject(object, chunkId, { k: 1, m, index, sealedSize, nonce });
      liar.storage.set(shardObjectName({ chunkId, sealing, index, k: 1, m, upload: '0'.repeat(16) }), object);
    }
  }
}
