import { execFileSync } from 'node:child_process';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  quote,
  showDuration,
  showMessage,
  showName,
  showPath,
  showSize,
  showTime,
} from '../../src/cli/terminal/text.ts';

describe('showName', () => {
  test.each(['report.pdf', 'a b.txt', 'naïve/日本語.txt', "it's", 'back\\slash', '👩‍👩‍👧 family'])(
    'leaves %j as it is',
    (name) => {
      expect(showName(name)).toBe(name);
    },
  );

  test.each([
    ['two\nlines', "$'two\\nlines'"],
    ['\u001b[31mred', "$'\\x1b[31mred'"],
    ["it's\ta", "$'it\\'s\\ta'"],
    ['a\\\r', "$'a\\\\\\r'"],
    ['fdp\u202Etxt.exe', "$'fdp\\u202etxt.exe'"],
    ['\u009b2J', "$'\\u009b2J'"],
  ])('escapes %j', (name, shown) => {
    expect(showName(name)).toBe(shown);
  });

  test('is always one line without anything that a terminal acts on', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 0x10ffff })), (points) => {
        const name = String.fromCodePoint(...points);
        expect(showName(name)).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\u202A-\u202E\u2066-\u2069]/u);
      }),
    );
  });

  test('can be pasted into a shell, which reads the same name', () => {
    const names = ['two\nlines', "\u0001it's\\", 'bell\u0007', 'tab\tend'];
    for (const name of names) {
      expect(execFileSync('bash', ['-c', `printf %s ${showName(name)}`], { encoding: 'utf8' })).toBe(name);
    }
  });
});

test('a path that is no UTF-8 can be pasted into a shell, which reads the same bytes', () => {
  for (const bytes of [[0xff], [0x66, 0xfe, 0x2f, 0x27, 0x5c, 0x0a], [0xc3, 0x28]]) {
    const path = Buffer.from(bytes);
    const shown = showPath(path);
    expect(shown).toMatch(/^[ -~]+$/);
    expect(execFileSync('bash', ['-c', `printf %s ${shown}`])).toEqual(path);
  }
  expect(showPath(Buffer.from('naïve'))).toBe('naïve');
});

test('a message keeps its line ends, indented, so that no name in it can pretend to be another message', () => {
  expect(showMessage('No file "a\nvault: all is well\u001b[2J".\n')).toBe(
    'No file "a\n  vault: all is well\\x1b[2J".',
  );
});

test('a quoted value is one line', () => {
  expect(quote('a\nb')).toBe('"a\\nb"');
});

test.each([
  [0, '0 B'],
  [1, '1 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [10_188, '9.9 KiB'],
  [10_189, '10 KiB'],
  [1023 * 1024, '1023 KiB'],
  [1023.6 * 1024, '1.0 MiB'],
  [1024 ** 3, '1.0 GiB'],
  [1500 * 1024 ** 4, '1.5 PiB'],
  [5000 * 1024 ** 5, '5000 PiB'],
])('%d bytes are shown as %s', (bytes, shown) => {
  expect(showSize(bytes)).toBe(shown);
});

test('no size from bytes to pebibytes takes more than 8 characters', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), (bytes) => {
      expect(showSize(bytes).length).toBeLessThanOrEqual(8);
    }),
  );
});

test.each([
  [0, '0 s'],
  [59_400, '59 s'],
  [59_600, '1 min 00 s'],
  [185_000, '3 min 05 s'],
  [3_600_000, '1 h 00 min'],
  [90_000_000, '1 d 1 h'],
])('%d ms are shown as %s', (ms, shown) => {
  expect(showDuration(ms)).toBe(shown);
});

test('a time is shown in local time, to the minute', () => {
  expect(showTime(new Date(2026, 0, 2, 3, 4, 59).getTime())).toBe('2026-01-02 03:04');
  // Clocks go wrong, and files keep what they said.
  expect(showTime(8.64e15)).toMatch(/^2757(59|60)-\d\d-\d\d \d\d:\d\d$/);
  expect(showTime(new Date(-5, 0, 2, 3, 4).getTime())).toBe('-0005-01-02 03:04');
  for (const ms of [8.64e15 + 1, -8.64e15 - 1, NaN, Infinity]) expect(showTime(ms)).toBe('?');
});
