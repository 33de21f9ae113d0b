/**
 * A vault, opened: one root secret, its buckets, its catalog. This is the library's surface and all that the command line and the
 * server use.
 */
import type { Keyring } from '../format/keyring.ts';
import type { Redundancy } from '../format/shard.ts';
import type { CallOptions } from './call.ts';
import type { BucketPlace } from './buckets/bucket-set.ts';
import { openSession } from './open.ts';
import type { OpenVaultParts } from './open.ts';
import { getFile } from './read/get.ts';
import type { GetOptions, StoredFile } from './read/get.ts';
import { inspectFile } from './read/inspect.ts';
import type { FileDetails } from './read/inspect.ts';
import { listFiles } from './read/list.ts';
import type { ListedFile, ListOptions } from './read/list.ts';
import { removeFiles, undeleteFiles } from './remove/rm.ts';
import type { RemoveOptions, RemoveResult, UndeleteResult } from './remove/rm.ts';
import { sweep } from './remove/sweep.ts';
import type { SweepOptions, SweepResult } from './remove/sweep.ts';
import type { Session } from './session.ts';
import type { VerifyResult } from './verify/condition.ts';
import { verifyVault } from './verify/verify.ts';
import type { VerifyOptions } from './verify/verify.ts';
import { putFile } from './write/put.ts';
import type { PutOptions, PutResult } from './write/put.ts';
import type { FileSource } from './write/file-source.ts';

/** A bucket of a vault, for people. */
export type BucketInfo = Omit<BucketPlace, 'number'>;

export class Vault implements AsyncDisposable {
  readonly #session: Session;

  /** @param session is the vault's from then on, and closed with it */
  constructor(session: Session) {
    this.#session = session;
  }

  /**
   * Opens the vault that a catalog describes. The catalog belongs to the vault from then on.
   *
   * @throws `no-vault`; `wrong-password`; `damaged` if the catalog is not what this vault wrote
   */
  static async open(parts: OpenVaultParts): Promise<Vault> {
    return new Vault(await openSession(parts));
  }

  /** 32 hex digits. */
  get id(): string {
    return this.#session.vaultId;
  }

  /** What new files are stored with. */
  get redundancy(): Redundancy {
    return this.#session.keyring.keyring.redundancy;
  }

  /** The vault's defaults for new files. */
  get defaults(): Pick<Keyring, 'chunkSize' | 'compression'> {
    const { chunkSize, compression } = this.#session.keyring.keyring;
    return { chunkSize, compression };
  }

  /** The vault's buckets, without asking them. */
  get buckets(): readonly BucketInfo[] {
    return this.#session.buckets.all.map(({ id, url, state }) => ({ id, url, state }));
  }

  /**
   * Encrypts, codes and stores a file, and makes it visible when all of it is durable.
   *
   * Killed at any instant it leaves no listed file that cannot be read; repeated, it does not store again what was stored.
   *
   * @param source the bytes; `fileSource` and `streamSource` make one
   * @throws `invalid-input` for an impossible name or chunk size; `file-not-found` and `source-changed` from the
   *   source; `unavailable` if fewer than k buckets take shards; `storage-full`; `denied`; `interrupted`
   */
  put(source: FileSource, options: PutOptions): Promise<PutResult> {
    return putFile(this.#session, source, options);
  }

  /**
   * Finds a file and reads its manifest, which proves everything it says.
   *
   * @param reference hash, unique prefix of it (8 or more digits), or name (then the newest of that name)
   * @throws `file-not-found`; `invalid-input` if a prefix fits several files; `damaged` if no bucket has an intact
   *   manifest; `unavailable` if the buckets that may have one cannot be reached; `wrong-password` for a locked file
   */
  get(reference: string, options?: GetOptions): Promise<StoredFile> {
    return getFile(this.#session, reference, options);
  }

  /**
   * Files, newest first; of several versions of a name the newest, unless `all`.
   *
   * @throws `damaged` after the last file, if the catalog's records of others have been changed
   */
  list(options?: ListOptions): AsyncIterable<ListedFile> {
    return listFiles(this.#session, options);
  }

  /** A file's facts and where its shards lie, without reading them. */
  inspect(reference: string, options?: CallOptions): Promise<FileDetails> {
    return inspectFile(this.#session, reference, options);
  }

  /**
   * Hides files at once. They can be brought back until their grace is over; then a sweep removes what no other file shares.
   *
   * @param references as for `get`; a name means its newest version, with `allVersions` all of them
   * @throws `file-not-found` if any is unknown; then none is removed
   */
  remove(references: readonly string[], options?: RemoveOptions): Promise<RemoveResult> {
    return removeFiles(this.#session, references, options);
  }

  /**
   * Brings removed files back.
   *
   * @param references hash, prefix or name of removed files; a name means the one that was stored last
   * @throws `file-not-found` if any is unknown, or a part of it is gone
   */
  undelete(references: readonly string[], options?: CallOptions): Promise<UndeleteResult> {
    return undeleteFiles(this.#session, references, options);
  }

  /**
   * Removes what nothing needs: files whose grace is over, what dead puts left, what repairs replaced; and hides files that have
   * expired. Safe beside running puts and other sweeps. Nothing goes unless every bucket lists completely.
   */
  sweep(options?: SweepOptions): Promise<SweepResult> {
    return sweep(this.#session, options);
  }

  /**
   * Looks whether everything is there: by listings alone, or by reading it. The buckets are believed, the catalog is compared with
   * them and catches up; nothing is written to a bucket.
   *
   * @throws `file-not-found`; `unavailable` (or what they said) if no bucket can be asked
   */
  verify(options: VerifyOptions): Promise<VerifyResult> {
    return verifyVault(this.#session, options);
  }

  /** Ends workers and connections, and takes the marker of puts away. Operations after it are a bug. */
  async close(): Promise<void> {
    await this.#session.guard.end().catch(() => undefined);
    await this.#session.workers.close();
    await this.#session.buckets.close();
    await this.#session.catalog.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
