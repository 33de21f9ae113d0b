/** What this process has served, in Prometheus' text format. Names and meanings are an interface. */
import type { AccessEntry } from './access-log.ts';

/** Upper bounds of the buckets of durations, in seconds. */
const BOUNDS = [0.01, 0.1, 1, 10, 100] as const;

interface Served {
  count: number;
  seconds: number;
  readonly within: number[];
}

export class Metrics {
  readonly #served = new Map<string, Served>();
  #bytesIn = 0;
  #bytesOut = 0;

  /** Counts a request that has ended. */
  count({ method, route, status, ms, bytesIn, bytesOut }: AccessEntry): void {
    const labels = `method="${method}",route="${route ?? 'none'}",status="${status}"`;
    const served = this.#served.get(labels) ?? { count: 0, seconds: 0, within: BOUNDS.map(() => 0) };
    this.#served.set(labels, served);
    served.count += 1;
    served.seconds += ms / 1000;
    for (const [i, bound] of BOUNDS.entries())
      if (ms / 1000 <= bound) served.within[i] = (served.within[i] ?? 0) + 1;
    this.#bytesIn += bytesIn;
    this.#bytesOut += bytesOut;
  }

  /** @param running requests under way */
  text(running: number): string {
    const histogram: string[] = [];
    for (const [labels, { count, seconds, within }] of this.#served) {
      for (const [i, bound] of BOUNDS.entries()) {
        histogram.push(`vault_http_request_seconds_bucket{${labels},le="${bound}"} ${within[i] ?? 0}\n`);
      }
      histogram.push(
        `vault_http_request_seconds_bucket{${labels},le="+Inf"} ${count}\n`,
        `vault_http_request_seconds_sum{${labels}} ${seconds}\n`,
        `vault_http_request_seconds_count{${labels}} ${count}\n`,
      );
    }
    return [
      ...head('vault_http_request_seconds', 'histogram', 'How long requests took.'),
      ...histogram,
      ...head('vault_http_requests_running', 'gauge', 'Requests under way.'),
      `vault_http_requests_running ${running}\n`,
      ...head('vault_http_received_bytes_total', 'counter', 'Bytes of bodies received.'),
      `vault_http_received_bytes_total ${this.#bytesIn}\n`,
      ...head('vault_http_sent_bytes_total', 'counter', 'Bytes of bodies sent.'),
      `vault_http_sent_bytes_total ${this.#bytesOut}\n`,
    ].join('');
  }
}

function head(name: string, type: string, help: string): string[] {
  return [`# HELP ${name} ${help}\n`, `# TYPE ${name} ${type}\n`];
}
