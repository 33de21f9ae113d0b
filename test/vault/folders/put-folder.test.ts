// Folders in a vault and back, as whole trees of this machine.
import { spawnSync } from 'node:child_process';
import {
  appendFile,
  chmod,
  link,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Bucket } from '../../../src/buckets/bucket.ts';
import { memoryBucket } from '../../support/memory-bucket.ts';
import { copyCatalog } from '../../../src/catalog/copy.ts';
import { openCatalog } from '../../../src/catalog/open.ts';
import type { Warning } from '../../../src/vault/call.ts';
import type { FolderSource } from '../../../src/vault/folders/folder-source.ts';
import { resolveFile } from '../../../src/vault/files/resolve.ts';
import { restoreTree } from '../../../src/vault/folders/restore-tree.ts';
import type { StoredFolder } from '../../../src/vault/folders/stored-folder.ts';
import type { Wanted } from '../../../src/vault/folders/selection.ts';
import { tarStream } from '../../../src/vault/folders/tar.ts';
import { openSession } from '../../../src/vault/open.ts';
import { recoverCatalog } from '../../../src/vault/recover/recover.ts';
import { Vault } from '../../../src/vault/vault.ts';
import type { PutOptions, PutResult } from '../../../src/vault/write/put-call.ts';
import { catalogPlace } from '../../support/catalog-place.ts';
import { always, faulty } from '../../support/faulty-bucket.ts';
import { seededRandom } from '../../support/seeded-random.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import type { TemporaryFolder } from '../../support/temporary-folder.ts';
import { all, CHEAP_KDF, parts, PASSWORD, testVault } from '../harness.ts';
import type { TestVault } from '../harness.ts';
import { anyThings, factsOf, makeTree, run } from './tree.ts';
import type { Thing } from './tree.ts';

let place: TemporaryFolder;
let made: TestVault;
let vault: Vault;
beforeEach(async () => {
  place = await temporaryFolder();
  await mkdir(place.at('docs'));
  // What was changed a moment ago is not relied on: so the vault's clock is ahead.
  made = await testVault({ logFolder: place.at('log'), now: () => Date.now() + 10_000 });
  ({ vault } = made);
});
afterEach(async () => {
  vi.restoreAllMocks();
  await made[Symbol.asyncDispose]();
  await place[Symbol.asyncDispose]();
});

interface Put extends PutResult {
  readonly told: readonly Warning[];
  /** Bodies that were made of what was read. */
  readonly bodies: number;
}

async function put(
  source: Partial<FolderSource> = {},
  options: Partial<PutOptions> = {},
  from = made,
): Promise<Put> {
  const told: Warning[] = [];
  const identify = vi.spyOn(from.session.workers, 'identify');
  const result = await from.vault.put(
    { root: place.at('docs'), ...source },
    { name: 'docs', onWarning: (warning) => told.push(warning), ...options },
  );
  const bodies = identify.mock.calls.length;
  identify.mockRestore();
  return { ...result, told, bodies };
}

async function folderOf(reference = 'docs', lockPassword?: string): Promise<StoredFolder> {
  const found = await vault.find(
    reference,
    lockPassword === undefined ? {} : { lockPassword: () => Promise.resolve(lockPassword) },
  );
  if (found.kind === 'file') throw new Error(`${reference} is a file`);
  return found.folder;
}

async function restore(
  folder: StoredFolder,
  target: string,
  wanted: Wanted | null = null,
  owners = false,
): Promise<void> {
  const selected = await folder.select(wanted);
  const reader = selected.reader();
  const problems: string[] = [];
  await restoreTree(selected.entries(), reader.readContent, target, {
    force: false,
    owners,
    onProblem: ({ message }) => problems.push(message),
  });
  await reader.close();
  expect(problems).toEqual([]);
}

/** A version is restored to what the folder is now. */
async function expectRestored(reference = 'docs'): Promise<void> {
  await rm(place.at('out'), { recursive: true, force: true });
  await restore(await folderOf(reference), place.at('out'));
  expect(await factsOf(place.at('out'))).toEqual(await factsOf(place.at('docs')));
}

async function apply({ what, file, size }: { what: string; file: number; size: number }): Promise<void> {
  const path = place.at('docs', `f${file}`);
  if (what === 'write') await writeFile(path, Buffer.alloc(size, file));
  else if (what === 'append') await appendFile(path, Buffer.alloc(size, 'z'));
  else if (what === 'remove') await rm(path);
  else if (what === 'rename') await rename(path, place.at('docs', `g${size}`));
  else if (what === 'link') await link(path, place.at('docs', `l${file}`));
  else if (what === 'truncate') await truncate(path, size);
  else await chmod(path, 0o600);
}

/** The scan is ahead of reading: what has been scanned goes when the first bytes are told. */
async function removingOnFirstRead(name: string): Promise<{ read: (p: { doneBytes: number }) => void }> {
  const { rmSync } = await import('node:fs');
  return {
    read: ({ doneBytes }) => {
      if (doneBytes > 0) rmSync(place.at('docs', name), { force: true });
    },
  };
}

const fileOf = (content: Buffer, mode = 0o644): Thing => ({
  kind: 'file',
  mode,
  mtime: 1_700_000_000.25,
  content,
});

describe('a folder', () => {
  test('comes back as it was, whatever was in it', async () => {
    let round = 0;
    await fc.assert(
      fc.asyncProperty(anyThings, async (things) => {
        round += 1;
        const root = place.at(`in-${round}`);
        await mkdir(root);
        await makeTree(root, things);
        const { hash, incomplete, told } = await put({ root }, { name: `tree ${round}` });
        expect({ incomplete, told }).toEqual({ incomplete: false, told: [] });
        await restore(await folderOf(hash), place.at(`out-${round}`));
        expect(await factsOf(place.at(`out-${round}`))).toEqual(await factsOf(root));
      }),
      { numRuns: 25 },
    );
  });

  test('is the same to diff and to rsync, where they are', async () => {
    await makeTree(place.at('docs'), {
      'a b': fileOf(Buffer.from('a'), 0o4755),
      empty: { kind: 'folder', mode: 0o750, mtime: -5, things: {} },
      large: fileOf(Buffer.alloc(700_000, 'l'), 0o400),
      link: { kind: 'symlink', target: '../nowhere', mtime: 7 },
      other: { kind: 'link' },
      sparse: { kind: 'sparse', pieces: [{ hole: 1_000_000, data: 5000 }] },
      sub: {
        kind: 'folder',
        mode: 0o1777,
        mtime: 9,
        things: { 'z\xff': fileOf(Buffer.alloc(0)), '\n': { kind: 'link' } },
      },
    });
    await put();
    await restore(await folderOf(), place.at('out'), null, true);
    // Without a program the facts that every other test compares are the judge.
    expect(await factsOf(place.at('out'))).toEqual(await factsOf(place.at('docs')));
    for (const judge of [
      ['diff', '-r', '--no-dereference'],
      ['rsync', '-aHnci', '--delete'],
    ]) {
      const [program = '', ...args] = judge;
      const { error, status, stdout } = spawnSync(program, [
        ...args,
        `${place.at('docs')}/`,
        `${place.at('out')}/`,
      ]);
      const said = error === undefined ? `${status} ${stdout.toString()}` : '0 ';
      expect({ judge, said }).toEqual({ judge, said: '0 ' });
    }
  });

  test('is the same version if nothing has changed, and is not read again', async () => {
    await mkdir(place.at('docs', 'sub'));
    for (let i = 0; i < 60; i += 1)
      await writeFile(place.at('docs', 'sub', `f${i}`), Buffer.alloc(20_000, i));
    await writeFile(place.at('docs', 'large'), Buffer.alloc(3_000_000, 'x'));
    const first = await put();
    const second = await put();
    expect(second).toMatchObject({ hash: first.hash, unchanged: true, bytesNew: 0, bodies: 0 });
    const third = await put({ forceRead: true });
    expect(third).toMatchObject({ hash: first.hash, unchanged: true, bytesNew: 0 });
    expect(third.bodies).toBeGreaterThan(1);
    await writeFile(place.at('docs', 'sub', 'f7'), 'changed');
    const fourth = await put();
    expect(fourth).toMatchObject({ unchanged: false });
    expect(fourth.bodies).toBeLessThan(third.bodies);
  });

  test('is the same version while a bucket is away, and not read for that', async () => {
    for (let i = 0; i < 6; i += 1) await writeFile(place.at('docs', `f${i}`), Buffer.alloc(200_000, i));
    const { hash } = await put();
    await made.session.guard.end();
    const bucket = made.buckets[0];
    if (bucket !== undefined) bucket.wrap = (plain) => faulty(plain, always('unavailable'));
    for (let time = 0; time < 2; time += 1) {
      const none = { chunksStored: 0, bytesNew: 0, bytesStored: 0, bodies: 0 };
      expect(await put()).toMatchObject({ hash, unchanged: true, degraded: true, ...none });
    }
    expect(await all(vault.list({ all: true }))).toHaveLength(1);
  });

  test('is stored again where the buckets have lost what this machine remembers', async () => {
    await writeFile(place.at('docs', 'a'), Buffer.alloc(40_000, 1));
    await put();
    for (const { storage } of made.buckets) {
      for (const name of storage.keys()) if (name.startsWith('chunks/')) storage.delete(name);
    }
    await using other = await testVaultOn(made);
    expect(await put({}, {}, other)).toMatchObject({ chunksStored: 1, bytesNew: 40_000 });
    await restore(await folderOf(), place.at('out'));
    expect(await readFile(place.at('out', 'a'))).toEqual(Buffer.alloc(40_000, 1));
  });

  test('is stored whole after any edits, in whatever chunks, as it would be from the beginning', async () => {
    const edit = fc.record({
      what: fc.constantFrom('write', 'append', 'remove', 'rename', 'link', 'truncate', 'chmod'),
      file: fc.nat(40),
      size: fc.constantFrom(0, 10, 5_000, 300_000),
    });
    for (let i = 0; i < 40; i += 1) {
      await writeFile(place.at('docs', `f${i}`), Buffer.alloc(i % 9 === 0 ? 290_000 : 9_000 + i, i));
    }
    await put();
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 5 }), fc.boolean(), async (edits, anew) => {
        for (const one of edits) await apply(one).catch(() => undefined);
        const { hash } = await put();
        expect(await put()).toMatchObject({ hash, unchanged: true, bodies: 0 });
        await expectRestored(hash);
        if (anew) await expectRestored((await put({ forceRead: true })).hash);
      }),
      { numRuns: 16 },
    );
  });

  test('of which small files change has those alone stored, until little is left of the old chunks', async () => {
    const random = seededRandom(7);
    const write = (i: number): Promise<void> =>
      writeFile(place.at('docs', `f${i}`), random.bytes(20_000 + i));
    for (let i = 10; i < 20; i += 1) await write(i);
    expect(await put()).toMatchObject({ chunks: 1 });
    let news = 0;
    for (const [i, chunks] of [
      [13, 3],
      [16, 5],
      [13, 5],
      [10, 6],
      [19, 7],
    ] as const) {
      await write(i);
      const stored = await put();
      expect(stored).toMatchObject({ bytesNew: 20_000 + i, chunksStored: 1, chunks, bodies: 1 });
      news += stored.bytesNew;
      await expectRestored();
    }
    expect(news).toBeLessThan(110_000);
    // Less than half of what these chunks have is left now.
    for (const i of [11, 12, 14, 15]) await write(i);
    expect(await put()).toMatchObject({ bytesNew: 200_145, chunksStored: 1, chunks: 1 });
  });

  test('reads a chunk once that it lists again behind a file that has changed', async () => {
    const random = seededRandom(8);
    for (let i = 100; i < 350; i += 1) await writeFile(place.at('docs', `f${i}`), random.bytes(50_000));
    await put();
    let ids: readonly string[] = [];
    // Until it is one that has others of its group on both sides. The first chunks are read one by one.
    const isTwice = (id: string, at: number): boolean => at > 2 && ids.lastIndexOf(id) > at;
    for (let i = 349; !ids.some(isTwice); i -= 1) {
      await writeFile(place.at('docs', `f${i}`), 'changed');
      await put();
      const { ids: table } = await resolveFile(made.session, 'docs');
      if (table.depth !== 0) throw new Error('so few chunks have no table of ids');
      ids = table.ids.map(({ id }) => id);
      if (ids.some(isTwice)) break;
      await writeFile(place.at('docs', `f${i}`), random.bytes(50_000));
      await put({ forceRead: true });
    }
    const open = vi.spyOn(made.session.workers, 'open');
    await restore(await folderOf(), place.at('out'));
    expect(open).toHaveBeenCalledTimes(new Set(ids).size);
    expect(await factsOf(place.at('out'))).toEqual(await factsOf(place.at('docs')));
  });

  test('can be locked: then nothing is remembered of it, and its password is needed', async () => {
    await writeFile(place.at('docs', 'a'), Buffer.alloc(400_000, 'x'));
    await put({}, { lock: { password: 'its own', cost: CHEAP_KDF } });
    expect(await readdir(place.at('log')).catch(() => [])).toEqual([]);
    await expect(folderOf('docs')).rejects.toMatchObject({ code: 'wrong-password' });
    await restore(await folderOf('docs', 'its own'), place.at('out'));
    expect(await factsOf(place.at('out'))).toEqual(await factsOf(place.at('docs')));
  });

  test('that cannot be read is refused', async () => {
    await expect(put({ root: place.at('none') })).rejects.toMatchObject({ code: 'file-not-found' });
    await expect(put({}, { chunkSize: 65_536 })).rejects.toMatchObject({ code: 'invalid-input' });
  });

  test('leaves out what is excluded', async () => {
    for (const name of ['keep.txt', 'drop.tmp', 'large'])
      await writeFile(place.at('docs', name), name.repeat(9));
    await put({ excludes: ['*.tmp', Buffer.from('# nothing\n')], largest: 72 });
    expect(await pathsOf(await folderOf())).toEqual(['', 'keep.txt', 'large']);
  });
});

async function pathsOf(folder: StoredFolder): Promise<string[]> {
  const paths: string[] = [];
  for await (const { path } of folder.list()) paths.push(path.toString());
  return paths;
}

/** Another process of the same vault. */
async function testVaultOn(one: TestVault): Promise<TestVault> {
  const other = await one.reopen();
  return { ...one, vault: other, [Symbol.asyncDispose]: () => other.close() };
}

describe('a tree that changes while it is read', () => {
  test('is told of, and stored without what is gone', async () => {
    for (const name of ['a', 'b', 'c']) await writeFile(place.at('docs', name), name.repeat(1000));
    const { read } = await removingOnFirstRead('b');
    const result = await put({}, { onProgress: read });
    expect(result.incomplete).toBe(true);
    expect(result.told).toMatchObject([{ kind: 'missed', message: expect.stringMatching(/^b was removed/) }]);
    expect(await pathsOf(await folderOf())).toEqual(['', 'a', 'c']);
    await restore(await folderOf(), place.at('out'));
    expect(await readFile(place.at('out', 'c'), 'utf8')).toBe('c'.repeat(1000));
  });

  test('is stored as far as it was when a file was opened, if that grows', async () => {
    const { appendFileSync } = await import('node:fs');
    await writeFile(place.at('docs', 'a'), 'a'.repeat(1000));
    await writeFile(place.at('docs', 'log'), Buffer.alloc(9_000_000, 'l'));
    const append = ({ doneBytes }: { doneBytes: number }): void => {
      if (doneBytes > 0) appendFileSync(place.at('docs', 'log'), 'more');
    };
    const { signal } = new AbortController();
    const result = await put({}, { onProgress: append, signal });
    await restore(await folderOf(result.hash), place.at('out'));
    expect((await readFile(place.at('out', 'log'))).subarray(0, 100)).toEqual(Buffer.alloc(100, 'l'));
    // The next put reads it again, as it is not to be relied on.
    expect(await put()).toMatchObject({ incomplete: false });
  });
});

describe('a part of a folder', () => {
  beforeEach(async () => {
    await mkdir(place.at('docs', '2024'));
    await mkdir(place.at('docs', '2024', 'sub'));
    await writeFile(place.at('docs', '2024', 'a.pdf'), Buffer.alloc(300_000, 'a'));
    await writeFile(place.at('docs', '2024', 'sub', 'b.pdf'), Buffer.alloc(400_000, 'b'));
    await writeFile(place.at('docs', '0'), 'first');
    await link(place.at('docs', '0'), place.at('docs', '2024', 'again'));
    await symlink('/etc/passwd', place.at('docs', 'link'));
    await writeFile(place.at('docs', 'z'), Buffer.alloc(500_000, 'z'));
    await put();
  });

  test('is found behind the name or hash, and only its chunks are read', async () => {
    const { hash } = await folderOf();
    for (const reference of ['docs/2024/a.pdf', `${hash}/2024/a.pdf`, `${hash.slice(0, 10)}/2024/a.pdf`]) {
      const found = await vault.find(reference);
      expect(found).toMatchObject({ kind: 'folder', path: '2024/a.pdf' });
    }
    const open = vi.spyOn(made.session.workers, 'open');
    const selected = await (await folderOf()).select({ path: Buffer.from('2024/a.pdf') });
    expect(selected).toMatchObject({ count: 1, size: 300_000, only: { kind: 'file' } });
    const reader = selected.reader();
    const runs: Buffer[] = [];
    if (selected.only !== null) {
      for await (const bytes of reader.readContent(selected.only, undefined)) runs.push(Buffer.from(bytes));
    }
    await reader.close();
    expect(Buffer.concat(runs)).toEqual(Buffer.alloc(300_000, 'a'));
    expect(open).toHaveBeenCalledTimes(1);
  });

  test('is restored by itself, a later path of a file with its content', async () => {
    await restore(await folderOf(), place.at('out'), { path: Buffer.from('2024') });
    expect((await run('diff', ['-r', place.at('docs', '2024'), place.at('out')])).stdout).toBe('');
    await restore(await folderOf(), place.at('pdf'), { matches: (path) => path.endsWith('.pdf') });
    expect(await readdir(place.at('pdf'), { recursive: true })).toEqual(
      expect.arrayContaining(['2024', join('2024', 'a.pdf'), join('2024', 'sub', 'b.pdf')]),
    );
    expect(await readdir(place.at('pdf'))).toEqual(['2024']);
  });

  test('that is not there is told', async () => {
    const folder = await folderOf();
    await expect(folder.select({ path: Buffer.from('2025') })).rejects.toMatchObject({
      code: 'file-not-found',
    });
    await expect(vault.find('doc/2024')).rejects.toMatchObject({ code: 'file-not-found' });
  });

  test('or all of it makes a tar that tar unpacks', async () => {
    const selected = await (await folderOf()).select(null);
    const reader = selected.reader();
    const runs: Buffer[] = [];
    for await (const bytes of tarStream(selected.entries(), reader.readContent, { prefix: 'docs' })) {
      runs.push(Buffer.from(bytes));
    }
    await reader.close();
    await writeFile(place.at('docs.tar'), Buffer.concat(runs));
    await mkdir(place.at('unpacked'));
    await run('tar', ['-xpf', place.at('docs.tar'), '-C', place.at('unpacked')]);
    expect(await factsOf(place.at('unpacked', 'docs'))).toEqual(await factsOf(place.at('docs')));
  });
});

async function openerOf(url: string): Promise<Bucket> {
  const bucket = made.buckets.find((candidate) => candidate.url === url);
  if (bucket === undefined) throw new Error(`No bucket ${url}`);
  return memoryBucket(url, bucket.storage);
}

async function recoverInto(location: string): Promise<void> {
  const catalog = await openCatalog(location, { create: true });
  await recoverCatalog({
    catalog,
    urls: made.buckets.map(({ url }) => url),
    opener: openerOf,
    password: () => Promise.resolve(PASSWORD),
    parts: parts(catalog, openerOf),
  });
  await catalog.close();
}

async function copyInto(location: string): Promise<void> {
  await copyCatalog(made.db, location);
}

describe('a stored folder is cared for as a file is', () => {
  test('verified, mended, coded anew, swept around, brought back, shown', async () => {
    for (let i = 0; i < 30; i += 1) await writeFile(place.at('docs', `f${i}`), Buffer.alloc(20_000, i));
    const { hash } = await put();
    const same = async (): Promise<void> => {
      await rm(place.at('out'), { recursive: true, force: true });
      await restore(await folderOf(hash), place.at('out'));
      expect(await factsOf(place.at('out'))).toEqual(await factsOf(place.at('docs')));
    };
    const storage = made.buckets[0]?.storage ?? new Map<string, Uint8Array>();
    for (const name of storage.keys()) if (!/^(vault|keyring)/.test(name)) storage.delete(name);
    expect(await vault.verify({ depth: 'data' })).toMatchObject({ outcome: 'degraded' });
    await same();
    expect(await vault.repair({ depth: 'listing' })).toMatchObject({ outcome: 'whole' });
    await vault.repair({ depth: 'listing', redundancy: { k: 1, m: 1 } });
    expect(await vault.verify({ depth: 'data' })).toMatchObject({ outcome: 'whole' });
    await vault.remove(['docs']);
    await expect(folderOf('docs')).rejects.toMatchObject({ code: 'file-not-found' });
    await vault.undelete(['docs']);
    await vault.sweep({ ignoreGrace: true, waitMs: 0 });
    await same();
    expect(await vault.inspect('docs')).toMatchObject({ kind: 'folder', hash, survives: 1 });
    expect(await vault.status()).toMatchObject({ files: 1 });
    await vault.remove(['docs']);
    // A marker that stands keeps what it names.
    await made.session.guard.end();
    await vault.sweep({ ignoreGrace: true, waitMs: 0 });
    expect(made.objects('chunks/')).toEqual([]);
  });

  test('and is the same in a catalog that was recovered from the buckets, or copied', async () => {
    await fc.assert(
      fc.asyncProperty(anyThings, async (things) => {
        const root = place.at('any');
        await rm(root, { recursive: true, force: true });
        await mkdir(root);
        await makeTree(root, things);
        const { hash } = await put({ root }, { name: 'any' });
        const entries = await Array.fromAsync((await folderOf(hash)).list());
        await made.session.guard.end();
        for (const fill of [recoverInto, copyInto]) {
          await using other = await catalogPlace();
          await fill(other.location);
          const session = await openSession(parts(await openCatalog(other.location), openerOf));
          const opened = new Vault(session);
          const found = await opened.find('any');
          if (found.kind === 'file') throw new Error('It is a folder.');
          expect(found.folder.hash).toBe(hash);
          expect(await Array.fromAsync(found.folder.list())).toEqual(entries);
          await rm(place.at('out'), { recursive: true, force: true });
          await restore(found.folder, place.at('out'));
          expect(await factsOf(place.at('out'))).toEqual(await factsOf(root));
          await opened.close();
        }
      }),
      { numRuns: 4 },
    );
  });

  test('and a put that was interrupted goes on where it was', async () => {
    for (let i = 0; i < 8; i += 1) await writeFile(place.at('docs', `f${i}`), Buffer.alloc(500_000, i));
    const stop = new AbortController();
    const interrupted = put(
      {},
      {
        signal: stop.signal,
        onProgress: ({ doneBytes }) => {
          if (doneBytes >= 3_500_000) stop.abort();
        },
      },
    );
    await expect(interrupted).rejects.toMatchObject({ code: 'interrupted' });
    expect(await Array.fromAsync(vault.list())).toEqual([]);
    expect((await put()).chunksStored).toBeLessThan(8);
    await restore(await folderOf(), place.at('out'));
    expect(await factsOf(place.at('out'))).toEqual(await factsOf(place.at('docs')));
  });
});
