/** Many things at once, in batches: those that are there already, and single requests gathered. */

/** Parts of a list, in its order, of so many items at most. */
export function* slicesOf<T>(items: readonly T[], most: number): Generator<readonly T[], void, undefined> {
  for (let at = 0; at < items.length; at += most) yield items.slice(at, at + most);
}

/** What a stream gives, so many items at a time, and the rest at its end. */
export async function* batchesOf<T>(
  items: AsyncIterable<T>,
  most: number,
): AsyncGenerator<readonly T[], void, undefined> {
  let batch: T[] = [];
  for await (const item of items) {
    batch.push(item);
    if (batch.length < most) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

/**
 * Gathers single requests into batches: what arrives while a batch is under way forms the next one, so that a slow
 * answer makes larger batches instead of a longer queue.
 *
 * @param run answers a batch, by item; an item without an answer gets undefined
 * @param options `most`: items a batch; `inFlight`: batches under way at once
 * @returns a function that answers one item
 */
export function batched<T, U>(
  run: (items: readonly T[]) => Promise<ReadonlyMap<T, U>>,
  options: { readonly most: number; readonly inFlight: number },
): (item: T) => Promise<U | undefined> {
  interface Request {
    readonly item: T;
    readonly resolve: (answer: U | undefined) => void;
    readonly reject: (error: unknown) => void;
  }
  const queue: Request[] = [];
  let running = 0;

  const start = async (): Promise<void> => {
    running += 1;
    // One turn of the event loop, so that everything that is asked for in this one goes together.
    await new Promise((resolve) => setImmediate(resolve));
    while (queue.length > 0) {
      const batch = queue.splice(0, options.most);
      try {
        const answers = await run(batch.map((request) => request.item));
        for (const request of batch) request.resolve(answers.get(request.item));
      } catch (error) {
        for (const request of batch) request.reject(error);
      }
    }
    running -= 1;
  };
  return (item) =>
    new Promise((resolve, reject) => {
      queue.push({ item, resolve, reject });
      if (running < options.inFlight) void start();
    });
}
