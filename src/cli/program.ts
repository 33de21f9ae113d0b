/** The verbs and their options, as commander knows them. What a verb does is loaded when it is called. */
import { Command, Help } from 'commander';
import type { ExitCode } from './exit.ts';
import type { Invocation } from './invocation.ts';
import type { SharedOptions } from './options.ts';

/** A verb, ready to run. */
export type Action = (invocation: Invocation) => Promise<ExitCode>;

/**
 * Builds the program.
 *
 * @param run is given the verb that was asked for, and the options of every verb
 */
export function buildProgram(run: (options: SharedOptions, action: Action) => Promise<void>): Command {
  const program = new Command('vault');
  program
    .description(
      'Keeps files encrypted, in pieces, across several buckets that you own: no bucket holds anything readable, and any one of them can be lost.',
    )
    .usage('<command> [options]')
    .option('--db <where>', 'the catalog: a SQLite file or a postgres:// URL (or VAULT_DB)')
    .option('--password-file <file>', 'read the password from a file (or VAULT_PASSWORD_FILE)')
    .option('--password-command <command>', 'run a command that prints it (or VAULT_PASSWORD_COMMAND)')
    .option('--json', 'print one JSON object a line; errors and warnings as well')
    .option('-q, --quiet', 'say nothing on standard error unless something is wrong')
    .option('--timeout <duration>', 'how long one attempt of a request may take, for example 30s')
    .option('--concurrency <n>', 'requests to buckets in flight')
    .option('--limit-upload <rate>', 'bytes per second to all buckets, for example 10M')
    .option('--limit-download <rate>', 'bytes per second from all buckets')
    .option('--debug', 'show where an error came from (or VAULT_DEBUG=1)')
    .option('-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'Show help for a command')
    .addHelpText('after', EXAMPLES);
  program.configureHelp({
    showGlobalOptions: true,
    // Commands first: they are what somebody is looking for who does not know the options yet.
    formatHelp(command, helper) {
      const sections = new Help().formatHelp.call(helper, command, helper).split(/\n(?=[A-Z][A-Za-z ]*:\n)/);
      return sections.toSorted((a, b) => Number(isOptions(a)) - Number(isOptions(b))).join('\n');
    },
  });

  const verb = (name: string, description: string, action: (command: Command) => Action): Command => {
    const command = program.command(name).description(description);
    return command.action(async () => run(program.opts<SharedOptions>(), action(command)));
  };

  verb('init', 'Make a new vault', (command) => async (invocation) => {
    const { init } = await import('./init.ts');
    return init(invocation, command.opts());
  })
    .option('--local', 'try it out: three folders beside the catalog')
    .option('--bucket <url>', 'folder, gs://name/prefix or s3://name/prefix; once for every bucket', append)
    .option('--redundancy <k+m>', 'any k of k+m buckets give everything back; usually 2+1 with 3 buckets');

  verb('put', 'Store files and print their hashes', (command) => async (invocation) => {
    const { put } = await import('./put.ts');
    return put(invocation, command.args, command.opts());
  })
    .argument('<path...>', 'files, or - for standard input')
    .option('--name <name>', 'store it under this name instead of its path')
    .option('--chunk-size <size>', 'from 64KiB to 64MiB (default: 1MiB)')
    .option('--expires <duration>', 'let sweep remove it after this time, for example 30d');

  verb('get', 'Get a file back', (command) => async (invocation) => {
    const { get } = await import('./get.ts');
    return get(invocation, command.args[0] ?? '', command.opts());
  })
    .argument('<hash|name>', 'hash, its first 8 or more digits, or name')
    .option(
      '-o, --output <path>',
      'file or folder to write to, - for standard output (default: its own name, here)',
    )
    .option('-f, --force', 'replace a file that exists');

  verb('ls', 'List files, newest first', (command) => async (invocation) => {
    const { ls } = await import('./ls.ts');
    return ls(invocation, command.args[0], command.opts());
  })
    .argument('[pattern]', "names to list: '*.pdf', 'docs/**', a folder")
    .option('-l, --long', 'whole hashes, exact sizes and more columns')
    .option('-a, --all', 'also older versions of a name');

  verb('rm', 'Remove files', (command) => async (invocation) => {
    const { rm } = await import('./rm.ts');
    return rm(invocation, command.args, command.opts());
  })
    .argument('<hash|name...>', 'a name means its newest version')
    .option('--all-versions', 'remove every version of a name');

  verb('sweep', 'Remove expired files and leftovers', () => async (invocation) => {
    const { sweep } = await import('./sweep.ts');
    return sweep(invocation);
  });

  verb('info', "Show a file's facts and where its shards lie", (command) => async (invocation) => {
    const { info } = await import('./info.ts');
    return info(invocation, command.args[0]);
  }).argument('[hash|name]', 'without it: the vault itself');

  return program;
}

function isOptions(section: string): boolean {
  return section.startsWith('Options:') || section.startsWith('Global Options:');
}

const EXAMPLES = `
Examples:
  vault init --local                try it out with three folders on this machine
  vault put report.pdf              store a file, print its hash
  vault ls                          what is stored
  vault get report.pdf -o copy.pdf  get it back, by name or hash

Exit codes: 0 done, 2 wrong usage, 3 done but needs attention, 4 no such file, 5 try again,
6 data damaged or lost, 10 no vault here, 12 wrong password, 130 interrupted.
`;

function append(value: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), value];
}
