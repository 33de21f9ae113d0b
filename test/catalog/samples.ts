import { randomBytes } from 'node:crypto';
import type { Catalog, ChunkRow, GarbageRow, NewFileRow, ShardPlace } from '../../src/catalog/catalog.ts';
import { VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';

/** One catalog to be tested, empty and nobody else's. */
export interface CatalogUnderTest {
  /** One more connection to it, as another process would have; the caller closes it. */
  open(): Promise<Catalog>;
  /** Removes the storage. The caller has closed the connections. */
  cleanUp(): Promise<void>;
}

export const VAULT = { id: hex(32), settings: Buffer.from('settings') };

/** Random lower-case hex. */
export function hex(digits: number): string {
  return randomBytes(digits / 2).toString('hex');
}

/** A chunk whose shards carry the generation and lie in the given buckets; null for a shard that is not stored. */
export function chunk(
  id: string,
  generation: string,
  buckets: readonly (number | null)[] = [1, 2, 3],
  k = buckets.length - 1,
): ChunkRow {
  return {
    id,
    k,
    m: buckets.length - k,
    sealedSize: 1_048_600,
    shards: buckets.map((bucket) => (bucket === null ? null : { bucket, generation })),
  };
}

/** A file to commit; a random hash and name unless given. */
export function file(given: Partial<NewFileRow> = {}): NewFileRow {
  return {
    hash: hex(64),
    nameTag: new Uint8Array(randomBytes(32)),
    record: new Uint8Array(randomBytes(50)),
    createdAtMs: 1_700_000_000_000,
    expiresAtMs: null,
    ...given,
  };
}

/** Goes the whole way of a put. @returns its generation */
export async function store(catalog: Catalog, row: NewFileRow, ids: readonly string[] = []): Promise<string> {
  const generation = hex(16);
  await catalog.beginPut({ generation, owner: 'test' });
  const known = await catalog.claimChunks(generation, ids);
  const fresh = ids.filter((id) => !known.has(id));
  await catalog.recordChunks(
    generation,
    fresh.map((id) => chunk(id, generation)),
  );
  await catalog.announceManifest(generation, row.hash);
  await catalog.commitPut(generation, row);
  return generation;
}

/** How an operation ended: its error's code, or `success`. An error that is no VaultError is thrown on. */
export async function codeOf(operation: Promise<unknown>): Promise<ErrorCode | 'success'> {
  try {
    await operation;
    return 'success';
  } catch (error) {
    if (error instanceof VaultError) return error.code;
    throw error;
  }
}

/** A place for sets: one string for one object. A manifest has no generation; its debts have. */
export function objectKey(
  row: Pick<GarbageRow, 'kind' | 'id' | 'k' | 'm'>,
  index: number,
  place: ShardPlace,
): string {
  const generation = row.kind === 'manifest' ? '' : place.generation;
  return `${row.kind} ${row.id} ${index}of${row.k}+${row.m} ${place.bucket} ${generation}`;
}

/** The objects that a chunk's row names. */
export function objectsOf(row: ChunkRow): string[] {
  return row.shards.flatMap((place, index) =>
    place === null ? [] : [objectKey({ kind: 'chunk', ...row }, index, place)],
  );
}

/** The objects whose removal is owed, each once, sorted. */
export async function owedObjects(catalog: Catalog): Promise<string[]> {
  const keys = new Set<string>();
  for await (const row of catalog.garbage()) {
    for (const place of row.places) keys.add(objectKey(row, place.index, place));
  }
  return [...keys].toSorted();
}

/** The ids of all recorded chunks, in the order of the listing. */
export async function chunkIds(catalog: Catalog): Promise<string[]> {
  const rows = await Array.fromAsync(catalog.listChunks());
  return rows.map((row) => row.id);
}
