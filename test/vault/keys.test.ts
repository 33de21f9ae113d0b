/** Keys of a vault: added, listed, renamed and removed, also by two machines at once, and what somebody who lies can do. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { drawKeyText } from '../../src/crypto/keys.ts';
import { signKeyring } from '../../src/crypto/signing.ts';
import { VaultError } from '../../src/errors.ts';
import type { Role } from '../../src/format/keyring.ts';
import { keyringObjectName } from '../../src/format/keyring.ts';
import { readKeyrings } from '../../src/vault/keys/keyring-copies.ts';
import { unlock } from '../../src/vault/keys/unlock.ts';
import type { CallOptions, SecretOptions, Warning } from '../../src/vault/call.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import type { Around } from '../support/steps.ts';
import { behind, CHEAP_KDF, getBytes, PASSWORD, putBytes } from './harness.ts';
import { emptyPlace, endingAt, failing, present, stage } from './scene.ts';
import type { Scene, SceneHandle, Stage } from './scene.ts';

const CONTENT = randomBytes(1000);
const ANN = { secret: 'the password of ann', label: 'ann', kdfCost: CHEAP_KDF };

let ready: Stage;
let other: Stage;

beforeAll(async () => {
  ready = await stage({}, async ({ vault }) => {
    await putBytes(vault, CONTENT, { name: 'a' });
    await vault.addKey(ANN);
  });
  other = await stage({}, async ({ vault }) => {
    await vault.addKey(ANN);
  });
});

afterAll(async () => {
  await ready[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
});

async function* nothing(): AsyncGenerator<Uint8Array> {
  // A file that is empty.
}

/** Whether a secret opens the vault from each of the buckets. */
async function opens(scene: Scene, secret: string): Promise<boolean[]> {
  const { session } = await scene.open();
  return Promise.all(
    scene.buckets.map(async (bucket) => {
      const keyrings = await readKeyrings(behind(bucket));
      return unlock(keyrings, secret, { vaultId: session.vaultId }).then(
        () => true,
        (error: unknown) => {
          if (error instanceof VaultError && error.code === 'wrong-password') return false;
          throw error;
        },
      );
    }),
  );
}

/** The vault as another machine of somebody else's has it: unlocked from the buckets, the same catalog. */
async function openedBy(scene: Scene, secret: string): Promise<SceneHandle> {
  const own = await scene.open();
  const keyrings = await readKeyrings(behind(scene.bucket(0)));
  const unlocked = await unlock(keyrings, secret, { vaultId: own.session.vaultId });
  return scene.open({ unlocked });
}

const labels = async (vault: Vault): Promise<string[]> => (await vault.keys()).map(({ label }) => label);

describe('a key', () => {
  test('opens the vault from every bucket, with a writer of its own, beside the one before', async () => {
    await using scene = await ready.scene();
    expect(await opens(scene, ANN.secret)).toEqual([true, true, true]);
    expect(await opens(scene, PASSWORD)).toEqual([true, true, true]);
    const { vault, session } = await openedBy(scene, ANN.secret);
    const founder = (await scene.open()).session.keys.writer.id;
    expect(await getBytes(vault, `${founder}:a`)).toEqual(CONTENT);
    await putBytes(vault, CONTENT, { name: 'b' });
    const mine = await scene.open();
    expect(session.keys.writer.id).not.toBe(mine.session.keys.writer.id);
    expect(await getBytes(mine.vault, 'ann:b')).toEqual(CONTENT);
    const [first, ann] = await mine.vault.keys();
    expect(first).toMatchObject({ label: '', role: 'full', by: null, own: true });
    expect(ann).toMatchObject({ label: 'ann', role: 'full', by: first?.writer, own: false });
    expect([first?.lastUsedAtMs, ann?.lastUsedAtMs]).toEqual([expect.any(Number), expect.any(Number)]);
  });

  test.each<Role>(['full', 'put'])(
    'from a key file costs the least that readers accept: %s',
    async (role) => {
      await using scene = await ready.scene();
      const { vault, session } = await scene.open();
      const secret = drawKeyText();
      await vault.addKey({ secret, role, label: 'machine' });
      expect(session.keyring.keyring.slots.at(-1)).toMatchObject({ role, cost: CHEAP_KDF });
      const { keys } = (await openedBy(scene, secret)).session;
      expect([keys.role, keys.full === null]).toEqual([role, role === 'put']);
    },
  );

  test('is refused without a secret, with one or a label that another has or is known by, and by a key that can only store', async () => {
    await using scene = await ready.scene();
    const { vault } = await scene.open();
    const before = scene.buckets.map(({ storage }) => new Map(storage));
    const refused = async (key: Partial<typeof ANN>, code: string): Promise<void> => {
      await expect(vault.addKey({ ...ANN, label: 'bob', ...key })).rejects.toMatchObject({ code });
    };
    await refused({ secret: '' }, 'invalid-input');
    await refused({ label: 'ann', secret: 'another' }, 'already-exists');
    await refused({}, 'already-exists');
    for (const label of ['', 'x'.repeat(1025), 'ann:b', 'a\nb', '\x1b[31m', ' ', 'ann ']) {
      await refused({ secret: 'another', label }, 'invalid-input');
      await expect(vault.renameKey('ann', { label })).rejects.toMatchObject({ code: 'invalid-input' });
    }
    const [own, ann] = await vault.keys();
    for (const { writer } of [present(own), present(ann)])
      for (const label of [writer, writer.slice(0, 8)]) {
        await refused({ secret: 'another', label }, 'already-exists');
        await expect(vault.renameKey('ann', { label })).rejects.toMatchObject({ code: 'already-exists' });
      }
    expect(await vault.key(present(own).writer)).toMatchObject({ own: true });
    expect(scene.buckets.map(({ storage }) => storage)).toEqual(before);
    const secret = drawKeyText();
    await vault.addKey({ secret, role: 'put' });
    const machine = (await openedBy(scene, secret)).vault;
    for (const change of [
      async () => machine.addKey({ secret: drawKeyText() }),
      async () => machine.removeKey('ann'),
      async () => machine.renameKey('ann', { label: 'eve' }),
    ]) {
      await expect(change()).rejects.toMatchObject({ code: 'denied' });
    }
  });

  test('is called otherwise, by label or writer', async () => {
    await using scene = await ready.scene();
    const { vault } = await scene.open();
    const ann = await vault.renameKey('ann', { label: 'anna' });
    expect(await vault.renameKey(ann.writer.slice(0, 8), { label: 'ännchen' })).toMatchObject({
      writer: ann.writer,
      label: 'ännchen',
    });
    await vault.renameKey('ännchen', { label: 'ännchen' });
    await expect(vault.renameKey('anna', { label: 'x' })).rejects.toMatchObject({ code: 'file-not-found' });
    await expect(vault.key('')).rejects.toMatchObject({ code: 'file-not-found' });
    const [own] = await vault.keys();
    await expect(vault.renameKey(present(own).writer, { label: 'ännchen' })).rejects.toMatchObject({
      code: 'already-exists',
    });
    expect(await opens(scene, ANN.secret)).toEqual([true, true, true]);
  });

  test('that is removed opens no bucket any more, and what it stored is found by its names', async () => {
    await using scene = await ready.scene();
    await putBytes((await openedBy(scene, ANN.secret)).vault, CONTENT, { name: 'by ann' });
    const { vault, session } = await scene.open();
    const { writer } = await vault.removeKey('ann');
    expect(await opens(scene, ANN.secret)).toEqual([false, false, false]);
    expect(await opens(scene, PASSWORD)).toEqual([true, true, true]);
    expect(await labels(vault)).toEqual(['']);
    expect(session.keyring.keyring.former).toMatchObject([{ writer, root: 1, role: 'full' }]);
    expect(await getBytes((await scene.open()).vault, 'ann:by ann')).toEqual(CONTENT);
  });

  test.each<[string, (vault: Vault, hash: string) => Promise<unknown>]>([
    ['put', (vault) => putBytes(vault, randomBytes(70_000), { name: 'late' })],
    ['put of a small file', (vault) => putBytes(vault, randomBytes(70), { name: 'late' })],
    ['key add', (vault) => vault.addKey({ secret: drawKeyText(), label: 'eve' })],
    ['key rm', (vault) => vault.removeKey('web')],
    ['key rename', (vault) => vault.renameKey('web', { label: 'eve' })],
    ['key rotate', (vault) => vault.roots.rotate({ secret: drawKeyText() })],
    ['key reseal', (vault) => vault.roots.reseal()],
    ['password', (vault) => vault.changePassword({ current: ANN.secret, next: drawKeyText() })],
    ['defaults', (vault) => vault.changeDefaults({ chunkSize: 1024 * 1024 })],
    ['rm', (vault, hash) => vault.remove([hash])],
    ['undelete', (vault, hash) => vault.undelete([hash])],
    ['sweep', (vault) => vault.sweep({ ignoreGrace: true })],
    ['repair', (vault) => vault.repair()],
    ['sync', (vault) => vault.sync()],
    ['bucket add', (vault) => vault.addBucket('memory:9')],
    ['bucket rm', (vault) => vault.removeBucket('memory:1', { gone: true })],
    ['bucket set-url', (vault) => vault.setBucketUrl('memory:1', 'memory:9')],
    ['share', (vault) => vault.share({ hash: '', name: '', content: nothing }, { expiresMs: 9000 })],
    ['share rm', (vault) => vault.removeShares(['0'.repeat(32)])],
  ])(
    'that is removed changes nothing more, also where it had opened the vault before: %s',
    async (verb, change) => {
      await using scene = await ready.scene();
      const { vault } = await scene.open();
      await vault.addKey({ secret: drawKeyText(), role: 'put', label: 'web' });
      const { hash } = await vault.resolve('a');
      if (verb === 'undelete') await vault.remove([hash]);
      // Where a bucket may be, and where one has gone.
      const marker = present(scene.bucket(0).storage.get('vault.json'));
      const moved = { ...emptyPlace('memory:9'), storage: new Map([['vault.json', marker]]) };
      scene.buckets.push(verb === 'bucket set-url' ? moved : emptyPlace('memory:9'));
      const hers = await openedBy(scene, ANN.secret);
      await vault.removeKey('ann');
      const before = scene.buckets.map(({ storage }) => new Map(storage));
      await expect(change(hers.vault, hash)).rejects.toMatchObject({ code: 'wrong-password' });
      expect(scene.buckets.map(({ storage }) => storage)).toEqual(before);
    },
  );

  test('is not removed while a bucket is down, if it is the last full one, nor by itself unless that is meant', async () => {
    await using scene = await ready.scene();
    const { vault } = await scene.open();
    const own = present((await vault.keys())[0]).writer;
    scene.bucket(1).wrap = (bucket) => faulty(bucket, always('unavailable'));
    await expect(vault.removeKey('ann')).rejects.toMatchObject({ code: 'unavailable' });
    scene.bucket(1).wrap = (bucket) => bucket;
    await expect(vault.removeKey(own)).rejects.toMatchObject({ code: 'invalid-input' });
    expect(await opens(scene, ANN.secret)).toEqual([true, true, true]);
    await vault.addKey({ secret: drawKeyText(), role: 'put' });
    await vault.removeKey(own, { own: true });
    expect(await opens(scene, PASSWORD)).toEqual([false, false, false]);
    const { vault: hers } = await openedBy(scene, ANN.secret);
    await expect(hers.removeKey('ann', { own: true })).rejects.toThrow('last full key');
  });

  test('whose password is changed stays the same key', async () => {
    await using scene = await ready.scene();
    const { vault } = await scene.open();
    const before = await vault.keys();
    await vault.changePassword({ current: PASSWORD, next: drawKeyText() });
    expect(await vault.keys()).toEqual(before);
    expect(await opens(scene, ANN.secret)).toEqual([true, true, true]);
  });
});

describe('a change while a bucket is away', () => {
  test.each<[string, (vault: Vault, call: CallOptions) => Promise<unknown>]>([
    ['a new key', (vault, call) => vault.addKey({ secret: drawKeyText(), label: 'eve', ...call })],
    ['a label', (vault, call) => vault.renameKey('ann', { label: 'anna', ...call })],
    ['defaults', (vault, call) => vault.changeDefaults({ chunkSize: 1024 * 1024 }, call)],
    ['a URL', (vault, call) => vault.setBucketUrl('memory:1', 'memory:9', call)],
  ])('stands, and the bucket is named that does not have it: %s', async (_what, change) => {
    await using scene = await ready.scene();
    const { vault, session } = await scene.open();
    scene.buckets.push({ ...scene.bucket(0), url: 'memory:9' });
    scene.bucket(2).wrap = (bucket) => faulty(bucket, always('unavailable'));
    const warnings: Warning[] = [];
    await change(vault, { onWarning: (warning) => warnings.push(warning) });
    const message = expect.stringMatching(
      /^memory:3 does not have the new keyring yet: "vault repair" gives it/,
    );
    expect(warnings).toEqual([{ kind: 'bucket-down', message, bucket: 'memory:3' }]);
    const name = keyringObjectName(session.keyring.keyring.epoch);
    const has = (): boolean[] => scene.buckets.slice(0, 3).map(({ storage }) => storage.has(name));
    expect(has()).toEqual([true, true, false]);
    scene.bucket(2).wrap = (bucket) => bucket;
    await vault.repair();
    expect(has()).toEqual([true, true, true]);
  });

  test('says nothing of a bucket that has it and lets nothing be removed', async () => {
    await using scene = await ready.scene();
    const { vault } = await scene.open();
    failing(scene.bucket(2), ({ operation }) => operation === 'remove', 'denied');
    const warnings: Warning[] = [];
    const onWarning = (warning: Warning): void => void warnings.push(warning);
    await vault.addKey({ secret: drawKeyText(), label: 'eve', onWarning });
    expect(warnings).toEqual([]);
  });
});

describe('two machines', () => {
  test('that change keys at once both get what they want, whichever way their calls come between each other', async () => {
    for (let nth = 1; nth <= 25; nth += 3) {
      await using scene = await ready.scene();
      const there = await scene.open();
      let beside: Promise<unknown> | null = null;
      const around: Around = async (step, proceed) => {
        if (step.nth >= nth) await (beside ??= there.vault.addKey({ secret: drawKeyText(), label: 'bob' }));
        await proceed();
      };
      const here = await scene.open({ around });
      await here.vault.addKey({ secret: drawKeyText(), label: 'eve' });
      await (beside ?? there.vault.addKey({ secret: drawKeyText(), label: 'bob' }));
      const { vault } = await scene.open();
      expect({ nth, labels: (await labels(vault)).toSorted() }).toEqual({
        nth,
        labels: ['', 'ann', 'bob', 'eve'],
      });
    }
  });

  test('that remove each other leave one full key', async () => {
    for (let nth = 1; nth <= 25; nth += 3) {
      await using scene = await ready.scene();
      const hers = await openedBy(scene, ANN.secret);
      const own = hers.session.keyring.keyring.slots[0]?.writer ?? '';
      let beside: Promise<unknown> | null = null;
      const remove = async (): Promise<unknown> => hers.vault.removeKey(own).catch((error: unknown) => error);
      const here = await scene.open({
        async around(step, proceed) {
          if (step.nth >= nth) await (beside ??= remove());
          await proceed();
        },
      });
      await here.vault.removeKey('ann').catch((error: unknown) => error);
      await (beside ?? remove());
      const open = [...(await opens(scene, ANN.secret)), ...(await opens(scene, PASSWORD))];
      expect({ nth, full: open.filter((one) => one).length }).toEqual({ nth, full: 3 });
    }
  });

  test('cut short anywhere, a key is removed from all buckets once that is repeated', async () => {
    let ends = true;
    for (let nth = 1; ends; nth += 1) {
      await using scene = await ready.scene();
      const { vault } = await scene.open({ around: endingAt(nth) });
      ends = (await vault.removeKey('ann').catch((error: unknown) => error)) instanceof VaultError;
      const after = await scene.open();
      await after.vault.removeKey('ann').catch((error: unknown) => {
        if (!(error instanceof VaultError && error.code === 'file-not-found')) throw error;
      });
      await after.vault.repair();
      expect({ nth, open: await opens(scene, ANN.secret) }).toEqual({ nth, open: [false, false, false] });
    }
  });
});

describe('whoever lies', () => {
  test('and shows the keyring from before a removal does not bring the key back', async () => {
    await using scene = await ready.scene();
    const { session, vault } = await scene.open();
    const before = session.keyring;
    await vault.removeKey('ann');
    scene.bucket(0).storage.set(keyringObjectName(before.keyring.epoch), Uint8Array.from(before.bytes));
    const again = await scene.open();
    expect(await labels(again.vault)).toEqual(['']);
    const all = await Promise.all(scene.buckets.map((bucket) => readKeyrings(behind(bucket))));
    await expect(unlock(all.flat(), ANN.secret, { vaultId: session.vaultId })).rejects.toMatchObject({
      code: 'wrong-password',
    });
  });

  test('and adds a slot, of his own or of another vault, with a key that does not sign for this one, adds none', async () => {
    await using scene = await ready.scene();
    await using foreign = await other.scene();
    const { session, vault } = await scene.open();
    const theirs = (await foreign.open()).session;
    const { keyring } = session.keyring;
    const slot = present(theirs.keyring.keyring.slots[1]);
    const forged = { ...keyring, epoch: keyring.epoch + 1, previous: '00'.repeat(32) };
    const bytes = signKeyring(
      { ...theirs.keys, vaultId: keyring.vaultId },
      { ...forged, slots: [...keyring.slots.slice(0, 1), slot] },
    );
    for (const { storage } of scene.buckets) storage.set(keyringObjectName(forged.epoch), bytes);
    expect(await labels(vault)).toEqual(['', 'ann']);
    expect(await opens(scene, ANN.secret)).toEqual([true, true, true]);
    await vault.renameKey('ann', { label: 'anna' });
    expect(await labels((await scene.open()).vault)).toEqual(['', 'anna']);
  });
});

test.each<[string, (vault: Vault, more: SecretOptions) => Promise<unknown>]>([
  ['a new key', (vault, more) => vault.addKey({ secret: 'another secret', kdfCost: CHEAP_KDF, ...more })],
  [
    'a new password',
    (vault, more) =>
      vault.changePassword({ current: PASSWORD, next: 'next password', kdfCost: CHEAP_KDF, ...more }),
  ],
  ['a new root', (vault, more) => vault.roots.rotate({ secret: 'of root', kdfCost: CHEAP_KDF, ...more })],
])('of %s it is said when a bucket may have it, and not before', async (_what, change) => {
  for (const refused of ['list', 'put'] as const) {
    await using scene = await ready.scene();
    const { vault } = await scene.open();
    for (const bucket of scene.buckets)
      bucket.wrap = (plain) =>
        faulty(plain, ({ operation, name }) =>
          operation === refused && name.startsWith('keyring/')
            ? { kind: 'fail', when: 'before', error: new VaultError('unavailable', 'away') }
            : null,
        );
    let told = 0;
    const onStoring = (): void => void (told += 1);
    await expect(change(vault, { onStoring })).rejects.toMatchObject({ code: 'unavailable' });
    expect([refused, told > 0]).toEqual([refused, refused === 'put']);
  }
});
