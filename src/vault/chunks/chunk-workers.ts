/**
 * The threads that do the arithmetic of chunks. They are started when there is work and no idle one, up to a
 * number; a command that stores one small file starts one.
 */
import { AskedThread } from '../../concurrency/asked-thread.ts';
import type { NewManifest, SealingSession } from '../../crypto/manifest.ts';
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
  SealedManifest,
} from './chunk-worker.ts';

export class ChunkWorkers {
  /** Threads at most. */
  readonly most: number;
  readonly #threads: AskedThread<Job>[] = [];

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

  /** Seals manifests of unlocked files that have their content inside; null for those that cannot be. */
  manifests(session: SealingSession, manifests: readonly NewManifest[]): Promise<readonly SealedManifest[]> {
    return this.#run({ kind: 'manifests', session, manifests });
  }

  /** Starts threads for so many chunks before there is work: starting takes longer than most first answers. */
  warm(chunks: number): void {
    while (this.#threads.length < Math.min(this.most, chunks)) this.#start();
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.splice(0).map((thread) => thread.end()));
  }

  #run<K extends Job['kind']>(job: Extract<Job, { kind: K }>): Promise<Answers[K]> {
    return this.#pick().ask(job, 'objects' in job ? transferable(job.objects) : []);
  }

  /** An idle thread, else a new one while there may be more, else the one with the least to do. */
  #pick(): AskedThread<Job> {
    let best: AskedThread<Job> | null = null;
    for (const thread of this.#threads) {
      if (best === null || thread.waiting < best.waiting) best = thread;
    }
    return best !== null && (best.waiting === 0 || this.#threads.length >= this.most) ? best : this.#start();
  }

  #start(): AskedThread<Job> {
    // Beside this file, in the sources as in the built package.
    const file = import.meta.url.endsWith('.ts') ? './chunk-worker.ts' : './worker.js';
    const thread = new AskedThread<Job>(new URL(file, import.meta.url), {
      // A small young generation makes the collector free the ciphers' outputs soon; else they pile up to 64 MiB a thread.
      limits: { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 256 },
      onEnd: () => {
        const index = this.#threads.indexOf(thread);
        if (index >= 0) this.#threads.splice(index, 1);
      },
    });
    this.#threads.push(thread);
    return thread;
  }
}
