import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dispositionOf } from '../../src/serve/content.ts';
import { storageError } from '../support/faulty-bucket.ts';
import { getBytes, putBytes } from '../vault/harness.ts';
import { rowsOf, servedVault } from './harness.ts';
import type { ServedVault } from './harness.ts';

const CONTENT = randomBytes(300_000);
let served: ServedVault;
beforeAll(async () => {
  served = await servedVault();
});
afterAll(async () => {
  await served[Symbol.asyncDispose]();
});

const put = (name: string, body: string | Uint8Array, headers = {}) =>
  served.ask(`/api/files/${name}`, { method: 'PUT', body, headers });

const partOf = (etag: string) => ({ range: 'bytes=2-3', 'if-range': etag });
const unlock = (headers: Record<string, string>) => served.ask('/api/files/locked', { headers });

describe('a file', () => {
  it('goes in and comes out, by name and by hash', async () => {
    const stored = await put('docs/a%20b.bin', CONTENT);
    expect(stored).toMatchObject({
      status: 201,
      json: { name: 'docs/a b.bin', size: CONTENT.length, version: expect.any(Number) },
    });
    for (const reference of ['docs/a%20b.bin', 'docs%2Fa%20b.bin', String(stored.json['hash'])]) {
      const got = await served.ask(`/api/files/${reference}`);
      expect(got.status).toBe(200);
      expect(got.bytes.equals(CONTENT)).toBe(true);
      expect(got.headers).toMatchObject({
        'content-type': 'application/octet-stream',
        'content-length': String(CONTENT.length),
        'content-disposition': `attachment; filename="a b.bin"; filename*=UTF-8''a%20b.bin`,
        etag: `"${String(stored.json['hash'])}"`,
        'accept-ranges': 'bytes',
      });
    }
    expect((await getBytes(served.made.vault, 'docs/a b.bin')).equals(CONTENT)).toBe(true);
    const { hash, version } = stored.json;
    expect(await put('docs/a%20b.bin', CONTENT)).toMatchObject({ status: 200, json: { hash, version } });
  });

  it('may be empty', async () => {
    expect(await put('empty', '')).toMatchObject({ status: 201, json: { size: 0 } });
    const got = await served.ask('/api/files/empty');
    expect([got.status, got.bytes.length]).toEqual([200, 0]);
    expect(await served.ask('/api/files/empty', { headers: { range: 'bytes=0-' } })).toMatchObject({
      status: 416,
    });
  });

  it('tells HEAD all but its bytes, and who has it that it has not changed', async () => {
    const { json } = await put('head', CONTENT);
    const head = await served.ask('/api/files/head', { method: 'HEAD' });
    expect(head).toMatchObject({ status: 200, headers: { 'content-length': String(CONTENT.length) } });
    expect(head.bytes).toHaveLength(0);
    const { date: _, ...same } = head.headers;
    for (const range of ['bytes=0-9', 'bytes=300000-']) {
      const asked = { method: 'HEAD', headers: { range } };
      expect(await served.ask('/api/files/head', asked)).toMatchObject({
        status: 200,
        headers: same,
      });
    }
    const headers = { 'if-none-match': `W/"x", "${String(json['hash'])}"` };
    expect(await served.ask('/api/files/head', { headers })).toMatchObject({ status: 304 });
  });

  it.each([
    ['bytes=0-0', 0, 1],
    ['bytes=65535-65536', 65_535, 65_537],
    ['bytes=70000-199999', 70_000, 200_000],
    ['bytes=299999-', 299_999, 300_000],
    ['bytes=-10', 299_990, 300_000],
    ['bytes=-999999', 0, 300_000],
    ['bytes=131072-999999', 131_072, 300_000],
    ['bytes=131072-99999999999999999999999', 131_072, 300_000],
    [`bytes=-${'9'.repeat(400)}`, 0, 300_000],
  ])('gives %s', async (range, start, end) => {
    await putBytes(served.made.vault, CONTENT, { name: 'ranges' });
    const got = await served.ask('/api/files/ranges', { headers: { range } });
    expect(got.status).toBe(206);
    expect(got.headers['content-range']).toBe(`bytes ${start}-${end - 1}/300000`);
    expect(got.bytes.equals(CONTENT.subarray(start, end))).toBe(true);
  });

  it('gives a part of a small file, too', async () => {
    await put('small', 'abcdef');
    const got = await served.ask('/api/files/small', { headers: { range: 'bytes=2-3' } });
    expect([got.status, got.bytes.toString()]).toEqual([206, 'cd']);
  });

  it.each([
    'bytes=300000-',
    'bytes=-0',
    'bytes=999999-9999999',
    'bytes=99999999999999999999999-',
    `bytes=${'9'.repeat(400)}-`,
  ])('refuses %s', async (range) => {
    await putBytes(served.made.vault, CONTENT, { name: 'ranges' });
    const got = await served.ask('/api/files/ranges', { headers: { range } });
    expect(got).toMatchObject({
      status: 416,
      code: 'bad-range',
      headers: { 'content-range': 'bytes */300000' },
    });
  });

  it.each(['bytes=5-2', 'bytes=0-1,5-6', 'lines=1-2', 'bytes=a-b'])(
    'takes no notice of %s',
    async (range) => {
      await put('small', 'abcdef');
      expect(await served.ask('/api/files/small', { headers: { range } })).toMatchObject({ status: 200 });
    },
  );

  it('gives all of another version than the part was wanted of', async () => {
    const { json } = await put('small', 'abcdef');
    expect(await served.ask('/api/files/small', { headers: partOf('"x"') })).toMatchObject({ status: 200 });
    const same = partOf(`"${String(json['hash'])}"`);
    expect(await served.ask('/api/files/small', { headers: same })).toMatchObject({ status: 206 });
  });

  it('is given only where it is of the version that alone was wanted', async () => {
    const { json } = await put('small', 'abcdef');
    const own = `"${String(json['hash'])}"`;
    const link = await served.ask('/api/files/small/links', { method: 'POST', body: '{}' });
    const paths = [
      '/api/files/small',
      '/upload/?file_name=small',
      new URL(String(link.json['url'])).pathname,
    ];
    for (const path of paths) {
      for (const method of ['GET', 'HEAD']) {
        const said = async (headers: Record<string, string>): Promise<number> =>
          (await served.ask(path, { method, headers })).status;
        for (const match of ['"x"', `W/${own}`, 'nonsense', ''])
          expect([match, await said({ 'if-match': match })]).toEqual([match, 412]);
        for (const match of [own, `"x", ${own}`, '*'])
          expect([match, await said({ 'if-match': match })]).toEqual([match, 200]);
        expect(await said({ 'if-match': '"x"', 'if-none-match': own, range: 'bytes=9-' })).toBe(412);
        expect(await said({ 'if-match': own, 'if-none-match': own })).toBe(304);
        // There is no time of the last change to go by.
        expect(await said({ 'if-unmodified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' })).toBe(200);
      }
    }
    expect(await served.ask('/api/files/small', { headers: { 'if-match': '"x"' } })).toMatchObject({
      code: 'no-match',
    });
  });

  it('is removed, and not found any more', async () => {
    await put('gone', 'x');
    expect(await served.ask('/api/files/gone', { method: 'DELETE' })).toMatchObject({ status: 200 });
    expect(await served.ask('/api/files/gone')).toMatchObject({ status: 404, code: 'file-not-found' });
    expect(await served.ask('/api/files/gone', { method: 'DELETE' })).toMatchObject({ status: 404 });
    expect(await served.ask(`/api/files/${'0'.repeat(64)}`)).toMatchObject({ status: 404 });
  });

  it('has a lock that opens with its password alone', async () => {
    expect(await put('locked', 'secret', { 'vault-password': 'pässword' })).toMatchObject({
      status: 201,
      json: { locked: true, size: null },
    });
    expect(await unlock({})).toMatchObject({ status: 403, code: 'wrong-password' });
    const right = await unlock({ 'vault-password': Buffer.from('pässword').toString('latin1') });
    expect([right.status, right.bytes.toString()]).toEqual([200, 'secret']);
    expect(await unlock({ 'vault-password': 'wrong' })).toMatchObject({
      status: 403,
      code: 'wrong-password',
    });
  });

  it('is not begun to be given when its first chunk cannot be read', async () => {
    const { vault, buckets } = served.made;
    await putBytes(vault, randomBytes(200_000), { name: 'damaged' });
    const kept = buckets.map(({ storage }) => new Map(storage));
    for (const { storage } of buckets)
      for (const name of storage.keys()) if (name.startsWith('chunks/')) storage.delete(name);
    const got = await served.ask('/api/files/damaged');
    expect(got).toMatchObject({ status: 500, code: 'damaged' });
    expect(got.headers['content-disposition']).toBeUndefined();
    expect(await served.ask('/upload/?file_name=damaged')).toMatchObject({ status: 400, code: 'damaged' });
    for (const [i, { storage }] of buckets.entries())
      for (const [name, bytes] of kept[i] ?? []) storage.set(name, bytes);
  });
});

it('A file of which a later chunk cannot be read ends with its connection, and the next one is given', async () => {
  await using other = await servedVault();
  const { vault, buckets } = other.made;
  await putBytes(vault, randomBytes(1_000_000), { name: 'cut' });
  let isGone = false;
  for (const bucket of buckets) {
    bucket.wrap = (plain) => ({
      ...plain,
      get: (name, ...rest) => (isGone ? Promise.reject(storageError()) : plain.get(name, ...rest)),
    });
  }
  const [socket, got] = [connect(Number(new URL(other.url).port), '127.0.0.1'), new Array<Buffer>()];
  socket.write('GET /api/files/cut HTTP/1.1\r\nHost: localhost\r\n\r\n');
  // As soon as anything comes the buckets are gone.
  socket.once('data', () => {
    isGone = true;
  });
  socket.on('data', (bytes) => got.push(bytes));
  await once(socket, 'close');
  const text = Buffer.concat(got).toString('latin1');
  expect(text).toMatch(/^HTTP\/1.1 200 OK\r\n/);
  expect(text).toContain('Content-Length: 1000000\r\n');
  expect(text.length).toBeLessThan(1_000_000);
  while (other.log.length === 0) await delay(10);
  expect(other.log).toMatchObject([{ code: 'unavailable' }]);
  isGone = false;
  expect((await other.ask('/api/files/cut')).bytes).toHaveLength(1_000_000);
});

describe('a list', () => {
  it('comes in pages, newest first, and keeps its place when files are added', async () => {
    await using other = await servedVault();
    for (let i = 0; i < 5; i += 1) await putBytes(other.made.vault, Buffer.from(`${i}`), { name: `n${i}` });
    const names: unknown[] = [];
    let after = '';
    for (let pages = 0; pages < 3; pages += 1) {
      const page = await other.ask(`/api/files?limit=2${after}`);
      names.push(...rowsOf(page.json['files']).map((file) => file['name']));
      // A new version of what was listed, and of what was not.
      await putBytes(other.made.vault, Buffer.from(`again ${pages}`), { name: `n${pages + 1}` });
      after = `&after=${String(page.json['next'])}`;
      if (page.json['next'] === null) break;
    }
    expect(names).toEqual(['n4', 'n3', 'n2', 'n1', 'n0']);
  });

  it.each([
    'limit=0',
    'limit=1001',
    'limit=x',
    'after=x',
    `after=1.${'0'.repeat(64)}`,
    'deleted=yes',
    'deleted=TRUE',
    'all=1',
    'all=',
  ])('refuses %s', async (query) => {
    expect(await served.ask(`/api/files?${query}`)).toMatchObject({ status: 400, code: 'invalid-input' });
  });
});

describe('the name that a browser is told', () => {
  it.each([
    ['a.pdf', `filename="a.pdf"; filename*=UTF-8''a.pdf`],
    ['x/y/"q"\\.txt', `filename=".txt"; filename*=UTF-8''.txt`],
    ['a"b.txt', `filename="a_b.txt"; filename*=UTF-8''a%22b.txt`],
    ['Größe (1).txt', `filename="Gr__e (1).txt"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%281%29.txt`],
    ['a\r\nSet-Cookie: b', `filename="a__Set-Cookie: b"; filename*=UTF-8''a__Set-Cookie%3A%20b`],
    ['gnp\u202Efdp.exe', `filename="gnp_fdp.exe"; filename*=UTF-8''gnp_fdp.exe`],
    ['..', `filename="download"; filename*=UTF-8''download`],
    ['😀'.repeat(100), `filename="${'_'.repeat(50)}"; filename*=UTF-8''${'%F0%9F%98%80'.repeat(50)}`],
  ])('of %j is safe', (name, expected) => {
    expect(dispositionOf(name)).toBe(`attachment; ${expected}`);
  });
});

it('no log has a name or a password', () => {
  expect(served.log.length).toBeGreaterThan(20);
  expect(JSON.stringify(served.log)).not.toMatch(/docs|locked|small|pässword|secret/);
  expect(served.warnings).toEqual([]);
});
