/** The marker of running puts: who shares it, when it goes, and what happens when that meets something else. */
import { expect, test } from 'vitest';
import { seededRandom } from '../support/seeded-random.ts';
import { storageError } from '../support/faulty-bucket.ts';
import { streamSource } from '../../src/vault/write/source.ts';
import { CHUNK_SIZE, getBytes, putBytes, snapshotOf, testVault } from './harness.ts';

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
