import { VaultError } from '../../errors.ts';
import type { Catalog, ChunkRow, NewFileRow, PendingPut } from '../catalog.ts';
import {
  bytesOf,
  decodeChunk,
  decodeOwner,
  encodeChunk,
  encodeGarbage,
  encodeOwner,
  generationBytes,
  HASH_DIGITS,
  hexOf,
  supersededPlaces,
} from './encoding.ts';
import type { Engine, Session } from './engine.ts';
import { owe } from './garbage.ts';
import { endPut } from './removal.ts';
import { DEAD, MANIFEST_GARBAGE, PENDING, VISIBLE } from './schema.ts';
import type { Tables } from './schema.ts';

type PutMethods =
  | 'beginPut'
  | 'renewPut'
  | 'claimChunks'
  | 'recordChunks'
  | 'announceManifest'
  | 'commitPut'
  | 'discardPut'
  | 'buryPuts'
  | 'deadPuts'
  | 'pendingPuts'
  | 'forgetPut';

/** The part of the catalog that takes a put from its intent to a visible file, or to its end. */
export function putMethods(engine: Engine): Pick<Catalog, PutMethods> {
  const { db, dialect } = engine;

  /** The rows that a pending put has claimed, of those asked for; `stale` if it is no longer pending. */
  async function claimed(
    session: Session,
    generation: Uint8Array,
    ids: readonly Uint8Array[],
  ): Promise<ReadonlyMap<string, ChunkRow>> {
    // The put's own row comes along even when no chunk is found, so that one round trip tells both.
    const { rows } = await session.run(
      db
        .selectFrom('files')
        .leftJoin('refs', (join) =>
          join.onRef('refs.file', '=', 'files.generation').on('refs.chunk', 'in', ids),
        )
        .leftJoin('chunks', 'chunks.id', 'refs.chunk')
        .select(['chunks.id', 'chunks.k', 'chunks.m', 'chunks.sealed_size', 'chunks.shards'])
        .where('files.generation', '=', generation)
        .where('files.state', '=', PENDING),
    );
    if (rows.length === 0) throw stale(generation);
    return chunkMap(rows);
  }

  return {
    async beginPut({ generation, owner, objects = 'sent' }) {
      const id = generationBytes(generation);
      await engine.writeOne('lazy', async (session) => {
        const { affected } = await session.run(
          db
            .insertInto('files')
            .values({
              generation: id,
              state: PENDING,
              owner: encodeOwner(owner, objects),
              renewed_at: dialect.nowMs,
            })
            .onConflict((conflict) => conflict.column('generation').doNothing()),
        );
        if (affected === 0) await requirePending(engine, session, id);
      });
    },

    async renewPut(generation) {
      const id = generationBytes(generation);
      await engine.writeOne('lazy', async (session) => {
        const { affected } = await session.run(
          db
            .updateTable('files')
            .set({ renewed_at: dialect.nowMs })
            .where('generation', '=', id)
            .where('state', '=', PENDING),
        );
        if (affected === 0) throw stale(id);
      });
    },

    async claimChunks(generation, ids) {
      const id = generationBytes(generation);
      const wanted = ids.map((chunk) => bytesOf(chunk, HASH_DIGITS)).toSorted((a, b) => Buffer.compare(a, b));
      if (wanted.length === 0) return new Map();
      // New data is the common case, and costs this one look.
      const found = await engine.read(async (session) => {
        const { rows } = await session.run(
          db
            .selectFrom('files')
            .leftJoin('chunks', (join) => join.on('chunks.id', 'in', wanted))
            .select('chunks.id')
            .where('files.generation', '=', id)
            .where('files.state', '=', PENDING),
        );
        if (rows.length === 0) throw stale(id);
        return rows.flatMap((row) => (row.id === null ? [] : [row.id]));
      });
      if (found.length === 0) return new Map();
      // A transaction, though it is one statement that writes: it must have the isolation that removals have, and a
      // server may run single statements with another one, as CockroachDB does, where the two then miss each other
      // (https://github.com/cockroachdb/cockroach/issues/151663).
      return engine.write('lazy', async (session) => {
        // The locks make the statement wait for a removal that is under way, and then leave out what it
        // removed. They are taken in the order of ids, as everywhere.
        const rows = db
          .selectFrom(['files', 'chunks'])
          .select(['files.generation', 'chunks.id'])
          .where('files.generation', '=', id)
          .where('files.state', '=', PENDING)
          .where('chunks.id', 'in', found)
          .orderBy('chunks.id');
        const [, chunks] = await Promise.all([
          session.run(
            db
              .insertInto('refs')
              .columns(['file', 'chunk'])
              .expression(dialect.lock(dialect.lock(rows, 'files', 'keep'), 'chunks', 'refer'))
              .onConflict((conflict) => conflict.columns(['file', 'chunk']).doNothing()),
          ),
          claimed(session, id, found),
        ]);
        return chunks;
      });
    },

    async recordChunks(generation, chunks) {
      const id = generationBytes(generation);
      const given = new Map(chunks.map((chunk) => [chunk.id, chunk]));
      const rows = chunks.map(encodeChunk).toSorted((a, b) => Buffer.compare(a.id, b.id));
      if (rows.length === 0) return new Map();
      return engine.write('lazy', async (session) => {
        // One after the other, but without waiting in between: one round trip. After the insert every chunk has a row,
        // ours or somebody else's, and the references keep it; if one was removed between the two, the foreign key
        // says so and all of this is repeated.
        const pending = requirePending(engine, session, id);
        const writing = Promise.all([
          session.run(
            db
              .insertInto('chunks')
              .values(rows)
              .onConflict((conflict) => conflict.column('id').doNothing())
              .returning('chunks.id'),
          ),
          session.run(
            db
              .insertInto('refs')
              .values(rows.map((row) => ({ file: id, chunk: row.id })))
              .onConflict((conflict) => conflict.columns(['file', 'chunk']).doNothing()),
          ),
        ]);
        // A put that is unknown is stale, however the references to it failed.
        writing.catch(() => undefined);
        const { objects } = await pending;
        const [inserted] = await writing;
        const inForce = new Map<string, ChunkRow>();
        for (const row of inserted.rows) {
          const chunk = given.get(hexOf(row.id));
          if (chunk !== undefined) inForce.set(chunk.id, chunk);
        }
        const known = rows.flatMap((row) => (inForce.has(hexOf(row.id)) ? [] : [row.id]));
        if (known.length === 0) return inForce;
        const theirs = await session.run(db.selectFrom('chunks').selectAll().where('id', 'in', known));
        const owed: Tables['garbage'][] = [];
        for (const [chunk, row] of chunkMap(theirs.rows)) {
          inForce.set(chunk, row);
          const mine = given.get(chunk);
          const debt = mine === undefined ? null : supersededPlaces(mine, row);
          if (debt !== null) owed.push(...encodeGarbage(debt));
        }
        if (owed.length > 0 && objects === 'sent') await owe(engine, session, owed);
        return inForce;
      });
    },

    async announceManifest(generation, hash) {
      const id = generationBytes(generation);
      const announced = bytesOf(hash, HASH_DIGITS);
      await engine.writeOne('lazy', async (session) => {
        const { affected } = await session.run(
          db
            .updateTable('files')
            .set({ announced, renewed_at: dialect.nowMs })
            .where('generation', '=', id)
            .where('state', '=', PENDING),
        );
        if (affected === 0) throw stale(id);
      });
    },

    async commitPut(generation, file) {
      const id = generationBytes(generation);
      const hash = bytesOf(file.hash, HASH_DIGITS);
      await engine.write('durable', async (session) => {
        const [made] = await Promise.all([
          session.run(
            db
              .updateTable('files')
              .set({ state: VISIBLE, seq: dialect.nextSeq, hash, ...describedBy(file) })
              .where('generation', '=', id)
              .where('state', '=', PENDING)
              .where((eb) =>
                eb.not(
                  eb.exists(
                    eb.selectFrom('files as other').select('other.generation').where('other.hash', '=', hash),
                  ),
                ),
              ),
          ),
          // A file is visible: its manifest is owed no longer, in case an earlier put of the same manifest was buried.
          session.run(db.deleteFrom('garbage').where('id', '=', hash).where('kind', '=', MANIFEST_GARBAGE)),
        ]);
        if (made.affected === 1) return;
        const { rows } = await session.run(
          db.selectFrom('files').select(['generation']).where('hash', '=', hash),
        );
        const [visible] = rows;
        if (visible === undefined) throw stale(id);
        // The same manifest is visible already, by this put or by another one: then this one has nothing to add.
        if (hexOf(visible.generation) !== generation) await endPut(engine, session, id, { to: 'forget' });
      });
    },

    async discardPut(generation) {
      const id = generationBytes(generation);
      await engine.write('lazy', async (session) => endPut(engine, session, id, { to: 'forget' }));
    },

    async buryPuts({ leaseMs, isGone }) {
      const { rows } = await engine.read((session) =>
        session.run(
          db
            .selectFrom('files')
            .select(['generation', 'owner', 'renewed_at', dialect.nowMs.as('now')])
            .where('seq', 'is', null)
            .where('state', '=', PENDING),
        ),
      );
      for (const put of rows) {
        const gone = isGone(decodeOwner(put.owner).owner);
        if (!gone && put.renewed_at > put.now - leaseMs) continue;
        // One transaction a put, so that many dead ones do not hold up the living. The one that has shown a sign of life since is spared.
        await engine.write('lazy', async (session) =>
          endPut(engine, session, put.generation, { to: 'bury', renewedAt: put.renewed_at }),
        );
      }
    },

    async deadPuts() {
      const { rows } = await engine.read((session) =>
        session.run(
          db
            .selectFrom('files')
            .select('generation')
            .where('seq', 'is', null)
            .where('state', '=', DEAD)
            .orderBy('generation'),
        ),
      );
      return rows.map((row) => hexOf(row.generation));
    },

    async pendingPuts() {
      const { rows } = await engine.read((session) =>
        session.run(
          db
            .selectFrom('files')
            .select(['generation', 'owner'])
            .where('seq', 'is', null)
            .where('state', '=', PENDING)
            .orderBy('generation'),
        ),
      );
      return rows.map((row): PendingPut => ({
        generation: hexOf(row.generation),
        owner: decodeOwner(row.owner).owner,
      }));
    },

    async forgetPut(generation) {
      const id = generationBytes(generation);
      await engine.writeOne('lazy', (session) =>
        session.run(db.deleteFrom('files').where('generation', '=', id).where('state', '=', DEAD)),
      );
    },
  };
}

/**
 * Keeps a put pending until the transaction ends.
 *
 * @returns where its objects come from
 * @throws `stale` unless the put is pending
 */
export async function requirePending(
  engine: Engine,
  session: Session,
  generation: Uint8Array,
): Promise<Pick<ReturnType<typeof decodeOwner>, 'objects'>> {
  const { rows } = await session.run(
    engine.dialect.lock(
      engine.db
        .selectFrom('files')
        .select('owner')
        .where('generation', '=', generation)
        .where('state', '=', PENDING),
      'files',
      'keep',
    ),
  );
  const [put] = rows;
  if (put === undefined) throw stale(generation);
  return decodeOwner(put.owner);
}

/** The columns that say what a visible file is, beside its hash. */
export function describedBy(file: NewFileRow) {
  return {
    name_tag: file.nameTag,
    record: file.record,
    created_at: file.createdAtMs,
    expires_at: file.expiresAtMs,
  };
}

type NullableChunk = { readonly [column in keyof Tables['chunks']]: Tables['chunks'][column] | null };

/** Decoded rows by id; rows that an outer join left empty are passed over. */
function chunkMap(rows: readonly NullableChunk[]): Map<string, ChunkRow> {
  const chunks = new Map<string, ChunkRow>();
  for (const { id, k, m, sealed_size, shards } of rows) {
    if (id === null || k === null || m === null || sealed_size === null || shards === null) continue;
    const chunk = decodeChunk({ id, k, m, sealed_size, shards });
    chunks.set(chunk.id, chunk);
  }
  return chunks;
}

function stale(generation: Uint8Array): VaultError {
  return new VaultError(
    'stale',
    `The put ${hexOf(generation)} is no longer under way: another client took it for dead and cleaned up. Start it again.`,
  );
}
