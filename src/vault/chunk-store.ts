/**
 * Stores chunks on behalf of one put: identifies each, asks the catalog whether it is there, and otherwise seals it,
 * sends its shards to buckets and records them.
 */
import { randomInt } from 'node:crypto';
import type { ChunkRow, ShardPlace } from '../catalog/catalog.ts';
import { isVaultError, throwIfAborted, VaultError } from '../errors.ts';
import { payloadSize, SEAL_OVERHEAD } from '../format/chunk.ts';
import type { TableEntry } from '../format/manifest.ts';
import { shardObjectName, shardObjectSize, shardSize } from '../format/shard.ts';
import type { Redundancy } from '../format/shard.ts';
import { batched, Lender } from '../pipeline.ts';
import { placeShards } from '../placement.ts';
import { describeFailure } from './bucket-set.ts';
import type { VaultBucket } from './bucket-set.ts';
import { allocateChunkMemory, chunkMemorySize, objectsOf } from './chunk-memory.ts';
import type { ChunkMemory } from './chunk-memory.ts';
import { chunksInFlight, withSignal } from './session.ts';
import type { Session } from './session.ts';
import type { Warning } from './vault.ts';

export interface ChunkStoreOptions {
  /** The put's generation. */
  readonly generation: string;
  /** Bytes of a full chunk's body. */
  readonly chunkSize: number;
  /** Buckets that take shards. */
  readonly buckets: readonly VaultBucket[];
  readonly onWarning: (warning: Warning) => void;
}

/** Rows a catalog call may take. */
const BATCH = 500;

export class ChunkStore {
  readonly #session: Session;
  readonly #options: ChunkStoreOptions;
  readonly #redundancy: Redundancy;
  /** Buckets that failed during this put; they get nothing more from it. */
  readonly #failed = new Map<VaultBucket, VaultError>();
  /** Chunks of this put that are on their way, so that equal ones wait instead of being sent twice. */
  readonly #onTheWay = new Map<string, Promise<void>>();
  readonly #claim: (id: string) => Promise<ChunkRow | undefined>;
  readonly #record: (row: ChunkRow) => Promise<ChunkRow | undefined>;
  /** Memory of the chunks in flight. */
  readonly memory: Lender<ChunkMemory>;
  /** How many there are. */
  readonly inFlight: number;
  readonly totals = { chunksStored: 0, bytesStored: 0, degradedChunks: 0 };

  constructor(session: Session, options: ChunkStoreOptions) {
    this.#session = session;
    this.#options = options;
    this.#redundancy = session.settings.redundancy;
    const { chunkSize, generation } = options;
    this.inFlight = chunksInFlight(session.limits, chunkMemorySize(chunkSize, this.#redundancy));
    this.memory = new Lender(this.inFlight, () => allocateChunkMemory(chunkSize, this.#redundancy));
    this.#claim = batched((ids) => session.catalog.claimChunks(generation, ids), {
      most: BATCH,
      inFlight: 2,
    });
    this.#record = batched((rows) => this.#recordRows(rows), { most: BATCH, inFlight: 2 });
  }

  /** The buckets that have not failed. */
  get healthy(): readonly VaultBucket[] {
    return this.#options.buckets.filter((bucket) => !this.#failed.has(bucket));
  }

  /**
   * Stores the body that lies in memory, and gives the memory back as soon as it can be used again.
   *
   * @returns the table's entry, once the chunk is recorded
   * @throws `unavailable` (or what the buckets said) if fewer than k take shards; `storage-full`; `stale`; `interrupted`
   */
  async store(
    memory: ChunkMemory,
    body: { readonly length: number; readonly isLast: boolean },
    signal: AbortSignal,
  ): Promise<TableEntry> {
    let lent = true;
    const giveBack = (): void => {
      if (lent) this.memory.giveBack(memory);
      lent = false;
    };
    try {
      const size = payloadSize(body.length, { chunkSize: this.#options.chunkSize, isLast: body.isLast });
      const id = await this.#session.workers.identify(memory, body.length, size);
      const same = this.#onTheWay.get(id);
      if (same === undefined) {
        const storing = this.#storePayload(memory, size, id, { giveBack, signal });
        this.#onTheWay.set(id, storing);
        try {
          await storing;
        } finally {
          this.#onTheWay.delete(id);
        }
      } else {
        giveBack();
        await same;
      }
      return { chunkId: id, length: body.length };
    } finally {
      giveBack();
    }
  }

  async #storePayload(
    memory: ChunkMemory,
    size: number,
    id: string,
    { giveBack, signal }: { readonly giveBack: () => void; readonly signal: AbortSignal },
  ): Promise<void> {
    const known = await this.#claim(id);
    throwIfAborted(signal);
    if (known !== undefined && this.#isWhole(known)) return;
    const redundancy: Redundancy = known ?? this.#redundancy;
    await this.#session.workers.seal(memory, size, id, redundancy);
    const sealedSize = size + SEAL_OVERHEAD;
    const row: ChunkRow = known ?? {
      id,
      k: redundancy.k,
      m: redundancy.m,
      sealedSize,
      shards: Array.from<null>({ length: redundancy.k + redundancy.m }).fill(null),
    };
    const objects = objectsOf(memory, redundancy.k + redundancy.m, shardSize(sealedSize, redundancy.k));
    const uploaded = await this.#upload(row, objects, signal);
    giveBack();
    const stored = known === undefined ? await this.#record(uploaded) : await this.#heal(known, uploaded);
    this.totals.chunksStored += 1;
    if ((stored ?? uploaded).shards.includes(null)) this.totals.degradedChunks += 1;
  }

  /** Sends the shards that have no place yet; the row with the places they got. */
  async #upload(row: ChunkRow, objects: readonly Uint8Array[], signal: AbortSignal): Promise<ChunkRow> {
    const shards: (ShardPlace | null)[] = row.shards.map((place) => this.#placeInForce(place));
    const taken = new Set(shards.flatMap((place) => (place === null ? [] : [place.bucket])));
    // Several rounds: a shard whose bucket fails goes to another one that has none of this chunk.
    while (shards.includes(null)) {
      const free = this.healthy.filter((bucket) => !taken.has(bucket.number));
      const missing = [...shards.keys()].filter((index) => shards[index] === null);
      const places = placeShards(
        missing.length,
        free.map((bucket) => bucket.number),
        (below) => randomInt(below),
      );
      const attempts = missing.flatMap((index, i) => {
        const bucket = free.find((candidate) => candidate.number === places[i]);
        return bucket === undefined ? [] : [{ index, bucket }];
      });
      if (attempts.length === 0) break;
      for (const { bucket } of attempts) taken.add(bucket.number);
      await Promise.all(
        attempts.map(async ({ index, bucket }) => {
          const object = objects[index];
          if (object === undefined) throw new RangeError(`No object for shard ${index}`);
          const place = { bucket: bucket.number, generation: this.#options.generation };
          const { id, k, m } = row;
          const name = shardObjectName({ chunkId: id, index, k, m, generation: place.generation });
          if (await this.#send(bucket, name, object, signal)) shards[index] = place;
        }),
      );
    }
    const stored = shards.filter((place) => place !== null).length;
    if (stored < row.k) throw this.#tooFew(row);
    return { ...row, shards };
  }

  /**
   * Sends one object to one bucket.
   *
   * @returns whether the bucket has it; if not, the bucket counts as failed and a warning was given
   * @throws `storage-full` and `interrupted`, which no other bucket can mend
   */
  async #send(bucket: VaultBucket, name: string, object: Uint8Array, signal: AbortSignal): Promise<boolean> {
    try {
      await (await bucket.open()).put(name, object, withSignal(signal));
      this.totals.bytesStored += object.length;
      return true;
    } catch (error) {
      if (!isVaultError(error) || error.code === 'interrupted' || error.code === 'storage-full') throw error;
      if (!this.#failed.has(bucket)) {
        this.#failed.set(bucket, error);
        const message = `${describeFailure({ bucket, error })} The other buckets are used instead.`;
        this.#options.onWarning({ kind: 'bucket-down', message, bucket: bucket.url });
      }
      return false;
    }
  }

  /** Stores a copy of an object in every healthy bucket; how many have it now. */
  async spread(name: string, object: Uint8Array, signal: AbortSignal): Promise<number> {
    const sent = await Promise.all(this.healthy.map((bucket) => this.#send(bucket, name, object, signal)));
    return sent.filter(Boolean).length;
  }

  /** Completes the row of a chunk that had lost shards. */
  async #heal(known: ChunkRow, healed: ChunkRow): Promise<ChunkRow> {
    if (await this.#session.catalog.replaceChunk(known, healed)) return healed;
    // Somebody else was quicker. Ours are not recorded, so they go; the claim keeps the chunk itself.
    await this.#removeUploads([healed]);
    return known;
  }

  async #recordRows(rows: readonly ChunkRow[]): Promise<ReadonlyMap<ChunkRow, ChunkRow>> {
    try {
      const inForce = await this.#session.catalog.recordChunks(this.#options.generation, rows);
      return new Map(rows.map((row) => [row, inForce.get(row.id) ?? row]));
    } catch (error) {
      // The put has been swept: nobody but us knows what we have just sent.
      if (isVaultError(error, 'stale')) await this.#removeUploads(rows);
      throw error;
    }
  }

  /** Removes what this put sent for these rows, as far as the buckets let it; sweep finds the rest. */
  async #removeUploads(rows: readonly ChunkRow[]): Promise<void> {
    const removals = rows.flatMap(({ id, k, m, shards }) =>
      shards.map(async (place, index) => {
        if (place?.generation !== this.#options.generation) return;
        const bucket = await this.#session.buckets.byNumber(place.bucket)?.open();
        await bucket?.remove(shardObjectName({ chunkId: id, index, k, m, generation: place.generation }));
      }),
    );
    await Promise.allSettled(removals);
  }

  #isWhole(row: ChunkRow): boolean {
    return row.shards.every((place) => this.#placeInForce(place) !== null);
  }

  /** The place, unless its bucket is no longer the vault's. */
  #placeInForce(place: ShardPlace | null): ShardPlace | null {
    return place !== null && this.#session.buckets.byNumber(place.bucket) !== null ? place : null;
  }

  #tooFew({ k, m, sealedSize }: ChunkRow): VaultError {
    const failures = [...this.#failed].map(([bucket, error]) => describeFailure({ bucket, error }));
    const [, first] = [...this.#failed][0] ?? [];
    return new VaultError(
      first?.code ?? 'unavailable',
      `Too few buckets take shards: ${k}+${m} needs at least ${k}, with ${shardObjectSize(sealedSize, k)} bytes each. ${failures.join(' ')}`.trim(),
      { cause: first },
    );
  }
}
