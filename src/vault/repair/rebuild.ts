/**
 * Making chunks whole: the shards that are missing are made anew from the others and stored in buckets that have none of the
 * chunk, or a whole new set is stored. It works under a marker, and removes nothing: what is left over goes with a sweep.
 */
import { SEAL_OVERHEAD } from '../../format/limits.ts';
import { CHUNK_PREFIX, shardSize } from '../../format/shard.ts';
import type { Redundancy } from '../../format/shard.ts';
import { Budget } from '../../concurrency/semaphore.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { mergedListing } from '../buckets/merged-listing.ts';
import type { Warning } from '../call.ts';
import { allocateChunkMemory, chunkMemorySize, objectsOf } from '../chunks/chunk-memory.ts';
import type { ChunkProof } from '../chunks/chunk-worker.ts';
import { isComplete, objectNameOf, rowOfSet, setsOf, shardsOf } from '../chunks/shard-sets.ts';
import type { ListedShard, ShardSet } from '../chunks/shard-sets.ts';
import { codedObjects, mostSealed, takeBack } from '../chunks/shards.ts';
import { ShardUploader } from '../chunks/shard-uploader.ts';
import type { Session } from '../session.ts';
import type { Guarded } from '../write/put-guard.ts';
import { goodShards } from './good-shards.ts';
import type { GoodShards } from './good-shards.ts';

export interface RebuildOptions {
  readonly guarded: Guarded;
  /** Buckets that are asked for shards. */
  readonly sources: readonly VaultBucket[];
  /** What chunks shall be coded with; null for as they are. */
  readonly redundancy: Redundancy | null;
  /** Whether every shard is read, and not only looked for. */
  readonly reads: boolean;
  readonly onWarning: (warning: Warning) => void;
}

/** What became of one chunk: it was whole, is whole now, is as whole as the buckets allow, or cannot be had. */
export type Rebuilt = 'whole' | 'repaired' | 'degraded' | 'lost';

/** A chunk to be made whole. */
interface Task {
  readonly id: string;
  readonly proof: ChunkProof | null;
  /** Its shards that no list of removal names. */
  readonly lasting: readonly ListedShard[];
  readonly signal: AbortSignal | undefined;
}

export class Rebuild {
  readonly #session: Session;
  readonly #options: RebuildOptions;
  readonly #budget: Budget;
  readonly uploader: ShardUploader;
  /** Chunks of which something was stored. */
  chunksRepaired = 0;
  /** Names of objects that are not what they should be, and have been replaced. */
  readonly damaged: string[] = [];

  constructor(session: Session, options: RebuildOptions) {
    this.#session = session;
    this.#options = options;
    this.#budget = new Budget(session.limits.chunkMemory);
    this.uploader = new ShardUploader(options.onWarning);
  }

  /**
   * Does what can be done for one chunk.
   *
   * @param id 64 hex digits
   * @param proof what its body is known by; null where nobody here can open it (tables of ids, locked files): then its shards are
   *   as good as their checksums
   */
  async run(id: string, proof: ChunkProof | null, signal: AbortSignal | undefined): Promise<Rebuilt> {
    const { guarded, sources, redundancy, reads } = this.#options;
    await guarded.keep(signal);
    guarded.note(id);
    const shards = await listShards(sources, id, signal);
    const lasting = shards.filter((shard) => !guarded.isNamed(objectNameOf(shard)));
    if (!reads && isWhole(lasting, redundancy)) return 'whole';
    let best: Rebuilt = 'lost';
    for (const set of setsOf(shards)) {
      const outcome = await this.#fromSet(set, { id, proof, lasting, signal });
      if (outcome === 'whole' || outcome === 'repaired') return outcome;
      if (outcome === 'degraded') best = 'degraded';
    }
    return best;
  }

  /** Makes a chunk whole out of the shards of one sealing, if they give it. */
  async #fromSet(set: ShardSet, task: Task): Promise<Rebuilt> {
    const target = this.#options.redundancy ?? { k: set.k, m: set.m };
    const most = mostSealed(task.proof?.length ?? null);
    const cost = chunkMemorySize(set.k * set.objectSize, target) + set.objectSize * set.shards.length;
    return this.#budget.spend(cost, async () => {
      const { proof, signal } = task;
      const found = await goodShards(this.#session, set, { proof, most, all: this.#options.reads, signal });
      if (found === null) return 'lost';
      const kept = { ...set, ...target, shards: lastingOf(set, target, found, task) };
      const outcome = isComplete(kept) ? 'whole' : await this.#store(kept, found, task);
      if (outcome !== 'lost') this.damaged.push(...found.bad.map(objectNameOf));
      return outcome;
    });
  }

  /** Makes all shards of a set, and stores those that it lacks. */
  async #store(kept: ShardSet, { picked }: GoodShards, { id, proof, signal }: Task): Promise<Rebuilt> {
    const coded = codedObjects(picked);
    if (coded === null) return 'lost';
    const { sealedSize } = coded;
    const bodySize = Math.max(proof?.length ?? 0, sealedSize - SEAL_OVERHEAD);
    const redundancy = { k: kept.k, m: kept.m };
    const memory = allocateChunkMemory(bodySize, redundancy);
    const answer = await this.#session.workers.recode(memory, { id, proof, redundancy }, coded);
    takeBack(picked, answer.objects);
    if (!answer.opened) return 'lost';
    const objects = objectsOf(memory, kept.k + kept.m, shardSize(sealedSize, kept.k));
    const before = this.uploader.shardsStored;
    const { targets } = this.#options.guarded;
    const stored = await this.uploader.upload(rowOfSet(kept, sealedSize), objects, targets, signal);
    if (this.uploader.shardsStored > before) this.chunksRepaired += 1;
    await this.#session.catalog.chunks.put([stored]);
    return stored.shards.includes(null) ? 'degraded' : 'repaired';
  }
}

/** The good shards of a set that stay: in buckets that are not being emptied, and coded as they shall be. */
function lastingOf(
  set: ShardSet,
  target: Redundancy,
  { good }: GoodShards,
  task: Task,
): readonly ListedShard[] {
  if (set.k !== target.k || set.m !== target.m) return [];
  const lasting = new Set(task.lasting);
  return good.filter((shard) => lasting.has(shard) && shard.bucket.state === 'active');
}

/** Whether shards hold a complete set, none of it in a bucket that is being emptied. @param redundancy null for any */
export function isWhole(shards: readonly ListedShard[], redundancy: Redundancy | null): boolean {
  const staying = shards.filter(({ bucket }) => bucket.state === 'active');
  return setsOf(staying).some(
    (set) => isComplete(set) && (redundancy === null || (set.k === redundancy.k && set.m === redundancy.m)),
  );
}

/** The shards of one chunk that buckets list; a bucket that cannot be listed has none. */
async function listShards(
  buckets: readonly VaultBucket[],
  id: string,
  signal: AbortSignal | undefined,
): Promise<ListedShard[]> {
  const found: ListedShard[] = [];
  const prefix = `${CHUNK_PREFIX}${id}.`;
  for await (const entry of mergedListing(buckets, prefix, { signal, onFailure: () => undefined })) {
    found.push(...shardsOf(entry));
  }
  return found;
}
