import { openFolderBucket } from '../../src/buckets/folder.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { bucketConformance } from './conformance.ts';

bucketConformance('folder', async () => {
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
