import type { Buffer } from 'node:buffer';
import * as https from 'node:https';
import { VaultError, throwIfAborted } from '../errors.ts';
import { connectionAdvice, connectionFault } from './connection.ts';
import { AnswerReader, TooLarge } from './http/answer-reader.ts';
import { Connections } from './http/connections.ts';
import { processWideOptions, type Exchanger, type ProcessWideOptions, type Sent } from './http/exchanger.ts';
import type { Headers } from './http/head.ts';
import { NodeAgent } from './http/node-agent.ts';

/** One request, to be made once. */
export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** The body in pieces, written one after the other without being copied together. None: no body. */
  readonly body?: readonly Uint8Array[];
  /** Largest body of a successful answer, in bytes. */
  readonly maxBodySize: number;
  /** See `GetCall`. */
  readonly spare?: ArrayBuffer | undefined;
  /** See `GetCall`. */
  readonly onBytes?: ((count: number) => void) | undefined;
  /** What is being done and on what, in the infinitive, for messages: `read a/b in gs://bucket`. */
  readonly task: string;
  readonly signal?: AbortSignal | undefined;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
}

/** Makes requests over connections that are kept open between them. */
export interface HttpClient {
  /**
   * Makes a request, exactly once, and reads the whole answer. Redirects are not followed and nothing is
   * decompressed.
   *
   * @returns the answer, whatever its status; the body of an unsuccessful one may be cut off
   * @throws `unavailable` if there is no whole answer, `damaged` if it is larger than allowed, `interrupted`
   */
  send(request: HttpRequest): Promise<HttpAnswer>;
  close(): void;
}

/**
 * What carries requests.
 *
 * @param ca certificates, in PEM, that alone are trusted; null for the usual ones
 * @param wide what the process has for all requests
 */
export function exchangerFor(
  ca: string | null,
  wide: ProcessWideOptions = processWideOptions(https.globalAgent),
): Exchanger {
  return (wide.proxyEnv ?? null) === null ? new Connections(ca) : new NodeAgent(ca);
}

/** Opens a client. Nothing is connected before the first request. */
export function openHttpClient(exchanger: Exchanger): HttpClient {
  return {
    async send(request) {
      throwIfAborted(request.signal);
      const reader = new AnswerReader(request);
      try {
        await exchanger.exchange(sentFor(request), reader);
        throwIfAborted(request.signal);
        const { status = 0, headers = {} } = reader.head ?? {};
        return { status, headers, body: reader.body };
      } catch (error) {
        throwIfAborted(request.signal);
        if (error instanceof VaultError) throw error;
        if (error instanceof TooLarge && !/^text\/html/i.test(reader.head?.headers['content-type'] ?? ''))
          throw new VaultError('damaged', `Could not ${request.task}: there are ${error.message}.`);
        const isAnswered = reader.head !== null;
        throw new VaultError(
          'unavailable',
          `Could not ${request.task}: no ${isAnswered ? 'whole ' : ''}answer from ${request.url.host} ` +
            `(${connectionFault(error)}). ${connectionAdvice(error)}`,
          { cause: error, unreachable: !isAnswered },
        );
      }
    },
    close() {
      exchanger.close();
    },
  };
}

function sentFor({ method, url, headers, body, signal }: HttpRequest): Sent {
  const length = body?.reduce((sum, part) => sum + part.length, 0);
  return {
    method,
    url,
    headers: { ...headers, ...(length !== undefined && { 'content-length': String(length) }) },
    body: body ?? [],
    signal,
  };
}
