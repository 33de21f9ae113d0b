import { copyFile, readFile } from 'node:fs/promises';
import Sqlite from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { SCHEMA_VERSION } from '../../src/catalog/sql/migrations.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { postgresProxy } from '../support/postgres-proxy.ts';
import { freshPostgres, runSql } from '../support/postgres.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { file, hex, owedObjects, store } from './samples.ts';

/** Every schema that was ever released, as `make-fixture.ts` stored it. */
const VERSIONS = Array.from({ length: SCHEMA_VERSION }, (_, at) => at + 1);

function fixture(version: number, ending: 'db' | 'sql'): URL {
  return new URL(`../fixtures/catalog-v${version}.${ending}`, import.meta.url);
}

/** What the stored catalogs hold. */
async function expectContents(catalog: Catalog): Promise<void> {
  expect(Buffer.from((await catalog.vault())?.settings ?? '').toString()).toBe('settings');
  expect((await catalog.keyslots()).map((slot) => Buffer.from(slot.body).toString())).toEqual(['{"slot":1}']);
  expect((await catalog.buckets()).map(({ number, state }) => [number, state])).toEqual([
    [1, 'active'],
    [2, 'draining'],
  ]);
  const files = await Array.fromAsync(catalog.listFiles({ all: true }));
  expect(files.map((row) => Buffer.from(row.record).toString())).toEqual([
    'record 3',
    'record 1',
    'record 0',
  ]);
  const newest = await Array.fromAsync(catalog.listFiles({ all: false }));
  expect(newest.map((row) => row.createdAtMs - 1_700_000_000_000)).toEqual([3, 1]);
  const expired = await Array.fromAsync(catalog.expiredFiles(1_800_000_000_000));
  expect(expired.map((row) => Buffer.from(row.record).toString())).toEqual(['record 1']);
  const chunks = await Array.fromAsync(catalog.listChunks());
  expect(chunks.map(({ k, m }) => `${k}+${m}`).toSorted()).toEqual(['1+1', '2+1', '2+1', '2+1']);
  expect((await owedObjects(catalog)).length).toBe(10);
  expect(await catalog.counts()).toEqual({ files: 3, chunks: 4, garbage: 5, pendingPuts: 1, deadPuts: 1 });
  const strays = await catalog.rememberStrays(1, ['chunks/stray'], 5);
  expect([...strays.values()]).toEqual([1_700_000_000_000]);
}

async function expectUsable(catalog: Catalog): Promise<void> {
  const row = file();
  await store(catalog, row, [hex(64)]);
  expect((await Array.fromAsync(catalog.listFiles({ all: true })))[0]).toEqual(row);
  const bucket = { id: hex(32), state: 'active', record: Buffer.from('x') } as const;
  expect(await catalog.putBucket(bucket)).toBe(4);
  await catalog.removeFiles([row.hash]);
  expect(await catalog.counts()).toMatchObject({ files: 3, chunks: 4 });
}

describe.each(VERSIONS)('a catalog of schema %i', (version) => {
  test('in SQLite is upgraded, keeps what it holds, and has the tables of a new one', async () => {
    await using folder = await temporaryFolder();
    const [old, fresh] = [folder.at('old.db'), folder.at('fresh.db')];
    await copyFile(fixture(version, 'db'), old);
    const catalog = await openCatalog(old);
    await expectContents(catalog);
    await expectUsable(catalog);
    await catalog.close();
    await (await openCatalog(fresh, { create: true })).close();
    expect(sqliteSchema(old)).toEqual(sqliteSchema(fresh));
  });

  test('in Postgres is upgraded, keeps what it holds, and has the tables of a new one', async () => {
    const [old, fresh] = [await freshPostgres(), await freshPostgres()];
    const statements = await readFile(fixture(version, 'sql'), 'utf8');
    await runSql(old.url, `create schema ${old.schema}; set search_path = ${old.schema}; ${statements}`);
    const catalog = await openCatalog(old.url);
    await expectContents(catalog);
    await expectUsable(catalog);
    await catalog.close();
    await (await openCatalog(fresh.url, { create: true })).close();
    expect(await postgresSchema(old)).toEqual(await postgresSchema(fresh));
    await old.drop();
    await fresh.drop();
  });
});

test('a Postgres schema is made in a serializable transaction, as CockroachDB wants it', async () => {
  const place = await freshPostgres();
  const proxy = await postgresProxy(place.url);
  await (await openCatalog(proxy.url, { create: true, environment: {} })).close();
  let begun = '';
  const isolations = new Set<string>();
  for (const { type, body } of proxy.messages) {
    const text = type === 'Q' ? body.toString() : '';
    if (text.startsWith('begin ')) begun = text.replace(/;.*/s, '');
    if (text.startsWith('create ')) isolations.add(begun);
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
    .flatMap((text) => (text.startsWith('create ') ? [text] : []))
    .flatMap((text) => (text.includes('"vault_schema"') ? [text, version0] : [text]));
  await proxy.close();
  expect(statements.length).toBeGreaterThan(14);
  for (const done of [1, 3, 9, statements.length]) {
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
    `select sequence_name from information_schema.sequences where sequence_schema = '${schema}'`,
  ];
  const answers: string[] = [];
  for (const query of queries) answers.push(JSON.stringify(await runSql(url, query)).replaceAll(schema, ''));
  return answers;
}
