/** Retention rules as arithmetic: against a model of what restic documents, and what must hold whatever the clocks say. */
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { judgeVersions, requireRules } from '../../src/vault/remove/retention.ts';
import type { KeepReason, RetentionRules } from '../../src/vault/remove/retention.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NOW = Date.UTC(2026, 10, 26, 12);

interface Version {
  readonly id: number;
  readonly createdAtMs: number;
  readonly expiresAtMs: number | null;
}

/** Newest first. */
function versionsAt(...times: readonly (number | string)[]): Version[] {
  return times.map((time, id) => ({
    id,
    createdAtMs: typeof time === 'number' ? time : Date.parse(time),
    expiresAtMs: null,
  }));
}

function reasonsOf(
  versions: readonly Version[],
  rules: RetentionRules,
  nowMs = NOW,
): (readonly KeepReason[])[] {
  return judgeVersions(versions, rules, { nowMs }).map(({ reasons }) => reasons);
}

function keptOf(versions: readonly Version[], rules: RetentionRules): number[] {
  return judgeVersions(versions, rules, { nowMs: NOW })
    .filter(({ reasons }) => reasons.length > 0)
    .map(({ version }) => version.id);
}

const zone = process.env['TZ'];
/** The time zone of what follows. */
function inZone(name: string): void {
  process.env['TZ'] = name;
}
afterEach(() => {
  if (zone === undefined) delete process.env['TZ'];
  else process.env['TZ'] = zone;
});

const count = fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined });
const anyRules = fc
  .record({
    last: count,
    hourly: count,
    daily: count,
    weekly: count,
    monthly: count,
    yearly: count,
    withinMs: fc.option(fc.integer({ min: 1, max: 400 * DAY_MS }), { nil: undefined }),
  })
  .filter((rules) => Object.values(rules).some((value) => value !== undefined));
/** Near enough to each other to share hours, days and so on; some equal. */
const pastMs = fc
  .tuple(fc.integer({ min: 0, max: 900 }), fc.constantFrom(1, 24, 24 * 31), fc.integer({ min: 0, max: 3 }))
  .map(([amount, hours, part]) => NOW - (amount * hours + part / 4) * HOUR_MS);
/** By clocks that were right. */
const orderly = fc
  .array(pastMs, { maxLength: 30 })
  .map((times) => versionsAt(...times.toSorted((a, b) => b - a)));
/** By clocks that may have said anything. */
const disorderly = fc
  .array(
    fc.record({
      createdAtMs: fc.oneof(pastMs, fc.integer({ min: 0, max: 4e12 }), fc.maxSafeInteger()),
      expiresAtMs: fc.option(fc.integer({ min: NOW - DAY_MS, max: NOW + DAY_MS }), { nil: null }),
    }),
    { maxLength: 30 },
  )
  .map((versions) => versions.map((version, id): Version => ({ id, ...version })));

/** What restic keeps (internal/restic/snapshot_policy.go as of 0.18), told in another way: by the periods' own beginnings. */
function resticKeeps(versions: readonly Version[], rules: RetentionRules): number[] {
  const startOf: Record<string, (date: Date) => number> = {
    hourly: (date) => date.setMinutes(0, 0, 0),
    daily: (date) => date.setHours(0, 0, 0, 0),
    weekly(date) {
      while (date.getDay() !== 1) date.setDate(date.getDate() - 1);
      return date.setHours(0, 0, 0, 0);
    },
    monthly: (date) => new Date(date.getFullYear(), date.getMonth()).getTime(),
    yearly: (date) => new Date(date.getFullYear(), 0).getTime(),
  };
  const kept = new Set<number>();
  const newest = versions[0]?.createdAtMs ?? 0;
  for (const { id, createdAtMs } of versions) {
    if (createdAtMs > newest - (rules.withinMs ?? 0)) kept.add(id);
  }
  for (const rule of ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const) {
    let left = rules[rule] ?? 0;
    let before: number | null = null;
    for (const [at, { id, createdAtMs }] of versions.entries()) {
      if (left === 0) break;
      const start: number = startOf[rule]?.(new Date(createdAtMs)) ?? at;
      if (start === before && at < versions.length - 1) continue;
      kept.add(id);
      before = start;
      left -= 1;
    }
  }
  return [...kept].toSorted((a, b) => a - b);
}

test.each(['UTC', 'Asia/Kolkata', 'America/New_York'])('keeps what restic keeps, in %s', (name) => {
  inZone(name);
  fc.assert(
    fc.property(orderly, anyRules, (versions, rules) => {
      expect(keptOf(versions, rules)).toEqual(resticKeeps(versions, rules));
    }),
    { numRuns: 400 },
  );
});

/** Whether no rule counts a version: one of the future, or one that has expired. */
function isAside({ createdAtMs, expiresAtMs }: Version): boolean {
  return createdAtMs > NOW + HOUR_MS || (expiresAtMs !== null && expiresAtMs <= NOW);
}

function of(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? (one ?? other) : Math.max(one, other);
}

/** Of each rule the one that keeps more. */
function larger(a: RetentionRules, b: RetentionRules): RetentionRules {
  return {
    last: of(a.last, b.last),
    hourly: of(a.hourly, b.hourly),
    daily: of(a.daily, b.daily),
    weekly: of(a.weekly, b.weekly),
    monthly: of(a.monthly, b.monthly),
    yearly: of(a.yearly, b.yearly),
    withinMs: of(a.withinMs, b.withinMs),
  };
}

describe('whatever the clocks say', () => {
  test('the newest version that a rule counts stays, and so does what no rule counts', () => {
    fc.assert(
      fc.property(disorderly, anyRules, (versions, rules) => {
        const judged = judgeVersions(versions, rules, { nowMs: NOW });
        const newest = judged.find(({ version }) => !isAside(version));
        const aside = judged.filter(({ version }) => isAside(version));
        for (const { reasons } of newest === undefined ? aside : [newest, ...aside]) {
          expect(reasons).not.toEqual([]);
        }
        const odd = aside.flatMap(({ reasons }) => reasons);
        expect(odd.every((reason) => reason === 'future' || reason === 'expired')).toBe(true);
      }),
    );
  });

  test('each counting rule keeps as many as it says, or as many as there are periods', () => {
    fc.assert(
      fc.property(disorderly, anyRules, (versions, rules) => {
        const reasons = reasonsOf(versions, rules).flat();
        for (const rule of ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const) {
          expect(reasons.filter((reason) => reason === rule).length).toBeLessThanOrEqual(rules[rule] ?? 0);
        }
      }),
    );
  });

  test('versions from the future change nothing for the others', () => {
    fc.assert(
      fc.property(
        disorderly,
        anyRules,
        fc.array(fc.tuple(fc.nat(30), fc.integer({ min: NOW + HOUR_MS, max: NOW * 2 }))),
        (versions, rules, foreign) => {
          const mixed: Version[] = [...versions];
          for (const [at, createdAtMs] of foreign) {
            mixed.splice(at, 0, { id: -1, createdAtMs, expiresAtMs: null });
          }
          expect(keptOf(mixed, rules).filter((id) => id >= 0)).toEqual(keptOf(versions, rules));
        },
      ),
    );
  });

  test('more rules, or larger ones, keep more; what was kept is kept again', () => {
    fc.assert(
      fc.property(disorderly, anyRules, anyRules, (versions, rules, others) => {
        const kept = keptOf(versions, rules);
        expect(keptOf(versions, larger(rules, others))).toEqual(expect.arrayContaining(kept));
        const left = versions.filter(({ id }) => kept.includes(id));
        expect(keptOf(left, rules)).toEqual(kept);
      }),
    );
  });
});

test('a version counts that another clock dates a little ahead, and versions by days as one a day', () => {
  const nights = versionsAt(NOW + 5 * 60_000, NOW - HOUR_MS, NOW - DAY_MS);
  expect(reasonsOf(nights, { last: 1 })).toEqual([['last'], [], []]);
  expect(reasonsOf(versionsAt(NOW + 5 * 60_000 + 1, NOW), { last: 1 })).toEqual([['future'], ['last']]);
  const byDays = judgeVersions(nights, { last: 2 }, { nowMs: NOW, byDays: true });
  expect(byDays.map(({ reasons }) => reasons)).toEqual([['last'], [], ['last']]);
});

test('periods are those of the time zone, weeks begin on Monday and cross years', () => {
  const nights = versionsAt('2026-03-02T00:30:00Z', '2026-03-01T23:30:00Z', '2026-03-01T12:00:00Z');
  inZone('UTC');
  expect(reasonsOf(nights, { daily: 2 })).toEqual([['daily'], ['daily'], []]);
  inZone('America/New_York');
  expect(reasonsOf(nights, { daily: 2 })).toEqual([['daily'], [], ['oldest']]);
  inZone('UTC');
  // A Monday; the Sunday before; the Monday of that Sunday's week.
  const weeks = versionsAt('2026-03-02T00:00:00Z', '2026-03-01T23:59:00Z', '2026-02-23T00:00:00Z');
  expect(reasonsOf(weeks, { weekly: 2 })).toEqual([['weekly'], ['weekly'], []]);
  const years = versionsAt('2026-01-01T08:00:00Z', '2025-12-31T08:00:00Z', '2025-12-29T00:00:00Z');
  expect(reasonsOf(years, { weekly: 1 })).toEqual([['weekly'], [], []]);
  expect(reasonsOf(years, { yearly: 2 })).toEqual([['yearly'], ['yearly'], []]);
});

test('within counts from the newest version, however long ago that was', () => {
  const old = versionsAt('2020-05-05T10:00:00Z', '2020-05-01T11:00:00Z', '2020-05-01T10:00:00Z');
  expect(reasonsOf(old, { withinMs: 4 * DAY_MS })).toEqual([['within'], ['within'], []]);
});

test('nights that a dead clock dated 1970 take nothing from those before', () => {
  const versions = versionsAt(0, 0, NOW - DAY_MS, NOW - 2 * DAY_MS, NOW - 3 * DAY_MS);
  expect(reasonsOf(versions, { daily: 3 })).toEqual([['daily'], [], ['daily'], ['daily'], []]);
  expect(reasonsOf(versions, { withinMs: DAY_MS })).toEqual(versions.map(() => ['within']));
});

test('what is in no bucket counts for nothing', () => {
  const versions = versionsAt(NOW - 1, NOW - 2, NOW - 3);
  const missing = new Set(versions.slice(0, 1));
  const judged = judgeVersions(versions, { last: 1 }, { nowMs: NOW, missing });
  expect(judged.map(({ reasons }) => reasons)).toEqual([['missing'], ['last'], []]);
});

test('no rule, and rules that keep nothing, are refused', () => {
  for (const rules of [
    {},
    { last: undefined },
    { last: 0 },
    { daily: -1 },
    { weekly: 1.5 },
    { withinMs: 0 },
  ]) {
    expect(() => requireRules(rules)).toThrow(expect.objectContaining({ code: 'invalid-input' }));
  }
  expect(() => requireRules({ yearly: 1 })).not.toThrow();
});
