/** Writing a stored file into the file system, whole or not at all. */
import { randomBytes } from 'node:crypto';
import { link, open, rename, rm, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isVaultError, messageOf, systemCode, VaultError } from '../../errors.ts';
import type { CallOptions } from '../call.ts';
import { timeToMs } from '../write/put.ts';
import type { StoredFile } from './get.ts';

export interface RestoreOptions extends CallOptions {
  /** What to do if the target exists. */
  readonly existing: 'refuse' | 'replace';
}

/**
 * Writes a file beside its target, makes it durable, and only then gives it the target's name: nobody ever sees a
 * partial or unverified file there. Modification time and permission bits are those of the file that was put.
 *
 * @param path the target; its folder must exist
 * @throws `already-exists`; `invalid-input` if the target is a folder or its folder does not exist; `denied`; `storage-full`;
 *   what reading the file throws. The target is then as it was
 */
export async function restoreFile(file: StoredFile, path: string, options: RestoreOptions): Promise<void> {
  await checkTarget(path, options.existing);
  const unfinished = join(
    dirname(path),
    `.${basename(path).slice(0, 100)}.${randomBytes(6).toString('hex')}.partial`,
  );
  let handle: FileHandle | null = null;
  try {
    handle = await open(unfinished, 'wx', 0o600);
    await writeContent(handle, file, options);
    if (file.mode !== null) await handle.chmod(file.mode & 0o777);
    const modifiedAtMs = timeToMs(file.modified);
    if (modifiedAtMs !== null) await handle.utimes(new Date(), new Date(modifiedAtMs));
    await handle.sync();
    await handle.close();
    handle = null;
    if (options.existing === 'replace') await rename(unfinished, path);
    else await linkNew(unfinished, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await handle?.close();
    await rm(unfinished, { force: true });
    throw isVaultError(error) ? error : writeError(path, error);
  }
}

async function checkTarget(path: string, existing: RestoreOptions['existing']): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found?.isDirectory() === true) {
    throw new VaultError('invalid-input', `${path} is a folder. Name the file to write.`);
  }
  if (found !== null && existing === 'refuse') throw exists(path);
}

async function writeContent(handle: FileHandle, file: StoredFile, options: CallOptions): Promise<void> {
  let unsynced = 0;
  let syncing: Promise<void> | null = null;
  let failure: unknown = null;
  const sync = async (): Promise<void> => {
    try {
      await handle.datasync();
    } catch (error) {
      failure = error;
    }
    syncing = null;
  };
  try {
    for await (const bytes of file.content(options)) {
      for (let at = 0; at < bytes.length;) {
        const { bytesWritten } = await handle.write(bytes, at, bytes.length - at);
        at += bytesWritten;
      }
      unsynced += bytes.length;
      // The disk writes while the next chunks are read and opened; else it would all be left for the end.
      if (unsynced >= SYNC_EVERY && syncing === null) {
        unsynced = 0;
        syncing = sync();
      }
    }
  } finally {
    await syncing;
  }
  if (failure !== null) throw failure;
}

/** Bytes after which writing to the disk is begun. */
const SYNC_EVERY = 32 * 1024 * 1024;

/** Gives a finished file its name unless something has got that name meanwhile. */
async function linkNew(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
    await rm(from);
  } catch (error) {
    if (systemCode(error) === 'EEXIST') throw exists(to);
    // File systems without hard links: the check at the start is the best there is.
    if ((await stat(to).catch(() => null)) !== null) throw exists(to);
    await rename(from, to);
  }
}

async function syncFolder(path: string): Promise<void> {
  // Windows cannot open folders; its renames need no such call.
  const folder = await open(path, 'r').catch(() => null);
  if (folder === null) return;
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function exists(path: string): VaultError {
  return new VaultError(
    'already-exists',
    `${path} exists and was not overwritten. Use --force to replace it.`,
  );
}

function writeError(path: string, cause: unknown): VaultError {
  const reason = messageOf(cause);
  switch (systemCode(cause)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new VaultError('storage-full', `There is no room to write ${path}.`, { cause });
    case 'ENOENT':
    case 'ENOTDIR':
      return new VaultError('invalid-input', `${path} cannot be written: its folder does not exist.`, {
        cause,
      });
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new VaultError('denied', `${path} may not be written by this user.`, { cause });
    default:
      return new VaultError('unavailable', `${path} could not be written: ${reason}.`, { cause });
  }
}
