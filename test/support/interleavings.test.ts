import { describe, expect, test } from 'vitest';
import { explore } from './interleavings.ts';
import type { Exploration } from './interleavings.ts';
import { MoreThanAnswers } from './remembered-actor.ts';
import type { Program } from './remembered-actor.ts';
import { Snapshots } from './snapshots.ts';

const NUMBER = 'number';

/** Reads a number and stores one more. */
const adder = (name: string, looksBefore: readonly string[] = []): Program => ({
  name,
  async play(link) {
    const bucket = link.bucket('b');
    for (const other of looksBefore) await Array.fromAsync(bucket.list(other));
    const [number = 0] = await bucket.get(NUMBER);
    await bucket.put(NUMBER, Uint8Array.of(number + 1), { replace: true });
  },
});

async function exploreAll(
  programs: readonly Program[],
  reduces: boolean,
): Promise<{ readonly found: Exploration; readonly numbers: ReadonlySet<number> }> {
  const snapshots = new Snapshots();
  const numbers = new Set<number>();
  const objects = new Map([[NUMBER, Uint8Array.of(0)]]);
  const found = await explore({
    programs,
    snapshots,
    start: { snapshot: snapshots.of(new Map([['b', objects]])), nowMs: 0, promised: '' },
    waitsFor: 'none/',
    reduces,
    async wrong({ snapshot }) {
      numbers.add(snapshot.storages.get('b')?.get(NUMBER)?.[0] ?? -1);
      return null;
    },
  });
  return { found, numbers };
}

describe('All orders', () => {
  test('show what two make of one object at once, and each step is made once', async () => {
    const { found, numbers } = await exploreAll([adder('A'), adder('B')], true);
    expect(numbers).toEqual(new Set([0, 1, 2]));
    expect(found).toMatchObject({ complete: true, failure: null });
    // Each reads 0 or 1, and stores one more.
    expect(found.steps).toBe(8);
  });

  test('come to the same where readings that nobody disturbs go first', async () => {
    const programs = [adder('A', ['x/', 'y/', 'z/']), adder('B', ['x/', 'y/']), adder('C', ['x/'])];
    const [all, reduced] = [await exploreAll(programs, false), await exploreAll(programs, true)];
    expect(reduced.numbers).toEqual(all.numbers);
    expect(reduced.numbers).toEqual(new Set([0, 1, 2, 3]));
    expect(reduced.found.outcomes).toBe(all.found.outcomes);
    expect(reduced.found.ends).toBe(all.found.ends);
    expect(reduced.found.states).toBeLessThan(all.found.states / 2);
  });

  test('are of programs that go by their answers: another is noticed', async () => {
    let runs = 0;
    const fickle: Program = {
      name: 'F',
      async play(link) {
        runs += 1;
        const bucket = link.bucket('b');
        if (runs > 1) await bucket.remove('other');
        await bucket.get(NUMBER);
        await bucket.put('other', Uint8Array.of(0));
      },
    };
    await expect(exploreAll([fickle, adder('A')], true)).rejects.toThrow(MoreThanAnswers);
  });
});
