import { throwIfAborted } from '../../errors.ts';
import type { Catalog, ChunkRow, FileRow } from '../catalog.ts';
import {
  bytesOf,
  decodeChunk,
  decodeFile,
  encodeChunk,
  encodeGarbage,
  FILE_COLUMNS,
  generationBytes,
  HASH_DIGITS,
  hashRange,
  hexOf,
  supersededPlaces,
} from './encoding.ts';
import type { Engine } from './engine.ts';
import { owe } from './garbage.ts';
import { describedBy, requirePending } from './puts.ts';
import { dropRefs, oweManifests } from './removal.ts';
import { PENDING } from './schema.ts';

/** Rows in memory while a listing runs. */
const FILE_PAGE = 500;
const CHUNK_PAGE = 1000;

type FileMethods =
  | 'knownManifests'
  | 'filesByHash'
  | 'filesByName'
  | 'listFiles'
  | 'expiredFiles'
  | 'locateChunks'
  | 'listChunks'
  | 'filesOfChunks'
  | 'removeFiles'
  | 'replaceFile'
  | 'replaceChunk';

/** The part of the catalog that finds visible files and their chunks, changes and removes them. */
export function fileMethods(engine: Engine): Pick<Catalog, FileMethods> {
  const { db, dialect } = engine;

  return {
    async knownManifests(hashes) {
      if (hashes.length === 0) return new Set();
      const wanted = hashes.map((hash) => bytesOf(hash, HASH_DIGITS));
      // One statement, so that a put which is committed meanwhile is seen on one side of it or on the other.
      const { rows } = await engine.read((session) =>
        session.run(
          db
            .selectFrom('files')
            .select('hash as manifest')
            .where('hash', 'in', wanted)
            .unionAll(
              db
                .selectFrom('files')
                .select('announced as manifest')
                .where('seq', 'is', null)
                .where('state', '=', PENDING)
                .where('announced', 'in', wanted),
            ),
        ),
      );
      return new Set(rows.flatMap((row) => (row.manifest === null ? [] : [hexOf(row.manifest)])));
    },

    async filesByHash(prefix, limit) {
      const [low, high] = hashRange(prefix);
      const { rows } = await engine.read((session) =>
        session.run(
          db
            .selectFrom('files')
            .select(FILE_COLUMNS)
            .where('hash', '>=', low)
            .where('hash', '<=', high)
            .orderBy('hash')
            .limit(limit),
        ),
      );
      return rows.map(decodeFile);
    },

    async filesByName(nameTag, limit) {
      const { rows } = await engine.read((session) =>
        session.run(
          db
            .selectFrom('files')
            .select(FILE_COLUMNS)
            .where('name_tag', '=', nameTag)
            .orderBy('seq', 'desc')
            .limit(limit),
        ),
      );
      return rows.map(decodeFile);
    },

    async *listFiles({ all, signal }) {
      let before = Number.MAX_SAFE_INTEGER;
      // Files that become visible while the listing runs are left out also as successors: else a file replaced
      // meanwhile would be missing in both its versions.
      let newest: number | null = null;
      while (true) {
        throwIfAborted(signal);
        let page = db
          .selectFrom('files')
          .select(FILE_COLUMNS)
          .where('seq', '<', before)
          .orderBy('seq', 'desc')
          .limit(FILE_PAGE);
        if (!all) {
          const upTo = newest ?? Number.MAX_SAFE_INTEGER;
          page = page.where((eb) =>
            eb.not(
              eb.exists(
                eb
                  .selectFrom('files as newer')
                  .select('newer.seq')
                  .whereRef('newer.name_tag', '=', 'files.name_tag')
                  .whereRef('newer.seq', '>', 'files.seq')
                  .where('newer.seq', '<=', upTo),
              ),
            ),
          );
        }
        const { rows } = await engine.read((session) => session.run(page));
        for (const row of rows) {
          throwIfAborted(signal);
          yield decodeFile(row);
          before = row.seq ?? before;
          newest ??= before;
        }
        if (rows.length < FILE_PAGE) return;
      }
    },

    async *expiredFiles(nowMs) {
      let after: { readonly at: number; readonly seq: number } | null = null;
      while (true) {
        let page = db
          .selectFrom('files')
          .select(FILE_COLUMNS)
          .where('expires_at', '<=', nowMs)
          .orderBy('expires_at')
          .orderBy('seq')
          .limit(FILE_PAGE);
        if (after !== null) {
          const { at, seq }: { at: number; seq: number } = after;
          page = page.where((eb) => eb(eb.refTuple('expires_at', 'seq'), '>', eb.tuple(at, seq)));
        }
        const { rows } = await engine.read((session) => session.run(page));
        for (const row of rows) {
          yield decodeFile(row);
          after = { at: row.expires_at ?? nowMs, seq: row.seq ?? 0 };
        }
        if (rows.length < FILE_PAGE) return;
      }
    },

    async locateChunks(ids) {
      if (ids.length === 0) return new Map();
      const wanted = ids.map((id) => bytesOf(id, HASH_DIGITS));
      const { rows } = await engine.read((session) =>
        session.run(db.selectFrom('chunks').selectAll().where('id', 'in', wanted)),
      );
      return new Map(rows.map((row) => [hexOf(row.id), decodeChunk(row)]));
    },

    async *listChunks(options) {
      let after: ChunkRow['id'] = options?.after ?? '';
      while (true) {
        throwIfAborted(options?.signal);
        let page = db.selectFrom('chunks').selectAll().orderBy('id').limit(CHUNK_PAGE);
        if (after !== '') page = page.where('id', '>', bytesOf(after, HASH_DIGITS));
        const { rows } = await engine.read((session) => session.run(page));
        for (const row of rows) {
          throwIfAborted(options?.signal);
          const chunk = decodeChunk(row);
          after = chunk.id;
          yield chunk;
        }
        if (rows.length < CHUNK_PAGE) return;
      }
    },

    async filesOfChunks(ids) {
      if (ids.length === 0) return [];
      const wanted = ids.map((id) => bytesOf(id, HASH_DIGITS));
      const { rows } = await engine.read((session) =>
        session.run(
          db
            .selectFrom('files')
            .select(FILE_COLUMNS)
            .where('seq', 'is not', null)
            .where('generation', 'in', (eb) =>
              eb.selectFrom('refs').select('file').distinct().where('chunk', 'in', wanted),
            ),
        ),
      );
      return rows.map(decodeFile);
    },

    async removeFiles(hashes) {
      if (hashes.length === 0) return [];
      const wanted = hashes.map((hash) => bytesOf(hash, HASH_DIGITS));
      // Kept across attempts: if the answer to the commit was lost, the next attempt finds nothing any more.
      const removed = new Set<FileRow['hash']>();
      await engine.write('durable', async (session) => {
        const { rows } = await session.run(
          dialect.lock(
            db
              .selectFrom('files')
              .select(['generation', 'hash'])
              .where('hash', 'in', wanted)
              .orderBy('generation'),
            'files',
            'change',
          ),
        );
        if (rows.length === 0) return;
        const generations = rows.map((row) => row.generation);
        const found = rows.flatMap((row) => (row.hash === null ? [] : [row.hash]));
        await dropRefs(engine, session, generations);
        await session.run(db.deleteFrom('files').where('generation', 'in', generations));
        await oweManifests(engine, session, found);
        for (const hash of found) removed.add(hexOf(hash));
      });
      return [...removed];
    },

    async replaceFile(file) {
      return engine.writeOne('durable', async (session) => {
        const { affected } = await session.run(
          db.updateTable('files').set(describedBy(file)).where('hash', '=', bytesOf(file.hash, HASH_DIGITS)),
        );
        return affected === 1;
      });
    },

    async replaceChunk(expected, next, options = {}) {
      const put = options.generation === undefined ? null : generationBytes(options.generation);
      const old = encodeChunk(expected);
      const row = encodeChunk(next);
      if (expected.id !== next.id) throw new RangeError('A chunk is replaced by one with the same id.');
      const debt = supersededPlaces(expected, next);
      return engine.write('durable', async (session) => {
        if (put !== null) await requirePending(engine, session, put);
        const { affected } = await session.run(
          db
            .updateTable('chunks')
            .set({ k: row.k, m: row.m, sealed_size: row.sealed_size, shards: row.shards })
            .where('id', '=', old.id)
            .where('k', '=', old.k)
            .where('m', '=', old.m)
            .where('sealed_size', '=', old.sealed_size)
            .where('shards', '=', old.shards),
        );
        if (affected === 0) {
          // Perhaps it was this very call, whose answer was lost.
          const { rows } = await session.run(
            db
              .selectFrom('chunks')
              .select('id')
              .where('id', '=', row.id)
              .where('k', '=', row.k)
              .where('m', '=', row.m)
              .where('sealed_size', '=', row.sealed_size)
              .where('shards', '=', row.shards),
          );
          return rows.length === 1;
        }
        const owed = debt === null ? [] : encodeGarbage(debt);
        if (owed.length > 0) await owe(engine, session, owed);
        return true;
      });
    },
  };
}
