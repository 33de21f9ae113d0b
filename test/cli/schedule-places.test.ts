/** `vault schedule print`: what jobs are called, what of this machine they have, and what cannot be one. */
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import type { Ended, Sandbox } from './run.ts';
import { sandbox } from './run.ts';

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

const bare = { VAULT_PASSWORD: undefined, VAULT_DB: undefined };

function print(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const always = ['--bucket', 'b', '--password-file', 'p'];
  return box.run(['schedule', 'print', ...always, ...args], { env: { ...bare, ...env } });
}

const POD = ['--kubernetes', '--image', 'i'];

function containerOf({ stdout }: Ended): { args: string[]; volumeMounts: { mountPath: string }[] } {
  const [job] = parseAllDocuments(stdout).map((one) => one.toJS());
  return job.spec.jobTemplate.spec.template.spec.containers[0];
}

test('names of vaults that look alike make jobs and secrets with names of their own', async () => {
  const folder = box.at('..', 'home', '.config', 'shardvault');
  const long = 'a'.repeat(40);
  const names = [
    '',
    '家',
    '仕事',
    'my work',
    'My Work',
    'my-work',
    'my_work',
    `${long}1`,
    `${long}2`,
    'home2',
  ];
  await mkdir(folder, { recursive: true });
  await writeFile(
    `${folder}/config.toml`,
    names.map((name) => `[vault.${JSON.stringify(name)}]\ndb = "x.db"\n`).join(''),
  );
  const printed = new Set<string>();
  for (const name of names) {
    const { stdout } = await print(['--vault', name, 'd', ...POD]);
    const [job, secret] = [/name: "(\S+)-put"/, /generic (\S+)-password /].map(
      (one) => one.exec(stdout)?.[1],
    );
    expect(job).toMatch(/^vault-[a-z0-9]([a-z0-9-]*[a-z0-9])?$/);
    expect(job?.length).toBeLessThanOrEqual(40);
    expect(secret).toBe(job);
    printed.add(job ?? '');
  }
  await rm(folder, { recursive: true });
  expect(printed.size).toBe(names.length);
  for (const plain of ['vault-my-work', 'vault-home2']) expect(printed).toContain(plain);
});

test('--kubernetes names files of this machine that the URL of the database names', async () => {
  const url = 'postgres:///d?sslrootcert=ca.pem&sslcert=%2Fc.pem&sslkey=k.pem&sslmode=verify-full';
  const told = await print(['d', '--db', `${url}&host=/run/postgresql`, ...POD]);
  expect(told).toMatchObject({ exit: 0 });
  expect(told.stderr).toMatch(/no pod has: sslrootcert, sslcert, sslkey, host /);
  const none = await print(['d', '--db', 'postgres://h/d?sslrootcert=system&sslmode=verify-full', ...POD]);
  expect(none).toMatchObject({ exit: 0, stderr: '' });
  const socket = await print(['d', '--db', 'postgres:///d', ...POD], { PGHOST: '/run/postgresql' });
  expect(socket.stderr).toMatch(/no pod has: PGHOST\./);
});

test('a catalog behind a symbolic link is mounted where it is', async () => {
  await mkdir(box.at('real'));
  await mkdir(box.at('links'));
  await writeFile(box.at('real', 'catalog.db'), '');
  await symlink('../real/catalog.db', box.at('links', 'link.db'));
  const args = ['d', '--db', 'links/link.db'];
  const pod = containerOf(await print([...args, ...POD]));
  expect(pod.args.slice(0, 2)).toEqual(['--db', box.at('real', 'catalog.db')]);
  expect(pod.volumeMounts).toContainEqual({
    name: expect.any(String),
    mountPath: box.at('real'),
    readOnly: false,
  });
  const units = await print([...args, '--systemd']);
  expect(units.stdout).toMatch(
    new RegExp(`^RequiresMountsFor=.*"${box.at('links')}" "${box.at('real')}"$`, 'm'),
  );
});

test.each(['--cron', '--systemd'])('an image means nothing to %s', async (format) => {
  const { exit, stderr } = await print(['d', format, '--image', 'i']);
  expect({ exit, stderr }).toEqual({
    exit: 2,
    stderr: expect.stringContaining('--image is for --kubernetes'),
  });
});

test('what lies beside what the image has can be mounted', async () => {
  const paths = ['/app/data', '/approach', '/process', '/run/postgresql', '/var', '/srv', '/run/vault-2'];
  const pod = containerOf(await print([...paths, ...POD]));
  expect(pod.volumeMounts.map(({ mountPath }) => mountPath)).toEqual(expect.arrayContaining(paths));
});

test('refuses standard input, and what no pod can mount', async () => {
  for (const args of [
    ['-', '--cron'],
    ['', '--cron'],
    ['-', '--systemd'],
    ['-', ...POD],
  ]) {
    const { exit, stderr } = await print(args);
    expect({ exit, stderr }).toEqual({ exit: 2, stderr: expect.stringContaining('Name the files') });
  }
  const taken = [
    '/app',
    '/app/dist',
    '/nodejs',
    '/nodejs/bin',
    '/proc',
    '/proc/1',
    '/sys',
    '/dev',
    '/dev/shm',
    '/lib',
    '/usr',
  ];
  const own = ['/run', '/run/vault', '/run/vault/a', '/var/run/vault', '/run/secrets', '/run/secrets/vault'];
  for (const path of ['/', '/a:b', ...taken, ...own]) {
    expect(await print([path, ...POD])).toMatchObject({ exit: 2, stderr: expect.stringContaining('mount') });
    expect((await print([path, '--cron'])).exit).toBe(0);
  }
  expect((await print(['d', '--db', '/catalog.db', ...POD])).exit).toBe(2);
});

test('a line that is too long for cron is blamed on what makes it so', async () => {
  const PATH = `${process.env['PATH']}:/${'x'.repeat(900)}`;
  const variable = await print(['d', '--cron'], { PATH });
  expect(variable).toMatchObject({
    exit: 2,
    stderr: expect.stringMatching(/its longest part is PATH: set a shorter one/),
  });
  expect(variable.stderr).not.toContain('folder above');
  const paths = await print([...Array.from({ length: 90 }, (_, at) => `file-number-${at}`), '--cron'], {
    PATH: process.env['PATH'],
  });
  expect(paths).toMatchObject({ exit: 2, stderr: expect.stringContaining('put a folder above') });
  const options = await print(['d', '--cron', '--db', `/${'x'.repeat(900)}`]);
  expect(options.stderr).toContain('its longest part is the options: shorten them');
  // It counts bytes.
  expect((await print(['é'.repeat(400), '--cron'])).exit).toBe(2);
});
