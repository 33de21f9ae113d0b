/** A database that cannot be used: one clear line, an exit code that says whose turn it is, and never a password. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { errorAnswer, postgresProxy, rowAnswer } from '../support/postgres-proxy.ts';
import type { Fate, PostgresProxy } from '../support/postgres-proxy.ts';
import { runSql } from '../support/postgres.ts';
import { selfSigned } from '../support/self-signed.ts';
import type { Sandbox } from './run.ts';
import { sandbox, SUMMARY } from './run.ts';

/** In every URL of this file, so that no output may have it. */
const SECRET = 'h1dd3n';

const suffix = randomBytes(6).toString('hex');
/** A user who may log in and nothing else, and a database whose tables are another program's. */
const ROLE = `r_${suffix}`;
const TAKEN = `d_${suffix}`;

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
  await writeFile(box.at('no-certificate.pem'), 'This is no certificate.\n');
  const server = inject('postgresUrl');
  await runSql(server, `create role ${ROLE} login password '${SECRET}'`);
  await runSql(server, `create database ${TAKEN}`);
  const { href } = withParts(server, { pathname: TAKEN });
  await runSql(href, 'create table files (id integer); create table users (id integer)');
});
afterAll(async () => {
  await runSql(inject('postgresUrl'), `drop database ${TAKEN} with (force)`);
  await runSql(inject('postgresUrl'), `drop role ${ROLE}`);
  await box[Symbol.asyncDispose]();
});

type Parts = Partial<Pick<URL, 'username' | 'password' | 'hostname' | 'port' | 'pathname' | 'search'>>;

function withParts(url: string, parts: Parts): URL {
  return Object.assign(new URL(url), parts);
}

/** The shared server's URL, changed. */
function served(parts: Parts): string {
  return withParts(inject('postgresUrl'), parts).href;
}

/** The same as somebody who may do nothing. */
function asRole(parts: Parts = {}): string {
  return served({ username: ROLE, password: SECRET, ...parts });
}

/** What the command says of a database: the same line to people and, as JSON, to programs. */
async function saidOf(
  db: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ readonly exit: number; readonly said: string }> {
  const run = async (more: readonly string[]) => box.run([...args, '--db', db, ...more], { env });
  const [plain, json] = await Promise.all([run([]), run(['--json', '--debug'])]);
  const superuser = new URL(inject('postgresUrl')).password;
  for (const output of [plain.stdout, plain.stderr, json.stdout, json.stderr]) {
    expect(output).not.toContain(SECRET);
    expect(output).not.toContain(superuser);
  }
  expect(plain.stderr).toMatch(/^vault: [^\n]+\n$/);
  expect(plain.stdout).toBe('');
  const said = plain.stderr.slice('vault: '.length, -1);
  const [line = ''] = json.stderr.split('\n');
  expect(JSON.parse(line)).toMatchObject({ error: { message: said, exit: plain.exit } });
  expect(json.exit).toBe(plain.exit);
  return { exit: plain.exit, said };
}

const LS = ['ls'];
const INIT = ['init', '--bucket', 'one'];
const PLACE = `postgres://vault:${SECRET}@127.0.0.1`;

describe('a URL that cannot be right ends with 2', () => {
  test.each<[string, string, RegExp]>([
    ['without a database', `${PLACE}:5432`, /names no database.*postgres:\/\/user@host\/database/],
    ['with a port that is none', `${PLACE}:port/db`, /cannot be read.*percent-encoded/],
    ['with a port that is too high', `${PLACE}/db?port=70000`, /port is from 1 to 65535/],
    ['with an unknown parameter', `${PLACE}/db?shema=x`, /unknown parameter "shema"\. .*"schema"/],
    ['with an unknown sslmode', `${PLACE}/db?sslmode=maybe`, /sslmode is disable, prefer.*not "maybe"/],
    ['with several hosts', `postgres://vault:${SECRET}@a:1,b:2/db`, /several hosts, and only one is tried/],
    ['with a "/" in the password', `postgres://vault:1/${SECRET}@h/db`, /percent-encoded \("\/" as %2F/],
    ['with a "#" in the password', `postgres://vault:1#${SECRET}@h/db`, /percent-encoded .*"#" as %23/],
    ['with a "?" in the password', `postgres://vault:1?${SECRET}@h/db`, /unknown parameter\. /],
    ['with a "%" in the password', `postgres://vault:%${SECRET}@h/db`, /"%" that is not followed by two hex/],
    [
      'with too few slashes',
      `postgres:vault:${SECRET}@h/db`,
      /postgres:\/\/user:password@host:port\/database is/,
    ],
    ['of another database', `mysql://vault:${SECRET}@h/db`, /a postgres:\/\/ URL, not mysql:\/\/\.\.\./],
    ['of Windows', 'c:\\catalog.db', /is a path of Windows\. .*\/mnt\/c/],
    [
      'in the form of keywords',
      `host=h dbname=db password=${SECRET}`,
      /a postgres:\/\/ URL, not a list of keywords/,
    ],
    [
      'without the certificate',
      `${PLACE}/db?sslrootcert=absent.pem`,
      /sslrootcert=absent\.pem cannot be read/,
    ],
    [
      'with a key that is none',
      `${PLACE}/db?sslkey=no-certificate.pem`,
      /sslkey does not hold what it should/,
    ],
    ...[
      `'${PLACE}/db'`,
      ` ${PLACE}/db`,
      `jdbc:${PLACE}/db`,
      `psql ${PLACE}/db`,
      `VAULT_DB=${PLACE}/db`,
      `postgres ://vault:${SECRET}@h/db`,
      `postgres//vault:${SECRET}@h/db`,
      `'postgres:/vault:${SECRET}@h/db'`,
      `vault:${SECRET}@h/db`,
      `'password=${SECRET} dbname=db'`,
    ].map((db): [string, string, RegExp] => [
      `that is none as it stands: ${db}`,
      db,
      /an SQLite file or a postgres:\/\/ URL.* may hold a password|not a list of keywords/,
    ]),
    [
      'with a URL as its host',
      `postgres:///db?host=${encodeURIComponent(`${PLACE}/db`)}`,
      /^The host of .* is no URL/,
    ],
    ['with too long a schema', `${PLACE}/db?schema=${'x'.repeat(64)}`, /schema's name is 63 bytes/],
  ])('%s', async (_, db, message) => {
    const { exit, said } = await saidOf(db, LS);
    expect(said).toMatch(message);
    expect(exit).toBe(2);
  });

  test.each([INIT, ['config', 'show'], ['catalog', 'copy', `'${PLACE}/copy'`]])(
    'before anything is made or shown: %j',
    async (...args) => {
      const before = await readdir(box.path);
      expect(await saidOf(` ${PLACE}/db`, args)).toMatchObject({ exit: 2 });
      expect(await readdir(box.path)).toEqual(before);
    },
  );

  test('nor does what is shown of one that cannot be read have a password', async () => {
    const place = `postgres://vault:0/@${SECRET}@h/db`;
    const { stdout } = await box.run(['config', 'show', '--db', place]);
    expect(stdout).toContain('postgres://vault@h/db');
    expect(stdout).not.toContain(SECRET);
  });

  test('also from the environment', async () => {
    const env = { PGPORT: '70000', PGPASSWORD: SECRET };
    expect(await saidOf('postgres://127.0.0.1/db', LS, env)).toMatchObject({ exit: 2 });
  });
});

describe('a server that refuses ends with 2', () => {
  test.each<[string, () => string, readonly string[], RegExp]>([
    [
      'a wrong password',
      () => served({ password: SECRET }),
      LS,
      /password authentication failed for user "vault"/,
    ],
    [
      'no password',
      () => served({ password: '' }),
      LS,
      /asks for a password, and there is none\. .*PGPASSWORD/,
    ],
    ['no such user', () => served({ username: 'absent' }), LS, /failed for user "absent"\. Check user and/],
    [
      'no such database',
      () => asRole({ pathname: 'absent' }),
      INIT,
      /no such database.*Create it, or name another/,
    ],
    [
      'no such schema',
      () => asRole({ search: '?options=-csearch_path%3Dabsent' }),
      INIT,
      /no schema has been/,
    ],
    [
      'no such setting',
      () => asRole({ search: '?options=-cabsent%3D1' }),
      LS,
      /does not know a setting: .*"absent"/,
    ],
    ['no right to make tables', () => asRole(), INIT, /permission denied for schema public\. Grant its user/],
    [
      'no right to make a schema',
      () => asRole({ search: '?schema=mine' }),
      INIT,
      /permission denied for database/,
    ],
    [
      'tables of something else',
      () => served({ pathname: TAKEN }),
      INIT,
      /another program \(files, users\).*\?schema=/,
    ],
    [
      'no TLS, which is asked for',
      () => asRole({ search: '?sslmode=require' }),
      LS,
      /has no TLS.*say sslmode=disable/,
    ],
    ['no TLS to be verified', () => asRole({ search: '?sslmode=verify-full' }), LS, /has no TLS/],
  ])('%s', async (_, db, args, message) => {
    const { exit, said } = await saidOf(db(), args);
    expect(said).toMatch(message);
    expect(exit).toBe(2);
    expect(await readdir(box.path)).not.toContain('one');
  });

  test('a certificate that nobody vouches for', async () => {
    await using proxy = await disposable(postgresProxy(inject('postgresUrl'), { tls: selfSigned() }));
    const db = withParts(proxy.url, { search: '?sslmode=verify-full' }).href;
    const { exit, said } = await saidOf(db, LS);
    expect(said).toMatch(/certificate .* is not trusted: .*sslrootcert=<file>/);
    expect(exit).toBe(2);
  });

  test('tables that are somebody else’s', async () => {
    const { exit, said } = await saidThrough(
      (text) =>
        text.startsWith('create table') ? errorAnswer('42501', 'must be owner of table files') : 'pass',
      INIT,
    );
    expect(said).toMatch(/must be owner of table files\. Log in as its owner.*or name another schema/);
    expect(exit).toBe(2);
  });

  test('one that is too old', async () => {
    const { exit, said } = await saidThrough(
      (text) => (text.includes('server_version_num') ? rowAnswer('server_version_num', '90624') : 'pass'),
      INIT,
    );
    expect(said).toMatch(/too old \(90624\): Postgres 11 or later is needed/);
    expect(exit).toBe(2);
  });
});

// Each is tried again for a while.
describe.concurrent('a server that cannot be reached ends with 5', () => {
  test.each<[string, string, RegExp]>([
    [
      'for nobody listens',
      `${PLACE}:1/db`,
      /ECONNREFUSED 127\.0\.0\.1:1\. Check host and port, or try again/,
    ],
    ['for nobody knows the host', `postgres://vault:${SECRET}@host.invalid/db`, /host\.invalid\. Check host/],
    [
      'for the socket is not there',
      `postgres:///db?host=/absent&password=${SECRET}`,
      /\/absent\/\.s\.PGSQL\.5432/,
    ],
  ])('%s', async (_, db, message) => {
    const { exit, said } = await saidOf(db, LS);
    expect(said).toMatch(message);
    expect(exit).toBe(5);
  });

  test('for it hangs up', async () => {
    await using server = await fakeServer(() => null);
    expect(await saidOf(server.url, LS)).toMatchObject({ exit: 5, said: expect.stringMatching(/Try again/) });
  });

  test('for it has too many clients', async () => {
    await using server = await fakeServer(() => errorAnswer('53300', 'sorry, too many clients already'));
    expect(await saidOf(server.url, LS)).toMatchObject({ exit: 5, said: expect.stringMatching(/too many/) });
  });

  test('for its pooler has none', async () => {
    await using server = await fakeServer(() => errorAnswer('08P01', 'pgbouncer cannot connect to server'));
    expect(await saidOf(server.url, LS)).toMatchObject({ exit: 5 });
  });
});

test.each<[string, Buffer]>([
  ['a web server', Buffer.from('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')],
  ['a secure shell', Buffer.from('SSH-2.0-OpenSSH_9.2p1\r\n')],
])('%s in the place of a database is told apart, and ends with 2', async (_, greeting) => {
  await using server = await fakeServer(() => greeting, 'prefer');
  expect(await saidOf(server.url, LS)).toEqual({
    exit: 2,
    said: `What answers for postgres://vault@127.0.0.1:${new URL(server.url).port}/db is not a Postgres server. Check host and port.`,
  });
});

/** PgBouncer gives everything that it says itself one code, that of an outage. */
describe('a pooler that refuses for good ends with 2', () => {
  test.each<[string, RegExp]>([
    ['SASL authentication failed', /Check user and password/],
    ['no such database: db', /Name a database it knows/],
    ['unsupported startup parameter: options', /refuses a setting.*name the schema with \?schema=/],
  ])('%s', async (message, advice) => {
    await using server = await fakeServer(() => errorAnswer('08P01', message));
    const { exit, said } = await saidOf(server.url, LS);
    expect(said).toContain(message);
    expect(said).toMatch(advice);
    expect(exit).toBe(2);
  });

  test('transactions, after which it hangs up', async () => {
    const { exit, said } = await saidThrough((text) => {
      if (text === 'rollback') return 'lose';
      if (!text.startsWith('begin')) return 'pass';
      return errorAnswer('08P01', 'transaction blocks not allowed in statement pooling mode');
    }, INIT);
    expect(said).toMatch(/set pool_mode to transaction or session/);
    expect(exit).toBe(2);
  });
});

describe('a database that fails in the middle of the work', () => {
  let proxy: PostgresProxy;
  let schema: string;
  let db: string;
  beforeAll(async () => {
    schema = `t_${randomBytes(6).toString('hex')}`;
    proxy = await postgresProxy(inject('postgresUrl'));
    db = withParts(proxy.url, { search: `?schema=${schema}` }).href;
    const buckets = ['a', 'b', 'c'].flatMap((name) => ['--bucket', name]);
    await box.run(['init', ...buckets, '--db', db]);
    await writeFile(box.at('file'), randomBytes(300_000));
  });
  afterAll(async () => {
    await proxy.close();
    await runSql(inject('postgresUrl'), `drop schema ${schema} cascade`);
  });
  afterEach(() => {
    proxy.decide = () => 'pass';
  });

  test('for its disk is full ends a put with 5, and the same put goes on when there is room', async () => {
    const put = ['put', '--chunk-size', '64KiB', 'file'];
    proxy.decide = (text) =>
      /^insert into \S+"chunks"/.test(text) ? errorAnswer('53100', 'could not extend file') : 'pass';
    const { exit, said } = await saidOf(db, put);
    expect(said).toMatch(/^The disk of the database .* is full: could not extend file\. Make room/);
    expect(exit).toBe(5);
    expect(await box.run(['ls', '--db', db])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    proxy.decide = () => 'pass';
    expect(await box.run([...put, '--db', db])).toMatchObject({ exit: 0, stderr: '' });
    const { stdoutBytes } = await box.run(['get', 'file', '-o', '-', '--db', db]);
    expect(stdoutBytes.equals(await readFile(box.at('file')))).toBe(true);
    expect(await box.run(['sweep', '--db', db])).toMatchObject({ exit: 0, stderr: '' });
    expect(await box.run(['verify', '--read-data', '--db', db])).toMatchObject({ exit: 0, stderr: '' });
  });

  test('for every other answer to a commit is lost is not noticed', async () => {
    let commits = 0;
    proxy.decide = (text) => (text === 'commit' && commits++ % 2 === 0 ? 'lose answer' : 'pass');
    const content = 'new content '.repeat(10_000);
    const put = await box.run(['put', '-', '--name', 'new', '--json', '--db', db], { stdin: content });
    expect(put).toMatchObject({ exit: 0, stderr: expect.stringMatching(SUMMARY) });
    const got = await box.run(['get', 'new', '-o', '-', '--db', db]);
    expect(got).toMatchObject({ exit: 0, stdout: content, stderr: '' });
    expect(await box.run(['rm', 'new', '--now', '--db', db])).toMatchObject({ exit: 0, stderr: '' });
    expect(await box.run(['sweep', '--db', db])).toMatchObject({ exit: 0, stderr: '' });
    expect(commits).toBeGreaterThan(4);
  });
});

/** What the command says of a schema of its own behind a proxy that decides the fate of each statement. */
async function saidThrough(
  decide: (text: string) => Fate,
  args: readonly string[],
): ReturnType<typeof saidOf> {
  await using proxy = await disposable(postgresProxy(inject('postgresUrl')));
  proxy.decide = decide;
  return await saidOf(withParts(proxy.url, { search: `?schema=t_${suffix}` }).href, args);
}

async function disposable(starting: Promise<PostgresProxy>): Promise<PostgresProxy & AsyncDisposable> {
  const proxy = await starting;
  return Object.assign(proxy, { [Symbol.asyncDispose]: () => proxy.close() });
}

/**
 * A server that says what it likes.
 *
 * @param answer to a client's message; null hangs up
 * @param sslmode whether its first answer is to the question for TLS
 */
async function fakeServer(
  answer: () => Uint8Array | null,
  sslmode = 'disable',
): Promise<{ readonly url: string } & AsyncDisposable> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => {
      const bytes = answer();
      if (bytes === null) socket.destroy();
      else socket.write(bytes);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('A TCP server has a port.');
  return {
    url: `postgres://vault:${SECRET}@127.0.0.1:${address.port}/db?sslmode=${sslmode}`,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
    },
  };
}
