import { isPostgresUrl } from '../arguments/environment.ts';
import { catalogLocation, type Flags } from '../arguments/options.ts';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { invalidInput } from '../../errors.ts';
import { DONE, type ExitCode } from '../exit.ts';
import { bucketUrlOf, withVault, type Invocation } from '../arguments/invocation.ts';
import { workingFolder } from '../arguments/intact.ts';
import { passwordSource } from '../arguments/password.ts';
import { quote } from '../terminal/text.ts';
import { cronText, kubernetesText, systemdText, type Job, type Schedule } from './schedule-formats.ts';

export type ScheduleFlags = Flags<'image', 'cron' | 'systemd' | 'kubernetes', 'bucket'>;

/** When, as minute, hour, day of the month and day of the week; nightly, but for what reads or restores. */
const TIMES = {
  put: { minute: 17, hour: 2, monthDay: null, weekDay: null },
  sweep: { minute: 17, hour: 3, monthDay: null, weekDay: null },
  verify: { minute: 17, hour: 4, monthDay: null, weekDay: 'Sun' },
  drill: { minute: 17, hour: 5, monthDay: 1, weekDay: null },
} as const;

/** Variables that say where a cloud's or a database's client finds what it needs, and are no secrets themselves. */
const CARRIED = [
  'PATH',
  'GOOGLE_APPLICATION_CREDENTIALS',
  'AWS_PROFILE',
  'AWS_REGION',
  'AWS_CONFIG_FILE',
  'AWS_SHARED_CREDENTIALS_FILE',
  'PGPASSFILE',
  'PGSSLMODE',
  'PGSSLROOTCERT',
  'NODE_EXTRA_CA_CERTS',
];

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
    throw invalidInput('--kubernetes needs --image <image>, one that contains vault.');
  }
  const schedule = await scheduleOf(invocation, paths, flags);
  warnOfSecrets(invocation, schedule.buckets);
  const print = flags.cron === true ? cronText : flags.systemd === true ? systemdText : kubernetesText;
  const text = print(schedule);
  if (options.json === true) await output.json({ text });
  else await output.write(text);
  terminal.summary(null, { jobs: schedule.jobs.length });
  return DONE;
}

/** Secrets are not printed, and a scheduler has none of them: each job would fail at night. */
function warnOfSecrets({ environment, terminal }: Invocation, urls: readonly string[]): void {
  const isInUse = urls.some((url) => url.startsWith('s3:')) && Boolean(environment['AWS_SECRET_ACCESS_KEY']);
  if (!isInUse) return;
  terminal.warn(
    'The keys for S3 are in variables here (AWS_SECRET_ACCESS_KEY), which no job has. Put them into ~/.aws/credentials, or give the jobs a role.',
    { kind: 'not-carried' },
  );
}

async function scheduleOf(
  invocation: Invocation,
  paths: readonly string[],
  { bucket, image }: ScheduleFlags,
): Promise<Schedule> {
  const { options, environment } = invocation;
  const db = catalogLocation(options, environment);
  const isFile = !isPostgresUrl(db);
  if (!isFile && hasPassword(db)) {
    throw invalidInput(
      "A job must not show the database's password: take it out of the URL, into the file that PGPASSFILE names (~/.pgpass).",
    );
  }
  const password = placeOfPassword(invocation);
  let onlyStores = false;
  const urls =
    bucket === undefined
      ? await withVault(invocation, async (vault) => {
          onlyStores = vault.onlyStores;
          return vault.buckets.map(({ url }) => url);
        })
      : await Promise.all(bucket.map(async (text) => bucketUrlOf(text)));
  const put = paths.map((path) => resolve(workingFolder(), path));
  const catalog = isFile ? resolve(db) : db;
  const [script = ''] = process.argv.slice(1);
  const schedule: Schedule = {
    program: [process.execPath, resolve(script)],
    shared: [
      '--db',
      catalog,
      ...(password.kind === 'file'
        ? [password.isKey ? '--key-file' : '--password-file', password.path]
        : ['--password-command', password.command]),
    ],
    jobs: jobsOf(put).filter(({ verb }) => verb === 'put' || !onlyStores),
    variables: CARRIED.flatMap((name) => {
      const value = environment[name];
      return value === undefined || value === '' ? [] : [[name, value] as const];
    }),
    buckets: urls,
    folders: urls.filter((url) => url.startsWith('file:')).map((url) => fileURLToPath(url)),
    paths: put,
    catalog: isFile ? catalog : null,
    passwordFile: password.kind === 'file' ? password.path : null,
    image: image ?? '',
  };
  requirePrintable([
    ...schedule.program,
    ...schedule.shared,
    ...put,
    ...urls,
    schedule.image,
    ...schedule.variables.flat(),
  ]);
  return schedule;
}

function jobsOf(paths: readonly string[]): Job[] {
  if (paths.includes('-') || paths.length === 0) {
    throw invalidInput('Name the files that the job stores: vault schedule print --cron <path...>');
  }
  return [
    { verb: 'put', args: ['put', '--', ...paths], time: TIMES.put },
    { verb: 'sweep', args: ['sweep'], time: TIMES.sweep },
    { verb: 'verify', args: ['verify', '--sample', '5%'], time: TIMES.verify },
    { verb: 'drill', args: ['drill'], time: TIMES.drill },
  ];
}

/** Where a job may have the password from. @throws `invalid-input` if that would be in clear */
function placeOfPassword(
  invocation: Invocation,
):
  | { readonly kind: 'file'; readonly path: string; readonly isKey: boolean }
  | { readonly kind: 'command'; readonly command: string } {
  const source = passwordSource({ ...invocation, purpose: 'enter' });
  if (source.kind === 'file') return { ...source, path: resolve(workingFolder(), source.path) };
  if (source.kind === 'command') return source;
  throw invalidInput(
    'A job needs to find the password: use --password-file <file> or --password-command <command>. It is never printed in plain text.',
  );
}

function hasPassword(location: string): boolean {
  if (!URL.canParse(location)) return /password/i.test(location);
  const { password, searchParams } = new URL(location);
  return password !== '' || searchParams.has('password');
}

/** No format has a way to write line ends and their like that every reader of it knows. */
function requirePrintable(texts: readonly string[]): void {
  for (const text of texts) {
    if (!/\p{Cc}/u.test(text)) continue;
    throw invalidInput(`${quote(text)} has a character that no schedule can name.`);
  }
}
