import { mkdir, stat, symlink, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { makeFolder, requireNativePath } from '../../src/disk/folders.ts';
import { systemCode } from '../../src/errors.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

async function codeOf(making: Promise<void>): Promise<string | null> {
  return await making.then(
    () => 'success',
    (error: unknown) => systemCode(error),
  );
}

describe('making a folder', () => {
  test('makes those above it too, for their owner only, and leaves those alone that were there', async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at('old'), { mode: 0o755 });
    await makeFolder(folder.at('old/a/b'), { mode: 0o700 });
    await makeFolder(folder.at('old/a/b'), { mode: 0o711 });
    for (const [path, mode] of [
      ['old', 0o755],
      ['old/a', 0o700],
      ['old/a/b', 0o700],
    ] as const) {
      expect((await stat(folder.at(path))).mode & 0o777).toBe(mode);
    }
  });

  test('follows links on the way, and takes one to a folder for the folder', async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at('real'));
    await symlink('real', folder.at('link'));
    await makeFolder(folder.at('link'), { mode: 0o700 });
    await makeFolder(folder.at('link/a/b'), { mode: 0o700 });
    expect((await stat(folder.at('real/a/b'))).isDirectory()).toBe(true);
  });

  test('many at once all succeed', async () => {
    await using folder = await temporaryFolder();
    const paths = Array.from({ length: 20 }, (_, index) => folder.at('a/b/c', String(index % 2)));
    await Promise.all(paths.map((path) => makeFolder(path, { mode: 0o700 })));
    expect((await stat(folder.at('a/b/c/1'))).isDirectory()).toBe(true);
  });

  test('says what is in the way', async () => {
    await using folder = await temporaryFolder();
    await writeFile(folder.at('file'), '');
    await symlink('nowhere', folder.at('dangling'));
    expect(await codeOf(makeFolder(folder.at('file'), { mode: 0o700 }))).toBe('ENOTDIR');
    expect(await codeOf(makeFolder(folder.at('file/a/b'), { mode: 0o700 }))).toBe('ENOTDIR');
    expect(await codeOf(makeFolder(folder.at('dangling'), { mode: 0o700 }))).toBe('EEXIST');
  });

  test.skipIf(process.platform !== 'linux')('ends where a folder takes no folders', async () => {
    for (const path of ['/proc/nope', '/proc/nope/a/b/c', '/proc/self/nope/a']) {
      await expect(makeFolder(path, { mode: 0o700 })).rejects.toMatchObject({
        code: 'invalid-input',
        message: expect.stringMatching(/^Cannot make the folder \/proc\/.*nope: \/proc.* takes no folders\./),
      });
    }
  });
});

test('a path of Windows is one on Windows alone', () => {
  for (const path of ['c:\\x', 'C:/x', 'c:', '\\\\nas\\share']) {
    expect(() => requireNativePath(path, 'win32')).not.toThrow();
    for (const system of ['linux', 'darwin'] as const)
      expect(() => requireNativePath(path, system)).toThrow(/path of Windows/);
  }
  for (const path of ['/x', 'x', 'c:x', 'nas:/x', './c:\\x', '\\x'])
    expect(() => requireNativePath(path, 'linux')).not.toThrow();
});
