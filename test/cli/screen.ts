/** What a terminal of some width shows after all that was sent to it: its screen as lines of text. */
import { widthOf } from '../../src/cli/terminal/width.ts';

// eslint-disable-next-line no-control-regex
const PIECE = /\u001b\[([?\d;]*)([A-Za-z])|\u001b[()][A-Z0-9]|\u001b.|[^]/gu;

/** @param raw as it came from the terminal */
export function screenOf(raw: string, columns: number): string[] {
  const lines: string[][] = [[]];
  let row = 0;
  let column = 0;
  const put = (character: string): void => {
    const width = widthOf(character);
    if (column + width > columns) {
      row += 1;
      column = 0;
    }
    const line = (lines[row] ??= []);
    while (line.length < column) line.push(' ');
    line[column] = character;
    // The other half of a wide one.
    if (width === 2) line[column + 1] = '';
    column += width;
  };
  for (const [piece, parameters = '', command] of raw.matchAll(PIECE)) {
    const amount = Number(parameters) || 1;
    if (piece === '\r') column = 0;
    else if (piece === '\n') row += 1;
    else if (command === 'A') row = Math.max(0, row - amount);
    else if (command === 'B') row += amount;
    else if (command === 'C') column += amount;
    else if (command === 'D') column = Math.max(0, column - amount);
    else if (command === 'G') column = amount - 1;
    else if (command === 'K') lines[row]?.splice(parameters === '2' ? 0 : column);
    else if (command === 'J') lines.splice(row + 1);
    else if (!piece.startsWith('\u001b') && piece >= ' ') put(piece);
    while (lines.length <= row) lines.push([]);
  }
  return lines.map((line) =>
    Array.from(line, (character) => character ?? ' ')
      .join('')
      .trimEnd(),
  );
}
