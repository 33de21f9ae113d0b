import { expect, test } from 'vitest';
import { patternMatcher } from '../../src/cli/arguments/pattern.ts';

test.each([
  [undefined, 'anything/at/all'],
  ['report.pdf', 'report.pdf'],
  ['*.pdf', 'report.pdf'],
  ['*.pdf', 'docs/2026/report.pdf'],
  ['docs', 'docs/2026/report.pdf'],
  ['docs/', 'docs/a'],
  ['docs/*.pdf', 'docs/a.pdf'],
  ['docs/**', 'docs/a/b/c.pdf'],
  ['**/c.pdf', 'docs/a/b/c.pdf'],
  ['{a,b}.txt', 'b.txt'],
  ['[a-c]?', 'b1'],
  ['*', '.hidden'],
  ['!a', '!a'],
  ['./a*', 'abc'],
  ['what[1].txt', 'what[1].txt'],
  ['*', 'two\nlines'],
  ['**', 'two\nlines'],
  ['docs', 'docs/two\nlines'],
  ['**/b', 'two\nlines/b'],
  ['/abs', '/abs/a'],
  ['IMG (1)*', 'IMG (1).jpg'],
  ['x(1)', 'x(1)/a'],
  ['[(]*', '(a'],
  ['a\\(*', 'a(b'],
  ['{a', '{a/b'],
  ['what[1]', 'what[1]/a'],
  ['.//a//b*', 'a/bc'],
  ['https://*', 'https://host/a'],
])('the pattern %j fits the name %j', (pattern, name) => {
  expect(patternMatcher(pattern)(name)).toBe(true);
});

test.each([
  ['report.pdf', 'report.pdf.bak'],
  ['docs/*.pdf', 'docs/2026/a.pdf'],
  ['docs', 'mydocs/a'],
  ['*.PDF', 'a.pdf'],
  ['a?', 'a'],
  ['x(1).txt', 'x1.txt'],
  ['+(a)*', 'aab'],
  ['', '/a'],
  ['.', 'x'],
  ['./', 'x'],
])('the pattern %j does not fit the name %j', (pattern, name) => {
  expect(patternMatcher(pattern)(name)).toBe(false);
});

test('a pattern that is longer than any name fits what it says alone', () => {
  const pattern = '*'.repeat(70_000);
  expect([pattern, 'a'].map(patternMatcher(pattern))).toEqual([true, false]);
});
