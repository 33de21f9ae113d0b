import { mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { catalogPlace, DATABASE } from '../support/catalog-place.ts';
import type { Ended, Sandbox } from './run.ts';
import { sandbox, SUMMARY } from './run.ts';

let box: Sandbox;
beforeEach(async () => {
  box = await sandbox();
});
afterEach(async () => {
  await box[Symbol.asyncDispose]();
});

test.runIf(DATABASE === 'sqlite')(
  '--local makes three folders beside the catalog, says nothing without a terminal, and the vault works',
  async () => {
    expect(await box.run(['init', '--local'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    await writeFile(box.at('a.txt'), 'hello');
    const put = await box.run(['put', 'a.txt']);
    expect(put).toMatchObject({ exit: 0, stderr: '' });
    expect(await box.run(['get', put.stdout.trim(), '-o', '-'])).toMatchObject({ exit: 0, stdout: 'hello' });
    for (const number of [1, 2, 3]) expect(await readdir(box.bucket(number))).toContain('vault.json');
    expect((await stat(box.bucket(1))).mode & 0o777).toBe(0o700);
  },
);

test('takes folders as they are written, and says as JSON what it made', async () => {
  await using place = await catalogPlace();
  const { exit, stdout, stderr } = await box.run([
    'init',
    '--bucket',
    'one',
    '--bucket',
    './two',
    '--db',
    place.location,
    '--redundancy',
    '1+1',
    '--json',
  ]);
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: expect.stringMatching(SUMMARY) });
  expect(JSON.parse(stdout)).toMatchObject({
    redundancy: '1+1',
    buckets: [`file://${box.at('one')}`, `file://${box.at('two')}`],
  });
  expect(await box.run(['ls', '--db', place.location])).toMatchObject({ exit: 0, stdout: '' });
});

test('never overwrites a vault', async () => {
  await box.makeVault();
  const { exit, stderr } = await box.run(['init', '--bucket', 'one']);
  expect(exit).toBe(2);
  expect(stderr).toMatch(/^vault: There is a vault already/);
});

test('refuses more redundancy than there are buckets', async () => {
  const { exit, stderr } = await box.run(['init', '--bucket', 'one', '--redundancy', '2+1']);
  expect(exit).toBe(2);
  expect(stderr).toMatch(/^vault: Redundancy 2\+1 needs 3 buckets or more/);
});

test('without a vault every verb says how to make one', async () => {
  for (const args of [['ls'], ['get', 'x'], ['rm', 'x'], ['sweep'], ['info']]) {
    const { exit, stdout, stderr } = await box.run(args);
    expect({ exit, stdout }).toEqual({ exit: 10, stdout: '' });
    expect(stderr).toContain('vault init');
  }
});

test.each([
  ['gs://photos', ''],
  ['s3://photos', '&region=us-east-1'],
])('says at once that nothing listens where %s should be', async (place, options) => {
  // A port that was given back may be another server's by now.
  const url = `${place}?endpoint=http://127.0.0.1:1${options}`;
  const { exit, stdout, stderr } = await box.run(['init', '--bucket', url], {
    env: { AWS_ACCESS_KEY_ID: 'key', AWS_SECRET_ACCESS_KEY: 'secret' },
  });
  expect({ exit, stdout }).toEqual({ exit: 5, stdout: '' });
  // Once, and not that it is being waited for.
  expect(stderr.match(/Check host and port in the bucket’s URL, and/g)).toHaveLength(1);
});

test.each([
  ['gs://photos', 'http://127.0.0.1:1', '1', /host and port in the bucket’s URL or that of the proxy/],
  ['s3://photos', 'http://127.0.0.1:1', '1', /host and port in the bucket’s URL or that of the proxy/],
  ['s3://photos', 'http://vault.invalid', '1', /host’s name in the bucket’s URL or that of the proxy/],
  ['s3://photos', 'http://127.0.0.1:1', undefined, /host’s name in the bucket’s URL, and/],
])('says of %s through the proxy %s, used %s, what to look at', async (place, proxy, used, words) => {
  const url = `${place}?endpoint=http://elsewhere.invalid`;
  const { exit, stderr } = await box.run(['init', '--bucket', url], {
    env: {
      AWS_ACCESS_KEY_ID: 'key',
      AWS_SECRET_ACCESS_KEY: 'secret',
      NODE_USE_ENV_PROXY: used,
      http_proxy: proxy,
    },
  });
  expect(exit).toBe(5);
  expect(stderr).toMatch(words);
});

describe('an init that fails leaves nothing behind', () => {
  test('of folders, objects and the catalog, when the last bucket cannot be used', async () => {
    await mkdir(box.at('there'));
    await writeFile(box.at('no-folder'), '');
    const before = await readdir(box.path, { recursive: true });
    await using place = await catalogPlace();
    const db = DATABASE === 'sqlite' ? box.at('new', 'folder', 'x.db') : place.location;
    const buckets = ['--bucket', 'one/deeper', '--bucket', 'there', '--bucket', 'no-folder/x'];
    const failed = await box.run(['init', '--db', db, ...buckets]);
    expect(failed.stderr).toMatch(/^vault: .*no-folder/);
    expect(failed.exit).toBe(2);
    expect(await readdir(box.path, { recursive: true })).toEqual(before);
    // And it is in nobody's way.
    const again = await box.run(['init', '--db', db, '--bucket', 'one/deeper', '--bucket', 'there']);
    expect(again).toMatchObject({ exit: 0, stderr: '' });
  });

  test('when a bucket turns out to be full of another vault, or cannot be reached', async () => {
    await using place = await catalogPlace();
    expect((await box.run(['init', '--bucket', 'used', '--db', place.location])).exit).toBe(0);
    const before = await readdir(box.path, { recursive: true });
    await using other = await catalogPlace();
    const used = await box.run(['init', '--bucket', 'one', '--bucket', 'used', '--db', other.location]);
    expect(used).toMatchObject({ exit: 2, stderr: expect.stringContaining('belongs to a vault already') });
    const twice = await box.run(['init', '--bucket', 'one', '--bucket', './one', '--db', other.location]);
    expect(twice).toMatchObject({ exit: 2, stderr: expect.stringContaining('given twice') });
    expect(await readdir(box.path, { recursive: true })).toEqual(before);
  });

  test('also in the buckets, when one of them is the same place as another', async () => {
    await mkdir(box.at('one'));
    await symlink('one', box.at('same'));
    await using place = await catalogPlace();
    const failed = await box.run(['init', '--bucket', 'one', '--bucket', 'same', '--db', place.location]);
    expect(failed.exit).toBe(2);
    expect(await readdir(box.at('one'), { recursive: true })).toEqual([]);
  });
});

test.each([':memory:', ' ', '', 'file:x.db?mode=memory', 'x.db ', 'folder/'])(
  'refuses "%s" for a catalog',
  async (db) => {
    const before = await readdir(box.path);
    for (const args of [['init', '--bucket', 'one'], ['ls']]) {
      const { exit, stderr } = await box.run([...args, '--db', db]);
      expect(stderr).toMatch(/^vault: (".*" cannot be the name of a catalog's file|--db needs a file)/);
      expect(exit).toBe(2);
    }
    expect(await readdir(box.path)).toEqual(before);
  },
);

test('neither a vault nor a bucket is made within another bucket', async () => {
  await using fresh = await sandbox();
  const init = async (...buckets: readonly string[]): Promise<Ended> =>
    fresh.run(['init', ...buckets.flatMap((bucket) => ['--bucket', bucket])]);
  expect(await init('one', 'one/two')).toMatchObject({
    exit: 2,
    stderr: expect.stringMatching(/one\/two lies within .*one: whatever loses that/),
  });
  expect((await init('one', 'two/a')).exit).toBe(0);
  for (const [place, inner] of [
    ['one/b', 'one/b'],
    ['two', 'two/a'],
  ] as const) {
    const added = await fresh.run(['bucket', 'add', place]);
    expect(added.exit).toBe(2);
    expect(added.stderr).toContain(`${inner} lies within `);
  }
  expect(await fresh.run(['bucket', 'add', 'three'])).toMatchObject({ exit: 0 });
});
