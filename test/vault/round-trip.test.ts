import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseRedundancy } from '../../src/format/shard.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import { all, CHUNK_SIZE, getBytes, putBytes, testVault } from './harness.ts';

const SIZES = [0, 1, 255, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE, 5 * CHUNK_SIZE + 17];

describe('A file comes back as it was put', () => {
  for (const text of ['1+0', '1+1', '2+1', '3+2', '1+2', '4+0']) {
    test(`with redundancy ${text}, at every size around a chunk`, async () => {
      const redundancy = parseRedundancy(text) ?? { k: 1, m: 0 };
      await using made = await testVault({ buckets: redundancy.k + redundancy.m + 1, redundancy });
      // So little is done without threads, unless they run.
      if (redundancy.m === 2) made.session.workers.warm(1, 'seal', Infinity);
      for (const size of SIZES) {
        const bytes = randomBytes(size);
        const { hash } = await putBytes(made.vault, bytes, { name: `file of ${size}` });
        expect(await getBytes(made.vault, hash)).toEqual(bytes);
        expect(await getBytes(made.vault, `file of ${size}`)).toEqual(bytes);
      }
    });
  }

  test('whatever its name and its bytes', async () => {
    await using made = await testVault();
    const names = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 50 })
      .filter((name) => !name.includes('\0'));
    await fc.assert(
      fc.asyncProperty(names, fc.uint8Array({ maxLength: 3000 }), async (name, bytes) => {
        const { hash } = await putBytes(made.vault, bytes, { name });
        const file = await made.vault.get(hash);
        expect(file.name).toBe(name);
        expect(await getBytes(made.vault, name)).toEqual(Buffer.from(bytes));
      }),
      { numRuns: 60 },
    );
  });

  test('when its table outgrows the manifest and is stored as chunks', async () => {
    await using made = await testVault();
    // 1,821 chunks of 64 KiB have a table of more than 64 KiB; equal chunks keep the test small.
    const bytes = Buffer.alloc(1_900 * CHUNK_SIZE + 5, 7);
    bytes.set(randomBytes(CHUNK_SIZE), 100 * CHUNK_SIZE);
    const result = await putBytes(made.vault, bytes, { name: 'long' });
    expect(result.chunks).toBe(1_901);
    expect((await getBytes(made.vault, result.hash)).equals(bytes)).toBe(true);
    const again = await putBytes(made.vault, bytes, { name: 'long' });
    expect(again).toMatchObject({ unchanged: true, hash: result.hash, chunksStored: 0 });
  });
});

describe('Content that is there is not stored again', () => {
  test('the same content under the same name is the same file', async () => {
    await using made = await testVault();
    const bytes = randomBytes(200_000);
    const first = await putBytes(made.vault, bytes, { name: 'a' });
    await made.session.guard.end();
    const before = made.objects();
    const second = await putBytes(made.vault, bytes, { name: 'a' });
    await made.session.guard.end();
    expect(second).toMatchObject({ hash: first.hash, unchanged: true, chunksStored: 0, bytesStored: 0 });
    expect(made.objects()).toEqual(before);
    expect(await made.catalog.files.counts()).toEqual({ files: 1, hidden: 0 });
  });

  test('is stored again while too few buckets have its manifest', async () => {
    await using made = await testVault({ buckets: 2, redundancy: { k: 1, m: 1 } });
    const [one, two] = made.buckets;
    if (one === undefined || two === undefined) throw new RangeError('There are two.');
    const bytes = randomBytes(300);
    two.wrap = (plain) => faulty(plain, always('unavailable'));
    expect(await putBytes(made.vault, bytes, { name: 'a' })).toMatchObject({ degraded: true });
    two.wrap = (plain) => plain;
    const vault = await made.reopen();
    const { hash, degraded } = await putBytes(vault, bytes, { name: 'a' });
    expect(degraded).toBe(false);
    one.storage.clear();
    expect(await getBytes(vault, hash)).toEqual(bytes);
  });

  test('under another name only a manifest is stored', async () => {
    await using made = await testVault();
    const bytes = randomBytes(200_000);
    const first = await putBytes(made.vault, bytes, { name: 'a' });
    const before = made.objects('chunks/');
    const second = await putBytes(made.vault, bytes, { name: 'b' });
    expect(second.hash).not.toBe(first.hash);
    expect(second).toMatchObject({ unchanged: false, chunksStored: 0 });
    expect(made.objects('chunks/')).toEqual(before);
  });

  test('equal chunks of one file are stored once', async () => {
    await using made = await testVault();
    const result = await putBytes(made.vault, Buffer.alloc(20 * CHUNK_SIZE, 1), { name: 'zeros' });
    // Nineteen alike and the last, which is not padded either, since it is full.
    expect(result).toMatchObject({ chunks: 20, chunksStored: 1 });
    expect(made.objects('chunks/')).toHaveLength(3);
  });

  test('another content under the same name is a newer version', async () => {
    await using made = await testVault();
    const first = await putBytes(made.vault, randomBytes(10), { name: 'a' });
    const second = await putBytes(made.vault, Buffer.from('new'), { name: 'a' });
    expect(await getBytes(made.vault, 'a')).toEqual(Buffer.from('new'));
    expect((await all(made.vault.list())).map(({ hash }) => hash)).toEqual([second.hash]);
    expect((await all(made.vault.list({ all: true }))).map(({ hash }) => hash)).toEqual([
      second.hash,
      first.hash,
    ]);
  });
});

describe('Removing', () => {
  test('takes away every object that only this file used, and leaves the others readable', async () => {
    await using made = await testVault();
    const shared = randomBytes(4 * CHUNK_SIZE);
    const own = randomBytes(2 * CHUNK_SIZE);
    await putBytes(made.vault, Buffer.concat([shared, own]), { name: 'both' });
    await putBytes(made.vault, shared, { name: 'shared' });
    await made.session.guard.end();
    const stored = made.objects('chunks/');
    await made.vault.remove(['both'], { graceMs: 0 });
    // Nothing goes before a sweep.
    expect(made.objects('chunks/')).toEqual(stored);
    expect(await all(made.vault.list())).toHaveLength(1);
    await made.vault.sweep({ waitMs: 0 });
    expect(made.objects('chunks/')).toHaveLength(4 * 3);
    expect(await getBytes(made.vault, 'shared')).toEqual(shared);
    await made.vault.remove(['shared'], { graceMs: 0 });
    await made.vault.sweep({ waitMs: 0 });
    expect(made.objects('chunks/')).toEqual([]);
    expect(made.objects('manifests/')).toEqual([]);
    expect(await made.catalog.files.counts()).toEqual({ files: 0, hidden: 0 });
    expect(await Array.fromAsync(made.catalog.chunks.walk())).toEqual([]);
    await made.vault.sweep({ waitMs: 0 });
    expect(made.objects('deleted/')).toEqual([]);
  });

  test('can be undone within the grace, and not after it', async () => {
    await using made = await testVault();
    const bytes = randomBytes(3 * CHUNK_SIZE);
    const { hash } = await putBytes(made.vault, bytes, { name: 'a' });
    await made.vault.remove(['a']);
    await expect(made.vault.get('a')).rejects.toMatchObject({ code: 'file-not-found' });
    await made.vault.sweep({ waitMs: 0 });
    expect((await all(made.vault.list({ deleted: true }))).map((file) => file.hash)).toEqual([hash]);
    expect((await made.vault.undelete(['a'])).restored.map((file) => file.hash)).toEqual([hash]);
    expect(await getBytes(made.vault, 'a')).toEqual(bytes);
    await made.session.guard.end();
    await made.vault.sweep({ waitMs: 0 });
    expect(await getBytes(made.vault, 'a')).toEqual(bytes);
    await made.vault.remove(['a'], { graceMs: 0 });
    await made.vault.sweep({ waitMs: 0 });
    await expect(made.vault.undelete([hash])).rejects.toMatchObject({ code: 'file-not-found' });
  });

  test('an unknown name removes nothing at all', async () => {
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(10), { name: 'a' });
    await expect(made.vault.remove(['a', 'b'])).rejects.toMatchObject({ code: 'file-not-found' });
    expect(await all(made.vault.list())).toHaveLength(1);
  });
});
