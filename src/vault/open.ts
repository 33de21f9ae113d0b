/** Opening a vault: from a catalog, a password and a way to reach buckets to a session. */
import type { Catalog, VaultRow } from '../catalog/catalog.ts';
import { openAsking, type PasswordGiver } from '../crypto/asked-password.ts';
import { VaultError } from '../errors.ts';
import { keyringRank } from '../format/keyring.ts';
import type { Host } from '../host.ts';
import { BucketSet, type BucketOpener } from './buckets/bucket-set.ts';
import { ChunkMemoryPool, type Limits } from './chunks/chunk-memory.ts';
import { ChunkWorkers } from './chunks/chunk-workers.ts';
import { bucketsOf } from './keys/bucket-places.ts';
import { verifiedOrNull } from './keys/keyring-copies.ts';
import { manifestKeys } from './keys/session-keys.ts';
import { unlock, type Unlocked } from './keys/unlock.ts';
import type { KeyringState, LocalPlaces, Session } from './session.ts';
import { MarkerGuard } from './protocol/put-guard.ts';

/** Threads for the arithmetic of chunks: more would wait for memory. */
const MOST_THREADS = 8;

const NOWHERE = { catalog: null, bucketFolder: () => null, inBuckets: [] };

export interface OpenVaultParts {
  readonly catalog: Catalog;
  readonly opener: BucketOpener;
  /** Gives the password; asked only if there is a vault. */
  readonly password: PasswordGiver;
  /** How often it is asked for while it is wrong; once unless given. */
  readonly passwordTries?: number | undefined;
  /** What has been unlocked already, so that no password is needed. */
  readonly unlocked?: Unlocked | undefined;
  readonly limits: Limits;
  /** Where this machine remembers what it has stored of folders; nowhere unless given. */
  readonly logFolder?: string | null | undefined;
  /** Where on this machine the vault lies itself; on no disk of it unless given. */
  readonly places?: Omit<LocalPlaces, 'log'> | undefined;
  readonly host: Pick<Host, 'clock' | 'threads'>;
}

/** Over a network the main thread has a processor's work of its own: one thread more took a tenth more of its time, and made nothing faster. */
function threadsFor(
  buckets: readonly { readonly url: string }[],
  { threads }: Pick<Host, 'threads'>,
): number {
  const isFar = buckets.some(({ url }) => !url.startsWith('file:'));
  return isFar ? Math.max(1, threads - 1) : threads;
}

/**
 * The session of the vault that a catalog describes.
 *
 * @throws `no-vault`; `wrong-password`; `damaged` if the catalog is not what this vault wrote
 */
export async function openSession(parts: OpenVaultParts): Promise<Session> {
  const { catalog, opener } = parts;
  const row = await catalog.setup.vault();
  if (row === null) throw noVault(catalog.label);
  const unlocked =
    parts.unlocked ??
    (await openAsking({ give: parts.password, tries: parts.passwordTries }, (password) =>
      unlock([row.keyring], password, {
        vaultId: row.id,
        hint: row.writer,
        advice:
          ' If it was set elsewhere, "vault recover --bucket <url>" adds it to the catalog here; if it has been changed since, give the one that replaced it.',
      }),
    ));
  const { keys } = unlocked;
  const { keyring, bytes } = newer(unlocked, row);
  const buckets = await bucketsOf({ vaultId: row.id, keys, catalog, opener }, keyring);
  const guard = new MarkerGuard();
  const session: Session = {
    vaultId: row.id,
    catalog,
    opener,
    buckets: new BucketSet(buckets),
    workers: new ChunkWorkers({ most: Math.min(MOST_THREADS, threadsFor(buckets, parts.host)) }),
    limits: parts.limits,
    memory: new ChunkMemoryPool(parts.limits),
    ...manifestKeys(keys),
    guard,
    keyring: { keyring, bytes },
    logFolder: parts.logFolder ?? null,
    places: { ...(parts.places ?? NOWHERE), log: parts.logFolder ?? null },
    clock: parts.host.clock,
  };
  guard.attach(session);
  return session;
}

/** @param label what to call the catalog */
export function noVault(label: string): VaultError {
  return new VaultError(
    'no-vault',
    `There is no vault in ${label}. Make one with "vault init", or rebuild its catalog from the buckets with "vault recover".`,
  );
}

/** What was unlocked, or the keyring that the catalog remembers, if that is a newer one of this vault. */
function newer({ keys, keyring, bytes }: Unlocked, row: VaultRow): KeyringState {
  const known = row.epoch > keyringRank(keyring) ? verifiedOrNull(keys, row.keyring) : null;
  return known === null || known.root !== keyring.root || known.epoch <= keyring.epoch
    ? { keyring, bytes }
    : { keyring: known, bytes: row.keyring };
}
