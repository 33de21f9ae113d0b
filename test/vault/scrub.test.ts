/** A bucket that is checked without any key: whatever has changed in it is found by the objects' own checksums. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { memoryBucket } from '../support/memory-bucket.ts';
import { scrubBucket } from '../../src/vault/verify/scrub.ts';
import type { ScrubResult } from '../../src/vault/verify/scrub.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { CHUNK_SIZE, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';
import { present } from './scene.ts';

const random = seededRandom(31);
let made: TestVault;
let objects: ReadonlyMap<string, Uint8Array>;

beforeAll(async () => {
  made = await testVault();
  const { vault, buckets } = made;
  await putBytes(vault, random.bytes(2 * CHUNK_SIZE), { name: 'file' });
  await putBytes(vault, random.bytes(20_000), { name: 'gone' });
  await vault.remove(['gone']);
  // A put that runs keeps its marker, and a sweep that waits for it its list.
  await vault.sweep({ ignoreGrace: true, waitMs: 0 });
  objects = new Map(present(buckets[0]).storage);
});
afterAll(async () => {
  await made[Symbol.asyncDispose]();
});

function scrub(changed: Map<string, Uint8Array>, label = 'memory:1'): Promise<ScrubResult> {
  return scrubBucket(memoryBucket(label, changed));
}

/** One object of each kind, by the folder it is in. */
function oneOfEach(): Map<string, string> {
  return new Map([...objects.keys()].map((name) => [present(name.split('/')[0]), name]));
}

describe('Scrub', () => {
  test('finds nothing wrong with what is whole, and knows every kind of object', async () => {
    const kinds = ['chunks', 'deleted', 'keyring', 'manifests', 'puts', 'sweep', 'vault.json'];
    expect([...oneOfEach().keys()].toSorted()).toEqual(kinds);
    const bytes = [...objects.values()].reduce((sum, { length }) => sum + length, 0);
    const marker = { vaultId: made.vault.id, bucketId: present(made.vault.buckets[0]).id };
    expect(await scrub(new Map(objects))).toEqual({
      objects: objects.size,
      bytes,
      problems: [],
      tooNew: 0,
      foreignObjects: 0,
      ...marker,
    });
  });

  test('finds every object that is cut, that has another’s bytes, or has a flipped bit', async () => {
    for (const [kind, name] of oneOfEach()) {
      const bytes = present(objects.get(name));
      const other =
        [...objects].find(([id]) => id.startsWith(kind) && id !== name)?.[1] ?? new Uint8Array(40);
      const flips = ['chunks', 'manifests'].includes(kind) ? [0, 5, 9, 20, 30, bytes.length - 1] : [0];
      const changes = [bytes.slice(0, -1), new Uint8Array([...bytes, 0]), new Uint8Array(0), other];
      for (const at of flips) {
        const copy = Uint8Array.from(bytes);
        copy[at] = (copy[at] ?? 0) ^ 0x80;
        changes.push(copy);
      }
      for (const [i, change] of changes.entries()) {
        // A marker's length says nothing, as long as it is one that a marker can have.
        if (kind === 'puts' && (i === 0 || i === 1)) continue;
        const result = await scrub(new Map(objects).set(name, change));
        const found = result.problems.map((problem) => problem.name);
        expect({ kind, i, found }).toEqual({ kind, i, found: [name] });
      }
    }
  });

  test('leaves objects alone that no vault has, and counts them', async () => {
    const changed = new Map(objects);
    for (const name of ['readme.txt', 'chunks/x', 'keyring/1', 'shares/a'])
      changed.set(name, new Uint8Array(3));
    expect(await scrub(changed)).toMatchObject({ problems: [], foreignObjects: 4, objects: objects.size });
  });

  test('calls what is of a newer version too new, and not damaged', async () => {
    const changed = new Map(objects);
    for (const [kind, name] of oneOfEach()) {
      if (kind !== 'chunks' && kind !== 'puts') continue;
      const bytes = Uint8Array.from(present(objects.get(name)));
      bytes[3] = '3'.charCodeAt(0);
      changed.set(name, bytes);
    }
    expect(await scrub(changed)).toMatchObject({ problems: [], tooNew: 2 });
  });

  test('says so if the marker is missing, and if there is no vault at all', async () => {
    const changed = new Map(objects);
    changed.delete('vault.json');
    const result = await scrub(changed);
    expect(result.problems).toMatchObject([
      { name: 'vault.json', message: expect.stringContaining('mounted') },
    ]);
    expect(result).toMatchObject({ vaultId: null, bucketId: null });
    await expect(scrub(new Map())).rejects.toMatchObject({ code: 'bucket-missing' });
  });

  test('notices objects of another vault', async () => {
    await using other = await testVault({ buckets: 1 });
    await putBytes(other.vault, random.bytes(100), { name: 'theirs' });
    await other.vault.remove(['theirs']);
    const changed = new Map(objects);
    for (const [name, bytes] of present(other.buckets[0]).storage) {
      if (name.startsWith('deleted/')) changed.set(name, bytes);
    }
    const { problems } = await scrub(changed);
    expect(problems).toMatchObject([{ message: expect.stringContaining('another vault') }]);
  });

  test('reads as large a part as it is told', async () => {
    const bucket = memoryBucket('memory:1', new Map(objects));
    const none = await scrubBucket(bucket, { sample: 0 });
    expect(none).toMatchObject({ objects: 1, vaultId: made.vault.id });
    let turn = 0;
    const half = await scrubBucket(bucket, { sample: 0.5, random: () => (turn++ % 2 === 0 ? 0.1 : 0.9) });
    expect(half.objects).toBe(1 + Math.ceil((objects.size - 1) / 2));
  });

  test('stops when it is told to', async () => {
    const bucket = memoryBucket('memory:1', new Map(objects));
    await expect(scrubBucket(bucket, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'interrupted',
    });
  });
});
