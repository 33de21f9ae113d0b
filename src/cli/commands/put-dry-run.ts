import { isVaultError } from '../../errors.ts';
import type { FileSource } from '../../vault/write/file-source.ts';
import type { ExitCode } from '../exit.ts';
import { exitCodeOf, gravest } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { reportError } from '../terminal/report.ts';
import { count, showName, showSize } from '../terminal/text.ts';

/** What is to be stored, under which name. */
export interface Task {
  readonly source: FileSource;
  readonly name: string;
  /** Bytes; null where it is not known beforehand. */
  readonly size: number | null;
}

/** `vault put -n`: tells what would be stored, and what could not be opened. Standard input is left unread. */
export async function putDryRun(invocation: Invocation, tasks: readonly Task[]): Promise<ExitCode> {
  const { output, options, terminal, signal } = invocation;
  const codes: ExitCode[] = [];
  const sizes: (number | null)[] = [];
  for (const { source, name, size } of tasks) {
    try {
      await (await source.open(signal)).close();
    } catch (error) {
      if (!isVaultError(error) || error.code === 'interrupted') throw error;
      codes.push(exitCodeOf(error));
      reportError(error, invocation);
      continue;
    }
    sizes.push(size);
    await (options.json === true ? output.json({ name, size, dryRun: true }) : output.line(showName(name)));
  }
  const bytes = sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
  const more = sizes.includes(null) ? 'at least ' : '';
  terminal.note(
    `Would store ${count(sizes.length, 'file')}, ${more}${showSize(bytes)}. Nothing was changed.`,
  );
  return gravest(codes);
}
