/** Text as one word of a shell's command line: for jobs, and for messages that say what to type. */

// Controls, surrogates, line and paragraph separators, and invisible formatting, some of which reverses
// what a terminal shows. The joiners U+200C and U+200D stay: scripts and emoji are spelt with them.
const UNPRINTABLE = /(?![\u200C\u200D])[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Cf}]/u;
export const EVERY_UNPRINTABLE = new RegExp(UNPRINTABLE, 'gu');
const EVERY_UNPRINTABLE_OR_QUOTE = new RegExp(`${UNPRINTABLE.source}|[\\\\']`, 'gu');

/** Whether a terminal shows all of a text as it is. */
export function isPrintable(text: string): boolean {
  return !UNPRINTABLE.test(text);
}

/** A word as every POSIX shell reads it; without a backslash, of which some versions of cron make something else. */
export function shellWord(text: string): string {
  return /^[\w@+:,./-][\w@+=:,./-]*$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}

/** The same in a message: on one line, and visible. */
export function typedWord(text: string): string {
  return isPrintable(text) ? shellWord(text) : escapedWord(text);
}

/** `$'...'`, which bash and zsh read back as the same text. */
export function escapedWord(text: string): string {
  return `$'${text.replace(EVERY_UNPRINTABLE_OR_QUOTE, escaped)}'`;
}

const SHORT_ESCAPES = new Map([
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
  ['\\', '\\\\'],
  ["'", "\\'"],
]);

export function escaped(character: string): string {
  const short = SHORT_ESCAPES.get(character);
  if (short !== undefined) return short;
  const point = character.codePointAt(0) ?? 0;
  if (point < 0x80) return `\\x${point.toString(16).padStart(2, '0')}`;
  return point <= 0xffff
    ? `\\u${point.toString(16).padStart(4, '0')}`
    : `\\U${point.toString(16).padStart(8, '0')}`;
}
