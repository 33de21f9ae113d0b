/** Completion in real shells, with the built command. */
import { execFileSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { COMMAND } from './build.ts';
import type { Sandbox } from './run.ts';
import { PASSWORD, sandbox } from './run.ts';

/** What a shell would take for something else, and what is typed of it. What the last two have in common ends with a backslash. */
const ODD_NAMES = [
  ['~root', ['~r']],
  ['$(touch PWNED).txt', ['"$(', String.raw`\$\(`]],
  ['`touch PWNED`', ['\\`']],
  ["it's!so", ["'it", '"it']],
  ['both a', ['"both ']],
  ['both!b', ['both\t!']],
] as const;

let box: Sandbox;
let path = '';
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  for (const name of ['a b.txt', 'docs/x.pdf', ...ODD_NAMES.map(([odd]) => odd)]) {
    await box.run(['put', '-', '--name', name], { stdin: `Held: ${name}.` });
  }
  await mkdir(box.at('bin'));
  const lines = ['#!/bin/sh', `exec '${process.execPath}' '${COMMAND}' "$@"`, ''];
  await writeFile(box.at('bin', 'vault'), lines.join('\n'), { mode: 0o755 });
  path = `${box.at('bin')}:${process.env['PATH'] ?? ''}`;
  for (const shell of ['bash', 'zsh', 'fish']) {
    await writeFile(box.at(`complete.${shell}`), (await box.run(['completion', shell])).stdout);
  }
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

function isInstalled(shell: string): boolean {
  try {
    execFileSync(shell, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Types into a shell, and waits for what completion makes of it. */
const SHELLS: Readonly<Record<string, string>> = {
  bash: 'exec bash --norc --noprofile -i',
  zsh: 'exec zsh -f -i',
  fish: 'exec fish --no-config -i',
};
const READY: Readonly<Record<string, string>> = {
  bash: "PS1='ready> '; source ./complete.bash\r",
  zsh: "PS1='ready> '; autoload -U compinit; compinit -u; source ./complete.zsh\r",
  fish: 'function fish_prompt; echo "ready> "; end; source ./complete.fish\r',
};

describe.each(['bash', 'zsh', 'fish'])('in %s', (shell) => {
  test.skipIf(!isInstalled(shell))('a verb, an option and names are completed', async () => {
    const run = box.terminalOf(SHELLS[shell] ?? '', { env: { PATH: path } });
    run.type(READY[shell] ?? '');
    await run.waitFor(/\nready> |\rready> /);
    run.type('vault unde\t');
    await run.waitFor('vault undelete ');
    run.type('\u0015vault ls --delet\t');
    await run.waitFor('--deleted ');
    run.type('\u0015vault info a\t');
    await run.waitFor(/a\\ b\.txt/);
    run.type('\u0015vault init --bucket=g\t');
    await run.waitFor('s://');
    run.type('\u0015exit\r');
    expect(await run.exit).toBe(0);
  });
});

test.skipIf(!isInstalled('bash'))('in bash a name is quoted, however it was begun', async () => {
  const run = box.terminalOf(SHELLS['bash'] ?? '', { env: { PATH: path } });
  run.type(READY['bash'] ?? '');
  await run.waitFor(/\nready> |\rready> /);
  for (const [name, beginnings] of ODD_NAMES) {
    for (const typed of beginnings) {
      run.type(`vault cat ${typed}\t\r`);
      await run.waitFor(`Held: ${name}.`);
      await run.waitFor('ready> ');
    }
  }
  run.type('exit\r');
  expect(await run.exit).toBe(0);
  expect((await box.shell('test -e PWNED')).exit).toBe(1);
});

test('a script is printed for each shell, whatever the settings say, and for no other', async () => {
  const env = { VAULT_NAME: 'none', VAULT_PASSWORD: undefined };
  const { exit, stdout } = await box.run(['completion', 'powershell'], { env });
  expect(exit).toBe(0);
  expect(stdout).toContain('Register-ArgumentCompleter -Native -CommandName vault, shardvault');
  const other = await box.run(['completion', 'tcsh']);
  expect(other).toMatchObject({ exit: 2, stdout: '' });
  expect(other.stderr).toMatch(/no completion for "tcsh", but for bash, zsh, fish/);
});

test('whatever goes wrong is silent, nobody is asked, and no command is run', async () => {
  await writeFile(box.at('pw'), PASSWORD, { mode: 0o600 });
  const none = { VAULT_PASSWORD: undefined };
  const names = ['names', 'a b.txt', 'docs/x.pdf', ...ODD_NAMES.map(([name]) => name), ''].join('\t\n');
  for (const [line, env, stdout] of [
    ['vault get ', {}, names],
    [`vault get --password-file '${box.at('pw')}' `, none, names],
    ['vault get ', none, ''],
    ['vault get ', { ...none, VAULT_PASSWORD_COMMAND: 'touch ran; cat pw' }, ''],
    ['vault get ', { VAULT_PASSWORD: 'wrong' }, ''],
    ['vault get --db none.db ', {}, ''],
    ['vault get ', { VAULT_NAME: 'none' }, ''],
    ['vault "x', {}, ''],
  ] as const) {
    const said = await box.run(['__complete', line], { env });
    expect({ ...said, stdout: said.stdout.split('\n').toSorted().join('\n') }).toMatchObject({
      exit: 0,
      stdout: stdout.split('\n').toSorted().join('\n'),
      stderr: '',
    });
  }
  expect((await box.shell(`test -e ran`)).exit).toBe(1);
});
