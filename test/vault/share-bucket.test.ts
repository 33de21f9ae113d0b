/** Shares and the bucket that they lie in: when it is to go, and what is said of them. */
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { shareObjectName } from '../../src/format/share.ts';
import { changeKeyring } from '../../src/vault/keys/keyring-store.ts';
import { present } from './scene.ts';
import { putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

const DAY = 86_400_000;
const made = (): Promise<TestVault> => testVault({ buckets: 4, redundancy: { k: 2, m: 1 } });

/** Stores what stands for a share: of its objects only the names matter here. */
function store(
  { buckets }: TestVault,
  expiresAtMs: number,
  whats: readonly ('note' | 'page' | number)[],
): void {
  const place = { id: randomBytes(16).toString('hex'), expiresAtMs };
  for (const what of whats)
    present(buckets[0]).storage.set(shareObjectName({ ...place, what }), randomBytes(5));
}

test('No link is put into a bucket that is being emptied', async () => {
  await using vault = await made();
  const id = vault.vault.buckets[0]?.id;
  await changeKeyring(
    vault.session,
    (keyring) => ({
      ...keyring,
      buckets: keyring.buckets.map((one) => (one.id === id ? { ...one, state: 'draining' } : one)),
    }),
    { all: true },
  );
  const content = {
    hash: 'ab'.repeat(32),
    name: 'x',
    content: () => new ReadableStream<Uint8Array>().values(),
  };
  await expect(vault.vault.share(content, { expiresMs: DAY, bucket: 'memory:1' })).rejects.toMatchObject({
    code: 'invalid-input',
    message: expect.stringMatching(/memory:1 is being emptied.*link.*Name another/s),
  });
});

test('A share without its note is told from one that opens nothing', async () => {
  await using vault = await made();
  const now = Date.now();
  store(vault, now + DAY, [0, 'page']);
  store(vault, now + 2 * DAY, [0]);
  const { shares } = await vault.vault.shares();
  expect(shares).toMatchObject([
    { note: null, hasPage: true },
    { note: null, hasPage: false },
  ]);
});

test('Who takes a bucket out is told how many links end with it', async () => {
  await using vault = await made();
  await putBytes(vault.vault, randomBytes(200_000), { name: 'a' });
  const now = Date.now();
  store(vault, now + DAY, [0, 1, 'note', 'page']);
  store(vault, now + DAY, ['page']);
  store(vault, now - DAY, [0, 'note', 'page']);
  expect(await vault.vault.removeBucket('memory:2', { dryRun: true })).toMatchObject({ sharesEnded: 0 });
  expect(await vault.vault.removeBucket('memory:1', { dryRun: true })).toMatchObject({ sharesEnded: 2 });
  expect(await vault.vault.removeBucket('memory:1')).toMatchObject({ removed: true, sharesEnded: 2 });
});
