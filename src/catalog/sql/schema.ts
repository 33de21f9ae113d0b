import type { ColumnType } from 'kysely';

/**
 * The catalog's tables. Identifiers are stored as bytes (the interface speaks hex), times as milliseconds
 * since 1970. `migrations.ts` creates them; both databases have the same tables, columns and indexes.
 */
export interface Tables {
  /** One row. Postgres only: an SQLite file has a place for its version in the header. */
  vault_schema: { one: number; version: number };
  /** One row, once the catalog describes a vault. */
  vault: { one: number; id: Uint8Array; settings: Uint8Array };
  keyslots: { id: Uint8Array; body: Uint8Array };
  /** A removed bucket stays as a row without id, state and record, so that its number is never given again. */
  buckets: { number: number; id: Uint8Array | null; state: string | null; record: Uint8Array | null };
  /**
   * Visible files and puts. A row starts as a pending put, and `state` tells what became of it; the columns
   * from `hash` to `seq` are set when it becomes visible.
   */
  files: {
    generation: Uint8Array;
    state: FileState;
    owner: string;
    /** Last sign of life of the put, by the database's clock. */
    renewed_at: number;
    /** Hash of the manifest that the put may have uploaded. */
    announced: ColumnType<Uint8Array | null, Uint8Array | undefined, Uint8Array>;
    hash: ColumnType<Uint8Array | null, undefined, Uint8Array>;
    name_tag: ColumnType<Uint8Array | null, undefined, Uint8Array>;
    record: ColumnType<Uint8Array | null, undefined, Uint8Array>;
    created_at: ColumnType<number | null, undefined, number>;
    expires_at: ColumnType<number | null, undefined, number | null>;
    /** Order of commits: the newest file has the highest. Null as long as the file is not visible. */
    seq: ColumnType<number | null, undefined, number>;
  };
  /** Which file, visible or pending, keeps which chunk alive. */
  refs: { file: Uint8Array; chunk: Uint8Array };
  /** `shards`: k + m packed places by shard index, see `encoding.ts`. */
  chunks: { id: Uint8Array; k: number; m: number; sealed_size: number; shards: Uint8Array };
  /** `places`: packed like `shards`. A manifest's are a plain list. */
  garbage: { id: Uint8Array; kind: GarbageKind; k: number; m: number; places: Uint8Array };
  /** `name` is kept as bytes, which every database orders alike. */
  strays: { bucket: number; name: Uint8Array; seen_at: number };
}

/** What a row of `files` is. */
export const PENDING = 0;
export const VISIBLE = 1;
export const DEAD = 2;
export type FileState = typeof PENDING | typeof VISIBLE | typeof DEAD;

/** What a row of `garbage` is about. */
export const CHUNK_GARBAGE = 0;
export const MANIFEST_GARBAGE = 1;
export type GarbageKind = typeof CHUNK_GARBAGE | typeof MANIFEST_GARBAGE;

export type TableName = Exclude<keyof Tables, 'vault_schema'>;

/**
 * All tables of a vault, each after those that it refers to. The vault itself comes last: a copy that was broken off
 * before its row describes no vault.
 */
export const TABLE_NAMES: readonly TableName[] = [
  'keyslots',
  'buckets',
  'files',
  'chunks',
  'refs',
  'garbage',
  'strays',
  'vault',
];
