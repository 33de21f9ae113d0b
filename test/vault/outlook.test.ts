/** What would be lost with which buckets, and the nights that were missed. */
import { randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { expect, it } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import { bytesSource, testVault } from './harness.ts';

const DAY = 86_400_000;
/** Noon, so that no night is counted twice where clocks are turned. */
const NOON = new Date(2026, 6, 28, 12).getTime();

it('counts for each bucket and each pair exactly what could not be read without them', async () => {
  await using made = await testVault({ buckets: 4, redundancy: { k: 2, m: 1 }, now: () => NOON });
  const { vault, buckets } = made;
  const hashes: string[] = [];
  for (const size of [20, 20, 150_000, 150_000, 150_000])
    hashes.push((await vault.put(bytesSource(randomBytes(size)), { name: `file ${hashes.length}` })).hash);
  // Some lie less safely than others.
  for (const { storage } of buckets.slice(1)) storage.delete(`manifests/${hashes[0]}`);
  for (const { storage } of buckets.slice(2)) storage.delete(`manifests/${hashes[2]}`);
  const { losses, versions } = await vault.outlook();
  expect([versions, losses.length]).toEqual([5, 10]);
  const urls = new Map(vault.buckets.map(({ id, url }) => [id, url]));
  const found = new Set<number>();
  for (const loss of losses) {
    const lost = loss.buckets.map((id) => urls.get(id));
    const whole = buckets.map(({ wrap }) => wrap);
    for (const bucket of buckets) {
      if (lost.includes(bucket.url)) {
        bucket.wrap = (inner) => ({
          ...inner,
          get: () => Promise.reject(new VaultError('object-missing', 'Gone.')),
        });
      }
    }
    let gone = 0;
    for await (const { hash } of vault.list()) {
      const read = async (): Promise<unknown> => buffer((await vault.get(hash)).content());
      await read().catch(() => (gone += 1));
    }
    for (const [at, bucket] of buckets.entries()) bucket.wrap = whole[at] ?? bucket.wrap;
    expect([loss.buckets.length, lost, gone]).toEqual([loss.buckets.length, lost, loss.versions]);
    found.add(loss.versions);
  }
  expect(found.size).toBeGreaterThan(2);
  expect(losses[0]?.versions).toBe(1);
});

it('shows a name that is stored every night, the nights it was not, and no other name', async () => {
  let nowMs = NOON;
  await using made = await testVault({ now: () => nowMs });
  const put = async (daysAgo: number, name: string): Promise<string> => {
    nowMs = NOON - daysAgo * DAY;
    return (await made.vault.put(bytesSource(randomBytes(10)), { name })).hash;
  };
  const nightly = [12, 11, 9, 8, 5, 4, 3, 2, 1];
  for (const daysAgo of nightly) await put(daysAgo, 'nightly');
  for (const daysAgo of [20, 9, 1]) await put(daysAgo, 'now and then');
  const removed = await put(40, 'nightly');
  const hash = await put(0, 'today');
  nowMs = NOON;
  await made.vault.remove([removed, hash]);
  const { days, nightly: found } = await made.vault.outlook();
  const at = Array.from({ length: 14 }, (_, index) => 13 - index);
  expect(found).toEqual([
    {
      name: 'nightly',
      nights: at.map((daysAgo) => (daysAgo > 12 || daysAgo === 0 ? null : nightly.includes(daysAgo))),
    },
  ]);
  expect(days).toHaveLength(28);
  expect(days.at(-1)).toEqual({ day: '2026-07-28', versions: 1 });
  expect(
    days.filter(({ versions }) => versions > 0).map(({ day, versions }) => [day.slice(5), versions]),
  ).toEqual([
    ['07-08', 1],
    ['07-16', 1],
    ['07-17', 1],
    ['07-19', 2],
    ['07-20', 1],
    ['07-23', 1],
    ['07-24', 1],
    ['07-25', 1],
    ['07-26', 1],
    ['07-27', 2],
    ['07-28', 1],
  ]);
});
