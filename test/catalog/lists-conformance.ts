import { describe, expect, test } from 'vitest';
import type { Catalog, FileRow, ListPosition } from '../../src/catalog/catalog.ts';
import type { Connections } from './samples.ts';
import { byHash, codeOf, file, hex, many, nameTag } from './samples.ts';

/** More than two pages. */
const MANY = 1200;

async function putAll(catalog: Catalog, rows: readonly FileRow[]): Promise<void> {
  for (let at = 0; at < rows.length; at += 1000) await catalog.files.put(rows.slice(at, at + 1000));
}

/** Where a row stands in a listing. */
function place(row: FileRow | undefined): ListPosition['first'] {
  return { createdAtMs: row?.createdAtMs ?? 0, hash: row?.hash ?? '' };
}

function newestFirst(rows: readonly FileRow[]): FileRow[] {
  return rows.toSorted((a, b) => b.createdAtMs - a.createdAtMs || (a.hash < b.hash ? 1 : -1));
}

/** What the contract says of the listings of `catalog.files`. */
export function listsConformance(connections: () => Connections): void {
  const list = (options: { all: boolean; hidden?: boolean; after?: ListPosition }) =>
    Array.fromAsync(connections().other.files.list(options));

  describe('list', () => {
    test('gives visible files, newest first: by time, then hash', async () => {
      const { catalog } = connections();
      const rows = [
        file({ createdAtMs: 9 }),
        file({ createdAtMs: 8, hash: `f${hex(62)}0` }),
        file({ createdAtMs: 8, hash: `e${hex(62)}0` }),
        file({ createdAtMs: 7, version: 99 }),
      ];
      await catalog.files.put([...rows.toReversed(), file({ hiddenAtMs: 5 })]);
      expect(await list({ all: true })).toEqual(rows);
      expect(await list({ all: false })).toEqual(rows);
    });

    test('gives the newest version of each name, and with `all` every one', async () => {
      const { catalog } = connections();
      const [tag, same] = [nameTag(), nameTag()];
      const rows = [
        // Of the highest version, though others carry a later time.
        file({ nameTag: tag, version: 1, createdAtMs: 9 }),
        file({ nameTag: tag, version: 3, createdAtMs: 8 }),
        file({ nameTag: tag, version: 2, createdAtMs: 7 }),
        // Of equal versions by time, then hash.
        file({ nameTag: same, version: 4, createdAtMs: 6, hash: `f${hex(62)}0` }),
        file({ nameTag: same, version: 4, createdAtMs: 6, hash: `e${hex(62)}0` }),
        file({ nameTag: same, version: 4, createdAtMs: 5, hash: `f${hex(62)}1` }),
      ];
      await catalog.files.put(rows);
      expect(await list({ all: true })).toEqual(rows);
      expect(await list({ all: false })).toEqual([rows[1], rows[3]]);
    });

    test('takes the version before for the newest when the newest is hidden', async () => {
      const { catalog } = connections();
      const tag = nameTag();
      const rows = many(3, (i) => file({ nameTag: tag, version: 9 - i, createdAtMs: 9 - i }));
      await catalog.files.put(rows);
      await catalog.files.hide([rows[0]?.hash ?? ''], 5);
      expect(await list({ all: false })).toEqual([rows[1]]);
      expect(await list({ all: true })).toEqual(rows.slice(1));
    });

    test('gives with `hidden` the hidden ones alone', async () => {
      const { catalog } = connections();
      const tag = nameTag();
      const rows = many(4, (i) =>
        file({ nameTag: tag, version: 9 - i, createdAtMs: 9 - i, hiddenAtMs: i % 2 === 0 ? null : 5 }),
      );
      await catalog.files.put(rows);
      expect(await list({ all: true, hidden: true })).toEqual([rows[1], rows[3]]);
      expect(await list({ all: false, hidden: true })).toEqual([rows[1]]);
      expect(await list({ all: false, hidden: false })).toEqual([rows[0]]);
    });

    test('of several pages has every file once, in order', async () => {
      const { catalog } = connections();
      const tags = many(1000, () => nameTag());
      const rows = many(MANY, (i) =>
        file({
          nameTag: tags[i % 1000] ?? nameTag(),
          version: MANY - i,
          createdAtMs: 1000 - Math.floor(i / 7),
        }),
      );
      await putAll(catalog, rows);
      expect(await list({ all: true })).toEqual(newestFirst(rows));
      expect(await list({ all: false })).toEqual(newestFirst(rows.slice(0, 1000)));
    });

    test('goes on with `after` where it was left, also past a version that came in between', async () => {
      const { catalog, other } = connections();
      const tag = nameTag();
      const rows = many(6, (i) => file({ createdAtMs: 9 - i, ...(i === 4 && { nameTag: tag }) }));
      await catalog.files.put(rows);
      const after = { first: place(rows[0]), last: place(rows[2]) };
      await other.files.put([file({ nameTag: tag, version: 2, createdAtMs: 99 })]);
      expect(await list({ all: false, after })).toEqual(rows.slice(3));
      // One that came before the first row has taken its place already.
      await other.files.put([file({ nameTag: rows[3]?.nameTag ?? tag, version: 2, createdAtMs: 8 })]);
      expect(await list({ all: false, after })).toEqual(rows.slice(4));
      expect(await list({ all: true, after })).toEqual(rows.slice(3));
    });

    test('loses no file that stays, whatever happens meanwhile', async () => {
      const { catalog, other } = connections();
      const rows = many(MANY, (i) => file({ createdAtMs: MANY - i }));
      await putAll(catalog, rows);
      const gone = rows.filter((_, i) => i % 3 === 0).map((row) => row.hash);
      const seen: string[] = [];
      for await (const row of catalog.files.list({ all: false })) {
        seen.push(row.hash);
        if (seen.length !== 10) continue;
        await other.files.hide(gone.slice(0, 200), 5);
        await other.files.forget(gone.slice(200));
        await other.files.put(many(100, (i) => file({ createdAtMs: i * 20 })));
      }
      const staying = rows.map((row) => row.hash).filter((hash) => !gone.includes(hash));
      expect(new Set(seen).size).toBe(seen.length);
      expect(seen.filter((hash) => staying.includes(hash))).toEqual(staying);
    });

    test('shows a file that gets a new version meanwhile', async () => {
      const { catalog, other } = connections();
      const rows = many(MANY, (i) => file({ createdAtMs: MANY - i }));
      await putAll(catalog, rows);
      const oldest = rows.at(-1);
      const seen: string[] = [];
      for await (const row of catalog.files.list({ all: false })) {
        seen.push(row.hash);
        if (seen.length !== 10 || oldest === undefined) continue;
        await other.files.put([file({ nameTag: oldest.nameTag, version: 2, createdAtMs: MANY + 5 })]);
      }
      expect(seen).toEqual(rows.map((row) => row.hash));
    });

    test('ends with interrupted once the signal is aborted', async () => {
      const { catalog } = connections();
      await catalog.files.put(many(10, () => file({ expiresAtMs: 5 })));
      const { files } = catalog;
      const listings = [
        (signal: AbortSignal) => files.list({ all: true, signal }),
        (signal: AbortSignal) => files.walk({ signal }),
      ];
      for (const listing of listings) {
        const stopping = new AbortController();
        let seen = 0;
        const reading = async (): Promise<void> => {
          for await (const _ of listing(stopping.signal)) {
            seen += 1;
            stopping.abort();
          }
        };
        expect(await codeOf(reading())).toBe('interrupted');
        expect(seen).toBe(1);
      }
    });
  });

  describe('walk', () => {
    test('gives all rows, hidden ones too, by hash, page by page, from after a given one', async () => {
      const { catalog } = connections();
      const rows = byHash(many(MANY, (i) => file({ hiddenAtMs: i % 2 === 0 ? null : i })));
      await putAll(catalog, rows);
      expect(await Array.fromAsync(catalog.files.walk())).toEqual(rows);
      const after = rows[700]?.hash;
      expect(await Array.fromAsync(catalog.files.walk({ after }))).toEqual(rows.slice(701));
      expect(await Array.fromAsync(catalog.files.walk({ after: 'f'.repeat(64) }))).toEqual([]);
    });

    test('gives what stays exactly once, whatever happens meanwhile', async () => {
      const { catalog, other } = connections();
      const rows = byHash(many(MANY, () => file()));
      await putAll(catalog, rows);
      const seen: string[] = [];
      for await (const { hash } of catalog.files.walk()) {
        seen.push(hash);
        await other.files.forget([hash]);
        if (seen.length % 10 === 0) await other.files.put([file()]);
      }
      expect(new Set(seen).size).toBe(seen.length);
      expect(seen.filter((hash) => rows.some((row) => row.hash === hash))).toEqual(
        rows.map((row) => row.hash),
      );
    });
  });
}
