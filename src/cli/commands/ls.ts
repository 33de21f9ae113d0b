import type { ListedFile } from '../../vault/read/list.ts';
import { fileAsJson, modifiedMs, shortHash } from '../terminal/describe.ts';
import type { ExitCode } from '../exit.ts';
import { DONE } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { warnTo, withVault } from '../arguments/invocation.ts';
import { patternMatcher } from '../arguments/pattern.ts';
import type { Column } from '../terminal/table.ts';
import { Table } from '../terminal/table.ts';
import { styleFor } from '../terminal/terminal.ts';
import { jsonOf, showName, showSize, showTime } from '../terminal/text.ts';

export interface LsFlags {
  readonly long?: boolean;
  readonly all?: boolean;
  readonly deleted?: boolean;
}

/** Rows that are laid out together: enough to fill a screen, few enough to appear at once. */
const PAGE = 64;
/** Rows that have waited so long for company are printed, in milliseconds: matches of a pattern may be rare. */
const PAGE_DELAY_MS = 200;

const SHORT: readonly Column[] = [
  { heading: 'HASH', align: 'left' },
  { heading: 'SIZE', align: 'right' },
  { heading: 'STORED', align: 'left' },
  { heading: 'NAME', align: 'left' },
];

const LONG: readonly Column[] = [
  { heading: 'HASH', align: 'left' },
  { heading: 'BYTES', align: 'right' },
  { heading: 'STORED', align: 'left' },
  { heading: 'MODIFIED', align: 'left' },
  { heading: 'EXPIRES', align: 'left' },
  { heading: 'CHUNKS', align: 'right' },
  { heading: 'NAME', align: 'left' },
];

/** `vault ls`: the files, newest first, printed while they are read. */
export async function ls(
  invocation: Invocation,
  pattern: string | undefined,
  flags: LsFlags,
): Promise<ExitCode> {
  const matches = patternMatcher(pattern);
  invocation.output.requireOpen();
  return withVault(invocation, async (vault) => {
    const { signal, terminal } = invocation;
    const { all, deleted } = flags;
    const list = vault.list({ all, deleted, signal, onWarning: warnTo(terminal) });
    const print =
      invocation.options.json === true ? jsonPrinter(invocation) : tablePrinter(invocation, flags);
    let page: ListedFile[] = [];
    let found = false;
    let printedAtMs = performance.now();
    try {
      for await (const file of list) {
        if (!matches(file.name)) continue;
        found = true;
        page.push(file);
        if (page.length < PAGE && performance.now() - printedAtMs < PAGE_DELAY_MS) continue;
        const whole = page;
        page = [];
        if (!(await print(whole))) return DONE;
        printedAtMs = performance.now();
      }
    } finally {
      // Also when the list ends with an error, which comes after what could be listed.
      if (page.length > 0) await print(page);
    }
    if (!found) {
      terminal.note(
        deleted === true
          ? 'There is no removed file that could be brought back.'
          : pattern === undefined
            ? 'Nothing is stored yet. "vault put <path>" stores a file.'
            : 'No name matches. "vault ls" shows what there is.',
      );
    }
    return DONE;
  });
}

/** Prints one page; false if nobody reads any more. */
type PagePrinter = (files: readonly ListedFile[]) => Promise<boolean>;

function jsonPrinter({ output }: Invocation): PagePrinter {
  return async (files) => output.write(files.map((file) => `${jsonOf(listedAsJson(file))}\n`).join(''));
}

function tablePrinter({ output, environment }: Invocation, { long }: LsFlags): PagePrinter {
  const style = styleFor(process.stdout, environment);
  const table = new Table(long === true ? LONG : SHORT, {
    // Whole names are asked for with --long, whatever the terminal's width.
    width: long === true ? null : output.width,
    // For people; a pipe gets one line a file.
    styleHeading: output.isTerminal ? (line) => style('bold', line) : null,
  });
  const row = long === true ? longRow : shortRow;
  return async (files) => output.write(table.page(files.map(row)));
}

function listedAsJson(file: ListedFile): Record<string, unknown> {
  const { deletedAtMs } = file;
  return deletedAtMs === null
    ? fileAsJson(file)
    : { ...fileAsJson(file), deletedAt: new Date(deletedAtMs).toISOString() };
}

/** A locked file's size is known with its own password only. */
function sizeOf({ size }: ListedFile): string {
  return size === null ? 'locked' : showSize(size);
}

function shortRow(file: ListedFile): string[] {
  return [shortHash(file.hash), sizeOf(file), showTime(file.createdAtMs), showName(file.name)];
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
    showName(file.name),
  ];
}
