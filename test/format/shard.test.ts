import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import {
  finishShardObject,
  formatRedundancy,
  isRedundancy,
  isShardIntact,
  MAX_SEALED_SIZE,
  MAX_SHARDS,
  parseRedundancy,
  parseShardHeader,
  parseShardObjectName,
  sealingOf,
  SHARD_HEADER_SIZE,
  shardObjectName,
  shardObjectSize,
  shardSize,
} from '../../src/format/shard.ts';
import type { ShardHeader } from '../../src/format/shard.ts';
import { refusal } from '../crypto/samples.ts';

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
  }),
);

const ID = 'c0'.repeat(32);
const NONCE = Buffer.from('000102030405060708090a0b', 'hex');
const EXAMPLE: ShardHeader = { k: 2, m: 1, index: 1, sealedSize: 301, nonce: NONCE };

/** A whole shard object, filled with a pattern. */
function shardObject(header: ShardHeader, chunkId = ID): Uint8Array {
  const object = new Uint8Array(shardObjectSize(header.sealedSize, header.k)).fill(0xa5);
  finishShardObject(object, chunkId, header);
  return object;
}

describe('a redundancy', () => {
  test.each([
    [0, 1],
    [1, -1],
    [1, 16],
    [17, 0],
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

  test.each([
    '',
    '+',
    '2',
    '2+',
    '+1',
    '0+1',
    '0+0',
    '02+1',
    '2+01',
    '2 +1',
    '2+1\n',
    '16+1',
    '1+16',
    '100+1',
    '2-1',
  ])('is not read from %j', (text) => {
    expect(parseRedundancy(text)).toBeNull();
  });
});

describe("a shard object's name", () => {
  const names = fc
    .tuple(shards, hex(64), hex(8), hex(16))
    .map(([shard, chunkId, sealing, upload]) => Object.assign(shard, { chunkId, sealing, upload }));

  test('is read as it was written', () => {
    fc.assert(
      fc.property(names, (name) => {
        expect(parseShardObjectName(shardObjectName(name))).toEqual(name);
      }),
    );
  });

  test('has one spelling: whatever is read is written the same', () => {
    const changes = fc.record({ at: fc.nat(120), text: fc.string({ maxLength: 3 }), skip: fc.nat(3) });
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
  test('has the parts in this order', () => {
    const name = { chunkId: id, sealing: '89abcdef', index: 2, k: 2, m: 1, upload: '0123456789abcdef' };
    expect(shardObjectName(name)).toBe(`chunks/${id}.89abcdef.2of2+1.0123456789abcdef`);
  });

  test.each([
    `chunks/${id}.89abcdef.3of2+1.0123456789abcdef`,
    `chunks/${id}.89abcdef.0of0+1.0123456789abcdef`,
    `chunks/${id}.89abcdef.0of16+1.0123456789abcdef`,
    `chunks/${id}.89abcdef.00of2+1.0123456789abcdef`,
    `chunks/${id}.89abcdef.0of2+1.0123456789ABCDEF`,
    `chunks/${id}.89abcdef.0of2+1.0123456789abcde`,
    `chunks/${id}.89abcdef.0of2+1.0123456789abcdef\n`,
    `chunks/${id}.89abcdef.0of2+1.0123456789abcdef.partial`,
    `chunks/${id}.89abcde.0of2+1.0123456789abcdef`,
    `chunks/${id}.89ABCDEF.0of2+1.0123456789abcdef`,
    `chunks/${id}.0of2+1.0123456789abcdef`,
    `chunks/${id.slice(1)}.89abcdef.0of2+1.0123456789abcdef`,
    `x/chunks/${id}.89abcdef.0of2+1.0123456789abcdef`,
    `manifests/${id}`,
  ])('is not read from %s', (name) => {
    expect(parseShardObjectName(name)).toBeNull();
  });
});

test('a sealing is the beginning of SHA-256 over nonce and sealed size', () => {
  const digest = createHash('sha256')
    .update(Buffer.from('000102030405060708090a0b0000012d', 'hex'))
    .digest('hex');
  expect(sealingOf(NONCE, 301)).toBe(digest.slice(0, 8));
  expect(sealingOf(NONCE, 302)).not.toBe(digest.slice(0, 8));
});

describe("a shard object's header", () => {
  const headers = fc
    .tuple(shards, fc.integer({ min: 21, max: 5000 }), fc.uint8Array({ minLength: 12, maxLength: 12 }))
    .map(([shard, sealedSize, nonce]) => Object.assign(shard, { sealedSize, nonce: Buffer.from(nonce) }));

  test('is read as it was written, and the checksum is right', () => {
    fc.assert(
      fc.property(headers, hex(64), (header, chunkId) => {
        const object = shardObject(header, chunkId);
        expect(parseShardHeader(object)).toEqual(header);
        expect(isShardIntact(object, chunkId)).toBe(true);
      }),
    );
  });

  test('has its fields in these places, and a CRC32C of the id, itself and the shard', () => {
    const object = Buffer.from(shardObject(EXAMPLE));
    expect(object.toString('hex', 0, 28)).toBe(
      `${Buffer.from('vlt2shrd').toString('hex')}020101000000012d${NONCE.toString('hex')}`,
    );
    const covered = Buffer.concat([Buffer.from(ID, 'hex'), object.subarray(0, 28), object.subarray(32)]);
    expect(object.readUInt32BE(28)).toBe(crc32c(covered));
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  });

  // In place: what is checked and what is written may be memory that threads share.
  test('that lies inside other, shared memory is written and read at its place', () => {
    const object = shardObject(EXAMPLE);
    const memory = new Uint8Array(new SharedArrayBuffer(object.length + 33)).fill(0xa5);
    const view = memory.subarray(11, 11 + object.length);
    finishShardObject(view, ID, EXAMPLE);
    expect([...view]).toEqual([...object]);
    expect(memory.subarray(0, 11).every((byte) => byte === 0xa5)).toBe(true);
    expect(parseShardHeader(view)).toEqual(EXAMPLE);
    expect(isShardIntact(view, ID)).toBe(true);
  });

  test('keeps its nonce when the memory it was read from is used again', () => {
    const object = shardObject(EXAMPLE);
    const { nonce } = parseShardHeader(object);
    object.fill(0);
    expect(nonce).toEqual(NONCE);
  });

  test.each([
    ['k 0', { ...EXAMPLE, k: 0, m: 3 }],
    ['k and m 17 together', { ...EXAMPLE, k: 2, m: 15 }],
    ['an index that is k + m', { ...EXAMPLE, index: 3 }],
    ['a sealed chunk smaller than trailer and tag', { ...EXAMPLE, sealedSize: 20 }],
  ])('with %s is refused', (_, header) => {
    const object = new Uint8Array(SHARD_HEADER_SIZE + Math.ceil(header.sealedSize / Math.max(1, header.k)));
    finishShardObject(object, ID, header);
    expect(() => parseShardHeader(object)).toThrow(refusal('damaged'));
  });

  test('with a reserved byte that is not 0 is refused, whatever the checksum says', () => {
    const object = shardObject(EXAMPLE);
    object[11] = 1;
    expect(() => parseShardHeader(object)).toThrow(refusal('damaged'));
  });

  test('admits the smallest sealed chunk', () => {
    expect(parseShardHeader(shardObject({ ...EXAMPLE, sealedSize: 21 })).sealedSize).toBe(21);
  });

  test('of an object with a byte more or less than it says is refused', () => {
    const object = new Uint8Array(shardObjectSize(301, 2) + 1);
    for (const wrong of [object, object.subarray(0, -2)]) {
      finishShardObject(wrong, ID, EXAMPLE);
      expect(() => parseShardHeader(wrong)).toThrow(refusal('damaged'));
    }
  });

  test.each(['vlt1shrd', 'vlt3shrd'])('of another format, %s, asks for another version', (magic) => {
    const object = shardObject(EXAMPLE);
    object.set(Buffer.from(magic));
    expect(() => parseShardHeader(object)).toThrow(refusal('unsupported'));
  });

  test('admits the largest sealed chunk and refuses a larger one', () => {
    const object = new Uint8Array(shardObjectSize(MAX_SEALED_SIZE + 1, 1));
    finishShardObject(object, ID, { ...EXAMPLE, k: 1, sealedSize: MAX_SEALED_SIZE + 1 });
    expect(() => parseShardHeader(object)).toThrow(refusal('damaged'));
    const largest = object.subarray(0, -1);
    finishShardObject(largest, ID, { ...EXAMPLE, k: 1, sealedSize: MAX_SEALED_SIZE });
    expect(parseShardHeader(largest).sealedSize).toBe(MAX_SEALED_SIZE);
  });

  test('made of any bytes is read or refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.boolean(), (bytes, magic) => {
        if (magic) bytes.set(Buffer.from('vlt2shrd').subarray(0, bytes.length));
        expect(accepted(bytes)).toBe(false);
      }),
      { numRuns: 1000 },
    );
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

  test('does not match its checksum under the id of another chunk', () => {
    for (const id of [`${'c0'.repeat(31)}c1`, '00'.repeat(32)]) expect(isShardIntact(whole, id)).toBe(false);
  });

  test('cut at any place is refused', () => {
    for (let length = 0; length < whole.length; length += 1) {
      expect(accepted(whole.subarray(0, length))).toBe(false);
      expect(isShardIntact(whole.subarray(0, length), ID)).toBe(false);
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

test('shardSize is the share of the sealed chunk, rounded up', () => {
  expect([0, 1, 2, 3, 4].map((sealedSize) => shardSize(sealedSize, 3))).toEqual([0, 1, 1, 1, 2]);
  expect(shardSize(1_048_625, 2)).toBe(524_313);
});

/** CRC-32C bit by bit, as RFC 3720 defines it. */
function crc32c(bytes: Uint8Array): number {
  let remainder = 0xffffffff;
  for (const byte of bytes) {
    remainder ^= byte;
    for (let bit = 0; bit < 8; bit += 1) {
      remainder = (remainder & 1) === 0 ? remainder >>> 1 : (remainder >>> 1) ^ 0x82f63b78;
    }
  }
  return ~remainder >>> 0;
}

/** Whether an object passes both the header's check and the checksum's. */
function accepted(object: Uint8Array): boolean {
  try {
    parseShardHeader(object);
  } catch (error) {
    if (error instanceof VaultError) return false;
    throw error;
  }
  return isShardIntact(object, ID);
}
