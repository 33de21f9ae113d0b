/** Hiding files, and bringing them back. What is hidden leaves the buckets with a later sweep. */
import type { FileRow } from '../../catalog/catalog.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import { isFailure, isVaultError, VaultError } from '../../errors.ts';
import { manifestObjectName } from '../../format/manifest.ts';
import { CLOCK_NAME, type DeletionRecord } from '../../format/removal.ts';
import { tooFewBuckets } from '../buckets/bucket-set.ts';
import { mergedListing } from '../buckets/merged-listing.ts';
import type { CallOptions } from '../call.ts';
import { goodShards } from '../chunks/good-shards.ts';
import { Presence } from '../chunks/presence.ts';
import { isReadable, type ShardSet } from '../chunks/shard-sets.ts';
import { mostSealed } from '../chunks/shards.ts';
import { manifestOpener, readManifest, readManifestBytes } from '../files/manifests.ts';
import { openFileRowIfIntact, rowsOf, type FileInfo, type FileRecord } from '../files/records.ts';
import { resolveVersions } from '../files/resolve.ts';
import { contentsOf, idOfRef, neededChunks, provingRefs } from '../files/tables.ts';
import { writerFinder, type WrittenFile } from '../files/writers.ts';
import { refreshKeyring } from '../keys/keyring-store.ts';
import type { Session } from '../session.ts';
import { BucketClocks, clockWarning, requireRight } from '../protocol/clocks.ts';
import { GRACE_MS, readDeletion, recordedHashes, writeDeletion } from '../protocol/deletions.ts';
import type { Guarded } from '../protocol/guarded.ts';

export interface RemoveOptions extends CallOptions {
  /** Every version of a name, not the newest alone. */
  readonly allVersions?: boolean | undefined;
  /** Milliseconds in which the files can be brought back; seven days unless given. */
  readonly graceMs?: number | undefined;
  /** Whether what is not there is passed over, as somebody else may have removed it since it was chosen; else it is refused. */
  readonly passMissing?: boolean | undefined;
  /** Only tells what would be removed. */
  readonly dryRun?: boolean | undefined;
  /** Told of each record that is overruled. */
  readonly onOverruled?: ((before: DeletionRecord) => void) | undefined;
}

export interface RemoveResult {
  readonly removed: readonly WrittenFile[];
  /** Hashes of those removed that have no name here: manifests that nobody can read or has heard of, and rows that make no sense. */
  readonly unlisted: readonly string[];
  /** Hashes of those that no bucket has any more: they are off the list, and nothing brings them back. */
  readonly gone: readonly string[];
  /** URLs of buckets that could not be told; a later sweep tells them. */
  readonly unreachable: readonly string[];
}

/** Files that are hidden at once: each waits for a few answers of every bucket, one after the other. */
const HIDDEN_AT_ONCE = 64;
/** Of so many files it is listed which have a record already, instead of being asked for each. */
const MANY = 32;

export async function removeFiles(
  session: Session,
  references: readonly string[],
  options: RemoveOptions = {},
): Promise<RemoveResult> {
  const unlisted = await onlyInBuckets(session, references, options.signal);
  const listed = references.filter((reference) => !unlisted.includes(reference));
  const { allVersions: every = false, passMissing = false } = options;
  const found = await resolveAll(session, listed, { all: every, hidden: false, passMissing });
  for (const record of found) await requireNamed(session, record, options.signal);
  const writer = writerFinder(session);
  const removed = found.map(({ info, row }) => Object.assign({ writer: writer(row.writer) }, info));
  if (options.dryRun === true) {
    const { usable, failed } = await session.buckets.check(session.buckets.all, options.signal);
    if (usable.length === 0) throw tooFewBuckets('No bucket would take the record of the removal.', failed);
    return { removed, unlisted, gone: [], unreachable: failed.map(({ bucket }) => bucket.url) };
  }
  // Buckets that joined meanwhile shall be told, and one that has left is none to rely on.
  await refreshKeyring(session, options.signal);
  const unreachable = new Set<string>();
  const gone: string[] = [];
  const hashes = [...removed.map((file) => file.hash), ...unlisted];
  const recorded = hashes.length < MANY ? null : await recordedHashes(session, options.signal);
  const hidden = mapOrdered(
    hashes,
    async (hash, aborted) => {
      const change = { hash, live: false, graceMs: options.graceMs ?? GRACE_MS };
      const isFirst = recorded?.has(hash) === false;
      const looking = isNowhere(session, hash, aborted);
      let written;
      try {
        written = await writeDeletion(session, change, { isFirst, signal: aborted });
      } finally {
        if (await looking) gone.push(hash);
      }
      if (written.usable.length === 0)
        throw tooFewBuckets('No bucket took the record of the removal. Try again.', written.failed);
      await note(session, hash, session.clock.now());
      return written;
    },
    { inFlight: HIDDEN_AT_ONCE, signal: options.signal },
  );
  for await (const { failed, clocks, before } of hidden) {
    if (before !== null) options.onOverruled?.(before);
    const warning = clockWarning(clocks);
    if (warning !== null) options.onWarning?.(warning);
    for (const { bucket } of failed) unreachable.add(bucket.url);
  }
  return { removed, unlisted, gone, unreachable: [...unreachable] };
}

/** Whether every bucket has answered, and none has a file's manifest. */
async function isNowhere(session: Session, hash: string, signal: AbortSignal): Promise<boolean> {
  try {
    await readManifestBytes(session, hash, { signal });
    return false;
  } catch (error) {
    return isVaultError(error, 'object-missing');
  }
}

/**
 * Of references those that are whole hashes which no name leads to: of manifests that the catalog does not know, and of rows in it that
 * make no sense and have no manifest in any bucket.
 */
async function onlyInBuckets(
  session: Session,
  references: readonly string[],
  signal: AbortSignal | undefined,
): Promise<readonly string[]> {
  const hashes = references.filter((reference) => /^[0-9a-f]{64}$/.test(reference));
  const rows = await rowsOf(session, hashes);
  const opens = (row: FileRow | undefined): boolean =>
    row !== undefined && openFileRowIfIntact(session, row) !== null;
  const unknown = hashes.filter((hash) => !opens(rows.get(hash)));
  if (unknown.length === 0) return [];
  const { usable, failed } = await session.buckets.check(session.buckets.all, signal);
  const found: string[] = [];
  for (const hash of unknown) {
    const name = manifestObjectName(hash);
    let unsure = failed.length > 0;
    const onFailure = (): void => {
      unsure = true;
    };
    let isThere = false;
    for await (const entry of mergedListing(usable, name, { signal, onFailure }))
      isThere ||= entry.name === name;
    if (rows.has(hash) ? !isThere && !unsure : isThere) found.push(hash);
  }
  return found;
}

export interface RemovalDeniedOptions extends CallOptions {
  /** Whether a sweep is to follow at once, which removes nothing by a wrong clock: so nothing shall be hidden either. */
  readonly now?: boolean | undefined;
}

export async function removalDenied(
  session: Session,
  { now = false, signal }: RemovalDeniedOptions = {},
): Promise<readonly string[]> {
  const clocks = new BucketClocks(session.clock);
  const denied = await Promise.all(
    session.buckets.all.map(async (bucket) => {
      let mayRead = false;
      try {
        const storage = await bucket.checked(signal);
        mayRead = true;
        // Of what is not there, not every service says that it may not be removed.
        const onDate = clocks.begin(bucket);
        await storage.put(CLOCK_NAME, new Uint8Array(), { replace: true, onDate, signal });
        await storage.remove(CLOCK_NAME, { signal });
      } catch (error) {
        if (!isFailure(error)) throw error;
        // Credentials that are refused whatever they are for say nothing of removal. At Google to replace something takes that right, too.
        if (mayRead && error.code === 'denied') return bucket.url;
      }
      return null;
    }),
  );
  if (now) requireRight(clocks, 'Nothing was removed');
  return denied.filter((url) => url !== null);
}

/** A row of a writer that can only put may give another writer's file a name of its own. @throws `damaged` */
export async function requireNamed(
  session: Session,
  { info, isProven }: FileRecord,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { hash, name } = info;
  if (isProven || session.keys.full === null) return;
  try {
    const { bytes } = await readManifestBytes(session, hash, { signal });
    if (manifestOpener(session).open(bytes, hash).head.name === name) return;
  } catch (error) {
    if (isVaultError(error, 'object-missing')) return;
    throw error;
  }
  throw new VaultError(
    'damaged',
    `The catalog calls a file "${name}" that has another name. "vault repair" rebuilds its record from the buckets.`,
  );
}

/** The files that references mean, each once. @throws `file-not-found` naming every reference that means nothing, unless those are passed */
export async function resolveAll(
  session: Session,
  references: readonly string[],
  {
    passMissing = false,
    ...how
  }: { readonly all: boolean; readonly hidden: boolean; readonly passMissing?: boolean },
): Promise<readonly FileRecord[]> {
  const found = new Map<string, FileRecord>();
  const unknown: VaultError[] = [];
  for (const reference of references) {
    try {
      for (const file of await resolveVersions(session, reference, how)) found.set(file.info.hash, file);
    } catch (error) {
      if (!isVaultError(error, 'file-not-found')) throw error;
      unknown.push(error);
    }
  }
  const [first] = unknown;
  if (first === undefined || passMissing) return [...found.values()];
  if (references.length === 1) throw first;
  throw new VaultError(
    'file-not-found',
    `${unknown.length} of ${references.length} are unknown, so nothing was changed. ${unknown.map(({ message }) => message).join(' ')}`,
    { cause: first },
  );
}

/**
 * A file whose time is over is removed as if somebody had asked for it: it can be brought back for a while.
 *
 * @param how `notes`: whether the catalog is told
 */
export async function expireFile(
  session: Session,
  { hash, expiresAtMs }: FileInfo,
  { notes, signal }: { readonly notes: boolean; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  // Since it was found another sweep may have done this, and somebody may have brought it back.
  const { record } = await readDeletion(session, hash, { signal });
  if (isSettled(record, expiresAtMs)) return;
  await writeDeletion(session, { hash, live: false, graceMs: GRACE_MS }, { signal });
  if (notes) await note(session, hash, session.clock.now());
}

/** Has the catalog hide a file, or show it (null), as a record in the buckets says by now. @throws what the catalog says, and that the record counts */
async function note({ catalog }: Session, hash: string, hiddenAtMs: number | null): Promise<void> {
  try {
    await catalog.files.hide([hash], hiddenAtMs);
  } catch (error) {
    if (!isFailure(error)) throw error;
    const what = hiddenAtMs === null ? 'What was brought back so far' : 'What was removed so far';
    const message = `${error.message} ${what} is so in the buckets, which counts; "vault sync" tells the catalog of it.`;
    throw new VaultError(error.code, message, { cause: error });
  }
}

/** Whether a file is removed, or was brought back after its time: then that stays so. */
export function isSettled(record: DeletionRecord | null, expiresAtMs: number | null): boolean {
  return record !== null && (!record.live || record.atMs >= (expiresAtMs ?? 0));
}

export interface UndeleteResult {
  readonly restored: readonly FileInfo[];
  /** URLs of buckets that could not be told. */
  readonly unreachable: readonly string[];
}

/**
 * See `Vault.undelete`. It is a put in all that follows: under a marker, after the lists of removal, and only of what is there.
 */
export async function undeleteFiles(
  session: Session,
  references: readonly string[],
  options: CallOptions = {},
): Promise<UndeleteResult> {
  const found = await resolveAll(session, references, { all: false, hidden: true });
  const unreachable = new Set<string>();
  const spare = session.keyring.keyring.redundancy.m;
  await session.guard.run(async (guarded) => {
    for (const { info, ids } of found) {
      const { hash, name } = info;
      const gone = new VaultError(
        'file-not-found',
        `"${name}" can no longer be brought back: a part of it is gone.`,
      );
      try {
        await readManifestBytes(session, hash, { signal: options.signal });
      } catch (error) {
        throw isVaultError(error, 'object-missing') ? gone : error;
      }
      if (guarded.isNamed(manifestObjectName(hash))) throw stillListed(name);
      const doubtful = new Map<string, readonly ShardSet[]>();
      for await (const run of neededChunks(session, ids, options)) {
        for (const { id } of run) {
          guarded.note(id);
          await guarded.keep(options.signal);
          const sets = (await guarded.everywhere.sets(id, options.signal)).filter(isReadable);
          if (sets.some((set) => bucketsOf(set) > spare)) continue;
          if (sets.length > 0) doubtful.set(id, sets);
          else throw await whyNotThere(session, { id, name, gone, guarded }, options.signal);
        }
      }
      await prove(session, hash, doubtful, { gone, signal: options.signal });
      // Once the record is there, the file counts as there, too.
      await guarded.keep(options.signal);
      const { usable, failed } = await writeDeletion(session, { hash, live: true, graceMs: 0 }, options);
      if (usable.length === 0) throw tooFewBuckets('No bucket took the record. Try again.', failed);
      for (const { bucket } of failed) unreachable.add(bucket.url);
      await guarded.keep(options.signal);
      await note(session, hash, null);
    }
  }, options.signal);
  return { restored: found.map(({ info }) => info), unreachable: [...unreachable] };
}

/** How many buckets show it: as many as may be lost may also lie, and show what is not there. */
function bucketsOf({ shards }: ShardSet): number {
  return new Set(shards.map(({ bucket }) => bucket)).size;
}

/** Why a chunk of a file that is to be brought back does not count as there. */
async function whyNotThere(
  session: Session,
  chunk: {
    readonly id: string;
    readonly name: string;
    readonly gone: VaultError;
    readonly guarded: Guarded;
  },
  signal: AbortSignal | undefined,
): Promise<VaultError> {
  const { id, name, gone, guarded } = chunk;
  const unasked = [...guarded.failed, ...guarded.everywhere.failures];
  if (unasked.length > 0) {
    return tooFewBuckets(
      `"${name}" cannot be brought back while buckets are away that may have a part of it.`,
      unasked,
    );
  }
  const listed = await new Presence(session.buckets.all, session.clock).sets(id, signal);
  return listed.some(isReadable) ? stillListed(name) : gone;
}

/** A sweep that began before may go on to remove what it has spared so far: what a list names counts for nothing until it is gone. */
function stillListed(name: string): VaultError {
  return new VaultError(
    'unavailable',
    `"${name}" is on the list of a sweep, and cannot be brought back while that stands: it goes three days after it was done. If the file has not been removed by then, try again ("vault ls --deleted" shows it).`,
  );
}

/** Reads the chunks that too few buckets show to be believed. Of a locked file nobody here can tell. @throws `gone` */
async function prove(
  session: Session,
  hash: string,
  doubtful: ReadonlyMap<string, readonly ShardSet[]>,
  { gone, signal }: { readonly gone: VaultError; readonly signal: AbortSignal | undefined },
): Promise<void> {
  if (doubtful.size === 0) return;
  const { content, ...opened } = await readManifest(session, hash, { signal });
  if (content === null) return;
  for (const { table } of contentsOf(opened.head, content)) {
    for await (const ref of provingRefs(session, table.refs, table.depth, { signal })) {
      const sets = doubtful.get(idOfRef(ref).id) ?? [];
      let proved = sets.length === 0;
      for (const set of sets) {
        const most = mostSealed(ref.length);
        proved ||= (await goodShards(session, set, { proof: ref, most, all: false, signal })).picked !== null;
      }
      if (!proved) throw gone;
    }
  }
}
