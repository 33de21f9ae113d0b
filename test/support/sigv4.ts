import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

/** A key pair of AWS, long-lived or (with a session token) temporary. */
export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** The parts of a request that Signature Version 4 covers. */
export interface SignedRequest {
  readonly method: string;
  /** Path and query as they are on the wire. */
  readonly url: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What an `Authorization` header of Signature Version 4 says. */
export interface Authorization {
  readonly accessKeyId: string;
  /** `yyyymmdd` */
  readonly day: string;
  readonly region: string;
  readonly service: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
}

export function sha256Hex(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function hmac(key: string | Uint8Array, data: string): Buffer {
  return createHmac('sha256', key).update(data).digest();
}

/** Parses the header; null if it is none of Signature Version 4. */
export function parseAuthorization(header: string): Authorization | null {
  const match =
    /^AWS4-HMAC-SHA256\s+Credential=([^/,\s]+)\/(\d{8})\/([^/,\s]+)\/([^/,\s]+)\/aws4_request,\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})$/.exec(
      header,
    );
  if (match === null) return null;
  const [, accessKeyId = '', day = '', region = '', service = '', signed = '', signature = ''] = match;
  return { accessKeyId, day, region, service, signedHeaders: signed.split(';'), signature };
}

/** `UriEncode` of the specification: everything but the unreserved characters of RFC 3986. */
function uriEncode(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** Byte order of what was encoded, which is ASCII. */
function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

function canonicalRequest(
  request: SignedRequest,
  signedHeaders: readonly string[],
  payloadHash: string,
): string {
  const [path = '', query = ''] = request.url.split(/\?(.*)/s, 2);
  const parameters = query
    .split('&')
    .filter((part) => part !== '')
    .map((part) => {
      const [key = '', value = ''] = part.split(/=(.*)/s, 2);
      return [uriEncode(decodeURIComponent(key)), uriEncode(decodeURIComponent(value))] as const;
    })
    .toSorted(([key, value], [otherKey, otherValue]) => compare(key, otherKey) || compare(value, otherValue));
  return [
    request.method,
    // S3 encodes each segment once, unlike other services.
    path
      .split('/')
      .map((segment) => uriEncode(decodeURIComponent(segment)))
      .join('/'),
    parameters.map(([key, value]) => `${key}=${value}`).join('&'),
    ...signedHeaders.map((name) => `${name}:${(request.headers[name] ?? '').trim().replaceAll(/ +/g, ' ')}`),
    '',
    signedHeaders.join(';'),
    payloadHash,
  ].join('\n');
}

/** The key that signs for one day, region and service, and what it signs. */
export class Signer {
  readonly #key: Buffer;
  readonly #scope: string;

  constructor(
    credentials: AwsCredentials,
    scope: { readonly day: string; readonly region: string; readonly service: string },
  ) {
    const dayKey = hmac(`AWS4${credentials.secretAccessKey}`, scope.day);
    this.#key = hmac(hmac(hmac(dayKey, scope.region), scope.service), 'aws4_request');
    this.#scope = `${scope.day}/${scope.region}/${scope.service}/aws4_request`;
  }

  /** The signature of a request, in hex; the seed of its chunks' signatures. */
  request(
    request: SignedRequest,
    options: {
      readonly signedHeaders: readonly string[];
      readonly payloadHash: string;
      readonly time: string;
    },
  ): string {
    const hash = sha256Hex(canonicalRequest(request, options.signedHeaders, options.payloadHash));
    return this.#sign(['AWS4-HMAC-SHA256', options.time, this.#scope, hash]);
  }

  /** The signature of a chunk of an aws-chunked body, which includes that of the chunk before. */
  chunk(previous: string, data: Uint8Array, time: string): string {
    return this.#sign([
      'AWS4-HMAC-SHA256-PAYLOAD',
      time,
      this.#scope,
      previous,
      sha256Hex(''),
      sha256Hex(data),
    ]);
  }

  /** The signature of the trailing headers of an aws-chunked body, each as `name:value\n`. */
  trailer(previous: string, trailers: string, time: string): string {
    return this.#sign(['AWS4-HMAC-SHA256-TRAILER', time, this.#scope, previous, sha256Hex(trailers)]);
  }

  #sign(lines: readonly string[]): string {
    return hmac(this.#key, lines.join('\n')).toString('hex');
  }
}

/** Whether two signatures in hex are the same. */
export function isSameSignature(one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));
}

/** An instant as Signature Version 4 writes it (ISO 8601, basic format), in milliseconds since 1970; NaN if it is none. */
export function parseSigningTime(time: string): number {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(time);
  if (match === null) return Number.NaN;
  const [, year, month, day, hour, minute, second] = match;
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}
