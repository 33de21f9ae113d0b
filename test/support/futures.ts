import { stepsFrom } from './remembered-actor.ts';
import type { Local, Pending } from './remembered-actor.ts';
import type { Operation } from './snapshots.ts';

/** What somebody can still change: a bit for each object, and the clock's. */
type Mask = bigint;

const CLOCK: Mask = 1n;

/** What actors can still write, as far as their steps are known. */
export class Futures {
  /** Of each object that anybody writes, by bucket and name. */
  readonly #bits = new Map<string, Mask>();
  readonly #masks = new Map<Local, Mask>();
  readonly #touched = new Map<string, Mask>();
  readonly #own = new Map<Local, Map<string, boolean>>();

  /** From now on also the steps that have become known since the last time count. */
  learn(): void {
    this.#masks.clear();
    this.#touched.clear();
    this.#own.clear();
  }

  /** What an actor can still write from where it stands. */
  of(local: Local): Mask {
    const known = this.#masks.get(local);
    if (known !== undefined) return known;
    const mask = this.#ofPending(local) | this.#ofSteps(local, (to) => this.of(to));
    this.#masks.set(local, mask);
    return mask;
  }

  movesClock(local: Local): boolean {
    return (this.of(local) & CLOCK) !== 0n;
  }

  /** Whether something that can still be written is what an operation reads. */
  touches(mask: Mask, reading: Operation): boolean {
    return (mask & this.#touchedBy(reading)) !== 0n;
  }

  /** Whether an actor, as long as one of its own calls waits, can write with others what that one reads. */
  touchesItself(local: Local, { key, operation }: Pending): boolean {
    if (local.pending.length === 1 || operation === null) return false;
    const known = this.#own.get(local) ?? new Map<string, boolean>();
    this.#own.set(local, known);
    const answer = known.get(key) ?? this.touches(this.#meanwhile(local, key, new Map()), operation);
    known.set(key, answer);
    return answer;
  }

  /** What an actor can write before a call is made that waits. */
  #meanwhile(local: Local, key: string, seen: Map<Local, Mask>): Mask {
    const known = seen.get(local);
    if (known !== undefined) return known;
    const mask = this.#ofPending(local) | this.#ofSteps(local, (to) => this.#meanwhile(to, key, seen), key);
    seen.set(local, mask);
    return mask;
  }

  #ofPending({ pending }: Local): Mask {
    let mask = 0n;
    for (const { operation } of pending) {
      if (operation?.call === 'put' || operation?.call === 'remove') mask |= this.#bitOf(operation);
    }
    return mask;
  }

  #ofSteps(local: Local, ofNext: (to: Local) => Mask, without?: string): Mask {
    let mask = 0n;
    for (const { to, effects, key } of stepsFrom(local)) {
      if (key === without) continue;
      if (effects.some(({ what }) => what === 'pass')) mask |= CLOCK;
      mask |= ofNext(to);
    }
    return mask;
  }

  #bitOf({ where, name }: Operation): Mask {
    const object = `${where} ${name}`;
    const bit = this.#bits.get(object) ?? 1n << BigInt(this.#bits.size + 1);
    this.#bits.set(object, bit);
    return bit;
  }

  #touchedBy({ key, call, where, name }: Operation): Mask {
    let mask = this.#touched.get(key);
    if (mask !== undefined) return mask;
    mask = 0n;
    const wanted = `${where} ${name}`;
    for (const [object, bit] of this.#bits) {
      if (call === 'list' ? object.startsWith(wanted) : object === wanted) mask |= bit;
    }
    this.#touched.set(key, mask);
    return mask;
  }
}
