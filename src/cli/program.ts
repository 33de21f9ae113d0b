/** The verbs and their options, as commander knows them. What a verb does is loaded when it is called. */
import type { Command } from 'commander';
import type { Environment } from '../host.ts';
import type { SharedOptions } from './arguments/options.ts';
import { append, leavingOut, takeOnce, unlocking } from './arguments/repeated.ts';
import { describeHelp } from './help/describe.ts';
import { describeKeys } from './keys.ts';
import { describeSharing } from './sharing.ts';
import type { Action, AddVerb } from './verbs.ts';

/** The verb that was asked for. */
export interface AskedVerb {
  /** With its parent's name before it, if it has one. */
  readonly verb: string;
  /** Whether what it prints is all it is for, or half of it. */
  readonly prints: boolean;
  /** Whether a monitor is told how it went. */
  readonly pings: boolean;
}

/**
 * Verbs that print also without --json. They refuse to begin where nothing can be printed; others may be started by programs that
 * throw away what a command prints, in a way that looks the same.
 */
const PRINTING =
  /^(?:put|cat|ls|info|diff|status|verify|(?:bucket|share|token|key) ls|config show|schedule print|share|token add|key reseal)$/;

/** Verbs that show settings: a monitor would take that for the backup. */
const SHOWING = /^(?:config show|schedule print)$/;

export interface Describing {
  /** Runs the verb that was asked for; given the options of every verb. */
  readonly run: (options: SharedOptions, action: Action, asked: AskedVerb) => Promise<void>;
  /** Prints what needs no vault and no settings: help, scripts for shells. */
  readonly say: (text: string) => void;
  readonly version: () => void;
  /** Where completion looks for vaults and passwords; nowhere unless given. */
  readonly environment?: Environment;
  readonly json?: boolean;
}

/** Adds all verbs and options to a new command. Its settings for errors and output apply to the verbs as well. */
export function describeProgram(program: Command, describing: Describing): void {
  describeOptions(program, describing);
  const verb: AddVerb = (name, description, does, parent = program) => {
    const command = parent.command(name).description(description);
    const whole = parent === program ? name : `${parent.name()} ${name}`;
    // One load for all: many small files take longer than what a verb does not need.
    const action: Action = async (run) => does(await import('./commands/commands.ts'), run, command);
    return command.action(async () => {
      const { dryRun, output } = command.opts<{ dryRun?: boolean; output?: string }>();
      const prints = PRINTING.test(whole) || dryRun === true || output === '-';
      await describing.run(program.opts<SharedOptions>(), action, {
        verb: whole,
        prints,
        pings: !SHOWING.test(whole),
      });
    });
  };

  describeStoring(verb);
  describeReading(verb);
  describeSharing(verb);
  describeRemoving(verb);
  describeCare(verb);
  describeKeys(verb, program.command('key').description('Manage the keys that open the vault'));
  describeSchedule(verb, program.command('schedule').description('Print jobs that run every night'));
  describeConfig(verb, program.command('config').description('Show the settings'));
  describeServing(verb, program.command('token').description('Manage the tokens for "vault serve"'));
  describeCatalog(verb, program.command('catalog').description('Copy the catalog'));
  describeBuckets(verb, program.command('bucket').description("Show and change the vault's buckets"));
  takeOnce(program.commands);
  describeHelp(program, describing);
}

function describeOptions(program: Command, { version }: Describing): void {
  program
    .name('vault')
    .description(
      'Keeps files encrypted, in pieces, across several buckets that you own: no bucket holds anything readable, and any one of them can be lost.',
    )
    .usage('<command> [options]')
    .option('--vault <name>', 'a vault in ~/.config/shardvault/config.toml (or VAULT_NAME)')
    .option('--db <where>', 'the catalog: an SQLite file or a postgres:// URL (or VAULT_DB)')
    .option('--password-file <file>', 'read the password from a file (or VAULT_PASSWORD_FILE)')
    .option('--password-command <command>', 'run a command that prints it (or VAULT_PASSWORD_COMMAND)')
    .option('--key-file <file>', 'open with a key file instead of a password (or VAULT_KEY_FILE)')
    .option('--json', 'print one JSON object a line; errors and warnings as well')
    .option('-q, --quiet', 'print nothing on standard error unless something is wrong')
    .option('-v, --verbose', 'say what was done even if standard error is not a terminal')
    .option('--timeout <duration>', 'how long one attempt of a request may take, for example 30s')
    .option('--max-wait <duration>', 'how long to wait for a bucket before going on without it')
    .option('--concurrency <n>', 'requests to buckets in flight')
    .option('--limit-upload <rate>', 'bytes per second to all buckets, for example 10M')
    .option('--limit-download <rate>', 'bytes per second from all buckets')
    .option('--ping-url <url>', 'report start, success and failure to a monitor (or VAULT_PING_URL)')
    .option('--debug', 'show where an error came from (or VAULT_DEBUG=1)')
    .option('-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .on('option:version', version);
}

/** Making a vault, and storing files in it. */
function describeStoring(verb: AddVerb): void {
  verb('init', 'Make a new vault', ({ init }, run, command) => init(run, command.opts()))
    .option('--local', 'three folders beside the catalog, to try it out')
    .option('--bucket <url>', 'folder, gs://name/prefix or s3://name/prefix; repeat for each bucket', append)
    .option('--redundancy <k+m>', 'any k of k+m buckets give everything back (default with 3 buckets: 2+1)')
    .option('--chunk-size <size>', 'size of chunks, from 64KiB to 64MiB (default: 2MiB)')
    .option('--compression <how>', 'auto, off, or a level from 1 to 19 (default: auto)');

  const putting = verb('put', 'Store files and folders, and print their hashes', ({ put }, run, command) =>
    put(run, command.args, command.opts()),
  )
    .argument('[path...]', 'files and folders, or - for standard input')
    .option('--name <name>', 'store it under this name instead of its path')
    .option('--from-command <command>', 'store what this prints, unless it fails; needs --name')
    .option(
      '--allow-empty',
      'store standard input, or what a command prints, even if it is empty; take an empty list',
    )
    .option('--chunk-size <size>', "size of files' chunks, from 64KiB to 64MiB (default: the vault's)")
    .option('--chunks <how>', 'fixed, or content: versions that differ in the middle share the rest')
    .option('--compression <how>', "auto, off, or a level from 1 to 19 (default: the vault's)")
    .option('--expires <duration>', 'remove it with the first sweep after this time, for example 30d')
    .option('--retain <duration>', 'lock it in buckets that support this, for example for 30d')
    .option('-n, --dry-run', 'only show what would be stored')
    .option('--files-from <file>', 'also store the paths in a file, one a line (- for standard input)')
    .option('-0, --null', 'paths in that file end with NUL, as find -print0 prints them')
    .option('--force-read', 'read files even if they seem unchanged')
    .option('--lock', 'protect it with a password of its own')
    .option('--lock-password-file <file>', 'read that password from a file (or VAULT_LOCK_PASSWORD_FILE)')
    .option(
      '--lock-password-command <command>',
      'run a command that prints it (or VAULT_LOCK_PASSWORD_COMMAND)',
    );
  leavingOut(putting);
}

/** Getting content back, and listing what is stored. */
function describeReading(verb: AddVerb): void {
  const getting = verb('get', 'Get files and folders back', ({ get }, run, command) =>
    get(run, command.args, command.opts()),
  )
    .argument('<hash|name|pattern...>', REFERENCE)
    .option(
      '-o, --output <path>',
      'file or folder to write to, - for standard output (default: its own name, here)',
    )
    .option('-f, --force', 'replace existing files; in a folder only those that differ')
    .option('--owner', 'restore the owners of files in folders (the default for root)')
    .option('--no-owner', 'do not restore owners');
  const printing = verb(
    'cat',
    'Write files to standard output, one after the other, or one folder as a tar archive',
    ({ get }, run, command) => get(run, command.args, { ...command.opts(), output: '-' }),
  ).argument('<hash|name|pattern...>', REFERENCE);
  const listing = describeListing(verb);
  for (const command of [getting, printing, ...listing]) unlocking(command);

  verb('info', 'Show details of files and where their shards are', ({ info }, run, command) =>
    info(run, command.args),
  ).argument('[hash|name|pattern...]', 'without it: the vault itself');
}

/** Verbs that read no content. @returns those that ask for the password of a locked file */
function describeListing(verb: AddVerb): readonly Command[] {
  const files = verb('ls', 'List files, newest first, or what is in a folder', ({ ls }, run, command) =>
    ls(run, command.args, command.opts()),
  )
    .argument(
      '[pattern...]',
      "names to list, in quotes: '*.pdf', 'docs/**'; a folder with a slash at its end: docs/",
    )
    .option('-l, --long', 'whole hashes, exact sizes and more columns')
    .option('-R, --recursive', 'also list what is in subfolders')
    .option('-a, --all', 'also list older versions')
    .option('--deleted', 'removed files that can still be brought back')
    .option('--sort <order>', 'size (largest first), name or time (newest first)')
    .option('--since <time>', 'only what was stored since then: 36h, 7d, 2026-07-01')
    .option('--larger <size>', 'only what is larger than this, for example 100M')
    .option('-0, --null', 'print names alone, each followed by a NUL, for xargs -0');

  const comparing = verb('diff', 'Show what differs in a folder', ({ diff }, run, command) =>
    diff(run, command.args, command.opts()),
  )
    .argument('<hash|name>', 'a version of a folder')
    .argument('[hash|name|folder]', 'another one, or a folder here (default: the folder of that name here)');
  leavingOut(comparing);
  return [files, comparing];
}

function describeRemoving(verb: AddVerb): void {
  verb('rm', 'Remove files', ({ rm }, run, command) => rm(run, command.args, command.opts()))
    .argument('<hash|name|pattern...>', REFERENCE)
    .option('--all-versions', 'remove every version of a name')
    .option('--now', 'free the space at once; this cannot be undone')
    .option('--grace <duration>', 'how long they can be brought back (default: 7d)')
    .option('-n, --dry-run', 'only show what would be removed');

  verb('prune', 'Remove old versions, except for those that rules keep', ({ prune }, run, command) =>
    prune(run, command.args, command.opts()),
  )
    .argument('[name|pattern...]', 'names to prune (default: all)')
    .option('--keep-last <n>', 'keep the newest n versions')
    .option('--keep-hourly <n>', 'keep the newest version of each of the last n hours that have one')
    .option('--keep-daily <n>', 'the same for days')
    .option('--keep-weekly <n>', 'the same for weeks, from Monday')
    .option('--keep-monthly <n>', 'the same for months')
    .option('--keep-yearly <n>', 'the same for years')
    .option(
      '--keep-within <duration>',
      'keep what was stored at most this long before the newest, for example 30d',
    )
    .option('--allow-many', 'with keys that can only store: remove even more versions than are kept')
    .option('--now', 'free the space at once; this cannot be undone')
    .option('-y, --yes', 'do not ask')
    .option('-n, --dry-run', 'only show what would be kept and why, and what would be removed');

  verb('undelete', 'Bring removed files back', ({ undelete }, run, command) =>
    undelete(run, command.args),
  ).argument('<hash|name|pattern...>', 'as "vault ls --deleted" shows them');

  verb('sweep', 'Free the space of removed files and of leftovers', ({ sweep }, run, command) =>
    sweep(run, command.opts()),
  )
    .option('--now', 'also of files that were removed less than seven days ago')
    .option('-n, --dry-run', 'only show what would be removed');
}

/** Looking after what is stored. */
function describeCare(verb: AddVerb): void {
  verb('status', 'Show what the vault holds, and how safe it is', ({ status }, run, command) =>
    status(run, command.args, command.opts()),
  )
    .argument('[name|pattern...]', 'names whose age is checked (default: the newest of all)')
    .option('--max-age <duration>', 'exit with 3 if the newest version is older, for example than 26h')
    .option('--prometheus', 'print metrics, for the textfile collector of node_exporter')
    .option('--no-password', 'show only what the catalog tells without it');

  verb('report', 'Write the status as a page', ({ report }, run, command) => report(run, command.opts()))
    .requiredOption('-o, --output <file>', 'file to write, replaced if it exists; - for standard output')
    .option('--redact-names', 'leave out file names and bucket URLs');

  verb('drill', 'Restore random files from the buckets and the password alone', ({ drill }, run, command) =>
    drill(run, command.opts()),
  )
    .option('--files <n>', 'how many (default: 10)')
    .option('--sample <part>', 'a part of all files, for example 1%; with --files, whichever is more')
    .option('--bucket <url>', 'use these buckets instead of the catalog; repeat for each', append);

  verb('verify', 'Check that every piece is present', ({ scrub, verify }, run, command) =>
    command.opts<{ password: boolean }>().password
      ? verify(run, command.args, command.opts())
      : scrub(run, command.opts()),
  )
    .argument('[hash|name|pattern...]', 'files (default: all)')
    .option('--read-data', 'download and check everything, not only the listings')
    .option('--sample <part>', 'download and check a random part, for example 5%')
    .option('--locks', 'show how much is locked, and until when')
    .option('--no-password', "check the objects' own checksums, without password and catalog")
    .option('--bucket <url>', 'with --no-password: a bucket to check; repeat for each', append);

  verb('repair', 'Replace what is missing or damaged', ({ repair }, run, command) =>
    repair(run, command.args, command.opts()),
  )
    .argument('[hash|name|pattern...]', 'files (default: all)')
    .option('--read-data', 'read everything to find what is damaged')
    .option('--redundancy <k+m>', 'store everything with another redundancy, new files too')
    .option('--retain <duration>', 'lock what files need, or extend its locks, for example to 30d from now')
    .option('--forget-bucket <url>', 'a bucket that is lost for good: rebuild what it held in the others')
    .option('-y, --yes', 'do not ask before lowering the redundancy')
    .option('-n, --dry-run', 'only show what would be done');

  verb('recover', 'Rebuild a lost catalog from the buckets', ({ recover }, run, command) =>
    recover(run, command.opts()),
  )
    .option('--bucket <url>', 'a bucket of the vault; repeat for each one you have', append)
    .option('-n, --dry-run', 'only show what the catalog would have');

  verb('sync', 'Update the catalog with what others have stored and removed', ({ sync }, run) => sync(run));
}

function describeServing(verb: AddVerb, token: Command): void {
  verb('serve', 'Serve the vault over HTTP', ({ serve }, run, command) => serve(run, command.opts()))
    .option('--listen <address>', 'where to listen (default: 127.0.0.1:8750)')
    .option('--public-url <url>', 'the address that clients use, for example https://files.example.com')
    .option('--tls-cert <file>', 'certificate in PEM, with --tls-key: speak HTTPS')
    .option('--tls-key <file>', 'its key')
    .option('--max-upload <size>', 'largest file that is accepted (default: 10G)')
    .option('--grace <duration>', 'how long requests may take to finish when it is stopped (default: 10s)');

  verb(
    'add',
    'Make a token and show it, once',
    ({ addToken }, run, command) => addToken(run, command.opts()),
    token,
  )
    .requiredOption('--scope <scopes>', 'what it allows: any of put,read,list,delete,admin')
    .option('--label <text>', 'a name for it')
    .option('--expires <duration>', 'how long it is valid, for example 90d (default: until it is removed)');
  verb('ls', 'Show the tokens', ({ listTokens }, run) => listTokens(run), token);
  verb(
    'rm',
    'Revoke a token, at once and on every server',
    ({ removeToken }, run, command) => removeToken(run, command.args[0] ?? ''),
    token,
  ).argument('<id>', 'as "vault token ls" shows it');
}

function describeSchedule(verb: AddVerb, schedule: Command): void {
  verb(
    'print',
    'Print jobs that put these files, sweep, verify and drill',
    ({ printSchedule }, run, command) => printSchedule(run, command.args, command.opts()),
    schedule,
  )
    .argument('<path...>', 'files and folders to store')
    .option('--cron', 'lines for a crontab')
    .option('--systemd', 'services and timers')
    .option('--kubernetes', 'CronJobs')
    .option('--image <image>', 'with --kubernetes: a container image whose entry point is vault')
    .option('--bucket <url>', "the vault's buckets, if the password is not at hand; repeat for each", append);
}

function describeConfig(verb: AddVerb, config: Command): void {
  verb(
    'show',
    'Show every setting of a vault, and where it comes from',
    ({ showConfig }, run) => showConfig(run),
    config,
  );
}

function describeCatalog(verb: AddVerb, catalog: Command): void {
  verb(
    'copy',
    'Copy the catalog into another database',
    ({ copyTo }, run, command) => copyTo(run, command.args[0] ?? ''),
    catalog,
  ).argument('<where>', 'an SQLite file or a postgres:// URL that holds no vault yet');
}

function describeBuckets(verb: AddVerb, bucket: Command): void {
  verb('ls', 'Show the buckets and what they hold', ({ listBuckets }, run) => listBuckets(run), bucket);
  verb(
    'add',
    'Add a bucket',
    ({ addBucket }, run, command) => addBucket(run, command.args[0] ?? ''),
    bucket,
  ).argument('<url>', 'folder, gs://name/prefix or s3://name/prefix');
  verb(
    'rm',
    'Move what a bucket holds to the others, and remove it',
    ({ removeBucket }, run, command) => removeBucket(run, command.args[0] ?? '', command.opts()),
    bucket,
  )
    .argument('<url|id>', 'as "vault bucket ls" shows it')
    .option('--gone', 'it is lost for good: rebuild what it held from the others')
    .option('-n, --dry-run', 'only show what would be moved');
  verb(
    'set-url',
    'Change the URL of a bucket',
    ({ setBucketUrl }, run, command) => setBucketUrl(run, command.args[0] ?? '', command.args[1] ?? ''),
    bucket,
  )
    .argument('<url|id>', 'as the vault knows it')
    .argument('<new-url>', 'where it is now');
}

const REFERENCE =
  "hash, its first 8 or more digits, name (its newest version), or a pattern of names in quotes: '*.pdf'; what another key stored: <label>:<name>";
