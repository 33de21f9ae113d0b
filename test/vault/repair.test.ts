import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import { keyringObjectName } from '../../src/format/keyring.ts';
import type { Warning } from '../../src/vault/call.ts';
import { changeDefaults } from '../../src/vault/keys/defaults.ts';
import type { RepairResult } from '../../src/vault/repair/repair.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { CUT_STRIDE, sampled } from '../support/catalog-place.ts';
import { always, faulty, storageError } from '../support/faulty-bucket.ts';
import { all, CHEAP_KDF, CHUNK_SIZE, getBytes, putBytes } from './harness.ts';
import type { TestBucket } from './harness.ts';
import {
  endingAt,
  failing,
  flip,
  forge,
  loseShard,
  present,
  putWidely,
  rowsOf,
  shardOf,
  stage,
  wipe,
} from './scene.ts';
import type { Scene, SceneHandle, Stage } from './scene.ts';

const BIG = randomBytes(2 * CHUNK_SIZE + 500);
const ONE = randomBytes(20_000);
const INLINE = randomBytes(300);

const REFUSED = { kind: 'fail', when: 'before', error: storageError('denied') } as const;

let ready: Stage;

beforeAll(async () => {
  ready = await stage({ buckets: 5, redundancy: { k: 2, m: 1 } }, (made) =>
    putWidely(made, { big: BIG, one: ONE, inline: INLINE }),
  );
});

afterAll(async () => {
  await ready[Symbol.asyncDispose]();
});

/** A vault of five buckets, 2+1, with files of three chunks, of one and of none. */
async function begin(): Promise<AsyncDisposable & { scene: Scene; handle: SceneHandle }> {
  const scene = await ready.scene();
  return { scene, handle: await scene.open(), [Symbol.asyncDispose]: () => scene[Symbol.asyncDispose]() };
}

async function chunkOf({ vault, catalog }: SceneHandle, name: string) {
  const { placement } = await vault.inspect(name);
  const id = present(placement[0]).chunkId;
  return present((await catalog.chunks.locate([id])).get(id));
}

const NOTHING_DONE = {
  outcome: 'whole',
  chunksRepaired: 0,
  chunksDegraded: 0,
  chunksUnknown: 0,
  chunksLost: 0,
  shardsStored: 0,
  manifestsStored: 0,
  keyringsStored: 0,
  markersStored: 0,
  deletionsStored: 0,
  recordsRepaired: 0,
  filesUnlisted: 0,
  placesRepaired: 0,
  bytesStored: 0,
  objectsReplaced: 0,
  filesLost: [],
  filesDegraded: [],
  filesUnknown: [],
  unreachable: [],
};

async function expectReadable({ vault }: SceneHandle): Promise<void> {
  expect(await getBytes(vault, 'big')).toEqual(BIG);
  expect(await getBytes(vault, 'one')).toEqual(ONE);
  expect(await getBytes(vault, 'inline')).toEqual(INLINE);
}

/** All is whole, and a repair that reads everything finds nothing to do, now and after a sweep. */
async function expectWhole(handle: SceneHandle): Promise<void> {
  await expectReadable(handle);
  expect(await handle.vault.repair({ depth: 'data' })).toMatchObject(NOTHING_DONE);
  await handle.session.guard.end();
  expect(await handle.vault.sweep()).toMatchObject({ blockedBy: null, objectsWaiting: 0 });
  // Of two complete sets it may have kept the one that the catalog did not name.
  expect(await handle.vault.repair({ depth: 'data' })).toMatchObject({
    ...NOTHING_DONE,
    placesRepaired: expect.any(Number),
  });
  await expectReadable(handle);
}

/** What is stored, without what guards and lists of removal leave for a while. */
function stored(buckets: readonly TestBucket[]): string[] {
  return buckets.flatMap(({ url, storage }) =>
    [...storage.keys()].filter((name) => !/^(puts|sweep)\//.test(name)).map((name) => `${url} ${name}`),
  );
}

async function expectDistinctBuckets({ catalog }: SceneHandle): Promise<void> {
  for (const { shards } of await rowsOf(catalog)) {
    const numbers = shards.map((place) => present(place).bucket);
    expect(new Set(numbers).size).toBe(numbers.length);
  }
}

/** Lets a bucket have no room for shards. */
function full(bucket: TestBucket): void {
  bucket.wrap = (inner) =>
    faulty(inner, ({ operation, name }) =>
      operation === 'put' && name.startsWith('chunks/')
        ? { kind: 'fail', when: 'before', error: storageError('storage-full') }
        : null,
    );
}

/** Objects of some kinds, by name. */
function copiesIn({ storage }: TestBucket, kinds: RegExp): Map<string, Uint8Array> {
  const names = [...storage.keys()].filter((name) => kinds.test(name)).toSorted();
  return new Map(names.map((name) => [name, present(storage.get(name))]));
}

/** When the marker of a process that is gone is a day old. */
const later = (): number => Date.now() + 25 * 3_600_000;

describe('repair', () => {
  test('finds nothing to do where all is whole', async () => {
    await using begun = await begin();
    const { handle, scene } = begun;
    const before = stored(scene.buckets);
    expect(await handle.vault.repair()).toMatchObject(NOTHING_DONE);
    expect(await handle.vault.repair({ depth: 'data' })).toMatchObject(NOTHING_DONE);
    expect(stored(scene.buckets)).toEqual(before);
  });

  test('stores missing shards anew, each in a bucket that has none of its chunk', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const rows = await rowsOf(handle.catalog);
    const lost = rows.flatMap(({ shards }) => shards).filter((place) => place?.bucket === 1);
    wipe(scene.bucket(0), 'chunks/');
    const planned = await handle.vault.repair({ dryRun: true });
    const result = await handle.vault.repair();
    expect(result).toMatchObject({
      outcome: 'whole',
      shardsStored: lost.length,
      chunksRepaired: lost.length,
    });
    expect(planned).toEqual(result);
    await expectWhole(handle);
    await expectDistinctBuckets(handle);
  });

  test('replaces rotten, forged, cut and swapped shards when it reads the data, and a sweep removes them', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const rotten = shardOf(scene, await chunkOf(handle, 'one'), 0);
    flip(rotten.bucket, rotten.name, -1);
    const lying = shardOf(scene, await chunkOf(handle, 'big'), 2);
    forge(lying.bucket, lying.name);
    expect(await handle.vault.repair()).toMatchObject(NOTHING_DONE);
    const planned = await handle.vault.repair({ depth: 'data', dryRun: true });
    const result = await handle.vault.repair({ depth: 'data' });
    expect(result).toMatchObject({
      outcome: 'whole',
      chunksRepaired: 2,
      shardsStored: 2,
      objectsReplaced: 2,
    });
    expect(planned).toEqual(result);
    await handle.session.guard.end();
    await handle.vault.sweep();
    expect(rotten.bucket.storage.has(rotten.name)).toBe(false);
    expect(lying.bucket.storage.has(lying.name)).toBe(false);
    await expectWhole(handle);
  });

  test('lets no lying shard into what it makes anew, whichever lies', async () => {
    await using begun = await begin();
    const row = await chunkOf(begun.handle, 'big');
    for (const lost of [0, 1, 2]) {
      for (const lies of [0, 1, 2].filter((index) => index !== lost)) {
        await using scene = await ready.scene();
        const handle = await scene.open();
        const liar = shardOf(scene, row, lies);
        forge(liar.bucket, liar.name);
        // The third one comes back later: then it can be told who was right.
        const missing = loseShard(scene, row, lost);
        const result = await handle.vault.repair();
        expect(result).toMatchObject({ outcome: 'lost', chunksLost: 1, shardsStored: 0 });
        missing.bucket.storage.set(missing.name, missing.bytes);
        expect(await handle.vault.repair({ depth: 'data' })).toMatchObject({
          outcome: 'whole',
          shardsStored: 1,
        });
        await expectWhole(handle);
      }
    }
  });

  test('gives every bucket the manifests, keyrings and records of removal that it lacks, and replaces damaged ones', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    await putBytes(handle.vault, randomBytes(10), { name: 'gone' });
    await handle.vault.remove(['gone']);
    wipe(scene.bucket(0), 'manifests/');
    wipe(scene.bucket(1), 'keyring/');
    wipe(scene.bucket(2), 'deleted/');
    const manifest = `manifests/${(await handle.vault.get('one')).hash}`;
    flip(scene.bucket(2), manifest, 90);
    scene.bucket(3).storage.set(keyringObjectName(1), Buffer.from('{}'));
    const records = [...scene.bucket(3).storage.keys()].filter((name) => name.startsWith('deleted/'));
    flip(scene.bucket(3), present(records[0]), 20);
    const planned = await handle.vault.repair({ depth: 'data', dryRun: true });
    const result = await handle.vault.repair({ depth: 'data' });
    expect(result).toMatchObject({
      outcome: 'whole',
      manifestsStored: 5,
      keyringsStored: 2,
      deletionsStored: records.length + 1,
      chunksRepaired: 0,
    });
    expect(planned).toEqual(result);
    const [first, ...others] = scene.buckets.map((bucket) =>
      copiesIn(bucket, /^(manifests|keyring|deleted)\//),
    );
    for (const other of others) expect(other).toEqual(first);
    await expectWhole(handle);
  });

  test('replaces manifests that are not as long as elsewhere, be most so, and reads none that are alike', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const names = [...scene.bucket(0).storage.keys()].filter((name) => name.startsWith('manifests/'));
    const [cut, grown, alike] = names.map(present);
    for (const i of [1, 2, 3, 4]) scene.bucket(i).storage.set(present(cut), Buffer.alloc(0));
    const { storage } = scene.bucket(2);
    storage.set(present(grown), Buffer.concat([present(storage.get(present(grown))), Buffer.from('more')]));
    const { safety, degraded } = await handle.vault.status();
    expect([safety.get(0), degraded]).toEqual([1, 1]);
    const before = handle.steps.log.length;
    const planned = await handle.vault.repair({ dryRun: true });
    const result = await handle.vault.repair();
    expect(result).toMatchObject({ outcome: 'whole', manifestsStored: 5, filesDegraded: [] });
    expect(planned).toEqual(result);
    expect(handle.steps.log.slice(before).filter(({ name }) => name === alike)).toEqual([]);
    expect(await handle.vault.verify({ depth: 'data' })).toMatchObject({ outcome: 'whole' });
    await expectWhole(handle);
  });

  test('keeps a bucket that was away from bringing back what was removed or undeleted meanwhile', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const away = scene.bucket(4);
    await handle.vault.remove(['one']);
    away.wrap = (bucket) => faulty(bucket, always('unavailable'));
    await handle.vault.undelete(['one']);
    await handle.vault.remove(['inline']);
    away.wrap = (bucket) => bucket;
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole', deletionsStored: 2 });
    const [first, ...others] = scene.buckets.map((bucket) => copiesIn(bucket, /^deleted\//));
    for (const other of others) expect(other).toEqual(first);
  });

  test('marks a bucket again whose marker is gone or damaged, by what only this vault can have written', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const markers = scene.buckets.map(({ storage }) => storage.get('vault.json'));
    scene.bucket(0).storage.delete('vault.json');
    flip(scene.bucket(1), 'vault.json', 0);
    await expect(present(handle.session.buckets.byNumber(2)).confirm()).rejects.toMatchObject({
      code: 'damaged',
      message: expect.stringContaining('"vault repair" makes it anew'),
    });
    // No keyring either: its manifests tell.
    scene.bucket(2).storage.delete('vault.json');
    wipe(scene.bucket(2), 'keyring/');
    expect(await handle.vault.repair({ dryRun: true })).toMatchObject({ markersStored: 3 });
    expect(await handle.vault.repair()).toMatchObject({
      outcome: 'whole',
      markersStored: 3,
      keyringsStored: 1,
      unreachable: [],
    });
    expect(scene.buckets.map(({ storage }) => storage.get('vault.json'))).toEqual(markers);
    await expectWhole(handle);
  });

  test('marks no empty place, which may be an unmounted disk, and stores nothing there', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    scene.bucket(0).storage.clear();
    const result = await handle.vault.repair();
    expect(result).toMatchObject({ outcome: 'degraded', markersStored: 0, unreachable: ['memory:1'] });
    expect(scene.bucket(0).storage.size).toBe(0);
  });

  test('marks no other bucket of the vault, and no other vault’s, whose place it took', async () => {
    await using other = await stage({}, (made) => putWidely(made, { other: ONE }));
    await using otherScene = await other.scene();
    for (const source of [(scene: Scene) => scene.bucket(1), () => otherScene.bucket(0)]) {
      await using begun = await begin();
      const { scene, handle } = begun;
      const content = new Map(source(scene).storage);
      scene.bucket(0).storage.clear();
      for (const [name, bytes] of content) scene.bucket(0).storage.set(name, bytes);
      expect(await handle.vault.repair()).toMatchObject({ markersStored: 0, unreachable: ['memory:1'] });
      expect(scene.bucket(0).storage).toEqual(content);
    }
    await using begun = await begin();
    const foreign = new Map([...otherScene.bucket(0).storage].filter(([name]) => name !== 'vault.json'));
    begun.scene.bucket(0).storage.clear();
    for (const [name, bytes] of foreign) begun.scene.bucket(0).storage.set(name, bytes);
    expect(await begun.handle.vault.repair()).toMatchObject({ markersStored: 0 });
    expect(begun.scene.bucket(0).storage).toEqual(foreign);
  });

  test.each(['vault', 'bucket'])(
    'leaves a marker of which a digit of the %s is another, says so, and marks again once that was moved away',
    async (field) => {
      await using begun = await begin();
      const { scene, handle } = begun;
      const { storage } = scene.bucket(0);
      const marker = present(storage.get('vault.json'));
      const text = Buffer.from(marker).toString();
      const at = text.indexOf(`"${field}":"`) + field.length + 4;
      const changed = Buffer.from(text.slice(0, at) + (text[at] === '0' ? '1' : '0') + text.slice(at + 1));
      storage.set('vault.json', changed);
      const messages: string[] = [];
      const onWarning = ({ message }: Warning): void => void messages.push(message);
      expect(await handle.vault.repair({ onWarning })).toMatchObject({ markersStored: 0 });
      expect(storage.get('vault.json')).toEqual(changed);
      expect(messages).toEqual([
        expect.stringMatching(
          /If its vault\.json was damaged: move that away, and "vault repair" makes it anew/,
        ),
      ]);
      storage.delete('vault.json');
      expect(await handle.vault.repair()).toMatchObject({ markersStored: 1, outcome: 'whole' });
      expect(storage.get('vault.json')).toEqual(marker);
    },
  );

  test('heals whatever single object is changed or gone', async () => {
    await using begun = await begin();
    const names = begun.scene.buckets.flatMap(({ storage }, i) =>
      [...storage.keys()].map((name) => ({ i, name })),
    );
    for (const [turn, { i, name }] of sampled(names).entries()) {
      await using scene = await ready.scene();
      const handle = await scene.open();
      if (turn % 2 === 0) scene.bucket(i).storage.delete(name);
      else {
        const { length } = present(scene.bucket(i).storage.get(name));
        // In its middle, a digit more or less would make the marker another bucket's.
        flip(scene.bucket(i), name, name === 'vault.json' ? 0 : (turn * 37) % length);
      }
      const result = await handle.vault.repair({ depth: 'data' });
      expect({ name, ...result }).toMatchObject({ name, outcome: 'whole', filesLost: [] });
      await expectWhole(handle);
    }
  });

  test('completes what was stored while a bucket was down', async () => {
    await using few = await stage({}, async ({ vault, buckets }) => {
      present(buckets[2]).wrap = (bucket) => faulty(bucket, always('unavailable'));
      const result = await putBytes(vault, BIG, { name: 'big' });
      expect(result.degraded).toBe(true);
      present(buckets[2]).wrap = (bucket) => bucket;
    });
    await using scene = await few.scene();
    const handle = await scene.open();
    const planned = await handle.vault.repair({ dryRun: true });
    const result = await handle.vault.repair();
    expect(result).toMatchObject({
      outcome: 'whole',
      chunksRepaired: 3,
      shardsStored: 3,
      manifestsStored: 1,
    });
    expect(planned).toEqual(result);
    expect(await handle.vault.repair({ depth: 'data' })).toMatchObject(NOTHING_DONE);
    expect(await getBytes(handle.vault, 'big')).toEqual(BIG);
  });

  test('does what can be done while a bucket is down, and calls nothing lost for it', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    wipe(scene.bucket(0), 'chunks/');
    scene.bucket(1).wrap = (bucket) => faulty(bucket, always('unavailable'));
    const result = await handle.vault.repair();
    expect(result).toMatchObject({
      outcome: 'degraded',
      unreachable: ['memory:2'],
      chunksLost: 0,
      filesLost: [],
    });
    scene.bucket(1).wrap = (bucket) => bucket;
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole' });
    await expectWhole(handle);
  });

  test('calls nothing lost that a bucket may have which goes down at any of its calls', async () => {
    for (let nth = 1; nth < 40; nth += CUT_STRIDE) {
      await using begun = await begin();
      const { scene, handle } = begun;
      wipe(scene.bucket(0), 'chunks/');
      wipe(scene.bucket(0), 'manifests/');
      let calls = 0;
      scene.bucket(1).wrap = (bucket) =>
        faulty(bucket, () => {
          calls += 1;
          return calls >= nth ? { kind: 'fail', when: 'before', error: storageError() } : null;
        });
      const result = await handle.vault.repair({ depth: 'data' });
      expect({ nth, ...result }).toMatchObject({ nth, chunksLost: 0, filesLost: [] });
      scene.bucket(1).wrap = (bucket) => bucket;
      expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole' });
      await expectWhole(handle);
    }
  });

  test('finds out a bucket that claims success and stores nothing', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    wipe(scene.bucket(0), 'chunks/');
    for (const bucket of scene.buckets) {
      bucket.wrap = (inner) =>
        faulty(inner, ({ operation }) => (operation === 'put' ? { kind: 'lose' } : null));
    }
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'degraded', chunksRepaired: 0 });
    for (const bucket of scene.buckets) bucket.wrap = (inner) => inner;
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole' });
    await expectWhole(handle);
  });

  for (const [what, lost, fault, loses] of [
    ['keeps no shards that it takes', 'chunks/', 'put', { kind: 'lose' }],
    ['keeps no manifests that it takes', 'manifests/', 'put', { kind: 'lose' }],
    ['keeps no keyring that it takes', 'keyring/', 'put', { kind: 'lose' }],
    ['lists nothing', 'chunks/', 'list', { kind: 'hide', names: /./ }],
  ] as const) {
    test(`names the bucket that ${what}`, async () => {
      await using begun = await begin();
      const { scene, handle } = begun;
      wipe(scene.bucket(0), lost);
      // So that what is missing goes there.
      for (const bucket of scene.buckets.slice(1))
        failing(bucket, ({ operation, name }) => operation === 'put' && name.startsWith('chunks/'), 'denied');
      scene.bucket(0).wrap = (plain) =>
        faulty(plain, ({ operation }) => (operation === fault ? loses : null));
      const warnings: Warning[] = [];
      const onWarning = (warning: Warning): void => void warnings.push(warning);
      const result = await handle.vault.repair({ onWarning });
      expect(result.outcome).toBe('degraded');
      expect(result.unreachable).toContain('memory:1');
      const said = warnings.filter(({ bucket }) => bucket === 'memory:1').map(({ message }) => message);
      expect(said).toEqual([
        expect.stringMatching(/^memory:1 does not list (shards|manifests|the keyring) that it has taken/),
      ]);
    });
  }

  test('uses other buckets for one that is full, and says what is not whole for want of others', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    wipe(scene.bucket(0), 'chunks/');
    full(scene.bucket(0));
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole' });
    await expectReadable(handle);
    wipe(scene.bucket(1), 'chunks/');
    for (const bucket of scene.buckets) full(bucket);
    const result = await handle.vault.repair();
    expect(result).toMatchObject({ outcome: 'degraded', chunksRepaired: 0 });
    expect(result.chunksDegraded).toBeGreaterThan(0);
    expect(result.filesDegraded.length).toBeGreaterThan(0);
    for (const bucket of scene.buckets) bucket.wrap = (inner) => inner;
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole' });
    await expectWhole(handle);
  });

  test('says which bucket answers and takes nothing', async () => {
    await using few = await stage({}, async ({ vault }) => {
      await putBytes(vault, BIG, { name: 'big' });
    });
    await using scene = await few.scene();
    const { vault } = await scene.open();
    wipe(scene.bucket(2), 'chunks/');
    scene.bucket(2).wrap = (plain) =>
      faulty(plain, ({ operation }) =>
        operation === 'put'
          ? { kind: 'fail', when: 'before', error: new VaultError('denied', 'It is read-only.') }
          : null,
      );
    const warnings: Warning[] = [];
    const onWarning = (warning: Warning): void => void warnings.push(warning);
    const result = await vault.repair({ onWarning });
    expect(result).toMatchObject({ outcome: 'degraded', chunksDegraded: 3, unreachable: ['memory:3'] });
    expect(warnings).toEqual([
      { kind: 'bucket-down', message: 'memory:3: It is read-only.', bucket: 'memory:3' },
    ]);
  });

  test('names every file that is beyond repair, and repairs the others', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await chunkOf(handle, 'one');
    for (const index of [0, 1]) loseShard(scene, row, index);
    loseShard(scene, await chunkOf(handle, 'big'), 0);
    const { hash } = await handle.vault.get('one');
    const planned = await handle.vault.repair({ dryRun: true });
    const result = await handle.vault.repair();
    expect(result).toMatchObject({ outcome: 'lost', chunksRepaired: 1, chunksLost: 1, filesLost: [hash] });
    expect(planned).toEqual(result);
    expect(await getBytes(handle.vault, 'big')).toEqual(BIG);
  });

  test('names a file whose manifests are all damaged or gone', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const [{ hash: one }, { hash: big }] = [await handle.vault.get('one'), await handle.vault.get('big')];
    for (const bucket of scene.buckets) {
      flip(bucket, `manifests/${one}`, 90);
      bucket.storage.delete(`manifests/${big}`);
    }
    expect(await handle.vault.repair({ depth: 'data' })).toMatchObject({
      outcome: 'lost',
      filesLost: [one, big].toSorted(),
    });
  });

  test('puts the catalog right that has lost sight of shards', async () => {
    await using begun = await begin();
    const { handle } = begun;
    const row = await chunkOf(handle, 'one');
    const shards = row.shards.map((place) => ({ ...present(place), upload: '0123456789abcdef' }));
    const rows = await rowsOf(handle.catalog);
    await handle.catalog.chunks.put([{ ...row, shards }]);
    await handle.catalog.chunks.forget([present((await chunkOf(handle, 'big')).id)]);
    expect(await handle.vault.repair({ dryRun: true })).toMatchObject({ placesRepaired: 2 });
    expect(await handle.vault.repair()).toMatchObject({ ...NOTHING_DONE, placesRepaired: 2 });
    expect((await rowsOf(handle.catalog)).map(({ id, shards: places }) => ({ id, places }))).toEqual(
      rows.map(({ id, shards: places }) => ({ id, places })),
    );
  });

  test('spreads shards that lie in one bucket', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await chunkOf(handle, 'one');
    const first = present(row.shards[0]);
    const moved = shardOf(scene, row, 1);
    moved.bucket.storage.delete(moved.name);
    scene.bucket(first.bucket - 1).storage.set(moved.name, moved.bytes);
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole', shardsStored: 1 });
    await expectDistinctBuckets(handle);
    await expectWhole(handle);
  });

  test('repairs the given files alone', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    for (const name of ['big', 'one']) {
      const shard = shardOf(scene, await chunkOf(handle, name), 0);
      shard.bucket.storage.delete(shard.name);
      scene.bucket(0).storage.delete(`manifests/${(await handle.vault.get(name)).hash}`);
    }
    const given = { references: ['one'] };
    const planned = await handle.vault.repair({ ...given, dryRun: true });
    const result = await handle.vault.repair(given);
    expect(result).toMatchObject({ outcome: 'whole', chunksRepaired: 1, manifestsStored: 1 });
    expect(planned).toEqual(result);
    expect(await handle.vault.repair({ dryRun: true })).toMatchObject({
      chunksRepaired: 1,
      manifestsStored: 1,
    });
    await expect(handle.vault.repair({ references: ['none'] })).rejects.toMatchObject({
      code: 'file-not-found',
    });
  });

  test('takes no part for the whole: redundancy is everybody’s', async () => {
    await using begun = await begin();
    const options = { references: ['one'], redundancy: { k: 1, m: 1 } };
    await expect(begun.handle.vault.repair(options)).rejects.toMatchObject({ code: 'invalid-input' });
  });

  test('does nothing at all when it shall only tell', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    wipe(scene.bucket(0), 'chunks/');
    wipe(scene.bucket(1), 'manifests/');
    wipe(scene.bucket(2), 'keyring/');
    scene.bucket(3).storage.delete('vault.json');
    const before = scene.buckets.map(({ storage }) => new Map(storage));
    const from = handle.steps.log.length;
    await handle.vault.repair({ dryRun: true });
    await handle.vault.repair({ dryRun: true, depth: 'data' });
    await handle.vault.repair({ dryRun: true, redundancy: { k: 3, m: 2 } });
    expect(scene.buckets.map(({ storage }) => storage)).toEqual(before);
    const changes = handle.steps.log
      .slice(from)
      .filter(({ call }) => /put|remove|forget|hide|create/i.test(call));
    expect(changes).toEqual([]);
  });

  test('tells how far it has come, in bytes of the chunks that need it', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    wipe(scene.bucket(0), 'chunks/');
    const seen: { doneBytes: number; totalBytes: number | null }[] = [];
    await handle.vault.repair({ onProgress: (progress) => void seen.push(progress) });
    expect(new Set(seen.map(({ totalBytes }) => totalBytes)).size).toBe(1);
    expect(present(seen[0])).toMatchObject({ doneBytes: 0 });
    expect(present(seen.at(-1)).doneBytes).toBe(present(seen.at(-1)).totalBytes);
    expect(present(seen.at(-1)).doneBytes).toBeGreaterThan(0);
  });

  test('tells of locked files that it cannot open, and completes them by checksums', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const secret = randomBytes(CHUNK_SIZE + 1000);
    const lock = { password: 'for one file', cost: CHEAP_KDF };
    const { hash } = await putBytes(handle.vault, secret, { name: 'locked', lock });
    const row = await chunkOf(handle, 'locked');
    const rotten = shardOf(scene, row, 0);
    flip(rotten.bucket, rotten.name, -1);
    const result = await handle.vault.repair({ depth: 'data' });
    expect(result).toMatchObject({
      outcome: 'whole',
      chunksRepaired: 1,
      chunksNotOpened: 2,
      objectsReplaced: 1,
    });
    const file = await handle.vault.get(hash, { lockPassword: () => Promise.resolve('for one file') });
    const runs = await all(file.content());
    expect(Buffer.concat(runs.map((run) => Uint8Array.from(run))).length).toBe(secret.length);
    await handle.session.guard.end();
    await handle.vault.sweep();
    expect(await handle.vault.repair({ depth: 'data' })).toMatchObject(NOTHING_DONE);
  });

  test('completes a removed file, which may be brought back, until its grace is over', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { hash } = await handle.vault.get('one');
    const row = await chunkOf(handle, 'one');
    await handle.vault.remove(['one']);
    const shard = shardOf(scene, row, 0);
    shard.bucket.storage.delete(shard.name);
    scene.bucket(0).storage.delete(`manifests/${hash}`);
    expect(await handle.vault.repair()).toMatchObject({ chunksRepaired: 1, manifestsStored: 1 });
    await handle.vault.undelete(['one']);
    await handle.vault.remove(['one'], { graceMs: 0 });
    scene.bucket(0).storage.delete(`manifests/${hash}`);
    expect(await handle.vault.repair()).toMatchObject(NOTHING_DONE);
  });

  test('hides what a catalog from before its removal shows, whether it can be brought back or not', async () => {
    await using at = await begin();
    const { vault, catalog } = at.handle;
    const hashes = (await Promise.all(['big', 'one'].map((name) => vault.get(name)))).map(({ hash }) => hash);
    await vault.remove(['big']);
    await vault.remove(['one'], { graceMs: 0 });
    await catalog.files.hide(hashes, null);
    expect(await vault.repair()).toMatchObject({ outcome: 'whole' });
    expect(await vault.verify({ depth: 'listing' })).toMatchObject({ filesShown: 0, filesHidden: 0 });
  });

  test('brings back no manifest of a file that is removed and swept meanwhile', async () => {
    await using begun = await begin();
    const { scene } = begun;
    const other = await scene.open();
    const { hash } = await other.vault.get('one');
    scene.bucket(0).storage.delete(`manifests/${hash}`);
    let removed = false;
    const handle = await scene.open({
      around: async (step, proceed) => {
        if (!removed && step.call === 'put' && step.name === `manifests/${hash}`) {
          removed = true;
          await other.vault.remove(['one'], { graceMs: 0 });
          await other.vault.sweep({ waitMs: 0 });
        }
        await proceed();
      },
    });
    await handle.vault.repair();
    await handle.session.guard.end();
    expect(removed).toBe(true);
    await other.vault.sweep();
    await other.vault.sweep();
    for (const { storage } of scene.buckets) expect(storage.has(`manifests/${hash}`)).toBe(false);
    expect((await all(other.vault.list())).map(({ name }) => name)).not.toContain('one');
    expect(await other.vault.repair()).toMatchObject({ ...NOTHING_DONE, deletionsStored: 0 });
  });

  test('begins anew when it has slept for so long that its marker is nobody’s', async () => {
    await using begun = await begin();
    const { scene } = begun;
    wipe(scene.bucket(0), 'chunks/');
    let clock = Date.now();
    let slept = false;
    const handle = await scene.open({
      now: () => clock,
      around: async (step, proceed) => {
        await proceed();
        if (slept || step.call !== 'put' || !step.name.startsWith('chunks/')) return;
        slept = true;
        clock += 30 * 3_600_000;
      },
    });
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole' });
    expect(slept).toBe(true);
    await expectWhole(await scene.open({ now: () => clock }));
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
      const planned = await handle.vault.repair({ redundancy: { k, m }, dryRun: true });
      const result = await handle.vault.repair({ redundancy: { k, m } });
      expect(result).toMatchObject({ outcome: 'whole', chunksRepaired: 4, shardsStored: 4 * (k + m) });
      expect(planned).toEqual({ ...result, keyringsStored: planned.keyringsStored });
      for (const row of await rowsOf(handle.catalog)) expect(row).toMatchObject({ k, m });
      expect(handle.vault.redundancy).toEqual({ k, m });
      await expectWhole(handle);
      await expectDistinctBuckets(handle);
      const shards = stored(scene.buckets).filter((name) => name.includes('chunks/'));
      expect(shards.filter((name) => !name.includes(`of${k}+${m}.`))).toEqual([]);
      const another = await scene.open();
      expect(another.vault.redundancy).toEqual({ k, m });
      await putBytes(another.vault, randomBytes(20_000), { name: 'new' });
      expect(await chunkOf(another, 'new')).toMatchObject({ k, m });
      expect(await another.vault.repair({ redundancy: { k, m } })).toMatchObject({ chunksRepaired: 0 });
    });
  }

  test('that was cut short is made up for by any repair', async () => {
    await using begun = await begin();
    const { session, vault, catalog } = begun.handle;
    await changeDefaults(session, { redundancy: { k: 2, m: 2 } }, {});
    expect(await vault.repair()).toMatchObject({ outcome: 'whole', chunksRepaired: 4 });
    for (const row of await rowsOf(catalog)) expect(row).toMatchObject({ k: 2, m: 2 });
    await expectWhole(begun.handle);
  });

  for (const lost of [2, 3]) {
    test(`leaves sets of which either makes a chunk whole where it has lost ${lost} buckets' shards`, async () => {
      await using begun = await begin();
      const { scene, handle } = begun;
      for (const m of [3, 1]) await handle.vault.repair({ redundancy: { k: 2, m } });
      for (let i = 0; i < lost; i += 1) {
        wipe(scene.bucket(i), 'chunks/');
        scene.bucket(i).wrap = (bucket) =>
          faulty(bucket, (call) => (i === 0 && call.operation === 'put' ? REFUSED : null));
      }
      expect(await handle.vault.repair()).toMatchObject({ chunksDegraded: 0, chunksLost: 0 });
      scene.bucket(0).wrap = (bucket) => bucket;
      expect(await handle.vault.verify({ depth: 'listing' })).toMatchObject({ outcome: 'whole' });
      await handle.vault.repair();
      await expectWhole(handle);
    });
  }

  test('that reads stores nothing again of what is coded so already', async () => {
    await using begun = await begin();
    const { vault } = begun.handle;
    const how = { redundancy: { k: 1, m: 1 }, depth: 'data' } as const;
    expect(await vault.repair(how)).toMatchObject({ outcome: 'whole', shardsStored: 8 });
    expect(await vault.repair({ ...how, dryRun: true })).toMatchObject({ shardsStored: 0 });
    expect(await vault.repair(how)).toMatchObject({ outcome: 'whole', shardsStored: 0 });
  });

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
    expect(stored(scene.buckets).filter((name) => name.includes('of3+2.'))).toEqual([]);
    for (const i of [3, 4]) scene.bucket(i).wrap = (bucket) => bucket;
    expect(await getBytes(handle.vault, 'big')).toEqual(BIG);
    expect(await handle.vault.repair({ redundancy: { k: 3, m: 2 } })).toMatchObject({ outcome: 'whole' });
    await expectWhole(handle);
  });

  test('goes on beside puts, removals, sweeps and readers', async () => {
    await using begun = await begin();
    const { scene } = begun;
    const other = await scene.open();
    let turn = 0;
    const handle = await scene.open({
      around: async (step, proceed) => {
        await proceed();
        if (step.call !== 'chunks.put') return;
        // Several chunks may be under way at once.
        turn += 1;
        const mine = turn;
        expect(await getBytes(other.vault, 'big')).toEqual(BIG);
        await putBytes(other.vault, BIG.subarray(0, mine * 30_000), { name: `beside ${mine}` });
        await other.session.guard.end();
        await other.vault.sweep({ waitMs: 0 });
        if (mine === 2) await other.vault.remove(['one']);
      },
    });
    await handle.vault.repair({ redundancy: { k: 3, m: 2 } });
    expect(turn).toBeGreaterThan(1);
    await handle.session.guard.end();
    await other.vault.sweep();
    for (let one = 1; one <= turn; one += 1) {
      expect(await getBytes(other.vault, `beside ${one}`)).toEqual(BIG.subarray(0, one * 30_000));
    }
    expect(await getBytes(other.vault, 'big')).toEqual(BIG);
    expect(await other.vault.repair({ depth: 'data' })).toMatchObject({ outcome: 'whole', filesLost: [] });
  });
});

/** What a run says that nothing comes between. */
async function complete(run: Work['run'], spoil: Work['spoil']): Promise<RepairResult> {
  await using scene = await ready.scene();
  spoil(scene);
  const handle = await scene.open();
  const result = await run(handle.vault);
  await handle.session.guard.end();
  return result;
}

interface Work {
  readonly title: string;
  /** What is wrong at the start. */
  readonly spoil: (scene: Scene) => void;
  readonly run: (vault: Vault) => Promise<RepairResult>;
}

const WORKS: readonly Work[] = [
  {
    title: 'a repair',
    spoil(scene) {
      wipe(scene.bucket(0), 'chunks/');
      wipe(scene.bucket(1), 'manifests/');
      wipe(scene.bucket(2), 'keyring/');
      scene.bucket(3).storage.delete('vault.json');
    },
    run: (vault) => vault.repair(),
  },
  {
    title: 'a change of redundancy',
    spoil: () => undefined,
    run: (vault) => vault.repair({ redundancy: { k: 3, m: 2 } }),
  },
  {
    title: 'a change of redundancy back to less',
    spoil: () => undefined,
    run: (vault) => vault.repair({ redundancy: { k: 1, m: 1 }, depth: 'data' }),
  },
];

describe.each(WORKS)('Wherever $title ends', ({ spoil, run }) => {
  test('nothing is worse than before, and repeating it completes it', async () => {
    let hasEnded = true;
    for (let nth = 1; hasEnded; nth += 2 * CUT_STRIDE) {
      await using scene = await ready.scene();
      spoil(scene);
      const ending = await scene.open({ around: endingAt(nth) });
      const outcome = await run(ending.vault).catch((error: unknown) => error);
      // It bears that a bucket fails, so that it may come to its end without one call that succeeds.
      hasEnded = outcome instanceof VaultError || !isDeepStrictEqual(outcome, await complete(run, spoil));
      const after = await scene.open({ now: later });
      await expectReadable(after);
      expect({ nth, ...(await run(after.vault)) }).toMatchObject({ nth, outcome: 'whole', filesLost: [] });
      await after.session.guard.end();
      await expectWhole(await scene.open({ now: later }));
    }
  }, 240_000);
});
