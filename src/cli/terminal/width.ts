/** How much room text takes in a terminal, where a character may take none, one or two columns. */
import stringWidth from 'fast-string-width';

const ASCII = /^[\x20-\x7e]*$/;

/** Columns that a text without line ends takes. */
export function widthOf(text: string): number {
  return ASCII.test(text) ? text.length : stringWidth(text);
}

/**
 * The text, shortened in its middle to fit: both ends of a path tell more than its beginning alone.
 *
 * @param width columns, at least 1
 */
export function fit(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  const graphemes = ASCII.test(text) ? text.split('') : segments(text);
  const room = Math.max(0, width - 1);
  const tail: string[] = [];
  let tailWidth = 0;
  for (const grapheme of graphemes.toReversed()) {
    if (tailWidth + widthOf(grapheme) > Math.floor(room / 2)) break;
    tail.push(grapheme);
    tailWidth += widthOf(grapheme);
  }
  let head = '';
  let headWidth = 0;
  for (const grapheme of graphemes) {
    if (headWidth + widthOf(grapheme) > room - tailWidth) break;
    head += grapheme;
    headWidth += widthOf(grapheme);
  }
  return `${head}…${tail.toReversed().join('')}`;
}

/** The text followed, or preceded, by spaces up to a width. */
export function pad(text: string, width: number, align: 'left' | 'right'): string {
  const space = ' '.repeat(Math.max(0, width - widthOf(text)));
  return align === 'left' ? text + space : space + text;
}

function segments(text: string): string[] {
  return Array.from(new Intl.Segmenter().segment(text), ({ segment }) => segment);
}
