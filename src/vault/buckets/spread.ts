/** Small objects that every bucket has a copy of: manifests, keyrings, markers, records of removal. */
import { isVaultError } from '../../errors.ts';
import { checkEach } from './bucket-set.ts';
import type { BucketCheck, VaultBucket } from './bucket-set.ts';

/**
 * Stores an object in each of the buckets.
 *
 * @param call `replace`: other bytes under this name give way; otherwise they are `already-exists`. `clocks`: takes what the
 *   buckets say of the time
 * @returns which buckets have it durably now
 */
export function spread(
  buckets: readonly VaultBucket[],
  object: { readonly name: string; readonly bytes: Uint8Array },
  call: {
    readonly replace?: boolean;
    readonly clocks?: { begin(bucket: VaultBucket): (dateMs: number) => void } | undefined;
    readonly signal?: AbortSignal | undefined;
  } = {},
): Promise<BucketCheck> {
  const { signal, clocks, replace = false } = call;
  return checkEach(
    buckets,
    (bucket) =>
      bucket.attempt(async (storage, aborted) => {
        const onDate = clocks?.begin(bucket);
        await storage.put(object.name, object.bytes, { signal: aborted, replace, onDate });
      }, signal),
    (usable) => usable.length > 0,
  );
}

/** Removes an object from each of the buckets. */
export function removeFrom(
  buckets: readonly VaultBucket[],
  name: string,
  signal?: AbortSignal,
): Promise<BucketCheck> {
  return checkEach(buckets, async (bucket) => {
    await (await bucket.checked(signal)).remove(name, { signal });
  });
}

/** A bucket's copy of an object; null if it answers and has none. @throws what the bucket says otherwise */
export async function readCopy(
  bucket: VaultBucket,
  name: string,
  call: { readonly maxSize: number; readonly signal?: AbortSignal | undefined },
): Promise<Uint8Array | null> {
  try {
    return await (await bucket.open()).get(name, call);
  } catch (error) {
    if (isVaultError(error, 'object-missing')) return null;
    throw error;
  }
}
