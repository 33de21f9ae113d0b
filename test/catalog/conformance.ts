import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Catalog, ChunkRow, GarbageRow } from '../../src/catalog/catalog.ts';
import { concurrencyConformance } from './concurrency.ts';
import type { CatalogUnderTest } from './samples.ts';
import {
  chunk,
  chunkIds,
  codeOf,
  file,
  hex,
  objectKey,
  objectsOf,
  owedObjects,
  store,
  VAULT,
} from './samples.ts';

const MANY = 1000;

const OLD_AND_NEW = [hex(16), hex(16)] as const;

function chunkDebt(): GarbageRow {
  const places = [
    { index: 0, bucket: 5, generation: OLD_AND_NEW[0] },
    { index: 2, bucket: 65_535, generation: OLD_AND_NEW[0] },
    { index: 2, bucket: 1, generation: OLD_AND_NEW[1] },
  ];
  return { kind: 'chunk', id: hex(64), k: 2, m: 1, places };
}

function manifestDebt(): GarbageRow {
  return { kind: 'manifest', id: hex(64), k: 0, m: 0, places: [{ index: 0, bucket: 3, generation: '' }] };
}

function keys(rows: readonly GarbageRow[]): string[] {
  return rows.flatMap((row) => row.places.map((place) => objectKey(row, place.index, place))).toSorted();
}

/**
 * The contract of `Catalog`, one sentence a test. A database joins by saying how to open it.
 *
 * @param name what to call the database in the test report
 * @param openFresh makes an empty catalog that no other test uses
 */
export function catalogConformance(name: string, openFresh: () => Promise<CatalogUnderTest>): void {
  describe(`${name} keeps the contract of a catalog`, () => {
    let under: CatalogUnderTest;
    let catalog: Catalog;
    let other: Catalog;

    beforeEach(async () => {
      under = await openFresh();
      catalog = await under.open();
      other = await under.open();
    });
    afterEach(async () => {
      await catalog.close();
      await other.close();
      await under.cleanUp();
    });

    const begin = async (owner = 'test'): Promise<string> => {
      const generation = hex(16);
      await catalog.beginPut({ generation, owner });
      return generation;
    };
    const addBuckets = async (): Promise<void> => {
      for (let i = 0; i < 3; i++) {
        await catalog.putBucket({ id: hex(32), state: 'active', record: Buffer.from('sealed') });
      }
    };
    const list = (all: boolean) => Array.fromAsync(catalog.listFiles({ all }));

    describe('the vault itself', () => {
      test('an empty catalog describes no vault', async () => {
        expect(await catalog.vault()).toBeNull();
      });

      test('create makes it describe the vault, with its keyslots', async () => {
        const slot = { id: hex(32), body: new Uint8Array([1, 2, 3]) };
        await catalog.create(VAULT, [slot]);
        expect(await other.vault()).toEqual({ id: VAULT.id, settings: new Uint8Array(VAULT.settings) });
        expect(await other.keyslots()).toEqual([slot]);
      });

      test('create of the same vault again succeeds and changes nothing', async () => {
        await catalog.create(VAULT, []);
        await catalog.create({ ...VAULT, settings: Buffer.from('other') }, [
          { id: hex(32), body: Buffer.from('x') },
        ]);
        expect(await catalog.vault()).toEqual({ id: VAULT.id, settings: new Uint8Array(VAULT.settings) });
        expect(await catalog.keyslots()).toEqual([]);
      });

      test('create of another vault is refused with already-exists', async () => {
        await catalog.create(VAULT, []);
        expect(await codeOf(catalog.create({ ...VAULT, id: hex(32) }, []))).toBe('already-exists');
      });

      test('of two vaults created at once one wins', async () => {
        const results = await Promise.all([
          codeOf(catalog.create({ ...VAULT, id: hex(32) }, [])),
          codeOf(other.create({ ...VAULT, id: hex(32) }, [])),
        ]);
        expect(results.toSorted()).toEqual(['already-exists', 'success']);
      });

      test('updateSettings replaces what was expected, and nothing else', async () => {
        await catalog.create(VAULT, []);
        const next = Buffer.from('next');
        expect(await catalog.updateSettings(Buffer.from('wrong'), next)).toBe(false);
        expect(await catalog.updateSettings(VAULT.settings, next)).toBe(true);
        expect(await catalog.updateSettings(VAULT.settings, Buffer.from('late'))).toBe(false);
        expect((await other.vault())?.settings).toEqual(new Uint8Array(next));
      });

      test('updateSettings repeated after a lost answer says true again', async () => {
        await catalog.create(VAULT, []);
        const next = Buffer.from('next');
        expect(await catalog.updateSettings(VAULT.settings, next)).toBe(true);
        expect(await catalog.updateSettings(VAULT.settings, next)).toBe(true);
      });

      test('keyslots are added, replaced and removed by id', async () => {
        const [first = '', second = ''] = [hex(32), hex(32)].toSorted();
        await catalog.putKeyslot({ id: second, body: new Uint8Array([2]) });
        await catalog.putKeyslot({ id: first, body: new Uint8Array([1]) });
        await catalog.putKeyslot({ id: second, body: new Uint8Array([3]) });
        expect(await other.keyslots()).toEqual([
          { id: first, body: new Uint8Array([1]) },
          { id: second, body: new Uint8Array([3]) },
        ]);
        await catalog.removeKeyslot(first);
        await catalog.removeKeyslot(first);
        expect(await other.keyslots()).toEqual([{ id: second, body: new Uint8Array([3]) }]);
      });

      test('a bucket keeps its number when it is put again', async () => {
        const [a, b] = [hex(32), hex(32)];
        expect(await catalog.putBucket({ id: a, state: 'active', record: new Uint8Array([1]) })).toBe(1);
        expect(await catalog.putBucket({ id: b, state: 'active', record: new Uint8Array([2]) })).toBe(2);
        expect(await other.putBucket({ id: a, state: 'draining', record: new Uint8Array([3]) })).toBe(1);
        expect(await catalog.buckets()).toEqual([
          { number: 1, id: a, state: 'draining', record: new Uint8Array([3]) },
          { number: 2, id: b, state: 'active', record: new Uint8Array([2]) },
        ]);
      });

      test('a number is never given twice, not even after the bucket was removed', async () => {
        const id = hex(32);
        await addBuckets();
        await catalog.removeBucket(3);
        expect(await catalog.putBucket({ id, state: 'active', record: Buffer.from('x') })).toBe(4);
        await catalog.removeBucket(4);
        expect(await catalog.putBucket({ id, state: 'active', record: Buffer.from('x') })).toBe(5);
        expect((await catalog.buckets()).map((bucket) => bucket.number)).toEqual([1, 2, 5]);
      });

      test('buckets added at once get different numbers', async () => {
        const numbers = await Promise.all(
          [catalog, other, catalog, other, catalog].map((each) =>
            each.putBucket({ id: hex(32), state: 'active', record: Buffer.from('x') }),
          ),
        );
        expect(numbers.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5]);
      });

      test('a removed bucket takes the removals owed to it along, and only those', async () => {
        await addBuckets();
        const generation = hex(16);
        const [id, hash] = [hex(64), hex(64)];
        const places = [1, 2].map((bucket, index) => ({ index, bucket, generation }));
        await catalog.addGarbage([
          { kind: 'chunk', id, k: 1, m: 1, places },
          {
            kind: 'manifest',
            id: hash,
            k: 0,
            m: 0,
            places: places.map((place) => ({ ...place, generation: '' })),
          },
          { kind: 'chunk', id: hash, k: 1, m: 1, places: places.slice(0, 1) },
        ]);
        await catalog.rememberStrays(1, ['stray'], 5);
        await catalog.removeBucket(1);
        await catalog.removeBucket(1);
        expect(await owedObjects(catalog)).toEqual(
          [
            objectKey({ kind: 'chunk', id, k: 1, m: 1 }, 1, { bucket: 2, generation }),
            objectKey({ kind: 'manifest', id: hash, k: 0, m: 0 }, 0, { bucket: 2, generation: '' }),
          ].toSorted(),
        );
      });
    });

    describe('storing a file', () => {
      test('a pending put is listed with its owner, and is no file', async () => {
        const generation = await begin('somebody');
        await catalog.beginPut({ generation, owner: 'somebody' });
        expect(await other.pendingPuts()).toEqual([{ generation, owner: 'somebody' }]);
        expect(await list(true)).toEqual([]);
        expect(await catalog.counts()).toEqual({
          files: 0,
          chunks: 0,
          garbage: 0,
          pendingPuts: 1,
          deadPuts: 0,
        });
      });

      test('claimChunks returns exactly the stored ones of the given chunks', async () => {
        const [known, unknown] = [hex(64), hex(64)];
        const stored = await store(catalog, file(), [known]);
        const generation = await begin();
        expect(await other.claimChunks(generation, [])).toEqual(new Map());
        expect(await other.claimChunks(generation, [unknown])).toEqual(new Map());
        const expected = new Map([[known, chunk(known, stored)]]);
        expect(await other.claimChunks(generation, [unknown, known])).toEqual(expected);
        expect(await other.claimChunks(generation, [unknown, known])).toEqual(expected);
      });

      test('what was claimed outlives the file that it came from', async () => {
        const id = hex(64);
        const row = file();
        await store(catalog, row, [id]);
        const generation = await begin();
        await catalog.claimChunks(generation, [id]);
        expect(await other.removeFiles([row.hash])).toEqual([row.hash]);
        expect(await chunkIds(catalog)).toEqual([id]);
        await catalog.commitPut(generation, file());
        expect(await chunkIds(catalog)).toEqual([id]);
      });

      test('recordChunks records new chunks, and repeating it changes nothing', async () => {
        const generation = await begin();
        const rows = [hex(64), hex(64)].map((id) => chunk(id, generation, [2, null, 7]));
        const expected = new Map(rows.map((row) => [row.id, row]));
        expect(await catalog.recordChunks(generation, rows)).toEqual(expected);
        expect(await catalog.recordChunks(generation, rows)).toEqual(expected);
        expect(await other.locateChunks(rows.map((row) => row.id))).toEqual(expected);
        expect(await owedObjects(catalog)).toEqual([]);
      });

      test('the first record of a chunk stays, and the places of the second become garbage', async () => {
        const id = hex(64);
        const [a, b] = [await begin(), await begin()];
        const first = chunk(id, a, [1, 2, 3]);
        const second = chunk(id, b, [3, 1, null]);
        await catalog.recordChunks(a, [first]);
        expect(await other.recordChunks(b, [second])).toEqual(new Map([[id, first]]));
        expect(await owedObjects(catalog)).toEqual(objectsOf(second).toSorted());
      });

      test('places that both records use are not garbage', async () => {
        const id = hex(64);
        const [a, b] = [await begin(), await begin()];
        const first = chunk(id, a, [1, 2, 3]);
        const second = { ...first, shards: [first.shards[0] ?? null, { bucket: 2, generation: b }, null] };
        await catalog.recordChunks(a, [first]);
        await other.recordChunks(b, [second]);
        expect(await owedObjects(catalog)).toEqual([
          objectKey({ kind: 'chunk', ...first }, 1, { bucket: 2, generation: b }),
        ]);
      });

      test('an object that a chunk of another redundancy names is another object', async () => {
        const id = hex(64);
        const [a, b] = [await begin(), await begin()];
        await catalog.recordChunks(a, [chunk(id, a, [1, 2, 3], 2)]);
        const second = chunk(id, a, [1, 2, 3], 1);
        await catalog.recordChunks(b, [second]);
        expect(await owedObjects(catalog)).toEqual(objectsOf(second).toSorted());
      });

      test(`claimChunks, recordChunks and locateChunks take ${MANY} chunks`, async () => {
        const generation = await begin();
        const rows = Array.from({ length: MANY }, () => chunk(hex(64), generation));
        const ids = rows.map((row) => row.id);
        expect((await catalog.claimChunks(generation, ids)).size).toBe(0);
        expect((await catalog.recordChunks(generation, rows)).size).toBe(MANY);
        expect((await catalog.claimChunks(await begin(), ids)).size).toBe(MANY);
        expect((await catalog.locateChunks(ids)).size).toBe(MANY);
        expect((await catalog.recordChunks(await begin(), rows)).size).toBe(MANY);
        expect(await catalog.filesOfChunks(ids)).toEqual([]);
      });

      test('commitPut makes the file visible with all that it was given', async () => {
        const row = file({ expiresAtMs: 1_900_000_000_000 });
        const generation = await begin();
        await catalog.announceManifest(generation, row.hash);
        await catalog.announceManifest(generation, row.hash);
        await catalog.commitPut(generation, row);
        expect(await other.filesByHash(row.hash, 2)).toEqual([row]);
        expect(await other.pendingPuts()).toEqual([]);
        expect(await other.counts()).toMatchObject({ files: 1, pendingPuts: 0 });
      });

      test('commitPut repeated succeeds and changes nothing', async () => {
        const row = file();
        const id = hex(64);
        const generation = await store(catalog, row, [id]);
        await store(catalog, file());
        await other.commitPut(generation, row);
        expect((await list(true)).map((each) => each.hash).at(-1)).toBe(row.hash);
        expect(await chunkIds(catalog)).toEqual([id]);
      });

      test('commitPut under a hash that another put made visible succeeds and drops the second put', async () => {
        await addBuckets();
        const row = file();
        await store(catalog, row, [hex(64)]);
        const generation = await begin();
        const second = chunk(hex(64), generation);
        await catalog.recordChunks(generation, [second]);
        await catalog.announceManifest(generation, row.hash);
        await catalog.commitPut(generation, row);
        expect(await list(true)).toEqual([row]);
        expect(await catalog.pendingPuts()).toEqual([]);
        // The manifest is the visible file's, so only the chunk is owed.
        expect(await owedObjects(catalog)).toEqual(objectsOf(second).toSorted());
      });

      test('a visible file is not announced or renewed again', async () => {
        const generation = await store(catalog, file());
        expect(await codeOf(catalog.announceManifest(generation, hex(64)))).toBe('stale');
        expect(await codeOf(catalog.renewPut(generation))).toBe('stale');
        expect(await codeOf(catalog.commitPut(generation, file()))).toBe('stale');
      });

      test('discardPut turns what only it referred to into garbage, and forgets it', async () => {
        await addBuckets();
        const shared = hex(64);
        await store(catalog, file(), [shared]);
        const generation = await begin();
        const own = chunk(hex(64), generation);
        const hash = hex(64);
        await catalog.claimChunks(generation, [shared]);
        await catalog.recordChunks(generation, [own]);
        await catalog.announceManifest(generation, hash);
        await catalog.discardPut(generation);
        await catalog.discardPut(generation);
        expect(await chunkIds(other)).toEqual([shared]);
        const manifests = [1, 2, 3].map((bucket) =>
          objectKey({ kind: 'manifest', id: hash, k: 0, m: 0 }, 0, { bucket, generation: '' }),
        );
        expect(await owedObjects(other)).toEqual([...objectsOf(own), ...manifests].toSorted());
        expect(await other.pendingPuts()).toEqual([]);
        expect(await other.deadPuts()).toEqual([]);
      });

      test('discardPut leaves a visible file alone', async () => {
        const row = file();
        const generation = await store(catalog, row, [hex(64)]);
        await catalog.discardPut(generation);
        expect(await list(true)).toEqual([row]);
        expect((await chunkIds(catalog)).length).toBe(1);
      });

      const calls: readonly [string, (generation: string) => Promise<unknown>][] = [
        ['renewPut', (generation) => catalog.renewPut(generation)],
        ['claimChunks', (generation) => catalog.claimChunks(generation, [hex(64)])],
        ['recordChunks', (generation) => catalog.recordChunks(generation, [chunk(hex(64), generation)])],
        ['announceManifest', (generation) => catalog.announceManifest(generation, hex(64))],
        ['commitPut', (generation) => catalog.commitPut(generation, file())],
      ];
      test.each(calls)('%s of a put that is not pending is stale and does nothing', async (_, call) => {
        const buried = await begin('gone');
        await catalog.buryPuts({ leaseMs: 1e9, isGone: (owner) => owner === 'gone' });
        const id = hex(64);
        await store(catalog, file(), [id]);
        const before = await catalog.counts();
        for (const generation of [buried, hex(16)]) {
          expect(await codeOf(call(generation))).toBe('stale');
        }
        expect(await codeOf(catalog.claimChunks(buried, [id]))).toBe('stale');
        expect(await catalog.counts()).toEqual(before);
      });

      test('beginPut of a dead put is stale', async () => {
        const generation = await begin('gone');
        await catalog.buryPuts({ leaseMs: 1e9, isGone: () => true });
        expect(await codeOf(catalog.beginPut({ generation, owner: 'gone' }))).toBe('stale');
      });

      test.each(['', 'short', 'G'.repeat(64), 'A'.repeat(64), '0'.repeat(63)])(
        'an identifier that is not lower-case hex of its length is invalid-input: %j',
        async (id) => {
          const generation = await begin();
          expect(await codeOf(catalog.claimChunks(generation, [id]))).toBe('invalid-input');
          expect(await codeOf(catalog.locateChunks([id]))).toBe('invalid-input');
          expect(await codeOf(catalog.removeFiles([id]))).toBe('invalid-input');
          expect(await codeOf(catalog.renewPut(id))).toBe('invalid-input');
        },
      );
    });

    describe('finding files', () => {
      test('knownManifests gives those of visible files and those that pending puts have announced', async () => {
        const [announced, visible, buried, unknown] = [hex(64), file(), hex(64), hex(64)];
        await catalog.announceManifest(await begin('gone'), buried);
        await catalog.buryPuts({ leaseMs: 1e9, isGone: (owner) => owner === 'gone' });
        await catalog.announceManifest(await begin(), announced);
        await store(catalog, visible);
        const known = await other.knownManifests([unknown, announced, visible.hash, buried]);
        expect(known).toEqual(new Set([announced, visible.hash]));
        expect(await other.knownManifests([])).toEqual(new Set());
      });

      test('filesByHash finds by the whole hash and by any prefix, in the order of hashes', async () => {
        const rows = ['0a1b', '0a1c', '0b00', 'ffff'].map((start) => file({ hash: start + hex(60) }));
        for (const row of rows) await store(catalog, row);
        const [a, b, c, d] = rows;
        expect(await catalog.filesByHash(a?.hash ?? '', 10)).toEqual([a]);
        expect(await catalog.filesByHash('0a1', 10)).toEqual([a, b]);
        expect(await catalog.filesByHash('0a1b', 10)).toEqual([a]);
        expect(await catalog.filesByHash('0', 2)).toEqual([a, b]);
        expect(await catalog.filesByHash('0', 10)).toEqual([a, b, c]);
        expect(await catalog.filesByHash('ffff', 10)).toEqual([d]);
        expect(await catalog.filesByHash('1', 10)).toEqual([]);
      });

      test('filesByName finds the versions of a name, newest first', async () => {
        const nameTag = new Uint8Array(32).fill(9);
        const rows = [1, 2, 3].map((createdAtMs) => file({ nameTag, createdAtMs }));
        for (const row of rows) await store(catalog, row);
        await store(catalog, file());
        expect(await other.filesByName(nameTag, 10)).toEqual(rows.toReversed());
        expect(await other.filesByName(nameTag, 1)).toEqual(rows.slice(-1));
      });

      test('listFiles gives the newest of each name, newest first, and with `all` every version', async () => {
        const [x, y] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
        const rows = [x, y, x, y, y].map((nameTag) => file({ nameTag }));
        for (const row of rows) await store(catalog, row);
        expect(await list(true)).toEqual(rows.toReversed());
        expect(await list(false)).toEqual([rows[4], rows[2]]);
        await catalog.removeFiles([rows[4]?.hash ?? '']);
        expect(await list(false)).toEqual([rows[3], rows[2]]);
      });

      test('a listing of several pages has every file once, in order, whatever happens meanwhile', async () => {
        const rows = Array.from({ length: 1203 }, (_, at) => file({ createdAtMs: at }));
        await Promise.all(rows.slice(0, 700).map((row) => store(catalog, row)));
        for (const row of rows.slice(700)) await store(catalog, row);
        const before = (await list(true)).map((row) => row.hash);
        expect(new Set(before).size).toBe(rows.length);
        const replaced = file({ nameTag: rows[10]?.nameTag ?? new Uint8Array(32) });
        const seen: string[] = [];
        for await (const row of catalog.listFiles({ all: false })) {
          if (seen.length === 3) {
            await store(other, replaced);
            await other.removeFiles([before[1] ?? '', before[1202] ?? '']);
          }
          seen.push(row.hash);
        }
        // Gone before their page was read, or already seen; a new version does not hide the old one half-way.
        expect(seen).toEqual(before.slice(0, 1202));
      });

      test('an aborted listing ends with interrupted', async () => {
        for (let i = 0; i < 3; i++) await store(catalog, file(), [hex(64)]);
        for (const listing of [
          (signal: AbortSignal) => catalog.listFiles({ all: true, signal }),
          (signal: AbortSignal) => catalog.listChunks({ signal }),
        ]) {
          const controller = new AbortController();
          const rows = listing(controller.signal)[Symbol.asyncIterator]();
          expect((await rows.next()).done).toBe(false);
          controller.abort();
          expect(await codeOf(rows.next())).toBe('interrupted');
        }
      });

      test('expiredFiles gives those that expire at or before the time, soonest first', async () => {
        const rows = [30, 10, 20, 10, 40].map((expiresAtMs) => file({ expiresAtMs }));
        for (const row of rows) await store(catalog, row);
        await store(catalog, file({ expiresAtMs: null }));
        const expired = await Array.fromAsync(catalog.expiredFiles(30));
        expect(expired.map((row) => row.expiresAtMs)).toEqual([10, 10, 20, 30]);
        expect(await Array.fromAsync(catalog.expiredFiles(9))).toEqual([]);
      });

      test('expired files may be removed while they are listed', async () => {
        const rows = Array.from({ length: 620 }, (_, at) => file({ expiresAtMs: at % 7 }));
        await Promise.all(rows.map((row) => store(catalog, row)));
        const seen: string[] = [];
        for await (const row of catalog.expiredFiles(100)) {
          seen.push(row.hash);
          await other.removeFiles([row.hash]);
        }
        expect(new Set(seen).size).toBe(620);
        expect(await list(true)).toEqual([]);
      });

      test('locateChunks knows where the shards lie, and leaves unknown chunks out', async () => {
        const id = hex(64);
        const generation = await store(catalog, file(), [id]);
        expect(await other.locateChunks([id, hex(64)])).toEqual(new Map([[id, chunk(id, generation)]]));
        expect(await other.locateChunks([])).toEqual(new Map());
      });

      test('listChunks gives every chunk in the order of ids, page by page, and after a given one', async () => {
        const generation = await begin();
        const ids = Array.from({ length: 2100 }, () => hex(64)).toSorted();
        for (let at = 0; at < ids.length; at += MANY) {
          await catalog.recordChunks(
            generation,
            ids.slice(at, at + MANY).map((id) => chunk(id, generation)),
          );
        }
        expect(await chunkIds(other)).toEqual(ids);
        const rest = await Array.fromAsync(other.listChunks({ after: ids[1050] ?? '' }));
        expect(rest.map((row) => row.id)).toEqual(ids.slice(1051));
      });

      test('filesOfChunks gives the visible files that refer to any of the chunks, each once', async () => {
        const [a, b, c] = [hex(64), hex(64), hex(64)];
        const [first, second] = [file(), file()];
        await store(catalog, first, [a, b]);
        await store(catalog, second, [b, c]);
        const generation = await begin();
        await catalog.claimChunks(generation, [a]);
        const hashes = async (ids: string[]) =>
          (await catalog.filesOfChunks(ids)).map((row) => row.hash).toSorted();
        expect(await hashes([a])).toEqual([first.hash]);
        expect(await hashes([a, b])).toEqual([first.hash, second.hash].toSorted());
        expect(await hashes([hex(64)])).toEqual([]);
        expect(await hashes([])).toEqual([]);
      });
    });

    describe('changing and removing', () => {
      test('removeFiles hides the files, and owes their manifests and what nothing else refers to', async () => {
        await addBuckets();
        await catalog.removeBucket(2);
        const [shared, own] = [hex(64), hex(64)];
        const [gone, stays] = [file(), file()];
        const generation = await store(catalog, gone, [shared, own]);
        await store(catalog, stays, [shared]);
        expect(await other.removeFiles([gone.hash, hex(64)])).toEqual([gone.hash]);
        expect(await list(true)).toEqual([stays]);
        expect(await chunkIds(catalog)).toEqual([shared]);
        const manifests = [1, 3].map((bucket) =>
          objectKey({ kind: 'manifest', id: gone.hash, k: 0, m: 0 }, 0, { bucket, generation: '' }),
        );
        expect(await owedObjects(catalog)).toEqual(
          [...objectsOf(chunk(own, generation)), ...manifests].toSorted(),
        );
      });

      test('removeFiles of nothing visible does nothing', async () => {
        expect(await catalog.removeFiles([])).toEqual([]);
        expect(await catalog.removeFiles([hex(64)])).toEqual([]);
        const row = file();
        await store(catalog, row);
        expect(await catalog.removeFiles([row.hash, row.hash])).toEqual([row.hash]);
        expect(await catalog.removeFiles([row.hash])).toEqual([]);
      });

      test('files that share chunks only with each other take them along when removed together', async () => {
        const [a, b, c] = [hex(64), hex(64), hex(64)];
        const rows = [file(), file(), file()];
        await store(catalog, rows[0] ?? file(), [a, b]);
        await store(catalog, rows[1] ?? file(), [b, c]);
        await store(catalog, rows[2] ?? file(), [a, c]);
        await catalog.removeFiles(rows.map((row) => row.hash));
        expect(await catalog.counts()).toMatchObject({ files: 0, chunks: 0, garbage: 3 });
      });

      test('removeFiles drops a file of many chunks, and many small files', async () => {
        const large = file();
        const generation = await begin();
        const ids = Array.from({ length: 7000 }, () => hex(64));
        for (let at = 0; at < ids.length; at += MANY) {
          await catalog.recordChunks(
            generation,
            ids.slice(at, at + MANY).map((id) => chunk(id, generation)),
          );
        }
        await catalog.commitPut(generation, large);
        const small = Array.from({ length: 300 }, () => file());
        await Promise.all(small.map((row, at) => store(catalog, row, ids.slice(at, at + 20))));
        const kept = file();
        await store(catalog, kept, ids.slice(0, 50));
        const hashes = [large, ...small].map((row) => row.hash);
        expect((await catalog.removeFiles(hashes)).toSorted()).toEqual(hashes.toSorted());
        expect(await chunkIds(catalog)).toEqual(ids.slice(0, 50).toSorted());
        expect(await list(true)).toEqual([kept]);
      });

      test('a file that was removed can be stored again', async () => {
        const row = file();
        const id = hex(64);
        await store(catalog, row, [id]);
        await catalog.removeFiles([row.hash]);
        const generation = await store(catalog, row, [id]);
        expect(await list(true)).toEqual([row]);
        expect(await catalog.locateChunks([id])).toEqual(new Map([[id, chunk(id, generation)]]));
        const owed = await owedObjects(catalog);
        expect(owed.some((key) => key.startsWith('manifest'))).toBe(false);
        expect(owed.some((key) => key.endsWith(generation))).toBe(false);
      });

      test('replaceFile changes what the row of a visible file says, and no other, nor its place in the listing', async () => {
        const rows = [file(), file(), file()];
        for (const row of rows) await store(catalog, row, [hex(64)]);
        const [first = file(), second = file(), third = file()] = rows;
        const next = { ...file({ expiresAtMs: 7 }), hash: second.hash };
        expect(await other.replaceFile(next)).toBe(true);
        expect(await catalog.filesByHash(second.hash, 2)).toEqual([next]);
        expect(await catalog.filesByName(second.nameTag, 1)).toEqual([]);
        expect(await list(true)).toEqual([third, next, first]);
        expect(await catalog.replaceFile(next), 'repeated after a lost answer').toBe(true);
      });

      test('replaceFile of a file that is not visible says false and does nothing', async () => {
        const generation = hex(16);
        const row = file();
        await catalog.beginPut({ generation, owner: 'test' });
        await catalog.announceManifest(generation, row.hash);
        expect(await catalog.replaceFile(row)).toBe(false);
        expect(await catalog.filesByHash(row.hash, 1)).toEqual([]);
        expect(
          await catalog.replaceFile({ ...row, hash: 'x' }).catch((error: unknown) => error),
        ).toMatchObject({
          code: 'invalid-input',
        });
      });

      test('replaceChunk replaces the row that was expected and owes what it no longer uses', async () => {
        const id = hex(64);
        const generation = await store(catalog, file(), [id]);
        const old = chunk(id, generation);
        const next: ChunkRow = {
          ...old,
          shards: [old.shards[0] ?? null, { bucket: 9, generation: hex(16) }, null],
        };
        expect(await other.replaceChunk(old, next)).toBe(true);
        expect(await catalog.locateChunks([id])).toEqual(new Map([[id, next]]));
        expect(await owedObjects(catalog)).toEqual(objectsOf(old).slice(1).toSorted());
        expect(await other.replaceChunk(old, next), 'repeated after a lost answer').toBe(true);
      });

      test('replaceChunk of a row that has changed or gone says false and does nothing', async () => {
        const id = hex(64);
        const generation = await store(catalog, file(), [id]);
        const row = chunk(id, generation);
        const wrong = chunk(id, hex(16));
        expect(await catalog.replaceChunk(wrong, chunk(id, hex(16)))).toBe(false);
        expect(await catalog.replaceChunk(chunk(hex(64), generation), row).catch(() => false)).toBe(false);
        const absent = chunk(hex(64), generation);
        expect(await catalog.replaceChunk(absent, { ...absent, sealedSize: 1 })).toBe(false);
        expect(await catalog.locateChunks([id])).toEqual(new Map([[id, row]]));
        expect(await owedObjects(catalog)).toEqual([]);
      });

      test('replaceChunk on behalf of a put that is no longer pending is stale and does nothing', async () => {
        const id = hex(64);
        const old = chunk(id, await store(catalog, file(), [id]));
        const next = chunk(id, hex(16));
        const generation = hex(16);
        await expect(catalog.replaceChunk(old, next, { generation })).rejects.toMatchObject({
          code: 'stale',
        });
        await catalog.beginPut({ generation, owner: 'gone' });
        await other.buryPuts({ leaseMs: 3_600_000, isGone: () => true });
        await expect(catalog.replaceChunk(old, next, { generation })).rejects.toMatchObject({
          code: 'stale',
        });
        expect(await catalog.locateChunks([id])).toEqual(new Map([[id, old]]));
        const alive = hex(16);
        await catalog.beginPut({ generation: alive, owner: 'alive' });
        expect(await catalog.replaceChunk(old, next, { generation: alive })).toBe(true);
        expect(await catalog.locateChunks([id])).toEqual(new Map([[id, next]]));
      });

      test('replaceChunk can change the redundancy', async () => {
        const id = hex(64);
        const generation = await store(catalog, file(), [id]);
        const old = chunk(id, generation);
        const next = chunk(id, hex(16), [1, 2], 1);
        expect(await catalog.replaceChunk(old, next)).toBe(true);
        expect(await catalog.locateChunks([id])).toEqual(new Map([[id, next]]));
        expect(await owedObjects(catalog)).toEqual(objectsOf(old).toSorted());
      });
    });

    describe('garbage', () => {
      test('addGarbage owes removals, and repeating it changes nothing', async () => {
        const rows = [chunkDebt(), manifestDebt()];
        await catalog.addGarbage(rows);
        const { garbage } = await catalog.counts();
        await other.addGarbage(rows);
        await other.addGarbage([]);
        expect(await owedObjects(catalog)).toEqual(keys(rows));
        expect((await catalog.counts()).garbage).toBe(garbage);
      });

      test('settleGarbage strikes out what has been done and keeps what is still owed', async () => {
        await catalog.addGarbage([chunkDebt(), manifestDebt()]);
        for await (const row of catalog.garbage()) {
          await catalog.settleGarbage([{ row, owed: row.places.filter((place) => place.bucket > 3) }]);
        }
        const owed = await Array.fromAsync(other.garbage());
        expect(new Set(owed.flatMap((row) => row.places.map((place) => place.bucket)))).toEqual(
          new Set([5, 65_535]),
        );
        await catalog.settleGarbage(owed.map((row) => ({ row, owed: [] })));
        await catalog.settleGarbage(owed.map((row) => ({ row, owed: row.places.slice(0, 1) })));
        expect(await owedObjects(catalog), 'settled by another client already').toEqual([]);
      });

      test('settleGarbage strikes out no row but the given ones', async () => {
        const generation = hex(16);
        const row = (id: string, bucket: number): GarbageRow => ({
          kind: 'chunk',
          id,
          k: 1,
          m: 0,
          places: [{ index: 0, bucket, generation }],
        });
        const [x, y] = [hex(64), hex(64)];
        await catalog.addGarbage([row(x, 1), row(x, 2), row(y, 1), row(y, 2)]);
        await catalog.settleGarbage([
          { row: row(x, 1), owed: [] },
          { row: row(y, 2), owed: [] },
        ]);
        expect(await owedObjects(catalog)).toEqual(keys([row(x, 2), row(y, 1)]));
      });

      test(`addGarbage and settleGarbage take ${MANY} rows, and the listing has them all`, async () => {
        const rows = Array.from({ length: MANY }, (_, at) => (at % 2 === 0 ? chunkDebt() : manifestDebt()));
        await catalog.addGarbage(rows);
        await catalog.addGarbage([chunkDebt(), manifestDebt()]);
        const listed = await Array.fromAsync(catalog.garbage());
        expect(listed.length).toBeGreaterThan(MANY);
        await catalog.settleGarbage(listed.slice(0, MANY).map((row) => ({ row, owed: [] })));
        expect(keys(await Array.fromAsync(catalog.garbage()))).toEqual(keys(listed.slice(MANY)));
      });

      test('garbage may be settled while it is listed', async () => {
        const rows = Array.from({ length: 2 * MANY }, manifestDebt);
        await catalog.addGarbage(rows.slice(0, MANY));
        await catalog.addGarbage(rows.slice(MANY));
        let seen = 0;
        for await (const row of catalog.garbage()) {
          seen++;
          if (seen % 2 === 0) await other.settleGarbage([{ row, owed: [] }]);
        }
        expect(seen).toBe(2 * MANY);
        expect((await catalog.counts()).garbage).toBe(MANY);
      });

      test('buryPuts buries those whose owner is gone: their chunks and manifest become garbage', async () => {
        await addBuckets();
        const dead = await begin('gone');
        const alive = await begin('here');
        const row = chunk(hex(64), dead);
        const hash = hex(64);
        await catalog.recordChunks(dead, [row]);
        await catalog.announceManifest(dead, hash);
        const asked = new Set<string>();
        await other.buryPuts({
          leaseMs: 1e9,
          isGone: (owner) => {
            asked.add(owner);
            return owner === 'gone';
          },
        });
        expect([...asked].toSorted()).toEqual(['gone', 'here']);
        expect(await catalog.deadPuts()).toEqual([dead]);
        expect((await catalog.pendingPuts()).map((put) => put.generation)).toEqual([alive]);
        const owed = await owedObjects(catalog);
        expect(owed.filter((key) => key.startsWith('chunk'))).toEqual(objectsOf(row).toSorted());
        expect(owed.filter((key) => key.startsWith(`manifest ${hash}`)).length).toBe(3);
      });

      test('buryPuts buries those not renewed within the lease, and spares the others', async () => {
        const [silent, renewed] = [await begin(), await begin()];
        await new Promise((resolve) => setTimeout(resolve, 300));
        await catalog.renewPut(renewed);
        await other.buryPuts({ leaseMs: 250, isGone: () => false });
        expect(await catalog.deadPuts()).toEqual([silent]);
        expect((await catalog.pendingPuts()).map((put) => put.generation)).toEqual([renewed]);
      });

      test('forgetPut forgets a dead put and no other', async () => {
        const dead = await begin('gone');
        await catalog.buryPuts({ leaseMs: 1e9, isGone: () => true });
        const pending = await begin();
        const visible = file();
        const generation = await store(catalog, visible);
        for (const each of [dead, dead, pending, generation, hex(16)]) await other.forgetPut(each);
        expect(await catalog.deadPuts()).toEqual([]);
        expect((await catalog.pendingPuts()).map((put) => put.generation)).toEqual([pending]);
        expect(await list(true)).toEqual([visible]);
      });

      test('strays are remembered with the time of the first look, until a look does not find them', async () => {
        expect(await catalog.rememberStrays(1, ['a', 'b'], 10)).toEqual(
          new Map([
            ['a', 10],
            ['b', 10],
          ]),
        );
        expect(await catalog.rememberStrays(2, ['a'], 11)).toEqual(new Map([['a', 11]]));
        expect(await other.rememberStrays(1, ['b', 'c'], 20)).toEqual(
          new Map([
            ['b', 10],
            ['c', 20],
          ]),
        );
        expect(await other.rememberStrays(1, ['a'], 30)).toEqual(new Map([['a', 30]]));
        expect(await other.rememberStrays(1, [], 40)).toEqual(new Map());
        expect(await other.rememberStrays(2, ['a'], 50)).toEqual(new Map([['a', 11]]));
      });

      test('thousands of strays are remembered', async () => {
        const names = Array.from({ length: 2500 }, (_, at) => `chunks/${at}`);
        await catalog.rememberStrays(1, names, 1);
        const seen = await catalog.rememberStrays(1, names.slice(1200), 2);
        expect(seen.size).toBe(1300);
        expect(new Set(seen.values())).toEqual(new Set([1]));
        expect((await catalog.rememberStrays(1, names, 3)).get('chunks/0')).toBe(3);
      });
    });

    concurrencyConformance(() => ({ under, catalog, other }));

    test('the label says where it is', () => {
      expect(catalog.label).not.toBe('');
    });
  });
}
