/**
 * The catalog: the database of files, chunks and where their shards lie. It is a cache of what the buckets
 * say (`recover` rebuilds it) and it is not trusted: what would tell a reader something is sealed before it
 * comes here, and what a reader could forge is proved by the manifest, not by a row.
 *
 * Identifiers are lower-case hex strings: hash and chunk id 64 characters, vault, bucket and keyslot id 32,
 * generation 16. Times are milliseconds since 1970.
 *
 * The contract, which `test/catalog/conformance.ts` states one sentence a test:
 *
 * - Every method is one transaction: all of it happened or none. Each is safe to repeat after an answer was lost.
 * - Iterables hold one page in memory, whatever the table's size, and tolerate changes while they run.
 * - The database itself keeps a chunk alive while a file refers to it (foreign keys), whatever
 *   order concurrent clients run in; no method relies on an earlier look.
 * - Errors are VaultErrors: `unavailable` (try again; already tried within reason), `denied`, `storage-full`,
 *   `stale` (the pending put is gone), `damaged` (a row or the database file is not what was written),
 *   `unsupported` (a newer schema), `interrupted`.
 */
export interface Catalog {
  /** What to call this catalog in messages: path or URL, without any secret. */
  readonly label: string;

  // --- the vault itself -------------------------------------------------------------------------------

  /** The vault that this catalog describes; null when it holds none yet. */
  vault(): Promise<VaultRow | null>;

  /**
   * Makes the catalog describe a vault.
   *
   * @throws `already-exists` if it describes one with another id; the same id again succeeds and changes nothing
   */
  create(vault: VaultRow, keyslots: readonly KeyslotRow[]): Promise<void>;

  /** Replaces the vault's sealed settings if they are still `expected`; false if somebody else changed them. */
  updateSettings(expected: Uint8Array, next: Uint8Array): Promise<boolean>;

  /** All keyslots, by id. */
  keyslots(): Promise<readonly KeyslotRow[]>;
  /** Adds or replaces one keyslot. */
  putKeyslot(keyslot: KeyslotRow): Promise<void>;
  /** Removes a keyslot; an absent one is a success. */
  removeKeyslot(id: string): Promise<void>;

  /** All buckets, by number. */
  buckets(): Promise<readonly BucketRow[]>;
  /** Adds a bucket, or replaces record and state of the one with that id; the number it has from now on (1 to 65535, never given twice). */
  putBucket(bucket: Omit<BucketRow, 'number'>): Promise<number>;
  /** Forgets a bucket, and every removal owed to it. The caller has seen to it that no shard lies there. */
  removeBucket(number: number): Promise<void>;

  // --- storing a file ---------------------------------------------------------------------------------

  /**
   * Opens a pending put: from now on `generation` is known as an intent, so that whatever it leaves in
   * the buckets can be found and swept.
   *
   * @param put `generation`: random, new for each put; also the pending file's id. `owner`: who runs it, see `PendingPut`.
   *   `objects`: `sent` (default) by this put, so that they become garbage with it; or `found` in the buckets by a recovery,
   *   which only describes them: then nothing becomes garbage when it ends without a file, nor because another row of a
   *   chunk is in force
   */
  beginPut(put: {
    readonly generation: string;
    readonly owner: string;
    readonly objects?: 'sent' | 'found';
  }): Promise<void>;

  /** Says that the put is alive. @throws `stale` if it is no longer pending */
  renewPut(generation: string): Promise<void>;

  /**
   * Makes the pending file refer to those of the given chunks that are stored, and returns exactly those.
   * What is returned cannot be removed by anyone before the put is discarded or swept.
   *
   * @param ids distinct chunk ids, at most 1,000
   * @throws `stale` if the put is no longer pending
   */
  claimChunks(generation: string, ids: readonly string[]): Promise<ReadonlyMap<string, ChunkRow>>;

  /**
   * Records chunks whose shards have been uploaded and makes the pending file refer to them. For a chunk
   * that somebody else recorded first, the first row stays, and the places of the second that the first does not
   * use become garbage in the same transaction.
   *
   * @param chunks distinct, at most 1,000
   * @returns the rows in force, by id
   * @throws `stale` if the put is no longer pending; then the caller owns what it uploaded and removes it
   */
  recordChunks(generation: string, chunks: readonly ChunkRow[]): Promise<ReadonlyMap<string, ChunkRow>>;

  /** Records the manifest's hash as an intent, before the manifest is uploaded. @throws `stale` */
  announceManifest(generation: string, hash: string): Promise<void>;

  /**
   * Makes the file visible, as the newest of its name. Repeating it for a file that is visible under the same
   * hash succeeds: an answer that was lost is resolved by asking.
   *
   * @throws `stale` if the put is no longer pending (and not visible under this hash)
   */
  commitPut(generation: string, file: NewFileRow): Promise<void>;

  /** Ends a pending put without a file: what only it referred to becomes garbage. An absent one is a success. */
  discardPut(generation: string): Promise<void>;

  // --- finding files ----------------------------------------------------------------------------------

  /**
   * Those of the given hashes (at most 1,000) that a visible file has, or that a pending put has announced.
   */
  knownManifests(hashes: readonly string[]): Promise<ReadonlySet<string>>;

  /** Up to `limit` visible files whose hash starts with `prefix` (hex, 1 to 64 characters), by hash. */
  filesByHash(prefix: string, limit: number): Promise<readonly FileRow[]>;

  /** The visible files with this name tag, newest first. */
  filesByName(nameTag: Uint8Array, limit: number): Promise<readonly FileRow[]>;

  /**
   * Visible files, newest first.
   *
   * @param options `all`: also those that are not the newest of their name
   */
  listFiles(options: { readonly all: boolean; readonly signal?: AbortSignal }): AsyncIterable<FileRow>;

  /** Visible files whose expiry is at or before `nowMs`, soonest first. */
  expiredFiles(nowMs: number): AsyncIterable<FileRow>;

  /** Where the shards of these chunks lie (at most 1,000 distinct ids); unknown chunks are absent from the map. */
  locateChunks(ids: readonly string[]): Promise<ReadonlyMap<string, ChunkRow>>;

  /** Every recorded chunk whose id is greater than `after` ('' for all), in the order of ids. */
  listChunks(options?: { readonly after?: string; readonly signal?: AbortSignal }): AsyncIterable<ChunkRow>;

  /** The visible files that refer to any of these chunks (at most 1,000 ids), each once, in no particular order. */
  filesOfChunks(ids: readonly string[]): Promise<readonly FileRow[]>;

  // --- changing and removing --------------------------------------------------------------------------

  /**
   * Hides files and drops the chunks that nothing else refers to; their objects and the manifests become
   * garbage. One transaction for all given files.
   *
   * @param hashes at most 1,000; unknown ones are ignored
   * @returns the hashes that were visible and now are not
   */
  removeFiles(hashes: readonly string[]): Promise<readonly string[]>;

  /**
   * Puts right what the row of a visible file says beside its hash.
   *
   * @returns false if no file with that hash is visible; then nothing was done
   */
  replaceFile(file: NewFileRow): Promise<boolean>;

  /**
   * Replaces a chunk's row if it still is `expected`; places of the old row that the new one does not use
   * become garbage.
   *
   * @param options `generation`: of the pending put on whose behalf the new places were uploaded. Without this, a put that
   *   was swept while its machine slept would bring places into force whose objects have gone
   * @returns false if the row has changed or gone meanwhile; then nothing was done, and the caller owns what it uploaded
   * @throws `stale` if that put is no longer pending
   */
  replaceChunk(
    expected: ChunkRow,
    next: ChunkRow,
    options?: { readonly generation?: string },
  ): Promise<boolean>;

  // --- garbage ----------------------------------------------------------------------------------------

  /** Objects whose removal is owed, in no particular order. What is added meanwhile may be missed. */
  garbage(): AsyncIterable<GarbageRow>;

  /** Owes the removal of these objects (at most 1,000); repeating it changes nothing. */
  addGarbage(rows: readonly GarbageRow[]): Promise<void>;

  /**
   * Strikes out removals that have been done (at most 1,000 rows).
   *
   * @param done rows as `garbage` gave them, each with the places that are *still* owed: an empty list removes the row
   */
  settleGarbage(
    done: readonly { readonly row: GarbageRow; readonly owed: GarbageRow['places'] }[],
  ): Promise<void>;

  /**
   * Turns pending puts into dead ones: those not renewed for `leaseMs` by the database's clock, and those
   * that `isGone` says of. What only they referred to becomes garbage, and so does their announced manifest;
   * the generation stays known as dead until `forgetPut`.
   */
  buryPuts(options: { readonly leaseMs: number; readonly isGone: (owner: string) => boolean }): Promise<void>;

  /** Generations of dead puts: objects that carry one and are in no chunk's row are nobody's. */
  deadPuts(): Promise<readonly string[]>;

  /** Generations of pending puts: objects that carry one may be on their way into a row. */
  pendingPuts(): Promise<readonly PendingPut[]>;

  /** Forgets a dead put, once no bucket holds an object of its generation. */
  forgetPut(generation: string): Promise<void>;

  /**
   * Remembers objects that no row explains, and since when; forgets remembered ones of that bucket that are not given
   * (they have gone, or are explained now).
   *
   * @returns when each of the given ones was first remembered, by name
   */
  rememberStrays(
    bucket: number,
    names: readonly string[],
    nowMs: number,
  ): Promise<ReadonlyMap<string, number>>;

  // --- the whole --------------------------------------------------------------------------------------

  /** Counts for people: visible files, chunks, owed removals, pending and dead puts. */
  counts(): Promise<CatalogCounts>;

  /** Ends connections. Operations after it are a bug. */
  close(): Promise<void>;
}

export interface VaultRow {
  readonly id: string;
  /** Sealed settings; opaque here. */
  readonly settings: Uint8Array;
}

export interface KeyslotRow {
  readonly id: string;
  /** The keyslot's JSON bytes, as in the buckets. */
  readonly body: Uint8Array;
}

export type BucketState = 'active' | 'draining';

export interface BucketRow {
  /** Short name inside this catalog, 1 to 65535; rows of chunks use it. */
  readonly number: number;
  readonly id: string;
  readonly state: BucketState;
  /** Sealed URL; opaque here. */
  readonly record: Uint8Array;
}

/** Where one shard lies. */
export interface ShardPlace {
  /** The bucket's number in this catalog. */
  readonly bucket: number;
  /** 16 hex digits, part of the object's name. */
  readonly generation: string;
}

export interface ChunkRow {
  readonly id: string;
  /** Data shards. */
  readonly k: number;
  /** Parity shards. */
  readonly m: number;
  /** Bytes of the sealed chunk, before it is cut into shards. */
  readonly sealedSize: number;
  /** k + m places by shard index; null where that shard is not stored. */
  readonly shards: readonly (ShardPlace | null)[];
}

export interface NewFileRow {
  readonly hash: string;
  /** 32 bytes: the keyed tag of the name, by which it is looked up. */
  readonly nameTag: Uint8Array;
  /** The sealed description of the file; opaque here. */
  readonly record: Uint8Array;
  readonly createdAtMs: number;
  readonly expiresAtMs: number | null;
}

export type FileRow = NewFileRow;

export interface PendingPut {
  readonly generation: string;
  /** Who runs it: an opaque word that the process which runs on the same machine can tell alive from gone. */
  readonly owner: string;
}

/** Objects of one name stem whose removal is owed. */
export interface GarbageRow {
  readonly kind: 'chunk' | 'manifest';
  /** The chunk's id or the manifest's hash. */
  readonly id: string;
  /** The chunk's redundancy; 0 and 0 for a manifest. */
  readonly k: number;
  readonly m: number;
  /**
   * Shard index and place of each owed object. For a manifest the index means nothing, and the generation is the debt's,
   * drawn for it alone: an object that was stored anew while somebody paid an older debt is owed by a newer one, which
   * that payment does not strike out. It may be '' if the object cannot have been stored anew.
   */
  readonly places: readonly (ShardPlace & { readonly index: number })[];
}

export interface CatalogCounts {
  readonly files: number;
  readonly chunks: number;
  readonly garbage: number;
  readonly pendingPuts: number;
  readonly deadPuts: number;
}
