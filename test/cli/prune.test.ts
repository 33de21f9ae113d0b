import { afterEach, beforeEach, expect, test } from 'vitest';
import { openBucket } from '../../src/buckets/open.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import type { ListOptions } from '../../src/vault/read/list.ts';
import { Vault } from '../../src/vault/vault.ts';
import { all, bytesSource, parts } from '../vault/harness.ts';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

const DAY_MS = 86_400_000;
const START = Date.UTC(2026, 2, 1, 12);

let box: Sandbox;
beforeEach(async () => {
  box = await sandbox();
  await box.makeVault();
  await putAt('shop.dump', [0, 1, 2, 3, 4]);
  await putAt('other', [0, 1]);
});
afterEach(async () => {
  await box[Symbol.asyncDispose]();
});

/** The vault, by a clock that says how many days have passed. */
async function openAt(clock: { day: number }): Promise<Vault> {
  const catalog = await openCatalog(box.db);
  const now = (): number => START + clock.day * DAY_MS;
  return Vault.open(parts(catalog, async (url) => openBucket(url), { now }));
}

/** Stores a version on each of these days. */
async function putAt(name: string, days: readonly number[]): Promise<void> {
  const clock = { day: 0 };
  await using vault = await openAt(clock);
  for (clock.day of days) {
    await vault.put(bytesSource(Buffer.from(`${name} of ${clock.day}`)), { name });
  }
}

/** On which day a version was stored: its number is the time. */
const dayOf = (version: number): number => (version - START) / DAY_MS;

async function versions(options: ListOptions = {}): Promise<string[]> {
  await using vault = await openAt({ day: 0 });
  const files = await all(vault.list({ all: true, ...options }));
  return files.map(({ name, version }) => `${name} ${dayOf(version)}`).toSorted();
}

test('-n shows of each version what becomes of it and why', async () => {
  const rules = ['--keep-last', '1', '--keep-daily', '2', '--keep-monthly', '9', '-n'];
  const { exit, stdout, stderr } = await box.run(['prune', ...rules, '-v']);
  expect({ exit, stderr }).toEqual({
    exit: 0,
    stderr: 'Would remove 2 versions of 1 name and keep 5. Nothing was changed.\n',
  });
  expect(stdout.replaceAll(/[0-9a-f]{12}/g, 'HASH')).toBe(
    [
      'keep    HASH  2026-03-05 12:00  last, daily, monthly  shop.dump',
      'keep    HASH  2026-03-04 12:00  daily                 shop.dump',
      'remove  HASH  2026-03-03 12:00  -                     shop.dump',
      'remove  HASH  2026-03-02 12:00  -                     shop.dump',
      'keep    HASH  2026-03-01 12:00  oldest                shop.dump',
      'keep    HASH  2026-03-02 12:00  last, daily, monthly  other',
      'keep    HASH  2026-03-01 12:00  daily                 other',
      '',
    ].join('\n'),
  );
  const json = await box.run(['prune', '*.dump', '--keep-last', '4', '-n', '--json']);
  const lines = json.stdout
    .trim()
    .split('\n')
    .map((line): { version: number; kept: boolean; reasons: string[] } => JSON.parse(line));
  expect(lines.map(({ version, kept, reasons }) => [dayOf(version), kept, reasons.join()])).toEqual([
    [4, true, 'last'],
    [3, true, 'last'],
    [2, true, 'last'],
    [1, true, 'last'],
    [0, false, ''],
  ]);
  expect(JSON.parse(json.stderr)).toEqual({
    summary: {
      verb: 'prune',
      exit: 0,
      seconds: expect.any(Number),
      files: 1,
      names: 1,
      kept: 4,
      bytes: 14,
      future: 0,
      late: 0,
      flood: 0,
      missing: 0,
      dryRun: true,
    },
  });
  expect(await versions()).toHaveLength(7);
});

test('removes what rm would, silently, and undelete brings it back', async () => {
  expect(await box.run(['prune', 'shop.dump', '--keep-within', '30h', '--yes'])).toMatchObject({
    exit: 0,
    stdout: '',
    stderr: '',
  });
  expect(await versions()).toEqual(['other 0', 'other 1', 'shop.dump 3', 'shop.dump 4']);
  expect(await versions({ deleted: true })).toEqual(['shop.dump 0', 'shop.dump 1', 'shop.dump 2']);
  const json = await box.run(['prune', '--keep-last', '1', '-y', '--json']);
  expect(json.exit).toBe(0);
  const gone = json.stdout
    .trim()
    .split('\n')
    .map((line): { name: string; hash: string; kept: boolean } => JSON.parse(line));
  expect(gone.map(({ name, kept }) => `${name} ${kept}`).toSorted()).toEqual([
    'other false',
    'shop.dump false',
  ]);
  expect((await box.run(['undelete', gone[0]?.hash ?? ''])).exit).toBe(0);
  expect((await box.run(['prune', '--keep-last', '1', '-y', '--now'])).exit).toBe(0);
  expect(await versions()).toEqual(['other 1', 'shop.dump 4']);
  // What was brought back has gone at once; what was removed before can still be.
  expect(await versions({ deleted: true })).toEqual(['other 0', 'shop.dump 0', 'shop.dump 1', 'shop.dump 2']);
});

test('says which versions are dated in the future, and needs somebody to look at them', async () => {
  await putAt('other', [9_000]);
  const { exit, stderr } = await box.run(['prune', '--keep-last', '2', '-y']);
  expect(exit).toBe(3);
  expect(stderr).toMatch(
    /^vault: warning: 1 version is dated in the future and kept, and no rule counts it, such as other of 2050-/,
  );
  expect(await versions()).toEqual(['other 0', 'other 1', 'other 9000', 'shop.dump 3', 'shop.dump 4']);
});

test('asks in a terminal, where no is the usual answer', async () => {
  const args = ['prune', '--keep-last', '1'];
  const run = box.terminal(args);
  await run.waitFor('This removes 5 versions of 2 names and keeps 2. Go on?');
  run.type('\r');
  expect(await run.exit).toBe(130);
  expect(run.shown).toContain('vault: Nothing was changed.');
  expect(await versions()).toHaveLength(7);
  const sure = box.terminal(args);
  await sure.waitFor('Go on?');
  sure.type('\u001b[B\r');
  expect(await sure.exit).toBe(0);
  expect(sure.shown).toContain('Removed 5 versions of 2 names and kept 2.');
  expect(await versions()).toHaveLength(2);
});

test('passes over what somebody else has removed since it was chosen', async () => {
  const run = box.terminal(['prune', '--keep-last', '1']);
  await run.waitFor('Go on?');
  const [first, second] = (await box.run(['ls', '--all', 'shop.dump', '--json'])).stdout
    .trim()
    .split('\n')
    .map((line): string => JSON.parse(line).hash)
    .slice(-2);
  expect(await box.run(['rm', first ?? '', second ?? ''])).toMatchObject({ exit: 0 });
  run.type('\u001b[B\r');
  expect(await run.exit).toBe(0);
  expect(run.shown).toContain('Removed 5 versions of 2 names and kept 2. 2 of them had gone meanwhile.');
  expect(await versions()).toEqual(['other 1', 'shop.dump 4']);
});
