/**
 * docs/json-schema.json and the code say the same. `box.run` holds every output with `--json` to the schema, in all tests of the
 * command; here each verb is run once, and the lists of codes and kinds are compared with the sources.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { everyVerb, factsOf } from '../../src/cli/help/tree.ts';
import { describeProgram } from '../../src/cli/program.ts';
import { asTime } from '../../src/vault/files/as-json.ts';
import { DEFINITIONS, problemsOf } from '../support/json-schema.ts';
import type { Schema } from '../support/json-schema.ts';
import { catalogPlace } from '../support/catalog-place.ts';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await mkdir(box.at('out'));
  await writeFile(box.at('a'), 'content of a '.repeat(2_000));
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

const printed = new Set<string>();
const lines: Record<string, Record<string, unknown>> = {};

/** Runs a verb, which `box.run` holds to the schema. */
const run = async (verb: string, ...args: readonly string[]): Promise<void> => {
  const { stdout, stderr } = await box.run([...verb.split(' '), ...args, '--json'], { stdin: 'small' });
  const [line = ''] = stdout.split('\n');
  if (!line.startsWith('{')) throw new Error(`vault ${verb} ${args.join(' ')}: ${stderr}`);
  printed.add(verb);
  lines[verb] = JSON.parse(line);
};

test('a time is described in whatever year it lies', () => {
  for (const year of ['+012000', '2026', '0000', '-271820']) {
    const time = asTime(new Date(`${year}-01-01T00:00:00.000Z`).getTime());
    expect(time).toMatch(new RegExp(`^${year.replace('+', '[+]')}-01-01T`));
    expect(problemsOf(time, DEFINITIONS['time'] ?? { enum: [] })).toEqual([]);
  }
});

describe('every verb prints what the schema says', () => {
  test('of storing and reading', async () => {
    await run('init', '--db', box.at('another.db'), '--bucket', 'one');
    await run('put', 'a');
    await box.run(['put', '-', '--name', 'b'], { stdin: 'small' });
    await run('ls');
    await run('info');
    await run('info', 'a');
    await run('get', 'a', '-o', 'out');
    await run('rm', 'b');
    await run('undelete', 'b');
    await run('sweep', '-n');
    await run('prune', 'a', '--keep-last', '1', '-n');
    expect(printed).toContain('sweep');
  });

  test('of folders', async () => {
    await mkdir(box.at('docs'));
    await writeFile(box.at('docs', 'c'), 'content');
    await run('put', 'docs');
    await run('put', 'docs', '-n');
    await run('ls', 'docs/');
    await run('get', 'docs', '-o', 'docs-again');
    await run('get', 'docs/c', '-o', 'c-again');
    await writeFile(box.at('docs', 'd'), 'content');
    await run('diff', 'docs');
    expect(printed).toContain('diff');
  });

  test('of the program itself', async () => {
    await run('config show');
    for (const args of [['--version'], ['version'], ['--help'], ['help', 'put']])
      expect((await box.run([...args, '--json'])).stdout).toMatch(/^\{/);
  });

  test('of buckets', async () => {
    await run('bucket add', 'more');
    await run('bucket ls');
    await run('bucket set-url', box.at('more'), './more');
    await run('bucket rm', box.at('more'));
    expect(printed).toContain('bucket rm');
  });

  test('of looking after it', async () => {
    await rm(join(box.bucket(3), 'chunks'), { recursive: true });
    await run('verify');
    await run('verify', '--no-password', '--bucket', box.bucket(1));
    await run('drill');
    await run('repair');
    await run('status', '--max-age', '1h', 'a');
    await run('status', '--no-password');
    await run('report', '-o', 'report.html');
    expect(printed).toContain('status');
  });

  test('of the catalog, and of schedules', async () => {
    await using copy = await catalogPlace();
    await run('catalog copy', copy.location);
    await run('recover', '--bucket', box.bucket(1));
    await run('sync');
    await writeFile(box.at('pw'), 'x', { mode: 0o600 });
    await run('schedule print', 'a', '--cron', '--password-file', box.at('pw'), '--bucket', box.bucket(1));
    expect(printed).toContain('schedule print');
  });

  test('of keys', async () => {
    await run('key add', '--label', 'web', '--role', 'put', '--new-key-file', 'web.key');
    await run('key ls');
    await run('key rename', 'web', 'shop');
    await run('key rm', 'shop');
    expect(printed).toContain('key rm');
  });

  test('of tokens', async () => {
    await run('token add', '--scope', 'read', '--expires', '1d');
    await run('token ls');
    await run('token rm', String(lines['token add']?.['id']));
    expect(printed).toContain('token rm');
  });

  test('of a new root', async () => {
    await writeFile(box.at('next'), 'another battery staple', { mode: 0o600 });
    await run('key rotate', '--yes', '--new-password-file', box.at('next'));
    await run('key reseal', '--password-file', box.at('next'));
    expect(printed).toContain('key reseal');
  });

  test('and there are no others', () => {
    expect([...printed].toSorted()).toEqual([...verbs()].filter((verb) => !SILENT.has(verb)).toSorted());
    for (const verb of printed) expect(DEFINITIONS).toHaveProperty([verb]);
  });
});

test('the schema notices a field more, one less, and another type', () => {
  const schema = { $ref: '#/$defs/sweep' };
  const { dryRun, ...less } = lines['sweep'] ?? {};
  expect(problemsOf({ ...less, dryRun }, schema)).toEqual([]);
  expect(problemsOf(less, schema)).toEqual(['$.dryRun is missing']);
  expect(problemsOf({ ...less, dryRun, more: 1 }, schema)).toEqual(['$.more is not described']);
  expect(problemsOf({ ...less, dryRun: 'no' }, schema)).toHaveLength(1);
});

/** Verbs that print no JSON of their own, and those that are run in share.test.ts, beside a cloud. */
const SILENT = new Set([
  'cat',
  'completion',
  'help',
  'password',
  'serve',
  'share',
  'share ls',
  'share rm',
  'version',
]);

/** All verbs that do something. */
function verbs(): Set<string> {
  const program = new Command();
  describeProgram(program, { run: () => Promise.resolve(), say: () => undefined, version: () => undefined });
  const [, ...all] = everyVerb(factsOf(program));
  return new Set(
    all.flatMap(({ path, verbs: own, arguments: taken }) =>
      own.length > 0 && taken.length === 0 ? [] : [path],
    ),
  );
}

test('codes and kinds are those of the sources', async () => {
  const errors = await readFile(join(ROOT, 'src/errors.ts'), 'utf8');
  const codes = Array.from(errors.matchAll(/^ {2}\| '([a-z-]+)'/gm), ([, code = '']) => code);
  expect(enumOf('failure', 'code').toSorted()).toEqual([...codes, 'bug'].toSorted());
  const kinds = new Set<string>();
  const [, call = ''] = (await readFile(join(ROOT, 'src/vault/call.ts'), 'utf8')).split('interface Warning ');
  for (const [, kind = ''] of call.matchAll(/^ {4}\| '([a-z-]+)'/gm)) kinds.add(kind);
  const tree = await readFile(join(ROOT, 'src/vault/folders/restore-tree.ts'), 'utf8');
  const [, problems = ''] = /readonly kind: (.*);/.exec(tree) ?? [];
  for (const [, kind = ''] of problems.matchAll(/'([a-z-]+)'/g)) kinds.add(kind);
  for (const name of await readdir(join(ROOT, 'src/cli'), { recursive: true })) {
    if (!name.endsWith('.ts')) continue;
    const source = await readFile(join(ROOT, 'src/cli', name), 'utf8');
    // What is given to `terminal.warn`, or to the functions that pass it on.
    for (const [, kind = ''] of source.matchAll(
      /(?:kind: |^ {4,6}|, )'([a-z]+(?:-[a-z]+)*)',?(?: }|,$|\);$|\n)/gm,
    )) {
      if (enumOf('warning', 'kind').includes(kind)) kinds.add(kind);
    }
    for (const [, kind = ''] of source.matchAll(/(?<!return )\{ kind: '([a-z-]+)'(?:, bucket[^}]*)? \}/g))
      kinds.add(kind);
  }
  expect(enumOf('warning', 'kind').toSorted()).toEqual([...kinds].toSorted());
});

test('the pages name every field, code, kind and reason of the schema', async () => {
  const pages = ['json', 'json-files', 'json-checks', 'json-admin'].map(async (name) =>
    readFile(join(ROOT, `docs/${name}.md`), 'utf8'),
  );
  const named = new Set((await Promise.all(pages)).join('\n').match(/[\w-]+/g));
  const words = new Set<string>();
  const collect = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, inner] of Object.entries(value)) {
      if (key === 'properties') for (const field of Object.keys(Object(inner))) words.add(field);
      if (key === 'enum' && Array.isArray(inner))
        for (const word of inner) if (typeof word === 'string') words.add(word);
      collect(inner);
    }
  };
  collect(DEFINITIONS);
  expect(words.size).toBeGreaterThan(200);
  expect([...words].filter((word) => !named.has(word))).toEqual([]);
});

function enumOf(definition: string, field: string): string[] {
  const schema: Schema | undefined = DEFINITIONS[definition];
  const inner = schema?.properties?.[definition] ?? schema;
  return (inner?.properties?.[field]?.enum ?? []).map(String);
}
