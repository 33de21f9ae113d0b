import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Table } from '../../src/cli/terminal/table.ts';
import { fit, widthOf } from '../../src/cli/terminal/width.ts';

const COLUMNS = [
  { heading: 'HASH', align: 'left' },
  { heading: 'SIZE', align: 'right' },
  { heading: 'NAME', align: 'left' },
] as const;

describe('fit', () => {
  test('leaves a text alone that fits', () => {
    expect(fit('report.pdf', 10)).toBe('report.pdf');
  });

  test('shortens a text in its middle', () => {
    expect(fit('archive/2026/report.pdf', 13)).toBe('archiv…rt.pdf');
  });

  test('counts wide characters as two columns and never cuts one', () => {
    expect(fit('日本語日本語', 7)).toBe('日本…語');
    expect(fit('日本語日本語', 6)).toBe('日…語');
  });

  test('never gives more columns than there are, nor half an emoji', () => {
    const grapheme = fc.constantFrom('a', '日', '👩‍👩‍👧', 'é', '🇦🇹', '…');
    fc.assert(
      fc.property(fc.array(grapheme), fc.integer({ min: 1, max: 30 }), (graphemes, width) => {
        const fitted = fit(graphemes.join(''), width);
        expect(widthOf(fitted)).toBeLessThanOrEqual(width);
        const kept = Array.from(new Intl.Segmenter().segment(fitted), ({ segment }) => segment);
        for (const part of kept) expect([...graphemes, '…']).toContain(part);
      }),
    );
  });
});

describe('a table', () => {
  test('aligns columns and shortens the last one to the width', () => {
    const table = new Table(COLUMNS, { width: 40, styleHeading: (line) => line });
    expect(
      table.page([
        ['0123456789ab', '1.0 KiB', 'a.txt'],
        ['ba9876543210', '12 B', 'a-very-long-name-indeed.txt'],
      ]),
    ).toBe(
      'HASH             SIZE  NAME\n' +
        '0123456789ab  1.0 KiB  a.txt\n' +
        'ba9876543210     12 B  a-very-l…deed.txt\n',
    );
  });

  test('shortens the columns that may be, the widest first', () => {
    const table = new Table([{ ...COLUMNS[2], shrinks: true }, COLUMNS[1], COLUMNS[2]], {
      width: 45,
      styleHeading: null,
    });
    const url = 'file:///mnt/somewhere/far/away/bucket-1';
    expect(table.page([['file:///mnt/bucket-1', '1 B', 'active']])).toBe(
      'file:///mnt/bucket-1  1 B  active\n',
    );
    expect(table.page([[url, '1 B', 'unusable']])).toBe(`${fit(url, 30)}  1 B  unusable\n`);
    expect(table.page([[url, '1 B', 'shards missing there']])).toBe(
      `${fit(url, 19)}  1 B  ${fit('shards missing there', 19)}\n`,
    );
  });

  test('shortens none so far that it says nothing', () => {
    const table = new Table([{ ...COLUMNS[2], shrinks: true }, COLUMNS[2]], { width: 8, styleHeading: null });
    const name = 'archive/2026/report.pdf';
    expect(table.page([[name, name]])).toBe(`${fit(name, 12)}  ${fit(name, 12)}\n`);
  });

  test('has no heading and no limit in a pipe', () => {
    const table = new Table(COLUMNS, { width: null, styleHeading: null });
    expect(table.page([['x', '1 B', 'n'.repeat(300)]])).toBe(`x  1 B  ${'n'.repeat(300)}\n`);
  });

  test('prints its heading once, and widens columns from page to page', () => {
    const table = new Table(COLUMNS, { width: null, styleHeading: (line) => line });
    expect(table.page([['aaaa', '1 B', 'n']])).toBe('HASH  SIZE  NAME\naaaa   1 B  n\n');
    expect(table.page([['aaaa', '1234567', 'n']])).toBe('aaaa  1234567  n\n');
    expect(table.page([['aaaa', '1 B', 'n']])).toBe('aaaa      1 B  n\n');
  });

  test('lines up names in scripts of double width', () => {
    const table = new Table([COLUMNS[2], COLUMNS[1]], { width: null, styleHeading: null });
    expect(
      table.page([
        ['日本', '1 B'],
        ['abcd', '22 B'],
      ]),
    ).toBe('日本   1 B\nabcd  22 B\n');
  });
});
