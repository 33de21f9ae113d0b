/** The catalog is not trusted: whatever somebody writes into it, no wrong bytes come out, and no crash. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import {
  CALL_STRIDE,
  catalogRows,
  changeCatalog,
  isForbidden,
  literal,
  sampled,
} from '../support/catalog-place.ts';
import type { CatalogRow, CatalogValue } from '../support/catalog-place.ts';
import { seededRandom } from '../support/seeded-random.ts';
import type { SeededRandom } from '../support/seeded-random.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { openSession, vaultOf } from '../../src/vault/open.ts';
import type { Vault } from '../../src/vault/vault.ts';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { memoryBucket } from '../../src/buckets/memory.ts';
import { all, CHUNK_SIZE, getBytes, parts, putBytes, snapshotOf, testVault } from './harness.ts';
import type { Snapshot, TestVault, VaultCopy } from './harness.ts';

const random = seededRandom(23);
const FIRST = random.bytes(2 * CHUNK_SIZE + 3000);
const SECOND = random.bytes(2 * CHUNK_SIZE + 3000);

let made: TestVault;
let start: Snapshot;
let hashes: { readonly first: string; readonly second: string };
beforeAll(async () => {
  made = await testVault();
  const first = await putBytes(made.vault, FIRST, { name: 'first', expiresAtMs: 10_000 });
  const second = await putBytes(made.vault, SECOND, { name: 'second' });
  hashes = { first: first.hash, second: second.hash };
  start = await snapshotOf(made);
});
afterAll(async () => {
  await made[Symbol.asyncDispose]();
});

/** SQL that changes the catalog; some can only be told from its rows. */
type Lie = string | LieFrom;
type LieFrom = (tables: ReadonlyMap<string, readonly CatalogRow[]>) => string;

/** Changes the catalog behind the vault's back. */
async function tell({ db }: VaultCopy, lie: Lie): Promise<void> {
  await changeCatalog(db, typeof lie === 'string' ? lie : lie(await catalogRows(db)));
}

/** That many bytes, all zero, in SQL. */
function zeros(length: number): string {
  return literal(Buffer.alloc(length));
}

/** `exact`, or the code of the error; everything else is a bug. */
async function outcomeOf(vault: Vault, reference: string, content: Uint8Array): Promise<string> {
  try {
    return (await getBytes(vault, reference)).equals(content) ? 'exact' : 'wrong bytes';
  } catch (error) {
    if (!(error instanceof VaultError)) throw error;
    return error.code;
  }
}

interface FileLie {
  readonly title: string;
  readonly lie: Lie;
  /** What comes of getting the first file by its hash and by its name. */
  readonly byHash: string;
  readonly byName: string;
}

function setColumn(
  table: string,
  column: string,
  to: CatalogValue,
  row: readonly [string, CatalogValue],
): string {
  return `update ${table} set ${column} = ${literal(to)} where ${row[0]} = ${literal(row[1])}`;
}

/** Swaps a column between the first two rows of a table, in the order of their keys. */
const swap =
  (table: string, column: string, key: string): LieFrom =>
  (tables) => {
    const rows = (tables.get(table) ?? []).map((row) => ({
      key: row[key] ?? null,
      value: row[column] ?? null,
    }));
    const [one, other] = rows.toSorted((a, b) => (literal(a.key) < literal(b.key) ? -1 : 1));
    if (one === undefined || other === undefined) throw new RangeError(`Too few rows in ${table}`);
    // By way of a third value, for columns that are unique; and where the column is the key, each has the other's by then.
    const between = typeof one.value === 'number' ? -1 : Buffer.alloc(1);
    return [
      setColumn(table, column, between, [key, one.key]),
      setColumn(table, column, one.value, [key, other.key]),
      setColumn(table, column, other.value, [key, key === column ? between : one.key]),
    ].join(';');
  };

const FILE_LIES: readonly FileLie[] = [
  {
    title: 'the records of two files are swapped',
    lie: swap('files', 'record', 'generation'),
    byHash: 'damaged',
    byName: 'damaged',
  },
  {
    title: 'the name tags of two files are swapped',
    lie: swap('files', 'name_tag', 'generation'),
    byHash: 'damaged',
    byName: 'damaged',
  },
  {
    title: 'the hashes of two files are swapped',
    lie: swap('files', 'hash', 'generation'),
    byHash: 'damaged',
    byName: 'damaged',
  },
  {
    title: 'a name tag is made up',
    lie: `update files set name_tag = ${zeros(32)} where expires_at is not null`,
    byHash: 'damaged',
    byName: 'file-not-found',
  },
  {
    title: 'a hash is made up',
    lie: `update files set hash = ${zeros(32)} where expires_at is not null`,
    byHash: 'file-not-found',
    byName: 'damaged',
  },
  {
    title: 'a file was made earlier',
    lie: 'update files set created_at = created_at - 1',
    byHash: 'damaged',
    byName: 'damaged',
  },
  {
    title: 'a file expires earlier',
    lie: 'update files set expires_at = 5',
    byHash: 'damaged',
    byName: 'damaged',
  },
  {
    title: 'a file never expires',
    lie: 'update files set expires_at = null',
    byHash: 'damaged',
    byName: 'damaged',
  },
  {
    title: 'a record is cut off',
    lie: 'update files set record = substr(record, 1, 20)',
    byHash: 'damaged',
    byName: 'damaged',
  },
  {
    title: 'a record is empty',
    lie: `update files set record = ${zeros(0)}`,
    byHash: 'damaged',
    byName: 'damaged',
  },
];

/** Changes every chunk's list of places: ten bytes each, the bucket's number and the generation. */
const places =
  (edit: (list: Buffer, lists: readonly Buffer[]) => Buffer): LieFrom =>
  (tables) => {
    const rows = tables.get('chunks') ?? [];
    const lists = rows.map(({ shards }) => bufferOf(shards));
    return rows
      .map(({ id = null, shards }) =>
        setColumn('chunks', 'shards', edit(bufferOf(shards), lists), ['id', id]),
      )
      .join(';');
  };

function bufferOf(value: CatalogValue | undefined): Buffer {
  if (!(value instanceof Uint8Array)) throw new RangeError('The column holds bytes.');
  return Buffer.from(value);
}

const CHUNK_LIES: readonly (readonly [string, Lie])[] = [
  ['shards lie where those of another chunk do', swap('chunks', 'shards', 'id')],
  // By their ids: two chunks may well lie in the same buckets, and have nothing else that tells them apart.
  ['chunks have each other’s rows', swap('chunks', 'id', 'id')],
  ['all chunks are where one of them is', places((_, lists) => Buffer.concat(lists.slice(0, 1)))],
  [
    'shards are each in another bucket',
    places((list) => {
      for (const at of [0, 10, 20]) list.writeUInt16BE((list.readUInt16BE(at) % 3) + 1, at);
      return list;
    }),
  ],
  ['shards have other indices', places((list) => Buffer.concat([list.subarray(10), list.subarray(0, 10)]))],
  ['generations are made up', places((list) => list.fill(0xab, 2, 10).fill(0xcd, 12, 20))],
  ['all shards are in one bucket', places((list) => list.fill(list.subarray(0, 10)))],
  ['no shard is stored', places(() => Buffer.alloc(30))],
  ['the buckets are none of the vault’s', places((list) => list.fill(0x77))],
  [
    'there are more shards',
    (tables) =>
      `update chunks set k = 3; ${places((list) => Buffer.concat([list, Buffer.alloc(10)]))(tables)}`,
  ],
  ['there are fewer shards', 'update chunks set m = 0, shards = substr(shards, 1, 20)'],
  ['one shard is enough', 'update chunks set k = 1, m = 2'],
  ['chunks are larger', 'update chunks set sealed_size = sealed_size * 2'],
  ['chunks are as small as can be', 'update chunks set sealed_size = 0'],
  ['there are no chunks', 'delete from chunks'],
  ['files refer to no chunks', 'delete from refs'],
];

const BROKEN_CHUNKS: readonly (readonly [string, Lie])[] = [
  ['a list of places is cut off', places((list) => list.subarray(0, 17))],
  ['there are absurdly many shards', `update chunks set k = 2000, shards = ${zeros(20_010)}`],
];

describe('When the catalog lies about files, that is a clear error:', () => {
  test.each(FILE_LIES)('$title', async ({ lie, byHash, byName }) => {
    await using copy = await start.copy();
    await tell(copy, lie);
    const { vault } = await copy.open();
    expect(await outcomeOf(vault, hashes.first, FIRST)).toBe(byHash);
    expect(await outcomeOf(vault, 'first', FIRST)).toBe(byName);
    await expect(all(vault.list({ all: true }))).rejects.toMatchObject({ code: 'damaged' });
  });

  test('an expiry that was changed makes no file vanish', async () => {
    await using copy = await start.copy();
    await tell(copy, 'update files set expires_at = 5');
    const { vault } = await copy.open({ now: () => 1_000 });
    await expect(vault.sweep()).rejects.toMatchObject({ code: 'damaged' });
    expect(copy.buckets.map(({ storage }) => storage.size)).toEqual(
      made.buckets.map(({ storage }) => storage.size),
    );
  });
});

describe('When the catalog lies about chunks, the buckets prove themselves:', () => {
  test.each(CHUNK_LIES)('%s', async (_, lie) => {
    await using copy = await start.copy();
    await tell(copy, lie);
    const { vault } = await copy.open();
    expect(await outcomeOf(vault, hashes.first, FIRST)).toBe('exact');
    expect(await outcomeOf(vault, 'second', SECOND)).toBe('exact');
    await vault.inspect('first');
    // A put may believe it and store nothing, or find out; what it lists can be read.
    const { hash } = await putBytes(vault, FIRST, { name: 'again' });
    expect(await outcomeOf(vault, hash, FIRST)).toBe('exact');
  });

  test.each(BROKEN_CHUNKS)('a clear error, when %s', async (_, lie) => {
    await using copy = await start.copy();
    await tell(copy, lie);
    const { vault } = await copy.open();
    expect(await outcomeOf(vault, hashes.first, FIRST)).toBe('damaged');
    await expect(putBytes(vault, FIRST, { name: 'again' })).rejects.toMatchObject({ code: 'damaged' });
  });
});

describe('When the catalog lies about the vault', () => {
  const LIES: readonly (readonly [string, Lie, string])[] = [
    ['and has the buckets’ records swapped', swap('buckets', 'record', 'number'), 'damaged'],
    ['and has a bucket’s record cut off', 'update buckets set record = substr(record, 1, 30)', 'damaged'],
    ['and has other settings', `update vault set settings = ${zeros(60)}`, 'damaged'],
    ['and gives it another id', `update vault set id = ${zeros(16)}`, 'damaged'],
    ['and has a keyslot that is none', `update keyslots set body = ${zeros(100)}`, 'damaged'],
    ['and has no keyslot', 'delete from keyslots', 'damaged'],
    ['and has the numbers of buckets swapped', swap('buckets', 'number', 'id'), 'exact'],
  ];

  test.each(LIES)('%s, it is found out', async (_, lie, expected) => {
    await using copy = await start.copy();
    await tell(copy, lie);
    expect(await openAndRead(copy)).toBe(expected);
  });

  test('and has a bucket of another vault in the place of its own, nothing is written there', async () => {
    await using other = await testVault();
    await using copy = await start.copy();
    const [mine] = copy.buckets;
    const [theirs] = other.buckets;
    if (mine === undefined || theirs === undefined) throw new RangeError('Both have three buckets.');
    mine.storage.clear();
    for (const [name, bytes] of theirs.storage) mine.storage.set(name, bytes);
    const before = [...mine.storage.keys()];
    const { vault } = await copy.open();
    const warnings: string[] = [];
    const onWarning = ({ message }: { message: string }): void => void warnings.push(message);
    await putBytes(vault, random.bytes(1000), { name: 'new', onWarning });
    await vault.sweep({ strayGraceMs: 0, onWarning });
    expect([...mine.storage.keys()]).toEqual(before);
    expect(warnings).toEqual([
      expect.stringContaining('belongs to another vault'),
      expect.stringContaining('belongs to another vault'),
    ]);
  });
});

/** Opens the vault from nothing but catalog and password, and reads a file. */
async function openAndRead(copy: VaultCopy): Promise<string> {
  const catalog = await openCatalog(copy.db);
  try {
    const opener = (url: string): Promise<Bucket> =>
      Promise.resolve(memoryBucket(url, copy.buckets.find((bucket) => bucket.url === url)?.storage));
    const session = await openSession(parts(catalog, opener));
    try {
      return await outcomeOf(vaultOf(session), 'first', FIRST);
    } finally {
      await session.workers.close();
    }
  } catch (error) {
    if (!(error instanceof VaultError)) throw error;
    return error.code;
  } finally {
    await catalog.close();
  }
}

test('Whatever single value of the catalog is changed, nothing wrong comes out', async () => {
  const chance = seededRandom(29);
  const changes = await singleChanges(chance);
  let told = 0;
  for (const { table, column, row, before, to } of changes) {
    await using copy = await start.copy();
    const [key = '', value = null] = Object.entries(row)[0] ?? [];
    try {
      await tell(copy, setColumn(table, column, to, [key, value]));
    } catch (error) {
      // What the database's own rules forbid is no lie that it could tell.
      if (!isForbidden(error)) throw error;
      continue;
    }
    told += 1;
    // Only these are looked at when a vault is opened.
    const opens = ['vault', 'keyslots', 'buckets'].includes(table);
    const outcomes = opens ? [await openAndRead(copy)] : [];
    const { vault } = await copy.open();
    outcomes.push(await outcomeOf(vault, hashes.first, FIRST), await outcomeOf(vault, 'second', SECOND));
    outcomes.push(await settled(putBytes(vault, FIRST, { name: 'again' })));
    outcomes.push(await settled(all(vault.list())));
    expect({ table, column, before, outcomes }).toEqual({
      table,
      column,
      before,
      outcomes: expect.not.arrayContaining(['wrong bytes']),
    });
  }
  expect(changes.length).toBeGreaterThan(60 / CALL_STRIDE);
  expect(told).toBeGreaterThan(0.9 * changes.length);
});

async function settled(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'exact';
  } catch (error) {
    if (!(error instanceof VaultError)) throw error;
    return error.code;
  }
}

interface SingleChange {
  readonly table: string;
  readonly column: string;
  readonly row: CatalogRow;
  readonly before: CatalogValue;
  readonly to: CatalogValue;
}

/** Another value for every one in the catalog. */
async function singleChanges(chance: SeededRandom): Promise<SingleChange[]> {
  const tables = await catalogRows(made.db);
  return ['vault', 'keyslots', 'buckets', 'files', 'chunks', 'refs'].flatMap((table) =>
    // By rows, so that every column has its turn.
    sampled(tables.get(table) ?? []).flatMap((row) =>
      Object.entries(row).map(([column, before]) => ({
        table,
        column,
        row,
        before,
        to: changed(before, chance),
      })),
    ),
  );
}

/** Another value of the same kind. */
function changed(value: CatalogValue, chance: SeededRandom): CatalogValue {
  if (typeof value === 'number') return value + chance.pick([1, -1, 1000, -1000]);
  if (typeof value === 'string') return `${value}x`;
  if (value === null) return 1;
  const copy = Uint8Array.from(value);
  const at = chance.below(copy.length);
  copy[at] = (copy[at] ?? 0) ^ (1 << chance.below(8));
  return chance.below(4) === 0 ? copy.subarray(0, at) : copy;
}
