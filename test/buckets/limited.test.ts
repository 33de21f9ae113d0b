import { Buffer } from 'node:buffer';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { createLimits, limited } from '../../src/buckets/layers/limits.ts';
import { Gate } from '../../src/concurrency/semaphore.ts';
import { memoryBucket } from '../support/memory-bucket.ts';
import type { MemoryStorage } from '../support/memory-bucket.ts';
import { faulty, storageError } from '../support/faulty-bucket.ts';
import { VirtualClock } from '../support/virtual-clock.ts';
import { bucketConformance, codeOf, listAll } from './conformance.ts';

/** The buckets' own clock, whatever time it is here. */
const { now } = Date;

bucketConformance('limited over memory', async () => {
  const storage: MemoryStorage = new Map();
  const open = (): Bucket => {
    const limits = createLimits({
      concurrency: 2,
      uploadBytesPerSecond: 1_000_000,
      downloadBytesPerSecond: 1_000_000,
      clock: new VirtualClock(),
    });
    return limited(memoryBucket('memory:limited', storage, { now }), limits);
  };
  return {
    bucket: open(),
    reopen: async () => open(),
    openMissing: null,
    cleanUp: async () => {
      storage.clear();
    },
  };
});

/** A bucket whose gets and puts take a second each, and how many were under way at most. */
function slowBucket(clock: VirtualClock, usage: { now: number; most: number }): Bucket {
  const inner = memoryBucket('memory:slow');
  const slowly = async <T>(run: () => Promise<T>): Promise<T> => {
    usage.now += 1;
    usage.most = Math.max(usage.most, usage.now);
    try {
      await clock.pass(1_000);
      return await run();
    } finally {
      usage.now -= 1;
    }
  };
  return {
    ...inner,
    put: async (name, bytes, call) => await slowly(async () => await inner.put(name, bytes, call)),
    get: async (name, call) => await slowly(async () => await inner.get(name, call)),
    remove: async (name, call) => await slowly(async () => await inner.remove(name, call)),
  };
}

describe('concurrency', () => {
  test('is shared by all buckets with the same limits', async () => {
    const clock = new VirtualClock();
    const usage = { now: 0, most: 0 };
    const limits = createLimits({
      concurrency: 3,
      uploadBytesPerSecond: null,
      downloadBytesPerSecond: null,
      clock,
    });
    const buckets = [slowBucket(clock, usage), slowBucket(clock, usage)].map((slow) => limited(slow, limits));
    await Promise.all(
      buckets.flatMap((bucket) =>
        Array.from({ length: 6 }, async (_, index) => await bucket.put(`${index}`, Buffer.from('content'))),
      ),
    );
    expect(usage.most).toBe(3);
    expect(clock.now()).toBe(4_000);
  });

  test('a request that failed gives its turn to the next', async () => {
    const limits = createLimits({ concurrency: 1, uploadBytesPerSecond: null, downloadBytesPerSecond: null });
    const bucket = limited(
      faulty(memoryBucket('memory:one'), ({ operation, nth }) =>
        operation === 'put' && nth % 2 === 1
          ? { kind: 'fail', when: 'before', error: storageError('denied') }
          : null,
      ),
      limits,
    );
    const names = Array.from({ length: 10 }, (_, index) => `${index}`);
    const endings = await Promise.all(
      names.map(async (name) => await codeOf(bucket.put(name, Buffer.from('x')))),
    );
    expect(endings.filter((ending) => ending === 'denied')).toHaveLength(5);
    expect(await listAll(bucket, '')).toHaveLength(5);
  });

  test('a listing does not keep its reader from removing what it lists', async () => {
    const limits = createLimits({ concurrency: 1, uploadBytesPerSecond: null, downloadBytesPerSecond: null });
    const bucket = limited(memoryBucket('memory:one'), limits);
    for (const name of ['a', 'b', 'c']) await bucket.put(name, Buffer.from('x'));
    for await (const { name } of bucket.list('')) await bucket.remove(name);
    expect(await listAll(bucket, '')).toEqual([]);
  });
});

describe('a gate', () => {
  test('lets those who wait pass in their order', async () => {
    const gate = new Gate(1);
    const order: number[] = [];
    await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        await gate.pass(undefined, async () => {
          order.push(index);
          await Promise.resolve();
        });
      }),
    );
    expect(order).toEqual(Array.from({ length: 20 }, (_, index) => index));
  });

  test('lets exactly its width pass at once, whoever comes late, gives up or fails', async () => {
    const request = fc.record({
      comesAtMs: fc.nat(20),
      takesMs: fc.nat(9),
      abortAtMs: fc.option(fc.nat(30)),
      fails: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5 }),
        fc.array(request, { maxLength: 25 }),
        async (width, requests) => {
          const clock = new VirtualClock();
          const gate = new Gate(width);
          let running = 0;
          let most = 0;
          const pass = async (takesMs: number, signal?: AbortSignal): Promise<void> => {
            await gate.pass(signal, async () => {
              running += 1;
              most = Math.max(most, running);
              await clock.pass(takesMs);
              running -= 1;
            });
          };
          await Promise.all(
            requests.map(async ({ comesAtMs, takesMs, abortAtMs, fails }) => {
              const controller = new AbortController();
              if (abortAtMs !== null) clock.schedule(abortAtMs, () => controller.abort());
              await clock.pass(comesAtMs);
              await codeOf(pass(takesMs, controller.signal));
              if (fails) await codeOf(gate.pass(undefined, () => Promise.reject(storageError('denied'))));
            }),
          );
          expect(running).toBe(0);
          expect(most).toBeLessThanOrEqual(width);
          // Afterwards all places are free, and no more than there were.
          most = 0;
          await Promise.all(Array.from({ length: width + 3 }, async () => await pass(1)));
          expect(most).toBe(width);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('forgets a request that was aborted while it waited', async () => {
    const clock = new VirtualClock();
    const gate = new Gate(1);
    const controller = new AbortController();
    const first = gate.pass(undefined, async () => await clock.pass(1_000));
    let ran = false;
    const second = codeOf(
      gate.pass(controller.signal, async () => {
        ran = true;
      }),
    );
    const third = gate.pass(undefined, async () => await clock.pass(1_000));
    controller.abort();
    expect(await second).toBe('interrupted');
    await Promise.all([first, third]);
    expect(ran).toBe(false);
    expect(clock.now()).toBe(2_000);
  });
});

/** Two buckets that share rates. */
function limitedTo(rates: { upload?: number; download?: number }, clock: VirtualClock): [Bucket, Bucket] {
  const limits = createLimits({
    concurrency: 8,
    uploadBytesPerSecond: rates.upload ?? null,
    downloadBytesPerSecond: rates.download ?? null,
    clock,
  });
  return [limited(memoryBucket('memory:one'), limits), limited(memoryBucket('memory:other'), limits)];
}

describe('rates', () => {
  test('uploads to all buckets together take as long as their bytes need', async () => {
    const clock = new VirtualClock();
    const buckets = limitedTo({ upload: 1_000 }, clock);
    await Promise.all(
      buckets.flatMap((bucket) =>
        Array.from({ length: 10 }, async (_, index) => await bucket.put(`${index}`, new Uint8Array(500))),
      ),
    );
    // The last begins when the 19 before it are paid for.
    expect(clock.now()).toBe(9_500);
  });

  test('a first upload does not wait, however large it is, and the next one waits for it', async () => {
    const clock = new VirtualClock();
    const [bucket] = limitedTo({ upload: 1_000 }, clock);
    await bucket.put('a', new Uint8Array(60_000));
    expect(clock.now()).toBe(0);
    await bucket.put('b', new Uint8Array(1));
    expect(clock.now()).toBe(60_000);
  });

  test('an idle line saves nothing up', async () => {
    const clock = new VirtualClock();
    const [bucket] = limitedTo({ upload: 1_000 }, clock);
    await bucket.put('a', new Uint8Array(1_000));
    await clock.pass(100_000);
    await bucket.put('b', new Uint8Array(1_000));
    await bucket.put('c', new Uint8Array(1_000));
    expect(clock.now()).toBe(101_000);
  });

  test('downloads of sizes that nobody knows beforehand keep to the rate', async () => {
    const clock = new VirtualClock();
    const [bucket] = limitedTo({ download: 1_000 }, clock);
    const sizes = [500, 3_000, 20, 700, 1_500, 10, 10, 4_000, 260];
    for (const [index, size] of sizes.entries()) await bucket.put(`${index}`, new Uint8Array(size));
    for (const index of sizes.keys()) await bucket.get(`${index}`);
    await bucket.get('0');
    expect(clock.now()).toBe(10_000);
  });

  test('downloads that begin together keep to the rate, also after small ones', async () => {
    const clock = new VirtualClock();
    const buckets = limitedTo({ download: 1_000 }, clock);
    for (const bucket of buckets) {
      await bucket.put('small', new Uint8Array(10));
      await bucket.put('large', new Uint8Array(50_000));
    }
    await buckets[0].get('small');
    await Promise.all([...buckets, ...buckets].map(async (bucket) => bucket.get('large')));
    // The last begins when those before it are paid for.
    expect(clock.now()).toBe(150_010);
  });

  test('what tells whether a bucket is there does not wait', async () => {
    const clock = new VirtualClock();
    const [bucket] = limitedTo({ download: 1_000 }, clock);
    await bucket.put('a', new Uint8Array(1_000));
    await bucket.get('a');
    await bucket.get('a', { maxSize: 1_000 });
    expect(clock.now()).toBe(0);
    await bucket.get('a');
    expect(clock.now()).toBe(2_000);
  });

  test('a download that fails costs nothing', async () => {
    const clock = new VirtualClock();
    const [bucket] = limitedTo({ download: 1_000 }, clock);
    await bucket.put('a', new Uint8Array(1_000));
    await bucket.get('a');
    for (let count = 0; count < 5; count += 1) await codeOf(bucket.get('none'));
    await bucket.get('a');
    expect(clock.now()).toBe(1_000);
  });

  test('an upload that is aborted while it waits gives back what it took', async () => {
    const clock = new VirtualClock();
    const [bucket] = limitedTo({ upload: 1_000 }, clock);
    await bucket.put('a', new Uint8Array(1_000));
    const controller = new AbortController();
    const ending = codeOf(bucket.put('b', new Uint8Array(100_000), { signal: controller.signal }));
    controller.abort();
    expect(await ending).toBe('interrupted');
    await bucket.put('c', new Uint8Array(1_000));
    expect(clock.now()).toBe(1_000);
  });
});
