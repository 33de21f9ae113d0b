/** What every verb takes and tells: options, progress, warnings. */

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Told of everything that went wrong and was got round: a bucket down, a shard damaged. */
  readonly onWarning?: ((warning: Warning) => void) | undefined;
  /** Told of each thing that is done, by those that clear up: sweep and repair. */
  readonly onStep?: ((step: Step) => void) | undefined;
}

/** One thing that a sweep or a repair has done. */
export interface Step {
  readonly what: 'removed' | 'expired' | 'repaired' | 'stored';
  /** An object's name, `chunk` and an id, or a file's name. */
  readonly on: string;
}

/** How far an operation has come. */
export interface Progress {
  /** Bytes (or, where the verb says so, files) done so far. */
  readonly doneBytes: number;
  /** In all; null where it is not known (standard input). */
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
    | 'catalog'
    /** What the target's file system did not take of a restored file, other than its bytes. */
    | 'not-kept'
    /** This machine's clock is not the buckets'. */
    | 'clock'
    /** The keyring is not as new as what is stored, or names buckets whose places are not known. */
    | 'keyring';
  /** For people: what, where, and what it means. */
  readonly message: string;
  /** The bucket concerned; null if none is. */
  readonly bucket: string | null;
}
