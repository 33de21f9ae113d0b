/** The thread that stores small objects in a folder. It knows no folder: what it writes, and where, comes with every batch. */
import * as fs from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { systemCode } from '../../errors.ts';
import { NEW_FILE, OWNER_ONLY_FILE } from './files.ts';

/** An object, and the paths of its file. */
export interface Job {
  readonly unfinished: string;
  /** Known to be free, or to be that of the same bytes. */
  readonly path: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/**
 * When it was written, by the clock of its disk; null if the file or a folder vanished before it had its name; else what a system
 * call answered.
 */
export type Written = { readonly mtimeMs: number | null } | { readonly failed: SystemError };

interface SystemError {
  readonly message: string;
  readonly code: string;
  readonly syscall: string;
}

parentPort?.on('message', (jobs: readonly Job[]) => parentPort?.postMessage(jobs.map(writeObject)));

/** Writes a file, syncs it, and then gives it its name; the folder's entry is not synced. */
export function writeObject(job: Job): Written {
  const { unfinished, path } = job;
  let fd: number | null = null;
  let isMade = false;
  try {
    fd = fs.openSync(unfinished, NEW_FILE, OWNER_ONLY_FILE);
    isMade = true;
    for (let done = 0; done < job.bytes.length;) done += fs.writeSync(fd, job.bytes, done);
    fs.fsyncSync(fd);
    const { mtimeMs } = fs.fstatSync(fd);
    const written = fd;
    fd = null;
    // Some network file systems tell only now that they could not keep what was written.
    fs.closeSync(written);
    fs.renameSync(unfinished, path);
    return { mtimeMs };
  } catch (error) {
    // What goes wrong here must not hide what went wrong before; a listing clears away what stays.
    if (fd !== null) quietly(() => fs.closeSync(fd ?? -1));
    if (isMade) quietly(() => fs.unlinkSync(unfinished));
    const code = systemCode(error);
    if (code === 'ENOENT' || (code === 'ENOTDIR' && !isMade)) return { mtimeMs: null };
    if (code === null || !(error instanceof Error) || !('syscall' in error)) throw error;
    return { failed: { message: error.message, code, syscall: String(error.syscall) } };
  }
}

function quietly(run: () => void): void {
  try {
    run();
  } catch {
    // See above.
  }
}
