/** What a thief of a machine that can only store may plant, with all that it holds: nobody else's file is harmed, and what is forged is told. */
import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { drawId, drawRoot, keysOfRoot } from '../../src/crypto/keys.ts';
import type { VaultKeys } from '../../src/crypto/keys.ts';
import { idEntry, ManifestSealer, manifestHash } from '../../src/crypto/manifest.ts';
import { sealPutMarker } from '../../src/crypto/put-marker.ts';
import { signDeletion, signKeyring, signSweepList } from '../../src/crypto/signing.ts';
import { sealShareNote } from '../../src/crypto/texts.ts';
import { keyringObjectName } from '../../src/format/keyring.ts';
import { MAX_MARKER_IDS } from '../../src/format/limits.ts';
import { manifestObjectName } from '../../src/format/manifest.ts';
import type { ContentTable } from '../../src/format/manifest.ts';
import { deletionObjectName, putMarkerName, sweepObjectName } from '../../src/format/removal.ts';
import { encodeSigned } from '../../src/format/signed.ts';
import { encodeShareNote, shareObjectName } from '../../src/format/share.ts';
import { finishShardObject, sealingOf, shardObjectName, shardObjectSize } from '../../src/format/shard.ts';
import { VaultError } from '../../src/errors.ts';
import type { VerifyResult } from '../../src/vault/verify/condition.ts';
import { unlock } from '../../src/vault/keys/unlock.ts';
import { recoverCatalog } from '../../src/vault/recover/recover.ts';
import { Vault } from '../../src/vault/vault.ts';
import { openSession } from '../../src/vault/open.ts';
import { sampleHead } from '../crypto/samples.ts';
import { catalogPlace } from '../support/catalog-place.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { all, behind, CHEAP_KDF, CHUNK_SIZE, getBytes, parts, putBytes } from './harness.ts';
import type { TestBucket } from './harness.ts';
import { addWriter } from './put-machine.ts';
import { present, stage } from './scene.ts';
import type { SceneHandle, Stage } from './scene.ts';

const BODY = seededRandom(17).bytes(2 * CHUNK_SIZE + 5);
const DAY_MS = 86_400_000;

/** A vault with a file of somebody else, and what the thief of a machine holds, who may create objects of any name and no others. */
interface AttackScene extends AsyncDisposable {
  readonly made: SceneHandle & {
    readonly buckets: readonly TestBucket[];
    objects(prefix?: string): string[];
  };
  readonly clock: { ms: number };
  /** The keys that the thief has, and those that he would like to have. */
  readonly keys: VaultKeys;
  readonly impostor: VaultKeys;
  /** Creates an object in every bucket. */
  plant(name: string, bytes?: Uint8Array): void;
  /** Whether all that a full key does works: it is run, with what it does to the file and to others. */
  unharmed(more?: { readonly suspect?: boolean }): Promise<VerifyResult>;
  /** What another machine sees. */
  elsewhere(): Promise<SceneHandle>;
}

let ready: Stage;
/** Of the file of the full key. */
let theirs = '';
let held: VaultKeys;

beforeAll(async () => {
  ready = await stage({}, async (made) => {
    ({ hash: theirs } = await putBytes(made.vault, BODY, { name: 'theirs' }));
    const password = 'of the machine';
    await addWriter(made, { label: 'cron', password });
    const { vaultId, keyring } = made.session;
    ({ keys: held } = await unlock([keyring.bytes], password, { vaultId }));
  });
});
afterAll(async () => ready[Symbol.asyncDispose]());

async function scene(): Promise<AttackScene> {
  const clock = { ms: Date.now() };
  const staged = await ready.scene();
  const { buckets } = staged;
  const made = {
    ...(await staged.open({ now: () => clock.ms })),
    buckets,
    objects: (prefix = ''): string[] =>
      buckets
        .flatMap(({ url, storage }) => [...storage.keys()].map((name) => ({ url, name })))
        .filter(({ name }) => name.startsWith(prefix))
        .map(({ url, name }) => `${url} ${name}`)
        .toSorted(),
  };
  const { vaultId, rootNumber, writer } = held;
  return {
    made,
    clock,
    keys: held,
    impostor: keysOfRoot(drawRoot(), { vaultId, rootNumber, writer: writer.id }),
    plant(name, bytes = randomBytes(500)) {
      for (const { storage } of buckets) {
        expect(storage.has(name)).toBe(false);
        storage.set(name, bytes);
      }
    },
    unharmed: async (more) => unharmed(made, more),
    elsewhere: async () => staged.open(),
    [Symbol.asyncDispose]: async () => staged[Symbol.asyncDispose](),
  };
}

/** A file of somebody else is listed and read. */
async function check(vault: Vault): Promise<void> {
  expect((await getBytes(vault, theirs)).equals(BODY)).toBe(true);
  expect((await all(vault.list())).map(({ hash }) => hash)).toContain(theirs);
}

/** @param suspect whether a listing may show damage beside what is whole */
async function unharmed(
  made: AttackScene['made'],
  { suspect = false }: { readonly suspect?: boolean } = {},
): Promise<VerifyResult> {
  const { vault, session } = made;
  await check(vault);
  const result = await vault.verify({ depth: 'listing' });
  const told = result.affected.filter((file) => file.hash === theirs);
  expect(told.map(({ condition }) => condition)).toEqual(suspect ? ['degraded'] : []);
  await vault.sync();
  const { hash: other } = await putBytes(vault, randomBytes(CHUNK_SIZE), { name: 'another' });
  await session.guard.end();
  expect((await all(vault.planPrune({ last: 1 }))).flat().length).toBeGreaterThan(1);
  await vault.remove([other], { graceMs: 0 });
  await vault.sweep({ waitMs: 0 });
  await check(vault);
  // From the buckets and the password alone.
  await using place = await catalogPlace();
  const catalog = await openCatalog(place.location, { create: true });
  const opener = (url: string): Promise<Bucket> =>
    Promise.resolve(behind(present(made.buckets.find((bucket) => bucket.url === url))));
  const opened = parts(catalog, opener, { now: () => session.clock.now() });
  const urls = made.buckets.map(({ url }) => url);
  await recoverCatalog({ catalog, urls, opener, password: opened.password, parts: opened });
  const recovered = await openSession(opened);
  // Threads are dear, and hold nothing but keys.
  await recovered.workers.close();
  await check(new Vault({ ...recovered, workers: session.workers }));
  await catalog.close();
  return result;
}

const LOCK = {
  cost: CHEAP_KDF,
  salt: randomBytes(32),
  commitment: randomBytes(32),
  wrapped: randomBytes(48),
};

/** A file as the thief describes it, which has no content anywhere. */
function manifestOf(
  keys: VaultKeys,
  {
    name = 'junk',
    ids = [],
    padded,
    locked = false,
  }: { name?: string; ids?: readonly string[]; padded?: number; locked?: boolean } = {},
): Buffer {
  const chunks = ids.length;
  const table = { tag: randomBytes(32), hash: randomBytes(32), length: 68 * chunks };
  const content: ContentTable =
    chunks === 0
      ? { size: 4, chunkSize: CHUNK_SIZE, depth: 0, refs: [], inline: Buffer.from('junk') }
      : { size: chunks * CHUNK_SIZE, chunkSize: CHUNK_SIZE, depth: 1, refs: [table], inline: null };
  const listed = ids.map((id) => ({ id, padded: padded ?? CHUNK_SIZE + 5 }));
  return new ManifestSealer(keys).seal({
    head: sampleHead({
      name,
      size: locked ? null : content.size,
      chunkSize: CHUNK_SIZE,
      chunks,
      locked,
      createdAtMs: Date.now(),
    }),
    ids: { depth: 0, ids: chunks === 0 ? [] : [...listed, idEntry(table, null)] },
    content,
    contentKey: randomBytes(32),
    lock: locked ? LOCK : null,
  });
}

/** The ids of all chunks. */
function chunkIds({ made }: AttackScene): string[] {
  return [...new Set(made.objects('chunks/').map((object) => object.split(/[/.]/)[1] ?? ''))];
}

test('keyrings that are forged, old or of others hide none, and repair takes them away', async () => {
  await using at = await scene();
  const { made } = at;
  const { keyring, bytes: old } = made.session.keyring;
  const { vault: there } = await at.elsewhere();
  await there.renameKey('cron', { label: 'web' });
  const [slot] = keyring.slots;
  const forged = (epoch: number, more: object = {}): Buffer =>
    signKeyring(at.impostor, { ...keyring, epoch, previous: '00'.repeat(32), ...more });
  // An old one under its own name and under that of a later one, all slots as they are and as those of another vault, and noise.
  at.plant(keyringObjectName(keyring.epoch), old);
  at.plant(keyringObjectName(9_999_999_999), old);
  const foreign = { ...slot, writer: drawId() };
  for (let i = 0; i < 6; i += 1) {
    const more = i < 3 ? {} : { slots: [{ ...foreign, commitment: randomBytes(32) }, ...keyring.slots] };
    at.plant(keyringObjectName(1_000 + i), i === 5 ? randomBytes(9) : forged(1_000 + i, more));
  }
  const json = Buffer.from('{"format":"vault/3"}');
  at.plant(keyringObjectName(2_000), encodeSigned({ signed: json, signature: randomBytes(64) }));
  expect((await made.vault.keys()).map(({ label }) => label)).toContain('web');
  const { buckets, outcome } = await at.unharmed();
  expect(outcome).toBe('degraded');
  expect(buckets.map(({ keyringsWrong }) => keyringsWrong)).toEqual([9, 9, 9]);
  await made.vault.repair();
  expect((await made.vault.verify({ depth: 'listing' })).outcome).toBe('whole');
  expect(made.objects('keyring/')).toHaveLength(3);
});

test('forged records of removal remove nothing, are told, and go with a sweep', async () => {
  await using at = await scene();
  const { made, impostor } = at;
  const record = { hash: theirs, serial: Number.MAX_SAFE_INTEGER, live: false, atMs: 0, graceMs: 0 };
  at.plant(deletionObjectName(theirs), signDeletion(impostor, record));
  const newer = encodeSigned({ signed: Buffer.from('{"format":"vault/3"}'), signature: randomBytes(64) });
  at.plant(deletionObjectName('ab'.repeat(32)), newer);
  for (let i = 0; i < 60; i += 1) at.plant(deletionObjectName(randomBytes(32).toString('hex')));
  expect(await at.unharmed()).toMatchObject({ outcome: 'whole', foreignObjects: 62 });
  expect(made.objects('deleted/').length).toBeLessThan(3 * 2 + 1);
  // What is really removed, is, and comes back.
  await made.vault.remove(['theirs']);
  expect(await all(made.vault.list())).toEqual([]);
  await made.vault.undelete(['theirs']);
  await at.unharmed();
});

test('forged lists of removal hold up nobody and hide no object', async () => {
  await using at = await scene();
  const { made, impostor } = at;
  const objects = [...new Set(made.objects().map((object) => object.slice('memory:1 '.length)))].filter(
    (name) => /^(chunks|manifests)/.test(name),
  );
  const list = { id: drawId(), atMs: 0, doneAtMs: null, waitsFor: [], objects };
  at.plant(sweepObjectName(list.id), signSweepList(impostor, list));
  const newer = encodeSigned({ signed: Buffer.from('{"format":"vault/3"}'), signature: randomBytes(64) });
  at.plant(sweepObjectName(drawId()), newer);
  at.plant(sweepObjectName(drawId()));
  const again = await putBytes(made.vault, BODY, { name: 'a copy' });
  expect(again.chunksStored).toBe(0);
  await at.unharmed();
  expect(made.objects(sweepObjectName(list.id))).toEqual([]);
});

test('shares that nobody made are no more than names, and go when their time is over', async () => {
  await using at = await scene();
  const { made, keys, clock } = at;
  const note = { hash: theirs, name: 'theirs', size: 5, createdAtMs: clock.ms, password: false };
  const place = { id: drawId(), expiresAtMs: clock.ms + DAY_MS };
  at.plant(shareObjectName({ ...place, what: 'page' }));
  at.plant(shareObjectName({ ...place, what: 'note' }), sealShareNote(keys, place.id, encodeShareNote(note)));
  for (let i = 0; i < 40; i += 1)
    at.plant(shareObjectName({ id: drawId(), expiresAtMs: clock.ms - 1, what: 'note' }));
  const listed = (await made.vault.shares()).shares;
  expect(listed.length).toBeGreaterThan(40);
  await at.unharmed();
  clock.ms += DAY_MS;
  await at.unharmed();
  expect(made.objects('shares/')).toEqual([]);
});

test('markers that are dated ahead, are none, or name more than anybody uses hold up a sweep for a day', async () => {
  await using at = await scene();
  const { made, keys, clock } = at;
  const name = (days: number): string =>
    putMarkerName(clock.ms + days * DAY_MS, randomBytes(8).toString('hex'));
  at.plant(name(900), sealPutMarker(keys, chunkIds(at)));
  at.plant(name(500_000), randomBytes(500));
  at.plant(name(0), randomBytes(500));
  at.plant(name(0.5), Buffer.concat([Buffer.from('vlt3puts'), randomBytes(400)]));
  const many = Array.from({ length: MAX_MARKER_IDS / 5 }, () => 'ef'.repeat(32));
  at.plant(name(0), sealPutMarker(keys, many));
  for (let i = 0; i < 40; i += 1) at.plant(name(i % 2), randomBytes(30));
  await at.unharmed();
  expect(made.objects('chunks/').length).toBeGreaterThan(9);
  clock.ms += 2.1 * DAY_MS;
  await at.unharmed();
  expect(made.objects('chunks/')).toHaveLength(9);
  expect(made.objects('puts/')).toEqual([]);
});

test('more markers than a list can name are told, and hold up a sweep for a day', async () => {
  await using at = await scene();
  const { made, clock } = at;
  for (const { storage } of made.buckets.slice(0, 1))
    for (let i = 0; i < 10_001; i += 1)
      storage.set(putMarkerName(clock.ms, i.toString(16).padStart(16, '0')), Buffer.alloc(9));
  const { hash } = await putBytes(made.vault, randomBytes(CHUNK_SIZE), { name: 'b' });
  await made.session.guard.end();
  await made.vault.remove([hash], { graceMs: 0 });
  expect(await made.vault.sweep({ waitMs: 0 })).toMatchObject({ objectsRemoved: 0, objectsWaiting: 4 });
  clock.ms += 1.1 * DAY_MS;
  expect(await made.vault.sweep({ waitMs: 0 })).toMatchObject({ filesRemoved: 1, objectsWaiting: 0 });
  expect(made.objects('puts/')).toEqual([]);
});

test('a manifest in the name of another writer is foreign', async () => {
  await using at = await scene();
  const { made, keys, impostor } = at;
  const own = manifestOf(keys, { name: 'theirs' });
  const swapped = Buffer.from(own);
  swapped.set(Buffer.from(made.session.keys.writer.id, 'hex'), 12);
  const stolen = manifestOf({
    ...keys,
    writer: { ...keys.writer, id: made.session.keys.writer.id },
  });
  for (const bytes of [swapped, stolen, manifestOf(impostor)])
    at.plant(manifestObjectName(manifestHash(bytes)), bytes);
  at.plant(manifestObjectName(manifestHash(own)), own);
  expect(await at.unharmed()).toMatchObject({ foreignObjects: 3 });
  const listed = (await all(made.vault.list())).map(({ name, writer }) => [name, writer.label]);
  expect(listed).toContainEqual(['theirs', 'cron']);
  expect((await getBytes(made.vault, 'theirs')).equals(BODY)).toBe(true);
});

test('manifests that nobody can read are told, and no longer hold up a sweep once they are removed by their hash', async () => {
  await using at = await scene();
  const { made } = at;
  const hashes: string[] = [];
  const plant = async (
    bytes: Buffer,
    hash = createHash('sha256').update(bytes).digest('hex'),
  ): Promise<void> => {
    hashes.push(hash);
    at.plant(manifestObjectName(hash), bytes);
  };
  await plant(Buffer.concat([Buffer.from('vlt3mnfs'), randomBytes(800)]));
  await plant(randomBytes(900), 'cd'.repeat(32));
  for (let i = 0; i < 30; i += 1) await plant(randomBytes(100), randomBytes(32).toString('hex'));
  await at.unharmed();
  const blocked = await made.vault.sweep({ waitMs: 0 });
  expect(blocked.blockedBy).toMatch(/[0-9a-f]{64}.* So do 31 others/);
  await made.vault.remove(hashes, { graceMs: 0 });
  expect(await made.vault.sweep({ waitMs: 0 })).toMatchObject({ blockedBy: null });
  expect(await at.unharmed()).toMatchObject({ outcome: 'whole' });
  expect(made.objects('chunks/')).toHaveLength(9);
});

test.each([
  [256, true, false],
  [256, false, true],
  [64 * 1024 * 1024, true, true],
  [64 * 1024 * 1024, false, false],
])(
  'a manifest that names chunks of others with %i bytes says nothing of them (met first: %s, locked: %s)',
  async (padded, isFirst, locked) => {
    await using at = await scene();
    const { made, keys } = at;
    const ids = chunkIds(at);
    let bytes = manifestOf(keys, { ids, padded, locked });
    while (manifestHash(bytes) < theirs !== isFirst) bytes = manifestOf(keys, { ids, padded, locked });
    at.plant(manifestObjectName(manifestHash(bytes)), bytes);
    const before = made.objects('chunks/');
    const { affected } = await at.unharmed();
    expect(affected.map(({ name }) => name)).toEqual(['junk']);
    await expect(getBytes(made.vault, 'cron:junk')).rejects.toBeInstanceOf(VaultError);
    expect((await made.vault.verify({ depth: 'data' })).affected.map(({ name }) => name)).toEqual(['junk']);
    expect((await made.vault.repair({ depth: 'data' })).filesLost).toEqual([manifestHash(bytes)]);
    expect(made.objects('chunks/')).toEqual(before);
    await made.vault.remove(['cron:junk'], { graceMs: 0 });
    await at.unharmed();
    expect(made.objects('chunks/')).toEqual(before);
  },
);

test('any number of false sets of a chunk is got round', async () => {
  await using at = await scene();
  const { made } = at;
  for (const chunkId of chunkIds(at)) {
    for (let i = 0; i < 100; i += 1) {
      const nonce = Buffer.alloc(12, i);
      const sealedSize = 400;
      // Each in every bucket: the true one of an index may be in any.
      for (const bucket of made.buckets) {
        for (let index = 0; index < 3; index += 1) {
          const object = Buffer.alloc(shardObjectSize(sealedSize, 2));
          finishShardObject(object, chunkId, { k: 2, m: 1, index, sealedSize, nonce });
          const name = { chunkId, sealing: sealingOf(nonce, sealedSize), index, k: 2, m: 1 };
          bucket.storage.set(shardObjectName({ ...name, upload: `${i}`.padStart(16, '0') }), object);
        }
      }
    }
  }
  expect(await at.unharmed({ suspect: true })).toMatchObject({ outcome: 'degraded' });
});

test('objects of other names are left alone', async () => {
  await using at = await scene();
  const { made } = at;
  const names = ['clock', 'keyring/1', 'puts/now', 'deleted/x', 'sweep/x', 'shares/x'];
  for (let i = 0; i < 60; i += 1) names.push(`chunks/${i}`, `manifests/${i}`);
  for (const name of names) at.plant(name);
  expect(await at.unharmed()).toMatchObject({ outcome: 'whole' });
  expect(await made.vault.sweep({ waitMs: 0 })).toMatchObject({ foreignObjects: 60 });
});
