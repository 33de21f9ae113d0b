import { homedir } from 'node:os';
import { describe, expect, test } from 'vitest';
import {
  catalogLocation,
  nameAsTyped,
  nameOfPath,
  parseDurationMs,
  parseFraction,
  parseRate,
  parseRedundancyOption,
  parseSize,
  requestOptions,
} from '../../src/cli/arguments/options.ts';

describe('sizes', () => {
  test.each([
    ['1', 1],
    ['65536', 65_536],
    ['64K', 65_536],
    ['64KiB', 65_536],
    ['64kib', 65_536],
    ['64KB', 64_000],
    ['1.5M', 1_572_864],
    ['1 MiB', 1_048_576],
    ['2GiB', 2_147_483_648],
    ['1TB', 1e12],
    ['512B', 512],
  ])('%s is %d bytes', (text, bytes) => {
    expect(parseSize(text, '--chunk-size')).toBe(bytes);
  });

  test.each(['', '0', '-1', '1X', 'MiB', '1e6', '0x10', '1,5M', '1MiBs', '99999999T', '1 1'])(
    '%j is refused with an example',
    (text) => {
      expect(() => parseSize(text, '--chunk-size')).toThrow(/--chunk-size ".*" is not a size, for example/);
    },
  );
});

test.each([
  ['10M', 10_485_760],
  ['512K/s', 524_288],
  ['1000', 1000],
])('the rate %s is %d bytes per second', (text, rate) => {
  expect(parseRate(text, '--limit-upload')).toBe(rate);
});

test('a rate of nothing is refused', () => {
  expect(() => parseRate('0', '--limit-upload')).toThrow(/bytes per second/);
});

describe('durations', () => {
  test.each([
    ['250ms', 250],
    ['30s', 30_000],
    ['15m', 900_000],
    ['15min', 900_000],
    ['1.5h', 5_400_000],
    ['30d', 2_592_000_000],
    ['2w', 1_209_600_000],
  ])('%s is %d ms', (text, ms) => {
    expect(parseDurationMs(text, '--expires')).toBe(ms);
  });

  test.each(['', '30', '0d', '-1d', '1y', 'd', '1d12h'])('%j is refused', (text) => {
    expect(() => parseDurationMs(text, '--expires')).toThrow(/--expires ".*" is not a duration/);
  });

  test('end at a hundred years, which is the longest lock, too', () => {
    expect(parseDurationMs('36500d', '--grace')).toBe(36_500 * 86_400_000);
    for (const option of ['--expires', '--grace', '--retain'])
      for (const text of ['36500.1d', '36501d', '999999d', '99999999w'])
        expect(() => parseDurationMs(text, option)).toThrow(
          `${option} "${text}" is longer than a hundred years, 36500d.`,
        );
  });
});

test('redundancy is k+m', () => {
  expect(parseRedundancyOption('2+1', '--redundancy')).toEqual({ k: 2, m: 1 });
  for (const text of ['2', '0+1', '2-1', '30+3', '2+1 ', '02+1']) {
    expect(() => parseRedundancyOption(text, '--redundancy')).toThrow(/is not k\+m, for example 2\+1/);
  }
});

describe('the catalog', () => {
  test('is what --db says, before VAULT_DB', () => {
    expect(catalogLocation({ db: 'a.db' }, { VAULT_DB: 'b.db' })).toBe('a.db');
    expect(catalogLocation({}, { VAULT_DB: 'b.db' })).toBe('b.db');
  });

  test('is a file in the folder for data of the platform', () => {
    const home = { HOME: '/home/ann', VAULT_DB: '' };
    expect(catalogLocation({}, home, 'linux')).toBe('/home/ann/.local/share/shardvault/catalog.db');
    expect(catalogLocation({}, { ...home, XDG_DATA_HOME: '/data' }, 'linux')).toBe(
      '/data/shardvault/catalog.db',
    );
    expect(catalogLocation({}, home, 'darwin')).toBe(
      '/home/ann/Library/Application Support/shardvault/catalog.db',
    );
    expect(catalogLocation({}, { LOCALAPPDATA: '/local' }, 'win32')).toBe('/local/shardvault/catalog.db');
  });

  test('ignores a relative XDG_DATA_HOME, as the specification asks', () => {
    expect(catalogLocation({}, { HOME: '/home/ann', XDG_DATA_HOME: 'data' }, 'linux')).toBe(
      '/home/ann/.local/share/shardvault/catalog.db',
    );
  });

  test('is found without HOME too', () => {
    expect(catalogLocation({}, {}, 'linux')).toBe(`${homedir()}/.local/share/shardvault/catalog.db`);
  });

  test('cannot be nowhere', () => {
    expect(() => catalogLocation({ db: '' }, {})).toThrow(/--db needs/);
  });
});

test.each([
  ['./a', 'a'],
  ['a//b/./c', 'a/b/c'],
  ['a/../b', 'b'],
  ['../a', '../a'],
  ['/abs/a', '/abs/a'],
  ['a b\n', 'a b\n'],
])('the path %j is stored as %j', (path, name) => {
  expect(nameOfPath(path, 'linux')).toBe(name);
});

test('a name is taken to the letter unless it is typed as a path', () => {
  expect(nameAsTyped('./a//b')).toBe('a/b');
  expect(nameAsTyped('a//b')).toBe('a//b');
});

describe('requests', () => {
  test('are as asked for', () => {
    expect(
      requestOptions({
        timeout: '5s',
        maxWait: '1m',
        concurrency: '16',
        limitUpload: '1M',
        limitDownload: '2M',
      }),
    ).toEqual({
      timeoutMs: 5000,
      maxWaitMs: 60_000,
      concurrency: 16,
      limitUpload: 1_048_576,
      limitDownload: 2_097_152,
    });
  });

  test('are left to the vault where nothing is asked for', () => {
    expect(requestOptions({})).toEqual({});
  });

  test.each([
    { concurrency: '0' },
    { concurrency: '1.5' },
    { concurrency: 'many' },
    { timeout: '2d' },
    { maxWait: '25h' },
  ])('cannot be %j', (options) => {
    expect(() => requestOptions(options)).toThrow(/is not/);
  });
});

test.each([
  ['5%', 0.05],
  ['0.25', 0.25],
  ['100%', 1],
  ['1', 1],
  ['0.5%', 0.005],
])('the part %s is %d', (text, fraction) => {
  expect(parseFraction(text, '--sample')).toBe(fraction);
});

test.each(['', '0', '0%', '101%', '2', '-5%', '5 percent'])('%j is no part', (text) => {
  expect(() => parseFraction(text, '--sample')).toThrow(/--sample ".*" is not a part of the whole/);
});
