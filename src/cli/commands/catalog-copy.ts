import { DONE, type ExitCode } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { catalogLocation } from '../arguments/options.ts';
import { count } from '../terminal/text.ts';
import { copyCatalog } from '../../compose.ts';

/** `vault catalog copy`: copies the catalog into another database, of either kind. */
export async function copyTo(invocation: Invocation, to: string): Promise<ExitCode> {
  const { output, options, environment, clock, terminal, signal } = invocation;
  const { rows, digest } = await terminal.withProgress('Copying', async () =>
    copyCatalog(catalogLocation(options, environment), to, { environment, clock, signal }),
  );
  if (options.json === true) await output.json({ rows, digest });
  terminal.summary(
    `Copied ${count(rows, 'row')}, and verified the copy. Use it from now on, with --db or VAULT_DB, instead of the old catalog.`,
    { rows },
  );
  return DONE;
}
