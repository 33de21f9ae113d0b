/** What is typed where files are meant: hashes, names, and patterns of names. */
import { lstat } from 'node:fs/promises';
import { dirname, extname } from 'node:path';
import { isVaultError, VaultError } from '../../errors.ts';
import type { ListOptions } from '../../vault/read/list.ts';
import type { Vault } from '../../vault/vault.ts';
import { nameAsTyped } from './options.ts';
import { patternMatcher } from './pattern.ts';

/** Characters that make a text a pattern. */
export const WILDCARD: RegExp = /[*?[{]/;

export interface Typed {
  /** The verb, for advice. */
  readonly verb: string;
  readonly references: readonly string[];
}

/** Whether these may mean more than one file. */
export function meansSeveral(references: readonly string[]): boolean {
  return references.length > 1 || references.some((reference) => WILDCARD.test(reference));
}

/**
 * Works with the files that somebody means. A pattern stands for what `vault ls` lists for it, by hash; where a file has exactly
 * that name, for that one. A pattern that fits nothing stays as it is, so that it is told as unknown together with the names.
 *
 * @param work is given what `Vault` takes as references, each once
 * @param list which files a pattern stands for
 * @throws what `work` throws; `file-not-found` with advice where the shell seems to have expanded a pattern
 */
export async function withFilesMeant<T>(
  vault: Vault,
  { verb, references }: Typed,
  work: (references: readonly string[]) => Promise<T>,
  list: ListOptions = {},
): Promise<T> {
  try {
    return await work(await filesMeant(vault, references, list));
  } catch (error) {
    const advice = isVaultError(error, 'file-not-found') ? await quotingAdvice(verb, references) : null;
    if (advice === null || !isVaultError(error)) throw error;
    throw new VaultError(error.code, `${error.message} ${advice}`, { cause: error });
  }
}

async function filesMeant(
  vault: Vault,
  references: readonly string[],
  list: ListOptions,
): Promise<readonly string[]> {
  const patterns = references
    .filter((reference) => WILDCARD.test(reference))
    .map((pattern) => ({
      pattern,
      name: nameAsTyped(pattern),
      matches: patternMatcher(pattern),
      hashes: new Array<string>(),
      exact: false,
    }));
  if (patterns.length > 0) {
    const seen = new Set<string>();
    for await (const { name: bare, hash, writer } of vault.list(list)) {
      const name = writer.isOwn ? bare : `${writer.label}:${bare}`;
      // Of removed files every version is listed, and the first is the one that the name means.
      if (list.deleted === true && seen.has(name)) continue;
      for (const one of patterns) {
        // A pattern means what others have stored only if it says whose.
        const isMeant = writer.isOwn || one.name.startsWith(`${writer.label}:`);
        if (name === one.name) one.exact = true;
        else if (isMeant && one.matches(name)) one.hashes.push(hash);
      }
      if (list.deleted === true) seen.add(name);
    }
  }
  const meant = new Set<string>();
  for (const reference of references) {
    const found = patterns.find(({ pattern }) => pattern === reference);
    if (found === undefined || found.exact || found.hashes.length === 0) meant.add(nameAsTyped(reference));
    else for (const hash of found.hashes) meant.add(hash);
  }
  return [...meant];
}

/**
 * What to say to somebody whose shell has put the names of files here in the place of a pattern that was meant for the vault.
 *
 * @returns null unless there are several names, each of which is a file here
 */
export async function quotingAdvice(verb: string, names: readonly string[]): Promise<string | null> {
  if (names.length < 2) return null;
  const found = await Promise.all(names.map(async (name) => lstat(name).catch(() => null)));
  if (found.includes(null)) return null;
  const folders = new Set(names.map((name) => (name.includes('/') ? `${dirname(name)}/` : '')));
  const endings = new Set(names.map(extname));
  const [folder = ''] = folders.size === 1 ? folders : [];
  const [ending = ''] = endings.size === 1 ? endings : [];
  return `If that was a pattern, the shell has put the files of this machine in its place. Put it in quotes: vault ${verb} '${folder}*${ending}'`;
}
