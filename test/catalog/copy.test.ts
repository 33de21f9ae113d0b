import Sqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { copyCatalog } from '../../src/catalog/copy.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { errorAnswer, postgresProxy } from '../support/postgres-proxy.ts';
import { freshPostgres, runSql } from '../support/postgres.ts';
import type { FreshPostgres } from '../support/postgres.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { bytes, chunk, codeOf, contents, file, hex, many, nameTag, VAULT } from './samples.ts';

/** Something in every table, and more than a page in some. */
async function fill(location: string): Promise<void> {
  const catalog = await openCatalog(location, { create: true });
  const { setup, files, chunks } = catalog;
  await setup.create(VAULT);
  for (const key of ['a', 'Z', 'ä', '_']) await setup.putNote(key, bytes(key));
  for (let i = 0; i < 3; i++) await setup.putBucket({ id: hex(32), record: bytes(`sealed ${i}`) });
  await setup.removeBucket(2);
  const tag = nameTag();
  for (let i = 0; i < 3; i++) {
    const rows = many(400, (at) =>
      file(at % 2 === 0 ? { nameTag: tag, version: 1 + at, expiresAtMs: at } : { hiddenAtMs: at }),
    );
    await files.put(rows);
  }
  for (let i = 0; i < 3; i++) await chunks.put(many(700, () => chunk(hex(64), [1, null, 3])));
  await catalog.close();
}

/** Everything that a catalog says. */
async function contentsAt(location: string): Promise<unknown> {
  const catalog = await openCatalog(location);
  try {
    const notes = await Promise.all(['a', 'Z', 'ä', '_'].map((key) => catalog.setup.note(key)));
    return { ...(await contents(catalog)), notes };
  } finally {
    await catalog.close();
  }
}

describe('copying a catalog', () => {
  let folder: TemporaryFolder;
  let place: FreshPostgres;
  let file1: string;
  let file2: string;

  beforeEach(async () => {
    folder = await temporaryFolder();
    place = await freshPostgres();
    file1 = folder.at('one.db');
    file2 = folder.at('two.db');
  });
  afterEach(async () => {
    await place.drop();
    await folder[Symbol.asyncDispose]();
  });

  test('to Postgres and back gives the same catalog', async () => {
    await fill(file1);
    const before = await contentsAt(file1);
    const progress: number[] = [];
    const there = await copyCatalog(file1, place.url, { onProgress: (rows) => progress.push(rows) });
    expect(await contentsAt(place.url)).toEqual(before);
    const back = await copyCatalog(place.url, file2);
    expect(await contentsAt(file2)).toEqual(before);
    expect(back).toEqual(there);
    expect(there.rows).toBe(3 + 4 + 1 + 1200 + 2100);
    expect(progress.at(-1)).toBe(there.rows);
    expect(progress.length).toBe(1 + 1 + 3 + 5 + 1);
  });

  test('leaves a catalog that goes on where the other one stood', async () => {
    await fill(file1);
    await copyCatalog(file1, place.url);
    const catalog = await openCatalog(place.url);
    expect(await catalog.setup.putBucket({ id: hex(32), record: bytes('x') })).toBe(4);
    await catalog.close();
  });

  test('needs a vault to copy and an empty place', async () => {
    expect(await codeOf(copyCatalog(file1, file2))).toBe('no-vault');
    await (await openCatalog(file1, { create: true })).close();
    expect(await codeOf(copyCatalog(file1, file2))).toBe('no-vault');
    await fill(file2);
    expect(await codeOf(copyCatalog(file2, file2))).toBe('already-exists');
    const before = await contentsAt(file2);
    expect(await codeOf(copyCatalog(file2, file2))).toBe('already-exists');
    expect(await contentsAt(file2)).toEqual(before);
  });

  test('that was broken off leaves no vault, and is made whole by repeating it', async () => {
    await fill(file1);
    const stopping = new AbortController();
    const stop = (rows: number): void => {
      if (rows > 2500) stopping.abort();
    };
    const stopped = copyCatalog(file1, place.url, { signal: stopping.signal, onProgress: stop });
    expect(await codeOf(stopped)).toBe('interrupted');
    const half = await openCatalog(place.url);
    expect(await half.setup.vault()).toBeNull();
    expect(await Array.fromAsync(half.chunks.walk())).toHaveLength(1500);
    await half.close();
    await copyCatalog(file1, place.url);
    expect(await contentsAt(place.url)).toEqual(await contentsAt(file1));
  });

  test('of a catalog that changes meanwhile keeps nothing', async () => {
    await fill(file1);
    const other = new Sqlite(file1);
    const change = (rows: number): void => {
      other.exec(`update files set created_at = ${rows}`);
    };
    expect(await codeOf(copyCatalog(file1, place.url, { onProgress: change }))).toBe('unavailable');
    other.close();
    const copy = await openCatalog(place.url);
    expect(await contents(copy)).toEqual({ vault: null, buckets: [], files: [], chunks: [] });
    await copy.close();
  });

  test.each(['SQLite', 'Postgres'])(
    'of a catalog to which files come meanwhile says so, and keeps nothing: into %s',
    async (kind) => {
      await fill(file1);
      const to = kind === 'SQLite' ? file2 : place.url;
      const other = new Sqlite(file1);
      let puts = 0;
      const put = (): void => {
        other.exec(
          `insert into files values (x'${hex(64)}', x'${hex(32)}', x'${hex(64)}', x'', 1, 0, null, null)`,
        );
        puts++;
      };
      const copying = copyCatalog(file1, to, { onProgress: put });
      await expect(copying).rejects.toThrow(/one\.db changed while it was copied/);
      expect(puts).toBeGreaterThan(2);
      other.close();
      const copy = await openCatalog(to);
      expect(await contents(copy)).toEqual({ vault: null, buckets: [], files: [], chunks: [] });
      await copy.close();
    },
  );

  test('that does not read back as it was written is damaged, and keeps nothing', async () => {
    await fill(file1);
    await (await openCatalog(place.url, { create: true })).close();
    // Something in the database alters what is written to it.
    await runSql(
      place.url,
      `create function ${place.schema}.alter() returns trigger language plpgsql as
         'begin new.sealed_size = 1; return new; end';
       create trigger alter before insert on ${place.schema}.chunks for each row execute function ${place.schema}.alter()`,
    );
    expect(await codeOf(copyCatalog(file1, place.url))).toBe('damaged');
    const copy = await openCatalog(place.url);
    expect(await copy.setup.vault()).toBeNull();
    await copy.close();
  });

  test('survives lost connections', async () => {
    await fill(file1);
    // The migration is one transaction of many statements, and would meet the faults each time.
    await (await openCatalog(place.url, { create: true })).close();
    const proxy = await postgresProxy(place.url);
    let statements = 0;
    proxy.decide = () => {
      statements++;
      if (statements % 7 === 3) return 'lose answer';
      return statements % 7 === 5 ? errorAnswer('40001', 'restart transaction') : 'pass';
    };
    await copyCatalog(file1, proxy.url, { environment: {} });
    proxy.decide = () => 'pass';
    await proxy.close();
    expect(await contentsAt(place.url)).toEqual(await contentsAt(file1));
  });
});
