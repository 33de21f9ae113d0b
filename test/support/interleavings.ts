/**
 * Every order in which the steps of several actors can come, of real code: an actor's call of what is shared is held up until
 * the explorer lets it go on, one call at a time. Orders that lead to the same state are told by a digest and tried once;
 * of orders that differ only in steps that do not touch each other one is tried (sleep sets: P. Godefroid, "Partial-Order
 * Methods for the Verification of Concurrent Systems", 1996, section 6).
 */

/** A call that is about to be made. */
export interface Move {
  readonly actor: string;
  /** Where it is made: only calls of one place can touch each other. */
  readonly where: string;
  readonly call: 'put' | 'get' | 'remove' | 'list' | 'everything';
  /** The object's name or the prefix of a listing. */
  readonly name: string;
}

/** What an explorer drives: made anew for each order, and the same each time as far as its actors can tell. */
export interface World {
  /** Starts the actors: each runs until its first call. */
  start(): Promise<void>;
  /** The calls that wait. */
  waiting(): readonly Move[];
  /** Lets one of them be made, and its actor run on until its next call. */
  go(move: Move): Promise<void>;
  /** Nobody goes on any more. */
  end(): void;
  /** All that decides what can still happen. */
  digest(): string;
  /** What is wrong with the state; null if it is as it should be. It changes nothing. */
  wrong(): Promise<string | null>;
  /** The same where no call waits any more. */
  wrongAtEnd(): Promise<string | null>;
}

export interface Exploration {
  readonly states: number;
  readonly runs: number;
  readonly ends: number;
  /** The first order that went wrong: its calls and what was wrong; null if none did. */
  readonly failure: { readonly moves: readonly string[]; readonly wrong: string } | null;
  /** Whether every order was tried (within the bound on switches). */
  readonly complete: boolean;
}

export interface ExploreOptions {
  /** Most times that an actor is left although it could go on; no bound unless given. */
  readonly switches?: number | undefined;
  /** Runs after which the exploration ends. */
  readonly mostRuns?: number | undefined;
}

/** One state on the way to the present one. */
interface Node {
  readonly waiting: readonly Move[];
  /** Moves that were tried already or lead to where an earlier order led. */
  readonly asleep: Map<string, Move>;
  readonly switches: number;
  readonly last: string | null;
  chosen: Move;
}

/** Tries all orders. */
export async function explore(make: () => World, options: ExploreOptions = {}): Promise<Exploration> {
  const explorer = new Explorer(make, options);
  return explorer.run();
}

class Explorer {
  readonly #make: () => World;
  readonly #mostSwitches: number;
  readonly #mostRuns: number;
  readonly #path: Node[] = [];
  /** By state: the moves that were asleep whenever it was come to. */
  readonly #visited = new Map<string, { readonly asleep: ReadonlySet<string>; readonly waiting: string }>();
  #runs = 0;
  #ends = 0;

  constructor(make: () => World, { switches = Infinity, mostRuns = Infinity }: ExploreOptions) {
    this.#make = make;
    this.#mostSwitches = switches;
    this.#mostRuns = mostRuns;
  }

  async run(): Promise<Exploration> {
    let failure: Exploration['failure'] = null;
    do {
      this.#runs += 1;
      failure = await this.#follow();
    } while (failure === null && this.#turn() && this.#runs < this.#mostRuns);
    return {
      states: this.#visited.size,
      runs: this.#runs,
      ends: this.#ends,
      failure,
      complete: failure === null && this.#path.length === 0,
    };
  }

  /** Goes the path, and on from its end to where nothing waits or everything has been seen. */
  async #follow(): Promise<Exploration['failure']> {
    const world = this.#make();
    await world.start();
    try {
      return await this.#followIn(world);
    } finally {
      world.end();
    }
  }

  async #followIn(world: World): Promise<Exploration['failure']> {
    for (const { chosen } of this.#path) await world.go(chosen);
    for (;;) {
      const wrong = await world.wrong();
      if (wrong !== null) return this.#failure(wrong);
      const node = this.#arrive(world);
      if (node === null) return null;
      const chosen = this.#choose(node);
      if (chosen === null) {
        if (node.waiting.length > 0) return null;
        this.#ends += 1;
        const wrongInTheEnd = await world.wrongAtEnd();
        return wrongInTheEnd === null ? null : this.#failure(wrongInTheEnd);
      }
      this.#path.push({ ...node, chosen });
      await world.go(chosen);
    }
  }

  /** The state that a run has come to; null if all that can follow has been seen. */
  #arrive(world: World): Omit<Node, 'chosen'> | null {
    const waiting = world.waiting();
    const parent = this.#path.at(-1);
    const last = parent?.chosen.actor ?? null;
    const switches = parent === undefined ? 0 : parent.switches + Number(isSwitch(parent));
    const bounded = this.#mostSwitches !== Infinity;
    const asleep = new Map<string, Move>();
    // With a bound, the order that is left out might be the one that fits into it.
    for (const move of bounded ? [] : (parent?.asleep.values() ?? [])) {
      if (parent !== undefined && independent(move, parent.chosen)) asleep.set(keyOf(move), move);
    }
    // Likewise, what can still happen depends on how much of it is used up.
    const digest = world.digest() + (bounded ? ` ${switches} ${last}` : '');
    const calls = waiting.map(keyOf).toSorted().join('\n');
    const seen = this.#visited.get(digest);
    if (seen !== undefined && seen.waiting !== calls)
      throw new Error(`The same answers, and not the same next:\n${seen.waiting}\n\n${calls}`);
    const before = seen?.asleep;
    if (before !== undefined) {
      if ([...before].every((key) => asleep.has(key))) return null;
      for (const move of waiting) if (!before.has(keyOf(move))) asleep.set(keyOf(move), move);
    }
    const known = before ?? new Set(asleep.keys());
    const sleeping = new Set([...known].filter((key) => asleep.has(key)));
    this.#visited.set(digest, { asleep: sleeping, waiting: calls });
    return { waiting, asleep, switches, last };
  }

  #choose({ waiting: all, asleep, switches, last }: Omit<Node, 'chosen'>): Move | null {
    // With a bound, calls that an actor makes side by side go in one order.
    const waiting =
      this.#mostSwitches === Infinity
        ? all
        : all.filter((move) => move === all.find(({ actor }) => actor === move.actor));
    const open = waiting.filter((move) => !asleep.has(keyOf(move)));
    const staying = open.find(({ actor }) => actor === last);
    if (staying !== undefined) return staying;
    const leaves = waiting.some(({ actor }) => actor === last);
    return leaves && switches >= this.#mostSwitches ? null : (open[0] ?? null);
  }

  /** Turns to the next order. @returns whether there is one */
  #turn(): boolean {
    for (;;) {
      const node = this.#path.at(-1);
      if (node === undefined) return false;
      node.asleep.set(keyOf(node.chosen), node.chosen);
      const next = this.#choose(node);
      if (next !== null) {
        node.chosen = next;
        return true;
      }
      this.#path.pop();
    }
  }

  #failure(wrong: string): Exploration['failure'] {
    return { moves: this.#path.map(({ chosen }) => keyOf(chosen)), wrong };
  }
}

function keyOf({ actor, where, call, name }: Move): string {
  return `${actor}: ${call} ${name} ${where}`;
}

/** Whether a move left an actor that could have gone on. */
function isSwitch({ last, chosen, waiting }: Node): boolean {
  return last !== null && last !== chosen.actor && waiting.some(({ actor }) => actor === last);
}

/** Whether two moves lead to the same whichever comes first. */
function independent(a: Move, b: Move): boolean {
  if (a.call === 'everything' || b.call === 'everything') return false;
  // Of one actor they are made side by side.
  if (a.where !== b.where) return true;
  if (a.actor === b.actor) return false;
  const reads = (move: Move): boolean => move.call === 'get' || move.call === 'list';
  if (reads(a) && reads(b)) return true;
  if (a.call === 'list') return !b.name.startsWith(a.name);
  if (b.call === 'list') return !a.name.startsWith(b.name);
  return a.name !== b.name;
}
