/** The files whose chunks and manifests a repair looks after: live ones, and removed ones that can still be brought back. */
import { manifestObjectName } from '../../format/manifest.ts';
import type { DeletionRecord } from '../../format/removal.ts';
import type { CallOptions } from '../call.ts';
import { hideAsRecorded, learn, type Learned } from '../files/catch-up.ts';
import { joinFiles, type JoinedFile } from '../files/file-join.ts';
import type { FileRecord } from '../files/records.ts';
import { absences } from '../files/removed-elsewhere.ts';
import { resolveFile } from '../files/resolve.ts';
import { writerOf } from '../files/writers.ts';
import type { ReadSession, Session } from '../session.ts';
import type { Ground } from './ground.ts';

/** How a file stands after a repair, from good to bad; `unknown`: a bucket that may have what is missing could not be asked. */
export type FileState = 'whole' | 'unknown' | 'degraded' | 'lost';

/** A file, and what is known of it; `record` is null where nothing tells which chunks it needs. */
export interface RepairFile {
  readonly hash: string;
  readonly record: FileRecord | null;
  /** Whether its row in the catalog was missing or not what it should be. */
  readonly learned: boolean;
  /** Whether the catalog did not list it, though this key has stored it and nobody has removed it. */
  readonly unlisted?: boolean;
  readonly state: FileState;
}

/**
 * Every file that can still be read or brought back.
 *
 * @param options `references`: those alone
 */
export async function* filesToRepair(
  session: ReadSession,
  ground: Ground,
  options: {
    readonly references?: readonly string[] | undefined;
    readonly deletions: ReadonlyMap<string, DeletionRecord>;
    readonly signal?: AbortSignal | undefined;
  },
): AsyncGenerator<RepairFile, void, undefined> {
  const { references, deletions, signal } = options;
  if (references !== undefined) {
    for (const reference of references) {
      const record = await resolveFile(session, reference);
      yield { hash: record.info.hash, record, learned: false, state: 'whole' };
    }
    return;
  }
  const whyAbsent = absences(session, ground.take, { from: ground.sources, signal });
  for await (const file of joinFiles(session, ground.sources, { signal, onFailure: ground.noteFailure })) {
    const deletion = deletions.get(file.hash) ?? null;
    if (deletion !== null && isOver(session, ground, file.hash, deletion)) {
      const hide = (writing: Session) => hideAsRecorded(writing, file.hash, deletion, signal);
      if (file.row?.hiddenAtMs === null) await ground.take([], undefined, hide);
      continue;
    }
    const known = await learn(session, ground.take, file, { deletion, whyAbsent, signal });
    const found = seen(file, known, ground);
    if (found !== null) yield { ...found, unlisted: isUnlisted(session, file, found.record, deletion) };
  }
}

function seen({ hash }: JoinedFile, known: Learned, ground: Ground): RepairFile | null {
  const none = { hash, record: null, learned: false } as const;
  switch (known.kind) {
    case 'known':
    case 'learned':
      return { hash, record: known.record, learned: known.kind === 'learned', state: 'whole' };
    case 'foreign':
    case 'gone':
      return null;
    // Without a manifest a file cannot be read, whatever the catalog says of its chunks.
    case 'missing':
    case 'unreadable':
      return { ...none, state: ground.isComplete ? 'lost' : 'unknown' };
    case 'unknown':
      return { ...none, state: 'unknown' };
  }
}

/** As `verify` counts them. */
function isUnlisted(
  session: ReadSession,
  { row }: JoinedFile,
  record: FileRecord | null,
  deletion: DeletionRecord | null,
): boolean {
  if (record === null || deletion?.live === false) return false;
  return row === null ? writerOf(session, record.row.writer).isOwn : row.hiddenAtMs !== null;
}

/** Whether a removed file can no longer be brought back: its grace is over, or a list of removal names it. */
export function isOver(
  { clock }: ReadSession,
  ground: Ground,
  hash: string,
  { live, atMs, graceMs }: DeletionRecord,
): boolean {
  return !live && (atMs + graceMs <= clock.now() || ground.isNamed(manifestObjectName(hash)));
}

/** Tells of keyrings that are hidden: a file that was stored under a newer one than any bucket shows. */
export function warnOfEpoch(
  session: ReadSession,
  { info }: FileRecord,
  onWarning: CallOptions['onWarning'],
): boolean {
  const { epoch } = session.keyring.keyring;
  if (info.epoch <= epoch) return false;
  onWarning?.({
    kind: 'keyring',
    message: `"${info.name}" was stored under keyring ${info.epoch}, and the buckets show none after ${epoch}: one of them holds it back, or a bucket is missing. Passwords and buckets may have changed since.`,
    bucket: null,
  });
  return true;
}
