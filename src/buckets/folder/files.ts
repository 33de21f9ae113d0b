import { Buffer } from 'node:buffer';
import * as fs from 'node:fs';
import { promisify } from 'node:util';
import { VaultError, systemCode } from '../../errors.ts';

// What the folder bucket needs of a file system: the plain calls, and what they mean for a bucket. The
// callback functions, not FileHandle: this is the hot path of a local vault, and a handle object for every
// stored object costs more than the system calls that it wraps.
export const open = promisify(fs.open);
export const close = promisify(fs.close);
const read = promisify(fs.read);
export const write = promisify(fs.write);
export const fstat = promisify(fs.fstat);
export const lstat = promisify(fs.lstat);
export const stat = promisify(fs.stat);
export const fsync = promisify(fs.fsync);
export const link = promisify(fs.link);
export const rename = promisify(fs.rename);
export const unlink = promisify(fs.unlink);

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;

/** What `fsync` of a folder answers where only files can be synced. */
const NO_FOLDER_SYNC = new Set(['EINVAL', 'ENOTSUP', 'ENOSYS']);

/**
 * Group commit: however many ask at once, one run is under way and one more waits, and each asker's run began
 * after it asked.
 */
export function coalesced(run: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null;
  let queued: Promise<void> | null = null;
  const start = (): Promise<void> => {
    const mine = run().finally(() => {
      running = null;
    });
    running = mine;
    return mine;
  };
  const startQueued = (): Promise<void> => {
    queued = null;
    return start();
  };
  return async () => {
    if (queued === null && running === null) return await start();
    queued ??= (running ?? Promise.resolve()).then(startQueued, startQueued);
    return await queued;
  };
}

/** Makes a folder's entries durable, where the file system can do that. */
export async function syncFolder(path: string): Promise<void> {
  const fd = await open(path, O_RDONLY);
  try {
    await fsync(fd);
  } catch (error) {
    const code = systemCode(error);
    if (code === null || !NO_FOLDER_SYNC.has(code)) throw error;
  } finally {
    await close(fd);
  }
}

/** Whether a file has exactly these bytes. */
export async function holds(path: string, bytes: Uint8Array): Promise<boolean> {
  const fd = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
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
    return true;
  } finally {
    await close(fd);
  }
}

/** A file descriptor, or null if there is nothing at that path; a file that is made is its owner's only. */
export async function openUnlessAbsent(path: string, flags: number): Promise<number | null> {
  return await unlessAbsent(open(path, flags, 0o600));
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

/**
 * What an attempt finds, or null if there is nothing to find. Before nothing is believed, the disk has to be there, and the
 * attempt is made again: it may have been away when the first was made, and back when it was asked for.
 *
 * @param attempt null if there is nothing at its path
 * @param confirm throws if the disk is not there
 */
export async function seek<T>(
  attempt: () => Promise<T | null>,
  confirm: () => Promise<void>,
): Promise<T | null> {
  for (let turn = 1; turn <= 2; turn += 1) {
    const found = await attempt();
    if (found !== null) return found;
    await confirm();
  }
  return null;
}

/** The VaultError for a system's error; anything else is a bug and stays what it is. */
export function translated(error: unknown, tried: string): unknown {
  if (error instanceof VaultError || !(error instanceof Error) || !('syscall' in error)) return error;
  const failed = `Could not ${tried}: ${error.message}.`;
  switch (systemCode(error) ?? '') {
    case 'ENOSPC':
    case 'EDQUOT':
      return new VaultError('storage-full', `${failed} Make room, or raise the quota, and repeat.`, {
        cause: error,
      });
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new VaultError(
        'denied',
        `${failed} Check the folder's owner and permissions, and how it is mounted.`,
        {
          cause: error,
        },
      );
    case 'ENAMETOOLONG':
      return new VaultError('invalid-input', `${failed} Choose a folder with a shorter path.`, {
        cause: error,
      });
    case 'EXDEV':
      return new VaultError(
        'invalid-input',
        `${failed} A part of the bucket lies on another file system; all of it must lie on one.`,
        { cause: error },
      );
    default:
      return new VaultError('unavailable', failed, { cause: error });
  }
}

/** A folder and all above it but the root, topmost first: `a`, `a/b`, `a/b/c`. */
export function pathTo(folder: string): string[] {
  if (folder === '') return [];
  const parts = folder.split('/');
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}
