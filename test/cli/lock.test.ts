/** Locked files: what their own password is asked for, and what anybody without it cannot do. */
import { randomBytes } from 'node:crypto';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { catalogFiles, catalogPlace } from '../support/catalog-place.ts';
import { openBucket } from '../../src/buckets/open.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { bodyHash, chunkSecrets, chunkTag } from '../../src/crypto/chunk.ts';
import { ManifestOpener } from '../../src/crypto/manifest.ts';
import { openSession } from '../../src/vault/open.ts';
import { Vault } from '../../src/vault/vault.ts';
import { CHUNK_SIZE, parts } from '../vault/harness.ts';
import type { Sandbox } from './run.ts';
import { giveInTurn, PASSWORD, sandbox, SUMMARY } from './run.ts';

const LOCK = 'a password of the file itself';
const KIB = 1024;
/** Content that is found wherever any of it is readable: a line of it is in every place of the file. */
const MARK = `marked ${randomBytes(16).toString('hex')}\n`;
const SMALL = MARK.repeat(3);
const LARGE = MARK.repeat(Math.ceil((200 * KIB) / MARK.length));

let box: Sandbox;
/** Puts back the vault without a file. */
let fresh: () => Promise<void>;
/** Puts back the vault with both files, which are locked. */
let locked: () => Promise<void>;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await writeFile(box.at('small'), SMALL);
  await writeFile(box.at('large'), LARGE);
  fresh = await box.keep();
  await putLocked();
  locked = await box.keep();
});
beforeEach(() => fresh());
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

const lock = { VAULT_LOCK_PASSWORD: LOCK };
const files: readonly (readonly [string, string])[] = [
  ['small', SMALL],
  ['large', LARGE],
];

/** Locks both files, the large one in several chunks that zstd would make small. */
async function putLocked(): Promise<void> {
  const put = await box.run(['put', 'small', 'large', '--lock', '--chunk-size', '64KiB'], { env: lock });
  expect(put).toMatchObject({ exit: 0, stderr: '' });
}

/** Bytes of every object of every bucket. */
async function bucketBytes(): Promise<Buffer[]> {
  const found: Buffer[] = [];
  for (const number of [1, 2, 3]) {
    for (const entry of await readdir(box.bucket(number), { recursive: true, withFileTypes: true })) {
      if (entry.isFile()) found.push(await readFile(join(entry.parentPath, entry.name)));
    }
  }
  return found;
}

describe('a locked file', () => {
  beforeEach(() => locked());

  test('comes back with its own password from a variable, a file or a command', async () => {
    await writeFile(box.at('lock'), `${LOCK}\n`, { mode: 0o600 });
    const sources = [
      { args: [], env: lock },
      { args: ['--lock-password-file', 'lock'], env: {} },
      { args: ['--lock-password-command', 'cat lock'], env: {} },
      { args: [], env: { VAULT_LOCK_PASSWORD_FILE: 'lock' } },
      { args: [], env: { VAULT_LOCK_PASSWORD_COMMAND: 'cat lock' } },
    ];
    for (const { args, env } of sources) {
      const got = await box.run(['get', 'small', '-o', '-', ...args], { env });
      expect(got).toMatchObject({ exit: 0, stdout: SMALL, stderr: '' });
    }
    expect((await box.run(['get', 'large', '-o', '-'], { env: lock })).stdout).toBe(LARGE);
  });

  test('is refused to a wrong one with 12, naming the file, and nothing is written', async () => {
    for (const [name] of files) {
      const env = { VAULT_LOCK_PASSWORD: PASSWORD };
      const { exit, stdout, stderr } = await box.run(['get', name, '-o', 'out'], { env });
      expect({ exit, stdout }).toEqual({ exit: 12, stdout: '' });
      expect(stderr).toMatch(new RegExp(`^vault: .*${name}`));
      expect(stderr).not.toContain(PASSWORD);
      expect((await box.run(['get', name, '-o', '-'], { env })).stdout).toBe('');
    }
    expect(await readdir(box.path)).not.toContain('out');
  });

  test('without one and without a terminal is refused with 2, naming the options', async () => {
    const { exit, stdout, stderr } = await box.run(['get', 'small', '-o', '-']);
    expect({ exit, stdout }).toEqual({ exit: 2, stdout: '' });
    for (const name of ['--lock-password-file', '--lock-password-command', 'VAULT_LOCK_PASSWORD']) {
      expect(stderr).toContain(name);
    }
  });

  test('in a terminal asks for it by the name of the file', async () => {
    const run = box.terminal(['get', 'small', '-o', 'out']);
    await run.waitFor('Password of small:');
    run.type(`${LOCK}\r`);
    expect(await run.exit).toBe(0);
    expect(run.raw).not.toContain(LOCK);
    expect(await readFile(box.at('out'), 'utf8')).toBe(SMALL);
  });

  test('that gets a version without a lock draws a warning, once', async () => {
    const first = await box.run(['put', 'small']);
    expect(first.exit).toBe(0);
    expect(first.stderr).toBe(
      `vault: warning: "small" was locked, and its new version is not: the vault's password is enough to read it. The version before stays locked. To lock this one, too: "vault rm --now" it, and put it again with --lock.\n`,
    );
    await writeFile(box.at('small'), 'other content');
    expect(await box.run(['put', 'small'])).toMatchObject({ exit: 0, stderr: '' });
    const json = await box.run(['put', 'small', '--name', 'large', '--json']);
    const [warning = '', ...rest] = json.stderr.split('\n');
    expect(JSON.parse(warning)).toMatchObject({ warning: { kind: 'not-locked' } });
    expect(rest.join('\n')).toMatch(SUMMARY);
    expect(JSON.parse(json.stdout)).toMatchObject({ locked: false });
  });

  test('that gets a version with a lock draws none, nor does one that was removed', async () => {
    expect(await box.run(['put', 'small', '--lock'], { env: lock })).toMatchObject({ exit: 0, stderr: '' });
    await box.run(['rm', 'large']);
    expect(await box.run(['put', 'large'])).toMatchObject({ exit: 0, stderr: '' });
  });

  test('that expires says until when it stays locked', async () => {
    await box.run(['put', 'small', '--lock', '--expires', '30d'], { env: lock });
    const { expiresAt } = JSON.parse((await box.run(['info', 'small', '--json'])).stdout);
    const until = expiresAt.slice(0, 16).replace('T', ' ');
    const { stderr } = await box.run(['put', 'small']);
    expect(stderr).toContain(`The version before stays locked, and expires ${until}.`);
  });

  test('in a terminal gives three tries', async () => {
    const run = box.terminal(['get', 'small', '-o', 'out']);
    await giveInTurn(run, 'Password of small:', ['nonsense', PASSWORD, LOCK]);
    expect(await run.exit).toBe(0);
    expect(run.shown).toContain('Wrong password. Once more:');
    expect(await readFile(box.at('out'), 'utf8')).toBe(SMALL);
    const refused = box.terminal(['get', 'small', '-o', 'again']);
    await giveInTurn(refused, 'Password of small:', ['nonsense', PASSWORD, 'nonsense']);
    expect(await refused.exit).toBe(12);
    expect(await readdir(box.path)).not.toContain('again');
  });

  test('in a terminal shows nothing of a password that is typed while the one before is tried', async () => {
    const run = box.terminal(['get', 'small', 'large', '-o', '.', '--force'], { env: { TERM: 'dumb' } });
    await run.waitFor('Password of small:');
    run.type('not that one\r');
    // That question is over, and the next one has not begun.
    await run.waitFor('\n');
    run.type(`${LOCK}\r`);
    await run.waitFor('Password of large:');
    run.type(`${LOCK}\r`);
    expect(await run.exit).toBe(0);
    expect(run.raw).not.toContain('of the file itself');
    expect(await readFile(box.at('large'), 'utf8')).toBe(LARGE);
  });

  test('in a terminal is tried once if a variable has it', async () => {
    const run = box.terminal(['get', 'small', '-o', 'out'], { env: { VAULT_LOCK_PASSWORD: 'nonsense' } });
    expect(await run.exit).toBe(12);
  });

  test('is listed, verified, repaired, recovered and removed with the password of the vault alone', async () => {
    const listed = await box.run(['ls', '--long']);
    expect(listed.exit).toBe(0);
    expect(listed.stdout).toMatch(/ {2}locked {2}.* {2}large$/m);
    const lines = (await box.run(['ls', '--json'])).stdout.trim().split('\n');
    for (const line of lines) expect(JSON.parse(line)).toMatchObject({ locked: true, size: null });
    expect((await box.run(['info', 'large'])).stdout).toMatch(/^locked +with a password of its own$/m);
    expect(await box.run(['verify', '--read-data'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    const verified = await box.run(['verify', '--json']);
    expect(JSON.parse(verified.stdout)).toMatchObject({ outcome: 'whole', notOpened: 2 });
    await rm(join(box.bucket(2), 'chunks'), { recursive: true });
    expect((await box.run(['verify'])).exit).toBe(3);
    expect(await box.run(['repair'])).toMatchObject({ exit: 0, stderr: '' });
    expect((await box.run(['verify'])).exit).toBe(0);
    await using place = await catalogPlace();
    const env = { VAULT_DB: place.location };
    const buckets = [1, 2, 3].flatMap((number) => ['--bucket', box.bucket(number)]);
    expect(await box.run(['recover', ...buckets], { env })).toMatchObject({ exit: 0, stderr: '' });
    for (const [name, content] of files) {
      const got = await box.run(['get', name, '-o', '-'], { env: { ...env, ...lock } });
      expect(got).toMatchObject({ exit: 0, stdout: content, stderr: '' });
    }
    expect(await box.run(['rm', 'small', 'large', '--now'], { env })).toMatchObject({ exit: 0, stderr: '' });
    expect((await readdir(join(box.bucket(1), 'chunks'))).length).toBe(0);
  });

  test('shares nothing with the same content that is not locked, or locked another time', async () => {
    const chunks = async (): Promise<number> => (await readdir(join(box.bucket(1), 'chunks'))).length;
    const before = await chunks();
    await box.run(['put', 'large', '--name', 'again', '--lock', '--chunk-size', '64KiB'], { env: lock });
    expect(await chunks()).toBe(2 * before);
    const { stdout } = await box.run(['put', 'large', '--name', 'open', '--chunk-size', '64KiB', '--json']);
    const { chunks: all, chunksStored } = JSON.parse(stdout);
    expect(chunksStored).toBe(all);
  });
});

describe('the password of a lock', () => {
  test.each<[string, readonly string[], Readonly<Record<string, string>>, RegExp]>([
    [
      'that is empty',
      ['--lock'],
      { VAULT_LOCK_PASSWORD: '' },
      /--lock-password-file.*VAULT_LOCK_PASSWORD is set, but empty/,
    ],
    [
      'that an empty file gives',
      ['--lock-password-file', '/dev/null'],
      {},
      /--lock-password-file gives is empty/,
    ],
    [
      'that a command does not print',
      ['--lock-password-command', 'true'],
      {},
      /--lock-password-command gives is empty/,
    ],
    [
      'that is not UTF-8',
      ['--lock-password-command', "printf 'p\\344ss'"],
      {},
      /--lock-password-command .*not UTF-8/,
    ],
    ['that is missing', ['--lock'], {}, /The password of the file itself is needed.*--lock-password-file/],
    ['that two options name', ['--lock-password-file', 'x', '--lock-password-command', 'y'], {}, /not both/],
  ])('%s ends with 2, and nothing is stored', async (_, flags, env, message) => {
    const { exit, stdout, stderr } = await box.run(['put', 'small', ...flags], { env });
    expect(stderr).toMatch(message);
    expect({ exit, stdout }).toEqual({ exit: 2, stdout: '' });
    expect((await box.run(['ls'])).stdout).toBe('');
  });

  test('whose bytes in a variable are no UTF-8 ends with 2', async () => {
    const { stdout, stderr } = await box.shell(
      "VAULT_LOCK_PASSWORD=$(printf 'p\\344ss') vault put small --lock; echo $?",
    );
    expect(stdout).toBe('2\n');
    expect(stderr).toMatch(/VAULT_LOCK_PASSWORD.*not UTF-8/);
  });
});

/** Everything that whoever has buckets, catalog and the vault's password can get at. */
describe('with everything in hand but the lock password', () => {
  beforeEach(() => locked());

  test('nothing of the content is readable, and its size is not told', async () => {
    const found = [...(await bucketBytes()), ...(await catalogFiles(box.db)).values()].map((bytes) =>
      Buffer.from(bytes),
    );
    expect(found.length).toBeGreaterThan(10);
    for (const bytes of found) expect(bytes.includes(MARK.slice(0, 24))).toBe(false);
    const told = await Promise.all(
      [
        ['ls', '--json'],
        ['ls', '--long'],
        ['info', 'large', '--json'],
        ['verify', '--json'],
      ].map((args) => box.run(args)),
    );
    // As a number: a hash may have its digits somewhere.
    for (const { stdout } of told) expect(stdout).not.toMatch(new RegExp(`\\b${LARGE.length}\\b`));
  });

  test('the keys of the vault open neither content part nor chunks, and do not tell a guess from the content', async () => {
    const session = await openSession(parts(await openCatalog(box.db), (url) => openBucket(url)));
    await using _ = new Vault(session);
    const { keys } = session;
    const opener = new ManifestOpener(keys);
    const names = (await readdir(join(box.bucket(1), 'chunks'))).map((name) => name.slice(0, 64));
    const guesses = [0, 1, 2, 3].map((at) =>
      Buffer.from(LARGE.slice(at * CHUNK_SIZE, (at + 1) * CHUNK_SIZE)),
    );
    const { writer } = keys;
    const guessed = new Set(
      [writer.content, writer.table, writer.index].flatMap((key) =>
        guesses.map((body) => chunkSecrets(chunkTag(key, bodyHash(body))).id.toString('hex')),
      ),
    );
    for (const hash of await readdir(join(box.bucket(1), 'manifests'))) {
      const manifest = opener.open(await readFile(join(box.bucket(1), 'manifests', hash)), hash);
      expect(manifest.content).toBeNull();
      expect(manifest.head.size).toBeNull();
      for (const password of ['', PASSWORD, `${LOCK} `]) expect(await manifest.unlock(password)).toBeNull();
    }
    expect(names.filter((id) => guessed.has(id))).toEqual([]);
    // The very same guess is right for the same content without a lock: that is what the lock is for.
    await box.run(['put', 'large', '--name', 'open', '--chunk-size', '64KiB', '--compression', 'off']);
    const open = (await readdir(join(box.bucket(1), 'chunks'))).map((name) => name.slice(0, 64));
    expect(open.filter((id) => guessed.has(id)).length).toBe(guesses.length);
  });
});
