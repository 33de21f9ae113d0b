import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ChunkRow, ShardPlace } from '../../src/catalog/catalog.ts';
import { VaultError } from '../../src/errors.ts';
import type { RepairResult, Vault, VerifyOptions } from '../../src/vault/vault.ts';
import { CALL_STRIDE, sampled } from '../support/catalog-place.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import { CHUNK_SIZE, discrepancies, getBytes, putBytes } from './harness.ts';
import type { TestBucket } from './harness.ts';
import { endingAt, flip, forge, present, putWidely, rowsOf, shardOf, stage, wipe } from './scene.ts';
import type { Scene, SceneHandle, Stage } from './scene.ts';

const BIG = randomBytes(2 * CHUNK_SIZE + 500);
const SMALL = randomBytes(300);
const DATA: VerifyOptions = { depth: 'data' };

let ready: Stage;

beforeAll(async () => {
  ready = await stage({ buckets: 5, redundancy: { k: 2, m: 1 } }, (made) =>
    putWidely(made, { big: BIG, small: SMALL }),
  );
});

afterAll(async () => {
  await ready[Symbol.asyncDispose]();
});

/** A vault of five buckets, 2+1, with a file of three chunks and a file of one. */
async function begin(): Promise<AsyncDisposable & { scene: Scene; handle: SceneHandle }> {
  const scene = await ready.scene();
  return { scene, handle: await scene.open(), [Symbol.asyncDispose]: () => scene[Symbol.asyncDispose]() };
}

async function chunkOf({ vault, catalog }: SceneHandle, name: string) {
  const { placement } = await vault.inspect(name);
  const id = present(placement[0]).chunkId;
  return present((await catalog.locateChunks([id])).get(id));
}

async function expectWhole({ vault }: SceneHandle): Promise<void> {
  expect(await vault.verify(DATA)).toMatchObject({ outcome: 'whole', affected: [] });
  expect(await getBytes(vault, 'big')).toEqual(BIG);
  expect(await getBytes(vault, 'small')).toEqual(SMALL);
}

/** After a sweep, or two for what the first has only noted, catalog and buckets say the same. */
async function expectTidy({ vault, catalog }: SceneHandle, buckets: readonly TestBucket[]): Promise<void> {
  await vault.sweep({ strayGraceMs: 0 });
  await vault.sweep({ strayGraceMs: 0 });
  expect(await discrepancies(catalog, buckets)).toEqual([]);
}

/** By chunk and index; null for those in other buckets. */
function placesIn(bucket: number, rows: readonly ChunkRow[]): (ShardPlace | null)[] {
  return rows.flatMap(({ shards }) => shards.map((place) => (place?.bucket === bucket ? place : null)));
}

async function expectDistinctBuckets({ catalog }: SceneHandle): Promise<void> {
  for (const { shards } of await rowsOf(catalog)) {
    const numbers = shards.map((place) => present(place).bucket);
    expect(new Set(numbers).size).toBe(numbers.length);
  }
}

describe('repair', () => {
  test('finds nothing to do where all is whole', async () => {
    await using begun = await begin();
    const { handle } = begun;
    expect(await handle.vault.repair({ depth: 'data' })).toMatchObject({
      outcome: 'whole',
      chunksRepaired: 0,
      shardsStored: 0,
      manifestsStored: 0,
      keyslotsStored: 0,
      markersStored: 0,
      recordsRepaired: 0,
      bytesStored: 0,
      affected: [],
      forgotten: null,
      unreachable: [],
    });
    expect(handle.steps.log.filter(({ call }) => call === 'put' || call === 'remove')).toEqual([]);
  });

  test('stores missing shards anew, each in a bucket that has none of its chunk', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    wipe(scene.bucket(0), 'chunks/');
    const lost = (await rowsOf(handle.catalog))
      .flatMap(({ shards }) => shards)
      .filter((place) => place?.bucket === 1);
    const result = await handle.vault.repair();
    expect(result).toMatchObject({ outcome: 'whole', shardsStored: lost.length, affected: [] });
    await expectWhole(handle);
    await expectDistinctBuckets(handle);
    await expectTidy(handle, scene.buckets);
  });

  test('replaces rotten and forged shards when it reads the data', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const rotten = shardOf(scene, await chunkOf(handle, 'small'), 0);
    flip(rotten.bucket, rotten.name, -1);
    const forged = shardOf(scene, await chunkOf(handle, 'big'), 2);
    forge(forged.bucket, forged.name);
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole', chunksRepaired: 0 });
    expect(await handle.vault.repair({ depth: 'data' })).toMatchObject({
      outcome: 'whole',
      chunksRepaired: 2,
      shardsStored: 2,
    });
    expect(rotten.bucket.storage.has(rotten.name)).toBe(false);
    await expectWhole(handle);
    await expectTidy(handle, scene.buckets);
  });

  test('gives every bucket the manifests that it lacks, and the keyslots, and replaces damaged ones', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    wipe(scene.bucket(0), 'manifests/');
    wipe(scene.bucket(1), 'keyslots/');
    const manifest = `manifests/${(await handle.vault.get('small')).hash}`;
    flip(scene.bucket(2), manifest, 90);
    const keyslot = present([...scene.bucket(3).storage.keys()].find((name) => name.startsWith('keyslots/')));
    scene.bucket(3).storage.set(keyslot, Buffer.from('{}'));
    expect(await handle.vault.repair({ depth: 'data' })).toMatchObject({
      outcome: 'whole',
      manifestsStored: 3,
      keyslotsStored: 2,
      chunksRepaired: 0,
    });
    for (const { storage } of scene.buckets) {
      expect([...storage.keys()].filter((name) => name.startsWith('manifests/'))).toHaveLength(2);
      expect(storage.get(keyslot)).toEqual(scene.bucket(4).storage.get(keyslot));
    }
    await expectWhole(handle);
    await expectTidy(handle, scene.buckets);
  });

  test('mends a keyslot of the catalog by those of the buckets', async () => {
    await using begun = await begin();
    const { handle } = begun;
    const [slot] = await handle.catalog.keyslots();
    const { id, body } = present(slot);
    await handle.catalog.putKeyslot({ id, body: Buffer.from('{"format":"vault/1 keyslot"}') });
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole', keyslotsStored: 0 });
    expect(await handle.catalog.keyslots()).toEqual([{ id, body }]);
  });

  test('marks a bucket again whose marker is gone or damaged, by the shards it holds', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const markers = scene.buckets.map(({ storage }) => storage.get('vault.json'));
    scene.bucket(0).storage.delete('vault.json');
    flip(scene.bucket(1), 'vault.json', 0);
    flip(scene.bucket(2), 'vault.json', -10);
    expect(await handle.vault.repair()).toMatchObject({
      outcome: 'whole',
      markersStored: 3,
      unreachable: [],
    });
    expect(scene.buckets.map(({ storage }) => storage.get('vault.json'))).toEqual(markers);
  });

  test('marks no empty place, which may be an unmounted disk, and stores nothing there', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    scene.bucket(0).storage.clear();
    const result = await handle.vault.repair();
    expect(result).toMatchObject({ outcome: 'degraded', markersStored: 0, unreachable: ['memory:1'] });
    expect(scene.bucket(0).storage.size).toBe(0);
  });

  test('marks no other bucket of the vault whose place it took', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const content = new Map(scene.bucket(1).storage);
    scene.bucket(0).storage.clear();
    for (const [name, bytes] of content) scene.bucket(0).storage.set(name, bytes);
    expect(await handle.vault.repair()).toMatchObject({ markersStored: 0, unreachable: ['memory:1'] });
    expect(scene.bucket(0).storage).toEqual(content);
  });

  test('heals whatever single object is changed or gone', async () => {
    await using begun = await begin();
    const names = begun.scene.buckets.flatMap(({ storage }, i) =>
      [...storage.keys()].map((name) => ({ i, name })),
    );
    for (const [turn, { i, name }] of sampled(names).entries()) {
      await using scene = await ready.scene();
      const handle = await scene.open();
      if (turn % 2 === 0) scene.bucket(i).storage.delete(name);
      else flip(scene.bucket(i), name, (turn * 37) % present(scene.bucket(i).storage.get(name)).length);
      const result = await handle.vault.repair({ depth: 'data' });
      expect({ name, ...result }).toMatchObject({ name, outcome: 'whole', affected: [] });
      await expectWhole(handle);
    }
  });

  test('completes what was stored while a bucket was down', async () => {
    await using few = await stage({}, async ({ vault, buckets }) => {
      present(buckets[2]).wrap = (bucket) => faulty(bucket, always('unavailable'));
      const result = await putBytes(vault, BIG, { name: 'big' });
      expect(result.degraded).toBe(true);
    });
    await using scene = await few.scene();
    const handle = await scene.open();
    expect(await handle.vault.repair()).toMatchObject({
      outcome: 'whole',
      chunksRepaired: 3,
      manifestsStored: 1,
    });
    expect(await handle.vault.verify(DATA)).toMatchObject({ outcome: 'whole' });
    expect(await getBytes(handle.vault, 'big')).toEqual(BIG);
  });

  test('does what can be done while a bucket is down, and records no loss of it', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    wipe(scene.bucket(0), 'chunks/');
    scene.bucket(1).wrap = (bucket) => faulty(bucket, always('unavailable'));
    const before = await rowsOf(handle.catalog);
    const result = await handle.vault.repair();
    expect(result).toMatchObject({ outcome: 'degraded', unreachable: ['memory:2'] });
    expect(result.affected.every(({ condition }) => condition !== 'lost')).toBe(true);
    expect(placesIn(2, await rowsOf(handle.catalog))).toEqual(placesIn(2, before));
    scene.bucket(1).wrap = (bucket) => bucket;
    await handle.vault.repair();
    await expectWhole(handle);
  });

  test('finds out a bucket that claims success and stores nothing', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    wipe(scene.bucket(0), 'chunks/');
    const honest = scene.buckets.map(({ wrap }) => wrap);
    for (const bucket of scene.buckets) {
      bucket.wrap = (inner) =>
        faulty(inner, ({ operation }) => (operation === 'put' ? { kind: 'lose' } : null));
    }
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'degraded' });
    for (const [i, bucket] of scene.buckets.entries()) bucket.wrap = present(honest[i]);
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole' });
    await expectWhole(handle);
  });

  test('names every file that is beyond repair, and repairs the others', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await chunkOf(handle, 'small');
    for (const index of [0, 1]) {
      const { name, bucket } = shardOf(scene, row, index);
      bucket.storage.delete(name);
    }
    const degraded = shardOf(scene, await chunkOf(handle, 'big'), 0);
    degraded.bucket.storage.delete(degraded.name);
    const result = await handle.vault.repair();
    expect(result).toMatchObject({ outcome: 'lost', chunksRepaired: 1 });
    expect(result.affected).toMatchObject([{ name: 'small', condition: 'lost' }]);
    expect(await getBytes(handle.vault, 'big')).toEqual(BIG);
  });

  test('names a file whose manifests are all damaged', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { hash } = await handle.vault.get('small');
    for (const bucket of scene.buckets) flip(bucket, `manifests/${hash}`, 90);
    const result = await handle.vault.repair({ depth: 'data' });
    expect(result).toMatchObject({ outcome: 'lost' });
    expect(result.affected).toMatchObject([{ name: 'small', condition: 'lost' }]);
  });

  test('finds shards again that the catalog has lost sight of', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await chunkOf(handle, 'small');
    const shards = row.shards.map((place) => ({ ...present(place), generation: '0123456789abcdef' }));
    await handle.catalog.replaceChunk(row, { ...row, shards });
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole', chunksRepaired: 1 });
    await expectWhole(handle);
    await expectTidy(handle, scene.buckets);
  });

  test('spreads shards that lie in one bucket', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await chunkOf(handle, 'small');
    const [first, second] = [present(row.shards[0]), present(row.shards[1])];
    const moved = shardOf(scene, row, 1);
    moved.bucket.storage.delete(moved.name);
    scene.bucket(first.bucket - 1).storage.set(moved.name, moved.bytes);
    const together = [first, { ...second, bucket: first.bucket }, row.shards[2] ?? null];
    await handle.catalog.replaceChunk(row, { ...row, shards: together });
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole', shardsStored: 1 });
    await expectDistinctBuckets(handle);
    await expectTidy(handle, scene.buckets);
  });

  test('repairs the given files alone', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    for (const name of ['big', 'small']) {
      const shard = shardOf(scene, await chunkOf(handle, name), 0);
      shard.bucket.storage.delete(shard.name);
    }
    expect(await handle.vault.repair({ references: ['small'] })).toMatchObject({
      outcome: 'whole',
      chunksRepaired: 1,
    });
    expect(await handle.vault.verify({ ...DATA, references: ['small'] })).toMatchObject({ outcome: 'whole' });
    expect(await handle.vault.verify({ ...DATA, references: ['big'] })).toMatchObject({
      outcome: 'degraded',
    });
  });

  test('takes no part for the whole: redundancy and buckets are everybody’s', async () => {
    await using begun = await begin();
    const { vault } = begun.handle;
    const references = ['small'];
    for (const options of [{ redundancy: { k: 1, m: 1 } }, { forgetBucket: 'memory:1' }]) {
      await expect(vault.repair({ references, ...options })).rejects.toMatchObject({ code: 'invalid-input' });
    }
  });

  test('brings back no manifest of a file that is removed meanwhile', async () => {
    await using begun = await begin();
    const { scene } = begun;
    const other = await scene.open();
    const { hash } = await other.vault.get('small');
    scene.bucket(0).storage.delete(`manifests/${hash}`);
    let removed = false;
    const handle = await scene.open({
      around: async (step, proceed) => {
        if (!removed && step.call === 'put' && step.name === `manifests/${hash}`) {
          removed = true;
          await other.vault.remove(['small']);
        }
        await proceed();
      },
    });
    await handle.vault.repair();
    expect(removed).toBe(true);
    for (const { storage } of scene.buckets) expect(storage.has(`manifests/${hash}`)).toBe(false);
    await expectTidy(other, scene.buckets);
  });

  test('leaves no manifest of a removed file when it ends after storing it', async () => {
    await using begun = await begin();
    const { scene } = begun;
    const other = await scene.open();
    const { hash } = await other.vault.get('small');
    scene.bucket(0).storage.delete(`manifests/${hash}`);
    let ended = false;
    const ending = await scene.open({
      self: 'gone',
      around: async (step, proceed) => {
        if (ended) throw new VaultError('unavailable', 'The test has ended the process.');
        ended = step.call === 'put' && step.name === `manifests/${hash}`;
        if (ended) await other.vault.remove(['small']);
        await proceed();
      },
    });
    await expect(ending.vault.repair()).rejects.toMatchObject({ code: 'unavailable' });
    expect(scene.bucket(0).storage.has(`manifests/${hash}`)).toBe(true);
    expect(await other.vault.sweep()).toMatchObject({ unknownFiles: [] });
    await expectTidy(other, scene.buckets);
  });

  test('brings back no chunk of a file that is removed meanwhile', async () => {
    await using begun = await begin();
    const { scene } = begun;
    const other = await scene.open();
    const row = await chunkOf(other, 'small');
    const shard = shardOf(scene, row, 0);
    shard.bucket.storage.delete(shard.name);
    let removed = false;
    const handle = await scene.open({
      around: async (step, proceed) => {
        if (!removed && step.call === 'put') {
          removed = true;
          await other.vault.remove(['small']);
        }
        await proceed();
      },
    });
    await handle.vault.repair();
    expect(removed).toBe(true);
    await expectTidy(other, scene.buckets);
    expect((await other.catalog.locateChunks([row.id])).size).toBe(0);
  });

  test('does nothing more once it was taken for dead and swept', async () => {
    await using begun = await begin();
    const { scene } = begun;
    wipe(scene.bucket(0), 'chunks/');
    const other = await scene.open();
    let swept = false;
    const asleep = await scene.open({
      self: 'gone to sleep',
      around: async (step, proceed) => {
        if (!swept && step.call === 'replaceChunk' && (await other.catalog.pendingPuts()).length > 0) {
          swept = true;
          await other.vault.sweep({ strayGraceMs: 0 });
        }
        await proceed();
      },
    });
    await expect(asleep.vault.repair()).rejects.toMatchObject({ code: 'stale' });
    expect(swept).toBe(true);
    expect(await getBytes(other.vault, 'big')).toEqual(BIG);
    await other.vault.repair();
    await expectWhole(other);
    await expectTidy(other, scene.buckets);
  });
});

describe('A change of redundancy', () => {
  for (const [k, m] of [
    [3, 2],
    [1, 1],
    [2, 2],
    [4, 0],
    [1, 4],
  ] as const) {
    test(`to ${k}+${m} codes anew what is stored, and what is to come`, async () => {
      await using begun = await begin();
      const { scene, handle } = begun;
      const result = await handle.vault.repair({ redundancy: { k, m } });
      expect(result).toMatchObject({ outcome: 'whole', chunksRepaired: 4, shardsStored: 4 * (k + m) });
      for (const row of await rowsOf(handle.catalog)) expect(row).toMatchObject({ k, m });
      expect(handle.vault.redundancy).toEqual({ k, m });
      await expectWhole(handle);
      await expectDistinctBuckets(handle);
      const another = await scene.open();
      expect(another.vault.redundancy).toEqual({ k, m });
      await putBytes(another.vault, randomBytes(10), { name: 'new' });
      expect((await chunkOf(another, 'new')).m).toBe(m);
      await expectTidy(another, scene.buckets);
      expect(await another.vault.repair({ redundancy: { k, m } })).toMatchObject({ chunksRepaired: 0 });
    });
  }

  test('is refused if there are too few buckets for it, or there is no such redundancy', async () => {
    await using begun = await begin();
    const { vault } = begun.handle;
    for (const redundancy of [
      { k: 4, m: 2 },
      { k: 0, m: 2 },
      { k: 1.5, m: 1 },
    ]) {
      await expect(vault.repair({ redundancy })).rejects.toMatchObject({ code: 'invalid-input' });
    }
    expect(vault.redundancy).toEqual({ k: 2, m: 1 });
  });

  test('leaves a chunk as it is rather than with less to spare, while buckets are down', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    for (const i of [3, 4]) scene.bucket(i).wrap = (bucket) => faulty(bucket, always('unavailable'));
    const result = await handle.vault.repair({ redundancy: { k: 3, m: 2 } });
    expect(result.outcome).toBe('degraded');
    expect((await rowsOf(handle.catalog)).every(({ k, m }) => k === 2 && m === 1)).toBe(true);
    for (const i of [3, 4]) scene.bucket(i).wrap = (bucket) => bucket;
    expect(await getBytes(handle.vault, 'big')).toEqual(BIG);
    expect(await handle.vault.repair({ redundancy: { k: 3, m: 2 } })).toMatchObject({ outcome: 'whole' });
    await expectWhole(handle);
    await expectTidy(handle, scene.buckets);
  });

  test('goes on beside puts, removals and readers', async () => {
    await using begun = await begin();
    const { scene } = begun;
    const other = await scene.open();
    let turn = 0;
    const handle = await scene.open({
      around: async (step, proceed) => {
        await proceed();
        if (step.call !== 'replaceChunk') return;
        // Several chunks may be under way at once.
        turn += 1;
        const mine = turn;
        expect(await getBytes(other.vault, 'big')).toEqual(BIG);
        await putBytes(other.vault, BIG.subarray(0, mine * 1000), { name: `beside ${mine}` });
        if (mine === 2) await other.vault.remove(['small']);
      },
    });
    await handle.vault.repair({ redundancy: { k: 3, m: 2 } });
    expect(await other.vault.verify(DATA)).toMatchObject({ outcome: 'whole' });
    expect(turn).toBeGreaterThan(1);
    for (let one = 1; one <= turn; one += 1) {
      expect(await getBytes(other.vault, `beside ${one}`)).toEqual(BIG.subarray(0, one * 1000));
    }
    await expectTidy(other, scene.buckets);
  });
});

describe('A bucket that is gone for good', () => {
  test('is forgotten once what lay there has been made anew elsewhere', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    scene.bucket(0).storage.clear();
    scene.bucket(0).wrap = (bucket) => faulty(bucket, always('bucket-missing'));
    expect(await handle.vault.repair({ forgetBucket: 'memory:1' })).toMatchObject({
      outcome: 'whole',
      forgotten: true,
      unreachable: ['memory:1'],
    });
    expect(handle.vault.buckets().map(({ url }) => url)).toEqual(
      scene.buckets.slice(1).map(({ url }) => url),
    );
    const another = await scene.open();
    await expectWhole(another);
    await expectDistinctBuckets(another);
    await expectTidy(another, scene.buckets.slice(1));
  });

  test('may leave fewer buckets than the redundancy asks for, as long as they are enough to read', async () => {
    await using few = await stage({}, async ({ vault }) => {
      await putBytes(vault, BIG, { name: 'big' });
    });
    await using scene = await few.scene();
    const handle = await scene.open();
    scene.bucket(2).wrap = (bucket) => faulty(bucket, always('bucket-missing'));
    const result = await handle.vault.repair({ forgetBucket: 'memory:3' });
    expect(result).toMatchObject({ outcome: 'degraded', forgotten: true });
    expect(result.affected).toMatchObject([{ name: 'big', condition: 'degraded' }]);
    expect(await getBytes(handle.vault, 'big')).toEqual(BIG);
    await expect(handle.vault.repair({ forgetBucket: 'memory:2' })).rejects.toMatchObject({
      code: 'invalid-input',
    });
  });

  test('is still asked for what only it has, if it answers after all', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await chunkOf(handle, 'small');
    const { name, bucket } = shardOf(scene, row, 1);
    bucket.storage.delete(name);
    const { url } = shardOf(scene, row, 0).bucket;
    expect(await handle.vault.repair({ forgetBucket: url })).toMatchObject({
      outcome: 'whole',
      forgotten: true,
    });
    await expectWhole(handle);
  });

  test('is kept while another one is down that what lies there needs', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await chunkOf(handle, 'small');
    const gone = shardOf(scene, row, 0).bucket;
    const down = shardOf(scene, row, 1).bucket;
    gone.wrap = (bucket) => faulty(bucket, always('unavailable'));
    down.wrap = (bucket) => faulty(bucket, always('unavailable'));
    const result = await handle.vault.repair({ forgetBucket: gone.url });
    expect(result).toMatchObject({ outcome: 'degraded', forgotten: false });
    down.wrap = (bucket) => bucket;
    const another = await scene.open();
    expect(await another.vault.repair({ forgetBucket: gone.url })).toMatchObject({
      outcome: 'whole',
      forgotten: true,
    });
    await expectWhole(another);
  });

  test('is forgotten although a chunk was lost with it, and that is named', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await chunkOf(handle, 'small');
    const { name, bucket } = shardOf(scene, row, 1);
    bucket.storage.delete(name);
    const gone = shardOf(scene, row, 0).bucket;
    gone.wrap = (inner) => faulty(inner, always('bucket-missing'));
    const result = await handle.vault.repair({ forgetBucket: gone.url });
    expect(result).toMatchObject({ outcome: 'lost', forgotten: true });
    expect(result.affected).toMatchObject([{ name: 'small', condition: 'lost' }]);
    expect(await getBytes(handle.vault, 'big')).toEqual(BIG);
    await putBytes(handle.vault, SMALL, { name: 'again' });
    await expectWhole(handle);
  });

  test('is one of the vault’s', async () => {
    await using begun = await begin();
    await expect(begun.handle.vault.repair({ forgetBucket: 'memory:9' })).rejects.toMatchObject({
      code: 'invalid-input',
    });
  });
});

interface Work {
  readonly title: string;
  /** What is wrong at the start. */
  readonly spoil: (scene: Scene) => void;
  readonly run: (vault: Vault) => Promise<RepairResult>;
  /** The vault's buckets at the end. */
  readonly left: (scene: Scene) => readonly TestBucket[];
}

const WORKS: readonly Work[] = [
  {
    title: 'a repair',
    spoil(scene) {
      wipe(scene.bucket(0), 'chunks/');
      wipe(scene.bucket(1), 'manifests/');
      wipe(scene.bucket(2), 'keyslots/');
      scene.bucket(3).storage.delete('vault.json');
    },
    run: (vault) => vault.repair(),
    left: (scene) => scene.buckets,
  },
  {
    title: 'a change of redundancy',
    spoil: () => undefined,
    run: (vault) => vault.repair({ redundancy: { k: 3, m: 2 } }),
    left: (scene) => scene.buckets,
  },
  {
    title: 'the forgetting of a bucket',
    spoil(scene) {
      scene.bucket(0).storage.clear();
      scene.bucket(0).wrap = (bucket) => faulty(bucket, always('bucket-missing'));
    },
    async run(vault) {
      // Whoever repeats a command whose answer was lost may find it done.
      const known = vault.buckets().some(({ url }) => url === 'memory:1');
      return vault.repair(known ? { forgetBucket: 'memory:1' } : {});
    },
    left: (scene) => scene.buckets.slice(1),
  },
];

describe.each(WORKS)('Wherever $title ends', ({ spoil, run, left }) => {
  test('nothing is worse than before, and repeating it completes it', async () => {
    let changes = Infinity;
    for (let nth = 1; nth <= changes; nth += CALL_STRIDE) {
      await using scene = await ready.scene();
      spoil(scene);
      const ending = await scene.open({ self: `gone ${nth}`, around: endingAt(nth) });
      if (!((await run(ending.vault).catch((error: unknown) => error)) instanceof VaultError)) changes = nth;
      const after = await scene.open();
      expect({ nth, bytes: await getBytes(after.vault, 'big') }).toEqual({ nth, bytes: BIG });
      expect({ nth, bytes: await getBytes(after.vault, 'small') }).toEqual({ nth, bytes: SMALL });
      expect(await run(after.vault)).toMatchObject({
        outcome: 'whole',
        affected: [],
      });
      await expectWhole(after);
      await expectTidy(after, left(scene));
    }
    expect(changes).toBeGreaterThan(6);
  }, 240_000);
});
