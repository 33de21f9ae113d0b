import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { isVaultError } from '../../src/errors.ts';
import type { FileSource } from '../../src/vault/write/file-source.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { bytesSource, CHEAP_KDF, getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

const random = seededRandom(71);

/** Has what the threads are asked to seal counted. */
function countSealed({ session }: TestVault): number[] {
  const counts: number[] = [];
  const { workers } = session;
  const seal = workers.manifests.bind(workers);
  workers.manifests = (sealing, all) => {
    counts.push(all.length);
    return seal(sealing, all);
  };
  return counts;
}

/** A file of these bytes. */
function sourceOf(bytes: Uint8Array, mode: number): FileSource {
  const source = bytesSource(bytes);
  return { ...source, open: async (signal) => ({ ...(await source.open(signal)), mode }) };
}

describe('manifests of small files that are put at once', () => {
  test.each([0, 1])('are sealed together, with %i threads, and read as all others', async (threads) => {
    await using made = await testVault();
    if (threads > 0) made.session.workers.warm(threads, 'seal', Infinity);
    const counts = countSealed(made);
    const bodies = Array.from({ length: 40 }, (_, i) => random.bytes(i * 300));
    const put = await Promise.all(bodies.map((body, i) => putBytes(made.vault, body, { name: `file ${i}` })));
    expect(counts.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(20);
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(8);
    expect(new Set(put.map(({ hash }) => hash)).size).toBe(40);
    for (const [i, body] of bodies.entries())
      expect((await getBytes(made.vault, put[i]?.hash ?? '')).equals(body)).toBe(true);
  });

  test('fail alone where one cannot be sealed', async () => {
    await using made = await testVault();
    const counts = countSealed(made);
    const put = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) =>
        made.vault.put(sourceOf(random.bytes(100), i === 7 ? 0o17777 : 0o644), { name: `file ${i}` }),
      ),
    );
    expect(counts.length).toBeGreaterThan(0);
    const failed = put.flatMap((one, i) => (one.status === 'rejected' ? [{ i, reason: one.reason }] : []));
    expect(failed.map(({ i }) => i)).toEqual([7]);
    expect(isVaultError(failed[0]?.reason, 'invalid-input')).toBe(true);
  });

  test('are sealed at once when there are few, or when they are locked', async () => {
    await using made = await testVault();
    const counts = countSealed(made);
    await Promise.all([1, 2, 3].map((i) => putBytes(made.vault, random.bytes(9), { name: `few ${i}` })));
    await delay(0);
    const lock = { password: 'a', cost: CHEAP_KDF };
    await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        putBytes(made.vault, random.bytes(9), { name: `locked ${i}`, lock }),
      ),
    );
    expect(counts).toEqual([]);
  });
});
