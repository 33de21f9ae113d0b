/** One run for all who ask for the same at once. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { throwIfAborted } from '../errors.ts';
import { untilAborted } from './until-aborted.ts';

interface Run<T> {
  /** Who waits for it. */
  askers: number;
  readonly unwanted: AbortController;
  readonly done: Promise<T>;
}

/**
 * Group commit: however many ask at once, one run is under way and one more waits, and each asker's run began
 * after it asked.
 *
 * @param run its signal is aborted when nobody waits for it any more: the abort of one asker is not the others'
 * @param options `inTurn`: lets a run begin when it is its turn; at once unless given. Whoever asks until then shares it. `joins`: whoever
 *   asks while one is under way shares that, too: what it finds was so a moment ago
 * @returns asks; `interrupted` as soon as the asker's signal is aborted, and for the last one when the run has ended
 */
export function coalesced<T>(
  run: (signal: AbortSignal) => Promise<T>,
  {
    inTurn = async (now) => await now(),
    joins = false,
  }: { readonly inTurn?: (run: () => Promise<T>) => Promise<T>; readonly joins?: boolean } = {},
): (signal?: AbortSignal) => Promise<T> {
  let running: Promise<T> | null = null;
  let current: Run<T> | null = null;
  let queued: Run<T> | null = null;
  const isWaiting = (mine: Run<T>): boolean => queued === mine;

  const enqueue = (): Run<T> => {
    const unwanted = new AbortController();
    const begin = async (): Promise<T> => {
      throwIfAborted(unwanted.signal);
      queued = null;
      current = mine;
      running = run(unwanted.signal).finally(() => {
        running = null;
        current = null;
      });
      return await running;
    };
    const turn = Promise.withResolvers<T>();
    const mine = { askers: 0, unwanted, done: turn.promise };
    queued = mine;
    // One turn of the event loop, so that everything that is asked for in this one goes together; as it does where it can join.
    const start = (): void => turn.resolve(joins ? inTurn(begin) : nextTurn().then(() => inTurn(begin)));
    if (running === null) start();
    else running.then(start, start);
    // One that never got its turn, or that nobody waits for any more.
    turn.promise.catch(() => {
      if (isWaiting(mine)) queued = null;
    });
    return mine;
  };

  return async (signal) => {
    throwIfAborted(signal);
    const joined = joins && current?.unwanted.signal.aborted === false ? current : null;
    const mine = joined ?? queued ?? enqueue();
    mine.askers += 1;
    try {
      return await untilAborted(mine.done, signal);
    } finally {
      mine.askers -= 1;
      if (mine.askers === 0 && signal?.aborted === true) {
        mine.unwanted.abort(signal.reason);
        if (isWaiting(mine)) queued = null;
        else await mine.done.catch(() => undefined);
      }
    }
  };
}
