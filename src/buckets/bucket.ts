import { invalidInput, VaultError } from '../errors.ts';

/** Options that every bucket operation takes. */
export interface BucketCall {
  /** Aborts the request on the wire; the operation then rejects with `interrupted`. */
  readonly signal?: AbortSignal | undefined;
  /** Called by the layer that retries (`retrying`), with the error of each attempt that will be repeated. */
  readonly onRetry?: ((error: VaultError) => void) | undefined;
}

/** Options of `get`. */
export interface GetCall extends BucketCall {
  /** Bytes. */
  readonly maxSize?: number | undefined;
  readonly spare?: ArrayBuffer | undefined;
  /** Whether the caller checks the bytes itself: then no checksum of a service is looked at. */
  readonly proved?: boolean | undefined;
  /** Called with the number of bytes each time some arrive, so that a slow connection can be told from a silent one. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** Options of `put`. */
export interface PutCall extends BucketCall {
  /** Whether an object of that name is replaced. */
  readonly replace?: boolean | undefined;
  /**
   * Called at the end of the put, whether or not the object was stored, with the time of the bucket's own clock, in milliseconds
   * since 1970. Not called by a bucket that has no clock but this machine's.
   */
  readonly onDate?: ((dateMs: number) => void) | undefined;
  /**
   * Whether the name was drawn at random for these bytes, so that no other object can have it: a driver then need not check
   * whether it is free, if that takes time.
   */
  readonly drawn?: boolean | undefined;
  /** Locks the object until then, in whole seconds of milliseconds since 1970. Only for a bucket that can lock (`Retention`). */
  readonly retainUntilMs?: number | undefined;
}

/** Options of `putAll`. */
export type PutAllCall = Pick<PutCall, 'signal' | 'onDate' | 'replace'>;

/** An object that is to be stored. */
export interface NewObject {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Of objects together. */
export function bytesOf(objects: readonly NewObject[]): number {
  return objects.reduce((sum, { bytes }) => sum + bytes.length, 0);
}

/** Options of `remove`. */
export interface RemoveCall extends BucketCall {
  /**
   * Whether an object that is kept by a lock or a policy stays visible, too. Without this, a bucket that keeps older versions hides
   * it, which frees nothing.
   */
  readonly unlessRetained?: boolean | undefined;
}

/** Objects that one request removes, at most: Google's limit, and as many as are done within seconds. */
export const MOST_REMOVED = 100;

/** Options of `list`. */
export interface ListCall extends BucketCall {
  /** A name: only greater ones are listed. */
  readonly after?: string | undefined;
}

/** Options of `presign`. */
export interface PresignCall {
  /** This machine's time, at which the link begins, in milliseconds since 1970. */
  readonly nowMs: number;
  /** How long the link is valid, at most `MAX_PRESIGNED_SECONDS`. */
  readonly seconds: number;
  /** The `Content-Type` of the answers. */
  readonly contentType: string;
  /** The name under which browsers save it; null: they show it. */
  readonly fileName: string | null;
  /** Called if something may end the link early. */
  readonly onDoubt?: ((message: string) => void) | undefined;
}

/** Both clouds' limit: seven days. */
export const MAX_PRESIGNED_SECONDS = 7 * 86_400;

/** One entry of a listing. */
export interface ListedObject {
  readonly name: string;
  /** Stored bytes. */
  readonly size: number;
  /** Until when it is locked; undefined if it is not, or listings do not show it. */
  readonly retainedUntilMs?: number | undefined;
}

/** How strict a lock is: `governance` can be lifted with a special permission, `compliance` by nobody before it ends. */
export type LockMode = 'governance' | 'compliance';

/** How a bucket protects objects from being removed or replaced. */
export interface RetentionPolicy {
  /** How it locks objects that are stored or extended; null: it cannot. */
  readonly lock: LockMode | null;
  /** Milliseconds for which it keeps every object anyway; null: it does not. */
  readonly everyMs: number | null;
  /** Whether what is removed or replaced stays as an older version; null if these credentials may not ask. */
  readonly versioning: boolean | null;
  /** Milliseconds for which removed objects can be brought back; null: they cannot. */
  readonly softDeleteMs: number | null;
}

/** The policy of a bucket without any of this. */
export const NO_RETENTION: RetentionPolicy = {
  lock: null,
  everyMs: null,
  versioning: false,
  softDeleteMs: null,
};

/** How a kind of bucket keeps objects from being removed. */
export interface Retention {
  /** @throws `denied` if these credentials may not ask */
  policy(call?: BucketCall): Promise<RetentionPolicy>;
  /** Until when an object is kept, in milliseconds since 1970; null if it is not. @throws `object-missing` */
  until(name: string, call?: BucketCall): Promise<number | null>;
  /**
   * Keeps an object at least until then. A lock is never shortened, and its mode never changed.
   *
   * @returns whether its lock would have ended earlier
   * @throws `object-missing`; `invalid-input` for a bucket that cannot lock
   */
  extend(name: string, untilMs: number, call?: BucketCall): Promise<boolean>;
}

/**
 * A place for whole objects: a local folder, a GCS bucket, an S3 bucket. Each with an optional prefix
 * that callers never see: names below are relative to it.
 *
 * The contract; `test/buckets/conformance.ts` has a test for each sentence:
 *
 * - Names are 1 to 255 bytes of `a-z A-Z 0-9 . _ - + /`, with no empty, `.` or `..` segment; others are `invalid-input`,
 *   and so is a prefix that no name can start with (`isNamePrefix`).
 * - A driver makes one attempt. Retrying is the decorator `retrying`; SDKs' own retries are off.
 * - Every error is a VaultError. Only `unavailable` may be tried again: time-outs, resets, 408, 429, 5xx; `unreachable`
 *   says that nothing answered at all. `denied`: credentials refused, whatever else the answer says; never read as
 *   missing or damaged. `bucket-missing`: the bucket itself is not there, never confused with `object-missing`.
 *   `damaged`: an answer that no working service gives. `storage-full`: no room or quota. `interrupted`: the caller's signal.
 * - Whatever a server sends costs bounded memory (`bounds.ts`), and time that `timed` bounds.
 * - `retained`: an object that something keeps is neither removed nor replaced; never read as `denied`.
 * - An object is never seen half written, by anybody, also after a crash of this process or the machine.
 * - Several operations may run at once on one bucket, also on one name.
 */
export interface Bucket {
  /** What to call this bucket in messages: its URL, without any secret. */
  readonly label: string;

  /**
   * Stores an object. When this resolves the object is durable and its checksum has been acknowledged
   * by the service. Repeating it with the same bytes succeeds and changes nothing; names here are unique to
   * their bytes, so an existing object of that name with other content is `already-exists`, except that
   * with `replace` it is replaced atomically. Whether a name is free is decided in the same instant in which it is taken,
   * except in folders on file systems without hard links, where two processes that store different bytes under one name in the
   * same moment may both succeed, and one of the two stays.
   *
   * The caller may reuse `bytes` once the promise has settled, not before.
   */
  put(name: string, bytes: Uint8Array, call?: PutCall): Promise<void>;

  /**
   * Stores small objects of one folder, all in one go, as `put` does those with drawn names, or with `replace`. Absent if this
   * kind of bucket has no such thing.
   *
   * @returns false if each is to be put on its own: that takes no longer here, or something was in the way
   * @throws what went wrong with any of them; to put each on its own tells with which
   */
  readonly putAll?: ((objects: readonly NewObject[], call?: PutAllCall) => Promise<boolean>) | undefined;

  /**
   * The whole object, its transfer checksum verified unless it is `proved` otherwise, or an error; never a part of it.
   *
   * @param call `maxSize`: bytes; a larger object is `damaged` without being read whole (a hostile bucket
   *   must not fill the memory). The default is 256 MiB. `spare`: memory that belongs to the call
   *   from then on, and that the result may lie in, which saves fresh pages; a driver that cannot use it ignores it
   * @returns bytes that nobody else uses, at the caller's disposal
   * @throws `object-missing` if the bucket answers and has no such object
   */
  get(name: string, call?: GetCall): Promise<Uint8Array>;

  /**
   * Removes an object, durably. An absent object is a success.
   *
   * @throws `retained` if a lock or a policy keeps it, unless the bucket hides it instead, see `RemoveCall`
   */
  remove(name: string, call?: RemoveCall): Promise<void>;

  /**
   * Removes objects, all in one request. Absent if this kind of bucket has no such thing.
   *
   * @param names `MOST_REMOVED` at most
   * @returns those that are gone for sure; to remove each of the others on its own tells what is wrong with it
   * @throws what went wrong with all of them
   */
  readonly removeAll?:
    ((names: readonly string[], call?: RemoveCall) => Promise<ReadonlySet<string>>) | undefined;

  /**
   * Every object whose name starts with `prefix` and is greater than `after`, in byte order of the names,
   * each exactly once. Memory is one page, where the service has pages. A listing that cannot be completed
   * throws; it never just ends. One that makes no progress is `damaged`. What others keep there under names that no object
   * can have is skipped.
   *
   * It also removes old leftovers of puts that were killed, if this kind of bucket has such a thing: they never were objects, so
   * `remove` has no name for them.
   */
  list(prefix: string, call?: ListCall): AsyncIterable<ListedObject>;

  /**
   * A URL with which anybody can read an object until it expires. Absent if this kind of bucket has no such thing. Signing makes
   * no request: the object need not exist yet, and whoever signs need not be able to read it.
   *
   * @throws `denied` if there are no credentials, or they cannot sign; `invalid-input` if they expire earlier
   */
  presign?(name: string, call: PresignCall): Promise<string>;

  /** Absent if this kind of bucket has no such thing. */
  readonly retention?: Retention | undefined;

  /** Releases sockets and handles. Operations after it are a bug. */
  close(): Promise<void>;
}

/** A bucket for those who only look. */
export interface ReadableBucket extends Pick<Bucket, 'label' | 'get' | 'list'> {
  readonly retention?: Omit<Retention, 'extend'> | undefined;
}

/** The same operations, each run by `run`: for layers. */
export function aroundRetention(
  retention: Retention | undefined,
  run: <T>(task: string, call: BucketCall, work: (attempt: BucketCall) => Promise<T>) => Promise<T>,
): Retention | undefined {
  if (retention === undefined) return undefined;
  return {
    policy: (call = {}) => run('asking for its retention', call, (attempt) => retention.policy(attempt)),
    until: (name, call = {}) =>
      run(`asking how long it keeps ${name}`, call, (attempt) => retention.until(name, attempt)),
    extend: (name, untilMs, call = {}) =>
      run(`locking ${name}`, call, (attempt) => retention.extend(name, untilMs, attempt)),
  };
}

/** The error where a lock or a policy keeps an object. @param tried as the beginning of a sentence @param untilMs null if unknown */
export function retainedError(tried: string, untilMs: number | null, cause?: unknown): VaultError {
  const until = untilMs === null ? 'until its lock ends or its hold is lifted' : `until ${momentOf(untilMs)}`;
  return new VaultError('retained', `${tried}: it is locked ${until}.`, { cause, retainedUntilMs: untilMs });
}

/** A moment for messages: `2026-12-24 06:00:00Z`. */
export function momentOf(ms: number): string {
  return new Date(ms).toISOString().replace('T', ' ').replace(/\.\d+/, '');
}

/** @throws `invalid-input` for an impossible name, or a link that cannot last so long */
export function requirePresignable(label: string, name: string, { seconds }: PresignCall): void {
  const tried = `Could not make a link to ${JSON.stringify(name)} in ${label}`;
  if (!isObjectName(name)) throw invalidInput(`${tried}: no object can have that name.`);
  if (Number.isSafeInteger(seconds) && seconds >= 1 && seconds <= MAX_PRESIGNED_SECONDS) return;
  throw invalidInput(`${tried}: links to a cloud last for a second to seven days.`);
}

/** The `Content-Disposition` of a link. @param fileName ASCII, without quotes */
export function dispositionOf({ fileName }: PresignCall): string {
  return fileName === null ? 'inline' : `attachment; filename="${fileName}"`;
}

/** Largest object that `get` returns unless told otherwise: a 64 MiB chunk with room to spare, in bytes. */
export const DEFAULT_MAX_OBJECT_SIZE = 256 * 1024 * 1024;

const NAME = /^[A-Za-z0-9._+/-]{1,255}$/;

/**
 * Whether a name may be given to a bucket: portable to every file system and object store, so that a
 * bucket's content can be copied from one kind to another.
 */
export function isObjectName(name: string): boolean {
  return NAME.test(name) && name.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}

/**
 * Whether a string may be given to `list` as a prefix: it is empty, or a name could start with it. Others are
 * `invalid-input`, so that no prefix leads out of the bucket.
 */
export function isNamePrefix(prefix: string): boolean {
  return prefix === '' || isObjectName(prefix) || isObjectName(`${prefix}x`);
}
