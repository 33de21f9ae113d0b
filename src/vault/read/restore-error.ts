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

/** @param cause what the system threw @param otherwise what to do about a name that cannot be */
export function restoreError(path: string, cause: unknown, otherwise = RENAME): VaultError {
  const reason = messageOf(cause);
  if (isOutOfFiles(cause)) return outOfFiles(`${path} could not be written.`, cause);
  if (isFull(cause)) return noRoom(`${path} could not be written: ${reason}.`, cause);
  switch (systemCode(cause)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return invalidInput(`${path} cannot be written: its folder does not exist.`, cause);
    case 'ENAMETOOLONG':
    case 'EILSEQ':
    case 'ELOOP':
      return impossibleName(path, cause, otherwise);
    case 'EROFS':
      return new VaultError('denied', `${path} is on a file system that is read-only.`, { cause });
    case 'EACCES':
    case 'EPERM':
    case 'ENOKEY':
      return new VaultError('denied', `${path} may not be written by this user.`, { cause });
    default:
      return new VaultError('unavailable', `${path} could not be written: ${reason}.`, { cause });
  }
}

/** See `restoreError`. */
export function impossibleName(path: string, cause: unknown, otherwise = RENAME): VaultError {
  return invalidInput(`${path} cannot be the name of a file there. ${otherwise}`, cause);
}
