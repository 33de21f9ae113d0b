/**
 * What a file is, by its row in the catalog or else by its manifest; the catalog catches up on the way. A row is believed only as
 * far as its record is sealed for this very hash, and by a full keyslot: it then says what the manifest says.
 */
import { isDeepStrictEqual } from 'node:util';
import { requireFull } from '../../crypto/keys.ts';
import type { OpenedManifest } from '../../crypto/manifest.ts';
import { openRecord, sealRecord } from '../../crypto/records.ts';
import { isVaultError } from '../../errors.ts';
import type { DeletionRecord } from '../../format/removal.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { latest, readDeletion } from '../protocol/deletions.ts';
import type { Session } from '../session.ts';
import type { JoinedFile } from './file-join.ts';
import { manifestOpener, readManifestBytes, vaultPartOf } from './manifests.ts';
import { contentDigestOf, openFileRow, openFileRowIfIntact, sealFileRow } from './records.ts';
import type { FileRecord } from './records.ts';
import { writerOf } from './writers.ts';

/**
 * - `known`      its record was in the catalog, and is proved there now
 * - `learned`    its manifest was read, and the catalog has it now
 * - `foreign`    no manifest of this vault, though it has the hash that is its name
 * - `unreadable` its copies do not have the hash; which chunks it needs is not known
 */
export type Known =
  | { readonly kind: 'known' | 'learned'; readonly record: FileRecord }
  | { readonly kind: 'foreign' }
  | { readonly kind: 'unreadable' };

/**
 * Finds out about one file.
 *
 * @param options `deletion`: the record that counts, so that the catalog hides and shows what the buckets say. `write`: whether
 *   the catalog may be changed
 * @throws `unavailable` and `denied` from buckets; `unsupported` for a file of a newer version
 */
export async function learnFile(
  session: Session,
  file: JoinedFile,
  options: {
    readonly deletion: DeletionRecord | null;
    readonly write: boolean;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<Known> {
  const { deletion, write, signal } = options;
  const hiddenAtMs = hiddenAtOf(deletion);
  const record = file.row === null ? null : openFileRowIfIntact(session, file.row);
  if (record?.isProven === true) {
    const agrees = (record.row.hiddenAtMs === null) === (hiddenAtMs === null);
    if (!agrees && write) await hideAsRecorded(session, file.hash, deletion, signal);
    return { kind: 'known', record };
  }
  const from = file.holders.map(({ bucket }) => bucket);
  const opened = await openManifest(session, file.hash, from, signal);
  if (typeof opened === 'string') return { kind: opened };
  const row = sealFileRow(session, {
    hash: file.hash,
    writer: opened.writer,
    part: vaultPartOf(opened),
    contentDigest: opened.content === null ? null : contentDigestOf(opened.content),
    hiddenAtMs,
    late: await isLate(session, opened),
  });
  if (write) await session.catalog.files.put([row]);
  if (write && file.row !== null) await hideAsRecorded(session, file.hash, deletion, signal);
  const learned = openFileRow(session, row);
  // A writer that can only put had said so already.
  const isSame = isDeepStrictEqual([record?.info, record?.ids], [learned.info, learned.ids]);
  return { kind: isSame ? 'known' : 'learned', record: learned };
}

const LOOK = 'look';
/** Clocks that are right to half a day, and what was on its way then. */
const MOST_LATE_MS = 86_400_000;

/** Notes that every manifest has been seen that stood in any bucket at a time. */
export async function noteLook(session: Session, atMs: number): Promise<void> {
  const { catalog } = requireFull(session.keys, 'looking through files');
  await session.catalog.setup.putNote(LOOK, sealRecord(catalog, LOOK, atMs));
}

/** Whether somebody who can only store dates a file before the last look, which has not found it. */
async function isLate(session: Session, { writer, head }: OpenedManifest): Promise<boolean> {
  const { full } = session.keys;
  if (full === null || writerOf(session, writer).isFull) return false;
  const note = await session.catalog.setup.note(LOOK);
  if (note === null) return false;
  try {
    return head.createdAtMs < Number(openRecord(full.catalog, LOOK, note)) - MOST_LATE_MS;
  } catch (error) {
    if (!isVaultError(error, 'damaged')) throw error;
    return false;
  }
}

/**
 * Hides a file in the catalog, or shows it, as the record that counts says. Who removes a file, or brings it back, writes the record
 * first and the catalog then, maybe since `deletion` was read: so the record is read again before and after each change here.
 *
 * @throws what the catalog says
 */
export async function hideAsRecorded(
  session: Session,
  hash: string,
  deletion: DeletionRecord | null,
  signal: AbortSignal | undefined,
): Promise<void> {
  const readAfter = async (known: DeletionRecord | null): Promise<DeletionRecord | null> => {
    const { record } = await readDeletion(session, hash, { signal });
    return latest([known, record].filter((each) => each !== null));
  };
  for (let counts = await readAfter(deletion); ;) {
    await session.catalog.files.hide([hash], hiddenAtOf(counts));
    const now = await readAfter(counts);
    if (hiddenAtOf(now) === hiddenAtOf(counts)) return;
    counts = now;
  }
}

function hiddenAtOf(deletion: DeletionRecord | null): number | null {
  return deletion === null || deletion.live ? null : deletion.atMs;
}

/** A manifest by its hash; `foreign` and `unreadable`: see `Known`. @throws as `learnFile` */
export async function openManifest(
  session: Session,
  hash: string,
  from: readonly VaultBucket[],
  signal: AbortSignal | undefined,
): Promise<ReturnType<ReturnType<typeof manifestOpener>['open']> | 'foreign' | 'unreadable'> {
  let bytes: Uint8Array;
  try {
    ({ bytes } = await readManifestBytes(session, hash, { from, signal }));
  } catch (error) {
    if (isVaultError(error, 'damaged', 'object-missing')) return 'unreadable';
    throw error;
  }
  try {
    return manifestOpener(session).open(bytes, hash);
  } catch (error) {
    // These are the very bytes that the hash stands for: what this vault has sealed would open.
    if (isVaultError(error, 'damaged')) return 'foreign';
    throw error;
  }
}
