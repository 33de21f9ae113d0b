import { getEventListeners } from 'node:events';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { batched } from '../src/concurrency/batched.ts';
import { coalesced } from '../src/concurrency/coalesced.ts';
import { Budget, Lender } from '../src/concurrency/semaphore.ts';
import { chunked } from '../src/vault/write/chunked.ts';
import { forEachBounded, mapOrdered } from '../src/concurrency/map-ordered.ts';
import { gather, settleAll } from '../src/concurrency/gather.ts';
import { untilAborted } from '../src/concurrency/until-aborted.ts';
import { seededRandom } from './support/seeded-random.ts';

/** Work whose every step the test decides. */
function steps<T, U>() {
  const started: T[] = [];
  const signals = new Map<T, AbortSignal>();
  const pending = new Map<T, PromiseWithResolvers<U>>();
  return {
    started,
    signals,
    underWay: () => pending.size,
    work: (item: T, signal: AbortSignal): Promise<U> => {
      const step = Promise.withResolvers<U>();
      started.push(item);
      signals.set(item, signal);
      pending.set(item, step);
      return step.promise;
    },
    finish: (item: T, value: U): Promise<void> => {
      pending.get(item)?.resolve(value);
      pending.delete(item);
      return nextTurn();
    },
    fail: (item: T, error: unknown): Promise<void> => {
      pending.get(item)?.reject(error);
      pending.delete(item);
      return nextTurn();
    },
  };
}

/** A source that counts. */
function counted<T>(items: readonly T[]) {
  const source = {
    pulled: 0,
    returned: 0,
    [Symbol.asyncIterator]: () => ({
      next: async (): Promise<IteratorResult<T, undefined>> => {
        const value = items[source.pulled];
        if (source.pulled >= items.length || value === undefined) return { done: true, value: undefined };
        source.pulled += 1;
        return { done: false, value };
      },
      return: async (): Promise<IteratorResult<T, undefined>> => {
        source.returned += 1;
        return { done: true, value: undefined };
      },
    }),
  };
  return source;
}

/** What an iteration yielded, and how it ended. */
async function drain<T>(items: AsyncIterable<T>): Promise<{ readonly values: T[]; readonly error: unknown }> {
  const values: T[] = [];
  try {
    for await (const item of items) values.push(item);
    return { values, error: null };
  } catch (error) {
    return { values, error };
  }
}

/** A source that says what it has, and memory that knows who has it. */
function byteSource(content: Uint8Array, chunkSize: number) {
  let at = 0;
  const lent = new Set<Uint8Array>();
  return {
    lent,
    read: async (target: Uint8Array): Promise<number> => {
      const run = content.subarray(at, at + target.length);
      target.set(run);
      at += run.length;
      return run.length;
    },
    memory: {
      borrow: async (): Promise<Uint8Array> => {
        const piece = new Uint8Array(chunkSize);
        lent.add(piece);
        return piece;
      },
      bodyOf: (piece: Uint8Array): Uint8Array => piece,
      giveBack: (piece: Uint8Array): void => {
        expect(lent.delete(piece)).toBe(true);
      },
    },
  };
}

/** A lender of numbered things. */
function numbered(most: number): Lender<number> {
  let made = 0;
  return new Lender(most, () => (made += 1));
}

/** Batches that answer when the test says so. */
function manualBatches() {
  const batches: {
    readonly items: readonly number[];
    readonly answer: PromiseWithResolvers<Map<number, string>>;
  }[] = [];
  return {
    batches,
    run: (items: readonly number[]): Promise<Map<number, string>> => {
      const answer = Promise.withResolvers<Map<number, string>>();
      batches.push({ items, answer });
      return answer.promise;
    },
    answer: (batch: number): Promise<void> => {
      const { items, answer } = batches[batch] ?? {};
      answer?.resolve(new Map(items?.map((item) => [item, `answer ${item}`])));
      return nextTurn();
    },
  };
}

/** A source of one item and an error. */
async function* failingSource(): AsyncGenerator<number, void, undefined> {
  yield 1;
  throw new Error('source');
}

/** A source that waits until it is aborted. */
async function* waitingSource(signal: AbortSignal): AsyncGenerator<number, void, undefined> {
  await new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error('gave up')));
  });
  yield 1;
}

const interrupted = expect.objectContaining({ code: 'interrupted' });

describe('mapOrdered', () => {
  test.each([
    ['a list', ['a', 'b', 'c']],
    ['a synchronous generator', new Set(['a', 'b', 'c']).values()],
    ['an asynchronous iterable', counted(['a', 'b', 'c'])],
    ['a function that gives one', () => counted(['a', 'b', 'c'])],
  ])('takes %s', async (_, source) => {
    const results = mapOrdered(source, async (item) => item.toUpperCase(), { inFlight: 2 });
    expect(await drain(results)).toEqual({ values: ['A', 'B', 'C'], error: null });
  });

  test('yields nothing for a source without items', async () => {
    const { work, started } = steps<number, number>();
    expect(await drain(mapOrdered([], work, { inFlight: 2 }))).toEqual({ values: [], error: null });
    expect(started).toEqual([]);
  });

  test('yields in the order of the items, with at most `inFlight` under way, in whatever order they finish', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.nat(12),
        fc.integer({ min: 1, max: 5 }),
        async (scheduler, count, inFlight) => {
          const items = Array.from({ length: count }, (_, i) => i);
          let underWay = 0;
          let most = 0;
          const work = async (item: number): Promise<number> => {
            underWay += 1;
            most = Math.max(most, underWay);
            await scheduler.schedule(Promise.resolve());
            underWay -= 1;
            return item * 2;
          };
          const outcome = await scheduler.waitFor(drain(mapOrdered(items, work, { inFlight })));
          expect(outcome).toEqual({ values: items.map((item) => item * 2), error: null });
          expect(most).toBe(Math.min(count, inFlight));
        },
      ),
    );
  });

  test('pulls from the source only when there is room', async () => {
    const source = counted([1, 2, 3, 4, 5, 6]);
    const { work, finish } = steps<number, number>();
    const results = mapOrdered(source, work, { inFlight: 2 });
    expect(source.pulled).toBe(0);
    const first = results.next();
    await nextTurn();
    expect(source.pulled).toBe(2);
    // The second is done, but its result waits for the first one's: it still takes room.
    await finish(2, 2);
    expect(source.pulled).toBe(2);
    await finish(1, 1);
    expect(await first).toEqual({ done: false, value: 1 });
    await nextTurn();
    expect(source.pulled).toBeLessThanOrEqual(3);
    await results.return();
  });

  test('throws the first failure, after everything else has settled, and closes the source', async () => {
    const source = counted([1, 2, 3, 4]);
    const { work, finish, fail, signals, started, underWay } = steps<number, number>();
    const outcome = drain(mapOrdered(source, work, { inFlight: 3 }));
    await nextTurn();
    await fail(2, new Error('first'));
    expect([1, 3].map((item) => signals.get(item)?.aborted)).toEqual([true, true]);
    expect(await Promise.race([outcome, nextTurn('still waiting')])).toBe('still waiting');
    await fail(3, new Error('second'));
    await finish(1, 1);
    expect((await outcome).error).toEqual(new Error('first'));
    expect([started, underWay(), source.returned]).toEqual([[1, 2, 3], 0, 1]);
  });

  test('throws what the source threw, after the work under way has settled', async () => {
    const { work, finish, signals } = steps<number, number>();
    const outcome = drain(mapOrdered(failingSource(), work, { inFlight: 2 }));
    await nextTurn();
    expect(signals.get(1)?.aborted).toBe(true);
    await finish(1, 1);
    expect(await outcome).toEqual({ values: [], error: new Error('source') });
  });

  test('throws the first failure also when closing the source fails', async () => {
    const source = {
      [Symbol.iterator]: () => ({
        next: () => ({ done: false, value: 1 }),
        return: () => {
          throw new Error('clean-up');
        },
      }),
    };
    const { work, fail } = steps<number, number>();
    const outcome = drain(mapOrdered(source, work, { inFlight: 1 }));
    await nextTurn();
    await fail(1, new Error('first'));
    expect((await outcome).error).toEqual(new Error('first'));
  });

  test("is interrupted by the caller's signal, and aborts the work and the source", async () => {
    const controller = new AbortController();
    let sourceSignal: AbortSignal | null = null;
    const { work, fail, signals } = steps<number, number>();
    const source = (signal: AbortSignal) => {
      sourceSignal = signal;
      return counted([1, 2]);
    };
    const outcome = drain(mapOrdered(source, work, { inFlight: 2, signal: controller.signal }));
    await nextTurn();
    controller.abort(new Error('why'));
    expect([signals.get(1)?.aborted, sourceSignal]).toEqual([
      true,
      expect.objectContaining({ aborted: true }),
    ]);
    await fail(1, new Error('aborted'));
    await fail(2, new Error('aborted'));
    const { error } = await outcome;
    expect(error).toEqual(interrupted);
    expect(error).toHaveProperty('cause', new Error('why'));
  });

  test('interrupts a source that waits, if it heeds the signal', async () => {
    const controller = new AbortController();
    const results = mapOrdered(waitingSource, async (item) => item, {
      inFlight: 1,
      signal: controller.signal,
    });
    const outcome = drain(results);
    await nextTurn();
    controller.abort();
    expect((await outcome).error).toEqual(interrupted);
  });

  test('starts nothing when the signal was aborted before', async () => {
    const source = counted([1]);
    const { work, started } = steps<number, number>();
    const options = { inFlight: 1, signal: AbortSignal.abort() };
    expect((await drain(mapOrdered(source, work, options))).error).toEqual(interrupted);
    expect([started, source.pulled]).toEqual([[], 0]);
  });

  test('leaves no listener on the signal, however it ends', async () => {
    const { signal } = new AbortController();
    await drain(mapOrdered([1, 2], async (item) => item, { inFlight: 1, signal }));
    await drain(mapOrdered([1], () => Promise.reject(new Error('fails')), { inFlight: 1, signal }));
    for await (const _ of mapOrdered([1, 2], async (item) => item, { inFlight: 1, signal })) break;
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('aborts and awaits what is under way when the consumer stops early, and closes the source', async () => {
    const source = counted([1, 2, 3]);
    const { work, finish, signals, underWay } = steps<number, number>();
    const results = mapOrdered(source, work, { inFlight: 2 });
    const first = results.next();
    await nextTurn();
    await finish(1, 1);
    await first;
    const end = results.return();
    expect(await Promise.race([end, nextTurn('still waiting')])).toBe('still waiting');
    expect(signals.get(2)?.aborted).toBe(true);
    await finish(2, 2);
    await end;
    expect([underWay(), source.returned]).toEqual([0, 1]);
  });

  test('starts no work on an item that arrives after the consumer has stopped', async () => {
    const second = Promise.withResolvers<void>();
    async function* slow(): AsyncGenerator<number, void, undefined> {
      yield 1;
      await second.promise;
      yield 2;
    }
    const { work, finish, started } = steps<number, number>();
    const results = mapOrdered(slow(), work, { inFlight: 2 });
    const first = results.next();
    await nextTurn();
    await finish(1, 1);
    await first;
    const end = results.return();
    await nextTurn();
    second.resolve();
    await end;
    await nextTurn();
    expect(started).toEqual([1]);
  });

  test('has nothing running when it has ended, whatever fails and whenever it is stopped', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.array(fc.boolean(), { maxLength: 10 }),
        fc.integer({ min: 1, max: 4 }),
        fc.nat(10),
        async (scheduler, fails, inFlight, stopAfter) => {
          let underWay = 0;
          let ended = false;
          let startedLate = 0;
          const work = async (failing: boolean): Promise<void> => {
            if (ended) startedLate += 1;
            underWay += 1;
            await scheduler.schedule(Promise.resolve());
            underWay -= 1;
            if (failing) throw new Error('fails');
          };
          const run = async (): Promise<void> => {
            let left = stopAfter;
            for await (const _ of mapOrdered(fails, work, { inFlight })) {
              left -= 1;
              if (left < 0) break;
            }
          };
          await scheduler.waitFor(Promise.allSettled([run()]));
          ended = true;
          expect(underWay).toBe(0);
          await nextTurn();
          expect(startedLate).toBe(0);
        },
      ),
    );
  });
});

describe('forEachBounded', () => {
  test('works on every item, and ends when all are done', async () => {
    const done: number[] = [];
    const work = async (item: number): Promise<void> => {
      await nextTurn();
      done.push(item);
    };
    await forEachBounded([3, 1, 2], work, { inFlight: 2 });
    expect(new Set(done)).toEqual(new Set([1, 2, 3]));
    expect(done).toHaveLength(3);
  });

  test('throws the first failure', async () => {
    const { work, finish, fail, started } = steps<number, void>();
    const outcome = Promise.allSettled([forEachBounded([1, 2, 3], work, { inFlight: 1 })]);
    await nextTurn();
    await finish(1, undefined);
    await fail(2, new Error('two'));
    expect(await outcome).toEqual([{ status: 'rejected', reason: new Error('two') }]);
    expect(started).toEqual([1, 2]);
  });
});

describe('chunked', () => {
  test('gives the bytes in order, every chunk but the last full, and only the last called last', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(100), fc.integer({ min: 1, max: 20 }), async (size, chunkSize) => {
        const content = seededRandom(size).bytes(size);
        const { read, memory, lent } = byteSource(content, chunkSize);
        const { values } = await drain(chunked(read, memory));
        const bytes = Buffer.concat(values.map((chunk) => chunk.memory.subarray(0, chunk.length)));
        expect(bytes.equals(content)).toBe(true);
        expect(values.slice(0, -1).every((chunk) => chunk.length === chunkSize && !chunk.isLast)).toBe(true);
        expect(values.at(-1)?.isLast).toBe(true);
        expect(values).toHaveLength(Math.max(1, Math.ceil(size / chunkSize)));
        // What was passed on is the consumer's; everything else was given back.
        expect(lent).toEqual(new Set(values.map((chunk) => chunk.memory)));
      }),
    );
  });

  test('gives one chunk of no bytes for a source of none', async () => {
    const { read, memory } = byteSource(new Uint8Array(0), 4);
    const { values } = await drain(chunked(read, memory));
    expect(values.map(({ length, isLast }) => ({ length, isLast }))).toEqual([{ length: 0, isLast: true }]);
  });

  test('gives back what it holds when the consumer stops early', async () => {
    const { read, memory, lent } = byteSource(new Uint8Array(10), 4);
    for await (const chunk of chunked(read, memory)) {
      memory.giveBack(chunk.memory);
      break;
    }
    expect(lent.size).toBe(0);
  });

  test.each([1, 2, 3])('gives back what it holds when read number %i fails', async (failing) => {
    const { read, memory, lent } = byteSource(new Uint8Array(100), 4);
    let reads = 0;
    const faulty = (target: Uint8Array): Promise<number> => {
      reads += 1;
      return reads === failing ? Promise.reject(new Error('read')) : read(target);
    };
    const { values, error } = await drain(chunked(faulty, memory));
    for (const chunk of values) memory.giveBack(chunk.memory);
    expect([error, lent.size]).toEqual([new Error('read'), 0]);
  });

  test('gives back what it holds when no more memory is lent', async () => {
    const { read, memory, lent } = byteSource(new Uint8Array(100), 4);
    const borrow = (): Promise<Uint8Array> =>
      lent.size === 2 ? Promise.reject(new Error('closed')) : memory.borrow();
    const { values, error } = await drain(chunked(read, { ...memory, borrow }));
    for (const chunk of values) memory.giveBack(chunk.memory);
    expect([error, lent.size]).toEqual([new Error('closed'), 0]);
  });

  test('needs two pieces of memory and no more, if the consumer gives each back', async () => {
    const { read, memory } = byteSource(new Uint8Array(100), 4);
    const lender = new Lender<Uint8Array>(2, () => new Uint8Array(4));
    let chunks = 0;
    const borrowed = {
      ...memory,
      borrow: () => lender.borrow(),
      giveBack: (piece: Uint8Array) => lender.giveBack(piece),
    };
    for await (const chunk of chunked(read, borrowed)) {
      chunks += 1;
      lender.giveBack(chunk.memory);
    }
    expect(chunks).toBe(25);
  });
});

describe('Lender', () => {
  test('makes things when they are needed, and lends one again rather than make another', async () => {
    const lender = numbered(3);
    expect(await lender.borrow()).toBe(1);
    lender.giveBack(1);
    expect(await lender.borrow()).toBe(1);
    expect(await lender.borrow()).toBe(2);
  });

  test('lends each thing to one at a time, and never more than there may be', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.integer({ min: 1, max: 4 }),
        fc.nat(15),
        async (scheduler, most, users) => {
          const lender = numbered(most);
          const inUse = new Set<number>();
          const use = async (): Promise<void> => {
            const thing = await lender.borrow();
            expect(inUse.has(thing)).toBe(false);
            inUse.add(thing);
            expect(inUse.size).toBeLessThanOrEqual(most);
            await scheduler.schedule(Promise.resolve());
            inUse.delete(thing);
            lender.giveBack(thing);
          };
          await scheduler.waitFor(Promise.all(Array.from({ length: users }, use)));
        },
      ),
    );
  });

  test('serves those who wait in the order they came', async () => {
    const lender = numbered(1);
    const thing = await lender.borrow();
    const served: string[] = [];
    const wait = async (name: string): Promise<void> => {
      const own = await lender.borrow();
      served.push(name);
      lender.giveBack(own);
    };
    const all = Promise.all(['first', 'second', 'third'].map(wait));
    lender.giveBack(thing);
    await all;
    expect(served).toEqual(['first', 'second', 'third']);
  });
});

describe('batched', () => {
  test('puts what is asked for in one turn into one batch', async () => {
    const { batches, run, answer } = manualBatches();
    const ask = batched(run, { most: 10, inFlight: 2 });
    const all = Promise.all([ask(1), ask(2), ask(3)]);
    await nextTurn();
    await answer(0);
    expect(await all).toEqual(['answer 1', 'answer 2', 'answer 3']);
    expect(batches.map(({ items }) => items)).toEqual([[1, 2, 3]]);
  });

  test('gathers what comes while batches are under way, up to the most a batch may have', async () => {
    const { batches, run, answer } = manualBatches();
    const ask = batched(run, { most: 3, inFlight: 1 });
    const all = [ask(1)];
    await nextTurn();
    for (const item of [2, 3, 4, 5, 6]) {
      all.push(ask(item));
      await nextTurn();
    }
    expect(batches).toHaveLength(1);
    for (const batch of [0, 1, 2]) await answer(batch);
    await Promise.all(all);
    expect(batches.map(({ items }) => items)).toEqual([[1], [2, 3, 4], [5, 6]]);
  });

  test('has no more batches under way than it may', async () => {
    const { batches, run, answer } = manualBatches();
    const ask = batched(run, { most: 1, inFlight: 2 });
    const all = Promise.all([1, 2, 3, 4].map(ask));
    await nextTurn();
    expect(batches).toHaveLength(2);
    for (const batch of [0, 1, 2, 3]) await answer(batch);
    await all;
  });

  test('answers undefined for an item without an answer', async () => {
    const ask = batched(async () => new Map<number, string>(), { most: 2, inFlight: 1 });
    expect(await ask(1)).toBeUndefined();
  });

  test('begins anew after it has had nothing to do', async () => {
    const { batches, run, answer } = manualBatches();
    const ask = batched(run, { most: 10, inFlight: 1 });
    for (const item of [0, 1]) {
      const asked = ask(item);
      await nextTurn();
      await answer(item);
      expect(await asked).toBe(`answer ${item}`);
    }
    expect(batches.map(({ items }) => items)).toEqual([[0], [1]]);
  });

  test('fails those of a failed batch, and goes on with the next', async () => {
    const { batches, run, answer } = manualBatches();
    const ask = batched(run, { most: 2, inFlight: 1 });
    const outcomes = Promise.allSettled([ask(1), ask(2), ask(3)]);
    await nextTurn();
    batches[0]?.answer.reject(new Error('batch'));
    await nextTurn();
    await answer(1);
    const error = expect.objectContaining({ status: 'rejected', reason: new Error('batch') });
    expect(await outcomes).toEqual([error, error, { status: 'fulfilled', value: 'answer 3' }]);
  });
});

describe('coalesced', () => {
  test('serves however many ask at once with two runs, each begun after they asked', async () => {
    let runs = 0;
    const gates: (() => void)[] = [];
    const commit = coalesced(async () => {
      runs += 1;
      await new Promise<void>((resolve) => {
        gates.push(resolve);
      });
    });
    const served: string[] = [];
    const ask = async (name: string): Promise<void> => {
      await commit();
      served.push(name);
    };
    const all = [ask('first')];
    await vi.waitUntil(() => gates.length === 1);
    expect(runs).toBe(1);
    all.push(ask('second'), ask('third'));
    gates.shift()?.();
    await all[0];
    expect(served).toEqual(['first']);
    await vi.waitUntil(() => gates.length === 1);
    expect(runs).toBe(2);
    // Too late for the run that has begun.
    all.push(ask('fourth'));
    gates.shift()?.();
    await Promise.all(all.slice(0, 3));
    expect(served).toEqual(['first', 'second', 'third']);
    await vi.waitUntil(() => gates.length === 1);
    expect(runs).toBe(3);
    gates.shift()?.();
    await Promise.all(all);
  });

  test('has one run for all who ask in the same turn of the event loop', async () => {
    let runs = 0;
    const ask = coalesced(async () => (runs += 1));
    const afterwards = async (): Promise<number> => {
      await Promise.resolve();
      return ask();
    };
    expect(await Promise.all([ask(), ask(), afterwards()])).toEqual([1, 1, 1]);
    expect(await ask()).toBe(2);
  });

  test('is shared by whoever asks until its turn has come, and begins anew when it did not come', async () => {
    let runs = 0;
    const turns: { readonly come: () => void; readonly refuse: (error: Error) => void }[] = [];
    const commit = coalesced(async () => (runs += 1), {
      inTurn: async (run) => {
        await new Promise<void>((come, refuse) => turns.push({ come, refuse }));
        return await run();
      },
    });
    const first = [commit(), commit()];
    await vi.waitUntil(() => turns.length === 1);
    first.push(commit());
    turns[0]?.come();
    expect(await Promise.all(first)).toEqual([1, 1, 1]);
    const refused = commit();
    await vi.waitUntil(() => turns.length === 2);
    turns[1]?.refuse(new Error('no turn'));
    await expect(refused).rejects.toThrow('no turn');
    const last = commit();
    await vi.waitUntil(() => turns.length === 3);
    turns[2]?.come();
    expect(await last).toBe(2);
  });

  test('is shared while it waits for its turn, also when the run before has ended meanwhile', async () => {
    const turns: (() => void)[] = [];
    const ends: (() => void)[] = [];
    let runs = 0;
    const commit = coalesced(
      async () => {
        runs += 1;
        const run = runs;
        await new Promise<void>((end) => ends.push(end));
        return run;
      },
      {
        inTurn: async (run) => {
          await new Promise<void>((come) => turns.push(come));
          return await run();
        },
      },
    );
    const first = commit();
    await vi.waitUntil(() => turns.length === 1);
    turns[0]?.();
    await vi.waitUntil(() => ends.length === 1);
    const next = [commit()];
    ends[0]?.();
    expect(await first).toBe(1);
    await vi.waitUntil(() => turns.length === 2);
    next.push(commit());
    turns[1]?.();
    await vi.waitUntil(() => ends.length === 2);
    expect(turns).toHaveLength(2);
    ends[1]?.();
    expect(await Promise.all(next)).toEqual([2, 2]);
  });

  test('fails for those whom the failed run was for, and works for those after', async () => {
    let runs = 0;
    const commit = coalesced(async () => {
      runs += 1;
      const run = runs;
      await delay(20);
      if (run <= 2) throw new Error(`run ${run}`);
    });
    const first = commit();
    await nextTurn();
    const outcomes = await Promise.allSettled([first, commit(), commit()]);
    expect(outcomes.map((outcome) => (outcome.status === 'rejected' ? String(outcome.reason) : ''))).toEqual([
      'Error: run 1',
      'Error: run 2',
      'Error: run 2',
    ]);
    await commit();
    expect(runs).toBe(3);
  });

  test('where it joins, is shared by who asks while it is under way, unless nobody waits for it any more', async () => {
    const { work, signals, finish } = steps<number, string>();
    let runs = 0;
    const ask = coalesced((signal) => work((runs += 1), signal), { joins: true });
    const hasty = new AbortController();
    const first = ask(hasty.signal);
    await nextTurn();
    const second = ask();
    await nextTurn();
    await finish(1, 'shared');
    expect(await Promise.all([first, second])).toEqual(['shared', 'shared']);
    const left = ask(hasty.signal);
    const leaving = Promise.allSettled([left]);
    await nextTurn();
    hasty.abort();
    await nextTurn();
    expect(signals.get(2)?.aborted).toBe(true);
    const late = ask();
    await finish(2, 'nobody');
    expect(await leaving).toMatchObject([{ status: 'rejected', reason: { code: 'interrupted' } }]);
    await nextTurn();
    await nextTurn();
    await finish(3, 'of its own');
    expect(await late).toBe('of its own');
    expect(runs).toBe(3);
  });

  test('goes on for the others when one asker is interrupted, who does not wait for it', async () => {
    const { work, signals, finish } = steps<number, string>();
    let runs = 0;
    const ask = coalesced((signal) => work((runs += 1), signal));
    const [patient, hasty] = [new AbortController(), new AbortController()];
    const asked = [ask(patient.signal)];
    const left = [ask(hasty.signal)];
    await nextTurn();
    asked.push(ask(patient.signal));
    left.push(ask(hasty.signal));
    await nextTurn();
    hasty.abort();
    for (const one of left) await expect(one).rejects.toMatchObject({ code: 'interrupted' });
    await finish(1, 'first');
    await nextTurn();
    expect([1, 2].map((run) => signals.get(run)?.aborted)).toEqual([false, false]);
    await finish(2, 'second');
    expect(await Promise.all(asked)).toEqual(['first', 'second']);
    expect(getEventListeners(hasty.signal, 'abort')).toEqual([]);
    await expect(ask(hasty.signal)).rejects.toMatchObject({ code: 'interrupted' });
    expect(runs).toBe(2);
  });

  test('aborts a run that nobody waits for any more, and its last asker waits for the end of it', async () => {
    const { work, signals, finish } = steps<number, string>();
    let runs = 0;
    const ask = coalesced((signal) => work((runs += 1), signal));
    const abort = new AbortController();
    let settled = 0;
    const asked = [ask(abort.signal)];
    void asked[0]?.catch(() => (settled += 1));
    await nextTurn();
    asked.push(ask(abort.signal), ask(abort.signal));
    const outcomes = Promise.allSettled(asked);
    abort.abort();
    await nextTurn();
    expect(signals.get(1)?.aborted).toBe(true);
    expect(settled).toBe(0);
    await finish(1, 'too late');
    for (const outcome of await outcomes)
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'interrupted' } });
    // What waited for its turn behind it never began.
    expect(runs).toBe(1);
    const next = ask();
    await nextTurn();
    await finish(2, 'anew');
    expect(await next).toBe('anew');
  });
});

describe('gather', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const CANDIDATES = ['a', 'b', 'c', 'd'];

  test('asks no more candidates than answers are needed, the preferred ones first', async () => {
    const { work, started, finish } = steps<string, object | null>();
    const answers = gather(CANDIDATES, work, { need: 2, hedgeMs: 1000 });
    await nextTurn();
    expect(started).toEqual(['a', 'b']);
    await finish('b', { from: 'b' });
    await finish('a', { from: 'a' });
    expect(await answers).toEqual([{ from: 'b' }, { from: 'a' }]);
    expect(started).toEqual(['a', 'b']);
  });

  test('asks one more for each candidate that has no answer', async () => {
    const { work, started, finish } = steps<string, object | null>();
    const answers = gather(CANDIDATES, work, { need: 2, hedgeMs: 1000 });
    await finish('a', null);
    expect(started).toEqual(['a', 'b', 'c']);
    await finish('c', { from: 'c' });
    await finish('b', { from: 'b' });
    expect(await answers).toHaveLength(2);
  });

  test('gives fewer answers than needed when the candidates have run out', async () => {
    const answers = gather(CANDIDATES, async (candidate) => (candidate === 'c' ? { candidate } : null), {
      need: 2,
      hedgeMs: 1000,
    });
    expect(await answers).toEqual([{ candidate: 'c' }]);
    expect(await gather([], async () => null, { need: 2, hedgeMs: 1000 })).toEqual([]);
    expect(await gather(CANDIDATES, async () => null, { need: 0, hedgeMs: 1000 })).toEqual([]);
  });

  test('asks one more whenever those asked take long, and aborts the slow ones in the end', async () => {
    const { work, started, finish, signals } = steps<string, object | null>();
    const answers = gather(CANDIDATES, work, { need: 1, hedgeMs: 1000 });
    vi.advanceTimersByTime(999);
    expect(started).toEqual(['a']);
    vi.advanceTimersByTime(1);
    expect(started).toEqual(['a', 'b']);
    await finish('b', { from: 'b' });
    expect(await answers).toEqual([{ from: 'b' }]);
    expect(signals.get('a')?.aborted).toBe(true);
    vi.advanceTimersByTime(10_000);
    expect(started).toEqual(['a', 'b']);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('tells once of each candidate that has been asked for long, and of none that has not', async () => {
    const { work, started, finish } = steps<string, object | null>();
    const slow: string[] = [];
    const onSlow = (candidate: string): void => void slow.push(candidate);
    const answers = gather(['a', 'b', 'c'], work, { need: 2, hedgeMs: 1000, onSlow });
    vi.advanceTimersByTime(500);
    await finish('a', null);
    expect(started).toEqual(['a', 'b', 'c']);
    vi.advanceTimersByTime(500);
    expect(slow).toEqual(['b']);
    vi.advanceTimersByTime(1000);
    expect(slow).toEqual(['b', 'c']);
    vi.advanceTimersByTime(10_000);
    expect(slow).toEqual(['b', 'c']);
    // Nobody is left to be asked instead.
    expect(started).toEqual(['a', 'b', 'c']);
    await Promise.all(['b', 'c'].map((candidate) => finish(candidate, { candidate })));
    expect(await answers).toHaveLength(2);
  });

  test('gives no more answers than are needed, though a hedge brought more', async () => {
    const { work, finish } = steps<string, object | null>();
    const answers = gather(CANDIDATES, work, { need: 2, hedgeMs: 1000 });
    vi.advanceTimersByTime(1000);
    await Promise.all(['a', 'b', 'c'].map((candidate) => finish(candidate, { candidate })));
    expect(await answers).toHaveLength(2);
  });

  test('throws what a candidate threw, aborts the others and asks nobody else', async () => {
    const { work, started, finish, fail, signals } = steps<string, object | null>();
    const answers = gather(CANDIDATES, work, { need: 2, hedgeMs: 1000 });
    const outcome = Promise.allSettled([answers]);
    await fail('a', new Error('a fails'));
    expect(await outcome).toEqual([{ status: 'rejected', reason: new Error('a fails') }]);
    expect(signals.get('b')?.aborted).toBe(true);
    await finish('b', null);
    vi.advanceTimersByTime(10_000);
    expect(started).toEqual(['a', 'b']);
  });

  test("is interrupted by the caller's signal, and asks nobody else", async () => {
    const controller = new AbortController();
    const { work, started, finish, signals } = steps<string, object | null>();
    const answers = gather(CANDIDATES, work, { need: 2, hedgeMs: 1000, signal: controller.signal });
    const outcome = Promise.allSettled([answers]);
    controller.abort(new Error('why'));
    const reason = expect.objectContaining({ code: 'interrupted', cause: new Error('why') });
    expect(await outcome).toEqual([{ status: 'rejected', reason }]);
    expect(signals.get('a')?.aborted).toBe(true);
    await finish('a', null);
    await finish('b', null);
    expect(started).toEqual(['a', 'b']);
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  });

  test('asks nobody when the signal was aborted before', async () => {
    const { work, started } = steps<string, object | null>();
    const options = { need: 2, hedgeMs: 1000, signal: AbortSignal.abort() };
    await expect(gather(CANDIDATES, work, options)).rejects.toEqual(interrupted);
    expect(started).toEqual([]);
  });
});

describe('settleAll', () => {
  test('gives all results in order, once all are there', async () => {
    const [first, second] = [Promise.withResolvers<number>(), Promise.withResolvers<number>()];
    const all = settleAll([first.promise, second.promise]);
    second.resolve(2);
    expect(await Promise.race([all, nextTurn('still waiting')])).toBe('still waiting');
    first.resolve(1);
    expect(await all).toEqual([1, 2]);
  });

  test('throws what failed, and not before all have settled', async () => {
    const last = Promise.withResolvers<number>();
    const outcome = Promise.allSettled([settleAll([Promise.reject(new Error('fails')), last.promise])]);
    expect(await Promise.race([outcome, nextTurn('still waiting')])).toBe('still waiting');
    last.resolve(1);
    expect(await outcome).toEqual([{ status: 'rejected', reason: new Error('fails') }]);
  });
});

describe('untilAborted', () => {
  test('gives what the work gives, with a signal or without', async () => {
    const { signal } = new AbortController();
    expect(await untilAborted(nextTurn('done'), signal)).toBe('done');
    expect(await untilAborted(nextTurn('done'), undefined)).toBe('done');
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('throws what the work throws', async () => {
    const { signal } = new AbortController();
    await expect(untilAborted(Promise.reject(new Error('work')), signal)).rejects.toThrow('work');
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test.each(['before', 'meanwhile'])('does not wait for work that never ends, aborted %s', async (when) => {
    const controller = new AbortController();
    const cause = new Error('why');
    if (when === 'before') controller.abort(cause);
    const outcome = Promise.allSettled([untilAborted(new Promise(() => undefined), controller.signal)]);
    controller.abort(cause);
    const reason = expect.objectContaining({ code: 'interrupted', cause });
    expect(await outcome).toEqual([{ status: 'rejected', reason }]);
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  });
});

/** Work that takes an amount and lasts until the test ends it. */
function spending(budget: Budget) {
  const started: string[] = [];
  const ends = new Map<string, (error?: Error) => void>();
  const spend = (name: string, amount: number): Promise<void> =>
    budget.spend(amount, async () => {
      started.push(name);
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      ends.set(name, (error) => {
        if (error === undefined) resolve();
        else reject(error);
      });
      await promise;
    });
  const end = async (name: string, error?: Error): Promise<void> => {
    ends.get(name)?.(error);
    await nextTurn();
  };
  return { started, spend, end };
}

describe('Budget', () => {
  test('starts work as long as there is enough left, first come first served', async () => {
    const { started, spend, end } = spending(new Budget(10));
    const work = [spend('a', 4), spend('b', 6), spend('c', 5), spend('d', 1)];
    await nextTurn();
    expect(started).toEqual(['a', 'b']);
    await end('a');
    // There would be enough for d, but c was first.
    expect(started).toEqual(['a', 'b']);
    await end('b');
    expect(started).toEqual(['a', 'b', 'c', 'd']);
    await end('c');
    await end('d');
    await Promise.all(work);
  });

  test('gives what takes more than there is its turn alone', async () => {
    const { started, spend, end } = spending(new Budget(10));
    const work = [spend('small', 1), spend('huge', 11), spend('next', 1)];
    await nextTurn();
    expect(started).toEqual(['small']);
    await end('small');
    expect(started).toEqual(['small', 'huge']);
    await end('huge');
    expect(started).toEqual(['small', 'huge', 'next']);
    await end('next');
    await Promise.all(work);
  });

  test('keeps no place for who gives up, and lets those behind it begin', async () => {
    const budget = new Budget(10);
    const { started, spend, end } = spending(budget);
    const leaving = new AbortController();
    const work = [spend('a', 6)];
    const left = budget.spend(8, () => Promise.reject(new Error('begun')), leaving.signal);
    work.push(spend('b', 4));
    expect(budget.isWanted).toBe(true);
    leaving.abort();
    await expect(left).rejects.toMatchObject({ code: 'interrupted' });
    expect([started, budget.isWanted]).toEqual([['a', 'b'], false]);
    await end('a');
    await end('b');
    await Promise.all(work);
    const late = budget.spend(1, () => Promise.reject(new Error('begun')), leaving.signal);
    await expect(late).rejects.toMatchObject({ code: 'interrupted' });
  });

  test('gets back what failed work took', async () => {
    const { started, spend, end } = spending(new Budget(10));
    const failing = Promise.allSettled([spend('a', 10)]);
    const next = spend('b', 10);
    await end('a', new Error('a fails'));
    expect(await failing).toMatchObject([{ status: 'rejected' }]);
    expect(started).toEqual(['a', 'b']);
    await end('b');
    await next;
  });
});
