// What of a group of files is read, and what is referred to where it is stored: of whatever is remembered, the parts give the bytes.
import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ChunkRef } from '../../../src/format/manifest.ts';
import { partsOf } from '../../../src/vault/folders/group-parts.ts';
import type { GroupPart } from '../../../src/vault/folders/group-parts.ts';
import type { Member } from '../../../src/vault/folders/grouping.ts';
import type { DataPlace } from '../../../src/vault/folders/local-log.ts';

const KIB = 1024;
const chunkOf = (n: number, length: number): ChunkRef => ({
  tag: Buffer.alloc(32, n),
  hash: Buffer.alloc(32, n),
  length,
});
const member = (name: string, size: number): Member => ({ path: Buffer.from(name), size });
const hasData = ({ size }: Member): boolean => size > 0;

/** Parts as text: what is read in brackets, else chunk, gaps and the names of what is in it. */
function shown(parts: readonly GroupPart<Member>[]): string[] {
  return parts.map(({ members, known }) => {
    const names = members.map(({ path }) => path.toString()).join('');
    if (known === null) return `[${names}]`;
    return `${[...known.refs()].map(({ tag }) => tag[0]).join('+')}: ${known.gaps?.join(' ') ?? '-'}: ${names}`;
  });
}

const ONE = chunkOf(1, 100 * KIB);
const TWO = chunkOf(2, 20 * KIB);
const FIVE = ['a', 'b', 'c', 'd', 'e'].map((name) => member(name, 20 * KIB));
const at = (ref: ChunkRef, kib: number): DataPlace => ({ ref, start: kib * KIB });

describe('A group of which some files are where they were', () => {
  test.each<[string, readonly (DataPlace | null)[], readonly string[]]>([
    ['none', [null, null, null, null, null], ['[abcde]']],
    [
      'one changed',
      [at(ONE, 0), at(ONE, 20), null, at(ONE, 60), at(ONE, 80)],
      ['1: 0 0 61440: ab', '[c]', '1: 61440 0 0: de'],
    ],
    [
      'one went before, and one behind',
      [at(ONE, 10), at(ONE, 30), at(ONE, 50), null, null],
      ['1: 10240 0 0 30720: abc', '[de]'],
    ],
    [
      'one is in another chunk',
      [at(ONE, 0), at(ONE, 20), at(TWO, 0), at(ONE, 60), at(ONE, 80)],
      ['1: 0 0 61440: ab', '2: 0 0: c', '1: 61440 0 0: de'],
    ],
    [
      'some are the other way round',
      [at(ONE, 20), at(ONE, 0), at(ONE, 40), at(ONE, 60), at(ONE, 80)],
      ['1: 20480 61440: a', '1: 0 20480 0 0 0: bcde'],
    ],
    ['less than half of the chunk is left', [at(ONE, 0), at(ONE, 20), null, null, null], ['[abcde]']],
  ])('is in parts: %s', (_, places, expected) => {
    expect(shown(partsOf({ members: FIVE, large: false }, hasData, { whole: null, places }))).toEqual(
      expected,
    );
  });

  test('has what is without data with the files around it', () => {
    const members = [
      member('x', 0),
      FIVE[0],
      member('y', 0),
      FIVE[1],
      FIVE[2],
      member('z', 0),
      FIVE[3],
      FIVE[4],
    ].filter((one) => one !== undefined);
    const places = [at(ONE, 0), null, at(ONE, 40), at(ONE, 60), at(ONE, 80)];
    expect(shown(partsOf({ members, large: false }, hasData, { whole: null, places }))).toEqual([
      '[x]',
      '1: 0 81920: ay',
      '[b]',
      '1: 40960 0 0 0: czde',
    ]);
  });

  test('is read as a whole if it is small, large, or would be in too many parts', () => {
    const places = [at(ONE, 0), null, at(ONE, 40), at(ONE, 60), at(ONE, 80)];
    const known = { whole: null, places };
    expect(shown(partsOf({ members: FIVE, large: true }, hasData, known))).toEqual(['[abcde]']);
    const small = FIVE.map(({ path }) => ({ path, size: 12.8 * KIB }));
    expect(partsOf({ members: small, large: false }, hasData, known)).toHaveLength(3);
    const smaller = FIVE.map(({ path }) => ({ path, size: 12.8 * KIB - 1 }));
    expect(shown(partsOf({ members: smaller, large: false }, hasData, known))).toEqual(['[abcde]']);
    for (const count of [16, 17]) {
      const many = Array.from({ length: count }, (_, i) => member(`${i},`, 10 * KIB));
      const chunk = chunkOf(3, 10 * KIB * count);
      const every = many.map((_, i) => (i % 2 === 0 ? { ref: chunk, start: i * 10 * KIB } : null));
      const parts = partsOf({ members: many, large: false }, hasData, { whole: null, places: every });
      expect(parts).toHaveLength(count === 16 ? 16 : 1);
    }
  });

  test('has every member once, in order, and of each that is known the bytes of its place', () => {
    const drawn = fc.record({
      size: fc.integer({ min: 0, max: 40 * KIB }),
      chunk: fc.option(fc.integer({ min: 1, max: 3 }), { nil: null, freq: 4 }),
      start: fc.integer({ min: 0, max: 60 * KIB }),
    });
    fc.assert(
      fc.property(fc.array(drawn, { minLength: 1, maxLength: 24 }), (all) => {
        const chunks = [0, 1, 2, 3].map((n) => chunkOf(n, 100 * KIB));
        const members = all.map(({ size }, i) => member(`${i}`, size));
        const places = all
          .filter(({ size }) => size > 0)
          .map(({ chunk, start }) => (chunk === null ? null : { ref: chunks[chunk] ?? ONE, start }));
        const parts = partsOf({ members, large: false }, hasData, { whole: null, places });
        expect(parts.flatMap((part) => part.members)).toEqual(members);
        if (parts.length === 1) return;
        const got = parts.flatMap(({ members: some, known }) => {
          const files = some.filter(hasData);
          if (known === null) return files.map(() => null);
          const [ref = ONE] = [...known.refs()];
          const { gaps } = known;
          let end = 0;
          const found = files.map(({ size }, i) => {
            const start = end + (gaps?.[i] ?? NaN);
            end = start + size;
            return { ref, start };
          });
          expect(Math.min(...(gaps ?? []))).toBeGreaterThanOrEqual(0);
          expect(end + (gaps?.[files.length] ?? NaN)).toBe(ref.length);
          return found;
        });
        expect(got).toEqual(places);
      }),
    );
  });
});
