/** A catalog's file that is moved away, removed or replaced while somebody uses it. */
import { copyFile, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { Making } from '../../src/making.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { codeOf, file, VAULT } from './samples.ts';

const ALL = ['', '-wal', '-shm'];

const MOVES: readonly (readonly [string, (folder: TemporaryFolder) => Promise<unknown>])[] = [
  ['moved away', (folder) => rename(folder.at('catalog.db'), folder.at('away.db'))],
  ['removed', (folder) => rm(folder.at('catalog.db'))],
  [
    'moved away with its log',
    (folder) =>
      Promise.all(
        ALL.map((suffix) => rename(folder.at(`catalog.db${suffix}`), folder.at(`away.db${suffix}`))),
      ),
  ],
  [
    'replaced by a copy of it',
    async (folder) => {
      await copyFile(folder.at('catalog.db'), folder.at('copy.db'));
      await rename(folder.at('copy.db'), folder.at('catalog.db'));
    },
  ],
  [
    'made anew',
    async (folder) => {
      await Promise.all(
        ALL.map((suffix) => rename(folder.at(`catalog.db${suffix}`), folder.at(`away.db${suffix}`))),
      );
      await (await openCatalog(folder.at('catalog.db'), { create: true })).close();
    },
  ],
];

describe('a catalog in use whose file was', () => {
  test.each(MOVES)('%s takes nothing more, and gives nothing', async (_, move) => {
    await using folder = await temporaryFolder();
    const path = folder.at('catalog.db');
    const catalog = await openCatalog(path, { create: true });
    await catalog.setup.create(VAULT);
    await move(folder);
    const told = { code: 'unavailable', message: expect.stringMatching(/moved.*while.*[Ss]tart.* again/) };
    await expect(catalog.files.put([file()])).rejects.toMatchObject(told);
    await expect(catalog.requireWritable()).rejects.toMatchObject(told);
    await expect(catalog.setup.vault()).rejects.toMatchObject(told);
    await catalog.close();
  });

  test('moved away and put back goes on', async () => {
    await using folder = await temporaryFolder();
    const path = folder.at('catalog.db');
    const catalog = await openCatalog(path, { create: true });
    await rename(path, folder.at('away.db'));
    expect(await codeOf(catalog.files.put([file()]))).toBe('unavailable');
    await rename(folder.at('away.db'), path);
    await catalog.files.put([file()]);
    await catalog.close();
  });
});

describe('a catalog that is made beside what another one has left', () => {
  test.each(['-wal', '-shm', '-journal'])('such as %s, takes nothing of it', async (suffix) => {
    await using folder = await temporaryFolder();
    const path = folder.at('catalog.db');
    await writeFile(path + suffix, 'of another one');
    expect(await codeOf(openCatalog(path, { create: false }))).toBe('no-vault');
    const making = new Making();
    await making.expectCatalog(path);
    await making.undo();
    expect(await readdir(folder.at('.'))).toEqual([`catalog.db${suffix}`]);
    await (await openCatalog(path, { create: true })).close();
    expect(await readdir(folder.at('.'))).toEqual(['catalog.db', `catalog.db${suffix}.left`]);
    expect(await readFile(`${path}${suffix}.left`, 'utf8')).toBe('of another one');
  });

  test('keeps what is its own when whoever used the other one ends', async () => {
    await using folder = await temporaryFolder();
    const path = folder.at('catalog.db');
    const first = await openCatalog(path, { create: true });
    await first.setup.create(VAULT);
    await rename(path, folder.at('away.db'));
    const second = await openCatalog(path, { create: true });
    expect(await second.setup.vault()).toBeNull();
    await second.setup.create(VAULT);
    const row = file();
    await second.files.put([row]);
    expect(await codeOf(first.files.put([file()]))).toBe('unavailable');
    await first.close();
    expect(await second.setup.vault()).not.toBeNull();
    // As a process that is killed: what it has acknowledged stands.
    const third = await openCatalog(path, { create: false });
    expect(await third.files.byHashes([row.hash])).toHaveProperty('size', 1);
    await third.close();
    await second.close();
  });
});
