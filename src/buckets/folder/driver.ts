import { Buffer } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { VaultError, systemCode, throwIfAborted } from '../../errors.ts';
import { DEFAULT_MAX_OBJECT_SIZE, isNamePrefix, isObjectName } from '../bucket.ts';
import type { Bucket, ListedObject } from '../bucket.ts';
import {
  close,
  coalesced,
  fstat,
  fsync,
  holds,
  link,
  lstat,
  openUnlessAbsent,
  pathTo,
  readOn,
  rename,
  seek,
  stat,
  syncFolder,
  translated,
  unlessAbsent,
  unlink,
  write,
} from './files.ts';
import { walk } from './walk.ts';

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY, S_IFDIR, S_IFMT, S_IFREG } = constants;

const OWNER_ONLY_FOLDER = 0o700;

/** Where puts that are not finished lie, below the root. No object can have this name: it has a `~`. */
const UNFINISHED = 'unfinished~';

/** A put whose unfinished file or folder was removed under it starts again, this often at most. */
const PUT_TURNS = 5;

/**
 * What the name of an unfinished file ends with if its put has lost one before. It is cleared away only when it is old, so
 * that a put on a slow disk beside frequent listings comes to an end.
 */
const AGAIN = '.again';

/** How old such a file must be, in milliseconds. */
const AGAIN_AGE_MS = 3_600_000;

/** What `link` answers on file systems that have no hard links (FAT, some network file systems). */
const NO_HARD_LINKS = new Set(['EPERM', 'EACCES', 'ENOTSUP', 'ENOSYS', 'EMLINK', 'EINVAL']);

/**
 * A folder as a bucket. An object's name is its path below the folder, so that plain tools can copy a
 * bucket from and to a cloud.
 *
 * A put writes a file of its own in `unfinished~`, syncs it, and then links it to its name: that is atomic, and it
 * fails when the name is taken. The folder's entry is synced too before the put resolves. A killed process
 * leaves its unfinished files; every listing clears them away, also those of puts that are still running
 * elsewhere, which notice and start again.
 *
 * @param root absolute path of the folder, which exists already; `createFolder` makes it
 * @param options `label`: what to call the bucket in messages
 */
export function openFolderBucket(root: string, options: { readonly label: string }): Bucket {
  return new FolderBucket(root, options.label);
}

/**
 * Makes a folder for a bucket, with its parents, accessible to its owner only; one that exists is left as it is.
 *
 * @param path absolute path
 * @throws `denied`, `storage-full`, or `invalid-input` if something that is no folder is in the way
 */
export async function createFolder(path: string): Promise<void> {
  try {
    const first = await mkdir(path, { recursive: true, mode: OWNER_ONLY_FOLDER });
    if (first === undefined) return;
    // Each new folder is an entry of its parent, up to the first that was there before.
    for (let made = resolve(path); made.length >= first.length; made = dirname(made)) {
      await syncFolder(dirname(made));
    }
  } catch (error) {
    const code = systemCode(error);
    if (code === 'EEXIST' || code === 'ENOTDIR') {
      throw new VaultError('invalid-input', `Cannot make the folder ${path}: a file is in the way.`, {
        cause: error,
      });
    }
    throw translated(error, `make the folder ${path}`);
  }
}

class FolderBucket implements Bucket {
  readonly label: string;
  readonly #root: string;
  /** Device and inode of the root when it was first seen: another folder there later is an unmounted disk. */
  #identity: string | null = null;
  /** Folders below the root (`''` is the root) that this handle has seen to be there, durably. */
  readonly #ready = new Set<string>();
  /** How to make the entries of each folder durable. */
  readonly #syncs = new Map<string, () => Promise<void>>();
  /** Unfinished files of puts that this handle is running. */
  readonly #writing = new Set<string>();

  constructor(root: string, label: string) {
    this.#root = root;
    this.label = label;
  }

  async put(name: string, bytes: Uint8Array, call: Parameters<Bucket['put']>[2] = {}): Promise<void> {
    const replace = call.replace === true;
    try {
      await this.#begin(name, call.signal);
      for (let turn = 1; turn <= PUT_TURNS; turn += 1) {
        await this.#prepare(parentOf(name));
        if (await this.#write(name, bytes, { replace, turn, signal: call.signal })) {
          await this.#sync(parentOf(name));
          return;
        }
        // The unfinished file, or a folder, was removed by somebody: begin at the beginning.
        this.#ready.clear();
      }
    } catch (error) {
      const code = systemCode(error);
      if (code === 'ENOTDIR' || code === 'EISDIR' || code === 'ELOOP') throw this.#taken(name, error);
      throw translated(error, `store ${name} in ${this.label}`);
    }
    throw new VaultError(
      'unavailable',
      `Storing ${name} in ${this.label} failed: something removes its unfinished file again and again.`,
    );
  }

  /** Writes the file and gives it its name; false if the file or the folder vanished before it had one. */
  async #write(
    name: string,
    bytes: Uint8Array,
    options: { readonly replace: boolean; readonly turn: number; readonly signal: AbortSignal | undefined },
  ): Promise<boolean> {
    const id = randomUUID() + (options.turn === 1 ? '' : AGAIN);
    const unfinished = join(this.#root, UNFINISHED, id);
    const fd = await openUnlessAbsent(unfinished, O_WRONLY | O_CREAT | O_EXCL);
    if (fd === null) return false;
    let leftover = true;
    this.#writing.add(id);
    try {
      try {
        throwIfAborted(options.signal);
        for (let done = 0; done < bytes.length;) {
          done += (await write(fd, bytes, done, bytes.length - done, done)).bytesWritten;
        }
        throwIfAborted(options.signal);
        await fsync(fd);
        throwIfAborted(options.signal);
      } finally {
        await close(fd);
      }
      // From here on the put is carried through, also when the signal is aborted.
      if (options.replace) {
        await rename(unfinished, this.#path(name));
        leftover = false;
      } else {
        leftover = !(await this.#linkNew(unfinished, name, bytes));
      }
      return true;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return false;
      throw error;
    } finally {
      this.#writing.delete(id);
      if (leftover) await unlink(unfinished).catch(() => undefined);
    }
  }

  /**
   * Gives a finished file a name that must be free, or hold the same bytes already.
   *
   * @returns whether the file has been moved, not linked, so that nothing is left under its old name
   */
  async #linkNew(unfinished: string, name: string, bytes: Uint8Array): Promise<boolean> {
    const path = this.#path(name);
    try {
      await link(unfinished, path);
      return false;
    } catch (error) {
      const code = systemCode(error);
      if (code === 'EEXIST') {
        if (await holds(path, bytes)) return false;
        throw this.#taken(name, error);
      }
      if (code === null || !NO_HARD_LINKS.has(code)) throw error;
    }
    // Without hard links there is no moment at which the name is both looked at and taken. Names are unique
    // to their bytes, so what could come between is a put of the same bytes.
    const existing = await unlessAbsent(lstat(path));
    if (existing !== null) {
      if (await holds(path, bytes)) return false;
      throw this.#taken(name, null);
    }
    await rename(unfinished, path);
    return true;
  }

  async get(name: string, call: Parameters<Bucket['get']>[1] = {}): Promise<Uint8Array> {
    try {
      await this.#begin(name, call.signal);
      const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
      const fd = await seek(() => openUnlessAbsent(this.#path(name), flags), this.#checkRoot);
      if (fd === null) return await this.#missing(name);
      try {
        throwIfAborted(call.signal);
        const { size, mode } = await fstat(fd);
        throwIfAborted(call.signal);
        const type = mode & S_IFMT;
        if (type === S_IFDIR) return await this.#missing(name);
        if (type !== S_IFREG) throw this.#damaged(name, 'is not a regular file');
        const maxSize = call.maxSize ?? DEFAULT_MAX_OBJECT_SIZE;
        if (size > maxSize) {
          throw this.#damaged(name, `has ${size} bytes, more than the ${maxSize} it can have`);
        }
        // One byte more than there should be, so that the same read finds out whether there is more.
        const { spare } = call;
        const buffer =
          spare !== undefined && spare.byteLength > size
            ? Buffer.from(spare, 0, size + 1)
            : Buffer.allocUnsafeSlow(size + 1);
        let done = 0;
        let count;
        do {
          count = await readOn(fd, buffer, done);
          done += count;
          call.onBytes?.(count);
          throwIfAborted(call.signal);
        } while (count > 0 && done < size);
        if (done !== size) throw this.#damaged(name, 'changed its size while it was read');
        return buffer.subarray(0, size);
      } finally {
        await close(fd);
      }
    } catch (error) {
      const code = systemCode(error);
      if (code === 'ELOOP' || code === 'ENXIO') throw this.#damaged(name, 'is not a regular file', error);
      throw translated(error, `read ${name} in ${this.label}`);
    }
  }

  async remove(name: string, call: Parameters<Bucket['remove']>[1] = {}): Promise<void> {
    try {
      await this.#begin(name, call.signal);
      // Nothing there, in a folder that is: done. On an unmounted disk nothing would be done.
      const removed = await seek(() => this.#unlink(name), this.#checkRoot);
      // A removal that a crash undoes would be an object that nobody knows of.
      if (removed !== null) await this.#sync(parentOf(name));
    } catch (error) {
      throw translated(error, `remove ${name} in ${this.label}`);
    }
  }

  async *list(prefix: string, call: Parameters<Bucket['list']>[1] = {}): AsyncIterable<ListedObject> {
    if (!isNamePrefix(prefix)) {
      throw new VaultError(
        'invalid-input',
        `${JSON.stringify(prefix)} starts no name that an object can have.`,
      );
    }
    throwIfAborted(call.signal);
    try {
      await this.#checkRoot();
      await this.#clearUnfinished();
      throwIfAborted(call.signal);
      const range = { prefix, after: call.after ?? '', signal: call.signal };
      yield* walk({ ...range, root: this.#root, confirm: this.#checkRoot });
      // A folder that vanished on the way would have looked empty.
      await this.#checkRoot();
      throwIfAborted(call.signal);
    } catch (error) {
      throw translated(error, `list ${prefix === '' ? 'the objects' : `${prefix}*`} in ${this.label}`);
    }
  }

  async close(): Promise<void> {
    this.#ready.clear();
    this.#syncs.clear();
  }

  /** Removes what unfinished puts left. It must not keep a listing from being read: a read-only disk can be listed. */
  async #clearUnfinished(): Promise<void> {
    const folder = join(this.#root, UNFINISHED);
    const names = await readdir(folder).catch(() => []);
    const left = names.filter((name) => !this.#writing.has(name));
    await Promise.all(
      left.map(async (name) => {
        const path = join(folder, name);
        try {
          if (name.endsWith(AGAIN) && (await lstat(path)).mtimeMs > Date.now() - AGAIN_AGE_MS) return;
          await unlink(path);
        } catch {
          // It has gone, or it has to stay.
        }
      }),
    );
  }

  /** Makes sure, once, that a folder below the root is there and still will be after a crash. */
  async #prepare(folder: string): Promise<void> {
    if (this.#ready.has(folder)) return;
    await this.#checkRoot();
    const folders = pathTo(folder);
    for (const needed of [UNFINISHED, ...folders]) {
      await mkdir(this.#path(needed), { mode: OWNER_ONLY_FOLDER }).catch((error: unknown) => {
        if (systemCode(error) !== 'EEXIST') throw error;
      });
    }
    // Also where it was there already: another process may have made it a moment ago.
    for (const made of folders) await this.#sync(parentOf(made));
    this.#ready.add(folder);
  }

  /** Makes the entries of a folder durable, together with whoever else asks for that now. */
  async #sync(folder: string): Promise<void> {
    let sync = this.#syncs.get(folder);
    if (sync === undefined) {
      sync = coalesced(async () => await syncFolder(this.#path(folder)));
      this.#syncs.set(folder, sync);
    }
    await sync();
  }

  /** @throws `bucket-missing` if the root is not there, or is not the folder any more that it was */
  readonly #checkRoot = async (): Promise<void> => {
    const found = await unlessAbsent(stat(this.#root, { bigint: true }));
    if (found?.isDirectory() !== true) {
      throw new VaultError(
        'bucket-missing',
        `There is no folder ${this.#root} for the bucket ${this.label}. Is its disk mounted?`,
      );
    }
    const identity = `${found.dev}:${found.ino}`;
    this.#identity ??= identity;
    if (this.#identity !== identity) {
      throw new VaultError(
        'bucket-missing',
        `The folder ${this.#root} of the bucket ${this.label} is another one than before. Was its disk unmounted?`,
      );
    }
  };

  /** Takes a name away; null if there is nothing, or a folder, which is no object. */
  async #unlink(name: string): Promise<true | null> {
    try {
      await unlink(this.#path(name));
      return true;
    } catch (error) {
      const isFolder = (await unlessAbsent(stat(this.#path(name))))?.isDirectory() === true;
      if (isFolder || ['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return null;
      throw error;
    }
  }

  #path(name: string): string {
    return join(this.#root, name);
  }

  /** What every operation on an object starts with. */
  async #begin(name: string, signal: AbortSignal | undefined): Promise<void> {
    if (!isObjectName(name)) {
      throw new VaultError(
        'invalid-input',
        `${JSON.stringify(name)} is not a name that an object in ${this.label} can have.`,
      );
    }
    throwIfAborted(signal);
    // The sooner the root is known, the sooner it is noticed that another one has taken its place.
    await (this.#identity === null ? this.#checkRoot() : null);
    throwIfAborted(signal);
  }

  async #missing(name: string): Promise<never> {
    await this.#checkRoot();
    throw new VaultError('object-missing', `${this.label} has no object ${name}.`);
  }

  #damaged(name: string, fault: string, cause?: unknown): VaultError {
    return new VaultError('damaged', `${name} in ${this.label} ${fault}.`, { cause });
  }

  #taken(name: string, cause: unknown): VaultError {
    return new VaultError('already-exists', `${this.label} holds ${name} already, with another content.`, {
      cause,
    });
  }
}

/** The folder of an object's name; '' is the root. */
function parentOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf('/')));
}
