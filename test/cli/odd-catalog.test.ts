/** What a command says of a catalog's file that is not what it should be, and whether what it advises helps. */
import { copyFile, mkdir, rename, symlink, truncate, writeFile } from 'node:fs/promises';
import Sqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DATABASE } from '../support/catalog-place.ts';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

let box: Sandbox;
beforeEach(async () => {
  box = await sandbox();
  await box.makeVault();
  await writeFile(box.at('f'), 'hello');
});
afterEach(async () => {
  await box[Symbol.asyncDispose]();
});

/** @param how makes the file, out of a copy of a catalog */
interface Oddity {
  readonly what: string;
  readonly how: (path: string) => unknown;
  readonly exit: number;
  readonly says: RegExp;
}

const DAMAGED = /is damaged or is no catalog .* move it away: "vault recover" then makes it anew/;

const ODDITIES: readonly Oddity[] = [
  { what: 'cut off in its header', how: (path) => truncate(path, 60), exit: 6, says: DAMAGED },
  { what: 'cut off behind it', how: (path) => truncate(path, 8192), exit: 6, says: DAMAGED },
  { what: 'a text', how: (path) => writeFile(path, 'text\n'.repeat(900)), exit: 6, says: DAMAGED },
  { what: 'empty', how: (path) => truncate(path, 0), exit: 10, says: /"vault recover" the catalog of one/ },
  {
    what: 'of a newer version',
    how: (path) => new Sqlite(path).exec('pragma user_version = 999').close(),
    exit: 7,
    says: /was written by a newer version/,
  },
  {
    what: 'of another program',
    how: (path) => new Sqlite(path).exec('pragma application_id = 5').close(),
    exit: 2,
    says: /is the database of another program/,
  },
  {
    what: 'a folder',
    how: async (path) => {
      await rename(path, `${path}.away`);
      await mkdir(path);
    },
    exit: 2,
    says: /is not a file/,
  },
  {
    what: 'a pipe',
    how: async (path) => {
      await rename(path, `${path}.away`);
      await box.shell(`mkfifo ${path}`);
    },
    exit: 2,
    says: /is not a file/,
  },
  {
    what: 'a link to itself',
    how: async (path) => {
      await rename(path, `${path}.away`);
      await symlink('odd.db', path);
    },
    exit: 2,
    says: /^vault: The catalog cannot be at .*ELOOP/,
  },
];

describe.skipIf(DATABASE === 'postgres')('a catalog that is', () => {
  test.each(ODDITIES)('$what', async ({ what, how, exit, says }) => {
    const odd = box.at('odd.db');
    const env = { VAULT_DB: odd };
    await copyFile(box.db, odd);
    await how(odd);
    for (const line of ['ls', 'put f']) {
      const ended = await box.run(line.split(' '), { env });
      expect(ended).toMatchObject({ exit, stdout: '' });
      expect(ended.stderr).toMatch(says);
    }
    const recover = ['recover', '--bucket', box.bucket(1)];
    expect(await box.run(recover, { env })).toMatchObject({ exit: what === 'empty' ? 0 : exit });
    await rename(odd, box.at('moved away'));
    expect(await box.run(recover, { env })).toMatchObject({ exit: 0 });
    expect(await box.run(['put', 'f'], { env })).toMatchObject({ exit: 0 });
  });
});

test.skipIf(DATABASE === 'postgres')('A way that leads back to itself is wrong usage', async () => {
  await symlink('loop', box.at('loop'));
  const beyond = box.at('loop', 'x');
  for (const [line, db, says] of [
    ['ls', beyond, /^vault: The catalog cannot be at/],
    ['init --bucket b', beyond, /^vault: The catalog cannot be at/],
    [`recover --bucket ${box.bucket(1)}`, beyond, /^vault: The catalog cannot be at/],
    [`catalog copy ${beyond}`, box.db, /^vault: The catalog cannot be at/],
    [`bucket add ${beyond}`, box.db, /^vault: Could not make the folder .*no link hides/],
  ] as const) {
    const { exit, stderr } = await box.run(line.split(' '), { env: { VAULT_DB: db } });
    expect({ line, exit }).toEqual({ line, exit: 2 });
    expect(stderr).toMatch(says);
  }
  await copyFile(box.db, box.at('c.db'));
  await symlink('c.db-wal', box.at('c.db-wal'));
  const { exit, stderr } = await box.run(['ls'], { env: { VAULT_DB: box.at('c.db') } });
  expect({ exit, stderr }).toEqual({
    exit: 2,
    stderr: expect.stringMatching(/^vault: The catalog cannot be read: ELOOP/),
  });
});

test('An empty HOME is no home: nothing is looked for in the working folder', async () => {
  const { stderr } = await box.run(['ls'], { env: { HOME: '', VAULT_DB: undefined } });
  expect(stderr).toMatch(/There is no vault at \//);
});
