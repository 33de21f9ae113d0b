import { describe, expect, test } from 'vitest';
import type { ChunkRow, FileRow } from '../../src/catalog/catalog.ts';
import { seededRandom } from '../support/seeded-random.ts';
import type { Connections } from './samples.ts';
import { byHash, byId, chunk, file, hex, many, nameTag } from './samples.ts';

/** Bytes that say who wrote a row, and in which round. */
function signed(client: number, round: number): Uint8Array {
  return Uint8Array.of(client, round);
}

function even(list: readonly string[]): string[] {
  return list.filter((_, i) => i % 2 === 0);
}

function odd(list: readonly string[]): string[] {
  return list.filter((_, i) => i % 2 === 1);
}

/** What the contract says of several clients at once. */
export function concurrencyConformance(connections: () => Connections): void {
  describe('several clients', () => {
    test('that put the same files at once, in any order, all succeed, and each row is whole', async () => {
      const { under, catalog, other } = connections();
      const clients = [catalog, other, await under.open(), await under.open()];
      const hashes = many(200, () => hex(64));
      const written = new Map<string, FileRow>();
      await Promise.all(
        clients.map(async (client, number) => {
          const random = seededRandom(number + 1);
          for (let round = 0; round < 5; round++) {
            const rows = random.shuffle(hashes).map((hash) => {
              const row = file({ hash, record: signed(number, round), version: 1 + number * 5 + round });
              written.set(`${hash} ${row.version}`, row);
              return row;
            });
            await client.files.put(rows);
          }
        }),
      );
      const rows = await Array.fromAsync(catalog.files.walk());
      expect(rows).toHaveLength(hashes.length);
      expect(rows).toEqual(rows.map((row) => written.get(`${row.hash} ${row.version}`)));
      for (const client of clients.slice(2)) await client.close();
    });

    test('that put the same chunks at once, in any order, all succeed, and each row is whole', async () => {
      const { under, catalog, other } = connections();
      const clients = [catalog, other, await under.open(), await under.open()];
      const ids = many(300, () => hex(64));
      const written = new Map<string, ChunkRow>();
      await Promise.all(
        clients.map(async (client, number) => {
          const random = seededRandom(number + 1);
          for (let round = 0; round < 5; round++) {
            const rows = random.shuffle(ids).map((id) => chunk(id));
            for (const row of rows) written.set(`${row.id} ${row.sealing}`, row);
            await client.chunks.put(rows);
          }
        }),
      );
      const rows = await Array.fromAsync(catalog.chunks.walk());
      expect(rows).toHaveLength(ids.length);
      expect(rows).toEqual(rows.map((row) => written.get(`${row.id} ${row.sealing}`)));
      for (const client of clients.slice(2)) await client.close();
    });

    test('of which several hide the same files at once, hide each file once', async () => {
      const { catalog, other } = connections();
      for (let round = 0; round < 10; round++) {
        const rows = many(50, () => file());
        await catalog.files.put(rows);
        const hashes = rows.map((row) => row.hash);
        const hidden = await Promise.all([
          catalog.files.hide(hashes, 5),
          other.files.hide(hashes.toReversed(), 5),
          catalog.files.hide(hashes.toReversed(), 5),
        ]);
        expect(hidden.flat().toSorted()).toEqual(hashes.toSorted());
      }
    });

    test('that put, hide and forget the same rows at once lose no row that nobody forgets', async () => {
      const { under, catalog, other } = connections();
      const clients = [catalog, other, await under.open(), await under.open()];
      // The even ones are forgotten by somebody, again and again.
      const hashes = many(40, () => hex(64));
      const ids = many(40, () => hex(64));
      const tag = nameTag();
      await catalog.files.put(hashes.map((hash) => file({ hash, nameTag: tag })));
      await catalog.chunks.put(ids.map((id) => chunk(id)));
      await Promise.all(
        clients.map(async (client, number) => {
          const random = seededRandom(number + 11);
          for (let i = 0; i < 40; i++) {
            const some = <T>(list: readonly T[]): T[] => random.shuffle(list).slice(0, 1 + random.below(30));
            await [
              () => client.files.put(some(hashes).map((hash) => file({ hash, nameTag: tag }))),
              () => client.files.hide(some(hashes), random.below(2) === 0 ? null : i),
              () => client.files.forget(some(even(hashes))),
              () => client.chunks.put(some(ids).map((id) => chunk(id))),
              () => client.chunks.forget(some(even(ids))),
            ][random.below(5)]?.();
          }
        }),
      );
      const files = (await Array.fromAsync(catalog.files.walk())).map((row) => row.hash);
      const chunks = (await Array.fromAsync(catalog.chunks.walk())).map((row) => row.id);
      expect(files).toEqual(expect.arrayContaining(odd(hashes)));
      expect(hashes).toEqual(expect.arrayContaining(files));
      expect(chunks).toEqual(expect.arrayContaining(odd(ids)));
      expect(ids).toEqual(expect.arrayContaining(chunks));
      const { files: shown, hidden } = await catalog.files.counts();
      expect(shown + hidden).toBe(files.length);
      for (const client of clients.slice(2)) await client.close();
    });

    test('of which one forgets what others put leave either the row or none', async () => {
      const { catalog, other } = connections();
      for (let round = 0; round < 20; round++) {
        const rows = byHash(many(10, () => file()));
        const chunks = byId(many(10, () => chunk()));
        await Promise.all([
          catalog.files.put(rows),
          other.files.forget(rows.map((row) => row.hash).toReversed()),
          catalog.chunks.put(chunks),
          other.chunks.forget(chunks.map((row) => row.id).toReversed()),
        ]);
        // One transaction each: all of the rows are there, or what came before was forgotten with all of them.
        const left = await Array.fromAsync(catalog.files.walk());
        expect([[], rows]).toContainEqual(left);
        const leftChunks = await Array.fromAsync(catalog.chunks.walk());
        expect([[], chunks]).toContainEqual(leftChunks);
        await catalog.files.forget(rows.map((row) => row.hash));
        await catalog.chunks.forget(chunks.map((row) => row.id));
      }
    });
  });
}
