/** What was wrong with shards while reading: gathered, so that a thousand of them make one line a bucket. */
import { isVaultError, VaultError } from '../../errors.ts';
import { formatRedundancy, type Redundancy } from '../../format/shard.ts';
import { describeFailure, outageCode, type ReadBucket } from '../buckets/bucket-set.ts';
import type { Warning } from '../call.ts';

export interface ShardProblem {
  readonly bucket: ReadBucket;
  readonly chunkId: string;
  /** The shard's index; null if the bucket as a whole could not be asked. */
  readonly index: number | null;
  readonly error: VaultError;
}

type Kind = 'missing' | 'damaged' | 'down';

export class ShardProblems {
  /** Of each bucket and kind: the first problem, and how many. */
  readonly #byBucket = new Map<ReadBucket, Map<Kind, { readonly first: ShardProblem; count: number }>>();
  /** Of the chunks now being read; a chunk's are dropped when it has been read. */
  readonly #recent: ShardProblem[] = [];

  /** Buckets that let a reader wait until another one was asked, and whether they have ever answered. */
  readonly #slow = new Set<ReadBucket>();
  readonly #answered = new Set<ReadBucket>();

  /** Whether there was a chunk that could not be got elsewhere, either. */
  #hasLost = false;

  add(problem: ShardProblem): void {
    // Looking for a chunk everywhere comes by the same shard again.
    if (this.#recent.some((known) => isSame(known, problem))) return;
    const kinds =
      this.#byBucket.get(problem.bucket) ?? new Map<Kind, { first: ShardProblem; count: number }>();
    this.#byBucket.set(problem.bucket, kinds);
    const kind = kindOf(problem.error);
    const known = kinds.get(kind);
    if (known === undefined) kinds.set(kind, { first: problem, count: 1 });
    else known.count += 1;
    this.#recent.push(problem);
    if (this.#recent.length > MOST_RECENT) this.#recent.shift();
  }

  /** A bucket let a reader wait until another one was asked. */
  noteSlow(bucket: ReadBucket): void {
    this.#slow.add(bucket);
  }

  /** A bucket gave a shard. */
  noteAnswer(bucket: ReadBucket): void {
    this.#slow.delete(bucket);
    this.#answered.add(bucket);
  }

  /** Numbers of the buckets that did not answer, or not in time. */
  get downBuckets(): ReadonlySet<number> {
    const down = [...this.#byBucket].flatMap(([bucket, kinds]) => (kinds.has('down') ? [bucket] : []));
    return new Set([...down, ...this.#slow].map((bucket) => bucket.number));
  }

  /** One warning for each bucket with problems. */
  warnings(): Warning[] {
    const elsewhere = this.#hasLost ? [] : [ELSEWHERE];
    const silent = [...this.#slow].filter(
      (bucket) => !this.#answered.has(bucket) && !this.#byBucket.has(bucket),
    );
    const told = [...this.#byBucket].map(([bucket, kinds]): Warning => {
      const sentences = [...kinds].map(([kind, { first, count }]) => describe(kind, first, count));
      return {
        kind: kinds.has('damaged') ? 'shard-damaged' : kinds.has('missing') ? 'shard-missing' : 'bucket-down',
        message: [...sentences, ...elsewhere].join(' '),
        bucket: bucket.url,
      };
    });
    return [
      ...told,
      ...silent.map(({ url }): Warning => ({
        kind: 'bucket-down',
        message: [`${url} did not answer in time.`, ...elsewhere].join(' '),
        bucket: url,
      })),
    ];
  }

  /**
   * The error for a chunk that could not be read.
   *
   * @param redundancy what it is coded with, as far as anybody knows; null if no bucket has any of it
   */
  lost(chunkId: string, redundancy: Redundancy | null): VaultError {
    this.#hasLost = true;
    const problems = this.#recent.filter((problem) => problem.chunkId === chunkId);
    const outages = problems.flatMap(({ error }) => (kindOf(error) === 'down' ? error : []));
    const what =
      redundancy === null
        ? `The chunk ${chunkId} is in no bucket`
        : `The chunk ${chunkId} needs ${redundancy.k} of its ${redundancy.k + redundancy.m} shards (${formatRedundancy(redundancy)}), and fewer are left`;
    const seen = new Set(
      problems.map(({ bucket, index, error }) =>
        index === null
          ? describeFailure({ bucket, error })
          : `${bucket.url} ${kindOf(error) === 'missing' ? 'lacks' : kindOf(error) === 'damaged' ? 'has damaged' : 'did not give'} shard ${index}.`,
      ),
    );
    const reasons = [...seen].join(' ');
    const newer = problems.find(({ error }) => isVaultError(error, 'unsupported'));
    if (outages.length === 0 && newer !== undefined) {
      const message = `${what} that this version can read. Use a newer version: ${newer.error.message}`;
      return new VaultError('unsupported', message, { cause: newer.error });
    }
    if (outages.length === 0) {
      const message = `${what}: ${reasons || 'no bucket has the others.'} The file cannot be read.`;
      return new VaultError('damaged', message, { cause: problems[0]?.error });
    }
    const code = outageCode(outages);
    const advice =
      code === 'denied'
        ? 'Try again with credentials that may read it.'
        : 'Try again when the bucket is back.';
    return new VaultError(code, `${what} within reach: ${reasons} ${advice}`, { cause: outages[0] });
  }
}

const MOST_RECENT = 1_000;
const ELSEWHERE = 'The file was read from the other buckets.';

function isSame(one: ShardProblem, other: ShardProblem): boolean {
  return (
    one.bucket === other.bucket &&
    one.chunkId === other.chunkId &&
    one.index === other.index &&
    kindOf(one.error) === kindOf(other.error)
  );
}

function kindOf(error: VaultError): Kind {
  if (isVaultError(error, 'object-missing')) return 'missing';
  return isVaultError(error, 'damaged', 'unsupported') ? 'damaged' : 'down';
}

function describe(kind: Kind, first: ShardProblem, count: number): string {
  if (kind === 'down') return describeFailure(first);
  const shards = count === 1 ? '1 shard' : `${count} shards`;
  const example = `shard ${first.index ?? 0} of chunk ${first.chunkId.slice(0, 12)}`;
  return `${first.bucket.url}: ${shards} ${kind} (first: ${example}).`;
}
