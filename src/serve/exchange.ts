/** One request and its answer: what was asked, the body as it comes, and the bytes that go back. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { interrupted, invalidInput, VaultError } from '../errors.ts';
import type { Clock } from '../host.ts';
import { failure, STRICT_HEADERS, type Answer, type HttpCode } from './answers.ts';

export interface ExchangeLimits {
  readonly clock: Clock;
  /** Most bytes of a body. */
  readonly maxUpload: number;
  /** How long a client may send, or take, next to nothing, in milliseconds. */
  readonly idleMs: number;
}

/** Fewer bytes than this in the whole of `idleMs` are next to nothing. */
const LEAST_PROGRESS = 1024;
/** Most bytes of a body that is read as a whole, such as JSON. */
const MAX_SMALL_BODY = 64 * 1024;
/** How often `idleMs` a client may take nothing. Systems take and tell that in lumps of megabytes, whatever is written at once. */
const PATIENCE = 10;
/** How long a client may go on sending what nobody reads, so that it sees the answer, in milliseconds. */
const LINGER_MS = 1000;

const CUT = 'The request ended before its body did.';

export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly method: string;
  readonly query: URLSearchParams;
  /** What stands in the path for the route's parameters, decoded. */
  readonly parameters: readonly string[];
  /** Who asks, for the log: the first digits of a token's id. */
  by: string | null = null;
  bytesIn = 0;
  bytesOut = 0;
  readonly #limits: ExchangeLimits;
  readonly #gone = new AbortController();
  #awaitsContinue: boolean;
  #refusal: Answer | null = null;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    { limits, parameters }: { readonly limits: ExchangeLimits; readonly parameters: readonly string[] },
  ) {
    this.request = request;
    this.response = response;
    this.parameters = parameters;
    this.method = request.method ?? '';
    this.query = new URLSearchParams(request.url?.replace(/^[^?]*\??/, ''));
    this.#limits = limits;
    this.#awaitsContinue = request.headers.expect !== undefined;
    response.on('timeout', () => {
      this.refuse(408, 'too-slow', 'The answer was taken too slowly.');
      response.destroy();
    });
    response.on('close', () => {
      if (!response.writableFinished) this.#hungUp();
      this.abort();
    });
  }

  /** Aborted when the client has gone, or the server can wait no longer. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  /** What was wrong with the client, if that is why answering it failed. */
  get refusal(): Answer | null {
    return this.#refusal;
  }

  abort(): void {
    this.#gone.abort();
  }

  /** A header's value as text; null if it was not sent. @throws `invalid-input` if it is not UTF-8 */
  header(name: string): string | null {
    const value = this.request.headers[name];
    if (typeof value !== 'string') return null;
    try {
      // Node gives each byte as a character.
      return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(value, 'latin1'));
    } catch (cause) {
      throw invalidInput(`The header ${name} is not UTF-8.`, cause);
    }
  }

  /**
   * The body, as it comes.
   *
   * @throws `invalid-input` if it is too long or comes too slowly (`refusal` says so then); `source-changed` if it ends too early
   */
  async *body(maxBytes: number = this.#limits.maxUpload): AsyncGenerator<Uint8Array, void, undefined> {
    const length = Number(this.request.headers['content-length'] ?? 0);
    if (length > maxBytes) throw this.#tooLarge(maxBytes);
    if (this.#awaitsContinue) this.response.writeContinue();
    this.#awaitsContinue = false;
    const bytes: AsyncIterator<unknown> = this.request.iterator({ destroyOnReturn: false });
    const pace = { waitedMs: 0, bytes: 0 };
    for (;;) {
      const chunk = await this.#next(bytes, pace);
      if (chunk === null) return;
      this.bytesIn += chunk.length;
      pace.bytes += chunk.length;
      if (this.bytesIn > maxBytes) throw this.#tooLarge(maxBytes);
      yield chunk;
    }
  }

  /** A small body as text. @throws as `body`; `invalid-input` if it is not UTF-8 */
  async smallBody(): Promise<string> {
    const parts = await Array.fromAsync(this.body(MAX_SMALL_BODY));
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts));
    } catch (cause) {
      throw invalidInput('The body is not UTF-8.', cause);
    }
  }

  /** The next bytes; null at the end. Only the time spent waiting for the client counts. */
  async #next(
    bytes: AsyncIterator<unknown>,
    pace: { waitedMs: number; bytes: number },
  ): Promise<Uint8Array | null> {
    const next = bytes.next();
    next.catch(() => undefined);
    for (;;) {
      const got = await this.#within(next, pace);
      if (got !== 'slow') return got.done === true || !(got.value instanceof Uint8Array) ? null : got.value;
      if (pace.bytes < LEAST_PROGRESS) throw this.#tooSlow();
      Object.assign(pace, { waitedMs: 0, bytes: 0 });
    }
  }

  async #within(
    next: Promise<IteratorResult<unknown>>,
    pace: { waitedMs: number; bytes: number },
  ): Promise<IteratorResult<unknown> | 'slow'> {
    const askedAt = this.#limits.clock.monotonic();
    const slow = Promise.withResolvers<'slow'>();
    const timer = setTimeout(() => slow.resolve('slow'), this.#limits.idleMs - pace.waitedMs);
    try {
      return await Promise.race([next, slow.promise]);
    } catch (cause) {
      throw new VaultError('source-changed', CUT, { cause });
    } finally {
      clearTimeout(timer);
      pace.waitedMs += this.#limits.clock.monotonic() - askedAt;
    }
  }

  #tooLarge(maxBytes: number): VaultError {
    return this.refuse(413, 'too-large', `A body has at most ${maxBytes} bytes here; nothing was stored.`);
  }

  #tooSlow(): VaultError {
    return this.refuse(408, 'too-slow', 'The body came too slowly; nothing was stored.');
  }

  /** The connection has ended: by the client, unless the server has called the exchange off before. */
  #hungUp(): VaultError {
    if (this.signal.aborted) return interrupted(this.signal);
    if (this.request.complete) return this.refuse(499, 'gone', 'The client has gone.');
    return this.refuse(400, 'source-changed', CUT);
  }

  /** Notes what to say of the exchange, unless something was before. @returns the error to throw */
  refuse(
    status: number,
    code: HttpCode | 'source-changed',
    message: string,
    headers: Readonly<Record<string, string>> = {},
  ): VaultError {
    this.#refusal ??= failure(status, code, message, headers);
    return invalidInput(message);
  }

  /**
   * Sends an answer. Of a file's bytes the first have been had before anything is said.
   *
   * @throws what reading the content's first bytes throws; nothing has been said then
   */
  async send(answer: Answer): Promise<void> {
    const { response } = this;
    const run = this.method === 'HEAD' ? undefined : answer.content?.[Symbol.asyncIterator]();
    const first = await run?.next();
    const whole = answer.json === undefined ? answer.text : `${JSON.stringify(answer.json)}\n`;
    const headers: Record<string, string> = { ...STRICT_HEADERS };
    if (answer.json !== undefined) headers['Content-Type'] = 'application/json; charset=utf-8';
    if (whole !== undefined) headers['Content-Length'] = String(Buffer.byteLength(whole));
    Object.assign(headers, answer.headers);
    const unread = !this.request.complete;
    if (unread) headers['Connection'] = 'close';
    response.writeHead(answer.status, headers);
    if (run !== undefined && first !== undefined) await this.#stream(run, first);
    if (response.destroyed) return;
    if (whole !== undefined && this.method !== 'HEAD') {
      response.write(whole);
      this.bytesOut += Buffer.byteLength(whole);
    }
    if (unread) await this.#linger();
    response.end();
  }

  async #stream(run: AsyncIterator<Uint8Array>, first: IteratorResult<Uint8Array>): Promise<void> {
    try {
      for (let next = first; next.done !== true; next = await run.next()) {
        if (!(await this.#write(next.value))) throw this.#hungUp();
        this.bytesOut += next.value.length;
      }
    } finally {
      await run.return?.();
    }
  }

  /** Writes, and waits until the bytes have been taken. @returns whether anybody still takes them */
  async #write(bytes: Uint8Array): Promise<boolean> {
    const { response } = this;
    if (response.destroyed) return false;
    response.setTimeout(this.#limits.idleMs * PATIENCE);
    const written = await new Promise<boolean>((resolve) => {
      response.write(bytes, (error) => resolve(error === null || error === undefined));
    });
    response.setTimeout(0);
    return written;
  }

  /** Reads on for a moment: a client that still sends when its connection ends would not see the answer. */
  async #linger(): Promise<void> {
    const { request } = this;
    request.removeAllListeners('readable');
    request.on('error', () => undefined);
    setImmediate(() => request.resume());
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, LINGER_MS);
      request.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}
