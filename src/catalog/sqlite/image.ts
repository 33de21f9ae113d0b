/** A catalog’s file: what it may be called, which one it is, what lies beside it, and one that cannot be written. */
import type Database from 'better-sqlite3';
import { constants, statSync } from 'node:fs';
import { access, readFile, rename, stat } from 'node:fs/promises';
import { invalidInput, messageOf, systemCode, VaultError } from '../../errors.ts';

/** @throws `denied` if the file cannot be written, as its file system or its mode says */
export async function requireWritableFile(path: string): Promise<void> {
  try {
    await access(path, constants.W_OK);
  } catch (error) {
    const why =
      systemCode(error) === 'EROFS'
        ? 'its file system is read-only'
        : `this user may not write the file (${messageOf(error)})`;
    throw new VaultError(
      'denied',
      `The catalog ${path} cannot be written: ${why}. Change that, or name another catalog (--db or VAULT_DB).`,
      { cause: error },
    );
  }
}

/**
 * What a catalog's file holds, to be opened in memory.
 *
 * SQLite reads the log beside a file only by way of an index in shared memory, which is a file, too. Without a log there is nothing
 * to be missed (https://sqlite.org/wal.html, "Read-Only Databases").
 *
 * @throws what SQLite and the file system say if it cannot be read, or not without its log
 */
export async function readImage(Sqlite: typeof Database, path: string): Promise<Buffer> {
  const image = await readWithLog(Sqlite, path);
  // The versions that write and read it, as without a log, which a database in memory cannot have
  // (https://sqlite.org/fileformat2.html).
  if (image.length > 19) image.fill(1, 18, 20);
  return image;
}

async function readWithLog(Sqlite: typeof Database, path: string): Promise<Buffer> {
  try {
    const database = new Sqlite(path, { readonly: true, fileMustExist: true });
    try {
      return database.serialize();
    } finally {
      database.close();
    }
  } catch (error) {
    if ((await sizeOf(`${path}-wal`)) > 0) {
      throw new VaultError(
        'denied',
        `The catalog ${path} cannot be read where it is: its latest changes are in ${path}-wal, which SQLite reads only in a folder that it can write to. Make this one writable, or copy both files to another and name the copy (--db or VAULT_DB).`,
        { cause: error },
      );
    }
    return readFile(path);
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return 0;
    throw invalidInput(`The catalog cannot be read: ${messageOf(error)}.`, error);
  }
}

/** What tells a file from others, whatever it is called; null where there is none. */
export function fileAt(path: string): string | null {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found === undefined ? null : `${found.dev} ${found.ino}`;
}

/**
 * Renames what SQLite has left beside a database that is not there any more, to names that end in `.left`: another one made in its place
 * would take its log for its own, or share log and locks with whoever still uses the first
 * (https://sqlite.org/howtocorrupt.html, "Unlinking or renaming a database file while in use").
 *
 * @throws what the system says
 */
export async function putAside(path: string): Promise<void> {
  if (fileAt(path) !== null) return;
  const left = ['-wal', '-shm', '-journal']
    .map((suffix) => path + suffix)
    .filter((name) => fileAt(name) !== null);
  // Somebody may just have made both.
  if (fileAt(path) !== null) return;
  for (const name of left) await rename(name, `${name}.left`);
}

/** Refuses what SQLite takes for something else than the file of that name: a database in memory would be gone with the process. */
export function requireFileName(path: string): void {
  const name = path.trim();
  if (name === path && name !== '' && !/^(:|file:)/i.test(name) && !/[/\\]$/.test(name)) return;
  throw invalidInput(
    `"${path}" cannot be the name of a catalog's file. Give a path (--db or VAULT_DB), such as ./catalog.db.`,
  );
}
