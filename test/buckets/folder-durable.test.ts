import { Buffer } from 'node:buffer';
import { mkdir, writeFile } from 'node:fs/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Bucket, NewObject } from '../../src/buckets/bucket.ts';
import { createFolder, openFolderBucket } from '../../src/buckets/folder/driver.ts';
import type * as Batches from '../../src/buckets/folder/batch.ts';
import type * as Asked from '../../src/concurrency/asked-thread.ts';
import { undoneByPowerCut } from '../support/file-calls.ts';
import type * as FileCalls from '../support/file-calls.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const calls = vi.hoisted((): FileCalls.FileCall[] => []);
vi.mock(import('node:fs'), async (original) => {
  const { recordingFs } = await vi.importActual<typeof FileCalls>('../support/file-calls.ts');
  const real = await original();
  const recorded = recordingFs(real, calls);
  return { ...recorded, default: recorded };
});

// In this thread, whose calls are written down.
vi.mock(import('../../src/concurrency/asked-thread.ts'), async () => {
  const { storeBatch } = await vi.importActual<typeof Batches>('../../src/buckets/folder/batch.ts');
  const AskedThread = class {
    readonly waiting = 0;
    readonly ask = storeBatch;
    async end(): Promise<void> {}
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- all of it that a folder uses
  return { AskedThread } as unknown as typeof Asked;
});

const CONTENT = Buffer.from('content');

/** An unfinished file is garbage whether its entry is still there or not. */
function isOurs(path: string): boolean {
  return !path.includes('/unfinished~');
}

/** What the calls of an operation would leave to chance, and which of its syncs could be left out unnoticed. */
async function judge(operation: () => Promise<void>): Promise<{ undone: string[]; needless: string[] }> {
  calls.length = 0;
  await operation();
  const done = calls.slice();
  const needless = done.filter(
    ({ call }, index) => call === 'fsync' && undoneByPowerCut(done.toSpliced(index, 1), isOurs).length === 0,
  );
  return { undone: undoneByPowerCut(done, isOurs), needless: needless.map(({ path }) => path) };
}

afterEach(() => {
  calls.length = 0;
});

describe('after a power cut', () => {
  test.each([
    ['a put', 'object', { replace: false }],
    ['a put with replace', 'object', { replace: true }],
    ['a put under a drawn name', 'object', { drawn: true }],
    ['a put under a drawn name into folders that are new', 'a/b/object', { drawn: true }],
    ['a put into a folder that is new', 'chunks/object', { replace: false }],
    ['a put with replace into a folder that is new', 'chunks/object', { replace: true }],
    ['a put into folders that are new', 'a/b/c/object', { replace: false }],
  ])('%s is still there, and no sync is made for nothing', async (_, name, call) => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, { label: 'file:///one' });
    const put = async (): Promise<void> => await bucket.put(name, CONTENT, call);
    const first = await judge(put);
    expect(first.undone).toEqual([]);
    expect(calls.some((done) => done.call === 'fsync')).toBe(true);
    // The folder of unfinished files is synced with the root, which has nothing else that is new.
    expect(first.needless.filter((path) => path !== folder.path)).toEqual([]);
    const second = await judge(async () => await bucket.put(`${name}.next`, CONTENT, call));
    expect(second).toEqual({ undone: [], needless: [] });
    const third = await judge(async () => await bucket.put(`${name}.next`, CONTENT, { replace: true }));
    expect(third).toEqual({ undone: [], needless: [] });
  });

  test.each(['manifests', 'a/b'])('many that were put together in %s are still there', async (at) => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, { label: 'file:///one' });
    const named = (turn: string): NewObject[] =>
      Array.from({ length: 5 }, (_, i) => ({ name: `${at}/${turn}${i}`, bytes: CONTENT }));
    const putAll = async (turn: string): Promise<void> => {
      expect(await bucket.putAll?.(named(turn))).toBe(true);
    };
    const first = await judge(async () => await putAll('first'));
    expect(first.undone).toEqual([]);
    expect(first.needless.filter((path) => path !== folder.path)).toEqual([]);
    expect(await judge(async () => await putAll('next'))).toEqual({ undone: [], needless: [] });
    expect(calls.filter(({ call }) => call === 'fsync')).toHaveLength(6);
    await bucket.close();
  });

  test('a removal is not undone', async () => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, { label: 'file:///one' });
    await bucket.put('chunks/object', CONTENT);
    const removal = await judge(async () => await bucket.remove('chunks/object'));
    expect(calls.map(({ call }) => call)).toContain('unlink');
    expect(removal).toEqual({ undone: [], needless: [] });
  });

  test('a removal that finds nothing is not undone either: another may have been cut short', async () => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, { label: 'file:///one' });
    await bucket.put('chunks/object', CONTENT);
    await bucket.remove('chunks/object');
    calls.length = 0;
    await bucket.remove('chunks/object');
    expect(calls.filter(({ call }) => call === 'fsync').map(({ path }) => path)).toEqual([
      folder.at('chunks'),
    ]);
  });

  test('an object that was there before is as durable as a new one', async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at('a/b'), { recursive: true });
    await writeFile(folder.at('a/b/object'), CONTENT);
    const bucket: Bucket = openFolderBucket(folder.path, { label: 'file:///one' });
    calls.length = 0;
    await bucket.put('a/b/object', CONTENT);
    const synced = new Set(calls.filter(({ call }) => call === 'fsync').map(({ path }) => path));
    // The file, its entry, and the folders on the way, which another process may have made a moment ago.
    for (const path of ['a/b/object', 'a/b', 'a', ''])
      expect(synced).toContain(folder.at(path).replace(/\/$/, ''));
  });

  test('a put under a drawn name is renamed, which is all that it does with names', async () => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, { label: 'file:///one' });
    await bucket.put('chunks/first', CONTENT);
    calls.length = 0;
    // Also when it is repeated: the first answer may have been lost.
    for (const _ of [1, 2]) await bucket.put('chunks/drawn', CONTENT, { drawn: true });
    expect(calls.map(({ call }) => call)).toEqual([
      'open',
      'write',
      'fsync',
      'rename',
      'fsync',
      'open',
      'write',
      'fsync',
      'rename',
      'fsync',
    ]);
    expect(Buffer.from(await bucket.get('chunks/drawn'))).toEqual(CONTENT);
  });

  test('puts at once share syncs, each begun after what it is for', async () => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, { label: 'file:///one' });
    await bucket.put('chunks/first', CONTENT);
    calls.length = 0;
    const names = Array.from({ length: 20 }, (_, index) => `chunks/${index}`);
    await Promise.all(
      names.map(async (name) => {
        await bucket.put(name, CONTENT);
        const undone = undoneByPowerCut(calls, (path) => path === folder.at(name));
        expect(undone.filter((fault) => fault.includes(folder.at(name)))).toEqual([]);
      }),
    );
  });

  test('the folders of a bucket that was made are still there', async () => {
    await using folder = await temporaryFolder();
    const making = await judge(async () => await createFolder(folder.at('a/b/bucket')));
    expect(calls.filter(({ call }) => call === 'mkdir')).toHaveLength(3);
    expect(making).toEqual({ undone: [], needless: [] });
  });
});
