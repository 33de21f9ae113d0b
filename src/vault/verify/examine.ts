/** What has become of a chunk's shards: told by their bytes, or by listings alone. */
import type { ListedObject } from '../../buckets/bucket.ts';
import type { ChunkRow } from '../../catalog/catalog.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { SEAL_OVERHEAD } from '../../format/chunk.ts';
import {
  CHUNK_PREFIX,
  formatRedundancy,
  parseShardObjectName,
  shardObjectName,
  shardObjectSize,
  shardSize,
} from '../../format/shard.ts';
import type { Redundancy } from '../../format/shard.ts';
import type { BucketSet, VaultBucket } from '../buckets/bucket-set.ts';
import { allocateChunkMemory, objectsOf } from '../chunks/chunk-memory.ts';
import type { ChunkMemory } from '../chunks/chunk-memory.ts';
import type { Session } from '../session.ts';
import { checkShards, fetchShard, findShards, openFromAny, recordedShard } from '../chunks/shards.ts';
import type { FetchedShard, ShardCandidate } from '../chunks/shards.ts';
import type { Condition } from '../vault.ts';
import { benchMemory, bodySize, keepSpare } from '../chunks/workbench.ts';
import type { Workbench } from '../chunks/workbench.ts';

/**
 * What has become of one shard.
 *
 * - `good`      it is there, as far as was looked
 * - `unstored`  the catalog has no place for it: it was never stored, or is known to be lost
 * - `missing`   its bucket answered that it has no such object, or is no longer the vault's
 * - `damaged`   its bucket has something else in its place
 * - `unknown`   its bucket could not be asked
 */
export type ShardState = 'good' | 'unstored' | 'missing' | 'damaged' | 'unknown';

/** A chunk, and what has become of its shards. */
export interface Verdict {
  /** As the catalog has it. */
  readonly row: ChunkRow;
  /** Bytes of the sealed chunk, which the row may have wrong. */
  readonly sealedSize: number;
  /** By index. */
  readonly states: readonly ShardState[];
  /** Whether k shards are to be had from somewhere, recorded or not. */
  readonly readable: boolean;
}

/** A verdict by bytes. */
export interface Examination extends Verdict {
  /** The shard objects as they should be, by index, in the workbench's memory; null if the chunk is not readable. */
  readonly objects: readonly Uint8Array[] | null;
}

/** Most shards of one chunk that are tried when the recorded ones do not do: a hostile listing must not fill the memory. */
const MOST_ELSEWHERE = 64;

/** Whether the catalog should stop believing in a shard. */
export function isLost(state: ShardState): boolean {
  return state === 'missing' || state === 'damaged';
}

/** How a chunk stands. */
export function conditionOf({ row, sealedSize, states, readable }: Verdict): Condition {
  if (sealedSize !== row.sealedSize) return 'degraded';
  const count = (wanted: ShardState): number => states.filter((state) => state === wanted).length;
  const good = count('good');
  const unknown = count('unknown');
  if (good === states.length) return readable ? 'whole' : 'lost';
  if (good + unknown === states.length) return 'unknown';
  return readable || good + unknown >= row.k ? 'degraded' : 'lost';
}

/** The row as it should be: without the shards that are lost. */
export function correctedRow({ row, sealedSize, states }: Verdict): ChunkRow {
  return {
    ...row,
    sealedSize,
    shards: row.shards.map((place, index) => (isLost(states[index] ?? 'unknown') ? null : place)),
  };
}

/**
 * Fetches every shard of a chunk and compares each with what the chunk's content makes it: a bucket that lies can give
 * its shards right checksums.
 *
 * @param options `bench`: made for this chunk and this redundancy. `redundancy`: what the resulting objects are coded with; the
 *   chunk's own unless given
 * @throws `interrupted`
 */
export async function examineChunk(
  session: Session,
  row: ChunkRow,
  options: { readonly bench: Workbench; readonly signal: AbortSignal; readonly redundancy?: Redundancy },
): Promise<Examination> {
  const { bench, signal, redundancy = row } = options;
  const { memory } = bench;
  const states: ShardState[] = row.shards.map((place) => (place === null ? 'unstored' : 'missing'));
  const { sealedSize } = row;
  const fetched = await fetchAll(
    row.shards.flatMap((_, index) => recordedShard(row, index, session.buckets) ?? []),
    { bench, sealedSize, signal, note: ({ name }, state) => (states[name.index] = state) },
  );
  const checks = await checkShards(session, fetched);
  const intact = fetched.filter((_, i) => checks[i] === true);
  for (const [i, { candidate }] of fetched.entries()) {
    states[candidate.name.index] = checks[i] === true ? 'good' : 'damaged';
  }
  const opened = memory !== null && (await openFromAny(session, memory, row, intact)) !== null;
  if (memory === null || !opened) {
    const size = await sizeElsewhere(session, row, { memory, signal });
    if (size !== null && size !== sealedSize) {
      const right = { ...row, sealedSize: size };
      const roomy = { ...bench, memory: benchMemory(right, redundancy) };
      return { ...(await examineChunk(session, right, { ...options, bench: roomy })), row };
    }
    if (memory === null || size === null) {
      // k of them with right checksums, and still not the chunk: some of them are forged, and which cannot be told.
      if (intact.length >= row.k)
        for (const { candidate } of intact) states[candidate.name.index] = 'damaged';
      return { row, sealedSize, states, readable: false, objects: null };
    }
  }
  const { k, m } = redundancy;
  await session.workers.seal(memory, sealedSize - SEAL_OVERHEAD, row.id, { k, m });
  const objects = objectsOf(memory, k + m, shardSize(sealedSize, k));
  if (k === row.k && m === row.m) {
    for (const { candidate, object } of intact) {
      const { index } = candidate.name;
      const right = objects[index];
      if (right === undefined || Buffer.compare(right, object) !== 0) states[index] = 'damaged';
    }
  }
  keepSpare(bench, fetched);
  return { row, sealedSize, states, readable: true, objects };
}

/** Fetches shards, and notes of the others what has become of them. */
async function fetchAll(
  candidates: readonly ShardCandidate[],
  {
    bench,
    sealedSize,
    signal,
    note,
  }: {
    readonly bench: Workbench | null;
    readonly sealedSize: number | null;
    readonly signal: AbortSignal;
    readonly note: (candidate: ShardCandidate, state: ShardState) => void;
  },
): Promise<FetchedShard[]> {
  const fetched = await Promise.all(
    candidates.map(async (candidate) => {
      try {
        return [await fetchShard(candidate, sealedSize, { signal, spare: bench?.spare.pop() })];
      } catch (error) {
        note(candidate, stateOf(error));
        return [];
      }
    }),
  );
  return fetched.flat();
}

/** What an error says of the object that was asked for. @throws it, if it says nothing of that */
export function stateOf(error: unknown): 'missing' | 'damaged' | 'unknown' {
  if (!isVaultError(error) || error.code === 'interrupted') throw error;
  if (error.code === 'object-missing') return 'missing';
  // A newer version's shard is not for this one to judge.
  return error.code === 'damaged' ? 'damaged' : 'unknown';
}

/**
 * Opens a chunk from shards that any bucket has, whatever the catalog says.
 *
 * @param options `memory`: for the payload, if the chunk has the size that the row says
 * @returns bytes of the sealed chunk; null if it cannot be opened
 */
async function sizeElsewhere(
  session: Session,
  row: ChunkRow,
  { memory, signal }: { readonly memory: ChunkMemory | null; readonly signal: AbortSignal },
): Promise<number | null> {
  const found = await Promise.all(
    session.buckets.all.map(async (bucket) => {
      try {
        return await findShards(bucket, row.id, signal);
      } catch (error) {
        stateOf(error);
        return [];
      }
    }),
  );
  const fetched = await fetchAll(found.flat().slice(0, MOST_ELSEWHERE), {
    bench: null,
    sealedSize: null,
    signal,
    note: () => undefined,
  });
  const checks = await checkShards(session, fetched);
  const intact = fetched.filter((_, i) => checks[i] === true);
  const groups = Map.groupBy(
    intact,
    ({ candidate, sealedSize }) => `${formatRedundancy(candidate.name)} ${sealedSize}`,
  );
  for (const group of groups.values()) {
    const [first] = group;
    if (first === undefined) continue;
    const { sealedSize } = first;
    const { k, m } = first.candidate.name;
    const coded = { id: row.id, k, m, sealedSize };
    const fits = memory !== null && sealedSize === row.sealedSize;
    const target = fits ? memory : allocateChunkMemory(bodySize(coded), null);
    if ((await openFromAny(session, target, coded, group)) !== null) return sealedSize;
  }
  return null;
}

/**
 * What listings say of a chunk's shards: whether they are there, with the right size.
 *
 * @param listed what each bucket lists of this chunk; null for a bucket that could not be listed
 */
export function verdictByListing(
  row: ChunkRow,
  listed: ReadonlyMap<VaultBucket, readonly ListedObject[] | null>,
  buckets: BucketSet,
): Verdict {
  const size = shardObjectSize(row.sealedSize, row.k);
  const states = row.shards.map((place, index): ShardState => {
    if (place === null) return 'unstored';
    const shard = recordedShard(row, index, buckets);
    if (shard === null) return 'missing';
    const objects = listed.get(shard.bucket) ?? null;
    if (objects === null) return 'unknown';
    const name = shardObjectName(shard.name);
    const object = objects.find((candidate) => candidate.name === name);
    if (object === undefined) return 'missing';
    return object.size === size ? 'good' : 'damaged';
  });
  return { row, sealedSize: row.sealedSize, states, readable: isListed(row, listed) };
}

/** The beginning of the names of a chunk's shards. */
export function shardStem(chunkId: string): string {
  return `${CHUNK_PREFIX}${chunkId}.`;
}

/** Whether enough shards of a chunk are listed anywhere, under any redundancy. */
function isListed(row: ChunkRow, listed: ReadonlyMap<VaultBucket, readonly ListedObject[] | null>): boolean {
  const indices = new Map<string, Set<number>>();
  for (const { name, size } of [...listed.values()].flatMap((objects) => objects ?? [])) {
    const shard = parseShardObjectName(name);
    if (shard === null || size !== shardObjectSize(row.sealedSize, shard.k)) continue;
    const code = formatRedundancy(shard);
    const found = indices.get(code) ?? new Set<number>();
    indices.set(code, found.add(shard.index));
    if (found.size >= shard.k) return true;
  }
  return false;
}

/**
 * Asks a shard's bucket whether it is there, without reading it whole.
 *
 * @returns `good` if there is an object of any size
 */
export async function isThere(candidate: ShardCandidate, signal: AbortSignal): Promise<ShardState> {
  try {
    const storage = await candidate.bucket.open();
    // Too small for any shard: the driver refuses what is larger before it reads it.
    await storage.get(shardObjectName(candidate.name), { maxSize: 1, signal });
    return 'good';
  } catch (error) {
    const state = stateOf(error);
    return state === 'damaged' ? 'good' : state;
  }
}

/** A shard as it is, by its bytes, without the rest of its chunk. */
export async function examineShard(
  session: Session,
  candidate: ShardCandidate,
  {
    bench,
    sealedSize,
    signal,
  }: { readonly bench: Workbench; readonly sealedSize: number; readonly signal: AbortSignal },
): Promise<{ readonly state: ShardState; readonly object: Uint8Array | null }> {
  try {
    const shard = await fetchShard(candidate, sealedSize, { signal, spare: bench.spare.pop() });
    const [intact] = await checkShards(session, [shard]);
    if (intact !== true) throw new VaultError('damaged', 'A shard does not match its checksum.');
    return { state: 'good', object: shard.object };
  } catch (error) {
    return { state: stateOf(error), object: null };
  }
}
