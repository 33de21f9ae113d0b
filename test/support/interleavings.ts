/**
 * Every order in which the steps of several actors can come, of real code: a search through the states of buckets, clock and actors,
 * in which an actor is the automaton that its real runs have shown (remembered-actor.ts). A state is told by what decides all that can
 * follow: the objects, the clock, what was promised, and where each actor stands.
 *
 * Not every state is gone through: where an actor is about to read what nobody else can write any more before or after, the reading goes first and
 * nothing else is tried (persistent sets: P. Godefroid, "Partial-Order Methods for the Verification of Concurrent Systems", 1996,
 * chapter 4). That loses no state of the buckets: the reading changes none, and whatever the others do meanwhile they can do
 * after it, with the same answers for everybody. What somebody can still write is what the steps known so far say, so that a choice may turn
 * out wrong; when nothing is left to try, each is looked at again, and where it does not hold any more the other moves are tried as well, until all hold.
 *
 * Why that is enough, though what can still be written is learned in the reduced search itself: take a state where the reading `r` went alone,
 * and a way on from it, in any order, on which somebody comes to a write `w` that touches `r`, the shortest such. All before `w` commute with `r`, so
 * that the same way leads from the state after `r` to `w`, no longer. There the search has gone on either with all moves, and
 * so along the way, or with another reading alone, for which the same holds. As nothing comes back to where it was (each step adds an answer), the search
 * has come to `w` at last from where its actor stood: `w` was known, and the choice was not left to stand.
 */
import { Futures } from './futures.ts';
import { knownStep, RememberedActor } from './remembered-actor.ts';
import type { Local, Pending, Program, Step } from './remembered-actor.ts';
import type { Outcome, Snapshot, Snapshots } from './snapshots.ts';

/** After so many states it is told how far the exploration is. */
const PROGRESS_EVERY = 20_000;

/** What actors share. */
export interface Shared {
  readonly snapshot: Snapshot;
  readonly nowMs: number;
  /** Hashes of files that must be readable, sorted. */
  readonly promised: string;
}

interface State extends Shared {
  readonly locals: readonly Local[];
  readonly before: { readonly state: State; readonly move: Move } | null;
  /** How often an actor was left although it could go on. */
  readonly switches: number;
}

interface Move {
  readonly actor: number;
  readonly pending: Pending;
}

/** An actor goes on until its next call begins so (`put manifests/`); null: as far as it can. */
export interface Cue {
  readonly actor: string;
  readonly until: string | null;
}

export interface Exploration {
  readonly states: number;
  /** States of what is shared alone. */
  readonly outcomes: number;
  /** Steps of actors that were made for real, and runs of one actor that were begun for them. */
  readonly steps: number;
  readonly runs: number;
  /** States in which no call waits any more. */
  readonly ends: number;
  /** The first order that went wrong: its calls and what was wrong; null if none did. */
  readonly failure: { readonly moves: readonly string[]; readonly wrong: string } | null;
  /** Whether every order was tried. */
  readonly complete: boolean;
}

export interface Exploring {
  readonly programs: readonly Program[];
  readonly snapshots: Snapshots;
  readonly start: Shared;
  /** What has happened before orders are tried. */
  readonly prelude?: readonly Cue[] | undefined;
  /** The prefix that actors list again and again until they like what they see. */
  readonly waitsFor: string;
  /** What is wrong with a state; null if it is as it should be. */
  readonly wrong: (shared: Shared) => Promise<string | null>;
  /** States after which the exploration ends. */
  readonly mostStates?: number | undefined;
  /** Told how far it is, now and then. */
  readonly onProgress?: (told: string) => void;
  /** False: every state is gone through. */
  readonly reduces?: boolean | undefined;
  /** Most times that an actor is left although it could go on; no bound unless given. */
  readonly switches?: number | undefined;
}

/** Tries all orders. */
export async function explore(exploring: Exploring): Promise<Exploration> {
  const explorer = new Explorer(exploring);
  try {
    return await explorer.run();
  } finally {
    explorer.end();
  }
}

interface Frame {
  readonly state: State;
  readonly moves: readonly Move[];
  next: number;
}

class Explorer {
  readonly #exploring: Exploring;
  readonly #actors: readonly RememberedActor[];
  readonly #futures = new Futures();
  readonly #visited = new Set<string>();
  readonly #promises = new Map<string, number>();
  readonly #verdicts = new Map<string, string | null>();
  /** States from where one reading was tried alone. */
  #reduced: { readonly state: State; readonly alone: Move }[] = [];
  #ends = 0;

  constructor(exploring: Exploring) {
    this.#exploring = exploring;
    this.#actors = exploring.programs.map((program) => new RememberedActor(program, exploring.waitsFor));
  }

  end(): void {
    for (const actor of this.#actors) actor.end();
  }

  async run(): Promise<Exploration> {
    const failure = await this.#tryAll();
    const sum = (count: 'runs' | 'steps'): number =>
      this.#actors.reduce((all, actor) => all + actor[count], 0);
    return {
      states: this.#visited.size,
      outcomes: this.#verdicts.size,
      ends: this.#ends,
      steps: sum('steps'),
      runs: sum('runs'),
      failure,
      complete: failure === null && !this.#isFull,
    };
  }

  async #tryAll(): Promise<Exploration['failure']> {
    const locals: Local[] = [];
    for (const actor of this.#actors) locals.push(await actor.start());
    let state: State = { ...this.#exploring.start, locals, before: null, switches: 0 };
    for (const cue of this.#exploring.prelude ?? []) state = await this.#play(state, cue);
    state = { ...state, switches: 0 };
    this.#visited.add(this.#keyOf(state));
    let failure = await this.#judge(state);
    failure ??= await this.#search([await this.#frameOf(state)]);
    while (failure === null && !this.#isFull) {
      this.#futures.learn();
      const [standing, wrong] = partition(this.#reduced, ({ state: at, alone }) => this.#isAlone(at, alone));
      if (wrong.length === 0) return null;
      this.#reduced = standing;
      for (const { state: at, alone } of wrong) {
        const moves = this.#movesOf(at).filter(({ pending }) => pending !== alone.pending);
        failure = await this.#search([{ state: at, moves, next: 0 }]);
        if (failure !== null) break;
      }
    }
    return failure;
  }

  get #isFull(): boolean {
    return this.#visited.size >= (this.#exploring.mostStates ?? Infinity);
  }

  async #play(begun: State, { actor, until }: Cue): Promise<State> {
    const at = this.#exploring.programs.findIndex(({ name }) => name === actor);
    for (let state = begun; ;) {
      const move = this.#movesOf(state).find((one) => one.actor === at);
      if (move === undefined || (until !== null && move.pending.key.startsWith(until))) return state;
      state = await this.#go(state, move);
    }
  }

  /** Goes on from where a path ends, to all that can follow and has not been seen. */
  async #search(path: Frame[]): Promise<Exploration['failure']> {
    for (;;) {
      const top = path.at(-1);
      if (top === undefined || this.#isFull) return null;
      const move = top.moves[top.next];
      top.next += 1;
      if (move === undefined) {
        path.pop();
        continue;
      }
      const state = this.#goKnown(top.state, move) ?? (await this.#go(top.state, move));
      const key = this.#keyOf(state);
      if (this.#visited.has(key)) continue;
      this.#visited.add(key);
      if (this.#visited.size % PROGRESS_EVERY === 0) this.#tell(path.length);
      if (this.#verdicts.get(this.#outcomeKey(state)) !== null) {
        const failure = await this.#judge(state);
        if (failure !== null) return failure;
      }
      path.push(await this.#frameOf(state));
    }
  }

  #tell(depth: number): void {
    const verdicts = this.#verdicts.size;
    const steps = this.#actors.map((actor) => actor.steps).join('+');
    this.#exploring.onProgress?.(
      `${this.#visited.size} states, ${verdicts} outcomes, ${steps} steps, ${this.#reduced.length} alone, depth ${depth}`,
    );
  }

  async #frameOf(state: State): Promise<Frame> {
    const moves = this.#movesOf(state);
    if (moves.length === 0) this.#ends += 1;
    if (this.#isBounded) return { state, moves: this.#movesWithin(state, moves), next: 0 };
    if (moves.length < 2 || this.#exploring.reduces === false) return { state, moves, next: 0 };
    for (const move of moves) {
      if (!this.#touchesNothing(state, move)) continue;
      await this.#stepOf(state, move);
      if (!this.#isAlone(state, move)) continue;
      this.#reduced.push({ state, alone: move });
      return { state, moves: [move], next: 0 };
    }
    return { state, moves, next: 0 };
  }

  get #isBounded(): boolean {
    return this.#exploring.switches !== undefined && this.#exploring.switches < Infinity;
  }

  /** Within a bound on switches nothing is left out for another order, which might not fit into it. */
  #movesWithin({ before, switches }: State, moves: readonly Move[]): readonly Move[] {
    // Calls that an actor makes side by side go in one order.
    const first = moves.filter((move) => move === moves.find(({ actor }) => actor === move.actor));
    const staying = first.filter(({ actor }) => actor === before?.move.actor);
    return staying.length > 0 && switches >= (this.#exploring.switches ?? Infinity) ? staying : first;
  }

  /** Whether a move, which has been made once, is a reading that changes nothing, of what nobody can write before it is made. */
  #isAlone(state: State, move: Move): boolean {
    if (!this.#touchesNothing(state, move)) return false;
    const outcome = this.#knownOutcome(state.snapshot, move.pending);
    const step = outcome === undefined ? undefined : this.#knownStep(state, move, outcome);
    if (step === undefined || step.effects.length > 0) return false;
    return step.nowMs === null || !state.locals.some((local) => this.#futures.movesClock(local));
  }

  #touchesNothing({ locals }: State, { actor, pending }: Move): boolean {
    const { operation } = pending;
    if (operation === null || operation.call === 'put' || operation.call === 'remove') return false;
    return locals.every((local, i) =>
      i === actor
        ? !this.#futures.touchesItself(local, pending)
        : !this.#futures.touches(this.#futures.of(local), operation),
    );
  }

  #movesOf({ locals, snapshot, nowMs }: State): Move[] {
    const moves: Move[] = [];
    for (const [actor, { pending: all }] of locals.entries()) {
      for (const pending of all) {
        const { unlike } = pending;
        const isDue =
          unlike === null ||
          unlike.nowMs !== nowMs ||
          unlike.listings.some(
            ([listing, digest]) => this.#exploring.snapshots.listed(snapshot, listing) !== digest,
          );
        if (isDue) moves.push({ actor, pending });
      }
    }
    return moves;
  }

  #knownOutcome(snapshot: Snapshot, { operation, key }: Pending): Outcome | undefined {
    if (operation !== null) return snapshot.outcomes.get(key);
    return { answer: { error: null, value: undefined }, digest: '', next: snapshot };
  }

  #knownStep({ locals, nowMs }: State, { actor, pending }: Move, { digest }: Outcome): Step | undefined {
    const local = locals[actor];
    return local === undefined ? undefined : knownStep(local, { pending, digest, nowMs });
  }

  async #stepOf(state: State, move: Move): Promise<{ readonly outcome: Outcome; readonly step: Step }> {
    const { snapshot, locals, nowMs } = state;
    const { actor, pending } = move;
    let outcome = this.#knownOutcome(snapshot, pending);
    if (outcome === undefined && pending.operation !== null)
      outcome = await this.#exploring.snapshots.perform(snapshot, pending.operation);
    const [local, program] = [locals[actor], this.#actors[actor]];
    if (local === undefined || program === undefined || outcome === undefined)
      throw new Error('No such actor');
    const { answer, digest } = outcome;
    const step = this.#knownStep(state, move, outcome);
    return { outcome, step: step ?? (await program.step(local, { pending, answer, digest, nowMs })) };
  }

  async #go(state: State, move: Move): Promise<State> {
    const { outcome, step } = await this.#stepOf(state, move);
    return this.#after(state, move, outcome, step);
  }

  /** As `#go`, if it has been made before. */
  #goKnown(state: State, move: Move): State | null {
    const outcome = this.#knownOutcome(state.snapshot, move.pending);
    const step = outcome === undefined ? undefined : this.#knownStep(state, move, outcome);
    return outcome === undefined || step === undefined ? null : this.#after(state, move, outcome, step);
  }

  #after(state: State, move: Move, { next }: Outcome, { to, effects }: Step): State {
    let { nowMs, promised } = state;
    for (const effect of effects) {
      if (effect.what === 'pass') nowMs += effect.ms;
      else if (effect.what === 'bug') throw new Error(`${movesTo(state).join('\n')}\n${effect.message}`);
      else {
        const others = promised.split(' ').filter((hash) => hash !== '' && hash !== effect.hash);
        promised = (effect.what === 'promise' ? [...others, effect.hash] : others).toSorted().join(' ');
      }
    }
    const last = state.before?.move.actor;
    const isSwitch =
      this.#isBounded &&
      last !== undefined &&
      last !== move.actor &&
      this.#movesOf(state).some(({ actor }) => actor === last);
    return {
      snapshot: next,
      nowMs,
      promised,
      locals: state.locals.with(move.actor, to),
      before: { state, move },
      switches: state.switches + Number(isSwitch),
    };
  }

  async #judge(state: State): Promise<Exploration['failure']> {
    const key = this.#outcomeKey(state);
    const known = this.#verdicts.get(key);
    const wrong = known === undefined ? await this.#exploring.wrong(state) : known;
    this.#verdicts.set(key, wrong);
    return wrong === null ? null : { moves: movesTo(state), wrong };
  }

  #keyOf(state: State): string {
    const { locals, switches, before } = state;
    const used = this.#isBounded ? `${switches} ${before?.move.actor}` : '';
    return `${this.#outcomeKey(state)} ${locals.map(({ id }) => id).join()} ${used}`;
  }

  #outcomeKey({ snapshot, nowMs, promised }: Shared): string {
    const promise = this.#promises.get(promised) ?? this.#promises.size;
    this.#promises.set(promised, promise);
    return `${snapshot.id} ${nowMs} ${promise}`;
  }
}

/** How a state was come to. */
function movesTo(state: State): readonly string[] {
  const moves: string[] = [];
  for (let at = state.before; at !== null; at = at.state.before) {
    const { move, state: from } = at;
    moves.unshift(`${from.locals[move.actor]?.actor}: ${move.pending.key}`);
  }
  return moves;
}

/** Those of which something holds, and the others. */
function partition<T>(all: readonly T[], holds: (one: T) => boolean): [T[], T[]] {
  const parts: [T[], T[]] = [[], []];
  for (const one of all) parts[holds(one) ? 0 : 1].push(one);
  return parts;
}
