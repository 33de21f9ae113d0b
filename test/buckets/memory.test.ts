import { memoryBucket } from '../../src/buckets/memory.ts';
import type { MemoryStorage } from '../../src/buckets/memory.ts';
import { bucketConformance } from './conformance.ts';

bucketConformance('memory', async () => {
  const storage: MemoryStorage = new Map();
  return {
    bucket: memoryBucket('memory:one', storage),
    reopen: async () => memoryBucket('memory:one', storage),
    openMissing: null,
    cleanUp: async () => {
      storage.clear();
    },
  };
});
