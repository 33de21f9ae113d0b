import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { CALL_STRIDE, changeCatalog } from '../support/catalog-place.ts';
import { always, faulty, storageError } from '../support/faulty-bucket.ts';
import {
  all,
  bytesSource,
  CHUNK_SIZE,
  discrepancies,
  getBytes,
  putBytes,
  snapshotOf,
  testVault,
} from './harness.ts';
import type { Handle, Snapshot, TestVault, VaultCopy } from './harness.ts';

const random = seededRandom(11);
const shared = random.bytes(2 * CHUNK_SIZE);
const CONTENTS = new Map<string, Uint8Array>([
  ['a', Buffer.concat([shared, random.bytes(100)])],
  ['b', Buffer.concat([shared.subarray(CHUNK_SIZE), random.bytes(CHUNK_SIZE)])],
  ['expired', shared],
  ['new', Buffer.concat([shared, random.bytes(CHUNK_SIZE)])],
]);
const EXPIRY = 1_000;

function contentOf(name: string): Uint8Array {
  const content = CONTENTS.get(name);
  if (content === undefined) throw new RangeError(name);
  return content;
}

const DAY_MS = 24 * 3600 * 1000;
/** Nothing is too young to be swept. */
const AT_ONCE = { strayGraceMs: 0 };

type Operation = (handle: Handle) => Promise<unknown>;

const put =
  (name: string, as = name): Operation =>
  ({ vault }) =>
    putBytes(vault, contentOf(name), { name: as });
const remove =
  (name: string): Operation =>
  ({ vault }) =>
    vault.remove([name]);
const sweep: Operation = ({ vault }) => vault.sweep(AT_ONCE);

/** Two operations, the second in the middle of the first, and the files that are there in the end. */
interface Meeting {
  readonly title: string;
  readonly first: Operation;
  readonly second: Operation;
  readonly left: readonly string[];
  /** Whether the second takes the process of the first for gone. */
  readonly buries?: boolean;
}

const MEETINGS: readonly Meeting[] = [
  { title: 'a put and a sweep', first: put('new'), second: sweep, left: ['a', 'b', 'new'] },
  {
    title: 'a put and a sweep that takes it for dead',
    first: put('new'),
    second: sweep,
    left: ['a', 'b', 'new'],
    buries: true,
  },
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
    left: ['a', 'b', 'expired', 'new', 'new as twin'],
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
  { title: 'two sweeps', first: sweep, second: sweep, left: ['a', 'b'] },
];

/** Exactly these files are listed, all of them read back, and after a sweep nothing is left over. */
async function checkWhole(copy: VaultCopy, left: readonly string[]): Promise<void> {
  const { vault, catalog } = await copy.open();
  const swept = await vault.sweep(AT_ONCE);
  expect(swept.unknownFiles).toEqual([]);
  expect(await discrepancies(catalog, copy.buckets)).toEqual([]);
  const expected = left.filter((name) => name !== 'expired').map((name) => name.split(' as '));
  const listed = await all(vault.list({ all: true }));
  expect(listed.map(({ name }) => name).toSorted()).toEqual(
    expected.map(([name = '', as = name]) => as).toSorted(),
  );
  for (const [name = '', as = name] of expected) {
    expect((await getBytes(vault, as)).equals(contentOf(name))).toBe(true);
  }
}

describe('Wherever two operations meet, each comes out as if it had been alone', () => {
  let made: TestVault;
  let start: Snapshot;

  beforeAll(async () => {
    made = await testVault();
    for (const name of ['a', 'b']) await putBytes(made.vault, contentOf(name), { name });
    await putBytes(made.vault, contentOf('expired'), { name: 'expired', expiresAtMs: EXPIRY });
    start = await snapshotOf(made);
  });
  afterAll(async () => {
    await made[Symbol.asyncDispose]();
  });

  test.for(MEETINGS)('$title', async ({ first, second, left, buries = false }) => {
    let calls = 0;
    for (let nth = 1; nth <= calls + CALL_STRIDE; nth += CALL_STRIDE) {
      await using copy = await start.copy();
      const other = await copy.open();
      const handle = await copy.open({
        self: buries ? 'gone-to-sleep' : 'awake',
        around: async (step, proceed) => {
          if (step.nth === nth) {
            calls = nth;
            await second(other);
          }
          await proceed();
        },
      });
      await first(handle);
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

  test('a put of what cannot be read again, and a sweep that takes it for dead', async () => {
    let calls = 0;
    for (let nth = 1; nth <= calls + CALL_STRIDE; nth += CALL_STRIDE) {
      await using copy = await start.copy();
      const other = await copy.open();
      const handle = await copy.open({
        self: 'gone-to-sleep',
        around: async (step, proceed) => {
          if (step.nth === nth) {
            calls = nth;
            await sweep(other);
          }
          await proceed();
        },
      });
      const source = { ...bytesSource(contentOf('new')), reopens: false };
      const outcome = await handle.vault.put(source, { name: 'new', chunkSize: CHUNK_SIZE }).then(
        () => 'stored',
        (error: unknown) => (error instanceof VaultError ? error.code : error),
      );
      expect(['stored', 'stale']).toContain(outcome);
      await checkWhole(copy, outcome === 'stored' ? ['a', 'b', 'new'] : ['a', 'b']);
    }
    expect(calls).toBeGreaterThan(10);
  });
});

describe('A put that was taken for dead', () => {
  test('because its machine slept through its lease begins again', async () => {
    await using made = await testVault();
    await using copy = await (await snapshotOf(made)).copy();
    const other = await copy.open();
    let slept = false;
    const { vault } = await copy.open({
      around: async (step, proceed) => {
        await proceed();
        if (slept || step.call !== 'recordChunks') return;
        slept = true;
        // As if it had last been heard of eleven minutes ago.
        await changeCatalog(copy.db, 'update files set renewed_at = renewed_at - 11 * 60 * 1000');
        expect((await other.vault.sweep()).objectsRemoved).toBeGreaterThan(0);
      },
    });
    const bytes = randomBytes(300_000);
    await putBytes(vault, bytes, { name: 'a' });
    expect((await getBytes(other.vault, 'a')).equals(bytes)).toBe(true);
    await other.vault.sweep();
    expect(await discrepancies(other.catalog, copy.buckets)).toEqual([]);
  });

  test('but has been heard of lately is left alone', async () => {
    await using made = await testVault();
    await using copy = await (await snapshotOf(made)).copy();
    const other = await copy.open();
    let swept = 0;
    const { vault, steps } = await copy.open({
      around: async (step, proceed) => {
        await proceed();
        if (step.call !== 'recordChunks') return;
        swept += (await other.vault.sweep()).objectsRemoved;
      },
    });
    await putBytes(vault, randomBytes(300_000), { name: 'a' });
    expect({ swept, begun: steps.log.filter(({ call }) => call === 'beginPut').length }).toEqual({
      swept: 0,
      begun: 1,
    });
  });

  test('while it completed a chunk that had lost a shard leaves the chunk as it was', async () => {
    await using made = await testVault();
    const bytes = randomBytes(500);
    const third = made.buckets[2];
    if (third === undefined) throw new RangeError('There are three buckets.');
    third.wrap = (bucket) => faulty(bucket, always('unavailable'));
    const { degradedChunks } = await putBytes(made.vault, bytes, { name: 'degraded' });
    expect(degradedChunks).toBe(1);
    third.wrap = (bucket) => bucket;
    const start = await snapshotOf(made);
    let calls = 0;
    for (let nth = 1; nth <= calls + CALL_STRIDE; nth += CALL_STRIDE) {
      await using copy = await start.copy();
      const other = await copy.open();
      const handle = await copy.open({
        self: 'gone-to-sleep',
        around: async (step, proceed) => {
          if (step.nth === nth) {
            calls = nth;
            await other.vault.sweep(AT_ONCE);
          }
          await proceed();
        },
      });
      await putBytes(handle.vault, bytes, { name: 'other' });
      await other.vault.sweep(AT_ONCE);
      expect(await discrepancies(other.catalog, copy.buckets)).toEqual([]);
    }
    expect(calls).toBeGreaterThan(10);
  });
});

describe('What sweep removes', () => {
  test('an expired file, and not a moment before', async () => {
    let now = 5_000;
    await using made = await testVault({ now: () => now });
    await putBytes(made.vault, randomBytes(10), { name: 'a', expiresAtMs: 6_000 });
    expect((await made.vault.sweep()).expired).toEqual([]);
    now = 6_000;
    expect((await made.vault.sweep()).expired).toMatchObject([{ name: 'a' }]);
    expect(made.objects('chunks/')).toEqual([]);
    expect(await all(made.vault.list())).toEqual([]);
  });

  test('an object that nothing explains, once it has been seen for as long as the grace', async () => {
    let now = DAY_MS;
    await using made = await testVault({ now: () => now });
    await putBytes(made.vault, randomBytes(10), { name: 'a' });
    const before = made.objects();
    const [bucket] = made.buckets;
    bucket?.storage.set(`chunks/${'ab'.repeat(32)}.0of2+1.0123456789abcdef`, Buffer.from('stray'));
    bucket?.storage.set('chunks/not-a-shard', Buffer.from('stray'));
    bucket?.storage.set(`manifests/${'cd'.repeat(32)}`, Buffer.from('of no vault'));
    expect(await made.vault.sweep()).toMatchObject({ strays: 3, objectsRemoved: 0 });
    now += DAY_MS - 1;
    expect(await made.vault.sweep()).toMatchObject({ strays: 3, objectsRemoved: 0 });
    now += 1;
    expect(await made.vault.sweep()).toMatchObject({ strays: 0, objectsRemoved: 3, objectsOwed: 0 });
    expect(made.objects()).toEqual(before);
  });

  test('no stray that was away for a while and is new again', async () => {
    let now = DAY_MS;
    await using made = await testVault({ now: () => now });
    const [bucket] = made.buckets;
    const name = `chunks/${'ab'.repeat(32)}.0of2+1.0123456789abcdef`;
    bucket?.storage.set(name, Buffer.from('stray'));
    await made.vault.sweep();
    bucket?.storage.delete(name);
    await made.vault.sweep();
    bucket?.storage.set(name, Buffer.from('stray'));
    now += 2 * DAY_MS;
    expect(await made.vault.sweep()).toMatchObject({ strays: 1, objectsRemoved: 0 });
  });

  test('nothing that may belong to files which the catalog does not know', async () => {
    await using made = await testVault();
    const start = await snapshotOf(made);
    await using lost = await start.copy();
    const bytes = randomBytes(100_000);
    const { hash } = await putBytes((await lost.open()).vault, bytes, { name: 'unknown here' });
    // The same buckets beside a catalog that has never heard of the file: one restored from an old copy.
    for (const [i, { storage }] of lost.buckets.entries()) {
      for (const [name, object] of storage) made.buckets[i]?.storage.set(name, object);
    }
    const before = made.objects();
    const result = await made.vault.sweep(AT_ONCE);
    expect(result).toMatchObject({ unknownFiles: [hash], objectsRemoved: 0, strays: 6 });
    expect(made.objects()).toEqual(before);
  });

  test('what dead puts left, whatever they had recorded', async () => {
    await using made = await testVault();
    const start = await snapshotOf(made);
    await using copy = await start.copy();
    const dying = await copy.open({
      self: 'gone-1',
      around: async (step, proceed) => {
        await proceed();
        if (step.call === 'recordChunks') throw storageError();
      },
    });
    await expect(putBytes(dying.vault, randomBytes(300_000), { name: 'a' })).rejects.toMatchObject({
      code: 'unavailable',
    });
    const { vault, catalog } = await copy.open();
    expect(await catalog.counts()).toMatchObject({ pendingPuts: 1 });
    const sent = copy.buckets.flatMap(({ storage }) =>
      [...storage.keys()].filter((name) => name.startsWith('chunks/')),
    );
    expect(await vault.sweep()).toMatchObject({ objectsRemoved: sent.length, objectsOwed: 0, strays: 0 });
    expect(await discrepancies(catalog, copy.buckets)).toEqual([]);
  });
});

describe('With a bucket that cannot be used', () => {
  test('a shard that it took without saying so is owed at once, since it lies elsewhere as well', async () => {
    await using made = await testVault({ buckets: 4, redundancy: { k: 2, m: 1 } });
    await using copy = await (await snapshotOf(made)).copy();
    const { vault, catalog } = await copy.open({
      around: async (step, proceed) => {
        await proceed();
        if (step.where === 'memory:1' && step.call === 'put') throw storageError('unavailable');
      },
    });
    for (let i = 0; i < 4; i += 1) await putBytes(vault, randomBytes(300_000), { name: `file ${i}` });
    const [first] = copy.buckets;
    expect([...(first?.storage.keys() ?? [])].filter((name) => name.startsWith('chunks/'))).not.toEqual([]);
    expect(await vault.sweep()).toMatchObject({ strays: 0, objectsOwed: 0 });
    expect(await discrepancies(catalog, copy.buckets)).toEqual([]);
  });

  for (const code of ['unavailable', 'bucket-missing', 'denied'] as const) {
    test(`a removal owes its objects, and a later sweep pays (${code})`, async () => {
      await using made = await testVault();
      await putBytes(made.vault, randomBytes(100_000), { name: 'a' });
      const [first] = made.buckets;
      if (first === undefined) throw new RangeError('There are three buckets.');
      first.wrap = (bucket) => faulty(bucket, always(code));
      const vault = await made.reopen();
      const removed = await vault.remove(['a']);
      // Two chunks, and the manifest.
      expect(removed).toMatchObject({ objectsRemoved: 6, objectsOwed: 3 });
      const swept = await vault.sweep();
      expect(swept).toMatchObject({ objectsRemoved: 0, objectsOwed: 3, unreachable: [first.url] });
      first.wrap = (bucket) => bucket;
      expect(await vault.sweep()).toMatchObject({ objectsRemoved: 3, objectsOwed: 0, unreachable: [] });
      expect(await discrepancies(made.catalog, made.buckets)).toEqual([]);
    });
  }

  test('what is owed does not pass for a file that the catalog has forgotten', async () => {
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(100_000), { name: 'a' });
    const [first] = made.buckets;
    if (first === undefined) throw new RangeError('There are three buckets.');
    // It can be listed and read, but not written to.
    first.wrap = (bucket) =>
      faulty(bucket, ({ operation }) =>
        operation === 'remove' ? { kind: 'fail', when: 'before', error: storageError('denied') } : null,
      );
    await made.vault.remove(['a']);
    expect(await made.vault.sweep(AT_ONCE)).toMatchObject({ unknownFiles: [], strays: 0, objectsOwed: 3 });
  });

  test('dead puts stay known until every bucket has been looked at', async () => {
    await using made = await testVault();
    const start = await snapshotOf(made);
    await using copy = await start.copy();
    const dying = await copy.open({
      self: 'gone-1',
      around: async (step, proceed) => {
        if (step.call === 'recordChunks') throw storageError();
        await proceed();
      },
    });
    await expect(putBytes(dying.vault, randomBytes(1000), { name: 'a' })).rejects.toMatchObject({
      code: 'unavailable',
    });
    const [first] = copy.buckets;
    if (first === undefined) throw new RangeError('There are three buckets.');
    first.wrap = (bucket) => faulty(bucket, always('unavailable'));
    const { vault, catalog } = await copy.open();
    expect(await vault.sweep()).toMatchObject({ objectsRemoved: 2, unreachable: [first.url] });
    expect(await catalog.counts()).toMatchObject({ deadPuts: 1 });
    first.wrap = (bucket) => bucket;
    expect(await vault.sweep()).toMatchObject({ objectsRemoved: 1, unreachable: [] });
    expect(await discrepancies(catalog, copy.buckets)).toEqual([]);
  });

  test('a listing that breaks off removes nothing on that account', async () => {
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(200_000), { name: 'a' });
    const before = made.objects();
    for (const bucket of made.buckets) {
      bucket.wrap = (plain) =>
        faulty(plain, ({ operation }) =>
          operation === 'list' ? { kind: 'cut', after: 1, error: storageError() } : null,
        );
    }
    expect(await made.vault.sweep(AT_ONCE)).toMatchObject({ objectsRemoved: 0, strays: 0 });
    expect(made.objects()).toEqual(before);
  });
});
