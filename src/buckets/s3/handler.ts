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

/**
 * Sees to it that what is called a success may be S3's. An object that is asked for, or was stored, has a tag. Web pages may have tags, too,
 * and nothing of Amazon's. Everything else that is told is XML.
 *
 * @param body null for an object's
 * @throws `NotS3`
 */
function requireS3(head: Head | null, { ofObject, body }: { ofObject: boolean; body: Buffer | null }): void {
  if (head === null || head.status >= 300) return;
  const { etag, 'content-type': type = '' } = head.headers;
  const isPage = /^text\/html/i.test(type) && !hasAmazons(head.headers);
  const isXml = body === null || body.length === 0 || /^\uFEFF?\s*</.test(body.toString('utf8', 0, 1_000));
  if (isPage || !isXml || (ofObject && etag === undefined)) throw new NotS3();
}

/** Whether there are headers of S3; CloudFront has others with pages of anybody. */
function hasAmazons(headers: Head['headers']): boolean {
  return Object.keys(headers).some((name) => /^x-amz-(?!cf-)/.test(name));
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
   * @param how `download`: what is asked for is an object, of all requests' answers the only one that is no page; `stores`: one is sent
   * @throws errors of the connection as they are; `TooLarge` of an object; `NotS3`; `damaged` of a page that is too large
   */
  async handle(
    request: SdkRequest,
    {
      abortSignal,
      download,
      stores = false,
    }: {
      readonly abortSignal?: unknown;
      readonly download?: BodyOptions | undefined;
      readonly stores?: boolean;
    } = {},
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
      if (download !== undefined) {
        requireS3(reader.head, { ofObject: true, body: null });
        throw error;
      }
      throw new VaultError(
        'damaged',
        `The service sent an answer of more than ${MAX_PAGE_SIZE} bytes. Whatever answers there does not work.`,
      );
    }
    const isObject = download !== undefined;
    requireS3(reader.head, { ofObject: isObject || stores, body: isObject ? null : reader.body });
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
