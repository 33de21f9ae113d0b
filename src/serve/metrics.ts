/** What this process has served, in Prometheus' text format. Names and meanings are an interface. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { AccessEntry } from './access-log.ts';

export class Metrics {
  readonly #registry = new Registry();
  readonly #seconds: Histogram<'method' | 'route' | 'status'>;
  readonly #bytesIn: Counter;
  readonly #bytesOut: Counter;

  /** @param running how many requests are under way */
  constructor(running: () => number) {
    const registers = [this.#registry];
    this.#seconds = new Histogram({
      name: 'vault_http_request_seconds',
      help: 'How long requests took.',
      labelNames: ['method', 'route', 'status'],
      buckets: [0.01, 0.1, 1, 10, 100],
      registers,
    });
    this.#registry.registerMetric(
      new Gauge({
        name: 'vault_http_requests_running',
        help: 'Requests under way.',
        registers: [],
        collect() {
          this.set(running());
        },
      }),
    );
    const bytes = (name: string, help: string): Counter =>
      new Counter({ name: `vault_http_${name}_bytes_total`, help, registers });
    this.#bytesIn = bytes('received', 'Bytes of bodies received.');
    this.#bytesOut = bytes('sent', 'Bytes of bodies sent.');
  }

  count({ method, route, status, ms, bytesIn, bytesOut }: AccessEntry): void {
    this.#seconds.observe({ method, route: route ?? 'none', status }, ms / 1000);
    this.#bytesIn.inc(bytesIn);
    this.#bytesOut.inc(bytesOut);
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
