/** The HTTP server of an opened vault. It keeps no state: any number of them may serve one vault. */
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import type { Socket } from 'node:net';
import { Budget } from '../concurrency/semaphore.ts';
import { isVaultError, messageOf, systemCode, VaultError } from '../errors.ts';
import type { Vault } from '../vault/vault.ts';
import { Access } from './access.ts';
import type { Answer } from './answers.ts';
import { failure, failureOf, STRICT_HEADERS } from './answers.ts';
import { Exchange } from './exchange.ts';
import { Metrics } from './metrics.ts';
import { routeOf } from './routes.ts';
import type { AccessEntry } from './access-log.ts';
import type { Route, ServeOptions, Serving } from './serving.ts';
import { Slowdown } from './slowdown.ts';

export type { AccessEntry } from './access-log.ts';
export type { ServeOptions } from './serving.ts';

export interface RunningServer {
  /** Where it listens. */
  readonly url: string;
  /** Takes no more requests, lets those under way end for a while, and then ends them. */
  stop(): Promise<void>;
}

/** Bytes of a request's head: the longest name, in percent encoding, and what comes with it. */
const MAX_HEAD_SIZE = 64 * 1024;
/** A head must be there after this time, in milliseconds. */
const HEAD_TIMEOUT_MS = 20_000;
const MAX_CONNECTIONS = 2000;
/** Bytes of memory of all downloads under way; more of them wait. */
const DOWNLOAD_MEMORY = 128 * 1024 * 1024;
/** How long those that were called off may take to end, in milliseconds. */
const LAST_MOMENTS_MS = 2000;

/**
 * Serves a vault, which stays its caller's.
 *
 * @throws `invalid-input` if it cannot listen there, or not without a token
 */
export async function startServer(vault: Vault, options: ServeOptions): Promise<RunningServer> {
  const running = new Set<Exchange>();
  let stopping = false;
  const slowdown = new Slowdown(options.clock);
  const access = await Access.of(vault, { ...options, slowdown });
  const server = makeServer(options);
  const url = await listen(server, options);
  const baseUrl = options.publicUrl ?? url;
  const serving: Serving = {
    vault,
    options,
    baseUrl,
    access,
    slowdown,
    memory: new Budget(DOWNLOAD_MEMORY),
    metrics: new Metrics(),
    running: () => running.size,
    isStopping: () => stopping,
  };
  const take = (awaitsContinue: boolean) => (request: IncomingMessage, response: ServerResponse) => {
    const exchange = new Exchange(request, response, { limits: options, awaitsContinue });
    running.add(exchange);
    if (stopping) response.shouldKeepAlive = false;
    // Once had over HTTPS, it is never asked for in the clear again.
    if (baseUrl.startsWith('https:')) response.setHeader('Strict-Transport-Security', 'max-age=31536000');
    void serve(exchange, serving).finally(() => running.delete(exchange));
  };
  server.on('request', take(false)).on('checkContinue', take(true)).on('clientError', refuseNonsense);
  return {
    url,
    async stop() {
      stopping = true;
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeIdleConnections();
      const patience = new AbortController();
      await Promise.race([
        closed,
        delay(options.graceMs, null, { signal: patience.signal }).catch(() => null),
      ]);
      patience.abort();
      for (const exchange of running) exchange.abort();
      await emptied(running);
      server.closeAllConnections();
      await emptied(running);
      await closed;
    },
  };
}

/** Waits until nothing is under way, for a while. */
async function emptied(running: ReadonlySet<Exchange>): Promise<void> {
  for (let waitedMs = 0; running.size > 0 && waitedMs < LAST_MOMENTS_MS; waitedMs += 20) await delay(20);
}

function makeServer({ tls }: ServeOptions): Server {
  const settings = {
    maxHeaderSize: MAX_HEAD_SIZE,
    headersTimeout: HEAD_TIMEOUT_MS,
    // Uploads may take hours; whoever sends next to nothing is noticed while the body is read.
    requestTimeout: 0,
    connectionsCheckingInterval: 5000,
    requireHostHeader: true,
  };
  const server = tls === null ? createServer(settings) : createTlsServer({ ...settings, ...tls });
  server.maxConnections = MAX_CONNECTIONS;
  return server;
}

async function listen(server: Server, { host, port, tls }: ServeOptions): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      const message = `Cannot listen on ${host}:${port}: ${messageOf(cause)}. Choose another place with --listen.`;
      reject(new VaultError('invalid-input', message, { cause }));
    });
    server.listen({ host, port }, resolve);
  });
  const address = server.address();
  const actual = typeof address === 'object' && address !== null ? address.port : port;
  return `${tls === null ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${actual}`;
}

async function serve(exchange: Exchange, serving: Serving): Promise<void> {
  const { options } = serving;
  const startedAtMs = options.clock.monotonic();
  const { request, method } = exchange;
  const client = request.socket.remoteAddress ?? null;
  let route: Route | null = null;
  let said: Answer;
  try {
    const found = routeOf(exchange);
    if ('handle' in found) route = found;
    said = 'handle' in found ? await answerOf(found, exchange, serving) : found;
    const answer = said;
    await serving.memory.spend(said.memory ?? 0, () => exchange.send(answer));
  } catch (error) {
    said = exchange.refusal ?? failureOf(error);
    if (route?.faultsAre400 === true && (said.code === 'wrong-password' || said.code === 'damaged')) {
      said = { ...said, status: 400 };
    }
    tellOperator(serving, exchange, error);
    if (!exchange.response.headersSent) await exchange.send(said).catch(() => undefined);
  }
  const entry: AccessEntry = {
    time: new Date(options.clock.now()).toISOString(),
    client,
    by: exchange.by,
    method: /^[A-Z]{1,16}$/.test(method) ? method : '?',
    route: route?.path ?? null,
    status: said.status,
    code: said.code ?? null,
    bytesIn: exchange.bytesIn,
    bytesOut: exchange.bytesOut,
    ms: Math.round(options.clock.monotonic() - startedAtMs),
  };
  serving.metrics.count(entry);
  options.log(entry);
}

async function answerOf({ scope, handle }: Route, exchange: Exchange, serving: Serving): Promise<Answer> {
  const refused = scope === null ? null : await serving.access.refused(exchange, scope);
  return refused ?? handle(exchange, serving);
}

/** Storage that fails is its operator's to mend; what a client does wrong, or that it has gone, is not. */
function tellOperator({ options }: Serving, exchange: Exchange, error: unknown): void {
  if (exchange.signal.aborted || isVaultError(error, 'invalid-input', 'source-changed', 'file-not-found'))
    return;
  if (isVaultError(error, 'wrong-password', 'damaged', 'object-missing')) return;
  options.warn(isVaultError(error) ? error.message : 'A request met with a bug in this program.', error);
}

/** What is not HTTP, or has a head that is too long or too slow, never becomes a request. */
function refuseNonsense(error: Error, socket: Socket): void {
  if (!socket.writable || systemCode(error) === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const [status, reason, answer] =
    systemCode(error) === 'HPE_HEADER_OVERFLOW'
      ? [
          431,
          'Request Header Fields Too Large',
          failure(431, 'too-large', 'The head of the request is too long.'),
        ]
      : systemCode(error) === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'Request Timeout', failure(408, 'too-slow', 'The head of the request came too slowly.')]
        : [400, 'Bad Request', failure(400, 'bad-request', 'This is not HTTP.')];
  const body = `${JSON.stringify(answer.json)}\n`;
  const lines = [
    `HTTP/1.1 ${status} ${reason}`,
    ...Object.entries(STRICT_HEADERS).map(([name, value]) => `${name}: ${value}`),
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`);
}
