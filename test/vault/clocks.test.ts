/** A machine whose clock is wrong, among buckets whose clocks are right: nothing ends early because of it. */
import { randomBytes } from 'node:crypto';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { PutCall } from '../../src/buckets/bucket.ts';
import { memoryBucket } from '../support/memory-bucket.ts';
import { parsePutMarkerName } from '../../src/format/removal.ts';
import type { Warning } from '../../src/vault/call.ts';
import { BucketClocks, medianOf, Stopwatch } from '../../src/vault/protocol/clocks.ts';
import { MARKER_LIFETIME_MS } from '../../src/vault/protocol/put-guard.ts';
import { getBytes, putBytes, snapshotOf, testVault } from './harness.ts';
import type { Handle, TestBucket, TestVault } from './harness.ts';
import { systemClock } from '../../src/host.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const START_MS = Date.parse('2026-06-01T12:00:00Z');
const BODY = randomBytes(30_000);

/** A vault, and the right time, by which its buckets go. */
async function timedVault(buckets = 3): Promise<TestVault & { readonly time: { nowMs: number } }> {
  const time = { nowMs: START_MS };
  const made = await testVault({ buckets, now: () => time.nowMs });
  for (const bucket of made.buckets) tellTime(bucket, () => time.nowMs);
  return { ...made, time };
}

function tellTime(bucket: TestBucket, now: () => number): void {
  bucket.wrap = () => memoryBucket(bucket.url, bucket.storage, { now });
}

/** Another machine, whose clock is wrong by so much. */
async function machine(
  made: TestVault & { readonly time: { nowMs: number } },
  offMs: number,
): Promise<Handle> {
  const copy = await (await snapshotOf(made)).copy();
  onTestFinished(async () => copy[Symbol.asyncDispose]());
  for (const [i, bucket] of copy.buckets.entries()) {
    const original = made.buckets[i];
    if (original !== undefined)
      bucket.wrap = () => original.wrap(memoryBucket(original.url, original.storage));
  }
  return copy.open({ now: () => made.time.nowMs + offMs });
}

const count = (made: TestVault, prefix: string): number =>
  made.objects().filter((name) => name.includes(` ${prefix}`)).length;

test('the middle of some numbers', () => {
  expect(medianOf([])).toBe(null);
  expect(medianOf([7])).toBe(7);
  expect(medianOf([9, -1])).toBe(4);
  expect(medianOf([1_000_000, 2, 1])).toBe(2);
  expect(medianOf([0, 10, 4, -1_000_000])).toBe(2);
});

describe('what buckets say of the time', () => {
  test('counts by its median: one that is wrong changes nothing', async () => {
    await using made = await testVault();
    const clocks = new BucketClocks({ now: () => START_MS });
    const [one, two, three] = made.session.buckets.all;
    if (one === undefined || two === undefined || three === undefined) throw new Error('too few');
    clocks.begin(one)(START_MS + 10 * DAY_MS);
    expect(clocks.offMs).toBe(10 * DAY_MS);
    expect(clocks.describe()).toBe("this machine's clock is 10 days behind the clock of memory:1");
    clocks.begin(two)(START_MS + 1_000);
    clocks.begin(three)(START_MS - 1_000);
    expect(clocks.offMs).toBe(0);
    expect(clocks.describe()).toBe('');
    clocks.begin(two)(START_MS - 3 * HOUR_MS);
    clocks.begin(three)(START_MS - 4 * HOUR_MS);
    expect(clocks.offMs).toBe(-3 * HOUR_MS);
    expect(clocks.describe()).toBe(
      "this machine's clock is 3 hours ahead of the median of its buckets, such as memory:2",
    );
  });

  test('is told of each where the median is between two that contradict each other', async () => {
    await using made = await testVault();
    const clocks = new BucketClocks({ now: () => START_MS });
    const [one, two] = made.session.buckets.all;
    if (one === undefined || two === undefined) throw new Error('too few');
    clocks.begin(one)(START_MS);
    clocks.begin(two)(START_MS - 10 * DAY_MS);
    expect(clocks.offMs).toBe(-5 * DAY_MS);
    expect(clocks.describe()).toBe(
      "this machine's clock cannot be judged, as its buckets' clocks contradict each other (by memory:1 it is right, by memory:2 it is 10 days ahead)",
    );
    expect(clocks.advice).toBe('See which of them is wrong');
  });

  test('is no difference while the request was under way, however long', async () => {
    await using made = await testVault();
    const [bucket] = made.session.buckets.all;
    if (bucket === undefined) throw new Error('none');
    let nowMs = START_MS;
    const clocks = new BucketClocks({ now: () => nowMs });
    const told = clocks.begin(bucket);
    nowMs += HOUR_MS;
    told(START_MS + 1_000);
    expect(clocks.offMs).toBe(0);
    clocks.begin(bucket)(nowMs + 4 * 60_000);
    expect(clocks.offMs).toBe(0);
    clocks.begin(bucket)(nowMs + 6 * 60_000);
    expect(clocks.offMs).toBe(6 * 60_000);
  });
});

/** Lets the clock that is never set show that hours have passed. */
function hoursLater(hours: number): Disposable {
  const [seconds, nanoseconds] = process.hrtime();
  return vi.spyOn(process, 'hrtime').mockImplementation(() => [seconds + hours * 3600, nanoseconds]);
}

test('what lasts is shortened neither by a clock that is set back, nor by a machine that sleeps', () => {
  let nowMs = START_MS;
  const watch = new Stopwatch({ ...systemClock, now: () => nowMs });
  nowMs -= DAY_MS;
  {
    using _ = hoursLater(1);
    expect(watch.elapsedMs).toBeGreaterThanOrEqual(HOUR_MS);
  }
  nowMs += 3 * DAY_MS;
  expect(watch.elapsedMs).toBe(2 * DAY_MS);
});

describe('a sweep by a clock that is ahead', () => {
  for (const [title, offMs] of [
    ['ten days', 10 * DAY_MS],
    ['two days', 2 * DAY_MS],
  ] as const) {
    test(`by ${title} removes nothing: no file within its grace, no expired file, no marker`, async () => {
      await using made = await timedVault();
      const { hash } = await putBytes(made.vault, BODY, { name: 'removed' });
      await putBytes(made.vault, randomBytes(100), { name: 'expiring', expiresAtMs: START_MS + DAY_MS });
      await made.vault.remove(['removed']);
      await made.session.guard.run(async () => {
        const before = made.objects();
        const { vault } = await machine(made, offMs);
        await expect(vault.sweep({ waitMs: 0, ignoreGrace: true })).rejects.toMatchObject({
          code: 'invalid-input',
          message: expect.stringMatching(/^Nothing was removed: this machine's clock is \d+ days ahead of /),
        });
        expect(made.objects()).toEqual(before);
      });
      await made.vault.undelete([hash]);
      expect(BODY.equals(await getBytes(made.vault, hash))).toBe(true);
    });
  }

  test('that steps ahead while it waits for a put removes nothing', async () => {
    await using made = await timedVault();
    await putBytes(made.vault, BODY, { name: 'a' });
    await made.session.guard.end();
    await made.vault.remove(['a'], { graceMs: 0 });
    const chunks = count(made, 'chunks/');
    await made.session.guard.run(async () => {
      let offMs = 0;
      const other = await machine(made, 0);
      Object.assign(other.session, { clock: { ...systemClock, now: () => made.time.nowMs + offMs } });
      for (const bucket of made.buckets) {
        const { wrap } = bucket;
        bucket.wrap = (plain) => {
          const right = wrap(plain);
          return {
            ...right,
            put: async (name, bytes, call?: PutCall) => {
              await right.put(name, bytes, call);
              // The list stands; from now on markers seem old.
              if (name.startsWith('sweep/')) offMs = 2 * DAY_MS;
            },
          };
        };
      }
      await expect(other.vault.sweep({ waitMs: 0 })).rejects.toMatchObject({ code: 'invalid-input' });
      expect(count(made, 'chunks/')).toBe(chunks);
      expect(count(made, 'puts/')).toBe(made.buckets.length);
      // By a right clock, what that sweep has left still waits for the put.
      offMs = 0;
      for (const bucket of made.buckets) tellTime(bucket, () => made.time.nowMs);
      expect((await made.vault.sweep({ waitMs: 0 })).objectsWaiting).toBeGreaterThan(0);
      expect(count(made, 'chunks/')).toBe(chunks);
    });
  });

  test('goes on where no bucket tells the time, and where only one of three is wrong', async () => {
    await using made = await timedVault();
    const [wrong] = made.buckets;
    if (wrong === undefined) throw new Error('none');
    tellTime(wrong, () => made.time.nowMs - 10 * DAY_MS);
    await made.vault.sweep({ waitMs: 0 });
    for (const bucket of made.buckets) bucket.wrap = (plain) => plain;
    const { vault } = await machine(made, 10 * DAY_MS);
    await vault.sweep({ waitMs: 0 });
    expect(count(made, 'clock')).toBe(0);
  });
});

describe('a put by a clock that is', () => {
  for (const [title, offMs] of [
    ['behind', -10 * DAY_MS],
    ['ahead', 10 * DAY_MS],
  ] as const) {
    test(`${title} warns, and its marker is young for a sweep by a right clock, for a day and no longer`, async () => {
      await using made = await timedVault();
      const other = await machine(made, offMs);
      const warnings: Warning[] = [];
      const put = await putBytes(other.vault, BODY, {
        name: 'a',
        onWarning: (warning) => warnings.push(warning),
      });
      expect(warnings.length).toBeGreaterThan(0);
      for (const { kind, message } of warnings) {
        expect(kind).toBe('clock');
        expect(message).toMatch(new RegExp(`^This machine's clock is 10 days ${title}`));
      }
      const ages = made.objects().flatMap((name) => {
        const marker = parsePutMarkerName(name.split(' ')[1] ?? '');
        return marker === null ? [] : [made.time.nowMs - marker.createdAtMs];
      });
      expect(ages.filter((ms) => ms >= 0 && ms < MARKER_LIFETIME_MS)).toHaveLength(made.buckets.length);
      await other.session.guard.end();
      expect(count(made, 'puts/')).toBe(0);
      await made.vault.sweep({ waitMs: 0 });
      expect(BODY.equals(await getBytes(made.vault, put.hash))).toBe(true);
    });

    test(`${title} warns of a small file, too`, async () => {
      await using made = await timedVault();
      const { vault } = await machine(made, offMs);
      const warnings: Warning[] = [];
      await putBytes(vault, randomBytes(100), { name: 'a', onWarning: (warning) => warnings.push(warning) });
      expect(warnings.map(({ kind }) => kind)).toEqual(['clock']);
    });
  }

  test('set back on the way is not trusted beyond half a day either', async () => {
    await using made = await timedVault();
    await made.session.guard.run(async (guarded) => {
      made.time.nowMs -= 20 * DAY_MS;
      await guarded.keep();
      using _ = hoursLater(13);
      await expect(guarded.keep()).rejects.toMatchObject({ code: 'stale' });
    });
  });
});

describe('a removal by a clock that is', () => {
  for (const [title, offMs] of [
    ['behind', -10 * DAY_MS],
    ['ahead', 10 * DAY_MS],
  ] as const) {
    test(`${title} has its seven days all the same, and warns`, async () => {
      await using made = await timedVault();
      const { hash } = await putBytes(made.vault, BODY, { name: 'a' });
      await made.session.guard.end();
      const { vault } = await machine(made, offMs);
      const warnings: Warning[] = [];
      await vault.remove(['a'], { onWarning: (warning) => warnings.push(warning) });
      expect(warnings.map(({ kind }) => kind)).toEqual(['clock']);
      made.time.nowMs += 6 * DAY_MS;
      await made.vault.sweep({ waitMs: 0 });
      await made.vault.undelete([hash]);
      expect(BODY.equals(await getBytes(made.vault, hash))).toBe(true);
    });
  }
});

test('a bucket is not taken out by a clock that is ahead: running puts would not be waited for', async () => {
  await using made = await timedVault(4);
  await putBytes(made.vault, BODY, { name: 'a' });
  const { vault } = await machine(made, 2 * DAY_MS);
  const before = made.objects();
  await expect(vault.removeBucket('memory:1', { waitMs: 0 })).rejects.toMatchObject({
    code: 'invalid-input',
    message: expect.stringMatching(
      /^The bucket stays: this machine's clock is 48 hours|^The bucket stays: .* 2 days ahead/,
    ),
  });
  expect(made.objects()).toEqual(before);
});
