// What is written is read as it was, and what was changed is refused; or, where only a seal around it can tell, is another value.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openBucketUrl, sealBucketUrl } from '../../src/crypto/texts.ts';
import { keyringObjectName, parseKeyringObjectName } from '../../src/format/keyring.ts';
import {
  decodeContentPart,
  decodeIds,
  decodeRefs,
  decodeVaultPart,
  encodeContentPart,
  encodeIds,
  encodeRefs,
  encodeVaultPart,
  manifestObjectName,
  parseManifestObjectName,
} from '../../src/format/manifest.ts';
import type { ChunkId, ChunkRef, ContentPart, ContentTable, VaultPart } from '../../src/format/manifest.ts';
import { decodeMarker, encodeMarker } from '../../src/format/marker.ts';
import {
  deletionObjectName,
  parseDeletionObjectName,
  parsePutMarkerName,
  parseSweepObjectName,
  putMarkerName,
  sweepObjectName,
} from '../../src/format/removal.ts';
import { acceptedChanges, CHEAP, outcome, sampleHead, sampleKeys } from '../crypto/samples.ts';

const bytes = (size: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength: size, maxLength: size }).map((drawn) => Buffer.from(drawn));
const hex = (size: number): fc.Arbitrary<string> => bytes(size).map((drawn) => drawn.toString('hex'));

const CHUNK_SIZE = 65_536;
const ref = (length: fc.Arbitrary<number>): fc.Arbitrary<ChunkRef> =>
  fc.record({ tag: bytes(32), hash: bytes(32), length });
const anyRef = ref(fc.integer({ min: 1, max: 67_108_864 }));
const anyId: fc.Arbitrary<ChunkId> = fc.record({
  id: hex(32),
  padded: fc.integer({ min: 256, max: 69_206_016 }),
});

/** A change of a byte, a cut, or more bytes; never none. */
const change = fc.record({
  kind: fc.constantFrom('flip', 'cut', 'extend'),
  at: fc.nat(),
  by: fc.integer({ min: 1, max: 255 }),
});

function changed(whole: Uint8Array, { kind, at, by }: { kind: string; at: number; by: number }): Buffer {
  const place = at % whole.length;
  if (kind === 'cut') return Buffer.from(whole.subarray(0, place));
  if (kind === 'extend') return Buffer.concat([whole, Buffer.from([by])]);
  const copy = Buffer.from(whole);
  copy[place] = (copy[place] ?? 0) ^ by;
  return copy;
}

/**
 * Holds a pair of functions to it: a value has one text, and no other text is taken for it.
 *
 * @returns what is not so; null if all is
 */
function wrongIn<T>(
  values: fc.Arbitrary<T>,
  encode: (value: T) => Uint8Array,
  decode: (bytes: Uint8Array) => T,
): string | null {
  const details = fc.check(
    fc.property(values, fc.array(change, { minLength: 1, maxLength: 20 }), (value, changes) => {
      const whole = encode(value);
      expect(decode(whole)).toEqual(value);
      for (const one of whole.length === 0 ? [] : changes) {
        const other = changed(whole, one);
        if (outcome(() => decode(other)) !== 'success') continue;
        expect(Buffer.from(encode(decode(other)))).toEqual(other);
      }
    }),
  );
  return details.failed ? (fc.defaultReportMessage(details) ?? 'It failed.') : null;
}

test('a bucket marker', () => {
  expect(wrongIn(fc.record({ vaultId: hex(16), bucketId: hex(16) }), encodeMarker, decodeMarker)).toBeNull();
});

describe('a table', () => {
  test('of a content', () => {
    expect(wrongIn(fc.array(anyRef, { maxLength: 20 }), encodeRefs, decodeRefs)).toBeNull();
  });

  test('of ids', () => {
    expect(wrongIn(fc.array(anyId, { maxLength: 20 }), encodeIds, decodeIds)).toBeNull();
  });

  test('cut anywhere but between entries is refused', () => {
    fc.assert(
      fc.property(fc.array(anyRef, { minLength: 1, maxLength: 3 }), fc.nat(), (refs, at) => {
        const whole = encodeRefs(refs);
        fc.pre((at % whole.length) % 68 !== 0);
        expect(outcome(() => decodeRefs(whole.subarray(0, at % whole.length)))).toBe('damaged');
      }),
    );
  });

  test.each([0, 67_108_865, 2 ** 32 - 1])('of a content lists no chunk of %i bytes', (length) => {
    const whole = encodeRefs([{ tag: Buffer.alloc(32), hash: Buffer.alloc(32), length }]);
    expect(outcome(() => decodeRefs(whole))).toBe('damaged');
  });

  test.each([0, 255, 69_206_017, 2 ** 32 - 1])('of ids lists no padded length of %i', (padded) => {
    expect(outcome(() => decodeIds(encodeIds([{ id: '00'.repeat(32), padded }])))).toBe('damaged');
  });
});

function countOf(refs: readonly ChunkRef[], entrySize: number): number {
  return refs.reduce((sum, { length }) => sum + length / entrySize, 0);
}

describe("a manifest's part", () => {
  /** Tables of a depth above 0 whose chunks have entries of a size, with how many that makes. */
  const deepRefs = (entrySize: number): fc.Arbitrary<readonly ChunkRef[]> =>
    fc.array(ref(fc.integer({ min: 1, max: 4096 }).map((entries) => entries * entrySize)), {
      minLength: 1,
      maxLength: 5,
    });

  const anyContent: fc.Arbitrary<ContentTable> = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((body) => ({
      size: body.length,
      chunkSize: CHUNK_SIZE,
      depth: 0 as const,
      refs: [],
      inline: Buffer.from(body),
    })),
    fc
      .tuple(
        fc.array(ref(fc.constant(CHUNK_SIZE)), { maxLength: 5 }),
        ref(fc.integer({ min: 1, max: CHUNK_SIZE })),
      )
      .map(([full, last]) => ({
        size: full.length * CHUNK_SIZE + last.length,
        chunkSize: CHUNK_SIZE,
        depth: 0 as const,
        refs: [...full, last],
        inline: null,
      })),
    fc.tuple(deepRefs(68), fc.constantFrom(1 as const, 2 as const, 3 as const)).map(([refs, depth]) => ({
      size: countOf(refs, 68) * CHUNK_SIZE,
      chunkSize: CHUNK_SIZE,
      depth,
      refs,
      inline: null,
    })),
  );

  const CUT_SIZE = 4 * 1024 * 1024;
  /** Chunks that are cut by content: of any length. */
  const anyCut: fc.Arbitrary<ContentTable> = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((body) => ({
      size: body.length,
      chunkSize: null,
      depth: 0 as const,
      refs: [],
      inline: Buffer.from(body),
    })),
    fc.array(ref(fc.integer({ min: 1, max: CUT_SIZE })), { minLength: 1, maxLength: 5 }).map((refs) => ({
      size: refs.reduce((sum, { length }) => sum + length, 0),
      chunkSize: null,
      depth: 0 as const,
      refs,
      inline: null,
    })),
    fc
      .tuple(deepRefs(68), fc.constantFrom(1 as const, 2 as const), fc.integer({ min: 1, max: CUT_SIZE }))
      .map(([refs, depth, each]) => ({
        size: countOf(refs, 68) * each,
        chunkSize: null,
        depth,
        refs,
        inline: null,
      })),
  );
  const anyPart: fc.Arbitrary<ContentPart> = fc.oneof(
    fc.oneof(anyContent, anyCut).map((table) => ({ table, folder: null })),
    fc
      .record({
        table: anyCut,
        index: anyCut.filter(({ size }) => size >= 8),
        holes: fc.nat(2 ** 50),
        incomplete: fc.boolean(),
      })
      .map(({ table, index, holes, incomplete }) => ({
        table,
        folder: { index, size: table.size + holes, entries: Math.ceil(index.size / 100_000), incomplete },
      })),
  );

  test('of the content, at any depth, of a file or a folder', () => {
    expect(wrongIn(anyPart, encodeContentPart, decodeContentPart)).toBeNull();
  });

  const access = fc.oneof(
    fc.record({ content: bytes(32) }),
    fc.record({
      lock: fc.record({
        cost: fc.constant(CHEAP),
        salt: bytes(32),
        commitment: bytes(32),
        wrapped: bytes(48),
      }),
    }),
  );
  const anyIds: fc.Arbitrary<VaultPart['ids']> = fc.oneof(
    fc.array(anyId, { maxLength: 8 }).map((ids) => ({ depth: 0 as const, ids })),
    deepRefs(36).map((refs) => ({ depth: 1 as const, refs })),
    deepRefs(68).map((refs) => ({ depth: 2 as const, refs })),
  );
  const anyVaultPart: fc.Arbitrary<VaultPart> = fc
    .record({
      by: access,
      ids: anyIds,
      name: fc.string({ unit: 'binary', minLength: 1, maxLength: 30 }),
      chunkSize: fc.constantFrom(CHUNK_SIZE, null),
      folder: fc.option(
        fc.record({ index: fc.nat(9), entries: fc.integer({ min: 1 }), incomplete: fc.boolean() }),
        { nil: null },
      ),
    })
    .filter(({ name }) => !name.includes('\0'))
    .map(({ by, ids, name, folder, ...drawn }) => {
      const all = ids.depth === 0 ? ids.ids.length : 1;
      const locked = 'lock' in by;
      const indexChunks = folder === null ? 0 : Math.min(all, folder.index);
      const chunks = all - indexChunks;
      const size = locked ? null : chunks * CHUNK_SIZE;
      const chunkSize = folder === null ? drawn.chunkSize : null;
      const own =
        folder === null
          ? {}
          : {
              kind: 'folder' as const,
              indexChunks,
              entries: locked ? null : folder.entries,
              incomplete: folder.incomplete,
            };
      return { access: by, ids, head: sampleHead({ name, size, chunkSize, chunks, locked, ...own }) };
    });

  test('of the vault, with every kind of table and of key', () => {
    expect(wrongIn(anyVaultPart, encodeVaultPart, decodeVaultPart)).toBeNull();
  });
});

describe('the URL of a bucket', () => {
  const keys = sampleKeys();
  const id = 'b0'.repeat(16);

  test('is opened as it was sealed, for its bucket only', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
        const url = sealBucketUrl(keys, id, text);
        expect(openBucketUrl(keys, { id, url })).toBe(text);
        expect(outcome(() => openBucketUrl(keys, { id: 'b1'.repeat(16), url }))).toBe('damaged');
        expect(outcome(() => openBucketUrl(sampleKeys({ root: 2 }), { id, url }))).toBe('damaged');
      }),
      { numRuns: 30 },
    );
  });

  test('is refused with any byte of it changed or missing', () => {
    const sealed = sealBucketUrl(keys, id, 'file:///backup');
    expect(acceptedChanges(sealed, (url) => openBucketUrl(keys, { id, url }))).toEqual([]);
  });
});

interface Named {
  /** What is drawn, as the name made of it. */
  readonly names: fc.Arbitrary<string>;
  /** The name that is written for what is read; null if that is nothing. */
  readonly again: (name: string) => string | null;
}

function written<T>(value: T | null, write: (value: T) => string): string | null {
  return value === null ? null : write(value);
}

const NAMES: readonly (readonly [what: string, named: Named])[] = [
  [
    'keyring',
    {
      names: fc.integer({ min: 1, max: 9_999_999_999 }).map(keyringObjectName),
      again: (name) => written(parseKeyringObjectName(name), keyringObjectName),
    },
  ],
  [
    'manifest',
    {
      names: hex(32).map(manifestObjectName),
      again: (name) => written(parseManifestObjectName(name), manifestObjectName),
    },
  ],
  [
    'deletion record',
    {
      names: hex(32).map(deletionObjectName),
      again: (name) => written(parseDeletionObjectName(name), deletionObjectName),
    },
  ],
  [
    'sweep list',
    {
      names: hex(16).map(sweepObjectName),
      again: (name) => written(parseSweepObjectName(name), sweepObjectName),
    },
  ],
  [
    'put marker',
    {
      names: fc
        .tuple(fc.nat(99_999_999_999_999), hex(8))
        .map(([time, random]) => putMarkerName(time, random)),
      again: (name) =>
        written(parsePutMarkerName(name), ({ createdAtMs, random }) => putMarkerName(createdAtMs, random)),
    },
  ],
];

describe.each(NAMES)('the name of a %s', (_, { names, again }) => {
  test('is read as it was written', () => {
    fc.assert(
      fc.property(names, (name) => {
        expect(again(name)).toBe(name);
      }),
    );
  });

  test('has one spelling: whatever is read is written the same', () => {
    const edit = fc.record({ at: fc.nat(80), text: fc.string({ maxLength: 3 }), skip: fc.nat(3) });
    fc.assert(
      fc.property(names, edit, (name, { at, text, skip }) => {
        const other = name.slice(0, at) + text + name.slice(at + skip);
        expect([null, other]).toContain(again(other));
        expect(again(`${name}\n`)).toBeNull();
        expect(again(`${name}.partial`)).toBeNull();
        expect(again(`x/${name}`)).toBeNull();
      }),
    );
  });
});
