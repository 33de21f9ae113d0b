import { isDeepStrictEqual } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { openEngine } from '../../src/catalog/open.ts';
import { sqlCatalog } from '../../src/catalog/sql/catalog.ts';
import type { Engine, Session } from '../../src/catalog/sql/engine.ts';
import { VaultError } from '../../src/errors.ts';
import { freshPostgres } from '../support/postgres.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { bytes, chunk, codeOf, contents, file, hex, many, VAULT } from './samples.ts';

/** Where work on a database is broken off: before its nth statement, or after its last one and before the commit. */
interface Break {
  readonly before: number | 'commit';
}

/** A catalog whose next change of the database is broken off as `broken` says. */
function fragile(engine: Engine): { readonly catalog: Catalog; broken: Break | null } {
  const state: { broken: Break | null; statements: number } = { broken: null, statements: 0 };
  const stop = (before: Break['before']): void => {
    if (state.broken?.before === before) throw new VaultError('unavailable', 'as the test wants it');
  };
  const during = async <T>(session: Session, work: (session: Session) => Promise<T>): Promise<T> => {
    state.statements = 0;
    const result = await work({
      run: async (query) => {
        stop(++state.statements);
        return session.run(query);
      },
    });
    stop('commit');
    return result;
  };
  const catalog = sqlCatalog({
    label: engine.label,
    db: engine.db,
    dialect: engine.dialect,
    read: (work) => engine.read(work),
    // As a transaction, also where one statement needs none: there is a time between it and the commit then.
    writeOne: (durability, work) => engine.write(durability, (session) => during(session, work)),
    write: (durability, work) => engine.write(durability, (session) => during(session, work)),
    requireWritable: () => engine.requireWritable(),
    close: () => engine.close(),
  });
  return Object.assign(state, { catalog });
}

const rows = many(5, () => file());
const hashes = rows.map((row) => row.hash);
const places = many(5, () => chunk());
const bucket = { id: hex(32), record: bytes('x') };

const changes: readonly [string, (catalog: Catalog) => Promise<unknown>][] = [
  ['setup.create', ({ setup }) => setup.create(VAULT)],
  ['setup.putKeyring', ({ setup }) => setup.putKeyring({ epoch: 9, keyring: bytes('new') })],
  ['setup.putNote', ({ setup }) => setup.putNote('note', bytes('new'))],
  ['setup.putBucket', ({ setup }) => setup.putBucket(bucket)],
  ['setup.removeBucket', ({ setup }) => setup.removeBucket(1)],
  ['files.put', ({ files }) => files.put(rows)],
  ['files.hide', ({ files }) => files.hide(hashes.slice(1), 5)],
  ['files.forget', ({ files }) => files.forget(hashes.slice(2))],
  ['chunks.put', ({ chunks }) => chunks.put(places)],
  ['chunks.forget', ({ chunks }) => chunks.forget(places.slice(2).map((row) => row.id))],
];

/** Breaks every change off wherever it can be. @returns what was wrong then */
async function halfDone(location: string): Promise<string[]> {
  const engine = await openEngine(location, { create: true });
  const breaking = fragile(engine);
  const { catalog } = breaking;
  const state = async () => ({ ...(await contents(catalog)), note: await catalog.setup.note('note') });
  const wrong: string[] = [];
  for (const [name, change] of changes) {
    const before = await state();
    const broken = async (where: Break['before']): Promise<boolean> => {
      breaking.broken = { before: where };
      if ((await codeOf(change(catalog))) === 'success') return false;
      if (!isDeepStrictEqual(await state(), before)) wrong.push(`${name} is half done before ${where}`);
      return true;
    };
    if (!(await broken('commit'))) wrong.push(`${name} does not commit`);
    let statements = 0;
    while (await broken(statements + 1)) statements++;
    if (statements === 0) wrong.push(`${name} runs no statement`);
    const done = await state();
    if (isDeepStrictEqual(done, before)) wrong.push(`${name} does nothing`);
    // Whoever does not know whether it was done repeats it.
    breaking.broken = null;
    await change(catalog);
    if (!isDeepStrictEqual(await state(), done)) wrong.push(`${name} is not safe to repeat`);
  }
  await catalog.close();
  return wrong;
}

describe('a change that is broken off at any statement, or before its commit, is not done by half', () => {
  test('in SQLite', async () => {
    await using folder = await temporaryFolder();
    expect(await halfDone(folder.at('catalog.db'))).toEqual([]);
  });

  test('in Postgres', async () => {
    const place = await freshPostgres();
    expect(await halfDone(place.url)).toEqual([]);
    await place.drop();
  });
});
