/** Opening a vault: from a catalog, a password and a way to reach buckets to a `Vault`. */
import type { Catalog } from '../catalog/catalog.ts';
import type { Subkeys } from '../crypto/keys.ts';
import { isVaultError, VaultError } from '../errors.ts';
import { addBucket, bucketReport, setBucketUrl } from './manage/bucket-admin.ts';
import { BucketSet, VaultBucket } from './buckets/bucket-set.ts';
import type { BucketOpener } from './buckets/bucket-set.ts';
import { changePassword } from './manage/change-password.ts';
import { ChunkMemoryPool } from './chunks/chunk-memory.ts';
import type { Limits } from './chunks/chunk-memory.ts';
import { ChunkWorkers } from './chunks/chunk-workers.ts';
import { removeBucket } from './manage/drain.ts';
import { openFileRow } from './files/files.ts';
import { getFile } from './read/get.ts';
import { inspectFile } from './read/inspect.ts';
import { putFile } from './write/put.ts';
import { removeFiles } from './remove/remove.ts';
import { repairVault } from './repair/repair.ts';
import { openBucketUrl, openSettings, withSignal } from './session.ts';
import type { ProcessTable, Session } from './session.ts';
import { sweep } from './remove/sweep.ts';
import { unlockVault } from './manage/unlock.ts';
import type { CallOptions, FileInfo, Vault } from './vault.ts';
import { verifyVault } from './verify/verify.ts';

export interface OpenVaultParts {
  readonly catalog: Catalog;
  readonly opener: BucketOpener;
  /** Gives the password; asked once, and only if there is a vault. */
  readonly password: () => Promise<string>;
  /** Keys that have been unlocked already, so that no password is needed. */
  readonly unlocked?: Subkeys;
  readonly processes: ProcessTable;
  readonly limits: Limits;
  /** Most threads for the arithmetic of chunks. */
  readonly threads: number;
  /** The clock; milliseconds since 1970. */
  readonly now: () => number;
}

/**
 * Opens the vault that a catalog describes. The catalog belongs to the vault from then on, and is closed with it.
 *
 * @throws `no-vault`; `wrong-password`; `damaged` if the catalog is not what this vault wrote
 */
export async function openVaultFrom(parts: OpenVaultParts): Promise<Vault> {
  const session = await openSession(parts);
  return vaultOf(session);
}

/** The session of an opened vault, for operations that need more than `Vault` shows. */
export async function openSession(parts: OpenVaultParts): Promise<Session> {
  const { catalog, opener } = parts;
  const row = await catalog.vault();
  if (row === null) {
    throw new VaultError(
      'no-vault',
      `There is no vault in ${catalog.label}. Make one with "vault init", or rebuild its catalog from the buckets with "vault recover".`,
    );
  }
  const keys = parts.unlocked ?? (await unlockVault(catalog, row.id, await parts.password()));
  const loadBuckets = async (): Promise<VaultBucket[]> =>
    (await catalog.buckets()).map((bucket) => {
      const url = openBucketUrl(keys, bucket.id, bucket.record);
      return new VaultBucket(bucket, { url, vaultId: row.id, opener });
    });
  return {
    vaultId: row.id,
    keys,
    catalog,
    opener,
    buckets: new BucketSet(await loadBuckets(), loadBuckets),
    workers: new ChunkWorkers(keys, { most: parts.threads }),
    limits: parts.limits,
    memory: new ChunkMemoryPool(parts.limits),
    processes: parts.processes,
    settings: openSettings(keys, row.settings),
    now: parts.now,
  };
}

/** The operations on a session. */
export function vaultOf(session: Session): Vault {
  const close = async (): Promise<void> => {
    await session.workers.close();
    await session.buckets.close();
    await session.catalog.close();
  };
  return {
    id: session.vaultId,
    get redundancy() {
      return session.settings.redundancy;
    },
    put: (source, options) => putFile(session, source, options),
    get: (reference, options) => getFile(session, reference, options),
    list: (options) => listFiles(session, options),
    remove: (references, options) => removeFiles(session, references, options),
    sweep: (options) => sweep(session, options),
    inspect: (reference, options) => inspectFile(session, reference, options),
    verify: (options) => verifyVault(session, options),
    repair: (options) => repairVault(session, options),
    buckets: () => session.buckets.all.map(({ id, url, state }) => ({ id, url, state })),
    bucketReport: (options) => bucketReport(session, options),
    addBucket: (url, options) => addBucket(session, url, options),
    removeBucket: (reference, options) => removeBucket(session, reference, options),
    setBucketUrl: (reference, url, options) => setBucketUrl(session, reference, url, options),
    changePassword: (change) => changePassword(session, change),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function* listFiles(
  session: Session,
  options: CallOptions & { readonly all?: boolean } = {},
): AsyncGenerator<FileInfo, void, undefined> {
  const { all = false, signal } = options;
  let damaged = 0;
  let first: VaultError | null = null;
  for await (const row of session.catalog.listFiles({ all, ...withSignal(signal) })) {
    let info: FileInfo;
    try {
      ({ info } = openFileRow(session, row));
    } catch (error) {
      if (!isVaultError(error, 'damaged')) throw error;
      damaged += 1;
      first ??= error;
      continue;
    }
    yield info;
  }
  if (first === null) return;
  if (damaged === 1) throw first;
  throw new VaultError('damaged', `${damaged} files cannot be listed. ${first.message}`, { cause: first });
}
