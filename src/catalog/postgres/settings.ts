import { readFile, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { createSecureContext, type ConnectionOptions } from 'node:tls';
import type { ClientConfig } from 'pg';
import { invalidInput, mayHoldSecret, messageOf, type VaultError } from '../../errors.ts';
import type { Environment } from '../../host.ts';

/** How to reach a Postgres database, as a URL and the environment say it. */
export interface PostgresSettings {
  /** The URL without password and without what does not tell one database from another. */
  readonly label: string;
  /** Where the tables are; null for the first schema of the server's search path. */
  readonly schema: string | null;
  readonly client: ClientConfig;
  /** Whether to do without TLS if the server has none. */
  readonly plainAllowed: boolean;
  /** Whether only a login counts that is bound to the TLS connection, which nobody in the middle can pass on. */
  readonly bindsChannel: boolean;
}

/** Parameters of libpq's URLs that change nothing here, and a few that other clients' URLs carry. */
const IGNORED = new Set([
  'target_session_attrs',
  'client_encoding',
  'fallback_application_name',
  'sslcompression',
  'sslsni',
  'gssdelegation',
  'gsslib',
  'krbsrvname',
  'load_balance_hosts',
  'pgbouncer',
  'uselibpqcompat',
]);

/** Parameters of libpq, with their variables, that say where to connect or what to insist on: without them it would be something else. */
const UNSUPPORTED: Readonly<Record<string, string | undefined>> = {
  service: 'PGSERVICE',
  hostaddr: 'PGHOSTADDR',
  require_auth: 'PGREQUIREAUTH',
  requirepeer: 'PGREQUIREPEER',
  sslcrl: 'PGSSLCRL',
  sslcrldir: 'PGSSLCRLDIR',
  sslcertmode: 'PGSSLCERTMODE',
  ssl_min_protocol_version: 'PGSSLMINPROTOCOLVERSION',
  ssl_max_protocol_version: 'PGSSLMAXPROTOCOLVERSION',
  sslpassword: undefined,
  replication: undefined,
};

const CONNECT_TIMEOUT_MS = 10_000;
const QUERY_TIMEOUT_MS = 90_000;
const KEEP_ALIVE_DELAY_MS = 10_000;

/** Bytes of a name (`NAMEDATALEN`); the server cuts longer ones off, and two of them would then be the same. */
const MAX_NAME_BYTES = 63;

/**
 * Reads a connection URL the way libpq does
 * (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS), where node-postgres differs:
 * its `sslmode`s `prefer`, `require` and `verify-ca` all mean `verify-full` and print a warning, as does its own
 * look into `~/.pgpass`. Unlike libpq, it takes a server that is reached over a network and for which nobody asks for another
 * `sslmode` for one of `verify-full`.
 *
 * @param location `postgres://user:password@host:port/database?parameters`. Besides libpq's parameters: `schema`
 * @param environment where `PGDATABASE`, `PGSSLMODE`, `PGPASSFILE` and the like are looked up; undefined leaves them to
 *   node-postgres, which looks into the process's own
 * @throws `invalid-input`; never with the URL in the message, which may hold a password
 */
export async function postgresSettings(
  location: string,
  environment: Environment | undefined,
): Promise<PostgresSettings> {
  const url = parsed(location);
  const parameters = new Map(url.searchParams);
  const take: Take = (name, variable) => {
    const value = parameters.get(name) ?? (variable === undefined ? undefined : environment?.[variable]);
    parameters.delete(name);
    return value === '' ? undefined : value;
  };
  const { label, schema, host, port, user, password, database } = placeOf(url, take, environment);
  const timeoutS = wholeNumber('connect_timeout', take('connect_timeout', 'PGCONNECT_TIMEOUT'));
  const application = take('application_name', 'PGAPPNAME') ?? 'vault';
  const options = take('options', 'PGOPTIONS');
  const passFile = take('passfile', 'PGPASSFILE');
  const channelBinding = choice('channel_binding', take('channel_binding', 'PGCHANNELBINDING'), [
    'disable',
    'prefer',
    'require',
  ]);
  const negotiation = choice('sslnegotiation', take('sslnegotiation', 'PGSSLNEGOTIATION'), [
    'postgres',
    'direct',
  ]);
  const tls = await tlsSettings(take, environment !== undefined, wayTo(host));
  const bindsChannel = channelBinding === 'require';
  if (bindsChannel && tls.ssl === false) {
    throw invalidInput(
      'channel_binding=require needs TLS: no socket of this machine, and no sslmode=disable.',
    );
  }
  if (negotiation === 'direct' && tls.plainAllowed) {
    throw invalidInput('sslnegotiation=direct needs sslmode=require, verify-ca or verify-full.');
  }
  requireHeeded(parameters.keys(), take);
  // Behind the parameters: a bare "?" in the password cuts the database off.
  if (database === undefined) {
    throw invalidInput(
      'The database URL names no database, and neither does PGDATABASE: postgres://user@host/database is the form.',
    );
  }
  return {
    label,
    schema,
    plainAllowed: tls.plainAllowed && !bindsChannel,
    bindsChannel,
    client: {
      host,
      port,
      user,
      database,
      ...passwordSetting(password, passFile, environment),
      options,
      ssl: tls.ssl,
      ...(negotiation === 'direct' ? { sslnegotiation: 'direct' } : {}),
      enableChannelBinding: bindsChannel || channelBinding === 'prefer',
      application_name: application,
      connectionTimeoutMillis: timeoutS === undefined ? CONNECT_TIMEOUT_MS : timeoutS * 1000,
      // Longer than the server's own limits, for the case that the server is no longer there.
      query_timeout: QUERY_TIMEOUT_MS,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_DELAY_MS,
    },
  };
}

/** @param names parameters that nobody has taken yet @throws `invalid-input` for a setting that would not be heeded */
function requireHeeded(names: Iterable<string>, take: Take): void {
  choice('gssencmode', take('gssencmode', 'PGGSSENCMODE'), ['disable', 'prefer']);
  for (const [name, variable] of Object.entries(UNSUPPORTED)) {
    if (take(name, variable) === undefined) continue;
    throw invalidInput(
      `The setting "${name}"${variable === undefined ? '' : ` (${variable})`} of libpq is not supported. Leave it out of the database URL and the environment.`,
    );
  }
  for (const name of names) {
    if (IGNORED.has(name) || name.startsWith('keepalives') || name.startsWith('tcp_')) continue;
    // The rest of a password that has a bare "?" would be shown.
    const shown = /^\w{1,40}$/.test(name) ? ` "${name}"` : '';
    throw invalidInput(
      `The database URL has an unknown parameter${shown}. Besides those of libpq there is "schema"; special characters are percent-encoded.`,
    );
  }
}

type Take = (name: string, variable?: string) => string | undefined;

/** Which database and schema on which server, as whom; `label`: see `PostgresSettings`. */
function placeOf(
  url: URL,
  take: Take,
  environment: Environment | undefined,
): Pick<PostgresSettings, 'label' | 'schema'> &
  Pick<ClientConfig, 'host' | 'port' | 'user' | 'database'> & { readonly password: string | undefined } {
  // Without a host, the address is that of a local socket.
  const hostOfUrl = decoded(url.hostname === NO_HOST ? '' : url.hostname).replace(/^\[(.+)\]$/, '$1');
  const host = take('host') ?? (hostOfUrl || environment?.['PGHOST'] || undefined);
  const user = take('user') ?? (decoded(url.username) || environment?.['PGUSER'] || systemUser(environment));
  const password = take('password') ?? (decoded(url.password) || environment?.['PGPASSWORD']);
  const database = take('dbname') ?? (decoded(url.pathname.slice(1)) || environment?.['PGDATABASE']);
  for (const [name, value] of Object.entries({ host, user, database })) {
    // Messages and labels have them.
    if (value === undefined || !mayHoldSecret(value)) continue;
    throw invalidInput(
      `The ${name} of the database's URL or of PG${name.toUpperCase()} is no URL, but a name.`,
    );
  }
  const port = wholeNumber('port', take('port') ?? (url.port || environment?.['PGPORT']));
  if (port !== undefined && (port < 1 || port > 65_535)) {
    throw invalidInput(`The database's port is from 1 to 65535, not ${port}.`);
  }
  if (host?.includes(',') === true) throw severalHosts();
  const schema = take('schema') ?? null;
  if (schema !== null && Buffer.byteLength(schema) > MAX_NAME_BYTES) {
    throw invalidInput(`A schema's name is ${MAX_NAME_BYTES} bytes long at most.`);
  }
  const shown = host?.includes(':') === true ? `[${host}]` : (host ?? '');
  const place = `${shown.startsWith('/') ? '' : shown}${port === undefined ? '' : `:${port}`}`;
  const label = `postgres://${user === undefined ? '' : `${user}@`}${place}/${database ?? ''}${schema === null ? '' : `?schema=${schema}`}`;
  return { label, schema, host, port, user, password, database };
}

/** Stands in for the host of `postgres:///database`, which is no URL to the parser when there is a user too. */
const NO_HOST = 'no-host.invalid';

function parsed(location: string): URL {
  if (/%00|\0/.test(location))
    throw invalidInput('The database URL has a zero byte, which no name can have.');
  try {
    if (!/^[a-z]+:\/\//i.test(location)) throw new TypeError('There is no "//".');
    const url = new URL(location.replace(/^([a-z]+:\/\/[^/?]*@|[a-z]+:\/\/)(?=[/?]|$)/i, `$1${NO_HOST}`));
    // A bare "/" or "#" in the password: what follows it would be taken for the database, and be shown.
    if (url.pathname.includes('@') || url.hash !== '') throw new TypeError('There is a bare "/" or "#".');
    return url;
  } catch {
    if (/^[a-z]+:\/\/([^/?#]*@)?[^/?#@]+,[^/?#@]+([/?]|$)/i.test(location)) throw severalHosts();
    throw invalidInput(
      'The database URL cannot be read: postgres://user:password@host:port/database is the form, with special characters percent-encoded ("/" as %2F, "@" as %40, "#" as %23).',
    );
  }
}

function severalHosts(): VaultError {
  return invalidInput(
    'The database URL names several hosts, and only one is tried: name the one that can be written to, or a pooler or proxy before them.',
  );
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalidInput('The database URL has a "%" that is not followed by two hex digits.');
  }
}

/** Who runs this process, as libpq looks it up. Undefined leaves it to node-postgres. */
function systemUser(environment: Environment | undefined): string | undefined {
  if (environment === undefined) return undefined;
  try {
    return userInfo().username;
  } catch {
    // A number without a name, as in some containers.
    return undefined;
  }
}

function choice(name: string, text: string | undefined, known: readonly string[]): string | undefined {
  if (text === undefined || known.includes(text)) return text;
  throw invalidInput(`${name} is ${known.slice(0, -1).join(', ')} or ${known.at(-1) ?? ''}, not "${text}".`);
}

function wholeNumber(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,6}$/.test(text)) {
    throw invalidInput(`The database's ${name} must be a whole number.`);
  }
  return Number(text);
}

/** How the server is reached: not over a network, over one, or as node-postgres finds out. */
type Way = 'socket' | 'loopback' | 'network' | 'unnamed';

function wayTo(host: string | undefined): Way {
  if (host === undefined) return 'unnamed';
  if (host.startsWith('/')) return 'socket';
  return /^(localhost\.?|127\.\d+\.\d+\.\d+|::1)$/i.test(host) ? 'loopback' : 'network';
}

/** TLS as https://www.postgresql.org/docs/current/libpq-ssl.html says, with `no-verify` as in node-postgres. */
async function tlsSettings(
  take: Take,
  complete: boolean,
  way: Way,
): Promise<{ readonly ssl: boolean | ConnectionOptions | undefined; readonly plainAllowed: boolean }> {
  const asked = take('sslmode', 'PGSSLMODE');
  const rootFile = take('sslrootcert', 'PGSSLROOTCERT');
  const certificateFile = take('sslcert', 'PGSSLCERT');
  const keyFile = take('sslkey', 'PGSSLKEY');
  const switched = take('ssl');
  if (way === 'socket') return { ssl: false, plainAllowed: true };
  const ca = await contentOf('sslrootcert', rootFile === 'system' ? undefined : rootFile);
  const own: ConnectionOptions = {
    ca,
    cert: await contentOf('sslcert', certificateFile),
    key: await contentOf('sslkey', keyFile),
  };
  try {
    createSecureContext(own);
  } catch (error) {
    throw invalidInput(
      `sslrootcert, sslcert or sslkey does not hold what it should (${messageOf(error)}). PEM files are needed, the key without a password.`,
      error,
    );
  }
  const unverified = { ...own, rejectUnauthorized: false };
  const mode =
    asked ?? (rootFile !== undefined || switched === 'true' || switched === '1' ? 'verify-full' : undefined);
  switch (mode) {
    case undefined:
      // Whoever listens on the way would have the password, and whoever answers in the server's stead the whole catalog.
      if (way === 'network') return { ssl: own, plainAllowed: false };
      // Left to node-postgres, which may find a PGHOST and a PGSSLMODE.
      if (!complete) return { ssl: undefined, plainAllowed: false };
      return { ssl: unverified, plainAllowed: true };
    case 'disable':
      return { ssl: false, plainAllowed: true };
    case 'allow':
    case 'prefer':
      return { ssl: unverified, plainAllowed: true };
    case 'no-verify':
      return { ssl: unverified, plainAllowed: false };
    case 'require':
      if (ca === undefined) return { ssl: unverified, plainAllowed: false };
      return { ssl: { ...own, checkServerIdentity: () => undefined }, plainAllowed: false };
    case 'verify-ca':
      if (ca === undefined) {
        throw invalidInput(
          'sslmode=verify-ca needs sslrootcert=<file>: any certificate of a public authority would pass otherwise. Use verify-full for those.',
        );
      }
      return { ssl: { ...own, checkServerIdentity: () => undefined }, plainAllowed: false };
    case 'verify-full':
      return { ssl: own, plainAllowed: false };
    default:
      throw invalidInput(
        `sslmode is disable, prefer, allow, require, no-verify, verify-ca or verify-full, in small letters, not "${mode}".`,
      );
  }
}

async function contentOf(parameter: string, path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw invalidInput(`${parameter}=${path} cannot be read: ${messageOf(error)}`, error);
  }
}

function passwordSetting(
  password: string | undefined,
  passFile: string | undefined,
  environment: Environment | undefined,
): Pick<ClientConfig, 'password'> {
  if (password !== undefined) return { password };
  if (environment === undefined && passFile === undefined) return {};
  const home = environment?.['HOME'];
  const path = passFile ?? (home === undefined ? undefined : join(home, '.pgpass'));
  // Called with the settings of the connection when the server asks for a password.
  return {
    password: async (...[connection]: unknown[]) => (await passwordFromFile(path, connection)) ?? '',
  };
}

/**
 * The password that the password file has for a connection
 * (https://www.postgresql.org/docs/current/libpq-pgpass.html); null if there is none, or if others may read the file.
 */
async function passwordFromFile(path: string | undefined, connection: unknown): Promise<string | null> {
  if (path === undefined) return null;
  let text: string;
  try {
    if (((await stat(path)).mode & 0o077) !== 0) return null;
    text = await readFile(path, 'utf8');
  } catch {
    return null;
  }
  const wanted = ['host', 'port', 'database', 'user'].map((name) => fieldOf(connection, name));
  if (wanted[0]?.startsWith('/') === true) wanted[0] = 'localhost';
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('#')) continue;
    const fields = [...line.matchAll(/((?:\\.|[^\\:])*)(?::|$)/g)].map(([, field = '']) =>
      field.replaceAll(/\\(.)/g, '$1'),
    );
    const matches = wanted.every((value, at) => fields[at] === '*' || fields[at] === value);
    if (matches && fields[4] !== undefined) return fields[4];
  }
  return null;
}

function fieldOf(value: unknown, name: string): string {
  const field: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
  return typeof field === 'string' || typeof field === 'number' ? String(field) : '';
}
