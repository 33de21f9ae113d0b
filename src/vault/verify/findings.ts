/** Gathers what a check or a repair has found, by file and by bucket. */
import type { ChunkRow, FileRow } from '../../catalog/catalog.ts';
import { isVaultError } from '../../errors.ts';
import type { VaultError } from '../../errors.ts';
import { describeFailure } from '../buckets/bucket-set.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { conditionOf } from './examine.ts';
import type { ShardState, Verdict } from './examine.ts';
import { openFileRow } from '../files/files.ts';
import type { Session } from '../session.ts';
import type {
  BucketCondition,
  CallOptions,
  Condition,
  FileCondition,
  FileProblem,
  Tally,
  VerifyResult,
} from '../vault.ts';

const GRAVITY: readonly Condition[] = ['whole', 'unknown', 'degraded', 'lost'];

/** The graver of two. */
export function graver(a: Condition, b: Condition): Condition {
  return GRAVITY.indexOf(a) > GRAVITY.indexOf(b) ? a : b;
}

/** Where the copies of one manifest are, and how. */
export interface ManifestVerdict {
  readonly hash: string;
  readonly copies: ReadonlyMap<VaultBucket, CopyState>;
}

/** What has become of one copy; as for shards. */
export type CopyState = Exclude<ShardState, 'unstored'>;

/** How a file stands by its manifest alone. @param enough copies that it should have */
export function manifestCondition({ copies }: ManifestVerdict, enough: number): Condition {
  const states = [...copies.values()];
  const good = states.filter((state) => state === 'good').length;
  const unknown = states.filter((state) => state === 'unknown').length;
  if (good + unknown === 0) return 'lost';
  if (good + unknown < enough || states.includes('damaged')) return 'degraded';
  return good < enough ? 'unknown' : 'whole';
}

interface BucketTotals {
  error: string | null;
  shards: number;
  shardsMissing: number;
  shardsDamaged: number;
  manifestsMissing: number;
  manifestsDamaged: number;
  keyslotsWrong: number;
}

/** How files stand. Many stand alike and share one of these: when a bucket is down, it may be a million of them. */
type FileFindings = Pick<FileCondition, 'condition' | 'problems'>;

export class Findings {
  readonly #session: Session;
  readonly #options: CallOptions;
  readonly #only: ReadonlySet<string> | null;
  readonly #chunks: Record<Condition, number> = { whole: 0, unknown: 0, degraded: 0, lost: 0 };
  readonly #files = new Map<string, FileFindings>();
  readonly #alike = new Map<string, FileFindings>();
  readonly #buckets = new Map<VaultBucket, BucketTotals>();

  /** @param only hashes of the files to report; null for all */
  constructor(session: Session, options: CallOptions, only: ReadonlySet<string> | null) {
    this.#session = session;
    this.#options = options;
    this.#only = only;
    for (const bucket of session.buckets.all) this.#totals(bucket);
  }

  /** Notes why a bucket could not be asked, and warns of it once. */
  bucketFailed(bucket: VaultBucket, error: VaultError): void {
    const totals = this.#totals(bucket);
    if (totals.error !== null) return;
    totals.error = describeFailure({ bucket, error });
    this.#options.onWarning?.({ kind: 'bucket-down', message: totals.error, bucket: bucket.url });
  }

  /** URLs of the buckets that failed. */
  get failedBuckets(): string[] {
    return [...this.#buckets].flatMap(([{ url }, { error }]) => (error === null ? [] : [url]));
  }

  keyslotWrong(bucket: VaultBucket): void {
    this.#totals(bucket).keyslotsWrong += 1;
  }

  /** Notes how chunks stand, and which files that concerns. @param verdicts at most 1,000 */
  async addChunks(verdicts: readonly Verdict[]): Promise<void> {
    const groups = new Map<
      string,
      { readonly condition: Condition; readonly problems: readonly FileProblem[]; readonly ids: string[] }
    >();
    for (const verdict of verdicts) {
      const condition = conditionOf(verdict);
      this.#chunks[condition] += 1;
      const problems = this.#problemsOf(verdict);
      if (condition === 'whole') continue;
      const key = [condition, ...problems.map(keyOf)].join('\n');
      const group = groups.get(key) ?? { condition, problems, ids: [] };
      groups.set(key, group);
      group.ids.push(verdict.row.id);
    }
    for (const { condition, problems, ids } of groups.values()) {
      for (const file of await this.#session.catalog.filesOfChunks(ids)) {
        this.addFile(file.hash, condition, problems);
      }
    }
  }

  /** Notes how a file's manifest stands. */
  addManifest(verdict: ManifestVerdict, enough: number): void {
    const condition = manifestCondition(verdict, enough);
    const problems: FileProblem[] = [];
    for (const [bucket, state] of verdict.copies) {
      if (state === 'good') continue;
      if (state === 'missing') this.#totals(bucket).manifestsMissing += 1;
      if (state === 'damaged') this.#totals(bucket).manifestsDamaged += 1;
      problems.push({ what: 'manifest', problem: state, bucket: bucket.url });
    }
    this.addFile(verdict.hash, condition, problems);
  }

  /** Notes what is wrong with a file. */
  addFile(hash: string, condition: Condition, problems: readonly FileProblem[]): void {
    if (condition === 'whole' || this.#only?.has(hash) === false) return;
    const known = this.#files.get(hash);
    const merged = new Map([...(known?.problems ?? []), ...problems].map((each) => [keyOf(each), each]));
    const gravest = known !== undefined && graver(condition, known.condition) !== condition;
    const found = { condition: gravest ? known.condition : condition, problems: [...merged.values()] };
    const key = [found.condition, ...[...merged.keys()].toSorted()].join('\n');
    const alike = this.#alike.get(key) ?? found;
    this.#alike.set(key, alike);
    this.#files.set(hash, alike);
  }

  /** Files that are not whole, gravest first. */
  async affected(): Promise<FileCondition[]> {
    const found: FileCondition[] = [];
    for (const [hash, { condition, problems }] of this.#files) {
      const [row] = await this.#session.catalog.filesByHash(hash, 1);
      // Removed meanwhile.
      if (row === undefined) continue;
      found.push({ hash, name: this.#nameOf(row), condition, problems });
    }
    return found.toSorted((a, b) => GRAVITY.indexOf(b.condition) - GRAVITY.indexOf(a.condition));
  }

  /** @param files how many files there are in all */
  async result(files: number): Promise<VerifyResult> {
    const affected = await this.affected();
    const tally: Record<Condition, number> = { whole: 0, unknown: 0, degraded: 0, lost: 0 };
    for (const { condition } of affected) tally[condition] += 1;
    tally.whole = Math.max(0, files - affected.length);
    const buckets: BucketCondition[] = [];
    for (const [{ id, url, state }, totals] of this.#buckets) buckets.push({ id, url, state, ...totals });
    return { outcome: this.#outcome(tally), files: tally, chunks: { ...this.#chunks }, affected, buckets };
  }

  #outcome(files: Tally): VerifyResult['outcome'] {
    if (files.lost > 0) return 'lost';
    const wrong = [...this.#buckets.values()].some(
      ({ error, keyslotsWrong }) => error !== null || keyslotsWrong > 0,
    );
    // Chunks of puts that are still under way belong to no file yet.
    return wrong || files.degraded + files.unknown + this.#chunks.degraded + this.#chunks.lost > 0
      ? 'degraded'
      : 'whole';
  }

  #problemsOf({ row, sealedSize, states }: Verdict): FileProblem[] {
    const problems = new Map<string, FileProblem>();
    const add = (problem: FileProblem): void => void problems.set(keyOf(problem), problem);
    if (sealedSize !== row.sealedSize) add({ what: 'shards', problem: 'unrecorded', bucket: null });
    for (const [index, state] of states.entries()) {
      const bucket = this.#bucketOf(row, index);
      if (bucket !== null) {
        const totals = this.#totals(bucket);
        totals.shards += 1;
        if (state === 'missing') totals.shardsMissing += 1;
        if (state === 'damaged') totals.shardsDamaged += 1;
      }
      if (state === 'good') continue;
      const problem = bucket === null ? 'unstored' : state;
      add({ what: 'shards', problem, bucket: bucket?.url ?? null });
    }
    return [...problems.values()].toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  }

  #bucketOf(row: ChunkRow, index: number): VaultBucket | null {
    const place = row.shards[index];
    return place ? this.#session.buckets.byNumber(place.bucket) : null;
  }

  #nameOf(row: FileRow): string | null {
    try {
      return openFileRow(this.#session, row).info.name;
    } catch (error) {
      if (!isVaultError(error, 'damaged')) throw error;
      return null;
    }
  }

  #totals(bucket: VaultBucket): BucketTotals {
    const totals = this.#buckets.get(bucket) ?? {
      error: null,
      shards: 0,
      shardsMissing: 0,
      shardsDamaged: 0,
      manifestsMissing: 0,
      manifestsDamaged: 0,
      keyslotsWrong: 0,
    };
    this.#buckets.set(bucket, totals);
    return totals;
  }
}

function keyOf({ what, problem, bucket }: FileProblem): string {
  return `${what} ${problem} ${bucket ?? ''}`;
}
