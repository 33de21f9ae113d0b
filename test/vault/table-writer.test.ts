// Tables of every size, cut or not: what a manifest lists itself must be what readers accept.
import { expect, test } from 'vitest';
import { bodyHash, chunkTag } from '../../src/crypto/chunk.ts';
import { idEntry } from '../../src/crypto/manifest.ts';
import { decodeIds, decodeRefs, TOP_ENTRIES } from '../../src/format/manifest.ts';
import type { ChunkRef } from '../../src/format/manifest.ts';
import { MAX_TABLE_BODY, MIN_TABLE_ENTRIES } from '../../src/format/tables.ts';
import type { StoredChunk } from '../../src/vault/write/chunk-writer.ts';
import { TableWriter } from '../../src/vault/write/table-writer.ts';

const KEY = Buffer.alloc(32, 1);

function storedChunk(body: Uint8Array): StoredChunk {
  const hash = bodyHash(body);
  const ref = { tag: chunkTag(KEY, hash), hash, length: body.length };
  return { ref, id: idEntry(ref, null) };
}

/** Equal chunks have no entry that ends a table chunk, as long as they are fewer than a table chunk can hold. */
const SAME = storedChunk(Buffer.from('the same again'));

test.each([
  ['as many as a manifest lists', TOP_ENTRIES, 0],
  ['one more, and no entry ends a chunk of the table', TOP_ENTRIES + 1, 1],
  ['as many as one chunk of the table holds', 4_096, 1],
  ['one more than that', 4_097, 1],
])('lists %s', async (_, count, depth) => {
  const bodies = new Map<string, Buffer>();
  const tables = new TableWriter((bytes) => {
    expect(bytes.length).toBeLessThanOrEqual(MAX_TABLE_BODY);
    const chunk = storedChunk(bytes);
    bodies.set(chunk.ref.tag.toString('hex'), Buffer.from(bytes));
    return Promise.resolve(chunk);
  });
  for (let i = 0; i < count; i += 1) await tables.add(SAME);
  const { content, ids: listed } = await tables.finish();
  const bodyOf = ({ tag }: ChunkRef): Buffer => bodies.get(tag.toString('hex')) ?? Buffer.alloc(0);
  expect(content.depth).toBe(depth);
  expect(content.refs.length).toBeLessThanOrEqual(TOP_ENTRIES);
  const refs = depth === 0 ? content.refs : content.refs.flatMap((ref) => decodeRefs(bodyOf(ref)));
  expect(refs).toHaveLength(count);
  expect(listed.depth).toBe(depth);
  const ids = listed.depth === 0 ? listed.ids : listed.refs.flatMap((ref) => decodeIds(bodyOf(ref)));
  const own = depth === 0 ? [] : content.refs.map((ref) => idEntry(ref, null));
  expect(ids.slice(count)).toEqual(own);
});

/** Every entry ends a chunk of the table as soon as that may end. */
const ENDING: StoredChunk = {
  ref: { ...SAME.ref, tag: Buffer.alloc(32) },
  id: { ...SAME.id, id: '0'.repeat(64) },
};

test('stores no table of what a manifest lists, whatever ends a chunk there', async () => {
  const tables = new TableWriter(() => Promise.reject(new Error('There is no table.')));
  for (let i = 0; i < TOP_ENTRIES; i += 1) await tables.add(ENDING);
  const { refs, depth } = (await tables.finish()).content;
  expect({ count: refs.length, depth }).toEqual({ count: TOP_ENTRIES, depth: 0 });
});

test('lists the index apart, and the ids of all: of the content, of the index, of the tables of both', async () => {
  const stored: StoredChunk[] = [];
  const store = (bytes: Uint8Array): Promise<StoredChunk> => {
    const chunk = storedChunk(bytes);
    stored.push(chunk);
    return Promise.resolve(chunk);
  };
  const tables = new TableWriter(store);
  const [one, two, three, four, five] = [1, 2, 3, 4, 5].map((i) => storedChunk(Buffer.from(`chunk ${i}`)));
  if (!(one && two && three && four && five)) throw new RangeError('There are five.');
  await tables.addIndex(one);
  await tables.add(two);
  await tables.add(three);
  await tables.addIndex(four);
  expect(await tables.finish()).toEqual({
    content: { depth: 0, refs: [two.ref, three.ref] },
    index: { depth: 0, refs: [one.ref, four.ref] },
    ids: { depth: 0, ids: [two, three, one, four].map(({ id }) => id) },
    indexChunks: 2,
  });
  const large = new TableWriter(store);
  await large.add(five);
  for (let i = 0; i <= TOP_ENTRIES; i += 1) await large.addIndex(SAME);
  const { content, index, ids, indexChunks } = await large.finish();
  expect(content).toEqual({ depth: 0, refs: [five.ref] });
  const [table, ...listed] = stored;
  expect(index).toEqual({ depth: 1, refs: [table?.ref] });
  expect(ids).toEqual({ depth: 1, refs: listed.map(({ ref }) => ref) });
  expect(indexChunks).toBe(TOP_ENTRIES + 1);
});

test('lists entries that end chunks of the table, each once', async () => {
  const bodies = new Map<string, Buffer>();
  const tables = new TableWriter((bytes) => {
    // Chunks of their own, though they say the same.
    const chunk = storedChunk(Buffer.from(`${bodies.size}`));
    bodies.set(chunk.ref.tag.toString('hex'), Buffer.from(bytes));
    return Promise.resolve(chunk);
  });
  const count = TOP_ENTRIES + 1 + MIN_TABLE_ENTRIES + 1;
  for (let i = 0; i < count; i += 1) await tables.add(ENDING);
  const { refs, depth } = (await tables.finish()).content;
  expect(depth).toBe(1);
  const listed = refs.map(({ tag }) => decodeRefs(bodies.get(tag.toString('hex')) ?? Buffer.alloc(0)).length);
  expect(listed).toEqual([...Array.from({ length: 9 }, () => MIN_TABLE_ENTRIES), 2]);
});
