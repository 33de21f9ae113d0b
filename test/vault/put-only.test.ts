/** A machine that can only store, tried with everything that it holds. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import {
  finishShardObject,
  parseShardHeader,
  parseShardObjectName,
  SHARD_HEADER_SIZE,
} from '../../src/format/shard.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { all, CHUNK_SIZE, getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';
import { addWriter, putMachine } from './put-machine.ts';

const random = seededRandom(16);
const BODY = random.bytes(3 * CHUNK_SIZE + 5);

const isShard = (name: string): boolean => name.startsWith('chunks/');

/** All shards of a file, and then none: it is removed. */
async function removedShards(made: TestVault): Promise<Map<string, Uint8Array>[]> {
  const { hash } = await putBytes(made.vault, BODY, { name: 'theirs' });
  await made.session.guard.end();
  const shards = made.buckets.map(({ storage }) => new Map([...storage].filter(([name]) => isShard(name))));
  await made.vault.remove([hash], { graceMs: 0 });
  await made.vault.sweep({ waitMs: 0 });
  expect(made.objects('chunks/')).toEqual([]);
  // A list of removal is forgotten in the end.
  for (const { storage } of made.buckets) {
    for (const name of storage.keys()) if (name.startsWith('sweep/')) storage.delete(name);
  }
  return shards;
}

function plant(made: TestVault, shards: readonly ReadonlyMap<string, Uint8Array>[]): void {
  for (const [i, { storage }] of made.buckets.entries())
    for (const [name, bytes] of shards[i] ?? []) storage.set(name, bytes);
}

/** Another body, in a shard whose header and checksum are right. */
function falseShard(bytes: Uint8Array, name: string): Uint8Array {
  const changed = Buffer.from(bytes);
  changed.fill(7, SHARD_HEADER_SIZE);
  const chunkId = parseShardObjectName(name)?.chunkId ?? '';
  finishShardObject(changed, chunkId, parseShardHeader(bytes));
  return changed;
}

/** What has just been written would not be relied on. */
const inAMinute = (): number => Date.now() + 60_000;

describe('a put', () => {
  test('takes what a machine may do that can only store, and leaves its marker to expire', async () => {
    await using made = await testVault();
    await using machine = await putMachine(made);
    const small = await putBytes(machine.vault, Buffer.from('small'), { name: 'small' });
    const large = await putBytes(machine.vault, BODY, { name: 'large' });
    const locked = await putBytes(machine.vault, BODY, { name: 'locked', lock: { password: 'x' } });
    expect([small, large, locked].map(({ degraded }) => degraded)).toEqual([false, false, false]);
    await machine.session.guard.end();
    expect(machine.refused.filter((call) => !call.startsWith('remove puts/'))).toEqual([]);
    expect((await getBytes(made.vault, large.hash)).equals(BODY)).toBe(true);
    expect((await getBytes(made.vault, small.hash)).toString()).toBe('small');
  });

  test('of what is unchanged stores nothing, as names tell', async () => {
    await using made = await testVault();
    await using machine = await putMachine(made);
    const first = await putBytes(machine.vault, BODY, { name: 'a' });
    await expect(putBytes(machine.vault, BODY, { name: 'a' })).resolves.toMatchObject({
      hash: first.hash,
      unchanged: true,
      bytesStored: 0,
    });
    // As many copies as a new one would have to have.
    const [one, other] = made.buckets;
    const name = `manifests/${first.hash}`;
    const copy = one?.storage.get(name) ?? Buffer.alloc(0);
    one?.storage.delete(name);
    await expect(putBytes(machine.vault, BODY, { name: 'a' })).resolves.toMatchObject({ unchanged: true });
    other?.storage.delete(name);
    await expect(putBytes(machine.vault, BODY, { name: 'a' })).resolves.toMatchObject({ unchanged: false });
    for (const { storage } of made.buckets) storage.set(name, copy);
    // With a catalog that is lost: the chunks are there, and the version is a later one.
    await using again = await machine.again();
    const second = await putBytes(again.vault, BODY, { name: 'a' });
    expect(second).toMatchObject({ unchanged: false, chunksStored: 0 });
    expect(second.version).toBeGreaterThan(first.version);
    // Removed by others: it deserves a new manifest.
    await made.vault.sweep({ dryRun: false, waitMs: 0 });
    await made.vault.remove([second.hash]);
    await expect(putBytes(again.vault, BODY, { name: 'a' })).resolves.toMatchObject({ unchanged: false });
  });

  test('of a folder reads only what has changed', async () => {
    await using folder = await temporaryFolder();
    await using made = await testVault();
    const root = join(folder.path, 'data');
    await mkdir(root);
    const large = random.bytes(40 * CHUNK_SIZE);
    await writeFile(join(root, 'a'), large);
    await writeFile(join(root, 'b'), 'b');
    const logFolder = join(folder.path, 'log');
    await using machine = await putMachine(made, { logFolder, now: inAMinute });
    const first = await machine.vault.put({ root }, { name: 'data' });
    expect(machine.refused).toEqual([]);
    const identify = vi.spyOn(machine.session.workers, 'identify');
    const second = await machine.vault.put({ root }, { name: 'data' });
    expect(second).toMatchObject({ hash: first.hash, unchanged: true, bytesStored: 0 });
    expect(identify).not.toHaveBeenCalled();
    await writeFile(join(root, 'b'), 'another');
    expect(await machine.vault.put({ root }, { name: 'data' })).toMatchObject({ unchanged: false });
    const read = identify.mock.calls.reduce((sum, [, length]) => sum + length, 0);
    expect(read).toBeLessThan(large.length / 2);
    const stored = await made.vault.find(first.hash);
    expect(stored.kind).toBe('folder');
  });
});

test('is refused everything else', async () => {
  await using made = await testVault();
  const theirs = await putBytes(made.vault, BODY, { name: 'theirs' });
  await using machine = await putMachine(made);
  const { vault } = machine;
  const { hash } = await putBytes(vault, BODY, { name: 'mine' });
  const refusals: (() => Promise<unknown>)[] = [
    async () => vault.get(theirs.hash),
    async () => vault.get(hash),
    async () => vault.find('mine'),
    async () => vault.resolve('mine'),
    async () => vault.inspect('mine'),
    async () => vault.status(),
    async () => vault.outlook(),
    async () => vault.remove(['mine']),
    async () => vault.removalDenied(),
    async () => vault.undelete(['mine']),
    async () => all(vault.planPrune({ last: 1 })),
    async () => vault.sweep(),
    async () => vault.repair(),
    async () => vault.verify({ depth: 'listing' }),
    async () => vault.drill({ files: 1 }),
    async () => vault.bucketReport(),
    async () => vault.addBucket('memory:9'),
    async () => vault.removeBucket('memory:1'),
    async () => vault.setBucketUrl('memory:1', 'memory:9'),
    async () => vault.changeDefaults({ compression: 'off' }),
    async () => vault.changePassword({ current: 'a', next: 'b' }),
    async () => vault.shares(),
    async () => vault.removeShares(['abcdef01']),
    async () => vault.tokens.add({ scopes: ['read'], label: '', expiresAtMs: null }),
    async () => vault.keys(),
    async () => vault.addKey({ secret: 'a password of its own' }),
    async () => vault.sync(),
    async () => vault.ready(),
  ];
  for (const attempt of refusals) {
    await expect(attempt()).rejects.toMatchObject({
      code: 'denied',
      message: expect.stringContaining('This key can only store'),
    });
  }
  // What it has stored itself is sealed for it.
  expect((await all(vault.list())).map(({ name }) => name)).toEqual(['mine']);
  expect(machine.refused.filter((call) => !call.startsWith('remove puts/'))).toEqual([]);
});

describe('a put by a full key, beside a key that can only store,', () => {
  test.for([
    { title: 'of zeros', make: (bytes: Uint8Array): Uint8Array => Buffer.alloc(bytes.length) },
    { title: 'with right checksums', make: falseShard },
  ])('relies on no shard that does not give the chunk: $title', async ({ make }) => {
    await using made = await testVault();
    await addWriter(made, { label: 'cron', password: 'its own' });
    const shards = await removedShards(made);
    plant(
      made,
      shards.map((each) => new Map([...each].map(([name, bytes]) => [name, make(bytes, name)]))),
    );
    const { hash, chunksStored } = await putBytes(made.vault, BODY, { name: 'again' });
    expect(chunksStored).toBeGreaterThan(0);
    expect((await getBytes(made.vault, hash)).equals(BODY)).toBe(true);
  });

  test('goes on where one has been interrupted, with what it can read', async () => {
    await using made = await testVault();
    await addWriter(made, { label: 'cron', password: 'its own' });
    const [first = new Map<string, Uint8Array>(), ...others] = await removedShards(made);
    const [lost] = first.keys();
    first.set(lost ?? '', Buffer.alloc(first.get(lost ?? '')?.length ?? 0));
    plant(made, [first, ...others]);
    const before = made.objects('chunks/').length;
    const { hash, chunksStored } = await putBytes(made.vault, BODY, { name: 'again' });
    // It is completed, and not new.
    expect(chunksStored).toBe(0);
    expect(made.objects('chunks/')).toHaveLength(before + 1);
    expect((await getBytes(made.vault, hash)).equals(BODY)).toBe(true);
  });

  test.each([
    ['nothing of what its own live files need', true],
    ['what a file needs whose manifest no bucket has', false],
  ])('reads %s', async (_, isLive) => {
    await using made = await testVault();
    await addWriter(made, { label: 'cron', password: 'its own' });
    const { hash } = await putBytes(made.vault, BODY, { name: 'first' });
    await made.session.guard.end();
    if (!isLive) for (const { storage } of made.buckets) storage.delete(`manifests/${hash}`);
    const read = new Set<string>();
    for (const bucket of made.buckets) {
      bucket.wrap = (plain) => ({
        ...plain,
        get(name, call) {
          read.add(name);
          return plain.get(name, call);
        },
      });
    }
    const { chunksStored } = await putBytes(made.vault, BODY, { name: 'second' });
    expect(chunksStored).toBe(0);
    expect([...read].some(isShard)).toBe(!isLive);
  });
});

test('false shards of what others have stored harm nobody', async () => {
  await using made = await testVault();
  const { hash } = await putBytes(made.vault, BODY, { name: 'theirs' });
  await made.session.guard.end();
  await using machine = await putMachine(made);
  const real = made.objects('chunks/');
  for (const object of real) {
    const name = object.slice(object.indexOf(' ') + 1);
    for (const bucket of machine.session.buckets.all) {
      const storage = await bucket.open();
      const size = made.buckets.map((one) => one.storage.get(name)?.length ?? 0);
      const upload = `${'0'.repeat(15)}${bucket.number}`;
      await storage.put(name.replace(/[^.]+$/, upload), Buffer.alloc(Math.max(...size)));
    }
    // Nothing that is there can be replaced.
    const holder = machine.session.buckets.all.find(({ url }) => object.startsWith(`${url} `));
    const replacing = (await holder?.open())?.put(name, Buffer.alloc(9));
    await expect(replacing).rejects.toMatchObject({ code: 'denied' });
  }
  await made.vault.sweep({ waitMs: 0 });
  expect(made.objects('chunks/')).toEqual(expect.arrayContaining(real));
  expect((await getBytes(made.vault, hash)).equals(BODY)).toBe(true);
});
