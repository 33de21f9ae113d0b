/**
 * Work whose steps mostly have nothing to wait for, by the million. Written as a generator it goes on at once where `await` would
 * first give everything else a turn, which costs many times what the step does.
 */

/** What a call gives: at once, or later. Awaiting either is right. */
export type Answer<T> = T | Promise<T>;

export type Steps<T> = Generator<Promise<unknown>, T, unknown>;

/** `yield* ask(answer)` is `await answer`. */
export function* ask<T>(answer: Answer<T>): Steps<T> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what comes in is what this very promise gave
  return answer instanceof Promise ? ((yield answer) as T) : answer;
}

/** Takes steps, as far as they go at once. */
export function take<T>(steps: Steps<T>): Answer<T> {
  const step = steps.next();
  return step.done === true ? step.value : takeLater(steps, step.value);
}

async function takeLater<T>(steps: Steps<T>, first: Promise<unknown>): Promise<T> {
  for (let awaited = first; ;) {
    let step: IteratorResult<Promise<unknown>, T>;
    try {
      step = steps.next(await awaited);
    } catch (error) {
      step = steps.throw(error);
    }
    if (step.done === true) return step.value;
    awaited = step.value;
  }
}
