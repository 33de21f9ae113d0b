/** Runs whole processes and measures them: wall clock, processor time, peak memory. */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';

export interface Measured {
  readonly wallSeconds: number;
  /** User and system time together. */
  readonly processorSeconds: number;
  /** Peak resident memory; null where the system does not say. */
  readonly peakMebibytes: number | null;
  /** What it has read of files and pipes, those of the program itself too; null likewise. */
  readonly readMebibytes: number | null;
}

/**
 * Runs a command to its end.
 *
 * @throws if it does not exit with 0
 */
export async function measure(
  command: readonly string[],
  options: { readonly env: NodeJS.ProcessEnv; readonly cwd: string },
): Promise<Measured> {
  // The shell's `time` knows the processor time of the whole process tree, and is everywhere.
  const child = spawn('bash', ['-c', 'TIMEFORMAT="%R %U %S"; time "$@" >/dev/null', 'bash', ...command], {
    ...options,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  let seen: Seen = { peakMebibytes: null, readMebibytes: null };
  const look = async (): Promise<void> => {
    seen = (await lookAtChild(child.pid ?? 0)) ?? seen;
  };
  const watch = setInterval(() => void look(), 15);
  const exit = await new Promise((resolve) => child.once('close', resolve));
  clearInterval(watch);
  const line = stderr.trimEnd().split('\n').at(-1) ?? '';
  const [wall, user, system] = line.split(' ').map(Number);
  if (exit !== 0 || wall === undefined || user === undefined || system === undefined) {
    throw new Error(`${command.join(' ')} exited with ${String(exit)}: ${stderr}`);
  }
  return { wallSeconds: wall, processorSeconds: user + system, ...seen };
}

type Seen = Pick<Measured, 'peakMebibytes' | 'readMebibytes'>;

/** The system's own record of the command that the shell has started, on Linux. Both figures only grow. */
async function lookAtChild(shell: number): Promise<Seen | null> {
  try {
    const children = await readFile(`/proc/${shell}/task/${shell}/children`, 'utf8');
    const process = `/proc/${children.trim().split(' ')[0] ?? ''}`;
    const peak = /^VmHWM:\s+(\d+)/m.exec(await readFile(`${process}/status`, 'utf8'))?.[1];
    const read = /^rchar:\s+(\d+)/m.exec(await readFile(`${process}/io`, 'utf8'))?.[1];
    if (peak === undefined || read === undefined) return null;
    return { peakMebibytes: Number(peak) / 1024, readMebibytes: Number(read) / 1024 / 1024 };
  } catch {
    return null;
  }
}

/** The middle run by wall clock, with the middle processor time, and the most memory and bytes of all. */
export function median(runs: readonly Measured[]): Measured {
  const [middle, processor] = [middleOf(runs, 'wallSeconds'), middleOf(runs, 'processorSeconds')];
  const most = (key: keyof Seen): number | null =>
    runs.reduce<number | null>((so, { [key]: n }) => (n === null ? so : Math.max(so ?? 0, n)), null);
  return {
    wallSeconds: middle,
    processorSeconds: processor,
    peakMebibytes: most('peakMebibytes'),
    readMebibytes: most('readMebibytes'),
  };
}

/** The middle of a figure. */
export function middleOf<K extends string>(runs: readonly { readonly [P in K]: number }[], key: K): number {
  const sorted = runs.map((run) => run[key]).toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}
