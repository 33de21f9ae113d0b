/** Records of removal that meet others on their way. */
import { expect, test } from 'vitest';
import { putBytes, snapshotOf, testVault } from './harness.ts';

test.each([
  ['lacks the one before', false],
  ['has an older one', true],
])('a repair leaves the record that somebody writes meanwhile, in a bucket that %s', async (_, older) => {
  await using made = await testVault();
  const { hash } = await putBytes(made.vault, Buffer.from('hello'), { name: 'a' });
  const name = `deleted/${hash}`;
  const [first] = made.buckets;
  await made.vault.remove([hash], {});
  const old = first?.storage.get(name);
  await made.vault.undelete([hash]);
  if (older && old !== undefined) first?.storage.set(name, old);
  else first?.storage.delete(name);
  await made.session.guard.end();
  await using copy = await (await snapshotOf(made)).copy();
  const other = await copy.open();
  let removed: Promise<unknown> | null = null;
  const { vault } = await copy.open({
    around: async (step, proceed) => {
      try {
        await proceed();
      } finally {
        // The repair has asked the bucket, and is about to store what it lacks.
        if (step.where === 'memory:1' && step.call === 'get' && step.name === name) asked += 1;
        if (asked === (older ? 2 : 1)) await (removed ??= other.vault.remove([hash], {}));
      }
    },
  });
  let asked = 0;
  await vault.repair();
  expect(removed).not.toBeNull();
  const records = copy.buckets.map(({ storage }) => Buffer.from(storage.get(name) ?? []).toString());
  for (const record of records) expect(record).toContain('"live":false');
});
