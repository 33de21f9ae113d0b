/** What every verb takes and tells: options, progress, warnings. */

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Told of everything that went wrong and was got round: a bucket down, a shard damaged. */
  readonly onWarning?: ((warning: Warning) => void) | undefined;
  /** Told of each thing that is done, by those that clear up: sweep and repair. */
  readonly onStep?: ((step: Step) => void) | undefined;
}

/** Of a verb that has the vault opened with a new secret. */
export interface SecretOptions extends CallOptions {
  /** Told before a bucket is given what the secret opens: until then nobody needs the secret. */
  readonly onStoring?: (() => void) | undefined;
}

/** One thing that a sweep or a repair has done. */
export interface Step {
  readonly what: 'removed' | 'expired' | 'repaired' | 'stored';
  /** An object's name, `chunk` and an id, or a file's name. */
  readonly on: string;
}

/** Of a verb that can tell what it would do. */
export interface PlanOptions extends CallOptions {
  /** Only tells what would be done. */
  readonly dryRun?: boolean | undefined;
  /** With `dryRun`: told of each step, one after the other. */
  readonly onPlanned?: ((step: PlannedStep) => void | Promise<void>) | undefined;
}

/** What a verb would do with one object. */
export interface PlannedStep {
  /** `hide`: the file is removed, and can be brought back. `store`: something new is stored. */
  readonly action: 'hide' | 'remove' | 'store';
  /** The object's name; where shards are to be stored, whose names are drawn then, that of the chunk. */
  readonly object: string;
  readonly reason:
    /** To be hidden: a file whose time is over. To be removed: what was shared by a link that has expired. */
    | 'expired'
    /** To be removed: the manifest of a removed file whose grace is over; a shard of a chunk that no file needs; one beyond a complete set. */
    | 'removed'
    | 'unneeded'
    | 'surplus'
    /** To be removed: an earlier sweep or repair has chosen it. It stays if it is needed by now. */
    | 'chosen'
    /** To be stored: it is missing, not what it should be, in a bucket that is being emptied, or of another redundancy. */
    | 'missing'
    | 'damaged'
    | 'moved'
    | 'recoded';
  /** In all buckets; null where that is not known. */
  readonly bytes: number | null;
  /** The name of the file; null where it is not known, or no single one. */
  readonly file: string | null;
  /** Who stored that, where there is one. */
  readonly writer?: { readonly id: string; readonly label: string; readonly isOwn: boolean } | undefined;
  /** The bucket's URL; null where it is all that have it, or where it is drawn then. */
  readonly bucket: string | null;
}

/** How far an operation has come. */
export interface Progress {
  /** Bytes done so far. */
  readonly doneBytes: number;
  /** In all; null where it is not known (standard input). */
  readonly totalBytes: number | null;
  /** Of a folder, or where no bytes are counted: files so far. */
  readonly doneFiles?: number | undefined;
  /** In all, where it is known. */
  readonly totalFiles?: number | undefined;
}

/** Something that went wrong and was got round. */
export interface Warning {
  readonly kind:
    | 'bucket-down'
    | 'shard-damaged'
    | 'shard-missing'
    | 'manifest-damaged'
    | 'degraded'
    | 'catalog'
    /** What the target's file system did not take of a restored file, other than its bytes, or the vault of one that is stored. */
    | 'not-kept'
    /** What of a folder could not be stored as it is: it makes the version incomplete. */
    | 'missed'
    /** What of a folder means nothing elsewhere, as a socket. */
    | 'skipped'
    /** What of a folder is the vault's own, such as its buckets. No fault. */
    | 'left-out'
    /** What was stored of a folder could not be noted on this machine. */
    | 'not-remembered'
    /** A link may end before its time. */
    | 'expires-sooner'
    /** What was to be locked is not, or not everywhere. */
    | 'not-retained'
    /** More puts seem to run than can be. */
    | 'marker-flood'
    /** This machine's clock is not the buckets'. */
    | 'clock'
    /** The keyring is not as new as what is stored, or names buckets whose places are not known. */
    | 'keyring';
  /** For people: what, where, and what it means. */
  readonly message: string;
  /** The bucket concerned; null if none is. */
  readonly bucket: string | null;
}
