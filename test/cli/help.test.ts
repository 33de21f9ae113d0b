/** Help pages, man pages and completion, which are all made of the same tree of verbs. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import facts from '../../package.json' with { type: 'json' };
import { complete, wordsOf } from '../../src/cli/help/completion.ts';
import { EXAMPLES } from '../../src/cli/help/examples.ts';
import { manPages } from '../../src/cli/help/man.ts';
import { synonymsOf } from '../../src/cli/help/synonyms.ts';
import { everyVerb, factsOf, verbOf } from '../../src/cli/help/tree.ts';
import { describeProgram } from '../../src/cli/program.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const program = new Command();
describeProgram(program, { run: () => Promise.resolve(), say: () => undefined, version: () => undefined });
const root = factsOf(program);
const verbs = everyVerb(root);

describe('an example', () => {
  test('stands for every verb, and for no other', () => {
    const lacking = verbs.filter(({ path, verbs: own }) => own.length === 0 && !EXAMPLES.has(path));
    expect(lacking.map(({ path }) => path)).toEqual([]);
    expect([...EXAMPLES.keys()].filter((path) => verbOf(root, path) === undefined)).toEqual([]);
  });

  test.each([...EXAMPLES].flatMap(([path, lines]) => lines.map(([line]) => [path, line] as const)))(
    'of %j has options that exist: %s',
    (path, line) => {
      const command = /(?:^|\| |\$\()vault (.*)/.exec(line)?.[1] ?? '';
      expect(`${command} `).toContain(path === 'config show' ? path : `${path} `.trimStart());
      const own =
        path === '' ? verbs.find((verb) => command.startsWith(`${verb.path} `)) : verbOf(root, path);
      const known = [...root.options, ...(own?.options ?? [])];
      const given = wordsOf(command.replace(/ \|.*/, '')).words.filter((word) => /^-./.test(word));
      for (const word of given) {
        expect(known.some(({ short, long }) => word === short || word === long)).toBe(true);
      }
    },
  );
});

test('a word of another tool leads to a verb that exists, and is none here', () => {
  expect(
    ['delete', 'restore', 'check', 'list', 'backup', 'Remove'].map((word) => synonymsOf(word)[0]),
  ).toEqual(['rm', 'get', 'verify', 'ls', 'put', 'rm']);
  expect(synonymsOf('sparkle')).toEqual([]);
});

describe('man pages', () => {
  const pages = manPages('1.2.3');

  test('are all installed by npm', () => {
    expect(facts.man.toSorted()).toEqual([...pages.keys()].map((name) => `man/${name}`).toSorted());
    expect(facts.files).toContain('man');
  });

  test('have every verb and every option', () => {
    for (const { path, options, verbs: own } of verbs) {
      const name = path === '' ? 'vault.1' : `vault-${path.split(' ')[0] ?? ''}.1`;
      const page = (pages.get(name) ?? '').replaceAll('\\-', '-');
      expect(page).toContain(`.B vault ${path}`.trimEnd());
      for (const { flags } of options) expect(page).toContain(`.B ${flags}`);
      const shown = own.map((one) => `.B ${path === '' ? one.path : `vault ${one.path}`}`);
      expect(shown.filter((line) => !page.includes(line))).toEqual([]);
    }
  });

  test('are understood by roff', async () => {
    await using folder = await temporaryFolder();
    const paths: string[] = [];
    for (const [name, page] of pages) {
      if (name === 'shardvault.1') continue;
      paths.push(folder.at(name));
      await writeFile(folder.at(name), page);
    }
    const tools: [string, string[]][] = [
      ['groff', ['-man', '-Tascii', '-ww', '-z', ...paths]],
      ['mandoc', ['-Tlint', '-Wwarning', ...paths]],
    ];
    for (const [tool, args] of tools) {
      const said = await new Promise<string>((resolve) => {
        execFile(tool, args, (error, stdout, stderr) =>
          resolve(error?.code === 'ENOENT' ? '' : stdout + stderr),
        );
      });
      // Builds of one version are the same whenever they are made.
      expect(said.split('\n').filter((line) => line !== '' && !line.includes('missing date'))).toEqual([]);
    }
  });
});

describe('completion', () => {
  const asked: unknown[] = [];
  const sources = {
    vaults: async () => Promise.resolve(['work', 'home']),
    names: async (options: object, deleted: boolean) => {
      asked.push({ ...options, deleted });
      return Promise.resolve(['docs/a b.pdf', 'docs/c.pdf', 'notes.txt', 'tab\tin it']);
    },
    buckets: async () => Promise.resolve(['file:///one', 'gs://two']),
  };

  /** The kind and the words that fit. */
  const fitting = async (line: string): Promise<{ kind: string; head: string; words: string[] }> => {
    const [first = '', ...rest] = (await complete(line, root, sources)).trimEnd().split('\n');
    const [kind = '', head = ''] = first.split('\t');
    return { kind, head, words: rest.map((row) => row.split('\t')[0] ?? '') };
  };

  test.each<[string, string[]]>([
    ['vault pu', ['put']],
    ['vault bucket ', ['ls', 'add', 'rm', 'set-url']],
    ['vault --vault ', ['work', 'home']],
    ['vault --vault=w', ['--vault=work']],
    ['vault --db x.db bucket s', ['set-url']],
    ['vault --dry', []],
    ['vault sweep --dr', ['--dry-run']],
    ['vault sweep --js', ['--json']],
    ['vault ls --sort ', ['size', 'name', 'time']],
    ['vault ls --sort=n', ['--sort=name']],
    ['vault init --redundancy 3', ['3+2']],
    ['vault init --bucket g', ['gs://']],
    ['vault init --bucket=g', ['--bucket=gs://']],
    ['vault bucket rm ', ['file:///one', 'gs://two']],
    ['vault bucket rm gs:', ['gs://two']],
    ['vault get no', ['notes.txt']],
    ['vault get docs/a\\ ', ['docs/a b.pdf']],
    ['vault get "docs/a b', ['docs/a b.pdf']],
    ['vault get -- -', []],
    ['vault put --name ', []],
    ['vault completion f', ['fish']],
    ['vault help ver', ['verify', 'version']],
    ['vault nonsense ', root.verbs.map(({ path }) => path)],
  ])('of %j', async (line, words) => {
    expect((await fitting(line)).words).toEqual(words);
  });

  test('says what a word means, and what of it a shell may take for a word', async () => {
    expect(await complete('vault sw', root, sources)).toBe(
      'words\t\nsweep\tFree the space of removed files and of leftovers\n',
    );
    expect(await fitting('vault bucket rm gs:')).toMatchObject({ kind: 'names', head: 'gs:' });
    expect(await fitting('vault bucket rm "gs:')).toMatchObject({ head: '"' });
    expect(await fitting('vault put do')).toEqual({ kind: 'files', head: '', words: [] });
    expect(await fitting('vault get x -o ')).toMatchObject({ kind: 'files' });
    expect(await fitting('vault bucket add ')).toMatchObject({ kind: 'places' });
  });

  test('asks the vault that the line names', async () => {
    asked.length = 0;
    await fitting('vault --vault work get --db=x.db -f ');
    await fitting('vault undelete --password-file pw ');
    expect(asked).toEqual([
      { vault: 'work', db: 'x.db', deleted: false },
      { passwordFile: 'pw', deleted: true },
    ]);
  });

  test('knows nothing where the vault says nothing', async () => {
    const mute = { ...sources, names: async () => Promise.reject(new Error('no vault')) };
    expect(await complete('vault get ', root, mute)).toBe('');
  });
});
