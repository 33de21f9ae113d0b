/** What a repair works on: under a marker, as a put does; or, when it only tells, as if it had one. */
import { isVaultError } from '../../errors.ts';
import type { BucketFailure, VaultBucket } from '../buckets/bucket-set.ts';
import type { Session } from '../session.ts';
import { readSweepLists } from '../protocol/put-guard.ts';

export interface Ground {
  /** Buckets that can be asked. */
  readonly sources: readonly VaultBucket[];
  /** Whether every bucket of the vault is among them and has answered everything: only then something is lost. */
  readonly isComplete: boolean;
  /** Buckets that take objects. */
  readonly targets: readonly VaultBucket[];
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

/** The same without a bucket that shall take nothing. */
export function withoutBucket(ground: Ground, id: string): Ground {
  return {
    sources: ground.sources.map((bucket) => (bucket.id === id ? bucket.leaving() : bucket)),
    targets: ground.targets.filter((bucket) => bucket.id !== id),
    get isComplete() {
      return ground.isComplete;
    },
    get failed() {
      return ground.failed;
    },
    noteFailure: ground.noteFailure,
    isNamed: (name) => ground.isNamed(name),
    note: (chunk) => ground.note(chunk),
    keep: (signal) => ground.keep(signal),
  };
}

/** How often work whose marker became too old (a machine that slept) begins again. */
const MOST_STARTS = 3;

/**
 * Does repairing work.
 *
 * @param usable buckets that can be asked
 * @param options `dryRun`: without a marker, since nothing is stored. `gone`: id of a bucket whose
 *   silence means nothing
 * @param work starts over if its marker has become too old, so it must be repeatable
 */
export async function onGround<T>(
  session: Session,
  usable: readonly VaultBucket[],
  options: {
    readonly dryRun: boolean;
    readonly gone?: string | undefined;
    readonly signal: AbortSignal | undefined;
  },
  work: (ground: Ground) => Promise<T>,
): Promise<T> {
  const { dryRun, gone, signal } = options;
  if (dryRun) {
    const { absent } = await readSweepLists(session, usable, signal);
    return work(
      groundOf(
        session,
        { usable, gone },
        {
          targets: usable.filter(({ state }) => state === 'active'),
          isNamed: (name) => absent.has(name),
          note: () => undefined,
          keep: () => Promise.resolve(),
        },
      ),
    );
  }
  // One that lingers has seen the buckets as they were.
  await session.guard.end();
  for (let starts = 1; ; starts += 1) {
    try {
      return await session.guard.run(async (guarded) => {
        const result = await work(
          groundOf(
            session,
            { usable, gone },
            {
              // The guard may have begun before a bucket was said to take nothing new.
              targets: guarded.targets.filter(
                ({ number }) => session.buckets.byNumber(number)?.state === 'active',
              ),
              isNamed: (name) => guarded.isNamed(name),
              note: (id) => guarded.note(id),
              keep: (aborted) => guarded.keep(aborted),
            },
          ),
        );
        await guarded.keep(signal);
        return result;
      }, signal);
    } catch (error) {
      if (!isVaultError(error, 'stale') || starts === MOST_STARTS) throw error;
    }
  }
}

function groundOf(
  session: Session,
  { usable, gone }: { readonly usable: readonly VaultBucket[]; readonly gone: string | undefined },
  call: Pick<Ground, 'targets' | 'isNamed' | 'note' | 'keep'>,
): Ground {
  const { all } = session.buckets;
  // As they are now: one may have been said to take nothing new.
  const sources = all.filter(({ id }) => usable.some((bucket) => bucket.id === id));
  const failures = new Map<string, BucketFailure>();
  return {
    ...call,
    sources,
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
