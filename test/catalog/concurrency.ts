import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Catalog, ChunkRow } from '../../src/catalog/catalog.ts';
import { isVaultError } from '../../src/errors.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { ModelCatalog } from './model.ts';
import type { CatalogUnderTest } from './samples.ts';
import { chunk, chunkIds, codeOf, file, hex, objectsOf, owedObjects, store } from './samples.ts';

/** Several connections to one catalog, which the test that calls finds empty. */
interface Connections {
  readonly under: CatalogUnderTest;
  readonly catalog: Catalog;
  readonly other: Catalog;
}

/** What the contract says of several clients at once, and of long random histories. */
export function concurrencyConformance(connections: () => Connections): void {
  describe('several clients', () => {
    test('of two puts that record the same chunks at once, one row each stays and the rest is garbage', async () => {
      const { catalog, other } = connections();
      const ids = Array.from({ length: 200 }, () => hex(64));
      const [a, b] = [hex(16), hex(16)];
      await catalog.beginPut({ generation: a, owner: 'a' });
      await other.beginPut({ generation: b, owner: 'b' });
      const rowsOf = (generation: string): ChunkRow[] => ids.map((id) => chunk(id, generation));
      const [first, second] = await Promise.all([
        catalog.recordChunks(a, rowsOf(a)),
        other.recordChunks(b, rowsOf(b).toReversed()),
      ]);
      const rows = await catalog.locateChunks(ids);
      expect(rows.size).toBe(ids.length);
      expect(first).toEqual(rows);
      expect(second).toEqual(rows);
      const used = [...rows.values()].flatMap(objectsOf);
      const uploaded = [...rowsOf(a), ...rowsOf(b)].flatMap(objectsOf);
      expect([...used, ...(await owedObjects(catalog))].toSorted()).toEqual(uploaded.toSorted());
    });

    test('what a claim returned while the only file was being removed is still there', async () => {
      const { catalog, other } = connections();
      for (let round = 0; round < 20; round++) {
        const ids = Array.from({ length: 5 }, () => hex(64));
        const row = file();
        await store(catalog, row, ids);
        const generation = hex(16);
        await other.beginPut({ generation, owner: 'test' });
        const [claimed] = await Promise.all([
          other.claimChunks(generation, ids),
          catalog.removeFiles([row.hash]),
        ]);
        expect(await catalog.locateChunks(ids)).toEqual(claimed);
        await other.discardPut(generation);
        expect(await chunkIds(catalog)).toEqual([]);
      }
    });

    test('two removals of files that share a chunk drop it', async () => {
      const { catalog, other } = connections();
      for (let round = 0; round < 20; round++) {
        const ids = [hex(64), hex(64)];
        const [a, b] = [file(), file()];
        await store(catalog, a, ids);
        await store(catalog, b, ids);
        await Promise.all([catalog.removeFiles([a.hash]), other.removeFiles([b.hash])]);
        expect(await chunkIds(catalog)).toEqual([]);
      }
    });

    test('a put that is buried while it records leaves nothing behind', async () => {
      const { catalog, other } = connections();
      for (let round = 0; round < 20; round++) {
        const generation = hex(16);
        await catalog.beginPut({ generation, owner: 'gone' });
        const rows = Array.from({ length: 5 }, () => chunk(hex(64), generation));
        const [recorded] = await Promise.all([
          codeOf(catalog.recordChunks(generation, rows)),
          other.buryPuts({ leaseMs: 1e9, isGone: () => true }),
        ]);
        expect(await chunkIds(catalog)).toEqual([]);
        expect(await catalog.deadPuts()).toEqual([generation]);
        const owed = await owedObjects(catalog);
        // Either the record came first, and its chunks went with the put; or it found the put dead.
        expect(recorded).toBe(owed.length > 0 ? 'success' : 'stale');
        expect(owed).toEqual(recorded === 'success' ? rows.flatMap(objectsOf).toSorted() : []);
        await catalog.settleGarbage(
          (await Array.fromAsync(catalog.garbage())).map((row) => ({ row, owed: [] })),
        );
        await catalog.forgetPut(generation);
      }
    });

    test('a put that is buried while it claims keeps nothing', async () => {
      const { catalog, other } = connections();
      const id = hex(64);
      const row = file();
      await store(catalog, row, [id]);
      for (let round = 0; round < 20; round++) {
        const generation = hex(16);
        await catalog.beginPut({ generation, owner: 'gone' });
        const [claimed] = await Promise.all([
          codeOf(catalog.claimChunks(generation, [id])),
          other.buryPuts({ leaseMs: 1e9, isGone: () => true }),
        ]);
        expect(['success', 'stale']).toContain(claimed);
        expect(await catalog.deadPuts()).toEqual([generation]);
        await catalog.forgetPut(generation);
      }
      await catalog.removeFiles([row.hash]);
      expect(await chunkIds(catalog)).toEqual([]);
    });

    test('of a commit and a burial of the same put one wins, and nothing is half done', async () => {
      const { catalog, other } = connections();
      for (let round = 0; round < 20; round++) {
        const generation = hex(16);
        await catalog.beginPut({ generation, owner: 'gone' });
        const id = hex(64);
        await catalog.recordChunks(generation, [chunk(id, generation)]);
        const row = file();
        const [committed] = await Promise.all([
          codeOf(catalog.commitPut(generation, row)),
          other.buryPuts({ leaseMs: 1e9, isGone: () => true }),
        ]);
        const visible = (await catalog.filesByHash(row.hash, 1)).length === 1;
        expect(committed).toBe(visible ? 'success' : 'stale');
        expect((await catalog.locateChunks([id])).size).toBe(visible ? 1 : 0);
        expect(await catalog.deadPuts()).toEqual(visible ? [] : [generation]);
        await catalog.forgetPut(generation);
      }
    });

    test('of two replacements of one chunk at once one wins', async () => {
      const { catalog, other } = connections();
      const id = hex(64);
      const generation = await store(catalog, file(), [id]);
      const old = chunk(id, generation);
      const [x, y] = [chunk(id, hex(16)), chunk(id, hex(16))];
      const won = await Promise.all([catalog.replaceChunk(old, x), other.replaceChunk(old, y)]);
      expect(won.filter(Boolean)).toEqual([true]);
      expect(await catalog.locateChunks([id])).toEqual(new Map([[id, won[0] ? x : y]]));
      expect(await owedObjects(catalog)).toEqual(objectsOf(old).toSorted());
    });

    test('after any mix of concurrent operations every object has an owner or is owed', async () => {
      const { under, catalog, other } = connections();
      const clients = [catalog, other, await under.open(), await under.open()];
      const pool = Array.from({ length: 12 }, () => hex(64));
      const uploaded = new Set<string>();
      const kept = new Map<string, readonly string[]>();
      await Promise.all(
        clients.map(async (client, number) => {
          const random = seededRandom(number + 1);
          const mine: string[] = [];
          for (let step = 0; step < 40; step++) {
            const ids = random.shuffle(pool).slice(0, 1 + random.below(6));
            const generation = hex(16);
            await client.beginPut({ generation, owner: `client ${number}` });
            const known = await client.claimChunks(generation, ids);
            const rows = ids.filter((id) => !known.has(id)).map((id) => chunk(id, generation));
            for (const key of rows.flatMap(objectsOf)) uploaded.add(key);
            await client.recordChunks(generation, rows);
            if (random.below(4) === 0) {
              await client.discardPut(generation);
              continue;
            }
            const row = file();
            await client.commitPut(generation, row);
            mine.push(row.hash);
            kept.set(row.hash, ids);
            if (random.below(2) === 0) {
              const victims = mine.splice(0, 1 + random.below(3));
              await client.removeFiles(victims);
              for (const hash of victims) kept.delete(hash);
            }
          }
        }),
      );
      const rows = await Array.fromAsync(catalog.listChunks());
      const referred = [...new Set([...kept.values()].flat())].toSorted();
      expect(rows.map((row) => row.id)).toEqual(referred);
      const files = await Array.fromAsync(catalog.listFiles({ all: true }));
      expect(files.map((row) => row.hash).toSorted()).toEqual([...kept.keys()].toSorted());
      const accounted = [...rows.flatMap(objectsOf), ...(await owedObjects(catalog))];
      expect(accounted.filter((key) => key.startsWith('chunk')).toSorted()).toEqual([...uploaded].toSorted());
      for (const client of clients.slice(2)) await client.close();
    });
  });

  test('any history over several connections gives what the model says', async () => {
    const { under, catalog, other } = connections();
    for (let i = 0; i < 3; i++) {
      await catalog.putBucket({ id: hex(32), state: 'active', record: Buffer.from('x') });
    }
    const third = await under.open();
    const clients = [catalog, other, third];
    const steps = fc.array(
      fc.record({
        client: fc.nat(2),
        action: fc.constantFrom(...ACTIONS),
        put: fc.nat(5),
        pick: fc.subarray([0, 1, 2, 3, 4, 5]),
        name: fc.nat(2),
      }),
      { maxLength: 60, size: 'max' },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (history) => {
        const model = new ModelCatalog([1, 2, 3]);
        const ids = Array.from({ length: 6 }, () => hex(64)).toSorted();
        const names = Array.from({ length: 3 }, () => file().nameTag);
        const generations: string[] = [];
        try {
          for (const { client, action, put, pick, name } of history) {
            const generation = generations.at(-1 - (put % Math.max(generations.length, 1))) ?? hex(16);
            const nameTag = names[name] ?? file().nameTag;
            const context: Step = {
              catalog: clients[client] ?? catalog,
              model,
              generation,
              generations,
              ids: pick.flatMap((at) => ids[at] ?? []),
              // The same put always has the same hash; two puts sometimes share one.
              row: file({ hash: String(Number.parseInt(generation.slice(-2), 16) % 4).repeat(64), nameTag }),
            };
            await actions[action](context);
          }
          expect(await Array.fromAsync(catalog.listFiles({ all: true }))).toEqual(model.files({ all: true }));
          expect(await Array.fromAsync(other.listFiles({ all: false }))).toEqual(model.files({ all: false }));
          const rows = await Array.fromAsync(other.listChunks());
          expect(rows).toEqual([...model.chunks.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1)));
          expect(await owedObjects(third)).toEqual([...model.owed].toSorted());
          const state = (wanted: string): string[] =>
            [...model.puts].flatMap(([id, each]) => (each.state === wanted ? [id] : [])).toSorted();
          expect(await catalog.deadPuts()).toEqual(state('dead'));
          expect((await other.pendingPuts()).map((each) => each.generation)).toEqual(state('pending'));
        } finally {
          await empty(catalog);
        }
      }),
      { numRuns: 25 },
    );
    await third.close();
  });
}

interface Step {
  readonly catalog: Catalog;
  readonly model: ModelCatalog;
  readonly generation: string;
  readonly generations: string[];
  readonly ids: readonly string[];
  readonly row: ReturnType<typeof file>;
}

const ACTIONS = [
  'begin',
  'claim',
  'record',
  'announce',
  'commit',
  'discard',
  'bury',
  'forget',
  'remove',
  'replace',
] as const;

const actions: Readonly<Record<(typeof ACTIONS)[number], (step: Step) => Promise<void>>> = {
  async begin({ catalog, model, generations }) {
    const generation = hex(16);
    generations.push(generation);
    model.beginPut(generation);
    await catalog.beginPut({ generation, owner: generation });
  },
  claim: ({ catalog, model, generation, ids }) =>
    same(
      () => (ids.length === 0 ? new Map() : model.claimChunks(generation, ids)),
      () => catalog.claimChunks(generation, ids),
    ),
  record({ catalog, model, generation, ids }) {
    const rows = ids.map((id) => chunk(id, generation));
    return same(
      () => (rows.length === 0 ? new Map() : model.recordChunks(generation, rows)),
      () => catalog.recordChunks(generation, rows),
    );
  },
  announce: ({ catalog, model, generation, row }) =>
    same(
      () => model.announceManifest(generation, row.hash),
      () => catalog.announceManifest(generation, row.hash),
    ),
  commit: ({ catalog, model, generation, row }) =>
    same(
      () => model.commitPut(generation, row),
      () => catalog.commitPut(generation, row),
    ),
  discard: ({ catalog, model, generation }) =>
    same(
      () => model.discardPut(generation),
      () => catalog.discardPut(generation),
    ),
  bury: ({ catalog, model, generation }) =>
    same(
      () => model.buryPut(generation),
      () => catalog.buryPuts({ leaseMs: 1e9, isGone: (owner) => owner === generation }),
    ),
  forget: ({ catalog, model, generation }) =>
    same(
      () => model.forgetPut(generation),
      () => catalog.forgetPut(generation),
    ),
  remove: ({ catalog, model, row }) =>
    same(
      () => model.removeFiles([row.hash]),
      () => catalog.removeFiles([row.hash]),
    ),
  async replace({ catalog, model, ids }) {
    const [id] = ids;
    const old = id === undefined ? undefined : model.chunks.get(id);
    if (id === undefined || old === undefined) return;
    const next = { ...old, shards: [null, ...chunk(id, hex(16)).shards.slice(1)] };
    await same(
      () => model.replaceChunk(old, next),
      () => catalog.replaceChunk(old, next),
    );
  },
};

/** Both do the same: they return equal values, or fail with the same code. */
async function same(expected: () => unknown, actual: () => Promise<unknown>): Promise<void> {
  const wanted = await outcome(expected);
  expect(await outcome(actual)).toEqual(wanted);
}

async function outcome(run: () => unknown): Promise<unknown> {
  try {
    return await run();
  } catch (error) {
    if (isVaultError(error)) return error.code;
    throw error;
  }
}

/** Leaves a catalog without files, chunks, garbage and puts, for the next history. */
async function empty(catalog: Catalog): Promise<void> {
  const files = await Array.fromAsync(catalog.listFiles({ all: true }));
  await catalog.removeFiles(files.map((row) => row.hash));
  await catalog.buryPuts({ leaseMs: 1e9, isGone: () => true });
  for (const generation of await catalog.deadPuts()) await catalog.forgetPut(generation);
  const rows = await Array.fromAsync(catalog.garbage());
  await catalog.settleGarbage(rows.map((row) => ({ row, owed: [] })));
  expect(await catalog.counts()).toEqual({ files: 0, chunks: 0, garbage: 0, pendingPuts: 0, deadPuts: 0 });
}
