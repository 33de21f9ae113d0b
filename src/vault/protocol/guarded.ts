/** What a put works under, as the rest of the vault knows it; `put-guard.ts` keeps it. */
import type { BucketFailure, VaultBucket } from '../buckets/bucket-set.ts';
import type { Presence } from '../chunks/presence.ts';
import type { BucketClocks } from './clocks.ts';

/** Keeps one marker for all puts of a process that run at once. */
export interface PutGuard {
  /**
   * Works under a marker: one that stands already, or a new one.
   *
   * @param work gets what is there, seen after the marker was written
   * @throws `unavailable` (or what they said) if no bucket takes the marker; what the work throws
   */
  run<T>(work: (guarded: Guarded) => Promise<T>, signal?: AbortSignal): Promise<T>;
  /** Takes the marker away, once nobody works under it. */
  end(): Promise<void>;
}

/** A marker that stands, and those that renew it. */
export interface Guarded {
  /** What the buckets have, as seen under the marker. */
  readonly presence: Presence;
  /** The same, also in buckets that are being emptied: what is there and will be moved. */
  readonly everywhere: Presence;
  /** Buckets that take new objects. */
  readonly targets: readonly VaultBucket[];
  /** Buckets that could not be used. */
  readonly failed: readonly BucketFailure[];
  /** What the buckets that took the marker say of the time. */
  readonly clocks: BucketClocks;
  /** Whether a list of removal names this object. */
  isNamed(objectName: string): boolean;
  /** Notes a chunk that the put relies on, so that a renewed marker names it. Call it before `keep`, and that before the look. */
  note(chunkId: string): void;
  /** Renews the marker when it is due. @throws `stale` if it has become too old to be trusted: this machine has slept */
  keep(signal?: AbortSignal): Promise<void>;
}
