/** What a sweep is asked for, and what comes of it. */
import type { PlanOptions } from '../call.ts';
import type { FileInfo } from '../files/records.ts';

export interface SweepOptions extends PlanOptions {
  /** Whether removed files go whose grace is not over. */
  readonly ignoreGrace?: boolean | undefined;
  /** Whether it follows at once upon a removal by the same vault: then the buckets are not asked again whether they are the right ones, but where it would forget a removal. */
  readonly follows?: boolean | undefined;
  /** Milliseconds to wait for running puts; a later sweep goes on. */
  readonly waitMs?: number | undefined;
}

export interface SweepResult {
  /** Files whose time was over: hidden now, and removed after their grace. */
  readonly expired: readonly FileInfo[];
  /** Files whose manifests were removed (with `dryRun`: would be). */
  readonly filesRemoved: number;
  /** Objects that were removed (with `dryRun`: would be), and their bytes where that is known. */
  readonly objectsRemoved: number;
  readonly bytesRemoved: number;
  /** Objects that wait for running puts: the next sweep removes them. With `dryRun`: those that an earlier sweep or a repair has chosen. */
  readonly objectsWaiting: number;
  /** Objects that a lock or a policy of their bucket keeps: a sweep after that removes them. */
  readonly objectsRetained: number;
  /** When the last of those can be removed, in milliseconds since 1970; null where there is none, or it is not known. */
  readonly retainedUntilMs: number | null;
  /** Objects among the chunks that are no shards; they stay. */
  readonly foreignObjects: number;
  /** Files of this key in the buckets that the catalog did not know, and knows now. */
  readonly filesLearned: number;
  /** Hashes of files that the catalog lists and no bucket has. */
  readonly filesMissing: readonly string[];
  /** Why no chunk was removed; null if nothing was in the way. */
  readonly blockedBy: string | null;
  /** Buckets that could not be asked (URLs; ids of those that the catalog has no URL of): nothing was removed then. */
  readonly unreachable: readonly string[];
}

/** What comes of a sweep that cannot ask every bucket. */
export function nothingRemoved(unreachable: readonly string[]): SweepResult {
  return {
    expired: [],
    filesRemoved: 0,
    objectsRemoved: 0,
    bytesRemoved: 0,
    objectsWaiting: 0,
    objectsRetained: 0,
    retainedUntilMs: null,
    foreignObjects: 0,
    filesLearned: 0,
    filesMissing: [],
    blockedBy: null,
    unreachable,
  };
}
