import { randomBytes } from 'node:crypto';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startGcsServer } from '../support/gcs-server.ts';
import { catalogPlace } from '../support/catalog-place.ts';
import type { Sandbox } from './run.ts';
import { sandbox, SUMMARY } from './run.ts';

const HASH = /^[0-9a-f]{64}$/;
/** Too much for a manifest, so that there are shards. */
const contentOf = (name: string): string => `content of ${name} `.repeat(2_000);

let box: Sandbox;
let fresh: () => Promise<void>;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  for (const name of ['a', 'b', 'c']) await writeFile(box.at(name), contentOf(name));
  await box.run(['put', 'a', 'b', 'c']);
  fresh = await box.keep();
});
beforeEach(() => fresh());
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

async function objectsOf(folder: string): Promise<string[]> {
  const all = await Promise.all(
    [1, 2, 3].map((number) => readdir(join(box.bucket(number), folder)).catch(() => [])),
  );
  return all.flat();
}

async function listed(...flags: readonly string[]): Promise<string[]> {
  const { stdout } = await box.run(['ls', '--json', ...flags]);
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line): { name: string } => JSON.parse(line))
    .map(({ name }) => name)
    .toSorted();
}

describe('rm', () => {
  test('hides several files, says so only as JSON, and keeps their objects', async () => {
    const before = await objectsOf('chunks');
    expect(await box.run(['rm', 'a', './b'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    const { stdout } = await box.run(['rm', 'c', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ name: 'c', hash: expect.stringMatching(HASH) });
    expect((await box.run(['ls'])).stdout).toBe('');
    expect(await listed('--deleted')).toEqual(['a', 'b', 'c']);
    // A sweep within the grace changes nothing.
    expect(await box.run(['sweep'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    expect((await objectsOf('chunks')).toSorted()).toEqual(before.toSorted());
    expect((await box.run(['get', 'a', '-o', '-'])).exit).toBe(4);
  });

  test('--now removes files and all their objects', async () => {
    expect(await box.run(['rm', 'a', 'b', 'c', '--now'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    expect(await objectsOf('chunks')).toEqual([]);
    expect(await objectsOf('manifests')).toEqual([]);
    expect(await listed('--deleted')).toEqual([]);
    expect((await box.run(['undelete', 'a'])).exit).toBe(4);
  });

  test('--grace says how long files can be brought back', async () => {
    await box.run(['rm', 'a', '--grace', '1s']);
    const { stderr } = await box.run(['rm', 'b', '--grace', '30d', '-v']);
    expect(stderr).toMatch(/^Removed 1 file\. "vault undelete" brings it back within 30 d 0 h;/);
    await delay(1_000);
    await box.run(['sweep']);
    expect(await listed('--deleted')).toEqual(['b']);
    for (const grace of ['0s', '200000d'])
      expect((await box.run(['rm', 'c', '--grace', grace])).exit).toBe(2);
    expect((await box.run(['rm', 'c', '--now', '--grace', '1d'])).exit).toBe(2);
    expect(await listed()).toEqual(['c']);
  });

  test('promises no way back for what no bucket has any more', async () => {
    for (const number of [1, 2, 3]) await rm(join(box.bucket(number), 'manifests'), { recursive: true });
    const { exit, stderr } = await box.run(['rm', 'a', '-v']);
    expect({ exit, stderr }).toEqual({
      exit: 0,
      stderr: 'Removed 1 file. No bucket had that any more: nothing brings it back.\n',
    });
  });

  test('--now leaves what other files share', async () => {
    await box.run(['put', 'a', '--name', 'same as a']);
    expect(await box.run(['rm', 'a', '--now'])).toMatchObject({ exit: 0, stderr: '' });
    expect((await box.run(['get', 'same as a', '-o', '-'])).stdout).toBe(contentOf('a'));
    expect(await box.run(['verify', '--read-data'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
  });

  test.each([[['--now']], [[]]])(
    'removes nothing if some are unknown, and names all of those %s',
    async (flags) => {
      const { exit, stdout, stderr } = await box.run(['rm', 'a', 'unknown', 'b', 'nobody', ...flags]);
      expect({ exit, stdout }).toEqual({ exit: 4, stdout: '' });
      expect(stderr).toMatch(/^vault: 2 of 4 are unknown, so nothing was changed\./);
      expect(stderr).toContain('"unknown"');
      expect(stderr).toContain('"nobody"');
      expect(await listed()).toEqual(['a', 'b', 'c']);
      expect(await objectsOf('deleted')).toEqual([]);
    },
  );

  test.each([[[]], [['--now']]])('-n only tells what would be removed %s', async (flags) => {
    const before = await objectsOf('chunks');
    const { exit, stdout, stderr } = await box.run(['rm', '-n', 'a', 'b', ...flags]);
    expect({ exit, stdout, stderr }).toEqual({ exit: 0, stdout: 'a\nb\n', stderr: '' });
    expect(await listed()).toEqual(['a', 'b', 'c']);
    expect(await objectsOf('deleted')).toEqual([]);
    expect(await objectsOf('chunks')).toEqual(before);
    expect((await box.run(['rm', '-n', 'a', 'unknown'])).exit).toBe(4);
  });

  test('--all-versions hides every version of a name', async () => {
    for (const stdin of ['one', 'two', 'three']) await box.run(['put', '-', '--name', 'v'], { stdin });
    await box.run(['rm', 'v']);
    expect((await box.run(['get', 'v', '-o', '-'])).stdout).toBe('two');
    await box.run(['rm', 'v', '--all-versions']);
    expect((await box.run(['get', 'v', '-o', '-'])).exit).toBe(4);
    expect((await listed('--deleted')).filter((name) => name === 'v')).toHaveLength(3);
  });

  test('with a bucket away ends with 3, and sweep goes by the others', async () => {
    await rename(box.bucket(2), `${box.bucket(2)}-away`);
    const { exit, stderr } = await box.run(['rm', 'a']);
    expect(exit).toBe(3);
    expect(stderr).toMatch(/bucket-2 could not be told of the removal.*"vault sweep"/);
    const swept = await box.run(['sweep', '--now']);
    expect(swept.exit).toBe(3);
    expect(swept.stderr).toMatch(/No space was freed, since not every bucket can be asked: .*bucket-2/);
    await rename(`${box.bucket(2)}-away`, box.bucket(2));
    expect(await box.run(['sweep', '--now'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    expect(await objectsOf('manifests')).toHaveLength(6);
    expect(await box.run(['verify', '--read-data'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
  });
});

describe('undelete', () => {
  test('brings back what was removed, by name and by hash, whole', async () => {
    const removed = await box.run(['rm', 'a', 'b', '--json']);
    const [, second = ''] = removed.stdout.split('\n');
    const { hash }: { hash: string } = JSON.parse(second);
    const { exit, stdout, stderr } = await box.run(['undelete', 'a', hash, '--json']);
    expect({ exit, stderr }).toEqual({ exit: 0, stderr: expect.stringMatching(SUMMARY) });
    expect(stdout.trim().split('\n')).toHaveLength(2);
    expect(await listed()).toEqual(['a', 'b', 'c']);
    expect(await listed('--deleted')).toEqual([]);
    expect(await box.run(['sweep', '--now'])).toMatchObject({ exit: 0, stderr: '' });
    for (const name of ['a', 'b']) {
      expect((await box.run(['get', name, '-o', '-'])).stdout).toBe(contentOf(name));
    }
  });

  test('brings back nothing if one is unknown or not removed, and names those', async () => {
    await box.run(['rm', 'a']);
    const { exit, stderr } = await box.run(['undelete', 'a', 'c', 'unknown']);
    expect(exit).toBe(4);
    expect(stderr).toMatch(/2 of 3 are unknown, so nothing was changed\./);
    expect(stderr).toContain('"c"');
    expect(stderr).toContain('"unknown"');
    expect(await listed()).toEqual(['b', 'c']);
  });

  test('refuses what is not whole any more', async () => {
    await box.run(['rm', 'a']);
    const { hash }: { hash: string } = JSON.parse((await box.run(['ls', '--deleted', '--json'])).stdout);
    await box.run(['sweep', '--now']);
    const { exit, stderr } = await box.run(['undelete', hash]);
    expect(exit).toBe(4);
    expect(stderr).toMatch(/No removed file has the name or hash/);
    expect(await listed()).toEqual(['b', 'c']);
  });

  test('is heard by a machine whose catalog does not know of the removal', async () => {
    await box.run(['rm', 'a']);
    const buckets = [1, 2, 3].flatMap((number) => ['--bucket', box.bucket(number)]);
    await using other = await catalogPlace();
    const env = { VAULT_DB: other.location };
    expect(await box.run(['recover', ...buckets], { env })).toMatchObject({ exit: 0, stderr: '' });
    expect((await box.run(['get', 'a', '-o', '-'], { env })).exit).toBe(4);
    expect(await box.run(['undelete', 'a'], { env })).toMatchObject({ exit: 0, stderr: '' });
    // The first catalog still hides it, and learns better.
    expect(await box.run(['verify'])).toMatchObject({ exit: 3 });
    expect((await box.run(['get', 'a', '-o', '-'])).stdout).toBe(contentOf('a'));
  });
});

describe('sweep', () => {
  test('hides what has expired, which can be brought back', async () => {
    await box.run(['put', 'a', '--name', 'short-lived', '--expires', '1ms']);
    const { exit, stdout } = await box.run(['sweep', '--json']);
    expect(exit).toBe(0);
    expect(lastLine(stdout)).toMatchObject({
      expired: [{ name: 'short-lived' }],
      filesRemoved: 0,
      objectsRemoved: 0,
      unreachable: [],
    });
    expect(await listed('--deleted')).toEqual(['short-lived']);
    expect((await box.run(['get', 'short-lived', '-o', '-'])).exit).toBe(4);
    const now = await box.run(['sweep', '--now', '--json']);
    expect(JSON.parse(now.stdout)).toMatchObject({ expired: [], filesRemoved: 1, dryRun: false });
    expect(await listed('--deleted')).toEqual([]);
  });

  test('of shards that were stored twice leaves one of each, and the catalog knows which', async () => {
    const content = randomBytes(300_000);
    const put = ['put', '-', '--chunk-size', '64KiB', '--name'];
    await box.run([...put, 'first'], { stdin: content });
    const folders = [1, 2, 3].map((number) => join(box.bucket(number), 'chunks'));
    const stored: (readonly [string, Buffer])[] = [];
    for (const folder of folders) {
      for (const name of await readdir(folder))
        stored.push([join(folder, name), await readFile(join(folder, name))]);
      await rm(folder, { recursive: true });
    }
    // As two processes do that store the same at the same time.
    await box.run([...put, 'second'], { stdin: content });
    for (const [path, bytes] of stored) await writeFile(path, bytes);
    expect(await box.run(['sweep', '--now'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    expect(await objectsOf('chunks')).toHaveLength(3 * (5 + 3));
    for (const name of ['first', 'second']) {
      const got = await box.run(['get', name, '-o', '-']);
      expect(got).toMatchObject({ exit: 0, stderr: '' });
      expect(got.stdoutBytes.equals(content)).toBe(true);
    }
    expect(await box.run(['verify', '--read-data'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
  });

  test('-n only tells what would go, and changes nothing', async () => {
    await box.run(['rm', 'a']);
    await box.run(['put', 'b', '--name', 'short-lived', '--expires', '1ms']);
    const before = await contents();
    const { exit, stdout } = await box.run(['sweep', '-n', '--now', '--json']);
    expect(exit).toBe(0);
    expect(lastLine(stdout)).toMatchObject({
      expired: [{ name: 'short-lived' }],
      filesRemoved: 1,
      objectsRemoved: 4,
      dryRun: true,
    });
    expect(await contents()).toEqual(before);
    expect(await listed()).toEqual(['b', 'c', 'short-lived']);
    const within = await box.run(['sweep', '-n', '--json']);
    expect(lastLine(within.stdout)).toMatchObject({ filesRemoved: 0, objectsRemoved: 0 });
  });
});

/** What comes after the plan. */
function lastLine(text: string): unknown {
  return JSON.parse(text.trimEnd().split('\n').at(-1) ?? '');
}

/** Everything in the buckets. */
async function contents(): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const number of [1, 2, 3]) {
    for (const entry of await readdir(box.bucket(number), { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (entry.isFile()) found.set(path, await readFile(path, 'base64'));
    }
  }
  return found;
}

test('where nothing may be removed, rm says so when it has hidden the file, and rm --now does nothing', async () => {
  const permissions = ['create', 'get', 'list'].map((verb) => `storage.objects.${verb}`);
  await using server = await startGcsServer({ buckets: ['one', 'two'], permissions });
  await using other = await sandbox();
  const urls = ['one', 'two'].map((name) => `gs://${name}?endpoint=${server.url}`);
  await other.makeVault({ urls });
  await other.run(['put', '-', '--name', 'a'], { stdin: 'content' });
  const now = await other.run(['rm', '--now', 'a']);
  expect({ exit: now.exit, stderr: now.stderr }).toEqual({
    exit: 2,
    stderr: expect.stringMatching(
      /^vault: These credentials may remove nothing from gs:\/\/one.*, gs:\/\/two.*\n$/,
    ),
  });
  expect((await other.run(['ls', '-0'])).stdout).toBe('a\0');
  for (const flags of [[], ['--now'], ['--all-versions']]) {
    const { exit, stderr } = await other.run(['rm', 'none', ...flags]);
    expect({ exit, stderr }).toEqual({ exit: 4, stderr: expect.stringMatching(/^vault: No file has .*\n$/) });
  }
  const hidden = await other.run(['rm', 'a', '--json']);
  expect(hidden.exit).toBe(0);
  expect(hidden.stderr).toMatch(/^\{"warning":\{"kind":"no-delete"/);
  expect((await other.run(['ls', '-0'])).stdout).toBe('');
});
