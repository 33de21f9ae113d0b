/**
 * The memory of one chunk on its way, shared between threads: its payload and behind it its shard objects. It is
 * allocated once for each chunk in flight and used again and again: fresh pages for every chunk would cost more
 * than the cryptography.
 */
import { payloadSize, SEAL_OVERHEAD } from '../../format/chunk.ts';
import { MIN_CHUNK_SIZE } from '../../format/limits.ts';
import { formatRedundancy, SHARD_HEADER_SIZE, shardSize, type Redundancy } from '../../format/shard.ts';
import { Lender } from '../../concurrency/semaphore.ts';

export interface ChunkMemory {
  readonly buffer: SharedArrayBuffer;
  /** Most bytes of a body. */
  readonly chunkSize: number;
}

/**
 * Memory for chunks of up to a size.
 *
 * @param chunkSize most bytes of a body
 * @param redundancy the widest that it is sealed with; null to only open chunks
 */
export function allocateChunkMemory(chunkSize: number, redundancy: Redundancy | null): ChunkMemory {
  return { buffer: new SharedArrayBuffer(chunkMemorySize(chunkSize, redundancy)), chunkSize };
}

/** What chunks of one kind in flight share. */
export interface ChunkMemoryShare {
  /** The memory, to be borrowed. */
  readonly lender: Lender<ChunkMemory>;
  /** How many pieces of it there are. */
  readonly inFlight: number;
  /**
   * Turns of operations: each holds one piece of memory while it waits for a second (cutting reads one chunk ahead), so there are fewer
   * of them than pieces. Three that nobody waits with keep the threads at work; clients that send slowly should have many turns.
   */
  readonly turns: Lender<object>;
}

/** The memory of all chunks in flight of one opened vault, whatever number of operations runs at once. */
export class ChunkMemoryPool {
  readonly #limits: Limits;
  readonly #shares = new Map<string, ChunkMemoryShare & { readonly pieceBytes: number }>();

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** The share of chunks of up to this size that are sealed with this redundancy. Its memory may be larger. */
  share(chunkSize: number, redundancy: Redundancy): ChunkMemoryShare {
    // Sizes of memory are few, so that it is used again. What of it is never written to takes none of the machine's.
    const most = 2 ** Math.ceil(Math.log2(Math.max(chunkSize, MIN_CHUNK_SIZE)));
    const key = `${most} ${formatRedundancy(redundancy)}`;
    let share = this.#shares.get(key);
    if (share === undefined) {
      const pieceBytes = chunkMemorySize(most, redundancy);
      const inFlight = chunksInFlight(this.#limits, pieceBytes);
      const make = (): ChunkMemory => {
        this.#forgetIdle();
        return allocateChunkMemory(most, redundancy);
      };
      share = {
        pieceBytes,
        inFlight,
        lender: new Lender(inFlight, make),
        turns: new Lender(Math.max(Math.floor(inFlight / 2), inFlight - 3), () => ({})),
      };
      this.#shares.set(key, share);
    }
    return share;
  }

  /** Before a piece is made: of what nobody works with no more is kept than chunks in flight may take. */
  #forgetIdle(): void {
    let idleBytes = 0;
    for (const { lender, pieceBytes } of this.#shares.values()) idleBytes += lender.idle * pieceBytes;
    if (idleBytes <= this.#limits.chunkMemory) return;
    for (const { lender } of this.#shares.values()) if (lender.idle > 0) lender.forget();
  }
}

/** What bounds the memory and the requests of one opened vault. */
export interface Limits {
  /** Bytes that chunks in flight may take. */
  readonly chunkMemory: number;
  /** Most chunks in flight, whatever their size. */
  readonly chunksInFlight: number;
}

/** How many chunks of a size may be in flight: at least three, as cutting reads one ahead. */
export function chunksInFlight(limits: Limits, chunkBytes: number): number {
  return Math.max(3, Math.min(limits.chunksInFlight, Math.floor(limits.chunkMemory / chunkBytes)));
}

/** Bytes that `allocateChunkMemory` allocates. */
export function chunkMemorySize(chunkSize: number, redundancy: Redundancy | null): number {
  const payload = payloadSize(chunkSize, false);
  if (redundancy === null) return align(payload);
  const object = align(SHARD_HEADER_SIZE + shardSize(payload + SEAL_OVERHEAD, redundancy.k));
  return align(payload) + object * (redundancy.k + redundancy.m);
}

/** The payload's memory. */
export function payloadOf(memory: ChunkMemory, size: number): Uint8Array {
  return new Uint8Array(memory.buffer, 0, size);
}

/** The memory of a full body, to be read into. */
export function bodyOf(memory: ChunkMemory): Uint8Array {
  return new Uint8Array(memory.buffer, 0, memory.chunkSize);
}

/** The memory of each shard object, header included. */
export function objectsOf(memory: ChunkMemory, count: number, size: number): Uint8Array[] {
  const start = align(payloadSize(memory.chunkSize, false));
  const stride = align(SHARD_HEADER_SIZE + size);
  return Array.from(
    { length: count },
    (_, index) => new Uint8Array(memory.buffer, start + index * stride, SHARD_HEADER_SIZE + size),
  );
}

/** Cache lines of 64 bytes: what one thread writes and another reads does not share one. */
function align(size: number): number {
  return Math.ceil(size / 64) * 64;
}

/**
 * The buffers that change hands with a message instead of being copied. Small views stay, since Node puts them
 * together into buffers that cannot be given away.
 */
export function transferable(views: readonly (Uint8Array | null)[]): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  for (const view of views) {
    if (view?.buffer instanceof ArrayBuffer && view.byteLength >= LEAST_TRANSFERRED) buffers.add(view.buffer);
  }
  return [...buffers];
}

/** Bytes from which on a view has a buffer of its own; Node's pool serves views of a few KiB. */
const LEAST_TRANSFERRED = 32 * 1024;
