import { invalidInput } from '../../errors.ts';
import type { Redundancy } from '../../format/shard.ts';
import { formatRedundancy } from '../../format/shard.ts';
import type { RepairResult } from '../../vault/repair/repair.ts';
import type { Vault } from '../../vault/vault.ts';
import type { ExitCode } from '../exit.ts';
import { ATTENTION } from '../exit.ts';
import { confirm } from '../arguments/confirm.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { noted, withProgress, withVault } from '../arguments/invocation.ts';
import { ifGiven, parseDurationMs, parseRedundancyOption } from '../arguments/options.ts';
import { withFilesMeant } from '../arguments/references.ts';
import { warnOfUnlisted } from '../terminal/condition.ts';
import { Plan } from '../terminal/plan.ts';
import { asTime } from '../../vault/files/as-json.ts';
import { count, showSize, showTime } from '../terminal/text.ts';
import { adviceOnTooFew, removeBucket, warnOfLost } from './bucket.ts';

export interface RepairFlags {
  readonly readData?: boolean;
  readonly redundancy?: string;
  readonly retain?: string;
  readonly forgetBucket?: string;
  readonly yes?: boolean;
  readonly dryRun?: boolean;
}

/** `vault repair`: replaces what is missing or damaged, and says what it could not. */
export async function repair(
  invocation: Invocation,
  references: readonly string[],
  flags: RepairFlags,
): Promise<ExitCode> {
  const { output, options } = invocation;
  const dryRun = flags.dryRun === true;
  const redundancy = ifGiven(flags.redundancy, parseRedundancyOption, '--redundancy');
  const retainMs = ifGiven(flags.retain, parseDurationMs, '--retain');
  const retainUntilMs = retainMs === undefined ? undefined : invocation.clock.now() + retainMs;
  if (flags.forgetBucket !== undefined) {
    if (references.length > 0 || redundancy !== undefined || flags.retain !== undefined) {
      throw invalidInput('--forget-bucket is for the whole vault: give it alone.');
    }
    return removeBucket(invocation, flags.forgetBucket, { gone: true, dryRun });
  }
  const work = async (vault: Vault): Promise<ExitCode> => {
    if (!dryRun) {
      invocation.interruption.kept = () => 'What was stored is kept: the same command goes on from there.';
    }
    if (redundancy !== undefined && !dryRun)
      await confirmLess(invocation, vault, redundancy, flags.yes === true);
    const plan = new Plan(invocation);
    const result = await withProgress(invocation, 'Repairing', async (call) =>
      withFilesMeant(vault, { verb: 'repair', references }, async (meant) =>
        vault.repair({
          ...call,
          dryRun,
          onPlanned: plan.add,
          references: meant.length > 0 ? meant : undefined,
          depth: flags.readData === true ? 'data' : 'listing',
          redundancy,
          retainUntilMs,
        }),
      ),
    );
    await plan.end();
    if (options.json === true) await output.json({ ...result, retention: retentionAsJson(result), dryRun });
    return conclude(invocation, vault, result, dryRun);
  };
  const whole = references.length === 0 && !dryRun;
  return withVault(invocation, noted(invocation, whole ? 'repair' : null, work));
}

/** Less redundancy is what people ask for by mistake: they are asked whether they mean it. */
async function confirmLess(
  invocation: Invocation,
  vault: Vault,
  { k, m }: Redundancy,
  yes: boolean,
): Promise<void> {
  const before = vault.redundancy;
  if (m >= before.m) return;
  const loss = `${formatRedundancy({ k, m })} survives the loss of ${m === 0 ? 'no bucket' : count(m, 'bucket')}, ${formatRedundancy(before)} of ${before.m}`;
  await confirm(invocation, loss, yes);
}

function conclude({ terminal }: Invocation, vault: Vault, result: RepairResult, dryRun: boolean): ExitCode {
  const { chunksRepaired, bytesStored, recordsRepaired, filesLost } = result;
  terminal.summary(null, { chunksRepaired, bytesStored, lost: filesLost.length, dryRun });
  if (dryRun) {
    terminal.note(
      `Would repair ${count(chunksRepaired, 'chunk')}, store ${count(smallObjects(result), 'other object')}, and rebuild ${count(recordsRepaired, 'record')} of the catalog. Nothing was changed.`,
    );
  } else tellRepaired(terminal, result);
  const code = warnOfUnlisted(terminal, result.filesUnlisted, dryRun);
  if (filesLost.length > 0) return warnOfLost(terminal, filesLost);
  const isKept = concludeRetention(terminal, result);
  if (result.outcome === 'whole') return isKept ? code : ATTENTION;
  terminal.warn(`Not everything ${dryRun ? 'would be' : 'is'} whole yet. ${nextStep(vault, result)}`, {
    kind: 'degraded',
  });
  return ATTENTION;
}

function smallObjects({
  manifestsStored,
  keyringsStored,
  markersStored,
  deletionsStored,
}: RepairResult): number {
  return manifestsStored + keyringsStored + markersStored + deletionsStored;
}

function tellRepaired(terminal: Invocation['terminal'], result: RepairResult): void {
  const { chunksRepaired, bytesStored, recordsRepaired } = result;
  const small = smallObjects(result);
  if (recordsRepaired > 0) terminal.note(`Rebuilt ${count(recordsRepaired, 'record')} of the catalog.`);
  if (chunksRepaired + small > 0) {
    terminal.note(
      `Repaired ${count(chunksRepaired, 'chunk')} and stored ${count(small, 'other object')}, ${showSize(bytesStored)} in all.`,
    );
  } else if (recordsRepaired === 0 && result.outcome === 'whole') {
    terminal.note('There was nothing to repair.');
  }
  if (result.objectsReplaced > 0) {
    terminal.note(`${count(result.objectsReplaced, 'replaced object')} will go with the next "vault sweep".`);
  }
}

function retentionAsJson({ retention }: RepairResult): Record<string, unknown> | null {
  if (retention === null) return null;
  const { untilMs, ...counts } = retention;
  return { until: asTime(untilMs), ...counts };
}

/** Says what is locked now. @returns whether that is all that was to be */
function concludeRetention(terminal: Invocation['terminal'], { retention }: RepairResult): boolean {
  if (retention === null) return true;
  const { untilMs, objects, extended, failed, filesUnknown, enough } = retention;
  terminal.note(
    `${count(objects, 'object')} that files need ${objects === 1 ? 'is' : 'are'} locked until ${showTime(untilMs)} or later; ${extended} of them ended earlier.`,
  );
  if (failed + filesUnknown > 0) {
    const unknown =
      filesUnknown === 0 ? '' : `, and it is not known what ${count(filesUnknown, 'file')} need`;
    terminal.warn(`${count(failed, 'object')} could not be locked${unknown}. Run the command again.`, {
      kind: 'not-retained',
    });
  }
  return enough && failed + filesUnknown === 0;
}

/** What it takes to make whole what this repair could not. */
function nextStep(vault: Vault, { unreachable, filesUnknown }: RepairResult): string {
  const advice = adviceOnTooFew(vault);
  if (advice !== null) return advice;
  if (unreachable.length === 0 && filesUnknown.length > 0)
    return `${count(filesUnknown.length, 'file')} could not be judged, perhaps only by a newer version: "vault verify --read-data" says why.`;
  return unreachable.length === 0
    ? 'Run "vault repair" again later.'
    : `Run "vault repair" again when ${unreachable.join(', ')} can be used.`;
}
