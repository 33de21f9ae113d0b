import { randomBytes } from 'node:crypto';
import { rename, rm, writeFile } from 'node:fs/promises';
import { invalidInput, messageOf } from '../../errors.ts';
import type { ExitCode } from '../exit.ts';
import { withProgress, withVault, type Invocation } from '../arguments/invocation.ts';
import { quote } from '../terminal/text.ts';
import { concludeReasons } from './status.ts';

export interface ReportFlags {
  readonly output: string;
  readonly redactNames?: boolean;
}

/** `vault report`: what `status` tells, as a page. */
export async function report(invocation: Invocation, flags: ReportFlags): Promise<ExitCode> {
  const { output, options, terminal, clock } = invocation;
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
    else await replaceFile(flags.output, html);
    if (options.json === true && flags.output !== '-') await output.json({ output: flags.output });
    return concludeReasons(terminal, concernsOf(view), view);
  });
}

/** A report takes the place of the one before at once, for whoever reads there. @throws `invalid-input` */
async function replaceFile(path: string, text: string): Promise<void> {
  const part = `${path}.${randomBytes(4).toString('hex')}.part`;
  try {
    await writeFile(part, text, { flag: 'wx' });
    await rename(part, path);
  } catch (cause) {
    await rm(part, { force: true });
    throw invalidInput(`Cannot write the report to ${quote(path)}: ${messageOf(cause)}.`, cause);
  }
}
