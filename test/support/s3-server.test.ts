import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EXAMPLE_CREDENTIALS, startS3Server } from './s3-server.ts';
import type { S3Server } from './s3-server.ts';
import { Signer, sha256Hex } from './sigv4.ts';

const EMPTY = sha256Hex('');

// The examples of "Signature Calculations for the Authorization Header" in Amazon's S3 API reference.
describe('signatures are those of the examples in the S3 documentation', () => {
  const time = '20130524T000000Z';
  const host = 'examplebucket.s3.amazonaws.com';
  const signer = new Signer(EXAMPLE_CREDENTIALS, { day: '20130524', region: 'us-east-1', service: 's3' });

  test.each([
    [
      'GET object',
      { method: 'GET', url: '/test.txt', headers: { range: 'bytes=0-9' } },
      EMPTY,
      'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
    ],
    [
      'PUT object',
      {
        method: 'PUT',
        url: '/test%24file.text',
        headers: { date: 'Fri, 24 May 2013 00:00:00 GMT', 'x-amz-storage-class': 'REDUCED_REDUNDANCY' },
      },
      '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072',
      '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd',
    ],
    [
      'GET bucket lifecycle',
      { method: 'GET', url: '/?lifecycle', headers: {} },
      EMPTY,
      'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
    ],
    [
      'GET bucket (list objects)',
      { method: 'GET', url: '/?max-keys=2&prefix=J', headers: {} },
      EMPTY,
      '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
    ],
  ])('%s', (_, { method, url, headers }, payloadHash, expected) => {
    const all: Record<string, string> = {
      ...headers,
      host,
      'x-amz-date': time,
      'x-amz-content-sha256': payloadHash,
    };
    const signedHeaders = Object.keys(all).toSorted();
    expect(signer.request({ method, url, headers: all }, { signedHeaders, payloadHash, time })).toBe(
      expected,
    );
  });

  test('PUT object in chunks', () => {
    const seed = '4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9';
    const first = signer.chunk(seed, Buffer.alloc(65_536, 'a'), time);
    const second = signer.chunk(first, Buffer.alloc(1024, 'a'), time);
    const last = signer.chunk(second, Buffer.alloc(0), time);
    expect([first, second, last]).toEqual([
      'ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648',
      '0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497',
      'b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9',
    ]);
  });
});

/** `content` as one signed chunk and the empty one at the end. */
function signedChunks(signer: Signer, seed: string, time: string): Buffer {
  const first = signer.chunk(seed, Buffer.from('content'), time);
  const last = signer.chunk(first, Buffer.alloc(0), time);
  return Buffer.from(`7;chunk-signature=${first}\r\ncontent\r\n0;chunk-signature=${last}\r\n\r\n`);
}

/** What all elements of a name hold, in flat XML. */
function texts(xml: string, name: string): string[] {
  return Array.from(xml.matchAll(new RegExp(`<${name}>([^<]*)</${name}>`, 'g')), (match) => match[1] ?? '');
}

describe('the S3 server', () => {
  let server: S3Server;

  beforeEach(async () => {
    server = await startS3Server();
  });
  afterEach(async () => {
    await server.close();
  });

  interface Call {
    readonly method?: string;
    readonly url: string;
    readonly host?: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: Buffer;
    /** `x-amz-content-sha256`; null leaves the header out. */
    readonly payloadHash?: string | null;
    /** Makes the body, from the signature of the request. */
    readonly chunked?: (signer: Signer, seed: string, time: string) => Buffer;
    readonly sign?: boolean;
    readonly secretAccessKey?: string;
    readonly atMs?: number;
    readonly unsigned?: string;
  }

  async function send(
    call: Call,
  ): Promise<{ readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: string }> {
    const { method = 'GET', url, body = Buffer.alloc(0) } = call;
    const time = new Date(call.atMs ?? Date.now()).toISOString().replaceAll(/[-:]|\.\d+/g, '');
    const scope = { day: time.slice(0, 8), region: 'us-east-1', service: 's3' };
    const payloadHash = call.payloadHash === undefined ? sha256Hex(body) : (call.payloadHash ?? '');
    const headers: Record<string, string> = {
      ...call.headers,
      host: call.host ?? `127.0.0.1:${server.port}`,
      'x-amz-date': time,
      ...(call.payloadHash === null ? {} : { 'x-amz-content-sha256': payloadHash }),
    };
    const signedHeaders = Object.keys(headers)
      .filter((name) => name !== call.unsigned)
      .toSorted();
    const secretAccessKey = call.secretAccessKey ?? EXAMPLE_CREDENTIALS.secretAccessKey;
    const signer = new Signer({ ...EXAMPLE_CREDENTIALS, secretAccessKey }, scope);
    const signature = signer.request({ method, url, headers }, { signedHeaders, payloadHash, time });
    if (call.sign !== false) {
      headers['authorization'] =
        `AWS4-HMAC-SHA256 Credential=${EXAMPLE_CREDENTIALS.accessKeyId}/${scope.day}/us-east-1/s3/aws4_request, ` +
        `SignedHeaders=${signedHeaders.join(';')}, Signature=${signature}`;
    }
    const raw = call.chunked === undefined ? body : call.chunked(signer, signature, time);
    const request = httpRequest({
      port: server.port,
      host: '127.0.0.1',
      method,
      path: url,
      headers: { ...headers, 'content-length': raw.length },
    });
    request.end(raw);
    const [response] = await once(request, 'response');
    const parts: Buffer[] = [];
    for await (const part of response) parts.push(part);
    return { status: response.statusCode, headers: response.headers, body: Buffer.concat(parts).toString() };
  }

  /** Status and error code, as `403 AccessDenied`. */
  async function outcome(call: Call): Promise<string> {
    const { status, body } = await send(call);
    return `${status} ${/<Code>(\w+)<\/Code>/.exec(body)?.[1] ?? ''}`.trimEnd();
  }

  async function list(query: string) {
    const { body } = await send({ url: `/bucket?list-type=2&${query}` });
    return {
      body,
      keys: texts(body, 'Key'),
      prefixes: texts(body, 'Prefix'),
      token: texts(body, 'NextContinuationToken')[0],
    };
  }

  const put = (more: Partial<Call> = {}): Call => ({
    method: 'PUT',
    url: '/bucket/a',
    body: Buffer.from('content'),
    ...more,
  });

  describe('lets nobody in', () => {
    test.each([
      ['without a signature', { sign: false }, '403 AccessDenied'],
      ['with another secret', { secretAccessKey: 'wrong' }, '403 SignatureDoesNotMatch'],
      ['with a clock 20 minutes behind', { atMs: Date.now() - 1_200_000 }, '403 RequestTimeTooSkewed'],
      ['with a clock 20 minutes ahead', { atMs: Date.now() + 1_200_000 }, '403 RequestTimeTooSkewed'],
      ['without a hash of the body', { payloadHash: null }, '400 InvalidRequest'],
      ['with the hash of another body', { payloadHash: EMPTY }, '400 XAmzContentSHA256Mismatch'],
      ['with an unsigned x-amz header', { unsigned: 'x-amz-date' }, '403 AccessDenied'],
    ])('%s', async (_, more, expected) => {
      expect(await outcome(put(more))).toBe(expected);
      expect(server.objects('bucket').size).toBe(0);
    });
  });

  test.each([
    ['Content-MD5', { 'content-md5': 'mgNkuembtIDdJeHwKEyFVQ==' }, '200'],
    ['Content-MD5 of other bytes', { 'content-md5': '1B2M2Y8AsgTpgAmY7PhCfg==' }, '400 BadDigest'],
    ['Content-MD5 that is none', { 'content-md5': 'bad' }, '400 InvalidDigest'],
    ['CRC-32', { 'x-amz-checksum-crc32': '/sUwqQ==' }, '200'],
    ['CRC-32 of other bytes', { 'x-amz-checksum-crc32': 'AAAAAA==' }, '400 BadDigest'],
    ['CRC-32 that is none', { 'x-amz-checksum-crc32': 'bad' }, '400 InvalidRequest'],
    ['CRC-32C of other bytes', { 'x-amz-checksum-crc32c': 'AAAAAA==' }, '400 BadDigest'],
    [
      'SHA-256',
      { 'x-amz-checksum-sha256': Buffer.from(sha256Hex('content'), 'hex').toString('base64') },
      '200',
    ],
    ['SHA-1 of other bytes', { 'x-amz-checksum-sha1': '2jmj7l5rSw0yVb/vlWAYkK/YBwk=' }, '400 BadDigest'],
    [
      'two checksums',
      { 'x-amz-checksum-crc32': '/sUwqQ==', 'x-amz-checksum-crc32c': 'AAAAAA==' },
      '400 InvalidRequest',
    ],
  ])('verifies %s', async (_, headers, expected) => {
    expect(await outcome(put({ headers }))).toBe(expected);
    expect(server.objects('bucket').size).toBe(expected === '200' ? 1 : 0);
  });

  test('returns a checksum to who asks for it', async () => {
    const headers = { 'x-amz-checksum-crc32': '/sUwqQ==' };
    expect((await send(put({ headers }))).headers).toMatchObject(headers);
    expect((await send({ url: '/bucket/a' })).headers).not.toHaveProperty('x-amz-checksum-crc32');
    const asked = await send({ url: '/bucket/a', headers: { 'x-amz-checksum-mode': 'ENABLED' } });
    expect(asked.headers).toMatchObject({ ...headers, 'x-amz-checksum-type': 'FULL_OBJECT' });
  });

  test('puts on condition', async () => {
    expect(await outcome(put({ headers: { 'if-none-match': '*' } }))).toBe('200');
    expect(await outcome(put({ headers: { 'if-none-match': '*' } }))).toBe('412 PreconditionFailed');
    expect(await outcome(put())).toBe('200');
  });

  test.each([
    ['bytes=0-2', 206, 'con', 'bytes 0-2/7'],
    ['bytes=3-', 206, 'tent', 'bytes 3-6/7'],
    ['bytes=-2', 206, 'nt', 'bytes 5-6/7'],
    ['bytes=5-100', 206, 'nt', 'bytes 5-6/7'],
    ['lines=1', 200, 'content', undefined],
  ])('answers the range %s', async (range, status, body, contentRange) => {
    await send(put());
    const answer = await send({ url: '/bucket/a', headers: { range } });
    expect(answer).toMatchObject({ status, body });
    expect(answer.headers['content-range']).toBe(contentRange);
  });

  test('answers a range beyond the end, a missing key and a missing bucket', async () => {
    await send(put());
    expect(await outcome({ url: '/bucket/a', headers: { range: 'bytes=7-' } })).toBe('416 InvalidRange');
    expect(await outcome({ url: '/bucket/b' })).toBe('404 NoSuchKey');
    expect(await outcome({ url: '/other/b' })).toBe('404 NoSuchBucket');
    expect(await outcome({ method: 'DELETE', url: '/bucket/b' })).toBe('204');
    expect(await send({ method: 'HEAD', url: '/bucket/a' })).toMatchObject({ status: 200, body: '' });
    expect(await send({ method: 'HEAD', url: '/bucket/b' })).toMatchObject({ status: 404, body: '' });
    expect(await outcome({ url: `/bucket/${'k'.repeat(1025)}` })).toBe('400 KeyTooLongError');
  });

  test('knows virtual hosts', async () => {
    const host = `bucket.s3.localhost:${server.port}`;
    expect(await outcome(put({ host, url: '/deep/a%2Bb' }))).toBe('200');
    expect([...server.objects('bucket').keys()]).toEqual(['deep/a+b']);
    expect(await send({ host, url: '/deep/a%2Bb' })).toMatchObject({ body: 'content' });
  });

  test('lists in pages, from a key, by prefix and delimiter', async () => {
    for (const key of ['a', 'b/1', 'b/2', 'c d+e', '\uFF5E', '\u{1F600}']) {
      server.store('bucket', key, Buffer.from('x'));
    }
    expect((await list('')).keys).toEqual(['a', 'b/1', 'b/2', 'c d+e', '\uFF5E', '\u{1F600}']);
    const first = await list('max-keys=2');
    expect(first.keys).toEqual(['a', 'b/1']);
    expect(first.body).toContain('<IsTruncated>true</IsTruncated>');
    const second = await list(`continuation-token=${encodeURIComponent(first.token ?? '')}&max-keys=2`);
    expect(second.keys).toEqual(['b/2', 'c d+e']);
    expect((await list('start-after=b%2F1&encoding-type=url')).keys).toEqual([
      'b/2',
      'c+d%2Be',
      '%EF%BD%9E',
      '%F0%9F%98%80',
    ]);
    const rolledUp = await list('delimiter=%2F&max-keys=3');
    expect(rolledUp).toMatchObject({ keys: ['a', 'c d+e'], prefixes: ['', 'b/'] });
    expect((await list('prefix=b%2F')).keys).toEqual(['b/1', 'b/2']);
    expect(await outcome({ url: '/bucket?list-type=2&continuation-token=nonsense' })).toBe(
      '400 InvalidArgument',
    );
  });

  describe('unpacks aws-chunked bodies', () => {
    const headers = { 'content-encoding': 'aws-chunked', 'x-amz-decoded-content-length': '7' };

    test('signed', async () => {
      const payloadHash = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD';
      expect(await outcome(put({ headers, payloadHash, chunked: signedChunks }))).toBe('200');
      expect(server.objects('bucket').get('a')?.bytes.toString()).toBe('content');
      const changed = (...from: Parameters<typeof signedChunks>): Buffer =>
        Buffer.from(
          signedChunks(...from)
            .toString()
            .replace('content', 'CONTENT'),
        );
      expect(await outcome(put({ headers, payloadHash, chunked: changed }))).toBe(
        '403 SignatureDoesNotMatch',
      );
    });

    test.each([
      ['/sUwqQ==', '200'],
      ['AAAAAA==', '400 BadDigest'],
    ])('unsigned, with the checksum %s behind', async (checksum, expected) => {
      const chunked = (): Buffer =>
        Buffer.from(`3\r\ncon\r\n4\r\ntent\r\n0\r\nx-amz-checksum-crc32:${checksum}\r\n\r\n`);
      const payloadHash = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';
      const trailing = { ...headers, 'x-amz-trailer': 'x-amz-checksum-crc32' };
      expect(await outcome(put({ headers: trailing, payloadHash, chunked }))).toBe(expected);
    });

    test.each([
      ['cut short', '7\r\ncont'],
      ['of another length than announced', '3\r\ncon\r\n0\r\n\r\n'],
    ])('unless they are %s', async (_, raw) => {
      const payloadHash = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';
      expect(await outcome(put({ headers, payloadHash, chunked: () => Buffer.from(raw) }))).toBe(
        '400 IncompleteBody',
      );
    });
  });
});
