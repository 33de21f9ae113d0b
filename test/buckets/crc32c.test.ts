import { Buffer } from 'node:buffer';
import { crc32c } from '@node-rs/crc32';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { crc32c as oracle } from '../support/crc32c.ts';

// RFC 3720, appendix B.4, where the bytes of the sum are printed lowest first; and the usual check value.
test.each([
  ['32 bytes of zeroes', new Uint8Array(32), 0x8a9136aa],
  ['32 bytes of ones', new Uint8Array(32).fill(0xff), 0x62a8ab43],
  ['32 incrementing bytes', Uint8Array.from({ length: 32 }, (_, index) => index), 0x46dd794e],
  ['32 decrementing bytes', Uint8Array.from({ length: 32 }, (_, index) => 31 - index), 0x113fdb5c],
  ['the digits 1 to 9', Buffer.from('123456789'), 0xe3069283],
  ['nothing', new Uint8Array(), 0],
])('the CRC-32C of %s is known', (_, bytes, expected) => {
  expect(crc32c(bytes)).toBe(expected);
});

test('any bytes, at any place in memory, have the CRC-32C that another implementation finds', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(9), (bytes, offset) => {
      const shared = new Uint8Array(new SharedArrayBuffer(bytes.length + offset), offset);
      shared.set(bytes);
      expect(crc32c(shared)).toBe(oracle(bytes));
    }),
  );
});
