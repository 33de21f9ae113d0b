import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Bucket } from '../../src/buckets/bucket.ts';
import type { ChunkRow } from '../../src/catalog/catalog.ts';
import { signKeyring } from '../../src/crypto/signing.ts';
import { VaultError } from '../../src/errors.ts';
import { keyringObjectName } from '../../src/format/keyring.ts';
import { parseShardObjectName, shardObjectName } from '../../src/format/shard.ts';
import type { VerifyResult } from '../../src/vault/verify/condition.ts';
import type { VerifyOptions } from '../../src/vault/verify/verify.ts';
import { changeCatalog, literal } from '../support/catalog-place.ts';
import { always, faulty, storageError } from '../support/faulty-bucket.ts';
import { CHUNK_SIZE, getBytes, putBytes, testVault } from './harness.ts';
import { flip, forge, present, rowsOf, shardOf, stage, wipe } from './scene.ts';
import type { Scene, SceneHandle, Stage } from './scene.ts';

const BIG = randomBytes(3 * CHUNK_SIZE + 500);
/** One chunk: what is smaller lies in its manifest. */
const SMALL = randomBytes(20_000);
const TINY = randomBytes(300);
const LISTING: VerifyOptions = { depth: 'listing' };
const DATA: VerifyOptions = { depth: 'data' };
const DEPTHS = [LISTING, DATA] as const;

let ready: Stage;

beforeAll(async () => {
  ready = await stage({}, async ({ vault }) => {
    await putBytes(vault, BIG, { name: 'big' });
    await putBytes(vault, SMALL, { name: 'small' });
    await putBytes(vault, TINY, { name: 'tiny' });
  });
});

afterAll(async () => {
  await ready[Symbol.asyncDispose]();
});

/** A vault of three buckets, 2+1, with a file of four chunks, a file of one and a file of none. */
async function begin(): Promise<AsyncDisposable & { scene: Scene; handle: SceneHandle }> {
  const scene = await ready.scene();
  return { scene, handle: await scene.open(), [Symbol.asyncDispose]: () => scene[Symbol.asyncDispose]() };
}

/** The only chunk of the file `small`. */
async function smallChunk({ vault, catalog }: SceneHandle): Promise<ChunkRow> {
  const { placement } = await vault.inspect('small');
  const id = present(placement[0]).chunkId;
  return present((await catalog.chunks.locate([id])).get(id));
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

describe.each(DEPTHS)('By $depth, verify', (options) => {
  test('finds nothing wrong with what is whole, and writes nothing', async () => {
    await using begun = await begin();
    const { handle } = begun;
    expect(await handle.vault.verify(options)).toMatchObject({
      outcome: 'whole',
      files: { whole: 3, unknown: 0, degraded: 0, lost: 0 },
      chunks: { whole: 5, unknown: 0, degraded: 0, lost: 0 },
      affected: [],
      buckets: [{ error: null, marker: 'right', shards: 5 }, { shards: 5 }, { shards: 5 }],
      filesUnlisted: 0,
      filesHidden: 0,
      filesShown: 0,
      notOpened: 0,
      tooNew: 0,
      foreignObjects: 0,
    });
    expect(handle.steps.log.filter(({ call }) => ['put', 'remove'].includes(call))).toEqual([]);
  });

  test('names the file, the bucket and what is missing there', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { name, bucket } = shardOf(scene, await smallChunk(handle), 0);
    bucket.storage.delete(name);
    const result = await handle.vault.verify(options);
    expect(result).toMatchObject({ outcome: 'degraded', files: { whole: 2, degraded: 1 } });
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
    expect(result.affected[0]?.problems).toEqual([
      { what: 'shards', problem: 'damaged', bucket: bucket.url },
    ]);
    expect(result.buckets.find(({ url }) => url === bucket.url)).toMatchObject({ shardsDamaged: 1 });
  });

  test('is not deceived by shards that are all cut alike', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await smallChunk(handle);
    for (const index of [0, 1, 2]) {
      const { name, bucket, bytes } = shardOf(scene, row, index);
      bucket.storage.set(name, bytes.slice(0, -5));
    }
    expect(affectedOf(await handle.vault.verify({ ...options, references: ['small'] }))).toEqual({
      small: 'lost',
    });
    await expect(getBytes(handle.vault, 'small')).rejects.toMatchObject({ code: 'damaged' });
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
    expect(result).toMatchObject({ outcome: 'lost', files: { whole: 2, lost: 1 }, chunks: { lost: 1 } });
    expect(affectedOf(result)).toEqual({ small: 'lost' });
    const { name, bucket } = shardOf(scene, row, 1);
    bucket.storage.delete(name);
    expect(affectedOf(await handle.vault.verify(options))).toEqual({ small: 'lost' });
  });

  test('is mended by putting the same content again, for all files that share it', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    await putBytes(handle.vault, SMALL, { name: 'twin' });
    const row = await smallChunk(handle);
    for (const index of [0, 1]) {
      const { name, bucket } = shardOf(scene, row, index);
      bucket.storage.delete(name);
    }
    expect(affectedOf(await handle.vault.verify(options))).toEqual({ small: 'lost', twin: 'lost' });
    await expect(getBytes(handle.vault, 'small')).rejects.toMatchObject({ code: 'damaged' });
    const other = await scene.open();
    await putBytes(other.vault, SMALL, { name: 'third' });
    for (const name of ['small', 'twin', 'third']) expect(await getBytes(handle.vault, name)).toEqual(SMALL);
    expect(await handle.vault.verify(DATA)).toMatchObject({ outcome: 'whole' });
  });

  test('calls a bucket that is down unknown, never missing', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    scene.bucket(1).wrap = (bucket) => faulty(bucket, always('unavailable'));
    const warnings: string[] = [];
    const result = await handle.vault.verify({
      ...options,
      onWarning: ({ bucket }) => warnings.push(bucket ?? ''),
    });
    // Two copies of the tiny file's manifest are as many as it needs.
    expect(result).toMatchObject({
      outcome: 'degraded',
      files: { whole: 1, unknown: 2, degraded: 0, lost: 0 },
      chunks: { unknown: 5 },
    });
    expect(result.buckets[1]).toMatchObject({ shardsMissing: 0, shardsDamaged: 0, marker: 'unknown' });
    expect(result.buckets[1]?.error).toContain('memory:2');
    expect(warnings).toEqual(['memory:2']);
  });

  test.each(['denied', 'unavailable'] as const)('calls nothing damaged that is %s', async (code) => {
    await using begun = await begin();
    const { scene, handle } = begun;
    for (const bucket of scene.buckets) {
      bucket.wrap = (inner) =>
        faulty(inner, (call) =>
          call.operation === 'get' && /^(chunks|manifests)\//.test(call.name) ? always(code)(call) : null,
        );
    }
    const { files, buckets } = await handle.vault.verify(options);
    expect(files).toMatchObject({ degraded: 0, lost: 0 });
    expect(buckets.map(({ shardsDamaged, manifestsDamaged }) => [shardsDamaged, manifestsDamaged])).toEqual([
      [0, 0],
      [0, 0],
      [0, 0],
    ]);
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
    await expect(getBytes(handle.vault, 'small')).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('says that storage is unavailable if no bucket can be asked', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    for (const bucket of scene.buckets) bucket.wrap = (inner) => faulty(inner, always('unavailable'));
    await expect(handle.vault.verify(options)).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('says that storage is unavailable if no disk is mounted', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    for (const { storage } of scene.buckets) storage.clear();
    await expect(handle.vault.verify(options)).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('takes an empty place for an unmounted disk and not for a loss', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    scene.bucket(0).storage.clear();
    const result = await handle.vault.verify(options);
    expect(result).toMatchObject({ files: { unknown: 2, lost: 0, degraded: 0 } });
    expect(result.buckets[0]?.error).toMatch(/mounted/);
    expect(result.buckets[0]?.marker).toBe('missing');
  });

  test.each(['vault.json', 'deleted/', 'chunks/', 'manifests/'])(
    'believes no loss of a bucket whose disk goes when it has been asked for %s',
    async (last) => {
      await using begun = await begin();
      const { scene, handle } = begun;
      const bucket = scene.bucket(2);
      let gone = false;
      const goAfter = (name: string): void => {
        if (gone || !name.startsWith(last)) return;
        gone = true;
        bucket.storage.clear();
      };
      bucket.wrap = (inner) => ({
        ...inner,
        get: (...args) => inner.get(...args).finally(() => goAfter(args[0])),
        async *list(prefix, call) {
          const entries = await Array.fromAsync(inner.list(prefix, call));
          goAfter(prefix);
          yield* entries;
        },
      });
      const result = await handle.vault.verify(options);
      expect(gone).toBe(true);
      expect(result.files).toMatchObject({ lost: 0, degraded: 0 });
      expect(result.buckets[2]?.error).not.toBeNull();
    },
  );

  test('tells a bucket whose marker names another bucket', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    // One place under two URLs: it has the marker of one of them.
    const { storage } = scene.bucket(0);
    storage.clear();
    for (const [name, bytes] of scene.bucket(1).storage) storage.set(name, bytes);
    const result = await handle.vault.verify(options);
    expect(result).toMatchObject({ outcome: 'degraded', files: { lost: 0 } });
    expect(result.buckets.map(({ marker }) => marker)).toEqual(['wrong', 'right', 'right']);
    expect(result.buckets[0]?.error).toContain('another bucket of this vault');
  });

  test('is not deceived by a put that ends while it looks', async () => {
    for (const prefix of ['deleted/', 'chunks/', 'manifests/']) {
      await using begun = await begin();
      const { scene, handle } = begun;
      const other = await scene.open();
      let put: Promise<unknown> | null = null;
      for (const bucket of scene.buckets) {
        bucket.wrap = (inner) =>
          listing(inner, async (names, asked) => {
            // Listed before the put, given after it.
            if (asked !== prefix || put !== null) return names;
            put = putBytes(other.vault, randomBytes(8 * CHUNK_SIZE), { name: 'new' });
            await put;
            return names;
          });
      }
      expect(await handle.vault.verify(options)).toMatchObject({ outcome: 'whole', filesUnlisted: 0 });
      expect(put).not.toBeNull();
    }
  });

  test('is not deceived by a removal that ends while it looks', async () => {
    for (const prefix of ['deleted/', 'chunks/', 'manifests/']) {
      await using begun = await begin();
      const { scene, handle } = begun;
      const other = await scene.open();
      let removed = false;
      scene.bucket(0).wrap = (inner) =>
        listing(inner, async (names, asked) => {
          if (removed || asked !== prefix) return names;
          removed = true;
          await other.vault.remove(['small'], { graceMs: 0 });
          await other.vault.sweep({ ignoreGrace: true, waitMs: 0 });
          return names;
        });
      const result = await handle.vault.verify(options);
      expect(removed).toBe(true);
      expect(result, `while ${prefix} is listed`).toMatchObject({ outcome: 'whole', affected: [] });
    }
  });

  test('looks again before it believes a listing that left things out', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    let asked = 0;
    scene.bucket(0).wrap = (inner) =>
      listing(inner, (names, prefix) => {
        if (prefix.startsWith('chunks/')) asked += 1;
        return Promise.resolve(asked > 1 ? names : names.filter((name) => !name.startsWith('chunks/')));
      });
    expect(await handle.vault.verify(options)).toMatchObject({ outcome: 'whole' });
  });

  test('calls a listing that ends in an error an outage', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    scene.bucket(0).wrap = (inner) =>
      faulty(inner, ({ operation, name }) =>
        operation === 'list' && name !== 'keyring/'
          ? { kind: 'cut', after: 2, error: storageError('unavailable') }
          : null,
      );
    const result = await handle.vault.verify(options);
    expect(result.files).toMatchObject({ degraded: 0, lost: 0 });
    expect(result.buckets[0]?.error).not.toBeNull();
  });

  test('wants a manifest in m + 1 buckets, and not in all', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    for (const name of ['small', 'tiny']) {
      const { hash } = await handle.vault.get(name);
      const object = `manifests/${hash}`;
      scene.bucket(0).storage.delete(object);
      const whole = await handle.vault.verify({ ...options, references: [name] });
      expect(whole).toMatchObject({ outcome: 'whole', buckets: [{ manifestsMissing: 1 }, {}, {}] });
      scene.bucket(1).storage.delete(object);
      const degraded = await handle.vault.verify({ ...options, references: [name] });
      expect(affectedOf(degraded)).toEqual({ [name]: 'degraded' });
      expect(degraded.affected[0]?.problems).toContainEqual({
        what: 'manifest',
        problem: 'missing',
        bucket: 'memory:1',
      });
      scene.bucket(2).storage.delete(object);
      expect(affectedOf(await handle.vault.verify({ ...options, references: [name] }))).toEqual({
        [name]: 'lost',
      });
    }
    expect(await handle.vault.verify(options)).toMatchObject({
      outcome: 'lost',
      files: { whole: 1, lost: 2 },
    });
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

  test('wants the newest keyring in every bucket, and no other', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { keyring } = handle.session.keyring;
    const name = keyringObjectName(keyring.epoch);
    scene.bucket(0).storage.delete(name);
    flip(scene.bucket(1), name, -20);
    const result = await handle.vault.verify(options);
    expect(result).toMatchObject({ outcome: 'degraded', files: { whole: 3 } });
    expect(result.buckets.map(({ keyringsWrong }) => keyringsWrong)).toEqual([1, 1, 0]);
  });

  test('tells of a keyring that should have gone, and of one that is too old', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { keyring } = handle.session.keyring;
    const previous = '0'.repeat(64);
    const next = { ...keyring, epoch: keyring.epoch + 1, previous };
    const bytes = signKeyring(handle.session.keys, next);
    for (const i of [0, 1]) scene.bucket(i).storage.set(keyringObjectName(next.epoch), bytes);
    wipe(scene.bucket(1), keyringObjectName(keyring.epoch));
    const result = await handle.vault.verify(options);
    // The old one beside the new one; nothing; the old one, and the new one is missing.
    expect(result.buckets.map(({ keyringsWrong }) => keyringsWrong)).toEqual([1, 0, 2]);
    expect(result.outcome).toBe('degraded');
  });

  test('takes no keyring for wrong that was changed while it looked', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const other = await scene.open();
    let changed: Promise<unknown> | null = null;
    for (const bucket of scene.buckets)
      bucket.wrap = (inner) =>
        listing(inner, async (names, asked) => {
          if (asked === 'manifests/') await (changed ??= other.vault.changeDefaults({ compression: 5 }));
          return names;
        });
    const result = await handle.vault.verify(options);
    expect(changed).not.toBeNull();
    expect(result.buckets.map(({ keyringsWrong }) => keyringsWrong)).toEqual([0, 0, 0]);
    expect(result.outcome).toBe('whole');
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

  test('does not care what the catalog says of chunks', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    await changeCatalog(scene.db, 'update chunks set sealed_size = sealed_size + 100, k = 1, m = 2');
    expect(await handle.vault.verify(options)).toMatchObject({ outcome: 'whole', chunks: { whole: 5 } });
    await changeCatalog(scene.db, 'delete from chunks');
    expect(await handle.vault.verify(options)).toMatchObject({ outcome: 'whole', chunks: { whole: 5 } });
    // Which bucket lacks a shard is plain where each should have one.
    const name = [...scene.bucket(1).storage.keys()].find((key) => key.startsWith('chunks/'));
    scene.bucket(1).storage.delete(present(name));
    const result = await handle.vault.verify(options);
    expect(result.affected[0]?.problems).toEqual([
      { what: 'shards', problem: 'missing', bucket: 'memory:2' },
    ]);
  });

  test('takes no set of one bucket’s making for the redundancy that was asked for', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await smallChunk(handle);
    const { name, bucket, bytes } = shardOf(scene, row, 0);
    bucket.storage.delete(name);
    // A bucket that lies shows a shard that would be enough alone.
    const alone = { ...present(parseShardObjectName(name)), index: 0, k: 1, m: 0, sealing: '00000000' };
    const larger = new Uint8Array(bytes.length + 500);
    scene.bucket(2).storage.set(shardObjectName(alone), larger);
    const result = await handle.vault.verify(options);
    expect(affectedOf(result)).toEqual({ small: 'degraded' });
  });

  test('tells how many files it cannot open, and still finds what is missing of them', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const lock = { password: 'lock', cost: { memoryKib: 8192, passes: 1, lanes: 1 } };
    const { hash } = await putBytes(handle.vault, SMALL, { name: 'locked', lock });
    expect(await handle.vault.verify(options)).toMatchObject({ outcome: 'whole', notOpened: 1 });
    const [chunk] = (await handle.vault.inspect(hash)).placement;
    const row = present(
      (await handle.catalog.chunks.locate([present(chunk).chunkId])).get(present(chunk).chunkId),
    );
    const { name, bucket } = shardOf(scene, row, 0);
    bucket.storage.delete(name);
    expect(affectedOf(await handle.vault.verify(options))).toEqual({ locked: 'degraded' });
  });
});

describe('By listing, verify', () => {
  test('downloads no shard and no manifest', async () => {
    await using begun = await begin();
    const { handle } = begun;
    await handle.vault.verify(LISTING);
    const gets = handle.steps.log.filter(({ call }) => call === 'get').map(({ name }) => name.split('/')[0]);
    expect(new Set(gets)).toEqual(new Set(['vault.json', 'keyring']));
    const lists = handle.steps.log.filter(({ call, name }) => call === 'list' && /^[cm]/.test(name));
    expect(lists).toHaveLength(2 * 3);
  });

  test('goes through more chunks than it looks for one by one', async () => {
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
    const expected = { whole: 616, unknown: 0, degraded: 4, lost: 0 };
    expect((await vault.verify({ ...LISTING, references: ['many'] })).chunks).toEqual(expected);
    expect((await vault.verify(LISTING)).chunks).toEqual(expected);
    // More than those are looked for in another listing of everything.
    for (const { storage } of scene.buckets.slice(0, 2)) {
      for (const name of storage.keys()) if (name.startsWith('chunks/')) storage.delete(name);
    }
    const result = await vault.verify(LISTING);
    expect(result.outcome).toBe('lost');
    expect(result.chunks.whole).toBe(0);
    expect(result.chunks.lost).toBeGreaterThan(100);
    expect(result.chunks.degraded + result.chunks.lost).toBe(620);
  });
});

describe('By data, verify', () => {
  test('finds a flipped bit anywhere in a shard', async () => {
    for (const at of [0, 8, 9, 10, 11, 13, 20, 29, 40, 100, -1]) {
      await using begun = await begin();
      const { scene, handle } = begun;
      const { name, bucket } = shardOf(scene, await smallChunk(handle), 2);
      flip(bucket, name, at);
      const result = await handle.vault.verify(DATA);
      expect(affectedOf(result), `byte ${at}`).toEqual({ small: 'degraded' });
      expect(result.affected[0]?.problems, `byte ${at}`).toEqual([
        { what: 'shards', problem: 'damaged', bucket: bucket.url },
      ]);
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
    await expect(getBytes(handle.vault, 'small')).rejects.toMatchObject({ code: 'damaged' });
  });

  test('calls a shard of a newer version too new, and not damaged', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const row = await smallChunk(handle);
    for (const index of [0, 1, 2]) {
      const { name, bucket } = shardOf(scene, row, index);
      const bytes = Uint8Array.from(present(bucket.storage.get(name)));
      bytes[3] = '3'.charCodeAt(0);
      bucket.storage.set(name, bytes);
    }
    const result = await handle.vault.verify(DATA);
    expect(result).toMatchObject({ outcome: 'degraded', files: { lost: 0 } });
    expect(result.tooNew).toBeGreaterThan(0);
    expect(result.buckets.map(({ shardsDamaged }) => shardsDamaged)).toEqual([0, 0, 0]);
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

  test('finds what is wrong with the shards of a locked file, as far as they tell', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const lock = { password: 'lock', cost: { memoryKib: 8192, passes: 1, lanes: 1 } };
    const { hash } = await putBytes(handle.vault, SMALL, { name: 'locked', lock });
    const { chunkId } = present((await handle.vault.inspect(hash)).placement[0]);
    const row = present((await handle.catalog.chunks.locate([chunkId])).get(chunkId));
    const { name, bucket, bytes } = shardOf(scene, row, 0);
    flip(bucket, name, 100);
    const flipped = await handle.vault.verify(DATA);
    expect(flipped.affected).toMatchObject([
      { name: 'locked', condition: 'degraded', problems: [{ problem: 'damaged', bucket: bucket.url }] },
    ]);
    bucket.storage.set(name, bytes);
    forge(bucket, name);
    // Which of three that contradict each other is false, only who opens the lock can tell.
    const forgedResult = await handle.vault.verify(DATA);
    expect(forgedResult.affected).toMatchObject([
      { name: 'locked', condition: 'degraded', problems: [{ problem: 'damaged', bucket: null }] },
    ]);
  });

  test('reads as large a part as it is told, by chance, and looks for the rest in listings', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    for (const row of await rowsOf(handle.catalog)) {
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
    expect(result.chunks.degraded).toBeGreaterThan(0);
    expect(result.chunks.whole).toBeGreaterThan(0);
    expect(result.chunks.whole + result.chunks.degraded).toBe(5);
  });
});

describe('Verify compares the catalog with the buckets:', () => {
  test('files that it does not know are told, and it learns them', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { hash } = await handle.vault.get('small');
    await changeCatalog(scene.db, `delete from files where hash = ${literal(Buffer.from(hash, 'hex'))}`);
    const warnings: string[] = [];
    const result = await handle.vault.verify({
      ...LISTING,
      onWarning: ({ message }) => warnings.push(message),
    });
    // It is whole in the buckets, and has its record again.
    expect(result).toMatchObject({
      outcome: 'degraded',
      filesUnlisted: 1,
      files: { whole: 3, degraded: 0 },
      affected: [],
    });
    expect(warnings).toEqual([expect.stringContaining('did not know 1 of the files')]);
    expect(await handle.vault.verify(LISTING)).toMatchObject({ outcome: 'whole', filesUnlisted: 0 });
    expect(await getBytes(handle.vault, 'small')).toEqual(SMALL);
  });

  test('a file that it does not know stays one without a record if it cannot be given one', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { hash } = await handle.vault.get('small');
    await changeCatalog(scene.db, `delete from files where hash = ${literal(Buffer.from(hash, 'hex'))}`);
    const refused = new VaultError('denied', 'The test has it so.');
    Object.assign(handle.catalog, { requireWritable: () => Promise.reject(refused) });
    for (const _ of [1, 2]) {
      expect(await handle.vault.verify(LISTING)).toMatchObject({
        outcome: 'degraded',
        filesUnlisted: 1,
        affected: [{ hash, condition: 'degraded', problems: [{ what: 'record', problem: 'missing' }] }],
      });
    }
  });

  test('a hidden file that nobody has removed is told and shown, a removed one that is shown is hidden', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    await handle.vault.remove(['small']);
    await changeCatalog(scene.db, 'update files set hidden_at = case when hidden_at is null then 5 end');
    const result = await handle.vault.verify(LISTING);
    expect(result).toMatchObject({ outcome: 'degraded', filesHidden: 2, filesShown: 1 });
    expect(affectedOf(result)).toEqual({ big: 'degraded', tiny: 'degraded' });
    const names = (await Array.fromAsync(handle.vault.list())).map(({ name }) => name);
    expect(names.toSorted()).toEqual(['big', 'tiny']);
    expect(await handle.vault.verify(LISTING)).toMatchObject({ outcome: 'whole', files: { whole: 2 } });
  });

  test('nothing is believed about removals that a bucket which is down may know of', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    for (const i of [0, 1]) scene.bucket(i).wrap = (bucket) => faulty(bucket, always('unavailable'));
    await handle.vault.remove(['small']);
    for (const i of [0, 1]) scene.bucket(i).wrap = (bucket) => bucket;
    scene.bucket(2).wrap = (bucket) => faulty(bucket, always('unavailable'));
    const result = await handle.vault.verify(LISTING);
    expect(result).toMatchObject({ filesHidden: 0, filesUnlisted: 0 });
    await expect(handle.vault.get('small')).rejects.toMatchObject({ code: 'file-not-found' });
  });

  test('a file that no bucket has is lost', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    const { hash } = await handle.vault.get('tiny');
    for (const bucket of scene.buckets) wipe(bucket, `manifests/${hash}`);
    const result = await handle.vault.verify(LISTING);
    expect(result).toMatchObject({ outcome: 'lost', files: { whole: 2, lost: 1 } });
    expect(result.affected).toMatchObject([{ hash, name: 'tiny', condition: 'lost' }]);
    expect(result.affected[0]?.problems).toContainEqual({
      what: 'manifest',
      problem: 'missing',
      bucket: 'memory:1',
    });
  });

  test('a bucket that the catalog does not know any more is found by the keyring, and nothing in it is lost', async () => {
    await using begun = await begin();
    const { scene } = begun;
    await changeCatalog(scene.db, 'delete from buckets where number = 2');
    const handle = await scene.open();
    for (const row of await rowsOf(handle.catalog)) {
      const { bucket, name } = shardOf(scene, row, 0);
      if (bucket.url !== 'memory:2') bucket.storage.delete(name);
    }
    const result = await handle.vault.verify(LISTING);
    expect(result).toMatchObject({ outcome: 'degraded', files: { lost: 0 } });
  });

  test('objects of another vault are told, and change nothing', async () => {
    await using begun = await begin();
    const { scene, handle } = begun;
    await using other = await testVault({ buckets: 1 });
    await putBytes(other.vault, TINY, { name: 'theirs' });
    for (const [name, bytes] of present(other.buckets[0]).storage) {
      if (name.startsWith('manifests/')) scene.bucket(0).storage.set(name, bytes);
    }
    const result = await handle.vault.verify(LISTING);
    expect(result).toMatchObject({ foreignObjects: 1, files: { whole: 3 }, filesUnlisted: 0 });
  });

  test('a keyslot that can only store cannot verify', async () => {
    await using begun = await begin();
    const { session } = begun.handle;
    const { Vault } = await import('../../src/vault/vault.ts');
    const limited = new Vault({ ...session, manifests: null });
    await expect(limited.verify(LISTING)).rejects.toMatchObject({ code: 'denied' });
  });
});
