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

  /** Ends connections. */
  close(): Promise<void>;
}

/**
 * Whether the change must outlive a power cut once the promise has resolved.
 *
 * - `durable`: yes, and with it everything written before it: what makes a file visible, hides it, or says where its shards are
 * - `lazy`: not by itself. Losing an intent or a reference of a pending put leaves only objects
 *   that a sweep finds
 */
export type Durability = 'durable' | 'lazy';

/** Where statements run. Statements started without waiting in between run in the order in which they were started. */
export interface Session {
  run<O>(query: Compilable<O>): Promise<Answer<O>>;
}

export interface Answer<O> {
  readonly rows: readonly O[];
  /** Rows that an insert, update or delete changed. */
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
  /** What ends a `create table` whose rows are found by primary key alone. */
  readonly keyedTable: RawBuilder<unknown>;
  /** The database's clock in milliseconds since 1970. */
  readonly nowMs: RawBuilder<number>;
  /** The next number of the order in which files become visible. */
  readonly nextSeq: RawBuilder<number>;
  /** Makes `nextSeq` go on behind the highest number in use; null where it does so by itself. */
  readonly restartSeq: RawBuilder<unknown> | null;
  /** What `nextSeq` needs, made with the tables. */
  readonly counters: readonly RawBuilder<unknown>[];

  /**
   * Locks the selected rows of one table until the transaction ends, in the order in which they are selected.
   * SQLite has one writer at a time and needs none of it. A transaction that keeps a row, or refers to it, never changes it
   * afterwards: two of them would wait for each other, and CockroachDB refuses it.
   *
   * - `change`: nobody else locks or refers to the row
   * - `keep`: the row does not change
   * - `refer`: the row does not vanish
   */
  lock<T extends keyof Tables, O>(
    query: SelectQueryBuilder<Tables, T, O>,
    table: T,
    strength: 'change' | 'keep' | 'refer',
  ): SelectQueryBuilder<Tables, T, O>;
}
