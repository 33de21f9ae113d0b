import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fingerprintOf } from './fingerprint.ts';
import type { Sandbox } from './run.ts';
import { sandbox, SUMMARY } from './run.ts';

let box: Sandbox;
// One vault for all, as nothing changes it.
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault({ buckets: 4 });
  await writeFile(box.at('a'), randomBytes(100_000));
  await writeFile(box.at('b'), 'small');
  await box.run(['put', 'a', 'b']);
  // Something for each of them to do: a file to sweep, and shards to replace.
  await box.run(['put', '-', '--name', 'gone'], { stdin: randomBytes(70_000) });
  await box.run(['rm', 'gone']);
  await box.run(['put', 'b', '--name', 'old', '--expires', '1s']);
  // Of four buckets one may have no shard.
  await rm(join(box.bucket(2), 'chunks'), { recursive: true, force: true });
  await rm(join(box.bucket(2), 'manifests'), { recursive: true });
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

test.each([
  [['put', 'a', 'b']],
  [['rm', 'a']],
  [['rm', 'a', '--now']],
  [['rm', 'a', '--all-versions']],
  [['prune', '--keep-last', '2']],
  [['sweep']],
  [['sweep', '--now']],
  [['repair']],
  [['repair', '--read-data']],
  [['repair', 'a']],
  [['repair', '--redundancy', '1+2']],
  [['repair', '--redundancy', '3+0']],
  [['bucket', 'rm', '1']],
  [['bucket', 'rm', '1', '--gone']],
  [['recover', '--bucket', '1']],
  [['repair', '--forget-bucket', '1']],
])('%j -n changes neither catalog nor buckets, and says so', async (args) => {
  const before = await fingerprintOf(box);
  const given = args.map((arg) => (arg === '1' ? box.bucket(1) : arg));
  const { exit, stdout, stderr } = await box.run([...given, '-n', '--json']);
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: expect.stringMatching(SUMMARY) });
  // `rm` prints the files that it would remove, `prune` every version.
  expect(stdout).toContain(/^(rm|prune)$/.test(args[0] ?? '') ? '"name":"a"' : '"dryRun":true');
  expect(await fingerprintOf(box)).toEqual(before);
  const shown = box.terminal([...given, '-n']);
  expect(await shown.exit).toBe(0);
  expect(shown.shown).toContain('Nothing was changed.');
  expect(await fingerprintOf(box)).toEqual(before);
});
