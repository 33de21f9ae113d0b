import { memoryBucket } from '../../src/buckets/memory.ts';
import type { MemoryStorage } from '../../src/buckets/memory.ts';
import { bucketConformance } from './conformance.ts';

/** The buckets' own clock, whatever time it is here. */
const { now } = Date;

bucketConformance('memory', async () => {
  const storage: MemoryStorage = new Map();
  return {
    bucket: memoryBucket('memory:one', storage, { now }),
    reopen: async () => memoryBucket('memory:one', storage, { now }),
    openMissing: null,
    cleanUp: async () => {
      storage.clear();
    },
  };
});
