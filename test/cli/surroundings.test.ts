/** What a command makes of streams, names and folders that are not as usual. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DATABASE, THOROUGH } from '../support/catalog-place.ts';
import type { Ended, Sandbox } from './run.ts';
import { sandbox } from './run.ts';

let box: Sandbox;
let fresh: () => Promise<void>;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  fresh = await box.keep();
});
beforeEach(() => fresh());
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

describe('standard input', () => {
  test.each([
    ['a folder', 'vault put - --name n < .', 'is a folder'],
    ['closed', 'vault put - --name n <&-', 'is closed'],
  ])('that is %s is refused, and nothing is stored', async (_, line, why) => {
    const { exit, stdout, stderr } = await box.shell(line);
    expect({ exit, stdout }).toEqual({ exit: 2, stdout: '' });
    expect(stderr).toMatch(new RegExp(`^vault: Standard input ${why}`));
    expect(await box.run(['ls'])).toMatchObject({ exit: 0, stdout: '' });
  });

  test('that can only be written is refused', async () => {
    const { exit, stdout } = await box.shell('vault put - --name n 0> other');
    expect({ exit, stdout }).toEqual({ exit: 5, stdout: '' });
  });

  test('that is empty is an empty file, if that is asked for', async () => {
    const put = 'vault put - --name n --allow-empty < /dev/null';
    expect(await box.shell(put)).toMatchObject({ exit: 0, stderr: '' });
  });

  test('that is closed is nothing to a command that does not read it', async () => {
    expect(await box.shell('vault ls <&-')).toMatchObject({ exit: 0, stderr: '' });
  });
});

describe('standard output', () => {
  let stored: () => Promise<void>;
  beforeAll(async () => {
    await fresh();
    await writeFile(box.at('f'), 'hello');
    await box.run(['put', 'f', '--name', 'stored']);
    stored = await box.keep();
  });
  beforeEach(() => stored());

  const printing = [
    'put f --name new',
    'put f --name new --json',
    'put f -n',
    'get stored -o -',
    'get stored -o copy --json',
    'cat stored',
    'ls',
    'ls --json',
    'info stored',
    'info',
    'status',
    'verify',
    'verify --no-password --bucket b1',
    'repair --json',
    'sweep --json',
    'rm stored -n',
    'prune --keep-last 1 -n',
    'repair -n',
    'sweep -n',
    'report -o -',
    'diff stored .',
    'config show',
    'schedule print f',
    'key ls',
    'token ls',
    'share ls',
    'rm stored --json',
    'bucket ls',
    'help',
    'help put',
    'put --help',
    'completion bash',
  ];
  test('that is closed, or not for writing, is no place for what a verb prints: it does not begin', async () => {
    for (const [way, commands] of [
      ['>&-', printing],
      ['1< f', THOROUGH ? printing : printing.slice(0, 4)],
    ] as const) {
      const ended = await Promise.all(
        commands.map(async (command) => {
          const { exit, stderr } = await box.shell(`vault ${command} ${way}`);
          const says = /^vault: Standard output is closed|"message":"Standard output is closed/.test(stderr);
          return `vault ${command} ${way}: ${exit} ${says ? 'refused' : stderr}`;
        }),
      );
      expect(ended).toEqual(commands.map((command) => `vault ${command} ${way}: 2 refused`));
    }
    expect((await box.run(['ls', '-0'])).stdout).toBe('stored\0');
  });

  test('that is closed is nothing to a verb that prints nothing', async () => {
    expect(await box.shell('vault rm stored >&-')).toMatchObject({ exit: 0 });
  });

  const commands = [
    'put f',
    'put f --json',
    'ls',
    'ls --json',
    'ls --long',
    'get stored -o -',
    'get stored -o copy --json',
    'info',
    'info stored',
    'info stored --json',
    'verify --json',
    'repair --json',
    'sweep --json',
    'rm stored --json',
    'bucket ls',
    '--help',
    'put --help',
    'help ls',
    '--version',
  ];
  test.each(commands)('that is full ends "vault %s" with 5', async (command) => {
    const { exit, stderr } = await box.shell(`vault ${command} > /dev/full`);
    expect(stderr).toMatch(/Cannot write to standard output: .*ENOSPC/);
    expect(stderr).not.toContain('bug');
    expect(exit).toBe(5);
  });

  describe.each(['1< f', '1< .'])('that can only be read (%s)', (way) => {
    // Each kind of writing once: lines, JSON, a table, bytes, help.
    test.each(['put f', 'put f --json', 'ls', 'get stored -o -', '--version'])(
      'ends "vault %s"',
      async (command) => {
        const { exit, stderr } = await box.shell(`vault ${command} ${way}`);
        expect(stderr).toMatch(
          /Cannot write to standard output|Standard output is closed, or cannot be written/,
        );
        expect(exit).toBe(command === '--version' ? 5 : 2);
      },
    );
  });

  test.each(['put f', 'ls', 'get stored -o -', '--help'])(
    'that is thrown away is fine for "vault %s"',
    async (command) => {
      expect(await box.shell(`vault ${command} > /dev/null`)).toMatchObject({ exit: 0, stderr: '' });
    },
  );

  test('that nobody reads any more: put stores all files and says that their hashes were not printed', async () => {
    for (const name of ['a', 'b']) await writeFile(box.at(name), name);
    const { stdout, stderr } = await box.shell('vault put a b | true; echo ${PIPESTATUS[0]}');
    expect(stdout).toBe('5\n');
    expect(stderr).toMatch(/^vault: 2 files are stored, but their hashes could not be printed\./);
    // Which of them came to be first is left open: they are stored at once.
    const listed = (await box.run(['ls', '-0'])).stdout.split('\0');
    expect(listed).toEqual(expect.arrayContaining(['a', 'b']));
  });
});

describe('a name that is not UTF-8', () => {
  let stored: () => Promise<void>;
  beforeAll(async () => {
    await fresh();
    await writeFile(box.at('f'), 'hello');
    await box.run(['put', 'f']);
    stored = await box.keep();
  });
  beforeEach(() => stored());

  test.each([
    ['a file to store', "vault put $'a\\xff'", 1],
    ['a name to store under', "vault put f --name $'a\\xff'", 1],
    ['a file to write', "vault get f -o $'a\\xff'", 1],
    ['a name to get', "vault get $'a\\xff' -o out", 1],
    ['a catalog', "vault --db $'a\\xff' ls", 1],
    ['a password file', "vault --password-file $'a\\xff' ls", 1],
    ['a bucket', "vault init --db new.db --bucket $'a\\xff'", 1],
    ['a catalog in the environment', "VAULT_DB=$'a\\xff' vault ls", 1],
    ['a home', "HOME=$'/a\\xff' vault ls", 1],
    ['a working folder', "mkdir $'d\\xff' && cd $'d\\xff' && vault init --db ../new.db --bucket b", 1],
  ])('is refused as %s', async (_, line) => {
    // What it would be taken for.
    await writeFile(box.at('a\uFFFD'), 'another file');
    await mkdir(box.at('d\uFFFD'));
    const before = await readdir(box.path);
    const { exit, stdout, stderr } = await box.shell(line);
    expect(stderr).toMatch(/^vault: .* is not UTF-8 text/);
    // What helps for a file to store helps for nothing else.
    expect(stderr.includes('vault put - --name')).toBe(line.startsWith('vault put'));
    expect({ exit, stdout }).toEqual({ exit: 2, stdout: '' });
    const made = (await readdir(box.path)).filter((name) => !before.includes(name));
    expect(made.filter((name) => !name.startsWith('d'))).toEqual([]);
    expect((await readdir(box.at('d\uFFFD'))).length).toBe(0);
  });

  test('is not one that has a real U+FFFD in it, where that can be told', async () => {
    await writeFile(box.at('a\uFFFD'), 'this file');
    const { exit } = await box.run(['put', 'a\uFFFD']);
    expect(exit).toBe(process.platform === 'linux' ? 0 : 2);
  });
});

describe('never a bug:', () => {
  test('a working folder that has been removed', async () => {
    const gone = 'mkdir gone && cd gone && rmdir ../gone && ';
    expect(await box.shell(`${gone} vault ls`)).toMatchObject({ exit: 0, stderr: '' });
    expect(await box.shell(`${gone} vault put x`)).toMatchObject({ exit: 4 });
    for (const command of [
      'init --db /nope/x.db --bucket b',
      'recover --bucket b',
      'verify --no-password --bucket b',
      'put .',
      'put . --name n',
      'put ..',
      `--db c.db recover --bucket ${box.bucket(1)}`,
    ]) {
      const { exit, stderr } = await box.shell(`${gone} vault ${command}`);
      expect(stderr).toMatch(/The working folder has been removed/);
      expect(exit).toBe(2);
    }
  });

  test('a working folder whose path is too long', async () => {
    expect(await deep('vault ls')).toMatchObject({ exit: 0, stderr: '' });
    expect(await deep('vault bucket add b')).toMatchObject({ exit: 2 });
  });

  // Whatever starts threads.
  const big = [
    'put $T/big',
    'put $T/folder --force-read',
    'get stored -o $T/got',
    'verify --read-data',
    'drill',
    ...(THOROUGH
      ? [
          "put --from-command 'cat $T/big' --name of",
          'cat stored',
          'repair --read-data',
          'put - --name in < $T/big',
          'get folder -o $T/tree',
        ]
      : []),
  ];
  const prepared = `exec 3>/dev/null; export T=$PWD; head -c 70000000 /dev/zero > big; mkdir folder; for i in $(seq 1100); do echo $i > folder/$i; done
    cp big folder; vault put big --name stored >&3; vault put folder >&3`;
  const all = (exit: number): string =>
    big.map((command) => `${exit} ${command.split(' ', 1)[0]}\n`).join('');

  test('threads in a working folder that has been removed', async () => {
    const { stdout } = await box.shell(
      `${prepared}; mkdir gone; cd gone; rmdir ../gone\n${exitsOf(big)}\ncmp $T/big $T/got`,
    );
    expect(stdout).toBe(all(0));
  });

  test.skipIf(DATABASE === 'postgres')('threads in one that is removed meanwhile', async () => {
    const env = { VAULT_DB: relative(box.at('gone'), box.db), T: box.path };
    const late = "vault put --from-command 'rmdir ../gone; cat $T/big' --name late";
    const { exit, stderr } = await box.shell(
      `head -c 20000000 /dev/urandom > big; mkdir gone; cd gone; ${late}`,
      { env },
    );
    expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' });
  });

  test('threads in a working folder whose path is too long', async () => {
    const { stdout, stderr } = await deep(exitsOf(big), prepared);
    expect(stdout).toBe(all(2));
    expect(stderr).not.toContain('bug');
    expect(stderr).toContain('The path of the working folder is too long');
  });

  test('fewer open files than it takes', async () => {
    await box.shell(prepared);
    for (const limit of THOROUGH ? [24, 28, 32, 36] : [24, 32]) {
      for (const command of ['put big --name x', 'get stored -o out', 'get folder -o tree']) {
        const { exit, stderr } = await box.shell(`rm -rf out tree; ulimit -n ${limit}; vault ${command}`);
        // How many it takes depends on Node and on what runs at once.
        if (exit === 0) continue;
        expect({ exit: exit === 3 ? 2 : exit, stderr }).toEqual({
          exit: 2,
          stderr: expect.stringContaining('ulimit -n'),
        });
      }
    }
  });

  test('no room for what is said, where all is well', async () => {
    for (const command of ['--version', '--help', 'help put', 'completion bash', 'ls']) {
      const { exit } = await box.shell(`vault ${command} 2> /dev/full`);
      expect({ command, exit }).toEqual({ command, exit: 0 });
    }
  });

  test.skipIf(DATABASE === 'postgres')('too little for the catalog', async () => {
    await box.shell(prepared);
    for (const limit of ['ulimit -n 24', 'ulimit -f 40', ...(THOROUGH ? ['ulimit -f 1'] : [])]) {
      for (const command of ['put folder', 'catalog copy x.db', 'rm stored']) {
        const { exit, stderr } = await box.shell(`rm -f x.db*; ${limit}; vault ${command}`);
        if (exit === 0) continue;
        expect({ limit, command, exit, stderr }).toEqual({
          limit,
          command,
          exit: limit === 'ulimit -n 24' ? 2 : 5,
          stderr: expect.stringContaining(limit.slice(0, 9)),
        });
      }
    }
  });

  test('a smaller file than the bucket needs', async () => {
    await box.shell('head -c 3000000 /dev/urandom > big');
    const { exit, stderr } = await box.shell('ulimit -f 1000; vault put big');
    expect({ exit, stderr }).toEqual({ exit: 5, stderr: expect.stringContaining('ulimit -f') });
    expect(stderr).not.toContain('Waiting');
  });

  test('a bucket in /proc, which takes no folders', async () => {
    const { exit, stderr } = await box.run(['init', '--db', 'new.db', '--bucket', '/proc']);
    expect({ exit, stderr }).toEqual({
      exit: 2,
      stderr: expect.stringMatching(/^vault: Cannot make the folder \/proc\/\S+: \/proc takes no folders\./),
    });
  });

  test.skipIf(DATABASE === 'postgres')('a folder in /proc, which cannot be made', async () => {
    const env = { VAULT_DB: '/proc/nope/deeper/c.db' };
    const { exit, stderr } = await box.run(['init', '--bucket', 'b'], { env });
    expect(exit).toBe(2);
    expect(stderr).toMatch(/^vault: Cannot make the folder \/proc\/nope/);
    expect(await box.run(['ls'], { env: { XDG_CACHE_HOME: '/proc/nope' } })).toMatchObject({
      exit: 0,
      stderr: '',
    });
  });
});

describe('the folder of compiled code', () => {
  test('is made for its owner alone, and used', async () => {
    await box.run(['--version'], { env: { XDG_CACHE_HOME: box.at('cache', 'deeper') } });
    const folder = box.at('cache', 'deeper', 'shardvault');
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    expect((await readdir(folder, { recursive: true })).length).toBeGreaterThan(1);
  });

  test.each([
    ['itself', 'shardvault'],
    ['or one above it', '.'],
  ])('is not used where others can write to it (%s)', async (_, open) => {
    const folder = box.at('cache', 'shardvault');
    await mkdir(folder, { recursive: true });
    await chmod(join(box.at('cache'), open), 0o777);
    expect(await box.run(['--version'], { env: { XDG_CACHE_HOME: box.at('cache') } })).toMatchObject({
      exit: 0,
    });
    expect(await readdir(folder)).toEqual([]);
  });
});

test('nothing that a terminal acts on reaches it by way of JSON or of --debug', async () => {
  const name = 'a\u009B31m\u202E\u{E0001}b';
  await writeFile(box.at('x'), randomBytes(3));
  const put = await box.run(['put', 'x', '--name', name, '--json']);
  const list = await box.run(['ls', '--json']);
  const missing = await box.run(['get', `${name}\u001B[31m`, '--json', '--debug']);
  expect(JSON.parse(put.stdout)).toMatchObject({ name });
  expect(JSON.parse(list.stdout)).toMatchObject({ name });
  expect(missing.exit).toBe(4);
  for (const text of [put.stdout, list.stdout, missing.stderr]) {
    expect(text).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
  }
});

/** Lines of shell that tell how each command ends; with what it prints at descriptor 3. */
function exitsOf(commands: readonly string[]): string {
  return commands.map((command) => `vault ${command} >&3; echo "$? ${command.split(' ', 1)[0]}"`).join('\n');
}

/** Runs a line of shell in a folder whose path is longer than the system takes. */
async function deep(line: string, before = ':'): Promise<Ended> {
  const name = 'd'.repeat(200);
  const steps = `for i in $(seq 25); do mkdir ${name}; cd ${name}; done`;
  return box.shell(`${before}; ${steps}; ${line}; r=$?; cd ${box.path}; rm -r ${name}; exit $r`);
}
