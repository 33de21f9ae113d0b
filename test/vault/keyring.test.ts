/** The keyring in the buckets: changes at once, buckets that are down, and buckets that show what is old or false. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBucketUrl } from '../../src/crypto/texts.ts';
import { signKeyring } from '../../src/crypto/signing.ts';
import { VaultError } from '../../src/errors.ts';
import { decodeKeyring } from '../../src/format/keyring.ts';
import type { Keyring } from '../../src/format/keyring.ts';
import { changeKeyring, refreshKeyring } from '../../src/vault/keys/keyring-store.ts';
import { settleKeyring } from '../../src/vault/keys/settle-keyring.ts';
import { unlock } from '../../src/vault/keys/unlock.ts';
import type { Session } from '../../src/vault/session.ts';
import { CUT_STRIDE } from '../support/catalog-place.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import type { Around } from '../support/steps.ts';
import { CHEAP_KDF, PASSWORD, testVault } from './harness.ts';
import type { TestBucket } from './harness.ts';
import { endingAt, present, stage } from './scene.ts';
import type { Scene, Stage } from './scene.ts';

let ready: Stage;
let other: Stage;

beforeAll(async () => {
  ready = await stage({}, () => Promise.resolve());
  other = await stage({}, () => Promise.resolve());
});

afterAll(async () => {
  await ready[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
});

const CHUNKS = 128 * 1024;
const ALL = { all: true };
const SOME = { all: false };

function setChunks(keyring: Keyring): Keyring | null {
  return keyring.chunkSize === CHUNKS ? null : { ...keyring, chunkSize: CHUNKS };
}

function setCompression(keyring: Keyring): Keyring | null {
  return keyring.compression === 7 ? null : { ...keyring, compression: 7 };
}

function epochsIn({ storage }: TestBucket): string[] {
  return [...storage.keys()].filter((name) => name.startsWith('keyring/')).toSorted();
}

function down(...buckets: TestBucket[]): () => void {
  for (const bucket of buckets) bucket.wrap = (inner) => faulty(inner, always('unavailable'));
  return () => {
    for (const bucket of buckets) bucket.wrap = (inner) => inner;
  };
}

/** What a process sees that looks now. */
async function seen(scene: Scene): Promise<Keyring> {
  const { session } = await scene.open();
  await refreshKeyring(session, undefined, { thorough: true });
  return session.keyring.keyring;
}

describe('A change of the keyring', () => {
  test('is the next epoch in every bucket, and the one before goes', async () => {
    await using scene = await ready.scene();
    const { session } = await scene.open();
    const before = session.keyring;
    expect(await changeKeyring(session, setChunks, ALL)).toBe(true);
    expect(session.keyring.keyring).toMatchObject({ epoch: 2, chunkSize: CHUNKS });
    for (const bucket of scene.buckets) {
      expect(epochsIn(bucket)).toEqual(['keyring/0000000002']);
      expect(decodeKeyring(present(bucket.storage.get('keyring/0000000002'))).keyring.previous).toMatch(
        /^[0-9a-f]{64}$/,
      );
    }
    expect(before.keyring.epoch).toBe(1);
    expect(await changeKeyring(session, setChunks, ALL)).toBe(false);
    expect(await seen(scene)).toMatchObject({ epoch: 2 });
  });

  test('is not begun where it must reach every bucket and one is down', async () => {
    await using scene = await ready.scene();
    const { session } = await scene.open();
    down(scene.bucket(1));
    await expect(changeKeyring(session, setChunks, ALL)).rejects.toMatchObject({ code: 'unavailable' });
    for (const bucket of scene.buckets) expect(epochsIn(bucket)).toEqual(['keyring/0000000001']);
  });

  test.each([0, 1, 2])('reaches the others where it may, and bucket %i when it is back', async (away) => {
    await using scene = await ready.scene();
    const { session } = await scene.open();
    const up = down(scene.bucket(away));
    expect(await changeKeyring(session, setChunks, SOME)).toBe(true);
    up();
    expect(epochsIn(scene.bucket(away))).toEqual(['keyring/0000000001']);
    expect(await seen(scene)).toMatchObject({ epoch: 2, chunkSize: CHUNKS });
    const { vault } = await scene.open();
    expect(await vault.repair()).toMatchObject({ keyringsStored: 1 });
    for (const bucket of scene.buckets) expect(epochsIn(bucket)).toEqual(['keyring/0000000002']);
  });

  test('leaves a bucket that does not take or keep the new one with the old one', async () => {
    for (const fault of ['lose', 'deny'] as const) {
      await using scene = await ready.scene();
      const { session } = await scene.open();
      scene.bucket(2).wrap = (inner) =>
        faulty(inner, ({ operation, name }) => {
          if (operation !== 'put' || !name.startsWith('keyring/')) return null;
          if (fault === 'lose') return { kind: 'lose' };
          return { kind: 'fail', when: 'before', error: new VaultError('denied', 'The test denies it.') };
        });
      await changeKeyring(session, setChunks, SOME);
      expect(epochsIn(scene.bucket(2))).toEqual(['keyring/0000000001']);
      expect(epochsIn(scene.bucket(0))).toEqual(['keyring/0000000002']);
    }
  });

  test('cut short anywhere is made or not, and whoever repeats it completes it', async () => {
    let hasEnded = true;
    for (let nth = 1; hasEnded; nth += 1) {
      await using scene = await ready.scene();
      const { session } = await scene.open({ around: endingAt(nth) });
      hasEnded = !(await changeKeyring(session, setChunks, ALL).catch(() => false));
      const after = await scene.open();
      await changeKeyring(after.session, setChunks, ALL);
      expect(after.session.keyring.keyring.chunkSize).toBe(CHUNKS);
      const [name] = epochsIn(scene.bucket(0));
      for (const bucket of scene.buckets)
        expect({ nth, names: epochsIn(bucket) }).toEqual({ nth, names: [name] });
    }
  });

  test('replaces what somebody else has put under its name', async () => {
    await using scene = await ready.scene();
    await using foreign = await other.scene();
    const { session } = await scene.open();
    const foreignSession = (await foreign.open()).session;
    await changeKeyring(foreignSession, setCompression, ALL);
    scene
      .bucket(0)
      .storage.set('keyring/0000000002', present(foreign.bucket(0).storage.get('keyring/0000000002')));
    scene.bucket(1).storage.set('keyring/0000000002', Buffer.from('rubbish'));
    await changeKeyring(session, setChunks, ALL);
    expect(await seen(scene)).toMatchObject({ epoch: 2, chunkSize: CHUNKS, compression: 'off' });
    for (const bucket of scene.buckets) {
      expect(bucket.storage.get('keyring/0000000002')).toEqual(
        scene.bucket(2).storage.get('keyring/0000000002'),
      );
    }
  });
});

/** Lets a process go on up to a call, and then wait until it is told. */
function pausing(nth: number): { readonly around: Around; readonly paused: Promise<void>; resume(): void } {
  const reached = Promise.withResolvers<void>();
  const resumed = Promise.withResolvers<void>();
  return {
    async around(step, proceed) {
      if (step.nth >= nth) {
        reached.resolve();
        await resumed.promise;
      }
      await proceed();
    },
    paused: reached.promise,
    resume: resumed.resolve,
  };
}

/** How many calls a change makes. */
async function callsOf(change: (session: Session) => Promise<unknown>): Promise<number> {
  await using scene = await ready.scene();
  const { session, steps } = await scene.open();
  await change(session);
  return steps.log.length;
}

type Change = (session: Session) => Promise<unknown>;

/** Runs two changes, the one held up before its i-th call until the other has come to its j-th, which goes on when the one has ended. */
async function interleave(
  scene: Scene,
  [one, another]: readonly [Change, Change],
  [i, j]: readonly [number, number],
): Promise<readonly PromiseSettledResult<unknown>[]> {
  const first = pausing(i);
  const second = pausing(j);
  const [a, b] = [await scene.open({ around: first.around }), await scene.open({ around: second.around })];
  const running = one(a.session);
  await Promise.race([first.paused, running.catch(() => undefined)]);
  const beside = another(b.session);
  await Promise.race([second.paused, beside.catch(() => undefined)]);
  first.resume();
  const [result] = await Promise.allSettled([running]);
  second.resume();
  const [besides] = await Promise.allSettled([beside]);
  return [result, besides].filter((settled) => settled !== undefined);
}

/** A process that cannot reach one of the buckets. */
function blind(url: string, pause: Around): Around {
  return async (step, proceed) => {
    if (step.where === url) throw new VaultError('unavailable', `The test hides ${url}.`);
    await pause(step, proceed);
  };
}

const DONE = { status: 'fulfilled', value: true };

describe('Two changes at once', () => {
  test.each([
    ['everywhere', 'everywhere', ALL, ALL],
    ['everywhere', 'where they can', ALL, SOME],
  ])(
    'are both made, %s and %s, whichever way their calls come between each other',
    async (_, __, one, another) => {
      const makeOne: Change = (session) => changeKeyring(session, setChunks, one);
      const makeOther: Change = (session) => changeKeyring(session, setCompression, another);
      const [most, others] = [await callsOf(makeOne), await callsOf(makeOther)];
      for (let i = 1; i <= most; i += 1) {
        // Some of the others, in turn: all pairs take a minute.
        for (let j = 1 + (i % (2 * CUT_STRIDE)); j <= others + 1; j += 2 * CUT_STRIDE) {
          await using scene = await ready.scene();
          const results = await interleave(scene, [makeOne, makeOther], [i, j]);
          expect({ i, j, results }).toEqual({
            i,
            j,
            results: [DONE, DONE],
          });
          expect(await seen(scene)).toMatchObject({ chunkSize: CHUNKS, compression: 7 });
          for (const bucket of scene.buckets)
            expect(epochsIn(bucket).at(-1)).toBe(epochsIn(scene.bucket(0)).at(-1));
        }
      }
    },
    240_000,
  );

  test('are both made when each cannot reach the bucket that decides for the other', async () => {
    for (let i = 1; i <= 30; i += 1) {
      for (let j = 1 + (i % 6); j <= 30; j += 3 * CUT_STRIDE) {
        await using scene = await ready.scene();
        const [first, second] = [pausing(i), pausing(j)];
        const a = await scene.open({ around: blind('memory:1', first.around) });
        const b = await scene.open({ around: blind('memory:2', second.around) });
        const one = changeKeyring(a.session, setChunks, SOME);
        await Promise.race([first.paused, one]);
        const another = changeKeyring(b.session, setCompression, SOME);
        await Promise.race([second.paused, another]);
        first.resume();
        await one;
        second.resume();
        await another;
        expect({ i, j, ...(await seen(scene)) }).toMatchObject({ i, j, chunkSize: CHUNKS, compression: 7 });
      }
    }
  }, 240_000);

  test('that could not meet leave one keyring, the same for everybody', async () => {
    await using scene = await ready.scene();
    const [a, b] = [await scene.open(), await scene.open()];
    let up = down(scene.bucket(1), scene.bucket(2));
    await changeKeyring(a.session, setChunks, SOME);
    up();
    up = down(scene.bucket(0));
    await changeKeyring(b.session, setCompression, SOME);
    up();
    // Two buckets have the one and one has the other.
    for (const each of [a.session, b.session, (await scene.open()).session]) {
      await refreshKeyring(each, undefined, { thorough: true });
      expect(each.keyring.keyring).toMatchObject({ epoch: 2, compression: 7 });
    }
    await a.vault.repair();
    for (const bucket of scene.buckets) {
      expect(bucket.storage.get('keyring/0000000002')).toEqual(
        scene.bucket(1).storage.get('keyring/0000000002'),
      );
    }
  });
});

describe('A keyring that a bucket shows', () => {
  test('counts if it is the vault’s and the newest, whoever shows older or false ones', async () => {
    await using scene = await ready.scene();
    await using foreign = await other.scene();
    const { session } = await scene.open();
    const old = present(scene.bucket(0).storage.get('keyring/0000000001'));
    await changeKeyring(session, setChunks, ALL);
    // One shows the old one alone, one a forged newer one, another vault's, and the right one under higher names.
    scene.bucket(0).storage.delete('keyring/0000000002');
    scene.bucket(0).storage.set('keyring/0000000001', old);
    const right = present(scene.bucket(1).storage.get('keyring/0000000002'));
    scene.bucket(1).storage.set('keyring/0000000003', right);
    const foreignSession = (await foreign.open()).session;
    const theirs = { ...foreignSession.keyring.keyring, epoch: 4, previous: 'ab'.repeat(32) };
    scene.bucket(1).storage.set('keyring/0000000004', signKeyring(foreignSession.keys, theirs));
    scene.bucket(1).storage.set('keyring/0000000005', Buffer.from('{}'));
    expect(await seen(scene)).toMatchObject({ epoch: 2, chunkSize: CHUNKS });
    const fresh = await scene.open();
    await fresh.vault.repair();
    expect(scene.bucket(0).storage.get('keyring/0000000002')).toEqual(right);
  });

  test('is not removed by one that the bucket does not list', async () => {
    await using scene = await ready.scene();
    const { session } = await scene.open();
    await changeKeyring(session, setChunks, ALL);
    scene.bucket(0).storage.set('keyring/0000000001', Buffer.from('old'));
    scene.bucket(0).wrap = (inner) =>
      faulty(inner, ({ operation }) => (operation === 'list' ? { kind: 'hide', names: /0000000002/ } : null));
    await settleKeyring(session, session.buckets.all);
    expect(epochsIn(scene.bucket(0))).toEqual(['keyring/0000000001', 'keyring/0000000002']);
  });
});

describe('The buckets of a keyring', () => {
  test('are known with their places to every catalog, and only their seals are in the keyring', async () => {
    await using scene = await ready.scene();
    const { session } = await scene.open();
    const { keyring, bytes } = session.keyring;
    expect(keyring.buckets.map((bucket) => openBucketUrl(session.keys, bucket))).toEqual([
      'memory:1',
      'memory:2',
      'memory:3',
    ]);
    expect(Buffer.from(bytes).includes('memory:1')).toBe(false);
  });

  test('are looked for where the keyring says if the catalog’s record was changed', async () => {
    await using scene = await ready.scene();
    const first = await scene.open();
    const [row] = await first.catalog.setup.buckets();
    await first.catalog.setup.putBucket({ id: present(row).id, record: Buffer.alloc(200, 1) });
    const { vault } = await scene.open();
    expect(vault.buckets.map(({ url }) => url)).toEqual(['memory:1', 'memory:2', 'memory:3']);
  });
});

async function keyringOf(scene: Scene): Promise<{ session: Session; keyring: Keyring; bytes: Uint8Array }> {
  const { session } = await scene.open();
  return { session, ...session.keyring };
}

describe('A password', () => {
  const options = { vaultId: '' };

  test('opens the vault’s keyring beside 64 false keyslots, and another vault’s slot that it opens, too', async () => {
    await using scene = await ready.scene();
    await using foreign = await other.scene();
    const { session, keyring, bytes } = await keyringOf(scene);
    const theirs = await keyringOf(foreign);
    const [slot] = keyring.slots;
    const [stolen] = theirs.keyring.slots;
    const bogus = Array.from({ length: 63 }, (_, i) => ({
      ...present(slot),
      writer: i.toString(16).padStart(32, '0'),
      salt: Buffer.alloc(32, i),
    }));
    // Signed by somebody else: the other vault has no key of this one.
    const false1 = signKeyring(
      { ...theirs.session.keys, vaultId: session.vaultId },
      { ...keyring, epoch: 9, previous: 'ab'.repeat(32), slots: [...bogus, { ...present(stolen) }] },
    );
    const false2 = signKeyring(
      { ...theirs.session.keys, vaultId: session.vaultId },
      { ...keyring, epoch: 8, previous: 'ab'.repeat(32), slots: [...bogus, present(slot)] },
    );
    for (const candidates of [
      [false1, false2, bytes],
      [bytes, false1, false2],
    ]) {
      const opened = await unlock(candidates, PASSWORD, { ...options, vaultId: session.vaultId });
      expect(opened.keyring.epoch).toBe(1);
    }
    await expect(unlock([false1, false2], PASSWORD, { vaultId: session.vaultId })).rejects.toMatchObject({
      code: 'wrong-password',
    });
  });

  test('is told that false keyslots ask for too much, once they do', async () => {
    await using scene = await ready.scene();
    await using foreign = await other.scene();
    const { session, keyring, bytes } = await keyringOf(scene);
    const theirs = await keyringOf(foreign);
    const dear = Array.from({ length: 64 }, (_, i) => ({
      ...present(keyring.slots[0]),
      writer: i.toString(16).padStart(32, '0'),
      // Just beyond what one unlock may cost, before any of it is spent.
      cost: { memoryKib: 1024 * 1024, passes: 4, lanes: 16 },
    }));
    const costly = signKeyring(
      { ...theirs.session.keys, vaultId: session.vaultId },
      { ...keyring, slots: dear },
    );
    const vaultId = session.vaultId;
    const opened = await unlock([bytes, costly], PASSWORD, { vaultId });
    expect(opened.keyring.epoch).toBe(1);
    expect(CHEAP_KDF.passes).toBe(1);
  });

  test('that was changed opens nothing any more wherever the newer keyring is shown, too', async () => {
    await using made = await testVault();
    const { session, vault } = made;
    const old = session.keyring.bytes;
    await vault.changePassword({ current: PASSWORD, next: 'a new one', kdfCost: CHEAP_KDF });
    const { bytes } = session.keyring;
    const { vaultId } = session;
    for (const candidates of [
      [old, bytes],
      [bytes, old],
    ]) {
      await expect(unlock(candidates, PASSWORD, { vaultId })).rejects.toMatchObject({
        code: 'wrong-password',
      });
      expect((await unlock(candidates, 'a new one', { vaultId })).keyring.epoch).toBe(2);
    }
    expect((await unlock([old], PASSWORD, { vaultId })).keyring.epoch).toBe(1);
  });
});
