/** Several files at once, by name and by pattern. */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Sandbox } from './run.ts';
import { sandbox, SUMMARY } from './run.ts';

/** Too much for a manifest, so that there are shards. */
const contentOf = (name: string): string => `content of ${name} `.repeat(2_000);
const NAMES = ['a.txt', 'b.txt', 'docs/c.pdf', 'docs/d.txt', 'what[1].txt', 'what1.txt'];

let box: Sandbox;
let fresh: () => Promise<void>;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await mkdir(box.at('docs'));
  await mkdir(box.at('out'));
  for (const name of NAMES) await writeFile(box.at(name), contentOf(name));
  await box.run(['put', ...NAMES]);
  fresh = await box.keep();
});
beforeEach(() => fresh());
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

/** Leaves what is seen of a bucket whose disk is not mounted. */
async function unmount(number: number): Promise<void> {
  await rename(box.bucket(number), box.at(`disk-${number}`));
  await mkdir(box.bucket(number));
}

async function listed(...flags: readonly string[]): Promise<string[]> {
  const { stdout } = await box.run(['ls', '-0', ...flags]);
  return stdout.split('\0').filter(Boolean);
}

describe('get', () => {
  test('writes several files, patterns and names, into a folder, each once', async () => {
    const { exit, stdout, stderr } = await box.run([
      'get',
      'a.txt',
      './docs/*',
      '[ab].txt',
      '-o',
      'out/',
      '--json',
    ]);
    expect({ exit, stderr }).toEqual({ exit: 0, stderr: expect.stringMatching(SUMMARY) });
    const paths = stdout
      .trimEnd()
      .split('\n')
      .map((line): string => JSON.parse(line).path);
    const expected = ['a.txt', 'b.txt', 'c.pdf', 'd.txt'];
    expect(paths.toSorted()).toEqual(expected.map((name) => join('out', name)));
    expect((await readdir(box.at('out'))).toSorted()).toEqual(expected);
    expect(await readFile(box.at('out', 'c.pdf'), 'utf8')).toBe(contentOf('docs/c.pdf'));
  });

  test('of several goes on after one that fails, and ends with the worst', async () => {
    await writeFile(box.at('out', 'a.txt'), 'mine');
    const { exit, stderr } = await box.run(['get', 'a.txt', 'unknown', 'b.txt', '-o', 'out']);
    expect(exit).toBe(2);
    expect(stderr).toMatch(/a\.txt exists and was not overwritten/);
    expect(stderr).toMatch(/No file has the name or hash "unknown"/);
    expect(stderr).not.toMatch(/pattern/);
    expect(await readFile(box.at('out', 'a.txt'), 'utf8')).toBe('mine');
    expect(await readFile(box.at('out', 'b.txt'), 'utf8')).toBe(contentOf('b.txt'));
  });

  test('never writes one of them over another, not even with --force', async () => {
    await box.run(['put', 'a.txt', '--name', 'old/b.txt']);
    const { exit, stderr } = await box.run(['get', '--force', 'b.txt', 'old/b.txt', '-o', 'out']);
    expect(exit).toBe(2);
    expect(stderr).toMatch(/"out\/b\.txt" is "b\.txt" now, and "old\/b\.txt" would replace it\./);
    expect(await readFile(box.at('out', 'b.txt'), 'utf8')).toBe(contentOf('b.txt'));
  });

  test.each(['get', 'cat'])('%s of many says once that a disk is not mounted', async (verb) => {
    // So many that one of them has a shard there that is read: which lies where is drawn.
    const many = Array.from({ length: 20 }, (_, index) => `many-${index}`);
    for (const name of many) await writeFile(box.at(name), contentOf(name));
    await box.run(['put', ...many]);
    await unmount(2);
    const { exit, stderr } = await box.run([verb, 'many-*', ...(verb === 'get' ? ['-o', 'out'] : [])]);
    expect(exit).toBe(0);
    expect(stderr).toMatch(/^vault: warning: .*bucket-2 has no vault\.json.*mounted.*\n$/);
  });

  test('calls no file lost while disks are not mounted', async () => {
    for (const number of [1, 2, 3]) {
      await unmount(number);
      const { exit, stderr } = await box.run(['get', 'a.txt', '--force', '-o', 'out']);
      expect(exit).toBe(number === 1 ? 0 : 5);
      // With one bucket away a get may need nothing of it: where pieces lie is drawn.
      expect(stderr).toMatch(number === 1 ? /^$|Is its disk mounted/ : /Is its disk mounted/);
    }
    const failed = await box.run(['verify', 'a.txt']);
    expect(failed).toMatchObject({ exit: 5, stderr: expect.stringMatching(/Is its disk mounted/) });
  });

  test('takes a name with wildcards for that one file', async () => {
    expect(await box.run(['get', 'what[1].txt', '-o', 'out'])).toMatchObject({ exit: 0, stderr: '' });
    expect(await readdir(box.at('out'))).toEqual(['what[1].txt']);
  });

  test('of a pattern needs a folder, also where it fits one file alone', async () => {
    const { exit, stderr } = await box.run(['get', 'a.*', '-o', 'none']);
    expect({ exit, stderr }).toMatchObject({
      exit: 2,
      stderr: expect.stringMatching(/^vault: Several files need a folder, and "none" is not one\./),
    });
  });

  test('of one whose name has wildcards writes it under another name', async () => {
    const { exit, stderr } = await box.run(['get', 'what[1].txt', '-o', 'other.txt']);
    expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' });
    expect(await readFile(box.at('other.txt'), 'utf8')).toBe(contentOf('what[1].txt'));
  });

  test('of a pattern that fits nothing ends with 4', async () => {
    const { exit, stderr } = await box.run(['get', '*.doc', '-o', 'out']);
    expect(exit).toBe(4);
    expect(stderr).toMatch(/No file has the name or hash "\*\.doc"/);
  });
});

test('cat pours several into standard output in order, and stops at one that fails', async () => {
  const { exit, stdout, stderr } = await box.run(['cat', 'b.txt', 'a.txt']);
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' });
  expect(stdout).toBe(contentOf('b.txt') + contentOf('a.txt'));
  const some = await box.run(['cat', 'b.txt', 'unknown', 'a.txt']);
  expect({ exit: some.exit, stdout: some.stdout }).toEqual({ exit: 4, stdout: contentOf('b.txt') });
});

test('rm, undelete, info, verify and repair take patterns, which mean what ls lists for them', async () => {
  expect(await listed('*.txt')).toHaveLength(5);
  const shown = await box.run(['info', 'docs/*', '--json']);
  expect(shown.stdout.trimEnd().split('\n')).toHaveLength(2);
  const facts = await box.run(['info', 'docs/*']);
  expect(facts.stdout.match(/^name {8}docs\/[cd]\.(pdf|txt)$/gm)).toHaveLength(2);
  const checked = await box.run(['verify', 'docs/*', 'a.txt', '--json']);
  expect(JSON.parse(checked.stdout)).toMatchObject({ outcome: 'whole', files: { whole: 3 } });
  expect(await box.run(['repair', 'docs/*'])).toMatchObject({ exit: 0, stderr: '' });
  const dry = await box.run(['rm', '-n', '*.txt']);
  expect(dry.stdout.trimEnd().split('\n').toSorted()).toEqual(
    NAMES.filter((name) => name.endsWith('.txt')).toSorted(),
  );
  expect(await box.run(['rm', '*.txt'])).toMatchObject({ exit: 0, stderr: '' });
  expect(await listed()).toEqual(['docs/c.pdf']);
  expect(await box.run(['undelete', 'docs/*'])).toMatchObject({ exit: 0, stderr: '' });
  expect((await listed()).toSorted()).toEqual(['docs/c.pdf', 'docs/d.txt']);
});

describe('a name that reads as a pattern', () => {
  const [literal, other] = ['s[x]/one[1]', 'sx/one1'];
  beforeEach(async () => {
    for (const name of [literal, other]) await box.run(['put', 'a.txt', '--name', name]);
  });

  test.each(['s[x]/one[1]', './s[x]//one[1]', 's[x]'])('is taken literally: %j', async (typed) => {
    const { stdout } = await box.run(['rm', '-n', typed]);
    expect(stdout).toBe(`${literal}\n`);
    expect(await listed(typed)).toEqual(typed === 's[x]' ? [other, literal] : [literal]);
    await box.run(['rm', literal, other]);
    expect((await box.run(['undelete', typed, '--json'])).stdout).toContain(`"name":"${literal}"`);
    expect(await listed('s*')).toEqual([literal]);
  });

  test('is a pattern where nothing has it', async () => {
    await box.run(['rm', literal]);
    expect((await box.run(['rm', '-n', literal])).stdout).toBe(`${other}\n`);
  });

  test('means what lies in a folder rather than files that fit', async () => {
    await mkdir(box.at('f'));
    await writeFile(box.at('f', '[x]'), 'literal');
    await box.run(['put', 'f']);
    await box.run(['put', 'a.txt', '--name', 'f/x']);
    expect((await box.run(['cat', 'f/[x]'])).stdout).toBe('literal');
    expect(await box.run(['rm', 'f/[x]'])).toMatchObject({ exit: 4 });
    expect(await listed('f/x')).toEqual(['f/x']);
  });
});

test('names are looked up as put makes them, after what is stored to the letter', async () => {
  await mkdir(box.at('f'));
  await writeFile(box.at('f', 'a'), 'in it');
  await box.run(['put', 'f']);
  for (const name of ['f//a', './f/./a', 'f/b/../a', 'f/a/']) {
    expect(await box.run(['cat', name])).toMatchObject({ exit: 0, stdout: 'in it' });
  }
  expect(await listed('.//docs//c.pdf')).toEqual(['docs/c.pdf']);
  expect((await box.run(['diff', './f/'])).exit).toBe(0);
  expect((await box.run(['rm', '-n', 'docs//c.pdf', 'f/'])).stdout).toBe('docs/c.pdf\nf\n');
  await box.run(['put', 'a.txt', '--name', 'docs//c.pdf']);
  expect((await box.run(['rm', '-n', 'docs//c.pdf'])).stdout).toBe('docs//c.pdf\n');
  await box.run(['rm', 'docs//c.pdf']);
  expect(await box.run(['undelete', 'docs//c.pdf'])).toMatchObject({ exit: 0 });
});

test('rm of a pattern removes the newest versions, and with --all-versions all', async () => {
  await writeFile(box.at('a.txt'), 'another');
  await box.run(['put', 'a.txt']);
  await box.run(['rm', '[ab].txt']);
  expect(await listed('[ab].txt')).toEqual(['a.txt']);
  await box.run(['undelete', '[ab].txt']);
  expect(await listed('[ab].txt', '--all')).toHaveLength(3);
  await box.run(['rm', '[ab].txt', '--all-versions']);
  expect(await listed('[ab].txt', '--all')).toEqual([]);
});

test('undelete of a pattern brings back the newest version of each name', async () => {
  await writeFile(box.at('a.txt'), 'another');
  await box.run(['put', 'a.txt']);
  await box.run(['rm', 'a.txt', '--all-versions']);
  await box.run(['undelete', 'a*']);
  expect(await listed('a*', '--all')).toEqual(['a.txt']);
  expect((await box.run(['cat', 'a.txt'])).stdout).toBe('another');
});

test('rm with a pattern that fits nothing names it among the unknown and removes nothing', async () => {
  const { exit, stderr } = await box.run(['rm', 'a.txt', '*.doc', 'unknown']);
  expect(exit).toBe(4);
  expect(stderr).toContain('"*.doc"');
  expect(stderr).toContain('"unknown"');
  expect(await listed()).toHaveLength(NAMES.length);
});

describe('a pattern that the shell has expanded', () => {
  beforeEach(async () => {
    for (const name of ['local.pdf', 'other.pdf']) await writeFile(box.at('docs', name), '');
  });

  test.each(['rm', 'info', 'verify', 'repair', 'undelete'])('%s says to put it in quotes', async (verb) => {
    const { exit, stderr } = await box.shell(`vault ${verb} docs/*.pdf`);
    expect(exit).toBe(4);
    expect(stderr).toContain(`Put it in quotes: vault ${verb} 'docs/*.pdf'`);
  });

  test('get and ls say so too, and do what they can', async () => {
    const got = await box.shell('vault get docs/*.pdf -o out');
    expect(got.exit).toBe(4);
    expect(got.stderr).toContain("Put it in quotes: vault get 'docs/*.pdf'");
    expect(await readdir(box.at('out'))).toEqual(['c.pdf']);
    const listing = await box.shell('vault ls docs/*.pdf');
    expect(listing.stdout.trimEnd().split('\n')).toHaveLength(1);
    expect(listing.stderr).toContain("Put it in quotes: vault ls 'docs/*.pdf'");
  });

  test.each([
    [['log-1.txt', 'log-2.txt'], " vault rm 'log-*.txt'"],
    [['-q 1.z', '-q 2.z'], " vault rm -- '-q *.z'"],
    [['a.txt', 'a.b.txt'], " vault rm 'a.*'"],
    [['one', 'two'], ''],
  ])('is told as what %j have in common, and never as everything', async (names, said) => {
    for (const name of names) await writeFile(box.at(name), '');
    const { exit, stderr } = await box.run(['rm', '--', ...names]);
    expect(exit).toBe(4);
    expect(stderr).toContain(`Put it in quotes${said === '' ? '.' : `:${said}`}`);
    for (const name of names) await rm(box.at(name));
  });

  test('is not seen in names of which one is no file here, nor in quotes', async () => {
    await rm(box.at('docs', 'local.pdf'));
    const { stderr } = await box.run(['rm', 'docs/local.pdf', 'docs/other.pdf']);
    expect(stderr).not.toContain('quotes');
    expect(await box.shell("vault ls 'docs/*.pdf'")).toMatchObject({ exit: 0, stderr: '' });
    await rename(box.at('docs', 'other.pdf'), box.at('elsewhere'));
    expect((await box.shell('vault ls docs/*.pdf')).stderr).toBe('');
  });
});

describe('a folder goes to standard output by itself', () => {
  beforeEach(async () => {
    for (const folder of ['s/one', 's/two']) {
      await mkdir(box.at(folder), { recursive: true });
      await writeFile(box.at(folder, 'in'), contentOf(folder));
    }
    await box.run(['put', 's', 's/one', 's/two']);
    await box.run(['put', 'a.txt', '--name', 's/file']);
  });

  test.each([
    { verb: 'cat', things: ['s/one', 's/two'] },
    { verb: 'get', things: ['a.txt', 's/one'] },
    { verb: 'get', things: ['a.txt', 'unknown', './s/two/'] },
    { verb: 'cat', things: ['s/*'] },
    { verb: 'cat', things: ['a.txt', 's/o*'] },
  ])('$verb $things', async ({ verb, things }) => {
    const target = verb === 'get' ? ['-o', '-'] : [];
    const { exit, stdout, stderr } = await box.run([verb, ...things, ...target]);
    expect({ exit, stdout }).toEqual({ exit: 2, stdout: '' });
    expect(stderr).toMatch(/"s.(one|two)" is a folder, which goes to standard output by itself/);
  });

  test('files in folders go one after the other', async () => {
    const { exit, stdout } = await box.run(['cat', 's/one/in', 'a.txt', 's/two/in']);
    expect({ exit, stdout }).toEqual({
      exit: 0,
      stdout: contentOf('s/one') + contentOf('a.txt') + contentOf('s/two'),
    });
  });
});
