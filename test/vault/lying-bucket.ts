/** A bucket that shows complete sets of shards which need no other bucket. */
import { finishShardObject, sealingOf, shardObjectName, shardObjectSize } from '../../src/format/shard.ts';
import type { TestBucket } from './harness.ts';

/** Loses what it has of chunks, and shows of each a whole one that has a right checksum and is not it. */
export function lie(liar: TestBucket, chunks: ReadonlySet<string>): void {
  for (const name of liar.storage.keys()) if (name.startsWith('chunks/')) liar.storage.delete(name);
  const nonce = Buffer.alloc(12);
  const sealedSize = 1_000;
  for (const chunkId of chunks) {
    const object = Buffer.alloc(shardObjectSize(sealedSize, 1));
    finishShardObject(object, chunkId, { k: 1, m: 0, index: 0, sealedSize, nonce });
    const sealing = sealingOf(nonce, sealedSize);
    liar.storage.set(
      shardObjectName({ chunkId, sealing, index: 0, k: 1, m: 0, upload: '0'.repeat(16) }),
      object,
    );
  }
}
