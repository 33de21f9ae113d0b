/** Requests by Node's own client, which knows the proxies of the environment: where there are none, `Connections` takes a third of the time. */
import * as http from 'node:http';
import * as https from 'node:https';
import { MAX_HEADER_SIZE } from '../bounds.ts';
import type { AnswerReader } from './answer-reader.ts';
import { processWideOptions, type Exchanger, type Sent } from './exchanger.ts';

export class NodeAgent implements Exchanger {
  readonly #agents: Readonly<
    Record<string, { readonly agent: http.Agent; readonly open: typeof http.request }>
  >;

  /** @param ca certificates, in PEM, that alone are trusted; null for the usual ones */
  constructor(ca: string | null) {
    const own = { keepAlive: true, ...(ca !== null && { ca }) };
    this.#agents = {
      'http:': {
        agent: new http.Agent({ ...processWideOptions(http.globalAgent), keepAlive: true }),
        open: http.request,
      },
      'https:': {
        agent: new https.Agent({ ...processWideOptions(https.globalAgent), ...own }),
        open: https.request,
      },
    };
  }

  async exchange(sent: Sent, reader: AnswerReader): Promise<void> {
    const response = await this.#start(sent);
    const { statusCode = 0, headers } = response;
    const length = Number(headers['content-length'] ?? Number.NaN);
    reader.begin({
      status: statusCode,
      headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)])),
      body: Number.isNaN(length) ? 'until-close' : length,
      keepsAlive: true,
      idleSeconds: null,
    });
    for await (const part of response as AsyncIterable<Buffer>) {
      reader.take(part);
      // Leaving the loop destroys the connection.
      if (reader.isDone && !reader.isClean) return;
    }
    reader.end();
  }

  async #start({ url, method, headers, body, signal }: Sent): Promise<http.IncomingMessage> {
    const { agent, open } = this.#agents[url.protocol] ?? {};
    return await new Promise((resolve, reject) => {
      // Aborting destroys the socket, at any stage of the exchange.
      const outgoing = (open ?? http.request)(url, {
        agent,
        method,
        headers,
        maxHeaderSize: MAX_HEADER_SIZE,
        signal,
      });
      outgoing.once('response', (response) => {
        // As in `Connections`: the rest of an upload must not be sent behind its refusal.
        response.once('end', () => {
          if (!outgoing.writableFinished) outgoing.destroy();
        });
        resolve(response);
      });
      // The listener stays, since the socket can fail again after the answer has begun.
      outgoing.on('error', reject);
      for (const part of body) outgoing.write(part);
      outgoing.end();
    });
  }

  close(): void {
    for (const { agent } of Object.values(this.#agents)) agent.destroy();
  }
}
