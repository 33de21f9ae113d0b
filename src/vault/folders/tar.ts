/**
 * A stored folder as a tar archive in the format of POSIX.1-2001 (pax), for whoever unpacks it with other programs. Names are written
 * as the bytes they are, which the packages that write archives cannot.
 */
import { throwIfAborted, VaultError } from '../../errors.ts';
import type { FileTime } from '../../format/file-time.ts';
import { bytesOfPath, diskPath, shown } from './disk-path.ts';
import type { DiskPath } from './disk-path.ts';
import type { EntryKind, FolderEntry } from '../../format/folder-index.ts';
import { wholeFile, zeros } from './with-holes.ts';
import type { ReadContent } from './with-holes.ts';

const BLOCK = 512;

const TYPE_FLAGS: Readonly<Record<EntryKind, string>> = {
  file: '0',
  symlink: '2',
  'char-device': '3',
  'block-device': '4',
  folder: '5',
  fifo: '6',
};
const HARD_LINK = '1';

export interface TarOptions {
  /** The name of the folder in the archive, with which all paths begin; '' for paths that begin with what is in it. */
  readonly prefix: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The archive's bytes. Sparse files are written in full.
 *
 * @param entries in a stored folder's order; the first one of a link group with content
 * @param readContent asked for one file at a time, in order
 * @returns runs of bytes, each valid until the next one is asked for
 * @throws `damaged` if a file's content is not as long as its entry says; `interrupted`; what `readContent` throws. What came
 *   before is no whole archive, and programs that unpack it say so
 */
export async function* tarStream(
  entries: AsyncIterable<FolderEntry> | Iterable<FolderEntry>,
  readContent: ReadContent,
  { prefix, signal }: TarOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  /** Of each link group the path that came first. */
  const groups = new Map<number, DiskPath>();
  for await (const entry of entries) {
    throwIfAborted(signal);
    const path = archivePath(diskPath(prefix), entry);
    const first = entry.linkGroup === null ? undefined : groups.get(entry.linkGroup);
    if (entry.kind !== 'file' || first !== undefined) {
      yield headerOf(entry, { path, linkTo: first ?? null });
      continue;
    }
    if (entry.content === null) {
      throw new VaultError('damaged', `What ${shown(path)} is another path of is not there.`);
    }
    if (entry.linkGroup !== null) groups.set(entry.linkGroup, path);
    yield headerOf(entry, { path, linkTo: null });
    yield* contentOf(entry, readContent(entry, signal));
  }
  // Its end is two blocks of zeros.
  yield* zeros(2 * BLOCK);
}

/** As programs that make archives write paths: a folder's ends with a slash, and nothing is called nothing. */
function archivePath(prefix: DiskPath, { path, kind }: FolderEntry): DiskPath {
  const parts = [prefix, diskPath(path)].filter((part) => part !== '');
  const whole = parts.length === 0 ? '.' : parts.join('/');
  return kind === 'folder' ? `${whole}/` : whole;
}

async function* contentOf(
  entry: FolderEntry,
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* wholeFile(entry, pieces);
  yield* zeros(paddingOf(entry.content?.size ?? 0));
}

function paddingOf(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/** What of a header has its own place in a block, and is a record before it where it does not fit there. */
function headerOf(
  entry: FolderEntry,
  { path, linkTo }: { readonly path: DiskPath; readonly linkTo: DiskPath | null },
): Buffer {
  const records = new Records();
  const block = Buffer.alloc(BLOCK);
  const isFolder = entry.kind === 'folder';
  const { owner, device } = entry;
  const size = entry.kind === 'file' && linkTo === null ? (entry.content?.size ?? 0) : 0;
  const target = linkTo ?? (entry.target === null ? '' : diskPath(entry.target));
  putText(block, records, { at: 0, room: 100, key: 'path', text: path });
  putNumber(block, records, {
    at: 100,
    digits: 7,
    key: null,
    number: entry.mode ?? (isFolder ? 0o755 : 0o644),
  });
  putNumber(block, records, { at: 108, digits: 7, key: 'uid', number: owner?.uid ?? 0 });
  putNumber(block, records, { at: 116, digits: 7, key: 'gid', number: owner?.gid ?? 0 });
  putNumber(block, records, { at: 124, digits: 11, key: 'size', number: size });
  putTime(block, records, entry.modified);
  block.write(linkTo === null ? TYPE_FLAGS[entry.kind] : HARD_LINK, 156, 'latin1');
  putText(block, records, { at: 157, room: 100, key: 'linkpath', text: target });
  block.write('ustar\x0000', 257, 'latin1');
  putText(block, records, { at: 265, room: 32, key: 'uname', text: diskPath(owner?.user ?? '') });
  putText(block, records, { at: 297, room: 32, key: 'gname', text: diskPath(owner?.group ?? '') });
  putNumber(block, records, { at: 329, digits: 7, key: 'SCHILY.devmajor', number: device?.major ?? 0 });
  putNumber(block, records, { at: 337, digits: 7, key: 'SCHILY.devminor', number: device?.minor ?? 0 });
  for (const { name, value } of entry.attributes) {
    records.add(`SCHILY.xattr.${diskPath(name)}`, value.toString('latin1'));
  }
  putChecksum(block);
  return Buffer.concat([records.header(), block]);
}

interface Field {
  /** Where in the block it is. */
  readonly at: number;
  /** The name of its record; null if it always fits. */
  readonly key: string | null;
}

function putText(
  block: Buffer,
  records: Records,
  { at, room, key, text }: Field & { readonly room: number; readonly text: DiskPath },
): void {
  // Of what is not ASCII programs of old think what they like, of a record all think the same.
  if (key !== null && (text.length > room || !/^[\x20-\x7e]*$/.test(text))) records.add(key, text);
  block.write(text.slice(0, room), at, 'latin1');
}

function putNumber(
  block: Buffer,
  records: Records,
  { at, digits, key, number }: Field & { readonly digits: number; readonly number: number },
): void {
  const text = number.toString(8);
  const fits = text.length <= digits;
  if (!fits && key !== null) records.add(key, String(number));
  block.write((fits ? text : '').padStart(digits, '0'), at, 'latin1');
}

function putTime(block: Buffer, records: Records, modified: FileTime | null): void {
  const { seconds, nanoseconds } = modified ?? { seconds: 0, nanoseconds: 0 };
  const fits = seconds >= 0 && seconds < 8 ** 11;
  if (!fits || nanoseconds !== 0) records.add('mtime', decimalOf(seconds, nanoseconds));
  putNumber(block, records, { at: 136, digits: 11, key: null, number: fits ? seconds : 0 });
}

/** Of a time before 1970, too, whose nanoseconds count forwards. */
function decimalOf(seconds: number, nanoseconds: number): string {
  const isBehind = seconds < 0 && nanoseconds > 0;
  const whole = isBehind ? seconds + 1 : seconds;
  const rest = isBehind ? 1_000_000_000 - nanoseconds : nanoseconds;
  const sign = isBehind && whole === 0 ? '-' : '';
  const fraction = String(rest).padStart(9, '0').replace(/0+$/, '');
  return `${sign}${whole}${fraction === '' ? '' : `.${fraction}`}`;
}

function putChecksum(block: Buffer): void {
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

/** Records of an extended header, which comes before the block that they belong to. */
class Records {
  #texts: string[] = [];
  #isBinary = false;

  /** @param value with a character a byte */
  add(key: string, value: string): void {
    if (!isUtf8(value) && !key.startsWith('SCHILY.xattr.')) this.#isBinary = true;
    this.#texts.push(recordOf(key, value));
  }

  /** Its block and its bytes; none if there are no records. */
  header(): Buffer {
    if (this.#texts.length === 0) return Buffer.alloc(0);
    // Says that names are not UTF-8; it stands before them.
    const texts = this.#isBinary ? [recordOf('hdrcharset', 'BINARY'), ...this.#texts] : this.#texts;
    const content = Buffer.from(texts.join(''), 'latin1');
    const block = Buffer.alloc(BLOCK);
    block.write('PaxHeader', 0, 'latin1');
    block.write('0000644\x000000000\x000000000\0', 100, 'latin1');
    block.write(content.length.toString(8).padStart(11, '0'), 124, 'latin1');
    block.write('00000000000', 136, 'latin1');
    block.write('x', 156, 'latin1');
    block.write('ustar\x0000', 257, 'latin1');
    putChecksum(block);
    return Buffer.concat([block, content, Buffer.alloc(paddingOf(content.length))]);
  }
}

/** A record begins with its own length, that of the length included. */
function recordOf(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}

function isUtf8(text: string): boolean {
  const bytes = bytesOfPath(text);
  return bytes.equals(Buffer.from(bytes.toString('utf8')));
}
