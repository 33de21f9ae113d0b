import fc from 'fast-check';
import { expect, test } from 'vitest';
import { padBody } from '../../src/format/chunk.ts';
import { openPutMarker, sealPutMarker } from '../../src/crypto/put-marker.ts';
import { committedKey, sealOnce } from '../../src/crypto/sealing.ts';
import {
  encodePutMarker,
  encodePutMarkerHeader,
  parsePutMarkerName,
  putMarkerName,
} from '../../src/format/removal.ts';
import { acceptedChanges, outcome, sampleKeys, VAULT_ID, WRITER } from './samples.ts';

const keys = sampleKeys();
const ID = 'ab'.repeat(32);

/** Seals any payload as the writer of the samples can. */
function sealPayload(payload: Uint8Array, claimed?: Buffer): Buffer {
  const salt = Buffer.alloc(32, 9);
  const { key, commitment: own } = committedKey(keys.writer.markers, salt, 'vault/2 put marker');
  const commitment = claimed ?? own;
  const header = encodePutMarkerHeader({ rootNumber: 1, writer: WRITER, salt, commitment });
  return Buffer.concat([header, sealOnce(key, header, payload)]);
}

test('says what it was given, and by whom', () => {
  const id = fc
    .uint8Array({ minLength: 32, maxLength: 32 })
    .map((bytes) => Buffer.from(bytes).toString('hex'));
  fc.assert(
    fc.property(fc.array(id, { maxLength: 50 }), (ids) => {
      expect(openPutMarker(keys, sealPutMarker(keys, ids))).toEqual({ writer: WRITER, ids });
    }),
    { numRuns: 30 },
  );
});

test('is opened by other holders of full keyslots', () => {
  const colleague = sampleKeys({ writer: 'f1'.repeat(16) });
  expect(openPutMarker(colleague, sealPutMarker(keys, [ID]))).toEqual({ writer: WRITER, ids: [ID] });
});

test('names 100,000 ids, no more', () => {
  const ids = Array.from({ length: 100_001 }, (_, i) => i.toString(16).padStart(64, '0'));
  expect(openPutMarker(keys, sealPutMarker(keys, ids.slice(1))).ids).toEqual(ids.slice(1));
  expect(outcome(() => sealPutMarker(keys, ids))).toBe('invalid-input');
});

test.each(['ab', 'AB'.repeat(32), 'zz'.repeat(32)])('does not name %s', (id) => {
  expect(outcome(() => sealPutMarker(keys, [id]))).toBe('invalid-input');
});

test('is refused with any byte of it changed or missing', () => {
  expect(acceptedChanges(sealPutMarker(keys, [ID]), (changed) => openPutMarker(keys, changed))).toEqual([]);
});

test('of any bytes is damaged or unsupported', () => {
  const start = Buffer.from('vlt2puts');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.boolean(), (bytes, isStarted) => {
      const object = isStarted ? Buffer.concat([start, bytes]) : bytes;
      expect(outcome(() => openPutMarker(keys, object))).toMatch(/damaged|unsupported/);
    }),
  );
});

// Of another root, so that nothing but its size can make it damaged.
test.each([363, 8 * 1024 * 1024 + 1])('of %i bytes is damaged', (size) => {
  const object = Buffer.alloc(size);
  object.write('vlt2puts\0\0\0\x02', 'latin1');
  expect(outcome(() => openPutMarker(keys, object))).toBe('damaged');
});

test.each([
  ['another root secret', sampleKeys({ root: 2 }), 'damaged'],
  ['another vault', sampleKeys({ vaultId: 'f0'.repeat(16) }), 'damaged'],
  ['another root number', sampleKeys({ rootNumber: 2 }), 'unsupported'],
])('of %s is refused', (_, others, code) => {
  expect(outcome(() => openPutMarker(keys, sealPutMarker(others, [ID])))).toBe(code);
});

test.each([
  ['the id of another vault', padBody(encodePutMarker('f0'.repeat(16), [ID])), 'damaged'],
  ['padding that is missing', paddedBy(0), 'damaged'],
  ['padding of another length', paddedBy(600), 'damaged'],
  ['no JSON in it', padBody(Buffer.from('none')), 'damaged'],
  ['an unknown codec', withCodec(2), 'unsupported'],
  ['a compressed body', withCodec(1), 'damaged'],
])('sealed with %s is refused', (_, payload, code) => {
  expect(outcome(() => openPutMarker(keys, sealPayload(payload)))).toBe(code);
});

test('that its key opens, with a commitment to another key, is refused', () => {
  const sealed = sealPayload(padBody(encodePutMarker(VAULT_ID, [ID])), Buffer.alloc(32, 1));
  expect(outcome(() => openPutMarker(keys, sealed))).toBe('damaged');
});

test('sealed by hand as it must be is opened', () => {
  expect(openPutMarker(keys, sealPayload(padBody(encodePutMarker(VAULT_ID, [ID]))))).toEqual({
    writer: WRITER,
    ids: [ID],
  });
});

function paddedBy(padding: number): Buffer {
  const body = encodePutMarker(VAULT_ID, [ID, ID, ID, ID]);
  const trailer = Buffer.alloc(5);
  trailer.writeUInt32BE(body.length, 1);
  return Buffer.concat([body, Buffer.alloc(padding), trailer]);
}

function withCodec(codec: number): Buffer {
  const payload = padBody(encodePutMarker(VAULT_ID, [ID]));
  payload[payload.length - 5] = codec;
  return payload;
}

test('hides how many ids it names, but for their order of size', () => {
  expect(sealPutMarker(keys, []).length).toBe(sealPutMarker(keys, [ID]).length);
});

test('has its time in its name', () => {
  const name = putMarkerName(1_700_000_000_000, '0123456789abcdef');
  expect(name).toBe('puts/01700000000000.0123456789abcdef');
  expect(parsePutMarkerName(name)).toEqual({ createdAtMs: 1_700_000_000_000, random: '0123456789abcdef' });
  const others = ['puts/', 'puts/1.0123456789abcdef', 'puts/01700000000000.0123456789ABCDEF', `${name}0`];
  expect(others.filter((other) => parsePutMarkerName(other) !== null)).toEqual([]);
});

test.each([-1, 100_000_000_000_000, 1.5, NaN])('has no time of %d', (time) => {
  expect(outcome(() => putMarkerName(time, '0123456789abcdef'))).toBe('invalid-input');
});
