import {
  catalogLocation,
  requestOptions,
  withWholePaths,
  type Flags,
  type SharedOptions,
} from '../arguments/options.ts';
import { OPENERS } from '../arguments/config.ts';
import { createHash } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { invalidInput } from '../../errors.ts';
import { isDatabaseUrl, withoutSecret } from '../../catalog/location.ts';
import { DONE, type ExitCode } from '../exit.ts';
import { bucketUrlOf, withVault, type Invocation } from '../arguments/invocation.ts';
import { workingFolder } from '../arguments/intact.ts';
import { passwordSource } from '../arguments/password.ts';
import { quote } from '../terminal/text.ts';
import {
  cronText,
  kubernetesText,
  SECRET_FOLDER,
  systemdText,
  type Job,
  type Schedule,
} from './schedule-formats.ts';
import { variablesFor } from './schedule-variables.ts';
import { pingUrlOf } from '../ping.ts';

export type ScheduleFlags = Flags<'image', 'cron' | 'systemd' | 'kubernetes', 'bucket'>;

/** When, as minute, hour, day of the month and day of the week; nightly, but for what reads or restores. */
const TIMES = {
  put: { minute: 17, hour: 2, monthDay: null, weekDay: null },
  sweep: { minute: 17, hour: 3, monthDay: null, weekDay: null },
  verify: { minute: 17, hour: 4, monthDay: null, weekDay: 'Sun' },
  drill: { minute: 17, hour: 5, monthDay: 1, weekDay: null },
} as const;

/** How buckets are asked, and what is said. What a settings file says of that a job reads there. */
const TUNING = ['timeout', 'maxWait', 'concurrency', 'limitUpload', 'limitDownload'] as const;
const TALK = ['quiet', 'verbose', 'debug'] as const;

/** `vault schedule print`: jobs that put, sweep, verify and drill, with this user's paths, ready for a scheduler. */
export async function printSchedule(
  invocation: Invocation,
  paths: readonly string[],
  flags: ScheduleFlags,
): Promise<ExitCode> {
  const { options, output, terminal } = invocation;
  const formats = [flags.cron, flags.systemd, flags.kubernetes].filter((wanted) => wanted === true);
  if (formats.length !== 1) {
    throw invalidInput('Use one of --cron, --systemd and --kubernetes.');
  }
  if (flags.kubernetes === true && flags.image === undefined) {
    throw invalidInput(
      '--kubernetes needs --image <image>, one whose entry point is vault, as deploy/Dockerfile makes it.',
    );
  }
  if (flags.kubernetes !== true && flags.image !== undefined) {
    throw invalidInput('--image is for --kubernetes alone: other jobs run the vault of this machine.');
  }
  if (paths.includes('-') || paths.includes('')) {
    throw invalidInput('Name the files that the job stores: vault schedule print --cron <path...>');
  }
  const { schedule, lacking } = await scheduleOf(invocation, paths, flags);
  for (const message of lacking) terminal.warn(message, { kind: 'not-carried' }, message);
  const print = flags.cron === true ? cronText : flags.systemd === true ? systemdText : kubernetesText;
  const text = print(schedule);
  if (options.json === true) await output.json({ text });
  else await output.write(text);
  terminal.summary(null, { jobs: schedule.jobs.length });
  return DONE;
}

/** @returns the schedule, and what its jobs will lack */
async function scheduleOf(
  invocation: Invocation,
  paths: readonly string[],
  { bucket, image = '', kubernetes: inPod = false }: ScheduleFlags,
): Promise<{ readonly schedule: Schedule; readonly lacking: readonly string[] }> {
  const { options, environment, settled } = invocation;
  requestOptions(options);
  const db = catalogLocation(options, environment);
  const isFile = !isDatabaseUrl(db);
  const named = isFile ? resolve(workingFolder(), db) : withWholePaths(db, workingFolder());
  // SQLite's own files lie beside the catalog itself. Where it is a link, a pod has not what that leads to.
  const real = isFile ? await realpath(named).catch(() => named) : named;
  const catalog = inPod ? real : named;
  const password = placeOfPassword(invocation);
  const shared = sharedWords(invocation, { catalog, password, inPod });
  if (!isFile && shared.includes(catalog) && withoutSecret(db) !== db) {
    throw invalidInput(
      "A job must not show the database's password: take it out of the URL, into the file that PGPASSFILE names (~/.pgpass).",
    );
  }
  let onlyStores = false;
  const urls =
    bucket === undefined
      ? await withVault(invocation, async (vault) => {
          onlyStores = vault.onlyStores;
          return vault.buckets.map(({ url }) => url);
        })
      : await Promise.all(bucket.map(async (text) => bucketUrlOf(text)));
  const put = paths.map((path) => resolve(workingFolder(), path));
  const excludes = inPod ? settled.excludes.flatMap((pattern) => ['--exclude', pattern]) : [];
  const [script = ''] = process.argv.slice(1);
  const uses = { database: isFile ? null : db, s3: urls.some((url) => url.startsWith('s3:')) };
  const { carried, lacking } = variablesFor(environment, { inPod, uses });
  const schedule: Schedule = {
    name: nameOf(settled.name),
    program: [process.execPath, resolve(script)],
    shared,
    jobs: jobsOf(put, excludes).filter(({ verb }) => verb === 'put' || !onlyStores),
    variables: carried,
    pingUrl: pingUrlOf(options, environment)?.href ?? null,
    buckets: urls,
    folders: urls.filter((url) => url.startsWith('file:')).map((url) => fileURLToPath(url)),
    paths: put,
    catalogFolders: isFile ? [...new Set([dirname(catalog), dirname(real)])] : [],
    passwordFile: password.kind === 'file' ? password.path : null,
    image,
    user: { uid: process.getuid?.() ?? NONROOT, gid: process.getgid?.() ?? NONROOT },
  };
  requirePrintable([...schedule.program, ...shared, ...excludes, ...put, ...urls, image, ...carried.flat()]);
  return { schedule, lacking };
}

/** The user of `deploy/Dockerfile`. */
const NONROOT = 65_532;

/** What begins the jobs' names, so that those of another vault do not take their place. Where it does not say the name to the letter, a part of its hash does. */
function nameOf(vault: string | null): string {
  if (vault === null) return 'vault';
  const plain = ['vault', ...(vault.toLowerCase().match(/[a-z0-9]+/g) ?? [])].join('-');
  if (plain === `vault-${vault}` && plain.length <= MAX_NAME) return plain;
  const suffix = `-${createHash('sha256').update(vault).digest('hex').slice(0, 8)}`;
  return plain.slice(0, MAX_NAME - suffix.length).replace(/-$/, '') + suffix;
}

/** A CronJob's name has 52 characters at most. */
const MAX_NAME = 40;

function flag(option: string): string {
  return `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** What stands before the verb. In a pod there is no settings file, so that all of it is said. */
function sharedWords(
  { options, settled }: Invocation,
  {
    catalog,
    password,
    inPod,
  }: { readonly catalog: string; readonly password: PlaceOfPassword; readonly inPod: boolean },
): string[] {
  const { name, given } = settled;
  /** Whether the file says it, and the job reads it there. */
  const isRead = (...names: readonly (keyof SharedOptions)[]): boolean =>
    !inPod &&
    names.some((one) => options[one] !== undefined) &&
    names.every((one) => given[one] === undefined);
  const said = inPod ? options : given;
  const opener =
    password.kind === 'command'
      ? ['--password-command', password.command]
      : [password.isKey ? '--key-file' : '--password-file', password.path];
  const [openerFlag = ''] = opener;
  const inSecret = [
    openerFlag === '--key-file' ? openerFlag : '--password-file',
    `${SECRET_FOLDER}/password`,
  ];
  return [
    ...(name === null || inPod ? [] : ['--vault', name]),
    ...(isRead('db') ? [] : ['--db', catalog]),
    ...(isRead(...OPENERS) ? [] : inPod ? inSecret : opener),
    ...TUNING.flatMap((option) => {
      const value = said[option];
      return value === undefined ? [] : [flag(option), value];
    }),
    ...TALK.filter((option) => given[option] === true).map(flag),
  ];
}

function jobsOf(paths: readonly string[], excludes: readonly string[]): Job[] {
  return [
    { verb: 'put', args: ['put', ...excludes, '--', ...paths], time: TIMES.put },
    { verb: 'sweep', args: ['sweep'], time: TIMES.sweep },
    { verb: 'verify', args: ['verify', '--sample', '5%'], time: TIMES.verify },
    { verb: 'drill', args: ['drill'], time: TIMES.drill },
  ];
}

type PlaceOfPassword =
  | { readonly kind: 'file'; readonly path: string; readonly isKey: boolean }
  | { readonly kind: 'command'; readonly command: string };

/** Where a job may have the password from. @throws `invalid-input` if that would be in clear */
function placeOfPassword(invocation: Invocation): PlaceOfPassword {
  const source = passwordSource({ ...invocation, purpose: 'enter' });
  if (source.kind === 'file') return { ...source, path: resolve(workingFolder(), source.path) };
  if (source.kind === 'command') return source;
  throw invalidInput(
    'A job needs to find the password: use --password-file <file> or --password-command <command>. It is never printed in plain text.',
  );
}

/** No format has a way to write line ends and their like that every reader of it knows. */
function requirePrintable(texts: readonly string[]): void {
  for (const text of texts) {
    if (!/\p{Cc}/u.test(text)) continue;
    throw invalidInput(`${quote(text)} has a character that no schedule can name.`);
  }
}
