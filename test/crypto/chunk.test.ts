import { createCipheriv, createHmac } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { chunkId, openChunk, sealChunk } from '../../src/crypto/chunk.ts';
import type { ChunkKeys } from '../../src/crypto/chunk.ts';
import { deriveSubkeys } from '../../src/crypto/keys.ts';
import { SEAL_OVERHEAD } from '../../src/format/chunk.ts';
import { seededRandom } from '../support/seeded-random.ts';

const VAULT_ID = '0f'.repeat(16);
const keys = deriveSubkeys(Buffer.alloc(32, 1), VAULT_ID);

/** Seals into one run of memory. */
function seal(payload: Uint8Array, id = chunkId(keys, payload)): Buffer {
  const sealed = Buffer.alloc(payload.length + SEAL_OVERHEAD);
  sealChunk(keys, id, payload, [sealed]);
  return sealed;
}

/** What opens out of the parts, or null. */
function opened(id: Uint8Array, parts: readonly Uint8Array[], sealedSize: number, own: ChunkKeys = keys) {
  const payload = Buffer.alloc(Math.max(0, sealedSize - SEAL_OVERHEAD));
  return openChunk(own, id, parts, { sealedSize, payload }) ? payload : null;
}

/** Cuts memory into runs of the given lengths, the last one taking the rest. */
function cut(bytes: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  let at = 0;
  const runs = lengths.map((length) => bytes.subarray(at, (at += length)));
  return [...runs, bytes.subarray(at)];
}

const seeds = fc.integer();
/** Sizes around the slices in which ciphers work, and small ones. */
const sizes = fc.oneof(
  fc.integer({ min: 1, max: 600 }),
  fc.integer({ min: 65_500, max: 65_600 }),
  fc.integer({ min: 131_000, max: 200_000 }),
);

describe('a sealed chunk', () => {
  test('opens to its payload, however its memory is divided on either side', () => {
    const divisions = fc.array(fc.nat(70_000), { maxLength: 6 });
    fc.assert(
      fc.property(seeds, sizes, divisions, divisions, (seed, size, before, after) => {
        const payload = seededRandom(seed).bytes(size);
        const id = chunkId(keys, payload);
        const sealedSize = size + SEAL_OVERHEAD;
        const memory = Buffer.alloc(sealedSize + 50, 0xee);
        sealChunk(keys, id, payload, cut(memory, before));
        expect(memory.equals(Buffer.concat([seal(payload), Buffer.alloc(50)]))).toBe(true);
        expect(opened(id, cut(memory, after), sealedSize)?.equals(payload)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  test('is AES-256-GCM with the key that its id gives', () => {
    const payload = Buffer.from('payload');
    const id = createHmac('sha256', keys.chunkId).update(payload).digest();
    const key = createHmac('sha256', keys.chunkSeal).update(id).digest();
    const cipher = createCipheriv('aes-256-gcm', key, Buffer.alloc(12));
    cipher.setAAD(Buffer.from(`vault/1 chunk\n${VAULT_ID}`));
    expect(chunkId(keys, payload)).toEqual(id);
    expect(seal(payload)).toEqual(
      Buffer.concat([cipher.update(payload), cipher.final(), cipher.getAuthTag()]),
    );
  });

  test('is the same each time, and shares nothing with that of another payload', () => {
    const payload = seededRandom(1).bytes(1000);
    const other = Uint8Array.from(payload, (byte, i) => (i === 999 ? byte ^ 1 : byte));
    expect(seal(payload)).toEqual(seal(payload));
    expect(seal(other).subarray(0, 16)).not.toEqual(seal(payload).subarray(0, 16));
  });

  test('with any bit changed does not open', () => {
    const payload = seededRandom(2).bytes(100);
    const id = chunkId(keys, payload);
    const sealed = seal(payload);
    for (let bit = 0; bit < sealed.length * 8; bit += 1) {
      const changed = Buffer.from(sealed);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(opened(id, [changed], sealed.length)).toBeNull();
    }
  });

  test('that is shorter than it should be does not open, whether its size says so or not', () => {
    const payload = seededRandom(3).bytes(100);
    const id = chunkId(keys, payload);
    const sealed = seal(payload);
    for (let length = SEAL_OVERHEAD + 1; length < sealed.length; length += 1) {
      expect(opened(id, [sealed.subarray(0, length)], sealed.length)).toBeNull();
      expect(opened(id, [sealed.subarray(0, length)], length)).toBeNull();
    }
  });

  test('does not open under the id of another chunk', () => {
    const payload = seededRandom(4).bytes(100);
    const other = chunkId(keys, Buffer.from('another'));
    expect(opened(other, [seal(payload)], 116)).toBeNull();
  });

  test('does not open in a vault with other keys, or with another id and the same keys', () => {
    const payload = seededRandom(5).bytes(100);
    const id = chunkId(keys, payload);
    const others = [deriveSubkeys(Buffer.alloc(32, 2), VAULT_ID), { ...keys, vaultId: '1f'.repeat(16) }];
    for (const own of others) expect(opened(id, [seal(payload)], 116, own)).toBeNull();
  });

  test('made under an id that is not its payload’s does not open, though its tag is right', () => {
    const payload = seededRandom(6).bytes(100);
    const id = Buffer.alloc(32, 9);
    expect(opened(id, [seal(payload, id)], 116)).toBeNull();
  });

  test('does not open with the subkey for ids of another vault, though its tag is right', () => {
    const payload = seededRandom(7).bytes(100);
    const own = { ...keys, chunkId: Buffer.alloc(32, 3) };
    expect(opened(chunkId(keys, payload), [seal(payload)], 116, own)).toBeNull();
  });
});
