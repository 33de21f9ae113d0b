import { Buffer } from 'node:buffer';
import { createHash, randomBytes } from 'node:crypto';
import { S3Error, verifyChecksums } from './s3-requests.ts';
import type { Payload, S3Request, StoredChecksum } from './s3-requests.ts';
import { S3Versions } from './s3-versions.ts';
import type { S3BucketSettings, S3Lock } from './s3-versions.ts';

/** How far the service knows the protocol; Amazon's ways are the default. */
export interface S3Dialect {
  /**
   * Additional checksums (`x-amz-checksum-*`): verified, stored and returned; refused with 400; or ignored, so that
   * neither an upload nor a download is answered with one.
   */
  readonly checksums: 'verified' | 'rejected' | 'ignored';
  /** Conditional puts: honoured; refused with 501; or ignored, so that the object is overwritten. */
  readonly conditionalPuts: 'honoured' | 'rejected' | 'ignored';
  readonly awsChunked: 'accepted' | 'rejected';
  /** The MD5 of the bytes; random, as where KMS encrypts (the answer says so); or random without a word. */
  readonly etags: 'md5' | 'kms' | 'opaque';
  /** Parameters of ListObjectsV2 that are ignored. */
  readonly ignoredInLists: readonly ('start-after' | 'encoding-type')[];
  /** Many objects removed in one request; or only one; or many, of which those that end with a 7 are refused. */
  readonly removals: 'many' | 'single' | 'some';
}

export const AMAZON: S3Dialect = {
  checksums: 'verified',
  conditionalPuts: 'honoured',
  awsChunked: 'accepted',
  etags: 'md5',
  ignoredInLists: [],
  removals: 'many',
};

export interface StoredObject {
  readonly bytes: Buffer;
  /** Without its quotes. */
  readonly etag: string;
  readonly checksum: StoredChecksum | null;
  readonly modifiedAtMs: number;
}

/** An answer before it is sent. */
export interface S3Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

const XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n';
const XML_TYPE = { 'content-type': 'application/xml' };
const NOTHING = Buffer.alloc(0);

/** Text as XML 1.0 can carry it; what it cannot carry becomes a character reference, as Amazon does. */
function escapeXml(text: string): string {
  return (
    text
      .replaceAll('&', '&amp;')
      .replaceAll('<', '&lt;')
      .replaceAll('>', '&gt;')
      .replaceAll('"', '&quot;')
      // oxlint-disable-next-line no-control-regex -- these are the characters in question
      .replaceAll(/[\u0000-\u001F]/g, (char) => `&#x${char.charCodeAt(0).toString(16)};`)
  );
}

function element(name: string, text: string): string {
  return `<${name}>${escapeXml(text)}</${name}>`;
}

/** "REST error responses" in the API reference. */
export function errorAnswer(error: S3Error, resource: string): S3Answer {
  const more = Object.entries(error.elements).map(([name, text]) => element(name, text));
  const body =
    `${XML_HEAD}<Error>${element('Code', error.code)}${element('Message', error.message)}${more.join('')}` +
    `${element('Resource', resource)}${element('RequestId', '656c76696e6727732072')}${element('HostId', 'host')}</Error>`;
  return { status: error.status, headers: { ...XML_TYPE, ...error.headers }, body: Buffer.from(body) };
}

function noSuchKey(key: string): S3Error {
  return new S3Error(404, 'NoSuchKey', 'The specified key does not exist.', { elements: { Key: key } });
}

function notImplemented(header: string): S3Error {
  return new S3Error(
    501,
    'NotImplemented',
    'A header you provided implies functionality that is not implemented',
    { elements: { Header: header } },
  );
}

function xmlAnswer(name: string, inner: string): S3Answer {
  const xml = `${XML_HEAD}<${name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${inner}</${name}>`;
  return { status: 200, headers: XML_TYPE, body: Buffer.from(xml) };
}

function bypassed({ headers }: S3Request): boolean {
  return headers['x-amz-bypass-governance-retention'] === 'true';
}

/** A lock as a request asks for it. @throws S3Error */
function lockOf(mode: string | undefined, until: string | undefined, nowMs: number): S3Lock {
  const untilMs = Date.parse(until ?? '');
  const known = mode === 'GOVERNANCE' || mode === 'COMPLIANCE';
  if (!known || Number.isNaN(untilMs) || untilMs <= nowMs) {
    const message = 'x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied';
    throw new S3Error(400, 'InvalidArgument', message);
  }
  return { mode, untilMs };
}

/** What a request wants to be said of the content. */
function overridden({ query }: S3Request): Record<string, string> {
  const names = ['content-type', 'content-disposition'];
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = query.get(`response-${name}`);
      return value === null ? [] : [[name, value]];
    }),
  );
}

/** The objects of all buckets, and what the requests about them do. */
export class S3Objects {
  readonly #buckets = new Map<string, Map<string, StoredObject>>();
  readonly #versions = new Map<string, S3Versions>();
  readonly #nowMs: () => number;
  readonly #dialect: S3Dialect;
  readonly #region: string;

  constructor(dialect: S3Dialect, region: string, nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#dialect = dialect;
    this.#region = region;
  }

  /** Makes a bucket, or empties it. */
  createBucket(name: string, settings: S3BucketSettings = {}): void {
    const current = new Map<string, StoredObject>();
    this.#buckets.set(name, current);
    this.#versions.set(name, new S3Versions(settings, current, this.#nowMs));
  }

  /** What a bucket has beside its current objects. */
  versions(name: string): S3Versions {
    this.bucket(name);
    const versions = this.#versions.get(name);
    if (versions === undefined) throw new Error(`No bucket ${name}`);
    return versions;
  }

  /** The objects of a bucket by key. @throws S3Error if there is no such bucket */
  bucket(name: string): Map<string, StoredObject> {
    const bucket = this.#buckets.get(name);
    if (bucket !== undefined) return bucket;
    throw new S3Error(404, 'NoSuchBucket', 'The specified bucket does not exist', {
      elements: { BucketName: name },
    });
  }

  /**
   * Does what an authenticated request asks for.
   *
   * @param payload the body; verified when it is called
   * @throws S3Error as S3 answers
   */
  answer(request: S3Request, payload: () => Payload): S3Answer {
    const bucket = this.bucket(request.bucket);
    if (Buffer.byteLength(request.key) > 1024) {
      throw new S3Error(400, 'KeyTooLongError', 'Your key is too long.');
    }
    switch (request.kind) {
      case 'put':
        return this.#put(bucket, request, payload);
      case 'get':
      case 'head':
        return this.#get(bucket, request);
      case 'delete': {
        const { marker } = this.versions(request.bucket).remove(
          request.key,
          request.query.get('versionId'),
          bypassed(request),
        );
        return { status: 204, headers: marker ? { 'x-amz-delete-marker': 'true' } : {}, body: NOTHING };
      }
      case 'delete-many':
        return this.#removeMany(request, payload);
      case 'retention':
        return this.#retention(request, payload);
      case 'versions':
        return this.#listVersions(request);
      case 'settings':
        return this.#settings(request);
      case 'list':
        return this.#list(bucket, request);
      case 'head-bucket':
        return { status: 200, headers: { 'x-amz-bucket-region': this.#region }, body: NOTHING };
      case 'other':
        throw new S3Error(501, 'NotImplemented', `${request.method} ${request.url} is not imitated here.`);
    }
  }

  #put(bucket: Map<string, StoredObject>, request: S3Request, payload: () => Payload): S3Answer {
    const { headers, key } = request;
    const dialect = this.#dialect;
    if (headers['content-length'] === undefined && headers['x-amz-decoded-content-length'] === undefined) {
      throw new S3Error(411, 'MissingContentLength', 'You must provide the Content-Length HTTP header.');
    }
    if (dialect.checksums === 'rejected') this.#refuseChecksumHeaders(request);
    const condition = headers['if-none-match'];
    if (condition !== undefined && (dialect.conditionalPuts === 'rejected' || condition !== '*')) {
      throw notImplemented('If-None-Match');
    }
    const decoded = payload();
    const checksum = verifyChecksums(request, decoded);
    if (condition !== undefined && dialect.conditionalPuts === 'honoured' && bucket.has(key)) {
      throw new S3Error(
        412,
        'PreconditionFailed',
        'At least one of the pre-conditions you specified did not hold',
        { elements: { Condition: 'If-None-Match' } },
      );
    }
    const stored: StoredObject = {
      bytes: decoded.bytes,
      etag:
        dialect.etags === 'md5'
          ? createHash('md5').update(decoded.bytes).digest('hex')
          : randomBytes(16).toString('hex'),
      checksum: dialect.checksums === 'ignored' ? null : checksum,
      modifiedAtMs: Date.now(),
    };
    this.versions(request.bucket).stored(key, stored, this.#lockOfUpload(request));
    return {
      status: 200,
      headers: { etag: `"${stored.etag}"`, ...this.#encryption(), ...checksumHeaders(stored) },
      body: NOTHING,
    };
  }

  /** What an upload wants its object locked with; a locked one needs a checksum. */
  #lockOfUpload(request: S3Request): S3Lock | null {
    const { headers } = request;
    const versions = this.versions(request.bucket);
    const mode = headers['x-amz-object-lock-mode'];
    const until = headers['x-amz-object-lock-retain-until-date'];
    if (mode === undefined && until === undefined && versions.settings.defaultLock === undefined) return null;
    const hasChecksum = Object.keys(headers).some((name) => /^(content-md5$|x-amz-checksum-)/.test(name));
    if (!hasChecksum) {
      const message =
        'Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters';
      throw new S3Error(400, 'InvalidRequest', message);
    }
    if (mode === undefined && until === undefined) return null;
    versions.requireLock('Bucket is missing ObjectLockConfiguration');
    return lockOf(mode, until, this.#nowMs());
  }

  /** "DeleteObjects" in the API reference. */
  #removeMany(request: S3Request, payload: () => Payload): S3Answer {
    const dialect = this.#dialect;
    if (dialect.removals === 'single') throw notImplemented('delete');
    if (dialect.checksums === 'rejected') this.#refuseChecksumHeaders(request);
    const decoded = payload();
    if (verifyChecksums(request, decoded) === null && request.headers['content-md5'] === undefined)
      throw new S3Error(400, 'InvalidRequest', 'Missing required header for this request: Content-MD5');
    const keys = [...decoded.bytes.toString().matchAll(/<Object><Key>([^<]*)<\/Key><\/Object>/g)];
    if (keys.length === 0 || keys.length > 1000)
      throw new S3Error(400, 'MalformedXML', 'The XML you provided was not well-formed.');
    const versions = this.versions(request.bucket);
    const answers = keys.map(([, key = '']) => {
      if (dialect.removals === 'some' && key.endsWith('7')) {
        const what = element('Code', 'AccessDenied') + element('Message', 'Access Denied');
        return `<Error>${element('Key', key)}${what}</Error>`;
      }
      versions.remove(key, null, false);
      return `<Deleted>${element('Key', key)}</Deleted>`;
    });
    return xmlAnswer('DeleteResult', answers.join(''));
  }

  /** "GetObjectRetention" and "PutObjectRetention" in the API reference. */
  #retention(request: S3Request, payload: () => Payload): S3Answer {
    const versions = this.versions(request.bucket);
    if (request.method === 'PUT') {
      const decoded = payload();
      if (verifyChecksums(request, decoded) === null && request.headers['content-md5'] === undefined)
        throw new S3Error(400, 'InvalidRequest', 'Missing required header for this request: Content-MD5');
      const xml = decoded.bytes.toString();
      const text = (name: string): string | undefined => new RegExp(`<${name}>([^<]*)</`).exec(xml)?.[1];
      const lock = lockOf(text('Mode'), text('RetainUntilDate'), this.#nowMs());
      versions.setLock(request.key, lock, bypassed(request));
      return { status: 200, headers: {}, body: NOTHING };
    }
    const { mode, untilMs } = versions.lockOf(request.key);
    const inner = element('Mode', mode) + element('RetainUntilDate', new Date(untilMs).toISOString());
    return xmlAnswer('Retention', inner);
  }

  /** "GetObjectLockConfiguration" and "GetBucketVersioning" in the API reference. */
  #settings({ bucket, method, query, url }: S3Request): S3Answer {
    if (method !== 'GET') throw new S3Error(501, 'NotImplemented', `${method} ${url} is not imitated here.`);
    const { objectLock, versioning, defaultLock } = this.versions(bucket).settings;
    if (query.has('versioning'))
      return xmlAnswer('VersioningConfiguration', versioning ? element('Status', 'Enabled') : '');
    if (!objectLock) {
      const message = 'Object Lock configuration does not exist for this bucket';
      throw new S3Error(404, 'ObjectLockConfigurationNotFoundError', message);
    }
    const rule =
      defaultLock === undefined
        ? ''
        : `<Rule><DefaultRetention>${element('Mode', defaultLock.mode)}${element('Days', String(defaultLock.days))}</DefaultRetention></Rule>`;
    return xmlAnswer('ObjectLockConfiguration', `<ObjectLockEnabled>Enabled</ObjectLockEnabled>${rule}`);
  }

  /** "ListObjectVersions" in the API reference, always in one page. */
  #listVersions({ bucket, query }: S3Request): S3Answer {
    const entries = [...this.versions(bucket).list(query.get('prefix') ?? '')].map(
      ({ key, version: { id, object }, isLatest }) => {
        const name = object === null ? 'DeleteMarker' : 'Version';
        const size = object === null ? '' : element('Size', String(object.bytes.length));
        return `<${name}>${element('Key', key)}${element('VersionId', id)}${element('IsLatest', String(isLatest))}${size}</${name}>`;
      },
    );
    return xmlAnswer('ListVersionsResult', `${element('IsTruncated', 'false')}${entries.join('')}`);
  }

  #get(bucket: Map<string, StoredObject>, request: S3Request): S3Answer {
    const { headers, key } = request;
    if (this.#dialect.checksums === 'rejected') this.#refuseChecksumHeaders(request);
    const object = bucket.get(key);
    if (object === undefined) throw noSuchKey(key);
    const matches = (header: string): boolean =>
      header === '*' || header.split(',').some((tag) => tag.trim().replaceAll('"', '') === object.etag);
    const ifMatch = headers['if-match'];
    if (ifMatch !== undefined && !matches(ifMatch)) {
      throw new S3Error(412, 'PreconditionFailed', 'At least one of the pre-conditions did not hold');
    }
    const ifNoneMatch = headers['if-none-match'];
    const common = {
      etag: `"${object.etag}"`,
      'last-modified': new Date(object.modifiedAtMs).toUTCString(),
    };
    if (ifNoneMatch !== undefined && matches(ifNoneMatch)) {
      return { status: 304, headers: common, body: NOTHING };
    }
    const isWanted = headers['x-amz-checksum-mode']?.toUpperCase() === 'ENABLED';
    const range = parseRange(headers['range'], object.bytes.length);
    const all = {
      ...common,
      'accept-ranges': 'bytes',
      'content-type': 'application/octet-stream',
      ...this.#encryption(),
      ...overridden(request),
    };
    if (range !== null) {
      const last = range.end - 1;
      return {
        status: 206,
        headers: { ...all, 'content-range': `bytes ${range.start}-${last}/${object.bytes.length}` },
        body: object.bytes.subarray(range.start, range.end),
      };
    }
    return {
      status: 200,
      headers: { ...all, ...(isWanted ? checksumHeaders(object) : {}) },
      body: object.bytes,
    };
  }

  /** "ListObjectsV2" in the API reference. */
  #list(bucket: Map<string, StoredObject>, request: S3Request): S3Answer {
    const ignored = new Set<string>(this.#dialect.ignoredInLists);
    const parameter = (name: string): string => (ignored.has(name) ? '' : (request.query.get(name) ?? ''));
    const prefix = parameter('prefix');
    const delimiter = parameter('delimiter');
    const token = parameter('continuation-token');
    const startAfter = parameter('start-after');
    const encoding = parameter('encoding-type');
    if (encoding !== '' && encoding !== 'url') {
      throw new S3Error(400, 'InvalidArgument', 'Invalid Encoding Method specified in Request');
    }
    const asked = parameter('max-keys');
    if (asked !== '' && !/^\d+$/.test(asked)) {
      throw new S3Error(400, 'InvalidArgument', 'Provided max-keys not an integer or within integer range');
    }
    const maxKeys = Math.min(asked === '' ? 1000 : Number(asked), 1000);
    // A token is opaque to clients and takes precedence over start-after.
    const after = token === '' ? startAfter : readToken(token);
    const encode = encoding === 'url' ? urlEncode : (text: string): string => text;

    const entries: { readonly key: string; readonly object: StoredObject | null }[] = [];
    let isTruncated = false;
    for (const key of sortedKeys(bucket)) {
      if (!key.startsWith(prefix) || compareUtf8(key, after) <= 0) continue;
      const cut = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
      const common = cut < 0 ? null : key.slice(0, cut + delimiter.length);
      if (common !== null && (after.startsWith(common) || entries.at(-1)?.key === common)) continue;
      if (entries.length === maxKeys) {
        isTruncated = maxKeys > 0;
        break;
      }
      const object = bucket.get(key) ?? null;
      entries.push(common === null ? { key, object } : { key: common, object: null });
    }
    const next = isTruncated ? writeToken(entries.at(-1)?.key ?? '') : null;
    const optional = (name: string, text: string): string => (text === '' ? '' : element(name, text));
    const xml = [
      `${XML_HEAD}<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`,
      element('Name', request.bucket),
      element('Prefix', encode(prefix)),
      optional('StartAfter', encode(startAfter)),
      optional('ContinuationToken', token),
      next === null ? '' : element('NextContinuationToken', next),
      element('KeyCount', String(entries.length)),
      element('MaxKeys', String(maxKeys)),
      optional('Delimiter', encode(delimiter)),
      optional('EncodingType', encoding),
      element('IsTruncated', String(isTruncated)),
      ...entries.map(({ key, object }) =>
        object === null
          ? `<CommonPrefixes>${element('Prefix', encode(key))}</CommonPrefixes>`
          : `<Contents>${element('Key', encode(key))}` +
            element('LastModified', new Date(object.modifiedAtMs).toISOString()) +
            element('ETag', `"${object.etag}"`) +
            `${element('Size', String(object.bytes.length))}${element('StorageClass', 'STANDARD')}</Contents>`,
      ),
      '</ListBucketResult>',
    ];
    return { status: 200, headers: XML_TYPE, body: Buffer.from(xml.join('')) };
  }

  #encryption(): Record<string, string> {
    return this.#dialect.etags === 'kms' ? { 'x-amz-server-side-encryption': 'aws:kms' } : {};
  }

  /** As Backblaze B2 worded it, for uploads and downloads alike. */
  #refuseChecksumHeaders(request: S3Request): void {
    const refused = Object.keys(request.headers).find((name) => /^x-amz-(sdk-)?checksum-/.test(name));
    if (refused === undefined) return;
    throw new S3Error(400, 'InvalidArgument', `Unsupported header '${refused}' received for this API call.`);
  }
}

function checksumHeaders(object: StoredObject): Record<string, string> {
  if (object.checksum === null) return {};
  return { [object.checksum.header]: object.checksum.value, 'x-amz-checksum-type': 'FULL_OBJECT' };
}

/** A range as RFC 9110 (section 14) has it; null if there is none, or one that is to be ignored. */
function parseRange(
  header: string | undefined,
  size: number,
): { readonly start: number; readonly end: number } | null {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  const [, first = '', last = ''] = match ?? [];
  if (match === null || (first === '' && last === '')) return null;
  const start = first === '' ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === '' || last === '' ? size : Math.min(size, Number(last) + 1);
  if (start >= end) {
    throw new S3Error(416, 'InvalidRange', 'The requested range is not satisfiable', {
      elements: { RangeRequested: header ?? '', ActualObjectSize: String(size) },
    });
  }
  return { start, end };
}

/** S3 lists keys in the binary order of their UTF-8 bytes, which is not that of UTF-16 units. */
function compareUtf8(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}

function sortedKeys(bucket: ReadonlyMap<string, StoredObject>): string[] {
  const keys = [...bucket.keys()];
  return keys.every((key) => /^[\u0020-\u007E]*$/.test(key)) ? keys.toSorted() : keys.toSorted(compareUtf8);
}

/** `encoding-type=url`: every byte but unreserved characters and the slash; a space becomes a plus sign. */
function urlEncode(text: string): string {
  return encodeURIComponent(text)
    .replaceAll('%2F', '/')
    .replaceAll('%20', '+')
    .replaceAll(/[!'()]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

function writeToken(key: string): string {
  return Buffer.from(`1${key}`).toString('base64');
}

function readToken(token: string): string {
  const text = Buffer.from(token, 'base64').toString();
  if (!text.startsWith('1')) {
    throw new S3Error(400, 'InvalidArgument', 'The continuation token provided is incorrect');
  }
  return text.slice(1);
}
