import { Buffer } from 'node:buffer';
import { describe, expect, test } from 'vitest';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { memoryBucket } from '../support/memory-bucket.ts';
import type { MemoryStorage } from '../support/memory-bucket.ts';
import { retrying } from '../../src/buckets/layers/retry.ts';
import type { RetryingOptions, Waiting } from '../../src/buckets/layers/retry.ts';
import { timed } from '../../src/buckets/layers/timeout.ts';
import type { TimedOptions } from '../../src/buckets/layers/timeout.ts';
import { VaultError, isVaultError } from '../../src/errors.ts';
import { always, failNth, faulty, healthy, storageError } from '../support/faulty-bucket.ts';
import type { FaultPlan, FaultyBucket } from '../support/faulty-bucket.ts';
import { VirtualClock } from '../support/virtual-clock.ts';
import { bucketConformance, codeOf, listAll } from './conformance.ts';

/** The buckets' own clock, whatever time it is here. */
const { now } = Date;

/** Every third call fails before it does anything, every fourth after, listings in the middle as well. */
const flaky: FaultPlan = ({ operation, overall }) => {
  if (overall % 3 === 0) return { kind: 'fail', when: 'before', error: storageError() };
  if (overall % 4 !== 0) return null;
  if (operation === 'list') return { kind: 'cut', after: 7, error: storageError() };
  return { kind: 'fail', when: 'after', error: storageError() };
};

bucketConformance('retrying over a flaky bucket', async () => {
  const storage: MemoryStorage = new Map();
  const open = (): Bucket => {
    const clock = new VirtualClock();
    return retrying(timed(faulty(memoryBucket('memory:flaky', storage, { now }), flaky), { clock }), {
      clock,
    });
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

interface Setting {
  readonly clock: VirtualClock;
  readonly inner: FaultyBucket;
  readonly bucket: Bucket;
  readonly waits: Waiting[];
}

/** A bucket of which nothing is expected at first contact that is not expected later. */
function setUp(plan: FaultPlan = healthy, options: RetryingOptions = {}): Setting {
  const contactMs = 60_000 + (options.deadlineMs ?? 120_000);
  return setUpNew(plan, { contactMs, ...options }, { timeoutMs: 60_000 });
}

function setUpNew(plan: FaultPlan, options: RetryingOptions = {}, timing: TimedOptions = {}): Setting {
  const clock = new VirtualClock();
  const inner = faulty(memoryBucket('memory:one'), plan);
  const waits: Waiting[] = [];
  const bucket = retrying(timed(inner, { clock, ...timing }), {
    clock,
    random: () => 0.5,
    onWaiting: (waiting) => waits.push(waiting),
    ...options,
  });
  return { clock, inner, bucket, waits };
}

async function messageFrom(operation: Promise<unknown>): Promise<string> {
  return await operation.then(
    () => 'success',
    (error: unknown) => (error instanceof Error ? error.message : 'not an error'),
  );
}

const BYTES = Buffer.from('content');

describe('trying again', () => {
  test('a call that fails with unavailable is repeated until it succeeds', async () => {
    const { bucket, inner } = setUp((call) => (call.nth < 5 ? always('unavailable')(call) : null));
    await bucket.put('a', BYTES);
    expect(inner.calls.put).toBe(5);
    expect(await listAll(bucket, '')).toEqual([{ name: 'a', size: 7 }]);
  });

  test.each([
    'denied',
    'bucket-missing',
    'object-missing',
    'storage-full',
    'damaged',
    'already-exists',
    'interrupted',
  ] as const)('%s is passed on at once', async (code) => {
    const { bucket, inner, waits } = setUp(always(code));
    expect(await codeOf(bucket.put('a', BYTES))).toBe(code);
    expect(await codeOf(bucket.get('a'))).toBe(code);
    expect(await codeOf(bucket.remove('a'))).toBe(code);
    expect(await codeOf(listAll(bucket, ''))).toBe(code);
    expect(inner.calls).toEqual({ put: 1, get: 1, remove: 1, list: 1 });
    expect(waits).toEqual([]);
  });

  test('an error that is no VaultError is passed on at once', async () => {
    const { bucket, inner } = setUp(() => {
      throw new TypeError('a bug');
    });
    expect(await messageFrom(bucket.get('a'))).toBe('a bug');
    expect(inner.calls.get).toBe(1);
  });

  test('a put whose answer was lost succeeds', async () => {
    const { bucket, inner } = setUp(failNth('put', 1, { when: 'after' }));
    await bucket.put('a', BYTES);
    expect(inner.calls.put).toBe(2);
  });

  test('delays double up to the longest one, each shortened at random', async () => {
    const { bucket, waits } = setUp(always('unavailable'), { deadlineMs: 3_600_000 });
    await codeOf(bucket.get('a'));
    const delays = waits.map(({ delayMs }) => delayMs);
    expect(delays.slice(0, 10)).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
    expect(waits.slice(0, 3).map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    expect(waits[0]).toMatchObject({ label: 'memory:one', error: { code: 'unavailable' } });
  });

  test('what the service asks for is the least that is waited', async () => {
    const { bucket, waits, clock } = setUp(failNth('get', 1, { error: storageError('unavailable', 30_000) }));
    expect(await codeOf(bucket.get('a'))).toBe('object-missing');
    expect(waits.map(({ delayMs }) => delayMs)).toEqual([30_100]);
    expect(clock.now()).toBe(30_100);
  });

  test('a service that asks for more time than there is gets none', async () => {
    const { bucket, inner, clock } = setUp(
      failNth('get', 1, { error: storageError('unavailable', 3_600_000) }),
    );
    expect(await codeOf(bucket.get('a'))).toBe('unavailable');
    expect(inner.calls.get).toBe(1);
    expect(clock.now()).toBe(0);
  });

  test('the deadline ends it, with what the last attempt said', async () => {
    const { bucket, clock } = setUp(always('unavailable'), { deadlineMs: 60_000 });
    const message = await messageFrom(bucket.get('a'));
    expect(message).toMatch(/^The test says unavailable\. Tried \d+ times in \d+ s\.$/);
    expect(clock.now()).toBeLessThanOrEqual(60_000);
    expect(clock.now()).toBeGreaterThan(40_000);
  });

  test('an abort ends a wait', async () => {
    const controller = new AbortController();
    const { bucket, inner, clock } = setUp(always('unavailable'), { onWaiting: () => controller.abort() });
    expect(await codeOf(bucket.get('a', { signal: controller.signal }))).toBe('interrupted');
    expect(inner.calls.get).toBe(1);
    expect(clock.pending).toBe(0);
  });
});

describe('attempts that do not end', () => {
  test.each([true, false])(
    'are given up and repeated (the driver heeds the abort: %s)',
    async (heedsSignal) => {
      const { bucket, inner, waits, clock } = setUp(({ overall }) =>
        overall === 1 ? { kind: 'hang', heedsSignal } : null,
      );
      await bucket.put('a', BYTES);
      expect(inner.calls.put).toBe(2);
      expect(waits[0]?.error.message).toMatch(/did not answer within 60 s while storing a/);
      expect(clock.pending).toBe(0);
    },
  );

  test('have longer, the more bytes they move', async () => {
    const { bucket, waits } = setUp(({ nth }) => (nth === 1 ? { kind: 'hang', heedsSignal: true } : null));
    await bucket.put('a', new Uint8Array(1024 * 1024));
    await bucket.get('a', { maxSize: 1024 * 1024 });
    expect(waits.map(({ error }) => error.message.replace(/.*(within \d+ s) .*/, '$1'))).toEqual([
      'within 120 s',
      'within 120 s',
    ]);
  });

  test.each([true, false])(
    'end with the deadline at the latest (the driver heeds it: %s)',
    async (heedsSignal) => {
      const { bucket, clock } = setUp(() => ({ kind: 'hang', heedsSignal }), { deadlineMs: 100_000 });
      expect(await codeOf(bucket.get('a'))).toBe('unavailable');
      expect(clock.now()).toBeLessThanOrEqual(60_000 + 100_000 + 2 * 2_000);
    },
  );

  test('reject with interrupted soon after the caller’s abort, even if the driver ignores it', async () => {
    const { bucket, clock } = setUp(() => ({ kind: 'hang', heedsSignal: false }));
    const controller = new AbortController();
    const ending = codeOf(bucket.get('a', { signal: controller.signal }));
    controller.abort();
    expect(await ending).toBe('interrupted');
    expect(clock.now()).toBe(2_000);
  });

  test('may fail or succeed later, and nobody notices', async () => {
    const late = Promise.withResolvers<void>();
    const clock = new VirtualClock();
    const inner = memoryBucket('memory:late');
    let calls = 0;
    const slow: Bucket = {
      ...inner,
      async get() {
        calls += 1;
        await late.promise;
        return BYTES;
      },
    };
    const bucket = retrying(timed(slow, { clock }), { clock, deadlineMs: 10_000 });
    expect(await codeOf(bucket.get('a'))).toBe('unavailable');
    expect(calls).toBeGreaterThan(0);
    // An unhandled rejection would fail the test run.
    late.reject(new Error('too late'));
    await clock.pass(1);
  });
});

describe('a listing', () => {
  test('resumes after the last name when it fails on the way', async () => {
    const names = Array.from({ length: 50 }, (_, index) => `chunks/${index + 100}`);
    const { bucket, inner } = setUp(({ operation, nth }) =>
      operation === 'list' && nth < 5 ? { kind: 'cut', after: 11, error: storageError() } : null,
    );
    for (const name of names) await bucket.put(name, BYTES);
    expect((await listAll(bucket, 'chunks/')).map(({ name }) => name)).toEqual(names);
    expect(inner.calls.list).toBe(5);
  });

  test('starts a new deadline with every entry', async () => {
    const { bucket, inner } = setUp(
      ({ operation }) =>
        operation === 'list' ? { kind: 'cut', after: 1, error: storageError('unavailable', 8_000) } : null,
      { deadlineMs: 10_000 },
    );
    for (const name of ['a', 'b', 'c', 'd']) await bucket.put(name, BYTES);
    const seen: string[] = [];
    const reading = (async () => {
      for await (const { name } of bucket.list('')) seen.push(name);
    })();
    expect(await codeOf(reading)).toBe('unavailable');
    expect(seen).toEqual(['a', 'b', 'c', 'd']);
    expect(inner.calls.list).toBeGreaterThan(4);
  });

  test('without an end is damaged, although it breaks off now and then', async () => {
    const { bucket, inner } = setUp(
      ({ operation }) => (operation === 'list' ? { kind: 'cut', after: 2, error: storageError() } : null),
      { maxListed: 7 },
    );
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) await bucket.put(name, BYTES);
    expect(await codeOf(listAll(bucket, ''))).toBe('damaged');
    expect(inner.calls.list).toBe(4);
  });

  test('that stalls is given up and resumed', async () => {
    const { bucket, inner, waits } = setUp(({ operation, nth }) =>
      operation === 'list' && nth < 3 ? { kind: 'hang', heedsSignal: nth === 1 } : null,
    );
    await bucket.put('a', BYTES);
    expect(await listAll(bucket, '')).toEqual([{ name: 'a', size: 7 }]);
    expect(inner.calls.list).toBe(3);
    expect(waits[0]?.error.message).toMatch(/did not answer within 60 s while listing/);
  });

  test('whose reader takes its time does not time out', async () => {
    const { bucket, clock, inner } = setUp();
    for (const name of ['a', 'b', 'c']) await bucket.put(name, BYTES);
    const seen: string[] = [];
    for await (const { name } of bucket.list('')) {
      seen.push(name);
      await clock.pass(1_000_000);
    }
    expect(seen).toEqual(['a', 'b', 'c']);
    expect(inner.calls.list).toBe(1);
    expect(clock.pending).toBe(0);
  });
});

describe('a bucket that stays unavailable', () => {
  test('counts as down: it is not asked again for each call', async () => {
    const { bucket, inner, clock } = setUp(always('unavailable'));
    expect(await codeOf(bucket.get('a'))).toBe('unavailable');
    const asked = inner.calls.get;
    const elapsedMs = clock.now();
    expect(await messageFrom(bucket.get('b'))).toMatch(
      /^Counts as down, and is not asked for 300 s: The test says unavailable\.$/,
    );
    expect(await codeOf(bucket.put('b', BYTES))).toBe('unavailable');
    expect(await codeOf(bucket.remove('b'))).toBe('unavailable');
    expect(await codeOf(listAll(bucket, ''))).toBe('unavailable');
    expect(inner.log).toHaveLength(asked);
    expect(clock.now()).toBe(elapsedMs);
  });

  test('lets go of everybody who waits for it, when the first gives up', async () => {
    const { bucket, clock } = setUp(always('unavailable'), { random: Math.random });
    const first = bucket.get('a');
    const early = codeOf(first).then(() => clock.now());
    await clock.pass(100_000);
    const late = await Promise.all(
      ['b', 'c', 'd'].map(async (name) => {
        const code = await codeOf(bucket.get(name));
        return { code, atMs: clock.now() };
      }),
    );
    const endMs = await early;
    expect(late.map(({ code }) => code)).toEqual(['unavailable', 'unavailable', 'unavailable']);
    for (const { atMs } of late) expect(atMs).toBeLessThanOrEqual(endMs);
    expect(clock.pending).toBe(0);
  });

  test('is asked once after a while, by one call only, and is down again if that fails', async () => {
    const { bucket, inner, clock } = setUp(always('unavailable'), { downMs: 50_000 });
    await codeOf(bucket.get('a'));
    await clock.pass(50_001);
    const asked = inner.calls.get;
    const elapsedMs = clock.now();
    expect(await Promise.all(['b', 'c', 'd'].map(async (name) => await codeOf(bucket.get(name))))).toEqual([
      'unavailable',
      'unavailable',
      'unavailable',
    ]);
    expect(inner.calls.get).toBe(asked + 1);
    expect(clock.now()).toBe(elapsedMs);
    expect(await messageFrom(bucket.get('e'))).toMatch(/not asked for 50 s/);
  });

  test.each([
    ['succeeds', healthy],
    ['is refused', always('object-missing')],
  ])('is back as soon as the one call %s', async (_, plan) => {
    const { bucket, inner, clock } = setUp(always('unavailable'), { downMs: 50_000 });
    await codeOf(bucket.get('a'));
    await clock.pass(50_001);
    inner.follow(plan);
    await codeOf(bucket.get('a'));
    inner.follow(healthy);
    await bucket.put('a', BYTES);
    expect(Buffer.from(await bucket.get('a')).toString()).toBe('content');
  });

  test('leaves the next call free to ask when the one call is interrupted', async () => {
    const { bucket, inner, clock } = setUp(always('unavailable'), { downMs: 50_000 });
    await codeOf(bucket.get('a'));
    await clock.pass(50_001);
    inner.follow(() => ({ kind: 'hang', heedsSignal: true }));
    const controller = new AbortController();
    const ending = codeOf(bucket.get('a', { signal: controller.signal }));
    controller.abort();
    expect(await ending).toBe('interrupted');
    inner.follow(healthy);
    await bucket.put('a', BYTES);
    expect(inner.calls.put).toBe(1);
  });

  test('does not count as down when it answers others meanwhile', async () => {
    const { bucket, clock } = setUp(({ name }) =>
      name === 'bad' ? { kind: 'fail', when: 'before', error: storageError() } : null,
    );
    const bad = codeOf(bucket.put('bad', BYTES));
    await clock.pass(10_000);
    await bucket.put('good', BYTES);
    expect(await bad).toBe('unavailable');
    await bucket.put('better', BYTES);
    expect((await listAll(bucket, '')).map(({ name }) => name)).toEqual(['better', 'good']);
  });

  test('keeps the first error as the cause', async () => {
    const error = storageError();
    const { bucket } = setUp(() => ({ kind: 'fail', when: 'before', error }));
    const caught: unknown = await bucket.get('a').catch((reason: unknown) => reason);
    expect(isVaultError(caught, 'unavailable')).toBe(true);
    expect(caught).toMatchObject({ cause: error });
    const next: unknown = await bucket.get('a').catch((reason: unknown) => reason);
    expect(next).toMatchObject({ cause: error });
  });
});

/** A bucket that is not there, until it is. */
const unreachable: FaultPlan = () => ({
  kind: 'fail',
  when: 'before',
  error: new VaultError('unavailable', 'Nothing listens there.', { unreachable: true }),
});
const hanging: FaultPlan = () => ({ kind: 'hang', heedsSignal: true });

describe('first contact', () => {
  test('with a bucket that is not there fails within seconds, and it counts as down', async () => {
    const { bucket, inner, clock, waits } = setUpNew(unreachable);
    const message = await messageFrom(bucket.get('a'));
    expect(message).toMatch(/^Nothing listens there\. Tried \d times in \d s\.$/);
    expect(clock.now()).toBeLessThanOrEqual(5_000);
    expect(waits).toEqual([]);
    const asked = inner.log.length;
    expect(await codeOf(bucket.put('a', BYTES))).toBe('unavailable');
    expect(inner.log).toHaveLength(asked);
  });

  test('with a bucket that is silent is given up after one attempt of 15 s, by all calls', async () => {
    const { bucket, inner, clock } = setUpNew(hanging);
    const calls = ['a', 'b', 'c'].map(async (name) => await codeOf(bucket.get(name)));
    expect(await Promise.all([...calls, codeOf(listAll(bucket, ''))])).toEqual(Array(4).fill('unavailable'));
    expect(clock.now()).toBe(15_000);
    expect(inner.log).toHaveLength(4);
    expect(await codeOf(bucket.put('a', BYTES))).toBe('unavailable');
    expect(clock.now()).toBe(15_000);
  });

  test('succeeds if the bucket comes up at once', async () => {
    const { bucket, inner } = setUpNew((call) => (call.overall < 3 ? unreachable(call) : null));
    await bucket.put('a', BYTES);
    expect(inner.calls.put).toBe(3);
  });

  test.each([
    ['an object', async (bucket: Bucket) => await bucket.put('a', BYTES)],
    ['a refusal', async (bucket: Bucket) => await codeOf(bucket.get('absent'))],
  ])('once made, by %s, has the bucket waited for as long as any', async (_, contact) => {
    const { bucket, inner, clock } = setUpNew(healthy);
    await contact(bucket);
    inner.follow(unreachable);
    expect(await codeOf(bucket.get('a'))).toBe('unavailable');
    expect(clock.now()).toBeGreaterThan(90_000);
  });

  test('once made, gives an attempt 60 s', async () => {
    const { bucket, inner, waits } = setUpNew(healthy);
    await bucket.put('a', BYTES);
    inner.follow(hanging);
    expect(await codeOf(bucket.remove('a'))).toBe('unavailable');
    expect(waits[0]?.error.message).toMatch(/did not answer within 60 s/);
  });

  test('is made by a bucket that says that it is busy', async () => {
    const { bucket, clock } = setUpNew((call) =>
      call.nth === 1 ? always('unavailable')(call) : unreachable(call),
    );
    expect(await codeOf(bucket.get('a'))).toBe('unavailable');
    expect(clock.now()).toBeGreaterThan(90_000);
  });

  test('made while another call waits gives that one its time as well', async () => {
    const { bucket, clock } = setUpNew(
      ({ name }) => (name === 'slow' ? { kind: 'hang', heedsSignal: true } : null),
      {},
      {},
    );
    const slow = codeOf(bucket.get('slow'));
    await clock.pass(10_000);
    await bucket.put('a', BYTES);
    await clock.pass(10_000);
    expect(clock.now()).toBe(20_000);
    expect(await slow).toBe('unavailable');
    expect(clock.now()).toBeGreaterThan(60_000);
  });

  test('has as long as was asked for', async () => {
    const { bucket, clock } = setUpNew(unreachable, { contactMs: 600_000 });
    expect(await codeOf(bucket.get('a'))).toBe('unavailable');
    expect(clock.now()).toBeGreaterThan(500_000);
    const patient = setUpNew(hanging, {}, { timeoutMs: 40_000 });
    expect(await codeOf(patient.bucket.get('a'))).toBe('unavailable');
    expect(patient.clock.now()).toBe(40_000);
  });
});
