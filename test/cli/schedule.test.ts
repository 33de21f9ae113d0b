/** `vault schedule print`: what it prints is read by what would read it, as far as that is here, and by parsers of this page. */
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { COMMAND } from './build.ts';
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

test('--kubernetes prints CronJobs that kubectl takes', async () => {
  const { exit, stdout } = await print('--kubernetes', '--image', 'registry.example/vault:1');
  expect(exit).toBe(0);
  expect(stdout).not.toContain(PASSWORD);
  const documents = stdout.split(/^---\n/m).slice(1);
  expect(documents).toHaveLength(4);
  for (const text of documents) {
    const job = yaml(text);
    expect(job).toMatchObject({
      apiVersion: 'batch/v1',
      kind: 'CronJob',
      spec: { concurrencyPolicy: 'Forbid' },
    });
    const [container] = job.spec.jobTemplate.spec.template.spec.containers;
    const verb = job.metadata.name.replace('vault-', '');
    expect(container.command.map((word: string) => word.replaceAll('$$(', '$('))).toEqual([
      'vault',
      ...SHARED().slice(0, 3),
      '/etc/vault-password/password',
      ...(VERBS()[verb] ?? []),
    ]);
    expect(container.volumeMounts).toContainEqual({
      name: 'place-0',
      mountPath: box.at(ODD),
      readOnly: true,
    });
    expect(container.volumeMounts.map(({ mountPath }: { mountPath: string }) => mountPath)).toContain(
      box.bucket(3),
    );
    // Where there is no kubectl, its word is not asked for.
    const read = isInstalled('kubectl') ? kubectl(text) : { ...job };
    delete read.metadata.labels;
    expect(read).toMatchObject(job);
  }
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
  ]) {
    const { exit, stderr } = await print(...args);
    expect({ args, exit }).toEqual({ args, exit: 2 });
    expect(stderr).not.toContain('secret');
  }
  expect((await box.run(['schedule', 'print', '--cron', '--password-command', 'pass show v'])).exit).toBe(2);
});

// oxlint-disable-next-line typescript/no-explicit-any -- as `yaml`
function kubectl(text: string): any {
  const args = ['label', '--local', '-f', '-', 'a=b', '-o', 'json'];
  return JSON.parse(execFileSync('kubectl', args, { input: text, encoding: 'utf8' }));
}

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

/** The YAML that is printed, and no other: block style, each text in double quotes. */
// oxlint-disable-next-line typescript/no-explicit-any -- the expectations say what it is
function yaml(text: string): any {
  const lines = text.trimEnd().split('\n');
  return block(0);
  function block(indent: number): unknown {
    const list = lines[0]?.startsWith(`${' '.repeat(indent)}- `) === true;
    const items: unknown[] = [];
    const fields: Record<string, unknown> = {};
    for (;;) {
      const line = lines[0];
      if (line === undefined || line.search(/\S/) !== indent) return list ? items : fields;
      if (list) {
        const rest = line.slice(indent + 2);
        if (rest.startsWith('"')) items.push(JSON.parse(rest));
        if (rest.startsWith('"')) lines.shift();
        else {
          lines[0] = `${' '.repeat(indent + 2)}${rest}`;
          items.push(block(indent + 2));
        }
        continue;
      }
      lines.shift();
      const [, key, value] = /^ *(\w+):(?: (.+))?$/.exec(line) ?? [];
      if (key === undefined) throw new Error(`Not the YAML that is printed: ${line}`);
      fields[key] = value === undefined ? block((lines[0] ?? '').search(/\S/)) : JSON.parse(value);
    }
  }
}
