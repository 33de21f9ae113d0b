import { constants, zstdCompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isVaultError } from '../../src/errors.ts';
import {
  CODEC_STORED,
  CODEC_ZSTD,
  framePayload,
  MAX_CHUNK_SIZE,
  padBody,
  padme,
  parsePayload,
  PAYLOAD_TRAILER_SIZE,
  payloadSize,
  unpackPayload,
  unpadBody,
} from '../../src/format/chunk.ts';
import { MAX_PAYLOAD_SIZE, MIN_PADDED_SIZE } from '../../src/format/limits.ts';
import { refusal } from '../crypto/samples.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { blockHeader, frame, rawBlock, runBlock, WINDOW } from '../support/zstd-frames.ts';

const DAMAGED = refusal('damaged');
const UNSUPPORTED = refusal('unsupported');
const REFUSED = expect.any(String);

/** A payload of this size, or of the size that the format asks for. */
function framed(stored: Uint8Array, codec: number, size = payloadSize(stored.length, false)): Uint8Array {
  // Dirty memory: framing must clear what it does not fill.
  const payload = new Uint8Array(size).fill(0xee);
  payload.set(stored);
  framePayload(payload, codec, stored.length);
  return payload;
}

/** What a reader gets, or the code of its refusal; any other exception fails the test. */
function outcome(read: () => Uint8Array): Uint8Array | string {
  try {
    return read();
  } catch (error) {
    if (isVaultError(error, 'damaged', 'unsupported')) return error.code;
    throw error;
  }
}

const bodies = fc.uint8Array({ maxLength: 600 });

describe('Padmé', () => {
  test.each([
    [2, 2],
    [9, 10],
    [100, 104],
    [257, 272],
    [305, 320],
    [1_000_000, 1_015_808],
    [1_048_581, 1_081_344],
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
  test('is exact for a full chunk, and otherwise padded', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: MAX_CHUNK_SIZE }), (length) => {
        const content = length + PAYLOAD_TRAILER_SIZE;
        expect(payloadSize(length, true)).toBe(content);
        expect(payloadSize(length, false)).toBe(Math.max(256, padme(content)));
      }),
    );
  });

  test('is the same for all small ones', () => {
    const sizes = [0, 1, 100, MIN_PADDED_SIZE - PAYLOAD_TRAILER_SIZE].map((length) =>
      payloadSize(length, false),
    );
    expect(sizes).toEqual([256, 256, 256, 256]);
    expect(payloadSize(MIN_PADDED_SIZE - PAYLOAD_TRAILER_SIZE + 1, false)).toBe(272);
  });

  test('of the largest body is the largest there is', () => {
    expect(payloadSize(MAX_CHUNK_SIZE, false)).toBe(MAX_PAYLOAD_SIZE);
  });
});

describe('a payload', () => {
  test('has the stored bytes, zeros, the codec and the length, in this order', () => {
    const payload = framed(Uint8Array.of(1, 2, 3), CODEC_STORED);
    const trailer = Uint8Array.of(0, 0, 0, 0, 3);
    expect(payload).toEqual(Uint8Array.from([1, 2, 3, ...new Uint8Array(248), ...trailer]));
    expect(framed(Uint8Array.of(9), 1).subarray(-5)).toEqual(Uint8Array.of(1, 0, 0, 0, 1));
    expect(framed(new Uint8Array(0x010203), 0).subarray(-5)).toEqual(Uint8Array.of(0, 0, 1, 2, 3));
  });

  test('gives back what was framed, padded or exact, whatever the memory held before', () => {
    fc.assert(
      fc.property(bodies, fc.boolean(), (body, full) => {
        const payload = framed(body, CODEC_STORED, payloadSize(body.length, full));
        expect(parsePayload(payload)).toEqual({ codec: CODEC_STORED, stored: body });
        expect(unpackPayload(payload, body.length)).toEqual(body);
      }),
    );
  });

  test('that is not packed is read where it lies, in shared memory as well', () => {
    const memory = new Uint8Array(new SharedArrayBuffer(400)).fill(9);
    memory.set(framed(Uint8Array.of(1, 2, 3), CODEC_STORED), 31);
    const body = unpackPayload(memory.subarray(31, 31 + 256), 3);
    expect([...body]).toEqual([1, 2, 3]);
    expect(body.buffer).toBe(memory.buffer);
    expect(body.byteOffset).toBe(31);
  });

  test('of any other size is refused', () => {
    fc.assert(
      fc.property(bodies, fc.integer({ min: 1, max: 700 }), fc.constantFrom(0, 1), (body, more, codec) => {
        const size = body.length + PAYLOAD_TRAILER_SIZE + more;
        fc.pre(size !== payloadSize(body.length, false));
        expect(() => parsePayload(framed(body, codec, size))).toThrow(DAMAGED);
      }),
    );
  });

  test('that is packed is refused where it is not padded', () => {
    const size = 300 + PAYLOAD_TRAILER_SIZE;
    expect(() => parsePayload(framed(new Uint8Array(300), CODEC_ZSTD, size))).toThrow(DAMAGED);
  });

  test('with anything but zeros as padding is refused', () => {
    fc.assert(
      fc.property(bodies, fc.nat(), fc.nat(7), (body, where, bit) => {
        const payload = framed(body, CODEC_STORED);
        const padding = payload.length - PAYLOAD_TRAILER_SIZE - body.length;
        fc.pre(padding > 0);
        payload[body.length + (where % padding)] = 1 << bit;
        expect(() => parsePayload(payload)).toThrow(DAMAGED);
      }),
    );
    // More padding than is compared at a time.
    const large = framed(new Uint8Array(600_001), CODEC_STORED);
    large[large.length - PAYLOAD_TRAILER_SIZE - 1] = 1;
    expect(() => parsePayload(large)).toThrow(DAMAGED);
  });

  test.each([2, 3, 128, 255])('of codec %i asks for a newer version', (codec) => {
    expect(() => parsePayload(framed(new Uint8Array(3), codec))).toThrow(UNSUPPORTED);
  });

  test('that is shorter than a trailer, or than it says, is refused', () => {
    for (let size = 0; size < PAYLOAD_TRAILER_SIZE; size += 1) {
      expect(() => parsePayload(new Uint8Array(size))).toThrow(DAMAGED);
    }
    for (const [size, length] of [
      [5, 1],
      [256, 252],
      [256, 2 ** 31],
      [256, 2 ** 32 - 1],
    ] as const) {
      const payload = Buffer.alloc(size);
      payload.writeUInt32BE(length, size - 4);
      expect(() => parsePayload(payload)).toThrow(DAMAGED);
    }
  });

  test('that is larger than any can be is refused', () => {
    const size = payloadSize(MAX_PAYLOAD_SIZE, false);
    expect(() => parsePayload(framed(new Uint8Array(MAX_PAYLOAD_SIZE), CODEC_STORED, size))).toThrow(DAMAGED);
  });

  test('holds a body of one length', () => {
    fc.assert(
      fc.property(bodies, fc.nat(700), (body, length) => {
        fc.pre(length !== body.length);
        expect(() => unpackPayload(framed(body, CODEC_STORED), length)).toThrow(DAMAGED);
      }),
    );
  });

  // It has no checksum of its own: the seal has one, and a body is used only if its SHA-256 is right.
  test('with any bit changed is refused, or differs from the body in that bit alone', () => {
    const body = seededRandom(1).bytes(300);
    for (const full of [true, false]) {
      const payload = framed(body, CODEC_STORED, payloadSize(body.length, full));
      for (let bit = 0; bit < payload.length * 8; bit += 1) {
        const found = outcome(() => unpackPayload(flipped(payload, bit), body.length));
        expect(found).toEqual(bit < body.length * 8 ? flipped(body, bit) : REFUSED);
      }
    }
  });

  test('made of any bytes gives a body or is refused', () => {
    const trailers = fc.record({
      codec: fc.constantFrom(0, 1, 1, 2),
      length: fc.oneof(fc.nat(300), fc.nat()),
    });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), trailers, fc.boolean(), (bytes, trailer, zstd) => {
        const payload = Buffer.alloc(Math.max(PAYLOAD_TRAILER_SIZE, padme(Math.max(256, bytes.length))));
        payload.set(bytes.subarray(0, payload.length));
        if (zstd) payload.writeUInt32LE(0xfd2fb528);
        payload.writeUInt8(trailer.codec, payload.length - 5);
        payload.writeUInt32BE(trailer.length, payload.length - 4);
        const found = outcome(() => unpackPayload(payload, 200));
        expect(typeof found === 'string' || found.length === 200).toBe(true);
        outcome(() => unpackPayload(bytes, 200));
        outcome(() => unpadBody(payload));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('a small thing that is sealed on its own', () => {
  test('comes back as it was', () => {
    fc.assert(
      fc.property(bodies, (body) => {
        const payload = padBody(body);
        expect(payload).toHaveLength(payloadSize(body.length, false));
        expect([...unpadBody(payload)]).toEqual([...body]);
      }),
    );
  });

  test('is always padded and never packed', () => {
    const body = seededRandom(2).bytes(300);
    expect(() => unpadBody(framed(body, CODEC_STORED, payloadSize(300, true)))).toThrow(DAMAGED);
    expect(() => unpadBody(packed(zstdCompressSync(body)))).toThrow(DAMAGED);
  });
});

// --- packed payloads ----------------------------------------------------------------------------------------

const TEXT = Buffer.from(
  Array.from({ length: 200 }, (_, i) => `line ${i} of a text that shrinks\n`).join(''),
);

function packed(bytes: Uint8Array): Uint8Array {
  return framed(bytes, CODEC_ZSTD);
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const changed = Uint8Array.from(bytes);
  changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return changed;
}

describe('a packed payload', () => {
  test.each([1, 3, 9, 19])('gives back what zstd packed at level %i', (level) => {
    const params = { [constants.ZSTD_c_compressionLevel]: level };
    for (const body of [TEXT, Buffer.alloc(70_000), Buffer.alloc(9 * 1024 * 1024, 'ab')]) {
      for (const options of [{ params }, { params, pledgedSrcSize: body.length }]) {
        expect(body.equals(unpackPayload(packed(zstdCompressSync(body, options)), body.length))).toBe(true);
      }
    }
  });

  test('gives back what a frame with a checksum holds, and refuses it where the checksum is wrong', () => {
    const good = zstdCompressSync(TEXT, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
    expect([...unpackPayload(packed(good), TEXT.length)]).toEqual([...TEXT]);
    const wrong = flipped(good, good.length * 8 - 1);
    expect(() => unpackPayload(packed(wrong), TEXT.length)).toThrow(DAMAGED);
    expect(() => unpackPayload(packed(good.subarray(0, -1)), TEXT.length)).toThrow(DAMAGED);
  });

  const body = Buffer.concat([Buffer.alloc(300, 7), Buffer.from('raw')]);
  const blocks = [runBlock(7, 300), rawBlock(Buffer.from('raw'))];
  test.each([
    ['no content size', frame([0x00, WINDOW.smallest], blocks)],
    ['a window of 8 MiB', frame([0x00, WINDOW.largestAllowed], blocks)],
    ['a content size of two bytes', frame([0x60, 303 - 256, 0], blocks)],
    ['a content size of four bytes and a window', frame([0x80, WINDOW.smallest, 0x2f, 1, 0, 0], blocks)],
    ['a content size of eight bytes', frame([0xe0, 0x2f, 1, 0, 0, 0, 0, 0, 0], blocks)],
    ['an empty block at the end', frame([0x00, WINDOW.smallest], [...blocks, rawBlock(new Uint8Array(0))])],
  ])('may hold a frame with %s', (_, bytes) => {
    expect([...unpackPayload(packed(bytes), 303)]).toEqual([...body]);
  });

  const whole = frame([0x00, WINDOW.smallest], blocks);
  const skippable = Buffer.from('502a4d1803000000616263', 'hex');
  test.each([
    ['a byte behind the frame', Buffer.concat([whole, Buffer.alloc(1)])],
    ['two frames', Buffer.concat([whole, frame([0x00, 0], [rawBlock(new Uint8Array(0))])])],
    ['a skippable frame before it', Buffer.concat([skippable, whole])],
    ['a skippable frame behind it', Buffer.concat([whole, skippable])],
    ['a skippable frame alone', skippable],
    ['a frame cut short', whole.subarray(0, -1)],
    ['a frame without its last block', frame([0x00, 0], blocks).subarray(0, -6)],
    ['a frame that is a header alone', whole.subarray(0, 6)],
    ['nothing', Buffer.alloc(0)],
    ['another magic number', flipped(whole, 0)],
    ['a frame that needs a dictionary', frame([0x01, 0, 5], blocks)],
    ['a reserved bit', frame([0x08, 0], blocks)],
    ['a block of the reserved type', frame([0x00, 0], [blockHeader(3, 0)])],
    ['a window above 8 MiB', frame([0x00, WINDOW.larger], blocks)],
    ['the largest window', frame([0x00, WINDOW.largest], blocks)],
    ['a content size below the body', frame([0x60, 302 - 256, 0], blocks)],
    ['a content size above the body', frame([0x60, 304 - 256, 0], blocks)],
    ['an enormous content size', frame([0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], blocks)],
    ['a byte less than the body', frame([0x00, 0], [runBlock(7, 302)])],
    ['a byte more than the body', frame([0x00, 0], [runBlock(7, 304)])],
  ])('with %s is refused', (_, bytes) => {
    expect(() => unpackPayload(packed(bytes), 303)).toThrow(DAMAGED);
  });

  test('may have a window as large as its body', () => {
    // 16 MiB, and 8 MiB above it.
    const large = Buffer.alloc(16 * 1024 * 1024 + 1, 5);
    const runs = Array.from({ length: 128 }, () => runBlock(5, 128 * 1024));
    const bytes = frame([0x00, 0x70], [...runs, runBlock(5, 1)]);
    expect(large.equals(unpackPayload(packed(bytes), large.length))).toBe(true);
    expect(() => unpackPayload(packed(frame([0x00, 0x74], [...runs, runBlock(5, 1)])), large.length)).toThrow(
      DAMAGED,
    );
  });

  test('that unpacks to far more than its body is given up before its memory is spent', () => {
    const bomb = frame(
      [0x00, 0x38],
      Array.from({ length: 8000 }, () => runBlock(0, 128 * 1024)),
    );
    let error: unknown;
    try {
      unpackPayload(packed(bomb), 100_000);
    } catch (caught) {
      error = caught;
    }
    expect(error).toEqual(DAMAGED);
    expect(error).toHaveProperty('cause.code', 'ERR_BUFFER_TOO_LARGE');
  });

  test('that is larger than its body would be unpacked is refused', () => {
    const random = seededRandom(3).bytes(300);
    const bytes = frame(
      [0x00, 0],
      [...Array.from({ length: 20 }, () => rawBlock(new Uint8Array(0))), rawBlock(random)],
    );
    expect(payloadSize(bytes.length, false)).toBeGreaterThan(payloadSize(300, false));
    expect(() => unpackPayload(packed(bytes), 300)).toThrow(DAMAGED);
  });

  test('of no bytes gives no bytes', () => {
    expect(unpackPayload(packed(zstdCompressSync(new Uint8Array(0))), 0)).toHaveLength(0);
    expect(() => unpackPayload(packed(frame([0x00, 0], [runBlock(1, 1)])), 0)).toThrow(DAMAGED);
  });

  test('with any bit changed is refused or gives as many bytes, for the SHA-256 to judge', () => {
    const bytes = zstdCompressSync(TEXT.subarray(0, 2000), { pledgedSrcSize: 2000 });
    const payload = packed(bytes);
    for (let bit = 0; bit < payload.length * 8; bit += 1) {
      const found = outcome(() => unpackPayload(flipped(payload, bit), 2000));
      expect(typeof found === 'string' || (bit < bytes.length * 8 && found.length === 2000)).toBe(true);
    }
  });

  test('cut at any place within its frame is refused', () => {
    const bytes = zstdCompressSync(TEXT);
    for (let length = 0; length < bytes.length; length += 1) {
      expect(() => unpackPayload(packed(bytes.subarray(0, length)), TEXT.length)).toThrow(DAMAGED);
    }
  });
});
