import { Buffer } from 'node:buffer';
import { mkdir } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { openFolderBucket } from '../../src/buckets/folder/driver.ts';
import { timed } from '../../src/buckets/layers/timeout.ts';
import { VaultError } from '../../src/errors.ts';
import type * as FileCalls from '../support/file-calls.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { VirtualClock } from '../support/virtual-clock.ts';
import { codeOf, listAll } from './conformance.ts';
import { manyObjects, whileAway } from './folder-away.ts';

/** Folders that do not answer, and their calls that have not come back. */
const disks = vi.hoisted(() => ({
  hanging: new Set<string>(),
  out: new Map<string, (() => void)[]>(),
  most: 0,
}));

// On a disk of this machine some calls are made at once, and are none of these.
vi.mock(import('../../src/disk/local.ts'), () => ({ isLocal: () => Promise.resolve(false) }));

vi.mock(import('node:fs'), async (original) => {
  const { plain } = await vi.importActual<typeof FileCalls>('../support/file-calls.ts');
  const real = await original();
  const paths = new Map<number, string>();
  const names = [
    'open',
    'stat',
    'lstat',
    'fstat',
    'fsync',
    'read',
    'write',
    'readdir',
    'close',
    'link',
    'unlink',
  ] as const;
  let inFlight = 0;
  const wrapped = names.map((name) => {
    const call = real[name];
    const hanging = (...args: readonly unknown[]): void => {
      const [first] = args;
      const path = typeof first === 'number' ? (paths.get(first) ?? '') : plain(first);
      const callback = args.at(-1);
      if (typeof callback !== 'function') return;
      inFlight += 1;
      disks.most = Math.max(disks.most, inFlight);
      const answer = (error: Error | null, ...results: readonly unknown[]): void => {
        inFlight -= 1;
        if (error === null && name === 'open' && typeof results[0] === 'number') paths.set(results[0], path);
        Reflect.apply(callback, null, [error, ...results]);
      };
      const run = (): void => void Reflect.apply(call, real, [...args.slice(0, -1), answer]);
      const disk = [...disks.hanging].find((root) => `${path}/`.startsWith(`${root}/`));
      if (disk === undefined) return run();
      disks.out.set(disk, [...(disks.out.get(disk) ?? []), run]);
    };
    return [name, Object.defineProperties(hanging, Object.getOwnPropertyDescriptors(call))] as const;
  });
  const fs = { ...real, ...Object.fromEntries(wrapped) };
  return { ...fs, default: fs };
});

const CONTENT = Buffer.from('content');

function out(path: string): number {
  return disks.out.get(path)?.length ?? 0;
}

/** The disk answers again. */
function comeBack(path: string): void {
  disks.hanging.delete(path);
  for (const run of disks.out.get(path) ?? []) run();
  disks.out.delete(path);
}

afterEach(() => {
  for (const path of disks.out.keys()) comeBack(path);
  disks.hanging.clear();
});

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await nextTurn();
}

describe('a folder that hangs', () => {
  test.each([
    { fileThreads: 12, hanging: 6, least: 3, most: 11 },
    // Node's own number, also for the tests after it.
    { fileThreads: 4, hanging: 2, least: 3, most: 3 },
  ])('leaves most of $fileThreads threads to others, however many operations there are', async (threads) => {
    const { fileThreads, hanging, least, most } = threads;
    await using folder = await temporaryFolder();
    const names = ['one', 'two', 'three', 'four'];
    for (const name of names) await mkdir(folder.at(name));
    const buckets = names.map((name) => openFolderBucket(folder.at(name), { label: name, fileThreads }));
    disks.most = 0;
    for (const name of names.slice(0, 2)) disks.hanging.add(folder.at(name));
    const ends = new AbortController();
    const asked = buckets.slice(0, 2).flatMap((bucket) =>
      Array.from({ length: 20 }, async (_, index) => {
        await codeOf(bucket.put(`chunks/${index}`, CONTENT, { signal: ends.signal }));
        await codeOf(bucket.get(`chunks/${index}`, { signal: ends.signal }));
        await codeOf(listAll(bucket, '', { signal: ends.signal }));
      }),
    );
    // The others go on, with whatever is asked of them.
    for (const bucket of buckets.slice(2)) {
      await Promise.all(Array.from({ length: 20 }, (_, index) => bucket.put(`chunks/${index}`, CONTENT)));
      expect(await listAll(bucket, '')).toHaveLength(20);
      expect(Buffer.from(await bucket.get('chunks/7'))).toEqual(CONTENT);
    }
    expect(out(folder.at('one')) + out(folder.at('two'))).toBe(hanging);
    expect(disks.most).toBeGreaterThanOrEqual(least);
    expect(disks.most).toBeLessThanOrEqual(most);
    ends.abort();
    for (const name of names) comeBack(folder.at(name));
    await Promise.all(asked);
  });

  test('has its share of the threads, whatever folders were in use before', async () => {
    await using folder = await temporaryFolder();
    for (const label of ['one', 'two', 'three', 'four']) {
      await mkdir(folder.at(label));
      const bucket = openFolderBucket(folder.at(label), { label, fileThreads: 4 });
      await bucket.put('object', CONTENT);
      if (label !== 'four') continue;
      disks.hanging.add(folder.at(label));
      const asked = Array.from({ length: 5 }, () => bucket.get('object'));
      await until(() => out(folder.at(label)) >= 2);
      expect(out(folder.at(label))).toBe(2);
      comeBack(folder.at(label));
      await Promise.all(asked);
    }
  });

  test('may yet answer others when the user has given up a call of theirs', async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at('bucket'));
    const bucket = openFolderBucket(folder.at('bucket'), { label: 'file:///bucket' });
    await bucket.put('object', CONTENT);
    for (const reason of [new VaultError('interrupted', 'Ctrl-C'), new Error('given up')]) {
      disks.hanging.add(folder.at('bucket'));
      const user = new AbortController();
      const given = codeOf(bucket.get('object', { signal: user.signal }));
      await until(() => out(folder.at('bucket')) > 0);
      user.abort(reason);
      let answer: unknown = null;
      const other = codeOf(bucket.get('object')).then((code) => (answer = code));
      for (let turn = 0; turn < 20; turn += 1) await nextTurn();
      expect(answer).toBe(null);
      comeBack(folder.at('bucket'));
      expect(await given).toBe('interrupted');
      expect(await other).toBe('success');
    }
  });

  test.each(['put', 'get', 'remove', 'list'] as const)(
    'ends a %s when its time is up, and is unavailable at once until it answers again',
    async (first) => {
      await using folder = await temporaryFolder();
      await mkdir(folder.at('bucket'));
      const clock = new VirtualClock();
      const driver = openFolderBucket(folder.at('bucket'), { label: 'file:///bucket' });
      const bucket = timed(driver, { timeoutMs: 5_000, clock });
      await driver.put('chunks/object', CONTENT);
      const operations: Record<typeof first, (on: Bucket) => Promise<unknown>> = {
        put: (on) => on.put('chunks/next', CONTENT),
        get: (on) => on.get('chunks/object'),
        remove: (on) => on.remove('chunks/none'),
        list: (on) => listAll(on, ''),
      };
      disks.hanging.add(folder.at('bucket'));
      const ending = codeOf(operations[first](bucket));
      // Its clock jumps, since nothing else is left to do.
      expect(await ending).toBe('unavailable');
      // No clock moves here: nobody waits.
      for (const operation of Object.values(operations)) {
        expect(await codeOf(operation(driver))).toBe('unavailable');
      }
      expect(out(folder.at('bucket'))).toBeLessThanOrEqual(2);
      comeBack(folder.at('bucket'));
      await until(() => disks.out.size === 0);
      let found: unknown = null;
      while (!(found instanceof Uint8Array)) {
        await nextTurn();
        found = await driver.get('chunks/object').catch((error: unknown) => error);
      }
      expect(Buffer.from(found)).toEqual(CONTENT);
      expect((await listAll(driver, 'chunks/')).length).toBeGreaterThan(0);
    },
  );

  test('fails at once whoever waits behind a call that hangs', async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at('bucket'));
    const bucket = openFolderBucket(folder.at('bucket'), { label: 'file:///bucket' });
    await bucket.put('object', CONTENT);
    disks.hanging.add(folder.at('bucket'));
    const limit = new AbortController();
    const first = codeOf(bucket.get('object', { signal: limit.signal }));
    const refusals: unknown[] = [];
    const others = Array.from({ length: 10 }, () => {
      const other = bucket.get('object');
      other.catch((error: unknown) => refusals.push(error));
      return codeOf(other);
    });
    await until(() => out(folder.at('bucket')) > 0);
    limit.abort(new VaultError('unavailable', 'The time is up.'));
    // All but the one whose own call is out, and cannot be ended.
    expect(await Promise.race(others)).toBe('unavailable');
    // That it hangs is no answer, for which it would be tried again and again.
    expect(refusals[0]).toMatchObject({ unreachable: true });
    comeBack(folder.at('bucket'));
    expect(['interrupted', 'unavailable']).toContain(await first);
    expect((await Promise.all(others)).filter((code) => code === 'unavailable').length).toBeGreaterThan(7);
  });
});

test('a folder has all its objects still when it was away for a moment, whatever was asked for meanwhile', async () => {
  await using folder = await temporaryFolder();
  const bucket = openFolderBucket(folder.at('bucket'), { label: 'file:///away' });
  const names = await manyObjects(folder, CONTENT);
  const during = async <T>(ask: () => Promise<T>): Promise<T> => whileAway(folder, ask);
  await bucket.get('chunks/000');
  expect(await during(() => codeOf(bucket.get('chunks/000')))).toBe('success');
  const listing = bucket.list('chunks/')[Symbol.asyncIterator]();
  // It asks for the sizes of the next entries while the first are taken.
  await listing.next();
  let listed = 1;
  for (let next = await during(() => listing.next()); next.done !== true; next = await listing.next())
    listed++;
  expect(listed).toBe(names.length);
  expect(await during(() => codeOf(bucket.remove('chunks/000')))).toBe('success');
  expect((await listAll(bucket, 'chunks/'))[0]?.name).toBe('chunks/001');
});
