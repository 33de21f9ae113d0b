// Manifests of folders, and of files whose chunks are cut by content: opened as they were sealed, or not sealed at all.
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  idEntry,
  lockContentKey,
  ManifestOpener,
  ManifestSealer,
  manifestHash,
} from '../../src/crypto/manifest.ts';
import type {
  ChunkRef,
  ContentTable,
  FolderPart,
  IdsTable,
  ManifestHead,
} from '../../src/format/manifest.ts';
import { CHEAP, outcome, sampleHead, sampleKeys, VAULT_ID } from './samples.ts';

const keys = sampleKeys();
const sealer = new ManifestSealer(keys);
const opener = new ManifestOpener(keys);

interface Sample {
  readonly head: ManifestHead;
  readonly ids: IdsTable;
  readonly content: ContentTable;
  readonly folder?: FolderPart;
  readonly contentKey: Buffer;
  readonly lock: null;
}

function ref(length: number, seed: number): ChunkRef {
  return { tag: Buffer.alloc(32, seed), hash: Buffer.alloc(32, seed + 100), length };
}

/** Chunks of these lengths, cut by content. */
function cut(seed: number, ...lengths: readonly number[]): ContentTable {
  const refs = lengths.map((length, i) => ref(length, seed + i));
  return { size: lengths.reduce((sum, one) => sum + one, 0), chunkSize: null, depth: 0, refs, inline: null };
}

function inline(size: number): ContentTable {
  return { size, chunkSize: null, depth: 0, refs: [], inline: Buffer.alloc(size, 7) };
}

/** A table in chunks: of so many entries, `each` bytes of content in each of them. */
function deep(seed: number, entries: number, each: number): ContentTable {
  return { size: entries * each, chunkSize: null, depth: 1, refs: [ref(68 * entries, seed)], inline: null };
}

function idsOf(...tables: readonly ContentTable[]): IdsTable {
  return { depth: 0, ids: tables.flatMap(({ refs }) => refs.map((one) => idEntry(one, null))) };
}

function cutFile(content: ContentTable, change: Partial<ManifestHead> = {}): Sample {
  const head = sampleHead({ size: content.size, chunkSize: null, chunks: content.refs.length, ...change });
  return { head, ids: idsOf(content), content, contentKey: randomBytes(32), lock: null };
}

function folderOf(content: ContentTable, index: ContentTable, change: Partial<ManifestHead> = {}): Sample {
  const folder = { index, size: content.size + 10, entries: 3, incomplete: false };
  const head = sampleHead({
    kind: 'folder',
    size: folder.size,
    chunkSize: null,
    chunks: content.refs.length,
    indexChunks: index.refs.length,
    entries: folder.entries,
    ...change,
  });
  return { head, ids: idsOf(content, index), content, folder, contentKey: randomBytes(32), lock: null };
}

/** The tables of both lie in chunks, and all ids in the manifest. */
function deepFolder(): Sample {
  const [content, index] = [deep(1, 3, 70_000), deep(2, 2, 500)];
  const own = Array.from({ length: 5 }, (_, i) => ({ id: 'ab'.repeat(32), padded: 256 + i }));
  const tops = idsOf(content, index);
  const ids = { depth: 0 as const, ids: [...own, ...(tops.depth === 0 ? tops.ids : [])] };
  return { ...folderOf(content, index, { chunks: 3, indexChunks: 2 }), ids };
}

describe.each([
  ['a file of one chunk', cutFile(cut(1, 5))],
  ['a file of chunks of any length', cutFile(cut(1, 5, 4 * 1024 * 1024, 1))],
  ['a file that is inline', cutFile(inline(9))],
  ['a folder of nothing', folderOf(inline(0), inline(8 * 3))],
  ['a folder that is all inline', folderOf(inline(9), inline(400))],
  ['a folder with an inline index', folderOf(cut(1, 5, 9), inline(400))],
  ['a folder with an inline content', folderOf(inline(9), cut(1, 300, 100))],
  ['a folder in chunks', folderOf(cut(1, 5, 9), cut(3, 300, 100))],
  ['a folder with tables in chunks', deepFolder()],
  ['an incomplete folder', withFolder(folderOf(inline(9), inline(400)), { incomplete: true })],
] as const)('A manifest of %s', (_, file) => {
  test('is opened as it was sealed', () => {
    const bytes = sealer.seal(file);
    const opened = opener.open(bytes, manifestHash(bytes));
    expect(opened.head).toEqual(file.head);
    expect(opened.ids).toEqual(file.ids);
    expect(opened.content).toEqual({
      table: file.content,
      folder: file.folder ?? null,
      key: file.contentKey,
    });
  });

  test('can be locked', async () => {
    const lock = await lockContentKey(file.contentKey, 'a word', { vaultId: VAULT_ID, cost: CHEAP });
    const head = { ...file.head, size: null, entries: null, locked: true };
    const bytes = sealer.seal({ ...file, head, lock });
    const opened = opener.open(bytes, manifestHash(bytes));
    expect(opened.head).toEqual(head);
    expect(opened.content).toBeNull();
    expect(await opened.unlock('another word')).toBeNull();
    expect((await opened.unlock('a word'))?.folder).toEqual(file.folder ?? null);
  });
});

/** Both parts changed alike. */
function withFolder(
  sample: Sample,
  change: Partial<Pick<FolderPart, 'entries' | 'incomplete' | 'size'>>,
): Sample {
  if (sample.folder === undefined) throw new Error('It is a folder.');
  return { ...sample, head: { ...sample.head, ...change }, folder: { ...sample.folder, ...change } };
}

const FOLDER = folderOf(cut(1, 5, 9), cut(3, 300, 100));
const { folder: PART } = FOLDER;

test.each([
  ['a chunk beyond 4 MiB', cutFile(cut(1, 4 * 1024 * 1024 + 1))],
  ['a file of another size than its chunks', cutFile({ ...cut(1, 5, 9), size: 15 }, { size: 15 })],
  ['a file of another number of chunks', cutFile(cut(1, 5, 9), { chunks: 3 })],
  ['a file of more chunks than bytes', cutFile(cut(1, 5), { chunks: 6 })],
  ['a file of another chunk size', cutFile(cut(1, 5, 9), { chunkSize: 65_536 })],
  ['a folder with a chunk size', { ...FOLDER, head: { ...FOLDER.head, chunkSize: 65_536 } }],
  ['a folder as a file', { ...FOLDER, head: { ...FOLDER.head, kind: 'file' as const } }],
  ['a file as a folder', { ...FOLDER, folder: undefined }],
  ['a folder of no entries', withFolder(FOLDER, { entries: 0 })],
  ['a folder of more entries than its index has room for', withFolder(FOLDER, { entries: 51 })],
  [
    'a folder of less entries than its index needs',
    withFolder(folderOf(inline(0), cut(1, 600_000)), { entries: 3 }),
  ],
  ['a folder whose parts differ in entries', { ...FOLDER, head: { ...FOLDER.head, entries: 4 } }],
  [
    'a folder whose parts differ in what is missing',
    { ...FOLDER, head: { ...FOLDER.head, incomplete: true } },
  ],
  ['a folder whose parts differ in size', { ...FOLDER, head: { ...FOLDER.head, size: 25 } }],
  [
    'a folder whose parts differ in chunks of the index',
    { ...FOLDER, head: { ...FOLDER.head, chunks: 1, indexChunks: 3 } },
  ],
  [
    'a folder without an index',
    PART === undefined ? FOLDER : { ...FOLDER, folder: { ...PART, index: inline(0) } },
  ],
  [
    'a folder that tells its entries beside a lock',
    { ...FOLDER, head: { ...FOLDER.head, size: null, locked: true } },
  ],
  [
    'a folder whose ids have the index first',
    { ...FOLDER, ids: idsOf(FOLDER.folder?.index ?? inline(0), FOLDER.content) },
  ],
  ['a folder whose ids lack its index', { ...FOLDER, ids: idsOf(FOLDER.content) }],
  ['a folder with tables in other order', reversed(deepFolder())],
])('%s is not sealed', (_, file) => {
  expect(outcome(() => sealer.seal(file))).toBe('invalid-input');
});

function reversed(sample: Sample): Sample {
  const ids = sample.ids.depth === 0 ? sample.ids.ids : [];
  return { ...sample, ids: { depth: 0, ids: [...ids.slice(0, 5), ...ids.slice(5).toReversed()] } };
}
