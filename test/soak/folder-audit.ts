import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { discrepancies } from '../vault/harness.ts';

/**
 * What does not add up between a catalog and its folder buckets, as `discrepancies` tells it. What unfinished
 * puts have left may stay for an hour.
 *
 * @param paths the folders, in the order of their numbers in the catalog
 */
export async function folderDiscrepancies(
  catalog: Catalog,
  paths: readonly string[],
): Promise<readonly string[]> {
  const buckets = await Promise.all(
    paths.map(async (path) => ({
      url: pathToFileURL(path).href,
      storage: await objectsIn(path),
      wrap: <T>(bucket: T): T => bucket,
    })),
  );
  return await discrepancies(catalog, buckets);
}

async function objectsIn(path: string): Promise<Map<string, Uint8Array>> {
  const objects = new Map<string, Uint8Array>();
  for (const folder of ['chunks', 'manifests']) {
    for (const name of await namesIn(join(path, folder))) {
      objects.set(`${folder}/${name}`, await readFile(join(path, folder, name)));
    }
  }
  return objects;
}

/** The names in a folder; none if it has not been made yet. */
export async function namesIn(path: string): Promise<string[]> {
  return readdir(path).catch(() => []);
}
