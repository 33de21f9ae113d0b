/** Which chunks live files need: what a sweep must leave alone. */
import { isVaultError, throwIfAborted, type VaultError } from '../../errors.ts';
import { manifestObjectName, parseManifestObjectName } from '../../format/manifest.ts';
import type { DeletionRecord, SweepList } from '../../format/removal.ts';
import { notListing, type VaultBucket } from '../buckets/bucket-set.ts';
import type { IdSet } from '../chunks/id-set.ts';
import { doing, telling } from '../buckets/steps.ts';
import { catchUp, hideAsRecorded, recognise } from '../files/catch-up.ts';
import { joinFiles, type JoinedFile } from '../files/file-join.ts';
import { readManifestIn } from '../files/manifests.ts';
import type { FileRecord } from '../files/records.ts';
import { absences } from '../files/removed-elsewhere.ts';
import { neededChunks } from '../files/tables.ts';
import { writerFinder, writerOf, type WrittenFile } from '../files/writers.ts';
import type { Session } from '../session.ts';
import { listDeletions } from '../protocol/deletions.ts';
import { isSettled } from './rm.ts';

export interface LiveFiles {
  /** Ids of every chunk that a live file needs. */
  readonly ids: IdSet;
  /** Files whose grace is over, and who has their manifests. */
  readonly dead: readonly JoinedFile[];
  /** Live files whose time is over, not yet removed. */
  readonly expired: readonly WrittenFile[];
  /** Records of removal, forged ones too, whose manifests are in no bucket any more. */
  readonly settled: readonly string[];
  /** Files of this session's writer that the catalog did not know; others store with catalogs of their own. */
  readonly learned: number;
  /** Visible rows of the catalog that no bucket has a manifest of, and that nobody has removed as far as the buckets know. */
  readonly missing: readonly string[];
  /** Why no chunk may be removed, in sentences; null if nothing is in the way. */
  readonly blockedBy: string | null;
}

export interface LiveOptions {
  /** Removed files whose grace ends at or before this are dead. */
  readonly nowMs: number;
  /** Whether the grace of removed files counts as over. */
  readonly ignoreGrace: boolean;
  /** Whether the catalog may catch up. */
  readonly write: boolean;
  /** Ids that are live besides. */
  readonly marked: IdSet;
  /** By the hash of a file: when it was chosen for removal, whose grace ended then at the latest. */
  readonly chosenAtMs: ReadonlyMap<string, number>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Looks through all manifests.
 *
 * @param buckets all of the vault's; each must list completely
 * @throws what a bucket says; `unavailable` for one that does not list what it has
 */
export async function findLive(
  session: Session,
  buckets: readonly VaultBucket[],
  options: LiveOptions,
): Promise<LiveFiles> {
  const { signal, write } = options;
  const settled = new Set<string>();
  const deletions = await listDeletions(session, buckets, { signal, onForged: (hash) => settled.add(hash) });
  for (const hash of deletions.keys()) settled.add(hash);
  const ids = options.marked;
  const dead: JoinedFile[] = [];
  const writer = writerFinder(session);
  const expired: WrittenFile[] = [];
  const missing: string[] = [];
  const whyAbsent = absences(session, write ? doing(session) : telling(), { from: buckets, signal });
  let learned = 0;
  let blockedBy: string | null = null;
  let blocked = 0;
  const block = (hash: string, error: VaultError | null): void => {
    blocked += 1;
    blockedBy ??= whyBlocked(hash, error);
  };
  for await (const file of joinFiles(session, buckets, { signal })) {
    throwIfAborted(signal);
    const { hash, holders, row } = file;
    const deletion = deletions.get(hash) ?? null;
    if (holders.length === 0) {
      if (row === null) continue;
      // A catalog from before the removal lists it still.
      const isRemoved = row.hiddenAtMs !== null || deletion?.live === false;
      if (isRemoved && write) await session.catalog.files.forget([hash]);
      const why = isRemoved ? 'removed' : await whyAbsent(hash);
      if (why === null) missing.push(hash);
      if (why === 'changed') await requireListed(buckets, hash, signal);
      continue;
    }
    settled.delete(hash);
    if (deletion !== null && isOver(hash, deletion, options)) {
      dead.push(file);
      if (write && row?.hiddenAtMs === null) await hideAsRecorded(session, hash, deletion, signal);
      continue;
    }
    try {
      const known = await recognise(session, file, { deletion, signal });
      if (write && 'news' in known) await catchUp(session, known.news, signal);
      if (known.kind === 'learned' && writerOf(session, known.record.row.writer).isOwn) learned += 1;
      if (known.kind === 'unreadable') block(hash, null);
      if (known.kind === 'known' || known.kind === 'learned') {
        await addNeeded(session, known.record, ids, signal);
        const { expiresAtMs } = known.record.info;
        const isExpired = expiresAtMs !== null && expiresAtMs <= options.nowMs;
        if (isExpired && !isSettled(deletion, expiresAtMs)) {
          expired.push({ ...known.record.info, writer: writer(known.record.row.writer) });
        }
      }
    } catch (error) {
      if (!isVaultError(error, 'damaged', 'unsupported')) throw error;
      block(hash, error);
    }
  }
  for (const [hash, record] of deletions) if (record.live) settled.delete(hash);
  if (blocked > 1)
    blockedBy = `${blockedBy} So ${blocked === 2 ? 'does 1 other' : `do ${blocked - 1} others`}: see "vault verify".`;
  return { ids, dead, expired, settled: [...settled], learned, missing, blockedBy };
}

/** Which file it is of which nobody here knows what it needs, and what can be done about it. @param error null: no copy has its hash */
function whyBlocked(hash: string, error: VaultError | null): string {
  const remove = `"vault rm --now ${hash}" removes it`;
  return error?.code === 'unsupported'
    ? `The file ${hash} keeps all of them, as only a newer version knows which it needs. Sweep with that; if none of yours has stored it, ${remove}.`
    : `The file ${hash} keeps all of them, as it is not known which it needs: ${error?.message ?? 'its manifest cannot be read.'} Try "vault repair"; if it is lost, or none of yours, ${remove}.`;
}

/** A manifest that no bucket has listed and one has all the same was stored since, or no listing of that bucket can be believed. */
async function requireListed(
  buckets: readonly VaultBucket[],
  hash: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const bucket of buckets) {
    try {
      await readManifestIn(bucket, hash, signal);
    } catch (error) {
      if (isVaultError(error, 'object-missing')) continue;
      if (!isVaultError(error, 'damaged')) throw error;
    }
    const storage = await bucket.checked(signal);
    const listed = await Array.fromAsync(storage.list(manifestObjectName(hash), { signal }));
    if (listed.length === 0) throw notListing(bucket, 'manifests');
  }
}

/** The files that lists name, and when the last of those that do was written. */
export function filesChosenBy(lists: readonly SweepList[]): ReadonlyMap<string, number> {
  const chosen = new Map<string, number>();
  for (const { atMs, objects } of lists)
    for (const name of objects) {
      const hash = parseManifestObjectName(name);
      if (hash !== null) chosen.set(hash, Math.max(atMs, chosen.get(hash) ?? 0));
    }
  return chosen;
}

function isOver(
  hash: string,
  { live, atMs, graceMs }: DeletionRecord,
  { nowMs, ignoreGrace, chosenAtMs }: LiveOptions,
): boolean {
  return !live && (ignoreGrace || atMs + graceMs <= nowMs || (chosenAtMs.get(hash) ?? 0) >= atMs);
}

async function addNeeded(
  session: Session,
  { ids }: FileRecord,
  into: IdSet,
  signal: AbortSignal | undefined,
): Promise<void> {
  for await (const run of neededChunks(session, ids, { signal })) for (const { id } of run) into.add(id);
}
