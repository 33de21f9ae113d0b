import { randomBytes } from 'node:crypto';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fingerprintOf } from './fingerprint.ts';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

const CHUNKED = randomBytes(100_000);

let box: Sandbox;
beforeEach(async () => {
  box = await sandbox();
  await box.makeVault({ buckets: 4 });
  await writeFile(box.at('a'), CHUNKED);
  await writeFile(box.at('b'), 'small');
  await box.run(['put', 'a', 'b']);
});
afterEach(async () => {
  await box[Symbol.asyncDispose]();
});

/** The objects of JSON that a command has printed. */
function linesOf(stdout: string): Record<string, unknown>[] {
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** How many of these are alike in action and reason. */
function counted(steps: readonly Record<string, unknown>[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { action, reason } of steps) {
    const key = `${String(action)} ${String(reason)}`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}

test('sweep -n tells each object that would go, and why; for people by the reason', async () => {
  await box.run(['put', '-', '--name', 'gone'], { stdin: randomBytes(70_000) });
  await box.run(['rm', 'gone']);
  await box.run(['put', 'b', '--name', 'old', '--expires', '1s']);
  await setTimeout(1_100);
  const steps = linesOf((await box.run(['sweep', '--now', '-n', '--json'])).stdout);
  const { objectsRemoved, bytesRemoved } = steps.pop() ?? {};
  expect(counted(steps)).toEqual({ 'hide expired': 1, 'remove removed': 1, 'remove unneeded': 3 });
  const removed = steps.filter(({ action }) => action === 'remove');
  expect(removed).toHaveLength(Number(objectsRemoved));
  expect(removed.reduce((sum, { bytes }) => sum + Number(bytes), 0)).toBe(bytesRemoved);
  expect(steps).toContainEqual(expect.objectContaining({ reason: 'expired', file: 'old' }));
  expect(steps).toContainEqual(expect.objectContaining({ reason: 'removed', file: 'gone' }));
  const grouped = (await box.run(['sweep', '--now', '-n'])).stdout;
  expect(grouped).toMatch(/^hide 1 file: expired\n {2}old\nremove 1 object \(.*\): removed, .*\n {2}gone\n/);
  expect(grouped).toMatch(/remove 3 objects \(\d+ KiB\): not needed by any file\n( {2}chunks\/.*\n){3}$/);
  const { stdout: all, stderr: said } = await box.run(['sweep', '--now', '-n', '--verbose']);
  expect(said).toMatch(/ by this machine's clock, 20\d\d-.*, which only a sweep compares/);
  expect(all.split('\n')).toHaveLength(steps.length + 1);
  expect(all).toMatch(/^remove chunks\/\S+ \(\d+ KiB\): not needed by any file$/m);
  await box.run(['sweep', '--now']);
  expect(linesOf((await box.run(['sweep', '-n', '--json'])).stdout)).toHaveLength(1);
});

test('repair -n and bucket rm -n tell what would be stored, and why', async () => {
  const holder = await firstHolder();
  const damaged = await readFile(holder);
  damaged[damaged.length - 1] = (damaged.at(-1) ?? 0) ^ 1;
  await writeFile(holder, damaged);
  expect((await box.run(['repair', '--read-data', '-n'])).stdout).toMatch(
    /^store 1 object \(.*\): damaged$/m,
  );
  await box.run(['repair', '--read-data']);
  const chosen = linesOf((await box.run(['sweep', '-n', '--json'])).stdout);
  expect(counted(chosen.slice(0, -1))).toEqual({ 'remove chosen': chosen.at(-1)?.['objectsWaiting'] });
  const recoded = linesOf((await box.run(['repair', '--redundancy', '1+2', '-n', '--json'])).stdout);
  expect(counted(recoded.slice(0, -1))['store recoded']).toBe(recoded.at(-1)?.['shardsStored']);
  const moving = linesOf((await box.run(['bucket', 'rm', box.bucket(1), '-n', '--json'])).stdout);
  expect(counted(moving.slice(0, -1))['store moved'] ?? 0).toBe(moving.at(-1)?.['shardsMoved']);
  await rm(join(box.bucket(2), 'manifests'), { recursive: true });
  const lost = linesOf((await box.run(['repair', '-n', '--json'])).stdout);
  expect(counted(lost.slice(0, -1))).toEqual({ 'store missing': lost.at(-1)?.['manifestsStored'] });
  expect(lost).toContainEqual(expect.objectContaining({ bucket: `file://${box.bucket(2)}` }));
});

test('what is lost, or keeps a bucket, is told beforehand as by the command itself', async () => {
  await rename(join(box.bucket(3), 'vault.json'), box.at('marker'));
  for (const how of [['-n'], []]) {
    const kept = await box.run(['bucket', 'rm', '--gone', box.bucket(4), ...how]);
    expect(kept).toMatchObject({ exit: 3, stderr: expect.stringMatching(/still be part of|still part of/) });
  }
  for (const how of [['-n'], []]) {
    const kept = await box.run(['bucket', 'rm', box.bucket(4), ...how]);
    expect(kept).toMatchObject({ exit: 5, stderr: expect.stringMatching(/^vault: Nothing was changed/) });
  }
  await rename(box.at('marker'), join(box.bucket(3), 'vault.json'));
  for (const number of [1, 2]) await rm(join(box.bucket(number), 'chunks'), { recursive: true, force: true });
  await rename(box.bucket(4), box.at('away'));
  for (const how of [['-n'], []]) {
    const gone = await box.run(['bucket', 'rm', '--gone', box.bucket(4), ...how]);
    expect(gone).toMatchObject({ exit: 6, stderr: expect.stringMatching(/1 file can no longer be read/) });
  }
  for (const how of [['-n'], []]) {
    const rest = await box.run(['repair', '--read-data', ...how]);
    expect(rest).toMatchObject({ exit: 6, stderr: expect.stringMatching(/1 file can no longer be read/) });
  }
});

describe('repair -n counts as repair does', () => {
  const ruins: [string, string[], () => Promise<void>][] = [
    ['a marker is gone, and shards elsewhere', [], () => lose(3, 'vault.json', [1, 'chunks'])],
    ['a marker is gone, and shards beside it', [], () => lose(3, 'vault.json', [3, 'chunks'])],
    ['a marker and manifests are gone', [], () => lose(3, 'vault.json', [3, 'manifests'])],
    ['a marker is gone where data is read', ['--read-data'], () => lose(3, 'vault.json', [1, 'chunks'])],
    ['a marker is gone where one file is meant', ['a'], () => lose(3, 'vault.json', [1, 'chunks'])],
    ['a marker is gone, of more redundancy', ['--redundancy', '2+2'], () => lose(3, 'vault.json')],
    ['a keyring is gone, of more redundancy', ['--redundancy', '2+2'], () => lose(2, 'keyring')],
    ['a keyring is gone, of the same redundancy', ['--redundancy', '2+1'], () => lose(2, 'keyring')],
    ['a keyring is gone', [], () => lose(2, 'keyring')],
  ];

  test.each(ruins)('%s', async (_what, how, ruin) => {
    await ruin();
    const [planned, done] = [
      await box.run(['repair', ...how, '-n', '--json']),
      await box.run(['repair', ...how, '--json']),
    ];
    const steps = linesOf(planned.stdout);
    const plan = steps.pop();
    const real = JSON.parse(done.stdout);
    expect({ ...plan, exit: planned.exit }).toEqual({ ...real, dryRun: true, exit: done.exit });
    expect(done.exit).toBe(0);
  });
});

async function lose(number: number, what: string, ...more: [number, string][]): Promise<void> {
  for (const [each, name] of [[number, what] as const, ...more])
    await rm(join(box.bucket(each), name), { recursive: true, force: true });
}

/** The path of a shard; which buckets have one is drawn. */
async function firstHolder(): Promise<string> {
  for (const number of [1, 2]) {
    const folder = join(box.bucket(number), 'chunks');
    const [name] = await readdir(folder).catch(() => []);
    if (name !== undefined) return join(folder, name);
  }
  throw new Error('Of three shards in four buckets, one of two must have one.');
}

test.each([
  ['put', ['put', 'a', 'c'], []],
  ['put of what is small', ['put', 'd'], []],
  ['rm', ['rm', 'a', 'b'], []],
  ['prune', ['prune', '--keep-last', '1'], ['--yes']],
  ['sweep', ['sweep'], []],
])('%s -n ends as it would while buckets are away, and says why', async (_what, command, yes) => {
  await writeFile(box.at('c'), randomBytes(100_000));
  await writeFile(box.at('d'), 'small, too');
  await writeFile(box.at('b'), 'changed');
  await box.run(['put', 'b']);
  const markers = [1, 2, 3, 4].map((number) => join(box.bucket(number), 'vault.json'));
  for (const marker of markers) await rename(marker, `${marker}-away`);
  for (const how of [['-n'], yes]) expect(await box.run([...command, ...how])).toMatchObject({ exit: 5 });
  for (const marker of markers.slice(1)) await rename(`${marker}-away`, marker);
  const dry = await box.run([...command, '-n']);
  expect(dry).toMatchObject({ exit: 3, stderr: expect.stringMatching(/bucket-1/) });
  expect(await box.run([...command, ...yes])).toMatchObject({ exit: 3 });
});

test('put -n tells what would be stored, and what could not be', async () => {
  const before = await fingerprintOf(box);
  const { exit, stdout, stderr } = await box.run(['put', '-n', 'a', 'none', './b']);
  expect({ exit, stdout }).toEqual({ exit: 4, stdout: 'a\nb\n' });
  expect(stderr).toMatch(/none/);
  const json = await box.run(['put', '-n', 'a', '--name', 'other', '--json']);
  const known = { name: 'other', size: CHUNKED.length, chunks: 1, unchanged: false, dryRun: true };
  expect(JSON.parse(json.stdout)).toEqual({ ...known, chunksStored: 0, bytesNew: 0 });
  await writeFile(box.at('c'), randomBytes(150_000));
  const fresh = await box.run(['put', '-n', 'c', '--chunk-size', '64KiB', '--json']);
  expect(JSON.parse(fresh.stdout)).toMatchObject({ chunks: 3, chunksStored: 3, bytesNew: 150_000 });
  expect(JSON.parse(fresh.stderr)).toMatchObject({ summary: { files: 1, bytesNew: 150_000, dryRun: true } });
  const input = await box.run(['put', '-n', '-', '--name', 'n', '--json'], { stdin: 'x' });
  expect(JSON.parse(input.stdout)).toMatchObject({ name: 'n', size: null, dryRun: true });
  const said = await box.run(['put', '-n', '-v', 'a', 'b']);
  expect(said.stderr).toBe(
    [
      'Would store a: 98 KiB, nothing new.',
      'Would store b: 5 B, nothing new.',
      'Would store 2 files (2 unchanged), 98 KiB: 0 B new. Nothing was changed.',
      '',
    ].join('\n'),
  );
  // What is locked shares nothing, and its password is not asked for.
  const locked = await box.run(['put', '-n', '-v', 'a', '--lock']);
  expect(locked.stderr).toMatch(/^Would store a: 98 KiB, all new\.\n/);
  expect(await fingerprintOf(box)).toEqual(before);
});

test('repair --forget-bucket -n tells what would be rebuilt, of a bucket that is lost, too', async () => {
  await rename(box.bucket(1), box.at('away'));
  const forget = ['repair', '--forget-bucket', box.bucket(1), '--json'];
  const planned = await box.run([...forget, '-n']);
  expect(planned.exit).toBe(0);
  const plan = linesOf(planned.stdout);
  const { shardsMoved, removed, dryRun, reasons } = plan.pop() ?? {};
  expect(plan.filter(({ object }) => String(object).startsWith('chunks/'))).toHaveLength(Number(shardsMoved));
  expect(plan.every(({ action }) => action === 'store')).toBe(true);
  expect({ removed, dryRun, reasons }).toEqual({ removed: false, dryRun: true, reasons: [] });
  expect(JSON.parse((await box.run(['info', '--json'])).stdout).buckets).toHaveLength(4);
  const done = await box.run(forget);
  expect(done.exit).toBe(0);
  expect(JSON.parse(done.stdout)).toMatchObject({ removed: true, dryRun: false, shardsMoved });
});

async function redundancy(): Promise<unknown> {
  return JSON.parse((await box.run(['info', '--json'])).stdout).redundancy;
}

describe('less redundancy', () => {
  const lower = ['repair', '--redundancy', '3+0'];

  test('is refused without --yes where nobody can be asked, and changes nothing', async () => {
    const before = await fingerprintOf(box);
    const { exit, stdout, stderr } = await box.run(lower);
    expect({ exit, stdout }).toEqual({ exit: 2, stdout: '' });
    expect(stderr).toBe(
      'vault: 3+0 survives the loss of no bucket, 2+1 of 1. Use --yes if that is what you want.\n',
    );
    expect(await fingerprintOf(box)).toEqual(before);
  });

  test('is what --yes says, and more needs no --yes', async () => {
    expect((await box.run([...lower, '--yes'])).exit).toBe(0);
    expect(await redundancy()).toBe('3+0');
    expect((await box.run(['repair', '--redundancy', '2+2'])).exit).toBe(0);
    expect(await redundancy()).toBe('2+2');
    expect((await box.run(['get', 'a', '-o', '-'])).stdoutBytes).toEqual(CHUNKED);
    expect((await box.run(['verify', '--read-data'])).exit).toBe(0);
  });

  test('is asked for in a terminal, where no is the usual answer', async () => {
    const before = await fingerprintOf(box);
    const run = box.terminal(lower);
    await run.waitFor('Go on?');
    run.type('\r');
    expect(await run.exit).toBe(130);
    expect(run.shown).toContain('vault: Nothing was changed.');
    expect(await fingerprintOf(box)).toEqual(before);
  });
});

test.each([
  ['64KiB', 2],
  ['64MiB', 1],
])('chunks of %s, an end of the range, are taken', async (size, chunks) => {
  const { exit, stdout } = await box.run(['put', 'a', '--name', size, '--chunk-size', size, '--json']);
  expect(exit).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ chunks });
  expect((await box.run(['get', size, '-o', '-'])).stdoutBytes).toEqual(CHUNKED);
});

test('recover -n of a lost catalog tells what there would be, and makes none', async () => {
  await rm(box.db);
  const { exit, stdout, stderr } = await box.run(['recover', '--bucket', box.bucket(1), '-n', '-v']);
  expect({ exit, stdout }).toEqual({ exit: 0, stdout: '' });
  expect(stderr).toBe('The catalog would have 2 files. Nothing was changed.\n');
  await expect(readFile(box.db)).rejects.toThrow('ENOENT');
});
