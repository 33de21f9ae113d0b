/** What fits a command line that is being typed: verbs, options, their values, and what the vault holds. */
import type { SharedOptions } from '../arguments/options.ts';
import type { OptionFacts, VerbFacts } from './tree.ts';

/** What only the machine and the vault know. Each may fail: then nothing is known. */
export interface Sources {
  readonly vaults: () => Promise<readonly string[]>;
  readonly names: (options: SharedOptions, deleted: boolean) => Promise<readonly string[]>;
  readonly buckets: (options: SharedOptions) => Promise<readonly string[]>;
}

/** A word that fits, and what it means. */
type Candidate = readonly [word: string, meaning: string];

/** What a shell does with candidates: `names` need quotes, `files` it completes itself, `places` are folders besides. */
interface Fitting {
  readonly kind: 'words' | 'names' | 'files' | 'places';
  readonly candidates: readonly Candidate[];
}

const words = (candidates: readonly Candidate[]): Fitting => ({ kind: 'words', candidates });
const names = (found: readonly string[]): Fitting => ({
  kind: 'names',
  candidates: found.map((name): Candidate => [name, '']),
});
const NOTHING = words([]);
const FILES: Fitting = { kind: 'files', candidates: [] };
const PLACES: Fitting = {
  kind: 'places',
  candidates: [
    ['gs://', 'Google Cloud Storage'],
    ['s3://', 'S3'],
    ['file:///', 'a folder'],
  ],
};

/** Values of options that take one of few. */
const VALUES: Readonly<Record<string, string>> = {
  '--sort': 'size name time',
  '--compression': 'auto off 1 3 9 19',
  '--redundancy': '1+0 1+1 2+1 2+2 3+2 4+2',
  '--chunk-size': '64KiB 256KiB 1MiB 2MiB 8MiB 64MiB',
  '--max-age': '26h 8d',
  '--expires': '7d 30d 365d',
  '--sample': '1% 5%',
};

/**
 * @param line up to the cursor, from the command's name on
 * @returns a line with the kind and what of the last word a shell may take for a word of its own (`gs:`, `--sort=`), or the quote it is
 *   in; then a line for each candidate: the whole word, and after a tab what it means. Empty if nothing fits
 */
export async function complete(line: string, facts: VerbFacts, sources: Sources): Promise<string> {
  const { words: typed, open } = wordsOf(line);
  const current = typed.at(-1) ?? '';
  const { kind, candidates } = await fittingOf(typed.slice(1), facts, sources);
  const fitting = candidates.filter(([word]) => word.startsWith(current) && !/[\t\r\n]/.test(word));
  if (fitting.length === 0 && (kind === 'words' || kind === 'names')) return '';
  const head = open === '' ? (/^.*[:=]/.exec(current)?.[0] ?? '') : open;
  return [[kind, head], ...fitting].map((row) => `${row.join('\t')}\n`).join('');
}

async function fittingOf(typed: readonly string[], facts: VerbFacts, sources: Sources): Promise<Fitting> {
  const current = typed.at(-1) ?? '';
  const { verb, given, awaited, rest } = readWords(typed.slice(0, -1), facts);
  const options = [...verb.options, ...(verb === facts ? [] : facts.options)];
  if (awaited !== null) return valuesOf(awaited, sources, '');
  if (!rest && current.startsWith('-')) {
    const [name = ''] = current.split('=', 1);
    const option = options.find(({ long }) => long === name);
    if (current.includes('=') && option !== undefined) return valuesOf(option, sources, `${name}=`);
    const shorts = options.filter(({ short }) => current === '-' && short !== null);
    return words([
      ...options.map(({ long, description }): Candidate => [long, description]),
      ...shorts.map(({ short, description }): Candidate => [short ?? '', description]),
    ]);
  }
  const own = verbsOf(verb);
  if (verb.verbs.length > 0 && verb.arguments.length === 0) return own;
  const fitting = await argumentsOf(verb, facts, { given, sources });
  return { ...fitting, candidates: [...own.candidates, ...fitting.candidates] };
}

function verbsOf({ path, verbs }: VerbFacts): Fitting {
  return words(verbs.map((one): Candidate => [one.path.slice(path.length).trim(), one.purpose]));
}

/** Finds out which verb is meant, and what has been said. `awaited`: an option whose value comes next. `rest`: after `--` */
function readWords(
  typed: readonly string[],
  facts: VerbFacts,
): { verb: VerbFacts; given: SharedOptions; awaited: OptionFacts | null; rest: boolean } {
  let verb = facts;
  let awaited: OptionFacts | null = null;
  let rest = false;
  const given: Record<string, string> = {};
  for (const word of typed) {
    if (awaited !== null) {
      given[keyOf(awaited)] = word;
      awaited = null;
      continue;
    }
    if (word === '--') rest = true;
    const isOption = !rest && word.startsWith('-');
    const [name = '', ...value] = word.split('=');
    const option = [...verb.options, ...facts.options].find(
      ({ long, short }) => long === name || short === word,
    );
    if (isOption && option?.value != null) {
      if (value.length > 0) given[keyOf(option)] = value.join('=');
      else awaited = option;
    }
    const { path } = verb;
    if (!isOption) verb = verb.verbs.find((one) => one.path === `${path} ${word}`.trim()) ?? verb;
  }
  return { verb, given, awaited, rest };
}

/** The option as the program knows it: `passwordFile`. */
function keyOf({ long }: OptionFacts): string {
  return long.slice(2).replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}

async function valuesOf(option: OptionFacts, { vaults }: Sources, head: string): Promise<Fitting> {
  const { long, value } = option;
  const known = long === '--vault' ? await vaults().catch(() => []) : (VALUES[long]?.split(' ') ?? []);
  if (known.length > 0) return words(known.map((word): Candidate => [head + word, '']));
  if (value === 'url') {
    return {
      ...PLACES,
      candidates: PLACES.candidates.map(([word, meaning]): Candidate => [head + word, meaning]),
    };
  }
  return value === 'file' || value === 'path' || value === 'where' ? FILES : NOTHING;
}

async function argumentsOf(
  verb: VerbFacts,
  facts: VerbFacts,
  { given, sources }: { readonly given: SharedOptions; readonly sources: Sources },
): Promise<Fitting> {
  const name = verb.arguments[0]?.name ?? '';
  if (/^(hash\|name|(hash\|)?(name\|)?pattern)$/.test(name)) {
    return names(await sources.names(given, verb.path === 'undelete').catch(() => []));
  }
  if (name === 'url|id') return names(await sources.buckets(given).catch(() => []));
  if (name === 'url') return PLACES;
  if (name === 'path' || name === 'where') return FILES;
  if (name === 'shell') {
    return words(['bash', 'zsh', 'fish', 'powershell'].map((one): Candidate => [one, '']));
  }
  return name === 'command' ? verbsOf(facts) : NOTHING;
}

/** Splits a line as shells do. @returns its words, the last of them the one that is being typed, and the quote that is open in it */
export function wordsOf(line: string): { readonly words: readonly string[]; readonly open: string } {
  const found: string[] = [];
  let word = '';
  let begun = false;
  let open = '';
  for (const [piece] of line.matchAll(/\\[^]|[^]/g)) {
    if (open === '' && /^\s$/.test(piece)) {
      if (begun) found.push(word);
      word = '';
      begun = false;
      continue;
    }
    begun = true;
    if (open === '' && (piece === '"' || piece === "'")) open = piece;
    else if (piece === open) open = '';
    // A last backslash quotes nothing yet: what candidates have in common may end with one.
    else if (piece.startsWith('\\') && open !== "'") word += piece.slice(1);
    else word += piece;
  }
  return { words: [...found, word], open };
}
