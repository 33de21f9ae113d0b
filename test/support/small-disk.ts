import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const PIECE = Buffer.alloc(1024 * 1024);

/** A disk in memory, which is soon full. Unmounted at the end of the block, `await using`, also while something has it open. */
export interface SmallDisk extends AsyncDisposable {
  readonly path: string;
  /** Takes all the room that is left, down to the last page. */
  fill(): Promise<void>;
  /** Gives back what `fill` has taken. */
  free(): Promise<void>;
  /** Lets nobody write to it, or everybody again. */
  setReadOnly(readOnly: boolean): Promise<void>;
  /** Gives it another size, in bytes. */
  resize(size: number): Promise<void>;
}

/**
 * @param path where to mount it; the folder is made
 * @param size bytes
 * @returns null where this user may not mount
 */
export async function smallDisk(path: string, size: number): Promise<SmallDisk | null> {
  await mkdir(path, { recursive: true });
  try {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path]);
  } catch {
    return null;
  }
  const ballast = join(path, 'ballast');
  return {
    path,
    async fill() {
      for (let taken = 0; taken <= size; taken += PIECE.length) {
        try {
          await writeFile(ballast, PIECE, { flag: 'a' });
        } catch {
          return;
        }
      }
    },
    free: () => rm(ballast, { force: true }),
    setReadOnly: async (readOnly) => {
      await run('mount', ['-o', `remount,${readOnly ? 'ro' : 'rw'}`, path]);
    },
    resize: async (larger) => {
      await run('mount', ['-o', `remount,size=${larger}`, path]);
    },
    [Symbol.asyncDispose]: async () => {
      await run('umount', ['-l', path]);
    },
  };
}
