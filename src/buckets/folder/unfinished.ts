/** The life of an object before it has its name: a file in a folder of its own, which a killed process leaves there. */
import { randomUUID } from 'node:crypto';
import { systemCode } from '../../errors.ts';
import type { Clock } from '../../host.ts';
import type { NewObject } from '../bucket.ts';
import type { Batches } from './batches.ts';
import type { FolderCalls, Operation } from './calls.ts';
import {
  FEW_BYTES,
  fsync,
  holdsDurably,
  IN_THREADS,
  link,
  lstat,
  readdir,
  refuseLink,
  rename,
  unlessAbsent,
  unlink,
} from './files.ts';
import type { QuickCalls } from './files.ts';
import type { Places } from './places.ts';

/** Where puts that are not finished lie, below the root. No object can have this name: it has a `~`. */
export const UNFINISHED = 'unfinished~';

/** What files in there are called; what is called otherwise is not ours. */
const UNFINISHED_NAME = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * How old an unfinished file must be to be cleared away, in milliseconds: an hour. No put takes so long; should one be that
 * slow, it starts again.
 */
const UNFINISHED_AGE_MS = 3_600_000;

/** A file system whose times are this close to the machine's has the machine's clock, or as good a one: FAT's steps are 2 s. */
const SAME_CLOCK_MS = 10_000;

/** What `link` answers where there are no hard links, or none from one folder to another (FAT, some network file systems). */
const NO_HARD_LINKS = new Set([
  'EPERM',
  'EACCES',
  'ENOTSUP',
  'EOPNOTSUPP',
  'ENOSYS',
  'EMLINK',
  'EINVAL',
  'EXDEV',
]);

/** What is stored, and where. */
export interface Unnamed {
  readonly places: Places;
  readonly calls: FolderCalls;
  /** Where the object shall be, in a folder that is open. */
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly replace: boolean;
  /** See `PutCall`. */
  readonly onDate: ((dateMs: number) => void) | undefined;
  /** Whether the name is known to be free, or to be that of the same bytes. */
  readonly drawn: boolean;
  /** This machine's. */
  readonly clock: Clock;
}

/**
 * Writes a file, syncs it, and then gives it its name.
 *
 * @returns false if the file or a folder vanished before it had its name
 * @throws what `isTaken` knows if there are other bytes under the name already; the system's errors, `ELOOP` for a symbolic link
 */
export async function store(operation: Operation, object: Unnamed): Promise<boolean> {
  const stored = await object.places.within(operation, UNFINISHED, { make: true }, async ({ base }) => {
    const unfinished = `${base}/${randomUUID()}`;
    const fd = await operation.quick((calls) => unlessAbsent(calls.create(unfinished)));
    if (fd === null) return false;
    let isMoved = false;
    try {
      await fill(operation, fd, object);
      // From here on the put is carried through, also when the signal is aborted.
      isMoved = await giveName(operation, unfinished, object);
      return true;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return false;
      throw error;
    } finally {
      // What goes wrong here must not hide what went wrong before; a listing clears away what stays.
      if (!isMoved) await operation.finish(() => unlink(unfinished)).catch(() => undefined);
    }
  });
  return stored === true;
}

/** As `store`, for many small ones under names drawn for them, or to be replaced, in a thread of their own. */
export async function storeAll(
  operation: Operation,
  {
    places,
    batches,
    target,
    objects,
    clock,
    onDate,
    replace,
    signal,
  }: Pick<Unnamed, 'places' | 'clock' | 'onDate' | 'replace'> & {
    readonly batches: Batches;
    /** The folder that they are to be in. */
    readonly target: string;
    readonly objects: readonly NewObject[];
    readonly signal: AbortSignal | undefined;
  },
): Promise<boolean> {
  const stored = await places.within(operation, UNFINISHED, { make: true }, async ({ base: unfinished }) => {
    const mtimeMs = await operation.runSeveral((atOnce) =>
      batches.store(objects, { unfinished, target, atOnce, replace }, signal),
    );
    if (onDate !== undefined) tellDate(mtimeMs, clock.now(), onDate);
    return true;
  });
  return stored === true;
}

/** Fills and closes a file, durably. */
async function fill(
  operation: Operation,
  fd: number,
  { calls, bytes, clock, onDate }: Unnamed,
): Promise<void> {
  try {
    operation.check();
    const writeAll = async (files: QuickCalls): Promise<void> => {
      for (let done = 0; done < bytes.length;) done += await files.write(fd, bytes, done);
    };
    if (bytes.length > FEW_BYTES) await operation.run(() => writeAll(IN_THREADS));
    else await operation.quick(writeAll);
    await operation.run(() => fsync(fd));
    if (onDate !== undefined) {
      const { mtimeMs } = await operation.quick((files) => files.fstat(fd));
      tellDate(mtimeMs, clock.now(), onDate);
    }
    operation.check();
  } catch (error) {
    calls.discard(fd);
    throw error;
  }
  // Some network file systems tell only now that they could not keep what was written.
  await operation.finishQuick((files) => files.close(fd));
}

/**
 * Tells when a file was just written, by the clock of its file server. A disk of this machine goes by this machine's clock and proves
 * nothing about it, and a file system without times says zero.
 */
function tellDate(mtimeMs: number, nowMs: number, onDate: (dateMs: number) => void): void {
  if (mtimeMs > 0 && Math.abs(mtimeMs - nowMs) > SAME_CLOCK_MS) onDate(Math.trunc(mtimeMs));
}

/**
 * Gives a finished file its name, which must be free unless it is to be replaced, or hold the same bytes already.
 *
 * @returns whether the file has been moved, so that nothing is left under its old name
 */
async function giveName(operation: Operation, unfinished: string, object: Unnamed): Promise<boolean> {
  const { path, replace, drawn } = object;
  if (!replace && !drawn) return await operation.finish(() => giveFreeName(unfinished, object));
  // A link that somebody put there in the place of a drawn name would be replaced, not followed.
  if (replace) await operation.finishQuick((calls) => refuseLink(path, calls));
  await operation.finishQuick((calls) => calls.rename(unfinished, path));
  return true;
}

async function giveFreeName(unfinished: string, { path, bytes }: Unnamed): Promise<boolean> {
  try {
    await link(unfinished, path);
    return false;
  } catch (error) {
    const code = systemCode(error) ?? '';
    if (code !== 'EEXIST' && !NO_HARD_LINKS.has(code)) throw error;
  }
  if ((await unlessAbsent(lstat(path))) === null) {
    await rename(unfinished, path);
    return true;
  }
  if (await holdsDurably(path, bytes)) return false;
  throw new TakenError();
}

/** There are other bytes under the name. */
class TakenError extends Error {}

export function isTaken(error: unknown): boolean {
  return error instanceof TakenError;
}

/**
 * Removes what puts of killed processes left. It must not keep a listing from being read: a read-only disk can be
 * listed, and so can one with something else under that name.
 */
export async function clearUnfinished(operation: Operation, places: Places): Promise<void> {
  try {
    await places.within(operation, UNFINISHED, { make: false }, async ({ base }) => {
      // By the clock of the disk: its entries last changed then, when a put began or ended.
      const { mtimeMs } = await operation.run(() => lstat(`${base}/.`));
      const oldestMs = mtimeMs - UNFINISHED_AGE_MS;
      const names = await operation.run(() => readdir(base));
      for (const name of names.filter((one) => UNFINISHED_NAME.test(one))) {
        await operation.run(() => clear(`${base}/${name}`, oldestMs));
      }
    });
  } catch {
    // Whoever lists looks whether that was an abort.
  }
}

async function clear(path: string, oldestMs: number): Promise<void> {
  try {
    const found = await lstat(path);
    if (found.isFile() && found.mtimeMs < oldestMs) await unlink(path);
  } catch {
    // It has gone, or it has to stay.
  }
}
