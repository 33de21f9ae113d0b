/** Errors on their way between threads. */
import { isVaultError, messageOf, VaultError } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';

export interface ThreadError {
  /** null: a bug. */
  readonly code: ErrorCode | null;
  readonly message: string;
}

export function toThreadError(error: unknown): ThreadError {
  return { code: isVaultError(error) ? error.code : null, message: messageOf(error) };
}

export function fromThreadError({ code, message }: ThreadError): Error {
  return code === null ? new Error(message) : new VaultError(code, message);
}
