/** What a thread of its own does for a folder on a disk of this machine: it stores many small files at once. */
import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import { settleAll } from '../../concurrency/gather.ts';
import { messageOf, systemCode } from '../../errors.ts';
import { fsync, linkError, NEW_FILE, OWNER_ONLY_FILE } from './files.ts';

export interface Batch {
  /** What to put a slash and a name behind: of the folder of unfinished files, and of that where they shall be. */
  readonly unfinished: string;
  readonly target: string;
  readonly files: readonly { readonly name: string; readonly size: number }[];
  /** Their bytes, one behind the other; goes to the thread and comes back. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Files that are synced at a time. */
  readonly atOnce: number;
  /** Whether files that have those names may be replaced. */
  readonly replace: boolean;
  /** Not zero once nobody wants it any more: then no file is given its name. */
  readonly unwanted: Int32Array;
}

/** What became of it. */
export interface BatchAnswer {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** By the disk's clock, in milliseconds, when one of them was written. */
  readonly mtimeMs: number;
  /** What went wrong with any; null if all are stored. */
  readonly problem: { readonly message: string; readonly code: string | null } | null;
}

interface Made {
  readonly path: string;
  readonly name: string;
  fd: number | null;
  isMoved: boolean;
}

/** As `store` in `unfinished.ts` does for one under a drawn name, or one to be replaced; the entries of the target are not synced. */
export async function storeBatch(batch: Batch): Promise<BatchAnswer> {
  const { unfinished, target, files, bytes, atOnce, replace, unwanted } = batch;
  const made: Made[] = [];
  try {
    let end = 0;
    for (const { name, size } of files) {
      const path = `${unfinished}/${randomUUID()}`;
      const file: Made = { path, name, fd: fs.openSync(path, NEW_FILE, OWNER_ONLY_FILE), isMoved: false };
      made.push(file);
      const start = end;
      end += size;
      for (let at = start; at < end;) at += fs.writeSync(file.fd ?? -1, bytes, at, end - at, at - start);
    }
    const mtimeMs = fs.fstatSync(made[0]?.fd ?? -1).mtimeMs;
    await syncAll(made, atOnce);
    for (const file of made) closeFile(file);
    for (const file of made) {
      const path = `${target}/${file.name}`;
      // Whoever was told that it ended may have stored other bytes under that name since.
      if (Atomics.load(unwanted, 0) !== 0) throw new Error('It is not wanted any more.');
      if (replace && fs.lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) throw linkError(path);
      fs.renameSync(file.path, path);
      file.isMoved = true;
    }
    return { bytes, mtimeMs, problem: null };
  } catch (error) {
    for (const file of made) discard(file);
    return { bytes, mtimeMs: 0, problem: { message: messageOf(error), code: systemCode(error) } };
  }
}

/** Several at a time, since those share a commit of the file system's journal. */
async function syncAll(made: readonly Made[], atOnce: number): Promise<void> {
  const left = made.values();
  const lane = async (): Promise<void> => {
    for (const { fd } of left) await fsync(fd ?? -1);
  };
  await settleAll(Array.from({ length: atOnce }, lane));
}

function closeFile(file: Made): void {
  const { fd } = file;
  file.fd = null;
  if (fd !== null) fs.closeSync(fd);
}

/** What goes wrong here must not hide what went wrong before; a listing clears away what stays. */
function discard(file: Made): void {
  try {
    closeFile(file);
  } catch {
    // It was not to be kept.
  }
  try {
    if (!file.isMoved) fs.unlinkSync(file.path);
  } catch {
    // It has gone, or stays.
  }
}
