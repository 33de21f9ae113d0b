import { chmod, cp, lstat, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

let box: Sandbox;
/** Nothing but what the options say opens the vault. */
const bare = { env: { VAULT_PASSWORD: undefined } };

/** Of what the first key has stored: a name alone means what one's own key has. */
let hash = '';
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await box.run(['put', '-', '--name', 'a'], { stdin: 'content of a' });
  hash = String(JSON.parse((await box.run(['ls', '--json'])).stdout).hash);
  await box.run(['key', 'add', '--label', 'web', '--new-key-file', 'web.key']);
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

test('a key file is drawn for its owner alone, and opens the vault by option, variable and settings', async () => {
  expect((await lstat(box.at('web.key'))).mode & 0o777).toBe(0o600);
  expect(await readFile(box.at('web.key'), 'utf8')).toMatch(/^vault_key_[\w-]{43}\n$/);
  const wanted = { exit: 0, stdout: 'content of a', stderr: '' };
  expect(await box.run(['cat', hash, '--key-file', 'web.key'], bare)).toMatchObject(wanted);
  expect(await box.run(['cat', hash], { env: { ...bare.env, VAULT_KEY_FILE: 'web.key' } })).toMatchObject(
    wanted,
  );
  const job = ['schedule', 'print', 'web.key', '--bucket', 'gs://acme', '--key-file', 'web.key'];
  const cron = await box.run([...job, '--cron'], bare);
  expect(cron.stdout).toContain(` --key-file ${box.at('web.key')} put -- `);
  const both = await box.run(['ls', '--key-file', 'web.key', '--password-file', 'web.key'], bare);
  expect(both).toMatchObject({ exit: 2, stderr: expect.stringContaining('--password-file or --key-file') });
});

test('a key file is never written over what is there, nor through a link', async () => {
  await writeFile(box.at('kept'), 'kept');
  await symlink(box.at('nowhere'), box.at('link'));
  for (const place of ['kept', 'link']) {
    const { exit, stderr } = await box.run(['key', 'add', '--new-key-file', place]);
    expect({ place, exit }).toEqual({ place, exit: 2 });
    expect(stderr).toContain('replaces nothing');
  }
  expect(await readFile(box.at('kept'), 'utf8')).toBe('kept');
  await expect(lstat(box.at('nowhere'))).rejects.toThrow('ENOENT');
});

test('adding a key that was killed and is repeated with its key file gives it to every bucket, and says what that opens', async () => {
  await using other = await sandbox();
  await other.makeVault();
  const names = (n: number): Promise<string[]> => readdir(join(other.bucket(n), 'keyring'));
  const before = join(other.bucket(2), 'keyring');
  await cp(before, other.at('earlier'), { recursive: true });
  const add = ['key', 'add', '--label', 'bob', '--new-key-file', 'bob.key'];
  expect(await other.run(add)).toMatchObject({ exit: 0 });
  // As when it was killed after the first bucket.
  await rm(before, { recursive: true });
  await rename(other.at('earlier'), before);
  expect(await names(2)).not.toEqual(await names(1));
  const { exit, stderr } = await other.run(add);
  expect({ exit, stderr }).toEqual({
    exit: 2,
    stderr: expect.stringMatching(
      /bob.key" exists, .*"vault ls --key-file" shows whether it opens the vault/,
    ),
  });
  expect(await names(2)).toEqual(await names(1));
});

test('a key file that others can read is refused, and so is one that is none', async () => {
  await writeFile(box.at('open.key'), await readFile(box.at('web.key')));
  await chmod(box.at('open.key'), 0o604);
  const { exit, stderr } = await box.run(['ls', '--key-file', 'open.key'], bare);
  expect({ exit, stderr }).toEqual({
    exit: 2,
    stderr: expect.stringMatching(/key file .* can be read by every user/),
  });
  await writeFile(box.at('words'), 'some words', { mode: 0o600 });
  expect(await box.run(['ls', '--key-file', 'words'], bare)).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining('not a key file'),
  });
});

test('ls shows every key, rm refuses the one in use unless that is meant, and leaves no key file of a refused one', async () => {
  const { stdout } = await box.run(['key', 'ls']);
  expect(stdout).toMatch(/^\w{12} +full .*\(this one\)\n\w{12} +full .* web\n$/);
  const refused = await box.run(['key', 'add', '--label', 'web', '--new-key-file', 'other.key']);
  expect(refused).toMatchObject({ exit: 2, stderr: expect.stringContaining('a key "web" already') });
  await expect(lstat(box.at('other.key'))).rejects.toThrow('ENOENT');
  const env = { ...bare.env, VAULT_KEY_FILE: 'web.key' };
  expect(await box.run(['key', 'rm', 'web'], { env })).toMatchObject({ exit: 2 });
  expect(await box.run(['key', 'rm', 'web', '--yes'], { env })).toMatchObject({ exit: 0, stderr: '' });
  expect((await box.run(['ls'], { env })).exit).toBe(12);
});

test('another person chooses a password in the terminal, twice', async () => {
  const run = box.terminal(['key', 'add', '--label', 'ann']);
  for (const question of ['New password:', 'The same again:']) {
    await run.waitFor(question);
    run.type('the password of ann, and longer\r');
  }
  await run.waitFor('Added the key "ann"');
  expect(await run.exit).toBe(0);
  const env = { VAULT_PASSWORD: 'the password of ann, and longer' };
  expect(await box.run(['cat', hash], { env })).toMatchObject({ exit: 0, stdout: 'content of a' });
});

test('a new root takes every other key away, asks before, and all that was stored comes under it', async () => {
  await using other = await sandbox();
  await other.makeVault();
  await other.run(['put', '-', '--name', 'a'], { stdin: 'content of a' });
  await other.run(['key', 'add', '--label', 'web', '--role', 'put', '--new-key-file', 'web.key']);
  const unasked = await other.run(['key', 'rotate', '--new-key-file', 'root.key']);
  expect(unasked).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining('takes away 1 other key ("web")'),
  });
  await expect(lstat(other.at('root.key'))).rejects.toThrow('ENOENT');
  const rotated = await other.run(['key', 'rotate', '--yes', '--verbose', '--new-key-file', 'root.key']);
  expect(rotated).toMatchObject({ exit: 0, stdout: '' });
  expect(rotated.stderr).toContain('The vault has root 2 now, and opens with root.key alone.');
  expect(rotated.stderr).toContain('vault key add --label web --role put');
  expect((await other.run(['ls'])).exit).toBe(12);
  const env = { VAULT_PASSWORD: undefined, VAULT_KEY_FILE: 'root.key' };
  const { stdout, stderr, exit } = await other.run(['key', 'reseal', '--verbose'], { env });
  expect({ exit, stdout }).toEqual({
    exit: 0,
    stdout: expect.stringMatching(/^[0-9a-f]{64} [0-9a-f]{64} a\n$/),
  });
  expect(stderr).toContain('A hash that was given out before is that of a removed file now.');
  const [, after = ''] = stdout.split(' ');
  expect(await other.run(['cat', after], { env })).toMatchObject({ exit: 0, stdout: 'content of a' });
});

test('no key file stays where no bucket was given what it opens', async () => {
  await using other = await sandbox();
  await other.makeVault();
  const verbs = [['key', 'rotate', '--yes'], ['password'], ['key', 'add']];
  const run = async (verb: readonly string[]): Promise<[number, string, boolean]> => {
    const { exit, stderr } = await other.run([...verb, '--new-key-file', 'new.key']);
    const left = (await readdir(other.path)).includes('new.key');
    if (left) await rm(other.at('new.key'));
    return [exit, stderr, left];
  };
  for (const number of [1, 2, 3]) await rename(other.bucket(number), other.at(`disk-${number}`));
  for (const verb of verbs)
    expect([verb, ...(await run(verb))]).toEqual([
      verb,
      5,
      expect.stringMatching(
        /^vault: [^\n]*Is its disk mounted\? If they were taken out of the vault elsewhere: vault recover --bucket <one that it has now>\n$/,
      ),
      false,
    ]);
});

test('a bucket that was away for a change is named, and says that others know more', async () => {
  await using other = await sandbox();
  await other.makeVault();
  await rename(other.bucket(1), other.at('disk'));
  const places = [other.bucket(2), other.bucket(2)];
  for (const verb of [
    ['key', 'add', '--label', 'eve', '--new-key-file', 'eve.key'],
    ['key', 'rename', 'eve', 'eva'],
  ])
    expect(await other.run(verb)).toMatchObject({
      exit: 3,
      stderr: expect.stringMatching(
        /^vault: warning: file:\S+bucket-1 does not have the new keyring yet: "vault repair"/,
      ),
    });
  expect(await other.run(['bucket', 'set-url', ...places])).toMatchObject({ exit: 0, stderr: '' });
  await rename(other.bucket(2), other.at('moved'));
  expect(await other.run(['bucket', 'set-url', other.bucket(2), 'moved'])).toMatchObject({ exit: 3 });
  await rename(other.at('disk'), other.bucket(1));
  const recover = ['recover', '--bucket', other.bucket(1)];
  const elsewhere = { VAULT_DB: 'other.db' };
  const env = { ...elsewhere, ...bare.env, VAULT_KEY_FILE: 'eve.key' };
  const words = { env: { ...elsewhere, VAULT_PASSWORD: 'a new one' } };
  for (const how of [{ env }, words])
    expect(await other.run(recover, how)).toMatchObject({
      exit: 12,
      stderr: expect.stringMatching(
        /the buckets given do not know it yet[:,] give more of the vault’s buckets/,
      ),
    });
  expect((await other.run([...recover, '--bucket', 'moved'], { env })).exit).toBe(0);
});
