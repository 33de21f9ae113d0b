import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MARKER_NAME } from '../../src/format/marker.ts';
import type { Session } from '../../src/vault/session.ts';
import { discrepancies } from '../vault/harness.ts';

/** Folders that a vault has in a bucket. */
export const VAULT_FOLDERS = ['chunks', 'deleted', 'keyring', 'manifests', 'puts', 'sweep'] as const;
/** What a folder as a bucket keeps beside its objects: what is being written, and for an hour what killed puts left. */
const UNFINISHED = 'unfinished~';

/**
 * What does not add up between a catalog and its folder buckets, as `discrepancies` tells it, and what lies in them that is none
 * of a vault's. Lists of removal that are done stay for days, and are no discrepancy.
 *
 * @param paths the folders, in the order of their numbers in the catalog
 */
export async function folderDiscrepancies(
  session: Pick<Session, 'catalog' | 'keys'>,
  paths: readonly string[],
): Promise<readonly string[]> {
  const buckets = await Promise.all(
    paths.map(async (path) => ({
      url: pathToFileURL(path).href,
      storage: await objectsIn(path),
      wrap: <T>(bucket: T): T => bucket,
    })),
  );
  const foreign = await Promise.all(paths.map(foreignIn));
  return [...(await discrepancies(session, buckets)), ...foreign.flat()];
}

async function objectsIn(path: string): Promise<Map<string, Uint8Array>> {
  const objects = new Map<string, Uint8Array>();
  for (const folder of ['chunks', 'manifests', 'puts']) {
    for (const name of await namesIn(join(path, folder))) {
      objects.set(`${folder}/${name}`, await readFile(join(path, folder, name)));
    }
  }
  return objects;
}

async function foreignIn(path: string): Promise<string[]> {
  const known = new Set<string>([MARKER_NAME, UNFINISHED, ...VAULT_FOLDERS]);
  const names = await namesIn(path);
  return names
    .filter((name) => !known.has(name))
    .map((name) => `${path} has ${name}, which is none of the vault's`);
}

/** The names in a folder; none if it has not been made yet. */
export async function namesIn(path: string): Promise<string[]> {
  return readdir(path).catch(() => []);
}
