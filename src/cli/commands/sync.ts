import { withProgress, withVault, type Invocation } from '../arguments/invocation.ts';
import { ATTENTION, DAMAGED, DONE, type ExitCode } from '../exit.ts';
import { count } from '../terminal/text.ts';
import { describeUnknown, recoveredAsJson, warnOfUnusable } from './recover.ts';

/** `vault sync`: takes into the catalog what others have stored and removed. */
export async function sync(invocation: Invocation): Promise<ExitCode> {
  const { output, options, terminal } = invocation;
  return withVault(invocation, async (vault) => {
    const result = await withProgress(invocation, 'Looking', async (call) => vault.sync(call));
    const { learned, known, hidden, missing, unusable, unknown, unreadableManifests } = result;
    const facts = { filesLearned: learned, filesKnown: known, removed: hidden };
    if (options.json === true)
      await output.json({ ...facts, filesMissing: missing, ...recoveredAsJson(result) });
    terminal.summary(`The catalog has ${count(learned, 'file')} that it did not have before.`, facts);
    warnOfUnusable(terminal, unusable);
    if (missing.length > 0) {
      terminal.warn(
        `The catalog lists ${count(missing.length, 'file')} that no bucket has: lost, or removed elsewhere. "vault verify" tells more.`,
        { kind: 'missing-files' },
      );
    }
    if (unknown.length > 0) terminal.warn(describeUnknown(unknown), { kind: 'unknown-files' });
    if (unreadableManifests.length > 0) {
      terminal.warn(
        `${count(unreadableManifests.length, 'manifest')} cannot be read: "vault verify" tells more.`,
        { kind: 'lost' },
      );
      return DAMAGED;
    }
    return unusable.length + missing.length + unknown.length > 0 ? ATTENTION : DONE;
  });
}
