import { METHODS } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROUTES } from '../../src/serve/routes.ts';
import { getBytes, putBytes } from '../vault/harness.ts';
import { servedVault } from './harness.ts';
import type { ServedVault } from './harness.ts';

let served: ServedVault;
beforeAll(async () => {
  served = await servedVault();
  await putBytes(served.made.vault, Buffer.from('abcdef'), { name: 'a' });
});
afterAll(async () => {
  await served[Symbol.asyncDispose]();
});

const typed = { 'Content-Type': 'application/json' };
const linkTo = async (name: string): Promise<string> => {
  const { json } = await served.ask(`/api/files/${name}/links`, { method: 'POST', body: '{}' });
  return new URL(String(json['url'])).pathname;
};

describe('what a body says of its type', () => {
  const TYPES = [null, '', 'foo', 'x/y/z', 'image/png, image/png', 'é/x', 'a b', ';', 'multipart/form-data'];

  it.each(TYPES)('does not matter where the body is stored as it is: %j', async (type) => {
    const headers = type === null ? {} : { 'Content-Type': Buffer.from(type).toString('latin1') };
    const body = `of the type ${String(type)}`;
    expect(await served.ask('/api/files/typed', { method: 'PUT', body, headers })).toMatchObject({
      status: 201,
    });
    expect((await getBytes(served.made.vault, 'typed')).toString()).toBe(body);
  });

  it.each(TYPES)('does not matter where none is read: %j', async (type) => {
    const headers = type === null ? {} : { 'Content-Type': Buffer.from(type).toString('latin1') };
    const asked = { body: 'x', headers };
    expect(await served.ask('/nothing', { ...asked, method: 'POST' })).toMatchObject({ code: 'no-route' });
    expect(await served.ask('/api/files', { ...asked, method: 'PUT' })).toMatchObject({ status: 405 });
    expect(await served.ask('/api/undelete/none', { ...asked, method: 'POST' })).toMatchObject({
      status: 404,
      code: 'file-not-found',
    });
  });

  it('must be that of a form where that is asked for', async () => {
    for (const type of ['foo', '', 'x/y/z']) {
      const headers = { 'Content-Type': type };
      expect(await served.ask('/upload/', { method: 'POST', body: 'x', headers })).toMatchObject({
        status: 400,
        code: 'invalid-input',
      });
    }
  });
});

/** Parts of a form: the file, as it is in most, and others. */
const partOf = (head: string, value: string): string =>
  `--b\r\nContent-Disposition: form-data; ${head}\r\n\r\n${value}\r\n`;
const FILE = partOf('name="file"; filename="bad"', 'x');
const OCTETS = '\r\nContent-Type: application/octet-stream';

describe('what is wrong with a form is said in words of this program', () => {
  it.each([
    [
      `${FILE}--b--`,
      `multipart/form-data; boundary=${'b'.repeat(500)}`,
      'its Content-Type has no boundary, or too long a one',
    ],
    [`${FILE}--b--`, 'multipart/form-data', 'its Content-Type has no boundary, or too long a one'],
    [`${FILE}--b--`, 'multipart/form-data-x; boundary=b', 'its Content-Type is not multipart/form-data'],
    [`${partOf('name="file"', '\xFF')}--b--`, '', 'its part "file" has no filename'],
    [`${partOf('name="file"', 'text')}--b--`, '', 'its part "file" has no filename'],
    [`${partOf(`name="file"${OCTETS}`, 'x')}--b--`, '', 'its part "file" has no filename'],
    [`${partOf('name="file"; filename=""', 'x')}--b--`, '', 'its part "file" has no filename'],
    [`${partOf('name="file"; filename=', 'x')}--b--`, '', 'its part "file" has no filename'],
    [`${partOf(`name="file"; filename=${OCTETS}`, 'x')}--b--`, '', 'its part "file" has no filename'],
    [
      `${partOf(`name="password"${OCTETS}`, 'x')}${FILE}--b--`,
      '',
      'its file is called "password" and not "file"',
    ],
    [`${partOf('name="password"', '\xFF')}${FILE}--b--`, '', 'a name or text in it is not UTF-8'],
    [FILE, '', 'it does not end as forms do'],
    [FILE.slice(0, -2), '', 'it does not end as forms do'],
    ['hello', '', 'it does not end as forms do'],
  ])('%#', async (body, type, why) => {
    const headers = { 'Content-Type': type === '' ? 'multipart/form-data; boundary=b' : type };
    const asked = { method: 'POST', body: Buffer.from(body, 'latin1'), headers };
    expect(await served.ask('/api/upload', asked)).toMatchObject({
      status: 400,
      json: { error: { code: 'invalid-input', message: `The form cannot be used: ${why}.` } },
    });
  });

  it('as is what is wrong with a path', async () => {
    expect(await served.ask('/api/files/%ff')).toMatchObject({
      status: 400,
      json: { error: { message: 'The path is not UTF-8 in percent encoding.' } },
    });
  });
});

it('is answered whatever it says that it takes, and the next one, too', async () => {
  for (const path of ['/d/none', '/api/files', '/api/files/a']) {
    for (const header of [
      'Accept',
      'Range',
      'If-None-Match',
      'Vault-Password',
      'Cookie',
      'User-Agent',
      'Origin',
    ]) {
      const head = `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${header}: \xff\r\n\r\n`;
      expect(await served.raw(Buffer.from(head, 'latin1'))).toMatch(/^HTTP\/1\.1 [24]\d\d /);
    }
  }
  expect(await served.ask('/api/files/a')).toMatchObject({ status: 200 });
});

describe('what is no UTF-8 in percent encoding is refused', () => {
  it.each(['%ff', '%c3', '%ed%a0%80', 'a%C3%A9%80', '%', '%zz'])(
    'in a parameter or field: %s',
    async (value) => {
      const none = '0'.repeat(64);
      const encoded = { 'Content-Type': 'application/x-www-form-urlencoded' };
      const asked: [path: string, body?: string][] = [
        [`/upload/?file_name=${value}`],
        [`/api/files?name=${value}`],
        [`/api/files?${value}=x`],
        [`/api/retrieve/${none}?password=${value}`],
        [`/api/retrieve/${none}`, `password=${value}`],
        [await linkTo('a'), `password=${value}`],
      ];
      for (const [path, body] of asked) {
        const method = body === undefined ? 'GET' : 'POST';
        const found = await served.ask(path, { method, body: body ?? null, headers: body ? encoded : {} });
        expect([path, found.status, found.code]).toEqual([path, 400, 'invalid-input']);
        expect(found.bytes.toString()).toContain('not UTF-8 in percent encoding');
      }
    },
  );

  it('but not where a link takes whatever others have added, nor the character that stands for such', async () => {
    expect(await served.ask(`${await linkTo('a')}?by=%ff`)).toMatchObject({ status: 200 });
    await putBytes(served.made.vault, Buffer.from('x'), { name: 'a \uFFFD+' });
    expect(await served.ask('/upload/?file_name=a+%EF%BF%BD%2B')).toMatchObject({ status: 200 });
  });
});

describe('an address that would be read as another one is refused', () => {
  const METHODS_TRIED = ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS'];

  it.each([
    '/api/files/report#2.pdf',
    '/api/files/report%20#2.pdf',
    '/api/files?name=report#2.pdf',
    '/api/undelete/report#2.pdf',
    '/api/folders/report#2/',
    '/d/report#2',
    '/healthz#',
    '#',
    '/nothing#',
    '/api/files/r\u00c3\u00a9port',
    '/api/files?name=r\u00c3\u00a9port',
    'http://localhost?x=/api/files/report',
    'http://localhost\\evil.example/api/files/report',
    'http://user@localhost/api/files/report',
    'http://evil.example/api/files/report',
    'HTTPS://evil.example/api/files/report',
    'ftp://localhost/api/files/report',
    'api/files/report',
  ])('%s', async (target) => {
    await putBytes(served.made.vault, Buffer.from('another file'), { name: 'report' });
    for (const method of METHODS_TRIED) {
      const head = `${method} ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n`;
      const said = await served.raw(Buffer.from(`${head}Content-Length: 1\r\n\r\nx`, 'latin1'));
      expect([method, said.slice(0, 12)]).toEqual([method, 'HTTP/1.1 400']);
    }
    expect((await getBytes(served.made.vault, 'report')).toString()).toBe('another file');
  });

  it('but not what stands for such in percent encoding, nor what nobody changes', async () => {
    const names = ['report#2.pdf', 'a;b', 'a\\b', 'r\u00e9port', 'a+b', '%41', '[b]'];
    for (const name of names)
      for (const [at, path] of [encodeURIComponent(name), encodeURI(name).replaceAll('#', '%23')].entries()) {
        const body = `${name} in way ${at}`;
        const { status } = await served.ask(`/api/files/${path}`, { method: 'PUT', body });
        expect([path, status]).toEqual([path, 201]);
        expect((await getBytes(served.made.vault, name)).toString()).toBe(body);
      }
    const { status } = await served.ask('/api/files/a;b', { method: 'PUT', body: 'as it is' });
    expect([status, (await getBytes(served.made.vault, 'a;b')).toString()]).toEqual([201, 'as it is']);
  });

  it('nor one that names this server', async () => {
    const head = 'HTTP/1.1\r\nHost: localhost:8750\r\nConnection: close\r\n\r\n';
    expect(await served.raw(`GET http://localhost:8750/healthz ${head}`)).toMatch(/^HTTP\/1.1 200/);
    expect(await served.raw(`GET HTTP://LocalHost:8750/healthz ${head}`)).toMatch(/^HTTP\/1.1 200/);
  });
});

describe('what is said twice is refused', () => {
  it.each([
    '{"downloads":1,"downloads":5}',
    '{"downloads":1, "downloads" :1}',
    '{"downloads":1,"d\\u006fwnloads":5}',
    '{"password":"\\"x\\":","password":"y"}',
    '{"password":{"a":1,"a":2}}',
  ])('fields of JSON: %s', async (body) => {
    expect(await served.ask('/api/files/a/links', { method: 'POST', body })).toMatchObject({
      status: 400,
      code: 'invalid-input',
      json: { error: { message: expect.stringContaining('twice') } },
    });
  });

  it('but not what only looks like it', async () => {
    const body = '{ "password": "\\"password\\": \\\\", "downloads" : 1 }\n';
    expect(await served.ask('/api/files/a/links', { method: 'POST', body })).toMatchObject({ status: 201 });
  });

  it('fields of a form in an address’s notation', async () => {
    const asked = {
      method: 'POST',
      body: 'password=a&password=b',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    };
    for (const path of [`/api/retrieve/${'0'.repeat(64)}`, await linkTo('a')])
      expect(await served.ask(path, asked)).toMatchObject({ status: 400, code: 'invalid-input' });
  });

  it('parameters of every route', async () => {
    const link = await linkTo('a');
    let asked = 0;
    for (const { method, path, query = [] } of ROUTES) {
      const at = path.replace('/d/{link}', link).replaceAll(/\{\w+(\.\.\.)?\}/g, 'a');
      for (const name of query) {
        const found = await served.ask(`${at}?${name}=1&${name}=1`, {
          method,
          body: method === 'GET' ? null : 'x',
        });
        expect([path, name, found.status, found.code]).toEqual([path, name, 400, 'invalid-input']);
        expect(found.bytes.toString()).toContain('twice');
        asked += 1;
      }
    }
    expect(asked).toBeGreaterThan(15);
  });

  it('a file’s password', async () => {
    const request =
      'PUT /api/files/two HTTP/1.1\r\nHost: localhost\r\nVault-Password: a\r\nvault-password: b\r\n';
    const answer = await served.raw(`${request}Connection: close\r\nContent-Length: 1\r\n\r\nx`);
    expect(answer).toMatch(/^HTTP\/1.1 400 .*"code":"invalid-input"/s);
  });

  it.each([
    ['Host', 'bad-request'],
    ['Authorization', 'invalid-input'],
    ['Content-Type', 'invalid-input'],
  ])('the header %s', async (name, code) => {
    const host = name === 'Host' ? '' : 'Host: localhost\r\n';
    const twice = `${name}: localhost\r\n${name.toLowerCase()}: localhost\r\n`;
    const answer = await served.raw(`GET /healthz HTTP/1.1\r\n${host}${twice}Connection: close\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect(answer).toContain(`"code":"${code}","message":"${name} is there twice.`);
  });

  it.each([
    [
      'Content-Length: 1\r\nTransfer-Encoding: chunked',
      'Content-Length and Transfer-Encoding are both there.',
    ],
    [
      'Transfer-Encoding: chunked\r\nContent-Length: 1',
      'Content-Length and Transfer-Encoding are both there.',
    ],
    ['Content-Length: 1\r\nContent-Length: 1', 'Content-Length is there twice.'],
    ['Content-Length: x', 'Content-Length is no number.'],
    ['Content-Length:', 'Content-Length is no number.'],
  ])('a length, or it is none: %j', async (headers, message) => {
    const answer = await served.raw(
      `PUT /api/files/bad HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n\r\n0\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect(answer).toContain(`"code":"bad-request","message":"${message}"`);
  });

  it('a password in a header and elsewhere', async () => {
    const { hash } = await putBytes(served.made.vault, Buffer.from('x'), {
      name: 'locked',
      lock: { password: 'one' },
    });
    const link = await linkTo('locked');
    const form = new FormData();
    form.append('password', 'one');
    const upload = new FormData();
    upload.append('password', 'one');
    upload.append('file', new Blob(['x']), 'in two places');
    const encoded = { 'Content-Type': 'application/x-www-form-urlencoded' };
    const ways: [path: string, body?: string | FormData, headers?: Record<string, string>][] = [
      ['/api/upload', upload],
      ['/upload/', upload],
      ['/upload/?file_name=locked&password=one'],
      [`/api/retrieve/${hash}?password=one`],
      [`/api/retrieve/${hash}`, form],
      [`/api/retrieve/${hash}`, '{"password":"one"}', typed],
      [`/api/retrieve/${hash}`, 'password=one', encoded],
      ['/api/files/locked/links', '{"lock_password":"one"}', typed],
      [link, 'password=one', encoded],
      [link, '{"password":"one"}', typed],
    ];
    for (const [path, body, headers] of ways) {
      const asked = { method: body === undefined ? 'GET' : 'POST', body: body ?? null };
      for (const password of ['one', 'two']) {
        const said = { ...asked, headers: { ...headers, 'vault-password': password } };
        const found = await served.ask(path, said);
        expect([path, found.status, found.code]).toEqual([path, 400, 'invalid-input']);
        expect(found.bytes.toString()).toContain('twice');
      }
    }
    expect(await served.ask('/api/files/in%20two%20places')).toMatchObject({ status: 404 });
  });
});

describe('other methods', () => {
  it('are refused with those that a path has, and where something follows it with those of that', async () => {
    const post = { method: 'POST', body: 'x' };
    const own = { status: 405, code: 'wrong-method', headers: { allow: 'GET, HEAD, PUT, DELETE' } };
    expect(await served.ask('/api/files/a/b.bin', post)).toMatchObject(own);
    expect(await served.ask('/api/files/a/b.bin', { method: 'OPTIONS' })).toMatchObject(own);
    expect(await served.ask('/api/files/a/links', { method: 'PATCH' })).toMatchObject({
      status: 405,
      headers: { allow: 'POST, GET, HEAD, PUT, DELETE' },
    });
    for (const method of ['GET', 'POST', 'OPTIONS'])
      expect(await served.ask('/api/files/', { method })).toMatchObject({ status: 404, code: 'no-route' });
  });

  it('that OPTIONS tells of are those that are there', async () => {
    for (const path of new Set(ROUTES.map((route) => route.path.replaceAll(/\{\w+(\.\.\.)?\}/g, 'none')))) {
      const { headers } = await served.ask(path, { method: 'OPTIONS' });
      const taken: string[] = [];
      for (const method of METHODS.filter((one) => one !== 'CONNECT')) {
        const { status, code } = await served.ask(path, { method, headers: typed });
        if (status !== 405 && code !== 'no-route') taken.push(method);
      }
      expect([path, new Set(headers.allow?.split(', '))]).toEqual([path, new Set(taken)]);
    }
  });
});
