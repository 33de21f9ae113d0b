import fc from 'fast-check';
import { expect, test } from 'vitest';
import { runsOfData } from '../../src/vault/read/holes.ts';

const KIB = 1024;

/** Pieces of zeros and of other bytes, of lengths around those that matter, one after the other. */
const pieces = fc.array(
  fc.record({
    zero: fc.boolean(),
    length: fc.oneof(
      fc.integer({ min: 0, max: 200 * KIB }),
      fc.constantFrom(
        1,
        4095,
        4096,
        4097,
        60 * KIB,
        64 * KIB - 1,
        64 * KIB,
        64 * KIB + 1,
        68 * KIB,
        128 * KIB,
      ),
    ),
  }),
  { maxLength: 8 },
);

/** The same, byte for byte: the runs of whole zero blocks of the file that are long enough. */
function expectedHoles(bytes: Uint8Array, position: number): { start: number; end: number }[] {
  const holes: { start: number; end: number }[] = [];
  let from = -1;
  const end = (at: number): void => {
    if (from !== -1 && at - from >= 64 * KIB) holes.push({ start: from, end: at });
    from = -1;
  };
  let at = (4096 - (position % 4096)) % 4096;
  for (; at + 4096 <= bytes.length; at += 4096) {
    if (bytes.subarray(at, at + 4096).some((byte) => byte !== 0)) end(at);
    else if (from === -1) from = at;
  }
  end(at);
  return holes;
}

test('leaves out exactly the long runs of zero blocks', () => {
  fc.assert(
    fc.property(pieces, fc.nat({ max: 3 * 4096 }), fc.boolean(), (parts, position, shared) => {
      const size = parts.reduce((sum, { length }) => sum + length, 0);
      const bytes = new Uint8Array(shared ? new SharedArrayBuffer(size) : new ArrayBuffer(size));
      let at = 0;
      for (const { zero, length } of parts) {
        if (!zero) bytes.fill(7, at, at + length);
        at += length;
      }
      const holes: { start: number; end: number }[] = [];
      let written = 0;
      for (const { start, end } of runsOfData(bytes, position)) {
        expect(start).toBeLessThan(end);
        if (start > written) holes.push({ start: written, end: start });
        written = end;
      }
      if (written < size) holes.push({ start: written, end: size });
      expect(holes).toEqual(expectedHoles(bytes, position));
    }),
    { numRuns: 300 },
  );
});

test('a single byte in a block keeps it', () => {
  const bytes = new Uint8Array(256 * KIB);
  bytes[100 * KIB] = 1;
  expect(runsOfData(bytes, 0)).toEqual([{ start: 100 * KIB, end: 104 * KIB }]);
  expect(runsOfData(new Uint8Array(0), 5)).toEqual([]);
});
