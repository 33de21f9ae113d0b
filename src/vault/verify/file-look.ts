/** What buckets, deletion records and the catalog say of one file, and where they disagree: for verify and repair. */
import { isFailure } from '../../errors.ts';
import type { DeletionRecord } from '../../format/removal.ts';
import type { BucketFailure, ReadBucket } from '../buckets/bucket-set.ts';
import { catchUp, hideAsRecorded, recognise } from '../files/catch-up.ts';
import type { JoinedFile } from '../files/file-join.ts';
import { openFileRowIfIntact, type FileRecord } from '../files/records.ts';
import { writerOf } from '../files/writers.ts';
import { listDeletions, readDeletion } from '../protocol/deletions.ts';
import type { Session } from '../session.ts';

/**
 * - `live`        nobody has removed it, and what it needs is known
 * - `missing`     the catalog lists it, and no bucket that was asked has its manifest
 * - `unreadable`  no copy of its manifest has the hash, and the catalog does not know what it needs
 * - `unreachable` the buckets that may have its manifest could not be asked for it
 * - `too-new`     it is of a newer version
 * - `foreign`     it has the hash that is its name, and is no manifest of this vault
 * - `removed`     somebody has removed it
 */
export type Standing = 'live' | 'missing' | 'unreadable' | 'unreachable' | 'too-new' | 'foreign' | 'removed';

/**
 * What the catalog has of a file: the `right` row, or none yet of what another key has stored; none (`absent`); one that was not written by this vault (`broken`), one that
 * hides a file that nobody has removed (`hidden`), or one that shows a removed file (`shown`).
 */
export type RowState = 'right' | 'absent' | 'broken' | 'hidden' | 'shown';

export interface FileLook {
  readonly hash: string;
  readonly holders: JoinedFile['holders'];
  readonly standing: Standing;
  readonly row: RowState;
  /** Null if it is not known what the file needs. */
  readonly record: FileRecord | null;
}

export interface FileLookOptions {
  /** The records of removal that count, by hash. */
  readonly deletions: ReadonlyMap<string, DeletionRecord>;
  /** Buckets that can be asked. */
  readonly usable: readonly ReadBucket[];
  /** Whether there are others. */
  readonly someUnreachable: boolean;
  /** Whether the catalog may catch up with the buckets. */
  readonly write: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Looks at one file; at what disagrees, once more, since it may just be changing.
 *
 * @returns null for what is no file any more
 */
export async function lookAtFile(
  session: Session,
  joined: JoinedFile,
  options: FileLookOptions,
): Promise<FileLook | null> {
  const { hash, holders } = joined;
  const { usable, write, signal } = options;
  let row = joined.row;
  let deletion = options.deletions.get(hash) ?? null;
  if (row === null || (row.hiddenAtMs !== null) !== isRemoval(deletion) || holders.length === 0) {
    row = (await session.catalog.files.byHashes([hash])).get(hash) ?? null;
    deletion = (await readDeletion(session, hash, { from: usable, signal })).record;
  }
  const isHidden = row !== null && row.hiddenAtMs !== null;
  const look = { hash, holders, record: null };
  if (deletion !== null && isRemoval(deletion)) {
    if (row === null || isHidden) return null;
    if (write) await hideAsRecorded(session, hash, deletion, signal);
    return { ...look, standing: 'removed', row: 'shown' };
  }
  // What says that it was removed may lie in a bucket that could not be asked.
  if (isHidden && (options.someUnreachable || holders.length === 0)) return null;
  const record = row === null ? null : openFileRowIfIntact(session, row);
  const state = row === null ? 'absent' : record === null ? 'broken' : isHidden ? 'hidden' : 'right';
  if (holders.length === 0) return row === null ? null : { ...look, standing: 'missing', row: state, record };
  try {
    const known = await recognise(session, { hash, holders, row }, { deletion, signal });
    if (write && 'news' in known) await catchUp(session, known.news, signal);
    if (known.kind === 'foreign' || known.kind === 'unreadable') {
      return { ...look, standing: known.kind, row: state };
    }
    const { record: learned } = known;
    const isNews = state === 'absent' && !writerOf(session, learned.row.writer).isOwn;
    return { ...look, standing: 'live', row: isNews ? 'right' : state, record: learned };
  } catch (error) {
    if (!isFailure(error)) throw error;
    if (error.code === 'unsupported') return { ...look, standing: 'too-new', row: state };
    if (error.code === 'damaged') return { ...look, standing: 'unreadable', row: state };
    return { ...look, standing: 'unreachable', row: state };
  }
}

function isRemoval(deletion: DeletionRecord | null): boolean {
  return deletion !== null && !deletion.live;
}

/** As `listDeletions`, as far as buckets can be asked. @param options `onTooNew`: told of records of a newer version */
export function readDeletions(
  session: Session,
  buckets: readonly ReadBucket[],
  options: {
    readonly signal: AbortSignal | undefined;
    readonly onFailure: (failure: BucketFailure) => void;
    readonly onTooNew: () => void;
    readonly onForged: (hash: string) => void;
  },
): Promise<Map<string, DeletionRecord>> {
  const onFailure = (failure: BucketFailure): void => {
    if (failure.error.code === 'unsupported') options.onTooNew();
    else options.onFailure(failure);
  };
  return listDeletions(session, buckets, { ...options, onFailure });
}
