/** Answers from several candidates at once: as many as are needed, or all. */
import { interrupted } from '../errors.ts';

/** Made once: without a reason, each abort makes an error with a stack. */
const ENDED = new Error('It is not wanted any more.');

/**
 * Gets a number of answers out of more candidates than are needed: asks as many as are needed, one more for each that
 * gives none, and one more whenever those asked take long. What is still under way in the end is aborted.
 *
 * @param candidates whom to ask, in order of preference
 * @param ask one candidate's answer; null if it has none. What it throws ends everything
 * @param options `need`: answers wanted. `hedgeMs`: how long to wait before asking one more. `onSlow`: told of every candidate
 *   that has been asked for so long without an answer
 * @returns the answers in the order they came; fewer than needed if the candidates have run out
 * @throws what `ask` threw first; `interrupted` if the caller's signal was aborted
 */
export function gather<T, U extends object>(
  candidates: readonly T[],
  ask: (candidate: T, signal: AbortSignal) => Promise<U | null>,
  options: {
    readonly need: number;
    readonly hedgeMs: number;
    readonly onSlow?: (candidate: T) => void;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<U[]> {
  const abort = new AbortController();
  const answers: U[] = [];
  const waits = new Map<T, number>(); // That those now asked have been through.
  let asked = 0;
  let underWay = 0;
  return new Promise<U[]>((resolve, reject) => {
    const onAbort = (): void => {
      fail(interrupted(options.signal));
    };
    const hedge = setInterval(() => {
      for (const [candidate, before] of waits) {
        waits.set(candidate, before + 1);
        if (before === 1) options.onSlow?.(candidate);
      }
      void askOne();
    }, options.hedgeMs);
    const end = (): void => {
      clearInterval(hedge);
      options.signal?.removeEventListener('abort', onAbort);
      abort.abort(ENDED);
    };
    const fail = (error: unknown): void => {
      end();
      reject(error);
    };
    const askOne = async (): Promise<void> => {
      const candidate = candidates[asked];
      if (candidate === undefined) return;
      asked += 1;
      underWay += 1;
      waits.set(candidate, asked <= options.need ? 1 : 0); // Later ones begin in the middle of a wait.
      try {
        const answer = await ask(candidate, abort.signal);
        underWay -= 1;
        waits.delete(candidate);
        if (answer !== null && answers.length < options.need) answers.push(answer);
        proceed();
      } catch (error) {
        fail(error);
      }
    };
    const proceed = (): void => {
      // Answers that come after the end lead to no more questions.
      if (abort.signal.aborted) return;
      while (underWay + answers.length < options.need && asked < candidates.length) void askOne();
      if (answers.length < options.need && underWay > 0) return;
      end();
      resolve(answers);
    };
    if (options.signal?.aborted === true) onAbort();
    options.signal?.addEventListener('abort', onAbort);
    proceed();
  });
}

/**
 * The results of all, once all have settled, also when some fail: what they share (memory) may then be used again.
 *
 * @throws what failed first
 */
export async function settleAll<T>(work: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(work);
  return Promise.all(work);
}
