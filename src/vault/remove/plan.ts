/** Which objects a sweep would remove. It changes nothing: its plan is also the answer of a dry run. */
import { manifestObjectName } from '../../format/manifest.ts';
import type { Redundancy } from '../../format/shard.ts';
import { throwIfAborted } from '../../errors.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';
import { listChunks } from '../chunks/chunk-listing.ts';
import { chosenShards, isEnough, objectNameOf, setsOf } from '../chunks/shard-sets.ts';
import type { ListedShard, ShardSet } from '../chunks/shard-sets.ts';
import { openFileRowIfIntact } from '../files/records.ts';
import { trustsAllWriters } from '../files/writers.ts';
import type { PlannedStep } from '../call.ts';
import type { Session } from '../session.ts';
import type { LiveFiles } from './live.ts';

/** Objects of one round; more are left to the next. */
const MOST_A_ROUND = 100_000;

export interface RemovalPlan {
  /** Names of objects that nothing needs: manifests of dead files, and shards. */
  readonly names: readonly string[];
  /** By name: bytes in all buckets, and which of them list a shard. Copies of manifests are everywhere. */
  readonly found: ReadonlyMap<string, FoundObject>;
  /** Whether the round was full, so that there is more. */
  readonly more: boolean;
  /** Objects below `chunks/` that are no shards: nobody's to remove. */
  readonly foreign: number;
}

export interface FoundObject {
  readonly bytes: number;
  readonly holders: readonly ReadBucket[];
  /** Whether other shards of its chunk stay. */
  readonly isPart: boolean;
}

/** What is chosen from. */
interface Choice {
  readonly live: LiveFiles;
  /** Objects that lists of removal name already: they go by those, and count for no set. */
  readonly named: ReadonlySet<string>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Chooses what may go in one round.
 *
 * @throws what a listing says
 */
export async function planRemoval(
  session: Session,
  buckets: readonly ReadBucket[],
  choice: Choice,
): Promise<RemovalPlan> {
  const names: string[] = [];
  const found = new Map<string, FoundObject>();
  let foreign = 0;
  const onForeign = (): void => {
    foreign += 1;
  };
  for await (const steps of removals(session, buckets, { ...choice, onForeign })) {
    if (names.length >= MOST_A_ROUND) return { names, found, more: true, foreign };
    for (const { step, holder } of steps) {
      const { object, reason } = step;
      const { bytes, holders } = found.get(object) ?? { bytes: 0, holders: [] };
      if (!found.has(object)) names.push(object);
      found.set(object, {
        bytes: bytes + step.bytes,
        holders: holder === null ? holders : [...holders, holder],
        isPart: reason === 'surplus',
      });
    }
  }
  return { names, found, more: false, foreign };
}

interface Removal {
  readonly step: PlannedStep & { readonly bytes: number };
  /** Who lists it, if it is a shard. */
  readonly holder: ReadBucket | null;
}

/**
 * What may go: manifests of dead files, shards of chunks that no live file needs, and shards beyond one complete set.
 *
 * @returns what goes together
 * @throws what a listing says
 */
export async function* removals(
  session: Session,
  buckets: readonly ReadBucket[],
  { live, named, onForeign, signal }: Choice & { readonly onForeign: () => void },
): AsyncGenerator<readonly Removal[], void, undefined> {
  for (const { hash, holders, row } of live.dead) {
    const object = manifestObjectName(hash);
    if (named.has(object)) continue;
    const bytes = holders.reduce((sum, { size }) => sum + size, 0);
    const file = row === null ? null : (openFileRowIfIntact(session, row)?.info.name ?? null);
    yield [
      { step: { action: 'remove', object, reason: 'removed', bytes, file, bucket: null }, holder: null },
    ];
  }
  if (live.blockedBy !== null) return;
  const { redundancy } = session.keyring.keyring;
  // Whoever can only store may have put false ones beside what others have stored: which set is the right one no listing tells.
  const mayChoose = trustsAllWriters(session);
  for await (const { id, shards } of listChunks(buckets, { signal, onForeign })) {
    throwIfAborted(signal);
    const unnamed = shards.filter((shard) => !named.has(objectNameOf(shard)));
    const isLive = live.ids.has(id);
    if (isLive && !mayChoose) continue;
    const going = isLive ? beyondOneSet(unnamed, redundancy) : unnamed;
    const reason = isLive ? 'surplus' : 'unneeded';
    yield going.map((shard) => {
      const facts = { object: objectNameOf(shard), bytes: shard.size, file: null, bucket: null };
      return { step: { action: 'remove', reason, ...facts }, holder: shard.bucket };
    });
  }
}

/**
 * The shards of a chunk beyond one complete set that is as redundant as the vault; none if there is no such set. A set that
 * needs no bucket that is being emptied is kept before others, then one of the vault's redundancy.
 */
export function beyondOneSet(shards: readonly ListedShard[], redundancy: Redundancy): readonly ListedShard[] {
  const staying = shards.filter(({ bucket }) => bucket.state === 'active');
  const kept = bestSet(staying, redundancy) ?? bestSet(shards, redundancy);
  if (kept === undefined) return [];
  const keep = new Set([...chosenShards(kept).values()].map((shard) => objectNameOf(shard)));
  return shards.filter((shard) => !keep.has(objectNameOf(shard)));
}

function bestSet(shards: readonly ListedShard[], redundancy: Redundancy): ShardSet | undefined {
  const complete = setsOf(shards).filter((set) => isEnough(set, redundancy.m));
  return complete.find(({ k, m }) => k === redundancy.k && m === redundancy.m) ?? complete[0];
}
