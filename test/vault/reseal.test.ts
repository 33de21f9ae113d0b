/** What lies under an old root is stored anew under the last one: the same content, names and times, and nothing lost wherever it is cut short. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keysUnder, requireFull } from '../../src/crypto/keys.ts';
import { manifestHash, ManifestSealer } from '../../src/crypto/manifest.ts';
import { VaultError } from '../../src/errors.ts';
import { decodeManifestObject } from '../../src/format/manifest-object.ts';
import { manifestObjectName } from '../../src/format/manifest.ts';
import { readKeyrings } from '../../src/vault/keys/keyring-copies.ts';
import { unlock } from '../../src/vault/keys/unlock.ts';
import { readDeletion } from '../../src/vault/protocol/deletions.ts';
import { tarStream } from '../../src/vault/folders/tar.ts';
import type { Step } from '../support/steps.ts';
import type { ListedFile } from '../../src/vault/read/list.ts';
import type { Resealed } from '../../src/vault/roots/reseal.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { CUT_STRIDE } from '../support/catalog-place.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { all, behind, CHEAP_KDF, getBytes, putBytes } from './harness.ts';
import { endingAt, present, stage } from './scene.ts';
import type { Scene, Stage } from './scene.ts';

const NEXT = { secret: 'what opens it from now on', kdfCost: CHEAP_KDF };
const LOCK = { password: 'a word of its own', cost: CHEAP_KDF };
const WEB = { secret: 'of the machine', label: 'web', role: 'put' as const, kdfCost: CHEAP_KDF };
const BYTES = {
  small: randomBytes(500),
  large: Buffer.concat([randomBytes(150_000), Buffer.alloc(70_000)]),
  cut: randomBytes(700_000),
  locked: randomBytes(100_000),
  'locked small': randomBytes(100),
  'web:stored': randomBytes(80_000),
  'web:small': randomBytes(80),
};

let place: TemporaryFolder;
let rotated: Stage;
/** With two files, for what is tried again and again. */
let few: Stage;

beforeAll(async () => {
  place = await temporaryFolder();
  mkdirSync(place.at('docs', 'sub'), { recursive: true });
  writeFileSync(place.at('docs', 'sub', 'a'), Buffer.alloc(300_000, 'a'));
  writeFileSync(place.at('docs', 'b'), randomBytes(90_000));
  rotated = await stage({}, async ({ vault, session, buckets }) => {
    await putBytes(vault, randomBytes(200), { name: 'small' });
    await putBytes(vault, BYTES.small, { name: 'small', expiresAtMs: Date.now() + 1e9 });
    await putBytes(vault, BYTES.large, { name: 'large' });
    await putBytes(vault, BYTES.cut, { name: 'cut', chunking: 'content', chunkSize: undefined });
    await putBytes(vault, BYTES.locked, { name: 'locked', lock: LOCK });
    await putBytes(vault, BYTES['locked small'], { name: 'locked small', lock: LOCK });
    await vault.put({ root: place.at('docs') }, { name: 'docs' });
    await vault.addKey(WEB);
    const shown = await readKeyrings(behind(present(buckets[0])));
    const { keys } = await unlock(shown, WEB.secret, { vaultId: session.vaultId });
    const { Vault: Opened } = await import('../../src/vault/vault.ts');
    const { manifestKeys } = await import('../../src/vault/keys/session-keys.ts');
    const web = new Opened({ ...session, ...manifestKeys(keys) });
    await putBytes(web, BYTES['web:stored'], { name: 'stored' });
    await putBytes(web, BYTES['web:small'], { name: 'small' });
    await session.guard.end();
    await vault.sync();
    await vault.roots.rotate(NEXT);
  });
  few = await stage({}, async ({ vault }) => {
    await putBytes(vault, BYTES.small, { name: 'small' });
    await putBytes(vault, BYTES.large, { name: 'large' });
    await vault.roots.rotate(NEXT);
  });
});

afterAll(async () => {
  await rotated[Symbol.asyncDispose]();
  await few[Symbol.asyncDispose]();
  await place[Symbol.asyncDispose]();
});

async function reseal(vault: Vault): Promise<{ readonly files: Resealed[]; readonly left: number }> {
  const files: Resealed[] = [];
  const { resealed, left } = await vault.roots.reseal({ onResealed: (file) => void files.push(file) });
  expect(files).toHaveLength(resealed);
  return { files, left: left.length };
}

/** What stays of a version, whoever has stored it. */
function facts({
  name,
  size,
  kind,
  createdAtMs,
  modified,
  mode,
  expiresAtMs,
  version,
  entries,
}: ListedFile): string {
  return JSON.stringify({ name, size, kind, createdAtMs, modified, mode, expiresAtMs, version, entries });
}

async function read(vault: Vault, name: string): Promise<Buffer> {
  const file = await vault.get(name, { lockPassword: () => Promise.resolve(LOCK.password) });
  // Each run's memory is used again.
  return Buffer.concat(await Array.fromAsync(file.content(), (run) => Buffer.from(run)));
}

/** What lies in the folder: its entries, and all of it as an archive. */
async function entriesOf(vault: Vault): Promise<{ readonly list: readonly unknown[]; readonly tar: Buffer }> {
  const stored = await vault.find('docs');
  if (stored.kind !== 'folder') throw new Error('It is a folder.');
  const { folder } = stored;
  const list = await all(folder.list());
  const selected = await folder.select(null);
  const reader = selected.reader();
  const runs: Buffer[] = [];
  for await (const run of tarStream(selected.entries(), reader.readContent, { prefix: '' })) {
    runs.push(Buffer.from(run));
  }
  await reader.close();
  return { list, tar: Buffer.concat(runs) };
}

function rootsIn(scene: Scene, files: readonly ListedFile[]): Set<number> {
  return new Set(
    files.map(({ hash }) => {
      const bytes = present(scene.bucket(0).storage.get(manifestObjectName(hash)));
      return decodeManifestObject(bytes).rootNumber;
    }),
  );
}

describe('storing anew', () => {
  test('keeps every content, name, version and time, under the last root alone', async () => {
    await using scene = await rotated.scene();
    const { vault, session } = await scene.open();
    await vault.sync();
    const before = await all(vault.list({ all: true }));
    expect(rootsIn(scene, before)).toEqual(new Set([1]));
    const entries = await entriesOf(vault);
    expect(entries.list).toHaveLength(4);
    const { files, left } = await reseal(vault);
    expect({ files: files.length, left }).toEqual({ files: 9, left: 0 });
    const after = await all(vault.list({ all: true }));
    expect(rootsIn(scene, after)).toEqual(new Set([2]));
    expect(new Set(after.map(facts))).toEqual(new Set(before.map(facts)));
    expect(new Set(after.map(({ hash }) => hash))).toEqual(new Set(files.map(({ hash }) => hash)));
    for (const [name, bytes] of Object.entries(BYTES)) expect(await read(vault, name)).toEqual(bytes);
    expect(after.find(({ name }) => name === 'stored')?.writer).toMatchObject({ label: 'web', isOwn: false });
    // What the old root leads to goes with the next sweeps, and nothing that the new one needs.
    await session.guard.end();
    await vault.sweep({ ignoreGrace: true, waitMs: 0 });
    const { outcome, notOpened } = await vault.verify({ depth: 'data' });
    expect({ outcome, notOpened }).toEqual({ outcome: 'whole', notOpened: 2 });
    for (const [name, bytes] of Object.entries(BYTES)) expect(await read(vault, name)).toEqual(bytes);
    expect(await entriesOf(vault)).toEqual(entries);
    expect(await reseal(vault)).toEqual({ files: [], left: 0 });
  });

  test('has the chunks of a locked file stay, and opens none of it', async () => {
    await using scene = await rotated.scene();
    const { vault } = await scene.open();
    const chunksOf = async (): Promise<unknown> => {
      const { hash } = await vault.resolve('locked');
      const { ids } = present((await scene.open()).session.manifests).open(
        present(scene.bucket(0).storage.get(manifestObjectName(hash))),
        hash,
      );
      return ids;
    };
    const before = await chunksOf();
    await reseal(vault);
    expect(await chunksOf()).toEqual(before);
    await expect(vault.get('locked', { lockPassword: () => Promise.resolve('wrong') })).rejects.toMatchObject(
      {
        code: 'wrong-password',
      },
    );
  });

  test('lets puts that come after it find their chunks, and keys that come back their names', async () => {
    await using scene = await rotated.scene();
    const { vault } = await scene.open();
    await reseal(vault);
    const again = await putBytes(vault, BYTES.large, { name: 'again' });
    expect(again.chunksStored).toBe(0);
    const { version } = await vault.resolve('large');
    expect((await putBytes(vault, BYTES.small, { name: 'large' })).version).toBeGreaterThan(version);
    const { writer } = await vault.addKey(WEB);
    expect((await all(vault.list())).find(({ name }) => name === 'stored')?.writer.label).toBe('web');
    expect(await read(vault, `${writer}:stored`)).toEqual(BYTES['web:stored']);
  });

  test('leaves what is stored since the newest, whatever number somebody gave who has kept the old root', async () => {
    await using scene = await few.scene();
    const { vault, session } = await scene.open();
    const { hash } = await vault.resolve('small');
    const first = await putBytes(vault, randomBytes(10), { name: 'small' });
    const old = present(session.manifests).open(
      present(scene.bucket(0).storage.get(manifestObjectName(hash))),
      hash,
    );
    const keys = present(keysUnder(session.keys, 1));
    const forged = new ManifestSealer({ ...keys, writer: requireFull(keys, 'this').writer(old.writer) }).seal(
      {
        head: { ...old.head, version: Number.MAX_SAFE_INTEGER, createdAtMs: Date.now() + 1e6 },
        ids: old.ids,
        content: present(old.content).table,
        contentKey: present(old.content).key,
        lock: null,
      },
    );
    for (const { storage } of scene.buckets) storage.set(manifestObjectName(manifestHash(forged)), forged);
    expect((await reseal(vault)).files).toHaveLength(3);
    expect((await vault.resolve('small')).hash).toBe(first.hash);
    const versions = (await all(vault.list({ all: true }))).filter(({ name }) => name === 'small');
    expect(versions).toHaveLength(3);
    expect(Math.max(...versions.map(({ version }) => version))).toBe(first.version);
  });

  test('stores nothing while a bucket is down, and leaves what cannot be read', async () => {
    await using scene = await few.scene();
    const { vault } = await scene.open();
    scene.bucket(1).wrap = (bucket) => faulty(bucket, always('unavailable'));
    await expect(reseal(vault)).rejects.toMatchObject({ code: 'unavailable' });
    scene.bucket(1).wrap = (bucket) => bucket;
    for (const { storage } of scene.buckets.slice(0, 2)) {
      for (const name of storage.keys()) if (name.startsWith('chunks/')) storage.delete(name);
    }
    const { files, left } = await reseal(vault);
    expect({ names: files.map(({ name }) => name), left }).toEqual({ names: ['small'], left: 1 });
    expect((await all(vault.list())).map(({ name }) => name).toSorted()).toEqual(['large', 'small']);
  });

  test('leaves the one before where a bucket fails meanwhile, and goes on when it is back', async () => {
    await using scene = await few.scene();
    const { vault } = await scene.open();
    let fails = true;
    scene.bucket(1).wrap = (bucket) => ({
      ...bucket,
      put: (name, ...rest) =>
        fails && /^(chunks|manifests)/.test(name)
          ? Promise.reject(new VaultError('unavailable', 'The test has it so.'))
          : bucket.put(name, ...rest),
    });
    const { files, left } = await reseal(vault);
    expect({ files, left }).toEqual({ files: [], left: 2 });
    fails = false;
    expect((await reseal(vault)).files).toHaveLength(2);
    const listed = await all(vault.list({ all: true }));
    expect(listed.map(({ name }) => name).toSorted()).toEqual(['large', 'small']);
    expect(await read(vault, 'large')).toEqual(BYTES.large);
    expect((await vault.verify({ depth: 'data' })).outcome).toBe('whole');
  });

  test('cut short anywhere, loses nothing, and goes on without storing anything twice', async () => {
    let ends = true;
    for (let nth = 1; ends; nth += CUT_STRIDE) {
      await using scene = await few.scene();
      const cut = await scene.open({ around: endingAt(nth) });
      ends = await cut.vault.roots.reseal().then(
        ({ left }) => left.length > 0,
        (error: unknown) => error instanceof VaultError,
      );
      const { vault, session } = await scene.open();
      for (const name of ['small', 'large'] as const) expect(await read(vault, name)).toEqual(BYTES[name]);
      const { left } = await reseal(vault);
      const listed = await all(vault.list({ all: true }));
      expect({ nth, left, names: listed.map(({ name }) => name).toSorted() }).toEqual({
        nth,
        left: 0,
        names: ['large', 'small'],
      });
      expect(rootsIn(scene, listed)).toEqual(new Set([session.keys.rootNumber]));
      for (const name of ['small', 'large'] as const)
        expect(await getBytes(vault, name)).toEqual(BYTES[name]);
    }
  });

  test('keeps removed what somebody removes meanwhile', async () => {
    await using scene = await few.scene();
    const there = await scene.open();
    let removed = false;
    const { vault } = await scene.open({
      async around({ call, name }, proceed) {
        const isNext = call === 'put' && name.startsWith('manifests/');
        if (isNext && !removed) {
          removed = true;
          await there.vault.remove(['small', 'large']);
        }
        await proceed();
      },
    });
    expect(await reseal(vault)).toEqual({ files: [], left: 0 });
    expect(await all(vault.list())).toEqual([]);
  });

  test('goes by the removal of a user whom the catalog has not heard of, and leaves their record alone', async () => {
    await using scene = await few.scene();
    const there = await scene.open();
    await there.vault.remove(['large']);
    const [small] = await all(there.vault.list());
    if (small === undefined) throw new Error('none');
    let removed = false;
    const { vault, session } = await scene.open({
      async around({ call, name }, proceed) {
        if (call === 'put' && name.startsWith('manifests/') && !removed) {
          removed = true;
          await there.vault.remove(['small'], { graceMs: 60_000 });
          await there.session.catalog.files.hide([small.hash], null);
        }
        await proceed();
      },
    });
    await vault.roots.reseal();
    expect(await readDeletion(session, small.hash)).toMatchObject({
      record: { live: false, graceMs: 60_000 },
    });
    const left = await all(vault.list());
    expect(left.map(({ hash }) => hash)).toEqual([small.hash]);
    await vault.sync();
    expect(await all(vault.list())).toEqual([]);
  });

  test.each<[string, (step: Step) => boolean]>([
    ['before', ({ call, name }) => call === 'get' && name.startsWith('deleted/')],
    ['after', ({ call }) => call === 'files.hide'],
  ])('keeps removed what somebody is removing, just %s it does so itself', async (_, isNext) => {
    await using scene = await few.scene();
    await (await scene.open()).vault.remove(['large']);
    const [reached, resume] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const user = await scene.open({
      async around({ call, name }, proceed) {
        if (call === 'put' && name.startsWith('deleted/')) {
          reached.resolve();
          await resume.promise;
        }
        await proceed();
      },
    });
    const removing = user.vault.remove(['small']);
    await reached.promise;
    let isListed = false;
    let isFound = false;
    const { vault } = await scene.open({
      async around(step, proceed) {
        // It has found the version that is to go.
        isFound ||= isListed && step.call.startsWith('files.by');
        if (isFound && isNext(step)) {
          resume.resolve();
          await removing;
        }
        isListed ||= step.call === 'files.put';
        await proceed();
      },
    });
    await vault.roots.reseal();
    expect((await removing).removed).toHaveLength(1);
    expect(await all(vault.list())).toEqual([]);
  });

  test('is for full keys', async () => {
    await using scene = await few.scene();
    const { session } = await scene.open();
    expect(requireFull(session.keys, 'this').earlier).toHaveLength(1);
    const { Vault: Opened } = await import('../../src/vault/vault.ts');
    const weak = new Opened({ ...session, keys: { ...session.keys, full: null } });
    await expect(weak.roots.reseal()).rejects.toMatchObject({ code: 'denied' });
    await expect(weak.roots.rotate(NEXT)).rejects.toMatchObject({ code: 'denied' });
  });
});
