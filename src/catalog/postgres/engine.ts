import {
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  sql,
} from 'kysely';
import type { Clock, Environment } from '../../host.ts';
import type { Dialect, Durability, Engine, Session } from '../sql/engine.ts';
import { PostgresConnections } from './connections.ts';
import { isWithoutTls } from './errors.ts';
import { prepareTables } from './schema.ts';
import { postgresSettings, type PostgresSettings } from './settings.ts';
import type { Tables } from '../sql/schema.ts';
import { changesOfNothing } from './writable.ts';

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
    readonly clock: Clock;
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
  options: { readonly create: boolean; readonly signal?: AbortSignal | undefined; readonly clock: Clock },
): Promise<Engine> {
  const connections = await PostgresConnections.to(settings, options.clock);
  const engine = new PostgresEngine(settings, connections);
  try {
    await prepareTables({ engine, connections, schema: settings.schema }, options);
    connections.beReady();
    return engine;
  } catch (error) {
    await engine.close();
    throw error;
  }
}

function cause(error: unknown): unknown {
  return error instanceof Error ? error.cause : undefined;
}

const DIALECT: Dialect = {
  bytesType: sql`bytea`,
  keyedTable: sql``,
  lock: (query) => query.forUpdate(),
};

class PostgresEngine implements Engine {
  readonly label: string;
  readonly db: Kysely<Tables>;
  readonly dialect = DIALECT;
  readonly #connections: PostgresConnections;

  constructor({ label, schema }: PostgresSettings, connections: PostgresConnections) {
    this.label = label;
    this.#connections = connections;
    const db = new Kysely<Tables>({
      dialect: {
        createAdapter: () => new PostgresAdapter(),
        createDriver: () => new DummyDriver(),
        createIntrospector: (kysely) => new PostgresIntrospector(kysely),
        createQueryCompiler: () => new PostgresQueryCompiler(),
      },
    });
    // Every name carries its schema, since a session's search path would not survive a pooler.
    this.db = schema === null ? db : db.withSchema(schema);
  }

  read<T>(work: (session: Session) => Promise<T>): Promise<T> {
    return this.#connections.run(work);
  }

  writeOne<T>(durability: Durability, work: (session: Session) => Promise<T>): Promise<T> {
    // What is to be durable says so in a transaction of its own.
    return durability === 'lazy' ? this.#connections.change(work) : this.write(durability, work);
  }

  write<T>(durability: Durability, work: (session: Session) => Promise<T>): Promise<T> {
    return this.#connections.transaction({ isolation: 'read committed', durability }, work);
  }

  async requireWritable({ onlyNew = false }: { readonly onlyNew?: boolean } = {}): Promise<void> {
    await this.#connections.change((session) =>
      Promise.all(changesOfNothing(this.db, onlyNew).map((query) => session.run(query))),
    );
  }

  close(): Promise<void> {
    return this.#connections.close();
  }
}
