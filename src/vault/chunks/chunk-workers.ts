/**
 * The threads that do the arithmetic of chunks. They are started when there is work and no idle one, up to a
 * number; a command that stores one small file starts one.
 */
import { Worker } from 'node:worker_threads';
import type { ChunkKeys } from '../../crypto/chunk.ts';
import { messageOf } from '../../errors.ts';
import type { Redundancy } from '../../format/shard.ts';
import { transferable } from './chunk-memory.ts';
import type { ChunkMemory } from './chunk-memory.ts';
import type { Answers, CheckAnswer, Job, OpenAnswer } from './chunk-worker.ts';

interface Thread {
  readonly worker: Worker;
  /** Answers awaited, by ticket. */
  readonly awaited: Map<number, { resolve: (answer: never) => void; reject: (error: unknown) => void }>;
}

export class ChunkWorkers {
  readonly #keys: ChunkKeys;
  readonly #most: number;
  readonly #threads: Thread[] = [];
  #tickets = 0;

  /**
   * @param keys what the threads seal and open with
   * @param options `most`: threads at most
   */
  constructor(keys: ChunkKeys, { most }: { readonly most: number }) {
    this.#keys = keys;
    this.#most = most;
  }

  /**
   * Frames a body that has been read into memory, and identifies it.
   *
   * @param size bytes of the payload: prefix, body and padding
   * @returns the chunk id, 64 hex digits
   */
  identify(memory: ChunkMemory, bodyLength: number, size: number): Promise<string> {
    return this.#run({ kind: 'identify', memory, bodyLength, size });
  }

  /** Seals an identified payload into shard objects, which lie where `objectsOf` says. */
  async seal(memory: ChunkMemory, size: number, id: string, redundancy: Redundancy): Promise<void> {
    await this.#run({ kind: 'seal', memory, size, id, redundancy });
  }

  /**
   * Opens a chunk into memory.
   *
   * @param objects shard objects by index, at least k of them, headers checked, others null; their memory goes to
   *   the thread: use those in the answer from then on
   * @returns `opened`: whether the payload in memory is the chunk with this id
   */
  open(
    memory: ChunkMemory,
    size: number,
    id: string,
    {
      redundancy,
      objects,
    }: { readonly redundancy: Redundancy; readonly objects: readonly (Uint8Array | null)[] },
  ): Promise<OpenAnswer> {
    return this.#run({ kind: 'open', memory, size, id, redundancy, objects });
  }

  /**
   * Checks shard objects.
   *
   * @param objects their memory goes to the thread: use those in the answer from then on
   * @returns `intact`: whether each object's own checksum is right
   */
  check(objects: readonly Uint8Array[]): Promise<CheckAnswer> {
    return this.#run({ kind: 'check', objects });
  }

  /** Ends the threads. */
  async close(): Promise<void> {
    await Promise.all(this.#threads.splice(0).map((thread) => thread.worker.terminate()));
  }

  #run<K extends Job['kind']>(job: Extract<Job, { kind: K }>): Promise<Answers[K]> {
    const moved = 'objects' in job ? transferable(job.objects) : [];
    const thread = this.#pick();
    const ticket = (this.#tickets += 1);
    return new Promise((resolve, reject) => {
      thread.awaited.set(ticket, { resolve, reject });
      thread.worker.ref();
      thread.worker.postMessage({ ticket, job }, moved);
    });
  }

  /** An idle thread, else a new one while there may be more, else the one with the least to do. */
  #pick(): Thread {
    let best: Thread | null = null;
    for (const thread of this.#threads) {
      if (best === null || thread.awaited.size < best.awaited.size) best = thread;
    }
    return best !== null && (best.awaited.size === 0 || this.#threads.length >= this.#most)
      ? best
      : this.#start();
  }

  #start(): Thread {
    // Beside this file, in the sources as in the built package.
    const file = import.meta.url.endsWith('.ts') ? './chunk-worker.ts' : './worker.js';
    const { vaultId, chunkId, chunkSeal } = this.#keys;
    const worker = new Worker(new URL(file, import.meta.url), {
      workerData: { vaultId, chunkId, chunkSeal },
      // A small young generation makes the collector free the ciphers' outputs soon; else they pile up to 64 MiB a thread.
      resourceLimits: { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 256 },
      // None of the parent's flags or environment: the thread needs neither, and secrets stay where they are.
      execArgv: [],
      env: {},
    });
    const thread: Thread = { worker, awaited: new Map() };
    worker.on('message', ({ ticket, answer }: { ticket: number; answer: never }) => {
      thread.awaited.get(ticket)?.resolve(answer);
      thread.awaited.delete(ticket);
      // An idle thread does not keep the process alive.
      if (thread.awaited.size === 0) worker.unref();
    });
    const fail = (error: Error): void => {
      for (const { reject } of thread.awaited.values()) reject(error);
      thread.awaited.clear();
      const index = this.#threads.indexOf(thread);
      if (index >= 0) this.#threads.splice(index, 1);
    };
    worker.on('error', (error) =>
      fail(new Error(`A worker thread failed: ${messageOf(error)}`, { cause: error })),
    );
    worker.on('exit', () => fail(new Error('A worker thread ended while it had work.')));
    this.#threads.push(thread);
    return thread;
  }
}
