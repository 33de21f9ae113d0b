import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, uploading } from '../serve/harness.ts';
import { startGcsServer } from '../support/gcs-server.ts';
import { sandbox } from './run.ts';
import type { Running, Sandbox } from './run.ts';

/** A file that is there and no certificate. */
const NO_PEM = fileURLToPath(import.meta.url);

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
});
afterAll(async () => box[Symbol.asyncDispose]());

/** Starts the server, and waits until it says where it listens. */
async function started(
  args: readonly string[] = [],
  place = box,
): Promise<Running & { readonly url: string }> {
  const running = place.start(['serve', '--listen', '127.0.0.1:0', ...args]);
  const lines = createInterface({ input: running.process.stdout ?? process.stdin });
  const [line] = await once(lines, 'line');
  return { ...running, url: /http:\/\/[^"]+/.exec(String(line))?.[0] ?? '' };
}

describe('vault serve', () => {
  it('takes files and gives them, logs each request, and ends with 0 when it is told to', async () => {
    const { url, process: server, ended } = await started();
    expect(await ask(`${url}/api/files/hello`, { method: 'PUT', body: 'hello' })).toMatchObject({
      status: 201,
    });
    expect((await ask(`${url}/api/files/hello`, {})).bytes.toString()).toBe('hello');
    server.kill('SIGTERM');
    const { exit, stdout, stderr } = await ended;
    expect([exit, stderr]).toEqual([0, '']);
    const lines = stdout.trim().split('\n').slice(1);
    expect(lines.map((line) => /"status":(\d+)/.exec(line)?.[1])).toEqual(['201', '200']);
    expect(stdout).not.toContain('hello');
    expect((await box.run(['cat', 'hello'])).stdout).toBe('hello');
  });

  it('told to end in the middle of an upload lists nothing of it', async () => {
    const { url, process: server, ended } = await started(['--grace', '100ms']);
    const socket = await uploading(url, '/api/files/half', 5_000_000);
    socket.write('x'.repeat(3_000_000));
    await delay(100);
    server.kill('SIGTERM');
    const { exit, stdout } = await ended;
    expect(exit).toBe(0);
    expect(stdout).toContain('"code":"interrupted"');
    expect((await box.run(['ls'])).stdout).not.toContain('half');
    socket.destroy();
  });

  it('asks buckets again soon that it had given up', async () => {
    await using gcs = await startGcsServer();
    await using other = await sandbox();
    const buckets = ['a', 'b', 'c'].flatMap((name) => [
      '--bucket',
      `gs://bucket/${name}?endpoint=${gcs.url}`,
    ]);
    expect(await other.run(['init', ...buckets])).toMatchObject({ exit: 0 });
    const { url, process: server, ended } = await started(['--max-wait', '200ms'], other);
    expect(await ask(`${url}/api/files/a`, { method: 'PUT', body: 'a' })).toMatchObject({ status: 201 });
    gcs.fail(() => true, { fault: 'status', status: 503 }, { times: 100_000 });
    expect(await ask(`${url}/api/files/a`, {})).toMatchObject({ status: 503 });
    gcs.heal();
    const status = async (): Promise<number | undefined> => (await ask(`${url}/api/files/a`, {})).status;
    await expect.poll(status, { timeout: 15_000, interval: 500 }).toBe(200);
    server.kill('SIGTERM');
    await ended;
  }, 60_000);

  it('says once that its log cannot be written, and serves on', async () => {
    const run = box.terminalOf('exec vault serve --listen 127.0.0.1:0 > /dev/full');
    await run.waitFor('Ctrl-C ends it.');
    const url = /http:\/\/[\d.:]+\d/.exec(run.shown)?.[0] ?? '';
    for (let time = 0; time < 3; time += 1)
      expect(await ask(`${url}/healthz`, {})).toMatchObject({ status: 200 });
    run.kill('SIGTERM');
    await run.exit;
    expect(run.shown.match(/access log/g)).toHaveLength(1);
    expect(run.shown).toContain('ENOSPC');
  });

  it.each([
    [['--listen', '0.0.0.0:0'], /Without any token/],
    [['--listen', 'nowhere'], /--listen/],
    [['--tls-cert', 'x'], /both --tls-cert and --tls-key/],
    [['--tls-cert', 'x', '--tls-key', 'x'], /--tls-cert or the key of --tls-key cannot be used: ENOENT/],
    [['--tls-cert', NO_PEM, '--tls-key', NO_PEM], /--tls-cert or the key of --tls-key cannot be used: /],
    [['--public-url', 'ftp://x'], /--public-url/],
    [['--max-upload', 'much'], /--max-upload/],
  ])('refuses %j', async (args, message) => {
    const { exit, stderr } = await box.run(['serve', ...args]);
    expect([exit, stderr]).toEqual([2, expect.stringMatching(message)]);
  });
});

describe('vault token', () => {
  it('makes a token that is shown once, lists it, and takes it away', async () => {
    const made = await box.run([
      'token',
      'add',
      '--scope',
      'read,list',
      '--label',
      'a job',
      '--expires',
      '1h',
    ]);
    expect([made.exit, made.stdout, made.stderr]).toEqual([
      0,
      expect.stringMatching(/^vault_[\w-]{43}\n$/),
      '',
    ]);
    const listed = await box.run(['token', 'ls']);
    expect(listed.stdout).toMatch(/^([0-9a-f]{12}) .*read,list +a job\n$/);
    expect(listed.stdout).not.toContain(made.stdout.trim().slice(6));
    const [json] = (await box.run(['token', 'ls', '--json'])).stdout.trim().split('\n');
    expect(JSON.parse(json ?? '')).toMatchObject({
      label: 'a job',
      scopes: ['read', 'list'],
      expired: false,
    });
    expect(await box.run(['token', 'rm', listed.stdout.slice(0, 12)])).toMatchObject({ exit: 0 });
    expect((await box.run(['token', 'ls'])).stdout).toBe('');
    expect(await box.run(['token', 'rm', listed.stdout.slice(0, 12)])).toMatchObject({ exit: 4 });
  });

  it.each(['> /dev/full', '--json > /dev/full', '| true'])(
    'that nobody has seen is taken back: %s',
    async (way) => {
      const line = `set -o pipefail; vault token add --scope admin ${way}`;
      const { exit, stderr } = await box.shell(line);
      expect([exit, stderr]).toEqual([
        5,
        expect.stringMatching(/the token .*taken back|taken back.* token/i),
      ]);
      expect((await box.run(['token', 'ls'])).stdout).toBe('');
    },
  );

  it('needs to know what a token is good for', async () => {
    expect(await box.run(['token', 'add'])).toMatchObject({ exit: 2, stdout: '' });
    expect(await box.run(['token', 'add', '--scope', 'everything'])).toMatchObject({ exit: 2, stdout: '' });
  });
});
