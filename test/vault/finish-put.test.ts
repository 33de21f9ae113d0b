/** The end of a put: which version it is, when nothing new is stored, where its manifest must lie, and what its catalog says to that. */
import { describe, expect, test } from 'vitest';
import { memoryBucket } from '../support/memory-bucket.ts';
import type { FileRow } from '../../src/catalog/catalog.ts';
import { messageOf, VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import type { Keyring, KeyringBucket } from '../../src/format/keyring.ts';
import { MAX_VERSION } from '../../src/format/limits.ts';
import { changeKeyring as storeKeyring } from '../../src/vault/keys/keyring-store.ts';
import type { Warning } from '../../src/vault/call.ts';
import { openFileRow, sealFileRow } from '../../src/vault/files/records.ts';
import { MarkerGuard } from '../../src/vault/protocol/put-guard.ts';
import type { Session } from '../../src/vault/session.ts';
import { Vault } from '../../src/vault/vault.ts';
import { NOTHING_STORED } from '../../src/vault/write/content.ts';
import { finishPut, listFile } from '../../src/vault/write/finish-put.ts';
import type { FaultyCall } from '../support/faulty-bucket.ts';
import { changeCatalog } from '../support/catalog-place.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { all, CHUNK_SIZE, getBytes, putBytes, testVault, twoMachines } from './harness.ts';
import type { TestBucket, TestVault } from './harness.ts';
import { failing, guardedWith, present, wipe, withFiles } from './scene.ts';

const random = seededRandom(63);
const SMALL = random.bytes(200);
const BODY = random.bytes(CHUNK_SIZE + 9);
const DAY_MS = 86_400_000;
const NOW_MS = Date.UTC(2030, 0, 1);
const ROLES = ['full', 'put'] as const;

/** The same vault as a key opens it that can only store. */
function putting(session: Session): Session {
  const guard = new MarkerGuard();
  const keys = { ...session.keys, role: 'put', full: null } as const;
  const putter: Session = { ...session, keys, guard, manifests: null };
  guard.attach(putter);
  return putter;
}

const openedBy = (made: TestVault, role: (typeof ROLES)[number]): Vault =>
  role === 'full' ? made.vault : new Vault(putting(made.session));

/** Has the session believe in another keyring. */
function changeKeyring({ session }: TestVault, change: Partial<Session['keyring']['keyring']>): void {
  const { bytes, keyring } = session.keyring;
  session.keyring = { bytes, keyring: { ...keyring, ...change } };
}

/** Has the session believe that a bucket is being taken out. */
function drain(made: TestVault, index: number): void {
  const { buckets } = made.session.keyring.keyring;
  changeKeyring(made, {
    buckets: buckets.with(index, { ...present(buckets[index]), state: 'draining' }),
  });
}

/** Does something when a bucket has taken a manifest. */
function onManifest(bucket: TestBucket, then: () => void): void {
  bucket.wrap = (plain) => ({
    ...plain,
    async put(name, ...rest) {
      await plain.put(name, ...rest);
      if (name.startsWith('manifests/')) then();
    },
  });
}

const rowOf = async ({ catalog }: TestVault, hash: string): Promise<FileRow> =>
  present((await catalog.files.byHashes([hash])).get(hash));

const leave = (bucket: KeyringBucket): KeyringBucket => ({ ...bucket, state: 'draining' });
const withAllLeaving = (keyring: Keyring): Keyring => ({ ...keyring, buckets: keyring.buckets.map(leave) });

test.each(ROLES)('by a key (%s) where every bucket is being taken out asks for another', async (role) => {
  await using made = await testVault();
  await storeKeyring(made.session, withAllLeaving, { all: true });
  for (const body of [SMALL, random.bytes(100_000)])
    await expect(putBytes(openedBy(made, role), body, { name: 'a' })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(
        /^No bucket .*[ed]\. Buckets that are being taken out .* add one with "vault bucket add"\.$/,
      ),
    });
});

describe('the number of a version', () => {
  test('is the greatest there is, and then nothing is stored that would not show', async () => {
    // Too late a year to be a number.
    let nowMs = Date.UTC(2200, 0);
    await using made = await testVault({ now: () => (nowMs += 1) });
    const { session } = made;
    const { hash } = await putBytes(made.vault, SMALL, { name: 'a' });
    const { info, ids } = openFileRow(session, await rowOf(made, hash));
    const part = { head: { ...info, version: MAX_VERSION - 1 }, ids, access: { content: Buffer.alloc(32) } };
    const { id: writer } = session.keys.writer;
    await made.catalog.files.put([sealFileRow(session, { hash, writer, part, contentDigest: null })]);
    expect(await putBytes(made.vault, SMALL, { name: 'a' })).toMatchObject({
      unchanged: false,
      version: MAX_VERSION,
    });
    for (const dryRun of [false, true])
      await expect(putBytes(made.vault, random.bytes(9), { name: 'a', dryRun })).rejects.toMatchObject({
        code: 'damaged',
        message: expect.stringMatching(/"a".*greatest.*vault rm [0-9a-f]{64}/),
      });
  });

  test.each(ROLES)('stored by a key (%s) goes on from the time, and from what is known', async (role) => {
    await using made = await testVault({ now: () => NOW_MS });
    const vault = openedBy(made, role);
    for (const version of [NOW_MS, NOW_MS + 1])
      expect(await putBytes(vault, random.bytes(9), { name: 'a' })).toMatchObject({ version });
    expect(await putBytes(vault, SMALL, { name: 'b', dryRun: true })).toMatchObject({ version: NOW_MS });
  });

  test('is after those that another machine has stored, though they are not known here', async () => {
    await using made = await testVault();
    await putBytes(made.vault, random.bytes(9), { name: 'a' });
    let nowMs = Date.now();
    const now = (): number => (nowMs += 1000);
    const { here, there } = await twoMachines(made);
    const [{ vault }, { vault: elsewhere }] = [await here.open({ now }), await there.open({ now })];
    for (let time = 0; time < 3; time += 1) await putBytes(vault, random.bytes(9), { name: 'a' });
    await putBytes(elsewhere, SMALL, { name: 'a' });
    for (const one of [vault, elsewhere]) {
      await one.sync();
      expect((await getBytes(one, 'a')).equals(SMALL)).toBe(true);
    }
  });
});

describe.each(ROLES)(
  'what is there already, put by a key that can do everything or only store (%s),',
  (role) => {
    test.each([
      [1, true],
      [2, false],
    ])('where %d of three copies are lost: unchanged is %s', async (lost, unchanged) => {
      await using made = await testVault();
      const vault = openedBy(made, role);
      await putBytes(vault, SMALL, { name: 'a' });
      for (const bucket of made.buckets.slice(0, lost)) wipe(bucket, 'manifests/');
      expect(await putBytes(vault, SMALL, { name: 'a' })).toMatchObject({ unchanged });
    });

    test('is stored anew where too few copies are in buckets that stay', async () => {
      await using made = await testVault();
      const vault = openedBy(made, role);
      await putBytes(vault, SMALL, { name: 'a' });
      wipe(present(made.buckets[0]), 'manifests/');
      drain(made, 2);
      const { all: buckets } = made.session.buckets;
      made.session.buckets.replace(buckets.map((bucket, i) => (i === 2 ? bucket.leaving() : bucket)));
      expect(await putBytes(vault, SMALL, { name: 'a' })).toMatchObject({
        unchanged: false,
        manifestCopies: 2,
      });
    });

    test('is not what a list of removal names', async () => {
      await using made = await testVault();
      const session = role === 'full' ? made.session : putting(made.session);
      await putBytes(new Vault(session), SMALL, { name: 'a' });
      const table = { size: SMALL.length, chunkSize: CHUNK_SIZE, depth: 0, refs: [], inline: SMALL } as const;
      const none = { folder: null, ids: { depth: 0, ids: [] }, chunks: 0, indexChunks: 0 } as const;
      const content = { table, ...none, ...NOTHING_STORED };
      const call = {
        name: 'a',
        chunking: 'fixed',
        chunkSize: CHUNK_SIZE,
        compression: 'off',
        retaining: null,
        retainedEnough: true,
      } as const;
      const [source, contentKey] = [{ modified: null, mode: null }, Buffer.alloc(32, 1)];
      for (const isNamed of [false, true]) {
        const result = await session.guard.run(async (marker) => {
          const guarded = guardedWith(marker, { isNamed: () => isNamed });
          return finishPut(session, source, { call, content, contentKey, guarded });
        });
        expect(result).toMatchObject({ unchanged: !isNamed });
      }
    });
  },
);

const ofRecords =
  (asked: FaultyCall['operation']) =>
  ({ operation, name }: FaultyCall): boolean =>
    operation === asked && name.startsWith('deleted/');

describe('what is there already, while a bucket is away,', () => {
  test.each([SMALL, BODY])(
    'is brought back, which other buckets are told, and a sweep waits for',
    async (body) => {
      await using made = await testVault();
      const { hash } = await putBytes(made.vault, body, { name: 'a' });
      failing(present(made.buckets[0]), ({ name }) => name.startsWith('deleted/'));
      const brought = { unchanged: true, hash, degraded: true };
      expect(await putBytes(made.vault, body, { name: 'a', dryRun: true })).toMatchObject(brought);
      expect(made.objects('deleted/')).toEqual([]);
      expect(await putBytes(made.vault, body, { name: 'a' })).toMatchObject(brought);
      expect(made.objects('deleted/')).toEqual(
        ['memory:2', 'memory:3'].map((url) => `${url} deleted/${hash}`),
      );
      expect(made.objects('puts/')).not.toEqual([]);
    },
  );

  test.each([SMALL, BODY])(
    'is stored anew by who can only store, and cannot sign that it is back',
    async (body) => {
      await using made = await testVault();
      const vault = openedBy(made, 'put');
      await putBytes(vault, body, { name: 'a' });
      failing(present(made.buckets[0]), ({ name }) => name.startsWith('deleted/'));
      expect(await putBytes(vault, body, { name: 'a' })).toMatchObject({
        unchanged: false,
        manifestCopies: 3,
      });
    },
  );

  test.each<[string, (made: TestVault, hash: string) => unknown]>([
    [
      'is removed, as another bucket knows',
      async ({ vault, catalog, buckets }, hash) => {
        failing(present(buckets[1]), () => true);
        await vault.remove([hash]);
        present(buckets[1]).wrap = (plain) => plain;
        // As the catalog of another machine says.
        await catalog.files.hide([hash], null);
      },
    ],
    ['has too few copies in the others', ({ buckets }) => wipe(present(buckets[1]), 'manifests/')],
    ['could be told of in too few of them', ({ buckets }) => failing(present(buckets[1]), ofRecords('put'))],
    [
      'has a record that only a newer version can read',
      ({ buckets }) => failing(present(buckets[1]), ofRecords('get'), 'unsupported'),
    ],
    [
      'could be told of in none',
      ({ buckets }) => {
        for (const bucket of buckets.slice(1)) failing(bucket, ofRecords('put'));
      },
    ],
  ])('is stored anew where it %s', async (_, change) => {
    await using made = await testVault();
    const { hash } = await putBytes(made.vault, SMALL, { name: 'a' });
    await change(made, hash);
    failing(present(made.buckets[0]), () => true);
    const stored = await putBytes(made.vault, SMALL, { name: 'a' });
    expect(stored).toMatchObject({ unchanged: false, manifestCopies: 2, degraded: true });
    expect((await getBytes(made.vault, stored.hash)).equals(SMALL)).toBe(true);
  });

  test('is stored anew where it has an end: what is brought back after that has none', async () => {
    await using made = await testVault();
    const expiresAtMs = Date.now() + DAY_MS;
    await putBytes(made.vault, SMALL, { name: 'a', expiresAtMs });
    expect(await putBytes(made.vault, SMALL, { name: 'a', expiresAtMs })).toMatchObject({ unchanged: true });
    failing(present(made.buckets[0]), () => true);
    expect(await putBytes(made.vault, SMALL, { name: 'a', expiresAtMs })).toMatchObject({ unchanged: false });
  });

  test('is shown again by a catalog in which somebody hides it meanwhile', async () => {
    await using made = await testVault();
    const { hash } = await putBytes(made.vault, SMALL, { name: 'a' });
    failing(present(made.buckets[0]), () => true);
    // Removed after it was looked for, and before it is brought back.
    let times = 0;
    const { wrap } = present(made.buckets[1]);
    present(made.buckets[1]).wrap = (plain) => ({
      ...wrap(plain),
      async put(name, ...rest) {
        if (name.startsWith('puts/') && (times += 1) === 1) await made.catalog.files.hide([hash], Date.now());
        await plain.put(name, ...rest);
      },
    });
    expect(await putBytes(made.vault, SMALL, { name: 'a' })).toMatchObject({ unchanged: true, hash });
    expect(await all(made.vault.list())).toMatchObject([{ hash }]);
  });
});

test('what is found by a name that only begins like its own is something else', async () => {
  await using made = await testVault();
  const vault = openedBy(made, 'put');
  const { hash } = await putBytes(vault, SMALL, { name: 'a' });
  for (const { storage } of made.buckets) storage.set(`deleted/${hash}0`, Buffer.from('of another one'));
  expect(await putBytes(vault, SMALL, { name: 'a' })).toMatchObject({ unchanged: true });
  for (const { storage } of made.buckets) {
    storage.delete(`manifests/${hash}`);
    storage.set(`manifests/${hash}0`, Buffer.from('another one'));
  }
  expect(await putBytes(vault, SMALL, { name: 'a' })).toMatchObject({ unchanged: false });
});

test('a bug that shows while it is looked whether it is there already is told', async () => {
  await using made = await testVault();
  await putBytes(made.vault, SMALL, { name: 'a' });
  const bug = new TypeError('undefined is not a function');
  for (const bucket of made.buckets)
    bucket.wrap = (plain) => ({ ...plain, get: async () => Promise.reject(bug) });
  await expect(putBytes(made.vault, SMALL, { name: 'a' })).rejects.toBe(bug);
});

test('a put that only tells mends no row of the catalog, another one does', async () => {
  await using made = await testVault();
  await putBytes(made.vault, SMALL, { name: 'a' });
  await changeCatalog(made.db, 'update files set created_at = 5');
  expect(await putBytes(made.vault, SMALL, { name: 'a', dryRun: true })).toMatchObject({ unchanged: true });
  await expect(all(made.vault.list())).rejects.toMatchObject({ code: 'damaged' });
  expect(await putBytes(made.vault, SMALL, { name: 'a' })).toMatchObject({ unchanged: true });
  expect(await all(made.vault.list())).toHaveLength(1);
});

test('content that another writer has stored, whose names are gone on with, is stored anew', async () => {
  await using made = await testVault();
  const { session } = made;
  const { hash } = await putBytes(made.vault, SMALL, { name: 'a' });
  const { info, ids, contentDigest } = openFileRow(session, await rowOf(made, hash));
  const before = 'ab'.repeat(16);
  const { root } = session.keyring.keyring;
  const next = session.keys.writer.id;
  const label = Buffer.alloc(0);
  changeKeyring(made, { former: [{ writer: before, role: 'full', label, root, next }] });
  const part = { head: info, ids, access: { content: Buffer.alloc(32) } };
  const row = sealFileRow(session, { hash, writer: before, part, contentDigest });
  expect(await putBytes(made.vault, SMALL, { name: 'a' })).toMatchObject({ unchanged: true });
  await made.catalog.files.put([row]);
  expect(await putBytes(made.vault, SMALL, { name: 'a' })).toMatchObject({ unchanged: false });
});

describe('the catalog that takes no file', () => {
  const told =
    'The test forbids it. The file is in the buckets, and not in the catalog: "vault repair" adds it then.';
  const cases: readonly [(typeof ROLES)[number], ErrorCode, 'told' | 'plainly' | 'not'][] = [
    ['full', 'denied', 'told'],
    ['full', 'storage-full', 'told'],
    ['full', 'unavailable', 'plainly'],
    ['put', 'denied', 'not'],
    ['put', 'storage-full', 'told'],
    ['put', 'unavailable', 'plainly'],
  ];
  test.each(cases)('from a key (%s), as it says %s, is %s', async (role, code, how) => {
    await using made = await testVault();
    const row = await rowOf(made, (await putBytes(made.vault, SMALL, { name: 'a' })).hash);
    const asked: unknown[] = [];
    const cause = new VaultError(code, 'The test forbids it.');
    const catalog = withFiles(made.catalog, {
      put(...args) {
        asked.push(args);
        return Promise.reject(cause);
      },
    });
    const session = { ...(role === 'full' ? made.session : putting(made.session)), catalog };
    const outcome = await listFile(session, row).then(
      () => null,
      (error: unknown) => error,
    );
    expect(asked).toEqual([[[row], { onlyNew: role === 'put' }]]);
    const wrapped = new VaultError(code, told, { cause });
    expect(outcome).toEqual({ told: wrapped, plainly: cause, not: null }[how]);
  });
});

test.each([SMALL, BODY])(
  'a put that is interrupted when its manifest is stored lists nothing',
  async (body) => {
    await using made = await testVault();
    const abort = new AbortController();
    onManifest(present(made.buckets[2]), () => abort.abort());
    await expect(putBytes(made.vault, body, { name: 'a', signal: abort.signal })).rejects.toMatchObject({
      code: 'interrupted',
    });
    expect(await all(made.vault.list())).toEqual([]);
  },
);

describe('a small file', () => {
  test('of a key that was removed meanwhile is taken back', async () => {
    await using made = await testVault();
    const { root, slots } = made.session.keyring.keyring;
    const { writer, role, label } = present(slots[0]);
    onManifest(present(made.buckets[0]), () =>
      changeKeyring(made, { former: [{ writer, role, label, root, next: null }] }),
    );
    await expect(putBytes(made.vault, SMALL, { name: 'a' })).rejects.toMatchObject({
      code: 'wrong-password',
    });
    expect(made.objects('manifests/')).toEqual([]);
  });

  test.each([
    [true, 2, 'stored'],
    [
      false,
      0,
      'No bucket that stays in the vault took the manifest. Try again. memory:2: The test says unavailable.',
    ],
  ])('goes to the buckets that stay where its only one leaves (%s)', async (works, copies, expected) => {
    await using made = await testVault({ buckets: 2, redundancy: { k: 1, m: 0 } });
    const [leaving, staying] = made.buckets;
    onManifest(present(leaving), () => drain(made, 0));
    let fails = 0;
    failing(present(staying), ({ operation, name }) => {
      if (operation !== 'put' || !name.startsWith('manifests/')) return false;
      fails += 1;
      return !works || fails === 1;
    });
    const outcome = await putBytes(made.vault, SMALL, { name: 'a' }).then(() => 'stored', messageOf);
    expect(outcome).toBe(expected);
    expect(made.objects('manifests/')).toHaveLength(copies);
    expect(await all(made.vault.list())).toHaveLength(works ? 1 : 0);
  });

  test('goes to others in the place of one that leaves, though some that stay have it', async () => {
    await using made = await testVault({ buckets: 3, redundancy: { k: 1, m: 0 } });
    onManifest(present(made.buckets[0]), () => drain(made, 0));
    let fails = 0;
    failing(present(made.buckets[2]), ({ operation, name }) => {
      if (operation !== 'put' || !name.startsWith('manifests/')) return false;
      fails += 1;
      return fails === 1;
    });
    await putBytes(made.vault, SMALL, { name: 'a' });
    expect(made.objects('manifests/')).toHaveLength(3);
  });

  test('needs a bucket that knows the vault', async () => {
    await using made = await testVault({ buckets: 2, redundancy: { k: 1, m: 0 } });
    const [one, two] = made.buckets;
    onManifest(present(two), () => wipe(present(one), 'keyring/'));
    expect(await putBytes(made.vault, SMALL, { name: 'a' })).toMatchObject({ manifestCopies: 2 });
    onManifest(present(two), () => wipe(present(two), 'keyring/'));
    await expect(putBytes(made.vault, random.bytes(9), { name: 'b' })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(
        /^No bucket that stays in the vault took the manifest\. Try again\. memory:1 has no keyring.* memory:2 has no keyring/,
      ),
    });
  });
});

test('a bucket that is away makes a file degraded unless it is being taken out', async () => {
  await using made = await testVault({ buckets: 4, redundancy: { k: 2, m: 1 } });
  failing(present(made.buckets[3]), () => true);
  expect(await putBytes(made.vault, BODY, { name: 'a' })).toMatchObject({
    degraded: true,
    degradedChunks: 0,
    manifestCopies: 3,
  });
  await made.session.guard.end();
  drain(made, 3);
  expect(await putBytes(made.vault, BODY, { name: 'b' })).toMatchObject({
    degraded: false,
    manifestCopies: 3,
  });
});

test('a bucket that was taken out of the vault, as this catalog does not know yet, misses nothing, whatever the size', async () => {
  await using made = await testVault({ buckets: 4, redundancy: { k: 2, m: 1 } });
  const { here, there } = await twoMachines(made);
  const [{ vault }, { vault: elsewhere }] = [await here.open(), await there.open()];
  await elsewhere.removeBucket('memory:2');
  failing(present(here.buckets[1]), () => true, 'bucket-missing');
  const warnings: Warning[] = [];
  for (const [name, body] of [['a', SMALL] as const, ['b', BODY] as const]) {
    const result = await putBytes(vault, body, { name, onWarning: (one) => warnings.push(one) });
    expect(result).toMatchObject({ degraded: false, manifestCopies: 3 });
  }
  expect(warnings).toEqual([]);
});

test('a clock that is wrong is told, of a file of any size', async () => {
  await using made = await testVault();
  for (const bucket of made.buckets)
    bucket.wrap = () => memoryBucket(bucket.url, bucket.storage, { now: () => Date.now() + 3 * DAY_MS });
  for (const body of [SMALL, BODY]) {
    const warnings: Warning[] = [];
    await putBytes(made.vault, body, { name: 'a', onWarning: (one) => warnings.push(one) });
    expect(warnings.length).toBeGreaterThan(0);
    expect(new Set(warnings.map(({ kind }) => kind))).toEqual(new Set(['clock']));
  }
  await putBytes(made.vault, random.bytes(9), { name: 'a' });
});
