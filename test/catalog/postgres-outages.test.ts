import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, expect, inject, test } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { PostgresConnections } from '../../src/catalog/postgres/connections.ts';
import { postgresSettings } from '../../src/catalog/postgres/settings.ts';
import { postgresProxy } from '../support/postgres-proxy.ts';
import { freshPostgres, runSql, startPostgres } from '../support/postgres.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { byHash, byId, chunk, file, hex, many } from './samples.ts';
import { systemClock } from '../../src/host.ts';

describe('a Postgres server that goes away', () => {
  test('has on its disk what it said was done, also if it was told to answer sooner', async () => {
    const server = await startPostgres({ synchronous_commit: 'off', wal_writer_delay: '10s' });
    try {
      const catalog = await openCatalog(`${server.url}?schema=vault`, { create: true });
      const rows = many(3, () => file());
      const places = many(3, () => chunk());
      for (const [i, row] of rows.entries()) {
        await catalog.chunks.put(places.slice(i, i + 1));
        await catalog.files.put([row]);
        await server.stop('crash');
        await server.start();
      }
      expect(await Array.fromAsync(catalog.files.walk())).toEqual(byHash(rows));
      expect(await Array.fromAsync(catalog.chunks.walk())).toEqual(byId(places));
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
        const hidden: string[] = [];
        while (!stopping.signal.aborted) {
          const [kept, gone] = [file(), file()];
          await catalog.chunks.put([chunk(kept.hash)]);
          await catalog.files.put([kept, gone]);
          stored.push(kept.hash);
          hidden.push(...(await catalog.files.hide([gone.hash], 5)).filter((hash) => hash !== gone.hash));
          await catalog.files.forget([gone.hash]);
        }
        return hidden;
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
      const listed = await Array.fromAsync(catalog?.files.walk() ?? []);
      expect(listed.map((row) => row.hash)).toEqual(stored.toSorted());
      const chunks = await Array.fromAsync(catalog?.chunks.walk() ?? []);
      expect(chunks.map((row) => row.id)).toEqual(stored.toSorted());
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

  test('does not hold up others: the lock of a client that vanished in mid-transaction ends with it', async () => {
    const place = await freshPostgres();
    const proxy = await postgresProxy(place.url);
    const [sleeper, other] = [
      await openCatalog(proxy.url, { create: true, environment: {} }),
      await openCatalog(place.url),
    ];
    const row = file();
    await other.files.put([row]);
    // The sleeper holds the file's lock and then falls silent.
    const reached = Promise.withResolvers<void>();
    proxy.decide = (text) => {
      if (text !== 'commit') return 'pass';
      reached.resolve();
      return new Uint8Array();
    };
    const hiding = sleeper.files.hide([row.hash], 5);
    await reached.promise;
    const waiting = other.files.hide([row.hash], 6);
    // What the server does by itself after idle_in_transaction_session_timeout, a minute. Others use it, too.
    proxy.decide = () => 'pass';
    const ended = await runSql(
      place.url,
      `select pg_terminate_backend(pid) from pg_stat_activity
       where state = 'idle in transaction' and query like '%"${place.schema}"."files"%'`,
    );
    expect(ended).not.toEqual([]);
    const hidden = [...(await waiting), ...(await hiding)];
    expect(new Set(hidden)).toEqual(new Set([row.hash]));
    expect(await other.files.counts()).toEqual({ files: 0, hidden: 1 });
    await sleeper.close();
    await other.close();
    await proxy.close();
    await place.drop();
  });
});

test('Clients that put, hide and forget the same rows in any order never wait for each other in a circle', async () => {
  const name = `d_${hex(12)}`;
  const shared = inject('postgresUrl');
  await runSql(shared, `create database ${name}`);
  const url = new URL(shared);
  url.pathname = name;
  const clients: Catalog[] = [];
  for (let i = 0; i < 4; i++) clients.push(await openCatalog(url.href, { create: true, environment: {} }));
  const hashes = many(60, () => hex(64));
  await Promise.all(
    clients.map(async ({ files, chunks }, number) => {
      const random = seededRandom(number);
      for (let i = 0; i < 30; i++) {
        const mixed = random.shuffle(hashes);
        await files.put(mixed.map((hash) => file({ hash })));
        await files.hide(random.shuffle(hashes), random.below(2) === 0 ? null : i);
        await chunks.put(mixed.map((id) => chunk(id)));
        if (random.below(3) === 0) await files.forget(mixed.slice(30));
        if (random.below(3) === 0) await chunks.forget(mixed.slice(30));
      }
    }),
  );
  for (const client of clients) await client.close();
  // A connection's counts are those of its database once it has ended.
  while ((await runSql(shared, `select 1 from pg_stat_activity where datname = '${name}'`)).length > 0);
  const counted = await runSql(shared, `select deadlocks from pg_stat_database where datname = '${name}'`);
  expect(counted.map((row) => Number(row['deadlocks']))).toEqual([0]);
  await runSql(shared, `drop database ${name} with (force)`);
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
  let nowMs = 0;
  const clock = { ...systemClock, monotonic: () => (nowMs += 250) };
  const database = await PostgresConnections.to(settings, clock);
  database.beReady(1_000);
  const attempt = () =>
    database.transaction({ isolation: 'read committed', durability: 'lazy' }, () => Promise.resolve());
  await expect(attempt()).rejects.toMatchObject({ code: 'unavailable' });
  const first = connections;
  await expect(attempt()).rejects.toMatchObject({ code: 'unavailable' });
  expect(first).toBe(5);
  // Twice, as the first time it may have been the connection alone.
  expect(connections - first).toBe(2);
  await database.close();
  dead.close();
});
