/** Making a vault: one that is there is never overwritten, and a making that was cut short can be repeated. */
import type { Catalog, KeyslotRow, VaultRow } from '../../catalog/catalog.ts';
import { deriveSubkeys, drawId, drawMasterKey, wrapMasterKey } from '../../crypto/keys.ts';
import type { Subkeys } from '../../crypto/keys.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { encodeKeyslot, encodeMarker, keyslotObjectName, MARKER_NAME } from '../../format/keyslot.ts';
import type { KdfCost, Marker } from '../../format/keyslot.ts';
import { formatRedundancy, isRedundancy } from '../../format/shard.ts';
import type { Redundancy } from '../../format/shard.ts';
import { readMarker } from '../buckets/bucket-set.ts';
import type { BucketOpener } from '../buckets/bucket-set.ts';
import { openBucketUrl, sealBucketUrl, sealSettings, withSignal } from '../session.ts';
import { unlockVault } from './unlock.ts';

export interface NewVault {
  readonly catalog: Catalog;
  /** URLs of the buckets, normalised; at least k + m. */
  readonly urls: readonly string[];
  readonly opener: BucketOpener;
  /** Null: what suits the number of buckets. */
  readonly redundancy: Redundancy | null;
  readonly password: string;
  /** Argon2id's costs; for tests, which make many vaults. */
  readonly kdfCost?: KdfCost;
  readonly nowMs: number;
  readonly signal?: AbortSignal;
}

/** The redundancy for a number of buckets if none is asked for: any one bucket can be lost as soon as there are two. */
export function defaultRedundancy(buckets: number): Redundancy {
  if (buckets <= 1) return { k: 1, m: 0 };
  return buckets === 2 ? { k: 1, m: 1 } : { k: 2, m: 1 };
}

/**
 * Makes a vault. Keyslots go into the buckets first, which shows that they can be written to; then the catalog; then the
 * markers, which make the buckets the vault's. A making that was cut short after the catalog is finished by
 * repeating it with the same buckets and password.
 *
 * @returns the vault's id
 * @throws `already-exists` if the catalog has a vault or a bucket belongs to one; `invalid-input` if there are too few buckets
 *   for the redundancy; what a bucket says if it cannot be used. No vault has been made then
 */
export async function createVault(options: NewVault): Promise<string> {
  const redundancy = options.redundancy ?? defaultRedundancy(options.urls.length);
  checkBuckets(options.urls, redundancy);
  const existing = await options.catalog.vault();
  if (existing !== null) return finishCreation(existing, options);

  for (const url of options.urls) await requireUnused(url, options);
  const vaultId = drawId();
  const masterKey = drawMasterKey();
  const keys = deriveSubkeys(masterKey, vaultId);
  const keyslot = await wrapMasterKey(masterKey, options.password, {
    vaultId,
    createdAtMs: options.nowMs,
    ...(options.kdfCost === undefined ? {} : { cost: options.kdfCost }),
  });
  const slot = { id: keyslot.id, body: encodeKeyslot(keyslot) };
  await spreadKeyslot(slot, options);
  await options.catalog.create({ id: vaultId, settings: sealSettings(keys, { redundancy }) }, [slot]);
  await addBuckets(keys, options.urls, options);
  return vaultId;
}

function checkBuckets(urls: readonly string[], redundancy: Redundancy): void {
  if (new Set(urls).size !== urls.length) {
    throw new VaultError(
      'invalid-input',
      'The same bucket is given twice. Each shard needs a place of its own.',
    );
  }
  const needed = redundancy.k + redundancy.m;
  if (!isRedundancy(redundancy) || urls.length < needed) {
    throw new VaultError(
      'invalid-input',
      `Redundancy ${formatRedundancy(redundancy)} needs ${needed} buckets or more, and ${urls.length} were given. Add buckets or choose another --redundancy.`,
    );
  }
}

/** The refusal to make a vault where one is. */
export function vaultExists(catalog: Catalog, cause?: unknown): VaultError {
  return new VaultError(
    'already-exists',
    `There is a vault already: ${catalog.label} describes one. Use another --db for a second vault.`,
    { cause },
  );
}

/** Finishes a making that was cut short: the catalog has the vault, but not every bucket its marker. */
async function finishCreation(vault: VaultRow, options: NewVault): Promise<string> {
  const refuse = (cause?: unknown): VaultError => vaultExists(options.catalog, cause);
  const { files } = await options.catalog.counts();
  if (files > 0) throw refuse();
  let keys: Subkeys;
  let recorded: { readonly id: string; readonly url: string }[];
  try {
    keys = await unlockVault(options.catalog, vault.id, options.password);
    const rows = await options.catalog.buckets();
    recorded = rows.map(({ id, record }) => ({ id, url: openBucketUrl(keys, id, record) }));
  } catch (error) {
    throw refuse(error);
  }
  const sameBuckets = recorded.every(({ url }) => options.urls.includes(url));
  const missing = options.urls.filter((url) => !recorded.some((bucket) => bucket.url === url));
  const unmarked: typeof recorded = [];
  for (const bucket of recorded) {
    const marker = await readMarker(await options.opener(bucket.url), options.signal);
    if (marker === null) unmarked.push(bucket);
  }
  if (!sameBuckets || (missing.length === 0 && unmarked.length === 0)) throw refuse();
  for (const slot of await options.catalog.keyslots()) await spreadKeyslot(slot, options);
  for (const { id, url } of unmarked) await putMarker(url, { vaultId: vault.id, bucketId: id }, options);
  await addBuckets(keys, missing, options);
  return vault.id;
}

/** Refuses a bucket that belongs to a vault. */
async function requireUnused(url: string, options: NewVault): Promise<void> {
  const marker = await readMarker(await options.opener(url), options.signal);
  if (marker !== null) {
    throw new VaultError(
      'already-exists',
      `${url} belongs to a vault already. To use that vault here, rebuild its catalog: vault recover --bucket ${url}`,
    );
  }
}

async function spreadKeyslot(slot: KeyslotRow, options: NewVault): Promise<void> {
  for (const url of options.urls) {
    const bucket = await options.opener(url);
    await bucket.put(keyslotObjectName(slot.id), slot.body, withSignal(options.signal));
  }
}

async function addBuckets(keys: Subkeys, urls: readonly string[], options: NewVault): Promise<void> {
  const added = urls.map((url) => ({ id: drawId(), url }));
  for (const { id, url } of added) {
    await options.catalog.putBucket({ id, state: 'active', record: sealBucketUrl(keys, id, url) });
  }
  for (const { id, url } of added) await putMarker(url, { vaultId: keys.vaultId, bucketId: id }, options);
}

async function putMarker(
  url: string,
  marker: Marker,
  options: Pick<NewVault, 'opener' | 'signal'>,
): Promise<void> {
  const bucket = await options.opener(url);
  try {
    await bucket.put(MARKER_NAME, encodeMarker(marker), withSignal(options.signal));
  } catch (error) {
    if (!isVaultError(error, 'already-exists')) throw error;
    throw new VaultError(
      'already-exists',
      `${url} is the same place as another of the given buckets, or has just become part of another vault.`,
      { cause: error },
    );
  }
}
