import { writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { openCatalog } from '../../src/catalog/open.ts';
import type { OpenCatalogOptions } from '../../src/catalog/open.ts';
import { openPostgres } from '../../src/catalog/postgres/engine.ts';
import { postgresSettings } from '../../src/catalog/postgres/settings.ts';
import { VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { errorAnswer, postgresProxy, rowAnswer } from '../support/postgres-proxy.ts';
import type { PostgresProxy } from '../support/postgres-proxy.ts';
import { freshPostgres, runSql } from '../support/postgres.ts';
import { selfSigned } from '../support/self-signed.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { codeOf, file, hex, VAULT } from './samples.ts';
import { statementsOf } from './statements.ts';
import { systemClock } from '../../src/host.ts';

const CREATE = { create: true, environment: {} } as const;

async function opened(url: string, options: OpenCatalogOptions = CREATE): Promise<string> {
  const catalog = await openCatalog(url, options);
  await catalog.close();
  return catalog.label;
}

async function failure(url: string, options: OpenCatalogOptions = CREATE): Promise<VaultError> {
  try {
    await opened(url, options);
  } catch (error) {
    if (error instanceof VaultError) return error;
    throw error;
  }
  throw new Error('It was opened.');
}

/** The shared server's URL with another user, database, ... */
function urlWith(change: (url: URL) => void): string {
  const url = new URL(inject('postgresUrl'));
  change(url);
  return url.href;
}

/** A database of the test's own. */
async function freshDatabase(): Promise<{ readonly url: string } & AsyncDisposable> {
  const name = `d_${hex(12)}`;
  await runSql(inject('postgresUrl'), `create database ${name}`);
  return {
    url: urlWith((url) => {
      url.pathname = name;
    }),
    async [Symbol.asyncDispose]() {
      await runSql(inject('postgresUrl'), `drop database ${name} with (force)`);
    },
  };
}

describe('opening a catalog in Postgres', () => {
  test('makes schema and tables only when asked to', async () => {
    const place = await freshPostgres();
    expect(await codeOf(opened(place.url, {}))).toBe('no-vault');
    await opened(place.url);
    await opened(place.url, {});
    await place.drop();
  });

  test('without a schema in the URL uses the one that the server puts first', async () => {
    await using database = await freshDatabase();
    await opened(database.url);
    const rows = await runSql(
      database.url,
      `select table_schema from information_schema.tables where table_name = 'vault_schema'`,
    );
    expect(rows).toEqual([{ table_schema: 'public' }]);
    const catalog = await openCatalog(database.url, {});
    const row = file();
    await catalog.files.put([row]);
    expect(await catalog.files.byPrefix(row.hash, 1)).toEqual([row]);
    await catalog.close();
  });

  test('takes any name for the schema', async () => {
    await using database = await freshDatabase();
    const url = `${database.url}?schema=${encodeURIComponent('Odd "name" of; a schema')}`;
    await opened(url);
    const catalog = await openCatalog(url, {});
    const row = file();
    await catalog.files.put([row]);
    expect(await catalog.files.byPrefix(row.hash, 1)).toEqual([row]);
    await catalog.close();
  });

  test('refuses a name that the server keeps for itself', async () => {
    const { code, message } = await failure(urlWith((url) => url.searchParams.set('schema', 'pg_vault')));
    expect(code).toBe('invalid-input');
    expect(message).toMatch(/Name another schema/);
  });

  test('says of a server that accepts no changes that it is no outage', async () => {
    const place = await freshPostgres();
    const { code, message } = await failure(`${place.url}&options=-c%20default_transaction_read_only=on`);
    expect(code).toBe('unavailable');
    expect(message).toMatch(/accepts no changes.*standby/);
    // Nothing needs to be changed for reading.
    await opened(place.url);
    await opened(`${place.url}&options=-c%20default_transaction_read_only=on`, { environment: {} });
    await place.drop();
  });

  test('many clients that start at once make the tables once', async () => {
    const place = await freshPostgres();
    const catalogs = await Promise.all(Array.from({ length: 8 }, () => openCatalog(place.url, CREATE)));
    await Promise.all(catalogs.map((catalog) => catalog.setup.create(VAULT)));
    expect(await catalogs[7]?.setup.vault()).toEqual(VAULT);
    for (const catalog of catalogs) await catalog.close();
    await place.drop();
  });

  test('refuses a schema that a newer version has upgraded', async () => {
    const place = await freshPostgres();
    await opened(place.url);
    await runSql(place.url, `update ${place.schema}.vault_schema set version = 999`);
    expect(await failure(place.url)).toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('schema 999'),
    });
    await place.drop();
  });

  test('refuses the tables of another program, and goes beside them into a schema of its own', async () => {
    await using database = await freshDatabase();
    await runSql(database.url, 'create table files (hash integer)');
    expect(await codeOf(opened(database.url, {}))).toBe('no-vault');
    expect(await failure(database.url)).toMatchObject({
      code: 'invalid-input',
      message: expect.stringContaining('?schema='),
    });
    await opened(`${database.url}?schema=beside`);
    expect(await codeOf(opened(database.url))).toBe('invalid-input');
  });

  test('refuses the tables of another program that its user may not even see', async () => {
    await using database = await freshDatabase();
    const role = `r_${hex(8)}`;
    await runSql(
      database.url,
      `create role ${role} login password 'secret-of-role'; create schema other authorization ${role};
       create materialized view other.files as select 1 as hash;
       grant create on database "${new URL(database.url).pathname.slice(1)}" to ${role}`,
    );
    const url = new URL(`${database.url}?schema=other`);
    url.username = role;
    url.password = 'secret-of-role';
    expect(await failure(url.href)).toMatchObject({
      code: 'invalid-input',
      message: expect.stringContaining('another program (files)'),
    });
    await runSql(database.url, `drop owned by ${role} cascade; drop role ${role}`);
  });

  test.each([-5, 1])('refuses a schema of version %i, which was never released', async (version) => {
    const place = await freshPostgres();
    await opened(place.url);
    await runSql(place.url, `update ${place.schema}.vault_schema set version = ${version}`);
    expect(await codeOf(opened(place.url, {}))).toBe('unsupported');
    await place.drop();
  });

  test('refuses a server that is too old', async () => {
    const place = await freshPostgres();
    const proxy = await postgresProxy(place.url);
    proxy.decide = (text) =>
      text.includes('server_version_num') ? rowAnswer('server_version_num', '90624') : 'pass';
    expect(await failure(proxy.url)).toMatchObject({
      code: 'denied',
      message: expect.stringContaining('too old'),
    });
    await proxy.close();
    await place.drop();
  });

  test('waits for a server that is just starting', async () => {
    const place = await freshPostgres();
    const proxy = await postgresProxy(place.url);
    let asked = 0;
    proxy.decide = () => (++asked < 3 ? errorAnswer('57P03', 'the database system is starting up') : 'pass');
    expect(await codeOf(opened(proxy.url))).toBe('success');
    await proxy.close();
    await place.drop();
  });

  test('tells missing rights from other failures', async () => {
    const role = `r_${hex(8)}`;
    await runSql(inject('postgresUrl'), `create role ${role} login password 'secret-of-role'`);
    const url = urlWith((each) => {
      each.username = role;
      each.password = 'secret-of-role';
      each.search = '?schema=not_allowed';
    });
    expect(await failure(url)).toMatchObject({
      code: 'denied',
      message: expect.stringContaining('permission denied'),
    });
    await runSql(inject('postgresUrl'), `drop role ${role}`);
  });

  const bad: readonly [string, (url: URL) => void, ErrorCode][] = [
    ['a wrong password', (url) => (url.password = 'wrong-password'), 'denied'],
    ['no password', (url) => (url.password = ''), 'denied'],
    ['an unknown user', (url) => (url.username = 'nobody_at_all'), 'denied'],
    ['no such database', (url) => (url.pathname = 'absent'), 'invalid-input'],
    ['a URL without a database', (url) => (url.pathname = ''), 'invalid-input'],
    ['an unknown parameter', (url) => url.searchParams.set('shema', 'x'), 'invalid-input'],
    ['an unknown sslmode', (url) => url.searchParams.set('sslmode', 'maybe'), 'invalid-input'],
    [
      'an unreadable certificate',
      (url) => url.searchParams.set('sslrootcert', '/absent.crt'),
      'invalid-input',
    ],
    [
      'verify-ca without an authority',
      (url) => url.searchParams.set('sslmode', 'verify-ca'),
      'invalid-input',
    ],
    ['an impossible port', (url) => url.searchParams.set('port', 'first'), 'invalid-input'],
    ['an unknown host', (url) => (url.hostname = 'host.invalid'), 'unavailable'],
    ['a port where nobody listens', (url) => (url.port = '1'), 'unavailable'],
  ];
  test.each(bad)('%s is one clear line without the password', async (_, change, code) => {
    const secret = new URL(inject('postgresUrl')).password;
    const error = await failure(urlWith(change));
    expect(error.code).toBe(code);
    expect(error.message).not.toContain('\n');
    for (const hidden of [secret, 'wrong-password']) {
      expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(hidden);
    }
  });

  test.each([
    'postgres://user:hidden-secret@host:not-a-port/db',
    'postgres://user:hidden%zzsecret@host/db',
    'postgres://user:hidden-secret@a,b:1/db?x',
    'postgres:hidden-secret',
    'mysql://user:hidden-secret@host/db',
  ])('a malformed URL is invalid-input and is not repeated: %s', async (url) => {
    const error = await failure(url);
    expect(error.code).toBe('invalid-input');
    expect(inspect(error, { depth: 10, showHidden: true })).not.toMatch(/hidden|secret/);
  });

  test('the label has no password, wherever it was in the URL', async () => {
    const place = await freshPostgres();
    const { password, port } = new URL(place.url);
    const label = `postgres://vault@127.0.0.1:${port}/postgres?schema=${place.schema}`;
    expect(await opened(place.url)).toBe(label);
    const other = new URL(place.url);
    other.password = '';
    other.searchParams.set('password', password);
    expect(await opened(other.href)).toBe(label);
    await place.drop();
  });

  test('an aborted signal ends it with interrupted', async () => {
    expect(await codeOf(opened(inject('postgresUrl'), { signal: AbortSignal.abort() }))).toBe('interrupted');
  });

  test('finds everything by an index: no statement reads a whole table', async () => {
    const place = await freshPostgres();
    const engine = await openPostgres(place.url, { create: true, clock: systemClock });
    const statements = await statementsOf(engine);
    await engine.close();
    const plans: string[] = [];
    for (const { sql, parameters } of statements) {
      plans.push(`${sql}\n${await explain(place.url, sql, parameters)}`);
    }
    expect(plans.length).toBeGreaterThan(35);
    const whole = plans.filter((plan) => /Seq Scan on/.test(plan));
    expect(whole).toEqual([]);
    const sorted = plans.filter((plan) => /limit \$\d+$/m.test(plan) && /^ *-> +Sort/m.test(plan));
    expect(sorted).toEqual([]);
    await place.drop();
  });
});

async function explain(url: string, sql: string, parameters: readonly unknown[]): Promise<string> {
  // So few rows would never be worth an index: the question is whether each statement could use one.
  const options = new URL(url);
  options.search = '';
  options.searchParams.set(
    'options',
    '-c enable_seqscan=off -c enable_bitmapscan=off -c enable_sort=off -c enable_hashjoin=off',
  );
  const rows = await runSql(options.href, `explain ${sql}`, parameters);
  return rows.map((row) => String(row['QUERY PLAN'])).join('\n');
}

/** Opens a catalog through a proxy. @returns whether it was encrypted, or what went wrong */
async function over(
  proxy: PostgresProxy,
  parameters: string,
  options: {
    readonly environment?: Readonly<Record<string, string | undefined>>;
    readonly host?: string;
  } = {},
): Promise<string> {
  const url = new URL(`${proxy.url}&${parameters}`);
  url.hostname = options.host ?? '127.0.0.1';
  proxy.tlsConnections = 0;
  const code = await codeOf(opened(url.href, { environment: options.environment ?? {} }));
  if (code !== 'success') return code;
  return proxy.tlsConnections > 0 ? 'encrypted' : 'plain';
}

describe('the settings of libpq', () => {
  let folder: TemporaryFolder;
  beforeAll(async () => {
    folder = await temporaryFolder();
  });
  afterAll(async () => {
    await folder[Symbol.asyncDispose]();
  });

  test('PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE fill what the URL leaves out', async () => {
    const place = await freshPostgres();
    const { password, port } = new URL(place.url);
    const environment = {
      PGHOST: '127.0.0.1',
      PGPORT: port,
      PGUSER: 'vault',
      PGPASSWORD: password,
      PGDATABASE: 'postgres',
    };
    const label = `postgres://vault@127.0.0.1:${port}/postgres?schema=${place.schema}`;
    expect(await opened(`postgres://?schema=${place.schema}`, { create: true, environment })).toBe(label);
    const withUser = `postgresql://vault@/postgres?schema=${place.schema}`;
    expect(await opened(withUser, { create: true, environment })).toBe(label);
    await place.drop();
  });

  test('the password file is used, if nobody else can read it', async () => {
    const place = await freshPostgres();
    const { password, port } = new URL(place.url);
    const path = folder.at('pgpass');
    const lines = [
      '# a comment',
      `127.0.0.1:${port}:other:vault:wrong`,
      `127.0.0.1:${port}:*:somebody:wrong`,
      `*:${port}:postgres:vault:${password}`,
      '*:*:*:*:wrong',
    ];
    await writeFile(path, lines.join('\n'), { mode: 0o600 });
    const url = new URL(place.url);
    url.password = '';
    await opened(url.href, { create: true, environment: { PGPASSFILE: path } });
    const readable = folder.at('readable');
    await writeFile(readable, lines.join('\n'), { mode: 0o644 });
    expect(await codeOf(opened(url.href, { environment: { PGPASSFILE: readable } }))).toBe('denied');
    await writeFile(folder.at('.pgpass'), lines.join('\n'), { mode: 0o600 });
    await opened(url.href, { environment: { HOME: folder.path } });
    await place.drop();
  });

  test.each<[string, Readonly<Record<string, string>>, RegExp]>([
    ['channel_binding=bogus', {}, /^channel_binding is disable, prefer or require, not "bogus"/],
    ['channel_binding=require&sslmode=disable', {}, /^channel_binding=require needs TLS/],
    ['sslmode=disable', { PGCHANNELBINDING: 'require' }, /^channel_binding=require needs TLS/],
    ['sslnegotiation=bogus', {}, /^sslnegotiation is postgres or direct, not "bogus"/],
    ['sslnegotiation=direct', {}, /^sslnegotiation=direct needs sslmode=require/],
    ['gssencmode=require', {}, /^gssencmode is disable or prefer, not "require"/],
    ['', { PGGSSENCMODE: 'require' }, /^gssencmode is disable or prefer, not "require"/],
    ['service=nope', {}, /setting "service" \(PGSERVICE\) .* not supported/],
    ['', { PGSERVICE: 'nope' }, /setting "service" \(PGSERVICE\) .* not supported/],
    ['', { PGHOSTADDR: '10.0.0.1' }, /setting "hostaddr" \(PGHOSTADDR\) .* not supported/],
    ['require_auth=scram-sha-256', {}, /setting "require_auth" .* not supported/],
    ['sslcrl=x', {}, /setting "sslcrl" .* not supported/],
    ['sslmode=VERIFY-FULL', {}, /verify-ca or verify-full, in small letters, not "VERIFY-FULL"/],
    ['schema=a%00', {}, /zero byte/],
  ])('what psql obeys and vault cannot is refused: "%s" %j', async (parameters, environment, message) => {
    const url = new URL(inject('postgresUrl'));
    expect(await failure(`${url.href}?${parameters}`, { environment })).toMatchObject({
      code: 'invalid-input',
      message: expect.stringMatching(message),
    });
  });

  test('what changes nothing is taken, a password file of the URL too', async () => {
    const place = await freshPostgres();
    const url = new URL(place.url);
    const path = folder.at('of-url');
    await writeFile(path, `*:*:*:*:${url.password}`, { mode: 0o600 });
    url.password = '';
    const harmless = 'client_encoding=UTF8&fallback_application_name=x&gssencmode=prefer';
    expect(await codeOf(opened(`${url.href}&${harmless}&passfile=${path}`))).toBe('success');
    await place.drop();
  });

  test('without a user it is the one of this process, and an address of IPv6 has its brackets', async () => {
    const { username } = userInfo();
    const { label, client } = await postgresSettings('postgres://[::1]:1/db', {});
    expect({ label, user: client.user }).toEqual({
      label: `postgres://${username}@[::1]:1/db`,
      user: username,
    });
  });

  describe('for TLS', () => {
    const own = selfSigned();
    const foreign = selfSigned();
    let plain: PostgresProxy;
    let secure: PostgresProxy;
    let root: string;
    let foreignRoot: string;
    let place: Awaited<ReturnType<typeof freshPostgres>>;

    beforeAll(async () => {
      place = await freshPostgres();
      plain = await postgresProxy(place.url);
      secure = await postgresProxy(place.url, { tls: own });
      root = folder.at('root.crt');
      foreignRoot = folder.at('foreign.crt');
      await writeFile(root, own.cert);
      await writeFile(foreignRoot, foreign.cert);
      await opened(place.url);
    });
    afterAll(async () => {
      await plain.close();
      await secure.close();
      await place.drop();
    });

    const cases: readonly [string, string, string][] = [
      // sslmode, result with a server that has TLS, with one that has not
      ['', 'encrypted', 'plain'],
      ['sslmode=disable', 'plain', 'plain'],
      ['sslmode=prefer', 'encrypted', 'plain'],
      ['sslmode=require', 'encrypted', 'invalid-input'],
      ['sslmode=no-verify', 'encrypted', 'invalid-input'],
      ['sslmode=verify-full', 'denied', 'invalid-input'],
      ['sslmode=verify-full&sslrootcert=ROOT', 'encrypted', 'invalid-input'],
      ['sslmode=verify-ca&sslrootcert=ROOT', 'encrypted', 'invalid-input'],
      ['sslmode=require&sslrootcert=ROOT', 'encrypted', 'invalid-input'],
      ['sslrootcert=ROOT', 'encrypted', 'invalid-input'],
      ['sslmode=verify-full&sslrootcert=FOREIGN', 'denied', 'invalid-input'],
      ['sslmode=verify-ca&sslrootcert=FOREIGN', 'denied', 'invalid-input'],
      ['sslmode=require&sslrootcert=FOREIGN', 'denied', 'invalid-input'],
      ['sslmode=verify-full&sslrootcert=system', 'denied', 'invalid-input'],
    ];
    test.each(cases)('"%s" is %s, and %s without TLS', async (parameters, withTls, without) => {
      const filled = parameters.replace('ROOT', root).replace('FOREIGN', foreignRoot);
      expect(await over(secure, filled)).toBe(withTls);
      expect(await over(plain, filled)).toBe(without);
    });

    test('direct negotiation that the server does not take is told of', async () => {
      const url = `${inject('postgresUrl')}?sslmode=require&sslnegotiation=direct`;
      expect((await failure(url)).message).toMatch(/sslnegotiation=direct/);
    });

    test('channel_binding=require has no login without it, whoever is in the middle', async () => {
      // This one ends TLS itself, so that the server beyond it offers none.
      expect(await over(secure, 'sslmode=require&channel_binding=prefer')).toBe('encrypted');
      expect(await over(secure, 'sslmode=require&channel_binding=require')).toBe('denied');
      expect(await over(plain, 'channel_binding=require')).toBe('invalid-input');
    });

    test('verify-full checks the name too, and verify-ca does not', async () => {
      // The certificate is for 127.0.0.1.
      const host = 'localhost';
      expect(await over(secure, `sslmode=verify-full&sslrootcert=${root}`, { host })).toBe('denied');
      expect(await over(secure, `sslmode=verify-ca&sslrootcert=${root}`, { host })).toBe('encrypted');
    });

    // An address that leads to this machine, and that nobody takes for it by its looks.
    const elsewhere = '0.0.0.0';
    test.each([
      ['', {}, 'denied', 'invalid-input'],
      ['sslrootcert=ROOT', {}, 'denied', 'invalid-input'],
      ['sslmode=require', {}, 'encrypted', 'invalid-input'],
      ['sslmode=prefer', {}, 'encrypted', 'plain'],
      ['sslmode=disable', {}, 'plain', 'plain'],
      ['', { PGSSLMODE: 'require' }, 'encrypted', 'invalid-input'],
      ['', { PGSSLMODE: 'disable' }, 'plain', 'plain'],
      ['', { PGHOST: '127.0.0.1' }, 'denied', 'invalid-input'],
    ])(
      'a server elsewhere has to prove itself unless told otherwise: "%s" %j',
      async (parameters, environment, withTls, without) => {
        const options = { host: elsewhere, environment };
        const filled = parameters.replace('ROOT', root);
        expect(await over(secure, filled, options)).toBe(withTls);
        expect(await over(plain, filled, options)).toBe(without);
      },
    );

    test('and so it does for a library that hands in no variables', async () => {
      const url = new URL(plain.url);
      url.hostname = elsewhere;
      expect(await failure(url.href, {})).toMatchObject({
        code: 'invalid-input',
        message: expect.stringContaining('has no TLS'),
      });
    });

    test('PGSSLMODE and PGSSLROOTCERT say the same as the parameters, which win', async () => {
      const environment = { PGSSLMODE: 'verify-full', PGSSLROOTCERT: foreignRoot };
      expect(await over(secure, '', { environment })).toBe('denied');
      expect(await over(secure, `sslrootcert=${root}`, { environment })).toBe('encrypted');
      expect(await over(secure, 'sslmode=disable', { environment })).toBe('plain');
    });
  });
});
