/** A change of the keyring whose database takes it not: before the first bucket has it nothing is changed, and after it no secret goes. */
import { randomBytes } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest';
import { errorAnswer, postgresProxy } from '../support/postgres-proxy.ts';
import type { PostgresProxy } from '../support/postgres-proxy.ts';
import { freshPostgres, runShared } from '../support/postgres.ts';
import type { FreshPostgres } from '../support/postgres.ts';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

const ROLE = `r_${randomBytes(6).toString('hex')}`;

let box: Sandbox;
let fresh: FreshPostgres;
let proxy: PostgresProxy;
let db: string;
beforeAll(async () => {
  box = await sandbox();
  fresh = await freshPostgres();
  proxy = await postgresProxy(inject('postgresUrl'));
  db = `${proxy.url}?schema=${fresh.schema}`;
  await box.run(['init', '--bucket', 'one', '--bucket', 'two', '--db', db]);
  await box.run(['key', 'add', '--label', 'eve', '--new-key-file', 'eve.key', '--db', db]);
  await runShared(
    `create role ${ROLE} login password 'x'; grant usage on schema ${fresh.schema} to ${ROLE}; grant select on all tables in schema ${fresh.schema} to ${ROLE}`,
  );
  await writeFile(box.at('next'), 'a rather new one\n', { mode: 0o600 });
});
afterEach(() => {
  proxy.decide = () => 'pass';
});
afterAll(async () => {
  await proxy.close();
  await fresh.drop();
  await runShared(`drop role ${ROLE}`);
  await box[Symbol.asyncDispose]();
});

async function keyrings(): Promise<string[]> {
  return (await Promise.all(['one', 'two'].map((name) => readdir(box.at(name, 'keyring'))))).flat();
}

test('a role that may only read changes no password, key or place, in no bucket', async () => {
  const before = await keyrings();
  const readOnly = Object.assign(new URL(db), { username: ROLE, password: 'x' }).href;
  for (const verb of [
    ['password', '--new-password-file', 'next'],
    ['password', '--new-key-file', 'new.key'],
    ['key', 'rotate', '--yes', '--new-password-file', 'next'],
    ['key', 'add', '--label', 'ann', '--new-key-file', 'new.key'],
    ['key', 'rm', 'eve'],
    ['key', 'rename', 'eve', 'eva'],
  ]) {
    const { exit, stderr } = await box.run([...verb, '--db', readOnly]);
    expect({ verb, exit, stderr }).toEqual({
      verb,
      exit: 2,
      stderr: expect.stringMatching(
        /^vault: The database \S+ refuses: permission denied for table vault\. Grant/,
      ),
    });
    expect([verb, await keyrings()]).toEqual([verb, before]);
  }
  expect(await readdir(box.path)).not.toContain('new.key');
});

test('a database that is gone once a bucket has the keyring: the key file stays and is told, and opens the vault', async () => {
  const before = (await keyrings()).join();
  // Statements are slow, so that the buckets are looked at between them.
  let isChanged = false;
  const look = async (): Promise<void> => {
    isChanged ||= (await keyrings()).join() !== before;
  };
  const watch = setInterval(() => void look(), 1);
  proxy.delayMs = 50;
  proxy.decide = (text) =>
    isChanged && text !== 'rollback' ? errorAnswer('3D000', 'database "gone" does not exist') : 'pass';
  try {
    const { exit, stderr } = await box.run(['password', '--new-key-file', 'new.key', '--db', db]);
    expect(stderr).toMatch(
      /^vault: warning: The key file "new\.key" stays.*\nvault: The keyring was changed, which counts from now on.*database "gone" does not exist.*"vault recover --bucket <url>"/,
    );
    expect(exit).toBe(5);
  } finally {
    clearInterval(watch);
    proxy.delayMs = 0;
    proxy.decide = () => 'pass';
  }
  const env = { VAULT_PASSWORD: undefined, VAULT_KEY_FILE: 'new.key' };
  expect(await box.run(['ls', '--db', db], { env })).toMatchObject({
    exit: 12,
    stderr: expect.stringContaining('vault recover'),
  });
  expect((await box.run(['recover', '--bucket', 'one', '--db', db], { env })).exit).toBe(0);
  expect(await box.run(['ls', '--db', db], { env })).toMatchObject({ exit: 0 });
  expect(await box.run(['verify', '--db', db], { env })).toMatchObject({ exit: 0 });
});
