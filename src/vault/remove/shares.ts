/** Shares whose links have expired. The names of their objects say so, and nothing else is removed there. */
import { parseShareObjectName, SHARES_PREFIX } from '../../format/share.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { mergedListing } from '../buckets/merged-listing.ts';
import type { PlannedStep } from '../call.ts';

/** Each object of them. @throws what a listing says */
export async function* expiredShares(
  buckets: readonly VaultBucket[],
  nowMs: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<PlannedStep & { readonly bytes: number }, void, undefined> {
  for await (const { name, holders } of mergedListing(buckets, SHARES_PREFIX, { signal })) {
    const { expiresAtMs = Infinity } = parseShareObjectName(name) ?? {};
    if (expiresAtMs > nowMs) continue;
    const bytes = holders.reduce((sum, { size }) => sum + size, 0);
    yield { action: 'remove', object: name, reason: 'expired', bytes, file: null, bucket: null };
  }
}
