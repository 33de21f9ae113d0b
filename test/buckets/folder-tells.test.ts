/** What a bucket in a folder says when something is wrong: what was tried, on what, and what to do. */
import { mkdir, open, readdir, readlink, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test, vi } from 'vitest';
import { createFolder, openFolderBucket } from '../../src/buckets/folder/driver.ts';
import { readOn, translated } from '../../src/buckets/folder/files.ts';
import { parseFileUrl, parseFolderPath } from '../../src/buckets/folder/url.ts';
import { parseBucketUrl } from '../../src/buckets/open.ts';
import { VaultError } from '../../src/errors.ts';
import { systemError } from '../support/system-error.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { listAll } from './conformance.ts';

const CONTENT = Buffer.from('content');

const failed = (code: string): string => {
  const named: Readonly<Record<string, string>> = {
    EDQUOT: 'disk quota exceeded',
    EBADMSG: 'the file system is damaged',
  };
  const words = named[code] ?? 'said so';
  return `Could not store x in file:///one: ${code}: ${words}, write.`;
};

async function withBucket(
  work: (at: {
    readonly root: string;
    readonly bucket: ReturnType<typeof openFolderBucket>;
  }) => Promise<void>,
): Promise<void> {
  await using folder = await temporaryFolder();
  const root = folder.at('one');
  await createFolder(root);
  await work({ root, bucket: openFolderBucket(root, { label: 'file:///one' }) });
}

describe('a system’s error', () => {
  test.each([
    ['ENOSPC', 'storage-full', ' Make room, or raise the quota, and repeat.'],
    ['EDQUOT', 'storage-full', ' Make room, or raise the quota, and repeat.'],
    [
      'EFBIG',
      'storage-full',
      ' No file may become that large: raise that limit ("ulimit -f unlimited"), or take a file system with larger files, and repeat.',
    ],
    [
      'EMFILE',
      'denied',
      ' Too many files are open at once: raise that limit ("ulimit -n 1024"), and repeat.',
    ],
    ['EACCES', 'denied', " Check the folder's owner and permissions, and how it is mounted."],
    ['EPERM', 'denied', " Check the folder's owner and permissions, and how it is mounted."],
    ['EROFS', 'denied', " Check the folder's owner and permissions, and how it is mounted."],
    ['ENAMETOOLONG', 'invalid-input', ' Choose a folder with a shorter path.'],
    [
      'EXDEV',
      'invalid-input',
      ' A part of the bucket lies on another file system; all of it must lie on one.',
    ],
    ['EINVAL', 'invalid-input', ' Its file system cannot do that: choose a folder on another one.'],
    ['ENOSYS', 'invalid-input', ' Its file system cannot do that: choose a folder on another one.'],
    ['ENOTSUP', 'invalid-input', ' Its file system cannot do that: choose a folder on another one.'],
    ['EOPNOTSUPP', 'invalid-input', ' Its file system cannot do that: choose a folder on another one.'],
    ['EMLINK', 'invalid-input', ' Its file system cannot do that: choose a folder on another one.'],
    ['EUCLEAN', 'damaged', ' Check and mend its file system ("fsck"), and repeat.'],
    ['EBADMSG', 'damaged', ' Check and mend its file system ("fsck"), and repeat.'],
    ['EIO', 'unavailable', ''],
    ['ENOENT', 'unavailable', ''],
    ['EBUSY', 'unavailable', ''],
    ['ENODEV', 'unavailable', ''],
  ])('%s is %s, and says what to do', (code, meant, advice) => {
    const cause = systemError(code);
    expect(translated(cause, 'store x in file:///one')).toMatchObject({
      code: meant,
      message: failed(code) + advice,
      cause,
    });
  });

  test('is told apart from what was said already, and from bugs', () => {
    const said = new VaultError('damaged', 'It was said.');
    const bug = new TypeError('x is not a function');
    for (const error of [said, bug, 'thrown']) expect(translated(error, 'try')).toBe(error);
  });
});

describe('an operation', () => {
  test('names the object that is not there, or cannot be one', () =>
    withBucket(async ({ bucket }) => {
      await expect(bucket.get('chunks/x')).rejects.toMatchObject({
        code: 'object-missing',
        message: 'file:///one has no object chunks/x.',
      });
      for (const work of [
        () => bucket.put('../x', CONTENT),
        () => bucket.get('../x'),
        () => bucket.remove('../x'),
      ])
        await expect(work()).rejects.toMatchObject({
          code: 'invalid-input',
          message: '"../x" is not a name that an object in file:///one can have.',
        });
      await expect(listAll(bucket, '../')).rejects.toMatchObject({
        code: 'invalid-input',
        message: '"../" starts no name that an object can have.',
      });
    }));

  test('says why an object is damaged', () =>
    withBucket(async ({ root, bucket }) => {
      await bucket.put('chunks/x', CONTENT);
      await expect(bucket.get('chunks/x', { maxSize: 6 })).rejects.toMatchObject({
        code: 'damaged',
        message: 'chunks/x in file:///one has 7 bytes, more than the 6 it can have.',
      });
      expect((await bucket.get('chunks/x', { maxSize: 7 })).length).toBe(7);
      await truncate(join(root, 'chunks/x'), 3);
      expect((await bucket.get('chunks/x')).length).toBe(3);
      await symlink('/etc/hostname', join(root, 'link'));
      for (const work of [
        () => bucket.get('link'),
        () => bucket.remove('link'),
        () => bucket.put('link', CONTENT, { replace: true }),
        () => listAll(bucket, ''),
      ])
        await expect(work()).rejects.toMatchObject({
          code: 'damaged',
          message: `${join(root, 'link')} is a symbolic link, which a bucket cannot have inside. Put what it leads to in its place, or mount it there.`,
        });
    }));

  test('tells what comes of a large object piece by piece, and reads into memory that is offered and large enough', () =>
    withBucket(async ({ bucket }) => {
      const large = Buffer.alloc(5 * 1024 * 1024 + 3, 7);
      await bucket.put('large', large);
      const counts: number[] = [];
      expect(large.equals(await bucket.get('large', { onBytes: (count) => counts.push(count) }))).toBe(true);
      expect(counts).toEqual([4 * 1024 * 1024, 1024 * 1024 + 3]);
      await bucket.put('small', CONTENT);
      const [tight, roomy] = [new ArrayBuffer(CONTENT.length), new ArrayBuffer(CONTENT.length + 1)];
      for (const spare of [tight, roomy]) {
        const got = await bucket.get('small', { spare });
        expect(Buffer.from(got)).toEqual(CONTENT);
        expect(got.buffer === spare).toBe(spare === roomy);
      }
    }));

  test('is read so that the byte that tells whether there is more comes with those before', async () => {
    await using folder = await temporaryFolder();
    const piece = 4 * 1024 * 1024;
    await writeFile(folder.at('large'), '');
    await truncate(folder.at('large'), piece + 2);
    const file = await open(folder.at('large'));
    try {
      const buffer = Buffer.allocUnsafe(piece + 2);
      expect(await readOn(file.fd, buffer, 0)).toBe(piece);
      expect(await readOn(file.fd, buffer, piece)).toBe(2);
      expect(await readOn(file.fd, buffer.subarray(1), 0)).toBe(piece + 1);
    } finally {
      await file.close();
    }
  });

  test('says that a name is taken: by other bytes, a folder, or a file in its way', () =>
    withBucket(async ({ root, bucket }) => {
      await bucket.put('a/b', CONTENT);
      await bucket.put('a/b', CONTENT);
      await mkdir(join(root, 'folder'));
      for (const [name, how, message] of [
        ['a/b', {}, 'file:///one holds a/b already, with different content.'],
        ['folder', { replace: true }, 'Could not store folder in file:///one: a folder is in its place.'],
        ['a/b/c', {}, 'Could not store a/b/c in file:///one: a file is in the place of its folder.'],
      ] as const)
        await expect(bucket.put(name, Buffer.from('other'), how)).rejects.toMatchObject({
          code: 'already-exists',
          message,
        });
      expect(Buffer.from(await bucket.get('a/b'))).toEqual(CONTENT);
    }));

  test('asks for the disk of a folder that is not there, or is another one', () =>
    withBucket(async ({ root, bucket }) => {
      await bucket.put('a', CONTENT);
      await rename(root, `${root}.away`);
      const missing = `There is no folder ${root} for the bucket file:///one. Is its disk mounted?`;
      for (const work of [
        () => bucket.put('b', CONTENT),
        () => bucket.get('a'),
        () => bucket.remove('a'),
        () => listAll(bucket, ''),
      ])
        await expect(work()).rejects.toMatchObject({ code: 'bucket-missing', message: missing });
      await mkdir(root);
      const other = `The folder ${root} of the bucket file:///one is another one than before. Was its disk unmounted?`;
      for (const work of [
        () => bucket.put('b', CONTENT),
        () => bucket.get('a'),
        () => bucket.remove('a'),
        () => listAll(bucket, ''),
      ])
        await expect(work()).rejects.toMatchObject({ code: 'bucket-missing', message: other });
      await rm(root, { recursive: true });
      await rename(`${root}.away`, root);
      expect(Buffer.from(await bucket.get('a'))).toEqual(CONTENT);
    }));

  test('says that a file is in the way of the bucket’s folder', async () => {
    await using folder = await temporaryFolder();
    await writeFile(folder.at('file'), '');
    for (const path of [folder.at('file'), folder.at('file/below')])
      await expect(createFolder(path)).rejects.toMatchObject({
        code: 'invalid-input',
        message: `Cannot make the folder ${path}: a file is in the way.`,
      });
  });

  test('lists in byte order, whatever folders lie between, from a name on and with a prefix', () =>
    withBucket(async ({ bucket }) => {
      const names = ['a', 'a-b', 'a-b-/c', 'a/b', 'a/c/d', 'a/d', 'a0', 'b/a', 'b/b/c', 'c'].toSorted();
      // A folder and a file cannot have one name.
      const stored = names.filter((name) => !names.some((other) => other.startsWith(`${name}/`)));
      for (const name of stored) await bucket.put(name, CONTENT);
      const listed = async (prefix: string, after?: string): Promise<string[]> =>
        (await Array.fromAsync(bucket.list(prefix, { after }))).map(({ name }) => name);
      for (const prefix of ['', 'a', 'a/', 'a/c', 'a/c/', 'b', 'b/b/c', 'x', 'x/y'])
        for (const after of [undefined, '', ...names, 'a/', 'a/c', 'b/', 'zz'])
          expect({ prefix, after, names: await listed(prefix, after) }).toEqual({
            prefix,
            after,
            names: stored.filter((name) => name.startsWith(prefix) && name > (after ?? '')),
          });
    }));
});

/** What this process holds open there. */
async function openBelow(path: string): Promise<string[]> {
  const fds = await readdir('/proc/self/fd');
  const paths = await Promise.all(fds.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
  return paths.filter((one) => `${one}/`.startsWith(`${path}/`));
}

async function untilClosed(path: string): Promise<void> {
  for (let turn = 0; turn < 1000 && (await openBelow(path)).length > 0; turn += 1) await nextTurn();
  expect(await openBelow(path)).toEqual([]);
}

test.skipIf(process.platform !== 'linux')(
  'a bucket holds open no object that was read, and no folder after its end or when nobody uses it for a while',
  () =>
    withBucket(async ({ root, bucket }) => {
      vi.useFakeTimers({ toFake: ['setTimeout'] });
      try {
        const use = async (): Promise<void> => {
          await bucket.put('chunks/a', CONTENT);
          expect((await bucket.get('chunks/a')).length).toBe(CONTENT.length);
          await untilClosed(join(root, 'chunks/a'));
          expect(await openBelow(root)).toContain(join(root, 'chunks'));
        };
        await use();
        await bucket.close();
        await untilClosed(root);
        await use();
        // So that its disk can be unmounted.
        vi.advanceTimersByTime(1_000);
        await untilClosed(root);
        await use();
      } finally {
        vi.useRealTimers();
      }
    }),
);

describe('a folder’s address', () => {
  test.each([
    ['file:///x?y=1', /^file:\/\/\/x: in a file URL, write "\?" as %3F and "#" as %23\.$/],
    ['file:///x#y', /^file:\/\/\/x: in a file URL, write "\?" as %3F and "#" as %23\.$/],
    ['file:///x%00', /^A path cannot contain a zero byte\.$/],
    [
      'file://host/x',
      /^This file URL cannot be used: .* Write file:\/\/\/path with three slashes, or just the path\.$/,
    ],
  ])('%s is refused', (url, message) => {
    expect(() => parseFileUrl(url)).toThrow(
      expect.objectContaining({ code: 'invalid-input', message: expect.stringMatching(message) }),
    );
  });

  test.each([
    ['', '/', 'A bucket needs a URL or a path, and this is empty.'],
    ['a\0b', '/', 'A path cannot contain a zero byte.'],
    [
      'gs:one',
      '/',
      'After gs: come two slashes: gs://name/folder. For a path of this name, put ./ before it.',
    ],
    [
      'S3:one',
      '/',
      'After s3: come two slashes: s3://name/folder. For a path of this name, put ./ before it.',
    ],
    [
      'file:one',
      '/',
      'After file: come two slashes: file:///path. For a path of this name, put ./ before it.',
    ],
    ['~', '/', 'The shell did not expand the "~" of ~. Write $HOME instead, or the whole path.'],
    ['~/x', '/', 'The shell did not expand the "~" of ~/x. Write $HOME instead, or the whole path.'],
    ['x', null, 'The path x is relative, and there is nothing that it is relative to. Write the whole path.'],
  ])('the path %j is refused', (path, base, message) => {
    expect(() => parseBucketUrl(path, base === null ? {} : { base })).toThrow(
      expect.objectContaining({ code: 'invalid-input', message }),
    );
  });

  test('is one, however it is written', () => {
    const expected = { kind: 'folder', url: 'file:///data/one', path: '/data/one' };
    expect(parseFileUrl('file:///data/one/')).toEqual(expected);
    expect(parseFolderPath('one', '/data')).toEqual(expected);
    expect(parseFolderPath('/data/x/../one', null)).toEqual(expected);
    expect(parseFolderPath('~x', '/data')).toMatchObject({ path: '/data/~x' });
    expect(parseFolderPath('mygs:x', '/data')).toMatchObject({ path: '/data/mygs:x' });
  });
});
