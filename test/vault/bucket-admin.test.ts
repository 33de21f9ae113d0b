import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { memoryBucket } from '../../src/buckets/memory.ts';
import { VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { scrubBucket } from '../../src/vault/verify/scrub.ts';
import { CALL_STRIDE } from '../support/catalog-place.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import { all, CHUNK_SIZE, discrepancies, getBytes, putBytes } from './harness.ts';
import type { TestBucket } from './harness.ts';
import { emptyPlace, endingAt, flip, forge, present, putWidely, rowsOf, shardOf, stage } from './scene.ts';
import type { Scene, SceneHandle, Stage } from './scene.ts';

const BIG = randomBytes(2 * CHUNK_SIZE + 500);
const SMALL = randomBytes(300);

let ready: Stage;
let stranger: Stage;

beforeAll(async () => {
  ready = await stage({ buckets: 4, redundancy: { k: 2, m: 1 } }, (made) =>
    putWidely(made, { big: BIG, small: SMALL }),
  );
  stranger = await stage({ buckets: 1 }, () => Promise.resolve());
});

afterAll(async () => {
  await ready[Symbol.asyncDispose]();
  await stranger[Symbol.asyncDispose]();
});

/** A vault of four buckets, 2+1, and a fifth place that is none yet. */
async function begin(): Promise<AsyncDisposable & { scene: Scene; handle: SceneHandle; place: TestBucket }> {
  const scene = await ready.scene();
  const place = emptyPlace('memory:5');
  scene.buckets.push(place);
  return {
    scene,
    place,
    handle: await scene.open(),
    [Symbol.asyncDispose]: () => scene[Symbol.asyncDispose](),
  };
}

function urlsOf({ vault }: SceneHandle): string[] {
  return vault.buckets().map(({ url }) => url);
}

function namesIn({ storage }: TestBucket): string[] {
  return [...storage.keys()];
}

function chunksIn(bucket: TestBucket): string[] {
  return namesIn(bucket).filter((name) => name.startsWith('chunks/'));
}

function failingWith(place: TestBucket, code: ErrorCode): void {
  place.wrap = (bucket) => faulty(bucket, always(code));
}

async function expectWhole({ vault }: SceneHandle): Promise<void> {
  expect(await vault.verify({ depth: 'data' })).toMatchObject({ outcome: 'whole' });
  expect(await getBytes(vault, 'big')).toEqual(BIG);
  expect(await getBytes(vault, 'small')).toEqual(SMALL);
}

async function expectTidy({ vault, catalog }: SceneHandle, buckets: readonly TestBucket[]): Promise<void> {
  await vault.sweep({ strayGraceMs: 0 });
  await vault.sweep({ strayGraceMs: 0 });
  expect(await discrepancies(catalog, buckets)).toEqual([]);
}

describe('A bucket that is added', () => {
  test('is marked, gets the keyslots, and takes shards from then on', async () => {
    await using begun = await begin();
    const { scene, handle, place } = begun;
    const added = await handle.vault.addBucket('memory:5');
    expect(added).toMatchObject({ url: 'memory:5', state: 'active' });
    const [first, fifth] = [scene.bucket(0), place].map((bucket) =>
      namesIn(bucket).filter((name) => name.startsWith('keyslots/')),
    );
    expect(fifth).toEqual(first);
    expect(fifth).toHaveLength(1);
    expect(handle.vault.buckets()).toContainEqual(added);
    const another = await scene.open();
    expect(another.vault.buckets()).toContainEqual(added);
    for (const { vault } of [handle, another]) {
      await putBytes(vault, randomBytes(30 * CHUNK_SIZE), { name: 'more' });
    }
    const shards = [...place.storage.keys()].filter((name) => name.startsWith('chunks/'));
    expect(shards.length).toBeGreaterThan(5);
    await expectWhole(another);
    await expectTidy(another, scene.buckets);
  });

  test('is refused if it is the vault’s already, by its URL or by its marker', async () => {
    await using begun = await begin();
    const { scene, handle, place } = begun;
    await expect(handle.vault.addBucket('memory:1')).rejects.toMatchObject({ code: 'already-exists' });
    place.storage.set('vault.json', present(scene.bucket(0).storage.get('vault.json')));
    await expect(handle.vault.addBucket('memory:5')).rejects.toMatchObject({
      code: 'already-exists',
      message: expect.stringContaining('memory:1'),
    });
    expect(urlsOf(handle)).not.toContain('memory:5');
  });

  test('is refused if it belongs to another vault', async () => {
    await using begun = await begin();
    await using other = await stranger.scene();
    const marker = present(other.bucket(0).storage.get('vault.json'));
    begun.place.storage.set('vault.json', marker);
    await expect(begun.handle.vault.addBucket('memory:5')).rejects.toMatchObject({
      code: 'bucket-mismatch',
      message: 'memory:5 belongs to another vault.',
    });
    expect([...begun.place.storage.keys()]).toEqual(['vault.json']);
  });

  test('is refused with what it says if it cannot be used', async () => {
    for (const code of ['denied', 'unavailable', 'bucket-missing', 'storage-full'] as const) {
      await using begun = await begin();
      failingWith(begun.place, code);
      await expect(begun.handle.vault.addBucket('memory:5')).rejects.toMatchObject({ code });
      expect(await begun.handle.catalog.buckets()).toHaveLength(4);
    }
  });

  test('is refused if it may not be written to, or read, or listed, or does not keep what it is given', async () => {
    for (const operation of ['put', 'get', 'list'] as const) {
      await using begun = await begin();
      begun.place.wrap = (bucket) =>
        faulty(bucket, (call) =>
          call.operation === operation
            ? { kind: 'fail', when: 'before', error: new VaultError('denied', 'The test denies it.') }
            : null,
        );
      await expect(begun.handle.vault.addBucket('memory:5')).rejects.toMatchObject({ code: 'denied' });
      expect(await begun.handle.catalog.buckets()).toHaveLength(4);
    }
    await using begun = await begin();
    begun.place.wrap = (bucket) =>
      faulty(bucket, ({ operation }) => (operation === 'put' ? { kind: 'lose' } : null));
    await expect(begun.handle.vault.addBucket('memory:5')).rejects.toMatchObject({
      code: 'damaged',
      message: expect.stringContaining('does not keep'),
    });
    expect(await begun.handle.catalog.buckets()).toHaveLength(4);
  });

  test('can be added again wherever that has ended', async () => {
    for (let nth = 1; nth <= 3; nth += 1) {
      await using begun = await begin();
      const { scene } = begun;
      const ending = await scene.open({ around: endingAt(nth) });
      await expect(ending.vault.addBucket('memory:5')).rejects.toMatchObject({ code: 'unavailable' });
      const after = await scene.open();
      await after.vault.addBucket('memory:5');
      expect(urlsOf(after)).toHaveLength(5);
      await expectWhole(after);
    }
  });
});

describe('The report on buckets', () => {
  test('counts objects and bytes, and says of the others why they cannot be used', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    failingWith(scene.bucket(1), 'denied');
    scene.bucket(2).storage.clear();
    scene.bucket(0).storage.set('somebody-elses', new Uint8Array(1000));
    const report = await handle.vault.bucketReport();
    const own = [...scene.bucket(0).storage].filter(([name]) => name !== 'somebody-elses');
    expect(report).toHaveLength(4);
    expect(report[0]).toMatchObject({
      url: 'memory:1',
      state: 'active',
      objects: own.length,
      bytes: own.reduce((sum, [, bytes]) => sum + bytes.length, 0),
      error: null,
    });
    expect(report[1]).toMatchObject({
      objects: null,
      bytes: null,
      error: expect.stringContaining('memory:2'),
    });
    expect(report[2]?.error).toMatch(/mounted/);
  });
});

describe('A bucket’s new URL', () => {
  test('is recorded if the same bucket is there', async () => {
    await using begun = await begin();
    const { scene, handle, place } = begun;
    for (const [name, bytes] of scene.bucket(0).storage) place.storage.set(name, bytes);
    scene.bucket(0).storage.clear();
    const [{ id } = { id: '' }] = handle.vault.buckets();
    expect(await handle.vault.setBucketUrl('memory:1', 'memory:5')).toEqual({
      id,
      url: 'memory:5',
      state: 'active',
    });
    await expectWhole(handle);
    const another = await scene.open();
    expect(urlsOf(another)).toEqual(['memory:5', 'memory:2', 'memory:3', 'memory:4']);
    await expectWhole(another);
    // Back again, by the beginning of its id.
    for (const [name, bytes] of place.storage) scene.bucket(0).storage.set(name, bytes);
    await another.vault.setBucketUrl(id.slice(0, 8), 'memory:1');
    await expectWhole(another);
  });

  test('is refused, with one clear line, if that is not the bucket', async () => {
    await using begun = await begin();
    await using other = await stranger.scene();
    const { scene, handle, place } = begun;
    const { vault } = handle;
    const refusal = (url: string, code: ErrorCode, message: RegExp): Promise<void> =>
      expect(vault.setBucketUrl('memory:1', url)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      });
    await refusal('memory:5', 'bucket-missing', /^memory:5 has no vault\.json.*mounted/);
    await refusal('memory:2', 'already-exists', /memory:2/);
    place.storage.set('vault.json', present(scene.bucket(1).storage.get('vault.json')));
    await refusal('memory:5', 'bucket-mismatch', /another bucket of this vault/);
    place.storage.set('vault.json', present(other.bucket(0).storage.get('vault.json')));
    await refusal('memory:5', 'bucket-mismatch', /another vault/);
    failingWith(place, 'denied');
    await refusal('memory:5', 'denied', /./);
    await expect(vault.setBucketUrl('memory:9', 'memory:5')).rejects.toMatchObject({ code: 'invalid-input' });
    expect(urlsOf(await scene.open())).toEqual(['memory:1', 'memory:2', 'memory:3', 'memory:4']);
  });
});

describe('A bucket that is removed', () => {
  test('gives what it holds to the others, and is left without any object of the vault', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    scene.bucket(0).storage.set('somebody-elses', new Uint8Array(10));
    const held = (await rowsOf(handle.catalog))
      .flatMap(({ shards }) => shards)
      .filter((p) => p?.bucket === 1);
    const result = await handle.vault.removeBucket('memory:1');
    expect(result).toMatchObject({ removed: true, shardsMoved: held.length, reasons: [] });
    expect([...scene.bucket(0).storage.keys()]).toEqual(['somebody-elses']);
    const another = await scene.open();
    for (const each of [handle, another]) {
      expect(urlsOf(each)).toEqual(['memory:2', 'memory:3', 'memory:4']);
      await expectWhole(each);
    }
    for (const { shards } of await rowsOf(handle.catalog)) {
      expect(new Set(shards.map((place) => present(place).bucket)).size).toBe(3);
    }
    await expectTidy(another, scene.buckets.slice(1, 4));
  });

  test('has its shards copied as they are, without reading the others', async () => {
    await using begun = await begin();
    const { handle } = begun;
    const rows = await rowsOf(handle.catalog);
    const held = rows.flatMap(({ shards }) => shards).filter((place) => place?.bucket === 1).length;
    await handle.vault.removeBucket('memory:1');
    const reads = handle.steps.log.filter(({ call, name }) => call === 'get' && name.startsWith('chunks/'));
    expect(reads).toHaveLength(held);
  });

  test('has what is rotten in it made anew from the others', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const rows = await rowsOf(handle.catalog);
    const row = present(rows.find(({ shards }) => shards.some((place) => place?.bucket === 1)));
    const { name, bucket } = shardOf(
      scene,
      row,
      row.shards.findIndex((place) => place?.bucket === 1),
    );
    flip(bucket, name, -1);
    expect(await handle.vault.removeBucket('memory:1')).toMatchObject({ removed: true });
    await expectWhole(handle);
  });

  test('is refused if the others are too few for the redundancy', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    await handle.vault.removeBucket('memory:1');
    const objects = scene.buckets.map(namesIn);
    await expect(handle.vault.removeBucket('memory:2')).rejects.toMatchObject({ code: 'invalid-input' });
    expect(scene.buckets.map(namesIn)).toEqual(objects);
    expect(handle.vault.buckets().map(({ state }) => state)).toEqual(['active', 'active', 'active']);
    await expect(handle.vault.removeBucket('memory:9')).rejects.toMatchObject({ code: 'invalid-input' });
  });

  test('is refused while it cannot be reached', async () => {
    for (const code of ['unavailable', 'denied', 'bucket-missing'] as const) {
      await using begun = await begin();
      failingWith(begun.scene.bucket(0), code);
      await expect(begun.handle.vault.removeBucket('memory:1')).rejects.toMatchObject({ code });
      expect(urlsOf(await begun.scene.open())).toHaveLength(4);
    }
  });

  test('stays while another is down that it needs, takes nothing new, and is removed by a repeat', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    // A chunk has shards in three of the four, so that one can only move to the fourth.
    const { shards } = present((await rowsOf(handle.catalog))[0]);
    const own = scene.buckets.slice(0, 4);
    const leaving = present(own[present(shards[0]).bucket - 1]);
    const needed = present(own.find((_, i) => shards.every((place) => place?.bucket !== i + 1)));
    failingWith(needed, 'unavailable');
    const result = await handle.vault.removeBucket(leaving.url);
    expect(result.removed).toBe(false);
    expect(result.reasons.join(' ')).toContain('could not be moved');
    needed.wrap = (bucket) => bucket;
    const before = new Set(leaving.storage.keys());
    const another = await scene.open();
    expect(another.vault.buckets()).toContainEqual(
      expect.objectContaining({ url: leaving.url, state: 'draining' }),
    );
    await putBytes(another.vault, randomBytes(5 * CHUNK_SIZE), { name: 'new' });
    expect(namesIn(leaving).filter((name) => !before.has(name))).toEqual([]);
    expect(await another.vault.removeBucket(leaving.url)).toMatchObject({ removed: true });
    await expectWhole(another);
    await expectTidy(
      another,
      own.filter((bucket) => bucket !== leaving),
    );
  });

  test('stays while a put is running that began before, and may store in it', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const other = await scene.open();
    await other.catalog.beginPut({ generation: 'aaaaaaaaaaaaaaaa', owner: 'somebody' });
    const result = await handle.vault.removeBucket('memory:1');
    expect(result.removed).toBe(false);
    expect(result.reasons.join(' ')).toContain('still running');
    await other.catalog.discardPut('aaaaaaaaaaaaaaaa');
    expect(await handle.vault.removeBucket('memory:1')).toMatchObject({ removed: true });
  });

  test('stays if it holds files that the catalog does not know', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { hash } = await handle.vault.get('small');
    const manifest = present(scene.bucket(0).storage.get(`manifests/${hash}`));
    await handle.vault.remove(['small']);
    scene.bucket(0).storage.set(`manifests/${hash}`, manifest);
    await expect(handle.vault.removeBucket('memory:1')).rejects.toMatchObject({
      code: 'invalid-input',
      message: expect.stringContaining('vault recover'),
    });
    expect(handle.vault.buckets().every(({ state }) => state === 'active')).toBe(true);
  });

  test('can be removed again wherever that has ended, and nothing is worse than before', async () => {
    let changes = Infinity;
    for (let nth = 1; nth <= changes; nth += CALL_STRIDE) {
      await using begun = await begin();
      const { scene } = begun;
      const ending = await scene.open({ self: `gone ${nth}`, around: endingAt(nth) });
      const outcome = await ending.vault.removeBucket('memory:1').catch((error: unknown) => error);
      if (!(outcome instanceof VaultError)) changes = nth;
      const after = await scene.open();
      expect({ nth, bytes: await getBytes(after.vault, 'big') }).toEqual({ nth, bytes: BIG });
      expect({ nth, bytes: await getBytes(after.vault, 'small') }).toEqual({ nth, bytes: SMALL });
      const isDone = !urlsOf(after).includes('memory:1');
      const repeated = isDone ? { removed: true } : await after.vault.removeBucket('memory:1');
      expect({ nth, ...repeated }).toMatchObject({ nth, removed: true });
      expect(scene.bucket(0).storage.size).toBe(0);
      await expectWhole(after);
      await expectTidy(after, scene.buckets.slice(1, 4));
    }
    expect(changes).toBeGreaterThan(10);
  }, 240_000);
});

describe('Without a key, a scrub', () => {
  test('reads every object, and finds nothing wrong with what is whole', async () => {
    await using begun = await begin();
    const { storage } = begun.scene.bucket(0);
    storage.set('somebody-elses', new Uint8Array(10));
    const result = await scrubBucket(memoryBucket('bucket', storage));
    expect(result).toEqual({
      objects: storage.size - 1,
      bytes: [...storage.values()].reduce((sum, bytes) => sum + bytes.length, 0) - 10,
      problems: [],
      strangers: 1,
      vaultId: begun.handle.vault.id,
    });
  });

  test('names every object that is not what it was', async () => {
    await using begun = await begin();
    const bucket = begun.scene.bucket(0);
    const names = [...bucket.storage.keys()];
    for (const [i, name] of names.entries()) flip(bucket, name, i % 2 === 0 ? 4 : 70);
    const { problems } = await scrubBucket(memoryBucket('bucket', bucket.storage));
    const found = new Set(problems.map(({ name }) => name));
    // A flipped digit of an id in JSON shows only beside the others' copies.
    expect(names.filter((name) => !found.has(name) && !name.endsWith('.json'))).toEqual([]);
  });

  test('finds an object in another’s place, and one that is too large, without reading that', async () => {
    await using begun = await begin();
    const bucket = present(begun.scene.buckets.find((candidate) => chunksIn(candidate).length > 1));
    const { storage } = bucket;
    const [one = '', two = ''] = chunksIn(bucket);
    storage.set(one, present(storage.get(two)));
    storage.set('vault.json', new Uint8Array(100_000));
    const { problems } = await scrubBucket(memoryBucket('bucket', storage));
    expect(problems.map(({ name }) => name)).toEqual([one, 'vault.json']);
  });

  test('cannot find a forgery with a right checksum: that takes the key', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { name, bucket } = shardOf(scene, present((await rowsOf(handle.catalog))[0]), 0);
    forge(bucket, name);
    expect(await scrubBucket(memoryBucket('bucket', bucket.storage))).toMatchObject({ problems: [] });
  });

  test('tells a place without a marker, and one that cannot be listed', async () => {
    await expect(scrubBucket(memoryBucket('bucket'))).rejects.toMatchObject({ code: 'bucket-missing' });
    const down = faulty(memoryBucket('bucket'), always('unavailable'));
    await expect(scrubBucket(down)).rejects.toMatchObject({ code: 'unavailable' });
    await using begun = await begin();
    const { storage } = begun.scene.bucket(0);
    storage.delete('vault.json');
    const { problems } = await scrubBucket(memoryBucket('bucket', storage));
    expect(problems).toMatchObject([{ name: 'vault.json' }]);
  });

  test('reads a part by chance', async () => {
    await using begun = await begin();
    const { storage } = begun.scene.bucket(0);
    let turn = 0;
    const random = (): number => (turn++ % 4 === 0 ? 0 : 0.5);
    const { objects } = await scrubBucket(memoryBucket('bucket', storage), { sample: 0.25, random });
    expect(objects).toBe(Math.ceil(storage.size / 4));
    expect(await all(memoryBucket('bucket', storage).list(''))).toHaveLength(storage.size);
  });
});
