import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { messageOf } from '../../src/errors.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { CUT_STRIDE } from '../support/catalog-place.ts';
import { writeLists } from '../../src/vault/protocol/lists.ts';
import { always, faulty, storageError } from '../support/faulty-bucket.ts';
import { all, CHUNK_SIZE, discrepancies, getBytes, putBytes, snapshotOf, testVault } from './harness.ts';
import type { Handle, Snapshot, TestVault, VaultCopy } from './harness.ts';

const HOUR_MS = 3_600_000;
const random = seededRandom(11);
const shared = random.bytes(2 * CHUNK_SIZE);
const CONTENTS = new Map<string, Uint8Array>([
  ['a', Buffer.concat([shared, random.bytes(100)])],
  ['b', Buffer.concat([shared.subarray(CHUNK_SIZE), random.bytes(CHUNK_SIZE)])],
  ['hidden', random.bytes(100)],
  ['expired', shared],
  ['new', Buffer.concat([shared, random.bytes(CHUNK_SIZE)])],
]);
const EXPIRY = 1_000;

function contentOf(name: string): Uint8Array {
  const content = CONTENTS.get(name);
  if (content === undefined) throw new RangeError(name);
  return content;
}

type Operation = (handle: Handle) => Promise<unknown>;

const put =
  (name: string, as = name): Operation =>
  async ({ vault, session }) => {
    await putBytes(vault, contentOf(name), { name: as });
    await session.guard.end();
  };
const remove =
  (name: string): Operation =>
  ({ vault }) =>
    vault.remove([name], { graceMs: 0 });
const sweep: Operation = ({ vault }) => vault.sweep({ waitMs: 0 });

const repair: Operation = ({ vault }) => vault.repair();
const undelete =
  (name: string): Operation =>
  async ({ vault, session }) => {
    await vault.undelete([name]);
    await session.guard.end();
  };

/** Two operations, the second in the middle of the first, and the files that are there in the end. */
interface Meeting {
  readonly title: string;
  readonly first: Operation;
  readonly second: Operation;
  readonly left: readonly string[];
}

const MEETINGS: readonly Meeting[] = [
  { title: 'a put and a sweep', first: put('new'), second: sweep, left: ['a', 'b', 'new'] },
  {
    title: 'a put and a removal of its content',
    first: put('a', 'new'),
    second: remove('a'),
    left: ['b', 'a as new'],
  },
  {
    title: 'a put and another put of its content',
    first: put('new'),
    second: put('new', 'twin'),
    left: ['a', 'b', 'new', 'new as twin'],
  },
  {
    title: 'a removal and a put of its content',
    first: remove('a'),
    second: put('a', 'new'),
    left: ['b', 'a as new'],
  },
  { title: 'a removal and a sweep', first: remove('a'), second: sweep, left: ['b'] },
  { title: 'a sweep and a put', first: sweep, second: put('new'), left: ['a', 'b', 'new'] },
  { title: 'a sweep and a removal', first: sweep, second: remove('a'), left: ['b'] },
  { title: 'a repair and a removal', first: repair, second: remove('a'), left: ['b'] },
  {
    title: 'a repair, and a put with the removal of what it stored',
    first: repair,
    second: async (handle) => {
      await put('new')(handle);
      await remove('new')(handle);
    },
    left: ['a', 'b'],
  },
  { title: 'a sweep and an undelete', first: sweep, second: undelete('hidden'), left: ['a', 'b', 'hidden'] },
  { title: 'two sweeps', first: sweep, second: sweep, left: ['a', 'b'] },
];

/** Exactly these files are listed, at once and for good, all of them read back, and after a few sweeps nothing is left over. */
async function checkWhole(copy: VaultCopy, left: readonly string[]): Promise<void> {
  let nowMs = Date.now();
  const { vault, session } = await copy.open({ now: () => nowMs });
  const expected = left.map((name) => name.split(' as '));
  const checkListed = async (besides: readonly string[]): Promise<void> => {
    const names = (await all(vault.list({ all: true }))).map(({ name }) => name);
    expect(names.filter((name) => !besides.includes(name)).toSorted()).toEqual(
      expected.map(([name = '', as = name]) => as).toSorted(),
    );
  };
  // What expires goes with the first of the sweeps.
  await checkListed(['expired']);
  for (let i = 0; i < 4; i += 1) {
    nowMs += 97 * HOUR_MS;
    expect(await vault.sweep({ waitMs: 0, ignoreGrace: true })).toMatchObject({
      filesMissing: [],
      blockedBy: null,
    });
  }
  expect(await discrepancies(session, copy.buckets)).toEqual([]);
  await checkListed([]);
  for (const [name = '', as = name] of expected) {
    expect((await getBytes(vault, as)).equals(contentOf(name))).toBe(true);
  }
}

/** A vault with a removed file, and a sweep without graces that could remove some objects only. */
async function interrupted(goes: (name: string) => boolean): Promise<TestVault> {
  const made = await testVault();
  await putBytes(made.vault, randomBytes(3 * CHUNK_SIZE), { name: 'gone' });
  await made.vault.remove(['gone']);
  await made.session.guard.end();
  for (const bucket of made.buckets)
    bucket.wrap = (plain) =>
      faulty(plain, ({ operation, name }) =>
        operation === 'remove' && !goes(name)
          ? { kind: 'fail', when: 'before', error: storageError() }
          : null,
      );
  const vault = await made.reopen();
  await expect(vault.sweep({ ignoreGrace: true, waitMs: 0 })).rejects.toMatchObject({
    code: 'unavailable',
  });
  for (const bucket of made.buckets) bucket.wrap = (plain) => plain;
  return made;
}

describe('What sweep removes', () => {
  test('an expired file, not a moment before, and its bytes after its grace', async () => {
    let now = 5_000;
    await using made = await testVault({ now: () => now });
    await putBytes(made.vault, randomBytes(30_000), { name: 'a', expiresAtMs: 6_000 });
    await made.session.guard.end();
    expect((await made.vault.sweep({ waitMs: 0 })).expired).toEqual([]);
    now = 6_000;
    expect((await made.vault.sweep({ waitMs: 0 })).expired).toMatchObject([{ name: 'a' }]);
    expect(await all(made.vault.list())).toEqual([]);
    now += 7 * 24 * HOUR_MS - 1;
    expect(await made.vault.sweep({ waitMs: 0 })).toMatchObject({ objectsRemoved: 0, expired: [] });
    now += 1;
    expect(await made.vault.sweep({ waitMs: 0 })).toMatchObject({ filesRemoved: 1, objectsRemoved: 4 });
    expect(made.objects('chunks/')).toEqual([]);
    expect(made.objects('manifests/')).toEqual([]);
  });

  test('each shard where it is listed, without asking the other buckets', async () => {
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(30_000), { name: 'a' });
    await made.session.guard.end();
    await made.vault.remove(['a'], { graceMs: 0 });
    const shards = made.objects('chunks/').length;
    const removed: string[] = [];
    for (const bucket of made.buckets) {
      bucket.wrap = (plain) =>
        faulty(plain, ({ operation, name }) => {
          if (operation === 'remove' && name.startsWith('chunks/')) removed.push(name);
          return null;
        });
    }
    expect(await made.vault.sweep({ waitMs: 0 })).toMatchObject({ objectsRemoved: shards + 1 });
    expect(removed).toHaveLength(shards);
    expect(made.objects('chunks/')).toEqual([]);
  });

  test('a shard of no file, and nothing that is no shard or no manifest of this vault', async () => {
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(10), { name: 'a' });
    const [bucket] = made.buckets;
    bucket?.storage.set('chunks/not-a-shard', Buffer.from('foreign'));
    const before = made.objects('chunks/');
    bucket?.storage.set(
      `chunks/${'ab'.repeat(32)}.01234567.0of2+1.0123456789abcdef`,
      Buffer.from('of no file'),
    );
    expect(await made.vault.sweep({ waitMs: 0 })).toMatchObject({ objectsRemoved: 1, foreignObjects: 1 });
    expect(made.objects('chunks/')).toEqual(before);
  });

  test('no chunk while a manifest cannot be read, and says why', async () => {
    await using made = await testVault();
    const { hash } = await putBytes(made.vault, randomBytes(100_000), { name: 'a' });
    await putBytes(made.vault, randomBytes(100_000), { name: 'b' });
    await made.vault.remove(['b'], { graceMs: 0 });
    await made.session.guard.end();
    for (const { storage } of made.buckets) storage.set(`manifests/${hash}`, Buffer.from('changed'));
    await made.catalog.files.forget([hash]);
    const before = made.objects('chunks/');
    const result = await made.vault.sweep({ waitMs: 0 });
    expect(result.blockedBy).toContain(hash);
    expect(made.objects('chunks/')).toEqual(before);
  });

  test('nothing of files that the catalog does not know: it learns them', async () => {
    await using made = await testVault();
    const start = await snapshotOf(made);
    await using lost = await start.copy();
    const bytes = randomBytes(100_000);
    const other = await lost.open();
    const { hash } = await putBytes(other.vault, bytes, { name: 'unknown here' });
    await other.session.guard.end();
    // The same buckets beside a catalog that has never heard of the file: one restored from an old copy.
    for (const [i, { storage }] of lost.buckets.entries()) {
      for (const [name, object] of storage) made.buckets[i]?.storage.set(name, object);
    }
    const before = made.objects();
    expect(await made.vault.sweep({ waitMs: 0 })).toMatchObject({ filesLearned: 1, objectsRemoved: 0 });
    expect(made.objects()).toEqual(before);
    expect((await getBytes(made.vault, 'unknown here')).equals(bytes)).toBe(true);
    expect((await made.vault.get('unknown here')).hash).toBe(hash);
  });

  test('what an earlier one has left, and tells also of files that it learns of on that way', async () => {
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(100_000), { name: 'gone' });
    await made.vault.remove(['gone'], { graceMs: 0 });
    await made.session.guard.end();
    const [first] = made.buckets;
    if (first === undefined) throw new RangeError('There are three buckets.');
    first.wrap = (bucket) =>
      faulty(bucket, ({ operation }) =>
        operation === 'remove' ? { kind: 'fail', when: 'before', error: storageError() } : null,
      );
    await expect((await made.reopen()).sweep({ waitMs: 0 })).rejects.toMatchObject({ code: 'unavailable' });
    first.wrap = (bucket) => bucket;
    const vault = await made.reopen();
    const { hash } = await putBytes(vault, randomBytes(100), { name: 'new' });
    await made.catalog.files.forget([hash]);
    expect(await vault.sweep({ waitMs: 0 })).toMatchObject({ filesRemoved: 1, filesLearned: 1 });
  });

  describe('what one that ignored graces has begun to remove', () => {
    test('though this one keeps to them', async () => {
      await using made = await interrupted(() => false);
      expect(await (await made.reopen()).sweep({ waitMs: 0 })).toMatchObject({ filesRemoved: 1 });
      expect([...made.objects('chunks/'), ...made.objects('manifests/')]).toEqual([]);
    });

    test('the file before its chunks, so that nothing that can be brought back has lost any', async () => {
      await using made = await interrupted((name) => !name.startsWith('manifests/'));
      expect(made.objects('chunks/')).toHaveLength(9);
      expect(await (await made.reopen()).repair()).toMatchObject({ outcome: 'whole', bytesStored: 0 });
    });

    test('not what has been removed again since, with a grace of its own', async () => {
      let nowMs = Date.now();
      await using made = await testVault({ now: () => nowMs });
      await putBytes(made.vault, randomBytes(CHUNK_SIZE), { name: 'a' });
      await made.session.guard.end();
      const names = new Set(made.objects('manifests/').map((object) => object.split(' ')[1] ?? ''));
      await writeLists(made.session, made.session.buckets.all, [...names], undefined);
      nowMs += HOUR_MS;
      await made.vault.remove(['a']);
      await made.vault.sweep({ waitMs: 0 });
      expect(made.objects('manifests/').length).toBeGreaterThan(0);
    });
  });

  test('what a dead put left, once its marker is a day old', async () => {
    await using made = await testVault();
    await using copy = await (await snapshotOf(made)).copy();
    const dying = await copy.open({
      around: async (step, proceed) => {
        if (step.call === 'put' && step.name.startsWith('manifests/')) throw storageError();
        await proceed();
      },
    });
    await expect(putBytes(dying.vault, randomBytes(300_000), { name: 'a' })).rejects.toMatchObject({
      code: 'unavailable',
    });
    let nowMs = Date.now();
    const { vault } = await copy.open({ now: () => nowMs });
    const left = (): string[] =>
      copy.buckets.flatMap(({ storage }) =>
        [...storage.keys()].filter((name) => /^(chunks|puts)/.test(name)),
      );
    const shards = left().length - copy.buckets.length;
    expect(await vault.sweep({ waitMs: 0 })).toMatchObject({ objectsRemoved: 0, objectsWaiting: shards });
    nowMs += 25 * HOUR_MS;
    expect(await vault.sweep({ waitMs: 0 })).toMatchObject({ objectsRemoved: shards, objectsWaiting: 0 });
    expect(left()).toEqual([]);
  });

  test('nothing in a dry run, which says what would go', async () => {
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(100_000), { name: 'a' });
    await made.vault.remove(['a'], { graceMs: 0 });
    await made.session.guard.end();
    const before = made.objects();
    expect(await made.vault.sweep({ dryRun: true })).toMatchObject({ filesRemoved: 1, objectsRemoved: 7 });
    expect(made.objects()).toEqual(before);
    expect(await made.vault.sweep({ waitMs: 0 })).toMatchObject({ filesRemoved: 1 });
  });

  test('doubles of a shard, and tells the catalog where the others are', async () => {
    await using made = await testVault({ buckets: 4, redundancy: { k: 2, m: 1 } });
    await using copy = await (await snapshotOf(made)).copy();
    const { vault, session } = await copy.open({
      around: async (step, proceed) => {
        await proceed();
        // What an earlier attempt has stored, the last one says nothing of.
        if (step.where === 'memory:1' && step.call === 'put' && step.name.startsWith('chunks/'))
          throw storageError();
      },
    });
    for (let i = 0; i < 4; i += 1) await putBytes(vault, randomBytes(300_000), { name: `file ${i}` });
    await session.guard.end();
    const [first] = copy.buckets;
    expect([...(first?.storage.keys() ?? [])].filter((name) => name.startsWith('chunks/'))).not.toEqual([]);
    let nowMs = Date.now();
    const later = await copy.open({ now: () => nowMs });
    for (let i = 0; i < 2; i += 1) {
      await later.vault.sweep({ waitMs: 0 });
      nowMs += 97 * HOUR_MS;
    }
    await later.vault.sweep({ waitMs: 0 });
    expect(await discrepancies(later.session, copy.buckets)).toEqual([]);
  });

  test('doubles of what expires by the same sweep, and the catalog still knows where the rest is', async () => {
    let nowMs = Date.now();
    await using made = await testVault({ now: () => nowMs });
    const bytes = randomBytes(3 * CHUNK_SIZE);
    const { hash } = await putBytes(made.vault, bytes, { name: 'a', expiresAtMs: nowMs + HOUR_MS });
    await made.session.guard.end();
    for (const { storage } of made.buckets) {
      const shards = [...storage].filter(([name]) => name.startsWith('chunks/'));
      for (const [name, object] of shards)
        storage.set(`${name.slice(0, -16)}${randomBytes(8).toString('hex')}`, object);
    }
    nowMs += 2 * HOUR_MS;
    await made.vault.sweep({ ignoreGrace: true, waitMs: 0 });
    expect(made.objects('chunks/')).toHaveLength(9);
    const found = await discrepancies(made.session, made.buckets);
    // Its list stays for days.
    expect(found.filter((line) => !line.includes(' has sweep/'))).toEqual([]);
    expect(await made.vault.undelete([hash])).toMatchObject({ restored: [{ hash }] });
    expect((await getBytes(made.vault, hash)).equals(bytes)).toBe(true);
  });
});

describe('With a bucket that cannot be used', () => {
  for (const code of ['unavailable', 'bucket-missing', 'denied'] as const) {
    test(`a removal counts, and a later sweep removes the objects (${code})`, async () => {
      await using made = await testVault();
      await putBytes(made.vault, randomBytes(100_000), { name: 'a' });
      await made.session.guard.end();
      const [first] = made.buckets;
      if (first === undefined) throw new RangeError('There are three buckets.');
      first.wrap = (bucket) => faulty(bucket, always(code));
      const vault = await made.reopen();
      expect(await vault.remove(['a'], { graceMs: 0 })).toMatchObject({ unreachable: [first.url] });
      const before = made.objects();
      expect(await vault.sweep({ waitMs: 0 })).toMatchObject({ objectsRemoved: 0, unreachable: [first.url] });
      expect(made.objects()).toEqual(before);
      first.wrap = (bucket) => bucket;
      expect(await vault.sweep({ waitMs: 0 })).toMatchObject({ filesRemoved: 1, unreachable: [] });
      expect(made.objects('chunks/')).toEqual([]);
    });
  }

  test('a listing that breaks off removes nothing on that account', async () => {
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(200_000), { name: 'a' });
    await made.vault.remove(['a'], { graceMs: 0 });
    await made.session.guard.end();
    const before = made.objects('chunks/');
    for (const prefix of ['chunks/', 'manifests/', 'deleted/', 'sweep/', 'puts/']) {
      for (const bucket of made.buckets) {
        bucket.wrap = (plain) =>
          faulty(plain, ({ operation, name }) =>
            operation === 'list' && name === prefix ? { kind: 'cut', after: 1, error: storageError() } : null,
          );
      }
      await expect(made.vault.sweep({ waitMs: 0 })).rejects.toMatchObject({ code: 'unavailable' });
      expect(made.objects('chunks/')).toEqual(before);
    }
  });
});

describe('Wherever two operations meet, each comes out as if it had been alone', () => {
  let made: TestVault;
  let start: Snapshot;

  beforeAll(async () => {
    made = await testVault();
    for (const name of ['a', 'b']) await putBytes(made.vault, contentOf(name), { name });
    await putBytes(made.vault, contentOf('hidden'), { name: 'hidden' });
    await made.vault.remove(['hidden']);
    await putBytes(made.vault, contentOf('expired'), { name: 'expired', expiresAtMs: EXPIRY });
    await made.session.guard.end();
    start = await snapshotOf(made);
  });
  afterAll(async () => {
    await made[Symbol.asyncDispose]();
  });

  test.for(MEETINGS)('$title', async ({ first, second, left }) => {
    let calls = 0;
    for (let nth = 1; nth <= calls + CUT_STRIDE; nth += CUT_STRIDE) {
      await using copy = await start.copy();
      const other = await copy.open();
      let met: Promise<unknown> = Promise.resolve();
      let isOver = false;
      const handle = await copy.open({
        around: async (step, proceed) => {
          if (step.nth === nth && !isOver) {
            calls = nth;
            met = second(other);
            await met;
          }
          await proceed();
        },
      });
      await first(handle);
      // A call that reads ahead is one that nobody waits for in the end.
      isOver = true;
      await met;
      if (calls < nth) break;
      const step = handle.steps.log[nth - 1];
      try {
        await checkWhole(copy, left);
      } catch (cause) {
        throw new Error(`When they met at call ${nth}, ${step?.where} ${step?.call} ${step?.name}`, {
          cause,
        });
      }
    }
    expect(calls).toBeGreaterThan(8);
  });
});

describe.each([
  ['nothing', /./],
  ['no manifests', /^manifests\//],
  ['not the manifest of a file', null],
])('buckets that list %s of what they have', (_, hidden) => {
  test.each([true, false])('lose nothing to a sweep (dry: %s)', async (dryRun) => {
    await using made = await testVault();
    await putBytes(made.vault, contentOf('a'), { name: 'a' });
    const { hash } = await putBytes(made.vault, contentOf('b'), { name: 'b' });
    await made.session.guard.end();
    for (const bucket of made.buckets)
      bucket.wrap = (plain) =>
        faulty(plain, ({ operation }) =>
          operation === 'list' ? { kind: 'hide', names: hidden ?? new RegExp(hash) } : null,
        );
    const names = (): string[] => made.buckets.flatMap(({ storage }) => [...storage.keys()]);
    const before = names();
    const vault = await made.reopen();
    const warnings: string[] = [];
    const said = await vault
      .sweep({ waitMs: 0, dryRun, onWarning: ({ message }) => void warnings.push(message) })
      .then(
        ({ objectsRemoved, unreachable }) => ({ objectsRemoved, unreachable: unreachable.length }),
        (error: unknown) => warnings.push(messageOf(error)) > 0,
      );
    expect([true, { objectsRemoved: 0, unreachable: made.buckets.length }]).toContainEqual(said);
    expect(warnings.join(' ')).toMatch(/does not list (the keyring|manifests) that it has taken/);
    expect(names()).toEqual(before);
  });
});
