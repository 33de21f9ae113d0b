/** A keyring that stands in the buckets counts, whatever becomes of the catalog then: what is said is true, and nothing is half done. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isVaultError, VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { unlock } from '../../src/vault/keys/unlock.ts';
import type { Vault } from '../../src/vault/vault.ts';
import type { Around } from '../support/steps.ts';
import { CHEAP_KDF, getBytes, PASSWORD, putBytes } from './harness.ts';
import { emptyPlace, LOOKS, present, stage } from './scene.ts';
import type { Scene, Stage } from './scene.ts';

const NEXT = 'a new one';
const CONTENT = randomBytes(1000);
const ADDED = 'memory:added';
const MOVED = 'memory:moved';

let ready: Stage;
beforeAll(async () => {
  ready = await stage({ buckets: 4 }, async ({ vault }) => {
    await putBytes(vault, CONTENT, { name: 'a' });
    await vault.addKey({ secret: 'of eve', label: 'eve', kdfCost: CHEAP_KDF });
    await vault.tokens.add({ label: '', scopes: ['admin'], expiresAtMs: null });
  });
});
afterAll(async () => {
  await ready[Symbol.asyncDispose]();
});

type Verb = readonly [string, (vault: Vault) => Promise<unknown>];

/** All that change the keyring; `bucket rm` does so twice, and much between. */
const VERBS: readonly Verb[] = [
  ['password', (vault) => vault.changePassword({ current: PASSWORD, next: NEXT, kdfCost: CHEAP_KDF })],
  ['key add', (vault) => vault.addKey({ secret: NEXT, label: 'ann', kdfCost: CHEAP_KDF })],
  ['key rm', (vault) => vault.removeKey('eve')],
  ['key rename', (vault) => vault.renameKey('eve', { label: 'eva' })],
  ['key rotate', (vault) => vault.roots.rotate({ secret: NEXT, kdfCost: CHEAP_KDF })],
  ['bucket set-url', (vault) => vault.setBucketUrl('memory:1', MOVED)],
  ['bucket add', (vault) => vault.addBucket(ADDED)],
  ['defaults', (vault) => vault.changeDefaults({ redundancy: { k: 1, m: 1 } })],
];
const REMOVAL: Verb = ['bucket rm', (vault) => vault.removeBucket('memory:4')];

/** A catalog that fails from the nth of its calls on; where it is only refused or full, from the nth of those that change it. */
function failingAt(nth: number, code: ErrorCode): Around {
  let calls = 0;
  return async ({ where, call }, proceed) => {
    const counts =
      where === 'catalog' && (['unavailable', 'invalid-input'].includes(code) || !LOOKS.test(call));
    if (counts) calls += 1;
    if (counts && calls >= nth) throw new VaultError(code, 'What the catalog says.');
    await proceed();
  };
}

async function prepared(): Promise<Scene> {
  const scene = await ready.scene();
  scene.buckets.push(emptyPlace(ADDED), { ...emptyPlace(MOVED), storage: scene.bucket(0).storage });
  return scene;
}

/** The keyrings of each bucket that has a marker. */
function keyringsOf({ buckets }: Scene): string[] {
  return buckets
    .filter(({ storage }) => storage.has('vault.json'))
    .map(({ storage }) => [...storage.keys()].filter((name) => name.startsWith('keyring/')).join(' '));
}

/** @returns what it has thrown; null once it needs fewer calls than may fail */
async function tried(scene: Scene, [, run]: Verb, around: Around): Promise<VaultError | null> {
  const { vault } = await scene.open({ around });
  try {
    await run(vault);
    return null;
  } catch (error) {
    if (!isVaultError(error)) throw error;
    return error;
  }
}

const CODES = ['unavailable', 'denied', 'storage-full', 'invalid-input'] as const;

/** What has become of a change whose catalog has failed. */
async function outcomeOf(
  scene: Scene,
  name: string,
  before: string,
): Promise<Readonly<Record<string, unknown>>> {
  const after = [...new Set(keyringsOf(scene))];
  const isChanged = after.length > 1 || after[0] !== before;
  if (!isChanged) return { isChanged };
  // A bucket that is added gets it with the next look at the catalog.
  const settled = name === 'bucket add' || (after.length === 1 && !present(after[0]).includes(' '));
  const marked = name !== 'bucket add' || scene.bucket(4).storage.has('vault.json');
  const { vault } = await scene.open();
  if (name === 'key rotate') {
    const refused: unknown = await vault.repair().catch((error: unknown) => error);
    return { isChanged, settled, marked, repaired: isVaultError(refused, 'wrong-password') };
  }
  await vault.repair();
  const { buckets } = await vault.verify({ depth: 'listing' });
  const isRead = (await getBytes(vault, 'a')).equals(CONTENT);
  const repaired = isRead && buckets.every(({ keyringsWrong }) => keyringsWrong === 0);
  return { isChanged, settled, marked, repaired };
}

test.each(VERBS.flatMap((verb) => CODES.map((code) => [verb[0], code, verb] as const)))(
  '%s, where the catalog fails (%s) at any instant: nothing is changed, or all buckets have it and that is said',
  async (name, code, verb) => {
    let said = 0;
    for (let nth = 1; ; nth += 1) {
      await using scene = await prepared();
      const before = present(keyringsOf(scene)[0]);
      const error = await tried(scene, verb, failingAt(nth, code));
      if (error === null) break;
      const outcome = await outcomeOf(scene, name, before);
      const isTold =
        /^The keyring was changed, which counts from now on, as does .*What the catalog says\./.test(
          error.message,
        );
      // The words of an input that is wrong would say that nothing was done.
      const told = { isChanged: true, settled: true, marked: true, repaired: true };
      expect({ nth, code: error.code, ...outcome }).toEqual(
        isTold
          ? { nth, code: code === 'invalid-input' ? 'unavailable' : code, ...told }
          : { nth, code, isChanged: false },
      );
      said += Number(isTold);
    }
    expect(said).toBeGreaterThan(0);
  },
);

test('bucket rm, where the catalog fails at any instant, goes on when it is repeated', async () => {
  for (const [at, code] of CODES.entries()) {
    // Each way of failing begins at another call, so that each call fails in some of them.
    for (let nth = 1 + at; ; nth += CODES.length) {
      await using scene = await prepared();
      const error = await tried(scene, REMOVAL, failingAt(nth, code));
      if (error === null) break;
      const { vault } = await scene.open();
      await vault.removeBucket('memory:4');
      expect({ nth, left: scene.bucket(3).storage.size }).toEqual({ nth, left: 0 });
      expect(await getBytes(vault, 'a')).toEqual(CONTENT);
    }
  }
});

test('a catalog that may only be read is found out before the first bucket has a new keyring', async () => {
  for (const verb of VERBS) {
    await using scene = await prepared();
    const before = keyringsOf(scene);
    expect(await tried(scene, verb, failingAt(1, 'denied'))).toMatchObject({
      message: 'What the catalog says.',
    });
    expect([verb[0], keyringsOf(scene)]).toEqual([verb[0], before]);
  }
});

test('a password that the catalog does not know yet is in force when the change is repeated', async () => {
  await using scene = await prepared();
  const before = keyringsOf(scene).join();
  let isGone = true;
  const { vault, session } = await scene.open({
    around: async ({ where }, proceed) => {
      if (where === 'catalog' && isGone && keyringsOf(scene).join() !== before)
        throw new VaultError('unavailable', 'Gone.');
      await proceed();
    },
  });
  const change = { current: PASSWORD, next: NEXT, kdfCost: CHEAP_KDF };
  await expect(vault.changePassword(change)).rejects.toMatchObject({
    message: expect.stringMatching(/^The keyring was changed.*Gone\. .*"vault recover --bucket <url>"/),
  });
  isGone = false;
  await vault.changePassword(change);
  const { keyring } = present(await session.catalog.setup.vault());
  expect((await unlock([keyring], NEXT, { vaultId: session.vaultId })).keyring.epoch).toBe(
    session.keyring.keyring.epoch,
  );
});
