import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import { MAX_CHUNK_SIZE, MIN_CHUNK_SIZE } from '../../src/format/chunk.ts';
import {
  checkTable,
  chunkCount,
  decodeManifest,
  decodeTable,
  encodeManifest,
  encodeTable,
  manifestObjectName,
  MAX_FILE_SIZE,
  MAX_NAME_SIZE,
  parseManifestObjectName,
  TABLE_ENTRY_SIZE,
} from '../../src/format/manifest.ts';
import type { Manifest, ManifestHead, TableEntry } from '../../src/format/manifest.ts';
import { MAX_SHARDS } from '../../src/format/shard.ts';

const MAX_TIME_MS = 8_640_000_000_000_000;

const chunkIds = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString('hex'));
const times = fc.integer({ min: 0, max: MAX_TIME_MS });
const heads: fc.Arbitrary<ManifestHead> = fc
  .record({
    name: fc
      .string({ unit: 'binary', minLength: 1, maxLength: 200 })
      .filter((name) => Buffer.byteLength(name) <= MAX_NAME_SIZE),
    chunkSize: fc.integer({ min: MIN_CHUNK_SIZE, max: MAX_CHUNK_SIZE }),
    full: fc.nat(20),
    rest: fc.nat(),
    createdAtMs: times,
    modifiedAtMs: fc.option(fc.integer({ min: -MAX_TIME_MS, max: MAX_TIME_MS })),
    mode: fc.option(fc.nat(0o7777)),
    expiresAtMs: fc.option(times),
    k: fc.integer({ min: 1, max: MAX_SHARDS }),
    m: fc.nat(MAX_SHARDS),
  })
  .map(({ full, rest, k, m, ...facts }) => {
    const size = full * facts.chunkSize + (rest % facts.chunkSize);
    const redundancy = { k, m: Math.min(m, MAX_SHARDS - k) };
    const chunks = chunkCount(size, facts.chunkSize);
    return Object.assign(facts, { size, redundancy, chunks, tableDepth: 0 });
  });
const manifests: fc.Arbitrary<Manifest> = heads.chain((head) =>
  fc.array(chunkIds, { minLength: head.chunks, maxLength: head.chunks }).map((ids) => ({
    head,
    table: entriesOf(head.size, head.chunkSize).map(({ length }, i) => ({ chunkId: ids[i] ?? '', length })),
  })),
);

const HEAD: ManifestHead = {
  name: 'a',
  size: 200_000,
  createdAtMs: 1,
  modifiedAtMs: null,
  mode: null,
  expiresAtMs: null,
  chunkSize: 65_536,
  redundancy: { k: 2, m: 1 },
  chunks: 4,
  tableDepth: 0,
};

/** The table that so many bytes have, with ids that tell the position. */
function entriesOf(size: number, chunkSize: number): TableEntry[] {
  return Array.from({ length: chunkCount(size, chunkSize) }, (_, i) => ({
    chunkId: i.toString(16).padStart(64, '0'),
    length: Math.min(chunkSize, size - i * chunkSize),
  }));
}

const damaged = expect.objectContaining({ code: 'damaged' });

describe('a manifest', () => {
  test('is read as it was written', () => {
    fc.assert(
      fc.property(manifests, (manifest) => {
        expect(decodeManifest(encodeManifest(manifest))).toEqual(manifest);
      }),
    );
  });

  test('holds the longest name, however much of it JSON escapes', () => {
    const manifest = {
      head: { ...HEAD, name: '\u0001'.repeat(MAX_NAME_SIZE) },
      table: entriesOf(200_000, 65_536),
    };
    expect(decodeManifest(encodeManifest(manifest))).toEqual(manifest);
  });

  test('of a file of no bytes lists one chunk of no bytes', () => {
    const manifest = { head: { ...HEAD, size: 0, chunks: 1 }, table: entriesOf(0, 65_536) };
    expect(decodeManifest(encodeManifest(manifest))).toEqual(manifest);
    const empty = encodeManifest({ ...manifest, table: [] });
    expect(() => decodeManifest(empty)).toThrow(damaged);
  });

  test('is read whatever fields a later writer adds to its head', () => {
    const manifest = { head: HEAD, table: entriesOf(HEAD.size, HEAD.chunkSize) };
    const bytes = encodeManifest(manifest);
    const head = bytes.toString('utf8', 4, 4 + bytes.readUInt32BE(0)).replace('{', '{"later":[1],');
    const length = Buffer.alloc(4);
    length.writeUInt32BE(Buffer.byteLength(head));
    const rewritten = Buffer.concat([length, Buffer.from(head), encodeTable(manifest.table)]);
    expect(decodeManifest(rewritten)).toEqual(manifest);
  });

  test('with a head longer than the limit is refused, though only spaces make it so', () => {
    const table = entriesOf(HEAD.size, HEAD.chunkSize);
    const bytes = encodeManifest({ head: HEAD, table });
    const json = bytes.toString('utf8', 4, 4 + bytes.readUInt32BE(0));
    const padded = (size: number): Buffer => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(size);
      return Buffer.concat([length, Buffer.from(json.padEnd(size)), encodeTable(table)]);
    };
    expect(decodeManifest(padded(128 * 1024)).head).toEqual(HEAD);
    expect(() => decodeManifest(padded(128 * 1024 + 1))).toThrow(damaged);
  });

  test('cut anywhere is refused', () => {
    const bytes = encodeManifest({ head: HEAD, table: entriesOf(HEAD.size, HEAD.chunkSize) });
    for (let length = 0; length < bytes.length; length += 1) {
      expect(() => decodeManifest(bytes.subarray(0, length))).toThrow(VaultError);
    }
  });

  test('is never read from noise', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (noise) => {
        expect(() => decodeManifest(noise)).toThrow(VaultError);
      }),
    );
  });

  test('with any number in its head changed is refused', () => {
    const table = entriesOf(HEAD.size, HEAD.chunkSize);
    fc.assert(
      fc.property(
        fc.constantFrom<keyof ManifestHead>('size', 'chunkSize', 'chunks', 'tableDepth'),
        fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
        (field, value) => {
          fc.pre(value !== HEAD[field]);
          const bytes = encodeManifest({ head: { ...HEAD, [field]: value }, table });
          expect(() => decodeManifest(bytes)).toThrow(damaged);
        },
      ),
    );
  });
});

describe('a table', () => {
  const entries = fc.array(fc.record({ chunkId: chunkIds, length: fc.nat(MIN_CHUNK_SIZE) }), {
    maxLength: 50,
  });

  test('is read as it was written', () => {
    fc.assert(
      fc.property(entries, (table) => {
        const bytes = encodeTable(table);
        expect(bytes.length).toBe(table.length * TABLE_ENTRY_SIZE);
        expect(decodeTable(bytes, MIN_CHUNK_SIZE)).toEqual(table);
      }),
    );
  });

  test('that is not whole is refused', () => {
    fc.assert(
      fc.property(entries, fc.integer({ min: 1, max: TABLE_ENTRY_SIZE - 1 }), (table, more) => {
        const bytes = Buffer.concat([encodeTable(table), Buffer.alloc(more)]);
        expect(() => decodeTable(bytes, MIN_CHUNK_SIZE)).toThrow(damaged);
      }),
    );
  });

  test('with an entry longer than a chunk is refused', () => {
    const bytes = encodeTable([{ chunkId: '00'.repeat(32), length: 65_537 }]);
    expect(() => decodeTable(bytes, 65_536)).toThrow(damaged);
    expect(decodeTable(bytes, 65_537)).toHaveLength(1);
  });

  test('of the shape that the head says passes, and no other', () => {
    fc.assert(
      fc.property(fc.nat(3_000_000), fc.nat(), fc.integer({ min: 0, max: 70_000 }), (size, where, length) => {
        const head = { ...HEAD, size, chunks: chunkCount(size, HEAD.chunkSize) };
        const table = entriesOf(size, HEAD.chunkSize);
        checkTable(head, table, 0);
        const at = where % table.length;
        const changed = table.map((entry, i) => (i === at ? { ...entry, length } : entry));
        fc.pre(table[at]?.length !== length);
        expect(() => checkTable(head, changed, 0)).toThrow(damaged);
        expect(() => checkTable(head, table.slice(1), 0)).toThrow(damaged);
        expect(() => checkTable(head, [...table, { chunkId: '', length: 0 }], 0)).toThrow(damaged);
      }),
    );
  });

  test('of tables has the shape that follows from the one below, at any depth', () => {
    // 10 TiB of 64 KiB chunks: 167,772,160 entries, in 92,160 chunks, in 51 chunks.
    const head = { ...HEAD, size: 10 * 2 ** 40, chunks: 167_772_160 };
    const depthOne = entriesOf(36 * 167_772_160, 65_536);
    const depthTwo = entriesOf(36 * depthOne.length, 65_536);
    expect([depthOne.length, depthTwo.length]).toEqual([92_160, 51]);
    checkTable(head, depthOne, 1);
    checkTable(head, depthTwo, 2);
    expect(() => checkTable(head, depthTwo, 1)).toThrow(damaged);
    expect(() => checkTable(head, depthTwo.slice(0, -1), 2)).toThrow(damaged);
  });
});

describe('the number of chunks', () => {
  test('is what the size divided by the chunk size gives, rounded up, without an error at any size', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.maxSafeNat(), fc.integer({ min: 0, max: 2 ** 31 })),
        fc.integer({ min: MIN_CHUNK_SIZE, max: MAX_CHUNK_SIZE }),
        (size, chunkSize) => {
          const exact = (BigInt(size) + BigInt(chunkSize) - 1n) / BigInt(chunkSize);
          expect(BigInt(chunkCount(size, chunkSize))).toBe(exact > 1n ? exact : 1n);
        },
      ),
    );
  });

  test('of the largest files is exact, to the byte', () => {
    fc.assert(
      fc.property(fc.integer({ min: MIN_CHUNK_SIZE, max: MAX_CHUNK_SIZE }), (chunkSize) => {
        const full = Math.floor(MAX_FILE_SIZE / chunkSize) - 1;
        expect([-1, 0, 1].map((more) => chunkCount(full * chunkSize + more, chunkSize) - full)).toEqual([
          0, 0, 1,
        ]);
      }),
    );
  });
});

describe("a manifest's name", () => {
  test('is read as it was written', () => {
    fc.assert(
      fc.property(chunkIds, (hash) => {
        expect(parseManifestObjectName(manifestObjectName(hash))).toBe(hash);
      }),
    );
  });

  const hash = 'ab'.repeat(32);
  test.each([
    `manifests/${hash}\n`,
    `manifests/${hash}0`,
    `manifests/${hash.toUpperCase()}`,
    `x/manifests/${hash}`,
    `manifests/`,
    hash,
  ])('is not read from %j', (name) => {
    expect(parseManifestObjectName(name)).toBeNull();
  });
});
