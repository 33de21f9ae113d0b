import { Buffer } from 'node:buffer';
import { constants, fstatSync, rmSync, symlinkSync } from 'node:fs';
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { createFolder, openFolderBucket } from '../../src/buckets/folder/driver.ts';
import { isVaultError, systemCode } from '../../src/errors.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { codeOf, listAll } from './conformance.ts';

/** What a file system answers with an error, by call; file systems that cannot do something cannot be had everywhere. */
const refusals = vi.hoisted(() => new Map<string, (...args: readonly unknown[]) => string | null>());

// On a disk of this machine some calls are made at once, and are none of these.
vi.mock(import('../../src/disk/local.ts'), () => ({ isLocal: () => Promise.resolve(false) }));

vi.mock(import('node:fs'), async (original) => {
  const real = await original();
  const names = ['open', 'link', 'fsync', 'close', 'unlink', 'write'] as const;
  const wrapped = names.map((name) => {
    const call = real[name];
    const refusing = (...args: readonly unknown[]): void => {
      const code = refusals.get(name)?.(...args) ?? null;
      const callback = args.at(-1);
      if (code === null || typeof callback !== 'function') Reflect.apply(call, real, args);
      else
        setImmediate(
          () =>
            void Reflect.apply(callback, null, [
              Object.assign(new Error(`${code}: ${name}`), { code, syscall: name }),
            ]),
        );
    };
    return [name, Object.defineProperties(refusing, Object.getOwnPropertyDescriptors(call))] as const;
  });
  const fs = { ...real, ...Object.fromEntries(wrapped) };
  return { ...fs, default: fs };
});

const CONTENT = Buffer.from('content');
const UNABLE = ['EPERM', 'EACCES', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL'];

afterEach(() => {
  refusals.clear();
});

/** The whole life of objects in a bucket that is empty. */
async function storeAndRemove(path: string): Promise<void> {
  const bucket = openFolderBucket(path, { label: 'file:///limited' });
  await bucket.put('chunks/a', CONTENT);
  await bucket.put('chunks/a', CONTENT);
  expect(await codeOf(bucket.put('chunks/a', Buffer.from('CONTENT')))).toBe('already-exists');
  expect(Buffer.from(await bucket.get('chunks/a')).toString()).toBe('content');
  await bucket.put('chunks/a', Buffer.from('next'), { replace: true });
  await bucket.put('chunks/b', CONTENT);
  await bucket.remove('chunks/b');
  expect(await listAll(bucket, '')).toEqual([{ name: 'chunks/a', size: 4 }]);
}

function isFolder(fd: unknown): boolean {
  return typeof fd === 'number' && fstatSync(fd).isDirectory();
}

function asksForNoLinks(flags: unknown): boolean {
  return (
    typeof flags === 'number' && (flags & constants.O_NOFOLLOW) !== 0 && (flags & constants.O_CREAT) === 0
  );
}

/** The system's code that an operation failed with. */
async function causeOf(operation: Promise<unknown>): Promise<string | null> {
  const error: unknown = await operation.then(
    () => null,
    (reason: unknown) => reason,
  );
  return isVaultError(error) ? systemCode(error.cause) : null;
}

describe('a folder works on a file system', () => {
  test.each([...UNABLE, 'EMLINK', 'EXDEV'])('without hard links, which says %s', async (code) => {
    await using folder = await temporaryFolder();
    refusals.set('link', () => code);
    await storeAndRemove(folder.path);
    expect(await readdir(folder.at('unfinished~'))).toEqual([]);
  });

  test.each(UNABLE)('that cannot sync folders, which says %s', async (code) => {
    await using folder = await temporaryFolder();
    refusals.set('fsync', (fd) => (isFolder(fd) ? code : null));
    await createFolder(folder.at('x/bucket'));
    await storeAndRemove(folder.at('x/bucket'));
    expect(await readdir(folder.at('x/bucket/chunks'))).toEqual(['a']);
  });

  test.each(['ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL'])(
    'that does not know O_NOFOLLOW, which says %s, and refuses links all the same',
    async (code) => {
      await using folder = await temporaryFolder();
      refusals.set('open', (_, flags) => (asksForNoLinks(flags) ? code : null));
      await mkdir(folder.at('bucket'));
      await storeAndRemove(folder.at('bucket'));
      await symlink(folder.at('bucket/chunks'), folder.at('bucket/link'));
      await symlink('a', folder.at('bucket/chunks/alias'));
      const bucket = openFolderBucket(folder.at('bucket'), { label: 'file:///limited' });
      expect(await codeOf(bucket.get('link/a'))).toBe('damaged');
      expect(await codeOf(bucket.put('link/c', CONTENT))).toBe('damaged');
      expect(await codeOf(bucket.get('chunks/alias'))).toBe('damaged');
    },
  );

  test('that does not know O_NOFOLLOW, and reads nothing through a link that comes between the look and the call', async () => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.at('bucket'), { label: 'file:///limited' });
    await mkdir(folder.at('bucket'));
    await bucket.put('object', CONTENT);
    await writeFile(folder.at('precious'), 'secrets');
    refusals.set('open', (path, flags) => {
      if (asksForNoLinks(flags)) return 'EINVAL';
      if (!String(path).endsWith('/object')) return null;
      rmSync(folder.at('bucket/object'));
      symlinkSync(folder.at('precious'), folder.at('bucket/object'));
      return null;
    });
    expect(await codeOf(bucket.get('object'))).toBe('damaged');
  });

  test('that fails, and says what was to be listed', async () => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, { label: 'file:///limited' });
    refusals.set('open', () => 'EIO');
    for (const [prefix, what] of [
      ['', 'the objects'],
      ['chunks/a', 'chunks/a*'],
    ] as const)
      await expect(listAll(bucket, prefix)).rejects.toMatchObject({
        code: 'unavailable',
        message: `Could not list ${what} in file:///limited: EIO: open.`,
      });
  });

  test('a disk that cannot sync an object has not stored it', async () => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, { label: 'file:///limited' });
    await bucket.put('first', CONTENT);
    for (const [code, meant] of [
      ['EIO', 'unavailable'],
      ['EINVAL', 'invalid-input'],
    ] as const) {
      refusals.set('fsync', () => code);
      expect(await codeOf(bucket.put('object', CONTENT))).toBe(meant);
    }
    refusals.clear();
    expect(await listAll(bucket, '')).toEqual([{ name: 'first', size: 7 }]);
  });
});

describe('what goes wrong in clearing up', () => {
  test.each(['write', 'fsync', 'link'])('does not hide why a put failed in %s', async (call) => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, { label: 'file:///limited' });
    await bucket.put('first', CONTENT);
    refusals.set(call, () => 'ENOSPC');
    refusals.set('close', () => 'EIO');
    refusals.set('unlink', () => 'EROFS');
    expect(await causeOf(bucket.put('object', CONTENT))).toBe(call === 'link' ? 'EIO' : 'ENOSPC');
    refusals.delete('close');
    expect(await causeOf(bucket.put('object', CONTENT))).toBe('ENOSPC');
  });

  test('does not spoil what was stored or read', async () => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, { label: 'file:///limited' });
    refusals.set('unlink', () => 'EIO');
    await bucket.put('object', CONTENT);
    refusals.set('close', () => 'EIO');
    expect(Buffer.from(await bucket.get('object')).toString()).toBe('content');
    expect(await listAll(bucket, '')).toEqual([{ name: 'object', size: 7 }]);
  });
});
