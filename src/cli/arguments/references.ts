/** What is typed where files are meant: hashes, names, and patterns of names. */
import { lstat } from 'node:fs/promises';
import { extname } from 'node:path';
import { isVaultError, VaultError } from '../../errors.ts';
import { typedWord } from '../../shell-word.ts';
import type { ListOptions } from '../../vault/read/list.ts';
import type { Vault } from '../../vault/vault.ts';
import { isAnyWanted } from '../../vault/folders/selection.ts';
import { referenceOf } from '../terminal/describe.ts';
import { plainName } from './options.ts';
import { literalMatcher, patternMatcher, WILDCARD } from './pattern.ts';

export interface Typed {
  /** The verb, for advice. */
  readonly verb: string;
  readonly references: readonly string[];
  /** Whether what is typed more than once is meant as often; otherwise it is meant once. */
  readonly repeats?: boolean;
}

/**
 * Works with the files that somebody means: of each text, what is stored under exactly that; else under what a put of that path is
 * called; else, if it is a pattern, what `vault ls` lists for it, by hash. A pattern that fits nothing stays as it is, so that it is
 * told as unknown together with the names.
 *
 * @param work is given what `Vault` takes as references, each once unless it `repeats`, and whether they may be more than one file
 * @param list which files a pattern stands for
 * @throws what `work` throws; `file-not-found` with advice where the shell seems to have expanded a pattern
 */
export async function withFilesMeant<T>(
  vault: Vault,
  { verb, references, repeats = false }: Typed,
  work: (references: readonly string[], several: boolean) => Promise<T>,
  list: ListOptions = {},
): Promise<T> {
  try {
    const { meant, several } = await filesMeant(vault, references, list);
    return await work(repeats ? meant : [...new Set(meant)], several);
  } catch (error) {
    const advice = isVaultError(error, 'file-not-found') ? await quotingAdvice(verb, references) : null;
    if (advice === null || !isVaultError(error)) throw error;
    throw new VaultError(error.code, `${error.message} ${advice}`, { cause: error });
  }
}

/** What is meant by a text that may be a name: see `withFilesMeant`. @returns null if it can only be a pattern */
export async function nameMeant(
  vault: Vault,
  typed: string,
  { deleted }: Pick<ListOptions, 'deleted'> = {},
): Promise<string | null> {
  const plain = plainName(typed);
  const isPattern = WILDCARD.test(typed);
  if (!isPattern && plain === typed) return typed;
  // Who can only store can look up nothing.
  for (const name of vault.onlyStores ? [] : new Set([typed, plain])) {
    try {
      await vault.resolve(name, { hidden: deleted });
      return name;
    } catch (error) {
      if (!isVaultError(error, 'file-not-found')) throw error;
    }
  }
  return isPattern ? null : plain;
}

/** A pattern, and the hashes of what it may mean: what is stored in a folder of exactly this name, and what fits. */
interface Pattern {
  readonly plain: string;
  readonly isIn: (name: string) => boolean;
  readonly fits: (name: string) => boolean;
  readonly inside: string[];
  readonly fitting: string[];
}

async function filesMeant(
  vault: Vault,
  references: readonly string[],
  list: ListOptions,
): Promise<{ readonly meant: readonly string[]; readonly several: boolean }> {
  const settled = new Map<string, string | Pattern>();
  for (const reference of references) {
    settled.set(reference, (await nameMeant(vault, reference, list)) ?? patternOf(reference));
  }
  const patterns = [...settled.values()].filter((one) => typeof one !== 'string');
  if (patterns.length > 0) {
    const seen = new Set<string>();
    for await (const { name: bare, hash, writer } of vault.list(list)) {
      const name = referenceOf({ name: bare, writer });
      // Of removed files every version is listed, and the first is the one that the name means.
      if (list.deleted === true && seen.has(name)) continue;
      for (const { plain, isIn, fits, inside, fitting } of patterns) {
        // A pattern means what others have stored only if it says whose.
        const isMeant = writer.isOwn || plain.startsWith(`${writer.label}:`);
        if (isMeant && isIn(name)) inside.push(hash);
        else if (isMeant && fits(name)) fitting.push(hash);
      }
      if (list.deleted === true) seen.add(name);
    }
  }
  const meant: string[] = [];
  let several = references.length > 1;
  for (const reference of references) {
    const one = settled.get(reference) ?? reference;
    const [name, hashes] =
      typeof one === 'string' ? [one, []] : [one.plain, await hashesOf(vault, one, list)];
    if (hashes.length === 0) meant.push(name);
    else several = true;
    for (const hash of hashes) meant.push(hash);
  }
  return { meant, several };
}

function patternOf(typed: string): Pattern {
  const plain = plainName(typed);
  return { plain, isIn: literalMatcher(plain), fits: patternMatcher(typed), inside: [], fitting: [] };
}

/** What a pattern stands for: nothing, where a stored folder has something of exactly this path. */
async function hashesOf(
  vault: Vault,
  { plain, inside, fitting }: Pattern,
  { signal }: ListOptions,
): Promise<readonly string[]> {
  if (inside.length > 0) return inside;
  return fitting.length > 0 && (await isInFolder(vault, plain, signal)) ? [] : fitting;
}

/** Whether a path is that of something in a stored folder. */
export async function isInFolder(
  vault: Vault,
  name: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (!name.includes('/')) return false;
  try {
    const found = await vault.find(name, { signal });
    if (found.kind === 'file' || found.path === '') return false;
    const { folder, path } = found;
    return await isAnyWanted(folder.list({ signal }), { path: Buffer.from(path) });
  } catch (error) {
    if (isVaultError(error, 'file-not-found', 'wrong-password')) return false;
    throw error;
  }
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
  const advice =
    'If that was a pattern, the shell has put the files of this machine in its place. Put it in quotes';
  const pattern = patternOfAll(names);
  // What fits everything is not to be typed without a thought.
  return pattern === '*'
    ? `${advice}.`
    : `${advice}: vault ${verb} ${pattern.startsWith('-') ? '-- ' : ''}${typedWord(pattern)}`;
}

/** What names may have been a pattern of: all that they begin with in common, and their ending. */
function patternOfAll(names: readonly string[]): string {
  const [first = ''] = names;
  let common = '';
  for (const character of first) {
    if (!names.every((name) => name.startsWith(common + character))) break;
    common += character;
  }
  const ending = extname(first);
  const hasRoom = names.every(
    (name) => extname(name) === ending && name.length >= common.length + ending.length,
  );
  return `${common}*${hasRoom ? ending : ''}`;
}
