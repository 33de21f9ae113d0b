/** What a folder of this machine holds, in the order of a stored folder's entries. */
import type { BigIntStats } from 'node:fs';
import { platform } from 'node:os';
import { ask, take, type Answer, type Steps } from '../../concurrency/steps.ts';
import {
  invalidInput,
  isOutOfFiles,
  isVaultError,
  messageOf,
  outOfFiles,
  systemCode,
  throwIfAborted,
  VaultError,
} from '../../errors.ts';
import { effectiveUser } from '../../host.ts';
import { fileTimeOfNs } from '../../format/file-time.ts';
import type { Accounts } from './accounts.ts';
import { keptOfCache } from './cache-folder.ts';
import { Breather, diskCalls } from './disk-calls.ts';
import type { DiskCalls } from './disk-calls.ts';
import { below, bytesOfPath, diskPath, onDisk, shown, type DiskPath } from './disk-path.ts';
import type { EntryKind, FolderEntry } from '../../format/folder-index.ts';
import type { Excludes } from './excludes.ts';
import { LinkGroups } from './link-groups.ts';
import { deviceOf } from './make-node.ts';
import { isSameFile, openFolder, quickBase, systemError } from './open-folder.ts';
import type { OpenFolder } from './open-folder.ts';
import type { OwnEntries, OwnNames } from './own-places.ts';
import { identityOf } from './tree-place.ts';

export interface ScanOptions {
  readonly accounts: Accounts;
  readonly excludes?: Excludes | null | undefined;
  /** Of folders with a `CACHEDIR.TAG` only the folder and the tag are kept. */
  readonly excludeCaches?: boolean | undefined;
  /** Regular files of more bytes are left out. */
  readonly largest?: number | undefined;
  /** What is on another file system than the folder is left out; of a mount point the empty folder is kept. */
  readonly oneFileSystem?: boolean | undefined;
  /** What is the vault's own is left out. */
  readonly own?: OwnEntries | undefined;
  /** Told, in order, of the paths of which nothing is among the entries, or of a folder nothing of what is in it, as these options say. */
  readonly onLeftOut?: ((path: DiskPath) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told of what is not among the entries although nobody left it out; of a folder: what is in it is not. */
  readonly onMissed?: ((missed: Missed) => void) | undefined;
}

export interface Missed {
  /** Below the folder that is scanned. */
  readonly path: Buffer;
  /**
   * `own`: it is the vault's own; of a bucket its folder is told for each thing in it. `socket`: means nothing without its program, and the version is complete without it.
   * `undated`: it is stored without its time, which no calendar has. `vanished`: there a moment ago.
   * `unreadable`: the system said why. `changed`: it is stored, but was written to meanwhile, or could not be read to its end.
   */
  readonly why: 'own' | 'socket' | 'undated' | 'vanished' | 'unreadable' | 'changed';
  /** For people. */
  readonly message: string;
}

/** What tells whether a file is still as it was. Inode and ctime are no part of what is stored. */
export interface FileState {
  readonly device: bigint;
  readonly inode: bigint;
  readonly ctimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly size: number;
}

export interface ScannedEntry {
  /**
   * What is stored of it. `content` is null, since nothing has been read; the first path of a link group is the first that comes,
   * but any of them can be read.
   */
  readonly entry: FolderEntry;
  readonly state: FileState;
  /** How its file system is called. */
  readonly calls: DiskCalls;
}

/** The longest path that is kept, in bytes: deeper folders could not be reached by most programs. */
const MOST_PATH_SIZE = 16 * 1024;

/** Bytes of a longer one that are told, beside its name. */
const SHOWN_OF_PATH = 60;

/** The user of this process; null where a system has none. */
const USER = effectiveUser();

/** The longest path by which a folder is read; Linux takes 4,095 bytes. */
const LONGEST_QUICK = 1000;

/** Entries of a folder that are looked at in one go. */
const BATCH = 64;

/**
 * The entries of a folder, itself first, sorted by path with `/` before every other byte. Memory is the names of one folder and
 * of those above it, and the files with several paths of which not all have come.
 *
 * Each folder is opened without following a link and held while it is read, so that nobody else can lead the scan elsewhere (this user
 * could, where a folder's own path does: see `quickBase`). What cannot be read, or has gone when its turn comes, is told, and the others go on.
 *
 * @param root the folder; a link under this very name is followed
 * @throws `file-not-found`, `denied`, `invalid-input` if there is no folder, or it cannot be read; `interrupted`
 */
export function scan(
  root: string | Buffer,
  options: ScanOptions,
): AsyncGenerator<ScannedEntry, void, undefined> {
  return new Scanner(options).run(diskPath(root));
}

/** A folder whose entries are being told. */
interface Level {
  readonly path: DiskPath;
  readonly folder: OpenFolder;
  readonly calls: DiskCalls;
  readonly names: readonly DiskPath[];
  readonly own: OwnNames | undefined;
  next: number;
  /** What the names from `batchStart` on are. */
  batch: readonly (BigIntStats | Error)[];
  batchStart: number;
}

function isKnown<T>(answer: Answer<T>): answer is Exclude<Answer<T>, Promise<unknown>> {
  return !(answer instanceof Promise);
}

class Scanner {
  readonly #options: ScanOptions;
  readonly #breather: Breather;
  readonly #levels: Level[] = [];
  readonly #groups = new LinkGroups();
  #device = 0n;

  constructor(options: ScanOptions) {
    this.#options = options;
    this.#breather = new Breather(options.signal);
  }

  async *run(root: DiskPath): AsyncGenerator<ScannedEntry, void, undefined> {
    throwIfAborted(this.#options.signal);
    try {
      const top = await this.#openRoot(root);
      this.#device = top.folder.facts.dev;
      this.#levels.push(top);
      yield await take(
        this.#scanned('', 'folder', { facts: top.folder.facts, place: root, calls: top.calls }),
      );
      for (let level = this.#levels.at(-1); level !== undefined; level = this.#levels.at(-1)) {
        const turn = this.#breather.breathe();
        if (turn instanceof Promise) await turn;
        const name = level.names[level.next];
        if (name === undefined) {
          this.#levels.pop();
          await level.calls.close(level.folder.fd);
          continue;
        }
        if (level.next >= level.batchStart + level.batch.length) await this.#lookAhead(level);
        const facts = level.batch[level.next - level.batchStart] ?? systemError('ENOENT', 'no such file');
        level.next += 1;
        const looked = take(this.#look(level, name, facts));
        const found = looked instanceof Promise ? await looked : looked;
        if (found === null) continue;
        yield found;
        if (found.entry.kind === 'folder') await this.#descend(level, { name, found });
      }
    } finally {
      for (const { calls, folder } of this.#levels.splice(0)) await calls.close(folder.fd);
    }
  }

  async #openRoot(root: DiskPath): Promise<Level> {
    try {
      const calls = await diskCalls(onDisk(root), this.#options.signal);
      const folder = await openFolder(calls, root, { follow: true });
      const base = USER === null ? folder.base : await quickBase(calls, folder, USER);
      return await this.#read('', { calls, folder: { ...folder, base } });
    } catch (error) {
      throw isVaultError(error) ? error : rootError(shown(root), error);
    }
  }

  /** The names of a folder that was opened, which is closed if that fails. */
  async #read(path: DiskPath, { calls, folder }: Pick<Level, 'calls' | 'folder'>): Promise<Level> {
    try {
      const names = (await calls.readdir(folder.base)).toSorted();
      const { excludeCaches, onLeftOut } = this.#options;
      const kept = excludeCaches === true ? await keptOfCache(calls, folder.base, names) : null;
      if (kept !== null) onLeftOut?.(`${path}/`);
      const own = this.#options.own?.get(identityOf(folder.facts));
      return { path, folder, calls, names: kept ?? names, own, next: 0, batch: [], batchStart: 0 };
    } catch (error) {
      await calls.close(folder.fd);
      throw error;
    }
  }

  async #lookAhead(level: Level): Promise<void> {
    const names = level.names.slice(level.next, level.next + BATCH);
    level.batchStart = level.next;
    const looks = names.map((name) => take(this.#attemptLook(level, name)));
    // A promise for each of many files that are known already would cost more than looking at them.
    level.batch = looks.every(isKnown) ? looks : await Promise.all(looks.map(async (look) => look));
  }

  *#attemptLook(level: Level, name: DiskPath): Steps<BigIntStats | Error> {
    try {
      return yield* ask(level.calls.lstat(`${level.folder.base}/${name}`));
    } catch (error) {
      if (isVaultError(error)) throw error;
      return error instanceof Error ? error : new Error(messageOf(error), { cause: error });
    }
  }

  /** One entry; null if it is left out, also where that is told. */
  *#look(level: Level, name: DiskPath, facts: BigIntStats | Error): Steps<ScannedEntry | null> {
    const path = below(level.path, name);
    if (level.own?.names.has(name) === true) {
      const told = level.own.isBucket ? level.path : path;
      const message = `${shown(told)} is what this vault keeps itself, and is not stored.`;
      return this.#tell(told, 'own', message);
    }
    if (facts instanceof Error) return this.#missed(path, facts);
    const { excludes, largest, oneFileSystem } = this.#options;
    const kind = kindOf(facts);
    const isFolder = kind === 'folder';
    if (
      excludes?.excludes(path, { isFolder }) === true ||
      (kind === 'file' && largest !== undefined && facts.size > largest) ||
      (oneFileSystem === true && !isFolder && facts.dev !== this.#device)
    ) {
      this.#options.onLeftOut?.(path);
      return null;
    }
    if (kind === null) {
      const message = `${shown(path)} is a socket, which means nothing without its program, and is not stored.`;
      return this.#tell(path, 'socket', message);
    }
    if (path.length > MOST_PATH_SIZE) {
      const brief = `${shown(path.slice(0, SHOWN_OF_PATH))}…/${shown(name)}`;
      return this.#tell(path, 'unreadable', `${brief} has a path of more than 16 KiB, and is not stored.`);
    }
    try {
      const place = `${level.folder.base}/${name}`;
      return yield* this.#scanned(path, kind, { facts, place, calls: level.calls });
    } catch (error) {
      return this.#missed(path, error);
    }
  }

  async #descend(
    level: Level,
    { name, found }: { readonly name: DiskPath; readonly found: ScannedEntry },
  ): Promise<void> {
    const path = below(level.path, name);
    if (this.#options.oneFileSystem === true && found.state.device !== this.#device) {
      this.#options.onLeftOut?.(`${path}/`);
      return;
    }
    try {
      const own = `${level.folder.base}/${name}`;
      // What is not safe is reached through a descriptor, where there is a way.
      const isSafe = !own.startsWith('/proc/') && own.length < LONGEST_QUICK;
      const safeFor = isSafe ? USER : null;
      const folder = await openFolder(level.calls, own, { follow: false, safeFor });
      const { device: dev, inode: ino } = found.state;
      if (isSameFile(folder.facts, { dev, ino })) {
        this.#levels.push(await this.#read(path, { calls: await this.#callsOf(level, folder), folder }));
        return;
      }
      await level.calls.close(folder.fd);
      throw systemError('ENOENT', 'another folder has taken its place');
    } catch (error) {
      this.#missed(path, error);
    }
  }

  /** Another disk may be one that hangs. */
  async #callsOf(above: Level, { base, facts }: OpenFolder): Promise<DiskCalls> {
    return facts.dev === above.folder.facts.dev ? above.calls : diskCalls(onDisk(base), this.#options.signal);
  }

  #missed(path: DiskPath, error: unknown): null {
    this.#options.onMissed?.(missedBy(bytesOfPath(path), error));
    return null;
  }

  #tell(path: DiskPath, why: Missed['why'], message: string): null {
    this.#options.onMissed?.({ path: bytesOfPath(path), why, message });
    return null;
  }

  *#scanned(
    path: DiskPath,
    kind: EntryKind,
    {
      facts,
      place,
      calls,
    }: { readonly facts: BigIntStats; readonly place: DiskPath; readonly calls: DiskCalls },
  ): Steps<ScannedEntry> {
    if (fileTimeOfNs(facts.mtimeNs) === null) {
      const message = `${shown(path) || 'The folder'} has a time of modification that no calendar has, and is stored without one.`;
      this.#tell(path, 'undated', message);
    }
    const target = kind === 'symlink' ? bytesOfPath(yield* ask(calls.readlink(place))) : null;
    const entry: FolderEntry = {
      path: bytesOfPath(path),
      kind,
      ...ownFacts(facts, this.#options.accounts),
      content: null,
      target,
      linkGroup: kind === 'file' ? this.#groups.groupOf(facts) : null,
      device: kind === 'block-device' || kind === 'char-device' ? deviceOf(facts.rdev) : null,
      attributes: [],
    };
    return { entry, state: stateOf(facts), calls };
  }
}

/** Whether a version is incomplete for it. */
export function isLoss({ why }: Missed): boolean {
  return why === 'vanished' || why === 'unreadable' || why === 'changed';
}

/** What to tell of an entry that could not be read. @throws an error that is not the system's */
export function missedBy(path: Buffer, error: unknown): Missed {
  if (isVaultError(error)) throw error;
  if (isOutOfFiles(error)) throw outOfFiles(`${shown(path)} cannot be read.`, error);
  const gone = ['ENOENT', 'ENOTDIR', 'ELOOP', 'EINVAL'].includes(systemCode(error) ?? '');
  const message = gone
    ? `${shown(path)} was removed or replaced while the folder was read.`
    : `${shown(path)} cannot be read: ${reason(error)}.`;
  return { path, why: gone ? 'vanished' : 'unreadable', message };
}

export function stateOf(facts: BigIntStats): FileState {
  return {
    device: facts.dev,
    inode: facts.ino,
    ctimeNs: facts.ctimeNs,
    mtimeNs: facts.mtimeNs,
    size: Number(facts.size),
  };
}

const HAS_OWNERS = platform() !== 'win32';

/** What every kind of entry has. */
export function ownFacts(
  facts: BigIntStats,
  accounts: Accounts,
): Pick<FolderEntry, 'mode' | 'owner' | 'modified'> {
  const modified = fileTimeOfNs(facts.mtimeNs);
  if (!HAS_OWNERS) return { mode: null, owner: null, modified };
  const uid = Number(facts.uid);
  const gid = Number(facts.gid);
  return {
    mode: Number(facts.mode) & 0o7777,
    owner: { uid, gid, user: accounts.user(uid), group: accounts.group(gid) },
    modified,
  };
}

/** Null: a socket, or what some systems have beside it. */
function kindOf(facts: BigIntStats): EntryKind | null {
  if (facts.isFile()) return 'file';
  if (facts.isDirectory()) return 'folder';
  if (facts.isSymbolicLink()) return 'symlink';
  if (facts.isFIFO()) return 'fifo';
  if (facts.isBlockDevice()) return 'block-device';
  return facts.isCharacterDevice() ? 'char-device' : null;
}

function rootError(path: string, cause: unknown): VaultError {
  if (isOutOfFiles(cause)) return outOfFiles(`The folder ${path} could not be read.`, cause);
  switch (systemCode(cause)) {
    case 'ENOENT':
      return new VaultError('file-not-found', `There is no folder ${path}.`, { cause });
    case 'ENOTDIR':
      return invalidInput(`${path} is not a folder.`, cause);
    case 'EACCES':
    case 'EPERM':
      return new VaultError('denied', `The folder ${path} may not be read by this user.`, { cause });
    default:
      return new VaultError('source-changed', `The folder ${path} could not be read: ${reason(cause)}.`, {
        cause,
      });
  }
}

/** Without the path, which may be that of an open folder in /proc. */
export function reason(error: unknown): string {
  return messageOf(error)
    .replace(/, \w+ '.*$/s, '')
    .replace(/, \w+$/, '');
}
