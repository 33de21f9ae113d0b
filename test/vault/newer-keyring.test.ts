// A keyring that only a newer version can read, and that the vault has signed: nobody goes by one from before it.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { VaultKeys } from '../../src/crypto/keys.ts';
import { nextRoot } from '../../src/crypto/roots.ts';
import { objectDigest, signKeyring } from '../../src/crypto/signing.ts';
import { encodeKeyring, keyringObjectName } from '../../src/format/keyring.ts';
import { unlock } from '../../src/vault/keys/unlock.ts';
import { drawId, keysOfRoot } from '../../src/crypto/keys.ts';
import { signed } from '../vectors/must-fail-signed.ts';
import { PASSWORD, putBytes } from './harness.ts';
import { stage } from './scene.ts';
import type { Scene, SceneHandle, Stage } from './scene.ts';

let ready: Stage;
beforeAll(async () => {
  ready = await stage({ buckets: 3 }, async ({ vault }) => {
    await putBytes(vault, Buffer.alloc(100_000, 1), { name: 'file' });
  });
});
afterAll(() => ready[Symbol.asyncDispose]());

type State = SceneHandle['session']['keyring']['keyring'];

/** The keyring after the session's, as changed, in JSON that says what only a newer version knows. */
function newerKeyring(
  { keyring: { keyring, bytes } }: SceneHandle['session'],
  keys: VaultKeys,
  change: Partial<State> = {},
  newer: (json: string) => string = (json) => json.replace('"requires":[]', '"requires":["new"]'),
): Buffer {
  const next = { ...keyring, epoch: keyring.epoch + 1, previous: objectDigest(bytes), ...change };
  return signed('keyring', Buffer.from(newer(encodeKeyring(next).toString())), keys);
}

function show({ buckets }: Scene, bytes: Uint8Array, epoch = 2): void {
  for (const { storage } of buckets.slice(0, 1)) storage.set(keyringObjectName(epoch), bytes);
}

const KINDS: readonly (readonly [string, (session: SceneHandle['session']) => Buffer])[] = [
  ['that requires something', (session) => newerKeyring(session, session.keys)],
  [
    'of another format',
    (session) => newerKeyring(session, session.keys, {}, () => '{"format":"vault/3","epoch":"two"}'),
  ],
  [
    'of a new root',
    (session) => {
      const { keys, step } = nextRoot(session.keys, drawId());
      return newerKeyring(session, keys, { root: 2, roots: [step] });
    },
  ],
];

describe.each(KINDS)('Beside a newer keyring %s', (_name, made) => {
  test('no password opens the one from before', async () => {
    await using scene = await ready.scene();
    const { session } = await scene.open();
    const { vaultId, keyring } = session;
    const newer = made(session);
    for (const candidates of [
      [keyring.bytes, newer],
      [newer, keyring.bytes],
    ])
      await expect(unlock(candidates, PASSWORD, { vaultId })).rejects.toMatchObject({ code: 'unsupported' });
  });

  test('nothing goes by the one from before, though one bucket alone shows the newer', async () => {
    await using scene = await ready.scene();
    const { vault, session } = await scene.open();
    show(scene, made(session));
    const isTooOld = { code: 'unsupported', message: expect.stringContaining('A newer version has changed') };
    await expect(putBytes(vault, Buffer.from('more'), { name: 'more' })).rejects.toMatchObject(isTooOld);
    await expect(vault.verify({ depth: 'listing' })).rejects.toMatchObject(isTooOld);
    await expect(vault.repair({ depth: 'listing' })).rejects.toMatchObject(isTooOld);
    await expect(vault.remove(['file'])).rejects.toMatchObject(isTooOld);
  });
});

test('A newer keyring that has been replaced since says nothing, and goes', async () => {
  await using scene = await ready.scene();
  const { vault, session } = await scene.open();
  const { keyring, keys, vaultId } = session;
  const replaced = newerKeyring(session, keys);
  const last = signKeyring(keys, { ...keyring.keyring, epoch: 3, previous: objectDigest(replaced) });
  // Nor does one that somebody has put under a later name.
  for (const epoch of [2, 4]) show(scene, replaced, epoch);
  for (const { storage } of scene.buckets) storage.set(keyringObjectName(3), last);
  expect((await unlock([keyring.bytes, replaced, last], PASSWORD, { vaultId })).keyring.epoch).toBe(3);
  await putBytes(vault, Buffer.from('more'), { name: 'more' });
  await vault.repair({ depth: 'listing' });
  expect([...(scene.buckets[0]?.storage.keys() ?? [])].filter((name) => name.startsWith('keyring/'))).toEqual(
    [keyringObjectName(3)],
  );
  expect((await vault.verify({ depth: 'listing' })).outcome).toBe('whole');
});

test('A newer keyring of somebody else says nothing', async () => {
  await using scene = await ready.scene();
  const { vault, session } = await scene.open();
  const { vaultId, keyring, keys } = session;
  const others = keysOfRoot(Buffer.alloc(32, 1), { vaultId, rootNumber: 1, writer: keys.writer.id });
  for (const [, made] of KINDS.slice(0, 2)) {
    const newer = made({ ...session, keys: others });
    expect((await unlock([keyring.bytes, newer], PASSWORD, { vaultId })).keyring.epoch).toBe(1);
    show(scene, newer);
    await putBytes(vault, Buffer.from('more'), { name: 'more' });
  }
});
