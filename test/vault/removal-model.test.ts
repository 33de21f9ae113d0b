/**
 * The removal protocol as it is written, in every order of its calls of the buckets: real vaults, one chunk, and at every state that
 * is come to also the case that everybody dies there. Worlds that begin with a prelude have some of their calls in a fixed order;
 * after it, every order is tried. Of larger worlds those orders are tried in which an actor that could go on is left for another
 * at most so many times (`SIZES`); `npm run model` tries every order of them, too, but for one. A listing counts as one call, though it may take pages.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { THOROUGH } from '../support/catalog-place.ts';
import { puppetTheatre } from '../support/puppets.ts';
import { BROKEN, PLAYS, STARTS } from './removal-plays.ts';
import type { Play } from './removal-plays.ts';
import { exploreRemovals, HOUR_MS } from './removal-world.ts';
import type { Beginning } from './removal-world.ts';

let theatre: Disposable;
const begun = new Map<string, Beginning>();

beforeAll(async () => {
  theatre = puppetTheatre();
  for (const [name, begin] of Object.entries(STARTS)) begun.set(name, await begin());
}, 120_000);
afterAll(async () => {
  theatre[Symbol.dispose]();
  for (const start of begun.values()) await start[Symbol.asyncDispose]();
});

function startOf({ start }: Play): Beginning {
  const found = begun.get(start);
  if (found === undefined) throw new Error(start);
  return found;
}

/** How often an actor is left that could go on, in the large worlds. */
const SWITCHES = Number(process.env['MODEL_SWITCHES'] ?? 1);
/** How often in worlds of each size. */
const SIZES = { medium: THOROUGH || SWITCHES > 2 ? Infinity : 2, large: SWITCHES, endless: 1 } as const;
const TIMEOUT_MS = SWITCHES > 2 ? 24 * HOUR_MS : 300_000;

describe('Whatever the order, and whoever dies, an acknowledged file stays readable and nothing is left over', () => {
  test.for(PLAYS)('$title', { timeout: TIMEOUT_MS }, async (play) => {
    const { actors, prelude, size } = play;
    const switches = size === undefined ? Infinity : SIZES[size];
    const found = await exploreRemovals(startOf(play), actors, { prelude, switches });
    expect(found.failure).toBeNull();
    expect(found.complete).toBe(true);
  });
});

test('Readings that go first, since nobody can disturb them, leave out no state of the buckets', async () => {
  for (const play of PLAYS.slice(0, 2)) {
    const { actors, prelude } = play;
    const [all, reduced] = [false, true].map((reduces) =>
      exploreRemovals(startOf(play), actors, { prelude, reduces }),
    );
    const { outcomes, ends, complete } = (await all) ?? {};
    expect(complete).toBe(true);
    expect(await reduced).toMatchObject({ outcomes, ends, complete });
  }
}, 300_000);

describe('What would break the promise is found', () => {
  test.for(BROKEN)('$title', { timeout: 300_000 }, async (play) => {
    const { actors, prelude } = play;
    const found = await exploreRemovals(startOf(play), actors, { prelude });
    expect(found.failure?.wrong).toMatch(/is gone\.|cannot be read/);
  });
});
