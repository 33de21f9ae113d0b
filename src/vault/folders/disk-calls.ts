/**
 * Calls of a file system for trees of many small files. Through Node's threads a call costs 50 us of processor, several times
 * the call itself. So where the disk is this machine's own they are made at once; elsewhere, where one may hang, in
 * threads, and an abort ends the wait.
 */
import * as fs from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Answer } from '../../concurrency/steps.ts';
import { untilAborted } from '../../concurrency/until-aborted.ts';
import { isLocal } from '../../disk/local.ts';
import { throwIfAborted } from '../../errors.ts';
import { systemClock } from '../../host.ts';
import { onDisk } from './disk-path.ts';
import type { DiskPath } from './disk-path.ts';

export interface DiskCalls {
  lstat(path: DiskPath): Answer<fs.BigIntStats>;
  stat(path: DiskPath): Answer<fs.BigIntStats>;
  fstat(fd: number): Answer<fs.BigIntStats>;
  /** Names, in no order. */
  readdir(path: DiskPath): Answer<DiskPath[]>;
  readlink(path: DiskPath): Answer<DiskPath>;
  open(path: DiskPath, flags: number, mode?: number): Answer<number>;
  close(fd: number): Answer<void>;
  read(fd: number, target: Uint8Array, position: number): Answer<number>;
  write(fd: number, bytes: Uint8Array, position: number): Answer<number>;
  mkdir(path: DiskPath, mode: number): Answer<void>;
  symlink(target: DiskPath, path: DiskPath): Answer<void>;
  link(existing: DiskPath, path: DiskPath): Answer<void>;
  rename(from: DiskPath, to: DiskPath): Answer<void>;
  unlink(path: DiskPath): Answer<void>;
  chmod(path: DiskPath, mode: number): Answer<void>;
  /** Of a symbolic link itself. */
  lchown(path: DiskPath, uid: number, gid: number): Answer<void>;
  /** Of a symbolic link itself. @param seconds as text, since Node takes a negative number for the present */
  lutimes(path: DiskPath, seconds: string): Answer<void>;
  fchmod(fd: number, mode: number): Answer<void>;
  fchown(fd: number, uid: number, gid: number): Answer<void>;
  futimes(fd: number, seconds: string): Answer<void>;
}

/** @param path on the file system that the calls are for; @param signal ends waits for one that does not answer */
export async function diskCalls(path: string | Buffer, signal: AbortSignal | undefined): Promise<DiskCalls> {
  return (await untilAborted(isLocal(path), signal)) ? CALLS_AT_ONCE : callsInThreads(signal);
}

const BIG = { bigint: true } as const;
const LATIN1 = { encoding: 'latin1' } as const;

const now = (): number => systemClock.now() / 1000;

const CALLS_AT_ONCE: DiskCalls = {
  lstat: (path) => fs.lstatSync(onDisk(path), BIG),
  stat: (path) => fs.statSync(onDisk(path), BIG),
  fstat: (fd) => fs.fstatSync(fd, BIG),
  readdir: (path) => fs.readdirSync(onDisk(path), LATIN1),
  readlink: (path) => fs.readlinkSync(onDisk(path), LATIN1),
  open: (path, flags, mode) => fs.openSync(onDisk(path), flags, mode),
  close: (fd) => fs.closeSync(fd),
  read: (fd, target, position) => fs.readSync(fd, target, 0, target.length, position),
  write: (fd, bytes, position) => fs.writeSync(fd, bytes, 0, bytes.length, position),
  mkdir: (path, mode) => fs.mkdirSync(onDisk(path), { recursive: false, mode }),
  symlink: (target, path) => fs.symlinkSync(onDisk(target), onDisk(path)),
  link: (existing, path) => fs.linkSync(onDisk(existing), onDisk(path)),
  rename: (from, to) => fs.renameSync(onDisk(from), onDisk(to)),
  unlink: (path) => fs.unlinkSync(onDisk(path)),
  chmod: (path, mode) => fs.chmodSync(onDisk(path), mode),
  lchown: (path, uid, gid) => fs.lchownSync(onDisk(path), uid, gid),
  lutimes: (path, seconds) => fs.lutimesSync(onDisk(path), now(), seconds),
  fchmod: (fd, mode) => fs.fchmodSync(fd, mode),
  fchown: (fd, uid, gid) => fs.fchownSync(fd, uid, gid),
  futimes: (fd, seconds) => fs.futimesSync(fd, now(), seconds),
};

const threads = {
  lstat: promisify(fs.lstat),
  stat: promisify(fs.stat),
  fstat: promisify(fs.fstat),
  readdir: promisify(fs.readdir),
  readlink: promisify(fs.readlink),
  open: promisify(fs.open),
  close: promisify(fs.close),
  read: promisify(fs.read),
  write: promisify(fs.write),
  mkdir: promisify(fs.mkdir),
  symlink: promisify(fs.symlink),
  link: promisify(fs.link),
  rename: promisify(fs.rename),
  unlink: promisify(fs.unlink),
  chmod: promisify(fs.chmod),
  lchown: promisify(fs.lchown),
  lutimes: promisify(fs.lutimes),
  fchmod: promisify(fs.fchmod),
  fchown: promisify(fs.fchown),
  futimes: promisify(fs.futimes),
};

function callsInThreads(signal: AbortSignal | undefined): DiskCalls {
  const wait = async <T>(work: Promise<T>): Promise<T> => untilAborted(work, signal);
  return {
    lstat: async (path) => wait(threads.lstat(onDisk(path), BIG)),
    stat: async (path) => wait(threads.stat(onDisk(path), BIG)),
    fstat: async (fd) => wait(threads.fstat(fd, BIG)),
    readdir: async (path) => wait(threads.readdir(onDisk(path), LATIN1)),
    readlink: async (path) => wait(threads.readlink(onDisk(path), LATIN1)),
    open: async (path, flags, mode) => openInThread(threads.open(onDisk(path), flags, mode), signal),
    close: async (fd) => wait(threads.close(fd)),
    read: async (fd, target, position) => readInThread(fd, target, { position, signal }),
    write: async (fd, bytes, position) => {
      const { bytesWritten } = await wait(threads.write(fd, bytes, 0, bytes.length, position));
      return bytesWritten;
    },
    mkdir: async (path, mode) => {
      await wait(threads.mkdir(onDisk(path), { recursive: false, mode }));
    },
    symlink: async (target, path) => wait(threads.symlink(onDisk(target), onDisk(path))),
    link: async (existing, path) => wait(threads.link(onDisk(existing), onDisk(path))),
    rename: async (from, to) => wait(threads.rename(onDisk(from), onDisk(to))),
    unlink: async (path) => wait(threads.unlink(onDisk(path))),
    chmod: async (path, mode) => wait(threads.chmod(onDisk(path), mode)),
    lchown: async (path, uid, gid) => wait(threads.lchown(onDisk(path), uid, gid)),
    lutimes: async (path, seconds) => wait(threads.lutimes(onDisk(path), now(), seconds)),
    fchmod: async (fd, mode) => wait(threads.fchmod(fd, mode)),
    fchown: async (fd, uid, gid) => wait(threads.fchown(fd, uid, gid)),
    futimes: async (fd, seconds) => wait(threads.futimes(fd, now(), seconds)),
  };
}

async function openInThread(opening: Promise<number>, signal: AbortSignal | undefined): Promise<number> {
  try {
    return await untilAborted(opening, signal);
  } catch (error) {
    // It may yet open, when nobody wants it any more.
    if (signal?.aborted === true) void opening.then(threads.close).catch(() => undefined);
    throw error;
  }
}

/** Reads aside: after an abort the bytes may come when their place is somebody else's. */
async function readInThread(
  fd: number,
  target: Uint8Array,
  { position, signal }: { readonly position: number; readonly signal: AbortSignal | undefined },
): Promise<number> {
  const aside = Buffer.allocUnsafeSlow(target.length);
  const { bytesRead } = await untilAborted(threads.read(fd, aside, 0, aside.length, position), signal);
  target.set(aside.subarray(0, bytesRead));
  return bytesRead;
}

/** Milliseconds that calls may be made at once before everything else gets its turn. */
const TURN_MS = 10;

/** Lets timers, sockets and signals have their turn now and then between calls that are made at once. */
export class Breather {
  #since = systemClock.monotonic();
  readonly #signal: AbortSignal | undefined;

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
  }

  /** @throws `interrupted` */
  breathe(): Answer<void> {
    if (systemClock.monotonic() - this.#since < TURN_MS) return;
    return this.#turn();
  }

  async #turn(): Promise<void> {
    await nextTurn();
    throwIfAborted(this.#signal);
    this.#since = systemClock.monotonic();
  }
}
