/** Where the copies of manifests are. */
import type { Catalog, FileRow } from '../../catalog/catalog.ts';
import { manifestHash } from '../../crypto/seal.ts';
import { throwIfAborted, VaultError } from '../../errors.ts';
import { MANIFEST_PREFIX, manifestObjectName, MAX_MANIFEST_SIZE } from '../../format/manifest.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { stateOf } from '../verify/examine.ts';
import type { CopyState, Findings, ManifestVerdict } from '../verify/findings.ts';
import { ListingCursor } from '../buckets/listing-cursor.ts';
import { withSignal } from '../session.ts';
import type { Session } from '../session.ts';

/** Copies of a manifest that a vault should have: as many as let any m buckets go. */
export function manifestCopiesNeeded(session: Session): number {
  return Math.min(session.settings.redundancy.m + 1, session.buckets.all.length);
}

/** The hashes of all visible files, in their order. */
export async function* hashesInOrder(
  catalog: Catalog,
  signal: AbortSignal | undefined,
): AsyncGenerator<string, void, undefined> {
  for await (const { hash } of filesInOrder(catalog, signal)) yield hash;
}

/** The rows of all visible files, in the order of their hashes. */
export async function* filesInOrder(
  catalog: Catalog,
  signal: AbortSignal | undefined,
  prefix = '',
): AsyncGenerator<FileRow, void, undefined> {
  for (const digit of '0123456789abcdef') {
    throwIfAborted(signal);
    const files = await catalog.filesByHash(prefix + digit, PAGE);
    // A full page may not be all: then by the next digit.
    if (files.length === PAGE) yield* filesInOrder(catalog, signal, prefix + digit);
    else yield* files;
  }
}

const PAGE = 1_000;

export interface ManifestWalk {
  /** In their order. */
  readonly hashes: AsyncIterable<string> | Iterable<string>;
  /** The first of them, or any that is not greater; '' for all. */
  readonly from: string;
  /** Buckets that can be listed; all others are `unknown`. */
  readonly usable: readonly VaultBucket[];
  readonly findings: Findings;
  readonly signal: AbortSignal | undefined;
}

/** Where the copies of each manifest are, by listings; where copies differ in size, by reading them. */
export async function* walkManifests(
  session: Session,
  { hashes, from, usable, findings, signal }: ManifestWalk,
): AsyncGenerator<ManifestVerdict, void, undefined> {
  const after = from === '' ? '' : manifestObjectName(from).slice(0, -1);
  const cursors = usable.map(
    (bucket) => new ListingCursor(bucket, { prefix: MANIFEST_PREFIX, after, signal }),
  );
  try {
    for await (const hash of hashes) {
      throwIfAborted(signal);
      const copies = new Map<VaultBucket, CopyState>(
        session.buckets.all.map((bucket) => [bucket, 'unknown']),
      );
      const sizes = new Set<number>();
      for (const cursor of cursors) {
        const name = manifestObjectName(hash);
        const objects = await cursor.take(name);
        if (cursor.failure !== null) findings.bucketFailed(cursor.bucket, cursor.failure);
        if (objects === null) continue;
        const object = objects.find((candidate) => candidate.name === name);
        copies.set(cursor.bucket, object === undefined ? 'missing' : 'good');
        if (object !== undefined) sizes.add(object.size);
      }
      const verdict = { hash, copies };
      yield sizes.size > 1 ? await readCopies(verdict, 'good', signal) : verdict;
    }
  } finally {
    await Promise.allSettled(cursors.map((cursor) => cursor.close()));
  }
}

/**
 * The same verdict, after reading some of the copies.
 *
 * @param which those in this state: `good` ones may be damaged, `missing` ones may have been stored since the listing
 */
export async function readCopies(
  { hash, copies }: ManifestVerdict,
  which: 'good' | 'missing',
  signal: AbortSignal | undefined,
): Promise<ManifestVerdict> {
  const states = await Promise.all(
    [...copies].map(async ([bucket, state]): Promise<[VaultBucket, CopyState]> => {
      return [bucket, state === which ? (await readCopy(bucket, hash, signal)).state : state];
    }),
  );
  return { hash, copies: new Map(states) };
}

/** One bucket's copy of a manifest. @returns its bytes, if they are what the hash says */
export async function readCopy(
  bucket: VaultBucket,
  hash: string,
  signal: AbortSignal | undefined,
): Promise<{ readonly state: CopyState; readonly sealed: Uint8Array | null }> {
  try {
    const storage = await bucket.open();
    const sealed = await storage.get(manifestObjectName(hash), {
      maxSize: MAX_MANIFEST_SIZE,
      ...withSignal(signal),
    });
    if (manifestHash(sealed) === hash) return { state: 'good', sealed };
    throw new VaultError('damaged', `The bucket ${bucket.url} has a damaged manifest ${hash}.`);
  } catch (error) {
    return { state: stateOf(error), sealed: null };
  }
}
