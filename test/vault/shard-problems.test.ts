import { expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import { ShardProblems } from '../../src/vault/chunks/shard-problems.ts';
import { testVault } from './harness.ts';
import { present } from './scene.ts';

test('a bucket with a damaged shard is told of, and that others had it only where they did', async () => {
  await using made = await testVault();
  const bucket = present(made.session.buckets.active[0]);
  const error = new VaultError('damaged', 'It is damaged.');
  const problems = new ShardProblems();
  problems.add({ bucket, chunkId: 'ab', index: 0, error });
  expect(problems.warnings()).toMatchObject([
    { kind: 'shard-damaged', message: expect.stringContaining('read from the other buckets') },
  ]);
  expect(problems.lost('ab', { k: 1, m: 0 }).code).toBe('damaged');
  expect(problems.warnings()).toMatchObject([
    { kind: 'shard-damaged', message: expect.not.stringContaining('other buckets') },
  ]);
});
