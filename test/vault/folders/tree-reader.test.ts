/** A folder on its way to chunks and an index, whatever happens to it meanwhile. */
import { appendFileSync, rmSync } from 'node:fs';
import {
  link,
  mkdir,
  open,
  readdir,
  readlink,
  rm,
  stat,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Lender } from '../../../src/concurrency/semaphore.ts';
import { chunkTag } from '../../../src/crypto/chunk.ts';
import { lotOf } from '../../../src/crypto/cutting.ts';
import { VaultError } from '../../../src/errors.ts';
import { EntryDecoder, EntryEncoder, isIndexEnd, MOST_INDEX_BODY } from '../../../src/format/folder-index.ts';
import type { FolderEntry } from '../../../src/format/folder-index.ts';
import { MAX_CUT_SIZE } from '../../../src/format/limits.ts';
import { INLINE_SIZE } from '../../../src/format/manifest.ts';
import type { Progress, Warning } from '../../../src/vault/call.ts';
import { allocateChunkMemory, bodyOf } from '../../../src/vault/chunks/chunk-memory.ts';
import type { ChunkMemory } from '../../../src/vault/chunks/chunk-memory.ts';
import { readAccounts } from '../../../src/vault/folders/accounts.ts';
import { diskCalls } from '../../../src/vault/folders/disk-calls.ts';
import type { DiskCalls } from '../../../src/vault/folders/disk-calls.ts';
import type { FolderSource } from '../../../src/vault/folders/folder-source.ts';
import type { GroupPart, KnownData } from '../../../src/vault/folders/group-parts.ts';
import { systemError } from '../../../src/vault/folders/open-folder.ts';
import { scan } from '../../../src/vault/folders/scan.ts';
import type { Missed } from '../../../src/vault/folders/scan.ts';
import { fileSource } from '../../../src/vault/write/source.ts';
import { factsOf, rootOf, TreeReader } from '../../../src/vault/write/tree-reader.ts';
import type { Piece, TreeMember } from '../../../src/vault/write/tree-reader.ts';
import type { PutOptions, PutResult } from '../../../src/vault/write/put-call.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import type { TemporaryFolder } from '../../support/temporary-folder.ts';
import { testVault } from '../harness.ts';
import type { TestVault } from '../harness.ts';
import { failing, present, wipe } from '../scene.ts';

const CUT = Buffer.alloc(32, 3);
const NOW_MS = 1_900_000_000_000;
const CALLS = await diskCalls('/', undefined);

let place: TemporaryFolder;
beforeEach(async () => {
  place = await temporaryFolder();
  await mkdir(place.at('docs'));
});
afterEach(async () => {
  vi.restoreAllMocks();
  await place[Symbol.asyncDispose]();
});

/** Writes files, each of its own bytes. */
async function write(sizes: Readonly<Record<string, number>>): Promise<void> {
  for (const [name, size] of Object.entries(sizes))
    await writeFile(place.at('docs', name), bodyOfFile(name, size));
}

const bodyOfFile = (name: string, size: number): Buffer => Buffer.alloc(size, `${name} `);

/** Memory of which it is known what has not been given back. */
class Memory extends Lender<ChunkMemory> {
  readonly lent = new Set<ChunkMemory>();

  override async borrow(): Promise<ChunkMemory> {
    const memory = await super.borrow();
    this.lent.add(memory);
    return memory;
  }

  override giveBack(memory: ChunkMemory): void {
    if (!this.lent.delete(memory)) throw new Error('It was given back twice.');
    super.giveBack(memory);
  }
}

const memoryOf = (size: number): Memory => new Memory(2, () => allocateChunkMemory(size, null));

/** Descriptors that are open. */
const descriptors = new Set<number>();

function counted(real: DiskCalls): DiskCalls {
  return {
    ...real,
    async open(path, flags, mode) {
      const fd = await real.open(path, flags, mode);
      descriptors.add(fd);
      return fd;
    },
    async close(fd) {
      descriptors.delete(fd);
      await real.close(fd);
    },
  };
}

/** The entries of the folder, as a scan finds them. */
async function scanned(calls: (real: DiskCalls) => DiskCalls = (real) => real): Promise<TreeMember[]> {
  const accounts = await readAccounts();
  const members: TreeMember[] = [];
  const seen = new Set<number>();
  for await (const one of scan(place.at('docs'), { accounts })) {
    const { path, kind, linkGroup } = one.entry;
    const hasContent = kind === 'file' && (linkGroup === null || !seen.has(linkGroup));
    if (linkGroup !== null) seen.add(linkGroup);
    const size = hasContent ? one.state.size : 0;
    members.push({ path, size, hasContent, scanned: { ...one, calls: calls(counted(one.calls)) } });
  }
  return members;
}

interface Read {
  /** Content and references, as they came. */
  readonly content: readonly Buffer[];
  readonly index: readonly Buffer[];
  readonly others: readonly Piece[];
  readonly entries: readonly FolderEntry[];
  readonly missed: readonly Missed[];
  readonly told: readonly number[];
  readonly reader: TreeReader;
}

/** Reads a group of members. */
async function read(
  members: readonly TreeMember[],
  {
    known = null as KnownData | null,
    parts = null as readonly GroupPart<TreeMember>[] | null,
    signal = new AbortController().signal,
  } = {},
): Promise<Read> {
  const [missed, told]: [Missed[], number[]] = [[], []];
  const [contentMemory, indexMemory] = [memoryOf(MAX_CUT_SIZE), memoryOf(MOST_INDEX_BODY)];
  const reader = new TreeReader({
    root: place.at('docs'),
    accounts: await readAccounts(),
    cut: CUT,
    contentMemory,
    indexMemory,
    signal,
    now: () => NOW_MS,
    onMissed: (one) => missed.push(one),
    onBytes: (count) => told.push(count),
  });
  const content: Buffer[] = [];
  const index: Buffer[] = [];
  const others: Piece[] = [];
  const groups = (async function* () {
    yield parts ?? [{ members, known }];
  })();
  try {
    for await (const piece of reader.pieces(groups)) {
      if (piece.kind === 'content' || piece.kind === 'index') {
        const bytes = Buffer.from(bodyOf(piece.memory).subarray(0, piece.length));
        (piece.kind === 'content' ? content : index).push(bytes);
        (piece.kind === 'content' ? contentMemory : indexMemory).giveBack(piece.memory);
      } else others.push(piece);
    }
  } finally {
    expect([...contentMemory.lent, ...indexMemory.lent, ...descriptors]).toEqual([]);
  }
  const bytes = reader.inlineIndex ?? Buffer.concat(index);
  expect(reader.indexSize).toBe(bytes.length);
  const entries = new EntryDecoder(reader.totals).push(bytes);
  return { content, index, others, entries, missed, told, reader };
}

const named = ({ entries }: Read): string[] => entries.map(({ path }) => path.toString());
const contentsOf = ({ entries }: Read): unknown[] => entries.map(({ content }) => content);

/** Calls of which one or another is different for a file. */
function differing(
  name: string,
  changes: { readonly open?: () => void; readonly read?: (nth: number, real: () => number) => number },
): (real: DiskCalls) => DiskCalls {
  const its = new Set<number>();
  let reads = 0;
  return (real) => ({
    ...real,
    async open(path, flags, mode) {
      if (path.endsWith(`/${name}`)) changes.open?.();
      const fd = await real.open(path, flags, mode);
      if (path.endsWith(`/${name}`)) its.add(fd);
      return fd;
    },
    close(fd) {
      its.delete(fd);
      return real.close(fd);
    },
    async read(fd, target, position) {
      if (!its.has(fd) || changes.read === undefined) return real.read(fd, target, position);
      reads += 1;
      const count = await real.read(fd, target.subarray(0, reads === 1 ? 10 : target.length), position);
      return changes.read(reads, () => count);
    },
  });
}

/** The first read gives ten bytes, and the next one fails. */
const breaking = (nth: number, real: () => number): number => {
  if (nth > 1) throw systemError('EIO', 'the disk is broken');
  return real();
};

/** Of the files of members that have any bytes: what tells whether they are unchanged. */
function loggedOf(members: readonly TreeMember[]): readonly ReturnType<typeof factsOf>[] {
  return members.filter(({ size }) => size > 0).map((one) => factsOf(one.path, one.scanned.state));
}

/** What entries say of three files of 1000, 2000 and no bytes. */
const THREE = [
  { size: 1000, offset: 0, extents: null },
  { size: 2000, offset: 1000, extents: null },
  { size: 0, offset: 3000, extents: null },
];

describe('a group of files', () => {
  test('becomes one body, what tells whether it is unchanged, and entries', async () => {
    await write({ a: 1000, b: 2000, c: 0 });
    await link(place.at('docs', 'a'), place.at('docs', 'd'));
    await mkdir(place.at('docs', 'e'));
    const members = await scanned();
    const got = await read(members);
    expect(got.content).toEqual([Buffer.concat([bodyOfFile('a', 1000), bodyOfFile('b', 2000)])]);
    const files = loggedOf(members);
    expect(files.map(({ path, size }) => [path.toString(), size])).toEqual([
      ['a', 1000],
      ['b', 2000],
    ]);
    expect(got.others).toEqual([
      { kind: 'end', group: { files, extents: null, gaps: null, readAtMs: NOW_MS } },
    ]);
    expect(named(got)).toEqual(['', 'a', 'b', 'c', 'd', 'e']);
    expect(contentsOf(got)).toEqual([null, ...THREE, null, null]);
    expect(got.entries.map(({ linkGroup }) => linkGroup)).toEqual([null, 1, null, null, 1, null]);
    expect(got).toMatchObject({ missed: [], told: [1000, 2000], index: [] });
    expect(got.reader.files).toBe(3);
    expect(got.reader.totals).toEqual({ entries: 6, size: 3000, contentSize: 3000 });
    expect(rootOf(got.reader).path).toHaveLength(0);
  });

  test('that is known is referred to, and is not read', async () => {
    await write({ a: 1000, b: 2000, c: 0 });
    await link(place.at('docs', 'a'), place.at('docs', 'd'));
    const never = differing('a', {
      open: () => {
        throw new Error('It was opened.');
      },
    });
    const members = await scanned(never);
    const hash = Buffer.alloc(32, 1);
    const refs = [1200, 1800].map((length) => ({ tag: chunkTag(CUT, hash), hash, length }));
    const known = { whole: null, extents: null, gaps: null, refs: () => refs };
    const got = await read(members, { known });
    const files = loggedOf(members);
    expect(got.others).toEqual([
      ...refs.map((ref) => ({ kind: 'known', ref })),
      { kind: 'end', group: { files, extents: null, gaps: null, readAtMs: NOW_MS } },
    ]);
    expect(contentsOf(got)).toEqual([null, ...THREE, null]);
    const extents = [{ start: 5, length: 10 }];
    const withEmpty = members.filter(({ path }) => ['', 'a', 'c'].includes(path.toString()));
    const sparse = await read(withEmpty, { known: { ...known, extents } });
    expect(contentsOf(sparse)).toEqual([
      null,
      { size: 1000, offset: 0, extents },
      { size: 0, offset: 10, extents: null },
    ]);
    expect(sparse.others.at(-1)).toMatchObject({ kind: 'end', group: { extents } });
  });

  test.each([
    [16, [MAX_CUT_SIZE]],
    [17, [MAX_CUT_SIZE - 16, 17]],
  ])('is as many bodies as it takes, if it has grown: the last by %d', async (last, lengths) => {
    const sizes = Object.fromEntries(
      Array.from({ length: 16 }, (_, i) => [String.fromCharCode(97 + i), 262_143]),
    );
    await write({ ...sizes, z: last });
    const got = await read(await scanned());
    expect(got.content.map(({ length }) => length)).toEqual(lengths);
    const all = Object.entries({ ...sizes, z: last }).map(([name, size]) => bodyOfFile(name, size));
    expect(Buffer.concat(got.content).equals(Buffer.concat(all))).toBe(true);
    expect(got.others).toMatchObject([{ kind: 'end', group: { readAtMs: NOW_MS } }]);
  });

  test('is read as it is when its turn comes', async () => {
    await write({ a: 1000, b: 2000, c: 3000 });
    const members = await scanned();
    // One has become large, and one is empty now.
    await write({ b: 300_000, c: 0 });
    const got = await read(members);
    expect(got.content).toEqual([bodyOfFile('a', 1000), bodyOfFile('b', 300_000)]);
    expect(contentsOf(got)).toEqual([
      null,
      { size: 1000, offset: 0, extents: null },
      { size: 300_000, offset: 1000, extents: null },
      { size: 0, offset: 301_000, extents: null },
    ]);
    expect(got.others).toMatchObject([
      { kind: 'end', group: { files: [{ size: 1000 }, { size: 300_000 }, { size: 0 }] } },
    ]);
    expect(got.missed).toEqual([]);
  });

  test('of which nothing is left is no body', async () => {
    await write({ a: 1000 });
    const members = await scanned();
    await truncate(place.at('docs', 'a'), 0);
    expect(await read(members)).toMatchObject({ content: [], told: [0], missed: [] });
  });

  test('with a sparse file is relied on only where that is alone', async () => {
    const file = await open(place.at('docs', 'a'), 'w');
    await file.write(Buffer.alloc(10, 'x'), 0, 10, 1_048_576);
    await file.close();
    const members = await scanned();
    const extents = [{ start: 1_048_576, length: 10 }];
    const alone = await read(members);
    expect(alone.content).toEqual([Buffer.alloc(10, 'x')]);
    expect(contentsOf(alone)[1]).toEqual({ size: 1_048_586, offset: 0, extents });
    expect(alone.others).toMatchObject([{ kind: 'end', group: { extents, files: [{ size: 1_048_586 }] } }]);
    await write({ b: 1000 });
    expect((await read(await scanned())).others).toEqual([{ kind: 'end', group: null }]);
    await write({ b: 0 });
    expect((await read(await scanned())).others).toMatchObject([{ kind: 'end', group: { extents } }]);
  });
});

describe('a file', () => {
  test('that has gone is told of, and its group is not relied on', async () => {
    await write({ a: 1000, b: 2000, c: 3000 });
    const members = await scanned();
    await rm(place.at('docs', 'b'));
    const got = await read(members);
    expect(named(got)).toEqual(['', 'a', 'c']);
    expect(got.content).toEqual([Buffer.concat([bodyOfFile('a', 1000), bodyOfFile('c', 3000)])]);
    expect(got.missed).toMatchObject([{ path: Buffer.from('b'), why: 'vanished' }]);
    expect(got.others).toEqual([{ kind: 'end', group: null }]);
  });

  test('that fails on the way is left out with its bytes', async () => {
    await write({ a: 1000, b: 2000, c: 3000 });
    const got = await read(await scanned(differing('b', { read: breaking })));
    expect(named(got)).toEqual(['', 'a', 'c']);
    expect(got.content).toEqual([Buffer.concat([bodyOfFile('a', 1000), bodyOfFile('c', 3000)])]);
    expect(got.missed).toMatchObject([{ path: Buffer.from('b'), why: 'unreadable' }]);
    expect(got).toMatchObject({ told: [1000, 3000], others: [{ kind: 'end', group: null }] });
  });

  test('that is large and fails on the way is kept as far as it went', async () => {
    await write({ a: 1000, b: 300_000, c: 3000 });
    const got = await read(await scanned(differing('b', { read: breaking })));
    expect(named(got)).toEqual(['', 'a', 'b', 'c']);
    expect(got.content).toEqual([bodyOfFile('a', 1000), bodyOfFile('b', 10), bodyOfFile('c', 3000)]);
    expect(contentsOf(got)[2]).toEqual({ size: 10, offset: 1000, extents: null });
    expect(got.missed).toEqual([
      {
        path: Buffer.from('b'),
        why: 'changed',
        message: expect.stringMatching(
          /^b could not be read to its end, and is stored as far as it could: .+\.$/,
        ),
      },
    ]);
    expect(got).toMatchObject({ told: [1000, 10, 3000], others: [{ kind: 'end', group: null }] });
  });

  test('that is written to meanwhile is kept, and told of', async () => {
    await write({ a: 1000, b: 2000 });
    const grows = differing('b', {
      read: (nth, real) => {
        if (nth === 1) appendFileSync(place.at('docs', 'b'), 'more');
        return real();
      },
    });
    const got = await read(await scanned(grows));
    expect(Buffer.concat(got.content)).toEqual(Buffer.concat([bodyOfFile('a', 1000), bodyOfFile('b', 2000)]));
    expect(got.missed).toEqual([
      {
        path: Buffer.from('b'),
        why: 'changed',
        message: 'b changed while it was read: what is stored of it may be a mixture.',
      },
    ]);
    expect(got.others).toEqual([{ kind: 'end', group: null }]);
  });

  test('that could not be read has no other paths', async () => {
    await write({ a: 1000, c: 10 });
    await link(place.at('docs', 'a'), place.at('docs', 'b'));
    await link(place.at('docs', 'c'), place.at('docs', 'd'));
    const refused = differing('a', {
      open: () => {
        throw systemError('EACCES', 'it is not for you');
      },
    });
    const got = await read(await scanned(refused));
    expect(named(got)).toEqual(['', 'c', 'd']);
    expect(got.entries.map(({ linkGroup }) => linkGroup)).toEqual([null, 1, 1]);
    expect(got.missed.map(({ why, message }) => ({ why, message }))).toEqual([
      { why: 'unreadable', message: expect.stringMatching(/^a cannot be read: /) },
      { why: 'unreadable', message: 'b is another path of a file that could not be read.' },
    ]);
  });

  test('at which it is found that nobody waits ends everything, and no memory is kept', async () => {
    const stopped = new VaultError('interrupted', 'It is enough.');
    await write({ a: 1000, b: 2000 });
    const refused = differing('b', {
      open: () => {
        throw stopped;
      },
    });
    await expect(read(await scanned(refused))).rejects.toBe(stopped);
    const abort = new AbortController();
    await write({ b: 600_000 });
    const aborting = differing('b', {
      read: (_, real) => {
        abort.abort();
        return real();
      },
    });
    const reading = read(await scanned(aborting), { signal: abort.signal });
    await expect(reading).rejects.toMatchObject({ code: 'interrupted' });
    await expect(read([], { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'interrupted' });
  });
});

const memberOf = (path: string): TreeMember => {
  const entry: FolderEntry = {
    path: Buffer.from(path),
    kind: 'folder',
    mode: 0o755,
    owner: null,
    modified: { seconds: 0, nanoseconds: 0 },
    content: null,
    target: null,
    linkGroup: null,
    device: null,
    attributes: [],
  };
  const state = { device: 0n, inode: 0n, ctimeNs: 0n, mtimeNs: 0n, size: 0 };
  return { path: entry.path, size: 0, hasContent: false, scanned: { entry, state, calls: CALLS } };
};

const membersOf = (count: number): TreeMember[] => [
  memberOf(''),
  ...Array.from({ length: count }, (_, i) => memberOf(`${i}`.padStart(5, '0') + 'x'.repeat(245))),
];

/** Each entry as it is in the index. */
function encoded(members: readonly TreeMember[]): Buffer[] {
  const encoder = new EntryEncoder();
  return members.map(({ scanned: { entry } }) => Buffer.from(encoder.encode(entry)));
}

const sizeOf = (members: readonly TreeMember[]): number => Buffer.concat(encoded(members)).length;

describe('an index', () => {
  test('is cut where its entries say so, and its rest is kept', async () => {
    const members = membersOf(4000);
    const bodies: Buffer[][] = [[]];
    const lot = lotOf(CUT);
    for (const [i, bytes] of encoded(members).entries()) {
      bodies.at(-1)?.push(bytes);
      const size = present(bodies.at(-1)).reduce((sum, { length }) => sum + length, 0);
      if (isIndexEnd(() => lot(present(members[i]).path), size)) bodies.push([]);
    }
    expect(bodies.length).toBeGreaterThan(1);
    const whole = bodies.map((parts) => Buffer.concat(parts)).filter(({ length }) => length > 0);
    const got = await read(members);
    expect(got.reader.inlineIndex).toBeNull();
    expect(got.index.map(({ length }) => length)).toEqual(whole.map(({ length }) => length));
    expect(Buffer.concat(got.index).equals(Buffer.concat(whole))).toBe(true);
    // What ends with a whole chunk has no other one, and what is small behind one is not kept elsewhere.
    const count = present(bodies[0]).length;
    expect((await read(members.slice(0, count))).index).toEqual([present(whole[0])]);
    const more = await read(members.slice(0, count + 1));
    expect(more.index).toHaveLength(2);
    expect(more.reader.inlineIndex).toBeNull();
  });

  test('that is small enough lies in the manifest, and one byte more makes it a chunk', async () => {
    const most = membersOf(100).findLastIndex((_, i, all) => sizeOf(all.slice(0, i + 1)) < INLINE_SIZE - 200);
    const least = membersOf(100).slice(0, most + 1);
    const withName = (length: number): TreeMember[] => [...least, memberOf('z'.repeat(length))];
    const missing = INLINE_SIZE - sizeOf(withName(1)) + 1;
    const lengths = [missing - 2, missing - 1, missing, missing + 1].filter(
      (length) => sizeOf(withName(length)) >= INLINE_SIZE,
    );
    const [exact = 0, larger = 0] = lengths;
    expect(sizeOf(withName(exact))).toBe(INLINE_SIZE);
    expect(await read(withName(exact))).toMatchObject({ index: [] });
    const got = await read(withName(larger));
    expect(got.reader.inlineIndex).toBeNull();
    expect(got.index).toHaveLength(1);
  });

  test('of no entry is none of a folder', async () => {
    const { reader } = await read(membersOf(0));
    expect(rootOf(reader).path).toHaveLength(0);
    expect(() => rootOf({ root: null })).toThrow(
      new VaultError('source-changed', 'The folder could not be read.'),
    );
  });
});

describe('a put of a folder', () => {
  let made: TestVault;
  beforeEach(async () => {
    // What was changed a moment ago is not relied on: so the vault's clock is ahead.
    made = await testVault({ logFolder: place.at('log'), now: () => Date.now() + 10_000 });
  });
  afterEach(async () => made[Symbol.asyncDispose]());

  async function put(
    source: Partial<FolderSource> = {},
    options: Partial<PutOptions> = {},
  ): Promise<
    PutResult & { readonly progress: Progress[]; readonly told: Warning[]; readonly bodies: number }
  > {
    const [progress, told]: [Progress[], Warning[]] = [[], []];
    const identify = vi.spyOn(made.session.workers, 'identify');
    const result = await made.vault.put(
      { root: place.at('docs'), ...source },
      {
        name: 'docs',
        onWarning: (one) => void told.push(one),
        onProgress: (one) => void progress.push(one),
        ...options,
      },
    );
    const bodies = identify.mock.calls.length;
    identify.mockRestore();
    return { ...result, progress, told, bodies };
  }

  async function listed(): Promise<string[]> {
    const found = await made.vault.find('docs');
    if (found.kind === 'file') throw new Error('It is a folder.');
    return Array.fromAsync(found.folder.list(), ({ path }) => path.toString());
  }

  test('tells how far it is, also with what is not read', async () => {
    await write({ a: 1000, b: 2000 });
    await link(place.at('docs', 'a'), place.at('docs', 'c'));
    const [none, one, both] = [
      { doneBytes: 0, totalBytes: null, doneFiles: 0 },
      { doneBytes: 1000, totalBytes: null, doneFiles: 1 },
      { doneBytes: 3000, totalBytes: null, doneFiles: 2 },
    ];
    const told = await put({}, { dryRun: true });
    expect(told).toMatchObject({
      progress: [none, one, both],
      bodies: 1,
      chunks: 1,
      bytesNew: 3000,
      hash: '',
    });
    expect(made.objects('chunks/')).toEqual([]);
    const first = await put();
    expect(first).toMatchObject({ progress: [none, one, both], bodies: 1, chunks: 1, bytesNew: 3000 });
    const again = await put();
    expect(again).toMatchObject({
      hash: first.hash,
      unchanged: true,
      bodies: 0,
      bytesStored: 0,
      chunksStored: 0,
    });
    expect(again.progress.map(({ doneBytes }) => doneBytes)).toEqual([0, 3000]);
    expect(await put({ forceRead: true })).toMatchObject({ hash: first.hash, unchanged: true, bodies: 1 });
    for (const bucket of made.buckets) wipe(bucket, 'chunks/');
    await made.session.guard.end();
    expect(await put()).toMatchObject({ bodies: 1, chunksStored: 1, bytesNew: 3000 });
    await write({ b: 2001 });
    expect(await put()).toMatchObject({ bodies: 1, unchanged: false, size: 3001 });
  });

  test('tells what it leaves out, and is incomplete unless that means nothing', async () => {
    await write({ a: 1000, b: 2000 });
    const server = createServer().listen(place.at('docs', 's'));
    await once(server, 'listening');
    expect(await put()).toMatchObject({ incomplete: false, told: [{ kind: 'skipped', bucket: null }] });
    await made.vault.put({ root: place.at('docs') }, { name: 'untold' });
    server.close();
    await once(server, 'close');
    await rm(place.at('docs', 's'), { force: true });
    await write({ a: 1001 });
    const removing = ({ doneBytes }: Progress): void => {
      if (doneBytes === 1001) rmSync(place.at('docs', 'b'));
    };
    expect(await put({}, { onProgress: removing })).toMatchObject({
      incomplete: true,
      told: [{ kind: 'missed', message: expect.stringMatching(/^b was removed/), bucket: null }],
    });
    expect(await listed()).toEqual(['', 'a']);
    expect(await put()).toMatchObject({ incomplete: false, told: [], unchanged: false });
  });

  test('tells of a time that no calendar has, and is complete without it', async ({ skip }) => {
    await write({ a: 1000 });
    await utimes(place.at('docs', 'a'), 1, 8_640_000_000_001);
    if ((await stat(place.at('docs', 'a'))).mtimeMs !== 8_640_000_000_001_000) skip();
    const told = [{ kind: 'not-kept', message: expect.stringMatching(/^a has a time/), bucket: null }];
    expect(await put()).toMatchObject({ incomplete: false, told });
    const warnings: Warning[] = [];
    const onWarning = (warning: Warning): void => void warnings.push(warning);
    await made.vault.put(fileSource(place.at('docs', 'a')), { name: 'one', onWarning });
    expect(warnings).toMatchObject([{ kind: 'not-kept', message: expect.stringContaining('a has a time') }]);
  });

  test('of no content, or of a large index, is a folder like any other', async () => {
    await write({ a: 0 });
    expect(await put()).toMatchObject({ chunks: 0, indexChunks: 0, size: 0, entries: 2, bytesNew: 0 });
    expect(await listed()).toEqual(['', 'a']);
    const names = Array.from({ length: 150 }, (_, i) => `${'x'.repeat(200)}${i}`);
    await write(Object.fromEntries(names.map((name) => [name, 0])));
    const large = await put();
    expect(large).toMatchObject({ chunks: 0, indexChunks: 1, chunksStored: 1, entries: 152, size: 0 });
    expect(await listed()).toEqual(['', 'a', ...names.toSorted()]);
    expect(await put()).toMatchObject({ unchanged: true, chunksStored: 0, bodies: 1 });
  });

  test('that is interrupted, again and again, when a body has just been read, keeps no memory', async () => {
    await write({ a: 1000 });
    for (let i = 0; i < 9; i += 1) {
      const abort = new AbortController();
      const onProgress = (one: Progress): void => {
        if (one.doneBytes === 1000) abort.abort();
      };
      await expect(put({}, { signal: abort.signal, onProgress })).rejects.toMatchObject({
        code: 'interrupted',
      });
    }
    expect(await put()).toMatchObject({ size: 1000, unchanged: false });
  });

  test('keeps nothing open of what it remembers, also if there is less than there was', async () => {
    await write({ a: 300_000, z: 300_000 });
    await put();
    await rm(place.at('docs', 'z'));
    expect(await put()).toMatchObject({ bodies: 0, size: 300_000 });
    const numbers = await readdir('/proc/self/fd').catch(() => []);
    const files = await Promise.all(numbers.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
    expect(files.filter((file) => file.startsWith(place.at('log')))).toEqual([]);
  });

  test('that fails leaves nothing of what it was to remember', async () => {
    // More than is kept in memory.
    const names = Array.from({ length: 300 }, (_, i) => `${'x'.repeat(220)}${i}`);
    await write(Object.fromEntries(names.map((name) => [name, 1])));
    for (const bucket of made.buckets)
      failing(bucket, ({ operation, name }) => operation === 'put' && name.startsWith('manifests/'));
    await expect(put()).rejects.toMatchObject({ code: 'unavailable' });
    expect(await readdir(place.at('log'))).toEqual([]);
  });

  test('that is interrupted, again and again, keeps no memory', async () => {
    const names = Array.from({ length: 9 }, (_, i) => `f${i}`);
    await write(Object.fromEntries(names.map((name) => [name, 270_000])));
    for (const doneBytes of [1, 300_000, 600_000, 900_000, 1_200_000]) {
      const abort = new AbortController();
      const onProgress = (one: Progress): void => {
        if (one.doneBytes >= doneBytes) abort.abort();
      };
      await expect(put({}, { signal: abort.signal, onProgress })).rejects.toMatchObject({
        code: 'interrupted',
      });
    }
    expect(await put()).toMatchObject({ size: 9 * 270_000, chunks: 9, incomplete: false });
    expect(await put()).toMatchObject({ unchanged: true, bodies: 0 });
  });
});
