import { invalidInput, VaultError } from '../../errors.ts';
import type { BucketRow, SetupCatalog, VaultRow } from '../catalog.ts';
import { bytesOf, damagedRow, hexOf, ID_DIGITS, LAST_BUCKET, plain, whole } from './encoding.ts';
import type { Engine } from './engine.ts';

/** The part of the catalog that describes the vault, its keyring and its buckets. */
export class SqlSetup implements SetupCatalog {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async vault(): Promise<VaultRow | null> {
    const query = this.#engine.db.selectFrom('vault').select(['id', 'epoch', 'keyring', 'writer']);
    const { rows } = await this.#engine.read((session) => session.run(query));
    const [row] = rows;
    if (row === undefined) return null;
    const { id, epoch, keyring, writer } = row;
    return { id: hexOf(id), epoch, keyring: plain(keyring), writer: hexOf(writer) };
  }

  async create(vault: VaultRow): Promise<void> {
    const { db, label } = this.#engine;
    const row = {
      one: 1,
      id: bytesOf(vault.id, ID_DIGITS),
      epoch: whole(vault.epoch, 'An epoch'),
      keyring: vault.keyring,
      writer: bytesOf(vault.writer, ID_DIGITS),
    };
    await this.#engine.write('durable', async (session) => {
      const { affected } = await session.run(
        db
          .insertInto('vault')
          .values(row)
          .onConflict((conflict) => conflict.column('one').doNothing()),
      );
      if (affected > 0) return;
      const { rows } = await session.run(db.selectFrom('vault').select('id'));
      if (rows[0] !== undefined && hexOf(rows[0].id) === vault.id) return;
      throw new VaultError(
        'already-exists',
        `${label} describes another vault already. Give each vault a catalog of its own (--db).`,
      );
    });
  }

  async clear(): Promise<void> {
    const { db, label } = this.#engine;
    await this.#engine.write('durable', async (session) => {
      const { rows } = await session.run(db.selectFrom('files').select('hash').limit(1));
      if (rows.length > 0)
        throw new VaultError('already-exists', `${label} describes a vault that has files.`);
      await session.run(db.deleteFrom('buckets'));
      await session.run(db.deleteFrom('notes'));
      await session.run(db.deleteFrom('vault'));
    });
  }

  async putKeyring(
    { epoch, keyring }: Parameters<SetupCatalog['putKeyring']>[0],
    counts?: Parameters<SetupCatalog['putKeyring']>[1],
  ): Promise<boolean> {
    const { db, dialect } = this.#engine;
    const next = { epoch: whole(epoch, 'An epoch'), keyring };
    return this.#engine.write('durable', async (session) => {
      const { rows } = await session.run(dialect.lock(db.selectFrom('vault').select(['epoch', 'keyring'])));
      const [known] = rows;
      if (known === undefined) return false;
      const bytes = plain(known.keyring);
      // Perhaps it was this very call, whose answer was lost.
      if (known.epoch === epoch && Buffer.compare(bytes, keyring) === 0) return true;
      if (counts === undefined ? known.epoch >= epoch : counts(bytes)) return false;
      await session.run(db.updateTable('vault').set(next));
      return true;
    });
  }

  async note(key: string): Promise<Uint8Array | null> {
    const query = this.#engine.db.selectFrom('notes').select('value').where('key', '=', Buffer.from(key));
    const { rows } = await this.#engine.read((session) => session.run(query));
    return rows[0] === undefined ? null : plain(rows[0].value);
  }

  async putNote(key: string, value: Uint8Array | null): Promise<void> {
    const { db } = this.#engine;
    const bytes = Buffer.from(key);
    const query =
      value === null
        ? db.deleteFrom('notes').where('key', '=', bytes)
        : db
            .insertInto('notes')
            .values({ key: bytes, value })
            .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }));
    await this.#engine.writeOne('durable', (session) => session.run(query));
  }

  async buckets(): Promise<readonly BucketRow[]> {
    const query = this.#engine.db
      .selectFrom('buckets')
      .selectAll()
      .where('id', 'is not', null)
      .orderBy('number');
    const { rows } = await this.#engine.read((session) => session.run(query));
    return rows.map(({ number, id, record }) => {
      if (id === null || record === null) throw damagedRow(`the row of bucket ${number} is incomplete`);
      return { number, id: hexOf(id), record: plain(record) };
    });
  }

  async putBucket(bucket: { readonly id: string; readonly record: Uint8Array }): Promise<number> {
    const { db } = this.#engine;
    const id = bytesOf(bucket.id, ID_DIGITS);
    const { record } = bucket;
    return this.#engine.write('durable', async (session) => {
      const known = await session.run(
        db.updateTable('buckets').set({ record }).where('id', '=', id).returning('number'),
      );
      if (known.rows[0] !== undefined) return known.rows[0].number;
      const { rows } = await session.run(
        db.selectFrom('buckets').select((eb) => eb.fn.max('number').as('last')),
      );
      const number = (rows[0]?.last ?? 0) + 1;
      if (number > LAST_BUCKET) {
        throw invalidInput(`A vault cannot have had more than ${LAST_BUCKET} buckets.`);
      }
      // Two clients that add a bucket at once meet at the primary key, and one of them tries again.
      await session.run(db.insertInto('buckets').values({ number, id, record }));
      return number;
    });
  }

  async removeBucket(number: number): Promise<void> {
    const query = this.#engine.db
      .updateTable('buckets')
      .set({ id: null, record: null })
      .where('number', '=', number);
    await this.#engine.writeOne('durable', (session) => session.run(query));
  }
}
