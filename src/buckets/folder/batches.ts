/** Small files of a folder that are stored together, in a thread that all folders of the process share. */
import { AskedThread } from '../../concurrency/asked-thread.ts';
import type { NewObject } from '../bucket.ts';
import { bytesOf } from '../bucket.ts';
import type { Batch, BatchAnswer } from './batch.ts';

/** The thread, while any folder uses it. */
let thread: AskedThread<Batch> | null = null;
const users = new Set<Batches>();

/** One folder's use of the thread. */
export class Batches {
  /** Memory of the last batch, for the next one. */
  #spare = new ArrayBuffer(0);

  /**
   * Stores files under names that are theirs.
   *
   * @param batch where and how, see `Batch`
   * @param signal once it is aborted no further file gets its name
   * @returns when one of them was written, in milliseconds by the disk's clock
   * @throws with the system's code; which of them are stored is not known then
   */
  async store(
    objects: readonly NewObject[],
    batch: Pick<Batch, 'unfinished' | 'target' | 'atOnce' | 'replace'>,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    const size = bytesOf(objects);
    const bytes = new Uint8Array(this.#spare.byteLength < size ? new ArrayBuffer(size) : this.#spare);
    this.#spare = new ArrayBuffer(0);
    let at = 0;
    const files = objects.map(({ name, bytes: content }) => {
      bytes.set(content, at);
      at += content.length;
      return { name: name.slice(name.lastIndexOf('/') + 1), size: content.length };
    });
    users.add(this);
    const unwanted = new Int32Array(new SharedArrayBuffer(4));
    const onAbort = (): void => void Atomics.store(unwanted, 0, 1);
    signal?.addEventListener('abort', onAbort);
    if (signal?.aborted === true) onAbort();
    const question = { ...batch, files, bytes, unwanted };
    const asked = startedThread().ask<BatchAnswer>(question, [bytes.buffer]);
    const answer = await asked.finally(() => signal?.removeEventListener('abort', onAbort));
    this.#spare = answer.bytes.buffer;
    const { problem, mtimeMs } = answer;
    if (problem === null) return mtimeMs;
    throw Object.assign(new Error(problem.message), { code: problem.code, syscall: 'write' });
  }

  /** Ends the thread if no other folder uses it. */
  async close(): Promise<void> {
    if (!users.delete(this) || users.size > 0) return;
    const last = thread;
    thread = null;
    const ended = last?.end();
    // A disk that hangs is not waited for.
    if (last?.waiting === 0) await ended;
  }
}

function startedThread(): AskedThread<Batch> {
  if (thread !== null) return thread;
  // Beside this file, in the sources as in the built package.
  const file = import.meta.url.endsWith('.ts') ? './batch-thread.ts' : './batch-thread.js';
  const started = new AskedThread<Batch>(new URL(file, import.meta.url), {
    limits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 64 },
    onEnd: () => {
      if (thread === started) thread = null;
    },
  });
  thread = started;
  return started;
}
