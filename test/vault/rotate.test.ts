/** A new root: what is stored stays readable and keeps its names, and whoever has kept the old root can do nothing to what is stored since. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { drawId, keysOfRoot, keysUnder, requireFull, wrapKeys } from '../../src/crypto/keys.ts';
import type { VaultKeys } from '../../src/crypto/keys.ts';
import { manifestHash, ManifestSealer } from '../../src/crypto/manifest.ts';
import { nextRoot } from '../../src/crypto/roots.ts';
import { signDeletion, signKeyring, signSweepList } from '../../src/crypto/signing.ts';
import { sealBucketUrl, sealLabel } from '../../src/crypto/texts.ts';
import { VaultError } from '../../src/errors.ts';
import { keyringObjectName } from '../../src/format/keyring.ts';
import type { Keyring } from '../../src/format/keyring.ts';
import { manifestObjectName } from '../../src/format/manifest.ts';
import { deletionObjectName, sweepObjectName } from '../../src/format/removal.ts';
import { readKeyrings } from '../../src/vault/keys/keyring-copies.ts';
import { unlock } from '../../src/vault/keys/unlock.ts';
import type { Unlocked } from '../../src/vault/keys/unlock.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { CUT_STRIDE } from '../support/catalog-place.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import { all, behind, CHEAP_KDF, getBytes, parts, PASSWORD, putBytes } from './harness.ts';
import { endingAt, present, stage } from './scene.ts';
import type { Scene, SceneHandle, Stage } from './scene.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { recoverCatalog } from '../../src/vault/recover/recover.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const NEXT = 'what opens it from now on';
const ANN = { secret: 'the password of ann', label: 'ann', kdfCost: CHEAP_KDF };
const OLD = { small: randomBytes(500), large: randomBytes(150_000), gone: randomBytes(70_000) };
const DAY = 86_400_000;

/** With files from before, of two keys. */
let before: Stage;
/** The same, rotated. */
let after: Stage;

const rotate = (vault: Vault): ReturnType<Vault['roots']['rotate']> =>
  vault.roots.rotate({ secret: NEXT, kdfCost: CHEAP_KDF });

async function fill(vault: Vault): Promise<void> {
  await putBytes(vault, randomBytes(100), { name: 'small' });
  for (const [name, bytes] of Object.entries(OLD)) await putBytes(vault, bytes, { name });
  await vault.remove(['gone']);
  await vault.addKey(ANN);
}

beforeAll(async () => {
  before = await stage({}, ({ vault }) => fill(vault));
  after = await stage({}, async ({ vault }) => {
    await fill(vault);
    await rotate(vault);
    await vault.sync();
  });
});

afterAll(async () => {
  await before[Symbol.asyncDispose]();
  await after[Symbol.asyncDispose]();
});

/** What a secret opens, by what the buckets show. */
async function unlockedBy(scene: Scene, secret: string, buckets = scene.buckets): Promise<Unlocked> {
  const { session } = await scene.open();
  const shown = await Promise.all(buckets.map((bucket) => readKeyrings(behind(bucket))));
  return unlock(shown.flat(), secret, { vaultId: session.vaultId });
}

async function openedBy(scene: Scene, secret: string): Promise<SceneHandle> {
  return scene.open({ unlocked: await unlockedBy(scene, secret) });
}

/** The keys of whoever has kept the root from before. */
async function thief(scene: Scene): Promise<{ readonly keys: VaultKeys; readonly keyring: Keyring }> {
  const { keys, keyring } = (await scene.open()).session;
  const old = present(keysUnder(keys, 1));
  const writer = present(keyring.keyring.former[0]).writer;
  return {
    keys: { ...old, writer: requireFull(old, 'this').writer(writer) },
    keyring: keyring.keyring,
  };
}

/** Shows an object in every bucket. */
function show(scene: Scene, name: string, bytes: Uint8Array, buckets = scene.buckets): void {
  for (const { storage } of buckets) storage.set(name, bytes);
}

/** A keyring of a later epoch, under the old root, which still has the old keyslots. */
async function turnedBack(scene: Scene): Promise<Uint8Array> {
  const { keys, keyring } = await thief(scene);
  const slot = await wrapKeys(keys, PASSWORD, { role: 'full', createdAtMs: 1, label: '', cost: CHEAP_KDF });
  const buckets = keyring.buckets.map((one, i) => ({
    ...one,
    url: sealBucketUrl(keys, one.id, present(scene.buckets[i]).url),
  }));
  const made = { ...keyring, epoch: 900, root: 1, roots: [], slots: [slot], former: [], buckets };
  return signKeyring(keys, made);
}

/** A keyring of a root that he has drawn, after another one. */
async function forkOf(scene: Scene): Promise<Uint8Array> {
  const { keys, keyring } = await thief(scene);
  const forked = nextRoot(keys, drawId());
  const again = nextRoot(forked.keys, drawId());
  const slot = await wrapKeys(again.keys, 'of the thief', {
    role: 'full',
    createdAtMs: 1,
    label: '',
    cost: CHEAP_KDF,
  });
  const roots = [forked.step, again.step];
  const buckets = keyring.buckets.map((one, i) => ({
    ...one,
    url: sealBucketUrl(again.keys, one.id, present(scene.buckets[i]).url),
  }));
  const fork = { ...keyring, epoch: 800, root: 3, roots, slots: [slot], former: [], buckets };
  return signKeyring(again.keys, fork);
}

async function expectOld(vault: Vault): Promise<void> {
  expect(await getBytes(vault, 'small')).toEqual(OLD.small);
  expect(await getBytes(vault, 'large')).toEqual(OLD.large);
  expect(await all(vault.list({ all: true }))).toHaveLength(3);
}

describe('a rotation', () => {
  test('leaves one key, which opens every bucket, and tells which others it has taken away', async () => {
    await using scene = await before.scene();
    const { vault, session } = await scene.open();
    const [own] = await vault.keys();
    const { root, key, dropped } = await rotate(vault);
    expect({ root, dropped }).toMatchObject({ root: 2, dropped: [{ label: 'ann', role: 'full' }] });
    expect(key.writer).not.toBe(own?.writer);
    expect(await vault.keys()).toMatchObject([{ ...key, own: true, by: null }]);
    for (const bucket of scene.buckets) {
      expect([...bucket.storage.keys()].filter((name) => name.startsWith('keyring/'))).toEqual([
        keyringObjectName(session.keyring.keyring.epoch),
      ]);
      expect((await unlockedBy(scene, NEXT, [bucket])).keys.rootNumber).toBe(2);
      for (const secret of [PASSWORD, ANN.secret]) {
        await expect(unlockedBy(scene, secret, [bucket])).rejects.toMatchObject({ code: 'wrong-password' });
      }
    }
    await expectOld(vault);
    await expectOld((await openedBy(scene, NEXT)).vault);
  });

  test('goes on with names and versions, and does not call unchanged what lies under the old root', async () => {
    await using scene = await after.scene();
    const { vault, session } = await scene.open();
    await expectOld(vault);
    const old = await vault.resolve('small');
    const same = await putBytes(vault, OLD.small, { name: 'small' });
    expect(same.unchanged).toBe(false);
    expect(same.version).toBeGreaterThan(old.version);
    expect(await putBytes(vault, OLD.small, { name: 'small' })).toMatchObject({ unchanged: true });
    expect(await all(vault.list())).toHaveLength(2);
    const versions = await all(vault.list({ all: true }));
    const numbers = versions.filter(({ name }) => name === 'small').map(({ version }) => version);
    expect(new Set(numbers).size).toBe(3);
    expect(numbers).toEqual(numbers.toSorted((a, b) => b - a));
    expect(new Set(versions.map(({ writer }) => writer.isOwn))).toEqual(new Set([true]));
    const pruned = await all(vault.planPrune({ last: 1 }));
    const kept = pruned.map((name) => name.map(({ reasons }) => reasons.length).join(' '));
    expect(new Set(kept)).toEqual(new Set(['1', '1 0 0']));
    const rows = await all(session.catalog.files.walk());
    expect(new Set(rows.map(({ nameTag }) => Buffer.from(nameTag).toString('hex'))).size).toBe(3);
  });

  test('leaves what was removed to be brought back, and what is stored to be verified, repaired and swept', async () => {
    await using scene = await after.scene();
    const { vault } = await scene.open({ now: () => Date.now() });
    await putBytes(vault, randomBytes(100_000), { name: 'new' });
    await vault.undelete(['gone']);
    expect(await getBytes(vault, 'gone')).toEqual(OLD.gone);
    await vault.remove(['large', 'new']);
    await vault.repair();
    const later = await scene.open({ now: () => Date.now() + 8 * DAY });
    for (const { storage } of scene.buckets) expect(storage.has(manifestObjectName('x'))).toBe(false);
    const swept = await later.vault.sweep({ waitMs: 0, ignoreGrace: true });
    expect(swept).toMatchObject({ filesRemoved: 2, blockedBy: null });
    expect(await all(vault.list())).toHaveLength(2);
    const verified = await vault.verify({ depth: 'data' });
    expect(verified).toMatchObject({ outcome: 'whole', notOpened: 0 });
    expect(await getBytes(vault, 'gone')).toEqual(OLD.gone);
  });

  test('is made up in an empty catalog by the new password', async () => {
    await using scene = await after.scene();
    await using place = await temporaryFolder();
    const { session } = await scene.open();
    await putBytes((await scene.open()).vault, randomBytes(10), { name: 'small' });
    const catalog = await openCatalog(place.at('other.db'), { create: true });
    const opener = session.opener;
    const found = await recoverCatalog({
      catalog,
      urls: scene.buckets.map(({ url }) => url),
      opener,
      password: () => Promise.resolve(NEXT),
      parts: parts(catalog, opener),
    });
    expect(found).toMatchObject({ learned: 5, hidden: 1, unknown: [], missing: [], unreadableManifests: [] });
    await catalog.close();
  });

  test('is refused a second time by whoever has not opened it since, and nothing is stored with the old root', async () => {
    await using scene = await before.scene();
    const there = await scene.open();
    await rotate((await scene.open()).vault);
    for (const bytes of [10, 100_000]) {
      const late = putBytes(there.vault, randomBytes(bytes), { name: 'late' });
      await expect(late).rejects.toMatchObject({ code: 'wrong-password' });
    }
    await expect(rotate(there.vault)).rejects.toMatchObject({ code: 'wrong-password' });
    await expect(there.vault.addKey({ ...ANN, secret: 'x', label: 'x' })).rejects.toThrow('vault key rotate');
    await expect(there.vault.remove(['small'])).rejects.toMatchObject({ code: 'wrong-password' });
    await expect(there.vault.sweep()).rejects.toMatchObject({ code: 'wrong-password' });
    await expectOld((await openedBy(scene, NEXT)).vault);
    expect(await unlockedBy(scene, NEXT)).toMatchObject({ keyring: { root: 2 } });
  });

  test('can follow another one, and all roots stay readable', async () => {
    await using scene = await after.scene();
    const { vault } = await scene.open();
    const second = randomBytes(100_000);
    await putBytes(vault, second, { name: 'large' });
    expect(await vault.roots.rotate({ secret: 'the third', kdfCost: CHEAP_KDF })).toMatchObject({ root: 3 });
    const { vault: third, session } = await openedBy(scene, 'the third');
    expect(requireFull(session.keys, 'this').earlier.map(({ rootNumber }) => rootNumber)).toEqual([2, 1]);
    expect(await getBytes(third, 'large')).toEqual(second);
    const [newest, old] = (await all(third.list({ all: true }))).filter(({ name }) => name === 'large');
    expect(await getBytes(third, present(old).hash)).toEqual(OLD.large);
    const { version } = await putBytes(third, OLD.large, { name: 'large' });
    expect(version).toBeGreaterThan(present(newest).version);
  });

  test('has a key that is added with a label from before go on with the names of that', async () => {
    await using scene = await before.scene();
    const hers = await openedBy(scene, ANN.secret);
    const first = await putBytes(hers.vault, OLD.small, { name: 'hers' });
    const { vault } = await scene.open();
    await rotate(vault);
    await vault.sync();
    await vault.addKey({ ...ANN, label: 'bob', secret: 'of bob' });
    await vault.addKey(ANN);
    const again = await openedBy(scene, ANN.secret);
    expect(await getBytes(again.vault, 'hers')).toEqual(OLD.small);
    const second = await putBytes(again.vault, OLD.large, { name: 'hers' });
    expect(second.version).toBeGreaterThan(first.version);
    expect(await getBytes(again.vault, 'ann:hers')).toEqual(OLD.large);
    await expect(getBytes((await openedBy(scene, 'of bob')).vault, 'hers')).rejects.toThrow('ann:hers');
    const found = await all((await scene.open({ unlocked: await unlockedBy(scene, NEXT) })).vault.list());
    expect(found.filter(({ name }) => name === 'hers').length).toBeGreaterThan(0);
  });

  test('ends the tokens and links that were given before, and finds the buckets of this machine', async () => {
    await using scene = await before.scene();
    const { vault, session } = await scene.open();
    scene.buckets.push({ ...scene.bucket(0), url: 'memory:moved' });
    await vault.tokens.add({ label: 'x', scopes: ['read'], expiresAtMs: null });
    await vault.setBucketUrl(scene.bucket(0).url, 'memory:moved', { local: true });
    await rotate(vault);
    expect(await all(session.catalog.grants.list('token'))).toEqual([]);
    const { vault: again } = await openedBy(scene, NEXT);
    expect(again.buckets.map(({ url }) => url)).toEqual(['memory:moved', 'memory:2', 'memory:3']);
  });

  test('changes nothing for a password that a key has, nor while a bucket is down', async () => {
    await using scene = await before.scene();
    const { vault } = await scene.open();
    for (const secret of [PASSWORD, ANN.secret]) {
      const same = vault.roots.rotate({ secret, kdfCost: CHEAP_KDF });
      await expect(same).rejects.toMatchObject({ code: 'already-exists' });
    }
    await expect(vault.roots.rotate({ secret: '' })).rejects.toMatchObject({ code: 'invalid-input' });
    scene.bucket(2).wrap = (bucket) => faulty(bucket, always('unavailable'));
    await expect(rotate(vault)).rejects.toMatchObject({ code: 'unavailable' });
    scene.bucket(2).wrap = (bucket) => bucket;
    expect((await unlockedBy(scene, PASSWORD)).keys.rootNumber).toBe(1);
    await expectOld(vault);
  });

  test('cut short anywhere, leaves a vault that one of the two passwords opens, with everything in it', async () => {
    const roots = new Set<number>();
    let ends = true;
    for (let nth = 1; ends; nth += CUT_STRIDE) {
      await using scene = await before.scene();
      const { vault } = await scene.open({ around: endingAt(nth) });
      ends = (await rotate(vault).catch((error: unknown) => error)) instanceof VaultError;
      const unlocked = await unlockedBy(scene, NEXT).catch(() => unlockedBy(scene, PASSWORD));
      roots.add(unlocked.keys.rootNumber);
      const { vault: left } = await scene.open({ unlocked });
      await left.repair();
      if (unlocked.keys.rootNumber === 1) await rotate(left);
      const { vault: whole } = await openedBy(scene, NEXT);
      await expectOld(whole);
      await whole.sync();
      await expectOld(whole);
      for (const bucket of scene.buckets)
        expect((await unlockedBy(scene, NEXT, [bucket])).keys.rootNumber).toBe(2);
    }
    expect(roots).toEqual(new Set([1, 2]));
  });
});

describe('two machines at once', () => {
  test.each(['rotate', 'add a key'] as const)('of which one rotates and the other would %s', async (what) => {
    for (let nth = 1; nth <= 25; nth += 4) {
      await using scene = await before.scene();
      const there = await scene.open();
      let beside: Promise<unknown> | null = null;
      const other = (): Promise<unknown> =>
        (what === 'rotate'
          ? there.vault.roots.rotate({ secret: 'of the other', kdfCost: CHEAP_KDF })
          : there.vault.addKey({ ...ANN, label: 'bob', secret: 'of bob' })
        ).catch((error: unknown) => error);
      const here = await scene.open({
        async around(step, proceed) {
          if (step.nth >= nth) await (beside ??= other());
          await proceed();
        },
      });
      const mine = await rotate(here.vault).catch((error: unknown) => error);
      const theirs = await (beside ?? other());
      const won = [mine, theirs].filter((one) => !(one instanceof VaultError));
      expect({ nth, won: won.length }).toEqual({ nth, won: what === 'rotate' || won.length === 1 ? 1 : 2 });
      const secret = mine instanceof VaultError ? 'of the other' : NEXT;
      const { vault, session } = await openedBy(scene, secret);
      expect(session.keys.rootNumber).toBe(2);
      // A key that was added before was taken away with the others.
      expect(await vault.keys()).toHaveLength(1);
      await expectOld(vault);
      for (const bucket of scene.buckets) {
        expect((await unlockedBy(scene, secret, [bucket])).keys.rootNumber).toBe(2);
      }
    }
  });
});

describe('whoever has kept the old root', () => {
  test('makes no keyring that counts, in any number of buckets and of any epoch', async () => {
    await using scene = await after.scene();
    const { session, vault } = await scene.open();
    const { epoch } = session.keyring.keyring;
    show(scene, keyringObjectName(900), await turnedBack(scene));
    // The old password still opens his; it is the vault's only where no bucket shows what has replaced it.
    await expect(unlockedBy(scene, PASSWORD)).rejects.toThrow('valid once');
    expect((await unlockedBy(scene, NEXT)).keyring).toMatchObject({ epoch, root: 2 });
    await vault.changeDefaults({ chunkSize: 128 * 1024 });
    expect(session.keyring.keyring).toMatchObject({ epoch: epoch + 1, root: 2 });
    const unlocked = await unlockedBy(scene, NEXT);
    expect(unlocked.keyring).toMatchObject({ epoch: epoch + 1, root: 2 });
    const { vault: again } = await scene.open({ unlocked });
    await expectOld(again);
  });

  test('makes no root that an owner of the vault takes for its own', async () => {
    await using scene = await after.scene();
    show(scene, keyringObjectName(800), await forkOf(scene));
    show(scene, keyringObjectName(900), await turnedBack(scene));
    expect((await unlockedBy(scene, NEXT)).keyring.root).toBe(2);
    const { vault, session } = await scene.open();
    await putBytes(vault, randomBytes(70_000), { name: 'new' });
    expect(session.keyring.keyring.root).toBe(2);
  });

  test('hides the last keyring from no password that opened one before, by roots of his own', async () => {
    await using scene = await after.scene();
    const { vault } = await scene.open();
    await vault.changePassword({ current: NEXT, next: PASSWORD, kdfCost: CHEAP_KDF });
    show(scene, keyringObjectName(800), await forkOf(scene));
    show(scene, keyringObjectName(900), await turnedBack(scene));
    expect((await unlockedBy(scene, PASSWORD)).keyring.root).toBe(2);
  });

  test('has no machine that opened the vault before take the last keyring away', async () => {
    await using scene = await before.scene();
    const there = await scene.open();
    await rotate((await scene.open()).vault);
    const { keys, keyring } = there.session;
    const later = { ...keyring.keyring, epoch: 900, previous: '00'.repeat(32) };
    show(scene, keyringObjectName(900), signKeyring(keys, later));
    await expect(there.vault.repair()).rejects.toMatchObject({ code: 'wrong-password' });
    for (const bucket of scene.buckets) {
      expect((await unlockedBy(scene, NEXT, [bucket])).keyring.root).toBe(2);
    }
  });

  test('opens nothing that was stored since', async () => {
    await using scene = await after.scene();
    const { vault } = await scene.open();
    const { hash } = await putBytes(vault, randomBytes(100), { name: 'new' });
    const { keys } = await thief(scene);
    const { ManifestOpener } = await import('../../src/crypto/manifest.ts');
    const bytes = present(scene.bucket(0).storage.get(manifestObjectName(hash)));
    const old = present(keysUnder(keys, 1));
    expect(() => new ManifestOpener(old).open(bytes, hash)).toThrow('root 2');
  });

  test('removes nothing that was stored since, and what was stored before as everybody could', async () => {
    await using scene = await after.scene();
    const { vault, session } = await scene.open();
    const bytes = randomBytes(100_000);
    const { hash } = await putBytes(vault, bytes, { name: 'new' });
    const old = await vault.resolve('large');
    const { keys } = await thief(scene);
    for (const one of [hash, old.hash]) {
      const record = { hash: one, serial: 2 ** 50, live: false, atMs: 0, graceMs: 0 };
      show(scene, deletionObjectName(one), signDeletion(keys, record));
    }
    await vault.sync();
    expect((await all(vault.list())).map(({ name }) => name).toSorted()).toEqual(['new', 'small']);
    await vault.repair();
    await session.guard.end();
    const { filesRemoved } = await vault.sweep({ waitMs: 0 });
    expect(filesRemoved).toBe(1);
    expect(await getBytes(vault, 'new')).toEqual(bytes);
    expect(await getBytes((await openedBy(scene, NEXT)).vault, hash)).toEqual(bytes);
    // A removal that counts has another record over it.
    await vault.remove(['new']);
    await vault.undelete(['new']);
    expect(await getBytes(vault, 'new')).toEqual(bytes);
    expect(session.keys.rootNumber).toBe(2);
  });

  test('has no sweep remove what a put under the new root relies on', async () => {
    await using scene = await after.scene();
    const { vault } = await scene.open();
    const content = randomBytes(100_000);
    let objects: number | null = null;
    const { keys } = await thief(scene);
    const sweeping = await scene.open();
    const namesOf = (prefix: string): string[] => [
      ...new Set(
        scene.buckets.flatMap(({ storage }) => [...storage.keys()].filter((n) => n.startsWith(prefix))),
      ),
    ];
    const putting = await scene.open({
      async around({ call, name }, proceed) {
        // Its chunks are there, and no manifest says so yet.
        if (objects === null && call === 'put' && name.startsWith('manifests/')) {
          const markers = namesOf('puts/');
          expect(markers).not.toEqual([]);
          for (const waitsFor of [[], markers]) {
            const list = { id: drawId(), atMs: 1, doneAtMs: null, waitsFor, objects: namesOf('chunks/') };
            show(scene, sweepObjectName(list.id), signSweepList(keys, list));
          }
          objects = (await sweeping.vault.sweep({ waitMs: 0 })).objectsRemoved;
          expect(namesOf('puts/')).toEqual(markers);
        }
        await proceed();
      },
    });
    await putBytes(putting.vault, content, { name: 'new' });
    expect(objects).toBe(0);
    expect(await getBytes(vault, 'new')).toEqual(content);
    expect(await getBytes(vault, 'large')).toEqual(OLD.large);
  });

  test('has no loss taken for a removal', async () => {
    await using scene = await after.scene();
    const { vault } = await scene.open();
    const { hash } = await putBytes(vault, randomBytes(10), { name: 'new' });
    const { keys } = await thief(scene);
    const name = manifestObjectName(hash);
    for (const { storage } of scene.buckets) storage.delete(name);
    const now = Date.now();
    const list = { id: drawId(), atMs: now, doneAtMs: now, waitsFor: [], objects: [name] };
    show(scene, sweepObjectName(list.id), signSweepList(keys, list));
    expect((await vault.sweep({ waitMs: 0 })).filesMissing).toEqual([hash]);
  });

  test('stores what counts as older than anything stored since, and only as his own writers', async () => {
    await using scene = await after.scene();
    const { vault, session } = await scene.open();
    const mine = randomBytes(100);
    await putBytes(vault, mine, { name: 'small' });
    const { keys } = await thief(scene);
    const put = (by: VaultKeys): string => {
      const body = Buffer.from('of the thief');
      const head = {
        kind: 'file' as const,
        name: 'small',
        size: body.length,
        createdAtMs: Date.now() + 1000,
        modified: null,
        mode: null,
        expiresAtMs: null,
        version: Number.MAX_SAFE_INTEGER,
        epoch: 1,
        redundancy: { k: 2, m: 1 },
        chunkSize: 65_536,
        chunks: 0,
        indexChunks: 0,
        entries: null,
        incomplete: false,
        locked: false,
      };
      const content = { size: body.length, chunkSize: 65_536, depth: 0 as const, refs: [], inline: body };
      const ids = { depth: 0 as const, ids: [] };
      const sealed = new ManifestSealer(by).seal({
        head,
        ids,
        content,
        contentKey: randomBytes(32),
        lock: null,
      });
      const hash = manifestHash(sealed);
      show(scene, manifestObjectName(hash), sealed);
      return hash;
    };
    const older = put(keys);
    const forged = put({
      ...keys,
      writer: requireFull(keysUnder(keys, 1) ?? keys, 'this').writer(session.keys.writer.id),
    });
    await vault.sync();
    expect(await getBytes(vault, 'small')).toEqual(mine);
    const known = await all(vault.list({ all: true }));
    expect(known.some(({ hash }) => hash === older)).toBe(true);
    expect(known.some(({ hash }) => hash === forged)).toBe(false);
    const { version: next } = await putBytes(vault, randomBytes(100), { name: 'small' });
    expect(next).toBeLessThan(Number.MAX_SAFE_INTEGER);
    const [judged] = await all(vault.planPrune({ last: 2 }, { references: ['small'] }));
    expect(present(judged).find(({ version }) => version.hash === older)?.reasons).toEqual(
      expect.not.arrayContaining(['last']),
    );
  });

  test('shows the buckets of old keyrings in vain to whoever has seen the new one', async () => {
    await using scene = await after.scene();
    const { keyring } = (await scene.open()).session;
    const back = await turnedBack(scene);
    for (const bucket of scene.buckets.slice(0, 2)) {
      for (const name of bucket.storage.keys()) if (name.startsWith('keyring/')) bucket.storage.delete(name);
      bucket.storage.set(keyringObjectName(900), back);
    }
    expect((await unlockedBy(scene, NEXT)).keyring.epoch).toBe(keyring.keyring.epoch);
    await expect(unlockedBy(scene, PASSWORD)).rejects.toMatchObject({ code: 'wrong-password' });
    const { vault } = await openedBy(scene, NEXT);
    await vault.repair();
    expect(scene.buckets.every(({ storage }) => storage.has(keyringObjectName(keyring.keyring.epoch)))).toBe(
      true,
    );
  });

  test('writes no row that the catalog is believed by', async () => {
    await using scene = await after.scene();
    const { session } = await scene.open();
    const rows = await all(session.catalog.files.walk());
    expect(rows.length).toBeGreaterThan(0);
    const { openFileRow, sealFileRow } = await import('../../src/vault/files/records.ts');
    const { keys } = await thief(scene);
    const row = present(rows.find(({ writer }) => writer === keys.writer.id));
    const record = openFileRow(session, row);
    expect(record.isProven).toBe(true);
    const old = keysOfRoot(requireFull(keys, 'this').root, {
      vaultId: keys.vaultId,
      rootNumber: 1,
      writer: keys.writer.id,
    });
    const part = { head: { ...record.info }, ids: record.ids, access: { content: randomBytes(32) } };
    const forged = sealFileRow(
      { ...session, keys: old },
      { hash: row.hash, writer: row.writer, part, contentDigest: null },
    );
    expect(openFileRow(session, { ...forged, nameTag: row.nameTag }).isProven).toBe(false);
  });
});

test('a label is sealed anew for the writers from before', async () => {
  await using scene = await after.scene();
  const { keys, keyring } = (await scene.open()).session;
  expect(keyring.keyring.former.map(({ writer }) => sealLabel(keys, writer, '').length)).toEqual(
    keyring.keyring.former.map(({ label }) => label.length),
  );
});
