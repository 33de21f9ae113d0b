// How a catalog in Postgres answers when it is large: the same calls on one of a given size and on one a
// hundred times smaller, with the ratio of their times, and whether every statement finds its rows by an index.
//
//     npm run bench -- catalog-scale [--files <n>]   of ten chunks each
import { createHash, randomBytes } from 'node:crypto';
import { stdout } from 'node:process';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { openPostgres } from '../../src/catalog/postgres/engine.ts';
import { chunk, file, hex, many } from '../catalog/samples.ts';
import { statementsOf } from '../catalog/statements.ts';
import { runSql, startPostgres } from '../support/postgres.ts';
import { systemClock } from '../../src/host.ts';
import { hold, isWanted } from './lines.ts';
import { values } from './workbench.ts';

const CHUNKS_A_FILE = 10;
const BATCH = 256;
/** Calls before those that count, which warm caches up. */
const WARM_UP = 50;
const ROUNDS = 300;
const SMALLER = 100;

/**
 * Fills a schema with generated rows. Ids are hashes of their numbers, so that they can be asked for. Indexes and
 * constraints are taken away and made again afterwards: keeping them up row by row takes an hour, in random order.
 */
async function fill(server: string, schema: string, files: number): Promise<void> {
  const catalog = await openCatalog(`${server}?schema=${schema}`, { create: true });
  await catalog.setup.putBucket({ id: hex(32), record: Buffer.from('x') });
  await catalog.close();
  const place = `'\\x0001'::bytea || substr(sha256(int8send(i)), 1, 8)`;
  const { drop, make } = await indexes(server, schema);
  await runSql(
    server,
    `${drop}
     insert into ${schema}.chunks
       select sha256('c' || int8send(i)), 2, 1, '\\x00000000', 1048600, ${place} || ${place} || ${place}
       from generate_series(1, ${files * CHUNKS_A_FILE}) i;
     insert into ${schema}.files
       select sha256('f' || int8send(i)), substr(sha256('w'), 1, 16), sha256('n' || int8send(i % (${files} * 9 / 10))),
         sha256('r' || int8send(i)) || sha256('s' || int8send(i)), i, 1700000000000 + i * 1000, null,
         case when i % 50 = 0 then 1800000000000 end
       from generate_series(1, ${files}) i;
     ${make}`,
  );
  await runSql(server, `vacuum analyze ${schema}.files, ${schema}.chunks`);
  await runSql(server, 'checkpoint');
}

/** Statements that drop the constraints and indexes of the large tables, and that make them again as they were. */
async function indexes(server: string, schema: string): Promise<{ drop: string; make: string }> {
  const of = ['files', 'chunks'].map((table) => `'${schema}.${table}'::regclass`).join();
  const constraints = await runSql(
    server,
    `select conrelid::regclass::text as on, quote_ident(conname) as name, pg_get_constraintdef(oid) as is
     from pg_constraint where conrelid in (${of}) and contype in ('p', 'u')`,
  );
  const others = await runSql(
    server,
    `select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as is from pg_index
     where indrelid in (${of}) and not exists (select from pg_constraint where conindid = indexrelid and contype in ('p', 'u'))`,
  );
  const drop = [
    ...constraints.map(({ on, name }) => `alter table ${String(on)} drop constraint ${String(name)};`),
    ...others.map(({ name }) => `drop index ${String(name)};`),
  ];
  const make = [
    ...constraints.map(
      ({ on, name, is }) => `alter table ${String(on)} add constraint ${String(name)} ${String(is)};`,
    ),
    ...others.map(({ is }) => `${String(is)};`),
  ];
  return { drop: drop.join('\n'), make: make.join('\n') };
}

function digest(kind: 'c' | 'f' | 'n', number: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes.write(kind);
  bytes.writeBigInt64BE(BigInt(number), 1);
  return createHash('sha256').update(bytes).digest();
}

type Call = (catalog: Catalog, files: number) => Promise<unknown>;

const somewhere = (count: number): number => 1 + (randomBytes(6).readUIntBE(0, 6) % count);
const knownIds = (files: number): string[] => [
  ...new Set(
    Array.from({ length: BATCH }, () => digest('c', somewhere(files * CHUNKS_A_FILE)).toString('hex')),
  ),
];
async function first(rows: AsyncIterable<unknown>): Promise<unknown> {
  const { value } = await rows[Symbol.asyncIterator]().next();
  return value;
}

const knownHash = (files: number): string => digest('f', somewhere(files)).toString('hex');

const calls: Readonly<Record<string, Call>> = {
  'file by hash': ({ files }, count) => files.byHashes([knownHash(count)]),
  'file by prefix of hash': ({ files }, count) => files.byPrefix(knownHash(count).slice(0, 4), 2),
  'file by name': ({ files }, count) => files.byName([digest('n', somewhere(count))], 1),
  'file by name of 20 writers': ({ files }, count) =>
    files.byName(
      many(20, () => digest('n', somewhere(count))),
      1,
    ),
  'first page of ls': ({ files }) => first(files.list({ all: false })),
  'first page of ls --all': ({ files }) => first(files.list({ all: true })),
  'first page of ls --deleted': ({ files }) => first(files.list({ all: false, hidden: true })),
  [`locate ${BATCH} chunks`]: ({ chunks }, count) => chunks.locate(knownIds(count)),
  [`put ${BATCH} new chunks`]: ({ chunks }) => chunks.put(many(BATCH, () => chunk(hex(64), [1, 1, 1]))),
  [`put ${BATCH} known chunks`]: ({ chunks }, count) => chunks.put(knownIds(count).map((id) => chunk(id))),
  'put a file': ({ files }) => files.put([file()]),
  'hide a file': ({ files }, count) => files.hide([knownHash(count)], Date.now()),
  'forget a file': ({ files }, count) => files.forget([knownHash(count)]),
};

/**
 * Median times of a call on several catalogs, in milliseconds. They take turns, so that whatever else happens on the machine
 * happens to all of them.
 */
async function mediansMs(
  places: readonly { readonly catalog: Catalog; readonly files: number; readonly call: Call }[],
): Promise<number[]> {
  const times: number[][] = places.map(() => []);
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    for (const [at, { catalog, files, call }] of places.entries()) {
      const start = performance.now();
      await call(catalog, files);
      if (round >= 0) times[at]?.push(performance.now() - start);
    }
  }
  return times.map((list) => list.toSorted((x, y) => x - y)[ROUNDS / 2] ?? NaN);
}

async function planFaults(url: string): Promise<string[]> {
  const engine = await openPostgres(url, { create: false, clock: systemClock });
  const statements = await statementsOf(engine);
  await engine.close();
  // A batch is the same statement, however many values there are of it.
  const shapes = Map.groupBy(statements, ({ sql }) =>
    sql.replaceAll(/\(\$\d+(, \$\d+)*\)(, \(\$\d+(, \$\d+)*\))*/g, '(...)'),
  );
  const faults: string[] = [];
  for (const [shape, list] of shapes) {
    // The longest batch tempts the planner most to read the whole table.
    const [longest] = list.toSorted((a, b) => b.parameters.length - a.parameters.length);
    const rows = await runSql(url, `explain ${longest?.sql ?? ''}`, longest?.parameters);
    const plan = rows.map((row) => String(row['QUERY PLAN']).slice(0, 150)).join('\n');
    if (/Seq Scan on (files|chunks)/.test(plan)) faults.push(`${shape}\n${plan}`);
  }
  return faults;
}

async function scale(files: number): Promise<void> {
  const server = await startPostgres({
    shared_buffers: '512MB',
    max_wal_size: '4GB',
    maintenance_work_mem: '1GB',
    work_mem: '256MB',
  });
  try {
    const sizes = [Math.ceil(files / SMALLER), files];
    const catalogs: Catalog[] = [];
    for (const [at, size] of sizes.entries()) {
      const start = performance.now();
      await fill(server.url, `size_${at}`, size);
      stdout.write(
        `${size} files, ${size * CHUNKS_A_FILE} chunks generated in ${((performance.now() - start) / 1000).toFixed(0)} s\n`,
      );
      catalogs.push(await openCatalog(`${server.url}?schema=size_${at}`));
    }
    for (const [name, call] of Object.entries(calls)) {
      const places = catalogs.map((catalog, at) => ({ catalog, files: sizes[at] ?? 0, call }));
      const [small = NaN, large = NaN] = await mediansMs(places);
      hold(`map: ${name}, ${large.toFixed(2)} ms`, `beside ${sizes[0]} files`, large / small, 2);
    }
    for (const catalog of catalogs) await catalog.close();
    const faults = await planFaults(`${server.url}?schema=size_1`);
    for (const fault of faults) stdout.write(`\n${fault}\n`);
    hold('map: statements without an index', 'count', faults.length, 0);
  } finally {
    await server.remove();
  }
}

if (isWanted('map')) await scale(Number(values.files));
