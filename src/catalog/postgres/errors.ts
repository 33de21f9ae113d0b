import { messageOf, systemCode, VaultError } from '../../errors.ts';

/**
 * What to do about a failure.
 *
 * - `conflict`: another client was in the way; the transaction did not happen and can be repeated at once
 * - `outage`: no answer; whether the transaction happened is not known
 * - `final`: repeating it does not help
 */
export type Failure = 'conflict' | 'outage' | 'final';

/** SQLSTATEs (https://www.postgresql.org/docs/current/errcodes-appendix.html) that another client's work causes. */
const CONFLICTS = new Set([
  '40001', // serialization_failure
  '40P01', // deadlock_detected
  '55P03', // lock_not_available: lock_timeout
  '23505', // unique_violation: the row has just been made
  '42P06', // duplicate_schema, and
  '42P07', // duplicate_table: made at once, despite `if not exists`
]);

const TOO_MANY_CONNECTIONS = '53300';
const READ_ONLY = '25006';

/** Failures to reach the server or to be answered that come without an SQLSTATE. */
const BROKEN = /^Connection terminated|timeout expired|^timeout exceeded|^Query read timeout|not queryable/i;
const BROKEN_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT', // the socket of a local server that is not running
]);

/** Those that a wrong host or port may have. */
const UNREACHED_CODES = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'ENOENT']);
const UNREACHED = /connection timeout/i;

/** What node-postgres says of answers that are not Postgres's. */
const NO_POSTGRES =
  /^There was an error establishing an SSL connection$|^received invalid response|^Unknown authenticationOk message type/;

/**
 * What a pooler refuses for good. PgBouncer has one SQLSTATE for all that it says itself, `protocol_violation`, which also
 * stands for servers that cannot be reached, so that only the text tells.
 */
const REFUSED_BY_POOLER =
  /authentication failed|no such user|no such database|unsupported startup parameter|not allowed/i;

/** What connections say of a server whose login is not bound to the TLS connection. */
export const UNBOUND = 'the server offers no login that is bound to its TLS connection';

export function failureOf(error: unknown): Failure {
  if (error instanceof VaultError) return 'final';
  const code = systemCode(error) ?? '';
  if (isRefusedByPooler(error)) return 'final';
  if (CONFLICTS.has(code)) return 'conflict';
  if (isSqlState(code)) return isOutage(code) ? 'outage' : 'final';
  return BROKEN_CODES.has(code) || BROKEN.test(messageOf(error)) ? 'outage' : 'final';
}

function isRefusedByPooler(error: unknown): boolean {
  return systemCode(error) === '08P01' && REFUSED_BY_POOLER.test(messageOf(error));
}

function isOutage(state: string): boolean {
  // Connection exceptions, too many connections, shutdown and cancelled statements, errors of the server's system,
  // a standby that took over without being writable yet, and a server that does not know itself whether it committed.
  return (
    /^(08|57|58)/.test(state) || [TOO_MANY_CONNECTIONS, READ_ONLY, '53200', '25P03', '40003'].includes(state)
  );
}

function isSqlState(code: string): boolean {
  return /^[0-9A-Z]{5}$/.test(code) && !BROKEN_CODES.has(code);
}

/** Whether the query met a table or schema that does not exist. */
export function isMissingTable(error: unknown): boolean {
  return ['42P01', '3F000'].includes(systemCode(error) ?? '');
}

/** Whether the server takes no changes: a standby, or by its settings. */
export function isReadOnly(error: unknown): boolean {
  return systemCode(error) === READ_ONLY;
}

/** Whether a statement failed only because one before it in the transaction did. */
export function isAborted(error: unknown): boolean {
  return systemCode(error) === '25P02';
}

/** Whether a rollback found nothing to roll back. CockroachDB, of which this is an error, ends a transaction whose commit failed. */
export function isWithoutTransaction(error: unknown): boolean {
  return systemCode(error) === '25P01' || messageOf(error) === 'there is no transaction in progress';
}

export function isWithoutTls(error: unknown): boolean {
  return messageOf(error) === 'The server does not support SSL connections';
}

/**
 * An error of node-postgres or the server as a VaultError; what is neither comes back as it is.
 *
 * @param label the catalog's
 */
export function translated(error: unknown, label: string): unknown {
  if (error instanceof VaultError) return error;
  const told = tell(error, label);
  return told === null ? error : new VaultError(...told, { cause: error });
}

/** What to make of an error: a code and a message; null for what is no failure of a database. */
type Told = readonly [code: VaultError['code'], message: string];

function tell(error: unknown, label: string): Told | null {
  switch (failureOf(error)) {
    case 'conflict':
      return [
        'unavailable',
        `Other clients kept getting in the way in ${label}: ${messageOf(error)}. Try again.`,
      ];
    case 'outage':
      return outage(error, label);
    case 'final':
      if (isRefusedByPooler(error)) return refusedByPooler(error, label);
      return isSqlState(systemCode(error) ?? '') ? refusedByServer(error, label) : notConnected(error, label);
  }
}

function outage(error: unknown, label: string): Told {
  const code = systemCode(error) ?? '';
  const message = messageOf(error);
  if (isReadOnly(error)) {
    return [
      'unavailable',
      `The database ${label} accepts no changes: ${message}. It is a standby, or its user may only read. Name the server or a user that can write, or try again later.`,
    ];
  }
  if (code === TOO_MANY_CONNECTIONS) {
    return [
      'unavailable',
      `The database ${label} accepts no more connections: ${message}. Try again later, raise its max_connections, or put a pooler before it.`,
    ];
  }
  if (/before secure TLS connection/.test(message)) {
    return [
      'unavailable',
      `The database ${label} cannot be reached: ${message}. If it is older than PostgreSQL 17 or has no TLS, leave out sslnegotiation=direct; else try again later.`,
    ];
  }
  const advice = UNREACHED_CODES.has(code) || UNREACHED.test(message) ? 'Check host and port, or try' : 'Try';
  return [
    'unavailable',
    `The database ${label} cannot be reached or does not answer: ${message}. ${advice} again later.`,
  ];
}

/** Failures without an SQLSTATE: the server was never logged in to. */
function notConnected(error: unknown, label: string): Told | null {
  const code = systemCode(error) ?? '';
  const message = messageOf(error);
  if (isWithoutTls(error)) {
    return [
      'invalid-input',
      `The server of ${label} has no TLS, which a server elsewhere needs unless sslmode or PGSSLMODE says otherwise. Turn it on there, or say sslmode=disable if nobody else can listen in.`,
    ];
  }
  if (NO_POSTGRES.test(message)) {
    return ['invalid-input', `What answers for ${label} is not a Postgres server. Check host and port.`];
  }
  if (/CERT|^UNABLE_TO_|^ERR_TLS|^ERR_SSL|^HOSTNAME_MISMATCH/.test(code)) {
    return [
      'denied',
      `The certificate of the server of ${label} is not trusted: ${message}. Name its authority with sslrootcert=<file> and the host as it does, or say sslmode=require to go without this check.`,
    ];
  }
  if (/^SASL.* must be a (non-empty )?string/i.test(message)) {
    return [
      'denied',
      `The server of ${label} asks for a password, and there is none. Give it in the URL, PGPASSWORD or ~/.pgpass (mode 0600).`,
    ];
  }
  if (message === UNBOUND) {
    return [
      'denied',
      `Logging in to ${label} was given up: ${message}, which channel_binding=require asks for. Somebody may be in between; leave that out for a server or proxy without it.`,
    ];
  }
  if (message.startsWith('SASL')) {
    return ['denied', `Logging in to ${label} failed: ${message}. Check user and password.`];
  }
  return code === 'EACCES' ? ['denied', `${label}: ${message}`] : null;
}

/** What the server says with an SQLSTATE. */
function refusedByServer(error: unknown, label: string): Told | null {
  const code = systemCode(error) ?? '';
  const message = messageOf(error);
  if (code === '53100') {
    return [
      'storage-full',
      `The disk of the database ${label} is full: ${message}. Make room there and try again.`,
    ];
  }
  if (code === '3D000' || code === '3F000') {
    return [
      'invalid-input',
      `There is no such database or schema: ${label} (${message}). Create it, or name another one.`,
    ];
  }
  if (code.startsWith('28')) {
    return ['denied', `The database ${label} refuses: ${message}. Check user and password.`];
  }
  if (code === '42501' && message.startsWith('must be owner')) {
    return [
      'denied',
      `The database ${label} refuses: ${message}. Log in as its owner for this once if it is the vault's, or name another schema.`,
    ];
  }
  if (code === '42501') {
    return [
      'denied',
      `The database ${label} refuses: ${message}. Grant its user that right, or name another user.`,
    ];
  }
  if (code === '42939') {
    return [
      'invalid-input',
      `${label} has a name that the server keeps for itself: ${message}. Name another schema.`,
    ];
  }
  if (code === '42704' || code === '22023') {
    return ['invalid-input', `The server of ${label} does not know a setting: ${message}.`];
  }
  // Corrupted data, a table or column that has gone, a value that the column does not take.
  if (/^(XX001|XX002|22|23|42P01|42703|42804)/.test(code)) {
    return [
      'damaged',
      `The catalog in ${label} is not as it was made (${message}). "vault recover --bucket <url>" makes tables that have gone anew from the buckets; for anything else name another schema (--db with ?schema=), which it makes anew.`,
    ];
  }
  if (code.startsWith('53') || code.startsWith('54')) {
    return ['unavailable', `The database ${label} is overloaded: ${message}. Try again later.`];
  }
  // What is wrong inside a server of several machines, mostly with the network between them, has no other code.
  if (code.startsWith('XX')) {
    return ['unavailable', `The database ${label} failed: ${message}. Try again later.`];
  }
  if (code.startsWith('0A'))
    return ['unsupported', `The database ${label} cannot do what is needed: ${message}.`];
  return null;
}

function refusedByPooler(error: unknown, label: string): Told {
  const message = messageOf(error);
  if (/transaction blocks/i.test(message)) {
    return [
      'invalid-input',
      `The pooler before ${label} is in statement mode (${message}). The catalog needs transactions: set pool_mode to transaction or session.`,
    ];
  }
  if (/startup parameter/i.test(message)) {
    return [
      'invalid-input',
      `The pooler before ${label} refuses a setting: ${message}. Leave it out, or name the schema with ?schema=.`,
    ];
  }
  if (/database/i.test(message)) {
    return ['invalid-input', `The pooler before ${label} refuses: ${message}. Name a database it knows.`];
  }
  return ['denied', `The pooler before ${label} refuses: ${message}. Check user and password.`];
}
