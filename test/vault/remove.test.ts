/** What removing, bringing back and sweeping tell: each step, each bucket that is away, and why something is refused. */
import { expect, test } from 'vitest';
import { sealPutMarker } from '../../src/crypto/put-marker.ts';
import { MAX_ROWS } from '../../src/catalog/catalog.ts';
import { VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { manifestObjectName, type ManifestHead } from '../../src/format/manifest.ts';
import { parseShardObjectName } from '../../src/format/shard.ts';
import { manifestOpener, readManifestBytes } from '../../src/vault/files/manifests.ts';
import { sealFileRow } from '../../src/vault/files/records.ts';
import { deletionObjectName, putMarkerName } from '../../src/format/removal.ts';
import { shareObjectName } from '../../src/format/share.ts';
import type { PlannedStep, Step, Warning } from '../../src/vault/call.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { readDeletion } from '../../src/vault/protocol/deletions.ts';
import { listForRemoval } from '../../src/vault/protocol/lists.ts';
import type { FaultyCall } from '../support/faulty-bucket.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { all, getBytes, putBytes, snapshotOf, testVault, twoMachines } from './harness.ts';
import type { TestVault } from './harness.ts';
import { putMachine } from './put-machine.ts';
import { failing, present } from './scene.ts';

const BODY = seededRandom(131).bytes(20_000);
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const START = Date.UTC(2030, 0, 1);
const share = (expiresAtMs: number, what: number | 'page'): string =>
  shareObjectName({ id: 'ab'.repeat(16), expiresAtMs, what });

const inOrder = (steps: readonly { object: string }[]): unknown[] =>
  steps.toSorted((a, b) => (a.object < b.object ? -1 : 1));
const isRecord = ({ operation, name }: FaultyCall): boolean =>
  operation === 'put' && name.startsWith('deleted/');
const removes = ({ operation }: FaultyCall): boolean => operation === 'remove';

/** What a sweep says of buckets that are away. */
const warned = async (vault: Vault): Promise<{ unreachable: readonly string[]; warnings: Warning[] }> => {
  const warnings: Warning[] = [];
  const { unreachable, objectsRemoved } = await vault.sweep({
    waitMs: 0,
    onWarning: (w) => warnings.push(w),
  });
  expect(objectsRemoved).toBe(0);
  return { unreachable, warnings };
};

/** Something of every kind that a sweep removes, or will remove. */
async function cluttered(clock: {
  ms: number;
}): Promise<{ made: TestVault; gone: string; old: string; chosen: string }> {
  const made = await testVault({ now: () => clock.ms });
  const { vault, session, buckets } = made;
  const { hash: gone } = await putBytes(vault, BODY, { name: 'gone' });
  await vault.remove(['gone'], { graceMs: HOUR_MS });
  const { hash: old } = await putBytes(vault, Buffer.from('old'), {
    name: 'old',
    expiresAtMs: clock.ms + DAY_MS,
  });
  await session.guard.end();
  for (const { storage } of buckets.slice(1)) {
    storage.set(share(START, 'page'), Buffer.alloc(30));
    storage.set(share(START + 2 * DAY_MS, 1), Buffer.alloc(50));
    storage.set(share(START + 9 * DAY_MS, 1), Buffer.alloc(70));
  }
  // What a repair has replaced, beside what else is there of the chunk.
  const [object = ''] = made.objects('chunks/');
  const [, name = ''] = object.split(' ');
  const chosen = name.replace(/[^.]+$/, '0'.repeat(16));
  present(buckets[0]).storage.set(chosen, Buffer.alloc(10));
  present(buckets[0]).storage.set('chunks/foreign', Buffer.alloc(10));
  await listForRemoval(session, session.buckets.all, [chosen], undefined);
  clock.ms += 2 * DAY_MS;
  return { made, gone, old, chosen };
}

test('a sweep tells what it would remove, and of what it then removes each step', async () => {
  const clock = { ms: START };
  const { made, gone, old, chosen } = await cluttered(clock);
  await using _ = made;
  const sizes = (name: string): number =>
    made.buckets.reduce((sum, { storage }) => sum + (storage.get(name)?.length ?? 0), 0);
  const shards = made.objects('chunks/').flatMap((object) => {
    const [, name = ''] = object.split(' ');
    return name === chosen || name === 'chunks/foreign' ? [] : [name];
  });
  const before = made.objects();
  const planned: PlannedStep[] = [];
  const plan = await made.vault.sweep({ dryRun: true, onPlanned: (step) => void planned.push(step) });
  expect(made.objects()).toEqual(before);
  const known = { file: null, bucket: null };
  const goes = { action: 'remove', ...known };
  const expected = [
    {
      ...known,
      action: 'hide',
      object: `manifests/${old}`,
      reason: 'expired',
      bytes: null,
      file: 'old',
      writer: expect.objectContaining({ isOwn: true }),
    },
    { ...goes, object: chosen, reason: 'chosen', bytes: null },
    {
      ...goes,
      object: `manifests/${gone}`,
      reason: 'removed',
      bytes: sizes(`manifests/${gone}`),
      file: 'gone',
    },
    ...shards.map((object) => Object.assign({ object, reason: 'unneeded', bytes: sizes(object) }, goes)),
    { ...goes, object: share(START, 'page'), reason: 'expired', bytes: 60 },
    { ...goes, object: share(START + 2 * DAY_MS, 1), reason: 'expired', bytes: 100 },
  ];
  expect(inOrder(planned)).toEqual(inOrder(expected));
  const removed = expected.slice(2);
  const bytesRemoved = removed.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
  const told = {
    expired: [expect.objectContaining({ hash: old })],
    filesRemoved: 1,
    bytesRemoved,
    objectsRetained: 0,
    retainedUntilMs: null,
    foreignObjects: 1,
    filesLearned: 0,
    filesMissing: [],
    blockedBy: null,
    unreachable: [],
  };
  expect(plan).toEqual({ ...told, objectsRemoved: removed.length, objectsWaiting: 1 });

  const steps: Step[] = [];
  const done = await made.vault.sweep({ waitMs: 0, onStep: (step) => void steps.push(step) });
  expect(done).toEqual({ ...told, objectsRemoved: removed.length + 1, objectsWaiting: 0 });
  const named = steps.map(({ what, on }) => `${what} ${on}`).toSorted();
  expect(named).toEqual(
    ['expired old', ...expected.slice(1).map(({ object }) => `removed ${object}`)].toSorted(),
  );
  const left = made.objects().filter((object) => !/ (sweep|deleted|keyring|vault)/.test(object));
  expect(left.map((object) => object.replace(/^\S+ /, '')).toSorted()).toEqual([
    'chunks/foreign',
    ...made.buckets.map(() => `manifests/${old}`),
    share(START + 9 * DAY_MS, 1),
    share(START + 9 * DAY_MS, 1),
  ]);
  expect(await all(made.vault.list())).toEqual([]);
  const { record } = await readDeletion(made.session, old);
  expect(record).toMatchObject({ live: false, graceMs: 7 * DAY_MS });
});

test('a sweep without listeners does the same', async () => {
  const clock = { ms: START };
  const { made } = await cluttered(clock);
  await using _ = made;
  const plan = await made.vault.sweep({ dryRun: true });
  const done = await made.vault.sweep({ waitMs: 0 });
  expect(done.objectsRemoved).toBe(plan.objectsRemoved + plan.objectsWaiting);
});

test('what has served goes when its time is over: lists, markers of the dead, and records of removal', async () => {
  const clock = { ms: START };
  await using made = await testVault({ now: () => clock.ms });
  const { vault, session } = made;
  const { hash } = await putBytes(vault, BODY, { name: 'a' });
  const { hash: back } = await putBytes(vault, Buffer.from('b'), { name: 'b' });
  await vault.remove(['a', 'b'], { graceMs: 0 });
  await vault.undelete(['b']);
  await session.guard.end();
  await vault.sweep({ waitMs: 0 });
  const names = (prefix: string): string[] => [
    ...new Set(made.objects(prefix).map((object) => object.replace(/^\S+ /, ''))),
  ];
  const [list = ''] = names('sweep/');
  const dead = putMarkerName(clock.ms, 'cd'.repeat(8));
  for (const { storage } of made.buckets) storage.set(dead, Buffer.from('nobody can read it'));
  clock.ms += DAY_MS - 1;
  // It names what nobody knows, so that nothing goes while it may be somebody's.
  await vault.remove(['b'], { graceMs: 30 * DAY_MS });
  expect(names('puts/')).toEqual([dead]);
  await vault.sweep({ waitMs: 0 });
  expect(names('puts/')).toEqual([dead]);
  expect(names('deleted/')).toEqual([deletionObjectName(back)]);
  expect(names('deleted/')).not.toContain(deletionObjectName(hash));
  clock.ms += 1;
  await vault.sweep({ waitMs: 0 });
  expect(names('puts/')).toEqual([]);
  clock.ms = START + 3 * DAY_MS - 1;
  await vault.sweep({ waitMs: 0 });
  expect(names('sweep/')).toEqual([list]);
  clock.ms += 1;
  await vault.sweep({ waitMs: 0 });
  expect(names('sweep/')).toEqual([]);
  // What may be brought back keeps its record.
  expect(names('deleted/')).toEqual([deletionObjectName(back)]);
  await vault.undelete(['b']);
  await session.guard.end();
  await vault.sweep({ waitMs: 0 });
  expect(names('deleted/')).toEqual([deletionObjectName(back)]);
});

test('a sweep tells of each bucket that is away, and removes nothing', async () => {
  await using made = await testVault();
  await putBytes(made.vault, BODY, { name: 'a' });
  await made.vault.remove(['a'], { graceMs: 0 });
  await made.session.guard.end();
  await using copy = await (await snapshotOf(made)).copy();
  const [first] = copy.buckets;
  failing(present(first), () => true);
  expect(await warned((await copy.open()).vault)).toEqual({
    unreachable: ['memory:1'],
    warnings: [{ kind: 'bucket-down', message: 'memory:1: The test says unavailable.', bucket: 'memory:1' }],
  });
  // It answers, and hides its keyring.
  failing(present(first), ({ operation, name }) => operation === 'list' && name === 'keyring/');
  expect((await warned((await copy.open()).vault)).unreachable).toEqual(['memory:1']);
  for (const bucket of copy.buckets) failing(bucket, () => true, 'denied');
  await expect(warned((await copy.open()).vault)).rejects.toMatchObject({
    code: 'denied',
    message: expect.stringMatching(/^None of the vault's buckets can be used\. /),
  });
});

test('buckets that change while a sweep waits end it, and so does one that hides its keyring then', async () => {
  await using made = await testVault();
  await putBytes(made.vault, BODY, { name: 'a' });
  await made.vault.remove(['a'], { graceMs: 0 });
  await made.session.guard.end();
  const [third] = made.buckets.slice(2);
  for (const kind of ['hidden', 'taken out'] as const) {
    await using copy = await (await snapshotOf(made)).copy();
    const { vault, catalog } = await copy.open({
      around: async (step, proceed) => {
        await proceed();
        if (step.call !== 'put' || !step.name.startsWith('sweep/') || step.where !== third?.url) return;
        if (kind === 'hidden') {
          failing(present(copy.buckets[0]), ({ name }) => name === 'keyring/');
        } else {
          const { number } = present((await catalog.setup.buckets())[0]);
          await catalog.setup.removeBucket(number);
        }
      },
    });
    await expect(vault.sweep({ waitMs: 0 })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(
        kind === 'hidden' ? /^Not every bucket says which buckets the vault has/ : /buckets have changed/,
      ),
    });
    const shards = copy.buckets.flatMap(({ storage }) =>
      [...storage.keys()].filter((name) => name.startsWith('chunks')),
    );
    expect(shards).toHaveLength(3);
  }
});

function withUnwritableCatalog(code: ErrorCode): Promise<TestVault> {
  return testVault({
    wrapCatalog: (catalog) => ({
      ...catalog,
      close: () => catalog.close(),
      requireWritable: () => Promise.reject(new VaultError(code, 'The catalog is what it is.')),
    }),
  });
}

test.each(['denied', 'storage-full'] as const)(
  'a sweep tells of a catalog that cannot be written (%s)',
  async (code) => {
    await using made = await withUnwritableCatalog(code);
    const warnings: Warning[] = [];
    await made.vault.sweep({ waitMs: 0, onWarning: (warning) => warnings.push(warning) });
    expect(warnings).toEqual([
      {
        kind: 'catalog',
        message: expect.stringMatching(/^The catalog is what it is\. It will list/),
        bucket: null,
      },
    ]);
    await made.vault.sweep({ waitMs: 0 });
    await made.vault.sweep({ dryRun: true, onWarning: (warning) => warnings.push(warning) });
    expect(warnings).toHaveLength(1);
  },
);

test('a sweep does not go by a catalog that is damaged', async () => {
  await using made = await withUnwritableCatalog('damaged');
  await expect(made.vault.sweep({ waitMs: 0 })).rejects.toMatchObject({ code: 'damaged' });
});

test('what a marker names that came while a sweep waited stays, though no file says so yet', async () => {
  await using made = await testVault();
  await putBytes(made.vault, BODY, { name: 'a' });
  await made.vault.remove(['a'], { graceMs: 0 });
  await made.session.guard.end();
  const [object = ''] = made.objects('chunks/');
  const id = present(parseShardObjectName(object.replace(/^\S+ /, ''))).chunkId;
  await using copy = await (await snapshotOf(made)).copy();
  const marker = sealPutMarker(made.session.keys, [id]);
  let looks = 0;
  const { vault } = await copy.open({
    around: async (step, proceed) => {
      if (step.call === 'list' && step.name === 'puts/' && step.where === 'memory:1') looks += 1;
      // Behind the look for those that are waited for.
      if (looks === 2)
        for (const { storage } of copy.buckets)
          storage.set(putMarkerName(Date.now(), 'cd'.repeat(8)), marker);
      await proceed();
    },
  });
  expect(await vault.sweep({ waitMs: 0 })).toMatchObject({
    filesRemoved: 1,
    objectsRemoved: 1,
    objectsWaiting: 0,
  });
  const shards = copy.buckets.flatMap(({ storage }) =>
    [...storage.keys()].filter((name) => name.startsWith('chunks')),
  );
  expect(shards).toHaveLength(3);
});

test('a removal that is only told hides nothing and writes nothing', async () => {
  await using made = await testVault();
  const { hash } = await putBytes(made.vault, BODY, { name: 'a' });
  const before = made.objects();
  const result = await made.vault.remove(['a'], { dryRun: true });
  expect(result).toEqual({
    removed: [expect.objectContaining({ hash, name: 'a' })],
    gone: [],
    unreachable: [],
    unlisted: [],
  });
  expect(made.objects()).toEqual(before);
  expect(await all(made.vault.list())).toHaveLength(1);
});

test('what a machine that can only store has listed is removed if its name is its own', async () => {
  await using made = await testVault();
  const { hash: precious } = await putBytes(made.vault, BODY, { name: 'precious' });
  await using machine = await putMachine(made, { db: made.db, label: 'web' });
  const { hash } = await putBytes(machine.vault, Buffer.from('theirs'), { name: 'theirs' });
  const head = { ...(await headOf(made, precious)), name: 'worthless', size: 0, chunks: 0 };
  const part = { head, ids: { depth: 0, ids: [] }, access: { content: Buffer.alloc(32) } } as const;
  const forged = sealFileRow(machine.session, {
    hash: precious,
    writer: machine.writer,
    part,
    contentDigest: null,
  });
  for (const bucket of made.buckets)
    failing(bucket, ({ operation, name }) => operation === 'get' && name === `manifests/${hash}`);
  await expect(made.vault.remove([hash])).rejects.toMatchObject({ code: 'unavailable' });
  for (const bucket of made.buckets) bucket.wrap = (plain) => plain;
  expect(await made.vault.remove([hash])).toMatchObject({ removed: [{ hash }] });
  await made.catalog.files.forget([precious]);
  await made.catalog.files.put([forged]);
  await expect(made.vault.remove([precious])).rejects.toMatchObject({
    code: 'damaged',
    message: expect.stringMatching(
      /^The catalog calls a file "worthless" that has another name\. "vault repair"/,
    ),
  });
  for (const { storage } of made.buckets) storage.delete(`manifests/${precious}`);
  expect(await made.vault.remove([precious])).toMatchObject({ removed: [{ hash: precious }] });
});

async function headOf({ session }: TestVault, hash: string): Promise<ManifestHead> {
  return manifestOpener(session).open((await readManifestBytes(session, hash)).bytes, hash).head;
}

test('of references of which some mean nothing all are named, and nothing is removed', async () => {
  await using made = await testVault();
  await putBytes(made.vault, BODY, { name: 'a' });
  await expect(made.vault.remove(['one'])).rejects.toMatchObject({
    code: 'file-not-found',
    message: expect.not.stringContaining('are unknown'),
  });
  await expect(made.vault.remove(['one', 'a', 'two'])).rejects.toMatchObject({
    code: 'file-not-found',
    message: expect.stringMatching(/^2 of 3 are unknown, so nothing was changed\. .*"one".* .*"two"/),
  });
  expect(await all(made.vault.list())).toHaveLength(1);
});

test('a removal that no bucket takes is none, and one that some take names the others', async () => {
  await using made = await testVault();
  const { hash } = await putBytes(made.vault, BODY, { name: 'a' });
  await made.session.guard.end();
  for (const bucket of made.buckets) failing(bucket, isRecord, 'denied');
  await expect(made.vault.remove(['a'])).rejects.toMatchObject({
    code: 'denied',
    message: expect.stringMatching(/^No bucket took the record of the removal\. Try again\. /),
  });
  expect(await all(made.vault.list())).toHaveLength(1);
  for (const bucket of made.buckets.slice(1)) bucket.wrap = (plain) => plain;
  expect(await made.vault.remove(['a'])).toMatchObject({ removed: [{ hash }], unreachable: ['memory:1'] });
  expect(await all(made.vault.list())).toEqual([]);
  for (const bucket of made.buckets) failing(bucket, isRecord, 'denied');
  await expect(made.vault.undelete(['a'])).rejects.toMatchObject({
    code: 'denied',
    message: expect.stringMatching(/^No bucket took the record\. Try again\. /),
  });
  expect(await all(made.vault.list())).toEqual([]);
  for (const bucket of made.buckets.slice(1)) bucket.wrap = (plain) => plain;
  expect(await made.vault.undelete(['a'])).toMatchObject({ restored: [{ hash }], unreachable: ['memory:1'] });
});

test('the buckets are named that deny removal, and no others', async () => {
  await using made = await testVault();
  expect(await made.vault.removalDenied()).toEqual([]);
  expect(made.objects().filter((object) => object.includes('clock'))).toEqual([]);
  failing(present(made.buckets[0]), removes, 'unavailable');
  failing(present(made.buckets[2]), removes, 'denied');
  expect(await made.vault.removalDenied()).toEqual(['memory:3']);
  failing(present(made.buckets[0]), removes, 'interrupted');
  await expect(made.vault.removalDenied()).rejects.toMatchObject({ code: 'interrupted' });
});

test('credentials that are refused whatever they are for are not said to lack the right to remove', async () => {
  await using made = await testVault();
  failing(present(made.buckets[1]), () => true, 'denied');
  expect(await made.vault.removalDenied()).toEqual([]);
});

test('what cannot be brought back is told apart: gone, or in buckets that are away', async () => {
  await using made = await testVault({ buckets: 2, redundancy: { k: 1, m: 0 } });
  const { hash } = await putBytes(made.vault, BODY, { name: 'a' });
  await made.vault.remove(['a']);
  await made.session.guard.end();
  const holder = made.buckets.find(({ storage }) =>
    [...storage.keys()].some((name) => name.startsWith('chunks/')),
  );
  failing(present(holder), () => true);
  const away = (await made.reopen()).undelete(['a']);
  await expect(away).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringMatching(
      /^"a" cannot be brought back while buckets are away that may have a part of it\. /,
    ),
  });
  present(holder).wrap = (plain) => plain;
  for (const name of present(holder).storage.keys())
    if (name.startsWith('chunks/')) present(holder).storage.delete(name);
  const gone = {
    code: 'file-not-found',
    message: expect.stringMatching(/^"a" can no longer be brought back/),
  };
  await expect((await made.reopen()).undelete(['a'])).rejects.toMatchObject(gone);
  // Without its manifest it is gone as well, and unknown while that cannot be asked for.
  for (const bucket of made.buckets) failing(bucket, ({ name }) => name === `manifests/${hash}`);
  await expect((await made.reopen()).undelete(['a'])).rejects.toMatchObject({ code: 'unavailable' });
  for (const bucket of made.buckets) {
    bucket.wrap = (plain) => plain;
    bucket.storage.delete(`manifests/${hash}`);
  }
  await expect((await made.reopen()).undelete(['a'])).rejects.toMatchObject(gone);
});

test('without redundancy a chunk of which a part is missing is gone, however many buckets show the rest', async () => {
  await using made = await testVault({ buckets: 2, redundancy: { k: 2, m: 0 } });
  await putBytes(made.vault, BODY, { name: 'a' });
  await made.vault.remove(['a']);
  await made.session.guard.end();
  const { storage } = present(made.buckets[0]);
  for (const name of storage.keys()) if (name.startsWith('chunks/')) storage.delete(name);
  await expect(made.vault.undelete(['a'])).rejects.toMatchObject({ code: 'file-not-found' });
});

test('a catalog from before a removal forgets what a sweep has removed, unless it is only told', async () => {
  await using made = await testVault();
  await putBytes(made.vault, BODY, { name: 'a' });
  const { hash } = await putBytes(made.vault, Buffer.from('b'), { name: 'b' });
  await putBytes(made.vault, Buffer.from('c'), { name: 'c' });
  const { here, there } = await twoMachines(made);
  await using mine = here;
  await using other = there;
  const elsewhere = (await other.open()).vault;
  await elsewhere.remove(['a', 'c'], { graceMs: 0 });
  await elsewhere.remove(['b'], { graceMs: 30 * DAY_MS });
  const { vault, catalog } = await mine.open();
  const hidden = async (): Promise<boolean[]> =>
    (await all(catalog.files.walk())).map(({ hiddenAtMs }) => hiddenAtMs !== null);
  await vault.sweep({ dryRun: true });
  expect(await hidden()).toEqual([false, false, false]);
  for (const { storage } of mine.buckets)
    for (const name of storage.keys())
      if (name.startsWith('manifests/') && !name.endsWith(hash)) storage.delete(name);
  expect(await vault.sweep({ dryRun: true })).toMatchObject({ filesMissing: [] });
  expect(await hidden()).toEqual([false, false, false]);
  expect(await vault.sweep({ waitMs: 0 })).toMatchObject({ filesMissing: [], filesRemoved: 0 });
  expect(await hidden()).toEqual([true]);
  await vault.undelete(['b']);
  expect((await getBytes(vault, 'b')).toString()).toBe('b');
});

test('what a catalog still shows of a file whose grace is over is hidden by the sweep that waits for a put', async () => {
  await using made = await testVault();
  const { hash } = await putBytes(made.vault, BODY, { name: 'a' });
  const { here, there } = await twoMachines(made);
  await using mine = here;
  await using other = there;
  await (await other.open()).vault.remove(['a'], { graceMs: 0 });
  const marker = putMarkerName(Date.now(), 'cd'.repeat(8));
  for (const { storage } of mine.buckets) storage.set(marker, Buffer.from('somebody’s'));
  const { vault } = await mine.open();
  expect(await vault.sweep({ waitMs: 0 })).toMatchObject({
    objectsRemoved: 0,
    bytesRemoved: 0,
    objectsWaiting: 4,
  });
  expect(await all(vault.list())).toEqual([]);
  expect(await all(vault.list({ deleted: true }))).toMatchObject([{ hash }]);
});

test('many that are removed at once are removed for good, though some were brought back by a clock that is ahead', async () => {
  const clock = { ms: START };
  await using made = await testVault({ now: () => clock.ms });
  const { vault, session } = made;
  const names = Array.from({ length: 40 }, (_, i) => `small-${i}`);
  const hashes: string[] = [];
  for (const name of names) hashes.push((await putBytes(vault, Buffer.from(name), { name })).hash);
  const back = names.slice(0, 3);
  await vault.remove(back);
  clock.ms += HOUR_MS;
  await vault.undelete(back);
  clock.ms -= HOUR_MS;
  // It keeps what it has.
  failing(present(made.buckets[0]), isRecord, 'denied');
  await vault.remove(names);
  expect(await all(vault.list())).toEqual([]);
  for (const hash of hashes) {
    const { record } = await readDeletion(session, hash);
    expect(record).toMatchObject({ live: false });
  }
});

test('more files are removed, and found to be gone, than the catalog takes at once', async () => {
  await using made = await testVault({});
  const hashes: string[] = [];
  for (let i = 0; i <= MAX_ROWS; i += 1) {
    const { hash } = await putBytes(made.vault, Buffer.from(`${i}`), { name: `file ${i}` });
    hashes.push(hash);
  }
  await made.session.guard.end();
  const planned = await made.vault.remove(hashes, { dryRun: true });
  expect(planned.removed).toHaveLength(hashes.length);
  // As after another machine has removed and swept them.
  for (const { storage } of made.buckets) {
    for (const hash of hashes) expect(storage.delete(manifestObjectName(hash))).toBe(true);
  }
  const swept = await made.vault.sweep({ waitMs: 0 });
  expect(swept).toMatchObject({ unreachable: [] });
});
