/**
 * A vault, opened: one root secret, its buckets, its catalog. This is the library's surface and all that the command line and the
 * server use.
 */
import { requireFull } from '../crypto/keys.ts';
import type { VaultError } from '../errors.ts';
import type { Redundancy } from '../format/shard.ts';
import type { CallOptions } from './call.ts';
import { changePassword, type PasswordChange } from './keys/password.ts';
import { answer, requireStanding } from './keys/keyring-store.ts';
import { addKey, findKey, listKeys, removeKey, renameKey } from './keys/keys.ts';
import type { KeyInfo, ListedKey, NewKey, RemoveKeyOptions } from './keys/keys.ts';
import { changeDefaults, type VaultDefaults } from './keys/defaults.ts';
import { Links } from './grants/links.ts';
import { Tokens } from './grants/tokens.ts';
import { addBucket } from './manage/add-bucket.ts';
import { bucketReport, setBucketUrl } from './manage/buckets.ts';
import type { BucketInfo, BucketReport, SetBucketUrlOptions } from './manage/buckets.ts';
import { removeBucket, type RemoveBucketOptions, type RemoveBucketResult } from './manage/remove-bucket.ts';
import { openSession, type OpenVaultParts } from './open.ts';
import type { FolderSource } from './folders/folder-source.ts';
import { ownEntries, type OwnEntries } from './folders/own-places.ts';
import { findStored, type Stored } from './folders/stored-folder.ts';
import { syncFiles, type SyncResult } from './recover/recover.ts';
import { drillFiles, type DrillOptions, type DrillResult } from './recover/drill.ts';
import { getFile, type GetOptions, type StoredFile } from './read/get.ts';
import { inspectFile, type FileDetails } from './read/inspect.ts';
import { factsOf, listFiles, type FileFacts, type ListedFile, type ListOptions } from './read/list.ts';
import { noteRun, type NotedVerb, type RunFacts } from './read/runs.ts';
import { vaultOutlook, type VaultOutlook } from './read/outlook.ts';
import { vaultStatus, type VaultStatus } from './read/status.ts';
import { planPrune, type PrunedName, type PruneOptions } from './remove/prune.ts';
import type { RetentionRules } from './remove/retention.ts';
import { removalDenied, removeFiles, undeleteFiles } from './remove/rm.ts';
import type { RemovalDeniedOptions, RemoveOptions, RemoveResult, UndeleteResult } from './remove/rm.ts';
import { sweep } from './remove/sweep.ts';
import type { SweepOptions, SweepResult } from './remove/sweep-call.ts';
import { repairVault, type RepairResult } from './repair/repair.ts';
import type { RepairOptions } from './repair/options.ts';
import type { Session } from './session.ts';
import type { VerifyResult } from './verify/condition.ts';
import { verifyVault, type VerifyOptions } from './verify/verify.ts';
import { Roots } from './roots/roots.ts';
import { shareFile, type Share, type SharedContent, type ShareOptions } from './share/share.ts';
import { listShares, removeShares, type ListedShares } from './share/shares.ts';
import { putSource, requireRetention } from './write/put.ts';
import type { PutOptions, PutResult } from './write/put-call.ts';
import type { FileSource } from './write/file-source.ts';

export class Vault implements AsyncDisposable {
  readonly #session: Session;
  /** Who may come in over HTTP. */
  readonly tokens: Tokens;
  /** Addresses of single files. */
  readonly links: Links;
  /** A new root, and what is stored anew under it. */
  readonly roots: Roots;

  /** @param session is the vault's from then on, and closed with it */
  constructor(session: Session) {
    this.#session = session;
    this.tokens = new Tokens(session);
    this.links = new Links(session);
    this.roots = new Roots(session);
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

  /** Whether it was opened with a key that can only store. */
  get onlyStores(): boolean {
    return this.#session.keys.full === null;
  }

  /** What new files are stored with. */
  get redundancy(): Redundancy {
    return this.#session.keyring.keyring.redundancy;
  }

  /** The vault's buckets, without asking them. */
  get buckets(): readonly BucketInfo[] {
    return this.#session.buckets.all.map(({ id, url, state }) => ({ id, url, state }));
  }

  /**
   * Encrypts, codes and stores a file or a folder, and makes it visible when all of it is durable.
   *
   * Killed at any instant it leaves no listed file that cannot be read; repeated, it does not store again what was stored.
   *
   * @param source as `fileSource` and `streamSource` make it, or a folder: what could not be read `onWarning` is told
   * @throws `invalid-input` for an impossible name or chunk size; `file-not-found` and `source-changed` from the
   *   source; `unavailable` if fewer than k buckets take shards; `storage-full`; `denied`; `interrupted`
   */
  async put(source: FileSource | FolderSource, options: PutOptions): Promise<PutResult> {
    return putSource(await this.#writable(options, this.#session), source, options);
  }

  /** What a put of a folder leaves out as the vault's own. @throws `invalid-input` for a folder that is one of its buckets */
  ownEntries(root: string, { signal }: CallOptions = {}): Promise<OwnEntries> {
    return ownEntries(this.#session, root, signal);
  }

  /** Whether a put can be with `retainUntilMs`. @throws `invalid-input` if no bucket can lock, or what they said */
  requireRetention(untilMs: number, options?: CallOptions): Promise<unknown> {
    return requireRetention(this.#session, untilMs, options);
  }

  /**
   * Finds a file and reads its manifest, which proves everything it says.
   *
   * @param reference hash, unique prefix of it (8 or more digits), or name (then the newest of that name)
   * @throws `file-not-found`; `invalid-input` if a prefix fits several files; `damaged` if no bucket has an intact
   *   manifest; `unavailable` if the buckets that may have one cannot be reached; `wrong-password` for a locked file
   */
  get(reference: string, options?: GetOptions): Promise<StoredFile> {
    return getFile(this.#full, reference, options);
  }

  /** A file's facts, by the catalog alone; with `hidden` those of a removed one. @throws `file-not-found`; `invalid-input`; `damaged` as `get` */
  async resolve(reference: string, options?: { readonly hidden?: boolean | undefined }): Promise<FileFacts> {
    return factsOf(this.#full, reference, options);
  }

  /** As `get`, also for a folder, and for what lies in one: its name or hash, a slash, and a path. */
  find(reference: string, options?: GetOptions): Promise<Stored> {
    return findStored(this.#full, reference, options);
  }

  /** Files, newest first; of a name the newest, unless `all`. @throws `damaged` after the last file, if records were changed */
  list(options?: ListOptions): AsyncIterable<ListedFile> {
    return listFiles(this.#session, options);
  }

  /** A file's facts and where its shards lie, without reading them. */
  inspect(reference: string, options?: CallOptions): Promise<FileDetails> {
    return inspectFile(this.#full, reference, options);
  }

  /** What the vault holds and how safe it is, by the catalog and the listings of manifests. */
  status(options?: CallOptions): Promise<VaultStatus> {
    return vaultStatus(this.#full, options);
  }

  /** As `status`, and beside it which versions would go with which buckets, and what was stored on which day. */
  outlook(options?: CallOptions): Promise<VaultOutlook> {
    return vaultOutlook(this.#full, options);
  }

  /** Reads random files, locked ones excepted, and compares every byte with its hash; `drillVault` does so with a new catalog. */
  drill(options: DrillOptions): Promise<DrillResult> {
    return drillFiles(this.#full, options);
  }

  /** Notes in the catalog that a verb has ended, for `status`. */
  noteRun(verb: NotedVerb, facts: RunFacts): Promise<void> {
    return noteRun(this.#session, verb, facts);
  }

  /**
   * Hides files at once. They can be brought back until their grace is over; then a sweep removes what no other file shares.
   *
   * @param references as for `get`; a name means its newest version, with `allVersions` all of them
   * @throws `file-not-found` if any is unknown; then none is removed
   */
  async remove(references: readonly string[], options?: RemoveOptions): Promise<RemoveResult> {
    return removeFiles(await this.#writable(options), references, options);
  }

  /**
   * URLs of buckets that do not let these credentials remove anything: a removal hides a file, and somebody else has to sweep.
   *
   * @throws `invalid-input` with `now` if this machine's clock is wrong
   */
  removalDenied(options?: RemovalDeniedOptions): Promise<readonly string[]> {
    return removalDenied(this.#full, options);
  }

  /**
   * Tells, name by name, which versions rules keep, and why; `remove` takes the others. One version of a name always stays, and so does
   * what is dated in the future.
   *
   * @throws `invalid-input` without a rule, or if this machine's clock is wrong; `file-not-found` if any reference is unknown;
   *   `damaged` if the catalog's records have been changed; `unavailable` if buckets cannot be asked for what is to stay
   */
  planPrune(rules: RetentionRules, options?: PruneOptions): AsyncIterable<PrunedName> {
    return planPrune(this.#full, rules, options);
  }

  /**
   * Brings removed files back.
   *
   * @param references hash, prefix or name of removed files; a name means the one that was stored last
   * @throws `file-not-found` if any is unknown, or a part of it is gone
   */
  async undelete(references: readonly string[], options?: CallOptions): Promise<UndeleteResult> {
    return undeleteFiles(await this.#writable(), references, options);
  }

  /**
   * Removes what nothing needs: files whose grace is over, what dead puts left, what repairs replaced; and hides files that have
   * expired. Safe beside running puts and other sweeps. Nothing goes unless every bucket lists completely.
   */
  sweep(options?: SweepOptions): Promise<SweepResult> {
    return sweep(this.#full, options);
  }

  /**
   * Puts a copy into a cloud bucket, sealed for one link alone, which opens it in any browser until it expires.
   *
   * @param file as `get` gives it
   * @throws `invalid-input` for more than seven days, and if no bucket gives links; `denied` if no credentials can sign; what reading
   *   and storing it throw: nothing is left then
   */
  share(file: SharedContent, options: ShareOptions): Promise<Share> {
    return shareFile(this.#full, file, options);
  }

  /** The shares that stand in the buckets, also those that have expired and wait for a sweep. */
  shares(options?: CallOptions): Promise<ListedShares> {
    return listShares(this.#full, options);
  }

  /**
   * Removes shares: their links lead nowhere from then on.
   *
   * @param references ids, or their first 8 or more digits; if any is unknown, nothing is removed
   * @returns their ids
   * @throws `file-not-found`; `unavailable` if it may be in a bucket that cannot be asked; `denied`
   */
  removeShares(references: readonly string[], options?: CallOptions): Promise<readonly string[]> {
    return removeShares(this.#full, references, options);
  }

  /**
   * Makes everything whole again that can be: shards, manifests, keyrings, markers, records of the catalog. New objects are stored,
   * and nothing is removed, so that it can be interrupted at any instant; repeated, it goes on.
   *
   * @throws `invalid-input` for a redundancy that the buckets cannot carry; `unavailable` if no bucket can be used
   */
  async repair(options?: RepairOptions): Promise<RepairResult> {
    return repairVault(await this.#writable(options), options);
  }

  /** Takes into the catalog what others have stored and removed, as the buckets say. @throws `unavailable` if none can be asked */
  async sync(options?: CallOptions): Promise<SyncResult> {
    return syncFiles(await this.#writable(), options);
  }

  /** What the buckets hold, by their listings. */
  bucketReport(options?: CallOptions): Promise<readonly BucketReport[]> {
    return bucketReport(this.#full, options);
  }

  /**
   * Makes a place a bucket of this vault.
   *
   * @param url normalised
   * @throws `already-exists` if it is one already; `bucket-mismatch` if it belongs to another vault; what it says if it
   *   cannot be used
   */
  async addBucket(url: string, options?: CallOptions): Promise<BucketInfo> {
    return addBucket(await this.#writable(), url, options);
  }

  /**
   * Takes a bucket out of the vault: it gets nothing new, what it holds moves to the others, and then its objects go.
   * Cut short, it is repeated.
   *
   * @throws `invalid-input` if the vault has no such bucket, or if the others are too few for the redundancy; what the bucket
   *   says if it cannot be used, unless it is `gone`
   */
  async removeBucket(reference: string, options?: RemoveBucketOptions): Promise<RemoveBucketResult> {
    return removeBucket(await this.#writable(options), reference, options);
  }

  /**
   * Records where a bucket is now: a folder mounted elsewhere, another endpoint.
   *
   * @param reference its URL so far, or its id
   * @param url normalised
   * @param options `local`: for this machine alone; else every machine learns of it
   * @throws `bucket-missing` or `bucket-mismatch` if that is not this bucket; what it says if it cannot be used
   */
  async setBucketUrl(reference: string, url: string, options?: SetBucketUrlOptions): Promise<BucketInfo> {
    return setBucketUrl(await this.#writable(), reference, url, options);
  }

  /** Changes what new files are stored with. @returns whether anything was changed */
  async changeDefaults(defaults: Partial<VaultDefaults>, options?: CallOptions): Promise<boolean> {
    return changeDefaults(await this.#writable(), defaults, options);
  }

  /**
   * Wraps the keys under another password, in a new keyring in every bucket; no chunk is touched. Whoever has a
   * copy of the old keyring and the old password still has the keys.
   *
   * @throws `wrong-password` if `current` opens no keyslot; what a bucket says that cannot be used: nothing has been changed then
   */
  async changePassword(change: PasswordChange): Promise<void> {
    return changePassword(await this.#writable(), change);
  }

  /** The vault's keys: who can open it. */
  keys(options?: CallOptions): Promise<readonly ListedKey[]> {
    return listKeys(this.#full, options);
  }

  /** One of them. @param reference label, or 8 or more digits of the writer @throws `file-not-found`; `invalid-input` for several */
  key(reference: string, { signal }: CallOptions = {}): Promise<KeyInfo> {
    return findKey(this.#full, reference, signal);
  }

  /**
   * Adds a key with a password of its own, for another person or a machine. A `put` key can store, and neither read nor remove.
   *
   * @throws `already-exists` if another key has this label or opens with this secret; `denied`
   */
  async addKey(key: NewKey): Promise<KeyInfo> {
    return addKey(await this.#writable(), key);
  }

  /**
   * Takes a key away: no bucket opens with it any more. Who has used a full key may have kept the root secret, and with it reads all
   * that is stored until there is a new one.
   *
   * @param reference as for `key`
   * @throws `file-not-found`; `invalid-input` for the last full key; what a bucket says that cannot be used: nothing has been changed then
   */
  async removeKey(reference: string, options?: RemoveKeyOptions): Promise<KeyInfo> {
    return removeKey(await this.#writable(), reference, options);
  }

  /** Calls a key otherwise. @param reference as for `key` @throws `file-not-found`; `already-exists` if another key has this label */
  async renameKey(reference: string, options: CallOptions & { readonly label: string }): Promise<KeyInfo> {
    return renameKey(await this.#writable(), reference, options);
  }

  /**
   * Looks whether everything is there: by listings, or by reading. The buckets are believed, the catalog catches up; they are not written to.
   *
   * @throws `file-not-found`; `unavailable` (or what they said) if no bucket can be asked
   */
  verify(options: VerifyOptions): Promise<VerifyResult> {
    return verifyVault(this.#full, options);
  }

  /** The session, for what has to be noted in the catalog: one that cannot be written is found out before anything is done. */
  async #writable(
    { dryRun = false }: { readonly dryRun?: boolean | undefined } = {},
    session = this.#full,
  ): Promise<Session> {
    if (!dryRun) await session.catalog.requireWritable({ onlyNew: session.keys.full === null });
    return session;
  }

  /** The session of a full key: others are good for `put` and `list` alone. @throws `denied` */
  get #full(): Session {
    requireFull(this.#session.keys, 'this');
    return this.#session;
  }

  /** Whether the catalog answers and this key is a full one that still opens the vault, as far as that is known. @throws as `requireStanding`; `denied` */
  async ready(): Promise<void> {
    await requireStanding(this.#full);
  }

  /**
   * Before a change of the keys is refused for a reason that lies outside: gives every bucket the keyring that counts, as a change that was
   * cut short and is repeated ends. @returns the reason, which names the buckets that could not be given it
   */
  settled(reason: VaultError, { signal }: CallOptions = {}): Promise<VaultError> {
    return answer(this.#full, reason, { signal });
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
