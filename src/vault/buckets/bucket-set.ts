/** The buckets of a vault, as the operations see them: opened when first used, and known to be the right ones. */
import { NO_RETENTION } from '../../buckets/bucket.ts';
import type { Bucket, ReadableBucket, RetentionPolicy } from '../../buckets/bucket.ts';
import { isFailure, isVaultError, messageOf, VaultError } from '../../errors.ts';
import { MAX_JSON_SIZE } from '../../format/limits.ts';
import { coalesced } from '../../concurrency/coalesced.ts';
import { decodeMarker, MARKER_NAME } from '../../format/marker.ts';
import type { Marker } from '../../format/marker.ts';
import { awaitUnlessSilent, Silence } from './silence.ts';

/** Makes a bucket of a URL; comes from outside, so that the vault knows no driver. */
export type BucketOpener = (url: string) => Promise<Bucket>;

/** `draining`: it takes nothing new and is being emptied. */
export type BucketState = 'active' | 'draining';

/** The ways out where a marker is not what it was: `repair` makes it anew only in the place of none, or of one that makes no sense. */
const MADE_ANEW = `"vault repair" makes it anew, if what lies there is this vault's.`;
const IF_CHANGED = `Is the right disk mounted, is the URL right? If its ${MARKER_NAME} was damaged: move that away, and ${MADE_ANEW}`;

/** What identifies one bucket of a vault. */
export interface BucketPlace {
  /** Its number in the catalog. */
  readonly number: number;
  /** 32 hex digits. */
  readonly id: string;
  readonly url: string;
  readonly state: BucketState;
}

/** A bucket of the vault for those who only look: nothing that comes of it can write. */
export interface ReadBucket extends BucketPlace {
  open(): Promise<ReadableBucket>;
  get: ReadableBucket['get'];
  checked(signal?: AbortSignal): Promise<ReadableBucket>;
  attempt<T>(
    run: (storage: ReadableBucket, signal: AbortSignal) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T>;
  probe(): Promise<void>;
  confirm(signal?: AbortSignal): Promise<void>;
  policy(signal?: AbortSignal): Promise<RetentionPolicy>;
  leaving(): ReadBucket;
}

export class VaultBucket implements ReadBucket {
  readonly number: number;
  readonly id: string;
  readonly url: string;
  readonly state: BucketState;
  readonly #vaultId: string;
  readonly #opener: BucketOpener;
  readonly #willBeMarked: boolean;
  #opened: Promise<Bucket> | null = null;
  #checked: boolean;
  readonly #silence: Silence;
  /** One look for all who ask before it has ended. */
  readonly #firstLook = coalesced((signal) => this.confirm(signal), { joins: true });
  /** One look for all whose objects are missing at once. */
  readonly #confirmed = coalesced((signal) => this.confirm(signal));
  #policy: RetentionPolicy | null = null;
  /** Names of objects that this process has locked, and until when: of those that every file needs. */
  readonly retained = new Map<string, number>();

  /** @param vault `willBeMarked`: for a dry run, whether it counts as having the marker that it would be given */
  constructor(
    place: BucketPlace,
    vault: { readonly vaultId: string; readonly opener: BucketOpener; readonly willBeMarked?: boolean },
  ) {
    this.number = place.number;
    this.id = place.id;
    this.url = place.url;
    this.state = place.state;
    this.#vaultId = vault.vaultId;
    this.#opener = vault.opener;
    this.#willBeMarked = vault.willBeMarked === true;
    this.#checked = this.#willBeMarked;
    this.#silence = new Silence(place.url, async (call) => (await this.#open()).get(MARKER_NAME, call));
  }

  /** The bucket, for reading: objects prove themselves. @throws `unavailable` while it is known as silent */
  async open(): Promise<Bucket> {
    this.#silence.check();
    return this.#open();
  }

  #open(): Promise<Bucket> {
    if (this.#opened !== null) return this.#opened;
    const opened = this.#opener(this.url);
    this.#opened = opened;
    // What fails is tried again: a server outlives the lack of a file.
    opened.catch(() => {
      if (this.#opened === opened) this.#opened = null;
    });
    return opened;
  }

  /**
   * An object that is there unless something is wrong. Where it is missing, and the marker is too, it is the bucket that is away.
   *
   * @throws as `checked` then; what `Bucket.get` throws
   */
  async get(name: string, call: Parameters<Bucket['get']>[1]): Promise<Uint8Array> {
    const storage = await this.open();
    try {
      return await storage.get(name, call);
    } catch (error) {
      if (isVaultError(error, 'object-missing')) await this.#confirmed(call?.signal);
      throw error;
    }
  }

  /**
   * Does something in the bucket that others can do without it.
   *
   * @param run its signal is aborted when the bucket is found to answer nothing at all, see `probe`
   * @throws `unavailable` then; as `checked`; what `run` throws
   */
  async attempt<T>(
    run: (storage: Bucket, signal: AbortSignal) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    return this.#silence.end(async (aborted) => run(await this.checked(aborted), aborted), signal);
  }

  /** As `attempt`, for what only reads: it is asked together with the marker, and counts once that has been seen. */
  async read<T>(
    run: (storage: ReadableBucket, signal: AbortSignal) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    return this.#silence.end(async (aborted) => {
      const checking = this.checked(aborted);
      const reading = this.open().then((storage) => run(storage, aborted));
      await Promise.allSettled([checking, reading]);
      await checking;
      return reading;
    }, signal);
  }

  /** Asks it something small. If seconds pass without any answer, it counts as away until it answers, and every `attempt` ends. */
  probe(): Promise<void> {
    return this.#silence.probe();
  }

  /**
   * The bucket, for writing, removing and listing, once its marker has said that it is the one the vault knows: an
   * unmounted disk or a mistyped URL must not look like an empty bucket.
   *
   * @throws `bucket-missing`, `bucket-mismatch`, `unavailable`, `denied`
   */
  async checked(signal?: AbortSignal): Promise<Bucket> {
    if (!this.#checked) await this.#firstLook(signal);
    return this.open();
  }

  /** Asks for the marker anew. @throws as `checked` */
  async confirm(signal?: AbortSignal): Promise<void> {
    if (this.#willBeMarked) return;
    try {
      this.hasShown(await readMarker(await this.open(), signal));
    } catch (error) {
      this.#checked = false;
      if (!isVaultError(error, 'damaged')) throw error;
      throw new VaultError('damaged', `${error.message} ${MADE_ANEW}`, { cause: error });
    }
  }

  /** Takes what has just been read there for its marker. @throws as `checked` */
  hasShown(marker: Marker | null): void {
    if (marker === null) {
      throw new VaultError(
        'bucket-missing',
        `The bucket ${this.url} has no ${MARKER_NAME}, so it is not the bucket that the vault knows. Is its disk mounted, is the URL right?`,
      );
    }
    if (marker.vaultId !== this.#vaultId || marker.bucketId !== this.id) {
      throw new VaultError(
        'bucket-mismatch',
        marker.vaultId === this.#vaultId
          ? `${this.url} is another bucket of this vault than the one recorded under this URL. ${IF_CHANGED}`
          : `${this.url} belongs to another vault. ${IF_CHANGED}`,
      );
    }
    this.#checked = true;
  }

  /** What it has against objects being removed. @throws `denied` if these credentials may not ask; as `checked` */
  async policy(signal?: AbortSignal): Promise<RetentionPolicy> {
    const { retention } = await this.checked(signal);
    this.#policy ??= (await retention?.policy({ signal })) ?? NO_RETENTION;
    return this.#policy;
  }

  /** The same bucket, as it will be when it takes nothing new. */
  leaving(): VaultBucket {
    const { number, id, url } = this;
    return new VaultBucket(
      { number, id, url, state: 'draining' },
      { vaultId: this.#vaultId, opener: () => this.open() },
    );
  }

  async close(): Promise<void> {
    if (this.#opened === null) return;
    const [bucket] = await Promise.allSettled([this.#opened]);
    if (bucket.status === 'fulfilled') await bucket.value.close();
  }
}

/** A bucket's marker; null if the bucket answers and has none. */
export async function readMarker(bucket: ReadableBucket, signal?: AbortSignal): Promise<Marker | null> {
  try {
    return decodeMarker(await bucket.get(MARKER_NAME, { maxSize: MAX_JSON_SIZE, signal }));
  } catch (error) {
    if (isVaultError(error, 'object-missing')) return null;
    if (isVaultError(error, 'unsupported')) throw ofOtherVersion(bucket, error);
    throw error;
  }
}

/** What a marker of another version says, with the bucket's name. */
export function ofOtherVersion({ label }: Pick<Bucket, 'label'>, cause: VaultError): VaultError {
  return new VaultError('unsupported', `${label} is of another version. ${cause.message}`, { cause });
}

/** A bucket that could not be used, and why. */
export interface BucketFailure {
  readonly bucket: ReadBucket;
  readonly error: VaultError;
}

/** Which of some buckets could be used, by number. */
export interface BucketCheck<B extends ReadBucket = VaultBucket> {
  readonly usable: readonly B[];
  readonly failed: readonly BucketFailure[];
}

export class BucketSet {
  #byNumber = new Map<number, VaultBucket>();
  /** What has been replaced or removed; work that is under way may still use it. */
  readonly #retired: VaultBucket[] = [];

  constructor(buckets: readonly VaultBucket[]) {
    for (const bucket of buckets) this.#byNumber.set(bucket.number, bucket);
  }

  /** Takes over a changed set. A bucket whose place and state are as before stays open. */
  replace(buckets: readonly VaultBucket[]): void {
    const next = new Map<number, VaultBucket>();
    for (const bucket of buckets) {
      const old = this.#byNumber.get(bucket.number);
      const same = old?.state === bucket.state && old.url === bucket.url && old.id === bucket.id;
      next.set(bucket.number, same ? old : bucket);
    }
    for (const old of this.#byNumber.values()) if (next.get(old.number) !== old) this.#retired.push(old);
    this.#byNumber = next;
  }

  /** All of them, by number. */
  get all(): readonly VaultBucket[] {
    return [...this.#byNumber.values()].toSorted((a, b) => a.number - b.number);
  }

  /** Those that take new objects. */
  get active(): readonly VaultBucket[] {
    return this.all.filter(({ state }) => state === 'active');
  }

  /** The bucket with a number; null if the vault has none, or no longer. */
  byNumber(number: number): VaultBucket | null {
    return this.#byNumber.get(number) ?? null;
  }

  /** The same bucket, for writing. @throws `unavailable` if it is the vault's no longer */
  ours({ number, url }: ReadBucket): VaultBucket {
    const bucket = this.byNumber(number);
    if (bucket === null) throw new VaultError('unavailable', `${url} is no longer a bucket of this vault.`);
    return bucket;
  }

  /**
   * Asks buckets for their markers, all at once.
   *
   * @param options `anew`: also those that have shown them already
   */
  async check<B extends ReadBucket>(
    buckets: readonly B[],
    signal?: AbortSignal,
    options: { readonly anew?: boolean } = {},
  ): Promise<BucketCheck<B>> {
    return checkEach(buckets, (bucket) =>
      options.anew === true ? bucket.confirm(signal) : bucket.checked(signal),
    );
  }

  async close(): Promise<void> {
    await Promise.all([...this.all, ...this.#retired].map((bucket) => bucket.close()));
  }
}

/**
 * Does something with each bucket, all at once, and tells which could be used.
 *
 * @param work takes the bucket by `attempt` if not all are needed
 * @param suffices whether those that could be used by now are enough, so that one that answers nothing is not waited for
 * @throws `interrupted`, and bugs
 */
export async function checkEach<B extends ReadBucket>(
  buckets: readonly B[],
  work: (bucket: B) => Promise<unknown>,
  suffices: (usable: readonly B[]) => boolean = () => false,
): Promise<BucketCheck<B>> {
  const usable: B[] = [];
  const failed: BucketFailure[] = [];
  // All of them, also after an interruption: whoever is told of it has nothing under way any more.
  const look = async (bucket: B): Promise<void> => {
    try {
      await work(bucket);
      usable.push(bucket);
    } catch (error) {
      if (!isFailure(error)) throw error;
      failed.push({ bucket, error });
    }
  };
  await awaitUnlessSilent(
    buckets.map((bucket) => ({ bucket, done: look(bucket) })),
    () => suffices(usable),
  );
  usable.sort((a, b) => a.number - b.number);
  failed.sort((a, b) => a.bucket.number - b.bucket.number);
  return { usable, failed };
}

/** The error of a bucket whose listings leave out what it should have. */
export function notListing({ url }: ReadBucket, what: string): VaultError {
  const message = `${url} does not list ${what} that it has taken: it keeps nothing, or its listings are not whole. The vault cannot rely on it until that is mended.`;
  return new VaultError('unavailable', message);
}

/** One sentence for a bucket that could not be used. */
export function describeFailure({ bucket, error }: BucketFailure): string {
  const reason = messageOf(error);
  return reason.includes(bucket.url) ? reason : `${bucket.url}: ${reason}`;
}

/** The code for what some buckets did not give: `denied` where all of them refuse, else trying again may help. */
export function outageCode(errors: readonly VaultError[]): 'denied' | 'unavailable' {
  return errors.every(({ code }) => code === 'denied') ? 'denied' : 'unavailable';
}

/** The error for work that needs more buckets than could be used. */
export function tooFewBuckets(what: string, failed: readonly BucketFailure[]): VaultError {
  if (failed.length === 0) {
    // None was asked that is not there: the vault has no more that stay, and repeating changes nothing.
    const said = what.replace(/ Try again\.$/, '');
    return new VaultError(
      'unavailable',
      `${said} Buckets that are being taken out of the vault take nothing new: add one with "vault bucket add".`,
    );
  }
  const [first] = failed;
  const code = failed.every(({ error }) => error.code === first?.error.code) ? first?.error.code : undefined;
  // Disks that are not mounted may be mounted again: that is an outage, not wrong usage.
  const outage = code === undefined || code === 'bucket-missing' ? 'unavailable' : code;
  const hint =
    code === 'bucket-missing' && failed.length > 1
      ? ' If they were taken out of the vault elsewhere: vault recover --bucket <one that it has now>'
      : '';
  return new VaultError(outage, `${what} ${failed.map(describeFailure).join(' ')}${hint}`.trim(), {
    cause: first?.error,
  });
}
