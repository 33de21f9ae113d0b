/** The marker of running puts: who shares it, when it goes, and what happens when that meets something else. */
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../support/seeded-random.ts';
import { storageError } from '../support/faulty-bucket.ts';
import { streamSource } from '../../src/vault/write/source.ts';
import { CHEAP_KDF, CHUNK_SIZE, getBytes, putBytes, snapshotOf, testVault } from './harness.ts';
import type { Handle, TestBucket } from './harness.ts';

const random = seededRandom(31);
const BODY = random.bytes(30_000);
const HOUR_MS = 3_600_000;

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
