/** One run of the command line: what its commands are given, and how they get at the vault. */
import { isAbsolute, sep } from 'node:path';
import type { RequestOptions, VaultLocation } from '../../compose.ts';
import { isVaultError } from '../../errors.ts';
import { isDatabaseUrl } from '../../catalog/location.ts';
import type { Host } from '../../host.ts';
import type { CallOptions, Step, Warning } from '../../vault/call.ts';
import type { NotedVerb } from '../../vault/read/runs.ts';
import type { Vault } from '../../vault/vault.ts';
import type { ExitCode } from '../exit.ts';
import { ATTENTION, DONE, exitCodeOf } from '../exit.ts';
import type { Settled } from './config.ts';
import type { SharedOptions } from './options.ts';
import { catalogLocation, logFolderOf, requestOptions } from './options.ts';
import type { Output } from '../terminal/output.ts';
import { workingFolder } from './intact.ts';
import type { Terminal } from '../terminal/terminal.ts';
import { showName } from '../terminal/text.ts';
import { expectQuestion, PASSWORD_TRIES, readTriedPassword, refusalOf } from './password.ts';
import { bucketUrl, openVault, withPreparedBucket } from '../../compose.ts';
import { giveTyped } from '../terminal/typed-ahead.ts';

export interface Interruption {
  /** What stays of the work so far, as a sentence; null while there is nothing. Set by the verb. */
  kept: (() => string | null) | null;
  /** How long the verb may take to end, in milliseconds, where that is longer than usual. */
  patienceMs?: number;
}

export interface Invocation extends Host {
  readonly options: SharedOptions;
  readonly settled: Settled;
  /** Whether somebody can be asked: standard input and standard error are a terminal. */
  readonly interactive: boolean;
  /** Aborted by Ctrl-C and its like. */
  readonly signal: AbortSignal;
  readonly interruption: Interruption;
  readonly output: Output;
  readonly terminal: Terminal;
}

/**
 * Opens the vault, works with it and closes it, whatever happens.
 *
 * @param onPassword told of each password that is tried: the last one opens it
 * @throws what opening (`no-vault`, `wrong-password`, ...) or the work throws
 */
export async function withVault<T>(
  invocation: Invocation,
  work: (vault: Vault) => Promise<T>,
  onPassword?: (password: string) => void,
  request?: RequestOptions,
): Promise<T> {
  const { options, environment } = invocation;
  // What is wrong with the options is said before anything is opened or asked.
  const around = surroundings(invocation);
  expectQuestion({ ...invocation, purpose: 'enter' });
  const db = catalogLocation(options, environment);
  const vault = await openVault({
    db,
    ...(isDatabaseUrl(db) && { logFolder: logFolderOf(environment) }),
    passwordTries: PASSWORD_TRIES,
    password: async (refused) => {
      const password = await readTriedPassword({ ...invocation, purpose: 'enter', refused });
      onPassword?.(password);
      return password;
    },
    ...around,
    request: { ...around.request, ...request },
  }).catch((error: unknown) => {
    throw refusalOf(error, { ...invocation, purpose: 'enter' });
  });
  giveTyped({ shown: true });
  try {
    return await work(vault);
  } finally {
    await vault.close();
  }
}

/**
 * The same work, whose end is noted in the vault for `vault status`, unless somebody has interrupted it.
 *
 * @param verb null: it is not worth noting, such as a dry run
 */
export function noted(
  { signal, terminal }: Invocation,
  verb: NotedVerb | null,
  work: (vault: Vault) => Promise<ExitCode>,
): (vault: Vault) => Promise<ExitCode> {
  if (verb === null) return work;
  return async (vault) => {
    let exit: ExitCode | null = null;
    try {
      return (exit = await work(vault));
    } catch (error) {
      // What was not begun has not ended either.
      if (!isVaultError(error, 'invalid-input', 'interrupted')) exit = exitCodeOf(error);
      throw error;
    } finally {
      if (exit !== null && !signal.aborted) {
        await vault.noteRun(verb, terminal.factsOfEnd(exit)).catch((error: unknown) => {
          // Of a catalog that can be read and not written nothing more is said.
          if (!isVaultError(error)) throw error;
        });
      }
    }
  };
}

/**
 * What a vault is told of the process and the machine around it, and of how to ask buckets.
 *
 * @param places URLs and paths of the buckets that the command names
 * @throws `invalid-input`
 */
export function surroundings(
  invocation: Invocation,
  places: readonly string[] = [],
): Omit<VaultLocation, 'db' | 'password' | 'passwordTries'> {
  const { options, signal, terminal } = invocation;
  return {
    request: requestOptions(options),
    baseFolder: baseFolderOf(places),
    host: invocation,
    onWaiting: warnOfWaiting(terminal),
    signal,
  };
}

/**
 * The folder that relative paths start from: the working folder, if any of the places needs it. A command that names none works
 * in a folder that has been removed, too.
 */
function baseFolderOf(places: readonly string[]): string {
  const needed = places.some((place) => !isAbsolute(place) && !/^[a-z][a-z0-9+.-]*:\/\//i.test(place));
  return needed ? workingFolder() : sep;
}

/** Says, once for each, which bucket is being waited for. */
function warnOfWaiting(terminal: Terminal): NonNullable<VaultLocation['onWaiting']> {
  return ({ label, error }) => {
    terminal.warn(
      `Waiting for ${label}: ${error.message}`,
      { kind: 'waiting', bucket: label },
      `waiting ${label}`,
    );
  };
}

const STEPS: Readonly<Record<Step['what'], string>> = {
  removed: 'Removed',
  expired: 'Expired:',
  repaired: 'Repaired',
  stored: 'Stored',
};

/** Passes on what was done, one thing a line. */
function tellTo(terminal: Terminal): (step: Step) => void {
  return ({ what, on }) => terminal.detail(`${STEPS[what]} ${showName(on)}`);
}

/** Passes on what went wrong in the vault and was got round. */
export function warnTo(terminal: Pick<Terminal, 'warn' | 'inform'>): (warning: Warning) => void {
  return ({ message, kind, bucket }) => {
    if (kind === 'left-out') {
      terminal.inform(message, { kind, bucket });
      return;
    }
    // A bucket that is down is met again and again, with a message for every purpose.
    let topic = kind === 'bucket-down' && bucket !== null ? `down ${bucket}` : message;
    // So is a clock that is wrong, by other buckets each time.
    if (kind === 'clock') topic = kind;
    terminal.warn(message, { kind, bucket }, topic);
  };
}

/** The same for a verb that ends with `ATTENTION` if it was told of anything. */
export function heedful({ terminal }: Pick<Invocation, 'terminal'>): {
  readonly onWarning: (warning: Warning) => void;
  readonly exit: () => ExitCode;
} {
  let code = DONE;
  const warn = warnTo(terminal);
  return {
    onWarning(warning) {
      code = ATTENTION;
      warn(warning);
    },
    exit: () => code,
  };
}

/**
 * Has the vault do something while its progress is shown.
 *
 * @param label what is done, until the work says more
 * @param work is given what every verb of the vault takes
 */
export function withProgress<T>(
  { terminal, signal }: Invocation,
  label: string,
  work: (call: Required<CallOptions>) => Promise<T>,
): Promise<T> {
  return terminal.withProgress(label, async (report) =>
    work({
      signal,
      onWarning: warnTo(terminal),
      onStep: tellTo(terminal),
      onProgress: (progress) => report({ label, ...progress }),
    }),
  );
}

/** A bucket as the vault knows it, from what was typed. @throws `invalid-input` */
export async function bucketUrlOf(text: string): Promise<string> {
  return bucketUrl(text, baseFolderOf([text]));
}

/** The same for a bucket that is to be added: its folder is made, if it is one, and goes again where that fails. @throws `invalid-input`; `denied`; `storage-full` */
export async function withPreparedBucketUrl<T>(text: string, add: (url: string) => Promise<T>): Promise<T> {
  return withPreparedBucket(text, baseFolderOf([text]), add);
}

/** The same, where a bucket's id may stand as well. @throws `invalid-input` */
export async function bucketReferenceOf(text: string): Promise<string> {
  return /^[0-9a-f]{32}$/.test(text) ? text : bucketUrlOf(text);
}
