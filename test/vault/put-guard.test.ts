/** The marker of running puts: who shares it, when it goes, and what happens when that meets something else. */
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../support/seeded-random.ts';
import { storageError } from '../support/faulty-bucket.ts';
import type { Around, Step } from '../support/steps.ts';
import type { Guarded } from '../../src/vault/protocol/guarded.ts';
import { streamSource } from '../../src/vault/write/source.ts';
import { CHEAP_KDF, CHUNK_SIZE, getBytes, putBytes, snapshotOf, testVault } from './harness.ts';
import type { Handle, TestBucket } from './harness.ts';

const random = seededRandom(31);
const BODY = random.bytes(30_000);
const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;

const markersIn = (storage: ReadonlyMap<string, unknown>): string[] =>
  [...storage.keys()].filter((name) => name.startsWith('puts/'));

test('who comes while a marker is taken away gets one of its own', async () => {
  await using made = await testVault();
  const { guard } = made.session;
  await guard.run(() => Promise.resolve());
  const ending = guard.end();
  await guard.run(async () => {
    await ending;
    for (const { storage } of made.buckets) expect(markersIn(storage)).toHaveLength(1);
  });
  await guard.end();
  for (const { storage } of made.buckets) expect(markersIn(storage)).toEqual([]);
});

test('of two puts that begin together, one is interrupted and the other is not', async () => {
  await using made = await testVault();
  await using copy = await (await snapshotOf(made)).copy();
  const abort = new AbortController();
  const { vault } = await copy.open({
    around: async (step, proceed) => {
      // The marker is being written, for both.
      if (step.name.startsWith('puts/') && !abort.signal.aborted) abort.abort();
      await proceed();
    },
  });
  const first = putBytes(vault, BODY, { name: 'a', signal: abort.signal });
  const second = putBytes(vault, random.bytes(40_000), { name: 'b' });
  await expect(first).rejects.toMatchObject({ code: 'interrupted' });
  await expect(second).resolves.toMatchObject({ name: 'b' });
  await vault.close();
  for (const { storage } of copy.buckets) expect(markersIn(storage)).toEqual([]);
});

/** What is told of a bucket's call: it goes on when the test says so, whatever is aborted meanwhile. */
function holding(isHeld: (step: Step) => boolean): {
  readonly around: Around;
  readonly reached: Promise<void>;
  readonly release: () => void;
} {
  const [reached, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let held = false;
  const around: Around = async (step, proceed) => {
    if (!held && isHeld(step)) {
      held = true;
      reached.resolve();
      await released.promise;
    }
    await proceed();
  };
  return { around, reached: reached.promise, release: () => released.resolve() };
}

describe('who comes while what the only put before has begun is being stopped', () => {
  test.each(['put', 'remove'])(
    'gets a marker of its own, also if its %s takes long, and none is left',
    async (call) => {
      await using made = await testVault();
      await using copy = await (await snapshotOf(made)).copy();
      const abort = new AbortController();
      const held = holding((step) => step.call === call && step.name.startsWith('puts/'));
      const { session } = await copy.open({
        around: async (step, proceed) => {
          if (call === 'remove' && step.name === 'sweep/') abort.abort();
          await held.around(step, proceed);
        },
      });
      const first = session.guard.run(() => Promise.resolve(), abort.signal);
      const told = Promise.allSettled([first]);
      await held.reached;
      abort.abort();
      expect(await told).toMatchObject([{ reason: { code: 'interrupted' } }]);
      expect(await session.guard.run((guarded) => Promise.resolve(guarded.failed))).toEqual([]);
      const ended = session.guard.end();
      held.release();
      await ended;
      for (const { storage } of copy.buckets) expect(markersIn(storage)).toEqual([]);
    },
  );

  test('also while its marker is renewed', async () => {
    await using made = await testVault();
    await using copy = await (await snapshotOf(made)).copy();
    let nowMs = Date.now();
    let isDue = false;
    const held = holding((step) => isDue && step.call === 'put' && step.name.startsWith('puts/'));
    const { session } = await copy.open({ now: () => nowMs, around: held.around });
    const abort = new AbortController();
    const first = session.guard.run(async (guarded) => {
      nowMs += 5 * HOUR_MS;
      isDue = true;
      await guarded.keep(abort.signal);
    }, abort.signal);
    const told = Promise.allSettled([first]);
    await held.reached;
    abort.abort();
    expect(await told).toMatchObject([{ reason: { code: 'interrupted' } }]);
    await session.guard.run(async (guarded) => {
      await guarded.keep();
      nowMs += 5 * HOUR_MS;
      await guarded.keep();
    });
    const ended = session.guard.end();
    held.release();
    await ended;
    for (const { storage } of copy.buckets) expect(markersIn(storage)).toEqual([]);
  });
});

test('a put that is interrupted while its marker is written leaves none', async () => {
  await using made = await testVault();
  await using copy = await (await snapshotOf(made)).copy();
  const abort = new AbortController();
  const { vault } = await copy.open({
    around: async (step, proceed) => {
      if (step.call === 'list' && step.name === 'sweep/') abort.abort();
      await proceed();
    },
  });
  await expect(putBytes(vault, BODY, { name: 'a', signal: abort.signal })).rejects.toMatchObject({
    code: 'interrupted',
  });
  await vault.close();
  for (const { storage } of copy.buckets) expect(markersIn(storage)).toEqual([]);
});

test('a put whose lists of removal no bucket shows leaves no marker', async () => {
  await using made = await testVault();
  await using copy = await (await snapshotOf(made)).copy();
  const { vault } = await copy.open({
    around: async (step, proceed) => {
      if (step.call === 'list' && step.name === 'sweep/') throw storageError();
      await proceed();
    },
  });
  await expect(putBytes(vault, BODY, { name: 'a' })).rejects.toMatchObject({ code: 'unavailable' });
  for (const { storage } of copy.buckets) expect(markersIn(storage)).toEqual([]);
});

test('what cannot be read twice can be put after the machine has slept, whatever marker stood', async () => {
  await using made = await testVault();
  await using copy = await (await snapshotOf(made)).copy();
  let nowMs = Date.now();
  const { vault } = await copy.open({ now: () => nowMs });
  await putBytes(vault, BODY, { name: 'a' });
  nowMs += 30 * HOUR_MS;
  const bytes = random.bytes(2 * CHUNK_SIZE);
  const source = streamSource(
    (async function* () {
      yield bytes;
    })(),
    'stdin',
  );
  await vault.put(source, { name: 'b', chunkSize: CHUNK_SIZE });
  expect((await getBytes(vault, 'b')).equals(bytes)).toBe(true);
});

/** A vault over a snapshot whose first manifest arrives a day late: its put sleeps in that very request, and a sweep has been. */
async function sleepsWithManifest(nowMs: { value: number }): Promise<{
  readonly handle: Handle;
  readonly sweeper: Handle;
  readonly end: () => Promise<void>;
}> {
  const made = await testVault();
  const copy = await (await snapshotOf(made)).copy();
  const now = (): number => nowMs.value;
  const sweeper = await copy.open({ now });
  let slept: Promise<void> | null = null;
  const sleep = async (): Promise<void> => {
    nowMs.value += 25 * HOUR_MS;
    for (let sweeps = 0; sweeps < 2; sweeps += 1) await sweeper.vault.sweep({ waitMs: 0 });
    expect(objectsIn(copy.buckets, 'chunks/')).toEqual([]);
  };
  const handle = await copy.open({
    now,
    around: async (step, proceed) => {
      // Every bucket's request, as one machine sleeps.
      if (step.call === 'put' && step.name.startsWith('manifests/')) await (slept ??= sleep());
      await proceed();
    },
  });
  const end = async (): Promise<void> => {
    await handle.session.guard.end();
    await copy[Symbol.asyncDispose]();
    await made[Symbol.asyncDispose]();
  };
  return { handle, sweeper, end };
}

const objectsIn = (buckets: readonly TestBucket[], prefix: string): string[] =>
  buckets.flatMap(({ storage }) => [...storage.keys()].filter((name) => name.startsWith(prefix)));

describe('a put that sleeps for a day in the request that stores its manifest, while its shards are swept,', () => {
  const lock = { password: 'lock', cost: CHEAP_KDF };
  test.each([
    ['', {}],
    [', locked', { lock }],
  ])('confirms everything anew, and nothing that is listed is lost%s', async (_, options) => {
    const nowMs = { value: Date.UTC(2030, 0, 1) };
    const { handle, sweeper, end } = await sleepsWithManifest(nowMs);
    const { hash } = await putBytes(handle.vault, BODY, { name: 'a', ...options });
    await handle.session.guard.end();
    nowMs.value += 25 * HOUR_MS;
    await sweeper.vault.sweep({ waitMs: 0 });
    expect(await sweeper.vault.verify({ depth: 'data' })).toMatchObject({ outcome: 'whole' });
    const file = await sweeper.vault.get(hash, { lockPassword: () => Promise.resolve('lock') });
    const runs = await Array.fromAsync(file.content(), (run) => Buffer.from(run));
    expect(Buffer.concat(runs).equals(BODY)).toBe(true);
    await end();
  });

  test('says what may be left of it if its source cannot be read again', async () => {
    const { handle, end } = await sleepsWithManifest({ value: Date.UTC(2030, 0, 1) });
    const source = streamSource(
      (async function* () {
        yield BODY;
      })(),
      'stdin',
    );
    await expect(handle.vault.put(source, { name: 'a', chunkSize: CHUNK_SIZE })).rejects.toMatchObject({
      code: 'stale',
      message: expect.stringContaining('"a" is not stored. Put it again.'),
    });
    await end();
  });
});

test('a clock that is set back while a marker is renewed makes the new one no older than the old one', async () => {
  await using made = await testVault();
  await using copy = await (await snapshotOf(made)).copy();
  const beganAtMs = Date.UTC(2030, 0, 1);
  let nowMs = beganAtMs;
  const { session } = await copy.open({
    now: () => nowMs,
    around: async (step, proceed) => {
      if (nowMs > beganAtMs && step.name.startsWith('keyring/')) nowMs = beganAtMs - 48 * HOUR_MS;
      await proceed();
    },
  });
  await session.guard.run(async (guarded) => {
    const [before = ''] = objectsIn(copy.buckets, 'puts/');
    nowMs += 5 * HOUR_MS;
    await guarded.keep();
    const after = objectsIn(copy.buckets, 'puts/');
    expect(nowMs).toBeLessThan(beganAtMs);
    expect(after).toHaveLength(3);
    for (const name of after) expect(name.slice(0, 19) >= before.slice(0, 19)).toBe(true);
  });
  await session.guard.end();
});

test('a bucket that stored the marker and did not say so has none left, either', async () => {
  await using made = await testVault();
  await using copy = await (await snapshotOf(made)).copy();
  let nowMs = Date.now();
  const { session } = await copy.open({
    now: () => nowMs,
    around: async (step, proceed) => {
      await proceed();
      const isLost =
        step.call === 'put' && step.name.startsWith('puts/') && step.where === made.buckets[0]?.url;
      if (isLost) throw storageError();
    },
  });
  await session.guard.run(async (guarded) => {
    expect(guarded.failed).toHaveLength(1);
    nowMs += 5 * HOUR_MS;
    await guarded.keep();
    expect(objectsIn(copy.buckets, 'puts/')).toHaveLength(3);
  });
  await session.guard.end();
  expect(objectsIn(copy.buckets, 'puts/')).toEqual([]);
});

/** A guard that is never idle, over a bucket some of whose calls fail until `mend`. */
async function withBucketAway<T>(
  fails: (step: Step) => boolean,
  work: (p: {
    readonly guarded: Guarded;
    readonly markers: () => number;
    readonly mend: () => void;
    readonly pass: (ms: number) => Promise<void>;
    readonly handle: Handle;
  }) => Promise<T>,
): Promise<T> {
  await using made = await testVault();
  await using copy = await (await snapshotOf(made)).copy();
  let nowMs = Date.now();
  let away = true;
  const handle = await copy.open({
    now: () => nowMs,
    around: async (step, proceed) => {
      if (away && step.where === made.buckets[0]?.url && fails(step)) throw storageError();
      await proceed();
    },
  });
  const { guard } = handle.session;
  const markers = (): number =>
    handle.steps.log.filter(({ call, name }) => call === 'put' && name.startsWith('puts/')).length;
  return await guard.run(async (guarded) => {
    // What nobody waits for has its turns.
    const pass = async (ms: number): Promise<void> => {
      nowMs += ms;
      await guarded.keep();
      await new Promise((resolve) => setTimeout(resolve, 50));
      await guarded.keep();
    };
    return work({ guarded, markers, mend: () => (away = false), pass, handle });
  });
}

describe('under a marker that many share, a bucket that could not be used', () => {
  test('is used a minute after it answers again, also by who comes then', async () => {
    await withBucketAway(
      () => true,
      async ({ guarded, markers, mend, pass, handle }) => {
        expect([guarded.failed.length, guarded.targets.length, markers()]).toEqual([1, 2, 2]);
        await pass(2 * MINUTE_MS);
        // While it is away nothing is begun.
        expect(markers()).toBe(2);
        mend();
        await pass(30_000);
        expect(guarded.targets).toHaveLength(2);
        await pass(MINUTE_MS);
        await handle.session.guard.run(async ({ failed, targets }) => {
          expect([failed.length, targets.length]).toEqual([0, 3]);
        });
      },
    );
  });

  test('counts again with what it lists', async () => {
    await withBucketAway(
      ({ call, name }) => call === 'list' && name === 'chunks/',
      async ({ guarded, mend, pass }) => {
        await guarded.presence.sets('0'.repeat(64));
        expect(guarded.presence.failures).toHaveLength(1);
        mend();
        await pass(2 * MINUTE_MS);
        expect(guarded.presence.failures).toEqual([]);
      },
    );
  });

  test('and takes no marker though it answers, is tried less and less often', async () => {
    await withBucketAway(
      ({ call, name }) => call === 'put' && name.startsWith('puts/'),
      async ({ guarded, markers, pass }) => {
        const counts: number[] = [];
        for (let minute = 0; minute < 32; minute += 1) {
          await pass(MINUTE_MS);
          counts.push(markers());
        }
        expect(guarded.failed).toHaveLength(1);
        expect(new Set(counts).size).toBeGreaterThan(3);
        expect(new Set(counts).size).toBeLessThan(8);
      },
    );
  });
});
