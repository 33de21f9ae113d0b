/** A put as its caller sees it: what is refused, what it tells on the way, and what it says of what it has done. */
import { once } from 'node:events';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import { MAX_CHUNK_SIZE, MIN_CHUNK_SIZE } from '../../src/format/limits.ts';
import { INLINE_SIZE, MAX_NAME_SIZE } from '../../src/format/manifest.ts';
import { parseShardObjectName, shardObjectName } from '../../src/format/shard.ts';
import type { Progress, Warning } from '../../src/vault/call.ts';
import { openFileRow } from '../../src/vault/files/records.ts';
import { MarkerGuard } from '../../src/vault/protocol/put-guard.ts';
import type { Session } from '../../src/vault/session.ts';
import { Vault } from '../../src/vault/vault.ts';
import type { FileSource } from '../../src/vault/write/file-source.ts';
import type { PutOptions } from '../../src/vault/write/put-call.ts';
import { fileSource } from '../../src/vault/write/source.ts';
import type { FaultyCall } from '../support/faulty-bucket.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { all, bytesSource, CHEAP_KDF, CHUNK_SIZE, getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';
import { failing, guardedWith, present, rowsOf, withFiles } from './scene.ts';

const random = seededRandom(77);
const BODY = random.bytes(2 * CHUNK_SIZE + 100);
const SMALL = random.bytes(200);
const NOT_RETAINED = { retainedUntilMs: null, unretained: 0, retainedEnough: true };
const LOCK = { password: 'its own', cost: CHEAP_KDF };

const puts =
  (prefix: string) =>
  ({ operation, name }: FaultyCall): boolean =>
    operation === 'put' && name.startsWith(prefix);

describe('refuses', () => {
  const cases: readonly [string, Partial<PutOptions> & { readonly root?: boolean }, RegExp][] = [
    ['no name', { name: '' }, /^A name has 1 to 16384 bytes and no NUL; this one has 0\.$/],
    ['a long name', { name: 'ä'.repeat(MAX_NAME_SIZE / 2 + 1) }, /this one has 16386\.$/],
    ['a name with NUL', { name: 'a\0b' }, /and no NUL; this one has 3\.$/],
    ['half a character', { name: 'a\ud800' }, /^A name must be valid Unicode; this one is not\.$/],
    [
      'small chunks',
      { chunkSize: MIN_CHUNK_SIZE - 1 },
      /^A chunk has 64 KiB to 64 MiB; 65535 bytes were asked for\.$/,
    ],
    ['large chunks', { chunkSize: MAX_CHUNK_SIZE + 1 }, /67108865 bytes were asked for/],
    ['broken chunks', { chunkSize: MIN_CHUNK_SIZE + 0.5 }, /65536\.5 bytes were asked for/],
    [
      'a size of what is cut by content',
      { chunking: 'content', chunkSize: MIN_CHUNK_SIZE },
      /^Chunks that are cut by content have no size to choose\.$/,
    ],
    [
      'a size for a folder',
      { root: true, chunkSize: MIN_CHUNK_SIZE },
      /^Chunks that are cut by content have no size/,
    ],
    [
      'a lock on what is cut by content',
      { chunking: 'content', chunkSize: undefined, lock: LOCK },
      /^A locked file shares no chunks with others/,
    ],
    ['an empty lock', { lock: { password: '' } }, /^The password of a lock is empty\.$/],
  ];
  test.each(cases)('%s', async (_, { root = false, ...options }, message) => {
    await using made = await testVault();
    const before = made.objects();
    const source = root ? { root: '/nowhere' } : bytesSource(SMALL);
    await expect(made.vault.put(source, { name: 'a', ...options })).rejects.toMatchObject({
      code: 'invalid-input',
      message: expect.stringMatching(message),
    });
    expect(made.objects()).toEqual(before);
  });

  test('and takes what is just allowed', async () => {
    await using made = await testVault();
    await made.vault.put(bytesSource(SMALL), { name: 'ä'.repeat(MAX_NAME_SIZE / 2) });
    await made.vault.put(bytesSource(SMALL), { name: 'least', chunkSize: MIN_CHUNK_SIZE });
    await made.vault.put(bytesSource(SMALL), { name: 'most', chunkSize: MAX_CHUNK_SIZE });
    const { hash } = await made.vault.put(bytesSource(SMALL), { name: 'by content', chunking: 'content' });
    expect((await getBytes(made.vault, hash)).equals(SMALL)).toBe(true);
    await using folder = await temporaryFolder();
    await made.vault.put({ root: folder.path }, { name: 'locked folder', lock: LOCK });
  });
});

/** Bytes of all objects under a prefix. */
const sizeOf = ({ buckets }: TestVault, prefix: RegExp): number =>
  buckets
    .flatMap(({ storage }) => [...storage].filter(([name]) => prefix.test(name)))
    .reduce((sum, [, { length }]) => sum + length, 0);

test('what is just small enough lies in its manifest, without a marker, and one byte more in a chunk', async () => {
  await using made = await testVault();
  const small = random.bytes(INLINE_SIZE);
  const progress: Progress[] = [];
  const stored = await putBytes(made.vault, small, { name: 'a', onProgress: (one) => progress.push(one) });
  expect(progress).toEqual([{ doneBytes: INLINE_SIZE, totalBytes: null }]);
  expect(made.objects('puts/')).toEqual([]);
  expect(made.objects('chunks/')).toEqual([]);
  expect(stored).toMatchObject({
    contentSize: INLINE_SIZE,
    size: INLINE_SIZE,
    chunks: 0,
    indexChunks: 0,
    chunksStored: 0,
    bytesNew: 0,
    degradedChunks: 0,
    manifestCopies: 3,
    bytesStored: sizeOf(made, /^manifests/),
    unchanged: false,
    degraded: false,
    unlocks: null,
    version: expect.any(Number),
    locked: false,
    expiresAtMs: null,
    modified: null,
    mode: null,
    kind: 'file',
    ...NOT_RETAINED,
  });
  expect((await getBytes(made.vault, stored.hash)).equals(small)).toBe(true);
  const more = await putBytes(made.vault, random.bytes(INLINE_SIZE + 1), { name: 'b' });
  expect(more).toMatchObject({ chunks: 1, chunksStored: 1, contentSize: INLINE_SIZE + 1 });
  expect(made.objects('puts/')).not.toEqual([]);
});

test('a small file of this machine lies in its manifest, too, and every other chunk is noted under the marker', async () => {
  await using made = await testVault();
  await using folder = await temporaryFolder();
  await writeFile(folder.at('small'), SMALL);
  expect(await made.vault.put(fileSource(folder.at('small')), { name: 'a' })).toMatchObject({ chunks: 0 });
  await putBytes(made.vault, BODY, { name: 'b' });
  const { guard } = made.session;
  const chunks = made.objects('chunks/').map((object) => object.replace(/^.*chunks\/|\..*$/g, ''));
  expect(new Set(chunks).size).toBe(3);
  for (const id of chunks) expect(guard instanceof MarkerGuard && guard.ids.has(id)).toBe(true);
});

test('tells how far it is, and what it has stored', async () => {
  await using made = await testVault();
  const progress: Progress[] = [];
  const result = await putBytes(made.vault, BODY, { name: 'a', onProgress: (one) => progress.push(one) });
  await made.session.guard.end();
  expect(progress).toEqual(
    [0, CHUNK_SIZE, 2 * CHUNK_SIZE, BODY.length].map((doneBytes) => ({ doneBytes, totalBytes: null })),
  );
  expect(result).toMatchObject({
    contentSize: BODY.length,
    chunks: 3,
    chunksStored: 3,
    bytesNew: BODY.length,
    bytesStored: sizeOf(made, /^(manifests|chunks)/),
    manifestCopies: 3,
    degraded: false,
  });
  const again = await putBytes(made.vault, BODY, { name: 'a' });
  expect(again).toEqual({
    ...result,
    unchanged: true,
    chunksStored: 0,
    bytesNew: 0,
    bytesStored: 0,
    manifestCopies: 0,
  });
});

test('that only tells writes nothing, not even where it would change nothing', async () => {
  await using made = await testVault();
  const before = made.objects();
  const told = await putBytes(made.vault, BODY, { name: 'a', dryRun: true });
  expect(told).toMatchObject({
    hash: '',
    unchanged: false,
    chunks: 3,
    chunksStored: 3,
    bytesNew: BODY.length,
    bytesStored: 0,
    manifestCopies: 0,
    degraded: false,
    unlocks: null,
    contentSize: BODY.length,
  });
  expect(await putBytes(made.vault, SMALL, { name: 'b', dryRun: true })).toMatchObject({
    hash: '',
    chunks: 0,
  });
  expect(made.objects()).toEqual(before);
  expect(await all(made.vault.list())).toEqual([]);
  const { hash } = await putBytes(made.vault, BODY, { name: 'a' });
  await made.session.guard.end();
  const stored = made.objects();
  const same = await putBytes(made.vault, BODY, { name: 'a', dryRun: true });
  expect(same).toMatchObject({ hash, unchanged: true, chunksStored: 0 });
  expect(made.objects()).toEqual(stored);
});

test('a lock is another version, which says what it unlocks when it is taken off', async () => {
  await using made = await testVault();
  const locked = await putBytes(made.vault, BODY, { name: 'a', lock: LOCK });
  expect(locked).toMatchObject({
    locked: true,
    size: null,
    contentSize: BODY.length,
    unlocks: null,
  });
  const twice = await putBytes(made.vault, BODY, { name: 'a', lock: LOCK });
  expect(twice).toMatchObject({ unchanged: false, chunksStored: 3, unlocks: null });
  expect(twice.version).toBeGreaterThan(locked.version);
  // Nor does the catalog tell what is in it.
  const row = present((await made.catalog.files.byHashes([twice.hash])).get(twice.hash));
  expect(openFileRow(made.session, row)).toMatchObject({ info: { locked: true }, contentDigest: null });
  const open = await putBytes(made.vault, BODY, { name: 'a' });
  expect(open).toMatchObject({ locked: false, unlocks: { hash: twice.hash } });
  expect(open.version).toBeGreaterThan(twice.version);
  expect((await putBytes(made.vault, SMALL, { name: 'a' })).unlocks).toBeNull();
  expect(await putBytes(made.vault, SMALL, { name: 'a', lock: LOCK })).toMatchObject({ unchanged: false });
});

test('another time to live is another version of the same content', async () => {
  await using made = await testVault();
  const first = await putBytes(made.vault, BODY, { name: 'a' });
  const expiresAtMs = Date.now() + 1_000_000;
  const second = await putBytes(made.vault, BODY, { name: 'a', expiresAtMs });
  expect(second).toMatchObject({ unchanged: false, chunksStored: 0, expiresAtMs });
  expect(second.version).toBeGreaterThan(first.version);
  expect(second.hash).not.toBe(first.hash);
  expect(await putBytes(made.vault, BODY, { name: 'a', expiresAtMs })).toMatchObject({
    unchanged: true,
    hash: second.hash,
  });
});

test.each(['unavailable', 'denied', 'damaged', 'removed'] as const)(
  'content whose manifest is %s deserves a new one',
  async (what) => {
    await using made = await testVault();
    const { hash } = await putBytes(made.vault, SMALL, { name: 'a' });
    for (const bucket of made.buckets) {
      if (what === 'damaged') bucket.storage.set(`manifests/${hash}`, Buffer.from('rotten'));
      else if (what === 'removed') bucket.storage.delete(`manifests/${hash}`);
      else
        failing(bucket, ({ operation, name }) => operation === 'get' && name.startsWith('manifests/'), what);
    }
    const again = await putBytes(made.vault, SMALL, { name: 'a' });
    expect(again).toMatchObject({ unchanged: false, manifestCopies: 3 });
    for (const bucket of made.buckets) bucket.wrap = (plain) => plain;
    expect((await getBytes(made.vault, 'a')).equals(SMALL)).toBe(true);
  },
);

test('tells of each bucket that is away, once, and that the file is not whole', async () => {
  await using made = await testVault();
  failing(present(made.buckets[1]), () => true);
  const vault = await made.reopen();
  for (const [body, shards] of [
    [BODY, 3],
    [SMALL, 0],
  ] as const) {
    const warnings: Warning[] = [];
    const result = await putBytes(vault, body, {
      name: `${body.length}`,
      onWarning: (one) => warnings.push(one),
    });
    expect(warnings.filter(({ kind }) => kind === 'bucket-down')).toEqual([
      { kind: 'bucket-down', message: 'memory:2: The test says unavailable.', bucket: 'memory:2' },
    ]);
    expect(result).toMatchObject({ degraded: true, degradedChunks: shards, manifestCopies: 2 });
    const again: Warning[] = [];
    const onWarning = (one: Warning): void => void again.push(one);
    expect(await putBytes(vault, body, { name: `${body.length}`, onWarning })).toMatchObject({
      degraded: true,
      unchanged: true,
      hash: result.hash,
    });
    expect(again).toEqual(warnings);
  }
});

test('too few buckets store nothing, and it is said how many it takes', async () => {
  await using made = await testVault();
  for (const bucket of made.buckets.slice(1)) failing(bucket, () => true);
  await expect(putBytes(await made.reopen(), BODY, { name: 'a' })).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringMatching(
      /^Only 1 of the vault's buckets can be written to, and 2\+1 needs at least 2\. memory:2: .* memory:3: /,
    ),
  });
  for (const bucket of made.buckets) failing(bucket, puts('manifests/'), 'denied');
  for (const body of [BODY, SMALL])
    await expect(putBytes(await made.reopen(), body, { name: 'a' })).rejects.toMatchObject({
      code: 'denied',
      message: expect.stringMatching(
        /^No bucket took the manifest, so the file was not stored\. Try again\. memory:1: /,
      ),
    });
  expect(await all(made.vault.list())).toEqual([]);
});

test('a bucket that is full ends a put, even where the others have taken the manifest', async () => {
  await using made = await testVault();
  failing(present(made.buckets[2]), puts('manifests/'), 'storage-full');
  for (const body of [BODY, SMALL])
    await expect(putBytes(made.vault, body, { name: 'a' })).rejects.toMatchObject({ code: 'storage-full' });
  expect(await all(made.vault.list())).toEqual([]);
  // Else it would be a file all the same, as soon as somebody looks.
  expect(made.objects('manifests/')).toEqual([]);
});

test.each([
  ['storage-full', true],
  ['denied', true],
  ['unavailable', false],
] as const)('a catalog that does not take the file (%s)', async (code, isTold) => {
  await using made = await testVault({
    wrapCatalog: (catalog) =>
      withFiles(catalog, { put: () => Promise.reject(new VaultError(code, 'The catalog says no.')) }),
  });
  await expect(putBytes(made.vault, SMALL, { name: 'a' })).rejects.toMatchObject({
    code,
    message: isTold
      ? 'The catalog says no. The file is in the buckets, and not in the catalog: "vault repair" adds it then.'
      : 'The catalog says no.',
  });
  expect(made.objects('manifests/')).toHaveLength(3);
});

test('shards of a chunk that cannot be its own are no reason not to store it', async () => {
  await using made = await testVault();
  const { hash } = await putBytes(made.vault, BODY, { name: 'a' });
  await made.session.guard.end();
  // All of one size, as of a larger chunk.
  for (const { storage } of made.buckets)
    for (const [name, bytes] of storage)
      if (name.startsWith('chunks/')) storage.set(name, Buffer.concat([bytes, Buffer.alloc(40_000)]));
  expect(await putBytes(await made.reopen(), BODY, { name: 'b' })).toMatchObject({ chunksStored: 3 });
  expect((await getBytes(made.vault, hash)).equals(BODY)).toBe(true);
});

test('what an earlier put has begun of a chunk is completed', async () => {
  await using made = await testVault();
  const { bytesStored, manifestCopies } = await putBytes(made.vault, BODY, { name: 'a' });
  await made.session.guard.end();
  const [one] = made.buckets;
  let lost = 0;
  for (const [name, bytes] of present(one).storage) {
    if (!name.startsWith('chunks/')) continue;
    lost += bytes.length;
    present(one).storage.delete(name);
  }
  const again = await putBytes(await made.reopen(), BODY, { name: 'b' });
  const manifests = sizeOf(made, /^manifests/) / 2;
  expect(manifestCopies).toBe(3);
  // The buckets could give it back, so that it is not new.
  expect(again).toMatchObject({ chunksStored: 0, bytesNew: 0, degraded: false });
  expect(again.bytesStored - manifests).toBe(lost);
  expect(bytesStored).toBeGreaterThan(again.bytesStored);
  const chunks = made.objects('chunks/');
  expect(chunks).toHaveLength(9);
});

test('what was begun of another sealing of a chunk is not completed with shards of this one', async () => {
  await using made = await testVault();
  await putBytes(made.vault, BODY, { name: 'a' });
  await made.session.guard.end();
  for (const [i, { storage }] of made.buckets.entries()) {
    const before = [...storage];
    for (const [name, bytes] of before) {
      const shard = parseShardObjectName(name);
      if (shard === null) continue;
      storage.delete(name);
      const sealing = shard.sealing.replace(/^./, (first) => (first === '0' ? '1' : '0'));
      if (i === 0) storage.set(shardObjectName({ ...shard, sealing }), bytes);
    }
  }
  const { hash, chunksStored, degraded } = await putBytes(await made.reopen(), BODY, { name: 'b' });
  expect({ chunksStored, degraded }).toEqual({ chunksStored: 3, degraded: false });
  expect((await getBytes(made.vault, hash)).equals(BODY)).toBe(true);
});

test('a small file is stored once a bucket has it that is known to stay, whatever becomes of the others', async () => {
  await using made = await testVault();
  const [, second, third] = made.buckets;
  let hasIt = false;
  failing(present(second), (call) => {
    if (!puts('manifests/')(call)) return hasIt;
    hasIt = true;
    return false;
  });
  failing(present(third), puts('manifests/'));
  const { hash, manifestCopies, degraded } = await putBytes(made.vault, SMALL, { name: 'a' });
  expect({ manifestCopies, degraded }).toEqual({ manifestCopies: 2, degraded: true });
  expect((await getBytes(made.vault, hash)).equals(SMALL)).toBe(true);
});

test('the catalog knows where each chunk lies once it is stored, and again when it was found', async () => {
  await using made = await testVault();
  const places = async (): Promise<string[]> =>
    (await rowsOf(made.catalog)).flatMap(({ id, k, m, sealing, shards }) =>
      shards.map((place, index) => {
        const { bucket, upload } = present(place);
        return `memory:${bucket} ${shardObjectName({ chunkId: id, sealing, index, k, m, upload })}`;
      }),
    );
  await putBytes(made.vault, BODY, { name: 'a' });
  expect((await places()).toSorted()).toEqual(made.objects('chunks/'));
  await made.catalog.chunks.forget((await rowsOf(made.catalog)).map(({ id }) => id));
  expect(await putBytes(made.vault, BODY, { name: 'b' })).toMatchObject({ chunksStored: 0 });
  expect((await places()).toSorted()).toEqual(made.objects('chunks/'));
});

test('of a packed chunk that is found again the catalog knows the size', async () => {
  await using made = await testVault();
  const packed = Buffer.alloc(50_000, 'text ');
  const size = async (): Promise<number> =>
    Math.min(...(await rowsOf(made.catalog)).map(({ sealedSize }) => sealedSize));
  await putBytes(made.vault, packed, { name: 'packed', compression: 'auto' });
  const before = await size();
  await made.catalog.chunks.forget((await rowsOf(made.catalog)).map(({ id }) => id));
  await putBytes(made.vault, packed, { name: 'again', compression: 'auto' });
  // As far as the sizes of its two data shards tell.
  expect((await size()) - before).toBeLessThan(2);
});

test('what is locked shares nothing with what is not, be it a file or a folder', async () => {
  await using made = await testVault();
  await using folder = await temporaryFolder();
  await writeFile(folder.at('file'), random.bytes(40_000));
  const source = { root: folder.path };
  expect(await made.vault.put(source, { name: 'open' })).toMatchObject({ bytesNew: 40_000 });
  expect(await made.vault.put(source, { name: 'again' })).toMatchObject({ bytesNew: 0 });
  for (const name of ['locked', 'locked again'])
    expect(await made.vault.put(source, { name, lock: LOCK })).toMatchObject({ bytesNew: 40_000 });
  await putBytes(made.vault, BODY, { name: 'file' });
  expect(await putBytes(made.vault, BODY, { name: 'file', lock: LOCK })).toMatchObject({
    bytesNew: BODY.length,
  });
});

test('a folder that cannot be remembered here is stored all the same, and it is told', async () => {
  await using folder = await temporaryFolder();
  await writeFile(folder.at('in the way'), '');
  await mkdir(folder.at('data'));
  await writeFile(folder.at('data/file'), random.bytes(40_000));
  await using made = await testVault({ logFolder: folder.at('in the way/log') });
  const warnings: Warning[] = [];
  const source = { root: folder.at('data') };
  const { hash } = await made.vault.put(source, { name: 'a', onWarning: (one) => warnings.push(one) });
  expect(hash).not.toBe('');
  expect(warnings).toEqual([
    {
      kind: 'not-remembered',
      message: expect.stringMatching(
        /^What was stored of .*data could not be remembered here \(.+\): the next put reads all of it\.$/,
      ),
      bucket: null,
    },
  ]);
});

test('a folder says what it holds, and a locked one only what it was made of', async () => {
  await using made = await testVault();
  await using folder = await temporaryFolder();
  await writeFile(folder.at('file'), random.bytes(40_000));
  const facts = { kind: 'folder', chunkSize: null, chunks: 1, indexChunks: 0, incomplete: false };
  const source = { root: folder.path };
  expect(await made.vault.put(source, { name: 'open' })).toMatchObject({
    ...facts,
    size: 40_000,
    contentSize: 40_000,
    entries: 2,
    locked: false,
    ...NOT_RETAINED,
  });
  expect(await made.vault.put(source, { name: 'locked', lock: LOCK })).toMatchObject({
    ...facts,
    size: null,
    contentSize: 40_000,
    entries: null,
    locked: true,
  });
});

test('of a folder everything is told, and nothing twice of a bucket', async () => {
  await using made = await testVault();
  await using folder = await temporaryFolder();
  await writeFile(folder.at('file'), random.bytes(40_000));
  const servers = ['a', 'b'].map((name) => createServer().listen(folder.at(name)));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  failing(present(made.buckets[1]), () => true);
  const warnings: Warning[] = [];
  const onWarning = (one: Warning): void => void warnings.push(one);
  const result = await (await made.reopen()).put({ root: folder.path }, { name: 'folder', onWarning });
  expect(warnings.map(({ kind }) => kind).toSorted()).toEqual(['bucket-down', 'skipped', 'skipped']);
  expect(result).toMatchObject({ incomplete: false, degraded: true });
  for (const server of servers) server.close();
});

test('many at once share the memory of a few chunks', async () => {
  await using made = await testVault();
  const bodies = Array.from({ length: 9 }, () => random.bytes(2 * CHUNK_SIZE + 9));
  const stored = await Promise.all(bodies.map((body, i) => putBytes(made.vault, body, { name: `${i}` })));
  for (const [i, { hash }] of stored.entries())
    expect((await getBytes(made.vault, hash)).equals(present(bodies[i]))).toBe(true);
});

test.each(['fixed', 'content'] as const)(
  'that is interrupted, again and again, keeps no memory (%s)',
  async (chunking) => {
    await using made = await testVault();
    const body = random.bytes(9 * CHUNK_SIZE);
    const options = { name: 'a', chunking, chunkSize: chunking === 'fixed' ? CHUNK_SIZE : undefined };
    for (const part of [0, 0.1, 0.3, 0.5, 0.7, 0.9]) {
      const abort = new AbortController();
      const onProgress = ({ doneBytes }: Progress): void => {
        if (doneBytes >= part * body.length) abort.abort();
      };
      const put = made.vault.put(bytesSource(body), { ...options, signal: abort.signal, onProgress });
      await expect(put).rejects.toMatchObject({ code: 'interrupted' });
    }
    const { hash } = await made.vault.put(bytesSource(body), options);
    expect((await getBytes(made.vault, hash)).equals(body)).toBe(true);
  },
);

/** A source of bytes of which it is known how often it was opened, and not closed. */
function watchedSource(
  bytes: Uint8Array,
  { reopens = true, verify = async (): Promise<void> => undefined } = {},
): FileSource & { readonly opened: number; readonly unclosed: number } {
  const plain = bytesSource(bytes);
  const watched = {
    ...plain,
    reopens,
    opened: 0,
    unclosed: 0,
    async open(signal?: AbortSignal) {
      watched.opened += 1;
      watched.unclosed += 1;
      const opened = await plain.open(signal);
      return {
        ...opened,
        verify,
        async close() {
          watched.unclosed -= 1;
          await opened.close();
        },
      };
    },
  };
  return watched;
}

test('what is not to be put any more is not opened', async () => {
  await using made = await testVault();
  const source = watchedSource(BODY);
  const options = { name: 'a', signal: AbortSignal.abort() };
  await expect(made.vault.put(source, options)).rejects.toMatchObject({ code: 'interrupted' });
  expect(source).toMatchObject({ opened: 0, unclosed: 0 });
});

test.each([SMALL, BODY])('what has changed while it was read is not stored, and closed', async (body) => {
  await using made = await testVault();
  const changed = new VaultError('source-changed', 'It has changed.');
  const source = watchedSource(body, { verify: () => Promise.reject(changed) });
  await expect(made.vault.put(source, { name: 'a', chunkSize: CHUNK_SIZE })).rejects.toBe(changed);
  expect(source).toMatchObject({ opened: 1, unclosed: 0 });
  expect(made.objects('manifests/')).toEqual([]);
  expect(await all(made.vault.list())).toEqual([]);
});

describe('a put that was asleep', () => {
  const stale = new VaultError('stale', 'It has slept.');

  test.each([
    [true, 3],
    [false, 1],
  ])('begins anew where it can (%s), %d times at most', async (reopens, times) => {
    await using made = await testVault();
    const guard = { run: async () => Promise.reject(stale), end: async () => undefined };
    const source = watchedSource(BODY, { reopens });
    const vault = new Vault({ ...made.session, guard });
    await expect(vault.put(source, { name: 'a', chunkSize: CHUNK_SIZE })).rejects.toMatchObject({
      code: 'stale',
      message:
        'This put has slept for too long, so "a" is not stored. Put it again. If "vault verify" finds a version of it lost that was stored now, nobody was given its hash: "vault rm" removes it.',
      cause: stale,
    });
    expect(source).toMatchObject({ opened: times, unclosed: 0 });
  });

  test('until its end relies on nothing, also where it would store nothing', async () => {
    await using made = await testVault();
    await putBytes(made.vault, BODY, { name: 'a' });
    let slept = false;
    const { guard } = made.session;
    const keep = async (): Promise<void> => {
      if (slept) throw stale;
    };
    const sleepy: Session['guard'] = {
      run: async (work, signal) => guard.run(async (guarded) => work(guardedWith(guarded, { keep })), signal),
      end: async () => guard.end(),
    };
    const verify = async (): Promise<void> => {
      slept = true;
    };
    const source = watchedSource(BODY, { reopens: false, verify });
    const vault = new Vault({ ...made.session, guard: sleepy });
    await expect(vault.put(source, { name: 'a', chunkSize: CHUNK_SIZE })).rejects.toMatchObject({
      code: 'stale',
    });
  });
});

test('a bucket that takes neither shards nor manifests is told of once', async () => {
  await using made = await testVault();
  failing(present(made.buckets[1]), (call) => puts('')(call) && !puts('puts/')(call));
  const warnings: Warning[] = [];
  const onWarning = (one: Warning): void => void warnings.push(one);
  const result = await putBytes(made.vault, BODY, { name: 'a', onWarning });
  expect(result).toMatchObject({ degraded: true, degradedChunks: 3, manifestCopies: 2 });
  expect(warnings.map(({ kind, bucket }) => [kind, bucket])).toEqual([['bucket-down', 'memory:2']]);
});

test('of what is no file of this machine nothing is remembered', async () => {
  await using folder = await temporaryFolder();
  await using made = await testVault({ logFolder: folder.at('log') });
  await putBytes(made.vault, BODY, { name: 'a' });
  expect(await readdir(folder.path)).toEqual([]);
});

test('a bucket that takes no shards is told of, and what it lacks is counted', async () => {
  await using made = await testVault();
  failing(present(made.buckets[1]), puts('chunks/'));
  const warnings: Warning[] = [];
  const onWarning = (one: Warning): void => void warnings.push(one);
  const result = await putBytes(made.vault, BODY, { name: 'a', onWarning });
  expect(result).toMatchObject({ degraded: true, degradedChunks: 3, chunksStored: 3, manifestCopies: 3 });
  expect(warnings).toEqual([
    { kind: 'bucket-down', message: expect.stringContaining('memory:2'), bucket: 'memory:2' },
  ]);
  expect((await getBytes(made.vault, result.hash)).equals(BODY)).toBe(true);
  expect(await putBytes(await made.reopen(), BODY, { name: 'a' })).toMatchObject({
    unchanged: true,
    degraded: true,
    degradedChunks: 3,
  });
  // What is completed now is no less whole than if it had been stored now.
  present(made.buckets[1]).wrap = (plain) => plain;
  expect(await putBytes(await made.reopen(), BODY, { name: 'a' })).toMatchObject({
    unchanged: true,
    degraded: false,
    degradedChunks: 0,
    chunksStored: 0,
  });
  expect(made.objects('chunks/')).toHaveLength(9);
});
