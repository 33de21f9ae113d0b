/** What errors of SQLite and of the file system mean for a catalog. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { devNull } from 'node:os';
import { isOutOfFiles, LARGER_FILES, messageOf, outOfFiles, systemCode, VaultError } from '../../errors.ts';

/** How long a write waits for other processes. */
export const BUSY_DEADLINE_MS = 60_000;

/** What SQLite has open at once: the database, its log, what readers share, and the folder that it syncs. */
const OPEN_AT_ONCE = 4;

/** What has no code of its own: a table or column that has gone, or an index that an `on conflict` needs. */
const ALTERED = /^no such (table|column)|has no column named|^ON CONFLICT clause does not match/;

/** What SQLite's result codes (https://sqlite.org/rescode.html) and the file system's come to. */
const MEANINGS: readonly (readonly [
  results: string,
  code: VaultError['code'],
  message: (path: string, said: string) => string,
])[] = [
  [
    'BUSY LOCKED',
    'unavailable',
    (path) =>
      `Another process has been writing to the catalog ${path} for more than ${BUSY_DEADLINE_MS / 1000} seconds. Try again later.`,
  ],
  [
    // Also where the file beside the database that readers share could not grow.
    'FULL IOERR_SHMSIZE ENOSPC EDQUOT',
    'storage-full',
    (path) => `There is no room left to write the catalog ${path}. Make room on its disk, and repeat this.`,
  ],
  [
    'CORRUPT NOTADB CONSTRAINT MISMATCH SCHEMA',
    'damaged',
    (path, said) =>
      `The catalog ${path} is damaged or is no catalog (${said}). If it is the right file, stop what uses it, such as "vault serve", and move it away: "vault recover" then makes it anew from the buckets.`,
  ],
  [
    'READONLY CANTOPEN PERM AUTH EACCES EPERM EROFS ENOKEY',
    'denied',
    (path, said) =>
      `The catalog ${path} cannot be opened or written (${said}). Check the rights to the file and its folder.`,
  ],
  [
    'IOERR NOMEM PROTOCOL EIO ESTALE ENOLCK ENODEV ENOMEDIUM ETIMEDOUT EAGAIN EINTR',
    'unavailable',
    (path, said) => `The catalog ${path} cannot be read or written: ${said}.`,
  ],
];

/**
 * An error of SQLite or of the file system as a VaultError; what is neither comes back as it is.
 *
 * @param path the catalog's file
 */
export function translated(error: unknown, path: string): unknown {
  const said = systemCode(error);
  if (error instanceof VaultError || said === null) return error;
  // SQLite does not pass on what the system said.
  if (isOutOfFiles(error) || (said.startsWith('SQLITE_CANTOPEN') && mayOpenNoMore()))
    return outOfFiles(`The catalog ${path} cannot be opened.`, error);
  const limit = /^SQLITE_IOERR_(SHMSIZE|WRITE|TRUNCATE)/.test(said) ? largestFile() : null;
  if (limit !== null) {
    const failed = `The catalog ${path} cannot be written: ${messageOf(error)}, and a file may have ${limit} bytes here.`;
    return new VaultError('storage-full', `${failed} ${LARGER_FILES}`, { cause: error });
  }
  const isAltered = said === 'SQLITE_ERROR' && ALTERED.test(messageOf(error));
  const [, result = said] = isAltered ? ['', 'SCHEMA'] : (/^SQLITE_(IOERR_SHMSIZE|[A-Z]+)/.exec(said) ?? []);
  const [, code, message] = MEANINGS.find(([results]) => results.split(' ').includes(result)) ?? [];
  if (code === undefined || message === undefined) return error;
  return new VaultError(code, message(path, messageOf(error)), { cause: error });
}

/** Whether this process cannot open as many files as SQLite needs. Not its own ones: to close one ends the locks of this process on it. */
function mayOpenNoMore(): boolean {
  const opened: number[] = [];
  try {
    while (opened.length < OPEN_AT_ONCE) opened.push(openSync(devNull, 'r'));
    return false;
  } catch (error) {
    return isOutOfFiles(error);
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

/** The bytes that this process may have in a file; null if it may have any, or that is not known. */
function largestFile(): number | null {
  try {
    const [, limit] = /^Max file size +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return limit === undefined ? null : Number(limit);
  } catch {
    return null;
  }
}
