/**
 * The keyring in the buckets: one object an epoch, in every bucket. The highest valid epoch counts; a change is the next epoch,
 * created where it is absent, so that of two changes at once one wins and the other begins anew.
 */
import { objectDigest, signKeyring, verifyKeyring } from '../../crypto/signing.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { KEYRING_PREFIX, keyringObjectName, parseKeyringObjectName } from '../../format/keyring.ts';
import type { Keyring } from '../../format/keyring.ts';
import { MAX_KEYRING_SIZE } from '../../format/limits.ts';
import { openRecord } from '../../crypto/records.ts';
import type { VaultKeys } from '../../crypto/keys.ts';
import type { Bucket } from '../../buckets/bucket.ts';
import type { BucketRow } from '../../catalog/catalog.ts';
import { checkEach, tooFewBuckets, VaultBucket } from '../buckets/bucket-set.ts';
import type { BucketCheck, BucketOpener } from '../buckets/bucket-set.ts';
import { removeFrom, spread } from '../buckets/spread.ts';
import type { KeyringState, Session } from '../session.ts';

/** Epochs of one bucket that are looked at, newest first: a hostile bucket shows any number. */
const MOST_EPOCHS = 4;
/** Names of keyrings that are looked at. */
const MOST_LISTED = 10_000;
/** How often a change that meets another one begins anew. */
const MOST_TRIES = 8;

/** The keyring objects that a bucket has, newest first; damaged ones are left out. */
export async function readKeyrings(bucket: Bucket, signal?: AbortSignal): Promise<Uint8Array[]> {
  const epochs: number[] = [];
  for await (const { name } of bucket.list(KEYRING_PREFIX, { signal })) {
    const epoch = parseKeyringObjectName(name);
    if (epoch !== null) epochs.push(epoch);
    if (epochs.length > MOST_LISTED) epochs.splice(0, MOST_LISTED / 2);
  }
  const found: Uint8Array[] = [];
  for (const epoch of epochs.toReversed().slice(0, MOST_EPOCHS)) {
    try {
      found.push(await bucket.get(keyringObjectName(epoch), { maxSize: MAX_KEYRING_SIZE, signal }));
    } catch (error) {
      if (!isVaultError(error, 'damaged', 'object-missing')) throw error;
    }
  }
  return found;
}

/**
 * Takes over the newest keyring that any bucket has, and the set of buckets with it.
 *
 * @returns which buckets could be asked
 * @throws `unsupported` if the newest needs a newer version
 */
export async function refreshKeyring(session: Session, signal?: AbortSignal): Promise<BucketCheck> {
  let newest: KeyringState = session.keyring;
  const check = await checkEach(session.buckets.all, async (bucket) => {
    for (const bytes of await readKeyrings(await bucket.checked(signal), signal)) {
      const keyring = verifiedOrNull(session, bytes);
      if (keyring === null) continue;
      if (keyring.epoch > newest.keyring.epoch) newest = { keyring, bytes };
      break;
    }
  });
  if (newest !== session.keyring) await adoptKeyring(session, newest);
  else session.buckets.replace(await loadBuckets(session, newest.keyring));
  return check;
}

/** Null for what somebody else has put there. @throws `unsupported` */
function verifiedOrNull(session: Session, bytes: Uint8Array): Keyring | null {
  try {
    return verifyKeyring(session.keys, bytes);
  } catch (error) {
    if (isVaultError(error, 'damaged')) return null;
    throw error;
  }
}

async function adoptKeyring(session: Session, state: KeyringState): Promise<void> {
  await session.catalog.setup.putKeyring({ epoch: state.keyring.epoch, keyring: state.bytes });
  session.keyring = state;
  session.buckets.replace(await loadBuckets(session, state.keyring));
}

/** The buckets that the keyring names and the catalog knows the URLs of. */
export function loadBuckets(
  session: Pick<Session, 'keys' | 'catalog' | 'opener' | 'vaultId'>,
  keyring: Keyring,
): Promise<VaultBucket[]> {
  return bucketsOf(session.keys, keyring, session);
}

/** As `loadBuckets`, before there is a session. */
export async function bucketsOf(
  keys: VaultKeys,
  keyring: Keyring,
  place: Pick<Session, 'catalog' | 'opener' | 'vaultId'>,
): Promise<VaultBucket[]> {
  const states = new Map(keyring.buckets.map(({ id, state }) => [id, state]));
  return (await place.catalog.setup.buckets()).flatMap((row) => {
    const state = states.get(row.id);
    // The keyring is signed and says which buckets there are; a row beside it is a leftover, or forged.
    if (state === undefined) return [];
    const url = openBucketUrl(keys, row);
    return [new VaultBucket({ number: row.number, id: row.id, state, url }, vaultOf(place))];
  });
}

function vaultOf(place: { readonly vaultId: string; readonly opener: BucketOpener }): {
  readonly vaultId: string;
  readonly opener: BucketOpener;
} {
  return { vaultId: place.vaultId, opener: place.opener };
}

/** Where a bucket is. @throws `damaged` if the row was changed by somebody else */
export function openBucketUrl(keys: VaultKeys, row: Pick<BucketRow, 'id' | 'record'>): string {
  const value = openRecord(keys.urls, `bucket ${row.id}`, row.record);
  if (typeof value === 'object' && value !== null && 'url' in value && typeof value.url === 'string') {
    return value.url;
  }
  throw new VaultError(
    'damaged',
    'The catalog’s record of a bucket makes no sense. Rebuild the catalog in another place: vault recover',
  );
}

/**
 * Makes a change to the keyring: the next epoch, in every bucket.
 *
 * @param change from the newest keyring to what it shall be; called again when somebody else was quicker. Null: nothing to change
 * @param options `all`: whether every bucket must take it (else a bucket that cannot be reached gets it from `repair`)
 * @returns whether anything was changed
 * @throws what a bucket says that cannot be used, before anything was changed
 */
export async function changeKeyring(
  session: Session,
  change: (keyring: Keyring) => Promise<Keyring | null> | Keyring | null,
  options: { readonly all: boolean; readonly signal?: AbortSignal | undefined },
): Promise<boolean> {
  const { signal } = options;
  for (let tries = 1; tries <= MOST_TRIES; tries += 1) {
    const { usable, failed } = await refreshKeyring(session, signal);
    if (usable.length === 0 || (options.all && failed.length > 0)) {
      throw tooFewBuckets(
        'Nothing was changed, since a bucket that cannot be used would keep the old keyring.',
        failed,
      );
    }
    const before = session.keyring;
    const changed = await change(before.keyring);
    if (changed === null) return false;
    const keyring = { ...changed, epoch: before.keyring.epoch + 1, previous: objectDigest(before.bytes) };
    const bytes = signKeyring(session.keys, keyring);
    const name = keyringObjectName(keyring.epoch);
    // One bucket decides who was first: the one with the lowest number that can be used.
    const [first] = usable;
    const won = first === undefined ? null : await spread([first], { name, bytes }, { signal });
    if (won !== null && won.failed.length > 0) {
      if (won.failed.some(({ error }) => error.code !== 'already-exists')) throw won.failed[0]?.error;
      continue;
    }
    const others = usable.slice(1);
    const taken = await spread(others, { name, bytes }, { signal, replace: true });
    await adoptKeyring(session, { keyring, bytes });
    if (options.all && taken.failed.length > 0) {
      throw tooFewBuckets(
        'The keyring was changed, but not in every bucket. Repeat this, or run "vault repair".',
        taken.failed,
      );
    }
    await removeOlder(session, keyring.epoch, signal);
    return true;
  }
  throw new VaultError('unavailable', 'Others change the vault’s keyring at the same time. Try again.');
}

/** Removes the epochs before one that stands in every bucket; a bucket that cannot be reached keeps them until `repair`. */
export async function removeOlder(session: Session, epoch: number, signal?: AbortSignal): Promise<void> {
  const { usable } = await checkEach(session.buckets.all, (bucket) => bucket.checked(signal));
  const names = new Set<string>();
  for (const bucket of usable) {
    for await (const { name } of (await bucket.open()).list(KEYRING_PREFIX, { signal })) {
      const found = parseKeyringObjectName(name);
      if (found !== null && found < epoch) names.add(name);
      if (names.size === MOST_LISTED) break;
    }
  }
  for (const name of names) await removeFrom(usable, name, signal);
}
