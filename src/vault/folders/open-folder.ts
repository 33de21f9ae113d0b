/** Folders that are held open, so that nobody can put a link in their place between a look and a call. */
import * as fs from 'node:fs';
import { platform } from 'node:os';
import { isVaultError, systemCode } from '../../errors.ts';
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
 * @param options `follow`: whether a symbolic link under its name is followed, which is right only for what a user named; `safeFor`:
 *   the user for whom nobody else can change the path to the folder's parent, so that the folder's own may do, see `quickBase`
 * @throws `ELOOP` if it is, or has just become, a link; the system's errors, `ENOTDIR` if it is something else
 */
export async function openFolder(
  calls: DiskCalls,
  path: DiskPath,
  { follow, safeFor = null }: { readonly follow: boolean; readonly safeFor?: bigint | null },
): Promise<OpenFolder> {
  // Not every system has both flags; what they are for is checked below.
  const fd = await calls.open(path, O_RDONLY | (O_DIRECTORY ?? 0) | (follow ? 0 : (O_NOFOLLOW ?? 0)));
  try {
    const facts = await calls.fstat(fd);
    if (!facts.isDirectory()) throw systemError('ENOTDIR', 'not a directory');
    if (safeFor !== null && isSafe(facts, safeFor)) return { fd, base: path, facts };
    const short = `/proc/self/fd/${fd}`;
    if (await leadsTo(calls, `${short}/.`, facts)) return { fd, base: short, facts };
    if (!follow && !(await isSame(calls, path, facts))) throw systemError('ELOOP', 'a symbolic link');
    return { fd, base: path, facts };
  } catch (error) {
    await calls.close(fd);
    throw error;
  }
}

/** Linux's, which Node does not name. */
const O_PATH = 0o10_000_000;

/** As `openFolder`, of one that entries are to be made in: one of this user's that its permissions shut is opened up for its owner. */
export async function openToFill(
  calls: DiskCalls,
  path: DiskPath,
  options: { readonly follow: boolean },
): Promise<OpenFolder> {
  try {
    return await openFolder(calls, path, options);
  } catch (error) {
    if (systemCode(error) !== 'EACCES' || !(await openUp(calls, path, options))) throw error;
    return openFolder(calls, path, options);
  }
}

/** Until it has its own permissions: its owner, who is to fill it, may do all with it. */
export async function makeWritable(
  calls: DiskCalls,
  { fd, facts }: Pick<OpenFolder, 'fd' | 'facts'>,
): Promise<void> {
  const mode = Number(facts.mode) & 0o7777;
  if ((mode & 0o700) !== 0o700) await calls.fchmod(fd, mode | 0o700);
}

/** @returns whether its owner may read it now, which none but its owner can bring about */
async function openUp(
  calls: DiskCalls,
  path: DiskPath,
  { follow }: { readonly follow: boolean },
): Promise<boolean> {
  if (platform() !== 'linux') return false;
  try {
    // Held, so that nobody can put a link in its place before its permissions are set; to hold it takes none of them.
    const fd = await calls.open(path, O_PATH | O_DIRECTORY | (follow ? 0 : O_NOFOLLOW));
    try {
      const { mode } = await calls.fstat(fd);
      await calls.chmod(`/proc/self/fd/${fd}`, (Number(mode) & 0o7777) | 0o700);
      return true;
    } finally {
      await calls.close(fd);
    }
  } catch (error) {
    if (isVaultError(error)) throw error;
    return false;
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

/**
 * A shorter way to what is in a folder than through its descriptor, which costs the system several times as much: its
 * own path, where nobody but this user and root can put something else in the place of a folder on it.
 *
 * @param folder open
 * @param uid this user's
 * @returns its path, or `base` where it has to do
 */
export async function quickBase(
  calls: DiskCalls,
  { base, facts }: Pick<OpenFolder, 'base' | 'facts'>,
  uid: bigint,
): Promise<DiskPath> {
  if (!base.startsWith('/proc/')) return base;
  try {
    const path = await calls.readlink(base);
    if (!isSameFile(await calls.lstat(path), facts)) return base;
    for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1)) {
      if (!isSafe(await calls.lstat(path.slice(0, end)), uid)) return base;
    }
    return isSafe(await calls.lstat('/'), uid) ? path : base;
  } catch (error) {
    if (isVaultError(error)) throw error;
    return base;
  }
}

const STICKY = 0o1000n;
const WRITABLE_BY_OTHERS = 0o022n;

/** Whether nobody else can remove or rename what this user or root has in a folder, nor the folder be a link. */
function isSafe(facts: fs.BigIntStats, uid: bigint): boolean {
  const isOurs = facts.uid === uid || facts.uid === 0n;
  return (
    facts.isDirectory() &&
    isOurs &&
    ((facts.mode & WRITABLE_BY_OTHERS) === 0n || (facts.mode & STICKY) !== 0n)
  );
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
