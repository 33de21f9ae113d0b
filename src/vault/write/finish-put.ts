/** The end of a put, when all its chunks are stored: manifest, catalog, and what is told of it. */
import { lockContentKey } from '../../crypto/manifest.ts';
import type { FileRow } from '../../catalog/catalog.ts';
import { isVaultError, throwIfAborted, VaultError } from '../../errors.ts';
import { MAX_VERSION } from '../../format/limits.ts';
import { manifestObjectName } from '../../format/manifest.ts';
import type { LockStanza, ManifestHead } from '../../format/manifest.ts';
import { deletionObjectName } from '../../format/removal.ts';
import { checkEach, tooFewBuckets, describeFailure } from '../buckets/bucket-set.ts';
import type { BucketFailure, VaultBucket } from '../buckets/bucket-set.ts';
import { removeFrom, spread } from '../buckets/spread.ts';
import type { CallOptions } from '../call.ts';
import { catchUp } from '../files/catch-up.ts';
import type { News } from '../files/catch-up.ts';
import { contentDigestOf, isOfRoot, sealFileRow } from '../files/records.ts';
import type { FileRecord } from '../files/records.ts';
import { readManifestBytes } from '../files/manifests.ts';
import { sharedNames } from '../files/needed-objects.ts';
import { versionsOf } from '../files/versions.ts';
import { lookAtKeyring, requireKey, withoutKeyring } from '../keys/keyring-store.ts';
import { BucketClocks, clockWarning } from '../protocol/clocks.ts';
import { readDeletion, writeDeletion } from '../protocol/deletions.ts';
import type { Guarded } from '../protocol/guarded.ts';
import type { Session } from '../session.ts';
import type { StoredContent } from './content.ts';
import type { OpenSource } from './file-source.ts';
import type { PutCall, PutResult } from './put-call.ts';
import { sealManifest } from './seal-manifest.ts';

/** What is kept of a file or folder beside its content. */
export type SourceFacts = Pick<OpenSource, 'modified' | 'mode'>;

export interface Finishing {
  readonly call: PutCall;
  readonly content: StoredContent;
  readonly contentKey: Buffer;
  /** Null for content that lies in the manifest. */
  readonly guarded: Guarded | null;
}

/** Everything after the last byte: the manifest, unless the newest version has this very content, and the catalog. */
export async function finishPut(
  session: Session,
  source: SourceFacts,
  finishing: Finishing,
): Promise<PutResult> {
  const { call, content, contentKey, guarded } = finishing;
  const { table, folder, ids, chunksStored, degradedChunks, newBytes, bytesStored } = content;
  const { size: contentSize } = folder ?? table;
  const sizes = { contentSize, chunksStored, degradedChunks, bytesNew: newBytes };
  const { name, dryRun, signal } = call;
  const onNews = dryRun === true ? undefined : (news: News | null) => catchUp(session, news, signal);
  const versions = await versionsOf(session, name, { onNews, signal });
  const same = await findUnchanged(session, versions, finishing);
  if (same !== null) {
    warnOf(same.away, call);
    if (call.dryRun !== true) await retainManifest(session, same.info.hash, call);
    const degraded = degradedChunks > 0 || areMissed(same.away);
    const facts = { unchanged: true, bytesStored, manifestCopies: 0, degraded };
    return { ...same.info, ...sizes, ...facts, ...retentionOf(call), unlocks: null };
  }
  const head = headOf(session, source, { call, content, versions });
  if (call.dryRun === true) {
    const { usable, failed } = await session.buckets.check(session.buckets.active, signal);
    if (usable.length === 0) throw tooFewBuckets('No bucket would take the manifest.', failed);
    warnOf(failed, call);
    const none = { unchanged: false, bytesStored, manifestCopies: 0, unlocks: null };
    return { hash: '', ...head, ...sizes, ...none, degraded: failed.length > 0, ...retentionOf(call) };
  }
  const lock = await lockOf(session, call, contentKey);
  const { bytes, hash } = await sealManifest(session, {
    head,
    ids,
    content: table,
    folder: folder ?? undefined,
    contentKey,
    lock,
  });
  const clocks = new BucketClocks(session.clock);
  const { copies, failed } = await storeManifest(session, {
    hash,
    bytes,
    guarded,
    clocks,
    lock: (bucket) => call.retaining?.putCall(bucket, session.clock.now()) ?? {},
    signal: call.signal,
  });
  await call.retaining?.extendShared(sharedNames(session), call.signal);
  warnOf(failed, call);
  warnOfClock(clocks, call);
  const [before] = versions;
  const access = lock === null ? { content: contentKey } : { lock };
  const row = sealFileRow(session, {
    hash,
    writer: session.keys.writer.id,
    part: { head, ids, access },
    contentDigest: lock === null ? contentDigestOf(content) : null,
  });
  await listFile(session, row);
  return {
    hash,
    ...head,
    ...sizes,
    unchanged: false,
    bytesStored: bytesStored + copies * bytes.length,
    manifestCopies: copies,
    degraded: degradedChunks > 0 || areMissed([...failed, ...(guarded?.failed ?? [])]),
    ...retentionOf(call),
    unlocks: lock === null && before?.info.locked === true ? before.info : null,
  };
}

/** Whether one of those that failed should have what is stored. */
function areMissed(failed: readonly BucketFailure[]): boolean {
  return failed.some(({ bucket }) => bucket.state === 'active');
}

function retentionOf({
  retaining,
  retainedEnough,
}: PutCall): Pick<PutResult, 'retainedUntilMs' | 'unretained' | 'retainedEnough'> {
  return { retainedUntilMs: retaining?.untilMs ?? null, unretained: retaining?.unkept ?? 0, retainedEnough };
}

/** Of what is stored already: the manifest is kept, too. */
async function retainManifest(session: Session, hash: string, { retaining, signal }: PutCall): Promise<void> {
  if (retaining === null) return;
  for (const bucket of retaining.buckets)
    await retaining.extend({ bucket, name: manifestObjectName(hash) }, signal);
  await retaining.extendShared(sharedNames(session), signal);
}

async function lockOf(
  { vaultId }: Session,
  { lock }: PutCall,
  contentKey: Buffer,
): Promise<LockStanza | null> {
  return lock === undefined ? null : lockContentKey(contentKey, lock.password, { vaultId, cost: lock.cost });
}

/** Makes a file visible whose manifest is stored. */
export async function listFile(session: Session, row: FileRow): Promise<void> {
  const isPut = session.keys.full === null;
  try {
    // The row is new: who can only store needs no right to change any.
    await session.catalog.files.put([row], { onlyNew: isPut });
  } catch (error) {
    if (!isVaultError(error, 'storage-full', 'denied')) throw error;
    // It shows when somebody with a full key syncs.
    if (isPut && error.code === 'denied') return;
    throw new VaultError(
      error.code,
      `${error.message} The file is in the buckets, and not in the catalog: "vault repair" adds it then.`,
      { cause: error },
    );
  }
}

function headOf(
  session: Session,
  source: SourceFacts,
  {
    call,
    content,
    versions,
  }: { readonly call: PutCall; readonly content: StoredContent; readonly versions: readonly FileRecord[] },
): ManifestHead {
  const { redundancy, epoch } = session.keyring.keyring;
  const locked = call.lock !== undefined;
  const { table, folder } = content;
  return {
    kind: folder === null ? 'file' : 'folder',
    name: call.name,
    size: locked ? null : (folder ?? table).size,
    createdAtMs: session.clock.now(),
    modified: source.modified,
    mode: source.mode,
    expiresAtMs: call.expiresAtMs ?? null,
    version: nextVersion(session, call.name, versions),
    epoch,
    redundancy,
    chunkSize: table.chunkSize,
    chunks: content.chunks,
    indexChunks: content.indexChunks,
    entries: locked || folder === null ? null : folder.entries,
    incomplete: folder?.incomplete ?? false,
    locked,
  };
}

/** Milliseconds since 1970 (the year 2109): a clock that shows more is wrong, and leaves no room for what comes after. */
const LATEST = 2 ** 42;

/**
 * The order of versions goes by this number. It is greater than those that are known, whatever the clock says; and it is the time, since
 * another machine, or this one before its catalog was put back, may have stored versions that are not known here.
 */
function nextVersion({ clock, keys }: Session, name: string, versions: readonly FileRecord[]): number {
  const known = Math.max(0, ...versions.map(({ info }) => info.version));
  const last = versions.find(({ info }) => info.version === MAX_VERSION);
  if (last !== undefined && isOfRoot(last.row, keys.rootNumber)) {
    throw new VaultError(
      'damaged',
      `A version of "${name}" has the greatest number there is, which no program of this vault gives, so that no other would be the newest. Remove it ("vault rm ${last.info.hash}"), or store this under another name.`,
    );
  }
  // Of a name that has the greatest number under an old root the versions of this one begin anew: a later root counts for more.
  const next = known < MAX_VERSION ? known + 1 : 1;
  const now = clock.now();
  return now <= LATEST ? Math.max(next, now) : next;
}

/** Stores the manifest in every bucket that can be reached. @returns how many have it, and which could not take it */
export async function storeManifest(
  session: Session,
  manifest: {
    readonly hash: string;
    readonly bytes: Uint8Array;
    readonly guarded: Guarded | null;
    readonly clocks: BucketClocks;
    readonly lock?: ((bucket: VaultBucket) => { readonly retainUntilMs?: number }) | undefined;
    /** False if it stands already, and only buckets that lack it are to have it: then it stays where it is, whatever happens. */
    readonly isNew?: boolean;
    readonly signal: AbortSignal | undefined;
  },
): Promise<{ readonly copies: number; readonly failed: readonly BucketFailure[] }> {
  const { hash, bytes, guarded, clocks, lock, isNew = true, signal } = manifest;
  const object = { name: manifestObjectName(hash), bytes };
  const { usable, failed } = await spread(guarded?.targets ?? session.buckets.active, object, {
    clocks,
    lock,
    signal,
  });
  if (usable.length === 0) {
    throw tooFewBuckets('No bucket took the manifest, so the file was not stored. Try again.', failed);
  }
  try {
    const full = failed.find(({ error }) => error.code === 'storage-full');
    if (full !== undefined) throw full.error;
    throwIfAborted(signal);
    // A hash is acknowledged only under a marker that is young: else what it relies on may be gone.
    if (guarded !== null) await guarded.keep(signal);
    else await keepInVault(session, { object, stored: usable, lock, signal });
  } catch (error) {
    // Nobody is given its hash. Who can only store cannot take it back, and it shows as a file that is whole.
    if (isNew) await removeFrom(usable, object.name);
    throw error;
  }
  // By the keyring that was just looked at: one that was taken out of the vault meanwhile is missed by nobody.
  const inVault = new Set(session.buckets.all.map(({ id }) => id));
  return { copies: usable.length, failed: failed.filter(({ bucket }) => inVault.has(bucket.id)) };
}

/**
 * Without a marker nobody waits for this put: a bucket that took the manifest may be leaving the vault. Whoever takes it out says so in
 * the keyring first and copies its manifests after that, so of the two at least one sees the other.
 */
async function keepInVault(
  session: Session,
  put: {
    readonly object: { readonly name: string; readonly bytes: Uint8Array };
    readonly stored: readonly VaultBucket[];
    readonly lock?: ((bucket: VaultBucket) => { readonly retainUntilMs?: number }) | undefined;
    readonly signal: AbortSignal | undefined;
  },
): Promise<void> {
  const { object, stored, lock, signal } = put;
  const asked = await lookAtKeyring(session, stored, signal);
  requireKey(session);
  const { active } = session.buckets;
  const has = new Set(asked.usable.filter((bucket) => !asked.without.includes(bucket)).map(({ id }) => id));
  if (stored.every(({ id }) => has.has(id) && active.some((bucket) => bucket.id === id))) return;
  // In the place of those that leave: one may have joined meanwhile.
  const others = active.filter(({ id }) => !stored.some((bucket) => bucket.id === id));
  const { usable, failed } = await spread(others, object, { lock, signal });
  if (usable.length > 0 || active.some(({ id }) => has.has(id))) return;
  throw tooFewBuckets('No bucket that stays in the vault took the manifest. Try again.', [
    ...failed,
    ...asked.failed,
    ...asked.without.map(withoutKeyring),
  ]);
}

interface Unchanged {
  readonly info: FileRecord['info'];
  /** Buckets that could not be asked whether it is removed. */
  readonly away: readonly BucketFailure[];
}

/** The newest file of this name, if it has this content, lives as long as asked for, stands, and is not removed. */
async function findUnchanged(
  session: Session,
  versions: readonly FileRecord[],
  finishing: Finishing,
): Promise<Unchanged | null> {
  const { call, content, guarded } = finishing;
  const [newest] = versions;
  if (newest === undefined || call.lock !== undefined) return null;
  if (newest.contentDigest !== contentDigestOf(content)) return null;
  if (newest.info.expiresAtMs !== (call.expiresAtMs ?? null)) return null;
  if (newest.row.writer !== session.keys.writer.id) return null;
  const { hash } = newest.info;
  try {
    if (guarded?.isNamed(manifestObjectName(hash)) === true) return null;
    if (session.keys.full === null)
      return (await isListed(session, hash, call)) ? { info: newest.info, away: [] } : null;
    // The record goes when the manifest is in no bucket, so it is asked for first.
    const { record, failed: away } = await readDeletion(session, hash, call);
    if (record?.live === false) return null;
    const from = session.buckets.active.filter(({ id }) => !away.some(({ bucket }) => bucket.id === id));
    const copies = copiesIn(session, from);
    await readManifestBytes(session, hash, { from, copies, signal: call.signal });
    if (away.length > 0) {
      // To be brought back after its end would be to have none; and what a newer version has recorded is not overruled unread.
      if (newest.info.expiresAtMs !== null || away.some(({ error }) => error.code === 'unsupported'))
        return null;
      if (call.dryRun !== true) {
        // Where nobody waits for this put, a sweep may be about to remove it.
        if (guarded === null)
          return await session.guard.run(
            (marker) => findUnchanged(session, versions, { ...finishing, guarded: marker }),
            call.signal,
          );
        if (!(await bringBack(session, hash, { guarded, copies, signal: call.signal }))) return null;
      }
    }
    return { info: newest.info, away };
  } catch (error) {
    // Its manifest is lost or out of reach: then the content deserves a new one.
    if (isVaultError(error, 'damaged', 'unavailable', 'object-missing', 'denied')) return null;
    throw error;
  }
}

/** How many copies a manifest must have in buckets that answer: as many as a new one would have to have. */
function copiesIn({ keyring }: Session, buckets: readonly VaultBucket[]): number {
  return Math.min(keyring.keyring.redundancy.m + 1, buckets.length);
}

/**
 * A bucket that is away may have a record of a removal that was acknowledged because that bucket alone had taken it. So the file is brought
 * back, as `undelete` does, by a later record in as many buckets as must have its manifest: under a marker, after the lists of removal, and
 * when all of it has been seen.
 *
 * @returns whether enough buckets have taken the record
 */
async function bringBack(
  session: Session,
  hash: string,
  p: { readonly guarded: Guarded; readonly copies: number; readonly signal: AbortSignal | undefined },
): Promise<boolean> {
  const { guarded, copies, signal } = p;
  const { usable } = await writeDeletion(session, { hash, live: true, graceMs: 0 }, { signal });
  if (usable.filter(({ state }) => state === 'active').length < copies) return false;
  await guarded.keep(signal);
  await session.catalog.files.hide([hash], null);
  return true;
}

/** Whether enough buckets list a manifest, and all say by their names that there is no record of its removal: who may read neither. */
async function isListed(session: Session, hash: string, { signal }: CallOptions): Promise<boolean> {
  const lists = async (bucket: VaultBucket, name: string): Promise<boolean> => {
    for await (const found of (await bucket.checked(signal)).list(name, { signal }))
      if (found.name === name) return true;
    return false;
  };
  let isRemoved = false;
  let found = 0;
  const { failed } = await checkEach(session.buckets.all, async (bucket) => {
    if (await lists(bucket, deletionObjectName(hash))) isRemoved = true;
    if (bucket.state === 'active' && (await lists(bucket, manifestObjectName(hash)))) found += 1;
  });
  return failed.length === 0 && !isRemoved && found >= copiesIn(session, session.buckets.active);
}

export function warnOf(failed: readonly BucketFailure[], { onWarning }: CallOptions): void {
  for (const failure of failed) {
    onWarning?.({ kind: 'bucket-down', message: describeFailure(failure), bucket: failure.bucket.url });
  }
}

export function warnOfClock(clocks: BucketClocks, { onWarning }: PutCall): void {
  const warning = clockWarning(clocks);
  if (warning !== null) onWarning?.(warning);
}
