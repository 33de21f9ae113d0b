/** Standard error: what is said to people. Without a terminal it is silent unless something is wrong. */
import { setTimeout as delay } from 'node:timers/promises';
import { styleText } from 'node:util';
import type { Clock, Environment, Host } from '../../host.ts';
import type { ProgressDisplay, ProgressReport, ProgressState } from './progress.ts';
import { jsonOf, showLines, showMessage } from './text.ts';

type Format = Parameters<typeof styleText>[0];
/** Colours a text, or does not. */
export type Style = (format: Format, text: string) => string;

/** Columns of a terminal that does not say. */
const USUAL_WIDTH = 80;
/** A command that is done sooner shows no progress, and need not load what shows it; in milliseconds. */
const PROGRESS_DELAY_MS = 400;

/** What decides how a stream is written to. */
type Screen = Pick<NodeJS.WriteStream, 'isTTY' | 'columns'>;

/** Kinds of terminals that no sequences are known for. */
const PLAIN_TERMINALS = new Set<string | undefined>([undefined, '', 'dumb', 'unknown']);

/**
 * Whether a stream is a terminal that colours and movements of the cursor can be sent to. One of no columns is nobody's
 * screen: `script` in a cron job, `ssh -tt` from a program.
 */
export function takesSequences(
  stream: Screen,
  environment: Environment,
  platform: NodeJS.Platform = process.platform,
): boolean {
  // Windows does not set TERM.
  return (
    stream.isTTY && stream.columns > 0 && (platform === 'win32' || !PLAIN_TERMINALS.has(environment['TERM']))
  );
}

/**
 * How to colour what goes to a stream: only on a terminal that can, and not against `NO_COLOR` (no-color.org).
 */
export function styleFor(stream: Screen, environment: Environment): Style {
  const wanted = takesSequences(stream, environment) && (environment['NO_COLOR'] ?? '') === '';
  return (format, text) => (wanted ? styleText(format, text, { validateStream: false }) : text);
}

/** How far the work has come whose progress is shown, or will be. */
interface Shown {
  last: ProgressState;
}

export class Terminal {
  readonly style: Style;
  readonly #stream: NodeJS.WriteStream;
  readonly #json: boolean;
  readonly #quiet: boolean;
  readonly #verbose: boolean;
  readonly #chatty: boolean;
  readonly #movable: boolean;
  readonly #said = new Set<string>();
  readonly #clock: Clock;
  readonly #startedAtMs: number;
  #facts: Readonly<Record<string, unknown>> = {};
  #display: ProgressDisplay | null = null;
  #asking = false;

  /**
   * @param options `json`: what is wrong is said in JSON lines. `quiet`: nothing else is said. `verbose`: what is said to somebody who
   *   looks on is said in any case
   */
  constructor(
    stream: NodeJS.WriteStream,
    { clock, environment }: Host,
    options: { readonly json: boolean; readonly quiet: boolean; readonly verbose: boolean },
  ) {
    this.#stream = stream;
    this.#clock = clock;
    this.#startedAtMs = clock.monotonic();
    this.#json = options.json;
    this.#quiet = options.quiet;
    this.#verbose = options.verbose;
    this.#chatty = (stream.isTTY || options.verbose) && !options.quiet && !options.json;
    this.#movable = this.#chatty && takesSequences(stream, environment);
    this.style = styleFor(stream, environment);
  }

  /** Says something that nobody needs to know: only to somebody who looks on. */
  note(text: string): void {
    if (this.#chatty) this.#write(`${showLines(text)}\n`);
  }

  /** Says more about what standard output has: only on a screen, which one of no columns is not. */
  remark(text: string): void {
    if (this.#verbose || this.#stream.columns > 0) this.note(text);
  }

  /** Says one of many things that were done: only with `verbose`. */
  detail(text: string): void {
    if (this.#verbose) this.note(text);
  }

  /**
   * Says in one line what a verb has done.
   *
   * @param text as `remark`; null where enough was said
   * @param facts the same for `--json`, where `conclude` says it
   */
  summary(text: string | null, facts: Readonly<Record<string, unknown>>): void {
    this.#facts = { ...this.#facts, ...facts };
    if (text !== null) this.remark(text);
  }

  /** Ends a verb that was done, for programs. */
  conclude(verb: string, exit: number): void {
    if (!this.#json || this.#quiet) return;
    this.#write(`${jsonOf({ summary: { verb, ...this.factsOfEnd(exit) } })}\n`);
  }

  /** What a verb has to say of itself, to programs. */
  factsOfEnd(exit: number): Record<string, unknown> {
    return { exit, seconds: this.elapsedMs / 1000, ...this.#facts };
  }

  /** Since the command began, in whole milliseconds. */
  get elapsedMs(): number {
    return Math.round(this.#clock.monotonic() - this.#startedAtMs);
  }

  /** Says what is as it should be, and yet not what one might think: once, to somebody who looks on, and to programs. */
  inform(message: string, details: Readonly<Record<string, unknown>>): void {
    if (this.#json) this.warn(message, details);
    else this.note(message);
  }

  /**
   * Says that something went wrong and was got round, or needs attention.
   *
   * @param details more fields for `--json`
   * @param topic what it is about: of several warnings about the same, the first is enough
   */
  warn(message: string, details: Readonly<Record<string, unknown>> = {}, topic = message): void {
    if (this.#said.has(topic)) return;
    this.#said.add(topic);
    this.#write(
      this.#json
        ? `${jsonOf({ warning: { ...details, message } })}\n`
        : `${this.style('yellow', 'vault: warning:')} ${showMessage(message)}\n`,
    );
  }

  /** Says why something failed. */
  fail(message: string, details: { readonly code: string; readonly exit: number }): void {
    this.#write(
      this.#json
        ? `${jsonOf({ error: { code: details.code, message, exit: details.exit } })}\n`
        : `${this.style('red', 'vault:')} ${showMessage(message)}\n`,
    );
  }

  /** Shows where an error came from, for those who asked. */
  trace(text: string): void {
    this.#write(`${showLines(text)}\n`);
  }

  /**
   * Runs some work while its progress is shown, if anybody looks on and it takes long enough.
   *
   * @param label what is being done, until the work says more
   * @param work is given where to report to
   */
  async withProgress<T>(label: string, work: (report: ProgressReport) => Promise<T>): Promise<T> {
    if (!this.#movable) return work(() => undefined);
    const shown: Shown = { last: { label, doneBytes: 0, totalBytes: null } };
    const ended = new AbortController();
    const showing = this.#showLater(shown, ended.signal);
    try {
      return await work((state) => {
        shown.last = state;
        this.#display?.update(state);
      });
    } finally {
      ended.abort();
      await showing;
      this.#display?.stop();
      this.#display = null;
    }
  }

  /** Asks somebody something while work is under way: no progress is drawn into the question. */
  async asking<T>(question: () => Promise<T>): Promise<T> {
    this.#asking = true;
    this.#display?.pause();
    try {
      return await question();
    } finally {
      this.#asking = false;
      this.#display?.resume();
    }
  }

  async #showLater(shown: Shown, ended: AbortSignal): Promise<void> {
    try {
      await delay(PROGRESS_DELAY_MS, undefined, { signal: ended });
    } catch {
      return;
    }
    const { showProgress } = await import('./progress.ts');
    if (ended.aborted) return;
    const display = showProgress({
      stream: this.#stream,
      width: () => this.#stream.columns || USUAL_WIDTH,
      colored: this.style('red', '') !== '',
      clock: this.#clock,
    });
    display.update(shown.last);
    if (this.#asking) display.pause();
    this.#display = display;
  }

  #write(text: string): void {
    // A progress that is being shown makes room by itself.
    this.#stream.write(text);
  }
}
