/** The command line's beginning and end: arguments in, exit code out. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { invalidInput, VaultError } from '../errors.ts';
import { FORMAT } from '../format/format.ts';
import { thisHost, type Host } from '../host.ts';
import { DONE, INTERRUPTED, exitCodeOf, type ExitCode } from './exit.ts';
import { takeEnvironment } from './arguments/environment.ts';
import { requireIntactArguments, requireIntactVariables } from './arguments/intact.ts';
import type { Interruption, Invocation } from './arguments/invocation.ts';
import type { SharedOptions } from './arguments/options.ts';
import { end, leave } from './end.ts';
import { collectOften } from '../concurrency/heap.ts';
import { Output } from './terminal/output.ts';
import type { Action } from './verbs.ts';
import { describeProgram, type AskedVerb } from './program.ts';
import { asTold, misreadZone } from './surroundings.ts';
import { synonymsOf } from './help/synonyms.ts';
import { factsOf, verbOf } from './help/tree.ts';
import { reportError } from './terminal/report.ts';
import { giveTyped } from './terminal/typed-ahead.ts';
import { Terminal } from './terminal/terminal.ts';
import { jsonOf } from './terminal/text.ts';

/** How long a command that was told to end may clear up after itself, in milliseconds. */
const CLEAN_UP_MS = 600;

/** Runs one command line and ends the process: the one way out, whatever happens in between. */
export async function main(): Promise<void> {
  const abort = new AbortController();
  const args = process.argv.slice(2);
  // Where nothing takes what is said, that is no reason to fail; without a listener it would end the process.
  process.stderr.on('error', () => undefined);
  const run: Run = { ...thisHost(takeEnvironment()), signal: abort.signal, interruption: { kept: null } };
  const overdue = listenToSignals(abort, run);
  // Node ends with 0 when there is nothing left to wait for, and that would be taken for success.
  process.on('beforeExit', () => {
    leave(fail(new Error('The command stopped before it was done.'), run, { json: saysJson(args) }));
  });
  const code = await Promise.race([runCommandLine(args, run), overdue]);
  // What does not stop when told to is left as it is: that is never worse than a power cut.
  if (code === 'overdue') fail(interrupted(run.interruption), run, { json: saysJson(args) });
  await end(code === 'overdue' ? INTERRUPTED : code, overdue);
}

/** What a command line runs in, how it is told to end, and what is said then. */
type Run = Host & Pick<Invocation, 'signal' | 'interruption'>;

async function runCommandLine(args: readonly string[], run: Run): Promise<ExitCode> {
  try {
    requireIntactArguments(args);
    return await runVerb(args, run);
  } catch (error) {
    const told = run.signal.aborted ? interrupted(run.interruption, error) : error;
    return fail(told, run, { json: saysJson(args) });
  }
}

async function runVerb(args: readonly string[], run: Run): Promise<ExitCode> {
  let code: ExitCode = DONE;
  let usage = '';
  const output = new Output(process.stdout, run.signal);
  const print = async (text: string): Promise<void> => {
    output.requireOpen();
    await output.write(text);
  };
  const program = new Command();
  program.exitOverride().configureOutput({
    writeOut: (text) => (usage += text),
    // Errors are told below in the style of all others; help that was asked for in vain is help all the same.
    writeErr: (text) => (usage += text),
    outputError: () => undefined,
    getOutHelpWidth: () => process.stdout.columns || 80,
    getErrHelpWidth: () => process.stderr.columns || 80,
  });
  // Said before the options are parsed, since what is wrong may be an option.
  const shared = { json: saysJson(args) };
  if (!shared.json && !args.includes('__complete')) describeAsMeant(program, new Set(args));
  describeProgram(program, {
    run: async (options, action, asked) => {
      code = await runAction(options, action, { output, ...asked, ...run });
    },
    say: (text) => (usage += text),
    environment: run.environment,
    version() {
      usage = shared.json ? `${jsonOf(versionFacts())}\n` : `${packageVersion()}\n`;
      throw new CommanderError(0, 'commander.version', usage);
    },
    ...shared,
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    if (usage !== '') await print(usage);
    return code;
  } catch (error) {
    if (!(error instanceof CommanderError)) {
      return fail(error, run, shared);
    }
    if (error.exitCode === 0) {
      // Many ask for the version only to see that the program is there, and throw it away.
      await (error.code === 'commander.version' ? output.write(usage) : print(usage));
      return DONE;
    }
    if (error.code === 'commander.help') {
      if (!shared.json) process.stderr.write(`${usage}\n`);
      return fail(invalidInput('A command is needed.'), run, shared);
    }
    return fail(invalidInput(wrongUsage(error, args, program)), run, shared);
  }
}

/** Has verbs that a command line does not name known by name and purpose alone: their options take milliseconds. */
function describeAsMeant(program: Command, words: ReadonlySet<string>): void {
  const make = (name = ''): Command => {
    const command = new Command(name);
    command.createCommand = make;
    if (!words.has(name)) {
      command.option = () => command;
      command.requiredOption = () => command;
    }
    return command;
  };
  program.createCommand = make;
}

/** What is wrong with a command line, and where to read on. A verb that is called otherwise elsewhere leads to the one here. */
function wrongUsage({ code, message }: CommanderError, args: readonly string[], program: Command): string {
  const where = commandOf(args, program);
  const meant = code === 'commander.unknownCommand' ? synonymsOf(/'(.*?)'/.exec(message)?.[1] ?? '') : [];
  const facts = factsOf(program);
  const parent = commandOf(
    args.filter((arg) => arg !== 'help'),
    program,
  ).trim();
  const verb = meant
    .map((one) => `${parent} ${one}`.trim())
    .find((path) => verbOf(facts, path) !== undefined);
  const said = capitalized(
    message
      .replace(/^error: /, '')
      // It may be a password that was to go by.
      .replace(/(unknown option '[^'=]*)=[^]*'/, "$1'")
      .replace(/(but got \d+): [^]*/, '$1')
      .replace(/\n\(/, ' (')
      // As all messages have it.
      .replace(/'([^']*)'/g, '"$1"')
      .replace(/\.+$/, ''),
  );
  if (verb === undefined) return `${said}. See "vault${where} --help".`;
  return `${said.replace(/ \(Did you mean .*$/, '')}: here it is "vault ${verb}". See "vault ${verb} --help".`;
}

async function runAction(
  given: SharedOptions,
  action: Action,
  { verb, prints, pings, ...run }: Run & Pick<Invocation, 'output'> & AskedVerb,
): Promise<ExitCode> {
  const { environment } = run;
  requireIntactVariables(environment);
  collectOften();
  // Not to be waited for by help.
  const [{ settle }, { startPing }] = await Promise.all([
    import('./arguments/config.ts'),
    import('./ping.ts'),
  ]);
  const settled = await settle(given, environment);
  const { options } = settled;
  const terminal = terminalFor(run, options);
  // Warnings of Node and of libraries are for those who debug, not for a cron job's mail.
  if (options.debug !== true && !environment['VAULT_DEBUG']) {
    process.removeAllListeners('warning');
    console.warn = () => undefined;
  }
  const interactive = process.stderr.isTTY && process.stdin.isTTY;
  const misread = misreadZone(run);
  // By its days versions are removed.
  if (misread !== null) terminal[verb === 'prune' ? 'warn' : 'note'](misread);
  let ping: ((exit: ExitCode) => Promise<void>) | null = null;
  try {
    if (pings) ping = startPing(options, environment, terminal);
    if (options.json === true || prints) run.output.requireOpen();
    const code = await action({ options, settled, interactive, terminal, ...run }).finally(() =>
      giveTyped({ shown: true }),
    );
    await ping?.(code);
    terminal.conclude(verb, code);
    return code;
  } catch (error) {
    // Whatever an abort led to, the user knows why it ended.
    const told = run.signal.aborted ? interrupted(run.interruption, error) : asTold(error);
    reportError(told, { terminal, options, environment });
    const code = exitCodeOf(told);
    await ping?.(code);
    return code;
  }
}

function interrupted({ kept }: Interruption, cause?: unknown): VaultError {
  const what = kept?.() ?? null;
  return new VaultError('interrupted', what === null ? 'Interrupted.' : `Interrupted. ${what}`, { cause });
}

function fail(thrown: unknown, host: Host, options: SharedOptions): ExitCode {
  const error = asTold(thrown);
  reportError(error, { terminal: terminalFor(host, options), options, environment: host.environment });
  return exitCodeOf(error);
}

function terminalFor(host: Host, { json, quiet, verbose }: SharedOptions): Terminal {
  return new Terminal(process.stderr, host, {
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
function listenToSignals(abort: AbortController, run: Run): Promise<'overdue'> {
  const overdue = Promise.withResolvers<'overdue'>();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.removeAllListeners(name).on(name, () => {
      if (abort.signal.aborted) leave(INTERRUPTED);
      abort.abort(name);
      setTimeout(() => overdue.resolve('overdue'), run.interruption.patienceMs ?? CLEAN_UP_MS);
    });
  }
  // Nothing may be left undone silently: a promise that nobody awaits is a bug like any other.
  process.on('uncaughtException', (error) => {
    const told = abort.signal.aborted ? interrupted(run.interruption, error) : error;
    leave(fail(told, run, { json: saysJson(process.argv) }));
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

/** For programs. */
function versionFacts(): Record<string, unknown> {
  return { version: packageVersion(), format: FORMAT, node: process.versions.node };
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
