import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Sandbox } from './run.ts';
import { giveInTurn, PASSWORD, sandbox } from './run.ts';

const ENTER = '\r';
const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
const CTRL_U = '\u0015';
const SHOW_CURSOR = '\u001b[?25h';
const HIDE_CURSOR = '\u001b[?25l';
/** How a colour of the foreground begins. */
const COLOR = '\u001b[3';
const MIB = 1024 * 1024;

let box: Sandbox;
beforeEach(async () => {
  box = await sandbox();
});
afterEach(async () => {
  await box[Symbol.asyncDispose]();
});

describe('a prompt', () => {
  beforeEach(async () => box.makeVault());

  test('asks for the password on the terminal and never shows it', async () => {
    const run = box.terminal(['ls'], { env: { VAULT_PASSWORD: undefined } });
    await run.waitFor('Password of the vault:');
    run.type(PASSWORD + ENTER);
    await run.waitFor('Nothing is stored yet.');
    expect(await run.exit).toBe(0);
    expect(run.shown).not.toContain('correct');
  });

  test('that is left with Ctrl-C ends with 130 and one line', async () => {
    const run = box.terminal(['ls'], { env: { VAULT_PASSWORD: undefined } });
    await run.waitFor('Password of the vault:');
    run.type(CTRL_C);
    expect(await run.exit).toBe(130);
    expect(run.shown).toMatch(/vault: Interrupted\.\s*$/);
  });

  test('that is left with Ctrl-D ends with 130', async () => {
    const run = box.terminal(['ls'], { env: { VAULT_PASSWORD: undefined } });
    await run.waitFor('Password of the vault:');
    run.type(CTRL_D);
    expect(await run.exit).toBe(130);
    expect(run.shown).toMatch(/\nvault: Nothing was entered\.\s*$/);
    expect(run.raw.lastIndexOf(SHOW_CURSOR)).toBeGreaterThanOrEqual(run.raw.lastIndexOf(HIDE_CURSOR));
  });

  test('that is ended from outside gives the terminal back', async () => {
    const run = box.terminal(['ls'], { env: { VAULT_PASSWORD: undefined } });
    await run.waitFor('Password of the vault:');
    run.kill('SIGTERM');
    expect(await run.exit).toBe(130);
    expect(run.raw.lastIndexOf(SHOW_CURSOR)).toBeGreaterThanOrEqual(run.raw.lastIndexOf(HIDE_CURSOR));
  });

  test('with three wrong answers ends with 12', async () => {
    const run = box.terminal(['ls'], { env: { VAULT_PASSWORD: undefined } });
    await giveInTurn(run, 'Password of the vault:', ['nonsense', 'nonsense', 'more of it']);
    expect(await run.exit).toBe(12);
    expect(run.shown).toContain('Wrong password. Once more:\r\n');
    expect(run.shown).toMatch(
      /vault: The password does not open this vault\. Nothing was changed\. If it was set elsewhere, .*vault recover/,
    );
    expect(run.raw).not.toMatch(/nonsense|more of it/);
  });

  test('is asked again and can be edited, also in a terminal that takes no sequences', async () => {
    // Ctrl-U, Ctrl-W, left, delete, and a key that means nothing.
    const edited = `zzz\u0015zz y\u0017\u0017${PASSWORD}\u001b[D\u001b[3~e\u0018`;
    for (const TERM of ['xterm-256color', 'dumb']) {
      const run = box.terminal(['ls'], { env: { TERM, VAULT_PASSWORD: undefined } });
      await giveInTurn(run, 'Password of the vault:', ['nonsense', 'nonsense', edited]);
      await run.waitFor('Nothing is stored yet.');
      expect(await run.exit).toBe(0);
    }
  });

  test('that is left at the second try ends with 130', async () => {
    const run = box.terminal(['ls'], { env: { VAULT_PASSWORD: undefined } });
    await run.waitFor('Password of the vault:');
    run.type(`nonsense${ENTER}`);
    await run.waitFor(/Once more:[^]*Password of the vault:/);
    run.type(CTRL_C);
    expect(await run.exit).toBe(130);
  });
});

describe('a password that was mistyped is asked for again by', () => {
  beforeEach(async () => {
    await box.makeVault();
    await writeFile(box.at('a'), 'content of a');
    await box.run(['put', 'a']);
  });

  test.each([[['put', 'a', '--name', 'b']], [['get', 'a', '-o', 'out']], [['repair']], [['bucket', 'ls']]])(
    '%j',
    async (args) => {
      const run = box.terminal(args, { env: { VAULT_PASSWORD: undefined } });
      await giveInTurn(run, 'Password of the vault:', ['nonsense', PASSWORD]);
      expect(await run.exit).toBe(0);
    },
  );

  test('"password", which goes on with the one that was right', async () => {
    const env = { VAULT_PASSWORD: undefined, VAULT_NEW_PASSWORD: 'the new one' };
    const run = box.terminal(['password'], { env });
    await giveInTurn(run, 'Password of the vault:', ['nonsense', PASSWORD]);
    await run.waitFor('The password was changed.');
    expect(await run.exit).toBe(0);
    expect((await box.run(['ls'], { env: { VAULT_PASSWORD: 'the new one' } })).exit).toBe(0);
  });

  test('"recover", which draws nothing into the question', async () => {
    const buckets = [1, 2, 3].flatMap((number) => ['--bucket', box.bucket(number)]);
    const run = box.terminal(['recover', '--db', 'new.db', ...buckets], {
      env: { VAULT_PASSWORD: undefined },
    });
    await giveInTurn(run, 'Password of the vault:', ['nonsense', 'nonsense']);
    await run.waitFor(/Once more:[^]*Password of the vault:/);
    // Long enough for a progress to begin.
    await delay(700);
    expect(run.shown).not.toContain('Recovering');
    run.type(PASSWORD + ENTER);
    await run.waitFor('The catalog has 1 file now.');
    expect(await run.exit).toBe(0);
  });
});

test('a password from a file, a command or a variable is tried once, also in a terminal', async () => {
  await box.makeVault();
  await writeFile(box.at('wrong'), 'nonsense', { mode: 0o600 });
  for (const [args, env] of [
    [['--password-file', 'wrong'], {}],
    [['--password-command', 'echo x >> tries; cat wrong'], {}],
    [[], { VAULT_PASSWORD: 'nonsense' }],
  ] as const) {
    const run = box.terminal(['ls', ...args], { env });
    expect(await run.exit).toBe(12);
    expect(run.shown).toMatch(
      /^vault: The password does not open this vault\. Nothing was changed\. If it was set elsewhere, .*vault recover/,
    );
  }
  expect(await readFile(box.at('tries'), 'utf8')).toBe('x\n');
});

describe('init asks', () => {
  test('for buckets, for redundancy, and for the password twice', async () => {
    const run = box.terminal(['init'], { env: { VAULT_PASSWORD: undefined } });
    for (const [index, name] of ['one', 'two', 'three', ''].entries()) {
      await run.waitFor(`? Bucket ${index + 1}:`);
      run.type(name + ENTER);
    }
    await run.waitFor('How many buckets may be lost?');
    await run.waitFor('(usual)');
    run.type(ENTER);
    await run.waitFor('Choose a password:');
    run.type(`first${ENTER}`);
    await run.waitFor('The same again:');
    run.type(`second${ENTER}`);
    await run.waitFor('The passwords do not match. Once more:');
    await run.waitFor('Choose a password:');
    run.type(`third${ENTER}`);
    await run.waitFor('The same again:');
    run.type(`third${ENTER}`);
    await run.waitFor('Made a vault with 3 buckets and redundancy 2+1: any one bucket may be lost');
    await run.waitFor('Keep the password');
    await run.waitFor('Next: vault put <path>');
    expect(await run.exit).toBe(0);
    expect(run.shown).not.toMatch(/first|second|third/);
    expect(await box.run(['ls'], { env: { VAULT_PASSWORD: 'third' } })).toMatchObject({
      exit: 0,
      stderr: '',
    });
  });

  test('and looks at each answer at once', async () => {
    await mkdir(box.at('taken'));
    await writeFile(box.at('taken', 'file'), '');
    const other = await box.run(['init', '--bucket', 'used', '--db', 'used.db']);
    expect(other.exit).toBe(0);
    const env = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'key' };
    const run = box.terminal(['init', '--db', 'x.db'], { env });
    const answers: readonly (readonly [string, RegExp])[] = [
      ['', /> A vault needs at least one bucket/],
      ['ftp://host/x', /> ftp:.. is not a kind of bucket/],
      ['s3://x?colour=red', /> .*no option "colour"/],
      ['taken/file', /> .* is a file, not a folder/],
      ['used', /> .* belongs to a vault already/],
      ['s3://name?endpoint=http://127.0.0.1:1&region=x', /> .*ECONNREFUSE.*Check host and port/s],
    ];
    await run.waitFor('Bucket 1:');
    for (const [answer, complaint] of answers) {
      run.type(answer + ENTER);
      await run.waitFor(complaint);
      // Takes the answer away.
      run.type(CTRL_U);
    }
    run.type(`~/mine${ENTER}`);
    await run.waitFor('Bucket 2:');
    run.type(`./../home/mine${ENTER}`);
    await run.waitFor('That one is in the list already.');
    run.type(CTRL_U + ENTER);
    await run.waitFor('Made a vault with 1 bucket');
    expect(await run.exit).toBe(0);
    expect(await readdir(box.at('..', 'home', 'mine'))).toContain('vault.json');
  });

  test('and keeps the answers when the vault cannot be made', async () => {
    const run = box.terminal(['init', '--db', 'x.db'], { env: { VAULT_PASSWORD: undefined } });
    for (const [index, name] of ['one', 'two', ''].entries()) {
      await run.waitFor(`Bucket ${index + 1}:`);
      run.type(name + ENTER);
    }
    await run.waitFor('How many buckets may be lost?');
    run.type(ENTER);
    await run.waitFor('Choose a password:');
    // It comes after the look at the answer.
    await writeFile(box.at('two'), '');
    run.type(`secret${ENTER}`);
    await run.waitFor('The same again:');
    run.type(`secret${ENTER}`);
    await run.waitFor('a file is in the way');
    await run.waitFor('Nothing was made. Try again?');
    expect(await readdir(box.path)).toEqual(['two']);
    await rm(box.at('two'));
    run.type(ENTER);
    for (const [index, name] of [`file://${box.at('one')}`, `file://${box.at('two')}`].entries()) {
      await run.waitFor(`Bucket ${index + 1}:`);
      await run.waitFor(name);
      run.type(ENTER);
    }
    await run.waitFor('Bucket 3:');
    run.type(ENTER);
    await run.waitFor('How many buckets may be lost?');
    run.type(ENTER);
    await run.waitFor('Made a vault with 2 buckets');
    expect(await run.exit).toBe(0);
  });

  test('and leaves nothing behind if it is left', async () => {
    const run = box.terminal(['init', '--bucket', 'one', '--bucket', 'two', '--db', 'x.db'], {
      env: { VAULT_PASSWORD: undefined },
    });
    await run.waitFor('Choose a password:');
    run.type(CTRL_C);
    expect(await run.exit).toBe(130);
    expect(await readdir(box.path)).toEqual([]);
  });
});

describe('progress', () => {
  beforeEach(async () => {
    await box.makeVault();
    await writeFile(box.at('big.bin'), randomBytes(12 * MIB));
  });

  test('is shown with bytes, rate and time left, and taken away at the end', async () => {
    const run = box.terminal(['put', 'big.bin', '--limit-upload', '6M']);
    await run.waitFor(/big\.bin {2}\d+ % {2}\S+ \S+ of 12 MiB {2}\S+ [KM]iB\/s {2}\d+ s left/);
    expect(await run.exit).toBe(0);
    expect(run.raw).toContain(COLOR);
    expect(run.raw.lastIndexOf(SHOW_CURSOR)).toBeGreaterThan(run.raw.lastIndexOf(HIDE_CURSOR));
    expect(run.shown).toMatch(/[0-9a-f]{64}\r\n/);
  });

  test('is not shown with --quiet', async () => {
    const run = box.terminal(['put', 'big.bin', '--quiet', '--limit-upload', '12M']);
    expect(await run.exit).toBe(0);
    expect(run.raw).toMatch(/^[0-9a-f]{64}\r\n$/);
  });

  test('has no colour with NO_COLOR', async () => {
    const run = box.terminal(['put', 'big.bin', '--limit-upload', '8M'], { env: { NO_COLOR: '1' } });
    await run.waitFor(/\d+ %/);
    expect(await run.exit).toBe(0);
    expect(run.raw).not.toContain(COLOR);
  });

  test('Ctrl-C in the middle ends with 130, gives the cursor back, lists nothing, and the next run resumes', async () => {
    // More chunks than are under way at once: those begin together, and come to their end together.
    await writeFile(box.at('big.bin'), randomBytes(48 * MIB));
    const run = box.terminal(['put', 'big.bin', '--limit-upload', '12M']);
    await run.waitFor(/[2-9]\d %/);
    run.type(CTRL_C);
    expect(await run.exit).toBe(130);
    expect(run.shown).toMatch(
      /vault: Interrupted\. What was sent is kept: the same command goes on from there\.\s*$/,
    );
    expect(run.raw.lastIndexOf(SHOW_CURSOR)).toBeGreaterThan(run.raw.lastIndexOf(HIDE_CURSOR));
    expect((await box.run(['ls'])).stdout).toBe('');
    const { stdout } = await box.run(['put', 'big.bin', '--json']);
    const { chunks, chunksStored } = JSON.parse(stdout);
    expect(chunks).toBe(24);
    expect(chunksStored).toBeLessThan(24);
  });
});

test.each(['xterm-256color', 'dumb', undefined])(
  'nothing is drawn on a terminal of no columns (TERM %s)',
  async (TERM) => {
    await box.makeVault();
    await writeFile(box.at('big.bin'), randomBytes(6 * MIB));
    // A pty of no columns cannot be asked for: it is begun with some, and loses them before the command starts.
    const run = box.terminalOf('stty cols 0; exec vault put big.bin --limit-upload 6M', { env: { TERM } });
    expect(await run.exit).toBe(0);
    expect(run.raw).toMatch(/^[0-9a-f]{64}\r\n$/);
  },
);

describe('a terminal that takes no sequences', () => {
  test('gets none, and answers all the same', async () => {
    const env = { TERM: 'dumb', VAULT_PASSWORD: undefined };
    const run = box.terminal(['init', '--db', 'x.db'], { env });
    for (const [index, name] of ['one', 'tow\u007F\u007Fwo', ''].entries()) {
      await run.waitFor(`Bucket ${index + 1}:`);
      run.type(name + ENTER);
    }
    await run.waitFor('2) any 1');
    await run.waitFor('How many buckets may be lost? (2)');
    run.type(`7${ENTER}`);
    await run.waitFor('Enter a number from 1 to 2.');
    run.type(ENTER);
    await run.waitFor('Choose a password:');
    run.type(`secrex\u007Ft${ENTER}`);
    await run.waitFor('The same again:');
    run.type(`secret${ENTER}`);
    expect(await run.exit).toBe(0);
    expect(run.raw).not.toContain('\u001b');
    expect(run.raw).not.toContain('secre');
    expect(await readdir(box.path)).toEqual(expect.arrayContaining(['one', 'two', 'x.db']));
    const opened = await box.run(['ls', '--db', 'x.db'], { env: { VAULT_PASSWORD: 'secret' } });
    expect(opened).toMatchObject({ exit: 0, stderr: '' });
  });

  test('is given back when it is left', async () => {
    await box.makeVault();
    const run = box.terminal(['ls'], { env: { TERM: 'dumb', VAULT_PASSWORD: undefined } });
    await run.waitFor('Password of the vault:');
    run.type(CTRL_C);
    expect(await run.exit).toBe(130);
    expect(run.shown).toMatch(/vault: Interrupted\.\s*$/);
  });

  test('a password that is typed in another encoding is refused', async () => {
    await box.makeVault();
    const run = box.terminal(['ls'], { env: { VAULT_PASSWORD: undefined } });
    await run.waitFor('Password of the vault:');
    // What becomes of a byte that is no UTF-8.
    run.type(`p\uFFFD${ENTER}`);
    await run.waitFor('That is not UTF-8 text.');
    run.type(CTRL_C);
    expect(await run.exit).toBe(130);
  });
});

describe('a table', () => {
  beforeEach(async () => {
    await box.makeVault();
    await mkdir(box.at('a-folder-with-a-long-name'));
    await writeFile(
      box.at('a-folder-with-a-long-name', 'and-a-file-with-a-long-name.txt'),
      'x'.repeat(20_000),
    );
    await box.run(['put', 'a-folder-with-a-long-name/and-a-file-with-a-long-name.txt']);
  });

  test('fits the terminal and has a heading', async () => {
    const run = box.terminal(['ls'], { columns: 60 });
    expect(await run.exit).toBe(0);
    const lines = run.shown.trimEnd().split('\r\n');
    expect(lines[0]).toMatch(/^HASH +SIZE {2}STORED +NAME$/);
    expect(lines[1]).toMatch(/ {2}a-fold.*….*\.txt$/);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(60);
  });

  test('of buckets fits the terminal', async () => {
    const run = box.terminal(['info', 'a-folder-with-a-long-name/and-a-file-with-a-long-name.txt'], {
      columns: 72,
    });
    expect(await run.exit).toBe(0);
    const lines = run.shown.trimEnd().split('\r\n');
    expect(lines).toContainEqual(expect.stringMatching(/^BUCKET +SHARDS +SIZE +CHUNKS$/));
    for (const line of lines.slice(lines.findIndex((text) => text.startsWith('BUCKET')))) {
      expect(line.length).toBeLessThanOrEqual(72);
    }
  });
});
