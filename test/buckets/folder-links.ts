import { Buffer } from 'node:buffer';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  lstat,
  lutimes,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { openFolderBucket } from '../../src/buckets/folder/driver.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { codeOf, listAll } from './conformance.ts';

const CONTENT = Buffer.from('content');
const HOURS_AGO = new Date(Date.now() - 10 * 3_600_000);

/** Everything in a folder, with what it holds: what must be the same afterwards. */
async function contentOf(path: string): Promise<string[]> {
  const names = await readdir(path, { recursive: true });
  return await Promise.all(
    names.toSorted().map(async (name) => {
      const found = await lstat(join(path, name));
      return `${name} ${found.isFile() ? await readFile(join(path, name), 'utf8') : 'no file'}`;
    }),
  );
}

/** A bucket with objects, and beside it a folder of somebody else that looks just like it. */
async function scene(): Promise<TemporaryFolder> {
  const folder = await temporaryFolder();
  await mkdir(folder.at('bucket'));
  const bucket = openFolderBucket(folder.at('bucket'), { label: 'file:///bucket' });
  for (const name of ['vault.json', 'chunks/object', 'a/b/c/object']) await bucket.put(name, CONTENT);
  await bucket.close();
  await promisify(execFile)('cp', ['-R', folder.at('bucket'), folder.at('victim')]);
  for (const name of ['vault.json', 'chunks/object', 'a/b/c/object']) {
    await writeFile(folder.at('victim', name), 'precious');
  }
  const leftover = folder.at('victim/unfinished~', randomUUID());
  await writeFile(leftover, 'precious');
  await utimes(leftover, HOURS_AGO, HOURS_AGO);
  return folder;
}

/**
 * What a folder bucket does about symbolic links inside of it, one sentence a test.
 *
 * @param name how the driver gets at its folders, for the test report
 */
export function refusesLinks(name: string): void {
  describe(`a folder bucket ${name}`, () => {
    test.each([
      ['chunks', 'chunks/object', 'chunks/new'],
      ['a', 'a/b/c/object', 'a/b/c/new'],
      ['a/b', 'a/b/c/object', 'a/b/new/new'],
      ['a/b/c', 'a/b/c/object', 'a/b/c/new'],
    ])('refuses %s as a link to a folder, in every operation', async (link, object, next) => {
      await using folder = await scene();
      for (const isOpen of [false, true]) {
        const bucket = openFolderBucket(folder.at('bucket'), { label: 'file:///bucket' });
        // A handle that knows the folder already is not misled either.
        if (isOpen) await bucket.get(object);
        await rename(folder.at('bucket', link), folder.at('away'));
        await symlink(folder.at('victim', link), folder.at('bucket', link));
        const before = await contentOf(folder.at('victim'));
        expect(await codeOf(bucket.get(object))).toBe('damaged');
        expect(await codeOf(bucket.put(object, CONTENT))).toBe('damaged');
        expect(await codeOf(bucket.put(next, CONTENT))).toBe('damaged');
        expect(await codeOf(bucket.put(object, CONTENT, { replace: true }))).toBe('damaged');
        expect(await codeOf(bucket.remove(object))).toBe('damaged');
        expect(await codeOf(listAll(bucket, ''))).toBe('damaged');
        expect(await codeOf(listAll(bucket, object.slice(0, -1)))).toBe('damaged');
        expect(await contentOf(folder.at('victim'))).toEqual(before);
        await rm(folder.at('bucket', link));
        await rename(folder.at('away'), folder.at('bucket', link));
        expect(await codeOf(bucket.get(object))).toBe('success');
        await bucket.close();
      }
    });

    test.each([
      ['vault.json', 'victim/vault.json'],
      ['chunks/object', 'victim/chunks/object'],
      ['chunks/object', 'victim/chunks'],
      ['chunks/object', 'nowhere'],
    ])('refuses %s as a link to %s, in every operation', async (object, target) => {
      await using folder = await scene();
      await rm(folder.at('bucket', object));
      await symlink(folder.at(target), folder.at('bucket', object));
      const bucket = openFolderBucket(folder.at('bucket'), { label: 'file:///bucket' });
      const before = await contentOf(folder.path);
      expect(await codeOf(bucket.get(object))).toBe('damaged');
      expect(await codeOf(bucket.put(object, CONTENT))).toBe('damaged');
      expect(await codeOf(bucket.put(object, Buffer.from('precious')))).toBe('damaged');
      expect(await codeOf(bucket.put(object, CONTENT, { replace: true }))).toBe('damaged');
      expect(await codeOf(bucket.remove(object))).toBe('damaged');
      expect(await codeOf(listAll(bucket, ''))).toBe('damaged');
      expect(await codeOf(listAll(bucket, object))).toBe('damaged');
      expect(await contentOf(folder.path)).toEqual(before);
    });

    test('writes nothing through a link in the place of unfinished~, and clears nothing away behind it', async () => {
      await using folder = await scene();
      const before = await contentOf(folder.at('victim'));
      await rm(folder.at('bucket/unfinished~'), { recursive: true });
      await symlink(folder.at('victim/unfinished~'), folder.at('bucket/unfinished~'));
      await lutimes(folder.at('bucket/unfinished~'), HOURS_AGO, HOURS_AGO);
      const bucket = openFolderBucket(folder.at('bucket'), { label: 'file:///bucket' });
      expect(await codeOf(bucket.put('chunks/new', CONTENT))).toBe('damaged');
      expect(await codeOf(bucket.put('vault.json', CONTENT, { replace: true }))).toBe('damaged');
      // What is stored already can be had all the same.
      expect((await listAll(bucket, '')).map((object) => object.name)).toEqual([
        'a/b/c/object',
        'chunks/object',
        'vault.json',
      ]);
      expect(Buffer.from(await bucket.get('chunks/object'))).toEqual(CONTENT);
      expect(await contentOf(folder.at('victim'))).toEqual(before);
    });

    test('writes nothing through a link to what was there before, nor through one that comes while a folder is in use', async () => {
      await using folder = await scene();
      for (const [target, content] of [
        ['away', CONTENT],
        ['victim/chunks', Buffer.from('precious')],
      ] as const) {
        const bucket = openFolderBucket(folder.at('bucket'), { label: 'file:///bucket' });
        const listing = bucket.list('chunks/')[Symbol.asyncIterator]();
        await listing.next();
        if (target === 'away') await listing.return?.();
        await rename(folder.at('bucket/chunks'), folder.at('away'));
        await symlink(folder.at(target), folder.at('bucket/chunks'));
        for (const work of [
          () => bucket.put('chunks/new', CONTENT, { replace: true }),
          () => bucket.put('chunks/object', Buffer.from('next'), { replace: true }),
        ])
          expect(await codeOf(work())).toBe('damaged');
        expect(await readdir(folder.at('victim/chunks'))).toEqual(['object']);
        expect(await readFile(folder.at(target, 'object'))).toEqual(content);
        await listing.return?.();
        await rm(folder.at('bucket/chunks'));
        await rename(folder.at('away'), folder.at('bucket/chunks'));
        await bucket.close();
      }
    });

    test('says which link it is, and what can be done', async () => {
      await using folder = await scene();
      await rename(folder.at('bucket/chunks'), folder.at('away'));
      await symlink(folder.at('away'), folder.at('bucket/chunks'));
      const bucket = openFolderBucket(folder.at('bucket'), { label: 'file:///bucket' });
      await expect(bucket.get('chunks/object')).rejects.toThrow(
        `${folder.at('bucket/chunks')} is a symbolic link, which a bucket cannot have inside. Put what it leads to in its place`,
      );
    });

    test('may itself be reached through a link', async () => {
      await using folder = await scene();
      await symlink(folder.at('bucket'), folder.at('link'));
      await symlink(folder.path, folder.at('above'));
      for (const path of ['link', 'above/bucket', 'above/link']) {
        const bucket = openFolderBucket(folder.at(path), { label: 'file:///bucket' });
        expect(Buffer.from(await bucket.get('chunks/object'))).toEqual(CONTENT);
        await bucket.put('chunks/new', CONTENT);
        expect(await listAll(bucket, 'chunks/')).toHaveLength(2);
        await bucket.remove('chunks/new');
      }
    });
  });
}
