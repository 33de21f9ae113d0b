/** Tables that are printed page by page while their rows still arrive. */
import type { Invocation } from '../arguments/invocation.ts';
import { styleFor } from './terminal.ts';
import { fit, pad, widthOf } from './width.ts';

export interface Column {
  readonly heading: string;
  readonly align: 'left' | 'right';
  /** Colours a cell; it changes no width. */
  readonly paint?: (text: string) => string;
}

/** Between columns. */
const GAP = '  ';
/** The last column is never made narrower than this. */
const LEAST_WIDTH = 12;

/**
 * Lays out rows in columns that are as wide as the rows seen so far need: a later page may widen a column, none narrows one. The
 * last column takes what is left of the line and is shortened to it.
 */
export class Table {
  readonly #columns: readonly Column[];
  readonly #width: number | null;
  readonly #styleHeading: ((line: string) => string) | null;
  readonly #widths: number[];
  #headed = false;

  /**
   * @param options `width`: columns of the terminal, null for no limit. `styleHeading`: how a heading line is shown, null
   *   for none
   */
  constructor(
    columns: readonly Column[],
    options: { readonly width: number | null; readonly styleHeading: ((line: string) => string) | null },
  ) {
    this.#columns = columns;
    this.#width = options.width;
    this.#styleHeading = options.styleHeading;
    this.#widths = columns.map(({ heading }) => (options.styleHeading === null ? 0 : widthOf(heading)));
  }

  /** The lines of some more rows, each ended; before the first ones, the heading. */
  page(rows: readonly (readonly string[])[]): string {
    this.#widen(rows);
    let text = '';
    if (!this.#headed && this.#styleHeading !== null) {
      text += `${this.#styleHeading(this.#line(this.#columns.map(({ heading }) => heading)))}\n`;
    }
    this.#headed = true;
    for (const row of rows) text += `${this.#line(row, this.#columns)}\n`;
    return text;
  }

  /** Columns left for the last cell of rows that begin with these cells. */
  roomBeside(rows: readonly (readonly string[])[]): number {
    this.#widen(rows);
    return this.#room(this.#widths.slice(0, -1).reduce((sum, width) => sum + width + GAP.length, 0));
  }

  #widen(rows: readonly (readonly string[])[]): void {
    for (const row of rows) {
      for (const [index, cell] of row.entries()) {
        this.#widths[index] = Math.max(this.#widths[index] ?? 0, widthOf(cell));
      }
    }
  }

  #room(used: number): number {
    return this.#width === null ? Infinity : Math.max(LEAST_WIDTH, this.#width - used);
  }

  /** @param painted columns whose cells are coloured */
  #line(cells: readonly string[], painted: readonly Column[] = []): string {
    let line = '';
    let used = 0;
    for (const [index, cell] of cells.entries()) {
      const width = this.#widths[index] ?? 0;
      const align = this.#columns[index]?.align ?? 'left';
      const paint = painted[index]?.paint ?? ((text: string): string => text);
      if (index < cells.length - 1) {
        line += pad(paint(cell), width, align) + GAP;
        used += width + GAP.length;
      } else {
        const room = this.#room(used);
        const shown = paint(fit(cell, room));
        line += align === 'left' ? shown : pad(shown, Math.min(width, room), align);
      }
    }
    return line.trimEnd();
  }
}

/**
 * A table for standard output.
 *
 * @param columns their headings, `>` before those of numbers
 * @param options `piped`: whether the heading is there without a terminal, too; who reads a pipe may want a line for each thing
 */
export function tableFor(
  { output, environment }: Pick<Invocation, 'output' | 'environment'>,
  columns: readonly (string | Column)[],
  { width = output.width, piped = false }: { readonly width?: number | null; readonly piped?: boolean } = {},
): Table {
  const style = styleFor(process.stdout, environment);
  const laid = columns.map((column): Column => {
    if (typeof column !== 'string') return column;
    return { heading: column.replace('>', ''), align: column.startsWith('>') ? 'right' : 'left' };
  });
  const headed = piped || output.isTerminal;
  return new Table(laid, { width, styleHeading: headed ? (line) => style('bold', line) : null });
}
