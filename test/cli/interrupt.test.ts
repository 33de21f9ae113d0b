import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import Sqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemCode } from '../../src/errors.ts';
import { DATABASE, THOROUGH } from '../support/catalog-place.ts';
import type { Ended, Running, Sandbox } from './run.ts';
import { PASSWORD, sandbox } from './run.ts';

const MIB = 1024 * 1024;

let box: Sandbox;
beforeEach(async () => {
  box = await sandbox();
  await box.makeVault();
});
afterEach(async () => {
  await box[Symbol.asyncDispose]();
});

/** Waits for something that has to happen, however long a busy machine takes. */
async function until(happened: () => Promise<boolean>): Promise<void> {
  while (!(await happened())) await delay(20);
}

/** Makes a pipe in the working folder. */
async function makePipe(name: string): Promise<string> {
  expect((await box.shell(`mkfifo ${name}`)).exit).toBe(0);
  return box.at(name);
}

/** Waits until somebody reads a pipe, or waits for a writer of it. @returns the writer's end */
async function writerOf(path: string): Promise<FileHandle> {
  for (;;) {
    try {
      return await open(path, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch (error) {
      if (systemCode(error) !== 'ENXIO') throw error;
      await delay(20);
    }
  }
}

/** How a command ends that was interrupted, and said so. */
const INTERRUPTED = { exit: 130, stdout: '', stderr: 'vault: Interrupted.\n' };

/** Sends one signal, which has to be enough. */
async function interrupted({ process: child, ended }: Running, signal: NodeJS.Signals): Promise<Ended> {
  child.kill(signal);
  return ended;
}

/** Gives a password to the command that waits for it at a pipe. */
async function tellPassword(path: string): Promise<void> {
  await using writer = await writerOf(path);
  await writer.writeFile(PASSWORD);
}

/** They are treated alike: what ends by one of them ends by all. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

describe.each(THOROUGH ? SIGNALS : SIGNALS.slice(0, 2))('one %s ends', (signal) => {
  test('a put', async () => {
    await writeFile(box.at('big.bin'), randomBytes(12 * MIB));
    const run = box.start(['put', 'big.bin', '--limit-upload', '2M']);
    const chunks = async (): Promise<string[]> => readdir(join(box.bucket(1), 'chunks'), { recursive: true });
    await until(async () => (await chunks().catch(() => [])).length > 1);
    expect(await interrupted(run, signal)).toMatchObject({
      ...INTERRUPTED,
      stderr: expect.stringMatching(
        /^vault: Interrupted\.( What was sent is kept: the same command goes on from there\.)?\n$/,
      ),
    });
  });

  test('a get of many files, and what is there is whole', async () => {
    await mkdir(box.at('docs'));
    const content = randomBytes(8_000);
    for (let i = 0; i < 1200; i += 1) await writeFile(box.at('docs', `f${i}`), content);
    await box.run(['put', 'docs', '--compression', 'off']);
    const run = box.start(['get', 'docs', '-o', 'out', '--limit-download', '2M']);
    const restored = async (): Promise<string[]> => readdir(box.at('out')).catch(() => []);
    await until(async () => (await restored()).some((name) => name.startsWith('f')));
    expect(await interrupted(run, signal)).toMatchObject(INTERRUPTED);
    const names = await restored();
    expect(names.length).toBeLessThan(1200);
    for (const name of names) expect(await readFile(box.at('out', name))).toEqual(content);
    expect(await box.run(['get', 'docs', '-o', 'out', '--force'])).toMatchObject({ exit: 0, stderr: '' });
    expect(await restored()).toHaveLength(1200);
  });

  test('a wait for a pipe that nobody writes to', async () => {
    const password = await makePipe('password');
    await makePipe('pipe');
    const run = box.start(['put', 'pipe', '--password-file', 'password']);
    await tellPassword(password);
    // Enough, mostly, to come to the pipe; wherever it is by then, it has to end.
    await delay(1500);
    expect(await interrupted(run, signal)).toMatchObject(INTERRUPTED);
  });

  test('a wait for a pipe whose writer writes nothing', async () => {
    const path = await makePipe('pipe');
    const run = box.start(['put', 'pipe']);
    await using writer = await writerOf(path);
    expect(writer.fd).toBeGreaterThan(2);
    expect(await interrupted(run, signal)).toMatchObject(INTERRUPTED);
  });

  test('a wait for a password', async () => {
    const path = await makePipe('password');
    const run = box.start(['ls', '--password-file', 'password']);
    await using writer = await writerOf(path);
    expect(writer.fd).toBeGreaterThan(2);
    expect(await interrupted(run, signal)).toMatchObject(INTERRUPTED);
  });

  test('a wait for standard input', async () => {
    const path = await makePipe('password');
    const run = box.start(['put', '-', '--name', 'n', '--password-file', 'password']);
    await tellPassword(path);
    await delay(1500);
    expect(await interrupted(run, signal)).toMatchObject(INTERRUPTED);
  });

  test('a wait for a reader of what is printed', async () => {
    await box.run(['put', '-', '--name', 'n'], { stdin: randomBytes(4 * MIB) });
    const path = await makePipe('output');
    await using output = await open(path, constants.O_RDWR | constants.O_NONBLOCK);
    const { process: child, ended } = box.start(['get', 'n', '-o', '-'], { stdout: output.fd });
    // A byte of it, and no more.
    await until(
      async () => (await output.read(Buffer.alloc(1)).catch(() => ({ bytesRead: 0 }))).bytesRead > 0,
    );
    child.kill(signal);
    expect(await ended).toMatchObject({ exit: 130, stderr: 'vault: Interrupted.\n' });
  });

  test.skipIf(DATABASE === 'postgres')('a wait for a locked catalog', async () => {
    const other = new Sqlite(box.db);
    other.exec('begin immediate');
    const password = await makePipe('password');
    const run = box.start(['put', '-', '--name', 'data', '--password-file', 'password'], {
      stdin: 'the data',
    });
    run.process.stdin?.end('the data');
    await tellPassword(password);
    await delay(1500);
    expect(await interrupted(run, signal)).toMatchObject(INTERRUPTED);
    other.exec('rollback');
    other.close();
    expect(await box.run(['ls'])).toMatchObject({ exit: 0, stdout: '' });
  });

  test('a wait for a database that says nothing', async () => {
    await using server = await silentServer();
    const run = box.start(['ls', '--db', `postgres://u@127.0.0.1:${server.port}/d?sslmode=disable`]);
    await server.asked;
    expect(await interrupted(run, signal)).toMatchObject(INTERRUPTED);
  });

  test('a wait for a bucket that says nothing', async () => {
    await using server = await silentServer();
    const url = `s3://name?endpoint=http://127.0.0.1:${server.port}&region=x`;
    const env = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'key' };
    const run = box.start(['init', '--bucket', url, '--db', 'x.db'], { env });
    await server.asked;
    expect(await interrupted(run, signal)).toMatchObject(INTERRUPTED);
  });
});

/** Takes connections, and answers nothing. */
async function silentServer(): Promise<{ port: number; asked: Promise<unknown> } & AsyncDisposable> {
  const server = createServer((socket) => socket.on('error', () => undefined).resume());
  const asked = new Promise((resolve) => server.once('connection', (socket) => socket.once('data', resolve)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('There is no port.');
  return {
    port: address.port,
    asked,
    async [Symbol.asyncDispose]() {
      server.close();
      await Promise.resolve();
    },
  };
}
