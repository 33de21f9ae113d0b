/** The versions that a name has, whatever somebody has made of their rows. */
import type { FileRow } from '../../catalog/catalog.ts';
import { isVaultError } from '../../errors.ts';
import { readDeletion } from '../protocol/deletions.ts';
import type { ReadSession } from '../session.ts';
import { recognise, type News } from './catch-up.ts';
import { joinFiles } from './file-join.ts';
import { readManifestBytes } from './manifests.ts';
import { openFileRowIfIntact, tagsOf, type FileRecord } from './records.ts';

/** More than a name has versions. */
const MANY = 100_000;

export interface VersionsOptions {
  /** Every version, not the newest alone. */
  readonly all?: boolean;
  /** Removed ones, as long as they can be brought back, instead of the others. */
  readonly hidden?: boolean;
  /** Takes what manifests say and the catalog does not know. */
  readonly onNews?: ((news: News | null) => Promise<void>) | undefined;
  /** Whose name it is: 32 hex digits. This session's own unless given. */
  readonly writer?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * What a writer has stored under a name, newest first; the newest alone, unless all are asked for, if its row is what was written there. Otherwise
 * the rows that were changed are made anew from the manifests: one may stand for the newest version, or for none at all.
 *
 * @throws `unavailable` and `denied` if a manifest that tells is out of reach; `unsupported`
 */
export async function versionsOf(
  session: ReadSession,
  name: string,
  { all = false, hidden = false, onNews, writer = session.keys.writer.id, signal }: VersionsOptions = {},
): Promise<readonly FileRecord[]> {
  const tags = tagsOf(session, writer, name);
  const rowsOf = async (limit: number): Promise<readonly FileRow[]> =>
    (await session.catalog.files.byName(tags, limit, { hidden })).filter(
      (row) => (row.hiddenAtMs !== null) === hidden,
    );
  const rows = await rowsOf(all || hidden ? MANY : 1);
  const records = rows.flatMap((row) => believed(session, row) ?? []);
  if (records.length === rows.length) return records;
  const known: FileRecord[] = [];
  const nowhere: FileRow[] = [];
  for (const row of await rowsOf(MANY)) {
    const version = believed(session, row) ?? (await learnVersion(session, row, { onNews, signal }));
    if (version === 'nowhere') nowhere.push(row);
    else if (version?.info.name === name && (version.row.hiddenAtMs !== null) === hidden) known.push(version);
  }
  known.sort(newestFirst);
  const newest = known[0]?.row.version ?? Infinity;
  // It may have been the row of a version that only the buckets know by now; who reads must not take the one before for the newest.
  if (onNews === undefined && !hidden && nowhere.some(({ version }) => version > newest)) {
    for await (const version of unlisted(session, signal)) {
      if (version.info.name === name && version.row.writer === writer) known.push(version);
    }
  }
  return known.toSorted(newestFirst);
}

function newestFirst(a: FileRecord, b: FileRecord): number {
  return b.row.version - a.row.version || b.info.createdAtMs - a.info.createdAtMs;
}

/** Files that the buckets have, that nobody has removed, and that the catalog does not know. */
async function* unlisted(
  session: ReadSession,
  signal: AbortSignal | undefined,
): AsyncGenerator<FileRecord, void, undefined> {
  const { usable } = await session.buckets.check(session.buckets.all, signal);
  for await (const file of joinFiles(session, usable, { signal, onFailure: () => undefined })) {
    if (file.row !== null) continue;
    const { record: deletion } = await readDeletion(session, file.hash, { signal });
    const found = await recognise(session, file, { deletion, signal });
    if ('news' in found && found.record.row.hiddenAtMs === null) yield found.record;
  }
}

/** What a row says; null if it was changed, or is the word of somebody who can only store. */
function believed(session: ReadSession, row: FileRow): FileRecord | null {
  const record = openFileRowIfIntact(session, row);
  return record === null || record.isProven || session.keys.full === null ? record : null;
}

/** What the manifest says that a changed row stands for; `nowhere` if no bucket has one, null if it is foreign or closed to this keyslot. */
async function learnVersion(
  session: ReadSession,
  row: FileRow,
  { onNews, signal }: Pick<VersionsOptions, 'onNews' | 'signal'>,
): Promise<FileRecord | 'nowhere' | null> {
  if (session.manifests === null) return null;
  const { hash } = row;
  const { record: deletion } = await readDeletion(session, hash, { signal });
  // Any bucket may have it.
  const holders = session.buckets.all.map((bucket) => ({ bucket, size: 0 }));
  const found = await recognise(session, { hash, holders, row }, { deletion, signal });
  if ('news' in found) {
    await onNews?.(found.news);
    return found.record;
  }
  if (found.kind === 'foreign') return null;
  if (onNews === undefined) await requireMissing(session, hash, signal);
  return 'nowhere';
}

/** @throws `damaged` if a bucket has the manifest, `unavailable` or `denied` if one may have it */
async function requireMissing(
  session: ReadSession,
  hash: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await readManifestBytes(session, hash, { signal });
  } catch (error) {
    if (!isVaultError(error, 'object-missing')) throw error;
  }
}
