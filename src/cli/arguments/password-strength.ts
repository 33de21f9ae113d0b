/** Whether a new password is easy to guess. It names what is plainly weak; that nothing is does not make a password good. */

const LEAST_LENGTH = 12;
/** Fewer different characters than that are a pattern. */
const LEAST_DIFFERENT = 5;

/** Beginnings that come first in every list of leaked passwords. */
const COMMON =
  /^(pass(wor[dt]|w0rd|phrase)|passw|qwert[yz]|letmein|welcome|admin|iloveyou|dragon|monkey|football|baseball|sunshine|princess|master|shadow|superman|batman|trustno1|abc123|secret|changeme|default|vault|shardvault|backup)/;
const ROWS = [
  'abcdefghijklmnopqrstuvwxyz',
  '01234567890123456789',
  'qwertyuiopasdfghjklzxcvbnm',
  '1q2w3e4r5t6z7u8i9o0p',
];
/** Longest run of a row that is no row. */
const MOST_IN_ROW = 7;

/** @returns what is weak about it, to go on with "The password"; null if nothing plainly is */
export function weaknessOf(password: string): string | null {
  const characters = Array.from(password);
  if (characters.length < LEAST_LENGTH) return `has fewer than ${LEAST_LENGTH} characters`;
  if (new Set(characters).size < LEAST_DIFFERENT) return 'has few different characters';
  const plain = password.toLowerCase();
  const word = plain.replace(/[^a-z]+$/, '').replace(/^[^a-z]+/, '');
  if (COMMON.test(plain) && word.length < LEAST_LENGTH) return 'is a common one with something added';
  return hasRow(plain) ? 'is mostly a row of keys' : null;
}

/** Whether most of a text is a row of the keyboard or the alphabet. */
function hasRow(text: string): boolean {
  const length = Math.max(MOST_IN_ROW + 1, Math.ceil(text.length * 0.6));
  const backwards = Array.from(text).toReversed().join('');
  return [text, backwards].some((one) => {
    for (let at = 0; at + length <= one.length; at += 1) {
      const part = one.slice(at, at + length);
      if (ROWS.some((row) => row.includes(part))) return true;
    }
    return false;
  });
}
