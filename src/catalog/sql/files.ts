import type { Compilable, CompiledQuery } from 'kysely';
import type { FileCatalog, FileRow, ListPosition } from '../catalog.ts';
import {
  allBytesOf,
  bytesOf,
  decodeFile,
  encodeAll,
  encodeFile,
  HASH_DIGITS,
  hashRange,
  hexOf,
  time,
} from './encoding.ts';
import type { Engine } from './engine.ts';
import { rowsOf } from './pages.ts';
import type { Tables } from './schema.ts';
import { slicesOf } from '../../concurrency/batched.ts';

const PAGE = 500;

/** Name tags looked up by one statement, which SQLite joins from as many (500 at most). */
const TAGS_AT_ONCE = 100;

type Row = Tables['files'];

/** Where a row stands in a listing. */
type Place = Pick<Row, 'created_at' | 'hash'>;

/** The part of the catalog that knows the stored files and folders. */
export class SqlFiles implements FileCatalog {
  readonly #engine: Engine;

  /** Queries that have been put together before, by what tells their shapes apart. */
  readonly #known = new Map<string, CompiledQuery>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /**
   * The query of a shape, with other values: putting one together takes longer than running it, and small files come by the thousand.
   *
   * @param values all of its parameters, in order
   */
  #shaped<O>(shape: string, values: readonly unknown[], build: () => Compilable<O>): Compilable<O> {
    const known = this.#known.get(shape);
    if (known !== undefined) return { compile: () => ({ ...known, parameters: values }) };
    const compiled = build().compile();
    const { parameters } = compiled;
    const isInOrder =
      parameters.length === values.length && parameters.every((one, at) => one === values[at]);
    if (isInOrder) this.#known.set(shape, compiled);
    return { compile: () => compiled };
  }

  async put(
    files: readonly FileRow[],
    { onlyNew = false }: Parameters<FileCatalog['put']>[1] = {},
  ): Promise<void> {
    const rows = encodeAll(files, (row) => row.hash, encodeFile);
    if (rows.length === 0) return;
    const [first] = rows;
    const query =
      first === undefined || rows.length > 1
        ? this.#insertOf(rows, onlyNew)
        : this.#shaped(`put ${onlyNew}`, Object.values(first), () => this.#insertOf(rows, onlyNew));
    await this.#engine.writeOne('durable', (session) => session.run(query));
  }

  async byHashes(hashes: readonly string[]): Promise<ReadonlyMap<string, FileRow>> {
    const wanted = allBytesOf(hashes);
    if (wanted.length === 0) return new Map();
    const rows = await this.#read(this.#all().where('hash', 'in', wanted));
    return new Map(rows.map(decodeFile).map((row) => [row.hash, row]));
  }

  async byPrefix(
    prefix: string,
    limit: number,
    { hidden = false }: Parameters<FileCatalog['byPrefix']>[2] = {},
  ): Promise<readonly FileRow[]> {
    const [low, high] = hashRange(prefix);
    let query = this.#all().where('hash', '>=', low).where('hash', '<=', high).orderBy('hash').limit(limit);
    if (!hidden) query = query.where('hidden_at', 'is', null);
    return (await this.#read(query)).map(decodeFile);
  }

  async byName(
    tags: readonly Uint8Array[],
    limit: number,
    { hidden = false }: Parameters<FileCatalog['byName']>[2] = {},
  ): Promise<readonly FileRow[]> {
    const distinct = [...new Map(tags.map((tag) => [hexOf(tag), tag])).values()];
    const found: FileRow[] = [];
    for (const some of slicesOf(distinct, TAGS_AT_ONCE)) {
      const build = (): Compilable<Row> => this.#newestOf(some, limit, hidden);
      const query =
        some.length > 1 ? build() : this.#shaped(`newest ${limit} ${hidden}`, [some[0], limit], build);
      found.push(...(await this.#read(query)).map(decodeFile));
    }
    return found.toSorted(newestFirst).slice(0, limit);
  }

  async *list(options: Parameters<FileCatalog['list']>[0]): AsyncIterable<FileRow> {
    const { all, hidden = false, after, signal } = options;
    let newest: Place | null = after === undefined ? null : placeOf(after.first);
    const start = after === undefined ? null : placeOf(after.last);
    const rows = rowsOf<Row>(PAGE, signal, async (last, size) => {
      const page = await this.#read(this.#listed({ all, hidden, last: last ?? start, newest, size }));
      newest ??= page[0] ?? null;
      return page;
    });
    for await (const row of rows) yield decodeFile(row);
  }

  async *walk({ after, signal }: Parameters<FileCatalog['walk']>[0] = {}): AsyncIterable<FileRow> {
    const start = after === undefined ? null : bytesOf(after, HASH_DIGITS);
    const rows = rowsOf<Row>(PAGE, signal, (last, size) => {
      const behind = last?.hash ?? start;
      const page = this.#all().orderBy('hash').limit(size);
      return this.#read(behind === null ? page : page.where('hash', '>', behind));
    });
    for await (const row of rows) yield decodeFile(row);
  }

  async hide(hashes: readonly string[], hiddenAtMs: number | null): Promise<readonly string[]> {
    const wanted = allBytesOf(hashes);
    if (wanted.length === 0) return [];
    const next = hiddenAtMs === null ? null : time(hiddenAtMs);
    const { db, dialect } = this.#engine;
    // Kept across attempts: if the answer to the commit was lost, the next attempt finds nothing to change.
    const changed = new Set<string>();
    await this.#engine.write('durable', async (session) => {
      const { rows } = await session.run(
        dialect.lock(
          db.selectFrom('files').select(['hash', 'hidden_at']).where('hash', 'in', wanted).orderBy('hash'),
        ),
      );
      const other = rows.filter((row) => row.hidden_at !== next);
      if (other.length === 0) return;
      const found = other.map((row) => row.hash);
      await session.run(db.updateTable('files').set({ hidden_at: next }).where('hash', 'in', found));
      for (const row of other) {
        if ((row.hidden_at === null) !== (next === null)) changed.add(hexOf(row.hash));
      }
    });
    return [...changed];
  }

  async forget(hashes: readonly string[]): Promise<void> {
    const unwanted = allBytesOf(hashes);
    if (unwanted.length === 0) return;
    const { db, dialect } = this.#engine;
    const known = db.selectFrom('files').select('hash').where('hash', 'in', unwanted).orderBy('hash');
    await this.#engine.write('durable', async (session) => {
      // Only what has been locked in order: others may have come since.
      const { rows } = await session.run(dialect.lock(known));
      const found = rows.map((row) => row.hash);
      if (found.length > 0) await session.run(db.deleteFrom('files').where('hash', 'in', found));
    });
  }

  async counts(): Promise<{ readonly files: number; readonly hidden: number }> {
    const counted = (operator: 'is' | 'is not') =>
      this.#engine.db
        .selectFrom('files')
        .select((eb) => eb.fn.countAll<number>().as('n'))
        .where('hidden_at', operator, null);
    const query = this.#engine.db.selectNoFrom([
      counted('is').$asScalar().as('files'),
      counted('is not').$asScalar().as('hidden'),
    ]);
    const [counts] = await this.#read(query);
    return { files: counts?.files ?? 0, hidden: counts?.hidden ?? 0 };
  }

  #insertOf(rows: readonly Row[], onlyNew: boolean): Compilable {
    const insert = this.#engine.db.insertInto('files').values(rows);
    return insert.onConflict((conflict) => {
      const known = conflict.column('hash');
      if (onlyNew) return known.doNothing();
      return known.doUpdateSet((eb) => ({
        writer: eb.ref('excluded.writer'),
        name_tag: eb.ref('excluded.name_tag'),
        record: eb.ref('excluded.record'),
        version: eb.ref('excluded.version'),
        created_at: eb.ref('excluded.created_at'),
        expires_at: eb.ref('excluded.expires_at'),
        // Not `hidden_at`: whoever catches up with the buckets may not have seen that somebody has just removed the file.
      }));
    });
  }

  #all() {
    return this.#engine.db.selectFrom('files').selectAll();
  }

  async #read<O>(query: Compilable<O>): Promise<readonly O[]> {
    return (await this.#engine.read((session) => session.run(query))).rows;
  }

  /** The newest rows of each tag, as many as may be wanted of one. */
  #newestOf(tags: readonly Uint8Array[], limit: number, hidden: boolean): Compilable<Row> {
    const [first, ...others] = tags.map((tag) => {
      let query = this.#all()
        .where('name_tag', '=', tag)
        .orderBy('version', 'desc')
        .orderBy('created_at', 'desc')
        .orderBy('hash', 'desc')
        .limit(limit);
      if (!hidden) query = query.where('hidden_at', 'is', null);
      return this.#engine.db.selectFrom(query.as('of_tag')).selectAll();
    });
    if (first === undefined) throw new RangeError('No name tag is looked for.');
    return others.reduce((union, query) => union.unionAll(query), first);
  }

  /**
   * One page of a listing.
   *
   * @param of `newest`: the first row of the whole listing, once it is known. Versions that are put behind it meanwhile do
   *   not count as successors: else a file that gets a new version would be missing in both
   */
  #listed(of: {
    readonly all: boolean;
    readonly hidden: boolean;
    readonly last: Place | null;
    readonly newest: Place | null;
    readonly size: number;
  }): Compilable<Row> {
    const { all, hidden, last, newest, size } = of;
    const shown = hidden ? 'is not' : 'is';
    let page = this.#all()
      .where('hidden_at', shown, null)
      .orderBy('created_at', 'desc')
      .orderBy('hash', 'desc')
      .limit(size);
    if (last !== null) {
      page = page.where((eb) =>
        eb(eb.refTuple('created_at', 'hash'), '<', eb.tuple(last.created_at, last.hash)),
      );
    }
    if (all) return page;
    return page.where((eb) => {
      let newer = eb
        .selectFrom('files as newer')
        .select('newer.hash')
        .whereRef('newer.name_tag', '=', 'files.name_tag')
        .where('newer.hidden_at', shown, null)
        .where((inner) =>
          inner(
            inner.refTuple('newer.version', 'newer.created_at', 'newer.hash'),
            '>',
            inner.refTuple('files.version', 'files.created_at', 'files.hash'),
          ),
        );
      if (newest !== null) {
        const { created_at: at, hash } = newest;
        newer = newer.where((inner) =>
          inner(inner.refTuple('newer.created_at', 'newer.hash'), '<=', eb.tuple(at, hash)),
        );
      }
      return eb.not(eb.exists(newer));
    });
  }
}

function placeOf({ createdAtMs, hash }: ListPosition['first']): Place {
  return { created_at: time(createdAtMs), hash: bytesOf(hash, HASH_DIGITS) };
}

/** Orders the versions of a name: by version, then time, then hash, all descending. */
function newestFirst(a: FileRow, b: FileRow): number {
  if (a.version !== b.version) return b.version - a.version;
  if (a.createdAtMs !== b.createdAtMs) return b.createdAtMs - a.createdAtMs;
  return a.hash < b.hash ? 1 : -1;
}
