/**
 * Versions that are there twice since several have stored the same one anew at once, each with a catalog of its own or at the same moment.
 * The one with the highest number stays, of equals the one with the lowest hash, whoever looks: so of several that take away what is
 * double none takes the last.
 */
import type { FileRow } from '../../catalog/catalog.ts';
import { isFailure } from '../../errors.ts';
import { decodeManifestObject } from '../../format/manifest-object.ts';
import { readManifestBytes } from '../files/manifests.ts';
import { openFileRowIfIntact, type FileRecord } from '../files/records.ts';
import { isDeleted } from '../protocol/deletions.ts';
import type { Session } from '../session.ts';

export interface Double {
  readonly record: FileRecord;
  /** The version that stays, which stands in every bucket. */
  readonly kept: FileRecord;
}

/** @param rows visible ones, in the order of `files.list` */
export async function* doublesAmong(
  session: Session,
  rows: AsyncIterable<FileRow>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Double> {
  let run: FileRow[] = [];
  for await (const row of rows) {
    if (run.length > 0 && run[0]?.createdAtMs !== row.createdAtMs) {
      yield* doublesIn(session, run, signal);
      run = [];
    }
    run.push(row);
  }
  yield* doublesIn(session, run, signal);
}

/** @param rows of one time */
async function* doublesIn(
  session: Session,
  rows: readonly FileRow[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Double> {
  if (rows.length < 2) return;
  const others: FileRecord[] = [];
  const inOrder = rows.toSorted((a, b) => b.version - a.version || (a.hash < b.hash ? -1 : 1));
  for (const row of inOrder) {
    const record = openFileRowIfIntact(session, row);
    if (record === null) continue;
    let kept: FileRecord | null = null;
    for (const one of others) if (kept === null && (await isDouble(session, one, record, signal))) kept = one;
    if (kept === null) others.push(record);
    else yield { record, kept };
  }
}

/** Whether a version is another one once more, which stands in every bucket and is not removed. */
async function isDouble(
  session: Session,
  kept: FileRecord,
  { row, info, contentDigest }: FileRecord,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const isAlike =
    Buffer.compare(kept.row.nameTag, row.nameTag) === 0 &&
    kept.contentDigest === contentDigest &&
    factsOf(kept.info) === factsOf(info);
  if (!isAlike) return false;
  const from = session.buckets.active;
  try {
    if (await isDeleted(session, kept.info.hash, signal)) return false;
    const { bytes } = await readManifestBytes(session, kept.info.hash, { from, copies: from.length, signal });
    if (contentDigest !== null) return true;
    return isSameContent(bytes, (await readManifestBytes(session, info.hash, { signal })).bytes);
  } catch (error) {
    // Whoever looks again tells more.
    if (!isFailure(error)) throw error;
    return false;
  }
}

/** What stays of a version that is stored anew. */
export function factsOf({
  kind,
  createdAtMs,
  modified,
  mode,
  expiresAtMs,
}: Pick<FileRecord['info'], 'kind' | 'createdAtMs' | 'modified' | 'mode' | 'expiresAtMs'>): string {
  return JSON.stringify([kind, createdAtMs, modified?.seconds, modified?.nanoseconds, mode, expiresAtMs]);
}

/** Whether two manifests of locked files have the same content part, which their salt belongs to. */
export function isSameContent(a: Uint8Array, b: Uint8Array): boolean {
  const [one, other] = [decodeManifestObject(a), decodeManifestObject(b)];
  return one.salt.equals(other.salt) && one.content.bytes.equals(other.content.bytes);
}
