/**
 * The robustness engine: several processes do random things to random files on one vault while processes are killed,
 * buckets go away, objects rot, connections break and disks fill up. After every round, when all is at rest, the vault is
 * held against a plain model, repaired and swept.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Redundancy } from '../../src/format/shard.ts';
import { formatRedundancy } from '../../src/format/shard.ts';
import { seededRandom } from '../support/seeded-random.ts';
import type { SeededRandom } from '../support/seeded-random.ts';
import { Killed, OperationError } from './client-process.ts';
import type { ClientProcess } from './client-process.ts';
import { FaultPlan } from './faults.ts';
import type { FaultKind } from './faults.ts';
import { Model } from './model.ts';
import type { Span } from './model.ts';
import type { AnswerOf, Operation } from './operations.ts';
import type { ServerPlaces } from './places.ts';
import type { ServerKind } from './servers.ts';
import { World } from './world.ts';
import type { WorldPlan } from './world.ts';

export interface SoakOptions {
  readonly seed: number;
  /** Rounds are begun for this long. */
  readonly durationMs: number;
  /** Makes an empty place for a catalog: a URL of a schema, or null for an SQLite file. */
  readonly makeDatabase: () => Promise<string | null>;
  /** Where buckets on servers come from; null for folders alone. */
  readonly servers: ServerPlaces | null;
  /** Faults that may happen. */
  readonly faults: readonly FaultKind[];
  /** Processes at work on a vault; random unless given. */
  readonly clients?: number;
  /** Restarts the database as after a crash; null if that cannot be done. */
  readonly crashDatabase?: (() => Promise<void>) | null;
  readonly say: (line: string) => void;
  /** Told everything that happens. */
  readonly trace?: (line: string) => void;
}

export interface SoakResult {
  readonly vaults: number;
  readonly rounds: number;
  /** How many of each, by name. */
  readonly operations: ReadonlyMap<string, number>;
  readonly faults: ReadonlyMap<string, number>;
  /** What went wrong, with the trace of its round; null if nothing did. */
  readonly finding: string | null;
}

const ROUNDS_A_VAULT = 8;
const KIB = 1024;
const CHUNK_SIZES = [64 * KIB, 64 * KIB, 128 * KIB, 1024 * KIB];

/** Contents that are put over and over under many names: at the same time by several, and while others remove them. */
const POPULAR = [
  { first: 0, blocks: 2, rest: 1 },
  { first: 1, blocks: 8, rest: 4096 },
  { first: 4, blocks: 40, rest: 0 },
] as const;

const SHAPES: readonly { readonly buckets: number; readonly redundancy: Redundancy }[] = [
  { buckets: 3, redundancy: { k: 2, m: 1 } },
  { buckets: 3, redundancy: { k: 2, m: 1 } },
  { buckets: 4, redundancy: { k: 2, m: 1 } },
  { buckets: 2, redundancy: { k: 1, m: 1 } },
  { buckets: 5, redundancy: { k: 3, m: 2 } },
  { buckets: 3, redundancy: { k: 1, m: 2 } },
];

/** Seconds after which a round is worth a look, though nothing went wrong. */
const SLOW_ROUND = 45;

const SWEEP = { verb: 'sweep', ignoreGrace: true, waitMs: 5_000 } as const;
const REPAIR = { verb: 'repair', depth: 'data', redundancy: null } as const;

/** Something that must not be. */
class Finding extends Error {}

/** Runs vault after vault until the time is over or something is found. */
export async function soak(options: SoakOptions): Promise<SoakResult> {
  const until = Date.now() + options.durationMs;
  const totals = {
    vaults: 0,
    rounds: 0,
    operations: new Map<string, number>(),
    faults: new Map<string, number>(),
  };
  while (Date.now() < until) {
    const vault = totals.vaults;
    totals.vaults += 1;
    const random = seededRandom(options.seed * 1009 + vault);
    const plan = planWorld(random, options);
    const shape = `${plan.buckets.join('+')}, ${formatRedundancy(plan.redundancy)}, ${plan.clients} processes`;
    options.say(
      `vault ${vault}: ${shape}${plan.smallDisk === null ? '' : `, a small disk for the ${plan.smallDisk}`}`,
    );
    await using world = await World.make(plan, await options.makeDatabase(), options.servers);
    const run = new Run(world, options, totals);
    // On a machine that is busy, the time may be over before there is a vault: one round there is in any case.
    const goesOn = (): boolean => totals.rounds === 0 || Date.now() < until;
    for (let round = 0; round < ROUNDS_A_VAULT && goesOn(); round += 1) {
      totals.rounds += 1;
      const startedAtMs = Date.now();
      try {
        await run.round(seededRandom((options.seed * 1009 + vault) * 101 + round), round);
      } catch (error) {
        const what =
          error instanceof Finding ? error.message : String(error instanceof Error ? error.stack : error);
        const trace = run.trace.join('\n');
        const finding = `seed ${options.seed}, vault ${vault} (${shape}), round ${round}: ${what}\n${trace}`;
        return { ...totals, finding };
      }
      const seconds = Math.round((Date.now() - startedAtMs) / 1000);
      if (seconds >= SLOW_ROUND) options.say(`round ${round} took ${seconds} s:\n${run.longestWait()}`);
    }
  }
  return { ...totals, finding: null };
}

function planWorld(random: SeededRandom, { servers, faults, clients }: SoakOptions): WorldPlan {
  const { buckets, redundancy } = random.pick(SHAPES);
  const kinds: readonly ('folder' | ServerKind)[] =
    servers === null || random.below(3) === 0 ? ['folder'] : ['folder', 'gcs', 's3'];
  return {
    buckets: Array.from({ length: buckets }, (_, i) => (i === 0 ? 'folder' : random.pick(kinds))),
    redundancy,
    clients: clients ?? 2 + random.below(2),
    smallDisk: faults.includes('full disk') ? random.pick(['first bucket', 'catalog', null]) : null,
  };
}

interface Totals {
  readonly operations: Map<string, number>;
  readonly faults: Map<string, number>;
}

/** The rounds of one vault. */
class Run {
  readonly #world: World;
  readonly #options: SoakOptions;
  readonly #totals: Totals;
  readonly #model = new Model();
  /** Buckets that may be damaged or down: as many as may be lost, and the same until all is whole again. */
  #victims: readonly number[] = [];
  #redundancy: Redundancy;
  /** What happened in the present round. */
  trace: string[] = [];
  #startedAt = performance.now();
  readonly #seed: number;

  constructor(world: World, options: SoakOptions, totals: Totals) {
    this.#world = world;
    this.#options = options;
    this.#totals = totals;
    this.#redundancy = world.plan.redundancy;
    this.#seed = options.seed;
  }

  /** Where the round stood still for longest. */
  longestWait(): string {
    const times = this.trace.map((line) => Number.parseInt(line, 10));
    const waits = times.map((time, i) => time - (times[i - 1] ?? 0));
    const at = waits.indexOf(Math.max(...waits));
    return this.trace.slice(Math.max(0, at - 12), at + 3).join('\n');
  }

  async round(random: SeededRandom, round: number): Promise<void> {
    this.trace = [];
    this.#startedAt = performance.now();
    if (this.#victims.length === 0) {
      this.#victims = random.shuffle([...this.#world.places.keys()]).slice(0, this.#redundancy.m);
    }
    this.#note(`the buckets that may fail are ${this.#victims.join(' and ')}`);
    const faults = new FaultPlan({
      world: this.#world,
      victims: this.#victims,
      random,
      kinds: this.#options.faults,
      crashDatabase: this.#options.crashDatabase ?? null,
      now: () => this.#now(),
      note: (line) => this.#note(line),
      count: (fault) => count(this.#totals.faults, fault),
    });
    const working = this.#world.clients.map((client, i) =>
      this.#work(client, i, seededRandom(random.below(2 ** 32)), faults),
    );
    const happening = faults.run();
    const outcomes = await Promise.allSettled(working);
    await faults.end();
    await happening;
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    await this.#check(random, round);
  }

  /** What one process does in a round: a few operations, some at the same time. */
  async #work(client: ClientProcess, i: number, random: SeededRandom, faults: FaultPlan): Promise<void> {
    const lanes = 1 + random.below(3);
    const work = async (lane: SeededRandom): Promise<void> => {
      const operations = 2 + lane.below(4);
      for (let n = 0; n < operations; n += 1) await this.#perform(client, `${i}`, this.#draw(lane), faults);
    };
    await Promise.all(Array.from({ length: lanes }, () => work(seededRandom(random.below(2 ** 32)))));
  }

  #draw(random: SeededRandom): Operation {
    const { live } = this.#model;
    const dice = random.below(100);
    const known = live.length === 0 ? null : random.pick(live);
    if (known === null || dice < 40) return this.#drawPut(random);
    if (dice < 60) return { verb: 'get', reference: random.below(3) === 0 ? known.name : known.hash };
    if (dice < 63) return { verb: 'undelete', references: [this.#model.removed(random) ?? known.hash] };
    if (dice < 80) {
      const references = Array.from({ length: 1 + random.below(3) }, () => {
        const { hash, name } = random.pick(live);
        return random.below(4) === 0 ? name : hash;
      });
      return { verb: 'rm', references, now: random.below(4) === 0 };
    }
    if (dice < 86) return { verb: 'ls' };
    if (dice < 93) return { verb: 'sweep', ignoreGrace: random.below(2) === 0, waitMs: 300 };
    if (dice < 96) return { verb: 'verify', depth: random.below(2) === 0 ? 'listing' : 'data' };
    return { verb: 'repair', depth: random.below(2) === 0 ? 'listing' : 'data', redundancy: null };
  }

  #drawPut(random: SeededRandom): Operation {
    const isPopular = random.below(3) === 0;
    // Runs of the same few blocks, so that many files share chunks.
    const { first, blocks, rest } = isPopular
      ? random.pick(POPULAR)
      : {
          first: random.below(12),
          blocks: random.pick([0, 0, 1, 2, 4, 8, 16, 40]),
          rest: random.below(2) === 0 ? random.pick([0, 1, 4096]) : random.below(60_000),
        };
    return {
      verb: 'put',
      name: `file ${random.below(14)}`,
      recipe: {
        seed: this.#seed,
        blocks: Array.from({ length: blocks }, (_, i) => (first + i) % 48),
        rest,
      },
      chunkSize: isPopular ? 64 * KIB : random.pick(CHUNK_SIZES),
      expired: random.below(12) === 0,
      pauseMs: random.pick([0, 0, 0, 2, 20]),
    };
  }

  /** Has an operation done and holds its outcome against the model. */
  async #perform(client: ClientProcess, who: string, operation: Operation, faults: FaultPlan): Promise<void> {
    count(this.#totals.operations, operation.verb);
    const start = this.#now();
    const what = `process ${who}: ${describe(operation)}`;
    this.#note(`${what} ...`);
    const conclude = this.#begin(operation, start);
    try {
      const answer = await client.perform(operation);
      const span = { start, end: this.#now() };
      this.#note(`${what}: ${describeAnswer(answer)}`);
      const problem = conclude(answer, span);
      if (problem !== null) throw new Finding(`${what}: ${problem}`);
    } catch (error) {
      if (error instanceof Finding) throw error;
      const span = { start, end: this.#now() };
      this.#note(`${what}: ${error instanceof Error ? error.message : String(error)}`);
      conclude(null, span);
      if (error instanceof Killed) return;
      if (error instanceof OperationError && this.#isExcused(operation, error, span, faults)) return;
      throw new Finding(`${what} failed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Tells the model of an operation; gives the function that tells it of the outcome, null for an unknown one. */
  #begin(
    operation: Operation,
    start: number,
  ): (answer: AnswerOf<Operation> | null, span: Span) => string | null {
    const model = this.#model;
    switch (operation.verb) {
      case 'put': {
        const attempt = model.beginPut(operation);
        return (answer, span) =>
          answer !== null && 'unchanged' in answer ? model.endPut(attempt, answer, span) : null;
      }
      case 'rm': {
        const attempt = model.beginRemoval(operation, start);
        return (answer, span) =>
          model.endRemoval(
            attempt,
            answer !== null && 'removed' in answer && Array.isArray(answer.removed) ? answer.removed : null,
            span,
          );
      }
      case 'undelete': {
        const attempt = model.beginRestoring(operation, start);
        return (answer, span) =>
          model.endRestoring(attempt, answer !== null && 'restored' in answer ? answer.restored : null, span);
      }
      case 'get':
        return (answer, span) =>
          answer !== null && 'sha256' in answer ? model.checkGet(answer, span) : null;
      case 'ls':
        return (answer, span) =>
          answer !== null && 'listed' in answer ? model.checkListing(answer.listed, span) : null;
      case 'verify':
      case 'repair':
        return (answer) =>
          answer !== null && 'outcome' in answer && answer.outcome === 'lost'
            ? `lost: ${answer.details}`
            : null;
      default:
        return () => null;
    }
  }

  /** Whether a failure is what the faults of that time, or a removal, make right. */
  #isExcused(operation: Operation, { failed }: OperationError, span: Span, faults: FaultPlan): boolean {
    const references =
      operation.verb === 'get' ? [operation.reference] : operation.verb === 'rm' ? operation.references : [];
    const gone = references.some((reference) => this.#model.mayBeGone(reference, span));
    switch (failed.code) {
      case 'file-not-found':
        // What is not removed, or gone already, cannot be brought back.
        return gone || operation.verb === 'undelete';
      case 'storage-full':
        return faults.happened('full disk', span);
      case 'unavailable':
        // What a sweep has on its list cannot be brought back while that stands.
        return (
          faults.happened('database crash', span) ||
          // One bucket is full while another is away.
          (faults.happened('full disk', span) && faults.happened('outage', span)) ||
          (operation.verb === 'undelete' && failed.message.includes('is on the list of a sweep')) ||
          // A sweep goes nowhere without every bucket; the next one goes on. Nor is brought back what may have gone in part.
          (['sweep', 'undelete'].includes(operation.verb) && faults.happened('outage', span))
        );
      case 'bucket-missing':
        // All else must do without the one that may fail.
        return operation.verb === 'sweep' && faults.happened('outage', span);
      default:
        return false;
    }
  }

  /** Looks at the vault at rest; repairs and sweeps it. */
  async #check(random: SeededRandom, round: number): Promise<void> {
    await this.#settle('at rest');
    const { checker } = this.#world;
    if (random.below(3) === 0) {
      await this.#mustBe('whole', await this.#ask(checker, REPAIR));
      // Where the catalog was full, buckets may know more of removals: the first look tells that, and puts it right.
      await this.#ask(checker, { verb: 'verify', depth: 'listing' });
      await this.#mustBe('whole', await this.#ask(checker, { verb: 'verify', depth: 'data' }));
      this.#victims = [];
    }
    await this.#sweep(random.below(2) === 0);
    await this.#audit();
    await this.#settle('after the sweep');
    if (this.#options.faults.includes('lost catalog')) await this.#recover(random);
    if (this.#options.faults.includes('change') && this.#victims.length === 0 && round > 0)
      await this.#change(random);
  }

  /** Sweeps as on the next day, so that nothing is waited for. */
  async #sweep(ignoreGrace = true): Promise<void> {
    await this.#world.ageMarkers();
    await this.#mustBe('clean', await this.#ask(this.#world.checker, { ...SWEEP, ignoreGrace }));
    if (ignoreGrace) this.#model.forgetRemoved();
  }

  /** What the buckets hold must be what the catalog says; what was damaged may be missing in the victims. */
  async #audit(): Promise<void> {
    const problems = await this.#world.discrepancies();
    const victims = this.#victims.map((i) => this.#world.places[i]?.url ?? '');
    const serious = problems.filter(
      (problem) =>
        problem.includes('nothing explains') ||
        !victims.some((url) => problem.split(' (row ')[0]?.includes(`${url} `)),
    );
    if (serious.length > 0) throw new Finding(`catalog and buckets disagree: ${serious.join('; ')}`);
  }

  /** Reads everything and compares it with the model. */
  async #settle(when: string, reader: ClientProcess = this.#world.checker): Promise<void> {
    const { files } = await this.#ask(reader, { verb: 'read all' });
    const problems = this.#model.settle(files, this.#now());
    if (problems.length > 0) throw new Finding(`${when}: ${problems.join('; ')}`);
  }

  async #mustBe(
    outcome: string,
    answer: { readonly outcome: string; readonly details: string },
  ): Promise<void> {
    if (answer.outcome !== outcome) throw new Finding(`${answer.outcome}, not ${outcome}: ${answer.details}`);
  }

  /** Rebuilds the catalog: beside the old one, without as many buckets as may be missing; or after having lost it. */
  async #recover(random: SeededRandom): Promise<void> {
    const world = this.#world;
    const urls = world.places.map(({ url }) => url);
    const dice = random.below(7);
    if (dice > 4) return;
    if (dice < 2) {
      const victims = this.#victims.length > 0 ? this.#victims : [random.below(urls.length)];
      const buckets = urls.filter((_, i) => !victims.includes(i));
      const db = world.otherCatalog();
      await this.#ask(world.checker, { verb: 'recover', buckets, db });
      await using reader = world.makeClient(db);
      await this.#settle('in a catalog recovered without the buckets that may fail', reader);
      return;
    }
    if (dice === 2) {
      // Nothing is lost: then nothing changes.
      await this.#ask(world.checker, { verb: 'recover', buckets: urls, db: null });
      await this.#settle('after a needless recovery');
      // It may have completed sets whose doubles were told apart only then.
      await this.#sweep();
      await this.#audit();
      return;
    }
    count(this.#totals.faults, 'lost catalog');
    this.#note('the catalog is lost');
    await Promise.all([...world.clients, world.checker].map((client) => client.kill()));
    await world.loseCatalog();
    if (random.below(2) === 0) await this.#recoverSome(random);
    const buckets = world.places.map(({ url }) => url);
    const recovery = { verb: 'recover', buckets, db: null } as const;
    for (let kills = random.below(3); kills > 0; kills -= 1) {
      const ended = this.#ask(world.checker, recovery).then(
        () => null,
        (error: unknown) => (error instanceof Killed ? null : { error }),
      );
      await Promise.race([ended, delay(100 + random.below(600))]);
      this.#note('the recovery is killed');
      count(this.#totals.faults, 'kill');
      await world.checker.kill();
      const failure = await ended;
      if (failure !== null) throw failure.error;
      // A cron job knows nothing of that.
      if (random.below(2) === 0) await this.#sweepIfPossible();
    }
    const { trouble } = await this.#ask(world.checker, recovery);
    if (trouble.length > 0) throw new Finding(`the recovery found trouble: ${trouble.join('; ')}`);
    await this.#settle('after the recovery');
    // Shards that were damaged are in the way of a clean sweep until the chunks that they belong to are whole.
    await this.#mustBe('whole', await this.#ask(world.checker, REPAIR));
    this.#victims = [];
    await this.#sweep();
    await this.#audit();
    await this.#settle('after the recovery and a sweep');
  }

  /** A first recovery without the buckets that may fail, which the keyring tells of, and a sweep after it. */
  async #recoverSome(random: SeededRandom): Promise<void> {
    const world = this.#world;
    const victims = this.#victims.length > 0 ? this.#victims : [random.below(world.places.length)];
    const there = world.places.filter((_, i) => !victims.includes(i));
    await this.#ask(world.checker, { verb: 'recover', buckets: there.map(({ url }) => url), db: null });
    await this.#settle('after a recovery without the buckets that may fail');
    await this.#sweepIfPossible();
    await world.checker.kill();
  }

  async #sweepIfPossible(): Promise<void> {
    await this.#ask(this.#world.checker, { ...SWEEP, waitMs: 0 }).catch((error: unknown) => {
      const isTooEarly =
        error instanceof OperationError && ['unavailable', 'no-vault'].includes(error.failed.code ?? '');
      if (!isTooEarly) throw error;
    });
  }

  /** Another redundancy, another bucket, one bucket less; killed in the middle at times, and repeated. */
  async #change(random: SeededRandom): Promise<void> {
    const world = this.#world;
    const dice = random.below(6);
    if (dice > 2) return;
    count(this.#totals.faults, 'change');
    if (dice === 0) {
      const place = await world.makeFolder();
      await this.#persist(random, { verb: 'add bucket', url: place.url });
      world.places.push(place);
    } else if (dice === 1 && world.places.length > this.#redundancy.k + this.#redundancy.m) {
      const at = random.below(world.places.length);
      const [place] = world.places.slice(at, at + 1);
      const removal = { verb: 'remove bucket', url: place?.url ?? '' } as const;
      const tried = await this.#persist(random, removal);
      if (tried?.removed === false) {
        // One that was killed has left its marker, which is waited for.
        await world.ageMarkers();
        const { removed, reasons } = await this.#ask(world.checker, removal);
        if (!removed) throw new Finding(`the bucket stays: ${reasons.join(' ')}`);
      }
      world.places.splice(at, 1);
    } else {
      const fitting = SHAPES.map(({ redundancy }) => redundancy).filter(
        ({ k, m }) => k + m <= world.places.length,
      );
      const redundancy = random.pick(fitting);
      await this.#persist(random, { verb: 'repair', depth: 'listing', redundancy });
      this.#redundancy = redundancy;
    }
    // What others know of the vault is from before. They learn of new buckets, but would still use one that is given up.
    await world.checker.kill();
    if (dice !== 0) await Promise.all(world.clients.map((client) => client.kill()));
    await this.#mustBe('whole', await this.#ask(world.checker, { verb: 'verify', depth: 'data' }));
    await this.#sweep();
    await this.#audit();
    await this.#settle('after the change');
  }

  /** Has an operation done that may be killed before it is done in the end. @returns null if it was done when it was killed */
  async #persist<O extends Operation>(random: SeededRandom, operation: O): Promise<AnswerOf<O> | null> {
    const { checker } = this.#world;
    for (let kills = random.below(3); kills > 0; kills -= 1) {
      const ended = this.#ask(checker, operation).then(
        (answer) => ({ answer }),
        (error: unknown) => (error instanceof Killed ? ('killed' as const) : { error }),
      );
      await Promise.race([ended, delay(200 + random.below(800))]);
      this.#note('it is killed');
      count(this.#totals.faults, 'kill');
      await checker.kill();
      const outcome = await ended;
      if (outcome === 'killed') continue;
      if ('answer' in outcome) return outcome.answer;
      throw outcome.error;
    }
    return this.#ask(checker, operation).catch((error: unknown) => {
      // It was done before it was killed.
      const isDone =
        error instanceof OperationError &&
        ((operation.verb === 'add bucket' && error.failed.code === 'already-exists') ||
          (operation.verb === 'remove bucket' && error.failed.code === 'invalid-input'));
      if (!isDone) throw error;
      return null;
    });
  }

  async #ask<O extends Operation>(client: ClientProcess, operation: O): Promise<AnswerOf<O>> {
    const what = `check: ${describe(operation)}`;
    this.#note(`${what} ...`);
    count(this.#totals.operations, operation.verb);
    try {
      const answer = await client.perform(operation);
      this.#note(`${what}: ${describeAnswer(answer)}`);
      return answer;
    } catch (error) {
      if (error instanceof Killed) throw error;
      if (error instanceof OperationError) this.#note(`${what}: ${error.message}`);
      throw error;
    }
  }

  /** The clock of the model: milliseconds that never start again. */
  #now(): number {
    return performance.now();
  }

  #note(line: string): void {
    const text = `${(performance.now() - this.#startedAt).toFixed(0).padStart(7)} ms  ${line}`;
    this.trace.push(text);
    this.#options.trace?.(text);
  }
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

function describe(operation: Operation): string {
  switch (operation.verb) {
    case 'put': {
      const { name, recipe, chunkSize, expired } = operation;
      const size = recipe.blocks.length * 64 * KIB + recipe.rest;
      const content = `${recipe.blocks.length} blocks from ${recipe.blocks[0] ?? '-'} and ${recipe.rest} bytes`;
      return `put "${name}" (${size} bytes: ${content}; chunks of ${chunkSize / KIB} KiB${expired ? ', expired' : ''})`;
    }
    case 'get':
      return `get "${operation.reference}"`;
    case 'rm':
      return `rm ${operation.now ? '--now ' : ''}${operation.references.map((reference) => `"${reference}"`).join(' ')}`;
    default:
      return Object.values(operation)
        .map((value) => (typeof value === 'string' ? value : JSON.stringify(value)))
        .join(' ');
  }
}

function describeAnswer(answer: object): string {
  const text = JSON.stringify(answer);
  return text.length > 600 ? `${text.slice(0, 600)}...` : text;
}
