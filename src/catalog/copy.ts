import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { sql } from 'kysely';
import { throwIfAborted, VaultError } from '../errors.ts';
import { hexOf } from './sql/encoding.ts';
import { rawQuery } from './sql/engine.ts';
import type { Answer, Engine } from './sql/engine.ts';
import { openEngine } from './open.ts';
import type { OpenCatalogOptions } from './open.ts';
import { TABLE_NAMES } from './sql/schema.ts';
import type { TableName, Tables } from './sql/schema.ts';

const PAGE = 1000;

type Row = Readonly<Record<string, Uint8Array | number | string | null>>;

const KEYS: Readonly<Record<TableName, readonly string[]>> = {
  keyslots: ['id'],
  buckets: ['number'],
  files: ['generation'],
  chunks: ['id'],
  refs: ['file', 'chunk'],
  garbage: ['id', 'kind', 'places'],
  strays: ['bucket', 'name'],
  vault: ['one'],
};

export interface CopyOptions extends Pick<OpenCatalogOptions, 'signal' | 'environment'> {
  /** Told how many rows have been copied so far. */
  readonly onProgress?: (rows: number) => void;
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
  const { signal } = options;
  const opening = {
    ...(signal === undefined ? {} : { signal }),
    ...(options.environment === undefined ? {} : { environment: options.environment }),
  };
  const source = await openEngine(from, opening);
  try {
    if (await isEmpty(source, 'vault')) {
      throw new VaultError('no-vault', `There is no vault in ${source.label} whose catalog could be copied.`);
    }
    const target = await openEngine(to, { ...opening, create: true });
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
    for await (const rows of pagesOf(source, table, options.signal)) {
      try {
        await insert(target, table, rows);
      } catch (error) {
        // References of a put that has begun since its table was read.
        if (table !== 'refs' || (await haveReferents(target, rows))) throw error;
        throw await changedMeanwhile(source, target, error);
      }
      digestRows(sent, table, rows);
      count += rows.length;
      options.onProgress?.(count);
    }
  }
  const { restartSeq } = target.dialect;
  if (restartSeq !== null) {
    await target.writeOne('durable', (session) => session.run(rawQuery(target.db, restartSeq)));
  }
  const digest = sent.digest('hex');
  if ((await digestOf(source, options.signal)) !== digest) throw await changedMeanwhile(source, target);
  if ((await digestOf(target, options.signal)) !== digest) {
    await clear(target);
    throw new VaultError(
      'damaged',
      `The copy in ${target.label} does not read back as it was written, so nothing was kept. The catalog ${source.label} is as it was.`,
    );
  }
  return { rows: count, digest };
}

/** Empties the copy. @returns what to say of a source that changed */
async function changedMeanwhile(source: Engine, target: Engine, cause?: unknown): Promise<VaultError> {
  await clear(target);
  return new VaultError(
    'unavailable',
    `The catalog ${source.label} changed while it was copied, so nothing was kept. Repeat it when nothing else uses the vault.`,
    { cause },
  );
}

/** Whether the files and chunks that these references are between have been copied. */
async function haveReferents(target: Engine, refs: readonly Row[]): Promise<boolean> {
  const distinct = (column: 'file' | 'chunk'): Buffer[] => {
    const values = refs.flatMap(({ [column]: value }) => (value instanceof Uint8Array ? [hexOf(value)] : []));
    return [...new Set(values)].map((hex) => Buffer.from(hex, 'hex'));
  };
  const [files, chunks] = [distinct('file'), distinct('chunk')];
  const { rows: foundFiles } = await target.read((session) =>
    session.run(target.db.selectFrom('files').select('generation').where('generation', 'in', files)),
  );
  const { rows: foundChunks } = await target.read((session) =>
    session.run(target.db.selectFrom('chunks').select('id').where('id', 'in', chunks)),
  );
  return foundFiles.length === files.length && foundChunks.length === chunks.length;
}

async function digestOf(engine: Engine, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash('sha256');
  for (const table of TABLE_NAMES) {
    for await (const rows of pagesOf(engine, table, signal)) digestRows(hash, table, rows);
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

async function* pagesOf(
  engine: Engine,
  table: TableName,
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly Row[], void, undefined> {
  const keys = KEYS[table];
  const columns = sql.join(keys.map((key) => sql.ref(key)));
  let after: Row | null = null;
  while (true) {
    throwIfAborted(signal);
    let page = engine.db.selectFrom(table).selectAll().limit(PAGE);
    for (const key of keys) page = page.orderBy(sql.ref(key));
    if (after !== null) {
      const values: Row = after;
      const place = sql.join(keys.map((key) => values[key] ?? null));
      page = page.where(sql<boolean>`(${columns}) > (${place})`);
    }
    const { rows }: Answer<Row> = await engine.read((session) => session.run(page));
    if (rows.length > 0) yield rows;
    if (rows.length < PAGE) return;
    after = rows.at(-1) ?? null;
  }
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
    const keys = sql.join(KEYS[table].map((key) => sql.ref(key)));
    const page = engine.db
      .selectFrom(table)
      .select(sql`${keys}`.as('key'))
      .limit(PAGE);
    let affected = PAGE;
    while (affected === PAGE) {
      ({ affected } = await engine.writeOne('durable', (session) =>
        session.run(engine.db.deleteFrom(table).where(sql<boolean>`(${keys}) in (${page})`)),
      ));
    }
  }
}
