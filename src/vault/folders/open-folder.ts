/** Folders that are held open, so that nobody can put a link in their place between a look and a call. */
import * as fs from 'node:fs';
import type { DiskCalls } from './disk-calls.ts';
import type { DiskPath } from './disk-path.ts';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = fs.constants;

export interface OpenFolder {
  readonly fd: number;
  /** What to put a slash and a name behind to get at an entry: short however deep the folder lies, where there is `/proc`. */
  readonly base: DiskPath;
  readonly facts: fs.BigIntStats;
}

/**
 * Opens a folder to read it or to make entries.
 *
 * @param options `follow`: whether a symbolic link under its name is followed, which is right only for what a user named
 * @throws `ELOOP` if it is, or has just become, a link; the system's errors, `ENOTDIR` if it is something else
 */
export async function openFolder(
  calls: DiskCalls,
  path: DiskPath,
  { follow }: { readonly follow: boolean },
): Promise<OpenFolder> {
  // Not every system has both flags; what they are for is checked below.
  const fd = await calls.open(path, O_RDONLY | (O_DIRECTORY ?? 0) | (follow ? 0 : (O_NOFOLLOW ?? 0)));
  try {
    const facts = await calls.fstat(fd);
    if (!facts.isDirectory()) throw systemError('ENOTDIR', 'not a directory');
    const short = `/proc/self/fd/${fd}`;
    if (await leadsTo(calls, `${short}/.`, facts)) return { fd, base: short, facts };
    if (!follow && !(await isSame(calls, path, facts))) throw systemError('ELOOP', 'a symbolic link');
    return { fd, base: path, facts };
  } catch (error) {
    await calls.close(fd);
    throw error;
  }
}

/** One thing on a disk, whatever its name. */
export function isSameFile(
  one: Pick<fs.BigIntStats, 'dev' | 'ino'>,
  other: Pick<fs.BigIntStats, 'dev' | 'ino'>,
): boolean {
  return one.ino === other.ino && one.dev === other.dev;
}

/** An error as the system gives it. */
export function systemError(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code });
}

async function leadsTo(calls: DiskCalls, path: DiskPath, facts: fs.BigIntStats): Promise<boolean> {
  try {
    return isSameFile(await calls.stat(path), facts);
  } catch {
    return false;
  }
}

async function isSame(calls: DiskCalls, path: DiskPath, facts: fs.BigIntStats): Promise<boolean> {
  return isSameFile(await calls.lstat(path), facts);
}
