import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { catalogPlace } from '../support/catalog-place.ts';
import type { Sandbox } from './run.ts';
import { sandbox, SUMMARY } from './run.ts';

/** Too much for a manifest, so that there are shards. */
const CONTENT = 'content of a '.repeat(2_000);

let box: Sandbox;
beforeEach(async () => {
  box = await sandbox();
  await box.makeVault();
  await box.run(['put', '-', '--name', 'a'], { stdin: CONTENT });
});
afterEach(async () => {
  await box[Symbol.asyncDispose]();
});

const buckets = (): string[] => [1, 2, 3].flatMap((number) => ['--bucket', box.bucket(number)]);

describe('verify --no-password', () => {
  const env = { VAULT_PASSWORD: undefined };

  test('reads every object of the buckets, and is silent if all are right', async () => {
    expect(await box.run(['verify', '--no-password', ...buckets()], { env })).toMatchObject({
      exit: 0,
      stdout: '',
      stderr: '',
    });
    const { stdout } = await box.run(['verify', '--no-password', '--json', ...buckets()], { env });
    const results: unknown[] = stdout
      .trim()
      .split('\n')
      .map((line): unknown => JSON.parse(line));
    expect(results).toHaveLength(3);
    expect(results[0]).toMatchObject({ problems: [], foreignObjects: 0, tooNew: 0 });
  });

  test('names the object that is not what it should be', async () => {
    const [name = ''] = await readdir(join(box.bucket(2), 'chunks'));
    const path = join(box.bucket(2), 'chunks', name);
    const bytes = await readFile(path);
    bytes.writeUInt8(bytes.readUInt8(100) ^ 1, 100);
    await writeFile(path, bytes);
    const { exit, stdout, stderr } = await box.run(['verify', '--no-password', ...buckets()], { env });
    expect(exit).toBe(6);
    expect(stdout).toContain(`chunks/${name}: `);
    expect(stdout.trim().split('\n')).toHaveLength(1);
    expect(stderr).toMatch(/1 object is damaged\. "vault repair --read-data"/);
  });

  test('needs to be told where the buckets are', async () => {
    const { exit, stderr } = await box.run(['verify', '--no-password'], { env });
    expect(exit).toBe(2);
    expect(stderr).toContain('--bucket');
  });
});

describe('catalog copy', () => {
  test('gives a catalog that serves like the first', async () => {
    expect(await box.run(['catalog', 'copy', 'copy.db'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    const got = await box.run(['--db', 'copy.db', 'get', 'a', '-o', '-']);
    expect(got).toMatchObject({ exit: 0, stdout: CONTENT });
  });

  test('gives it in the database that it came from, too, where files can be stored and removed', async () => {
    await using place = await catalogPlace();
    const db = place.location;
    await box.run(['catalog', 'copy', 'copy.db']);
    const back = await box.run(['--db', 'copy.db', 'catalog', 'copy', db, '--json']);
    expect(back).toMatchObject({ exit: 0, stderr: expect.stringMatching(SUMMARY) });
    expect(JSON.parse(back.stdout)).toEqual({ rows: expect.any(Number), digest: expect.any(String) });
    await box.run(['--db', db, 'put', '-', '--name', 'b'], { stdin: 'content of b' });
    expect(await box.run(['--db', db, 'rm', 'a', '--now'])).toMatchObject({ exit: 0, stderr: '' });
    expect(await box.run(['--db', db, 'get', 'b', '-o', '-'])).toMatchObject({ stdout: 'content of b' });
    expect(await box.run(['--db', db, 'verify', '--read-data'])).toMatchObject({ exit: 0, stderr: '' });
  });

  test('does not overwrite a catalog', async () => {
    await box.run(['catalog', 'copy', 'copy.db']);
    const { exit, stderr } = await box.run(['catalog', 'copy', 'copy.db']);
    expect(exit).toBe(2);
    expect(stderr).toContain('copy.db');
  });
});
