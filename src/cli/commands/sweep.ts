import { fileAsJson } from '../terminal/describe.ts';
import type { ExitCode } from '../exit.ts';
import { ATTENTION, DONE } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { warnTo, withVault } from '../arguments/invocation.ts';
import { count } from '../terminal/text.ts';

export interface SweepFlags {
  readonly now?: boolean;
}

/** `vault sweep`: removes what has expired and what nobody needs any more. */
export async function sweep(invocation: Invocation, flags: SweepFlags): Promise<ExitCode> {
  const { output, options, terminal, signal } = invocation;
  return withVault(invocation, async (vault) => {
    const result = await terminal.withProgress('Sweeping', async (report) =>
      vault.sweep({
        signal,
        ...(flags.now === true && { strayGraceMs: 0 }),
        onWarning: warnTo(terminal),
        onProgress: (progress) => report({ label: 'Sweeping', ...progress }),
      }),
    );
    if (options.json === true) {
      await output.json({ ...result, expired: result.expired.map(fileAsJson) });
    }
    const { expired, objectsRemoved, objectsOwed, strays, unknownFiles, unreachable } = result;
    terminal.note(
      `Removed ${count(expired.length, 'expired file')} and ${count(objectsRemoved, 'object')} that nothing needs.`,
    );
    if (strays > 0) {
      terminal.note(
        `${count(strays, 'object')} in the buckets ${strays === 1 ? 'is' : 'are'} unexplained and left alone for now; a later sweep decides.`,
      );
    }
    let code: ExitCode = DONE;
    const attention = (message: string, kind: string): void => {
      terminal.warn(message, { kind });
      code = ATTENTION;
    };
    if (unreachable.length > 0) {
      attention(
        `Could not be asked, so not swept: ${unreachable.join(', ')}. Run "vault sweep" again when they can be reached.`,
        'bucket-down',
      );
    }
    if (objectsOwed > 0) {
      attention(
        `${count(objectsOwed, 'object')} could not be removed now. Run "vault sweep" again later.`,
        'objects-owed',
      );
    }
    if (unknownFiles.length > 0) {
      attention(
        `The buckets hold ${count(unknownFiles.length, 'file')} of this vault that the catalog does not know. "vault recover" brings them back.`,
        'unknown-files',
      );
    }
    return code;
  });
}
