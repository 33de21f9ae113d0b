/**
 * Real code as an automaton. What a program does next depends on the answers it has had, on what its clock has shown, and on nothing else: so
 * each step is made for real once, by a run of the program alone that is given the same answers, and known from then on. A run that does
 * otherwise than one before it is an error: `MoreThanAnswers`.
 */
import { createHash } from 'node:crypto';
import type { Bucket, ListedObject } from '../../src/buckets/bucket.ts';
import { interrupted, VaultError } from '../../src/errors.ts';
import { asPuppet } from './puppets.ts';
import { operationOf } from './snapshots.ts';
import type { Answer, Operation } from './snapshots.ts';

/** What a step changes beside the objects. */
export type Effect =
  | { readonly what: 'promise' | 'release'; readonly hash: string }
  | { readonly what: 'pass'; readonly ms: number }
  | { readonly what: 'bug'; readonly message: string };

/** How a program reaches what it shares with others. */
export interface Link {
  bucket(where: string): Bucket;
  now(): number;
  /** A moment at which others may have done anything. */
  pause(what: string): Promise<void>;
  tell(effect: Effect): void;
}

export interface Program {
  readonly name: string;
  play(link: Link): Promise<void>;
}

/** A call that waits to be made. */
export interface Pending {
  readonly key: string;
  /** Null: a pause, or a wait. */
  readonly operation: Operation | null;
  /** Of a wait: what it saw last, which must have changed before there is anything to see. */
  readonly unlike: Seen | null;
}

/** What a program that waits has seen of what it waits for. */
export interface Seen {
  readonly nowMs: number;
  /** Listings, with their answers' digests. */
  readonly listings: readonly (readonly [Operation, string])[];
}

/** Where a program stands. */
export interface Local {
  readonly id: number;
  readonly actor: string;
  readonly pending: readonly Pending[];
  /** Steps that were made from here, by the call that was made and its answer's digest. */
  readonly steps: Map<string, Map<string, Step[]>>;
  /** How it was come to. */
  readonly from: { readonly local: Local; readonly input: Input } | null;
  readonly digest: string;
}

/** What a step depends on. */
export interface Input {
  readonly pending: Pending;
  readonly answer: Answer;
  readonly digest: string;
  readonly nowMs: number;
}

export interface Step {
  /** Of the call that was made. */
  readonly key: string;
  readonly input: Input;
  readonly to: Local;
  readonly effects: readonly Effect[];
  /** What the clock showed; null if it was not looked at. */
  readonly nowMs: number | null;
}

/** A step that has been made before; undefined if it has not. */
export function knownStep(
  { steps }: Local,
  { pending: { key }, digest, nowMs }: Omit<Input, 'answer'>,
): Step | undefined {
  const made = steps.get(key)?.get(digest);
  return made?.find((step) => step.nowMs === null || step.nowMs === nowMs);
}

/** All steps that have been made from somewhere. */
export function stepsFrom({ steps }: Local): Step[] {
  return [...steps.values()].flatMap((made) => [...made.values()].flat());
}

/** Runs kept where they stand, to be gone on with. */
const MOST_KEPT = 400;

export class RememberedActor {
  readonly #program: Program;
  readonly #waitsFor: string;
  readonly #locals = new Map<string, Local>();
  /** Runs that stand at a local state, by its number, the latest last. */
  readonly #kept = new Map<number, Run>();
  runs = 0;
  steps = 0;
  /** How often one came by another way to where one had been, and steps by which it was seen whether both do the same. */
  meetings = 0;
  checked = 0;

  /** @param waitsFor the prefix that it lists again and again until it likes what it sees */
  constructor(program: Program, waitsFor: string) {
    this.#program = program;
    this.#waitsFor = waitsFor;
  }

  async start(): Promise<Local> {
    const run = await this.#begin();
    return this.#keep(run, null);
  }

  end(): void {
    for (const run of this.#kept.values()) run.end();
    this.#kept.clear();
  }

  async step(local: Local, input: Input): Promise<Step> {
    const run = this.#take(local) ?? (await this.#replay(local));
    await run.go(input);
    this.steps += 1;
    const nowMs = run.hasReadClock ? input.nowMs : null;
    const { key } = input.pending;
    const { effects } = run;
    const step = { key, effects, nowMs, input, to: await this.#arrive(run, { local, input }) };
    const made = local.steps.get(key) ?? new Map<string, Step[]>();
    local.steps.set(key, made.set(input.digest, [...(made.get(input.digest) ?? []), step]));
    return step;
  }

  /** Where a run has come to. Of those that come by another way to where one has been, some are led on, to see whether they do the same. */
  async #arrive(run: Run, from: Local['from']): Promise<Local> {
    const known = this.#locals.get(run.digest);
    if (known === undefined || known.pending.length === 0) return this.#keep(run, from);
    this.meetings += 1;
    if (this.meetings % CHECK_EVERY !== 0) return this.#keep(run, from);
    for (let at = known; ;) {
      const step = stepsFrom(at).at(-1);
      if (step === undefined) break;
      await run.go(step.input);
      at = step.to;
      run.require(at);
      this.checked += 1;
    }
    run.end();
    return known;
  }

  #take(local: Local): Run | undefined {
    const run = this.#kept.get(local.id);
    this.#kept.delete(local.id);
    return run;
  }

  async #begin(): Promise<Run> {
    const run = new Run(this.#program, this.#waitsFor);
    this.runs += 1;
    await run.start();
    return run;
  }

  /** Another run to where one has been. */
  async #replay(local: Local): Promise<Run> {
    const way: Local[] = [];
    for (let at: Local | null = local; at !== null; at = at.from?.local ?? null) way.unshift(at);
    const run = await this.#begin();
    for (const at of way) {
      if (at.from !== null) await run.go(at.from.input);
      run.require(at);
    }
    return run;
  }

  #keep(run: Run, from: Local['from']): Local {
    const { digest } = run;
    const pending = run.pending();
    const known = this.#locals.get(digest);
    const local = known ?? {
      id: this.#locals.size,
      actor: this.#program.name,
      pending,
      steps: new Map<string, Map<string, Step[]>>(),
      from,
      digest,
    };
    this.#locals.set(digest, local);
    if (pending.length === 0) run.end();
    else this.#kept.set(local.id, run);
    const [oldest] = this.#kept;
    if (this.#kept.size > MOST_KEPT && oldest !== undefined) {
      this.#kept.delete(oldest[0]);
      oldest[1].end();
    }
    return local;
  }
}

/** Of runs that come by another way to where one has been, so many go unchecked for each that is. */
const CHECK_EVERY = 16;

/** A program has done otherwise after the same answers. */
export class MoreThanAnswers extends Error {}

interface Held {
  readonly operation: Operation | null;
  readonly key: string;
  readonly unlike: Seen | null;
  readonly answer: (answer: Answer) => void;
  readonly refuse: (error: VaultError) => void;
}

/** One run of a program, which goes on as far as it is let. */
class Run implements Link {
  readonly #program: Program;
  readonly #waitsFor: string;
  readonly #held: Held[] = [];
  readonly #history = new History();
  readonly #seen = new Map<string, readonly [Operation, string]>();
  #shownMs = 0;
  #nowMs = 0;
  #isOver = false;
  effects: Effect[] = [];
  hasReadClock = false;

  constructor(program: Program, waitsFor: string) {
    this.#program = program;
    this.#waitsFor = waitsFor;
  }

  async start(): Promise<void> {
    const sleep = async (): Promise<void> => {
      const unlike = { nowMs: this.#shownMs, listings: [...this.#seen.values()] };
      await this.#hold({ operation: null, key: 'wait', unlike });
    };
    const play = async (): Promise<void> => {
      await this.#program.play(this);
      this.#history.end();
    };
    void asPuppet({ name: this.#program.name, sleep }, play).catch((error: unknown) => {
      this.#history.end();
      if (!(error instanceof VaultError)) this.tell({ what: 'bug', message: String(error) });
    });
    await quiet();
  }

  async go({ pending: { key, operation }, answer, digest, nowMs }: Input): Promise<void> {
    const at = this.#held.findIndex((held) => held.key === key);
    const [held] = at === -1 ? [] : this.#held.splice(at, 1);
    if (held === undefined) throw new MoreThanAnswers(`${this.#program.name} does not ask again: ${key}`);
    this.effects = [];
    this.hasReadClock = false;
    this.#nowMs = nowMs;
    this.#history.note(key, digest);
    if (operation?.call === 'list' && operation.name === this.#waitsFor)
      this.#seen.set(key, [operation, digest]);
    held.answer(answer);
    await quiet();
  }

  end(): void {
    this.#isOver = true;
    for (const { refuse } of this.#held.splice(0)) refuse(new VaultError('unavailable', 'The run is over.'));
  }

  pending(): readonly Pending[] {
    return this.#held.map(({ key, operation, unlike }) => ({ key, operation, unlike }));
  }

  get digest(): string {
    if (this.#history.hasEnded && this.#held.length === 0) return 'ended';
    return [this.#history.digest, ...this.#held.map(({ key }) => key).toSorted()].join('\n');
  }

  /** @throws `MoreThanAnswers` if it does not stand where another run of the same answers did */
  require({ digest }: Local): void {
    if (digest === this.digest) return;
    throw new MoreThanAnswers(
      `The same answers for ${this.#program.name}, and not the same next:\n${digest}\n\n${this.digest}`,
    );
  }

  now(): number {
    this.hasReadClock = true;
    // Where it never moves it tells nothing.
    if (this.#nowMs > 0) this.#history.note('now', String(this.#nowMs));
    this.#shownMs = this.#nowMs;
    return this.#nowMs;
  }

  async pause(what: string): Promise<void> {
    await this.#hold({ operation: null, key: `pause ${what}`, unlike: null });
  }

  tell(effect: Effect): void {
    this.effects.push(effect);
  }

  bucket(where: string): Bucket {
    const ask = async (
      call: Omit<Operation, 'key' | 'where'>,
      signal: AbortSignal | undefined,
    ): Promise<Answer & { error: null }> => {
      const operation = operationOf({ ...call, where });
      const answer = await this.#hold({ operation, key: operation.key, unlike: null }, signal);
      if (answer.error === null) return answer;
      throw new VaultError(answer.error.code, answer.error.message);
    };
    return {
      label: where,
      async put(name, bytes, { signal, replace = false } = {}) {
        await ask({ call: 'put', name, bytes: Uint8Array.from(bytes), replace }, signal);
      },
      async get(name, { signal, maxSize, onBytes } = {}) {
        const { value } = await ask({ call: 'get', name, maxSize }, signal);
        if (!(value instanceof Uint8Array)) throw new Error(name);
        onBytes?.(value.length);
        return Uint8Array.from(value);
      },
      async remove(name, { signal } = {}) {
        await ask({ call: 'remove', name }, signal);
      },
      async *list(name, { signal, after } = {}): AsyncGenerator<ListedObject, void, undefined> {
        const { value } = await ask({ call: 'list', name, after }, signal);
        if (!Array.isArray(value)) throw new Error(name);
        yield* value;
      },
      async close() {
        // Nothing is held open.
      },
    };
  }

  #hold(call: Pending, signal?: AbortSignal): Promise<Answer> {
    return new Promise((answer, refuse) => {
      const held = { ...call, answer, refuse };
      const stop = (): void => {
        const at = this.#held.indexOf(held);
        if (at !== -1) this.#held.splice(at, 1);
        refuse(interrupted(signal));
      };
      if (this.#isOver) refuse(new VaultError('unavailable', 'The run is over.'));
      else if (signal?.aborted === true) stop();
      else {
        this.#held.push(held);
        signal?.addEventListener('abort', stop, { once: true });
      }
    });
  }
}

/**
 * The answers a program has had. How it goes on does not depend on which of those that it asks for side by side came first: so the order
 * is left out, but for which of equal calls had which answer. `Run.require` notices if that is not so.
 */
class History {
  readonly #times = new Map<string, number>();
  readonly #sum = Buffer.alloc(20);
  hasEnded = false;

  note(what: string, answer: string): void {
    const times = (this.#times.get(what) ?? 0) + 1;
    this.#times.set(what, times);
    const one = createHash('sha1').update(`${times} ${what}\n${answer}`).digest();
    for (const [i, byte] of one.entries()) this.#sum[i] = (this.#sum[i] ?? 0) ^ byte;
  }

  /** What is over has no future that could differ. */
  end(): void {
    this.hasEnded = true;
  }

  get digest(): string {
    return this.#sum.toString('base64');
  }
}

/** Everything that waits for nothing but promises has happened when this resolves. */
function quiet(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
