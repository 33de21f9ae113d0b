import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { NO_RETENTION } from '../../src/buckets/bucket.ts';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { openGcsBucket } from '../../src/buckets/gcs/driver.ts';
import { isAmazons } from '../../src/buckets/s3/client.ts';
import type { S3BucketOptions } from '../../src/buckets/s3/options.ts';
import { parseS3Url } from '../../src/buckets/s3/url.ts';
import { retrying } from '../../src/buckets/layers/retry.ts';
import { VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { freshLockingS3, freshS3, openTestBucket, stubAwsEnvironment } from '../support/s3-bucket.ts';
import { selfSigned } from '../support/self-signed.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { EXAMPLE_CREDENTIALS, startS3Server } from '../support/s3-server.ts';
import type { S3Fault, S3Kind, S3Server, S3ServerOptions } from '../support/s3-server.ts';
import { bucketConformance, codeOf, listAll } from './conformance.ts';

beforeAll(stubAwsEnvironment);
afterAll(() => {
  vi.unstubAllEnvs();
});

/** How an operation failed; fails the test if it did not. */
async function failureOf(operation: Promise<unknown>): Promise<VaultError> {
  try {
    await operation;
  } catch (error) {
    if (error instanceof VaultError) return error;
    throw error;
  }
  throw new Error('It did not fail.');
}

/** The credentials of the environment end then. */
function endInMinutes(minutes: number): void {
  vi.stubEnv('AWS_CREDENTIAL_EXPIRATION', new Date(Date.now() + minutes * 60_000).toISOString());
}

/** A page of a listing. */
function page(...keys: readonly string[]): string {
  const contents = keys.map((key) => `<Contents><Key>${key}</Key><Size>1</Size></Contents>`);
  return `<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>${contents.join('')}</ListBucketResult>`;
}

bucketConformance('s3', freshS3, { manyNames: 2100, openLocking: freshLockingS3 });

describe('the S3 driver', () => {
  let server: S3Server;
  let bucket: Bucket;
  let opened: Bucket[] = [];

  const start = async (serverOptions: S3ServerOptions = {}, options: Partial<S3BucketOptions> = {}) => {
    server = await startS3Server(serverOptions);
    bucket = await reopen(options);
  };
  const reopen = async (options: Partial<S3BucketOptions> = {}): Promise<Bucket> => {
    const handle = await openTestBucket(server, options);
    opened.push(handle);
    return handle;
  };
  const operations: Readonly<Record<S3Kind & ('put' | 'get' | 'delete' | 'list'), () => Promise<unknown>>> = {
    put: async () => {
      await bucket.put('chunks/object', Buffer.from('content'));
    },
    get: async () => await bucket.get('chunks/object'),
    delete: async () => {
      await bucket.remove('chunks/object');
    },
    list: async () => await listAll(bucket, ''),
  };
  const KINDS = ['put', 'get', 'delete', 'list'] as const;
  const everyKind = (cases: readonly (readonly [string, S3Fault, ErrorCode])[]) =>
    KINDS.flatMap((kind) => cases.map(([name, fault, code]) => [kind, name, code, fault] as const));

  afterEach(async () => {
    for (const handle of opened) await handle.close();
    opened = [];
    await server.close();
    stubAwsEnvironment();
  });

  describe('sends no more than it must', () => {
    beforeEach(async () => {
      await start();
    });

    test('one request an operation', async () => {
      await bucket.put('chunks/object', Buffer.from('content'));
      await bucket.put('vault.json', Buffer.from('content'), { replace: true });
      await bucket.get('chunks/object');
      await bucket.remove('chunks/object');
      await listAll(bucket, '');
      expect(server.requests.map(({ kind }) => kind)).toEqual(['put', 'put', 'get', 'delete', 'list']);
    });

    test('a listing of 2,500 objects is three requests', async () => {
      for (let index = 0; index < 2500; index += 1) {
        server.store('bucket', `backups/vault/chunks/${index}`, Buffer.from('x'));
      }
      expect(await listAll(bucket, 'chunks/')).toHaveLength(2500);
      expect(server.count('list')).toBe(3);
    });

    test('a checksum and a condition in the headers, and the body as it is', async () => {
      await bucket.put('chunks/object', Buffer.from('content'));
      const [{ headers } = { headers: {} }] = server.requests;
      expect(headers).toMatchObject({
        'x-amz-checksum-crc32c': 'Ya91Mw==',
        'if-none-match': '*',
        'content-length': '7',
      });
      expect(headers).not.toHaveProperty('content-encoding');
      expect(headers).not.toHaveProperty('x-amz-sdk-checksum-algorithm');
      expect(headers).not.toHaveProperty('content-md5');
    });

    test('no condition with replace', async () => {
      await bucket.put('vault.json', Buffer.from('content'), { replace: true });
      expect(server.requests[0]?.headers).not.toHaveProperty('if-none-match');
    });

    test('a body of several MiB without asking for leave first', async () => {
      await bucket.put('chunks/object', randomBytes(8_388_608));
      expect(server.requests[0]?.headers).not.toHaveProperty('expect');
      await bucket.get('chunks/object');
      expect(await server.connections()).toBe(1);
    });

    test('no wish for a checksum with a download that is proved otherwise', async () => {
      await bucket.put('chunks/object', Buffer.from('content'));
      await bucket.get('chunks/object', { proved: true });
      await bucket.get('chunks/object');
      const asked = server.requests.map(({ headers }) => headers['x-amz-checksum-mode']);
      expect(asked).toEqual([undefined, undefined, 'ENABLED']);
    });

    test('requests side by side, on as many connections as allowed', async () => {
      bucket = await reopen({ maxSockets: 3 });
      await Promise.all(
        Array.from({ length: 12 }, async (_, index) => {
          await bucket.put(`chunks/${index}`, randomBytes(100_000));
        }),
      );
      expect(await server.connections()).toBe(3);
    });
  });

  describe('puts each failure under its code', () => {
    beforeEach(async () => {
      await start();
      server.store('bucket', 'backups/vault/chunks/object', Buffer.from('content'));
    });

    test.each(
      everyKind([
        ['429', { status: 429, code: 'TooManyRequests' }, 'unavailable'],
        ['500', { status: 500, code: 'InternalError' }, 'unavailable'],
        ['502 from a proxy', { status: 502, body: '<html>Bad Gateway</html>' }, 'unavailable'],
        ['503', { status: 503, code: 'SlowDown' }, 'unavailable'],
        ['503 without a body', { status: 503, body: '' }, 'unavailable'],
        ['a time-out', { status: 400, code: 'RequestTimeout' }, 'unavailable'],
        ['408', { status: 408, body: '' }, 'unavailable'],
        ['a reset', { reset: 'before' }, 'unavailable'],
        ['401', { status: 401, code: 'Unauthorized' }, 'denied'],
        ['403', { status: 403, code: 'AccessDenied' }, 'denied'],
        ['403 without a body', { status: 403, body: '' }, 'denied'],
        ['an unknown key', { status: 403, code: 'InvalidAccessKeyId' }, 'denied'],
        ['a wrong secret', { status: 403, code: 'SignatureDoesNotMatch' }, 'denied'],
        ['expired credentials', { status: 400, code: 'ExpiredToken' }, 'denied'],
        ['a wrong clock', { status: 403, code: 'RequestTimeTooSkewed' }, 'denied'],
        ['a missing bucket', { status: 404, code: 'NoSuchBucket' }, 'bucket-missing'],
        ['404 from something else', { status: 404, body: '<html>Not Found</html>' }, 'bucket-missing'],
        [
          'another region',
          { status: 301, code: 'PermanentRedirect', headers: { 'x-amz-bucket-region': 'eu-west-1' } },
          'invalid-input',
        ],
      ]),
    )('%s: %s is %s', async (kind, _, code, fault) => {
      server.fail(kind, fault, { times: 10 });
      expect(await codeOf(operations[kind]())).toBe(code);
      expect(server.requests).toHaveLength(1);
    });

    test.each([
      ['QuotaExceeded', 403],
      ['XMinioStorageFull', 507],
      ['InsufficientStorage', 507],
    ])('put: %s is storage-full', async (code, status) => {
      server.fail('put', { status, code });
      expect(await codeOf(bucket.put('chunks/new', Buffer.from('content')))).toBe('storage-full');
    });

    test.each(['BadDigest', 'XAmzContentSHA256Mismatch', 'IncompleteBody'])(
      'put: %s, bytes changed on their way, is unavailable',
      async (code) => {
        server.fail('put', { status: 400, code });
        expect(await codeOf(bucket.put('chunks/new', Buffer.from('content')))).toBe('unavailable');
        expect(server.requests).toHaveLength(1);
      },
    );

    test('put: a conflict with a removal is unavailable', async () => {
      server.fail('put', { status: 409, code: 'ConditionalRequestConflict' });
      expect(await codeOf(bucket.put('chunks/new', Buffer.from('content')))).toBe('unavailable');
    });

    test('put: bytes that the service acknowledges otherwise are unavailable', async () => {
      server.fail('put', { corrupt: true });
      expect(await codeOf(bucket.put('chunks/new', Buffer.from('content')))).toBe('unavailable');
    });

    test('put: a refusal of the whole request is invalid-input, and nothing is learnt from it', async () => {
      server.fail('put', { status: 400, code: 'InvalidArgument' }, { times: 3 });
      expect(await codeOf(bucket.put('chunks/new', Buffer.from('content')))).toBe('invalid-input');
      server.forget();
      await bucket.put('chunks/new', Buffer.from('content'));
      expect(server.requests[0]?.headers).toMatchObject({
        'if-none-match': '*',
        'x-amz-checksum-crc32c': 'Ya91Mw==',
      });
    });

    test('get: a body cut short is unavailable', async () => {
      server.fail('get', { cutAfter: 3 });
      expect(await codeOf(operations.get())).toBe('unavailable');
    });

    test('get: changed bytes are damaged', async () => {
      await bucket.put('chunks/new', Buffer.from('content'));
      server.fail('get', { corrupt: true });
      expect(await codeOf(bucket.get('chunks/new'))).toBe('damaged');
    });

    test('get: a page of something else is unavailable, and no object that is damaged', async () => {
      server.store('bucket', 'backups/vault/chunks/new', Buffer.from('content'));
      for (const maxSize of [100_000, 100]) {
        server.fail('get', { status: 200, body: '<html>Please log in</html>'.repeat(100) });
        await expect(bucket.get('chunks/new', { maxSize })).rejects.toMatchObject({
          code: 'unavailable',
          message: expect.stringMatching(
            /^Could not read chunks\/new from .*: the answer is not one of S3\./,
          ),
        });
      }
    });

    test('get: an object larger than allowed is not read', async () => {
      server.store('bucket', 'backups/vault/chunks/large', Buffer.alloc(50_000_000));
      expect(await codeOf(bucket.get('chunks/large', { maxSize: 1000 }))).toBe('damaged');
      await vi.waitUntil(async () => (await server.connections()) === 0);
    });

    test('list: a page of something else is unavailable, not an empty listing', async () => {
      server.fail('list', { replaceBody: '<html><body>Please log in</body></html>' });
      expect(await codeOf(operations.list())).toBe('unavailable');
      server.fail('list', { replaceBody: '' });
      expect(await codeOf(operations.list())).toBe('unavailable');
      server.fail('list', { replaceBody: 'Please log in' });
      expect(await codeOf(operations.list())).toBe('unavailable');
    });

    test('list: names out of order or beyond the prefix are damaged', async () => {
      server.fail('list', { replaceBody: page('backups/vault/b', 'backups/vault/a') });
      expect(await codeOf(operations.list())).toBe('damaged');
      server.fail('list', { replaceBody: page('backups/other') });
      expect(await codeOf(operations.list())).toBe('damaged');
      server.fail('list', { replaceBody: page('backups/vault/a', 'backups/vault/b') });
      expect(await listAll(bucket, '')).toHaveLength(2);
    });

    test('list: a page that fails after a thousand names fails the listing', async () => {
      for (let index = 0; index < 1500; index += 1) {
        server.store('bucket', `backups/vault/chunks/${index}`, Buffer.from('x'));
      }
      server.fail(({ query }) => query.has('continuation-token'), { status: 500 });
      expect(await codeOf(listAll(bucket, 'chunks/'))).toBe('unavailable');
      expect(server.count('list')).toBe(2);
    });

    test.each([
      ['7', 7000],
      ['0', 0],
      ['soon', null],
    ])('Retry-After: %s is kept', async (header, expected) => {
      server.fail('get', { status: 503, code: 'SlowDown', headers: { 'retry-after': header } });
      expect((await failureOf(operations.get())).retryAfterMs).toBe(expected);
    });

    test('Retry-After as a date is kept', async () => {
      const date = new Date(Date.now() + 60_000).toUTCString();
      server.fail('get', { status: 503, headers: { 'retry-after': date } });
      const failure = await failureOf(operations.get());
      expect(failure.retryAfterMs).toBeGreaterThan(50_000);
      expect(failure.retryAfterMs).toBeLessThanOrEqual(60_000);
    });
  });

  describe('says what to do', () => {
    test('about a wrong region, which it names', async () => {
      await start({ region: 'eu-central-1' });
      const failure = await failureOf(bucket.get('vault.json'));
      expect(failure.code).toBe('invalid-input');
      expect(failure.message).toContain('?region=eu-central-1');
    });

    test('about a region behind a redirect, which it does not follow', async () => {
      await start();
      server.fail('get', {
        status: 301,
        code: 'PermanentRedirect',
        headers: { 'x-amz-bucket-region': 'eu-west-1' },
      });
      expect((await failureOf(bucket.get('vault.json'))).message).toContain('?region=eu-west-1');
      expect(server.requests).toHaveLength(1);
    });

    test('about a wrong clock, each time', async () => {
      await start({ clockOffsetMs: 3_600_000 });
      for (let turn = 0; turn < 2; turn += 1) {
        const failure = await failureOf(bucket.get('vault.json'));
        expect(failure.code).toBe('denied');
        expect(failure.message).toContain('clock');
      }
    });

    test('about a wrong secret, which it does not repeat', async () => {
      vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'not-the-secret');
      await start();
      const failure = await failureOf(bucket.get('vault.json'));
      expect(failure.code).toBe('denied');
      expect(failure.message).toContain('AWS_ACCESS_KEY_ID');
      expect(failure.message).not.toContain('not-the-secret');
    });

    test.each([
      ['AWS_ACCESS_KEY_ID', 'key\n'],
      ['AWS_ACCESS_KEY_ID', 'ke\u0142'],
      ['AWS_SESSION_TOKEN', 'token\r\n'],
    ])('about %s with what cannot be sent: %j', async (name, value) => {
      vi.stubEnv(name, value);
      await start();
      const { code, message } = await failureOf(bucket.get('vault.json'));
      expect(code).toBe('denied');
      expect(message).toContain('Check the access key');
      expect(message).toContain('perhaps a line break');
      expect(message).not.toContain(value);
    });

    test('about missing credentials', async () => {
      vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
      await start();
      const failure = await failureOf(bucket.get('vault.json'));
      expect(failure.code).toBe('denied');
      expect(failure.message).toContain('AWS_PROFILE');
      expect(server.requests).toHaveLength(0);
    });

    test('about a profile that does not exist', async () => {
      vi.stubEnv('AWS_PROFILE', 'nobody');
      vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
      await start();
      expect(await codeOf(bucket.get('vault.json'))).toBe('denied');
    });

    test.each([
      ['AccessDenied', '', 'AccessDenied, HTTP 403'],
      ['AccessDenied', 'Access Denied', 'AccessDenied, HTTP 403'],
      ['AccessDenied', 'Not for you.', 'Not for you (AccessDenied, HTTP 403)'],
      ['InvalidAccessKeyId', '', 'InvalidAccessKeyId, HTTP 403'],
    ])('about %s with the message %j: it tells each thing once', async (code, message, expected) => {
      await start();
      server.fail('get', { status: 403, code, message });
      const failure = await failureOf(bucket.get('vault.json'));
      expect(failure.code).toBe('denied');
      expect(failure.message).toContain(`from s3://bucket/backups/vault: ${expected}. `);
    });

    test('about an answer that is not S3’s, without the words of the parser', async () => {
      await start();
      server.fail('get', { status: 403, body: '<html><br>Forbidden' });
      expect((await failureOf(bucket.get('vault.json'))).message).toContain(': HTTP 403. ');
    });

    test('about a long message, in short', async () => {
      await start();
      server.fail('get', { status: 503, code: 'SlowDown', message: 'no '.repeat(3_000) });
      expect((await failureOf(bucket.get('vault.json'))).message.length).toBeLessThan(400);
    });

    test('about a refused download, which may be of a missing object', async () => {
      await start();
      server.fail('get', { status: 403, code: 'AccessDenied' });
      const { message } = await failureOf(bucket.get('vault.json'));
      expect(message).toContain('s3:GetObject');
      expect(message).toContain('s3:ListBucket');
    });

    test('about a server that is not there', async () => {
      await start();
      // A port that was given back may be another server's by now.
      bucket = await reopen({ endpoint: 'http://127.0.0.1:1' });
      const failure = await failureOf(bucket.get('vault.json'));
      expect(failure.code).toBe('unavailable');
      expect(failure.message).toContain('ECONNREFUSED');
    });

    test('about an endpoint that does not speak TLS', async () => {
      await start();
      bucket = await reopen({ endpoint: server.url.replace('http:', 'https:') });
      const failure = await failureOf(bucket.get('vault.json'));
      expect(failure.code).toBe('unavailable');
      expect(failure.message).toContain('http://');
    });

    test.each([
      ['my_bucket', null],
      ['MyBucket', null],
      ['ab', null],
      ['a..b', null],
      ['-ab', null],
      ['192.168.1.1', null],
      ['a'.repeat(64), null],
      ['drive--usw2-az1--x-s3', null],
      ['a/b', 'http://localhost'],
      ['a..b', 'http://localhost'],
    ])('about the bucket name %s with the endpoint %s', async (name, endpoint) => {
      const url = `s3://${name}${endpoint === null ? '' : `?endpoint=${endpoint}`}`;
      expect(await codeOf(Promise.resolve(url).then(parseS3Url))).toBe('invalid-input');
    });

    test.each(['s3.example.com', 'localhost:9000', 'ftp://s3.example.com', 'https://'])(
      'about the endpoint %s',
      async (endpoint) => {
        const url = `s3://bucket?endpoint=${encodeURIComponent(endpoint)}`;
        expect((await failureOf(Promise.resolve(url).then(parseS3Url))).message).toContain('https://');
      },
    );

    test('about a missing region', async () => {
      await start();
      const failure = await failureOf(openTestBucket(server, { endpoint: null }));
      expect(failure.code).toBe('invalid-input');
      expect(failure.message).toContain('?region=');
    });
  });

  describe('with services that know less', () => {
    test.each([
      ['refuses checksums', { checksums: 'rejected' }, ['put', 'put', 'put']],
      ['refuses conditions', { conditionalPuts: 'rejected' }, ['put', 'put', 'put']],
      ['refuses both', { checksums: 'rejected', conditionalPuts: 'rejected' }, ['put', 'put', 'put', 'put']],
      ['ignores checksums', { checksums: 'ignored' }, ['put', 'put']],
      ['acknowledges nothing', { checksums: 'ignored', etags: 'kms' }, ['put', 'put', 'put']],
    ] as const)('one that %s is asked for it once', async (_, dialect, expected) => {
      await start({ dialect });
      await bucket.put('chunks/a', Buffer.from('content'));
      await bucket.put('chunks/b', Buffer.from('content'));
      expect(server.requests.map(({ kind }) => kind)).toEqual(expected);
      expect(Buffer.from(await bucket.get('chunks/b')).toString()).toBe('content');
    });

    test('one that refuses checksums is not asked for them in downloads again', async () => {
      await start({ dialect: { checksums: 'rejected' } });
      server.store('bucket', 'backups/vault/chunks/a', Buffer.from('content'));
      await bucket.get('chunks/a');
      await bucket.get('chunks/a');
      expect(server.count('get')).toBe(3);
    });

    test('one that refuses an unnamed header loses the checksum before the condition', async () => {
      await start();
      server.fail(({ headers }) => 'x-amz-checksum-crc32c' in headers, {
        status: 501,
        code: 'NotImplemented',
      });
      await bucket.put('chunks/a', Buffer.from('content'));
      expect(server.requests[1]?.headers).toMatchObject({
        'if-none-match': '*',
        'content-md5': 'mgNkuembtIDdJeHwKEyFVQ==',
      });
    });

    test('one with neither checksums nor MD5 ETags takes the signed SHA-256', async () => {
      await start({ dialect: { checksums: 'rejected', etags: 'opaque' } });
      expect(await codeOf(bucket.put('chunks/a', Buffer.from('content')))).toBe('unavailable');
      bucket = await reopen({ checksum: 'sha256' });
      server.forget();
      await bucket.put('chunks/b', Buffer.from('content'));
      expect(server.requests).toHaveLength(1);
      expect(server.requests[0]?.headers['x-amz-content-sha256']).toMatch(/^[0-9a-f]{64}$/);
    });

    test.each([
      ['md5', 'content-md5', 'x-amz-checksum-crc32c'],
      ['crc32c', 'x-amz-checksum-crc32c', 'content-md5'],
    ] as const)('with checksum %s, only %s is sent', async (checksum, sent, absent) => {
      await start({}, { checksum });
      await bucket.put('chunks/a', Buffer.from('content'));
      expect(server.requests[0]?.headers).toHaveProperty(sent);
      expect(server.requests[0]?.headers).not.toHaveProperty(absent);
      expect(Buffer.from(await bucket.get('chunks/a')).toString()).toBe('content');
    });

    test('with checksum crc32c, a service that does not acknowledge it is an error', async () => {
      await start({ dialect: { checksums: 'ignored', etags: 'kms' } }, { checksum: 'crc32c' });
      expect(await codeOf(bucket.put('chunks/a', Buffer.from('content')))).toBe('unavailable');
    });
  });

  describe('when an acknowledgement is lost', () => {
    test.each([
      ['s3', {}],
      ['a service without conditional puts', { conditionalPuts: 'ignored' }],
      ['a service that refuses them', { conditionalPuts: 'rejected' }],
    ] as const)('a repeated put to %s succeeds', async (_, dialect) => {
      await start({ dialect });
      const bytes = randomBytes(300_000);
      server.fail('put', { reset: 'after' });
      expect(await codeOf(bucket.put('chunks/a', bytes))).toBe('unavailable');
      await bucket.put('chunks/a', bytes);
      expect(Buffer.compare(await bucket.get('chunks/a'), bytes)).toBe(0);
    });

    test('an object that is removed meanwhile is unavailable, so that it is stored again', async () => {
      await start();
      await bucket.put('chunks/a', Buffer.from('content'));
      server.fail('get', { status: 404, code: 'NoSuchKey' });
      expect(await codeOf(bucket.put('chunks/a', Buffer.from('content')))).toBe('unavailable');
    });

    test('a repeated remove succeeds', async () => {
      await start();
      await bucket.put('chunks/a', Buffer.from('content'));
      server.fail('delete', { reset: 'after' });
      expect(await codeOf(bucket.remove('chunks/a'))).toBe('unavailable');
      await bucket.remove('chunks/a');
      expect(server.objects('bucket').size).toBe(0);
    });
  });

  describe('when it is aborted', () => {
    test.each([
      ['put', 'answer'],
      ['get', 'answer'],
      ['get', 'body'],
      ['delete', 'answer'],
      ['list', 'answer'],
      ['list', 'body'],
    ] as const)('%s waiting for the %s is interrupted, and its connection closed', async (kind, stall) => {
      await start();
      server.store('bucket', 'backups/vault/chunks/object', Buffer.alloc(1_000_000));
      server.fail(kind, { stall });
      const controller = new AbortController();
      const operate = {
        put: async () => {
          await bucket.put('chunks/new', randomBytes(1_000_000), { signal: controller.signal });
        },
        get: async () => await bucket.get('chunks/object', { signal: controller.signal }),
        delete: async () => {
          await bucket.remove('chunks/object', { signal: controller.signal });
        },
        list: async () => await listAll(bucket, '', { signal: controller.signal }),
      }[kind];
      const outcome = codeOf(operate());
      await vi.waitUntil(() => server.requests.length === 1);
      await delay(20);
      controller.abort();
      expect(await outcome).toBe('interrupted');
      await vi.waitUntil(async () => (await server.connections()) === 0);
    });

    test('close lets go of all connections', async () => {
      await start();
      await bucket.put('chunks/a', Buffer.from('content'));
      expect(await server.connections()).toBe(1);
      await bucket.close();
      await vi.waitUntil(async () => (await server.connections()) === 0);
    });
  });

  describe('finds its place', () => {
    test.each(['', 'a', 'a b/ü+%&=?#<>"\'', 'deep/er/prefix'])('under the prefix %j', async (prefix) => {
      await start({}, { prefix });
      server.store('bucket', 'elsewhere', Buffer.from('x'));
      await bucket.put('chunks/a+b', Buffer.from('content'));
      await bucket.put('chunks/b', Buffer.from('content'));
      const root = prefix === '' ? '' : `${prefix}/`;
      expect([...server.objects('bucket').keys()]).toContain(`${root}chunks/a+b`);
      expect(await listAll(bucket, 'chunks/')).toEqual([
        { name: 'chunks/a+b', size: 7 },
        { name: 'chunks/b', size: 7 },
      ]);
      expect(await listAll(bucket, 'chunks/', { after: 'chunks/a+b' })).toEqual([
        { name: 'chunks/b', size: 7 },
      ]);
      await bucket.remove('chunks/a+b');
      expect(Buffer.from(await bucket.get('chunks/b')).toString()).toBe('content');
    });

    test('among what others keep there', async () => {
      await start();
      for (const key of [
        '',
        'with space',
        'ünïcode',
        'a\u0001b',
        'a//b',
        '\uFF5E',
        '\u{1F600}',
        'a&b',
        'z<',
      ]) {
        server.store('bucket', `backups/vault/${key}`, Buffer.from('theirs'));
      }
      await bucket.put('b', Buffer.from('ours'));
      expect(await listAll(bucket, '')).toEqual([{ name: 'b', size: 4 }]);
    });

    test('in the path behind an endpoint', async () => {
      await start();
      await bucket.put('a', Buffer.from('content'));
      expect(server.requests[0]?.url).toMatch(/^\/bucket\/backups/);
    });

    test('in the host if told so', async () => {
      await start();
      const hosted = await reopen({ endpoint: 'http://s3.invalid', forcePathStyle: false });
      expect((await failureOf(hosted.get('a'))).message).toContain('bucket.s3.invalid');
    });

    test('with the region of the environment, of the URL, or us-east-1', async () => {
      vi.stubEnv('AWS_REGION', 'eu-north-1');
      await start({ region: 'eu-north-1' });
      await bucket.put('a', Buffer.from('content'));
      expect(await codeOf((await reopen({ region: 'us-east-1' })).get('a'))).toBe('invalid-input');
      vi.stubEnv('AWS_REGION', undefined);
      expect(await codeOf((await reopen()).get('a'))).toBe('invalid-input');
      expect(await codeOf((await reopen({ region: 'eu-north-1' })).get('a'))).toBe('success');
    });

    test('without asking this machine’s cloud for its region, which is none of another service', async () => {
      const asked: unknown[] = [];
      const cloud = createServer(({ url }, response) => {
        asked.push(url);
        response.end('eu-north-1');
      }).listen(0, '127.0.0.1');
      await once(cloud, 'listening');
      const address = cloud.address();
      vi.stubEnv('AWS_EC2_METADATA_DISABLED', undefined);
      if (typeof address === 'object')
        vi.stubEnv('AWS_EC2_METADATA_SERVICE_ENDPOINT', `http://127.0.0.1:${address?.port}`);
      try {
        await start();
        await bucket.put('a', Buffer.from('content'));
        expect(asked).toEqual([]);
        // Amazon's own is where that region is.
        await openTestBucket(server, { endpoint: null });
        expect(asked.length).toBeGreaterThan(0);
      } finally {
        cloud.close();
        vi.unstubAllEnvs();
        stubAwsEnvironment();
      }
    });

    test('with a session token', async () => {
      const credentials = { ...EXAMPLE_CREDENTIALS, sessionToken: 'session' };
      vi.stubEnv('AWS_SESSION_TOKEN', 'session');
      await start({ credentials });
      await bucket.put('a', Buffer.from('content'));
      expect(Buffer.from(await bucket.get('a')).toString()).toBe('content');
    });
  });

  describe('links', () => {
    const call = { nowMs: Date.now(), seconds: 3_600, contentType: 'a/b', fileName: null };

    test('with temporary credentials end with them, and it is said', async () => {
      vi.stubEnv('AWS_SESSION_TOKEN', 'session');
      await start({ credentials: { ...EXAMPLE_CREDENTIALS, sessionToken: 'session' } });
      server.store('bucket', 'backups/vault/a', Buffer.from('content'));
      const onDoubt = vi.fn<(message: string) => void>();
      const url = (await bucket.presign?.('a', { ...call, onDoubt })) ?? '';
      expect(await (await fetch(url)).text()).toBe('content');
      expect(onDoubt.mock.calls[0]?.[0]).toContain('temporary');
      endInMinutes(30);
      const short = await reopen();
      const error = await failureOf(short.presign?.('a', call) ?? Promise.resolve());
      expect(error.code).toBe('invalid-input');
      expect(error.message).toContain('Ask for a shorter time');
      expect(await codeOf(short.presign?.('a', { ...call, seconds: 600 }) ?? Promise.resolve())).toBe(
        'success',
      );
      endInMinutes(90);
      expect(await codeOf((await reopen()).presign?.('a', { ...call, onDoubt }) ?? Promise.resolve())).toBe(
        'success',
      );
      expect(onDoubt).toHaveBeenCalledTimes(1);
    });

    test('are denied without credentials', async () => {
      vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
      await start();
      const error = await failureOf(bucket.presign?.('a', call) ?? Promise.resolve());
      expect(error.code).toBe('denied');
      expect(error.message).toContain('Could not make a link to a');
      expect(server.requests).toEqual([]);
    });

    test('are charged to whoever makes them, where the URL says so', async () => {
      await start({}, { requesterPays: true });
      server.store('bucket', 'backups/vault/a', Buffer.from('content'));
      const url = (await bucket.presign?.('a', call)) ?? '';
      expect(new URL(url).searchParams.get('x-amz-request-payer')).toBe('requester');
      expect((await fetch(url)).status).toBe(200);
    });
  });

  describe('with a profile in its URL', () => {
    const OTHER = { accessKeyId: 'OTHEREXAMPLE', secretAccessKey: 'other-secret' };
    let folder: TemporaryFolder;

    beforeEach(async () => {
      folder = await temporaryFolder();
      await writeFile(
        folder.at('credentials'),
        `[other]\naws_access_key_id = ${OTHER.accessKeyId}\naws_secret_access_key = ${OTHER.secretAccessKey}\n`,
      );
      await writeFile(folder.at('config'), '[profile other]\nregion = eu-north-1\n[profile empty]\n');
      vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', folder.at('credentials'));
      vi.stubEnv('AWS_CONFIG_FILE', folder.at('config'));
    });
    afterEach(async () => {
      vi.restoreAllMocks();
      await folder[Symbol.asyncDispose]();
    });

    test('uses its credentials and region, without a word, although the environment has others', async () => {
      const warn = vi.spyOn(console, 'warn');
      await start({ credentials: OTHER, region: 'eu-north-1' }, { profile: 'other' });
      await bucket.put('a', Buffer.from('content'));
      expect(Buffer.from(await bucket.get('a')).toString()).toBe('content');
      expect(warn).not.toHaveBeenCalled();
      expect(await codeOf((await reopen()).get('a'))).toBe('denied');
    });

    test.each(['nobody', 'empty'])('has no other credentials if it has none: %s', async (profile) => {
      await start({}, { profile });
      const failure = await failureOf(bucket.get('a'));
      expect(failure.code).toBe('denied');
      expect(failure.message).toContain('?profile=');
      expect(failure.message).toContain(profile);
      expect(server.requests).toHaveLength(0);
    });

    test('does not show the command that was to give them', async () => {
      const command = 'echo SECRETOUT; echo SECRETERR >&2; false';
      await writeFile(folder.at('config'), `[profile program]\ncredential_process = ${command}\n`);
      await start({}, { profile: 'program' });
      const failure = await failureOf(bucket.get('a'));
      expect(failure.code).toBe('denied');
      expect(failure.message).toContain('the credential_process failed');
      expect(failure.message).not.toMatch(/SECRETOUT|SECRETERR|false/);
    });
  });

  describe('where the machine was given credentials', () => {
    const ROLE = { accessKeyId: 'ROLEEXAMPLE', secretAccessKey: 'role-secret', sessionToken: 'role-session' };
    let metadata: Server;
    let asked = 0;

    beforeEach(async () => {
      asked = 0;
      metadata = createServer((_, response) => {
        asked += 1;
        response.setHeader('content-type', 'application/json');
        response.end(
          JSON.stringify({
            AccessKeyId: ROLE.accessKeyId,
            SecretAccessKey: ROLE.secretAccessKey,
            Token: ROLE.sessionToken,
            Expiration: new Date(Date.now() + 3_600_000).toISOString(),
          }),
        );
      });
      metadata.listen(0, '127.0.0.1');
      await once(metadata, 'listening');
      const address = metadata.address();
      if (address === null || typeof address === 'string') throw new Error('The server has no port.');
      vi.stubEnv('AWS_CONTAINER_CREDENTIALS_FULL_URI', `http://127.0.0.1:${address.port}/role`);
    });
    afterEach(async () => {
      vi.stubEnv('AWS_CONTAINER_CREDENTIALS_FULL_URI', undefined);
      const closed = once(metadata, 'close');
      metadata.close();
      metadata.closeAllConnections();
      await closed;
    });

    test('an endpoint that is not Amazon’s does not get them', async () => {
      vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
      await start({ credentials: ROLE });
      const failure = await failureOf(bucket.get('a'));
      expect(failure.code).toBe('denied');
      expect(failure.message).toContain('credentials=send');
      expect(server.requests).toHaveLength(0);
      expect(asked).toBe(0);
    });

    test('it gets them if the URL says so', async () => {
      vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
      await start({ credentials: ROLE }, { sendCredentials: true });
      await bucket.put('a', Buffer.from('content'));
      expect(asked).toBe(1);
    });

    test('it gets what the user put into the environment or a profile', async () => {
      await start();
      await bucket.put('a', Buffer.from('content'));
      await using folder = await temporaryFolder();
      vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
      vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', folder.at('credentials'));
      const { accessKeyId, secretAccessKey } = EXAMPLE_CREDENTIALS;
      const keys = `aws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`;
      await writeFile(folder.at('credentials'), `[default]\n${keys}`);
      const other = await reopen();
      expect(Buffer.from(await other.get('a')).toString()).toBe('content');
      expect(asked).toBe(0);
    });

    test.each([
      ['https://s3.eu-central-1.amazonaws.com', true],
      ['https://bucket.vpce-1a2b3c4d.s3.eu-west-1.vpce.amazonaws.com', true],
      ['https://s3.cn-north-1.amazonaws.com.cn', true],
      ['https://s3.eu-central-1.api.aws', true],
      ['http://s3.eu-central-1.amazonaws.com', false],
      ['https://amazonaws.com.example.com', false],
      ['https://evilamazonaws.com', false],
    ])('%s is Amazon’s: %s', async (endpoint, isOne) => {
      await start();
      expect(isAmazons(endpoint)).toBe(isOne);
    });
  });

  test('what the URL asks for is sent', async () => {
    const asked = { storageClass: 'STANDARD_IA', kmsKey: 'alias/vault', acl: 'bucket-owner-full-control' };
    await start({}, { ...asked, requesterPays: true });
    for (const kind of KINDS) await operations[kind]();
    for (const { headers } of server.requests) expect(headers['x-amz-request-payer']).toBe('requester');
    expect(server.requests[0]?.headers).toMatchObject({
      'x-amz-storage-class': 'STANDARD_IA',
      'x-amz-server-side-encryption': 'aws:kms',
      'x-amz-server-side-encryption-aws-kms-key-id': 'alias/vault',
      'x-amz-acl': 'bucket-owner-full-control',
    });
    expect(server.requests[0]?.headers['authorization']).toContain('x-amz-acl');
  });

  test('advice is for the service that answers', async () => {
    await start();
    for (const code of ['ExpiredToken', 'AccessDenied', 'InvalidToken']) {
      server.fail('get', { status: 403, code });
      expect((await failureOf(bucket.get('a'))).message).not.toMatch(/aws sso|amazon/i);
    }
  });

  describe('over TLS', () => {
    test('has the certificates of its caFile, and no others', async () => {
      await using folder = await temporaryFolder();
      const tls = selfSigned();
      await writeFile(folder.at('own.pem'), tls.cert);
      await writeFile(folder.at('other.pem'), selfSigned().cert);
      await start({ tls }, { caFile: folder.at('own.pem') });
      await bucket.put('a', Buffer.from('content'));
      const other = await reopen({ caFile: folder.at('other.pem') });
      expect((await failureOf(other.get('a'))).code).toBe('unavailable');
      expect((await failureOf(reopen({ caFile: folder.at('none.pem') }))).code).toBe('invalid-input');
      const place = { bucket: 'bucket', prefix: '', endpoint: server.url, sendCredentials: false };
      const google = await openGcsBucket({ ...place, label: 'gs://it', caFile: folder.at('own.pem') });
      // Not what it speaks, but it has answered.
      expect((await failureOf(google.get('a'))).message).toContain('the service answered 4');
      await google.close();
    });

    test('has no certificate that it does not trust', async () => {
      await start({ tls: selfSigned() });
      const failure = await failureOf(bucket.get('a'));
      expect(failure.code).toBe('unavailable');
      expect(failure.message).toContain('NODE_EXTRA_CA_CERTS');
    });

    test('signs the checksum instead of the body', async () => {
      const trusted = getCACertificates('default');
      const tls = selfSigned();
      setDefaultCACertificates([...trusted, tls.cert]);
      try {
        await start({ tls });
        await bucket.put('a', Buffer.from('content'));
        expect(Buffer.from(await bucket.get('a')).toString()).toBe('content');
        expect(server.requests[0]?.headers).toMatchObject({
          'x-amz-content-sha256': 'UNSIGNED-PAYLOAD',
          'x-amz-checksum-crc32c': 'Ya91Mw==',
        });
        expect(server.requests[0]?.headers['authorization']).toContain('x-amz-checksum-crc32c');
      } finally {
        setDefaultCACertificates(trusted);
      }
    });
  });

  describe('tried again by the decorator', () => {
    test.each([
      ['put', { status: 503, code: 'SlowDown', headers: { 'retry-after': '0' } }],
      ['put', { reset: 'before' }],
      ['put', { reset: 'after' }],
      ['get', { status: 500 }],
      ['get', { cutAfter: 10 }],
      ['get', { reset: 'before' }],
      ['delete', { reset: 'after' }],
      ['list', { status: 500 }],
    ] as const)('%s comes through %o', async (kind, fault) => {
      await start();
      bucket = retrying(bucket, { firstDelayMs: 1 });
      const bytes = randomBytes(100_000);
      if (kind !== 'put') server.store('bucket', 'backups/vault/chunks/object', bytes);
      server.fail(kind, fault, { times: 2 });
      const operate = {
        put: async () => {
          await bucket.put('chunks/object', bytes);
        },
        get: async () => await bucket.get('chunks/object'),
        delete: async () => {
          await bucket.remove('chunks/object');
        },
        list: async () => await listAll(bucket, ''),
      }[kind];
      expect(await codeOf(operate())).toBe('success');
      expect(server.objects('bucket').size).toBe(kind === 'delete' ? 0 : 1);
    });

    test('a refusal of credentials is not', async () => {
      await start();
      bucket = retrying(bucket, { firstDelayMs: 1 });
      server.fail('get', { status: 403, code: 'ExpiredToken' }, { times: 5 });
      expect(await codeOf(bucket.get('a'))).toBe('denied');
      expect(server.requests).toHaveLength(1);
    });
  });
});

/** Works with a bucket of a server of its own. */
async function withBucket(
  serverOptions: S3ServerOptions,
  options: Partial<S3BucketOptions>,
  work: (bucket: Bucket, server: S3Server) => Promise<void>,
): Promise<void> {
  await using server = await startS3Server(serverOptions);
  const bucket = await openTestBucket(server, options);
  await work(bucket, server);
  await bucket.close();
}

/** How the one object is locked that there is. */
function modeOf(server: S3Server): string | undefined {
  return [...server.versions('bucket').list('')][0]?.version.lock?.mode;
}

describe('Object Lock', () => {
  const retainUntilMs = Math.ceil(Date.now() / 1000) * 1000 + 3_600_000;
  const settings = { objectLock: true };
  test.each<readonly [string, S3ServerOptions, Partial<S3BucketOptions>, string]>([
    ['can be lifted by a right of its own', { settings }, {}, 'GOVERNANCE'],
    ['is of the mode in the URL', { settings }, { lock: 'compliance' }, 'COMPLIANCE'],
    [
      'is of the mode that the bucket has by itself',
      { settings: { ...settings, defaultLock: { mode: 'COMPLIANCE', days: 1 } } },
      {},
      'COMPLIANCE',
    ],
  ])('%s', async (_, serverOptions, options, mode) => {
    await withBucket(serverOptions, options, async (bucket, server) => {
      await bucket.put('object', Buffer.from('x'), { retainUntilMs });
      expect(modeOf(server)).toBe(mode);
    });
  });

  test.each<S3BucketOptions['checksum'] & string>(['md5', 'sha256', 'crc32c'])(
    'has the checksum that it takes: %s',
    async (checksum) => {
      await withBucket({ settings }, { checksum }, async (bucket) => {
        await bucket.put('object', Buffer.from('x'), { retainUntilMs });
        expect(await bucket.retention?.until('object')).toBe(retainUntilMs);
      });
    },
  );

  test('a lock is made longer in the mode that it has', async () => {
    await withBucket({ settings }, { lock: 'compliance' }, async (bucket, server) => {
      await bucket.put('object', Buffer.from('x'), { retainUntilMs });
      const other = await openTestBucket(server, { lock: 'governance' });
      expect(await other.retention?.extend('object', retainUntilMs + 60_000)).toBe(true);
      expect(modeOf(server)).toBe('COMPLIANCE');
      await other.close();
    });
  });

  const NAMES = Array.from({ length: 20 }, (_, i) => `chunks/${i}`);
  const fill = async (bucket: Bucket): Promise<void> => {
    for (const name of NAMES) await bucket.put(name, Buffer.from('x'));
  };

  test('many objects are removed with one request, but for those that are refused', async () => {
    await withBucket({ dialect: { removals: 'some' } }, {}, async (bucket, server) => {
      await fill(bucket);
      server.forget();
      const gone = await bucket.removeAll?.(NAMES);
      expect(NAMES.filter((name) => gone?.has(name) !== true)).toEqual(['chunks/7', 'chunks/17']);
      expect(server.requests.map(({ kind }) => kind)).toEqual(['delete-many']);
      expect(server.objects('bucket').size).toBe(2);
    });
  });

  test('a service that does not take many removals is not asked again', async () => {
    await withBucket({ dialect: { removals: 'single' } }, {}, async (bucket, server) => {
      await fill(bucket);
      for (let i = 0; i < 3; i += 1) expect(await bucket.removeAll?.(NAMES)).toEqual(new Set());
      expect(server.count('delete-many')).toBe(1);
      expect(server.objects('bucket').size).toBe(NAMES.length);
    });
  });

  test.each([
    [{ status: 503, code: 'SlowDown' }, 'unavailable'],
    [{ status: 403, code: 'AccessDenied' }, 'denied'],
    [{ status: 404, code: 'NoSuchBucket' }, 'bucket-missing'],
    [{ cutAfter: 20 }, 'unavailable'],
    [{ replaceBody: '<html>Log in!</html>' }, null],
  ] as const)('what fails many removals is told: %o', async (fault, code) => {
    await withBucket({}, {}, async (bucket, server) => {
      await fill(bucket);
      server.fail('delete-many', fault);
      const outcome = await bucket.removeAll?.(NAMES).catch((error: VaultError) => error.code);
      expect(outcome).toEqual(code ?? new Set());
      expect(await bucket.removeAll?.(NAMES)).toEqual(new Set(NAMES));
    });
  });

  test('a service that refuses to hide what is locked says that it is locked', async () => {
    await withBucket({}, {}, async (bucket, server) => {
      const message = 'Access Denied because object protected by object lock.';
      server.fail('delete', { status: 403, code: 'AccessDenied', message });
      await expect(bucket.remove('object')).rejects.toMatchObject({ code: 'retained' });
      server.fail('delete', { status: 403, code: 'AccessDenied' });
      await expect(bucket.remove('object')).rejects.toMatchObject({ code: 'denied' });
    });
  });

  test.each([
    [501, 'NotImplemented', NO_RETENTION],
    [400, 'MalformedXML', NO_RETENTION],
    [403, 'AccessDenied', null],
  ])('a service that answers %d has none, or does not say', async (status, code, policy) => {
    await withBucket({}, {}, async (bucket, server) => {
      server.fail('settings', { status, code }, { times: Infinity });
      const answer = await bucket.retention?.policy().catch((error: VaultError) => error.code);
      expect(answer).toEqual(policy ?? 'denied');
      // Who may not ask removes as ever, and asks once more at most.
      for (const name of ['one', 'two', 'three']) {
        await bucket.put(name, Buffer.from('x'));
        await bucket.remove(name, { unlessRetained: true });
      }
      expect(server.count('settings')).toBe(2);
      expect(server.objects('bucket').size).toBe(0);
    });
  });

  test('versions are told of where nothing can be locked', async () => {
    await withBucket({ settings: { versioning: true } }, {}, async (bucket) => {
      await expect(bucket.retention?.policy()).resolves.toMatchObject({ lock: null, versioning: true });
      expect(await failureOf(bucket.put('object', Buffer.from('x'), { retainUntilMs }))).toMatchObject({
        code: 'invalid-input',
      });
    });
  });
});
