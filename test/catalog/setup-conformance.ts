import { describe, expect, test } from 'vitest';
import type { Connections } from './samples.ts';
import { bytes, chunk, codeOf, file, hex, many, VAULT } from './samples.ts';

/** What the contract says of `catalog.setup`. */
export function setupConformance(connections: () => Connections): void {
  describe('the vault itself', () => {
    test('an empty catalog describes no vault', async () => {
      expect(await connections().catalog.setup.vault()).toBeNull();
    });

    test('create makes it describe the vault', async () => {
      const { catalog, other } = connections();
      await catalog.setup.create(VAULT);
      expect(await other.setup.vault()).toEqual(VAULT);
    });

    test('create of the same vault again succeeds and changes nothing', async () => {
      const { catalog } = connections();
      await catalog.setup.create(VAULT);
      await catalog.setup.create({ ...VAULT, epoch: 5, keyring: bytes('other'), writer: hex(32) });
      expect(await catalog.setup.vault()).toEqual(VAULT);
    });

    test('create of another vault is refused with already-exists', async () => {
      const { catalog } = connections();
      await catalog.setup.create(VAULT);
      expect(await codeOf(catalog.setup.create({ ...VAULT, id: hex(32) }))).toBe('already-exists');
      expect(await catalog.setup.vault()).toEqual(VAULT);
    });

    test('of two vaults created at once one wins', async () => {
      const results = await Promise.all(
        [connections().catalog, connections().other].map((each) =>
          codeOf(each.setup.create({ ...VAULT, id: hex(32) })),
        ),
      );
      expect(results.toSorted()).toEqual(['already-exists', 'success']);
    });

    test('clear makes it describe none again, with its buckets and notes, and can be repeated', async () => {
      const { catalog, other } = connections();
      await catalog.setup.create(VAULT);
      await catalog.setup.putBucket({ id: hex(32), record: bytes('bucket') });
      await catalog.setup.putNote('note', bytes('note'));
      await catalog.setup.clear();
      await catalog.setup.clear();
      expect(await other.setup.vault()).toBeNull();
      expect(await other.setup.buckets()).toEqual([]);
      expect(await other.setup.note('note')).toBeNull();
    });

    test('clear refuses with already-exists while there are files', async () => {
      const { catalog } = connections();
      await catalog.setup.create(VAULT);
      await catalog.files.put([file()]);
      expect(await codeOf(catalog.setup.clear())).toBe('already-exists');
      expect(await catalog.setup.vault()).toEqual(VAULT);
    });
  });

  describe('the keyring', () => {
    test('of a higher epoch is taken', async () => {
      const { catalog, other } = connections();
      await catalog.setup.create(VAULT);
      const next = { epoch: 2 ** 53 - 1, keyring: bytes('next') };
      expect(await catalog.setup.putKeyring(next)).toBe(true);
      expect(await other.setup.vault()).toEqual({ ...VAULT, ...next });
    });

    test('of a lower or the same epoch changes nothing', async () => {
      const { catalog } = connections();
      await catalog.setup.create(VAULT);
      for (const epoch of [0, 1]) {
        expect(await catalog.setup.putKeyring({ epoch, keyring: bytes('other') })).toBe(false);
      }
      expect(await catalog.setup.vault()).toEqual(VAULT);
    });

    test('that is put again after a lost answer is said to be taken again', async () => {
      const { catalog } = connections();
      await catalog.setup.create(VAULT);
      const next = { epoch: 2, keyring: bytes('next') };
      expect(await catalog.setup.putKeyring(next)).toBe(true);
      expect(await catalog.setup.putKeyring(next)).toBe(true);
    });

    test('is not taken by a catalog without a vault', async () => {
      const { catalog } = connections();
      expect(await catalog.setup.putKeyring({ epoch: 2, keyring: bytes('x') })).toBe(false);
      expect(await catalog.setup.vault()).toBeNull();
    });

    test('of many that are put at once, the highest epoch stays', async () => {
      const { catalog, other } = connections();
      await catalog.setup.create(VAULT);
      await Promise.all(
        many(20, (i) => {
          const epoch = 2 + ((i * 7) % 20);
          return (i % 2 === 0 ? catalog : other).setup.putKeyring({ epoch, keyring: bytes(`${epoch}`) });
        }),
      );
      expect(await catalog.setup.vault()).toEqual({ ...VAULT, epoch: 21, keyring: bytes('21') });
    });

    test('has an epoch that is a whole number', async () => {
      const { catalog } = connections();
      const { setup } = catalog;
      expect(await codeOf(setup.create({ ...VAULT, epoch: 0.5 }))).toBe('invalid-input');
      expect(await codeOf(setup.putKeyring({ epoch: -1, keyring: bytes('x') }))).toBe('invalid-input');
    });
  });

  describe('notes', () => {
    test('are kept by key, replaced and removed', async () => {
      const { catalog, other } = connections();
      expect(await catalog.setup.note('a')).toBeNull();
      await catalog.setup.putNote('a', bytes('1'));
      await catalog.setup.putNote('Ä b', bytes('2'));
      await catalog.setup.putNote('a', bytes('3'));
      expect(await other.setup.note('a')).toEqual(bytes('3'));
      expect(await other.setup.note('Ä b')).toEqual(bytes('2'));
      await catalog.setup.putNote('a', null);
      await catalog.setup.putNote('a', null);
      expect(await other.setup.note('a')).toBeNull();
      expect(await other.setup.note('Ä b')).toEqual(bytes('2'));
    });
  });

  describe('buckets', () => {
    test('keep their number when they are put again', async () => {
      const { catalog, other } = connections();
      const [a, b] = [hex(32), hex(32)];
      expect(await catalog.setup.putBucket({ id: a, record: bytes('1') })).toBe(1);
      expect(await catalog.setup.putBucket({ id: b, record: bytes('2') })).toBe(2);
      expect(await other.setup.putBucket({ id: a, record: bytes('3') })).toBe(1);
      expect(await catalog.setup.buckets()).toEqual([
        { number: 1, id: a, record: bytes('3') },
        { number: 2, id: b, record: bytes('2') },
      ]);
    });

    test('get no number twice, not even after a bucket was removed', async () => {
      const { catalog } = connections();
      const put = (id = hex(32)) => catalog.setup.putBucket({ id, record: bytes('x') });
      const id = hex(32);
      for (let i = 1; i <= 3; i++) expect(await put()).toBe(i);
      await catalog.setup.removeBucket(3);
      expect(await put(id)).toBe(4);
      await catalog.setup.removeBucket(4);
      expect(await put(id)).toBe(5);
      expect((await catalog.setup.buckets()).map((bucket) => bucket.number)).toEqual([1, 2, 5]);
    });

    test('get different numbers when they are added at once', async () => {
      const { catalog, other } = connections();
      const numbers = await Promise.all(
        [catalog, other, catalog, other, catalog].map((each) =>
          each.setup.putBucket({ id: hex(32), record: bytes('x') }),
        ),
      );
      expect(numbers.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5]);
    });

    test('are removed without a change to the rows of chunks, and once is enough', async () => {
      const { catalog } = connections();
      const number = await catalog.setup.putBucket({ id: hex(32), record: bytes('x') });
      const row = chunk(hex(64), [number, null]);
      await catalog.chunks.put([row]);
      await catalog.setup.removeBucket(number);
      await catalog.setup.removeBucket(number);
      await catalog.setup.removeBucket(999);
      expect(await catalog.setup.buckets()).toEqual([]);
      expect(await catalog.chunks.locate([row.id])).toEqual(new Map([[row.id, row]]));
    });
  });
}
