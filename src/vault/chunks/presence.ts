/**
 * Which chunks the buckets have, by their own listings: what a put skips, and where a reader looks when the catalog is wrong. It
 * reads a listing from wherever it is asked, a page or as much as comes quickly, and remembers what it has read.
 *
 * What lists of removal name counts as absent (see `remove/sweep.ts`).
 */
import { isFailure, type VaultError } from '../../errors.ts';
import type { Clock } from '../../host.ts';
import { CHUNK_PREFIX, parseShardObjectName, shardObjectName } from '../../format/shard.ts';
import { untilAborted } from '../../concurrency/until-aborted.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';
import { setsOf, type ListedShard, type ShardSet } from './shard-sets.ts';

/** Names read at once, at least; more when they come quickly. */
const LEAST_A_PAGE = 1_000;
const MOST_A_PAGE = 20_000;
/** Listed shards that are remembered of one bucket; then the oldest pages go. */
const MOST_REMEMBERED = 60_000;
/** Listings of one bucket under way at once, when it has shown to be large. */
const MOST_AT_ONCE = 8;

export class Presence {
  readonly #sides: readonly BucketPresence[];
  /** Those that have let a reader wait. */
  readonly #late = new Set<BucketPresence>();

  /**
   * @param buckets whose listings count
   * @param clock this machine's
   * @param absent names of objects that count as absent
   */
  constructor(buckets: readonly ReadBucket[], clock: Clock, absent: ReadonlySet<string> = new Set()) {
    this.#sides = buckets.map((bucket) => new BucketPresence(bucket, clock, absent));
  }

  /**
   * The sets of shards of a chunk, fullest first. A bucket that cannot be listed has none, see `failures`.
   *
   * @throws `interrupted`
   */
  async sets(chunkId: string, signal?: AbortSignal): Promise<ShardSet[]> {
    const found = await Promise.all(this.#sides.map((side) => side.shards(chunkId, signal)));
    return setsOf(found.flat());
  }

  /**
   * As `sets`, by what comes soon: a bucket that lets its reader wait is left out, and then not waited for again.
   *
   * @returns `complete`: whether all have answered
   */
  async soon(
    chunkId: string,
    patienceMs: number,
    signal?: AbortSignal,
  ): Promise<{ readonly sets: ShardSet[]; readonly complete: boolean }> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => {
      timer = setInterval(() => resolve(null), patienceMs);
    });
    const now = new Promise<null>((resolve) => setImmediate(() => resolve(null)));
    try {
      const found = await Promise.all(
        this.#sides.map(async (side) => {
          const listed = side.shards(chunkId, signal);
          const shards = await Promise.race([listed, this.#late.has(side) ? now : late]);
          if (shards !== null) {
            this.#late.delete(side);
            return shards;
          }
          this.#late.add(side);
          // Nobody waits for it any more; whether it fails is asked when it matters.
          listed.catch(() => undefined);
          return null;
        }),
      );
      return { sets: setsOf(found.flatMap((shards) => shards ?? [])), complete: !found.includes(null) };
    } finally {
      clearInterval(timer);
    }
  }

  /** Notes shards that buckets have taken since: this process has their word for it. */
  note(shards: readonly ListedShard[]): void {
    for (const shard of shards) this.#sides.find(({ bucket }) => bucket === shard.bucket)?.note(shard);
  }

  /** Those whose listings count. */
  get buckets(): readonly ReadBucket[] {
    return this.#sides.map(({ bucket }) => bucket);
  }

  /** Buckets that could not be listed, and why. */
  get failures(): readonly { readonly bucket: ReadBucket; readonly error: VaultError }[] {
    return this.#sides.flatMap(({ bucket, failure }) =>
      failure === null ? [] : [{ bucket, error: failure }],
    );
  }
}

/** A stretch of a listing that has been read: chunks greater than `after`, up to and including `last`. */
interface Page {
  readonly after: string;
  readonly last: string;
  readonly shards: ReadonlyMap<string, readonly ListedShard[]>;
  readonly count: number;
}

/** Greater than any chunk's id. */
const END = 'g';
/** No id is less. */
const FIRST = '0'.repeat(64);

class BucketPresence {
  readonly bucket: ReadBucket;
  readonly #clock: Clock;
  readonly #absent: ReadonlySet<string>;
  #pages: Page[] = [];
  /** Shards that were stored after the listings were read, by chunk. */
  readonly #stored = new Map<string, ListedShard[]>();
  #reading = 0;
  #read = 0;
  /** Whether the listing has been read from its beginning. */
  #beginning: 'unread' | 'read now' | 'read' = 'unread';
  readonly #waiting: (() => void)[] = [];
  failure: VaultError | null = null;

  constructor(bucket: ReadBucket, clock: Clock, absent: ReadonlySet<string>) {
    this.bucket = bucket;
    this.#clock = clock;
    this.#absent = absent;
  }

  async shards(chunkId: string, signal?: AbortSignal): Promise<readonly ListedShard[]> {
    for (;;) {
      if (this.failure !== null) return [];
      const page = this.#pages.find(({ after, last }) => after < chunkId && chunkId <= last);
      if (page !== undefined) return this.#withStored(chunkId, page.shards.get(chunkId) ?? []);
      // The first listings tell how large the bucket is: of a small one, two are enough for everybody.
      const mayRead =
        this.#reading < Math.min(MOST_AT_ONCE, this.#read + 1) && this.#beginning !== 'read now';
      if (mayRead) await this.#readFrom(chunkId, signal);
      else await untilAborted(new Promise<void>((resolve) => this.#waiting.push(resolve)), signal);
    }
  }

  note(shard: ListedShard): void {
    const { chunkId } = shard.name;
    this.#stored.set(chunkId, [...(this.#stored.get(chunkId) ?? []), shard]);
    const [oldest] = this.#stored.keys();
    if (this.#stored.size > MOST_REMEMBERED && oldest !== undefined) this.#stored.delete(oldest);
  }

  /** A listing that was read later has them, too. */
  #withStored(chunkId: string, listed: readonly ListedShard[]): readonly ListedShard[] {
    const stored = this.#stored.get(chunkId);
    if (stored === undefined) return listed;
    const uploads = new Set(listed.map(({ name }) => name.upload));
    return [...listed, ...stored.filter(({ name }) => !uploads.has(name.upload))];
  }

  async #readFrom(chunkId: string, signal: AbortSignal | undefined): Promise<void> {
    this.#reading += 1;
    // What came to the end in one go is small, or the end of something large: the beginning is worth a try.
    const fromBeginning = this.#beginning === 'unread' && this.#pages.some(({ last }) => last === END);
    if (fromBeginning) this.#beginning = 'read now';
    try {
      const page = await this.#page(fromBeginning ? FIRST : chunkId, signal);
      this.#pages.push(page);
      let kept = this.#pages.reduce((sum, { count }) => sum + count, 0);
      while (kept > MOST_REMEMBERED && this.#pages.length > 1) kept -= this.#pages.shift()?.count ?? 0;
    } catch (error) {
      if (!isFailure(error)) throw error;
      this.failure = error;
    } finally {
      if (fromBeginning) this.#beginning = 'read';
      this.#reading -= 1;
      this.#read += 1;
      for (const wake of this.#waiting.splice(0)) wake();
    }
  }

  /**
   * Reads on for as long as it took until the first name came: what costs a request a page ends after two, what was
   * sorted in one go is taken whole.
   */
  async #page(chunkId: string, signal: AbortSignal | undefined): Promise<Page> {
    const shards = new Map<string, ListedShard[]>();
    const began = this.#clock.monotonic();
    let patience: number | null = null;
    let count = 0;
    // The last chunk may go on behind what was read.
    let open: string | null = null;
    let complete = true;
    const storage = await this.bucket.checked(signal);
    for await (const { name, ...listed } of storage.list(CHUNK_PREFIX, {
      after: CHUNK_PREFIX + chunkId,
      signal,
    })) {
      patience ??= 2 * (this.#clock.monotonic() - began);
      const isEnough =
        count >= LEAST_A_PAGE && (count >= MOST_A_PAGE || this.#clock.monotonic() - began > patience);
      const parsed = parseShardObjectName(name);
      // What is no shard has no chunk to wait for the end of, and a hostile listing may have nothing else.
      if (parsed === null && isEnough && count >= MOST_A_PAGE) {
        const rest = name.slice(CHUNK_PREFIX.length);
        open = rest > chunkId ? rest : chunkId;
        complete = false;
        break;
      }
      if (parsed !== null && parsed.chunkId !== open) {
        // What is no shard has no place that a page could end at.
        if (isEnough && open !== null) {
          complete = false;
          break;
        }
        open = parsed.chunkId;
      }
      count += 1;
      if (parsed === null || this.#absent.has(shardObjectName(parsed))) continue;
      const known = shards.get(parsed.chunkId);
      const shard = { bucket: this.bucket, name: parsed, ...listed };
      if (known === undefined) shards.set(parsed.chunkId, [shard]);
      else if (known.length < MOST_OF_A_CHUNK) known.push(shard);
    }
    return { after: justBefore(chunkId), last: complete || open === null ? END : open, shards, count };
  }
}

/** Shards of one chunk in one bucket that are looked at: a hostile listing has any number, and so may plant who can only store. */
const MOST_OF_A_CHUNK = 1_000;

/** A string that is less than this id and not less than any other id below it. */
function justBefore(chunkId: string): string {
  return `${chunkId.slice(0, -1)}${String.fromCharCode(chunkId.charCodeAt(chunkId.length - 1) - 1)}~`;
}
