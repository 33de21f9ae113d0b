/** What a command does with an SQLite catalog that cannot be written: the rights or the room for it are missing. */
import { copyFile, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DATABASE } from '../support/catalog-place.ts';
import { smallDisk } from '../support/small-disk.ts';
import type { SmallDisk } from '../support/small-disk.ts';
import type { Ended, Sandbox } from './run.ts';
import { sandbox } from './run.ts';

const MIB = 1024 * 1024;

const READING = [
  'ls --all',
  'info',
  'info large',
  'get large -o -',
  'verify --read-data',
  'repair --dry-run',
];

const WRITING = ['put large', 'put - --name other', 'rm small', 'repair'];

let box: Sandbox;
let fresh: () => Promise<void>;
let disk: SmallDisk | null;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await writeFile(box.at('large'), Buffer.alloc(300_000, 'large'));
  await writeFile(box.at('small'), 'small');
  for (const name of ['large', 'small', 'gone'])
    await run(`put ${name === 'gone' ? 'small' : name} --name ${name}`);
  await run('rm gone');
  fresh = await box.keep();
});
beforeEach(async () => {
  await fresh();
  disk = await smallDisk(box.at('disk'), 2 * MIB);
  if (disk !== null && DATABASE === 'sqlite') await copyFile(box.db, box.at('disk', 'c.db'));
});
afterEach(async () => {
  await disk?.[Symbol.asyncDispose]();
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

function run(line: string, env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  return box.run(line.split(' '), { env });
}

const onDisk = (line: string): Promise<Ended> => run(line, { VAULT_DB: box.at('disk', 'c.db') });

/** All objects of all buckets. */
async function objects(): Promise<string[]> {
  const found = await Promise.all(
    [1, 2, 3].map(async (number) =>
      (await readdir(box.bucket(number), { recursive: true })).map((name) => `${number} ${name}`),
    ),
  );
  return found.flat().toSorted();
}

/** Gives the disk a catalog whose last file stands in the log alone. */
async function leave(suffixes: readonly string[]): Promise<void> {
  const reader = new Sqlite(box.db);
  // While it is open, the log is not copied into the file.
  reader.prepare('select count(*) from files').get();
  await run('put small --name logged');
  for (const suffix of suffixes) await copyFile(box.db + suffix, box.at('disk', `c.db${suffix}`));
  reader.close();
}

describe.skipIf(DATABASE === 'postgres')('a catalog', () => {
  const ways = [
    {
      way: 'on a read-only file system',
      begin: (on: SmallDisk) => on.setReadOnly(true),
      end: (on: SmallDisk) => on.setReadOnly(false),
      exit: 2,
      why: /^vault: The catalog \S+c\.db cannot be written: its file system is read-only\. .*--db/,
    },
    {
      way: 'on a full disk',
      begin: (on: SmallDisk) => on.fill(),
      end: (on: SmallDisk) => on.free(),
      exit: 5,
      why: /^vault: There is no room left to write the catalog \S+c\.db\. Make room/,
    },
  ];

  describe.each(ways)('$way', ({ begin, end, exit, why }) => {
    test('is read as ever', async ({ skip }) => {
      if (disk === null) return skip('Only root can make a small disk.');
      const before: Ended[] = [];
      for (const line of READING) before.push(await onDisk(line));
      await begin(disk);
      for (const [i, line] of READING.entries()) {
        const { stdout, stderr, exit: code } = await onDisk(line);
        expect({ line, stdout, stderr, exit: code }).toEqual({
          line,
          stdout: before[i]?.stdout,
          stderr: before[i]?.stderr,
          exit: 0,
        });
      }
    });

    test('makes whatever writes fail before it has done anything, and is written again later', async ({
      skip,
    }) => {
      if (disk === null) return skip('Only root can make a small disk.');
      await begin(disk);
      const before = await objects();
      for (const line of WRITING) {
        const { stdout, stderr, exit: code } = await onDisk(line);
        expect({ line, stdout, exit: code }).toEqual({ line, stdout: '', exit });
        expect(stderr).toMatch(why);
      }
      expect(await objects()).toEqual(before);
      await end(disk);
      expect(await onDisk('put small --name other')).toMatchObject({ exit: 0, stderr: '' });
      expect(await onDisk('rm large')).toMatchObject({ exit: 0 });
      expect((await onDisk('get other -o -')).stdout).toBe('small');
      expect(await onDisk('verify')).toMatchObject({ exit: 0 });
    });

    test('keeps sweep from nothing, and is told of', async ({ skip }) => {
      if (disk === null) return skip('Only root can make a small disk.');
      await onDisk('rm large --now');
      await begin(disk);
      const before = await objects();
      const { exit: code, stderr } = await onDisk('sweep');
      expect(stderr).toMatch(/catalog .* It will list what this sweep removes until the next one\./);
      expect(code).toBe(0);
      expect((await objects()).length).toBeLessThan(before.length);
      await end(disk);
      await onDisk('sweep');
      expect(await onDisk('verify')).toMatchObject({ exit: 0 });
    });

    test('that is old is still compared with the buckets', async ({ skip }) => {
      if (disk === null) return skip('Only root can make a small disk.');
      await run('put small --name later');
      await begin(disk);
      const { exit: code, stderr } = await onDisk('verify');
      expect(stderr).toContain('did not know 1 of the files');
      expect(stderr).toMatch(why.source.includes('no room') ? /no room left/ : /file system is read-only/);
      expect(stderr).not.toContain('agrees now');
      expect(code).toBe(3);
    });
  });

  describe('that a killed process has left on a read-only file system', () => {
    test('is read with its log', async ({ skip }) => {
      if (disk === null) return skip('Only root can make a small disk.');
      await leave(['', '-wal', '-shm']);
      await disk.setReadOnly(true);
      expect((await onDisk('get logged -o -')).stdout).toBe('small');
      expect(await onDisk('verify')).toMatchObject({ exit: 0 });
      expect(await onDisk('put small')).toMatchObject({ exit: 2 });
    });

    test('is refused rather than read without what its log says', async ({ skip }) => {
      if (disk === null) return skip('Only root can make a small disk.');
      await leave(['', '-wal']);
      await disk.setReadOnly(true);
      const { exit, stdout, stderr } = await onDisk('ls');
      expect({ exit, stdout }).toEqual({ exit: 2, stdout: '' });
      expect(stderr).toMatch(/c\.db-wal.* copy both/);
      const copy = box.at('copy');
      await mkdir(copy);
      for (const name of ['c.db', 'c.db-wal']) await copyFile(box.at('disk', name), join(copy, name));
      await rm(box.db);
      expect((await run('get logged -o -', { VAULT_DB: join(copy, 'c.db') })).stdout).toBe('small');
    });
  });
});
