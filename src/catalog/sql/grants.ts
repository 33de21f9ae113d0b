import type { GrantCatalog, GrantKind, GrantRow } from '../catalog.ts';
import { allBytesOf, bytesOf, damagedRow, HASH_DIGITS, hexOf, plain, time } from './encoding.ts';
import type { Engine } from './engine.ts';
import { rowsOf } from './pages.ts';
import type { Tables } from './schema.ts';

const PAGE = 500;

const KINDS: readonly GrantKind[] = ['token', 'link'];

/** The part of the catalog that knows who may ask a server for something. */
export class SqlGrants implements GrantCatalog {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async put({ id, kind, record, expiresAtMs }: Omit<GrantRow, 'uses'>): Promise<void> {
    const row = {
      id: bytesOf(id, HASH_DIGITS),
      kind: KINDS.indexOf(kind),
      record,
      expires_at: expiresAtMs === null ? null : time(expiresAtMs),
      uses: 0,
    };
    const query = this.#engine.db
      .insertInto('grants')
      .values(row)
      .onConflict((conflict) =>
        conflict.column('id').doUpdateSet((eb) => ({
          kind: eb.ref('excluded.kind'),
          record: eb.ref('excluded.record'),
          expires_at: eb.ref('excluded.expires_at'),
        })),
      );
    await this.#engine.writeOne('durable', (session) => session.run(query));
  }

  async find(id: string): Promise<GrantRow | null> {
    const query = this.#engine.db.selectFrom('grants').selectAll().where('id', '=', bytesOf(id, HASH_DIGITS));
    const { rows } = await this.#engine.read((session) => session.run(query));
    return rows[0] === undefined ? null : decoded(rows[0]);
  }

  async *list(
    kind: GrantKind,
    { signal }: Parameters<GrantCatalog['list']>[1] = {},
  ): AsyncIterable<GrantRow> {
    const rows = rowsOf<Tables['grants']>(PAGE, signal, async (last, size) => {
      const page = this.#engine.db
        .selectFrom('grants')
        .selectAll()
        .where('kind', '=', KINDS.indexOf(kind))
        .orderBy('id')
        .limit(size);
      const query = last === null ? page : page.where('id', '>', last.id);
      return (await this.#engine.read((session) => session.run(query))).rows;
    });
    for await (const row of rows) yield decoded(row);
  }

  async use(id: string, most: number | null): Promise<boolean> {
    let query = this.#engine.db
      .updateTable('grants')
      .set((eb) => ({ uses: eb('uses', '+', 1) }))
      .where('id', '=', bytesOf(id, HASH_DIGITS));
    if (most !== null) query = query.where('uses', '<', most);
    const { affected } = await this.#engine.writeOne('durable', (session) => session.run(query));
    return affected > 0;
  }

  async forget(ids: readonly string[]): Promise<void> {
    const unwanted = allBytesOf(ids);
    if (unwanted.length === 0) return;
    const query = this.#engine.db.deleteFrom('grants').where('id', 'in', unwanted);
    await this.#engine.writeOne('durable', (session) => session.run(query));
  }

  async forgetExpired(beforeMs: number): Promise<void> {
    const query = this.#engine.db.deleteFrom('grants').where('expires_at', '<', time(beforeMs));
    await this.#engine.writeOne('durable', (session) => session.run(query));
  }
}

function decoded({ id, kind, record, expires_at: expiresAtMs, uses }: Tables['grants']): GrantRow {
  const known = KINDS[kind];
  const isOurs = id instanceof Uint8Array && record instanceof Uint8Array && Number.isSafeInteger(uses);
  if (known === undefined || !isOurs) throw damagedRow('a token or a link contradicts itself');
  return { id: hexOf(id), kind: known, record: plain(record), expiresAtMs, uses };
}
