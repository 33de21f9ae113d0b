/** How a chunk stands, by the shards that buckets have of it. Pure. */
import { CODEC_STORED, payloadSize, SEAL_OVERHEAD } from '../../format/chunk.ts';
import { PAYLOAD_TRAILER_SIZE } from '../../format/limits.ts';
import { sealingOf, shardObjectSize, type Redundancy } from '../../format/shard.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';
import { chosenShards, isComplete, isReadable, setsOf } from '../chunks/shard-sets.ts';
import type { ListedShard, ShardSet } from '../chunks/shard-sets.ts';
import { problemKey, type Condition, type FileProblem } from './condition.ts';

/** What has become of one shard; `unstored`: no bucket is known to have had it; `too-new`: only a newer version can judge it. */
export type ShardState = 'good' | 'missing' | 'damaged' | 'unknown' | 'unstored' | 'too-new';

/** How a chunk stands. Many stand alike and share one of these. */
export interface Judgement {
  readonly condition: Condition;
  readonly problems: readonly FileProblem[];
  /** Of each shard that should be there: where, and what has become of it. */
  readonly shards: readonly { readonly bucket: ReadBucket | null; readonly state: ShardState }[];
}

/** Where shards were last seen, as the catalog says: it tells which bucket lacks one, and nothing else. */
export interface PlacesHint extends Redundancy {
  /** By index. */
  readonly buckets: readonly (ReadBucket | null)[];
}

/** A shard that is known not to be as it should. */
export interface BadShard {
  readonly bucket: ReadBucket;
  readonly index: number;
  readonly state: Exclude<ShardState, 'good' | 'unstored'>;
}

export interface ChunkEvidence {
  /** Shards that are there, as far as was looked. */
  readonly shards: readonly ListedShard[];
  /** Shards that are not what they should be. */
  readonly bad: readonly BadShard[];
  /** All buckets of the vault. */
  readonly buckets: readonly ReadBucket[];
  /** Those that could not be asked. */
  readonly unreachable: ReadonlySet<ReadBucket>;
  /** Whether any bucket of the vault could not be asked: then nothing is lost. */
  readonly someUnreachable: boolean;
  readonly hint: PlacesHint | null;
  /** What chunks are coded with now. */
  readonly redundancy: Redundancy;
  /** How many buckets may be lost without losing the chunk, at least: a set with less is not enough, however complete. */
  readonly spare: number;
}

/** Bytes of the largest sealed chunk whose padded length is given by a table of ids. */
export function mostSealedOf(padded: number): number {
  return Math.max(padded, payloadSize(padded - PAYLOAD_TRAILER_SIZE, false)) + SEAL_OVERHEAD;
}

/** Bytes of the smallest. */
const LEAST_SEALED = payloadSize(1, false) + SEAL_OVERHEAD;

/**
 * The listed shards whose sizes a chunk of this padded length can have, and those whose cannot. Where the sealing is that of codec
 * 0, which follows from the length, the size is known exactly; of a compressed chunk only the bounds are.
 */
export function bySize(
  shards: readonly ListedShard[],
  padded: number,
): { readonly fit: readonly ListedShard[]; readonly bad: readonly BadShard[] } {
  const exact = new Map(
    [padded, mostSealedOf(padded) - SEAL_OVERHEAD].map((size) => [storedSealing(size), size]),
  );
  const fit: ListedShard[] = [];
  const bad: BadShard[] = [];
  for (const shard of shards) {
    const { k, sealing } = shard.name;
    const size = exact.get(sealing);
    const isFit =
      size === undefined
        ? shard.size >= shardObjectSize(LEAST_SEALED, k) &&
          shard.size <= shardObjectSize(mostSealedOf(padded), k)
        : shard.size === shardObjectSize(size + SEAL_OVERHEAD, k);
    if (isFit) fit.push(shard);
    else bad.push({ bucket: shard.bucket, index: shard.name.index, state: 'damaged' });
  }
  return { fit, bad };
}

/** The sealing of a chunk that is stored as it is: its nonce is the payload's length. */
function storedSealing(payloadLength: number): string {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt8(CODEC_STORED, 0);
  nonce.writeUInt32BE(payloadLength, 1);
  return sealingOf(nonce, payloadLength + SEAL_OVERHEAD);
}

/** Of listed shards the complete set that bears the loss of the most buckets; null if there is none. */
export function completeSet(shards: readonly ListedShard[]): ShardSet | null {
  const complete = setsOf(shards).filter((set) => isComplete(set));
  return complete.toSorted((a, b) => b.m - a.m)[0] ?? null;
}

export function judgeChunk(evidence: ChunkEvidence): Judgement {
  const sets = setsOf(evidence.shards);
  const strong = sets.filter(({ m }) => m >= evidence.spare);
  const best = strong.find((set) => isComplete(set)) ?? strong[0] ?? sets[0];
  const shards = [...statesOf(best, evidence)];
  if (best !== undefined && best.m < evidence.spare) shards.push({ bucket: null, state: 'unstored' });
  const problems = new Map<string, FileProblem>();
  for (const { bucket, state } of shards) {
    if (state === 'good') continue;
    const problem = { what: 'shards', problem: state, bucket: bucket?.url ?? null } as const;
    problems.set(problemKey(problem), problem);
  }
  const sorted = [...problems.values()].toSorted((a, b) => (problemKey(a) < problemKey(b) ? -1 : 1));
  const isWhole = best !== undefined && isComplete(best) && sorted.length === 0;
  let condition: Condition = 'lost';
  if (isWhole) condition = 'whole';
  else if (evidence.someUnreachable || evidence.bad.some(({ state }) => isOpen(state))) {
    condition = sorted.every(({ problem }) => isOpen(problem)) ? 'unknown' : 'degraded';
  } else if (sets.some((set) => isReadable(set))) condition = 'degraded';
  return { condition, problems: sorted, shards };
}

/** Whether it may be all right, for what is known here. */
export function isOpen(problem: FileProblem['problem'] | ShardState): boolean {
  return problem === 'unknown' || problem === 'too-new';
}

/** What has become of each shard of the set that is nearest to whole, and of damaged ones beside it. */
function statesOf(best: ShardSet | undefined, evidence: ChunkEvidence): Judgement['shards'] {
  const { bad, buckets, unreachable, redundancy } = evidence;
  const { k, m } = best ?? evidence.hint ?? redundancy;
  const hint = evidence.hint?.k === k && evidence.hint.m === m ? evidence.hint : null;
  const chosen = best === undefined ? new Map<number, ListedShard>() : chosenShards(best);
  const states: { bucket: ReadBucket | null; state: ShardState }[] = [];
  const taken = new Set([...chosen.values()].map(({ bucket }) => bucket));
  const told = new Set<BadShard>();
  const open: number[] = [];
  for (let index = 0; index < k + m; index += 1) {
    const shard = chosen.get(index);
    const known = bad.find((one) => one.index === index && !taken.has(one.bucket));
    const place = hint?.buckets[index] ?? null;
    if (shard !== undefined) states.push({ bucket: shard.bucket, state: 'good' });
    else if (known !== undefined) {
      told.add(known);
      taken.add(known.bucket);
      states.push({ bucket: known.bucket, state: known.state });
    } else if (place !== null && !taken.has(place)) {
      taken.add(place);
      states.push({ bucket: place, state: unreachable.has(place) ? 'unknown' : 'missing' });
    } else open.push(index);
  }
  // Where every bucket has one, those that have none lack it; else those that cannot be asked may have it.
  const without = buckets.filter((bucket) => !taken.has(bucket));
  const silent = without.filter((bucket) => unreachable.has(bucket));
  const lacking = without.length === open.length ? without : silent;
  for (const [i] of open.entries()) {
    const bucket = lacking[i] ?? null;
    const state = bucket === null ? 'unstored' : unreachable.has(bucket) ? 'unknown' : 'missing';
    states.push({ bucket, state });
  }
  // A damaged object beside a good one of the same index: a sweep could not tell them apart.
  const good = new Set([...chosen].map(([index, { bucket }]) => `${index} ${bucket.number}`));
  for (const one of bad) {
    if (one.state !== 'damaged' || told.has(one) || good.has(`${one.index} ${one.bucket.number}`)) continue;
    states.push({ bucket: one.bucket, state: one.state });
  }
  return states;
}
