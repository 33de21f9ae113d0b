/**
 * Links for people without a vault: a file is read, sealed anew for one link alone, and put beside a page that opens it into one of
 * the cloud buckets, both reached by URLs that expire. FORMAT.md, "Shares".
 */
import { MAX_PRESIGNED_SECONDS, type Bucket, type PresignCall } from '../../buckets/bucket.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import { drawId } from '../../crypto/keys.ts';
import { drawShareKey } from '../../crypto/share.ts';
import { sealShareNote } from '../../crypto/texts.ts';
import { invalidInput, isFailure, type VaultError } from '../../errors.ts';
import { encodeShareNote, MAX_SHARE_PARTS, SHARE_PART_SIZE, shareObjectName } from '../../format/share.ts';
import type { ShareNote, ShareObjectName } from '../../format/share.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import type { CallOptions } from '../call.ts';
import { refreshKeyring } from '../keys/keyring-store.ts';
import { resolveBucket } from '../manage/buckets.ts';
import type { Session } from '../session.ts';
import { sharePage } from './page.ts';

/** What is shared: a stored file, or what is made of something stored. */
export interface SharedContent {
  readonly hash: string;
  readonly name: string;
  /** Its bytes in order, each run valid until the next one is asked for. */
  content(options: CallOptions): AsyncIterable<Uint8Array>;
}

export interface ShareOptions extends CallOptions {
  /** Milliseconds, at most seven days. */
  readonly expiresMs: number;
  /** Without it the link is enough. */
  readonly password?: string | undefined;
  /** URL or id of a bucket; the first one that gives links unless given. */
  readonly bucket?: string | undefined;
  /** Bytes of an object. */
  readonly partSize?: number | undefined;
}

export interface Share extends ShareNote {
  /** 32 hex digits. */
  readonly id: string;
  readonly expiresAtMs: number;
  /** The bucket's URL. */
  readonly bucket: string;
  /** Who has it can read the file. It is nowhere but here. */
  readonly link: string;
}

/** Parts under way at once. */
const IN_FLIGHT = 2;
/** Characters of a name that its note keeps. */
const NAME_KEPT = 4096;

export async function shareFile(
  session: Session,
  file: SharedContent,
  options: ShareOptions,
): Promise<Share> {
  const { expiresMs, password = null } = options;
  if (!(expiresMs >= 1000 && expiresMs <= MAX_PRESIGNED_SECONDS * 1000)) {
    const limit = 'Links to a cloud last for seven days at most, and for a second at least.';
    throw invalidInput(`${limit} "vault serve" gives links that last longer.`);
  }
  await refreshKeyring(session, options.signal);
  const createdAtMs = session.clock.now();
  const place = { id: drawId(), expiresAtMs: createdAtMs + expiresMs };
  const page = shareObjectName({ ...place, what: 'page' });
  const { bucket, storage, presign } = await findSigner(session, options, (signer) =>
    signer(page, linking({ nowMs: createdAtMs, ...place }, options)),
  );
  const upload = new Upload(storage, place, options);
  try {
    const key = await drawShareKey(password);
    let size = 0;
    const counted = async function* (): AsyncGenerator<Uint8Array> {
      for await (const bytes of file.content(options)) {
        size += bytes.length;
        yield bytes;
      }
    };
    const parts = await upload.parts(await key.seal(counted()));
    const name = file.name.slice(0, NAME_KEPT).toWellFormed();
    const note: ShareNote = { hash: file.hash, name, size, createdAtMs, password: password !== null };
    await upload.put('note', sealShareNote(session.keys, place.id, encodeShareNote(note)));
    const nowMs = session.clock.now();
    const call = linking({ nowMs, ...place }, options);
    const urls: string[] = [];
    const sealed: PresignCall = {
      ...call,
      contentType: 'application/octet-stream',
      fileName: `${place.id}.age`,
      onDoubt: undefined,
    };
    for (let what = 0; what < parts; what += 1) {
      urls.push(await presign(shareObjectName({ ...place, what }), sealed));
    }
    // Where it lay is nothing that whoever has the link is told.
    const shown = file.name.split('/').findLast((part) => part !== '') ?? file.name;
    const about = await key.sealText(JSON.stringify({ name: shown, size }));
    await upload.put('page', await sharePage({ about, urls, expiresAtMs: place.expiresAtMs }));
    const url = await presign(page, { ...call, onDoubt: undefined });
    return { ...note, ...place, bucket: bucket.url, link: `${url}#${key.fragment}` };
  } catch (error) {
    await upload.undo();
    throw error;
  }
}

/** How the page is linked to. */
function linking(
  { nowMs, expiresAtMs }: { readonly nowMs: number; readonly expiresAtMs: number },
  { onWarning }: ShareOptions,
): PresignCall {
  const seconds = Math.floor((expiresAtMs - nowMs) / 1000);
  if (seconds < 1) throw invalidInput('The link has expired before the file was stored.');
  return {
    nowMs,
    seconds,
    contentType: 'text/html; charset=utf-8',
    fileName: null,
    onDoubt: (message) => onWarning?.({ kind: 'expires-sooner', message, bucket: null }),
  };
}

type Presign = NonNullable<Bucket['presign']>;

/** The bucket that is meant, or the first one that can sign. @param attempt signs something */
async function findSigner(
  session: Session,
  { bucket: meant, signal }: ShareOptions,
  attempt: (presign: Presign) => Promise<unknown>,
): Promise<{ readonly bucket: VaultBucket; readonly storage: Bucket; readonly presign: Presign }> {
  const candidates = meant === undefined ? session.buckets.active : [staying(resolveBucket(session, meant))];
  const errors: VaultError[] = [];
  for (const bucket of candidates) {
    try {
      const opened = await bucket.open();
      if (opened.presign === undefined) continue;
      const presign = opened.presign.bind(opened);
      await attempt(presign);
      return { bucket, storage: await bucket.checked(signal), presign };
    } catch (error) {
      if (!isFailure(error)) throw error;
      errors.push(error);
    }
  }
  // One that is down might have given it.
  const error = errors.find(({ code }) => code === 'unavailable') ?? errors[0];
  if (error !== undefined) throw error;
  throw invalidInput(
    `${meant === undefined ? 'No bucket of this vault gives' : `${meant} does not give`} links: a folder has none. Add a bucket at GCS or S3 ("vault bucket add"), or let "vault serve" give links.`,
  );
}

/** @throws `invalid-input` for a bucket that is being emptied: a link would end with it */
function staying(bucket: VaultBucket): VaultBucket {
  if (bucket.state === 'active') return bucket;
  throw invalidInput(
    `${bucket.url} is being emptied ("vault bucket rm"), and a link to what lies there would end with it. Name another bucket (--bucket), or none.`,
  );
}

/** The objects of one share on their way. */
class Upload {
  readonly #storage: Bucket;
  readonly #place: Omit<ShareObjectName, 'what'>;
  readonly #options: ShareOptions;
  readonly #begun: string[] = [];

  constructor(storage: Bucket, place: Omit<ShareObjectName, 'what'>, options: ShareOptions) {
    this.#storage = storage;
    this.#place = place;
    this.#options = options;
  }

  async put(what: ShareObjectName['what'], bytes: Uint8Array, signal = this.#options.signal): Promise<void> {
    const name = shareObjectName({ ...this.#place, what });
    this.#begun.push(name);
    await this.#storage.put(name, bytes, { signal, drawn: true });
  }

  /** Stores a sealed file. @returns of how many parts */
  async parts(sealed: AsyncIterable<Uint8Array>): Promise<number> {
    const { partSize = SHARE_PART_SIZE, signal } = this.#options;
    let count = 0;
    const cut = async function* (): AsyncGenerator<{ readonly what: number; readonly bytes: Uint8Array }> {
      for await (const bytes of inParts(sealed, partSize)) {
        if (count === MAX_SHARE_PARTS) throw tooLarge(partSize);
        yield { what: count, bytes };
        count += 1;
      }
    };
    const stored = mapOrdered(cut(), ({ what, bytes }, aborted) => this.put(what, bytes, aborted), {
      inFlight: IN_FLIGHT,
      signal,
    });
    for await (const _ of stored);
    return count;
  }

  /** What cannot be removed now a sweep removes, once it has expired. */
  async undo(): Promise<void> {
    await Promise.allSettled(this.#begun.map((name) => this.#storage.remove(name)));
  }
}

/** The same bytes in pieces of a size, each its owner's. */
async function* inParts(source: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Uint8Array> {
  let pieces: Uint8Array[] = [];
  let length = 0;
  for await (let bytes of source) {
    while (length + bytes.length >= size) {
      pieces.push(bytes.subarray(0, size - length));
      yield Buffer.concat(pieces);
      bytes = bytes.subarray(size - length);
      pieces = [];
      length = 0;
    }
    pieces.push(bytes);
    length += bytes.length;
  }
  if (length > 0) yield Buffer.concat(pieces);
}

function tooLarge(partSize: number): VaultError {
  const most = Math.round((partSize * MAX_SHARE_PARTS) / 1024 ** 3);
  return invalidInput(`A share has ${most} GiB at most. "vault serve" gives links to larger files.`);
}
