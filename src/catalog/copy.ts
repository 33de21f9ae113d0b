import { createHash, type Hash } from 'node:crypto';
import { sql } from 'kysely';
import { VaultError } from '../errors.ts';
import type { Engine } from './sql/engine.ts';
import { openEngine, type OpenCatalogOptions } from './open.ts';
import { pagesOf } from './sql/pages.ts';
import { TABLE_NAMES, type TableName, type Tables } from './sql/schema.ts';

const PAGE = 500;

type Row = Readonly<Record<string, Uint8Array | number | string | null>>;

const KEYS: Readonly<Record<TableName, string>> = {
  notes: 'key',
  buckets: 'number',
  files: 'hash',
  chunks: 'id',
  grants: 'id',
  vault: 'one',
};

export interface CopyOptions extends Omit<OpenCatalogOptions, 'create'> {
  /** Told how many rows have been copied so far. */
  readonly onProgress?: ((rows: number) => void) | undefined;
}

export interface CopyResult {
  /** Rows copied, of all tables. */
  readonly rows: number;
  /** SHA-256 over every row, equal at both ends; lower-case hex. */
  readonly digest: string;
}

/**
 * Copies a catalog into another database, of the same kind or of another, and reads both ends again to verify
 * it. Memory is one page. A copy that was broken off is started over by repeating it.
 *
 * @param from location of the catalog, see `openCatalog`; it is only read
 * @param to location of the copy; made if it does not exist
 * @throws `no-vault` if there is nothing to copy; `already-exists` if `to` describes a vault; `unavailable` if the source
 *   changed meanwhile, then the copy is emptied; `damaged` if the copy does not read back as written; and what opening throws
 */
export async function copyCatalog(from: string, to: string, options: CopyOptions = {}): Promise<CopyResult> {
  const source = await openEngine(from, { ...options, create: false });
  try {
    if (await isEmpty(source, 'vault')) {
      throw new VaultError('no-vault', `There is no vault in ${source.label} whose catalog could be copied.`);
    }
    const target = await openEngine(to, { ...options, create: true });
    try {
      return await copied(source, target, options);
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

async function copied(source: Engine, target: Engine, options: CopyOptions): Promise<CopyResult> {
  if (!(await isEmpty(target, 'vault'))) {
    throw new VaultError(
      'already-exists',
      `${target.label} describes a vault already; a copy needs an empty place.`,
    );
  }
  // What a copy that was broken off has left.
  await clear(target);
  const sent = createHash('sha256');
  let count = 0;
  for (const table of TABLE_NAMES) {
    for await (const rows of tablePages(source, table, options.signal)) {
      await insert(target, table, rows);
      digestRows(sent, table, rows);
      count += rows.length;
      options.onProgress?.(count);
    }
  }
  const digest = sent.digest('hex');
  if ((await digestOf(source, options.signal)) !== digest) {
    await clear(target);
    throw new VaultError(
      'unavailable',
      `The catalog ${source.label} changed while it was copied, so nothing was kept. Repeat it when nothing else uses the vault.`,
    );
  }
  if ((await digestOf(target, options.signal)) !== digest) {
    await clear(target);
    throw new VaultError(
      'damaged',
      `The copy in ${target.label} does not read back as it was written, so nothing was kept. The catalog ${source.label} is as it was.`,
    );
  }
  return { rows: count, digest };
}

async function digestOf(engine: Engine, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash('sha256');
  for (const table of TABLE_NAMES) {
    for await (const rows of tablePages(engine, table, signal)) digestRows(hash, table, rows);
  }
  return hash.digest('hex');
}

/** Adds rows to a digest that is the same for both databases: names in order, values with their kind and length. */
function digestRows(hash: Hash, table: TableName, rows: readonly Row[]): void {
  for (const row of rows) {
    hash.update(`${table}\n`);
    for (const column of Object.keys(row).toSorted()) {
      const value = row[column] ?? null;
      const bytes = value instanceof Uint8Array ? value : Buffer.from(String(value));
      hash.update(`${column} ${value instanceof Uint8Array ? 'bytes' : typeof value} ${bytes.length}\n`);
      hash.update(bytes);
    }
  }
}

function tablePages(
  engine: Engine,
  table: TableName,
  signal: AbortSignal | undefined,
): AsyncIterable<readonly Row[]> {
  const key = sql.ref(KEYS[table]);
  return pagesOf<Row>(PAGE, signal, async (last, size) => {
    let page = engine.db.selectFrom(table).selectAll().orderBy(key).limit(size);
    if (last !== null) page = page.where(sql<boolean>`${key} > ${last[KEYS[table]] ?? null}`);
    return (await engine.read((session) => session.run(page))).rows;
  });
}

async function insert(engine: Engine, table: TableName, rows: readonly Row[]): Promise<void> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- rows go into the table of the name that they came from
  const values = rows as unknown as readonly Tables[TableName][];
  await engine.writeOne(table === 'vault' ? 'durable' : 'lazy', (session) =>
    session.run(
      engine.db
        .insertInto(table)
        .values(values)
        // Repeated after a lost answer, it finds the rows there.
        .onConflict((conflict) => conflict.doNothing()),
    ),
  );
}

async function isEmpty(engine: Engine, table: TableName): Promise<boolean> {
  const { rows } = await engine.read((session) =>
    session.run(
      engine.db
        .selectFrom(table)
        .select(sql<number>`1`.as('found'))
        .limit(1),
    ),
  );
  return rows.length === 0;
}

/** Empties every table, the vault's first, page by page so that no statement takes long. */
async function clear(engine: Engine): Promise<void> {
  for (const table of TABLE_NAMES.toReversed()) {
    const key = sql.ref(KEYS[table]);
    const page = engine.db.selectFrom(table).select(key.as('key')).limit(PAGE);
    let affected = PAGE;
    while (affected === PAGE) {
      ({ affected } = await engine.writeOne('durable', (session) =>
        session.run(engine.db.deleteFrom(table).where(sql<boolean>`${key} in (${page})`)),
      ));
    }
  }
}
