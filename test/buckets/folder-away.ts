// A bucket's folder that is not where it was for a moment.
import { renameSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createFolder } from '../../src/buckets/folder/driver.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';

/** Makes a bucket's folder of 600 objects, so many that a listing takes several goes. @returns their names, in order */
export async function manyObjects(folder: TemporaryFolder, content: Uint8Array): Promise<readonly string[]> {
  await createFolder(folder.at('bucket/chunks'));
  const names = Array.from({ length: 600 }, (_, i) => `chunks/${String(i).padStart(3, '0')}`);
  for (const name of names) await writeFile(folder.at('bucket', name), content);
  return names;
}

/** Has something asked for while the folder is away, and answered in a process that sleeps until it is back. */
export async function whileAway<T>(folder: TemporaryFolder, ask: () => Promise<T>): Promise<T> {
  renameSync(folder.at('bucket'), folder.at('away'));
  const answer = ask();
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  renameSync(folder.at('away'), folder.at('bucket'));
  return answer;
}
