// How a catalog in Postgres answers when it is large: the same calls on one of a given size and on one a
// hundred times smaller, with the ratio of their times, and whether every statement finds its rows by an index.
//
//   node test/bench/catalog-scale.ts [files, 1000000 by default; ten chunks each]
import { createHash, randomBytes } from 'node:crypto';
import { argv, exit, stdout } from 'node:process';
import type { Catalog, ChunkRow } from '../../src/catalog/catalog.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { openPostgres } from '../../src/catalog/postgres.ts';
import { chunk, file, hex } from '../catalog/samples.ts';
import { statementsOf } from '../catalog/statements.ts';
import { runSql, startPostgres } from '../support/postgres.ts';

const CHUNKS_A_FILE = 10;
const BATCH = 256;
const ROUNDS = 60;
const SMALLER = 100;

/** Fills a schema with generated rows. Ids are hashes of their numbers, so that they can be asked for. */
async function fill(server: string, schema: string, files: number): Promise<void> {
  const catalog = await openCatalog(`${server}?schema=${schema}`, { create: true });
  await catalog.putBucket({ id: hex(32), state: 'active', record: Buffer.from('x') });
  await catalog.close();
  const place = `'\\x0001'::bytea || substr(sha256(int8send(i)), 1, 8)`;
  await runSql(
    server,
    `insert into ${schema}.chunks
       select sha256('c' || int8send(i)), 2, 1, 1048600, ${place} || ${place} || ${place}
       from generate_series(1, ${files * CHUNKS_A_FILE}) i;
     insert into ${schema}.files (generation, state, owner, renewed_at, hash, name_tag, record, created_at, seq)
       select substr(sha256('g' || int8send(i)), 1, 8), 1, 'bench', 0, sha256('f' || int8send(i)),
         sha256('n' || int8send(i % (${files} * 9 / 10))), sha256('r' || int8send(i)) || sha256('s' || int8send(i)), 0,
         nextval('${schema}.files_seq')
       from generate_series(1, ${files}) i;
     insert into ${schema}.refs
       select substr(sha256('g' || int8send((i - 1) / ${CHUNKS_A_FILE} + 1)), 1, 8), sha256('c' || int8send(i))
       from generate_series(1, ${files * CHUNKS_A_FILE}) i;
     analyze ${schema}.files; analyze ${schema}.chunks; analyze ${schema}.refs; checkpoint`,
  );
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
const freshRows = (generation: string): ChunkRow[] =>
  Array.from({ length: BATCH }, () => chunk(hex(64), generation, [1, 1, 1]));

async function pending(catalog: Catalog): Promise<string> {
  const generation = hex(16);
  await catalog.beginPut({ generation, owner: 'bench' });
  return generation;
}

async function first(rows: AsyncIterable<unknown>): Promise<unknown> {
  const { value } = await rows[Symbol.asyncIterator]().next();
  return value;
}

const calls: Readonly<Record<string, (catalog: Catalog) => Promise<Call>>> = {
  'file by hash': async () => (catalog, files) =>
    catalog.filesByHash(digest('f', somewhere(files)).toString('hex'), 2),
  'file by prefix of hash': async () => (catalog, files) =>
    catalog.filesByHash(digest('f', somewhere(files)).toString('hex', 0, 4), 2),
  'file by name': async () => (catalog, files) => catalog.filesByName(digest('n', somewhere(files)), 1),
  'first page of ls': async () => (catalog) => first(catalog.listFiles({ all: false })),
  'first page of ls --all': async () => (catalog) => first(catalog.listFiles({ all: true })),
  [`locate ${BATCH} chunks`]: async () => (catalog, files) => catalog.locateChunks(knownIds(files)),
  [`claim ${BATCH} new chunks`]: async (catalog) => {
    const generation = await pending(catalog);
    return () =>
      catalog.claimChunks(
        generation,
        freshRows(generation).map((row) => row.id),
      );
  },
  [`claim ${BATCH} known chunks`]: async (catalog) => {
    const generation = await pending(catalog);
    return (_, files) => catalog.claimChunks(generation, knownIds(files));
  },
  [`record ${BATCH} new chunks`]: async (catalog) => {
    const generation = await pending(catalog);
    return () => catalog.recordChunks(generation, freshRows(generation));
  },
  'begin, announce and commit': async (catalog) => async () => {
    const row = file();
    const generation = await pending(catalog);
    await catalog.announceManifest(generation, row.hash);
    await catalog.commitPut(generation, row);
  },
  'remove a file': async () => (catalog, files) =>
    catalog.removeFiles([digest('f', somewhere(files)).toString('hex')]),
};

/** Median time of a call, in milliseconds. */
async function medianMs(catalog: Catalog, files: number, call: Call): Promise<number> {
  const times: number[] = [];
  for (let round = -5; round < ROUNDS; round++) {
    const start = performance.now();
    await call(catalog, files);
    // The first few warm caches up.
    if (round >= 0) times.push(performance.now() - start);
  }
  return times.toSorted((a, b) => a - b)[ROUNDS / 2] ?? NaN;
}

async function planFaults(url: string): Promise<string[]> {
  const engine = await openPostgres(url, { create: false });
  const statements = await statementsOf(engine);
  await engine.close();
  const faults: string[] = [];
  for (const { sql, parameters } of statements) {
    const rows = await runSql(url, `explain ${sql}`, parameters);
    const plan = rows.map((row) => String(row['QUERY PLAN'])).join('\n');
    if (/Seq Scan on (files|chunks|refs)/.test(plan))
      faults.push(`${sql.slice(0, 200)}\n${plan.replaceAll(/\n.{200}.*/g, (line) => line.slice(0, 200))}`);
  }
  return faults;
}

const files = Number(argv[2] ?? 1_000_000);
const server = await startPostgres({ shared_buffers: '512MB', max_wal_size: '4GB' });
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
  stdout.write(
    `\n${'median of a call'.padEnd(30)}${'small'.padStart(12)}${'large'.padStart(12)}${'ratio'.padStart(8)}\n`,
  );
  for (const [name, prepare] of Object.entries(calls)) {
    const times: number[] = [];
    for (const [at, catalog] of catalogs.entries()) {
      times.push(await medianMs(catalog, sizes[at] ?? 0, await prepare(catalog)));
    }
    const [small = NaN, large = NaN] = times;
    const cells = [`${small.toFixed(2)} ms`.padStart(12), `${large.toFixed(2)} ms`.padStart(12)];
    stdout.write(`${name.padEnd(30)}${cells.join('')}${(large / small).toFixed(2).padStart(8)}\n`);
  }
  for (const catalog of catalogs) await catalog.close();
  const faults = await planFaults(`${server.url}?schema=size_1`);
  stdout.write(faults.length === 0 ? '\nEvery statement uses indexes.\n' : `\n${faults.join('\n\n')}\n`);
  if (faults.length > 0) exit(1);
} finally {
  await server.remove();
}
