import { randomBytes } from 'node:crypto';
import { expect, test, vi } from 'vitest';
import { openVault } from '../../src/compose.ts';
import { cloudVault } from '../support/cloud-vault.ts';

const isShard = (name: string): boolean => name.includes('/chunks/');

test('what goes from a bucket in a cloud goes in few requests', async () => {
  await using made = await cloudVault();
  const { vault, s3, gcs, db, password, folder } = made;
  await made.put('large', randomBytes(150 * 64 * 1024));
  await vault.remove(['large'], { graceMs: 0 });
  // Another process, beside which no marker of a put stands.
  await vault.close();
  const location = { db, password: () => Promise.resolve(password), baseFolder: folder.path };
  await using other = await openVault(location);
  const shards = [...s3.objects('bucket').keys()].filter(isShard).length;
  expect(shards).toBeGreaterThan(100);
  s3.forget();
  const before = gcs.requests.length;
  const { objectsRemoved } = await other.sweep({ waitMs: 0 });
  expect(objectsRemoved).toBe(1 + shards * 3);
  expect([...s3.objects('bucket').keys()].filter(isShard)).toEqual([]);
  const alone = s3.requests.filter(({ kind, key }) => kind === 'delete' && isShard(key));
  const asked = gcs.requests.slice(before);
  const aloneAtGoogle = asked.filter(({ kind, object }) => kind === 'delete' && isShard(object));
  expect([alone, aloneAtGoogle]).toEqual([[], []]);
  const most = Math.ceil(shards / 100) + 1;
  expect(s3.count('delete-many')).toBeLessThanOrEqual(most);
  expect(asked.filter(({ kind }) => kind === 'batch').length).toBeLessThanOrEqual(most);
  vi.unstubAllEnvs();
});
