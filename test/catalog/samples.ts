import { randomBytes } from 'node:crypto';
import type { Catalog, ChunkRow, FileRow, VaultRow } from '../../src/catalog/catalog.ts';
import { VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';

/** One catalog to be tested, empty and nobody else's. */
export interface CatalogUnderTest {
  /** One more connection to it, as another process would have; the caller closes it. */
  open(): Promise<Catalog>;
  /** Removes the storage. The caller has closed the connections. */
  cleanUp(): Promise<void>;
}

/** Several connections to one catalog, which the test that calls finds empty. */
export interface Connections {
  readonly under: CatalogUnderTest;
  readonly catalog: Catalog;
  readonly other: Catalog;
}

/** Random lower-case hex. */
export function hex(digits: number): string {
  return randomBytes(digits / 2).toString('hex');
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export const VAULT: VaultRow = { id: hex(32), epoch: 1, keyring: bytes('keyring 1'), writer: hex(32) };

/** A chunk whose shards lie in the given buckets; null for a shard that was not seen. Random but for what is given. */
export function chunk(id = hex(64), buckets: readonly (number | null)[] = [1, 2, 3]): ChunkRow {
  return {
    id,
    k: buckets.length - 1,
    m: 1,
    sealing: hex(8),
    sealedSize: 1_048_600,
    shards: buckets.map((bucket) => (bucket === null ? null : { bucket, upload: hex(16) })),
  };
}

/** A file; random but for what is given. */
export function file(given: Partial<FileRow> = {}): FileRow {
  return {
    hash: hex(64),
    writer: hex(32),
    nameTag: nameTag(),
    record: new Uint8Array(randomBytes(50)),
    version: 1,
    createdAtMs: 1_700_000_000_000,
    expiresAtMs: null,
    hiddenAtMs: null,
    ...given,
  };
}

export function nameTag(): Uint8Array {
  return new Uint8Array(randomBytes(32));
}

/** That many of something, each made with its number from 0. */
export function many<T>(count: number, make: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

export function byHash(rows: readonly FileRow[]): FileRow[] {
  return rows.toSorted((a, b) => (a.hash < b.hash ? -1 : 1));
}

export function byId(rows: readonly ChunkRow[]): ChunkRow[] {
  return rows.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** Everything that a catalog says. */
export async function contents(catalog: Catalog) {
  return {
    vault: await catalog.setup.vault(),
    buckets: await catalog.setup.buckets(),
    files: await Array.fromAsync(catalog.files.walk()),
    chunks: await Array.fromAsync(catalog.chunks.walk()),
  };
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
