/**
 * The folders of a bucket, entered without following a symbolic link: whoever can write to a bucket's folder must not be
 * able to lead the program to other files.
 *
 * A folder is opened below the one above it and held while it is in use. On Linux everything in it is named by way of its
 * descriptor (`/proc/self/fd`), so that no folder can be exchanged for a link between a look and a call. Where there
 * is no such thing its path is used, and looked at before and after.
 */
import { constants } from 'node:fs';
import { join } from 'node:path';
import { coalesced } from '../../concurrency/coalesced.ts';
import { VaultError, systemCode } from '../../errors.ts';
import { syncEntries, takesNoFolders } from '../../disk/folders.ts';
import { isLocal } from '../../disk/local.ts';
import type { FolderCalls, Operation } from './calls.ts';
import { identityOf, openUnlinked, stat, unlessAbsent } from './files.ts';
import type { QuickCalls } from './files.ts';

const { O_DIRECTORY, O_RDONLY } = constants;

const OWNER_ONLY_FOLDER = 0o700;

const FOLLOWED = { isLink: false } as const;

/** How long a folder is held that nobody is using, in milliseconds: longer would keep its disk from being unmounted. */
const IDLE_MS = 1_000;

/** A folder that is open. */
export interface Place {
  /** The folder below the root, '' for the root itself. */
  readonly folder: string;
  /** What to put a slash and a name behind to get at an entry. */
  readonly base: string;
  /** Makes its entries durable, together with whoever else asks for that now; false if its path leads elsewhere by now. */
  readonly sync: () => Promise<boolean>;
}

interface Handle {
  readonly fd: number;
  readonly identity: string;
  readonly settle: (place: HeldPlace) => Promise<boolean>;
  readonly inTurn: <T>(run: () => Promise<T>) => Promise<T>;
}

class HeldPlace implements Place {
  readonly folder: string;
  readonly base: string;
  readonly handle: Handle;
  readonly sync: () => Promise<boolean>;
  users = 1;

  constructor(folder: string, base: string, handle: Handle) {
    this.folder = folder;
    this.base = base;
    this.handle = handle;
    this.sync = coalesced(async () => await handle.settle(this), { inTurn: handle.inTurn });
  }
}

/** The folders of one bucket. */
export class Places {
  readonly #root: string;
  readonly #label: string;
  readonly #calls: FolderCalls;
  /** Device and inode of the root when it was first seen: another folder there later is an unmounted disk. */
  #rootIdentity: string | null = null;
  /** Whether the root is on a disk of this machine; null until that was asked. */
  #isLocal: boolean | null = null;
  /** Whether open folders can be named by their descriptors; null until that was tried. */
  #hasDescriptorPaths: boolean | null = null;
  readonly #held = new Map<string, HeldPlace>();
  /** Folders below the root that are durable entries of those above them, and which ones those were. */
  readonly #durable = new Map<string, string>();
  #timer: NodeJS.Timeout | null = null;

  constructor(root: string, options: { readonly label: string; readonly calls: FolderCalls }) {
    this.#root = root;
    this.#label = options.label;
    this.#calls = options.calls;
  }

  /**
   * Does something in a folder.
   *
   * @param folder below the root; '' for the root
   * @param options `make`: make it if it is not there, with those above it, so that it still is there after a crash
   * @returns what `use` returns; null if there is no such folder
   * @throws `bucket-missing` if the root is not there, or is not the folder any more that it was; `damaged` if a symbolic
   *   link is in the way; the system's errors, `ENOTDIR` where a file is in the way
   */
  async within<T>(
    operation: Operation,
    folder: string,
    options: { readonly make: boolean },
    use: (place: Place) => Promise<T>,
  ): Promise<T | null> {
    const place = await this.#enter(operation, folder, options);
    if (place === null) return null;
    try {
      return await use(place);
    } finally {
      this.#leave(place);
    }
  }

  /** As `within`, for who gives the place back with `leave`; a file in the way is no folder. */
  async enter(operation: Operation, folder: string): Promise<Place | null> {
    try {
      return await this.#enter(operation, folder, { make: false });
    } catch (error) {
      if (systemCode(error) === 'ENOTDIR') return null;
      throw error;
    }
  }

  /** Opens a folder of a folder, for who gives it back with `leave`; null if it is not there. */
  async enterBelow(operation: Operation, above: Place, name: string): Promise<Place | null> {
    return await this.#open(operation, above, name);
  }

  /** Gives a folder back that was entered. */
  leave(place: Place): void {
    if (place instanceof HeldPlace) this.#leave(place);
  }

  /** From now on nothing is believed that was known of the folders. */
  forget(): void {
    for (const place of this.#held.values()) if (place.users === 0) this.#discard(place);
    this.#held.clear();
    this.#durable.clear();
  }

  /** Whether nothing in a folder that is open means that there is nothing: it was looked at itself, and its path still leads to it. */
  async isSure(operation: Operation, place: Place): Promise<boolean> {
    if (this.#hasDescriptorPaths !== true || !(place instanceof HeldPlace)) return false;
    return await operation.quick((calls) => this.#isInPlace(place, calls));
  }

  /** @throws `bucket-missing` if the root is not there, or is not the folder any more that it was */
  async checkRoot(operation: Operation): Promise<void> {
    // What is no folder has nothing below it.
    const found = await operation.quick((calls) => unlessAbsent(calls.identify(`${this.#root}/.`, FOLLOWED)));
    if (found === null) throw this.#missing();
    this.#checkIdentity(found);
  }

  async #enter(
    operation: Operation,
    folder: string,
    options: { readonly make: boolean },
  ): Promise<HeldPlace | null> {
    const held = await this.#heldPlace(operation, folder);
    if (held !== null) return held;
    const opened =
      folder === ''
        ? await this.#openRoot(operation)
        : await this.within(operation, parentOf(folder), options, async (above) => {
            const name = folder.slice(folder.lastIndexOf('/') + 1);
            const found = await this.#open(operation, above, name);
            if (!options.make) return found;
            return await this.#settle(above, found ?? (await this.#make(operation, above, name)));
          });
    if (opened === null) return null;
    // Somebody else may have been quicker; then this one is closed when its user leaves it.
    if (!this.#held.has(folder)) this.#held.set(folder, opened);
    return opened;
  }

  /** A folder that is open already and still where its path says. */
  async #heldPlace(operation: Operation, folder: string): Promise<HeldPlace | null> {
    const held = this.#held.get(folder);
    if (held === undefined) return null;
    // While others use it, it was looked at a moment ago, unless its path is all that leads to it.
    const isFresh = held.users > 0 && this.#hasDescriptorPaths === true;
    held.users += 1;
    try {
      if (isFresh || (await operation.quick((calls) => this.#isInPlace(held, calls)))) return held;
    } catch (error) {
      this.#leave(held);
      throw error;
    }
    this.#leave(held);
    this.forget();
    return null;
  }

  async #isInPlace({ folder, handle }: HeldPlace, calls: QuickCalls): Promise<boolean> {
    const found = await unlessAbsent(calls.identify(join(this.#root, folder), { isLink: folder !== '' }));
    return found === handle.identity;
  }

  async #openRoot(operation: Operation): Promise<HeldPlace> {
    const fd = await operation.quick(async (calls) => {
      try {
        // The one link that is followed: the user may have named the bucket by it.
        return await unlessAbsent(calls.open(this.#root, O_RDONLY | O_DIRECTORY));
      } catch (error) {
        throw systemCode(error) === 'ELOOP' ? this.#missing(error) : error;
      }
    });
    if (fd === null) throw this.#missing();
    return await this.#hold(operation, '', { fd, path: this.#root });
  }

  async #open(operation: Operation, above: Place, name: string): Promise<HeldPlace | null> {
    const path = `${above.base}/${name}`;
    const folder = above.folder === '' ? name : `${above.folder}/${name}`;
    const fd = await operation.quick(async (calls) => {
      try {
        return await openUnlinked(path, O_RDONLY | O_DIRECTORY, calls);
      } catch (error) {
        if (systemCode(error) === 'ENOENT') return null;
        throw systemCode(error) === 'ELOOP' ? linked(join(this.#root, folder), error) : error;
      }
    });
    return fd === null ? null : await this.#hold(operation, folder, { fd, path });
  }

  /** What is known of a folder that has just been opened. */
  async #hold(
    operation: Operation,
    folder: string,
    { fd, path }: { readonly fd: number; readonly path: string },
  ): Promise<HeldPlace> {
    try {
      const identity = await operation.quick((calls) => calls.identifyOpen(fd));
      if (folder === '') {
        this.#checkIdentity(identity);
        this.#isLocal ??= await operation.run(() => isLocal(this.#root));
        this.#calls.found(this.#isLocal);
      }
      const short = `/proc/self/fd/${fd}`;
      this.#hasDescriptorPaths ??= await operation.run(() => leadsTo(`${short}/.`, identity));
      const settle = async (place: HeldPlace): Promise<boolean> => {
        await syncEntries(place.handle.fd);
        // Within a turn: another one might never come.
        return await this.#isInPlace(place, this.#calls.quickCalls);
      };
      // A turn of its own, which all share that ask for it: they would keep each other's.
      const inTurn = async <T>(run: () => Promise<T>): Promise<T> => await this.#calls.turn(run, undefined);
      const base = this.#hasDescriptorPaths ? short : path;
      return new HeldPlace(folder, base, { fd, identity, settle, inTurn });
    } catch (error) {
      this.#calls.discard(fd);
      throw error;
    }
  }

  async #make(operation: Operation, above: Place, name: string): Promise<HeldPlace | null> {
    await operation.quick(async (calls) => {
      try {
        await calls.mkdir(`${above.base}/${name}`, OWNER_ONLY_FOLDER);
      } catch (error) {
        const code = systemCode(error);
        // Unless the folder above was removed, as its disk was unmounted.
        if (code === 'ENOENT' && above instanceof HeldPlace && (await this.#isInPlace(above, calls)))
          throw takesNoFolders(join(this.#root, above.folder, name), error);
        if (code !== 'EEXIST') throw error;
      }
    });
    return await this.#open(operation, above, name);
  }

  /** Makes sure, once, that a folder still will be there after a crash, also where another process has made it. */
  async #settle(above: Place, place: HeldPlace | null): Promise<HeldPlace | null> {
    if (place === null || this.#durable.get(place.folder) === place.handle.identity) return place;
    try {
      if (await above.sync()) this.#durable.set(place.folder, place.handle.identity);
      return place;
    } catch (error) {
      this.#leave(place);
      throw error;
    }
  }

  #leave(place: HeldPlace): void {
    place.users -= 1;
    if (place.users > 0) return;
    if (this.#held.get(place.folder) !== place) this.#discard(place);
    else if (this.#timer === null) this.#timer = setTimeout(this.#closeIdle, IDLE_MS).unref();
  }

  readonly #closeIdle = (): void => {
    this.#timer = null;
    for (const [folder, place] of this.#held) {
      if (place.users > 0) continue;
      this.#held.delete(folder);
      this.#discard(place);
    }
  };

  #discard({ handle: { fd } }: HeldPlace): void {
    // Nothing was written through it that its own sync did not tell of.
    this.#calls.discard(fd);
  }

  #checkIdentity(identity: string): void {
    this.#rootIdentity ??= identity;
    if (this.#rootIdentity === identity) return;
    throw new VaultError(
      'bucket-missing',
      `The folder ${this.#root} of the bucket ${this.#label} is another one than before. Was its disk unmounted?`,
    );
  }

  #missing(cause?: unknown): VaultError {
    return new VaultError(
      'bucket-missing',
      `There is no folder ${this.#root} for the bucket ${this.#label}. Is its disk mounted?`,
      { cause },
    );
  }
}

async function leadsTo(path: string, identity: string): Promise<boolean> {
  try {
    return identityOf(await stat(path, { bigint: true })) === identity;
  } catch {
    return false;
  }
}

/** The refusal of a link, which is never followed and never removed. */
export function linked(path: string, cause?: unknown): VaultError {
  return new VaultError(
    'damaged',
    `${path} is a symbolic link, which a bucket cannot have inside. Put what it leads to in its place, or mount it there.`,
    { cause },
  );
}

/** The folder of an object's name, or of a folder's; '' is the root. */
export function parentOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf('/')));
}
