import { Buffer } from 'node:buffer';
import * as fs from 'node:fs';
import { promisify } from 'node:util';
import {
  invalidInput,
  isFull,
  isOutOfFiles,
  messageOf,
  noRoom,
  outOfFiles,
  systemCode,
  VaultError,
} from '../../errors.ts';

// What the folder bucket needs of a file system: the plain calls, and what they mean for a bucket. The
// callback functions, not FileHandle: this is the hot path of a local vault, and a handle object for every
// stored object costs more than the system calls that it wraps.
const open = promisify(fs.open);
export const close = promisify(fs.close);
const read = promisify(fs.read);
const write = promisify(fs.write);
export const fstat = promisify(fs.fstat);
export const lstat = promisify(fs.lstat);
export const stat = promisify(fs.stat);
export const fsync = promisify(fs.fsync);
export const link = promisify(fs.link);
const mkdir = promisify(fs.mkdir);
export const readdir = promisify(fs.readdir);
export const rename = promisify(fs.rename);
export const unlink = promisify(fs.unlink);

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = fs.constants;

export const NEW_FILE = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
export const OWNER_ONLY_FILE = 0o600;

/** Bytes that are written as quickly as none: into the memory of the system, to be synced. */
export const FEW_BYTES = 64 * 1024;

/**
 * Calls that move no bytes, or few. A way through Node's threads costs a tenth of a millisecond of processor, many times the call
 * itself, and on a disk of this machine there is nothing to wait for.
 */
export interface QuickCalls {
  /** Makes a file, to be written. */
  create(path: string): Promise<number>;
  /** What is there; see `openUnlinked` for the flags. */
  open(path: string, flags: number): Promise<number>;
  /** @returns how many bytes were written of those from `from` on */
  write(fd: number, bytes: Uint8Array, from: number): Promise<number>;
  mkdir(path: string, mode: number): Promise<unknown>;
  close(fd: number): Promise<void>;
  fstat(fd: number): Promise<fs.Stats>;
  lstat(path: string): Promise<fs.Stats>;
  /** What a path leads to. @param isLink whether a symbolic link under that name is meant itself */
  identify(path: string, options: { readonly isLink: boolean }): Promise<string>;
  identifyOpen(fd: number): Promise<string>;
  rename(from: string, to: string): Promise<void>;
}

export const IN_THREADS: QuickCalls = {
  create: async (path) => open(path, NEW_FILE, OWNER_ONLY_FILE),
  open,
  write: async (fd, bytes, from) => (await write(fd, bytes, from, bytes.length - from, from)).bytesWritten,
  mkdir: async (path, mode) => mkdir(path, { mode }),
  close,
  fstat: async (fd) => fstat(fd),
  lstat: async (path) => lstat(path),
  identify: async (path, { isLink }) => identityOf(await (isLink ? lstat : stat)(path, { bigint: true })),
  identifyOpen: async (fd) => identityOf(await fstat(fd, { bigint: true })),
  rename,
};

export const AT_ONCE: QuickCalls = {
  create: async (path) => fs.openSync(path, NEW_FILE, OWNER_ONLY_FILE),
  open: async (path, flags) => fs.openSync(path, flags),
  write: async (fd, bytes, from) => fs.writeSync(fd, bytes, from, bytes.length - from, from),
  mkdir: async (path, mode) => fs.mkdirSync(path, { mode }),
  close: async (fd) => fs.closeSync(fd),
  fstat: async (fd) => fs.fstatSync(fd),
  lstat: async (path) => fs.lstatSync(path),
  identify: async (path, { isLink }) =>
    identityOf((isLink ? fs.lstatSync : fs.statSync)(path, { bigint: true })),
  identifyOpen: async (fd) => identityOf(fs.fstatSync(fd, { bigint: true })),
  rename: async (from, to) => fs.renameSync(from, to),
};

/** What `open` answers on file systems that do not know `O_NOFOLLOW`. */
const NO_NOFOLLOW = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

/** One thing on a disk, whatever its name: device and inode. */
export function identityOf({ dev, ino }: { readonly dev: bigint; readonly ino: bigint }): string {
  return `${dev}:${ino}`;
}

/**
 * Opens a file or a folder that is there, and never what a symbolic link under its name leads to.
 *
 * @param flags those of `open`, without `O_NOFOLLOW`
 * @param calls what it is opened with; in threads unless given
 * @returns its descriptor
 * @throws `ELOOP` if there is a symbolic link; the system's errors
 */
export async function openUnlinked(
  path: string,
  flags: number,
  calls: QuickCalls = IN_THREADS,
): Promise<number> {
  try {
    return await calls.open(path, flags | O_NOFOLLOW);
  } catch (error) {
    const code = systemCode(error) ?? '';
    // Linux says ENOTDIR of a link where a folder is asked for, BSDs have codes of their own.
    if (code === 'ENOTDIR' || code === 'EMLINK' || code === 'EFTYPE') await refuseLink(path);
    if (!NO_NOFOLLOW.has(code)) throw error;
  }
  await refuseLink(path);
  const fd = await calls.open(path, flags);
  try {
    if ((await calls.identifyOpen(fd)) === (await calls.identify(path, { isLink: true }))) return fd;
    throw linkError(path);
  } catch (error) {
    await calls.close(fd).catch(() => undefined);
    throw error;
  }
}

/** @throws `ELOOP` if there is a symbolic link at that path */
export async function refuseLink(path: string, calls: QuickCalls = IN_THREADS): Promise<void> {
  if ((await unlessAbsent(calls.lstat(path)))?.isSymbolicLink() === true) throw linkError(path);
}

export function linkError(path: string): Error {
  return Object.assign(new Error(`ELOOP: a symbolic link, open '${path}'`), {
    code: 'ELOOP',
    syscall: 'open',
  });
}

/** Whether a file has exactly these bytes, and has them durably: whoever stored them may not have waited for that. */
export async function holdsDurably(path: string, bytes: Uint8Array): Promise<boolean> {
  const fd = await openUnlinked(path, O_RDONLY | O_NONBLOCK);
  try {
    const found = await fstat(fd);
    if (!found.isFile() || found.size !== bytes.length) return false;
    const piece = Buffer.allocUnsafe(Math.min(bytes.length, 1024 * 1024));
    for (let done = 0; done < bytes.length;) {
      const { bytesRead } = await read(fd, piece, 0, piece.length, done);
      if (bytesRead === 0) return false;
      if (Buffer.compare(piece.subarray(0, bytesRead), bytes.subarray(done, done + bytesRead)) !== 0)
        return false;
      done += bytesRead;
    }
    await fsync(fd);
    return true;
  } finally {
    // Nothing was written, and what went wrong before it is what counts.
    await close(fd).catch(() => undefined);
  }
}

/** What an operation on a path gives, or null if there is nothing at that path. */
export async function unlessAbsent<T>(operation: Promise<T>): Promise<T | null> {
  try {
    return await operation;
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
}

/** Bytes read at once, so that it shows on a slow disk that something comes. */
const READ_SIZE = 4 * 1024 * 1024;

/**
 * Fills a buffer further from a file.
 *
 * @param done bytes that it has already
 * @returns how many came; the last byte never comes alone, so that a buffer of one byte more than expected shows whether there
 *   are more
 */
export async function readOn(fd: number, buffer: Buffer, done: number): Promise<number> {
  const left = buffer.length - done;
  const { bytesRead } = await read(fd, buffer, done, left > READ_SIZE + 1 ? READ_SIZE : left, done);
  return bytesRead;
}

/** The VaultError for a system's error; anything else is a bug and stays what it is. */
export function translated(error: unknown, tried: string): unknown {
  if (error instanceof VaultError || !(error instanceof Error) || !('syscall' in error)) return error;
  // Without the path: what was tried says on what, and the path may be that of an open folder in /proc.
  const failed = `Could not ${tried}: ${messageOf(error).replace(/ '.*'$/s, '')}.`;
  if (isOutOfFiles(error)) return outOfFiles(failed, error);
  if (isFull(error)) return noRoom(failed, error);
  switch (systemCode(error) ?? '') {
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
    case 'ENOKEY':
      return new VaultError(
        'denied',
        `${failed} Check the folder's owner and permissions, and how it is mounted.`,
        {
          cause: error,
        },
      );
    case 'ENAMETOOLONG':
      return invalidInput(`${failed} Choose a folder with a shorter path.`, error);
    case 'ELOOP':
      return invalidInput(`${failed} Name a folder that no link hides.`, error);
    case 'EXDEV':
      return invalidInput(
        `${failed} A part of the bucket lies on another file system; all of it must lie on one.`,
        error,
      );
    case 'EINVAL':
    case 'ENOSYS':
    case 'ENOTSUP':
    case 'EOPNOTSUPP':
    case 'EMLINK':
      return invalidInput(`${failed} Its file system cannot do that: choose a folder on another one.`, error);
    case 'EUCLEAN':
    case 'EBADMSG':
      return new VaultError('damaged', `${failed} Check and mend its file system ("fsck"), and repeat.`, {
        cause: error,
      });
    // Whatever may be otherwise in a moment: a disk that is away, a server that is slow, a folder that is made anew.
    default:
      return new VaultError('unavailable', failed, { cause: error });
  }
}
