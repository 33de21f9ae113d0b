// Published answers for the primitives that the format names, asked of the libraries in the way that the code asks them.
import { createHash, createHmac, hkdfSync, sign } from 'node:crypto';
import { expect, test } from 'vitest';
import { argon2id, privateKey, publicBytes } from '../../src/crypto/keys.ts';
import { committedKey, openOnce, sealOnce } from '../../src/crypto/sealing.ts';

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
}

test('SHA-256: FIPS 180-4, example "abc"', () => {
  const digest = createHash('sha256').update('abc').digest('hex');
  expect(digest).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});

test.each([
  [
    'test case 2',
    Buffer.from('Jefe'),
    Buffer.from('what do ya want for nothing?'),
    '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
  ],
  [
    'test case 4',
    hex('0102030405060708090a0b0c0d0e0f10111213141516171819'),
    Buffer.alloc(50, 0xcd),
    '82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b',
  ],
])('HMAC-SHA256: RFC 4231, %s', (_, key, data, answer) => {
  expect(createHmac('sha256', key).update(data).digest('hex')).toBe(answer);
});

test('HKDF-SHA256: RFC 5869, test case 1', () => {
  const salt = hex('000102030405060708090a0b0c');
  const derived = hkdfSync('sha256', Buffer.alloc(22, 0x0b), salt, hex('f0f1f2f3f4f5f6f7f8f9'), 42);
  expect(Buffer.from(derived).toString('hex')).toBe(
    '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
  );
});

test('a key and its commitment are 64 bytes of HKDF-SHA256', () => {
  const [ikm, salt] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const { key, commitment } = committedKey(ikm, salt, 'purpose');
  const derived = Buffer.from(hkdfSync('sha256', ikm, salt, 'purpose', 64));
  expect(Buffer.concat([key, commitment])).toEqual(derived);
});

test('AES-256-GCM: McGrew and Viega, test case 16', () => {
  const key = hex('feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308');
  const nonce = hex('cafebabefacedbaddecaf888');
  const aad = hex('feedfacedeadbeeffeedfacedeadbeefabaddad2');
  const plain = hex(`
    d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
    1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39`);
  const sealed = sealOnce(key, aad, plain, nonce);
  expect(sealed.toString('hex')).toBe(
    '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa' +
      '8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662' +
      '76fc6ece0f4e1768cddf8853bb2d551b',
  );
  expect(openOnce(key, aad, sealed, nonce)).toEqual(plain);
});

test('Ed25519: RFC 8032, section 7.1, test 2', () => {
  const key = privateKey('ed25519', hex('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb'));
  expect(publicBytes(key).toString('hex')).toBe(
    '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
  );
  expect(sign(null, hex('72'), key).toString('hex')).toBe(
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da' +
      '085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  );
});

// From the reference implementation's own tests (phc-winner-argon2, src/test.c, "Test Argon2id version number 13"). Version
// 0x10, Argon2i and Argon2d give other answers, so these pin what the library's defaults are.
test.each([
  [
    { memoryKib: 65_536, passes: 2, lanes: 1 },
    '09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7',
  ],
  [
    { memoryKib: 65_536, passes: 1, lanes: 1 },
    'f6a5adc1ba723dddef9b5ac1d464e180fcd9dffc9d1cbf76cca2fed795d9ca98',
  ],
  [
    { memoryKib: 256, passes: 2, lanes: 2 },
    '6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037',
  ],
])('Argon2id 0x13: the reference answer for %o', async (cost, answer) => {
  const derived = await argon2id('password', Buffer.from('somesalt'), cost, 32);
  expect(derived.toString('hex')).toBe(answer);
});
