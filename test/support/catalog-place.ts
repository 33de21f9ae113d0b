/** The database that a test's catalogs are in: SQLite, or Postgres if the environment asks for it. */
import { readFile, writeFile } from 'node:fs/promises';
import Sqlite from 'better-sqlite3';
import { temporaryFolder } from './temporary-folder.ts';

/** Set by the project of vitest that runs suites of vault and command once more. */
export const DATABASE = process.env['TEST_CATALOG'] === 'postgres' ? 'postgres' : 'sqlite';

/**
 * From one call that a test lets fail, or lets something come between, to the next. In SQLite that is every call. In Postgres,
 * where each try takes longer, it is every third; tests of several ways of failing begin each at another call.
 */
export const CALL_STRIDE = DATABASE === 'postgres' ? 3 : 1;

/** A place for one catalog, removed with all that is in it at the end of the block: `await using`. */
export interface CatalogPlace extends AsyncDisposable {
  /** For `openCatalog`; nothing is made there yet. */
  readonly location: string;
}

export async function catalogPlace(): Promise<CatalogPlace> {
  return DATABASE === 'postgres' ? schemaPlace() : filePlace();
}

/**
 * Keeps a catalog's state.
 *
 * @param location a catalog that nobody changes meanwhile
 * @returns makes a catalog with that state in a place of its own, again and again
 */
export async function frozenCatalog(location: string): Promise<() => Promise<CatalogPlace>> {
  if (DATABASE === 'postgres') {
    // The server, and with it this schema, goes at the end of the run.
    const frozen = await schemaPlace();
    await cloneSchema(location, frozen.location);
    return async () => {
      const place = await schemaPlace();
      await cloneSchema(frozen.location, place.location);
      return place;
    };
  }
  const database = new Sqlite(location);
  database.pragma('wal_checkpoint(TRUNCATE)');
  database.close();
  const file = await readFile(location);
  return async () => {
    const place = await filePlace();
    await writeFile(place.location, file);
    return place;
  };
}

/** Changes a catalog behind the back of who has it open. */
export async function changeCatalog(location: string, statement: string): Promise<void> {
  if (DATABASE === 'postgres') {
    const { runSql } = await import('./postgres.ts');
    await runSql(location, `set search_path to ${schemaOf(location)}; ${statement}`);
    return;
  }
  const database = new Sqlite(location);
  database.exec(statement);
  database.close();
}

async function filePlace(): Promise<CatalogPlace> {
  const folder = await temporaryFolder();
  return {
    location: folder.at('catalog.db'),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

async function schemaPlace(): Promise<CatalogPlace> {
  const { freshPostgres } = await import('./postgres.ts');
  const fresh = await freshPostgres();
  return { location: fresh.url, [Symbol.asyncDispose]: () => fresh.drop() };
}

/**
 * Makes a schema with the tables and rows of another, in one round trip and by what the server knows of them, so that it
 * stays true of later tables.
 */
async function cloneSchema(from: string, to: string): Promise<void> {
  const { runSql } = await import('./postgres.ts');
  await runSql(
    from,
    `create schema ${schemaOf(to)};
set search_path to ${schemaOf(to)};
do $$
declare
  source constant text := '${schemaOf(from)}';
  one record;
begin
  for one in select tablename as name from pg_tables where schemaname = source loop
    execute format('create table %I (like %I.%I including all)', one.name, source, one.name);
    execute format('insert into %I select * from %I.%I', one.name, source, one.name);
  end loop;
  -- Those are not part of "all".
  for one in
    select c.relname as name, k.conname as key, replace(pg_get_constraintdef(k.oid), source || '.', '') as definition
    from pg_constraint k join pg_class c on c.oid = k.conrelid
    where k.contype = 'f' and k.connamespace = source::regnamespace
  loop
    execute format('alter table %I add constraint %I %s', one.name, one.key, one.definition);
  end loop;
  for one in select sequencename as name from pg_sequences where schemaname = source loop
    execute format('create sequence %I', one.name);
    execute format('select setval(%L, last_value, is_called) from %I.%I', one.name, source, one.name);
  end loop;
end $$`,
  );
}

function schemaOf(location: string): string {
  const schema = new URL(location).searchParams.get('schema');
  if (schema === null) throw new RangeError(`A test's catalog has a schema of its own, unlike ${location}`);
  return schema;
}
