import { Buffer } from 'node:buffer';
import { constants } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../disk/folders.ts';
import { invalidInput, systemCode, VaultError } from '../../errors.ts';
import { systemClock } from '../../host.ts';
import type { Clock } from '../../host.ts';
import { DEFAULT_MAX_OBJECT_SIZE, isNamePrefix, isObjectName } from '../bucket.ts';
import type { Bucket, GetCall, ListedObject, NewObject, PutAllCall } from '../bucket.ts';
import { within } from '../layers/clock.ts';
import { DEFAULT_TIMEOUT_MS } from '../layers/timeout.ts';
import { Batches } from './batches.ts';
import { FolderCalls, threads } from './calls.ts';
import type { Operation } from './calls.ts';
import { lstat, openUnlinked, readOn, translated, unlessAbsent, unlink } from './files.ts';
import { Places, linked, parentOf } from './places.ts';
import type { Place } from './places.ts';
import { clearUnfinished, isTaken, store, storeAll } from './unfinished.ts';
import { walk } from './walk.ts';

const { O_NONBLOCK, O_RDONLY, S_IFDIR, S_IFMT, S_IFREG } = constants;

const OWNER_ONLY_FOLDER = 0o700;

/** A put whose unfinished file or folder was removed under it starts again, this often at most. */
const PUT_TURNS = 5;

/**
 * A folder as a bucket. An object's name is its path below the folder, so that plain tools can copy a
 * bucket from and to a cloud.
 *
 * A put writes a file of its own in `unfinished~`, syncs it, and then links it to its name: that is atomic, and it
 * fails when the name is taken. Under a name that was drawn for it, which is free, it is renamed: that takes half the
 * time. Where the file system has no hard links the name is looked at and the file is then renamed: in between, another
 * process could store other bytes under the same name, and one of the two would win unnoticed. The folder's entry is
 * synced too before the put resolves. A killed process leaves its unfinished files; a listing clears them away once they
 * are an hour old.
 *
 * Nothing outside of the folder is ever written, read or removed: a symbolic link inside, at any level, is `damaged`, and
 * left where it is. The folder itself may be reached through one.
 *
 * Few calls are in flight at once. While one hangs that an operation ran out of time with, every other operation is
 * `unavailable` at once.
 *
 * @param root absolute path of the folder, which exists already; `createFolder` makes it
 * @param options `label`: what to call the bucket in messages; `clock`: this machine's; `fileThreads`: as the host has it
 */
export function openFolderBucket(
  root: string,
  options: {
    readonly label: string;
    readonly clock?: Clock | undefined;
    readonly fileThreads?: number | undefined;
  },
): Bucket {
  if (options.fileThreads !== undefined) threads.provide(options.fileThreads);
  return new FolderBucket(root, options.label, options.clock ?? systemClock);
}

/**
 * Makes a folder for a bucket, with its parents, accessible to its owner only; one that exists is left as it is.
 *
 * @param path absolute path
 * @throws `denied`, `storage-full`, `unavailable` if the disk does not answer, or `invalid-input` if something that is no
 *   folder is in the way
 */
export async function createFolder(path: string, clock: Clock = systemClock): Promise<void> {
  try {
    await within(() => makeFolder(path, { mode: OWNER_ONLY_FOLDER }), {
      timeoutMs: () => DEFAULT_TIMEOUT_MS,
      expired: () =>
        new VaultError('unavailable', `Could not make the folder ${path}: its disk does not answer.`),
      signal: undefined,
      clock,
    });
  } catch (error) {
    const code = systemCode(error);
    if (code === 'EEXIST' || code === 'ENOTDIR') {
      throw invalidInput(`Cannot make the folder ${path}: a file is in the way.`, error);
    }
    throw translated(error, `make the folder ${path}`);
  }
}

class FolderBucket implements Bucket {
  readonly label: string;
  readonly #root: string;
  readonly #calls: FolderCalls;
  readonly #places: Places;
  readonly #batches = new Batches();
  readonly #clock: Clock;
  /** Puts under way. */
  #puts = 0;

  constructor(root: string, label: string, clock: Clock) {
    this.#root = root;
    this.#clock = clock;
    this.label = label;
    this.#calls = new FolderCalls(label);
    this.#places = new Places(root, { label, calls: this.#calls });
  }

  async put(name: string, bytes: Uint8Array, call: Parameters<Bucket['put']>[2] = {}): Promise<void> {
    const { replace = false, drawn = false, onDate } = call;
    const [places, calls, clock] = [this.#places, this.#calls, this.#clock];
    const parts = { places, calls, clock, bytes, replace, drawn, onDate };
    this.#puts += 1;
    const put = this.#operate(name, { tried: 'store', signal: call.signal }, async (operation) => {
      for (let turn = 1; turn <= PUT_TURNS; turn += 1) {
        const stored = await this.#places.within(
          operation,
          parentOf(name),
          { make: true },
          async (target) =>
            (await store(operation, { ...parts, path: `${target.base}/${fileOf(name)}` })) &&
            (await target.sync()),
        );
        if (stored === true) return;
        // The unfinished file, or a folder, was removed or moved by somebody: begin at the beginning.
        this.#places.forget();
      }
      throw new VaultError(
        'unavailable',
        `Storing ${name} in ${this.label} failed: something removes its unfinished file again and again.`,
      );
    });
    await put.finally(() => {
      this.#puts -= 1;
    });
  }

  async putAll(
    objects: readonly NewObject[],
    { signal, onDate, replace = false }: PutAllCall = {},
  ): Promise<boolean> {
    const [{ name } = { name: '' }] = objects;
    const folder = parentOf(name);
    if (!objects.every((one) => isObjectName(one.name) && parentOf(one.name) === folder)) return false;
    this.#puts += 1;
    const [places, clock, batches] = [this.#places, this.#clock, this.#batches];
    const parts = { places, clock, batches, objects, onDate, replace, signal };
    const put = this.#operate(name, { tried: 'store', signal }, (operation) =>
      this.#places.within(operation, folder, { make: true }, async (target) =>
        // Elsewhere whoever makes the calls would have to be given turns for each.
        this.#calls.isNear && (await storeAll(operation, { ...parts, target: target.base }))
          ? await target.sync()
          : false,
      ),
    );
    const stored = await put.finally(() => {
      this.#puts -= 1;
    });
    return stored === true;
  }

  async get(name: string, call: GetCall = {}): Promise<Uint8Array> {
    return await this.#operate(name, { tried: 'read', signal: call.signal }, async (operation) => {
      const found = await this.#seek(operation, name, async (path) => {
        const fd = await operation.run(() => unlessAbsent(openUnlinked(path, O_RDONLY | O_NONBLOCK)));
        if (fd === null) return null;
        try {
          return await this.#read(operation, fd, { name, call });
        } finally {
          this.#calls.discard(fd);
        }
      });
      if (found === null) throw new VaultError('object-missing', `${this.label} has no object ${name}.`);
      return found;
    });
  }

  /** The content of an open file; null if it is a folder. */
  async #read(
    operation: Operation,
    fd: number,
    { name, call }: { readonly name: string; readonly call: GetCall },
  ): Promise<Uint8Array | null> {
    const { size, mode } = await operation.quick((calls) => calls.fstat(fd));
    const type = mode & S_IFMT;
    if (type === S_IFDIR) return null;
    if (type !== S_IFREG) throw this.#damaged(name, 'is not a regular file');
    const maxSize = call.maxSize ?? DEFAULT_MAX_OBJECT_SIZE;
    if (size > maxSize) throw this.#damaged(name, `has ${size} bytes, more than the ${maxSize} it can have`);
    // One byte more than there should be, so that the same read finds out whether there is more.
    const { spare } = call;
    const buffer =
      spare !== undefined && spare.byteLength > size
        ? Buffer.from(spare, 0, size + 1)
        : Buffer.allocUnsafeSlow(size + 1);
    let done = 0;
    let count;
    do {
      const from = done;
      count = await operation.run(() => readOn(fd, buffer, from));
      done += count;
      call.onBytes?.(count);
      operation.check();
    } while (count > 0 && done < size);
    if (done !== size) throw this.#damaged(name, 'changed its size while it was read');
    return buffer.subarray(0, size);
  }

  async remove(name: string, call: Parameters<Bucket['remove']>[1] = {}): Promise<void> {
    await this.#operate(name, { tried: 'remove', signal: call.signal }, async (operation) => {
      const removed = await this.#seek(operation, name, async (path, place) => {
        const isRemoved = await operation.run(async () => {
          const found = await unlessAbsent(lstat(path));
          if (found?.isSymbolicLink() === true) throw linked(join(this.#root, name));
          // A folder is no object.
          if (found === null || found.isDirectory()) return false;
          return (await unlessAbsent(unlink(path))) !== null;
        });
        // A removal that a crash undoes would be an object that nobody knows of.
        return isRemoved && (await place.sync()) ? true : null;
      });
      // It may have gone a moment ago, by a removal that failed to make that durable.
      if (removed === null) await this.#syncIfThere(operation, parentOf(name));
    });
  }

  async #syncIfThere(operation: Operation, folder: string): Promise<void> {
    const place = await this.#places.enter(operation, folder);
    if (place === null) return;
    try {
      await place.sync();
    } finally {
      this.#places.leave(place);
    }
  }

  async *list(prefix: string, call: Parameters<Bucket['list']>[1] = {}): AsyncIterable<ListedObject> {
    if (!isNamePrefix(prefix)) {
      throw invalidInput(`${JSON.stringify(prefix)} starts no name that an object can have.`);
    }
    const operation = this.#calls.begin(call.signal);
    try {
      await this.#places.checkRoot(operation);
      // Among many that are under way it would look at each, for every listing.
      if (this.#puts === 0) await clearUnfinished(operation, this.#places);
      operation.check();
      // All names with the prefix lie in or below the folder that it names, so nothing above is read.
      const at = parentOf(prefix);
      const place = await this.#places.enter(operation, at);
      if (place !== null) {
        try {
          const after = call.after ?? '';
          yield* walk({ operation, prefix, after, root: this.#root, places: this.#places }, place);
        } finally {
          this.#places.leave(place);
        }
      }
      // A folder that vanished on the way would have looked empty.
      await this.#places.checkRoot(operation);
    } catch (error) {
      throw translated(error, `list ${prefix === '' ? 'the objects' : `${prefix}*`} in ${this.label}`);
    } finally {
      operation.end();
    }
  }

  async close(): Promise<void> {
    this.#places.forget();
    await this.#batches.close();
  }

  /** What every operation on an object starts and ends with. */
  async #operate<T>(
    name: string,
    { tried, signal }: { readonly tried: string; readonly signal: AbortSignal | undefined },
    run: (operation: Operation) => Promise<T>,
  ): Promise<T> {
    if (!isObjectName(name)) {
      throw invalidInput(`${JSON.stringify(name)} is not a name that an object in ${this.label} can have.`);
    }
    const operation = this.#calls.begin(signal);
    try {
      return await run(operation);
    } catch (error) {
      if (isTaken(error)) throw this.#taken(name, error);
      const code = systemCode(error);
      if (code === 'ELOOP') throw linked(join(this.#root, name), error);
      if (code === 'ENXIO') throw this.#damaged(name, 'is not a regular file', error);
      if (code === 'ENOTDIR' || code === 'EISDIR') {
        const inTheWay =
          code === 'EISDIR' ? 'a folder is in its place' : 'a file is in the place of its folder';
        const message = `Could not ${tried} ${name} in ${this.label}: ${inTheWay}.`;
        throw new VaultError('already-exists', message, { cause: error });
      }
      throw translated(error, `${tried} ${name} in ${this.label}`);
    } finally {
      operation.end();
    }
  }

  /**
   * What an attempt finds, or null if there is nothing to find. Before nothing is believed, the disk has to be there, and the
   * attempt is made again: it may have been away when the first was made, and back when it was asked for.
   *
   * @param attempt given the object's path and its folder; null if there is nothing
   */
  async #seek<T>(
    operation: Operation,
    name: string,
    attempt: (path: string, place: Place) => Promise<T | null>,
  ): Promise<T | null> {
    for (let turn = 1; turn <= 2; turn += 1) {
      const place = await this.#places.enter(operation, parentOf(name));
      if (place !== null) {
        try {
          const found = await attempt(`${place.base}/${fileOf(name)}`, place);
          if (found !== null || (await this.#places.isSure(operation, place))) return found;
        } finally {
          this.#places.leave(place);
        }
      }
      this.#places.forget();
      await this.#places.checkRoot(operation);
    }
    return null;
  }

  #damaged(name: string, fault: string, cause?: unknown): VaultError {
    return new VaultError('damaged', `${name} in ${this.label} ${fault}.`, { cause });
  }

  #taken(name: string, cause: unknown): VaultError {
    return new VaultError('already-exists', `${this.label} holds ${name} already, with different content.`, {
      cause,
    });
  }
}

/** An object's name within its folder. */
function fileOf(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1);
}
