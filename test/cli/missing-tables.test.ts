/** A catalog whose tables are not as they were made: it is told as damage, and what is said to help does. */
import { rename, writeFile } from 'node:fs/promises';
import Sqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { freshPostgres, runShared } from '../support/postgres.ts';
import type { FreshPostgres } from '../support/postgres.ts';
import type { Ended, Sandbox } from './run.ts';
import { sandbox } from './run.ts';

let box: Sandbox;
let fresh: FreshPostgres;
let elsewhere: FreshPostgres;
beforeEach(async () => {
  box = await sandbox();
  fresh = await freshPostgres();
  elsewhere = await freshPostgres();
});
afterEach(async () => {
  await fresh.drop();
  await elsewhere.drop();
  await box[Symbol.asyncDispose]();
});

const kinds = [
  {
    kind: 'SQLite',
    db: () => box.at('c.db'),
    change: (statement: string): Promise<unknown> => {
      using database = openFile(box.at('c.db'));
      database.sqlite.exec(statement);
      return Promise.resolve();
    },
    makeAnew: async () => {
      await rename(box.at('c.db'), box.at('old.db'));
      return box.at('c.db');
    },
    advice: /move it away: "vault recover" then makes it anew/,
  },
  {
    kind: 'Postgres',
    db: () => fresh.url,
    change: (statement: string): Promise<unknown> =>
      runShared(`set local search_path to ${fresh.schema}; ${statement}`),
    makeAnew: () => Promise.resolve(elsewhere.url),
    advice: /name another schema \(--db with \?schema=\)/,
  },
];

function openFile(path: string): Disposable & { readonly sqlite: Sqlite.Database } {
  const sqlite = new Sqlite(path);
  return { sqlite, [Symbol.dispose]: () => void sqlite.close() };
}

describe.each(kinds)('in $kind', ({ db, change, makeAnew, advice }) => {
  const run = (args: readonly string[], place = db()): Promise<Ended> => box.run([...args, '--db', place]);
  const RECOVER = ['recover', '--bucket', 'one'];

  beforeEach(async () => {
    await run(['init', '--bucket', 'one', '--bucket', 'two']);
    await writeFile(box.at('content'), Buffer.alloc(300_000, 'content'));
    await run(['put', 'content']);
  });

  test.each(['chunks', 'files', 'notes', 'buckets', 'grants', 'vault'])(
    'a table that is gone is damage, and recover makes it anew: %s',
    async (table) => {
      await change(`drop table ${table}`);
      await writeFile(box.at('other'), Buffer.alloc(300_000, 'other'));
      const ended = await run(['put', 'other']);
      // A put asks for no grants, and can do without notes.
      const needed = !['grants', 'notes'].includes(table);
      expect({ exit: ended.exit, told: ended.stderr.includes('"vault recover') }).toEqual({
        exit: needed ? 6 : 0,
        told: needed,
      });
      expect(await run(RECOVER)).toMatchObject({ exit: 0 });
      expect(await run(['verify'])).toMatchObject({ exit: 0 });
      expect((await run(['get', 'content', '-o', '-'])).stdout).toHaveLength(300_000);
    },
  );

  test('a column that is gone is damage, also to recover, and a catalog elsewhere helps', async () => {
    await change('alter table files drop column record');
    for (const args of [['repair'], RECOVER]) {
      const { exit, stderr } = await run(args);
      expect(stderr).toMatch(advice);
      expect(exit).toBe(6);
    }
    const place = await makeAnew();
    expect(await run(RECOVER, place)).toMatchObject({ exit: 0 });
    expect(await run(['verify'], place)).toMatchObject({ exit: 0 });
  });
});
