/** What `put` stores that is no file of this machine: standard input, and what a command prints. */
import { constants } from 'node:os';
import { invalidInput, messageOf, VaultError } from '../../errors.ts';
import type { FileSource } from '../../vault/write/file-source.ts';
import { streamSource } from '../../vault/write/source.ts';
import { ShellCommand } from './shell-command.ts';

export function standardInput(allowEmpty: boolean): FileSource {
  const source = streamSource(process.stdin, 'standard input', 0);
  return allowEmpty ? source : refusingNothing(source);
}

/**
 * What a command prints. It is started in the shell when the source is first read, in a process group of its own, which ends when the
 * source is closed before its end, or this process ends. It gets no standard input, and shares standard error.
 *
 * @throws when it is read to its end: `source-changed` if the command did not end with 0, `invalid-input` if there is none such
 */
export function commandSource(command: string, allowEmpty: boolean): FileSource {
  const source: FileSource = {
    label: 'the command',
    reopens: false,
    async open(signal) {
      const run = new CommandRun(command);
      const output = await streamSource(run.output(), 'the command').open(signal);
      return {
        size: null,
        modified: null,
        mode: null,
        read: async (target, aborted) => output.read(target, aborted),
        verify: async () => output.verify(),
        async close() {
          await run.end();
          await output.close();
        },
      };
    },
  };
  return allowEmpty ? source : refusingNothing(source);
}

/** The same, refused if it has nothing: mostly whatever should have written it has failed. */
function refusingNothing(source: FileSource): FileSource {
  const { label } = source;
  return {
    label,
    reopens: false,
    async open(signal) {
      const opened = await source.open(signal);
      let any = false;
      return {
        size: opened.size,
        modified: opened.modified,
        mode: opened.mode,
        async read(target, aborted) {
          const length = await opened.read(target, aborted);
          any ||= length > 0;
          return length;
        },
        async verify() {
          await opened.verify();
          if (any) return;
          throw invalidInput(
            `Nothing came from ${label}, so nothing was stored. --allow-empty stores an empty file.`,
          );
        },
        close: async () => opened.close(),
      };
    },
  };
}

/** A command, from its start to the end of all that it has started. */
class CommandRun {
  readonly #command: string;
  /** While there may be something to end. */
  #running: ShellCommand | null = null;

  constructor(command: string) {
    this.#command = command;
  }

  /** Starts it, and gives what it prints. @throws if it fails, after what it has printed until then */
  async *output(): AsyncGenerator<Uint8Array, void, undefined> {
    const ended = Promise.withResolvers<string | null>();
    // Told when it is waited for.
    ended.promise.catch(() => undefined);
    const running = this.#start();
    const { child } = running;
    child.on('error', (cause) => ended.reject(notStarted(messageOf(cause), cause)));
    child.on('exit', (code, killer) => {
      if (code === 126 || code === 127) {
        const why = code === 126 ? 'it may not be run' : 'there is no such command';
        ended.reject(notStarted(`${why}, says the shell (exit code ${code})`));
      } else ended.resolve(code === 0 ? null : describeEnd(code, killer));
    });
    let broken: VaultError | null = null;
    try {
      yield* child.stdout;
    } catch (cause) {
      broken = new VaultError(
        'source-changed',
        `What the command prints cannot be read: ${messageOf(cause)}.`,
        {
          cause,
        },
      );
    }
    const failure = await ended.promise;
    if (failure !== null) {
      throw new VaultError('source-changed', `The command failed (${failure}), so nothing was stored.`);
    }
    if (broken !== null) throw broken;
    running.leave();
    this.#running = null;
  }

  async end(): Promise<void> {
    await this.#running?.end();
    this.#running = null;
  }

  #start(): ShellCommand {
    try {
      return (this.#running = new ShellCommand(this.#command, { stdin: 'ignore', atTerminal: false }));
    } catch (cause) {
      throw notStarted(messageOf(cause), cause);
    }
  }
}

function notStarted(why: string, cause?: unknown): VaultError {
  return invalidInput(
    `The command could not be started, so nothing was stored: ${why}. Look at --from-command and at PATH.`,
    cause,
  );
}

/** A shell that has run something that was ended by a signal says so by 128 and the signal's number. */
function describeEnd(code: number | null, killer: NodeJS.Signals | null): string {
  const shown = Object.entries(constants.signals).find(([, number]) => code === 128 + number)?.[0] ?? killer;
  return shown === null ? `exit code ${code}` : `it was ended by ${shown}`;
}
