/** A scan by a thread of its own, some way ahead: to look at a file takes as long as to store again what is unchanged of it. */
import { on } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { fromThreadError } from '../../concurrency/thread-error.ts';
import type { ThreadError } from '../../concurrency/thread-error.ts';
import { untilAborted } from '../../concurrency/until-aborted.ts';
import { isVaultError, throwIfAborted } from '../../errors.ts';
import { below, diskPath, onDisk } from './disk-path.ts';
import { diskCalls } from './disk-calls.ts';
import type { DiskCalls } from './disk-calls.ts';
import type { FolderSource } from './folder-source.ts';
import { unpackBatch } from './scan-batch.ts';
import type { ScanBatch } from './scan-batch.ts';
import type { Missed, ScannedEntry, ScanOptions } from './scan.ts';
import { startThread } from './start-thread.ts';

/** What the thread is started with. */
export interface ScanStart {
  readonly root: Uint8Array;
  readonly excludes: readonly Uint8Array[];
  readonly options: Pick<ScanOptions, 'excludeCaches' | 'largest' | 'oneFileSystem' | 'own'>;
}

/** What it tells; it is sent a message for each batch that it may tell. */
export type ScanMessage =
  | { readonly kind: 'batch'; readonly batch: ScanBatch; readonly missed: readonly Missed[] }
  | { readonly kind: 'end' }
  | { readonly kind: 'failed'; readonly error: ThreadError };

/** Batches that are told before they are asked for. */
const AHEAD = 32;

/** A scan that has begun. Up to some thousand entries have been looked at before they come. */
export class ScanAhead {
  readonly #root: string;
  readonly #worker: Worker;
  readonly #messages: AsyncIterator<unknown[]>;

  constructor({ root, excludes = [], excludeCaches, largest, oneFileSystem, own }: FolderSource) {
    this.#root = root;
    this.#worker = startThread('scan-thread', {
      root: Buffer.from(root),
      excludes: excludes.map((each) => Buffer.from(each)),
      options: { excludeCaches, largest, oneFileSystem, own },
    } satisfies ScanStart);
    // From the beginning: what has gone wrong until entries are asked for is told then.
    this.#messages = on(this.#worker, 'message', { close: ['exit'] });
    for (let batch = 0; batch < AHEAD; batch += 1) this.#worker.postMessage(null);
  }

  /** See `scan`. They come once. */
  async *entries({
    accounts,
    signal,
    onMissed,
  }: Pick<ScanOptions, 'accounts' | 'signal' | 'onMissed'>): AsyncGenerator<ScannedEntry, void, undefined> {
    throwIfAborted(signal);
    const calls = new Map<bigint, DiskCalls>();
    try {
      for (;;) {
        const event = await untilAborted(this.#messages.next(), signal);
        if (event.done === true) throw new Error('The thread that scans a folder ended before it was done.');
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the thread tells nothing else
        const [message] = event.value as [ScanMessage];
        if (message.kind === 'end') return;
        if (message.kind === 'failed') throw fromThreadError(message.error);
        this.#worker.postMessage(null);
        for (const found of unpackBatch(message.batch, accounts)) {
          const { device } = found.state;
          const known = calls.get(device) ?? (await this.#callsFor(found.entry.path, signal));
          if (!calls.has(device)) calls.set(device, known);
          yield { ...found, calls: known };
        }
        for (const one of message.missed) onMissed?.({ ...one, path: Buffer.from(one.path) });
      }
    } finally {
      await this.end(signal);
    }
  }

  /** Ends it, wherever it is. @param signal once it is aborted nobody waits: the thread may, for a disk within the folder that hangs */
  async end(signal: AbortSignal | undefined): Promise<void> {
    const ended = this.#worker.terminate();
    await untilAborted(ended, signal).catch((error: unknown) => {
      if (!isVaultError(error, 'interrupted')) throw error;
    });
  }

  async #callsFor(path: Buffer, signal: AbortSignal | undefined): Promise<DiskCalls> {
    return diskCalls(onDisk(below(diskPath(this.#root), diskPath(path))), signal);
  }
}
