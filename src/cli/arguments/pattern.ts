/** Patterns of names, as the shell and .gitignore have them. */
import picomatch from 'picomatch';
import { nameOfPath } from './options.ts';

/** Characters that make a text a pattern. */
export const WILDCARD: RegExp = /[*?[{]/;

/** Longer than any name; the matcher takes no more than 64 KiB. */
const MAX_LENGTH = 65_000;

/**
 * Whether a name fits a pattern: `*`, `?`, `[a-z]`, `{a,b}` and `**`. As in .gitignore, a pattern without a slash is
 * compared with the last part of a name too, and a folder's name stands for all in it. What it says to the letter fits, too.
 *
 * @param pattern undefined fits every name
 */
export function patternMatcher(pattern: string | undefined): (name: string) => boolean {
  if (pattern === undefined) return () => true;
  const matchers = [...new Set([pattern, nameOfPath(pattern)])].map(matcherOf);
  return (name) => matchers.some((matches) => matches(name));
}

/** Whether a name is this one, or that of something in a folder of this name. */
export function literalMatcher(typed: string): (name: string) => boolean {
  const folder = withoutSlash(typed);
  return (name) => name === typed || name === folder || (typed !== '' && name.startsWith(`${folder}/`));
}

function matcherOf(pattern: string): (name: string) => boolean {
  const isHere = literalMatcher(pattern);
  const folder = withoutSlash(pattern);
  const baseOf = folder.includes('/')
    ? null
    : (name: string): string => name.slice(name.lastIndexOf('/') + 1);
  // Names with brackets are common, and mean no choice.
  const glob = folder.replace(/\\.|[()|]/gs, (part) => (part.length > 1 ? part : `\\${part}`));
  if (!WILDCARD.test(folder) || glob.length > MAX_LENGTH) {
    return (name) => isHere(name) || baseOf?.(name) === folder;
  }
  // The flag has `**` fit names of several lines.
  const options = { dot: true, posixSlashes: false, nonegate: true, noextglob: true, flags: 's' };
  const [fits, fitsIn] = [picomatch(glob, options), picomatch(`${glob}/**`, options)];
  return (name) => isHere(name) || fits(name) || fitsIn(name) || (baseOf !== null && fits(baseOf(name)));
}

function withoutSlash(typed: string): string {
  return typed.replace(/\/+$/, '');
}
