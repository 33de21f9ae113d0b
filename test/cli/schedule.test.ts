/** `vault schedule print`: what it prints is read by what would read it, as far as that is here, and by parsers of this page. */
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { COMMAND } from './build.ts';
import { parseAllDocuments } from 'yaml';
import { problemOf } from '../support/kubernetes.ts';
import type { Ended, Sandbox } from './run.ts';
import { PASSWORD, sandbox } from './run.ts';

/** Whatever a shell, cron, systemd or Kubernetes might take for something else. */
const ODD = 'a "b" 50% $HOME $(id) \'c\' #é';

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await writeFile(box.at('pass word'), `${PASSWORD}\n`);
  await chmod(box.at('pass word'), 0o600);
  await writeFile(box.at(ODD), 'content');
  await writeFile(box.at('plain'), 'content');
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

async function print(...args: readonly string[]): Promise<Ended> {
  return box.run(['schedule', 'print', ODD, 'plain', '--password-file', 'pass word', ...args], {
    env: { VAULT_PASSWORD: undefined, AWS_PROFILE: 'a b' },
  });
}

const SHARED = (): readonly string[] => ['--db', box.db, '--password-file', box.at('pass word')];
const VERBS = (): Readonly<Record<string, readonly string[]>> => ({
  put: ['put', '--', box.at(ODD), box.at('plain')],
  sweep: ['sweep'],
  verify: ['verify', '--sample', '5%'],
  drill: ['drill'],
});

test('--cron prints lines that cron and sh read as what was meant, in old versions and in new ones', async () => {
  const { exit, stdout, stderr } = await print('--cron');
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' });
  expect(stdout).not.toContain(PASSWORD);
  for (const number of [1, 2, 3]) expect(stdout).toContain(`#   ${pathToFileURL(box.bucket(number)).href}\n`);
  const lines = stdout.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  expect(lines).toHaveLength(4);
  for (const line of lines) {
    const [, when = '', command = ''] = /^((?:\S+ ){5})(.*)$/.exec(line) ?? [];
    expect(when).toMatch(/^\d+ \d+ (\*|1) \* (\*|Sun) $/);
    // A percent sign without a backslash ends the command.
    expect(command).not.toMatch(/(?<!\\)%/);
    const asGiven = [command, command.replaceAll('\\%', '%')].map((text) =>
      execFileSync(
        'sh',
        [
          '-c',
          `show() { printf '%s\\0' "$AWS_PROFILE" "$@"; }; ${text.replace(/ >\/dev\/null$/, '').replace(/(?<= )\S+ \S+(?= --db)/, 'show')}`,
        ],
        { encoding: 'utf8' },
      )
        .split('\0')
        .slice(0, -1),
    );
    const verb = asGiven[0]?.[5] ?? '';
    for (const words of asGiven) expect(words).toEqual(['a b', ...SHARED(), ...(VERBS()[verb] ?? ['?'])]);
  }
});

test('a line of cron does what it says', async () => {
  const line = (await print('--cron')).stdout.split('\n').find((text) => text.includes(' put -- '));
  const command = (line ?? '').replace(/^(\S+ ){5}/, '');
  execFileSync('sh', ['-c', command], { env: {}, cwd: '/', stdio: ['ignore', 'pipe', 'inherit'] });
  expect((await box.run(['ls', '-0'])).stdout.split('\0').toSorted()).toEqual(
    ['', box.at(ODD), box.at('plain')].toSorted(),
  );
});

test('--systemd prints units that systemd takes', async () => {
  const { exit, stdout } = await print('--systemd');
  expect(exit).toBe(0);
  const files = stdout.split(/^# (?=vault-)/m).slice(1);
  expect(files.map((file) => file.split('\n')[0])).toEqual(
    ['put', 'sweep', 'verify', 'drill'].flatMap((verb) => [`vault-${verb}.service`, `vault-${verb}.timer`]),
  );
  await mkdir(box.at('units'));
  for (const file of files) {
    const [name = '', ...lines] = file.split('\n');
    await writeFile(box.at('units', name), lines.join('\n'));
    const [, words = ''] = /^ExecStart=(.*)$/m.exec(file) ?? [];
    if (words === '') continue;
    const verb = /vault-(\w+)/.exec(name)?.[1] ?? '';
    expect(systemdWords(words)).toEqual([process.execPath, COMMAND, ...SHARED(), ...(VERBS()[verb] ?? [])]);
    expect(file).toMatch(/^Environment="AWS_PROFILE=a b"$/m);
    expect(file).toContain(`"${box.bucket(2)}"`);
  }
  if (!isInstalled('systemd-analyze')) return;
  const units = files.map((file) => box.at('units', file.split('\n')[0] ?? ''));
  const said = execFileSync('systemd-analyze', ['verify', '--man=no', ...units], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  expect(said).toBe('');
});

test('--kubernetes prints CronJobs that its schema takes and that the image of this project can run', async () => {
  const { exit, stdout } = await print('--kubernetes', '--image', 'registry.example/vault:1');
  expect(exit).toBe(0);
  expect(stdout).not.toContain(PASSWORD);
  const jobs = parseAllDocuments(stdout).map((one) => one.toJS());
  expect(jobs.map(({ metadata }) => metadata.name)).toEqual(
    Object.keys(VERBS()).map((verb) => `vault-${verb}`),
  );
  for (const job of jobs) {
    expect(await problemOf(job)).toBeNull();
    const pod = job.spec.jobTemplate.spec.template.spec;
    const [container] = pod.containers;
    // What begins the command is the image's own.
    expect(container.command).toBeUndefined();
    expect(container.args.map((word: string) => word.replaceAll('$$(', '$('))).toEqual([
      '--db',
      box.db,
      '--password-file',
      '/run/secrets/vault/password',
      ...(VERBS()[job.metadata.name.replace('vault-', '')] ?? []),
    ]);
    // The folders are those of whoever printed this, and the password is for the group alone.
    const [user, group] = [process.getuid?.(), process.getgid?.()];
    expect(pod.securityContext).toMatchObject({ runAsUser: user, runAsGroup: group, fsGroup: group });
    expect(pod.volumes[0].secret).toEqual({ secretName: 'vault-password', defaultMode: 0o440 });
    const places = new Map(
      container.volumeMounts.map(({ mountPath, ...one }: { mountPath: string }) => [mountPath, one]),
    );
    expect(places.get(box.at(ODD))).toEqual({ name: 'place-0', readOnly: true });
    expect(places.get(box.bucket(3))).toMatchObject({ readOnly: false });
    // Nothing else can be written to.
    const scratch = container.env.find(({ name }: { name: string }) => name === 'TMPDIR').value;
    expect(places.get(scratch)).toEqual({ name: 'scratch' });
    expect(pod.volumes).toContainEqual({ name: 'scratch', emptyDir: {} });
  }
});

test('--kubernetes mounts a folder of files for writing if the catalog lies in it', async () => {
  const args = ['--kubernetes', '--image', 'i', '.', '--db', 'catalog.db', '--bucket', 'b'];
  const [job] = parseAllDocuments((await print(...args)).stdout).map((one) => one.toJS());
  const mounts = job.spec.jobTemplate.spec.template.spec.containers[0].volumeMounts;
  expect(mounts).toContainEqual({ name: expect.any(String), mountPath: box.path, readOnly: false });
});

test('warns that no job has keys that are in variables', async () => {
  const env = { VAULT_PASSWORD: undefined, AWS_SECRET_ACCESS_KEY: 'hidden' };
  const args = ['schedule', 'print', '--cron', 'plain', '--password-file', 'pass word', '--bucket'];
  const there = await box.run([...args, 's3://bucket?region=eu-west-1'], { env });
  expect(there).toMatchObject({ exit: 0, stderr: expect.stringContaining('AWS_SECRET_ACCESS_KEY') });
  expect(there.stdout + there.stderr).not.toContain('hidden');
  expect(await box.run([...args, 'folder'], { env })).toMatchObject({ exit: 0, stderr: '' });
});

test('refuses a password in clear, no or several formats, no paths, and what a format cannot say', async () => {
  const plain = await box.run(['schedule', 'print', '--cron', 'plain']);
  expect(plain).toMatchObject({ exit: 2, stdout: '', stderr: expect.stringContaining('--password-command') });
  for (const args of [
    [],
    ['--cron', '--systemd'],
    ['--kubernetes'],
    ['--cron', 'back\\slash'],
    ['--systemd', 'line\nend'],
    ['--cron', '--db', 'postgres://u:secret@h/d', '--bucket', 'x'],
    ['--cron', '--db', 'postgres://u:secret@/d', '--bucket', 'x'],
  ]) {
    const { exit, stderr } = await print(...args);
    expect({ args, exit }).toEqual({ args, exit: 2 });
    expect(stderr).not.toContain('secret');
  }
  expect((await box.run(['schedule', 'print', '--cron', '--password-command', 'pass show v'])).exit).toBe(2);
});

describe('jobs of a vault in the settings file', () => {
  const CONFIG = ['.config', 'shardvault', 'config.toml'];
  const bare = { env: { VAULT_PASSWORD: undefined, VAULT_DB: undefined } };

  beforeAll(async () => {
    const file = box.at('..', 'home', ...CONFIG);
    await mkdir(box.at('..', 'home', '.config', 'shardvault'), { recursive: true });
    const table = `db = ${JSON.stringify(box.db)}\npassword_file = ${JSON.stringify(box.at('pass word'))}\n`;
    await writeFile(
      file,
      `default = "home"\n[vault.home]\n${table}exclude = ["*.pdf"]\n[vault."my work"]\n${table}exclude = ["*.tmp", "-x"]\nlimit_upload = "10M"\nmax_wait = "5m"\n`,
    );
    await mkdir(box.at('d'));
    for (const name of ['a.pdf', 'b.tmp', 'c']) await writeFile(box.at('d', name), name);
  });
  afterAll(async () => rm(box.at('..', 'home', '.config'), { recursive: true }));

  const named = (...args: readonly string[]): Promise<Ended> =>
    box.run(['--vault', 'my work', 'schedule', 'print', 'd', ...args], bare);

  test('on this machine name it, and store what it would', async () => {
    const { exit, stdout, stderr } = await named('--cron');
    expect([exit, stderr]).toEqual([0, '']);
    const line = stdout.split('\n').find((text) => text.includes(' put -- ')) ?? '';
    expect(line).toContain(` --vault 'my work' put -- ${box.at('d')} `);
    execFileSync('sh', ['-c', line.replace(/^(\S+ ){5}/, '')], { env: {}, cwd: '/', stdio: 'ignore' });
    const stored = await box.run(['ls', '-0', `${box.at('d')}/`], { env: { ...bare.env } });
    expect(stored.stdout.split('\0').filter(Boolean)).toEqual(['a.pdf', 'c']);
  });

  test('name the default one, too, and what goes before the file', async () => {
    const usual = await box.run(['schedule', 'print', 'd', '--cron'], bare);
    expect(usual.stdout).toContain(' --vault home put -- ');
    const env = { ...bare.env, VAULT_DB: box.at('other.db'), VAULT_NAME: 'home' };
    const other = await box.run(['schedule', 'print', 'd', '--cron', '--bucket', 'b'], { env });
    expect(other.stdout).toContain(` --vault home --db ${box.at('other.db')} put -- `);
    const changed = await named(
      '--cron',
      '--bucket',
      'b',
      '--db',
      'x.db',
      '--key-file',
      'k',
      '--max-wait',
      '1m',
      '-q',
    );
    expect(changed.stdout).toContain(
      ` --vault 'my work' --db ${box.at('x.db')} --key-file ${box.at('k')} --max-wait 1m --quiet sweep`,
    );
  });

  test('find the file where this command has found it', async () => {
    const settings = { XDG_CONFIG_HOME: box.at('..', 'home', '.config'), HOME: box.path };
    const { stdout } = await box.run(['schedule', 'print', 'd', '--systemd'], {
      env: { ...bare.env, ...settings },
    });
    for (const [name, value] of Object.entries(settings))
      expect(stdout).toContain(`Environment="${name}=${value}"\n`);
  });

  test('have names of their own, and in a cluster its settings as options', async () => {
    expect((await named('--systemd')).stdout).toMatch(/^# vault-my-work-[0-9a-f]{8}-put\.service$/m);
    const { stdout } = await named('--kubernetes', '--image', 'i', '--timeout', '9s');
    const jobs = parseAllDocuments(stdout).map((one) => one.toJS());
    const [put, sweep] = jobs.map(({ spec }) => spec.jobTemplate.spec.template.spec);
    const shared = [
      '--db',
      box.db,
      '--password-file',
      '/run/secrets/vault/password',
      '--timeout',
      '9s',
      '--max-wait',
      '5m',
    ];
    expect(put.containers[0].args).toEqual([
      ...shared,
      ...`--limit-upload 10M put --exclude *.tmp --exclude -x -- ${box.at('d')}`.split(' '),
    ]);
    expect(sweep.containers[0].args).toEqual([...shared, '--limit-upload', '10M', 'sweep']);
    const [name = ''] = /^vault-my-work-[0-9a-f]{8}(?=-put$)/.exec(jobs[0].metadata.name) ?? [];
    expect(stdout).toContain(`create secret generic ${name}-password `);
    expect(put.volumes[0].secret.secretName).toBe(`${name}-password`);
  });
});

describe('what a job finds in its environment', () => {
  const URL = 'https://hc-ping.example/secret-id';
  const env = {
    VAULT_PASSWORD: undefined,
    PGHOST: 'db.example.com',
    PGUSER: 'ada@db',
    PGPASSWORD: 'hidden',
    PGPASSFILE: 'pgpass',
    PGSSLROOTCERT: 'system',
    NODE_USE_ENV_PROXY: '1',
    no_proxy: 'localhost',
    https_proxy: 'http://me:hidden@proxy:3128',
    XDG_DATA_HOME: 'relative',
    GOOGLE_APPLICATION_CREDENTIALS: 'key.json',
  };
  const printed = (...args: readonly string[]): Promise<Ended> =>
    box.run(
      [
        'schedule',
        'print',
        'plain',
        '--bucket',
        'b',
        '--db',
        'postgres:///d?sslrootcert=ca.pem&sslmode=verify-full',
        '--password-file',
        'p',
        ...args,
      ],
      { env },
    );

  test('is what is no secret, with whole paths; secrets are told of', async () => {
    const { exit, stdout, stderr } = await printed('--systemd');
    expect(exit).toBe(0);
    const carried = new Map(
      Array.from(stdout.matchAll(/^Environment="(\w+)=(.*)"$/gm), ([, name, value]) => [name, value]),
    );
    expect(Object.fromEntries(carried)).toEqual({
      PATH: expect.any(String),
      HOME: box.at('..', 'home'),
      PGHOST: 'db.example.com',
      PGUSER: 'ada@db',
      PGPASSFILE: box.at('pgpass'),
      PGSSLROOTCERT: 'system',
      NODE_USE_ENV_PROXY: '1',
      no_proxy: 'localhost',
      GOOGLE_APPLICATION_CREDENTIALS: box.at('key.json'),
    });
    const db = `postgres:///d?sslrootcert=${encodeURIComponent(box.at('ca.pem'))}&sslmode=verify-full`;
    expect(systemdWords(/^ExecStart=(.*)$/m.exec(stdout)?.[1] ?? '')).toContain(db);
    expect(stderr).toMatch(/warning: https_proxy may have a password in it/);
    expect(stderr).toMatch(/warning: The database's password is in a variable here \(PGPASSWORD\)/);
    expect(stdout + stderr).not.toContain('hidden');
  });

  test('in a cluster is nothing of this machine, which is told', async () => {
    const { stdout, stderr } = await printed('--kubernetes', '--image', 'i');
    const [job] = parseAllDocuments(stdout).map((one) => one.toJS());
    expect(job.spec.jobTemplate.spec.template.spec.containers[0].env).toEqual([
      { name: 'PGHOST', value: 'db.example.com' },
      { name: 'PGUSER', value: 'ada@db' },
      { name: 'no_proxy', value: 'localhost' },
      { name: 'NODE_USE_ENV_PROXY', value: '1' },
      { name: 'PGSSLROOTCERT', value: 'system' },
      { name: 'XDG_DATA_HOME', value: expect.any(String) },
      { name: 'TMPDIR', value: expect.any(String) },
    ]);
    expect(stderr).toContain('PGPASSFILE, GOOGLE_APPLICATION_CREDENTIALS');
    expect(stdout + stderr).not.toContain('hidden');
  });

  test('is the URL of a monitor, which no command line shows', async () => {
    // Whether it comes by the option or by the variable.
    const unheard = { ...env, VAULT_PING_URL: URL };
    const args = ['schedule', 'print', 'plain', '--bucket', 'b', '--password-file', 'p'];
    const cron = await box.run([...args, '--cron', '--quiet'], { env: unheard });
    expect(cron.stdout.split('\n').filter((line) => line.includes('secret-id'))).toEqual([
      `VAULT_PING_URL=${URL}`,
    ]);
    expect(cron.stdout).toContain(' --quiet sweep');
    const systemd = await printed('--systemd', '--ping-url', URL);
    expect(systemd.stdout).toContain(`Environment="VAULT_PING_URL=${URL}"\n`);
    expect(systemd.stdout).not.toMatch(/^ExecStart=.*secret-id/m);
    const cluster = await printed('--kubernetes', '--image', 'i', '--ping-url', URL);
    expect(cluster.stdout).not.toContain('secret-id');
    for (const job of parseAllDocuments(cluster.stdout).map((one) => one.toJS())) {
      expect(await problemOf(job)).toBeNull();
      expect(job.spec.jobTemplate.spec.template.spec.containers[0].env).toContainEqual({
        name: 'VAULT_PING_URL',
        valueFrom: { secretKeyRef: { name: 'vault-password', key: 'ping-url' } },
      });
    }
    expect(cluster.stdout).toMatch(/^# First: kubectl create secret .*--from-literal=ping-url=/m);
  });
});

function isInstalled(command: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${command}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Words in double quotes as systemd.syntax(7) has them. */
function systemdWords(text: string): string[] {
  return Array.from(text.matchAll(/"((?:[^"\\]|\\.)*)"/g), ([, word = '']) =>
    word.replace(/\\(.)/g, '$1').replaceAll('$$', '$').replaceAll('%%', '%'),
  );
}
