/** A catalog's file that is moved away, removed or replaced while somebody uses it. */
import { copyFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
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

describe('no catalog is made beside what another one has left in use', () => {
  test.each(['-wal', '-shm', '-journal'])('such as %s', async (suffix) => {
    await using folder = await temporaryFolder();
    const path = folder.at('catalog.db');
    await writeFile(path + suffix, 'of another one');
    for (const create of [true, false]) {
      await expect(openCatalog(path, { create })).rejects.toMatchObject({
        code: 'already-exists',
        message: expect.stringContaining(path + suffix),
      });
    }
    const making = new Making();
    await making.expectCatalog(path);
    await making.undo();
    expect(await readdir(folder.at('.'))).toEqual([`catalog.db${suffix}`]);
  });

  test('but is once that is gone', async () => {
    await using folder = await temporaryFolder();
    const path = folder.at('catalog.db');
    const first = await openCatalog(path, { create: true });
    await first.setup.create(VAULT);
    await rename(path, folder.at('away.db'));
    expect(await codeOf(openCatalog(path, { create: true }))).toBe('already-exists');
    await rename(folder.at('away.db'), path);
    // Whoever was right beside it has lost nothing.
    expect(await first.setup.vault()).not.toBeNull();
    await first.close();
    await rename(path, folder.at('away.db'));
    await (await openCatalog(path, { create: true })).close();
  });
});
