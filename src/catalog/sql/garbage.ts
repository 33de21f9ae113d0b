import type { Catalog } from '../catalog.ts';
import { decodeGarbage, encodeGarbage } from './encoding.ts';
import type { Answer, Engine, Session } from './engine.ts';
import type { Tables } from './schema.ts';

const PAGE = 1000;

type GarbageMethods = 'garbage' | 'addGarbage' | 'settleGarbage' | 'rememberStrays';

/** The part of the catalog that knows which objects are to go. */
export function garbageMethods(engine: Engine): Pick<Catalog, GarbageMethods> {
  const { db } = engine;

  return {
    async *garbage() {
      let after: Tables['garbage'] | null = null;
      while (true) {
        const page = garbagePage(engine, after);
        const { rows } = await engine.read((session) => session.run(page));
        for (const row of rows) yield decodeGarbage(row);
        if (rows.length < PAGE) return;
        after = rows.at(-1) ?? null;
      }
    },

    async addGarbage(rows) {
      const values = rows.flatMap(encodeGarbage);
      if (values.length === 0) return;
      await engine.write('lazy', (session) => owe(engine, session, values));
    },

    async settleGarbage(done) {
      const settled = done.flatMap(({ row, owed }) => {
        const remainder = encodeGarbage({ ...row, places: owed });
        return encodeGarbage(row).map((old) => ({ old, remainder }));
      });
      // Many rows share their places (those of one put have few combinations of buckets and one generation),
      // so that a statement for each combination strikes out exactly the rows that are meant.
      const groups = Map.groupBy(
        settled,
        ({ old }) => `${old.kind} ${Buffer.from(old.places).toString('hex')}`,
      );
      if (groups.size === 0) return;
      await engine.write('lazy', async (session) => {
        const owed = await Promise.all(
          [...groups.values()].map(async (group) => {
            const [first] = group;
            if (first === undefined) return [];
            const { rows } = await session.run(
              db
                .deleteFrom('garbage')
                .where('kind', '=', first.old.kind)
                .where('places', '=', first.old.places)
                .where(
                  'id',
                  'in',
                  group.map(({ old }) => old.id),
                )
                .returning('id'),
            );
            // What another client has struck out meanwhile is not owed again.
            const struck = new Set(rows.map((row) => Buffer.from(row.id).toString('hex')));
            return group.flatMap(({ old, remainder }) =>
              struck.has(Buffer.from(old.id).toString('hex')) ? remainder : [],
            );
          }),
        );
        const remainder = owed.flat();
        if (remainder.length > 0) await owe(engine, session, remainder);
      });
    },

    async rememberStrays(bucket, names, nowMs) {
      const given = new Set(names);
      return engine.write('lazy', async (session) => {
        const seen = new Map<string, number>();
        const gone: Uint8Array[] = [];
        let after: Uint8Array = new Uint8Array();
        while (true) {
          const { rows }: Answer<Pick<Tables['strays'], 'name' | 'seen_at'>> = await session.run(
            db
              .selectFrom('strays')
              .select(['name', 'seen_at'])
              .where('bucket', '=', bucket)
              .where('name', '>', after)
              .orderBy('name')
              .limit(PAGE),
          );
          for (const row of rows) {
            const name = Buffer.from(row.name).toString();
            if (given.has(name)) seen.set(name, row.seen_at);
            else gone.push(row.name);
          }
          const last = rows.at(-1);
          if (last === undefined || rows.length < PAGE) break;
          after = last.name;
        }
        for (const some of pages(gone)) {
          await session.run(db.deleteFrom('strays').where('bucket', '=', bucket).where('name', 'in', some));
        }
        for (const some of pages([...given].filter((name) => !seen.has(name)))) {
          await session.run(
            db
              .insertInto('strays')
              .values(some.map((name) => ({ bucket, name: Buffer.from(name), seen_at: nowMs })))
              .onConflict((conflict) => conflict.columns(['bucket', 'name']).doNothing()),
          );
          for (const name of some) seen.set(name, nowMs);
        }
        return seen;
      });
    },
  };
}

/**
 * Forgets every removal owed to a bucket, as part of forgetting the bucket itself.
 *
 * @param bucket its number
 */
export async function forgiveBucket(engine: Engine, session: Session, bucket: number): Promise<void> {
  const { db } = engine;
  let after: Tables['garbage'] | null = null;
  while (true) {
    const { rows }: Answer<Tables['garbage']> = await session.run(garbagePage(engine, after));
    for (const old of rows) {
      const row = decodeGarbage(old);
      const places = row.places.filter((place) => place.bucket !== bucket);
      if (places.length === row.places.length) continue;
      const { affected } = await session.run(
        db
          .deleteFrom('garbage')
          .where('id', '=', old.id)
          .where('kind', '=', old.kind)
          .where('places', '=', old.places),
      );
      // What another client has struck out meanwhile is not owed again.
      if (affected === 0) continue;
      const remainder = encodeGarbage({ ...row, places });
      if (remainder.length > 0) await owe(engine, session, remainder);
    }
    if (rows.length < PAGE) break;
    after = rows.at(-1) ?? null;
  }
  await session.run(db.deleteFrom('strays').where('bucket', '=', bucket));
}

/** Up to `PAGE` rows of garbage after the given one, in the order of the primary key. */
function garbagePage({ db }: Engine, after: Tables['garbage'] | null) {
  const page = db
    .selectFrom('garbage')
    .selectAll()
    .orderBy('id')
    .orderBy('kind')
    .orderBy('places')
    .limit(PAGE);
  if (after === null) return page;
  return page.where((eb) =>
    eb(eb.refTuple('id', 'kind', 'places'), '>', eb.tuple(after.id, after.kind, after.places)),
  );
}

/** Owes removals; those owed already stay as they are. */
export async function owe(
  engine: Engine,
  session: Session,
  rows: readonly Tables['garbage'][],
): Promise<void> {
  await session.run(
    engine.db
      .insertInto('garbage')
      .values(rows)
      .onConflict((conflict) => conflict.columns(['id', 'kind', 'places']).doNothing()),
  );
}

function* pages<T>(items: readonly T[]): Generator<readonly T[]> {
  for (let at = 0; at < items.length; at += PAGE) yield items.slice(at, at + PAGE);
}
