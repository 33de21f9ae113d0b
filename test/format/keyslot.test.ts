import { isDeepStrictEqual } from 'node:util';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { unwrapMasterKey, wrapMasterKey } from '../../src/crypto/keys.ts';
import { VaultError } from '../../src/errors.ts';
import {
  decodeKeyslot,
  decodeMarker,
  encodeKeyslot,
  encodeMarker,
  KDF_LIMITS,
  keyslotAad,
  keyslotObjectName,
  MAX_JSON_OBJECT_SIZE,
} from '../../src/format/keyslot.ts';
import type { Keyslot } from '../../src/format/keyslot.ts';

const id = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex'));
const bytes = (size: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength: size, maxLength: size }).map((array) => Buffer.from(array));
const cost = (key: keyof typeof KDF_LIMITS): fc.Arbitrary<number> =>
  fc.integer({ min: KDF_LIMITS[key].least, max: KDF_LIMITS[key].most });
const slots: fc.Arbitrary<Keyslot> = fc.record({
  id,
  vaultId: id,
  createdAtMs: fc.maxSafeInteger(),
  cost: fc.record({ memoryKib: cost('memoryKib'), passes: cost('passes'), lanes: cost('lanes') }),
  salt: bytes(16),
  nonce: bytes(12),
  wrapped: bytes(48),
});

/** Changes one bit. */
function flipped(source: Uint8Array, bit: number): Uint8Array {
  const at = (bit >> 3) % source.length;
  return source.map((byte, i) => (i === at ? byte ^ (1 << (bit & 7)) : byte));
}

function decodedOrNull(source: Uint8Array): Keyslot | null {
  try {
    return decodeKeyslot(source);
  } catch (error) {
    if (error instanceof VaultError) return null;
    throw error;
  }
}

describe('a keyslot', () => {
  test('is read as it was written', () => {
    fc.assert(
      fc.property(slots, (slot) => {
        expect(decodeKeyslot(encodeKeyslot(slot))).toEqual(slot);
      }),
    );
  });

  test('is far smaller than the largest object that is read', () => {
    fc.assert(
      fc.property(slots, (slot) => {
        expect(encodeKeyslot(slot).length).toBeLessThan(MAX_JSON_OBJECT_SIZE / 16);
      }),
    );
  });

  test('is read whatever fields a later writer adds, and in whatever order', () => {
    fc.assert(
      fc.property(slots, fc.jsonValue(), (slot, value) => {
        const json: unknown = JSON.parse(encodeKeyslot(slot).toString());
        const fields = [...Object.entries(json ?? {}), ['comment', value]].toReversed();
        const rewritten = Buffer.from(JSON.stringify(Object.fromEntries(fields)));
        expect(decodeKeyslot(rewritten)).toEqual(slot);
      }),
    );
  });

  test('authenticates every field but nonce and key, one a line', () => {
    fc.assert(
      fc.property(slots, (slot) => {
        const { memoryKib, passes, lanes } = slot.cost;
        const fields = [slot.id, slot.vaultId, slot.createdAtMs, 'argon2id', 19, memoryKib, passes, lanes];
        const lines = ['vault/1 keyslot', ...fields, Buffer.from(slot.salt).toString('hex')];
        expect(Buffer.from(keyslotAad(slot)).toString()).toBe(lines.map((line) => `${line}\n`).join(''));
      }),
    );
  });

  test('with any bit changed is refused, or is the same, or does not open', async () => {
    const masterKey = Buffer.alloc(32, 7);
    const slot = await wrapMasterKey(masterKey, 'password', {
      vaultId: '5a'.repeat(16),
      createdAtMs: 1_700_000_000_000,
      cost: { memoryKib: 8192, passes: 1, lanes: 1 },
    });
    const whole = encodeKeyslot(slot);
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length * 8 - 1), async (bit) => {
        const found = decodedOrNull(flipped(whole, bit));
        const opened = found === null ? null : await unwrapMasterKey(found, 'password');
        expect(opened === null || isDeepStrictEqual(found, slot)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  test('goes by its id', () => {
    expect(keyslotObjectName('ab'.repeat(16))).toBe(`keyslots/${'ab'.repeat(16)}.json`);
  });
});

describe('a marker', () => {
  const markers = fc.record({ vaultId: id, bucketId: id });

  test('is read as it was written', () => {
    fc.assert(
      fc.property(markers, (marker) => {
        expect(decodeMarker(encodeMarker(marker))).toEqual(marker);
      }),
    );
  });

  test('is never read from other bytes than JSON', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
        expect(() => decodeMarker(noise)).toThrow(VaultError);
      }),
    );
  });

  test('is never read from other JSON', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(() => decodeMarker(Buffer.from(text))).toThrow(VaultError);
      }),
    );
  });
});
