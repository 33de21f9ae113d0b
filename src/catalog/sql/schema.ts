/**
 * The catalog's tables. Identifiers are stored as bytes (the interface speaks hex), times as milliseconds
 * since 1970. `migrations.ts` creates them; both databases have the same tables, columns and indexes.
 */
export interface Tables {
  /** One row. Postgres only: an SQLite file has a place for its version in the header. */
  vault_schema: { one: number; version: number };
  /** One row, once the catalog describes a vault. */
  vault: { one: number; id: Uint8Array; epoch: number; keyring: Uint8Array; writer: Uint8Array };
  /** `key` is kept as bytes, which every database orders alike. */
  notes: { key: Uint8Array; value: Uint8Array };
  /** A removed bucket stays as a row without id and record, so that its number is never given again. */
  buckets: { number: number; id: Uint8Array | null; record: Uint8Array | null };
  files: {
    hash: Uint8Array;
    writer: Uint8Array;
    name_tag: Uint8Array;
    record: Uint8Array;
    version: number;
    created_at: number;
    expires_at: number | null;
    hidden_at: number | null;
  };
  /** `shards`: k + m packed places by shard index, see `encoding.ts`. */
  chunks: {
    id: Uint8Array;
    k: number;
    m: number;
    sealing: Uint8Array;
    sealed_size: number;
    shards: Uint8Array;
  };
  grants: { id: Uint8Array; kind: number; record: Uint8Array; expires_at: number | null; uses: number };
}

export type TableName = Exclude<keyof Tables, 'vault_schema'>;

/** All tables of a vault. The vault itself comes last: a copy that was broken off before its row describes no vault. */
export const TABLE_NAMES: readonly TableName[] = ['notes', 'buckets', 'files', 'chunks', 'grants', 'vault'];
