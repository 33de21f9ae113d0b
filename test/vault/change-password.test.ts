import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import { changePassword } from '../../src/vault/keys/password.ts';
import { readKeyrings } from '../../src/vault/keys/keyring-copies.ts';
import { unlock } from '../../src/vault/keys/unlock.ts';
import { openSession } from '../../src/vault/open.ts';
import { CUT_STRIDE } from '../support/catalog-place.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import type { Around } from '../support/steps.ts';
import { behind, CHEAP_KDF, getBytes, parts, PASSWORD, putBytes, testVault } from './harness.ts';
import type { TestBucket } from './harness.ts';
import { emptyPlace, endingAt, present, stage } from './scene.ts';
import type { Scene, Stage } from './scene.ts';

const NEXT = 'a new one';
const CHANGE = { current: PASSWORD, next: NEXT, kdfCost: CHEAP_KDF };
const CONTENT = randomBytes(100_000);

let ready: Stage;

beforeAll(async () => {
  ready = await stage({}, async ({ vault }) => {
    await putBytes(vault, CONTENT, { name: 'a' });
  });
});

afterAll(async () => {
  await ready[Symbol.asyncDispose]();
});

/** Which of the passwords open the vault, from the keyrings of some buckets. */
async function opening(vaultId: string, buckets: readonly TestBucket[]): Promise<string[]> {
  const keyrings = await Promise.all(buckets.map((bucket) => readKeyrings(behind(bucket))));
  const valid: string[] = [];
  for (const password of [PASSWORD, NEXT, 'another one']) {
    try {
      await unlock(keyrings.flat(), password, { vaultId });
      valid.push(password);
    } catch (error) {
      if (!(error instanceof VaultError && error.code === 'wrong-password')) throw error;
    }
  }
  return valid;
}

/** Of each bucket by itself, and of all together. */
async function openingEach(scene: Scene): Promise<string[][]> {
  const { vault } = await scene.open();
  const each = scene.buckets.map((bucket) => opening(vault.id, [bucket]));
  return [...(await Promise.all(each)), await opening(vault.id, scene.buckets)];
}

test('the new password opens the vault from the catalog and from every bucket, and the old one from none', async () => {
  await using made = await testVault();
  const bytes = randomBytes(1000);
  await putBytes(made.vault, bytes, { name: 'a' });
  await made.vault.changePassword(CHANGE);
  const row = present(await made.catalog.setup.vault());
  const { vaultId } = made.session;
  expect((await unlock([row.keyring], NEXT, { vaultId })).keyring.epoch).toBe(2);
  await expect(unlock([row.keyring], PASSWORD, { vaultId })).rejects.toMatchObject({
    code: 'wrong-password',
  });
  for (const bucket of made.buckets) expect(await opening(vaultId, [bucket])).toEqual([NEXT]);
  expect(await getBytes(made.vault, 'a')).toEqual(bytes);
  const again = { current: NEXT, next: 'another one', kdfCost: CHEAP_KDF };
  await made.vault.changePassword(again);
  expect(await opening(vaultId, made.buckets)).toEqual(['another one']);
});

const noBucket = (): Promise<never> => Promise.reject(new Error('No bucket is asked'));

test('whoever gives the old one to a catalog that others share is told that it may have been changed there', async () => {
  await using made = await testVault();
  await made.vault.changePassword({ current: PASSWORD, next: 'the next', kdfCost: CHEAP_KDF });
  const opened = openSession({ ...parts(made.catalog, noBucket), password: () => Promise.resolve(PASSWORD) });
  await expect(opened).rejects.toMatchObject({
    code: 'wrong-password',
    message: expect.stringMatching(/if it has been changed since, give the one that replaced it/),
  });
});

test('what was stored before is known again: the writer stays the same', async () => {
  await using scene = await ready.scene();
  const { vault, session } = await scene.open();
  await changePassword(session, CHANGE);
  expect(await putBytes(vault, CONTENT, { name: 'again' })).toMatchObject({ chunksStored: 0 });
});

test('a wrong current password changes nothing, and no password is empty', async () => {
  await using scene = await ready.scene();
  const { session } = await scene.open();
  const before = scene.buckets.map(({ storage }) => new Map(storage));
  await expect(changePassword(session, { ...CHANGE, current: 'wrong' })).rejects.toMatchObject({
    code: 'wrong-password',
  });
  await expect(changePassword(session, { ...CHANGE, next: '' })).rejects.toMatchObject({
    code: 'invalid-input',
  });
  expect(scene.buckets.map(({ storage }) => storage)).toEqual(before);
});

test('a bucket that cannot be used stops the change before anything is written', async () => {
  await using scene = await ready.scene();
  const { session } = await scene.open();
  const before = scene.buckets.map(({ storage }) => new Map(storage));
  scene.bucket(1).wrap = (bucket) => faulty(bucket, always('unavailable'));
  await expect(changePassword(session, CHANGE)).rejects.toMatchObject({ code: 'unavailable' });
  expect(scene.buckets.map(({ storage }) => storage)).toEqual(before);
});

test('killed at any instant, each bucket opens with one password, and repeating it or a repair finishes it', async () => {
  for (const finish of ['repeat', 'repair'] as const) {
    let ends = true;
    for (let nth = 1; ends; nth += CUT_STRIDE) {
      await using scene = await ready.scene();
      const ending = await scene.open({ around: endingAt(nth) });
      ends =
        (await changePassword(ending.session, CHANGE).catch((error: unknown) => error)) instanceof VaultError;
      const valid = await openingEach(scene);
      for (const passwords of valid)
        expect({ nth, passwords: passwords.length }).toEqual({ nth, passwords: 1 });
      const after = await scene.open();
      if (finish === 'repeat') await changePassword(after.session, CHANGE);
      else await after.vault.repair();
      const settled = await openingEach(scene);
      expect(new Set(settled.flat()).size).toBe(1);
      const expected = finish === 'repeat' ? NEXT : valid.at(-1)?.[0];
      expect({ nth, settled: settled.flat()[0] }).toEqual({ nth, settled: expected });
      expect(await getBytes(after.vault, 'a')).toEqual(CONTENT);
    }
  }
});

test('killed at any instant, the password that opens the catalog can be changed to yet another, which alone is valid then', async () => {
  let ends = true;
  for (let nth = 1; ends; nth += CUT_STRIDE) {
    await using scene = await ready.scene();
    const ending = await scene.open({ around: endingAt(nth) });
    ends =
      (await changePassword(ending.session, CHANGE).catch((error: unknown) => error)) instanceof VaultError;
    const { catalog, session } = await scene.open();
    const { keyring } = present(await catalog.setup.vault());
    const current = await unlock([keyring], PASSWORD, { vaultId: session.vaultId }).then(
      () => PASSWORD,
      () => NEXT,
    );
    await changePassword(session, { current, next: 'another one', kdfCost: CHEAP_KDF });
    expect({ nth, valid: new Set((await openingEach(scene)).flat()) }).toEqual({
      nth,
      valid: new Set(['another one']),
    });
  }
});

test('of two at once one wins and the other is told, whichever way their calls come between each other', async () => {
  for (let nth = 1; nth <= 30; nth += CUT_STRIDE) {
    await using scene = await ready.scene();
    const other = await scene.open();
    const beside: Promise<unknown>[] = [];
    const around: Around = async (step, proceed) => {
      if (step.nth >= nth) {
        if (beside.length === 0) {
          const change = changePassword(other.session, { ...CHANGE, next: 'another one' });
          beside.push(
            change.then(
              () => 'won',
              (error: unknown) => error,
            ),
          );
        }
        await beside[0];
      }
      await proceed();
    };
    const { session } = await scene.open({ around });
    const mine = await changePassword(session, CHANGE).then(
      () => 'won',
      (error: unknown) => error,
    );
    const results = [mine, ...(await Promise.all(beside))];
    const expected = results[0] === 'won' ? NEXT : 'another one';
    for (const passwords of await openingEach(scene))
      expect({ nth, passwords }).toEqual({ nth, passwords: [expected] });
    const told = results.filter((result) => result !== 'won');
    const refused = beside.map(() => ({ code: 'wrong-password' }));
    expect({ nth, told }).toMatchObject({ nth, told: refused });
  }
});

test('a bucket that shows the keyring before does not bring the old password back, and a repair gives it the new one', async () => {
  await using scene = await ready.scene();
  const { session, vault } = await scene.open();
  const old = [...scene.bucket(0).storage].filter(([name]) => name.startsWith('keyring/'));
  await changePassword(session, CHANGE);
  for (const name of scene.bucket(0).storage.keys()) {
    if (name.startsWith('keyring/')) scene.bucket(0).storage.delete(name);
  }
  for (const [name, bytes] of old) scene.bucket(0).storage.set(name, bytes);
  expect(await opening(vault.id, scene.buckets)).toEqual([NEXT]);
  expect(await opening(vault.id, [scene.bucket(0)])).toEqual([PASSWORD]);
  expect(await vault.repair()).toMatchObject({ keyringsStored: 1 });
  expect(await opening(vault.id, [scene.bucket(0)])).toEqual([NEXT]);
});

test('a process that has the keyring before takes the password that is right now, and no other', async () => {
  await using scene = await ready.scene();
  const late = await scene.open();
  const later = await scene.open();
  await changePassword((await scene.open()).session, CHANGE);
  await expect(changePassword(late.session, { ...CHANGE, next: 'another one' })).rejects.toMatchObject({
    code: 'wrong-password',
  });
  expect((await openingEach(scene)).flat()).toEqual([NEXT, NEXT, NEXT, NEXT]);
  await changePassword(later.session, { current: NEXT, next: 'another one', kdfCost: CHEAP_KDF });
  expect(new Set((await openingEach(scene)).flat())).toEqual(new Set(['another one']));
});

test('a bucket that is added at the same time opens with the new one alone', async () => {
  for (let nth = 1; nth <= 40; nth += 3) {
    await using scene = await ready.scene();
    scene.buckets.push(emptyPlace('memory:4'));
    const adding = await scene.open();
    let beside: Promise<unknown> | null = null;
    const around: Around = async (step, proceed) => {
      if (step.nth >= nth) await (beside ??= adding.vault.addBucket('memory:4'));
      await proceed();
    };
    const { session } = await scene.open({ around });
    await changePassword(session, CHANGE);
    await (beside ?? adding.vault.addBucket('memory:4'));
    expect({ nth, valid: (await openingEach(scene)).flat() }).toEqual({ nth, valid: Array(5).fill(NEXT) });
    expect((await scene.open()).vault.buckets).toHaveLength(4);
  }
});
