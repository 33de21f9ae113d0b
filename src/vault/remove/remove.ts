/** Removing files. One transaction hides them; then their objects go, then the record of those. */
import { throwIfAborted } from '../../errors.ts';
import { describeFailure } from '../buckets/bucket-set.ts';
import { collectGarbage } from './collect.ts';
import { resolveVersions } from '../files/files.ts';
import type { FileRecord } from '../files/files.ts';
import { requireWholeCatalog } from '../session.ts';
import type { Session } from '../session.ts';
import type { CallOptions, FileInfo, RemoveResult } from '../vault.ts';

/** Files hidden in one transaction. */
const BATCH = 500;

/** See `Vault.remove`. */
export async function removeFiles(
  session: Session,
  references: readonly string[],
  options: CallOptions & { readonly allVersions?: boolean } = {},
): Promise<RemoveResult> {
  await requireWholeCatalog(session);
  const found = new Map<string, FileRecord>();
  for (const reference of references) {
    const versions = await resolveVersions(session, reference, { all: options.allVersions ?? false });
    for (const record of versions) found.set(record.info.hash, record);
  }
  throwIfAborted(options.signal);
  const removed = await hideFiles(session, [...found.values()]);
  const { objectsRemoved, objectsOwed, failures } = await collectGarbage(session, options);
  for (const failure of failures) {
    options.onWarning?.({
      kind: 'bucket-down',
      message: describeFailure(failure),
      bucket: failure.bucket.url,
    });
  }
  return { removed, objectsRemoved, objectsOwed };
}

/** Hides files; those that somebody else has hidden meanwhile are not among the returned. */
export async function hideFiles(session: Session, records: readonly FileRecord[]): Promise<FileInfo[]> {
  const removed: FileInfo[] = [];
  for (let at = 0; at < records.length; at += BATCH) {
    const batch = records.slice(at, at + BATCH);
    const hidden = new Set(await session.catalog.removeFiles(batch.map(({ info }) => info.hash)));
    removed.push(...batch.map(({ info }) => info).filter(({ hash }) => hidden.has(hash)));
  }
  return removed;
}
