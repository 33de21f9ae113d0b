import * as fc from 'fast-check';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { encodeParity, reconstructData } from '../../src/crypto/erasure.ts';
import { seededRandom } from '../support/seeded-random.ts';
import vectors from '../vectors/erasure.json' with { type: 'json' };

/** Bytes that the kernel takes at a time, and more than that. */
const BLOCK = 16 * 1024;
const SIZES = [1, 2, 15, 16, 17, 31, 333, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5];

describe('known answers', () => {
  test.each([...vectors.published.cases, ...vectors.computed.cases])(
    'parity of $k+$m is that of the implementations it is compatible with',
    ({ k, m, shards }) => {
      const expected = shards.map(fromHex);
      const given = expected.map((shard, i) =>
        i < k ? shard.slice() : new Uint8Array(shard.length).fill(0xff),
      );
      encodeParity(k, m, given);
      expect(hex(given)).toEqual(shards);
    },
  );

  test.each(vectors.computed.cases)('factors of $k+$m are those of their matrix', ({ k, m, parityRows }) => {
    // The unit vectors as data, a byte each: parity is then the factors themselves.
    const shards = Array.from({ length: k + m }, () => new Uint8Array(k));
    for (let i = 0; i < k; i += 1) shards[i]?.fill(1, i, i + 1);
    encodeParity(k, m, shards);
    expect(hex(shards.slice(k))).toEqual(parityRows);
  });
});

describe('encodeParity', () => {
  test('gives what the textbook gives, for every redundancy up to 16 shards', () => {
    const random = seededRandom(1);
    for (let k = 1; k <= 16; k += 1) {
      const data = Array.from({ length: k }, () => random.bytes(3));
      const expected = textbookShards(16 - k, data);
      for (let m = 0; k + m <= 16; m += 1)
        expect(hex(encode(m, data))).toEqual(hex(expected.slice(0, k + m)));
    }
  });

  test.each(SIZES)('gives what the textbook gives for shards of %i bytes', (size) => {
    const random = seededRandom(size);
    const data = Array.from({ length: 3 }, () => random.bytes(size));
    expect(hex(encode(2, data))).toEqual(hex(textbookShards(2, data)));
  });

  test('computes as many parity shards at once as there can be', () => {
    const data = [seededRandom(2).bytes(BLOCK + 1), seededRandom(3).bytes(BLOCK + 1)];
    expect(hex(encode(14, data))).toEqual(hex(textbookShards(14, data)));
  });

  test('takes empty shards', () => {
    expect(encode(1, [new Uint8Array(0), new Uint8Array(0)])).toHaveLength(3);
  });

  test('changes neither the data shards nor what lies around the parity shards', () => {
    const random = seededRandom(4);
    for (const size of SIZES) {
      // All shards in one buffer, a byte of 0xa5 between them, so that each starts at another alignment.
      const arena = new Uint8Array(new SharedArrayBuffer(1 + 5 * (size + 1))).fill(0xa5);
      const views = Array.from({ length: 5 }, (_, i) =>
        arena.subarray(1 + i * (size + 1), (i + 1) * (size + 1)),
      );
      const data = views.slice(0, 3).map((view) => {
        view.set(random.bytes(size));
        return view.slice();
      });
      encodeParity(3, 2, views);
      expect(hex(views)).toEqual(hex(textbookShards(2, data)));
      for (let gap = 0; gap < arena.length; gap += size + 1) expect(arena[gap]).toBe(0xa5);
    }
  });

  test.each([
    ['k = 0', 0, 2, 2, 'There is no redundancy 0+2.'],
    ['m = -1', 2, -1, 1, 'There is no redundancy 2+-1.'],
    ['half a shard', 1.5, 1.5, 3, 'There is no redundancy 1.5+1.5.'],
    ['17 shards', 14, 3, 17, 'There is no redundancy 14+3.'],
    ['a shard missing', 2, 1, 2, '2+1 takes 3 shards of equal length.'],
    ['a shard too many', 2, 1, 4, '2+1 takes 3 shards of equal length.'],
  ])('refuses %s', (_, k, m, count, message) => {
    const shards = Array.from({ length: count }, () => new Uint8Array(4));
    expect(() => encodeParity(k, m, shards)).toThrow(new RangeError(message));
  });

  test('refuses shards of unequal length', () => {
    expect(() => encodeParity(2, 1, [new Uint8Array(4), new Uint8Array(4), new Uint8Array(5)])).toThrow(
      RangeError,
    );
  });
});

describe('reconstruction', () => {
  test('gives every shard back from every choice of at least k, for all redundancies up to 6 shards', () => {
    const random = seededRandom(5);
    for (let k = 1; k <= 6; k += 1) {
      for (let m = 0; k + m <= 6; m += 1) {
        const shards = encode(
          m,
          Array.from({ length: k }, () => random.bytes(19)),
        );
        for (let pattern = 0; pattern < 2 ** (k + m); pattern += 1) {
          const left = shards.map((shard, i) => ((pattern >> i) & 1 ? shard : null));
          if (left.filter((shard) => shard !== null).length < k) continue;
          expect(allBack(k, m, left)).toEqual(hex(shards));
        }
      }
    }
  });

  test('gives every shard back from any k of up to 16, whatever the size and the alignment', () => {
    fc.assert(
      fc.property(
        fc
          .integer({ min: 1, max: 16 })
          .chain((k) => fc.tuple(fc.constant(k), fc.integer({ min: 0, max: 16 - k }))),
        fc.oneof(fc.integer({ min: 0, max: 70 }), fc.constantFrom(...SIZES)),
        fc.integer(),
        ([k, m], size, seed) => {
          const random = seededRandom(seed);
          const view = (): Uint8Array => {
            const start = random.below(17);
            const bytes = random.bytes(start + size);
            if (random.below(2) === 0) return bytes.subarray(start);
            const shared = new Uint8Array(new SharedArrayBuffer(start + size)).subarray(start);
            shared.set(bytes.subarray(start));
            return shared;
          };
          const shards = Array.from({ length: k + m }, view);
          encodeParity(k, m, shards);
          const kept = new Set(random.shuffle([...shards.keys()]).slice(0, k + random.below(m + 1)));
          const left = shards.map((shard, i) => (kept.has(i) ? shard : null));
          expect(allBack(k, m, left)).toEqual(hex(shards));
        },
      ),
      { numRuns: 150 },
    );
  });

  test('of a data shard gives the others as they are', () => {
    const shards = encode(2, [Uint8Array.of(1, 2), Uint8Array.of(3, 4), Uint8Array.of(5, 6)]);
    const data = reconstructData(3, 2, without(shards, 0, 2));
    expect(data[1]).toBe(shards[1]);
    expect(hex(data)).toEqual(['0102', '0304', '0506']);
  });

  test('of nothing that is missing computes nothing', () => {
    const shards = encode(1, [Uint8Array.of(1), Uint8Array.of(2)]);
    expect(reconstructData(2, 1, shards)).toEqual(shards.slice(0, 2));
  });

  test('refuses fewer than k shards', () => {
    const shards = encode(1, [Uint8Array.of(1), Uint8Array.of(2)]);
    expect(() => reconstructData(2, 1, without(shards, 0, 2))).toThrow(/1 shards cannot give back/);
    expect(() => reconstructData(2, 1, [null, null, null])).toThrow(RangeError);
  });
});

test('threads that code at the same time do not disturb each other', async () => {
  const random = seededRandom(6);
  const source = `
    import { parentPort, workerData } from 'node:worker_threads';
    import { encodeParity } from ${JSON.stringify(new URL('../../src/crypto/erasure.ts', import.meta.url).href)};
    for (let i = 0; i < 20; i += 1) encodeParity(2, 1, workerData);
    parentPort.postMessage('done');
  `;
  const jobs = Array.from({ length: 3 }, () =>
    Array.from({ length: 3 }, () => {
      const view = new Uint8Array(new SharedArrayBuffer(100_001));
      view.set(random.bytes(view.length));
      return view;
    }),
  );
  await Promise.all(
    jobs.map(async (shards) => {
      const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
        workerData: shards,
      });
      await new Promise((resolve, reject) => {
        worker.once('exit', resolve);
        worker.once('error', reject);
      });
      expect(hex(shards)).toEqual(hex(textbookShards(1, shards.slice(0, 2))));
    }),
  );
});

// --- helpers ------------------------------------------------------------------------------------------

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'));
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** For comparing: `toEqual` is slow on bytes. */
function hex(shards: readonly Uint8Array[]): string[] {
  return shards.map(toHex);
}

/** All k + m shards of these data shards. The parity shards are not zero before. */
function encode(m: number, data: readonly Uint8Array[]): Uint8Array[] {
  const shards = [
    ...data,
    ...Array.from({ length: m }, () => new Uint8Array(data[0]?.length ?? 0).fill(0xff)),
  ];
  encodeParity(data.length, m, shards);
  return shards;
}

function without(shards: readonly Uint8Array[], ...indices: readonly number[]): (Uint8Array | null)[] {
  return shards.map((shard, i) => (indices.includes(i) ? null : shard));
}

/** All shards from those that are left: the data shards computed, the parity shards encoded from them anew. */
function allBack(k: number, m: number, left: readonly (Uint8Array | null)[]): string[] {
  return hex(encode(m, reconstructData(k, m, left)));
}

// --- the textbook: no tables, matrices as they are defined, Gauss's elimination ----------------------------

function times(a: number, b: number): number {
  let product = 0;
  for (let [x, y] = [a, b]; y > 0; y >>= 1) {
    if (y & 1) product ^= x;
    x = x & 0x80 ? (x << 1) ^ 0x11d : x << 1;
  }
  return product;
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum ^ times(value, b[i] ?? 0), 0);
}

function inverseMatrix(matrix: readonly (readonly number[])[]): number[][] {
  const size = matrix.length;
  let rows = matrix.map((row, r) => [...row, ...row.map((_, c) => Number(c === r))]);
  for (let column = 0; column < size; column += 1) {
    const pivot = rows.slice(column).find((row) => row[column] !== 0) ?? [];
    const scale =
      Array.from({ length: 256 }, (_, x) => x).find((x) => times(x, pivot[column] ?? 0) === 1) ?? 0;
    const unit = pivot.map((value) => times(value, scale));
    const others = rows.filter((row) => row !== pivot);
    rows = others.map((row) => row.map((value, c) => value ^ times(row[column] ?? 0, unit[c] ?? 0)));
    rows.splice(column, 0, unit);
  }
  return rows.map((row) => row.slice(size));
}

function textbookShards(m: number, data: readonly Uint8Array[]): Uint8Array[] {
  const k = data.length;
  const vandermonde = Array.from({ length: k + m }, (_, r) => {
    const row = [1];
    while (row.length < k) row.push(times(row.at(-1) ?? 0, r));
    return row;
  });
  const top = inverseMatrix(vandermonde.slice(0, k));
  return vandermonde.map((row) => {
    const factors = row.map((_, c) =>
      dot(
        row,
        top.map((topRow) => topRow[c] ?? 0),
      ),
    );
    return Uint8Array.from({ length: data[0]?.length ?? 0 }, (_, i) =>
      dot(
        factors,
        data.map((shard) => shard[i] ?? 0),
      ),
    );
  });
}
