/** What carries requests, and what the process has for all of them. */
import type { Agent } from 'node:http';
import type { AgentOptions } from 'node:https';
import type { AnswerReader } from './answer-reader.ts';

/** A request as it is sent, once. */
export interface Sent {
  readonly method: string;
  readonly url: URL;
  /** All of them but those about the connection. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: readonly Uint8Array[];
  readonly signal: AbortSignal | undefined;
}

/** Carries requests to servers, and their answers back. */
export interface Exchanger {
  /**
   * Sends a request and has its answer read.
   *
   * @throws what the connection or the reader fails with; after an abort of the signal anything
   */
  exchange(sent: Sent, reader: AnswerReader): Promise<void>;
  close(): void;
}

/** Code of an error, as Node's own: a header has a character that none can have. */
export const UNSENDABLE = 'ERR_INVALID_CHAR';

export type ProcessWideOptions = AgentOptions & { readonly proxyEnv?: object | undefined };

/** What Node gave its own agents, above all the proxies of the environment if NODE_USE_ENV_PROXY is set. */
export function processWideOptions(
  agent: Agent & { readonly options?: ProcessWideOptions },
): ProcessWideOptions {
  return agent.options ?? {};
}
