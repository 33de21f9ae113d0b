import { setTimeout as sleep } from 'node:timers/promises';
import {
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  sql,
} from 'kysely';
import type { Compilable } from 'kysely';
import type { Pool, PoolClient } from 'pg';
import { throwIfAborted, VaultError } from '../errors.ts';
import { rawQuery } from './engine.ts';
import type { Answer, Dialect, Durability, Engine, Session } from './engine.ts';
import { migration, newerSchema, SCHEMA_VERSION } from './migrations.ts';
import {
  failureOf,
  isAborted,
  isMissingTable,
  isWithoutTls,
  isWithoutTransaction,
  translated,
} from './postgres-errors.ts';
import { postgresSettings } from './postgres-settings.ts';
import type { Environment, PostgresSettings } from './postgres-settings.ts';
import type { Tables } from './schema.ts';

/** Connections at most. A put overlaps look-ups and records, and more of them only wait in the server. */
const CONNECTIONS = 4;

/** How long a transaction is repeated while the database does not answer, and while it is being opened. */
const OUTAGE_DEADLINE_MS = 30_000;
const OPEN_DEADLINE_MS = 3_000;

/** Times that a transaction is repeated because other clients were in the way. */
const CONFLICT_ATTEMPTS = 20;

/** `server_version_num` of the oldest server: YugabyteDB still calls itself 11. */
const OLDEST_SERVER = 110_000;

/** OID of int8. Times, sizes and counts stay far below 2^53. */
const INT8 = 20;

/**
 * - `read committed`: everything but the schema. Each statement sees what was committed before it, and row locks do the rest
 * - `serializable`: changes of the schema, which CockroachDB refuses in transactions of any other level
 */
type Isolation = 'read committed' | 'serializable';

/**
 * Begins a transaction. The limits hold until its end, so that nothing is left in a session that a pooler gives to somebody
 * else, and no lock outlives a client that sleeps or died without closing its connection.
 */
function begin(isolation: Isolation): string {
  return `begin isolation level ${isolation};
set local statement_timeout = 60000;
set local lock_timeout = 30000;
set local idle_in_transaction_session_timeout = 60000`;
}

/**
 * Opens a catalog in a Postgres database.
 *
 * @param location see `postgresSettings`
 * @param options `create`: make the schema and the tables if there are none
 * @throws `no-vault` if the database holds no catalog and it is not to be created; `invalid-input` for a malformed URL, no
 *   such database, or a schema of another program; `denied`; `unavailable`; `unsupported`
 */
export async function openPostgres(
  location: string,
  options: {
    readonly create: boolean;
    readonly signal?: AbortSignal | undefined;
    readonly environment?: Environment | undefined;
  },
): Promise<Engine> {
  const settings = await postgresSettings(location, options.environment);
  try {
    return await connected(settings, options);
  } catch (error) {
    if (!settings.plainAllowed || !isWithoutTls(cause(error))) throw error;
    return connected({ ...settings, client: { ...settings.client, ssl: false } }, options);
  }
}

async function connected(
  settings: PostgresSettings,
  options: { readonly create: boolean; readonly signal?: AbortSignal | undefined },
): Promise<Engine> {
  const { Pool: PgPool, TypeOverrides } = (await import('pg')).default;
  const types = new TypeOverrides();
  types.setTypeParser(INT8, Number);
  const pool = new PgPool({ ...settings.client, types, pipeline: true, max: CONNECTIONS });
  // A broken connection is reported by the query that meets it; without a listener it would end the process.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  const engine = new PostgresEngine(settings, pool);
  try {
    await engine.prepare(options);
    return engine;
  } catch (error) {
    await engine.close();
    throw error;
  }
}

function cause(error: unknown): unknown {
  return error instanceof Error ? error.cause : undefined;
}

function postgresDialect(schema: string | null): Dialect {
  const inSchema = (name: string) => sql.id(...(schema === null ? [] : [schema]), name);
  const sequence = schema === null ? '"files_seq"' : `"${schema.replaceAll('"', '""')}"."files_seq"`;
  return {
    bytesType: sql`bytea`,
    keyedTable: sql``,
    nowMs: sql<number>`cast(extract(epoch from clock_timestamp()) * 1000 as bigint)`,
    // A sequence alone gives no order where sessions draw its numbers in advance, as YugabyteDB's do, a hundred at a time.
    // Two that come to the same number meet at the unique index, and one of them tries again.
    nextSeq: sql<number>`greatest(nextval(${sql.lit(sequence)}), (select coalesce(max(seq), 0) + 1 from ${inSchema('files')}))`,
    restartSeq: sql`select setval(${sql.lit(sequence)}, (select coalesce(max(seq), 0) + 1 from ${inSchema('files')}), false)`,
    counters: [sql`create sequence if not exists ${inSchema('files_seq')}`],
    lock(query, table, strength) {
      switch (strength) {
        case 'change':
          return query.forUpdate(table);
        case 'keep':
          return query.forShare(table);
        case 'refer':
          return query.forKeyShare(table);
      }
    },
  };
}

class PostgresEngine implements Engine {
  readonly label: string;
  readonly db: Kysely<Tables>;
  readonly dialect: Dialect;
  readonly #schema: string | null;
  readonly #pool: Pool;
  #outageDeadlineMs = OPEN_DEADLINE_MS;
  /** Whether `begin` has worked on this server, so that statements may be sent right behind it. */
  #beginWorks = false;
  #inUse = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(settings: PostgresSettings, pool: Pool) {
    this.label = settings.label;
    this.#schema = settings.schema;
    this.#pool = pool;
    const db = new Kysely<Tables>({
      dialect: {
        createAdapter: () => new PostgresAdapter(),
        createDriver: () => new DummyDriver(),
        createIntrospector: (kysely) => new PostgresIntrospector(kysely),
        createQueryCompiler: () => new PostgresQueryCompiler(),
      },
    });
    // Every name carries its schema, since a session's search path would not survive a pooler.
    this.db = settings.schema === null ? db : db.withSchema(settings.schema);
    this.dialect = postgresDialect(settings.schema);
  }

  /** Looks for the tables, and makes or upgrades them. */
  async prepare({
    create,
    signal,
  }: {
    readonly create: boolean;
    readonly signal?: AbortSignal | undefined;
  }): Promise<void> {
    const version = await this.#recordedVersion(signal);
    if (version === null && !create) {
      throw new VaultError(
        'no-vault',
        `There is no vault in ${this.label}. \`vault init\` makes one; --db or VAULT_DB names another place.`,
      );
    }
    if (version !== null && version > SCHEMA_VERSION) throw newerSchema(this.label, version);
    if (version !== SCHEMA_VERSION) {
      await this.write('durable', (session) => this.#requireReadCommitted(session));
      await this.#untilDone((client) =>
        this.#transaction(client, 'serializable', (session) => this.#migrate(session)),
      );
    }
    this.#outageDeadlineMs = OUTAGE_DEADLINE_MS;
  }

  read<T>(work: (session: Session) => Promise<T>): Promise<T> {
    return this.#untilDone((client) => work({ run: (query) => run(client, query) }));
  }

  writeOne<T>(_durability: Durability, work: (session: Session) => Promise<T>): Promise<T> {
    return this.read(work);
  }

  write<T>(_durability: Durability, work: (session: Session) => Promise<T>): Promise<T> {
    return this.#untilDone((client) => this.#transaction(client, 'read committed', work));
  }

  close(): Promise<void> {
    return this.#pool.end();
  }

  async #transaction<T>(
    client: PoolClient,
    isolation: Isolation,
    work: (session: Session) => Promise<T>,
  ): Promise<T> {
    let begun: Promise<unknown> | null = client.query(begin(isolation));
    // It is waited for together with the first statement, which is sent right behind it.
    begun.catch(() => undefined);
    let first: unknown = null;
    try {
      if (!this.#beginWorks) await begun;
      this.#beginWorks = true;
      const result = await work({
        run: async (query) => {
          const before = begun;
          begun = null;
          try {
            const [, answer] = await Promise.all([before, run(client, query)]);
            return answer;
          } catch (error) {
            first ??= error;
            throw error;
          }
        },
      });
      const end = await client.query('commit');
      // How the server answers a commit after an error in the transaction.
      if (end.command === 'ROLLBACK') throw new Error('The transaction was rolled back.');
      return result;
    } catch (error) {
      // Of several statements under way the first one failed, and the others because of it.
      const reason = isAborted(error) ? (first ?? error) : error;
      const failure = failureOf(reason);
      if (failure === 'outage') throw reason;
      try {
        await rollback(client);
      } catch (late) {
        // The connection has ended too, which is tried again unless there is a better reason to give up.
        throw failure === 'final' ? reason : late;
      }
      throw reason;
    }
  }

  /** Runs an attempt on a connection, and again after conflicts and outages, within bounds. */
  async #untilDone<T>(attempt: (client: PoolClient) => Promise<T>): Promise<T> {
    let attempts = 0;
    let conflicts = 0;
    let outageSinceMs: number | null = null;
    while (true) {
      try {
        return await this.#onConnection(attempt);
      } catch (error) {
        const failure = failureOf(error);
        if (failure === 'outage') outageSinceMs ??= Date.now();
        const patient =
          failure === 'conflict'
            ? ++conflicts < CONFLICT_ATTEMPTS
            : failure === 'outage' && Date.now() - (outageSinceMs ?? 0) < this.#outageDeadlineMs;
        if (!patient) throw translated(error, this.label);
        attempts++;
        await sleep(Math.min(10 * 2 ** attempts, 200) * (0.5 + Math.random()));
      }
    }
  }

  async #onConnection<T>(attempt: (client: PoolClient) => Promise<T>): Promise<T> {
    // The pool's own queue would count the wait for a free connection as time to connect.
    if (this.#inUse === CONNECTIONS) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#inUse++;
    try {
      const client = await this.#pool.connect();
      try {
        const result = await attempt(client);
        client.release();
        return result;
      } catch (error) {
        // Nobody knows what the connection is still busy with, unless somebody else was in the way.
        client.release(failureOf(error) !== 'conflict');
        throw error;
      }
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#inUse--;
      else next();
    }
  }

  /** The schema version that the database records; null if it holds no catalog. */
  async #recordedVersion(signal: AbortSignal | undefined): Promise<number | null> {
    return this.#untilDone(async (client) => {
      throwIfAborted(signal);
      try {
        const { rows } = await run(client, this.db.selectFrom('vault_schema').select('version'));
        return rows[0]?.version ?? null;
      } catch (error) {
        if (isMissingTable(error)) return null;
        throw error;
      }
    });
  }

  /**
   * YugabyteDB takes read committed for repeatable read unless it is told otherwise, and then misses references that others
   * add while it removes what they refer to (https://github.com/yugabyte/yugabyte-db/issues/26163).
   *
   * @throws `unsupported` on such a server
   */
  async #requireReadCommitted(session: Session): Promise<void> {
    const { rows } = await session.run(
      rawQuery(
        this.db,
        sql<{
          isolation: string | null;
        }>`select current_setting('yb_effective_transaction_isolation_level', true) as isolation`,
      ),
    );
    const isolation = rows[0]?.isolation ?? 'read committed';
    if (isolation === 'read committed') return;
    throw new VaultError(
      'unsupported',
      `The server of ${this.label} runs read committed transactions as ${isolation}. Start YugabyteDB's tservers with --yb_enable_read_committed_isolation=true.`,
    );
  }

  /** Every step is safe to repeat: some servers commit each change of the schema at once, whatever transaction it is in. */
  async #migrate(session: Session): Promise<void> {
    const { db } = this;
    const { rows: servers } = await session.run(
      rawQuery(db, sql<{ server_version_num: string }>`show server_version_num`),
    );
    const server = Number(servers[0]?.server_version_num);
    if (server < OLDEST_SERVER) {
      throw new VaultError(
        'unsupported',
        `The server of ${this.label} is too old (${server}): Postgres ${OLDEST_SERVER / 10_000} or later is needed.`,
      );
    }
    if (this.#schema !== null) await session.run(db.schema.createSchema(this.#schema).ifNotExists());
    await this.#requireOwnSchema(session);
    await session.run(
      db.schema
        .createTable('vault_schema')
        .ifNotExists()
        .addColumn('one', 'integer', (column) => column.primaryKey().check(sql`one = 1`))
        .addColumn('version', 'integer', (column) => column.notNull()),
    );
    await session.run(
      db
        .insertInto('vault_schema')
        .values({ one: 1, version: 0 })
        .onConflict((conflict) => conflict.column('one').doNothing()),
    );
    // Another machine that upgrades at the same time waits here, and then finds nothing left to do.
    const { rows } = await session.run(db.selectFrom('vault_schema').select('version').forUpdate());
    const from = rows[0]?.version ?? 0;
    if (from > SCHEMA_VERSION) throw newerSchema(this.label, from);
    for (const statement of migration(this, from)) await session.run(statement);
    await session.run(db.updateTable('vault_schema').set({ version: SCHEMA_VERSION }));
  }

  /** @throws `invalid-input` if the schema has another program's tables, which could have the same names */
  async #requireOwnSchema(session: Session): Promise<void> {
    const where = this.#schema === null ? sql`current_schema()` : sql.lit(this.#schema);
    const { rows } = await session.run(
      rawQuery(
        this.db,
        sql<{
          table_name: string;
        }>`select table_name from information_schema.tables where table_schema = ${where}`,
      ),
    );
    const names = rows.map((row) => row.table_name);
    if (names.length === 0 || names.includes('vault_schema')) return;
    throw new VaultError(
      'invalid-input',
      `${this.label} holds the tables of another program (${names.slice(0, 3).join(', ')}). Name a schema of the vault's own: ?schema=vault`,
    );
  }
}

async function rollback(client: PoolClient): Promise<void> {
  try {
    await client.query('rollback');
  } catch (error) {
    if (!isWithoutTransaction(error)) throw error;
  }
}

async function run<O>(client: PoolClient, compilable: Compilable<O>): Promise<Answer<O>> {
  const { sql: text, parameters } = compilable.compile();
  const { rows, rowCount } = await client.query<O & Record<string, unknown>>(text, [...parameters]);
  return { rows, affected: rowCount ?? 0 };
}
