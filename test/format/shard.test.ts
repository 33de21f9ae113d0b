import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { finishShardObject, isShardIntact } from '../../src/crypto/chunk.ts';
import { VaultError } from '../../src/errors.ts';
import {
  formatRedundancy,
  isRedundancy,
  MAX_SEALED_SIZE,
  MAX_SHARDS,
  parseRedundancy,
  parseShardHeader,
  parseShardObjectName,
  SHARD_HEADER_SIZE,
  shardObjectName,
  shardObjectSize,
  shardSize,
  writeShardHeader,
} from '../../src/format/shard.ts';
import type { ShardHeader } from '../../src/format/shard.ts';

const hex = (digits: number): fc.Arbitrary<string> =>
  fc.string({
    unit: fc.nat(15).map((digit) => digit.toString(16)),
    minLength: digits,
    maxLength: digits,
  });
const redundancies = fc
  .integer({ min: 1, max: MAX_SHARDS })
  .chain((k) => fc.record({ k: fc.constant(k), m: fc.integer({ min: 0, max: MAX_SHARDS - k }) }));
const shards = redundancies.chain(({ k, m }) =>
  fc.record({
    k: fc.constant(k),
    m: fc.constant(m),
    index: fc.integer({ min: 0, max: k + m - 1 }),
    chunkId: hex(64),
  }),
);

/** A whole shard object, filled with a pattern. */
function shardObject(header: ShardHeader): Uint8Array {
  const object = new Uint8Array(shardObjectSize(header.sealedSize, header.k)).fill(0xa5);
  finishShardObject(object, header);
  return object;
}

const EXAMPLE: ShardHeader = { k: 2, m: 1, index: 1, sealedSize: 301, chunkId: 'c0'.repeat(32) };

describe('a redundancy', () => {
  test.each([
    [0, 1],
    [1, -1],
    [1, 32],
    [33, 0],
    [1.5, 1],
    [1, Number.NaN],
  ])('is not %d+%d', (k, m) => {
    expect(isRedundancy({ k, m })).toBe(false);
  });

  test('is read as it was written', () => {
    fc.assert(
      fc.property(redundancies, (redundancy) => {
        expect(parseRedundancy(formatRedundancy(redundancy))).toEqual(redundancy);
      }),
    );
  });

  test.each(['', '+', '2', '2+', '+1', '0+1', '0+0', '02+1', '2+01', '2 +1', '2+1\n', '32+1', '1+32', '2-1'])(
    'is not read from %j',
    (text) => {
      expect(parseRedundancy(text)).toBeNull();
    },
  );
});

describe("a shard object's name", () => {
  const names = fc.tuple(shards, hex(16)).map(([shard, generation]) => Object.assign(shard, { generation }));

  test('is read as it was written', () => {
    fc.assert(
      fc.property(names, (name) => {
        expect(parseShardObjectName(shardObjectName(name))).toEqual(name);
      }),
    );
  });

  test('has one spelling: whatever is read is written the same', () => {
    const changes = fc.record({ at: fc.nat(110), text: fc.string({ maxLength: 3 }), skip: fc.nat(3) });
    fc.assert(
      fc.property(names, changes, (name, { at, text, skip }) => {
        const whole = shardObjectName(name);
        const changed = whole.slice(0, at) + text + whole.slice(at + skip);
        const found = parseShardObjectName(changed);
        expect(found === null || shardObjectName(found) === changed).toBe(true);
      }),
    );
  });

  const id = 'ab'.repeat(32);
  test.each([
    `chunks/${id}.3of2+1.0123456789abcdef`,
    `chunks/${id}.0of0+1.0123456789abcdef`,
    `chunks/${id}.0of32+1.0123456789abcdef`,
    `chunks/${id}.00of2+1.0123456789abcdef`,
    `chunks/${id}.0of2+1.0123456789ABCDEF`,
    `chunks/${id}.0of2+1.0123456789abcde`,
    `chunks/${id}.0of2+1.0123456789abcdef\n`,
    `chunks/${id}.0of2+1.0123456789abcdef.partial`,
    `chunks/${id.slice(1)}.0of2+1.0123456789abcdef`,
    `x/chunks/${id}.0of2+1.0123456789abcdef`,
    `manifests/${id}`,
  ])('is not read from %s', (name) => {
    expect(parseShardObjectName(name)).toBeNull();
  });
});

describe("a shard object's header", () => {
  const headers = fc
    .tuple(shards, fc.integer({ min: 17, max: 5000 }))
    .map(([shard, sealedSize]) => Object.assign(shard, { sealedSize }));

  test('is read as it was written, and the checksum is right', () => {
    fc.assert(
      fc.property(headers, (header) => {
        const object = shardObject(header);
        expect(parseShardHeader(object)).toEqual(header);
        expect(isShardIntact(object)).toBe(true);
      }),
    );
  });

  test('that lies inside other memory is read at its place', () => {
    const object = shardObject(EXAMPLE);
    const memory = new Uint8Array(object.length + 33);
    memory.set(object, 11);
    expect(parseShardHeader(memory.subarray(11, 11 + object.length))).toEqual(EXAMPLE);
  });

  test.each([
    ['k 0', { ...EXAMPLE, k: 0, m: 3 }],
    ['k and m 33 together', { ...EXAMPLE, k: 2, m: 31 }],
    ['an index that is k + m', { ...EXAMPLE, index: 3 }],
    ['a sealed chunk of a tag alone', { ...EXAMPLE, sealedSize: 16 }],
  ])('with %s is refused', (_, header) => {
    const object = new Uint8Array(SHARD_HEADER_SIZE + Math.ceil(header.sealedSize / Math.max(1, header.k)));
    writeShardHeader(object, header);
    expect(() => parseShardHeader(object)).toThrow(expect.objectContaining({ code: 'damaged' }));
  });

  test('of an object with a byte more or less than it says is refused', () => {
    const object = new Uint8Array(shardObjectSize(301, 2) + 1);
    for (const wrong of [object, object.subarray(0, -2)]) {
      writeShardHeader(wrong, EXAMPLE);
      expect(() => parseShardHeader(wrong)).toThrow(expect.objectContaining({ code: 'damaged' }));
    }
  });

  test('admits the largest sealed chunk and refuses a larger one', () => {
    // Only the header counts here, so the memory behind it is never touched.
    const object = new Uint8Array(shardObjectSize(MAX_SEALED_SIZE + 1, 1));
    writeShardHeader(object, { ...EXAMPLE, k: 1, sealedSize: MAX_SEALED_SIZE + 1 });
    expect(() => parseShardHeader(object)).toThrow(expect.objectContaining({ code: 'damaged' }));
    const largest = object.subarray(0, -1);
    writeShardHeader(largest, { ...EXAMPLE, k: 1, sealedSize: MAX_SEALED_SIZE });
    expect(parseShardHeader(largest).sealedSize).toBe(MAX_SEALED_SIZE);
  });
});

describe('a shard object', () => {
  const whole = shardObject(EXAMPLE);

  test('with any bit changed is refused or does not match its checksum', () => {
    for (let bit = 0; bit < whole.length * 8; bit += 1) {
      const changed = Uint8Array.from(whole);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(accepted(changed)).toBe(false);
    }
  });

  test('cut at any place is refused', () => {
    for (let length = 0; length < whole.length; length += 1) {
      expect(accepted(whole.subarray(0, length))).toBe(false);
    }
  });

  test('with anything behind it is refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), (more) => {
        expect(accepted(Buffer.concat([whole, more]))).toBe(false);
      }),
    );
  });

  test('is sized so that k shards hold the sealed chunk and k - 1 bytes more at most', () => {
    fc.assert(
      fc.property(fc.integer({ min: 17, max: MAX_SEALED_SIZE }), redundancies, (sealedSize, { k }) => {
        const together = k * shardSize(sealedSize, k);
        expect(together).toBeGreaterThanOrEqual(sealedSize);
        expect(together).toBeLessThan(sealedSize + k);
        expect(shardObjectSize(sealedSize, k)).toBe(SHARD_HEADER_SIZE + together / k);
      }),
    );
  });
});

/** Whether an object passes both the header's check and the checksum's. */
function accepted(object: Uint8Array): boolean {
  try {
    parseShardHeader(object);
  } catch (error) {
    if (error instanceof VaultError) return false;
    throw error;
  }
  return isShardIntact(object);
}
