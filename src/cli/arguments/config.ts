/**
 * Vaults by name, in a file of the user's: where each has its catalog, where its password comes from, how its buckets are asked. What
 * the file says stands in for options and variables that are not there.
 */
import { isUtf8 } from 'node:buffer';
import { readFile, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { invalidInput, isVaultError, messageOf, systemCode, VaultError } from '../../errors.ts';
import { isDatabaseUrl, requireLocation } from '../../catalog/location.ts';
import type { Environment } from '../../host.ts';
import { quote } from '../terminal/text.ts';
import {
  expandHome,
  homeFolder,
  nonEmpty,
  requestOptions,
  withHomePaths,
  withWholePaths,
  type SharedOptions,
} from './options.ts';

/** What a vault's table in the file may say. */
interface Key {
  readonly key: string;
  readonly option: keyof SharedOptions & (typeof OPTIONS)[number];
  /** Variables that say the same, and go before the file. */
  readonly variables: readonly string[];
  readonly isPath: boolean;
}

const OPTIONS = [
  'db',
  'passwordFile',
  'passwordCommand',
  'keyFile',
  'timeout',
  'maxWait',
  'concurrency',
  'limitUpload',
  'limitDownload',
] as const;

/** The one key that is a list, and no option of every verb. */
const EXCLUDE = 'exclude';

const PASSWORD_VARIABLES = [
  'VAULT_PASSWORD',
  'VAULT_PASSWORD_FILE',
  'VAULT_PASSWORD_COMMAND',
  'VAULT_KEY_FILE',
];

/** The options that say what opens the vault; one of them is enough. */
export const OPENERS = ['passwordFile', 'passwordCommand', 'keyFile'] as const;

const KEYS: readonly Key[] = OPTIONS.map((option) => ({
  key: option.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
  option,
  variables: option === 'db' ? ['VAULT_DB'] : isOpener(option) ? PASSWORD_VARIABLES : [],
  isPath: option === 'db' || option === 'passwordFile' || option === 'keyFile',
}));

/** One thing that is settled, and who said so. */
export interface Setting {
  /** As in the file. */
  readonly key: string;
  /** Null for what is left to be decided by the program. */
  readonly value: string | null;
  /** `--db`, `VAULT_DB`, the file, `default`. */
  readonly from: string;
}

export interface Settled {
  /** What the command's own options say. */
  readonly given: SharedOptions;
  /** As given, and what the file adds. */
  readonly options: SharedOptions;
  /** The file, whether there is one or not. */
  readonly file: string;
  /** The vault's name; null where none was said. */
  readonly name: string | null;
  readonly settings: readonly Setting[];
  /** What is left out of folders, before what the command's options say: patterns as in .gitignore. */
  readonly excludes: readonly string[];
}

/** Where the file is: `config.toml` in the platform's folder for settings. */
export function configFile(environment: Environment, platform: NodeJS.Platform = process.platform): string {
  const folder = platform === 'win32' ? environment['APPDATA'] : environment['XDG_CONFIG_HOME'];
  // The XDG base directory specification: a relative path is to be ignored.
  const base = folder !== undefined && isAbsolute(folder) ? folder : join(homeFolder(environment), '.config');
  return join(base, 'shardvault', 'config.toml');
}

/**
 * Settles what holds for a command: what its options say, then the environment, then the file. A vault that is named by an option
 * is meant, so that its table goes before the environment.
 *
 * @throws `invalid-input` if the file has no such vault, or says what means nothing; `denied` if it cannot be read
 */
export async function settle(options: SharedOptions, environment: Environment): Promise<Settled> {
  const given = options.vault ?? nonEmpty(environment['VAULT_NAME']);
  let file: string;
  try {
    file = configFile(environment);
  } catch (error) {
    // Without a home there is no file.
    if (given !== null) throw error;
    return {
      given: options,
      options,
      file: '',
      name: null,
      settings: settingsOf(options, options, { environment, label: '' }),
      excludes: [],
    };
  }
  const config = await readConfig(file);
  const name = given ?? config.usual;
  if (name === null) {
    const settings = settingsOf(options, options, { environment, label: file });
    return { given: options, options, file, name, settings, excludes: [] };
  }
  const table = config.vaults.get(name);
  if (table === undefined) {
    const names = [...config.vaults.keys()];
    throw invalidInput(
      `There is no vault ${quote(name)} in ${file}. ${names.length === 0 ? `Add [vault.${/^[\w-]+$/.test(name) ? name : JSON.stringify(name)}] with db = "..." there.` : `It has: ${names.join(', ')}.`}`,
    );
  }
  const isMeant = options.vault !== undefined;
  const added: Record<string, string> = {};
  for (const { key, option, variables, isPath } of KEYS) {
    const value = table.get(key);
    if (value === undefined || isSaid(option, options)) continue;
    if (option === 'db') requireLocation(value);
    if (!isMeant && variables.some((variable) => nonEmpty(environment[variable]) !== null)) continue;
    added[option] = isPath ? pathIn(file, value, environment) : value;
  }
  const settled: SharedOptions = { ...added, ...options };
  const label = `${file} [vault.${name}]`;
  requestOptions(added, (option) => `${label}: ${option.replaceAll('-', '_')}`);
  const excludes = table.get(EXCLUDE)?.split('\n') ?? [];
  const settings = settingsOf(options, settled, { environment, label, excludes });
  return { given: options, options: settled, file, name, settings, excludes };
}

function isOpener(option: Key['option']): boolean {
  return OPENERS.some((one) => one === option);
}

/** Whether an option says it. Of the ways to a password, any. */
function isSaid(option: Key['option'], options: SharedOptions): boolean {
  return (isOpener(option) ? OPENERS : [option]).some((one) => options[one] !== undefined);
}

/** A path in the file is meant from the file's folder. */
function pathIn(file: string, value: string, environment: Environment): string {
  const folder = dirname(file);
  return isDatabaseUrl(value)
    ? withWholePaths(withHomePaths(value, environment), folder)
    : resolve(folder, expandHome(value, environment));
}

function settingsOf(
  given: SharedOptions,
  settled: SharedOptions,
  {
    environment,
    label,
    excludes = [],
  }: { readonly environment: Environment; readonly label: string; readonly excludes?: readonly string[] },
): Setting[] {
  const settings = KEYS.map(({ key, option, variables }): Setting => {
    const value = settled[option];
    if (given[option] !== undefined)
      return { key, value: value ?? null, from: `--${key.replaceAll('_', '-')}` };
    if (value !== undefined) return { key, value, from: label };
    const own = variables.find((name) => name.toLowerCase() === `vault_${key}`);
    const said = own === undefined ? null : nonEmpty(environment[own]);
    return own !== undefined && said !== null
      ? { key, value: said, from: own }
      : { key, value: null, from: 'default' };
  });
  const left = excludes.length > 0 ? excludes.join(' ') : null;
  settings.push({ key: EXCLUDE, value: left, from: left === null ? 'default' : label });
  const isDirect = !isSaid('passwordFile', settled) && nonEmpty(environment['VAULT_PASSWORD']) !== null;
  // Whose value nobody shows, and which goes before the other variables.
  return isDirect ? [...settings, { key: 'password', value: '***', from: 'VAULT_PASSWORD' }] : settings;
}

/** The names that the file has. @throws as `settle` */
export async function vaultNames(file: string): Promise<readonly string[]> {
  return [...(await readConfig(file)).vaults.keys()];
}

interface Config {
  /** The vault that is meant where none is named. */
  readonly usual: string | null;
  readonly vaults: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

/** More bytes than any list of vaults takes. */
const MAX_SIZE = 1024 * 1024;

async function readConfig(file: string): Promise<Config> {
  let bytes;
  try {
    const facts = await stat(file);
    if (!facts.isFile() || facts.size > MAX_SIZE) {
      // A pipe would be waited for, and some devices have no end.
      throw invalidInput(`${file} is not a regular file of at most 1 MiB.`);
    }
    bytes = await readFile(file);
    const { mode } = facts;
    if (process.platform !== 'win32' && (mode & 0o002) !== 0) {
      throw new VaultError(
        'denied',
        `Everybody can change ${file}, and with it the commands that this one runs: chmod o-w it.`,
      );
    }
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return { usual: null, vaults: new Map() };
    if (isVaultError(error)) throw error;
    throw new VaultError('denied', `Cannot read ${file}: ${messageOf(error)}.`, { cause: error });
  }
  const { parse } = await import('smol-toml');
  let root: unknown;
  try {
    if (!isUtf8(bytes)) throw new Error('it is not UTF-8 text');
    root = parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw invalidInput(`${file} is not valid TOML: ${messageOf(cause).split('\n')[0] ?? ''}.`, cause);
  }
  const { default: usual = null, vault = {}, ...others } = tableOf(root, file, 'the file');
  requireKnown(Object.keys(others), { file, where: 'the file', known: ['default', '[vault.<name>]'] });
  if (usual !== null && typeof usual !== 'string') throw wrong(file, 'default', 'the name of a vault');
  const vaults = Object.entries(tableOf(vault, file, 'vault')).map(
    ([name, table]) => [name, valuesOf(table, file, `[vault.${name}]`)] as const,
  );
  return { usual, vaults: new Map(vaults) };
}

function valuesOf(table: unknown, file: string, where: string): ReadonlyMap<string, string> {
  const entries = Object.entries(tableOf(table, file, where));
  const known = [...KEYS.map(({ key }) => key), EXCLUDE];
  const unknown = entries.map(([key]) => key).filter((key) => !known.includes(key));
  requireKnown(unknown, { file, where, known });
  const values = new Map<string, string>();
  for (const [key, value] of entries) {
    if (key === EXCLUDE) {
      const patterns: readonly unknown[] = Array.isArray(value) ? value : [null];
      if (!patterns.every((one) => typeof one === 'string' && one !== '' && !/[\n\0]/.test(one)))
        throw wrong(file, `${key} in ${where}`, 'a list of patterns');
      if (patterns.length > 0) values.set(key, patterns.join('\n'));
      continue;
    }
    if (typeof value !== 'string' && typeof value !== 'number')
      throw wrong(file, `${key} in ${where}`, 'a text');
    if (value === '' || String(value).includes('\0'))
      throw wrong(file, `${key} in ${where}`, 'a text: it is empty, or has a NUL in it');
    values.set(key, String(value));
  }
  const openers = ['password_file', 'password_command', 'key_file'].filter((key) => values.has(key));
  if (openers.length > 1) throw wrong(file, where, `clear: it has ${openers.join(' and ')}`);
  return values;
}

function tableOf(value: unknown, file: string, where: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong(file, where, 'a table');
  return Object.fromEntries(Object.entries(value));
}

function requireKnown(
  unknown: readonly string[],
  {
    file,
    where,
    known,
  }: { readonly file: string; readonly where: string; readonly known: readonly string[] },
): void {
  const [first] = unknown;
  if (first === undefined) return;
  throw invalidInput(`${file}: ${quote(first)} in ${where} means nothing. Known are: ${known.join(', ')}.`);
}

function wrong(file: string, what: string, expected: string): VaultError {
  return invalidInput(`${file}: ${what} is not ${expected}.`);
}
