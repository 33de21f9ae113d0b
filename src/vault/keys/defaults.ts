/** The vault's defaults: they stand in the keyring, so that every bucket knows them. */
import type { Keyring } from '../../format/keyring.ts';
import type { CallOptions } from '../call.ts';
import type { Session } from '../session.ts';
import { changeKeyring } from './keyring-store.ts';

/** What new files are stored with; what is stored already stays until `repair` codes it anew. */
export type VaultDefaults = Pick<Keyring, 'redundancy' | 'chunkSize' | 'compression'>;

/** Changes the vault's defaults. @returns whether anything was changed */
export function changeDefaults(
  session: Session,
  defaults: Partial<VaultDefaults>,
  { signal, onWarning }: CallOptions = {},
): Promise<boolean> {
  return changeKeyring(
    session,
    (keyring) => {
      const next = { ...keyring, ...defaults };
      return JSON.stringify(defaultsOf(next)) === JSON.stringify(defaultsOf(keyring)) ? null : next;
    },
    { all: false, onWarning, signal },
  );
}

function defaultsOf({ redundancy, chunkSize, compression }: VaultDefaults): VaultDefaults {
  return { redundancy: { k: redundancy.k, m: redundancy.m }, chunkSize, compression };
}
