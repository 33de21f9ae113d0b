import { Buffer } from 'node:buffer';
import { readdir } from 'node:fs/promises';
import { describe, expect, test, vi } from 'vitest';
import { openFolderBucket } from '../../src/buckets/folder/driver.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { codeOf, listAll } from './conformance.ts';

// No file system without hard links can be had here, so the one system call answers as on FAT.
vi.mock(import('../../src/buckets/folder/files.ts'), async (original) => ({
  ...(await original()),
  link: async () => {
    throw Object.assign(new Error('EPERM: operation not permitted, link'), {
      code: 'EPERM',
      syscall: 'link',
    });
  },
}));

describe('a folder on a file system without hard links', () => {
  test('stores, repeats, refuses and replaces all the same', async () => {
    await using folder = await temporaryFolder();
    const bucket = openFolderBucket(folder.path, { label: 'file:///fat' });
    await bucket.put('chunks/a', Buffer.from('content'));
    await bucket.put('chunks/a', Buffer.from('content'));
    expect(await codeOf(bucket.put('chunks/a', Buffer.from('CONTENT')))).toBe('already-exists');
    expect(Buffer.from(await bucket.get('chunks/a')).toString()).toBe('content');
    await bucket.put('chunks/a', Buffer.from('next'), { replace: true });
    expect(await listAll(bucket, '')).toEqual([{ name: 'chunks/a', size: 4 }]);
    expect(await readdir(folder.at('unfinished~'))).toEqual([]);
  });
});
