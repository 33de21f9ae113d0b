import { Buffer } from 'node:buffer';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readdirSync, renameSync } from 'node:fs';
import {
  mkdir,
  open as openFile,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { promisify } from 'node:util';
import { describe, expect, test, vi } from 'vitest';
import type { Bucket, NewObject } from '../../src/buckets/bucket.ts';
import { Batches } from '../../src/buckets/folder/batches.ts';
import { FolderCalls, threads } from '../../src/buckets/folder/calls.ts';
import { createFolder, openFolderBucket } from '../../src/buckets/folder/driver.ts';
import { openBucket } from '../../src/buckets/open.ts';
import { VaultError } from '../../src/errors.ts';
import { smallDisk } from '../support/small-disk.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { codeOf, listAll } from './conformance.ts';

function objects(count: number, size = 10_000): NewObject[] {
  return Array.from({ length: count }, (_, i) => ({ name: `manifests/${i}`, bytes: randomBytes(size) }));
}

async function opened(path: string): Promise<Bucket & AsyncDisposable> {
  await createFolder(path);
  const bucket = openFolderBucket(path, { label: 'file:///bucket' });
  return Object.assign(bucket, { [Symbol.asyncDispose]: () => bucket.close() });
}

describe('many small objects that are stored together', () => {
  test('are there, whatever memory their bytes lie in, for the owner only', async () => {
    await using folder = await temporaryFolder();
    await using bucket = await opened(folder.at('bucket'));
    const shared = new Uint8Array(new SharedArrayBuffer(3_000)).fill(7);
    const all = [
      ...objects(20),
      { name: 'manifests/empty', bytes: Buffer.alloc(0) },
      { name: 'manifests/shared', bytes: shared },
    ];
    for (let turn = 0; turn < 2; turn += 1) {
      // The second time the same bytes are there.
      expect(await bucket.putAll?.(all)).toBe(true);
      for (const { name, bytes } of all)
        expect((await readFile(folder.at('bucket', name))).equals(bytes)).toBe(true);
      expect(await readdir(folder.at('bucket/unfinished~'))).toEqual([]);
    }
    // Larger ones in new memory, smaller ones in that of those before.
    expect(await bucket.putAll?.(objects(3, 50_000))).toBe(true);
    expect(await bucket.putAll?.(objects(2, 5))).toBe(true);
    expect((await listAll(bucket, 'manifests/')).map(({ size }) => size).slice(0, 3)).toEqual([5, 5, 10_000]);
  });

  test('several times at once, in several folders', async () => {
    await using folder = await temporaryFolder();
    await using one = await opened(folder.at('one'));
    await using two = await opened(folder.at('two'));
    const all = objects(200, 100);
    const parts = [all.slice(0, 70), all.slice(70, 130), all.slice(130)];
    const stored = parts.flatMap((part) => [one, two].map(async (bucket) => bucket.putAll?.(part)));
    expect(await Promise.all(stored)).toEqual(Array(6).fill(true));
    for (const bucket of [one, two]) expect(await listAll(bucket, '')).toHaveLength(200);
    // Another one still uses the thread.
    await one.close();
    expect(await two.putAll?.(parts[0] ?? [])).toBe(true);
  });

  test('are all told of when one of them cannot be, and nothing is left of it', async () => {
    await using folder = await temporaryFolder();
    await using bucket = await opened(folder.at('bucket'));
    await mkdir(folder.at('bucket/manifests/3'), { recursive: true });
    await writeFile(folder.at('bucket/manifests/3/x'), 'x');
    expect(await codeOf(bucket.putAll?.(objects(5)) ?? Promise.resolve())).toBe('already-exists');
    expect(await readdir(folder.at('bucket/unfinished~'))).toEqual([]);
    expect(await bucket.putAll?.([{ name: 'a/b', bytes: Buffer.alloc(1) }, ...objects(2)])).toBe(false);
    expect(await bucket.putAll?.([...objects(2), { name: '../x', bytes: Buffer.alloc(1) }])).toBe(false);
    const put = bucket.putAll?.(objects(2), { signal: AbortSignal.abort() });
    expect(await codeOf(put ?? Promise.resolve())).toBe('interrupted');
  });

  test('never where a symbolic link leads', async () => {
    await using folder = await temporaryFolder();
    await using bucket = await opened(folder.at('bucket'));
    await mkdir(folder.at('elsewhere'));
    await symlink(folder.at('elsewhere'), folder.at('bucket/manifests'));
    expect(await codeOf(bucket.putAll?.(objects(5)) ?? Promise.resolve())).toBe('damaged');
    expect(await readdir(folder.at('elsewhere'))).toEqual([]);
  });

  test('in the place of others, and never in that of what a symbolic link leads to', async () => {
    await using folder = await temporaryFolder();
    await using bucket = await opened(folder.at('bucket'));
    const all = objects(20);
    expect(await bucket.putAll?.(all)).toBe(true);
    const others = objects(20, 300);
    expect(await bucket.putAll?.(others, { replace: true })).toBe(true);
    for (const { name, bytes } of others)
      expect(Buffer.from(await bucket.get(name)).equals(bytes)).toBe(true);
    await writeFile(folder.at('elsewhere'), 'kept');
    await rm(folder.at('bucket/manifests/7'));
    await symlink(folder.at('elsewhere'), folder.at('bucket/manifests/7'));
    const put = bucket.putAll?.(all, { replace: true });
    expect(await codeOf(put ?? Promise.resolve())).toBe('damaged');
    expect(await readlink(folder.at('bucket/manifests/7'))).toBe(folder.at('elsewhere'));
    expect(await readFile(folder.at('elsewhere'), 'utf8')).toBe('kept');
    expect(await readdir(folder.at('bucket/unfinished~'))).toEqual([]);
  });

  test('are not stored any more once nobody wants them', async () => {
    await using folder = await temporaryFolder();
    const batches = new Batches();
    await mkdir(folder.at('unfinished'));
    await mkdir(folder.at('target'));
    const where = { unfinished: folder.at('unfinished'), target: folder.at('target') };
    const how = { ...where, atOnce: 1, replace: true };
    const end = new AbortController();
    // It has begun, and needs the threads for files for nothing but its syncs.
    await batches.store(objects(1), { ...how, target: folder.path }, undefined);
    await promisify(execFile)('mkfifo', [folder.at('pipe')]);
    // As many calls as keep all those threads waiting, so that it cannot come to its end.
    const waiting = Array.from({ length: 64 }, () => openFile(folder.at('pipe')));
    const stored = batches.store(objects(200), how, end.signal);
    await vi.waitUntil(() => readdirSync(where.unfinished).length > 0);
    end.abort();
    const other = openSync(folder.at('pipe'), 'r+');
    await expect(stored).rejects.toThrow('not wanted');
    for (const file of await Promise.all(waiting)) await file.close();
    closeSync(other);
    expect(await readdir(where.target)).toEqual([]);
    expect(await readdir(where.unfinished)).toEqual([]);
    await batches.close();
  });

  test('are stored as far as there is room', async ({ skip }) => {
    await using folder = await temporaryFolder();
    await using disk = await smallDisk(folder.at('bucket'), 256 * 1024);
    skip(disk === null, 'only root can mount a small disk');
    await using driver = await opened(folder.at('bucket'));
    expect(await codeOf(driver.putAll?.(objects(50)) ?? Promise.resolve())).toBe('storage-full');
    expect(await readdir(folder.at('bucket/unfinished~'))).toEqual([]);
    const bucket = await openBucket(`file://${folder.at('bucket')}`);
    const codes = await Promise.all(
      objects(50).map(({ name, bytes }) => codeOf(bucket.put(name, bytes, { drawn: true }))),
    );
    await bucket.close();
    const count = codes.filter((code) => code === 'success').length;
    expect(new Set(codes)).toEqual(new Set(['success', 'storage-full']));
    expect(await listAll(driver, '')).toHaveLength(count);
  });

  test('begin again when a folder is another one by then', async () => {
    await using folder = await temporaryFolder();
    const bucket = await openBucket(`file://${folder.at('bucket')}`);
    await createFolder(folder.at('bucket'));
    const all = objects(40, 100);
    const put = (some: readonly NewObject[]): Promise<string[]> =>
      Promise.all(some.map(({ name, bytes }) => codeOf(bucket.put(name, bytes, { drawn: true }))));
    await put(all.slice(0, 20));
    const next = put(all.slice(20));
    // Before any of them can be stored.
    renameSync(folder.at('bucket/manifests'), folder.at('gone'));
    expect(new Set(await next)).toEqual(new Set(['success']));
    const names = new Set((await listAll(bucket, '')).map(({ name }) => name));
    // What was there before has gone with the folder; what came after is where it should be.
    expect(all.slice(20).filter(({ name }) => !names.has(name))).toEqual([]);
    await bucket.close();
  });
});

describe('the turns of several calls at once', () => {
  test('are those that a folder may have, and others have theirs', async () => {
    threads.provide(12);
    const [one, two] = [new FolderCalls('one'), new FolderCalls('two')];
    const ends = Promise.withResolvers<void>();
    const taken: number[] = [];
    const both = [one, two].map((calls) =>
      calls.begin(undefined).runSeveral(async (atOnce) => {
        taken.push(atOnce);
        await ends.promise;
      }),
    );
    await Promise.resolve();
    expect(taken).toEqual([3, 3]);
    expect([one.inFlight, two.inFlight]).toEqual([3, 3]);
    ends.resolve();
    await Promise.all(both);
    expect([one.inFlight, two.inFlight]).toEqual([0, 0]);
  });

  test('are kept by calls that hang, and nobody waits for those', async () => {
    const calls = new FolderCalls('one');
    const limit = new AbortController();
    const hangs = Promise.withResolvers<void>();
    const operation = calls.begin(limit.signal);
    const hanging = operation.runSeveral(() => hangs.promise);
    await Promise.resolve();
    limit.abort(new VaultError('unavailable', 'The time is up.'));
    expect(() => calls.begin(undefined)).toThrow('does not answer');
    hangs.resolve();
    await hanging;
    operation.end();
    expect(calls.inFlight).toBe(0);
    calls.begin(undefined).end();
  });
});
