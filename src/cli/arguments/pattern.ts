/** Patterns of names, as the shell and .gitignore have them. */
import picomatch from 'picomatch';

/**
 * Whether a name fits a pattern: `*`, `?`, `[a-z]`, `{a,b}` and `**`. As in .gitignore, a pattern without a slash is
 * compared with the last part of a name too, and a folder's name stands for all in it.
 *
 * @param pattern undefined fits every name
 */
export function patternMatcher(pattern: string | undefined): (name: string) => boolean {
  if (pattern === undefined) return () => true;
  // The flag has `**` fit names of several lines.
  const options: picomatch.Options = { dot: true, posixSlashes: false, nonegate: true, flags: 's' };
  const folder = pattern.replace(/^\.\//, '').replace(/\/+$/, '');
  const matches = [picomatch(folder, options), picomatch(`${folder}/**`, options)];
  const basename = folder.includes('/') ? null : picomatch(folder, options);
  return (name) =>
    name === pattern ||
    matches.some((match) => match(name)) ||
    (basename !== null && basename(name.slice(name.lastIndexOf('/') + 1)));
}
