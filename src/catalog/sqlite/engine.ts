import { open as openFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setImmediate as yieldTurn, setTimeout as sleep } from 'node:timers/promises';
import type { Database, Statement } from 'better-sqlite3';
import { DummyDriver, Kysely, sql, SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler } from 'kysely';
import type { Compilable } from 'kysely';
import { coalesced } from '../../concurrency/coalesced.ts';
import { makeFolder } from '../../disk/folders.ts';
import { invalidInput, isVaultError, messageOf, systemCode, VaultError } from '../../errors.ts';
import type { Clock } from '../../host.ts';
import type { Answer, Dialect, Durability, Engine, Session } from '../sql/engine.ts';
import { migration, requireKnownSchema, SCHEMA_VERSION } from '../sql/migrations.ts';
import type { Tables } from '../sql/schema.ts';
import { BUSY_DEADLINE_MS, translated } from './errors.ts';
import { fileAt, putAside, readImage, requireFileName, requireWritableFile } from './image.ts';

/** Says in the file's header that it is a catalog ("vaul"). */
const APPLICATION_ID = 0x7661756c;

/** How long SQLite itself waits for other processes at a stretch, which stops this whole process. */
const BUSY_STRETCH_MS = 20;

/** Statements kept compiled. */
const STATEMENTS = 100;

/**
 * Opens a catalog in an SQLite file. One that cannot be written, for want of rights or room, is read as it is: what a reading
 * command learns is kept in memory, and `requireWritable` says why.
 *
 * @param path the file
 * @param options `create`: make the folder (mode 0700), the file (0600) and the tables if there are none; `clock`: this machine's
 * @throws `no-vault` if there is no such file, or no catalog in it, and it is not to be created; `invalid-input` if it is
 *   a database of something else; `denied`; `damaged`; `unsupported`, see `requireKnownSchema`; `unavailable`
 */
export async function openSqlite(
  path: string,
  options: { readonly create: boolean; readonly clock: Clock },
): Promise<Engine> {
  requireFileName(path);
  const file = await checkFile(path, options);
  const { default: Sqlite } = await import('better-sqlite3');
  const openFrom = async (source: string | Buffer, refusal: VaultError | null): Promise<Engine> => {
    const database = new Sqlite(source, {
      fileMustExist: typeof source === 'string',
      timeout: BUSY_STRETCH_MS,
    });
    try {
      const place = source === path ? file : null;
      const engine = new SqliteEngine(path, database, { file: place, refusal, clock: options.clock });
      await engine.prepare(options);
      return engine;
    } catch (error) {
      database.close();
      throw error;
    }
  };
  try {
    if (!options.create) await requireWritableFile(path);
    return await openFrom(path, null);
  } catch (error) {
    const refusal = translated(error, path);
    if (options.create || !isVaultError(refusal, 'denied', 'storage-full')) throw refusal;
    try {
      return await openFrom(await readImage(Sqlite, path), refusal);
    } catch (cause) {
      throw translated(cause, path);
    }
  }
}

/** One in memory, without a file. */
export async function openSqliteInMemory(clock: Clock): Promise<Engine> {
  const { default: Sqlite } = await import('better-sqlite3');
  const engine = new SqliteEngine('memory', new Sqlite(':memory:'), { file: null, refusal: null, clock });
  await engine.prepare({ create: true });
  return engine;
}

const DIALECT: Dialect = {
  bytesType: sql`blob`,
  keyedTable: sql`without rowid`,
  lock: (query) => query,
};

interface Write {
  readonly durability: Durability;
  /** @returns tells whoever waits that it is done, once it is */
  readonly run: (session: Session) => Promise<() => void>;
  readonly fail: (error: unknown) => void;
}

class SqliteEngine implements Engine {
  readonly label: string;
  readonly dialect = DIALECT;
  readonly db = new Kysely<Tables>({
    dialect: {
      createAdapter: () => new SqliteAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: (db) => new SqliteIntrospector(db),
      createQueryCompiler: () => new SqliteQueryCompiler(),
    },
  });
  readonly #database: Database;
  readonly #session: Session;
  readonly #statements = new Map<string, Statement>();
  #synchronous: Durability | null = null;
  /** The next turn of the event loop, which all share that ask in this one; null when nobody has asked. */
  #turn: Promise<void> | null = null;
  /** Writes that have not had their turn yet. */
  readonly #waiting: Write[] = [];
  /** Settles when nobody uses the connection. There is only one, so a read must not fall into an open transaction. */
  #free: Promise<unknown> = Promise.resolve();

  /** Which file is open, as `fileAt` says; null for none. */
  readonly #file: string | null;

  /** Why the file cannot be written; null if it can. */
  readonly #refusal: VaultError | null;

  readonly #clock: Clock;

  /** Writes a page, which tells whether there is room for one: once for all who ask at once, as many small files do. */
  readonly #tryToWrite = coalesced(() =>
    this.write('lazy', async () => this.#database.pragma(`user_version = ${SCHEMA_VERSION}`)),
  );

  constructor(
    label: string,
    database: Database,
    {
      file,
      refusal,
      clock,
    }: { readonly file: string | null; readonly refusal: VaultError | null; readonly clock: Clock },
  ) {
    this.label = label;
    this.#file = file;
    this.#database = database;
    this.#refusal = refusal;
    this.#clock = clock;
    this.#session = { run: async (query) => this.#run(query) };
  }

  /** Sets the connection up, and makes or upgrades the tables. */
  async prepare({ create }: { readonly create: boolean }): Promise<void> {
    const [version, ours] = await this.#untilFree(() => this.#version());
    // Whoever makes a catalog has tables that have gone made anew.
    if (ours && version === SCHEMA_VERSION && !create) return;
    if (ours) requireKnownSchema(this.label, version);
    if (!ours) await this.#requireEmpty({ create });
    await this.#untilFree(() => this.#database.pragma('journal_mode = wal'));
    await this.#exclusively(async () => {
      this.#setSynchronous('durable');
      await this.#transaction(async (session) => {
        // Another process may have been faster.
        const [found, known] = this.#version();
        const from = known ? found : 0;
        requireKnownSchema(this.label, from);
        for (const statement of migration(this, create ? 0 : from)) await session.run(statement);
        this.#database.pragma(`application_id = ${APPLICATION_ID}`);
        this.#database.pragma(`user_version = ${SCHEMA_VERSION}`);
      });
    });
  }

  read<T>(work: (session: Session) => Promise<T>): Promise<T> {
    return this.#exclusively(() => {
      this.#requireInPlace();
      return work(this.#session);
    });
  }

  writeOne<T>(durability: Durability, work: (session: Session) => Promise<T>): Promise<T> {
    return this.write(durability, work);
  }

  /** Those that wait for their turn at once are one transaction: its commit waits for the disk, and stops this whole process. */
  write<T>(durability: Durability, work: (session: Session) => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const run = async (session: Session): Promise<() => void> => {
        const value = await work(session);
        return () => resolve(value);
      };
      this.#waiting.push({ durability, run, fail: reject });
      if (this.#waiting.length > 1) return;
      this.#exclusively(() => this.#commit(this.#waiting.splice(0))).catch(reject);
    });
  }

  /** Does writes in one transaction, or, if that fails, each in its own: one's failure is not the others'. */
  async #commit(writes: readonly Write[]): Promise<void> {
    try {
      const done = await this.#untilFree(() => {
        this.#setSynchronous(writes.some((one) => one.durability === 'durable') ? 'durable' : 'lazy');
        return this.#transaction(async (session) => {
          const told: (() => void)[] = [];
          for (const { run } of writes) told.push(await run(session));
          return told;
        });
      });
      for (const tell of done) tell();
    } catch (error) {
      if (writes.length > 1 && !isBusy(error)) for (const one of writes) await this.#commit([one]);
      else for (const { fail } of writes) fail(translated(error, this.label));
    }
  }

  async requireWritable(): Promise<void> {
    if (this.#refusal !== null) throw this.#refusal;
    await this.#tryToWrite();
  }

  async close(): Promise<void> {
    await this.#free;
    this.#database.close();
  }

  async #transaction<T>(work: (session: Session) => Promise<T>): Promise<T> {
    this.#database.exec('begin immediate');
    try {
      const result = await work(this.#session);
      this.#requireInPlace();
      this.#database.exec('commit');
      return result;
    } finally {
      if (this.#database.inTransaction) this.#database.exec('rollback');
    }
  }

  /** What is written into a file that was moved away nobody else sees, who has another by now. @throws `unavailable` */
  #requireInPlace(): void {
    if (this.#file === null || fileAt(this.label) === this.#file) return;
    throw new VaultError(
      'unavailable',
      `The catalog ${this.label} was moved, removed or replaced while this program used it, so nothing more is read from it or written to it. Start the program again.`,
    );
  }

  /** Runs an attempt while nobody else uses the connection, and again as long as other processes are in the way. */
  async #exclusively<T>(attempt: () => Promise<T>): Promise<T> {
    const before = this.#free;
    const mine = Promise.withResolvers<void>();
    this.#free = mine.promise;
    // The driver never waits, so a loop of calls would otherwise keep timers and signals from their turn.
    const turn = (this.#turn ??= this.#nextTurn());
    await before;
    try {
      await turn;
      return await this.#untilFree(attempt);
    } catch (error) {
      throw translated(error, this.label);
    } finally {
      mine.resolve();
    }
  }

  async #nextTurn(): Promise<void> {
    await yieldTurn();
    this.#turn = null;
  }

  async #untilFree<T>(attempt: () => Promise<T> | T): Promise<T> {
    const deadlineMs = this.#clock.monotonic() + BUSY_DEADLINE_MS;
    while (true) {
      try {
        return await attempt();
      } catch (error) {
        if (!isBusy(error) || this.#clock.monotonic() > deadlineMs) throw error;
        await sleep(10 + Math.random() * 50);
      }
    }
  }

  #run<O>(query: Compilable<O>): Answer<O> {
    const { sql: text, parameters } = query.compile();
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      statement = this.#database.prepare(text);
      this.#statements.set(text, statement);
      const [oldest] = this.#statements.keys();
      if (this.#statements.size > STATEMENTS && oldest !== undefined) this.#statements.delete(oldest);
    }
    if (statement.reader) {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the query's type says what its rows are
      const rows = statement.all(...parameters) as O[];
      return { rows, affected: rows.length };
    }
    return { rows: [], affected: statement.run(...parameters).changes };
  }

  #setSynchronous(durability: Durability): void {
    if (this.#synchronous === durability) return;
    // Takes effect only outside a transaction.
    this.#database.pragma(`synchronous = ${durability === 'durable' ? 'full' : 'normal'}`);
    this.#synchronous = durability;
  }

  /** The recorded schema version, and whether the file is a catalog at all. */
  #version(): readonly [number, boolean] {
    const version = Number(this.#database.pragma('user_version', { simple: true }));
    return [version, Number(this.#database.pragma('application_id', { simple: true })) === APPLICATION_ID];
  }

  async #requireEmpty({ create }: { readonly create: boolean }): Promise<void> {
    const tables = await this.#untilFree(() =>
      this.#database.prepare('select count(*) from sqlite_schema').pluck().get(),
    );
    // Another process may just have made the tables.
    if (this.#version()[1]) return;
    if (tables !== 0) {
      throw invalidInput(`${this.label} is the database of another program. Name another file (--db).`);
    }
    if (!create) throw noVault(this.label);
  }
}

/** @returns which file it is, as `fileAt` says */
async function checkFile(path: string, { create }: { readonly create: boolean }): Promise<string | null> {
  try {
    if (create) await putAside(path);
    if (create) await makeFolder(dirname(path), { mode: 0o700 });
    // Before it is opened: a pipe that nobody reads would be waited for.
    const found = await stat(path).catch((error: unknown) => {
      if (create && systemCode(error) === 'ENOENT') return null;
      throw error;
    });
    if (found?.isFile() === false) {
      throw invalidInput(`${path} is not a file. Name the catalog's file (--db).`);
    }
    // Made here, since SQLite would make it readable by everybody.
    if (create) await (await openFile(path, 'a', 0o600)).close();
    return fileAt(path);
  } catch (error) {
    if (error instanceof VaultError) throw error;
    if (!create && systemCode(error) === 'ENOENT') throw noVault(path, error);
    const told = translated(error, path);
    if (told !== error || systemCode(error) === null) throw told;
    // A path that leads nowhere: a file or a loop of links on its way, too long a name, a folder that cannot be made, as in /proc.
    throw invalidInput(`The catalog cannot be at ${path}: ${messageOf(error)}`, error);
  }
}

function noVault(path: string, cause?: unknown): VaultError {
  return new VaultError(
    'no-vault',
    `There is no vault at ${path}. "vault init" makes one, "vault recover" the catalog of one anew from its buckets; --db or VAULT_DB names another place.`,
    { cause },
  );
}

function isBusy(error: unknown): boolean {
  return /^SQLITE_(BUSY|LOCKED)/.test(systemCode(error) ?? '');
}
