/**
 * Stores chunks on behalf of one put: identifies each, asks the catalog whether it is there, and otherwise seals it,
 * sends its shards to buckets and records them.
 */
import type { ChunkRow, ShardPlace } from '../../catalog/catalog.ts';
import { isVaultError, throwIfAborted } from '../../errors.ts';
import { payloadSize, SEAL_OVERHEAD } from '../../format/chunk.ts';
import type { TableEntry } from '../../format/manifest.ts';
import { shardSize } from '../../format/shard.ts';
import type { Redundancy } from '../../format/shard.ts';
import { batched } from '../../concurrency/batched.ts';
import type { Lender } from '../../concurrency/semaphore.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { allocateChunkMemory, chunkMemorySize, objectsOf, payloadOf } from '../chunks/chunk-memory.ts';
import type { ChunkMemory } from '../chunks/chunk-memory.ts';
import type { Session } from '../session.ts';
import { ShardUploader } from '../chunks/shard-uploader.ts';
import type { Warning } from '../vault.ts';

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
  /** Sends shards and manifests. */
  readonly uploader: ShardUploader;
  /** Chunks of this put that are on their way, so that equal ones wait instead of being sent twice. */
  readonly #onTheWay = new Map<string, Promise<void>>();
  readonly #claim: (id: string) => Promise<ChunkRow | undefined>;
  readonly #record: (row: ChunkRow) => Promise<ChunkRow | undefined>;
  /** Memory of the chunks in flight. */
  readonly memory: Lender<ChunkMemory>;
  /** How many there are. */
  readonly inFlight: number;
  readonly totals = { chunksStored: 0, degradedChunks: 0 };

  constructor(session: Session, options: ChunkStoreOptions) {
    this.#session = session;
    this.#options = options;
    this.#redundancy = session.settings.redundancy;
    const { chunkSize, generation } = options;
    this.uploader = new ShardUploader({ ...options, all: session.buckets });
    const { lender, inFlight } = session.memory.share(chunkSize, this.#redundancy);
    this.memory = lender;
    this.inFlight = inFlight;
    this.#claim = batched((ids) => session.catalog.claimChunks(generation, ids), {
      most: BATCH,
      inFlight: 2,
    });
    this.#record = batched((rows) => this.#recordRows(rows), { most: BATCH, inFlight: 2 });
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
    await this.#session.buckets.learn(known?.shards ?? []);
    throwIfAborted(signal);
    if (known !== undefined && this.#isWhole(known)) return;
    const redundancy: Redundancy = known ?? this.#redundancy;
    const sealing = withRoom(memory, size, redundancy);
    await this.#session.workers.seal(sealing, size, id, redundancy);
    const sealedSize = size + SEAL_OVERHEAD;
    const row: ChunkRow = known ?? {
      id,
      k: redundancy.k,
      m: redundancy.m,
      sealedSize,
      shards: Array.from<null>({ length: redundancy.k + redundancy.m }).fill(null),
    };
    const objects = objectsOf(sealing, redundancy.k + redundancy.m, shardSize(sealedSize, redundancy.k));
    const shards = row.shards.map((place) => this.#placeInForce(place));
    const uploaded = await this.uploader.upload({ ...row, shards }, objects, signal);
    if (uploaded.shards.filter((place) => place !== null).length < row.k) throw this.uploader.tooFew(row);
    giveBack();
    const stored = known === undefined ? await this.#record(uploaded) : await this.#heal(known, uploaded);
    this.totals.chunksStored += 1;
    if ((stored ?? uploaded).shards.includes(null)) this.totals.degradedChunks += 1;
  }

  /** Completes the row of a chunk that had lost shards. */
  async #heal(known: ChunkRow, healed: ChunkRow): Promise<ChunkRow> {
    const { generation } = this.#options;
    try {
      if (await this.#session.catalog.replaceChunk(known, healed, { generation })) return healed;
    } catch (error) {
      if (isVaultError(error, 'stale')) await this.uploader.removeUploads([healed]);
      throw error;
    }
    // Somebody else was quicker. Ours are not recorded, so they go; the claim keeps the chunk itself.
    await this.uploader.removeUploads([healed]);
    return known;
  }

  async #recordRows(rows: readonly ChunkRow[]): Promise<ReadonlyMap<ChunkRow, ChunkRow>> {
    try {
      const inForce = await this.#session.catalog.recordChunks(this.#options.generation, rows);
      return new Map(rows.map((row) => [row, inForce.get(row.id) ?? row]));
    } catch (error) {
      // The put has been swept: nobody but us knows what we have just sent.
      if (isVaultError(error, 'stale')) await this.uploader.removeUploads(rows);
      throw error;
    }
  }

  #isWhole(row: ChunkRow): boolean {
    return row.shards.every((place) => this.#placeInForce(place) !== null);
  }

  /** The place, unless its bucket is no longer the vault's. */
  #placeInForce(place: ShardPlace | null): ShardPlace | null {
    return place !== null && this.#session.buckets.byNumber(place.bucket) !== null ? place : null;
  }
}

/**
 * Memory with room for the shards of a redundancy: a chunk that is healed keeps its own, which may be wider than what
 * new chunks get.
 */
function withRoom(memory: ChunkMemory, size: number, redundancy: Redundancy): ChunkMemory {
  if (chunkMemorySize(memory.chunkSize, redundancy) <= memory.buffer.byteLength) return memory;
  const roomy = allocateChunkMemory(memory.chunkSize, redundancy);
  payloadOf(roomy, size).set(payloadOf(memory, size));
  return roomy;
}
