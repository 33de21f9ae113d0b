// Where contents are cut: by what is in them, so that an edit moves the ends beside it and no others.
import { hash as sha2, hkdfSync } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Lender } from '../../src/concurrency/semaphore.ts';
import { gearTable, lotOf } from '../../src/crypto/cutting.ts';
import { MAX_CUT_SIZE } from '../../src/format/limits.ts';
import { ContentCutter, LEAST_CUT_SIZE } from '../../src/vault/write/content-cutter.ts';
import { cutByContent } from '../../src/vault/write/cut-by-content.ts';
import { seededRandom } from '../support/seeded-random.ts';

const KEY = Buffer.alloc(32, 1);
const MIB = 1024 * 1024;
const CONTENT = seededRandom(41).bytes(24 * MIB);

/** The chunks of a content that is at hand. */
function chunksOf(content: Uint8Array, key: Uint8Array = KEY): Uint8Array[] {
  const cutter = new ContentCutter(key);
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < content.length;) {
    const length = cutter.next(content.subarray(at), true);
    if (length === null || length === 0) throw new Error('No end where the content ends');
    chunks.push(content.subarray(at, at + length));
    at += length;
  }
  return chunks;
}

const lengthsOf = (chunks: readonly Uint8Array[]): number[] => chunks.map(({ length }) => length);

describe('A content', () => {
  test('has chunks of 256 KiB to 4 MiB, 1 MiB on average', () => {
    const lengths = lengthsOf(chunksOf(seededRandom(42).bytes(64 * MIB)));
    expect(Math.min(...lengths.slice(0, -1))).toBeGreaterThanOrEqual(LEAST_CUT_SIZE);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(MAX_CUT_SIZE);
    const mean = lengths.slice(0, -1).reduce((sum, length) => sum + length, 0) / (lengths.length - 1);
    expect(mean / MIB).toBeCloseTo(1, 0.8);
  });

  test.each([0, 1, 7, 255])('of nothing but bytes %i is cut within the limits', (byte) => {
    const lengths = lengthsOf(chunksOf(new Uint8Array(10 * MIB).fill(byte)));
    expect(Math.min(...lengths.slice(0, -1))).toBeGreaterThanOrEqual(LEAST_CUT_SIZE);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(MAX_CUT_SIZE);
  });

  test('is cut elsewhere with another key', () => {
    const ends = (key: Uint8Array): Set<number> => {
      let at = 0;
      return new Set(chunksOf(CONTENT, key).map(({ length }) => (at += length)));
    };
    const common = [...ends(KEY)].filter((end) => ends(Buffer.alloc(32, 2)).has(end));
    expect(common).toEqual([CONTENT.length]);
  });

  test('that is edited somewhere shares all but a few chunks', () => {
    const known = new Set(chunksOf(CONTENT).map((chunk) => sha2('sha256', chunk)));
    fc.assert(
      fc.property(
        fc.nat(CONTENT.length - 1),
        fc.integer({ min: 0, max: 200_000 }),
        fc.integer({ min: 0, max: 200_000 }),
        (at, removed, inserted) => {
          const bytes = seededRandom(at).bytes(inserted);
          const edited = Buffer.concat([CONTENT.subarray(0, at), bytes, CONTENT.subarray(at + removed)]);
          const others = chunksOf(edited).filter((chunk) => !known.has(sha2('sha256', chunk)));
          expect(others.length).toBeLessThanOrEqual(5);
        },
      ),
      { numRuns: 8, seed: 43 },
    );
  });
});

test('The cutter finds the same ends however the bytes come', () => {
  const whole = lengthsOf(chunksOf(CONTENT.subarray(0, 6 * MIB)));
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 700_000 }), { minLength: 1, maxLength: 20 }), (steps) => {
      const cutter = new ContentCutter(KEY);
      const lengths: number[] = [];
      let start = 0;
      let known = 0;
      for (let i = 0; start < 6 * MIB; i += 1) {
        const length = cutter.next(CONTENT.subarray(start, known), known === 6 * MIB);
        if (length === null) known = Math.min(6 * MIB, known + (steps[i % steps.length] ?? 1));
        else lengths.push(length);
        start += length ?? 0;
      }
      expect(lengths).toEqual(whole);
    }),
    { numRuns: 20 },
  );
});

/** A source of bytes in reads of its own, and memory to lend. */
function sourceOf(content: Uint8Array, { pieces = 1, failing = Infinity } = {}) {
  let at = 0;
  let reads = 0;
  const lent = new Set<Uint8Array>();
  const lender = new Lender<Uint8Array>(pieces, () => new Uint8Array(MAX_CUT_SIZE));
  return {
    lent,
    read: (target: Uint8Array): Promise<number> => {
      reads += 1;
      if (reads === failing) return Promise.reject(new Error('read'));
      const part = content.subarray(at, at + target.length);
      target.set(part);
      at += part.length;
      return Promise.resolve(part.length);
    },
    memory: {
      async borrow() {
        const piece = await lender.borrow();
        lent.add(piece);
        return piece;
      },
      bodyOf: (piece: Uint8Array) => piece,
      giveBack(piece: Uint8Array) {
        lent.delete(piece);
        lender.giveBack(piece);
      },
    },
  };
}

describe('cutByContent', () => {
  test.each([0, 1, 300_000, 512 * 1024, MIB, 5 * MIB, 12 * MIB + 17])(
    'cuts a source of %i bytes as the cutter says, in the memory of one chunk',
    async (size) => {
      const content = CONTENT.subarray(0, size);
      const { read, memory, lent } = sourceOf(content);
      const got: Buffer[] = [];
      for await (const { memory: piece, length } of cutByContent(read, memory, new ContentCutter(KEY))) {
        got.push(Buffer.from(piece.subarray(0, length)));
        memory.giveBack(piece);
      }
      expect(lengthsOf(got)).toEqual(lengthsOf(chunksOf(content)));
      expect(Buffer.concat(got).equals(content)).toBe(true);
      expect(lent.size).toBe(0);
    },
  );

  test.each([1, 2, 9])('gives back what it holds when read number %i fails', async (failing) => {
    const { read, memory, lent } = sourceOf(CONTENT, { failing });
    const cutting = async (): Promise<void> => {
      for await (const chunk of cutByContent(read, memory, new ContentCutter(KEY)))
        memory.giveBack(chunk.memory);
    };
    await expect(cutting()).rejects.toThrow('read');
    expect(lent.size).toBe(0);
  });

  test('leaves what it has passed on to the consumer that stops early', async () => {
    const { read, memory, lent } = sourceOf(CONTENT);
    for await (const chunk of cutByContent(read, memory, new ContentCutter(KEY))) {
      expect(lent).toEqual(new Set([chunk.memory]));
      memory.giveBack(chunk.memory);
      break;
    }
    expect(lent.size).toBe(0);
  });
});

describe('What is derived from the cut key', () => {
  test('is a table by HKDF', () => {
    const table = gearTable(KEY);
    expect(table).toHaveLength(256);
    expect(
      Buffer.from(table.buffer).equals(Buffer.from(hkdfSync('sha256', KEY, '', 'vault/2 gear', 1024))),
    ).toBe(true);
  });

  test('are lots of names: the same each time, others with another key, and spread evenly', () => {
    const names = Array.from({ length: 20_000 }, (_, i) => Buffer.from(`folder ${i % 20}/file ${i}.c`));
    const lots = names.map(lotOf(KEY));
    expect(lots).toEqual(names.map(lotOf(KEY)));
    expect(new Set(lots).size).toBeGreaterThan(19_990);
    expect(new Set([...lots, ...names.map(lotOf(Buffer.alloc(32, 2)))]).size).toBeGreaterThan(39_980);
    const tenths = Array.from(
      { length: 10 },
      (_, i) => lots.filter((lot) => Math.floor(lot * 10) === i).length,
    );
    expect(Math.min(...tenths)).toBeGreaterThan(1800);
    expect(Math.max(...tenths)).toBeLessThan(2200);
    expect(lotOf(KEY)(Buffer.from('docs/report.pdf'))).toBe(0.8866088821087033);
  });
});
