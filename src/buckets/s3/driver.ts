import { GetObjectCommand } from '@aws-sdk/client-s3';
import type { S3Client } from '@aws-sdk/client-s3';
import { invalidInput, isVaultError, throwIfAborted, VaultError } from '../../errors.ts';
import { systemClock, type Clock } from '../../host.ts';
import {
  DEFAULT_MAX_OBJECT_SIZE,
  dispositionOf,
  isObjectName,
  requirePresignable,
  retainedError,
} from '../bucket.ts';
import type { Bucket, GetCall, ListCall, ListedObject, PresignCall, PutCall, RemoveCall } from '../bucket.ts';
import { folderPrefix } from '../cloud-url.ts';
import {
  acknowledgedBytes,
  checksumOf,
  crc32cBase64,
  sha256Hex,
  type Acknowledgement,
  type SentChecksum,
} from './checksum.ts';
import { isConditionFailed, refusedPart, translateS3Error } from './errors.ts';
import type { OptionalPart, S3Attempt } from './errors.ts';
import { isForeign, openS3Client, type S3Place } from './client.ts';
import type { S3Handler, SdkResponse } from './handler.ts';
import { listObjects } from './listing.ts';
import type { S3BucketOptions } from './options.ts';
import { S3Removals } from './remove-many.ts';
import { S3Requests, type ObjectRequest } from './requests.ts';
import { S3Retention } from './retention.ts';
import type { S3Checksum } from './url.ts';

/**
 * Opens a bucket of Amazon S3 or of a service that speaks its protocol. Sends nothing yet. Credentials are those
 * that the AWS tools would use, looked up at the first request.
 *
 * One operation is one request, except where a service turns out not to know a header: then the
 * request is repeated without it, and the rest of this bucket's requests are sent that way from the start.
 *
 * Where a service has no conditional put, an object of the same name is overwritten; names are unique to
 * their bytes, so the bytes are the same.
 *
 * @throws `invalid-input` if no region is known
 */
export async function openS3Bucket(options: S3BucketOptions): Promise<Bucket> {
  const { client, handler } = await openS3Client(options);
  return new S3Bucket(client, handler, options);
}

interface UploadForm {
  readonly checksum: SentChecksum;
  /** Whether it carries `If-None-Match: *`. */
  readonly isConditional: boolean;
}

class S3Bucket implements Bucket {
  readonly label: string;
  readonly retention: S3Retention;
  readonly #removals: S3Removals;
  readonly #clock: Clock;
  readonly #client: S3Client;
  readonly #requests: S3Requests;
  readonly #bucket: string;
  readonly #root: string;
  readonly #checksum: S3Checksum;
  readonly #isForeign: boolean;
  /** What every request says. */
  readonly #payer: { readonly RequestPayer?: 'requester' };
  /** What every upload says. */
  readonly #asked: Readonly<Record<string, string>>;
  /** What this service has turned out not to take; never sent again. */
  readonly #refused = new Set<OptionalPart>();

  constructor(client: S3Client, handler: S3Handler, options: S3BucketOptions) {
    this.#requests = new S3Requests(client, handler, options.bucket);
    this.label = options.label;
    this.#client = client;
    this.#clock = options.clock ?? systemClock;
    this.#bucket = options.bucket;
    this.#root = folderPrefix(options.prefix);
    this.#checksum = options.checksum ?? 'auto';
    this.#isForeign = isForeign(options);
    this.#payer = options.requesterPays === true ? { RequestPayer: 'requester' } : {};
    this.#asked = uploadHeaders(options);
    this.retention = new S3Retention(this.#place, options.lock ?? null);
    this.#removals = new S3Removals(this.#place, this.retention);
  }

  async put(name: string, bytes: Uint8Array, call: PutCall = {}) {
    const attempt = this.#begin('store', name, call.signal);
    // A view, not a copy, also of shared memory, which the SDK and node:http take as a Buffer only.
    const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const refused = new Set(this.#refused);
    let isReplacing = call.replace === true;
    while (true) {
      const form: UploadForm = {
        checksum: checksumOf(body, this.#checksumWithout(refused)),
        isConditional: !isReplacing && !refused.has('condition'),
      };
      let answer: Acknowledgement;
      try {
        answer = await this.#upload(name, body, form, call);
      } catch (error) {
        if (form.isConditional && isConditionFailed(error)) {
          await this.#compare(name, body, attempt, call);
          break;
        }
        const part = refusedPart(error, this.#partsOf(form));
        if (part === null) throw translateS3Error(error, attempt);
        refused.add(part);
        continue;
      }
      const acknowledged = acknowledgedBytes(answer, body, form.checksum);
      if (acknowledged === 'same-bytes') break;
      const canAskForMore = this.#checksum === 'auto' && form.checksum.kind === 'crc32c';
      if (acknowledged === 'other-bytes' || (acknowledged === 'nothing' && !canAskForMore)) {
        throw new VaultError(
          'unavailable',
          `Could not store ${name} in ${this.label}: the service did not acknowledge the bytes that were sent.`,
        );
      }
      if (canAskForMore) refused.add('checksum');
      if (acknowledged === 'same-bytes-by-etag') break;
      // Stored, but for all that the service said it could be anything: once more over it, with a checksum that
      // the service verifies first.
      isReplacing = true;
    }
    for (const part of refused) this.#refused.add(part);
  }

  async get(name: string, call: GetCall = {}): Promise<Uint8Array> {
    const attempt = this.#begin('read', name, call.signal);
    try {
      const { bytes, checksum } = await this.#download(name, call);
      // Multipart uploads have a checksum of checksums ("...-2"); nothing is stored that way from here.
      const expected = call.proved === true ? null : checksum;
      if (expected !== null && !expected.includes('-') && expected !== crc32cBase64(bytes)) {
        throw new VaultError(
          'damaged',
          `${name} from ${this.label} does not have the checksum it was stored with.`,
        );
      }
      return bytes;
    } catch (error) {
      throw translateS3Error(error, attempt);
    }
  }

  async remove(name: string, call: RemoveCall = {}): Promise<void> {
    const attempt = this.#begin('remove', name, call.signal);
    try {
      const untilMs = call.unlessRetained === true ? await this.retention.keeping(name, call) : null;
      if (untilMs !== null && untilMs > this.#clock.now())
        throw retainedError(`Could not remove ${name} from ${this.label}`, untilMs);
      await this.#send(name, { method: 'DELETE', headers: {}, signal: call.signal });
    } catch (error) {
      const failure = translateS3Error(error, attempt);
      if (failure.code !== 'object-missing') throw failure;
    }
  }

  async removeAll(names: readonly string[], call: RemoveCall = {}): Promise<ReadonlySet<string>> {
    throwIfAborted(call.signal);
    return this.#removals.remove(names.filter(isObjectName), call);
  }

  list(prefix: string, call: ListCall = {}): AsyncIterable<ListedObject> {
    return listObjects(this.#place, prefix, call);
  }

  get #place(): S3Place {
    return {
      client: this.#client,
      bucket: this.#bucket,
      root: this.#root,
      label: this.label,
      isForeign: this.#isForeign,
      payer: this.#payer,
    };
  }

  async presign(name: string, call: PresignCall): Promise<string> {
    requirePresignable(this.label, name, call);
    const attempt: S3Attempt = { action: 'link', name, label: this.label, isForeign: this.#isForeign };
    const command = new GetObjectCommand({
      Bucket: this.#bucket,
      Key: this.#root + name,
      ResponseContentType: call.contentType,
      ResponseContentDisposition: dispositionOf(call),
      ...this.#payer,
    });
    const { getSignedUrl } = await import('@aws-sdk/s3-request-presigner');
    try {
      requireLasting(await this.#client.config.credentials(), call, this.label);
      return await getSignedUrl(this.#client, command, { expiresIn: call.seconds });
    } catch (error) {
      throw translateS3Error(error, attempt);
    }
  }

  async close(): Promise<void> {
    this.#client.destroy();
  }

  #begin(action: S3Attempt['action'], name: string, signal: AbortSignal | undefined): S3Attempt {
    if (!isObjectName(name)) {
      throw invalidInput(`${JSON.stringify(name)} is not a name that an object in ${this.label} can have.`);
    }
    throwIfAborted(signal);
    return { action, name, label: this.label, isForeign: this.#isForeign, signal };
  }

  #checksumWithout(refused: ReadonlySet<OptionalPart>): SentChecksum['kind'] {
    if (this.#checksum !== 'auto') return this.#checksum;
    return refused.has('checksum') ? 'md5' : 'crc32c';
  }

  /** What an upload can do without, if the service does not take it. */
  #partsOf(form: UploadForm): readonly OptionalPart[] {
    const parts: OptionalPart[] = [];
    if (this.#checksum === 'auto' && form.checksum.kind === 'crc32c') parts.push('checksum');
    if (form.isConditional) parts.push('condition');
    return parts;
  }

  async #upload(
    name: string,
    body: Buffer,
    form: UploadForm,
    { signal, onDate, retainUntilMs }: PutCall,
  ): Promise<Acknowledgement> {
    const { kind, value } = form.checksum;
    // What is locked is refused without a checksum of its own.
    const md5 = kind === 'sha256' && retainUntilMs !== undefined ? checksumOf(body, 'md5').value : null;
    // The signature covers all headers. Over TLS it need not cover the body as well, whose checksum is one of
    // those headers; that saves a pass over the bytes. In the clear it does, against changes on the way.
    const isCovered = kind === 'sha256' || !(await this.#requests.isEncrypted());
    const bodyHash = kind === 'sha256' ? value : isCovered ? sha256Hex(body) : 'UNSIGNED-PAYLOAD';
    const headers = {
      'content-type': 'application/octet-stream',
      'x-amz-content-sha256': bodyHash,
      ...(form.isConditional && { 'if-none-match': '*' }),
      ...(kind === 'crc32c' && { 'x-amz-checksum-crc32c': value }),
      ...(kind === 'md5' && { 'content-md5': value }),
      ...(md5 !== null && { 'content-md5': md5 }),
      ...(retainUntilMs !== undefined && {
        'x-amz-object-lock-mode': await this.retention.mode({ signal }),
        'x-amz-object-lock-retain-until-date': new Date(retainUntilMs).toISOString(),
      }),
      ...this.#asked,
    };
    const { headers: told } = await this.#send(name, { method: 'PUT', headers, body, onDate, signal });
    return {
      ChecksumCRC32C: told['x-amz-checksum-crc32c'],
      ETag: told['etag'],
      ServerSideEncryption: told['x-amz-server-side-encryption'],
      SSECustomerAlgorithm: told['x-amz-server-side-encryption-customer-algorithm'],
    };
  }

  #send(name: string, { headers, ...request }: Omit<ObjectRequest, 'key'>): Promise<SdkResponse> {
    const payer = this.#payer.RequestPayer;
    return this.#requests.send({
      ...request,
      key: this.#root + name,
      headers: { ...headers, ...(payer !== undefined && { 'x-amz-request-payer': payer }) },
    });
  }

  /** Settles a put whose name is taken: by the same bytes, or by others. */
  async #compare(name: string, body: Buffer, attempt: S3Attempt, { drawn }: PutCall): Promise<void> {
    const taken = (): VaultError =>
      new VaultError('already-exists', `${this.label} holds ${name} already, with different content.`);
    let existing: Uint8Array;
    try {
      existing = await this.get(name, { maxSize: body.length, signal: attempt.signal });
    } catch (error) {
      if (error instanceof VaultError && error.code === 'damaged') throw taken();
      // An earlier attempt has stored it, whose answer was lost; not everybody may read.
      if (drawn === true && isVaultError(error, 'denied')) return;
      if (error instanceof VaultError && error.code === 'object-missing') {
        throw new VaultError(
          'unavailable',
          `Could not store ${name} in ${this.label}: an object of that name appeared and vanished meanwhile.`,
          { cause: error },
        );
      }
      throw error;
    }
    if (Buffer.compare(existing, body) !== 0) throw taken();
  }

  async #download(name: string, call: GetCall): Promise<Download> {
    const asksForChecksum = call.proved !== true && this.#checksumWithout(this.#refused) === 'crc32c';
    try {
      return await this.#downloadOnce(name, call, asksForChecksum);
    } catch (error) {
      if (!asksForChecksum || this.#checksum !== 'auto' || refusedPart(error, ['checksum']) === null)
        throw error;
      const download = await this.#downloadOnce(name, call, false);
      this.#refused.add('checksum');
      return download;
    }
  }

  async #downloadOnce(name: string, call: GetCall, asksForChecksum: boolean): Promise<Download> {
    const { maxSize = DEFAULT_MAX_OBJECT_SIZE, spare, onBytes, signal } = call;
    const { headers, body } = await this.#send(name, {
      method: 'GET',
      headers: asksForChecksum ? { 'x-amz-checksum-mode': 'ENABLED' } : {},
      download: { maxBodySize: maxSize, spare, onBytes },
      signal,
    });
    return { bytes: body, checksum: headers['x-amz-checksum-crc32c'] ?? null };
  }
}

interface Download {
  readonly bytes: Uint8Array;
  /** As the service has kept it. */
  readonly checksum: string | null;
}

/** Links end with the credentials that have signed them. @throws `invalid-input` if that is known to be before their time */
function requireLasting(
  credentials: { readonly expiration?: Date; readonly sessionToken?: string },
  { nowMs, seconds, onDoubt }: PresignCall,
  label: string,
): void {
  const { expiration, sessionToken } = credentials;
  if (expiration !== undefined && expiration.getTime() < nowMs + seconds * 1000) {
    throw invalidInput(
      `The credentials for ${label} end at ${expiration.toISOString()}, and a link with them. Ask for a shorter time, or use an access key that does not end.`,
    );
  }
  if (sessionToken === undefined || expiration !== undefined) return;
  onDoubt?.(
    `The credentials for ${label} are temporary: the link ends when they do, if that is sooner. An access key of a user does not end.`,
  );
}

/** What uploads ask for. */
function uploadHeaders({
  storageClass = null,
  kmsKey = null,
  acl = null,
}: S3BucketOptions): Readonly<Record<string, string>> {
  return {
    ...(storageClass !== null && { 'x-amz-storage-class': storageClass }),
    ...(kmsKey !== null && {
      'x-amz-server-side-encryption': 'aws:kms',
      'x-amz-server-side-encryption-aws-kms-key-id': kmsKey,
    }),
    ...(acl !== null && { 'x-amz-acl': acl }),
  };
}
