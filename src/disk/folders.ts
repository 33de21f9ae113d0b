/** Folders of a file system: made within bounds, and their entries made durable. */
import * as fs from 'node:fs';
import { platform } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { invalidInput, isFull, isVaultError, messageOf, systemCode, VaultError } from '../errors.ts';

const access = promisify(fs.access);
const close = promisify(fs.close);
const fsync = promisify(fs.fsync);
const mkdir = promisify(fs.mkdir);
const mkdtemp = promisify(fs.mkdtemp);
const open = promisify(fs.open);
const stat = promisify(fs.stat);

const { O_DIRECTORY, O_RDONLY } = fs.constants;

/** What `fsync` of a folder answers where only files can be synced: FAT, SMB, FUSE, some network disks. */
const NO_FOLDER_SYNC = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EPERM', 'EACCES']);

/**
 * Refuses what is written as paths are on Windows where there are none such: it would be a mere name in the folder that one is in.
 *
 * @param system as `process.platform` says it
 * @throws `invalid-input`
 */
export function requireNativePath(path: string, system: NodeJS.Platform = platform()): void {
  const found = /^([a-z]):([\\/]|$)|^\\\\/i.exec(path);
  if (found === null || system === 'win32') return;
  const drive = found[1]?.toLowerCase();
  const here = drive === undefined ? '/mnt/share' : `/mnt/${drive}`;
  throw invalidInput(
    `${path} is a path of Windows. Write where that is on this machine, such as ${here}, or ./${path} for this very name.`,
  );
}

/**
 * Makes a folder with those above it, each one durable, and leaves one that exists as it is.
 *
 * Written out because `mkdir` with `recursive` never ends where a folder exists whose entries it cannot make and that
 * answers ENOENT, such as `/proc`: here each folder is tried twice at most.
 *
 * @param path the folder; a link on the way to it is followed
 * @param options `mode`: permissions of each folder that is made
 * @throws `invalid-input` if the folder above takes no folders; else the system's own error, `ENOTDIR` or `EEXIST` where
 *   something that is no folder is in the way
 */
export async function makeFolder(path: string, options: { readonly mode: number }): Promise<void> {
  const wanted: string[] = [];
  let at = resolve(path);
  for (; !(await isFolder(at)); at = dirname(at)) wanted.push(at);
  for (const folder of wanted.toReversed()) {
    try {
      await mkdir(folder, options);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') throw takesNoFolders(folder, error);
      // Another process may have made it a moment ago.
      if (systemCode(error) !== 'EEXIST' || !(await isFolder(folder))) throw error;
    }
    // A new folder is an entry of the one above.
    await syncFolder(dirname(folder));
  }
}

/** What it means that a folder cannot be made since it is not there, where the one above it is. */
export function takesNoFolders(path: string, cause: unknown): VaultError {
  const above = dirname(path);
  return invalidInput(
    `Cannot make the folder ${path}: ${above} takes no folders. Name another place.`,
    cause,
  );
}

/**
 * Makes a folder for what is wanted for some time only.
 *
 * @param within the system's folder for that
 * @param start of its name
 * @throws `invalid-input`; `storage-full`
 */
export async function makeTemporaryFolder(within: string, start: string): Promise<string> {
  try {
    return await mkdtemp(join(within, start));
  } catch (cause) {
    const message = `The folder for temporary files, ${within}, cannot be used: ${messageOf(cause)}. TMPDIR names another one.`;
    if (!isFull(cause)) throw invalidInput(message, cause);
    throw new VaultError('storage-full', message, { cause });
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    if ((await stat(path)).isDirectory()) return true;
  } catch (error) {
    // Above the topmost folder there is nothing to look for.
    if (systemCode(error) === 'ENOENT' && dirname(path) !== path) return false;
    throw error;
  }
  throw Object.assign(new Error(`ENOTDIR: not a directory, mkdir '${path}'`), {
    code: 'ENOTDIR',
    syscall: 'mkdir',
  });
}

/** Makes the entries of a folder durable, as `syncEntries` does, where this user may open it. */
export async function syncFolder(path: string): Promise<void> {
  const fd = await open(path, O_RDONLY | O_DIRECTORY).catch((error: unknown) => {
    // Whoever may make entries need not be allowed to read them.
    if (systemCode(error) === 'EACCES') return null;
    throw error;
  });
  if (fd === null) return;
  try {
    await syncEntries(fd);
  } finally {
    // Nothing was written through it.
    await close(fd).catch(() => undefined);
  }
}

/**
 * Makes a folder's entries durable, where the file system can do that.
 *
 * @param fd the open folder
 * @throws the system's error when the disk failed
 */
export async function syncEntries(fd: number): Promise<void> {
  try {
    await fsync(fd);
  } catch (error) {
    if (!NO_FOLDER_SYNC.has(systemCode(error) ?? '')) throw error;
  }
}

/** Whether a folder is there; one that is not can be made. @throws `invalid-input` if it can neither be used nor made */
export async function checkFolder(path: string): Promise<boolean> {
  for (let at = path; ; at = dirname(at)) {
    try {
      const found = await stat(at);
      if (!found.isDirectory()) throw invalidInput(`${at} is a file, not a folder.`);
      await access(at, fs.constants.W_OK);
      return at === path;
    } catch (cause) {
      if (systemCode(cause) === 'ENOENT' && dirname(at) !== at) continue;
      if (isVaultError(cause)) throw cause;
      throw invalidInput(`${path} cannot be a bucket's folder: ${messageOf(cause)}.`, cause);
    }
  }
}
