/**
 * Stores chunks on behalf of one put: identifies each, looks whether the buckets have it, and otherwise seals it and sends its
 * shards. Nothing is skipped because a catalog says so.
 */
import type { ChunkRow } from '../../catalog/catalog.ts';
import { idOfTag } from '../../crypto/chunk.ts';
import { payloadSize, SEAL_OVERHEAD } from '../../format/chunk.ts';
import type { Compression } from '../../format/keyring.ts';
import type { ChunkId, ChunkRef } from '../../format/manifest.ts';
import { shardObjectSize, shardSize } from '../../format/shard.ts';
import type { Redundancy } from '../../format/shard.ts';
import { throwIfAborted } from '../../errors.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import type { Lender } from '../../concurrency/semaphore.ts';
import { objectsOf } from '../chunks/chunk-memory.ts';
import type { ChunkMemory } from '../chunks/chunk-memory.ts';
import { IdSet } from '../chunks/id-set.ts';
import type { ChunkProof, Identity, SealedChunk } from '../chunks/chunk-jobs.ts';
import {
  chosenShards,
  fitsSize,
  isEnough,
  mostSealedOf,
  objectNameOf,
  rowOfSet,
  shardsOfRow,
} from '../chunks/shard-sets.ts';
import type { ListedShard, ShardSet } from '../chunks/shard-sets.ts';
import { ShardUploader } from '../chunks/shard-uploader.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import type { Retaining } from '../buckets/retaining.ts';
import type { Session } from '../session.ts';
import type { Warning } from '../call.ts';
import type { Guarded } from '../protocol/guarded.ts';
import { ownChunks } from './own-chunks.ts';

export interface ChunkWriterOptions {
  readonly guarded: Guarded;
  /** Most bytes of a chunk's body. */
  readonly chunkSize: number;
  readonly compression: Compression;
  /** Whether it only counts what would be stored. */
  readonly dryRun: boolean;
  /** What keeps chunks, new ones and those that are there; null: nothing. */
  readonly retaining: Retaining | null;
  readonly onWarning: (warning: Warning) => void;
}

/** A body in memory, to be stored. */
export interface Body {
  /** Bytes. */
  readonly length: number;
  /** Whether it is a full chunk of its content's fixed size. */
  readonly full: boolean;
  /** The key of the writer and kind, 32 bytes. */
  readonly dedupKey: Uint8Array;
}

export interface StoredChunk {
  readonly ref: ChunkRef;
  readonly id: ChunkId;
}

/** Chunks that are looked for at once. */
const LOOKS_AT_ONCE = 16;
/** Rows of places that go to the catalog in one transaction. */
const BATCH = 500;

export class ChunkWriter {
  readonly #session: Session;
  readonly #options: ChunkWriterOptions;
  readonly #redundancy: Redundancy;
  readonly uploader: ShardUploader;
  /** Chunks of this put that have been seen to, or are being, so that equal ones are not sent twice. */
  readonly #seen = new Map<string, Promise<void>>();
  #rows: ChunkRow[] = [];
  /** Memory of the chunks in flight. */
  readonly memory: Lender<ChunkMemory>;
  /** How many there are. */
  readonly inFlight: number;
  /** Those with fewer shards than the redundancy asks for; one may be looked for more than once. */
  readonly #degraded = new IdSet();
  readonly totals = { chunksStored: 0, degradedChunks: 0, newBytes: 0 };

  constructor(session: Session, options: ChunkWriterOptions) {
    this.#session = session;
    this.#options = options;
    this.#redundancy = session.keyring.keyring.redundancy;
    const { retaining } = options;
    const lock =
      retaining === null
        ? undefined
        : (bucket: VaultBucket) => retaining.putCall(bucket, session.clock.now());
    this.uploader = new ShardUploader(options.onWarning, { lock });
    const { lender, inFlight } = session.memory.share(options.chunkSize, this.#redundancy);
    this.memory = lender;
    this.inFlight = inFlight;
  }

  /**
   * Stores the body that lies in memory, and gives the memory back.
   *
   * @param lender whom the memory was borrowed from
   * @returns how the manifest refers to it, once the buckets have it
   * @throws `unavailable` (or what the buckets said) if fewer than k take shards; `storage-full`; `stale`; `interrupted`
   */
  async store(
    memory: ChunkMemory,
    body: Body,
    signal: AbortSignal,
    lender: Pick<Lender<ChunkMemory>, 'giveBack'> = this.memory,
  ): Promise<StoredChunk> {
    let lent = true;
    const giveBack = (): void => {
      if (lent) lender.giveBack(memory);
      lent = false;
    };
    try {
      const identity = await this.#session.workers.identify(memory, body.length, body.dedupKey);
      const same = this.#seen.get(identity.id);
      if (same === undefined) {
        const storing = this.#ensure(memory, body, identity, signal);
        this.#seen.set(identity.id, storing);
        await storing;
      } else {
        giveBack();
        await same;
      }
      return {
        ref: { tag: Buffer.from(identity.tag), hash: Buffer.from(identity.hash), length: body.length },
        id: { id: identity.id, padded: payloadSize(body.length, body.full) },
      };
    } finally {
      giveBack();
    }
  }

  /** Looks whether the buckets have a chunk, and stores what is missing and can be stored. */
  async #ensure(
    memory: ChunkMemory,
    body: Body,
    { id, tag, hash }: Identity,
    signal: AbortSignal,
  ): Promise<void> {
    const { guarded } = this.#options;
    const { length, full } = body;
    const proof = { tag, hash, length };
    const { isThere, sets } = await this.#look(id, { full, length, proof }, signal);
    if (isThere) return;
    // What is only completed is not new.
    const isNew = !sets.some((set) => this.#isReadable(set));
    if (this.#options.dryRun) {
      if (isNew) this.#countNew(length);
      return;
    }
    const { compression } = this.#options;
    const redundancy = this.#redundancy;
    const sealed = await this.#session.workers.seal(memory, { length, full, tag, compression, redundancy });
    const { k, m } = redundancy;
    const objects = objectsOf(memory, k + m, shardSize(sealed.sealedSize, k));
    const row = this.#startOf(id, sealed, sets);
    await this.#retain(shardsOfRow(row, guarded.presence.buckets), signal);
    const stored = await this.uploader.upload(row, objects, guarded.targets, signal);
    const count = stored.shards.filter((place) => place !== null).length;
    if (count < k) throw this.uploader.tooFew(stored);
    if (isNew) this.#countNew(length);
    if (count < k + m) this.#countDegraded(id);
    guarded.presence.note(shardsOfRow(stored, guarded.presence.buckets));
    ownChunks(this.#session, guarded).note(id);
    await this.#record(stored);
  }

  #countNew(length: number): void {
    this.totals.chunksStored += 1;
    this.totals.newBytes += length;
  }

  #countDegraded(id: string): void {
    if (this.#degraded.add(id)) this.totals.degradedChunks += 1;
  }

  /** Makes the locks longer of shards that are there. */
  async #retain(shards: readonly ListedShard[], signal: AbortSignal): Promise<void> {
    const { retaining, dryRun } = this.#options;
    if (retaining === null || dryRun) return;
    await Promise.all(
      shards.map((shard) => retaining.extend({ ...shard, name: objectNameOf(shard) }, signal)),
    );
  }

  /**
   * Looks for a chunk in the buckets.
   *
   * @param body `proof`: what tells it from others; null where its bytes are not at hand, so that what is there in vain is not read
   * @returns whether it is there, as whole as it can be now; if not, what there is of it
   */
  async #look(
    id: string,
    body: Pick<Body, 'length' | 'full'> & { readonly proof: ChunkProof | null },
    signal: AbortSignal,
  ): Promise<{ readonly isThere: boolean; readonly sets: readonly ShardSet[] }> {
    const { guarded } = this.#options;
    // First noted: a renewal that begins meanwhile must name it.
    guarded.note(id);
    await guarded.keep(signal);
    const listed = (await guarded.presence.sets(id, signal)).filter((set) => this.#isPlausible(set, body));
    throwIfAborted(signal);
    const sets = await this.#reliable(id, listed, body.proof, signal);
    const kept = this.#reliedUpon(sets);
    if (kept !== undefined) {
      if (!isEnough(kept, this.#redundancy.m)) this.#countDegraded(id);
      await this.#retain([...chosenShards(kept).values()], signal);
      await this.#record(rowOfSet(kept, sealedSizeOf(kept, body)));
    }
    return { isThere: kept !== undefined, sets };
  }

  /** Of a chunk's sets the one that needs no more shards, or can be given none now. */
  #reliedUpon(sets: readonly ShardSet[]): ShardSet | undefined {
    return sets.find((set) => isEnough(set, this.#redundancy.m)) ?? this.#fullestForNow(sets);
  }

  /**
   * A set that gives the chunk, while every bucket that takes shards has one of it: to seal the chunk again would send nothing. So what
   * is acknowledged is what would be otherwise; as soon as another bucket can take what is missing, it is sent.
   *
   * Only where nothing else is listed of the chunk: the names of two sets do not tell which is the true one.
   */
  #fullestForNow(sets: readonly ShardSet[]): ShardSet | undefined {
    const [set, ...others] = sets.filter(({ shards }) => shards.length > 0);
    if (set === undefined || others.length > 0 || !this.#isReadable(set)) return undefined;
    const holders = new Set([...chosenShards(set).values()].map(({ bucket }) => bucket.number));
    const canTake = this.#options.guarded.targets.some(
      (bucket) => !holders.has(bucket.number) && !this.uploader.hasFailed(bucket),
    );
    return canTake ? undefined : set;
  }

  /** Whether a set gives the chunk back, and is of the redundancy that is asked for: else a whole one is stored beside it. */
  #isReadable(set: ShardSet): boolean {
    const { k, m } = this.#redundancy;
    return set.k === k && set.m === m && chosenShards(set).size >= k;
  }

  /** Of listed sets what may be relied upon: see `own-chunks.ts`. */
  async #reliable(
    id: string,
    listed: readonly ShardSet[],
    proof: ChunkProof | null,
    signal: AbortSignal,
  ): Promise<readonly ShardSet[]> {
    const own = ownChunks(this.#session, this.#options.guarded);
    if (listed.length === 0 || this.#options.dryRun || (await own.has(id, signal))) return listed;
    if (proof === null) return [];
    const read = await own.read(listed, proof, signal);
    if (this.#reliedUpon(read) !== undefined) own.note(id);
    return read;
  }

  /**
   * Whether the buckets have chunks that are known from before, as whole as they can be now, so that their bodies need not be had.
   *
   * @param fullSize bytes of a full chunk of a fixed size; null where there are none
   */
  async areThere(refs: Iterable<ChunkRef>, fullSize: number | null, signal: AbortSignal): Promise<boolean> {
    const look = async ({ tag, length }: ChunkRef, aborted: AbortSignal): Promise<boolean> => {
      const id = idOfTag(tag);
      const body = { length, full: length === fullSize, proof: null };
      return (await this.#look(id, body, aborted)).isThere;
    };
    for await (const isThere of mapOrdered(refs, look, { inFlight: LOOKS_AT_ONCE, signal })) {
      if (!isThere) return false;
    }
    return true;
  }

  /** The set to complete: what is there of the same sealing, or nothing. */
  #startOf(id: string, { sealing, sealedSize }: SealedChunk, sets: readonly ShardSet[]): ChunkRow {
    const { k, m } = this.#redundancy;
    const begun = sets.find(
      (set) => set.sealing === sealing && set.k === k && set.m === m && fitsSize(set, sealedSize),
    );
    if (begun !== undefined) return rowOfSet(begun, sealedSize);
    return { id, k, m, sealing, sealedSize, shards: Array.from<null>({ length: k + m }).fill(null) };
  }

  /** Whether objects of this size can be the chunk's: no sealing is larger than the one of the plain body. */
  #isPlausible(set: ShardSet, { length }: Pick<Body, 'length'>): boolean {
    return set.objectSize <= shardObjectSize(payloadSize(length, false) + SEAL_OVERHEAD, set.k);
  }

  /** Tells the catalog where the shards are, in batches; `finish` sends the last one. */
  async #record(row: ChunkRow): Promise<void> {
    // Who can only store never reads.
    if (this.#options.dryRun || this.#session.keys.full === null) return;
    this.#rows.push(row);
    if (this.#rows.length >= BATCH) await this.finish();
  }

  /** Ends the put's part with the catalog. */
  async finish(): Promise<void> {
    const rows = new Map(this.#rows.splice(0).map((row) => [row.id, row]));
    if (rows.size > 0) await this.#session.catalog.chunks.put([...rows.values()]);
  }
}

/** Bytes of the sealed chunk, as far as a listing tells: readers go by the shards' headers. */
function sealedSizeOf(set: ShardSet, { length, full }: Pick<Body, 'length' | 'full'>): number {
  return Math.min(payloadSize(length, full) + SEAL_OVERHEAD, mostSealedOf(set));
}
