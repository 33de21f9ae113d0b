import { execFileSync } from 'node:child_process';
import { existsSync, readlinkSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { weaknessOf } from '../../src/cli/arguments/password-strength.ts';
import type { Sandbox } from './run.ts';
import { PASSWORD, sandbox } from './run.ts';

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

/** Waits until a process's terminal shows nothing of what is typed. */
async function untilSilent(pid: number): Promise<void> {
  await vi.waitUntil(
    () => {
      const terminal = readlinkSync(`/proc/${pid}/fd/0`);
      // Not yet, while the process begins.
      if (!terminal.startsWith('/dev/')) return false;
      return / -echo /.test(execFileSync('stty', ['-F', terminal, '-a'], { encoding: 'utf8' }));
    },
    { interval: 5 },
  );
}

describe('a password', () => {
  test.each<[string, RegExp]>([
    ['', /fewer than 12/],
    ['x7#qLp2!vbn', /fewer than 12/],
    ['ababababababab', /few different/],
    ['Password12345!', /common one/],
    ['Passw0rd2026!!', /common one/],
    ['qwertyuiop123', /row of keys|common/],
    ['1234567890123', /row of keys/],
    ['zyxwvutsrqponm', /row of keys/],
    ['changeme-2026!', /common one/],
  ])('%j is weak', (password, why) => {
    expect(weaknessOf(password)).toMatch(why);
  });

  test.each([
    PASSWORD,
    'x7#qLp2!vbn8',
    'passwords are long sentences here',
    'пароль из шести слов',
    'korrekt-Pferd-4711',
  ])('%j is not plainly weak', (password) => {
    expect(weaknessOf(password)).toBeNull();
  });
});

test('a weak one is warned about when it is chosen, and taken all the same', async () => {
  const env = { VAULT_PASSWORD: 'too short', VAULT_DB: undefined };
  const made = await box.run(['init', '--bucket', 'one', '--db', 'weak.db'], { env });
  expect(made.exit).toBe(0);
  expect(made.stderr).toMatch(
    /^vault: warning: The password has fewer than 12 characters\. .*"vault password" changes it\.\n$/,
  );
  expect((await box.run(['ls', '--db', 'weak.db'], { env })).stderr).toBe('');
  const next = { ...env, VAULT_NEW_PASSWORD: 'Password12345!' };
  const changed = await box.run(['password', '--db', 'weak.db', '--json'], { env: next });
  expect(changed.exit).toBe(0);
  expect(JSON.parse(changed.stderr.split('\n')[0] ?? '')).toMatchObject({
    warning: { kind: 'weak-password' },
  });
});

describe('what is typed before the question', () => {
  const env = { VAULT_PASSWORD: undefined };

  test.skipIf(!existsSync('/proc/self/fd/0')).each(['xterm-256color', 'dumb'])(
    'is not shown, and answers it (TERM %s)',
    async (TERM) => {
      const run = box.terminal(['ls'], { env: { ...env, TERM } });
      await untilSilent(run.pid);
      run.type(`${PASSWORD}\r`);
      await run.waitFor('Nothing is stored yet.');
      expect(await run.exit).toBe(0);
      expect(run.raw).not.toContain('correct');
    },
  );

  test.each([
    ['xterm-256color', ['ls'], 'Nothing is stored yet.'],
    ['dumb', ['ls'], 'Nothing is stored yet.'],
    ['xterm-256color', ['recover', '--db', 'again.db', '--bucket'], 'The catalog has 0 files now.'],
  ])('is not shown either before it is asked for again (TERM %s, %s)', async (TERM, args, end) => {
    const bucket = args.includes('--bucket') ? [box.bucket(1)] : [];
    const run = box.terminal([...args, ...bucket], { env: { ...env, TERM } });
    await run.waitFor('Password of the vault');
    run.type('not that one\r');
    await run.waitFor('Once more:');
    run.type(`${PASSWORD}\r`);
    await run.waitFor(end);
    expect(await run.exit).toBe(0);
    expect(run.raw).not.toContain('correct');
  });

  test.skipIf(!existsSync('/proc/self/fd/0'))('can be Ctrl-C', async () => {
    const run = box.terminal(['ls'], { env });
    await untilSilent(run.pid);
    run.type('\u0003');
    expect(await run.exit).toBe(130);
    expect(run.shown).toMatch(/vault: Interrupted\.\s*$/);
  });

  test('is nothing to a command that needs no answer: the terminal is as it was', async () => {
    const after = box.terminalOf('(exec vault ls --db none.db); stty -a', { env });
    expect(await after.exit).toBe(0);
    expect(after.shown).toMatch(/ echo /);
  });
});
