/** What is no bug wherever it is met: the command was started where it cannot work. */
import { invalidInput, isOutOfFiles, isVaultError, outOfFiles } from '../errors.ts';
import type { Host } from '../host.ts';

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

/**
 * What to say of a TZ that Node takes for another time zone: it knows zones by name, and of POSIX's notation whole hours without
 * summer time alone.
 *
 * @returns null if it takes it as it is meant
 */
export function misreadZone({ clock, environment }: Pick<Host, 'clock' | 'environment'>): string | null {
  const given = environment['TZ'] ?? '';
  const zone = given.replace(/^:?((posix|right)\/)?/, '');
  if (zone === '' || isZoneName(zone)) return null;
  const now = new Date(clock.now());
  const [, hours] = /^(?:[A-Za-z]{3,}|<[^>]+>)([+-]?\d{1,2})$/.exec(zone) ?? [];
  if (hours !== undefined && now.getTimezoneOffset() === Number(hours) * 60) return null;
  const [taken = 'another zone'] = /GMT[+-]\d+/.exec(String(now)) ?? [];
  return `TZ "${given}" is taken for ${taken}, since only names of time zones are known here. Give one, as TZ=Europe/Berlin.`;
}

function isZoneName(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone }).format();
    return true;
  } catch {
    return false;
  }
}
