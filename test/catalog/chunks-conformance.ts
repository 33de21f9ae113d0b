import { describe, expect, test } from 'vitest';
import { MAX_ROWS } from '../../src/catalog/catalog.ts';
import type { ChunkRow } from '../../src/catalog/catalog.ts';
import type { Connections } from './samples.ts';
import { byId, chunk, codeOf, hex, many } from './samples.ts';

/** What the contract says of `catalog.chunks`. */
export function chunksConformance(connections: () => Connections): void {
  const all = (after?: string) => Array.fromAsync(connections().other.chunks.walk({ after }));

  describe('chunks', () => {
    test('are located with all that was recorded; unknown ones are absent', async () => {
      const { catalog, other } = connections();
      const rows = [
        chunk(),
        chunk(hex(64), [65_535, null, 1]),
        chunk(hex(64), [null, null]),
        {
          ...chunk(
            hex(64),
            many(16, (i) => i + 1),
          ),
          sealedSize: 2 ** 53 - 1,
        },
        { ...chunk(hex(64), [7]), k: 1, m: 0, sealedSize: 0 },
      ];
      await catalog.chunks.put(rows);
      const found = await other.chunks.locate([...rows.map((row) => row.id), hex(64)]);
      expect(found).toEqual(new Map(rows.map((row) => [row.id, row])));
      expect(await other.chunks.locate([])).toEqual(new Map());
    });

    test('get the new row when they are put again, and others stay', async () => {
      const { catalog } = connections();
      const [old, kept] = [chunk(), chunk()];
      await catalog.chunks.put([old, kept]);
      const next = { ...chunk(old.id, [4, 5]), sealedSize: 5 };
      await catalog.chunks.put([next]);
      await catalog.chunks.put([next]);
      expect(await all()).toEqual(byId([next, kept]));
    });

    test('that are given twice in one call get the last row', async () => {
      const { catalog } = connections();
      const [first, last] = [chunk(), chunk()];
      await catalog.chunks.put([first, { ...last, id: first.id }]);
      expect(await all()).toEqual([{ ...last, id: first.id }]);
    });

    test('are forgotten; unknown ones are ignored', async () => {
      const { catalog } = connections();
      const rows = [chunk(), chunk(), chunk()] as const;
      await catalog.chunks.put(rows);
      await catalog.chunks.forget([rows[0].id, hex(64), rows[1].id, rows[0].id]);
      await catalog.chunks.forget([rows[0].id]);
      await catalog.chunks.forget([]);
      expect(await all()).toEqual([rows[2]]);
    });

    test(`${MAX_ROWS} of them are one call; more are a RangeError`, async () => {
      const { catalog } = connections();
      const rows = many(MAX_ROWS, () => chunk());
      const ids = rows.map((row) => row.id);
      await catalog.chunks.put(rows);
      await catalog.chunks.put([]);
      expect(await Array.fromAsync(catalog.chunks.walk())).toHaveLength(MAX_ROWS);
      expect((await catalog.chunks.locate(ids)).size).toBe(MAX_ROWS);
      await expect(catalog.chunks.put([...rows, chunk()])).rejects.toThrow(RangeError);
      await expect(catalog.chunks.locate([...ids, hex(64)])).rejects.toThrow(RangeError);
      await expect(catalog.chunks.forget([...ids, hex(64)])).rejects.toThrow(RangeError);
      await catalog.chunks.forget(ids);
      expect(await Array.fromAsync(catalog.chunks.walk())).toEqual([]);
    });

    test('are walked in the order of ids, page by page, from after a given one', async () => {
      const { catalog } = connections();
      const rows = byId(many(2500, () => chunk()));
      for (let at = 0; at < rows.length; at += MAX_ROWS) {
        await catalog.chunks.put(rows.slice(at, at + MAX_ROWS));
      }
      expect(await all()).toEqual(rows);
      expect(await all(rows[1400]?.id)).toEqual(rows.slice(1401));
      expect(await all('f'.repeat(64))).toEqual([]);
    });

    test('that stay are walked exactly once, whatever happens meanwhile', async () => {
      const { catalog, other } = connections();
      const rows = byId(many(2500, () => chunk()));
      for (let at = 0; at < rows.length; at += MAX_ROWS) {
        await catalog.chunks.put(rows.slice(at, at + MAX_ROWS));
      }
      const seen: string[] = [];
      const gone = rows.filter((_, i) => i % 3 === 0).map((row) => row.id);
      for await (const row of catalog.chunks.walk()) {
        seen.push(row.id);
        if (seen.length !== 10) continue;
        await other.chunks.forget(gone);
        await other.chunks.put(many(MAX_ROWS, () => chunk()));
      }
      const staying = rows.map((row) => row.id).filter((id) => !gone.includes(id));
      expect(new Set(seen).size).toBe(seen.length);
      expect(seen.filter((id) => staying.includes(id))).toEqual(staying);
    });

    test('are no longer walked once the signal is aborted', async () => {
      const { catalog } = connections();
      await catalog.chunks.put(many(10, () => chunk()));
      const stopping = new AbortController();
      const seen: ChunkRow[] = [];
      const walk = async (): Promise<void> => {
        for await (const row of catalog.chunks.walk({ signal: stopping.signal })) {
          seen.push(row);
          stopping.abort();
        }
      };
      expect(await codeOf(walk())).toBe('interrupted');
      expect(seen).toHaveLength(1);
    });

    const malformed: readonly [string, Partial<ChunkRow>][] = [
      ['a short id', { id: 'abc' }],
      ['an id in upper case', { id: 'A'.repeat(64) }],
      ['a long sealing', { sealing: '0'.repeat(10) }],
      ['too few places', { shards: [null] }],
      ['no data shards', { k: 0, m: 3 }],
      ['far too many shards', { k: 299, m: 1, shards: many(300, () => null) }],
      ['bucket 0', { shards: [{ bucket: 0, upload: hex(16) }, null, null] }],
      ['bucket 65536', { shards: [{ bucket: 65_536, upload: hex(16) }, null, null] }],
      ['a short upload', { shards: [{ bucket: 1, upload: '00' }, null, null] }],
      ['a size that is no whole number', { sealedSize: 1.5 }],
    ];
    test.each(malformed)('with %s are invalid-input, and nothing of the call is done', async (_, wrong) => {
      const { catalog } = connections();
      expect(await codeOf(catalog.chunks.put([chunk(), { ...chunk(), ...wrong }]))).toBe('invalid-input');
      expect(await Array.fromAsync(catalog.chunks.walk())).toEqual([]);
    });
  });
}
