// Writes catalogs of the present schema as files, for the test that opens them ever after. Run it once when a
// schema is released, and never again for the same version:
//
//   node test/catalog/make-fixture.ts
import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { copyCatalog } from '../../src/catalog/copy.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { openPostgres } from '../../src/catalog/postgres/engine.ts';
import { migration, SCHEMA_VERSION } from '../../src/catalog/sql/migrations.ts';
import { TABLE_NAMES } from '../../src/catalog/sql/schema.ts';
import { runSql, startPostgres } from '../support/postgres.ts';
import { systemClock } from '../../src/host.ts';

const base = fileURLToPath(new URL(`../fixtures/catalog-${SCHEMA_VERSION}`, import.meta.url));

/** Hex that is the same in every run. */
function fixed(name: string, digits: number): string {
  return createHash('sha256').update(name).digest('hex').slice(0, digits);
}

async function fill(path: string): Promise<void> {
  const catalog = await openCatalog(path, { create: true, clock: systemClock });
  const { setup, files, chunks, grants } = catalog;
  const writer = fixed('writer', 32);
  await setup.create({ id: fixed('vault', 32), epoch: 3, keyring: Buffer.from('keyring'), writer });
  await setup.putNote('rebuilding', Buffer.from('note'));
  for (const name of ['a', 'b', 'c']) {
    await setup.putBucket({ id: fixed(name, 32), record: Buffer.from(name) });
  }
  await setup.removeBucket(3);
  await files.put(
    [0, 1, 2, 3].map((at) => ({
      hash: fixed(`file ${at}`, 64),
      writer,
      nameTag: Buffer.from(fixed(`name ${at % 3}`, 64), 'hex'),
      record: Buffer.from(`record ${at}`),
      version: 1 + at,
      createdAtMs: 1_700_000_000_000 + at,
      expiresAtMs: at === 1 ? 1_800_000_000_000 : null,
      hiddenAtMs: at === 2 ? 1_700_000_000_009 : null,
    })),
  );
  const place = (bucket: number) => ({ bucket, upload: fixed('upload', 16) });
  await chunks.put([
    {
      id: fixed('chunk', 64),
      k: 2,
      m: 1,
      sealing: fixed('s', 8),
      sealedSize: 9,
      shards: [place(1), null, place(2)],
    },
    {
      id: fixed('other', 64),
      k: 1,
      m: 1,
      sealing: fixed('t', 8),
      sealedSize: 8,
      shards: [place(2), place(1)],
    },
  ]);
  await grants.put({
    id: fixed('grant', 64),
    kind: 'link',
    record: Buffer.from('grant'),
    expiresAtMs: 1_800_000_000_000,
  });
  await grants.use(fixed('grant', 64), null);
  await catalog.close();
  // One file without what belongs to it: a log, and pages that are not used.
  const database = new Sqlite(path);
  database.pragma('journal_mode = delete');
  database.close();
}

function literal(value: unknown): string {
  if (value instanceof Uint8Array) return `'\\x${Buffer.from(value).toString('hex')}'`;
  // The driver gives large whole numbers as text.
  return typeof value === 'number' || typeof value === 'string' ? String(value) : 'null';
}

/** The statements that make and fill the tables, in whatever schema is first in the search path. */
async function dump(server: string): Promise<string> {
  const engine = await openPostgres(server, { create: true, clock: systemClock });
  const lines = migration(engine, 0).map((statement) => `${statement.compile().sql};`);
  await engine.close();
  lines.push(
    'create table vault_schema (one integer primary key check (one = 1), version integer not null);',
  );
  for (const table of ['vault_schema', ...TABLE_NAMES]) {
    for (const row of await runSql(server, `select * from ${table} order by 1`)) {
      const values = Object.values(row).map(literal).join(', ');
      lines.push(`insert into ${table} (${Object.keys(row).join(', ')}) values (${values});`);
    }
  }
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
