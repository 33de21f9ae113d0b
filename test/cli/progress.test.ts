import { describe, expect, test } from 'vitest';
import { progressLine, RateMeter } from '../../src/cli/terminal/progress.ts';
import { widthOf } from '../../src/cli/terminal/width.ts';

const MIB = 1024 * 1024;

describe('the line of progress', () => {
  test('says how much of what is done, how fast, and what is left', () => {
    const state = { label: 'report.pdf', doneBytes: 256 * MIB, totalBytes: 1024 * MIB };
    expect(progressLine(state, 64 * MIB, 100)).toBe(
      'report.pdf  25 %  256 MiB of 1.0 GiB  64 MiB/s  12 s left',
    );
  });

  test('counts the files of a folder', () => {
    const state = { label: 'docs', doneBytes: 3 * MIB, totalBytes: null, doneFiles: 1234 };
    expect(progressLine(state, MIB, 100)).toBe('docs  3.0 MiB  1,234 files  1.0 MiB/s');
  });

  test('does without what nobody knows', () => {
    expect(progressLine({ label: 'x', doneBytes: 3 * MIB, totalBytes: null }, 2 * MIB, 100)).toBe(
      'x  3.0 MiB  2.0 MiB/s',
    );
    expect(progressLine({ label: 'x', doneBytes: 0, totalBytes: 0 }, null, 100)).toBe('x');
  });

  test('never takes more than its width, and keeps the percentage longest', () => {
    const state = { label: 'ein-sehr-langer-Name-日本語.tar.gz', doneBytes: MIB, totalBytes: 10 * MIB };
    for (let width = 20; width < 120; width += 1) {
      const line = progressLine(state, MIB, width);
      expect(widthOf(line)).toBeLessThanOrEqual(width);
      expect(line).toContain('10 %');
    }
  });

  test('shows no control character of a name', () => {
    expect(progressLine({ label: 'a\u001b[2J', doneBytes: 0, totalBytes: null }, null, 80)).not.toContain(
      '\u001b',
    );
  });

  test('counts files where bytes are not counted', () => {
    const state = { label: 'Recovering', doneBytes: 0, totalBytes: null, doneFiles: 1500, totalFiles: 6000 };
    expect(progressLine(state, null, 100)).toBe('Recovering  25 %  1,500 of 6,000 files');
  });

  test.each([
    ['of a small part', 1024 * MIB, 6, false],
    ['of a part that says enough', 1024 * MIB, 11 * MIB, true],
    ['of a small part of very much', 1024 * 1024 * MIB, 16 * MIB, true],
    ['of a few bytes, of which a part is done', 1000, 10, true],
  ])('says what is left only if there is something to go by: %s', (_, totalBytes, doneBytes, told) => {
    expect(progressLine({ label: 'x', doneBytes, totalBytes }, 100, 100).includes(' left')).toBe(told);
  });
});

describe('the rate', () => {
  test('is not known before anything was done for a while', () => {
    const meter = new RateMeter();
    for (const [bytes, ms] of [
      [0, 0],
      [0, 3000],
      [6, 3010],
      [2 * MIB, 3990],
    ] as const) {
      meter.add(bytes, ms);
      expect(meter.bytesPerSecond).toBeNull();
    }
    meter.add(4 * MIB, 4000);
    expect(meter.bytesPerSecond).toBe(4 * MIB);
  });

  test('is that of the last seconds', () => {
    const meter = new RateMeter();
    for (let second = 0; second <= 10; second += 1) meter.add(second * 100, second * 1000);
    expect(meter.bytesPerSecond).toBeCloseTo(100);
    for (let second = 11; second <= 20; second += 1) meter.add(1000 + (second - 10) * 700, second * 1000);
    expect(meter.bytesPerSecond).toBeCloseTo(700);
  });

  test('takes a report for every chunk without keeping them all', () => {
    const meter = new RateMeter();
    for (let ms = 0; ms <= 5000; ms += 1) meter.add(ms * 10, ms);
    expect(meter.bytesPerSecond).toBeCloseTo(10_000, -2);
  });
});
