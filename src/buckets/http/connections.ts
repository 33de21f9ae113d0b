/** Connections that are kept open between requests, one request at a time on each. */
import { Buffer } from 'node:buffer';
import * as http from 'node:http';
import * as https from 'node:https';
import * as net from 'node:net';
import * as tls from 'node:tls';
import type { AnswerReader } from './answer-reader.ts';
import { processWideOptions, UNSENDABLE, type Exchanger, type Sent } from './exchanger.ts';

/** Milliseconds after which a connection without use is closed, if its server does not do so sooner: as Node's own agents do. */
const IDLE_MS = 5_000;
/** What the end of a connection takes to get here, in milliseconds: who sends a request meanwhile sends it in vain. */
const MARGIN_MS = 1_000;
/** Bytes that are read where it is not known yet what they are. */
const SCRATCH_SIZE = 16 * 1024;

export class Connections implements Exchanger {
  readonly #ca: string | null;
  readonly #open = new Set<Connection>();
  /** Those without use, by origin. */
  readonly #idle = new Map<string, Connection[]>();
  /** What shortens the next handshake, by origin. */
  readonly #sessions = new Map<string, Buffer>();

  /** @param ca certificates, in PEM, that alone are trusted; null for the usual ones */
  constructor(ca: string | null) {
    this.#ca = ca;
  }

  async exchange(sent: Sent, reader: AnswerReader): Promise<void> {
    const { origin } = sent.url;
    const connection = this.#idle.get(origin)?.pop() ?? this.#connect(sent.url);
    await connection.exchange(sent, reader);
    const idleMs = Math.min(IDLE_MS, (reader.head?.idleSeconds ?? Infinity) * 1_000 - MARGIN_MS);
    if (!connection.isOpen || idleMs <= 0) return connection.destroy();
    connection.rest(idleMs);
    const idle = this.#idle.get(origin);
    if (idle === undefined) this.#idle.set(origin, [connection]);
    else idle.push(connection);
  }

  close(): void {
    for (const connection of this.#open) connection.destroy();
  }

  #connect({ origin, protocol, hostname, port }: URL): Connection {
    const host = hostname.replace(/^\[(.*)\]$/, '$1');
    const connection =
      protocol === 'https:'
        ? new Connection(() => {
            const socket = tls.connect({
              ...processWideOptions(https.globalAgent),
              ...(this.#ca !== null && { ca: this.#ca }),
              host,
              port: Number(port || 443),
              servername: net.isIP(host) === 0 ? host : '',
              ALPNProtocols: ['http/1.1'],
              session: this.#sessions.get(origin),
            });
            return socket.on('session', (session) => this.#sessions.set(origin, session));
          })
        : new Connection((onread) =>
            net.connect({ ...processWideOptions(http.globalAgent), host, port: Number(port || 80), onread }),
          );
    this.#open.add(connection);
    connection.onClose = () => {
      this.#open.delete(connection);
      const idle = this.#idle.get(origin);
      const at = idle?.indexOf(connection) ?? -1;
      if (at >= 0) idle?.splice(at, 1);
    };
    return connection;
  }
}

class Connection {
  readonly #socket: net.Socket;
  readonly #scratch = Buffer.allocUnsafeSlow(SCRATCH_SIZE);
  #reader: AnswerReader | null = null;
  #settle: ((error: unknown) => void) | null = null;
  onClose: () => void = () => undefined;

  /** @param open connects; reads as it is told, where this kind of socket does that */
  constructor(open: (onread: net.OnReadOpts) => net.Socket) {
    this.#socket = open({
      // Where the bytes of a body belong, if that is known: no memory is taken for them first, to be copied out of.
      buffer: () => this.#reader?.place ?? this.#scratch,
      callback: (count, memory) => {
        this.#take(Buffer.from(memory.buffer, memory.byteOffset, count));
        return true;
      },
    });
    this.#socket
      .setNoDelay(true)
      .on('data', (bytes: Buffer) => this.#take(bytes))
      .on('end', () => this.#end())
      .on('error', (error) => this.#settle?.(error))
      .on('timeout', () => this.destroy())
      .on('close', () => {
        this.#settle?.(Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' }));
        this.onClose();
      });
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed && this.#socket.writable;
  }

  async exchange(sent: Sent, reader: AnswerReader): Promise<void> {
    const { body, signal } = sent;
    const head = headOf(sent);
    const socket = this.#socket;
    socket.setTimeout(0);
    socket.ref();
    const onAbort = (): void => this.destroy();
    signal?.addEventListener('abort', onAbort);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#settle = (error) => (error === null ? resolve() : reject(error));
        this.#reader = reader;
        socket.cork();
        socket.write(head, 'latin1');
        for (const part of body) socket.write(part);
        socket.uncork();
      });
      // An answer before the end of the upload is a refusal. The rest must not be sent: the caller may reuse its
      // bytes as soon as it knows.
      if (!reader.isClean || reader.head?.keepsAlive !== true || socket.writableLength > 0) this.destroy();
    } catch (error) {
      this.destroy();
      throw error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#settle = null;
      this.#reader = null;
    }
  }

  /** Waits for the next request, without keeping the process alive. */
  rest(idleMs: number): void {
    this.#socket.setTimeout(idleMs);
    this.#socket.unref();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #take(bytes: Buffer): void {
    // Nobody has asked for anything.
    if (this.#reader === null || this.#reader.isDone) return this.destroy();
    try {
      this.#reader.take(bytes);
    } catch (error) {
      this.#settle?.(error);
      return;
    }
    if (this.#reader.isDone) this.#settle?.(null);
  }

  #end(): void {
    try {
      this.#reader?.end();
      this.#settle?.(null);
    } catch (error) {
      this.#settle?.(error);
    }
  }
}

/** @throws for a header that would be more than one */
function headOf({ method, url, headers }: Sent): string {
  const lines = [`${method} ${url.pathname}${url.search} HTTP/1.1`];
  for (const [name, value] of Object.entries({ host: url.host, ...headers })) {
    if (/[^\t\x20-\x7e\x80-\xff]/.test(value))
      throw Object.assign(new TypeError(`The header ${name} cannot be sent`), { code: UNSENDABLE });
    lines.push(`${name}: ${value}`);
  }
  return `${lines.join('\r\n')}\r\nconnection: keep-alive\r\n\r\n`;
}
