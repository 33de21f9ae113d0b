/**
 * Catalogs and keyrings that are put back from a backup, and catalogs that are copied while work is under way. Whatever they say,
 * no command loses a file that was acknowledged.
 */
import { randomBytes } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { catalogPlace, frozenCatalog } from '../support/catalog-place.ts';
import type { CatalogPlace } from '../support/catalog-place.ts';
import type { Ended, Sandbox } from './run.ts';
import { PASSWORD, sandbox } from './run.ts';

const KIB = 1024;
/** What a command ends with that has done its work, and perhaps noticed something. */
const QUIET = [0, 3];
const PATIENCE = { timeout: 60_000, interval: 50 };
const PUT = ['put', '--chunk-size', '64KiB'];

type Command = (args: readonly string[]) => Promise<Ended>;

let box: Sandbox;
/** Catalogs that were put back. */
const places: CatalogPlace[] = [];
beforeEach(async () => {
  box = await sandbox();
  await box.makeVault({ buckets: 4 });
});
afterEach(async () => {
  await Promise.all(places.splice(0).map((place) => place[Symbol.asyncDispose]()));
  await box[Symbol.asyncDispose]();
});

const buckets = (): string[] => [1, 2, 3, 4].flatMap((number) => ['--bucket', box.bucket(number)]);

/** Keeps the catalog as it is. @returns runs commands with that catalog in place of the present one */
async function backUp(): Promise<() => Promise<Command>> {
  const copy = await frozenCatalog(box.db);
  return async () => {
    const place = await copy();
    places.push(place);
    return (args) => box.run(args, { env: { VAULT_DB: place.location } });
  };
}

async function makeFile(name: string, size = 300 * KIB): Promise<Buffer> {
  const bytes = randomBytes(size);
  await writeFile(box.at(name), bytes);
  return bytes;
}

async function putFile(name: string, ...flags: readonly string[]): Promise<string> {
  const { exit, stdout } = await box.run([...PUT, name, ...flags]);
  expect(exit).toBe(0);
  return stdout.trim();
}

/** That a file reads back, with the present catalog and with one that is rebuilt. */
async function expectReadable(hash: string, bytes: Uint8Array): Promise<void> {
  const got = await box.run(['get', hash, '-o', '-']);
  expect(got).toMatchObject({ exit: 0 });
  expect(got.stdoutBytes.equals(bytes)).toBe(true);
  const place = await catalogPlace();
  places.push(place);
  const env = { VAULT_DB: place.location };
  expect(QUIET).toContain((await box.run(['recover', ...buckets()], { env })).exit);
  const again = await box.run(['get', hash, '-o', '-'], { env });
  expect(again).toMatchObject({ exit: 0, stderr: '' });
  expect(again.stdoutBytes.equals(bytes)).toBe(true);
}

describe('a catalog from before', () => {
  test('an rm and a sweep: a put of the same content stores it, under the same name and under another', async () => {
    const bytes = await makeFile('f');
    const removed = await putFile('f');
    const putBack = await backUp();
    expect(await box.run(['rm', 'f', '--now'])).toMatchObject({ exit: 0, stderr: '' });
    const old = await putBack();
    const same = await old([...PUT, 'f']);
    expect(same).toMatchObject({ exit: 0, stderr: '' });
    expect(same.stdout.trim()).not.toBe(removed);
    await expectReadable(same.stdout.trim(), bytes);
    expect(await old(['rm', 'f', '--now'])).toMatchObject({ exit: 0, stderr: '' });
    const other = await (await putBack())([...PUT, 'f', '--name', 'again']);
    expect(other).toMatchObject({ exit: 0, stderr: '' });
    await expectReadable(other.stdout.trim(), bytes);
  });

  test('an rm and a sweep: its own sweep hears of the removal, or else says what is missing', async () => {
    await makeFile('f');
    await putFile('f');
    const putBack = await backUp();
    await box.run(['rm', 'f', '--now']);
    const soon = await putBack();
    expect((await soon(['ls'])).stdout).toMatch(/ f\n$/);
    expect((await soon(['get', 'f', '-o', '-'])).exit).toBe(4);
    expect(await soon(['sweep'])).toMatchObject({ exit: 0, stderr: '' });
    expect((await soon(['ls', '--all'])).stdout).toBe('');
    // A sweep after the manifests have gone takes the record of the removal away, and days later its own list.
    await box.run(['sweep']);
    for (const number of [1, 2, 3, 4]) await rm(join(box.bucket(number), 'sweep'), { recursive: true });
    const late = await putBack();
    const swept = await late(['sweep']);
    expect(swept.stderr).toMatch(/lists 1 file that no bucket has/);
    expect(swept.exit).toBe(3);
    const verified = await late(['verify']);
    expect(verified.exit).toBe(6);
    expect(verified.stderr).toMatch(/1 file is in no bucket: lost, or removed elsewhere\. "vault rm <hash>"/);
    expect(await late(['rm', 'f'])).toMatchObject({ exit: 0, stderr: '' });
    expect(await late(['sweep'])).toMatchObject({ exit: 0, stderr: '' });
    expect(await late(['verify'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
  });

  test('a put: its sweep keeps the file, says that it did not know it, and lists it', async () => {
    const putBack = await backUp();
    const bytes = await makeFile('f');
    const hash = await putFile('f');
    const old = await putBack();
    expect((await old(['ls'])).stdout).toBe('');
    const swept = await old(['sweep', '--now']);
    expect(swept.exit).toBe(3);
    expect(swept.stderr).toMatch(/hold 1 file that the catalog did not know/);
    expect((await old(['ls', '--json'])).stdout).toContain(hash);
    await expectReadable(hash, bytes);
  });

  test('a put that shares chunks with a file that expires there', async () => {
    const shared = await makeFile('a', 256 * KIB);
    await putFile('a', '--expires', '1ms');
    const putBack = await backUp();
    const bytes = Buffer.concat([shared, randomBytes(1000)]);
    await writeFile(box.at('ab'), bytes);
    const hash = await putFile('ab');
    const old = await putBack();
    for (let i = 0; i < 2; i += 1) expect(QUIET).toContain((await old(['sweep', '--now'])).exit);
    await expectReadable(hash, bytes);
  });

  test('a re-coding, and then one from before the sweep that followed', async () => {
    const bytes = await makeFile('f');
    const hash = await putFile('f');
    const putBack = await backUp();
    expect(await box.run(['repair', '--redundancy', '1+2'])).toMatchObject({ exit: 0, stderr: '' });
    const stored = await objectCount('chunks');
    for (const which of ['first', 'second']) {
      const old = await putBack();
      // Before the first sweep both codings are there; after it the places that the catalog knows are empty.
      const before = await old(['get', hash, '-o', '-']);
      expect({ which, exit: before.exit, same: before.stdoutBytes.equals(bytes) }).toEqual({
        which,
        exit: 0,
        same: true,
      });
      expect(await old(['sweep', '--now'])).toMatchObject({ exit: 0, stderr: '' });
      expect(await old(['verify', '--read-data'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    }
    expect(await objectCount('chunks')).toBeLessThan(stored);
    await expectReadable(hash, bytes);
  });

  test('a bucket was taken out', async () => {
    const bytes = await makeFile('f');
    const hash = await putFile('f');
    const putBack = await backUp();
    expect(await box.run(['bucket', 'rm', box.bucket(1)])).toMatchObject({ exit: 0, stderr: '' });
    expect(await readdir(box.bucket(1))).not.toContain('vault.json');
    const old = await putBack();
    expect(await old(['sweep', '--now'])).toMatchObject({ exit: 0, stderr: '' });
    const got = await old(['get', hash, '-o', '-']);
    expect(got.stdoutBytes.equals(bytes)).toBe(true);
    const info = JSON.parse((await old(['info', '--json'])).stdout);
    expect(info.buckets).toHaveLength(3);
    await expectReadable(hash, bytes);
  });

  test('an undelete', async () => {
    const bytes = await makeFile('f');
    const hash = await putFile('f');
    await box.run(['rm', 'f']);
    const putBack = await backUp();
    expect(await box.run(['undelete', 'f'])).toMatchObject({ exit: 0, stderr: '' });
    const old = await putBack();
    expect(QUIET).toContain((await old(['sweep', '--now'])).exit);
    await expectReadable(hash, bytes);
  });
});

describe('a catalog that is taken while a put is under way', () => {
  const TAKEN: readonly (readonly [string, () => Promise<Command>])[] = [
    ['backup', async () => (await backUp())()],
    ['copy', copyCatalog],
  ];

  test.each(TAKEN)('as a %s: its sweep leaves alone what the put relies on', async (_, take) => {
    const first = randomBytes(512 * KIB);
    const rest = randomBytes(300 * KIB);
    const put = box.start([...PUT, '-', '--name', 'f']);
    put.process.stdin?.write(first);
    // The shards of all chunks of the beginning but the last, of which the put cannot know whether it is whole.
    await expect.poll(() => objectCount('chunks'), PATIENCE).toBeGreaterThanOrEqual(7 * 3);
    const old = await take();
    const sweeping = old(['sweep', '--now']);
    put.process.stdin?.end(rest);
    const { exit, stdout, stderr } = await put.ended;
    expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' });
    expect(QUIET).toContain((await sweeping).exit);
    expect(QUIET).toContain((await old(['sweep', '--now'])).exit);
    await expectReadable(stdout.trim(), Buffer.concat([first, rest]));
  });
});

/** @returns runs commands with a copy of the present catalog in its place */
async function copyCatalog(): Promise<Command> {
  const place = await catalogPlace();
  places.push(place);
  // A copy is refused while rows are being written.
  const copied = async (): Promise<number> => (await box.run(['catalog', 'copy', place.location])).exit;
  await expect.poll(copied, PATIENCE).toBe(0);
  return (args) => box.run(args, { env: { VAULT_DB: place.location } });
}

describe('a keyring from before the password was changed', () => {
  const env = { VAULT_PASSWORD: 'the new one, and longer' };

  test('does not open the vault beside the new one', async () => {
    await putKeyringBack();
    const place = await catalogPlace();
    places.push(place);
    const old = { VAULT_DB: place.location, VAULT_PASSWORD: PASSWORD };
    expect((await box.run(['recover', ...buckets()], { env: old })).exit).toBe(12);
    expect((await box.run(['recover', '--bucket', box.bucket(2)], { env: old })).exit).toBe(12);
    expect((await box.run(['ls'])).exit).toBe(12);
    expect(await box.run(['ls'], { env })).toMatchObject({ exit: 0, stderr: '' });
  });

  test('is told by verify with 3, and taken away by repair', async () => {
    await makeFile('f');
    await putFile('f');
    await putKeyringBack();
    const verified = await box.run(['verify'], { env });
    expect(verified.exit).toBe(3);
    expect(verified.stdout).toMatch(/bucket-2 +\d+ +0 +0 +active$/m);
    expect(verified.stderr).toMatch(/^vault: warning: The keyring in file:\S+bucket-2 is not right: /m);
    expect(await box.run(['repair'], { env })).toMatchObject({ exit: 0, stderr: '' });
    expect(await readdir(join(box.bucket(2), 'keyring'))).toEqual(
      await readdir(join(box.bucket(1), 'keyring')),
    );
    expect(await box.run(['verify'], { env })).toMatchObject({ exit: 0, stdout: '', stderr: '' });
  });

  test('in the place of the new one is replaced by repair, and the new password stays', async () => {
    await putKeyringBack();
    await rm(join(box.bucket(2), 'keyring'), { recursive: true });
    await cp(box.at('keyring'), join(box.bucket(2), 'keyring'), { recursive: true });
    expect((await box.run(['verify'], { env })).exit).toBe(3);
    expect(await box.run(['repair'], { env })).toMatchObject({ exit: 0, stderr: '' });
    expect(await readdir(join(box.bucket(2), 'keyring'))).toEqual(
      await readdir(join(box.bucket(1), 'keyring')),
    );
    expect((await box.run(['ls'])).exit).toBe(12);
    expect(await box.run(['put', '-', '--name', 'f'], { env, stdin: 'content' })).toMatchObject({
      exit: 0,
      stderr: '',
    });
  });
});

/** Changes the password, and puts the keyring from before back beside the new one. */
async function putKeyringBack(): Promise<void> {
  await cp(join(box.bucket(2), 'keyring'), box.at('keyring'), { recursive: true });
  const changed = await box.run(['password'], { env: { VAULT_NEW_PASSWORD: 'the new one, and longer' } });
  expect(changed).toMatchObject({ exit: 0, stderr: '' });
  await cp(box.at('keyring'), join(box.bucket(2), 'keyring'), { recursive: true });
}

describe('a bucket of version 0.1.0', () => {
  const marker = {
    format: 'vault/1',
    vault: '0123456789abcdef0123456789abcdef',
    bucket: 'fedcba9876543210fedcba9876543210',
  };
  let before: Buffer;
  beforeEach(async () => {
    await mkdir(box.at('old'));
    await writeFile(box.at('old', 'vault.json'), `${JSON.stringify(marker)}\n`);
    before = await readFile(box.at('old', 'vault.json'));
  });

  test.each([
    ['init', ['init', '--bucket', 'old']],
    ['recover', ['recover', '--bucket', 'old']],
  ])('is refused by %s with 7, and stays as it is', async (_, args) => {
    await using place = await catalogPlace();
    const { exit, stdout, stderr } = await box.run(args, { env: { VAULT_DB: place.location } });
    expect(stderr).toMatch(/^vault: .*old.*made by an unreleased version/);
    expect({ exit, stdout }).toEqual({ exit: 7, stdout: '' });
    expect(await readdir(box.at('old'))).toEqual(['vault.json']);
    expect(await readFile(box.at('old', 'vault.json'))).toEqual(before);
  });

  test('is refused by bucket add with 7', async () => {
    const { exit, stderr } = await box.run(['bucket', 'add', 'old']);
    expect(stderr).toMatch(/made by an unreleased version/);
    expect(exit).toBe(7);
  });

  test('is told by verify --no-password with 7', async () => {
    const { exit, stderr } = await box.run(['verify', '--no-password', '--bucket', 'old']);
    expect(stderr).toMatch(/made by an unreleased version/);
    expect(exit).toBe(7);
  });
});

/** How many objects all buckets together have under a prefix. */
async function objectCount(prefix: string): Promise<number> {
  const found = await Promise.all(
    [1, 2, 3, 4].map((number) =>
      readdir(join(box.bucket(number), prefix)).catch((): readonly string[] => []),
    ),
  );
  return found.flat().length;
}
