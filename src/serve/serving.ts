/** What every handler of a request works with. */
import type { Budget } from '../concurrency/semaphore.ts';
import type { Scope } from '../vault/grants/tokens.ts';
import type { Vault } from '../vault/vault.ts';
import type { AccessEntry } from './access-log.ts';
import type { Access } from './access.ts';
import type { Answer } from './answers.ts';
import type { Exchange, ExchangeLimits } from './exchange.ts';
import type { Metrics } from './metrics.ts';
import type { Slowdown } from './slowdown.ts';

export interface ServeOptions extends ExchangeLimits {
  readonly host: string;
  /** 0: one that is free. */
  readonly port: number;
  /** Certificate and key in PEM; null to speak HTTP. */
  readonly tls: { readonly cert: Buffer; readonly key: Buffer } | null;
  /** What clients call this server, without a slash at its end; null: by where it listens. */
  readonly publicUrl: string | null;
  /** How long requests under way may go on when the server is stopped, in milliseconds. */
  readonly graceMs: number;
  readonly log: (entry: AccessEntry) => void;
  /** Told of what its operator should know. */
  readonly warn: (message: string, error: unknown) => void;
}

export interface Serving {
  readonly vault: Vault;
  readonly options: ServeOptions;
  /** What clients call this server. */
  readonly baseUrl: string;
  readonly access: Access;
  readonly slowdown: Slowdown;
  readonly metrics: Metrics;
  /** Memory of downloads under way, in bytes. */
  readonly memory: Budget;
  /** Whether it is about to end. */
  readonly isStopping: () => boolean;
}

export interface Route {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** `{x}` stands for one part of a path, `{x...}` for all that follows. */
  readonly path: string;
  readonly summary: string;
  /** What a token must be good for; null: everybody may. */
  readonly scope: Scope | null;
  /** Names of what may stand in the query. */
  readonly query?: readonly string[];
  /** Types of the body. */
  readonly body?: readonly string[];
  /** Statuses that are no errors; 200 unless given. */
  readonly answers?: readonly number[];
  /** Where wrong passwords and damaged files are 400, as clients of an older service know it. */
  readonly faultsAre400?: true;
  /** Where browsers are told of failures by a page. */
  readonly failsInPages?: true;
  readonly handle: (exchange: Exchange, serving: Serving) => Promise<Answer>;
}
