/** Where a catalog can be, told before anything is opened, resolved or shown. */
import { invalidInput, mayHoldSecret } from '../errors.ts';

/** Whether a location is a database server's URL, well formed or not, rather than a file's path. */
export function isDatabaseUrl(location: string): boolean {
  return /^postgres(ql)?:/i.test(location);
}

/** The other form of libpq's connection strings, `host=localhost dbname=vault`, which would be the name of a file. */
const KEYWORDS = /(^|[\s'"?&])(host|hostaddr|port|dbname|user|password|passfile|service|sslmode)\s*=\s*\S/i;

/**
 * Refuses what is neither a database server's URL nor meant as a path.
 *
 * @throws `invalid-input`; never with the location in the message, which may hold a password
 */
export function requireLocation(location: string): void {
  if (isDatabaseUrl(location)) return;
  if (KEYWORDS.test(location)) {
    throw invalidInput(
      'A catalog is an SQLite file or a postgres:// URL, not a list of keywords: postgres://user@host:port/database is the form.',
    );
  }
  const [, scheme] = /^([a-z][a-z0-9+.-]+):\/\//i.exec(location) ?? [];
  if (scheme !== undefined) {
    throw invalidInput(`A catalog is an SQLite file or a postgres:// URL, not ${scheme}://...`);
  }
  if (mayHoldSecret(location)) {
    throw invalidInput(
      'A catalog is an SQLite file or a postgres:// URL, which begins with postgres://, without quotes, blanks or anything else before that. What was given is not shown here, as it may hold a password. For a file of such a name, put ./ before it.',
    );
  }
}

/** A location without the password in its URL; a path as it is. */
export function withoutSecret(location: string): string {
  return location
    .replace(/^(\w+:\/\/[^:@/]*):.*@/s, '$1@')
    .replace(/([?&](?:ssl)?password=)[^&]*/gi, '$1***');
}
