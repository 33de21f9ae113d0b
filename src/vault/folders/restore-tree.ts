/** Writing a stored folder into the file system. */
import { lstat, mkdir, readdir, stat, unlink } from 'node:fs/promises';
import { ask, take } from '../../concurrency/steps.ts';
import type { Answer, Steps } from '../../concurrency/steps.ts';
import { isVaultError, systemCode, throwIfAborted, VaultError } from '../../errors.ts';
import { IDS_LOST, lacking, reasonOf } from '../read/attributes.ts';
import { impossibleName, restoreError, TAR_HAS_IT } from '../read/restore-error.ts';
import { effectiveUser } from '../../host.ts';
import { readAccounts } from './accounts.ts';
import type { Accounts } from './accounts.ts';
import { Breather, diskCalls } from './disk-calls.ts';
import type { DiskCalls } from './disk-calls.ts';
import { below, bytesOfPath, diskPath, shown } from './disk-path.ts';
import type { DiskPath } from './disk-path.ts';
import type { FolderEntry } from '../../format/folder-index.ts';
import { makeWritable, openFolder, openToFill, quickBase } from './open-folder.ts';
import { Metadata } from './tree-metadata.ts';
import { enterFolder, isUsableName, leftIn, probe } from './tree-place.ts';
import type { Place } from './tree-place.ts';
import { TreeWriter } from './tree-writer.ts';
import type { ReadContent } from './with-holes.ts';

export interface RestoreTreeOptions {
  /** Whether what exists is replaced where it differs; otherwise the target must not exist or be an empty folder. */
  readonly force: boolean;
  /**
   * Whether entries get their owners, by the names of this machine or else by number. Otherwise they are the user's, and a program
   * with set-user-ID or set-group-ID loses those unless it was the user's before, and the user is not root.
   */
  readonly owners: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Told of everything that is not as it was. */
  readonly onProblem?: ((problem: TreeProblem) => void) | undefined;
  /** Told of content as it is written, or found to be there already. */
  readonly onBytes?: ((count: number, filesBefore: number) => void) | undefined;
}

export interface TreeProblem {
  /** Below the target. */
  readonly path: Buffer;
  /**
   * `not-restored`: it is not there; of a folder, nor is anything in it. `damaged`: nor could its content be had.
   * `not-kept`: it is there, but not all that belongs to it. `unsupported`: a device or
   * a named pipe that this system or this user cannot make.
   */
  readonly kind: 'not-restored' | 'damaged' | 'not-kept' | 'unsupported';
  /** For people. */
  readonly message: string;
}

/** What was done. */
export interface RestoredTree {
  /** Regular files, pipes and devices that were written, with all their paths. */
  files: number;
  /** What was there already as it should be. */
  unchanged: number;
  folders: number;
  symlinks: number;
  /** Entries that are not there, by whatever reason; also those of a folder that is not there, which are not told one by one. */
  missing: number;
  /** Entries of which something was not kept. */
  notKept: number;
}

/**
 * Writes entries below a folder, and nowhere else: no symbolic link below the target is ever followed, whoever made it. A file is
 * written under another name and only then gets its own, so that nobody sees part of one. Folders get their permissions and times
 * when all that is in them is there. What cannot be written is told, and the others go on.
 *
 * Files are not synced one by one, which would take many times as long; a power cut soon afterwards may take some of them
 * away, and to repeat it with `force` writes those again.
 *
 * @param entries in a stored folder's order; folders before what is in them; the first one of a link group with content
 * @param readContent asked for one file at a time, in order but where a file gets a later one of its paths alone, and not at all for
 *   one that is there already
 * @param target may not exist; the folder that it is in must. A link under this very name is followed
 * @throws `already-exists`, `invalid-input`, `denied` for the target itself; `storage-full`, `unavailable` if its disk fails;
 *   `damaged` if entries are out of order; `interrupted`; what `readContent` throws, save `damaged`. What was written stays
 */
export async function restoreTree(
  entries: AsyncIterable<FolderEntry> | Iterable<FolderEntry>,
  readContent: ReadContent,
  target: string | Buffer,
  options: RestoreTreeOptions,
): Promise<RestoredTree> {
  throwIfAborted(options.signal);
  const isNew = await makeTarget(target, options.force);
  const calls = await diskCalls(target, options.signal);
  const restoring = new Restoring(calls, await readAccounts(), { ...options, readContent });
  try {
    await restoring.begin(diskPath(target), isNew);
    const breather = new Breather(options.signal);
    for await (const entry of entries) {
      const turn = breather.breathe();
      if (turn instanceof Promise) await turn;
      const restored = restoring.restore(entry);
      if (restored instanceof Promise) await restored;
    }
    await restoring.leaveAll();
    return restoring.done;
  } finally {
    await restoring.close();
  }
}

/** @returns whether the target is new */
async function makeTarget(target: string | Buffer, force: boolean): Promise<boolean> {
  const name = shown(diskPath(target));
  try {
    await mkdir(target, { mode: 0o700 });
    return true;
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw restoreError(name, error);
  }
  try {
    if (!(await stat(target)).isDirectory()) {
      throw new VaultError('already-exists', `${name} exists and is not a folder. Name another place.`);
    }
    if (!force && (await readdir(target)).length > 0) {
      throw new VaultError(
        'already-exists',
        `${name} exists and is not empty. Name another folder, or use --force to replace what differs in it.`,
      );
    }
    return false;
  } catch (error) {
    if (isVaultError(error)) throw error;
    const isLink = await lstat(target)
      .then((facts) => facts.isSymbolicLink())
      .catch(() => false);
    if (!isLink || !LEADS_NOWHERE.has(systemCode(error) ?? '')) throw restoreError(name, error);
  }
  return replaceLink(target, name, force);
}

/** What the system says of a link to nothing, and of one that leads back to itself. */
const LEADS_NOWHERE = new Set(['ENOENT', 'ELOOP']);

/** Makes the target in the place of a link that leads nowhere. */
async function replaceLink(target: string | Buffer, name: string, force: boolean): Promise<true> {
  if (!force) {
    const advice = 'Name another place, or use --force to replace it';
    throw new VaultError('already-exists', `${name} is a symbolic link that leads nowhere. ${advice}.`);
  }
  try {
    await unlink(target);
    await mkdir(target, { mode: 0o700 });
    return true;
  } catch (error) {
    throw restoreError(name, error);
  }
}

/** What a failing disk says, and will say of every other entry too. */
const FATAL = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EMFILE', 'ENFILE', 'ENODEV', 'ENXIO', 'ESTALE']);

class Restoring {
  readonly done: RestoredTree = { files: 0, unchanged: 0, folders: 0, symlinks: 0, missing: 0, notKept: 0 };
  readonly #calls: DiskCalls;
  readonly #options: RestoreTreeOptions;
  readonly #metadata: Metadata;
  readonly #writer: TreeWriter;
  /** The target, and the folders in it that are being filled, each in the one before. */
  readonly #places: Place[] = [];
  /** Folders that are finished but for permissions that nobody could get through. */
  readonly #closing: Place[] = [];
  /** A folder that is not there; what is in it need not be told of. */
  #lost: DiskPath | null = null;
  /** The target, for messages. */
  #target = '';
  /** What has lost set-user-ID or set-group-ID. */
  #idsLost: { readonly first: DiskPath; readonly others: number } | null = null;

  constructor(
    calls: DiskCalls,
    accounts: Accounts,
    options: RestoreTreeOptions & { readonly readContent: ReadContent },
  ) {
    this.#calls = calls;
    this.#options = options;
    this.#metadata = new Metadata(calls, accounts, options.owners);
    const { done } = this;
    this.#writer = new TreeWriter(calls, this.#metadata, {
      ...options,
      onBytes: (count) => options.onBytes?.(count, done.files + done.unchanged),
    });
  }

  async begin(target: DiskPath, isNew: boolean): Promise<void> {
    this.#target = shown(target);
    try {
      const open = this.#options.force ? openToFill : openFolder;
      const opened = await open(this.#calls, target, { follow: !isNew });
      const { fd, base, facts } = opened;
      if (this.#options.force && facts.uid === effectiveUser()) await makeWritable(this.#calls, opened);
      const left = isNew ? null : await leftIn(this.#calls, base);
      const place = { path: '', base, fd, entry: null, isNew: false, last: '', written: null, left };
      this.#places.push(place);
      const { areApart, uid } = await probe(this.#calls, base);
      // Somebody else's may have taken the place of the one that was made.
      const isOurs = isNew && uid !== null && facts.uid === uid;
      const quick = isOurs ? await quickBase(this.#calls, opened, uid) : base;
      this.#places[0] = { ...place, base: quick, isNew: isOurs, written: areApart ? null : new Set() };
    } catch (error) {
      throw isVaultError(error) ? error : restoreError(shown(target), error);
    }
  }

  restore(entry: FolderEntry): Answer<void> {
    return take(this.#restore(entry));
  }

  *#restore(entry: FolderEntry): Steps<void> {
    const path = diskPath(entry.path);
    const [top] = this.#places;
    this.#writer.pass(entry);
    if (path === '') {
      if (top !== undefined) top.entry = entry;
      return;
    }
    const place = yield* this.#leaveUntil(path);
    const name = path.slice(place.path === '' ? 0 : place.path.length + 1);
    if (name.includes('/')) {
      if (this.#lost === null || !path.startsWith(`${this.#lost}/`)) {
        this.#tell(path, 'not-restored', `${shown(path)} is not restored: its folder is not there.`);
      }
      this.done.missing += 1;
      return;
    }
    if (name <= place.last) throw new VaultError('damaged', `The entry ${shown(path)} is out of order.`);
    place.last = name;
    place.left?.keep(name);
    try {
      if (!isUsableName(name)) throw impossibleName(shown(path), undefined, TAR_HAS_IT);
      yield* this.#make(place, name, entry);
    } catch (error) {
      this.#failed(path, entry, error);
    }
  }

  *#make(place: Place, name: DiskPath, entry: FolderEntry): Steps<void> {
    const path = below(place.path, name);
    const root = this.#places[0]?.base ?? '';
    switch (entry.kind) {
      case 'folder':
        this.#places.push(
          yield* ask(enterFolder(this.#calls, { place, name, entry, force: this.#options.force })),
        );
        this.done.folders += 1;
        return;
      default: {
        const { outcome, notKept } = yield* this.#writer.write(place, { path, name, entry, root });
        if (outcome === 'unchanged') this.done.unchanged += 1;
        else if (entry.kind === 'symlink') this.done.symlinks += 1;
        else this.done.files += 1;
        this.#noteNotKept(path, notKept);
      }
    }
  }

  /** Leaves folders that are finished. @returns the deepest one that is on the way to a path */
  *#leaveUntil(path: DiskPath): Steps<Place> {
    for (;;) {
      const place = this.#places.at(-1);
      if (place === undefined) throw new Error('the target is not open');
      if (place.path === '' || path.startsWith(`${place.path}/`)) return place;
      this.#places.pop();
      yield* ask(this.#leave(place));
    }
  }

  async #leave(place: Place): Promise<void> {
    const { entry, fd, base } = place;
    try {
      if (entry !== null && ((entry.mode ?? 0o700) & 0o100) === 0) {
        // Later paths of files in it are made by way of it.
        const held = fd === null ? await openFolder(this.#calls, base, { follow: false }) : { fd, base };
        this.#closing.push({ ...place, ...held });
        return;
      }
      await this.#settle(place);
    } catch (error) {
      if (isVaultError(error)) throw error;
      this.#noteNotKept(place.path, [`permissions (${reasonOf(error)})`]);
    }
  }

  /** Gives a finished folder what it has beside its entries. */
  async #settle({ entry, base, fd, path, left }: Place): Promise<void> {
    await left?.remove(this.#options.signal);
    if (entry !== null) this.#noteNotKept(path, await take(this.#metadata.setOnFolder(base, entry)));
    if (fd !== null) await this.#calls.close(fd);
  }

  /** Finishes what there is. */
  async leaveAll(): Promise<void> {
    for (let place = this.#places.pop(); place !== undefined; place = this.#places.pop()) {
      // The target is last, and held until all in it has its permissions.
      if (this.#places.length > 0) await this.#leave(place);
      else this.#closing.push(place);
    }
    for (let place = this.#closing.shift(); place !== undefined; place = this.#closing.shift()) {
      await this.#settle(place);
    }
    if (this.#idsLost !== null) this.#tellIdsLost(this.#idsLost);
  }

  /** Closes what is still open after a failure. */
  async close(): Promise<void> {
    for (const { fd } of [...this.#places.splice(0), ...this.#closing.splice(0)]) {
      if (fd === null) continue;
      try {
        await this.#calls.close(fd);
      } catch {
        // Nothing was written through it.
      }
    }
  }

  /** @throws what is no matter of one entry */
  #failed(path: DiskPath, entry: FolderEntry, cause: unknown): void {
    if (isVaultError(cause, 'unsupported') && (entry.kind === 'fifo' || entry.device !== null)) {
      this.done.missing += 1;
      const what = entry.kind === 'fifo' ? 'a named pipe' : 'a device';
      const why = `could not be made here (${cause.message})`;
      this.#tell(path, 'unsupported', `${shown(path)} is ${what}, which ${why}. ${TAR_HAS_IT}`);
      return;
    }
    const code = systemCode(cause) ?? '';
    const error = isVaultError(cause) || code === '' ? cause : restoreError(shown(path), cause, TAR_HAS_IT);
    const isOfEntry =
      isVaultError(error, 'already-exists', 'invalid-input', 'damaged') || !isVaultError(cause);
    if (!isVaultError(error) || !isOfEntry || FATAL.has(code)) throw error;
    if (entry.kind === 'folder') this.#lost = path;
    this.done.missing += 1;
    const { code: kind, message } = error;
    if (kind === 'damaged') this.#tell(path, kind, `${shown(path)} is not restored. ${message}`);
    else this.#tell(path, 'not-restored', message);
  }

  #noteNotKept(path: DiskPath, notKept: readonly string[]): void {
    if (notKept.length === 0) return;
    this.done.notKept += 1;
    const told = notKept.filter((what) => what !== IDS_LOST);
    if (told.length < notKept.length) {
      const { first, others } = this.#idsLost ?? { first: path, others: -1 };
      this.#idsLost = { first, others: others + 1 };
    }
    if (told.length === 0) return;
    this.#tell(path, 'not-kept', `${this.#nameOf(path)} is restored${lacking(told)}.`);
  }

  /** Once: of a system's tree there are many, and the reason is the same. */
  #tellIdsLost({ first, others }: { readonly first: DiskPath; readonly others: number }): void {
    const more = others === 0 ? '' : others === 1 ? ' So is 1 other.' : ` So are ${others} others.`;
    this.#tell(first, 'not-kept', `${this.#nameOf(first)} is restored${lacking([IDS_LOST])}.${more}`);
  }

  #nameOf(path: DiskPath): string {
    return path === '' ? this.#target : shown(path);
  }

  #tell(path: DiskPath, kind: TreeProblem['kind'], message: string): void {
    this.#options.onProblem?.({ path: bytesOfPath(path), kind, message });
  }
}
