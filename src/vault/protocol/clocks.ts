/**
 * Whether this machine's clock is right, by the buckets' own. What ages (graces, markers, lists that are done) ages by this machine's
 * clock: one that is ahead would end all of it early. No single bucket is believed, so the median of them counts.
 */
import { settleAll } from '../../concurrency/gather.ts';
import { invalidInput } from '../../errors.ts';
import type { Clock } from '../../host.ts';
import { CLOCK_NAME } from '../../format/removal.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { removeFrom, spread } from '../buckets/spread.ts';
import type { Warning } from '../call.ts';

/**
 * How far this machine's clock may be from the buckets', in milliseconds: more than clocks that somebody sets are apart, and nothing
 * beside the hours for which a marker is trusted beyond what a put needs.
 */
export const MOST_OFF_MS = 5 * 60_000;

/** Whether a time lies in the future, beyond what another machine's clock may be ahead: it was, or this one is behind. */
export function isFuture(ms: number, nowMs: number): boolean {
  return ms > nowMs + MOST_OFF_MS;
}

/** By how much a clock that nobody sets and the monotonic one may come apart, in milliseconds. */
const MOST_DRIFT_MS = 1000;

/** What buckets say of the time, gathered while objects are stored in them. */
export class BucketClocks {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #offsets = new Map<VaultBucket, number>();

  /** @param clock this machine's */
  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
  }

  /** Begins to store something. @returns takes what the bucket says of the time when that is done */
  begin(bucket: VaultBucket): (dateMs: number) => void {
    const beganAtMs = this.#clock.now();
    return (dateMs) => {
      const endedAtMs = this.#clock.now();
      // A date that lies within the request is no difference, however long that took.
      const offset = dateMs < beganAtMs ? dateMs - beganAtMs : Math.max(0, dateMs - endedAtMs);
      this.#offsets.set(bucket, offset);
    };
  }

  /** Milliseconds by which the buckets are ahead of this machine, if that is more than it may be; else 0. */
  get offMs(): number {
    const off = medianOf([...this.#offsets.values()]) ?? 0;
    return Math.abs(off) > MOST_OFF_MS ? off : 0;
  }

  /** In words, what is wrong; '' if nothing is. */
  describe(): string {
    const off = this.offMs;
    if (off === 0) return '';
    if (this.#isTorn) {
      const said = Array.from(this.#offsets, ([{ url }, by]) => `by ${url} it is ${wrongBy(by)}`);
      return `this machine's clock cannot be judged, as its buckets' clocks contradict each other (${said.join(', ')})`;
    }
    const [[nearest] = []] = [...this.#offsets].toSorted(
      ([, a], [, b]) => Math.abs(a - off) - Math.abs(b - off),
    );
    const whose = this.#offsets.size === 1 ? 'the clock of' : 'the median of its buckets, such as';
    return `this machine's clock is ${span(Math.abs(off))} ${off < 0 ? 'ahead of' : 'behind'} ${whose} ${nearest?.url ?? ''}`;
  }

  /** What to do about it, as a sentence's beginning. */
  get advice(): string {
    return this.#isTorn ? 'See which of them is wrong' : 'Set it (for example with NTP)';
  }

  /** Whether the median is between clocks that are as far apart from one another as this machine's may not be. */
  get #isTorn(): boolean {
    const offsets = [...this.#offsets.values()];
    const { offMs } = this;
    return offsets.length > 0 && offsets.every((offset) => Math.abs(offset - offMs) > MOST_OFF_MS);
  }
}

/** The middle of some numbers; between the two in the middle if they are even in number; null if there are none. */
export function medianOf(numbers: readonly number[]): number | null {
  const sorted = numbers.toSorted((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return low === undefined || high === undefined ? null : (low + high) / 2;
}

function span(ms: number): string {
  const minutes = ms / 60_000;
  if (minutes < 120) return `${Math.round(minutes)} minutes`;
  return minutes < 48 * 60 ? `${Math.round(minutes / 60)} hours` : `${Math.round(minutes / 1440)} days`;
}

/** @param by milliseconds by which it is behind */
function wrongBy(by: number): string {
  if (Math.abs(by) <= MOST_OFF_MS) return 'right';
  return `${span(Math.abs(by))} ${by < 0 ? 'ahead' : 'behind'}`;
}

/** A warning that this machine's clock is wrong, for a step that it does no harm to; null if it is not. */
export function clockWarning(clocks: BucketClocks): Warning | null {
  const what = clocks.describe();
  if (what === '') return null;
  return {
    kind: 'clock',
    message: `${what.replace(/^t/, 'T')}. ${clocks.advice}, else times are wrong and nothing can be swept.`,
    bucket: null,
  };
}

/**
 * Asks the buckets for the time, before something is done because of its age. A bucket that does not tell counts for nothing, so this
 * finds a wrong clock only where a bucket has another one.
 *
 * @param refused what is not done if the clock is wrong, as a sentence's beginning: `Nothing was removed`
 * @throws `invalid-input` if this machine's clock is wrong
 */
export async function requireRightClock(
  clock: Clock,
  buckets: readonly VaultBucket[],
  refused: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const clocks = new BucketClocks(clock);
  const object = { name: CLOCK_NAME, bytes: new Uint8Array() };
  const asked = await settleAll(
    buckets.map((bucket) => spread([bucket], object, { clocks, replace: true, signal })),
  );
  await removeFrom(
    asked.flatMap(({ usable }) => usable),
    CLOCK_NAME,
    signal,
  );
  requireRight(clocks, refused);
}

/** The same of what buckets have said of the time. */
export function requireRight(clocks: BucketClocks, refused: string): void {
  const what = clocks.describe();
  if (what === '') return;
  throw invalidInput(
    `${refused}: ${what}, and what is young would count as old. ${clocks.advice} and run again.`,
  );
}

/** How long something lasts, by whichever clock says more: this machine's may be set back, and the other stands while it sleeps. */
export class Stopwatch {
  readonly #clock: Clock;
  readonly #beganAtMs: number;
  readonly #runsSinceMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#beganAtMs = clock.now();
    this.#runsSinceMs = clock.monotonic();
  }

  get elapsedMs(): number {
    return Math.max(this.#clock.now() - this.#beganAtMs, this.#clock.monotonic() - this.#runsSinceMs);
  }

  /** Whether the clock shows what it would if nobody had set it since, and the machine had not slept. */
  get isSteady(): boolean {
    return Math.abs(this.#clock.now() - this.shownMs) <= MOST_DRIFT_MS;
  }

  /** What the clock would show by now, at least, if it had not been set back; milliseconds since 1970. */
  get shownMs(): number {
    return this.#beganAtMs + this.#clock.monotonic() - this.#runsSinceMs;
  }
}
