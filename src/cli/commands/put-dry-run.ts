import { isVaultError } from '../../errors.ts';
import { localEntries } from '../../vault/folders/local-entries.ts';
import type { ExitCode } from '../exit.ts';
import { ATTENTION, exitCodeOf, gravest } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { reportError } from '../terminal/report.ts';
import { count, showName, showSize } from '../terminal/text.ts';
import type { Task } from './put-tasks.ts';

/** What would be stored of one path. */
interface Measured {
  readonly size: number | null;
  /** Of a folder. */
  readonly entries?: number;
}

/** `vault put -n`: tells what would be stored, and what could not be opened. Standard input and files are left unread. */
export async function putDryRun(invocation: Invocation, tasks: readonly Task[]): Promise<ExitCode> {
  const { output, options, terminal } = invocation;
  const codes: ExitCode[] = [];
  const sizes: (number | null)[] = [];
  for (const task of tasks) {
    let measured: Measured;
    try {
      measured = await measure(invocation, task, codes);
    } catch (error) {
      if (!isVaultError(error) || error.code === 'interrupted') throw error;
      codes.push(exitCodeOf(error));
      reportError(error, invocation);
      continue;
    }
    sizes.push(measured.size);
    const { name } = task;
    await (options.json === true
      ? output.json({ name, ...measured, dryRun: true })
      : output.line(showName(name)));
  }
  const bytes = sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
  const more = sizes.includes(null) ? 'at least ' : '';
  terminal.note(
    `Would store ${count(sizes.length, 'file')}, ${more}${showSize(bytes)}. Nothing was changed.`,
  );
  return gravest(codes);
}

async function measure(
  { signal, terminal }: Invocation,
  { source, size }: Task,
  codes: ExitCode[],
): Promise<Measured> {
  if (!('root' in source)) {
    await (await source.open(signal)).close();
    return { size };
  }
  const found = localEntries(source, {
    signal,
    onMissed: ({ message, why }) => {
      terminal.warn(message, { kind: why === 'socket' ? 'skipped' : 'missed' });
      if (why !== 'socket') codes.push(ATTENTION);
    },
  });
  const total = { size: 0, entries: 0 };
  for await (const { content } of found) {
    total.entries += 1;
    total.size += content?.size ?? 0;
  }
  return total;
}
