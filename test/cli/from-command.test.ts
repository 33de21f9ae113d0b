/** `put --from-command` of the built command: what the command gets, and what is left of it. */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Sandbox } from './run.ts';
import { PASSWORD, sandbox } from './run.ts';

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

const put = (command: string, ...more: string[]): string[] => [
  'put',
  '--from-command',
  command,
  '--name',
  'n',
  ...more,
];

test('stores what the command prints, passes on what it says, and tells it no secret', async () => {
  const env = { VAULT_NEW_PASSWORD: 's3cret-2', VAULT_LOCK_PASSWORD: 's3cret-3', PGPASSWORD: 's3cret-4' };
  const { exit, stdout, stderr } = await box.run(put('echo said >&2; env'), { env });
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: 'said\n' });
  expect(stdout).toMatch(/^[0-9a-f]{64}\n$/);
  const stored = (await box.run(['get', 'n', '-o', '-'])).stdout;
  expect(stored).toMatch(/^PATH=/m);
  expect(stored).not.toContain(PASSWORD);
  expect(stored).not.toContain('s3cret');
});

test('stores nothing of a command that fails after much output, and says so', async () => {
  const before = (await box.run(['ls', '--all', '--json'])).stdout;
  const failed = await box.run(put('head -c 3000000 /dev/urandom; echo broke off >&2; exit 9'));
  expect(failed).toMatchObject({
    exit: 5,
    stdout: '',
    stderr: 'broke off\nvault: The command failed (exit code 9), so nothing was stored.\n',
  });
  expect((await box.run(put('no-such-command'))).exit).toBe(2);
  expect((await box.run(put('true'))).exit).toBe(2);
  expect((await box.run(['ls', '--all', '--json'])).stdout).toBe(before);
});

test.each([
  [['put'], ['--from-command', 'echo one', '--name', 'n']],
  [['put'], ['--files-from', 'list']],
  [['prune'], ['--keep-last', '3']],
  [['prune'], ['--keep-within', '3d']],
  [
    ['put', 'x'],
    ['--expires', '30d'],
  ],
  [
    ['rm', 'x'],
    ['--grace', '30d'],
  ],
  [
    ['token', 'add'],
    ['--scope', 'put'],
  ],
  [['ls'], ['--sort', 'name']],
])('%j is refused where %j is given twice, as the first would be forgotten', async (verb, option) => {
  expect(await box.run([...verb, ...option, ...option])).toMatchObject({
    exit: 2,
    stdout: '',
    stderr: `vault: ${option[0]} is given twice, and only the last would count. Give it once.\n`,
  });
});

test('nobody can open a debugger, with all keys, while a command runs', async () => {
  const run = box.start(put('touch runs; until [ -e go ]; do sleep 0.05; done; echo content'));
  while (!existsSync(box.at('runs'))) await delay(20);
  run.process.kill('SIGUSR1');
  await delay(200);
  await writeFile(box.at('go'), '');
  expect(await run.ended).toMatchObject({ exit: 0, stderr: '' });
});

test('-n does not run it', async () => {
  const { exit, stdout } = await box.run(put('touch ran', '-n', '--json'));
  expect({ exit, told: JSON.parse(stdout) }).toEqual({
    exit: 0,
    told: {
      name: 'n',
      size: null,
      chunks: null,
      chunksStored: null,
      bytesNew: null,
      unchanged: null,
      dryRun: true,
    },
  });
  expect(existsSync(box.at('ran'))).toBe(false);
});

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  '%s ends it and all that it has started',
  async (signal) => {
    const run = box.start(
      put(`sleep 1000 & echo $! > pid-${signal}; head -c 200000 /dev/urandom; sleep 1000; true`),
    );
    const pidFile = box.at(`pid-${signal}`);
    while (!existsSync(pidFile) || (await readFile(pidFile, 'utf8')) === '') await delay(20);
    run.process.kill(signal);
    expect(await run.ended).toMatchObject({ exit: 130, stdout: '' });
    const pid = (await readFile(pidFile, 'utf8')).trim();
    // It was sent the signal when the command ended, and takes it when its turn comes.
    await vi.waitFor(async () => {
      const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z');
      expect(stat).toMatch(/\) [ZX]/);
    });
  },
);
