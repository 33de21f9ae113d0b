import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import facts from '../../package.json' with { type: 'json' };
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

describe('help', () => {
  test('goes to standard output and names every verb', async () => {
    const { exit, stdout, stderr } = await box.run(['--help']);
    expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' });
    for (const verb of [
      'init',
      'put',
      'get',
      'ls',
      'rm',
      'prune',
      'sweep',
      'info',
      'verify',
      'repair',
      'recover',
      'bucket',
    ]) {
      expect(stdout).toMatch(new RegExp(`^  ${verb} `, 'm'));
    }
  });

  test.each([
    ['put', '--help'],
    ['help', 'put'],
  ])('of a verb: purpose, examples, its own options, and where the others are (%s %s)', async (...args) => {
    const { exit, stdout } = await box.run(args);
    expect(exit).toBe(0);
    expect(stdout).toMatch(
      /^Store files and folders, and print their hashes\.\n\nUsage: vault put \[options\] \[path\.\.\.\]\n\nExamples:\n {2}vault put .*\n[^]*\nOptions:\n[^]*--chunk-size[^]*\n\n"vault help options" shows the options that every command takes\.\n$/,
    );
    expect(stdout).not.toContain('--password-file');
  });

  test('of the options that every command takes', async () => {
    const { exit, stdout } = await box.run(['help', 'options']);
    expect(exit).toBe(0);
    for (const option of ['--password-file', '--json', '-v, --verbose', '-h, --help'])
      expect(stdout).toContain(`  ${option}`);
  });

  test('is JSON with --json', async () => {
    const { exit, stdout, stderr } = await box.run(['bucket', 'rm', '--help', '--json']);
    expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({
      command: 'bucket rm',
      usage: 'vault bucket rm [options] <url|id>',
      examples: expect.arrayContaining([
        { line: expect.stringMatching(/--gone$/), what: expect.any(String) },
      ]),
      options: expect.arrayContaining([{ flags: '-n, --dry-run', description: expect.any(String) }]),
    });
    const all = JSON.parse((await box.run(['help', 'options', '--json'])).stdout);
    expect(all).toMatchObject({ command: 'options' });
  });
});

test('--version prints the version of the package', async () => {
  const { exit, stdout } = await box.run(['--version']);
  expect({ exit, stdout }).toEqual({ exit: 0, stdout: `${facts.version}\n` });
  for (const args of [
    ['version', '--json'],
    ['--json', '--version'],
  ]) {
    const json = await box.run(args, { env: { VAULT_NAME: 'none' } });
    expect(JSON.parse(json.stdout)).toEqual({
      version: facts.version,
      format: 'vault/2',
      node: process.versions.node,
    });
  }
});

describe('wrong usage ends with 2, one line on standard error and the next step', () => {
  test.each<[string[], RegExp]>([
    [['lss'], /^vault: Unknown command "lss" \(Did you mean ls\?\)\. See "vault --help"\.\n$/],
    [['delete', 'a'], /^vault: Unknown command "delete": here it is "vault rm"\. See "vault rm --help"\.\n$/],
    [['list'], /: here it is "vault ls"\. See "vault ls --help"\.\n$/],
    [['bucket', 'remove', 'a'], /: here it is "vault bucket rm"\. See "vault bucket rm --help"\.\n$/],
    [['help', 'restore'], /^vault: Unknown command "restore": here it is "vault get"/],
    // Nothing of a parent's is a verb without it.
    [['token', 'create'], /: here it is "vault token add"\. See "vault token add --help"\.\n$/],
    [['key', 'new'], /: here it is "vault key add"\./],
    [['key', 'mv', 'a'], /: here it is "vault key rename"\./],
    [['bucket', 'create', 'a'], /: here it is "vault bucket add"\./],
    [['bucket', 'move', 'a'], /: here it is "vault bucket set-url"\./],
    [['schedule', 'add'], /: here it is "vault schedule print"\./],
    [['schedule', 'list'], /: here it is "vault schedule print"\./],
    [['config', 'list'], /: here it is "vault config show"\./],
    [['token', 'backup'], /^vault: Unknown command "backup"\. See "vault token --help"\.\n$/],
    [['catalog', 'check'], /^vault: Unknown command "check"\. See "vault catalog --help"\.\n$/],
    [['help', 'token', 'create'], /: here it is "vault token add"\./],
    [['add', 'a'], /: here it is "vault put"\./],
    // No verb is run to say so.
    [['help', 'rm', 'a'], /^vault: Unknown command "a"\. See/],
    [['help', 'put', 'a'], /^vault: Unknown command "a"\. See/],
    [['help', 'share', 'a'], /^vault: Unknown command "a"\. See/],
    [['help', 'bucket', 'add', 'a'], /^vault: Unknown command "a"\. See/],
    [['put'], /^vault: Missing required argument "path"\. See "vault put --help"\.\n$/],
    [['put', 'a', '--sparkle'], /^vault: Unknown option "--sparkle"\. See "vault put --help"\.\n$/],
    [['ls', '--password=secret'], /^vault: Unknown option "--password"\. See "vault ls --help"\.\n$/],
    [['password', 'secret'], /^vault: Too many arguments.*got 1\. See "vault password --help"\.\n$/],
    [['catalog', 'copy', 'a', 'b'], /^vault: Too many arguments.*See "vault catalog copy --help"\.\n$/],
    [['ls', '--sort', 'colour'], /^vault: --sort "colour" is not size, name or time\.\n$/],
    [['ls', '--since', 'yesterday'], /^vault: --since "yesterday" is not a time, for example 36h/],
    [['ls', '--since', '2026-13-40'], /^vault: --since "2026-13-40" is not a time, for example 36h/],
    [['ls', '--larger', 'huge'], /^vault: --larger "huge" is not a size/],
    [['ls', '-0', '--long'], /^vault: -0 prints names alone/],
    [['get', 'a', 'b', '-o', 'none'], /^vault: Several files need a folder, and "none" is not one\./],
    [['put', 'a', '--name'], /^vault: Option "--name <name>" argument missing\./],
    [['put', 'a', '--chunk-size', 'huge'], /^vault: --chunk-size "huge" is not a size, for example/],
    [['put', 'a', '--chunk-size', '1K'], /^vault: --chunk-size "1K" is not from 64KiB to 64MiB\.\n$/],
    ...['65535', '67108865', '65M'].map((size): [string[], RegExp] => [
      ['put', 'a', '--chunk-size', size],
      /^vault: --chunk-size "\d+M?" is not from 64KiB to 64MiB\.\n$/,
    ]),
    ...['25', '20', '0', '3.5', 'on', ''].map((level): [string[], RegExp] => [
      ['put', 'a', '--compression', level],
      /^vault: --compression ".*" is not auto, off, or a level from 1 to 19\.\n$/,
    ]),
    [['init', '--local', '--compression', '25'], /^vault: --compression "25" is not auto, off, or a level/],
    [['put', 'a', '--chunks', 'big'], /^vault: --chunks "big" is not fixed or content\.\n$/],
    [
      ['put', 'a', '--chunks', 'content', '--chunk-size', '1M'],
      /^vault: --chunk-size goes with chunks of a fixed/,
    ],
    ...[['--lock'], ['--lock-password-file', 'x'], ['--lock-password-command', 'x']].map(
      (lock): [string[], RegExp] => [
        ['put', 'a', '--chunks', 'content', ...lock],
        /^vault: --chunks content does not go with --lock: a locked file shares no chunks with others\.\n$/,
      ],
    ),
    [['put', 'a', '--expires', 'soon'], /^vault: --expires "soon" is not a duration, for example/],
    [['put', 'a', 'b', '--name', 'c'], /^vault: --name goes with one file/],
    [['put', '-'], /^vault: Standard input has no name of its own: use --name <name>\.\n$/],
    [['put', '-', '-', '--name', 'x'], /^vault: /],
    [['put', '--from-command', 'true'], /^vault: What a command prints has no name of its own: use --name/],
    [['put', '--from-command', ' ', '--name', 'x'], /^vault: --from-command needs a command\.\n$/],
    [
      ['put', 'a', '--from-command', 'true', '--name', 'x'],
      /^vault: --from-command takes the place of paths/,
    ],
    ...[
      ['--one-file-system'],
      ['--exclude-caches'],
      ['--exclude', 'x'],
      ['--exclude-from', 'x'],
      ['--exclude-larger-than', '1G'],
      ['--force-read'],
    ].map((only): [string[], RegExp] => [
      ['put', '--from-command', 'true', '--name', 'x', ...only],
      /^vault: --from-command stores what a command prints: --force-read, --one-file-system and --exclude/,
    ]),
    [['prune', '--yes'], /^vault: Choose which versions to keep: --keep-last/],
    [['prune', '--keep-last', '0', '--yes'], /^vault: --keep-last "0" is not a whole number from 1 to/],
    [['prune', '--keep-daily', 'all', '--yes'], /^vault: --keep-daily "all" is not a whole number/],
    [['prune', '--keep-within', '6m', '--yes'], /^vault: --keep-within "6m" could mean months or minutes\./],
    [['prune', '--keep-within', '1y', '--yes'], /^vault: --keep-within "1y" is not a duration/],
    [
      ['prune', '--keep-last', '1'],
      /^vault: This removes versions\. Use --yes if that is what you want\.\n$/,
    ],
    [['bucket', 'add'], /^vault: Missing required argument "url"\. See "vault bucket add --help"\.\n$/],
    [
      ['bucket', 'rn', 'x'],
      /^vault: Unknown command "rn" \(Did you mean rm\?\)\. See "vault bucket --help"\.\n$/,
    ],
    [['verify', '--sample', 'all'], /^vault: --sample "all" is not a part of the whole/],
    [['ls', '--timeout', '5'], /^vault: --timeout "5" is not a duration/],
    [['ls', '--max-wait', 'long'], /^vault: --max-wait "long" is not a duration/],
    [['--concurrency', '0', 'ls'], /^vault: --concurrency "0" is not a whole number/],
    [['init'], /^vault: Where should the shards go\? Use --bucket .* or --local/],
    [['init', '--local', '--bucket', 'x'], /^vault: Use --local or --bucket, not both/],
    [['init', '--local', '--redundancy', 'lots'], /^vault: --redundancy "lots" is not k\+m/],
    [['init', '--local', '--db', 'postgres://h/d'], /^vault: --local puts its folders beside an SQLite file/],
    [['get', 'x', '-o', '-', '--json'], /^\{"error":\{"code":"invalid-input","message":".*standard output/],
    [['cat', 'x', '--json'], /^\{"error":\{"code":"invalid-input","message":".*standard output/],
    [['get', 'x', '-o', '/dev/null', '--force'], /device or a pipe/],
  ])('%j', async (args, message) => {
    const { exit, stdout, stderr } = await box.run(args);
    expect(stderr).toMatch(message);
    expect({ exit, stdout, lines: stderr.split('\n').length }).toEqual({ exit: 2, stdout: '', lines: 2 });
  });

  test('also for programs that read JSON', async () => {
    const { exit, stderr } = await box.run(['lss', '--json']);
    expect(exit).toBe(2);
    expect(stderr).toBe(
      `{"error":{"code":"invalid-input","message":"Unknown command \\"lss\\" (Did you mean ls?). See \\"vault --help\\".","exit":2}}\n`,
    );
  });

  test('no command at all shows the help on standard error', async () => {
    const { exit, stdout, stderr } = await box.run([]);
    expect({ exit, stdout }).toEqual({ exit: 2, stdout: '' });
    expect(stderr).toMatch(/^Keeps files encrypted, [^]*\nUsage: vault <command> /);
    expect(stderr).toMatch(/\nvault: A command is needed\.\n$/);
  });
});
