import {
  chmod,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readAccounts } from '../../../src/vault/folders/accounts.ts';
import { makeExcludes } from '../../../src/vault/folders/excludes.ts';
import { scan } from '../../../src/vault/folders/scan.ts';
import type { Missed, ScanOptions, ScannedEntry } from '../../../src/vault/folders/scan.ts';
import { openScanned } from '../../../src/vault/folders/scanned-file.ts';
import type { FolderEntry } from '../../../src/format/folder-index.ts';
import { smallDisk } from '../../support/small-disk.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { anyThings, contentOf, makeTree, run, storeTree, wholeOf } from './tree.ts';
import type { Thing, Things } from './tree.ts';

const file = (content = 'x'): Thing => ({
  kind: 'file',
  mode: 0o644,
  mtime: 1,
  content: Buffer.from(content),
});
const folder = (things: Things = {}): Thing => ({ kind: 'folder', mode: 0o755, mtime: 2, things });

const accounts = await readAccounts();

async function pathsOf(root: string, options: Partial<ScanOptions> = {}): Promise<string[]> {
  const { entries } = await storeTree(root, options);
  return entries.map(({ path }) => path.toString('latin1'));
}

/** The first part of a scan that has come by a certain path, and then the rest of it. */
async function scanUntil(
  root: string,
  path: string,
  options: Partial<ScanOptions> = {},
): Promise<{ found: ScannedEntry; rest: () => Promise<string[]>; missed: Missed[] }> {
  const missed: Missed[] = [];
  const scanning = scan(root, { accounts, onMissed: (one) => missed.push(one), ...options });
  for (let next = await scanning.next(); next.done !== true; next = await scanning.next()) {
    if (next.value.entry.path.toString('latin1') !== path) continue;
    const rest = async (): Promise<string[]> => {
      const paths: string[] = [];
      for await (const { entry } of scanning) paths.push(entry.path.toString('latin1'));
      return paths;
    };
    return { found: next.value, rest, missed };
  }
  throw new Error(`${path} did not come`);
}

/** Part for part, so that a slash sorts before every byte. */
function inOrder(one: string, other: string): number {
  const [a, b] = [one, other].map((path) => Buffer.from(path.replaceAll('/', '\0'), 'latin1'));
  return Buffer.compare(a ?? Buffer.alloc(0), b ?? Buffer.alloc(0));
}

function factsOfEntry(entry: FolderEntry, data: Buffer | undefined): unknown {
  const { kind, mode, target, content } = entry;
  return {
    kind,
    mode: kind === 'file' || kind === 'folder' ? mode : null,
    target: target?.toString('latin1') ?? null,
    content: content === null || data === undefined ? null : wholeOf(content, data).toString('base64'),
  };
}

function factsOfThing(thing: Thing, hasContent: boolean): unknown {
  const content = hasContent ? (contentOf(thing)?.toString('base64') ?? null) : null;
  return {
    kind: thing.kind === 'sparse' ? 'file' : thing.kind,
    mode: 'mode' in thing ? thing.mode : thing.kind === 'sparse' ? 0o600 : null,
    target: 'target' in thing ? thing.target : null,
    content,
  };
}

/** What this process has open below a folder: other tests of it may be closing theirs. */
async function openBelow(path: string): Promise<string[]> {
  const numbers = await readdir('/proc/self/fd');
  const open = await Promise.all(numbers.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
  return open.filter((one) => one.startsWith(path));
}

describe('a scan', () => {
  it('gives every entry of any tree, as it is, in order', async () => {
    await fc.assert(
      fc.asyncProperty(anyThings, async (things) => {
        await using at = await temporaryFolder();
        const made = await makeTree(at.path, things);
        const { entries, contents, missed } = await storeTree(at.path);
        expect(missed).toEqual([]);
        const expected = [...made].toSorted(([one], [other]) => inOrder(one, other));
        expect(entries.slice(1).map(({ path }) => path.toString('latin1'))).toEqual(
          expected.map(([path]) => path),
        );
        expect(entries.slice(1).map((entry) => factsOfEntry(entry, contents.get(entry)))).toEqual(
          // Content is told of the first path only.
          expected.map(([, thing], index) => factsOfThing(thing, entries[index + 1]?.content !== null)),
        );
      }),
      { numRuns: 40 },
    );
  });

  it('keeps times to the nanosecond, owners with their names, and the numbers of devices', async () => {
    await using at = await temporaryFolder();
    await writeFile(at.at('f'), 'x');
    await run('touch', ['-d', '2024-05-06 07:08:09.123456789 UTC', at.at('f')]);
    const { entries } = await storeTree(at.path);
    expect(entries[1]?.modified).toEqual({ seconds: 1_714_979_289, nanoseconds: 123_456_789 });
    const { found } = await scanUntil('/dev', 'null');
    expect(found.entry).toMatchObject({
      kind: 'char-device',
      device: { major: 1, minor: 3 },
      owner: { uid: 0, gid: 0, user: 'root', group: 'root' },
    });
  });

  it('numbers files with several paths, and each of them is read from any of its paths', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { b: file('one'), a: { kind: 'link' }, c: { kind: 'link' }, d: file('two') });
    const { entries } = await storeTree(at.path);
    expect(entries.map(({ linkGroup }) => linkGroup)).toEqual([null, 1, 1, 1, null]);
    const { found } = await scanUntil(at.path, 'c');
    const opened = await openScanned(at.path, found, accounts);
    const target = Buffer.alloc(10);
    expect(await opened.read(target)).toBe(3);
    await opened.close();
  });

  it('leaves holes out of the content and says where the data is', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, {
      s: {
        kind: 'sparse',
        pieces: [
          { hole: 1 << 20, data: 4096 },
          { hole: 1 << 21, data: 1 },
          { hole: 1 << 20, data: 0 },
        ],
      },
      t: { kind: 'sparse', pieces: [{ hole: 1 << 20, data: 0 }] },
    });
    const { entries, contents } = await storeTree(at.path);
    const [, s, t] = entries;
    if (s === undefined) throw new Error('it is missing');
    expect(s.content?.size).toBe((1 << 20) + 4096 + (1 << 21) + 1 + (1 << 20));
    const data = contents.get(s) ?? Buffer.alloc(0);
    expect(s.content === null ? '' : wholeOf(s.content, data).toString('base64')).toBe(
      await readFile(at.at('s'), 'base64'),
    );
    expect(data.length).toBeLessThan(200_000);
    expect(t?.content).toMatchObject({ size: 1 << 20, extents: [] });
  });

  it('skips sockets with a note', async () => {
    await using at = await temporaryFolder();
    const server = createServer().listen(at.at('s'));
    await new Promise((resolve) => server.once('listening', resolve));
    const { entries, missed } = await storeTree(at.path);
    server.close();
    expect(entries).toHaveLength(1);
    expect(missed).toMatchObject([{ path: Buffer.from('s'), why: 'socket' }]);
  });

  it('refuses a top folder that is not there, or is none', async () => {
    await using at = await temporaryFolder();
    await writeFile(at.at('f'), '');
    await expect(storeTree(at.at('none'))).rejects.toMatchObject({ code: 'file-not-found' });
    await expect(storeTree(at.at('f'))).rejects.toMatchObject({ code: 'invalid-input' });
    await symlink(at.path, at.at('link'));
    expect(await pathsOf(at.at('link'))).toEqual(['', 'f', 'link']);
  });

  it('is ended by its signal, and leaves nothing open', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { a: folder({ b: folder({ c: file() }) }) });
    await expect(pathsOf(at.path, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'interrupted',
    });
    for await (const { entry } of scan(at.path, { accounts })) {
      if (entry.path.length <= 1) continue;
      expect(await openBelow(at.path)).not.toEqual([]);
      break;
    }
    expect(await openBelow(at.path)).toEqual([]);
  });

  it('reaches what is deeper than any path that the system takes', async () => {
    await using at = await temporaryFolder();
    const name = 'n'.repeat(200);
    await run('bash', [
      '-c',
      `cd "$1"; for i in $(seq 40); do mkdir ${name}; cd ${name}; done; echo deep > f`,
      '-',
      at.path,
    ]);
    const { entries, contents, missed } = await storeTree(at.path);
    expect(missed).toEqual([]);
    const last = entries.at(-1);
    expect(last?.path.length).toBe(40 * 201 + 1);
    expect(last === undefined ? '' : contents.get(last)?.toString()).toBe('deep\n');
    await run('bash', ['-c', 'rm -rf "$1"/n*', '-', at.path]);
  });
});

it('leaves out what has a path of more than 16 KiB, and says so in a line', async () => {
  await using at = await temporaryFolder();
  const name = 'n'.repeat(200);
  const make = `cd "$1"; for i in $(seq 81); do mkdir ${name}; cd ${name}; done; mkdir -p ${'d'.repeat(150)}; touch f`;
  await run('bash', ['-c', make, '-', at.path]);
  const { entries, missed } = await storeTree(at.path);
  expect(entries.at(-1)?.path.length).toBe(81 * 201 + 1);
  const message = `${'n'.repeat(60)}…/${'d'.repeat(150)} has a path of more than 16 KiB, and is not stored.`;
  expect(missed.map((one) => [one.why, one.message])).toEqual([['unreadable', message]]);
  await run('bash', ['-c', 'rm -rf "$1"/n*', '-', at.path]);
});

describe('a tree that changes while it is scanned', () => {
  it('is told what has gone, and gives the rest', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { a: file(), b: folder({ c: file() }), d: file() });
    const { rest, missed } = await scanUntil(at.path, 'a');
    await rm(at.at('b'), { recursive: true });
    expect(await rest()).toEqual(['b', 'd']);
    expect(missed).toMatchObject([{ path: Buffer.from('b'), why: 'vanished' }]);
  });

  it('is not followed to where a link leads that has taken a folder’s place', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, {
      in: folder({ a: file(), b: folder({ c: file() }), d: file() }),
      out: folder({ c: file('secret') }),
    });
    const { rest, missed } = await scanUntil(at.at('in'), 'a');
    await rename(at.at('in', 'b'), at.at('in', 'was'));
    await symlink(at.at('out'), at.at('in', 'b'));
    expect(await rest()).toEqual(['b', 'd']);
    expect(missed).toMatchObject([{ path: Buffer.from('b'), why: 'vanished' }]);
  });

  it('opens nothing through a link that has taken a folder’s place', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { in: folder({ b: folder({ c: file() }) }), out: folder({ c: file('secret') }) });
    const { found } = await scanUntil(at.at('in'), 'b/c');
    await rename(at.at('in', 'b'), at.at('in', 'was'));
    await symlink(at.at('out'), at.at('in', 'b'));
    await expect(openScanned(at.at('in'), found, accounts)).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  it('gives the file that a program has put in the place of the one that was seen', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { b: folder({ c: file() }), new: file('saved anew') });
    const { found } = await scanUntil(at.path, 'b/c');
    await chmod(at.at('new'), 0o640);
    await rename(at.at('new'), at.at('b', 'c'));
    const opened = await openScanned(at.path, found, accounts);
    expect(opened.entry).toMatchObject({ path: Buffer.from('b/c'), mode: 0o640 });
    const read = Buffer.alloc(100);
    expect(read.toString('latin1', 0, await opened.read(read))).toBe('saved anew');
    expect(await opened.finish()).toEqual({ size: 10, extents: null, changed: false, failure: null });
    await opened.close();
  });

  it.each<[string, Thing, string]>([
    ['folder', folder(), 'ENOENT'],
    ['fifo', { kind: 'fifo' }, 'ENOENT'],
    ['symlink', { kind: 'symlink', target: 'other', mtime: 1 }, 'ELOOP'],
  ])('opens no %s in a file’s place', async (_, other, code) => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { b: folder({ c: file() }), other });
    const { found } = await scanUntil(at.path, 'b/c');
    await rm(at.at('b', 'c'));
    await rename(at.at('other'), at.at('b', 'c'));
    await expect(openScanned(at.path, found, accounts)).rejects.toMatchObject({ code });
  });

  it('opens no other file for one of several paths', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { b: file(), c: { kind: 'link' }, new: file() });
    const { found } = await scanUntil(at.path, 'b');
    await rename(at.at('new'), at.at('b'));
    await expect(openScanned(at.path, found, accounts)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it.each([
    ['grew', async (path: string) => writeFile(path, 'more', { flag: 'a' }), 5],
    ['shrank', async (path: string) => truncate(path, 2), 2],
    ['was written to', async (path: string) => utimes(path, 1, 5), 5],
  ])('says of a file that %s what was read, and that it changed', async (_, change, size) => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { f: file('12345') });
    const { found } = await scanUntil(at.path, 'f');
    const opened = await openScanned(at.path, found, accounts);
    await change(at.at('f'));
    expect(await opened.read(Buffer.alloc(100))).toBe(size);
    expect(await opened.finish()).toEqual({ size, extents: null, changed: true, failure: null });
    await opened.close();
  });

  it('takes a file as it is when it is opened, not as it was when it was seen', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { f: file('12345') });
    const { found } = await scanUntil(at.path, 'f');
    await writeFile(at.at('f'), 'another');
    await chmod(at.at('f'), 0o640);
    const opened = await openScanned(at.path, found, accounts);
    expect(await opened.read(Buffer.alloc(100))).toBe(7);
    expect(opened.entry.mode).toBe(0o640);
    expect(await opened.finish()).toEqual({ size: 7, extents: null, changed: false, failure: null });
    await opened.close();
  });
});

describe('what is left out', () => {
  const tree: Things = {
    '.git': folder({ config: file() }),
    'a.o': file(),
    'A.O': file(),
    build: folder({ 'x.txt': file() }),
    src: folder({ 'a.o': file(), build: file(), 'keep.o': file(), 'z\xff.tmp': file() }),
  };
  it.each([
    [
      ['*.o'],
      ['', '.git', '.git/config', 'A.O', 'build', 'build/x.txt', 'src', 'src/build', 'src/z\xff.tmp'],
    ],
    [
      ['*.o\n!keep.o\n# a comment\n.git/'],
      ['', 'A.O', 'build', 'build/x.txt', 'src', 'src/build', 'src/keep.o', 'src/z\xff.tmp'],
    ],
    [
      ['build/', '/.git', '*.o', '*.O'],
      ['', 'src', 'src/build', 'src/z\xff.tmp'],
    ],
    [
      ['/src/*', '!/src/build', '.git'],
      ['', 'A.O', 'a.o', 'build', 'build/x.txt', 'src', 'src/build'],
    ],
    [[Buffer.from('z\xff.tmp\r\n[.b]*\n**/a.o', 'latin1')], ['', 'A.O', 'src', 'src/keep.o']],
  ])('by %j', async (patterns, expected) => {
    await using at = await temporaryFolder();
    await makeTree(at.path, tree);
    expect(await pathsOf(at.path, { excludes: await makeExcludes(patterns) })).toEqual(expected);
  });

  it('is what git leaves out', async () => {
    const line = fc.stringMatching(/^!?\/?(\*\*\/)?[ab*?.]{1,3}(\/[ab*]{1,2})?\/?$/);
    const some = fc.dictionary(fc.stringMatching(/^[ab]{1,2}(\.a)?$/), fc.constant(file()), {
      maxKeys: 4,
      noNullPrototype: true,
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(line, { minLength: 1, maxLength: 4 }),
        some,
        some,
        async (lines, top, deep) => {
          await using at = await temporaryFolder();
          await makeTree(at.path, { ...top, x: folder({ ...deep, a: folder(deep) }) });
          await run('git', ['init', '-q'], { cwd: at.path });
          await writeFile(at.at('.git/info/exclude'), `${lines.join('\n')}\n`);
          const { stdout } = await run('git', ['ls-files', '-o', '--exclude-standard', '-z'], {
            cwd: at.path,
          });
          const { entries } = await storeTree(at.path, { excludes: await makeExcludes([...lines, '.git/']) });
          const files = entries.filter(({ kind }) => kind === 'file').map(({ path }) => path.toString());
          expect(files.toSorted()).toEqual(stdout.split('\0').slice(0, -1).toSorted());
        },
      ),
      { numRuns: 20 },
    );
  });

  it('is nothing where there are no patterns', async () => {
    expect(await makeExcludes([])).toBeNull();
    expect(await makeExcludes(['', '\n'])).toBeNull();
  });

  it('is what is in a folder with the tag of a cache, and only with that', async () => {
    await using at = await temporaryFolder();
    const tag = file('Signature: 8a477f597d28d172789f06886806bc55\n# made by a program');
    await makeTree(at.path, {
      cache: folder({ 'CACHEDIR.TAG': tag, a: file(), b: folder({ c: file() }) }),
      other: folder({ 'CACHEDIR.TAG': file('Signature: no'), a: file() }),
      odd: folder({ 'CACHEDIR.TAG': { kind: 'fifo' }, a: file() }),
    });
    expect(await pathsOf(at.path, { excludeCaches: true })).toEqual([
      '',
      'cache',
      'cache/CACHEDIR.TAG',
      'odd',
      'odd/CACHEDIR.TAG',
      'odd/a',
      'other',
      'other/CACHEDIR.TAG',
      'other/a',
    ]);
    expect(await pathsOf(at.path)).toContain('cache/b/c');
  });

  it('is what is larger than it may be', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { a: file('123'), b: file('1234'), c: folder() });
    expect(await pathsOf(at.path, { largest: 3 })).toEqual(['', 'a', 'c']);
  });

  it('is what lies on another file system, save the folder itself', async () => {
    await using at = await temporaryFolder();
    await mkdir(at.at('disk'));
    await using disk = await smallDisk(at.at('disk'), 1 << 20);
    if (disk === null) return;
    await writeFile(at.at('disk', 'f'), 'x');
    expect(await pathsOf(at.path)).toEqual(['', 'disk', 'disk/f']);
    expect(await pathsOf(at.path, { oneFileSystem: true })).toEqual(['', 'disk']);
  });
});

describe('owners', () => {
  it('have the names that the system’s plain files give them', async () => {
    await using at = await temporaryFolder();
    await writeFile(
      at.at('passwd'),
      'root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:\n+nis:x:5:\n# c\nbad line\nann:x:1000:1000::/:\n',
    );
    await writeFile(at.at('group'), 'staff:x:50:ann\n');
    const known = await readAccounts(at.path);
    expect([known.user(0), known.user(5), known.user(1000), known.group(50), known.group(51)]).toEqual([
      'root',
      null,
      'ann',
      'staff',
      null,
    ]);
    expect([known.uid('toor'), known.uid('ann'), known.gid('staff'), known.gid('x')]).toEqual([
      0,
      1000,
      50,
      null,
    ]);
    expect((await readAccounts(at.at('none'))).user(0)).toBeNull();
  });
});
