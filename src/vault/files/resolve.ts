/** Finding files by hash, prefix or name. */
import { VaultError } from '../../errors.ts';
import type { Session } from '../session.ts';
import { openFileRow } from './records.ts';
import type { FileRecord } from './records.ts';
import { nameTags, versionsOf } from './versions.ts';
import type { VersionsOptions } from './versions.ts';

/** Fewest digits of a hash prefix. */
export const MIN_PREFIX_LENGTH = 8;

/**
 * The file that a reference means: a whole hash, a unique prefix of one, or a name (then its newest version).
 *
 * @throws `file-not-found`; `invalid-input` if a prefix fits several files
 */
export async function resolveFile(
  session: Session,
  reference: string,
  signal?: AbortSignal,
): Promise<FileRecord> {
  const [newest] = await resolveVersions(session, reference, { signal });
  if (newest === undefined) throw notFound(reference);
  return newest;
}

/**
 * The files that a reference means: one by hash or prefix, or the versions of a name, newest first.
 *
 * @throws `file-not-found`; `invalid-input` if a prefix fits several files
 */
export async function resolveVersions(
  session: Session,
  reference: string,
  { all = false, hidden = false, signal }: VersionsOptions = {},
): Promise<readonly FileRecord[]> {
  const { files } = session.catalog;
  const named = await versionsOf(session, reference, { all, hidden, signal });
  const some = all ? named : named.slice(0, 1);
  const prefix = reference.toLowerCase();
  const isPrefix = /^[0-9a-f]{8,64}$/.test(prefix);
  // A name that happens to look like a prefix wins: it was given by the user, in full.
  if (some.length > 0 && prefix.length < 64) return some;
  const hashed = isPrefix
    ? (await files.byPrefix(prefix, 2, { hidden })).filter((row) => (row.hiddenAtMs !== null) === hidden)
    : [];
  if (hashed.length > 1) {
    throw new VaultError(
      'invalid-input',
      `"${reference}" is the beginning of more than one hash. Give more digits of it.`,
    );
  }
  if (hashed.length > 0) return hashed.map((row) => openFileRow(session, row));
  if (some.length > 0) return some;
  // Rows that no bucket bears out.
  const [changed] = await files.byName(nameTags(session, reference), 1, { hidden });
  if (changed !== undefined && (changed.hiddenAtMs !== null) === hidden) openFileRow(session, changed);
  throw notFound(reference, hidden);
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
