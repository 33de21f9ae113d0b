import { describe, expect, test } from 'vitest';
import type { GrantRow } from '../../src/catalog/catalog.ts';
import type { Connections } from './samples.ts';
import { bytes, hex, many } from './samples.ts';

function grant(row: Partial<GrantRow> = {}): Omit<GrantRow, 'uses'> {
  return { id: hex(64), kind: 'token', record: bytes('grant'), expiresAtMs: null, ...row };
}

/** What the contract says of `catalog.grants`. */
export function grantsConformance(connections: () => Connections): void {
  describe('tokens and links', () => {
    test('what is put is found by everybody, and nothing else is', async () => {
      const { catalog, other } = connections();
      const row = grant({ kind: 'link', expiresAtMs: 7 });
      await catalog.grants.put(row);
      expect(await other.grants.find(row.id)).toEqual({ ...row, uses: 0 });
      expect(await other.grants.find(hex(64))).toBeNull();
    });

    test('put again replaces the row, and keeps its uses', async () => {
      const { grants } = connections().catalog;
      const row = grant();
      await grants.put(row);
      await grants.use(row.id, null);
      await grants.put({ ...row, record: bytes('other'), expiresAtMs: 3 });
      expect(await grants.find(row.id)).toEqual({ ...row, record: bytes('other'), expiresAtMs: 3, uses: 1 });
    });

    test('list gives all of a kind, by id, over any number of pages', async () => {
      const { grants } = connections().catalog;
      const rows = many(502, () => grant());
      for (const row of rows) await grants.put(row);
      await grants.put(grant({ kind: 'link' }));
      const listed = await Array.fromAsync(grants.list('token'));
      expect(listed.map(({ id }) => id)).toEqual(rows.map(({ id }) => id).toSorted());
    });

    test('of many uses at once, by several clients, as many succeed as there are', async () => {
      const { catalog, other } = connections();
      const row = grant();
      await catalog.grants.put(row);
      const used = await Promise.all(
        many(12, () => 0).map((_, i) => (i % 2 === 0 ? catalog : other).grants.use(row.id, 5)),
      );
      expect(used.filter(Boolean)).toHaveLength(5);
      expect(await catalog.grants.find(row.id)).toMatchObject({ uses: 5 });
      expect(await catalog.grants.use(hex(64), null)).toBe(false);
    });

    test('forget takes away what it is given, and can be repeated', async () => {
      const { grants } = connections().catalog;
      const [gone, kept] = [grant(), grant()];
      await grants.put(gone);
      await grants.put(kept);
      for (const ids of [[gone.id], [gone.id, hex(64)], []]) await grants.forget(ids);
      expect((await Array.fromAsync(grants.list('token'))).map(({ id }) => id)).toEqual([kept.id]);
    });

    test('forgetExpired takes away those that expired before a time', async () => {
      const { grants } = connections().catalog;
      const rows = [1, 2, null].map((expiresAtMs) => grant({ expiresAtMs }));
      for (const row of rows) await grants.put(row);
      await grants.forgetExpired(2);
      const left = (await Array.fromAsync(grants.list('token'))).map(({ expiresAtMs }) => expiresAtMs);
      expect(new Set(left)).toEqual(new Set([2, null]));
    });
  });
}
