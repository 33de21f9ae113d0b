/** What verify and repair begin with: which buckets can be asked, and what they list of chunks. */
import { tooFewBuckets } from '../buckets/bucket-set.ts';
import type { Session } from '../session.ts';
import { ChunkCensus } from './census.ts';
import type { Findings } from './findings.ts';

/** What the buckets list of all chunks; those that cannot be listed are noted. */
export function takeCensus(findings: Findings, signal: AbortSignal | undefined): Promise<ChunkCensus> {
  return ChunkCensus.take(findings.usable, {
    signal,
    onFailure: (failure) => findings.bucketFailed(failure),
    onForeign: () => {
      findings.foreignObjects += 1;
    },
  });
}

/** Notes which buckets cannot be used. @throws if none can be used */
export async function askBuckets(
  session: Session,
  findings: Findings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { usable, failed } = await session.buckets.check(session.buckets.all, signal);
  if (usable.length === 0) throw tooFewBuckets("None of the vault's buckets can be used.", failed);
  for (const failure of failed) findings.bucketFailed(failure);
}
