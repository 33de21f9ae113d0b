/** Standard output, which carries data alone: hashes, tables, JSON lines, a file's bytes. */
import type { WriteStream } from 'node:tty';
import {
  interrupted,
  invalidInput,
  isFull,
  messageOf,
  systemCode,
  throwIfAborted,
  VaultError,
} from '../../errors.ts';
import { isOutputClosed, isStandIn } from './streams.ts';
import { jsonOf } from './text.ts';

/** Codes of a write to a reader that has gone: `vault ls | head`. */
const READER_GONE = new Set<string | null>(['EPIPE', 'EOF', 'ECONNRESET', 'ERR_STREAM_DESTROYED']);

/** Columns of a terminal that does not say. */
const USUAL_WIDTH = 80;

export class Output {
  readonly #stream: NodeJS.WriteStream | WriteStream;
  readonly #signal: AbortSignal;
  #readerGone = false;

  /** @param signal ends a wait for a reader that takes nothing */
  constructor(stream: NodeJS.WriteStream, signal: AbortSignal) {
    this.#stream = stream;
    this.#signal = signal;
    // Failures are told to each write; without a listener the same error would end the process.
    stream.on('error', () => undefined);
  }

  /**
   * Refuses to begin where everything written would be lost.
   *
   * @throws `invalid-input`
   */
  requireOpen(): void {
    if (!isStandIn(this.#stream) && !isOutputClosed()) return;
    throw invalidInput(
      'Standard output is closed, or cannot be written. Send it to a file or a pipe; "> /dev/null" throws it away.',
    );
  }

  get isTerminal(): boolean {
    return this.#stream.isTTY;
  }

  /** Columns of the terminal; null if this is none, and lines may be of any length. */
  get width(): number | null {
    return this.isTerminal ? this.#stream.columns || USUAL_WIDTH : null;
  }

  /**
   * Writes, and waits until the bytes have been taken; the caller may then reuse them.
   *
   * @returns false if nobody reads any more; nothing will be written from then on, which is not an error
   * @throws `storage-full` or `unavailable` if standard output is a file that cannot be written; `interrupted`
   */
  async write(data: string | Uint8Array): Promise<boolean> {
    if (this.#readerGone) return false;
    throwIfAborted(this.#signal);
    if (isStandIn(this.#stream)) throw cannotWrite(new Error('it is nothing that can be written'));
    const written = Promise.withResolvers<unknown>();
    const stop = (): void => {
      written.reject(interrupted(this.#signal));
    };
    this.#signal.addEventListener('abort', stop);
    try {
      this.#stream.write(data, written.resolve);
      const error = await written.promise;
      if (error === undefined || error === null) return true;
      if (!READER_GONE.has(systemCode(error))) throw cannotWrite(error);
      this.#readerGone = true;
      return false;
    } finally {
      this.#signal.removeEventListener('abort', stop);
    }
  }

  /** Writes one line; see `write`. */
  async line(text: string): Promise<boolean> {
    return this.write(`${text}\n`);
  }

  /** Writes a value as one line of JSON; see `write`. */
  async json(value: Readonly<Record<string, unknown>>): Promise<boolean> {
    return this.line(jsonOf(value));
  }
}

function cannotWrite(cause: unknown): VaultError {
  return new VaultError(
    isFull(cause) ? 'storage-full' : 'unavailable',
    `Cannot write to standard output: ${messageOf(cause)}.`,
    { cause },
  );
}
