/**
 * Deletion records: signed objects that say that a file was removed, or brought back. Of several for one file the one with the
 * highest serial counts, whichever bucket has it; of equals, the removal.
 */
import { manifestHash } from '../../crypto/manifest.ts';
import { openDeletion, signDeletion, underAnyRoot, type SignedUnder } from '../../crypto/signing.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { manifestObjectName, MAX_MANIFEST_SIZE } from '../../format/manifest.ts';
import { decodeManifestObject } from '../../format/manifest-object.ts';
import {
  DELETED_PREFIX,
  deletionObjectName,
  MAX_DELETION_SIZE,
  MAX_SERIAL,
  parseDeletionObjectName,
} from '../../format/removal.ts';
import type { DeletionRecord } from '../../format/removal.ts';
import { checkEach, type BucketCheck, type BucketFailure, type ReadBucket } from '../buckets/bucket-set.ts';
import { mergedListing } from '../buckets/merged-listing.ts';
import { readCopy, readCopyAs, spread } from '../buckets/spread.ts';
import type { ReadSession, Session } from '../session.ts';
import { BucketClocks } from './clocks.ts';

/** How long a removed file can be brought back, in milliseconds, unless asked otherwise: seven days. */
export const GRACE_MS = 7 * 86_400_000;
/** By how much the clocks of two machines may differ, in milliseconds, each being right to half a day. */
const CLOCKS_DIFFER_MS = 86_400_000;

/** The record of a file that counts; null if there is none. @returns `failed`: buckets that could not be asked */
export async function readDeletion(
  session: ReadSession,
  hash: string,
  options: { readonly from?: readonly ReadBucket[]; readonly signal?: AbortSignal | undefined } = {},
): Promise<{ readonly record: DeletionRecord | null; readonly failed: readonly BucketFailure[] }> {
  const { signal } = options;
  const found: SignedUnder<DeletionRecord>[] = [];
  const { failed } = await checkEach(options.from ?? session.buckets.all, async (bucket) => {
    const record = await readCopyAs(bucket, deletionObjectName(hash), {
      maxSize: MAX_DELETION_SIZE,
      open: (bytes) => underAnyRoot(session.keys, (keys) => openDeletion(keys, bytes, hash)),
      signal,
    });
    if (record !== null) found.push(record);
  });
  if (found.every(({ root }) => root === session.keys.rootNumber)) return { record: latest(found), failed };
  const file = await rootOfFile(session, hash, signal);
  const counting = found.filter(({ root }) => root >= file.root);
  return { record: latest(counting), failed: [...failed, ...file.failed] };
}

/**
 * The number of the root that a file was stored under: whoever has kept an older one must not be able to remove it.
 *
 * @returns 0 if no bucket has its manifest; infinite if that is not known
 */
async function rootOfFile(
  session: ReadSession,
  hash: string,
  signal: AbortSignal | undefined,
): Promise<{ readonly root: number; readonly failed: readonly BucketFailure[] }> {
  const roots: number[] = [];
  const { failed } = await checkEach(session.buckets.all, async (bucket) => {
    const call = { maxSize: MAX_MANIFEST_SIZE, signal };
    const bytes = await readCopy(bucket, manifestObjectName(hash), call);
    if (bytes !== null) roots.push(rootOfManifest(bytes, hash));
  });
  const known = roots.find((root) => root < Infinity);
  if (known !== undefined) return { root: known, failed: [] };
  return { root: roots.length + failed.length === 0 ? 0 : Infinity, failed };
}

function rootOfManifest(bytes: Uint8Array, hash: string): number {
  if (manifestHash(bytes) !== hash) return Infinity;
  try {
    return decodeManifestObject(bytes).rootNumber;
  } catch (error) {
    if (!isVaultError(error, 'damaged', 'unsupported')) throw error;
    return Infinity;
  }
}

/** Of several records of one file, the one that counts. */
export function latest(records: readonly DeletionRecord[]): DeletionRecord | null {
  const order = records.toSorted((a, b) => b.serial - a.serial || Number(a.live) - Number(b.live));
  return order[0] ?? null;
}

/** Whether any bucket that answers says that a file is removed. */
export async function isDeleted(session: ReadSession, hash: string, signal?: AbortSignal): Promise<boolean> {
  const { record } = await readDeletion(session, hash, { signal });
  return record !== null && !record.live;
}

/** Hashes of files that any bucket lists a record of; null if one of them cannot be asked. */
export async function recordedHashes(
  session: ReadSession,
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<string> | null> {
  const { usable, failed } = await session.buckets.check(session.buckets.all, signal);
  if (failed.length > 0) return null;
  const hashes = new Set<string>();
  let isSure = true;
  const onFailure = (): void => {
    isSure = false;
  };
  for await (const { name } of mergedListing(usable, DELETED_PREFIX, { signal, onFailure })) {
    const hash = parseDeletionObjectName(name);
    if (hash !== null) hashes.add(hash);
  }
  return isSure ? hashes : null;
}

/**
 * Writes a record that overrules those before it, into every bucket that can be reached.
 *
 * @param options `isFirst`: all buckets have just been asked, and have none
 * @returns `clocks`: what they say of the time; `before`: the record that it overrules, null if there is none
 */
export async function writeDeletion(
  session: Session,
  change: { readonly hash: string; readonly live: boolean; readonly graceMs: number },
  { isFirst = false, signal }: { readonly isFirst?: boolean; readonly signal?: AbortSignal | undefined } = {},
): Promise<BucketCheck & { readonly clocks: BucketClocks; readonly before: DeletionRecord | null }> {
  const { record, failed } = isFirst
    ? { record: null, failed: [] }
    : await readDeletion(session, change.hash, { signal });
  const clocks = new BucketClocks(session.clock);
  const write = (next: DeletionRecord): Promise<BucketCheck> => {
    const object = { name: deletionObjectName(change.hash), bytes: signDeletion(session.keys, next) };
    return spread(session.buckets.all, object, { clocks, signal, replace: true });
  };
  const atMs = session.clock.now();
  // Not only the next number: a bucket that cannot be asked now may have records of numbers that are not known here, written by a
  // clock that is fast. Then what brings a file back counts, rather than what removes it.
  const least = change.live && failed.length > 0 ? atMs + CLOCKS_DIFFER_MS : atMs;
  const next = { ...change, serial: serialAfter(record?.serial ?? 0, least), atMs };
  // Of two with the greatest serial the removal counts.
  if (change.live && record?.live === false && record.serial === next.serial) throw noSerialLeft(change.hash);
  const written = await write(next);
  const { offMs } = clocks;
  if (offMs <= 0 || written.usable.length === 0) return { ...written, clocks, before: record };
  // The grace begins by the later clock: it may last too long, and never ends early.
  const later = Math.round(atMs + offMs);
  const again = await write({ ...next, serial: serialAfter(next.serial, later), atMs: later });
  return { ...again, clocks, before: record };
}

function serialAfter(serial: number, least: number): number {
  return Math.min(Math.max(serial + 1, least), MAX_SERIAL);
}

function noSerialLeft(hash: string): VaultError {
  return new VaultError(
    'damaged',
    `${deletionObjectName(hash)} has the greatest serial there is, which no program of this vault writes: the file stays removed. Read it ("vault get ${hash}") and store it again.`,
  );
}

/**
 * The records that count, by hash, out of buckets that must all answer, unless `onFailure` takes it that one does not.
 *
 * @param options `onForged`: told of hashes of which there is none that this vault has signed
 * @throws what a bucket says; `unsupported` for a record of a newer version
 */
export async function listDeletions(
  session: ReadSession,
  buckets: readonly ReadBucket[],
  options: {
    readonly signal?: AbortSignal | undefined;
    readonly onFailure?: ((failure: BucketFailure) => void) | undefined;
    readonly onForged?: (hash: string) => void;
  },
): Promise<Map<string, DeletionRecord>> {
  const { signal, onFailure, onForged } = options;
  const records = new Map<string, DeletionRecord>();
  for await (const { name, holders } of mergedListing(buckets, DELETED_PREFIX, { signal, onFailure })) {
    const hash = parseDeletionObjectName(name);
    if (hash === null) continue;
    const { record, failed } = await readDeletion(session, hash, {
      from: holders.map(({ bucket }) => bucket),
      signal,
    });
    for (const failure of failed) {
      if (onFailure === undefined) throw failure.error;
      onFailure(failure);
    }
    if (record !== null) records.set(hash, record);
    else if (failed.length === 0) onForged?.(hash);
  }
  return records;
}
