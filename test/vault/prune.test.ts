/** Pruning a vault: which versions go, by the catalog as far as the buckets agree. */
import { expect, test } from 'vitest';
import { memoryBucket } from '../support/memory-bucket.ts';
import type { RetentionRules } from '../../src/vault/remove/retention.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { storageError } from '../support/faulty-bucket.ts';
import type { TestVault } from './harness.ts';
import { all, putBytes, snapshotOf, testVault, twoMachines } from './harness.ts';

const DAY_MS = 86_400_000;
const START = Date.UTC(2026, 0, 1, 12);

/** A vault whose clock says what `clock.ms` says. */
async function vaultAt(clock: { ms: number }): Promise<TestVault> {
  return testVault({ now: () => clock.ms });
}

async function putNights(
  vault: Vault,
  clock: { ms: number },
  name: string,
  nights: number,
): Promise<string[]> {
  const hashes: string[] = [];
  for (let night = 0; night < nights; night += 1) {
    clock.ms += DAY_MS;
    hashes.push((await putBytes(vault, Buffer.from(`${name} ${clock.ms}`), { name })).hash);
  }
  return hashes.toReversed();
}

/** What becomes of every version, by hash. */
async function judged(
  vault: Vault,
  rules: RetentionRules,
  references?: readonly string[],
): Promise<Map<string, string>> {
  const names = await all(vault.planPrune(rules, { references }));
  return new Map(names.flat().map(({ version, reasons }) => [version.hash, reasons.join(' ')]));
}

test('each name is judged by itself, and rm takes what no rule keeps', async () => {
  const clock = { ms: START };
  await using made = await vaultAt(clock);
  const { vault } = made;
  const a = await putNights(vault, clock, 'a', 4);
  const b = await putNights(vault, clock, 'b', 2);
  const [once = ''] = await putNights(vault, clock, 'once', 1);
  const plan = await judged(vault, { last: 2 });
  expect([...a, ...b, once].map((hash) => plan.get(hash))).toEqual([
    'last',
    'last',
    '',
    '',
    'last',
    'last',
    'last',
  ]);
  expect(plan.size).toBe(7);
  const some = await judged(vault, { last: 1 }, ['b', b[1] ?? '']);
  expect([...some]).toEqual([
    [b[0], 'last'],
    [b[1], ''],
  ]);
  await expect(judged(vault, { last: 1 }, ['b', 'nobody'])).rejects.toMatchObject({ code: 'file-not-found' });
  await expect(judged(vault, {})).rejects.toMatchObject({ code: 'invalid-input' });

  await vault.remove([...plan].filter(([, reasons]) => reasons === '').map(([hash]) => hash));
  expect((await all(vault.list({ all: true }))).map(({ hash }) => hash).toSorted()).toEqual(
    [...a.slice(0, 2), ...b, once].toSorted(),
  );
  await vault.undelete([a[3] ?? '']);
  expect((await judged(vault, { last: 3 })).get(a[3] ?? '')).toBe('last');
});

test('one version from the future stays, and no rule removes the others because of it', async () => {
  const clock = { ms: START };
  await using made = await vaultAt(clock);
  const { vault } = made;
  const before = await putNights(vault, clock, 'a', 3);
  const rightMs = clock.ms;
  clock.ms += 5_000 * DAY_MS;
  const [future = ''] = await putNights(vault, clock, 'a', 1);
  clock.ms = rightMs;
  const [after = ''] = await putNights(vault, clock, 'a', 1);
  const rules = { withinMs: 2 * DAY_MS };
  const plan = await judged(vault, rules);
  expect([after, future, ...before].map((hash) => plan.get(hash))).toEqual([
    'within',
    'future',
    'within',
    '',
    '',
  ]);
});

test('where the buckets say that this clock is wrong nothing is chosen, except to be shown', async () => {
  const clock = { ms: START };
  await using made = await vaultAt(clock);
  await putNights(made.vault, clock, 'a', 2);
  for (const bucket of made.buckets) {
    bucket.wrap = () => memoryBucket(bucket.url, bucket.storage, { now: () => START - 30 * DAY_MS });
  }
  await expect(judged(made.vault, { last: 1 })).rejects.toMatchObject({
    code: 'invalid-input',
    message: expect.stringMatching(/^Nothing was removed: this machine's clock is 3\d days ahead/),
  });
  expect(await all(made.vault.planPrune({ last: 1 }, { dryRun: true }))).toHaveLength(1);
});

test('what the next sweep removes counts for nothing', async () => {
  const clock = { ms: START };
  await using made = await vaultAt(clock);
  const { vault } = made;
  const [old = ''] = await putNights(vault, clock, 'a', 1);
  const expiresAtMs = clock.ms + DAY_MS;
  const { hash } = await putBytes(vault, Buffer.from('short-lived'), { name: 'a', expiresAtMs });
  expect([...(await judged(vault, { last: 1 })).values()]).toEqual(['last', '']);
  clock.ms += 2 * DAY_MS;
  const plan = await judged(vault, { last: 1 });
  expect([plan.get(hash), plan.get(old)]).toEqual(['expired', 'last']);
});

test('versions that only an old catalog lists do not take the place of those that are there', async () => {
  const clock = { ms: START };
  await using made = await vaultAt(clock);
  const hashes = await putNights(made.vault, clock, 'a', 5);
  const { here, there } = await twoMachines(made);
  await using mine = here;
  await using other = there;
  const { vault } = await mine.open({ now: () => clock.ms });
  const { vault: elsewhere } = await other.open({ now: () => clock.ms });
  // One is removed and can come back, one has left the buckets.
  await elsewhere.remove([hashes[1] ?? '']);
  for (const { storage } of mine.buckets) storage.delete(`manifests/${hashes[0]}`);
  const plan = await judged(vault, { last: 2 });
  expect(hashes.map((hash) => plan.get(hash))).toEqual(['missing', 'missing', 'last', 'last', '']);
  // Nor do those whose manifests are damaged wherever they are.
  for (const { storage } of mine.buckets) storage.set(`manifests/${hashes[2]}`, Buffer.from('rotten'));
  const again = await judged(vault, { last: 2 });
  expect(hashes.map((hash) => again.get(hash))).toEqual(['missing', 'missing', 'missing', 'last', 'last']);
  await elsewhere.close();
  await vault.close();
});

test('nothing is chosen where buckets cannot be asked for what is to stay', async () => {
  const clock = { ms: START };
  await using made = await vaultAt(clock);
  await putNights(made.vault, clock, 'a', 2);
  await using copy = await (await snapshotOf(made)).copy();
  const { vault } = await copy.open({
    now: () => clock.ms,
    around: async (step, proceed) => {
      if (step.name.startsWith('manifests/')) throw storageError();
      await proceed();
    },
  });
  await expect(judged(vault, { last: 1 })).rejects.toMatchObject({ code: 'unavailable' });
});
