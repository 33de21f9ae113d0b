/** What a verb says at its end: to people who look on or asked for it, and to programs. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from './run.ts';
import { sandbox, SUMMARY } from './run.ts';

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await mkdir(box.at('out'));
  for (const name of ['a', 'b']) await writeFile(box.at(name), `content of ${name} `.repeat(2_000));
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

test('with --verbose every verb says what it did, and nothing more goes to standard output', async () => {
  const put = await box.run(['put', 'a', 'b', '--verbose']);
  expect(put.stdout).toMatch(/^([0-9a-f]{64}\n){2}$/);
  const [a, b, total] = put.stderr.split('\n');
  expect(a).toBe('Stored a: 25 KiB, all new.');
  expect(b).toBe('Stored b: 25 KiB, all new.');
  expect(total).toMatch(/^Stored 2 files, 51 KiB: 51 KiB new, [\d.]+ (K|M)?i?B sent, \d+ s\.$/);
  const again = await box.run(['put', 'a', 'b', 'none', '--verbose']);
  expect(again.stderr).toMatch(
    /Stored 2 files \(2 unchanged, 1 failed\), 51 KiB: 0 B new, 0 B sent, \d+ s\.\n$/,
  );
  expect((await box.run(['get', 'a', 'b', '-o', 'out', '-v'])).stderr).toMatch(
    /\nWrote 2 files, 51 KiB\.\n$/,
  );
  expect((await box.run(['ls', '-v'])).stderr).toBe('2 files, 51 KiB.\n');
  expect((await box.run(['verify', '-v'])).stderr).toMatch(/^2 files, 2 chunks: every piece is present/);
  expect((await box.run(['repair', '-v'])).stderr).toBe('There was nothing to repair.\n');
  expect((await box.run(['bucket', 'ls', '-v'])).stderr).toMatch(/^3 buckets, \d+ objects, [\d.]+ .*\.\n$/);
  expect((await box.run(['rm', 'a', '-v'])).stderr).toMatch(/^Removed 1 file\./);
  expect((await box.run(['undelete', 'a', '-v'])).stderr).toBe('Brought back 1 file.\n');
  expect((await box.run(['sweep', '-v'])).stderr).toBe('There was nothing to remove.\n');
  expect((await box.run(['info', 'a', 'b', '-v'])).stderr).toMatch(/^2 files: every shard has its place/);
  expect((await box.run(['info', '-v'])).stderr).toBe('3 buckets, 2+1.\n');
  expect((await box.run(['cat', 'a', '-v'])).stderr).toBe('Wrote 1 file, 25 KiB.\n');
  expect((await box.run(['status', '-v'])).stderr).toBe('Nothing needs attention.\n');
  expect((await box.run(['config', 'show', '-v'])).stderr).toMatch(
    /^\d+ settings, of which 1 is not the default\.\n$/,
  );
});

test('with --verbose repair and sweep log what they did', async () => {
  await using other = await sandbox();
  await other.makeVault();
  await writeFile(other.at('a'), 'content '.repeat(9_000));
  await other.run(['put', 'a']);
  for (const folder of ['chunks', 'manifests']) await rm(join(other.bucket(1), folder), { recursive: true });
  const degraded = await other.run(['verify', '-v']);
  expect(degraded.stderr).toMatch(/1 file: 1 degraded; 1 chunk: 1 degraded\.\n/);
  const repaired = await other.run(['repair', '-v']);
  expect(repaired.stderr).toMatch(
    /^Repaired chunk [0-9a-f]{64}\nStored manifests\/[0-9a-f]+\nRepaired 1 chunk and stored 1 other object, .*\n$/,
  );
  const removed = await other.run(['rm', 'a', '--now', '-v']);
  expect(removed.stderr).toMatch(
    /^Removed 1 file\.\n(Removed (chunks|manifests)\/[^\n]+\n){4}Removed 4 objects, .*\n$/,
  );
  expect((await other.run(['repair'])).stderr).toBe('');
});

test('with --json the last line of standard error is the summary, unless --quiet', async () => {
  const { stderr } = await box.run(['put', 'a', 'b', '--json']);
  expect(stderr).toMatch(SUMMARY);
  expect(JSON.parse(stderr)).toEqual({
    summary: {
      verb: 'put',
      exit: 0,
      seconds: expect.any(Number),
      files: 2,
      unchanged: 2,
      failed: 0,
      bytes: 52_000,
      bytesNew: 0,
      bytesStored: expect.any(Number),
    },
  });
  const bucket = await box.run(['bucket', 'ls', '--json']);
  expect(JSON.parse(bucket.stderr)).toMatchObject({ summary: { verb: 'bucket ls', exit: 0, buckets: 3 } });
  const some = await box.run(['get', 'a', 'none', '-o', 'out', '--force', '--json']);
  const [error = '', summary = ''] = some.stderr.split('\n');
  expect(JSON.parse(error)).toMatchObject({ error: { code: 'file-not-found' } });
  expect(JSON.parse(summary)).toMatchObject({ summary: { verb: 'get', exit: 4, files: 1, failed: 1 } });
  expect((await box.run(['ls', '--json', '--quiet'])).stderr).toBe('');
  const failed = await box.run(['info', 'none', '--json']);
  expect(failed.stderr).not.toContain('summary');
});
