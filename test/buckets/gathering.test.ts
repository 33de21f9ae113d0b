import { Buffer } from 'node:buffer';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { Bucket, NewObject, RemoveCall } from '../../src/buckets/bucket.ts';
import { gathering } from '../../src/buckets/layers/gathering.ts';
import { createLimits, limited } from '../../src/buckets/layers/limits.ts';
import { retrying } from '../../src/buckets/layers/retry.ts';
import { timed } from '../../src/buckets/layers/timeout.ts';
import { VaultError } from '../../src/errors.ts';
import { storageError } from '../support/faulty-bucket.ts';
import { memoryBucket } from '../support/memory-bucket.ts';
import { VirtualClock } from '../support/virtual-clock.ts';
import { codeOf, listAll } from './conformance.ts';

const LIMITS = createLimits({ concurrency: 1, uploadBytesPerSecond: null, downloadBytesPerSecond: null });

type PutAll = NonNullable<Bucket['putAll']>;

/** A bucket that can store many at once, and what it was asked to store: together, or each on its own. */
function setUp(putAll?: PutAll) {
  const inner = memoryBucket('memory:many');
  const together: string[][] = [];
  const alone: string[] = [];
  const storeAll: PutAll = async (all, call) => {
    together.push(all.map(({ name }) => name));
    if (putAll !== undefined) return await putAll(all, call);
    for (const { name, bytes } of all) await inner.put(name, bytes);
    call?.onDate?.(42);
    return true;
  };
  const driver: Bucket = {
    ...inner,
    put: async (name, bytes, call) => {
      alone.push(name);
      await inner.put(name, bytes, call);
    },
    putAll: storeAll,
  };
  return { driver, inner, bucket: gathering(driver), together, alone };
}

function objects(count: number, folder = 'manifests', size = 100): NewObject[] {
  return Array.from({ length: count }, (_, i) => ({ name: `${folder}/${i}`, bytes: Buffer.alloc(size, i) }));
}

async function putEach(
  bucket: Bucket,
  all: readonly NewObject[],
  call: Parameters<Bucket['put']>[2] = {},
): Promise<string[]> {
  return Promise.all(all.map(({ name, bytes }) => codeOf(bucket.put(name, bytes, { drawn: true, ...call }))));
}

describe('small objects that are stored at once', () => {
  test('go together, those of each folder, and so many at most', async () => {
    const { bucket, inner, together, alone } = setUp();
    const dates: number[] = [];
    const all = [...objects(100), ...objects(20, 'deleted')];
    const codes = await putEach(bucket, all, { onDate: (date) => dates.push(date) });
    expect(new Set(codes)).toEqual(new Set(['success']));
    expect(together.map((names) => names.length)).toEqual([64, 36, 20]);
    expect(alone).toEqual([]);
    expect(dates).toHaveLength(120);
    expect(await listAll(inner, '')).toHaveLength(120);
    expect(Buffer.from(await bucket.get('manifests/7'))).toEqual(Buffer.alloc(100, 7));
  });

  test.each([
    ['few', objects(7), {}],
    ['large', objects(10, 'chunks', 64 * 1024 + 1), {}],
    ['under names that may be taken', objects(10), { drawn: false }],
    ['to be locked', objects(10), { retainUntilMs: 1 }],
  ])('go alone when they are %s', async (_, all, call) => {
    const { bucket, together, alone } = setUp();
    await putEach(bucket, all, call);
    expect(together).toEqual([]);
    expect(alone).toHaveLength(all.length);
  });

  test('go together when they replace others, apart from those that do not', async () => {
    const { bucket, inner, together, alone } = setUp(async (all, call = {}) => {
      for (const { name, bytes } of all) await inner.put(name, bytes, { replace: call.replace });
      return true;
    });
    await putEach(bucket, objects(10));
    const others = objects(10).map(({ name }) => ({ name, bytes: Buffer.from('other') }));
    const replaced = putEach(bucket, others, { drawn: false, replace: true });
    const kept = putEach(bucket, objects(10, 'manifests', 99));
    expect(await replaced).toEqual(Array(10).fill('success'));
    // They are other bytes under names that are taken.
    expect(await kept).toEqual(Array(10).fill('already-exists'));
    expect(together.map((names) => names.length)).toEqual([10, 10, 10]);
    expect(alone).toHaveLength(10);
    expect(Buffer.from(await bucket.get('manifests/7')).toString()).toBe('other');
  });

  test('go alone where that is not slower', async () => {
    const { bucket, inner, alone } = setUp(async () => false);
    expect(await putEach(bucket, objects(10))).toEqual(Array(10).fill('success'));
    expect(alone).toHaveLength(10);
    expect(await listAll(inner, '')).toHaveLength(10);
  });

  test('fail each on its own, and only those that fail', async () => {
    const { driver } = setUp(async () => {
      throw storageError('storage-full');
    });
    const bucket = gathering({
      ...driver,
      put: async (name, bytes, call) => {
        if (name.endsWith('3')) throw storageError('denied');
        await driver.put(name, bytes, call);
      },
    });
    const codes = await putEach(bucket, objects(10));
    expect(codes.map((code, i) => [i, code]).filter(([, code]) => code !== 'success')).toEqual([
      [3, 'denied'],
    ]);
  });

  test('and a bug is told of as it is', async () => {
    const { bucket, alone } = setUp(async () => {
      throw new RangeError('A bug.');
    });
    const [first] = objects(1);
    const others = putEach(bucket, objects(10)).catch((error: unknown) => error);
    await expect(bucket.put(first?.name ?? '', Buffer.alloc(1), { drawn: true })).rejects.toThrow('A bug.');
    await others;
    expect(alone).toEqual([]);
  });

  test('are stored though one is not wanted any more, and given up when none is', async () => {
    const asked: (AbortSignal | undefined)[] = [];
    const finish: (() => void)[] = [];
    const { bucket, inner } = setUp(async (all, { signal } = {}) => {
      asked.push(signal);
      await new Promise<void>((resolve, reject) => {
        finish.push(resolve);
        signal?.addEventListener('abort', () => reject(new VaultError('interrupted', 'Ended.')));
      });
      for (const { name, bytes } of all) await inner.put(name, bytes);
      return true;
    });
    const under = (signals: readonly AbortController[]): Promise<string[]> =>
      Promise.all(
        objects(10).map(({ name, bytes }, i) =>
          codeOf(bucket.put(name, bytes, { drawn: true, signal: signals[i % signals.length]?.signal })),
        ),
      );
    const ends = [new AbortController(), new AbortController()];
    const first = under(ends);
    await nextTurn();
    await nextTurn();
    ends[0]?.abort();
    expect(asked[0]?.aborted).toBe(false);
    finish[0]?.();
    expect(await first).toEqual(Array(10).fill('success'));
    const again = [new AbortController(), new AbortController()];
    const second = under(again);
    await nextTurn();
    await nextTurn();
    for (const end of again) end.abort();
    expect(asked[1]?.aborted).toBe(true);
    expect(await second).toEqual(Array(10).fill('interrupted'));
  });

  test('are one request, with the time and the bandwidth of all their bytes', async () => {
    const clock = new VirtualClock();
    const { driver, together } = setUp();
    const limits = createLimits({
      concurrency: 1,
      uploadBytesPerSecond: 1_000,
      downloadBytesPerSecond: null,
      clock,
    });
    const bucket = gathering(limited(timed(driver, { clock }), limits));
    await putEach(bucket, objects(10));
    expect(together).toHaveLength(1);
    await bucket.put('next', Buffer.alloc(1));
    expect(clock.monotonic()).toBeGreaterThanOrEqual(1_000);
    const silent = setUp(() => new Promise(() => undefined));
    const slow = gathering(timed({ ...silent.driver, put: async () => undefined }, { clock }));
    expect(await putEach(slow, objects(10))).toEqual(Array(10).fill('success'));
  });
});

/** A bucket with many, and how they were removed. */
async function filled(removeAll?: NonNullable<Bucket['removeAll']>, count = 250) {
  const inner = memoryBucket('memory:many');
  const names = objects(count, 'chunks').map(({ name }) => name);
  for (const name of names) await inner.put(name, Buffer.alloc(1));
  const together: { readonly count: number; readonly unlessRetained: boolean | undefined }[] = [];
  const alone: string[] = [];
  const driver: Bucket = {
    ...inner,
    remove: async (name, call) => {
      alone.push(name);
      await inner.remove(name, call);
    },
    removeAll: async (all, call) => {
      together.push({ count: all.length, unlessRetained: call?.unlessRetained });
      if (removeAll !== undefined) return await removeAll(all, call);
      for (const name of all) await inner.remove(name);
      return new Set(all);
    },
  };
  const left = async (): Promise<number> => (await listAll(inner, '')).length;
  return { driver, names, together, alone, left };
}

function removeEach(bucket: Bucket, names: readonly string[], call?: RemoveCall): Promise<string[]> {
  return Promise.all(names.map((name) => codeOf(bucket.remove(name, call))));
}

describe('objects that are removed at once', () => {
  test('go together, those that stay where they are kept and the others, and so many at most', async () => {
    const { driver, names, together, alone, left } = await filled();
    const bucket = retrying(gathering(limited(timed(driver), LIMITS)));
    const codes = await Promise.all([
      removeEach(bucket, names.slice(0, 210), { unlessRetained: true }),
      removeEach(bucket, names.slice(210)),
    ]);
    expect(new Set(codes.flat())).toEqual(new Set(['success']));
    expect(together.toSorted((a, b) => b.count - a.count)).toEqual([
      ...[100, 100].map((count) => ({ count, unlessRetained: true })),
      { count: 40, unlessRetained: false },
      { count: 10, unlessRetained: true },
    ]);
    expect(alone).toEqual([]);
    expect(await left()).toBe(0);
  });

  test('go alone when they are few, or where they cannot go together', async () => {
    const few = await filled(undefined, 7);
    await removeEach(gathering(few.driver), few.names);
    expect([few.together, few.alone.length]).toEqual([[], 7]);
    const refusing = await filled(async () => new Set(), 20);
    await removeEach(gathering(refusing.driver), refusing.names);
    expect([refusing.alone.length, await refusing.left()]).toEqual([20, 0]);
  });

  test('fail each on its own, and only those that fail', async () => {
    const { driver, names } = await filled(async (all) => new Set(all.slice(3)), 20);
    const bucket = gathering({
      ...driver,
      remove: async (name) => {
        if (name === names[1]) throw storageError('retained');
      },
    });
    const codes = await removeEach(bucket, names);
    expect(codes.flatMap((code, i) => (code === 'success' ? [] : [[i, code]]))).toEqual([[1, 'retained']]);
    const down = await filled(() => Promise.reject(storageError('unavailable')), 20);
    expect(new Set(await removeEach(gathering(down.driver), down.names))).toEqual(new Set(['success']));
    expect(down.alone).toHaveLength(20);
  });

  test('and a silent request for all ends, after which each is asked for on its own', async () => {
    const clock = new VirtualClock();
    const { driver, names, alone } = await filled(() => new Promise(() => undefined), 20);
    const bucket = gathering(timed(driver, { clock }));
    expect(new Set(await removeEach(bucket, names))).toEqual(new Set(['success']));
    expect(alone).toHaveLength(20);
  });
});

test('a bucket that cannot store many at once is left as it is', () => {
  const bucket: Bucket = { ...memoryBucket('memory:plain'), putAll: undefined };
  expect(gathering(bucket)).toBe(bucket);
});
