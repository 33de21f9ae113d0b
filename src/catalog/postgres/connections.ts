import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Compilable } from 'kysely';
import type { Client, Pool, PoolClient } from 'pg';
import { Gate } from '../../concurrency/semaphore.ts';
import type { Clock } from '../../host.ts';
import type { Answer, Durability, Session } from '../sql/engine.ts';
import { failureOf, isAborted, isReadOnly, isWithoutTransaction, translated, UNBOUND } from './errors.ts';
import type { PostgresSettings } from './settings.ts';

/** Connections at most. A put overlaps look-ups and records, and more of them only wait in the server. */
const CONNECTIONS = 4;

/** How long work is repeated while the database does not answer, and while it is being opened. */
const OUTAGE_DEADLINE_MS = 30_000;
const OPEN_DEADLINE_MS = 3_000;

/** Failures that lie further apart than this are two outages. */
const OUTAGE_GAP_MS = 10_000;

/** Times that work is repeated because other clients were in the way. */
const CONFLICT_ATTEMPTS = 20;

/** OID of int8. Times, sizes and counts stay far below 2^53. */
const INT8 = 20;

/**
 * How a transaction sees others.
 *
 * - `read committed`: everything but the schema. Each statement sees what was committed before it, and row locks do the rest
 * - `serializable`: changes of the schema, which CockroachDB refuses in transactions of any other level
 */
type Isolation = 'read committed' | 'serializable';

export interface TransactionKind {
  readonly isolation: Isolation;
  readonly durability: Durability;
}

/**
 * Begins a transaction. The limits hold until its end, so that nothing is left in a session that a pooler gives to somebody
 * else, and no lock outlives a client that sleeps or died without closing its connection.
 */
function begin({ isolation, durability }: TransactionKind): string {
  const limits = `begin isolation level ${isolation};
set local statement_timeout = 60000;
set local lock_timeout = 30000;
set local idle_in_transaction_session_timeout = 60000`;
  return durability === 'lazy' ? limits : `${limits};\n${WAIT_FOR_DISK}`;
}

/** For databases that are told to answer before a commit is on disk; one that waits for other machines as well goes on doing so. */
const WAIT_FOR_DISK = `select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit', true) = 'off'`;

/** The connections to one database. Work on one of them is repeated while that makes sense, and its errors are translated. */
export class PostgresConnections {
  readonly #label: string;
  readonly #pool: Pool;
  readonly #clock: Clock;
  #outageDeadlineMs = OPEN_DEADLINE_MS;
  /** The outage that is going on, if its last failure is recent: whoever comes second to it does not wait as long again. */
  #outage = { sinceMs: -Infinity, lastMs: -Infinity };
  /** Whether the server has taken a change: then one that takes none is a standby that is about to take over. */
  #takesChanges = false;
  /** Whether `begin` has worked on this server, so that statements may be sent right behind it. */
  #beginWorks = false;
  /** The pool's own queue would count the wait for a free connection as time to connect. */
  readonly #turns = new Gate(CONNECTIONS);

  private constructor(label: string, pool: Pool, clock: Clock) {
    this.#label = label;
    this.#clock = clock;
    this.#pool = pool;
  }

  /** Connects nothing yet. */
  static async to(
    { label, client, bindsChannel }: PostgresSettings,
    clock: Clock,
  ): Promise<PostgresConnections> {
    const { Client: PgClient, Pool: PgPool, TypeOverrides } = (await import('pg')).default;
    const types = new TypeOverrides();
    types.setTypeParser(INT8, Number);
    class BoundClient extends PgClient {
      constructor(...[settings]: ConstructorParameters<typeof PgClient>) {
        super(settings);
        requireBinding(this);
      }
    }
    const kind = bindsChannel ? { Client: BoundClient } : {};
    const pool = new PgPool({ ...client, ...kind, types, pipeline: true, max: CONNECTIONS });
    // A broken connection is reported by the query that meets it; without a listener it would end the process.
    pool.on('error', () => undefined);
    pool.on('connect', (connection) => connection.on('error', () => undefined));
    return new PostgresConnections(label, pool, clock);
  }

  /** From now on an outage is waited out. Before, the address may be wrong, and who waits wants to know soon. */
  beReady(outageDeadlineMs = OUTAGE_DEADLINE_MS): void {
    this.#outageDeadlineMs = outageDeadlineMs;
  }

  /**
   * Runs statements, each a transaction of its own.
   *
   * @throws what `errors.ts` makes of what the database said
   */
  run<T>(work: (session: Session) => Promise<T>): Promise<T> {
    return this.#untilDone((client) => work({ run: (query) => run(client, query) }));
  }

  /** The same for statements that change something. */
  async change<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const result = await this.run(work);
    this.#takesChanges = true;
    return result;
  }

  /** Runs statements that change something as one transaction. @throws as `run` */
  async transaction<T>(kind: TransactionKind, work: (session: Session) => Promise<T>): Promise<T> {
    const result = await this.#untilDone((client) => this.#transaction(client, kind, work));
    this.#takesChanges = true;
    return result;
  }

  close(): Promise<void> {
    return this.#pool.end();
  }

  async #transaction<T>(
    client: PoolClient,
    kind: TransactionKind,
    work: (session: Session) => Promise<T>,
  ): Promise<T> {
    let begun: Promise<unknown> | null = client.query(begin(kind));
    // It is waited for together with the first statement, which is sent right behind it.
    begun.catch(() => undefined);
    let first: unknown = null;
    try {
      if (!this.#beginWorks) await begun;
      this.#beginWorks = true;
      const result = await work({
        run: async (query) => {
          const before = begun;
          begun = null;
          try {
            const [, answer] = await Promise.all([before, run(client, query)]);
            return answer;
          } catch (error) {
            first ??= error;
            throw error;
          }
        },
      });
      const end = await client.query('commit');
      // How the server answers a commit after an error in the transaction.
      if (end.command === 'ROLLBACK') throw new Error('The transaction was rolled back.');
      return result;
    } catch (error) {
      // Of several statements under way the first one failed, and the others because of it.
      const reason = isAborted(error) ? (first ?? error) : error;
      const failure = failureOf(reason);
      if (failure === 'outage') throw reason;
      try {
        await rollback(client);
      } catch (late) {
        // The connection has ended too, which is tried again unless there is a better reason to give up.
        throw failure === 'final' ? reason : late;
      }
      throw reason;
    }
  }

  /** Runs an attempt on a connection, and again after conflicts and outages, within bounds. */
  async #untilDone<T>(attempt: (client: PoolClient) => Promise<T>): Promise<T> {
    let attempts = 0;
    let conflicts = 0;
    while (true) {
      try {
        return await this.#onConnection(attempt);
      } catch (error) {
        attempts++;
        const failure = failureOf(error);
        const patient =
          failure === 'conflict'
            ? ++conflicts < CONFLICT_ATTEMPTS
            : failure === 'outage' && (this.#takesChanges || !isReadOnly(error)) && this.#waitsOut(attempts);
        if (!patient) throw translated(error, this.#label);
        await sleep(Math.min(10 * 2 ** attempts, 200) * (0.5 + Math.random()));
      }
    }
  }

  /** Whether to try again after this many attempts, of which the last one met an outage. */
  #waitsOut(attempts: number): boolean {
    const nowMs = this.#clock.monotonic();
    const { sinceMs, lastMs } = this.#outage;
    this.#outage = { sinceMs: nowMs - lastMs < OUTAGE_GAP_MS ? sinceMs : nowMs, lastMs: nowMs };
    // Once in any case: it may have been the connection alone.
    return attempts === 1 || nowMs - this.#outage.sinceMs < this.#outageDeadlineMs;
  }

  async #onConnection<T>(attempt: (client: PoolClient) => Promise<T>): Promise<T> {
    return this.#turns.pass(undefined, async () => {
      const client = await this.#pool.connect();
      try {
        const result = await attempt(client);
        client.release();
        this.#outage.lastMs = -Infinity;
        return result;
      } catch (error) {
        // Nobody knows what the connection is still busy with, unless somebody else was in the way.
        client.release(failureOf(error) !== 'conflict');
        throw error;
      }
    });
  }
}

async function rollback(client: PoolClient): Promise<void> {
  try {
    await client.query('rollback');
  } catch (error) {
    if (!isWithoutTransaction(error)) throw error;
  }
}

async function run<O>(client: PoolClient, compilable: Compilable<O>): Promise<Answer<O>> {
  const { sql: text, parameters } = compilable.compile();
  const { rows, rowCount } = await client.query<O & Record<string, unknown>>(text, [...parameters]);
  return { rows, affected: rowCount ?? 0 };
}

/** Ends a client's connection before it answers a login that is not bound to TLS: node-postgres takes any, whatever it prefers. */
function requireBinding(client: Client): void {
  const connection: unknown = Reflect.get(client, 'connection');
  if (!(connection instanceof EventEmitter))
    throw new TypeError('node-postgres has no connection to listen to.');
  let isBound = false;
  const give = (): void => {
    connection.emit('error', new Error(UNBOUND));
    client.end().catch(() => undefined);
  };
  connection.on('authenticationSASL', ({ mechanisms }: { readonly mechanisms: readonly string[] }) => {
    isBound = mechanisms.includes('SCRAM-SHA-256-PLUS');
    if (!isBound) give();
  });
  for (const other of ['authenticationCleartextPassword', 'authenticationMD5Password'])
    connection.on(other, give);
  connection.on('authenticationOk', () => {
    if (!isBound) give();
  });
}
