/** What the process says to scripts when it ends. Part of the interface: numbers never change their meaning. */
import { isVaultError, type ErrorCode } from '../errors.ts';

export type ExitCode = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 10 | 12 | 130;

export const DONE: ExitCode = 0;
export const BUG: ExitCode = 1;
export const WRONG_USAGE: ExitCode = 2;
/** Done, but something needs attention: stored with less redundancy, objects left to sweep. */
export const ATTENTION: ExitCode = 3;
/** Stored bytes are damaged or lost. */
export const DAMAGED: ExitCode = 6;
/** What is stored needs a newer version than this one. */
export const TOO_OLD: ExitCode = 7;
export const INTERRUPTED: ExitCode = 130;

const EXIT_OF: Readonly<Record<ErrorCode, ExitCode>> = {
  'invalid-input': WRONG_USAGE,
  denied: WRONG_USAGE,
  retained: WRONG_USAGE,
  'already-exists': WRONG_USAGE,
  'bucket-mismatch': WRONG_USAGE,
  'bucket-missing': WRONG_USAGE,
  unsupported: TOO_OLD,
  'file-not-found': 4,
  unavailable: 5,
  'source-changed': 5,
  'storage-full': 5,
  stale: 5,
  damaged: DAMAGED,
  'object-missing': DAMAGED,
  'no-vault': 10,
  'wrong-password': 12,
  interrupted: INTERRUPTED,
};

/** The exit code for an error; whatever is not a VaultError is a bug. */
export function exitCodeOf(error: unknown): ExitCode {
  return isVaultError(error) ? EXIT_OF[error.code] : BUG;
}

// From the least to the worst. "Try again" yields to what trying again cannot cure.
const SEVERITY: readonly ExitCode[] = [0, ATTENTION, 4, 5, WRONG_USAGE, 10, 12, TOO_OLD, 6, BUG, INTERRUPTED];

/** The code of a command whose parts ended differently: that of the worst. */
export function worst(codes: Iterable<ExitCode>): ExitCode {
  let result: ExitCode = DONE;
  for (const code of codes) {
    if (SEVERITY.indexOf(code) > SEVERITY.indexOf(result)) result = code;
  }
  return result;
}
