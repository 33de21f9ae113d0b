/** The vault's defaults: they stand in the keyring, so that every bucket knows them. */
import { invalidInput } from '../../errors.ts';
import type { Keyring } from '../../format/keyring.ts';
import { formatRedundancy, isRedundancy } from '../../format/shard.ts';
import type { Redundancy } from '../../format/shard.ts';
import type { CallOptions } from '../call.ts';
import type { Session } from '../session.ts';
import { changeKeyring } from './keyring-store.ts';

/** What new files are stored with; what is stored already stays until `repair` codes it anew. */
export type VaultDefaults = Pick<Keyring, 'redundancy' | 'chunkSize' | 'compression'>;

/**
 * Changes the vault's defaults.
 *
 * @returns whether anything was changed
 * @throws `invalid-input` for a redundancy that needs more buckets than take new shards
 */
export function changeDefaults(
  session: Session,
  defaults: Partial<VaultDefaults>,
  { signal, onWarning }: CallOptions = {},
): Promise<boolean> {
  return changeKeyring(
    session,
    (keyring) => {
      const next = { ...keyring, ...defaults };
      if (JSON.stringify(defaultsOf(next)) === JSON.stringify(defaultsOf(keyring))) return null;
      // One may be leaving by now.
      if (defaults.redundancy !== undefined) requireBuckets(keyring, defaults.redundancy);
      return next;
    },
    { all: false, onWarning, signal },
  );
}

/** @throws `invalid-input` for a redundancy that there cannot be, or not with the buckets that take new shards */
export function requireBuckets({ buckets }: Pick<Keyring, 'buckets'>, redundancy: Redundancy): void {
  const { k, m } = redundancy;
  const active = buckets.filter(({ state }) => state === 'active').length;
  if (isRedundancy(redundancy) && active >= k + m) return;
  throw invalidInput(
    `Redundancy ${formatRedundancy(redundancy)} needs ${k + m} buckets, and the vault has ${active}. Add some: vault bucket add`,
  );
}

function defaultsOf({ redundancy, chunkSize, compression }: VaultDefaults): VaultDefaults {
  return { redundancy: { k: redundancy.k, m: redundancy.m }, chunkSize, compression };
}
