/** Tables that are printed page by page while their rows still arrive. */
import type { Invocation } from '../arguments/invocation.ts';
import { styleFor } from './terminal.ts';
import { fit, pad, widthOf } from './width.ts';

export interface Column {
  readonly heading: string;
  readonly align: 'left' | 'right';
  /** Whether it is shortened where the line is too long, as the last column is. */
  readonly shrinks?: boolean;
  /** Colours a cell; it changes no width. */
  readonly paint?: (text: string) => string;
}

/** Between columns. */
const GAP = '  ';
/** No column is made narrower than this. */
const LEAST_WIDTH = 12;

/**
 * Lays out rows in columns that are as wide as the rows seen so far need: a later page may widen a column, none narrows one. Where
 * a line would be too long, the widest of the columns that may be shortened gives way.
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
    const widths = this.#fitting(this.#widths);
    let text = '';
    if (!this.#headed && this.#styleHeading !== null) {
      const headings = this.#columns.map(({ heading }) => heading);
      text += `${this.#styleHeading(this.#line(headings, widths))}\n`;
    }
    this.#headed = true;
    for (const row of rows) text += `${this.#line(row, widths, this.#columns)}\n`;
    return text;
  }

  /** Columns left for the last cell of rows that begin with these cells, if it wants so many. */
  roomBeside(rows: readonly (readonly string[])[], wanted: number): number {
    this.#widen(rows);
    return this.#fitting([...this.#widths.slice(0, -1), wanted]).at(-1) ?? 0;
  }

  #widen(rows: readonly (readonly string[])[]): void {
    for (const row of rows) {
      for (const [index, cell] of row.entries()) {
        this.#widths[index] = Math.max(this.#widths[index] ?? 0, widthOf(cell));
      }
    }
  }

  /** The widths of columns that want these. */
  #fitting(wanted: readonly number[]): number[] {
    const widths = [...wanted];
    const last = widths.length - 1;
    let over = widths.reduce((sum, width) => sum + width, GAP.length * last) - (this.#width ?? Infinity);
    while (over > 0) {
      let widest: number | null = null;
      for (const [index, width] of widths.entries()) {
        const shrinks = index === last || this.#columns[index]?.shrinks === true;
        if (shrinks && width > (widest === null ? LEAST_WIDTH : (widths[widest] ?? 0))) widest = index;
      }
      if (widest === null) break;
      widths[widest] = (widths[widest] ?? 0) - 1;
      over -= 1;
    }
    return widths;
  }

  /** @param painted columns whose cells are coloured */
  #line(cells: readonly string[], widths: readonly number[], painted: readonly Column[] = []): string {
    const shown = cells.map((cell, index) => {
      const width = widths[index] ?? 0;
      const paint = painted[index]?.paint ?? ((text: string): string => text);
      return pad(paint(fit(cell, width)), width, this.#columns[index]?.align ?? 'left');
    });
    return shown.join(GAP).trimEnd();
  }
}

/**
 * A table for standard output.
 *
 * @param columns their headings, `>` before those of numbers, `~` before those of what is shortened where the line is too long
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
    return {
      heading: column.replace(/^[>~]/, ''),
      align: column.startsWith('>') ? 'right' : 'left',
      shrinks: column.startsWith('~'),
    };
  });
  const headed = piped || output.isTerminal;
  return new Table(laid, { width, styleHeading: headed ? (line) => style('bold', line) : null });
}
