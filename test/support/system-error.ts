import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

/**
 * What Node throws where the system refuses a call.
 *
 * @param options `atOnce`: made by the main thread, not by one of Node's pool: of what has no name there other words are made
 */
export function systemError(
  code: string,
  { syscall = 'write', atOnce = false }: { readonly syscall?: string; readonly atOnce?: boolean } = {},
): Error {
  const number = Object.entries(constants.errno).find(([name]) => name === code)?.[1] ?? 0;
  const hasName = number === 0 || getSystemErrorMap().has(-number);
  const unnamed = `Unknown system error -${number}`;
  const name = hasName ? code : atOnce ? 'UNKNOWN' : unnamed;
  const words = hasName ? 'said so' : atOnce ? 'unknown error' : unnamed;
  const error = new Error(`${name}: ${words}, ${syscall} '/proc/self/fd/9/x'`);
  return Object.assign(error, { errno: -number, code: name, syscall });
}
