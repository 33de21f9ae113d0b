/** A command that is run in the shell for what it prints, and ends with this process. */
import { spawn, type ChildProcess } from 'node:child_process';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';

/** How long a command may clear up after itself when it is told to end, and how often it is looked at; in milliseconds. */
const CLEAN_UP_MS = 300;
const LOOK_MS = 10;

export class ShellCommand {
  readonly child: ChildProcess & { readonly stdout: Readable };
  /** Whether it is told to end together with all that it has started. */
  readonly #isGroup: boolean;
  readonly #kill = (): void => void this.#signal('SIGKILL');

  /**
   * Starts it. It shares standard error.
   *
   * @param options `stdin`: what it can read from; `atTerminal`: whether it may need the terminal, from which a group of its own
   *   would be cut off
   * @throws what Node throws if there is no shell
   */
  constructor(
    command: string,
    { stdin, atTerminal }: { readonly stdin: 'inherit' | 'ignore'; readonly atTerminal: boolean },
  ) {
    this.#isGroup = process.platform !== 'win32' && !atTerminal;
    this.child = spawn(command, { shell: true, detached: this.#isGroup, stdio: [stdin, 'pipe', 'inherit'] });
    // As if it were one of ours, however this process ends.
    process.once('exit', this.#kill);
  }

  /** Ends what has not come to its end by itself: politely, and then not. */
  async end(): Promise<void> {
    this.#signal('SIGTERM');
    for (let waitedMs = 0; this.#signal(0) && waitedMs < CLEAN_UP_MS; waitedMs += LOOK_MS)
      await delay(LOOK_MS);
    this.#signal('SIGKILL');
    // What is left of it in spite of that must not be waited for.
    this.child.stdout.destroy();
    this.leave();
  }

  /** Once it has ended, or what it has started is to stay: its number may be another's. */
  leave(): void {
    process.off('exit', this.#kill);
  }

  /** Sends it a signal; 0 only asks. @returns whether there is anything left of it */
  #signal(signal: NodeJS.Signals | 0): boolean {
    const { pid } = this.child;
    if (pid === undefined) return false;
    try {
      return this.#isGroup ? process.kill(-pid, signal) : this.child.kill(signal);
    } catch {
      return false;
    }
  }
}
