import { Buffer } from 'node:buffer';
import * as fs from 'node:fs';
import { mkdir, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { openFolderBucket } from '../../src/buckets/folder/driver.ts';
import { writeObject } from '../../src/buckets/folder/writer-thread.ts';
import { VaultError } from '../../src/errors.ts';
import { smallDisk } from '../support/small-disk.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { bucketConformance, codeOf, listAll } from './conformance.ts';

/** Synchronous calls in the order in which they were made; one of them may fail. */
const calls = vi.hoisted(() => ({ made: [] as string[], failing: new Map<string, string>() }));
vi.mock(import('node:fs'), async (original) => {
  const real = await original();
  const names = ['openSync', 'writeSync', 'fsyncSync', 'closeSync', 'renameSync', 'unlinkSync'] as const;
  const wrapped = names.map((name) => [
    name,
    (...args: readonly unknown[]): unknown => {
      calls.made.push(name.replace('Sync', ''));
      const code = calls.failing.get(name);
      if (code !== undefined) throw Object.assign(new Error(`${code}: ${name}`), { code, syscall: name });
      return Reflect.apply(real[name], real, args);
    },
  ]);
  const fake = { ...real, ...Object.fromEntries(wrapped) };
  return { ...fake, default: fake };
});

/** Batches that do not reach their thread; null while they do. */
const held = vi.hoisted((): { batches: (() => void)[] | null } => ({ batches: null }));
vi.mock(import('node:worker_threads'), async (original) => {
  const real = await original();
  class Held extends real.Worker {
    override postMessage(...message: Parameters<InstanceType<typeof real.Worker>['postMessage']>): void {
      const send = (): void => super.postMessage(...message);
      if (held.batches === null) send();
      else held.batches.push(send);
    }
  }
  return { ...real, Worker: Held };
});

afterEach(() => {
  calls.made.length = 0;
  calls.failing.clear();
});

const CONTENT = Buffer.from('content');
const HOW = { drawn: true } as const;
/** A thread from the first object on. */
const EVERY = { label: 'file:///one', writeAsideAfter: 0 } as const;

bucketConformance('folder with a writer', async () => {
  const folder = await temporaryFolder();
  return {
    bucket: openFolderBucket(folder.path, EVERY),
    reopen: async () => openFolderBucket(folder.path, EVERY),
    openMissing: async () => openFolderBucket(folder.at('absent'), EVERY),
    cleanUp: async () => {
      await folder[Symbol.asyncDispose]();
    },
  };
});

describe('the thread that writes', () => {
  test('gives a file its name when its bytes are durable, and no sooner', async () => {
    await using folder = await temporaryFolder();
    const [unfinished, path] = [folder.at('unfinished'), folder.at('object')];
    expect(writeObject({ unfinished, path, bytes: new Uint8Array(CONTENT) })).toEqual({
      mtimeMs: fs.statSync(path).mtimeMs,
    });
    expect(calls.made).toEqual(['open', 'write', 'fsync', 'close', 'rename']);
    expect(await readFile(path, 'utf8')).toBe('content');
    expect(await readdir(folder.path)).toEqual(['object']);
  });

  test.each(['writeSync', 'fsyncSync', 'closeSync', 'renameSync'])(
    'leaves nothing when %s fails',
    async (call) => {
      await using folder = await temporaryFolder();
      const [unfinished, path] = [folder.at('unfinished'), folder.at('object')];
      calls.failing.set(call, 'EIO');
      const written = writeObject({ unfinished, path, bytes: new Uint8Array(CONTENT) });
      expect(written).toEqual({ failed: { message: `EIO: ${call}`, code: 'EIO', syscall: call } });
      expect(await readdir(folder.path)).toEqual([]);
    },
  );

  test.each([
    ['openSync', 'ENOENT'],
    ['openSync', 'ENOTDIR'],
    ['renameSync', 'ENOENT'],
  ])('says that something has gone when %s answers %s', async (call, code) => {
    await using folder = await temporaryFolder();
    calls.failing.set(call, code);
    const bytes = new Uint8Array(CONTENT);
    expect(writeObject({ unfinished: folder.at('unfinished'), path: folder.at('object'), bytes })).toEqual({
      mtimeMs: null,
    });
  });
});

describe('a folder with a writer', () => {
  test('stores what is put at once, and all of it is there', async () => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, { label: 'one', writeAsideAfter: 5 });
    const names = Array.from({ length: 200 }, (_, n) => `chunks/${String(n).padStart(3, '0')}`);
    await Promise.all(names.map((name) => bucket.put(name, Buffer.from(name), HOW)));
    expect((await listAll(bucket, '')).map(({ name }) => name)).toEqual(names);
    for (const name of names) expect((await bucket.get(name)).toString()).toBe(Buffer.from(name).toString());
    expect(await readdir(folder.at('unfinished~'))).toEqual([]);
    await bucket.close();
  });

  test('does not take the memory of what is put', async () => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, EVERY);
    const memory = Buffer.alloc(1024, 7);
    await bucket.put('chunks/part', memory.subarray(10, 20), HOW);
    expect(memory.equals(Buffer.alloc(1024, 7))).toBe(true);
    expect(await readFile(folder.at('chunks/part'))).toEqual(Buffer.alloc(10, 7));
    await bucket.close();
  });

  test('begins again where its folders were removed under it', async () => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, EVERY);
    await bucket.put('chunks/first', CONTENT, HOW);
    await rm(folder.at('unfinished~'), { recursive: true });
    await rm(folder.at('chunks'), { recursive: true });
    await bucket.put('chunks/second', CONTENT, HOW);
    expect(await readFile(folder.at('chunks/second'), 'utf8')).toBe('content');
    await bucket.close();
  });

  test('never writes where a link leads', async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at('bucket'));
    await mkdir(folder.at('elsewhere'));
    await symlink(folder.at('elsewhere'), folder.at('bucket/chunks'));
    const bucket = openFolderBucket(folder.at('bucket'), EVERY);
    expect(await codeOf(bucket.put('chunks/object', CONTENT, HOW))).toBe('damaged');
    expect(await readdir(folder.at('elsewhere'))).toEqual([]);
    await bucket.close();
  });

  test('says that a disk is full, and leaves nothing', async ({ skip }) => {
    await using folder = await temporaryFolder();
    await using disk = await smallDisk(folder.at('bucket'), 1024 * 1024);
    if (disk === null) return skip('only root can mount a small disk');
    const bucket = openFolderBucket(disk.path, EVERY);
    const codes = await Promise.all(
      Array.from({ length: 60 }, (_, n) => codeOf(bucket.put(`chunks/${n}`, Buffer.alloc(60_000), HOW))),
    );
    expect(new Set(codes)).toEqual(new Set(['success', 'storage-full']));
    const stored = codes.filter((code) => code === 'success').length;
    expect(await listAll(bucket, '')).toHaveLength(stored);
    expect(await readdir(join(disk.path, 'unfinished~'))).toEqual([]);
    await bucket.close();
  });

  test('is unavailable at once while a batch hangs, and stores what the batch has when that comes back', async () => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, EVERY);
    await bucket.put('chunks/first', CONTENT, HOW);
    const batches: (() => void)[] = [];
    held.batches = batches;
    const limit = new AbortController();
    const second = codeOf(bucket.put('chunks/second', CONTENT, { ...HOW, signal: limit.signal }));
    while (batches.length === 0) await nextTurn();
    limit.abort(new VaultError('unavailable', 'The time is up.'));
    expect(await codeOf(bucket.get('chunks/first'))).toBe('unavailable');
    expect(await codeOf(bucket.put('chunks/third', CONTENT, HOW))).toBe('unavailable');
    // Its end does not wait for what hangs.
    await bucket.close();
    held.batches = null;
    for (const send of batches) send();
    expect(await second).toBe('success');
    expect(await listAll(bucket, 'chunks/')).toHaveLength(2);
  });

  test('stores nothing more once it was interrupted', async () => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, EVERY);
    await bucket.put('chunks/first', CONTENT, HOW);
    const abort = new AbortController();
    abort.abort();
    expect(await codeOf(bucket.put('chunks/second', CONTENT, { ...HOW, signal: abort.signal }))).toBe(
      'interrupted',
    );
    expect(await readdir(folder.at('chunks'))).toEqual(['first']);
    await bucket.close();
  });
});
