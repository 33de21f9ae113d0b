/** What is no bug wherever it is met: the command was started where it cannot work. */
import { invalidInput, isOutOfFiles, isVaultError, outOfFiles } from '../errors.ts';

/** An error as it is told: whatever is no `VaultError` is a bug, unless what the process was given is to blame. */
export function asTold(error: unknown): unknown {
  if (isVaultError(error)) return error;
  if (error instanceof Error && 'syscall' in error && error.syscall === 'uv_cwd')
    return noWorkingFolder(error);
  return isOutOfFiles(error) ? outOfFiles('', error) : error;
}

export function noWorkingFolder(cause: unknown): Error {
  return invalidInput(
    'The working folder has been removed, or its path is too long. Go to another one, or give whole paths.',
    cause,
  );
}
