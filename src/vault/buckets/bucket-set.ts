/** The buckets of a vault, as the operations see them: opened when first used, and known to be the right ones. */
import type { Bucket } from '../../buckets/bucket.ts';
import type { BucketRow, ShardPlace } from '../../catalog/catalog.ts';
import { isVaultError, messageOf, VaultError } from '../../errors.ts';
import { decodeMarker, MARKER_NAME, MAX_JSON_OBJECT_SIZE } from '../../format/keyslot.ts';

/** Makes a bucket of a URL; what comes from outside, so that this module knows no driver. */
export type BucketOpener = (url: string) => Promise<Bucket>;

/** One bucket of the vault. */
export class VaultBucket {
  readonly number: number;
  readonly id: string;
  readonly url: string;
  readonly state: BucketRow['state'];
  readonly #vaultId: string;
  readonly #opener: BucketOpener;
  #opened: Promise<Bucket> | null = null;
  #checked = false;

  constructor(
    row: Pick<BucketRow, 'number' | 'id' | 'state'>,
    place: { readonly url: string; readonly vaultId: string; readonly opener: BucketOpener },
  ) {
    this.number = row.number;
    this.id = row.id;
    this.state = row.state;
    this.url = place.url;
    this.#vaultId = place.vaultId;
    this.#opener = place.opener;
  }

  /** The bucket, for reading: objects prove themselves. */
  open(): Promise<Bucket> {
    this.#opened ??= this.#opener(this.url);
    return this.#opened;
  }

  /**
   * The bucket, for writing, removing and listing, once its marker has said that it is the one the vault knows: an
   * unmounted disk or a mistyped URL must not look like an empty bucket.
   *
   * @throws `bucket-missing`, `bucket-mismatch`, `unavailable`, `denied`
   */
  async checked(signal?: AbortSignal): Promise<Bucket> {
    if (!this.#checked) await this.confirm(signal);
    return this.open();
  }

  /** Asks for the marker anew. @throws as `checked` */
  async confirm(signal?: AbortSignal): Promise<void> {
    this.#checked = false;
    const bucket = await this.open();
    const marker = await readMarker(bucket, signal);
    if (marker === null) {
      throw new VaultError(
        'bucket-missing',
        `The bucket ${this.url} has no ${MARKER_NAME}, so this is not the bucket that the vault knows. Is its disk mounted, is the URL right?`,
      );
    }
    if (marker.vaultId !== this.#vaultId || marker.bucketId !== this.id) {
      throw new VaultError(
        'bucket-mismatch',
        marker.vaultId === this.#vaultId
          ? `${this.url} is another bucket of this vault than the one recorded under this URL.`
          : `${this.url} belongs to another vault.`,
      );
    }
    this.#checked = true;
  }

  async close(): Promise<void> {
    if (this.#opened === null) return;
    const [bucket] = await Promise.allSettled([this.#opened]);
    if (bucket.status === 'fulfilled') await bucket.value.close();
  }
}

/** A bucket's marker; null if the bucket answers and has none. */
export async function readMarker(
  bucket: Bucket,
  signal?: AbortSignal,
): Promise<{ vaultId: string; bucketId: string } | null> {
  try {
    const bytes = await bucket.get(MARKER_NAME, {
      maxSize: MAX_JSON_OBJECT_SIZE,
      ...(signal === undefined ? {} : { signal }),
    });
    return decodeMarker(bytes);
  } catch (error) {
    if (isVaultError(error, 'object-missing')) return null;
    throw error;
  }
}

/** A bucket that could not be used, and why. */
export interface BucketFailure {
  readonly bucket: VaultBucket;
  readonly error: VaultError;
}

export class BucketSet {
  readonly #byNumber = new Map<number, VaultBucket>();
  /** Numbers that no bucket of the vault has any more. */
  readonly #gone = new Set<number>();
  /** What others have removed or changed; work that is under way may still use it. */
  readonly #retired: VaultBucket[] = [];
  readonly #reload: () => Promise<readonly VaultBucket[]>;

  /** @param reload asks the catalog for all buckets anew */
  constructor(
    buckets: readonly VaultBucket[],
    reload: () => Promise<readonly VaultBucket[]> = () => Promise.resolve(buckets),
  ) {
    for (const bucket of buckets) this.#byNumber.set(bucket.number, bucket);
    this.#reload = reload;
  }

  /**
   * Learns of buckets that others have added since, if any of these places is in one: what lies there must not be taken
   * for what lay in a bucket that the vault has given up.
   */
  async learn(places: Iterable<Pick<ShardPlace, 'bucket'> | null>): Promise<void> {
    const unknown = [...places].flatMap((place) =>
      place === null || this.#byNumber.has(place.bucket) || this.#gone.has(place.bucket)
        ? []
        : [place.bucket],
    );
    if (unknown.length === 0) return;
    const buckets = await this.#reload();
    for (const bucket of buckets) if (!this.#byNumber.has(bucket.number)) this.add(bucket);
    // Numbers are never given twice.
    for (const number of unknown) if (!this.#byNumber.has(number)) this.#gone.add(number);
  }

  /**
   * Takes over what others have done to the set since: added, changed and removed buckets. For who is about to store
   * something and has said so in the catalog: whoever empties a bucket first records that it takes nothing new, and then waits
   * for those that have said so before. So every shard goes to a bucket that stays, or is waited for.
   *
   * @returns whether anything is other than before
   */
  async refresh(): Promise<boolean> {
    const before = this.all;
    const buckets = await this.#reload();
    const numbers = new Set(buckets.map(({ number }) => number));
    for (const old of before) {
      if (numbers.has(old.number)) continue;
      this.#byNumber.delete(old.number);
      this.#gone.add(old.number);
      this.#retired.push(old);
    }
    for (const bucket of buckets) {
      const old = this.#byNumber.get(bucket.number);
      if (old?.state === bucket.state && old.url === bucket.url) continue;
      if (old !== undefined) this.#retired.push(old);
      this.add(bucket);
    }
    return before.length !== this.all.length || before.some((old) => this.byNumber(old.number) !== old);
  }

  /** All of them, by number. */
  get all(): readonly VaultBucket[] {
    return [...this.#byNumber.values()];
  }

  /** The bucket with a number; null if the vault has none (any more). */
  byNumber(number: number): VaultBucket | null {
    return this.#byNumber.get(number) ?? null;
  }

  /** Takes a bucket in, or replaces the one with its number. */
  add(bucket: VaultBucket): void {
    this.#byNumber.set(bucket.number, bucket);
  }

  /** Lets a bucket go. */
  async drop(number: number): Promise<void> {
    const bucket = this.#byNumber.get(number);
    this.#byNumber.delete(number);
    this.#gone.add(number);
    await bucket?.close();
  }

  /**
   * Asks buckets for their markers, all at once.
   *
   * @param options `anew`: also those that have shown them already
   */
  async check(
    buckets: readonly VaultBucket[],
    signal?: AbortSignal,
    options: { readonly anew?: boolean } = {},
  ): Promise<{ readonly usable: readonly VaultBucket[]; readonly failed: readonly BucketFailure[] }> {
    const usable: VaultBucket[] = [];
    const failed: BucketFailure[] = [];
    await Promise.all(
      buckets.map(async (bucket) => {
        try {
          await (options.anew === true ? bucket.confirm(signal) : bucket.checked(signal));
          usable.push(bucket);
        } catch (error) {
          if (!isVaultError(error) || error.code === 'interrupted') throw error;
          failed.push({ bucket, error });
        }
      }),
    );
    const byNumber = (a: VaultBucket, b: VaultBucket): number => a.number - b.number;
    usable.sort(byNumber);
    failed.sort((a, b) => byNumber(a.bucket, b.bucket));
    return { usable, failed };
  }

  /** The buckets that take new shards, as far as they can be used now. */
  writable(signal?: AbortSignal): ReturnType<BucketSet['check']> {
    return this.check(
      this.all.filter((bucket) => bucket.state === 'active'),
      signal,
    );
  }

  async close(): Promise<void> {
    await Promise.all([...this.all, ...this.#retired].map((bucket) => bucket.close()));
  }
}

/** One sentence for a bucket that could not be used. */
export function describeFailure({ bucket, error }: BucketFailure): string {
  const reason = messageOf(error);
  return reason.includes(bucket.url) ? reason : `${bucket.url}: ${reason}`;
}
