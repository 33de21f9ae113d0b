// What a machine remembers of the folders that it has stored. Whatever becomes of that, nothing worse follows than reading.
import { execFile } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { promisify } from 'node:util';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { drawId, keysOfRoot } from '../../../src/crypto/keys.ts';
import type { Extent } from '../../../src/format/folder-index.ts';
import type { ChunkRef } from '../../../src/format/manifest.ts';
import { LocalLogWriter, LoggedGroups } from '../../../src/vault/folders/local-log.ts';
import type { FileFacts, LogPlace } from '../../../src/vault/folders/local-log.ts';
import { seededRandom } from '../../support/seeded-random.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import type { TemporaryFolder } from '../../support/temporary-folder.ts';

const NOW = Date.UTC(2026, 10, 1);
const OLD_NS = BigInt(NOW - 60_000) * 1_000_000n;
const random = seededRandom(61);

let folder: TemporaryFolder;
let place: LogPlace;
beforeEach(async () => {
  folder = await temporaryFolder();
  const keys = keysOfRoot(Buffer.alloc(32, 1), { vaultId: drawId(), rootNumber: 1, writer: drawId() });
  place = { folder: folder.at('logs'), keys, name: 'docs' };
});
afterEach(async () => {
  await folder[Symbol.asyncDispose]();
});

const facts = (path: string, more: Partial<FileFacts> = {}): FileFacts => ({
  path: Buffer.from(path),
  inode: 42n,
  ctimeNs: OLD_NS,
  mtimeNs: OLD_NS - 5n,
  size: 1000,
  ...more,
});
const chunk = (length = 1000): ChunkRef => ({
  tag: Buffer.from(random.bytes(32)),
  hash: Buffer.from(random.bytes(32)),
  length,
});

interface Stored {
  readonly files: readonly FileFacts[];
  readonly refs: readonly ChunkRef[];
  readonly extents?: readonly Extent[] | null;
  readonly gaps?: readonly number[] | null;
}

async function write(groups: readonly Stored[], at = place): Promise<string | null> {
  const log = new LocalLogWriter(at);
  for (const { files, refs, extents = null, gaps = null } of groups) {
    for (const ref of refs) log.chunk(ref);
    await log.endGroup({ files, extents, gaps, readAtMs: NOW });
  }
  return log.commit();
}

/** What a log says of each of some groups: its chunks, or null. */
async function read(
  groups: readonly (readonly FileFacts[])[],
  at: LogPlace | null = place,
): Promise<(readonly ChunkRef[] | null)[]> {
  const log = new LoggedGroups(at);
  const found: (readonly ChunkRef[] | null)[] = [];
  for (const files of groups) {
    const { whole } = await log.find(files);
    found.push(whole === null ? null : [...whole.refs()]);
  }
  await log.close();
  return found;
}

async function onlyFile(): Promise<string> {
  const names = await readdir(place.folder);
  expect(names).toHaveLength(1);
  return folder.at('logs', names[0] ?? '');
}

/** A tree's groups, each of a few files. */
function tree(groups: number): Stored[] {
  return Array.from({ length: groups }, (_, i) => {
    const names = Array.from(
      { length: 1 + random.below(4) },
      (__, n) => `${String(i).padStart(5, '0')}/${n}`,
    );
    return { files: names.map((name) => facts(name)), refs: [chunk()] };
  });
}
const filesOf = (groups: readonly Stored[]): (readonly FileFacts[])[] => groups.map(({ files }) => files);
const refsOf = (groups: readonly Stored[]): (readonly ChunkRef[])[] => groups.map(({ refs }) => refs);

describe('A log', () => {
  test('gives the chunks of each group that is as it was', async () => {
    const groups = tree(3000);
    expect(await write(groups)).toBeNull();
    expect(await read(filesOf(groups))).toEqual(refsOf(groups));
  });

  test('takes the place of the one before, durably, and leaves nothing else', async () => {
    await write(tree(5));
    const groups = tree(7);
    await write(groups);
    expect(await read(filesOf(groups))).toEqual(refsOf(groups));
    const file = await onlyFile();
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(place.folder)).mode & 0o777).toBe(0o700);
  });

  test('keeps a large file of many chunks, and where its data lies', async () => {
    const refs = Array.from({ length: 5000 }, () => chunk(1024 * 1024));
    const extents = [
      { start: 0, length: 4096 },
      { start: 2 ** 52, length: 2 ** 40 },
    ];
    const large = { files: [facts('m', { size: 2 ** 52 + 2 ** 40 })], refs, extents };
    const [before, after] = [
      { files: [facts('a')], refs: [chunk()] },
      { files: [facts('z')], refs: [] },
    ];
    await write([before, large, after]);
    expect(await read(filesOf([before, large, after]))).toEqual(refsOf([before, large, after]));
    const log = new LoggedGroups(place);
    expect((await log.find(large.files)).whole).toMatchObject({ extents, chunks: 5000 });
    await log.close();
  });

  test('tells nothing of what it is about', async () => {
    await write([{ files: [facts('secret-name')], refs: [chunk()] }]);
    const bytes = await readFile(await onlyFile());
    expect(bytes.includes('secret')).toBe(false);
    expect(await onlyFile()).not.toContain('docs');
  });

  test.each<[string, Partial<FileFacts>]>([
    ['another inode', { inode: 43n }],
    ['another ctime', { ctimeNs: OLD_NS + 1n }],
    ['another mtime', { mtimeNs: OLD_NS }],
    ['another size', { size: 1001 }],
    ['another path', { path: Buffer.from('bb') }],
    ['a path that is not text', { path: Buffer.from([0x62, 0xff]) }],
  ])('does not answer for a file with %s', async (_, change) => {
    const files = [facts('a'), facts('b'), facts('c')];
    const next = { files: [facts('d')], refs: [chunk()] };
    await write([{ files, refs: [chunk()] }, next]);
    const changed = [facts('a'), facts('b', change), facts('c')];
    expect(await read([changed, next.files])).toEqual([null, next.refs]);
    expect(await read([files.slice(0, 2), next.files])).toEqual([null, next.refs]);
  });

  test('keeps numbers of any size apart', async () => {
    const files = [
      facts('a', { inode: 2n ** 64n - 1n, ctimeNs: -1n, mtimeNs: 2n ** 66n + 1n, size: 2 ** 53 - 1 }),
    ];
    const refs = [chunk()];
    await write([{ files, refs }]);
    expect(await read([files])).toEqual([refs]);
    expect(await read([[{ ...facts('a'), ...files[0], inode: 2n ** 64n - 2n }]])).toEqual([null]);
  });

  test('finds what is left of a folder that was edited anywhere', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('same', 'gone', 'changed', 'new'), { maxLength: 40 }),
        async (edits) => {
          const before: Stored[] = [];
          const after: {
            readonly files: readonly FileFacts[];
            readonly expected: readonly ChunkRef[] | null;
          }[] = [];
          for (const [i, edit] of edits.entries()) {
            const files = [facts(`${100 + i}/a`), facts(`${100 + i}/b`)];
            const refs = [chunk()];
            if (edit !== 'new') before.push({ files, refs });
            if (edit === 'gone') continue;
            const now = edit === 'changed' ? [facts(`${100 + i}/a`), facts(`${100 + i}/c`)] : files;
            after.push({ files: now, expected: edit === 'same' ? refs : null });
          }
          await write(before);
          expect(await read(after.map(({ files }) => files))).toEqual(after.map(({ expected }) => expected));
        },
      ),
      { numRuns: 40 },
    );
  });

  test('gives where the data of files is that are as they were, whatever became of their groups', async () => {
    const [one, two, three] = [chunk(3000), chunk(2500), chunk(9000)];
    const group = (...names: string[]): FileFacts[] => names.map((name) => facts(name));
    await write([
      { files: group('b', 'd', 'f'), refs: [one] },
      { files: group('h', 'j', 'l'), refs: [two, one], gaps: [500, 0, 1000, 0] },
      { files: [facts('n', { size: 9000 })], refs: [three], extents: [{ start: 0, length: 8000 }] },
      { files: group('p', 'r'), refs: [two] },
    ]);
    const log = new LoggedGroups(place);
    const find = async (...files: FileFacts[]): Promise<unknown> => {
      const { whole, places } = await log.find(files);
      return whole === null ? places : [...whole.refs()];
    };
    expect(await find(facts('a'), facts('b'), facts('d', { inode: 1n }), facts('e'))).toEqual([
      null,
      { ref: one, start: 0 },
      null,
      null,
    ]);
    // The rest of that group, and the beginning of the next.
    expect(await find(facts('f'), facts('h'))).toEqual([
      { ref: one, start: 2000 },
      { ref: two, start: 500 },
    ]);
    // One that lies in two chunks would not be known.
    expect(await find(facts('j'), facts('l'), facts('n', { size: 9000 }), facts('o'))).toEqual([
      { ref: two, start: 1500 },
      { ref: one, start: 1000 },
      null,
      null,
    ]);
    expect(await find(facts('p'), facts('r'))).toEqual([two]);
    expect(await find(facts('s'))).toEqual([null]);
    await log.close();
  });

  test('has the order of the index, in which "/" comes first', async () => {
    const paths = ['a', 'a/b', 'a\n', 'a b', 'a!', 'a0', 'b'];
    const groups = paths.map((path) => ({ files: [facts(path)], refs: [chunk()] }));
    await write(groups);
    const wanted = groups.toSpliced(1, 1);
    expect(await read(filesOf(wanted))).toEqual(refsOf(wanted));
  });
});

describe('Nothing is known', () => {
  test('without a log', async () => {
    expect(await read([[facts('a')], []], null)).toEqual([null, null]);
    expect(await read([[facts('a')], []])).toEqual([null, null]);
  });

  test.each<[string, (before: LogPlace) => LogPlace]>([
    ['another folder', (before) => ({ ...before, name: 'other' })],
    ['another vault', (before) => ({ ...before, keys: { ...before.keys, vaultId: drawId() } })],
    [
      'another writer',
      (before) => ({
        ...before,
        keys: keysOfRoot(Buffer.alloc(32, 1), {
          vaultId: before.keys.vaultId,
          rootNumber: 1,
          writer: drawId(),
        }),
      }),
    ],
    [
      'another root',
      (before) => ({
        ...before,
        keys: keysOfRoot(Buffer.alloc(32, 2), {
          ...before.keys,
          rootNumber: 1,
          writer: before.keys.writer.id,
        }),
      }),
    ],
  ])('of %s', async (_, change) => {
    const groups = tree(3);
    await write(groups);
    const other = change(place);
    expect(await read(filesOf(groups), other)).toEqual([null, null, null]);
    // Nor if its file lies where that one's is looked for.
    const bytes = await readFile(await onlyFile());
    await rm(place.folder, { recursive: true });
    await write([], other);
    await writeFile(await onlyFile(), bytes);
    expect(await read(filesOf(groups), other)).toEqual([null, null, null]);
  });

  test('of files that were changed shortly before they were read', async () => {
    const late = BigInt(NOW - 1999) * 1_000_000n;
    const early = BigInt(NOW - 2000) * 1_000_000n;
    const files = [
      [facts('a', { ctimeNs: late })],
      [facts('b', { ctimeNs: early })],
      [facts('c'), facts('d', { ctimeNs: late })],
    ];
    await write(files.map((some) => ({ files: some, refs: [chunk()] })));
    expect((await read(files)).map((found) => found !== null)).toEqual([false, true, false]);
  });

  test('of a group that changed while it was read', async () => {
    const log = new LocalLogWriter(place);
    log.chunk(chunk());
    await log.endGroup(null);
    const kept = chunk();
    log.chunk(kept);
    await log.endGroup({ files: [facts('b')], extents: null, gaps: null, readAtMs: NOW });
    expect(await log.commit()).toBeNull();
    expect(await read([[facts('a')], [facts('b')]])).toEqual([null, [kept]]);
  });

  test('of a file of more than a mebi of chunks', async () => {
    const log = new LocalLogWriter(place);
    const ref = chunk();
    for (let i = 0; i <= 1024 * 1024; i += 1) log.chunk(ref);
    await log.endGroup({ files: [facts('a')], extents: null, gaps: null, readAtMs: NOW });
    log.chunk(ref);
    await log.endGroup({ files: [facts('b')], extents: null, gaps: null, readAtMs: NOW });
    expect(await log.commit()).toBeNull();
    expect(await read([[facts('a')], [facts('b')]])).toEqual([null, [ref]]);
  });
});

describe('A log that is not as it was written', () => {
  const groups = tree(900);

  test('says what stands before the place where it is cut', async () => {
    await write(groups);
    const file = await onlyFile();
    const bytes = await readFile(file);
    for (const length of [0, 1, 31, 32, 33, 48, 65_583, 65_584, 65_585, bytes.length - 1]) {
      await writeFile(file, bytes.subarray(0, length));
      const found = await read(filesOf(groups));
      const known = found.findIndex((refs) => refs === null);
      expect(found).toEqual(refsOf(groups).map((refs, i) => (i < known ? refs : null)));
      expect(known > 0).toBe(length >= 65_584);
    }
  });

  test('says nothing wrong, whichever bit of it is turned', async () => {
    await write(groups);
    const file = await onlyFile();
    const bytes = await readFile(file);
    for (let i = 0; i < 30; i += 1) {
      const turned = Buffer.from(bytes);
      const at = random.below(bytes.length);
      turned[at] = (turned[at] ?? 0) ^ (1 << random.below(8));
      await writeFile(file, turned);
      const found = await read(filesOf(groups));
      expect(found.at(-1)).toBeNull();
      expect(found).toEqual(refsOf(groups).map((refs, n) => (found[n] === null ? null : refs)));
    }
  });

  test('says nothing of frames that changed places, or are another log’s', async () => {
    await write(groups);
    const file = await onlyFile();
    const bytes = await readFile(file);
    const frame = (i: number): Buffer => bytes.subarray(32 + i * 65_552, 32 + (i + 1) * 65_552);
    await writeFile(file, Buffer.concat([bytes.subarray(0, 32), frame(1), frame(0)]));
    expect((await read(filesOf(groups))).every((found) => found === null)).toBe(true);
    await writeFile(file, Buffer.concat([random.bytes(32), frame(0)]));
    expect((await read(filesOf(groups))).every((found) => found === null)).toBe(true);
  });

  test.each(['pipe', 'folder', 'nothing that may be read'])('is a %s', async (what) => {
    await write(groups);
    const file = await onlyFile();
    if (what === 'nothing that may be read') await chmod(file, 0);
    else await rm(file);
    if (what === 'pipe') await promisify(execFile)('mkfifo', [file]);
    if (what === 'folder') await mkdir(file);
    const found = await read(filesOf(groups).slice(0, 1));
    // Root reads everything.
    expect(found).toEqual(
      what.startsWith('nothing') && process.getuid?.() === 0 ? [groups[0]?.refs] : [null],
    );
  });
});

describe('Writing a log', () => {
  test('fails without harm where there is no place for it, and says why', async () => {
    await writeFile(folder.at('logs'), 'in the way');
    expect(await write(tree(2000))).toMatch(/ENOTDIR/);
    expect(await readdir(folder.path)).toEqual(['logs']);
  });

  test('that fails at the end leaves nothing unfinished', async () => {
    const log = new LocalLogWriter(place);
    await write(tree(2));
    const file = await onlyFile();
    await rm(file);
    await mkdir(file);
    expect(await log.commit()).toMatch(/EISDIR|ENOTEMPTY|EEXIST/);
    expect(await readdir(place.folder)).toHaveLength(1);
  });

  test('that is given up leaves the one before as it is', async () => {
    const groups = tree(3);
    await write(groups);
    const log = new LocalLogWriter(place);
    for (const { files, refs } of tree(3000)) {
      for (const ref of refs) log.chunk(ref);
      await log.endGroup({ files, extents: null, gaps: null, readAtMs: NOW });
    }
    expect(await readdir(place.folder)).toHaveLength(2);
    await log.discard();
    expect(await read(filesOf(groups))).toEqual(refsOf(groups));
    await onlyFile();
  });

  test('removes what a killed put left a day ago, and not what another one is writing', async () => {
    await write([]);
    const file = await onlyFile();
    await writeFile(`${file}.old.partial`, '');
    await writeFile(`${file}.new.partial`, '');
    await writeFile(folder.at('logs', 'other.partial'), '');
    const old = new Date(Date.now() - 25 * 3600 * 1000);
    await utimes(`${file}.old.partial`, old, old);
    await utimes(folder.at('logs', 'other.partial'), old, old);
    await write([]);
    expect(new Set(await readdir(place.folder))).toEqual(
      new Set([basename(file), `${basename(file)}.new.partial`, 'other.partial']),
    );
  });
});
