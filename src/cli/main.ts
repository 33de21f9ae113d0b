/** The command line's beginning and end: arguments in, exit code out. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { VaultError } from '../errors.ts';
import type { ExitCode } from './exit.ts';
import { DONE, INTERRUPTED, exitCodeOf } from './exit.ts';
import { takeEnvironment } from './arguments/environment.ts';
import { requireIntactArguments } from './arguments/intact.ts';
import type { Interruption, Invocation } from './arguments/invocation.ts';
import type { SharedOptions } from './arguments/options.ts';
import { end, leave } from './end.ts';
import { Output } from './terminal/output.ts';
import type { Action } from './program.ts';
import { describeProgram } from './program.ts';
import { reportError } from './terminal/report.ts';
import { Terminal } from './terminal/terminal.ts';

/** How long a command that was told to end may clear up after itself, in milliseconds. */
const CLEAN_UP_MS = 600;

/** Runs one command line and ends the process: the one way out, whatever happens in between. */
export async function main(): Promise<void> {
  const abort = new AbortController();
  const args = process.argv.slice(2);
  const interruption: Interruption = { kept: null };
  const overdue = listenToSignals(abort, interruption);
  // Node ends with 0 when there is nothing left to wait for, and that would be taken for success.
  process.on('beforeExit', () => {
    leave(fail(new Error('The command stopped before it was done.'), { json: saysJson(args) }));
  });
  const code = await Promise.race([runCommandLine(args, { signal: abort.signal, interruption }), overdue]);
  // What does not heed an abort is left where it is: at no instant is that worse than a power cut.
  if (code === 'overdue') fail(interrupted(interruption), { json: saysJson(args) });
  await end(code === 'overdue' ? INTERRUPTED : code, overdue);
}

/** How a command line is told to end, and what is said then. */
type Ending = Pick<Invocation, 'signal' | 'interruption'>;

async function runCommandLine(args: readonly string[], ending: Ending): Promise<ExitCode> {
  try {
    requireIntactArguments(args);
    return await runVerb(args, ending);
  } catch (error) {
    const told = ending.signal.aborted ? interrupted(ending.interruption, error) : error;
    return fail(told, { json: saysJson(args) });
  }
}

async function runVerb(args: readonly string[], ending: Ending): Promise<ExitCode> {
  let code: ExitCode = DONE;
  let usage = '';
  const output = new Output(process.stdout, ending.signal);
  const program = new Command();
  program.exitOverride().configureOutput({
    writeOut: (text) => (usage += text),
    // Errors are told below in the style of all others; help that was asked for in vain is help all the same.
    writeErr: (text) => (usage += text),
    outputError: () => undefined,
    getOutHelpWidth: () => process.stdout.columns || 80,
    getErrHelpWidth: () => process.stderr.columns || 80,
  });
  describeProgram(program, async (options, action, verb) => {
    code = await runAction(options, action, { output, verb, ...ending });
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
  { verb, ...run }: Pick<Invocation, 'output' | 'signal' | 'interruption'> & { readonly verb: string },
): Promise<ExitCode> {
  const environment = takeEnvironment();
  const terminal = terminalFor(options);
  // Warnings of Node and of libraries are for those who debug, not for a cron job's mail.
  if (options.debug !== true && !environment['VAULT_DEBUG']) process.removeAllListeners('warning');
  const interactive = process.stdin.isTTY && process.stderr.isTTY;
  try {
    const code = await action({ options, environment, interactive, terminal, ...run });
    terminal.conclude(verb, code);
    return code;
  } catch (error) {
    // Whatever an abort led to, the user knows why it ended.
    const told = run.signal.aborted ? interrupted(run.interruption, error) : error;
    reportError(told, { terminal, options, environment });
    return exitCodeOf(told);
  }
}

function interrupted({ kept }: Interruption, cause?: unknown): VaultError {
  const what = kept?.() ?? null;
  return new VaultError('interrupted', what === null ? 'Interrupted.' : `Interrupted. ${what}`, { cause });
}

function fail(error: unknown, options: SharedOptions): ExitCode {
  reportError(error, { terminal: terminalFor(options), options, environment: process.env });
  return exitCodeOf(error);
}

function terminalFor({ json, quiet, verbose }: SharedOptions): Terminal {
  return new Terminal(process.stderr, process.env, {
    json: json === true,
    quiet: quiet === true,
    verbose: verbose === true,
  });
}

/**
 * The first Ctrl-C, or a polite end from outside, aborts what is under way, which then cleans up; the second one ends
 * the process as it is.
 *
 * @returns settles when the time to clean up is over
 */
function listenToSignals(abort: AbortController, interruption: Interruption): Promise<'overdue'> {
  const overdue = Promise.withResolvers<'overdue'>();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.removeAllListeners(name).on(name, () => {
      if (abort.signal.aborted) leave(INTERRUPTED);
      abort.abort(name);
      setTimeout(() => overdue.resolve('overdue'), interruption.patienceMs ?? CLEAN_UP_MS);
    });
  }
  // Nothing may be left undone silently: a promise that nobody awaits is a bug like any other.
  process.on('uncaughtException', (error) => {
    const told = abort.signal.aborted ? interrupted(interruption, error) : error;
    leave(fail(told, { json: saysJson(process.argv) }));
  });
  return overdue.promise;
}

function saysJson(args: readonly string[]): boolean {
  const stop = args.indexOf('--');
  return (stop === -1 ? args : args.slice(0, stop)).includes('--json');
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
