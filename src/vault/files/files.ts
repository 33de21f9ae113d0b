/** Files in the catalog: what their sealed records say, and finding them by hash, prefix or name. */
import type { FileRow, NewFileRow } from '../../catalog/catalog.ts';
import { nameTag, openRecord, sealRecord } from '../../crypto/seal.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import type { ManifestHead } from '../../format/manifest.ts';
import { formatRedundancy, parseRedundancy } from '../../format/shard.ts';
import { brokenRecord, recordFields } from '../session.ts';
import type { Session } from '../session.ts';
import type { FileInfo } from '../vault.ts';

/** A file's row, opened. */
export interface FileRecord {
  readonly info: FileInfo;
  /** The keyed tag of its content, hex. */
  readonly contentTag: string;
}

/** Fewest digits of a hash prefix. */
export const MIN_PREFIX_LENGTH = 8;

/** The catalog's row of a new file. */
export function sealFileRow(
  session: Session,
  hash: string,
  head: ManifestHead,
  contentTag: string,
): NewFileRow {
  const record = {
    name: head.name,
    size: head.size,
    createdAt: head.createdAtMs,
    modifiedAt: head.modifiedAtMs,
    mode: head.mode,
    expiresAt: head.expiresAtMs,
    chunkSize: head.chunkSize,
    chunks: head.chunks,
    redundancy: formatRedundancy(head.redundancy),
    content: contentTag,
  };
  return {
    hash,
    nameTag: nameTag(session.keys, head.name),
    record: sealRecord(session.keys, `file ${hash}`, record),
    createdAtMs: head.createdAtMs,
    expiresAtMs: head.expiresAtMs,
  };
}

/**
 * Opens a file's row and checks that the columns beside the record say the same.
 *
 * @throws `damaged` if the row has been changed by anybody else
 */
export function openFileRow(session: Session, row: FileRow): FileRecord {
  const purpose = `file ${row.hash}`;
  const fields = recordFields(openRecord(session.keys, purpose, row.record));
  const text = (key: string): string => {
    const value = fields.get(key);
    if (typeof value !== 'string') throw brokenRecord(purpose);
    return value;
  };
  const number = (key: string): number => {
    const value = fields.get(key);
    if (typeof value !== 'number') throw brokenRecord(purpose);
    return value;
  };
  const optional = (key: string): number | null => (fields.get(key) === null ? null : number(key));
  const redundancy = parseRedundancy(text('redundancy'));
  if (redundancy === null) throw brokenRecord(purpose);
  const info: FileInfo = {
    hash: row.hash,
    name: text('name'),
    size: number('size'),
    createdAtMs: number('createdAt'),
    modifiedAtMs: optional('modifiedAt'),
    mode: optional('mode'),
    expiresAtMs: optional('expiresAt'),
    chunkSize: number('chunkSize'),
    chunks: number('chunks'),
    redundancy,
  };
  const sameColumns =
    row.createdAtMs === info.createdAtMs &&
    row.expiresAtMs === info.expiresAtMs &&
    nameTag(session.keys, info.name).equals(row.nameTag);
  if (!sameColumns) throw brokenRecord(purpose);
  return { info, contentTag: text('content') };
}

/** Whether a file's row is as this vault wrote it. */
export function isFileRowIntact(session: Session, row: FileRow): boolean {
  try {
    openFileRow(session, row);
    return true;
  } catch (error) {
    if (!isVaultError(error, 'damaged')) throw error;
    return false;
  }
}

/**
 * The file that a reference means: a whole hash, a unique prefix of one, or a name.
 *
 * @throws `file-not-found`; `invalid-input` if a prefix fits several files
 */
export async function resolveFile(session: Session, reference: string): Promise<FileRecord> {
  const [newest] = await resolveVersions(session, reference, { all: false });
  if (newest === undefined) throw notFound(reference);
  return newest;
}

/**
 * The files that a reference means: one by hash or prefix, or the versions of a name, newest first.
 *
 * @param options `all`: every version of a name, not the newest alone
 */
export async function resolveVersions(
  session: Session,
  reference: string,
  { all }: { readonly all: boolean },
): Promise<readonly FileRecord[]> {
  const named = await session.catalog.filesByName(nameTag(session.keys, reference), all ? MANY : 1);
  const prefix = reference.toLowerCase();
  const isPrefix = /^[0-9a-f]{8,64}$/.test(prefix);
  // A name that happens to look like a prefix wins: it was given by the user, in full.
  if (named.length > 0 && prefix.length < 64) return named.map((row) => openFileRow(session, row));
  const hashed = isPrefix ? await session.catalog.filesByHash(prefix, 2) : [];
  if (hashed.length > 1) {
    throw new VaultError(
      'invalid-input',
      `"${reference}" is the beginning of more than one hash. Give more digits of it.`,
    );
  }
  const rows = hashed.length > 0 ? hashed : named;
  if (rows.length === 0) throw notFound(reference);
  return rows.map((row) => openFileRow(session, row));
}

const MANY = 100_000;

function notFound(reference: string): VaultError {
  const short = /^[0-9a-f]+$/i.test(reference) && reference.length < MIN_PREFIX_LENGTH;
  return new VaultError(
    'file-not-found',
    short
      ? `No file is named "${reference}", and a hash needs at least ${MIN_PREFIX_LENGTH} digits. "vault ls" shows what there is.`
      : `No file has the name or hash "${reference}". "vault ls" shows what there is.`,
  );
}
