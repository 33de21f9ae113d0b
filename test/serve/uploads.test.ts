import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readForm } from '../../src/serve/multipart.ts';
import { storageError } from '../support/faulty-bucket.ts';
import { VaultError } from '../../src/errors.ts';
import { all, getBytes } from '../vault/harness.ts';
import type { TestVaultOptions } from '../vault/harness.ts';
import { servedVault, uploading } from './harness.ts';
import type { ServedVault } from './harness.ts';

const CONTENT = randomBytes(200_000);
const B = 'boundary';
let served: ServedVault;
/** Where who sends nothing is soon given up, as is who is kept from it by a busy machine. */
let hasty = '';
beforeAll(async () => {
  served = await servedVault({ maxUpload: 1_000_000, idleMs: 30_000 });
  hasty = (await served.replica({ idleMs: 400 })).url;
});
afterAll(async () => {
  await served[Symbol.asyncDispose]();
});

function form(
  fields: Readonly<Record<string, string>>,
  file?: { name: string; bytes: Uint8Array },
): FormData {
  const made = new FormData();
  for (const [name, value] of Object.entries(fields)) made.append(name, value);
  if (file !== undefined) made.append('file', new Blob([Uint8Array.from(file.bytes)]), file.name);
  return made;
}

const field = (name: string, value: string): string =>
  `--${B}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
const filePart = (name: string, value: string): string =>
  `--${B}\r\nContent-Disposition: form-data; name="file"; filename="${name}"\r\nContent-Type: text/plain\r\n\r\n${value}\r\n`;
const END = `--${B}--\r\n`;
const typed = { 'Content-Type': `multipart/form-data; boundary=${B}` };
const asking = (length: number): string =>
  `PUT /api/files/asked HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: ${length}\r\n\r\n`;
const names = async (): Promise<string[]> => (await all(served.made.vault.list())).map(({ name }) => name);

describe('a form', () => {
  it('is stored under its hash, and had again by a link', async () => {
    const body = form({ chunk_size: '65536' }, { name: 'form.bin', bytes: CONTENT });
    const stored = await served.ask('/api/upload', { method: 'POST', body });
    expect(stored).toMatchObject({ status: 200, json: { status: 'success' } });
    const hash = String(stored.json['hash']);
    expect((await getBytes(served.made.vault, hash)).equals(CONTENT)).toBe(true);
    const link = await served.ask(`/api/retrieve/${hash}`);
    expect(link).toMatchObject({ status: 200, json: { status: 'success' } });
    const got = await served.ask(new URL(String(link.json['download_link'])).pathname);
    expect(got.bytes.equals(CONTENT)).toBe(true);
  });

  it('may have a password, without which there is no link, and which the link then carries', async () => {
    const body = form({ password: 'open sesame' }, { name: 'locked.bin', bytes: CONTENT });
    const { json } = await served.ask('/api/upload', { method: 'POST', body });
    const at = `/api/retrieve/${String(json['hash'])}`;
    expect(await served.ask(at)).toMatchObject({ status: 403, code: 'wrong-password' });
    expect(await served.ask(at, { headers: { 'vault-password': 'wrong' } })).toMatchObject({ status: 403 });
    const ways = [
      served.ask(at, { headers: { 'vault-password': 'open sesame' } }),
      served.ask(`${at}?password=open%20sesame`),
      served.ask(at, {
        method: 'POST',
        body: '{"password":"open sesame"}',
        headers: { 'Content-Type': 'application/json' },
      }),
      served.ask(at, { method: 'POST', body: form({ password: 'open sesame' }) }),
      served.ask(at, {
        method: 'POST',
        body: 'password=open+sesame',
        headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      }),
    ];
    for (const way of await Promise.all(ways)) {
      expect(way.status).toBe(200);
      const got = await served.ask(new URL(String(way.json['download_link'])).pathname);
      expect(got.bytes.equals(CONTENT)).toBe(true);
    }
    expect(JSON.stringify(served.log)).not.toContain('sesame');
  });

  it('gives the address of a file by its name', async () => {
    const body = form({}, { name: 'Größe & "q".txt', bytes: Buffer.from('hello') });
    const stored = await served.ask('/upload/', { method: 'POST', body });
    expect(stored).toMatchObject({ status: 201, json: { message: 'File uploaded successfully.' } });
    const url = new URL(String(stored.json['file_url']));
    const got = await served.ask(url.pathname + url.search);
    expect([got.status, got.bytes.toString()]).toEqual([200, 'hello']);
    expect(got.headers['content-disposition']).toContain("UTF-8''Gr%C3%B6%C3%9Fe");
    expect(await served.ask('/upload/?file_name=nothing')).toMatchObject({
      status: 404,
      code: 'file-not-found',
    });
    expect(await served.ask('/upload/')).toMatchObject({ status: 400, code: 'invalid-input' });
    expect(await served.ask('/upload/?file_name=locked.bin')).toMatchObject({
      status: 400,
      code: 'wrong-password',
    });
  });

  it('may have something before its parts and behind them, which is no part of it', async () => {
    const body = `x\r\n${filePart('between', 'hello')}${END}more`;
    expect(await served.ask('/upload/', { method: 'POST', body, headers: typed })).toMatchObject({
      status: 201,
    });
    expect((await getBytes(served.made.vault, 'between')).toString()).toBe('hello');
  });

  it('is read alike however its bytes are cut', async () => {
    const text = Buffer.from(
      `${field('a', 'b')}${filePart('f', `x\r\n--boundar\r\n${'y'.repeat(100)}`)}${END}`,
    );
    for (let size = 1; size < text.length; size += 7) {
      const pieces = async function* (): AsyncGenerator<Uint8Array> {
        for (let at = 0; at < text.length; at += size) yield text.subarray(at, at + size);
      };
      const { fields, file } = await readForm(typed['Content-Type'], pieces());
      expect([...fields]).toEqual([['a', 'b']]);
      expect(file?.name).toBe('f');
      const runs = await Array.fromAsync(file?.content ?? [], (run) => Buffer.from(run));
      expect(Buffer.concat(runs).toString()).toBe(`x\r\n--boundar\r\n${'y'.repeat(100)}`);
    }
  });
});

const big = 'z'.repeat(50_000);
/** What is sent to `/api/upload`, and what comes of it. */
const BAD_FORMS: readonly [what: string, body: string, headers?: Record<string, string>][] = [
  ['no file', field('a', 'b') + END],
  ['nothing', ''],
  ['no end', filePart('bad', big)],
  ['an end in the middle of a file', filePart('bad', big).slice(0, -10)],
  ['two files', filePart('bad', big) + filePart('bad2', big) + END],
  ['a field behind the file', filePart('bad', big) + field('password', 'late') + END],
  ['10,000 parts', field('a', 'b').repeat(10_000) + END],
  ['a field that is there twice', field('a', '1') + field('a', '2') + filePart('bad', 'x') + END],
  ['a field that is too long', field('a', 'x'.repeat(20_000)) + filePart('bad', 'x') + END],
  ['a file of another name', filePart('bad', 'x').replace('name="file"', 'name="data"') + END],
  ['a part without a name', filePart('bad', 'x').replace('name="file"; ', '') + END],
  [
    'a part that is encoded',
    filePart('bad', 'x').replace('Content-Type: text/plain', 'Content-Transfer-Encoding: base64') + END,
  ],
  ['a name with a path', filePart('../bad', 'x') + END],
  ['a name with a drive', filePart('C:\\\\bad', 'x') + END],
  ['a name with a NUL', filePart('ba\0d', 'x') + END],
  ['a name of 20 KiB', filePart('n'.repeat(20 * 1024), 'x') + END],
  ['a head of 40 KiB', filePart('n'.repeat(40 * 1024), 'x') + END],
  ['an empty name', filePart('', 'x') + END],
  ['a name of dots', filePart('..', 'x') + END],
  ['a chunk size that is none', field('chunk_size', 'many') + filePart('bad', 'x') + END],
  ['a chunk size that is too small', field('chunk_size', '1') + filePart('bad', 'x') + END],
  ['a chunk size that is too large', field('chunk_size', '99999999999') + filePart('bad', 'x') + END],
  ['a password that is empty', field('password', '') + filePart('bad', 'x') + END],
  ['a field that means nothing', field('Password', 'x') + filePart('bad', 'x') + END],
  ['no boundary', filePart('bad', 'x') + END, { 'Content-Type': 'multipart/form-data' }],
  ['another type', filePart('bad', 'x') + END, { 'Content-Type': 'application/json' }],
];

/** Nothing of what is bad is listed, and the next request is served. */
async function expectUnharmed(): Promise<void> {
  expect((await names()).filter((name) => /^(bad|nnn)/.test(name))).toEqual([]);
  expect(await served.ask('/healthz')).toMatchObject({ status: 200 });
}

describe('bad input', () => {
  it.each<[string, string, Record<string, string>?]>(BAD_FORMS)(
    'a form with %s is refused',
    async (_, body, headers) => {
      expect(
        await served.ask('/api/upload', { method: 'POST', body, headers: headers ?? typed }),
      ).toMatchObject({
        status: 400,
        code: 'invalid-input',
        headers: { 'content-type': 'application/json; charset=utf-8' },
      });
      await expectUnharmed();
    },
  );

  it.each([
    ['/api/files/a//b', 400],
    ['/api/files/a/../b', 400],
    ['/api/files/bad%00', 400],
    ['/api/files/bad%ff', 400],
    [`/api/files/bad${'n'.repeat(20 * 1024)}`, 400],
    ['/api/files/bad?chunk_size=1', 400],
    ['/api/files/bad?chunk_size=x', 400],
    ['/api/files/bad?expires_in=0', 400],
    ['/api/files/bad?expire_in=10', 400],
    ['/api/files/bad?Expires_in=10', 400],
  ])('PUT %s is refused', async (path, status) => {
    expect(await served.ask(path, { method: 'PUT', body: 'x' })).toMatchObject({
      status,
      code: 'invalid-input',
    });
    await expectUnharmed();
  });

  it.each<[string, string, number, string]>([
    ['no length', 'PUT /api/files/bad HTTP/1.1\r\nHost: localhost\r\n\r\n', 411, 'no-length'],
    [
      'too large a length',
      'PUT /api/files/bad HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000001\r\n\r\n',
      413,
      'too-large',
    ],
    [
      'a length that is none',
      'PUT /api/files/bad HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n',
      400,
      'bad-request',
    ],
    [
      'two lengths',
      'PUT /api/files/bad HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx',
      400,
      'bad-request',
    ],
    [
      'a part',
      'PUT /api/files/bad HTTP/1.1\r\nHost: localhost\r\nContent-Range: bytes 0-0/2\r\nContent-Length: 1\r\n\r\nx',
      400,
      'invalid-input',
    ],
    ...['If-Match: "x"', 'If-None-Match: *', 'If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT'].map(
      (condition): [string, string, number, string] => [
        condition,
        `PUT /api/files/bad HTTP/1.1\r\nHost: localhost\r\n${condition}\r\nContent-Length: 1\r\n\r\nx`,
        400,
        'invalid-input',
      ],
    ),
    [
      'another encoding',
      'PUT /api/files/bad HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n',
      400,
      'invalid-input',
    ],
    ['no host', 'PUT /api/files/bad HTTP/1.1\r\nContent-Length: 1\r\n\r\nx', 400, 'bad-request'],
    [
      'what cannot be expected',
      'PUT /api/files/bad HTTP/1.1\r\nHost: localhost\r\nExpect: foo\r\nContent-Length: 1\r\n\r\nx',
      417,
      'bad-request',
    ],
    ['an unknown method', 'FOO /api/files/bad HTTP/1.1\r\nHost: localhost\r\n\r\n', 501, 'wrong-method'],
    ['a method for others', 'LOCK /api/files/bad HTTP/1.1\r\nHost: localhost\r\n\r\n', 405, 'wrong-method'],
    [
      'a length of many digits',
      `PUT /api/files/bad HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${'1'.repeat(23)}\r\n\r\n`,
      413,
      'too-large',
    ],
  ])('a request with %s is refused', async (_, request, status, code) => {
    const answer = await served.raw(request.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(answer).toContain(`"code":"${code}"`);
    await expectUnharmed();
  });

  it('more than was allowed is refused while it comes, whatever length was told', async () => {
    const chunk = `${(100_000).toString(16)}\r\n${'x'.repeat(100_000)}\r\n`;
    const head = 'PUT /api/files/bad HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n';
    expect(await served.raw(head + chunk.repeat(12))).toMatch(/^HTTP\/1.1 413 .*"code":"too-large"/s);
    await expectUnharmed();
  });

  it('a body that is not sent, or too slowly, is given up', async () => {
    const head = 'PUT /api/files/bad HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\nx';
    expect(await served.raw(head, { at: hasty })).toMatch(/^HTTP\/1.1 408 .*"code":"too-slow"/s);
    await expectUnharmed();
  });

  it.each([
    ['no end', filePart('bad', big), 100_000, 408, 'too-slow'],
    ['a length that is too short', `${filePart('bad', big)}${END}`, 40_000, 400, 'invalid-input'],
  ])('a form with %s is given up', async (_, body, length, status, code) => {
    const head = `POST /upload/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${typed['Content-Type']}\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n`;
    const at = status === 408 ? hasty : served.url;
    expect(await served.raw(head + body.slice(0, length), { at })).toMatch(
      new RegExp(`^HTTP/1.1 ${status} .*"code":"${code}"`, 's'),
    );
    await expectUnharmed();
  });

  it('a connection that ends in the middle of its sending direction is told so', async () => {
    const head = 'PUT /api/files/bad HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\nx';
    const before = served.log.length;
    expect(await served.raw(head, { end: true })).toMatch(/^HTTP\/1.1 400 .*"code":"source-changed"/s);
    while (served.log.length === before) await delay(10);
    expect(served.log.at(-1)).toMatchObject({ status: 400, code: 'source-changed' });
    await expectUnharmed();
  });

  it('a client that goes in the middle leaves nothing', async () => {
    for (const bytes of ['x'.repeat(10), 'x'.repeat(300_000)]) {
      const socket = await uploading(served.url, '/api/files/bad', 500_000);
      socket.write(bytes);
      await delay(50);
      const before = served.log.length;
      socket.destroy();
      while (served.log.length === before) await delay(10);
      expect(served.log.at(-1)).toMatchObject({
        route: '/api/files/{ref...}',
        status: 400,
        code: 'source-changed',
      });
    }
    await expectUnharmed();
  });

  it('waits with the body for who asks whether it may be sent', async () => {
    const refused = await served.raw(asking(2_000_000));
    expect(refused).toMatch(/^HTTP\/1.1 413 /);
    expect(await served.raw(`${asking(1)}x`)).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 201 /);
    await expectUnharmed();
  });

  it.each(['[]', '"x"', '{', '{"password":1}', '{"Password":"x"}', '\xff'])(
    'a body %s instead of an object is refused',
    async (body) => {
      const headers = { 'Content-Type': 'application/json' };
      const at = `/api/retrieve/${'0'.repeat(64)}`;
      const bytes = Buffer.from(body, 'latin1');
      expect(await served.ask(at, { method: 'POST', body: bytes, headers })).toMatchObject({
        status: 400,
        code: 'invalid-input',
      });
      expect(await served.ask('/api/retrieve/xyz', { method: 'GET' })).toMatchObject({ status: 400 });
    },
  );

  it('buckets that are gone in the middle are an error that tells nothing of them', async () => {
    const { buckets } = served.made;
    for (const bucket of buckets) {
      bucket.wrap = (plain) => ({
        ...plain,
        put: (name, ...rest) =>
          name.startsWith('chunks/') ? Promise.reject(storageError()) : plain.put(name, ...rest),
      });
    }
    const answer = await served.ask('/api/files/bad', { method: 'PUT', body: randomBytes(300_000) });
    for (const bucket of buckets) bucket.wrap = (plain) => plain;
    expect(answer).toMatchObject({ status: 503, code: 'unavailable' });
    expect(answer.bytes.toString()).not.toMatch(/memory:|test says/);
    expect(served.warnings.join()).toContain('memory:');
    await expectUnharmed();
  });
});

it('a database that is gone in the middle is an error that tells nothing of it, and nothing is listed', async () => {
  let isGone = false;
  const wrapCatalog: TestVaultOptions['wrapCatalog'] = (catalog) => ({
    ...catalog,
    requireWritable: () => catalog.requireWritable(),
    close: () => catalog.close(),
    files: new Proxy(catalog.files, {
      get: (target, key): unknown =>
        key === 'put' && isGone
          ? () => Promise.reject(new VaultError('unavailable', 'The test is at db.internal.'))
          : Reflect.get(target, key).bind(target),
    }),
  });
  await using other = await servedVault({ vault: { wrapCatalog } });
  isGone = true;
  const answers = [
    await other.ask('/api/files/bad', { method: 'PUT', body: CONTENT }),
    await other.ask('/api/upload', { method: 'POST', body: form({}, { name: 'bad', bytes: CONTENT }) }),
  ];
  isGone = false;
  for (const answer of answers) {
    expect(answer).toMatchObject({ status: 503, code: 'unavailable', headers: { 'retry-after': '5' } });
    expect(answer.bytes.toString()).not.toContain('db.internal');
  }
  expect(await all(other.made.vault.list())).toEqual([]);
  expect(await other.ask('/api/files/bad', { method: 'PUT', body: CONTENT })).toMatchObject({ status: 201 });
});

it('a server that is stopped calls off what runs, and lists nothing of it', async () => {
  await using other = await servedVault({ graceMs: 100 });
  const socket = await uploading(other.url, '/api/files/half', 500_000);
  socket.write('x'.repeat(300_000));
  await delay(50);
  await other.server.stop();
  expect(await all(other.made.vault.list())).toEqual([]);
  expect(other.log).toMatchObject([{ route: '/api/files/{ref...}', status: 503, code: 'interrupted' }]);
});
