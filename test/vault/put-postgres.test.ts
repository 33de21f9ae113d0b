/** What the README lets a machine that can only store do in a shared catalog: it suffices, and harms nobody. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { systemCode } from '../../src/errors.ts';
import { blocksOf } from '../support/policies.ts';
import { runShared, runSql } from '../support/postgres.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { all, getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';
import { putMachine } from './put-machine.ts';
import type { PutMachine } from './put-machine.ts';

const BODY = seededRandom(19).bytes(200_000);
/** One of its own: the statements name a schema and a role as the page does. */
const DATABASE = `d_${randomBytes(6).toString('hex')}`;

function urlAs(user: { readonly name: string; readonly password: string } | null): string {
  const url = new URL(inject('postgresUrl'));
  url.pathname = DATABASE;
  if (user !== null) Object.assign(url, { username: user.name, password: user.password });
  return url.href;
}
const WEB = { name: 'web1', password: randomBytes(8).toString('hex') };
const asWeb = async (text: string): Promise<readonly Readonly<Record<string, unknown>>[]> =>
  runSql(urlAs(WEB), text);

let made: TestVault;
let machine: PutMachine;
let theirs: string;

beforeAll(async () => {
  await runShared(`create role ${WEB.name} login password '${WEB.password}'`);
  await runShared(`create database ${DATABASE}`);
  made = await testVault({ db: `${urlAs(null)}?schema=vault` });
  ({ hash: theirs } = await putBytes(made.vault, BODY, { name: 'theirs' }));
  const [grants = ''] = await blocksOf('sql');
  await runSql(urlAs(null), grants);
  machine = await putMachine(made, { label: 'web', db: `${urlAs(WEB)}?schema=vault` });
});

afterAll(async () => {
  await machine[Symbol.asyncDispose]();
  await made[Symbol.asyncDispose]();
  await runShared(`drop database ${DATABASE} with (force)`);
  await runShared(`drop role ${WEB.name}`);
});

test('what it stores shows at once to a full key, and what is unchanged it finds', async () => {
  await putBytes(machine.vault, Buffer.from('small'), { name: 'small' });
  const { hash } = await putBytes(machine.vault, BODY, { name: 'large' });
  expect(await putBytes(machine.vault, BODY, { name: 'large' })).toMatchObject({ hash, unchanged: true });
  const listed = (await all(made.vault.list())).map(({ name, writer }) => `${writer.label} ${name}`);
  expect(listed).toEqual(expect.arrayContaining(['web small', 'web large']));
  expect((await getBytes(made.vault, 'web:large')).equals(BODY)).toBe(true);
  // A new keyring, which it cannot note there, is no reason to stop.
  await made.vault.renameKey('web', { label: 'www' });
  await putBytes(machine.vault, BODY.subarray(1), { name: 'large' });
  expect((await getBytes(made.vault, 'www:large')).equals(BODY.subarray(1))).toBe(true);
  expect((await all(machine.vault.list())).map(({ name }) => name)).not.toContain('theirs');
});

test('it reads nothing to any use, and changes and removes nothing', async () => {
  const rows = await asWeb('select * from vault.files');
  expect(rows.length).toBeGreaterThan(2);
  const shown = Buffer.concat(
    rows.flatMap((row) => Object.values(row)).filter((value) => value instanceof Uint8Array),
  );
  expect(shown.includes('theirs')).toBe(false);
  for (const statement of [
    'update vault.files set hidden_at = 1',
    'delete from vault.files',
    'truncate vault.files',
    'drop table vault.files',
    'alter table vault.files disable trigger all',
    'create table vault.mine (one int)',
    'update vault.vault set epoch = 9',
    'delete from vault.buckets',
    'insert into vault.buckets (number) values (99)',
    'update vault.vault_schema set version = 0',
    'select * from vault.notes',
    'select * from vault.chunks',
    'select * from vault.grants',
    "insert into vault.notes (key, value) values ('\\x00', '\\x00')",
  ]) {
    const error: unknown = await asWeb(statement).then(
      () => null,
      (reason: unknown) => reason,
    );
    expect({ statement, code: systemCode(error) }).toEqual({ statement, code: '42501' });
  }
});

test('rows that it makes up hide nothing, stop nobody, and remove nothing', async () => {
  // As the newest version of somebody else's name, as one that is removed, and as what is no row of anybody.
  const forged = (columns: string): string => `insert into vault.files
    (hash, writer, name_tag, record, version, created_at, expires_at, hidden_at)
    select ${columns} from vault.files where hash = '\\x${theirs}'`;
  await asWeb(
    forged(`'\\x${'aa'.repeat(32)}', writer, name_tag, record, 9007199254740991, created_at, null, null`),
  );
  await asWeb(forged(`'\\x${'bb'.repeat(32)}', writer, name_tag, '\\x00', 9007199254740990, 0, 1, 1`));
  await asWeb(forged(`'\\x${'cc'.repeat(32)}', '\\x${'00'.repeat(16)}', name_tag, record, 1, 0, 1, null`));
  await expect(asWeb(forged('hash, writer, name_tag, record, 1, 0, 1, 1'))).rejects.toMatchObject({
    code: '23505',
  });
  expect((await getBytes(made.vault, 'theirs')).equals(BODY)).toBe(true);
  // What makes no sense is told when everything else has been listed.
  const seen: string[] = [];
  const listing = (async () => {
    for await (const file of made.vault.list({ all: true })) seen.push(file.hash);
  })();
  await expect(listing).rejects.toMatchObject({
    code: 'damaged',
    message: expect.stringContaining('repair'),
  });
  expect(seen).toContain(theirs);
  const { hash } = await putBytes(made.vault, BODY.subarray(2), { name: 'theirs' });
  await made.vault.sweep({ waitMs: 0 });
  const { affected } = await made.vault.verify({ depth: 'listing' });
  expect(affected.map((file) => file.hash)).not.toContain(theirs);
  await made.vault.repair();
  const junk = affected.map((file) => file.hash).filter((one) => /^(aa|bb|cc)+$/.test(one));
  await made.vault.remove(junk, { graceMs: 0 });
  await made.vault.sweep({ waitMs: 0 });
  expect((await getBytes(made.vault, theirs)).equals(BODY)).toBe(true);
  expect((await getBytes(made.vault, 'theirs')).equals(BODY.subarray(2))).toBe(true);
  expect((await all(made.vault.list())).map((file) => file.hash)).toContain(hash);
  expect((await made.vault.verify({ depth: 'listing' })).affected).toEqual([]);
});
