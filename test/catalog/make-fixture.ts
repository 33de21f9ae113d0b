// Writes catalogs of the present schema as files, for the test that upgrades them ever after. Run it once when a
// schema is released, and never again for the same version:
//
//   node test/catalog/make-fixture.ts
import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { copyCatalog } from '../../src/catalog/copy.ts';
import { SCHEMA_VERSION, migration } from '../../src/catalog/sql/migrations.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { openPostgres } from '../../src/catalog/postgres/engine.ts';
import { TABLE_NAMES } from '../../src/catalog/sql/schema.ts';
import { runSql, startPostgres } from '../support/postgres.ts';
import { chunk } from './samples.ts';

const base = fileURLToPath(new URL(`../fixtures/catalog-v${SCHEMA_VERSION}`, import.meta.url));

/** Hex that is the same in every run. */
function fixed(name: string, digits: number): string {
  return createHash('sha256').update(name).digest('hex').slice(0, digits);
}

async function fill(path: string): Promise<void> {
  const catalog = await openCatalog(path, { create: true });
  const vault = { id: fixed('vault', 32), settings: Buffer.from('settings') };
  await catalog.create(vault, [{ id: fixed('slot', 32), body: Buffer.from('{"slot":1}') }]);
  for (const name of ['a', 'b', 'c']) {
    const state = name === 'b' ? 'draining' : 'active';
    await catalog.putBucket({ id: fixed(name, 32), state, record: Buffer.from(name) });
  }
  await catalog.removeBucket(3);
  for (let at = 0; at < 4; at++) {
    const generation = fixed(`put ${at}`, 16);
    const hash = fixed(`file ${at}`, 64);
    await catalog.beginPut({ generation, owner: 'fixture' });
    await catalog.recordChunks(generation, [
      chunk(fixed(`chunk ${at}`, 64), generation, [1, 2, null]),
      chunk(fixed('shared', 64), generation, [2, 1], 1),
    ]);
    await catalog.announceManifest(generation, hash);
    await catalog.commitPut(generation, {
      hash,
      nameTag: Buffer.from(fixed(`name ${at % 3}`, 64), 'hex'),
      record: Buffer.from(`record ${at}`),
      createdAtMs: 1_700_000_000_000 + at,
      expiresAtMs: at === 1 ? 1_800_000_000_000 : null,
    });
  }
  await catalog.removeFiles([fixed('file 2', 64)]);
  await catalog.beginPut({ generation: fixed('pending', 16), owner: 'fixture' });
  await catalog.beginPut({ generation: fixed('dead', 16), owner: 'gone' });
  await catalog.buryPuts({ leaseMs: 1e9, isGone: (owner) => owner === 'gone' });
  await catalog.rememberStrays(1, ['chunks/stray'], 1_700_000_000_000);
  await catalog.close();
}

function literal(value: unknown): string {
  if (value instanceof Uint8Array) return `'\\x${Buffer.from(value).toString('hex')}'`;
  if (typeof value === 'number') return String(value);
  // The driver gives large whole numbers as text.
  if (typeof value === 'string') return /^\d+$/.test(value) ? value : `'${value.replaceAll("'", "''")}'`;
  return 'null';
}

/** The statements that make and fill the tables, in whatever schema is first in the search path. */
async function dump(server: string): Promise<string> {
  const engine = await openPostgres(server, { create: true });
  const lines = migration(engine, 0).map((statement) => `${statement.compile().sql};`);
  await engine.close();
  lines.push(
    'create table vault_schema (one integer primary key check (one = 1), version integer not null);',
  );
  for (const table of ['vault_schema', ...TABLE_NAMES]) {
    const rows = await runSql(server, `select * from ${table} order by 1, 2`);
    for (const row of rows) {
      const values = Object.values(row).map(literal).join(', ');
      lines.push(`insert into ${table} (${Object.keys(row).join(', ')}) values (${values});`);
    }
  }
  lines.push(`select setval('files_seq', 5, false);`);
  return `${lines.join('\n')}\n`;
}

rmSync(`${base}.db`, { force: true });
await fill(`${base}.db`);
const server = await startPostgres();
try {
  await copyCatalog(`${base}.db`, server.url);
  await writeFile(`${base}.sql`, await dump(server.url));
} finally {
  await server.remove();
}
