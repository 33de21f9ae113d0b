import { invalidInput } from '../../errors.ts';
import { restoreFile } from '../../vault/read/restore.ts';
import type { ExitCode } from '../exit.ts';
import { warnTo, withProgress, withVault, type Invocation } from '../arguments/invocation.ts';
import { lookAtTarget } from '../arguments/output-file.ts';
import { quote } from '../terminal/text.ts';
import { concludeReasons } from './status.ts';

export interface ReportFlags {
  readonly output: string;
  readonly redactNames?: boolean;
}

/** `vault report`: what `status` tells, as a page. */
export async function report(invocation: Invocation, flags: ReportFlags): Promise<ExitCode> {
  const { output, options, terminal, clock } = invocation;
  if (flags.output !== '-') await requirePlain(flags.output);
  return withVault(invocation, async (vault) => {
    const { statusViewOf } = await import('../../serve/status.ts');
    const { redacted, reportHtml } = await import('../../serve/page/report.ts');
    const { concernsOf } = await import('../../serve/page/status-view.ts');
    const nowMs = clock.now();
    const found = await withProgress(invocation, 'Looking', async (call) =>
      statusViewOf(vault, { ...call, nowMs }),
    );
    const view = flags.redactNames === true ? redacted(found) : found;
    const html = await reportHtml(view);
    if (flags.output === '-') await output.write(html);
    else await replaceFile(flags.output, html, invocation);
    if (options.json === true && flags.output !== '-') await output.json({ output: flags.output });
    return concludeReasons(terminal, concernsOf(view), view);
  });
}

/** A file of another report is replaced without a question, and nothing else. @throws `invalid-input` */
async function requirePlain(path: string): Promise<void> {
  if ((await lookAtTarget(path))?.isSymbolicLink() !== true) return;
  throw invalidInput(`${quote(path)} is a symbolic link. Name the file that it leads to.`);
}

/** A report takes the place of the one before at once, for whoever reads there. @throws as `restoreFile` */
async function replaceFile(path: string, text: string, { terminal, signal }: Invocation): Promise<void> {
  const page = {
    // As any program's files have it.
    mode: 0o666 & ~process.umask(),
    modified: null,
    async *content() {
      yield Buffer.from(text);
    },
  };
  await restoreFile(page, path, { existing: 'replace', signal, onWarning: warnTo(terminal) });
}
