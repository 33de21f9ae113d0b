import type { Clock } from '../../src/host.ts';

/**
 * A clock that jumps to the next timer as soon as nothing else is left to do, so that hours of waiting take no
 * time. Only for code that otherwise waits for promises alone: real I/O would seem to take for ever.
 */
export class VirtualClock implements Clock {
  readonly #timers = new Set<{ readonly atMs: number; readonly callback: () => void }>();
  #nowMs = 0;
  #turning = false;

  now(): number {
    return this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs;
  }

  schedule(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), callback };
    this.#timers.add(timer);
    this.#turn();
    return () => {
      this.#timers.delete(timer);
    };
  }

  /** Timers that are still set. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Resolves after that many milliseconds of this clock. */
  async pass(delayMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.schedule(delayMs, resolve);
    });
  }

  #turn(): void {
    if (this.#turning) return;
    this.#turning = true;
    // All promises that can settle have settled before the next turn of the event loop.
    setImmediate(() => {
      this.#turning = false;
      const [first] = [...this.#timers].toSorted((one, other) => one.atMs - other.atMs);
      if (first === undefined) return;
      this.#timers.delete(first);
      this.#nowMs = Math.max(this.#nowMs, first.atMs);
      first.callback();
      if (this.#timers.size > 0) this.#turn();
    });
  }
}
