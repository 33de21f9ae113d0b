import { spawn as spawnInTerminal } from '@lydell/node-pty';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { cp, mkdir, rm } from 'node:fs/promises';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { openBucket } from '../../src/buckets/open.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { createVault } from '../../src/vault/manage/create.ts';
import { catalogPlace, DATABASE, keptSchema } from '../support/catalog-place.ts';
import { requireAsDescribed } from '../support/json-schema.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { COMMAND, COMPILED, ensureBuilt } from './build.ts';

/** What an ended process left. */
export interface Ended {
  /** Exit code, or 128 and the number of the signal that ended it. */
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly stdoutBytes: Buffer;
}

export interface RunOptions {
  /** Changes of the environment; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Fed to standard input, which is empty otherwise. */
  readonly stdin?: string | Uint8Array;
  /** A descriptor for standard output; what is written there is not in what is left. */
  readonly stdout?: number;
}

/** The built command in a home, a working folder and an environment of its own. */
export interface Sandbox extends AsyncDisposable {
  /** The working folder. */
  readonly path: string;
  at(...parts: readonly string[]): string;
  /** The folder of a bucket of `makeVault` and of `init --local`, from 1. */
  bucket(number: number): string;
  /** Where the command looks for its vault's catalog: what `VAULT_DB` says, or the SQLite file it finds by itself. */
  readonly db: string;
  /** Makes a vault where the command looks for it, with a password that is quickly tried; its buckets are `bucket-1` ... unless others are given. */
  makeVault(options?: { readonly buckets?: number; readonly urls?: readonly string[] }): Promise<void>;
  /**
   * Keeps what home, working folder and catalog hold, for tests that all begin with that: to copy it takes a hundredth of what the
   * commands take that have made it.
   *
   * @returns puts all of it back as it was; what still runs is killed
   */
  keep(): Promise<() => Promise<void>>;
  /** Runs the command without a terminal, to its end. */
  run(args: readonly string[], options?: RunOptions): Promise<Ended>;
  /** Starts the command without a terminal; standard input is open. */
  start(args: readonly string[], options?: RunOptions): Running;
  /** Runs a line of shell in which `vault` is the command. */
  shell(line: string, options?: RunOptions): Promise<Ended>;
  /** Starts the command in a terminal. */
  terminal(args: readonly string[], options?: RunOptions & { readonly columns?: number }): TerminalRun;
  /** Runs a line of shell in a terminal, in which `exec vault` is the command. */
  terminalOf(line: string, options?: RunOptions): TerminalRun;
}

export interface Running {
  readonly process: ChildProcess;
  readonly ended: Promise<Ended>;
}

/** A command in a terminal. */
export interface TerminalRun {
  readonly pid: number;
  /** Everything shown so far, as it came. */
  readonly raw: string;
  /** The same without colours and movements of the cursor. */
  readonly shown: string;
  /** Waits until something is shown after what was waited for last. */
  waitFor(what: string | RegExp): Promise<void>;
  type(keys: string): void;
  kill(signal: NodeJS.Signals): void;
  readonly exit: Promise<number>;
}

/** How long a terminal is watched for something that does not come. */
const PATIENCE_MS = 60_000;

/** All that a verb says on standard error with `--json` when nothing is wrong. */
export const SUMMARY = /^\{"summary":\{"verb":"[a-z -]+","exit":0,"seconds":[\d.]+.*\}\}\n$/;

export const PASSWORD = 'correct horse battery staple';

/** A sandbox in which `VAULT_PASSWORD` is set. */
export async function sandbox(): Promise<Sandbox> {
  await ensureBuilt();
  const folder = await temporaryFolder();
  const path = folder.at('work');
  await mkdir(path);
  await mkdir(folder.at('home'));
  const base = folder.at('home', '.local', 'share', 'shardvault');
  // Where the command is told to look for its vault; an SQLite file it finds by itself.
  const told = DATABASE === 'postgres' ? await catalogPlace() : null;
  const db = told?.location ?? join(base, 'catalog.db');
  const environment = ({ env = {} }: RunOptions): Record<string, string> => {
    const all: Record<string, string | undefined> = {
      PATH: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`,
      HOME: folder.at('home'),
      // Compiled code is the same in all homes.
      XDG_CACHE_HOME: COMPILED,
      TERM: 'xterm-256color',
      TZ: 'UTC',
      VAULT_PASSWORD: PASSWORD,
      VAULT_DB: told?.location,
      ...env,
    };
    return Object.fromEntries(
      Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined),
    );
  };
  const running = new Map<() => void, Promise<unknown>>();
  const killAll = async (): Promise<void> => {
    const ends = [...running.values()];
    for (const kill of running.keys()) kill();
    await Promise.allSettled(ends);
  };

  const launch = (file: string, args: readonly string[], options: RunOptions): Running => {
    const child = spawn(file, args, {
      cwd: path,
      env: environment(options),
      stdio: ['pipe', options.stdout ?? 'pipe', 'pipe'],
    });
    const kill = (): void => void child.kill('SIGKILL');
    child.stdin?.on('error', () => undefined);
    const ended = (async (): Promise<Ended> => {
      const [stdoutBytes, stderr, exit] = await Promise.all([
        child.stdout === null ? Buffer.alloc(0) : buffer(child.stdout),
        child.stderr === null ? '' : text(child.stderr),
        new Promise<number>((resolve, reject) => {
          child.on('error', reject);
          child.on('close', (code, signal) =>
            resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
          );
        }),
      ]);
      running.delete(kill);
      return { exit, stdout: stdoutBytes.toString(), stderr, stdoutBytes };
    })();
    running.set(kill, ended);
    return { process: child, ended };
  };

  const inTerminal = (
    file: string,
    args: readonly string[],
    options: RunOptions & { readonly columns?: number },
  ): TerminalRun => {
    const columns = options.columns ?? 100;
    const run = startInTerminal(file, args, { cwd: path, env: environment(options), columns });
    const kill = (): void => run.kill('SIGKILL');
    running.set(kill, run.exit);
    void run.exit.then(() => running.delete(kill));
    return run;
  };

  return {
    path,
    db,
    at: (...parts) => folder.at('work', ...parts),
    async makeVault({ buckets = 3, urls: given } = {}) {
      const catalog = await openCatalog(db, { create: true });
      const folders = Array.from(
        { length: buckets },
        (_, index) => pathToFileURL(join(base, `bucket-${index + 1}`)).href,
      );
      const urls = given ?? folders;
      if (given === undefined) for (const url of urls) await mkdir(new URL(url), { recursive: true });
      await createVault({
        catalog,
        urls,
        opener: async (url) => openBucket(url),
        redundancy: null,
        password: PASSWORD,
        kdfCost: { memoryKib: 8 * 1024, passes: 1, lanes: 1 },
        nowMs: Date.now(),
      });
      await catalog.close();
    },
    async keep() {
      const kept = await temporaryFolder(folder.path);
      await copyParts(folder.path, kept.path);
      const putRowsBack = told === null ? null : await keptSchema(told.location);
      return async () => {
        await killAll();
        await copyParts(kept.path, folder.path);
        await putRowsBack?.();
      };
    },
    bucket: (number) => join(base, `bucket-${number}`),
    start: (args, options = {}) => launch(process.execPath, [COMMAND, ...args], options),
    async run(args, options = {}) {
      const { process: child, ended } = launch(process.execPath, [COMMAND, ...args], options);
      child.stdin?.end(options.stdin ?? '');
      const { stdout, stderr } = await ended;
      // Whatever a test is about, its JSON is what docs/json-schema.json says.
      if (args.includes('--json')) requireAsDescribed(args, { stdout, stderr });
      return ended;
    },
    async shell(line, options = {}) {
      const script = `vault() { '${process.execPath}' '${COMMAND}' "$@"; }\n${line}`;
      const { process: child, ended } = launch('bash', ['-c', script], options);
      child.stdin?.end(options.stdin ?? '');
      return ended;
    },
    terminal: (args, options = {}) => inTerminal(process.execPath, [COMMAND, ...args], options),
    terminalOf: (line, options = {}) =>
      inTerminal(
        'bash',
        ['-c', line.replaceAll('exec vault', `exec '${process.execPath}' '${COMMAND}'`)],
        options,
      ),
    async [Symbol.asyncDispose]() {
      await killAll();
      await told?.[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Makes the parts of a sandbox what they are in another folder. */
async function copyParts(from: string, to: string): Promise<void> {
  for (const part of ['home', 'work']) {
    await rm(join(to, part), { recursive: true, force: true });
    await cp(join(from, part), join(to, part), {
      recursive: true,
      preserveTimestamps: true,
      verbatimSymlinks: true,
    });
  }
}

/** Answers a question with one password after the other, each but the first when the one before was refused. */
export async function giveInTurn(
  run: TerminalRun,
  question: string,
  passwords: readonly string[],
): Promise<void> {
  for (const [index, password] of passwords.entries()) {
    // A question is drawn anew at every key, but not what comes before it.
    if (index > 0) await run.waitFor('Once more:');
    await run.waitFor(question);
    run.type(`${password}\r`);
  }
}

function startInTerminal(
  file: string,
  args: readonly string[],
  options: { readonly cwd: string; readonly env: Record<string, string>; readonly columns: number },
): TerminalRun {
  const pty = spawnInTerminal(file, [...args], {
    // It would take the place of a TERM that is not set.
    name: options.env['TERM'] ?? '',
    cols: options.columns,
    rows: 30,
    cwd: options.cwd,
    env: options.env,
  });
  let raw = '';
  let position = 0;
  const watchers = new Set<() => void>();
  pty.onData((data) => {
    raw += data;
    for (const watch of watchers) watch();
  });
  let hasEnded = false;
  const exit = new Promise<number>((resolve) => {
    pty.onExit(({ exitCode, signal }) => {
      hasEnded = true;
      resolve(signal === undefined || signal === 0 ? exitCode : 128 + signal);
      for (const watch of watchers) watch();
    });
  });
  const shown = (): string => stripVTControlCharacters(raw);
  return {
    pid: pty.pid,
    get raw() {
      return raw;
    },
    get shown() {
      return shown();
    },
    async waitFor(what) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const watch = (): void => {
        const rest = shown().slice(position);
        const found = typeof what === 'string' ? rest.indexOf(what) : rest.search(what);
        if (found !== -1) {
          position += found + (typeof what === 'string' ? what.length : (what.exec(rest)?.[0].length ?? 0));
          resolve();
        } else if (hasEnded) {
          reject(new Error(`The command ended and never showed ${String(what)}. It showed:\n${shown()}`));
        }
      };
      watchers.add(watch);
      watch();
      const patience = setTimeout(() => {
        reject(new Error(`The command has not shown ${String(what)}. It showed:\n${shown()}`));
      }, PATIENCE_MS);
      try {
        await promise;
      } finally {
        clearTimeout(patience);
        watchers.delete(watch);
      }
    },
    type: (keys) => pty.write(keys),
    kill(signal) {
      try {
        pty.kill(signal);
      } catch {
        // It has ended.
      }
    },
    exit,
  };
}
