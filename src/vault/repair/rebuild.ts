/**
 * Making chunks whole: the shards that are missing are made anew from the others and stored in buckets that have none of the
 * chunk, or a whole new set is stored. It works under a marker, and removes nothing: what is left over goes with a sweep.
 */
import type { ChunkRow } from '../../catalog/catalog.ts';
import { payloadSize, SEAL_OVERHEAD } from '../../format/chunk.ts';
import { CHUNK_PREFIX, shardObjectSize, shardSize } from '../../format/shard.ts';
import type { Redundancy } from '../../format/shard.ts';
import { Budget } from '../../concurrency/semaphore.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { mergedListing } from '../buckets/merged-listing.ts';
import type { PlannedStep, PlanOptions, Warning } from '../call.ts';
import { allocateChunkMemory, chunkMemorySize, objectsOf } from '../chunks/chunk-memory.ts';
import type { ChunkProof } from '../chunks/chunk-worker.ts';
import { IdSet } from '../chunks/id-set.ts';
import { Presence } from '../chunks/presence.ts';
import {
  fitsSize,
  isComplete,
  isReadable,
  objectNameOf,
  rowOfSet,
  setsOf,
  shardsOf,
} from '../chunks/shard-sets.ts';
import type { ListedShard, ShardSet } from '../chunks/shard-sets.ts';
import { codedObjects, mostSealed, takeBack } from '../chunks/shards.ts';
import { ShardUploader } from '../chunks/shard-uploader.ts';
import type { Session } from '../session.ts';
import { isCoded, isWhole, sealedSizeOf } from './census.ts';
import { goodShards } from '../chunks/good-shards.ts';
import type { GoodShards } from '../chunks/good-shards.ts';
import type { Ground } from './ground.ts';

export interface RebuildOptions extends Pick<PlanOptions, 'dryRun' | 'onPlanned'> {
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

/** A chunk to be made whole. */
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
  readonly #session: Session;
  readonly #options: RebuildOptions;
  readonly #budget: Budget;
  readonly #presence: Presence | null;
  readonly #uploader: ShardUploader | ShardPlan;
  /** Chunks of which something was stored (or would be). */
  readonly repaired = new IdSet();

  constructor(session: Session, options: RebuildOptions) {
    this.#session = session;
    this.#options = options;
    this.#budget = new Budget(session.limits.chunkMemory);
    const { ground, expected } = options;
    this.#presence = expected <= MOST_BY_PAGES ? new Presence(ground.sources, session.clock) : null;
    this.#uploader =
      options.dryRun === true
        ? new ShardPlan(options.onPlanned)
        : new ShardUploader(options.onWarning, { fullIsFatal: false });
  }

  /** Shards stored, and their bytes (or what would be). */
  get shardsStored(): number {
    return this.#uploader.shardsStored;
  }
  get bytesStored(): number {
    return this.#uploader.bytesStored;
  }

  /** Does what can be done for one chunk. */
  async run(chunk: NeedyChunk, signal: AbortSignal | undefined): Promise<Rebuilt> {
    const { ground, redundancy, reads } = this.#options;
    await ground.keep(signal);
    ground.note(chunk.id);
    const shards = await this.#look(chunk.id, signal);
    const lasting = shards.filter((shard) => !ground.isNamed(objectNameOf(shard)));
    const spare = this.#session.keyring.keyring.redundancy.m;
    if (!reads && isWhole(lasting, { redundancy, spare })) return 'whole';
    // What one bucket alone can show comes last: where nothing proves the body, the first that can be read is believed.
    const sets = setsOf(shards).toSorted((a, b) => Number(a.m < spare) - Number(b.m < spare));
    let best: Rebuilt = ground.isComplete ? 'lost' : 'unknown';
    for (const set of sets) {
      const outcome = await this.#fromSet(set, { ...chunk, shards, lasting, signal });
      if (outcome === 'whole' || outcome === 'repaired') return outcome;
      if (outcome === 'degraded' || best === 'lost') best = outcome;
      if (outcome === 'degraded') break;
    }
    return best;
  }

  /** The shards of one chunk that buckets list. */
  async #look(id: string, signal: AbortSignal | undefined): Promise<ListedShard[]> {
    const { ground } = this.#options;
    if (this.#presence !== null) {
      const sets = await this.#presence.sets(id, signal);
      for (const failure of this.#presence.failures) ground.noteFailure(failure);
      return sets.flatMap(({ shards }) => shards);
    }
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

  /** What a set shall be coded with: as it is, if the buckets that take shards are too few for what is wished. */
  #targetOf(set: ShardSet): { readonly target: Redundancy; readonly isWished: boolean } {
    const { redundancy, ground } = this.#options;
    const own = { k: set.k, m: set.m };
    if (redundancy === null || isCoded(set, redundancy)) return { target: own, isWished: true };
    const takers = ground.targets.filter((bucket) => !this.#uploader.hasFailed(bucket));
    if (takers.length >= redundancy.k + redundancy.m) return { target: redundancy, isWished: true };
    return { target: own, isWished: false };
  }

  async #lookInto(set: ShardSet, { proof, padded, signal }: Task): Promise<GoodShards> {
    const { dryRun, reads } = this.#options;
    // What would be done is told by the listings, as far as they go: reading is what a dry run saves.
    if (dryRun === true && !reads) {
      return { picked: isReadable(set) ? [] : null, good: set.shards, bad: [], unknown: [] };
    }
    const most =
      padded === null ? mostSealed(proof?.length ?? null) : payloadSize(padded, false) + SEAL_OVERHEAD;
    return goodShards(this.#session, set, { proof, most, all: reads, signal });
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

  /** Makes all shards of a set, and stores those that it lacks. */
  async #store(
    set: ShardSet,
    kept: ShardSet,
    found: GoodShards,
    { id, proof, padded, signal }: Task,
  ): Promise<Rebuilt> {
    const picked = found.picked ?? [];
    const redundancy = { k: kept.k, m: kept.m };
    const { targets } = this.#options.ground;
    const before = this.shardsStored;
    let stored: ChunkRow;
    if (this.#uploader instanceof ShardPlan) {
      const sealedSize = picked[0]?.sealedSize ?? likelySize(set, padded);
      stored = await this.#uploader.upload(rowOfSet(kept, sealedSize), targets, reasonOf(set, kept, found));
    } else {
      const coded = codedObjects(picked);
      if (coded === null) return 'lost';
      const { sealedSize } = coded;
      const bodySize = Math.max(proof?.length ?? 0, sealedSize - SEAL_OVERHEAD);
      const memory = allocateChunkMemory(bodySize, redundancy);
      const answer = await this.#session.workers.recode(memory, { id, proof, redundancy }, coded);
      takeBack(picked, answer.objects);
      if (!answer.opened) return 'lost';
      const objects = objectsOf(memory, kept.k + kept.m, shardSize(sealedSize, kept.k));
      const row = rowOfSet(kept, sealedSize);
      stored = await this.#uploader.upload(row, objects, targets, signal);
      await this.#session.catalog.chunks.put([stored]);
    }
    if (this.shardsStored > before) this.repaired.add(id);
    return stored.shards.includes(null) ? 'degraded' : 'repaired';
  }
}

/** Bytes of the sealed chunk, as far as its size and that of its shards tell. */
function likelySize(set: ShardSet, padded: number | null): number {
  const plain = padded === null ? null : padded + SEAL_OVERHEAD;
  return plain !== null && fitsSize(set, plain) ? plain : sealedSizeOf(set);
}

/** Why shards of a set are to be stored. */
function reasonOf(set: ShardSet, kept: ShardSet, { bad, good }: GoodShards): PlannedStep['reason'] {
  if (!isCoded(set, kept)) return 'recoded';
  if (bad.length > 0) return 'damaged';
  return good.some(({ bucket }) => bucket.state !== 'active') ? 'moved' : 'missing';
}

/** Says where shards would go. */
class ShardPlan {
  readonly #onPlanned: PlanOptions['onPlanned'];
  shardsStored = 0;
  bytesStored = 0;

  constructor(onPlanned: PlanOptions['onPlanned']) {
    this.#onPlanned = onPlanned;
  }

  hasFailed(): boolean {
    return false;
  }

  async upload(
    row: ChunkRow,
    targets: readonly VaultBucket[],
    reason: PlannedStep['reason'],
  ): Promise<ChunkRow> {
    const taken = new Set(row.shards.flatMap((place) => (place === null ? [] : [place.bucket])));
    const free = targets.filter(({ number }) => !taken.has(number));
    const shards = row.shards.map((place) => {
      const bucket = place === null ? free.shift() : undefined;
      if (bucket === undefined) return place;
      return { bucket: bucket.number, upload: '' };
    });
    const bytes = shardObjectSize(row.sealedSize, row.k);
    const step = { action: 'store', object: CHUNK_PREFIX + row.id, reason, bytes } as const;
    for (let left = shards.filter((place, i) => place !== row.shards[i]).length; left > 0; left -= 1) {
      this.shardsStored += 1;
      this.bytesStored += bytes;
      await this.#onPlanned?.({ ...step, file: null, bucket: null });
    }
    return { ...row, shards };
  }
}
