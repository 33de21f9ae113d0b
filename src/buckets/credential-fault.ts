import { connectionFault } from './connection.ts';

/** What the clouds' libraries say with the command line of a program, or with what it has printed. */
const OF_PROGRAMS = [
  [/Command failed: /, 'the credential_process failed'],
  [
    /Provided command|The executable (?:failed with|returned)|output file contained/,
    'the program of its credential_source failed',
  ],
] as const;

/**
 * Why a cloud's library has no credentials, in a few words. Its own may quote a command line, or the beginning of a file,
 * which may be secrets: those never go into a message.
 */
export function credentialFault(error: unknown): string {
  const fault = connectionFault(error);
  const [, failed] = OF_PROGRAMS.find(([said]) => said.test(fault)) ?? [];
  if (failed !== undefined) return failed;
  if (/in JSON|JSON input|valid JSON$|Unexpected token/.test(fault))
    return 'a file of credentials is not JSON';
  return fault;
}
