/** Reading manifests from whichever bucket has a good one. */
import { randomInt } from 'node:crypto';
import { manifestHash } from '../../crypto/manifest.ts';
import type { ManifestOpener, OpenedManifest } from '../../crypto/manifest.ts';
import { onlyStores } from '../../crypto/keys.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { manifestObjectName, MAX_MANIFEST_SIZE } from '../../format/manifest.ts';
import type { VaultPart } from '../../format/manifest.ts';
import { gather } from '../../concurrency/gather.ts';
import { describeFailure, outageCode, type BucketFailure, type ReadBucket } from '../buckets/bucket-set.ts';
import { HEDGE_MS } from '../chunks/chunk-reader.ts';
import type { CallOptions } from '../call.ts';
import type { ReadSession } from '../session.ts';

/** A bucket's copy of a manifest. @throws `object-missing`; `damaged` if it has another hash; what the bucket says */
export async function readManifestIn(
  bucket: ReadBucket,
  hash: string,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const bytes = await bucket.get(manifestObjectName(hash), { maxSize: MAX_MANIFEST_SIZE, signal });
  if (manifestHash(bytes) === hash) return bytes;
  throw new VaultError('damaged', `The bucket ${bucket.url} has a damaged manifest ${hash}.`);
}

/**
 * A manifest's bytes, which have been found to have the hash.
 *
 * @param options `from`: the buckets to ask; all of the vault's unless given. `copies`: how many of them must have it; one unless given
 * @returns `failures`: what was wrong with the copies that were asked for before
 * @throws `object-missing` if every bucket has answered and none has it; `damaged` if those that have it have it damaged;
 *   `unavailable` or `denied` if one that may have it did not answer
 */
export async function readManifestBytes(
  session: ReadSession,
  hash: string,
  options: {
    readonly signal?: AbortSignal | undefined;
    readonly from?: readonly ReadBucket[];
    readonly copies?: number;
  } = {},
): Promise<{ readonly bytes: Uint8Array; readonly failures: readonly BucketFailure[] }> {
  const { from = session.buckets.all, copies = 1 } = options;
  const failures: BucketFailure[] = [];
  const ask = async (bucket: ReadBucket, signal: AbortSignal): Promise<Uint8Array | null> => {
    try {
      return await readManifestIn(bucket, hash, signal);
    } catch (error) {
      if (signal.aborted) return null;
      if (!isVaultError(error)) throw error;
      failures.push({ bucket, error });
      return null;
    }
  };
  const askSome = (buckets: readonly ReadBucket[], need: number): Promise<Uint8Array[]> =>
    gather(inRandomOrder(buckets), ask, { need, hedgeMs: HEDGE_MS, signal: options.signal });
  const answers = await askSome(from, copies);
  if (answers.length < copies) {
    // Before a file is called lost: what a bucket has may be right, and was changed on the way.
    const damaged = failures.filter(({ error }) => error.code === 'damaged');
    for (const failure of damaged) failures.splice(failures.indexOf(failure), 1);
    const again = damaged.map(({ bucket }) => bucket);
    answers.push(...(await askSome(again, copies - answers.length)));
  }
  const [bytes] = answers;
  if (bytes === undefined || answers.length < copies) throw unreadable(hash, failures);
  return { bytes, failures };
}

function unreadable(hash: string, failures: readonly BucketFailure[]): VaultError {
  const outages = failures.filter(({ error }) => !isVaultError(error, 'damaged', 'object-missing'));
  const reasons = failures.map(describeFailure).join(' ');
  if (outages.length > 0) {
    return new VaultError(
      outageCode(outages.map(({ error }) => error)),
      `The manifest ${hash} could not be read: a bucket that may have it cannot be used. ${reasons}`,
      { cause: outages[0]?.error },
    );
  }
  const missing = failures.every(({ error }) => error.code === 'object-missing');
  return new VaultError(
    missing ? 'object-missing' : 'damaged',
    missing
      ? `No bucket has the manifest ${hash}.`
      : `No bucket has an intact manifest ${hash}: the file is lost. ${reasons}`,
    { cause: failures[0]?.error },
  );
}

/**
 * Reads and opens a manifest, and warns of copies that are not as they should be. One that is missing is for `verify` to tell: a bucket
 * that has just joined was never given it.
 *
 * @throws as `readManifestBytes`, with `damaged` also where every bucket has answered and none has it
 */
export async function readManifest(
  session: ReadSession,
  hash: string,
  options: CallOptions = {},
): Promise<OpenedManifest> {
  const opener = manifestOpener(session);
  try {
    const { bytes, failures } = await readManifestBytes(session, hash, options);
    for (const failure of failures) {
      if (failure.error.code === 'object-missing') continue;
      options.onWarning?.({
        kind: failure.error.code === 'damaged' ? 'manifest-damaged' : 'bucket-down',
        message: `${describeFailure(failure)} The manifest was read from another bucket.`,
        bucket: failure.bucket.url,
      });
    }
    return opener.open(bytes, hash);
  } catch (error) {
    if (!isVaultError(error, 'object-missing')) throw error;
    throw new VaultError(
      'damaged',
      `No bucket has the manifest ${hash}: the file is lost, or was removed elsewhere.`,
      {
        cause: error,
      },
    );
  }
}

/** What opens manifests. @throws `denied` for a keyslot that can only store */
export function manifestOpener(session: ReadSession): ManifestOpener {
  if (session.manifests !== null) return session.manifests;
  throw onlyStores('reading and listing files');
}

/** What the catalog keeps of a manifest. */
export function vaultPartOf({ head, ids, access }: OpenedManifest): VaultPart {
  return { head, ids, access };
}

/** Spreads the load over the buckets. */
export function inRandomOrder<T>(list: readonly T[]): T[] {
  const left = [...list];
  return list.flatMap(() => left.splice(randomInt(left.length), 1));
}
