import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { MAX_IDLE_PAGES, MAX_KEYS_PER_PAGE, MAX_TOKEN_LENGTH } from '../../src/buckets/bounds.ts';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { openGcsBucket } from '../../src/buckets/gcs/driver.ts';
import { openS3Bucket } from '../../src/buckets/s3/driver.ts';
import { isVaultError, VaultError } from '../../src/errors.ts';
import { stubAwsEnvironment } from '../support/s3-bucket.ts';
import { selfSigned } from '../support/self-signed.ts';
import { startS3Server } from '../support/s3-server.ts';
import { codeOf, listAll } from './conformance.ts';

beforeAll(stubAwsEnvironment);
afterAll(() => {
  vi.unstubAllEnvs();
});

/** One page of a listing, as data. */
interface Page {
  readonly names: readonly string[];
  /** How it goes on; null: it is the last. */
  readonly token: string | null;
}

interface Cloud {
  readonly open: (endpoint: string) => Promise<Bucket>;
  /** A page as the service writes it, given all names in full. */
  readonly page: (page: Page) => string;
  readonly type: string;
}

const CLOUDS: Readonly<Record<'gcs' | 's3', Cloud>> = {
  gcs: {
    open: async (endpoint) =>
      await openGcsBucket({
        bucket: 'bucket',
        prefix: 'in',
        endpoint,
        sendCredentials: false,
        label: 'gs://bucket/in',
      }),
    page: ({ names, token }) =>
      JSON.stringify({
        kind: 'storage#objects',
        items: names.map((name) => ({ name, size: '1' })),
        ...(token === null ? {} : { nextPageToken: token }),
      }),
    type: 'application/json',
  },
  s3: {
    open: async (endpoint) =>
      await openS3Bucket({
        bucket: 'bucket',
        prefix: 'in',
        region: 'us-east-1',
        endpoint,
        sendCredentials: false,
        profile: null,
        forcePathStyle: null,
        label: 's3://bucket/in',
      }),
    page: ({ names, token }) => {
      const contents = names.map((name) => `<Contents><Key>${name}</Key><Size>1</Size></Contents>`).join('');
      const next =
        token === null
          ? '<IsTruncated>false</IsTruncated>'
          : `<IsTruncated>true</IsTruncated><NextContinuationToken>${token}</NextContinuationToken>`;
      return `<ListBucketResult><EncodingType>url</EncodingType>${next}${contents}</ListBucketResult>`;
    },
    type: 'application/xml',
  },
};

/** Bytes without an end. */
function* endless(first: string): Generator<Buffer> {
  yield Buffer.from(first);
  for (;;) yield Buffer.alloc(1024 * 1024, ' ');
}

/** Sends them until the client has had enough. */
async function pour(response: ServerResponse, bytes: Iterable<Buffer>): Promise<void> {
  await pipeline(Readable.from(bytes), response).catch(() => undefined);
}

async function errorOf(operation: Promise<unknown>): Promise<VaultError> {
  const error: unknown = await operation.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof VaultError) return error;
  throw new Error('It did not fail as it should.', { cause: error });
}

const OPERATIONS = {
  put: async (bucket: Bucket) => {
    await bucket.put('a', Buffer.from('content'));
  },
  get: async (bucket: Bucket) => await bucket.get('a', { maxSize: 1_000 }),
  list: async (bucket: Bucket) => await listAll(bucket, ''),
  remove: async (bucket: Bucket) => {
    await bucket.remove('a');
  },
} as const;
const EACH = (['put', 'get', 'list', 'remove'] as const).map((name) => [name, OPERATIONS[name]] as const);

describe.each(['gcs', 's3'] as const)('a hostile server of %s', (kind) => {
  const cloud = CLOUDS[kind];
  const endings: (() => Promise<void>)[] = [];
  let requests: IncomingMessage[] = [];

  afterEach(async () => {
    for (const end of endings.splice(0)) await end();
    requests = [];
  });

  const start = async (listener: RequestListener): Promise<Bucket> => {
    const server = createServer((request, response) => {
      requests.push(request);
      request.resume();
      response.on('error', () => undefined);
      listener(request, response);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('The server has no port.');
    const bucket = await cloud.open(`http://127.0.0.1:${address.port}`);
    endings.push(async () => {
      await bucket.close();
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    });
    return bucket;
  };

  const withPages = async (pageOf: (nth: number) => Page): Promise<Bucket> =>
    await start((_, response) => {
      response.writeHead(200, { 'content-type': cloud.type });
      response.end(cloud.page(pageOf(requests.length)));
    });

  const answering = async (status: number, body: string, headers = {}): Promise<Bucket> =>
    await start((_, response) => {
      response.writeHead(status, { 'content-type': cloud.type, ...headers });
      response.end(body);
    });

  describe('lists', () => {
    test('the names that it has, which shows that the pages below are understood', async () => {
      const bucket = await withPages((nth) => ({
        names: [`in/a${nth}`, `in/a${nth}b`],
        token: nth === 1 ? 'next' : null,
      }));
      const names = (await listAll(bucket, '')).map(({ name }) => name);
      expect(names).toEqual(['a1', 'a1b', 'a2', 'a2b']);
    });

    test('and begins again with the same token: damaged', async () => {
      const bucket = await withPages(() => ({ names: [], token: 'same' }));
      expect(await codeOf(listAll(bucket, ''))).toBe('damaged');
      expect(requests).toHaveLength(2);
    });

    test('pages without names and without an end: damaged', async () => {
      const bucket = await withPages((nth) => ({ names: [], token: `t${nth}` }));
      expect(await codeOf(listAll(bucket, ''))).toBe('damaged');
      expect(requests).toHaveLength(MAX_IDLE_PAGES + 1);
    });

    test('the same names without an end: damaged', async () => {
      const bucket = await withPages((nth) => ({ names: ['in/a'], token: `t${nth}` }));
      expect(await codeOf(listAll(bucket, ''))).toBe('damaged');
      expect(requests.length).toBeLessThanOrEqual(MAX_IDLE_PAGES + 2);
    });

    test('the same names of others without an end: damaged', async () => {
      const bucket = await withPages((nth) => ({ names: ['in/a//b'], token: `t${nth}` }));
      expect(await codeOf(listAll(bucket, ''))).toBe('damaged');
      expect(requests.length).toBeLessThanOrEqual(MAX_IDLE_PAGES + 2);
    });

    test('some empty pages in between: all that there is', async () => {
      const bucket = await withPages((nth) => ({
        names: nth % 50 === 0 ? [`in/a${100 + nth}`] : [],
        token: nth === 200 ? null : `t${nth}`,
      }));
      const names = (await listAll(bucket, '')).map(({ name }) => name);
      expect(names).toEqual(['a150', 'a200', 'a250', 'a300']);
    });

    test.each([
      ['names in no order', ['in/b', 'in/a']],
      ['names that were not asked for', ['elsewhere/a']],
      [
        'more names on a page than any service',
        Array.from({ length: MAX_KEYS_PER_PAGE + 1 }, (_, nth) => `in/${100_000 + nth}`),
      ],
    ])('%s: damaged', async (_, names) => {
      const bucket = await withPages(() => ({ names, token: null }));
      expect(await codeOf(listAll(bucket, ''))).toBe('damaged');
    });

    test('a token that is too long to send back: damaged', async () => {
      const bucket = await withPages(() => ({ names: ['in/a'], token: 'x'.repeat(MAX_TOKEN_LENGTH + 1) }));
      expect(await codeOf(listAll(bucket, ''))).toBe('damaged');
      expect(requests).toHaveLength(1);
    });

    test('an empty token: damaged', async () => {
      const bucket = await withPages(() => ({ names: ['in/a'], token: '' }));
      expect(await codeOf(listAll(bucket, ''))).toBe('damaged');
    });

    test('what cannot be the name of an object: it is passed over', async () => {
      const names = ['in/', 'in/%FF', 'in/%ZZ', 'in/..', 'in//', 'in/a', 'in/a//b', `in/${'x'.repeat(300)}`];
      const bucket = await withPages(() => ({ names, token: null }));
      expect(await listAll(bucket, '')).toEqual([{ name: 'a', size: 1 }]);
    });
  });

  describe('sends without an end', () => {
    test.each([
      ['put', 'damaged'],
      ['get', 'damaged'],
      ['list', 'damaged'],
    ] as const)('as the answer to %s: %s, and the connection is closed', async (operation, code) => {
      const bucket = await start((_, response) => {
        response.writeHead(200, { 'content-type': cloud.type, etag: '"tag"' });
        void pour(response, endless(cloud.page({ names: [], token: null })));
      });
      expect(await codeOf(OPERATIONS[operation](bucket))).toBe(code);
      await vi.waitUntil(() => requests.every(({ socket }) => socket.destroyed));
    });

    test.each(EACH)('as the reason of a refusal of %s: denied', async (_, operate) => {
      const bucket = await start((_request, response) => {
        response.writeHead(403, { 'content-type': 'text/html' });
        void pour(response, endless('<html>'));
      });
      expect(await codeOf(operate(bucket))).toBe('denied');
    });

    test.each(EACH)('headers of %s: unavailable', async (_, operate) => {
      const server = createTcpServer((socket) => {
        socket.on('error', () => undefined);
        socket.once('data', () => {
          socket.write('HTTP/1.1 200 OK\r\n');
          void pipeline(
            Readable.from(
              (function* () {
                for (;;) yield Buffer.from(`x-filler: ${'x'.repeat(1_000)}\r\n`);
              })(),
            ),
            socket,
          ).catch(() => undefined);
        });
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const address = server.address();
      if (address === null || typeof address === 'string') throw new Error('The server has no port.');
      const bucket = await cloud.open(`http://127.0.0.1:${address.port}`);
      endings.push(async () => {
        await bucket.close();
        server.close();
      });
      expect(await codeOf(operate(bucket))).toBe('unavailable');
    });
  });

  describe('answers with', () => {
    const NOTHING_OF_THE_SERVICE = [
      ['nothing', ''],
      ['a page for people', '<html><body>Please <b>log in</body></html>'],
      ['a million levels', kind === 's3' ? '<a>'.repeat(1_000_000) : '['.repeat(1_000_000)],
      ['no page of a listing', kind === 's3' ? '<Other/>' : '[]'],
      [
        'wrong kinds of values',
        kind === 's3'
          ? '<ListBucketResult><Contents/></ListBucketResult>'
          : '{"kind":"storage#objects","items":3}',
      ],
      ['words of somebody else', '{"status":"blocked"}'],
      ['an error that is called a success', '{"error":{"code":503}}'],
      ['bytes that are no text', '\u0000\uFFFD'.repeat(100)],
    ] as const;

    test.each([10, 100_000])('a web page with a tag, %i times its text: no object', async (count) => {
      const bucket = await start((_, response) => {
        response.writeHead(200, { 'content-type': 'text/html', etag: '"page"' }).end('Log in'.repeat(count));
      });
      expect(await codeOf(bucket.get('a', { maxSize: 1000 }))).toBe('unavailable');
    });

    test.each(NOTHING_OF_THE_SERVICE)('%s: no listing', async (_, body) => {
      const bucket = await answering(200, body);
      expect(['unavailable', 'damaged']).toContain(await codeOf(listAll(bucket, '')));
    });

    // Of a filter on the way, which answers 200 to everything.
    const SUCCESSES = [
      ['a page', '<html>Blocked</html>', { 'content-type': 'text/html' }],
      ['a page with a tag', '<html>Blocked</html>', { 'content-type': 'text/html', etag: '"page"' }],
      ['a page without a word', '', { 'content-type': 'text/html' }],
      ['JSON', '{"status":"blocked"}', { 'content-type': 'application/json' }],
      ['an error in JSON', '{"error":{"code":503}}', { 'content-type': 'application/json' }],
    ] as const;
    const ALL = [
      ...EACH,
      ['get what proves itself', async (bucket: Bucket) => await bucket.get('a', { proved: true })],
      ['ask what locks it', async (bucket: Bucket) => await bucket.retention?.policy()],
      ['ask how long an object is locked', async (bucket: Bucket) => await bucket.retention?.until('a')],
      ['lock', async (bucket: Bucket) => await bucket.retention?.extend('a', Date.now() + 60_000)],
    ] as const;

    test.each(
      SUCCESSES.flatMap(([title, body, headers]) =>
        ALL.map(([name, operate]) => [title, name, { body, headers, operate }] as const),
      ),
    )('200 and %s to %s: unavailable', async (_, __, { body, headers, operate }) => {
      const bucket = await answering(200, body, headers);
      const error = await errorOf(operate(bucket));
      expect(error).toMatchObject({ code: 'unavailable', unreachable: false });
      expect(error.message).toMatch(/the answer is not one of|does not tell whether it is whole/);
    });

    test.each(SUCCESSES)('200 and %s to the removal of many: none has gone', async (_, body, headers) => {
      const bucket = await answering(200, body, headers);
      const removed = await bucket.removeAll?.(['a', 'b']).catch((error: unknown) => {
        if (isVaultError(error, 'unavailable')) return new Set();
        throw error;
      });
      expect(removed).toEqual(new Set());
    });

    test('404 and a page: it is not the object that is missing', async () => {
      const bucket = await start(({ url = '' }, response) => {
        const isList = /[?&](?:prefix|maxResults|list-type)=/.test(url);
        response.writeHead(isList ? 200 : 404, { 'content-type': isList ? cloud.type : 'text/html' });
        response.end(isList ? cloud.page({ names: [], token: null }) : '<html>Blocked</html>');
      });
      expect(await codeOf(bucket.get('a'))).not.toBe('object-missing');
    });

    const REFUSALS = [
      ['nothing', ''],
      ['HTML of a proxy', '<html><br>Forbidden by <b>proxy</html>'],
      ['words', 'Forbidden & more'],
      [
        'a code without a message',
        kind === 's3' ? '<Error><Code>AccessDenied</Code></Error>' : '{"error":{}}',
      ],
      [
        'the code of a missing object',
        kind === 's3' ? '<Error><Code>NoSuchKey</Code></Error>' : 'No such object: bucket/in/a',
      ],
      [
        'the code of a missing bucket',
        kind === 's3' ? '<Error><Code>NoSuchBucket</Code></Error>' : 'The specified bucket does not exist.',
      ],
      ['a million levels', kind === 's3' ? '<a>'.repeat(20_000) : '['.repeat(60_000)],
    ] as const;

    test.each(
      [401, 403, 407].flatMap((status) =>
        REFUSALS.flatMap(([title, body]) =>
          EACH.map(([name, operate]) => [status, title, name, { body, operate }] as const),
        ),
      ),
    )('%i and %s to %s: denied', async (status, _, __, { body, operate }) => {
      const bucket = await answering(status, body);
      expect(await codeOf(operate(bucket))).toBe('denied');
    });

    test.each(EACH)('407 to %s: the proxy wants something, and not the service', async (_, operate) => {
      const bucket = await answering(407, '');
      expect((await errorOf(operate(bucket))).message).toMatch(/The proxy wants credentials/);
    });

    test.each(EACH)('a redirect of %s: it is not followed', async (_, operate) => {
      const bucket = await start(({ headers }, response) => {
        response.writeHead(307, { location: `http://${headers.host ?? ''}/elsewhere` }).end();
      });
      expect(await codeOf(operate(bucket))).toBe('invalid-input');
      expect(requests).toHaveLength(1);
    });
  });

  describe('is not there:', () => {
    test('a closed port is unreachable', async () => {
      // One that was given back may be another server's by now.
      const bucket = await cloud.open('http://127.0.0.1:1');
      const error = await errorOf(bucket.get('a'));
      expect(error).toMatchObject({ code: 'unavailable', unreachable: true });
      expect(error.message).toContain('whether the server runs');
      await bucket.close();
    });

    test('an unknown host is unreachable', async () => {
      const bucket = await cloud.open('http://vault.invalid');
      const error = await errorOf(bucket.get('a'));
      expect(error).toMatchObject({ code: 'unavailable', unreachable: true });
      expect(error.message).toContain('Check the host’s name');
      await bucket.close();
    });

    test('one that does not speak TLS is unreachable', async () => {
      await using server = await startS3Server();
      const bucket = await cloud.open(server.url.replace('http:', 'https:'));
      const error = await errorOf(bucket.get('a'));
      expect(error).toMatchObject({ code: 'unavailable', unreachable: true });
      expect(error.message).toContain('https:// or http://');
      await bucket.close();
    });

    test('one that nobody vouches for is unreachable', async () => {
      await using server = await startS3Server({ tls: selfSigned() });
      const bucket = await cloud.open(server.url);
      const error = await errorOf(bucket.get('a'));
      expect(error).toMatchObject({ code: 'unavailable', unreachable: true });
      expect(error.message).toContain('NODE_EXTRA_CA_CERTS');
      await bucket.close();
    });

    test('one that is busy is not', async () => {
      const bucket = await answering(503, '');
      expect(await errorOf(bucket.get('a'))).toMatchObject({ code: 'unavailable', unreachable: false });
    });
  });
});
