/** Where the password comes from: a file, a command, the environment, or the person at the terminal. */
import { closeSync, openSync, type Stats } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { isKeyText } from '../../crypto/keys.ts';
import {
  interrupted,
  invalidInput,
  isVaultError,
  messageOf,
  systemCode,
  throwIfAborted,
  VaultError,
} from '../../errors.ts';
import type { Environment } from '../../host.ts';
import { nonEmpty } from './options.ts';
import { weaknessOf } from './password-strength.ts';
import { ShellCommand } from './shell-command.ts';
import { askForPassword, type PasswordQuestion } from '../terminal/prompt.ts';
import type { Terminal } from '../terminal/terminal.ts';
import { quote } from '../terminal/text.ts';
import { holdTyped } from '../terminal/typed-ahead.ts';

/** How often somebody is asked for a password that opens something. */
export const PASSWORD_TRIES = 3;

/** Longest password in bytes, in a file or from a command: more is a mistaken file. */
const MAX_PASSWORD_SIZE = 64 * 1024;

/** A place that a password can be had from; `option` is what to call it in messages. */
type PasswordSource =
  | { readonly kind: 'value'; readonly option: string; readonly password: string }
  | { readonly kind: 'file'; readonly option: string; readonly path: string; readonly isKey: boolean }
  | { readonly kind: 'command'; readonly option: string; readonly command: string }
  | { readonly kind: 'terminal' };

type FileSource = Extract<PasswordSource, { readonly kind: 'file' }>;

/** What options begin with, and variables, by what a password is for. */
const VAULT_NAMES = {
  flag: 'password',
  option: '--password',
  variable: 'VAULT_PASSWORD',
  what: 'A password',
} as const;
const LOCK_NAMES = {
  flag: 'lockPassword',
  option: '--lock-password',
  variable: 'VAULT_LOCK_PASSWORD',
  what: 'The password of the file itself',
} as const;
const NAMES = {
  choose: VAULT_NAMES,
  enter: VAULT_NAMES,
  replace: {
    flag: 'newPassword',
    option: '--new-password',
    variable: 'VAULT_NEW_PASSWORD',
    what: 'A new password',
  },
  lock: LOCK_NAMES,
  unlock: LOCK_NAMES,
  share: {
    flag: 'sharePassword',
    option: '--share-password',
    variable: 'VAULT_SHARE_PASSWORD',
    what: 'A password of the link',
  },
} as const satisfies Record<PasswordQuestion['purpose'], object>;

type Flag = (typeof NAMES)[PasswordQuestion['purpose']]['flag'];

/** The options that name a password's place. */
export type PasswordFlags = {
  readonly [name in `${Flag}File` | `${Flag}Command` | 'keyFile']?: string | undefined;
};

export interface PasswordRequest extends PasswordQuestion {
  readonly options: PasswordFlags;
  readonly environment: Environment;
  /** Whether somebody can be asked: standard input and standard error are a terminal. */
  readonly interactive: boolean;
  readonly signal: AbortSignal;
  /** Told of a password file that is not the user's alone, and of a new password that is easy to guess. */
  readonly terminal: Pick<Terminal, 'warn'>;
  /** Why the password before this one was refused; null or absent for the first. */
  readonly refused?: VaultError | null;
}

/** What it takes to say where the password would come from. */
type SourceRequest = Omit<PasswordRequest, 'signal' | 'terminal' | 'refused'>;

/**
 * Decides where the password comes from, without getting it: an option, else the environment, else the terminal.
 *
 * @throws `invalid-input` if there is none, or if two options contradict each other
 */
export function passwordSource(request: SourceRequest): PasswordSource {
  const names = NAMES[request.purpose];
  const { flag, option, variable, what } = names;
  const passwordFile = request.options[`${flag}File`];
  const passwordCommand = request.options[`${flag}Command`];
  // A key file is drawn for the vault alone.
  const keyFile = names === VAULT_NAMES ? request.options.keyFile : undefined;
  const fileOption = `${option}-file`;
  const commandOption = `${option}-command`;
  const said = [
    ...(passwordFile === undefined ? [] : [fileOption]),
    ...(passwordCommand === undefined ? [] : [commandOption]),
    ...(keyFile === undefined ? [] : ['--key-file']),
  ];
  if (said.length > 1) {
    throw invalidInput(`Give ${said.join(' or ')}, not both: they could name different passwords.`);
  }
  if (keyFile !== undefined) return { kind: 'file', option: '--key-file', path: keyFile, isKey: true };
  if (passwordFile !== undefined)
    return { kind: 'file', option: fileOption, path: passwordFile, isKey: false };
  if (passwordCommand !== undefined) {
    return { kind: 'command', option: commandOption, command: passwordCommand };
  }
  const value = (name: string): string | null => nonEmpty(request.environment[name]);
  const password = value(variable);
  if (password !== null) return { kind: 'value', option: variable, password };
  const path = value(`${variable}_FILE`);
  if (path !== null) return { kind: 'file', option: `${variable}_FILE`, path, isKey: false };
  const command = value(`${variable}_COMMAND`);
  if (command !== null) return { kind: 'command', option: `${variable}_COMMAND`, command };
  const keyPath = names === VAULT_NAMES ? value('VAULT_KEY_FILE') : null;
  if (keyPath !== null) return { kind: 'file', option: 'VAULT_KEY_FILE', path: keyPath, isKey: true };
  if (request.interactive) return { kind: 'terminal' };
  const keyOption = request.purpose === 'enter' ? '--key-file <file>, ' : '';
  // A secret that a job's settings do not have often arrives as a variable that is set to nothing.
  const empty = request.environment[variable] === '' ? ` (${variable} is set, but empty.)` : '';
  throw invalidInput(
    `${what} is needed, and there is no terminal to ask for it. Use ${fileOption} <file>, ${keyOption}${commandOption} <command>, ${variable}, ${variable}_FILE or ${variable}_COMMAND.${empty}`,
  );
}

/** Whether an option or a variable says where the password comes from, though it may be set to nothing. */
export function isPasswordGiven({
  options,
  environment,
  purpose,
}: Pick<SourceRequest, 'options' | 'environment' | 'purpose'>): boolean {
  const { flag, variable } = NAMES[purpose];
  const variables = [variable, `${variable}_FILE`, `${variable}_COMMAND`];
  return (
    options[`${flag}File`] !== undefined ||
    options[`${flag}Command`] !== undefined ||
    variables.some((name) => environment[name] !== undefined)
  );
}

/** Why a vault was not opened, in words of what should have opened it. */
export function refusalOf(
  error: unknown,
  request: SourceRequest,
  soNew = 'only "vault recover --bucket <url>" adds it to the catalog here',
): unknown {
  if (!isVaultError(error, 'wrong-password')) return error;
  const source = passwordSource(request);
  if (source.kind !== 'file' || !source.isKey) return error;
  return new VaultError(
    'wrong-password',
    `The key file ${quote(source.path)} does not open this vault: its key was removed or replaced, is one of another vault, or so new that ${soNew}. Nothing was changed. Where a full key is, "vault key ls" shows the keys, and "vault key add --new-key-file" makes a new one.`,
    { cause: error },
  );
}

/** Does not show what is typed before the question, if somebody will be asked. @throws as `passwordSource` */
export function expectQuestion(request: SourceRequest): void {
  if (request.interactive && passwordSource(request).kind === 'terminal') holdTyped();
}

const BUCKET_IS_ENOUGH =
  'Whoever has a copy of one bucket can try as many as they like: four or five random words are hard to guess. "vault password" changes it.';
/** What a new password that is easy to guess comes to. */
const IF_WEAK = {
  choose: BUCKET_IS_ENOUGH,
  replace: BUCKET_IS_ENOUGH,
  share: 'Whoever has the link can try as many as they like.',
};

/** Gets a new password as `readPassword` does, and warns of one that is easy to guess. */
export async function readNewPassword(
  request: PasswordRequest & { readonly purpose: keyof typeof IF_WEAK },
): Promise<string> {
  const password = await readPassword(request);
  const weakness = weaknessOf(password);
  if (weakness !== null) {
    const message = `The password ${weakness}. ${IF_WEAK[request.purpose]}`;
    request.terminal.warn(message, { kind: 'weak-password' });
  }
  return password;
}

/** Gets a password that is asked for until it opens something: what is typed before the next question is not shown. */
export async function readTriedPassword(request: PasswordRequest): Promise<string> {
  const password = await readPassword(request);
  expectQuestion(request);
  return password;
}

/**
 * Gets the password. Of a file and of a command's output one line end is taken off the end.
 *
 * @throws `invalid-input` if there is no source, or it fails or gives nothing; `interrupted`; what is `refused`, unless there is
 *   somebody to ask: all others give the same password again
 */
export async function readPassword(request: PasswordRequest): Promise<string> {
  const source = passwordSource(request);
  const { refused = null } = request;
  throwIfAborted(request.signal);
  if (refused !== null) {
    if (source.kind !== 'terminal') throw refused;
    process.stderr.write('Wrong password. Once more:\n');
  }
  switch (source.kind) {
    case 'value':
      return source.password;
    case 'file':
      return secretOf(source, await readPasswordFile(source, request.terminal));
    case 'command':
      return passwordOf(await runPasswordCommand(source, request.signal), source.option);
    case 'terminal':
      return askForPassword(request, request);
  }
}

/** @throws `invalid-input` for a key file that holds something else */
function secretOf({ isKey, option, path }: FileSource, bytes: Uint8Array): string {
  if (!isKey) return passwordOf(bytes, option);
  const text = Buffer.from(bytes)
    .toString('latin1')
    .replace(/\r?\n$/, '');
  if (isKeyText(text)) return text;
  const what = bytes.length === 0 ? `${quote(path)} is empty` : quote(path);
  throw invalidInput(
    `What ${option} names is not a key file: ${what}. "vault key add --new-key-file" makes one; a password's file is --password-file.`,
  );
}

const WHY_UNREAD: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'it is a folder',
  EACCES: 'this user may not',
};

async function readPasswordFile(
  { path, option, isKey }: FileSource,
  terminal: PasswordRequest['terminal'],
): Promise<Uint8Array> {
  try {
    await using file = await openFile(path, 'r');
    const exposure = exposureOf(await file.stat());
    if (exposure !== null && isKey) {
      throw new VaultError(
        'denied',
        `The key file ${quote(path)} ${exposure}: chmod 600 it, or make a new key.`,
      );
    }
    if (exposure !== null) {
      terminal.warn(`The password file ${quote(path)} ${exposure}: chmod 600 it.`, { kind: 'password-file' });
    }
    // Not `readFile`: a device or a pipe may have no end.
    const target = Buffer.alloc(MAX_PASSWORD_SIZE + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(target, length, target.length - length, null);
      length += bytesRead;
      if (bytesRead === 0 || length === target.length) return target.subarray(0, length);
    }
  } catch (cause) {
    if (cause instanceof VaultError) throw cause;
    const why = WHY_UNREAD[systemCode(cause) ?? ''] ?? messageOf(cause);
    const what = isKey ? 'key file that' : 'password from';
    const message = `Cannot read the ${what} ${option} ${isKey ? 'names, ' : ''}${quote(path)}: ${why}.`;
    throw invalidInput(message, cause);
  }
}

/** What others can do to a password file; null if it is the user's alone, or a group's to read. Pipes are as they are. */
function exposureOf(stats: Stats): string | null {
  if (process.platform === 'win32' || !stats.isFile()) return null;
  if ((stats.mode & 0o022) !== 0 || (stats.uid !== 0 && stats.uid !== process.getuid?.())) {
    return 'can be changed by other users';
  }
  return (stats.mode & 0o004) === 0 ? null : 'can be read by every user';
}

/**
 * Runs a command in the shell and collects what it prints. The command may talk to the person at the terminal (a
 * password manager asks for its own password), but it never gets a standard input that is data to store. Neither
 * the command nor its output appears in a message: both may hold the secret.
 */
async function runPasswordCommand(
  { command, option }: { readonly command: string; readonly option: string },
  signal: AbortSignal,
): Promise<Uint8Array> {
  const running = startCommand(command, option);
  const { child } = running;
  const parts: Uint8Array[] = [];
  let length = 0;
  const ended = new Promise<string | null>((resolve, reject) => {
    child.on('error', reject);
    signal.addEventListener('abort', () => reject(interrupted(signal)), { once: true });
    child.on('close', (code, killer) => {
      resolve(code === 0 ? null : code === null ? `it was ended by ${killer}` : `exit code ${code}`);
    });
    child.stdout.on('data', (part: Uint8Array) => {
      length += part.length;
      if (length <= MAX_PASSWORD_SIZE) parts.push(part);
      else resolve(null);
    });
  });
  try {
    const failure = await ended;
    if (length > MAX_PASSWORD_SIZE) {
      await running.end();
      return new Uint8Array(MAX_PASSWORD_SIZE + 1);
    }
    if (failure !== null) throw invalidInput(`The command of ${option} failed: ${failure}.`);
    return Buffer.concat(parts);
  } catch (cause) {
    if (isVaultError(cause, 'interrupted')) await running.end();
    if (isVaultError(cause)) throw cause;
    throw notRun(option, cause);
  } finally {
    running.leave();
  }
}

function startCommand(command: string, option: string): ShellCommand {
  if (command.trim() === '') throw invalidInput(`${option} needs a command, and it is empty.`);
  const stdin = process.stdin.isTTY ? 'inherit' : 'ignore';
  try {
    return new ShellCommand(command, { stdin, atTerminal: stdin === 'inherit' || hasTerminal() });
  } catch (cause) {
    throw notRun(option, cause);
  }
}

/** Whether there is a terminal that a password manager could ask at, wherever its standard input and output lead. */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}

function notRun(option: string, cause: unknown): VaultError {
  return invalidInput(`The command of ${option} could not be run: ${systemCode(cause)}.`, cause);
}

function passwordOf(bytes: Uint8Array, option: string): string {
  if (bytes.length > MAX_PASSWORD_SIZE) {
    throw invalidInput(`What ${option} gives is not a password: it is longer than 64 KiB.`);
  }
  let text;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw invalidInput(`What ${option} gives is not a password: it is not UTF-8 text.`, cause);
  }
  const password = text.replace(/\r?\n$/, '');
  if (password === '') throw invalidInput(`What ${option} gives is empty.`);
  return password;
}
