/**
 * Who does the arithmetic of chunks: threads, which are started when there is work and no idle one, up to a number. A thread takes
 * longer to start than a few megabytes take: so much is done in the thread that asks.
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
  JobOf,
  OpenAnswer,
  SealedChunk,
  SealedManifest,
} from './chunk-jobs.ts';

/**
 * Bytes that may be opened before a thread is started, or fewer of what takes longer. Two threads take as long to start as it takes to
 * open 100 MB: of a file of 8 MB that takes a third of a whole `vault get`, and half of its processor time.
 */
const WITHOUT_THREADS = 64 * 1024 * 1024;
/** How much longer than to open it other work with a byte takes: to compress it is most of that. */
const EFFORT = { identify: 1, seal: 4, open: 1, recode: 4, check: 1, manifests: 1 } as const;

export class ChunkWorkers {
  /** Threads at most. */
  readonly most: number;
  /** Bytes that may still be opened without threads. */
  #here = WITHOUT_THREADS;
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
    return this.#run('identify', { kind: 'identify', memory, length, dedupKey });
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
    return this.#run('seal', { kind: 'seal', memory, ...chunk });
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
    return this.#run('open', { kind: 'open', memory, proof, coded: { ...rest, objects: [] }, objects });
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
    return this.#run('recode', {
      kind: 'recode',
      memory,
      ...chunk,
      coded: { ...rest, objects: [] },
      objects,
    });
  }

  /**
   * Checks shard objects.
   *
   * @param objects their memory goes to the thread: use those in the answer from then on
   * @param ids the chunk's id, by object
   * @returns `intact`: whether each object's own checksum is right
   */
  check(objects: readonly Uint8Array[], ids: readonly string[]): Promise<CheckAnswer> {
    return this.#run('check', { kind: 'check', objects, ids });
  }

  /** Seals manifests of unlocked files that have their content inside; null for those that cannot be. */
  manifests(session: SealingSession, manifests: readonly NewManifest[]): Promise<readonly SealedManifest[]> {
    return this.#run('manifests', { kind: 'manifests', session, manifests });
  }

  /**
   * Starts threads for so many chunks before there is work, if there will be enough: starting takes longer than most first answers.
   *
   * @param work what will be done with them
   * @param bytes of their bodies
   */
  warm(chunks: number, work: 'open' | 'seal', bytes: number): void {
    if (bytes * EFFORT[work] <= this.#here) return;
    while (this.#threads.length < Math.min(this.most, chunks)) this.#start();
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.splice(0).map((thread) => thread.end()));
  }

  async #run<K extends Job['kind']>(kind: K, job: JobOf<K>): Promise<Answers[K]> {
    const effort = bytesOf(job) * EFFORT[kind];
    if (this.#threads.length > 0 || effort > this.#here)
      return this.#pick().ask(job, 'objects' in job ? transferable(job.objects) : []);
    this.#here -= effort;
    const { work } = await import('./chunk-jobs.ts');
    return work(kind, job);
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

/** About how many bytes are worked through: of a chunk those that come out of it, which may have been made many times smaller. */
function bytesOf(job: Job): number {
  if ('proof' in job && job.proof !== null) return job.proof.length;
  if ('objects' in job) return job.objects.reduce((sum, object) => sum + (object?.length ?? 0), 0);
  return 'length' in job ? job.length : job.manifests.length * MANIFEST_BYTES;
}

/** So many bytes are opened while one manifest is sealed and signed. */
const MANIFEST_BYTES = 512 * 1024;
