import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { CUT_STRIDE } from '../support/catalog-place.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { all, CHUNK_SIZE, getBytes, putBytes } from './harness.ts';
import type { TestBucket } from './harness.ts';
import { emptyPlace, endingAt, failing, flip, present, putWidely, rowsOf, shardOf, stage } from './scene.ts';
import type { Scene, SceneHandle, Stage } from './scene.ts';

const BIG = randomBytes(2 * CHUNK_SIZE + 500);
const ONE = randomBytes(20_000);
const INLINE = randomBytes(300);
const DAYS_LATER = { now: () => Date.now() + 4 * 86_400_000 };

let ready: Stage;
let foreignStage: Stage;

beforeAll(async () => {
  ready = await stage({ buckets: 4, redundancy: { k: 2, m: 1 } }, (made) =>
    putWidely(made, { big: BIG, one: ONE, inline: INLINE }),
  );
  foreignStage = await stage({ buckets: 1 }, () => Promise.resolve());
});

afterAll(async () => {
  await ready[Symbol.asyncDispose]();
  await foreignStage[Symbol.asyncDispose]();
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
  return vault.buckets.map(({ url }) => url);
}

function namesIn({ storage }: TestBucket): string[] {
  return [...storage.keys()].toSorted();
}

function failingWith(place: TestBucket, code: ErrorCode): void {
  place.wrap = (bucket) => faulty(bucket, always(code));
}

async function expectReadable({ vault }: SceneHandle): Promise<void> {
  expect(await getBytes(vault, 'big')).toEqual(BIG);
  expect(await getBytes(vault, 'one')).toEqual(ONE);
  expect(await getBytes(vault, 'inline')).toEqual(INLINE);
}

/** All is whole, and stays so when everything that may go has gone. */
async function expectWhole(handle: SceneHandle): Promise<void> {
  await expectReadable(handle);
  const whole = { outcome: 'whole', shardsStored: 0, manifestsStored: 0, keyringsStored: 0 };
  expect(await handle.vault.repair({ depth: 'data' })).toMatchObject(whole);
  await handle.session.guard.end();
  expect(await handle.vault.sweep()).toMatchObject({ blockedBy: null, objectsWaiting: 0 });
  expect(await handle.vault.repair({ depth: 'data' })).toMatchObject(whole);
  await expectReadable(handle);
}

describe('A bucket that is added', () => {
  test('is marked, gets the keyring, and takes shards from then on, also from those who have the vault open', async () => {
    await using begun = await begin();
    const { scene, handle, place } = begun;
    const early = await scene.open();
    const added = await handle.vault.addBucket('memory:5');
    expect(added).toMatchObject({ url: 'memory:5', state: 'active' });
    for (const { storage } of scene.buckets) {
      expect([...storage.keys()].filter((name) => name.startsWith('keyring/'))).toEqual([
        'keyring/0000000002',
      ]);
    }
    expect(handle.vault.buckets).toContainEqual(added);
    const another = await scene.open();
    expect(another.vault.buckets).toContainEqual(added);
    for (const { vault } of [handle, another, early]) {
      await putBytes(vault, randomBytes(30 * CHUNK_SIZE), { name: 'more' });
    }
    const shards = [...place.storage.keys()].filter((name) => name.startsWith('chunks/'));
    expect(shards.length).toBeGreaterThan(5);
    // Of what was there before it gets the manifests.
    expect(await another.vault.repair()).toMatchObject({ outcome: 'whole', shardsStored: 0 });
    await expectWhole(another);
  });

  test('is refused if it is the vault’s already, by its URL or by its marker', async () => {
    await using begun = await begin();
    const { scene, handle, place } = begun;
    await expect(handle.vault.addBucket('memory:1')).rejects.toMatchObject({ code: 'already-exists' });
    await expect(handle.vault.addBucket('memory:1?region=eu')).rejects.toMatchObject({
      code: 'already-exists',
      message: expect.stringMatching(
        /^memory:1\?region=eu is a bucket of this vault already, known as memory:1\./,
      ),
    });
    place.storage.set('vault.json', present(scene.bucket(0).storage.get('vault.json')));
    await expect(handle.vault.addBucket('memory:5')).rejects.toMatchObject({
      code: 'already-exists',
      message: expect.stringContaining('memory:1'),
    });
    expect(urlsOf(handle)).not.toContain('memory:5');
  });

  test('is refused if it belongs to another vault', async () => {
    await using begun = await begin();
    await using other = await foreignStage.scene();
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
      expect(urlsOf(begun.handle)).toHaveLength(4);
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
      expect(urlsOf(await begun.scene.open())).toHaveLength(4);
      expect(namesIn(begun.place)).toEqual([]);
    }
    await using begun = await begin();
    begun.place.wrap = (bucket) =>
      faulty(bucket, ({ operation }) => (operation === 'put' ? { kind: 'lose' } : null));
    await expect(begun.handle.vault.addBucket('memory:5')).rejects.toMatchObject({
      code: 'damaged',
      message: expect.stringContaining('does not keep'),
    });
    expect(urlsOf(await begun.scene.open())).toHaveLength(4);
  });

  test('is refused if it still holds what it held when it was the vault’s, or another’s whose marker is gone', async () => {
    await using begun = await begin();
    const { scene, handle, place } = begun;
    const [, file] = [...scene.bucket(0).storage].find(([name]) => name.startsWith('manifests/')) ?? [];
    const held = new Map(scene.bucket(3).storage);
    await handle.vault.removeBucket('memory:4', { gone: true });
    expect(present(file).length).toBeGreaterThan(0);
    for (const [name, bytes] of held) place.storage.set(name, bytes);
    await expect(handle.vault.addBucket('memory:5')).rejects.toMatchObject({ code: 'already-exists' });
    place.storage.delete('vault.json');
    await expect(handle.vault.addBucket('memory:5')).rejects.toMatchObject({ code: 'already-exists' });
    for (const name of held.keys()) if (!name.startsWith('keyring/')) place.storage.delete(name);
    await expect(handle.vault.addBucket('memory:5')).rejects.toMatchObject({ code: 'already-exists' });
    expect(urlsOf(handle)).toHaveLength(3);
    place.storage.clear();
    place.storage.set('chunks/of somebody', new Uint8Array(3));
    await handle.vault.addBucket('memory:5');
    expect(urlsOf(handle)).toHaveLength(4);
  });

  test('can be added again wherever that has ended', async () => {
    let ends = true;
    for (let nth = 1; ends; nth += 1) {
      await using begun = await begin();
      const { scene } = begun;
      const ending = await scene.open({ around: endingAt(nth) });
      ends =
        (await ending.vault.addBucket('memory:5').catch((error: unknown) => error)) instanceof VaultError;
      if (!ends) continue;
      const after = await scene.open();
      // What was done to the end but for removing what was before is done.
      await after.vault.addBucket('memory:5').catch((error: unknown) => {
        if (!(error instanceof VaultError && error.code === 'already-exists')) throw error;
      });
      expect({ nth, urls: urlsOf(after) }).toMatchObject({ nth, urls: { length: 5 } });
      expect(await after.vault.repair()).toMatchObject({ keyringsStored: 0, shardsStored: 0 });
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
    const [{ id } = { id: '' }] = handle.vault.buckets;
    expect(await handle.vault.setBucketUrl('memory:1', 'memory:5')).toEqual({
      id,
      url: 'memory:5',
      state: 'active',
    });
    await expectWhole(handle);
    const another = await scene.open();
    expect(urlsOf(another)).toEqual(['memory:5', 'memory:2', 'memory:3', 'memory:4']);
    await expectWhole(another);
    // The old place is nobody's any more, and the keyring tells every machine of the new one.
    expect(another.session.keyring.keyring.epoch).toBe(2);
    // Back again, by the beginning of its id.
    for (const [name, bytes] of place.storage) scene.bucket(0).storage.set(name, bytes);
    await another.vault.setBucketUrl(id.slice(0, 8), 'memory:1');
    await expectWhole(another);
  });

  test('is refused, with one clear line, if that is not the bucket', async () => {
    await using begun = await begin();
    await using other = await foreignStage.scene();
    const { scene, handle, place } = begun;
    const { vault } = handle;
    const refusal = (url: string, code: ErrorCode, message: RegExp): Promise<void> =>
      expect(vault.setBucketUrl('memory:1', url)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      });
    await refusal('memory:5', 'bucket-missing', /^memory:5 has no vault\.json.*mounted/);
    await refusal('memory:2', 'already-exists', /^memory:2 is a bucket of this vault already\.$/);
    const [first, second] = [scene.bucket(0).storage, scene.bucket(1).storage];
    const marker = present(second.get('vault.json'));
    second.set('vault.json', present(first.get('vault.json')));
    await refusal('memory:2', 'already-exists', /What was memory:1 lies there now: .* changed places/);
    second.set('vault.json', marker);
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

describe('A bucket’s new URL for one machine', () => {
  test('stands in its catalog alone, and wins there over what the keyring says', async () => {
    await using begun = await begin();
    const { scene, handle, place } = begun;
    for (const [name, bytes] of scene.bucket(0).storage) place.storage.set(name, bytes);
    await handle.vault.setBucketUrl('memory:1', 'memory:5', { local: true });
    expect(handle.session.keyring.keyring.epoch).toBe(1);
    expect(urlsOf(await scene.open())[0]).toBe('memory:5');
    // Everywhere, again.
    await handle.vault.setBucketUrl('memory:5', 'memory:1');
    expect(urlsOf(await scene.open())[0]).toBe('memory:1');
  });

  test('can be set again wherever that has ended', async () => {
    let ends = true;
    for (let nth = 1; ends; nth += 1) {
      await using begun = await begin();
      const { scene, place } = begun;
      for (const [name, bytes] of scene.bucket(0).storage) place.storage.set(name, bytes);
      scene.bucket(0).storage.clear();
      const [{ id } = { id: '' }] = begun.handle.vault.buckets;
      const ending = await scene.open({ around: endingAt(nth) });
      ends =
        (await ending.vault.setBucketUrl(id, 'memory:5').catch((error: unknown) => error)) instanceof
        VaultError;
      const after = await scene.open();
      await after.vault.setBucketUrl(id, 'memory:5');
      expect({ nth, urls: urlsOf(await scene.open()) }).toMatchObject({ nth, urls: { 0: 'memory:5' } });
      await expectWhole(after);
    }
  });
});

/** A put that has stored its chunks and waits before its manifest, with a clock of its own. */
async function suspendedPut(scene: Scene, name: string, bytes: Buffer) {
  const reached = Promise.withResolvers<void>();
  const resume = Promise.withResolvers<void>();
  const clock = { late: 0 };
  let isHeld = true;
  const handle = await scene.open({
    now: () => Date.now() + clock.late,
    around: async (step, proceed) => {
      if (isHeld && step.call === 'put' && step.name.startsWith('manifests/')) {
        reached.resolve();
        await resume.promise;
        isHeld = false;
      }
      await proceed();
    },
  });
  const result = putBytes(handle.vault, bytes, { name });
  await Promise.race([reached.promise, result]);
  return { handle, clock, result, resume: resume.resolve };
}

/** One that is about to store a keyring when another does something. */
async function overtaken(
  scene: Scene,
  other: SceneHandle,
  meanwhile: (vault: Vault) => Promise<unknown>,
): Promise<SceneHandle> {
  let isFirst = true;
  return scene.open({
    async around({ call, name }, proceed) {
      if (isFirst && call === 'put' && name.startsWith('keyring/')) {
        isFirst = false;
        await meanwhile(other.vault);
        await other.session.guard.end();
      }
      await proceed();
    },
  });
}

describe('A bucket that is removed', () => {
  test('gives what it holds to the others, and is left without any object of the vault', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    scene.bucket(0).storage.set('somebody-elses', new Uint8Array(10));
    scene.bucket(0).storage.set('chunks/somebody-elses', new Uint8Array(10));
    const rows = await rowsOf(handle.catalog);
    const held = rows.flatMap(({ shards }) => shards).filter((p) => p?.bucket === 1);
    const planned = await handle.vault.removeBucket('memory:1', { dryRun: true });
    expect(planned).toMatchObject({ removed: false, shardsMoved: held.length, reasons: [] });
    expect(handle.vault.buckets.every(({ state }) => state === 'active')).toBe(true);
    const early = await scene.open();
    const result = await handle.vault.removeBucket('memory:1');
    expect(result).toMatchObject({ removed: true, shardsMoved: held.length, reasons: [] });
    expect(namesIn(scene.bucket(0))).toEqual(['chunks/somebody-elses', 'somebody-elses']);
    // Whoever has used it before stores nothing there any more.
    await putBytes(early.vault, BIG, { name: 'later' });
    await putBytes(early.vault, INLINE, { name: 'later inline' });
    await early.vault.remove(['later']);
    await early.session.guard.end();
    const another = await scene.open();
    for (const each of [handle, another]) {
      expect(urlsOf(each)).toEqual(['memory:2', 'memory:3', 'memory:4']);
      await expectWhole(each);
    }
    expect(namesIn(scene.bucket(0)).filter((name) => !name.startsWith('deleted/'))).toEqual([
      'chunks/somebody-elses',
      'somebody-elses',
    ]);
    for (const { shards } of await rowsOf(handle.catalog)) {
      expect(new Set(shards.map((place) => present(place).bucket)).size).toBe(3);
    }
  });

  for (const gone of [false, true]) {
    test(`${gone ? 'and gone ' : ''}leaves chunks of an earlier, higher redundancy whole`, async () => {
      await using begun = await begin();
      const { handle } = begun;
      for (const m of [2, 1]) await handle.vault.repair({ redundancy: { k: 2, m } });
      const result = await handle.vault.removeBucket('memory:2', { gone });
      expect(result).toMatchObject({ removed: true, chunksDegraded: 0, reasons: [] });
      await expectWhole(handle);
    });
  }

  test('and gone says what the others could not be given', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    // One that has shards, whichever that is by the vault's keys, and none of the others takes those.
    const [row] = await rowsOf(handle.catalog);
    const number = present(present(row).shards.find((place) => place !== null)).bucket;
    for (const other of [0, 1, 2, 3].filter((one) => one !== number - 1)) {
      failing(
        scene.bucket(other),
        ({ operation, name }) => operation === 'put' && name.startsWith('chunks/'),
      );
    }
    const result = await handle.vault.removeBucket(`memory:${number}`, { gone: true });
    expect(result).toMatchObject({ removed: true, chunksDegraded: expect.toSatisfy((n) => n > 0) });
  });

  test('has what is rotten in it made anew from the others', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const rows = await rowsOf(handle.catalog);
    const row = present(rows.find(({ shards }) => shards.some((place) => place?.bucket === 1)));
    const index = row.shards.findIndex((place) => place?.bucket === 1);
    const { name, bucket } = shardOf(scene, row, index);
    flip(bucket, name, -1);
    expect(await handle.vault.removeBucket('memory:1')).toMatchObject({ removed: true });
    await expectWhole(handle);
  });

  test('takes no record of removal with it: what was removed while others were down stays removed', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    for (const i of [1, 2, 3]) failingWith(scene.bucket(i), 'unavailable');
    await handle.vault.remove(['one']);
    for (const i of [1, 2, 3]) scene.bucket(i).wrap = (bucket) => bucket;
    expect(await handle.vault.removeBucket('memory:1')).toMatchObject({ removed: true });
    const after = await scene.open(DAYS_LATER);
    await after.vault.sweep({ ignoreGrace: true });
    expect((await all(after.vault.list())).map(({ name }) => name).toSorted()).toEqual(['big', 'inline']);
    for (const bucket of scene.buckets.slice(1, 4)) {
      expect(namesIn(bucket).filter((name) => name.startsWith('manifests/'))).toHaveLength(2);
    }
  });

  test('is refused if the others are too few for the redundancy, and if it is none', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    await handle.vault.removeBucket('memory:1');
    const objects = scene.buckets.map(namesIn);
    await expect(handle.vault.removeBucket('memory:2')).rejects.toMatchObject({ code: 'invalid-input' });
    expect(scene.buckets.map(namesIn)).toEqual(objects);
    expect(handle.vault.buckets.map(({ state }) => state)).toEqual(['active', 'active', 'active']);
    for (const reference of ['memory:5', 'ffffffff']) {
      await expect(handle.vault.removeBucket(reference)).rejects.toMatchObject({ code: 'invalid-input' });
    }
  });

  test.each<[string, (vault: Vault) => Promise<unknown>]>([
    ['another bucket is removed', (vault) => vault.removeBucket('memory:1')],
    ['more redundancy is chosen', (vault) => vault.repair({ redundancy: { k: 3, m: 1 } })],
  ])('is refused if, at the same moment, %s, and the others are too few then', async (_, meanwhile) => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const slow = await overtaken(scene, handle, meanwhile);
    await expect(slow.vault.removeBucket('memory:2')).rejects.toMatchObject({ code: 'invalid-input' });
    const after = await scene.open();
    const { k, m } = after.vault.redundancy;
    const states = after.vault.buckets.map(({ state }) => state);
    expect(states).toEqual(Array.from({ length: k + m }, () => 'active'));
    await expectWhole(after);
  });

  test('leaves more redundancy unchosen that it has become too few for', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const slow = await overtaken(scene, handle, (vault) => vault.removeBucket('memory:1'));
    const choice = slow.vault.repair({ redundancy: { k: 3, m: 1 } });
    await expect(choice).rejects.toMatchObject({ code: 'invalid-input' });
    const after = await scene.open();
    expect(after.vault.redundancy).toEqual({ k: 2, m: 1 });
    await expectWhole(after);
  });

  test('counts no bucket that has left the vault among those that cannot be told', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    await handle.vault.addBucket('memory:5');
    const early = await scene.open();
    await handle.vault.removeBucket('memory:1');
    scene.bucket(0).storage.clear();
    expect(await early.vault.removeBucket('memory:2')).toMatchObject({ removed: true });
  });

  test('is refused while it cannot be reached', async () => {
    for (const code of ['unavailable', 'denied', 'bucket-missing'] as const) {
      await using begun = await begin();
      failingWith(begun.scene.bucket(0), code);
      await expect(begun.handle.vault.removeBucket('memory:1')).rejects.toMatchObject({ code });
      expect(begun.handle.vault.buckets.every(({ state }) => state === 'active')).toBe(true);
    }
  });

  test('stays while another is down that it needs, takes nothing new, and is removed by a repeat', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const [leaving, needed] = [scene.bucket(0), scene.bucket(1)];
    // It goes down once the keyring says that the other one takes nothing new.
    needed.wrap = (bucket) =>
      faulty(bucket, ({ name }) =>
        handle.vault.buckets[0]?.state === 'draining' && name.startsWith('chunks/')
          ? {
              kind: 'fail',
              when: 'before',
              error: new VaultError('unavailable', 'The test has taken it down.'),
            }
          : null,
      );
    const result = await handle.vault.removeBucket(leaving.url);
    expect(result.removed).toBe(false);
    expect(result.reasons.join(' ')).toContain('memory:2');
    needed.wrap = (bucket) => bucket;
    const before = namesIn(leaving).filter((name) => !name.startsWith('puts/'));
    const another = await scene.open();
    expect(another.vault.buckets[0]).toMatchObject({ url: leaving.url, state: 'draining' });
    await putBytes(another.vault, randomBytes(5 * CHUNK_SIZE), { name: 'new' });
    await another.session.guard.end();
    expect(namesIn(leaving)).toEqual(before);
    expect(await another.vault.removeBucket(leaving.url)).toMatchObject({ removed: true });
    await expectWhole(another);
  });

  test('can be removed again wherever that has ended, and nothing is worse than before', async () => {
    let ends = true;
    for (let nth = 1; ends; nth += 2 * CUT_STRIDE) {
      await using begun = await begin();
      const { scene } = begun;
      const { id } = present(begun.handle.vault.buckets[0]);
      const ending = await scene.open({ around: endingAt(nth) });
      const outcome = await ending.vault.removeBucket('memory:1').catch((error: unknown) => error);
      ends = outcome instanceof VaultError || !isRemoved(outcome);
      const after = await scene.open(DAYS_LATER);
      await expectReadable(after);
      const isDone = !ends || scene.bucket(0).storage.size === 0;
      const reference = nth % (4 * CUT_STRIDE) === 1 ? 'memory:1' : id;
      const repeated = isDone ? { removed: true } : await after.vault.removeBucket(reference);
      expect({ nth, ...repeated }).toMatchObject({ nth, removed: true });
      expect({ nth, names: namesIn(scene.bucket(0)) }).toEqual({ nth, names: [] });
      await expectWhole(await scene.open(DAYS_LATER));
    }
  }, 240_000);

  test('is not emptied, as if its removal had been cut short, when it was added just now', async () => {
    await using begun = await begin();
    const { scene, handle, place } = begun;
    // One that knows nothing of it yet, while the buckets are down that do.
    const early = await scene.open();
    await handle.vault.addBucket('memory:5');
    await putBytes(handle.vault, BIG, { name: 'more' });
    await handle.session.guard.end();
    const before = namesIn(place);
    for (const { storage } of scene.buckets.slice(0, 4)) storage.delete('keyring/0000000002');
    await expect(early.vault.removeBucket('memory:5')).rejects.toMatchObject({ code: 'unavailable' });
    expect(namesIn(place)).toEqual(before);
  });
});

function isRemoved(outcome: unknown): boolean {
  return typeof outcome === 'object' && outcome !== null && 'removed' in outcome && outcome.removed === true;
}

describe('A put that runs while a bucket is removed', () => {
  const bytes = randomBytes(6 * CHUNK_SIZE);

  test('is waited for, or said to be running', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const put = await suspendedPut(scene, 'new', bytes);
    const result = await handle.vault.removeBucket('memory:1', { waitMs: 0 });
    expect(result).toMatchObject({ removed: false });
    expect(result.reasons.join(' ')).toContain('A put that began before has not ended');
    put.resume();
    await put.result;
    await put.handle.session.guard.end();
    expect(await handle.vault.removeBucket('memory:1', { waitMs: 0 })).toMatchObject({ removed: true });
    expect(await getBytes((await scene.open()).vault, 'new')).toEqual(bytes);
    await expectWhole(handle);
  });

  test('goes on with whole chunks if it has renewed its marker meanwhile', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const put = await suspendedPut(scene, 'new', bytes);
    expect(await handle.vault.removeBucket('memory:1', { waitMs: 0 })).toMatchObject({ removed: false });
    // Its old marker goes, and the new one names what it has stored.
    put.clock.late = 5 * 3_600_000;
    await put.handle.session.guard.run((guarded) => guarded.keep());
    expect(await handle.vault.removeBucket('memory:1', { waitMs: 0 })).toMatchObject({ removed: false });
    put.resume();
    await put.result;
    await put.handle.session.guard.end();
    expect(await handle.vault.removeBucket('memory:1', { waitMs: 0 })).toMatchObject({ removed: true });
    expect(await getBytes((await scene.open()).vault, 'new')).toEqual(bytes);
    await expectWhole(handle);
  });

  test('and sleeps until its marker is nobody’s begins anew, and loses nothing', async () => {
    for (const late of [13, 30]) {
      await using begun = await begin();
      const { scene } = begun;
      const put = await suspendedPut(scene, 'new', bytes);
      put.clock.late = late * 3_600_000;
      const remover = await scene.open({ now: () => Date.now() + 30 * 3_600_000 });
      expect(await remover.vault.removeBucket('memory:1', { waitMs: 0 })).toMatchObject({ removed: true });
      put.resume();
      await put.result;
      await put.handle.session.guard.end();
      const after = await scene.open();
      expect(await getBytes(after.vault, 'new')).toEqual(bytes);
      await expectWhole(after);
    }
  });

  test.each([BIG, INLINE])(
    'at any of the removal’s steps is whole when it is acknowledged',
    async (content) => {
      let reached = true;
      for (let nth = 1; reached; nth += 7) {
        await using begun = await begin();
        const { scene } = begun;
        const putting = await scene.open();
        await putBytes(putting.vault, INLINE, { name: 'first contact' });
        reached = false;
        const handle = await scene.open({
          around: async (step, proceed) => {
            if (step.nth === nth) {
              reached = true;
              await putBytes(putting.vault, content, { name: 'beside' });
              await putting.session.guard.end();
            }
            await proceed();
          },
        });
        expect(await handle.vault.removeBucket('memory:1')).toMatchObject({ removed: true });
        const after = await scene.open();
        const beside = reached ? await getBytes(after.vault, 'beside') : content;
        expect(Buffer.compare(beside, content)).toBe(0);
        await expectWhole(after);
      }
    },
    240_000,
  );

  test('of a process that knows that bucket alone is stored where the vault is now', async () => {
    await using small = await stage({ buckets: 1, redundancy: { k: 1, m: 0 } }, () => Promise.resolve());
    for (const content of [randomBytes(50_000), INLINE]) {
      await using scene = await small.scene();
      scene.buckets.push(emptyPlace('memory:2'));
      const manager = await scene.open();
      let isDone = false;
      const putting = await scene.open({
        around: async (step, proceed) => {
          if (!isDone && step.call === 'put' && step.name.startsWith('manifests/')) {
            isDone = true;
            await manager.vault.addBucket('memory:2');
            await manager.vault.removeBucket('memory:1', { waitMs: 0 });
          }
          await proceed();
        },
      });
      const put = await putBytes(putting.vault, content, { name: 'file' }).catch((error: unknown) => error);
      await putting.session.guard.end();
      expect(isDone).toBe(true);
      if (manager.vault.buckets.length === 2) await manager.vault.removeBucket('memory:1');
      expect(manager.vault.buckets.map(({ url }) => url)).toEqual(['memory:2']);
      scene.bucket(0).storage.clear();
      // It is acknowledged and there, or refused.
      const read = put instanceof VaultError ? put.code : await getBytes((await scene.open()).vault, 'file');
      expect(put instanceof VaultError ? 'unavailable' : content).toEqual(read);
    }
  });
});

describe('A bucket that is gone for good', () => {
  const gone = { gone: true };

  test('is dropped once what lay there has been made anew elsewhere', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    scene.bucket(0).storage.clear();
    failingWith(scene.bucket(0), 'bucket-missing');
    expect(await handle.vault.removeBucket('memory:1', gone)).toMatchObject({
      removed: true,
      filesLost: [],
      reasons: [],
    });
    const another = await scene.open();
    expect(urlsOf(another)).toEqual(['memory:2', 'memory:3', 'memory:4']);
    await expectWhole(another);
  });

  test('may leave fewer buckets than the redundancy asks for, as long as they are enough to read', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    await handle.vault.removeBucket('memory:1');
    failingWith(scene.bucket(1), 'bucket-missing');
    expect(await handle.vault.removeBucket('memory:2', gone)).toMatchObject({ removed: true });
    await expectReadable(handle);
    expect(await handle.vault.repair()).toMatchObject({ outcome: 'degraded', chunksLost: 0 });
    await expect(handle.vault.removeBucket('memory:3', gone)).rejects.toMatchObject({
      code: 'invalid-input',
    });
  });

  test('is still asked for what only it has, if it answers after all', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = present((await rowsOf(handle.catalog))[0]);
    const [kept, lost] = [shardOf(scene, row, 0), shardOf(scene, row, 1)];
    lost.bucket.storage.delete(lost.name);
    expect(await handle.vault.removeBucket(kept.bucket.url, gone)).toMatchObject({
      removed: true,
      filesLost: [],
    });
    await expectWhole(handle);
  });

  test('is dropped although a file was lost with it, and that is named', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { hash } = await handle.vault.get('one');
    const { placement } = await handle.vault.inspect('one');
    const rows = await handle.catalog.chunks.locate([present(placement[0]).chunkId]);
    const [row] = [...rows.values()];
    const [away, lost] = [shardOf(scene, present(row), 0), shardOf(scene, present(row), 1)];
    lost.bucket.storage.delete(lost.name);
    failingWith(away.bucket, 'bucket-missing');
    const result = await handle.vault.removeBucket(away.bucket.url, gone);
    expect(result).toMatchObject({ removed: true, filesLost: [hash] });
    expect(await getBytes(handle.vault, 'big')).toEqual(BIG);
    await putBytes(handle.vault, ONE, { name: 'one' });
    await expectReadable(handle);
  });

  test('is kept while another one is down that what lies there needs', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    failingWith(scene.bucket(0), 'bucket-missing');
    failingWith(scene.bucket(1), 'unavailable');
    const result = await handle.vault.removeBucket('memory:1', gone);
    expect(result).toMatchObject({ removed: false, filesLost: [] });
    scene.bucket(1).wrap = (bucket) => bucket;
    expect(await handle.vault.removeBucket('memory:1', gone)).toMatchObject({ removed: true });
    await expectWhole(handle);
  });

  test('comes back with nothing when it is found again', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    failingWith(scene.bucket(0), 'bucket-missing');
    await handle.vault.removeBucket('memory:1', gone);
    await handle.vault.remove(['one'], { graceMs: 0 });
    await handle.session.guard.end();
    await handle.vault.sweep();
    await handle.vault.sweep();
    scene.bucket(0).wrap = (bucket) => bucket;
    await expect(handle.vault.addBucket('memory:1')).rejects.toMatchObject({ code: 'already-exists' });
    expect(await handle.vault.removeBucket('memory:1')).toMatchObject({ removed: true });
    expect(namesIn(scene.bucket(0))).toEqual([]);
    await handle.vault.addBucket('memory:1');
    await handle.vault.sweep();
    expect((await all(handle.vault.list())).map(({ name }) => name).toSorted()).toEqual(['big', 'inline']);
  });
});
