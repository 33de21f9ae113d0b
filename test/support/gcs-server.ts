import { Buffer } from 'node:buffer';
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { crc32c } from '@node-rs/crc32';
import { whyUnsigned } from './service-account.ts';

// The object methods of Google Cloud Storage's JSON API as Google documents them, over one HTTP server:
// https://cloud.google.com/storage/docs/json_api/v1/objects and the pages beside it on uploading, preconditions,
// hashes, partial responses, transcoding and errors. It checks what the service checks, and fails when told to.

/** What a request asks for. `bucket` is anything about a bucket itself, which no account here may do. */
export type RequestKind =
  | 'upload'
  | 'metadata'
  | 'patch'
  | 'restore'
  | 'download'
  | 'delete'
  | 'batch'
  | 'list'
  | 'bucket'
  | 'token'
  | 'signed'
  | 'other';

/** A way to fail. */
export type Fault =
  /** An error answer. `early`: given before the body of the request has been read. */
  | {
      readonly fault: 'status';
      readonly status: number;
      readonly reason?: string;
      readonly message?: string;
      readonly retryAfter?: string;
      readonly early?: boolean;
    }
  /** No answer, ever. */
  | { readonly fault: 'stall' }
  /** The connection is reset, before the request is acted upon or after that but before the answer. */
  | { readonly fault: 'reset-before' | 'reset-after' }
  /** Of a download's body only so many bytes come; then the connection closes, or nothing happens any more. */
  | { readonly fault: 'cut-body' | 'stall-body'; readonly afterBytes: number }
  /** A download's body has one wrong bit. */
  | { readonly fault: 'wrong-bytes' }
  /** Somebody on the way answers for it: 200, a page for people or what is given instead; nothing is done. */
  | { readonly fault: 'page'; readonly body?: string; readonly type?: string }
  /** A wrong CRC-32C is told, or none, of what was stored or is downloaded. */
  | { readonly fault: 'wrong-checksum' | 'no-checksum' };

/** A request as it came in. */
export interface ReceivedRequest {
  readonly kind: RequestKind;
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly bucket: string;
  /** The object's name; '' if the request is not about one. */
  readonly object: string;
}

/** An object as the server keeps it. */
export interface GcsObject {
  readonly bytes: Buffer;
  readonly generation: number;
  readonly contentType: string;
  readonly contentEncoding: string | null;
  /** As the upload asked for; null if it did not. */
  readonly storageClass: string | null;
  readonly timeCreated: string;
  /** Its own lock; null for none. */
  readonly retention: GcsLock | null;
}

export interface GcsLock {
  readonly mode: 'Unlocked' | 'Locked';
  readonly retainUntilTime: string;
}

/** What all buckets of a server have. */
export interface GcsBucketSettings {
  /** Whether objects can be locked. */
  readonly objectRetention?: boolean;
  /** Seconds for which every object is kept. */
  readonly retentionPeriod?: number;
  readonly versioning?: boolean;
  /** Seconds for which removed objects can be restored. */
  readonly softDelete?: number;
}

export interface GcsServer extends AsyncDisposable {
  /** The endpoint: `http://127.0.0.1:<port>`. */
  readonly url: string;
  /** Every request so far, in the order of arrival. */
  readonly requests: readonly ReceivedRequest[];
  /** The scope that each token was asked for with, in order. */
  readonly scopes: readonly string[];
  /** How many requests lost their connection before they were answered in full. */
  readonly abandoned: number;
  /** How far the server's clock is ahead; may be set. */
  clockOffsetMs: number;
  /** How many connections are open. */
  connections(): Promise<number>;
  /** How many requests of a kind came in; of all kinds if none is given. */
  count(kind?: RequestKind): number;
  /** The objects of a bucket, by name. */
  objects(bucket: string): ReadonlyMap<string, GcsObject>;
  /** Puts an object in its place without a request. */
  place(
    bucket: string,
    name: string,
    bytes: Uint8Array,
    options?: { readonly contentEncoding?: string },
  ): void;
  /** Lets the next `times` (default 1) requests that match fail. */
  fail(
    match: RequestKind | ((request: ReceivedRequest) => boolean),
    fault: Fault,
    options?: { readonly times?: number },
  ): void;
  /** Forgets all faults that have not happened. */
  heal(): void;
  close(): Promise<void>;
}

export interface GcsServerOptions {
  /** Buckets that exist at the start; `bucket` if not given. */
  readonly buckets?: readonly string[];
  /** The access token that every request must bear; null: everybody may do everything. */
  readonly token?: string | null;
  /** What the bearer of the token may do; all that can be done to objects if not given. */
  readonly permissions?: readonly string[];
  /** Whether a request may use a permission on a resource, besides. */
  readonly may?: (permission: string, resource: string, request: ReceivedRequest) => boolean;
  /** Added to every answer, in milliseconds. */
  readonly delayMs?: number;
  /** Most entries of one page of a listing; the service's 1,000 if not given. */
  readonly pageSize?: number;
  readonly settings?: GcsBucketSettings;
}

const OCTETS = 'application/octet-stream';
// Of no object that a test would store.
const WRONG_CHECKSUM = 'AAAAAQ==';
const OBJECT_PERMISSIONS = ['create', 'delete', 'get', 'list', 'update', 'restore', 'setRetention'].map(
  (verb) => `storage.objects.${verb}`,
);

/** Starts a server on the loopback interface. */
export async function startGcsServer(options: GcsServerOptions = {}): Promise<GcsServer> {
  const {
    token = null,
    permissions = [...OBJECT_PERMISSIONS, ...(options.settings === undefined ? [] : ['storage.buckets.get'])],
    may = (): boolean => true,
    delayMs = 0,
    pageSize = 1_000,
    settings = {},
  } = options;
  const buckets = new Map<string, Map<string, GcsObject>>(
    (options.buckets ?? ['bucket']).map((name) => [name, new Map<string, GcsObject>()]),
  );
  /** Noncurrent and soft-deleted objects, by bucket. */
  const away = new Map<string, { readonly name: string; readonly object: GcsObject }[]>();
  const uploads = new Map<
    string,
    {
      readonly bucket: string;
      readonly query: URLSearchParams;
      resource: Json;
      parts: Buffer[];
      length: number;
    }
  >();
  const requests: ReceivedRequest[] = [];
  const faults: {
    readonly matches: (request: ReceivedRequest) => boolean;
    readonly fault: Fault;
    left: number;
  }[] = [];
  const scopes: string[] = [];
  const clock = { clockOffsetMs: 0 };
  let abandoned = 0;
  let lastGeneration = 1_700_000_000_000_000;

  const bucketOf = (name: string): Map<string, GcsObject> => {
    const objects = buckets.get(name);
    if (objects === undefined) throw new ApiError(404, 'notFound', 'The specified bucket does not exist.');
    return objects;
  };

  const objectOf = (request: ReceivedRequest): GcsObject => {
    const { bucket, object: name } = request;
    const object = bucketOf(bucket).get(name);
    if (object !== undefined) return object;
    // Who may not list cannot tell an absent object from a forbidden one.
    demand('storage.objects.list', request);
    throw new ApiError(404, 'notFound', `No such object: ${bucket}/${name}`);
  };

  const demand = (permission: string, request: ReceivedRequest, name = request.object): void => {
    const place = `projects/_/buckets/${request.bucket}`;
    const resource = permission === 'storage.objects.list' ? place : `${place}/objects/${name}`;
    if (permissions.includes(permission) && may(permission, resource, request)) return;
    throw new ApiError(
      403,
      'forbidden',
      `tester@example.iam.gserviceaccount.com does not have ${permission} access to the Google Cloud Storage ` +
        `object. Permission '${permission}' denied on resource (or it may not exist).`,
    );
  };

  const identify = (request: ReceivedRequest): void => {
    const { authorization } = request.headers;
    if (token === null || authorization === `Bearer ${token}`) return;
    throw authorization === undefined
      ? new ApiError(401, 'required', 'Anonymous caller does not have storage.objects access to the object.')
      : new ApiError(401, 'authError', 'Invalid Credentials');
  };

  const newObject = (
    bytes: Buffer,
    {
      contentType,
      contentEncoding,
      storageClass = null,
      retention = null,
    }: Pick<GcsObject, 'contentType' | 'contentEncoding'> &
      Partial<Pick<GcsObject, 'storageClass' | 'retention'>>,
  ): GcsObject => {
    lastGeneration += 1;
    const timeCreated = new Date(now()).toISOString();
    const generation = lastGeneration;
    return { bytes, generation, contentType, contentEncoding, storageClass, timeCreated, retention };
  };

  const now = (): number => Date.now() + clock.clockOffsetMs;

  /** Until when an object cannot be removed for good. */
  const keptUntilMs = ({ timeCreated, retention }: GcsObject): number => {
    const { retentionPeriod } = settings;
    const byPolicy = retentionPeriod === undefined ? 0 : Date.parse(timeCreated) + retentionPeriod * 1000;
    return Math.max(byPolicy, Date.parse(retention?.retainUntilTime ?? '') || 0);
  };

  /** Takes an object out of the way: as an older version, softly, or for good, unless something keeps it. */
  const takeAway = (bucket: string, name: string, object: GcsObject): void => {
    const untilMs = keptUntilMs(object);
    if (settings.versioning !== true && untilMs > now()) {
      throw new ApiError(
        403,
        'retentionPolicyNotMet',
        `Object '${bucket}/${name}' is subject to bucket's retention policy or object retention and cannot be deleted or overwritten until ${new Date(untilMs).toISOString()}`,
      );
    }
    if (settings.versioning === true || settings.softDelete !== undefined)
      away.set(bucket, [...(away.get(bucket) ?? []), { name, object }]);
    bucketOf(bucket).delete(name);
  };

  const lockIn = (request: ReceivedRequest, resource: Json, before: GcsLock | null): GcsLock | null => {
    const { retention = null } = resource;
    if (retention === null) return before;
    demand('storage.objects.setRetention', request);
    if (settings.objectRetention !== true)
      throw new ApiError(400, 'invalid', 'The bucket does not have object retention enabled.');
    if (!isJson(retention)) throw new ApiError(400, 'invalid', 'Invalid retention.');
    const { mode, retainUntilTime } = retention;
    const untilMs = Date.parse(String(retainUntilTime));
    if ((mode !== 'Unlocked' && mode !== 'Locked') || !(untilMs > now()))
      throw new ApiError(400, 'invalid', 'Invalid retention.');
    const isLess = before !== null && (untilMs < Date.parse(before.retainUntilTime) || mode !== before.mode);
    // overrideUnlockedRetention takes a permission that nobody has here.
    if (isLess) throw new ApiError(403, 'forbidden', 'The retention cannot be reduced or changed.');
    return { mode, retainUntilTime: new Date(untilMs).toISOString() };
  };

  const store = (
    request: ReceivedRequest,
    query: URLSearchParams,
    resource: Json,
    bytes: Buffer,
    given: string,
  ): Json => {
    const { bucket } = request;
    const objects = bucketOf(bucket);
    const name = query.get('name') ?? textOf(resource['name']);
    if (name === null) throw new ApiError(400, 'required', 'Required');
    if (Buffer.byteLength(name) > 1_024 || name === '' || /[\r\n]/.test(name)) {
      throw new ApiError(400, 'invalid', `The specified object name "${name}" is not valid.`);
    }
    demand('storage.objects.create', request, name);
    const before = objects.get(name);
    checkPreconditions(query, before);
    if (before !== undefined) {
      demand('storage.objects.delete', request, name);
      takeAway(bucket, name, before);
    }
    const retention = lockIn(request, resource, null);
    checkHashes(resource, given, bytes);
    const object = newObject(bytes, {
      contentType: textOf(resource['contentType']) ?? OCTETS,
      contentEncoding: textOf(resource['contentEncoding']) ?? query.get('contentEncoding'),
      storageClass: textOf(resource['storageClass']),
      retention,
    });
    objects.set(name, object);
    return resourceOf(bucket, name, object);
  };

  async function upload(request: ReceivedRequest, incoming: IncomingMessage): Promise<Answer> {
    const body = await bodyOf(incoming);
    const query = request.url.searchParams;
    const given = textOf(request.headers['x-goog-hash']) ?? '';
    const contentType = textOf(request.headers['content-type']) ?? OCTETS;
    const kind = query.get('uploadType');
    if (kind === 'media') {
      return json(store(request, query, { contentType }, body, given));
    }
    if (kind === 'multipart') {
      const { resource, media, mediaType } = relatedParts(body, contentType);
      return json(store(request, query, { contentType: mediaType, ...resource }, media, given));
    }
    if (kind !== 'resumable') throw new ApiError(400, 'badRequest', 'Unknown uploadType.');
    // Go's client also sends the parts of an upload by POST.
    if (request.method === 'POST' && !query.has('upload_id')) {
      bucketOf(request.bucket);
      demand('storage.objects.create', request, query.get('name') ?? '');
      const id = randomUUID();
      const resource = body.length === 0 ? {} : parseJson(body.toString('utf8'));
      uploads.set(id, { bucket: request.bucket, query, resource, parts: [], length: 0 });
      const location = new URL(request.url);
      location.searchParams.set('upload_id', id);
      return { status: 200, headers: { location: location.href }, body: Buffer.alloc(0) };
    }
    const id = query.get('upload_id') ?? '';
    const session = uploads.get(id);
    if (session === undefined) throw new ApiError(404, 'notFound', 'No such upload.');
    if (request.method === 'DELETE') {
      uploads.delete(id);
      return { status: 499, headers: {}, body: Buffer.alloc(0) };
    }
    const range = /^bytes (?:(\d+)-(\d+)|\*)\/(\d+|\*)$/.exec(textOf(request.headers['content-range']) ?? '');
    if (range !== null && range[1] !== undefined && Number(range[1]) !== session.length) {
      throw new ApiError(400, 'badRequest', 'Invalid request. The range does not follow what was uploaded.');
    }
    session.parts.push(body);
    session.length += body.length;
    const total = range === null ? session.length : Number(range[3]);
    if (session.length !== total) {
      const kept = session.length === 0 ? {} : { range: `bytes=0-${session.length - 1}` };
      // Go's client asks for it so, since its own library takes 308 for a redirection.
      if (request.headers['x-guploader-no-308'] === undefined)
        return { status: 308, headers: kept, body: Buffer.alloc(0) };
      const headers = { ...kept, 'x-http-status-code-override': '308' };
      return { status: 200, headers, body: Buffer.alloc(0) };
    }
    const bytes = Buffer.concat(session.parts);
    const stored = json(store(request, session.query, session.resource, bytes, given));
    uploads.delete(id);
    return stored;
  }

  function download(request: ReceivedRequest): Answer {
    const object = objectOf(request);
    demand('storage.objects.get', request);
    checkPreconditions(request.url.searchParams, object, { reading: true });
    const { bytes } = object;
    const headers: Record<string, string> = {
      'content-type': object.contentType,
      etag: `"${etagOf(object)}"`,
      'accept-ranges': 'bytes',
      'last-modified': new Date(object.timeCreated).toUTCString(),
      'x-goog-generation': String(object.generation),
      'x-goog-metageneration': '1',
      'x-goog-hash': `crc32c=${crc32cOf(bytes)},md5=${md5Of(bytes)}`,
      'x-goog-storage-class': 'STANDARD',
      'x-goog-stored-content-encoding': object.contentEncoding ?? 'identity',
      'x-goog-stored-content-length': String(bytes.length),
    };
    if (object.contentEncoding === 'gzip') {
      // Decompressive transcoding; the hashes stay those of the stored bytes.
      if (!/\bgzip\b/.test(textOf(request.headers['accept-encoding']) ?? '')) {
        return {
          status: 200,
          headers: { ...headers, warning: '214 UploadServer gunzipped', 'transfer-encoding': 'chunked' },
          body: gunzipSync(bytes),
        };
      }
      headers['content-encoding'] = 'gzip';
    }
    const range = /^bytes=(\d*)-(\d*)$/.exec(textOf(request.headers['range']) ?? '');
    if (range === null || (range[1] === '' && range[2] === '')) return { status: 200, headers, body: bytes };
    const last = bytes.length - 1;
    const start = range[1] === '' ? Math.max(0, bytes.length - Number(range[2])) : Number(range[1]);
    const end = range[1] === '' || range[2] === '' ? last : Math.min(last, Number(range[2]));
    if (start > last || end < start) {
      throw new ApiError(416, 'requestedRangeNotSatisfiable', 'Request range not satisfiable', {
        'content-range': `bytes */${bytes.length}`,
      });
    }
    return {
      status: 206,
      headers: { ...headers, 'content-range': `bytes ${start}-${end}/${bytes.length}` },
      body: bytes.subarray(start, end + 1),
    };
  }

  function list(request: ReceivedRequest): Answer {
    const objects = bucketOf(request.bucket);
    demand('storage.objects.list', request);
    const query = request.url.searchParams;
    const prefix = query.get('prefix') ?? '';
    const delimiter = query.get('delimiter') ?? '';
    const startOffset = Buffer.from(query.get('startOffset') ?? '');
    const endOffset = query.get('endOffset');
    const wanted = Number(query.get('maxResults') ?? pageSize);
    if (!Number.isSafeInteger(wanted) || wanted < 1) {
      throw new ApiError(400, 'invalid', `Invalid value for maxResults: ${query.get('maxResults')}`);
    }
    const limit = Math.min(wanted, pageSize);
    const pageToken = query.get('pageToken');
    const after = pageToken === null ? null : Buffer.from(pageToken, 'base64url');

    const items: Json[] = [];
    const prefixes = new Set<string>();
    let last: string | null = null;
    let more = false;
    const isAway = query.get('softDeleted') === 'true' || query.get('versions') === 'true';
    if (isAway) {
      const entries = (away.get(request.bucket) ?? []).filter(({ name }) => name.startsWith(prefix));
      return json({
        kind: 'storage#objects',
        items: entries.map(({ name, object }) => resourceOf(request.bucket, name, object)),
      });
    }
    const sorted = [...objects.keys()]
      .filter((name) => name.startsWith(prefix))
      .map((name) => ({ name, bytes: Buffer.from(name) }))
      .toSorted((one, other) => one.bytes.compare(other.bytes));
    for (const { name, bytes } of sorted) {
      if (bytes.compare(startOffset) < 0 || (after !== null && bytes.compare(after) <= 0)) continue;
      if (endOffset !== null && bytes.compare(Buffer.from(endOffset)) >= 0) continue;
      const cut = delimiter === '' ? -1 : name.indexOf(delimiter, prefix.length);
      const folder = cut === -1 ? null : name.slice(0, cut + delimiter.length);
      if (folder === null || !prefixes.has(folder)) {
        if (items.length + prefixes.size === limit) {
          more = true;
          break;
        }
        if (folder !== null) prefixes.add(folder);
      }
      const object = objects.get(name);
      if (folder === null && object !== undefined) {
        const untilMs = keptUntilMs({ ...object, retention: null });
        const policy = untilMs === 0 ? {} : { retentionExpirationTime: new Date(untilMs).toISOString() };
        items.push(Object.assign(resourceOf(request.bucket, name, object), policy));
      }
      last = name;
    }
    return json({
      kind: 'storage#objects',
      ...(more && last !== null ? { nextPageToken: Buffer.from(last).toString('base64url') } : {}),
      ...(prefixes.size === 0 ? {} : { prefixes: [...prefixes] }),
      ...(items.length === 0 ? {} : { items }),
    });
  }

  async function answerTo(request: ReceivedRequest, incoming: IncomingMessage): Promise<Answer> {
    if (request.kind === 'token') {
      // The token exchange of workload identity (RFC 8693).
      scopes.push(new URLSearchParams((await bodyOf(incoming)).toString()).get('scope') ?? '');
      return json({
        access_token: token ?? 'anything',
        issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        token_type: 'Bearer',
        expires_in: 3_600,
      });
    }
    const query = request.url.searchParams;
    if (request.kind === 'signed') {
      const refusal = whyUnsigned(request.method, request.url, Date.now() + clock.clockOffsetMs);
      if (refusal !== null) throw new ApiError(refusal === 'InvalidArgument' ? 400 : 403, refusal, refusal);
    } else identify(request);
    switch (request.kind) {
      case 'upload':
        return await upload(request, incoming);
      case 'signed': {
        const answer = download(request);
        const asked = (name: string): string => query.get(`response-content-${name}`) ?? '';
        const headers = { 'content-type': asked('type'), 'content-disposition': asked('disposition') };
        const given = Object.entries(headers).filter(([, value]) => value !== '');
        return { ...answer, headers: { ...answer.headers, ...Object.fromEntries(given) } };
      }
      case 'download':
        return download(request);
      case 'metadata': {
        const object = objectOf(request);
        demand('storage.objects.get', request);
        checkPreconditions(query, object, { reading: true });
        const { origin, pathname } = request.url;
        const mediaLink = `${origin}/download${pathname}?generation=${object.generation}&alt=media`;
        const untilMs = keptUntilMs({ ...object, retention: null });
        const policy = untilMs === 0 ? {} : { retentionExpirationTime: new Date(untilMs).toISOString() };
        return json(Object.assign(resourceOf(request.bucket, request.object, object), { mediaLink }, policy));
      }
      case 'delete': {
        const object = objectOf(request);
        demand('storage.objects.delete', request);
        checkPreconditions(query, object);
        takeAway(request.bucket, request.object, object);
        return { status: 204, headers: {}, body: Buffer.alloc(0) };
      }
      case 'batch': {
        const [, boundary = ''] = /boundary=(\S+)$/.exec(textOf(request.headers['content-type']) ?? '') ?? [];
        const parts = (await bodyOf(incoming)).toString().split(`--${boundary}`).slice(1, -1);
        if (parts.length === 0 || parts.length > 100) throw new ApiError(400, 'invalid', 'No batch.');
        const answers: string[] = [];
        for (const part of parts) answers.push(await answerInBatch(request, part, incoming));
        const body = Buffer.from(`${answers.map((one) => `--answers\r\n${one}`).join('')}--answers--\r\n`);
        return { status: 200, headers: { 'content-type': 'multipart/mixed; boundary=answers' }, body };
      }
      case 'list':
        return list(request);
      case 'bucket':
        demand('storage.buckets.get', request);
        bucketOf(request.bucket);
        return json(bucketResource(settings));
      case 'patch': {
        const object = objectOf(request);
        demand('storage.objects.update', request);
        const resource = parseJson((await bodyOf(incoming)).toString('utf8'));
        const patched = { ...object, retention: lockIn(request, resource, object.retention) };
        bucketOf(request.bucket).set(request.object, patched);
        return json(resourceOf(request.bucket, request.object, patched));
      }
      case 'restore': {
        demand('storage.objects.restore', request);
        demand('storage.objects.create', request);
        const kept = away.get(request.bucket) ?? [];
        const found = kept.find(
          ({ name, object }) =>
            name === request.object && String(object.generation) === query.get('generation'),
        );
        if (found === undefined || settings.softDelete === undefined)
          throw new ApiError(404, 'notFound', `No such object: ${request.bucket}/${request.object}`);
        const { bytes, ...facts } = found.object;
        const restored = newObject(bytes, facts);
        bucketOf(request.bucket).set(request.object, restored);
        return json(resourceOf(request.bucket, request.object, restored));
      }
      case 'other':
        throw new ApiError(404, 'notFound', 'Not Found');
    }
  }

  /** "Sending batch requests": each is answered on its own, with the credentials of all. */
  async function answerInBatch(
    { headers }: ReceivedRequest,
    part: string,
    incoming: IncomingMessage,
  ): Promise<string> {
    const [, id = ''] = /^content-id: <(.*)>/im.exec(part) ?? [];
    const [, method = '', url = ''] = /^([A-Z]+) (\S+) HTTP\/1\.1\r\n/m.exec(part) ?? [];
    const inner = received({ method, url, headers });
    const planned = faults.find((entry) => entry.left > 0 && entry.matches(inner));
    if (planned !== undefined) planned.left -= 1;
    let answer: Answer;
    try {
      if (inner.kind !== 'delete') throw new ApiError(400, 'invalid', 'Only removals are imitated here.');
      if (planned?.fault.fault === 'status') throw new ApiError(planned.fault.status, 'told', 'As told.');
      answer = await answerTo(inner, incoming);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      answer = error.answer(inner);
    }
    const text = answer.json === undefined ? '' : JSON.stringify(answer.json);
    return `Content-Type: application/http\r\nContent-ID: <response-${id}>\r\n\r\nHTTP/1.1 ${answer.status} Said\r\nContent-Length: ${text.length}\r\n\r\n${text}\r\n`;
  }

  async function handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const request = received(incoming);
    requests.push(request);
    outgoing.on('close', () => {
      if (!outgoing.writableFinished) abandoned += 1;
    });
    const planned = faults.find((entry) => entry.left > 0 && entry.matches(request));
    if (planned !== undefined) planned.left -= 1;
    const fault = planned?.fault ?? null;

    if (fault?.fault === 'reset-before') {
      incoming.socket.resetAndDestroy();
      return;
    }
    if (fault?.fault === 'stall') {
      incoming.resume();
      return;
    }
    if (fault?.fault === 'page') {
      await bodyOf(incoming);
      outgoing.writeHead(200, { 'content-type': fault.type ?? 'text/html' });
      outgoing.end(fault.body ?? '<html>Blocked</html>');
      return;
    }
    let answer: Answer;
    try {
      if (fault?.fault === 'status') {
        if (fault.early !== true) await bodyOf(incoming);
        const { status, reason = 'backendError', message = `Failing with ${fault.status}, as told.` } = fault;
        const headers = fault.retryAfter === undefined ? {} : { 'retry-after': fault.retryAfter };
        throw new ApiError(status, reason, message, headers);
      }
      answer = await answerTo(request, incoming);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      answer = error.answer(request);
    }
    if (delayMs > 0) await delay(delayMs);
    if (fault?.fault === 'reset-after') {
      incoming.socket.resetAndDestroy();
      return;
    }
    if (answer.json !== undefined) {
      const fields = request.url.searchParams.get('fields');
      const shown =
        fields === null || answer.status >= 300 ? { ...answer.json } : partial(answer.json, fields);
      if (fault?.fault === 'wrong-checksum') shown['crc32c'] = WRONG_CHECKSUM;
      if (fault?.fault === 'no-checksum') delete shown['crc32c'];
      answer.body = Buffer.from(JSON.stringify(shown));
    } else if (fault?.fault === 'wrong-checksum') {
      answer.headers['x-goog-hash'] = `crc32c=${WRONG_CHECKSUM}`;
    } else if (fault?.fault === 'no-checksum') {
      delete answer.headers['x-goog-hash'];
    }
    if (fault?.fault === 'wrong-bytes') {
      answer.body = Buffer.from(answer.body);
      answer.body[answer.body.length >> 1] = (answer.body[answer.body.length >> 1] ?? 0) ^ 1;
    }
    if (answer.headers['transfer-encoding'] === undefined && answer.status !== 204) {
      answer.headers['content-length'] = String(answer.body.length);
    }
    outgoing.writeHead(answer.status, { 'x-guploader-uploadid': randomUUID(), ...answer.headers });
    if (fault?.fault === 'cut-body' || fault?.fault === 'stall-body') {
      outgoing.write(answer.body.subarray(0, fault.afterBytes), () => {
        if (fault.fault === 'cut-body') incoming.socket.destroy();
      });
      return;
    }
    outgoing.end(answer.body);
  }

  const server = createServer((incoming, outgoing) => {
    handle(incoming, outgoing).catch((error: unknown) => {
      // A connection that was lost while its request was read is the client's doing.
      if (!incoming.errored) throw error;
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;

  const close = async (): Promise<void> => {
    if (!server.listening) return;
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  };
  return {
    url,
    requests,
    scopes,
    get clockOffsetMs() {
      return clock.clockOffsetMs;
    },
    set clockOffsetMs(ms) {
      clock.clockOffsetMs = ms;
    },
    get abandoned() {
      return abandoned;
    },
    connections: async () =>
      await new Promise((resolve, reject) => {
        server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
      }),
    count: (kind) => requests.filter((request) => kind === undefined || request.kind === kind).length,
    objects: bucketOf,
    place(bucket, name, bytes, { contentEncoding = null } = {}) {
      bucketOf(bucket).set(name, newObject(Buffer.from(bytes), { contentType: OCTETS, contentEncoding }));
    },
    fail(match, fault, { times = 1 } = {}) {
      const matches =
        typeof match === 'string' ? (request: ReceivedRequest) => request.kind === match : match;
      faults.push({ matches, fault, left: times });
    },
    heal() {
      faults.length = 0;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

type Json = Record<string, unknown>;

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  body: Buffer;
  /** What the body is made from, where it is JSON. */
  readonly json?: Json;
}

function json(value: Json): Answer {
  return {
    status: 200,
    headers: { 'content-type': 'application/json; charset=UTF-8' },
    body: Buffer.alloc(0),
    json: value,
  };
}

class ApiError extends Error {
  readonly status: number;
  readonly reason: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, reason: string, message: string, headers: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.headers = headers;
  }

  /** Downloads are refused in plain words, everything else in JSON. */
  answer(request: ReceivedRequest): Answer {
    const headers: Record<string, string> = { ...this.headers };
    if (this.status === 401) headers['www-authenticate'] = 'Bearer realm="https://accounts.google.com/"';
    if (this.status === 304) return { status: 304, headers, body: Buffer.alloc(0) };
    if (request.kind === 'download' || request.kind === 'signed') {
      return {
        status: this.status,
        headers: { ...headers, 'content-type': 'text/html; charset=UTF-8' },
        body: Buffer.from(this.message),
      };
    }
    const { reason, message } = this;
    const answer = json({
      error: { code: this.status, message, errors: [{ message, domain: 'global', reason }] },
    });
    return { ...answer, status: this.status, headers: { ...answer.headers, ...headers } };
  }
}

function received({
  method = 'GET',
  headers,
  ...incoming
}: Pick<IncomingMessage, 'method' | 'headers' | 'url'>): ReceivedRequest {
  const url = new URL(incoming.url ?? '/', `http://${headers.host ?? 'localhost'}`);
  const [, area, , bucket, objects, object, restore] =
    /^\/(?:(upload|download)\/)?(storage)\/v1\/b\/([^/]+)(\/o)?(?:\/([^/]+))?(\/restore)?$/.exec(
      url.pathname,
    ) ?? [];
  if (url.searchParams.has('X-Goog-Signature')) {
    const [, where = '', what = ''] = /^\/([^/]+)\/(.+)$/.exec(decodeURIComponent(url.pathname)) ?? [];
    return { kind: 'signed', method, url, headers, bucket: where, object: what };
  }
  const kind = (): RequestKind => {
    if (method === 'POST' && url.pathname === '/token') return 'token';
    if (method === 'POST' && url.pathname === '/batch/storage/v1') return 'batch';
    if (bucket === undefined) return 'other';
    if (area === 'upload')
      return object === undefined && objects !== undefined && method !== 'GET' ? 'upload' : 'other';
    if (objects === undefined) return 'bucket';
    if (object === undefined) return method === 'GET' ? 'list' : 'other';
    if (restore !== undefined) return method === 'POST' ? 'restore' : 'other';
    if (method === 'DELETE') return 'delete';
    if (method === 'PATCH') return 'patch';
    if (method !== 'GET') return 'other';
    return url.searchParams.get('alt') === 'media' ? 'download' : 'metadata';
  };
  return {
    kind: kind(),
    method,
    url,
    headers,
    bucket: decodeURIComponent(bucket ?? ''),
    object: decodeURIComponent(object ?? ''),
  };
}

async function bodyOf(incoming: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of incoming as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts);
}

function malformed(): ApiError {
  return new ApiError(400, 'badContent', 'Malformed multipart body.');
}

/** The two parts of a multipart upload (RFC 2387): the object's resource, and its bytes. */
function relatedParts(
  body: Buffer,
  contentType: string,
): { readonly resource: Json; readonly media: Buffer; readonly mediaType: string } {
  const boundary = /^multipart\/related;.*\bboundary="?([^";]+)"?/i.exec(contentType)?.[1];
  if (boundary === undefined || !body.subarray(0, boundary.length + 2).equals(Buffer.from(`--${boundary}`))) {
    throw malformed();
  }
  const separator = Buffer.from(`\r\n--${boundary}`);
  const parts: { readonly headers: string; readonly bytes: Buffer }[] = [];
  for (let start = boundary.length + 2; ;) {
    if (body.subarray(start, start + 2).toString('latin1') === '--') break;
    const headersEnd = body.indexOf('\r\n\r\n', start);
    const end = headersEnd === -1 ? -1 : body.indexOf(separator, headersEnd + 2);
    if (end === -1) throw malformed();
    parts.push({
      headers: body.subarray(start, headersEnd).toString('latin1'),
      bytes: body.subarray(Math.min(headersEnd + 4, end), end),
    });
    start = end + separator.length;
  }
  const [resource, media] = parts;
  if (resource === undefined || media === undefined || parts.length !== 2) throw malformed();
  if (!/^content-type: *application\/json/im.test(resource.headers)) throw malformed();
  return {
    resource: parseJson(resource.bytes.toString('utf8')),
    media: media.bytes,
    mediaType: /^content-type: *(\S+)/im.exec(media.headers)?.[1] ?? OCTETS,
  };
}

function parseJson(text: string): Json {
  try {
    const value: unknown = JSON.parse(text);
    if (isJson(value)) return value;
  } catch {
    // Falls through to the error.
  }
  throw new ApiError(400, 'parseError', 'Parse Error');
}

/** Preconditions of the query; an absent object has generation 0. */
function checkPreconditions(
  query: URLSearchParams,
  object: GcsObject | undefined,
  options: { readonly reading?: boolean } = {},
): void {
  const generation = String(object?.generation ?? 0);
  const metageneration = object === undefined ? null : '1';
  const checks = [
    ['ifGenerationMatch', generation, true],
    ['ifGenerationNotMatch', generation, false],
    ['ifMetagenerationMatch', metageneration, true],
    ['ifMetagenerationNotMatch', metageneration, false],
  ] as const;
  for (const [parameter, actual, mustMatch] of checks) {
    const wanted = query.get(parameter);
    if (wanted === null || (wanted === actual) === mustMatch) continue;
    const status = !mustMatch && options.reading === true ? 304 : 412;
    throw new ApiError(
      status,
      'conditionNotMet',
      'At least one of the pre-conditions you specified did not hold.',
    );
  }
}

/** Compares the hashes that the client gave, in the resource or in a header, with those of the bytes. */
function checkHashes(resource: Json, header: string, bytes: Buffer): void {
  const fromHeader = new Map(
    header.split(',').map((part): [string, string] => {
      const at = part.indexOf('=');
      return [part.slice(0, at).trim(), part.slice(at + 1).trim()];
    }),
  );
  for (const given of [textOf(resource['crc32c']), fromHeader.get('crc32c') ?? null]) {
    if (given === null || given === crc32cOf(bytes)) continue;
    const message = `Provided CRC32C "${given}" doesn't match calculated CRC32C "${crc32cOf(bytes)}".`;
    throw new ApiError(400, 'invalid', message);
  }
  for (const given of [textOf(resource['md5Hash']), fromHeader.get('md5') ?? null]) {
    if (given === null || given === md5Of(bytes)) continue;
    const message = `Provided MD5 hash "${given}" doesn't match calculated MD5 hash "${md5Of(bytes)}".`;
    throw new ApiError(400, 'invalid', message);
  }
}

/** The resource of an object. What costs time to compute is computed when it is read. */
function resourceOf(bucket: string, name: string, object: GcsObject): Json {
  return {
    kind: 'storage#object',
    id: `${bucket}/${name}/${object.generation}`,
    name,
    bucket,
    generation: String(object.generation),
    metageneration: '1',
    contentType: object.contentType,
    ...(object.contentEncoding === null ? {} : { contentEncoding: object.contentEncoding }),
    storageClass: 'STANDARD',
    size: String(object.bytes.length),
    get md5Hash() {
      return md5Of(object.bytes);
    },
    get crc32c() {
      return crc32cOf(object.bytes);
    },
    etag: etagOf(object),
    timeCreated: object.timeCreated,
    ...(object.retention === null ? {} : { retention: object.retention }),
    updated: object.timeCreated,
  };
}

/** The resource of a bucket, as far as it says what it keeps. */
function bucketResource({
  objectRetention,
  retentionPeriod,
  versioning,
  softDelete,
}: GcsBucketSettings): Json {
  return {
    kind: 'storage#bucket',
    ...(objectRetention === true && { objectRetention: { mode: 'Enabled' } }),
    ...(retentionPeriod !== undefined && { retentionPolicy: { retentionPeriod: String(retentionPeriod) } }),
    ...(versioning === true && { versioning: { enabled: true } }),
    softDeletePolicy: { retentionDurationSeconds: String(softDelete ?? 0) },
  };
}

function etagOf(object: GcsObject): string {
  return Buffer.from(String(object.generation)).toString('base64');
}

const crc32cs = new WeakMap<Buffer, string>();
function crc32cOf(bytes: Buffer): string {
  let text = crc32cs.get(bytes);
  if (text === undefined) {
    const checksum = Buffer.alloc(4);
    checksum.writeUInt32BE(crc32c(bytes));
    text = checksum.toString('base64');
    crc32cs.set(bytes, text);
  }
  return text;
}

const md5s = new WeakMap<Buffer, string>();
function md5Of(bytes: Buffer): string {
  const text = md5s.get(bytes) ?? createHash('md5').update(bytes).digest('base64');
  md5s.set(bytes, text);
  return text;
}

/** A partial response: `items(name,size),nextPageToken`, `items/name`, `*`. */
function partial(value: Json, fields: string): Json {
  const shown: Json = {};
  for (const field of splitFields(fields)) {
    const [, name = '', inner] = /^([^(/]+)(?:\/(.+)|\(.+\))?$/.exec(field) ?? [];
    const rest = inner ?? (field.endsWith(')') ? field.slice(name.length + 1, -1) : null);
    for (const key of name === '*' ? Object.keys(value) : [name]) {
      if (key in value) shown[key] = rest === null ? value[key] : partialInside(value[key], rest);
    }
  }
  return shown;
}

function partialInside(value: unknown, fields: string): unknown {
  if (Array.isArray(value)) return value.map((item: unknown) => partialInside(item, fields));
  return isJson(value) ? partial(value, fields) : value;
}

function splitFields(fields: string): string[] {
  const parts: string[] = [''];
  let depth = 0;
  for (const character of fields) {
    if (character === '(') depth += 1;
    if (character === ')') depth -= 1;
    if (character === ',' && depth === 0) parts.push('');
    else parts.push((parts.pop() ?? '') + character);
  }
  if (depth !== 0) throw new ApiError(400, 'invalidParameter', `Invalid field selection ${fields}`);
  return parts;
}

function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
