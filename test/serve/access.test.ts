import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import { systemClock } from '../../src/host.ts';
import { Slowdown } from '../../src/serve/slowdown.ts';
import type { Scope } from '../../src/vault/grants/tokens.ts';
import { catalogRows, changeCatalog } from '../support/catalog-place.ts';
import { servedVault } from './harness.ts';
import type { Answered, ServedVault } from './harness.ts';

const wrong = (): Promise<never> => Promise.reject(new VaultError('wrong-password', 'Wrong.'));

let served: ServedVault;
beforeAll(async () => {
  served = await servedVault();
});
afterAll(async () => {
  await served[Symbol.asyncDispose]();
});

const add = async (scopes: readonly Scope[], expiresAtMs: number | null = null) =>
  served.made.vault.tokens.add({ label: 'test', scopes, expiresAtMs });
const ask = (token: string, path = '/api/files', method = 'GET', at = served.url): Promise<Answered> =>
  served.ask(path, {
    method,
    at,
    headers: { authorization: `Bearer ${token}` },
    body: method === 'PUT' ? 'x' : null,
  });

describe('a token', () => {
  it('is asked for by every server as soon as there is one, and never let go without again', async () => {
    expect(await served.ask('/api/files')).toMatchObject({ status: 200 });
    const other = await served.replica();
    const { token, id } = await add(['list']);
    for (const at of [served.url, other.url]) {
      const refused = await served.ask('/api/files', { at });
      expect(refused).toMatchObject({
        status: 401,
        code: 'unauthorized',
        headers: { 'www-authenticate': 'Bearer' },
      });
      expect(await ask(token, '/api/files', 'GET', at)).toMatchObject({ status: 200 });
    }
    await served.made.vault.tokens.remove(id);
    for (const at of [served.url, other.url]) {
      expect(await ask(token, '/api/files', 'GET', at)).toMatchObject({ status: 401 });
      expect(await served.ask('/api/files', { at })).toMatchObject({ status: 401 });
    }
    expect(await served.ask('/healthz')).toMatchObject({ status: 200 });
  });

  it.each<[Scope, string, string, number]>([
    ['put', 'PUT', '/api/files/of-token', 201],
    ['list', 'GET', '/api/files', 200],
    ['read', 'GET', '/api/files/of-token', 200],
    ['admin', 'GET', '/api/links', 200],
    ['delete', 'DELETE', '/api/files/of-token', 200],
  ])('for %s is good for that alone', async (scope, method, path, status) => {
    const others = (['put', 'list', 'read', 'delete', 'admin'] as const).filter(
      (one) => one !== scope && one !== 'admin',
    );
    const refused = await ask((await add(others)).token, path, method);
    expect(refused).toMatchObject({ status: 403, code: 'forbidden' });
    const { token, id } = await add([scope]);
    expect(await ask(token, path, method)).toMatchObject({ status });
    expect(served.log.at(-1)?.by).toBe(id.slice(0, 12));
  });

  it('is good until it expires, and not a moment longer', async () => {
    const { token } = await add(['list'], Date.now() + 60_000);
    expect(await ask(token)).toMatchObject({ status: 200 });
    const past = await add(['list'], Date.now() - 1);
    expect(past.expired).toBe(true);
    expect(await ask(past.token)).toMatchObject({ status: 401 });
  });

  it.each(['x', 'vault_', `vault_${'A'.repeat(43)}`, 'A'.repeat(43)])(
    '"%s" is none, and is answered late',
    async (text) => {
      await add(['list']);
      const startedAtMs = performance.now();
      expect(await ask(text)).toMatchObject({ status: 401, code: 'unauthorized' });
      expect(performance.now() - startedAtMs).toBeGreaterThan(400);
    },
  );

  it('for admin is good for all the others', async () => {
    const { token } = await add(['admin']);
    expect(await ask(token)).toMatchObject({ status: 200 });
    expect(await ask(token, '/api/files/of-admin', 'PUT')).toMatchObject({ status: 201 });
    expect(await ask(token, '/api/files/of-admin', 'DELETE')).toMatchObject({ status: 200 });
  });

  it('is not in the catalog, nor what it is good for', async () => {
    const { token } = await add(['read']);
    const rows = JSON.stringify([...(await catalogRows(served.made.db))], (_, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value,
    );
    expect(rows).not.toContain(token.slice('vault_'.length));
    expect(rows).not.toMatch(/scopes|label/);
  });

  it('cannot be made, moved or widened by whoever has the database', async () => {
    const one = await add(['list']);
    const other = await add(['admin']);
    const { length } = await served.made.vault.tokens.list();
    const [a, b] = [one, other].map(({ id }) => `x'${id}'`);
    await changeCatalog(
      served.made.db,
      `update grants set record = (select record from grants where id = ${b}) where id = ${a}`,
    );
    expect(await ask(one.token)).toMatchObject({ status: 401 });
    expect(await served.made.vault.tokens.list()).toHaveLength(length - 1);
    const past = await add(['list'], Date.now() - 1);
    await changeCatalog(served.made.db, `update grants set expires_at = null where id = x'${past.id}'`);
    expect(await ask(past.token)).toMatchObject({ status: 401 });
  });

  it('is removed by the first digits of its id, if no other begins with them', async () => {
    const { id } = await add(['list']);
    await expect(served.made.vault.tokens.remove('0000')).rejects.toThrow(/64 hex digits/);
    await expect(served.made.vault.tokens.remove('00000000')).rejects.toThrow(/No token/);
    expect(await served.made.vault.tokens.remove(id.slice(0, 12))).toBe(id);
  });
});

describe('guessing', () => {
  it('is slowed down more and more after five wrong ones, for that one thing, until one is right', async () => {
    let nowMs = 0;
    const slowdown = new Slowdown({ ...systemClock, now: () => nowMs });
    const tried = async (): Promise<number | null> =>
      slowdown
        .guessing('a', wrong)
        .catch((error: unknown) => (error instanceof VaultError ? error.retryAfterMs : -1));
    const first = await Promise.all(Array.from({ length: 8 }, tried));
    expect(first).toEqual([null, null, null, null, null, 1000, 1000, 1000]);
    nowMs = 1000;
    expect([await tried(), await tried()]).toEqual([null, 2000]);
    expect(await slowdown.guessing('b', () => Promise.resolve('right'))).toBe('right');
    await expect(slowdown.guessing('a', () => Promise.resolve('right'))).rejects.toThrow(/too many/);
    nowMs = 3000;
    expect(await slowdown.guessing('a', () => Promise.resolve('right'))).toBe('right');
    expect(await tried()).toBeNull();
  });

  it('counts no other failures', async () => {
    const slowdown = new Slowdown({ ...systemClock, now: () => 0 });
    for (let i = 0; i < 10; i += 1) {
      await expect(slowdown.guessing('a', () => Promise.reject(new Error('away')))).rejects.toThrow('away');
    }
  });

  it('of tokens by many at once is refused at once', async () => {
    const slowdown = new Slowdown({ ...systemClock, now: () => 0 });
    const told = await Promise.all(Array.from({ length: 70 }, () => slowdown.wrongToken()));
    expect(told.filter((late) => !late)).toHaveLength(6);
  });
});
