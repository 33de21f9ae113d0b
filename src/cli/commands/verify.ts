import type { Vault } from '../../vault/vault.ts';
import { ATTENTION, DONE, type ExitCode } from '../exit.ts';
import {
  bucketAsJson,
  concludeOutcome,
  describeLeaving,
  describeRetention,
  printBuckets,
  printFiles,
} from '../terminal/condition.ts';
import { writerAsJson } from '../terminal/describe.ts';
import { noted, withProgress, withVault, type Invocation } from '../arguments/invocation.ts';
import { ifGiven, parseFraction, type Flags } from '../arguments/options.ts';
import { withFilesMeant } from '../arguments/references.ts';
import { count, grouped } from '../terminal/text.ts';

export type VerifyFlags = Flags<'sample', 'readData' | 'locks'>;

/**
 * `vault verify`: checks that every piece is present. Prints what is not whole, and in a terminal or if something is
 * wrong how each bucket stands; a cron job in which all is well is silent.
 */
export async function verify(
  invocation: Invocation,
  references: readonly string[],
  flags: VerifyFlags,
): Promise<ExitCode> {
  const { output, options, terminal } = invocation;
  const sample = ifGiven(flags.sample, parseFraction, '--sample');
  // To read a part of the data is to read data.
  const depth = flags.readData === true || sample !== undefined ? 'data' : 'listing';
  const work = async (vault: Vault): Promise<ExitCode> => {
    const result = await withProgress(invocation, 'Verifying', async (call) =>
      withFilesMeant(vault, { verb: 'verify', references }, async (meant) =>
        vault.verify({
          ...call,
          references: meant.length > 0 ? meant : undefined,
          depth,
          sample,
          locks: flags.locks,
        }),
      ),
    );
    if (options.json === true) {
      const affected = result.affected.map(({ writer, ...file }) => ({ ...file, ...writerAsJson(writer) }));
      await output.json({ ...result, affected, buckets: result.buckets.map(bucketAsJson) });
    } else if (result.outcome !== 'whole' || output.isTerminal || flags.locks === true) {
      await printFiles(invocation, result.affected);
      await printBuckets(invocation, result.buckets);
      const kept = result.buckets.flatMap(describeRetention);
      if (flags.locks === true && kept.length === 0) kept.push('No bucket keeps objects from being removed.');
      for (const line of kept) await output.line(line);
    }
    const { outcome, files, chunks } = result;
    const listed =
      depth === 'listing' ? ', as the buckets list them. "vault verify --read-data" reads them too' : '';
    terminal.summary(
      outcome === 'whole'
        ? `${count(files.whole, 'file')}, ${count(chunks.whole, 'chunk')}: every piece is present${listed}.`
        : `${describeCounts(files, 'file')}; ${describeCounts(chunks, 'chunk')}.`,
      { outcome, files, chunks, depth, sample },
    );
    if (result.foreignObjects > 0)
      terminal.note(
        `${count(result.foreignObjects, 'object')} there are none of this vault, and are left alone.`,
      );
    const leaving = describeLeaving(result.buckets);
    for (const message of leaving) terminal.warn(message, { kind: 'not-removed' });
    const code = concludeOutcome(invocation, result, '"vault repair" replaces what is missing or damaged.');
    return code === DONE && leaving.length > 0 ? ATTENTION : code;
  };
  // What some files are says nothing of the vault.
  return withVault(invocation, noted(invocation, references.length === 0 ? 'verify' : null, work));
}

/** `3 files: 2 whole, 1 lost`. */
function describeCounts(counts: Readonly<Record<string, number>>, what: string): string {
  const all = Object.values(counts).reduce((sum, number) => sum + number, 0);
  const parts = Object.entries(counts).filter(([, number]) => number > 0);
  const told = parts.map(([condition, number]) => `${grouped(number)} ${condition}`).join(', ');
  return [count(all, what), told].filter(Boolean).join(': ');
}
