import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { putBytes } from '../vault/harness.ts';
import { servedVault } from './harness.ts';
import type { ServedVault } from './harness.ts';

/** More than the systems between keep for a client; a few of it take the memory of all downloads. */
const CONTENT = randomBytes(40_000_000);
const CHUNK_SIZE = 16 * 1024 * 1024;

let served: ServedVault;
beforeAll(async () => {
  // Long beside what a busy machine takes for a turn.
  served = await servedVault({ idleMs: 3000 });
  const { vault } = served.made;
  await putBytes(vault, CONTENT, { name: 'big', chunkSize: CHUNK_SIZE });
  await putBytes(vault, Buffer.alloc(0), { name: 'empty' });
  await using place = await temporaryFolder();
  await mkdir(place.at('docs'));
  await writeFile(place.at('docs', 'big'), CONTENT);
  await vault.put({ root: place.at('docs') }, { name: 'docs' });
});
afterAll(async () => {
  await served[Symbol.asyncDispose]();
});

/** Asks for something, and takes nothing of it. */
function stalled(path: string): Socket {
  const socket = connect(Number(new URL(served.url).port), '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(`GET ${path} HTTP/1.0\r\nHost: localhost\r\n\r\n`);
  return socket;
}

it.each([
  '/api/files/big',
  '/api/files/docs/big',
  '/api/files/docs?format=tar',
  '/api/files/docs?format=zip',
])('Whoever takes %s slowly holds up nobody, and gets the whole of it', async (path) => {
  const slow = Array.from({ length: 2 }, () => stalled(path));
  await Promise.all(slow.map((socket) => once(socket, 'readable')));
  expect(await served.ask('/healthz')).toMatchObject({ status: 200 });
  expect(await served.ask(path, { method: 'HEAD' })).toMatchObject({ status: 200 });
  expect((await served.ask('/api/files/empty')).bytes).toHaveLength(0);
  expect((await served.ask('/api/files/big')).bytes.equals(CONTENT)).toBe(true);
  for (const got of await Promise.all(slow.map(buffer))) {
    expect(got.includes(CONTENT.subarray(-100_000))).toBe(true);
    expect(got.includes(CONTENT.subarray(0, 100_000))).toBe(true);
    expect(got.length).toBeGreaterThan(CONTENT.length);
  }
});

it('Whoever waits too long for the first byte is told to come again, and who goes keeps no place', async () => {
  served.log.length = 0;
  const slow = Array.from({ length: 24 }, () => stalled('/api/files/big'));
  while (!served.log.some(({ code }) => code === 'busy')) await delay(10);
  const busy = served.log.find(({ code }) => code === 'busy');
  expect(busy).toMatchObject({ status: 503, route: '/api/files/{ref...}' });
  for (const socket of slow) socket.destroy();
  expect((await served.ask('/api/files/big')).bytes.equals(CONTENT)).toBe(true);
  while (served.log.length < 25) await delay(10);
  // A client that goes is no error of the server's.
  expect(new Set(served.log.map(({ status, code }) => `${status} ${code}`))).toEqual(
    new Set(['503 busy', '499 gone', '200 null']),
  );
});

it('A download of which nothing is taken for long is cut, and the log says why', async () => {
  await using hasty = await servedVault({ idleMs: 50 });
  await putBytes(hasty.made.vault, CONTENT, { name: 'big' });
  const socket = connect(Number(new URL(hasty.url).port), '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write('GET /api/files/big HTTP/1.1\r\nHost: localhost\r\n\r\n');
  while (hasty.log.length === 0) await delay(10);
  expect(hasty.log).toMatchObject([{ status: 408, code: 'too-slow' }]);
  socket.destroy();
});
