import { copyFile, readFile } from 'node:fs/promises';
import Sqlite from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { SCHEMA_VERSION } from '../../src/catalog/sql/migrations.ts';
import { postgresProxy } from '../support/postgres-proxy.ts';
import { freshPostgres, runSql } from '../support/postgres.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { bytes, chunk, file, hex } from './samples.ts';

/** The first schema that was released, and all since, as `make-fixture.ts` stored them. */
const FIRST = 101;
const VERSIONS = Array.from({ length: SCHEMA_VERSION - FIRST + 1 }, (_, at) => FIRST + at);

function fixture(name: string): URL {
  return new URL(`../fixtures/catalog-${name}`, import.meta.url);
}

function text(value: Uint8Array | null | undefined): string {
  return Buffer.from(value ?? []).toString();
}

/** What the stored catalogs hold. */
async function expectContents({ setup, files, chunks, grants }: Catalog, version: number): Promise<void> {
  const vault = await setup.vault();
  expect([vault?.epoch, text(vault?.keyring)]).toEqual([3, 'keyring']);
  expect(text(await setup.note('rebuilding'))).toBe('note');
  const buckets = await setup.buckets();
  expect(buckets.map(({ number, record }) => [number, text(record)])).toEqual([
    [1, 'a'],
    [2, 'b'],
  ]);
  const listed = async (options: { all: boolean; hidden?: boolean }): Promise<string[]> =>
    (await Array.fromAsync(files.list(options))).map((row) => text(row.record));
  expect(await listed({ all: true })).toEqual(['record 3', 'record 1', 'record 0']);
  expect(await listed({ all: false })).toEqual(['record 3', 'record 1']);
  expect(await listed({ all: false, hidden: true })).toEqual(['record 2']);
  const rows = await Array.fromAsync(files.walk());
  expect(rows.find(({ expiresAtMs }) => expiresAtMs !== null)).toMatchObject({
    version: 2,
    createdAtMs: 1_700_000_000_001,
    expiresAtMs: 1_800_000_000_000,
  });
  const codes = (await Array.fromAsync(chunks.walk())).map((row) => `${row.k}+${row.m} ${row.sealedSize}`);
  expect(codes.toSorted()).toEqual(['1+1 8', '2+1 9']);
  const links = (await Array.fromAsync(grants.list('link'))).map(({ record, uses }) => [text(record), uses]);
  expect(links).toEqual(version < 102 ? [] : [['grant', 1]]);
}

async function expectUsable({ setup, files, chunks }: Catalog): Promise<void> {
  const [row, places] = [file({ createdAtMs: 1_900_000_000_000 }), chunk()];
  await files.put([row]);
  await chunks.put([places]);
  expect((await Array.fromAsync(files.list({ all: true })))[0]).toEqual(row);
  expect(await chunks.locate([places.id])).toEqual(new Map([[places.id, places]]));
  expect(await setup.putBucket({ id: hex(32), record: bytes('x') })).toBe(4);
  expect(await files.counts()).toEqual({ files: 4, hidden: 1 });
}

describe.each(VERSIONS)('a catalog of schema %i', (version) => {
  test('in SQLite is upgraded, keeps what it holds, and has the tables of a new one', async () => {
    await using folder = await temporaryFolder();
    const [old, fresh] = [folder.at('old.db'), folder.at('fresh.db')];
    await copyFile(fixture(`${version}.db`), old);
    const catalog = await openCatalog(old);
    await expectContents(catalog, version);
    await expectUsable(catalog);
    await catalog.close();
    await (await openCatalog(fresh, { create: true })).close();
    expect(sqliteSchema(old)).toEqual(sqliteSchema(fresh));
    expect(JSON.stringify(sqliteSchema(fresh))).not.toContain('files_by_expiry');
  });

  test('in Postgres is upgraded, keeps what it holds, and has the tables of a new one', async () => {
    const [old, fresh] = [await freshPostgres(), await freshPostgres()];
    const statements = await readFile(fixture(`${version}.sql`), 'utf8');
    await runSql(old.url, `create schema ${old.schema}; set search_path = ${old.schema}; ${statements}`);
    const catalog = await openCatalog(old.url);
    await expectContents(catalog, version);
    await expectUsable(catalog);
    await catalog.close();
    await (await openCatalog(fresh.url, { create: true })).close();
    const schema = await postgresSchema(fresh);
    expect(await postgresSchema(old)).toEqual(schema);
    expect(JSON.stringify(schema)).not.toContain('files_by_expiry');
    await old.drop();
    await fresh.drop();
  });
});

const UNRELEASED = {
  code: 'unsupported',
  message: expect.stringMatching(/made by an unreleased version.*"vault recover"/),
};

test('an SQLite catalog from before the first release is unsupported, and stays as it is', async () => {
  await using folder = await temporaryFolder();
  const path = folder.at('old.db');
  await copyFile(fixture('unreleased.db'), path);
  await expect(openCatalog(path)).rejects.toMatchObject(UNRELEASED);
  await expect(openCatalog(path, { create: true })).rejects.toMatchObject(UNRELEASED);
  expect(Buffer.compare(await readFile(path), await readFile(fixture('unreleased.db')))).toBe(0);
});

test('a Postgres catalog from before the first release is unsupported, and stays as it is', async () => {
  const place = await freshPostgres();
  await runSql(
    place.url,
    `create schema ${place.schema}; set search_path = ${place.schema};
     create table vault_schema (one integer primary key, version integer not null);
     insert into vault_schema values (1, 1); create table files (generation bytea)`,
  );
  const before = await postgresSchema(place);
  await expect(openCatalog(place.url)).rejects.toMatchObject(UNRELEASED);
  await expect(openCatalog(place.url, { create: true })).rejects.toMatchObject(UNRELEASED);
  expect(await postgresSchema(place)).toEqual(before);
  await place.drop();
});

test('a Postgres schema is made in a serializable transaction, as CockroachDB wants it', async () => {
  const place = await freshPostgres();
  const proxy = await postgresProxy(place.url);
  await (await openCatalog(proxy.url, { create: true, environment: {} })).close();
  let begun = '';
  const isolations = new Set<string>();
  for (const { type, body } of proxy.messages) {
    const statement = type === 'Q' ? body.toString() : '';
    if (statement.startsWith('begin ')) begun = statement.replace(/;.*/s, '');
    if (statement.startsWith('create ')) isolations.add(begun);
  }
  expect([...isolations]).toEqual(['begin isolation level serializable']);
  await proxy.close();
  await place.drop();
});

test('a Postgres schema whose making was broken off, on a server that keeps each statement, is completed', async () => {
  const whole = await freshPostgres();
  const proxy = await postgresProxy(whole.url);
  await (await openCatalog(proxy.url, { create: true, environment: {} })).close();
  const version0 = `insert into "${whole.schema}"."vault_schema" values (1, 0)`;
  const statements = proxy.messages
    .flatMap(({ type, body }) => (['Q', 'P'].includes(type) ? [body.toString().replaceAll('\0', '')] : []))
    .flatMap((statement) => (statement.startsWith('create ') ? [statement] : []))
    .flatMap((statement) => (statement.includes('"vault_schema"') ? [statement, version0] : [statement]));
  await proxy.close();
  expect(statements.length).toBeGreaterThan(10);
  for (let done = 1; done <= statements.length; done += 3) {
    const part = await freshPostgres();
    const kept = statements.slice(0, done).join('; ').replaceAll(whole.schema, part.schema);
    await runSql(part.url, kept);
    await (await openCatalog(part.url, { create: true })).close();
    expect(await postgresSchema(part)).toEqual(await postgresSchema(whole));
    await part.drop();
  }
  await whole.drop();
});

function sqliteSchema(path: string): unknown {
  const database = new Sqlite(path, { readonly: true });
  const version: unknown = database.pragma('user_version', { simple: true });
  const tables = database.prepare('select type, name, sql from sqlite_schema order by name').all();
  database.close();
  return { version, tables };
}

async function postgresSchema({
  url,
  schema,
}: {
  readonly url: string;
  readonly schema: string;
}): Promise<unknown> {
  const queries = [
    `select version from ${schema}.vault_schema`,
    `select table_name, column_name, data_type, is_nullable from information_schema.columns
       where table_schema = '${schema}' order by 1, 2`,
    `select indexdef from pg_indexes where schemaname = '${schema}' order by indexname`,
    `select conname, contype from pg_constraint where connamespace = '${schema}'::regnamespace order by 1`,
  ];
  const answers: string[] = [];
  for (const query of queries) answers.push(JSON.stringify(await runSql(url, query)).replaceAll(schema, ''));
  return answers;
}
