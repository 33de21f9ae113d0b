import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { TLSSocket } from 'node:tls';

/**
 * What happens to a statement on its way to the server.
 *
 * - `pass`: nothing
 * - `lose`: the connection is reset before the statement reaches the server
 * - `lose answer`: the server runs it, and the connection is reset instead of its answer
 * - bytes: the server never sees it, and the client gets these as its answer
 * - `instead`: the server runs it, and the client gets these as its answer
 */
export type Fate = 'pass' | 'lose' | 'lose answer' | Uint8Array | { readonly instead: Uint8Array };

export interface PostgresProxy {
  /** The server's URL with this proxy's port. */
  readonly url: string;
  /** What to do about each statement; asked with its text once it has come in whole. */
  decide: (text: string) => Fate;
  /** Changes the bytes of a statement on its way, which stay as many. */
  rewrite: (raw: Buffer) => Buffer;
  /** Delay of everything in each direction, in milliseconds. */
  delayMs: number;
  /**
   * How often a statement came while nothing was awaited: each costs the client a round trip. Needs some
   * `delayMs`, so that statements sent at once are seen together.
   */
  roundTrips: number;
  /** How many clients have asked for TLS and got it. */
  tlsConnections: number;
  /** Messages from clients (`Q`, `P`, ...), as they came. */
  readonly messages: Message[];
  close(): Promise<void>;
}

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

/**
 * A proxy in front of a Postgres server that understands as much of the protocol
 * (https://www.postgresql.org/docs/current/protocol-message-formats.html) as it takes to tell statements apart.
 *
 * @param options `tls`: key and certificate to answer clients with that ask for TLS; without it they are told that there is none
 */
export async function postgresProxy(
  serverUrl: string,
  options: { readonly tls?: { readonly key: string; readonly cert: string } } = {},
): Promise<PostgresProxy> {
  const upstream = new URL(serverUrl);
  const sockets = new Set<Socket>();
  const serve = (plain: Socket): void => {
    track(plain);
    plain.once('data', (first) => {
      plain.pause();
      if (!first.equals(SSL_REQUEST)) {
        plain.unshift(first);
        relay(plain, plain);
        return;
      }
      plain.write(options.tls === undefined ? 'N' : 'S');
      if (options.tls === undefined) {
        relay(plain, plain);
        return;
      }
      const secure = new TLSSocket(plain, { isServer: true, ...options.tls });
      secure.on('error', () => undefined);
      secure.once('secure', () => proxy.tlsConnections++);
      relay(secure, plain);
    });
  };
  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
  };
  const relay = (client: Socket, plain: Socket): void => {
    const server = connect(Number(upstream.port), upstream.hostname);
    track(server);
    const reset = (): void => {
      plain.resetAndDestroy();
      server.resetAndDestroy();
    };
    // What the client waits for, in order: the server's answer, one made up here, one made up as soon as the server has
    // answered, or one that will not come. The first of all is the server's greeting.
    const awaited: (Uint8Array | { readonly instead: Uint8Array } | 'server' | 'reset')[] = ['server'];
    const answerUntilServer = (): void => {
      for (let [next] = awaited; next instanceof Uint8Array; [next] = awaited) {
        const answer = next;
        awaited.shift();
        void later(() => client.write(answer));
      }
    };
    const answers = new MessageReader();
    server.on('data', (bytes) => {
      for (const { type, raw } of answers.push(bytes)) {
        const [next] = awaited;
        if (next === 'reset') {
          reset();
          return;
        }
        const isReplaced = typeof next === 'object' && 'instead' in next;
        if (!isReplaced) void later(() => client.write(raw));
        if (type !== READY_FOR_QUERY) continue;
        if (isReplaced) void later(() => client.write(next.instead));
        awaited.shift();
        answerUntilServer();
      }
    });
    const statements = new StatementReader((message) => proxy.messages.push(message));
    client.on('data', (bytes) => {
      for (const { text, raw } of statements.push(bytes)) {
        const fate = text === null ? null : proxy.decide(text);
        if (fate !== null && awaited.length === 0) proxy.roundTrips++;
        if (fate === 'lose') {
          reset();
          return;
        }
        if (fate instanceof Uint8Array) {
          awaited.push(fate);
          answerUntilServer();
          continue;
        }
        if (fate === 'pass') awaited.push('server');
        else if (fate !== null) awaited.push(fate === 'lose answer' ? 'reset' : fate);
        void later(() => server.write(proxy.rewrite(raw)));
      }
    });
    client.once('close', () => server.destroy());
    server.once('close', () => plain.destroy());
    client.resume();
  };
  const later = async (act: () => unknown): Promise<void> => {
    if (proxy.delayMs > 0) await sleep(proxy.delayMs);
    act();
  };
  const listener = createServer(serve).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const address = listener.address();
  if (address === null || typeof address === 'string') throw new Error('A TCP server has a port.');
  const url = new URL(serverUrl);
  url.port = String(address.port);
  const proxy: PostgresProxy = {
    url: url.href,
    decide: () => 'pass',
    rewrite: (raw) => raw,
    delayMs: 0,
    roundTrips: 0,
    tlsConnections: 0,
    messages: [],
    async close() {
      listener.close();
      for (const socket of sockets) socket.destroy();
      await once(listener, 'close');
    },
  };
  return proxy;
}

/** An error response, after which the server is ready for the next statement of the same transaction. */
export function errorAnswer(state: string, message: string): Uint8Array {
  const fields = `SERROR\0VERROR\0C${state}\0M${message}\0\0`;
  return Buffer.concat([framed('E', Buffer.from(fields)), framed('Z', Buffer.from('T'))]);
}

/** The answer to a statement of the extended protocol: one row of one text column. */
export function rowAnswer(column: string, value: string): Uint8Array {
  const name = Buffer.from(`${column}\0`);
  const description = Buffer.alloc(18);
  description.writeInt32BE(25, 6);
  description.writeInt16BE(-1, 10);
  const text = Buffer.from(value);
  const size = Buffer.alloc(6);
  size.writeInt16BE(1, 0);
  size.writeInt32BE(text.length, 2);
  return Buffer.concat([
    framed('1', Buffer.alloc(0)),
    framed('2', Buffer.alloc(0)),
    framed('T', Buffer.concat([Buffer.from([0, 1]), name, description])),
    framed('D', Buffer.concat([size, text])),
    framed('C', Buffer.from('SHOW\0')),
    framed('Z', Buffer.from('T')),
  ]);
}

function framed(type: string, body: Buffer): Buffer {
  const head = Buffer.from(`${type}0000`);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

/** Cuts the bytes of one side into messages. */
class MessageReader {
  #rest: Buffer = Buffer.alloc(0);
  /** A client's first message has no type. */
  #untyped: boolean;

  constructor(options: { readonly untypedStart: boolean } = { untypedStart: false }) {
    this.#untyped = options.untypedStart;
  }

  /** @returns the messages that have become whole */
  push(bytes: Buffer): readonly Message[] {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    const whole: Message[] = [];
    while (true) {
      const head = this.#untyped ? 0 : 1;
      if (this.#rest.length < head + 4) return whole;
      const end = head + this.#rest.readInt32BE(head);
      if (this.#rest.length < end) return whole;
      const raw = Buffer.from(this.#rest.subarray(0, end));
      const type = this.#untyped ? '' : String.fromCharCode(raw[0] ?? 0);
      whole.push({ type, body: raw.subarray(head + 4), raw });
      this.#rest = this.#rest.subarray(end);
      this.#untyped = false;
    }
  }
}

interface Message {
  readonly type: string;
  readonly body: Buffer;
  readonly raw: Buffer;
}

const READY_FOR_QUERY = 'Z';

/** Puts the messages of a client together to whole statements: a query, or everything up to a sync. */
class StatementReader {
  readonly #messages = new MessageReader({ untypedStart: true });
  #statement: Buffer[] = [];
  #text = '';
  readonly #onMessage: (message: Message) => void;

  constructor(onMessage: (message: Message) => void) {
    this.#onMessage = onMessage;
  }

  /** @returns what has become whole; `text` is null for what the server does not answer with "ready for query" */
  push(bytes: Buffer): readonly { readonly text: string | null; readonly raw: Buffer }[] {
    const whole: { text: string | null; raw: Buffer }[] = [];
    for (const message of this.#messages.push(bytes)) {
      const { type, body, raw } = message;
      this.#onMessage(message);
      this.#statement.push(raw);
      // Parse: name and text, each with a zero byte at its end.
      if (type === 'P') this.#text = body.toString('utf8', body.indexOf(0) + 1).replace(/\0.*/s, '');
      if (type === 'Q') this.#text = body.toString('utf8').replace(/\0.*/s, '');
      if (['P', 'B', 'D', 'E', 'C', 'H'].includes(type)) continue;
      const answered = type === 'Q' || type === 'S';
      whole.push({ text: answered ? this.#text : null, raw: Buffer.concat(this.#statement) });
      this.#statement = [];
      this.#text = '';
    }
    return whole;
  }
}
