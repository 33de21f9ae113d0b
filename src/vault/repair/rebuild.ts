/**
 * Making chunks whole: the shards that are missing are made anew from the others and stored in buckets that have none of the
 * chunk, or a whole new set is stored. It works under a marker, and removes nothing: what is left over goes with a sweep.
 */
import type { ChunkRow } from '../../catalog/catalog.ts';
import { payloadSize, SEAL_OVERHEAD } from '../../format/chunk.ts';
import { CHUNK_PREFIX, shardObjectSize, shardSize, type Redundancy } from '../../format/shard.ts';
import { Budget } from '../../concurrency/semaphore.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';
import { mergedListing } from '../buckets/merged-listing.ts';
import type { PlannedStep, Warning } from '../call.ts';
import { allocateChunkMemory, chunkMemorySize, objectsOf } from '../chunks/chunk-memory.ts';
import type { ChunkProof } from '../chunks/chunk-jobs.ts';
import { IdSet } from '../chunks/id-set.ts';
import { Presence } from '../chunks/presence.ts';
import { fitsSize, isComplete, objectNameOf, rowOfSet, setsOf, shardsOf } from '../chunks/shard-sets.ts';
import type { ListedShard, ShardSet } from '../chunks/shard-sets.ts';
import { codedObjects, mostSealed, takeBack, type FetchedShard } from '../chunks/shards.ts';
import { ShardUploader } from '../chunks/shard-uploader.ts';
import type { ReadSession, Session } from '../session.ts';
import { isCoded, isWhole, sealedSizeOf } from './census.ts';
import { goodShards, type GoodShards } from '../chunks/good-shards.ts';
import type { Ground } from './ground.ts';

export interface RebuildOptions {
  readonly ground: Ground;
  /** What chunks shall be coded with; null for as they are. */
  readonly redundancy: Redundancy | null;
  /** Whether every shard is read, and not only looked for. */
  readonly reads: boolean;
  /** About how many chunks there will be. */
  readonly expected: number;
  readonly onWarning: (warning: Warning) => void;
  /** Told of an object that is not what it should be, and has been replaced. */
  readonly onReplaced: (objectName: string) => Promise<void>;
}

/**
 * What became of one chunk: it was whole, is whole now, is as whole as the buckets allow, cannot be had while a bucket does not
 * answer, or cannot be had.
 */
export type Rebuilt = 'whole' | 'repaired' | 'degraded' | 'unknown' | 'lost';

export interface NeedyChunk {
  /** 64 hex digits. */
  readonly id: string;
  /** Bytes of its plain payload; null where that is not known. */
  readonly padded: number | null;
  /**
   * What its body is known by; null where nobody here can open it (the content of locked files): then its shards are as good as
   * their checksums.
   */
  readonly proof: ChunkProof | null;
}

interface Task extends NeedyChunk {
  /** All its shards, and those that no list of removal names. */
  readonly shards: readonly ListedShard[];
  readonly lasting: readonly ListedShard[];
  readonly signal: AbortSignal | undefined;
}

/** Chunks for which one listing of everything is cheaper than one for each. */
const MOST_BY_PAGES = 50_000;

export class Rebuild {
  readonly #session: ReadSession;
  readonly #options: RebuildOptions;
  readonly #budget: Budget;
  readonly #presence: Presence | null;
  readonly #uploader: ShardUploader;
  /** Chunks of which something was stored (or would be). */
  readonly repaired = new IdSet();
  /** Chunks of which a bucket has taken a shard, by the bucket's number. */
  readonly taken = new Map<number, IdSet>();
  /** Shards stored, and their bytes (or what would be). */
  shardsStored = 0;
  bytesStored = 0;

  constructor(session: ReadSession, options: RebuildOptions) {
    this.#session = session;
    this.#options = options;
    this.#budget = new Budget(session.limits.chunkMemory);
    const { ground, expected } = options;
    this.#presence = expected <= MOST_BY_PAGES ? new Presence(ground.sources, session.clock) : null;
    this.#uploader = new ShardUploader(options.onWarning, { fullIsFatal: false });
  }

  async run(chunk: NeedyChunk, signal: AbortSignal | undefined): Promise<Rebuilt> {
    const { ground } = this.#options;
    await ground.keep(signal);
    ground.note(chunk.id);
    const shards = await this.#look(chunk.id, signal);
    const rebuilt = await this.#from(shards, chunk, signal);
    if (rebuilt !== 'lost') return rebuilt;
    // Another repair may have stored it anew since they were listed, and a sweep have removed what that has replaced.
    const known = new Set(shards.map(objectNameOf));
    const now = await this.#list(chunk.id, signal);
    return now.some((shard) => !known.has(objectNameOf(shard))) ? this.#from(now, chunk, signal) : rebuilt;
  }

  async #from(
    shards: readonly ListedShard[],
    chunk: NeedyChunk,
    signal: AbortSignal | undefined,
  ): Promise<Rebuilt> {
    const { ground, redundancy, reads } = this.#options;
    const lasting = shards.filter((shard) => !ground.isNamed(objectNameOf(shard)));
    if (!reads && isWhole(lasting, { redundancy, spare: this.#wish.m })) return 'whole';
    // What one bucket alone can show comes last: where nothing proves the body, the first that can be read is believed. What is coded
    // as wished comes first: of any other, all may have to be stored again.
    const rank = (set: ShardSet): number =>
      (set.m < this.#wish.m ? 4 : 0) + (isCoded(set, this.#wish) ? 0 : 2) + (this.#canComplete(set) ? 0 : 1);
    const sets = setsOf(shards).toSorted((a, b) => rank(a) - rank(b));
    let best: Rebuilt = ground.isComplete ? 'lost' : 'unknown';
    for (const set of sets) {
      if (best === 'degraded' && !this.#canComplete(set)) continue;
      const outcome = await this.#fromSet(set, { ...chunk, shards, lasting, signal });
      if (outcome === 'whole' || outcome === 'repaired') return outcome;
      if (outcome === 'degraded' || best === 'lost') best = outcome;
    }
    return best;
  }

  /** The shards of one chunk that buckets list. */
  async #look(id: string, signal: AbortSignal | undefined): Promise<ListedShard[]> {
    if (this.#presence === null) return this.#list(id, signal);
    const sets = await this.#presence.sets(id, signal);
    for (const failure of this.#presence.failures) this.#options.ground.noteFailure(failure);
    return sets.flatMap(({ shards }) => shards);
  }

  /** As they are now. */
  async #list(id: string, signal: AbortSignal | undefined): Promise<ListedShard[]> {
    const { ground } = this.#options;
    const found: ListedShard[] = [];
    const prefix = `${CHUNK_PREFIX}${id}.`;
    for await (const entry of mergedListing(ground.sources, prefix, {
      signal,
      onFailure: ground.noteFailure,
    })) {
      found.push(...shardsOf(entry));
    }
    return found;
  }

  /** Makes a chunk whole out of the shards of one sealing, if they give it. */
  async #fromSet(set: ShardSet, task: Task): Promise<Rebuilt> {
    const { target, isWished } = this.#targetOf(set);
    const cost = chunkMemorySize(set.k * set.objectSize, target) + set.objectSize * set.shards.length;
    return this.#budget.spend(cost, async () => {
      const found = await this.#lookInto(set, task);
      if (found.picked === null) {
        return found.unknown.length > 0 || !this.#options.ground.isComplete ? 'unknown' : 'lost';
      }
      const kept = { ...set, ...target, shards: this.#keptOf(set, target, found, task) };
      const outcome = isComplete(kept) ? 'whole' : await this.#store(set, kept, found, task);
      if (outcome === 'whole' || outcome === 'repaired') {
        // Those that are on their way out already have been replaced before.
        const replaced = found.bad.filter((shard) => task.lasting.includes(shard));
        for (const shard of replaced) await this.#options.onReplaced(objectNameOf(shard));
      }
      return isWished || outcome === 'lost' ? outcome : 'degraded';
    });
  }

  /** What is wished, which is the keyring's unless a change of it is only told. */
  get #wish(): Redundancy {
    return this.#options.redundancy ?? this.#session.keyring.keyring.redundancy;
  }

  get #takers(): readonly ReadBucket[] {
    return this.#options.ground.targets.filter((bucket) => !this.#uploader.hasFailed(bucket));
  }

  /** Whether the buckets that have shards of a set or take some are enough for all of it. */
  #canComplete({ shards, k, m }: ShardSet): boolean {
    const holders = shards.flatMap(({ bucket }) => (bucket.state === 'active' ? [bucket] : []));
    return new Set([...holders, ...this.#takers].map(({ number }) => number)).size >= k + m;
  }

  /** What a set shall be coded with: as it is where that is good enough, or if the buckets that take shards are too few for what is wished. */
  #targetOf(set: ShardSet): { readonly target: Redundancy; readonly isWished: boolean } {
    const wish = this.#wish;
    const own = { k: set.k, m: set.m };
    if (isCoded(set, wish)) return { target: own, isWished: true };
    const isWished = this.#options.redundancy === null && set.m >= wish.m;
    if (isWished && this.#canComplete(set)) return { target: own, isWished };
    if (this.#takers.length >= wish.k + wish.m) return { target: wish, isWished: true };
    return { target: own, isWished };
  }

  async #lookInto(set: ShardSet, { proof, padded, signal }: Task): Promise<GoodShards> {
    const { ground, reads } = this.#options;
    const most =
      padded === null ? mostSealed(proof?.length ?? null) : payloadSize(padded, false) + SEAL_OVERHEAD;
    const how = { proof, most, signal };
    return reads ? goodShards(this.#session, set, { ...how, all: true }) : ground.pick(set, how);
  }

  /** The shards that stay: in buckets that are not being emptied, and coded as they shall be. */
  #keptOf(
    set: ShardSet,
    target: Redundancy,
    { good, unknown }: GoodShards,
    { shards, lasting }: Task,
  ): readonly ListedShard[] {
    const stays = new Set(lasting.filter(({ bucket }) => bucket.state === 'active'));
    if (isCoded(set, target)) return [...good, ...unknown].filter((shard) => stays.has(shard));
    if (this.#options.reads) return [];
    // A coding anew that was cut short has left some.
    const size = shardObjectSize(sealedSizeOf(set), target.k);
    return shards.filter(
      (shard) =>
        shard.name.sealing === set.sealing &&
        isCoded(shard.name, target) &&
        Math.abs(shard.size - size) <= set.k &&
        stays.has(shard),
    );
  }

  async #store(set: ShardSet, kept: ShardSet, found: GoodShards, task: Task): Promise<Rebuilt> {
    const picked = found.picked ?? [];
    const row = rowOfSet(kept, picked[0]?.sealedSize ?? likelySize(set, task.padded));
    const { ground } = this.#options;
    const told = filled(row, ground.targets);
    const bytes = shardObjectSize(row.sealedSize, row.k);
    const facts = { reason: reasonOf(set, kept, found), bytes, file: null, bucket: null };
    const step = { action: 'store', object: CHUNK_PREFIX + row.id, ...facts } as const;
    const steps = Array.from({ length: placesIn(told) - placesIn(row) }, () => step);
    const stored = await ground.take<ChunkRow | null>(steps, told, (writing) =>
      this.#upload(writing, row, picked, task),
    );
    if (stored === null) return 'lost';
    const shards = placesIn(stored) - placesIn(row);
    this.shardsStored += shards;
    this.bytesStored += shards * bytes;
    if (shards > 0) this.repaired.add(row.id);
    return stored.shards.includes(null) ? 'degraded' : 'repaired';
  }

  /** Makes all shards of a chunk, and sends those that have no place. @returns null if what was picked does not give the chunk after all */
  async #upload(
    { workers, catalog, buckets }: Session,
    row: ChunkRow,
    picked: readonly FetchedShard[],
    { id, proof, signal }: Task,
  ): Promise<ChunkRow | null> {
    const coded = codedObjects(picked);
    if (coded === null) return null;
    const redundancy = { k: row.k, m: row.m };
    const bodySize = Math.max(proof?.length ?? 0, row.sealedSize - SEAL_OVERHEAD);
    const memory = allocateChunkMemory(bodySize, redundancy);
    const answer = await workers.recode(memory, { id, proof, redundancy }, coded);
    takeBack(picked, answer.objects);
    if (!answer.opened) return null;
    const objects = objectsOf(memory, row.k + row.m, shardSize(row.sealedSize, row.k));
    const targets = this.#options.ground.targets.flatMap(({ number }) => buckets.byNumber(number) ?? []);
    const stored = await this.#uploader.upload(row, objects, targets, signal);
    await catalog.chunks.put([stored]);
    for (const [index, place] of stored.shards.entries()) {
      if (place === null || row.shards[index] !== null) continue;
      const ids = this.taken.get(place.bucket) ?? new IdSet();
      ids.add(id);
      this.taken.set(place.bucket, ids);
    }
    return stored;
  }
}

/** A row as it is once every bucket has taken what it is given. */
function filled(row: ChunkRow, targets: readonly ReadBucket[]): ChunkRow {
  const taken = new Set(row.shards.map((place) => place?.bucket));
  const free = targets.filter(({ number }) => !taken.has(number));
  const shards = row.shards.map((place) => {
    const bucket = place === null ? free.shift() : undefined;
    return bucket === undefined ? place : { bucket: bucket.number, upload: '' };
  });
  return { ...row, shards };
}

function placesIn({ shards }: ChunkRow): number {
  return shards.filter((place) => place !== null).length;
}

/** Bytes of the sealed chunk, as far as its size and that of its shards tell. */
function likelySize(set: ShardSet, padded: number | null): number {
  const plain = padded === null ? null : padded + SEAL_OVERHEAD;
  return plain !== null && fitsSize(set, plain) ? plain : sealedSizeOf(set);
}

function reasonOf(set: ShardSet, kept: ShardSet, { bad, good }: GoodShards): PlannedStep['reason'] {
  if (!isCoded(set, kept)) return 'recoded';
  if (bad.length > 0) return 'damaged';
  return good.some(({ bucket }) => bucket.state !== 'active') ? 'moved' : 'missing';
}
