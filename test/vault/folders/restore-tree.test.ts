import {
  chmod,
  lchown,
  link,
  lstat,
  lutimes,
  mkdir,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VaultError } from '../../../src/errors.ts';
import { readAccounts } from '../../../src/vault/folders/accounts.ts';
import type { FolderEntry } from '../../../src/format/folder-index.ts';
import { restoreTree } from '../../../src/vault/folders/restore-tree.ts';
import type {
  RestoredTree,
  RestoreTreeOptions,
  TreeProblem,
} from '../../../src/vault/folders/restore-tree.ts';
import { smallDisk } from '../../support/small-disk.ts';
import { systemError } from '../../support/system-error.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { anyThings, factsOf, makeTree, readerOf, run, storeTree } from './tree.ts';
import type { Stored, Thing, Things } from './tree.ts';

const file = (content = 'x', mode = 0o644): Thing => ({
  kind: 'file',
  mode,
  mtime: 1.5,
  content: Buffer.from(content),
});
const folder = (things: Things = {}, mode = 0o755): Thing => ({ kind: 'folder', mode, mtime: 2.25, things });

const isRoot = process.getuid?.() === 0;

interface Outcome {
  readonly done: RestoredTree;
  readonly problems: TreeProblem[];
  readonly read: string[];
}

async function restore(
  stored: Stored,
  target: string,
  options: Partial<RestoreTreeOptions> = {},
): Promise<Outcome> {
  const problems: TreeProblem[] = [];
  const read: string[] = [];
  const reader = readerOf(stored);
  const done = await restoreTree(
    stored.entries,
    (entry) => {
      read.push(entry.path.toString('latin1'));
      return reader(entry);
    },
    target,
    { force: false, owners: false, onProblem: (problem) => problems.push(problem), ...options },
  );
  return { done, problems, read };
}

/** An entry as nobody's scan would give it. */
function crafted(path: string, facts: Partial<FolderEntry> = {}): FolderEntry {
  return {
    path: Buffer.from(path, 'latin1'),
    kind: 'file',
    mode: 0o644,
    owner: null,
    modified: { seconds: 1, nanoseconds: 0 },
    content: { size: 0, offset: 0, extents: null },
    target: null,
    linkGroup: null,
    device: null,
    attributes: [],
    ...facts,
  };
}
const craftedFolder = (path: string): FolderEntry =>
  crafted(path, { kind: 'folder', mode: 0o755, content: null });
const craftedLink = (path: string, target: string): FolderEntry =>
  crafted(path, { kind: 'symlink', mode: 0o777, content: null, target: Buffer.from(target) });

const storedOf = (entries: FolderEntry[], content = ''): Stored => ({
  entries: entries.map((entry) =>
    entry.content === null ? entry : { ...entry, content: { ...entry.content, size: content.length } },
  ),
  get contents() {
    return new Map(this.entries.map((entry) => [entry, Buffer.from(entry.content === null ? '' : content)]));
  },
  missed: [],
});

describe('a folder that is restored', () => {
  it('is what it was, whatever it was', async () => {
    await fc.assert(
      fc.asyncProperty(anyThings, async (things) => {
        await using at = await temporaryFolder();
        await mkdir(at.at('from'));
        await makeTree(at.at('from'), things);
        await utimes(at.at('from'), 5, 1_234_567_890.25);
        const stored = await storeTree(at.at('from'));
        const { done, problems } = await restore(stored, at.at('to'));
        expect(problems).toEqual([]);
        expect(done).toMatchObject({ missing: 0, notKept: 0, unchanged: 0 });
        expect(await factsOf(at.at('to'))).toEqual(await factsOf(at.at('from')));
        const names = [at.at('from'), at.at('to')];
        await run('diff', ['-r', '--no-dereference', ...names]);
        const judge = 'tar -C "$1" --format=gnu -cf - . | tar -C "$2" --compare -f -';
        await run('bash', ['-o', 'pipefail', '-c', judge, '-', ...names]);
        const rsync = 'command -v rsync >/dev/null || exit 0; rsync -aHnci --delete "$1/" "$2/"';
        expect((await run('bash', ['-c', rsync, '-', ...names])).stdout).toBe('');
      }),
      { numRuns: 15, endOnFailure: true },
    );
  });

  it("has nothing that a killed restore has left, and all that is somebody else's", async () => {
    await using at = await temporaryFolder();
    const [left, live, stored] = [
      '.29d395a4d255-4.partial',
      '.29d395a4d255-5.partial',
      '.0123456789ab-1.partial',
    ];
    await makeTree(at.path, { from: folder({ sub: folder({ b: file(), [stored]: file() }) }) });
    const tree = await storeTree(at.at('from'));
    await restore(tree, at.at('to'));
    const others = [
      `a${left}`,
      '.29d395a4d25-4.partial',
      '.29d395a4d255-4.partial~',
      '.29d395a4d255.partial',
    ];
    const places = ['', 'sub', 'unstored'].map((name) => at.at('to', name));
    await mkdir(at.at('to', 'unstored'));
    for (const place of places) {
      for (const name of [left, '.29d395a4d255.a\u00e9.partial', live, ...others])
        await writeFile(join(place, name), 'x');
    }
    await symlink('none', at.at('to', 'sub', '.29d395a4d255-6.partial'));
    await rm(at.at('to', 'sub', 'b'));
    const reader = readerOf(tree);
    const writeOn: RestoreTreeOptions = { force: true, owners: false };
    await restoreTree(
      tree.entries,
      async function* (entry) {
        // Another restore that goes on.
        for (const place of places) await writeFile(join(place, live), 'xx');
        yield* reader(entry);
      },
      at.at('to'),
      writeOn,
    );
    expect(await readdir(at.at('to'))).toEqual(expect.not.arrayContaining([left]));
    expect((await readdir(at.at('to'))).toSorted()).toEqual([live, ...others, 'sub', 'unstored'].toSorted());
    expect((await readdir(at.at('to', 'sub'))).toSorted()).toEqual([live, stored, ...others, 'b'].toSorted());
    expect(await readdir(at.at('to', 'unstored'))).toContain(left);
  });

  it('is written although content is long in coming, and another restore to the same place ends meanwhile', async () => {
    await using at = await temporaryFolder();
    for (const size of [1, 300_000]) {
      const from = `from-${size}`;
      await makeTree(at.path, { [from]: folder({ a: file('x'.repeat(size)), b: file('y') }) });
      const tree = await storeTree(at.at(from));
      const reader = readerOf(tree);
      const others: RestoredTree[] = [];
      await mkdir(at.at('to'));
      const problems: TreeProblem[] = [];
      await restoreTree(
        tree.entries,
        async function* (entry) {
          if (others.length === 0) {
            // It is dated from when its content is waited for.
            others.push((await restore(tree, at.at('to'), { force: true })).done);
            await rm(at.at('to', 'a'));
          }
          yield* reader(entry);
        },
        at.at('to'),
        { force: true, owners: false, onProblem: (problem) => problems.push(problem) },
      );
      expect(problems).toEqual([]);
      expect(others).toMatchObject([{ files: 2, missing: 0 }]);
      expect(await factsOf(at.at('to'))).toEqual(await factsOf(at.at(from)));
      await rm(at.at('to'), { recursive: true });
    }
  });

  it.each([
    ['to nothing', 'none'],
    ['to itself', 'to'],
  ])('takes the place of a link %s if it is told to', async (_, leadsTo) => {
    await using at = await temporaryFolder();
    await symlink(leadsTo, at.at('to'));
    const stored = storedOf([crafted('a')]);
    await expect(restore(stored, at.at('to'))).rejects.toMatchObject({
      code: 'already-exists',
      message: expect.stringContaining('is a symbolic link that leads nowhere'),
    });
    await restore(stored, at.at('to'), { force: true });
    expect(await readdir(at.at('to'))).toEqual(['a']);
    expect((await lstat(at.at('to'))).isDirectory()).toBe(true);
    expect(await readdir(at.path)).toEqual(['to']);
  });

  it('tells of a time that is not stored, and calls the target by its name', async () => {
    await using at = await temporaryFolder();
    const modified = null;
    const entries = [
      { ...craftedFolder(''), modified },
      crafted('a', { modified }),
      { ...craftedFolder('b'), modified },
      { ...craftedLink('c', 'a'), modified },
    ];
    const { done, problems } = await restore(storedOf(entries), at.at('to'));
    expect(done.notKept).toBe(4);
    const said = 'is restored without a modification time, since none is stored.';
    expect(problems.map(({ kind, message }) => [kind, message])).toEqual(
      ['a', 'b', 'c', at.at('to')].map((name) => ['not-kept', `${name} ${said}`]),
    );
  });

  it('has the holes that it had', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, {
      from: folder({
        s: {
          kind: 'sparse',
          pieces: [
            { hole: 32 << 20, data: 1 },
            { hole: 8 << 20, data: 0 },
          ],
        },
      }),
    });
    await restore(await storeTree(at.at('from')), at.at('to'));
    const [before, after] = await Promise.all([stat(at.at('from', 's')), stat(at.at('to', 's'))]);
    expect([after.size, after.blocks < 300]).toEqual([before.size, true]);
  });

  it('needs a folder to be in, and no place that is taken', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, {
      from: folder({ a: file() }),
      full: folder({ b: file() }),
      file: file(),
      empty: folder(),
    });
    const stored = await storeTree(at.at('from'));
    await expect(restore(stored, at.at('none', 'to'))).rejects.toMatchObject({ code: 'invalid-input' });
    await expect(restore(stored, at.at('full'))).rejects.toMatchObject({ code: 'already-exists' });
    await expect(restore(stored, at.at('file'), { force: true })).rejects.toMatchObject({
      code: 'already-exists',
    });
    expect(await readdir(at.at('full'))).toEqual(['b']);
    await restore(stored, at.at('empty'));
    expect(await factsOf(at.at('empty'))).toEqual(await factsOf(at.at('from')));
  });

  it('may lack what is in folders that nobody may enter, and later paths of files in those', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, {
      from: folder({
        a: folder({ deep: folder({ f: file() }, 0o444) }, 0o600),
        b: folder({ g: { kind: 'link' } }, 0o555),
      }),
    });
    const stored = await storeTree(at.at('from'));
    expect((await restore(stored, at.at('to'))).problems).toEqual([]);
    expect(await factsOf(at.at('to'))).toEqual(await factsOf(at.at('from')));
  });

  it('can be deeper than any path that the system takes', async () => {
    await using at = await temporaryFolder();
    const name = 'n'.repeat(200);
    const parts = Array.from({ length: 40 }, (_, index) =>
      Array.from({ length: index + 1 }, () => name).join('/'),
    );
    const deepest = parts.at(-1) ?? '';
    const entries = [...parts.map(craftedFolder), crafted(`${deepest}/f`)];
    const { problems } = await restore(storedOf(entries, 'deep'), at.at('to'));
    expect(problems).toEqual([]);
    const { entries: found } = await storeTree(at.at('to'));
    expect(found.at(-1)?.path.toString()).toBe(`${deepest}/f`);
    await run('rm', ['-rf', at.at('to')]);
  });

  it('makes named pipes, wherever they are, with permissions and times', async () => {
    await using at = await temporaryFolder();
    const modified = { seconds: 1_000_000_000, nanoseconds: 5000 };
    const odd = Buffer.from([0x71, 0xff]);
    const within = Buffer.concat([odd, Buffer.from('/p')]);
    const entries = [
      crafted('a', { kind: 'fifo', content: null, mode: 0o640, modified }),
      crafted('b', { kind: 'fifo', content: null, mode: 0o1777, linkGroup: 1 }),
      crafted('c', { kind: 'fifo', content: null, mode: 0o1777, linkGroup: 1 }),
      { ...craftedFolder('q'), path: odd },
      { ...crafted('p', { kind: 'fifo', content: null, mode: 0o600 }), path: within },
    ];
    const { done, problems } = await restore(storedOf(entries), at.at('to'));
    expect(problems).toEqual([]);
    expect(done).toMatchObject({ files: 4, folders: 1, missing: 0 });
    const a = await lstat(at.at('to/a'), { bigint: true });
    expect([a.isFIFO(), Number(a.mode) & 0o7777, a.mtimeNs / 1000n]).toEqual([
      true,
      0o640,
      1_000_000_000_000_005n,
    ]);
    const [b, c] = await Promise.all([lstat(at.at('to/b')), lstat(at.at('to/c'))]);
    expect([b.isFIFO(), b.mode & 0o7777, b.ino]).toEqual([true, 0o1777, c.ino]);
    const deep = await lstat(Buffer.concat([Buffer.from(at.at('to/')), within]));
    expect(deep.isFIFO()).toBe(true);
    const again = await restore(storedOf(entries), at.at('to'), { force: true });
    expect(again.done).toMatchObject({ files: 0, unchanged: 4 });
    expect((await readdir(at.at('to'))).length).toBe(4);
  });

  it('makes devices where it may, and says what it may not', async () => {
    await using at = await temporaryFolder();
    const device = { major: 1, minor: 3 };
    const entries = [
      crafted('d', { kind: 'char-device', content: null, device }),
      crafted('e', { kind: 'block-device', content: null, device: { major: 7, minor: 1 } }),
      crafted('f', { kind: 'char-device', content: null, device }),
    ];
    await mkdir(at.at('to'));
    await writeFile(at.at('to/f'), 'in the way');
    const { done, problems } = await restore(storedOf(entries), at.at('to'), { force: true });
    const told = problems.map(({ path, kind, message }) => `${path.toString()} ${kind}: ${message}`);
    const why = /\((?<why>.+)\)/.exec(told[0] ?? '')?.groups?.['why'];
    const refusals = ['d', 'e', 'f'].map(
      (name) =>
        `${name} unsupported: ${name} is a device, which could not be made here (${why}). A tar (-o -) has it.`,
    );
    // Not everybody may, nor may root everywhere.
    const may = told.length === 0;
    expect(told).toEqual(may ? [] : refusals);
    expect(done).toMatchObject(may ? { files: 3, missing: 0 } : { files: 0, missing: 3 });
    const there = (await readdir(at.at('to'))).map(async (name) => {
      const facts = await lstat(at.at(`to/${name}`));
      return [name, facts.isCharacterDevice(), facts.isBlockDevice(), facts.rdev];
    });
    const devices = [
      ['d', true, false, 259],
      ['e', false, true, 1793],
      ['f', true, false, 259],
    ];
    expect(await Promise.all(there)).toEqual(may ? devices : [['f', false, false, 0]]);
    const again = await restore(storedOf(entries), at.at('to'), { force: true });
    expect(again.done.unchanged).toBe(may ? 3 : 0);
  });

  it('goes on without a file whose content is damaged, and leaves nothing of it', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { from: folder({ a: file('aaa'), b: file('bbb'), c: file('ccc') }) });
    const stored = await storeTree(at.at('from'));
    const problems: TreeProblem[] = [];
    const options = {
      force: false,
      owners: false,
      onProblem: (problem: TreeProblem) => problems.push(problem),
    };
    const failing = (code: 'damaged' | 'unavailable') =>
      async function* read(entry: FolderEntry): AsyncGenerator<Uint8Array> {
        if (entry.path.toString() === 'b') {
          yield Buffer.from('b');
          throw new VaultError(code, 'no such luck');
        }
        yield* readerOf(stored)(entry);
      };
    const done = await restoreTree(stored.entries, failing('damaged'), at.at('to'), options);
    expect(done).toMatchObject({ files: 2, missing: 1 });
    const message = 'b is not restored. no such luck';
    expect(problems).toMatchObject([{ path: Buffer.from('b'), kind: 'damaged', message }]);
    expect(await readdir(at.at('to'))).toEqual(['a', 'c']);
    await expect(
      restoreTree(stored.entries, failing('unavailable'), at.at('t2'), options),
    ).rejects.toMatchObject({ code: 'unavailable' });
    expect(await readdir(at.at('t2'))).toEqual(['a']);
  });

  it('gives a file its content at a later path where the target refuses the first one', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, {
      from: folder({ a: file('one'), b: file() }),
      to: folder({ a: folder({ inTheWay: file() }) }),
    });
    for (const path of ['c', 'd']) await link(at.at('from', 'a'), at.at('from', path));
    const stored = await storeTree(at.at('from'));
    const { done, problems, read } = await restore(stored, at.at('to'), { force: true });
    expect(problems).toMatchObject([{ path: Buffer.from('a'), kind: 'not-restored' }]);
    expect(read).toEqual(['b', 'a']);
    expect(done).toMatchObject({ files: 3, missing: 1 });
    expect(await readFile(at.at('to', 'c'), 'utf8')).toBe('one');
    expect((await stat(at.at('to', 'd'))).ino).toBe((await stat(at.at('to', 'c'))).ino);
  });

  it.each([
    ['too short', 'ab'],
    ['too long', 'abcd'],
  ])('takes no content that is %s', async (_, content) => {
    await using at = await temporaryFolder();
    const entry = crafted('f', { content: { size: 3, offset: 0, extents: null } });
    const stored = { entries: [entry], contents: new Map([[entry, Buffer.from(content)]]), missed: [] };
    const { problems } = await restore(stored, at.at('to'));
    expect(problems).toMatchObject([{ kind: 'damaged' }]);
    expect(await readdir(at.at('to'))).toEqual([]);
  });

  it('ends when its disk is full, or when it is told to', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, {
      from: folder({
        a: { kind: 'file', mode: 0o644, mtime: 1, content: Buffer.alloc(4 << 20, 1) },
        b: file(),
      }),
    });
    const stored = await storeTree(at.at('from'));
    await expect(restore(stored, at.at('t'), { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'interrupted',
    });
    for (const atOnce of [true, false]) {
      const refused = restoreTree(
        stored.entries,
        () => {
          throw systemError('EDQUOT', { atOnce });
        },
        at.at(`quota-${atOnce}`),
        { force: false, owners: false },
      );
      await expect(refused).rejects.toMatchObject({
        code: 'storage-full',
        message: expect.stringMatching(/quota/),
      });
    }
    await using disk = await smallDisk(at.at('disk'), 1 << 20);
    if (disk === null) return;
    await expect(restore(stored, at.at('disk', 'to'))).rejects.toMatchObject({ code: 'storage-full' });
    expect(await readdir(at.at('disk', 'to'))).toEqual([]);
  });
});

describe('a folder that is restored over another', () => {
  it('is left where it is right, replaced where it differs, and keeps what else is there', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, {
      from: folder({
        a: file('one'),
        b: folder({ c: file('two'), l: { kind: 'symlink', target: 'c', mtime: 3 } }, 0o555),
        d: file('six', 0o600),
        e: { kind: 'link' },
        f: folder({ g: file() }),
        h: file(),
      }),
    });
    const stored = await storeTree(at.at('from'));
    await restore(stored, at.at('to'));
    const again = await restore(stored, at.at('to'), { force: true });
    expect(again.read).toEqual([]);
    expect(again.done).toEqual({ files: 0, unchanged: 7, folders: 2, symlinks: 0, missing: 0, notKept: 0 });

    await writeFile(at.at('to', 'a'), 'other');
    await chmod(at.at('to', 'b/c'), 0o777);
    await rm(at.at('to', 'b/l'));
    await symlink('/etc/passwd', at.at('to', 'b/l'));
    await rm(at.at('to', 'e'));
    await rm(at.at('to', 'f'), { recursive: true });
    await writeFile(at.at('to', 'f'), 'a file');
    await rm(at.at('to', 'h'));
    await symlink(at.at('outside'), at.at('to', 'h'));
    await chmod(at.at('to'), 0o755);
    const mended = await restore(stored, at.at('to'), { force: true });
    expect(mended.problems).toEqual([]);
    expect(mended.read).toEqual(['a', 'f/g', 'h']);
    expect(await factsOf(at.at('to'))).toEqual(await factsOf(at.at('from')));
    await expect(lstat(at.at('outside'))).rejects.toMatchObject({ code: 'ENOENT' });

    await writeFile(at.at('to', 'mine'), 'mine');
    await restore(stored, at.at('to'), { force: true });
    expect(await readFile(at.at('to', 'mine'), 'utf8')).toBe('mine');
  });

  it('goes through no link that is there, and replaces no folder by a file', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, {
      from: folder({ a: folder({ b: file('new'), c: folder({ d: file() }) }), x: file(), z: file() }),
      out: folder({ b: file('old') }),
    });
    const stored = await storeTree(at.at('from'));
    await mkdir(at.at('to'));
    await symlink('../out', at.at('to', 'a'));
    await mkdir(at.at('to', 'x'));
    const { problems, done } = await restore(stored, at.at('to'), { force: true });
    expect(problems.map(({ path, kind }) => [path.toString(), kind])).toEqual([
      ['a', 'not-restored'],
      ['x', 'not-restored'],
    ]);
    expect(done).toMatchObject({ files: 1, missing: 5 });
    expect(await readdir(at.at('out'))).toEqual(['b']);
    expect(await readFile(at.at('out', 'b'), 'utf8')).toBe('old');
    expect(await readlink(at.at('to', 'a'))).toBe('../out');
  });

  it('may be a link by its own name', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { from: folder({ a: file() }), real: folder() });
    await symlink('real', at.at('to'));
    await restore(await storeTree(at.at('from')), at.at('to'));
    expect(await readdir(at.at('real'))).toEqual(['a']);
  });

  it('has links and pipes with the times, permissions and owners that are stored', async () => {
    await using at = await temporaryFolder();
    const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, user: null, group: null };
    const modified = { seconds: 1_000_000_000, nanoseconds: 5000 };
    const entries = [
      { ...craftedFolder(''), owner },
      { ...craftedLink('l', 'x'), owner, modified },
      crafted('p', { kind: 'fifo', content: null, mode: 0o644, owner, modified }),
    ];
    const again = async (): Promise<Outcome> =>
      restore(storedOf(entries), at.at('to'), { force: true, owners: isRoot });
    await again();
    const first = await factsOf(at.at('to'));
    const { ino } = await lstat(at.at('to', 'p'));
    for (const name of ['l', 'p']) await lutimes(at.at('to', name), 1, 1);
    expect((await again()).done).toMatchObject({ unchanged: 2, notKept: 0 });
    expect(await factsOf(at.at('to'))).toEqual(first);
    // Whoever reads from it goes on doing so.
    expect((await lstat(at.at('to', 'p'))).ino).toBe(ino);
    await chmod(at.at('to', 'p'), 0o600);
    if (isRoot) await lchown(at.at('to', 'l'), 5, 6);
    expect((await again()).done).toMatchObject({ files: 1, symlinks: isRoot ? 1 : 0, notKept: 0 });
    expect(await factsOf(at.at('to'))).toEqual(first);
    expect((await again()).done).toMatchObject({ unchanged: 2, files: 0, symlinks: 0 });
  });

  it('says of a link and of a name that are too long here that a tar has them', async () => {
    await using at = await temporaryFolder();
    const entries = [crafted('f'.repeat(300)), craftedLink('l', 'x'.repeat(60_000))];
    const { done, problems } = await restore(storedOf(entries), at.at('to'));
    expect(done).toMatchObject({ missing: 2, files: 0, symlinks: 0 });
    expect(problems.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^f+ cannot be the name of a file there\. A tar \(-o -\) has it\.$/),
      'l cannot be made here: its target is too long for a symbolic link. A tar (-o -) has it.',
    ]);
  });

  it('says what of a link that is there already it has not kept', async () => {
    await using at = await temporaryFolder();
    const entries = [{ ...craftedLink('l', 'x'), modified: null }];
    for (const count of [1, 1]) {
      const { done, problems } = await restore(storedOf(entries), at.at('to'), { force: true });
      expect(done.notKept).toBe(count);
      expect(problems).toMatchObject([
        { kind: 'not-kept', message: expect.stringMatching(/none is stored/) },
      ]);
    }
  });

  it('does not touch the other names of a file that it replaces', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { from: folder({ a: file('new') }), to: folder() });
    await writeFile(at.at('precious'), 'old');
    await link(at.at('precious'), at.at('to', 'a'));
    await restore(await storeTree(at.at('from')), at.at('to'), { force: true });
    expect(await readFile(at.at('precious'), 'utf8')).toBe('old');
    expect(await readFile(at.at('to', 'a'), 'utf8')).toBe('new');
  });
});

/** What is there after a restore of some entries, two folders deep. */
const outside = async (
  entries: FolderEntry[],
): Promise<{ outside: string[]; inside: string[]; problems: string[] }> => {
  await using at = await temporaryFolder();
  await mkdir(at.at('w'));
  const { problems } = await restore(storedOf(entries, 'evil'), at.at('w', 'to'));
  const found = await storeTree(at.at('w', 'to'));
  const inside = found.entries.slice(1).map(({ path }) => path.toString());
  return {
    outside: [...(await readdir(at.path)), ...(await readdir(at.at('w')))],
    inside,
    problems: problems.map(({ path }) => path.toString()),
  };
};

async function changing(path: string): Promise<object> {
  const { mode, mtimeMs, ino } = await lstat(path);
  return { mode, mtimeMs, ino };
}

describe('a folder that is restored over files with other paths', () => {
  it('sets nothing on what lies elsewhere', async () => {
    await using at = await temporaryFolder();
    const pipe: Thing = { kind: 'fifo' };
    await makeTree(at.path, { from: folder({ a: file('x', 0o600), p: pipe }), to: folder() });
    await makeTree(at.path, { outside: file(), pipe });
    await lutimes(at.at('pipe'), 1, 1);
    await link(at.at('outside'), at.at('to', 'a'));
    await link(at.at('pipe'), at.at('to', 'p'));
    const before = [await changing(at.at('outside')), await changing(at.at('pipe'))];
    const stored = await storeTree(at.at('from'));
    expect((await restore(stored, at.at('to'), { force: true })).done).toMatchObject({ files: 2 });
    expect(await factsOf(at.at('to'))).toEqual(await factsOf(at.at('from')));
    const after = [await changing(at.at('outside')), await changing(at.at('pipe'))];
    expect(after).toEqual(before);
    expect((await restore(stored, at.at('to'), { force: true })).done).toMatchObject({ unchanged: 2 });
  });

  it.each([
    ['one with other permissions', file('x', 0o600), file()],
    ['one that looks the same', file('y'), file('x')],
  ])('makes two of what are two: %s', async (_, a, b) => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { from: folder({ a, b }) });
    const stored = await storeTree(at.at('from'));
    await restore(stored, at.at('to'));
    await rm(at.at('to', 'b'));
    await link(at.at('to', 'a'), at.at('to', 'b'));
    expect((await restore(stored, at.at('to'), { force: true })).done.files).toBeGreaterThan(0);
    expect(await factsOf(at.at('to'))).toEqual(await factsOf(at.at('from')));
    expect((await restore(stored, at.at('to'), { force: true })).done).toMatchObject({ unchanged: 2 });
  });

  it('has paths of one file stay one, also where one of another file is in their midst', async () => {
    await using at = await temporaryFolder();
    await makeTree(at.path, { from: folder({ a: file(), c: file(), x: folder({ d: file() }) }) });
    await link(at.at('from', 'a'), at.at('from', 'b'));
    await link(at.at('from', 'a'), at.at('from', 'x', 'e'));
    await utimes(at.at('from', 'x'), 2, 2.25);
    const stored = await storeTree(at.at('from'));
    await restore(stored, at.at('to'));
    const { ino } = await lstat(at.at('to', 'a'));
    expect((await restore(stored, at.at('to'), { force: true })).done).toMatchObject({ unchanged: 5 });
    expect(await lstat(at.at('to', 'x', 'e'))).toMatchObject({ ino, nlink: 3 });
    await rm(at.at('to', 'c'));
    await link(at.at('to', 'a'), at.at('to', 'c'));
    expect((await restore(stored, at.at('to'), { force: true })).done).toMatchObject({ unchanged: 4 });
    expect(await factsOf(at.at('to'))).toEqual(await factsOf(at.at('from')));
    await chmod(at.at('to', 'b'), 0o600);
    await restore(stored, at.at('to'), { force: true });
    expect(await factsOf(at.at('to'))).toEqual(await factsOf(at.at('from')));
    expect((await restore(stored, at.at('to'), { force: true })).done).toMatchObject({ unchanged: 5 });
  });
});

describe('hostile entries', () => {
  it.each([
    ['..', [crafted('..')], [], ['..']],
    ['../x', [crafted('../x')], [], ['../x']],
    ['a/../../x', [craftedFolder('a'), crafted('a/..'), crafted('a/../../x')], ['a'], ['a/..', 'a/../../x']],
    ['a folder ..', [craftedFolder('..'), crafted('../x')], [], ['..']],
    ['/x', [crafted('/x')], [], ['/x']],
    ['a//x', [craftedFolder('a'), crafted('a//x')], ['a'], ['a//x']],
    ['a zero byte', [crafted('a\0b')], [], ['a\0b']],
    ['a link, then through it', [craftedLink('a', '..'), crafted('a/x')], ['a'], ['a/x']],
    ['a file, then below it', [crafted('a'), crafted('a/x')], ['a'], ['a/x']],
    ['no folder', [crafted('a/b')], [], ['a/b']],
    ['another path of nothing', [crafted('a', { content: null, linkGroup: 1 })], [], ['a']],
  ])('with %s leave nothing outside of the target', async (_, entries, inside, problems) => {
    expect(await outside(entries)).toEqual({ outside: ['w', 'to'], inside, problems });
  });

  it.each([
    ['twice', [crafted('a'), crafted('a')]],
    ['a link, then a folder of its name', [craftedLink('a', '..'), craftedFolder('a'), crafted('a/x')]],
    ['backwards', [crafted('b'), crafted('a')]],
  ])('that come %s are refused', async (_, entries) => {
    await expect(outside(entries)).rejects.toMatchObject({ code: 'damaged' });
  });

  it('make no program that runs as somebody else, which is told once', async () => {
    await using at = await temporaryFolder();
    const entries = ['a', 'b', 'c'].map((path) =>
      crafted(path, { mode: 0o6755, owner: { uid: 0, gid: 0, user: null, group: null } }),
    );
    for (const force of [false, true]) {
      const { done, problems } = await restore(storedOf(entries), at.at('to'), { force });
      expect(done).toMatchObject({ notKept: 3, unchanged: force ? 3 : 0 });
      expect(problems).toEqual([
        {
          path: Buffer.from('a'),
          kind: 'not-kept',
          message:
            'a is restored without set-user-ID or set-group-ID, since its owner and group are not restored. So are 2 others.',
        },
      ]);
      expect((await stat(at.at('to', 'a'))).mode & 0o7777).toBe(0o755);
    }
  });
});

async function owned(path: string): Promise<number[]> {
  const { uid, gid, mode } = await lstat(path);
  return [uid, gid, mode & 0o7777];
}

describe('owners', () => {
  it.runIf(isRoot)('are given by name, else by number, and only if asked for', async () => {
    await using at = await temporaryFolder();
    const entries = [
      crafted('', {
        kind: 'folder',
        content: null,
        mode: 0o750,
        owner: { uid: 7, gid: 8, user: null, group: null },
      }),
      crafted('a', {
        mode: 0o4755,
        owner: { uid: 12_345, gid: 12_345, user: 'nobody', group: 'unheard-of' },
      }),
      { ...craftedLink('l', 'a'), owner: { uid: 9, gid: 10, user: null, group: null } },
    ];
    const accounts = await readAccounts();
    await restore(storedOf(entries), at.at('to'), { owners: true });
    expect(await owned(at.at('to'))).toEqual([7, 8, 0o750]);
    expect(await owned(at.at('to', 'a'))).toEqual([accounts.uid('nobody'), 12_345, 0o4755]);
    expect(await owned(at.at('to', 'l'))).toEqual([9, 10, 0o777]);
    await restore(storedOf(entries), at.at('t2'));
    expect(await owned(at.at('t2', 'a'))).toEqual([0, 0, 0o755]);
    await lutimes(at.at('t2', 'a'), 1, 1);
    const again = await restore(storedOf(entries), at.at('t2'), { owners: true, force: true });
    expect(again.done).toMatchObject({ unchanged: 1, symlinks: 1, notKept: 0 });
    expect(await owned(at.at('t2', 'a'))).toEqual([accounts.uid('nobody'), 12_345, 0o4755]);
    expect(await owned(at.at('t2', 'l'))).toEqual([9, 10, 0o777]);
  });
});
