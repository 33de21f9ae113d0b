/** Several that store the same vault anew at once, with one catalog or each with its own: nothing is lost, and in the end nothing is twice. */
import { randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { CUT_STRIDE, THOROUGH } from '../support/catalog-place.ts';
import { seededRandom } from '../support/seeded-random.ts';
import type { Around } from '../support/steps.ts';
import { all, CHEAP_KDF, getBytes, putBytes } from './harness.ts';
import { stage } from './scene.ts';
import type { Scene, Stage } from './scene.ts';

const NEXT = { secret: 'what opens it from now on', kdfCost: CHEAP_KDF };
const LOCK = { password: 'a word of its own', cost: CHEAP_KDF };
const BYTES = { small: randomBytes(500), large: randomBytes(150_000), locked: randomBytes(100) };
const NAMES = ['large', 'locked', 'small'];

let rotated: Stage;

beforeAll(async () => {
  rotated = await stage({}, async ({ vault }) => {
    await putBytes(vault, BYTES.small, { name: 'small' });
    await putBytes(vault, BYTES.large, { name: 'large' });
    await putBytes(vault, BYTES.locked, { name: 'locked', lock: LOCK });
    await vault.roots.rotate(NEXT);
  });
});

afterAll(() => rotated[Symbol.asyncDispose]());

/** Another catalog, as old as that of a scene, of the same buckets. */
async function besides(scene: Scene): Promise<Scene> {
  const other = await rotated.scene();
  for (const [i, bucket] of other.buckets.entries())
    Object.assign(bucket, { storage: scene.bucket(i).storage });
  return other;
}

/** Each call waits for a while that is left to chance, so that those of several come in any order. */
function loitering(seed: number): Around {
  const random = seededRandom(seed);
  return async (_, proceed) => {
    for (let left = random.below(12); left > 0; left -= 1) await setImmediate();
    await proceed();
    for (let left = random.below(12); left > 0; left -= 1) await setImmediate();
  };
}

async function reseal(vault: Vault): Promise<void> {
  expect((await vault.roots.reseal()).left).toEqual([]);
}

async function namesIn(vault: Vault): Promise<string[]> {
  return (await all(vault.list({ all: true }))).map(({ name }) => name).toSorted();
}

/** What there is, now and when what was removed is gone. */
async function whatStays(vault: Vault, scene: Scene): Promise<unknown> {
  const before = await namesIn(vault);
  await vault.sweep({ ignoreGrace: true, waitMs: 0 });
  const { vault: later } = await scene.open();
  await later.sync();
  const { outcome } = await later.verify({ depth: 'data' });
  const [small, large] = [await getBytes(later, 'small'), await getBytes(later, 'large')];
  return { before, after: await namesIn(later), small, large, outcome };
}

const ALL_ONCE = {
  before: NAMES,
  after: NAMES,
  small: BYTES.small,
  large: BYTES.large,
  outcome: 'whole',
};

describe('several at once', () => {
  test.each(Array.from({ length: THOROUGH ? 24 : 6 }, (_, i) => 2 * i))(
    'with one catalog lose nothing, and leave nothing twice, in order %i',
    async (seed) => {
      await using scene = await rotated.scene();
      const ones = await Promise.all(
        [seed, seed + 1].map(async (own) => scene.open({ around: loitering(own) })),
      );
      await Promise.all(ones.map(async ({ vault }) => reseal(vault)));
      for (const { session } of ones) await session.guard.end();
      const { vault } = await scene.open();
      expect(await whatStays(vault, scene)).toEqual(ALL_ONCE);
    },
  );

  test('with one catalog lose nothing wherever another comes between', async () => {
    let isCut = true;
    for (let nth = 1; isCut; nth += CUT_STRIDE) {
      isCut = false;
      await using scene = await rotated.scene();
      const other = await scene.open();
      const one = await scene.open({
        async around(step, proceed) {
          if (step.nth === nth) {
            isCut = true;
            await reseal(other.vault);
          }
          await proceed();
        },
      });
      await reseal(one.vault);
      for (const { session } of [one, other]) await session.guard.end();
      const { vault } = await scene.open();
      expect(await whatStays(vault, scene)).toEqual(ALL_ONCE);
    }
  });

  test('take nothing away that one has found and another relies on, when a disk is full', async () => {
    await using scene = await rotated.scene();
    const first = await scene.open({
      around: (step, proceed) =>
        step.call === 'put' && step.name.startsWith('deleted/')
          ? Promise.reject(new VaultError('unavailable', 'The test has it so.'))
          : proceed(),
    });
    expect((await first.vault.roots.reseal()).left).toHaveLength(NAMES.length);
    await first.session.guard.end();
    const other = await scene.open();
    let isFull = false;
    const one = await scene.open({
      async around({ call, name, where }, proceed) {
        if (call !== 'put' || !name.startsWith('manifests/')) return proceed();
        if (!isFull) await reseal(other.vault);
        isFull = true;
        if (where === scene.bucket(0).url) throw new VaultError('storage-full', 'The test has it so.');
        await proceed();
      },
    });
    await expect(one.vault.roots.reseal()).rejects.toMatchObject({ code: 'storage-full' });
    for (const { session } of [one, other]) await session.guard.end();
    const { vault } = await scene.open();
    expect(await whatStays(vault, scene)).toEqual(ALL_ONCE);
  });

  test.each([0, 1, 2, 3])(
    'with a catalog each lose nothing, and a repetition leaves nothing twice, in order %i',
    async (seed) => {
      await using scene = await rotated.scene();
      await using apart = await besides(scene);
      const ones = [
        await scene.open({ around: loitering(2 * seed) }),
        await apart.open({ around: loitering(2 * seed + 1) }),
      ];
      await Promise.all(ones.map(async ({ vault }) => reseal(vault)));
      for (const { session } of ones) await session.guard.end();
      const { vault } = await scene.open();
      await reseal(vault);
      expect(await whatStays(vault, scene)).toEqual(ALL_ONCE);
    },
  );
});
