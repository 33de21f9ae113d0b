/** Whether a database takes changes: only one that is tried tells, as rights may be of columns, and its settings of a session. */
import { sql, type Compilable, type Kysely } from 'kysely';
import type { Tables } from '../sql/schema.ts';

/**
 * Statements that ask for what a vault's verbs write, and write nothing: the server checks the rights to a table before it looks for rows.
 *
 * @param onlyNew asks for the right to add files alone
 */
export function changesOfNothing(db: Kysely<Tables>, onlyNew: boolean): readonly Compilable[] {
  const none = sql<boolean>`false`;
  const files = db.insertInto('files').expression(db.selectFrom('files').selectAll().where(none));
  if (onlyNew) return [files];
  return [
    db
      .updateTable('vault')
      .set((eb) => ({ epoch: eb.ref('epoch') }))
      .where(none),
    files.onConflict((known) =>
      known.column('hash').doUpdateSet((eb) => ({ hash: eb.ref('excluded.hash') })),
    ),
    db.deleteFrom('files').where(none),
    db
      .insertInto('chunks')
      .expression(db.selectFrom('chunks').selectAll().where(none))
      .onConflict((known) => known.column('id').doUpdateSet((eb) => ({ id: eb.ref('excluded.id') }))),
    db.deleteFrom('chunks').where(none),
    db
      .insertInto('buckets')
      .expression(db.selectFrom('buckets').selectAll().where(none))
      .onConflict((known) => known.column('number').doUpdateSet((eb) => ({ id: eb.ref('excluded.id') }))),
  ];
}
