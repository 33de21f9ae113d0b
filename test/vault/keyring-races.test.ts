/** Two machines that change the keyring at once in different ways: both get what they want. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { drawKeyText } from '../../src/crypto/keys.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { behind, CHEAP_KDF, PASSWORD } from './harness.ts';
import { readKeyrings } from '../../src/vault/keys/keyring-copies.ts';
import { unlock } from '../../src/vault/keys/unlock.ts';
import { emptyPlace, stage } from './scene.ts';
import type { Stage } from './scene.ts';

const OLD = drawKeyText();
const NEW = drawKeyText();

let ready: Stage;
beforeAll(async () => {
  ready = await stage({}, async ({ vault }) => {
    await vault.addKey({ secret: OLD, label: 'ann' });
  });
});
afterAll(async () => ready[Symbol.asyncDispose]());

const CHANGES: Readonly<Record<string, (vault: Vault) => Promise<unknown>>> = {
  add: async (vault) => vault.addKey({ secret: NEW, label: 'bob', role: 'put' }),
  rm: async (vault) => vault.removeKey('ann'),
  password: async (vault) =>
    vault.changePassword({ current: PASSWORD, next: 'another one', kdfCost: CHEAP_KDF }),
  bucket: async (vault) => vault.addBucket('memory:4'),
};
const pairs = Object.keys(CHANGES).flatMap((one, i, names) =>
  names.slice(i + 1).map((other) => [one, other] as const),
);

test.each(pairs)('%s beside %s', async (one, other) => {
  for (let nth = 2; nth <= 20; nth += 9) {
    await using scene = await ready.scene();
    scene.buckets.push(emptyPlace('memory:4'));
    const there = await scene.open();
    let beside: Promise<unknown> | null = null;
    const here = await scene.open({
      async around(step, proceed) {
        if (step.nth >= nth) await (beside ??= CHANGES[other]?.(there.vault) ?? null);
        await proceed();
      },
    });
    await CHANGES[one]?.(here.vault);
    await (beside ?? CHANGES[other]?.(there.vault));
    const did = (change: string): boolean => [one, other].includes(change);
    const { vaultId } = here.session;
    for (const bucket of scene.buckets.slice(0, did('bucket') ? 4 : 3)) {
      const opens = async (secret: string): Promise<boolean> =>
        unlock(await readKeyrings(behind(bucket)), secret, { vaultId }).then(
          () => true,
          () => false,
        );
      expect({
        nth,
        bucket: bucket.url,
        ann: await opens(OLD),
        bob: await opens(NEW),
        own: await opens(PASSWORD),
      }).toEqual({
        nth,
        bucket: bucket.url,
        ann: !did('rm'),
        bob: did('add'),
        own: !did('password'),
      });
    }
  }
});
