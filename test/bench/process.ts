/** Runs whole processes and measures them: wall clock, processor time, peak memory. */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';

export interface Measured {
  readonly wallSeconds: number;
  /** User and system time together. */
  readonly processorSeconds: number;
  /** Peak resident memory; null where the system does not say. */
  readonly peakMebibytes: number | null;
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
  let peak: number | null = null;
  const look = async (): Promise<void> => {
    const now = await peakOfChild(child.pid ?? 0);
    if (now !== null) peak = Math.max(peak ?? 0, now);
  };
  const watch = setInterval(() => void look(), 15);
  const exit = await new Promise((resolve) => child.once('close', resolve));
  clearInterval(watch);
  const line = stderr.trimEnd().split('\n').at(-1) ?? '';
  const [wall, user, system] = line.split(' ').map(Number);
  if (exit !== 0 || wall === undefined || user === undefined || system === undefined) {
    throw new Error(`${command.join(' ')} exited with ${String(exit)}: ${stderr}`);
  }
  return { wallSeconds: wall, processorSeconds: user + system, peakMebibytes: peak };
}

/** The system's own record of the highest memory of the command that the shell has started, on Linux. */
async function peakOfChild(shell: number): Promise<number | null> {
  try {
    const children = await readFile(`/proc/${shell}/task/${shell}/children`, 'utf8');
    const status = await readFile(`/proc/${children.trim().split(' ')[0] ?? ''}/status`, 'utf8');
    const kibibytes = /^VmHWM:\s+(\d+)/m.exec(status)?.[1];
    return kibibytes === undefined ? null : Number(kibibytes) / 1024;
  } catch {
    return null;
  }
}

/** The middle one by wall clock. */
export function median(runs: readonly Measured[]): Measured {
  const sorted = runs.toSorted((a, b) => a.wallSeconds - b.wallSeconds);
  const middle = sorted[Math.floor(sorted.length / 2)];
  if (middle === undefined) throw new RangeError('Nothing was measured.');
  const peaks = runs.flatMap(({ peakMebibytes }) => peakMebibytes ?? []);
  const processor = runs.map(({ processorSeconds }) => processorSeconds).toSorted((a, b) => a - b);
  return {
    wallSeconds: middle.wallSeconds,
    processorSeconds: processor[Math.floor(processor.length / 2)] ?? middle.processorSeconds,
    peakMebibytes: peaks.length === 0 ? null : Math.max(...peaks),
  };
}
