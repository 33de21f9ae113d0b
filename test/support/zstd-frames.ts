// Frames of zstd by hand (RFC 8878, section 3.1.1), also such as no packer makes.

/** A zstd frame by hand: its header behind the magic number, then blocks, the last of which is marked as such. */
export function frame(header: readonly number[], blocks: readonly Uint8Array[]): Buffer {
  const last = blocks.length - 1;
  const marked = blocks.map((block, i) =>
    Uint8Array.from(block, (byte, at) => (at === 0 && i === last ? byte | 1 : byte)),
  );
  return Buffer.concat([Buffer.from('28b52ffd', 'hex'), Uint8Array.from(header), ...marked]);
}

export function rawBlock(bytes: Uint8Array): Buffer {
  return Buffer.concat([blockHeader(0, bytes.length), bytes]);
}

export function runBlock(byte: number, length: number): Buffer {
  return Buffer.concat([blockHeader(1, length), Uint8Array.of(byte)]);
}

export function blockHeader(type: number, size: number): Buffer {
  const header = Buffer.alloc(3);
  header.writeUIntLE((size << 3) | (type << 1), 0, 3);
  return header;
}

/** Descriptors of windows of 1 KiB, 8 MiB, a bit more, and the largest. */
export const WINDOW = { smallest: 0x00, largestAllowed: 0x68, larger: 0x69, largest: 0xff };
