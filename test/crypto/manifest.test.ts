import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { keysOfRoot, privateKey, unwrapKeys, wrapKeys } from '../../src/crypto/keys.ts';
import {
  idEntry,
  ManifestOpener,
  ManifestSealer,
  manifestHash,
  openContentPart,
} from '../../src/crypto/manifest.ts';
import { decodeManifestObject } from '../../src/format/manifest-object.ts';
import { INLINE_SIZE, MAX_INLINE_SIZE, TOP_ENTRIES } from '../../src/format/manifest.ts';
import type { ChunkRef, ContentTable, IdsTable, ManifestHead } from '../../src/format/manifest.ts';
import {
  acceptedChanges,
  CHEAP,
  inlineFile,
  outcome,
  sampleFile,
  sampleHead,
  sampleKeys,
  VAULT_ID,
  WRITER,
  refusal,
} from './samples.ts';
import type { SampleFile } from './samples.ts';

const keys = sampleKeys();
const sealer = new ManifestSealer(keys);
const opener = new ManifestOpener(keys);

function open(bytes: Uint8Array, by: ManifestOpener = opener): ReturnType<ManifestOpener['open']> {
  return by.open(bytes, manifestHash(bytes));
}

const time = fc.integer({ min: -8_640_000_000_000_000, max: 8_640_000_000_000_000 });
const anyHead: fc.Arbitrary<Partial<ManifestHead>> = fc.record({
  name: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 50 }).filter((name) => !name.includes('\0')),
  createdAtMs: time,
  modified: fc.option(
    fc.record({
      seconds: fc.integer({ min: -8_640_000_000_000, max: 8_640_000_000_000 }),
      nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
    }),
    { nil: null },
  ),
  mode: fc.option(fc.integer({ min: 0, max: 0o7777 }), { nil: null }),
  expiresAtMs: fc.option(time, { nil: null }),
  version: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  epoch: fc.integer({ min: 1, max: 9_999_999_999 }),
  redundancy: fc.constantFrom({ k: 1, m: 0 }, { k: 2, m: 1 }, { k: 12, m: 4 }),
});

/** Tables whose chunks hold tables: content of 1,000 chunks and more, with ids beside. */
function deepFile(chunks: number, idsDepth: 0 | 1, { chunkSize = 64 * 1024, run = 4096 } = {}): SampleFile {
  const refs: ChunkRef[] = [];
  for (let from = 0, i = 1; from < chunks; from += run, i += 1) {
    const length = 68 * Math.min(run, chunks - from);
    refs.push({ tag: Buffer.alloc(32, i), hash: Buffer.alloc(32, i + 100), length });
  }
  const size = chunks * chunkSize;
  const content = { size, chunkSize, depth: 1, refs, inline: null } as const;
  const own = Array.from({ length: chunks }, () => ({ id: 'ab'.repeat(32), padded: chunkSize + 5 }));
  const ids: IdsTable =
    idsDepth === 0
      ? { depth: 0, ids: [...own, ...refs.map((ref) => idEntry(ref, null))] }
      : {
          depth: 1,
          refs: [{ tag: randomBytes(32), hash: randomBytes(32), length: 36 * (chunks + refs.length) }],
        };
  const head = sampleHead({ size, chunkSize, chunks });
  return { head, ids, content, contentKey: randomBytes(32), lock: null };
}

describe('a manifest', () => {
  test('is opened as it was sealed', () => {
    fc.assert(
      fc.property(anyHead, fc.nat({ max: 20 }), fc.uint8Array({ maxLength: 300 }), (head, chunks, inline) => {
        const file = chunks === 0 ? inlineFile(Buffer.from(inline), head) : sampleFile(chunks, head);
        const bytes = sealer.seal(file);
        expect(open(bytes)).toEqual({
          unlock: expect.any(Function),
          hash: manifestHash(bytes),
          head: file.head,
          writer: WRITER,
          ids: file.ids,
          access: { content: file.contentKey },
          content: { table: file.content, folder: null, key: file.contentKey },
        });
      }),
      { numRuns: 60 },
    );
  });

  test.each([
    ['an empty file', inlineFile(Buffer.alloc(0))],
    ['the largest inline body of a writer', inlineFile(Buffer.alloc(INLINE_SIZE, 1))],
    ['the largest inline body', inlineFile(Buffer.alloc(MAX_INLINE_SIZE, 1))],
    ['the longest name', inlineFile(Buffer.alloc(1), { name: '\u0001'.repeat(16_384) })],
    ['the largest table', sampleFileOf(TOP_ENTRIES)],
    ['a table in chunks', deepFile(1000, 0)],
    ['ids and table in chunks', deepFile(3000, 1)],
    [
      'a table in chunks as large as those of the content',
      deepFile(2000, 0, { chunkSize: 68 * 1024, run: 1024 }),
    ],
  ])('of %s is opened as it was sealed', (_, file) => {
    const opened = open(sealer.seal(file));
    expect(opened.head).toEqual(file.head);
    expect(opened.ids).toEqual(file.ids);
    expect(opened.content).toEqual({ table: file.content, folder: null, key: file.contentKey });
  });

  test('differs each time, and is of one session', () => {
    const [one, other] = [sealer.seal(sampleFile(1)), sealer.seal(sampleFile(1))];
    expect(one).not.toEqual(other);
    const { enc } = decodeManifestObject(one);
    expect(decodeManifestObject(other).enc).toEqual(enc);
    expect(decodeManifestObject(new ManifestSealer(keys).seal(sampleFile(1))).enc).not.toEqual(enc);
  });

  test('is opened by the holders of other full keyslots, whoever sealed it', () => {
    const colleague = sampleKeys({ writer: 'f1'.repeat(16) });
    const theirs = new ManifestSealer(colleague).seal(sampleFile(2));
    expect(open(theirs).writer).toBe('f1'.repeat(16));
    expect(open(sealer.seal(sampleFile(2)), new ManifestOpener(colleague)).writer).toBe(WRITER);
  });

  test('is opened under the root that its writer has, and under no other', () => {
    const [former, writer] = [new Map([[WRITER, 1]]), 'f1'.repeat(16)];
    const rotated = keysOfRoot(Buffer.alloc(32, 2), {
      vaultId: VAULT_ID,
      rootNumber: 2,
      writer,
      earlier: [keys],
      formerRoots: former,
    });
    const after = new ManifestOpener(rotated);
    expect(open(sealer.seal(sampleFile(2)), after).writer).toBe(WRITER);
    expect(open(new ManifestSealer(rotated).seal(sampleFile(2)), after).writer).toBe(writer);
    const kept = new ManifestSealer(sampleKeys({ writer }));
    expect(() => open(kept.seal(sampleFile(2)), after)).toThrow(
      expect.objectContaining({
        code: 'damaged',
        message: 'A manifest is sealed under another root than its writer has.',
      }),
    );
    const next = new ManifestSealer(sampleKeys({ root: 3, rootNumber: 3 }));
    expect(() => open(next.seal(sampleFile(2)), after)).toThrow(refusal('unsupported'));
  });

  test('tells its content to who has only its content key', () => {
    const file = sampleFile(3);
    const object = decodeManifestObject(sealer.seal(file));
    expect(openContentPart(object, file.contentKey)).toEqual({ table: file.content, folder: null });
    expect(outcome(() => openContentPart(object, randomBytes(32)))).toBe('damaged');
  });

  test('is refused with any byte of it changed or missing, under its old hash and its new one', () => {
    const bytes = sealer.seal(inlineFile(Buffer.from('body')));
    const hash = manifestHash(bytes);
    expect(acceptedChanges(bytes, (changed) => opener.open(changed, hash))).toEqual([]);
  });

  test('of any bytes is damaged or unsupported', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1000 }), fc.boolean(), (bytes, isStarted) => {
        const object = isStarted ? Buffer.concat([Buffer.from('vlt2mnfs\0\0\0\x01'), bytes]) : bytes;
        expect(outcome(() => open(object))).toMatch(/damaged|unsupported/);
      }),
    );
  });

  test.each([
    ['another root secret', sampleKeys({ root: 2 }), 'damaged'],
    ['another vault', sampleKeys({ vaultId: 'f0'.repeat(16) }), 'damaged'],
    ['another root number', sampleKeys({ rootNumber: 2 }), 'unsupported'],
  ])('of %s is refused', (_, others, code) => {
    expect(outcome(() => open(new ManifestSealer(others).seal(sampleFile(1))))).toBe(code);
  });

  test.each([
    ['vlt3mnfs', 'unsupported'],
    ['vlt1mnfs', 'unsupported'],
    ['vlt2mnfx', 'damaged'],
  ])('that starts with %s is %s', (magic, code) => {
    const bytes = sealer.seal(sampleFile(1));
    bytes.write(magic);
    expect(outcome(() => open(bytes))).toBe(code);
  });

  // Of another root, so that nothing but its size can make it damaged.
  test.each([707, 64 * 1024 * 1024 + 1])('of %i bytes is damaged', (size) => {
    const bytes = Buffer.alloc(size);
    bytes.write('vlt2mnfs\0\0\0\x02', 'latin1');
    expect(outcome(() => open(bytes))).toBe('damaged');
  });

  test('has one content part: that of another with the same keys does not fit', () => {
    const salt = Buffer.alloc(32, 9);
    const file = sampleFile(2);
    const one = sealer.seal({ ...file, fixed: { salt } });
    const hash = Buffer.alloc(32, 99);
    const refs = file.content.refs.map((ref) => ({ ...ref, hash }));
    const other = sealer.seal({ ...file, content: { ...file.content, refs }, fixed: { salt } });
    const parts = [decodeManifestObject(one), decodeManifestObject(other)] as const;
    const mixed = Buffer.concat([parts[0].header, parts[0].vault.bytes, parts[1].content.bytes]);
    expect(outcome(() => open(mixed))).toBe('damaged');
  });
});

/** A file of chunks that all differ, as many as a table may list. */
function sampleFileOf(chunks: number): SampleFile {
  const chunkSize = 64 * 1024;
  const refs = Array.from({ length: chunks }, () => ({
    tag: randomBytes(32),
    hash: randomBytes(32),
    length: chunkSize,
  }));
  const size = chunks * chunkSize;
  return {
    head: sampleHead({ size, chunkSize, chunks }),
    ids: { depth: 0, ids: refs.map((ref) => idEntry(ref, chunkSize)) },
    content: { size, chunkSize, depth: 0, refs, inline: null },
    contentKey: randomBytes(32),
    lock: null,
  };
}

/** A table that lists a chunk too few. */
function shortDeepFile(): SampleFile {
  const deep = deepFile(1000, 1);
  return { ...deep, head: { ...deep.head, chunks: 1001, size: 1001 * 64 * 1024 } };
}

describe('what readers would refuse is not sealed', () => {
  test.each<[string, Partial<ManifestHead>]>([
    ['name', { name: '' }],
    ['name', { name: 'a\0b' }],
    ['name', { name: '\ud800' }],
    ['name', { name: 'a'.repeat(16_385) }],
    ['size', { size: -1 }],
    ['size', { size: null }],
    ['created', { createdAtMs: 8_640_000_000_000_001 }],
    ['created', { createdAtMs: NaN }],
    ['created', { createdAtMs: 0.5 }],
    ['modified', { modified: { seconds: 8_640_000_000_001, nanoseconds: 0 } }],
    ['modified', { modified: { seconds: 0.5, nanoseconds: 0 } }],
    ['0', { modified: { seconds: -8_640_000_000_001, nanoseconds: 0 } }],
    ['1', { modified: { seconds: 0, nanoseconds: 1_000_000_000 } }],
    ['1', { modified: { seconds: 0, nanoseconds: -1 } }],
    ['mode', { mode: 0o10000 }],
    ['mode', { mode: NaN }],
    ['expires', { expiresAtMs: -8_640_000_000_000_001 }],
    ['expires', { expiresAtMs: Infinity }],
    ['version', { version: 0 }],
    ['epoch', { epoch: 0 }],
    ['redundancy', { redundancy: { k: 16, m: 1 } }],
    ['chunkSize', { chunkSize: 1000 }],
    ['chunks', { chunks: 2 }],
    ['chunks', { chunks: 0.5 }],
  ])('%s in %o', (field, change) => {
    const file = sampleFile(1, change);
    const seal = (): unknown => sealer.seal({ ...file, head: { ...file.head, ...change } });
    expect(seal).toThrow(
      expect.objectContaining({
        code: 'invalid-input',
        message: expect.stringMatching(`"${/^[01]$/.test(field) ? 'modified' : field}"`),
      }),
    );
  });

  const file = sampleFile(3);
  const [first, second, last] = file.content.refs;
  if (first === undefined || second === undefined || last === undefined) throw new Error('There are three.');
  const { ids } = file.ids.depth === 0 ? file.ids : { ids: [] };
  const [firstId, secondId, lastId] = ids;
  if (firstId === undefined || secondId === undefined || lastId === undefined)
    throw new Error('There are three.');

  test.each<[string, Partial<ContentTable>]>([
    ['another size', { size: file.content.size - 1 }],
    ['another chunk size', { chunkSize: 128 * 1024 }],
    ['fewer chunks', { refs: [first, second] }],
    ['more chunks', { refs: [first, second, last, last] }],
    ['another order of chunks', { refs: [second, first, last] }],
    ['another chunk', { refs: [first, { ...second, tag: Buffer.alloc(32, 77) }, last] }],
    ['another length', { refs: [first, second, { ...last, length: 999 }] }],
    ['a depth that its chunks do not have', { depth: 1 }],
    ['an inline body beside', { inline: Buffer.alloc(10) }],
    ['no chunks', { refs: [] }],
  ])('a content part with %s', (_, change) => {
    expect(outcome(() => sealer.seal({ ...file, content: { ...file.content, ...change } }))).toBe(
      'invalid-input',
    );
  });

  test.each<[string, IdsTable]>([
    ['no ids', { depth: 0, ids: [] }],
    ['an id too few', { depth: 0, ids: [firstId, secondId] }],
    ['an id too many', { depth: 0, ids: [firstId, secondId, lastId, lastId] }],
    ['another id', { depth: 0, ids: [firstId, { ...secondId, id: 'ff'.repeat(32) }, lastId] }],
    ['another padded length', { depth: 0, ids: [firstId, secondId, { ...lastId, padded: 1005 }] }],
    ['a padded length of nothing', { depth: 0, ids: [firstId, secondId, { ...lastId, padded: 0 }] }],
    ['an empty table in chunks', { depth: 1, refs: [] }],
    ['too short a table in chunks', { depth: 1, refs: [{ ...first, length: 72 }] }],
    ['half an entry in a chunk', { depth: 1, refs: [{ ...first, length: 37 * 3 }] }],
    ['a chunk too large for a table', { depth: 1, refs: [{ ...first, length: 36 * 4097 }] }],
  ])('a vault part with %s', (_, changed) => {
    expect(outcome(() => sealer.seal({ ...file, ids: changed }))).toBe('invalid-input');
  });

  test.each([
    ['more entries than a manifest may list', sampleFileOf(TOP_ENTRIES + 1)],
    ['a larger inline body than a manifest may have', inlineFile(Buffer.alloc(MAX_INLINE_SIZE + 1))],
    [
      'an inline body of another size',
      { ...inlineFile(Buffer.alloc(5)), head: inlineFile(Buffer.alloc(6)).head },
    ],
    ['ids of an inline body', { ...inlineFile(Buffer.alloc(5)), ids: { depth: 0, ids: [firstId] } as const }],
    ['a table of tables that is too short', shortDeepFile()],
    ['a content key of another size', { ...sampleFile(1), contentKey: Buffer.alloc(31) }],
    ['a lock that is not there', { ...sampleFile(1, { locked: true, size: null }) }],
  ])('%s', (_, changed) => {
    expect(outcome(() => sealer.seal(changed))).toBe('invalid-input');
  });
});

describe('a session', () => {
  test('is agreed on once, however many manifests it has', () => {
    const counted = sampleKeys();
    const { full } = counted;
    if (full === null) throw new Error('These are full keys.');
    let agreements = 0;
    const watched = new ManifestOpener({
      ...counted,
      full: {
        ...full,
        get readPrivate() {
          agreements += 1;
          return full.readPrivate;
        },
      },
    });
    const another = new ManifestSealer(keys);
    for (let i = 0; i < 10; i += 1) {
      open(sealer.seal(sampleFile(1)), watched);
      open(another.seal(sampleFile(1)), watched);
    }
    expect(agreements).toBe(2);
  });

  test('of a key that others fixed is that key, for worked examples', () => {
    const ephemeral = privateKey('x25519', Buffer.alloc(32, 5));
    const file = { ...sampleFile(1), contentKey: Buffer.alloc(32, 6), fixed: { salt: Buffer.alloc(32, 7) } };
    const [one, other] = [0, 1].map(() => new ManifestSealer(keys, { ephemeral }).seal(file));
    expect(one).toEqual(other);
  });

  test('whose key is a point of small order is refused', () => {
    const bytes = sealer.seal(sampleFile(1));
    bytes.fill(0, 28, 60);
    expect(outcome(() => open(bytes))).toBe('damaged');
  });
});

test('who can only store seals what others open, and opens nothing, not even its own', async () => {
  const own = { vaultId: VAULT_ID, rootNumber: 1 };
  const slot = await wrapKeys(sampleKeys({ writer: 'f1'.repeat(16) }), 'cron', {
    role: 'put',
    createdAtMs: 1,
    label: 'nightly',
    cost: CHEAP,
  });
  const put = await unwrapKeys(slot, 'cron', own);
  if (put === null) throw new Error('It does not open.');
  const bytes = new ManifestSealer(put).seal(sampleFile(2));
  expect(open(bytes).writer).toBe('f1'.repeat(16));
  expect(() => new ManifestOpener(put)).toThrow(refusal('denied'));
  // In the name of another writer, whose psk it does not have, it seals nothing that opens.
  const forged = new ManifestSealer({ ...put, writer: { ...put.writer, id: WRITER } }).seal(sampleFile(2));
  expect(outcome(() => open(forged))).toBe('damaged');
});
