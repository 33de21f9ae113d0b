/** Random operations, with buckets going down and coming back, against a model that is a plain list of files. */
import { strict as assert } from 'node:assert';
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { always, faulty } from '../support/faulty-bucket.ts';
import { isVaultError } from '../../src/errors.ts';
import { seededRandom } from '../support/seeded-random.ts';
import type { SeededRandom } from '../support/seeded-random.ts';
import { all, CHUNK_SIZE, discrepancies, getBytes, putBytes, snapshotOf, testVault } from './harness.ts';
import type { Handle, Snapshot, TestVault, VaultCopy } from './harness.ts';

const random = seededRandom(37);
const BLOCKS = Array.from({ length: 4 }, () => random.bytes(CHUNK_SIZE));
const NAMES = ['a', 'b', 'c'];

/** A content made of blocks that others share, and an end. */
interface Content {
  readonly blocks: readonly number[];
  readonly end: number;
}

type Operation =
  | {
      readonly kind: 'put';
      readonly name: string;
      readonly content: Content;
      readonly livesMs: number | null;
    }
  | {
      readonly kind: 'put at once';
      readonly content: Content;
      readonly other: Content;
      readonly remove: string;
    }
  | { readonly kind: 'get' | 'remove'; readonly name: string }
  | { readonly kind: 'list' | 'sweep' | 'reopen' }
  | { readonly kind: 'down'; readonly bucket: number | null }
  | { readonly kind: 'wait'; readonly delayMs: number };

const contents = fc.record({
  blocks: fc.array(fc.nat({ max: BLOCKS.length - 1 }), { maxLength: 3 }),
  end: fc.constantFrom(0, 1, 300, 5000),
});
const name = fc.constantFrom(...NAMES);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('put' as const),
      name,
      content: contents,
      livesMs: fc.option(fc.constantFrom(10, 1000), { nil: null, freq: 4 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('put at once' as const),
      content: contents,
      other: contents,
      remove: name,
    }),
  },
  { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom('get' as const, 'remove' as const), name }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constantFrom('list' as const, 'sweep' as const, 'reopen' as const) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('down' as const),
      bucket: fc.option(fc.nat({ max: 3 }), { nil: null }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('wait' as const), delayMs: fc.constantFrom(5, 500, 2000) }),
  },
);

function bytesOf({ blocks, end }: Content): Buffer {
  return Buffer.concat([...blocks.flatMap((i) => BLOCKS[i] ?? []), Buffer.alloc(end, 7)]);
}

interface ModelFile {
  readonly hash: string;
  readonly name: string;
  readonly bytes: Buffer;
  readonly expiresAtMs: number | null;
}

/** A vault beside its model. */
interface World {
  readonly copy: VaultCopy;
  handle: Handle;
  nowMs: number;
  /** What the vault must hold, oldest first. */
  files: ModelFile[];
}

async function open(world: Omit<World, 'handle'>): Promise<Handle> {
  return world.copy.open({ now: () => world.nowMs });
}

function newest(world: World, wanted: string): ModelFile | undefined {
  return world.files.findLast((file) => file.name === wanted);
}

async function put(world: World, wanted: string, bytes: Buffer, livesMs: number | null): Promise<void> {
  const expiresAtMs = livesMs === null ? null : world.nowMs + livesMs;
  const before = newest(world, wanted);
  const { hash, unchanged, degraded } = await putBytes(world.handle.vault, bytes, {
    name: wanted,
    expiresAtMs,
  });
  const isSame = before?.bytes.equals(bytes) === true && before.expiresAtMs === expiresAtMs;
  // Three of the four buckets are always there.
  assert.deepEqual(
    { degraded, unchanged, isSame: hash === before?.hash },
    { degraded: false, unchanged: isSame, isSame },
  );
  if (!isSame) world.files.push({ hash, name: wanted, bytes, expiresAtMs });
}

/** Two puts that may share content, by two handles, beside the removal of something that may share it too. */
async function putAtOnce(world: World, given: readonly [Buffer, Buffer], doomed: string): Promise<void> {
  const { vault } = world.handle;
  const removed = newest(world, doomed);
  const [one, other] = await Promise.all([
    putBytes(vault, given[0], { name: 'one' }),
    putBytes((await open(world)).vault, given[1], { name: 'other' }),
    removed === undefined ? null : vault.remove([removed.hash]),
  ]);
  world.files = world.files.filter(({ hash }) => hash !== removed?.hash);
  for (const [i, { hash, name: stored, expiresAtMs, unchanged }] of [one, other].entries()) {
    const file = { hash, name: stored, bytes: given[i] ?? Buffer.alloc(0), expiresAtMs };
    if (!unchanged) world.files.push(file);
    assert.deepEqual(newest(world, stored), file);
  }
  // Which of them is the newer one is for the catalog to say.
  const order = (await all(vault.list({ all: true }))).map(({ hash }) => hash);
  world.files = world.files.toSorted((a, b) => order.indexOf(b.hash) - order.indexOf(a.hash));
}

async function get(world: World, wanted: string): Promise<void> {
  const file = newest(world, wanted);
  const reading = getBytes(world.handle.vault, wanted);
  if (file === undefined) await assert.rejects(reading, { code: 'file-not-found' });
  else assert.ok((await reading).equals(file.bytes));
}

async function remove(world: World, wanted: string): Promise<void> {
  const file = newest(world, wanted);
  const removing = world.handle.vault.remove([wanted]);
  if (file === undefined) return assert.rejects(removing, { code: 'file-not-found' });
  const { removed } = await removing;
  assert.deepEqual(
    removed.map(({ hash }) => hash),
    [file.hash],
  );
  world.files = world.files.filter((other) => other !== file);
}

async function list(world: World): Promise<void> {
  const { vault } = world.handle;
  const newestFirst = world.files.toReversed();
  const isNewest = (file: ModelFile): boolean => newest(world, file.name) === file;
  assert.deepEqual(hashesOf(await all(vault.list({ all: true }))), hashesOf(newestFirst));
  assert.deepEqual(hashesOf(await all(vault.list())), hashesOf(newestFirst.filter(isNewest)));
}

async function sweep(world: World): Promise<void> {
  const { nowMs, files, handle } = world;
  const expired = files.filter(({ expiresAtMs }) => expiresAtMs !== null && expiresAtMs <= nowMs);
  const result = await handle.vault.sweep({ strayGraceMs: 0 });
  assert.deepEqual(
    { expired: hashesOf(result.expired).toSorted(), unknownFiles: result.unknownFiles },
    { expired: hashesOf(expired).toSorted(), unknownFiles: [] },
  );
  world.files = files.filter((file) => !expired.includes(file));
}

function hashesOf(files: readonly { readonly hash: string }[]): string[] {
  return files.map(({ hash }) => hash);
}

function setDown({ copy }: World, down: number | null): void {
  for (const [i, bucket] of copy.buckets.entries()) {
    bucket.wrap = (plain) => (i === down ? faulty(plain, always('unavailable')) : plain);
  }
}

async function apply(world: World, step: Operation): Promise<void> {
  switch (step.kind) {
    case 'put':
      return put(world, step.name, bytesOf(step.content), step.livesMs);
    case 'put at once':
      return putAtOnce(world, [bytesOf(step.content), bytesOf(step.other)], step.remove);
    case 'get':
      return get(world, step.name);
    case 'remove':
      return remove(world, step.name);
    case 'list':
      return list(world);
    case 'sweep':
      return sweep(world);
    case 'reopen':
      world.handle = await open(world);
      return;
    case 'down':
      return setDown(world, step.bucket);
    case 'wait':
      world.nowMs += step.delayMs;
  }
}

let made: TestVault;
let start: Snapshot;
beforeAll(async () => {
  made = await testVault({ buckets: 4, redundancy: { k: 2, m: 1 } });
  start = await snapshotOf(made);
});
afterAll(async () => {
  await made[Symbol.asyncDispose]();
});

test('Whatever is done, and whichever bucket is away meanwhile, the vault holds what it should', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 5, maxLength: 30 }), async (steps) => {
      await using copy = await start.copy();
      const beginning = { copy, nowMs: 1_000_000, files: [] };
      const world: World = { ...beginning, handle: await copy.open({ now: () => world.nowMs }) };
      for (const step of steps) await apply(world, step);

      setDown(world, null);
      await sweep(world);
      await list(world);
      for (const { hash, bytes } of world.files) {
        expect((await getBytes(world.handle.vault, hash)).equals(bytes)).toBe(true);
      }
      expect(await discrepancies(world.handle.catalog, copy.buckets)).toEqual([]);
    }),
    { numRuns: 25, endOnFailure: false },
  );
});

test('However puts, removals and sweeps of several processes mingle, what was stored and not removed is there', async () => {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const chance = seededRandom(seed);
    await using copy = await start.copy();
    const stored = new Map<string, Buffer>();
    const removed = new Set<string>();
    // Two of the processes count as gone, so that sweeps take their puts for dead while they run.
    const processes = ['one', 'two', 'gone-three', 'gone-four'];
    await Promise.all(
      processes.map(async (self) => {
        const { vault } = await copy.open({ self, around: (_, proceed) => hesitant(chance, proceed) });
        for (let i = 0; i < 8; i += 1) {
          const action = chance.below(10);
          const blocks = Array.from({ length: chance.below(3) }, () => chance.below(BLOCKS.length));
          const bytes = bytesOf({ blocks, end: chance.below(2) * 100 });
          if (action < 6) {
            const { hash } = await putBytes(vault, bytes, { name: chance.pick(NAMES) }).catch(onlyStale);
            if (hash !== null) stored.set(hash, bytes);
          } else if (action < 8 && stored.size > 0) {
            const doomed = chance.pick([...stored.keys()]);
            removed.add(doomed);
            await vault.remove([doomed]).catch((error: unknown) => {
              assert.ok(isVaultError(error, 'file-not-found'), String(error));
            });
          } else {
            await vault.sweep({ strayGraceMs: 0 });
          }
        }
      }),
    );
    const { vault, catalog } = await copy.open();
    for (const { hash } of await all(vault.list({ all: true }))) {
      const bytes = stored.get(hash);
      if (bytes === undefined) continue;
      assert.ok((await getBytes(vault, hash)).equals(bytes), `seed ${seed}`);
      stored.delete(hash);
    }
    assert.deepEqual(
      { seed, lost: [...stored.keys()].filter((hash) => !removed.has(hash)) },
      { seed, lost: [] },
    );
    await vault.sweep({ strayGraceMs: 0 });
    expect(await discrepancies(catalog, copy.buckets)).toEqual([]);
  }
});

/** How many mingled runs. */
const SEEDS = 6;

/** Lets others go first for a random number of turns. */
async function hesitant(chance: SeededRandom, proceed: () => Promise<void>): Promise<void> {
  for (let turns = chance.below(4); turns > 0; turns -= 1)
    await new Promise((resolve) => setImmediate(resolve));
  await proceed();
}

/** A put that was taken for dead each time it began again. */
function onlyStale(error: unknown): { readonly hash: null } {
  assert.ok(isVaultError(error, 'stale'), String(error));
  return { hash: null };
}
