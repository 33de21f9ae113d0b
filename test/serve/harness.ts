import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import { systemClock } from '../../src/host.ts';
import { startServer } from '../../src/serve/server.ts';
import type { AccessEntry, RunningServer, ServeOptions } from '../../src/serve/server.ts';
import { testVault } from '../vault/harness.ts';
import type { TestVault, TestVaultOptions } from '../vault/harness.ts';

/** A vault over buckets in memory, served on a free port of the loopback. */
export interface ServedVault extends AsyncDisposable {
  readonly made: TestVault;
  readonly server: RunningServer;
  readonly url: string;
  /** What was logged so far, and of what its operator was warned. */
  readonly log: AccessEntry[];
  readonly warnings: string[];
  ask(path: string, options?: AskOptions): Promise<Answered>;
  /** Sends bytes as they are. @returns all that comes back until the connection ends */
  raw(
    bytes: string | Uint8Array,
    options?: { readonly end?: boolean; readonly at?: string },
  ): Promise<string>;
  /** Another server of the same vault, as another process has it. */
  replica(options?: Partial<ServeOptions>): Promise<RunningServer>;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Uint8Array | FormData | null;
  /** A server other than the first. */
  readonly at?: string;
}

export interface Answered {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  /** The body as JSON. */
  readonly json: Record<string, unknown>;
  /** The code of the error that the body tells of. */
  readonly code: unknown;
}

export async function servedVault(
  options: Partial<ServeOptions> & { readonly vault?: TestVaultOptions } = {},
): Promise<ServedVault> {
  const made = await testVault(options.vault);
  const log: AccessEntry[] = [];
  const warnings: string[] = [];
  const settings: ServeOptions = {
    clock: systemClock,
    host: '127.0.0.1',
    port: 0,
    tls: null,
    publicUrl: null,
    maxUpload: 2 ** 30,
    idleMs: 5000,
    graceMs: 5000,
    log: (entry) => log.push(entry),
    warn: (message, error) => warnings.push(error instanceof Error ? `${message} ${error.stack}` : message),
    ...options,
  };
  const servers: RunningServer[] = [];
  const start = async (vault: TestVault['vault'], more: Partial<ServeOptions>): Promise<RunningServer> => {
    const server = await startServer(vault, { ...settings, ...more });
    servers.push(server);
    return server;
  };
  const server = await start(made.vault, {});
  return {
    made,
    server,
    log,
    warnings,
    url: server.url,
    ask: (path, { at = server.url, ...how } = {}) => ask(`${at}${path}`, how),
    raw: (bytes, { at = server.url, ...how } = {}) => raw(at, bytes, how),
    replica: async (more = {}) => start(await made.reopen(), more),
    async [Symbol.asyncDispose]() {
      await Promise.all(servers.map((one) => one.stop()));
      await made[Symbol.asyncDispose]();
    },
  };
}

/** One request. Unlike `fetch` it sends the path and the headers as they are. */
export async function ask(
  url: string,
  { method = 'GET', headers = {}, body = null }: AskOptions,
): Promise<Answered> {
  const form = body instanceof FormData ? new Response(body) : null;
  const bytes =
    body instanceof FormData ? Buffer.from((await form?.arrayBuffer()) ?? new ArrayBuffer(0)) : body;
  const type = form?.headers.get('content-type');
  const { origin } = new URL(url);
  const sent = httpRequest({
    host: new URL(url).hostname,
    port: new URL(url).port,
    path: url.slice(origin.length),
    method,
    headers: {
      ...(type === null || type === undefined ? {} : { 'Content-Type': type }),
      ...(bytes === null ? {} : { 'Content-Length': Buffer.byteLength(bytes) }),
      ...headers,
    },
    agent: false,
  });
  const answered = Promise.withResolvers<IncomingMessage>();
  sent.on('error', answered.reject).on('response', answered.resolve);
  sent.end(bytes ?? undefined);
  const response = await answered.promise;
  const got = await buffer(response);
  const isJson = /json/.test(response.headers['content-type'] ?? '') && got.length > 0;
  const json = fieldsOf(isJson ? JSON.parse(got.toString()) : {});
  const { statusCode = 0, headers: said } = response;
  return { status: statusCode, headers: said, bytes: got, json, code: fieldsOf(json['error'])['code'] };
}

/** The fields of an object of JSON. */
export function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

/** The objects of an array of JSON. */
export function rowsOf(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.map(fieldsOf) : [];
}

async function raw(
  url: string,
  bytes: string | Uint8Array,
  { end = false }: { readonly end?: boolean } = {},
): Promise<string> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('error', () => undefined);
  if (end) socket.end(bytes);
  else socket.write(bytes);
  return text(socket);
}

/** Begins an upload. @returns its connection, when the server waits for the body */
export async function uploading(url: string, path: string, length: number): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(
    `PUT ${path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: ${length}\r\n\r\n`,
  );
  await once(socket, 'data');
  return socket;
}
