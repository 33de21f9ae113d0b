import { memoryBucket } from '../support/memory-bucket.ts';
import type { MemoryStorage } from '../support/memory-bucket.ts';
import { NO_RETENTION } from '../../src/buckets/bucket.ts';
import type { RetentionPolicy } from '../../src/buckets/bucket.ts';
import { bucketConformance } from './conformance.ts';
import type { BucketUnderTest } from './conformance.ts';

/** The buckets' own clock, whatever time it is here. */
const { now } = Date;

async function fresh(policy?: RetentionPolicy): Promise<BucketUnderTest> {
  const storage: MemoryStorage = new Map();
  let aheadMs = 0;
  const until = new Map<string, number>();
  const locks = policy === undefined ? undefined : { policy, until, now: () => Date.now() + aheadMs };
  return {
    bucket: memoryBucket('memory:one', storage, { now, locks }),
    reopen: async () => memoryBucket('memory:one', storage, { now, locks }),
    openMissing: null,
    passTime: (ms) => {
      aheadMs = ms;
    },
    cleanUp: async () => {
      storage.clear();
    },
  };
}

bucketConformance('memory', async () => ({ ...(await fresh()), passTime: undefined }), {
  openLocking: () => fresh({ ...NO_RETENTION, lock: 'governance' }),
});
