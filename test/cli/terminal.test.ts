import { randomBytes } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import Sqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DATABASE } from '../support/catalog-place.ts';
import type { Sandbox } from './run.ts';
import { PASSWORD, sandbox } from './run.ts';

const ENTER = '\r';
const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
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
  });

  test('that is ended from outside gives the terminal back', async () => {
    const run = box.terminal(['ls'], { env: { VAULT_PASSWORD: undefined } });
    await run.waitFor('Password of the vault:');
    run.kill('SIGTERM');
    expect(await run.exit).toBe(130);
    expect(run.raw.lastIndexOf(SHOW_CURSOR)).toBeGreaterThanOrEqual(run.raw.lastIndexOf(HIDE_CURSOR));
  });

  test('with a wrong answer ends with 12', async () => {
    const run = box.terminal(['ls'], { env: { VAULT_PASSWORD: undefined } });
    await run.waitFor('Password of the vault:');
    run.type(`nonsense${ENTER}`);
    expect(await run.exit).toBe(12);
    expect(run.shown).toContain('vault: The password does not open this vault.');
  });
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
    await run.waitFor('The two differ. Once more:');
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
    const run = box.terminal(['put', 'big.bin', '--limit-upload', '6M']);
    await run.waitFor(/[2-9]\d %/);
    run.type(CTRL_C);
    expect(await run.exit).toBe(130);
    expect(run.shown).toMatch(/vault: Interrupted\.\s*$/);
    expect(run.raw.lastIndexOf(SHOW_CURSOR)).toBeGreaterThan(run.raw.lastIndexOf(HIDE_CURSOR));
    expect((await box.run(['ls'])).stdout).toBe('');
    const { stdout } = await box.run(['put', 'big.bin', '--json']);
    const { chunks, chunksStored } = JSON.parse(stdout);
    expect(chunks).toBe(12);
    expect(chunksStored).toBeLessThan(12);
  });
});

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  '%s without a terminal ends a put with 130',
  async (signal) => {
    await box.makeVault();
    await writeFile(box.at('big.bin'), randomBytes(12 * MIB));
    const { process: child, ended } = box.start(['put', 'big.bin', '--limit-upload', '2M', '--debug']);
    await delay(1500);
    child.kill(signal);
    const { exit, stdout, stderr } = await ended;
    expect({ exit, stdout }).toEqual({ exit: 130, stdout: '' });
    expect(stderr).toMatch(/^vault: Interrupted\./);
  },
);

test.skipIf(DATABASE === 'postgres')(
  'the second Ctrl-C ends what does not heed the first, such as a wait for a locked catalog',
  async () => {
    await box.makeVault();
    const other = new Sqlite(box.db);
    other.exec('begin immediate');
    const { process: child, ended } = box.start(['put', '-', '--name', 'data'], { stdin: 'the data' });
    // Long enough to have come to the lock.
    await delay(2000);
    child.kill('SIGINT');
    await delay(1000);
    expect(child.exitCode).toBe(null);
    child.kill('SIGINT');
    expect(await ended).toMatchObject({ exit: 130, stdout: '' });
    other.exec('rollback');
    other.close();
    expect(await box.run(['ls'])).toMatchObject({ exit: 0, stdout: '' });
  },
);

describe('a table', () => {
  beforeEach(async () => {
    await box.makeVault();
    await mkdir(box.at('a-folder-with-a-long-name'));
    await writeFile(box.at('a-folder-with-a-long-name', 'and-a-file-with-a-long-name.txt'), 'x');
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
    expect(lines).toContainEqual(expect.stringMatching(/^BUCKET +SHARDS +ABOUT +CHUNKS$/));
    for (const line of lines.slice(lines.findIndex((text) => text.startsWith('BUCKET')))) {
      expect(line.length).toBeLessThanOrEqual(72);
    }
  });
});
