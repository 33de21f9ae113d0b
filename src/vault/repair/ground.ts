/**
 * What a repair works on: under a marker, as a put does, where what is decided is done; or as if it had one, where it is only told
 * and nothing is at hand that can write.
 */
import { isVaultError } from '../../errors.ts';
import type { BucketFailure, ReadBucket } from '../buckets/bucket-set.ts';
import { doing, telling, type Take } from '../buckets/steps.ts';
import type { PlanOptions } from '../call.ts';
import { goodShards, type GoodShards, type GoodShardsOptions } from '../chunks/good-shards.ts';
import { isReadable, type ShardSet } from '../chunks/shard-sets.ts';
import { readSweepLists } from '../protocol/put-guard.ts';
import type { ReadSession, Session } from '../session.ts';

/** Who takes the steps of a repair. */
export interface Hands {
  readonly take: Take;
  /** Looks which shards of a set give the chunk, as far as taking steps needs it. */
  readonly pick: (set: ShardSet, how: Omit<GoodShardsOptions, 'all'>) => Promise<GoodShards>;
  /**
   * Does repairing work.
   *
   * @param usable buckets that can be asked
   * @param work starts over if its marker has become too old, so it must be repeatable
   */
  onGround<T>(
    usable: readonly ReadBucket[],
    how: GroundOptions,
    work: (ground: Ground) => Promise<T>,
  ): Promise<T>;
}

interface GroundOptions {
  /** Id of a bucket whose silence means nothing. */
  readonly gone?: string | undefined;
  /** Id of one that takes nothing new, though the keyring may not say so yet. */
  readonly leaving?: string | undefined;
}

export interface Ground extends Pick<Hands, 'take' | 'pick'> {
  /** Buckets that can be asked. */
  readonly sources: readonly ReadBucket[];
  /** Whether every bucket of the vault is among them and has answered everything: only then something is lost. */
  readonly isComplete: boolean;
  /** Buckets that take objects. */
  readonly targets: readonly ReadBucket[];
  /** Those that answer and take none. */
  readonly refusing: readonly BucketFailure[];
  /** Notes that a bucket did not answer after all. */
  readonly noteFailure: (failure: BucketFailure) => void;
  /** Those that did not. */
  readonly failed: readonly BucketFailure[];
  /** Whether a list of removal names this object. */
  isNamed(objectName: string): boolean;
  /** Notes a chunk that is relied on. */
  note(chunkId: string): void;
  /** Renews the marker when it is due. @throws `stale` */
  keep(signal?: AbortSignal): Promise<void>;
}

/** How often work whose marker became too old (a machine that slept) begins again. */
const MOST_STARTS = 3;

/** Those that do what is decided. */
export function actingHands(session: Session, signal: AbortSignal | undefined): Hands {
  const hands: Hands = {
    take: doing(session),
    pick: (set, how) => goodShards(session, set, { ...how, all: false }),
    async onGround(usable, how, work) {
      // One that lingers has seen the buckets as they were.
      await session.guard.end();
      for (let starts = 1; ; starts += 1) {
        try {
          return await session.guard.run(async (guarded) => {
            const result = await work(groundOf(hands, session, { usable, ...how }, guarded));
            await guarded.keep(signal);
            return result;
          }, signal);
        } catch (error) {
          if (!isVaultError(error, 'stale') || starts === MOST_STARTS) throw error;
        }
      }
    },
  };
  return hands;
}

/** Those that only tell. */
export function tellingHands(
  session: ReadSession,
  { onPlanned, signal }: Pick<PlanOptions, 'onPlanned' | 'signal'>,
): Hands {
  const hands: Hands = {
    take: telling(onPlanned),
    // The listings tell, as far as they go: reading is what a dry run saves.
    pick: (set) =>
      Promise.resolve({ picked: isReadable(set) ? [] : null, good: set.shards, bad: [], unknown: [] }),
    async onGround(usable, how, work) {
      const { absent } = await readSweepLists(session, usable, signal);
      const isNamed = (name: string): boolean => absent.has(name);
      const guarded = {
        targets: usable,
        failed: [],
        isNamed,
        note: () => undefined,
        keep: () => Promise.resolve(),
      };
      return work(groundOf(hands, session, { usable, ...how }, guarded));
    },
  };
  return hands;
}

function groundOf(
  { take, pick }: Hands,
  session: ReadSession,
  { usable, gone, leaving }: GroundOptions & { readonly usable: readonly ReadBucket[] },
  guarded: Pick<Ground, 'targets' | 'failed' | 'isNamed' | 'note' | 'keep'>,
): Ground {
  const { all } = session.buckets;
  // As they are now: one may have been said to take nothing new since it was asked, or since the guard has begun.
  const sources = all
    .filter(({ id }) => usable.some((bucket) => bucket.id === id))
    .map((bucket) => (bucket.id === leaving && bucket.state === 'active' ? bucket.leaving() : bucket));
  const targets = guarded.targets.filter(
    ({ id, number }) => id !== leaving && session.buckets.byNumber(number)?.state === 'active',
  );
  const failures = new Map<string, BucketFailure>();
  return {
    take,
    pick,
    sources,
    targets,
    refusing: guarded.failed.filter(({ bucket }) => usable.some(({ id }) => id === bucket.id)),
    isNamed: (name) => guarded.isNamed(name),
    note: (id) => guarded.note(id),
    keep: (signal) => guarded.keep(signal),
    get isComplete() {
      const asked = sources.filter(({ id }) => id !== gone && !failures.has(id));
      return asked.length === all.filter(({ id }) => id !== gone).length;
    },
    get failed() {
      return [...failures.values()];
    },
    noteFailure(failure) {
      if (!failures.has(failure.bucket.id)) failures.set(failure.bucket.id, failure);
    },
  };
}
