/** A line in the terminal that says how far something has come. Loaded only once it is to be shown. */
import ora from 'ora';
import { count, grouped, showDuration, showName, showSize } from './text.ts';
import type { Clock } from '../../host.ts';
import { fit, widthOf } from './width.ts';

export interface ProgressState {
  /** What is being worked on: a file's name, or what is done. */
  readonly label: string;
  readonly doneBytes: number;
  /** Null where nobody knows. */
  readonly totalBytes: number | null;
  /** Of a folder, or where no bytes are counted. */
  readonly doneFiles?: number | undefined;
  readonly totalFiles?: number | undefined;
}

export type ProgressReport = (state: ProgressState) => void;

export interface ProgressDisplay {
  update(state: ProgressState): void;
  /** Takes the line away and gives the cursor back, until `resume`. */
  pause(): void;
  resume(): void;
  /** The same, for good. */
  stop(): void;
}

/** Columns of a terminal that has lost its size. */
const USUAL_WIDTH = 80;
/** How often the text changes, in milliseconds. */
const INTERVAL_MS = 100;
/** Over how long a rate is averaged, in milliseconds. */
const RATE_WINDOW_MS = 4000;
/** Over how long it must have been seen at least, in milliseconds. */
const LEAST_RATE_MS = 1000;
/** What is left is guessed when so much is done, or a hundredth: beside that, what each file takes by itself counts for more. */
const TELLING_BYTES = 16 * 1024 * 1024;
/** Columns of the spinner and the space behind it, and one at the end of the line that stays free. */
const SPINNER_WIDTH = 3;

/** @param options `width`: columns of the terminal at that moment */
export function showProgress(options: {
  readonly stream: NodeJS.WriteStream;
  readonly width: () => number;
  readonly colored: boolean;
  readonly clock: Clock;
}): ProgressDisplay {
  const spinner = ora({
    stream: options.stream,
    isEnabled: true,
    color: options.colored ? 'cyan' : false,
    // A terminal in raw mode would stay so if this process were killed.
    discardStdin: false,
    text: '',
  }).start();
  // The spinner would draw a line of no columns without end.
  const onResize = (): void => {
    if (options.stream.columns === 0) options.stream.columns = USUAL_WIDTH;
  };
  options.stream.on('resize', onResize);
  const rate = new RateMeter();
  let lastChangeMs = -Infinity;
  return {
    update(state) {
      const nowMs = options.clock.monotonic();
      rate.add(state.doneBytes, nowMs);
      if (nowMs - lastChangeMs < INTERVAL_MS) return;
      lastChangeMs = nowMs;
      spinner.text = progressLine(state, rate.bytesPerSecond, options.width() - SPINNER_WIDTH);
    },
    pause: () => void spinner.stop(),
    resume: () => void spinner.start(),
    stop() {
      spinner.stop();
      options.stream.off('resize', onResize);
    },
  };
}

/**
 * `report.pdf  45 %  461 MiB of 1.0 GiB  120 MiB/s  5 s left`: the label gives way first, then what stands last.
 *
 * @param bytesPerSecond null while it is not known
 * @param width columns
 */
export function progressLine(state: ProgressState, bytesPerSecond: number | null, width: number): string {
  const { doneBytes, totalBytes, doneFiles = 0, totalFiles = 0 } = state;
  const facts = [];
  if (totalBytes !== null && totalBytes > 0) {
    facts.push(percent(doneBytes, totalBytes), `${showSize(doneBytes)} of ${showSize(totalBytes)}`);
  } else if (doneBytes > 0) {
    facts.push(showSize(doneBytes));
  }
  if (totalFiles > 0) {
    facts.push(percent(doneFiles, totalFiles), `${grouped(doneFiles)} of ${count(totalFiles, 'file')}`);
  } else if (doneFiles > 0) {
    facts.push(count(doneFiles, 'file'));
  }
  if (bytesPerSecond !== null && bytesPerSecond > 0) {
    facts.push(`${showSize(bytesPerSecond)}/s`);
    const left = (totalBytes ?? 0) - doneBytes;
    if (left > 0 && doneBytes >= Math.min(TELLING_BYTES, (totalBytes ?? 0) / 100)) {
      facts.push(`${showDuration((1000 * left) / bytesPerSecond)} left`);
    }
  }
  const label = showName(state.label);
  const leastLabel = Math.min(widthOf(label), 12);
  while (facts.length > 1 && widthOf(facts.join('  ')) + 2 + leastLabel > width) facts.pop();
  const rest = facts.length === 0 ? '' : `  ${facts.join('  ')}`;
  return `${fit(label, Math.max(1, width - widthOf(rest)))}${rest}`;
}

function percent(done: number, total: number): string {
  return `${Math.floor((100 * Math.min(done, total)) / total)} %`;
}

export class RateMeter {
  readonly #marks: { readonly bytes: number; readonly ms: number }[] = [];

  /** Null before something has been done for a while. */
  get bytesPerSecond(): number | null {
    const first = this.#marks[0];
    const last = this.#marks.at(-1);
    if (first === undefined || last === undefined || last.ms - first.ms < LEAST_RATE_MS) return null;
    return (1000 * (last.bytes - first.bytes)) / (last.ms - first.ms);
  }

  /** @param bytes done since the start */
  add(bytes: number, ms: number): void {
    // What goes before says nothing of how fast it is.
    if (bytes === 0) this.#marks.length = 0;
    const previous = this.#marks.at(-1);
    // A few marks a second are exact enough; the last one is always the present.
    if (this.#marks.length > 2 && previous !== undefined) {
      const beforeLast = this.#marks.at(-2);
      if (beforeLast !== undefined && previous.ms - beforeLast.ms < INTERVAL_MS) this.#marks.pop();
    }
    this.#marks.push({ bytes, ms });
    while (this.#marks.length > 2 && (this.#marks[1]?.ms ?? ms) < ms - RATE_WINDOW_MS) this.#marks.shift();
  }
}
