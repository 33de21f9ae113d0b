/** Writing bytes to a new file, in order and without its holes. */
import type { FileHandle } from 'node:fs/promises';
import { untilAborted } from '../../concurrency/until-aborted.ts';
import { systemCode } from '../../errors.ts';
import { runsOfData } from './holes.ts';

/** Bytes after which writing to the disk is begun. */
const SYNC_EVERY = 32 * 1024 * 1024;

export class ContentWriter {
  readonly #handle: FileHandle;
  readonly #signal: AbortSignal | undefined;
  /** Bytes given so far, and the end of what has been written of them. */
  #given = 0;
  #written = 0;
  #unsynced = 0;
  #syncing: Promise<void> | null = null;
  #failure: { readonly error: unknown } | null = null;

  /**
   * @param handle of a new, empty file
   * @param signal ends a wait for the disk; the handle is of no use then
   */
  constructor(handle: FileHandle, signal: AbortSignal | undefined) {
    this.#handle = handle;
    this.#signal = signal;
  }

  /** Writes the next bytes, which may be used again afterwards. @throws the system's error, also that of earlier bytes */
  async write(bytes: Uint8Array): Promise<void> {
    for (const { start, end } of runsOfData(bytes, this.#given)) {
      await this.#writeAll(bytes.subarray(start, end), this.#given + start);
      this.#written = this.#given + end;
      this.#unsynced += end - start;
    }
    this.#given += bytes.length;
    this.#throwFailure();
    // The disk writes while the next chunks are read and opened; else it would all be left for the end.
    if (this.#unsynced < SYNC_EVERY || this.#syncing !== null) return;
    this.#unsynced = 0;
    this.#syncing = this.#sync();
  }

  /** Leaves a hole, which reads as zeros. @param length bytes */
  skip(length: number): void {
    this.#given += length;
  }

  /** Ends the file. What it holds is not durable yet. @throws as `write` */
  async finish(): Promise<void> {
    if (this.#written < this.#given) await untilAborted(this.#extend(), this.#signal);
    if (this.#syncing !== null) await untilAborted(this.#syncing, this.#signal);
    this.#throwFailure();
  }

  async #writeAll(bytes: Uint8Array, position: number): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const writing = this.#handle.write(bytes, at, bytes.length - at, position + at);
      const { bytesWritten } = await untilAborted(writing, this.#signal);
      if (bytesWritten === 0) throw new Error('the file system takes no more bytes and does not say why');
      at += bytesWritten;
    }
  }

  /** Makes the file as long as it is, where it ends with a hole. */
  async #extend(): Promise<void> {
    try {
      await this.#handle.truncate(this.#given);
    } catch {
      // Not every file system lengthens a file so; each lets its last byte be written.
      await this.#writeAll(Buffer.alloc(1), this.#given - 1);
    }
  }

  async #sync(): Promise<void> {
    try {
      await this.#handle.datasync();
    } catch (error) {
      if (!isUnsupported(error)) this.#failure ??= { error };
    }
    this.#syncing = null;
  }

  #throwFailure(): void {
    if (this.#failure !== null) throw this.#failure.error;
  }
}

/** Whether a file system said that it has no such operation, rather than that it failed. */
export function isUnsupported(error: unknown): boolean {
  return ['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'ENOTTY'].includes(systemCode(error) ?? '');
}
