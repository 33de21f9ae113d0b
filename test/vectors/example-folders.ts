// The folders of the example: their entries, and what their manifests say of them.
import { EntryEncoder } from '../../src/format/folder-index.ts';
import type { FolderEntry, FolderTotals } from '../../src/format/folder-index.ts';
import type { ContentTable, ManifestHead } from '../../src/format/manifest.ts';
import type { ExampleChunk, ExampleFile } from './format-example.ts';

/** An entry of nothing, from which the others are made. */
export const PLAIN: FolderEntry = {
  path: Buffer.alloc(0),
  kind: 'folder',
  mode: null,
  owner: null,
  modified: null,
  content: null,
  target: null,
  linkGroup: null,
  device: null,
  attributes: [],
};

/** The data of its files, without holes. */
export const FOLDER_BODY: Buffer = Buffer.from('A poem.\nends');

/** One entry of each kind, and one with everything. */
export const ENTRIES: readonly FolderEntry[] = [
  {
    ...PLAIN,
    mode: 0o755,
    owner: { uid: 1000, gid: 100, user: 'ada', group: 'users' },
    modified: { seconds: 1_700_000_000, nanoseconds: 1 },
  },
  {
    ...PLAIN,
    path: Buffer.from('poems'),
    mode: 0o700,
    modified: { seconds: -1, nanoseconds: 999_999_999 },
  },
  {
    ...PLAIN,
    path: Buffer.from('poems/one \u00e4.txt'),
    kind: 'file',
    mode: 0o644,
    owner: { uid: 0, gid: 4_294_967_295, user: 'root', group: null },
    modified: { seconds: 1_600_000_000, nanoseconds: 5 },
    content: { size: 8, offset: 0, extents: null },
    linkGroup: 1,
    attributes: [
      { name: Buffer.from('user.a'), value: Buffer.alloc(0) },
      { name: Buffer.from('user.b'), value: Buffer.from([0, 255]) },
    ],
  },
  { ...PLAIN, path: Buffer.from('poems/same'), kind: 'file', mode: 0o644, linkGroup: 1 },
  { ...PLAIN, path: Buffer.from('poems-link'), kind: 'symlink', target: Buffer.from('poems/one \u00e4.txt') },
  { ...PLAIN, path: Buffer.from([0x71, 0xff]), kind: 'fifo', mode: 0o600 },
  {
    ...PLAIN,
    path: Buffer.from('sparse'),
    kind: 'file',
    content: { size: 10_000, offset: 8, extents: [{ start: 9000, length: 4 }] },
  },
  { ...PLAIN, path: Buffer.from('tty'), kind: 'char-device', device: { major: 5, minor: 0 } },
  { ...PLAIN, path: Buffer.from('vda'), kind: 'block-device', device: { major: 253, minor: 1 } },
];

/** Two files in chunks of these sizes, the first of which has bytes of no file at its end. */
function twoFiles(first: number, second: number): readonly FolderEntry[] {
  const file = (name: string, size: number, offset: number): FolderEntry => ({
    ...PLAIN,
    path: Buffer.from(name),
    kind: 'file',
    content: { size, offset, extents: null },
  });
  return [PLAIN, file('first', first - 10, 0), file('second', second, first)];
}

/** An index's bytes, and what its manifest says of it. */
export function indexOf(entries: readonly FolderEntry[]): {
  readonly index: Buffer;
  readonly totals: FolderTotals;
} {
  const encoder = new EntryEncoder();
  const index = Buffer.concat(entries.map((entry) => Buffer.from(encoder.encode(entry))));
  return { index, totals: encoder.totals };
}

/** The folder that is all in its manifest. */
export function smallFolder(base: ManifestHead): ExampleFile {
  const { index, totals } = indexOf(ENTRIES);
  return folderOf(
    { ...base, name: 'folder' },
    totals,
    { table: inline(FOLDER_BODY) },
    { table: inline(index) },
  );
}

/** The folder of two files, each in a chunk of its own. @param store makes a chunk of its index */
export function chunkedFolder(
  base: ManifestHead,
  [first, second]: readonly [ExampleChunk, ExampleChunk],
  store: (index: Buffer) => ExampleChunk,
): { readonly file: ExampleFile; readonly objects: ReadonlyMap<string, Buffer> } {
  const { index, totals } = indexOf(twoFiles(first.ref.length, second.ref.length));
  const indexChunk = store(index);
  const head = { ...base, name: 'folder in chunks' };
  const file = folderOf(head, totals, inChunks([first, second]), inChunks([indexChunk]));
  return { file, objects: indexChunk.objects };
}

interface Content {
  readonly table: ContentTable;
  readonly chunks?: readonly ExampleChunk[];
}

function inline(bytes: Buffer): ContentTable {
  return { size: bytes.length, chunkSize: null, depth: 0, refs: [], inline: bytes };
}

function inChunks(chunks: readonly ExampleChunk[]): Content {
  const refs = chunks.map(({ ref }) => ref);
  const size = refs.reduce((sum, { length }) => sum + length, 0);
  return { chunks, table: { size, chunkSize: null, depth: 0, refs, inline: null } };
}

function folderOf(
  base: ManifestHead,
  { entries, size }: FolderTotals,
  { table, chunks = [] }: Content,
  { table: index, chunks: indexChunks = [] }: Content,
): ExampleFile {
  const counts = { chunks: chunks.length, indexChunks: indexChunks.length, entries };
  return {
    head: { ...base, kind: 'folder', size, chunkSize: null, ...counts },
    ids: { depth: 0, ids: [...chunks, ...indexChunks].map(({ id }) => id) },
    content: table,
    folder: { index, size, entries, incomplete: false },
  };
}
