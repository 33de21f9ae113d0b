// The cases of must-fail.json that are folders and contents cut by content: their manifests, tables and indexes.
import { dataSize, EntryWriter } from '../../src/format/folder-entry.ts';
import type { FolderEntry } from '../../src/format/folder-index.ts';
import { encodeIds, encodeRefs } from '../../src/format/manifest.ts';
import type { Change, MustFail } from './broken-json.ts';
import { swap } from './broken-json.ts';
import { chunkedFolder, ENTRIES, indexOf, PLAIN, smallFolder } from './example-folders.ts';
import { cutFile, exampleChunk, exampleHead, FULL, PACKED_BODY, STORED_BODY } from './format-example.ts';
import type { ExampleFile } from './format-example.ts';
import { withBytes } from './must-fail-chunks.ts';
import { headOf, manifestByHand } from './sealed-by-hand.ts';
import type { Body } from './sealed-by-hand.ts';

const HEAD = exampleHead('', 0, 0);
const CHUNKS = [
  exampleChunk(FULL.writer.content, STORED_BODY),
  exampleChunk(FULL.writer.content, PACKED_BODY),
] as const;
const SMALL = smallFolder(HEAD);
const LARGE = chunkedFolder(HEAD, CHUNKS, (index) => exampleChunk(FULL.writer.index, index)).file;
const CUT = cutFile(...CHUNKS);

type Edit = readonly [name: string, from: string | RegExp, to: string];

function part(which: 'vault' | 'content', file: ExampleFile, [, from, to]: Edit): Body {
  swap(headOf(which, '', '', file).head, from, to);
  return headOf(which, from, to, file);
}

function edited(which: 'vault' | 'content', file: ExampleFile, edits: readonly Edit[]): Change[] {
  return edits.map((edit) => [
    edit[0],
    'damaged',
    manifestByHand({ file, [which]: part(which, file, edit) }),
  ]);
}

export function folderManifests(): Change[] {
  const ids = LARGE.ids.depth === 0 ? LARGE.ids.ids : [];
  const vault = headOf('vault', '', '', LARGE);
  const content = headOf('content', '', '', LARGE);
  const small = headOf('content', '', '', SMALL);
  const flipped = Buffer.from(small.binary);
  flipped.writeUInt8(flipped.readUInt8(flipped.length - 1) ^ 1, flipped.length - 1);
  return [
    ...edited('vault', LARGE, VAULT_EDITS),
    ...edited('content', LARGE, CONTENT_EDITS),
    ...edited('vault', CUT, CUT_EDITS),
    ...edited('content', CUT, [['cut by content, of another size than its chunks', '1300', '1301']]),
    ['of a folder whose parts differ in kind', 'damaged', manifestByHand({ file: LARGE, vault: fileHead() })],
    [
      'of a file whose parts differ in kind',
      'damaged',
      manifestByHand({ file: LARGE, content: headOf('content', '', '', CUT) }),
    ],
    [
      'of a folder whose ids have the index first',
      'damaged',
      manifestByHand({ file: LARGE, vault: { ...vault, binary: encodeIds(ids.toReversed()) } }),
    ],
    [
      'of a folder whose ids lack the index',
      'damaged',
      manifestByHand({ file: LARGE, vault: { ...vault, binary: encodeIds(ids.slice(0, 2)) } }),
    ],
    [
      'of a folder with something behind its index',
      'damaged',
      manifestByHand({
        file: SMALL,
        content: { ...small, binary: Buffer.concat([small.binary, Buffer.alloc(1)]) },
      }),
    ],
    [
      'of a folder with another inline index than its digest',
      'damaged',
      manifestByHand({ file: SMALL, content: { ...small, binary: flipped } }),
    ],
    [
      'of a folder with half an entry in a table',
      'damaged',
      manifestByHand({ file: LARGE, content: { ...content, binary: content.binary.subarray(0, -34) } }),
    ],
    [
      'of a locked folder that tells its entries',
      'damaged',
      manifestByHand({ file: SMALL, vault: lockedHead() }),
    ],
    ['cut by content, with a chunk beyond 4 MiB', 'damaged', manifestByHand({ file: tooLarge() })],
  ];
}

/** The vault part of a file with the folder's content: two chunks, and one that is not said to be an index's. */
function fileHead(): Body {
  return { ...headOf('vault', '', '', CUT), binary: headOf('vault', '', '', LARGE).binary };
}

function lockedHead(): Body {
  const lock = `{"kdf":{"memory":8192,"passes":1,"lanes":1,"salt":"${'00'.repeat(32)}"},"commitment":"${'00'.repeat(32)}","wrapped":"${'00'.repeat(48)}"}`;
  const head = headOf('vault', /"size":\d+/, '"size":null', SMALL);
  return { ...head, head: swap(head.head, /"key":.*$/, `"key":{"lock":${lock}}}`) };
}

function tooLarge(): ExampleFile {
  const [chunk] = CHUNKS;
  const ref = { ...chunk.ref, length: 4 * 1024 * 1024 + 1 };
  return cutFile({ ...chunk, ref, id: { ...chunk.id, padded: 4_325_376 } });
}

const VAULT_EDITS: readonly Edit[] = [
  ['of a folder with a chunk size', '"chunkSize":null', '"chunkSize":65536'],
  ['of a folder of no entries', '"entries":3', '"entries":0'],
  ['of a folder whose entries nobody counted', '"entries":3', '"entries":null'],
  ['of a folder that does not say its entries', '"entries":3,', ''],
  ['of a folder that does not say its chunks of the index', '"indexChunks":1,', ''],
  ['of a folder whose incompleteness is a number', '"incomplete":false', '"incomplete":0'],
  ['of a folder of more chunks than bytes', '"size":1290', '"size":1'],
  ['of a folder of more chunks than ids', '"indexChunks":1', '"indexChunks":2'],
  ['of a folder whose parts differ in chunks', /"chunks":2,"indexChunks":1/, '"chunks":1,"indexChunks":2'],
  ['of a folder whose parts differ in size', '"size":1290', '"size":1291'],
  ['of a folder whose parts differ in entries', '"entries":3', '"entries":4'],
  ['of a folder whose parts differ in what is missing', '"incomplete":false', '"incomplete":true'],
];

const CONTENT_EDITS: readonly Edit[] = [
  ['of a folder of no entries in its content part', '"entries":3', '"entries":0'],
  ['of a folder of more entries than its index can have', '"entries":3', '"entries":30'],
  ['of a folder with a chunk size in its content', '"content":{', '"content":{"chunkSize":65536,'],
  ['of a folder without a content', /"content":\{[^}]*\},/, ''],
  ['of a folder without an index', /,"index":\{[^}]*\}/, ''],
  ['of a folder with something beside its index', /\}$/, ',"more":1}'],
  ['of a folder with more content than chunks', '"content":{"size":1300', '"content":{"size":1299'],
  ['of a folder whose content is too deep', '"depth":0', '"depth":4'],
  ['of a folder with another number of chunks', '"depth":0,"entries":2', '"depth":0,"entries":3'],
  ['of a folder whose index has another size', /("index":\{"size":)\d+/, '$199'],
  ['of a folder whose index is a table', /("index":.*"inline":)false/, '$1true'],
  [
    'of a folder whose index is in chunks and has a digest',
    /("index":.*"digest":)null/,
    `$1"${'00'.repeat(32)}"`,
  ],
];

const CUT_EDITS: readonly Edit[] = [
  ['cut by content, of more chunks than bytes', '"size":1300', '"size":1'],
  ['cut by content, of more bytes than its chunks can have', '"size":1300', '"size":8388609'],
  ['cut by content, whose parts differ in that', '"chunkSize":null', '"chunkSize":1048576'],
  ['cut by content, whose parts differ in size', '"size":1300', '"size":1299'],
  ['with a chunk size of 0', '"chunkSize":null', '"chunkSize":0'],
  [
    'of a file with the fields of a folder',
    '"idsDepth"',
    '"indexChunks":0,"entries":null,"incomplete":false,"idsDepth"',
  ],
];

// --- tables -------------------------------------------------------------------------------------------

/** A content of 5,000,000 bytes in chunks that are cut by content, as its table says it. */
export function cutTables(): MustFail[] {
  const [{ ref }] = CHUNKS;
  const most = 4 * 1024 * 1024;
  const size = 5_000_000;
  const cases: readonly (readonly [string, ...lengths: number[]])[] = [
    ['cut by content, of nothing'],
    ['cut by content, with a chunk beyond 4 MiB', most + 1, size - most - 1],
    ['cut by content, of too few bytes', most, size - most - 1],
    ['cut by content, of too many bytes', most, size - most + 1],
    ['cut by content, with a chunk of no bytes', most, 0, size - most],
    ['cut by content, of another number of chunks', 1, most, size - most - 1],
  ];
  return cases.map(([name, ...lengths]) =>
    withBytes(
      { kind: 'table', name, expect: 'damaged', size, chunkSize: null, chunks: 2 },
      encodeRefs(lengths.map((length) => ({ tag: ref.tag, hash: ref.hash, length }))),
    ),
  );
}

// --- indexes ------------------------------------------------------------------------------------------

function entry(path: string, change: Partial<FolderEntry> = {}): FolderEntry {
  return { ...PLAIN, path: Buffer.from(path), ...change };
}

function fileEntry(path: string, size = 0, change: Partial<FolderEntry> = {}): FolderEntry {
  return entry(path, { kind: 'file', content: { size, offset: 0, extents: null }, ...change });
}

function sparse(
  size: number,
  ...extents: readonly (readonly [start: number, length: number])[]
): FolderEntry {
  const content = { size, offset: 0, extents: extents.map(([start, length]) => ({ start, length })) };
  return fileEntry('a', 0, { content });
}

function named(...names: readonly string[]): FolderEntry {
  return entry('a', {
    attributes: names.map((name) => ({ name: Buffer.from(name), value: Buffer.alloc(1) })),
  });
}

/** Entries that no writer would write so, or not after one another. */
const BROKEN: readonly (readonly [name: string, ...entries: readonly FolderEntry[]])[] = [
  ['of nothing'],
  ['that begins with another entry than the folder itself', entry('a')],
  ['of a folder that is none', entry('', { kind: 'fifo' })],
];

/** The same, behind the folder itself. */
const BROKEN_INSIDE: readonly (readonly [name: string, ...entries: readonly FolderEntry[]])[] = [
  ['with the folder itself twice', PLAIN],
  ['with an absolute path', entry('/a')],
  ['with a path that ends with a slash', entry('a/')],
  ['with two slashes', entry('a'), entry('a//b')],
  ['with a part that is a dot', entry('.')],
  ['with a part that is two dots', entry('..')],
  ['with a way out of a folder', entry('a'), fileEntry('a/..')],
  ['with a way through two dots', entry('..'), fileEntry('../a')],
  ['with NUL in a path', fileEntry('a\0b')],
  ['with an entry twice', fileEntry('a'), fileEntry('a')],
  ['out of order', fileEntry('b'), fileEntry('a')],
  ['in the order of plain bytes', entry('a'), fileEntry('a-'), fileEntry('a/b')],
  ['with an entry below a file', fileEntry('a'), fileEntry('a/b')],
  [
    'with an entry below a symlink',
    entry('a', { kind: 'symlink', target: Buffer.from('/etc') }),
    fileEntry('a/b'),
  ],
  ['with an entry below what is not there', entry('a'), fileEntry('b/c')],
  ['with an entry below what only begins like a folder', entry('a'), fileEntry('aa/b')],
  ['with an entry that skips a folder', entry('a'), fileEntry('a/b/c')],
  ['with a further path of no file', entry('a', { kind: 'file', linkGroup: 1 })],
  ['with a mode of more than 12 bits', fileEntry('a', 0, { mode: 0o10000 })],
  [
    'with a time that is none',
    fileEntry('a', 0, { modified: { seconds: 8_640_000_000_001, nanoseconds: 0 } }),
  ],
  ['with a second of 10^9 ns', fileEntry('a', 0, { modified: { seconds: 0, nanoseconds: 1_000_000_000 } })],
  ['with a size beyond 2^53', fileEntry('a', 2 ** 53)],
  ['of more bytes than 2^53', fileEntry('a', 2 ** 52), fileEntry('b', 2 ** 52)],
  ['with a symlink without a target', entry('a', { kind: 'symlink' })],
  ['with NUL in a target', entry('a', { kind: 'symlink', target: Buffer.from('a\0') })],
  ['with NUL in a user', fileEntry('a', 0, { owner: { uid: 0, gid: 0, user: 'a\0', group: null } })],
  ['with extents that are all of the file', sparse(5, [0, 5])],
  ['with extents of an empty file', sparse(0)],
  ['with an extent of nothing', sparse(5, [0, 0])],
  ['with extents that touch', sparse(9, [0, 2], [2, 2])],
  ['with extents that overlap', sparse(9, [0, 2], [1, 2])],
  ['with extents out of order', sparse(9, [5, 1], [0, 2])],
  ['with an extent beyond the end', sparse(9, [8, 2])],
  ['with an attribute without a name', named('')],
  ['with NUL in the name of an attribute', named('a\0')],
  ['with attributes out of order', named('b', 'a')],
  ['with an attribute twice', named('a', 'a')],
  [
    'with too large an attribute',
    entry('a', { attributes: [{ name: Buffer.from('a'), value: Buffer.alloc(65_537) }] }),
  ],
];

/** The folder itself, and what follows it. */
function raw(hex: string): Buffer {
  return Buffer.from(`0000000802000000${hex}`, 'hex');
}

export function indexes(): MustFail[] {
  const { index, totals } = indexOf(ENTRIES);
  const rest = index.subarray(index.readUInt32BE(0));
  const changed = (at: number, value: number): Buffer => {
    const bytes = Buffer.from(index);
    bytes[at] = value;
    return bytes;
  };
  const none = { entries: 1, size: 0, contentSize: 0 };
  const bytes: readonly (readonly [name: string, bytes: Buffer, totals: typeof totals])[] = [
    ['cut short', index.subarray(0, -1), totals],
    ['with something behind it', Buffer.concat([index, Buffer.alloc(1)]), totals],
    ['without its first entry', rest, { ...totals, entries: totals.entries - 1 }],
    ['of fewer entries than its manifest says', index, { ...totals, entries: totals.entries + 1 }],
    ['of more entries than its manifest says', index, { ...totals, entries: totals.entries - 1 }],
    ['of another size than its manifest says', index, { ...totals, size: totals.size + 1 }],
    ['of more data than its manifest says', index, { ...totals, contentSize: totals.contentSize - 1 }],
    ['with an entry longer than what it says', changed(3, index.readUInt8(3) + 1), totals],
    ['with an entry shorter than what it says', changed(3, index.readUInt8(3) - 1), totals],
    ['with an entry of 7 bytes', raw('00000007020000'), { ...none, entries: 2 }],
    ['with an entry of kind 0', raw('000000090000000161'), { ...none, entries: 2 }],
    ['with an entry of kind 7', raw('000000090700000161'), { ...none, entries: 2 }],
    ['with a field that is not known', raw('000000090240000161'), { ...none, entries: 2 }],
    ['with a gap of a folder', raw('0000000d022000016100000001'), { ...none, entries: 2 }],
    ['with a gap of a further path', raw('0000001101200001610000000200000001'), { ...none, entries: 2 }],
    [
      'with a gap of nothing',
      raw('000000190120000161' + '00'.repeat(4) + '000000000000000500000000'),
      { entries: 2, size: 5, contentSize: 5 },
    ],
    [
      'with a gap before no data',
      raw('000000190120000161' + '00'.repeat(4) + '000000000000000000000001'),
      { entries: 2, size: 0, contentSize: 1 },
    ],
    ['with extents of a folder', raw('0000000b02100001610000'), { ...none, entries: 2 }],
    ['with attributes, and none', raw('0000000b02080001610000'), { ...none, entries: 2 }],
    [
      'with a name that is not UTF-8',
      raw('000000140202000161' + '00'.repeat(8) + '01ff00'),
      { ...none, entries: 2 },
    ],
    ['with extents of a further path', raw('0000000d011000016100000002'), { ...none, entries: 2 }],
    ['with an entry larger than any', Buffer.from('0003000102', 'hex'), none],
  ];
  const entries = [
    ...BROKEN.map(([name, ...broken]) => [name, unchecked(broken), totalsOf(broken)] as const),
    ...BROKEN_INSIDE.map(
      ([name, ...broken]) =>
        [
          name,
          Buffer.concat([unchecked([PLAIN]), unchecked(broken)]),
          totalsOf([PLAIN].concat(broken)),
        ] as const,
    ),
  ];
  return [...bytes, ...entries].map(([name, one, { entries: number, size, contentSize }]) =>
    withBytes({ kind: 'index', name, expect: 'damaged', entries: number, size, contentSize }, one),
  );
}

function unchecked(entries: readonly FolderEntry[]): Buffer {
  const writer = new EntryWriter();
  const context = { contentSize: 0, groups: 0 };
  return Buffer.concat(entries.map((one) => Buffer.from(writer.write(one, context))));
}

function totalsOf(entries: readonly FolderEntry[]): { entries: number; size: number; contentSize: number } {
  const contents = entries.flatMap(({ content }) => (content === null ? [] : [content]));
  return {
    entries: Math.max(1, entries.length),
    size: contents.reduce((sum, { size }) => sum + size, 0),
    contentSize: contents.reduce((sum, one) => sum + dataSize(one), 0),
  };
}
