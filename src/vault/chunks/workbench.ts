/** The memory of chunks that are examined or rebuilt: bounded, and used again, as fresh pages cost more than the work. */
import type { ChunkRow } from '../../catalog/catalog.ts';
import { PAYLOAD_PREFIX_SIZE, SEAL_OVERHEAD } from '../../format/chunk.ts';
import { MAX_SEALED_SIZE, shardObjectSize } from '../../format/shard.ts';
import type { Redundancy } from '../../format/shard.ts';
import { Budget } from '../../concurrency/semaphore.ts';
import { allocateChunkMemory, chunkMemorySize } from './chunk-memory.ts';
import type { ChunkMemory } from './chunk-memory.ts';
import type { FetchedShard } from './shards.ts';

/** What one chunk is worked on with. */
export interface Workbench {
  /** For the payload and the shards made of it; null if no chunk has the size that the row says. */
  readonly memory: ChunkMemory | null;
  /** Memory for shards to be fetched into. */
  readonly spare: ArrayBuffer[];
}

/** Most pieces of memory of one kind that are kept for others. */
const MOST_KEPT = 64;

export class Workshop {
  readonly #budget: Budget;
  readonly #spare: ArrayBuffer[] = [];
  /** Free memory of one kind: most chunks of a vault are alike. */
  #free: { readonly kind: string; readonly memories: ChunkMemory[] } = { kind: '', memories: [] };

  /** @param totalSize bytes that all chunks under way may take together */
  constructor(totalSize: number) {
    this.#budget = new Budget(totalSize);
  }

  /**
   * Works on one chunk as soon as there is memory for it.
   *
   * @param redundancy what its shards are coded with in that memory
   * @param work may use the bench until it settles
   */
  async use<T>(row: ChunkRow, redundancy: Redundancy, work: (bench: Workbench) => Promise<T>): Promise<T> {
    const fetched = shardObjectSize(row.sealedSize, row.k) * (row.k + row.m);
    return this.#budget.spend(chunkMemorySize(bodySize(row), redundancy) + fetched, async () => {
      const kind = `${row.sealedSize} ${redundancy.k}+${redundancy.m}`;
      const kept = this.#free.kind === kind ? this.#free.memories.pop() : undefined;
      const memory = kept ?? benchMemory(row, redundancy);
      try {
        return await work({ memory, spare: this.#spare });
      } finally {
        if (memory !== null) this.#keep(kind, memory);
      }
    });
  }

  #keep(kind: string, memory: ChunkMemory): void {
    if (this.#free.kind !== kind) this.#free = { kind, memories: [] };
    if (this.#free.memories.length < MOST_KEPT) this.#free.memories.push(memory);
  }
}

/** Memory for a chunk and its shards; null if no chunk has the size that the row says. */
export function benchMemory(row: ChunkRow, redundancy: Redundancy): ChunkMemory | null {
  const { sealedSize } = row;
  const isPossible = sealedSize > SEAL_OVERHEAD + PAYLOAD_PREFIX_SIZE && sealedSize <= MAX_SEALED_SIZE;
  return isPossible ? allocateChunkMemory(bodySize(row), redundancy) : null;
}

/** Bytes of the body, with its padding, of a sealed chunk. */
export function bodySize({ sealedSize }: Pick<ChunkRow, 'sealedSize'>): number {
  return Math.max(0, sealedSize - SEAL_OVERHEAD - PAYLOAD_PREFIX_SIZE);
}

/** Gives the memory of shards to those to come. They have been checked, so that their memory is theirs alone: a thread gave it back. */
export function keepSpare({ spare }: Workbench, shards: readonly Pick<FetchedShard, 'object'>[]): void {
  for (const { object } of shards) {
    if (object.buffer instanceof ArrayBuffer && spare.length < MOST_KEPT) spare.push(object.buffer);
  }
}
