/** Sends shards to buckets, and to other buckets when some of them fail. */
import { randomInt } from 'node:crypto';
import type { ChunkRow, ShardPlace } from '../../catalog/catalog.ts';
import { drawUpload } from '../../crypto/keys.ts';
import { isFailure, VaultError } from '../../errors.ts';
import { formatRedundancy, shardObjectName, shardObjectSize } from '../../format/shard.ts';
import { describeFailure, type ReadBucket, type VaultBucket } from '../buckets/bucket-set.ts';
import { awaitUnlessSilent } from '../buckets/silence.ts';
import type { Warning } from '../call.ts';
import { placeShards } from './placement.ts';

export class ShardUploader {
  readonly #onWarning: (warning: Warning) => void;
  readonly #fullIsFatal: boolean;
  readonly #lock: (bucket: VaultBucket) => { readonly retainUntilMs?: number };
  /** Buckets that failed; they get nothing more from this uploader. */
  readonly #failed = new Map<ReadBucket, VaultError>();
  /** Bytes that buckets have taken. */
  bytesStored = 0;
  /** Shards that buckets have taken. */
  shardsStored = 0;

  /** @param options `fullIsFatal`: whether a bucket without room ends everything (default), or others are used instead. `lock`: how shards are to be kept in a bucket */
  constructor(
    onWarning: (warning: Warning) => void,
    {
      fullIsFatal = true,
      lock = () => ({}),
    }: {
      readonly fullIsFatal?: boolean;
      readonly lock?: ((bucket: VaultBucket) => { readonly retainUntilMs?: number }) | undefined;
    } = {},
  ) {
    this.#onWarning = onWarning;
    this.#fullIsFatal = fullIsFatal;
    this.#lock = lock;
  }

  hasFailed(bucket: ReadBucket): boolean {
    return this.#failed.has(bucket);
  }

  /**
   * Sends the shards that have no place, each to a bucket that has none of this chunk.
   *
   * @param row the chunk's set, with the places that stay
   * @param objects the shard objects by index; only those without a place are looked at
   * @param targets buckets that take shards
   * @returns the row with the places they got; null is left where no bucket was
   * @throws `storage-full` and `interrupted`, against which no other bucket helps
   */
  async upload(
    row: ChunkRow,
    objects: readonly (Uint8Array | null)[],
    targets: readonly VaultBucket[],
    signal: AbortSignal | undefined,
  ): Promise<ChunkRow> {
    const shards: (ShardPlace | null)[] = [...row.shards];
    const taken = new Set(shards.flatMap((place) => (place === null ? [] : [place.bucket])));
    // Several rounds: a shard whose bucket fails goes to another one that has none of this chunk.
    while (shards.includes(null)) {
      const free = targets.filter((bucket) => !taken.has(bucket.number) && !this.#failed.has(bucket));
      const missing = [...shards.keys()].filter((index) => shards[index] === null && objects[index]);
      const places = placeShards(
        missing.length,
        free.map((bucket) => bucket.number),
        (below) => randomInt(below),
      );
      const attempts = missing.flatMap((index, i) => {
        const bucket = free.find((candidate) => candidate.number === places[i]);
        const object = objects[index];
        return bucket === undefined || !object ? [] : [{ index, bucket, object }];
      });
      if (attempts.length === 0) break;
      for (const { bucket } of attempts) taken.add(bucket.number);
      const send = async ({ index, bucket, object }: (typeof attempts)[number]): Promise<void> => {
        const upload = drawUpload();
        const { id: chunkId, k, m, sealing } = row;
        const name = shardObjectName({ chunkId, sealing, index, k, m, upload });
        if (await this.#send(bucket, name, object, signal)) shards[index] = { bucket: bucket.number, upload };
      };
      await awaitUnlessSilent(
        attempts.map((attempt) => ({ bucket: attempt.bucket, done: send(attempt) })),
        () => shards.filter((place) => place !== null).length >= row.k,
      );
    }
    return { ...row, shards };
  }

  /** The error for a chunk of which fewer than k shards could be stored. */
  tooFew({ k, m, sealedSize }: ChunkRow): VaultError {
    const failures = [...this.#failed].map(([bucket, error]) => describeFailure({ bucket, error }));
    const [, first] = [...this.#failed][0] ?? [];
    return new VaultError(
      first === undefined || first.code === 'bucket-missing' ? 'unavailable' : first.code,
      `Too few buckets take shards: ${formatRedundancy({ k, m })} needs at least ${k}, with ${shardObjectSize(sealedSize, k)} bytes each. ${failures.join(' ')}`.trim(),
      { cause: first },
    );
  }

  /**
   * Sends one object to one bucket.
   *
   * @returns whether the bucket has it; if that is not certain, the bucket counts as failed and a warning was given
   * @throws `storage-full` and `interrupted`, against which no other bucket helps
   */
  async #send(
    bucket: VaultBucket,
    name: string,
    object: Uint8Array,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    try {
      await bucket.attempt(
        (storage, aborted) =>
          storage.put(name, object, { signal: aborted, drawn: true, ...this.#lock(bucket) }),
        signal,
      );
      this.bytesStored += object.length;
      this.shardsStored += 1;
      return true;
    } catch (error) {
      if (!isFailure(error)) throw error;
      if (error.code === 'storage-full' && this.#fullIsFatal) throw error;
      if (!this.#failed.has(bucket)) {
        this.#failed.set(bucket, error);
        const message = `${describeFailure({ bucket, error })} The other buckets are used instead.`;
        this.#onWarning({ kind: 'bucket-down', message, bucket: bucket.url });
      }
      return false;
    }
  }
}
