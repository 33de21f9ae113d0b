/** A bucket that can be read and not written to: what every bucket must be told of is not begun. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { drawKeyText } from '../../src/crypto/keys.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { faulty, storageError } from '../support/faulty-bucket.ts';
import { CHEAP_KDF, PASSWORD } from './harness.ts';
import { emptyPlace, stage, type Stage } from './scene.ts';

const secret = drawKeyText();

let ready: Stage;
beforeAll(async () => {
  ready = await stage({ buckets: 4 }, async ({ vault }) => {
    await vault.addKey({ secret: drawKeyText(), label: 'ann' });
  });
});
afterAll(async () => ready[Symbol.asyncDispose]());

test.each<[string, (vault: Vault) => Promise<unknown>]>([
  ['password', (vault) => vault.changePassword({ current: PASSWORD, next: 'new', kdfCost: CHEAP_KDF })],
  ['key rm', (vault) => vault.removeKey('ann')],
  ['key rotate', (vault) => vault.roots.rotate({ secret, kdfCost: CHEAP_KDF })],
  ['bucket add', (vault) => vault.addBucket('memory:5')],
  ['bucket rm', (vault) => vault.removeBucket('memory:1', { waitMs: 0 })],
])('%s changes nothing, and says so', async (_verb, change) => {
  await using scene = await ready.scene();
  scene.buckets.push(emptyPlace('memory:5'));
  const { vault } = await scene.open();
  // The last that is given a new keyring: the others would have it by then.
  scene.bucket(3).wrap = (plain) =>
    faulty(plain, ({ operation }) =>
      operation === 'put' ? { kind: 'fail', when: 'before', error: storageError('denied') } : null,
    );
  const objects = (): readonly string[] =>
    scene.buckets.flatMap(({ url, storage }) => [...storage.keys()].map((name) => `${url} ${name}`));
  const before = objects();
  await expect(change(vault)).rejects.toMatchObject({
    code: 'denied',
    message: expect.stringMatching(/^Nothing was changed, since a bucket .*memory:4/),
  });
  expect(objects()).toEqual(before);
});
