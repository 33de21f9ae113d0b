import { messageOf, VaultError } from '../../errors.ts';
import type { Output } from './output.ts';
import type { Terminal } from './terminal.ts';

/**
 * Prints what is told this once only, and takes it back where nobody can have read it: it would be good, and nobody's.
 *
 * @param told `what`: its name for people
 * @throws as `Output.write`; `unavailable` if nobody reads any more
 */
export async function tellOnce(
  { output, terminal }: { readonly output: Output; readonly terminal: Terminal },
  told: { readonly text: string; readonly what: string; readonly takeBack: () => Promise<unknown> },
): Promise<void> {
  try {
    if (await output.line(told.text)) return;
    throw new VaultError('unavailable', 'Cannot write to standard output: nobody reads it.');
  } catch (error) {
    try {
      await told.takeBack();
      terminal.warn(`Nobody has seen ${told.what}, so it was taken back.`, { kind: 'not-told' });
    } catch (cause) {
      const message = `Nobody has seen ${told.what}, which could not be taken back: ${messageOf(cause)}`;
      terminal.warn(message, { kind: 'not-told' });
    }
    throw error;
  }
}
