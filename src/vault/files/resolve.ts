/** Finding files by hash, prefix or name. A name alone is one of this session's writer; those of others have their label before them. */
import { invalidInput, VaultError } from '../../errors.ts';
import type { ReadSession } from '../session.ts';
import { openFileRow, tagsOf, type FileRecord } from './records.ts';
import { versionsOf, type VersionsOptions } from './versions.ts';
import { namedBy, writersOf } from './writers.ts';

/** Fewest digits of a hash prefix. */
export const MIN_PREFIX_LENGTH = 8;

/**
 * The file that a reference means: a whole hash, a unique prefix of one, or a name (then its newest version).
 *
 * @throws `file-not-found`; `invalid-input` if a prefix fits several files
 */
export async function resolveFile(
  session: ReadSession,
  reference: string,
  { hidden = false, signal }: Pick<VersionsOptions, 'hidden' | 'signal'> = {},
): Promise<FileRecord> {
  const [newest] = await resolveVersions(session, reference, { hidden, signal });
  if (newest === undefined) throw notFound(reference, hidden);
  return newest;
}

/**
 * The files that a reference means: one by hash or prefix, or the versions of a name, newest first.
 *
 * @throws `file-not-found`; `invalid-input` if a prefix fits several files
 */
export async function resolveVersions(
  session: ReadSession,
  reference: string,
  { all = false, hidden = false, signal }: VersionsOptions = {},
): Promise<readonly FileRecord[]> {
  const { files } = session.catalog;
  const options = { all, hidden, signal };
  const named = await versionsOf(session, reference, options);
  const some = all ? named : named.slice(0, 1);
  const prefix = reference.toLowerCase();
  const isPrefix = /^[0-9a-f]{8,64}$/.test(prefix);
  // A name that happens to look like a prefix wins: it was given by the user, in full.
  if (some.length > 0 && prefix.length < 64) return some;
  const hashed = isPrefix
    ? (await files.byPrefix(prefix, 2, { hidden })).filter((row) => (row.hiddenAtMs !== null) === hidden)
    : [];
  if (hashed.length > 1) {
    throw invalidInput(`"${reference}" is the beginning of more than one hash. Give more digits of it.`);
  }
  if (hashed.length > 0) return hashed.map((row) => openFileRow(session, row));
  if (some.length > 0) return some;
  for (const { writer, name } of namedBy(session, reference)) {
    const theirs = await versionsOf(session, name, { ...options, writer });
    if (theirs.length > 0) return all ? theirs : theirs.slice(0, 1);
  }
  // Rows that no bucket confirms.
  const own = tagsOf(session, session.keys.writer.id, reference);
  const [changed] = await files.byName(own, 1, { hidden });
  if (changed !== undefined && (changed.hiddenAtMs !== null) === hidden) openFileRow(session, changed);
  throw (await ofOthers(session, reference, hidden)) ?? notFound(reference, hidden);
}

/** What to say of a name that only others have given. */
async function ofOthers(session: ReadSession, name: string, hidden: boolean): Promise<VaultError | null> {
  if (session.keys.full === null) return null;
  const theirs = new Set<string>();
  for (const { id, label } of writersOf(session)) {
    const [row] = await session.catalog.files.byName(tagsOf(session, id, name), 1, { hidden });
    if (row !== undefined && (row.hiddenAtMs !== null) === hidden) theirs.add(`"${label}:${name}"`);
  }
  if (theirs.size === 0) return null;
  const others = theirs.size === 1 ? 'That of another key is' : 'Those of other keys are';
  return new VaultError(
    'file-not-found',
    `This key has stored no file as "${name}". ${others} ${[...theirs].join(', ')}.`,
  );
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
