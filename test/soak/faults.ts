/** What goes wrong in a round of the engine. */
import { setTimeout as delay } from 'node:timers/promises';
import type { SeededRandom } from '../support/seeded-random.ts';
import type { Span } from './model.ts';
import type { Place } from './places.ts';
import type { Trouble } from './servers.ts';
import type { World } from './world.ts';

/**
 * - `kill`             a process is killed
 * - `sleep`            a process stops while another one sweeps, and goes on
 * - `outage`           a bucket that may fail goes away for a while
 * - `rot`              objects in a bucket that may fail are changed, cut, lost, or swapped
 * - `network`          requests to a server are reset, stalled, refused, cut or answered with wrong bytes
 * - `full disk`        the small disk fills up
 * - `database crash`   the database server crashes and is started again
 * - `lost catalog`     between rounds: the catalog is lost and recovered
 * - `change`           between rounds: another redundancy, another set of buckets
 */
export type FaultKind =
  | 'kill'
  | 'sleep'
  | 'outage'
  | 'rot'
  | 'network'
  | 'full disk'
  | 'database crash'
  | 'lost catalog'
  | 'change';

export interface FaultPlanOptions {
  readonly world: World;
  /** Indices of the buckets that may be damaged or go away. */
  readonly victims: readonly number[];
  readonly random: SeededRandom;
  readonly kinds: readonly FaultKind[];
  readonly crashDatabase: (() => Promise<void>) | null;
  /** The clock of the model, in milliseconds. */
  readonly now: () => number;
  readonly note: (line: string) => void;
  readonly count: (fault: string) => void;
}

const TROUBLES: readonly Trouble[] = ['reset before', 'reset after', 'stall', 'busy', 'cut', 'wrong bytes'];

interface Happening {
  readonly kind: FaultKind;
  readonly start: number;
  end: number;
}

export class FaultPlan {
  readonly #options: FaultPlanOptions;
  readonly #happened: Happening[] = [];
  readonly #over = new AbortController();
  #running: Promise<void>[] = [];
  #isDatabaseDown = false;

  constructor(options: FaultPlanOptions) {
    this.#options = options;
  }

  /** Lets the faults of a round happen, each at its time. */
  async run(): Promise<void> {
    const { random, kinds, world } = this.#options;
    const within = kinds.filter((kind) => kind !== 'lost catalog' && kind !== 'change');
    if (within.length === 0) return;
    const faults = Array.from({ length: random.below(3 + world.clients.length) }, () => ({
      kind: random.pick(within),
      afterMs: random.below(1500),
      lastsMs: 100 + random.below(1400),
      seed: random.below(2 ** 32),
    }));
    this.#running = faults.map(async ({ kind, afterMs, lastsMs }) => {
      try {
        await delay(afterMs, undefined, { signal: this.#over.signal });
      } catch {
        return;
      }
      await this.#happen(kind, lastsMs);
    });
    await Promise.all(this.#running);
  }

  /** Begins no more faults, and ends those that last. */
  async end(): Promise<void> {
    this.#over.abort();
    await Promise.allSettled(this.#running);
    // What no request has met yet would spoil the rest.
    await Promise.all(this.#options.world.places.map((place) => place.calm()));
  }

  /** Whether a fault of a kind was there in some span, or not long before: its consequences take a moment. */
  happened(kind: FaultKind, { start, end }: Span): boolean {
    return this.#happened.some(
      (happening) => happening.kind === kind && happening.start < end && happening.end + 1000 > start,
    );
  }

  async #happen(kind: FaultKind, lastsMs: number): Promise<void> {
    const { now, world } = this.#options;
    const happening = { kind, start: now(), end: Infinity };
    this.#happened.push(happening);
    try {
      switch (kind) {
        case 'kill': {
          const i = this.#options.random.below(world.clients.length);
          this.#note(kind, `process ${i} is killed`);
          await world.clients[i]?.kill();
          break;
        }
        case 'sleep':
          await this.#sleep(lastsMs);
          break;
        case 'outage':
          await this.#outage(lastsMs);
          break;
        case 'rot':
          await this.#rot();
          break;
        case 'network':
          await this.#network();
          break;
        case 'full disk':
          if (world.disk === null) break;
          this.#note(kind, `the ${world.plan.smallDisk ?? ''} has no room any more`);
          await world.disk.fill();
          await this.#last(lastsMs);
          await world.disk.free();
          this.#options.note('there is room again');
          break;
        case 'database crash':
          if (this.#options.crashDatabase === null || this.#isDatabaseDown) break;
          this.#isDatabaseDown = true;
          this.#note(kind, 'the database server crashes');
          await this.#options.crashDatabase();
          this.#isDatabaseDown = false;
          this.#options.note('the database server runs again');
          break;
        default:
      }
    } finally {
      happening.end = now();
    }
  }

  async #sleep(lastsMs: number): Promise<void> {
    const { world, random, note } = this.#options;
    const i = random.below(world.clients.length);
    const client = world.clients[i];
    this.#note('sleep', `process ${i} falls asleep`);
    client?.signal('SIGSTOP');
    const swept = (async () => {
      await this.#last(lastsMs / 4);
      // Its marker stands, so that nothing goes that it relies on.
      await world.checker.perform({ verb: 'sweep', ignoreGrace: true, waitMs: lastsMs });
    })().catch((error: unknown) => note(`nothing was swept: ${String(error)}`));
    // It may hold a lock on the database.
    await Promise.race([swept, delay(2 * lastsMs)]);
    client?.signal('SIGCONT');
    note(`process ${i} wakes up`);
    await swept;
  }

  async #outage(lastsMs: number): Promise<void> {
    const place = this.#victim();
    if (place === null) return;
    this.#note('outage', `${place.url} goes away`);
    await place.outage('begins');
    await this.#last(lastsMs);
    await place.outage('ends');
    this.#options.note(`${place.url} is back`);
  }

  async #rot(): Promise<void> {
    const { random, note } = this.#options;
    const place = this.#victim();
    if (place === null) return;
    const objects = [...(await place.objects())];
    const chunks = objects.filter(([name]) => name.startsWith('chunks/')).length;
    const times = Math.min(objects.length, 1 + random.below(8));
    for (let i = 0; i < times; i += 1) {
      const [name, bytes] = random.pick(objects);
      // A bucket without marker is known by its shards alone.
      if (name === 'vault.json' && (chunks < 10 || random.below(4) > 0)) continue;
      const [how, rotten] = this.#rotten(bytes, objects);
      this.#note('rot', `${name} in ${place.url} is ${how}`);
      await place.write(name, rotten);
    }
    note(`${place.url} has rotten`);
  }

  #rotten(
    bytes: Uint8Array,
    objects: readonly (readonly [string, Uint8Array])[],
  ): readonly [string, Uint8Array | null] {
    const { random } = this.#options;
    switch (random.below(5)) {
      case 0:
        return ['lost', null];
      case 1:
        return ['cut', bytes.slice(0, random.below(bytes.length + 1))];
      case 2:
        return ['replaced by another one', random.pick(objects)[1]];
      case 3:
        return ['longer', Buffer.concat([bytes, random.bytes(1 + random.below(100))])];
      default: {
        const changed = Uint8Array.from(bytes);
        const at = random.below(Math.max(1, changed.length));
        const byte = changed[at];
        if (byte !== undefined) changed[at] = byte ^ (1 << random.below(8));
        return ['changed by one bit', changed];
      }
    }
  }

  async #network(): Promise<void> {
    const { random, world } = this.#options;
    const servers = world.places.filter(({ kind }) => kind !== 'folder');
    if (servers.length === 0) return;
    const place = random.pick(servers);
    const trouble = random.pick(TROUBLES);
    const times = 1 + random.below(3);
    this.#note('network', `${place.url}: ${trouble}, ${times} times`);
    await place.trouble(trouble, times);
  }

  #victim(): Place | null {
    const { random, victims, world } = this.#options;
    return victims.length === 0 ? null : (world.places[random.pick(victims)] ?? null);
  }

  /** Waits, or until all work of the round is done. */
  async #last(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#over.signal }).catch(() => undefined);
  }

  #note(kind: FaultKind, line: string): void {
    this.#options.count(kind);
    this.#options.note(`FAULT ${line}`);
  }
}
