import { describe, expect, test } from 'vitest';
import { MAX_ROWS } from '../../src/catalog/catalog.ts';
import type { FileRow } from '../../src/catalog/catalog.ts';
import type { Connections } from './samples.ts';
import { byHash, codeOf, file, hex, many, nameTag } from './samples.ts';

/** What the contract says of `catalog.files`, but for its listings. */
export function filesConformance(connections: () => Connections): void {
  const all = () => Array.fromAsync(connections().other.files.walk());

  describe('files that are put', () => {
    test('are there with all that was given', async () => {
      const { catalog } = connections();
      const rows = [
        file(),
        file({ version: 2 ** 53 - 1, createdAtMs: 8.64e15, expiresAtMs: 8.64e15, hiddenAtMs: 0 }),
        file({ createdAtMs: -8.64e15, expiresAtMs: -1, hiddenAtMs: -5 }),
        file({ record: new Uint8Array(0) }),
        file({ record: new Uint8Array(100_000).fill(7) }),
      ];
      await catalog.files.put(rows);
      expect(await all()).toEqual(byHash(rows));
    });

    test('get the new row when they are put again, but stay as hidden or visible as they are, as do others', async () => {
      const { catalog } = connections();
      const [old, kept] = [file({ hiddenAtMs: 5 }), file()];
      await catalog.files.put([old, kept]);
      const next = file({ hash: old.hash, version: 7, createdAtMs: 8, expiresAtMs: 9 });
      await catalog.files.put([next]);
      await catalog.files.put([next]);
      expect(await all()).toEqual(byHash([{ ...next, hiddenAtMs: 5 }, kept]));
      await catalog.files.put([{ ...kept, version: 4, hiddenAtMs: 3 }]);
      expect(await all()).toEqual(
        byHash([
          { ...next, hiddenAtMs: 5 },
          { ...kept, version: 4 },
        ]),
      );
    });

    test('that are given twice in one call get the last row', async () => {
      const { catalog } = connections();
      const [first, last] = [file(), file()];
      await catalog.files.put([first, { ...last, hash: first.hash }]);
      expect(await all()).toEqual([{ ...last, hash: first.hash }]);
    });

    test(`may be ${MAX_ROWS} at once; more are a RangeError`, async () => {
      const { catalog } = connections();
      const rows = many(MAX_ROWS, () => file());
      const hashes = rows.map((row) => row.hash);
      await catalog.files.put(rows);
      await catalog.files.put([]);
      expect(await all()).toEqual(byHash(rows));
      expect((await catalog.files.byHashes(hashes)).size).toBe(MAX_ROWS);
      expect((await catalog.files.hide(hashes, 5)).toSorted()).toEqual(hashes.toSorted());
      const more = [...hashes, hex(64)];
      await expect(catalog.files.put([...rows, file()])).rejects.toThrow(RangeError);
      await expect(catalog.files.byHashes(more)).rejects.toThrow(RangeError);
      await expect(catalog.files.hide(more, 5)).rejects.toThrow(RangeError);
      await expect(catalog.files.forget(more)).rejects.toThrow(RangeError);
      await catalog.files.forget(hashes);
      expect(await all()).toEqual([]);
    });

    const malformed: readonly [string, Partial<FileRow>][] = [
      ['a short hash', { hash: 'abc' }],
      ['a writer in upper case', { writer: 'A'.repeat(32) }],
      ['a short name tag', { nameTag: new Uint8Array(31) }],
      ['version 0', { version: 0 }],
      ['a version that is no whole number', { version: 1.5 }],
      ['a version above 2^53 - 1', { version: 2 ** 53 }],
      ['a time that is no number', { createdAtMs: NaN }],
      ['an expiry that is no whole number', { expiresAtMs: 0.1 }],
      ['an infinite time of hiding', { hiddenAtMs: Infinity }],
    ];
    test.each(malformed)('with %s are invalid-input, and nothing of the call is done', async (_, wrong) => {
      const { catalog } = connections();
      expect(await codeOf(catalog.files.put([file(), { ...file(), ...wrong }]))).toBe('invalid-input');
      expect(await all()).toEqual([]);
    });
  });

  describe('finding files', () => {
    test('byHashes gives the rows of whole hashes, hidden ones too; unknown ones are absent', async () => {
      const { catalog } = connections();
      const [a, b, c] = [file(), file({ hiddenAtMs: 5 }), file()];
      await catalog.files.put([a, b, c]);
      const found = await catalog.files.byHashes([a.hash, b.hash, hex(64), a.hash]);
      expect(found).toEqual(new Map([a, b].map((row) => [row.hash, row])));
      expect(await catalog.files.byHashes([])).toEqual(new Map());
    });

    test('byPrefix finds by the whole hash and by any prefix, in the order of hashes', async () => {
      const { catalog } = connections();
      const rows = ['a1', 'a2', 'a3', 'b0'].map((start) => file({ hash: start + hex(62) }));
      await catalog.files.put(rows);
      expect(await catalog.files.byPrefix('a', 10)).toEqual(rows.slice(0, 3));
      expect(await catalog.files.byPrefix('a', 2)).toEqual(rows.slice(0, 2));
      expect(await catalog.files.byPrefix('a2', 10)).toEqual([rows[1]]);
      expect(await catalog.files.byPrefix(rows[3]?.hash ?? '', 10)).toEqual([rows[3]]);
      expect(await catalog.files.byPrefix('c', 10)).toEqual([]);
    });

    test('byPrefix leaves hidden ones out unless it is asked for them', async () => {
      const { catalog } = connections();
      const [hidden, shown] = [file({ hash: `a1${hex(62)}`, hiddenAtMs: 5 }), file({ hash: `a2${hex(62)}` })];
      await catalog.files.put([hidden, shown]);
      expect(await catalog.files.byPrefix('a', 1)).toEqual([shown]);
      expect(await catalog.files.byPrefix('a', 9, { hidden: true })).toEqual([hidden, shown]);
    });

    test.each(['', 'A', 'g', '0'.repeat(65)])('a prefix "%s" is invalid-input', async (prefix) => {
      expect(await codeOf(connections().catalog.files.byPrefix(prefix, 1))).toBe('invalid-input');
    });

    test('byName gives the versions of a name, newest first: by version, time, hash', async () => {
      const { catalog } = connections();
      const tag = nameTag();
      const rows = [
        file({ nameTag: tag, version: 3, createdAtMs: 1 }),
        file({ nameTag: tag, version: 2, createdAtMs: 9 }),
        file({ nameTag: tag, version: 2, createdAtMs: 8, hash: `f${hex(62)}0` }),
        file({ nameTag: tag, version: 2, createdAtMs: 8, hash: `e${hex(62)}0` }),
        file({ nameTag: tag, version: 1, createdAtMs: 99 }),
      ];
      await catalog.files.put([...rows.toReversed(), file()]);
      expect(await catalog.files.byName([tag], 10)).toEqual(rows);
      expect(await catalog.files.byName([tag], 2)).toEqual(rows.slice(0, 2));
      expect(await catalog.files.byName([nameTag()], 10)).toEqual([]);
      expect(await catalog.files.byName([], 10)).toEqual([]);
    });

    test('byName puts the versions of several tags in one order, also of many tags', async () => {
      const { catalog } = connections();
      const tags = many(250, () => nameTag());
      const rows = many(750, (i) => file({ nameTag: tags[i % 250] ?? nameTag(), version: 1000 - i }));
      await catalog.files.put(rows.toReversed());
      expect(await catalog.files.byName([...tags, ...tags], 1000)).toEqual(rows);
      expect(await catalog.files.byName(tags, 7)).toEqual(rows.slice(0, 7));
      const [a, b] = tags.slice(20, 22);
      if (a === undefined || b === undefined) throw new RangeError('There are 250 tags.');
      expect(await catalog.files.byName([b, a], 3)).toEqual([rows[20], rows[21], rows[270]]);
    });

    test('byName leaves hidden versions out unless it is asked for them', async () => {
      const { catalog } = connections();
      const tag = nameTag();
      const rows = many(4, (i) => file({ nameTag: tag, version: 9 - i, hiddenAtMs: i < 2 ? 5 : null }));
      await catalog.files.put(rows);
      expect(await catalog.files.byName([tag], 1)).toEqual([rows[2]]);
      expect(await catalog.files.byName([tag], 9)).toEqual(rows.slice(2));
      expect(await catalog.files.byName([tag], 9, { hidden: true })).toEqual(rows);
    });

    test('counts tells visible from hidden ones', async () => {
      const { catalog } = connections();
      expect(await catalog.files.counts()).toEqual({ files: 0, hidden: 0 });
      await catalog.files.put([file(), file(), file({ hiddenAtMs: 5 })]);
      expect(await catalog.files.counts()).toEqual({ files: 2, hidden: 1 });
    });
  });

  describe('hiding and forgetting', () => {
    test('hide hides and shows, changes nothing else, and returns those that it hid or showed', async () => {
      const { catalog } = connections();
      const [a, b, c] = [file(), file(), file({ hiddenAtMs: 3 })];
      await catalog.files.put([a, b, c]);
      expect(await catalog.files.hide([a.hash, hex(64), c.hash, a.hash], 5)).toEqual([a.hash]);
      expect(await all()).toEqual(byHash([{ ...a, hiddenAtMs: 5 }, b, { ...c, hiddenAtMs: 5 }]));
      expect(await catalog.files.hide([b.hash, c.hash], null)).toEqual([c.hash]);
      expect(await all()).toEqual(byHash([{ ...a, hiddenAtMs: 5 }, b, { ...c, hiddenAtMs: null }]));
    });

    test('hide of what is as it should be, or of nothing, returns nothing', async () => {
      const { catalog } = connections();
      const [a, b] = [file(), file({ hiddenAtMs: 3 })];
      await catalog.files.put([a, b]);
      expect(await catalog.files.hide([a.hash], null)).toEqual([]);
      expect(await catalog.files.hide([b.hash], 3)).toEqual([]);
      expect(await catalog.files.hide([hex(64)], 3)).toEqual([]);
      expect(await catalog.files.hide([], 3)).toEqual([]);
      expect(await all()).toEqual(byHash([a, b]));
    });

    test('forget removes rows, hidden ones too; unknown hashes are ignored', async () => {
      const { catalog } = connections();
      const [a, b, c] = [file(), file({ hiddenAtMs: 3 }), file()];
      await catalog.files.put([a, b, c]);
      await catalog.files.forget([b.hash, hex(64), a.hash, b.hash]);
      await catalog.files.forget([b.hash]);
      await catalog.files.forget([]);
      expect(await all()).toEqual([c]);
    });

    test('what was forgotten can be put again', async () => {
      const { catalog } = connections();
      const row = file();
      await catalog.files.put([row]);
      await catalog.files.forget([row.hash]);
      await catalog.files.put([row]);
      expect(await all()).toEqual([row]);
    });
  });
}
