/** Which shards of a set are good: fetched, checked, and, where the body's hash is known, tried. */
import { checkShards, fetchShard, openFromAny, stateOf, type FetchedShard } from './shards.ts';
import { allocateChunkMemory } from './chunk-memory.ts';
import type { ChunkProof } from './chunk-jobs.ts';
import type { ListedShard, ShardSet } from './shard-sets.ts';
import type { ReadSession } from '../session.ts';

export interface GoodShards {
  /** k of them that give the chunk; null if none do. */
  readonly picked: readonly FetchedShard[] | null;
  /** What counts as there: what was found good, and what was not looked at. */
  readonly good: readonly ListedShard[];
  readonly bad: readonly ListedShard[];
  /** Shards that could not be asked for: they may be good. */
  readonly unknown: readonly ListedShard[];
}

export interface GoodShardsOptions {
  /** Null where nobody here can open the chunk: then a shard is as good as its checksum. */
  readonly proof: ChunkProof | null;
  /** Bytes of the sealed chunk at most. */
  readonly most: number;
  /** Whether all are read, or only as many as give the chunk. */
  readonly all: boolean;
  readonly signal: AbortSignal | undefined;
}

export async function goodShards(
  session: ReadSession,
  set: ShardSet,
  options: GoodShardsOptions,
): Promise<GoodShards> {
  const { proof, all } = options;
  const { fetched, rest, bad, unknown } = await fetchShards(session, set, options);
  const pool = [...fetched.keys()];
  const picked =
    proof === null ? firstOfEach(pool, set.k) : await pickProved(session, pool, { proof, judgeAll: all });
  if (picked === null) {
    if (!all && rest.length > 0) return goodShards(session, set, { ...options, all: true });
    const tooNew = pool.filter((shard) => shard.tooNew === true).flatMap((shard) => fetched.get(shard) ?? []);
    return { picked: null, good: [], bad, unknown: [...unknown, ...tooNew] };
  }
  const misfits = new Set(picked.misfits);
  const good = pool.filter((shard) => !misfits.has(shard)).flatMap((shard) => fetched.get(shard) ?? []);
  const wrong = picked.misfits.flatMap((shard) => fetched.get(shard) ?? []);
  return { picked: picked.picked, good: [...good, ...rest], bad: [...bad, ...wrong], unknown };
}

/** Fetches shards whose checksums are right: all, or until there are k of different indices. */
async function fetchShards(
  session: ReadSession,
  set: ShardSet,
  { most, all, signal }: GoodShardsOptions,
): Promise<{
  readonly fetched: ReadonlyMap<FetchedShard, ListedShard>;
  readonly rest: readonly ListedShard[];
  readonly bad: readonly ListedShard[];
  readonly unknown: readonly ListedShard[];
}> {
  const fetched = new Map<FetchedShard, ListedShard>();
  const indices = new Set<number>();
  const rest: ListedShard[] = [];
  const bad: ListedShard[] = [];
  const unknown: ListedShard[] = [];
  for (const shard of set.shards) {
    if (!all && indices.size >= set.k) {
      rest.push(shard);
      continue;
    }
    try {
      const got = await fetchShard(shard, most, { signal });
      const [intact] = await checkShards(session, [got]);
      if (intact === true) {
        fetched.set(got, shard);
        indices.add(shard.name.index);
      } else bad.push(shard);
    } catch (error) {
      const state = stateOf(error);
      if (state === 'damaged') bad.push(shard);
      if (state === 'unknown') unknown.push(shard);
    }
  }
  return { fetched, rest, bad, unknown };
}

async function pickProved(
  session: ReadSession,
  pool: readonly FetchedShard[],
  { proof, judgeAll }: { readonly proof: ChunkProof; readonly judgeAll: boolean },
): ReturnType<typeof openFromAny> {
  const [first] = pool;
  if (first === undefined) return null;
  const size = Math.max(proof.length, first.sealedSize);
  return openFromAny(session, allocateChunkMemory(size, null), proof, pool, { judgeAll });
}

/** One shard of each index, as many as are needed; null if there are fewer. */
function firstOfEach(
  pool: readonly FetchedShard[],
  k: number,
): { readonly picked: readonly FetchedShard[]; readonly misfits: readonly FetchedShard[] } | null {
  const byIndex = new Map(pool.toReversed().map((shard) => [shard.candidate.name.index, shard]));
  const picked = [...byIndex.values()].slice(0, k);
  return picked.length < k ? null : { picked, misfits: [] };
}
