import { sql } from 'kysely';
import { invalidInput, throwIfAborted, VaultError } from '../../errors.ts';
import { rawQuery, type Engine, type Session } from '../sql/engine.ts';
import { migration, requireKnownSchema, SCHEMA_VERSION } from '../sql/migrations.ts';
import { TABLE_NAMES } from '../sql/schema.ts';
import type { PostgresConnections } from './connections.ts';
import { isMissingTable } from './errors.ts';

/** `server_version_num` of the oldest server: YugabyteDB still calls itself 11. */
const OLDEST_SERVER = 110_000;

/** The database whose tables are to be prepared. */
export interface Preparing {
  readonly engine: Pick<Engine, 'label' | 'db' | 'dialect'>;
  readonly connections: PostgresConnections;
  /** Schema of the tables; null for the one that the session's search path leads to. */
  readonly schema: string | null;
}

/**
 * Looks for the catalog's tables, and makes or upgrades them.
 *
 * @param options `create`: make them if there are none
 * @throws as `openPostgres`
 */
export async function prepareTables(
  database: Preparing,
  { create, signal }: { readonly create: boolean; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const { connections, engine } = database;
  const version = await recordedVersion(database, signal);
  if (version === null && !create) {
    throw new VaultError(
      'no-vault',
      `There is no vault in ${engine.label}. "vault init" makes one; --db or VAULT_DB names another place.`,
    );
  }
  if (version !== null) requireKnownSchema(engine.label, version);
  const isWhole = !create || version === null || !(await lacksTables(database));
  if (version === SCHEMA_VERSION && isWhole) return;
  await connections.transaction({ isolation: 'serializable', durability: 'durable' }, (session) =>
    migrate(database, session, isWhole),
  );
}

/** Whether somebody has dropped one of the catalog's tables. */
async function lacksTables(database: Preparing): Promise<boolean> {
  const names = await database.connections.run((session) => tableNames(database, session));
  // Elsewhere on the search path they are nobody's to complete.
  return names.includes('vault_schema') && !TABLE_NAMES.every((name) => names.includes(name));
}

/** The schema version that the database records; null if it holds no catalog. */
async function recordedVersion(
  { engine, connections }: Preparing,
  signal: AbortSignal | undefined,
): Promise<number | null> {
  return connections.run(async (session) => {
    throwIfAborted(signal);
    try {
      const { rows } = await session.run(engine.db.selectFrom('vault_schema').select('version'));
      return rows[0]?.version ?? null;
    } catch (error) {
      if (isMissingTable(error)) return null;
      throw error;
    }
  });
}

/**
 * Every step is safe to repeat: some servers commit each change of the schema at once, whatever transaction it is in.
 *
 * @param isWhole whether what the recorded version promises is there; else all steps are made
 */
async function migrate(database: Preparing, session: Session, isWhole: boolean): Promise<void> {
  const { engine, schema } = database;
  const { db, label } = engine;
  const { rows: servers } = await session.run(
    rawQuery(db, sql<{ server_version_num: string }>`show server_version_num`),
  );
  const server = Number(servers[0]?.server_version_num);
  if (server < OLDEST_SERVER) {
    throw new VaultError(
      'denied',
      `The server of ${label} is too old (${server}): Postgres ${OLDEST_SERVER / 10_000} or later is needed.`,
    );
  }
  if (schema !== null) await session.run(db.schema.createSchema(schema).ifNotExists());
  await requireOwnSchema(database, session);
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
  requireKnownSchema(label, from);
  for (const statement of migration(engine, isWhole ? from : 0)) await session.run(statement);
  await session.run(db.updateTable('vault_schema').set({ version: SCHEMA_VERSION }));
}

/** @throws `invalid-input` if the schema has another program's tables, which could have the same names */
async function requireOwnSchema(database: Preparing, session: Session): Promise<void> {
  const names = await tableNames(database, session);
  if (names.length === 0 || names.includes('vault_schema')) return;
  throw invalidInput(
    `${database.engine.label} holds the tables of another program (${names.slice(0, 3).join(', ')}). Name a schema of the vault's own: ?schema=vault`,
  );
}

async function tableNames({ engine, schema }: Preparing, session: Session): Promise<readonly string[]> {
  const where = schema === null ? sql`current_schema()` : sql.lit(schema);
  // The information schema leaves out what this user has no right to.
  const { rows } = await session.run(
    rawQuery(
      engine.db,
      sql<{
        table_name: string;
      }>`select c.relname as table_name from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname = ${where} and c.relkind in ('r', 'p', 'v', 'm', 'f')`,
    ),
  );
  return rows.map((row) => row.table_name);
}
