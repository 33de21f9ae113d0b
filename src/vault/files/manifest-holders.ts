/** Which of the buckets that list a manifest have it right. */
import { isFailure, isVaultError } from '../../errors.ts';
import type { BucketFailure, ReadBucket } from '../buckets/bucket-set.ts';
import type { JoinedFile } from './file-join.ts';
import { readManifestIn } from './manifests.ts';

/** Whether some of the copies are damaged for sure: which of them, only reading tells. */
export function differInSize(holders: JoinedFile['holders']): boolean {
  return new Set(holders.map(({ size }) => size)).size > 1;
}

/**
 * The buckets whose copy has its hash, or cannot be asked just now.
 *
 * @param options `reads`: copies are read; otherwise only where their sizes differ
 */
export async function goodHolders(
  hash: string,
  holders: JoinedFile['holders'],
  options: {
    readonly reads?: boolean;
    readonly onFailure: (failure: BucketFailure) => void;
    readonly signal: AbortSignal | undefined;
  },
): Promise<ReadBucket[]> {
  const { reads = differInSize(holders), onFailure, signal } = options;
  const good: ReadBucket[] = [];
  for (const { bucket } of holders) {
    try {
      if (reads) await readManifestIn(bucket, hash, signal);
      good.push(bucket);
    } catch (error) {
      if (isVaultError(error, 'damaged', 'object-missing')) continue;
      if (!isFailure(error)) throw error;
      onFailure({ bucket, error });
      good.push(bucket);
    }
  }
  return good;
}
