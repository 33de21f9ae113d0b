/** What every bench works with: its options, a folder of its own, the built command, and what it runs beside. */
import { spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const text = (value: string) => ({ type: 'string', default: value }) as const;
export const { values } = parseArgs({
  options: {
    size: text('1024'),
    pairs: text('3'),
    only: text(''),
    // Of folders.
    corpus: text(process.env['VAULT_BENCH_CORPUS'] ?? ''),
    second: text(process.env['VAULT_BENCH_SECOND'] ?? ''),
    modules: text(resolve(import.meta.dirname, '../../node_modules')),
    media: text('10'),
    entries: text('2000000'),
    // Of scale: files of one command, chunks that are swept, files of a catalog with ten chunks each.
    many: text('12000'),
    chunks: text('1000000'),
    files: text('1000000'),
    // Of the server.
    first: text('2048'),
    clients: text('100'),
  },
});
export const pairs = Number(values.pairs);
export const MIB = 1024 * 1024;

export const vault = [process.execPath, resolve(import.meta.dirname, '../../bin/vault.js')];
export const resticVersion = /^restic \S+/.exec(
  spawnSync('restic', ['version']).stdout?.toString() ?? '',
)?.[0];

export const work = mkdtempSync(join(process.env['VAULT_BENCH_FOLDER'] ?? tmpdir(), 'vault-bench-'));
process.once('exit', () => rmSync(work, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130));

/** What is measured has nothing else of this environment. */
export const env: NodeJS.ProcessEnv = {
  PATH: process.env['PATH'],
  HOME: work,
  VAULT_PASSWORD: 'bench',
  VAULT_DB: join(work, 'vault', 'catalog.db'),
  RESTIC_PASSWORD: 'bench',
  RESTIC_REPOSITORY: join(work, 'restic'),
};

/** Runs what is not measured. @returns what it printed @throws if it fails */
export function run(command: readonly string[], cwd = work): string {
  const [program = '', ...args] = command;
  const { status, stdout, stderr } = spawnSync(program, args, { env, cwd, maxBuffer: 1024 * MIB });
  if (status === 0) return stdout.toString();
  throw new Error(`${command.join(' ').slice(0, 300)} exited with ${String(status)}: ${stderr?.toString()}`);
}

let away = 0;

/**
 * Takes away what a run has left, and gives its bytes back. Its files stay until the bench ends, empty: ext4 looks at every one that was
 * removed in the last minutes before it makes another, so that whoever makes many would pay for what the bench has removed.
 */
export function remove(...names: readonly string[]): void {
  for (const name of names) {
    if (!existsSync(join(work, name))) continue;
    const place = join(work, `away-${(away += 1)}`);
    renameSync(join(work, name), place);
    run(['find', place, '-type', 'f', '-size', '+64k', '-exec', 'chmod', 'u+w', '{}', '+']);
    run(['find', place, '-type', 'f', '-size', '+64k', '-exec', 'truncate', '-s', '0', '{}', '+']);
  }
}

/** A vault in three folders. @param settings of `vault init` */
export function freshVault(...settings: readonly string[]): void {
  remove('vault');
  run(['mkdir', 'vault']);
  run([...vault, 'init', '--local', ...settings], join(work, 'vault'));
}

export function freshRepository(): void {
  remove('restic');
  if (resticVersion !== undefined) run(['restic', 'init', '--repository-version', '2']);
}

export function writeRandom(path: string, bytes: number): void {
  const file = openSync(path, 'w');
  const block = Buffer.allocUnsafe(MIB);
  for (let left = bytes; left > 0; left -= block.length)
    writeSync(file, randomFillSync(block), 0, Math.min(left, block.length));
  closeSync(file);
}

/** A large file in the bench's folder, made when it is first asked for. @returns its name */
export function largeFile(mebibytes = Number(values.size)): string {
  const name = `large-${mebibytes}`;
  if (!existsSync(join(work, name))) writeRandom(join(work, name), mebibytes * MIB);
  return name;
}

const REPORTING = '/sys/module/page_reporting/parameters/page_reporting_order';
/** The largest order of free memory; what is above it is never given back. */
const MAX_ORDER = 10;

/** Lets the system touch as much memory as the runs will fill: on a virtual machine the first touch is slow, for whoever makes it. */
export function touchMemory(mebibytes: number): void {
  if (existsSync(REPORTING) && Number(readFileSync(REPORTING, 'utf8')) <= MAX_ORDER)
    console.log(`This machine gives free memory back to its host: see README.md on ${REPORTING}.`);
  const path = join(work, 'touched');
  const file = openSync(path, 'w');
  for (let i = 0; i < mebibytes; i += 1) writeSync(file, Buffer.alloc(MIB, 1));
  closeSync(file);
  rmSync(path);
  run(['sync']);
}
