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

/** @param cause what the system threw */
export function restoreError(path: string, cause: unknown): VaultError {
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
      return impossibleName(path, cause);
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

/** @param cause what the system threw */
export function impossibleName(path: string, cause: unknown): VaultError {
  return invalidInput(`${path} cannot be the name of a file there. Choose another with -o <path>.`, cause);
}
