import { describe, expect, test } from 'vitest';
import { refusal } from '../crypto/samples.ts';
import { MAX_CHUNK_SIZE, MAX_PAYLOAD_SIZE } from '../../src/format/limits.ts';
import {
  countTableEntries,
  decodeIds,
  decodeRefs,
  encodeIds,
  encodeRefs,
  ID_ENTRY_SIZE,
  isTableDepth,
  isTableEnd,
  MAX_TABLE_ENTRIES,
  MIN_TABLE_ENTRIES,
  REF_SIZE,
} from '../../src/format/tables.ts';
import type { ChunkId, ChunkRef } from '../../src/format/tables.ts';

const tag = Buffer.alloc(32, 1);
const hash = Buffer.alloc(32, 2);
const id = 'ab'.repeat(32);

function ref(length: number): ChunkRef {
  return { tag, hash, length };
}

/** A tag whose first two bytes are these. */
function starting(start: number): Buffer {
  const bytes = Buffer.alloc(32, 0xff);
  bytes.writeUInt16BE(start);
  return bytes;
}

test('depths are 0 to 3', () => {
  expect([-1, 0, 0.5, 1, 2, 3, 4].filter(isTableDepth)).toEqual([0, 1, 2, 3]);
});

describe('a table chunk', () => {
  test.each([
    [0x0000, true],
    [0x0400, true],
    [0xfc00, true],
    [0x0001, false],
    [0x0100, false],
    [0x0200, false],
    [0x03ff, false],
    [0xffff, false],
  ])('may end after a tag that starts with %i: %s', (start, ends) => {
    expect(isTableEnd(starting(start), MIN_TABLE_ENTRIES)).toBe(ends);
    expect(isTableEnd(starting(start), MAX_TABLE_ENTRIES - 1)).toBe(ends);
  });

  test('has 256 entries at least, whatever their tags', () => {
    expect(MIN_TABLE_ENTRIES).toBe(256);
    for (const entries of [1, MIN_TABLE_ENTRIES - 1]) expect(isTableEnd(starting(0), entries)).toBe(false);
  });

  test('has 4,096 entries at most, whatever their tags', () => {
    expect(MAX_TABLE_ENTRIES).toBe(4096);
    expect(isTableEnd(starting(1), MAX_TABLE_ENTRIES)).toBe(true);
  });
});

describe('entries that can be read', () => {
  test.each([1, MAX_CHUNK_SIZE])('are read as they were written, with a length of %i', (length) => {
    const refs = [ref(length), { tag: hash, hash: tag, length: 5 }];
    expect(decodeRefs(encodeRefs(refs))).toEqual(refs);
  });

  test.each([0, MAX_CHUNK_SIZE + 1])('are refused with a length of %i', (length) => {
    expect(() => decodeRefs(encodeRefs([ref(5), ref(length)]))).toThrow(refusal('damaged'));
  });

  test.each([1, REF_SIZE - 1, REF_SIZE + 1])('are refused where there are %i bytes', (size) => {
    expect(() => decodeRefs(Buffer.alloc(size, 1))).toThrow(refusal('damaged'));
  });

  test('are not written with a tag or a hash of another size', () => {
    const error = new RangeError('A tag and a hash have 32 bytes.');
    expect(() => encodeRefs([{ ...ref(1), tag: Buffer.alloc(31) }])).toThrow(error);
    expect(() => encodeRefs([{ ...ref(1), hash: Buffer.alloc(33) }])).toThrow(error);
  });
});

describe('entries that can be looked for', () => {
  test.each([256, MAX_PAYLOAD_SIZE])('are read as they were written, with a length of %i', (padded) => {
    const ids: ChunkId[] = [
      { id, padded },
      { id: '01'.repeat(32), padded: 256 },
    ];
    expect(decodeIds(encodeIds(ids))).toEqual(ids);
  });

  test.each([255, MAX_PAYLOAD_SIZE + 1])('are refused with a length of %i', (padded) => {
    expect(() =>
      decodeIds(
        encodeIds([
          { id, padded: 256 },
          { id, padded },
        ]),
      ),
    ).toThrow(refusal('damaged'));
  });

  test.each([1, ID_ENTRY_SIZE - 1, ID_ENTRY_SIZE + 1])('are refused where there are %i bytes', (size) => {
    expect(() => decodeIds(Buffer.alloc(size, 1))).toThrow(refusal('damaged'));
  });

  test.each([id.slice(2), `${id}a`, `${id}ab`, `zz${id.slice(2)}`])(
    'are not written with the id %s',
    (wrong) => {
      expect(() => encodeIds([{ id: wrong, padded: 256 }])).toThrow(
        new RangeError('A chunk id has 64 hex digits.'),
      );
    },
  );
});

describe('the chunks of a table', () => {
  test('have so many entries together', () => {
    expect(countTableEntries([ref(MAX_TABLE_ENTRIES * REF_SIZE), ref(REF_SIZE)], REF_SIZE)).toBe(4097);
  });

  test.each([1, REF_SIZE + 1, (MAX_TABLE_ENTRIES + 1) * REF_SIZE])('are none of %i bytes', (length) => {
    expect(() => countTableEntries([ref(REF_SIZE), ref(length)], REF_SIZE)).toThrow(refusal('damaged'));
  });
});
