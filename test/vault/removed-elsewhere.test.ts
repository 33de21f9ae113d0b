/** Several machines with catalogs of their own, of which one removes what another knows; and buckets that are away meanwhile. */
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { changeKeyring } from '../../src/vault/keys/keyring-store.ts';
import { Vault } from '../../src/vault/vault.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { all, getBytes, putBytes, snapshotOf, testVault, twoMachines } from './harness.ts';
import type { Handle, TestBucket } from './harness.ts';

const random = seededRandom(32);
const BODY = random.bytes(30_000);
const SMALL = random.bytes(300);
const DAY_MS = 86_400_000;

function down(bucket: TestBucket | undefined): void {
  if (bucket !== undefined) bucket.wrap = (plain) => faulty(plain, always('unavailable'));
}

function up(bucket: TestBucket | undefined): void {
  if (bucket !== undefined) bucket.wrap = (plain: Bucket) => plain;
}

for (const [title, body] of [
  ['small', SMALL],
  ['in chunks', BODY],
] as const) {
  test(`a put of what another machine has removed stores it, though the only bucket that knows is down (${title})`, async () => {
    await using made = await testVault({ buckets: 2 });
    const first = await putBytes(made.vault, body, { name: 'a' });
    const { here, there } = await twoMachines(made);
    down(there.buckets[1]);
    const other = await there.open();
    await other.vault.remove(['a'], { graceMs: 0 });
    down(here.buckets[0]);
    const { vault, session } = await here.open();
    const { hash } = await putBytes(vault, body, { name: 'a' });
    // The version is the one that it was: it has been brought back.
    expect(hash).toBe(first.hash);
    await session.guard.end();
    up(there.buckets[1]);
    await (await there.open()).vault.sweep({ waitMs: 0 });
    up(here.buckets[0]);
    await (await there.open()).vault.sweep({ waitMs: 0 });
    expect((await getBytes((await here.open()).vault, hash)).equals(body)).toBe(true);
  });
}

test('an undelete outlives the sweep, though the bucket that knows of the removal was down', async () => {
  await using made = await testVault({ buckets: 2 });
  const { hash } = await putBytes(made.vault, BODY, { name: 'a' });
  await using copy = await (await snapshotOf(made)).copy();
  let nowMs = Date.now();
  const open = () => copy.open({ now: () => nowMs });
  down(copy.buckets[1]);
  await (await open()).vault.remove(['a'], { graceMs: 0 });
  up(copy.buckets[1]);
  down(copy.buckets[0]);
  nowMs += 1_000;
  await (await open()).vault.undelete(['a']);
  up(copy.buckets[0]);
  nowMs += DAY_MS;
  const { vault } = await open();
  await vault.sweep({ waitMs: 0 });
  expect((await getBytes(vault, hash)).equals(BODY)).toBe(true);
  expect((await all(vault.list())).map(({ name }) => name)).toEqual(['a']);
});

test('a sweep goes by the keyring for the buckets, whatever the catalog has lost', async () => {
  await using made = await testVault({ buckets: 3, redundancy: { k: 1, m: 0 } });
  await putBytes(made.vault, BODY, { name: 'old' });
  await made.vault.remove(['old'], { graceMs: 0 });
  await using copy = await (await snapshotOf(made)).copy();
  // A file of which one bucket alone knows, and a catalog in which somebody has deleted that bucket.
  down(copy.buckets[0]);
  down(copy.buckets[1]);
  const { hash } = await putBytes((await copy.open()).vault, BODY, { name: 'new' });
  up(copy.buckets[0]);
  up(copy.buckets[1]);
  const catalog = await openCatalog(copy.db);
  const [third] = (await catalog.setup.buckets()).slice(2);
  if (third === undefined) throw new Error('no third bucket');
  await catalog.setup.removeBucket(third.number);
  const { session } = await copy.open();
  const poor = new Vault({ ...session, catalog });
  await poor.sweep({ waitMs: 0 });
  expect((await getBytes((await copy.open()).vault, hash)).equals(BODY)).toBe(true);
  await catalog.close();
});

test('what another machine has removed and swept is not reported as lost, and what is lost is', async () => {
  await using made = await testVault({ buckets: 2 });
  const removed = await putBytes(made.vault, BODY, { name: 'removed' });
  const lost = await putBytes(made.vault, SMALL, { name: 'lost' });
  const back = await putBytes(made.vault, random.bytes(200), { name: 'brought back' });
  await made.vault.remove(['brought back']);
  await made.vault.undelete(['brought back']);
  const { here, there } = await twoMachines(made);
  const other = await there.open();
  await other.vault.remove(['removed'], { graceMs: 0 });
  await other.vault.sweep({ waitMs: 0 });
  await other.vault.sweep({ waitMs: 0 });
  for (const { storage } of here.buckets) {
    storage.delete(`manifests/${lost.hash}`);
    storage.delete(`manifests/${back.hash}`);
  }
  const { vault } = await here.open();
  const { filesMissing } = await vault.sweep({ waitMs: 0 });
  expect(filesMissing.toSorted()).toEqual([lost.hash, back.hash].toSorted());
  expect((await all(vault.list())).map(({ hash }) => hash)).not.toContain(removed.hash);
});

describe.each([
  ['removed and swept', 1],
  ['whose record has gone as well', 2],
])('a file that another machine has removed, %s', (_, sweeps) => {
  const machine = async (): Promise<Handle> => {
    const made = await testVault({ buckets: 2 });
    onTestFinished(async () => made[Symbol.asyncDispose]());
    await putBytes(made.vault, BODY, { name: 'a' });
    const { here, there } = await twoMachines(made);
    const other = await there.open();
    await other.vault.remove(['a'], { graceMs: 0 });
    for (let i = 0; i < sweeps; i += 1) await other.vault.sweep({ waitMs: 0 });
    const records = here.buckets.flatMap(({ storage }) =>
      [...storage.keys()].filter((name) => name.startsWith('deleted/')),
    );
    expect(records).toHaveLength(sweeps === 1 ? 2 : 0);
    return here.open();
  };

  test('goes from the list with sync', async () => {
    const { vault } = await machine();
    expect(await vault.sync()).toMatchObject({ missing: [], unknown: [] });
    expect(await all(vault.list())).toEqual([]);
  });

  test('is told by verify as one that the catalog showed, and goes from the list', async () => {
    const { vault } = await machine();
    const found = await vault.verify({ depth: 'listing' });
    expect(found).toMatchObject({ outcome: 'degraded', filesShown: 1, affected: [], files: { lost: 0 } });
    expect(await all(vault.list())).toEqual([]);
    expect(await vault.verify({ depth: 'listing' })).toMatchObject({ outcome: 'whole', filesShown: 0 });
  });

  test('is no loss to repair', async () => {
    const { vault } = await machine();
    expect(await vault.repair()).toMatchObject({ outcome: 'whole', filesLost: [] });
    expect(await all(vault.list())).toEqual([]);
  });

  test('is told by rm as one that nothing brings back', async () => {
    const { vault } = await machine();
    const { hash } = await putBytes(vault, SMALL, { name: 'b' });
    const { removed, gone } = await vault.remove(['a', 'b']);
    expect(removed.map(({ name }) => name)).toEqual(['a', 'b']);
    expect(gone).toEqual(removed.flatMap((file) => (file.hash === hash ? [] : [file.hash])));
    await expect(vault.undelete(['a'])).rejects.toMatchObject({ code: 'file-not-found' });
  });

  test('is said to have been removed by get', async () => {
    const { vault } = await machine();
    await expect(getBytes(vault, 'a')).rejects.toMatchObject({ code: 'file-not-found' });
  });
});

test('a file that is removed and swept while a sweep reads the listings is not reported as lost', async () => {
  await using made = await testVault({ buckets: 1 });
  await putBytes(made.vault, BODY, { name: 'a' });
  await made.session.guard.end();
  await using copy = await (await snapshotOf(made)).copy();
  const other = await copy.open();
  let removed = false;
  let swept = 0;
  const { vault } = await copy.open({
    around: async (step, proceed) => {
      if (step.call === 'list' && step.name === 'manifests/' && !removed) {
        removed = true;
        await other.vault.remove(['a'], { graceMs: 0 });
        swept = (await other.vault.sweep({ waitMs: 0 })).filesRemoved;
      }
      await proceed();
    },
  });
  expect(await vault.sweep({ waitMs: 0 })).toMatchObject({ filesMissing: [] });
  expect(swept).toBe(1);
});

test('what was brought back after it had expired stays', async () => {
  await using made = await testVault();
  await using copy = await (await snapshotOf(made)).copy();
  let nowMs = Date.now();
  const { vault } = await copy.open({ now: () => nowMs });
  await putBytes(vault, SMALL, { name: 'a', expiresAtMs: nowMs + 1_000 });
  nowMs += DAY_MS;
  expect((await vault.sweep({ waitMs: 0 })).expired).toHaveLength(1);
  nowMs += 1_000;
  await vault.undelete(['a']);
  nowMs += 30 * DAY_MS;
  expect((await vault.sweep({ waitMs: 0 })).expired).toEqual([]);
  expect((await getBytes(vault, 'a')).equals(SMALL)).toBe(true);
});

test('a sweep that slept between its look and the removal removes nothing, and the next one does', async () => {
  await using made = await testVault({ buckets: 1 });
  await putBytes(made.vault, BODY, { name: 'a' });
  await made.vault.remove(['a'], { graceMs: 0 });
  await made.session.guard.end();
  await using copy = await (await snapshotOf(made)).copy();
  let nowMs = Date.now();
  let looks = 0;
  const { vault } = await copy.open({
    now: () => nowMs,
    around: async (step, proceed) => {
      await proceed();
      if (step.call === 'list' && step.name === 'chunks/') looks += 1;
      if (step.call === 'list' && step.name === 'manifests/' && looks === 1) nowMs += 13 * 3_600_000;
    },
  });
  await expect(vault.sweep({ waitMs: 0 })).rejects.toMatchObject({ code: 'unavailable' });
  const names = (): string[] => [...(copy.buckets[0]?.storage.keys() ?? [])];
  expect(names().filter((name) => name.startsWith('chunks/'))).toHaveLength(1);
  looks = 2;
  await vault.sweep({ waitMs: 0 });
  expect(names().filter((name) => /^(chunks|manifests)/.test(name))).toEqual([]);
});

test('a removed file is brought back although a bucket is being emptied that has its shards', async () => {
  await using made = await testVault({ buckets: 2, redundancy: { k: 1, m: 0 } });
  await putBytes(made.vault, BODY, { name: 'file' });
  await made.vault.remove(['file']);
  await made.session.guard.end();
  for (const { id } of made.session.buckets.all) {
    await changeKeyring(
      made.session,
      (keyring) => ({
        ...keyring,
        buckets: keyring.buckets.map((bucket) => ({
          ...bucket,
          state: bucket.id === id ? ('draining' as const) : ('active' as const),
        })),
      }),
      { all: true },
    );
    await made.vault.undelete(['file']);
    expect(await getBytes(made.vault, 'file')).toEqual(Buffer.from(BODY));
    await made.vault.remove(['file']);
    await made.session.guard.end();
  }
});
