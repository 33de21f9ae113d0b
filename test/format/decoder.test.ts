// docs/decoder.py, which was written from FORMAT.md alone, reads what the program writes, with buckets missing and shards wrong.
import { createHash } from 'node:crypto';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBucket } from '../../src/buckets/open.ts';
import { createFolder } from '../../src/buckets/folder/driver.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import {
  finishShardObject,
  parseShardHeader,
  parseShardObjectName,
  SHARD_HEADER_SIZE,
} from '../../src/format/shard.ts';
import type { Redundancy } from '../../src/format/shard.ts';
import { objectDigest } from '../../src/crypto/signing.ts';
import { encodeKeyring } from '../../src/format/keyring.ts';
import { openSession } from '../../src/vault/open.ts';
import { createVault } from '../../src/vault/manage/create.ts';
import { Vault } from '../../src/vault/vault.ts';
import type { PutOptions } from '../../src/vault/write/put-call.ts';
import { streamSource } from '../../src/vault/write/source.ts';
import { CHEAP_KDF, CHUNK_SIZE, parts, PASSWORD } from '../vault/harness.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { DECODER, decode, FOLDER_DECODER, needs, python, runScript } from './decoder-process.ts';
import type { Decoded } from './decoder-process.ts';
import { ENTRIES } from '../vectors/example-folders.ts';
import { PACKED_BODY, STORED_BODY } from '../vectors/format-example.ts';
import { signed } from '../vectors/must-fail-signed.ts';
import example from '../vectors/format-example.json' with { type: 'json' };
import cases from '../vectors/must-fail.json' with { type: 'json' };

const ROOT = join(import.meta.dirname, '../..');
const LOCK = 'a word of its own \u00e9';

const PAIR = /^\["([0-9a-f]{64})", "([0-9a-f]{64})"\]$/gm;

function digestOf(runs: Iterable<Uint8Array>): string {
  const hash = createHash('sha256');
  for (const run of runs) hash.update(run);
  return hash.digest('hex');
}

// --- vaults in folders --------------------------------------------------------------------------------

interface Made {
  readonly vault: Vault;
  readonly folders: readonly string[];
}

function opener(url: string): ReturnType<typeof openBucket> {
  return openBucket(url);
}

async function makeVault(
  place: TemporaryFolder,
  name: string,
  count: number,
  redundancy: Redundancy,
): Promise<Made> {
  const folders = Array.from({ length: count }, (_, i) => place.at(name, `bucket ${i}`));
  for (const folder of folders) await createFolder(folder);
  const urls = folders.map((folder) => `file://${encodeURI(folder)}`);
  const catalog = await openCatalog(place.at(`${name}.db`), { create: true });
  await createVault({
    catalog,
    urls,
    opener,
    redundancy,
    password: PASSWORD,
    kdfCost: CHEAP_KDF,
    chunkSize: CHUNK_SIZE,
    nowMs: Date.now(),
  });
  return { vault: await Vault.open(parts(catalog, opener)), folders };
}

/** Runs of bytes, made again each time they are asked for. */
type Content = () => Iterable<Uint8Array>;

async function* read(content: Content): AsyncGenerator<Uint8Array> {
  for (const run of content()) yield await Promise.resolve(run);
}

async function put(
  { vault }: Made,
  content: Content,
  options: Partial<PutOptions> & { readonly name: string },
): Promise<{ readonly hash: string; readonly digest: string }> {
  const { hash } = await vault.put(streamSource(read(content), options.name), options);
  return { hash, digest: digestOf(content()) };
}

const random = seededRandom(11);
function randomBytes(size: number): Buffer {
  return Buffer.from(random.bytes(size));
}

const just =
  (bytes: Uint8Array): Content =>
  () => [bytes];
const NOTHING = Buffer.alloc(0);
const WORDS = Buffer.from('the same words again and again, '.repeat(9_000));
/** More chunks than a manifest lists, most of them equal. */
function* manyChunks(): Generator<Uint8Array> {
  for (let i = 0; i < 2_300; i += 1) yield Buffer.alloc(CHUNK_SIZE, i % 500 === 0 ? i / 500 + 1 : 0);
  yield Buffer.from('the end');
}

const KINDS: readonly (readonly [name: string, content: Content, options: Partial<PutOptions>])[] = [
  ['empty', just(NOTHING), {}],
  ['inline', just(Buffer.from('a few bytes')), {}],
  ['the largest inline', just(randomBytes(16 * 1024)), {}],
  ['the smallest in a chunk', just(randomBytes(16 * 1024 + 1)), {}],
  ['one full chunk', just(randomBytes(CHUNK_SIZE)), {}],
  ['some chunks', just(randomBytes(3 * CHUNK_SIZE + 12_345)), {}],
  ['packed', just(WORDS), { compression: 'auto' }],
  ['packed as far as can be', just(Buffer.concat([WORDS, randomBytes(1_000)])), { compression: 19 }],
  ['tables in chunks', manyChunks, { compression: 'off' }],
  ['a name\n\u00e9 / \u{1f512} "', just(randomBytes(70_000)), {}],
];

/** Every choice of some of the folders. */
function* choices(folders: readonly string[], count: number): Generator<readonly string[]> {
  if (count === 0) yield [];
  for (const [i, folder] of folders.entries()) {
    if (count > 0) for (const rest of choices(folders.slice(i + 1), count - 1)) yield [folder, ...rest];
  }
}

describe.skipIf(python === null)(`docs/decoder.py${needs}`, () => {
  let place: TemporaryFolder;
  let made: Made;
  const files = new Map<string, { readonly hash: string; readonly digest: string }>();
  const password = (): string => place.at('password');

  /** Asks for a file of the vault, by default with all its buckets. */
  function get(reference: string, folders = made.folders, ...options: readonly string[]): Promise<Decoded> {
    return decode('--password-file', password(), ...options, 'get', reference, ...folders);
  }
  function file(name: string): { readonly hash: string; readonly digest: string } {
    const found = files.get(name);
    if (found === undefined) throw new Error(`No file ${name} was put.`);
    return found;
  }

  /** Reads every file in one process. */
  function readAll(
    folders: readonly string[],
    by = 'password',
  ): {
    readonly contents: ReadonlyMap<string, string>;
    readonly errors: string;
  } {
    const lines = runScript('read', place.at(by), place.at('lock'), ...folders);
    return {
      contents: new Map([...lines.output.matchAll(PAIR)].map(([, hash = '', digest = '']) => [hash, digest])),
      errors: lines.errors,
    };
  }
  function allContents(): ReadonlyMap<string, string> {
    const there = [...files].filter(([name]) => name !== 'removed');
    return new Map(there.map(([, { hash, digest }]) => [hash, digest]));
  }

  beforeAll(async () => {
    place = await temporaryFolder();
    writeFileSync(password(), `${PASSWORD}\n`);
    writeFileSync(place.at('lock'), LOCK.normalize('NFD'));
    made = await makeVault(place, 'vault', 3, { k: 2, m: 1 });
    for (const [name, content, options] of KINDS)
      files.set(name, await put(made, content, { name, ...options }));
    const lock = { password: LOCK, cost: CHEAP_KDF };
    for (const [name, size] of [
      ['locked', 150_000],
      ['locked inline', 100],
    ] as const) {
      files.set(name, await put(made, just(randomBytes(size)), { name, lock }));
    }
    files.set('first', await put(made, just(Buffer.from('one')), { name: 'versions' }));
    files.set('second', await put(made, just(Buffer.from('two')), { name: 'versions' }));
    files.set('removed', await put(made, just(randomBytes(20_000)), { name: 'removed' }));
    files.set('brought back', await put(made, just(randomBytes(20_000)), { name: 'brought back' }));
    await made.vault.remove([file('removed').hash, file('brought back').hash]);
    await made.vault.undelete([file('brought back').hash]);
    await made.vault.close();
  });
  afterAll(async () => {
    await place[Symbol.asyncDispose]();
  });

  test.each(KINDS.map(([name]) => name))('reads a file: %j', async (name) => {
    const { code, digest, errors } = await get(name);
    expect({ code, digest, errors }).toEqual({ code: 0, digest: file(name).digest, errors: '' });
  });

  test('lists what is there, and every version', async () => {
    const { code, start } = await decode('--password-file', password(), 'ls', ...made.folders);
    expect(code).toBe(0);
    const expected = [...files].flatMap(([name, { hash }]) => (name === 'removed' ? [] : [hash]));
    const listed = [...start.matchAll(/^\{"hash": "([0-9a-f]{64})"/gm)].map(([, hash = '']) => hash);
    expect(listed.toSorted()).toEqual(expected.toSorted());
    expect(start).toContain('"idsDepth": 1');
  });

  test('was given compressed chunks to read', () => {
    const chunks = made.folders.flatMap((folder) =>
      readdirSync(join(folder, 'chunks')).map((name) => readFileSync(join(folder, 'chunks', name))),
    );
    expect(chunks.some((object) => parseShardHeader(object).nonce[0] === 1)).toBe(true);
  });

  test.each([0, 1, 2])('reads every file without bucket %i', (missing) => {
    const { contents } = readAll(made.folders.filter((_, i) => i !== missing));
    expect(contents).toEqual(allContents());
  });

  test('reads with any two of five buckets missing', async () => {
    const wide = await makeVault(place, 'wide', 5, { k: 3, m: 2 });
    const { hash, digest } = await put(wide, just(randomBytes(4 * CHUNK_SIZE + 1)), { name: 'wide' });
    await wide.vault.close();
    for (const missing of choices(wide.folders, 2)) {
      const folders = wide.folders.filter((folder) => !missing.includes(folder));
      expect({ missing, ...(await get(hash, folders)) }).toMatchObject({ missing, code: 0, digest });
    }
    const lost = await get(hash, wide.folders.slice(0, 2));
    expect(lost.code).toBe(1);
    expect(lost.errors).toContain('is lost');
  });

  test('reads a locked file with its password only', async () => {
    for (const name of ['locked', 'locked inline']) {
      const { code, digest } = await get(name, made.folders, '--lock-password-file', place.at('lock'));
      expect({ code, digest }).toEqual({ code: 0, digest: file(name).digest });
      const other = await get(name, made.folders, '--lock-password-file', password());
      expect(other).toMatchObject({ code: 1, start: '' });
    }
    expect(await get('locked')).toMatchObject({ code: 1, start: '' });
  });

  test('reads a folder, its entries and a tar of it', async () => {
    const one = await makeVault(place, 'of a folder', 2, { k: 1, m: 1 });
    mkdirSync(place.at('docs', 'sub'), { recursive: true });
    writeFileSync(place.at('docs', 'sub', 'a'), 'a'.repeat(400_000));
    writeFileSync(place.at('docs', 'b'), 'b'.repeat(20_000));
    linkSync(place.at('docs', 'b'), place.at('docs', 'sub', 'again'));
    symlinkSync('sub', place.at('docs', 'link'));
    await one.vault.put({ root: place.at('docs') }, { name: 'docs' });
    await one.vault.close();
    const args = ['--password-file', password()];
    const ofFolders = (verb: string): ReturnType<typeof spawnSync> =>
      spawnSync(python ?? '', [FOLDER_DECODER, ...args, verb, 'docs', ...one.folders]);
    const alone = await decode(...args, 'ls', ...one.folders);
    expect(alone.errors).toMatch(/: it is of a folder: use decoder_folder\.py$/m);
    expect(ofFolders('entries').stdout?.toString().trim().split('\n')).toHaveLength(6);
    const { status, stdout } = ofFolders('get');
    expect(status).toBe(0);
    mkdirSync(place.at('unpacked-docs'));
    execFileSync('tar', ['-xpf', '-', '-C', place.at('unpacked-docs')], { input: stdout ?? '' });
    const difference = ['-r', '--no-dereference', place.at('docs'), place.at('unpacked-docs')];
    expect(execFileSync('diff', difference).toString()).toBe('');
  });

  test('tells versions apart, the newest first', async () => {
    expect((await get('versions')).start).toBe('two');
    expect((await get(file('first').hash)).start).toBe('one');
  });

  test('leaves out what was removed, unless it is asked for', async () => {
    const { hash, digest } = file('removed');
    expect(await get(hash)).toMatchObject({ code: 1, start: '' });
    expect(await get(hash, made.folders, '--deleted')).toMatchObject({ code: 0, digest });
    expect(await get('brought back')).toMatchObject({ code: 0, digest: file('brought back').digest });
  });

  test('refuses another password', async () => {
    writeFileSync(place.at('other'), 'another password');
    const { code, errors } = await decode('--password-file', place.at('other'), 'ls', ...made.folders);
    expect(code).toBe(1);
    expect(errors).toContain('opens no keyslot');
  });

  test('refuses a password that was changed, though a bucket shows the old keyring', async () => {
    const twin = await makeVault(place, 'twin', 2, { k: 1, m: 1 });
    const { hash } = await put(twin, just(Buffer.from('text')), { name: 'file' });
    const [old = ''] = twin.folders;
    const first = join(old, 'keyring/0000000001');
    const before = readFileSync(first);
    await twin.vault.changePassword({ current: PASSWORD, next: 'the next one', kdfCost: CHEAP_KDF });
    await twin.vault.close();
    writeFileSync(first, before);
    writeFileSync(place.at('next'), 'the next one\r\n');
    const next = await decode('--password-file', place.at('next'), 'get', hash, ...twin.folders);
    expect(next).toMatchObject({ code: 0, start: 'text', errors: '' });
    const { code, errors } = await decode('--password-file', password(), 'get', hash, ...twin.folders);
    expect(code).toBe(1);
    expect(errors).toContain('its keyring has been replaced');
  });

  test('refuses a password beside a keyring of a newer version, unless that has been replaced', async () => {
    const newer = await makeVault(place, 'newer', 2, { k: 1, m: 1 });
    const { hash } = await put(newer, just(Buffer.from('text')), { name: 'file' });
    await newer.vault.close();
    const catalog = await openCatalog(place.at('newer.db'));
    const { keys, keyring } = await openSession(parts(catalog, opener));
    const [folder = ''] = newer.folders;
    const show = (epoch: number, changed: (json: string) => string): void => {
      const json = changed(
        encodeKeyring({ ...keyring.keyring, epoch, previous: objectDigest(keyring.bytes) }).toString(),
      );
      writeFileSync(join(folder, `keyring/000000000${epoch}`), signed('keyring', Buffer.from(json), keys));
    };
    const fetched = (): Promise<Decoded> =>
      decode('--password-file', password(), 'get', hash, ...newer.folders);
    for (const changed of [
      (json: string) => json.replace('"requires":[]', '"requires":["new"]'),
      () => '{"format":"vault/3","epoch":"two"}',
    ]) {
      show(2, changed);
      const { code, errors } = await fetched();
      expect(code).toBe(1);
      expect(errors).toContain('a newer version has changed the keyring');
    }
    show(2, (json) => json.replace('"requires":[]', '"requires":["new"]'));
    show(3, (json) => json);
    expect(await fetched()).toMatchObject({
      code: 0,
      start: 'text',
      errors: expect.stringContaining('needs something newer'),
    });
    await catalog.close();
  });

  /** Spoils all shards of one bucket after another, and reads every file. @returns what the decoder says of it */
  function readSpoilt(spoil: (object: Buffer, name: string) => void): string {
    let said = '';
    for (const folder of made.folders) {
      const chunks = join(folder, 'chunks');
      const before = readdirSync(chunks).map((name) => [name, readFileSync(join(chunks, name))] as const);
      for (const [name, bytes] of before) {
        const object = Buffer.from(bytes);
        spoil(object, name);
        writeFileSync(join(chunks, name), object);
      }
      const { contents, errors } = readAll(made.folders);
      expect(contents).toEqual(allContents());
      said += errors;
      for (const [name, bytes] of before) writeFileSync(join(chunks, name), bytes);
    }
    return said;
  }

  test('gets round shards with a flipped bit, which their checksums tell', () => {
    const errors = readSpoilt((object) => {
      object[SHARD_HEADER_SIZE] = (object[SHARD_HEADER_SIZE] ?? 0) ^ 1;
    });
    expect(errors).toContain('it does not open');
  });

  test('gets round shards that lie, with right checksums', () => {
    const errors = readSpoilt((object, name) => {
      const chunkId = parseShardObjectName(`chunks/${name}`)?.chunkId ?? '';
      object.fill(7, SHARD_HEADER_SIZE);
      finishShardObject(object, chunkId, parseShardHeader(object));
    });
    expect(errors).toContain('it does not open');
  });

  test('gets round a bucket without a marker, whose small objects are damaged', async () => {
    const [folder = ''] = made.folders;
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    const small = names.filter((name) => /^(manifests|keyring|deleted)\/./.test(name));
    expect(small.length).toBeGreaterThan(files.size);
    rmSync(join(folder, 'vault.json'));
    for (const name of small) {
      const bytes = readFileSync(join(folder, name));
      bytes[bytes.length - 5] = (bytes[bytes.length - 5] ?? 0) ^ 1;
      writeFileSync(join(folder, name), bytes);
    }
    expect(await get('some chunks')).toMatchObject({ code: 0, digest: file('some chunks').digest });
    expect(await get('inline')).toMatchObject({ code: 0, digest: file('inline').digest });
    expect(await get('removed')).toMatchObject({ code: 1 });
  });

  test('reads what lies under two roots, and believes the first one about its own files alone', async () => {
    const two = await makeVault(place, 'rotated', 2, { k: 1, m: 1 });
    const old = await put(two, just(randomBytes(70_000)), { name: 'same' });
    const removed = await put(two, just(randomBytes(20_000)), { name: 'removed' });
    await two.vault.remove(['removed']);
    writeFileSync(place.at('next'), 'another battery');
    await two.vault.roots.rotate({ secret: 'another battery', kdfCost: CHEAP_KDF });
    const later = await put(two, just(randomBytes(70_000)), { name: 'same' });
    await two.vault.close();
    const { contents, errors } = readAll(two.folders, 'next');
    expect({ errors, hashes: [...contents.keys()] }).toEqual({ errors: '', hashes: [later.hash, old.hash] });
    expect([contents.get(later.hash), contents.get(old.hash)]).toEqual([later.digest, old.digest]);
    const how = ['--password-file', place.at('next'), '--deleted', 'get'];
    expect(await decode(...how, 'same', ...two.folders)).toMatchObject({ code: 0, digest: later.digest });
    expect(await decode(...how, removed.hash, ...two.folders)).toMatchObject({ digest: removed.digest });
  });

  test('reads the example', async () => {
    const folder = place.at('example');
    for (const [name, one] of Object.entries<{ text?: string; bytes?: string }>(example.objects)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(
        join(folder, name),
        Buffer.from(one.bytes ?? one.text ?? '', one.bytes === undefined ? 'utf8' : 'hex'),
      );
    }
    writeFileSync(place.at('example password'), example.inputs.nextPassword);
    writeFileSync(place.at('example lock'), example.inputs.lockPassword);
    for (const [what, { hash, content }] of Object.entries(example.files)) {
      if (what.includes('folder')) continue;
      const options = ['--deleted', '--lock-password-file', place.at('example lock')];
      const { code, digest } = await decode(
        '--password-file',
        place.at('example password'),
        ...options,
        'get',
        hash,
        folder,
      );
      expect({ hash, code, digest }).toEqual({ hash, code: 0, digest: content });
    }
  });

  /** Runs the decoder on the example. */
  function ofExample(verb: string, what: keyof typeof example.files): Buffer {
    const { hash } = example.files[what];
    const options = [
      '--password-file',
      place.at('example password'),
      '--lock-password-file',
      place.at('example lock'),
    ];
    const args = [FOLDER_DECODER, ...options, verb, hash, place.at('example')];
    const { status, stdout, stderr } = spawnSync(python ?? '', args);
    expect({ status, stderr: stderr.toString() }).toEqual({ status: 0, stderr: '' });
    return stdout;
  }

  test.each(['folder', 'locked folder'] as const)("lists the entries of the example's %s", (what) => {
    const lines = ofExample('entries', what).toString().trim().split('\n');
    const listed = lines.map((line): unknown => JSON.parse(line));
    expect(listed).toMatchObject(
      ENTRIES.map(({ kind, mode, modified }) => ({
        kind,
        mode,
        modified: modified === null ? null : [modified.seconds, modified.nanoseconds],
      })),
    );
    expect(listed[6]).toMatchObject({ size: 10_000, extents: [[9000, 4]] });
    expect(listed[7]).toMatchObject({ device: [5, 0] });
    expect(listed[2]).toMatchObject({
      path: 'poems/one \u00e4.txt',
      attributes: { 'user.a': '', 'user.b': '00ff' },
    });
  });

  test('makes an archive of a folder, which tar unpacks', () => {
    const into = place.at('unpacked');
    mkdirSync(into);
    // Nobody but root may make devices.
    const tar = ['-x', '-C', into, '--exclude=./tty', '--exclude=tty', '--exclude=vda', '--no-same-owner'];
    expect(spawnSync('tar', tar, { input: ofExample('get', 'folder') }).status).toBe(0);
    expect(readFileSync(join(into, 'poems/one \u00e4.txt'), 'utf8')).toBe('A poem.\n');
    expect(statSync(join(into, 'poems/same')).ino).toBe(statSync(join(into, 'poems/one \u00e4.txt')).ino);
    expect(readFileSync(join(into, 'poems-link'), 'utf8')).toBe('A poem.\n');
    const sparse = Buffer.alloc(10_000);
    sparse.write('ends', 9000);
    expect(readFileSync(join(into, 'sparse'))).toEqual(sparse);
    expect(readdirSync(into, { encoding: 'buffer' })).toContainEqual(Buffer.from([0x71, 0xff]));
    expect(statSync(into).mode & 0o7777).toBe(0o755);

    const large = place.at('large');
    mkdirSync(large);
    expect(
      spawnSync('tar', ['-x', '-C', large], { input: ofExample('get', 'folder in chunks') }).status,
    ).toBe(0);
    expect(readFileSync(join(large, 'first'))).toEqual(STORED_BODY.subarray(0, -10));
    expect(readFileSync(join(large, 'second'))).toEqual(PACKED_BODY);
  });

  test('refuses what readers must refuse', () => {
    const vectors = ['format-example.json', 'must-fail.json'].map((name) => join(ROOT, 'test/vectors', name));
    const { output } = runScript('must-fail', ...vectors);
    const found = output
      .trim()
      .split('\n')
      .map((line): unknown => JSON.parse(line));
    const unread = new Set(['sweep', 'put marker', 'label', 'url']);
    const known = cases.filter(({ kind }) => !unread.has(kind));
    expect(found).toEqual(known.map(({ kind, name, expect: outcome }) => [kind, name, outcome]));
  });
});

test('docs/decoder.py stays short', () => {
  const lines = readFileSync(DECODER, 'utf8').split('\n');
  expect(lines.length - 1).toBeLessThanOrEqual(400);
});
