/** Cutting a source of bytes: every byte once and in order, in memory that is given back whatever happens. */
import { describe, expect, test } from 'vitest';
import { MAX_CUT_SIZE } from '../../src/format/limits.ts';
import { chunked } from '../../src/vault/write/chunked.ts';
import { ContentCutter, LEAST_CUT_SIZE } from '../../src/vault/write/content-cutter.ts';
import { cutByContent } from '../../src/vault/write/cut-by-content.ts';
import { seededRandom } from '../support/seeded-random.ts';

/** Pieces of memory of which it is known who has them. */
class Pieces {
  readonly #size: number;
  readonly lent = new Set<Buffer>();
  most = 0;
  borrowed = 0;

  constructor(size: number) {
    this.#size = size;
  }

  borrow(): Promise<Buffer> {
    const piece = Buffer.alloc(this.#size, 0xee);
    this.lent.add(piece);
    this.borrowed += 1;
    this.most = Math.max(this.most, this.lent.size);
    return Promise.resolve(piece);
  }

  bodyOf(piece: Buffer): Buffer {
    return piece;
  }

  giveBack(piece: Buffer): void {
    if (!this.lent.delete(piece)) throw new Error('It was given back twice.');
  }
}

/** Reads bytes to their end; `failsAt`: which read fails. */
function readerOf(bytes: Uint8Array, failsAt = Infinity): (target: Uint8Array) => Promise<number> {
  let at = 0;
  let reads = 0;
  return (target) => {
    reads += 1;
    if (reads === failsAt) return Promise.reject(new Error('torn'));
    const part = bytes.subarray(at, at + target.length);
    target.set(part);
    at += part.length;
    return Promise.resolve(part.length);
  };
}

const random = seededRandom(5);
const BYTES = random.bytes(35);

describe('chunks of one size', () => {
  test.each([
    [0, [[0, true]]],
    [9, [[9, true]]],
    [10, [[10, true]]],
    [
      11,
      [
        [10, false],
        [1, true],
      ],
    ],
    [
      20,
      [
        [10, false],
        [10, true],
      ],
    ],
    [
      35,
      [
        [10, false],
        [10, false],
        [10, false],
        [5, true],
      ],
    ],
  ] as const)('of %d bytes', async (size, expected) => {
    const memory = new Pieces(10);
    const seen: [number, boolean][] = [];
    const parts: Uint8Array[] = [];
    for await (const chunk of chunked(readerOf(BYTES.subarray(0, size)), memory)) {
      seen.push([chunk.length, chunk.isLast]);
      parts.push(Uint8Array.from(chunk.memory.subarray(0, chunk.length)));
      memory.giveBack(chunk.memory);
    }
    expect(seen).toEqual(expected);
    expect(Buffer.concat(parts)).toEqual(Buffer.from(BYTES.subarray(0, size)));
    expect(memory.lent.size).toBe(0);
    expect(memory.most).toBeLessThanOrEqual(2);
  });

  test('give all memory back where reading fails, or nobody wants more', async () => {
    for (const failsAt of [1, 2, 3]) {
      const memory = new Pieces(10);
      const reading = async (): Promise<void> => {
        for await (const chunk of chunked(readerOf(BYTES, failsAt), memory)) memory.giveBack(chunk.memory);
      };
      await expect(reading()).rejects.toThrow('torn');
      expect(memory.lent.size).toBe(0);
    }
    const memory = new Pieces(10);
    for await (const chunk of chunked(readerOf(BYTES), memory)) {
      memory.giveBack(chunk.memory);
      break;
    }
    expect(memory.lent.size).toBe(0);
  });
});

describe('chunks that are cut by content', () => {
  const KEY = Buffer.alloc(32, 7);
  const LONG = random.bytes(3 * MAX_CUT_SIZE + 12_345);

  /** Where the cutter ends chunks that has all bytes at once. */
  function endsOf(bytes: Uint8Array): number[] {
    const cutter = new ContentCutter(KEY);
    const lengths: number[] = [];
    for (let at = 0; at < bytes.length; at += lengths.at(-1) ?? 0)
      lengths.push(cutter.next(bytes.subarray(at), true) ?? 0);
    return lengths;
  }

  test.each([0, 1, LEAST_CUT_SIZE - 1, LEAST_CUT_SIZE, 512 * 1024, 512 * 1024 + 1, LONG.length])(
    'of %d bytes are those of the cutter',
    async (size) => {
      const bytes = LONG.subarray(0, size);
      const memory = new Pieces(MAX_CUT_SIZE);
      const lengths: number[] = [];
      const parts: Uint8Array[] = [];
      for await (const chunk of cutByContent(readerOf(bytes), memory, new ContentCutter(KEY))) {
        lengths.push(chunk.length);
        parts.push(Uint8Array.from(chunk.memory.subarray(0, chunk.length)));
        // Whoever takes it may keep it; another one is not held meanwhile.
        expect(memory.lent.size).toBe(1);
        memory.giveBack(chunk.memory);
      }
      expect(lengths).toEqual(endsOf(bytes));
      expect(Buffer.concat(parts).equals(bytes)).toBe(true);
      expect(memory.lent.size).toBe(0);
      // Nor is more waited for than it takes.
      expect(memory.borrowed).toBe(Math.max(1, lengths.length));
    },
  );

  test('lose no bytes that come with the last ones, behind an end', async () => {
    const [first = 0, second = 0] = endsOf(LONG);
    for (const size of [first + 1, first + 100, first + second + 1]) {
      const memory = new Pieces(MAX_CUT_SIZE);
      const lengths: number[] = [];
      const bytes = LONG.subarray(0, size);
      for await (const chunk of cutByContent(readerOf(bytes), memory, new ContentCutter(KEY))) {
        lengths.push(chunk.length);
        memory.giveBack(chunk.memory);
      }
      expect(lengths).toEqual(endsOf(bytes));
      expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(size);
    }
  });

  test('give all memory back where reading fails, or nobody wants more', async () => {
    for (const failsAt of [1, 2, 9]) {
      const memory = new Pieces(MAX_CUT_SIZE);
      const reading = async (): Promise<void> => {
        const chunks = cutByContent(readerOf(LONG, failsAt), memory, new ContentCutter(KEY));
        for await (const chunk of chunks) memory.giveBack(chunk.memory);
      };
      await expect(reading()).rejects.toThrow('torn');
      expect(memory.lent.size).toBe(0);
    }
    const memory = new Pieces(MAX_CUT_SIZE);
    for await (const chunk of cutByContent(readerOf(LONG), memory, new ContentCutter(KEY))) {
      memory.giveBack(chunk.memory);
      break;
    }
    expect(memory.lent.size).toBe(0);
  });

  test('use no more of the memory than a chunk may have', async () => {
    const memory = new Pieces(MAX_CUT_SIZE + 100_000);
    const zeros = Buffer.alloc(MAX_CUT_SIZE + 50_000);
    const lengths: number[] = [];
    for await (const chunk of cutByContent(readerOf(zeros), memory, new ContentCutter(KEY))) {
      lengths.push(chunk.length);
      memory.giveBack(chunk.memory);
    }
    expect(lengths).toEqual(endsOf(zeros));
    expect(Math.max(...lengths)).toBeLessThanOrEqual(MAX_CUT_SIZE);
  });
});
