/** Fetching the shards of a chunk, and opening the chunk from them: what reading, checking and repairing share. */
import { isFailure, VaultError } from '../../errors.ts';
import { payloadSize, SEAL_OVERHEAD } from '../../format/chunk.ts';
import { MAX_SEALED_SIZE } from '../../format/limits.ts';
import { parseNamedShard, shardObjectName, shardObjectSize } from '../../format/shard.ts';
import type { ShardName } from '../../format/shard.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';
import type { ReadSession } from '../session.ts';
import type { ChunkMemory } from './chunk-memory.ts';
import type { ChunkProof, CodedObjects } from './chunk-jobs.ts';

/** A shard object that may exist. */
export interface ShardCandidate {
  readonly bucket: ReadBucket;
  readonly name: ShardName;
}

/** A shard object that has been fetched and has the header it should; its checksum has not been looked at. */
export interface FetchedShard {
  readonly candidate: ShardCandidate;
  /** Bytes of the sealed chunk, and the nonce, by its header. */
  readonly sealedSize: number;
  readonly nonce: Uint8Array;
  /** Its memory changes hands when a thread works on it, and comes back as another view. */
  object: Uint8Array;
  /** Whether it was part of what opened, and has a codec that only a newer version knows. */
  tooNew?: boolean;
}

/** Most combinations of shards to try when some of them lie. */
const MOST_COMBINATIONS = 2_000;

/** Bytes of the largest sealed chunk that a body of a length can have. */
export function mostSealed(length: number | null): number {
  return length === null ? MAX_SEALED_SIZE : payloadSize(length, false) + SEAL_OVERHEAD;
}

/**
 * Fetches one shard object and checks that it is what its name says.
 *
 * @param most bytes of the sealed chunk at most
 * @param call `spare`: see `Bucket.get`
 * @throws `damaged` if it is another object, or cut; what `Bucket.get` throws
 */
export async function fetchShard(
  candidate: ShardCandidate,
  most: number,
  call: { readonly signal: AbortSignal | undefined; readonly spare?: ArrayBuffer | undefined },
): Promise<FetchedShard> {
  const { bucket, name } = candidate;
  const object = await bucket.get(shardObjectName(name), {
    maxSize: shardObjectSize(most, name.k),
    signal: call.signal,
    spare: call.spare,
    // Whoever reads a shard checks what it gives, or the checksum that it has itself.
    proved: true,
  });
  const { sealedSize, nonce } = parseNamedShard(object, name);
  if (sealedSize > most) throw new VaultError('damaged', 'A shard is larger than those of its chunk can be.');
  return { candidate, object, sealedSize, nonce: Buffer.from(nonce) };
}

/** Whether each shard's own checksum is right. */
export async function checkShards(
  session: ReadSession,
  shards: readonly FetchedShard[],
): Promise<readonly boolean[]> {
  if (shards.length === 0) return [];
  const { intact, objects } = await session.workers.check(
    shards.map(({ object }) => object),
    shards.map(({ candidate }) => candidate.name.chunkId),
  );
  for (const [i, shard] of shards.entries()) shard.object = objects[i] ?? shard.object;
  return intact;
}

/** What a thread is given of some shards; null if they are none. */
export function codedObjects(shards: readonly FetchedShard[]): CodedObjects | null {
  const [first] = shards;
  if (first === undefined) return null;
  const { k, m } = first.candidate.name;
  const objects = Array.from<Uint8Array | null>({ length: k + m }).fill(null);
  for (const { candidate, object } of shards) objects[candidate.name.index] = object;
  return { k, m, sealedSize: first.sealedSize, nonce: first.nonce, objects };
}

/** Takes the memory back that a thread had. */
export function takeBack(shards: readonly FetchedShard[], objects: readonly (Uint8Array | null)[]): void {
  for (const shard of shards) shard.object = objects[shard.candidate.name.index] ?? shard.object;
}

/** Opens a chunk into memory from exactly k of its shards, all of one sealing; whether that is the chunk. */
export async function openFrom(
  session: ReadSession,
  memory: ChunkMemory,
  proof: ChunkProof,
  shards: readonly FetchedShard[],
): Promise<boolean> {
  const coded = codedObjects(shards);
  if (coded === null || !fitTogether(shards)) return false;
  const answer = await session.workers.open(memory, proof, coded);
  takeBack(shards, answer.objects);
  if (answer.tooNew) for (const shard of shards) shard.tooNew = true;
  return answer.opened;
}

/** Whether shards are of one sealing, to the last bit: its digits in their names can be found by trying. */
export function fitTogether(shards: readonly FetchedShard[]): boolean {
  const [first] = shards;
  return shards.every(
    ({ sealedSize, nonce }) =>
      first !== undefined && sealedSize === first.sealedSize && Buffer.compare(nonce, first.nonce) === 0,
  );
}

/** What opens a chunk, and what turned out not to belong to it. */
export interface OpenedFrom {
  readonly picked: readonly FetchedShard[];
  readonly misfits: readonly FetchedShard[];
}

/**
 * Tries combinations of k shards until one opens the chunk: a bucket that lies can give its shards right checksums,
 * and only the body's hash tells.
 *
 * @param shards of one sealing, with right checksums; several may have the same index
 * @param options `withFirst`: the others have been tried without the first of them, in vain. `judgeAll`: also says which of the
 *   others do not belong to the chunk when the first ones tried have opened it
 * @returns null if no combination opens it
 */
export async function openFromAny(
  session: ReadSession,
  memory: ChunkMemory,
  proof: ChunkProof,
  shards: readonly FetchedShard[],
  { withFirst = false, judgeAll = false }: { readonly withFirst?: boolean; readonly judgeAll?: boolean } = {},
): Promise<OpenedFrom | null> {
  let tried = 0;
  const indices = shards.map(({ candidate }) => candidate.name.index);
  const k = shards[0]?.candidate.name.k ?? 1;
  for (const picks of combinations(indices, k)) {
    tried += 1;
    if (tried > MOST_COMBINATIONS || (withFirst && picks[0] !== 0)) break;
    const picked = picks.flatMap((at) => shards[at] ?? []);
    if (!(await openFrom(session, memory, proof, picked))) continue;
    const others = shards.filter((_, at) => !picks.includes(at));
    if (tried === 1 && !withFirst && !judgeAll) return { picked, misfits: [] };
    return { picked, misfits: await misfits(session, memory, proof, { picked, others }) };
  }
  return null;
}

/** Which of the other shards do not open the chunk in place of one that does. The chunk is in memory afterwards. */
async function misfits(
  session: ReadSession,
  memory: ChunkMemory,
  proof: ChunkProof,
  { picked, others }: { readonly picked: readonly FetchedShard[]; readonly others: readonly FetchedShard[] },
): Promise<readonly FetchedShard[]> {
  const found: FetchedShard[] = [];
  for (const other of others) {
    const twin = picked.findIndex(({ candidate }) => candidate.name.index === other.candidate.name.index);
    const team = picked.with(twin === -1 ? picked.length - 1 : twin, other);
    if (!(await openFrom(session, memory, proof, team))) found.push(other);
  }
  // A team that failed has left something else in memory.
  if (found.length > 0) await openFrom(session, memory, proof, picked);
  return found;
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

/** What an error says of the object that was asked for. @throws it, if it says nothing of that */
export function stateOf(error: unknown): 'missing' | 'damaged' | 'unknown' {
  if (!isFailure(error)) throw error;
  if (error.code === 'object-missing') return 'missing';
  // A newer version's shard is not for this one to judge.
  return error.code === 'damaged' ? 'damaged' : 'unknown';
}
