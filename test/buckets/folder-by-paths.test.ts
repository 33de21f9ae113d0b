import { vi } from 'vitest';
import { openFolderBucket } from '../../src/buckets/folder/driver.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { bucketConformance } from './conformance.ts';
import { refusesLinks } from './folder-links.ts';

// As where there is no /proc that names open folders.
vi.mock(import('../../src/buckets/folder/files.ts'), async (original) => {
  const real = await original();
  const stat = (...args: Parameters<typeof real.stat>): ReturnType<typeof real.stat> =>
    real.stat(String(args[0]).startsWith('/proc/') ? '/absent' : args[0], args[1]);
  return { ...real, stat: Object.assign(stat, real.stat) };
});

bucketConformance('folder by paths', async () => {
  const folder = await temporaryFolder();
  return {
    bucket: openFolderBucket(folder.path, { label: 'file:///one' }),
    reopen: async () => openFolderBucket(folder.path, { label: 'file:///one' }),
    openMissing: async () => openFolderBucket(folder.at('absent'), { label: 'file:///absent' }),
    cleanUp: async () => {
      await folder[Symbol.asyncDispose]();
    },
  };
});

refusesLinks('that names its folders by their paths refuses links inside');
