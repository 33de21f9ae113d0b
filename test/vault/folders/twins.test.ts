import { mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { expect, it, vi } from 'vitest';
import type * as diskCallsModule from '../../../src/vault/folders/disk-calls.ts';
import { restoreTree } from '../../../src/vault/folders/restore-tree.ts';
import type { TreeProblem } from '../../../src/vault/folders/restore-tree.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { makeTree, readerOf, storeTree } from './tree.ts';
import type { Thing, Things } from './tree.ts';

/** Whether names are one if they differ in case only, as on the disks of macOS and Windows. */
const disk = vi.hoisted(() => ({
  folds: false,
  fold(path: string): string {
    const at = path.lastIndexOf('/') + 1;
    return this.folds ? path.slice(0, at) + path.slice(at).toLowerCase() : path;
  },
}));

vi.mock(import('../../../src/vault/folders/disk-calls.ts'), async (original) => {
  const real: typeof diskCallsModule = await original();
  return {
    ...real,
    async diskCalls(path, signal) {
      const calls = await real.diskCalls(path, signal);
      return {
        ...calls,
        lstat: (one) => calls.lstat(disk.fold(one)),
        readlink: (one) => calls.readlink(disk.fold(one)),
        open: (one, ...others) => calls.open(disk.fold(one), ...others),
        mkdir: (one, mode) => calls.mkdir(disk.fold(one), mode),
        symlink: (target, one) => calls.symlink(target, disk.fold(one)),
        link: (one, other) => calls.link(disk.fold(one), disk.fold(other)),
        rename: (one, other) => calls.rename(disk.fold(one), disk.fold(other)),
        unlink: (one) => calls.unlink(disk.fold(one)),
        chmod: (one, mode) => calls.chmod(disk.fold(one), mode),
        lutimes: (one, seconds) => calls.lutimes(disk.fold(one), seconds),
      };
    },
  };
});

const file = (content: string): Thing => ({
  kind: 'file',
  mode: 0o644,
  mtime: 1,
  content: Buffer.from(content),
});
const folder = (things: Things): Thing => ({ kind: 'folder', mode: 0o755, mtime: 2, things });

const TREE: Things = {
  A: file('upper'),
  D: folder({ x: file('in D'), X: file('in D too') }),
  L: { kind: 'symlink', target: 'somewhere', mtime: 3 },
  a: file('lower'),
  b: file('linked'),
  c: { kind: 'link' },
  d: folder({ y: file('in d') }),
  l: file('a file'),
};
const TWINS = ['D/x', 'a', 'd', 'l'];

it.each([
  ['a new folder', false],
  ['one that is there', true],
])(
  'of entries with one name on a disk the first is restored into %s, and the others are told of',
  async (_, force) => {
    await using at = await temporaryFolder();
    await mkdir(at.at('from'));
    disk.folds = false;
    await makeTree(at.at('from'), TREE);
    const stored = await storeTree(at.at('from'));
    disk.folds = true;
    if (force) {
      await mkdir(at.at('to'));
      await symlink('elsewhere', at.at('to', 'l'));
    }
    const restore = async (): Promise<string[]> => {
      const problems: TreeProblem[] = [];
      const options = { force, owners: false, onProblem: (one: TreeProblem) => problems.push(one) };
      await restoreTree(stored.entries, readerOf(stored), at.at('to'), options);
      return problems.map(({ path }) => path.toString());
    };
    expect(await restore()).toEqual(TWINS);
    // To repeat it finds nothing new.
    const again = force ? await restore() : TWINS;
    expect(again).toEqual(TWINS);
    disk.folds = false;
    expect(await readdir(at.at('to'), { recursive: true })).toEqual(['a', 'b', 'c', 'd', 'l', 'd/x']);
    expect(await readFile(at.at('to', 'a'), 'utf8')).toBe('upper');
    expect(await readFile(at.at('to', 'd/x'), 'utf8')).toBe('in D too');
  },
);
