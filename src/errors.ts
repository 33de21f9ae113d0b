/**
 * Everything that can go wrong, as a closed set. Callers act on the code and never on the message;
 * messages are for people and may change.
 *
 * - `invalid-input`     wrong usage or configuration; nothing was done
 * - `denied`            credentials were refused by a bucket or the database, or the system allows it not, as to open more files
 * - `retained`          a lock or a policy of the bucket keeps the object from being removed or replaced, until `retainedUntilMs`
 * - `already-exists`    a vault, a bucket or an output file is there already and is not overwritten
 * - `bucket-mismatch`   the place answers, but is not the bucket that the vault knows by this identity
 * - `bucket-missing`    the bucket itself does not exist (an unmounted disk, a mistyped name)
 * - `object-missing`    the bucket answers and has no such object
 * - `file-not-found`    no stored file, or no input file, goes by this name or hash
 * - `source-changed`    the input changed, vanished or failed while it was read
 * - `unavailable`       storage or database cannot be reached just now; the one code that is retried
 * - `storage-full`      no room left; trying again at once cannot help
 * - `damaged`           stored bytes are not what was stored, or too few of them are left
 * - `unsupported`       written by a newer version of the format than this one reads
 * - `no-vault`          there is no vault here
 * - `wrong-password`    no keyslot opens with this password
 * - `stale`             the operation's record was swept meanwhile (it slept too long); start it again
 * - `interrupted`       the caller's signal was aborted
 */
export type ErrorCode =
  | 'invalid-input'
  | 'denied'
  | 'retained'
  | 'already-exists'
  | 'bucket-mismatch'
  | 'bucket-missing'
  | 'object-missing'
  | 'file-not-found'
  | 'source-changed'
  | 'unavailable'
  | 'storage-full'
  | 'damaged'
  | 'unsupported'
  | 'no-vault'
  | 'wrong-password'
  | 'stale'
  | 'interrupted';

/** The only error that this package throws on purpose. Anything else that escapes is a bug. */
export class VaultError extends Error {
  readonly code: ErrorCode;
  /** Milliseconds after which the service asked to be tried again (`Retry-After`); null if it did not say. */
  readonly retryAfterMs: number | null;
  /** Whether nothing answered at all: no such host, nothing that listens or speaks the protocol there, or only silence. */
  readonly unreachable: boolean;
  /** With `retained`: until when, in milliseconds since 1970; null where that is not known. */
  readonly retainedUntilMs: number | null;

  /**
   * @param code what kind of failure this is
   * @param message what was tried, on what, and what the user can do; never a secret
   * @param options `cause`: the error that led here, kept for `--debug` and for callers; the others as the fields
   */
  constructor(
    code: ErrorCode,
    message: string,
    options?: {
      cause?: unknown;
      retryAfterMs?: number | null;
      unreachable?: boolean;
      retainedUntilMs?: number | null;
    },
  ) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'VaultError';
    this.code = code;
    this.retryAfterMs = options?.retryAfterMs ?? null;
    this.unreachable = options?.unreachable ?? false;
    this.retainedUntilMs = options?.retainedUntilMs ?? null;
  }
}

/**
 * Whether an error is a VaultError of one of the given codes.
 *
 * @param error anything caught
 * @param codes the codes that count; none given means any VaultError
 */
export function isVaultError(error: unknown, ...codes: readonly ErrorCode[]): error is VaultError {
  return error instanceof VaultError && (codes.length === 0 || codes.includes(error.code));
}

/** Whether something has failed that others can do without: no bug, and not the caller's abort. */
export function isFailure(error: unknown): error is VaultError {
  return isVaultError(error) && error.code !== 'interrupted';
}

/** What file systems answer that Node has no name for, by its number: on Linux, and on macOS and BSDs where that is another. */
const UNNAMED: Readonly<Record<number, readonly [code: string, message: string]>> = {
  122: ['EDQUOT', 'disk quota exceeded'],
  69: ['EDQUOT', 'disk quota exceeded'],
  116: ['ESTALE', 'stale file handle'],
  70: ['ESTALE', 'stale file handle'],
  37: ['ENOLCK', 'no locks available'],
  77: ['ENOLCK', 'no locks available'],
  74: ['EBADMSG', 'the file system is damaged'],
  117: ['EUCLEAN', 'the file system is damaged'],
  123: ['ENOMEDIUM', 'no medium found'],
  126: ['ENOKEY', 'the key of an encrypted folder is not there'],
};

/** What Node calls an error without a name: the first where a call was made at once, the other where a thread made it. */
const NO_NAME = /^UNKNOWN$|^Unknown system error/;
const NO_WORDS = /^(UNKNOWN: unknown error|Unknown system error \S+: Unknown system error [^ ,]+)/;

function unnamed(error: object): readonly [code: string, message: string] | null {
  if (!('code' in error) || typeof error.code !== 'string' || !NO_NAME.test(error.code)) return null;
  return 'errno' in error && typeof error.errno === 'number' ? (UNNAMED[-error.errno] ?? null) : null;
}

/** The system's error code (`ENOENT`, `ECONNRESET`, ...) of anything caught, or null. */
export function systemCode(error: unknown): string | null {
  if (typeof error !== 'object' || error === null || !('code' in error)) return null;
  return typeof error.code === 'string' ? (unnamed(error)?.[0] ?? error.code) : null;
}

/** A caught value's message, for embedding in another one. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const named = unnamed(error);
  return named === null ? error.message : error.message.replace(NO_WORDS, named.join(': '));
}

/** Whether a file takes no more bytes: its disk is full, or it is as large as it may become. */
export function isFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(systemCode(error) ?? '');
}

/** What to do where no file may become as large as this one would. */
export const LARGER_FILES =
  'No file may become that large: raise that limit ("ulimit -f unlimited"), or take a file system with larger files, and repeat.';

/** What `isFull` knows, as an error. @param failed what could not be done, as a sentence */
export function noRoom(failed: string, cause: unknown): VaultError {
  const advice = systemCode(cause) === 'EFBIG' ? LARGER_FILES : 'Make room, or raise the quota, and repeat.';
  return new VaultError('storage-full', `${failed} ${advice}`, { cause });
}

/** Whether this process, or the machine, may open no more files. Of modules and threads Node says so in words alone. */
export function isOutOfFiles(error: unknown): boolean {
  return (
    /^E[MN]FILE$/.test(systemCode(error) ?? '') || /too many open files|: EMFILE$/.test(messageOf(error))
  );
}

/** What to do where too many files are open. */
export const MORE_FILES = 'Too many files are open at once: raise that limit ("ulimit -n 1024"), and repeat.';

/** `denied`, since waiting does not help. @param failed what could not be done, as a sentence */
export function outOfFiles(failed: string, cause: unknown): VaultError {
  return new VaultError('denied', `${failed} ${MORE_FILES}`.trim(), { cause });
}

/**
 * Whether a text has the shape of a URL or of what is left of one (`'s3://...`, `user:password@host`): where one cannot be meant, a
 * message does not repeat it, since it may hold a password.
 */
export function mayHoldSecret(text: string): boolean {
  return /:\/\/|(^|\/\/)([^/\\]*:|[^/\\]{2,}:\/)[^/\\]*@/.test(text);
}

/** Wrong usage or configuration, as an error: the one that is told of most. @param message see `VaultError` */
export function invalidInput(message: string, cause?: unknown): VaultError {
  return new VaultError('invalid-input', message, { cause });
}

/** The caller's abort, as the error that every operation rejects with. */
export function interrupted(signal: AbortSignal | undefined): VaultError {
  return new VaultError('interrupted', 'The operation was interrupted.', { cause: signal?.reason });
}

/**
 * Throws `interrupted` if the signal has been aborted.
 *
 * @param signal the caller's signal; undefined never throws
 */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw interrupted(signal);
}
