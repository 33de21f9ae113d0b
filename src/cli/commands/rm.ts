import { fileAsJson } from '../terminal/describe.ts';
import type { ExitCode } from '../exit.ts';
import { ATTENTION, DONE } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { warnTo, withVault } from '../arguments/invocation.ts';
import { nameAsTyped } from '../arguments/options.ts';
import { count } from '../terminal/text.ts';

export interface RmFlags {
  readonly allVersions?: boolean;
}

/** `vault rm`: removes files, all that are named or none. Prints nothing, except with `--json` what is gone. */
export async function rm(
  invocation: Invocation,
  references: readonly string[],
  flags: RmFlags,
): Promise<ExitCode> {
  const { output, options, terminal, signal } = invocation;
  return withVault(invocation, async (vault) => {
    const { removed, objectsRemoved, objectsOwed } = await vault.remove(references.map(nameAsTyped), {
      allVersions: flags.allVersions === true,
      signal,
      onWarning: warnTo(terminal),
    });
    if (options.json === true) for (const file of removed) await output.json(fileAsJson(file));
    terminal.note(`Removed ${count(removed.length, 'file')} and ${count(objectsRemoved, 'object')}.`);
    if (objectsOwed === 0) return DONE;
    terminal.warn(
      `${count(objectsOwed, 'object')} could not be removed from the buckets now. "vault sweep" does it when they can be reached.`,
      { kind: 'objects-owed', objectsOwed },
    );
    return ATTENTION;
  });
}
