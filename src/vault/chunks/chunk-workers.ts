/**
 * The threads that do the arithmetic of chunks. They are started when there is work and no idle one, up to a
 * number; a command that stores one small file starts one.
 */
import { Worker } from 'node:worker_threads';
import { messageOf } from '../../errors.ts';
import type { Compression } from '../../format/keyring.ts';
import type { Redundancy } from '../../format/shard.ts';
import { transferable } from './chunk-memory.ts';
import type { ChunkMemory } from './chunk-memory.ts';
import type {
  Answers,
  CheckAnswer,
  ChunkProof,
  CodedObjects,
  Identity,
  Job,
  OpenAnswer,
  SealedChunk,
} from './chunk-worker.ts';

interface Thread {
  readonly worker: Worker;
  /** Answers awaited, by ticket. */
  readonly awaited: Map<number, { resolve: (answer: never) => void; reject: (error: unknown) => void }>;
}

export class ChunkWorkers {
  /** Threads at most. */
  readonly most: number;
  readonly #threads: Thread[] = [];
  #tickets = 0;

  constructor({ most }: { readonly most: number }) {
    this.most = most;
  }

  /**
   * Identifies a body that has been read into memory.
   *
   * @param length bytes of the body
   * @param dedupKey the key of the writer and kind, 32 bytes
   */
  identify(memory: ChunkMemory, length: number, dedupKey: Uint8Array): Promise<Identity> {
    return this.#run({ kind: 'identify', memory, length, dedupKey });
  }

  /** Seals an identified body into shard objects, which then lie where `objectsOf` says. */
  seal(
    memory: ChunkMemory,
    chunk: {
      readonly length: number;
      readonly full: boolean;
      readonly tag: Uint8Array;
      readonly compression: Compression;
      readonly redundancy: Redundancy;
    },
  ): Promise<SealedChunk> {
    return this.#run({ kind: 'seal', memory, ...chunk });
  }

  /**
   * Opens a chunk; its body then lies at the beginning of the memory.
   *
   * @param coded at least k shard objects of one sealing, headers checked; their memory goes to the thread: use those in the
   *   answer from then on
   * @returns `opened`: whether the body in memory is the chunk's
   */
  open(memory: ChunkMemory, proof: ChunkProof, coded: CodedObjects): Promise<OpenAnswer> {
    const { objects, ...rest } = coded;
    return this.#run({ kind: 'open', memory, proof, coded: { ...rest, objects: [] }, objects });
  }

  /**
   * Makes the shard objects of a sealing anew, also for another redundancy; they then lie where `objectsOf` says.
   *
   * @param chunk `proof`: null for a chunk that cannot be opened, whose shards are then only as good as their checksums
   * @param coded as for `open`
   */
  recode(
    memory: ChunkMemory,
    chunk: { readonly id: string; readonly proof: ChunkProof | null; readonly redundancy: Redundancy },
    coded: CodedObjects,
  ): Promise<OpenAnswer> {
    const { objects, ...rest } = coded;
    return this.#run({ kind: 'recode', memory, ...chunk, coded: { ...rest, objects: [] }, objects });
  }

  /**
   * Checks shard objects.
   *
   * @param objects their memory goes to the thread: use those in the answer from then on
   * @param ids the chunk's id, by object
   * @returns `intact`: whether each object's own checksum is right
   */
  check(objects: readonly Uint8Array[], ids: readonly string[]): Promise<CheckAnswer> {
    return this.#run({ kind: 'check', objects, ids });
  }

  /** Starts threads for so many chunks before there is work: starting takes longer than most first answers. */
  warm(chunks: number): void {
    while (this.#threads.length < Math.min(this.most, chunks)) this.#start().worker.unref();
  }

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
    return best !== null && (best.awaited.size === 0 || this.#threads.length >= this.most)
      ? best
      : this.#start();
  }

  #start(): Thread {
    // Beside this file, in the sources as in the built package.
    const file = import.meta.url.endsWith('.ts') ? './chunk-worker.ts' : './worker.js';
    const worker = new Worker(new URL(file, import.meta.url), {
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
