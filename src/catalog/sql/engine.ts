import type { Compilable, Kysely, RawBuilder, SelectQueryBuilder } from 'kysely';
import type { Tables } from './schema.ts';

/**
 * What the catalog needs of a database: somebody to write its SQL, and somebody to run it. Kysely is the one
 * that writes; it never holds a connection, so that a driver decides alone about connections, transactions,
 * durability and what is tried again.
 */
export interface Engine {
  /** Path or URL, without any secret. */
  readonly label: string;

  /** Builds queries in this database's dialect. Nothing runs until a session is given the query. */
  readonly db: Kysely<Tables>;

  readonly dialect: Dialect;

  /**
   * Runs reading statements. Each statement sees one state of the database; two statements may see two.
   *
   * @param work is run again from its start when the database could not answer for the moment
   * @throws VaultError, see the contract of the catalog
   */
  read<T>(work: (session: Session) => Promise<T>): Promise<T>;

  /**
   * Runs one writing statement, which is its own transaction, and statements that read before or after it.
   *
   * @param durability see `Durability`
   * @param work as for `read`
   */
  writeOne<T>(durability: Durability, work: (session: Session) => Promise<T>): Promise<T>;

  /**
   * Runs statements as one transaction.
   *
   * @param durability see `Durability`
   * @param work must be repeatable: it is run again from its start after a conflict with another client, and also
   *   when the answer to the commit was lost, which may have succeeded
   */
  write<T>(durability: Durability, work: (session: Session) => Promise<T>): Promise<T>;

  /** See `Catalog.requireWritable`. */
  requireWritable(options?: { readonly onlyNew?: boolean }): Promise<void>;

  close(): Promise<void>;
}

/**
 * Whether the change must outlive a power cut once the promise has resolved.
 *
 * - `durable`: yes, and with it everything written before it: files, and what describes the vault
 * - `lazy`: not by itself: where shards were seen, which a listing tells again. What was written before a file is as
 *   durable as the file
 */
export type Durability = 'durable' | 'lazy';

/** Where statements run. Statements started without waiting in between run in the order in which they were started. */
export interface Session {
  run<O>(query: Compilable<O>): Promise<Answer<O>>;
}

export interface Answer<O> {
  readonly rows: readonly O[];
  readonly affected: number;
}

/** SQL that the query builder has no words for, as a query. */
export function rawQuery<O>(db: Kysely<Tables>, text: RawBuilder<O>): Compilable<O> {
  return { compile: () => text.compile(db) };
}

/** The differences between the databases that the one implementation has to know. */
export interface Dialect {
  /** Type of a column of bytes. */
  readonly bytesType: RawBuilder<unknown>;
  /** What ends a `create table` whose rows are small and found by primary key alone. */
  readonly keyedTable: RawBuilder<unknown>;

  /**
   * Locks the selected rows of one table against changes until the transaction ends, in the order in which they are
   * selected. SQLite has one writer at a time and needs none of it.
   */
  lock<T extends keyof Tables, O>(query: SelectQueryBuilder<Tables, T, O>): SelectQueryBuilder<Tables, T, O>;
}
