/** Finding files by hash, prefix or name. */
import { nameTag } from '../../crypto/records.ts';
import type { FileRow } from '../../catalog/catalog.ts';
import { VaultError } from '../../errors.ts';
import type { Session } from '../session.ts';
import { openFileRow, writerKeys } from './records.ts';
import type { FileRecord } from './records.ts';

/** Fewest digits of a hash prefix. */
export const MIN_PREFIX_LENGTH = 8;
/** More than a name has versions. */
export const MANY = 100_000;

/**
 * The file that a reference means: a whole hash, a unique prefix of one, or a name (then its newest version).
 *
 * @throws `file-not-found`; `invalid-input` if a prefix fits several files
 */
export async function resolveFile(session: Session, reference: string): Promise<FileRecord> {
  const [newest] = await resolveVersions(session, reference, { all: false });
  if (newest === undefined) throw notFound(reference);
  return newest;
}

/** The tags that a name has, one a writer. */
export function nameTags(session: Session, name: string): Buffer[] {
  const { keyring } = session.keyring;
  const writers = new Set([session.keys.writer.id, ...keyring.slots.map(({ writer }) => writer)]);
  const mine = session.keys.full === null ? [session.keys.writer.id] : [...writers];
  return mine.map((writer) => nameTag(writerKeys(session, writer), name));
}

/**
 * The files that a reference means: one by hash or prefix, or the versions of a name, newest first.
 *
 * @param options `all`: every version of a name, not the newest alone. `hidden`: removed files, as long as they can be
 *   brought back
 * @throws `file-not-found`; `invalid-input` if a prefix fits several files
 */
export async function resolveVersions(
  session: Session,
  reference: string,
  { all, hidden = false }: { readonly all: boolean; readonly hidden?: boolean },
): Promise<readonly FileRecord[]> {
  const { files } = session.catalog;
  const wanted = (rows: readonly FileRow[]): FileRow[] =>
    rows.filter(({ hiddenAtMs }) => (hiddenAtMs !== null) === hidden);
  const named = wanted(
    await files.byName(nameTags(session, reference), all || hidden ? MANY : 1, { hidden }),
  );
  const some = all ? named : named.slice(0, 1);
  const prefix = reference.toLowerCase();
  const isPrefix = /^[0-9a-f]{8,64}$/.test(prefix);
  // A name that happens to look like a prefix wins: it was given by the user, in full.
  if (some.length > 0 && prefix.length < 64) return some.map((row) => openFileRow(session, row));
  const hashed = isPrefix ? wanted(await files.byPrefix(prefix, 2, { hidden })) : [];
  if (hashed.length > 1) {
    throw new VaultError(
      'invalid-input',
      `"${reference}" is the beginning of more than one hash. Give more digits of it.`,
    );
  }
  const rows = hashed.length > 0 ? hashed : some;
  if (rows.length === 0) throw notFound(reference, hidden);
  return rows.map((row) => openFileRow(session, row));
}

/** The error for a reference that means nothing. */
export function notFound(reference: string, hidden = false): VaultError {
  const short = /^[0-9a-f]+$/i.test(reference) && reference.length < MIN_PREFIX_LENGTH;
  if (hidden) {
    return new VaultError(
      'file-not-found',
      `No removed file has the name or hash "${reference}". "vault ls --deleted" shows what can be brought back.`,
    );
  }
  return new VaultError(
    'file-not-found',
    short
      ? `No file is named "${reference}", and a hash needs at least ${MIN_PREFIX_LENGTH} digits. "vault ls" shows what there is.`
      : `No file has the name or hash "${reference}". "vault ls" shows what there is.`,
  );
}
