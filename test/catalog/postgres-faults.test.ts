import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { rawQuery } from '../../src/catalog/sql/engine.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { PostgresConnections } from '../../src/catalog/postgres/connections.ts';
import { postgresSettings } from '../../src/catalog/postgres/settings.ts';
import { openPostgres } from '../../src/catalog/postgres/engine.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { errorAnswer, postgresProxy } from '../support/postgres-proxy.ts';
import type { Fate, PostgresProxy } from '../support/postgres-proxy.ts';
import { freshPostgres, runSql, startPostgres } from '../support/postgres.ts';
import type { FreshPostgres } from '../support/postgres.ts';
import { chunk, chunkIds, codeOf, file, hex, objectsOf, owedObjects, store, VAULT } from './samples.ts';

const EMPTY = { files: 0, chunks: 0, garbage: 0, pendingPuts: 0, deadPuts: 0 };

/** Changes of every kind. Each step returns what it must return, faults or not, and what is left at the end is right. */
async function history(catalog: Catalog): Promise<void> {
  await catalog.create(VAULT, []);
  const slot = { id: hex(32), body: new Uint8Array([1]) };
  await catalog.putKeyslot(slot);
  expect(await catalog.keyslots()).toEqual([slot]);
  await catalog.removeKeyslot(slot.id);
  const settings = (await catalog.vault())?.settings ?? Buffer.from('');
  expect(await catalog.updateSettings(settings, randomBytes(8))).toBe(true);
  const number = await catalog.putBucket({ id: hex(32), state: 'active', record: Buffer.from('x') });
  expect((await catalog.buckets()).map((bucket) => bucket.number)).toContain(number);

  const [shared, own, third] = [hex(64), hex(64), hex(64)];
  const [a, b] = [file(), file()];
  const first = await store(catalog, a, [shared, own]);
  const second = await store(catalog, b, [shared, third]);
  const old = chunk(third, second);
  const next = chunk(third, hex(16));
  expect(await catalog.replaceChunk(old, next)).toBe(true);
  expect(await catalog.removeFiles([a.hash])).toEqual([a.hash]);

  const generation = hex(16);
  await catalog.beginPut({ generation, owner: 'gone' });
  const lost = chunk(hex(64), generation);
  await catalog.recordChunks(generation, [lost]);
  await catalog.buryPuts({ leaseMs: 1e9, isGone: () => true });
  expect(await catalog.deadPuts()).toEqual([generation]);
  await catalog.forgetPut(generation);

  expect(await Array.fromAsync(catalog.listFiles({ all: true }))).toEqual([b]);
  expect(await chunkIds(catalog)).toEqual([shared, third].toSorted());
  const chunksOwed = (await owedObjects(catalog)).filter((key) => key.startsWith('chunk'));
  expect(chunksOwed).toEqual([chunk(own, first), old, lost].flatMap(objectsOf).toSorted());

  await catalog.removeFiles([b.hash]);
  await settleAll(catalog);
  await catalog.removeBucket(number);
  expect(await catalog.counts()).toEqual(EMPTY);
}

async function settleAll(catalog: Catalog): Promise<void> {
  const rows = await Array.fromAsync(catalog.garbage());
  await catalog.settleGarbage(rows.map((row) => ({ row, owed: [] })));
}

describe('a catalog in Postgres whose connections fail', () => {
  let place: FreshPostgres;
  let proxy: PostgresProxy;
  let catalog: Catalog;

  beforeAll(async () => {
    place = await freshPostgres();
    proxy = await postgresProxy(place.url);
    catalog = await openCatalog(proxy.url, { create: true, environment: {} });
  });
  beforeEach(() => {
    proxy.decide = () => 'pass';
  });
  afterAll(async () => {
    await catalog.close();
    await proxy.close();
    await place.drop();
  });

  /** Lets the nth statement of some work fail once. @returns how many statements there were in all */
  const failing = async (nth: number, fate: () => Fate, work: () => Promise<unknown>): Promise<number> => {
    let statements = 0;
    proxy.decide = (text) => {
      statements++;
      // Without its rollback the server would go on with a transaction that only the client knows to have failed.
      return statements === nth && text !== 'rollback' ? fate() : 'pass';
    };
    await work();
    proxy.decide = () => 'pass';
    return statements;
  };

  test('a history comes out right whichever statement fails, by a reset, a deadlock or a time-out', async () => {
    const fates: readonly (() => Fate)[] = [
      () => 'lose',
      () => errorAnswer('40P01', 'deadlock detected'),
      () => 'lose answer',
      () => errorAnswer('57014', 'canceling statement due to statement timeout'),
    ];
    const total = await failing(
      0,
      () => 'pass',
      () => history(catalog),
    );
    expect(total).toBeGreaterThan(60);
    for (let nth = 1; nth <= total; nth++) {
      await failing(nth, fates[nth % fates.length] ?? (() => 'pass'), () => history(catalog));
    }
  }, 240_000);

  test('a history comes out right if each statement is told once to start its transaction over', async () => {
    const conflict = errorAnswer('40001', 'restart transaction');
    const aborted = errorAnswer('25P02', 'current transaction is aborted');
    const seen = new Set<string>();
    let last = '';
    let transaction: 'none' | 'open' | 'failed' | 'ended by a failed commit' = 'none';
    proxy.decide = (text) => {
      if (text.startsWith('begin')) {
        transaction = 'open';
        return 'pass';
      }
      if (text === 'rollback') {
        const isEnded = transaction === 'ended by a failed commit';
        transaction = 'none';
        return isEnded ? { instead: errorAnswer('XXUUU', 'there is no transaction in progress') } : 'pass';
      }
      if (transaction === 'failed') return aborted;
      // The commits of transactions of every kind.
      const key = text === 'commit' ? `commit after ${last}` : text;
      last = text;
      const isFirst = !seen.has(key);
      seen.add(key);
      if (transaction === 'open') {
        if (isFirst) transaction = text === 'commit' ? 'ended by a failed commit' : 'failed';
        else if (text === 'commit') transaction = 'none';
      }
      return isFirst ? conflict : 'pass';
    };
    await history(catalog);
    expect(seen.size).toBeGreaterThan(30);
  });

  const unknowns: readonly [string, Fate][] = [
    ['was lost', 'lose answer'],
    ['says that its result is ambiguous', { instead: errorAnswer('40003', 'result is ambiguous') }],
  ];
  test.each(unknowns)('a commit whose answer %s is not done twice', async (_, fate) => {
    const id = hex(64);
    const row = file();
    const generation = hex(16);
    await catalog.beginPut({ generation, owner: 'test' });
    await catalog.recordChunks(generation, [chunk(id, generation)]);
    let lost = 0;
    const loseCommits = (text: string): Fate => (text === 'commit' && lost++ < 2 ? fate : 'pass');
    proxy.decide = loseCommits;
    await catalog.commitPut(generation, row);
    expect(lost).toBeGreaterThanOrEqual(2);
    expect(await catalog.filesByHash(row.hash, 2)).toEqual([row]);
    lost = 0;
    expect(await catalog.removeFiles([row.hash])).toEqual([row.hash]);
    expect(await catalog.removeFiles([row.hash])).toEqual([]);
    await settleAll(catalog);
  });

  const answers: readonly [string, ErrorCode][] = [
    ['53100', 'storage-full'],
    ['42501', 'denied'],
    ['28P01', 'denied'],
    ['XX001', 'damaged'],
    ['XX000', 'unavailable'],
    ['42P01', 'damaged'],
    ['42703', 'damaged'],
    ['0A000', 'unsupported'],
    ['54000', 'unavailable'],
  ];
  test.each(answers)('SQLSTATE %s is %s, and nothing was done', async (state, code) => {
    proxy.decide = (text) =>
      text.startsWith('insert') ? errorAnswer(state, 'as the test wants it') : 'pass';
    const generation = hex(16);
    await expect(catalog.beginPut({ generation, owner: 'test' })).rejects.toMatchObject({
      code,
      message: expect.stringContaining('as the test wants it'),
    });
    proxy.decide = () => 'pass';
    expect((await catalog.pendingPuts()).map((put) => put.generation)).not.toContain(generation);
  });

  test('of several statements under way the failure of the first is told, not what followed from it', async () => {
    const engine = await openPostgres(place.url, { create: false });
    const work = engine.write('lazy', async (session) => {
      const failed = session.run(rawQuery(engine.db, sql`select 1 / 0`));
      failed.catch(() => undefined);
      await session.run(rawQuery(engine.db, sql`select 1`));
    });
    await expect(work).rejects.toMatchObject({ message: expect.stringContaining('division by zero') });
    await engine.close();
  });

  test('a conflict that does not end is unavailable', async () => {
    proxy.decide = (text) => (text.startsWith('insert') ? errorAnswer('40001', 'restart') : 'pass');
    expect(await codeOf(catalog.beginPut({ generation: hex(16), owner: 'test' }))).toBe('unavailable');
  });

  test('nothing is left in a session: no named statement, no setting that outlives its transaction', async () => {
    proxy.messages.length = 0;
    await history(catalog);
    const texts = proxy.messages.flatMap(({ type, body }) => {
      if (type === 'Q') return body.toString('utf8', 0, body.length - 1);
      if (type !== 'P') return [];
      expect(body[0]).toBe(0);
      return body.toString('utf8', 1).replace(/\0.*/s, '');
    });
    expect(texts.length).toBeGreaterThan(60);
    const outside = texts.filter(
      (text) => !/^(begin|commit|rollback|select|insert|update|delete)\b/.test(text),
    );
    expect(outside).toEqual([]);
    const settings = texts.flatMap((text) => text.match(/\bset (?!local)[a-z_]+ (=|to)/g) ?? []);
    expect(settings.filter((text) => !text.includes('"'))).toEqual([]);
    expect(texts.filter((text) => /\b(listen|notify|prepare|advisory|temp)\b/.test(text))).toEqual([]);
  });

  /** The statements of a history, transaction by transaction; those outside of one each on its own. */
  const transactionsOf = (): string[][] => {
    const transactions: string[][] = [];
    let isOpen = false;
    for (const { type, body } of proxy.messages) {
      if (type !== 'Q' && type !== 'P') continue;
      const text = body.toString('utf8', type === 'P' ? 1 : 0).replace(/\0.*/s, '');
      if (isOpen) transactions.at(-1)?.push(text);
      else transactions.push([text]);
      if (text.startsWith('begin')) isOpen = true;
      if (text === 'commit' || text === 'rollback') isOpen = false;
    }
    return transactions;
  };

  test('references and what they refer to change in transactions alone, whose isolation is stated', async () => {
    proxy.messages.length = 0;
    await history(catalog);
    const changes = transactionsOf().filter((statements) =>
      statements.some((text) => /^(insert into|delete from|update) "\w+"."(refs|chunks)"/.test(text)),
    );
    expect(changes.length).toBeGreaterThan(5);
    expect(
      changes.filter(([first]) => first?.startsWith('begin isolation level read committed;') !== true),
    ).toEqual([]);
  });

  test('no transaction changes a row that it has locked against changes by others only', async () => {
    proxy.messages.length = 0;
    await history(catalog);
    const raised = transactionsOf().filter((statements) => {
      const kept = statements.findIndex((text) => text.includes('for share of "files"'));
      return (
        kept !== -1 &&
        statements
          .slice(kept)
          .some((text) => /^(update|delete from) "\w+"."files"|for update of "files"/.test(text))
      );
    });
    expect(raised).toEqual([]);
  });

  test('says nothing that engines of several machines do not understand', async () => {
    proxy.messages.length = 0;
    await history(catalog);
    const special =
      /::|\b(any|all|array|unnest|lateral|ctid|truncate|nowait|skip locked|lock table|deferr|collate|merge|with|using|on constraint)\b/;
    expect(
      transactionsOf()
        .flat()
        .filter((text) => special.test(text)),
    ).toEqual([]);
  });

  test('names every table with its schema', async () => {
    proxy.messages.length = 0;
    await history(catalog);
    const bare = proxy.messages
      .filter(({ type }) => type === 'P')
      .map(({ body }) => body.toString('utf8', 1))
      .filter((text) => /\b(from|into|update|join) "(?!t_)/.test(text));
    expect(bare).toEqual([]);
  });
});

describe('a Postgres server that is far away', () => {
  let place: FreshPostgres;
  let proxy: PostgresProxy;
  let catalog: Catalog;
  const ids = Array.from({ length: 256 }, () => hex(64));

  beforeAll(async () => {
    place = await freshPostgres();
    proxy = await postgresProxy(place.url);
    catalog = await openCatalog(proxy.url, { create: true, environment: {} });
    await store(catalog, file(), ids);
    proxy.delayMs = 10;
  });
  afterAll(async () => {
    await catalog.close();
    await proxy.close();
    await place.drop();
  });

  const costs: readonly [string, number, (generation: string) => Promise<unknown>][] = [
    ['renewPut', 1, (generation) => catalog.renewPut(generation)],
    ['claimChunks of new chunks', 1, (generation) => catalog.claimChunks(generation, [hex(64), hex(64)])],
    ['claimChunks of known chunks', 3, (generation) => catalog.claimChunks(generation, ids)],
    [
      'recordChunks of new chunks',
      2,
      (generation) =>
        catalog.recordChunks(
          generation,
          ids.map(() => chunk(hex(64), generation)),
        ),
    ],
    [
      'recordChunks of known chunks',
      4,
      (generation) =>
        catalog.recordChunks(
          generation,
          ids.map((id) => chunk(id, generation)),
        ),
    ],
    ['announceManifest', 1, (generation) => catalog.announceManifest(generation, hex(64))],
    ['commitPut', 2, (generation) => catalog.commitPut(generation, file())],
    ['locateChunks', 1, () => catalog.locateChunks(ids)],
    ['filesByHash', 1, () => catalog.filesByHash('00', 2)],
    ['filesByName', 1, () => catalog.filesByName(new Uint8Array(32), 1)],
  ];
  test.each(costs)('%s costs %i round trips', async (_, expected, call) => {
    const generation = hex(16);
    await catalog.beginPut({ generation, owner: 'test' });
    proxy.roundTrips = 0;
    await call(generation);
    expect(proxy.roundTrips).toBe(expected);
  });
});

describe('a Postgres server that goes away', () => {
  test('has on its disk what it said was done, also if it was told to answer sooner', async () => {
    const server = await startPostgres({ synchronous_commit: 'off', wal_writer_delay: '10s' });
    try {
      const catalog = await openCatalog(`${server.url}?schema=vault`, { create: true });
      const rows = [file(), file(), file()];
      for (const row of rows) {
        await store(catalog, row, [hex(64)]);
        await server.stop('crash');
        await server.start();
      }
      expect(await Array.fromAsync(catalog.listFiles({ all: true }))).toEqual(rows.toReversed());
      await catalog.close();
    } finally {
      await server.remove();
    }
  });

  test('and comes back is waited for; no change is lost or done by half', async () => {
    // A crash of the server alone loses nothing that was committed, unless it is told not to care.
    const server = await startPostgres({ synchronous_commit: 'on' });
    try {
      const url = `${server.url}?schema=vault`;
      const clients = await Promise.all([1, 2, 3].map(() => openCatalog(url, { create: true })));
      const stored: string[] = [];
      const stopping = new AbortController();
      const working = clients.map(async (catalog) => {
        const removed: string[] = [];
        while (!stopping.signal.aborted) {
          const [kept, gone] = [file(), file()];
          await store(catalog, kept, [hex(64), hex(64)]);
          stored.push(kept.hash);
          await store(catalog, gone, [hex(64)]);
          removed.push(...(await catalog.removeFiles([gone.hash])).filter((hash) => hash !== gone.hash));
        }
        return removed;
      });
      const finished = Promise.all(working);
      finished.catch(() => undefined);
      for (const how of ['orderly', 'crash', 'orderly'] as const) {
        const before = stored.length;
        while (stored.length < before + 5) await new Promise((resolve) => setTimeout(resolve, 5));
        await server.stop(how);
        await server.start();
      }
      stopping.abort();
      expect((await finished).flat()).toEqual([]);
      const [catalog] = clients;
      const listed = await Array.fromAsync(catalog?.listFiles({ all: true }) ?? []);
      expect(listed.map((row) => row.hash).toSorted()).toEqual(stored.toSorted());
      expect(await catalog?.counts()).toMatchObject({
        files: stored.length,
        chunks: stored.length * 2,
        pendingPuts: 0,
      });
      for (const client of clients) await client.close();
    } finally {
      await server.remove();
    }
  });

  test('for good is unavailable', async () => {
    const proxy = await postgresProxy((await freshPostgres()).url);
    await proxy.close();
    await expect(openCatalog(proxy.url)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('cannot be reached'),
    });
  });

  test('cannot be outrun: a claim waits for a burial that is under way, and finds the put dead', async () => {
    const place = await freshPostgres();
    const catalog = await openCatalog(place.url, { create: true });
    const id = hex(64);
    await store(catalog, file(), [id]);
    const generation = hex(16);
    await catalog.beginPut({ generation, owner: 'test' });
    const burial = runSql(
      place.url,
      `update ${place.schema}.files set state = 2 where generation = '\\x${generation}'; select pg_sleep(0.5)`,
    );
    const asleep = `select 1 from pg_stat_activity where wait_event = 'PgSleep' and query like '%${generation}%'`;
    while ((await runSql(place.url, asleep)).length === 0);
    expect(await codeOf(catalog.claimChunks(generation, [id]))).toBe('stale');
    await burial;
    // Nothing refers to the dead put, or it could not be forgotten.
    await catalog.forgetPut(generation);
    expect(await catalog.deadPuts()).toEqual([]);
    await catalog.close();
    await place.drop();
  });

  test('does not hold up others: the lock of a client that vanished in mid-transaction ends with it', async () => {
    const place = await freshPostgres();
    const proxy = await postgresProxy(place.url);
    const [sleeper, other] = [
      await openCatalog(proxy.url, { create: true, environment: {} }),
      await openCatalog(place.url),
    ];
    const id = hex(64);
    const row = file();
    await store(other, row, [id]);
    // The sleeper holds the chunk's lock and then falls silent.
    const reached = Promise.withResolvers<void>();
    proxy.decide = (text) => {
      if (text !== 'commit') return 'pass';
      reached.resolve();
      return new Uint8Array();
    };
    const removal = codeOf(sleeper.removeFiles([row.hash]));
    await reached.promise;
    const generation = hex(16);
    await other.beginPut({ generation, owner: 'test' });
    const claim = other.claimChunks(generation, [id]);
    // What the server does by itself after idle_in_transaction_session_timeout, a minute.
    proxy.decide = () => 'pass';
    await runSql(
      place.url,
      `select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction'`,
    );
    expect((await claim).size).toBe(1);
    expect(await removal).toBe('success');
    expect(await chunkIds(other)).toEqual([id]);
    await sleeper.close();
    await other.close();
    await proxy.close();
    await place.drop();
  });
});

test('An outage that one transaction has waited out is not waited out by the next one again', async () => {
  let connections = 0;
  const dead = createServer((socket) => {
    connections += 1;
    socket.destroy();
  }).listen(0, '127.0.0.1');
  await once(dead, 'listening');
  const address = dead.address();
  const port = typeof address === 'object' ? address?.port : null;
  const settings = await postgresSettings(`postgres://ann@127.0.0.1:${port}/db?sslmode=disable`, {});
  const database = await PostgresConnections.to(settings);
  database.beReady(1_000);
  const attempt = () =>
    database.transaction({ isolation: 'read committed', durability: 'lazy' }, () => Promise.resolve());
  await expect(attempt()).rejects.toMatchObject({ code: 'unavailable' });
  const first = connections;
  await expect(attempt()).rejects.toMatchObject({ code: 'unavailable' });
  expect(first).toBeGreaterThan(3);
  // Twice, as the first time it may have been the connection alone.
  expect(connections - first).toBe(2);
  await database.close();
  dead.close();
});
