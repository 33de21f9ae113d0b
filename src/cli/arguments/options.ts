/** The options that every verb takes, and how values are written on the command line. */
import { homedir, userInfo } from 'node:os';
import { isAbsolute, join, normalize } from 'node:path';
import type { RequestOptions } from '../../compose.ts';
import { invalidInput, type VaultError } from '../../errors.ts';
import { requireLocation } from '../../catalog/location.ts';
import type { Environment } from '../../host.ts';
import type { Compression } from '../../format/keyring.ts';
import { MAX_SHARDS, parseRedundancy, type Redundancy } from '../../format/shard.ts';
import { quote } from '../terminal/text.ts';

/** What a verb's own options say, as written: those with a value, those without, and those that may be repeated. */
export type Flags<Values extends string, Switches extends string = never, Lists extends string = never> = {
  readonly [name in Values]?: string | undefined;
} & { readonly [name in Switches]?: boolean | undefined } & {
  readonly [name in Lists]?: readonly string[] | undefined;
};

export type SharedOptions = Flags<
  | 'vault'
  | 'db'
  | 'passwordFile'
  | 'passwordCommand'
  | 'keyFile'
  | 'pingUrl'
  | 'timeout'
  | 'maxWait'
  | 'concurrency'
  | 'limitUpload'
  | 'limitDownload',
  'json' | 'quiet' | 'verbose' | 'debug'
>;

/** Name of this program's folder and of its files in the platform's data folder. */
const DATA_FOLDER = 'shardvault';
const CATALOG_FILE = 'catalog.db';

/**
 * Where the catalog is: `--db`, else `VAULT_DB`, else an SQLite file in the platform's folder for application data.
 *
 * @param options `platform`: as `process.platform` says it
 * @returns a path or a Postgres URL
 * @throws `invalid-input` if it is neither
 */
export function catalogLocation(
  options: Pick<SharedOptions, 'db'>,
  environment: Environment,
  platform: NodeJS.Platform = process.platform,
): string {
  if (options.db === '') throw invalidInput('--db needs a file or a Postgres URL.');
  const said = options.db ?? nonEmpty(environment['VAULT_DB']);
  if (said === null) return join(dataFolder(environment, platform), DATA_FOLDER, CATALOG_FILE);
  requireLocation(said);
  return said;
}

/** Where this machine keeps what it remembers beside a catalog that is on a server. */
export function logFolderOf(environment: Environment, platform: NodeJS.Platform = process.platform): string {
  return join(dataFolder(environment, platform), DATA_FOLDER, 'folders');
}

function dataFolder(environment: Environment, platform: NodeJS.Platform): string {
  if (platform === 'win32') {
    return nonEmpty(environment['LOCALAPPDATA']) ?? join(homeFolder({}), 'AppData', 'Local');
  }
  if (platform === 'darwin') return join(homeFolder(environment), 'Library', 'Application Support');
  // The XDG base directory specification: a relative path is to be ignored.
  const xdg = environment['XDG_DATA_HOME'];
  return xdg !== undefined && isAbsolute(xdg) ? xdg : join(homeFolder(environment), '.local', 'share');
}

/** The user's home folder. @throws `invalid-input` if there is none, as in some containers */
export function homeFolder(environment: Environment): string {
  const home = nonEmpty(environment['HOME']);
  if (home !== null) return home;
  try {
    // An empty HOME is no home, also where the system's own look at it says so.
    return nonEmpty(homedir()) ?? userInfo().homedir;
  } catch (cause) {
    throw invalidInput(
      'This user has no home folder, where the catalog would be. Use --db <file>, or set VAULT_DB or HOME.',
      cause,
    );
  }
}

/** A path that somebody typed where no shell has put the home folder for `~`. @throws `invalid-input` if there is none */
export function expandHome(path: string, environment: Environment): string {
  return /^~(?=$|[/\\])/.test(path) ? homeFolder(environment) + path.slice(1) : path;
}

/** A variable's value; null if it is not set or empty. */
export function nonEmpty(value: string | undefined): string | null {
  return value === undefined || value === '' ? null : value;
}

/** A Postgres URL where `~` of certificates and key is the home folder. @throws as `expandHome` */
export function withHomePaths(url: string, environment: Environment): string {
  return url.replace(
    /([?&](?:ssl(?:rootcert|cert|key)|passfile)=)(?:~|%7e)(?=\/|%2f|&|$)/gi,
    (_, start: string) => start + encodeURIComponent(homeFolder(environment)),
  );
}

/** A Postgres URL whose certificates and key are meant from a folder, as paths are. */
export function withWholePaths(url: string, folder: string): string {
  const relative = /[?&](?:ssl(?:rootcert|cert|key)|passfile)=(?!system(?:&|$)|\/|%2f|[a-z](?::|%3a)|&|$)/gi;
  return url.replace(relative, (start) => start + encodeURIComponent(`${folder}/`));
}

const SIZE = /^(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?B)?|B)?$/i;
const POWER: ReadonlyMap<string, number> = new Map([
  ['K', 1],
  ['M', 2],
  ['G', 3],
  ['T', 4],
]);

/**
 * A size as people write it: `1MiB`, `512K`, `1.5G`, `65536`. `K` and `KiB` are 1,024 bytes, `KB` is 1,000.
 *
 * @param option the option's name, for the message
 * @returns bytes, whole and at least 1
 * @throws `invalid-input`
 */
export function parseSize(text: string, option: string): number {
  const match = SIZE.exec(text.trim());
  const [, amount = '', unit = '', suffix = ''] = match ?? [];
  const power = POWER.get(unit.toUpperCase()) ?? 0;
  const bytes = Number(amount) * (suffix.toUpperCase() === 'B' ? 1000 : 1024) ** power;
  if (match === null || !Number.isSafeInteger(Math.round(bytes)) || Math.round(bytes) < 1) {
    throw invalid(option, text, 'a size, for example 512K, 1MiB or 1048576');
  }
  return Math.round(bytes);
}

/**
 * Bytes per second: `10M`, `512K`, `1.5MiB/s`; a size as in `parseSize`.
 *
 * @throws `invalid-input`
 */
export function parseRate(text: string, option: string): number {
  try {
    return parseSize(text.trim().replace(/\/s$/i, ''), option);
  } catch (cause) {
    throw invalid(option, text, 'a number of bytes per second, for example 10M or 512K', cause);
  }
}

const DURATION = /^(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d|w)$/i;
const DAY_MS = 86_400_000;
const UNIT_MS: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['min', 60_000],
  ['h', 3_600_000],
  ['d', DAY_MS],
  ['w', 7 * DAY_MS],
]);
/** Longest duration: the longest lock of both clouds, which nobody could take back, and the longest grace. */
const MAX_DURATION_DAYS = 36_500;

/**
 * A duration as people write it: `30s`, `15m`, `12h`, `30d`, `2w`.
 *
 * @returns milliseconds, whole and at least 1
 * @throws `invalid-input`
 */
export function parseDurationMs(text: string, option: string): number {
  const match = DURATION.exec(text.trim());
  const [, amount = '', unit = ''] = match ?? [];
  const ms = Math.round(Number(amount) * (UNIT_MS.get(unit.toLowerCase()) ?? 0));
  if (match === null || ms < 1)
    throw invalid(option, text, 'a duration, for example 30s, 15m, 12h, 30d or 2w');
  if (ms <= MAX_DURATION_DAYS * DAY_MS) return ms;
  throw invalidInput(`${option} ${quote(text)} is longer than a hundred years, ${MAX_DURATION_DAYS}d.`);
}

const MOMENT = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(Z|[+-]\d\d:?\d\d)?)?$/;

/**
 * A moment in the past: how long ago it is (`36h`, `7d`), or a day or time of day (`2026-07-01`, `2026-07-01 09:30`), which is local
 * unless it says otherwise.
 *
 * @returns milliseconds since 1970
 * @throws `invalid-input`
 */
export function parseMomentMs(text: string, option: string, nowMs: number): number {
  const match = MOMENT.exec(text.trim());
  if (match === null && DURATION.test(text.trim())) return nowMs - parseDurationMs(text, option);
  const [, day = '', time = '00:00', zone = ''] = match ?? [];
  const ms = Date.parse(`${day}T${time}${zone}`);
  if (Number.isNaN(ms)) throw invalid(option, text, 'a time, for example 36h, 7d or 2026-07-01');
  return ms;
}

/**
 * A whole number.
 *
 * @throws `invalid-input`
 */
export function parseCount(text: string, option: string, range: { min: number; max: number }): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  if (!(value >= range.min && value <= range.max)) {
    throw invalid(option, text, `a whole number from ${range.min} to ${range.max}`);
  }
  return value;
}

/**
 * A part of the whole: `5%`, `0.05`.
 *
 * @returns more than 0, at most 1
 * @throws `invalid-input`
 */
export function parseFraction(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)(%?)$/.exec(text.trim());
  const fraction = match === null ? NaN : Number(match[1]) / (match[2] === '%' ? 100 : 1);
  if (!(fraction > 0 && fraction <= 1))
    throw invalid(option, text, 'a part of the whole, for example 5% or 0.05');
  return fraction;
}

/**
 * `2+1` as a value.
 *
 * @throws `invalid-input`
 */
export function parseRedundancyOption(text: string, option: string): Redundancy {
  const redundancy = parseRedundancy(text);
  if (redundancy === null) {
    throw invalid(
      option,
      text,
      `k+m, for example 2+1: any 2 of 3 buckets give everything back (at most ${MAX_SHARDS} in all)`,
    );
  }
  return redundancy;
}

/**
 * How to compress: `auto`, `off`, or a level from 1 to 19.
 *
 * @throws `invalid-input`
 */
export function parseCompression(text: string, option: string): Compression {
  if (text === 'auto' || text === 'off') return text;
  if (/^([1-9]|1[0-9])$/.test(text)) return Number(text);
  throw invalid(option, text, 'auto, off, or a level from 1 to 19');
}

function invalid(option: string, text: string, expected: string, cause?: unknown): VaultError {
  return invalidInput(`${option} ${quote(text)} is not ${expected}.`, cause);
}

/**
 * The name under which a path is stored: the path as given, without what means nothing (`./a//b` is `a/b`), with
 * forward slashes on every platform.
 */
export function nameOfPath(path: string, platform: NodeJS.Platform = process.platform): string {
  const name = normalize(path);
  return platform === 'win32' ? name.replaceAll('\\', '/') : name;
}

/** The name under which a folder is stored, which may end with a slash where it is typed; of a file the same. */
export function plainName(path: string): string {
  return path === '' ? path : nameOfPath(path).replace(/(?<=.)\/+$/, '');
}

/** The name that somebody gives to what is stored: `./a` is what storing `./a` gives; anything else is taken to the letter. */
export function nameAsTyped(text: string): string {
  return /^\.[/\\]/.test(text) ? nameOfPath(text) : text;
}

/** Longest single attempt of a request, longest wait for a bucket, and most requests in flight, that can be asked for. */
const MAX_WAIT_MS = DAY_MS;
const MAX_CONCURRENCY = 1024;

/** What an option says, as `parse` reads it, if it was given. */
export function ifGiven<T>(
  text: string | undefined,
  parse: (text: string, option: string) => T,
  option: string,
): T | undefined {
  return text === undefined ? undefined : parse(text, option);
}

/**
 * How buckets are to be asked, as far as the user said.
 *
 * @param label what to call an option in messages
 * @throws `invalid-input`
 */
export function requestOptions(
  options: SharedOptions,
  label = (name: string) => `--${name}`,
): RequestOptions {
  const { timeout, maxWait, concurrency, limitUpload, limitDownload } = options;
  return {
    timeoutMs: ifGiven(timeout, parseWaitMs, label('timeout')),
    maxWaitMs: ifGiven(maxWait, parseWaitMs, label('max-wait')),
    concurrency: ifGiven(concurrency, parseConcurrency, label('concurrency')),
    limitUpload: ifGiven(limitUpload, parseRate, label('limit-upload')),
    limitDownload: ifGiven(limitDownload, parseRate, label('limit-download')),
  };
}

function parseConcurrency(text: string, option: string): number {
  return parseCount(text, option, { min: 1, max: MAX_CONCURRENCY });
}

function parseWaitMs(text: string, option: string): number {
  const waitMs = parseDurationMs(text, option);
  if (waitMs > MAX_WAIT_MS) throw invalid(option, text, 'at most a day');
  return waitMs;
}
