import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { setupReceiver, setupSender } from '../../src/crypto/hpke.ts';
import { privateKey, publicBytes } from '../../src/crypto/keys.ts';
import answers from '../vectors/hpke.json' with { type: 'json' };
import { refusal } from './samples.ts';

function hex(text: string): Buffer {
  return Buffer.from(text, 'hex');
}

describe.each(answers.vectors)('RFC 9180, appendix A.7, mode $mode', (vector) => {
  const preShared =
    vector.psk === undefined ? undefined : { psk: hex(vector.psk), pskId: hex(vector.psk_id) };
  const setup = { info: hex(vector.info), preShared };
  const ephemeral = privateKey('x25519', hex(vector.skEm));
  const receiver = privateKey('x25519', hex(vector.skRm));
  const exported = vector.exports.map((answer) => answer.exported_value);

  test('the sender sends and exports what is published', () => {
    const { enc, exportSecret } = setupSender({ ...setup, publicKey: hex(vector.pkRm), ephemeral });
    expect(enc.toString('hex')).toBe(vector.enc);
    expect(
      vector.exports.map(({ exporter_context: context, L }) => exportSecret(hex(context), L).toString('hex')),
    ).toEqual(exported);
  });

  test('the receiver exports what is published', () => {
    expect(publicBytes(receiver).toString('hex')).toBe(vector.pkRm);
    const exportSecret = setupReceiver({ ...setup, privateKey: receiver, enc: hex(vector.enc) });
    expect(
      vector.exports.map(({ exporter_context: context, L }) => exportSecret(hex(context), L).toString('hex')),
    ).toEqual(exported);
  });
});

const receiver = generateKeyPairSync('x25519').privateKey;
const setup = {
  info: Buffer.from('info'),
  preShared: { psk: Buffer.alloc(32, 7), pskId: Buffer.from('id') },
};
const context = Buffer.from('context');

test('both sides export the same, of any size; each session differs', () => {
  const one = setupSender({ ...setup, publicKey: publicBytes(receiver) });
  const other = setupSender({ ...setup, publicKey: publicBytes(receiver) });
  const got = setupReceiver({ ...setup, privateKey: receiver, enc: one.enc });
  for (const size of [1, 31, 32, 33, 64, 8160]) {
    const secret = one.exportSecret(context, size);
    expect(secret).toHaveLength(size);
    expect(got(context, size)).toEqual(secret);
  }
  expect(other.enc).not.toEqual(one.enc);
  expect(other.exportSecret(context, 32)).not.toEqual(one.exportSecret(context, 32));
});

test.each([0, 8161])('%i bytes are not exported', (size) => {
  const { exportSecret } = setupSender({ ...setup, publicKey: publicBytes(receiver) });
  expect(() => exportSecret(context, size)).toThrow(RangeError);
});

test.each([
  ['info', { ...setup, info: Buffer.from('other') }],
  ['pre-shared key', { ...setup, preShared: { ...setup.preShared, psk: Buffer.alloc(32, 8) } }],
  ['id of the pre-shared key', { ...setup, preShared: { ...setup.preShared, pskId: Buffer.from('x') } }],
  ['mode', { info: setup.info }],
])('another %s gives another secret', (_, changed) => {
  const { enc, exportSecret } = setupSender({ ...setup, publicKey: publicBytes(receiver) });
  const got = setupReceiver({ ...changed, privateKey: receiver, enc });
  expect(got(context, 32)).not.toEqual(exportSecret(context, 32));
});

// Points of small order, from RFC 7748's security considerations and the lists that follow from it: the agreed secret is zero.
test.each([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
])('a point of small order is refused: %s', (point) => {
  expect(() => setupReceiver({ ...setup, privateKey: receiver, enc: hex(point) })).toThrow(
    refusal('damaged'),
  );
  expect(() => setupSender({ ...setup, publicKey: hex(point) })).toThrow(refusal('damaged'));
});

test.each([0, 31, 33])('a key of %i bytes is refused', (size) => {
  const key = Buffer.alloc(size, 9);
  expect(() => setupReceiver({ ...setup, privateKey: receiver, enc: key })).toThrow(refusal('damaged'));
  expect(() => setupSender({ ...setup, publicKey: key })).toThrow(refusal('damaged'));
});

test.each([
  ['of 31 bytes', { psk: Buffer.alloc(31), pskId: Buffer.from('id') }],
  ['without an id', { psk: Buffer.alloc(32), pskId: Buffer.alloc(0) }],
])('a pre-shared key %s is a bug of the caller', (_, preShared) => {
  expect(() => setupSender({ ...setup, preShared, publicKey: publicBytes(receiver) })).toThrow(RangeError);
});
