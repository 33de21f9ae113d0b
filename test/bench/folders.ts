// Measures folders against restic; README.md beside this says how. A line has the ratios of wall clock and processor time, or bytes and
// MiB, and what was aimed at. Each pair begins with an empty vault and an empty repository, ours and theirs in turn at every step.
import { spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { makeEntries } from './entries.ts';
import { measure, median } from './process.ts';
import type { Measured } from './process.ts';

const { values } = parseArgs({
  options: {
    corpus: { type: 'string', default: process.env['VAULT_BENCH_CORPUS'] ?? '' },
    second: { type: 'string', default: process.env['VAULT_BENCH_SECOND'] ?? '' },
    modules: { type: 'string', default: resolve(import.meta.dirname, '../../node_modules') },
    media: { type: 'string', default: '10' },
    size: { type: 'string', default: '1024' },
    entries: { type: 'string', default: '0' },
    pairs: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
  },
});
const pairs = Number(values.pairs);
const isWanted = (corpus: string): boolean => corpus.includes(values.only);
const vault = [process.execPath, resolve(import.meta.dirname, '../../bin/vault.js')];
const restic = ['restic', '--quiet'];
const MIB = 1024 * 1024;

const work = mkdtempSync(join(process.env['VAULT_BENCH_FOLDER'] ?? tmpdir(), 'vault-bench-'));
process.once('exit', () => {
  rmSync(work, { recursive: true, force: true });
});
process.once('SIGINT', () => process.exit(130));
const tree = join(work, 'tree');

/** What a line aims at: ratios to the peer's, and MiB of memory. */
interface Goal {
  readonly wall?: number;
  readonly processor?: number;
  readonly added?: number;
  readonly peak?: number;
  /** MiB that it may add, whatever the peer does. */
  readonly addedMebibytes?: number;
}

interface Step {
  readonly name: string;
  readonly goal: Goal;
  readonly prepare?: (() => void) | undefined;
  readonly ours: (pair: number) => readonly string[];
  readonly theirs: (pair: number) => readonly string[];
  /** What a run leaves is compared with the tree. */
  readonly restored?: (pair: number) => readonly [string, string];
}

interface Result extends Measured {
  readonly addedMebibytes: number;
}

function run(command: readonly string[], env: NodeJS.ProcessEnv = {}): string {
  const [program = '', ...args] = command;
  const { status, stdout, stderr } = spawnSync(program, args, {
    env: { ...process.env, ...env },
    cwd: work,
    maxBuffer: 1024 * MIB,
  });
  if (status === 0) return stdout.toString();
  throw new Error(`${command.join(' ')} exited with ${String(status)}: ${stderr.toString()}`);
}

/** Folders of one pair, which stay to the end: a disk is slow for a while after much was removed. */
function envOf(pair: number): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'],
    HOME: work,
    VAULT_PASSWORD: 'bench',
    VAULT_DB: join(work, `vault-${pair}`, 'catalog.db'),
    RESTIC_PASSWORD: 'bench',
    RESTIC_REPOSITORY: join(work, `restic-${pair}`),
  };
}

/** Bytes that are stored: our buckets, their repository. */
function storedMebibytes(pair: number, whose: 'ours' | 'theirs'): number {
  const places =
    whose === 'theirs'
      ? [join(work, `restic-${pair}`)]
      : [1, 2, 3].map((n) => join(work, `vault-${pair}`, `bucket-${n}`));
  const lines = run(['du', '-sk', ...places])
    .trimEnd()
    .split('\n');
  return lines.reduce((sum, line) => sum + Number.parseInt(line, 10), 0) / 1024;
}

async function runStep(step: Step, pair: number, whose: 'ours' | 'theirs'): Promise<Result> {
  const before = storedMebibytes(pair, whose);
  run(['sync']);
  const measured = await measure(step[whose](pair), { env: envOf(pair), cwd: work });
  const restored = step.restored?.(pair)[whose === 'ours' ? 0 : 1];
  if (restored !== undefined && pair === 0) run(['diff', '-r', '--no-dereference', tree, restored]);
  return { ...measured, addedMebibytes: storedMebibytes(pair, whose) - before };
}

let pairsBegun = 0;

async function compare(corpus: string, steps: readonly Step[]): Promise<void> {
  const results = steps.map(() => ({ ours: [] as Result[], theirs: [] as Result[] }));
  for (let i = 0; i < pairs; i += 1) {
    const pair = pairsBegun++;
    const folder = join(work, `vault-${pair}`);
    mkdirSync(folder);
    const [node = '', script = ''] = vault;
    spawnSync(node, [script, 'init', '--local', '--redundancy', '1+0'], { env: envOf(pair), cwd: folder });
    run(['restic', 'init'], envOf(pair));
    for (const [at, step] of steps.entries()) {
      step.prepare?.();
      const isFirst = i % 2 === 0;
      for (const whose of isFirst ? (['ours', 'theirs'] as const) : (['theirs', 'ours'] as const)) {
        results[at]?.[whose].push(await runStep(step, pair, whose));
      }
    }
  }
  for (const [at, { name, goal }] of steps.entries()) {
    const { ours = [], theirs = [] } = results[at] ?? {};
    tell(`${corpus}: ${name}`, goal, both(ours), both(theirs));
  }
}

function both(runs: readonly Result[]): Result {
  const added = runs.map(({ addedMebibytes }) => addedMebibytes).toSorted((a, b) => a - b);
  return { ...median(runs), addedMebibytes: added[Math.floor(added.length / 2)] ?? NaN };
}

function tell(name: string, goal: Goal, ours: Result, theirs: Result | null): void {
  const ratio = (of: (result: Result) => number): number => of(ours) / (theirs === null ? NaN : of(theirs));
  const wall = ratio(({ wallSeconds }) => wallSeconds);
  const processor = ratio(({ processorSeconds }) => processorSeconds);
  const added = ratio(({ addedMebibytes }) => addedMebibytes);
  const aims = [
    ['wall', wall, goal.wall],
    ['cpu', processor, goal.processor],
    ['added', added, goal.added],
    ['peak MiB', ours.peakMebibytes ?? NaN, goal.peak],
    ['added MiB', ours.addedMebibytes, goal.addedMebibytes],
  ] as const;
  const verdicts = aims.flatMap(([what, found, most]) =>
    most === undefined ? [] : [`${what} ${shown(found)} of ${most}: ${found <= most ? 'met' : 'NOT MET'}`],
  );
  const cells = [...figures(ours), '|', ...(theirs === null ? [] : [...figures(theirs), '|'])];
  const ratios = theirs === null ? [] : [wall, processor, added].map(shown);
  console.log(name.padEnd(44) + [...cells, ...ratios].map((cell) => cell.padStart(8)).join(' '));
  if (verdicts.length > 0) console.log(`    ${verdicts.join('; ')}`);
}

function shown(value: number): string {
  return Number.isFinite(value) ? value.toFixed(2) : '-';
}

function figures({ wallSeconds, processorSeconds, peakMebibytes, addedMebibytes }: Result): string[] {
  return [
    shown(wallSeconds),
    shown(processorSeconds),
    peakMebibytes?.toFixed(0) ?? '',
    addedMebibytes.toFixed(1),
  ];
}

const put = (): readonly string[] => [...vault, 'put', 'tree'];
const backup = (): readonly string[] => [...restic, 'backup', 'tree'];
const ourOut = (pair: number): string => join(work, `out-${pair}`);
const theirOut = (pair: number): string => join(work, `restored-${pair}`);

function filesOf(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

function change(count: number): void {
  const files = filesOf(tree);
  const step = Math.max(1, Math.floor(files.length / count));
  for (let i = 0; i < Math.min(count, files.length); i += 1)
    appendFileSync(files[i * step] ?? '', `changed ${pairsBegun}\n`);
}

/** A tree that may be changed, in the place of the one before. */
function takeTree(from: string): void {
  rmSync(tree, { recursive: true, force: true });
  run(['cp', '-a', resolve(from), tree]);
}

function storing(
  goals: { readonly first: Goal; readonly again: Goal; readonly restore: Goal },
  prepare?: () => void,
): Step[] {
  return [
    { name: 'first put', goal: goals.first, prepare, ours: put, theirs: backup },
    { name: 'again, nothing changed', goal: goals.again, ours: put, theirs: backup },
    {
      name: 'restore of all',
      goal: goals.restore,
      ours: (pair) => [...vault, 'get', 'tree', '-o', ourOut(pair)],
      theirs: (pair) => [...restic, 'restore', 'latest', '--target', theirOut(pair)],
      restored: (pair) => [ourOut(pair), join(theirOut(pair), 'tree')],
    },
  ];
}

async function kernel(): Promise<void> {
  const one =
    filesOf(values.corpus).find((path) => path.endsWith('/MAINTAINERS')) ?? filesOf(values.corpus)[0] ?? '';
  const path = `tree${one.slice(resolve(values.corpus).length)}`;
  const steps: Step[] = [
    ...storing(
      {
        first: { wall: 0.5, processor: 0.5, added: 0.85, peak: 220 },
        again: { wall: 0.4, processor: 0.4 },
        restore: { wall: 0.7, processor: 0.7, peak: 220 },
      },
      () => takeTree(values.corpus),
    ),
    {
      name: 'one file out of it',
      goal: { wall: 0.5 },
      ours: () => [...vault, 'get', path, '-o', '-'],
      theirs: () => [...restic, 'dump', 'latest', path],
    },
    {
      name: 'again, 100 files changed',
      goal: { wall: 0.5, added: 2.5 },
      prepare: () => change(100),
      ours: put,
      theirs: backup,
    },
  ];
  if (values.second !== '') {
    steps.push({
      name: 'another version after it',
      goal: { added: 1 },
      prepare: () => takeTree(values.second),
      ours: put,
      theirs: backup,
    });
  }
  await compare('corpus', steps);
}

const NOT_SLOWER = { first: { wall: 1 }, again: { wall: 1 }, restore: { wall: 1 } };

async function media(): Promise<void> {
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(tree);
  for (let i = 0; i < Number(values.media); i += 1) writeRandom(join(tree, `media-${i}`), 50_000_000);
  await compare('media', storing(NOT_SLOWER));
}

const putLarge = (): readonly string[] => [...vault, 'put', '--chunks', 'content', 'large'];
const backupLarge = (): readonly string[] => [...restic, 'backup', 'large'];
const insert = (): void => {
  run([
    'bash',
    '-c',
    'head -c 1000000 /dev/urandom >large.new && cat large >>large.new && mv large.new large',
  ]);
};
const ls = (): readonly string[] => [...vault, 'ls', '-R', 'tree/'];
const theirLs = (): readonly string[] => [...restic, 'ls', 'latest'];

/** A megabyte in the front of a large file. */
async function insertion(): Promise<void> {
  const file = join(work, 'large');
  writeRandom(file, Number(values.size) * MIB);
  await compare('large file', [
    { name: 'put --chunks content', goal: {}, ours: putLarge, theirs: backupLarge },
    {
      name: '1 MB put in front of it',
      goal: { addedMebibytes: 5 },
      prepare: insert,
      ours: putLarge,
      theirs: backupLarge,
    },
  ]);
}

async function manyEntries(): Promise<void> {
  rmSync(tree, { recursive: true, force: true });
  makeEntries(tree, Number(values.entries));
  const goal = { peak: 500 };
  await compare(`${values.entries} entries`, [
    { name: 'first put', goal, ours: put, theirs: backup },
    { name: 'again, nothing changed', goal, ours: put, theirs: backup },
    { name: 'ls -R', goal, ours: ls, theirs: theirLs },
  ]);
}

function writeRandom(path: string, bytes: number): void {
  const file = openSync(path, 'w');
  const block = Buffer.allocUnsafe(MIB);
  for (let left = bytes; left > 0; left -= block.length)
    writeSync(file, randomFillSync(block), 0, Math.min(left, block.length));
  closeSync(file);
}

console.log(`${run(['restic', 'version']).trim()}; ${pairs} pairs a line, medians; 1+0 on three folders.`);
const head = [
  'wall s',
  'cpu s',
  'peak MiB',
  'added',
  '|',
  'wall s',
  'cpu s',
  'peak MiB',
  'added',
  '|',
  'wall',
  'cpu',
  'added',
];
console.log(''.padEnd(44) + head.map((cell) => cell.padStart(8)).join(' '));
if (values.corpus !== '' && isWanted('corpus')) await kernel();
if (values.modules !== '' && isWanted('modules')) {
  takeTree(values.modules);
  await compare('modules', storing(NOT_SLOWER));
}
if (Number(values.media) > 0 && isWanted('media')) await media();
if (Number(values.size) > 0 && isWanted('large file')) await insertion();
if (Number(values.entries) > 0 && isWanted('entries')) await manyEntries();
