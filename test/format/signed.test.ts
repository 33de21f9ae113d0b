import { expect, test } from 'vitest';
import { refusal } from '../crypto/samples.ts';
import { decodeSigned, encodeSigned, SIGNATURE_FRAME_SIZE } from '../../src/format/signed.ts';

const signature = Buffer.alloc(64, 0xab);
const object = encodeSigned({ signed: Buffer.from('{}'), signature });

function decode(bytes: Uint8Array | string, most = object.length): ReturnType<typeof decodeSigned> {
  return decodeSigned(Buffer.from(bytes), 'A thing', most);
}

test('a signed object is its JSON and, between two line feeds, the signature', () => {
  expect(object.toString()).toBe(`{}\n${'ab'.repeat(64)}\n`);
  expect(decode(object)).toEqual({ signed: Buffer.from('{}'), signature });
  expect(decode(object.subarray(2))).toEqual({ signed: Buffer.alloc(0), signature });
});

test('one that is larger than it may be is refused', () => {
  expect(() => decode(object, object.length - 1)).toThrow(refusal('damaged'));
});

test.each([0, 1, SIGNATURE_FRAME_SIZE - 1])('the last %i bytes of one are refused', (size) => {
  expect(() => decode(object.subarray(object.length - size))).toThrow(refusal('damaged'));
});

test.each([
  ['no line feed before the signature', `{}x${'ab'.repeat(64)}\n`],
  ['no line feed at the end', `{}\n${'ab'.repeat(64)}x`],
  ['a digit in upper case', `{}\n${'ab'.repeat(63)}AB\n`],
  ['what is no digit', `{}\n${'ab'.repeat(63)}gg\n`],
  ['a signature that is too short', `{}\n${'ab'.repeat(63)}\n`],
  ['two line feeds at the end', `{}\n${'ab'.repeat(64)}\n\n`],
])('one with %s is refused', (_, text) => {
  expect(() => decode(text, 1000)).toThrow(refusal('damaged'));
});
