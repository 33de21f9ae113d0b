import { randomBytes } from 'node:crypto';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Sandbox } from './run.ts';
import { sandbox, SUMMARY } from './run.ts';

let box: Sandbox;
let fresh: () => Promise<void>;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await writeFile(box.at('a'), 'content of a '.repeat(2_000));
  await writeFile(box.at('b'), 'small');
  await box.run(['put', 'a', 'b']);
  await box.run(['put', 'a', '--name', 'same']);
  fresh = await box.keep();
});
beforeEach(() => fresh());
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

async function standing(...args: readonly string[]): Promise<Record<string, unknown>> {
  return JSON.parse((await box.run(['status', '--json', ...args])).stdout);
}

test('says what there is, once and in the buckets, and how safe it is', async () => {
  await box.run(['put', '-', '--name', 'b'], { stdin: 'newer' });
  await box.run(['put', '-', '--name', 'gone'], { stdin: 'x' });
  // What was removed takes part in nothing.
  await box.run(['put', '-', '--name', 'large'], { stdin: randomBytes(100_000) });
  await box.run(['rm', 'gone', 'large']);
  const { exit, stdout, stderr } = await box.run(['status', '--json']);
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: expect.stringMatching(SUMMARY) });
  const found: Record<string, number> = JSON.parse(stdout);
  expect(found).toMatchObject({
    files: 3,
    versions: 4,
    removed: 2,
    locked: 0,
    changed: 0,
    degraded: 0,
    logicalBytes: 2 * 26_000 + 10,
    safety: [
      { survives: 1, files: 2 },
      { survives: 2, files: 2 },
    ],
    names: [],
  });
  // Highly compressible content, stored once and 1.5 times.
  expect(found['uniqueBytes']).toBeLessThan(20_000);
  expect(found['savings']).toBeCloseTo(1 - (found['uniqueBytes'] ?? 0) / (found['logicalBytes'] ?? 0));
  expect(found['storedBytes']).toBeGreaterThan(found['uniqueBytes'] ?? 0);
  const shown = await box.run(['status']);
  expect({ exit: shown.exit, stderr: shown.stderr }).toEqual({ exit: 0, stderr: '' });
  expect(shown.stdout).toMatch(
    /^files {7}3 \(4 versions, 2 removed\)\ncontent {5}51 KiB\nunique .*\nsaved {7}\d\d% of the content\n/,
  );
  expect(shown.stdout).toMatch(/2 {2}survive the loss of any 1 bucket\n/);
  expect(shown.stdout.match(/bucket-\d {2}/g)).toHaveLength(3);
});

test('with a bucket down, and with shards lost, ends with 3 and says so', async () => {
  await rename(box.bucket(1), `${box.bucket(1)}-away`);
  const down = await box.run(['status', '--json']);
  expect(down.exit).toBe(3);
  expect(JSON.parse(down.stdout)).toMatchObject({
    safety: [
      { survives: 0, files: 2 },
      { survives: 1, files: 1 },
    ],
    degraded: 2,
  });
  expect(down.stderr).toMatch(/"kind":"bucket-down".*\n.*"kind":"degraded"/);
  await rename(box.bucket(2), `${box.bucket(2)}-away`);
  expect(await standing()).toMatchObject({ safety: expect.arrayContaining([{ survives: -1, files: 2 }]) });
});

test('finds manifests that are gone', async () => {
  for (const number of [1, 2]) await rm(join(box.bucket(number), 'manifests'), { recursive: true });
  const { exit, stderr } = await box.run(['status']);
  expect(exit).toBe(3);
  expect(stderr).toMatch(/3 versions are less safe than they were stored for: "vault repair" replaces/);
});

test('--max-age ends with 3 when the newest version of the vault, or of a name, is older', async () => {
  expect(await box.run(['status', '--max-age', '1h'])).toMatchObject({ exit: 0, stderr: '' });
  expect(await box.run(['status', '--max-age', '1h', 'a', '[b]'])).toMatchObject({ exit: 0, stderr: '' });
  const old = await box.run(['status', '--max-age', '1ms']);
  expect(old.exit).toBe(3);
  expect(old.stderr).toMatch(/^vault: warning: The newest file was stored .* ago\.\n$/);
  const named = await box.run(['status', '--max-age', '1ms', 'a', '--json']);
  expect(named.exit).toBe(3);
  expect(JSON.parse(named.stdout)).toMatchObject({ names: [{ name: 'a', tooOld: true }] });
  expect(named.stderr).toContain('\\"a\\" was last stored');
  expect((await box.run(['status', '--max-age', '1h', 'none'])).exit).toBe(4);
});

test('--prometheus prints metrics', async () => {
  const { exit, stdout } = await box.run(['status', '--prometheus', 'a']);
  expect(exit).toBe(0);
  expect(stdout).toMatch(/^# HELP vault_good .*\n# TYPE vault_good gauge\nvault_good 1\n/);
  expect(stdout).toMatch(/^vault_files 3$/m);
  expect(stdout).toMatch(/^vault_versions_by_safety\{survives="1"\} 2$/m);
  expect(stdout.match(/^vault_bucket_up\{bucket="file:.*bucket-\d"\} 1$/gm)).toHaveLength(3);
  expect(stdout).toMatch(/^vault_name_timestamp_seconds\{name="a"\} \d{10}(\.\d+)?$/m);
  for (const line of stdout.trimEnd().split('\n')) {
    expect(line).toMatch(/^(# (HELP|TYPE) vault_[a-z_]+ .+|vault_[a-z_]+(\{[a-z]+=".*"\})? -?[\d.]+)$/);
  }
  expect((await box.run(['status', '--prometheus', '--json'])).exit).toBe(2);
});
