import { invalidInput, isVaultError, VaultError } from '../../errors.ts';
import type { Clock } from '../../host.ts';
import type { Stored } from '../../vault/folders/stored-folder.ts';
import type { ListedFile } from '../../vault/read/list.ts';
import type { Vault } from '../../vault/vault.ts';
import { referenceOf, shortHash, writerAsJson } from '../terminal/describe.ts';
import { asTime, fileAsJson, modifiedMs } from '../../vault/files/as-json.ts';
import { DONE, type ExitCode } from '../exit.ts';
import { warnTo, withVault, type Invocation } from '../arguments/invocation.ts';
import { parseMomentMs, parseSize, plainName } from '../arguments/options.ts';
import { typedWord } from '../../shell-word.ts';
import { literalMatcher, patternMatcher, WILDCARD } from '../arguments/pattern.ts';
import { isInFolder, nameMeant, quotingAdvice } from '../arguments/references.ts';
import { tableFor, type Column } from '../terminal/table.ts';
import { count, grouped, jsonOf, quote, showName, showSize, showTime } from '../terminal/text.ts';

import { findLocked } from './lock-password.ts';
import { listFolder, type LsFlags } from './ls-folder.ts';
import { printPages } from './print-pages.ts';

/** A hash, or as much of one as a list shows. */
const HASH = /^[0-9a-f]{12,64}$/;

const SHORT = ['HASH', '>SIZE', 'STORED', 'NAME'];

const LONG: readonly Column[] = [
  { heading: 'HASH', align: 'left' },
  { heading: 'BYTES', align: 'right' },
  { heading: 'STORED', align: 'left' },
  { heading: 'MODIFIED', align: 'left' },
  { heading: 'EXPIRES', align: 'left' },
  { heading: 'CHUNKS', align: 'right' },
  { heading: 'NAME', align: 'left' },
];

/** Columns of the long list that a narrow terminal has no room for: the first of them go first. */
const SPARE = ['CHUNKS', 'EXPIRES', 'MODIFIED', 'BYTES'];
/** What their cells take, usually, with the gap before the next one. */
const USUAL_WIDTHS: Readonly<Record<string, number>> = { BYTES: 14, CHUNKS: 8 };
const TIME_WIDTH = 18;
const HASH_WIDTH = 66;
const SHORT_HASH_WIDTH = 14;
/** What a name has at least. */
const NAME_WIDTH = 24;

interface Choice {
  readonly patterns: { readonly typed: string; matches: (name: string) => boolean; found: boolean }[];
  readonly sinceMs: number;
  readonly leastBytes: number;
  /** Null: as they come, newest first. */
  readonly order: ((a: ListedFile, b: ListedFile) => number) | null;
}

interface Total {
  files: number;
  bytes: number;
  /** Of locked files the size is not known. */
  locked: number;
}

/** `vault ls`: the files, newest first unless they are sorted, printed while they are read. */
export async function ls(
  invocation: Invocation,
  patterns: readonly string[],
  flags: LsFlags,
): Promise<ExitCode> {
  const choice = choiceOf(patterns, flags, invocation.clock);
  const print = printerOf(invocation, flags);
  return withVault(invocation, async (vault) => {
    const { signal, terminal, clock } = invocation;
    const [typed = ''] = patterns;
    const isOne = patterns.length === 1 && typed.includes('/');
    // What ends with a slash means what is in a folder; other paths do where no name fits.
    if (isOne && typed.endsWith('/') && (await listInside(invocation, vault, typed, flags))) return DONE;
    const { all, deleted } = flags;
    for (const inside of patterns.filter((one) => patterns.length > 1 && one.endsWith('/'))) {
      if (await isFolder(vault, plainName(inside))) throw oneAtATime(inside);
    }
    for (const pattern of choice.patterns.filter((one) => WILDCARD.test(one.typed))) {
      const name = await nameMeant(vault, pattern.typed, { deleted });
      if (name !== null) pattern.matches = literalMatcher(name);
    }
    const list = chosen(vault.list({ all, deleted, signal, onWarning: warnTo(terminal) }), choice);
    const total: Total = { files: 0, bytes: 0, locked: 0 };
    if (!(await printPages(list, { print, onItem: addTo(total), clock }))) return DONE;
    if (isOne && total.files === 0 && (await listInside(invocation, vault, typed, flags))) return DONE;
    const advice = choice.patterns.every(({ found }) => found) ? null : await quotingAdvice('ls', patterns);
    if (advice !== null) terminal.warn(advice, { kind: 'pattern' });
    const missing = choice.patterns.find(({ typed: name, found }) => !found && !WILDCARD.test(name));
    if (missing !== undefined) throw await notListed(vault, missing.typed, deleted);
    if (total.files === 0) terminal.note(describeNothing(patterns, flags));
    terminal.summary(total.files > 0 ? describeTotal(total) : null, { ...total });
    return DONE;
  });
}

/** Lists what is in a folder. @returns false if there is no such folder */
async function listInside(
  invocation: Invocation,
  vault: Vault,
  typed: string,
  flags: LsFlags,
): Promise<boolean> {
  let found: Stored;
  try {
    found = await findLocked(invocation, vault, typed, flags);
  } catch (error) {
    if (isVaultError(error, 'file-not-found')) return false;
    throw error;
  }
  if (found.kind === 'file') return false;
  await listFolder(invocation, found, flags);
  return true;
}

/** @throws `invalid-input` */
function choiceOf(patterns: readonly string[], { sort, since, larger }: LsFlags, clock: Clock): Choice {
  const order = sort === undefined ? null : ORDERS.get(sort);
  if (order === undefined) {
    throw invalidInput(`--sort ${quote(sort ?? '')} is not size, name or time.`);
  }
  return {
    patterns: patterns.map((typed) => ({ typed, matches: patternMatcher(typed), found: false })),
    sinceMs: since === undefined ? -Infinity : parseMomentMs(since, '--since', clock.now()),
    leastBytes: larger === undefined ? -Infinity : parseSize(larger, '--larger') + 1,
    order,
  };
}

const ORDERS: ReadonlyMap<string, Choice['order']> = new Map<string, Choice['order']>([
  ['time', null],
  ['size', (a, b) => (b.size ?? -1) - (a.size ?? -1)],
  ['name', (a, b) => (a.name < b.name ? -1 : Number(a.name > b.name))],
]);

/** The files that are asked for, in order. Those that could be listed come before the error with which a list ends. */
async function* chosen(
  files: AsyncIterable<ListedFile>,
  { patterns, sinceMs, leastBytes, order }: Choice,
): AsyncGenerator<ListedFile, void, undefined> {
  const kept: ListedFile[] = [];
  try {
    for await (const file of files) {
      const fits = patterns.filter(
        ({ typed, matches }) =>
          matches(file.name) ||
          matches(referenceOf(file)) ||
          (HASH.test(typed) && file.hash.startsWith(typed)),
      );
      for (const pattern of fits) pattern.found = true;
      if (patterns.length > 0 && fits.length === 0) continue;
      // The size of a locked file is not known, so that it is not known to be larger.
      if (file.createdAtMs < sinceMs || (file.size ?? 0) < leastBytes) continue;
      if (order === null) yield file;
      else kept.push(file);
    }
  } finally {
    if (order !== null) yield* kept.toSorted(order);
  }
}

function addTo(total: Total): (file: ListedFile) => void {
  return ({ size }) => {
    total.files += 1;
    total.bytes += size ?? 0;
    if (size === null) total.locked += 1;
  };
}

function describeTotal({ files, bytes, locked }: Total): string {
  const size = locked === files ? '' : `, ${showSize(bytes)}`;
  return `${count(files, 'file')}${size}${locked > 0 ? `, ${grouped(locked)} locked` : ''}.`;
}

function describeNothing(patterns: readonly string[], { deleted, since, larger }: LsFlags): string {
  if (deleted === true) return 'There is no removed file that could be brought back.';
  if (since !== undefined || larger !== undefined) return 'There is no such file.';
  return patterns.length === 0
    ? 'Nothing is stored yet. "vault put <path>" stores a file.'
    : 'No name matches. "vault ls" shows what there is.';
}

function oneAtATime(typed: string): VaultError {
  return invalidInput(
    `What ${quote(typed)} means lies in a stored folder, of which one is listed at a time: vault ls ${typedWord(typed)}`,
  );
}

/** Whether a name is that of a stored folder, or of something in one. */
async function isFolder(vault: Vault, name: string): Promise<boolean> {
  try {
    return (await vault.resolve(name)).kind === 'folder';
  } catch (error) {
    if (!isVaultError(error, 'file-not-found')) throw error;
    return isInFolder(vault, name, undefined);
  }
}

/** The error for a name that nothing has; a pattern may fit nothing. */
async function notListed(vault: Vault, name: string, deleted = false): Promise<VaultError> {
  if (!deleted && (await isInFolder(vault, plainName(name), undefined))) return oneAtATime(name);
  const message = deleted
    ? `No removed file that could be brought back has the name "${name}". "vault ls --deleted" shows which there are.`
    : `No file has the name "${name}". "vault ls" shows what there is.`;
  return new VaultError('file-not-found', message);
}

/** Prints one page; false if nobody reads any more. */
type PagePrinter = (files: readonly ListedFile[]) => Promise<boolean>;

/** @throws `invalid-input` if more than one way to print is asked for */
function printerOf(invocation: Invocation, flags: LsFlags): PagePrinter {
  const { options, output } = invocation;
  if (flags.null !== true)
    return options.json === true ? jsonPrinter(invocation) : tablePrinter(invocation, flags);
  if (options.json === true || flags.long === true) {
    throw invalidInput('-0 prints names alone: leave out --json and --long.');
  }
  return async (files) => output.write(files.map((file) => `${referenceOf(file)}\0`).join(''));
}

function jsonPrinter({ output }: Invocation): PagePrinter {
  return async (files) => output.write(files.map((file) => `${jsonOf(listedAsJson(file))}\n`).join(''));
}

function tablePrinter(invocation: Invocation, { long }: LsFlags): PagePrinter {
  const { output } = invocation;
  const layout = long === true ? longLayout(output.width) : { columns: SHORT, row: shortRow };
  const table = tableFor(invocation, layout.columns);
  return async (files) => output.write(table.page(files.map(layout.row)));
}

function listedAsJson(file: ListedFile): Record<string, unknown> {
  const { deletedAtMs, writer } = file;
  const facts = { ...fileAsJson(file), ...writerAsJson(writer) };
  return deletedAtMs === null ? facts : { ...facts, deletedAt: asTime(deletedAtMs) };
}

/** A locked file's size is known with its own password only. */
function sizeOf({ size }: ListedFile): string {
  return size === null ? 'locked' : showSize(size);
}

/** What columns take, usually, without the first one. */
function widthOf(columns: readonly Column[]): number {
  return columns
    .slice(1, -1)
    .reduce((sum, { heading }) => sum + (USUAL_WIDTHS[heading] ?? TIME_WIDTH), NAME_WIDTH);
}

/** As much of the long list as a terminal has room for: at first the hash is shortened, then columns go. */
function longLayout(width: number | null): {
  readonly columns: readonly Column[];
  readonly row: (file: ListedFile) => string[];
} {
  if (width === null) return { columns: LONG, row: longRow };
  if (widthOf(LONG) + HASH_WIDTH <= width) return { columns: LONG, row: longRow };
  let columns = LONG;
  for (const spare of SPARE) {
    if (widthOf(columns) + SHORT_HASH_WIDTH <= width) break;
    columns = columns.filter(({ heading }) => heading !== spare);
  }
  const kept = LONG.map((column) => columns.includes(column));
  const row = (file: ListedFile): string[] =>
    longRow(file)
      .with(0, shortHash(file.hash))
      .filter((_, index) => kept[index]);
  return { columns, row };
}

function shortRow(file: ListedFile): string[] {
  return [shortHash(file.hash), sizeOf(file), showTime(file.createdAtMs), showName(referenceOf(file))];
}

function longRow(file: ListedFile): string[] {
  const modified = modifiedMs(file);
  return [
    file.hash,
    file.size === null ? 'locked' : String(file.size),
    showTime(file.createdAtMs),
    modified === null ? '-' : showTime(modified),
    file.expiresAtMs === null ? '-' : showTime(file.expiresAtMs),
    String(file.chunks),
    showName(referenceOf(file)),
  ];
}
