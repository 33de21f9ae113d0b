import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { deriveSubkeys } from '../../src/crypto/keys.ts';
import {
  manifestHash,
  nameTag,
  openManifest,
  openRecord,
  sealManifest,
  sealRecord,
  startContentTag,
} from '../../src/crypto/seal.ts';
import { VaultError } from '../../src/errors.ts';
import { MAX_CHUNK_SIZE, payloadSize, SEAL_OVERHEAD } from '../../src/format/chunk.ts';
import {
  encodeManifest,
  MANIFEST_HEADER_SIZE,
  MANIFEST_MAGIC,
  MAX_MANIFEST_SIZE,
} from '../../src/format/manifest.ts';
import type { Manifest } from '../../src/format/manifest.ts';

const VAULT_ID = '0f'.repeat(16);
const keys = deriveSubkeys(Buffer.alloc(32, 1), VAULT_ID);
const otherKeys = deriveSubkeys(Buffer.alloc(32, 2), VAULT_ID);
const damaged = expect.objectContaining({ code: 'damaged' });

function manifest(name: string): Manifest {
  return {
    head: {
      name,
      size: 10,
      createdAtMs: 1,
      modifiedAtMs: null,
      mode: null,
      expiresAtMs: null,
      chunkSize: 65_536,
      redundancy: { k: 2, m: 1 },
      chunks: 1,
      tableDepth: 0,
    },
    table: [{ chunkId: 'ab'.repeat(32), length: 10 }],
  };
}

function flipped(source: Uint8Array, bit: number): Buffer {
  const changed = Buffer.from(source);
  changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
  return changed;
}

describe('a sealed manifest', () => {
  const sealed = sealManifest(keys, manifest('a name'));

  test('opens to what was sealed', () => {
    const names = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1000 });
    fc.assert(
      fc.property(names, (name) => {
        const own = sealManifest(keys, manifest(name));
        expect(openManifest(keys, own, manifestHash(own))).toEqual(manifest(name));
      }),
    );
  });

  test('has another hash each time, so that equal files cannot be told', () => {
    expect(manifestHash(sealManifest(keys, manifest('a name')))).not.toBe(manifestHash(sealed));
  });

  test('hides the length of the name', () => {
    const sizes = ['a', 'b'.repeat(15)].map((name) => sealManifest(keys, manifest(name)).length);
    expect(new Set(sizes).size).toBe(1);
  });

  test('with the longest name and the largest table that stays inside is within the limit', () => {
    // A name of control characters is longest in JSON. Tables larger than the largest chunk are stored as chunks.
    const body = encodeManifest({ ...manifest('\u0001'.repeat(16_384)), table: [] }).length + MAX_CHUNK_SIZE;
    const payload = payloadSize(body, { chunkSize: null, isLast: true });
    expect(MANIFEST_HEADER_SIZE + payload + SEAL_OVERHEAD).toBeLessThanOrEqual(MAX_MANIFEST_SIZE);
  });

  test('does not open under another hash', () => {
    expect(() => openManifest(keys, sealed, '0'.repeat(64))).toThrow(damaged);
  });

  // Below, the hash is that of the changed bytes: somebody who changes an object can rename it too.
  test('with any bit changed does not open', () => {
    for (let bit = 0; bit < sealed.length * 8; bit += 1) {
      const changed = flipped(sealed, bit);
      expect(() => openManifest(keys, changed, manifestHash(changed))).toThrow(VaultError);
    }
  });

  test('cut anywhere does not open', () => {
    for (let length = 0; length < sealed.length; length += 1) {
      const changed = sealed.subarray(0, length);
      expect(() => openManifest(keys, changed, manifestHash(changed))).toThrow(damaged);
    }
  });

  test('of a newer version asks for a newer reader', () => {
    const changed = Buffer.from(sealed);
    changed.write('vlt2mnfs');
    expect(() => openManifest(keys, changed, manifestHash(changed))).toThrow(
      expect.objectContaining({ code: 'unsupported' }),
    );
  });

  test('of another vault is known by its commitment before anything is opened', () => {
    const foreign = sealManifest(otherKeys, manifest('a name'));
    expect(() => openManifest(keys, foreign, manifestHash(foreign))).toThrow(/key of another vault/);
  });

  test('starts with its magic, the given salt, and is the same for the same salt', () => {
    const salt = Buffer.alloc(32, 5);
    const own = sealManifest(keys, manifest('a name'), salt);
    expect(own.subarray(0, 40)).toEqual(Buffer.concat([MANIFEST_MAGIC, salt]));
    expect(sealManifest(keys, manifest('a name'), salt)).toEqual(own);
  });
});

describe("a catalog's record", () => {
  test('opens to what was sealed', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.string(), (value, purpose) => {
        const opened = openRecord(keys, purpose, sealRecord(keys, purpose, value));
        expect(JSON.stringify(opened)).toBe(JSON.stringify(value));
      }),
      { numRuns: 30 },
    );
  });

  test('does not open for another purpose, or in another vault', () => {
    const sealed = sealRecord(keys, 'file 1', { name: 'a' });
    expect(() => openRecord(keys, 'file 2', sealed)).toThrow(damaged);
    expect(() => openRecord(otherKeys, 'file 1', sealed)).toThrow(damaged);
    expect(() => openRecord({ ...keys, vaultId: '1f'.repeat(16) }, 'file 1', sealed)).toThrow(damaged);
  });

  test('with any bit changed does not open', () => {
    const sealed = sealRecord(keys, 'file 1', { name: 'a' });
    for (let bit = 0; bit < sealed.length * 8; bit += 1) {
      expect(() => openRecord(keys, 'file 1', flipped(sealed, bit))).toThrow(damaged);
    }
  });

  test('cut anywhere does not open', () => {
    const sealed = sealRecord(keys, 'file 1', { name: 'a' });
    for (let length = 0; length < sealed.length; length += 1) {
      expect(() => openRecord(keys, 'file 1', sealed.subarray(0, length))).toThrow(damaged);
    }
  });

  test('hides lengths up to a step, and says that it is damaged without saying what it held', () => {
    const lengths = ['', 'x'.repeat(100)].map((name) => sealRecord(keys, 'p', name).length);
    expect(new Set(lengths).size).toBe(1);
    expect(() => openRecord(keys, 'file 1', sealRecord(otherKeys, 'file 1', 'secret'))).not.toThrow(/secret/);
  });

  test('is sealed with another nonce each time', () => {
    expect(sealRecord(keys, 'p', 1)).not.toEqual(sealRecord(keys, 'p', 1));
  });
});

describe('tags', () => {
  test('of a name depend on the name and the vault alone', () => {
    expect(nameTag(keys, 'a')).toEqual(nameTag(keys, 'a'));
    expect(nameTag(keys, 'a')).toHaveLength(32);
    expect(nameTag(keys, 'a')).not.toEqual(nameTag(keys, 'b'));
    expect(nameTag(keys, 'a')).not.toEqual(nameTag(otherKeys, 'a'));
  });

  test('of a content depend on chunk size and table, and not on the pieces it is fed in', () => {
    const own = startContentTag(keys, 65_536).update('abc').digest();
    expect(startContentTag(keys, 65_536).update('ab').update('c').digest()).toEqual(own);
    expect(startContentTag(keys, 65_537).update('abc').digest()).not.toEqual(own);
    expect(startContentTag(keys, 65_536).update('abd').digest()).not.toEqual(own);
    expect(startContentTag(otherKeys, 65_536).update('abc').digest()).not.toEqual(own);
  });
});
