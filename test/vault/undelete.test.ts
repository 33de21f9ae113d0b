/** Bringing files back: only what is there, by more than the word of as many buckets as may be lost. */
import { expect, test } from 'vitest';
import { parseShardObjectName } from '../../src/format/shard.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { getBytes, putBytes, snapshotOf, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';
import { lie } from './lying-bucket.ts';

const BODY = seededRandom(97).bytes(30_000);
const DAY_MS = 86_400_000;

async function removed(
  options: Parameters<typeof testVault>[0] = {},
): Promise<{ made: TestVault; hash: string }> {
  const made = await testVault(options);
  const { hash } = await putBytes(made.vault, BODY, { name: 'a' });
  await made.vault.remove([hash], {});
  await made.session.guard.end();
  return { made, hash };
}

const shardsOf = (storage: ReadonlyMap<string, unknown>): string[] =>
  [...storage.keys()].filter((name) => name.startsWith('chunks/'));

test('a file of which one bucket alone shows anything is gone, whatever that bucket shows', async () => {
  const { made, hash } = await removed();
  await using _ = made;
  const chunks = new Set(
    made.buckets.flatMap(({ storage }) =>
      shardsOf(storage).map((name) => parseShardObjectName(name)?.chunkId ?? ''),
    ),
  );
  for (const { storage } of made.buckets) for (const name of shardsOf(storage)) storage.delete(name);
  const [liar] = made.buckets;
  if (liar === undefined) throw new RangeError('There are three.');
  lie(liar, chunks);
  await expect(made.vault.undelete([hash])).rejects.toMatchObject({ code: 'file-not-found' });
  expect(await made.vault.verify({ depth: 'listing' })).toMatchObject({ files: { whole: 0 } });
});

test('a verify by listings does not call it whole', async () => {
  await using made = await testVault();
  await putBytes(made.vault, BODY, { name: 'a' });
  await made.session.guard.end();
  const chunks = new Set(
    made.buckets.flatMap(({ storage }) =>
      shardsOf(storage).map((name) => parseShardObjectName(name)?.chunkId ?? ''),
    ),
  );
  for (const { storage } of made.buckets) for (const name of shardsOf(storage)) storage.delete(name);
  const [liar] = made.buckets;
  if (liar === undefined) throw new RangeError('There are three.');
  lie(liar, chunks);
  expect((await made.vault.verify({ depth: 'listing' })).outcome).not.toBe('whole');
});

test('a file of which the only copy that is left is right comes back', async () => {
  const { made, hash } = await removed({ buckets: 2, redundancy: { k: 1, m: 1 } });
  await using _ = made;
  const storage = made.buckets[0]?.storage ?? new Map<string, Uint8Array>();
  for (const name of shardsOf(storage)) storage.delete(name);
  expect(await made.vault.undelete([hash])).toMatchObject({ restored: [{ hash }] });
  expect((await getBytes(made.vault, hash)).equals(BODY)).toBe(true);
});

test('a file that a sweep has spared can be brought back again when its list has gone, and is told so', async () => {
  let nowMs = Date.UTC(2030, 0, 1);
  await using made = await testVault({ now: () => nowMs });
  const { hash } = await putBytes(made.vault, BODY, { name: 'a' });
  await made.vault.remove([hash], {});
  await made.session.guard.end();
  await using copy = await (await snapshotOf(made)).copy();
  const now = (): number => nowMs;
  const other = await copy.open({ now });
  let undeleted: Promise<unknown> | null = null;
  const undelete = async (): Promise<void> => {
    await other.vault.undelete([hash]);
    await other.session.guard.end();
  };
  const { vault } = await copy.open({
    now,
    around: async (step, proceed) => {
      // Before the list stands: the sweep looks again, and spares all of it.
      if (step.call === 'put' && step.name.startsWith('sweep/')) await (undeleted ??= undelete());
      await proceed();
    },
  });
  await vault.sweep({ ignoreGrace: true, waitMs: 0 });
  expect(undeleted).not.toBeNull();
  expect((await getBytes(vault, hash)).equals(BODY)).toBe(true);
  await vault.remove([hash], {});
  await expect(vault.undelete([hash])).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('is on the list of a sweep'),
  });
  nowMs += 3 * DAY_MS + 1;
  await vault.sweep({ waitMs: 0 });
  expect(await vault.undelete([hash])).toMatchObject({ restored: [{ hash }] });
  expect((await getBytes(vault, hash)).equals(BODY)).toBe(true);
});
