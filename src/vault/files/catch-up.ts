/**
 * What a file is, by its row in the catalog or else by its manifest; the catalog catches up on the way. A row is believed only as
 * far as its record is sealed for this very hash, and by a full keyslot: it then says what the manifest says.
 */
import { isDeepStrictEqual } from 'node:util';
import { requireFull } from '../../crypto/keys.ts';
import type { OpenedManifest } from '../../crypto/manifest.ts';
import { openRecord, sealRecord } from '../../crypto/records.ts';
import type { FileRow } from '../../catalog/catalog.ts';
import { isVaultError, type VaultError } from '../../errors.ts';
import type { DeletionRecord } from '../../format/removal.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';
import type { Take } from '../buckets/steps.ts';
import { latest, readDeletion } from '../protocol/deletions.ts';
import type { ReadSession, Session } from '../session.ts';
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
  | { readonly kind: 'known' | 'learned'; readonly record: FileRecord; readonly news: News | null }
  | { readonly kind: 'foreign' }
  | { readonly kind: 'unreadable' };

/** What the catalog does not know yet of a file. */
export interface News {
  readonly hash: string;
  /** Its row, made anew from its manifest; null if it is right. */
  readonly row: FileRow | null;
  /** Whether a row that is there may hide the file against the record that counts, or show it. */
  readonly hides: boolean;
  readonly deletion: DeletionRecord | null;
}

export interface LearnOptions {
  /** The record that counts, so that the catalog hides and shows what the buckets say. */
  readonly deletion: DeletionRecord | null;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Finds out about one file, and changes nothing.
 *
 * @throws `unavailable` and `denied` from buckets; `unsupported` for a file of a newer version
 */
export async function recognise(
  session: ReadSession,
  { hash, holders, row: old }: JoinedFile,
  { deletion, signal }: LearnOptions,
): Promise<Known> {
  const hiddenAtMs = hiddenAtOf(deletion);
  const record = old === null ? null : openFileRowIfIntact(session, old);
  if (record?.isProven === true) {
    const agrees = (record.row.hiddenAtMs === null) === (hiddenAtMs === null);
    return { kind: 'known', record, news: agrees ? null : { hash, row: null, hides: true, deletion } };
  }
  const from = holders.map(({ bucket }) => bucket);
  const opened = await openManifest(session, hash, from, signal);
  if (typeof opened === 'string') return { kind: opened };
  const row = sealFileRow(session, {
    hash,
    writer: opened.writer,
    part: vaultPartOf(opened),
    contentDigest: opened.content === null ? null : contentDigestOf(opened.content),
    hiddenAtMs,
    late: await isLate(session, opened),
  });
  const learned = openFileRow(session, row);
  // A writer that can only put had said so already.
  const isSame = isDeepStrictEqual([record?.info, record?.ids], [learned.info, learned.ids]);
  const news = { hash, row, hides: old !== null, deletion };
  return { kind: isSame ? 'known' : 'learned', record: learned, news };
}

/** Lets the catalog know what is `news` of a file, if anything. @throws what it says */
export async function catchUp(session: Session, news: News | null, signal?: AbortSignal): Promise<void> {
  if (news === null) return;
  if (news.row !== null) await session.catalog.files.put([news.row]);
  if (news.hides) await hideAsRecorded(session, news.hash, news.deletion, signal);
}

/**
 * What is known of a file that the buckets or the catalog know, if anything:
 *
 * - `missing`  the catalog shows it, and no bucket has its manifest
 * - `gone`     somebody has removed it, likewise
 * - `unknown`  a bucket that may have it is out of reach, or it is of a newer version: the others can be had all the same
 */
export type Learned =
  Known | { readonly kind: 'missing' | 'gone' } | { readonly kind: 'unknown'; readonly isTooNew: boolean };

/** As `recognise`; the catalog catches up on the way. */
export async function learn(
  session: ReadSession,
  take: Take,
  file: JoinedFile,
  options: LearnOptions & { readonly whyAbsent: (hash: string) => Promise<unknown> },
): Promise<Learned> {
  try {
    if (file.holders.length === 0)
      return { kind: (await options.whyAbsent(file.hash)) === null ? 'missing' : 'gone' };
    const known = await recognise(session, file, options);
    if ('news' in known) await take([], undefined, (writing) => catchUp(writing, known.news, options.signal));
    return known;
  } catch (error) {
    if (!isVaultError(error, 'unavailable', 'denied', 'unsupported')) throw error;
    return { kind: 'unknown', isTooNew: error.code === 'unsupported' };
  }
}

/** Why the catalog cannot be written, which keeps nobody from looking at the buckets, or removing there; null if it can. */
export async function refusalOf({ catalog }: Session): Promise<VaultError | null> {
  try {
    await catalog.requireWritable();
    return null;
  } catch (error) {
    // Whether one that gives no answer can be read shows where that is done.
    if (!isVaultError(error, 'denied', 'storage-full', 'unavailable')) throw error;
    return error;
  }
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
async function isLate(session: ReadSession, { writer, head }: OpenedManifest): Promise<boolean> {
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

/** A manifest by its hash; `foreign` and `unreadable`: see `Known`. @throws as `recognise` */
export async function openManifest(
  session: ReadSession,
  hash: string,
  from: readonly ReadBucket[],
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
