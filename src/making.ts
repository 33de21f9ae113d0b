/** What the making of a vault, a bucket or a catalog leaves behind step by step, so that one that fails can take it back. */
import { lstat, readdir, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';

export class Making {
  readonly #steps: (() => Promise<void>)[] = [];

  /** Called before a folder and its parents are made: those that are not there yet. */
  async expectFolder(path: string): Promise<void> {
    const missing: string[] = [];
    for (let at = path; !(await exists(at)) && dirname(at) !== at; at = dirname(at)) missing.push(at);
    const before = new Set(await namesIn(path));
    this.#steps.push(async () => {
      for (const name of await namesIn(path)) if (!before.has(name)) await removeEmpty(join(path, name));
      for (const folder of missing) await rmdir(folder);
    });
  }

  /** Called before the file of a catalog is made. One that is there stays. */
  async expectCatalog(path: string): Promise<void> {
    const folder = dirname(path);
    if (await exists(path)) return;
    // What another catalog has left there, which was moved away, is its own.
    const files: string[] = [];
    for (const suffix of ['', '-wal', '-shm', '-journal'])
      if (!(await exists(path + suffix))) files.push(path + suffix);
    await this.expectFolder(folder);
    this.#steps.push(async () => {
      for (const file of files) await rm(file, { force: true });
    });
  }

  /** Takes back what was noted, the last first. What cannot be taken back stays: the reason for all this is told instead. */
  async undo(): Promise<void> {
    for (const step of this.#steps.toReversed()) {
      try {
        await step();
      } catch {
        // It is in use, or was never made.
      }
    }
  }
}

async function removeEmpty(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeEmpty(join(folder, entry.name));
  }
  await rmdir(folder);
}

/** None where there is no folder, or it cannot be listed: using it says so. */
async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch {
    return false;
  }
}
