/**
 * The thread that does the arithmetic of chunks: identifying, sealing, coding, checking, opening. It holds keys and
 * no other state; memory comes with every job, shared with the main thread, so that no chunk is copied between them.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { parentPort, workerData } from 'node:worker_threads';
import { chunkId, finishShardObject, isShardIntact, openChunk, sealChunk } from '../../crypto/chunk.ts';
import type { ChunkKeys } from '../../crypto/chunk.ts';
import { encodeParity, reconstructData } from '../../crypto/erasure.ts';
import { framePayload, SEAL_OVERHEAD } from '../../format/chunk.ts';
import { SHARD_HEADER_SIZE, shardSize } from '../../format/shard.ts';
import type { Redundancy } from '../../format/shard.ts';
import { objectsOf, payloadOf, transferable } from './chunk-memory.ts';
import type { ChunkMemory } from './chunk-memory.ts';

/** A job, and beside it what it answers. */
export type Job =
  /** Frames the body that lies in memory. Answers the chunk id as hex. */
  | {
      readonly kind: 'identify';
      readonly memory: ChunkMemory;
      readonly bodyLength: number;
      readonly size: number;
    }
  /** Seals the framed payload into shard objects in memory. Answers null. */
  | {
      readonly kind: 'seal';
      readonly memory: ChunkMemory;
      readonly size: number;
      readonly id: string;
      readonly redundancy: Redundancy;
    }
  /** Opens a chunk from k or more of its shard objects into memory. Answers `OpenAnswer`. */
  | {
      readonly kind: 'open';
      readonly memory: ChunkMemory;
      readonly size: number;
      readonly id: string;
      readonly redundancy: Redundancy;
      readonly objects: readonly (Uint8Array | null)[];
    }
  /** Checks shard objects' own checksums. Answers `CheckAnswer`. */
  | { readonly kind: 'check'; readonly objects: readonly Uint8Array[] };

/** Whether the chunk opened, and the objects back again, since sending them took them from the sender. */
export interface OpenAnswer {
  readonly opened: boolean;
  readonly objects: readonly (Uint8Array | null)[];
}

/** Whether each object's checksum is right, and the objects back again. */
export interface CheckAnswer {
  readonly intact: readonly boolean[];
  readonly objects: readonly Uint8Array[];
}

export interface Answers {
  identify: string;
  seal: null;
  open: OpenAnswer;
  check: CheckAnswer;
}

// Structured cloning has turned the parent's Buffers into Uint8Arrays, which serve as keys as well.
const keys: ChunkKeys = workerData;

/**
 * Frees the ciphers' outputs after each job. They are outside of the heap, whose size is what the collector goes by, so that
 * left to itself it lets 60 MiB of them pile up in each thread; a collection of the young ones takes well under a
 * millisecond here and keeps their memory in the processor's cache (measured: 137 MiB instead of 261 for a put, and an
 * eighth less processor time).
 */
const collectYoung = ((): (() => void) => {
  try {
    setFlagsFromString('--expose-gc');
    const collect: unknown = runInNewContext('gc');
    if (typeof collect !== 'function') return () => {};
    let isFirst = true;
    teachAllocator();
    return () => {
      collect({ type: isFirst ? 'major' : 'minor' });
      isFirst = false;
    };
  } catch {
    return () => {};
  }
})();

/**
 * Lets go of one large piece of memory. glibc then keeps free memory of up to twice that size instead of giving it back
 * to the system after every job, to be asked for again page by page (mallopt(3), "dynamic mmap threshold"). Measured: 17,000
 * page faults instead of 72,000 for 256 MiB. Other allocators do not mind.
 */
function teachAllocator(): void {
  Buffer.allocUnsafeSlow(8 * 1024 * 1024).fill(0, 0, 1);
}

parentPort?.on('message', ({ ticket, job }: { ticket: number; job: Job }) => {
  const answer = run(job);
  collectYoung();
  parentPort?.postMessage({ ticket, answer }, 'objects' in job ? transferable(job.objects) : []);
});

function run(job: Job): Answers[Job['kind']] {
  switch (job.kind) {
    case 'identify': {
      const payload = payloadOf(job.memory, job.size);
      framePayload(payload, job.bodyLength);
      return chunkId(keys, payload).toString('hex');
    }
    case 'seal': {
      seal(job);
      return null;
    }
    case 'open': {
      return open(job);
    }
    case 'check': {
      return { intact: job.objects.map(isShardIntact), objects: job.objects };
    }
  }
}

function seal({ memory, size, id, redundancy }: Extract<Job, { kind: 'seal' }>): void {
  const { k, m } = redundancy;
  const sealedSize = size + SEAL_OVERHEAD;
  const objects = objectsOf(memory, k + m, shardSize(sealedSize, k));
  const shards = objects.map((object) => object.subarray(SHARD_HEADER_SIZE));
  sealChunk(keys, Buffer.from(id, 'hex'), payloadOf(memory, size), shards.slice(0, k));
  encodeParity(k, m, shards);
  for (const [index, object] of objects.entries()) {
    finishShardObject(object, { k, m, index, sealedSize, chunkId: id });
  }
}

function open({ memory, size, id, redundancy, objects }: Extract<Job, { kind: 'open' }>): OpenAnswer {
  const { k, m } = redundancy;
  const shards = objects.map((object) => object?.subarray(SHARD_HEADER_SIZE) ?? null);
  const opened = openChunk(keys, Buffer.from(id, 'hex'), reconstructData(k, m, shards), {
    sealedSize: size + SEAL_OVERHEAD,
    payload: payloadOf(memory, size),
  });
  return { opened, objects };
}
