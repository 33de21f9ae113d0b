/** The command line's beginning and end: arguments in, exit code out. */
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, CommanderError } from 'commander';
import { VaultError } from '../errors.ts';
import type { ExitCode } from './exit.ts';
import { BUG, DONE, INTERRUPTED, exitCodeOf } from './exit.ts';
import type { Invocation } from './arguments/invocation.ts';
import type { SharedOptions } from './arguments/options.ts';
import { Output } from './terminal/output.ts';
import type { Action } from './program.ts';
import { describeProgram } from './program.ts';
import { reportError } from './terminal/report.ts';
import { Terminal } from './terminal/terminal.ts';

/** Runs one command line and ends the process. */
export async function main(): Promise<void> {
  const abort = new AbortController();
  listenToSignals(abort);
  // Node ends with 0 when there is nothing left to wait for, and that would be taken for success.
  process.on('beforeExit', () => {
    leave(fail(new Error('The command stopped before it was done.'), { json: saysJson(process.argv) }));
  });
  const code = await runCommandLine(process.argv.slice(2), abort.signal);
  await flushed(process.stderr);
  // Standard output has been waited for with every write. What an interrupted library still holds open must not keep a cron job.
  for (let turn = 0; turn < PATIENCE_TURNS && isWaitedFor(); turn += 1) await sleep(1);
  leave(code);
}

/** How many milliseconds the last calls, which close what was open, get before they count as hanging. */
const PATIENCE_TURNS = 50;

/** Requests that a thread works on: `process.exit` waits until they have come back. */
const WORK_OF_THREADS = new Set(['FSReqCallback', 'FSReqPromise', 'GetAddrInfoReqWrap']);

/** What ends with a number and nothing else, and is there wherever a process can take another's place. */
const SHELL = '/bin/sh';

/**
 * Ends the process. A call that hangs in the system, as on a disk whose server has gone, would keep `process.exit` for ever:
 * then a shell takes the place of this process, which ends all its threads, and exits with the number.
 */
function leave(code: ExitCode): never {
  if (!isWaitedFor()) process.exit(code);
  if (process.execve !== undefined && existsSync(SHELL)) {
    // It is said to be experimental, which is nothing to tell a user.
    process.removeAllListeners('warning');
    process.execve(SHELL, ['sh', '-c', `exit ${code}`], {});
  }
  process.kill(process.pid, 'SIGKILL');
  process.exit(code);
}

function isWaitedFor(): boolean {
  return process.getActiveResourcesInfo().some((name) => WORK_OF_THREADS.has(name));
}

/** Waits until what was written has been taken; a reader that has gone counts. */
async function flushed(stream: NodeJS.WriteStream): Promise<void> {
  await new Promise<void>((resolve) => stream.write('', () => resolve()));
}

async function runCommandLine(args: readonly string[], signal: AbortSignal): Promise<ExitCode> {
  let code: ExitCode = DONE;
  let usage = '';
  const output = new Output(process.stdout, signal);
  const program = new Command();
  program.exitOverride().configureOutput({
    writeOut: (text) => (usage += text),
    // Errors are told below in the style of all others; help that was asked for in vain is help all the same.
    writeErr: (text) => (usage += text),
    outputError: () => undefined,
    getOutHelpWidth: () => process.stdout.columns || 80,
    getErrHelpWidth: () => process.stderr.columns || 80,
  });
  describeProgram(program, async (options, action) => {
    code = await runAction(options, action, { output, signal });
  });
  program.on('option:version', () => {
    throw new CommanderError(0, 'commander.version', packageVersion());
  });
  // Said before the options are parsed, since what is wrong may be an option.
  const shared = { json: saysJson(args) };
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    if (!(error instanceof CommanderError)) {
      return fail(error, shared);
    }
    if (error.code === 'commander.version') usage = `${error.message}\n`;
    if (error.exitCode === 0) {
      await output.write(usage);
      return DONE;
    }
    if (error.code === 'commander.help') {
      if (!shared.json) process.stderr.write(`${usage}\n`);
      return fail(new VaultError('invalid-input', 'A command is needed.'), shared);
    }
    const message = error.message
      .replace(/^error: /, '')
      .replace(/\n\(/, ' (')
      .replace(/\.+$/, '');
    const help = `See "vault${commandOf(args, program)} --help".`;
    return fail(new VaultError('invalid-input', `${capitalized(message)}. ${help}`), shared);
  }
}

async function runAction(
  options: SharedOptions,
  action: Action,
  { output, signal }: Pick<Invocation, 'output' | 'signal'>,
): Promise<ExitCode> {
  const environment = process.env;
  const terminal = terminalFor(options);
  // Warnings of Node and of libraries are for those who debug, not for a cron job's mail.
  if (options.debug !== true && !environment['VAULT_DEBUG']) process.removeAllListeners('warning');
  const interactive = process.stdin.isTTY && process.stderr.isTTY;
  try {
    return await action({ options, environment, interactive, signal, output, terminal });
  } catch (error) {
    // Whatever an abort led to, the user knows why it ended.
    if (signal.aborted) {
      reportError(new VaultError('interrupted', 'Interrupted.', { cause: error }), {
        terminal,
        options,
        environment,
      });
      return INTERRUPTED;
    }
    reportError(error, { terminal, options, environment });
    return exitCodeOf(error);
  }
}

function fail(error: unknown, options: SharedOptions): ExitCode {
  reportError(error, { terminal: terminalFor(options), options, environment: process.env });
  return exitCodeOf(error);
}

function terminalFor({ json, quiet }: SharedOptions): Terminal {
  return new Terminal(process.stderr, process.env, { json: json === true, quiet: quiet === true });
}

/**
 * The first Ctrl-C, or a polite end from outside, aborts what is under way, which then cleans up; the second one ends
 * the process as it is.
 */
function listenToSignals(abort: AbortController): void {
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (abort.signal.aborted) leave(INTERRUPTED);
      abort.abort(name);
    });
  }
  // Nothing may be left undone silently: a promise that nobody awaits is a bug like any other.
  process.on('uncaughtException', (error) => {
    reportError(error, {
      terminal: terminalFor({ json: saysJson(process.argv) }),
      options: {},
      environment: process.env,
    });
    leave(BUG);
  });
}

function saysJson(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  return (end === -1 ? args : args.slice(0, end)).includes('--json');
}

/** The verb, or the verb's verb, that was asked for; each after a space. */
function commandOf(args: readonly string[], program: Command): string {
  let command = program;
  let path = '';
  for (const arg of args) {
    const next = command.commands.find((candidate) => candidate.name() === arg);
    if (next === undefined) continue;
    command = next;
    path += ` ${arg}`;
  }
  return path;
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function packageVersion(): string {
  // From the bundle and from the source.
  for (const path of ['../package.json', '../../package.json']) {
    try {
      const facts: unknown = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));
      if (typeof facts === 'object' && facts !== null && 'version' in facts) return String(facts.version);
    } catch {
      // The other one, then.
    }
  }
  return 'unknown';
}
