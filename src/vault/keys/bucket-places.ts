/**
 * Where the vault's buckets are. The keyring says it, to every machine; a catalog may say otherwise for its own machine, such as a
 * folder that is mounted elsewhere there.
 */
import { openRecord, sealRecord } from '../../crypto/records.ts';
import { openBucketUrl } from '../../crypto/texts.ts';
import type { VaultKeys } from '../../crypto/keys.ts';
import { isVaultError } from '../../errors.ts';
import type { Keyring } from '../../format/keyring.ts';
import type { BucketRow, Catalog } from '../../catalog/catalog.ts';
import { VaultBucket, type BucketOpener } from '../buckets/bucket-set.ts';

/** What it takes to find the buckets of a keyring. */
export interface BucketPlaces {
  readonly vaultId: string;
  readonly keys: VaultKeys;
  readonly catalog: Catalog;
  readonly opener: BucketOpener;
}

/**
 * The buckets that a keyring names, by their numbers in the catalog, which gets rows of those it does not know yet.
 *
 * @throws what the catalog says; `damaged` if a URL in the keyring was not sealed for its bucket
 */
export async function bucketsOf(places: BucketPlaces, keyring: Keyring): Promise<VaultBucket[]> {
  const { vaultId, keys, opener } = places;
  const { setup } = places.catalog;
  const rows = new Map((await setup.buckets()).map((row) => [row.id, row]));
  const buckets: VaultBucket[] = [];
  // The keyring is signed and says which buckets there are; a row beside it is a leftover, or forged.
  for (const bucket of keyring.buckets) {
    const { id, state } = bucket;
    const row = rows.get(id);
    const number = row?.number ?? (await numberOf(places, id, buckets.length));
    const url = (row === undefined ? null : openPlace(keys, row)) ?? openBucketUrl(keys, bucket);
    buckets.push(new VaultBucket({ number, id, state, url }, { vaultId, opener }));
  }
  return buckets;
}

/** The number of a bucket that the catalog gets to know. */
async function numberOf({ keys, catalog }: BucketPlaces, id: string, at: number): Promise<number> {
  try {
    return await catalog.setup.putBucket({ id, record: sealPlace(keys, id, null) });
  } catch (error) {
    if (keys.full !== null || !isVaultError(error, 'denied')) throw error;
    // The database lets it add files alone. It stores no numbers, so any that no bucket can have will do.
    return -1 - at;
  }
}

/** Says in the catalog where a bucket is for this machine. @param url null: where the keyring says */
export async function putPlace(
  { keys, catalog }: Pick<BucketPlaces, 'keys' | 'catalog'>,
  id: string,
  url: string | null,
): Promise<void> {
  await catalog.setup.putBucket({ id, record: sealPlace(keys, id, url) });
}

function sealPlace(keys: VaultKeys, id: string, url: string | null): Buffer {
  return sealRecord(placesKey(keys), `bucket ${id}`, { url });
}

/** Not `urls`, which whoever can only store has as well: it could send others to buckets of its own. */
function placesKey({ full, writer }: VaultKeys): Buffer {
  return (full ?? writer).catalog;
}

/** Where the catalog says that a bucket is; null: where the keyring says, also for a row that was changed by somebody else. */
export function openPlace(keys: VaultKeys, row: Pick<BucketRow, 'id' | 'record'>): string | null {
  let value: unknown;
  try {
    value = openRecord(placesKey(keys), `bucket ${row.id}`, row.record);
  } catch (error) {
    if (!isVaultError(error, 'damaged')) throw error;
    return null;
  }
  if (typeof value !== 'object' || value === null || !('url' in value)) return null;
  return typeof value.url === 'string' ? value.url : null;
}
