import { concludeOutcome, printFiles } from '../terminal/condition.ts';
import type { ExitCode } from '../exit.ts';
import { ATTENTION, gravest } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { bucketReferenceOf, warnTo, withVault } from '../arguments/invocation.ts';
import type { RepairResult, Vault } from '../../vault/vault.ts';
import { nameAsTyped, parseRedundancyOption } from '../arguments/options.ts';
import { count, showSize } from '../terminal/text.ts';

export interface RepairFlags {
  readonly readData?: boolean;
  readonly redundancy?: string;
  readonly forgetBucket?: string;
}

/** `vault repair`: makes everything whole again that can be, and prints what is not whole after all. */
export async function repair(
  invocation: Invocation,
  references: readonly string[],
  flags: RepairFlags,
): Promise<ExitCode> {
  const { output, options, terminal, signal } = invocation;
  const redundancy =
    flags.redundancy === undefined ? null : parseRedundancyOption(flags.redundancy, '--redundancy');
  const forgetBucket = flags.forgetBucket === undefined ? null : await bucketReferenceOf(flags.forgetBucket);
  return withVault(invocation, async (vault) => {
    const result = await terminal.withProgress('Repairing', async (report) =>
      vault.repair({
        ...(references.length > 0 && { references: references.map(nameAsTyped) }),
        depth: flags.readData === true ? 'data' : 'listing',
        ...(redundancy !== null && { redundancy }),
        ...(forgetBucket !== null && { forgetBucket }),
        signal,
        onWarning: warnTo(terminal),
        onProgress: (progress) => report({ label: 'Repairing', ...progress }),
      }),
    );
    if (options.json === true) await output.json({ ...result });
    else await printFiles(invocation, result.affected);
    const { chunksRepaired, manifestsStored, keyslotsStored, markersStored, bytesStored } = result;
    const small = manifestsStored + keyslotsStored + markersStored;
    if (result.recordsRepaired > 0) {
      terminal.note(`Made ${count(result.recordsRepaired, 'record')} in the catalog anew.`);
    }
    if (chunksRepaired + small > 0) {
      terminal.note(
        `Made ${count(chunksRepaired, 'chunk')} whole and stored ${count(small, 'other object')}, ${showSize(bytesStored)} in all.`,
      );
    } else if (result.recordsRepaired === 0) {
      terminal.note('There was nothing to repair.');
    }
    const codes: ExitCode[] = [];
    if (result.forgotten === false) {
      codes.push(ATTENTION);
      terminal.warn(
        `${forgetBucket ?? 'The bucket'} is not forgotten yet: something that only it should hold could not be stored elsewhere. Run "vault repair --forget-bucket" again.`,
        { kind: 'not-forgotten' },
      );
    }
    if (result.objectsOwed > 0) {
      codes.push(ATTENTION);
      terminal.warn(
        `${count(result.objectsOwed, 'replaced object')} could not be removed now. "vault sweep" does it later.`,
        { kind: 'objects-owed', objectsOwed: result.objectsOwed },
      );
    }
    codes.push(concludeOutcome(invocation, result, nextStep(vault, result)));
    return gravest(codes);
  });
}

/** What it takes to make whole what this repair could not. */
function nextStep(vault: Vault, { unreachable }: RepairResult): string {
  const buckets = vault.buckets().filter(({ state }) => state === 'active');
  const { k, m } = vault.redundancy;
  if (buckets.length < k + m) {
    return `${k}+${m} needs ${k + m} buckets, and the vault has ${buckets.length}: add one with "vault bucket add", or choose less with "vault repair --redundancy". Then run "vault repair" again.`;
  }
  const away = unreachable.filter((url) => buckets.some((bucket) => bucket.url === url));
  return away.length === 0
    ? 'Run "vault repair" again later.'
    : `Run "vault repair" again when ${away.join(', ')} can be reached.`;
}
