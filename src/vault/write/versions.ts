/** The versions that a name has, for whoever adds one. */
import type { FileRow } from '../../catalog/catalog.ts';
import { readDeletion } from '../protocol/deletions.ts';
import type { Session } from '../session.ts';
import { learnFile } from '../files/catch-up.ts';
import { openFileRowIfIntact } from '../files/records.ts';
import type { FileRecord } from '../files/records.ts';
import { MANY, nameTags } from '../files/resolve.ts';

/**
 * What is known under a name, newest first; the newest alone if its row is what was written there. Otherwise the rows that were
 * changed are made anew from the manifests: a number given without knowing the others would put the new version behind them.
 *
 * @throws `unavailable` and `denied` if a manifest that tells a number is out of reach; `unsupported`
 */
export async function versionsOf(
  session: Session,
  name: string,
  signal: AbortSignal | undefined,
): Promise<readonly FileRecord[]> {
  const tags = nameTags(session, name);
  const [newest] = await session.catalog.files.byName(tags, 1);
  if (newest === undefined) return [];
  const record = openFileRowIfIntact(session, newest);
  if (record !== null) return [record];
  const known: FileRecord[] = [];
  for (const row of await session.catalog.files.byName(tags, MANY)) {
    const version = openFileRowIfIntact(session, row) ?? (await learnVersion(session, row, signal));
    if (version?.info.name === name && version.row.hiddenAtMs === null) known.push(version);
  }
  return known.toSorted((a, b) => b.info.version - a.info.version || b.info.createdAtMs - a.info.createdAtMs);
}

/** What the manifest says that a changed row stands for; null if there is none, or it is closed to this keyslot. */
async function learnVersion(
  session: Session,
  row: FileRow,
  signal: AbortSignal | undefined,
): Promise<FileRecord | null> {
  if (session.manifests === null) return null;
  const { hash } = row;
  const { record: deletion } = await readDeletion(session, hash, { signal });
  // Any bucket may have it.
  const holders = session.buckets.all.map((bucket) => ({ bucket, size: 0 }));
  const found = await learnFile(session, { hash, holders, row }, { deletion, write: true, signal });
  return 'record' in found ? found.record : null;
}
