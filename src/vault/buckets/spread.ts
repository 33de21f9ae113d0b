/** Small objects that every bucket has a copy of: manifests, keyrings, markers, records of removal. */
import { isVaultError } from '../../errors.ts';
import { checkEach } from './bucket-set.ts';
import type { BucketCheck, ReadBucket, VaultBucket } from './bucket-set.ts';

/**
 * Stores an object in each of the buckets.
 *
 * @param call `replace`: other bytes under this name give way; otherwise they are `already-exists`. `clocks`: takes what the
 *   buckets say of the time. `lock`: how it is to be kept there
 * @returns which buckets have it durably now
 */
export function spread(
  buckets: readonly VaultBucket[],
  object: { readonly name: string; readonly bytes: Uint8Array },
  call: {
    readonly replace?: boolean;
    readonly clocks?: { begin(bucket: VaultBucket): (dateMs: number) => void } | undefined;
    readonly lock?: ((bucket: VaultBucket) => { readonly retainUntilMs?: number }) | undefined;
    readonly signal?: AbortSignal | undefined;
  } = {},
): Promise<BucketCheck> {
  const { signal, clocks, lock, replace = false } = call;
  return checkEach(
    buckets,
    (bucket) =>
      bucket.attempt(async (storage, aborted) => {
        const onDate = clocks?.begin(bucket);
        // Other bytes have other names, unless they replace what is there.
        const how = { signal: aborted, replace, onDate, drawn: !replace, ...lock?.(bucket) };
        await storage.put(object.name, object.bytes, how);
      }, signal),
    (usable) => usable.length > 0,
  );
}

/** Removals under way at once: where a bucket takes many in one request, they go together. */
export const REMOVALS_AT_ONCE = 512;

/** Removes an object from each of the buckets. @param how as `RemoveCall` */
export function removeFrom(
  buckets: readonly VaultBucket[],
  name: string,
  signal?: AbortSignal,
  how: { readonly unlessRetained?: boolean } = {},
): Promise<BucketCheck> {
  return checkEach(buckets, async (bucket) => {
    await (await bucket.checked(signal)).remove(name, { signal, ...how });
  });
}

/**
 * A bucket's copy of an object; null if it answers and has none.
 *
 * @param call `intact`: one that is damaged is none, such as a larger one than it can be
 * @throws what the bucket says otherwise
 */
export async function readCopy(
  bucket: ReadBucket,
  name: string,
  {
    intact = false,
    ...call
  }: { readonly maxSize: number; readonly intact?: boolean; readonly signal?: AbortSignal | undefined },
): Promise<Uint8Array | null> {
  try {
    return await (await bucket.open()).get(name, call);
  } catch (error) {
    if (intact && isVaultError(error, 'damaged')) return null;
    if (!isVaultError(error, 'object-missing')) throw error;
    // A disk that is not mounted has none, either.
    await bucket.checked(call.signal);
    return null;
  }
}

/**
 * What a bucket's copy of an object says. One that is damaged, or that this vault has not made, says nothing: another bucket may have
 * it intact.
 *
 * @param call `open`: from the bytes to what they say; throws `damaged`
 * @returns null if the copy says nothing, or there is none
 * @throws what the bucket says otherwise; `unsupported`
 */
export async function readCopyAs<T>(
  bucket: ReadBucket,
  name: string,
  call: {
    readonly maxSize: number;
    readonly open: (bytes: Uint8Array) => T;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<T | null> {
  const { open, ...rest } = call;
  const bytes = await readCopy(bucket, name, { ...rest, intact: true });
  if (bytes === null) return null;
  try {
    return open(bytes);
  } catch (error) {
    if (isVaultError(error, 'damaged')) return null;
    throw error;
  }
}
