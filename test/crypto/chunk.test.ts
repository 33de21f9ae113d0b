import { createCipheriv, createHash, createHmac, hkdfSync } from 'node:crypto';
import { constants, zstdCompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bodyHash,
  chunkNonce,
  chunkSecrets,
  chunkTag,
  giveBack,
  looksCompressible,
  openChunk,
  packBody,
  sealChunk,
} from '../../src/crypto/chunk.ts';
import type { ChunkSecrets } from '../../src/crypto/chunk.ts';
import {
  CODEC_STORED,
  CODEC_ZSTD,
  framePayload,
  payloadSize,
  SEAL_OVERHEAD,
  unpackPayload,
} from '../../src/format/chunk.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { refusal } from './samples.ts';

const secrets = chunkSecrets(Buffer.alloc(32, 1));
const NONCE = Buffer.from('000102030405060708090a0b', 'hex');

/** Seals into one run of memory. */
function seal(payload: Uint8Array, own = secrets, nonce = NONCE): Buffer {
  const sealed = Buffer.alloc(payload.length + SEAL_OVERHEAD);
  sealChunk(own, nonce, payload, [sealed]);
  return sealed;
}

/** What opens out of the parts, or null. */
function opened(
  parts: readonly Uint8Array[],
  sealedSize: number,
  own: ChunkSecrets = secrets,
  nonce: Uint8Array = NONCE,
): Buffer | null {
  const payload = Buffer.alloc(Math.max(0, sealedSize - SEAL_OVERHEAD));
  return openChunk(own, nonce, parts, { sealedSize, payload }) ? payload : null;
}

function framed(stored: Uint8Array, codec: number): Buffer {
  const payload = Buffer.alloc(payloadSize(stored.length, false));
  payload.set(stored);
  framePayload(payload, codec, stored.length);
  return payload;
}

/** Cuts memory into runs of the given lengths, the last one taking the rest. */
function cut(bytes: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  let at = 0;
  const runs = lengths.map((length) => bytes.subarray(at, (at += length)));
  return [...runs, bytes.subarray(at)];
}

function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length + 7)).subarray(7);
  copy.set(bytes);
  return copy;
}

describe("a chunk's identity", () => {
  const body = seededRandom(1).bytes(100_000);

  test('begins with SHA-256 of the body, of shared memory as well', () => {
    const expected = createHash('sha256').update(body).digest();
    expect(bodyHash(body)).toEqual(expected);
    expect(bodyHash(shared(body))).toEqual(expected);
    expect(bodyHash(new Uint8Array(0)).toString('hex')).toMatch(/^e3b0c44298fc1c14/);
  });

  test('has a tag that is HMAC-SHA256 of that under the dedup key', () => {
    const key = Buffer.alloc(32, 4);
    const h = bodyHash(body);
    expect(chunkTag(key, h)).toEqual(createHmac('sha256', key).update(h).digest());
  });

  // HKDF-Extract is one HMAC (RFC 5869, section 2.2), so both steps together must give what expansion alone gives here.
  test('has secrets that are HKDF-Expand of the tag', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 80 }),
        fc.uint8Array({ maxLength: 80 }),
        (ikm, salt) => {
          const t = createHmac('sha256', salt).update(ikm).digest();
          const expected = Buffer.from(hkdfSync('sha256', ikm, salt, 'vault/2 chunk', 96));
          const found = chunkSecrets(t);
          expect(Buffer.concat([found.id, found.key, found.nonceKey])).toEqual(expected);
          expect(found.t).toEqual(t);
        },
      ),
    );
  });
});

describe("a chunk's nonce", () => {
  test('of a stored body is its payload’s length', () => {
    const payload = Buffer.alloc(0x01_02_03, 0);
    framePayload(payload, CODEC_STORED, 0x01_00_00);
    expect(chunkNonce(secrets, payload).toString('hex')).toBe('000001020300000000000000');
  });

  test('of a packed body is 1 and the beginning of an HMAC of the payload', () => {
    const payload = framed(Buffer.from('frame'), CODEC_ZSTD);
    const mac = createHmac('sha256', secrets.nonceKey).update(payload).digest('hex');
    expect(chunkNonce(secrets, payload).toString('hex')).toBe(`01${mac.slice(0, 22)}`);
    expect(chunkNonce(secrets, shared(payload))).toEqual(chunkNonce(secrets, payload));
  });

  test('differs wherever payloads of one body can differ', () => {
    const body = seededRandom(2).bytes(300);
    const exact = new Uint8Array(payloadSize(300, true));
    exact.set(body);
    framePayload(exact, CODEC_STORED, 300);
    const payloads = [
      exact,
      framed(body, CODEC_STORED),
      ...[1, 3, 19].map((level) => {
        const params = {
          [constants.ZSTD_c_compressionLevel]: level,
          [constants.ZSTD_c_checksumFlag]: level % 2,
        };
        return framed(zstdCompressSync(Buffer.alloc(3000, level), { params }), CODEC_ZSTD);
      }),
    ];
    const nonces = new Set(payloads.map((payload) => chunkNonce(secrets, payload).toString('hex')));
    expect(nonces.size).toBe(payloads.length);
  });

  test('is not made for a codec that is not known', () => {
    const unsupported = refusal('unsupported');
    expect(() => chunkNonce(secrets, framed(new Uint8Array(1), 2))).toThrow(unsupported);
    expect(() => chunkNonce(secrets, new Uint8Array(3))).toThrow(unsupported);
  });
});

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
        const sealedSize = size + SEAL_OVERHEAD;
        const memory = Buffer.from(new SharedArrayBuffer(sealedSize + 50)).fill(0xee);
        sealChunk(secrets, NONCE, shared(payload), cut(memory, before));
        expect(memory.equals(Buffer.concat([seal(payload), Buffer.alloc(50)]))).toBe(true);
        expect(opened(cut(memory, after), sealedSize)?.equals(payload)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  test('is AES-256-GCM with its key, its nonce and a constant', () => {
    const payload = Buffer.from('payload');
    const cipher = createCipheriv('aes-256-gcm', secrets.key, NONCE);
    cipher.setAAD(Buffer.from('vault/2 chunk'));
    expect(seal(payload)).toEqual(
      Buffer.concat([cipher.update(payload), cipher.final(), cipher.getAuthTag()]),
    );
  });

  test('with any bit changed, of it or of its nonce, does not open', () => {
    const payload = seededRandom(3).bytes(100);
    const whole = Buffer.concat([NONCE, seal(payload)]);
    for (let bit = 0; bit < whole.length * 8; bit += 1) {
      const changed = Buffer.from(whole);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(opened([changed.subarray(12)], 116, secrets, changed.subarray(0, 12))).toBeNull();
    }
  });

  test('that is shorter than it should be does not open, whether its size says so or not', () => {
    const sealed = seal(seededRandom(4).bytes(100));
    for (let length = 0; length < sealed.length; length += 1) {
      expect(opened([sealed.subarray(0, length)], sealed.length)).toBeNull();
      expect(opened([sealed.subarray(0, length)], length)).toBeNull();
    }
  });

  test('does not open with the key of another chunk', () => {
    const other = chunkSecrets(Buffer.alloc(32, 2));
    expect(opened([seal(seededRandom(5).bytes(100))], 116, other)).toBeNull();
  });
});

describe('packing', () => {
  const text = Buffer.from(Array.from({ length: 30_000 }, (_, i) => `line ${i * 7919} of a text\n`).join(''));
  const random = Buffer.from(seededRandom(6).bytes(1024 * 1024));

  test('gives a frame that unpacks to the body, also out of shared memory', () => {
    for (const level of [1, 3, 19]) {
      for (const body of [text, shared(text)]) {
        const frame = packBody(body, level);
        expect(frame).not.toBeNull();
        const payload = framed(frame ?? new Uint8Array(0), CODEC_ZSTD);
        expect(text.equals(unpackPayload(payload, text.length))).toBe(true);
      }
    }
  });

  test('is in vain for random bytes, and for bodies as small as any payload', () => {
    expect(packBody(random, 3)).toBeNull();
    for (const length of [0, 1, 100, 251]) expect(packBody(Buffer.alloc(length), 3)).toBeNull();
    expect(packBody(Buffer.alloc(252), 3)).not.toBeNull();
  });

  // Full chunks are not padded when stored as they are, so the bound is their own size there.
  test('never gives a payload that is as large as that of the body, full chunk or not', () => {
    fc.assert(
      fc.property(fc.integer(), fc.nat(4000), fc.nat(500), (seed, incompressible, run) => {
        const body = Buffer.concat([seededRandom(seed).bytes(incompressible), Buffer.alloc(run)]);
        const frame = packBody(body, 3);
        if (frame === null) return;
        const size = payloadSize(frame.length, false);
        expect(size).toBeLessThan(payloadSize(body.length, true));
        expect(size).toBeLessThan(payloadSize(body.length, false));
        expect(body.equals(unpackPayload(framed(frame, CODEC_ZSTD), body.length))).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test('is worth trying for text, and not for random bytes, wherever samples lie', () => {
    for (const length of [50_000, 65_536, 300_001, text.length]) {
      expect(looksCompressible(text.subarray(0, length))).toBe(true);
      expect(looksCompressible(shared(text.subarray(0, length)))).toBe(true);
      expect(looksCompressible(random.subarray(0, length))).toBe(false);
    }
  });

  test('is worth trying where a third of a body shrinks, at either end or in the middle', () => {
    for (const at of [0, 1, 2]) {
      const body = Buffer.from(random);
      text.copy(body, Math.min((at * body.length) / 2, body.length - 300_000), 0, 300_000);
      if (at === 1) text.copy(body, body.length / 2 - 150_000, 0, 300_000);
      expect(looksCompressible(body)).toBe(true);
    }
  });

  test('of a small body is tried without a sample, unless nothing can come of it', () => {
    expect(looksCompressible(random.subarray(0, 251))).toBe(false);
    expect(looksCompressible(random.subarray(0, 252))).toBe(true);
  });
});

test('memory is given back that Node has made for one receiver, and none that many share', () => {
  const body = Buffer.alloc(200_000, 'compressible ');
  const packed = packBody(body, 3) ?? Buffer.alloc(0);
  const cipher = createCipheriv('aes-256-gcm', Buffer.alloc(32), Buffer.alloc(12));
  const sealed = cipher.update(body.subarray(0, 65_536));
  expect([packed.length, sealed.length]).not.toContain(0);
  for (const made of [packed, sealed]) giveBack(made);
  expect([packed.length, sealed.length]).toEqual([0, 0]);
  const [small, neighbour] = [Buffer.from('small'), Buffer.from('neighbour')];
  giveBack(small);
  expect(`${small.toString()} ${neighbour.toString()}`).toBe('small neighbour');
  const lent = new Uint8Array(new SharedArrayBuffer(100_000));
  giveBack(lent);
  expect(lent).toHaveLength(100_000);
});
