import { randomBytes } from 'node:crypto';
import { decodeOwner, encodeGarbage, hexOf } from './encoding.ts';
import type { Engine, Session } from './engine.ts';
import { owe } from './garbage.ts';
import { CHUNK_GARBAGE, DEAD, PENDING } from './schema.ts';

/** References dropped by one round of statements: bounds the memory for a file of any size. */
const PAGE = 2000;

/**
 * Drops everything that these rows of `files` refer to, and turns the chunks that nothing else refers to
 * into garbage, unless their objects were `found`: then only the catalog forgets them. The caller holds a `change` lock on the rows, so they gain no reference meanwhile.
 *
 * Each page locks its chunks first. From then on no claim can get a reference in (the foreign key's check
 * waits) and no other removal can take one out, so the look for other references and the
 * deletion agree; a client whose database locks differently is stopped by the foreign key.
 */
export async function dropRefs(
  engine: Engine,
  session: Session,
  files: readonly Uint8Array[],
  objects: 'sent' | 'found' = 'sent',
): Promise<void> {
  const { db } = engine;
  const { rows } = await session.run(
    db
      .selectFrom('refs')
      .select(['file', (eb) => eb.fn.countAll<number>().as('chunks')])
      .where('file', 'in', files)
      .groupBy('file')
      .orderBy('file'),
  );
  let group: Uint8Array[] = [];
  let inGroup = 0;
  for (const { file, chunks } of rows) {
    if (inGroup + chunks > PAGE && group.length > 0) {
      await dropPage(engine, session, group, { objects, after: null });
      group = [];
      inGroup = 0;
    }
    group.push(file);
    inGroup += chunks;
    if (inGroup > PAGE) {
      // A large file, on its own.
      let last: Uint8Array | null = null;
      do last = await dropPage(engine, session, group, { objects, after: last });
      while (last !== null);
      group = [];
      inGroup = 0;
    }
  }
  if (group.length > 0) await dropPage(engine, session, group, { objects, after: null });
}

/**
 * Drops the first `PAGE` chunks that the files refer to behind the chunk `after`. Each page begins where the one before it
 * ended: what a transaction has deleted stays in the index until it ends, so that a search from the start would pass
 * over all of that again for every page.
 *
 * @returns the last of them; null if there were fewer
 */
async function dropPage(
  engine: Engine,
  session: Session,
  files: readonly Uint8Array[],
  { objects, after }: { readonly objects: 'sent' | 'found'; readonly after: Uint8Array | null },
): Promise<Uint8Array | null> {
  const { db, dialect } = engine;
  // Every statement is given the ids that it is about. Asked to find them by a join, a planner that takes the page for a
  // large part of the table reads all of the table.
  let page = db
    .selectFrom('refs')
    .select('chunk')
    .distinct()
    .where('file', 'in', files)
    .orderBy('chunk')
    .limit(PAGE);
  if (after !== null) page = page.where('chunk', '>', after);
  const { rows } = await session.run(page);
  const ids = rows.map((row) => row.chunk);
  if (ids.length === 0) return null;
  const last = ids.length === PAGE ? (ids.at(-1) ?? null) : null;
  const [locked, , elsewhere] = await Promise.all([
    session.run(
      dialect.lock(
        db.selectFrom('chunks').selectAll().where('id', 'in', ids).orderBy('id'),
        'chunks',
        'change',
      ),
    ),
    session.run(db.deleteFrom('refs').where('file', 'in', files).where('chunk', 'in', ids)),
    session.run(db.selectFrom('refs').select('chunk').distinct().where('chunk', 'in', ids)),
  ]);
  const kept = new Set(elsewhere.rows.map((row) => hexOf(row.chunk)));
  const unreferenced = locked.rows.filter((row) => !kept.has(hexOf(row.id)));
  if (unreferenced.length === 0) return last;
  await Promise.all([
    objects === 'found'
      ? null
      : owe(
          engine,
          session,
          unreferenced.map(({ id, k, m, shards }) => ({ id, kind: CHUNK_GARBAGE, k, m, places: shards })),
        ),
    session.run(
      db.deleteFrom('chunks').where(
        'id',
        'in',
        unreferenced.map((row) => row.id),
      ),
    ),
  ]);
  return last;
}

/** Owes the removal of these manifests in every bucket, except those of files that are visible. */
export async function oweManifests(
  engine: Engine,
  session: Session,
  hashes: readonly Uint8Array[],
): Promise<void> {
  const { db } = engine;
  const [visible, buckets] = await Promise.all([
    session.run(db.selectFrom('files').select('hash').where('hash', 'in', hashes)),
    session.run(db.selectFrom('buckets').select('number').where('id', 'is not', null)),
  ]);
  const kept = new Set(visible.rows.map((row) => (row.hash === null ? '' : hexOf(row.hash))));
  const generation = randomBytes(8).toString('hex');
  const places = buckets.rows.map((row) => ({ index: 0, bucket: row.number, generation }));
  const rows = hashes.flatMap((hash) => {
    const id = hexOf(hash);
    return kept.has(id) ? [] : encodeGarbage({ kind: 'manifest', id, k: 0, m: 0, places });
  });
  if (rows.length === 0) return;
  await owe(engine, session, rows);
}

/**
 * Ends a pending put: drops its references and owes the removal of the manifest that it announced, if it sent that.
 * Does nothing if it is not pending.
 *
 * @param end `forget`: nothing remains of it. `bury`: its generation stays known as dead; with `renewedAt`, the
 *   sign of life that it was judged by, it is spared if it has shown another one since
 */
export async function endPut(
  engine: Engine,
  session: Session,
  generation: Uint8Array,
  end: { readonly to: 'forget' } | { readonly to: 'bury'; readonly renewedAt: number },
): Promise<void> {
  const { db, dialect } = engine;
  const { rows } = await session.run(
    dialect.lock(
      db
        .selectFrom('files')
        .select(['announced', 'owner', 'renewed_at'])
        .where('generation', '=', generation)
        .where('state', '=', PENDING),
      'files',
      'change',
    ),
  );
  const [put] = rows;
  if (put === undefined || (end.to === 'bury' && put.renewed_at !== end.renewedAt)) return;
  const { objects } = decodeOwner(put.owner);
  await dropRefs(engine, session, [generation], objects);
  if (put.announced !== null && objects === 'sent') await oweManifests(engine, session, [put.announced]);
  await session.run(
    end.to === 'forget'
      ? db.deleteFrom('files').where('generation', '=', generation)
      : db.updateTable('files').set({ state: DEAD }).where('generation', '=', generation),
  );
}
