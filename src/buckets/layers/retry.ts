import { isFailure, isVaultError, VaultError } from '../../errors.ts';
import { MAX_LISTED_KEYS } from '../bounds.ts';
import { aroundRetention } from '../bucket.ts';
import type { Bucket, BucketCall, GetCall, ListCall, ListedObject, PutCall } from '../bucket.ts';
import type { RemoveCall, Retention } from '../bucket.ts';
import { sleep, within } from './clock.ts';
import { systemClock } from '../../host.ts';
import type { Clock } from '../../host.ts';

/** An operation that failed and will be tried again. */
export interface Waiting {
  /** The bucket's label. */
  readonly label: string;
  readonly error: VaultError;
  /** Milliseconds until the next attempt. */
  readonly delayMs: number;
  /** How many attempts of this operation have failed, from 1. */
  readonly attempt: number;
}

/**
 * Longer than a service takes to restart or a load balancer to notice, short enough for a cron job that has other
 * buckets.
 */
export const DEFAULT_DEADLINE_MS = 120_000;

/**
 * Long enough for a name server's hiccup. A bucket that has never answered is more likely mistyped, switched off or not
 * there than about to come back.
 */
const DEFAULT_CONTACT_MS = 5_000;

/** Upper bound of every delay: the end of an outage is soon noticed. */
const MAX_DELAY_MS = 20_000;

/** Options of `retrying`. */
export interface RetryingOptions {
  /** Milliseconds after an operation's first failure within which it must succeed. Default 120,000. */
  readonly deadlineMs?: number | undefined;
  /** Milliseconds after an operation's start within which a bucket that has never answered is tried again. Default 5,000. */
  readonly contactMs?: number | undefined;
  /** Upper bound of the first delay in milliseconds; it doubles with each attempt. Default 200, a few round trips. */
  readonly firstDelayMs?: number | undefined;
  /** Milliseconds for which a bucket that counts as down is not asked at all. Default 300,000. */
  readonly downMs?: number | undefined;
  /** Names after which a listing counts as endless, over all attempts. Default `MAX_LISTED_KEYS`. */
  readonly maxListed?: number | undefined;
  /** Called before each wait, unless all of them are over within seconds. Must not throw. */
  readonly onWaiting?: ((waiting: Waiting) => void) | undefined;
  readonly clock?: Clock | undefined;
  /** A number from 0 up to 1; Math.random unless told otherwise. */
  readonly random?: (() => number) | undefined;
}

/**
 * A bucket whose operations are repeated while they fail with `unavailable`: exponential backoff with full jitter
 * (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), never sooner than the service asked
 * for, until a deadline. Every other error is passed on at once. A listing resumes after the last name delivered.
 *
 * When a deadline has passed without any answer from the bucket, it counts as down: for a while operations fail
 * at once with `unavailable`, also those that are waiting to try again. Then a single attempt finds out whether it is back.
 * A bucket that cannot be reached (`unreachable`) and never could be counts as down after seconds: a wrong host, a closed
 * port or silence is told at once, and whoever has other buckets goes on with those.
 *
 * @param bucket makes one attempt for each call, and ends it some time (`timed`)
 */
export function retrying(bucket: Bucket, options: RetryingOptions = {}): Bucket {
  return new RetryingBucket(bucket, options);
}

class RetryingBucket implements Bucket {
  readonly label: string;
  readonly retention: Retention | undefined;
  readonly #bucket: Bucket;
  readonly #maxListed: number;
  readonly #policy: Policy;
  readonly #health: Health;

  constructor(bucket: Bucket, options: RetryingOptions) {
    this.#maxListed = options.maxListed ?? MAX_LISTED_KEYS;
    this.label = bucket.label;
    this.#bucket = bucket;
    this.#policy = {
      label: bucket.label,
      deadlineMs: options.deadlineMs ?? DEFAULT_DEADLINE_MS,
      contactMs: options.contactMs ?? DEFAULT_CONTACT_MS,
      firstDelayMs: options.firstDelayMs ?? 200,
      downMs: options.downMs ?? 300_000,
      onWaiting: options.onWaiting ?? (() => undefined),
      clock: options.clock ?? systemClock,
      random: options.random ?? Math.random,
    };
    this.#health = new Health(this.#policy);
    this.retention = aroundRetention(bucket.retention, (_, call, work) => this.#persist(call, work));
  }

  async put(name: string, bytes: Uint8Array, call: PutCall = {}): Promise<void> {
    await this.#persist(call, async (attempt) => {
      await this.#bucket.put(name, bytes, { ...call, ...attempt });
    });
  }

  async get(name: string, call: GetCall = {}): Promise<Uint8Array> {
    // Spare memory belongs to the attempt that got it, also after that has been given up.
    let { spare, ...rest } = call;
    return await this.#persist(rest, async (attempt) => {
      const own = spare;
      spare = undefined;
      return await this.#bucket.get(name, { ...rest, ...attempt, spare: own });
    });
  }

  async remove(name: string, call: RemoveCall = {}): Promise<void> {
    await this.#persist(call, async (attempt) => {
      await this.#bucket.remove(name, { ...call, ...attempt });
    });
  }

  async *list(prefix: string, call: ListCall = {}): AsyncIterable<ListedObject> {
    const effort = new Effort(this.#policy, this.#health, call);
    let resume = call;
    let count = 0;
    for (;;) {
      effort.begin();
      try {
        for await (const object of this.#bucket.list(prefix, resume)) {
          effort.answered();
          count += 1;
          if (count > this.#maxListed) throw this.#endless(prefix);
          resume = { ...call, after: object.name };
          yield object;
        }
        effort.answered();
        return;
      } catch (error) {
        await effort.failed(error);
      } finally {
        effort.end();
      }
    }
  }

  async close(): Promise<void> {
    await this.#bucket.close();
  }

  #endless(prefix: string): VaultError {
    return new VaultError(
      'damaged',
      `Could not list the objects ${prefix} in ${this.label}: there are more than ${this.#maxListed}.`,
    );
  }

  async #persist<T>(call: BucketCall, run: (attempt: BucketCall) => Promise<T>): Promise<T> {
    const effort = new Effort(this.#policy, this.#health, call);
    for (;;) {
      effort.begin();
      try {
        const result = await effort.attempt(run);
        effort.answered();
        return result;
      } catch (error) {
        await effort.failed(error);
      } finally {
        effort.end();
      }
    }
  }
}

interface Policy {
  readonly label: string;
  readonly deadlineMs: number;
  readonly contactMs: number;
  readonly firstDelayMs: number;
  readonly downMs: number;
  readonly onWaiting: (waiting: Waiting) => void;
  readonly clock: Clock;
  readonly random: () => number;
}

/** What all operations on one bucket know together about whether it answers. */
class Health {
  readonly #policy: Policy;
  /** Why the bucket counts as down, and until when it is not asked; null while it does not. */
  #down: { readonly untilMs: number; readonly error: VaultError } | null = null;
  #probing = false;
  /** Waits of operations that will try again; ended when the bucket is found to be down. */
  readonly sleepers = new Set<() => void>();
  /** How often the bucket has answered anything. */
  answers = 0;
  /** Whether anything has ever answered there, be it that it is busy. */
  isReached = false;

  constructor(policy: Policy) {
    this.#policy = policy;
  }

  /**
   * Asks for leave to make an attempt.
   *
   * @returns whether the attempt is the one that finds out whether the bucket is back
   * @throws `unavailable` while the bucket is down
   */
  admit(): boolean {
    if (this.#down === null) return false;
    const leftMs = this.#down.untilMs - this.#policy.clock.monotonic();
    if (leftMs > 0 || this.#probing) {
      const { error } = this.#down;
      const when = leftMs > 0 ? `not asked for ${seconds(leftMs)}` : 'asked again just now';
      throw new VaultError('unavailable', `Counts as down, and is ${when}: ${error.message}`, {
        cause: error,
        unreachable: error.unreachable,
      });
    }
    this.#probing = true;
    return true;
  }

  answered(): void {
    this.answers += 1;
    this.isReached = true;
    this.#down = null;
  }

  get isDown(): boolean {
    return this.#down !== null;
  }

  /** From now on the bucket counts as down, and nobody waits for it any more. */
  goDown(error: VaultError): void {
    this.#down = { untilMs: this.#policy.clock.monotonic() + this.#policy.downMs, error };
    for (const wake of this.sleepers) wake();
  }

  endProbe(): void {
    this.#probing = false;
  }
}

/** One operation's attempts. Each is: begin; answered or failed; end. */
class Effort {
  readonly #policy: Policy;
  readonly #health: Health;
  readonly #signal: AbortSignal | undefined;
  readonly #onRetry: BucketCall['onRetry'];
  readonly #startMs: number;
  #failures = 0;
  /** The first failure since the last answer. */
  #first: { readonly atMs: number; readonly answers: number } | null = null;
  #isProbe = false;

  constructor(policy: Policy, health: Health, { signal, onRetry }: BucketCall) {
    this.#policy = policy;
    this.#health = health;
    this.#signal = signal;
    this.#onRetry = onRetry;
    this.#startMs = policy.clock.monotonic();
  }

  /** @throws `unavailable` while the bucket is down */
  begin(): void {
    this.#isProbe = this.#health.admit();
  }

  /** Makes an attempt; after a failure it has only what is left until the deadline. */
  async attempt<T>(run: (attempt: BucketCall) => Promise<T>): Promise<T> {
    const signal = this.#signal;
    if (this.#first === null) return await run({ signal });
    const { clock, label } = this.#policy;
    const leftMs = Math.max(0, this.#lastMs(this.#first) - clock.monotonic());
    return await within(async (limit) => await run({ signal: limit }), {
      timeoutMs: () => leftMs,
      expired: () =>
        new VaultError('unavailable', `${label} did not answer in the time left.`, { unreachable: true }),
      signal,
      clock,
    });
  }

  answered(): void {
    this.#failures = 0;
    this.#first = null;
    this.#health.answered();
  }

  /** Waits for the next attempt; throws if there is none. */
  async failed(error: unknown): Promise<void> {
    if (!isVaultError(error, 'unavailable')) {
      // A refusal is an answer too; an interruption says nothing about the bucket, nor does a bug.
      if (isFailure(error)) this.#health.answered();
      throw error;
    }
    const { clock, onWaiting, label } = this.#policy;
    if (!error.unreachable) this.#health.isReached = true;
    this.#failures += 1;
    this.#first ??= { atMs: clock.monotonic(), answers: this.#health.answers };
    const delayMs = this.#delayMs(error);
    if (this.#isProbe || this.#health.isDown || clock.monotonic() + delayMs >= this.#lastMs(this.#first)) {
      throw this.#exhausted(error, this.#first);
    }

    this.#onRetry?.(error);
    // What is over within seconds is not worth a word.
    if (this.#lastMs(this.#first) - this.#startMs > DEFAULT_CONTACT_MS) {
      onWaiting({ label, error, delayMs, attempt: this.#failures });
    }
    await sleep(clock, { delayMs, signal: this.#signal, sleepers: this.#health.sleepers });
  }

  end(): void {
    if (this.#isProbe) this.#health.endProbe();
    this.#isProbe = false;
  }

  /** Until when this may be tried again. */
  #lastMs(first: { readonly atMs: number }): number {
    const { deadlineMs, contactMs } = this.#policy;
    return this.#health.isReached ? first.atMs + deadlineMs : this.#startMs + contactMs;
  }

  #delayMs(error: VaultError): number {
    const { firstDelayMs, random } = this.#policy;
    const jittered = random() * Math.min(MAX_DELAY_MS, firstDelayMs * 2 ** (this.#failures - 1));
    // Jitter on top of what was asked for: all clients were asked for the same.
    return error.retryAfterMs === null ? jittered : error.retryAfterMs + jittered;
  }

  #exhausted(error: VaultError, first: { readonly atMs: number; readonly answers: number }): VaultError {
    // If others were answered meanwhile, the trouble is with this object and not with the bucket.
    const isSilent = this.#health.answers === first.answers;
    if (this.#isProbe || (isSilent && !this.#health.isDown)) this.#health.goDown(error);
    if (this.#failures === 1) return error;
    const tried = `Tried ${this.#failures} times in ${seconds(this.#policy.clock.monotonic() - first.atMs)}.`;
    return new VaultError('unavailable', `${error.message} ${tried}`, {
      cause: error,
      unreachable: error.unreachable,
    });
  }
}

function seconds(durationMs: number): string {
  return `${Math.ceil(durationMs / 1000)} s`;
}
