/** Files in the catalog: what their sealed records say. A record never changes: it says what the manifest says. */
import { createHash, createHmac, createSecretKey } from 'node:crypto';
import { MAX_ROWS, type FileRow } from '../../catalog/catalog.ts';
import { slicesOf } from '../../concurrency/batched.ts';
import { nameTag, openRecord, sealRecord } from '../../crypto/records.ts';
import { onlyStores, type WriterKeys } from '../../crypto/keys.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { lineagesOf } from '../../format/lineage.ts';
import { decodeVaultPart, encodeRefs, encodeVaultPart } from '../../format/manifest.ts';
import type { ContentPart, IdsTable, ManifestHead, VaultPart } from '../../format/manifest.ts';
import type { ReadSession } from '../session.ts';

/** A file as the vault knows it. */
export interface FileInfo extends ManifestHead {
  /** 64 hex digits. */
  readonly hash: string;
}

/** A file's row, opened. */
export interface FileRecord {
  readonly info: FileInfo;
  readonly ids: IdsTable;
  /** Digest of its content's table, hex; null for a locked file. */
  readonly contentDigest: string | null;
  /**
   * Whether a full keyslot has written the row, out of the manifest or as it made that. A row of a writer that can only put is that
   * writer's word: no removal goes by it.
   */
  readonly isProven: boolean;
  /** Whether it is dated before a look at all buckets that did not find it, as somebody dates it who wants it to count among older ones. */
  readonly isLate: boolean;
  readonly row: FileRow;
}

/** The catalog's row of a file. */
export function sealFileRow(
  session: ReadSession,
  file: {
    readonly hash: string;
    readonly writer: string;
    readonly part: VaultPart;
    readonly contentDigest: string | null;
    readonly hiddenAtMs?: number | null;
    readonly late?: boolean;
  },
): FileRow {
  const { hash, part, contentDigest } = file;
  const { head } = part;
  const keys = writerKeys(session, file.writer);
  const encoded = encodeVaultPart(part).toString('base64');
  const late = file.late === true;
  const proof = proofOf(session, file, { part: encoded, late });
  const value = { part: encoded, content: contentDigest, proof, ...(late && { late }) };
  return {
    hash,
    writer: file.writer,
    nameTag: tagsOf(session, file.writer, head.name)[0] ?? nameTag(keys, head.name),
    record: sealRecord(keys.catalog, purposeOf(hash), value),
    version: rankOf(session, file.writer, head.version),
    createdAtMs: head.createdAtMs,
    expiresAtMs: head.expiresAtMs,
    hiddenAtMs: file.hiddenAtMs ?? null,
  };
}

/**
 * Opens a file's row and checks that the columns beside the record say the same.
 *
 * @throws `damaged` if the row has been changed by anybody else
 */
export function openFileRow(session: ReadSession, row: FileRow): FileRecord {
  const { part, content, isLate, ...opened } = openFields(session, row);
  const { head } = part;
  const tagged = tagsOf(session, row.writer, head.name).findIndex((tag) => tag.equals(row.nameTag));
  const sameColumns =
    row.version === rankOf(session, row.writer, head.version) &&
    row.createdAtMs === head.createdAtMs &&
    row.expiresAtMs === head.expiresAtMs &&
    tagged >= 0;
  if (!sameColumns) throw brokenRecord(row.hash);
  // By any other tag than the first it would not be listed as one version of its name: it is made anew.
  const isProven = opened.isProven && tagged === 0;
  return { info: { hash: row.hash, ...head }, ids: part.ids, contentDigest: content, isProven, isLate, row };
}

function openFields(
  session: ReadSession,
  row: FileRow,
): Pick<FileRecord, 'isProven' | 'isLate'> & { readonly part: VaultPart; readonly content: string | null } {
  const keys = writerKeys(session, row.writer);
  const value = openRecord(keys.catalog, purposeOf(row.hash), row.record);
  if (typeof value !== 'object' || value === null) throw brokenRecord(row.hash);
  const fields = new Map<string, unknown>(Object.entries(value));
  const part = fields.get('part');
  const content = fields.get('content');
  if (typeof part !== 'string' || (typeof content !== 'string' && content !== null))
    throw brokenRecord(row.hash);
  const isLate = fields.get('late') === true;
  const proof = proofOf(session, row, { part, late: isLate });
  const isProven = proof !== null && fields.get('proof') === proof;
  return { part: decodeVaultPart(Buffer.from(part, 'base64')), content, isProven, isLate };
}

/** What only a full keyslot can say of a row; null for another one. */
function proofOf(
  { keys }: ReadSession,
  { hash, writer }: Pick<FileRow, 'hash' | 'writer'>,
  { part, late }: { readonly part: string; readonly late: boolean },
): string | null {
  if (keys.full === null) return null;
  const what = `${hash} ${writer} ${part}${late ? ' late' : ''}`;
  return createHmac('sha256', createSecretKey(keys.full.catalog)).update(what).digest('base64');
}

/** As `openFileRow`; null for a row that was changed by anybody else. */
export function openFileRowIfIntact(session: ReadSession, row: FileRow): FileRecord | null {
  try {
    return openFileRow(session, row);
  } catch (error) {
    if (!isVaultError(error, 'damaged', 'unsupported')) throw error;
    return null;
  }
}

/**
 * By what a name is found: first by the tag of who goes on with a writer's names, then by those from before that, which rows have that
 * no look has made anew since.
 */
export function tagsOf(session: ReadSession, writer: string, name: string): Buffer[] {
  // Who can only store has the keys of no other writer.
  const line = session.keys.full === null ? [writer] : lineagesOf(session.keyring.keyring).lineOf(writer);
  return line.map((one) => nameTag(writerKeys(session, one), name));
}

/** Versions that one root can number, before those of the next: more milliseconds than a clock shows for a long time. */
const MOST_OF_ROOT = 2 ** 43;

/** Orders the versions of a name: those of a later root count as newer, whatever number somebody gives who has kept an old root. */
function rankOf({ keys }: ReadSession, writer: string, version: number): number {
  const root = writer === keys.writer.id ? keys.rootNumber : (keys.full?.rootOf(writer) ?? keys.rootNumber);
  return (root - 1) * MOST_OF_ROOT + Math.min(version, MOST_OF_ROOT - 1);
}

/** Whether a row is of a file that was stored under this root. */
export function isOfRoot({ version }: Pick<FileRow, 'version'>, root: number): boolean {
  return Math.floor(version / MOST_OF_ROOT) === root - 1;
}

/** The keys of a writer, as far as this session may have them. @throws `damaged` for another writer's record on a put keyslot */
export function writerKeys(session: ReadSession, writer: string): WriterKeys {
  const { keys } = session;
  if (writer === keys.writer.id) return keys.writer;
  if (keys.full !== null && /^[0-9a-f]{32}$/.test(writer)) return keys.full.writer(writer);
  throw onlyStores('reading what other writers have stored');
}

/** The catalog's rows of any number of whole hashes; unknown ones are absent. */
export async function rowsOf(
  { catalog }: ReadSession,
  hashes: readonly string[],
): Promise<ReadonlyMap<string, FileRow>> {
  const rows = new Map<string, FileRow>();
  for (const some of slicesOf(hashes, MAX_ROWS)) {
    for (const [hash, row] of await catalog.files.byHashes(some)) rows.set(hash, row);
  }
  return rows;
}

/**
 * A digest of a content's table, by which what is unchanged is known: equal content of one writer and chunk size has an equal one, and
 * so have folders with an equal index.
 */
export function contentDigestOf({ table, folder }: ContentPart): string {
  const digest = createHash('sha256');
  for (const { size, chunkSize, depth, inline, refs } of folder === null ? [table] : [table, folder.index]) {
    digest.update(`${size} ${chunkSize} ${depth}\n`).update(inline ?? encodeRefs(refs));
  }
  if (folder !== null) digest.update(`folder ${folder.incomplete}`);
  return digest.digest('hex');
}

function purposeOf(hash: string): string {
  return `file ${hash}`;
}

function brokenRecord(hash: string): VaultError {
  return new VaultError(
    'damaged',
    `The catalog’s record of the file ${hash} is not what was written there. "vault repair" rebuilds it from the buckets.`,
  );
}
