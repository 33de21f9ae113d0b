/** Where the bytes of a put come from: a file of this machine, or a stream. */
import * as fs from 'node:fs';
import { typedWord } from '../../shell-word.ts';
import { Socket } from 'node:net';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { untilAborted } from '../../concurrency/until-aborted.ts';
import { isLocal } from '../../disk/local.ts';
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
import { fileTimeOfNs } from '../../format/file-time.ts';
import type { FileIdentity, FileSource, OpenSource } from './file-source.ts';

// Descriptors, not handles: a pipe's is given to a socket, which closes it.
const openDescriptor = promisify(fs.open);
const closeDescriptor = promisify(fs.close);
const readDescriptor = promisify(fs.read);
const writeDescriptor = promisify(fs.write);
const statDescriptor = promisify(fs.fstat);
const statPath = promisify(fs.stat);

/** Milliseconds between two looks at a device that has nothing yet. */
const PAUSE_MS = 20;
/** Bytes of which reading takes no longer than a way through Node's threads. */
const FEW_BYTES = 64 * 1024;
/** Bytes read at once where they are read aside first. */
const ASIDE_SIZE = 1024 * 1024;

/**
 * A file of this machine: a regular one, a pipe or a device. Of a regular one size and modification time are compared
 * when it has been read: a file that was written to meanwhile is an error, not a mixture. One that was renamed, removed or
 * replaced by another is whole, and is stored as it was when it was opened.
 *
 * @param path absolute, or relative to the working directory
 * @param options `forceRead`: whether it is read also where it seems unchanged
 */
export function fileSource(path: string, options: Pick<FileSource, 'forceRead'> = {}): FileSource {
  let drained = false;
  return {
    ...options,
    label: path,
    get reopens() {
      return !drained;
    },
    async open(signal) {
      const near = await untilAborted(isNear(dirname(path)), signal);
      const atOnce = near ? openAtOnce(path) : null;
      if (atOnce !== null) return new OpenFile(atOnce.descriptor, atOnce.facts, { path, direct: true });
      const descriptor = await openPath(path, signal);
      try {
        const facts = await untilAborted(statDescriptor(descriptor, { bigint: true }), signal);
        if (facts.isDirectory()) throw isFolder(path);
        drained = !facts.isFile();
        // The socket closes the descriptor.
        if (facts.isFIFO()) return openStream(pipeOf(descriptor), path);
        // A link may lead to another file system.
        const direct = near && facts.isFile() && (await untilAborted(isLocal(path), signal));
        return new OpenFile(descriptor, facts, { path, direct });
      } catch (error) {
        const closed = closeDescriptor(descriptor).catch(() => undefined);
        if (!isVaultError(error, 'interrupted')) await closed;
        throw error;
      }
    },
  };
}

/**
 * A stream of bytes, read once.
 *
 * @param stream chunks of any size
 * @param label for messages, as `standard input`
 * @param descriptor what the stream reads from, if it is one of this process's own: a folder or a closed one reads as nothing, and is
 *   refused when the source is opened
 */
export function streamSource(
  stream: AsyncIterable<Uint8Array>,
  label: string,
  descriptor?: number,
): FileSource {
  return {
    label,
    reopens: false,
    async open(signal) {
      throwIfAborted(signal);
      if (descriptor !== undefined) await checkDescriptor(descriptor, label);
      return openStream(stream, label);
    },
  };
}

/** The folder that was asked about last: most files of a put lie side by side. */
let lastAsked = { folder: '', is: Promise.resolve(false) };

/** Whether calls on files in a folder never hang. */
function isNear(folder: string): Promise<boolean> {
  if (lastAsked.folder !== folder) lastAsked = { folder, is: isLocal(folder) };
  return lastAsked.is;
}

/** A regular file in a folder that is near, opened without a way through Node's threads; null for anything else, and if it cannot be. */
function openAtOnce(path: string): { readonly descriptor: number; readonly facts: fs.BigIntStats } | null {
  try {
    if (!fs.lstatSync(path).isFile()) return null;
    const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW } = fs.constants;
    const descriptor = fs.openSync(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    const facts = fs.fstatSync(descriptor, { bigint: true });
    if (facts.isFile()) return { descriptor, facts };
    fs.closeSync(descriptor);
  } catch {
    // Opening it in a thread will say what is wrong, or wait for whoever holds a lease on it.
  }
  return null;
}

/** Opens a path without waiting: not for a pipe's writer, and not for what holds a lease on a file. */
async function openPath(path: string, signal: AbortSignal | undefined): Promise<number> {
  for (;;) {
    throwIfAborted(signal);
    const opening = openDescriptor(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    try {
      return await untilAborted(opening, signal);
    } catch (cause) {
      if (isVaultError(cause)) {
        // It may yet open, when nobody wants it any more.
        void opening.then(closeDescriptor).catch(() => undefined);
        throw cause;
      }
      if (systemCode(cause) !== 'EAGAIN') throw openError(path, cause);
    }
    await delay(PAUSE_MS);
  }
}

/** A regular file or a device. */
class OpenFile implements OpenSource {
  readonly size: number | null;
  readonly modified: OpenSource['modified'];
  readonly mode: number | null;
  readonly identity: FileIdentity | null;
  readonly #descriptor: number;
  readonly #before: fs.BigIntStats;
  readonly #path: string;
  /** Bytes read so far. */
  #at = 0;
  /** Whether bytes are read straight to where they are wanted. */
  readonly #direct: boolean;
  /** Where they are read to otherwise; null until then. */
  #aside: Buffer | null = null;
  #reading: Promise<unknown> = Promise.resolve();
  /** Whether a read was left behind by an abort. */
  #abandoned = false;

  /** @param options `direct`: reads never hang, so that an abort can wait for the one under way */
  constructor(
    descriptor: number,
    before: fs.BigIntStats,
    { path, direct }: { readonly path: string; readonly direct: boolean },
  ) {
    const regular = before.isFile();
    // A device has no size and no times worth keeping.
    this.size = regular ? Number(before.size) : null;
    this.modified = regular ? fileTimeOfNs(before.mtimeNs) : null;
    this.mode = regular ? Number(before.mode) & 0o7777 : null;
    const { dev: device, ino: inode, ctimeNs, mtimeNs } = before;
    this.identity = regular ? { device, inode, ctimeNs, mtimeNs, size: Number(before.size) } : null;
    this.#descriptor = descriptor;
    this.#before = before;
    this.#path = path;
    this.#direct = direct;
  }

  async read(target: Uint8Array, signal: AbortSignal): Promise<number> {
    let filled = 0;
    while (filled < target.length) {
      throwIfAborted(signal);
      const bytesRead = await this.#readSome(target.subarray(filled), signal);
      if (bytesRead === null) {
        await delay(PAUSE_MS);
        continue;
      }
      if (bytesRead === 0) break;
      filled += bytesRead;
      this.#at += bytesRead;
      // More than there was: found out at once, since a log grows on, and some files of the kernel never end.
      if (this.#at > (this.size ?? Infinity)) await this.verify();
    }
    return filled;
  }

  async verify(): Promise<void> {
    if (this.size === null) return;
    // What is known already of a file of this machine is there at once.
    const after = this.#direct
      ? fs.fstatSync(this.#descriptor, { bigint: true })
      : await statDescriptor(this.#descriptor, { bigint: true });
    const grewFromNothing = this.#at > 0 && this.size === 0 && after.size === 0n;
    if (!grewFromNothing && (after.size !== this.#before.size || after.mtimeNs !== this.#before.mtimeNs)) {
      throw new VaultError(
        'source-changed',
        `${this.#path} changed while it was read, so it was not stored. Put it again when nothing writes to it.`,
      );
    }
    if (this.#at !== this.size) throw sizeMeansNothing(this.#path);
  }

  async close(): Promise<void> {
    if (this.#direct) return fs.closeSync(this.#descriptor);
    if (!this.#abandoned) return closeDescriptor(this.#descriptor);
    // Once closed its number may be another file's, which must not be read instead.
    void this.#reading
      .catch(() => undefined)
      .then(async () => closeDescriptor(this.#descriptor))
      .catch(() => undefined);
  }

  /** Reads once. @returns bytes read, 0 at the end; null if there are none yet */
  async #readSome(target: Uint8Array, signal: AbortSignal): Promise<number | null> {
    const into = this.#direct
      ? target
      : (this.#aside ??= Buffer.allocUnsafeSlow(ASIDE_SIZE)).subarray(0, target.length);
    // At its end there is nothing to wait for, and of few bytes not much.
    const left = (this.size ?? 0) - this.#at;
    const isQuick = this.#direct && this.size !== 0 && left >= 0 && left <= FEW_BYTES;
    try {
      if (isQuick) return fs.readSync(this.#descriptor, target);
      const reading = readDescriptor(this.#descriptor, into, 0, into.length, null);
      this.#reading = reading;
      const { bytesRead } = await (this.#direct ? reading : untilAborted(reading, signal));
      if (!this.#direct) target.set(into.subarray(0, bytesRead));
      return bytesRead;
    } catch (cause) {
      if (isVaultError(cause)) {
        this.#abandoned = true;
        throw cause;
      }
      if (systemCode(cause) !== 'EAGAIN') throw readError(this.#path, cause);
      // A regular file always has what its size says.
      if (this.size !== null) throw sizeMeansNothing(this.#path);
      return null;
    }
  }
}

/** The stream of a pipe's descriptor, which waits for its writers without a thread. */
function pipeOf(descriptor: number): Readable {
  const pipe = new Socket({ fd: descriptor, readable: true, writable: false });
  // Told to whoever reads; without a listener an early one would end the process.
  pipe.on('error', () => undefined);
  return pipe;
}

function openStream(stream: AsyncIterable<Uint8Array>, label: string): OpenSource {
  const iterator = stream[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array(0);
  let ended = false;
  let waiting = false;
  return {
    size: null,
    modified: null,
    mode: null,
    async read(target, signal) {
      let filled = 0;
      while (filled < target.length) {
        if (rest.length === 0) {
          if (ended) break;
          waiting = true;
          const next = await untilAborted(nextOf(iterator, label), signal);
          waiting = false;
          rest = next ?? rest;
          ended = next === null;
          continue;
        }
        const part = rest.subarray(0, target.length - filled);
        target.set(part, filled);
        filled += part.length;
        rest = rest.subarray(part.length);
      }
      return filled;
    },
    verify: () => Promise.resolve(),
    async close() {
      if (ended) return;
      if (stream instanceof Readable) stream.destroy();
      const returned = Promise.resolve(iterator.return?.());
      // Behind bytes that never come its end would never come either.
      if (waiting) void returned.catch(() => undefined);
      else await returned;
    },
  };
}

/** The next bytes of a stream; null at its end. */
async function nextOf(stream: AsyncIterator<Uint8Array>, label: string): Promise<Uint8Array | null> {
  try {
    const next = await stream.next();
    return next.done === true ? null : next.value;
  } catch (cause) {
    throw isVaultError(cause) ? cause : readError(label, cause);
  }
}

/** Looks whether a descriptor of this process can be read. */
async function checkDescriptor(descriptor: number, label: string): Promise<void> {
  let facts: fs.Stats;
  try {
    facts = await statDescriptor(descriptor);
  } catch (cause) {
    throw isClosed(label, cause);
  }
  if (facts.isDirectory()) {
    throw invalidInput(`${label} is a folder, so there is nothing to store. Give it a pipe or a file.`);
  }
  // Node opens the null device for reading and writing in the place of what was closed when it started.
  if (!facts.isCharacterDevice() || (await statPath('/dev/null')).rdev !== facts.rdev) return;
  const writable = await writeDescriptor(descriptor, Buffer.alloc(0)).then(
    () => true,
    () => false,
  );
  if (writable) throw isClosed(label);
}

function isFolder(path: string): VaultError {
  return invalidInput(`${path} is a folder, where a file was to be read. Store it as a folder.`);
}

function isClosed(label: string, cause?: unknown): VaultError {
  return invalidInput(`${label} is closed, so there is nothing to store. Give it a pipe or a file.`, cause);
}

/** What the kernel makes up while it is read, as in /proc and /sys, can be put from a pipe. */
function sizeMeansNothing(path: string): VaultError {
  const word = typedWord(path);
  return invalidInput(
    `The size of ${path} cannot be relied upon. Store what it says now: cat ${word} | vault put - --name ${word}`,
  );
}

function readError(what: string, cause: unknown): VaultError {
  return new VaultError('source-changed', `${what} could not be read to its end: ${messageOf(cause)}.`, {
    cause,
  });
}

function openError(path: string, cause: unknown): VaultError {
  if (isOutOfFiles(cause)) return outOfFiles(`${path} could not be opened.`, cause);
  switch (systemCode(cause)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new VaultError('file-not-found', `There is no file "${path}".`, { cause });
    case 'EACCES':
    case 'EPERM':
    case 'ENOKEY':
      return new VaultError('denied', `${path} may not be read by this user.`, { cause });
    case 'ENXIO':
    case 'ENODEV':
      return invalidInput(`${path} is a socket, or a device that does not exist.`, cause);
    case 'ENAMETOOLONG':
    case 'ELOOP':
    case 'EINVAL':
      return invalidInput(`${path} is not a usable path: ${messageOf(cause)}.`, cause);
    default:
      return new VaultError('source-changed', `${path} could not be opened: ${messageOf(cause)}.`, { cause });
  }
}
