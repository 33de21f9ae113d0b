/** What carries the SDK's requests: the same connections as other clouds', with every answer read whole and within a limit. */
import { Buffer } from 'node:buffer';
import { Gate } from '../../concurrency/semaphore.ts';
import { VaultError } from '../../errors.ts';
import { MAX_PAGE_SIZE } from '../bounds.ts';
import { AnswerReader, TooLarge, type BodyOptions } from '../http/answer-reader.ts';
import type { Exchanger } from '../http/exchanger.ts';
import type { Head } from '../http/head.ts';

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

export interface SdkResponse {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

/** What has answered is something else, such as a network's log-in page. */
export class NotS3 extends Error {
  constructor() {
    super('the answer is not one of S3');
  }
}

/** Whether an answer to who asks for an object may have one: then it has a tag. Web pages may have tags, too, and nothing of Amazon's. */
function isObject(head: Head | null): boolean {
  if (head === null || head.status >= 300) return true;
  const { etag, 'content-type': type = '' } = head.headers;
  const isPage =
    /^text\/html/i.test(type) && !Object.keys(head.headers).some((name) => name.startsWith('x-amz-'));
  return etag !== undefined && !isPage;
}

export class S3Handler {
  readonly metadata = { handlerProtocol: 'http/1.1' };
  readonly #exchanger: Exchanger;
  readonly #gate: Gate;

  /** @param most connections at a time; requests beyond it wait */
  constructor(exchanger: Exchanger, most: number) {
    this.#exchanger = exchanger;
    this.#gate = new Gate(most);
  }

  /**
   * @param how `download`: what is asked for is an object, of all requests' answers the only one that is no page
   * @throws errors of the connection as they are; `TooLarge` of an object; `NotS3`; `damaged` of a page that is too large
   */
  async handle(
    request: SdkRequest,
    {
      abortSignal,
      download,
    }: { readonly abortSignal?: unknown; readonly download?: BodyOptions | undefined } = {},
  ): Promise<{ readonly response: SdkResponse }> {
    const { method, headers } = request;
    const reader = new AnswerReader(download ?? { maxBodySize: MAX_PAGE_SIZE });
    const body = bytesOf(request.body);
    const signal = abortSignal instanceof AbortSignal ? abortSignal : undefined;
    try {
      const sent = { method, url: urlOf(request), headers, body, signal };
      await this.#gate.pass(signal, () => this.#exchanger.exchange(sent, reader));
    } catch (error) {
      if (!(error instanceof TooLarge)) throw error;
      if (download !== undefined) throw isObject(reader.head) ? error : new NotS3();
      throw new VaultError(
        'damaged',
        `The service sent an answer of more than ${MAX_PAGE_SIZE} bytes. Whatever answers there does not work.`,
      );
    }
    if (download !== undefined && !isObject(reader.head)) throw new NotS3();
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

function urlOf({ protocol, hostname, port, path, query }: SdkRequest): URL {
  const parts = Object.entries(query).flatMap(([name, value]) => {
    const values = Array.isArray(value) ? value : [value];
    return values.map((one: string | null) => escape(name) + (one === null ? '' : `=${escape(one)}`));
  });
  const origin = `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}`;
  return new URL(`${origin}${path}${parts.length === 0 ? '' : `?${parts.join('&')}`}`);
}

/** As signatures have it (Signature Version 4, "UriEncode"). */
export function escape(text: string): string {
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
