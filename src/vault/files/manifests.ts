/** Reading manifests from whichever bucket has a good one. */
import { randomInt } from 'node:crypto';
import { manifestHash, openManifest } from '../../crypto/seal.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { manifestObjectName, MAX_MANIFEST_SIZE } from '../../format/manifest.ts';
import type { Manifest } from '../../format/manifest.ts';
import { gather } from '../../concurrency/gather.ts';
import { describeFailure } from '../buckets/bucket-set.ts';
import type { BucketFailure, VaultBucket } from '../buckets/bucket-set.ts';
import { withSignal } from '../session.ts';
import type { Session } from '../session.ts';
import type { CallOptions } from '../vault.ts';

/** After this long without an answer the next bucket is asked as well. */
export const HEDGE_MS = 3_000;

/**
 * A manifest's sealed bytes, which have been found to have the hash.
 *
 * @throws `damaged` if every bucket has answered and none has it intact; `unavailable` if one that may have it did not answer
 */
export async function readManifestObject(
  session: Session,
  hash: string,
  options: CallOptions = {},
): Promise<{ readonly sealed: Uint8Array; readonly failures: readonly BucketFailure[] }> {
  const failures: BucketFailure[] = [];
  const name = manifestObjectName(hash);
  const ask = async (bucket: VaultBucket, signal: AbortSignal): Promise<Uint8Array | null> => {
    try {
      const sealed = await (
        await bucket.open()
      ).get(name, { maxSize: MAX_MANIFEST_SIZE, ...withSignal(signal) });
      if (manifestHash(sealed) === hash) return sealed;
      throw new VaultError('damaged', `The bucket ${bucket.url} has a damaged manifest ${hash}.`);
    } catch (error) {
      if (signal.aborted) return null;
      if (!isVaultError(error)) throw error;
      failures.push({ bucket, error });
      return null;
    }
  };
  const askSome = async (buckets: readonly VaultBucket[]): Promise<Uint8Array | undefined> => {
    const answers = await gather(inRandomOrder(buckets), ask, {
      need: 1,
      hedgeMs: HEDGE_MS,
      signal: options.signal,
    });
    return answers[0];
  };
  let sealed = await askSome(session.buckets.all);
  if (sealed === undefined) {
    // Before a file is called lost: what a bucket has may be right, and was changed on the way.
    const damaged = failures.filter(({ error }) => error.code === 'damaged');
    for (const failure of damaged) failures.splice(failures.indexOf(failure), 1);
    sealed = await askSome(damaged.map(({ bucket }) => bucket));
  }
  if (sealed !== undefined) return { sealed, failures };
  const outage = failures.find(({ error }) => !isVaultError(error, 'damaged', 'object-missing'));
  const reasons = failures.map(describeFailure).join(' ');
  if (outage !== undefined) {
    throw new VaultError(
      outage.error.code === 'denied' ? 'denied' : 'unavailable',
      `The manifest ${hash} could not be read: a bucket that may have it cannot be used. ${reasons}`,
      { cause: outage.error },
    );
  }
  throw new VaultError('damaged', `No bucket has an intact manifest ${hash}: the file is lost. ${reasons}`, {
    cause: failures[0]?.error,
  });
}

/** Reads and opens a manifest, and warns of copies that are not as they should be. */
export async function readManifest(
  session: Session,
  hash: string,
  options: CallOptions = {},
): Promise<Manifest> {
  const { sealed, failures } = await readManifestObject(session, hash, options);
  for (const failure of failures) {
    options.onWarning?.({
      kind: isVaultError(failure.error, 'damaged', 'object-missing') ? 'manifest-damaged' : 'bucket-down',
      message: `${describeFailure(failure)} The manifest was read from another bucket.`,
      bucket: failure.bucket.url,
    });
  }
  return openManifest(session.keys, sealed, hash);
}

/** Spreads the load over the buckets. */
export function inRandomOrder<T>(list: readonly T[]): T[] {
  const left = [...list];
  return list.flatMap(() => left.splice(randomInt(left.length), 1));
}
