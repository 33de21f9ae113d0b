import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fileTimeOfNs, msOfFileTime } from '../../src/format/file-time.ts';
import { MAX_TIME_MS } from '../../src/format/limits.ts';

const MAX_NS = BigInt(MAX_TIME_MS) * 1_000_000n;

test('keeps every nanosecond of its range, before 1970 too', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -MAX_NS, max: MAX_NS }), (ns) => {
      const time = fileTimeOfNs(ns);
      if (time === null) throw new Error('out of range');
      expect(Number.isSafeInteger(time.seconds)).toBe(true);
      expect(time.nanoseconds).toBeGreaterThanOrEqual(0);
      expect(time.nanoseconds).toBeLessThan(1_000_000_000);
      expect(BigInt(time.seconds) * 1_000_000_000n + BigInt(time.nanoseconds)).toBe(ns);
      // What a record holds in milliseconds is a time that a calendar has.
      const ms = msOfFileTime(time);
      expect(Number.isNaN(new Date(ms).getTime())).toBe(false);
      expect(BigInt(ms) * 1_000_000n <= ns && ns - BigInt(ms) * 1_000_000n < 1_000_000n).toBe(true);
    }),
  );
  expect(fileTimeOfNs(-1_500_000_000n)).toEqual({ seconds: -2, nanoseconds: 500_000_000 });
  expect(fileTimeOfNs(-1n)).toEqual({ seconds: -1, nanoseconds: 999_999_999 });
});

test('has nothing for what is out of range', () => {
  for (const ns of [MAX_NS + 1n, -MAX_NS - 1n, 2n ** 63n * 1_000_000_000n, -(2n ** 63n) * 1_000_000_000n]) {
    expect(fileTimeOfNs(ns)).toBeNull();
  }
  expect(fileTimeOfNs(MAX_NS)).toEqual({ seconds: 8_640_000_000_000, nanoseconds: 0 });
});
