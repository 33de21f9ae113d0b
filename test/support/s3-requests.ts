import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { crc32 } from 'node:zlib';
import { crc32c } from '@node-rs/crc32';
import { Signer, isSameSignature, parseAuthorization, parseSigningTime, sha256Hex } from './sigv4.ts';
import type { AwsCredentials } from './sigv4.ts';

/** An error as S3 answers it: "Error responses" in the Amazon S3 API reference. */
export class S3Error extends Error {
  readonly status: number;
  readonly code: string;
  /** Further elements of the XML body. */
  readonly elements: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: string,
    message: string,
    more: {
      readonly elements?: Readonly<Record<string, string>>;
      readonly headers?: Readonly<Record<string, string>>;
    } = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.elements = more.elements ?? {};
    this.headers = more.headers ?? {};
  }
}

/** What a request turned out to be, once its address is understood. */
export interface S3Request {
  readonly kind:
    | 'put'
    | 'get'
    | 'head'
    | 'delete'
    | 'delete-many'
    | 'list'
    | 'head-bucket'
    | 'retention'
    | 'versions'
    | 'settings'
    | 'other';
  readonly method: string;
  readonly bucket: string;
  /** '' for a request about the bucket. */
  readonly key: string;
  readonly query: URLSearchParams;
  /** Lower-case names; repeated headers joined by a comma. */
  readonly headers: Readonly<Record<string, string>>;
  /** Path and query as they came. */
  readonly url: string;
}

/** Understands path-style and virtual-hosted-style addresses ("Virtual hosting of buckets" in the user guide). */
export function parseRequest(message: IncomingMessage, domain: string): S3Request {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(message.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(',') : value;
  }
  const url = message.url ?? '/';
  const [path = '/', search = ''] = url.split(/\?(.*)/s, 2);
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch (error) {
    throw new S3Error(400, 'InvalidURI', `Couldn't parse the specified URI. ${String(error)}`);
  }
  const host = (headers['host'] ?? '').replace(/:\d+$/, '').toLowerCase();
  const [, bucketInPath = '', keyInPath = ''] = /^\/([^/]*)(?:\/(.*))?$/s.exec(decoded) ?? [];
  const isVirtualHosted = host.endsWith(`.${domain}`);
  const bucket = isVirtualHosted ? host.slice(0, -domain.length - 1) : bucketInPath;
  const key = isVirtualHosted ? decoded.slice(1) : keyInPath;
  const query = new URLSearchParams(search);
  const method = message.method ?? '';
  return { kind: kindOf(method, key, query), method, bucket, key, query, headers, url };
}

/** Parameters that make a request about an object's or bucket's attributes; none of them is imitated here. */
const SUBRESOURCES = ['acl', 'tagging', 'uploads', 'uploadId', 'location', 'policy'];

function kindOf(method: string, key: string, query: URLSearchParams): S3Request['kind'] {
  if (SUBRESOURCES.some((name) => query.has(name))) return 'other';
  if (query.has('retention')) return 'retention';
  if (query.has('versions')) return 'versions';
  if (query.has('object-lock') || query.has('versioning')) return 'settings';
  if (key === '') {
    if (method === 'POST' && query.has('delete')) return 'delete-many';
    if (method === 'GET' && query.get('list-type') === '2') return 'list';
    return method === 'HEAD' ? 'head-bucket' : 'other';
  }
  const kinds: Readonly<Record<string, S3Request['kind']>> = {
    PUT: 'put',
    GET: 'get',
    HEAD: 'head',
    DELETE: 'delete',
  };
  return kinds[method] ?? 'other';
}

/** A request whose signature has been verified, and how its body is signed. */
export interface Authenticated {
  readonly signer: Signer;
  readonly signature: string;
  readonly time: string;
  /** The header `x-amz-content-sha256`. */
  readonly payloadHash: string;
}

const MAX_SKEW_MS = 15 * 60 * 1000;

/**
 * Verifies the `Authorization` header ("Authenticating Requests (AWS Signature Version 4)" in the API reference).
 *
 * @param nowMs the server's clock
 * @throws S3Error as S3 answers
 */
export function authenticate(
  request: S3Request,
  server: { readonly credentials: AwsCredentials; readonly region: string; readonly nowMs: number },
): Authenticated {
  const { headers, query } = request;
  if (query.has('X-Amz-Signature')) return authenticateUrl(request, server);
  const header = headers['authorization'];
  if (header === undefined) throw new S3Error(403, 'AccessDenied', 'Access Denied');
  const authorization = parseAuthorization(header);
  if (authorization === null) {
    throw new S3Error(
      400,
      'AuthorizationHeaderMalformed',
      'The authorization header that you provided is not valid.',
    );
  }
  const { credentials, region } = server;
  if (authorization.accessKeyId !== credentials.accessKeyId) {
    throw new S3Error(
      403,
      'InvalidAccessKeyId',
      'The AWS Access Key Id you provided does not exist in our records.',
      { elements: { AWSAccessKeyId: authorization.accessKeyId } },
    );
  }
  if (authorization.region !== region) {
    throw new S3Error(
      400,
      'AuthorizationHeaderMalformed',
      `The authorization header is malformed; the region '${authorization.region}' is wrong; expecting '${region}'`,
      { elements: { Region: region } },
    );
  }
  const time = headers['x-amz-date'] ?? '';
  const signedAt = parseSigningTime(time);
  const isInconsistent =
    authorization.service !== 's3' || Number.isNaN(signedAt) || !time.startsWith(authorization.day);
  const mustBeSigned = ['host', ...Object.keys(headers).filter((name) => name.startsWith('x-amz-'))];
  const unsigned = mustBeSigned.filter((name) => !authorization.signedHeaders.includes(name));
  if (isInconsistent || unsigned.length > 0) {
    throw new S3Error(
      403,
      'AccessDenied',
      'There were headers present in the request which were not signed',
      {
        elements: { HeadersNotSigned: unsigned.join(', ') },
      },
    );
  }
  if (Math.abs(server.nowMs - signedAt) > MAX_SKEW_MS) {
    throw new S3Error(
      403,
      'RequestTimeTooSkewed',
      'The difference between the request time and the current time is too large.',
      {
        elements: {
          RequestTime: time,
          ServerTime: new Date(server.nowMs).toISOString(),
          MaxAllowedSkewMilliseconds: String(MAX_SKEW_MS),
        },
      },
    );
  }
  if ((headers['x-amz-security-token'] ?? '') !== (credentials.sessionToken ?? '')) {
    throw new S3Error(400, 'InvalidToken', 'The provided token is malformed or otherwise invalid.');
  }
  const payloadHash = headers['x-amz-content-sha256'];
  if (payloadHash === undefined) {
    throw new S3Error(
      400,
      'InvalidRequest',
      'Missing required header for this request: x-amz-content-sha256',
    );
  }
  const signer = new Signer(credentials, authorization);
  const { signedHeaders } = authorization;
  const signature = signer.request(request, { signedHeaders, payloadHash, time });
  if (!isSameSignature(signature, authorization.signature)) {
    throw new S3Error(
      403,
      'SignatureDoesNotMatch',
      'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
    );
  }
  return { signer, signature, time, payloadHash };
}

/** "Authenticating Requests: Using Query Parameters" in the API reference. */
function authenticateUrl(
  request: S3Request,
  server: { readonly credentials: AwsCredentials; readonly region: string; readonly nowMs: number },
): Authenticated {
  const given = (name: string): string => request.query.get(`X-Amz-${name}`) ?? '';
  const { credentials, region, nowMs } = server;
  const [accessKeyId, day = '', ...scope] = given('Credential').split('/');
  const time = given('Date');
  const signedAt = parseSigningTime(time);
  const seconds = Number(given('Expires'));
  const signedHeaders = given('SignedHeaders').split(';');
  if (
    given('Algorithm') !== 'AWS4-HMAC-SHA256' ||
    Number.isNaN(signedAt) ||
    !time.startsWith(day) ||
    scope.join('/') !== `${region}/s3/aws4_request` ||
    !signedHeaders.includes('host') ||
    !(Number.isSafeInteger(seconds) && seconds >= 1 && seconds <= 604_800)
  ) {
    const message = 'The authorization query parameters that you provided are not valid.';
    throw new S3Error(400, 'AuthorizationQueryParametersError', message);
  }
  if (accessKeyId !== credentials.accessKeyId) throw new S3Error(403, 'InvalidAccessKeyId', 'Unknown key.');
  if (given('Security-Token') !== (credentials.sessionToken ?? '')) {
    throw new S3Error(400, 'InvalidToken', 'The provided token is malformed or otherwise invalid.');
  }
  const signer = new Signer(credentials, { day, region, service: 's3' });
  const [path = '', rest = ''] = request.url.split(/\?(.*)/s, 2);
  const unsigned = rest.split('&').filter((part) => !part.startsWith('X-Amz-Signature='));
  const payloadHash = 'UNSIGNED-PAYLOAD';
  const url = `${path}?${unsigned.join('&')}`;
  const signature = signer.request({ ...request, url }, { signedHeaders, payloadHash, time });
  if (!isSameSignature(signature, given('Signature'))) {
    throw new S3Error(403, 'SignatureDoesNotMatch', 'The request signature we calculated does not match.');
  }
  if (nowMs > signedAt + seconds * 1000 || nowMs < signedAt - MAX_SKEW_MS) {
    throw new S3Error(403, 'AccessDenied', 'Request has expired');
  }
  return { signer, signature, time, payloadHash };
}

/** A body as it is to be stored, with the headers that came after it. */
export interface Payload {
  readonly bytes: Buffer;
  readonly trailers: Readonly<Record<string, string>>;
}

/**
 * Unpacks and verifies a body according to `x-amz-content-sha256`: signed in one piece, unsigned, or aws-chunked
 * with or without signatures and trailing headers.
 *
 * @param raw the body as it came
 * @throws S3Error as S3 answers
 */
export function decodePayload(request: S3Request, authenticated: Authenticated, raw: Buffer): Payload {
  const { payloadHash } = authenticated;
  if (payloadHash.startsWith('STREAMING-')) return decodeChunks(request, authenticated, raw);
  if (payloadHash !== 'UNSIGNED-PAYLOAD' && payloadHash !== sha256Hex(raw)) {
    throw new S3Error(
      400,
      'XAmzContentSHA256Mismatch',
      "The provided 'x-amz-content-sha256' header does not match what was computed.",
      { elements: { ClientComputedContentSHA256: payloadHash, S3ComputedContentSHA256: sha256Hex(raw) } },
    );
  }
  return { bytes: raw, trailers: {} };
}

const STREAMING = new Set([
  'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
  'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
  'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
]);

function malformed(): S3Error {
  return new S3Error(400, 'IncompleteBody', 'The request body is not a well-formed aws-chunked one.');
}

/** "Transferring Payload in Multiple Chunks" and "Including Trailing Headers" in the API reference. */
function decodeChunks(request: S3Request, authenticated: Authenticated, raw: Buffer): Payload {
  const { signer, time, payloadHash } = authenticated;
  if (!STREAMING.has(payloadHash)) {
    throw new S3Error(501, 'NotImplemented', `x-amz-content-sha256: ${payloadHash} is not implemented.`);
  }
  const isSigned = payloadHash.startsWith('STREAMING-AWS4-HMAC-SHA256-PAYLOAD');
  const parts: Buffer[] = [];
  let previous = authenticated.signature;
  let offset = 0;
  const readLine = (): string => {
    const end = raw.indexOf('\r\n', offset);
    if (end < 0) throw malformed();
    const line = raw.toString('latin1', offset, end);
    offset = end + 2;
    return line;
  };
  const verify = (expected: string, given: string): void => {
    if (!isSameSignature(expected, given)) {
      throw new S3Error(403, 'SignatureDoesNotMatch', 'The signature of a chunk does not match.');
    }
    previous = expected;
  };
  for (let size = -1; size !== 0;) {
    const match = /^([0-9a-f]+)(?:;chunk-signature=([0-9a-f]{64}))?$/i.exec(readLine());
    if (match === null || (match[2] !== undefined) !== isSigned) throw malformed();
    size = Number.parseInt(match[1] ?? '', 16);
    const data = raw.subarray(offset, offset + size);
    if (data.length !== size) throw malformed();
    if (isSigned) verify(signer.chunk(previous, data, time), match[2] ?? '');
    parts.push(data);
    offset += size;
    if (size > 0 && readLine() !== '') throw malformed();
  }
  const trailers: Record<string, string> = {};
  for (let line = readLine(); line !== ''; line = readLine()) {
    const [name = '', value = ''] = line.split(/:(.*)/s, 2);
    trailers[name.trim().toLowerCase()] = value.trim();
    // The signed form has an empty line at the end only after a trailer.
    if (offset === raw.length) break;
  }
  const { 'x-amz-trailer-signature': signature, ...named } = trailers;
  if (isSigned && payloadHash.endsWith('-TRAILER')) {
    const canonical = Object.entries(named).map(([name, value]) => `${name}:${value}\n`);
    verify(signer.trailer(previous, canonical.join(''), time), signature ?? '');
  }
  const announced = (request.headers['x-amz-trailer'] ?? '').split(',').filter((name) => name !== '');
  if (announced.some((name) => named[name.trim().toLowerCase()] === undefined)) throw malformed();
  const bytes = Buffer.concat(parts);
  if (String(bytes.length) !== request.headers['x-amz-decoded-content-length']) {
    throw new S3Error(400, 'IncompleteBody', 'x-amz-decoded-content-length is not the length of the body.');
  }
  return { bytes, trailers: named };
}

/** The checksum that an object is stored with. */
export interface StoredChecksum {
  /** The header, like `x-amz-checksum-crc32`. */
  readonly header: string;
  /** Base64. */
  readonly value: string;
}

function uint32(value: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes.toString('base64');
}

const CHECKSUMS: ReadonlyMap<string, (bytes: Buffer) => string> = new Map([
  ['x-amz-checksum-crc32', (bytes: Buffer) => uint32(crc32(bytes))],
  ['x-amz-checksum-crc32c', (bytes: Buffer) => uint32(crc32c(bytes))],
  ['x-amz-checksum-sha1', (bytes: Buffer) => createHash('sha1').update(bytes).digest('base64')],
  ['x-amz-checksum-sha256', (bytes: Buffer) => createHash('sha256').update(bytes).digest('base64')],
]);

/**
 * Verifies `Content-MD5` and the additional checksum of an upload ("Checking object integrity" in the user guide).
 *
 * @returns the additional checksum, or null if none was given
 * @throws S3Error as S3 answers
 */
export function verifyChecksums(request: S3Request, payload: Payload): StoredChecksum | null {
  const { bytes } = payload;
  const contentMd5 = request.headers['content-md5'];
  if (contentMd5 !== undefined) {
    if (Buffer.from(contentMd5, 'base64').length !== 16) {
      throw new S3Error(400, 'InvalidDigest', 'The Content-MD5 you specified was invalid.');
    }
    if (createHash('md5').update(bytes).digest('base64') !== contentMd5) {
      throw new S3Error(400, 'BadDigest', 'The Content-MD5 you specified did not match what we received.');
    }
  }
  const given = Object.entries({ ...request.headers, ...payload.trailers }).filter(
    ([name]) => name.startsWith('x-amz-checksum-') && name !== 'x-amz-checksum-type',
  );
  if (given.length > 1) {
    throw new S3Error(
      400,
      'InvalidRequest',
      'Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.',
    );
  }
  const [first] = given;
  if (first === undefined) return null;
  const [header, value] = first;
  const compute = CHECKSUMS.get(header);
  if (compute === undefined) throw new S3Error(501, 'NotImplemented', `${header} is not imitated here.`);
  const computed = compute(bytes);
  if (value.length !== computed.length) {
    throw new S3Error(400, 'InvalidRequest', `Value for ${header} header is invalid.`);
  }
  if (value !== computed) {
    const algorithm = header.slice('x-amz-checksum-'.length).toUpperCase();
    throw new S3Error(
      400,
      'BadDigest',
      `The ${algorithm} you specified did not match the calculated checksum.`,
    );
  }
  return { header, value };
}
