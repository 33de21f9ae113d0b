/**
 * Requests about one object, signed by the SDK's own signer and sent past its middleware, which takes half a millisecond for each and as much
 * garbage. An answer that is no success goes through it, so that every error is the SDK's.
 */
import { GetObjectCommand } from '@aws-sdk/client-s3';
import type { S3Client } from '@aws-sdk/client-s3';
import { getEndpointFromInstructions } from '@smithy/core/endpoints';
import { HttpRequest } from '@smithy/core/protocols';
import { dateOf } from '../date.ts';
import type { BodyOptions } from '../http/answer-reader.ts';
import { escape, type S3Handler, type SdkResponse } from './handler.ts';

export interface ObjectRequest {
  readonly method: 'GET' | 'PUT' | 'DELETE';
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Buffer | undefined;
  /** Where the object of a successful answer goes; that of any other request is a page. */
  readonly download?: BodyOptions | undefined;
  /** Told the time that the answer says, be it a refusal. */
  readonly onDate?: ((dateMs: number) => void) | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Where the objects of a bucket are, and who signs requests for them. */
interface Site {
  /** With the bucket in its path or in its host. */
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly region: string | undefined;
  readonly signer: Awaited<ReturnType<S3Client['config']['signer']>>;
}

export class S3Requests {
  readonly #client: S3Client;
  readonly #handler: S3Handler;
  readonly #bucket: string;
  #site: Promise<Site> | null = null;

  constructor(client: S3Client, handler: S3Handler, bucket: string) {
    this.#client = client;
    this.#handler = handler;
    this.#bucket = bucket;
  }

  /** Whether what is sent is hidden from those on the way. */
  async isEncrypted(): Promise<boolean> {
    return (await this.#where()).url.protocol === 'https:';
  }

  /** @throws errors of the connection as they are; what the SDK says of an answer that is no success, of credentials and endpoints */
  async send({ method, key, headers, body, download, onDate, signal }: ObjectRequest): Promise<SdkResponse> {
    const { url, headers: asked, region, signer } = await this.#where();
    const request = new HttpRequest({
      method,
      protocol: url.protocol,
      hostname: url.hostname,
      ...(url.port !== '' && { port: Number(url.port) }),
      path: `${url.pathname.replace(/\/$/, '')}/${key.split('/').map(escape).join('/')}`,
      headers: {
        host: url.host,
        'user-agent': 'shardvault',
        ...(body !== undefined && { 'content-length': String(body.length) }),
        ...asked,
        ...headers,
      },
      body,
    });
    const signed = await signer.sign(request, { ...(region !== undefined && { signingRegion: region }) });
    const sent = { ...signed, query: {}, body };
    const { response } = await this.#handler.handle(sent, {
      abortSignal: signal,
      download,
      stores: method === 'PUT',
    });
    const date = dateOf(response.headers['date']);
    if (date !== null) onDate?.(date);
    return response.statusCode < 300 ? response : await this.#refuse(key, response);
  }

  /** @throws what the SDK says of such an answer; whatever was asked for, it reads refusals alike */
  async #refuse(key: string, response: SdkResponse): Promise<never> {
    const command = new GetObjectCommand({ Bucket: this.#bucket, Key: key });
    // Next to the handler, which is not asked.
    const answered = () => async () => ({ response, output: { $metadata: {} } });
    command.middlewareStack.add(answered, { step: 'deserialize', priority: 'low' });
    await this.#client.send(command);
    throw new TypeError(`The SDK takes an answer of ${response.statusCode} for a success.`);
  }

  /** Found once; what fails is tried again. */
  #where(): Promise<Site> {
    this.#site ??= this.#find().catch((error: unknown) => {
      this.#site = null;
      throw error;
    });
    return this.#site;
  }

  /** Buckets that have another scheme than Signature Version 4 (directory buckets) are refused by their URLs. */
  async #find(): Promise<Site> {
    const { config } = this.#client;
    const {
      url,
      headers = {},
      properties,
    } = await getEndpointFromInstructions({ Bucket: this.#bucket }, GetObjectCommand, { ...config });
    const scheme = properties?.authSchemes?.[0];
    return {
      url,
      headers: Object.fromEntries(Object.entries(headers).map(([name, values]) => [name, values.join(', ')])),
      region: scheme?.signingRegion,
      signer: await config.signer(scheme),
    };
  }
}
