// What only a newer version can read is told apart from damage, and nobody can pass damage off as that to hold up a reader.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chunkNonce, chunkSecrets, sealChunk } from '../../src/crypto/chunk.ts';
import { encodeParity } from '../../src/crypto/erasure.ts';
import { CODEC_STORED, SEAL_OVERHEAD } from '../../src/format/chunk.ts';
import type { ChunkRef } from '../../src/format/manifest.ts';
import {
  finishShardObject,
  parseShardHeader,
  parseShardObjectName,
  SHARD_HEADER_SIZE,
} from '../../src/format/shard.ts';
import { manifestOpener } from '../../src/vault/files/manifests.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { CHUNK_SIZE, getBytes, putBytes } from './harness.ts';
import type { Scene, SceneHandle, Stage } from './scene.ts';
import { present, rowsOf, shardOf, stage } from './scene.ts';

const CONTENT = seededRandom(21).bytes(CHUNK_SIZE);
const DATA = { depth: 'data' } as const;
const UNKNOWN_CODEC = 2;

/** The only chunk of the file. */
async function chunkOf({ vault, session }: SceneHandle): Promise<ChunkRef> {
  const { hash } = await vault.get('file');
  const name = `manifests/${hash}`;
  const bytes = await session.buckets.all[0]?.open().then((bucket) => bucket.get(name, { maxSize: 100_000 }));
  return present(manifestOpener(session).open(present(bytes), hash).content?.table.refs[0]);
}

/** Seals the chunk as a version with another codec would, and puts such shards in place of some. */
async function storeNewer(scene: Scene, handle: SceneHandle, indices: readonly number[]): Promise<void> {
  const ref = await chunkOf(handle);
  const row = present((await rowsOf(handle.catalog))[0]);
  const { k, m } = row;
  const secrets = chunkSecrets(ref.tag);
  const payload = Buffer.alloc(row.sealedSize - SEAL_OVERHEAD);
  payload.writeUInt8(CODEC_STORED, payload.length - 5);
  payload.writeUInt32BE(ref.length, payload.length - 4);
  const nonce = chunkNonce(secrets, payload);
  payload.writeUInt8(UNKNOWN_CODEC, payload.length - 5);
  const objects = row.shards.map((_, index) => Buffer.from(shardOf(scene, row, index).bytes));
  const shards = objects.map((object) => object.subarray(SHARD_HEADER_SIZE));
  sealChunk(secrets, nonce, payload, shards.slice(0, k));
  encodeParity(k, m, shards);
  for (const index of indices) {
    const { bucket, name, bytes } = shardOf(scene, row, index);
    const object = present(objects[index]);
    finishShardObject(object, present(parseShardObjectName(name)).chunkId, parseShardHeader(bytes));
    bucket.storage.set(name, object);
  }
}

describe.each([
  { k: 1, m: 1 },
  { k: 2, m: 1 },
])('Of a chunk stored with $k+$m', (redundancy) => {
  let made: Stage;
  beforeAll(async () => {
    made = await stage({ redundancy, buckets: redundancy.k + redundancy.m }, async ({ vault }) => {
      await putBytes(vault, CONTENT, { name: 'file' });
    });
  });
  afterAll(() => made[Symbol.asyncDispose]());

  test('a bucket may show a sealing of an unknown codec: it is read from the others', async () => {
    for (let index = 0; index < redundancy.k + redundancy.m; index += 1) {
      await using scene = await made.scene();
      const handle = await scene.open();
      await storeNewer(scene, handle, [index]);
      expect(await getBytes(handle.vault, 'file')).toEqual(Buffer.from(CONTENT));
    }
  });

  test('an unknown codec asks for a newer version, and is not called damage', async () => {
    await using scene = await made.scene();
    const handle = await scene.open();
    await storeNewer(scene, handle, [0, 1, 2].slice(0, redundancy.k + redundancy.m));
    await expect(getBytes(handle.vault, 'file')).rejects.toMatchObject({ code: 'unsupported' });
    const found = await handle.vault.verify(DATA);
    expect(found).toMatchObject({ outcome: 'degraded', files: { lost: 0 } });
    expect(found.tooNew).toBeGreaterThan(0);
    const { filesLost, filesUnknown, shardsStored } = await handle.vault.repair(DATA);
    expect({ filesLost, shardsStored, unknown: filesUnknown.length }).toEqual({
      filesLost: [],
      shardsStored: 0,
      unknown: 1,
    });
  });

  test('shards of a newer format ask for a newer version', async () => {
    await using scene = await made.scene();
    const handle = await scene.open();
    for (const { storage } of scene.buckets) {
      for (const [name, bytes] of storage) {
        if (name.startsWith('chunks/')) storage.set(name, Buffer.from(bytes).fill('3', 3, 4));
      }
    }
    await expect(getBytes(handle.vault, 'file')).rejects.toMatchObject({ code: 'unsupported' });
  });
});
