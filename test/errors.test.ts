import { describe, expect, test } from 'vitest';
import { isFull, isOutOfFiles, messageOf, systemCode } from '../src/errors.ts';
import { systemError } from './support/system-error.ts';

describe('what the system says', () => {
  test.each([true, false])(
    'has the system’s name also where Node has none for it (at once: %s)',
    (atOnce) => {
      for (const code of ['EDQUOT', 'ESTALE', 'ENOLCK', 'ENOENT', 'ENOSPC'])
        expect(systemCode(systemError(code, { atOnce }))).toBe(code);
      const error = systemError('EDQUOT', { atOnce });
      expect(messageOf(error)).toBe("EDQUOT: disk quota exceeded, write '/proc/self/fd/9/x'");
      expect(isFull(error)).toBe(true);
    },
  );

  test('stays as it is where nobody has a name for it', () => {
    const error = Object.assign(new Error('UNKNOWN: unknown error, open'), { errno: -4094, code: 'UNKNOWN' });
    expect([systemCode(error), messageOf(error)]).toEqual(['UNKNOWN', 'UNKNOWN: unknown error, open']);
    expect([systemCode({ code: 7 }), systemCode(null), messageOf('thrown')]).toEqual([null, null, 'thrown']);
  });

  test('of too many open files is known also where modules are read', () => {
    const message = 'Cannot read package config /a/package.json: too many open files.';
    const ofModules = Object.assign(new Error(message), { code: 'ERR_INVALID_PACKAGE_CONFIG' });
    const ofThread = new Error('A worker thread failed: Worker initialization failure: EMFILE');
    for (const error of [systemError('EMFILE'), systemError('ENFILE'), ofModules, ofThread])
      expect(isOutOfFiles(error)).toBe(true);
    expect(isOutOfFiles(systemError('ENOENT'))).toBe(false);
  });
});
