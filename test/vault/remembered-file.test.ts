// A large file that is as it was is not read again, and nothing else is left out for that.
import { chmod, open, readdir, readlink, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { FileSource } from '../../src/vault/write/file-source.ts';
import type { PutOptions, PutResult } from '../../src/vault/write/put-call.ts';
import { LEAST_REMEMBERED } from '../../src/vault/write/remembered-file.ts';
import { fileSource } from '../../src/vault/write/source.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { CHEAP_KDF, CHUNK_SIZE, getBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

const CONTENT = Buffer.from(seededRandom(5).bytes(LEAST_REMEMBERED + 1_000));
let place: TemporaryFolder;
let made: TestVault;
let path: string;
beforeEach(async () => {
  place = await temporaryFolder();
  path = place.at('file');
  await writeFile(path, CONTENT);
  // What was changed a moment ago is not relied on: so the vault's clock is ahead.
  made = await testVault({ logFolder: place.at('log'), now: () => Date.now() + 10_000 });
});
afterEach(async () => {
  await made[Symbol.asyncDispose]();
  await place[Symbol.asyncDispose]();
});

/** Puts the file. @returns also how many bytes were read of it */
async function put(
  options: Partial<PutOptions> & Pick<FileSource, 'forceRead'> = {},
): Promise<PutResult & { readonly read: number }> {
  const { forceRead, ...rest } = options;
  const file = fileSource(path, { forceRead });
  let read = 0;
  const source: FileSource = {
    ...file,
    async open(signal) {
      const opened = await file.open(signal);
      const readOn = opened.read.bind(opened);
      return Object.assign(opened, {
        async read(target: Uint8Array, aborted: AbortSignal) {
          const count = await readOn(target, aborted);
          read += count;
          return count;
        },
      });
    },
  };
  return { ...(await made.vault.put(source, { name: 'file', ...rest })), read };
}

async function stored(): Promise<Buffer> {
  return getBytes(made.vault, 'file');
}

/** Changes one byte, and leaves size and time of modification as they were. */
async function changeUnseen(): Promise<void> {
  const { atime, mtime } = await stat(path);
  const handle = await open(path, 'r+');
  await handle.write(Buffer.from([(CONTENT[77] ?? 0) ^ 1]), 0, 1, 77);
  await handle.close();
  await utimes(path, atime, mtime);
}

test('is not read again, and is the same version', async () => {
  const first = await put();
  expect(first).toMatchObject({ read: CONTENT.length, unchanged: false });
  expect(await put()).toMatchObject({ read: 0, unchanged: true, hash: first.hash, bytesStored: 0 });
  expect(await put({ dryRun: true })).toMatchObject({ read: 0, unchanged: true, hash: first.hash });
  // What is remembered is not kept open.
  const descriptors = await readdir('/proc/self/fd').catch(() => []);
  const files = await Promise.all(descriptors.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
  expect(files.filter((file) => file.startsWith(place.at('log')))).toEqual([]);
  expect(await stored()).toEqual(CONTENT);
});

test('has threads started for it before the buckets are asked only if it is read', async () => {
  const warmed: number[] = [];
  Object.assign(made.session.workers, { warm: (chunks: number) => warmed.push(chunks) });
  await put();
  const chunks = Math.ceil(CONTENT.length / CHUNK_SIZE);
  expect(warmed).toEqual([chunks]);
  await put();
  expect(warmed).toEqual([chunks]);
});

test('is not read to be stored anew, and is then what it was', async () => {
  const first = await put();
  await made.vault.remove(['file'], { graceMs: 0 });
  const again = await put();
  expect(again).toMatchObject({ read: 0, unchanged: false });
  expect(again.hash).not.toBe(first.hash);
  expect(await stored()).toEqual(CONTENT);
  expect(await made.vault.verify({ depth: 'data' })).toMatchObject({ outcome: 'whole', affected: [] });
});

test.each<[string, () => Promise<unknown>]>([
  ['has another byte, and its size and time as before', changeUnseen],
  [
    'is another file in its place',
    async () => {
      await writeFile(place.at('other'), CONTENT);
      const { atime, mtime } = await stat(path);
      await utimes(place.at('other'), atime, mtime);
      await rename(place.at('other'), path);
    },
  ],
  ['has another mode', () => chmod(path, 0o600)],
  ['has grown', () => writeFile(path, 'more', { flag: 'a' })],
])('is read if it %s', async (_, change) => {
  await put();
  await change();
  const size = (await stat(path)).size;
  expect(await put()).toMatchObject({ read: size });
  expect(await stored()).toHaveLength(size);
  expect(await put()).toMatchObject({ read: 0, unchanged: true });
});

test('is read if that is asked for, or if it is cut otherwise or locked', async () => {
  await put();
  const read = CONTENT.length;
  expect(await put({ forceRead: true })).toMatchObject({ read, unchanged: true });
  expect(await put({ chunkSize: 2 * CHUNK_SIZE })).toMatchObject({ read, unchanged: false });
  expect(await put({ chunking: 'content' })).toMatchObject({ read, unchanged: false });
  expect(await put({ chunking: 'content' })).toMatchObject({ read: 0, unchanged: true });
  const lock = { password: 'of its own', cost: CHEAP_KDF };
  const names = await readdir(place.at('log'));
  expect(await put({ name: 'locked', lock })).toMatchObject({ read });
  expect(await put({ name: 'locked', lock })).toMatchObject({ read });
  expect(await readdir(place.at('log'))).toEqual(names);
});

test('is read if the buckets lack a chunk of it, which is stored again', async () => {
  await put();
  const [bucket] = made.buckets;
  const name = [...(bucket?.storage.keys() ?? [])].find((one) => one.startsWith('chunks/')) ?? '';
  for (const { storage } of made.buckets)
    for (const one of storage.keys()) if (one.startsWith(name.slice(0, 40))) storage.delete(one);
  await made.session.guard.end();
  expect(await put()).toMatchObject({ read: CONTENT.length, unchanged: true, chunksStored: 1 });
  expect(await stored()).toEqual(CONTENT);
});

test('is not read while a bucket is away that has a part of it, unless another can take that', async () => {
  await put();
  await made.session.guard.end();
  const [away, other] = made.buckets.map((bucket) => ({ bucket, plain: bucket.wrap }));
  if (away !== undefined) away.bucket.wrap = (plain) => faulty(plain, always('unavailable'));
  for (let time = 0; time < 2; time += 1)
    expect(await put()).toMatchObject({ read: 0, chunksStored: 0, bytesNew: 0, degraded: true });
  await made.session.guard.end();
  // What that one has lost meanwhile it is given, as soon as it is back.
  if (away !== undefined) {
    away.bucket.wrap = away.plain;
    for (const name of away.bucket.storage.keys())
      if (name.startsWith('chunks/')) away.bucket.storage.delete(name);
  }
  expect(await put()).toMatchObject({ read: CONTENT.length, chunksStored: 0, degradedChunks: 0 });
  expect(await put()).toMatchObject({ read: 0, degraded: false });
  if (other !== undefined) other.bucket.storage.clear();
  expect(await stored()).toEqual(CONTENT);
});

test('is read if what is remembered is gone or spoilt', async () => {
  await put();
  const [log = ''] = await readdir(place.at('log'));
  await writeFile(place.at('log', log), 'spoilt');
  expect(await put()).toMatchObject({ read: CONTENT.length, unchanged: true });
  await rm(place.at('log'), { recursive: true });
  expect(await put()).toMatchObject({ read: CONTENT.length, unchanged: true });
  expect(await put()).toMatchObject({ read: 0, unchanged: true });
});

test('is read if it was changed just before it was stored: it may have changed again unnoticed', async () => {
  await using hasty = await testVault({ logFolder: place.at('hasty') });
  await writeFile(path, CONTENT);
  for (let i = 0; i < 2; i += 1) {
    const result = await hasty.vault.put(fileSource(path), { name: 'file' });
    expect(result.unchanged).toBe(i === 1);
  }
  await changeUnseen();
  expect(await hasty.vault.put(fileSource(path), { name: 'file' })).toMatchObject({ unchanged: false });
});
