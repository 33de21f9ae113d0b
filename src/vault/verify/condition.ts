/** What is said of things that were looked at: their condition, and what is wrong with them. */
import type { RetentionPolicy } from '../../buckets/bucket.ts';
import type { BucketPlace } from '../buckets/bucket-set.ts';
import type { Writer } from '../files/writers.ts';

/**
 * How something stands.
 *
 * - `whole`     nothing is missing
 * - `unknown`   nothing is known to be missing, but a bucket could not be asked
 * - `degraded`  something is missing or wrong, and `repair` can put it right, perhaps only when all buckets can be reached
 * - `lost`      too little is left, and every bucket has answered
 */
export type Condition = 'whole' | 'unknown' | 'degraded' | 'lost';

export type Tally = Readonly<Record<Condition, number>>;

const SEVERITY: readonly Condition[] = ['whole', 'unknown', 'degraded', 'lost'];

/** 0 for what is whole, more for what is worse. */
export function severityOf(condition: Condition): number {
  return SEVERITY.indexOf(condition);
}

export function worse(a: Condition, b: Condition): Condition {
  return severityOf(a) >= severityOf(b) ? a : b;
}

export function emptyTally(): Record<Condition, number> {
  return { whole: 0, unknown: 0, degraded: 0, lost: 0 };
}

/** What is wrong with a file, and where. */
export interface FileProblem {
  /** `record`: the file's row in the catalog. */
  readonly what: 'shards' | 'manifest' | 'record';
  /**
   * - `missing`, `damaged`  in that bucket; a record: the catalog has none and could not be given one, or what is there was not written by this vault
   * - `unknown`             the bucket could not be asked
   * - `unstored`            no bucket is known to have had it
   * - `hidden`              the catalog hides the file, though nobody has removed it
   * - `too-new`             it is of a newer version, which only that can judge
   */
  readonly problem: 'missing' | 'damaged' | 'unknown' | 'unstored' | 'hidden' | 'too-new';
  /** The bucket's URL; null if it is none's. */
  readonly bucket: string | null;
}

export function problemKey({ what, problem, bucket }: FileProblem): string {
  return `${what} ${problem} ${bucket ?? ''}`;
}

export interface FileCondition {
  readonly hash: string;
  /** Null if neither a record nor a manifest tells it. */
  readonly name: string | null;
  /** Who stored it; null where no record tells it. */
  readonly writer: Writer | null;
  readonly condition: Exclude<Condition, 'whole'>;
  readonly problems: readonly FileProblem[];
}

/** What a bucket has against removal. */
export interface BucketRetention extends RetentionPolicy {
  /** Of what live files need; null if that was not looked at. */
  readonly locks: {
    /** Objects that are there, and those of them that are kept now. */
    readonly objects: number;
    readonly kept: number;
    /** When the first of those can be removed, in milliseconds since 1970; null where none is kept. */
    readonly firstEndMs: number | null;
  } | null;
}

export interface BucketCondition extends Omit<BucketPlace, 'number'> {
  /** Why the bucket could not be asked, or not to the end; null if it could. */
  readonly error: string | null;
  /** Its `vault.json`: `wrong` if it names another bucket or vault, or is damaged. */
  readonly marker: 'right' | 'missing' | 'wrong' | 'unknown';
  /** Shards that should be there, of those looked at. */
  readonly shards: number;
  readonly shardsMissing: number;
  readonly shardsDamaged: number;
  /** Manifests that are not there; each file needs only m + 1 copies. */
  readonly manifestsMissing: number;
  readonly manifestsDamaged: number;
  /** Keyrings that are missing there, are not what they should be, or should have gone: old passwords open old ones. */
  readonly keyringsWrong: number;
  /** What it has against removal; null where these credentials are not told. */
  readonly retention: BucketRetention | null;
}

export interface VerifyResult {
  /** The worst of all; `degraded` also if a bucket could not be asked, or the catalog was wrong. */
  readonly outcome: 'whole' | 'degraded' | 'lost';
  /** Files that nobody has removed. */
  readonly files: Tally;
  /** Chunks that they need. */
  readonly chunks: Tally;
  /** Files that are not whole, worst first. */
  readonly affected: readonly FileCondition[];
  readonly buckets: readonly BucketCondition[];
  /** Files of this key in the buckets that the catalog did not know, and files that it had a broken row of. It knows them from now on. */
  readonly filesUnlisted: number;
  /** Files that the catalog hid though nobody had removed them. It shows them from now on. */
  readonly filesHidden: number;
  /** Removed files that the catalog showed. It hides them from now on. */
  readonly filesShown: number;
  /** Locked files: what is in them cannot be looked at, only whether all of it is there. */
  readonly notOpened: number;
  /** Objects of a newer version, which only that can judge. */
  readonly tooNew: number;
  /** Objects among manifests, chunks and records of removal that are none of this vault's. */
  readonly foreignObjects: number;
}
