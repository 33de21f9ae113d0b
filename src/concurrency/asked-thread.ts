/** A thread that is asked, and answers each question on its own: several may be under way. */
import type { ResourceLimits, Transferable, Worker } from 'node:worker_threads';
import { messageOf } from '../errors.ts';
import { startWorker } from './worker.ts';

interface Awaited {
  readonly resolve: (answer: never) => void;
  readonly reject: (error: unknown) => void;
}

/** It does not keep the process alive while nothing is asked. */
export class AskedThread<Question> {
  readonly #worker: Worker;
  readonly #awaited = new Map<number, Awaited>();
  #tickets = 0;

  /**
   * @param file what it runs: answers `{ ticket, question }` with `{ ticket, answer }`
   * @param options `limits`: of its memory; `onEnd`: told when it takes no more questions
   * @throws as `startWorker`
   */
  constructor(file: URL, options: { readonly limits: ResourceLimits; readonly onEnd: () => void }) {
    this.#worker = startWorker(file, { resourceLimits: options.limits });
    this.#worker.on('message', ({ ticket, answer }: { ticket: number; answer: never }) => {
      this.#awaited.get(ticket)?.resolve(answer);
      this.#awaited.delete(ticket);
      if (this.#awaited.size === 0) this.#worker.unref();
    });
    const fail = (error: Error): void => {
      for (const { reject } of this.#awaited.values()) reject(error);
      this.#awaited.clear();
      options.onEnd();
    };
    this.#worker.on('error', (error) =>
      fail(new Error(`A worker thread failed: ${messageOf(error)}`, { cause: error })),
    );
    this.#worker.on('exit', () => fail(new Error('A worker thread ended while it had work.')));
    this.#worker.unref();
  }

  /** Questions without an answer so far. */
  get waiting(): number {
    return this.#awaited.size;
  }

  /** @param moved what goes over to the thread, and is here no longer */
  ask<Answer>(question: Question, moved: readonly Transferable[] = []): Promise<Answer> {
    const ticket = (this.#tickets += 1);
    return new Promise((resolve, reject) => {
      this.#awaited.set(ticket, { resolve, reject });
      this.#worker.ref();
      this.#worker.postMessage({ ticket, question }, moved);
    });
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}
