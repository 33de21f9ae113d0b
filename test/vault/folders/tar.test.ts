import { createWriteStream } from 'node:fs';
import { mkdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FolderEntry } from '../../../src/format/folder-index.ts';
import { tarStream } from '../../../src/vault/folders/tar.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { anyThings, factsOf, makeTree, readerOf, run, storeTree } from './tree.ts';
import type { Stored } from './tree.ts';

async function writeTar(stored: Stored, path: string, prefix = ''): Promise<void> {
  await pipeline(
    Readable.from(tarStream(stored.entries, readerOf(stored), { prefix })),
    createWriteStream(path),
  );
}

const entry = (path: string, facts: Partial<FolderEntry> = {}): FolderEntry => ({
  path: Buffer.from(path, 'latin1'),
  kind: 'file',
  mode: 0o644,
  owner: { uid: 0, gid: 0, user: null, group: null },
  modified: { seconds: 1, nanoseconds: 0 },
  content: { size: 0, offset: 0, extents: null },
  target: null,
  linkGroup: null,
  device: null,
  attributes: [],
  ...facts,
});

/** What Python's own reader says of an archive: another program than the one that unpacks it. */
const READ = `
import sys, tarfile, json
with tarfile.open(sys.argv[1], errors='surrogateescape') as tar:
    print(json.dumps([[m.name.encode('utf-8', 'surrogateescape').decode('latin1'), m.type.decode(), m.size, m.mode, m.uid, m.gid,
        m.uname, m.gname, float(m.mtime), m.linkname, m.devmajor, m.devminor, m.pax_headers.get('mtime')] for m in tar]))
`;
const readByPython = async (path: string): Promise<unknown[][]> => {
  const { stdout } = await run('python3', ['-c', READ, path], { maxBuffer: 1 << 26 });
  const members: unknown[][] = JSON.parse(stdout);
  return members;
};

/** Also of what GNU tar has written bsdtar gives `.` no time, and others to times before 1970 that are no whole seconds. */
function isMistaken({ path, modified }: { path: string; modified: string | null }): boolean {
  return path === '' || /^-.*\.0*[1-9]/.test(modified ?? '');
}

describe('a tar of a folder', () => {
  it('is unpacked by other programs to what the folder was', async () => {
    const unpack = {
      bsdtar: 'cd "$2" && bsdtar -xpf "$1"',
      tar: 'cd "$2" && tar --warning=no-timestamp --warning=no-unknown-keyword --delay-directory-restore -xpf "$1"',
    };
    const hasBsdtar = await run('bsdtar', ['--version']).then(
      () => true,
      () => false,
    );
    const programs = hasBsdtar ? (['bsdtar', 'tar'] as const) : (['tar'] as const);
    await fc.assert(
      fc.asyncProperty(anyThings, fc.constantFrom(...programs), async (things, program) => {
        await using at = await temporaryFolder();
        await mkdir(at.at('from'));
        await makeTree(at.at('from'), things);
        await utimes(at.at('from'), 5, 1_234_567_890.25);
        await writeTar(await storeTree(at.at('from')), at.at('tar'));
        await mkdir(at.at('to'));
        const { stderr } = await run('bash', ['-c', unpack[program], '-', at.at('tar'), at.at('to')]);
        expect(stderr).toBe('');
        const [from, to] = await Promise.all([factsOf(at.at('from')), factsOf(at.at('to'))]);
        const mistaken = new Set(program === 'tar' ? [] : from.filter(isMistaken).map(({ path }) => path));
        const taken = (facts: typeof from): typeof from =>
          facts.map((fact) => (mistaken.has(fact.path) ? { ...fact, modified: null } : fact));
        expect(taken(to)).toEqual(taken(from));
        await run('diff', ['-r', '--no-dereference', at.at('from'), at.at('to')]);
      }),
      { numRuns: 12, endOnFailure: true },
    );
  });

  it('has paths below a name, links to them, and what is no file', async () => {
    await using at = await temporaryFolder();
    const device = { major: 8, minor: 70_000 };
    const stored: Stored = {
      entries: [
        entry('', { kind: 'folder', content: null, mode: 0o700 }),
        entry('a', { linkGroup: 1, owner: { uid: 3_000_000, gid: 5, user: 'j\u00f6rg', group: 'tty' } }),
        entry('b', { kind: 'block-device', content: null, device }),
        entry('c', { linkGroup: 1, content: null }),
        entry('p', { kind: 'fifo', content: null, modified: null, mode: null, owner: null }),
        entry('s', { kind: 'symlink', content: null, target: Buffer.from('x'.repeat(150)) }),
        entry('\xff', { modified: { seconds: -2, nanoseconds: 500_000_000 } }),
      ],
      contents: new Map(),
      missed: [],
    };
    await writeTar(stored, at.at('tar'), 'docs');
    const none = ['', ''];
    expect(await readByPython(at.at('tar'))).toEqual([
      ['docs', '5', 0, 0o700, 0, 0, ...none, 1, '', 0, 0, null],
      ['docs/a', '0', 0, 0o644, 3_000_000, 5, 'j\u00f6rg', 'tty', 1, '', 0, 0, null],
      ['docs/b', '4', 0, 0o644, 0, 0, ...none, 1, '', 8, 70_000, null],
      ['docs/c', '1', 0, 0o644, 0, 0, ...none, 1, 'docs/a', 0, 0, null],
      ['docs/p', '6', 0, 0o644, 0, 0, ...none, 0, '', 0, 0, null],
      ['docs/s', '2', 0, 0o644, 0, 0, ...none, 1, 'x'.repeat(150), 0, 0, null],
      ['docs/\xff', '0', 0, 0o644, 0, 0, ...none, -1.5, '', 0, 0, '-1.5'],
    ]);
    const { stdout } = await run('tar', ['--quoting-style=escape', '-tf', at.at('tar')]);
    expect(stdout.split('\n').slice(0, -1)).toEqual([
      'docs/',
      'docs/a',
      'docs/b',
      'docs/c',
      'docs/p',
      'docs/s',
      String.raw`docs/\377`,
    ]);
  });

  it.each([
    [{ seconds: 1_714_979_289, nanoseconds: 123_456_789 }, '1714979289.123456789'],
    [{ seconds: -1, nanoseconds: 999_999_999 }, '-0.000000001'],
    [{ seconds: -5, nanoseconds: 0 }, '-5'],
    [{ seconds: 8 ** 11, nanoseconds: 0 }, '8589934592'],
  ])('says the time %j as %s', async (modified, text) => {
    await using at = await temporaryFolder();
    await writeTar({ entries: [entry('f', { modified })], contents: new Map(), missed: [] }, at.at('tar'));
    expect((await readByPython(at.at('tar')))[0]?.at(-1)).toBe(text);
  });

  it('holds files of more than 8 GiB', async () => {
    const size = 9 * 2 ** 30;
    const large = entry('large', { content: { size, offset: 0, extents: [] } });
    const archive = tarStream([large], () => Readable.from([]), { prefix: '' });
    const first = await archive.next();
    await archive.return();
    await using at = await temporaryFolder();
    await writeFile(at.at('tar'), first.value ?? '');
    expect((await readFile(at.at('tar'), 'latin1')).slice(512, 530)).toBe('19 size=9663676416');
    const { stdout } = await run('bash', ['-c', 'tar -tvf "$1" 2>/dev/null || true', '-', at.at('tar')]);
    expect(stdout).toContain(' 9663676416 ');
  });

  it('has extended attributes as GNU tar and bsdtar write them', async () => {
    await using at = await temporaryFolder();
    const attributes = [{ name: Buffer.from('user.a'), value: Buffer.from('\xff\n=', 'latin1') }];
    await writeTar({ entries: [entry('f', { attributes })], contents: new Map(), missed: [] }, at.at('tar'));
    await run('tar', ['--xattrs', '-C', at.path, '-xf', at.at('tar')]);
    const { stdout } = await run('python3', [
      '-c',
      'import os,sys; print(os.getxattr(sys.argv[1], "user.a").hex())',
      at.at('f'),
    ]);
    expect(stdout).toBe('ff0a3d\n');
  });

  it.each([
    ['too short', 'ab'],
    ['too long', 'abcd'],
  ])('is broken off where content is %s', async (_, content) => {
    const file = entry('f', { content: { size: 3, offset: 0, extents: null } });
    const stored = { entries: [file], contents: new Map([[file, Buffer.from(content)]]), missed: [] };
    const whole = Array.fromAsync(tarStream(stored.entries, readerOf(stored), { prefix: '' }));
    await expect(whole).rejects.toMatchObject({ code: 'damaged' });
  });

  it('is ended by its signal, and refuses another path of nothing', async () => {
    const ended = { prefix: '', signal: AbortSignal.abort() };
    const reader = readerOf({ entries: [], contents: new Map(), missed: [] });
    await expect(Array.fromAsync(tarStream([entry('f')], reader, ended))).rejects.toMatchObject({
      code: 'interrupted',
    });
    const orphan = entry('f', { content: null, linkGroup: 1 });
    await expect(Array.fromAsync(tarStream([orphan], reader, { prefix: '' }))).rejects.toMatchObject({
      code: 'damaged',
    });
  });
});
