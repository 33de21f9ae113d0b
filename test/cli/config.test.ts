import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DATABASE } from '../support/catalog-place.ts';
import type { Sandbox } from './run.ts';
import { PASSWORD, sandbox } from './run.ts';

let box: Sandbox;
let file = '';
/** Nothing but the file says which vault. */
const bare = { env: { VAULT_PASSWORD: undefined, VAULT_DB: undefined } };

beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await box.run(['put', '-', '--name', 'a'], { stdin: 'content' });
  file = box.at('..', 'home', '.config', 'shardvault', 'config.toml');
  await mkdir(dirname(file), { recursive: true });
  await writeFile(box.at('..', 'home', 'secret'), PASSWORD, { mode: 0o600 });
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await config(`
    [vault.work]
    db = ${JSON.stringify(box.db)}
    password_file = "~/secret"
    concurrency = 4
    [vault.other]
    db = "none.db"
    password_command = "echo nothing"
  `);
});

async function config(text: string | Uint8Array): Promise<void> {
  await writeFile(file, text, { mode: 0o600 });
}

test('--vault and VAULT_NAME say which vault, and default does where none is said', async () => {
  const named = await box.run(['--vault', 'work', 'cat', 'a'], bare);
  expect(named).toMatchObject({ exit: 0, stdout: 'content', stderr: '' });
  const env = { ...bare.env, VAULT_NAME: 'work' };
  expect(await box.run(['cat', 'a'], { env })).toMatchObject({ exit: 0, stdout: 'content' });
  expect((await box.run(['--vault', 'other', 'cat', 'a'], { env })).exit).toBe(10);
  await config(`default = "work"\n${await readFile(file, 'utf8')}`);
  expect(await box.run(['cat', 'a'], bare)).toMatchObject({ exit: 0, stdout: 'content' });
});

test('an option goes before the file, the file before the environment only for --vault', async () => {
  expect((await box.run(['--vault', 'work', '--db', 'no.db', 'ls'], bare)).exit).toBe(10);
  const env = { VAULT_DB: 'no.db' };
  expect((await box.run(['--vault', 'work', 'ls'], { env })).exit).toBe(0);
  expect((await box.run(['ls'], { env: { ...env, VAULT_NAME: 'work' } })).exit).toBe(10);
  const wrong = { VAULT_DB: undefined, VAULT_PASSWORD: 'wrong', VAULT_NAME: 'work' };
  expect((await box.run(['ls'], { env: wrong })).exit).toBe(12);
  expect((await box.run(['ls', '--password-command', 'echo wrong', '--vault', 'work'], bare)).exit).toBe(12);
});

test('paths in the URL of a database are meant as all others are: from the file, or with ~ from home', async () => {
  const url = 'postgres:///d?sslrootcert=~/c%20a.pem&sslcert=certs/own.pem&sslkey=%7E%2Fkey&x=~/y';
  await config(`[vault.work]\ndb = ${JSON.stringify(url)}\n`);
  const { stdout } = await box.run(['config', 'show', '--vault', 'work', '--json'], bare);
  const { settings } = JSON.parse(stdout);
  const { value } = settings.find(({ key }: { key: string }) => key === 'db');
  expect(Object.fromEntries(new URL(value).searchParams)).toEqual({
    sslrootcert: box.at('..', 'home', 'c a.pem'),
    sslcert: `${dirname(file)}/certs/own.pem`,
    sslkey: box.at('..', 'home', 'key'),
    x: '~/y',
  });
});

test('config show tells every setting and where it comes from, without a password', async () => {
  const { exit, stdout } = await box.run(
    ['config', 'show', '--vault', 'work', '--timeout', '5s', '--json'],
    bare,
  );
  expect(exit).toBe(0);
  const shown = JSON.parse(stdout);
  expect(shown).toMatchObject({ vault: 'work', file: expect.stringMatching(/config\.toml$/) });
  expect(
    Object.fromEntries(shown.settings.map(({ key, from }: { key: string; from: string }) => [key, from])),
  ).toEqual({
    db: expect.stringMatching(/config\.toml \[vault\.work\]$/),
    password_file: expect.stringMatching(/\[vault\.work\]$/),
    password_command: 'default',
    key_file: 'default',
    timeout: '--timeout',
    max_wait: 'default',
    concurrency: expect.stringMatching(/\[vault\.work\]$/),
    limit_upload: 'default',
    limit_download: 'default',
    exclude: 'default',
  });
  expect(shown.settings).toContainEqual({ key: 'concurrency', value: '4', from: expect.any(String) });
  expect(shown.settings).toContainEqual({ key: 'limit_upload', value: 'none', from: 'default' });
  const secret = { env: { ...bare.env, VAULT_DB: 'postgres://u:hidden@h/d?password=hidden' } };
  const plain = await box.run(['config', 'show'], secret);
  expect(plain.stdout).toMatch(/^db +postgres:\/\/u@h\/d\?password=\*\*\* +VAULT_DB$/m);
  expect(plain.stdout).not.toContain('hidden');
  const direct = await box.run(['config', 'show'], { env: { VAULT_DB: undefined } });
  expect(direct.stdout).toMatch(/^password +\*\*\* +VAULT_PASSWORD$/m);
});

test('exclude leaves out of folders, and an option takes one back', async () => {
  await config(
    (await readFile(file, 'utf8')).replace('concurrency', 'exclude = ["*.tmp", "cache/"]\nconcurrency'),
  );
  await mkdir(box.at('docs', 'cache'), { recursive: true });
  for (const name of ['a', 'b.tmp', 'kept.tmp', 'cache/c']) await writeFile(box.at('docs', name), name);
  const { exit } = await box.run(['--vault', 'work', 'put', 'docs', '--exclude', '!kept.tmp'], bare);
  expect(exit).toBe(0);
  const { stdout } = await box.run(['--vault', 'work', 'ls', 'docs/', '-R', '-0'], bare);
  expect(stdout.split('\0').filter(Boolean)).toEqual(['a', 'kept.tmp']);
  const shown = await box.run(['config', 'show', '--vault', 'work'], bare);
  expect(shown.stdout).toMatch(/^exclude +\*\.tmp cache\/ +.*\[vault\.work\]$/m);
});

test.skipIf(DATABASE === 'postgres')('a path is meant from the folder of the file', async () => {
  const { stdout } = await box.run(['config', 'show', '--vault', 'other', '--json'], bare);
  const [db] = JSON.parse(stdout).settings;
  expect(db.value).toMatch(/\/home\/\.config\/shardvault\/none\.db$/);
});

describe('is refused with 2', () => {
  test.each([
    ['[vault.work]\ndbb = "x"', /"dbb" in \[vault\.work\] means nothing\. Known are: db, password_file/],
    ['work = 1', /"work" in the file means nothing/],
    ['[vault.work]\nexclude = "*.tmp"', /exclude in \[vault\.work\] is not a list of patterns\./],
    ['[vault.work]\ndb = true', /db in \[vault\.work\] is not a text\./],
    ...['password_command', 'db', 'key_file', 'timeout', 'concurrency'].flatMap((key): [string, RegExp][] => [
      [`[vault.work]\n${key} = ""`, new RegExp(`${key} in \\[vault\\.work\\] is not a text: it is empty`)],
      [`[vault.work]\n${key} = "a\\u0000b"`, new RegExp(`${key} in \\[vault\\.work\\] is not a text: .*NUL`)],
    ]),
    ['[vault.work]\nexclude = ["a\\u0000b"]', /exclude in \[vault\.work\] is not a list of patterns/],
    ['[vault.work]\nexclude = ["a", ""]', /exclude in \[vault\.work\] is not a list of patterns/],
    ['[vault.work]\ntimeout = "5"', /config\.toml \[vault\.work\]: timeout "5" is not a duration/],
    ['[vault.work]\nconcurrency = 0', /\[vault\.work\]: concurrency "0" is not/],
    ['[vault.work]\nlimit_upload = "fast"', /\[vault\.work\]: limit_upload "fast" is not/],
    [Buffer.from('[vault.work]\ndb = "\xff"', 'latin1'), /config\.toml is not valid TOML: it is not UTF-8/],
    ['vault = 1', /vault is not a table/],
    ['default = 1', /default is not the name of a vault/],
    ['[vault.work', /config\.toml is not valid TOML/],
    ['[vault.work]\npassword_file = "a"\npassword_command = "b"', /password_file and password_command/],
    ['[vault.home]\ndb = "x"', /There is no vault "work" in .*config\.toml\. It has: home\./],
    ['', /There is no vault "work" in .*config\.toml\. Add \[vault\.work\]/],
  ])('%j', async (text, message) => {
    await config(text);
    const { exit, stderr } = await box.run(['--vault', 'work', 'ls'], bare);
    expect(stderr).toMatch(message);
    expect(exit).toBe(2);
  });

  test('a vault whose name no table has, with a table that would', async () => {
    await config('');
    const { exit, stderr } = await box.run(['--vault', 'my "own"', 'ls'], bare);
    expect([exit, stderr]).toEqual([2, expect.stringContaining(String.raw`Add [vault."my \"own\""] with`)]);
  });

  test.each(['mkfifo', 'ln -s /dev/zero', 'mkdir'])('a file that is none: %s', async (make) => {
    await box.shell(`rm -r ${file}; ${make} ${file}`);
    const { exit, stderr } = await box.run(['--vault', 'work', 'ls'], bare);
    await box.shell(`rm -r ${file}`);
    expect(exit).toBe(2);
    expect(stderr).toMatch(/config\.toml is not a regular file of at most 1 MiB/);
  });

  test('a file that everybody can change', async () => {
    await chmod(file, 0o666);
    const { exit, stderr } = await box.run(['ls']);
    expect(exit).toBe(2);
    expect(stderr).toMatch(/Everybody can change .*config\.toml/);
    await chmod(file, 0o600);
  });
});

test('init tells how the vault that --vault names is used next', async () => {
  const { exit, stderr } = await box.run(['--vault', 'other', 'init', '--verbose', '--bucket', 'b'], bare);
  expect([exit, stderr]).toEqual([0, expect.stringMatching(/Next: vault --vault other put <path>\n/)]);
});

test('what is no URL as it stands is no path either, and is not shown', async () => {
  await config(`[vault.work]\ndb = " postgres://u:hidden@h/d"\n`);
  for (const args of [['config', 'show'], ['ls']]) {
    const { exit, stdout, stderr } = await box.run(['--vault', 'work', ...args], bare);
    expect(stdout + stderr).not.toContain('hidden');
    expect(exit).toBe(2);
  }
});
