/**
 * A vault, opened: one master key, its buckets, its catalog. This is the library's surface and all that the
 * command line uses. `create.ts` and `open.ts` make one.
 */
import type { BucketState } from '../catalog/catalog.ts';
import type { FileTime } from '../format/file-time.ts';
import type { Redundancy } from '../format/shard.ts';
import type { FileSource } from './write/file-source.ts';

export type { FileSource, OpenSource } from './write/file-source.ts';

export interface Vault extends AsyncDisposable {
  /** 32 hex digits. */
  readonly id: string;

  /** What new files are stored with. */
  readonly redundancy: Redundancy;

  /**
   * Encrypts, codes and stores a file, and makes it visible when all of it is durable.
   *
   * Killed at any instant it leaves no listed file that cannot be read; repeated, it does not store again what was stored.
   *
   * @param source the bytes; `fileSource` and `streamSource` make one
   * @throws `invalid-input` for an impossible name or chunk size; `file-not-found` and `source-changed` from the
   *   source; `unavailable` if fewer than k buckets take shards; `storage-full`; `denied`; `interrupted`
   */
  put(source: FileSource, options: PutOptions): Promise<PutResult>;

  /**
   * Finds a file and reads its manifest, which proves everything it says.
   *
   * @param reference hash, unique prefix of it (8 or more digits), or name (then the newest of that name)
   * @throws `file-not-found`; `invalid-input` if a prefix fits several files; `damaged` if no bucket has an intact
   *   manifest; `unavailable` if the buckets that may have one cannot be reached
   */
  get(reference: string, options?: CallOptions): Promise<StoredFile>;

  /**
   * Files, newest first; of several versions of a name the newest, unless `all`.
   *
   * @throws `damaged` after the last file, if the catalog's records of others have been changed
   */
  list(options?: CallOptions & { readonly all?: boolean }): AsyncIterable<FileInfo>;

  /**
   * Removes files: they are hidden at once, and what no other file shares leaves the buckets. What a bucket that is
   * down still holds is remembered and removed by a later `sweep`.
   *
   * @param references as for `get`; a name means its newest version, with `allVersions` all of them
   * @throws `file-not-found` if any is unknown; then none is removed; `unavailable` while the catalog is being rebuilt
   */
  remove(
    references: readonly string[],
    options?: CallOptions & { readonly allVersions?: boolean },
  ): Promise<RemoveResult>;

  /**
   * Removes expired files, what dead puts left, what removals still owe, and objects that nothing explains (those only when an
   * earlier sweep, `strayGraceMs` ago, has seen them already). Safe beside running puts.
   *
   * @throws `unavailable` while the catalog is being rebuilt
   */
  sweep(options?: CallOptions & { readonly strayGraceMs?: number }): Promise<SweepResult>;

  /** A file's facts and where its shards lie, without reading them. */
  inspect(reference: string, options?: CallOptions): Promise<FileDetails>;

  /**
   * Looks whether everything is there: by listings alone, or by reading it. Shards that are lost are recorded as lost,
   * so that a later put of the same content stores them anew and `repair` knows of them.
   *
   * @throws `file-not-found`; `unavailable` (or what they said) if no bucket can be asked
   */
  verify(options: VerifyOptions): Promise<VerifyResult>;

  /**
   * Makes everything whole again that can be: shards, manifests, keyslots, markers. New objects are stored before the
   * catalog says so, and old ones go after that, so that it can be interrupted at any instant; repeated, it goes on.
   *
   * @throws `invalid-input` for a redundancy that the buckets cannot carry, or an unknown bucket; as `verify`
   */
  repair(options?: RepairOptions): Promise<RepairResult>;

  /** The vault's buckets, without asking them. */
  buckets(): readonly BucketInfo[];

  /** What the buckets hold, by their listings. */
  bucketReport(options?: CallOptions): Promise<readonly BucketReport[]>;

  /**
   * Makes a place a bucket of this vault.
   *
   * @param url normalised
   * @throws `already-exists` if it is one already; `bucket-mismatch` if it belongs to another vault; what it says if it
   *   cannot be used
   */
  addBucket(url: string, options?: CallOptions): Promise<BucketInfo>;

  /**
   * Takes a bucket out of the vault: it gets nothing new, what it holds moves to the others, and then its objects go.
   * Cut short, it is repeated.
   *
   * @param reference its URL or id
   * @throws `invalid-input` if the vault has no such bucket, if the others are too few for the redundancy, or if it holds files that
   *   the catalog does not know; what the bucket says if it cannot be used
   */
  removeBucket(reference: string, options?: CallOptions): Promise<RemoveBucketResult>;

  /**
   * Records where a bucket is now: a folder mounted elsewhere, another endpoint.
   *
   * @param reference its URL so far, or its id
   * @param url normalised
   * @throws `bucket-missing` or `bucket-mismatch` if that is not this bucket; what it says if it cannot be used
   */
  setBucketUrl(reference: string, url: string, options?: CallOptions): Promise<BucketInfo>;

  /**
   * Wraps the master key under another password, in the catalog and in every bucket; no chunk is touched. Whoever has a
   * copy of the old keyslot and the old password still has the master key.
   *
   * @throws `wrong-password` if `current` opens no keyslot; what a bucket says that cannot be used: nothing has been changed then
   */
  changePassword(change: {
    readonly current: string;
    readonly next: string;
    readonly signal?: AbortSignal;
  }): Promise<void>;

  /** Ends workers and connections. Operations after it are a bug. */
  close(): Promise<void>;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  /** Told of everything that went wrong and was got round: a bucket down, a shard damaged. */
  readonly onWarning?: (warning: Warning) => void;
}

/** How far an operation has come. */
export interface Progress {
  /** Bytes of the file done so far. */
  readonly doneBytes: number;
  /** Bytes of the file; null where the source does not say (standard input). */
  readonly totalBytes: number | null;
}

/** Something that went wrong and was got round. */
export interface Warning {
  readonly kind:
    | 'bucket-down'
    | 'shard-damaged'
    | 'shard-missing'
    | 'manifest-damaged'
    | 'degraded'
    /** What the target's file system did not take of a restored file, other than its bytes. */
    | 'not-kept';
  /** For people: what, where, and what it means. */
  readonly message: string;
  /** The bucket concerned; null if none is. */
  readonly bucket: string | null;
}

export interface PutOptions extends CallOptions {
  /** What the file goes by: 1 byte to 16 KiB of UTF-8. */
  readonly name: string;
  /** Bytes; 64 KiB to 64 MiB, default 1 MiB. */
  readonly chunkSize?: number;
  /** When sweep removes it; null (default) for never. */
  readonly expiresAtMs?: number | null;
}

/** A file as the catalog knows it. */
export interface FileInfo {
  /** 64 hex digits. */
  readonly hash: string;
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly createdAtMs: number;
  readonly modifiedAtMs: number | null;
  readonly mode: number | null;
  readonly expiresAtMs: number | null;
  readonly chunkSize: number;
  readonly chunks: number;
  readonly redundancy: Redundancy;
}

export interface PutResult extends FileInfo {
  /** The same content was there under the same name; `hash` is that file's, and nothing was stored. */
  readonly unchanged: boolean;
  /** Chunks that were not in the vault before, or were not whole. */
  readonly chunksStored: number;
  /** Bytes sent to buckets: shards and manifests. */
  readonly bytesStored: number;
  /** Chunks of this file stored with fewer shards than the redundancy asks for; `repair` completes them. */
  readonly degradedChunks: number;
  /** Buckets that have the manifest. */
  readonly manifestCopies: number;
  /** Whether manifest or chunks have fewer copies than they should. */
  readonly degraded: boolean;
}

export interface StoredFile extends FileInfo {
  /** The source's modification time; null if it had none. */
  readonly modified: FileTime | null;
  /**
   * The file's bytes in order, each run verified before it is yielded. A run's memory is only valid until the next one is asked for.
   *
   * @throws `damaged` if a chunk cannot be had from any k shards, naming which bucket lacks what; `unavailable` if it
   *   could be had from a bucket that is down; `file-not-found` if the file is removed meanwhile; what came before was right
   */
  content(options?: CallOptions): AsyncIterable<Uint8Array>;
}

export interface RemoveResult {
  readonly removed: readonly FileInfo[];
  readonly objectsRemoved: number;
  /** Objects that could not be removed now, remembered for the next sweep. */
  readonly objectsOwed: number;
}

export interface SweepResult {
  readonly expired: readonly FileInfo[];
  readonly objectsRemoved: number;
  readonly objectsOwed: number;
  /** Objects that nothing explains and that this sweep left: seen for the first time, or of files unknown to the catalog. */
  readonly strays: number;
  /** Manifests that open with this vault's key and are not in the catalog: files that `recover` can bring back. */
  readonly unknownFiles: readonly string[];
  /** Buckets that could not be asked. */
  readonly unreachable: readonly string[];
}

export interface FileDetails extends FileInfo {
  /** Bytes of this file's chunks in all buckets; shared chunks count in full. */
  readonly storedBytes: number;
  readonly placement: readonly ChunkPlacement[];
}

export interface ChunkPlacement {
  readonly chunkId: string;
  /** Bytes of the file in this chunk. */
  readonly length: number;
  readonly redundancy: Redundancy;
  /** Bucket labels by shard index; null where a shard is not stored, and an empty list for a chunk that the catalog does not know. */
  readonly shards: readonly (string | null)[];
}

export interface BucketInfo {
  readonly id: string;
  /** The bucket's URL. */
  readonly url: string;
  readonly state: BucketState;
}

export interface VerifyOptions extends CallOptions {
  /** Hashes, prefixes or names; all files unless given. */
  readonly references?: readonly string[];
  /** `listing`: everything is there and has the right size. `data`: everything is read and is right. */
  readonly depth: 'listing' | 'data';
  /** With depth `data`: the fraction of chunks and manifests to read, 0 to 1; the others are looked at by listings. */
  readonly sample?: number;
  /** Chance, for the sample: 0 up to 1, as `Math.random`. */
  readonly random?: () => number;
}

/**
 * How something stands.
 *
 * - `whole`     nothing is missing
 * - `unknown`   nothing is known to be missing, but a bucket could not be asked
 * - `degraded`  something is missing, and `repair` can put it back, perhaps only when all buckets can be reached
 * - `lost`      too little is left, and every bucket that counts has answered
 */
export type Condition = 'whole' | 'unknown' | 'degraded' | 'lost';

export type Tally = Readonly<Record<Condition, number>>;

/** What is wrong with a file, and where. */
export interface FileProblem {
  /** `record`: the file's row in the catalog. */
  readonly what: 'shards' | 'manifest' | 'record';
  /**
   * `missing`, `damaged`: in that bucket. `unknown`: the bucket could not be asked. `unstored`: the catalog has no place for
   * it. `unrecorded`: the catalog does not know the file's chunks, or has them wrong, which `recover` mends.
   */
  readonly problem: 'missing' | 'damaged' | 'unknown' | 'unstored' | 'unrecorded';
  /** The bucket's URL; null if it is none's. */
  readonly bucket: string | null;
}

export interface FileCondition {
  readonly hash: string;
  /** Null if the catalog's record of the file is damaged. */
  readonly name: string | null;
  readonly condition: Exclude<Condition, 'whole'>;
  readonly problems: readonly FileProblem[];
}

export interface BucketCondition extends BucketInfo {
  /** Why the bucket could not be asked, or not to the end; null if it could. */
  readonly error: string | null;
  /** Shards that should be there, of those looked at. */
  readonly shards: number;
  readonly shardsMissing: number;
  readonly shardsDamaged: number;
  /** Manifests that are not there; each file needs only m + 1 copies. */
  readonly manifestsMissing: number;
  readonly manifestsDamaged: number;
  /** Keyslots that are missing there, or are not what the catalog has. */
  readonly keyslotsWrong: number;
}

export interface VerifyResult {
  /** The gravest of all; `degraded` also if a bucket could not be asked. */
  readonly outcome: 'whole' | 'degraded' | 'lost';
  readonly files: Tally;
  readonly chunks: Tally;
  /** Files that are not whole, gravest first. */
  readonly affected: readonly FileCondition[];
  readonly buckets: readonly BucketCondition[];
}

export interface RepairOptions extends CallOptions {
  /** Hashes, prefixes or names; all files unless given. */
  readonly references?: readonly string[];
  /** How to find out what to repair; see `VerifyOptions.depth`. Default `listing`. */
  readonly depth?: 'listing' | 'data';
  /** New redundancy of the vault: new files get it, and what is stored is coded anew. */
  readonly redundancy?: Redundancy;
  /** URL or id of a bucket that is gone for good. */
  readonly forgetBucket?: string;
}

export interface RepairResult {
  /** What is left to do: nothing; something for later, when buckets or room can be had; or something is lost for good. */
  readonly outcome: 'whole' | 'degraded' | 'lost';
  /** Chunks made whole, moved or coded anew. */
  readonly chunksRepaired: number;
  readonly shardsStored: number;
  readonly manifestsStored: number;
  readonly keyslotsStored: number;
  readonly markersStored: number;
  /** Rows of files in the catalog that were made anew from their manifests. */
  readonly recordsRepaired: number;
  /** Bytes sent to buckets. */
  readonly bytesStored: number;
  /** Files that are not whole after all, gravest first: lost ones cannot be read any more. */
  readonly affected: readonly FileCondition[];
  /** Whether the bucket to be forgotten has been; null if none was to be. */
  readonly forgotten: boolean | null;
  /** Replaced objects that could not be removed now, remembered for the next sweep. */
  readonly objectsOwed: number;
  /** URLs of buckets that could not be used. */
  readonly unreachable: readonly string[];
}

export interface BucketReport extends BucketInfo {
  /** Objects and bytes of this vault in it; null if it could not be listed. */
  readonly objects: number | null;
  readonly bytes: number | null;
  /** Why it cannot be used; null if it can. */
  readonly error: string | null;
}

export interface RemoveBucketResult {
  /** Whether it is the vault's no more; else repeat the removal when what `reasons` names is over. */
  readonly removed: boolean;
  readonly shardsMoved: number;
  readonly manifestsCopied: number;
  readonly objectsRemoved: number;
  /** What kept the bucket from being emptied, a sentence each. */
  readonly reasons: readonly string[];
}
