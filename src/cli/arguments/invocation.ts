/** One run of the command line: what its commands are given, and how they get at the vault. */
import { isAbsolute, sep } from 'node:path';
import type { VaultLocation } from '../../compose.ts';
import type { Warning } from '../../vault/call.ts';
import type { Vault } from '../../vault/vault.ts';
import type { Environment, SharedOptions } from './options.ts';
import { catalogLocation, requestOptions } from './options.ts';
import type { Output } from '../terminal/output.ts';
import { workingFolder } from './intact.ts';
import type { Terminal } from '../terminal/terminal.ts';

/** What is said of a command that is interrupted. */
export interface Interruption {
  /** What stays of the work so far, as a sentence; null while there is nothing. Set by the verb. */
  kept: (() => string | null) | null;
  /** How long the verb may take to end, in milliseconds, where that is longer than usual. */
  patienceMs?: number;
}

export interface Invocation {
  readonly options: SharedOptions;
  readonly environment: Environment;
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
): Promise<T> {
  const { options, environment, terminal } = invocation;
  // What is wrong with the options is said before anything is opened or asked.
  const around = surroundings(invocation);
  const [{ openVault }, { readPassword, PASSWORD_TRIES }] = await Promise.all([
    import('../../compose.ts'),
    import('./password.ts'),
  ]);
  const vault = await openVault({
    db: catalogLocation(options, environment),
    passwordTries: PASSWORD_TRIES,
    password: async (refused) => {
      const warn = warnOfFile(terminal);
      const password = await readPassword({ ...invocation, purpose: 'enter', warn, refused });
      onPassword?.(password);
      return password;
    },
    ...around,
  });
  try {
    return await work(vault);
  } finally {
    await vault.close();
  }
}

/**
 * What a vault is told of the process and the machine around it, and of how to ask buckets.
 *
 * @param places URLs and paths of the buckets that the command names
 * @throws `invalid-input`
 */
export function surroundings(
  { options, environment, signal, terminal }: Invocation,
  places: readonly string[] = [],
): Omit<VaultLocation, 'db' | 'password' | 'passwordTries'> {
  return {
    request: requestOptions(options),
    baseFolder: baseFolderOf(places),
    environment,
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

/** Says that a password file is not its owner's alone. */
export function warnOfFile(terminal: Terminal): (message: string) => void {
  return (message) => terminal.warn(message, { kind: 'password-file' });
}

/** Passes on what went wrong in the vault and was got round. */
export function warnTo(terminal: Terminal): (warning: Warning) => void {
  return ({ message, kind, bucket }) => {
    // A bucket that is down is met again and again, with a message for every purpose.
    const topic = kind === 'bucket-down' && bucket !== null ? `down ${bucket}` : message;
    terminal.warn(message, { kind, bucket }, topic);
  };
}

/** A bucket as the vault knows it, from what was typed. @throws `invalid-input` */
export async function bucketUrlOf(text: string): Promise<string> {
  const { bucketUrl } = await import('../../compose.ts');
  return bucketUrl(text, baseFolderOf([text]));
}

/** The same for a bucket that is to be added: its folder is made, if it is one. @throws `invalid-input`; `denied`; `storage-full` */
export async function preparedBucketUrl(text: string): Promise<string> {
  const { prepareBucket } = await import('../../compose.ts');
  return prepareBucket(text, baseFolderOf([text]));
}

/** The same, where a bucket's id may stand as well. @throws `invalid-input` */
export async function bucketReferenceOf(text: string): Promise<string> {
  return /^[0-9a-f]{32}$/.test(text) ? text : bucketUrlOf(text);
}
