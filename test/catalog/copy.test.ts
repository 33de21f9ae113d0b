import Sqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { copyCatalog } from '../../src/catalog/copy.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { errorAnswer, postgresProxy } from '../support/postgres-proxy.ts';
import { freshPostgres, runSql } from '../support/postgres.ts';
import type { FreshPostgres } from '../support/postgres.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { chunk, codeOf, file, hex, owedObjects, store, VAULT } from './samples.ts';

/** Something in every table, and more than a page in some. */
async function fill(location: string): Promise<void> {
  const catalog = await openCatalog(location, { create: true });
  await catalog.create(VAULT, [{ id: hex(32), body: Buffer.from('slot') }]);
  for (let i = 0; i < 3; i++) {
    await catalog.putBucket({ id: hex(32), state: 'active', record: Buffer.from('sealed') });
  }
  await catalog.removeBucket(2);
  const nameTag = new Uint8Array(32).fill(1);
  const shared = hex(64);
  for (let i = 0; i < 5; i++) {
    const row = file(i % 2 === 0 ? { nameTag, expiresAtMs: i } : {});
    await store(catalog, row, [shared, hex(64)]);
    if (i === 3) await catalog.removeFiles([row.hash]);
  }
  const generation = hex(16);
  await catalog.beginPut({ generation, owner: 'somebody' });
  for (let i = 0; i < 3; i++) {
    await catalog.recordChunks(
      generation,
      Array.from({ length: 700 }, () => chunk(hex(64), generation, [1, null, 3])),
    );
  }
  await catalog.announceManifest(generation, hex(64));
  await catalog.beginPut({ generation: hex(16), owner: 'gone' });
  await catalog.buryPuts({ leaseMs: 1e9, isGone: (owner) => owner === 'gone' });
  await catalog.rememberStrays(1, ['chunks/Z', 'chunks/a', 'chunks/_'], 5);
  await catalog.close();
}

/** Everything that a catalog says. */
async function contents(catalog: Catalog): Promise<unknown> {
  return {
    vault: await catalog.vault(),
    keyslots: await catalog.keyslots(),
    buckets: await catalog.buckets(),
    files: await Array.fromAsync(catalog.listFiles({ all: true })),
    newest: await Array.fromAsync(catalog.listFiles({ all: false })),
    expired: await Array.fromAsync(catalog.expiredFiles(100)),
    chunks: await Array.fromAsync(catalog.listChunks()),
    owed: await owedObjects(catalog),
    pending: await catalog.pendingPuts(),
    dead: await catalog.deadPuts(),
    strays: await catalog.rememberStrays(1, ['chunks/Z', 'chunks/a', 'chunks/_'], 9),
    counts: await catalog.counts(),
  };
}

async function contentsAt(location: string): Promise<unknown> {
  const catalog = await openCatalog(location);
  try {
    return await contents(catalog);
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
    expect(there.rows).toBeGreaterThan(4000);
    expect(progress.at(-1)).toBe(there.rows);
    expect(progress.length).toBeGreaterThan(8);
  });

  test('leaves a catalog that goes on where the other one stood', async () => {
    await fill(file1);
    await copyCatalog(file1, place.url);
    const catalog = await openCatalog(place.url);
    const row = file();
    await store(catalog, row, [hex(64)]);
    const [newest] = await Array.fromAsync(catalog.listFiles({ all: true }));
    expect(newest).toEqual(row);
    const bucket = { id: hex(32), state: 'active', record: Buffer.from('x') } as const;
    expect(await catalog.putBucket(bucket)).toBe(4);
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
    expect(await half.vault()).toBeNull();
    expect((await half.counts()).chunks).toBeGreaterThan(1000);
    await half.close();
    await copyCatalog(file1, place.url);
    expect(await contentsAt(place.url)).toEqual(await contentsAt(file1));
  });

  test('of a catalog that changes meanwhile keeps nothing', async () => {
    await fill(file1);
    const other = new Sqlite(file1);
    const change = (rows: number): void => {
      other.exec(`update files set owner = '${rows}'`);
    };
    expect(await codeOf(copyCatalog(file1, place.url, { onProgress: change }))).toBe('unavailable');
    other.close();
    const copy = await openCatalog(place.url);
    expect(await copy.vault()).toBeNull();
    expect(await copy.counts()).toMatchObject({ files: 0, chunks: 0, garbage: 0 });
    await copy.close();
  });

  test.each(['SQLite', 'Postgres'])(
    'of a catalog into which a put goes meanwhile says so, and keeps nothing: into %s',
    async (kind) => {
      await fill(file1);
      const to = kind === 'SQLite' ? file2 : place.url;
      const other = new Sqlite(file1);
      let puts = 0;
      // As soon as the tables of files and chunks have been read, and that of references has not.
      const put = (): void => {
        const [generation, id] = [hex(16), hex(64)];
        other.exec(
          `insert into files (generation, state, owner, renewed_at) values (x'${generation}', 0, 'other', 0);
           insert into chunks values (x'${id}', 1, 0, 5, x'00010000000000000001');
           insert into refs values (x'${generation}', x'${id}')`,
        );
        puts++;
      };
      const copying = copyCatalog(file1, to, { onProgress: put });
      await expect(copying).rejects.toThrow(/one\.db changed while it was copied/);
      expect(puts).toBeGreaterThan(2);
      other.close();
      const copy = await openCatalog(to);
      expect(await copy.counts()).toMatchObject({ files: 0, chunks: 0, pendingPuts: 0 });
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
    expect(await copy.vault()).toBeNull();
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
