/** Copies of manifests: every bucket has every live one. */
import { manifestHash } from '../../crypto/manifest.ts';
import { isVaultError } from '../../errors.ts';
import { manifestObjectName, MAX_MANIFEST_SIZE } from '../../format/manifest.ts';
import { describeFailure } from '../buckets/bucket-set.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { readCopy, spread } from '../buckets/spread.ts';
import { joinFiles } from '../files/file-join.ts';
import { readManifestBytes } from '../files/manifests.ts';
import { listDeletions } from '../remove/deletions.ts';
import type { Session } from '../session.ts';
import type { RepairOptions } from './options.ts';

/** Gives every bucket every live manifest, whole. */
export async function repairManifests(
  session: Session,
  usable: readonly VaultBucket[],
  { signal, depth, onWarning }: RepairOptions,
): Promise<{ readonly stored: number; readonly bytes: number; readonly lost: readonly string[] }> {
  const targets = usable.filter(({ state }) => state === 'active');
  const deletions = await listDeletions(session, usable, signal);
  const lost: string[] = [];
  let stored = 0;
  let bytes = 0;
  for await (const { hash, holders, row } of joinFiles(session, usable, {
    signal,
    onFailure: () => undefined,
  })) {
    if (deletions.get(hash)?.live === false) continue;
    if (holders.length === 0) {
      if (row?.hiddenAtMs === null) lost.push(hash);
      continue;
    }
    const good =
      depth === 'data' ? await goodHolders(hash, holders, signal) : holders.map(({ bucket }) => bucket);
    const lacking = targets.filter((bucket) => !good.includes(bucket));
    if (lacking.length === 0) continue;
    try {
      const manifest = await readManifestBytes(session, hash, { from: good, signal });
      const object = { name: manifestObjectName(hash), bytes: manifest.bytes };
      const taken = await spread(lacking, object, { signal, replace: true });
      stored += taken.usable.length;
      bytes += taken.usable.length * manifest.bytes.length;
      for (const failure of taken.failed) {
        onWarning?.({ kind: 'bucket-down', message: describeFailure(failure), bucket: failure.bucket.url });
      }
    } catch (error) {
      if (!isVaultError(error, 'damaged', 'object-missing')) throw error;
      lost.push(hash);
    }
  }
  return { stored, bytes, lost };
}

/** The buckets whose copy of a manifest has its hash. */
async function goodHolders(
  hash: string,
  holders: readonly { readonly bucket: VaultBucket }[],
  signal: AbortSignal | undefined,
): Promise<VaultBucket[]> {
  const good: VaultBucket[] = [];
  for (const { bucket } of holders) {
    try {
      const bytes = await readCopy(bucket, manifestObjectName(hash), { maxSize: MAX_MANIFEST_SIZE, signal });
      if (bytes !== null && manifestHash(bytes) === hash) good.push(bucket);
    } catch (error) {
      if (!isVaultError(error, 'damaged')) throw error;
    }
  }
  return good;
}
