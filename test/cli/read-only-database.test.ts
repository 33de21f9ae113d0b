/** A database that takes no changes, by its user's rights or by its settings: nothing is changed in any bucket that it could not note, and nobody waits for it. */
import { randomBytes } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { freshPostgres, runShared } from '../support/postgres.ts';
import type { FreshPostgres } from '../support/postgres.ts';
import type { Ended, Sandbox } from './run.ts';
import { sandbox } from './run.ts';

const ROLE = `r_${randomBytes(6).toString('hex')}`;

let box: Sandbox;
let fresh: FreshPostgres;
beforeAll(async () => {
  box = await sandbox();
  fresh = await freshPostgres();
  await box.run(['init', '--bucket', 'one', '--bucket', 'two', '--db', fresh.url]);
  await writeFile(box.at('small'), 'small');
  await writeFile(box.at('newer'), 'newer');
  for (const line of ['small --name gone', 'small --name a', 'newer --name a']) await run(`put ${line}`);
  await run('rm gone');
  await runShared(
    `create role ${ROLE} login password 'x'; grant usage on schema ${fresh.schema} to ${ROLE}; grant select on all tables in schema ${fresh.schema} to ${ROLE}`,
  );
});
afterAll(async () => {
  await fresh.drop();
  await runShared(`drop role ${ROLE}`);
  await box[Symbol.asyncDispose]();
});

function run(line: string, db = fresh.url): Promise<Ended> {
  return box.run([...line.split(' '), '--db', db]);
}

async function objects(): Promise<string[]> {
  const found = await Promise.all(['one', 'two'].map((name) => readdir(box.at(name), { recursive: true })));
  return found.flat().toSorted();
}

const ways = [
  {
    way: 'a user may only read',
    url: () =>
      Object.assign(new URL(`${inject('postgresUrl')}?schema=${fresh.schema}`), {
        username: ROLE,
        password: 'x',
      }).href,
    exit: 2,
    why: /^vault: The database \S+ refuses: permission denied for table \w+\. Grant/,
  },
  {
    way: 'the settings let nobody write',
    url: () => `${fresh.url}&options=-c%20default_transaction_read_only=on`,
    exit: 5,
    why: /^vault: The database \S+ accepts no changes: .*Name the server or a user that can write/,
  },
];

describe.each(ways)('where $way', ({ url, exit, why }) => {
  let before: string[];
  beforeEach(async () => {
    before = await objects();
  });

  test.each([
    'rm a',
    'rm a --now',
    'prune --keep-last 1 --yes',
    'undelete gone',
    'put small --name b',
    'repair',
    'sync',
  ])('%s is refused at once, and has changed no bucket', async (line) => {
    const startedMs = performance.now();
    const { exit: code, stderr } = await run(line, url());
    expect(stderr).toMatch(why);
    expect(code).toBe(exit);
    expect(performance.now() - startedMs).toBeLessThan(10_000);
    expect(await objects()).toEqual(before);
  });

  test('a sweep removes and hides in the buckets what it would, and says what the catalog lists until the next one', async () => {
    await writeFile(box.at('other'), 'other content');
    await run('put other --name swept');
    expect(await run('rm swept --grace 1s')).toMatchObject({ exit: 0 });
    await run('put small --name passing --expires 1s');
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    before = await objects();
    const { exit: code, stderr } = await run('sweep', url());
    expect(stderr).toMatch(/It will list what this sweep removes until the next one\./);
    expect(code).toBe(0);
    const after = await objects();
    const added = after.filter((name) => !before.includes(name));
    expect(added.filter((name) => name.startsWith('deleted/'))).toHaveLength(2);
    expect(before.filter((name) => !after.includes(name)).length).toBeGreaterThan(0);
    expect((await run('ls')).stdout).toContain('passing');
    expect(await run('sweep')).toMatchObject({ exit: 0 });
    expect((await run('ls')).stdout).not.toContain('passing');
    expect((await run('ls --deleted')).stdout).toContain('passing');
    expect(await run('verify')).toMatchObject({ exit: 0 });
  });

  test('verify tells what the catalog does not know, and notes nothing there', async () => {
    await runShared(`delete from ${fresh.schema}.files where hidden_at is null`);
    const { exit: code, stderr } = await run('verify', url());
    expect(stderr).toMatch(/did not know \d+ of the files in the buckets/);
    expect(stderr).not.toContain('agrees now');
    expect(code).toBe(3);
    await run('repair');
    expect(await run('verify')).toMatchObject({ exit: 0 });
  });
});
