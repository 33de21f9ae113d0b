// A folder's index is read as it was written, in whatever pieces it comes; what was changed is refused, or is another index.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dataSize, EntryWriter } from '../../src/format/folder-entry.ts';
import { comparePaths, EntryDecoder, EntryEncoder, isIndexEnd } from '../../src/format/folder-index.ts';
import type { EntryKind, Extent, FolderEntry, FolderTotals } from '../../src/format/folder-index.ts';
import { outcome } from '../crypto/samples.ts';

/** The folder itself, and an entry of nothing, from which others are made. */
const ROOT: FolderEntry = {
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

function entry(path: string | Buffer, change: Partial<FolderEntry> = {}): FolderEntry {
  return { ...ROOT, path: Buffer.from(path), ...change };
}

function file(path: string, size = 0, offset = 0, extents: readonly Extent[] | null = null): FolderEntry {
  return entry(path, { kind: 'file', content: { size, offset, extents } });
}

function encodeAll(entries: readonly FolderEntry[]): Buffer {
  const encoder = new EntryEncoder();
  return Buffer.concat(entries.map((one) => Buffer.from(encoder.encode(one))));
}

function totalsOf(entries: readonly FolderEntry[]): FolderTotals {
  const contents = entries.flatMap(({ content }) => (content === null ? [] : [content]));
  return {
    entries: entries.length,
    size: contents.reduce((sum, { size }) => sum + size, 0),
    contentSize: contents.reduce((_, one) => one.offset + dataSize(one), 0),
  };
}

/** Reads an index of which nothing is known but its bytes. */
function decodeAll(bytes: Uint8Array): FolderEntry[] {
  const entries = new EntryDecoder({ entries: 0, size: 0, contentSize: 0 }).push(bytes);
  const decoder = new EntryDecoder(totalsOf(entries));
  decoder.push(bytes);
  decoder.end();
  return entries;
}

/** What is not refused is written as it was read. @returns the bytes that it would be; null if it was refused */
function rewritten(whole: Uint8Array): Buffer | null {
  return outcome(() => decodeAll(whole)) === 'success' ? encodeAll(decodeAll(whole)) : null;
}

/** The bytes of entries that no encoder would write after one another. */
function byHand(...entries: readonly FolderEntry[]): Buffer {
  return Buffer.concat(
    [ROOT, ...entries].map((one) => Buffer.from(new EntryWriter().write(one, { contentSize: 0, groups: 0 }))),
  );
}

// --- trees --------------------------------------------------------------------------------------------

const bytes = (least: number, most: number, from = 0): fc.Arbitrary<Buffer> =>
  fc
    .array(fc.integer({ min: from, max: 255 }), { minLength: least, maxLength: most })
    .map((drawn) => Buffer.from(drawn));
/** Names that are bytes, many of them near "/" and "."; a few letters, so that they share beginnings. */
const name = fc
  .array(fc.oneof(fc.constantFrom(0x01, 0x2d, 0x2e, 0x30, 0x61, 0xff), fc.integer({ min: 1, max: 255 })), {
    minLength: 1,
    maxLength: 4,
  })
  .map((drawn) => Buffer.from(drawn.map((byte) => (byte === 0x2f ? 0x2e : byte))))
  .filter((drawn) => !drawn.equals(Buffer.from('.')) && !drawn.equals(Buffer.from('..')));
const shortText = fc.option(
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }).filter((text) => !text.includes('\0')),
  { nil: null },
);
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const common = fc.record({
  mode: fc.option(fc.integer({ min: 0, max: 0o7777 }), { nil: null }),
  owner: fc.option(fc.record({ uid: u32, gid: u32, user: shortText, group: shortText }), { nil: null }),
  modified: fc.option(
    fc.record({
      seconds: fc.integer({ min: -8_640_000_000_000, max: 8_640_000_000_000 }),
      nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
    }),
    { nil: null },
  ),
  attributes: fc
    .uniqueArray(fc.record({ name: bytes(1, 6, 1), value: bytes(0, 20) }), {
      maxLength: 3,
      selector: (one) => one.name.toString('hex'),
    })
    .map((drawn) => drawn.toSorted((a, b) => a.name.compare(b.name))),
});
/** Lengths of data and of the holes around it. */
const runs = fc.array(fc.tuple(fc.integer({ min: 1, max: 2 ** 40 }), fc.integer({ min: 1, max: 2 ** 40 })), {
  maxLength: 4,
});
const contents = fc.oneof(
  fc.integer({ min: 0, max: 2 ** 45 }).map((size) => ({ size, extents: null })),
  fc.tuple(fc.integer({ min: 1, max: 2 ** 40 }), fc.nat(3), runs).map(([tail, front, some]) => {
    let at = front;
    const extents = some.map(([length, hole]) => {
      const start = at;
      at += length + hole;
      return { start, length };
    });
    return { size: at + tail, extents };
  }),
);
interface Drawn {
  readonly kind: EntryKind;
  readonly common: Pick<FolderEntry, 'mode' | 'owner' | 'modified' | 'attributes'>;
  readonly content: Pick<NonNullable<FolderEntry['content']>, 'size' | 'extents'>;
  /** Bytes of no file before its data. */
  readonly gap: number;
  readonly target: Buffer;
  readonly device: { readonly major: number; readonly minor: number };
  /** Of a file: 0 for one path, 1 for a new group, more for one of those before if there is any. */
  readonly link: number;
  readonly name: Buffer;
  /** Where the tree has it: below which of the folders so far. */
  readonly place: number;
}
const drawnEntry: fc.Arbitrary<Drawn> = fc.record({
  kind: fc.constantFrom<EntryKind>(
    'file',
    'file',
    'folder',
    'folder',
    'symlink',
    'fifo',
    'block-device',
    'char-device',
  ),
  common,
  content: contents,
  gap: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 2 ** 32 - 1 })),
  target: bytes(1, 10, 1),
  device: fc.record({ major: u32, minor: u32 }),
  link: fc.nat(4),
  name,
  place: fc.nat(),
});

/** A tree in order: each entry lies in a folder that was drawn before it. */
function treeOf(top: Drawn['common'], drawn: readonly Drawn[]): FolderEntry[] {
  const folders = [Buffer.alloc(0)];
  const found = new Map<string, Drawn & { readonly path: Buffer }>();
  for (const one of drawn) {
    const parent = folders[one.place % folders.length] ?? Buffer.alloc(0);
    const path = Buffer.concat(parent.length === 0 ? [one.name] : [parent, Buffer.from('/'), one.name]);
    if (found.has(path.toString('hex'))) continue;
    found.set(path.toString('hex'), { ...one, path });
    if (one.kind === 'folder') folders.push(path);
  }
  const context = { contentSize: 0, groups: 0 };
  const sorted = [...found.values()].toSorted((a, b) => comparePaths(a.path, b.path));
  return [{ ...ROOT, ...top }, ...sorted.map((one) => entryOf(one, context))];
}

/** @param context of the entries before; this one's is added */
function entryOf(
  { path, kind, common: own, ...one }: Drawn & { readonly path: Buffer },
  context: { contentSize: number; groups: number },
): FolderEntry {
  const plain = entry(path, { ...own, kind });
  if (kind === 'symlink') return { ...plain, target: one.target };
  if (kind === 'block-device' || kind === 'char-device') return { ...plain, device: one.device };
  if (kind !== 'file') return plain;
  if (one.link > 1 && context.groups > 0) return { ...plain, linkGroup: 1 + (one.link % context.groups) };
  const hasData = dataSize(one.content) > 0;
  const content = { ...one.content, offset: context.contentSize + (hasData ? one.gap : 0) };
  context.contentSize = content.offset + dataSize(content);
  if (one.link === 1) context.groups += 1;
  return { ...plain, content, linkGroup: one.link === 1 ? context.groups : null };
}
const tree = fc
  .tuple(common, fc.array(drawnEntry, { maxLength: 12 }))
  .map(([top, drawn]) => treeOf(top, drawn));

/** A folder and in it one with three attributes, the last of them with a value of a size. */
function withValue(size: number): FolderEntry[] {
  const attributes = [1, 2, 3].map((i) => ({
    name: Buffer.from([i]),
    value: Buffer.alloc(i === 3 ? size : 65_536),
  }));
  return [ROOT, entry('a', { attributes })];
}

// --- what is written is read --------------------------------------------------------------------------

describe('an index', () => {
  test('is read as it was written, in whatever pieces', () => {
    fc.assert(
      fc.property(tree, fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 }), (entries, sizes) => {
        const whole = encodeAll(entries);
        const decoder = new EntryDecoder(totalsOf(entries));
        const choosing = new EntryDecoder(totalsOf(entries));
        const read: FolderEntry[] = [];
        const seen: Buffer[] = [];
        const chosen: FolderEntry[] = [];
        const isChosen = ({ path }: FolderEntry): boolean => seen.push(Buffer.from(path)) % 3 === 0;
        for (let at = 0, i = 0; at < whole.length; i += 1) {
          const size = sizes[i % sizes.length] ?? 1;
          // The bytes may be used for something else afterwards.
          const piece = Buffer.from(whole.subarray(at, at + size));
          read.push(...decoder.push(piece));
          chosen.push(...choosing.push(piece, isChosen));
          piece.fill(0xaa);
          at += size;
        }
        decoder.end();
        choosing.end();
        expect(read).toEqual(entries);
        expect(seen).toEqual(entries.map(({ path }) => path));
        expect(chosen).toEqual(entries.filter((_, index) => index % 3 === 2));
      }),
    );
  });

  test('with any bit changed, cut or longer is refused, or is another index', () => {
    const change = fc.record({ at: fc.nat(), by: fc.integer({ min: 1, max: 255 }) });
    fc.assert(
      fc.property(tree, fc.array(change, { minLength: 1, maxLength: 30 }), (entries, changes) => {
        const whole = encodeAll(entries);
        for (const { at, by } of changes) {
          const place = at % whole.length;
          const other = Buffer.from(whole);
          other[place] = (other[place] ?? 0) ^ by;
          for (const changed of [
            other,
            whole.subarray(0, place),
            Buffer.concat([whole, Buffer.from([by])]),
          ]) {
            expect([null, changed]).toContainEqual(rewritten(changed));
          }
          const decoder = new EntryDecoder(totalsOf(entries));
          expect(
            outcome(() => {
              decoder.push(whole.subarray(0, place));
              decoder.end();
            }),
          ).toBe('damaged');
        }
      }),
      { numRuns: 60 },
    );
  });

  test('of any bytes is refused or has one spelling', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (drawn) => {
        const whole = Buffer.concat([byHand(), Buffer.alloc(4), drawn]);
        whole.writeUInt32BE(drawn.length + 4, byHand().length);
        expect([null, whole]).toContainEqual(rewritten(whole));
      }),
      { numRuns: 2000 },
    );
  });

  test('may have bytes of no file between the data of two, and behind that of the last', () => {
    const entries = [ROOT, file('a', 5, 3), file('b'), file('c', 7, 8 + 2 ** 32 - 1)];
    entries[2] = file('b', 0, 8);
    const whole = encodeAll(entries);
    expect(decodeAll(whole)).toEqual(entries);
    for (const [more, expected] of [
      [0, 'success'],
      [1, 'success'],
      [-1, 'damaged'],
    ] as const) {
      const { contentSize, ...rest } = totalsOf(entries);
      const decoder = new EntryDecoder({ ...rest, contentSize: contentSize + more });
      decoder.push(whole);
      expect(outcome(() => decoder.end())).toBe(expected);
    }
    for (const offset of [2 ** 32, -1]) {
      expect(outcome(() => encodeAll([ROOT, file('a', 5, offset)]))).toBe('invalid-input');
    }
    // What has no data is nowhere.
    expect(outcome(() => encodeAll([ROOT, file('a', 0, 1)]))).toBe('invalid-input');
  });

  test('has entries of its own memory', () => {
    const whole = encodeAll([ROOT, file('a', 1)]);
    const [, read] = new EntryDecoder(totalsOf([])).push(whole);
    whole.fill(0);
    expect(read?.path.toString()).toBe('a');
  });

  test('holds the largest entry, and none that is larger', () => {
    const most = 192 * 1024 - 8 - 1 - 2 - 3 * 6 - 2 * 65_536;
    expect(decodeAll(encodeAll(withValue(most)))).toEqual(withValue(most));
    expect(outcome(() => encodeAll(withValue(most + 1)))).toBe('invalid-input');
  });

  test('needs more entries after each other, not more memory: a million folders in one another do not fit a path', () => {
    expect(outcome(() => encodeAll([ROOT, entry('a'.repeat(65_536))]))).toBe('invalid-input');
    expect(outcome(() => encodeAll([ROOT, entry('a'.repeat(65_535))]))).toBe('success');
  });
});

describe('an index of entries that are as they were', () => {
  test('has the same bytes, whatever other files grew or have further paths', () => {
    const before = [
      ROOT,
      file('a', 5),
      file('b', 7, 5),
      entry('c', { kind: 'file', content: { size: 1, offset: 12, extents: null }, linkGroup: 1 }),
      entry('d', { kind: 'file', linkGroup: 1 }),
    ];
    const after = [
      ROOT,
      entry('a', { kind: 'file', content: { size: 6, offset: 0, extents: null }, linkGroup: 1 }),
      entry('aa', { kind: 'file', linkGroup: 1 }),
      file('b', 7, 6),
      entry('c', { kind: 'file', content: { size: 1, offset: 13, extents: null }, linkGroup: 2 }),
      entry('d', { kind: 'file', linkGroup: 2 }),
    ];
    const tail = encodeAll(before).subarray(encodeAll(before.slice(0, 2)).length);
    expect(encodeAll(after).subarray(encodeAll(after.slice(0, 3)).length)).toEqual(tail);
  });

  test('ends its chunks where paths say so, within bounds', () => {
    expect([65_535, 65_536].map((size) => isIndexEnd(() => 1 / 2049, size))).toEqual([false, true]);
    expect([786_431, 786_432].map((size) => isIndexEnd(() => 1 / 2048, size))).toEqual([false, true]);
  });
});

// --- what is refused ----------------------------------------------------------------------------------

describe('the order of paths', () => {
  test('has "/" before every other byte', () => {
    const sorted = ['', 'a', 'a/b', 'a/b/c', 'a/b\u0001', 'a\u0001', 'a-', 'a.', 'a0', 'b'];
    expect(sorted.toReversed().toSorted((a, b) => comparePaths(Buffer.from(a), Buffer.from(b)))).toEqual(
      sorted,
    );
  });

  test('is one: of two different paths exactly one comes first', () => {
    fc.assert(
      fc.property(bytes(0, 5), bytes(0, 5), (one, other) => {
        const order = comparePaths(one, other);
        expect(Math.sign(comparePaths(other, one))).toBe(0 - Math.sign(order));
        expect(order === 0).toBe(one.equals(other));
      }),
    );
  });
});

const refusedOrders: readonly (readonly [what: string, entries: readonly FolderEntry[]])[] = [
  ['the folder itself again', [ROOT]],
  ['an absolute path', [entry('/a')]],
  ['a path with a slash at its end', [entry('a/')]],
  ['two slashes', [entry('a'), entry('a//b')]],
  ['a part that is a dot', [entry('.')]],
  ['a part that is two dots', [entry('..')]],
  ['a way out of a folder', [entry('a'), entry('a/..')]],
  ['a way through two dots', [entry('..'), entry('../a')]],
  ['NUL', [entry('a\0b')]],
  ['an entry twice', [entry('a'), entry('a')]],
  ['entries out of order', [entry('b'), entry('a')]],
  ['entries in the order of plain bytes', [entry('a'), entry('a-'), entry('a/b')]],
  ['an entry below a file', [file('a'), file('a/b')]],
  [
    'an entry below a symlink',
    [entry('a', { kind: 'symlink', target: Buffer.from('/etc') }), file('a/passwd')],
  ],
  ['an entry below what is not there', [entry('a'), entry('b/c')]],
  ['an entry below what only begins like a folder', [entry('a'), entry('aa/b')]],
  ['an entry that skips a folder', [entry('a'), entry('a/b/c')]],
  ['an entry back in a file', [entry('a'), file('a/b'), entry('a/c'), file('a/b/d')]],
  ['a further path of no file', [entry('a', { kind: 'file', linkGroup: 1 })]],
];

test.each(refusedOrders)('%s is refused', (_, entries) => {
  expect(outcome(() => decodeAll(byHand(...entries)))).toBe('damaged');
  expect(outcome(() => encodeAll([ROOT, ...entries]))).toBe('invalid-input');
});

test('nothing comes before the folder itself, and it is one', () => {
  expect(outcome(() => decodeAll(byHand(entry('a')).subarray(8)))).toBe('damaged');
  expect(outcome(() => encodeAll([entry('a')]))).toBe('invalid-input');
  expect(outcome(() => encodeAll([entry('', { kind: 'fifo' })]))).toBe('invalid-input');
  expect(outcome(() => new EntryDecoder({ entries: 1, size: 0, contentSize: 0 }).end())).toBe('damaged');
});

const refusedEntries: readonly (readonly [what: string, entry: FolderEntry])[] = [
  ['a mode of more than 12 bits', entry('a', { mode: 0o100644 })],
  ['a file that neither has content nor is a further path', entry('a', { kind: 'file' })],
  ['content at an offset before that of the file before', file('a', 1, -1)],
  ['content of what is no file', entry('a', { content: { size: 0, offset: 0, extents: null } })],
  ['a link group whose first path is not the next group', { ...file('a'), linkGroup: 2 }],
  ['a symlink without a target', entry('a', { kind: 'symlink' })],
  ['a target with NUL', entry('a', { kind: 'symlink', target: Buffer.from('a\0') })],
  ['a time that is none', entry('a', { modified: { seconds: 8_640_000_000_001, nanoseconds: 0 } })],
  ['a second of 10^9 ns', entry('a', { modified: { seconds: 0, nanoseconds: 1_000_000_000 } })],
  ['a size beyond exact numbers', file('a', 2 ** 53)],
  ['extents that are all of the file', file('a', 5, 0, [{ start: 0, length: 5 }])],
  ['extents of an empty file', file('a', 0, 0, [])],
  ['an extent of nothing', file('a', 5, 0, [{ start: 0, length: 0 }])],
  [
    'extents that touch',
    file('a', 9, 0, [
      { start: 0, length: 2 },
      { start: 2, length: 2 },
    ]),
  ],
  [
    'extents that overlap',
    file('a', 9, 0, [
      { start: 0, length: 2 },
      { start: 1, length: 2 },
    ]),
  ],
  ['an extent beyond the end', file('a', 9, 0, [{ start: 8, length: 2 }])],
  ['a name with NUL', entry('a', { owner: { uid: 0, gid: 0, user: 'a\0', group: null } })],
  ['a name that is too long', entry('a', { owner: { uid: 0, gid: 0, user: 'a'.repeat(256), group: null } })],
  ['a user number beyond 32 bits', entry('a', { owner: { uid: 2 ** 32, gid: 0, user: null, group: null } })],
  [
    'an attribute without a name',
    entry('a', { attributes: [{ name: Buffer.alloc(0), value: Buffer.alloc(1) }] }),
  ],
  ['an attribute with NUL', entry('a', { attributes: [{ name: Buffer.alloc(1), value: Buffer.alloc(1) }] })],
  [
    'attributes out of order',
    entry('a', { attributes: ['b', 'a'].map((one) => ({ name: Buffer.from(one), value: Buffer.alloc(1) })) }),
  ],
  [
    'an attribute twice',
    entry('a', { attributes: ['a', 'a'].map((one) => ({ name: Buffer.from(one), value: Buffer.alloc(1) })) }),
  ],
  [
    'too large an attribute',
    entry('a', { attributes: [{ name: Buffer.from('a'), value: Buffer.alloc(65_537) }] }),
  ],
];

test.each(refusedEntries)('%s cannot be written', (_, one) => {
  expect(outcome(() => encodeAll([ROOT, one]))).toBe('invalid-input');
});

test('files that together are larger than any number cannot be written', () => {
  const half = 2 ** 52;
  expect(outcome(() => encodeAll([ROOT, file('a', half), file('b', half, half)]))).toBe('invalid-input');
});

test.each([
  ['entries', { entries: 3, size: 1, contentSize: 1 }],
  ['bytes of files', { entries: 2, size: 2, contentSize: 1 }],
  ['bytes of data', { entries: 2, size: 1, contentSize: 0 }],
] as const)(
  'an index of another number of %s than the manifest allows is refused at its end',
  (_, expected) => {
    const decoder = new EntryDecoder(expected);
    expect(decoder.push(encodeAll([ROOT, file('a', 1)]))).toHaveLength(2);
    expect(outcome(() => decoder.end())).toBe('damaged');
  },
);

test.each([0, 7, 196_609, 2 ** 32 - 1])('an entry of %i bytes is refused at once', (length) => {
  const start = Buffer.alloc(4);
  start.writeUInt32BE(length);
  expect(outcome(() => new EntryDecoder(totalsOf([])).push(start))).toBe('damaged');
});
