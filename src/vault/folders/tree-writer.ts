/** Writing the files, symbolic links, pipes and devices of a tree that is being restored. */
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { open as openHandle } from 'node:fs/promises';
import { ask, take } from '../../concurrency/steps.ts';
import type { Steps } from '../../concurrency/steps.ts';
import { invalidInput, isVaultError, messageOf, systemCode, VaultError } from '../../errors.ts';
import { systemClock } from '../../host.ts';
import type { NotKept } from '../read/attributes.ts';
import { ContentWriter } from '../read/content-writer.ts';
import { whileDated } from '../read/left-behind.ts';
import { TAR_HAS_IT } from '../read/restore-error.ts';
import type { DiskCalls } from './disk-calls.ts';
import { below, diskPath, onDisk, shown } from './disk-path.ts';
import type { DiskPath } from './disk-path.ts';
import type { FolderEntry } from '../../format/folder-index.ts';
import { isSameNode, makeNode, PERMISSIONS } from './make-node.ts';
import { isSameFile, systemError } from './open-folder.ts';
import { hasTimeOf } from './tree-metadata.ts';
import type { Metadata } from './tree-metadata.ts';
import { identityOf, inTheWay, twin } from './tree-place.ts';
import type { Place } from './tree-place.ts';
import { withHoles } from './with-holes.ts';
import type { ReadContent } from './with-holes.ts';

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = fs.constants;

/** Larger files are written in threads, with their holes. */
const MOST_AT_ONCE = 256 * 1024;

/** What file systems answer that have no hard links, or no more of them. */
const NO_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EXDEV']);

export interface Written {
  readonly outcome: 'written' | 'unchanged';
  readonly notKept: readonly NotKept[];
}

export interface TreeWriterOptions {
  readonly readContent: ReadContent;
  readonly force: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** An entry that is to be written. */
export interface Item {
  /** Below the target. */
  readonly path: DiskPath;
  readonly name: DiskPath;
  readonly entry: FolderEntry;
  /** What to put a slash and a path behind to get below the target. */
  readonly root: DiskPath;
}

export class TreeWriter {
  readonly #calls: DiskCalls;
  readonly #metadata: Metadata;
  readonly #options: TreeWriterOptions;
  /** Of each link group the path that has come first, and which file it is. */
  readonly #groups = new Map<
    number,
    { readonly path: DiskPath; readonly dev: bigint; readonly ino: bigint }
  >();
  /** Of link groups no path of which has been written so far, the one that has the content. */
  readonly #unwritten = new Map<number, FolderEntry>();
  /** Which of the files with further paths have been found to be what is stored. */
  readonly #shared = new Set<string>();
  readonly #random = randomBytes(6).toString('hex');
  #names = 0;

  constructor(calls: DiskCalls, metadata: Metadata, options: TreeWriterOptions) {
    this.#calls = calls;
    this.#metadata = metadata;
    this.#options = options;
  }

  /** Is shown each entry before all else: where the first path of a file cannot be, the next one gets its content. */
  pass(entry: FolderEntry): void {
    if (entry.linkGroup !== null && entry.content !== null) this.#unwritten.set(entry.linkGroup, entry);
  }

  /**
   * Makes anything but a folder, or finds that it is there as it should be.
   *
   * @throws `already-exists` if something else is there that is not to be replaced; `damaged` if its content cannot be had;
   *   `unsupported` for a pipe or device that cannot be made here; the system's errors; what `readContent` throws
   */
  *write(place: Place, item: Item): Steps<Written> {
    let found = yield* this.lookFor(place, item.name);
    const { linkGroup } = item.entry;
    const first = linkGroup === null ? undefined : this.#groups.get(linkGroup);
    if (found !== null && first !== undefined && isSameFile(found, first)) {
      return { outcome: 'unchanged', notKept: [] };
    }
    if (found !== null) {
      if (place.isNew || place.written?.has(identityOf(found)) === true) throw twin(item.path);
      if (found.isDirectory() || !this.#options.force) throw inTheWay(item.path);
    }
    if (found !== null && this.#isOthersToo(found, item.entry)) found = null;
    const { kind } = item.entry;
    if (kind === 'symlink') return yield* this.#writeLink(place, item, found);
    if (kind !== 'file' && found !== null && isSameNode(found, item.entry)) {
      if (this.#metadata.isSetOn(found, item.entry)) return yield* this.#keep(place, item, found);
    }
    if (first !== undefined) return yield* this.#writeFurther(place, item, first);
    if (kind !== 'file') return yield* this.#writeNode(place, item);
    if (item.entry.content !== null) return yield* this.#writeFile(place, item, found);
    const entry = linkGroup === null ? undefined : this.#unwritten.get(linkGroup);
    if (entry === undefined) throw new VaultError('damaged', 'What it is another path of is not there.');
    return yield* this.#writeFile(place, { ...item, entry }, found);
  }

  /** Whether what is there may not stay: it is another entry's, or would have to change, and may have paths outside the target. */
  #isOthersToo(found: fs.BigIntStats, entry: FolderEntry): boolean {
    if (found.nlink < 2n) return false;
    const isAsStored = this.#metadata.isSetOn(found, entry) && hasTimeOf(found, entry);
    return !isAsStored || this.#shared.has(identityOf(found));
  }

  /** What has a name in a folder; null also where there can be nothing. */
  *lookFor(place: Place, name: DiskPath): Steps<fs.BigIntStats | null> {
    if (place.isNew && place.written === null) return null;
    try {
      return yield* ask(this.#calls.lstat(`${place.base}/${name}`));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return null;
      throw error;
    }
  }

  *#writeLink(place: Place, item: Item, found: fs.BigIntStats | null): Steps<Written> {
    const { name, entry } = item;
    const at = `${place.base}/${name}`;
    const target = diskPath(entry.target ?? Buffer.alloc(0));
    if (found?.isSymbolicLink() === true && (yield* ask(this.#calls.readlink(at))) === target) {
      if (this.#metadata.isSetOn(found, entry)) return yield* this.#keep(place, item, found);
    }
    const unfinished = this.#unfinished(place);
    try {
      yield* ask(this.#calls.symlink(target, unfinished));
    } catch (error) {
      if (systemCode(error) !== 'ENAMETOOLONG') throw error;
      const message = `${shown(item.path)} cannot be made here: its target is too long for a symbolic link. ${TAR_HAS_IT}`;
      throw invalidInput(message, error);
    }
    return yield* this.#finish(place, { item, unfinished, at }, () =>
      this.#metadata.setOnLink(unfinished, entry),
    );
  }

  /**
   * What stands as it should but for its time, which is set on it: reading from a pipe in use changes that. What has another owner or
   * other permissions is made anew, since to set those by a path may meet what somebody else has put there.
   */
  *#keep(place: Place, item: Item, found: fs.BigIntStats): Steps<Written> {
    this.#remember(place, item, found);
    const notKept: NotKept[] = [];
    if (!hasTimeOf(found, item.entry)) {
      yield* this.#metadata.date(notKept, `${place.base}/${item.name}`, item.entry);
    }
    return { outcome: 'unchanged', notKept };
  }

  *#writeNode(place: Place, item: Item): Steps<Written> {
    const { entry } = item;
    const unfinished = this.#unfinished(place);
    const name = unfinished.slice(place.base.length + 1);
    const make = async (): Promise<NotKept[]> => {
      await makeNode(this.#calls, { folder: place.base, name }, entry);
      const isPlain = ((entry.mode ?? 0) & ~PERMISSIONS) === 0;
      const made = isPlain ? null : await this.#calls.lstat(unfinished);
      // To open a pipe for reading waits for nobody.
      if (made?.isFIFO() === true) return this.#setOnFound(unfinished, made, entry);
      const notKept = await take(this.#metadata.setOnLink(unfinished, entry));
      // What is opened may be a device that acts on it.
      return isPlain ? notKept : [...notKept, 'permissions beyond 0777 (of a device)'];
    };
    return yield* this.#finish(place, { item, unfinished, at: `${place.base}/${item.name}` }, () =>
      ask(make()),
    );
  }

  *#writeFile(place: Place, item: Item, found: fs.BigIntStats | null): Steps<Written> {
    const { name, entry } = item;
    const at = `${place.base}/${name}`;
    const size = entry.content?.size ?? 0;
    if (found !== null && found.isFile() && found.size === BigInt(size) && hasTimeOf(found, entry)) {
      this.#remember(place, item, found);
      this.#options.onBytes?.(size);
      const notKept = this.#metadata.isSetOn(found, entry)
        ? []
        : yield* ask(this.#setOnFound(at, found, entry));
      return { outcome: 'unchanged', notKept };
    }
    const unfinished = this.#unfinished(place);
    const isLarge = size > MOST_AT_ONCE || entry.content?.extents !== null;
    return yield* this.#finish(place, { item, unfinished, at }, () =>
      isLarge ? ask(this.#fillLarge(unfinished, entry)) : this.#fillSmall(unfinished, entry),
    );
  }

  /** Gives a file that has been written another path. */
  *#writeFurther(
    place: Place,
    item: Item,
    first: { readonly path: DiskPath; readonly dev: bigint; readonly ino: bigint },
  ): Steps<Written> {
    const existing = below(item.root, first.path);
    const unfinished = this.#unfinished(place);
    const names = { item, unfinished, at: `${place.base}/${item.name}` };
    try {
      yield* ask(this.#calls.link(existing, unfinished));
    } catch (error) {
      if (!NO_LINKS.has(systemCode(error) ?? '')) throw error;
      const lost = `being one file with ${shown(first.path)} (${systemCode(error)})`;
      return yield* this.#finish(place, names, () =>
        ask(this.#copy(existing, unfinished, { first, entry: item.entry, lost })),
      );
    }
    return yield* this.#finish(place, names, () => ask(this.#sameAs(first, unfinished)));
  }

  /** Somebody may have put a link on the way to a file that was given a further path. */
  async #sameAs(first: Pick<fs.BigIntStats, 'dev' | 'ino'>, path: DiskPath): Promise<NotKept[]> {
    if (isSameFile(await this.#calls.lstat(path), first)) return [];
    throw systemError('ELOOP', 'another file has taken its place');
  }

  /** Completes something under its passing name and gives it its own; what fails leaves nothing. */
  *#finish(
    place: Place,
    { item, unfinished, at }: { readonly item: Item; readonly unfinished: DiskPath; readonly at: DiskPath },
    complete: () => Steps<NotKept[]>,
  ): Steps<Written> {
    try {
      const notKept = yield* complete();
      if (item.entry.linkGroup !== null || place.written !== null) {
        this.#remember(place, item, yield* ask(this.#calls.lstat(unfinished)));
      }
      if (this.#options.force || place.isNew) yield* ask(this.#calls.rename(unfinished, at));
      else yield* ask(this.#giveFreeName(unfinished, at, item.path));
      return { outcome: 'written', notKept };
    } catch (error) {
      try {
        yield* ask(this.#calls.unlink(unfinished));
      } catch {
        // What led here is what the user is told.
      }
      throw error;
    }
  }

  /** Gives a name that nobody else may have taken meanwhile. */
  async #giveFreeName(from: DiskPath, to: DiskPath, path: DiskPath): Promise<void> {
    try {
      await this.#calls.link(from, to);
    } catch (error) {
      if (systemCode(error) === 'EEXIST') throw inTheWay(path);
      // Without hard links it was looked for a moment ago, which is the best there is.
      await this.#calls.rename(from, to);
      return;
    }
    await this.#calls.unlink(from);
  }

  *#fillSmall(unfinished: DiskPath, entry: FolderEntry): Steps<NotKept[]> {
    const flags = O_WRONLY | O_CREAT | O_EXCL | (O_NOFOLLOW ?? 0);
    const fd = yield* ask(this.#calls.open(unfinished, flags, this.#metadata.modeToMake(entry)));
    try {
      const bytes = this.#options.readContent.atHand?.(entry) ?? null;
      if (bytes === null) yield* ask(this.#writeContent(fd, entry));
      else this.#options.onBytes?.(yield* this.#writeAll(fd, bytes, 0));
      return yield* this.#metadata.setOnNewFile(fd, entry);
    } finally {
      yield* ask(this.#calls.close(fd));
    }
  }

  #writeContent(fd: number, entry: FolderEntry): Promise<void> {
    return this.#whileDated(fd, async () => {
      let at = 0;
      for await (const piece of this.#contentOf(entry)) {
        if (typeof piece === 'number') throw new Error('a file without extents has no holes');
        at = await take(this.#writeAll(fd, piece, at));
      }
    });
  }

  #whileDated(fd: number, work: () => Promise<void>): Promise<void> {
    const date = async (): Promise<void> => this.#calls.futimes(fd, `${systemClock.now() / 1000}`);
    return whileDated(date, work, this.#options.signal);
  }

  async #fillLarge(unfinished: DiskPath, entry: FolderEntry): Promise<NotKept[]> {
    const handle = await openHandle(onDisk(unfinished), 'wx', 0o600);
    try {
      const writer = new ContentWriter(handle, this.#options.signal);
      await this.#whileDated(handle.fd, async () => {
        for await (const piece of this.#contentOf(entry)) {
          if (typeof piece === 'number') writer.skip(piece);
          else await writer.write(piece);
        }
        await writer.finish();
      });
      return await take(this.#metadata.setOnFile(handle.fd, entry));
    } finally {
      await handle.close();
    }
  }

  async #copy(
    existing: DiskPath,
    unfinished: DiskPath,
    {
      first,
      entry,
      lost,
    }: {
      readonly first: Pick<fs.BigIntStats, 'dev' | 'ino'>;
      readonly entry: FolderEntry;
      readonly lost: string;
    },
  ): Promise<NotKept[]> {
    const from = await this.#calls.open(existing, O_RDONLY | (O_NOFOLLOW ?? 0) | (O_NONBLOCK ?? 0));
    try {
      if (!isSameFile(await this.#calls.fstat(from), first)) {
        throw systemError('ELOOP', 'another file has taken its place');
      }
      const to = await this.#calls.open(unfinished, O_WRONLY | O_CREAT | O_EXCL | (O_NOFOLLOW ?? 0), 0o600);
      try {
        const piece = Buffer.allocUnsafe(MOST_AT_ONCE);
        for (let at = 0, count = -1; count !== 0;) {
          count = await this.#calls.read(from, piece, at);
          at = await take(this.#writeAll(to, piece.subarray(0, count), at));
        }
        return [...(await take(this.#metadata.setOnFile(to, entry))), lost];
      } finally {
        await this.#calls.close(to);
      }
    } finally {
      await this.#calls.close(from);
    }
  }

  /** @returns where the next byte goes */
  *#writeAll(fd: number, bytes: Uint8Array, position: number): Steps<number> {
    let done = 0;
    while (done < bytes.length) {
      const rest = done === 0 ? bytes : bytes.subarray(done);
      const count = yield* ask(this.#calls.write(fd, rest, position + done));
      if (count === 0) throw systemError('ENOSPC', 'the file system takes no more bytes');
      done += count;
    }
    return position + done;
  }

  async *#contentOf(entry: FolderEntry): AsyncGenerator<Uint8Array | number, void, undefined> {
    const { readContent, signal, onBytes } = this.#options;
    for await (const piece of withHoles(entry, readContent(entry, signal))) {
      yield piece;
      onBytes?.(typeof piece === 'number' ? piece : piece.length);
    }
  }

  /** Sets owner and permissions of a file that stays. */
  async #setOnFound(at: DiskPath, found: fs.BigIntStats, entry: FolderEntry): Promise<NotKept[]> {
    let fd: number;
    try {
      fd = await this.#calls.open(at, O_RDONLY | (O_NOFOLLOW ?? 0) | (O_NONBLOCK ?? 0));
    } catch (error) {
      if (isVaultError(error)) throw error;
      return [`permissions (${systemCode(error) ?? messageOf(error)})`];
    }
    try {
      if (isSameFile(await this.#calls.fstat(fd), found)) {
        return await take(this.#metadata.setOnFile(fd, entry));
      }
      return ['permissions (it was replaced meanwhile)'];
    } finally {
      await this.#calls.close(fd);
    }
  }

  #remember(place: Place, { path, entry }: Item, { dev, ino, nlink }: fs.BigIntStats): void {
    place.written?.add(identityOf({ dev, ino }));
    if (nlink > 1n) this.#shared.add(identityOf({ dev, ino }));
    const { linkGroup } = entry;
    if (linkGroup === null || this.#groups.has(linkGroup)) return;
    this.#groups.set(linkGroup, { path, dev, ino });
    this.#unwritten.delete(linkGroup);
  }

  #unfinished(place: Place): DiskPath {
    this.#names += 1;
    return `${place.base}/.${this.#random}-${this.#names}.partial`;
  }
}
