import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { catalogRows } from '../support/catalog-place.ts';
import type { Sandbox } from './run.ts';

/** Everything there is of a vault: each row of the catalog, and each byte of the buckets. */
export async function fingerprintOf(box: Sandbox): Promise<unknown> {
  const objects: Record<string, string> = {};
  for (const number of [1, 2, 3, 4]) {
    for (const entry of await readdir(box.bucket(number), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      objects[path] = (await readFile(path)).toString('base64');
    }
  }
  return { objects, rows: await catalogRows(box.db) };
}
