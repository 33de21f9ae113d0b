/** What a restore that was killed has left: files under passing names, which nobody else would ever remove. */
import type { BigIntStats } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { untilAborted } from '../../concurrency/until-aborted.ts';
import { isVaultError } from '../../errors.ts';
import { systemClock } from '../../host.ts';

/** A folder, by what is done in it. */
export interface LookedAt {
  names(): Promise<readonly string[]>;
  look(name: string): Promise<BigIntStats>;
  remove(name: string): Promise<void>;
}

/** Milliseconds in which a restore that goes on has written to its file, dated or renamed it. */
const LIVE_MS = 4000;

/**
 * Waits for what may take its time while a file is unfinished (its content, the disk), and dates the file again and again meanwhile:
 * others see that it is nobody's leftover.
 *
 * @param date gives the file the present time; what it cannot do is of no matter
 * @param signal ends the wait for the last dating
 */
export async function whileDated<T>(
  date: () => Promise<void>,
  work: () => Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  let dating: Promise<void> | null = null;
  const timer = setInterval(() => {
    dating ??= date()
      .catch(() => undefined)
      .finally(() => (dating = null));
  }, LIVE_MS / 8);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    // It must not come after the time that the file gets.
    if (dating !== null) await untilAborted(dating, signal).catch(() => undefined);
  }
}

/** The passing names of restores in a folder, from before this one writes there. */
export class LeftBehind {
  readonly #folder: LookedAt;
  readonly #found: Map<string, BigIntStats>;
  readonly #sinceMs = systemClock.monotonic();

  private constructor(folder: LookedAt, found: Map<string, BigIntStats>) {
    this.#folder = folder;
    this.#found = found;
  }

  /** @param isPassing whether a name is of the form that only restores give, and for what is restored here */
  static async find(folder: LookedAt, isPassing: (name: string) => boolean): Promise<LeftBehind | null> {
    const found = new Map<string, BigIntStats>();
    try {
      for (const name of await folder.names()) {
        if (isPassing(name)) found.set(name, await folder.look(name));
      }
    } catch (error) {
      // To clear up is not what was asked for.
      if (isVaultError(error)) throw error;
    }
    return found.size === 0 ? null : new LeftBehind(folder, found);
  }

  /** Something of that name is restored: it stays. */
  keep(name: string): void {
    this.#found.delete(name);
  }

  /** Removes those that nobody goes on with. @param signal ends the wait that tells */
  async remove(signal: AbortSignal | undefined): Promise<void> {
    if (this.#found.size === 0) return;
    const restMs = LIVE_MS - (systemClock.monotonic() - this.#sinceMs);
    if (restMs > 0) await delay(restMs, undefined, { signal }).catch(() => undefined);
    if (signal?.aborted === true) return;
    for (const [name, { dev, ino, uid, ctimeNs }] of this.#found) {
      try {
        const now = await this.#folder.look(name);
        const isSame = now.dev === dev && now.ino === ino && now.uid === uid && now.ctimeNs === ctimeNs;
        if (isSame && !now.isDirectory()) await this.#folder.remove(name);
      } catch (error) {
        if (isVaultError(error)) throw error;
      }
    }
  }
}
