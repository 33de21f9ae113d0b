import type { ChunkCatalog, ChunkRow } from '../catalog.ts';
import { allBytesOf, bytesOf, decodeChunk, encodeAll, encodeChunk, HASH_DIGITS } from './encoding.ts';
import type { Engine } from './engine.ts';
import { rowsOf } from './pages.ts';
import type { Tables } from './schema.ts';

const PAGE = 1000;

/** The part of the catalog that knows where shards were last seen. */
export class SqlChunks implements ChunkCatalog {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async locate(ids: readonly string[]): Promise<ReadonlyMap<string, ChunkRow>> {
    const wanted = allBytesOf(ids);
    if (wanted.length === 0) return new Map();
    const query = this.#engine.db.selectFrom('chunks').selectAll().where('id', 'in', wanted);
    const { rows } = await this.#engine.read((session) => session.run(query));
    return new Map(rows.map(decodeChunk).map((row) => [row.id, row]));
  }

  async put(given: readonly ChunkRow[]): Promise<void> {
    const rows = encodeAll(given, (row) => row.id, encodeChunk);
    if (rows.length === 0) return;
    const query = this.#engine.db
      .insertInto('chunks')
      .values(rows)
      .onConflict((conflict) =>
        conflict.column('id').doUpdateSet((eb) => ({
          k: eb.ref('excluded.k'),
          m: eb.ref('excluded.m'),
          sealing: eb.ref('excluded.sealing'),
          sealed_size: eb.ref('excluded.sealed_size'),
          shards: eb.ref('excluded.shards'),
        })),
      );
    await this.#engine.writeOne('lazy', (session) => session.run(query));
  }

  async forget(ids: readonly string[]): Promise<void> {
    const unwanted = allBytesOf(ids);
    if (unwanted.length === 0) return;
    const { db, dialect } = this.#engine;
    const known = db.selectFrom('chunks').select('id').where('id', 'in', unwanted).orderBy('id');
    await this.#engine.write('lazy', async (session) => {
      // Only what has been locked in order: others may have come since.
      const { rows } = await session.run(dialect.lock(known));
      const found = rows.map((row) => row.id);
      if (found.length > 0) await session.run(db.deleteFrom('chunks').where('id', 'in', found));
    });
  }

  async *walk({ after, signal }: Parameters<ChunkCatalog['walk']>[0] = {}): AsyncIterable<ChunkRow> {
    const start = after === undefined ? null : bytesOf(after, HASH_DIGITS);
    const rows = rowsOf<Tables['chunks']>(PAGE, signal, async (last, size) => {
      const behind = last?.id ?? start;
      let page = this.#engine.db.selectFrom('chunks').selectAll().orderBy('id').limit(size);
      if (behind !== null) page = page.where('id', '>', behind);
      return (await this.#engine.read((session) => session.run(page))).rows;
    });
    for await (const row of rows) yield decodeChunk(row);
  }
}
