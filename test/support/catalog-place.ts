/** The database that a test's catalogs are in: SQLite, or Postgres if the environment asks for it. */
import { readFile, writeFile } from 'node:fs/promises';
import Sqlite from 'better-sqlite3';
import { systemCode } from '../../src/errors.ts';
import { temporaryFolder } from './temporary-folder.ts';

/** Set by the project of vitest that runs suites of vault and command once more. */
export const DATABASE = process.env['TEST_CATALOG'] === 'postgres' ? 'postgres' : 'sqlite';

/** Each try takes long in Postgres; and `npm run mutants` makes all of them again and again. */
const IS_SLOW = DATABASE === 'postgres' || process.env['MUTANTS_ROOM'] !== undefined;

/** Whether to try everything, which takes an hour: `npm run test:every`. */
export const THOROUGH = process.env['EVERY_CALL'] !== undefined;

const SLOW_STRIDE = THOROUGH ? 6 : 12;

/**
 * From one call that a test lets fail to the next. That is every sixth call, every one with `npm run test:every`, or fewer where tries
 * are slow. Tests of several ways of failing begin each at another call and leave out no more than there are ways, so that each
 * call fails in one of them.
 *
 * @param ways of failing, each of which is tried
 */
export function callStride(ways: number): number {
  return IS_SLOW ? SLOW_STRIDE : THOROUGH ? 1 : Math.min(ways, 6);
}

/** The same where there is one way alone: what is cut short, or has something come between, is so at every fifth call. */
export const CUT_STRIDE = THOROUGH ? 1 : IS_SLOW ? 6 : 5;

/** Those of many cases to try out: all, or some where tries are slow. */
export function sampled<T>(cases: readonly T[]): readonly T[] {
  return IS_SLOW ? cases.filter((_, i) => i % SLOW_STRIDE === 0) : cases;
}

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
  return DATABASE === 'postgres' ? frozenSchema(location) : frozenFile(location);
}

/** Keeps the rows of a catalog in Postgres. @returns gives it those again */
export async function keptSchema(location: string): Promise<() => Promise<void>> {
  const kept = await schemaPlace();
  await cloneTables(location, kept.location);
  return () => copyRows(kept.location, location);
}

/**
 * A place for the catalog of an SQLite file.
 *
 * @param file it may be changed, and must stay as long as the place is used
 */
export async function placeOfFile(file: string): Promise<CatalogPlace> {
  if (DATABASE === 'sqlite') return { location: file, [Symbol.asyncDispose]: () => Promise.resolve() };
  const place = await schemaPlace();
  const { copyCatalog } = await import('../../src/catalog/copy.ts');
  await copyCatalog(file, place.location);
  return place;
}

/** What one column of a row may hold. */
export type CatalogValue = Uint8Array | string | number | null;
export type CatalogRow = Readonly<Record<string, CatalogValue>>;

/** Every row of every table of a catalog by the table's name, as whoever has the database sees them. */
export async function catalogRows(location: string): Promise<ReadonlyMap<string, readonly CatalogRow[]>> {
  const rows = new Map<string, readonly CatalogRow[]>();
  for (const table of await tableNames(location)) {
    rows.set(table, (await query(location, `select * from "${table}"`)).map(catalogRow));
  }
  return rows;
}

/** The files in which the database keeps a catalog: with what is in no row any more, in free pages, logs and indexes. */
export async function catalogFiles(location: string): Promise<ReadonlyMap<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  if (DATABASE === 'postgres') {
    // Tables, indexes, and what is kept beside the tables because it is large.
    const found = await query(
      location,
      `checkpoint;
with tables as (select oid, reltoastrelid from pg_class where relnamespace = '${schemaOf(location)}'::regnamespace)
select c.relname as name, pg_read_binary_file(pg_relation_filepath(c.oid)) as bytes
from pg_class c left join pg_index i on i.indexrelid = c.oid
where c.relfilenode <> 0 and (
  c.oid in (select oid from tables) or c.oid in (select reltoastrelid from tables)
  or i.indrelid in (select reltoastrelid from tables)
)`,
    );
    for (const { name, bytes } of found) {
      if (!(bytes instanceof Uint8Array))
        throw new RangeError(`The server does not show the file of ${String(name)}.`);
      files.set(String(name), bytes);
    }
    return files;
  }
  for (const suffix of ['', '-wal']) {
    files.set(`file${suffix}`, await readFile(location + suffix).catch(() => new Uint8Array(0)));
  }
  return files;
}

/**
 * Changes a catalog behind the back of who has it open.
 *
 * @param statement SQL that both databases understand, with values as `literal` writes them
 * @throws an error that `isForbidden` knows if a rule of the database is against it
 */
export async function changeCatalog(location: string, statement: string): Promise<void> {
  if (DATABASE === 'postgres') {
    await query(location, statement);
    return;
  }
  using database = openFile(location);
  database.sqlite.exec(statement);
}

/** Whether the database has refused a change, since a column's type or a constraint is against it. */
export function isForbidden(error: unknown): boolean {
  if (DATABASE === 'sqlite') {
    return error instanceof Sqlite.SqliteError && /^SQLITE_(CONSTRAINT|MISMATCH)/.test(error.code);
  }
  // Constraint violations, numbers out of a type's range, values of another type.
  return /^(23|22003|42804)/.test(systemCode(error) ?? '');
}

/** A value as both databases read it in a statement. */
export function literal(value: CatalogValue): string {
  if (value === null) return 'null';
  if (typeof value === 'number') return String(value);
  if (typeof value === 'string') return `'${value.replaceAll("'", "''")}'`;
  const hex = Buffer.from(value).toString('hex');
  return DATABASE === 'postgres' ? `'\\x${hex}'::bytea` : `x'${hex}'`;
}

/** Runs SQL on a catalog. @returns the rows of the last statement */
async function query(
  location: string,
  statement: string,
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  if (DATABASE === 'postgres') {
    const { runShared } = await import('./postgres.ts');
    return runShared(`set local search_path to ${schemaOf(location)}; ${statement}`);
  }
  using database = openFile(location);
  return database.sqlite.prepare<[], Record<string, unknown>>(statement).all();
}

async function tableNames(location: string): Promise<readonly string[]> {
  const found = await query(
    location,
    DATABASE === 'postgres'
      ? `select tablename as name from pg_tables where schemaname = '${schemaOf(location)}'`
      : "select name from sqlite_master where type = 'table'",
  );
  return found.map(({ name }) => String(name));
}

function catalogRow(row: Readonly<Record<string, unknown>>): CatalogRow {
  return Object.fromEntries(
    Object.entries(row).map(([column, value]) => {
      const isKnown =
        value === null ||
        typeof value === 'string' ||
        typeof value === 'number' ||
        value instanceof Uint8Array;
      if (!isKnown) throw new RangeError(`The tests know no values like that of ${column}.`);
      return [column, value];
    }),
  );
}

function openFile(location: string): Disposable & { readonly sqlite: Sqlite.Database } {
  const sqlite = new Sqlite(location);
  return { sqlite, [Symbol.dispose]: () => void sqlite.close() };
}

async function frozenFile(location: string): Promise<() => Promise<CatalogPlace>> {
  using database = openFile(location);
  database.sqlite.pragma('wal_checkpoint(TRUNCATE)');
  const file = await readFile(location);
  return async () => {
    const place = await filePlace();
    await writeFile(place.location, file);
    return place;
  };
}

/** The schemas of this, unlike a test's other ones, go at the end of the run, together with the server. */
async function frozenSchema(location: string): Promise<() => Promise<CatalogPlace>> {
  const frozen = await schemaPlace();
  await cloneTables(location, frozen.location);
  // To make tables takes longer than most tests: those that a test is done with, which changes rows alone, serve the next one.
  const idle: string[] = [];
  return async () => {
    let place = idle.pop();
    if (place === undefined) {
      place = (await schemaPlace()).location;
      await cloneTables(frozen.location, place);
    } else {
      await copyRows(frozen.location, place);
    }
    const copy = place;
    return {
      location: copy,
      async [Symbol.asyncDispose]() {
        idle.push(copy);
        return Promise.resolve();
      },
    };
  };
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
async function cloneTables(from: string, to: string): Promise<void> {
  const { runShared } = await import('./postgres.ts');
  await runShared(
    `create schema ${schemaOf(to)};
set local search_path to ${schemaOf(to)};
do $$
declare
  source constant text := '${schemaOf(from)}';
  one record;
begin
  for one in select tablename as name from pg_tables where schemaname = source loop
    execute format('create table %I (like %I.%I including all)', one.name, source, one.name);
  end loop;
end $$`,
  );
  await copyRows(from, to);
}

/** Gives the tables of a schema the rows of the same tables of another one, and no others. */
async function copyRows(from: string, to: string): Promise<void> {
  await query(
    to,
    `do $$
declare
  source constant text := '${schemaOf(from)}';
  one record;
begin
  for one in select tablename as name from pg_tables where schemaname = source loop
    execute format('delete from %I', one.name);
    execute format('insert into %I select * from %I.%I', one.name, source, one.name);
  end loop;
end $$`,
  );
}

function schemaOf(location: string): string {
  const schema = new URL(location).searchParams.get('schema');
  if (schema === null) throw new RangeError(`A test's catalog has a schema of its own, unlike ${location}`);
  return schema;
}
