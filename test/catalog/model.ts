import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import type { BucketRow, Catalog, ChunkRow, FileRow, VaultRow } from '../../src/catalog/catalog.ts';
import type { Connections } from './samples.ts';
import { bytes, contents, hex, VAULT } from './samples.ts';

/** What a catalog is to hold, in the simplest way to say it. */
class ModelCatalog {
  vault: VaultRow | null = null;
  readonly notes = new Map<string, Uint8Array>();
  readonly buckets = new Map<number, BucketRow>();
  lastBucket = 0;
  readonly files = new Map<string, FileRow>();
  readonly chunks = new Map<string, ChunkRow>();

  hide(hashes: readonly string[], hiddenAtMs: number | null): string[] {
    return hashes.filter((hash) => {
      const row = this.files.get(hash);
      if (row === undefined) return false;
      this.files.set(hash, { ...row, hiddenAtMs });
      return (row.hiddenAtMs === null) !== (hiddenAtMs === null);
    });
  }

  putFiles(rows: readonly FileRow[]): void {
    // Of those given twice the last counts.
    for (const [hash, row] of new Map(rows.map((each) => [each.hash, each]))) {
      const known = this.files.get(hash);
      this.files.set(hash, { ...row, hiddenAtMs: known === undefined ? row.hiddenAtMs : known.hiddenAtMs });
    }
  }

  putBucket(id: string, record: Uint8Array): number {
    const known = [...this.buckets.values()].find((bucket) => bucket.id === id)?.number;
    const number = known ?? ++this.lastBucket;
    this.buckets.set(number, { number, id, record });
    return number;
  }

  byName(tags: readonly Uint8Array[], limit: number, hidden: boolean): FileRow[] {
    return [...this.files.values()]
      .filter((row) => tags.includes(row.nameTag) && (hidden || row.hiddenAtMs === null))
      .toSorted((a, b) => descending(a.version, b.version) || newestFirst(a, b))
      .slice(0, limit);
  }

  list(all: boolean, hidden: boolean): FileRow[] {
    return [...this.files.values()]
      .filter((row) => (row.hiddenAtMs !== null) === hidden)
      .toSorted((a, b) => newestFirst(a, b))
      .filter(
        (row, _, shown) =>
          all ||
          shown
            .filter((other) => other.nameTag === row.nameTag)
            .toSorted((a, b) => descending(a.version, b.version) || newestFirst(a, b))[0] === row,
      );
  }
}

function newestFirst(a: FileRow, b: FileRow): number {
  return descending(a.createdAtMs, b.createdAtMs) || descending(a.hash, b.hash);
}

function descending<T extends number | string>(a: T, b: T): number {
  if (a === b) return 0;
  return a < b ? 1 : -1;
}

function ordered<T>(rows: ReadonlyMap<string, T>): T[] {
  return [...rows].toSorted(([a], [b]) => -descending(a, b)).map(([, row]) => row);
}

/** Few of each, so that histories meet the same rows again and again. */
const HASHES = Array.from({ length: 8 }, () => hex(64));
const IDS = Array.from({ length: 6 }, () => hex(64));
const BUCKET_IDS = Array.from({ length: 3 }, () => hex(32));
const TAGS = Array.from({ length: 3 }, (_, i) => new Uint8Array(32).fill(i));

const smallTime = fc.integer({ min: -1, max: 3 });
const maybeTime = fc.option(smallTime, { nil: null });
const record = fc.uint8Array({ maxLength: 3 }).map((value) => Uint8Array.from(value));

const fileRow: fc.Arbitrary<FileRow> = fc.record({
  hash: fc.constantFrom(...HASHES),
  writer: fc.constantFrom(...BUCKET_IDS),
  nameTag: fc.constantFrom(...TAGS),
  record,
  version: fc.integer({ min: 1, max: 3 }),
  createdAtMs: smallTime,
  expiresAtMs: maybeTime,
  hiddenAtMs: maybeTime,
});

const place = fc.option(
  fc.record({ bucket: fc.integer({ min: 1, max: 3 }), upload: fc.constantFrom('0'.repeat(16), hex(16)) }),
  { nil: null },
);

const chunkRow: fc.Arbitrary<ChunkRow> = fc
  .record({
    id: fc.constantFrom(...IDS),
    sealing: fc.constantFrom('00000000', 'ffffffff'),
    sealedSize: fc.nat(),
    shards: fc.array(place, { minLength: 1, maxLength: 4 }),
  })
  .map(({ id, sealing, sealedSize, shards }) => ({
    id,
    k: 1,
    m: shards.length - 1,
    sealing,
    sealedSize,
    shards,
  }));

/** One call, made of the model and of the catalog; both must return the same. */
interface Step {
  readonly name: string;
  readonly expected: (model: ModelCatalog) => unknown;
  readonly actual: (catalog: Catalog) => Promise<unknown>;
}

function step<T>(
  name: string,
  input: fc.Arbitrary<T>,
  expected: (model: ModelCatalog, input: T) => unknown,
  actual: (catalog: Catalog, input: T) => Promise<unknown>,
): fc.Arbitrary<Step> {
  return input.map((value) => ({
    name: `${name} ${fc.stringify(value)}`,
    expected: (model) => expected(model, value),
    actual: (catalog) => actual(catalog, value),
  }));
}

const changes: fc.Arbitrary<Step>[] = [
  step(
    'files.put',
    fc.array(fileRow, { maxLength: 6 }),
    (model, rows) => model.putFiles(rows),
    (catalog, rows) => catalog.files.put(rows),
  ),
  step(
    'files.hide',
    fc.tuple(fc.subarray(HASHES), maybeTime),
    (model, [hashes, at]) => model.hide(hashes, at).toSorted(),
    async (catalog, [hashes, at]) => (await catalog.files.hide(hashes, at)).toSorted(),
  ),
  step(
    'files.forget',
    fc.subarray(HASHES, { maxLength: 3 }),
    (model, hashes) => hashes.forEach((hash) => model.files.delete(hash)),
    (catalog, hashes) => catalog.files.forget(hashes),
  ),
  step(
    'chunks.put',
    fc.array(chunkRow, { maxLength: 6 }),
    (model, rows) => rows.forEach((row) => model.chunks.set(row.id, row)),
    (catalog, rows) => catalog.chunks.put(rows),
  ),
  step(
    'chunks.forget',
    fc.subarray(IDS, { maxLength: 3 }),
    (model, ids) => ids.forEach((id) => model.chunks.delete(id)),
    (catalog, ids) => catalog.chunks.forget(ids),
  ),
  step(
    'setup.putKeyring',
    fc.record({ epoch: fc.nat(4), keyring: record }),
    (model, next) => {
      if (model.vault !== null && next.epoch > model.vault.epoch) model.vault = { ...model.vault, ...next };
      return (
        model.vault !== null &&
        model.vault.epoch === next.epoch &&
        Buffer.compare(model.vault.keyring, next.keyring) === 0
      );
    },
    (catalog, next) => catalog.setup.putKeyring(next),
  ),
  step(
    'setup.putNote',
    fc.tuple(fc.constantFrom('a', 'ä', ''), fc.option(record, { nil: null })),
    (model, [key, value]) => {
      if (value === null) model.notes.delete(key);
      else model.notes.set(key, value);
    },
    (catalog, [key, value]) => catalog.setup.putNote(key, value),
  ),
  step(
    'setup.putBucket',
    fc.record({ id: fc.constantFrom(...BUCKET_IDS), record }),
    (model, bucket) => model.putBucket(bucket.id, bucket.record),
    (catalog, bucket) => catalog.setup.putBucket(bucket),
  ),
  step(
    'setup.removeBucket',
    fc.integer({ min: 1, max: 5 }),
    (model, number) => void model.buckets.delete(number),
    (catalog, number) => catalog.setup.removeBucket(number),
  ),
];

const looks: fc.Arbitrary<Step>[] = [
  step(
    'files.byName',
    fc.tuple(fc.subarray(TAGS), fc.integer({ min: 1, max: 4 }), fc.boolean()),
    (model, [tags, limit, hidden]) => model.byName(tags, limit, hidden),
    (catalog, [tags, limit, hidden]) => catalog.files.byName(tags, limit, { hidden }),
  ),
  step(
    'files.list',
    fc.record({ all: fc.boolean(), hidden: fc.boolean() }),
    (model, { all, hidden }) => model.list(all, hidden),
    (catalog, options) => Array.fromAsync(catalog.files.list(options)),
  ),
  step(
    'files.byHashes',
    fc.subarray(HASHES),
    (model, hashes) =>
      hashes.filter((hash) => model.files.has(hash)).map((hash) => [hash, model.files.get(hash)]),
    async (catalog, hashes) => {
      const found = await catalog.files.byHashes(hashes);
      return hashes.filter((hash) => found.has(hash)).map((hash) => [hash, found.get(hash)]);
    },
  ),
];

/** Long random histories against a model. */
export function modelConformance(connections: () => Connections): void {
  test('any history over several connections gives what the model says', async () => {
    const { under, catalog, other } = connections();
    const third = await under.open();
    const clients = [catalog, other, third];
    await catalog.setup.create(VAULT);
    let lastBucket = 0;
    const client = fc.nat(2);
    const histories = fc.array(fc.tuple(client, fc.oneof(...changes, ...changes, ...looks)), {
      maxLength: 60,
      size: 'max',
    });
    await fc.assert(
      fc.asyncProperty(histories, async (history) => {
        const model = new ModelCatalog();
        model.vault = await catalog.setup.vault();
        model.lastBucket = lastBucket;
        try {
          for (const [number, { name, expected, actual }] of history) {
            const wanted = expected(model);
            const got = await actual(clients[number] ?? catalog);
            expect({ name, result: got }).toEqual({ name, result: wanted });
          }
          expect(await contents(other)).toEqual({
            vault: model.vault,
            buckets: [...model.buckets.values()].toSorted((a, b) => a.number - b.number),
            files: ordered(model.files),
            chunks: ordered(model.chunks),
          });
          for (const key of ['a', 'ä', '']) {
            expect(await third.setup.note(key)).toEqual(model.notes.get(key) ?? null);
          }
          const hidden = [...model.files.values()].filter((row) => row.hiddenAtMs !== null).length;
          expect(await third.files.counts()).toEqual({ files: model.files.size - hidden, hidden });
        } finally {
          await empty(catalog);
          const probe = { id: hex(32), record: bytes('x') };
          lastBucket = await catalog.setup.putBucket(probe);
          await catalog.setup.removeBucket(lastBucket);
        }
      }),
      { numRuns: 60 },
    );
    await third.close();
  });
}

/** Leaves a catalog with nothing but its vault, for the next history. */
async function empty(catalog: Catalog): Promise<void> {
  await catalog.files.forget(HASHES);
  await catalog.chunks.forget(IDS);
  for (const key of ['a', 'ä', '']) await catalog.setup.putNote(key, null);
  for (const { number } of await catalog.setup.buckets()) await catalog.setup.removeBucket(number);
}
