// The cases of must-fail.json that are chunks, each a single shard, and tables that were read from chunks.
import { constants, zstdCompressSync } from 'node:zlib';
import { chunkSecrets, sealChunk } from '../../src/crypto/chunk.ts';
import { CODEC_STORED, CODEC_ZSTD, payloadSize, SEAL_OVERHEAD } from '../../src/format/chunk.ts';
import { encodeRefs } from '../../src/format/manifest.ts';
import {
  finishShardObject,
  sealingOf,
  SHARD_HEADER_SIZE,
  shardObjectName,
  shardObjectSize,
} from '../../src/format/shard.ts';
import { blockHeader, frame, rawBlock, runBlock, WINDOW } from '../support/zstd-frames.ts';
import type { MustFail } from './broken-json.ts';
import { count, exampleChunk, FULL, INPUTS, PACKED_BODY, shown, STORED_BODY } from './format-example.ts';

type ChunkCase = readonly [name: string, expect: MustFail['expect'], object: ShardObject, body?: Buffer];

interface ShardObject {
  readonly name: string;
  readonly bytes: Buffer;
}

/** A payload of any codec, length and padding; `size`: of the payload, `length`: what it says of the stored bytes. */
function payloadOf(
  codec: number,
  stored: Buffer,
  { size = payloadSize(stored.length, false), length = stored.length } = {},
): Buffer {
  const payload = Buffer.alloc(size);
  payload.set(stored);
  payload.writeUInt8(codec, size - 5);
  payload.writeUInt32BE(length, size - 4);
  return payload;
}

/** A payload sealed as the chunk of a body, 1+0, so that the whole chunk is one shard. */
function sealed(
  payload: Buffer,
  body: Buffer,
  change: (shard: Buffer) => void = () => undefined,
): ShardObject {
  const secrets = chunkSecrets(exampleChunk(FULL.writer.content, body).ref.tag);
  const nonce = count(1, 12);
  const sealedSize = payload.length + SEAL_OVERHEAD;
  const bytes = Buffer.alloc(shardObjectSize(sealedSize, 1));
  sealChunk(secrets, nonce, payload, [bytes.subarray(SHARD_HEADER_SIZE)]);
  change(bytes.subarray(SHARD_HEADER_SIZE));
  const chunkId = secrets.id.toString('hex');
  const one = { k: 1, m: 0, index: 0 };
  finishShardObject(bytes, chunkId, { ...one, sealedSize, nonce });
  const sealing = sealingOf(nonce, sealedSize);
  return { name: shardObjectName({ ...one, chunkId, sealing, upload: INPUTS.upload }), bytes };
}

/** A case and the object that it is about. */
export function withBytes(one: Omit<MustFail, 'text' | 'bytes'>, bytes: Uint8Array): MustFail {
  return { ...one, ...shown(bytes) };
}

function entryOf(body: Buffer): string {
  return encodeRefs([exampleChunk(FULL.writer.content, body).ref]).toString('hex');
}

export function chunks(): MustFail[] {
  return [...storedCases(), ...packedCases()].map(([name, expect, object, body = STORED_BODY]) =>
    withBytes({ kind: 'chunk', name, expect, object: object.name, entry: entryOf(body) }, object.bytes),
  );
}

/** Chunks that are read, from which the others differ in one thing each. */
export function wholeChunks(): { readonly object: ShardObject; readonly entry: string }[] {
  return [
    { object: sealed(payloadOf(CODEC_STORED, STORED_BODY), STORED_BODY), entry: entryOf(STORED_BODY) },
    {
      object: sealed(payloadOf(CODEC_STORED, STORED_BODY, { size: 305 }), STORED_BODY),
      entry: entryOf(STORED_BODY),
    },
    { object: sealed(payloadOf(CODEC_ZSTD, WHOLE_FRAME), PACKED_BODY), entry: entryOf(PACKED_BODY) },
  ];
}

const RUN = runBlock(0x61, PACKED_BODY.length);
const WHOLE_FRAME = frame([0x00, WINDOW.smallest], [RUN]);

function flip(shard: Buffer, at: number): void {
  shard.writeUInt8(shard.readUInt8(at) ^ 1, at);
}

function storedCases(): ChunkCase[] {
  const size = payloadSize(STORED_BODY.length, false);
  const stored = (payload: Buffer): ShardObject => sealed(payload, STORED_BODY);
  const other = Buffer.from(STORED_BODY.map((byte) => byte ^ 1));
  const dirty = payloadOf(CODEC_STORED, STORED_BODY);
  dirty.writeUInt8(1, size - 6);
  const right = payloadOf(CODEC_STORED, STORED_BODY);
  return [
    ['whose tag does not verify', 'damaged', sealed(right, STORED_BODY, (shard) => flip(shard, size))],
    ['whose ciphertext was changed', 'damaged', sealed(right, STORED_BODY, (shard) => flip(shard, 0))],
    ['whose body is another', 'damaged', stored(payloadOf(CODEC_STORED, other))],
    ['whose body is longer', 'damaged', stored(payloadOf(CODEC_STORED, count(0, 301)))],
    ['whose body is shorter', 'damaged', stored(payloadOf(CODEC_STORED, count(0, 299)))],
    ['of an unknown codec', 'unsupported', stored(payloadOf(2, STORED_BODY))],
    [
      'with a stored length beyond it',
      'damaged',
      stored(payloadOf(CODEC_STORED, STORED_BODY, { length: size - 4 })),
    ],
    [
      'with the largest stored length',
      'damaged',
      stored(payloadOf(CODEC_STORED, STORED_BODY, { length: 2 ** 32 - 1 })),
    ],
    ['with too little padding', 'damaged', stored(payloadOf(CODEC_STORED, STORED_BODY, { size: size - 1 }))],
    ['with padding that is not zero', 'damaged', stored(dirty)],
    ['of nothing', 'damaged', stored(payloadOf(CODEC_STORED, Buffer.alloc(0), { size: 5 }))],
  ];
}

function packed(bytes: Buffer, size = payloadSize(bytes.length, false)): ShardObject {
  return sealed(payloadOf(CODEC_ZSTD, bytes, { size }), PACKED_BODY);
}

/** Frames that unpack to the packed body, or would if they were allowed. */
function packedCases(): ChunkCase[] {
  const length = PACKED_BODY.length;
  const skippable = Buffer.from('502a4d1803000000616263', 'hex');
  const frames: readonly (readonly [string, Buffer])[] = [
    ['nothing', Buffer.alloc(0)],
    ['another magic number', Buffer.concat([Buffer.from([0x27]), WHOLE_FRAME.subarray(1)])],
    ['a frame cut short', WHOLE_FRAME.subarray(0, -1)],
    ['a byte behind the frame', Buffer.concat([WHOLE_FRAME, Buffer.alloc(1)])],
    ['two frames', Buffer.concat([WHOLE_FRAME, frame([0x00, WINDOW.smallest], [rawBlock(Buffer.alloc(0))])])],
    ['a skippable frame before it', Buffer.concat([skippable, WHOLE_FRAME])],
    ['a skippable frame behind it', Buffer.concat([WHOLE_FRAME, skippable])],
    ['a dictionary id', frame([0x01, WINDOW.smallest, 0x05], [RUN])],
    ['the reserved bit', frame([0x08, WINDOW.smallest], [RUN])],
    ['a block of the reserved type', frame([0x00, WINDOW.smallest], [blockHeader(3, 0)])],
    ['a window above 8 MiB', frame([0x00, WINDOW.larger], [RUN])],
    ['another content size', frame([0x60, 0xe9, 0x02], [runBlock(0x61, 1001)])],
    ['a content size that is not what it unpacks to', frame([0x60, 0xe8, 0x02], [runBlock(0x61, 999)])],
    ['a byte more than the body', frame([0x00, WINDOW.smallest], [runBlock(0x61, 1001)])],
    ['a byte less than the body', frame([0x00, WINDOW.smallest], [runBlock(0x61, 999)])],
    ['another body of its length', frame([0x00, WINDOW.smallest], [runBlock(0x62, length)])],
    [
      'far more than the body',
      frame(
        [0x00, WINDOW.smallest],
        Array.from({ length: 80 }, () => runBlock(0, 1024)),
      ),
    ],
  ];
  const checked = zstdCompressSync(PACKED_BODY, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
  const empty = Array.from({ length: 400 }, () => rawBlock(Buffer.alloc(0)));
  return [
    ...frames.map(([name, bytes]): ChunkCase => [
      `packed, with ${name}`,
      'damaged',
      packed(bytes),
      PACKED_BODY,
    ]),
    [
      'packed, without the checksum that its frame says',
      'damaged',
      packed(checked.subarray(0, -4)),
      PACKED_BODY,
    ],
    ['packed, without padding', 'damaged', packed(WHOLE_FRAME, WHOLE_FRAME.length + 5), PACKED_BODY],
    [
      'packed, larger than its body',
      'damaged',
      packed(frame([0x00, WINDOW.smallest], [...empty, RUN])),
      PACKED_BODY,
    ],
  ];
}

/** A content of 140,000 bytes in chunks of 65,536, as its table says it. */
export function tables(): MustFail[] {
  const { ref } = exampleChunk(FULL.writer.content, STORED_BODY);
  const table = (...lengths: readonly number[]): Buffer =>
    encodeRefs(lengths.map((length) => ({ tag: ref.tag, hash: ref.hash, length })));
  const full = INPUTS.chunkSize;
  const size = 140_000;
  const last = size - 2 * full;
  const cases: readonly (readonly [string, Buffer])[] = [
    ['of nothing', table()],
    ['with a chunk too few', table(full, full)],
    ['with a chunk too many', table(full, full, last, 1)],
    ['with a chunk that is not full', table(full - 1, full, last + 1)],
    ['whose last chunk is too short', table(full, full, last - 1)],
    ['whose last chunk is too long', table(full, full, last + 1)],
    ['whose chunks are too large', table(2 * full, last)],
    ['with its chunks in another order', table(full, last, full)],
    ['with a chunk of no bytes', table(full, full, last, 0)],
    ['with half an entry', table(full, full, last).subarray(0, -34)],
  ];
  return cases.map(([name, bytes]) =>
    withBytes({ kind: 'table', name, expect: 'damaged', size, chunkSize: full }, bytes),
  );
}
