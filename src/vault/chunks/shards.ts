/** Fetching the shards of a chunk, and opening the chunk from them: what reading, checking and repairing share. */
import type { ChunkRow } from '../../catalog/catalog.ts';
import { VaultError } from '../../errors.ts';
import { SEAL_OVERHEAD } from '../../format/chunk.ts';
import {
  CHUNK_PREFIX,
  MAX_SEALED_SIZE,
  parseShardHeader,
  parseShardObjectName,
  shardObjectName,
  shardObjectSize,
} from '../../format/shard.ts';
import type { ShardName } from '../../format/shard.ts';
import type { BucketSet, VaultBucket } from '../buckets/bucket-set.ts';
import type { ChunkMemory } from './chunk-memory.ts';
import { withSignal } from '../session.ts';
import type { Session } from '../session.ts';

/** A chunk as its shards know it. */
export type CodedChunk = Pick<ChunkRow, 'id' | 'k' | 'm' | 'sealedSize'>;

/** A shard object that may exist. */
export interface ShardCandidate {
  readonly bucket: VaultBucket;
  readonly name: ShardName;
}

/** A shard object that has been fetched and has the header it should; its checksum has not been looked at. */
export interface FetchedShard {
  readonly candidate: ShardCandidate;
  /** Bytes of the sealed chunk, by its header. */
  readonly sealedSize: number;
  /** Its memory changes hands when a thread works on it, and comes back as another view. */
  object: Uint8Array;
}

/** Most shards of one chunk that one bucket is believed to have, and most names looked at: a listing may have no end. */
const MOST_FOUND = 8;
const MOST_LISTED = 1_000;
/** Most combinations of shards to try when some of them lie. */
const MOST_COMBINATIONS = 2_000;

/** The shard that a row records under an index; null if none is recorded, or its bucket is no longer the vault's. */
export function recordedShard(row: ChunkRow, index: number, buckets: BucketSet): ShardCandidate | null {
  const place = row.shards[index];
  const bucket = place && buckets.byNumber(place.bucket);
  if (!bucket) return null;
  const { id: chunkId, k, m } = row;
  return { bucket, name: { chunkId, index, k, m, generation: place.generation } };
}

/**
 * The shards of a chunk that a bucket has, whatever the catalog says of it. Of a bucket that lists more than an honest one
 * can have, only the first.
 *
 * @throws what listing throws
 */
export async function findShards(
  bucket: VaultBucket,
  chunkId: string,
  signal: AbortSignal,
): Promise<ShardCandidate[]> {
  const found: ShardCandidate[] = [];
  let listed = 0;
  const storage = await bucket.open();
  for await (const { name } of storage.list(`${CHUNK_PREFIX}${chunkId}.`, withSignal(signal))) {
    const parsed = parseShardObjectName(name);
    if (parsed?.chunkId === chunkId) found.push({ bucket, name: parsed });
    listed += 1;
    if (found.length === MOST_FOUND || listed === MOST_LISTED) break;
  }
  return found;
}

/**
 * Fetches one shard object and checks that it is what its name says.
 *
 * @param sealedSize bytes that the sealed chunk must have; null for whatever the shard says
 * @param call `spare`: see `Bucket.get`
 * @throws `damaged` if it is another object, or cut; what `Bucket.get` throws
 */
export async function fetchShard(
  candidate: ShardCandidate,
  sealedSize: number | null,
  call: { readonly signal: AbortSignal; readonly spare?: ArrayBuffer | undefined },
): Promise<FetchedShard> {
  const { bucket, name } = candidate;
  const storage = await bucket.open();
  const object = await storage.get(shardObjectName(name), {
    maxSize: shardObjectSize(sealedSize ?? MAX_SEALED_SIZE, name.k),
    signal: call.signal,
    ...(call.spare === undefined ? {} : { spare: call.spare }),
  });
  const header = parseShardHeader(object);
  const same =
    header.chunkId === name.chunkId &&
    header.index === name.index &&
    header.k === name.k &&
    header.m === name.m &&
    (sealedSize === null || header.sealedSize === sealedSize);
  if (!same) {
    throw new VaultError('damaged', `The bucket ${bucket.url} has another object in the place of a shard.`);
  }
  return { candidate, object, sealedSize: header.sealedSize };
}

/** Whether each shard's own checksum is right. */
export async function checkShards(
  session: Session,
  shards: readonly FetchedShard[],
): Promise<readonly boolean[]> {
  if (shards.length === 0) return [];
  const { intact, objects } = await session.workers.check(shards.map(({ object }) => object));
  for (const [i, shard] of shards.entries()) shard.object = objects[i] ?? shard.object;
  return intact;
}

/** Opens a chunk into memory from exactly k of its shards; whether that is the chunk. */
export async function openFrom(
  session: Session,
  memory: ChunkMemory,
  chunk: CodedChunk,
  shards: readonly FetchedShard[],
): Promise<boolean> {
  const objects = Array.from<Uint8Array | null>({ length: chunk.k + chunk.m }).fill(null);
  for (const { candidate, object } of shards) objects[candidate.name.index] = object;
  const answer = await session.workers.open(memory, chunk.sealedSize - SEAL_OVERHEAD, chunk.id, {
    redundancy: { k: chunk.k, m: chunk.m },
    objects,
  });
  for (const shard of shards) shard.object = answer.objects[shard.candidate.name.index] ?? shard.object;
  return answer.opened;
}

/**
 * Tries combinations of k shards until one opens the chunk: a bucket that lies can give its shards right checksums,
 * and only the seal tells.
 *
 * @param shards with right checksums; several may have the same index
 * @param options `withFirst`: the others have been tried without the first of them, in vain
 * @returns those that turned out not to belong to it; null if no combination opens it
 */
export async function openFromAny(
  session: Session,
  memory: ChunkMemory,
  chunk: CodedChunk,
  shards: readonly FetchedShard[],
  { withFirst = false }: { readonly withFirst?: boolean } = {},
): Promise<readonly FetchedShard[] | null> {
  let tried = 0;
  const indices = shards.map(({ candidate }) => candidate.name.index);
  for (const picks of combinations(indices, chunk.k)) {
    tried += 1;
    if (tried > MOST_COMBINATIONS || (withFirst && picks[0] !== 0)) break;
    const picked = picks.flatMap((at) => shards[at] ?? []);
    if (!(await openFrom(session, memory, chunk, picked))) continue;
    if (tried === 1 && !withFirst) return [];
    const others = shards.filter((_, at) => !picks.includes(at));
    return misfits(session, memory, chunk, { picked, others });
  }
  return null;
}

/** Which of the other shards do not open the chunk in place of one that does. The chunk stays in memory. */
async function misfits(
  session: Session,
  memory: ChunkMemory,
  chunk: CodedChunk,
  { picked, others }: { readonly picked: readonly FetchedShard[]; readonly others: readonly FetchedShard[] },
): Promise<readonly FetchedShard[] | null> {
  const found: FetchedShard[] = [];
  for (const other of others) {
    const twin = picked.findIndex(({ candidate }) => candidate.name.index === other.candidate.name.index);
    const team = picked.with(twin === -1 ? picked.length - 1 : twin, other);
    if (!(await openFrom(session, memory, chunk, team))) found.push(other);
  }
  // A team that failed has left something else in memory.
  return found.length === 0 || (await openFrom(session, memory, chunk, picked)) ? found : null;
}

/** Every choice of `count` positions whose shard indices differ, in order. */
function* combinations(indices: readonly number[], count: number, from = 0): Generator<number[]> {
  if (count === 0) {
    yield [];
    return;
  }
  for (let at = from; at <= indices.length - count; at += 1) {
    for (const rest of combinations(indices, count - 1, at + 1)) {
      if (rest.every((other) => indices[other] !== indices[at])) yield [at, ...rest];
    }
  }
}
