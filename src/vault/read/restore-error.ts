/** What a failure to write a restored file is called. */
import {
  invalidInput,
  isFull,
  isOutOfFiles,
  messageOf,
  noRoom,
  outOfFiles,
  systemCode,
  VaultError,
} from '../../errors.ts';

/** For what has the name that the folder gives it. */
export const TAR_HAS_IT = 'A tar (-o -) has it.';
const RENAME = 'Choose another with -o <path>.';

/** Calls that make something in a folder. */
const MAKING = new Set(['', 'open', 'mkdir', 'symlink', 'mknod']);

/** What may be refused, by the system's call. */
const TRIED: Readonly<Record<string, string>> = {
  open: 'open or make a file or folder',
  mkdir: 'make a folder',
  scandir: 'list the folder',
  stat: 'look',
  lstat: 'look',
  symlink: 'make a link',
  link: 'give a file its name',
  rename: 'give a file its name',
  unlink: 'remove a file',
};

function callOf(cause: unknown): string {
  return cause instanceof Error && 'syscall' in cause && typeof cause.syscall === 'string'
    ? cause.syscall
    : '';
}

/** @param cause what the system threw @param otherwise what to do about a name that cannot be */
export function restoreError(path: string, cause: unknown, otherwise = RENAME): VaultError {
  const reason = messageOf(cause);
  if (isOutOfFiles(cause)) return outOfFiles(`${path} could not be written.`, cause);
  if (isFull(cause)) return noRoom(`${path} could not be written: ${reason}.`, cause);
  const code = systemCode(cause) ?? '';
  const call = callOf(cause);
  switch (code) {
    case 'ENOENT':
      if (MAKING.has(call))
        return invalidInput(`${path} cannot be written: its folder does not exist.`, cause);
      return new VaultError(
        'unavailable',
        `${path} could not be written: what was there of it, or its folder, was removed meanwhile. Repeat this.`,
        { cause },
      );
    case 'ENOTDIR':
      return invalidInput(
        `${path} cannot be written: what should be a folder on the way to it is none.`,
        cause,
      );
    case 'ENAMETOOLONG':
    case 'EILSEQ':
    case 'ELOOP':
      return impossibleName(path, cause, otherwise);
    case 'EROFS':
      return new VaultError('denied', `${path} is on a file system that is read-only.`, { cause });
    case 'EACCES':
    case 'EPERM':
    case 'ENOKEY':
      return new VaultError(
        'denied',
        `${path} could not be written: ${code === 'ENOKEY' ? reason : `this user may not ${TRIED[call] ?? 'do that'} there (${code})`}. Change that, or name another place.`,
        { cause },
      );
    default:
      return new VaultError('unavailable', `${path} could not be written: ${reason}.`, { cause });
  }
}

/** See `restoreError`. */
export function impossibleName(path: string, cause: unknown, otherwise = RENAME): VaultError {
  return invalidInput(`${path} cannot be the name of a file there. ${otherwise}`, cause);
}
