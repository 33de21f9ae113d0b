// Measures the built command against a peer: restic, where it is on PATH (compression off, no cache). Ours and
// the peer's runs take turns, since absolute times differ from machine to machine and from minute to minute; what
// counts is the ratio of a line. `cp` is shown for orientation only.
//
//     npm run bench -- [--size <MiB>] [--pairs <n>] [--only <part of a line's name>]
import { spawnSync } from 'node:child_process';
import { createHash, randomFillSync } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { measure, median } from './process.ts';
import type { Measured } from './process.ts';

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '1024' },
    pairs: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
  },
});
const sizeMebibytes = Number(values.size);
const pairs = Number(values.pairs);
const vault = [process.execPath, resolve(import.meta.dirname, '../../bin/vault.js')];
const hasRestic = spawnSync('restic', ['version']).status === 0;

const work = mkdtempSync(join(process.env['VAULT_BENCH_FOLDER'] ?? tmpdir(), 'vault-bench-'));
process.once('exit', () => {
  rmSync(work, { recursive: true, force: true });
});
process.once('SIGINT', () => process.exit(130));

const input = join(work, 'input');
const copy = join(work, 'copy');
const small = join(work, 'small');
writeRandom(input, sizeMebibytes);
mkdirSync(small);
for (let i = 0; i < 1000; i += 1)
  writeFileSync(join(small, `file-${i}`), randomFillSync(Buffer.alloc(10 * 1024)));

/** One side of a line: what comes before each run, unmeasured, and the run. */
interface Side {
  readonly prepare?: () => void;
  readonly command: readonly string[];
  readonly cwd?: string;
  readonly check?: () => void;
}

interface Line {
  readonly name: string;
  readonly ours: Side;
  readonly peer: Side | null;
  readonly peerName?: string;
}

const env: NodeJS.ProcessEnv = {
  PATH: process.env['PATH'],
  HOME: work,
  VAULT_PASSWORD: 'bench',
  VAULT_DB: join(work, 'vault', 'catalog.db'),
  RESTIC_PASSWORD: 'bench',
  RESTIC_REPOSITORY: join(work, 'restic'),
};
const restic = ['restic', '--no-cache', '--quiet'];
const backup = [...restic, 'backup', '--compression', 'off'];

function quietly(command: readonly string[], cwd = work): void {
  const [program = '', ...args] = command;
  const { status, stderr } = spawnSync(program, args, { env, cwd });
  if (status !== 0)
    throw new Error(`${command.join(' ')} exited with ${String(status)}: ${stderr.toString()}`);
}

function freshVault(redundancy: string): () => void {
  return () => {
    rmSync(join(work, 'vault'), { recursive: true, force: true });
    mkdirSync(join(work, 'vault'));
    quietly([...vault, 'init', '--local', '--redundancy', redundancy]);
  };
}
function vaultWith(redundancy: string): () => void {
  return () => {
    freshVault(redundancy)();
    quietly([...vault, 'put', 'input']);
  };
}
function freshRepository(): void {
  rmSync(join(work, 'restic'), { recursive: true, force: true });
  quietly(['restic', 'init', '--repository-version', '2']);
}
function repositoryWithInput(): void {
  freshRepository();
  quietly([...backup, 'input']);
}
function isRestored(path: string): () => void {
  return () => {
    if (digest(path) !== digest(input)) throw new Error(`${path} is not what was stored`);
    rmSync(path, { recursive: true, force: true });
  };
}

const output = join(work, 'output');
const putPeer: Side = { prepare: freshRepository, command: [...backup, 'input'] };
const getPeer: Side = {
  prepare: repositoryWithInput,
  command: [...restic, 'restore', 'latest', '--target', join(work, 'restored')],
  check: () => {
    rmSync(join(work, 'restored'), { recursive: true, force: true });
  },
};
const lines: readonly Line[] = [
  ...['1+0', '2+1'].map((redundancy) => ({
    name: `put ${redundancy}`,
    ours: { prepare: freshVault(redundancy), command: [...vault, 'put', 'input'] },
    peer: putPeer,
  })),
  ...['1+0', '2+1'].map((redundancy) => ({
    name: `get ${redundancy}`,
    ours: {
      prepare: vaultWith(redundancy),
      command: [...vault, 'get', 'input', '-o', output],
      check: isRestored(output),
    },
    peer: getPeer,
  })),
  {
    name: 'put again, unchanged (peer reads it again too)',
    ours: { prepare: vaultWith('2+1'), command: [...vault, 'put', 'input'] },
    peer: { prepare: repositoryWithInput, command: [...backup, '--force', 'input'] },
  },
  {
    name: 'put of the same content under another name',
    ours: { prepare: vaultWith('2+1'), command: [...vault, 'put', 'input', '--name', 'other'] },
    peer: {
      prepare: () => {
        repositoryWithInput();
        quietly(['cp', input, copy]);
      },
      command: [...backup, 'copy'],
    },
  },
  {
    name: 'put 2+1 of 1,000 files of 10 KiB',
    ours: {
      prepare: freshVault('2+1'),
      command: ['bash', '-c', `exec "$0" "$1" put *`, ...vault],
      cwd: small,
    },
    peer: { prepare: freshRepository, command: [...backup, 'small'] },
  },
  {
    name: 'put 2+1 in chunks of 8 MiB',
    ours: { prepare: freshVault('2+1'), command: [...vault, 'put', '--chunk-size', '8MiB', 'input'] },
    peer: putPeer,
  },
  {
    name: 'ls of a small vault (peer: snapshots)',
    ours: { prepare: freshVault('2+1'), command: [...vault, 'ls'] },
    peer: { prepare: freshRepository, command: [...restic, 'snapshots'] },
  },
  {
    name: 'ls of a small vault (against a bare node start)',
    ours: { prepare: freshVault('2+1'), command: [...vault, 'ls'] },
    peer: { command: [process.execPath, '-e', '0'] },
    peerName: 'node',
  },
  {
    name: '--help (against a bare node start)',
    ours: { command: [...vault, '--help'] },
    peer: { command: [process.execPath, '-e', '0'] },
    peerName: 'node',
  },
  {
    name: 'get 2+1 (against cp, for orientation)',
    ours: {
      prepare: vaultWith('2+1'),
      command: [...vault, 'get', 'input', '-o', output],
      check: isRestored(output),
    },
    peer: { command: ['cp', input, copy] },
    peerName: 'cp',
  },
];

console.log(`${sizeMebibytes} MiB of random bytes, ${pairs} pairs a line, medians; fsync as always.`);
if (!hasRestic) console.log('restic is not on PATH: its columns are empty.');
console.log(
  row([
    'line',
    'wall s',
    'cpu s',
    'peak MiB',
    '',
    'peer',
    'wall s',
    'cpu s',
    'peak MiB',
    'wall ratio',
    'cpu ratio',
  ]),
);
for (const line of lines.filter(({ name }) => name.includes(values.only))) await compare(line);

async function compare(line: Line): Promise<void> {
  const peerName = line.peerName ?? 'restic';
  const peer = peerName === 'restic' && !hasRestic ? null : line.peer;
  const ours: Measured[] = [];
  const theirs: Measured[] = [];
  for (let pair = 0; pair < pairs; pair += 1) {
    ours.push(await run(line.ours));
    if (peer !== null) theirs.push(await run(peer));
  }
  const a = median(ours);
  const b = peer === null ? null : median(theirs);
  console.log(
    row([
      line.name,
      ...figures(a),
      '',
      b === null ? '' : peerName,
      ...(b === null
        ? []
        : [
            ...figures(b),
            (a.wallSeconds / b.wallSeconds).toFixed(2),
            (a.processorSeconds / b.processorSeconds).toFixed(2),
          ]),
    ]),
  );
}

async function run(side: Side): Promise<Measured> {
  side.prepare?.();
  const measured = await measure(side.command, { env, cwd: side.cwd ?? work });
  side.check?.();
  return measured;
}

function figures({ wallSeconds, processorSeconds, peakMebibytes }: Measured): string[] {
  return [wallSeconds.toFixed(2), processorSeconds.toFixed(2), peakMebibytes?.toFixed(0) ?? ''];
}

function row(cells: readonly string[]): string {
  const [name = '', ...rest] = cells;
  return name.padEnd(48) + rest.map((cell) => cell.padStart(9)).join(' ');
}

function writeRandom(path: string, mebibytes: number): void {
  const file = openSync(path, 'w');
  const block = Buffer.allocUnsafe(1024 * 1024);
  for (let i = 0; i < mebibytes; i += 1) writeSync(file, randomFillSync(block));
  closeSync(file);
}

function digest(path: string): string {
  const hash = createHash('sha256');
  const file = openSync(path, 'r');
  const block = Buffer.allocUnsafe(1024 * 1024);
  for (let read = -1; read !== 0;) {
    read = readSync(file, block);
    hash.update(block.subarray(0, read));
  }
  closeSync(file);
  return hash.digest('hex');
}
