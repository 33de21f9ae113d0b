/** Folders on the command line. */
import {
  chmod,
  chown,
  lstat,
  lutimes,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { promisify } from 'node:util';
import { execFile } from 'node:child_process';
import { dirname, join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { THOROUGH } from '../support/catalog-place.ts';
import type { Ended, Sandbox } from './run.ts';
import { sandbox, SUMMARY } from './run.ts';

const run = promisify(execFile);

let box: Sandbox;
beforeEach(async () => {
  box = await sandbox();
  await box.makeVault();
  await mkdir(box.at('docs', '2024'), { recursive: true });
  await writeFile(box.at('docs', '2024', 'a.pdf'), 'a'.repeat(100_000));
  await writeFile(box.at('docs', 'b.tmp'), 'b'.repeat(30_000));
  await symlink('2024', box.at('docs', 'latest'));
  await utimes(box.at('docs', '2024'), 1, 1_600_000_000);
});
afterEach(async () => {
  await box[Symbol.asyncDispose]();
});

test('stores a folder under its name with one hash, and gets it back, whole or in part', async () => {
  const put = await box.run(['put', './docs/', '--exclude', '*.tmp', '--json']);
  expect(put).toMatchObject({ exit: 0 });
  const stored = JSON.parse(put.stdout);
  expect(stored).toMatchObject({
    kind: 'folder',
    name: 'docs',
    entries: 4,
    incomplete: false,
    size: 100_000,
  });
  expect(await box.run(['get', 'docs', '-o', 'out'])).toMatchObject({ exit: 0, stderr: '' });
  await rm(box.at('docs', 'b.tmp'));
  expect((await run('diff', ['-r', '--no-dereference', box.at('docs'), box.at('out')])).stdout).toBe('');
  // Once more over it: refused, or only what differs.
  const again = await box.run(['get', 'docs', '-o', 'out']);
  expect(again).toMatchObject({
    exit: 2,
    stderr: expect.stringMatching(/out exists and is not empty.*--force/),
  });
  await writeFile(box.at('out', '2024', 'a.pdf'), 'mine');
  const forced = await box.run(['get', 'docs', '-o', 'out', '--force', '--json']);
  expect(JSON.parse(forced.stdout)).toMatchObject({ path: 'out', files: 1, unchanged: 1 });
  expect(await readFile(box.at('out', '2024', 'a.pdf'), 'utf8')).toBe('a'.repeat(100_000));
});

test('gets a file of a folder by name or hash, and what fits a pattern with the folders around it', async () => {
  const { stdout } = await box.run(['put', 'docs']);
  const one = await box.run(['get', `${stdout.slice(0, 12)}/2024/a.pdf`, '-o', 'one.pdf', '--json']);
  expect(JSON.parse(one.stdout)).toMatchObject({ name: 'docs', entry: '2024/a.pdf', path: 'one.pdf' });
  expect((await box.run(['cat', 'docs/2024/a.pdf'])).stdout).toBe('a'.repeat(100_000));
  await mkdir(box.at('some'));
  await box.run(['get', 'docs/*/a.*', '-o', 'some']);
  expect(await readdir(box.at('some'), { recursive: true })).toEqual(
    expect.arrayContaining(['docs', 'docs/2024', 'docs/2024/a.pdf']),
  );
  expect(await box.run(['get', 'docs/none'])).toMatchObject({ exit: 4 });
});

test('what a folder has is had by its name, with all in it, whatever that means in a pattern', async () => {
  const names = ['Music [A-M]', 'a{b,c}d', 'v[^a]', 'a*(b)'];
  if (THOROUGH) names.push('{a', '[[:alpha:]]', '{x}{y,z}', 'r{1..3}', '[z-a]', 'b\\[c]', '[x]');
  for (const [i, name] of names.entries()) {
    await mkdir(box.at('docs', name, 'in'), { recursive: true });
    await writeFile(box.at('docs', name, 'in', 'song'), `la ${i}`);
    await writeFile(box.at('docs', `${name}.mp3`), `tune ${i}`);
  }
  for (const like of ['x', 'x.mp3', 'a', 'a.mp3', 'abd', 'acd', 'r1', 'vb', 'xy'])
    await writeFile(box.at('docs', like), 'another');
  await box.run(['put', 'docs']);
  for (const [i, name] of names.entries()) {
    const folder = `docs/${name}`;
    const listed = await box.run(['ls', '-0', '-R', `${folder}/`]);
    expect(listed.stdout).toBe(`${name}/in\0${name}/in/song\0`);
    expect((await box.run(['cat', `${folder}.mp3`])).stdout).toBe(`tune ${i}`);
    expect(await box.run(['get', folder, '-o', `out-${i}`])).toMatchObject({ exit: 0, stderr: '' });
    expect(await readdir(box.at(`out-${i}`), { recursive: true })).toEqual(['in', 'in/song']);
  }
  const one = await box.run(['get', `docs/${names[0]}.mp3`, '-o', '0.mp3']);
  expect(one).toMatchObject({ exit: 0, stderr: '' });
  expect(await readFile(box.at('0.mp3'), 'utf8')).toBe('tune 0');
  expect((await box.shell(`vault get 'docs/${names[0]}' -o - | tar -x -O`)).stdout).toBe('la 0');
});

test('tells what it could not store or restore, and ends with 3', async () => {
  const first = await box.shell(
    'mkfifo docs/pipe; vault put docs; vault get docs -o out && test -p out/pipe',
  );
  expect(first).toMatchObject({ exit: 0, stderr: '' });
  const second = await box.shell('mkdir -p other/b.tmp; vault get docs -o other --force');
  expect(second).toMatchObject({ exit: 3, stderr: expect.stringMatching(/b\.tmp/) });
  const tar = await box.shell('vault get docs -o - | tar -tf -');
  expect(tar.stdout.split('\n')).toEqual(expect.arrayContaining(['docs/', 'docs/pipe', 'docs/2024/a.pdf']));
});

test('takes paths from a file, shows what it would store, and stores several folders', async () => {
  await mkdir(box.at('more\nlines'));
  const dry = await box.run(['put', '-n', 'docs', '--exclude-larger-than', '50K', '--json']);
  expect(JSON.parse(dry.stdout)).toEqual({
    name: 'docs',
    entries: 4,
    size: 30_000,
    chunks: 1,
    chunksStored: 1,
    bytesNew: 30_000,
    unchanged: false,
    dryRun: true,
  });
  const { exit, stdout } = await box.shell(
    "printf 'docs\\0more\\nlines\\0' | vault put --files-from - -0 --exclude-from /dev/null",
  );
  expect({ exit, lines: stdout.trim().split('\n').length }).toEqual({ exit: 0, lines: 2 });
  expect((await box.run(['ls', '-0'])).stdout.split('\0').toSorted()).toEqual(['', 'docs', 'more\nlines']);
  expect(await box.run(['put'])).toMatchObject({ exit: 2 });
});

test('lists what is in a folder', async () => {
  await box.run(['put', 'docs']);
  const paths = async (...args: readonly string[]): Promise<string[]> =>
    (await box.run(['ls', '-0', ...args])).stdout.split('\0').filter(Boolean);
  expect(await paths('docs/')).toEqual(['2024', 'b.tmp', 'latest']);
  expect(await paths('docs/', '-R')).toEqual(['2024', '2024/a.pdf', 'b.tmp', 'latest']);
  expect(await paths('docs/2024')).toEqual(['2024/a.pdf']);
  expect(await paths('docs/*.tmp')).toEqual(['b.tmp']);
  const json = (await box.run(['ls', '--json', 'docs/2024/'])).stdout;
  expect(JSON.parse(json)).toMatchObject({ path: '2024/a.pdf', kind: 'file', size: 100_000, mode: '0644' });
  expect((await box.run(['ls', '--long', 'docs/'])).stdout).toMatch(/^l0777 .* latest -> 2024$/m);
  expect(await box.run(['ls', 'docs/none/'])).toMatchObject({ exit: 4 });
  const [first = ''] = (await box.run(['ls', 'docs/', '-0'])).stdout.split('\0');
  expect(await box.run(['ls', `docs/${first}`, 'docs'])).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining('lies in a stored folder, of which one is listed at a time'),
  });
});

test('lists what is in a folder by itself, and never takes it for the folder among names', async () => {
  await box.run(['put', 'docs']);
  for (const args of [
    ['--all', 'docs', 'docs/'],
    ['docs/2024/', '*'],
  ]) {
    expect(await box.run(['ls', ...args])).toMatchObject({
      exit: 2,
      stdout: '',
      stderr: expect.stringMatching(
        /^vault: What "docs\/.*" means lies in a stored folder, of which one is listed/,
      ),
    });
  }
  expect(await box.run(['ls', 'docs', 'do*'])).toMatchObject({ exit: 0 });
});

test('cuts files as it is told where folders are among them', async () => {
  const { exit, stdout } = await box.run([
    'put',
    'docs',
    'docs/2024/a.pdf',
    '--chunk-size',
    '64KiB',
    '--json',
  ]);
  const chunks = stdout
    .trimEnd()
    .split('\n')
    .map((line): number => JSON.parse(line).chunkSize);
  expect({ exit, chunks }).toEqual({ exit: 0, chunks: [null, 65_536] });
});

test('says in JSON, as the schema has it, what is dated far from now', async ({ skip }) => {
  const date = new Date('+012000-01-01T00:00:00.000Z');
  await utimes(box.at('docs', 'b.tmp'), date, date);
  // ext4 ends in 2446; json.test.ts has the schema's side without a file system.
  if ((await stat(box.at('docs', 'b.tmp'))).mtimeMs !== date.getTime()) skip();
  await box.run(['put', 'docs']);
  const { stdout } = await box.run(['ls', '--json', 'docs/*.tmp']);
  expect(JSON.parse(stdout)).toMatchObject({ path: 'b.tmp', modifiedAt: date.toISOString() });
});

test('tells what differs between versions of a folder, and from a folder here', async () => {
  const before = (await box.run(['put', 'docs'])).stdout.trim();
  expect((await box.run(['diff', 'docs'])).stdout).toBe('');
  expect(await box.run(['diff', before.slice(0, 12)])).toMatchObject({ exit: 0, stdout: '' });
  await writeFile(box.at('docs', 'b.tmp'), 'changed');
  await rm(box.at('docs', 'latest'));
  await writeFile(box.at('docs', 'new'), 'new');
  expect((await box.run(['diff', 'docs', './docs'])).stdout).toBe('M b.tmp\n- latest\n+ new\n');
  await box.run(['put', 'docs']);
  const changes = (await box.run(['diff', '--json', before, 'docs'])).stdout.trim().split('\n');
  expect(changes.map((line): string => JSON.parse(line).change)).toEqual(['content', 'removed', 'added']);
});

test('compares nothing that is left out on either side', async () => {
  const cache = box.at('docs', 'cache');
  await mkdir(cache);
  await writeFile(join(cache, 'A'), 'made again');
  await writeFile(join(cache, 'CACHEDIR.TAG'), 'Signature: 8a477f597d28d172789f06886806bc55');
  const before = (await box.run(['put', 'docs'])).stdout.trim();
  const same = { exit: 0, stdout: '', stderr: '' };
  const options = ['--exclude=2024', '--exclude=*.tmp', '--exclude=[2l]*', '--exclude-larger-than=20K'];
  for (const option of [...options, '--exclude-caches']) {
    expect({ option, ...(await box.run(['diff', 'docs', option])) }).toMatchObject({ option, ...same });
  }
  // Larger in the stored version alone.
  await writeFile(box.at('docs', 'b.tmp'), 'changed');
  await rm(box.at('docs', '2024'), { recursive: true });
  await rm(join(cache, 'A'));
  await box.run(['put', 'docs']);
  for (const other of ['docs', './docs']) {
    expect((await box.run(['diff', before, other])).stdout).toBe(
      '- 2024/\n- 2024/a.pdf\nM b.tmp\n- cache/A\n',
    );
    expect((await box.run(['diff', before, other, '--exclude-larger-than=20K'])).stdout).toBe(
      '- 2024/\n- cache/A\n',
    );
    const named = ['--exclude=b.tmp', '--exclude=2024', '--exclude=cache/A'];
    expect(await box.run(['diff', before, other, ...named])).toMatchObject(same);
  }
  for (const option of ['--exclude-caches', '--one-file-system']) {
    expect(await box.run(['diff', before, 'docs', option])).toMatchObject({ exit: 2, stdout: '' });
  }
});

/** Runs a line of shell as one to whom permissions apply, also where the tests run as root. */
async function asOrdinary(line: string): Promise<Ended> {
  if (process.getuid?.() !== 0) return box.shell(line);
  const caps = '-dac_override,-dac_read_search';
  return box.shell(`export -f vault; setpriv --inh-caps=${caps} --bounding-set=${caps} bash -c '${line}'`);
}

test('does not take for removed what it could not read', async () => {
  await mkdir(box.at('docs', 'drop', 'sub'), { recursive: true });
  for (const path of ['a', 'sub/in']) await writeFile(box.at('docs', 'drop', path), 'x');
  await mkdir(box.at('docs', 'shut'));
  await writeFile(box.at('docs', 'shut', 'a'), 'x');
  await box.run(['put', 'docs']);
  await rm(box.at('docs', 'b.tmp'));
  // Whose names can be read, and no more; and nothing at all.
  await chmod(box.at('docs', 'drop'), 0o400);
  await chmod(box.at('docs', 'shut'), 0);
  try {
    const { exit, stdout, stderr } = await asOrdinary('vault diff docs ./docs');
    expect({ exit, stdout }).toEqual({ exit: 3, stdout: '- b.tmp\nU drop/\nU shut/\n' });
    for (const path of ['drop/a', 'drop/sub', 'shut']) expect(stderr).toContain(`${path} cannot be read`);
  } finally {
    for (const path of ['drop', 'shut']) await chmod(box.at('docs', path), 0o755);
  }
});

test.each(['300', '0', '500'])(
  "fills the user's own folders anew, whatever their permissions: %s",
  async (mode) => {
    await mkdir(box.at('docs', 'drop', 'sub'), { recursive: true });
    await writeFile(box.at('docs', 'drop', 'sub', 'a'), 'x');
    const closed = ['drop/sub', 'drop', ''];
    for (const path of closed) await chmod(box.at('docs', path), Number.parseInt(mode, 8));
    try {
      await box.run(['put', 'docs']);
      expect(await asOrdinary('vault get docs -o out')).toMatchObject({ exit: 0, stderr: '' });
      await asOrdinary(`chmod u+wx out && rm -f out/b.tmp && chmod 0${mode} out`);
      const again = await asOrdinary('vault get docs -o out --force --json');
      expect(again).toMatchObject({ exit: 0, stderr: expect.stringMatching(SUMMARY) });
      expect(JSON.parse(again.stdout)).toMatchObject({ files: 1, unchanged: 3, missing: 0, notKept: 0 });
      for (const path of closed.toReversed()) {
        expect((await asOrdinary(`stat -c %a out/${path}`)).stdout).toBe(`${mode}\n`);
        await chmod(box.at('out', path), 0o700);
      }
    } finally {
      for (const folder of ['docs', 'out']) {
        for (const path of closed.toReversed())
          await chmod(box.at(folder, path), 0o755).catch(() => undefined);
      }
    }
  },
);

test('tells of another time of a link or a pipe, as put does, and not of a folder', async () => {
  await run('mkfifo', [box.at('docs', 'pipe')]);
  await box.run(['put', 'docs']);
  for (const name of ['latest', 'pipe', '2024']) await lutimes(box.at('docs', name), 1, 1_000_000_000);
  expect((await box.run(['diff', 'docs'])).stdout).toBe('M latest\nM pipe\n');
  await box.run(['get', 'docs', '-o', 'docs', '--force']);
  expect((await box.run(['diff', 'docs'])).stdout).toBe('');
  const isUnchanged = async (): Promise<unknown> =>
    JSON.parse((await box.run(['put', '--json', 'docs'])).stdout).unchanged;
  await isUnchanged();
  expect(await isUnchanged()).toBe(true);
  await lutimes(box.at('docs', '2024'), 1, 1_000_000_000);
  expect(await isUnchanged()).toBe(false);
});

test('gives a single entry what the same one in its folder has', async () => {
  const isRoot = process.getuid?.() === 0;
  const owner = isRoot ? [1234, 5678] : [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  await chown(box.at('docs', 'b.tmp'), owner[0] ?? 0, owner[1] ?? 0);
  await chmod(box.at('docs', 'b.tmp'), 0o6711);
  await box.run(['put', 'docs']);
  const factsOf = async (path: string): Promise<number[]> => {
    const { uid, gid, mode, mtimeMs } = await stat(box.at(path));
    return [uid, gid, mode & 0o7777, Math.floor(mtimeMs)];
  };
  expect(await box.run(['get', 'docs/b.tmp', '-o', 'one', '--owner'])).toMatchObject({ exit: 0, stderr: '' });
  expect(await factsOf('one')).toEqual(await factsOf('docs/b.tmp'));
  expect((await factsOf('one')).slice(0, 3)).toEqual([...owner, 0o6711]);
  if (!isRoot) return;
  const without = await box.run(['get', 'docs/b.tmp', '-o', 'two', '--no-owner']);
  expect(without).toMatchObject({
    exit: 3,
    stderr: expect.stringMatching(/two is written and verified without set-user-ID or set-group-ID, since/),
  });
  expect((await factsOf('two')).slice(0, 3)).toEqual([0, 0, 0o711]);
});

test('tells of a file that is stored by itself and would run as somebody else', async () => {
  await chmod(box.at('docs', 'b.tmp'), 0o4755);
  await box.run(['put', 'docs/b.tmp', '--name', 'one']);
  const got = await box.run(['get', 'one', '--json']);
  expect(got).toMatchObject({ exit: 3, stderr: expect.stringMatching(/"kind":"not-kept"/) });
  expect((await stat(box.at('one'))).mode & 0o7777).toBe(0o755);
});

test('has in JSON the bytes of a path or a target that is not UTF-8', async () => {
  await symlink(Buffer.from([0x61, 0xff]), box.at('docs', 'odd'));
  await box.run(['put', 'docs']);
  const { stdout } = await box.run(['ls', '--json', 'docs/*']);
  const entries = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(entries.find(({ path }) => path === 'odd')).toMatchObject({
    target: 'a\ufffd',
    targetBytes: '61ff',
  });
  expect(entries.find(({ path }) => path === 'latest')).not.toHaveProperty('targetBytes');
});

test('leaves the vault itself out of a folder that it lies in, and refuses a bucket as a folder', async () => {
  const home = dirname(box.path);
  const own = join(home, 'home', '.local', 'share', 'shardvault');
  await writeFile(join(box.bucket(1), 'mine'), 'of the user');
  await symlink(box.bucket(2), box.at('by-link'));
  const put = async (...args: readonly string[]): Promise<Ended> =>
    box.run(['put', '--name', 'all', ...args]);
  // In the second one the log is there, too.
  for (let time = 0; time < 2; time += 1) {
    expect(await put(`${box.path}/../`)).toMatchObject({ exit: 0, stderr: '' });
  }
  const listed = (await box.run(['ls', '-0', '-R', 'all/home'])).stdout.split('\0').filter(Boolean);
  expect(
    listed
      .filter((path) => !path.includes('docs'))
      .map((path) => relative('home/.local/share/shardvault', path)),
  ).toEqual(['../..', '..', '', 'bucket-1', 'bucket-1/mine', 'bucket-2', 'bucket-3']);
  expect(await box.run(['diff', 'all', `${home}/`])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
  const told = (await put(home, '-v')).stderr;
  expect(told).toMatch(
    /^Left out, since .*shardvault\/bucket-1, .*\/bucket-2, .*\/bucket-3, .*catalog\.db.*\.folders\.$/m,
  );
  const [warning] = (await put(home, '--json', '-n')).stderr.split('\n');
  expect(JSON.parse(warning ?? '')).toMatchObject({ warning: { kind: 'left-out', bucket: null } });
  for (const refused of [box.bucket(1), 'by-link', 'by-link/chunks', join(own, 'catalog.db.folders')]) {
    expect(await put(refused)).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('is a bucket of this vault'),
    });
  }
  await mkdir(join(box.bucket(1), 'photos'));
  expect(await put(join(box.bucket(1), 'photos'))).toMatchObject({ exit: 0 });
  expect(await put(join(own, 'bucket-1', 'vault.json'))).toMatchObject({ exit: 0 });
});

test('says of a folder that changed while it was stored that it is incomplete, and not why', async () => {
  const put = 'until vault put docs 2> said; [ $? = 3 ]; do :; done';
  await box.shell(`while :; do echo line >> docs/b.tmp; done & ${put}; kill %1`);
  const said = await readFile(box.at('said'), 'utf8');
  expect(said).toMatch(/b\.tmp changed while it was read/);
  expect(said).toMatch(
    /"docs" is stored, and says that it is incomplete: not all in it could be read, or stood still\.$/m,
  );
  const got = await box.run(['get', 'docs', '-o', 'out']);
  expect(got.stderr).toMatch(
    /"docs" is incomplete: not all in it could be read, or stood still, when it was stored\.$/m,
  );
});

test('has a tar say that a time is not stored', async () => {
  const at = 8_640_000_000_001;
  await utimes(box.at('docs', 'b.tmp'), 1, at);
  if ((await stat(box.at('docs', 'b.tmp'))).mtimeMs !== at * 1000) return;
  expect(await box.run(['put', 'docs'])).toMatchObject({
    exit: 0,
    stderr: expect.stringMatching(/b\.tmp has a time/),
  });
  expect(await box.run(['diff', 'docs'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
  const tar = await box.shell('vault get docs -o - | tar -tf - > list; exit ${PIPESTATUS[0]}');
  expect(tar).toMatchObject({
    exit: 3,
    stderr: expect.stringMatching(/1 entry has no time of modification/),
  });
  const got = await box.run(['get', 'docs', '-o', 'out', '--json']);
  expect(got).toMatchObject({ exit: 3, stderr: expect.stringMatching(/b\.tmp is restored.*none is stored/) });
  const one = await box.run(['get', 'docs/b.tmp', '-o', 'one']);
  expect(one).toMatchObject({
    exit: 3,
    stderr: expect.stringMatching(/one is written and verified without a modification time, since none/),
  });
  expect(JSON.parse(got.stdout)).toMatchObject({ notKept: 1 });
});

test('takes the place of a link that leads nowhere, if it is told to', async () => {
  await box.run(['put', 'docs']);
  await symlink('none', box.at('T'));
  const refused = await box.run(['get', 'docs', '-o', 'T']);
  expect(refused).toMatchObject({
    exit: 2,
    stderr: expect.stringMatching(/"T" exists.*symbolic link: --force replaces that/),
  });
  expect(await box.run(['get', 'docs', '-o', 'T', '--force'])).toMatchObject({ exit: 0, stderr: '' });
  expect((await lstat(box.at('T'))).isDirectory()).toBe(true);
});

async function filesIn(folder: string): Promise<string[]> {
  return (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((one) => one.isFile())
    .map((one) => relative(folder, join(one.parentPath, one.name)))
    .toSorted();
}

describe('get of parts of one folder', () => {
  beforeEach(async () => {
    for (const [path, content] of [
      ['d/a/sub/one', '1'],
      ['d/b/sub/two', '2'],
      ['d/b/sub/three', '3'],
      ['e/x/e/in', 'x'],
    ] as const) {
      await mkdir(dirname(box.at(path)), { recursive: true });
      await writeFile(box.at(path), content);
    }
    await box.run(['put', 'd', 'e']);
    await mkdir(box.at('g'));
  });

  test.each([
    { parts: ['d/a/sub', 'd/b/sub'], place: 'g/sub', names: ['sub/one'] },
    { parts: ['e/x/e', 'e'], place: 'g/e', names: ['e/in'] },
    { parts: ['d/a/*', 'd'], place: 'g/d', names: ['d/a/sub/one'] },
  ])('refuses a second one that would have the place of the first: $parts', async (each) => {
    const { exit, stderr, stdout } = await box.run(['get', '--json', ...each.parts, '-o', 'g']);
    const [first = '', second = ''] = each.parts;
    expect(stderr).toContain(`${each.place}\\" is \\"${first}\\" now, and \\"${second}\\" would replace it.`);
    expect({ exit, lines: stdout.trimEnd().split('\n').length }).toEqual({ exit: 2, lines: 1 });
    expect(stderr).toMatch(/"files":1,"failed":1,/);
    expect(await filesIn(box.at('g'))).toEqual(each.names);
  });

  test('writes what fits several patterns together, and each of them once', async () => {
    const hash = (await box.run(['put', 'd'])).stdout.trim();
    const patterns = ['d/a/*', `${hash}/b/*/tw*`, 'd/none*', 'd/*/sub/one'];
    const { exit, stderr, stdout } = await box.run(['get', '--json', ...patterns, '-o', 'g']);
    expect(exit).toBe(4);
    expect(stderr).toMatch(/no entry of that pattern/);
    expect(stderr).toMatch(/"files":3,"failed":1,"bytes":2[,}]/);
    expect(await filesIn(box.at('g'))).toEqual(['d/a/sub/one', 'd/b/sub/two']);
    expect(JSON.parse(stdout)).toMatchObject({ path: 'g/d', files: 2, folders: 4, unchanged: 0 });
  });

  test('writes the same part once', async () => {
    const { exit, stdout } = await box.run(['get', '--json', 'd/a', './d/a/', '-o', 'g']);
    expect({ exit, lines: stdout.trimEnd().split('\n').length }).toEqual({ exit: 0, lines: 1 });
  });
});

test('says where to write a pattern that is not UTF-8', async () => {
  const { exit, stderr } = await box.shell("vault put docs --exclude $'x\\xff'");
  expect({ exit, stderr }).toEqual({
    exit: 2,
    stderr: expect.stringMatching(
      /^vault: Argument 4 is not UTF-8 text.* Write the pattern in a file: --exclude-from <file>\.\n$/,
    ),
  });
});
