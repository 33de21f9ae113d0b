/** Folders of a tree that is being restored. */
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { platform } from 'node:os';
import { isVaultError, systemCode, VaultError } from '../../errors.ts';
import type { DiskCalls } from './disk-calls.ts';
import { below, bytesOfPath, diskPath, shown } from './disk-path.ts';
import type { DiskPath } from './disk-path.ts';
import type { FolderEntry } from '../../format/folder-index.ts';
import { LeftBehind } from '../read/left-behind.ts';
import { makeWritable, openToFill } from './open-folder.ts';

const { O_CREAT, O_EXCL, O_WRONLY } = fs.constants;

/** A folder that entries are made in. */
export interface Place {
  /** Below the target; '' is the target. */
  readonly path: DiskPath;
  /** What to put a slash and a name behind to get at an entry. */
  readonly base: DiskPath;
  /** null where the path will do: nobody else may rename anything on the way. */
  readonly fd: number | null;
  /** null of the target, unless it is an entry too. */
  entry: FolderEntry | null;
  /**
   * Whether it was made just now, with all above it up to the target: only this user may enter it until it is finished, so there is
   * nothing in it but what is made here, and nobody can put a link in the place of a folder in it.
   */
  readonly isNew: boolean;
  /** The name that came last. */
  last: DiskPath;
  /** Device and inode of what was made in it; null where two names never mean one file, and it need not be known. */
  readonly written: Set<string> | null;
  /** What killed restores have left in it; null if there is nothing. */
  readonly left: LeftBehind | null;
}

/** Passing names of a tree's entries, and of what `probe` makes. */
const PASSING = /^\.[0-9a-f]{12}(-[1-9]\d*|\.a\u00c3\u00a9)\.partial$/;

/** @param base of a folder that was there before */
export async function leftIn(calls: DiskCalls, base: DiskPath): Promise<LeftBehind | null> {
  const folder = {
    names: async () => calls.readdir(base),
    look: async (name: DiskPath) => calls.lstat(`${base}/${name}`),
    remove: async (name: DiskPath) => calls.unlink(`${base}/${name}`),
  };
  return LeftBehind.find(folder, (name) => PASSING.test(name));
}

/** A longer path is left behind by way of an open folder. */
const LONGEST_BASE = 1000;

/**
 * Makes a folder, or opens the one that is there.
 *
 * @throws `already-exists` if something else is there, or the same folder has come under another spelling of its name; the
 *   system's errors
 */
export async function enterFolder(
  calls: DiskCalls,
  options: {
    readonly place: Place;
    readonly name: DiskPath;
    readonly entry: FolderEntry;
    readonly force: boolean;
  },
): Promise<Place> {
  const { place, name, entry } = options;
  const path = below(place.path, name);
  const base = `${place.base}/${name}`;
  const isNew = (await makeOne(calls, { ...options, at: base, path })) && place.isNew;
  const { written } = place;
  if (isNew && written === null && base.length < LONGEST_BASE) {
    return { path, base, fd: null, entry, isNew, last: '', written, left: null };
  }
  const { fd, base: short, facts } = await openToFill(calls, base, { follow: false });
  try {
    if (written?.has(identityOf(facts)) === true) throw twin(path);
    written?.add(identityOf(facts));
    await makeWritable(calls, { fd, facts });
    const areApart = isNew ? written === null : (await probe(calls, short)).areApart;
    const left = isNew ? null : await leftIn(calls, short);
    return { path, base: short, fd, entry, isNew, last: '', written: areApart ? null : new Set(), left };
  } catch (error) {
    await calls.close(fd);
    throw error;
  }
}

/** @returns whether it is new */
async function makeOne(
  calls: DiskCalls,
  {
    place,
    at,
    path,
    force,
  }: { readonly place: Place; readonly at: DiskPath; readonly path: DiskPath; readonly force: boolean },
): Promise<boolean> {
  try {
    await calls.mkdir(at, 0o700);
    return true;
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
  if (place.isNew) throw twin(path);
  const found = await calls.lstat(at);
  if (found.isDirectory()) return false;
  if (found.isSymbolicLink()) {
    throw new VaultError(
      'already-exists',
      `${shown(path)} is a symbolic link, which is not followed. Remove it.`,
    );
  }
  if (!force || place.written?.has(identityOf(found)) === true) throw inTheWay(path);
  await calls.unlink(at);
  await calls.mkdir(at, 0o700);
  return true;
}

/** What making a file in a folder shows. */
export interface Probed {
  /**
   * Whether names are told apart that differ in case or in how an accent is written. Where that is not known they are not.
   */
  readonly areApart: boolean;
  /** Whose the file is. */
  readonly uid: bigint | null;
}

/** Makes a file in a folder and takes it away again. */
export async function probe(calls: DiskCalls, base: DiskPath): Promise<Probed> {
  const random = randomBytes(6).toString('hex');
  const name = (letters: string): DiskPath => `${base}/${diskPath(`.${random}.${letters}.partial`)}`;
  const made = name('a\u00e9');
  try {
    await calls.close(await calls.open(made, O_WRONLY | O_CREAT | O_EXCL, 0o600));
    try {
      const { uid } = await calls.lstat(made);
      const others = await Promise.all(
        ['A\u00e9', 'ae\u0301'].map(async (letters) => isThere(calls, name(letters))),
      );
      return { areApart: !others.includes(true), uid };
    } finally {
      await calls.unlink(made);
    }
  } catch (error) {
    if (isVaultError(error)) throw error;
    return { areApart: false, uid: null };
  }
}

async function isThere(calls: DiskCalls, path: DiskPath): Promise<boolean> {
  try {
    await calls.lstat(path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
}

/** What Windows takes for something else than a name. */
const WINDOWS_NAME = /[\\/:*?"<>|]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

/** Whether a name can be one of a single entry here. */
export function isUsableName(name: DiskPath): boolean {
  if (name === '' || name === '.' || name === '..' || name.includes('\0')) return false;
  if (platform() !== 'win32') return true;
  return !WINDOWS_NAME.test(name) && bytesOfPath(name).every((byte) => byte >= 0x20);
}

/** One thing on a disk, whatever its name. */
export function identityOf({ dev, ino }: Pick<fs.BigIntStats, 'dev' | 'ino'>): string {
  return `${dev}:${ino}`;
}

export function twin(path: DiskPath): VaultError {
  return new VaultError(
    'already-exists',
    `${shown(path)} is not restored: its file system takes its name for that of another entry.`,
  );
}

export function inTheWay(path: DiskPath): VaultError {
  return new VaultError('already-exists', `${shown(path)} is not restored: something else is in its place.`);
}
