/**
 * The catalog: the database of files and of where shards were last seen. It is a cache of what the buckets say
 * (`recover` rebuilds it) and it is not trusted: what would tell a reader something is sealed before it comes here, what a
 * reader could forge is proved by the manifest, and no row decides that an object may be removed or need not be sent.
 *
 * Identifiers are lower-case hex strings: hash and chunk id 64 characters; vault, bucket and writer id 32; upload 16;
 * sealing 8. Times are whole milliseconds since 1970, or before it.
 *
 * The contract, which `test/catalog/conformance.ts` states one sentence a test:
 *
 * - Every method is one transaction: all of it happened or none. Each is safe to repeat, also after an answer was lost.
 * - What is given in one call may repeat an identifier; the last row given for it counts. Calls are given at most
 *   `MAX_ROWS` rows or identifiers; more is a RangeError.
 * - Iterables hold one page in memory, whatever the table's size, and tolerate changes while they run: what stays as it is
 *   comes exactly once, what is added, changed or forgotten meanwhile may come or not.
 * - Clients that write the same rows at once wait for each other; none of them fails for it, and the last one wins row by row.
 * - Errors are VaultErrors: `unavailable` (try again; already tried within reason), `denied`, `storage-full`,
 *   `damaged` (a row or the database file is not what was written), `unsupported` (a newer or unreleased schema),
 *   `invalid-input` (a row that could not be read back), `interrupted`.
 */
export interface Catalog {
  /** What to call this catalog in messages: path or URL, without any secret. */
  readonly label: string;
  readonly setup: SetupCatalog;
  readonly files: FileCatalog;
  readonly chunks: ChunkCatalog;
  readonly grants: GrantCatalog;

  /**
   * Looks whether the catalog can be written, before something is done that has to be noted there. One that cannot can be read all
   * the same.
   *
   * @param options `onlyNew`: whether files can be added to it, which is all that is asked of whoever can only store
   * @throws `denied`; `storage-full`; `unavailable` for a database that takes no changes
   */
  requireWritable(options?: { readonly onlyNew?: boolean }): Promise<void>;

  /** Ends connections. Operations after it are a bug. */
  close(): Promise<void>;
}

/** A catalog for those who only look: nothing of it changes a row. */
export interface ReadableCatalog {
  readonly setup: Pick<SetupCatalog, 'vault' | 'note' | 'buckets'>;
  readonly files: Omit<FileCatalog, 'put' | 'hide' | 'forget'>;
  readonly chunks: Omit<ChunkCatalog, 'put' | 'forget'>;
}

/** Most rows or identifiers that one call is given. */
export const MAX_ROWS = 1000;

/** The vault itself, its keyring and its buckets. */
export interface SetupCatalog {
  /** The vault that this catalog describes; null when it holds none yet. */
  vault(): Promise<VaultRow | null>;

  /**
   * Makes the catalog describe a vault.
   *
   * @throws `already-exists` if it describes one with another id; the same id again succeeds and changes nothing
   */
  create(vault: VaultRow): Promise<void>;
  /**
   * Makes the catalog describe no vault again: the vault, its notes and buckets go. For a making that failed.
   *
   * @throws `already-exists` if there are files; nothing was done then
   */
  clear(): Promise<void>;

  /**
   * Remembers a keyring of a higher epoch than the one that is known. One that is not higher changes nothing, nor does any
   * before `create`.
   *
   * Of the epoch that is known the row says no more than whoever has changed it last.
   *
   * @param row `epoch`: its rank (`keyringRank`), which of the first root is its epoch; whole, at least 0. `keyring`: the object's bytes
   * @param counts whether the one that is known stays, which is told by its bytes; by the epochs unless given
   * @returns whether this is the keyring that the catalog has now, so the same answer when it is repeated
   */
  putKeyring(
    row: { readonly epoch: number; readonly keyring: Uint8Array },
    counts?: (known: Uint8Array) => boolean,
  ): Promise<boolean>;

  /** The note under a key: a small sealed value, such as how far a recovery has come; null if there is none. */
  note(key: string): Promise<Uint8Array | null>;
  /** Writes, replaces or (null) removes a note. */
  putNote(key: string, value: Uint8Array | null): Promise<void>;

  /** All buckets, by number. */
  buckets(): Promise<readonly BucketRow[]>;
  /**
   * Adds a bucket, or replaces the record of the one with that id.
   *
   * @returns its number, 1 to 65535, never given twice: a bucket that was removed and is added again gets a new one
   * @throws `invalid-input` when there are no numbers left
   */
  putBucket(bucket: { readonly id: string; readonly record: Uint8Array }): Promise<number>;
  /**
   * Forgets a bucket and with it that shards lie there: rows of chunks keep its number, which no bucket has or will ever
   * have. Readers take a place whose number is not among `buckets()` for no place. An absent one is a success.
   */
  removeBucket(number: number): Promise<void>;
}

/** The stored files and folders, one row a hash. */
export interface FileCatalog {
  /**
   * Adds files; a file that is there already gets this row instead of its own, and stays as hidden or visible as it is.
   *
   * @param options `onlyNew`: it keeps its own row, so that all it takes is the right to add some
   */
  put(files: readonly FileRow[], options?: { readonly onlyNew?: boolean | undefined }): Promise<void>;

  /** The rows of these whole hashes, hidden ones too; unknown ones are absent. */
  byHashes(hashes: readonly string[]): Promise<ReadonlyMap<string, FileRow>>;

  /**
   * Rows whose hash starts with a prefix, by hash.
   *
   * @param prefix 1 to 64 hex digits
   * @param limit most rows to return
   * @param options `hidden`: hidden ones too
   */
  byPrefix(
    prefix: string,
    limit: number,
    options?: { readonly hidden?: boolean | undefined },
  ): Promise<readonly FileRow[]>;

  /**
   * Rows with any of these name tags, newest first: by version, then createdAtMs, then hash, all descending.
   *
   * @param tags 32 bytes each; a name has one for each writer
   * @param limit most rows to return, over all tags together
   * @param options `hidden`: hidden ones too
   */
  byName(
    tags: readonly Uint8Array[],
    limit: number,
    options?: { readonly hidden?: boolean | undefined },
  ): Promise<readonly FileRow[]>;

  /**
   * Visible rows, newest first: by createdAtMs, then hash, both descending.
   *
   * A version that is put while the listing runs does not make the one before it disappear, unless its time lies
   * before that of the first row listed.
   *
   * @param options `all`: also those that are not the newest of their name tag, in the order of `byName`.
   *   `hidden`: the hidden rows instead, the newest of a tag then being the newest hidden one.
   *   `after`: goes on behind the last row of a listing that began with the first one
   */
  list(options: {
    readonly all: boolean;
    readonly hidden?: boolean | undefined;
    readonly after?: ListPosition | undefined;
    readonly signal?: AbortSignal | undefined;
  }): AsyncIterable<FileRow>;

  /**
   * All rows, hidden ones too, by hash: the side that is joined with a listing of manifests.
   *
   * @param options `after`: a whole hash; only greater ones come
   */
  walk(options?: {
    readonly after?: string | undefined;
    readonly signal?: AbortSignal | undefined;
  }): AsyncIterable<FileRow>;

  /**
   * Hides files (a time) or shows them again (null). A hidden file that is hidden again gets the new time.
   *
   * @param hashes unknown ones are ignored
   * @returns the hashes that were visible and now are hidden, or the other way round
   */
  hide(hashes: readonly string[], hiddenAtMs: number | null): Promise<readonly string[]>;

  /** Forgets rows altogether; unknown hashes are ignored. */
  forget(hashes: readonly string[]): Promise<void>;

  /** How many rows are visible (`files`) and how many hidden. */
  counts(): Promise<{ readonly files: number; readonly hidden: number }>;
}

/** Where the shards of chunks were last seen, one row a chunk. */
export interface ChunkCatalog {
  /** The rows of these chunks; unknown ones are absent. */
  locate(ids: readonly string[]): Promise<ReadonlyMap<string, ChunkRow>>;

  /** Records chunks, or replaces their rows. */
  put(rows: readonly ChunkRow[]): Promise<void>;

  /** Forgets rows; unknown ids are ignored. */
  forget(ids: readonly string[]): Promise<void>;

  /**
   * All rows, by id.
   *
   * @param options `after`: a whole id; only greater ones come
   */
  walk(options?: {
    readonly after?: string | undefined;
    readonly signal?: AbortSignal | undefined;
  }): AsyncIterable<ChunkRow>;
}

/**
 * Who may ask a server for something: tokens and links, one row each. They are found by a digest of their secret. Unlike the rest of
 * the catalog no bucket knows them.
 */
export interface GrantCatalog {
  /** Adds one, or replaces the row of that id except for its uses. */
  put(row: Omit<GrantRow, 'uses'>): Promise<void>;

  find(id: string): Promise<GrantRow | null>;

  /** All of a kind, by id. */
  list(kind: GrantKind, options?: { readonly signal?: AbortSignal | undefined }): AsyncIterable<GrantRow>;

  /**
   * Counts one more use. Repeated after an answer was lost it may count two.
   *
   * @param most after as many uses there is none left; null: there always is
   * @returns whether there was one left; false for an unknown id
   */
  use(id: string, most: number | null): Promise<boolean>;

  /** Unknown ids are ignored. */
  forget(ids: readonly string[]): Promise<void>;

  /** Forgets those whose expiry lies before a time. */
  forgetExpired(beforeMs: number): Promise<void>;
}

export type GrantKind = 'token' | 'link';

export interface GrantRow {
  /** 64 hex digits: a digest of the secret. */
  readonly id: string;
  readonly kind: GrantKind;
  /** What it grants, sealed; opaque here. */
  readonly record: Uint8Array;
  /** Null if it does not expire. */
  readonly expiresAtMs: number | null;
  readonly uses: number;
}

/** How far a listing has come: where it began and where it was left. */
export interface ListPosition {
  readonly first: Pick<FileRow, 'createdAtMs' | 'hash'>;
  readonly last: Pick<FileRow, 'createdAtMs' | 'hash'>;
}

export interface VaultRow {
  readonly id: string;
  /** Epoch of the keyring, at least 0. */
  readonly epoch: number;
  /** The keyring's bytes, as in the buckets. */
  readonly keyring: Uint8Array;
  /** Whose keyslot made this catalog; a hint. */
  readonly writer: string;
}

export interface BucketRow {
  /** Short name inside this catalog, 1 to 65535; rows of chunks use it. */
  readonly number: number;
  readonly id: string;
  /** Sealed URL; opaque here. */
  readonly record: Uint8Array;
}

export interface FileRow {
  readonly hash: string;
  /** Who stored it: the name tag and the record are under this writer's keys. */
  readonly writer: string;
  /** 32 bytes: the keyed tag of the name, by which it is looked up. */
  readonly nameTag: Uint8Array;
  /** The sealed description of the file; opaque here. */
  readonly record: Uint8Array;
  /** Orders the files of one name, the highest being the newest: 1 to 2^53 - 1. */
  readonly version: number;
  readonly createdAtMs: number;
  /** Null if it does not expire. */
  readonly expiresAtMs: number | null;
  /** Since when it is hidden (pending deletion); null while it is visible. */
  readonly hiddenAtMs: number | null;
}

/** One set of shards of a chunk: shards of one sealing, which fit together. */
export interface ChunkRow {
  readonly id: string;
  /** Data shards, at least 1. */
  readonly k: number;
  /** Parity shards; k + m is at most 16. */
  readonly m: number;
  /** Which sealing the shards are of: 8 hex digits, part of their names. */
  readonly sealing: string;
  /** Bytes of the sealed chunk, before it is cut into shards. */
  readonly sealedSize: number;
  /** k + m places by shard index; null where that shard was not seen. */
  readonly shards: readonly (ShardPlace | null)[];
}

/** Where one shard lies. */
export interface ShardPlace {
  /** The bucket's number in this catalog. */
  readonly bucket: number;
  /** 16 hex digits, part of the object's name. */
  readonly upload: string;
}
