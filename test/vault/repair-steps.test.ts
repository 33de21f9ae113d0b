/** What a repair tells: each step before it is done and as it is done, each bucket that fails, and what it does not know. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { manifestHash } from '../../src/crypto/manifest.ts';
import { shardObjectName, shardObjectSize } from '../../src/format/shard.ts';
import { MarkerGuard } from '../../src/vault/protocol/put-guard.ts';
import type { PlannedStep, Step, Warning } from '../../src/vault/call.ts';
import { changeKeyring } from '../../src/vault/keys/keyring-store.ts';
import { repairChunks } from '../../src/vault/repair/chunks.ts';
import { actingHands, tellingHands } from '../../src/vault/repair/ground.ts';
import type { Hands } from '../../src/vault/repair/ground.ts';
import { faulty, storageError } from '../support/faulty-bucket.ts';
import type { FaultyCall } from '../support/faulty-bucket.ts';
import { CHEAP_KDF, CHUNK_SIZE, putBytes } from './harness.ts';
import { lie } from './lying-bucket.ts';
import { failing, flip, loseShard, present, putWidely, rowsOf, shardOf, stage, wipe } from './scene.ts';
import type { Scene, SceneHandle, Stage } from './scene.ts';

const BIG = randomBytes(2 * CHUNK_SIZE + 500);
const ONE = randomBytes(20_000);

let ready: Stage;
beforeAll(async () => {
  ready = await stage({ buckets: 5, redundancy: { k: 2, m: 1 } }, (made) =>
    putWidely(made, { big: BIG, one: ONE }),
  );
});
afterAll(() => ready[Symbol.asyncDispose]());

async function begin(): Promise<AsyncDisposable & { scene: Scene; handle: SceneHandle }> {
  const scene = await ready.scene();
  return { scene, handle: await scene.open(), [Symbol.asyncDispose]: () => scene[Symbol.asyncDispose]() };
}

async function rowOf({ vault, catalog }: SceneHandle, name: string) {
  const id = present((await vault.inspect(name)).placement[0]).chunkId;
  return present((await catalog.chunks.locate([id])).get(id));
}

const sorted = <T extends { readonly object: string; readonly bucket?: string | null }>(
  steps: readonly T[],
): T[] => steps.toSorted((a, b) => (`${a.object} ${a.bucket}` < `${b.object} ${b.bucket}` ? -1 : 1));

test('a repair tells each object that it would store, where, and why', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const { vault } = handle;
  const gone = (await putBytes(vault, Buffer.from('gone'), { name: 'gone' })).hash;
  await vault.remove(['gone']);
  const one = (await vault.get('one')).hash;
  const sizeOf = (bucket: number, name: string): number =>
    present(scene.bucket(bucket).storage.get(name)).length;
  const store = { action: 'store', file: null };
  const keyring = present([...scene.bucket(0).storage.keys()].find((name) => name.startsWith('keyring/')));
  const markers = [
    { ...store, object: 'vault.json', reason: 'missing', bytes: sizeOf(0, 'vault.json'), bucket: 'memory:1' },
    { ...store, object: 'vault.json', reason: 'damaged', bytes: sizeOf(1, 'vault.json'), bucket: 'memory:2' },
  ];
  const expected = [
    { ...store, object: keyring, reason: 'missing', bytes: sizeOf(2, keyring), bucket: 'memory:3' },
    {
      ...store,
      object: `deleted/${gone}`,
      reason: 'missing',
      bytes: sizeOf(3, `deleted/${gone}`),
      bucket: 'memory:4',
    },
    {
      ...store,
      object: `manifests/${one}`,
      reason: 'missing',
      bytes: sizeOf(4, `manifests/${one}`),
      bucket: 'memory:5',
    },
  ];
  const plan = async (options: object = {}): Promise<PlannedStep[]> => {
    const steps: PlannedStep[] = [];
    await vault.repair({ dryRun: true, onPlanned: (step) => void steps.push(step), ...options });
    return sorted(steps);
  };
  scene.bucket(0).storage.delete('vault.json');
  flip(scene.bucket(1), 'vault.json', 0);
  // Until they are marked again, all that is there counts as missing.
  expect((await plan()).filter(({ object }) => object === 'vault.json')).toEqual(sorted(markers));
  expect(await vault.repair()).toMatchObject({ markersStored: 2 });
  wipe(scene.bucket(2), 'keyring/');
  wipe(scene.bucket(3), 'deleted/');
  scene.bucket(4).storage.delete(`manifests/${one}`);
  const missing = loseShard(scene, await rowOf(handle, 'one'), 0);
  const shard = {
    ...store,
    object: missing.name.replace(/\..*$/, ''),
    bytes: missing.bytes.length,
    bucket: null,
  };
  expect(await plan()).toEqual(sorted([...expected, { ...shard, reason: 'missing' }]));
  await vault.repair();

  // What is damaged is found by reading.
  flip(scene.bucket(3), `deleted/${gone}`, 20);
  flip(scene.bucket(4), `manifests/${one}`, 90);
  const rotten = shardOf(scene, await rowOf(handle, 'one'), 1);
  flip(rotten.bucket, rotten.name, -1);
  const damaged = [
    { ...present(expected[1]), reason: 'missing' },
    { ...present(expected[2]), reason: 'damaged' },
    { ...shard, reason: 'damaged' },
  ];
  expect(await plan({ depth: 'data' })).toEqual(sorted(damaged));
  await vault.repair({ depth: 'data' });
});

test('a repair tells shards that are to move, and those that are to be coded anew', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const row = await rowOf(handle, 'one');
  const place = present(row.shards[1]);
  const bytes = shardOf(scene, row, 1).bytes.length;
  const id = present(handle.session.buckets.byNumber(place.bucket)).id;
  // What is being emptied lacks nothing.
  const { hash } = await handle.vault.get('one');
  scene.bucket(place.bucket - 1).storage.delete(`manifests/${hash}`);
  await changeKeyring(
    handle.session,
    (keyring) => ({
      ...keyring,
      buckets: keyring.buckets.map((bucket) =>
        bucket.id === id ? { ...bucket, state: 'draining' as const } : bucket,
      ),
    }),
    { all: true },
  );
  const steps: PlannedStep[] = [];
  const planned = await handle.vault.repair({ dryRun: true, onPlanned: (step) => void steps.push(step) });
  const of = (from: readonly PlannedStep[]): PlannedStep[] =>
    from.filter(({ object }) => object === `chunks/${row.id}`);
  expect(of(steps)).toEqual([
    { action: 'store', object: `chunks/${row.id}`, reason: 'moved', bytes, file: null, bucket: null },
  ]);
  expect(new Set(steps.map(({ reason }) => reason))).toEqual(new Set(['moved']));
  const moved = await handle.vault.repair();
  expect(moved).toEqual(planned);
  expect(moved).toMatchObject({ outcome: 'whole', shardsStored: steps.length });
  for (const one of await rowsOf(handle.catalog))
    expect(one.shards.map((shard) => shard?.bucket)).not.toContain(place.bucket);
  const coded: PlannedStep[] = [];
  await handle.vault.repair({
    dryRun: true,
    redundancy: { k: 1, m: 2 },
    onPlanned: (step) => void coded.push(step),
  });
  expect(of(coded).map(({ reason }) => reason)).toEqual(['recoded', 'recoded', 'recoded']);
});

test('a repair tells what it has done', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const one = (await handle.vault.get('one')).hash;
  const row = await rowOf(handle, 'one');
  const missing = loseShard(scene, row, 0);
  scene.bucket(4).storage.delete(`manifests/${one}`);
  const steps: Step[] = [];
  const { bytesStored } = await handle.vault.repair({ onStep: (step) => void steps.push(step) });
  expect(steps).toEqual([
    { what: 'repaired', on: `chunk ${row.id}` },
    { what: 'stored', on: `manifests/${one}` },
  ]);
  expect(bytesStored).toBe(
    missing.bytes.length + present(scene.bucket(4).storage.get(`manifests/${one}`)).length,
  );
  // Of files that are whole nothing is read.
  const read = handle.steps.log.flatMap(({ call, name }) => (call === 'get' ? [name] : []));
  expect(new Set(read.filter((name) => name.startsWith('manifests/')))).toEqual(
    new Set([`manifests/${one}`]),
  );
});

test('a bucket that takes no manifest is told, and what lacks it is not whole', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const { hash } = await handle.vault.get('one');
  for (const i of [1, 3]) scene.bucket(i).storage.delete(`manifests/${hash}`);
  failing(scene.bucket(3), ({ operation, name }) => operation === 'put' && name.startsWith('manifests/'));
  const warnings: Warning[] = [];
  const steps: Step[] = [];
  const result = await handle.vault.repair({
    onWarning: (warning) => warnings.push(warning),
    onStep: (step) => void steps.push(step),
  });
  const size = present(scene.bucket(1).storage.get(`manifests/${hash}`)).length;
  expect(result).toMatchObject({
    outcome: 'degraded',
    manifestsStored: 1,
    bytesStored: size,
    filesDegraded: [hash],
    filesUnknown: [],
    unreachable: ['memory:4'],
  });
  expect(warnings).toEqual([
    { kind: 'bucket-down', message: 'memory:4: The test says unavailable.', bucket: 'memory:4' },
  ]);
  expect(steps).toEqual([{ what: 'stored', on: `manifests/${hash}` }]);
  scene.bucket(1).storage.delete(`manifests/${hash}`);
  failing(scene.bucket(1), ({ operation, name }) => operation === 'put' && name.startsWith('manifests/'));
  steps.length = 0;
  expect(await handle.vault.repair({ onStep: (step) => void steps.push(step) })).toMatchObject({
    manifestsStored: 0,
    bytesStored: 0,
  });
  expect(steps).toEqual([]);
});

test('a file whose manifest is where it cannot be asked for is unknown, not lost', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const { hash } = await handle.vault.get('one');
  const hold = (name: string): boolean => name === `manifests/${hash}`;
  for (const i of [0, 1, 2, 3]) scene.bucket(i).storage.delete(`manifests/${hash}`);
  for (const code of ['unavailable', 'denied'] as const) {
    failing(scene.bucket(4), ({ operation, name }) => operation === 'get' && hold(name), code);
    for (const depth of ['listing', 'data'] as const)
      expect(await handle.vault.repair({ depth })).toMatchObject({
        outcome: 'degraded',
        filesLost: [],
        filesUnknown: [hash],
      });
  }
  // An interruption is nothing to be got round.
  failing(scene.bucket(4), ({ operation, name }) => operation === 'get' && hold(name), 'interrupted');
  await expect(handle.vault.repair({ depth: 'data' })).rejects.toMatchObject({ code: 'interrupted' });
  // With a bucket that cannot be listed it is unknown as well whose manifests are all gone or damaged.
  scene.bucket(4).wrap = (plain) => plain;
  flip(scene.bucket(4), `manifests/${hash}`, 90);
  expect(await handle.vault.repair({ depth: 'data' })).toMatchObject({ outcome: 'lost', filesLost: [hash] });
  failing(scene.bucket(0), () => true);
  expect(await handle.vault.repair({ depth: 'data' })).toMatchObject({
    outcome: 'degraded',
    filesLost: [],
    filesUnknown: [hash],
  });
  wipe(scene.bucket(4), 'manifests/');
  expect(await handle.vault.repair()).toMatchObject({ filesLost: [], unreachable: ['memory:1'] });
});

test('records of removal that a bucket does not take are told as that bucket’s failure', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  await handle.vault.remove(['one']);
  wipe(scene.bucket(2), 'deleted/');
  wipe(scene.bucket(3), 'deleted/');
  failing(scene.bucket(2), ({ operation, name }) => operation === 'put' && name.startsWith('deleted/'));
  const warnings: Warning[] = [];
  expect(await handle.vault.repair({ onWarning: (warning) => warnings.push(warning) })).toMatchObject({
    outcome: 'degraded',
    deletionsStored: 1,
    unreachable: ['memory:3'],
  });
  expect(warnings).toEqual([
    { kind: 'bucket-down', message: 'memory:3: The test says unavailable.', bucket: 'memory:3' },
  ]);
});

test.each([
  ['manifests/', { manifestsStored: 0, keyringsStored: 0, markersStored: 0 }],
  ['keyring/', { manifestsStored: 0, keyringsStored: 0, markersStored: 0 }],
  ['vault.json', { manifestsStored: 0, keyringsStored: 0, markersStored: 0 }],
])(
  'what a bucket that takes nothing lacks of %s is told with the reason, and not counted',
  async (kind, counts) => {
    await using begun = await begin();
    const { scene, handle } = begun;
    wipe(scene.bucket(2), kind);
    failing(scene.bucket(2), ({ operation }) => operation === 'put', 'denied');
    const warnings: Warning[] = [];
    expect(await handle.vault.repair({ onWarning: (warning) => warnings.push(warning) })).toMatchObject({
      ...counts,
      outcome: 'degraded',
      unreachable: ['memory:3'],
    });
    expect(warnings).toEqual([
      { kind: 'bucket-down', message: 'memory:3: The test says denied.', bucket: 'memory:3' },
    ]);
  },
);

test('a bucket that takes nothing and lacks nothing leaves the vault whole', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  failing(scene.bucket(2), ({ operation }) => operation === 'put', 'denied');
  expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole', unreachable: [] });
});

test('a repair tells of each bucket that is down, and that none can be used', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  failing(scene.bucket(1), () => true);
  const warnings: Warning[] = [];
  await handle.vault.repair({ onWarning: (warning) => warnings.push(warning) });
  expect(warnings).toEqual([
    { kind: 'bucket-down', message: 'memory:2: The test says unavailable.', bucket: 'memory:2' },
  ]);
  for (const bucket of scene.buckets) failing(bucket, () => true, 'denied');
  await expect(handle.vault.repair()).rejects.toMatchObject({
    code: 'denied',
    message: expect.stringMatching(/^None of the vault's buckets can be used\. /),
  });
});

test('a redundancy that cannot be is refused with what it needs', async () => {
  await using begun = await begin();
  const { vault } = begun.handle;
  await expect(vault.repair({ redundancy: { k: 4, m: 2 } })).rejects.toMatchObject({
    message: 'Redundancy 4+2 needs 6 buckets, and the vault has 5. Add some: vault bucket add',
  });
  await expect(vault.repair({ redundancy: { k: 1, m: 1 }, references: ['one'] })).rejects.toMatchObject({
    message: 'Redundancy is the whole vault’s: name no files with it.',
  });
  expect(await vault.repair({ redundancy: { k: 3, m: 2 }, dryRun: true })).toMatchObject({
    chunksRepaired: 4,
  });
});

test('files stored under a keyring that no bucket shows are told of, once', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const warned = async (): Promise<Warning[]> => {
    const warnings: Warning[] = [];
    await handle.vault.repair({ onWarning: (warning) => warnings.push(warning) });
    return warnings;
  };
  const before = scene.buckets.map(({ storage }) =>
    [...storage].filter(([name]) => name.startsWith('keyring/')),
  );
  expect(await warned()).toEqual([]);
  const other = await scene.open();
  await other.vault.changeDefaults({ chunkSize: 2 * CHUNK_SIZE });
  for (const name of ['new', 'newer']) await putBytes(other.vault, randomBytes(100), { name });
  for (const [i, objects] of before.entries()) {
    wipe(scene.bucket(i), 'keyring/');
    for (const [name, bytes] of objects) scene.bucket(i).storage.set(name, bytes);
  }
  expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole' });
  expect(await warned()).toEqual([
    {
      kind: 'keyring',
      message: expect.stringMatching(
        /^"newe?r?" was stored under keyring 2, and the buckets show none after 1: /,
      ),
      bucket: null,
    },
  ]);
});

test('what a repair works on', async () => {
  await using begun = await begin();
  const { session } = begun.handle;
  const [first, second, ...rest] = session.buckets.all;
  const gone = present(first).id;
  const failure = { bucket: present(second), error: storageError() };
  const seenBy = (hands: Hands, how: { gone?: string; leaving?: string }, usable = session.buckets.all) =>
    hands.onGround(usable, how, (ground) => Promise.resolve(ground));
  for (const hands of [tellingHands(session, {}), actingHands(session, undefined)]) {
    const all = await seenBy(hands, {});
    expect(all.isComplete).toBe(true);
    expect(all.failed).toEqual([]);
    expect(all.targets.map(({ id }) => id).toSorted()).toEqual(
      session.buckets.all.map(({ id }) => id).toSorted(),
    );
    const less = await seenBy(hands, { leaving: present(second).id });
    expect(less.targets.map(({ id }) => id)).not.toContain(present(second).id);
    expect(less.targets).toHaveLength(all.targets.length - 1);
    expect(less.sources.map(({ id, state }) => [id, state])).toEqual(
      all.sources.map(({ id }) => [id, id === present(second).id ? 'draining' : 'active']),
    );
    for (const each of [all, less]) {
      each.noteFailure(failure);
      each.noteFailure({ ...failure, error: storageError('denied') });
      expect(each.isComplete).toBe(false);
      expect(each.failed).toEqual([failure]);
    }
    // Whose silence means nothing.
    const without = await seenBy(hands, { gone }, [present(second), ...rest]);
    expect(without.isComplete).toBe(true);
    expect(without.sources).toHaveLength(4);
    expect((await seenBy(hands, {}, [present(second), ...rest])).isComplete).toBe(false);
    expect((await seenBy(hands, { gone }, rest)).isComplete).toBe(false);
  }
});

test('work whose marker is too old begins anew, three times at most', async () => {
  await using begun = await begin();
  const { session } = begun.handle;
  for (const [code, times] of [
    ['stale', 3],
    ['denied', 1],
  ] as const) {
    let starts = 0;
    const work = actingHands(session, undefined).onGround(session.buckets.all, {}, () => {
      starts += 1;
      return Promise.reject(storageError(code));
    });
    await expect(work).rejects.toMatchObject({ code });
    expect(starts).toBe(times);
  }
});

test('a place is marked again by one good manifest among foreign ones, and not after many of them', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const { storage } = scene.bucket(0);
  const marker = storage.get('vault.json');
  storage.delete('vault.json');
  wipe(scene.bucket(0), 'keyring/');
  // They come before the vault's own in a listing.
  const foreign = (count: number): void => {
    for (let i = 0; i < count; i += 1)
      storage.set(`manifests/${i.toString(16).padStart(64, '0')}`, Buffer.from(`of another vault ${i}`));
    storage.set('manifests/not-a-hash', Buffer.from('foreign'));
  };
  foreign(8);
  expect(await handle.vault.repair()).toMatchObject({ markersStored: 0, unreachable: ['memory:1'] });
  storage.delete(`manifests/${(7).toString(16).padStart(64, '0')}`);
  failing(
    scene.bucket(0),
    ({ operation, name }) => operation === 'get' && name.startsWith('manifests/'),
    'denied',
  );
  expect(await handle.vault.repair()).toMatchObject({ markersStored: 0, unreachable: ['memory:1'] });
  scene.bucket(0).wrap = (plain) => plain;
  expect(await handle.vault.repair()).toMatchObject({ markersStored: 1, unreachable: [] });
  expect(storage.get('vault.json')).toEqual(marker);
});

test('what the catalog has lost of files is made anew, unless it is only told', async () => {
  await using begun = await begin();
  const { handle } = begun;
  const { hash } = await handle.vault.get('one');
  const [row] = (await handle.catalog.files.byHashes([hash])).values();
  await handle.catalog.files.forget([hash]);
  expect(await handle.vault.repair({ dryRun: true })).toMatchObject({ outcome: 'whole', recordsRepaired: 1 });
  expect((await handle.catalog.files.byHashes([hash])).size).toBe(0);
  expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole', recordsRepaired: 1 });
  expect((await handle.catalog.files.byHashes([hash])).get(hash)).toMatchObject({
    hash,
    writer: row?.writer,
  });
});

test('a record of removal that has been overruled is told as one that is not what it should be', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const { hash } = await handle.vault.get('one');
  await handle.vault.remove(['one']);
  const before = present(scene.bucket(1).storage.get(`deleted/${hash}`));
  await handle.vault.undelete(['one']);
  await handle.session.guard.end();
  scene.bucket(1).storage.set(`deleted/${hash}`, before);
  const steps: PlannedStep[] = [];
  await handle.vault.repair({ dryRun: true, onPlanned: (step) => void steps.push(step) });
  expect(steps).toMatchObject([{ object: `deleted/${hash}`, reason: 'damaged', bucket: 'memory:2' }]);
});

test('a manifest of nobody’s is no file, and is left where it is', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const bytes = Buffer.from('somebody else’s');
  scene.bucket(0).storage.set(`manifests/${manifestHash(bytes)}`, bytes);
  const before = scene.buckets.map(({ storage }) => storage.size);
  for (const depth of ['listing', 'data'] as const)
    for (const dryRun of [true, false])
      expect(await handle.vault.repair({ depth, dryRun })).toMatchObject({
        outcome: 'whole',
        manifestsStored: 0,
      });
  await handle.session.guard.end();
  expect(scene.buckets.map(({ storage }) => storage.size)).toEqual(before);
});

test('a manifest that is listed and not there is lost', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const { hash } = await handle.vault.get('one');
  for (const i of [0, 1, 2, 3]) scene.bucket(i).storage.delete(`manifests/${hash}`);
  const reads = ({ operation, name }: FaultyCall): boolean =>
    operation === 'get' && name === `manifests/${hash}`;
  failing(scene.bucket(4), reads, 'object-missing');
  for (const depth of ['listing', 'data'] as const)
    expect(await handle.vault.repair({ depth })).toMatchObject({ outcome: 'lost', filesLost: [hash] });
});

test('what a repair relies on is noted under its marker', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const { guard, buckets } = handle.session;
  const noted = (id: string): boolean => guard instanceof MarkerGuard && guard.ids.has(id);
  await actingHands(handle.session, undefined).onGround(buckets.all, {}, (ground) => {
    ground.note('a chunk');
    expect(noted('a chunk')).toBe(true);
    return Promise.resolve();
  });
  const row = await rowOf(handle, 'one');
  loseShard(scene, row, 0);
  let seen = false;
  await handle.vault.repair({ onStep: ({ what }) => void (seen ||= what === 'repaired' && noted(row.id)) });
  expect(seen).toBe(true);
});

test('a rotten double of a shard is replaced by none, and all that is replaced stands in one list', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const row = await rowOf(handle, 'one');
  const shard = shardOf(scene, row, 0);
  const held = new Set(row.shards.map((place) => place?.bucket));
  const free = present([1, 2, 3, 4, 5].find((number) => !held.has(number)));
  const double = shard.name.replace(/[^.]+$/, '0123456789abcdef');
  scene.bucket(free - 1).storage.set(double, shard.bytes);
  flip(scene.bucket(free - 1), double, -1);
  const rotten = shardOf(scene, await rowOf(handle, 'big'), 0);
  flip(rotten.bucket, rotten.name, -1);
  // By listings nothing is wrong, and nothing is read to say so.
  const from = handle.steps.log.length;
  expect(await handle.vault.repair({ dryRun: true })).toMatchObject({ outcome: 'whole', objectsReplaced: 0 });
  const other = shardOf(scene, row, 1);
  other.bucket.storage.delete(other.name);
  expect(await handle.vault.repair({ dryRun: true })).toMatchObject({ chunksRepaired: 1 });
  other.bucket.storage.set(other.name, other.bytes);
  const reads = handle.steps.log
    .slice(from)
    .filter(({ call, name }) => call === 'get' && name.startsWith('chunks/'));
  expect(reads).toEqual([]);
  expect(await handle.vault.repair({ depth: 'data' })).toMatchObject({
    outcome: 'whole',
    shardsStored: 1,
    objectsReplaced: 2,
  });
  const lists = scene.buckets.map(({ storage }) =>
    [...storage.keys()].filter((name) => name.startsWith('sweep/')),
  );
  expect(lists.map(({ length }) => length)).toEqual([1, 1, 1, 1, 1]);
});

test('a chunk that others have stored anew since it was listed is not called lost', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const { id } = await rowOf(handle, 'one');
  let isAnew = false;
  const storeAnew = (): void => {
    isAnew = true;
    for (const { storage } of scene.buckets) {
      const shards = [...storage].filter(([name]) => name.startsWith(`chunks/${id}`));
      for (const [name, bytes] of shards) {
        storage.delete(name);
        storage.set(name.replace(/[^.]+$/, '0123456789abcdef'), bytes);
      }
    }
  };
  for (const bucket of scene.buckets)
    failing(bucket, ({ operation, name }) => {
      if (!isAnew && operation === 'get' && name.startsWith(`chunks/${id}`)) storeAnew();
      return false;
    });
  const repaired = await handle.vault.repair({ depth: 'data' });
  expect(isAnew).toBe(true);
  expect(repaired).toMatchObject({ outcome: 'whole', chunksLost: 0, filesLost: [], shardsStored: 0 });
  expect(await handle.vault.verify({ depth: 'data' })).toMatchObject({ outcome: 'whole' });
});

test('a bucket that does not take the list of what was replaced is told, and the others are repaired', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const rotten = shardOf(scene, await rowOf(handle, 'one'), 0);
  flip(rotten.bucket, rotten.name, -1);
  const away = present(scene.buckets.find((bucket) => bucket !== rotten.bucket));
  failing(away, ({ operation, name }) => operation === 'put' && name.startsWith('sweep/'));
  const told = { objectsReplaced: 1, shardsStored: 1, chunksRepaired: 1, filesDegraded: [] };
  expect(await handle.vault.repair({ depth: 'data' })).toMatchObject({
    ...told,
    outcome: 'degraded',
    unreachable: [away.url],
  });
  away.wrap = (plain) => plain;
  await handle.session.guard.end();
  expect(await handle.vault.verify({ depth: 'data' })).toMatchObject({ outcome: 'whole' });
  // The list stands in the others: the next sweep goes on with it.
  expect(await handle.vault.sweep({ waitMs: 0 })).toMatchObject({ objectsRemoved: 1, objectsWaiting: 0 });
  expect(rotten.bucket.storage.has(rotten.name)).toBe(false);
});

test('a file that is known not to be whole is not called unknown since its manifest cannot be read after that', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const { hash } = await handle.vault.get('one');
  loseShard(scene, await rowOf(handle, 'one'), 0);
  scene.bucket(0).storage.delete(`manifests/${hash}`);
  let tried = false;
  for (const bucket of scene.buckets)
    bucket.wrap = (plain) =>
      faulty(plain, ({ operation, name }) => {
        const isShard = operation === 'put' && name.startsWith('chunks/');
        tried ||= isShard;
        const isUnread = tried && operation === 'get' && name === `manifests/${hash}`;
        if (!isShard && !isUnread) return null;
        return { kind: 'fail', when: 'before', error: storageError(isShard ? 'storage-full' : 'denied') };
      });
  expect(await handle.vault.repair()).toMatchObject({
    outcome: 'degraded',
    filesDegraded: [hash],
    filesUnknown: [],
    chunksDegraded: 1,
  });
});

test('a chunk whose shards cannot be asked for is unknown, and so is its file', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const { hash } = await handle.vault.get('one');
  const row = await rowOf(handle, 'one');
  loseShard(scene, row, 0);
  const mute = shardOf(scene, row, 1);
  failing(mute.bucket, ({ operation, name }) => operation === 'get' && name === mute.name);
  expect(await handle.vault.repair()).toMatchObject({
    outcome: 'degraded',
    chunksUnknown: 1,
    filesUnknown: [hash],
    filesDegraded: [],
    filesLost: [],
  });
});

test('what is no answer of a bucket is not taken for one', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const { hash } = await handle.vault.get('one');
  const missing = loseShard(scene, await rowOf(handle, 'one'), 0);
  for (const bucket of scene.buckets)
    bucket.wrap = (plain) => ({
      ...plain,
      get: async (name, call) => {
        if (name === `manifests/${hash}`) throw new TypeError('A bug of the program.');
        return plain.get(name, call);
      },
    });
  await expect(handle.vault.repair()).rejects.toThrow('A bug of the program.');
  missing.bucket.storage.set(missing.name, missing.bytes);
  await handle.catalog.files.forget([hash]);
  await expect(handle.vault.repair()).rejects.toThrow('A bug of the program.');
});

test('a chunk that a put has marked is repaired before any file says so', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const { session } = handle;
  const row = await rowOf(handle, 'one');
  loseShard(scene, row, 0);
  await handle.catalog.files.forget((await Array.fromAsync(handle.vault.list())).map(({ hash }) => hash));
  for (const bucket of scene.buckets) wipe(bucket, 'manifests/');
  const repaired = await actingHands(session, undefined).onGround(session.buckets.all, {}, (ground) =>
    repairChunks(session, ground, {
      deletions: new Map(),
      marked: new Set([row.id]),
      onReplaced: () => Promise.resolve(),
    }),
  );
  expect(repaired).toMatchObject({ repaired: 1, shardsStored: 1, lost: 0 });
});

test('a file that cannot be learned now, or by this version, keeps no other from being repaired', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const { hash } = await handle.vault.get('one');
  const manifest = Buffer.from(present(scene.bucket(0).storage.get(`manifests/${hash}`)));
  const needed = shardOf(scene, await rowOf(handle, 'one'), 0);
  needed.bucket.storage.delete(needed.name);
  for (const bucket of scene.buckets)
    failing(bucket, (call) => call.operation === 'get' && call.name === `manifests/${hash}`);
  // Known, and in need of what its manifest says.
  expect(await handle.vault.repair()).toMatchObject({ chunksRepaired: 0, filesUnknown: [hash] });
  needed.bucket.storage.set(needed.name, needed.bytes);
  await handle.catalog.files.forget([hash]);
  for (const code of ['unavailable', 'denied'] as const) {
    loseShard(scene, await rowOf(handle, 'big'), 0);
    for (const bucket of scene.buckets)
      failing(bucket, (call) => call.operation === 'get' && call.name === `manifests/${hash}`, code);
    expect(await handle.vault.repair()).toMatchObject({
      outcome: 'degraded',
      chunksRepaired: 1,
      filesUnknown: [hash],
    });
  }
  for (const bucket of scene.buckets) bucket.wrap = (plain) => plain;
  const newer = manifest.fill('3', 3, 4);
  const name = `manifests/${manifestHash(newer)}`;
  scene.bucket(2).storage.set(name, newer);
  expect(await handle.vault.repair()).toMatchObject({
    outcome: 'degraded',
    manifestsStored: 4,
    filesUnknown: [manifestHash(newer)],
  });
  for (const { storage } of scene.buckets) expect(newer.equals(present(storage.get(name)))).toBe(true);
});

test.each([
  ['a complete one, which needs no other bucket', () => ({})],
  ['one that is larger than the chunk can be', (before: string) => ({ m: 1, sealedSize: 200_000, before })],
])('of a locked file’s chunk no bucket is believed that shows %s', async (_, how) => {
  await using begun = await begin();
  const { scene, handle } = begun;
  await putBytes(handle.vault, ONE, { name: 'locked', lock: { password: 'lock', cost: CHEAP_KDF } });
  const row = await rowOf(handle, 'locked');
  const lost = shardOf(scene, row, 0);
  lie(lost.bucket, new Set([row.id]), how(row.sealing));
  expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole' });
  const shards = scene.buckets.flatMap(({ storage }) =>
    [...storage.keys()].filter((name) => name.startsWith(`chunks/${row.id}.${row.sealing}`)),
  );
  expect(shards).toHaveLength(3);
});

test('what a coding anew has left that was cut short counts only if it has its size and sealing', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  const { id: chunkId, sealing, sealedSize } = await rowOf(handle, 'one');
  const leave = (index: number, of: string, size: number): void => {
    const name = shardObjectName({ chunkId, sealing: of, index, k: 3, m: 2, upload: '0'.repeat(16) });
    scene.bucket(index).storage.set(name, Buffer.alloc(size));
  };
  leave(0, sealing, 100);
  leave(
    1,
    sealing.replace(/^./, (first) => (first === '0' ? '1' : '0')),
    shardObjectSize(sealedSize, 3),
  );
  expect(await handle.vault.repair({ redundancy: { k: 3, m: 2 } })).toMatchObject({
    outcome: 'whole',
    shardsStored: 20,
  });
});

test('of packed chunks it is told how many bytes they would take', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  await putBytes(handle.vault, Buffer.alloc(40_000, 'text '), { name: 'packed', compression: 'auto' });
  const missing = loseShard(scene, await rowOf(handle, 'packed'), 0);
  const planned = await handle.vault.repair({ dryRun: true });
  expect(planned.bytesStored).toBe(missing.bytes.length);
  expect(await handle.vault.repair()).toEqual(planned);
});

test('a repair of some files puts the places of no others right', async () => {
  await using begun = await begin();
  const { handle } = begun;
  const { id } = await rowOf(handle, 'big');
  await handle.catalog.chunks.forget([id]);
  expect(await handle.vault.repair({ references: ['one'] })).toMatchObject({ placesRepaired: 0 });
  expect((await handle.catalog.chunks.locate([id])).size).toBe(0);
  expect(await handle.vault.repair()).toMatchObject({ placesRepaired: 1 });
});

test('the marker of long work is renewed when it is due', async () => {
  await using begun = await begin();
  let nowMs = Date.now();
  const { session } = await begun.scene.open({ now: () => nowMs });
  const markers = (): string[] =>
    [...begun.scene.bucket(0).storage.keys()].filter((name) => name.startsWith('puts/'));
  await actingHands(session, undefined).onGround(session.buckets.all, {}, async (ground) => {
    const before = markers();
    nowMs += 5 * 3_600_000;
    await ground.keep();
    expect(before).toHaveLength(1);
    expect(markers()).not.toEqual(before);
  });
});

test('the tables of a file are made whole with what they list', async () => {
  await using begun = await begin();
  const { scene, handle } = begun;
  // Of one chunk, again and again.
  const { chunks } = await putBytes(handle.vault, Buffer.alloc(2_100 * CHUNK_SIZE), { name: 'deep' });
  expect(chunks).toBe(2_100);
  await handle.session.guard.end();
  wipe(scene.bucket(0), 'chunks/');
  expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole', chunksNotOpened: 0 });
  expect(await handle.vault.repair()).toMatchObject({ outcome: 'whole', chunksRepaired: 0 });
});
