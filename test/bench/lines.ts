/**
 * Lines of a bench: what was measured, what was aimed at, and whether it is met; when the process ends, a summary of all. Ours and the
 * peer's runs take turns, since absolute times differ from machine to machine and from minute to minute.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { measure, median, middleOf } from './process.ts';
import type { Measured } from './process.ts';
import { env, pairs, remove, resticVersion, run, touchMemory, values, work } from './workbench.ts';

export interface Result extends Measured {
  /** What the buckets, or the peer's repository, have more than before. */
  readonly addedMebibytes: number;
}

export interface Aim {
  readonly what: string;
  readonly limit: number;
  /** Whether the limit is the least; else it is the most. */
  readonly atLeast?: boolean;
  readonly of: (ours: Result, peer: Result) => number;
}

type Figure = (result: Result) => number;
const ratio = (what: string, of: Figure) => (limit: number) => ({
  what,
  limit,
  of: (ours: Result, peer: Result) => of(ours) / of(peer),
});
const own = (what: string, of: Figure) => (limit: number) => ({ what, limit, of });

/** Beside the peer. */
export const wall = ratio('wall', ({ wallSeconds }) => wallSeconds);
export const processor = ratio('processor', ({ processorSeconds }) => processorSeconds);
export const added = ratio('added bytes', ({ addedMebibytes }) => addedMebibytes);
export const beyond = (limit: number): Aim => ({
  what: 'ms beyond',
  limit,
  of: (ours, peer) => (ours.wallSeconds - peer.wallSeconds) * 1000,
});
/** Whatever the peer does. */
export const seconds = own('s', ({ wallSeconds }) => wallSeconds);
export const peak = own('peak MiB', ({ peakMebibytes }) => peakMebibytes ?? NaN);
export const addedMebibytes = own('added MiB', (result) => result.addedMebibytes);
export const readMebibytes = own('MiB read', (result) => result.readMebibytes ?? NaN);
export const rate = (bytes: number, limit: number): Aim => ({
  what: 'GB/s',
  limit,
  atLeast: true,
  of: ({ wallSeconds }) => bytes / 1e9 / wallSeconds,
});

const summary = { met: 0, missed: [] as string[], unmeasured: [] as string[] };
process.once('exit', () => {
  const { met, missed, unmeasured } = summary;
  console.log(`\n${met} of ${met + missed.length + unmeasured.length} goals are met.`);
  for (const one of missed) console.log(`  missed: ${one}`);
  for (const one of unmeasured) console.log(`  not measured: ${one}`);
});

/** Judges one figure. @returns what came of it, in words */
function judge(line: string, { what, limit, atLeast = false }: Omit<Aim, 'of'>, found: number): string {
  const text = `${what} ${shown(found)}, ${atLeast ? 'at least' : 'at most'} ${limit}`;
  if (Number.isNaN(found)) {
    skip(line, what);
    return `${text}: not measured`;
  }
  if (atLeast ? found >= limit : found <= limit) {
    summary.met += 1;
    return `${text}: met`;
  }
  summary.missed.push(`${line}: ${text}`);
  return `${text}: MISSED`;
}

/** A line of one figure, which is to be so much at most. */
export function hold(line: string, what: string, found: number, limit: number): void {
  console.log(`${line.padEnd(WIDTH)}${judge(line, { what, limit }, found)}`);
}

/** Says that lines are not measured here, and why. */
export function skip(line: string, why: string): void {
  summary.unmeasured.push(`${line}: ${why}`);
}

export function isWanted(line: string): boolean {
  return line.includes(values.only);
}

const WIDTH = 52;

function shown(value: number): string {
  return Number.isFinite(value) ? value.toFixed(value >= 100 ? 0 : 2) : '-';
}

function figures({ wallSeconds, processorSeconds, peakMebibytes, addedMebibytes: more }: Result): string[] {
  return [wallSeconds, processorSeconds, peakMebibytes ?? NaN, more].map(shown);
}

function row(name: string, cells: readonly string[]): void {
  console.log(name.padEnd(WIDTH) + cells.map((cell) => cell.padStart(8)).join(' '));
}

const NOTHING: Result = {
  wallSeconds: NaN,
  processorSeconds: NaN,
  peakMebibytes: null,
  readMebibytes: null,
  addedMebibytes: NaN,
};

/** A line of runs that were measured elsewhere. */
export function tellRuns(
  line: string,
  aims: readonly Aim[],
  ours: readonly Measured[],
  peer: readonly Measured[],
): void {
  tell(line, aims, { ...NOTHING, ...median(ours) }, { ...NOTHING, ...median(peer) });
}

function tell(line: string, aims: readonly Aim[], ours: Result, peer: Result): void {
  const ratios = [wall(0), processor(0), added(0)].map(({ of }) => shown(of(ours, peer)));
  row(line, [...figures(ours), '|', ...figures(peer), '|', ...ratios]);
  const verdicts = aims.map((aim) => judge(line, aim, aim.of(ours, peer)));
  if (verdicts.length > 0) console.log(`    ${verdicts.join('; ')}`);
}

/** Where runs leave what they have restored: ours, the peer's. */
export const OUT = ['out', 'restored'] as const;

export interface Step {
  readonly name: string;
  readonly aims?: readonly Aim[];
  /** Once a pair, not measured. */
  readonly prepare?: () => void;
  readonly ours: readonly string[];
  readonly peer?: readonly string[];
  /** Where they run, in the bench's folder. */
  readonly cwd?: string;
  /** What both must have restored, and where that lies in what each has; looked at after the first pair's runs. */
  readonly restores?: { readonly from: string; readonly ours: string; readonly peer: string };
  /** Looks at what ours has done, likewise. */
  readonly check?: () => void;
}

export interface SceneOptions {
  /** Makes an empty vault and what the peer needs, once a pair. */
  readonly begin: () => unknown;
  readonly pairs?: number;
  /** Whether to count the bytes that are stored. */
  readonly counts?: boolean;
}

let begun = false;

/** Once, before anything is measured. */
export function start(): void {
  if (begun) return;
  begun = true;
  console.log(`${resticVersion ?? 'no restic'}; ${pairs} pairs a line, medians; ours | peer | ratios`);
  const four = ['wall s', 'cpu s', 'peak MiB', 'added'];
  row('', [...four, '|', ...four, '|', 'wall', 'cpu', 'added']);
  touchMemory(3 * Number(values.size));
}

/**
 * Measures steps that follow on each other, each beside the peer's.
 *
 * @returns the middle results of ours; none if the scene is not wanted
 */
export async function compare(
  scene: string,
  steps: readonly Step[],
  options: SceneOptions,
): Promise<Result[]> {
  const lines = steps.map(({ name }) => `${scene}: ${name}`);
  if (!lines.some(isWanted)) return [];
  start();
  const results = steps.map(() => ({ ours: [] as Result[], peer: [] as Result[] }));
  try {
    for (let pair = 0; pair < (options.pairs ?? pairs); pair += 1) {
      remove('vault', 'restic', '.cache', ...OUT);
      await options.begin();
      for (const [at, step] of steps.entries()) {
        step.prepare?.();
        const turns = ['ours', 'peer'] as const;
        for (const whose of pair % 2 === 0 ? turns : turns.toReversed()) {
          const command = step[whose];
          if (command === undefined || (command[0] === 'restic' && resticVersion === undefined)) continue;
          results[at]?.[whose].push(await runStep(step, command, { whose, counts: options.counts === true }));
          if (pair === 0) look(step, whose);
        }
      }
    }
  } catch (error) {
    console.log(`${scene}: ${String(error)}`);
    for (const [at, { aims = [] }] of steps.entries())
      for (const { what } of aims) skip(lines[at] ?? '', `${what}: a run failed`);
    return [];
  }
  return steps.map(({ aims = [] }, at) => {
    const { ours = [], peer = [] } = results[at] ?? {};
    const result = middle(ours);
    tell(lines[at] ?? '', aims, result, peer.length === 0 ? NOTHING : middle(peer));
    return result;
  });
}

type Whose = 'ours' | 'peer';

/** Both sides find the same: nothing restored, and no writes of others under way. */
async function runStep(
  step: Step,
  command: readonly string[],
  { whose, counts }: { readonly whose: Whose; readonly counts: boolean },
): Promise<Result> {
  remove(...OUT);
  const before = counts ? storedMebibytes(whose) : NaN;
  run(['sync']);
  const measured = await measure(command, { env, cwd: join(work, step.cwd ?? '') });
  return { ...measured, addedMebibytes: (counts ? storedMebibytes(whose) : NaN) - before };
}

function look({ restores, check }: Step, whose: Whose): void {
  if (restores !== undefined) run(['diff', '-r', '--no-dereference', restores.from, restores[whose]]);
  if (whose === 'ours') check?.();
}

function storedMebibytes(whose: Whose): number {
  const places = whose === 'peer' ? ['restic'] : [1, 2, 3].map((n) => `vault/bucket-${n}`);
  const there = places.filter((place) => existsSync(join(work, place)));
  if (there.length === 0) return 0;
  const lines = run(['du', '-sk', ...there])
    .trimEnd()
    .split('\n');
  return lines.reduce((sum, line) => sum + Number.parseInt(line, 10), 0) / 1024;
}

function middle(runs: readonly Result[]): Result {
  return { ...median(runs), addedMebibytes: middleOf(runs, 'addedMebibytes') };
}
