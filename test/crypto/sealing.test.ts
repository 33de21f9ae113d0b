import { describe, expect, test } from 'vitest';
import { isCommitment, openOnce, sealOnce } from '../../src/crypto/sealing.ts';

const key = Buffer.alloc(32, 1);
const aad = Buffer.from('aad');

describe('what is sealed', () => {
  test.each([0, 1, 1000])('is opened, also %i bytes of it', (size) => {
    const sealed = sealOnce(key, aad, Buffer.alloc(size, 7));
    expect(sealed).toHaveLength(size + 16);
    expect(openOnce(key, aad, sealed)).toEqual(Buffer.alloc(size, 7));
  });

  test.each([0, 1, 15])('is not opened of %i bytes: the tag alone has more', (size) => {
    expect(openOnce(key, aad, sealOnce(key, aad, Buffer.alloc(0)).subarray(0, size))).toBeNull();
  });
});

test('a commitment is that of one key, and has its size', () => {
  const commitment = Buffer.alloc(32, 3);
  expect(isCommitment(Buffer.alloc(32, 3), commitment)).toBe(true);
  expect(isCommitment(Buffer.alloc(32, 4), commitment)).toBe(false);
  for (const size of [0, 31, 33]) expect(isCommitment(Buffer.alloc(size, 3), commitment)).toBe(false);
});
