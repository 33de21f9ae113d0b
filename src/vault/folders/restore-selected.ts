/** Writing what is selected of a stored folder into the file system, here or, if it is much, in a thread of its own. */
import { stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fromThreadError, toThreadError } from '../../concurrency/thread-error.ts';
import { untilAborted } from '../../concurrency/until-aborted.ts';
import { isLocal } from '../../disk/local.ts';
import { interrupted } from '../../errors.ts';
import { restoreTree } from './restore-tree.ts';
import type { RestoredTree, RestoreTreeOptions } from './restore-tree.ts';
import type { FromThread, ThreadProgress, ThreadStart, ToThread } from './restore-messages.ts';
import { startThread } from './start-thread.ts';
import type { SelectedEntries, StoredIndex } from './stored-folder.ts';

/** Entries from which on a thread pays: it takes as long to start as some hundred files to write. */
const THREAD_FROM = 1000;

export interface RestoreSelectedOptions extends RestoreTreeOptions {
  /** Entries from which on a thread of its own writes; some number unless given. */
  readonly threadFrom?: number | undefined;
}

/** See `restoreTree`. @throws as that one, and as reading the entries */
export async function restoreSelected(
  selected: SelectedEntries,
  target: string,
  { threadFrom = THREAD_FROM, ...options }: RestoreSelectedOptions,
): Promise<RestoredTree> {
  const { index } = selected;
  const isMuch = index !== null && selected.count >= threadFrom;
  // A thread that waits for a disk which does not answer could not be ended.
  const inThread = isMuch && (await isOnLocalDisk(target, options.signal));
  const reader = selected.reader(inThread ? 1 : 0);
  try {
    if (inThread) return await new Restoring(index, reader, options).run(target);
    return await restoreTree(selected.entries(), reader.readContent, target, options);
  } finally {
    await reader.close();
  }
}

async function isOnLocalDisk(target: string, signal: AbortSignal | undefined): Promise<boolean> {
  const isThere = await untilAborted(
    stat(target).then(
      () => true,
      () => false,
    ),
    signal,
  );
  return untilAborted(isLocal(isThere ? target : dirname(resolve(target))), signal);
}

/** A thread that writes, and what it asks for. */
class Restoring {
  readonly #index: StoredIndex;
  readonly #bytes: AsyncGenerator<Uint8Array, void, undefined>;
  readonly #reader: ReturnType<SelectedEntries['reader']>;
  readonly #options: RestoreTreeOptions;
  /** What reading has thrown, as the thread knows only what it says. */
  #thrown: unknown;

  constructor(
    index: StoredIndex,
    reader: ReturnType<SelectedEntries['reader']>,
    options: RestoreTreeOptions,
  ) {
    this.#index = index;
    this.#bytes = index.bytes();
    this.#reader = reader;
    this.#options = options;
  }

  async run(target: string): Promise<RestoredTree> {
    const { force, owners, signal } = this.#options;
    const { totals, wanted } = this.#index;
    const start: ThreadStart = {
      totals,
      path: wanted?.path.toString('latin1') ?? null,
      target,
      force,
      owners,
    };
    const worker = startThread('restore-thread', start);
    const abort = (): void => worker.postMessage({ kind: 'abort' } satisfies ToThread);
    signal?.addEventListener('abort', abort);
    if (signal?.aborted === true) abort();
    try {
      return await new Promise<RestoredTree>((done, failed) => {
        const take = async (message: FromThread): Promise<void> => {
          switch (message.kind) {
            case 'problem':
              this.#options.onProblem?.({ ...message.problem, path: Buffer.from(message.problem.path) });
              break;
            case 'done':
              this.#progress(message.progress);
              done(message.done);
              break;
            case 'failed':
              failed(message.wasAnswered ? this.#thrown : this.#ownError(message.error));
              break;
            default:
              worker.postMessage(await this.#answer(message));
          }
        };
        // Also what the caller throws when it is told of something.
        worker.on('message', (message: FromThread) => void take(message).catch(failed));
        worker.on('error', failed);
        worker.on('exit', () =>
          failed(new Error('The thread that writes a folder ended before it was done.')),
        );
      });
    } finally {
      signal?.removeEventListener('abort', abort);
      await worker.terminate();
      await this.#bytes.return();
    }
  }

  #ownError(error: Extract<FromThread, { kind: 'failed' }>['error']): Error {
    return error.code === 'interrupted' ? interrupted(this.#options.signal) : fromThreadError(error);
  }

  async #answer(question: Extract<FromThread, { kind: 'index' | 'content' }>): Promise<ToThread> {
    try {
      if (question.kind === 'content') {
        this.#progress(question.progress);
        return { kind: 'content', ...(await this.#reader.runAt(question.offset)) };
      }
      const next = await this.#bytes.next();
      return { kind: 'index', bytes: next.done === true ? null : next.value };
    } catch (error) {
      this.#thrown = error;
      return { kind: 'failed', error: toThreadError(error) };
    }
  }

  #progress({ bytes, files }: ThreadProgress): void {
    if (bytes > 0) this.#options.onBytes?.(bytes, files);
  }
}
