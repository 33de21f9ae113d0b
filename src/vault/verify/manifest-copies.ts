/** Where the copies of a manifest are, and how they are. */
import type { ReadBucket } from '../buckets/bucket-set.ts';
import { stateOf } from '../chunks/shards.ts';
import type { JoinedFile } from '../files/file-join.ts';
import { differInSize } from '../files/manifest-holders.ts';
import { readManifestIn } from '../files/manifests.ts';
import type { Session } from '../session.ts';
import type { Condition, FileProblem } from './condition.ts';

/** What has become of one copy. `unknown`: its bucket could not be asked. */
export type CopyState = 'good' | 'missing' | 'damaged' | 'unknown';

/** By bucket: all of the vault's. */
export type ManifestCopies = ReadonlyMap<ReadBucket, CopyState>;

/** Copies of a manifest that a vault should have: as many as let any m buckets go. */
export function manifestCopiesNeeded({ keyring, buckets }: Session): number {
  return Math.min(keyring.keyring.redundancy.m + 1, buckets.all.length);
}

/** How a file stands by its manifest alone. @param enough copies that it should have */
export function manifestCondition(copies: ManifestCopies, enough: number): Condition {
  const states = [...copies.values()];
  const good = states.filter((state) => state === 'good').length;
  const unknown = states.filter((state) => state === 'unknown').length;
  if (good + unknown === 0) return 'lost';
  if (good + unknown < enough || states.includes('damaged')) return 'degraded';
  return good < enough ? 'unknown' : 'whole';
}

export function copyProblems(copies: ManifestCopies): FileProblem[] {
  return [...copies].flatMap(([{ url }, state]) =>
    state === 'good' ? [] : [{ what: 'manifest', problem: state, bucket: url }],
  );
}

/**
 * Where the copies are by listings alone.
 *
 * @returns null if they differ in size, so that some of them are damaged
 */
export function copiesByListing(
  session: Session,
  holders: JoinedFile['holders'],
  unreachable: ReadonlySet<ReadBucket>,
): ManifestCopies | null {
  if (differInSize(holders)) return null;
  const holding = new Set(holders.map(({ bucket }) => bucket));
  return new Map(
    session.buckets.all.map((bucket) => [
      bucket,
      holding.has(bucket) ? 'good' : unreachable.has(bucket) ? 'unknown' : 'missing',
    ]),
  );
}

/** How the copies are, by reading each. @returns also the bytes, if any copy is right */
export async function readCopies(
  session: Session,
  hash: string,
  options: { readonly usable: readonly ReadBucket[]; readonly signal: AbortSignal | undefined },
): Promise<{ readonly copies: ManifestCopies; readonly bytes: Uint8Array | null }> {
  const { usable, signal } = options;
  const copies = new Map<ReadBucket, CopyState>(session.buckets.all.map((bucket) => [bucket, 'unknown']));
  let bytes: Uint8Array | null = null;
  await Promise.all(
    usable.map(async (bucket) => {
      try {
        bytes = await readManifestIn(bucket, hash, signal);
        copies.set(bucket, 'good');
      } catch (error) {
        copies.set(bucket, stateOf(error));
      }
    }),
  );
  return { copies, bytes };
}
