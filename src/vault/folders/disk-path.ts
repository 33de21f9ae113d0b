/**
 * Names and paths of a disk as strings that have a character (U+0000 to U+00FF) for each byte: exact whatever the bytes are,
 * compact, and sorted by code unit they are in the order of their bytes.
 */

/** A path or a name with a character a byte. Not for people: `shown` is. */
export type DiskPath = string;

export function diskPath(path: string | Buffer): DiskPath {
  return Buffer.from(path).toString('latin1');
}

/** What the calls of a file system take. */
export function onDisk(path: DiskPath): string | Buffer {
  // Of ASCII the string itself will do, which is several times cheaper than a Buffer.
  return isAscii(path) ? path : Buffer.from(path, 'latin1');
}

export function bytesOfPath(path: DiskPath): Buffer {
  return Buffer.from(path, 'latin1');
}

/** For messages. Bytes that are no UTF-8 are replaced, and so is what a terminal would act on. */
export function shown(path: DiskPath | Buffer): string {
  const bytes = typeof path === 'string' ? bytesOfPath(path) : path;
  return bytes.toString('utf8').replaceAll(/\p{Cc}/gu, '�');
}

/** The path of an entry of a folder; the folder's own path may be ''. */
export function below(folder: DiskPath, name: DiskPath): DiskPath {
  return folder === '' ? name : `${folder}/${name}`;
}

function isAscii(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) if (text.charCodeAt(at) > 0x7e) return false;
  return true;
}
