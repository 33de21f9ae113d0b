/** Reads one answer out of a connection's bytes, each byte of its body straight into its place. */
import { Buffer } from 'node:buffer';
import { MAX_EXPLANATION_SIZE, MAX_HEADER_SIZE } from '../bounds.ts';
import { malformed, parseHead, type Head } from './head.ts';

/** What the body of a successful answer may be, and where it goes. */
export interface BodyOptions {
  /** Bytes. */
  readonly maxBodySize: number;
  /** Memory that is the request's from then on, and that the body may lie in. */
  readonly spare?: ArrayBuffer | undefined;
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** The body of a successful answer is larger than it may be. */
export class TooLarge extends Error {
  constructor(limit: number) {
    super(`more bytes than the ${limit} that can have been stored`);
  }
}

const HEAD_END = Buffer.from('\r\n\r\n');
/** A chunk's size in hex digits, and what else its line may say; and a line behind the last one. */
const MAX_LINE_SIZE = 1024;
const FIRST_SIZE = 16 * 1024;

export class AnswerReader {
  readonly #options: BodyOptions;
  /** What has come of the head, or of a line within the body, and is not understood yet. */
  #pending: Buffer = Buffer.alloc(0);
  #head: Head | null = null;
  #memory: Buffer = Buffer.alloc(0);
  #size = 0;
  /** Bytes that are still to come of the body, or of its present chunk. */
  #left = 0;
  /** What comes next of a body in chunks. */
  #next: 'size' | 'data' | 'data-end' | 'trailer' = 'size';
  #isSuccess = false;
  /** Whether all of the answer has been read, or as much of it as is wanted. */
  isDone = false;
  /** Whether the connection is where the next answer will begin. */
  isClean = false;

  constructor(options: BodyOptions) {
    this.#options = options;
  }

  get head(): Head | null {
    return this.#head;
  }

  get body(): Buffer {
    return this.#memory.subarray(0, this.#size);
  }

  /** The memory where the next bytes belong, to be read into and then given to `take`; null if it is not known yet. */
  get place(): Buffer | null {
    const end = Math.min(this.#memory.length, this.#size + this.#left);
    return typeof this.#head?.body === 'number' && end > this.#size
      ? this.#memory.subarray(this.#size, end)
      : null;
  }

  /**
   * Takes the next bytes, which may be used again afterwards unless they lie in `place`.
   *
   * @throws `TooLarge`; what `malformed` gives
   */
  take(bytes: Buffer): void {
    let rest = bytes;
    while (rest.length > 0 && !this.isDone) rest = this.#step(rest);
    // Whatever comes behind an answer is none that was asked for.
    if (rest.length > 0) this.isClean = false;
  }

  /** Takes the end of the connection. @throws if the answer is not whole */
  end(): void {
    if (this.isDone) return;
    if (this.#head?.body !== 'until-close')
      throw Object.assign(new Error('the connection was closed'), { code: 'ECONNRESET' });
    this.isDone = true;
  }

  #step(bytes: Buffer): Buffer {
    if (this.#head === null) return this.#takeHead(bytes);
    if (this.#head.body === 'chunked' && this.#next !== 'data') return this.#takeLine(bytes);
    const { body } = this.#head;
    const count = body === 'until-close' ? bytes.length : Math.min(bytes.length, this.#left);
    this.#add(bytes.subarray(0, count));
    this.#left -= count;
    if (this.#left === 0 && body === 'chunked') this.#next = 'data-end';
    if (this.#left === 0 && typeof body === 'number') this.#finish();
    return bytes.subarray(count);
  }

  #takeHead(bytes: Buffer): Buffer {
    const before = this.#pending.length;
    const all = before === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    const end = all.indexOf(HEAD_END, Math.max(0, before - HEAD_END.length));
    if (end > MAX_HEADER_SIZE || (end === -1 && all.length > MAX_HEADER_SIZE))
      throw Object.assign(new Error('its headers have no end'), { code: 'HPE_HEADER_OVERFLOW' });
    if (end === -1) {
      this.#pending = Buffer.from(all);
      return all.subarray(all.length);
    }
    this.#pending = Buffer.alloc(0);
    const head = parseHead(all.toString('latin1', 0, end));
    if (head.status === 101) throw malformed('there is a protocol that nobody has asked for');
    // 100 and its like come before the answer.
    if (head.status >= 200) this.begin(head);
    return all.subarray(end + HEAD_END.length);
  }

  /** Takes a head that has been read already. @throws `TooLarge` */
  begin(head: Head): void {
    this.#head = head;
    this.#isSuccess = head.status < 300;
    if (typeof head.body !== 'number') return;
    if (head.body > this.#limit) {
      if (this.#isSuccess) throw new TooLarge(this.#limit);
      this.#memory = Buffer.allocUnsafeSlow(this.#limit);
    } else {
      const { spare } = this.#options;
      this.#memory =
        spare !== undefined && this.#isSuccess && spare.byteLength >= head.body
          ? Buffer.from(spare, 0, head.body)
          : Buffer.allocUnsafeSlow(head.body);
    }
    this.#left = head.body;
    if (this.#left === 0) this.#finish();
  }

  get #limit(): number {
    return this.#isSuccess ? this.#options.maxBodySize : MAX_EXPLANATION_SIZE;
  }

  #add(part: Buffer): void {
    const size = this.#size + part.length;
    if (size > this.#limit) {
      if (this.#isSuccess) throw new TooLarge(this.#limit);
      part = part.subarray(0, this.#limit - this.#size);
      // Nobody reads more of an explanation.
      this.isDone = true;
    }
    if (size > this.#memory.length && this.#memory.length < this.#limit) {
      const larger = Buffer.allocUnsafeSlow(Math.min(this.#limit, Math.max(FIRST_SIZE, 2 * size)));
      this.#memory.copy(larger, 0, 0, this.#size);
      this.#memory = larger;
    }
    const isThere =
      part.buffer === this.#memory.buffer && part.byteOffset === this.#memory.byteOffset + this.#size;
    if (!isThere) this.#memory.set(part, this.#size);
    this.#size += part.length;
    this.#options.onBytes?.(part.length);
  }

  /** A line of a body in chunks that is not part of it. */
  #takeLine(bytes: Buffer): Buffer {
    const end = bytes.indexOf(0x0a);
    const line = Buffer.concat([this.#pending, end === -1 ? bytes : bytes.subarray(0, end + 1)]);
    if (line.length > MAX_LINE_SIZE) throw malformed('a chunk has no end');
    this.#pending = end === -1 ? line : Buffer.alloc(0);
    if (end === -1) return bytes.subarray(bytes.length);
    const text = line.toString('latin1');
    if (!text.endsWith('\r\n')) throw malformed('a line has no end');
    if (this.#next === 'size') {
      const size = /^([0-9a-f]{1,12})[ \t]*(?:;[^\r\n]*)?\r\n$/i.exec(text)?.[1];
      if (size === undefined) throw malformed('a chunk has no size');
      this.#left = Number.parseInt(size, 16);
      this.#next = this.#left === 0 ? 'trailer' : 'data';
    } else if (this.#next === 'data-end') {
      if (text !== '\r\n') throw malformed('a chunk is longer than it says');
      this.#next = 'size';
    } else if (text === '\r\n') this.#finish();
    return bytes.subarray(end + 1);
  }

  #finish(): void {
    this.isDone = true;
    this.isClean = true;
  }
}
