import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { rawQuery } from '../../src/catalog/sql/engine.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { openPostgres } from '../../src/catalog/postgres/engine.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { errorAnswer, postgresProxy } from '../support/postgres-proxy.ts';
import type { Fate, PostgresProxy } from '../support/postgres-proxy.ts';
import { freshPostgres } from '../support/postgres.ts';
import type { FreshPostgres } from '../support/postgres.ts';
import { byHash, byId, bytes, chunk, codeOf, contents, file, hex, many, nameTag, VAULT } from './samples.ts';
import { systemClock } from '../../src/host.ts';

/** Changes of every kind. Each step returns what it must return, faults or not, and what is left at the end is right. */
async function history({ setup, files, chunks }: Catalog): Promise<void> {
  await setup.create(VAULT);
  const epoch = ((await setup.vault())?.epoch ?? 0) + 1;
  const next = { epoch, keyring: bytes(`keyring ${epoch}`) };
  expect(await setup.putKeyring(next)).toBe(true);
  expect(await setup.putKeyring({ ...next, keyring: bytes('another') })).toBe(false);
  expect(await setup.vault()).toEqual({ ...VAULT, ...next });
  await setup.putNote('note', bytes('text'));
  expect(await setup.note('note')).toEqual(bytes('text'));
  await setup.putNote('note', null);
  expect(await setup.note('note')).toBeNull();
  const bucket = { id: hex(32), record: bytes('x') };
  const number = await setup.putBucket(bucket);
  expect(await setup.putBucket({ ...bucket, record: bytes('y') })).toBe(number);
  expect(await setup.buckets()).toEqual([{ ...bucket, record: bytes('y'), number }]);

  const tag = nameTag();
  const rows = many(5, (i) => file({ nameTag: tag, version: 1 + i, expiresAtMs: i }));
  const hashes = rows.map((row) => row.hash);
  await files.put(rows);
  expect(await files.byName([tag], 2)).toEqual([rows[4], rows[3]]);
  expect((await files.hide(hashes.slice(0, 3), 5)).toSorted()).toEqual(hashes.slice(0, 3).toSorted());
  expect((await files.hide(hashes.slice(2), null)).toSorted()).toEqual([hashes[2]]);
  await files.forget(hashes.slice(0, 1));
  expect(await Array.fromAsync(files.walk())).toMatchObject(
    byHash(rows.slice(1)).map(({ hash }) => ({ hash })),
  );
  expect(await files.byHashes(hashes.slice(0, 2))).toEqual(
    new Map([[hashes[1], { ...rows[1], hiddenAtMs: 5 }]]),
  );
  expect(await Array.fromAsync(files.list({ all: false }))).toEqual([rows[4]]);

  const places = many(4, () => chunk());
  await chunks.put(places);
  const moved = chunk(places[1]?.id, [number, null]);
  await chunks.put([moved]);
  await chunks.forget(places.slice(2).map((row) => row.id));
  expect(await Array.fromAsync(chunks.walk())).toEqual(byId([...places.slice(0, 1), moved]));

  await setup.removeBucket(number);
  expect(await setup.buckets()).toEqual([]);
  await files.forget(hashes);
  await chunks.forget(places.map((row) => row.id));
  expect(await files.counts()).toEqual({ files: 0, hidden: 0 });
  expect(await Array.fromAsync(chunks.walk())).toEqual([]);
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
    expect(total).toBeGreaterThan(50);
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
    expect(seen.size).toBeGreaterThan(25);
  });

  const unknowns: readonly [string, Fate][] = [
    ['was lost', 'lose answer'],
    ['says that its result is ambiguous', { instead: errorAnswer('40003', 'result is ambiguous') }],
  ];
  test.each(unknowns)('a commit whose answer %s is not done twice', async (_, fate) => {
    const row = file();
    let lost = 0;
    const loseCommits = (text: string): Fate => (text === 'commit' && lost++ < 2 ? fate : 'pass');
    proxy.decide = loseCommits;
    await catalog.files.put([row]);
    expect(lost).toBeGreaterThanOrEqual(2);
    expect(await catalog.files.byPrefix(row.hash, 2)).toEqual([row]);
    lost = 0;
    expect(await catalog.files.hide([row.hash], 5)).toEqual([row.hash]);
    expect(await catalog.files.hide([row.hash], 5)).toEqual([]);
    lost = 0;
    const keyring = { epoch: 1000 + ((await catalog.setup.vault())?.epoch ?? 0), keyring: bytes('new') };
    await catalog.setup.create(VAULT);
    expect(await catalog.setup.putKeyring(keyring)).toBe(true);
    lost = 0;
    const bucket = { id: hex(32), record: bytes('x') };
    const number = await catalog.setup.putBucket(bucket);
    expect(await catalog.setup.buckets()).toEqual([{ ...bucket, number }]);
    await catalog.setup.removeBucket(number);
    await catalog.files.forget([row.hash]);
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
    const before = await contents(catalog);
    await expect(catalog.files.put([file(), file()])).rejects.toMatchObject({
      code,
      message: expect.stringContaining('as the test wants it'),
    });
    proxy.decide = () => 'pass';
    expect(await contents(catalog)).toEqual(before);
  });

  test('of several statements under way the failure of the first is told, not what followed from it', async () => {
    const engine = await openPostgres(place.url, { create: false, clock: systemClock });
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
    expect(await codeOf(catalog.files.put([file()]))).toBe('unavailable');
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
    expect(texts.length).toBeGreaterThan(50);
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

  test('files are changed in transactions alone, whose isolation and durability are stated', async () => {
    proxy.messages.length = 0;
    await history(catalog);
    const changes = transactionsOf().filter((statements) =>
      statements.some((text) => /^(insert into|delete from|update) "\w+"."files"/.test(text)),
    );
    expect(changes.length).toBeGreaterThan(4);
    expect(
      changes.filter(
        ([first]) =>
          first?.startsWith('begin isolation level read committed;') !== true ||
          !first.includes(`set_config('synchronous_commit'`),
      ),
    ).toEqual([]);
  });

  test('rows that several clients may change are locked in the order of their keys', async () => {
    proxy.messages.length = 0;
    await history(catalog);
    const changes = transactionsOf().filter((statements) =>
      statements.some((text) => /^(delete from|update) "\w+"."(files|chunks)"/.test(text)),
    );
    expect(changes.length).toBeGreaterThan(4);
    // Behind the begin, and before what changes them.
    expect(changes.filter(([, lock]) => !/order by "(hash|id)" for update/.test(lock ?? ''))).toEqual([]);
  });

  test('says nothing that engines of several machines do not understand', async () => {
    proxy.messages.length = 0;
    await history(catalog);
    const special =
      /::|(?<!union )\ball\b|\b(any|array|unnest|lateral|ctid|truncate|nowait|skip locked|lock table|deferr|collate|merge|with|using|on constraint)\b/;
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
  const rows = many(256, () => chunk());
  const hashes = many(256, () => hex(64));

  beforeAll(async () => {
    place = await freshPostgres();
    proxy = await postgresProxy(place.url);
    catalog = await openCatalog(proxy.url, { create: true, environment: {} });
    await catalog.chunks.put(rows);
    await catalog.files.put(hashes.map((hash) => file({ hash })));
    proxy.delayMs = 10;
  });
  afterAll(async () => {
    await catalog.close();
    await proxy.close();
    await place.drop();
  });

  const costs: readonly [string, number, () => Promise<unknown>][] = [
    ['chunks.locate', 1, () => catalog.chunks.locate(rows.map((row) => row.id))],
    ['chunks.put', 1, () => catalog.chunks.put(rows)],
    ['chunks.forget', 3, () => catalog.chunks.forget(rows.map((row) => row.id))],
    ['files.put', 2, () => catalog.files.put(hashes.map((hash) => file({ hash })))],
    ['files.hide', 3, () => catalog.files.hide(hashes, 5)],
    ['files.forget', 3, () => catalog.files.forget(hashes)],
    ['files.byHashes', 1, () => catalog.files.byHashes(hashes)],
    ['files.byPrefix', 1, () => catalog.files.byPrefix('00', 2)],
    [
      'files.byName of many writers',
      1,
      () =>
        catalog.files.byName(
          many(64, () => nameTag()),
          1,
        ),
    ],
    ['setup.vault', 1, () => catalog.setup.vault()],
    ['setup.putNote', 2, () => catalog.setup.putNote('note', bytes('text'))],
  ];
  test.each(costs)('%s costs %i round trips', async (_, expected, call) => {
    proxy.roundTrips = 0;
    await call();
    expect(proxy.roundTrips).toBe(expected);
  });
});
