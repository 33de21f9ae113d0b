import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Bucket } from '../../src/buckets/bucket.ts';
import type { Catalog, ChunkRow } from '../../src/catalog/catalog.ts';
import type { VerifyOptions, VerifyResult } from '../../src/vault/vault.ts';
import { verifyVault } from '../../src/vault/verify/verify.ts';
import { changeCatalog, literal } from '../support/catalog-place.ts';
import { always, faulty, storageError } from '../support/faulty-bucket.ts';
import { all, CHUNK_SIZE, getBytes, putBytes } from './harness.ts';
import { flip, forge, present, rowsOf, shardOf, stage } from './scene.ts';
import type { Scene, SceneHandle, Stage } from './scene.ts';

const BIG = randomBytes(3 * CHUNK_SIZE + 500);
const SMALL = randomBytes(300);
const LISTING: VerifyOptions = { depth: 'listing' };
const DATA: VerifyOptions = { depth: 'data' };
const DEPTHS = [LISTING, DATA] as const;

let ready: Stage;

beforeAll(async () => {
  ready = await stage({}, async ({ vault }) => {
    await putBytes(vault, BIG, { name: 'big' });
    await putBytes(vault, SMALL, { name: 'small' });
  });
});

afterAll(async () => {
  await ready[Symbol.asyncDispose]();
});

/** A vault of three buckets, 2+1, with a file of four chunks and a file of one. */
async function begin(): Promise<AsyncDisposable & { scene: Scene; handle: SceneHandle }> {
  const scene = await ready.scene();
  return { scene, handle: await scene.open(), [Symbol.asyncDispose]: () => scene[Symbol.asyncDispose]() };
}

/** The only chunk of the file `small`. */
async function smallChunk({ vault, catalog }: SceneHandle) {
  const { placement } = await vault.inspect('small');
  const id = present(placement[0]).chunkId;
  return present((await catalog.locateChunks([id])).get(id));
}

function affectedOf(result: VerifyResult): Record<string, string> {
  return Object.fromEntries(result.affected.map(({ name, condition }) => [name ?? '', condition]));
}

/** The bucket, with its listing of some prefix changed. */
function listing(bucket: Bucket, change: (names: string[], prefix: string) => Promise<string[]>): Bucket {
  return {
    ...bucket,
    async *list(prefix, call) {
      const entries = new Map<string, number>();
      for await (const { name, size } of bucket.list(prefix, call)) entries.set(name, size);
      for (const name of await change([...entries.keys()], prefix)) {
        yield { name, size: entries.get(name) ?? 0 };
      }
    },
  };
}

/** The catalog, whose listing of chunks shows what has come meanwhile. */
function rowByRow(catalog: Catalog): Catalog {
  async function* listChunks(): AsyncGenerator<ChunkRow> {
    for (let after = ''; ;) {
      const [next] = await all(catalog.listChunks({ after }));
      if (next === undefined) return;
      yield next;
      after = next.id;
    }
  }
  return new Proxy(catalog, {
    get: (target, key): unknown => (key === 'listChunks' ? listChunks : Reflect.get(target, key)),
  });
}

describe.each(DEPTHS)('By $depth, verify', (options) => {
  test('finds nothing wrong with what is whole', async () => {
    await using begun = await begin();
    const { handle } = begun;
    expect(await handle.vault.verify(options)).toMatchObject({
      outcome: 'whole',
      files: { whole: 2, unknown: 0, degraded: 0, lost: 0 },
      chunks: { whole: 5 },
      affected: [],
      buckets: [{ error: null, shards: 5 }, { shards: 5 }, { shards: 5 }],
    });
  });

  test('names the file, the bucket and what is missing there', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { name, bucket } = shardOf(scene, await smallChunk(handle), 0);
    bucket.storage.delete(name);
    const result = await handle.vault.verify(options);
    expect(result).toMatchObject({ outcome: 'degraded', files: { whole: 1, degraded: 1 } });
    expect(result.affected).toMatchObject([
      {
        name: 'small',
        condition: 'degraded',
        problems: [{ what: 'shards', problem: 'missing', bucket: bucket.url }],
      },
    ]);
    expect(result.buckets.find(({ url }) => url === bucket.url)).toMatchObject({ shardsMissing: 1 });
  });

  test('finds a shard that has been cut', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { name, bucket, bytes } = shardOf(scene, await smallChunk(handle), 1);
    bucket.storage.set(name, bytes.slice(0, -1));
    const result = await handle.vault.verify(options);
    expect(affectedOf(result)).toEqual({ small: 'degraded' });
    expect(result.buckets.find(({ url }) => url === bucket.url)).toMatchObject({ shardsDamaged: 1 });
  });

  test('calls a file lost when more than m of a chunk’s shards are missing, and no other file', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await smallChunk(handle);
    for (const index of [0, 2]) {
      const { name, bucket } = shardOf(scene, row, index);
      bucket.storage.delete(name);
    }
    const result = await handle.vault.verify(options);
    expect(result).toMatchObject({ outcome: 'lost', files: { whole: 1, lost: 1 } });
    expect(affectedOf(result)).toEqual({ small: 'lost' });
    // Still so when the catalog has stopped believing in the shards.
    expect(affectedOf(await handle.vault.verify(options))).toEqual({ small: 'lost' });
  });

  test('calls a bucket that is down unknown, never missing, and records nothing', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const before = await rowsOf(handle.catalog);
    scene.bucket(1).wrap = (bucket) => faulty(bucket, always('unavailable'));
    const warnings: string[] = [];
    const result = await handle.vault.verify({
      ...options,
      onWarning: ({ bucket }) => warnings.push(bucket ?? ''),
    });
    expect(result).toMatchObject({
      outcome: 'degraded',
      files: { whole: 0, unknown: 2, degraded: 0, lost: 0 },
    });
    expect(result.buckets[1]).toMatchObject({ shardsMissing: 0, shardsDamaged: 0 });
    expect(result.buckets[1]?.error).toContain('memory:2');
    expect(warnings).toEqual(['memory:2']);
    expect(await rowsOf(handle.catalog)).toEqual(before);
  });

  test('calls nothing lost that a bucket which is down may give back', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await smallChunk(handle);
    const { name, bucket } = shardOf(scene, row, 0);
    bucket.storage.delete(name);
    shardOf(scene, row, 1).bucket.wrap = (other) => faulty(other, always('unavailable'));
    const result = await handle.vault.verify(options);
    expect(affectedOf(result)).toEqual({ big: 'unknown', small: 'degraded' });
  });

  test('says that storage is unavailable if no bucket can be asked', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    for (const bucket of scene.buckets) bucket.wrap = (inner) => faulty(inner, always('unavailable'));
    await expect(handle.vault.verify(options)).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('takes an empty place for an unmounted disk and not for a loss', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const before = await rowsOf(handle.catalog);
    scene.bucket(0).storage.clear();
    const result = await handle.vault.verify(options);
    expect(result).toMatchObject({ files: { unknown: 2, lost: 0, degraded: 0 } });
    expect(result.buckets[0]?.error).toMatch(/mounted/);
    expect(await rowsOf(handle.catalog)).toEqual(before);
  });

  test('believes no loss of a bucket whose marker goes while it is looked at', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const before = await rowsOf(handle.catalog);
    const bucket = scene.bucket(2);
    let asked = false;
    bucket.wrap = (inner) => ({
      ...inner,
      get: (...args) => {
        // The disk goes after the marker has been seen.
        if (args[0] === 'vault.json' && !asked) {
          asked = true;
          return inner.get(...args).finally(() => bucket.storage.clear());
        }
        return inner.get(...args);
      },
    });
    const result = await handle.vault.verify(options);
    expect(result.files).toMatchObject({ lost: 0 });
    expect(await rowsOf(handle.catalog)).toEqual(before);
  });

  test('records what is lost, so that a put of the same content stores it anew', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await smallChunk(handle);
    const { name, bucket } = shardOf(scene, row, 0);
    bucket.storage.delete(name);
    await handle.vault.verify(options);
    expect((await smallChunk(handle)).shards).toEqual([null, row.shards[1], row.shards[2]]);
    await putBytes(handle.vault, SMALL, { name: 'the same again' });
    expect(await handle.vault.verify(DATA)).toMatchObject({ outcome: 'whole' });
  });

  test('makes what is lost beyond repair heal, for all files that share it, when it is put again', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    await putBytes(handle.vault, SMALL, { name: 'twin' });
    const row = await smallChunk(handle);
    for (const index of [0, 1]) {
      const { name, bucket, bytes } = shardOf(scene, row, index);
      bucket.storage.set(name, bytes.slice(5));
    }
    expect(affectedOf(await handle.vault.verify(options))).toEqual({ small: 'lost', twin: 'lost' });
    await expect(getBytes(handle.vault, 'small')).rejects.toMatchObject({ code: 'damaged' });
    await putBytes(handle.vault, SMALL, { name: 'third' });
    for (const name of ['small', 'twin', 'third']) {
      expect(await getBytes(handle.vault, name)).toEqual(SMALL);
    }
    expect(await handle.vault.verify(DATA)).toMatchObject({ outcome: 'whole' });
  });

  test('is not deceived by a put that ends while it looks', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const other = await scene.open();
    let put = false;
    for (const bucket of scene.buckets) {
      bucket.wrap = (inner) =>
        listing(inner, async (names) => {
          // Listed before the put, given after it.
          if (!put) {
            put = true;
            await putBytes(other.vault, randomBytes(8 * CHUNK_SIZE), { name: 'new' });
          }
          return names;
        });
    }
    const session = { ...handle.session, catalog: rowByRow(handle.catalog) };
    const result = await verifyVault(session, options);
    expect(result).toMatchObject({ outcome: 'whole', files: { whole: 3 } });
    const rows = await rowsOf(handle.catalog);
    expect(rows).toHaveLength(13);
    expect(rows.flatMap(({ shards }) => shards)).not.toContain(null);
  });

  test('is not deceived by a removal that ends while it looks', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const other = await scene.open();
    let removed = false;
    scene.bucket(0).wrap = (inner) => ({
      ...inner,
      get: async (...args) => {
        if (!removed && args[0] === 'vault.json') {
          const marker = await inner.get(...args);
          removed = true;
          await other.vault.remove(['small']);
          return marker;
        }
        return inner.get(...args);
      },
    });
    const result = await handle.vault.verify(options);
    expect(result).toMatchObject({ outcome: 'whole', files: { whole: 1 } });
    expect((await handle.catalog.counts()).garbage).toBe(0);
  });

  test('looks again before it believes a listing that leaves things out', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    scene.bucket(0).wrap = (inner) =>
      listing(inner, (names) => Promise.resolve(names.filter((name) => !name.startsWith('chunks/'))));
    expect(await handle.vault.verify(options)).toMatchObject({ outcome: 'whole' });
  });

  test('calls a listing that ends in an error an outage', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    scene.bucket(0).wrap = (inner) =>
      faulty(inner, ({ operation }) =>
        operation === 'list' ? { kind: 'cut', after: 2, error: storageError('unavailable') } : null,
      );
    const result = await handle.vault.verify(options);
    expect(result.files).toMatchObject({ degraded: 0, lost: 0 });
    expect(result.buckets[0]?.error).not.toBeNull();
  });

  test('wants a manifest in m + 1 buckets, and not in all', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { hash } = await handle.vault.get('small');
    const name = `manifests/${hash}`;
    scene.bucket(0).storage.delete(name);
    expect(await handle.vault.verify(options)).toMatchObject({ outcome: 'whole' });
    scene.bucket(1).storage.delete(name);
    const degraded = await handle.vault.verify(options);
    expect(affectedOf(degraded)).toEqual({ small: 'degraded' });
    expect(degraded.affected[0]?.problems).toContainEqual({
      what: 'manifest',
      problem: 'missing',
      bucket: 'memory:1',
    });
    scene.bucket(2).storage.delete(name);
    expect(affectedOf(await handle.vault.verify(options))).toEqual({ small: 'lost' });
  });

  test('finds a manifest that has been cut', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { hash } = await handle.vault.get('small');
    const name = `manifests/${hash}`;
    scene.bucket(0).storage.set(name, present(scene.bucket(0).storage.get(name)).slice(1));
    const result = await handle.vault.verify(options);
    expect(affectedOf(result)).toEqual({ small: 'degraded' });
    expect(result.buckets[0]).toMatchObject({ manifestsDamaged: 1 });
  });

  test('wants every keyslot in every bucket, as it is in the others', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const name = present([...scene.bucket(0).storage.keys()].find((key) => key.startsWith('keyslots/')));
    scene.bucket(0).storage.delete(name);
    flip(scene.bucket(1), name, -20);
    const result = await handle.vault.verify(options);
    expect(result).toMatchObject({ outcome: 'degraded', files: { whole: 2 } });
    expect(result.buckets.map(({ keyslotsWrong }) => keyslotsWrong)).toEqual([1, 1, 0]);
  });

  test('looks at the given files alone', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { name, bucket } = shardOf(scene, await smallChunk(handle), 0);
    bucket.storage.delete(name);
    const result = await handle.vault.verify({ ...options, references: ['big'] });
    expect(result).toMatchObject({ outcome: 'whole', files: { whole: 1 }, chunks: { whole: 4 } });
    const { hash } = await handle.vault.get('small');
    const both = await handle.vault.verify({ ...options, references: [hash, 'small'] });
    expect(both).toMatchObject({ outcome: 'degraded', files: { whole: 0, degraded: 1 } });
    await expect(handle.vault.verify({ ...options, references: ['none'] })).rejects.toMatchObject({
      code: 'file-not-found',
    });
  });

  test('stops when it is told to', async () => {
    await using begun = await begin();
    const { handle } = begun;
    const signal = AbortSignal.abort();
    await expect(handle.vault.verify({ ...options, signal })).rejects.toMatchObject({ code: 'interrupted' });
  });

  test('heals a row of the catalog that has a wrong size', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await smallChunk(handle);
    await handle.catalog.replaceChunk(row, { ...row, sealedSize: row.sealedSize + 100 });
    const result = await handle.vault.verify(options);
    expect(affectedOf(result)).toEqual({ small: 'degraded' });
    expect(await smallChunk(handle)).toEqual(row);
    expect(shardOf(scene, row, 0).bytes.length).toBeGreaterThan(0);
    expect(await handle.vault.verify(DATA)).toMatchObject({ outcome: 'whole' });
  });

  test('calls a file degraded, not lost, whose rows point elsewhere than its shards lie', async () => {
    await using begun = await begin();
    const { handle } = begun;
    const row = await smallChunk(handle);
    const shards = row.shards.map((place) => ({ ...present(place), generation: '0123456789abcdef' }));
    await handle.catalog.replaceChunk(row, { ...row, shards });
    expect(affectedOf(await handle.vault.verify(options))).toEqual({ small: 'degraded' });
    expect(await getBytes(handle.vault, 'small')).toEqual(SMALL);
  });
});

describe('By listing, verify', () => {
  test('downloads no shard and no manifest', async () => {
    await using begun = await begin();
    const { handle } = begun;
    await handle.vault.verify(LISTING);
    const gets = handle.steps.log.filter(({ call }) => call === 'get').map(({ name }) => name.split('/')[0]);
    expect(new Set(gets)).toEqual(new Set(['vault.json', 'keyslots']));
    const lists = handle.steps.log.filter(({ call }) => call === 'list');
    expect(lists).toHaveLength(2 * 3);
  });

  test('goes through more chunks than it looks at together', async () => {
    await using many = await stage({ redundancy: { k: 1, m: 1 } }, async ({ vault }) => {
      await putBytes(vault, randomBytes(620 * CHUNK_SIZE), { name: 'many' });
    });
    await using scene = await many.scene();
    const { vault, catalog } = await scene.open();
    const rows = await rowsOf(catalog);
    for (const row of [rows[0], rows[499], rows[500], rows.at(-1)]) {
      const { name, bucket } = shardOf(scene, present(row), 1);
      bucket.storage.delete(name);
    }
    const result = await vault.verify({ ...LISTING, references: ['many'] });
    expect(result.chunks).toEqual({ whole: 616, unknown: 0, degraded: 4, lost: 0 });
    expect((await vault.verify(LISTING)).chunks).toEqual({ whole: 616, unknown: 0, degraded: 4, lost: 0 });
  });
});

describe('By data, verify', () => {
  test('finds a flipped bit anywhere in a shard', async () => {
    for (const at of [0, 9, 20, 60, 100, -1]) {
      await using begun = await begin();
      const { scene, handle } = begun;
      const { name, bucket } = shardOf(scene, await smallChunk(handle), 2);
      flip(bucket, name, at);
      expect(affectedOf(await handle.vault.verify(DATA)), `byte ${at}`).toEqual({ small: 'degraded' });
    }
  });

  test('finds a forged shard with a right checksum, at any index', async () => {
    for (const index of [0, 1, 2]) {
      await using begun = await begin();
      const { scene, handle } = begun;
      const { name, bucket } = shardOf(scene, await smallChunk(handle), index);
      forge(bucket, name);
      const result = await handle.vault.verify(DATA);
      expect(affectedOf(result), `shard ${index}`).toEqual({ small: 'degraded' });
      expect(result.affected[0]?.problems).toEqual([
        { what: 'shards', problem: 'damaged', bucket: bucket.url },
      ]);
    }
  });

  test('finds another object in a shard’s place', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await smallChunk(handle);
    const { bytes } = shardOf(scene, row, 0);
    const { name, bucket } = shardOf(scene, row, 1);
    bucket.storage.set(name, bytes);
    expect(affectedOf(await handle.vault.verify(DATA))).toEqual({ small: 'degraded' });
  });

  test('calls a chunk lost whose shards have right checksums and do not fit together', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await smallChunk(handle);
    for (const index of [0, 1]) {
      const { name, bucket } = shardOf(scene, row, index);
      forge(bucket, name);
    }
    expect(affectedOf(await handle.vault.verify(DATA))).toEqual({ small: 'lost' });
  });

  test('finds a damaged manifest, and one in the place of another', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const small = `manifests/${(await handle.vault.get('small')).hash}`;
    const big = `manifests/${(await handle.vault.get('big')).hash}`;
    flip(scene.bucket(0), small, 100);
    scene.bucket(1).storage.set(big, present(scene.bucket(1).storage.get(small)));
    const result = await handle.vault.verify(DATA);
    expect(affectedOf(result)).toEqual({ big: 'degraded', small: 'degraded' });
    expect(result.buckets.map(({ manifestsDamaged }) => manifestsDamaged)).toEqual([1, 1, 0]);
  });

  test('reads as large a part as it is told, by chance, and looks for the rest in listings', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const rows = await rowsOf(handle.catalog);
    for (const row of rows) {
      const { name, bucket } = shardOf(scene, row, 0);
      flip(bucket, name, -1);
    }
    expect((await handle.vault.verify({ ...DATA, sample: 0 })).chunks).toMatchObject({ whole: 5 });
    const shardsRead = (): number =>
      handle.steps.log.filter(({ call, name }) => call === 'get' && name.startsWith('chunks/')).length;
    expect(shardsRead()).toBe(0);
    let turn = 0;
    const random = (): number => (turn++ % 2 === 0 ? 0.04 : 0.9);
    const result = await handle.vault.verify({ ...DATA, sample: 0.05, random });
    expect(result.chunks).toMatchObject({ whole: 2, degraded: 3 });
  });

  test('tells that the catalog lacks chunks of a file', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await smallChunk(handle);
    const id = literal(Buffer.from(row.id, 'hex'));
    await changeCatalog(
      scene.db,
      `delete from refs where chunk = ${id}; delete from chunks where id = ${id}`,
    );
    for (const options of [DATA, { ...LISTING, references: ['small'] }]) {
      const result = await handle.vault.verify(options);
      expect(affectedOf(result)).toEqual({ small: 'degraded' });
      expect(result.affected[0]?.problems).toEqual([{ what: 'shards', problem: 'unrecorded', bucket: null }]);
    }
  });
});
