/** Sends shards to buckets on behalf of one put or repair, and to other buckets when some of them fail. */
import { randomInt } from 'node:crypto';
import type { Catalog, ChunkRow, GarbageRow, ShardPlace } from '../../catalog/catalog.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { shardObjectName, shardObjectSize } from '../../format/shard.ts';
import { settleAll } from '../../concurrency/gather.ts';
import { placeShards } from './placement.ts';
import { describeFailure } from '../buckets/bucket-set.ts';
import type { BucketSet, VaultBucket } from '../buckets/bucket-set.ts';
import { withSignal } from '../session.ts';
import type { Warning } from '../vault.ts';

export interface ShardUploaderOptions {
  /** The vault's buckets. */
  readonly all: BucketSet;
  /** Those of them that take shards. */
  readonly buckets: readonly VaultBucket[];
  /** Under which the shards are stored; a pending put, so that they are swept if it dies. */
  readonly generation: string;
  readonly onWarning: (warning: Warning) => void;
}

export class ShardUploader {
  readonly #options: ShardUploaderOptions;
  /** Buckets that failed; they get nothing more from this uploader. */
  readonly #failed = new Map<VaultBucket, VaultError>();
  /** Shards whose upload failed in a way that leaves open whether the bucket has them. */
  readonly #doubtful: GarbageRow[] = [];
  /** Bytes that buckets have taken. */
  bytesStored = 0;
  /** Shards that buckets have taken. */
  shardsStored = 0;

  constructor(options: ShardUploaderOptions) {
    this.#options = options;
  }

  /** The buckets that have not failed. */
  get healthy(): readonly VaultBucket[] {
    return this.#options.buckets.filter((bucket) => !this.#failed.has(bucket));
  }

  /**
   * Sends the shards that have no place, each to a bucket that has none of this chunk.
   *
   * @param row the chunk, with the places that stay
   * @param objects the shard objects by index; only those without a place are looked at
   * @returns the row with the places they got; null is left where no bucket was
   * @throws `storage-full` and `interrupted`, which no other bucket can mend
   */
  async upload(
    row: ChunkRow,
    objects: readonly (Uint8Array | null)[],
    signal: AbortSignal,
  ): Promise<ChunkRow> {
    const shards: (ShardPlace | null)[] = [...row.shards];
    const taken = new Set(shards.flatMap((place) => (place === null ? [] : [place.bucket])));
    const { generation } = this.#options;
    // Several rounds: a shard whose bucket fails goes to another one that has none of this chunk.
    while (shards.includes(null)) {
      const free = this.healthy.filter((bucket) => !taken.has(bucket.number));
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
      await settleAll(
        attempts.map(async ({ index, bucket, object }) => {
          const { id: chunkId, k, m } = row;
          const name = shardObjectName({ chunkId, index, k, m, generation });
          const place = { bucket: bucket.number, generation };
          const outcome = await this.#send(bucket, name, object, signal);
          if (outcome === 'stored') {
            shards[index] = place;
            this.shardsStored += 1;
          } else {
            this.#doubtful.push({ kind: 'chunk', id: chunkId, k, m, places: [{ index, ...place }] });
          }
        }),
      );
    }
    return { ...row, shards };
  }

  /** Stores a copy of an object in every healthy bucket; how many have it now. */
  async spread(name: string, object: Uint8Array, signal: AbortSignal): Promise<number> {
    const sent = await settleAll(this.healthy.map((bucket) => this.#send(bucket, name, object, signal)));
    return sent.filter((outcome) => outcome === 'stored').length;
  }

  /**
   * Owes the removal of shards that a bucket may have although it gave no good answer: what was to be there is elsewhere
   * by now. For the end of work that succeeds; what work that is swept has left is found by its generation.
   */
  async oweDoubtful(catalog: Catalog): Promise<void> {
    const rows = this.#doubtful.splice(0);
    if (rows.length > 0) await catalog.addGarbage(rows);
  }

  /** Removes what was sent for these rows, as far as the buckets let it; sweep finds the rest. */
  async removeUploads(rows: readonly ChunkRow[]): Promise<void> {
    const removals = rows.flatMap(({ id, k, m, shards }) =>
      shards.map(async (place, index) => {
        if (place?.generation !== this.#options.generation) return;
        const bucket = await this.#options.all.byNumber(place.bucket)?.open();
        await bucket?.remove(shardObjectName({ chunkId: id, index, k, m, generation: place.generation }));
      }),
    );
    await Promise.allSettled(removals);
  }

  /** The error for a chunk of which fewer than k shards could be stored. */
  tooFew({ k, m, sealedSize }: ChunkRow): VaultError {
    const failures = [...this.#failed].map(([bucket, error]) => describeFailure({ bucket, error }));
    const [, first] = [...this.#failed][0] ?? [];
    return new VaultError(
      first?.code ?? 'unavailable',
      `Too few buckets take shards: ${k}+${m} needs at least ${k}, with ${shardObjectSize(sealedSize, k)} bytes each. ${failures.join(' ')}`.trim(),
      { cause: first },
    );
  }

  /**
   * Sends one object to one bucket.
   *
   * @returns whether the bucket has it; if that is not certain, the bucket counts as failed and a warning was given. No error
   *   makes it certain that the bucket has it not: an earlier attempt of the same put may have come through
   * @throws `storage-full` and `interrupted`, which no other bucket can mend
   */
  async #send(
    bucket: VaultBucket,
    name: string,
    object: Uint8Array,
    signal: AbortSignal,
  ): Promise<'stored' | 'doubtful'> {
    try {
      await (await bucket.open()).put(name, object, withSignal(signal));
      this.bytesStored += object.length;
      return 'stored';
    } catch (error) {
      if (!isVaultError(error) || error.code === 'interrupted' || error.code === 'storage-full') throw error;
      if (!this.#failed.has(bucket)) {
        this.#failed.set(bucket, error);
        const message = `${describeFailure({ bucket, error })} The other buckets are used instead.`;
        this.#options.onWarning({ kind: 'bucket-down', message, bucket: bucket.url });
      }
      return 'doubtful';
    }
  }
}
