/**
 * What a bucket of the S3 server has beside its current objects: older versions, delete markers, and locks ("Using versioning in S3
 * buckets" and "Locking objects with Object Lock" in the user guide).
 */
import { randomBytes } from 'node:crypto';
import { S3Error } from './s3-requests.ts';
import type { StoredObject } from './s3-objects.ts';

export interface S3Lock {
  readonly mode: 'GOVERNANCE' | 'COMPLIANCE';
  readonly untilMs: number;
}

export interface S3BucketSettings {
  /** Object Lock takes versioning. */
  readonly versioning?: boolean;
  readonly objectLock?: boolean;
  /** What every new object is locked with unless it says otherwise. */
  readonly defaultLock?: { readonly mode: S3Lock['mode']; readonly days: number };
}

export interface S3Version {
  readonly id: string;
  /** Null for a delete marker. */
  readonly object: StoredObject | null;
  lock: S3Lock | null;
}

const DAY_MS = 86_400_000;

/** All versions of all keys, the newest last. The map of current objects is kept right beside it. */
export class S3Versions {
  readonly settings: Required<Pick<S3BucketSettings, 'versioning' | 'objectLock'>> & S3BucketSettings;
  readonly #current: Map<string, StoredObject>;
  readonly #versions = new Map<string, S3Version[]>();
  readonly #nowMs: () => number;

  constructor(settings: S3BucketSettings, current: Map<string, StoredObject>, nowMs: () => number) {
    const { objectLock = false, versioning = objectLock } = settings;
    this.settings = { ...settings, objectLock, versioning };
    this.#current = current;
    this.#nowMs = nowMs;
  }

  /** Notes an object that has been stored. @param lock as the upload asked for */
  stored(key: string, object: StoredObject, lock: S3Lock | null): void {
    this.#current.set(key, object);
    if (!this.settings.versioning) return;
    const { defaultLock } = this.settings;
    const byDefault =
      defaultLock === undefined
        ? null
        : { mode: defaultLock.mode, untilMs: this.#nowMs() + defaultLock.days * DAY_MS };
    this.#of(key).push({ id: randomBytes(12).toString('hex'), object, lock: lock ?? byDefault });
  }

  /** DELETE: without a version it only hides, where there is versioning. @throws S3Error for a locked version */
  remove(key: string, versionId: string | null, bypass: boolean): { readonly marker: boolean } {
    if (!this.settings.versioning) {
      this.#current.delete(key);
      return { marker: false };
    }
    if (versionId === null) {
      this.#current.delete(key);
      this.#of(key).push({ id: randomBytes(12).toString('hex'), object: null, lock: null });
      return { marker: true };
    }
    const versions = this.#of(key);
    const at = versions.findIndex(({ id }) => id === versionId);
    const version = versions[at];
    if (version === undefined) return { marker: false };
    if (version.lock !== null && version.lock.untilMs > this.#nowMs()) {
      if (!bypass || version.lock.mode === 'COMPLIANCE') {
        throw new S3Error(403, 'AccessDenied', 'Access Denied because object protected by object lock.');
      }
    }
    versions.splice(at, 1);
    const newest = versions.at(-1)?.object ?? null;
    if (newest === null) this.#current.delete(key);
    else this.#current.set(key, newest);
    return { marker: version.object === null };
  }

  /** The lock of the current version. @throws S3Error as S3 answers */
  lockOf(key: string): S3Lock {
    const { lock } = this.#locked(key);
    if (lock !== null) return lock;
    const message = 'The specified object does not have a ObjectLock configuration';
    throw new S3Error(404, 'NoSuchObjectLockConfiguration', message);
  }

  /** PutObjectRetention on the current version. @throws S3Error as S3 answers */
  setLock(key: string, lock: S3Lock, bypass: boolean): void {
    const version = this.#locked(key);
    if (lock.untilMs <= this.#nowMs()) {
      throw new S3Error(400, 'InvalidArgument', 'The retain until date must be in the future!');
    }
    const { lock: before } = version;
    if (before !== null && before.untilMs > this.#nowMs()) {
      const isLess = lock.untilMs < before.untilMs || lock.mode !== before.mode;
      if (isLess && (!bypass || before.mode === 'COMPLIANCE')) {
        throw new S3Error(403, 'AccessDenied', 'Access Denied because object protected by object lock.');
      }
    }
    version.lock = lock;
  }

  /** Every version and delete marker of keys with a prefix, by key, the newest first. */
  *list(prefix: string): Generator<{ key: string; version: S3Version; isLatest: boolean }> {
    for (const key of [...this.#versions.keys()].toSorted()) {
      if (!key.startsWith(prefix)) continue;
      const versions = this.#of(key).toReversed();
      for (const [at, version] of versions.entries()) yield { key, version, isLatest: at === 0 };
    }
  }

  requireLock(message = 'Bucket is missing Object Lock Configuration'): void {
    if (!this.settings.objectLock) throw new S3Error(400, 'InvalidRequest', message);
  }

  #locked(key: string): S3Version {
    this.requireLock();
    const newest = this.#of(key).at(-1);
    if (newest === undefined)
      throw new S3Error(404, 'NoSuchKey', 'The specified key does not exist.', { elements: { Key: key } });
    if (newest.object !== null) return newest;
    throw new S3Error(405, 'MethodNotAllowed', 'The specified method is not allowed against this resource.');
  }

  #of(key: string): S3Version[] {
    const known = this.#versions.get(key);
    if (known !== undefined) return known;
    const versions: S3Version[] = [];
    this.#versions.set(key, versions);
    return versions;
  }
}
