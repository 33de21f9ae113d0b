/** The catalog is not trusted: whatever somebody writes into it, no wrong bytes come out, and no crash. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import {
  CUT_STRIDE,
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
import { openSession } from '../../src/vault/open.ts';
import { Vault } from '../../src/vault/vault.ts';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { memoryBucket } from '../support/memory-bucket.ts';
import { all, CHUNK_SIZE, getBytes, parts, putBytes, snapshotOf, testVault } from './harness.ts';
import type { Snapshot, TestVault, VaultCopy } from './harness.ts';

const random = seededRandom(23);
const FIRST = random.bytes(2 * CHUNK_SIZE + 3000);
/** Far in the future. */
const EXPIRY = 4_000_000_000_000;
const SECOND = random.bytes(2 * CHUNK_SIZE + 3000);

let made: TestVault;
let start: Snapshot;
let hashes: { readonly first: string; readonly second: string };
beforeAll(async () => {
  made = await testVault();
  const first = await putBytes(made.vault, FIRST, { name: 'first', expiresAtMs: EXPIRY });
  const second = await putBytes(made.vault, SECOND, { name: 'second' });
  hashes = { first: first.hash, second: second.hash };
  await made.session.guard.end();
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

/** How many files are listed, or the code of the error. */
async function listOutcome(vault: Vault): Promise<number | string> {
  try {
    return (await all(vault.list({ all: true }))).length;
  } catch (error) {
    if (!(error instanceof VaultError)) throw error;
    return error.code;
  }
}

interface FileLie {
  readonly title: string;
  readonly lie: Lie;
  /** What comes of getting the first file by its name. By its hash, the buckets have it whatever the catalog says. */
  readonly byName: string;
  /** What comes of listing all files: how many, or an error. */
  readonly listed: number | 'damaged';
  /** What verify tells. */
  readonly told: { readonly filesUnlisted?: number; readonly filesHidden?: number };
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
    lie: swap('files', 'record', 'hash'),
    byName: 'exact',
    listed: 'damaged',
    told: { filesUnlisted: 2 },
  },
  {
    title: 'the name tags of two files are swapped',
    lie: swap('files', 'name_tag', 'hash'),
    byName: 'damaged',
    listed: 'damaged',
    told: { filesUnlisted: 2 },
  },
  {
    title: 'the hashes of two files are swapped',
    lie: swap('files', 'hash', 'hash'),
    byName: 'damaged',
    listed: 'damaged',
    told: { filesUnlisted: 2 },
  },
  {
    title: 'a name tag is made up',
    lie: `update files set name_tag = ${zeros(32)} where expires_at is not null`,
    byName: 'file-not-found',
    listed: 'damaged',
    told: { filesUnlisted: 1 },
  },
  {
    title: 'a hash is made up',
    lie: `update files set hash = ${zeros(32)} where expires_at is not null`,
    byName: 'damaged',
    listed: 'damaged',
    told: { filesUnlisted: 1 },
  },
  {
    title: 'files were made earlier',
    lie: 'update files set created_at = created_at - 1',
    byName: 'exact',
    listed: 'damaged',
    told: { filesUnlisted: 2 },
  },
  {
    title: 'files are older versions',
    lie: 'update files set version = version + 1',
    byName: 'exact',
    listed: 'damaged',
    told: { filesUnlisted: 2 },
  },
  {
    title: 'files have expired',
    lie: 'update files set expires_at = 5',
    byName: 'exact',
    listed: 'damaged',
    told: { filesUnlisted: 2 },
  },
  {
    title: 'a file never expires',
    lie: 'update files set expires_at = null',
    byName: 'exact',
    listed: 'damaged',
    told: { filesUnlisted: 1 },
  },
  {
    title: 'another writer has stored them',
    lie: `update files set writer = ${zeros(16)}`,
    byName: 'exact',
    listed: 'damaged',
    told: { filesUnlisted: 2 },
  },
  {
    title: 'records are cut off',
    lie: 'update files set record = substr(record, 1, 20)',
    byName: 'exact',
    listed: 'damaged',
    told: { filesUnlisted: 2 },
  },
  {
    title: 'records are empty',
    lie: `update files set record = ${zeros(0)}`,
    byName: 'exact',
    listed: 'damaged',
    told: { filesUnlisted: 2 },
  },
  {
    title: 'there are no files',
    lie: 'delete from files',
    byName: 'file-not-found',
    listed: 0,
    told: { filesUnlisted: 2 },
  },
  {
    title: 'files have been removed',
    lie: 'update files set hidden_at = 5',
    byName: 'file-not-found',
    listed: 0,
    told: { filesHidden: 2 },
  },
];

/** Changes every chunk's list of places: ten bytes each, the bucket's number and the upload. */
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
  ['uploads are made up', places((list) => list.fill(0xab, 2, 10).fill(0xcd, 12, 20))],
  ['sealings are made up', `update chunks set sealing = ${zeros(4)}`],
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
  ['a list of places is cut off', places((list) => list.subarray(0, 17))],
  ['there are absurdly many shards', `update chunks set k = 2000, shards = ${zeros(20_010)}`],
];

/** What the buckets have of files: nothing of it may go, as long as nobody removes a file. */
function keptObjects({ buckets }: Pick<VaultCopy, 'buckets'>): string[] {
  return buckets
    .flatMap(({ url, storage }) => [...storage.keys()].map((name) => `${url} ${name}`))
    .filter((object) => /^\S+ (chunks|manifests|keyring|vault)/.test(object))
    .toSorted();
}

/** Everything that removes objects, or may come to the idea. */
async function removeWhatGoes(vault: Vault): Promise<void> {
  await settled(vault.sweep({ ignoreGrace: true, waitMs: 0 }));
  await settled(vault.verify({ depth: 'data' }));
  await settled(vault.sweep({ ignoreGrace: true, waitMs: 0 }));
}

describe('When the catalog lies about files, the buckets know better:', () => {
  test.each(FILE_LIES)('$title', async ({ lie, byName, listed, told }) => {
    await using copy = await start.copy();
    await tell(copy, lie);
    const { vault } = await copy.open();
    expect(await outcomeOf(vault, hashes.first, FIRST)).toBe('exact');
    expect(await outcomeOf(vault, hashes.second, SECOND)).toBe('exact');
    expect(await outcomeOf(vault, 'first', FIRST)).toBe(byName);
    expect(await listOutcome(vault)).toBe(listed);
    const result = await vault.verify({ depth: 'listing' });
    expect(result).toMatchObject({ outcome: 'degraded', files: { lost: 0 }, ...told });
    // It has learned what the buckets say.
    expect(await vault.verify({ depth: 'data' })).toMatchObject({
      files: { lost: 0 },
      chunks: { whole: 6 },
      filesUnlisted: 0,
      filesHidden: 0,
    });
    expect(await outcomeOf(vault, 'first', FIRST)).toBe('exact');
    expect(await outcomeOf(vault, 'second', SECOND)).toBe('exact');
  });

  test.each(FILE_LIES)('nothing that a file needs is removed, though $title', async ({ lie }) => {
    await using copy = await start.copy();
    const before = keptObjects(copy);
    await tell(copy, lie);
    const { vault } = await copy.open({ now: () => 2_000_000_000_000 });
    await removeWhatGoes(vault);
    expect(keptObjects(copy)).toEqual(before);
    expect(await outcomeOf(vault, hashes.first, FIRST)).toBe('exact');
  });

  test('a removed file that it shows again is not there, and verify hides it', async () => {
    await using copy = await start.copy();
    const { vault } = await copy.open();
    await vault.remove(['second']);
    await tell(copy, 'update files set hidden_at = null');
    expect(await vault.verify({ depth: 'listing' })).toMatchObject({ outcome: 'degraded', filesShown: 1 });
    expect(await outcomeOf(vault, 'second', SECOND)).toBe('file-not-found');
    expect(await outcomeOf(vault, 'first', FIRST)).toBe('exact');
  });

  test('a row put back from before a removal is told as that by the list of the sweep, and later as a loss', async () => {
    await using copy = await start.copy();
    const { vault } = await copy.open();
    const rows = (await catalogRows(copy.db)).get('files') ?? [];
    await vault.remove(['second'], { graceMs: 0 });
    // The second one takes away the record of the removal, which has served.
    for (let sweeps = 0; sweeps < 2; sweeps += 1) await vault.sweep({ ignoreGrace: true, waitMs: 0 });
    const putBack = async (): Promise<void> => {
      await tell(copy, 'delete from files');
      for (const row of rows) {
        const columns = Object.keys(row).join(', ');
        await tell(
          copy,
          `insert into files (${columns}) values (${Object.values(row).map(literal).join(', ')})`,
        );
      }
    };
    await putBack();
    expect(await outcomeOf(vault, 'second', SECOND)).toBe('file-not-found');
    expect(await vault.verify({ depth: 'listing' })).toMatchObject({ outcome: 'degraded', filesShown: 1 });
    await putBack();
    for (const { storage } of copy.buckets)
      for (const name of storage.keys()) if (name.startsWith('sweep/')) storage.delete(name);
    expect(await outcomeOf(vault, 'second', SECOND)).toBe('damaged');
    const before = keptObjects(copy);
    expect(await vault.verify({ depth: 'listing' })).toMatchObject({
      outcome: 'lost',
      affected: [{ hash: hashes.second, condition: 'lost' }],
    });
    await removeWhatGoes(vault);
    expect(keptObjects(copy)).toEqual(before);
    expect(await outcomeOf(vault, 'first', FIRST)).toBe('exact');
  });

  test('a row that is copied to another hash is no file', async () => {
    await using copy = await start.copy();
    await tell(
      copy,
      `insert into files (hash, writer, name_tag, record, version, created_at, expires_at, hidden_at)
       select ${zeros(32)}, writer, name_tag, record, version + 1, created_at, expires_at, hidden_at
       from files where expires_at is not null`,
    );
    const { vault } = await copy.open();
    expect(await outcomeOf(vault, hashes.first, FIRST)).toBe('exact');
    expect(await outcomeOf(vault, 'first', FIRST)).toBe('exact');
    const result = await vault.verify({ depth: 'listing' });
    expect(result).toMatchObject({ outcome: 'degraded', files: { whole: 2, degraded: 1, lost: 0 } });
  });
});

describe('When the catalog lies about chunks, the buckets prove themselves:', () => {
  test.each(CHUNK_LIES)('%s', async (_, lie) => {
    await using copy = await start.copy();
    const before = keptObjects(copy);
    await tell(copy, lie);
    const { vault } = await copy.open();
    expect(await outcomeOf(vault, hashes.first, FIRST)).toBe('exact');
    expect(await outcomeOf(vault, 'second', SECOND)).toBe('exact');
    // It is a cache: that it is wrong about chunks concerns nobody but itself.
    for (const depth of ['listing', 'data'] as const) {
      expect(await vault.verify({ depth })).toMatchObject({ outcome: 'whole', chunks: { whole: 6 } });
    }
    await removeWhatGoes(vault);
    expect(keptObjects(copy)).toEqual(before);
    const { hash } = await putBytes(vault, FIRST, { name: 'again' });
    expect(await outcomeOf(vault, hash, FIRST)).toBe('exact');
  });
});

describe('When the catalog lies about the vault', () => {
  const LIES: readonly (readonly [string, Lie, string])[] = [
    ['and has the buckets’ records swapped', swap('buckets', 'record', 'number'), 'exact'],
    ['and has a bucket’s record cut off', 'update buckets set record = substr(record, 1, 30)', 'exact'],
    ['and gives it another id', `update vault set id = ${zeros(16)}`, 'damaged'],
    ['and has a keyring that is none', `update vault set keyring = ${zeros(100)}`, 'damaged'],
    ['and has a keyring of another epoch', 'update vault set epoch = epoch + 7', 'exact'],
    ['and names another writer', `update vault set writer = ${zeros(16)}`, 'exact'],
    ['and has the numbers of buckets swapped', swap('buckets', 'number', 'id'), 'exact'],
  ];

  test.each(LIES)('%s, no wrong bytes come of it', async (_, lie, expected) => {
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
    await putBytes(vault, random.bytes(20_000), { name: 'new', onWarning });
    await vault.sweep({ waitMs: 0, onWarning });
    await vault.verify({ depth: 'listing', onWarning });
    expect([...mine.storage.keys()]).toEqual(before);
    expect(warnings.length).toBeGreaterThanOrEqual(3);
    for (const warning of warnings) expect(warning).toContain('belongs to another vault');
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
      return await outcomeOf(new Vault(session), 'first', FIRST);
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

test('Whatever single value of the catalog is changed, nothing wrong comes out and nothing goes', async () => {
  const chance = seededRandom(29);
  const changes = await singleChanges(chance);
  let told = 0;
  for (const { table, column, row, before, to } of changes) {
    await using copy = await start.copy();
    const objects = keptObjects(copy);
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
    const opens = ['vault', 'buckets'].includes(table);
    const outcomes = opens ? [await openAndRead(copy)] : [];
    const { vault } = await copy.open();
    outcomes.push(await outcomeOf(vault, hashes.first, FIRST), await outcomeOf(vault, 'second', SECOND));
    outcomes.push(await settled(all(vault.list())));
    await removeWhatGoes(vault);
    expect({ table, column, before, kept: keptObjects(copy) }).toEqual({
      table,
      column,
      before,
      kept: objects,
    });
    outcomes.push(await settled(putBytes(vault, FIRST, { name: 'again' })));
    expect({ table, column, before, outcomes }).toEqual({
      table,
      column,
      before,
      outcomes: expect.not.arrayContaining(['wrong bytes']),
    });
  }
  expect(changes.length).toBeGreaterThan(50 / CUT_STRIDE);
  expect(told).toBeGreaterThan(0.8 * changes.length);
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
  return ['vault', 'buckets', 'files', 'chunks'].flatMap((table) =>
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
