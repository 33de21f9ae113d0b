import { VaultError } from '../../errors.ts';
import type { BucketRow, Catalog } from '../catalog.ts';
import { bytesOf, damagedRow, hexOf, ID_DIGITS, plain } from './encoding.ts';
import type { Engine } from './engine.ts';
import { forgiveBucket } from './garbage.ts';
import { DEAD, PENDING } from './schema.ts';

type DescriptionMethods =
  | 'vault'
  | 'create'
  | 'updateSettings'
  | 'keyslots'
  | 'putKeyslot'
  | 'removeKeyslot'
  | 'buckets'
  | 'putBucket'
  | 'removeBucket'
  | 'counts';

/** Highest number that a bucket can have, see `packPlaces`. */
const LAST_BUCKET = 0xffff;

/** The part of the catalog that describes the vault, its keyslots and its buckets. */
export function descriptionMethods(engine: Engine): Pick<Catalog, DescriptionMethods> {
  const { db } = engine;

  return {
    async vault() {
      const { rows } = await engine.read((session) =>
        session.run(db.selectFrom('vault').select(['id', 'settings'])),
      );
      const [row] = rows;
      return row === undefined ? null : { id: hexOf(row.id), settings: plain(row.settings) };
    },

    async create(vault, keyslots) {
      const id = bytesOf(vault.id, ID_DIGITS);
      const slots = keyslots.map((slot) => ({ id: bytesOf(slot.id, ID_DIGITS), body: slot.body }));
      await engine.write('durable', async (session) => {
        const { affected } = await session.run(
          db
            .insertInto('vault')
            .values({ one: 1, id, settings: vault.settings })
            .onConflict((conflict) => conflict.column('one').doNothing()),
        );
        if (affected === 0) {
          const { rows } = await session.run(db.selectFrom('vault').select('id'));
          if (rows[0] !== undefined && hexOf(rows[0].id) === vault.id) return;
          throw new VaultError(
            'already-exists',
            `${engine.label} describes another vault already. Give each vault a catalog of its own (--db).`,
          );
        }
        if (slots.length > 0) await session.run(db.insertInto('keyslots').values(slots));
      });
    },

    async updateSettings(expected, next) {
      return engine.write('durable', async (session) => {
        const { affected } = await session.run(
          db.updateTable('vault').set({ settings: next }).where('settings', '=', expected),
        );
        if (affected > 0) return true;
        // Perhaps it was this very call, whose answer was lost.
        const { rows } = await session.run(db.selectFrom('vault').select('id').where('settings', '=', next));
        return rows.length > 0;
      });
    },

    async keyslots() {
      const { rows } = await engine.read((session) =>
        session.run(db.selectFrom('keyslots').selectAll().orderBy('id')),
      );
      return rows.map((row) => ({ id: hexOf(row.id), body: plain(row.body) }));
    },

    async putKeyslot(keyslot) {
      const id = bytesOf(keyslot.id, ID_DIGITS);
      const { body } = keyslot;
      await engine.writeOne('durable', (session) =>
        session.run(
          db
            .insertInto('keyslots')
            .values({ id, body })
            .onConflict((conflict) => conflict.column('id').doUpdateSet({ body })),
        ),
      );
    },

    async removeKeyslot(id) {
      const slot = bytesOf(id, ID_DIGITS);
      await engine.writeOne('durable', (session) =>
        session.run(db.deleteFrom('keyslots').where('id', '=', slot)),
      );
    },

    async buckets() {
      const { rows } = await engine.read((session) =>
        session.run(db.selectFrom('buckets').selectAll().where('id', 'is not', null).orderBy('number')),
      );
      return rows.map((row): BucketRow => {
        const { number, id, state, record } = row;
        if (id === null || record === null || (state !== 'active' && state !== 'draining')) {
          throw damagedRow(`the row of bucket ${number} is incomplete`);
        }
        return { number, id: hexOf(id), state, record: plain(record) };
      });
    },

    async putBucket(bucket) {
      const id = bytesOf(bucket.id, ID_DIGITS);
      const { state, record } = bucket;
      return engine.write('durable', async (session) => {
        const known = await session.run(
          db.updateTable('buckets').set({ state, record }).where('id', '=', id).returning('number'),
        );
        if (known.rows[0] !== undefined) return known.rows[0].number;
        const { rows } = await session.run(
          db.selectFrom('buckets').select((eb) => eb.fn.max('number').as('last')),
        );
        const number = (rows[0]?.last ?? 0) + 1;
        if (number > LAST_BUCKET) {
          throw new VaultError('invalid-input', `A vault cannot have had more than ${LAST_BUCKET} buckets.`);
        }
        // Two clients that add a bucket at once meet at the primary key, and one of them tries again.
        await session.run(db.insertInto('buckets').values({ number, id, state, record }));
        return number;
      });
    },

    async removeBucket(number) {
      await engine.write('durable', async (session) => {
        const { affected } = await session.run(
          db
            .updateTable('buckets')
            .set({ id: null, state: null, record: null })
            .where('number', '=', number)
            .where('id', 'is not', null),
        );
        if (affected > 0) await forgiveBucket(engine, session, number);
      });
    },

    async counts() {
      const { rows } = await engine.read((session) =>
        session.run(
          db.selectNoFrom((eb) => [
            eb
              .selectFrom('files')
              .select((n) => n.fn.countAll<number>().as('n'))
              .where('seq', 'is not', null)
              .$asScalar()
              .as('files'),
            eb
              .selectFrom('chunks')
              .select((n) => n.fn.countAll<number>().as('n'))
              .$asScalar()
              .as('chunks'),
            eb
              .selectFrom('garbage')
              .select((n) => n.fn.countAll<number>().as('n'))
              .$asScalar()
              .as('garbage'),
            eb
              .selectFrom('files')
              .select((n) => n.fn.countAll<number>().as('n'))
              .where('seq', 'is', null)
              .where('state', '=', PENDING)
              .$asScalar()
              .as('pendingPuts'),
            eb
              .selectFrom('files')
              .select((n) => n.fn.countAll<number>().as('n'))
              .where('seq', 'is', null)
              .where('state', '=', DEAD)
              .$asScalar()
              .as('deadPuts'),
          ]),
        ),
      );
      const [counts] = rows;
      return {
        files: counts?.files ?? 0,
        chunks: counts?.chunks ?? 0,
        garbage: counts?.garbage ?? 0,
        pendingPuts: counts?.pendingPuts ?? 0,
        deadPuts: counts?.deadPuts ?? 0,
      };
    },
  };
}
