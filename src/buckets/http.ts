import { Buffer } from 'node:buffer';
import * as http from 'node:http';
import * as https from 'node:https';
import { VaultError, throwIfAborted } from '../errors.ts';
import { MAX_EXPLANATION_SIZE, MAX_HEADER_SIZE } from './bounds.ts';
import { connectionAdvice, connectionFault } from './connection.ts';

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
  readonly onBytes?: ((count: number) => void) | undefined;
  /** What is being done and on what, in the infinitive, for messages: `read a/b in gs://bucket`. */
  readonly task: string;
  readonly signal?: AbortSignal | undefined;
}

/** A whole answer. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
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
  /** Closes the connections. */
  close(): void;
}

/** Opens a client. Nothing is connected before the first request. @param ca certificates, in PEM, that alone are trusted */
export function openHttpClient(ca: string | null = null): HttpClient {
  const agents = {
    'http:': new http.Agent({ ...processWideOptions(http.globalAgent), keepAlive: true }),
    'https:': new https.Agent({
      ...processWideOptions(https.globalAgent),
      keepAlive: true,
      ...(ca !== null && { ca }),
    }),
  };
  return {
    async send(request) {
      throwIfAborted(request.signal);
      let isAnswered = false;
      try {
        const { url } = request;
        const response =
          url.protocol === 'https:'
            ? await start(https.request, agents['https:'], request)
            : await start(http.request, agents['http:'], request);
        isAnswered = true;
        const answer = await readAnswer(response, request);
        throwIfAborted(request.signal);
        return answer;
      } catch (error) {
        throwIfAborted(request.signal);
        if (error instanceof VaultError) throw error;
        throw new VaultError(
          'unavailable',
          `Could not ${request.task}: no ${isAnswered ? 'whole ' : ''}answer from ${request.url.host} ` +
            `(${connectionFault(error)}). ${connectionAdvice(error)}`,
          { cause: error, unreachable: !isAnswered },
        );
      }
    },

    close() {
      agents['http:'].destroy();
      agents['https:'].destroy();
    },
  };
}

// What Node gave its own agents, above all the proxies of the environment if NODE_USE_ENV_PROXY is set: an
// agent made from nothing would go past them.
function processWideOptions(
  agent: http.Agent & { readonly options?: https.AgentOptions },
): https.AgentOptions {
  return agent.options ?? {};
}

async function start(
  open: typeof https.request,
  agent: http.Agent,
  { method, url, headers, body, signal }: HttpRequest,
): Promise<http.IncomingMessage> {
  return await new Promise((resolve, reject) => {
    const outgoing = open(url, {
      agent,
      method,
      headers: {
        ...headers,
        ...(body !== undefined && { 'content-length': body.reduce((sum, part) => sum + part.length, 0) }),
      },
      maxHeaderSize: MAX_HEADER_SIZE,
      // Aborting destroys the socket, at any stage of the exchange.
      signal,
    });
    outgoing.once('response', (response) => {
      // An answer before the end of the upload is a refusal. The rest must not be sent: the caller may reuse its
      // bytes as soon as it knows.
      response.once('end', () => {
        if (!outgoing.writableFinished) outgoing.destroy();
      });
      resolve(response);
    });
    // The listener stays, since the socket can fail again after the answer has begun.
    outgoing.on('error', reject);
    for (const part of body ?? []) outgoing.write(part);
    outgoing.end();
  });
}

async function readAnswer(
  response: http.IncomingMessage,
  { maxBodySize, onBytes, task }: HttpRequest,
): Promise<HttpAnswer> {
  const status = response.statusCode ?? 0;
  const successful = status >= 200 && status < 300;
  const limit = successful ? maxBodySize : MAX_EXPLANATION_SIZE;
  const declared = Number(response.headers['content-length'] ?? Number.NaN);

  const answer = (body: Buffer): HttpAnswer => ({ status, headers: response.headers, body });
  const tooLarge = (): VaultError => {
    response.destroy();
    return new VaultError(
      'damaged',
      `Could not ${task}: there are more bytes than the ${limit} that can have been stored.`,
    );
  };

  if (successful && declared > limit) throw tooLarge();
  if (declared <= limit) {
    // Straight into its place. Node itself fails a body that ends before its declared length.
    const body = Buffer.allocUnsafeSlow(declared);
    let size = 0;
    for await (const part of response as AsyncIterable<Buffer>) {
      body.set(part, size);
      size += part.length;
      onBytes?.(part.length);
    }
    return answer(body.subarray(0, size));
  }
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    parts.push(part);
    size += part.length;
    onBytes?.(part.length);
    if (size <= limit) continue;
    if (successful) throw tooLarge();
    break;
  }
  return answer(Buffer.concat(parts, Math.min(size, limit)));
}
