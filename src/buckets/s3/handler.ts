/** What carries the SDK's requests: the same connections as other clouds', with every answer read whole and within a limit. */
import { Buffer } from 'node:buffer';
import { Readable } from 'node:stream';
import { Gate } from '../../concurrency/semaphore.ts';
import { VaultError } from '../../errors.ts';
import { MAX_PAGE_SIZE } from '../bounds.ts';
import { AnswerReader, TooLarge, type BodyOptions } from '../http/answer-reader.ts';
import type { Exchanger } from '../http/exchanger.ts';

/** As much of a request of the SDK as is sent. */
interface SdkRequest {
  readonly method: string;
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number | undefined;
  /** Escaped. */
  readonly path: string;
  readonly query: Readonly<Record<string, string | readonly string[] | null>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

interface SdkResponse {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  body: unknown;
}

export class S3Handler {
  readonly metadata = { handlerProtocol: 'http/1.1' };
  readonly #exchanger: Exchanger;
  readonly #downloads = new WeakMap<object, BodyOptions>();

  readonly #gate: Gate;

  /** @param most connections at a time; requests beyond it wait */
  constructor(exchanger: Exchanger, most: number) {
    this.#exchanger = exchanger;
    this.#gate = new Gate(most);
  }

  /**
   * Middleware for one command that reads an object, next to this handler: of all commands its answer alone is no page.
   *
   * @param take is given the object, which the SDK does not see
   */
  download(options: BodyOptions, take: (bytes: Uint8Array) => void) {
    return <Args extends { readonly request: unknown }, Result extends { readonly response: unknown }>(
        next: (args: Args) => Promise<Result>,
      ) =>
      async (args: Args): Promise<Result> => {
        if (typeof args.request === 'object' && args.request !== null)
          this.#downloads.set(args.request, options);
        const result = await next(args);
        const { response } = result;
        if (!isSuccess(response) || !(response.body instanceof Buffer)) return result;
        take(response.body);
        // What the SDK wants an object to come from.
        response.body = Readable.from([]);
        return result;
      };
  }

  /** @throws errors of the connection as they are; `TooLarge` of an object; `damaged` of a page that is too large */
  async handle(
    request: SdkRequest,
    { abortSignal }: { readonly abortSignal?: unknown } = {},
  ): Promise<{ readonly response: SdkResponse }> {
    const { method, headers } = request;
    const download = this.#downloads.get(request);
    const reader = new AnswerReader(download ?? { maxBodySize: MAX_PAGE_SIZE });
    const body = bytesOf(request.body);
    const signal = abortSignal instanceof AbortSignal ? abortSignal : undefined;
    try {
      const sent = { method, url: urlOf(request), headers, body, signal };
      await this.#gate.pass(signal, () => this.#exchanger.exchange(sent, reader));
    } catch (error) {
      if (!(error instanceof TooLarge) || download !== undefined) throw error;
      throw new VaultError(
        'damaged',
        `The service sent an answer of more than ${MAX_PAGE_SIZE} bytes. Whatever answers there does not work.`,
      );
    }
    const { status = 0, headers: told = {} } = reader.head ?? {};
    return { response: { statusCode: status, headers: told, body: reader.body } };
  }

  updateHttpClientConfig(): void {}

  httpHandlerConfigs(): Record<string, never> {
    return {};
  }

  destroy(): void {
    this.#exchanger.close();
  }
}

function isSuccess(response: unknown): response is { body: unknown } {
  return (
    typeof response === 'object' &&
    response !== null &&
    'body' in response &&
    'statusCode' in response &&
    Number(response.statusCode) < 300
  );
}

function urlOf({ protocol, hostname, port, path, query }: SdkRequest): URL {
  const parts = Object.entries(query).flatMap(([name, value]) => {
    const values = Array.isArray(value) ? value : [value];
    return values.map((one: string | null) => escape(name) + (one === null ? '' : `=${escape(one)}`));
  });
  const origin = `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}`;
  return new URL(`${origin}${path}${parts.length === 0 ? '' : `?${parts.join('&')}`}`);
}

/** As signatures have it (Signature Version 4, "UriEncode"). */
function escape(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function bytesOf(body: unknown): Uint8Array[] {
  if (body === undefined || body === null) return [];
  if (typeof body === 'string') return [Buffer.from(body)];
  if (body instanceof Uint8Array) return [body];
  throw new TypeError('The SDK sends a body that is no bytes.');
}
