// A content in chunks that are cut by what is in it: an edit in the middle leaves the rest where it is.
import { hash as digestOf } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { MAX_CUT_SIZE } from '../../src/format/limits.ts';
import type { ChunkRef } from '../../src/format/manifest.ts';
import { allocateChunkMemory } from '../../src/vault/chunks/chunk-memory.ts';
import { ChunkReader } from '../../src/vault/chunks/chunk-reader.ts';
import { storeContent } from '../../src/vault/write/content.ts';
import type { StoredContent } from '../../src/vault/write/content.ts';
import { ContentCutter, LEAST_CUT_SIZE } from '../../src/vault/write/content-cutter.ts';
import { streamSource } from '../../src/vault/write/source.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';
import { present } from './scene.ts';

const MIB = 1024 * 1024;
const CONTENT = seededRandom(71).bytes(12 * MIB);

let made: TestVault;
beforeEach(async () => {
  made = await testVault();
});
afterEach(async () => {
  await made[Symbol.asyncDispose]();
});

/** A vault draws the key that it cuts by: lengths of the chunks that a content has here, by their digests. */
function chunksHere(content: Uint8Array): ReadonlyMap<string, number> {
  const cutter = new ContentCutter(made.session.keys.writer.cut);
  const chunks = new Map<string, number>();
  for (let at = 0; at < content.length;) {
    const length = present(cutter.next(content.subarray(at), true));
    chunks.set(digestOf('sha256', content.subarray(at, at + length)), length);
    at += length;
  }
  return chunks;
}

/** Stores a content, of which some has been read already. */
async function store(content: Uint8Array): Promise<StoredContent> {
  const { session } = made;
  const { signal } = new AbortController();
  const stream = (async function* () {
    for (let at = 1000; at < content.length; at += 700_001) yield content.subarray(at, at + 700_001);
  })();
  const source = await streamSource(stream, 'a test').open();
  return session.guard.run(
    async (guarded) =>
      storeContent(session, source, {
        chunking: 'content',
        chunkSize: 64 * 1024,
        compression: 'off',
        beginning: content.subarray(0, 1000),
        guarded,
        dedup: session.keys.writer,
        signal,
      }),
    signal,
  );
}

async function readBack(refs: readonly ChunkRef[]): Promise<Buffer> {
  const reader = new ChunkReader(made.session);
  const { signal } = new AbortController();
  const bodies: Buffer[] = [];
  for (const ref of refs) {
    bodies.push(Buffer.from(await reader.read(allocateChunkMemory(ref.length, null), ref, signal)));
  }
  return Buffer.concat(bodies);
}

test('lies in chunks of 256 KiB to 4 MiB that give it back', async () => {
  const { table, chunks, newBytes } = await store(CONTENT);
  expect(chunks).toBe(table.refs.length);
  expect(newBytes).toBe(CONTENT.length);
  expect((await readBack(table.refs)).equals(CONTENT)).toBe(true);
  const lengths = table.refs.map(({ length }) => length);
  expect(new Set(lengths).size).toBeGreaterThan(3);
  expect(Math.min(...lengths.slice(0, -1))).toBeGreaterThanOrEqual(LEAST_CUT_SIZE);
  expect(Math.max(...lengths)).toBeLessThanOrEqual(MAX_CUT_SIZE);
});

test('shares with another version what lies before and behind a change', async () => {
  await store(CONTENT);
  const changed = Buffer.concat([
    CONTENT.subarray(0, 6 * MIB),
    Buffer.from('more'),
    CONTENT.subarray(6 * MIB),
  ]);
  const inserted = await store(changed);
  const known = chunksHere(CONTENT);
  const others = [...chunksHere(changed)].filter(([chunk]) => !known.has(chunk));
  expect(inserted.chunksStored).toBe(others.length);
  expect(inserted.newBytes).toBe(others.reduce((sum, [, length]) => sum + length, 0));
  expect((await readBack(inserted.table.refs)).equals(changed)).toBe(true);
  expect((await store(CONTENT)).chunksStored).toBe(0);
});

const BY_CONTENT = { chunking: 'content', chunkSize: undefined } as const;

test('is a file like any other', async () => {
  const { vault } = made;
  const options = { name: 'dump', ...BY_CONTENT };
  const put = await putBytes(vault, CONTENT, options);
  expect(put).toMatchObject({ chunkSize: null, unchanged: false, bytesNew: CONTENT.length, degraded: false });
  expect(put.chunks).toBe(chunksHere(CONTENT).size);
  expect(Buffer.from(await getBytes(vault, put.hash)).equals(CONTENT)).toBe(true);
  const again = await putBytes(vault, CONTENT, options);
  expect(again).toMatchObject({ hash: put.hash, unchanged: true, chunksStored: 0 });
  const otherwise = await putBytes(vault, CONTENT, { name: 'dump' });
  expect(otherwise).toMatchObject({ unchanged: false, chunkSize: 64 * 1024 });
  expect((await vault.verify({ depth: 'data' })).outcome).toBe('whole');
});

test('that is small lies in the manifest, however it is to be cut', async () => {
  const small = CONTENT.subarray(0, 1000);
  const put = await putBytes(made.vault, small, { name: 'small', ...BY_CONTENT });
  expect(put.chunks).toBe(0);
  const again = await putBytes(made.vault, small, { name: 'small' });
  expect(again).toMatchObject({ hash: put.hash, unchanged: true });
});

test('of many files at once shares the memory of a few chunks', async () => {
  const files = Array.from({ length: 12 }, (_, i) => CONTENT.subarray(i * 300_001, i * 300_001 + 3 * MIB));
  const puts = await Promise.all(
    files.map(async (bytes, i) => putBytes(made.vault, bytes, { name: `file ${i}`, ...BY_CONTENT })),
  );
  for (const [i, { hash }] of puts.entries()) {
    expect(Buffer.from(await getBytes(made.vault, hash)).equals(files[i] ?? CONTENT)).toBe(true);
  }
});

test.each([
  ['chunk size', { chunkSize: MIB }, /no size to choose/],
  ['lock', { chunkSize: undefined, lock: { password: 'secret' } }, /shares no chunks/],
])('goes with no %s, and nothing is stored then', async (_, options, message) => {
  const putting = putBytes(made.vault, CONTENT, { name: 'file', chunking: 'content', ...options });
  await expect(putting).rejects.toMatchObject({
    code: 'invalid-input',
    message: expect.stringMatching(message),
  });
  expect(made.objects('chunks/')).toEqual([]);
});
