import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { storageError } from '../support/faulty-bucket.ts';
import { discrepancies, putBytes, snapshotOf, testVault } from './harness.ts';

test.each(['bucket-missing', 'denied'] as const)(
  'a shard that a bucket took before it said %s, which ended the attempts, leaves nothing behind',
  async (code) => {
    await using made = await testVault({ buckets: 4, redundancy: { k: 2, m: 1 } });
    await using copy = await (await snapshotOf(made)).copy();
    const { vault, catalog } = await copy.open({
      around: async (step, proceed) => {
        await proceed();
        // What an earlier attempt has stored, the last one says nothing of.
        if (step.where === 'memory:1' && step.call === 'put') throw storageError(code);
      },
    });
    for (let i = 0; i < 4; i += 1) await putBytes(vault, randomBytes(300_000), { name: `file ${i}` });
    const [first] = copy.buckets;
    expect([...(first?.storage.keys() ?? [])].filter((name) => name.startsWith('chunks/'))).not.toEqual([]);
    expect(await vault.sweep()).toMatchObject({ strays: 0, objectsOwed: 0 });
    expect(await discrepancies(catalog, copy.buckets)).toEqual([]);
  },
);
