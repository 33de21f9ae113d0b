/** `vault drill`, and what `vault status` says of verbs that ended before. */
import { createServer } from 'node:http';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { changeCatalog } from '../support/catalog-place.ts';
import type { Sandbox } from './run.ts';
import { sandbox, SUMMARY } from './run.ts';

let box: Sandbox;
let fresh: () => Promise<void>;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await mkdir(box.at('tmp'));
  await writeFile(box.at('a'), 'content of a '.repeat(2_000));
  await writeFile(box.at('b'), 'small');
  await box.run(['put', 'a', 'b']);
  fresh = await box.keep();
});
beforeEach(() => fresh());
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

test.each([
  ['relative', /relative, cannot be used: .*\. TMPDIR names another one\./],
  ['/proc', /\/proc, cannot be used/],
  ['a/file', /a\/file, cannot be used/],
])('says that TMPDIR is not usable: %s', async (TMPDIR, message) => {
  const { exit, stderr } = await box.run(['drill'], { env: { TMPDIR } });
  expect({ exit, stderr }).toEqual({ exit: 2, stderr: expect.stringMatching(message) });
});

const drill = async (...args: readonly string[]): ReturnType<Sandbox['run']> =>
  box.run(['drill', ...args], { env: { TMPDIR: box.at('tmp') } });

/** Everything in the buckets: path, time and digest. */
async function bucketsAsTheyAre(): Promise<string[]> {
  const found: string[] = [];
  for (const number of [1, 2, 3]) {
    for (const entry of await readdir(box.bucket(number), { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      const { mtimeMs } = await stat(path);
      const digest = entry.isFile()
        ? createHash('sha256')
            .update(await readFile(path))
            .digest('hex')
        : 'folder';
      found.push(`${path} ${mtimeMs} ${digest}`);
    }
  }
  return found.toSorted();
}

async function status(): Promise<{ readonly runs: readonly Record<string, unknown>[] }> {
  return JSON.parse((await box.run(['status', '--json'])).stdout);
}

test('restores files from buckets and password alone, writes nothing to a bucket, leaves nothing behind, and status knows', async () => {
  const before = await bucketsAsTheyAre();
  const { exit, stdout, stderr } = await drill('-v');
  expect({ exit, stdout }).toEqual({ exit: 0, stdout: '' });
  expect(stderr).toMatch(
    /^Restored 2 of 2 files, 25 KiB, from the buckets and the password alone in \d+ s\. Nothing of it was kept\.\n$/,
  );
  expect(await bucketsAsTheyAre()).toEqual(before);
  expect(await readdir(box.at('tmp'))).toEqual([]);
  const shown = (await box.run(['status'])).stdout;
  expect(shown).toMatch(/^last drill {2}\d{4}-\d\d-\d\d \d\d:\d\d, \d+ s ago: 2 of 2$/m);
  expect(shown).toMatch(/^last put {4}\d{4}-\d\d-\d\d \d\d:\d\d, \d+ s ago$/m);
  expect(shown).toMatch(/^last verify not known$/m);
});

test('restores random files of a folder', async () => {
  await mkdir(box.at('docs'));
  for (let i = 0; i < 5; i += 1) await writeFile(box.at('docs', `f${i}`), String(i).repeat(1_000));
  await box.run(['put', 'docs']);
  await box.run(['rm', 'a', 'b']);
  const { exit, stdout } = await drill('--files', '3', '--json');
  expect(exit).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ files: 1, entries: 3, bytes: 3_000, failed: 0, failures: [] });
});

test('works without the catalog, and makes none', async () => {
  const bucket = ['--bucket', box.bucket(1), '--bucket', box.bucket(2), '--bucket', box.bucket(3)];
  const run = await box.run(['drill', '--json', '--files', '1', ...bucket], {
    env: { TMPDIR: box.at('tmp'), VAULT_DB: box.at('none.db') },
  });
  expect({ exit: run.exit, stderr: run.stderr }).toEqual({ exit: 0, stderr: expect.stringMatching(SUMMARY) });
  expect(JSON.parse(run.stdout)).toMatchObject({ files: 1, failed: 0, locked: 0, found: 2, failures: [] });
  expect(await readdir(box.at())).not.toContain('none.db');
});

test('a file that does not come back ends it with 6, and is named, while the others are tried', async () => {
  for (const number of [1, 2]) await rm(join(box.bucket(number), 'chunks'), { recursive: true });
  const { exit, stdout, stderr } = await drill('--json', '--sample', '100%');
  expect(exit).toBe(6);
  expect(JSON.parse(stdout)).toMatchObject({
    files: 1,
    failed: 1,
    bytes: 5,
    failures: [{ name: 'a', error: { code: 'damaged', exit: 6 } }],
  });
  expect(stderr).toMatch(/"error":\{"code":"damaged","message":"\\"a\\" was not restored\. /);
  expect(await readdir(box.at('tmp'))).toEqual([]);
  expect((await status()).runs).toContainEqual(
    expect.objectContaining({ verb: 'drill', exit: 6, files: 1, failed: 1 }),
  );
  expect((await box.run(['status'])).stdout).toMatch(/^last drill .* ago: 1 of 2, ended with 6$/m);
});

test('a bucket that is away is told, and an empty vault restores nothing: both end with 3', async () => {
  await rename(box.bucket(2), `${box.bucket(2)}-away`);
  const away = await drill();
  expect(away.exit).toBe(3);
  expect(away.stderr).toMatch(/^vault: warning: .*bucket-2.*\n$/);
  await rename(`${box.bucket(2)}-away`, box.bucket(2));
  await box.run(['rm', 'a', 'b']);
  const empty = await drill();
  expect({ exit: empty.exit, stderr: empty.stderr }).toEqual({
    exit: 3,
    stderr: expect.stringMatching(/^vault: warning: Nothing was restored/),
  });
});

test('put, sweep, verify and repair are noted, dry runs and single files are not, and nobody else can note anything', async () => {
  for (const args of [
    ['sweep', '-n'],
    ['repair', '-n'],
    ['verify', 'a'],
  ])
    await box.run(args);
  expect((await status()).runs.map(({ verb }) => verb)).toEqual(['put']);
  for (const args of [['sweep'], ['repair'], ['verify', '--sample', '50%'], ['put', 'none']])
    await box.run(args);
  const { runs } = await status();
  expect(runs).toMatchObject([
    { verb: 'put', exit: 4, failed: 1, endedAt: expect.stringMatching(/^\d{4}-.*Z$/) },
    { verb: 'sweep', exit: 0, objectsRemoved: 0 },
    { verb: 'verify', exit: 0, outcome: 'whole', depth: 'data', sample: 0.5 },
    { verb: 'repair', exit: 0 },
  ]);
  const metrics = (await box.run(['status', '--prometheus'])).stdout;
  expect(metrics).toMatch(/^vault_last_run_timestamp_seconds\{verb="verify"\} \d{10}(\.\d+)?$/m);
  expect(metrics).toMatch(/^vault_last_run_exit_code\{verb="put"\} 4$/m);
  // The note of one verb in the place of another's.
  await changeCatalog(box.db, "update notes set value = (select value from notes where value <> '' limit 1)");
  expect((await status()).runs.length).toBeLessThan(2);
});

test('--no-password says what the catalog says, and that it is no more', async () => {
  const env = { VAULT_PASSWORD: undefined };
  const shown = await box.run(['status', '--no-password', '--max-age', '1h'], { env });
  expect({ exit: shown.exit, stderr: shown.stderr }).toEqual({ exit: 0, stderr: '' });
  expect(shown.stdout).toMatch(
    /^versions {4}2 \(0 removed\)\nnewest {6}\d{4}-.* ago\n\nBy the catalog alone: without/,
  );
  const old = await box.run(['status', '--no-password', '--max-age', '1ms', '--json'], { env });
  expect(old.exit).toBe(3);
  expect(JSON.parse(old.stdout)).toMatchObject({ versions: 2, removed: 0, checked: false });
  const metrics = await box.run(['status', '--no-password', '--prometheus'], { env });
  expect(metrics.stdout).toMatch(/^vault_versions 2$/m);
  expect(metrics.stdout).not.toContain('vault_bucket_up');
  expect((await box.run(['status', '--no-password', 'a'], { env })).exit).toBe(2);
});

test('--ping-url tells a monitor of start, success and failure; one that cannot be told is a warning', async () => {
  const asked: string[] = [];
  const server = createServer(({ method, url }, answer) => {
    asked.push(`${method} ${url}`);
    answer.end('OK');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port');
  const url = `http://127.0.0.1:${address.port}/ping/secret?rid=1`;
  expect((await box.run(['ls', '--ping-url', url])).exit).toBe(0);
  await box.run(['get', 'none'], { env: { VAULT_PING_URL: url } });
  expect(asked).toEqual(['/start', '', '/start', '/4'].map((end) => `GET /ping/secret${end}?rid=1`));
  // What only prints has backed up nothing.
  const env = { VAULT_PING_URL: url, VAULT_PASSWORD: undefined };
  const print = ['schedule', 'print', '--cron', 'd', '--bucket', 'b', '--password-file', 'p'];
  for (const args of [print, ['config', 'show'], ['completion', 'bash'], ['help', 'put']])
    expect((await box.run(args, { env })).exit).toBe(0);
  expect(asked).toHaveLength(4);
  await new Promise((resolve) => server.close(resolve));
  // Its port may be another server's by now.
  const told = await box.run(['ls', '--ping-url', 'http://127.0.0.1:2/ping/secret?rid=1']);
  expect(told.exit).toBe(0);
  expect(told.stderr).toMatch(/^vault: warning: 127\.0\.0\.1:\d+ could not be told how .*\n$/);
  expect(told.stderr).not.toContain('secret');
  expect((await box.run(['ls', '--ping-url', 'ftp://x'])).exit).toBe(2);
  const named = await box.run(['ls'], { env: { VAULT_PING_URL: 'http://user:pw@127.0.0.1:2/secret' } });
  expect(named).toMatchObject({ exit: 2, stderr: expect.not.stringMatching(/pw|secret/) });
});
