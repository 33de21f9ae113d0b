/** Reading a file that a scan has come by. */
import * as fs from 'node:fs';
import { isVaultError } from '../../errors.ts';
import { runsOfData } from '../read/holes.ts';
import type { Accounts } from './accounts.ts';
import type { DiskCalls } from './disk-calls.ts';
import { below, diskPath } from './disk-path.ts';
import type { DiskPath } from './disk-path.ts';
import type { Extent, FolderEntry } from '../../format/folder-index.ts';
import { openFolder, systemError } from './open-folder.ts';
import { ownFacts, stateOf } from './scan.ts';
import type { FileState, ScannedEntry } from './scan.ts';

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;

const FLAGS = O_RDONLY | (O_NOFOLLOW ?? 0) | (O_NONBLOCK ?? 0);

/** Bytes that are read at once to look for holes. */
const LOOK_SIZE = 1024 * 1024;
/** Pieces of data that are told apart; what comes after so many is kept with its zeros. */
const MOST_EXTENTS = 4096;
/** The longest path that is opened as a whole; Linux takes 4,095 bytes, macOS 1,023. */
const LONGEST_CALL = 1000;

/** What was read of a file. */
export interface ReadFile {
  /** The file's bytes, with its holes. */
  readonly size: number;
  /** null if it has no holes. */
  readonly extents: readonly Extent[] | null;
  /** Whether it was written to meanwhile, so that what was read may be a mixture. */
  readonly changed: boolean;
  /** The system's error that ended reading before the file's end; null if none did. */
  readonly failure: unknown;
}

/**
 * Opens a regular file for reading, or the one that has taken its place: programs that save put a new file there.
 *
 * @param root the folder that was scanned
 * @throws the system's error: `ENOENT` if there is no such file any more, `ENOTDIR` or `ELOOP` if a link has taken the place of a folder on the way
 */
export async function openScanned(
  root: string | Buffer,
  scanned: ScannedEntry,
  accounts: Accounts,
): Promise<ScannedFile> {
  const { calls, entry, state } = scanned;
  const [base, path] = [diskPath(root), diskPath(entry.path)];
  const isIt = ({ dev, ino }: fs.BigIntStats): boolean => dev === state.device && ino === state.inode;
  let fd = await (base.length + path.length < LONGEST_CALL
    ? calls.open(below(base, path), FLAGS)
    : openPartByPart(calls, base, path));
  try {
    let facts = await calls.fstat(fd);
    // Also whoever exchanged a folder for a link on the way is found out by this.
    if (!isIt(facts)) {
      const other = await openPartByPart(calls, base, path);
      await calls.close(fd);
      fd = other;
      facts = await calls.fstat(fd);
    }
    const isOfGroup = entry.linkGroup !== null && !isIt(facts);
    if (!facts.isFile() || facts.dev !== state.device || isOfGroup) {
      throw systemError('ENOENT', 'something else has taken its place');
    }
    // Whatever is changed of a file changes this time.
    const isSame = isIt(facts) && facts.ctimeNs === state.ctimeNs;
    return new ScannedFile(calls, fd, {
      facts,
      state: isSame ? state : stateOf(facts),
      entry: isSame ? entry : { ...entry, ...ownFacts(facts, accounts) },
    });
  } catch (error) {
    await calls.close(fd);
    throw error;
  }
}

/** Opens what lies in a folder however long its path is, and through no link. */
async function openPartByPart(calls: DiskCalls, root: DiskPath, path: DiskPath): Promise<number> {
  let folder = await openFolder(calls, root, { follow: true });
  try {
    const parts = path.split('/');
    const name = parts.pop() ?? '';
    for (const part of parts) {
      const next = await openFolder(calls, `${folder.base}/${part}`, { follow: false });
      await calls.close(folder.fd);
      folder = next;
    }
    return await calls.open(`${folder.base}/${name}`, FLAGS);
  } finally {
    await calls.close(folder.fd);
  }
}

/** A file that is open; read it, then ask `finish`, then close it. */
export class ScannedFile {
  /** What is stored of it, as it is now. */
  readonly entry: FolderEntry;
  readonly state: FileState;
  readonly #calls: DiskCalls;
  readonly #fd: number;
  /** Where in the file reading goes on. */
  #at = 0;
  #ended = false;
  #failure: unknown = null;
  readonly #holes: Holes | null;

  constructor(
    calls: DiskCalls,
    fd: number,
    {
      facts,
      state,
      entry,
    }: { readonly facts: fs.BigIntStats; readonly state: FileState; readonly entry: FolderEntry },
  ) {
    this.#calls = calls;
    this.#fd = fd;
    this.entry = entry;
    this.state = state;
    // Only what takes less room than it has bytes has holes.
    this.#holes = facts.blocks * 512n < facts.size ? new Holes() : null;
  }

  /**
   * Fills `target` with the file's data, holes left out, up to the size that it had when it was opened: what is appended
   * meanwhile would never end in a log.
   *
   * @returns bytes filled; fewer than there is room for mean the end, also that which an error makes: `finish` has it
   * @throws what is not the system's
   */
  async read(target: Uint8Array): Promise<number> {
    let filled = 0;
    try {
      while (filled < target.length && this.#failure === null) {
        const into = target.subarray(filled);
        const count =
          this.#holes === null ? await this.#readOn(into) : await this.#readData(this.#holes, into);
        if (count === 0) break;
        filled += count;
      }
    } catch (error) {
      if (isVaultError(error)) throw error;
      this.#failure = error;
    }
    return filled;
  }

  /** What was read, and whether the file is still as it was when it was opened. */
  async finish(): Promise<ReadFile> {
    const after = await this.#calls.fstat(this.#fd);
    const { size, mtimeNs } = this.state;
    const changed = this.#at !== size || Number(after.size) !== size || after.mtimeNs !== mtimeNs;
    const extents = this.#holes?.extents(this.#at) ?? null;
    return { size: this.#at, extents, changed, failure: this.#failure };
  }

  async close(): Promise<void> {
    await this.#calls.close(this.#fd);
  }

  async #readOn(into: Uint8Array): Promise<number> {
    const wanted = into.subarray(0, Math.max(0, this.state.size - this.#at));
    if (this.#ended || wanted.length === 0) return 0;
    const count = await this.#calls.read(this.#fd, wanted, this.#at);
    this.#at += count;
    this.#ended = count === 0;
    return count;
  }

  async #readData(holes: Holes, into: Uint8Array): Promise<number> {
    for (;;) {
      const given = holes.give(into);
      if (given > 0) return given;
      const from = this.#at;
      const count = await this.#readOn(holes.buffer);
      if (count === 0) return 0;
      holes.take(count, from);
    }
  }
}

/** Takes a sparse file's bytes apart. */
class Holes {
  readonly buffer = Buffer.allocUnsafeSlow(LOOK_SIZE);
  readonly #extents: { start: number; length: number }[] = [];
  #data: Uint8Array[] = [];

  /** Looks at what has been read into the buffer. @param position where in the file it begins */
  take(count: number, position: number): void {
    const bytes = this.buffer.subarray(0, count);
    const whole = [{ start: 0, end: count }];
    const runs = this.#extents.length < MOST_EXTENTS ? runsOfData(bytes, position) : whole;
    for (const { start, end } of runs) {
      const last = this.#extents.at(-1);
      if (last !== undefined && last.start + last.length === position + start) last.length += end - start;
      else this.#extents.push({ start: position + start, length: end - start });
      this.#data.push(bytes.subarray(start, end));
    }
  }

  /** Gives data away, as much as there is room for. */
  give(into: Uint8Array): number {
    const [first, ...others] = this.#data;
    if (first === undefined) return 0;
    const count = Math.min(first.length, into.length);
    into.set(first.subarray(0, count));
    this.#data = count === first.length ? others : [first.subarray(count), ...others];
    return count;
  }

  /** null if there was nothing to leave out. */
  extents(size: number): readonly Extent[] | null {
    const data = this.#extents.reduce((sum, { length }) => sum + length, 0);
    return data === size ? null : this.#extents;
  }
}
