/** Which entries of a folder are left out, by patterns as git has them. */
import { diskPath } from './disk-path.ts';
import type { DiskPath } from './disk-path.ts';

export interface Excludes {
  /**
   * Whether patterns leave an entry out. What lies in a folder that is left out is never asked for.
   *
   * @param path below the folder that is stored
   */
  excludes(path: DiskPath, kind: { readonly isFolder: boolean }): boolean;
}

/** After so many questions the matcher is made anew: it remembers every answer. */
const REMEMBERED = 20_000;

/**
 * Patterns in the syntax of `.gitignore`, relative to the folder that is stored; a later one counts more than an earlier one,
 * and `!` takes back. As in git, case counts and matching is by bytes.
 *
 * @param patterns lines, or whole files of them with comments
 */
export async function makeExcludes(patterns: readonly (string | Buffer)[]): Promise<Excludes | null> {
  const texts = patterns.map((pattern) => diskPath(pattern).replace(/^\u00EF\u00BB\u00BF/, ''));
  if (texts.every((text) => text.trim() === '')) return null;
  const { default: ignore } = await import('ignore');
  const make = (): ReturnType<typeof ignore> => {
    const matcher = ignore({ ignorecase: false });
    for (const text of texts) matcher.add(text);
    return matcher;
  };
  let matcher = make();
  let asked = 0;
  return {
    excludes(path, { isFolder }) {
      asked += 1;
      if (asked % REMEMBERED === 0) matcher = make();
      return matcher.ignores(isFolder ? `${path}/` : path);
    },
  };
}
