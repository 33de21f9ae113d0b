import { Buffer } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { crc32c } from '@node-rs/crc32';
import { invalidInput, isVaultError, throwIfAborted, VaultError } from '../../errors.ts';
import {
  DEFAULT_MAX_OBJECT_SIZE,
  isNamePrefix,
  isObjectName,
  requirePresignable,
  retainedError,
} from '../bucket.ts';
import type { Bucket, BucketCall, GetCall, ListCall, ListedObject } from '../bucket.ts';
import type { PresignCall, PutCall, RemoveCall } from '../bucket.ts';
import { contentOf, failureOf, isConditionNotMet, missingThing, pageOf } from './answers.ts';
import { incomprehensible, requireNoPage, requireObject } from './answers.ts';
import type { Content, Task } from './answers.ts';
import { openGcsApi, type ApiRequest, type GcsApi } from './api.ts';
import { goneBy, removalOf } from './remove-many.ts';
import { GcsRetention } from './retention.ts';
import { folderPrefix } from '../cloud-url.ts';
import type { GcsOptions } from './url.ts';
import type { HttpAnswer } from '../http.ts';
import { systemClock, type Clock, type Environment } from '../../host.ts';
import { KEYS_PER_PAGE } from '../bounds.ts';
import { dateOf } from '../date.ts';
import { ListingProgress } from '../listing-progress.ts';

// What is spoken is the JSON API: https://cloud.google.com/storage/docs/json_api/v1/objects

/**
 * Opens a bucket of Google Cloud Storage. Nothing is connected before the first operation.
 *
 * Credentials are found as Google's tools find them (application default credentials), and are sent to Google's own
 * hosts only, unless `sendCredentials`. No permission on the bucket itself is needed, only those on objects.
 *
 * @param options `bucket`: its name; `prefix`: the folder in it, '' for none; `endpoint`: URL of a server that
 *   speaks the JSON API, null for Google's, or what STORAGE_EMULATOR_HOST of the `environment` says; `sendCredentials`: whether that server
 *   may have the credentials, whoever it is; `label`: what messages call the bucket
 * @throws `invalid-input` where credentials would go in the clear, see `openGcsApi`
 */
export async function openGcsBucket(
  options: {
    readonly bucket: string;
    readonly prefix: string;
    readonly endpoint: string | null;
    readonly sendCredentials: boolean;
    readonly label: string;
    readonly clock?: Clock | undefined;
    readonly environment?: Environment | undefined;
  } & Partial<GcsOptions>,
): Promise<Bucket> {
  const { bucket, label } = options;
  const prefix = folderPrefix(options.prefix);
  return new GcsBucket(await openGcsApi(options), { ...options, bucket, prefix, label });
}

class GcsBucket implements Bucket {
  readonly label: string;
  readonly retention: GcsRetention;
  readonly #clock: Clock;
  readonly #api: GcsApi;
  readonly #bucket: string;
  /** What every object's full name begins with. */
  readonly #prefix: string;
  /** What uploads ask for. */
  readonly #asked: Partial<GcsOptions>;
  /** Whether this server takes one removal a request. */
  #isAlone = false;
  /** The path of the bucket's objects. */
  readonly #objects: string;

  constructor(
    api: GcsApi,
    place: {
      readonly bucket: string;
      readonly prefix: string;
      readonly label: string;
      readonly clock?: Clock | undefined;
    } & Partial<GcsOptions>,
  ) {
    this.#api = api;
    this.#clock = place.clock ?? systemClock;
    this.label = place.label;
    this.#bucket = place.bucket;
    this.#prefix = place.prefix;
    this.#asked = place;
    this.#objects = `/storage/v1/b/${encodeURIComponent(place.bucket)}/o`;
    this.retention = new GcsRetention(
      {
        send: (request, task) => this.#api.send(request, task),
        bucket: this.#objects.slice(0, -2),
        pathOf: (name) => this.#object(name),
        taskOf: (words, permission, call) => this.#taskOf(words, permission, call),
        missing: (answer, task) => this.#missing(answer, task),
      },
      place.lock ?? null,
    );
  }

  #taskOf(words: string, permission: string, call: BucketCall): Task {
    return {
      task: `${words} ${this.label}`,
      permission: `storage.${permission.includes('.') ? '' : 'objects.'}${permission}`,
      isForeign: !this.#api.isTrusted,
      signal: call.signal,
    };
  }

  /** The error that an answer of 404 stands for: the object is missing, or the whole bucket. */
  async #missing(answer: HttpAnswer, task: Task): Promise<VaultError> {
    const told = missingThing(answer);
    const thing = told ?? ((await this.#isThere(task)) ? 'object' : 'bucket');
    if (told === null && thing === 'object') requireNoPage(answer, task);
    return thing === 'object'
      ? new VaultError('object-missing', `Could not ${task.task}: there is no such object.`)
      : new VaultError(
          'bucket-missing',
          `Could not ${task.task}: there is no bucket ${this.#bucket}. Check the URL, or create it` +
            (task.isForeign ? ' there.' : ` with "gcloud storage buckets create gs://${this.#bucket}".`),
        );
  }

  /** Whether the bucket is there, by a listing, which needs no permission on the bucket itself. */
  async #isThere({ signal }: Task): Promise<boolean> {
    const task = this.#taskOf('list', 'list', { signal });
    const answer = await this.#api.send(
      { method: 'GET', path: `${this.#objects}?maxResults=1&fields=kind` },
      task,
    );
    if (answer.status === 404) return false;
    if (answer.status !== 200) throw failureOf(answer, task);
    pageOf(answer, task);
    return true;
  }

  /** What an object holds; null if it is missing. */
  async #contentAt(name: string, task: Task): Promise<Content | null> {
    const answer = await this.#api.send(
      { method: 'GET', path: `${this.#object(name)}?fields=kind,size,crc32c` },
      task,
    );
    if (answer.status === 200) return contentOf(answer, task);
    if (answer.status !== 404) throw failureOf(answer, task);
    const error = await this.#missing(answer, task);
    if (error.code === 'object-missing') return null;
    throw error;
  }

  #checkName(name: string): void {
    if (isObjectName(name)) return;
    throw invalidInput(`${JSON.stringify(name)} is not a name that an object in ${this.label} can have.`);
  }

  async put(name: string, bytes: Uint8Array, call: PutCall = {}): Promise<void> {
    this.#checkName(name);
    const replace = call.replace === true;
    const task = this.#taskOf(`store ${name} in`, replace ? 'delete' : 'create', call);
    const content: Content = { size: bytes.length, checksum: checksumOf(bytes) };
    const query = new URLSearchParams({ uploadType: 'multipart', fields: 'kind,size,crc32c' });
    // Generation 0 stands for an absent object.
    if (!replace) query.set('ifGenerationMatch', '0');
    const { storageClass, kmsKey = null, acl = null } = this.#asked;
    if (kmsKey !== null) query.set('kmsKeyName', kmsKey);
    if (acl !== null) query.set('predefinedAcl', acl);
    const resource = {
      name: this.#prefix + name,
      crc32c: content.checksum,
      storageClass: storageClass ?? undefined,
      retention:
        call.retainUntilMs === undefined
          ? undefined
          : await this.retention.lockUntil(call.retainUntilMs, call),
    };
    const answer = await this.#api.send(
      {
        method: 'POST',
        path: `/upload${this.#objects}?${query.toString()}`,
        ...multipart(resource, bytes),
        locks: call.retainUntilMs !== undefined,
      },
      task,
    );
    const date = dateOf(answer.headers.date);
    if (date !== null) call.onDate?.(date);
    if (answer.status === 412 && !replace && isConditionNotMet(answer)) {
      // Somebody else stored it, or an earlier attempt did whose acknowledgement was lost.
      const existing = await this.#contentAt(name, this.#taskOf(`look at ${name} in`, 'get', call)).catch(
        (error: unknown) => {
          // Whoever may not read either has stored it under a name that nobody else can give.
          if (call.drawn === true && isVaultError(error, 'denied')) return content;
          throw error;
        },
      );
      if (existing === null) {
        throw new VaultError('unavailable', `Could not ${task.task}: it was removed at the same time.`);
      }
      if (isSame(existing, content)) return;
      throw new VaultError('already-exists', `${this.label} holds ${name} already, with different content.`);
    }
    if (answer.status === 404) throw await this.#missing(answer, task);
    if (answer.status !== 200) throw failureOf(answer, task);
    if (!isSame(contentOf(answer, task), content)) {
      throw new VaultError(
        'damaged',
        `Could not ${task.task}: the service acknowledged another size or checksum than was sent.`,
      );
    }
  }

  async get(name: string, call: GetCall = {}): Promise<Uint8Array> {
    this.#checkName(name);
    const task = this.#taskOf(`read ${name} in`, 'get', call);
    const answer = await this.#api.send(
      {
        method: 'GET',
        path: `${this.#object(name)}?alt=media`,
        // Otherwise an object marked as gzip would come unpacked, unlike its checksum.
        headers: { 'accept-encoding': 'gzip' },
        maxBodySize: call.maxSize ?? DEFAULT_MAX_OBJECT_SIZE,
        onBytes: call.onBytes,
        spare: call.spare,
      },
      task,
    );
    if (answer.status === 404) throw await this.#missing(answer, task);
    if (answer.status !== 200) throw failureOf(answer, task);
    requireObject(answer, task);
    if (call.proved === true) return answer.body;
    const checksum = announcedChecksum(answer) ?? (await this.#contentAt(name, task))?.checksum;
    if (checksum !== checksumOf(answer.body)) {
      throw new VaultError('damaged', `Could not ${task.task}: its bytes do not match its checksum.`);
    }
    return answer.body;
  }

  async remove(name: string, call: RemoveCall = {}): Promise<void> {
    this.#checkName(name);
    const task = this.#taskOf(`remove ${name} from`, 'delete', call);
    const untilMs = call.unlessRetained === true ? await this.retention.keeping(name, call) : null;
    if (untilMs !== null && untilMs > this.#clock.now())
      throw retainedError(`Could not ${task.task}`, untilMs);
    const answer = await this.#api.send({ method: 'DELETE', path: this.#object(name) }, task);
    if (answer.status === 204) return;
    if (answer.status === 200) {
      // Look-alikes say so, and so does whoever answers everything on the way.
      if ((await this.#contentAt(name, task)) === null) return;
      throw incomprehensible(task);
    }
    if (answer.status !== 404) throw failureOf(answer, task);
    const error = await this.#missing(answer, task);
    if (error.code !== 'object-missing') throw error;
  }

  async removeAll(names: readonly string[], call: RemoveCall = {}): Promise<ReadonlySet<string>> {
    const good = names.filter(isObjectName);
    if (this.#isAlone || good.length === 0) return new Set();
    // Of what may be kept each must be asked for.
    if (call.unlessRetained === true && (await this.retention.hides(call))) return new Set();
    const task = this.#taskOf(`remove ${good.length} objects from`, 'delete', call);
    const { userProject = null } = this.#asked;
    const query = userProject === null ? '' : `?${new URLSearchParams({ userProject }).toString()}`;
    const paths = good.map((name) => this.#object(name) + query);
    const answer = await this.#api.send(removalOf(paths), task);
    // Not every server knows this.
    this.#isAlone = [400, 404, 405, 501].includes(answer.status);
    if (this.#isAlone) return new Set();
    if (answer.status !== 200) throw failureOf(answer, task);
    const gone = goneBy(answer);
    return new Set(good.filter((_, at) => gone.has(at)));
  }

  async *list(namePrefix: string, call: ListCall = {}): AsyncGenerator<ListedObject, void, undefined> {
    if (!isNamePrefix(namePrefix)) {
      throw invalidInput(
        `${JSON.stringify(namePrefix)} starts no name that an object in ${this.label} can have.`,
      );
    }
    const task = this.#taskOf('list', 'list', call);
    const { after = '' } = call;
    const query = new URLSearchParams({
      prefix: this.#prefix + namePrefix,
      startOffset: this.#prefix + after,
      maxResults: String(KEYS_PER_PAGE),
      fields: 'kind,items(name,size,retention,retentionExpirationTime),nextPageToken',
    });
    const progress = new ListingProgress(`Could not ${task.task}`);
    for (let previous = after; ;) {
      const answer = await this.#api.send(
        { method: 'GET', path: `${this.#objects}?${query.toString()}` },
        task,
      );
      if (answer.status === 404) throw await this.#missing(answer, task);
      if (answer.status !== 200) throw failureOf(answer, task);
      const page = pageOf(answer, task);
      const keys = page.items.map((item) => item.name);
      progress.page(keys, this.#prefix + namePrefix);
      for (const { name: fullName, ...listed } of page.items) {
        throwIfAborted(call.signal);
        const name = fullName.slice(this.#prefix.length);
        // Others may keep things under the prefix too, folder markers above all, whose names are none of ours.
        if (!isObjectName(name)) continue;
        // The start includes the name itself, unlike `after`.
        if (name === after) continue;
        if (name <= previous) throw progress.broken('the names are in no order');
        previous = name;
        yield { name, ...listed };
      }
      throwIfAborted(call.signal);
      if (page.nextPageToken === null) return;
      query.set('pageToken', progress.next(page.nextPageToken));
    }
  }

  async presign(name: string, call: PresignCall): Promise<string> {
    requirePresignable(this.label, name, call);
    const object = { bucket: this.#bucket, name: this.#prefix + name };
    return this.#api.presign(object, call, `make a link to ${name} in ${this.label}`);
  }

  close(): Promise<void> {
    this.#api.close();
    return Promise.resolve();
  }

  #object(name: string): string {
    return `${this.#objects}/${encodeName(this.#prefix + name)}`;
  }
}

/** The body of an upload with its metadata, in pieces (RFC 2387), so that the bytes are not copied. */
function multipart(
  resource: Readonly<Record<'name' | 'crc32c', string> & Record<'storageClass' | 'retention', unknown>>,
  bytes: Uint8Array,
): Required<Pick<ApiRequest, 'headers' | 'body'>> {
  const boundary = `vault-${randomUUID()}`;
  const head =
    `--${boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n${JSON.stringify(resource)}\r\n` +
    `--${boundary}\r\nContent-Type: application/octet-stream\r\n\r\n`;
  return {
    headers: { 'content-type': `multipart/related; boundary=${boundary}` },
    body: [Buffer.from(head), bytes, Buffer.from(`\r\n--${boundary}--\r\n`)],
  };
}

function checksumOf(bytes: Uint8Array): string {
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32c(bytes));
  return checksum.toString('base64');
}

/** The checksum of the stored bytes that a download comes with, or null. */
function announcedChecksum({ headers }: HttpAnswer): string | null {
  return /(?:^|[\s,])crc32c=([A-Za-z0-9+/]+=*)/.exec(headers['x-goog-hash'] ?? '')?.[1] ?? null;
}

function isSame(one: Content, other: Content): boolean {
  return one.size === other.size && one.checksum === other.checksum;
}

/** An object's full name as one segment of a path; the API wants more escaped than encodeURIComponent escapes. */
function encodeName(name: string): string {
  return encodeURIComponent(name).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
