/** Taking a place in as a bucket while somebody takes it away, or takes it in as well: whoever comes when, one of the two holds. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import { decodeMarker } from '../../src/format/marker.ts';
import { CLOCK_NAME } from '../../src/format/removal.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { CHUNK_SIZE, getBytes, putBytes } from './harness.ts';
import type { TestBucket } from './harness.ts';
import { emptyPlace, present, stage } from './scene.ts';
import type { Step } from '../support/steps.ts';
import type { Scene, SceneHandle, Stage } from './scene.ts';

const BIG = randomBytes(2 * CHUNK_SIZE + 500);

let ready: Stage;

beforeAll(async () => {
  ready = await stage({ buckets: 2, redundancy: { k: 1, m: 1 } }, async ({ vault }) => {
    await putBytes(vault, BIG, { name: 'big' });
  });
});

afterAll(() => ready[Symbol.asyncDispose]());

/** A vault of two buckets, and a third place that is none yet. */
async function begin(): Promise<{ scene: Scene; place: TestBucket } & AsyncDisposable> {
  const scene = await ready.scene();
  const place = emptyPlace('memory:3');
  scene.buckets.push(place);
  return { scene, place, [Symbol.asyncDispose]: () => scene[Symbol.asyncDispose]() };
}

type Work = (vault: Vault) => Promise<unknown>;
const add: Work = (vault) => vault.addBucket('memory:3');
const take: Work = (vault) => vault.removeBucket('memory:3', { waitMs: 0 });

/** @returns null if it was done, else the error with which it was refused */
async function tried(work: Promise<unknown>): Promise<VaultError | null> {
  return work.then(
    () => null,
    (error: unknown) => {
      if (error instanceof VaultError) return error;
      throw error;
    },
  );
}

interface Race {
  /** Before which step of the first one the other is done in full, of those that count. */
  readonly nth: number;
  readonly counts?: (step: Step) => boolean;
  /** What the first one's buckets refuse. */
  readonly fails?: (step: Step) => boolean;
  readonly one: Work;
  readonly other: Work;
}

async function race(scene: Scene, { nth, counts = () => true, fails = () => false, one, other }: Race) {
  const beside = await scene.open();
  let outcome: VaultError | null | undefined;
  let seen = 0;
  const handle = await scene.open({
    async around(step, proceed) {
      if (counts(step)) seen += 1;
      if (counts(step) && seen === nth) {
        outcome = await tried(other(beside.vault));
        await beside.session.guard.end();
      }
      if (fails(step)) throw new VaultError('denied', 'The test denies it.');
      await proceed();
    },
  });
  const result = await tried(one(handle.vault));
  await handle.session.guard.end();
  return { reached: outcome !== undefined, one: result, other: outcome ?? null };
}

/** The place is a bucket, marked and with the keyring, or none, and can be taken in. @returns which */
async function expectEither(scene: Scene, place: TestBucket): Promise<boolean> {
  const handle = await scene.open();
  const { vault } = handle;
  const known = vault.buckets.find(({ url }) => url === place.url);
  if (known === undefined) await add(vault);
  const { id } = present(vault.buckets.find(({ url }) => url === place.url));
  expect(decodeMarker(present(place.storage.get('vault.json'))).bucketId).toBe(id);
  await expectWhole(handle);
  return known !== undefined;
}

async function expectWhole({ vault, session }: SceneHandle): Promise<void> {
  expect(await vault.repair({ depth: 'data' })).toMatchObject({ outcome: 'whole' });
  await session.guard.end();
  expect((await vault.bucketReport()).map(({ error }) => error)).toEqual([null, null, null]);
  expect(await getBytes(vault, 'big')).toEqual(BIG);
}

describe('A bucket that is added', () => {
  test('is one, or is refused, if it is removed at the same moment', async () => {
    let reached = true;
    const added: boolean[] = [];
    const wrong: number[] = [];
    for (let nth = 1; reached; nth += 1) {
      await using begun = await begin();
      const outcome = await race(begun.scene, { nth, one: add, other: take });
      reached = outcome.reached;
      const isIn = await expectEither(begun.scene, begun.place);
      // Who is told that it was added has it, unless the removal came after.
      if (outcome.one !== null && isIn) wrong.push(nth);
      added.push(isIn);
    }
    expect(wrong).toEqual([]);
    expect(added.filter((isIn) => isIn).length).toBeGreaterThan(added.length / 2);
  }, 120_000);

  test('is one if what was left of it there is removed at the same moment', async () => {
    const wrong: number[] = [];
    for (const leaves of [1, 5]) {
      let reached = true;
      for (let nth = 1; reached; nth += 1) {
        await using begun = await begin();
        const { scene, place } = begun;
        const first = await scene.open();
        await add(first.vault);
        const left = new Map(place.storage);
        await take(first.vault);
        // What a removal that was cut short leaves: its marker, and the keyring before it.
        for (const [name, bytes] of [...left].slice(0, leaves))
          if (name === 'vault.json' || name.startsWith('keyring/')) place.storage.set(name, bytes);
        const outcome = await race(scene, { nth, one: take, other: add });
        reached = outcome.reached;
        const isIn = await expectEither(scene, place);
        if (outcome.one !== null && outcome.other === null && !isIn) wrong.push(nth);
      }
    }
    expect(wrong).toEqual([]);
  }, 120_000);

  test('is one if others add the same place at the same moment, and one of them is refused', async () => {
    const wrong: number[] = [];
    for (const fails of [() => false, ({ call, name }: Step) => call === 'put' && name === CLOCK_NAME]) {
      let reached = true;
      for (let nth = 1; reached; nth += 1) {
        await using begun = await begin();
        const { scene, place } = begun;
        const outcome = await race(scene, { nth, fails, one: add, other: add });
        reached = outcome.reached;
        const isIn = await expectEither(scene, place);
        if (reached && !isIn) wrong.push(nth);
      }
    }
    expect(wrong).toEqual([]);
  }, 120_000);
});

test('A removal that is slow takes nothing of what is stored in the place once it is a bucket again', async () => {
  let reached = true;
  const repaired: { readonly shardsStored: number }[] = [];
  for (let nth = 1; reached; nth += 1) {
    await using begun = await begin();
    const { scene } = begun;
    const first = await scene.open();
    await add(first.vault);
    await putBytes(first.vault, randomBytes(CHUNK_SIZE), { name: 'more' });
    await first.session.guard.end();
    const bytes = randomBytes(CHUNK_SIZE);
    const outcome = await race(scene, {
      nth,
      // When the keyring names it no more.
      counts: ({ where, call }) => where === 'memory:3' && (call === 'remove' || call === 'list'),
      one: take,
      other: async (vault) => {
        await take(vault);
        await add(vault);
        await vault.repair({ redundancy: { k: 1, m: 2 } });
        await putBytes(vault, bytes, { name: 'new' });
      },
    });
    reached = outcome.reached;
    if (!reached || outcome.other !== null) continue;
    const after = await scene.open();
    const isIn = after.vault.buckets.some(({ url }) => url === 'memory:3');
    // All three shards are there, none of which was made anew.
    if (isIn) repaired.push(await after.vault.repair());
    expect(await getBytes(after.vault, 'new')).toEqual(bytes);
  }
  expect(repaired.length).toBeGreaterThan(3);
  expect(repaired.filter(({ shardsStored }) => shardsStored > 0)).toEqual([]);
}, 120_000);
