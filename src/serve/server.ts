/** The HTTP server of an opened vault. It keeps no state: any number of them may serve one vault. */
import { createServer, METHODS, STATUS_CODES, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import type { Socket } from 'node:net';
import fastify from 'fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Budget } from '../concurrency/semaphore.ts';
import { invalidInput, isVaultError, messageOf, systemCode, VaultError } from '../errors.ts';
import type { Vault } from '../vault/vault.ts';
import { Access } from './access.ts';
import { failure, failureOf, STRICT_HEADERS, type Answer } from './answers.ts';
import { Exchange } from './exchange.ts';
import { failurePage, wantsPage } from './link-page.ts';
import { Metrics } from './metrics.ts';
import { fits, noRoute, ROUTES, routedOf, type Routed } from './routes.ts';
import type { AccessEntry } from './access-log.ts';
import type { ServeOptions, Serving } from './serving.ts';
import { Slowdown } from './slowdown.ts';
import { unfit } from './unfit.ts';

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
/** Bytes of memory of all downloads under way; of more they take turns. */
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
  const state = { stopping: false, url: '' };
  const slowdown = new Slowdown(options.clock);
  const access = await Access.of(vault, { ...options, slowdown });
  const serving: Serving = {
    vault,
    options,
    get baseUrl() {
      return options.publicUrl ?? state.url;
    },
    access,
    slowdown,
    memory: new Budget(DOWNLOAD_MEMORY),
    metrics: new Metrics(() => running.size),
    isStopping: () => state.stopping,
  };
  const app = appOf(options, async (exchange, answering) => {
    running.add(exchange);
    // Once had over HTTPS, it is never asked for in the clear again.
    if (serving.baseUrl.startsWith('https:'))
      exchange.response.setHeader('Strict-Transport-Security', 'max-age=31536000');
    await serve(exchange, serving, answering).finally(() => running.delete(exchange));
  });
  state.url = await listen(app, options);
  return {
    url: state.url,
    async stop() {
      state.stopping = true;
      const closed = app.close();
      const patience = new AbortController();
      await Promise.race([
        closed,
        delay(options.graceMs, null, { signal: patience.signal }).catch(() => null),
      ]);
      patience.abort();
      for (const exchange of running) exchange.abort();
      await emptied(running);
      app.server.closeAllConnections();
      await emptied(running);
      await closed;
    },
  };
}

/** Waits until nothing is under way, for a while. */
async function emptied(running: ReadonlySet<Exchange>): Promise<void> {
  for (let waitedMs = 0; running.size > 0 && waitedMs < LAST_MOMENTS_MS; waitedMs += 20) await delay(20);
}

type Answering = Pick<Routed, 'handle' | 'route'>;

const saying = (answer: Answer): Answering => ({ route: null, handle: () => Promise.resolve(answer) });

/** The routes behind a server. Bodies are left to those who answer: nothing is read before it is known who sends it. */
function appOf(
  options: ServeOptions,
  take: (exchange: Exchange, answering: Answering) => Promise<void>,
): FastifyInstance {
  const respond =
    ({ route, handle, behind = '', otherwise = handle }: Answering & Partial<Routed>) =>
    (request: FastifyRequest, reply: FastifyReply) => {
      reply.hijack();
      const found = Object.values(Object(request.params)).map(String);
      const isThere = fits(found, behind);
      const parameters = isThere ? found.map((one) => one.slice(0, one.length - behind.length)) : found;
      const exchange = new Exchange(request.raw, reply.raw, { limits: options, parameters });
      take(exchange, isThere ? { route, handle } : { route: null, handle: otherwise }).catch(
        (error: unknown) => {
          // Nobody's request ends the server.
          reply.raw.destroy();
          options.warn(BUG, error);
        },
      );
    };
  const app = fastify({
    serverFactory: (handler) =>
      makeServer(options).on('request', handler).on('checkContinue', handler).on('checkExpectation', handler),
    clientErrorHandler: refuseNonsense,
    frameworkErrors: (_error, request, reply) => {
      respond(saying(failure(400, 'invalid-input', 'The path is not UTF-8 in percent encoding.')))(
        request,
        reply,
      );
    },
    exposeHeadRoutes: false,
    return503OnClosing: false,
    routerOptions: { maxParamLength: MAX_HEAD_SIZE },
  });
  for (const method of METHODS) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method);
  // All is answered by the first hook: what comes later looks at what a body says of its type, which is for those who read it.
  app.addHook('onRequest', (request, reply, done) => {
    if (request.is404) respond(saying(noRoute()))(request, reply);
    else done();
  });
  for (const routed of routedOf(ROUTES, app.supportedMethods))
    app.route({
      method: [...routed.methods],
      url: routed.url,
      onRequest: respond(routed),
      handler: () => null,
    });
  return app;
}

function makeServer({ tls }: ServeOptions): Server {
  const settings = {
    maxHeaderSize: MAX_HEAD_SIZE,
    headersTimeout: HEAD_TIMEOUT_MS,
    // Uploads may take hours; whoever sends next to nothing is noticed while the body is read.
    requestTimeout: 0,
    connectionsCheckingInterval: 5000,
    // It is asked for where the answer is as all others are.
    requireHostHeader: false,
  };
  const server = tls === null ? createServer(settings) : createTlsServer({ ...settings, ...tls });
  server.maxConnections = MAX_CONNECTIONS;
  return server;
}

async function listen(app: FastifyInstance, { host, port, tls }: ServeOptions): Promise<string> {
  try {
    await app.listen({ host, port });
  } catch (cause) {
    const message = `Cannot listen on ${host}:${port}: ${messageOf(cause)}. Choose another place with --listen.`;
    throw invalidInput(message, cause);
  }
  const name = host.includes(':') ? `[${host}]` : host;
  return `${tls === null ? 'http' : 'https'}://${name}:${Object(app.server.address()).port}`;
}

async function serve(exchange: Exchange, serving: Serving, { route, handle }: Answering): Promise<void> {
  const { options } = serving;
  const startedAtMs = options.clock.monotonic();
  const { request, method } = exchange;
  const client = request.socket.remoteAddress ?? null;
  const shown = (answer: Answer): Answer =>
    route?.failsInPages === true && answer.message !== undefined && wantsPage(exchange)
      ? failurePage(answer)
      : answer;
  let said: Answer;
  try {
    const scope = route?.scope ?? null;
    const refused =
      unfit(exchange, route) ?? (scope === null ? null : await serving.access.refused(exchange, scope));
    const answer = refused ?? (await handle(exchange, serving));
    said = answer;
    await exchange.send(shown(answer));
  } catch (caught) {
    const outdated = isVaultError(caught, 'wrong-password') ? await outdatedBy(serving) : null;
    const error = outdated ?? caught;
    said = outdated === null ? (exchange.refusal ?? failureOf(error)) : OUTDATED;
    if (route?.faultsAre400 === true && (said.code === 'wrong-password' || said.code === 'damaged')) {
      said = { ...said, status: 400 };
    }
    tellOperator(serving, exchange, error);
    if (!exchange.response.headersSent) await exchange.send(shown(said)).catch(() => undefined);
    // Too late for another status: whoever reads notices that bytes are missing.
    else exchange.response.destroy();
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

const BUG = 'A request met with a bug in this program.';

const OUTDATED = failure(
  503,
  'unavailable',
  'The keys of this vault were changed since this server was started: its operator has to start it again.',
);

/** Why the key that this was started with opens the vault no more; null if it does, so that it is a client's password that is wrong. */
async function outdatedBy({ vault }: Serving): Promise<VaultError | null> {
  try {
    await vault.ready();
    return null;
  } catch (cause) {
    if (!isVaultError(cause, 'wrong-password')) return null;
    const message = `${cause.message} Until then nothing is served: start "vault serve" again with a password that opens the vault now.`;
    return new VaultError('unavailable', message, { cause });
  }
}

/** Storage that fails is for its operator to fix; what a client does wrong, or that it has gone, is not. */
function tellOperator({ options }: Serving, exchange: Exchange, error: unknown): void {
  if (exchange.signal.aborted || isVaultError(error, 'invalid-input', 'source-changed', 'file-not-found'))
    return;
  if (isVaultError(error, 'wrong-password', 'damaged', 'object-missing')) return;
  options.warn(isVaultError(error) ? error.message : BUG, error);
}

/** What is not HTTP, or has a head that is too long or too slow, never becomes a request. */
function refuseNonsense(error: Error, socket: Socket): void {
  if (!socket.writable || systemCode(error) === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const answer = nonsenseOf(error);
  const body = `${JSON.stringify(answer.json)}\n`;
  const lines = [
    `HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status]}`,
    ...Object.entries(STRICT_HEADERS).map(([name, value]) => `${name}: ${value}`),
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`);
}

function nonsenseOf(error: Error): Answer {
  const said = 'reason' in error ? String(error.reason) : error.message;
  switch (systemCode(error)) {
    case 'HPE_HEADER_OVERFLOW':
      return failure(431, 'too-large', 'The head of the request is too long.');
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return failure(408, 'too-slow', 'The head of the request came too slowly.');
    case 'HPE_INVALID_EOF_STATE':
      return failure(400, 'source-changed', 'The connection ended before the request did.');
    case 'HPE_UNEXPECTED_CONTENT_LENGTH':
      return failure(400, 'bad-request', 'Content-Length is there twice.');
    case 'HPE_INVALID_CONTENT_LENGTH':
    case 'HPE_INVALID_TRANSFER_ENCODING':
      if (/present with/i.test(said))
        return failure(400, 'bad-request', 'Content-Length and Transfer-Encoding are both there.');
      if (/overflow/i.test(said)) return failure(413, 'too-large', 'No body may have so many bytes.');
      if (/content-length/i.test(said)) return failure(400, 'bad-request', 'Content-Length is no number.');
      break;
    case 'HPE_INVALID_METHOD':
      if ('rawPacket' in error && /^[!-~]+ [!-~]+ HTTP\/1\.[01]\r?\n/.test(String(error.rawPacket)))
        return failure(501, 'wrong-method', 'No such method is known here.');
      break;
    default:
  }
  return failure(400, 'bad-request', `This is not HTTP: ${said}.`);
}
