/** The verbs and their options, as commander knows them. What a verb does is loaded when it is called. */
import type { Command } from 'commander';
import type { Environment } from '../host.ts';
import type { SharedOptions } from './arguments/options.ts';
import { append, leavingOut, unlocking } from './arguments/repeated.ts';
import { describeHelp } from './help/describe.ts';
import { describeKeys } from './keys.ts';
import { describeSharing } from './sharing.ts';
import { commands } from './verbs.ts';
import type { Action, AddVerb } from './verbs.ts';

/** What the program is described to. */
export interface Describing {
  /** Is given the verb that was asked for, its name, and the options of every verb. */
  readonly run: (options: SharedOptions, action: Action, verb: string) => Promise<void>;
  /** Takes what needs no vault and no settings: help, scripts for shells. */
  readonly say: (text: string) => void;
  /** Says which version this is. */
  readonly version: () => void;
  /** What completion looks for vaults and passwords in; none unless given. */
  readonly environment?: Environment;
  /** Whether help is for programs. */
  readonly json?: boolean;
}

/** Describes the program: a new command; what is set for errors and output holds for the verbs as well. */
export function describeProgram(program: Command, describing: Describing): void {
  describeOptions(program, describing);
  const verb: AddVerb = (name, description, action, parent = program) => {
    const command = parent.command(name).description(description);
    const whole = parent === program ? name : `${parent.name()} ${name}`;
    return command.action(async () => describing.run(program.opts<SharedOptions>(), action(command), whole));
  };

  describeStoring(verb);
  describeReading(verb);
  describeSharing(verb);
  describeRemoving(verb);
  describeCare(verb);
  describeKeys(verb, program.command('key').description('Say who may open the vault'));
  describeSchedule(verb, program.command('schedule').description('Run it every night'));
  describeConfig(verb, program.command('config').description('Show the settings'));
  describeServing(verb, program.command('token').description('Say who may use "vault serve"'));
  describeCatalog(verb, program.command('catalog').description('Move the catalog'));
  describeBuckets(verb, program.command('bucket').description("Show and change the vault's buckets"));
  describeHelp(program, describing);
}

/** What holds for every verb. */
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
    .option('-v, --verbose', 'say what was done, also when it is not a terminal')
    .option('--timeout <duration>', 'how long one attempt of a request may take, for example 30s')
    .option('--max-wait <duration>', 'how long to wait for a bucket before going on without it')
    .option('--concurrency <n>', 'requests to buckets in flight')
    .option('--limit-upload <rate>', 'bytes per second to all buckets, for example 10M')
    .option('--limit-download <rate>', 'bytes per second from all buckets')
    .option('--ping-url <url>', 'tell a monitor of start, success and failure (or VAULT_PING_URL)')
    .option('--debug', 'show where an error came from (or VAULT_DEBUG=1)')
    .option('-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .on('option:version', version);
}

/** Making a vault, and what one keeps it for. */
function describeStoring(verb: AddVerb): void {
  verb('init', 'Make a new vault', (command) => async (invocation) => {
    return (await commands()).init(invocation, command.opts());
  })
    .option('--local', 'three folders beside the catalog, to try it out')
    .option('--bucket <url>', 'folder, gs://name/prefix or s3://name/prefix; repeat for each bucket', append)
    .option('--redundancy <k+m>', 'any k of k+m buckets give everything back (default with 3 buckets: 2+1)')
    .option('--chunk-size <size>', 'size of chunks, from 64KiB to 64MiB (default: 1MiB)')
    .option('--compression <how>', 'auto, off, or a level from 1 to 19 (default: auto)');

  const putting = verb(
    'put',
    'Store files and folders, and print their hashes',
    (command) => async (invocation) => {
      return (await commands()).put(invocation, command.args, command.opts());
    },
  )
    .argument('[path...]', 'files and folders, or - for standard input')
    .option('--name <name>', 'store it under this name instead of its path')
    .option('--from-command <command>', 'store what this prints, unless it fails; needs --name')
    .option('--allow-empty', 'store standard input, or what a command prints, even if that is nothing')
    .option('--chunk-size <size>', "size of chunks, from 64KiB to 64MiB (default: the vault's)")
    .option('--chunks <how>', 'fixed, or content: versions that differ in the middle share the rest')
    .option('--compression <how>', "auto, off, or a level from 1 to 19 (default: the vault's)")
    .option('--expires <duration>', 'remove it with the first sweep after this time, for example 30d')
    .option('--retain <duration>', 'lock all of it in buckets that can, for example for 30d')
    .option('-n, --dry-run', 'only show what would be stored')
    .option('--files-from <file>', 'also store the paths in a file, one a line (- for standard input)')
    .option('-0, --null', 'those end with a NUL each, as find -print0 prints them')
    .option('--force-read', 'read files also where they seem unchanged')
    .option('--lock', 'protect it with a password of its own')
    .option('--lock-password-file <file>', 'read that password from a file (or VAULT_LOCK_PASSWORD_FILE)')
    .option(
      '--lock-password-command <command>',
      'run a command that prints it (or VAULT_LOCK_PASSWORD_COMMAND)',
    );
  leavingOut(putting);
}

/** What is stored, and its bytes. */
function describeReading(verb: AddVerb): void {
  const getting = verb('get', 'Get files and folders back', (command) => async (invocation) => {
    return (await commands()).get(invocation, command.args, command.opts());
  })
    .argument('<hash|name|pattern...>', REFERENCE)
    .option(
      '-o, --output <path>',
      'file or folder to write to, - for standard output (default: its own name, here)',
    )
    .option('-f, --force', 'replace files that exist, and in a folder what differs')
    .option('--owner', 'give what is in folders its owners (the default for root; --no-owner)')
    .option('--no-owner', 'leave owners as they come');
  const pouring = verb(
    'cat',
    'Write files to standard output, one after the other',
    (command) => async (invocation) => {
      return (await commands()).get(invocation, command.args, { ...command.opts(), output: '-' });
    },
  ).argument('<hash|name|pattern...>', REFERENCE);
  const listing = describeListing(verb);
  for (const command of [getting, pouring, ...listing]) unlocking(command);

  verb('info', 'Show details of files and where their shards are', (command) => async (invocation) => {
    return (await commands()).info(invocation, command.args);
  }).argument('[hash|name|pattern...]', 'without it: the vault itself');
}

/** Reading without content. @returns those verbs that need the password of what is locked */
function describeListing(verb: AddVerb): readonly Command[] {
  const files = verb(
    'ls',
    'List files, newest first, or what is in a folder',
    (command) => async (invocation) => {
      return (await commands()).ls(invocation, command.args, command.opts());
    },
  )
    .argument(
      '[pattern...]',
      "names to list, in quotes: '*.pdf', 'docs/**'; with a slash at its end a folder: docs/",
    )
    .option('-l, --long', 'whole hashes, exact sizes and more columns')
    .option('-R, --recursive', 'of a folder also what lies deeper in it')
    .option('-a, --all', 'also older versions of a name')
    .option('--deleted', 'removed files that can still be brought back')
    .option('--sort <order>', 'size (largest first), name or time (newest first)')
    .option('--since <time>', 'stored since then: 36h, 7d, 2026-07-01')
    .option('--larger <size>', 'larger than this, for example 100M')
    .option('-0, --null', 'print names alone, each followed by a NUL, for xargs -0');

  const comparing = verb('diff', 'Show what differs in a folder', (command) => async (invocation) => {
    return (await commands()).diff(invocation, command.args, command.opts());
  })
    .argument('<hash|name>', 'a version of a folder')
    .argument('[hash|name|folder]', 'another one, or a folder here (default: the folder of that name here)');
  leavingOut(comparing);
  return [files, comparing];
}

function describeRemoving(verb: AddVerb): void {
  verb('rm', 'Remove files', (command) => async (invocation) => {
    return (await commands()).rm(invocation, command.args, command.opts());
  })
    .argument('<hash|name|pattern...>', REFERENCE)
    .option('--all-versions', 'remove every version of a name')
    .option('--now', 'free the space at once; this cannot be undone')
    .option('--grace <duration>', 'how long they can be brought back (default: 7d)')
    .option('-n, --dry-run', 'only show what would be removed');

  verb('prune', 'Remove old versions, except for those that rules keep', (command) => async (invocation) => {
    return (await commands()).prune(invocation, command.args, command.opts());
  })
    .argument('[name|pattern...]', 'names whose versions are looked at; without it: every name')
    .option('--keep-last <n>', 'keep the newest n versions')
    .option('--keep-hourly <n>', 'keep the newest of each of the last n hours that have one')
    .option('--keep-daily <n>', 'the same of days')
    .option('--keep-weekly <n>', 'the same of weeks, from Monday')
    .option('--keep-monthly <n>', 'the same of months')
    .option('--keep-yearly <n>', 'the same of years')
    .option('--keep-within <duration>', 'keep what was stored within so long of the newest, for example 30d')
    .option('--allow-many', 'of what a key stored that can only store, also remove more than is kept')
    .option('--now', 'free the space at once; this cannot be undone')
    .option('-y, --yes', 'do not ask')
    .option('-n, --dry-run', 'only show what would be kept and why, and what removed');

  verb('undelete', 'Bring removed files back', (command) => async (invocation) => {
    return (await commands()).undelete(invocation, command.args);
  }).argument('<hash|name|pattern...>', 'as "vault ls --deleted" shows them');

  verb('sweep', 'Free the space of removed files and of leftovers', (command) => async (invocation) => {
    return (await commands()).sweep(invocation, command.opts());
  })
    .option('--now', 'also of files that were removed less than seven days ago')
    .option('-n, --dry-run', 'only show what would be removed');
}

/** Looking after what is stored. */
function describeCare(verb: AddVerb): void {
  verb('status', 'Show what the vault holds, and how safe it is', (command) => async (invocation) => {
    return (await commands()).status(invocation, command.args, command.opts());
  })
    .argument('[name|pattern...]', 'names whose age is looked at; without it: the newest of all')
    .option('--max-age <duration>', 'end with 3 if the newest version is older than that, for example 26h')
    .option('--prometheus', 'print metrics, for the textfile collector of node_exporter')
    .option('--no-password', 'only what the catalog says by itself');

  verb('report', 'Write what status tells as a page', (command) => async (invocation) => {
    return (await commands()).report(invocation, command.opts());
  })
    .requiredOption('-o, --output <file>', 'where to, replacing what is there; - for standard output')
    .option('--redact-names', 'without names of files and places of buckets');

  verb(
    'drill',
    'Restore random files from the buckets and the password alone',
    (command) => async (invocation) => {
      return (await commands()).drill(invocation, command.opts());
    },
  )
    .option('--files <n>', 'how many (default: 10)')
    .option('--sample <part>', 'a part of all files, for example 1%; with --files, whichever is more')
    .option('--bucket <url>', 'go without the catalog, with these buckets; repeat for each', append);

  verb('verify', 'Check that every piece is present', (command) => async (invocation) => {
    if (command.opts<{ password: boolean }>().password) {
      return (await commands()).verify(invocation, command.args, command.opts());
    }
    return (await commands()).scrub(invocation, command.opts());
  })
    .argument('[hash|name|pattern...]', 'files; all of them if none is named')
    .option('--read-data', 'download and check everything, not only the listings')
    .option('--sample <part>', 'read a random part, for example 5%')
    .option('--locks', 'ask how much of it is locked, and until when')
    .option(
      '--no-password',
      "check the buckets' objects by their own checksums, without password and catalog",
    )
    .option('--bucket <url>', 'with --no-password: a bucket to check; repeat for each', append);

  verb('repair', 'Replace what is missing or damaged', (command) => async (invocation) => {
    return (await commands()).repair(invocation, command.args, command.opts());
  })
    .argument('[hash|name|pattern...]', 'files; all of them if none is named')
    .option('--read-data', 'read everything to find what is damaged')
    .option('--redundancy <k+m>', 'store everything with another redundancy, new files too')
    .option('--retain <duration>', 'lock what files need, or longer, for example for 30d from now')
    .option('--forget-bucket <url>', 'a bucket that is lost for good: rebuild what it held in the others')
    .option('-y, --yes', 'do not ask before lowering the redundancy')
    .option('-n, --dry-run', 'only show what would be done');

  verb('recover', 'Rebuild a lost catalog from the buckets', (command) => async (invocation) => {
    return (await commands()).recover(invocation, command.opts());
  })
    .option('--bucket <url>', 'a bucket of the vault; repeat for each one you have', append)
    .option('-n, --dry-run', 'only show what the catalog would have');

  verb(
    'sync',
    'Take into the catalog what others have stored and removed',
    () => async (invocation) => (await commands()).sync(invocation),
  );
}

/** The vault over HTTP. */
function describeServing(verb: AddVerb, token: Command): void {
  verb('serve', 'Serve the vault over HTTP', (command) => async (invocation) => {
    return (await commands()).serve(invocation, command.opts());
  })
    .option('--listen <address>', 'where to listen (default: 127.0.0.1:8750)')
    .option('--public-url <url>', 'what clients call this server, for example https://files.example.com')
    .option('--tls-cert <file>', 'certificate in PEM, with --tls-key: speak HTTPS')
    .option('--tls-key <file>', 'its key')
    .option('--max-upload <size>', 'largest file that is taken (default: 10G)')
    .option('--grace <duration>', 'how long requests may go on when it is stopped (default: 10s)');

  verb(
    'add',
    'Make a token, and show it this once',
    (command) => async (invocation) => (await commands()).addToken(invocation, command.opts()),
    token,
  )
    .requiredOption('--scope <scopes>', 'what it is good for: some of put,read,list,delete,admin')
    .option('--label <text>', 'what you call it')
    .option('--expires <duration>', 'how long it is good, for example 90d (default: until it is removed)');
  verb('ls', 'Show the tokens', () => async (invocation) => (await commands()).listTokens(invocation), token);
  verb(
    'rm',
    'Take a token away, at once and on every server',
    (command) => async (invocation) => (await commands()).removeToken(invocation, command.args[0] ?? ''),
    token,
  ).argument('<id>', 'as "vault token ls" shows it');
}

function describeSchedule(verb: AddVerb, schedule: Command): void {
  verb(
    'print',
    'Print jobs that put these files, sweep, verify and drill',
    (command) => async (invocation) =>
      (await commands()).printSchedule(invocation, command.args, command.opts()),
    schedule,
  )
    .argument('<path...>', 'what the job is to put')
    .option('--cron', 'lines for a crontab')
    .option('--systemd', 'services and timers')
    .option('--kubernetes', 'CronJobs')
    .option('--image <image>', 'with --kubernetes: a container image that has vault in it')
    .option('--bucket <url>', "the vault's buckets, to go without the password; repeat for each", append);
}

function describeConfig(verb: AddVerb, config: Command): void {
  verb(
    'show',
    'Show every setting of a vault, and where it comes from',
    () => async (invocation) => (await commands()).showConfig(invocation),
    config,
  );
}

function describeCatalog(verb: AddVerb, catalog: Command): void {
  verb(
    'copy',
    'Copy the catalog into another database',
    (command) => async (invocation) => {
      return (await commands()).copyTo(invocation, command.args[0] ?? '');
    },
    catalog,
  ).argument('<where>', 'a SQLite file or a postgres:// URL that holds no vault yet');
}

function describeBuckets(verb: AddVerb, bucket: Command): void {
  verb(
    'ls',
    'Show the buckets and what they hold',
    () => async (invocation) => (await commands()).listBuckets(invocation),
    bucket,
  );
  verb(
    'add',
    'Add a bucket',
    (command) => async (invocation) => (await commands()).addBucket(invocation, command.args[0] ?? ''),
    bucket,
  ).argument('<url>', 'folder, gs://name/prefix or s3://name/prefix');
  verb(
    'rm',
    'Move what a bucket holds to the others, and remove it',
    (command) => async (invocation) =>
      (await commands()).removeBucket(invocation, command.args[0] ?? '', command.opts()),
    bucket,
  )
    .argument('<url|id>', 'as "vault bucket ls" shows it')
    .option('--gone', 'it is lost for good: rebuild what it held from the others')
    .option('-n, --dry-run', 'only show what would be moved');
  verb(
    'set-url',
    'Change the URL of a bucket',
    (command) => async (invocation) =>
      (await commands()).setBucketUrl(invocation, command.args[0] ?? '', command.args[1] ?? ''),
    bucket,
  )
    .argument('<url|id>', 'as the vault knows it')
    .argument('<new-url>', 'where it is now');
}

const REFERENCE =
  "hash, its first 8 or more digits, name (its newest version), or a pattern of names in quotes: '*.pdf'; what another key stored: <label>:<name>";
