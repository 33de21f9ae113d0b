import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { CHUNK_SIZE, getBytes, putBytes, snapshotOf, testVault } from './harness.ts';
import type { Handle, TestVault } from './harness.ts';

/** A process of its own, as a command is; its requests to all buckets, by what they are and what they are about. */
async function requestsOf(
  made: TestVault,
  command: (handle: Handle) => Promise<unknown>,
  mostLooks = 2,
): Promise<Readonly<Record<string, number>>> {
  await using copy = await (await snapshotOf(made)).copy();
  const handle = await copy.open();
  await command(handle);
  await handle.session.guard.end();
  const counts: Record<string, number> = {};
  const looks = new Map<string, number>();
  for (const { where, call, name } of handle.steps.log) {
    if (where === 'catalog') continue;
    // Each listing begins at a chunk that is asked for: how many there are is left to chance.
    if (call === 'list' && name === 'chunks/') looks.set(where, (looks.get(where) ?? 0) + 1);
    const kind = `${call} ${/^[a-z]+(\/|\.json)/.exec(name)?.[0] ?? name}`;
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  for (const [where, count] of looks)
    expect({ where, few: count <= mostLooks }).toEqual({ where, few: true });
  if (looks.size > 0) counts['list chunks/'] = looks.size;
  return counts;
}

const BUCKETS = 3;
/** What a command asks of each bucket before it works under a marker: is it the one, is there another keyring, and the marker and lists. */
const UNDER_MARKER = {
  'get vault.json': BUCKETS,
  // Before the work, and again before the marker is relied on: a bucket may be leaving the vault.
  'list keyring/': 2 * BUCKETS,
  'put puts/': BUCKETS,
  'list sweep/': BUCKETS,
  'remove puts/': BUCKETS,
};

async function severalPuts({ vault }: Handle): Promise<void> {
  for (const name of ['a', 'b', 'c']) await putBytes(vault, randomBytes(CHUNK_SIZE), { name });
  await Promise.all(['d', 'e'].map((name) => putBytes(vault, randomBytes(CHUNK_SIZE), { name })));
}

describe('No request is made that is not needed:', () => {
  for (const chunks of [1, 7, 40]) {
    test(`a put of ${chunks} new chunks looks once and sends each shard and each manifest once`, async () => {
      await using made = await testVault();
      const bytes = randomBytes(chunks * CHUNK_SIZE);
      expect(await requestsOf(made, ({ vault }) => putBytes(vault, bytes, { name: 'a' }))).toEqual({
        ...UNDER_MARKER,
        'list chunks/': BUCKETS,
        'put chunks/': chunks * 3,
        'put manifests/': BUCKETS,
      });
    });
  }

  test('a small put sends its manifest', async () => {
    await using made = await testVault();
    expect(await requestsOf(made, ({ vault }) => putBytes(vault, randomBytes(100), { name: 'a' }))).toEqual({
      'get vault.json': BUCKETS,
      // Whether they are still buckets of the vault.
      'list keyring/': BUCKETS,
      'put manifests/': BUCKETS,
    });
  });

  test('small puts at once share their looks at the keyring, and send a manifest each', async () => {
    await using made = await testVault();
    const files = 20;
    const counts = await requestsOf(made, ({ vault }) =>
      Promise.all(
        Array.from({ length: files }, (_, n) => putBytes(vault, randomBytes(100), { name: `${n}` })),
      ),
    );
    expect(counts['put manifests/']).toBe(files * BUCKETS);
    expect(counts['list keyring/']).toBeLessThan((files * BUCKETS) / 2);
  });

  test('a put of known content sends manifests alone, and one of an unchanged file nothing', async () => {
    await using made = await testVault();
    const bytes = randomBytes(5 * CHUNK_SIZE);
    await putBytes(made.vault, bytes, { name: 'a' });
    await made.session.guard.end();
    const look = { ...UNDER_MARKER, 'list chunks/': BUCKETS };
    expect(await requestsOf(made, ({ vault }) => putBytes(vault, bytes, { name: 'b' }))).toEqual({
      ...look,
      'put manifests/': BUCKETS,
    });
    // As many manifests are read as buckets may be lost, and one, to be sure that the file that is said to be there can be; and each
    // bucket is asked whether it is removed.
    expect(await requestsOf(made, ({ vault }) => putBytes(vault, bytes, { name: 'a' }))).toEqual({
      ...look,
      'get manifests/': 2,
      'get deleted/': BUCKETS,
    });
  });

  test('several puts share a marker, lists and look', async () => {
    await using made = await testVault();
    expect(await requestsOf(made, severalPuts)).toEqual({
      ...UNDER_MARKER,
      'list chunks/': BUCKETS,
      'put chunks/': 5 * 3,
      'put manifests/': 5 * BUCKETS,
    });
  });

  test('a get reads one manifest and k shards a chunk', async () => {
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(10 * CHUNK_SIZE), { name: 'a' });
    expect(await requestsOf(made, ({ vault }) => getBytes(vault, 'a'))).toEqual({
      'get manifests/': 1,
      'get chunks/': 10 * 2,
    });
  });

  test('a get of what the catalog has the wrong places of lists each bucket once', async () => {
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(10 * CHUNK_SIZE), { name: 'a' });
    const ids = await Array.fromAsync(made.catalog.chunks.walk());
    await made.catalog.chunks.forget(ids.map(({ id }) => id));
    expect(await requestsOf(made, ({ vault }) => getBytes(vault, 'a'))).toEqual({
      'get vault.json': BUCKETS,
      'list chunks/': BUCKETS,
      'get manifests/': 1,
      'get chunks/': 10 * 2,
    });
  });

  test('a removal asks for the record that is there and writes the new one', async () => {
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(10 * CHUNK_SIZE), { name: 'a' });
    expect(await requestsOf(made, ({ vault }) => vault.remove(['a']))).toEqual({
      'get vault.json': BUCKETS,
      'list keyring/': BUCKETS,
      'get deleted/': BUCKETS,
      'put deleted/': BUCKETS,
      // Whether it can be brought back.
      'get manifests/': 1,
    });
  });

  test('a sweep that finds nothing to do lists, and reads no manifest that the catalog knows', async () => {
    await using made = await testVault();
    for (let i = 0; i < 5; i += 1) await putBytes(made.vault, randomBytes(2 * CHUNK_SIZE), { name: `${i}` });
    await made.session.guard.end();
    expect(await requestsOf(made, ({ vault }) => vault.sweep({ waitMs: 0 }))).toEqual({
      'get vault.json': BUCKETS,
      // What time it is there, before anything counts as old.
      'put clock': BUCKETS,
      'remove clock': BUCKETS,
      'list keyring/': BUCKETS,
      'list sweep/': 3 * BUCKETS,
      'list deleted/': BUCKETS,
      'list manifests/': BUCKETS,
      'list chunks/': BUCKETS,
      // Links that have expired.
      'list shares/': BUCKETS,
      'list puts/': BUCKETS,
    });
  });

  test('a sweep lists manifests and chunks twice at most, however many objects go', async () => {
    await using made = await testVault();
    for (const name of ['a', 'b']) await putBytes(made.vault, randomBytes(20 * CHUNK_SIZE), { name });
    await made.vault.remove(['a'], { graceMs: 0 });
    await made.session.guard.end();
    const requests = await requestsOf(made, ({ vault }) => vault.sweep({ waitMs: 0 }));
    expect(requests).toMatchObject({
      'list manifests/': 2 * BUCKETS,
      'list chunks/': BUCKETS,
      // Its list, and that it is done.
      'put sweep/': 2 * BUCKETS,
      // Nobody has set the clock since.
      'put clock': BUCKETS,
    });
    expect(requests).not.toHaveProperty('get manifests/');
    expect(requests).not.toHaveProperty('get chunks/');
  });

  test('a listing of files asks no bucket', async () => {
    await using made = await testVault();
    expect(await requestsOf(made, ({ vault }) => Array.fromAsync(vault.list()))).toEqual({});
  });
});
