/** Markers of buckets that have lost theirs. */
import { isVaultError } from '../../errors.ts';
import { MANIFEST_PREFIX, MAX_MANIFEST_SIZE, parseManifestObjectName } from '../../format/manifest.ts';
import { encodeMarker, MARKER_NAME } from '../../format/marker.ts';
import type { ReadableBucket } from '../../buckets/bucket.ts';
import { checkEach, type BucketFailure, type ReadBucket } from '../buckets/bucket-set.ts';
import { storing } from '../buckets/steps.ts';
import type { Take } from '../buckets/steps.ts';
import { readKeyrings, verifiedOrNull } from '../keys/keyring-copies.ts';
import type { ReadSession } from '../session.ts';

/** Manifests that are tried. */
const MOST_TRIED = 8;

/**
 * Marks buckets of the vault anew that have lost their markers but hold what only this vault can have written: an empty place may be
 * a disk that is not mounted.
 *
 * @returns the ids of those that were marked (or would be), and why others were not
 */
export async function restoreMarkers(
  session: ReadSession,
  take: Take,
  signal: AbortSignal | undefined,
): Promise<{ readonly marked: ReadonlySet<string>; readonly failed: readonly BucketFailure[] }> {
  const marked = new Set<string>();
  const { failed } = await checkEach(session.buckets.all, async (bucket) => {
    const found = await markerOf(bucket, signal);
    const storage = await bucket.open();
    if (found === 'there' || !(await isOfVault(session, storage, signal))) return;
    const bytes = encodeMarker({ vaultId: session.vaultId, bucketId: bucket.id });
    const step = storing(MARKER_NAME, bucket, { reason: found, bytes: bytes.length });
    await take([step], undefined, async ({ buckets }) => {
      const target = await buckets.ours(bucket).open();
      await target.put(MARKER_NAME, bytes, { signal, replace: found === 'damaged' });
    });
    marked.add(bucket.id);
  });
  return { marked, failed };
}

async function markerOf(
  bucket: ReadBucket,
  signal: AbortSignal | undefined,
): Promise<'there' | 'missing' | 'damaged'> {
  try {
    await bucket.checked(signal);
    return 'there';
  } catch (error) {
    if (isVaultError(error, 'damaged')) return 'damaged';
    if (isVaultError(error, 'bucket-missing')) return 'missing';
    throw error;
  }
}

/** Whether a place shows a keyring that this vault has signed, or a manifest that it has sealed. */
async function isOfVault(
  session: ReadSession,
  storage: ReadableBucket,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  for (const bytes of await readKeyrings(storage, { signal })) {
    if (verifiedOrNull(session.keys, bytes) !== null) return true;
  }
  if (session.manifests === null) return false;
  let tried = 0;
  for await (const { name } of storage.list(MANIFEST_PREFIX, { signal })) {
    const hash = parseManifestObjectName(name);
    if (hash === null) continue;
    try {
      session.manifests.open(await storage.get(name, { maxSize: MAX_MANIFEST_SIZE, signal }), hash);
      return true;
    } catch (error) {
      if (!isVaultError(error, 'damaged', 'unsupported', 'object-missing')) throw error;
    }
    tried += 1;
    if (tried === MOST_TRIED) return false;
  }
  return false;
}
