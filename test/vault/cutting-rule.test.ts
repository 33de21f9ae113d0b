// The cutter's rule, on no more bytes than it takes to see it: `content-cutter.test.ts` has what it makes of many.
import { expect, test } from 'vitest';
import { gearTable } from '../../src/crypto/cutting.ts';
import { MAX_CUT_SIZE } from '../../src/format/limits.ts';
import { ContentCutter, LEAST_CUT_SIZE } from '../../src/vault/write/content-cutter.ts';
import { seededRandom } from '../support/seeded-random.ts';

const KEY = Buffer.alloc(32, 1);
const MIB = 1024 * 1024;
const CONTENT = seededRandom(41).bytes(5 * MIB);

/** Where the cutter ends chunks, of whose content it is given the bytes up to each of these places, and then all. */
function lengthsOf(content: Uint8Array, places: readonly number[] = []): number[] {
  const cutter = new ContentCutter(KEY);
  const lengths: number[] = [];
  let start = 0;
  for (const known of [...places, content.length]) {
    for (;;) {
      const length = cutter.next(content.subarray(start, known), known === content.length);
      if (length === null) break;
      lengths.push(length);
      start += length;
    }
  }
  return lengths;
}

/** The rule as it is written down, a byte at a time. */
function plainLengthsOf(content: Uint8Array): number[] {
  const gear = gearTable(KEY);
  const lengths: number[] = [];
  let length = 0;
  let hash = 0;
  for (const byte of content) {
    length += 1;
    if (length > LEAST_CUT_SIZE) hash = (hash * 2 + (gear[byte] ?? 0)) | 0;
    const mask = length <= 840 * 1024 ? 0x7ffffe00 : 0x7fffe000;
    if ((length <= LEAST_CUT_SIZE || (hash & mask) !== 0) && length < MAX_CUT_SIZE) continue;
    lengths.push(length);
    length = 0;
    hash = 0;
  }
  return length === 0 ? lengths : [...lengths, length];
}

test('A content is cut where it always was: what is stored already is found again', () => {
  const lengths = lengthsOf(CONTENT);
  expect(lengths.slice(0, 4)).toEqual([1_183_993, 870_795, 1_163_919, 1_042_806]);
  expect(lengths).toEqual(plainLengthsOf(CONTENT));
});

test('What never says where it ends is cut at the most, and at its own end', () => {
  const same = new Uint8Array(MAX_CUT_SIZE + LEAST_CUT_SIZE);
  expect(lengthsOf(same)).toEqual([MAX_CUT_SIZE, LEAST_CUT_SIZE]);
  expect(lengthsOf(same.subarray(0, MAX_CUT_SIZE))).toEqual([MAX_CUT_SIZE]);
  expect(lengthsOf(same, [MAX_CUT_SIZE - 1, MAX_CUT_SIZE])).toEqual([MAX_CUT_SIZE, LEAST_CUT_SIZE]);
});

test('The cutter finds the same ends however the bytes come', () => {
  const content = CONTENT.subarray(0, 3 * MIB);
  const whole = lengthsOf(content);
  const [first = 0] = whole;
  for (const places of [
    [1, 2, LEAST_CUT_SIZE - 1, LEAST_CUT_SIZE, LEAST_CUT_SIZE + 1, LEAST_CUT_SIZE + 2],
    [840 * 1024 - 1, 840 * 1024, 840 * 1024 + 1],
    [first - 2, first - 1, first, first + 1],
    [first - 1, first + 1],
  ])
    expect(lengthsOf(content, places)).toEqual(whole);
});

test('The cutter tells an end as soon as it is known', () => {
  const [first = 0] = lengthsOf(CONTENT.subarray(0, 2 * MIB));
  for (const known of [first + 1, first + 2, 2 * MIB])
    expect(new ContentCutter(KEY).next(CONTENT.subarray(0, known), false)).toBe(first);
  expect(new ContentCutter(KEY).next(CONTENT.subarray(0, first - 1), false)).toBeNull();
  expect(new ContentCutter(KEY).next(new Uint8Array(MAX_CUT_SIZE), false)).toBe(MAX_CUT_SIZE);
});

test('The cutter finds no end in no bytes', () => {
  const cutter = new ContentCutter(KEY);
  expect(cutter.next(new Uint8Array(0), false)).toBeNull();
  expect(cutter.next(new Uint8Array(0), true)).toBeNull();
  expect(cutter.next(new Uint8Array(1), false)).toBeNull();
  expect(cutter.next(new Uint8Array(1), true)).toBe(1);
});
