/** Making a vault: one that is there is never overwritten, and a making that failed leaves nothing behind. */
import { drawId, drawRoot, keysOfRoot, wrapKeys, type KdfCost } from '../../crypto/keys.ts';
import { openBucketUrl, sealBucketUrl } from '../../crypto/texts.ts';
import { signKeyring } from '../../crypto/signing.ts';
import { invalidInput, isVaultError, VaultError } from '../../errors.ts';
import { typedWord } from '../../shell-word.ts';
import type { Bucket } from '../../buckets/bucket.ts';
import type { Catalog, VaultRow } from '../../catalog/catalog.ts';
import { DEFAULT_CHUNK_SIZE, MAX_CHUNK_SIZE, MIN_CHUNK_SIZE } from '../../format/limits.ts';
import { keyringObjectName } from '../../format/keyring.ts';
import type { Compression, Keyring } from '../../format/keyring.ts';
import { encodeMarker, MARKER_NAME } from '../../format/marker.ts';
import { formatRedundancy, isRedundancy, type Redundancy } from '../../format/shard.ts';
import { readMarker, type BucketOpener } from '../buckets/bucket-set.ts';
import { keyringNames } from '../keys/keyring-copies.ts';
import { unlock, type Unlocked } from '../keys/unlock.ts';

export interface NewVault {
  readonly catalog: Catalog;
  /** URLs of the buckets, normalised; at least k + m. */
  readonly urls: readonly string[];
  readonly opener: BucketOpener;
  /** Null: what suits the number of buckets. */
  readonly redundancy: Redundancy | null;
  /** Bytes; 2 MiB unless given. */
  readonly chunkSize?: number | undefined;
  /** `auto` unless given. */
  readonly compression?: Compression | undefined;
  readonly password: string;
  /** What the first keyslot is called. */
  readonly label?: string | undefined;
  /** Argon2id's costs; for tests, which make many vaults. */
  readonly kdfCost?: KdfCost | undefined;
  readonly nowMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** The redundancy for a number of buckets if none is asked for: any one bucket can be lost as soon as there are two. */
export function defaultRedundancy(buckets: number): Redundancy {
  if (buckets <= 1) return { k: 1, m: 0 };
  return buckets === 2 ? { k: 1, m: 1 } : { k: 2, m: 1 };
}

/** One bucket of a vault that is being made. */
interface NewBucket {
  readonly id: string;
  readonly url: string;
  readonly bucket: Bucket;
}

/**
 * Makes a vault: the catalog first, so that a making that was killed can be finished by repeating it; then the markers, of which two
 * makings at once let one have the bucket; then the keyring. If anything fails, what was stored is taken away again.
 *
 * @returns what opens the vault
 * @throws `already-exists` if the catalog has a vault or a bucket belongs to one; `invalid-input` if there are too few buckets
 *   for the redundancy; what a bucket says if it cannot be used. No vault has been made then
 */
export async function createVault(options: NewVault): Promise<Unlocked> {
  const redundancy = options.redundancy ?? defaultRedundancy(options.urls.length);
  checkSettings(options, redundancy);
  const existing = await options.catalog.setup.vault();
  const opened: NewBucket[] = [];
  try {
    for (const url of options.urls) opened.push({ id: drawId(), url, bucket: await options.opener(url) });
    if (existing !== null) return await finishCreation(existing, opened, options);
    for (const { url, bucket } of opened) await requireUnused(url, bucket, options.signal);
    return await makeVault(opened, redundancy, options);
  } finally {
    await Promise.allSettled(opened.map(({ bucket }) => bucket.close()));
  }
}

async function makeVault(
  opened: readonly NewBucket[],
  redundancy: Redundancy,
  options: NewVault,
): Promise<Unlocked> {
  const { signal } = options;
  const vaultId = drawId();
  const keys = keysOfRoot(drawRoot(), { vaultId, rootNumber: 1, writer: drawId() });
  const slot = await wrapKeys(keys, options.password, {
    role: 'full',
    createdAtMs: options.nowMs,
    label: options.label ?? '',
    cost: options.kdfCost,
  });
  const keyring: Keyring = {
    vaultId,
    epoch: 1,
    previous: null,
    root: 1,
    roots: [],
    redundancy,
    chunkSize: options.chunkSize ?? DEFAULT_CHUNK_SIZE,
    compression: options.compression ?? 'auto',
    buckets: opened.map(({ id, url }) => ({
      id,
      state: 'active' as const,
      url: sealBucketUrl(keys, id, url),
    })),
    slots: [slot],
    former: [],
  };
  const bytes = signKeyring(keys, keyring);
  try {
    await options.catalog.setup.create({ id: vaultId, epoch: 1, keyring: bytes, writer: keys.writer.id });
    for (const { id, url, bucket } of opened) {
      await putMarker(bucket, url, { vaultId, bucketId: id }, signal);
    }
    for (const { bucket } of opened) await storeFirstKeyring(bucket, bytes, signal);
    return { keys, keyring, bytes };
  } catch (error) {
    // What went wrong first counts, not what its clean-up says.
    await undo(opened, { vaultId, bytes, catalog: options.catalog }).catch(() => undefined);
    throw error;
  }
}

/**
 * Takes away what a making has stored, and nothing that somebody else has: an answer that was lost leaves open which. If a bucket does
 * not let go of it, the catalog keeps the vault, so that repeating the making finishes it.
 */
async function undo(
  opened: readonly NewBucket[],
  made: { readonly vaultId: string; readonly bytes: Uint8Array; readonly catalog: Catalog },
): Promise<void> {
  const { vaultId, bytes, catalog } = made;
  const name = keyringObjectName(1);
  const results = await Promise.allSettled(
    opened.map(async ({ bucket }) => {
      const marker = await readMarker(bucket);
      if (marker?.vaultId !== vaultId) return;
      const copy = await getIfThere(bucket, name, bytes.length);
      if (copy !== null && Buffer.compare(copy, bytes) === 0) await bucket.remove(name);
      await bucket.remove(MARKER_NAME);
    }),
  );
  if (results.some(({ status }) => status === 'rejected')) return;
  if ((await catalog.setup.vault())?.id === vaultId) await catalog.setup.clear();
}

async function getIfThere(bucket: Bucket, name: string, maxSize: number): Promise<Uint8Array | null> {
  try {
    return await bucket.get(name, { maxSize });
  } catch (error) {
    // A larger one is not what was stored here.
    if (isVaultError(error, 'object-missing', 'damaged')) return null;
    throw error;
  }
}

/** Finishes a making that was killed: the catalog has the vault, but not every bucket its marker and keyring. */
async function finishCreation(
  vault: VaultRow,
  opened: readonly NewBucket[],
  options: NewVault,
): Promise<Unlocked> {
  const { catalog, signal } = options;
  const refusal = vaultExists(catalog);
  const { files, hidden } = await catalog.files.counts();
  if (files + hidden > 0 || vault.epoch > 1) throw refusal;
  const { unlocked, ids } = await reopen(vault, options);
  if (ids.size !== opened.length || !opened.every(({ url }) => ids.has(url)))
    throw vaultExists(catalog, maybeBegun(` (${[...ids.keys()].join(', ')})`));
  // Everything is looked at before anything is stored.
  const missing: NewBucket[] = [];
  for (const { url, bucket } of opened) {
    const id = ids.get(url) ?? '';
    const marker = await readMarker(bucket, signal);
    if (marker !== null && (marker.bucketId !== id || marker.vaultId !== vault.id)) throw refusal;
    const keyrings = await keyringNames(bucket, signal);
    // A vault whose keyring has changed was made long ago.
    if (keyrings.some((name) => name !== keyringObjectName(1))) throw refusal;
    if (marker === null || keyrings.length === 0) missing.push({ id, url, bucket });
  }
  if (missing.length === 0) throw refusal;
  requireSameSettings(options, unlocked.keyring);
  for (const { id, url, bucket } of missing) {
    await putMarker(bucket, url, { vaultId: vault.id, bucketId: id }, signal);
    await storeFirstKeyring(bucket, vault.keyring, signal);
  }
  return unlocked;
}

/** @throws `already-exists` if this is not a vault that the same password has begun to make */
async function reopen(
  vault: VaultRow,
  options: NewVault,
): Promise<{ readonly unlocked: Unlocked; readonly ids: ReadonlyMap<string, string> }> {
  try {
    const unlocked = await unlock([vault.keyring], options.password, { vaultId: vault.id });
    const { buckets } = unlocked.keyring;
    return { unlocked, ids: new Map(buckets.map((one) => [openBucketUrl(unlocked.keys, one), one.id])) };
  } catch (error) {
    if (isVaultError(error, 'interrupted')) throw error;
    throw vaultExists(options.catalog, maybeBegun());
  }
}

function requireSameSettings(options: NewVault, keyring: Keyring): void {
  const { redundancy, chunkSize, compression } = options;
  const same =
    (redundancy === null || formatRedundancy(redundancy) === formatRedundancy(keyring.redundancy)) &&
    (chunkSize ?? keyring.chunkSize) === keyring.chunkSize &&
    (compression ?? keyring.compression) === keyring.compression;
  if (same) return;
  throw invalidInput(
    `Creating this vault was interrupted, with redundancy ${formatRedundancy(keyring.redundancy)} and other settings than these. Repeat it with the settings that it was begun with, and change them then.`,
  );
}

function checkSettings({ urls, chunkSize = DEFAULT_CHUNK_SIZE }: NewVault, redundancy: Redundancy): void {
  for (const [at, url] of urls.entries()) {
    const others = urls.slice(0, at);
    const same = others.find((other) => isSamePlace(url, other));
    if (same !== undefined) {
      const both = same === url ? url : `${same} and ${url}`;
      throw invalidInput(`The same bucket is given twice: ${both}. Each shard needs a place of its own.`);
    }
    requireApart(url, others);
  }
  if (chunkSize < MIN_CHUNK_SIZE || chunkSize > MAX_CHUNK_SIZE) {
    throw invalidInput(`A chunk has 64 KiB to 64 MiB; ${chunkSize} bytes were asked for.`);
  }
  const needed = redundancy.k + redundancy.m;
  if (!isRedundancy(redundancy) || urls.length < needed) {
    throw invalidInput(
      `Redundancy ${formatRedundancy(redundancy)} needs ${needed} buckets or more, and ${urls.length} were given. Add buckets or choose another --redundancy.`,
    );
  }
}

/** @throws `invalid-input` if a bucket lies within one of the others, or one within it: what loses the outer one loses both */
export function requireApart(url: string, others: readonly string[]): void {
  for (const other of others) {
    const [[a, endpointA], [b, endpointB]] = [placeOf(url), placeOf(other)];
    if (endpointA !== endpointB || !(a.startsWith(b) || b.startsWith(a))) continue;
    const [inner, outer] = a.length > b.length ? [url, other] : [other, url];
    throw invalidInput(
      `${inner} lies within ${outer}: whatever loses that would lose two buckets at once. Each needs a place of its own.`,
    );
  }
}

/** Whether two URLs are of one bucket: the same place, reached in another way. */
export function isSamePlace(one: string, other: string): boolean {
  const [[a, endpointA], [b, endpointB]] = [placeOf(one), placeOf(other)];
  return a === b && endpointA === endpointB;
}

/** Where a bucket lies, up to a slash, and at which service. */
function placeOf(url: string): readonly [place: string, endpoint: string | null] {
  const [place = '', query] = url.split('?');
  return [place.replace(/\/?$/, '/'), new URLSearchParams(query).get('endpoint')];
}

/** The refusal to make a vault where one is. @param more what else can be done */
export function vaultExists(catalog: Pick<Catalog, 'label'>, more = ''): VaultError {
  return new VaultError(
    'already-exists',
    `There is a vault already: ${catalog.label} describes one. Use another --db for a second vault.${more}`,
  );
}

/** Of a vault without files that was begun otherwise. @param buckets those that it was begun with, where that is known */
function maybeBegun(buckets = ''): string {
  return ` If making this one was interrupted, repeat "vault init" with the same password and buckets${buckets} to finish it, or delete that catalog to begin anew.`;
}

/** Refuses a bucket that belongs to a vault, also one that has lost its marker. */
async function requireUnused(url: string, bucket: Bucket, signal: AbortSignal | undefined): Promise<void> {
  const marker = await readMarker(bucket, signal);
  if (marker === null && (await keyringNames(bucket, signal)).length === 0) return;
  throw new VaultError(
    'already-exists',
    `${url} belongs to a vault already. To use that vault here, rebuild its catalog: vault recover --bucket ${typedWord(url)}`,
  );
}

/** Makes a place a vault's bucket. @throws `already-exists` if somebody else has just done so */
export async function putMarker(
  bucket: Bucket,
  url: string,
  marker: { readonly vaultId: string; readonly bucketId: string },
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await bucket.put(MARKER_NAME, encodeMarker(marker), { signal });
  } catch (error) {
    if (!isVaultError(error, 'already-exists')) throw error;
    throw new VaultError(
      'already-exists',
      `${url} is the same place as another of the given buckets, or has just become part of another vault.`,
      { cause: error },
    );
  }
}

async function storeFirstKeyring(
  bucket: Bucket,
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  const name = keyringObjectName(1);
  await bucket.put(name, bytes, { signal });
  await requireKept(bucket, { name, bytes }, signal);
}

/** Sees that what was stored is to be had again: a bucket that can only be written to is of no use. @throws `damaged` */
export async function requireKept(
  bucket: Bucket,
  { name, bytes }: { readonly name: string; readonly bytes: Uint8Array },
  signal: AbortSignal | undefined,
): Promise<void> {
  let listed = false;
  for await (const object of bucket.list(name, { signal })) listed ||= object.name === name;
  const stored = listed ? await bucket.get(name, { signal, maxSize: bytes.length }) : null;
  if (stored !== null && Buffer.compare(stored, bytes) === 0) return;
  throw new VaultError(
    'damaged',
    `${bucket.label} does not keep what is stored there: ${name} did not come back as it was.`,
  );
}
