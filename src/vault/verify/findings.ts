/** Gathers what a check has found, by file and by bucket. */
import type { VaultError } from '../../errors.ts';
import type { CallOptions } from '../call.ts';
import { describeFailure, type BucketFailure, type ReadBucket } from '../buckets/bucket-set.ts';
import { refusalOf } from '../files/catch-up.ts';
import type { FileRecord } from '../files/records.ts';
import { writerFinder, type Writer } from '../files/writers.ts';
import type { Session } from '../session.ts';
import type { ChunkCensus } from './census.ts';
import { emptyTally, worse, severityOf, problemKey } from './condition.ts';
import type {
  BucketCondition,
  BucketRetention,
  Condition,
  FileCondition,
  FileProblem,
  Tally,
  VerifyResult,
} from './condition.ts';
import type { ManifestCopies } from './manifest-copies.ts';

interface BucketTotals {
  error: string | null;
  marker: BucketCondition['marker'];
  manifestsMissing: number;
  manifestsDamaged: number;
  keyringsWrong: number;
  retention: BucketRetention | null;
}

/** How a file stands. Many stand alike and share one of these: when a bucket is down, it may be a million of them. */
type FileFindings = Pick<FileCondition, 'problems'> & { readonly condition: Condition };

export class Findings {
  readonly #session: Session;
  readonly #options: CallOptions;
  readonly #files = new Map<
    string,
    Pick<FileCondition, 'name' | 'writer'> & { readonly found: FileFindings }
  >();
  readonly #writerOf: (id: string) => Writer;
  readonly #alike = new Map<string, FileFindings>();
  readonly #buckets = new Map<ReadBucket, BucketTotals>();
  #catalogRefusal: VaultError | null = null;
  /** Files that nobody has removed. */
  files = 0;
  filesUnlisted = 0;
  filesHidden = 0;
  filesShown = 0;
  notOpened = 0;
  tooNew = 0;
  foreignObjects = 0;
  /** Hashes of which there are records of removal that nobody of this vault has signed. */
  readonly forged = new Set<string>();

  constructor(session: Session, options: CallOptions) {
    this.#session = session;
    this.#options = options;
    this.#writerOf = writerFinder(session);
    for (const bucket of session.buckets.all) {
      this.#buckets.set(bucket, {
        error: null,
        marker: 'right',
        manifestsMissing: 0,
        manifestsDamaged: 0,
        keyringsWrong: 0,
        retention: null,
      });
    }
  }

  /** Notes why a bucket could not be asked, and warns of it once. */
  bucketFailed({ bucket, error }: BucketFailure): void {
    const totals = this.#totals(bucket);
    if (totals.error !== null) return;
    totals.error = describeFailure({ bucket, error });
    totals.marker = markerBy(error);
    this.#options.onWarning?.({ kind: 'bucket-down', message: totals.error, bucket: bucket.url });
  }

  /** Buckets that could be asked so far. */
  get usable(): readonly ReadBucket[] {
    return this.#session.buckets.all.filter((bucket) => this.#totals(bucket).error === null);
  }

  /** Whether any bucket of the vault could not be asked. */
  get someUnreachable(): boolean {
    return this.unreachable.size > 0;
  }

  get unreachable(): ReadonlySet<ReadBucket> {
    return new Set(this.#session.buckets.all.filter((bucket) => this.#totals(bucket).error !== null));
  }

  retentionIs(bucket: ReadBucket, retention: BucketRetention): void {
    this.#totals(bucket).retention = retention;
  }

  keyringWrong(bucket: ReadBucket): void {
    this.#totals(bucket).keyringsWrong += 1;
  }

  /** Notes what is wrong with the copies of a manifest, by bucket. */
  countCopies(copies: ManifestCopies): void {
    for (const [bucket, state] of copies) {
      if (state === 'missing') this.#totals(bucket).manifestsMissing += 1;
      if (state === 'damaged') this.#totals(bucket).manifestsDamaged += 1;
    }
  }

  /** @param record null where there is none, or none that can be believed */
  addFile(
    hash: string,
    record: FileRecord | null,
    condition: Condition,
    problems: readonly FileProblem[],
  ): void {
    const known = this.#files.get(hash);
    const merged = new Map<string, FileProblem>();
    for (const each of [...(known?.found.problems ?? []), ...problems]) merged.set(problemKey(each), each);
    const worst = known === undefined ? condition : worse(condition, known.found.condition);
    const key = [worst, ...[...merged.keys()].toSorted()].join('\n');
    let found = this.#alike.get(key);
    if (found === undefined) {
      found = { condition: worst, problems: [...merged.values()] };
      this.#alike.set(key, found);
    }
    const writer = record === null ? known?.writer : this.#writerOf(record.row.writer);
    const name = record?.info.name ?? known?.name ?? null;
    this.#files.set(hash, { found, name, writer: writer ?? null });
  }

  /** Forgets a file that has been removed meanwhile. */
  dropFile(hash: string): void {
    this.#files.delete(hash);
    this.files -= 1;
  }

  /** Whether what is found may be noted in the catalog. One that cannot be written is told of if it has something wrong. */
  async catalogCanCatchUp(): Promise<boolean> {
    this.#catalogRefusal = await refusalOf(this.#session);
    return this.#catalogRefusal === null;
  }

  warnOfCatalog(): void {
    const { filesUnlisted, filesHidden, filesShown } = this;
    const parts = [
      ...(filesUnlisted > 0 ? [`did not know ${filesUnlisted} of the files in the buckets`] : []),
      ...(filesHidden > 0 ? [`hid ${filesHidden} that nobody has removed`] : []),
      ...(filesShown > 0 ? [`showed ${filesShown} that were removed`] : []),
    ];
    if (parts.length === 0) return;
    this.#options.onWarning?.({
      kind: 'catalog',
      message: `The catalog disagreed with the buckets: it ${parts.join(', ')}. ${this.#catalogRefusal?.message ?? 'It agrees now.'}`,
      bucket: null,
    });
  }

  /** @param census whose needed chunks have all been judged */
  result(census: ChunkCensus): VerifyResult {
    const affected = this.#affected();
    const files = emptyTally();
    for (const { condition } of affected) files[condition] += 1;
    files.whole = Math.max(0, this.files - affected.length);
    const chunks = emptyTally();
    const shards = new Map<ReadBucket, { shards: number; shardsMissing: number; shardsDamaged: number }>();
    for (const bucket of this.#buckets.keys())
      shards.set(bucket, { shards: 0, shardsMissing: 0, shardsDamaged: 0 });
    for (const judgement of census.needed()) {
      chunks[judgement.condition] += 1;
      for (const { bucket, state } of judgement.shards) {
        const totals = bucket === null ? undefined : shards.get(bucket);
        if (totals === undefined) continue;
        totals.shards += 1;
        if (state === 'missing') totals.shardsMissing += 1;
        if (state === 'damaged') totals.shardsDamaged += 1;
      }
    }
    const buckets: BucketCondition[] = [];
    for (const [bucket, totals] of this.#buckets) {
      const { id, url, state } = bucket;
      const counts = shards.get(bucket) ?? { shards: 0, shardsMissing: 0, shardsDamaged: 0 };
      buckets.push({ id, url, state, ...totals, ...counts });
    }
    const { filesUnlisted, filesHidden, filesShown, notOpened, tooNew, foreignObjects } = this;
    return {
      outcome: this.#outcome(files),
      files,
      chunks,
      affected,
      buckets,
      filesUnlisted,
      filesHidden,
      filesShown,
      notOpened,
      tooNew,
      foreignObjects: foreignObjects + this.forged.size,
    };
  }

  #affected(): FileCondition[] {
    const found = [...this.#files].flatMap(
      ([
        hash,
        {
          found: { condition, problems },
          ...named
        },
      ]) => (condition === 'whole' ? [] : [{ hash, ...named, condition, problems }]),
    );
    return found.toSorted((a, b) => severityOf(b.condition) - severityOf(a.condition));
  }

  #outcome(files: Tally): VerifyResult['outcome'] {
    if (files.lost > 0) return 'lost';
    const wrong = [...this.#buckets.values()].some(
      ({ error, keyringsWrong }) => error !== null || keyringsWrong > 0,
    );
    const disagree = this.filesUnlisted + this.filesHidden + this.filesShown + this.tooNew;
    return wrong || files.degraded + files.unknown + disagree > 0 ? 'degraded' : 'whole';
  }

  #totals(bucket: ReadBucket): BucketTotals {
    const totals = this.#buckets.get(bucket);
    if (totals === undefined) throw new RangeError('The vault has no such bucket.');
    return totals;
  }
}

/** What the failure of a bucket says of its marker. */
function markerBy({ code }: VaultError): BucketCondition['marker'] {
  if (code === 'bucket-missing') return 'missing';
  return code === 'bucket-mismatch' || code === 'damaged' ? 'wrong' : 'unknown';
}
