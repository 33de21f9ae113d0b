import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { openKeyslot } from '../../src/vault/manage/unlock.ts';
import { changePassword } from '../../src/vault/manage/change-password.ts';
import { CHEAP_KDF, getBytes, PASSWORD, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';
import { VaultError } from '../../src/errors.ts';

async function opens(made: TestVault, password: string, bucket: number | null = null): Promise<boolean> {
  const storage = bucket === null ? null : (made.buckets[bucket]?.storage ?? new Map<string, Uint8Array>());
  const bodies =
    storage === null
      ? (await made.catalog.keyslots()).map(({ body }) => body)
      : [...storage].filter(([name]) => name.startsWith('keyslots/')).map(([, bytes]) => bytes);
  try {
    await openKeyslot(bodies, made.vault.id, password);
    return true;
  } catch (error) {
    if (error instanceof VaultError && error.code === 'wrong-password') return false;
    throw error;
  }
}

const CHANGE = { current: PASSWORD, next: 'a new one', kdfCost: CHEAP_KDF };

test('the new password opens the vault from the catalog and from every bucket, and the old one from none', async () => {
  await using made = await testVault();
  const bytes = randomBytes(1000);
  await putBytes(made.vault, bytes, { name: 'a' });
  await changePassword(made.session, CHANGE);
  for (const place of [null, 0, 1, 2]) {
    expect(await opens(made, 'a new one', place)).toBe(true);
    expect(await opens(made, PASSWORD, place)).toBe(false);
  }
  expect(await getBytes(made.vault, 'a')).toEqual(bytes);
});

test('a wrong current password changes nothing', async () => {
  await using made = await testVault();
  const before = made.objects();
  await expect(changePassword(made.session, { ...CHANGE, current: 'wrong' })).rejects.toMatchObject({
    code: 'wrong-password',
  });
  expect(made.objects()).toEqual(before);
  expect(await opens(made, PASSWORD)).toBe(true);
});

test('a bucket that cannot be used stops the change before anything is written', async () => {
  await using made = await testVault();
  const before = made.objects();
  const [first] = made.buckets;
  if (first === undefined) throw new Error('There is a first bucket');
  const { wrap } = first;
  first.wrap = (bucket) => ({
    ...bucket,
    get: () => Promise.reject(new VaultError('unavailable', 'The bucket is down.')),
  });
  await expect(changePassword(made.session, CHANGE)).rejects.toMatchObject({ code: 'unavailable' });
  first.wrap = wrap;
  expect(made.objects()).toEqual(before);
});

test('cut short at any write, one of the two passwords opens the vault from every place', async () => {
  for (let calls = 0; calls < 6; calls += 1) {
    await using made = await testVault();
    let left = calls;
    const spend = (): void => {
      if (left === 0) throw new VaultError('unavailable', 'The machine stopped.');
      left -= 1;
    };
    for (const bucket of made.buckets) {
      bucket.wrap = (plain) => {
        return {
          label: plain.label,
          get: (...args) => plain.get(...args),
          list: (...args) => plain.list(...args),
          close: () => plain.close(),
          put: async (...args) => {
            spend();
            await plain.put(...args);
          },
          remove: async (...args) => {
            spend();
            await plain.remove(...args);
          },
        };
      };
    }
    await expect(changePassword(made.session, CHANGE)).rejects.toMatchObject({ code: 'unavailable' });
    for (const place of [null, 0, 1, 2]) {
      expect((await opens(made, PASSWORD, place)) || (await opens(made, 'a new one', place))).toBe(true);
    }
  }
});

/** A vault that has given up its fourth bucket, and a process that takes it in again. */
async function withSpareBucket(wrapCatalog: (catalog: Catalog) => Catalog): Promise<{
  readonly made: TestVault;
  readonly adding: Vault;
}> {
  const made = await testVault({ buckets: 4 });
  await made.vault.removeBucket('memory:4');
  made.buckets[3]?.storage.clear();
  return { made, adding: await made.reopen({ wrapCatalog }) };
}

test('a bucket that is added while the password is changed opens with the new one alone', async () => {
  const { made, adding } = await withSpareBucket((catalog) => catalog);
  await using _ = made;
  const { session } = made;
  const catalog: Catalog = {
    ...session.catalog,
    putKeyslot: async (slot) => {
      await adding.addBucket('memory:4');
      await session.catalog.putKeyslot(slot);
    },
  };
  await changePassword({ ...session, catalog }, CHANGE);
  expect(await opens(made, 'a new one', 3)).toBe(true);
  expect(await opens(made, PASSWORD, 3)).toBe(false);
});

test('a bucket that is being added when the password is changed opens with the new one alone', async () => {
  const change = Promise.withResolvers<() => Promise<void>>();
  const { made, adding } = await withSpareBucket((catalog) => ({
    ...catalog,
    putBucket: async (bucket) => {
      await (
        await change.promise
      )();
      return catalog.putBucket(bucket);
    },
  }));
  await using _ = made;
  change.resolve(() => changePassword(made.session, CHANGE));
  await adding.addBucket('memory:4');
  expect(await opens(made, 'a new one', 3)).toBe(true);
  expect(await opens(made, PASSWORD, 3)).toBe(false);
});
