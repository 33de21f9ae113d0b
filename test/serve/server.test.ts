import type { IncomingMessage } from 'node:http';
import { get } from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import { parseListen } from '../../src/cli/commands/serve.ts';
import { selfSigned } from '../support/self-signed.ts';
import { servedVault } from './harness.ts';
import type { ServedVault } from './harness.ts';

const fails = (): Promise<never> =>
  Promise.reject(new VaultError('unavailable', 'The test is at db.internal.'));

let served: ServedVault;
beforeAll(async () => {
  served = await servedVault();
});
afterAll(async () => {
  await served[Symbol.asyncDispose]();
});

describe('the server', () => {
  it('says that it lives and that it is ready, also to HEAD', async () => {
    expect(await served.ask('/healthz')).toMatchObject({ status: 200, json: { status: 'ok' } });
    expect(await served.ask('/readyz')).toMatchObject({ status: 200, json: { status: 'ready' } });
    const head = await served.ask('/healthz', { method: 'HEAD' });
    expect([head.status, head.bytes.length]).toEqual([200, 0]);
  });

  it('says in JSON what is not served', async () => {
    expect(await served.ask('/nothing')).toMatchObject({ status: 404, code: 'no-route' });
    const wrong = await served.ask('/healthz', { method: 'DELETE' });
    expect(wrong).toMatchObject({ status: 405, code: 'wrong-method', headers: { allow: 'GET, HEAD' } });
  });

  it('has strict headers on every answer', async () => {
    for (const path of ['/healthz', '/nothing']) {
      const { headers } = await served.ask(path);
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'cache-control': 'no-store',
        'content-security-policy': expect.stringContaining("default-src 'none'"),
      });
    }
  });

  it('answers what is not HTTP, and a head that is too long', async () => {
    expect(await served.raw('nonsense\r\n\r\n')).toMatch(/^HTTP\/1.1 400 .*"code":"bad-request"/s);
    const long = `GET /healthz HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(70_000)}\r\n\r\n`;
    expect(await served.raw(long)).toMatch(/^HTTP\/1.1 431 .*"code":"too-large"/s);
    expect(await served.ask('/healthz')).toMatchObject({ status: 200 });
  });

  it('refuses pages of other servers, names that only point here, and what a proxy passes on', async () => {
    for (const host of ['localhost:8750', 'LOCALHOST:8750', '127.0.0.1', '[::1]:8750']) {
      const own = { host, origin: `http://${host}`.toLowerCase() };
      expect(await served.ask('/api/files', { headers: own })).toMatchObject({ status: 200 });
    }
    for (const headers of [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { host: 'evil.example' },
      { host: 'evil.example', origin: 'http://evil.example' },
      { 'x-forwarded-for': '192.0.2.1' },
      { 'x-forwarded-host': 'files.example' },
      { 'x-forwarded-proto': 'https' },
      { forwarded: 'for=192.0.2.1' },
      { via: '1.1 proxy' },
      { 'x-real-ip': '192.0.2.1' },
      { 'cf-connecting-ip': '192.0.2.1' },
      { 'true-client-ip': '192.0.2.1' },
      { 'x-client-ip': '192.0.2.1' },
      { 'x-azure-clientip': '192.0.2.1' },
      { 'x-azure-ref': '0' },
      { 'x-appgw-trace-id': '0' },
      { 'x-sucuri-clientip': '192.0.2.1' },
      { 'do-connecting-ip': '192.0.2.1' },
    ]) {
      expect(await served.ask('/api/files', { headers })).toMatchObject({ status: 403, code: 'forbidden' });
    }
  });

  it('serves other machines with a token only', async () => {
    await expect(servedVault({ publicUrl: 'https://files.example' })).rejects.toThrow(/Without any token/);
    await expect(servedVault({ host: '0.0.0.0' })).rejects.toThrow(/Without any token/);
  });

  it('logs routes, and never what was asked for', async () => {
    served.log.length = 0;
    await served.ask('/secret-name?password=hush');
    await served.ask('/healthz?password=hush');
    await served.raw('GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n');
    await served.raw('GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: foo\r\nConnection: close\r\n\r\n');
    expect(served.log).toMatchObject([
      { method: 'GET', route: null, status: 404, code: 'no-route' },
      { method: 'GET', route: '/healthz', status: 200, code: null },
      { method: 'GET', route: '/healthz', status: 400, code: 'bad-request' },
      { method: 'GET', route: '/healthz', status: 417, code: 'bad-request' },
    ]);
    expect(JSON.stringify(served.log)).not.toMatch(/secret|hush/);
  });

  it('is not ready when the database does not answer, and tells its operator why', async () => {
    const wrapCatalog: NonNullable<Parameters<typeof served.made.reopen>[0]>['wrapCatalog'] = (catalog) => ({
      ...catalog,
      requireWritable: () => catalog.requireWritable(),
      close: () => catalog.close(),
      setup: new Proxy(catalog.setup, {
        get: (target, key): unknown =>
          key === 'vault' && broken ? fails : Reflect.get(target, key).bind(target),
      }),
    });
    let broken = false;
    await using other = await servedVault({ vault: { wrapCatalog } });
    broken = true;
    const answer = await other.ask('/readyz');
    expect(answer).toMatchObject({ status: 503, code: 'unavailable', headers: { 'retry-after': '5' } });
    expect(answer.bytes.toString()).not.toContain('db.internal');
    expect(other.warnings.join()).toContain('db.internal');
    expect(await other.ask('/healthz')).toMatchObject({ status: 200 });
  });
});

it('speaks HTTPS with a certificate, and asks to be asked over that alone', async () => {
  const { cert, key } = selfSigned();
  await using secure = await servedVault({ tls: { cert: Buffer.from(cert), key: Buffer.from(key) } });
  expect(secure.url).toMatch(/^https:/);
  const asked = Promise.withResolvers<IncomingMessage>();
  get(`${secure.url}/healthz`, { ca: cert, agent: false }, asked.resolve).on('error', asked.reject);
  const { statusCode, headers } = await asked.promise;
  expect([statusCode, headers['strict-transport-security']]).toEqual([200, 'max-age=31536000']);
  const plain = await served.ask('/healthz');
  expect(plain.headers['strict-transport-security']).toBeUndefined();
});

describe('--listen', () => {
  it.each([
    ['127.0.0.1:8750', '127.0.0.1', 8750],
    ['[::]:0', '::', 0],
    ['localhost:80', 'localhost', 80],
  ])('takes %s', (text, host, port) => {
    expect(parseListen(text)).toEqual([host, port]);
  });

  it.each(['', '8750', ':8750', '::1:8750', '127.0.0.1:99999', '[x]:1', 'a:b'])('refuses "%s"', (text) => {
    expect(() => parseListen(text)).toThrow(/--listen/);
  });
});
