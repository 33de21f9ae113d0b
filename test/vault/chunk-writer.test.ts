/** Single chunks on their way: the memory that each takes, and what the catalog is told of those that are there. */
import { describe, expect, test, vi } from 'vitest';
import { bodyHash, chunkTag } from '../../src/crypto/chunk.ts';
import { encodeRefs, TOP_ENTRIES } from '../../src/format/manifest.ts';
import type { ChunkRef } from '../../src/format/manifest.ts';
import { allocateChunkMemory, bodyOf } from '../../src/vault/chunks/chunk-memory.ts';
import type { ChunkMemory } from '../../src/vault/chunks/chunk-memory.ts';
import { ChunkReader } from '../../src/vault/chunks/chunk-reader.ts';
import { idOfRef } from '../../src/vault/files/tables.ts';
import { ChunkWriter } from '../../src/vault/write/chunk-writer.ts';
import type { ChunkWriterOptions } from '../../src/vault/write/chunk-writer.ts';
import { startStoring } from '../../src/vault/write/content.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { CHUNK_SIZE, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';
import { present, rowsOf } from './scene.ts';

const BODY = seededRandom(62).bytes(CHUNK_SIZE);
const { signal } = new AbortController();

async function withWriter<T>(
  { session }: TestVault,
  options: Partial<ChunkWriterOptions>,
  work: (writer: ChunkWriter) => Promise<T>,
): Promise<T> {
  return session.guard.run(async (guarded) =>
    work(
      new ChunkWriter(session, {
        guarded,
        retaining: null,
        chunkSize: CHUNK_SIZE,
        compression: 'off',
        dryRun: false,
        onWarning: () => undefined,
        ...options,
      }),
    ),
  );
}

function refOf({ session }: TestVault, body: Uint8Array): ChunkRef {
  const hash = bodyHash(body);
  return { tag: chunkTag(session.keys.writer.content, hash), hash, length: body.length };
}

test('the memory of each chunk is given back once, and that of an equal one while the first is under way', async () => {
  await using made = await testVault();
  const { redundancy } = made.session.keyring.keyring;
  const [first, second] = [1, 2].map(() => {
    const memory = allocateChunkMemory(CHUNK_SIZE, redundancy);
    bodyOf(memory).set(BODY);
    return memory;
  });
  const given: (ChunkMemory | undefined)[] = [];
  const lender = { giveBack: (memory: ChunkMemory) => void given.push(memory) };
  const held = Promise.withResolvers<void>();
  for (const bucket of made.buckets) {
    bucket.wrap = (plain) => ({
      ...plain,
      async put(name, ...rest) {
        if (name.startsWith('chunks/')) await held.promise;
        return plain.put(name, ...rest);
      },
    });
  }
  const body = { length: CHUNK_SIZE, full: true, dedupKey: made.session.keys.writer.content };
  await withWriter(made, {}, async (writer) => {
    const storing = [first, second].map((memory) => writer.store(present(memory), body, signal, lender));
    await vi.waitFor(() => expect(given).toEqual([second]));
    held.resolve();
    const [one, other] = await Promise.all(storing);
    expect(one).toEqual(other);
    expect(one?.ref).toEqual(refOf(made, BODY));
    expect(given).toEqual([second, first]);
    expect(writer.totals).toEqual({ chunksStored: 1, degradedChunks: 0, newBytes: CHUNK_SIZE });
    // What fails gives it back, too.
    await expect(
      writer.store(present(first), { ...body, length: 10 }, AbortSignal.abort(), lender),
    ).rejects.toMatchObject({ code: 'interrupted' });
    expect(given).toEqual([second, first, first]);
  });
});

/** A vault that has one chunk, and its catalog no row of it. */
async function forgetful(): Promise<TestVault & { readonly row: unknown }> {
  const made = await testVault();
  await putBytes(made.vault, BODY, { name: 'a' });
  await made.session.guard.end();
  const [row] = await rowsOf(made.catalog);
  await made.catalog.chunks.forget([present(row).id]);
  return Object.assign(made, { row });
}

test('tables that outgrow a manifest are stored as chunks of their own kind, in memory that is given back', async () => {
  await using made = await testVault();
  const { session } = made;
  const chunk = { ref: refOf(made, BODY), id: idOfRef(refOf(made, BODY)) };
  await session.guard.run(async (guarded) => {
    for (let round = 0; round < 5; round += 1) {
      const call = { guarded, compression: 'off', dedup: session.keys.writer, signal } as const;
      const { tables } = startStoring(session, call, CHUNK_SIZE);
      for (let i = 0; i <= TOP_ENTRIES; i += 1) await tables.add(chunk);
      const { content, ids } = await tables.finish();
      const body = encodeRefs(Array.from({ length: TOP_ENTRIES + 1 }, () => chunk.ref));
      const hash = bodyHash(body);
      const ref = { tag: chunkTag(session.keys.writer.table, hash), hash, length: body.length };
      expect(content).toEqual({ depth: 1, refs: [ref] });
      expect(ids.depth).toBe(1);
      const read = await new ChunkReader(session).read(allocateChunkMemory(body.length, null), ref, signal);
      expect(Buffer.from(read).equals(body)).toBe(true);
    }
  });
});

describe('chunks that are there', () => {
  test('are told to the catalog in batches, and the rest at the end', async () => {
    await using made = await forgetful();
    const refs = (count: number): ChunkRef[] => Array.from({ length: count }, () => refOf(made, BODY));
    await withWriter(made, {}, async (writer) => {
      expect(await writer.areThere(refs(499), CHUNK_SIZE, signal)).toBe(true);
      expect(await rowsOf(made.catalog)).toEqual([]);
      expect(await writer.areThere(refs(1), CHUNK_SIZE, signal)).toBe(true);
      expect(await rowsOf(made.catalog)).toEqual([made.row]);
      await made.catalog.chunks.forget([present((await rowsOf(made.catalog))[0]).id]);
      await writer.finish();
      expect(await rowsOf(made.catalog)).toEqual([]);
      expect(await writer.areThere(refs(1), CHUNK_SIZE, signal)).toBe(true);
      await writer.finish();
      expect(await rowsOf(made.catalog)).toEqual([made.row]);
    });
  });

  test('are told to none where nothing is to be written', async () => {
    await using made = await forgetful();
    await withWriter(made, { dryRun: true }, async (writer) => {
      expect(await writer.areThere([refOf(made, BODY)], CHUNK_SIZE, signal)).toBe(true);
      await writer.finish();
      expect(await rowsOf(made.catalog)).toEqual([]);
    });
  });

  test('are all there only if none is missing', async () => {
    await using made = await forgetful();
    const [there, missing] = [refOf(made, BODY), refOf(made, Buffer.from('another'))];
    await withWriter(made, {}, async (writer) => {
      expect(await writer.areThere([there, there, missing], CHUNK_SIZE, signal)).toBe(false);
      expect(await writer.areThere([missing, there], CHUNK_SIZE, signal)).toBe(false);
      expect(await writer.areThere([], CHUNK_SIZE, signal)).toBe(true);
    });
  });
});
