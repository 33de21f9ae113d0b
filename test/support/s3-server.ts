/**
 * A server of the S3 REST API for tests and measurements: objects in memory, everything that a client relies on
 * verified as Amazon documents it (API reference and user guide of Amazon S3). It can imitate services that
 * know less, and can be told to fail.
 */
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { AMAZON, S3Objects, errorAnswer } from './s3-objects.ts';
import type { S3Answer, S3Dialect, StoredObject } from './s3-objects.ts';
import type { S3BucketSettings, S3Versions } from './s3-versions.ts';
import { S3Error, authenticate, decodePayload, parseRequest } from './s3-requests.ts';
import type { S3Request } from './s3-requests.ts';
import type { AwsCredentials } from './sigv4.ts';

/** What happens instead of, or to, an answer. */
export type S3Fault =
  /** An error answer, before the body is read or anything is done. */
  | {
      readonly status: number;
      readonly code?: string;
      readonly message?: string;
      readonly headers?: Readonly<Record<string, string>>;
      /** Further elements of the XML body. */
      readonly elements?: Readonly<Record<string, string>>;
      /** Instead of S3's XML. */
      readonly body?: string;
    }
  /** The request is read and never answered, or the answer's body never ends. */
  | { readonly stall: 'answer' | 'body' }
  /** The connection is reset before anything is done, or after it has been done, without a word. */
  | { readonly reset: 'before' | 'after' }
  /** The connection ends after that many bytes of the answer's body. */
  | { readonly cutAfter: number }
  /** A download has one bit changed, with the headers of the right bytes; an upload is acknowledged as other bytes. */
  | { readonly corrupt: true }
  /** Somebody on the way answers for it: 200 and a page for people; nothing is done. */
  | { readonly page: string }
  /** It is done, but answered with this body. */
  | { readonly replaceBody: string };

export type S3Kind = S3Request['kind'];

/** Which requests a fault is for: a kind, or whatever the function says. */
export type S3Matcher = S3Kind | ((request: S3Request) => boolean);

export interface S3ServerOptions {
  /** Names of the buckets that exist. Default: `bucket`. */
  readonly buckets?: readonly string[];
  /** What they have of versioning and Object Lock. */
  readonly settings?: S3BucketSettings;
  readonly credentials?: AwsCredentials;
  /** Others, who may do less. */
  readonly users?: readonly S3User[];
  /** Default us-east-1. */
  readonly region?: string;
  readonly dialect?: Partial<S3Dialect>;
  /** Added to every request, before it is looked at. Default 0. */
  readonly latencyMs?: number;
  /** How far the server's clock is ahead. Default 0. */
  readonly clockOffsetMs?: number;
  /** Certificate and key in PEM; absent: plain HTTP. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

/** Somebody whom a policy allows some requests. */
export interface S3User {
  readonly credentials: AwsCredentials;
  /** Whether an authenticated request is allowed. */
  may(request: S3Request): boolean;
}

/** A running server; `await using` stops it. */
export interface S3Server extends AsyncDisposable {
  /** Where it listens, like `http://127.0.0.1:34567`. Virtual hosts are those of `s3.localhost`. */
  readonly url: string;
  readonly port: number;
  readonly region: string;
  readonly credentials: AwsCredentials;
  /** How far the server's clock is ahead; may be set. */
  clockOffsetMs: number;
  /** How far the clock is ahead that locks go by; may be set. */
  locksAheadMs: number;
  /** All requests since the start or the last `forget`, failed ones as well. */
  readonly requests: readonly S3Request[];
  /** How many of them are of this kind. */
  count(kind: S3Kind): number;
  /** Forgets the requests so far. */
  forget(): void;
  /** Makes a bucket; an existing one is emptied. */
  createBucket(name: string, settings?: S3BucketSettings): void;
  /** The versions and locks of a bucket. */
  versions(bucket: string): S3Versions;
  /** The live objects of a bucket by key, for a test to look at or to change. */
  objects(bucket: string): Map<string, StoredObject>;
  /** Stores an object without a request. */
  store(bucket: string, key: string, bytes: Uint8Array): void;
  /**
   * Makes requests fail. The latest fault that matches a request is the one.
   *
   * @param options `times`: how many requests; default 1
   */
  fail(matcher: S3Matcher, fault: S3Fault, options?: { readonly times?: number }): void;
  /** How many connections are open just now. */
  connections(): Promise<number>;
  close(): Promise<void>;
}

/** The key pair of Amazon's documentation. */
export const EXAMPLE_CREDENTIALS: AwsCredentials = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
};

const VIRTUAL_HOSTS = 's3.localhost';

/** Starts a server on a free port of the loopback interface. */
export async function startS3Server(options: S3ServerOptions = {}): Promise<S3Server> {
  const region = options.region ?? 'us-east-1';
  const credentials = options.credentials ?? EXAMPLE_CREDENTIALS;
  const { users = [] } = options;
  const dialect: S3Dialect = { ...AMAZON, ...options.dialect };
  const clock = { offsetMs: options.clockOffsetMs ?? 0, locksMs: 0 };
  const objects = new S3Objects(dialect, region, () => Date.now() + clock.offsetMs + clock.locksMs);
  for (const name of options.buckets ?? ['bucket']) objects.createBucket(name, options.settings);
  const requests: S3Request[] = [];
  const faults: { readonly matcher: S3Matcher; readonly fault: S3Fault; times: number }[] = [];

  const takeFault = (request: S3Request): S3Fault | null => {
    const found = faults.findLast(
      ({ matcher, times }) =>
        times > 0 && (typeof matcher === 'string' ? matcher === request.kind : matcher(request)),
    );
    if (found === undefined) return null;
    found.times -= 1;
    return found.fault;
  };

  const answerTo = async (request: S3Request, message: IncomingMessage): Promise<S3Answer> => {
    const raw = await readAll(message);
    const nowMs = Date.now() + clock.offsetMs;
    const user = users.find((one) => request.headers['authorization']?.includes(one.credentials.accessKeyId));
    const who = user?.credentials ?? credentials;
    const authenticated = authenticate(request, { credentials: who, region, nowMs });
    if (user?.may(request) === false) {
      const why = `User: ${who.accessKeyId} is not authorized to perform this because no policy allows it`;
      throw new S3Error(403, 'AccessDenied', why);
    }
    const isChunked = authenticated.payloadHash.startsWith('STREAMING-');
    if (isChunked && dialect.awsChunked === 'rejected') {
      throw new S3Error(
        501,
        'NotImplemented',
        'A header you provided implies functionality that is not implemented',
      );
    }
    return objects.answer(request, () => decodePayload(request, authenticated, raw));
  };

  const handle = async (message: IncomingMessage, response: ServerResponse): Promise<void> => {
    if ((options.latencyMs ?? 0) > 0) await delay(options.latencyMs);
    let request: S3Request | null = null;
    let fault: S3Fault | null = null;
    let answer: S3Answer;
    try {
      request = parseRequest(message, VIRTUAL_HOSTS);
      requests.push(request);
      fault = takeFault(request);
      if (fault !== null && 'reset' in fault && fault.reset === 'before') {
        message.socket.resetAndDestroy();
        return;
      }
      if (fault !== null && 'page' in fault) {
        await readAll(message);
        response.writeHead(200, { 'content-type': 'text/html' }).end(fault.page);
        return;
      }
      answer =
        fault !== null && 'status' in fault ? refusal(fault, request.url) : await answerTo(request, message);
    } catch (error) {
      if (message.destroyed && !message.complete) return;
      answer = errorAnswer(
        error instanceof S3Error
          ? error
          : new S3Error(500, 'InternalError', `The server failed: ${String(error)}`),
        message.url ?? '',
      );
    }
    await send(response, answer, message.method ?? '', fault);
  };

  const listener = (message: IncomingMessage, response: ServerResponse): void => {
    // A connection that ends meanwhile is the client's affair.
    message.on('error', () => {});
    response.on('error', () => {});
    void handle(message, response);
  };
  const server =
    options.tls === undefined ? createHttpServer(listener) : createHttpsServer(options.tls, listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('The server has no port.');
  const { port } = address;

  const close = async (): Promise<void> => {
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  };
  return {
    url: `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    port,
    region,
    credentials,
    get clockOffsetMs() {
      return clock.offsetMs;
    },
    set clockOffsetMs(ms) {
      clock.offsetMs = ms;
    },
    get locksAheadMs() {
      return clock.locksMs;
    },
    set locksAheadMs(ms) {
      clock.locksMs = ms;
    },
    requests,
    count: (kind) => requests.filter((request) => request.kind === kind).length,
    forget: () => {
      requests.length = 0;
    },
    createBucket: (name, settings) => {
      objects.createBucket(name, settings);
    },
    versions: (bucket) => objects.versions(bucket),
    objects: (bucket) => objects.bucket(bucket),
    store: (bucket, key, bytes) => {
      const etag = '00000000000000000000000000000000-1';
      const object = { bytes: Buffer.from(bytes), etag, checksum: null, modifiedAtMs: Date.now() };
      objects.versions(bucket).stored(key, object, null);
    },
    fail: (matcher, fault, { times = 1 } = {}) => {
      faults.push({ matcher, fault, times });
    },
    connections: async () =>
      await new Promise((resolve, reject) => {
        server.getConnections((error, count) => {
          if (error === null) resolve(count);
          else reject(error);
        });
      }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function readAll(message: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of message as AsyncIterable<Buffer>) parts.push(part);
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
}

function refusal(fault: Extract<S3Fault, { readonly status: number }>, resource: string): S3Answer {
  const { status, code = 'InternalError', message = 'Told to fail.', headers = {}, elements = {} } = fault;
  const answer = errorAnswer(new S3Error(status, code, message, { elements, headers }), resource);
  if (fault.body === undefined) return answer;
  return { status, headers: { 'content-type': 'text/html', ...headers }, body: Buffer.from(fault.body) };
}

/** The value with its first digit changed, of base64 as of hex. */
function otherDigits(value: string): string {
  return value.replace(/[0-9A-Za-z+/]/, (digit) => (digit === '0' ? '1' : '0'));
}

async function send(
  response: ServerResponse,
  answer: S3Answer,
  method: string,
  fault: S3Fault | null,
): Promise<void> {
  if (fault !== null && 'stall' in fault && fault.stall === 'answer') return;
  if (fault !== null && 'reset' in fault) {
    response.socket?.resetAndDestroy();
    return;
  }
  const isCorrupt = fault !== null && 'corrupt' in fault;
  let { body } = answer;
  let { headers } = answer;
  if (isCorrupt && body.length > 0) {
    body = Buffer.from(body);
    body.writeUInt8(body.readUInt8(body.length >> 1) ^ 1, body.length >> 1);
  } else if (isCorrupt) {
    headers = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [
        name,
        name === 'etag' || /^x-amz-checksum-(?!type)/.test(name) ? otherDigits(value) : value,
      ]),
    );
  }
  if (fault !== null && 'replaceBody' in fault) body = Buffer.from(fault.replaceBody);
  response.writeHead(answer.status, {
    server: 'AmazonS3',
    'x-amz-request-id': '656C76696E672773',
    'x-amz-id-2': 'host',
    ...headers,
    ...(answer.status === 204 || answer.status === 304 ? {} : { 'content-length': body.length }),
  });
  if (method === 'HEAD') response.end();
  else if (fault !== null && 'stall' in fault) response.write(body.subarray(0, body.length >> 1));
  else if (fault !== null && 'cutAfter' in fault) {
    await new Promise((resolve) => response.write(body.subarray(0, fault.cutAfter), resolve));
    response.socket?.destroy();
  } else response.end(body);
}
