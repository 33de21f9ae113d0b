import { isFailure } from '../../errors.ts';
import type { PutOptions, PutResult } from '../../vault/write/put-call.ts';
import type { Vault } from '../../vault/vault.ts';
import { ATTENTION, exitCodeOf, worst, type ExitCode } from '../exit.ts';
import { warnTo, type Invocation } from '../arguments/invocation.ts';
import { reportError } from '../terminal/report.ts';
import { count, grouped, showName, showSize } from '../terminal/text.ts';
import { describeDegraded, describeNews, newBytesOf } from './put-total.ts';
import type { Task } from './put-tasks.ts';

/** `vault put -n`: tells what would be stored, what of it is new, and what could not be read. Standard input is left unread. */
export async function putDryRun(
  invocation: Invocation,
  vault: Vault,
  { tasks, settings }: { readonly tasks: readonly Task[]; readonly settings: Omit<PutOptions, 'name'> },
): Promise<ExitCode> {
  const { output, options, terminal, signal } = invocation;
  const codes: ExitCode[] = [];
  const { chunkSize, chunking, ...others } = settings;
  const total = { failed: 0, files: 0, degraded: 0, unread: 0, unchanged: 0, bytes: 0, bytesNew: 0 };
  for (const { source, name } of tasks) {
    let result: PutResult | null = null;
    try {
      const cutting = 'root' in source ? {} : { chunkSize, chunking };
      const call = { ...others, ...cutting, name, dryRun: true, signal, onWarning: warnTo(terminal) };
      if ('root' in source || source.reopens) {
        result = await terminal.withProgress(name, async (report) =>
          vault.put(source, { ...call, onProgress: (progress) => report({ label: name, ...progress }) }),
        );
      }
    } catch (error) {
      if (!isFailure(error)) throw error;
      codes.push(exitCodeOf(error));
      total.failed += 1;
      reportError(error, invocation);
      continue;
    }
    total.files += 1;
    if (result === null) total.unread += 1;
    else {
      const bytesNew = newBytesOf(result);
      if (result.unchanged) total.unchanged += 1;
      if (result.degraded) total.degraded += 1;
      if (result.incomplete) codes.push(ATTENTION);
      total.bytes += result.contentSize;
      total.bytesNew += bytesNew;
      terminal.remark(
        `Would store ${showName(name)}: ${showSize(result.contentSize)}, ${describeNews(result)}.`,
      );
    }
    await (options.json === true ? output.json(asJson(name, result)) : output.line(showName(name)));
  }
  const { failed, files, degraded, unread, unchanged, bytes, bytesNew } = total;
  const some = unchanged > 0 ? ` (${grouped(unchanged)} unchanged)` : '';
  const more = unread > 0 ? 'at least ' : '';
  terminal.note(
    `Would store ${count(files, 'file')}${some}, ${more}${showSize(bytes)}: ${more}${showSize(bytesNew)} new. Nothing was changed.`,
  );
  if (degraded > 0) {
    codes.push(ATTENTION);
    terminal.warn(describeDegraded(degraded, true), { kind: 'degraded' });
  }
  terminal.summary(null, { files, unchanged, failed, bytes, bytesNew, dryRun: true });
  return worst(codes);
}

function asJson(name: string, result: PutResult | null): Record<string, unknown> {
  return {
    name,
    ...(result?.kind === 'folder' && { entries: result.entries }),
    size: result?.contentSize ?? null,
    chunks: result?.chunks ?? null,
    chunksStored: result?.chunksStored ?? null,
    bytesNew: result === null ? null : newBytesOf(result),
    unchanged: result?.unchanged ?? null,
    dryRun: true,
  };
}
