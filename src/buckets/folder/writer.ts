/**
 * Storing many small objects in a folder by a thread of its own. From the threads that Node has for file calls each of the calls of an object
 * comes back to the main one before the next begins, which takes several times as long as the calls do.
 */
import { Worker } from 'node:worker_threads';
import { coalesced } from '../../concurrency/coalesced.ts';
import { messageOf } from '../../errors.ts';
import type { FolderCalls } from './calls.ts';
import type { Job, Written } from './writer-thread.ts';

/** Larger objects take so long to write that nothing else matters. */
const MOST_BYTES = 64 * 1024;

interface Thread {
  readonly worker: Worker;
  /** The batch that it is at. */
  batch: PromiseWithResolvers<readonly Written[]> | null;
}

export class Writer {
  #waiting: { readonly job: Job; written: Written | null }[] = [];
  #thread: Thread | null = null;
  /** Objects before the thread is worth its start. */
  #left: number;
  /** What waits while a batch is written is the next one. A batch has the turn of one call: it hangs as a call does. */
  readonly #flush: () => Promise<void>;

  /** @param after how many objects are stored before there is a thread */
  constructor(calls: FolderCalls, after: number) {
    this.#left = after;
    this.#flush = coalesced(
      () => this.#writeWaiting(),
      (run) => calls.turn(run, undefined),
    );
  }

  /** Whether it stores an object that has so many bytes; to be asked once for each. */
  takes(bytes: number): boolean {
    if (bytes > MOST_BYTES) return false;
    this.#left -= 1;
    return this.#left < 0;
  }

  /**
   * As `writeObject`, for an object that `takes` was asked about. It is carried through.
   *
   * @throws the system's errors; `unavailable` while an earlier call hangs
   */
  async write({
    unfinished,
    path,
    bytes,
  }: Omit<Job, 'bytes'> & { readonly bytes: Uint8Array }): Promise<number | null> {
    // Its memory goes to the thread.
    const mine = { job: { unfinished, path, bytes: new Uint8Array(bytes) }, written: null };
    const waiting: { readonly job: Job; written: Written | null } = mine;
    this.#waiting.push(waiting);
    try {
      await this.#flush();
    } finally {
      // Of a batch that did not get its turn.
      this.#waiting = this.#waiting.filter((one) => one !== waiting);
    }
    const { written } = waiting;
    if (written === null) throw new Error('A batch of objects has left one out');
    if ('mtimeMs' in written) return written.mtimeMs;
    const { message, ...system } = written.failed;
    throw Object.assign(new Error(message), system);
  }

  /** Ends the thread. One that hangs is left to itself. */
  async end(): Promise<void> {
    const thread = this.#thread;
    this.#thread = null;
    if (thread?.batch === null) await thread.worker.terminate();
  }

  async #writeWaiting(): Promise<void> {
    const batch = this.#waiting.splice(0);
    if (batch.length === 0) return;
    const thread = (this.#thread ??= this.#start());
    thread.batch = Promise.withResolvers();
    thread.worker.ref();
    const jobs = batch.map(({ job }) => job);
    thread.worker.postMessage(
      jobs,
      jobs.map(({ bytes }) => bytes.buffer),
    );
    for (const [at, written] of (await thread.batch.promise).entries()) {
      const one = batch[at];
      if (one !== undefined) one.written = written;
    }
  }

  #start(): Thread {
    // Beside this file, in the sources as in the built package.
    const file = import.meta.url.endsWith('.ts') ? './writer-thread.ts' : './writer.js';
    // None of the parent's flags or environment: the thread needs neither, and secrets stay where they are.
    const worker = new Worker(new URL(file, import.meta.url), {
      resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 32 },
      execArgv: [],
      env: {},
    });
    const thread: Thread = { worker, batch: null };
    const settle = (with_: (batch: PromiseWithResolvers<readonly Written[]>) => void): void => {
      const { batch } = thread;
      thread.batch = null;
      // An idle thread does not keep the process alive.
      worker.unref();
      if (batch !== null) with_(batch);
    };
    const fail = (error: Error): void => {
      if (this.#thread === thread) this.#thread = null;
      settle(({ reject }) => reject(error));
    };
    worker.on('message', (written: readonly Written[]) => settle(({ resolve }) => resolve(written)));
    worker.on('error', (error) =>
      fail(new Error(`A thread that writes failed: ${messageOf(error)}`, { cause: error })),
    );
    worker.on('exit', () => fail(new Error('A thread ended while it had objects to write.')));
    return thread;
  }
}
