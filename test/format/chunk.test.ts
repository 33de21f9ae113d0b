import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import {
  framePayload,
  MAX_CHUNK_SIZE,
  MIN_CHUNK_SIZE,
  MIN_PAYLOAD_SIZE,
  padme,
  PAYLOAD_PREFIX_SIZE,
  payloadBody,
  payloadSize,
} from '../../src/format/chunk.ts';

function framed(body: Uint8Array, size: number): Uint8Array {
  // Dirty memory: framing must clear what it does not fill.
  const payload = new Uint8Array(size).fill(0xee);
  payload.set(body, PAYLOAD_PREFIX_SIZE);
  framePayload(payload, body.length);
  return payload;
}

describe('Padmé', () => {
  test.each([
    [2, 2],
    [9, 10],
    [100, 104],
    [257, 272],
    [305, 320],
    [1_000_000, 1_015_808],
    [2 ** 31 + 1, 2 ** 31 + 2 ** 26],
  ])('pads %i to %i', (length, padded) => {
    expect(padme(length)).toBe(padded);
  });

  test('adds at most 12 % and never takes away', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 2 ** 32 - 1 }), (length) => {
        expect(padme(length)).toBeGreaterThanOrEqual(length);
        expect(padme(length)).toBeLessThanOrEqual(length * 1.12);
      }),
    );
  });

  test('leaves a padded length as it is, and keeps lengths in order', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 2 ** 31 }), fc.nat(1000), (length, more) => {
        expect(padme(padme(length))).toBe(padme(length));
        expect(padme(length + more)).toBeGreaterThanOrEqual(padme(length));
      }),
    );
  });
});

describe('the size of a payload', () => {
  const chunkSizes = fc.integer({ min: MIN_CHUNK_SIZE, max: MAX_CHUNK_SIZE });
  const lengths = chunkSizes.chain((chunkSize) =>
    fc.record({ chunkSize: fc.constant(chunkSize), length: fc.integer({ min: 0, max: chunkSize }) }),
  );

  test('is exact for a chunk that is not the last', () => {
    fc.assert(
      fc.property(lengths, ({ chunkSize, length }) => {
        expect(payloadSize(length, { chunkSize, isLast: false })).toBe(PAYLOAD_PREFIX_SIZE + length);
      }),
    );
  });

  test('of a last chunk holds the body and is never larger than that of a full chunk', () => {
    fc.assert(
      fc.property(lengths, ({ chunkSize, length }) => {
        const size = payloadSize(length, { chunkSize, isLast: true });
        expect(size).toBeGreaterThanOrEqual(PAYLOAD_PREFIX_SIZE + length);
        expect(size).toBeLessThanOrEqual(PAYLOAD_PREFIX_SIZE + chunkSize);
      }),
    );
  });

  test('of a small last chunk is always the same', () => {
    const sizes = [0, 1, 100, MIN_PAYLOAD_SIZE - PAYLOAD_PREFIX_SIZE].map((length) =>
      payloadSize(length, { chunkSize: MIN_CHUNK_SIZE, isLast: true }),
    );
    expect(new Set(sizes)).toEqual(new Set([MIN_PAYLOAD_SIZE]));
  });

  test('of a last chunk that is nearly full is that of a full one', () => {
    expect(payloadSize(69_700, { chunkSize: 70_000, isLast: true })).toBe(70_005);
    expect(payloadSize(70_000, { chunkSize: 70_000, isLast: true })).toBe(70_005);
  });

  test('of a manifest is padded without a bound', () => {
    expect(payloadSize(70_000, { chunkSize: null, isLast: true })).toBe(padme(70_005));
  });
});

describe('a payload', () => {
  const bodies = fc.uint8Array({ maxLength: 300 });

  test('gives back the body that was framed, whatever the memory held before', () => {
    fc.assert(
      fc.property(bodies, fc.nat(300), (body, padding) => {
        const payload = framed(body, PAYLOAD_PREFIX_SIZE + body.length + padding);
        expect(payloadBody(payload)).toEqual(body);
      }),
    );
  });

  test('that lies inside other memory is read at its place', () => {
    const memory = new Uint8Array(100).fill(9);
    memory.set(framed(Uint8Array.of(1, 2, 3), 20), 30);
    expect(payloadBody(memory.subarray(30, 50))).toEqual(Uint8Array.of(1, 2, 3));
  });

  // It has no checksum of its own: what seals it has.
  test('with a changed bit in codec or padding is refused', () => {
    fc.assert(
      fc.property(bodies, fc.nat(), fc.nat(7), (body, where, bit) => {
        const payload = framed(body, PAYLOAD_PREFIX_SIZE + body.length + 20);
        const at = where % 21 === 0 ? 0 : payload.length - (where % 21);
        payload[at] = (payload[at] ?? 0) ^ (1 << bit);
        expect(() => payloadBody(payload)).toThrow(VaultError);
      }),
    );
  });
});
