/** A change of the keyring that was killed between two buckets, and is repeated: afterwards no bucket opens with what it took away. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isVaultError, VaultError } from '../../src/errors.ts';
import { readKeyrings } from '../../src/vault/keys/keyring-copies.ts';
import { unlock, type Unlocked } from '../../src/vault/keys/unlock.ts';
import type { Vault } from '../../src/vault/vault.ts';
import type { Around } from '../support/steps.ts';
import { behind, CHEAP_KDF, PASSWORD } from './harness.ts';
import type { TestBucket } from './harness.ts';
import { emptyPlace, endingAt, present, stage } from './scene.ts';
import type { Scene, Stage } from './scene.ts';

const NEXT = 'a new one';
const EVE = 'of eve';
const MOVED = 'memory:moved';

let ready: Stage;
let vaultId = '';
beforeAll(async () => {
  ready = await stage({}, async ({ vault }) => {
    vaultId = vault.id;
    await vault.addKey({ secret: EVE, label: 'eve', kdfCost: CHEAP_KDF });
  });
});
afterAll(async () => ready[Symbol.asyncDispose]());

interface Verb {
  readonly name: string;
  readonly run: (vault: Vault) => Promise<unknown>;
  /** What opens nothing any more, once the change is made. */
  readonly gone: readonly string[];
  /** Who makes it. */
  readonly by?: string;
}

const VERBS: readonly Verb[] = [
  { name: 'key rm', run: (vault) => vault.removeKey('eve'), gone: [EVE] },
  { name: 'key rm, its own', by: EVE, run: (vault) => vault.removeKey('eve', { own: true }), gone: [EVE] },
  {
    name: 'key add',
    run: (vault) => vault.addKey({ secret: NEXT, label: 'bob', kdfCost: CHEAP_KDF }),
    gone: [],
  },
  {
    name: 'key rotate',
    async run(vault) {
      // As the command line does before it asks.
      await vault.keys();
      await vault.roots.rotate({ secret: NEXT, kdfCost: CHEAP_KDF });
    },
    gone: [PASSWORD, EVE],
  },
  {
    name: 'password',
    run: (vault) => vault.changePassword({ current: PASSWORD, next: NEXT, kdfCost: CHEAP_KDF }),
    gone: [PASSWORD],
  },
  { name: 'key rename', run: (vault) => vault.renameKey('eve', { label: 'eva' }), gone: [] },
  { name: 'bucket set-url', run: (vault) => vault.setBucketUrl('memory:1', MOVED), gone: [] },
];

async function prepared(): Promise<Scene> {
  const scene = await ready.scene();
  scene.buckets.push({ ...emptyPlace(MOVED), storage: scene.bucket(0).storage });
  return scene;
}

async function opens(buckets: readonly TestBucket[], secret: string): Promise<boolean> {
  const keyrings = await Promise.all(buckets.map((bucket) => readKeyrings(behind(bucket))));
  try {
    await unlock(keyrings.flat(), secret, { vaultId });
    return true;
  } catch (error) {
    if (isVaultError(error, 'wrong-password')) return false;
    throw error;
  }
}

/** What the catalog's keyring gives for a password, as where a process begins. */
async function entry(scene: Scene, secret: string): Promise<Unlocked> {
  const { catalog } = await scene.open();
  return unlock([present(await catalog.setup.vault()).keyring], secret, { vaultId });
}

/** @returns what it has thrown */
async function tried(
  scene: Scene,
  { run, by = PASSWORD }: Verb,
  around?: Around,
): Promise<VaultError | null> {
  try {
    const unlocked = await entry(scene, by);
    const { vault } = await scene.open({ unlocked, ...(around && { around }) });
    await run(vault);
    return null;
  } catch (error) {
    if (!isVaultError(error)) throw error;
    return error;
  }
}

function keyringsOf({ buckets }: Scene): string[] {
  return buckets.map(({ storage }) =>
    [...storage]
      .flatMap(([name, bytes]) =>
        name.startsWith('keyring/') ? [name, Buffer.from(bytes).toString('base64')] : [],
      )
      .join(' '),
  );
}

test.each(VERBS)('$name, killed at any instant and repeated', async (verb) => {
  let refused = 0;
  for (let nth = 1; ; nth += 1) {
    await using scene = await prepared();
    const killed = await tried(scene, verb, endingAt(nth));
    if (killed === null) break;
    const error = await tried(scene, verb);
    refused += Number(error !== null);
    for (const secret of verb.gone)
      for (const bucket of scene.buckets)
        expect({ nth, secret, opens: await opens([bucket], secret) }).toEqual({ nth, secret, opens: false });
    // Who has no key any more can take nothing away; what lies there besides opens nothing.
    const isOut = isVaultError(error, 'wrong-password');
    expect({ nth, isEven: isOut || new Set(keyringsOf(scene)).size === 1 }).toEqual({ nth, isEven: true });
  }
  expect(refused).toBeGreaterThan(0);
});

/** A scene in which a change was killed when the first bucket alone had it. */
async function halfway(verb: Verb): Promise<Scene> {
  const scene = await prepared();
  const before = keyringsOf(scene);
  for (let nth = 1; ; nth += 1) {
    const half = await prepared();
    await tried(half, verb, endingAt(nth));
    const changed = keyringsOf(half).filter((one, index) => one !== before[index]).length;
    // The moved bucket is the first one, too.
    if (changed === 2) return half;
    await half[Symbol.asyncDispose]();
  }
}

/** A bucket that cannot be used. */
const without =
  (url: string): Around =>
  async ({ where }, proceed) => {
    if (where === url) throw new VaultError('unavailable', 'It is away.');
    await proceed();
  };

test.each(VERBS.filter(({ name }) => /^key (rm|add|rotate)/.test(name)))(
  '$name, killed and repeated while a bucket is away: that is named, and what gives it the rest',
  async (verb) => {
    await using scene = await halfway(verb);
    const error = await tried(scene, verb, without('memory:3'));
    expect(error?.message).toMatch(/some buckets may lack the newest keyring.*"vault repair".*memory:3/);
    for (const secret of verb.gone) expect(await opens(scene.buckets.slice(0, 2), secret)).toBe(false);
  },
);

test('a URL that is set again while a bucket is away is set, and that bucket is named', async () => {
  const verb = present(VERBS.find(({ name }) => name === 'bucket set-url'));
  await using scene = await halfway(verb);
  const { vault } = await scene.open({ around: without('memory:3') });
  const warnings: string[] = [];
  await vault.setBucketUrl(MOVED, MOVED, { onWarning: ({ message }) => warnings.push(message) });
  expect(warnings).toEqual([
    expect.stringMatching(/^memory:3 does not have the new keyring yet: "vault repair"/),
  ]);
});

test('who was opened before a rotation takes no keyring away that he cannot tell from the one that counts', async () => {
  const rotate = present(VERBS.find(({ name }) => name === 'key rotate'));
  await using scene = await halfway(rotate);
  const name = present([...scene.bucket(0).storage.keys()].findLast((one) => one.startsWith('keyring/')));
  // Somebody with the key from before signs another one, and another bucket takes it.
  await using other = await halfway(rotate);
  scene.bucket(1).storage.set(name, present(other.bucket(0).storage.get(name)));
  const before = keyringsOf(scene);
  expect((await tried(scene, rotate))?.message).toMatch(/can only be told with a key of the new root/);
  expect(keyringsOf(scene)).toEqual(before);
});
