import { fileAsJson, asTime } from '../../vault/files/as-json.ts';
import { ATTENTION, DONE, type ExitCode } from '../exit.ts';
import { noted, withProgress, withVault, type Invocation } from '../arguments/invocation.ts';
import type { Flags } from '../arguments/options.ts';
import type { SweepResult } from '../../vault/remove/sweep-call.ts';
import { warnOfUnlisted } from '../terminal/condition.ts';
import { Plan } from '../terminal/plan.ts';
import type { Vault } from '../../vault/vault.ts';
import { count, showSize, showTime } from '../terminal/text.ts';

export type SweepFlags = Flags<never, 'now' | 'dryRun'>;

/** `vault sweep`: frees the space of removed files and of leftovers. */
export async function sweep(invocation: Invocation, flags: SweepFlags): Promise<ExitCode> {
  const { output, options, terminal } = invocation;
  const dryRun = flags.dryRun === true;
  invocation.interruption.kept = () => (dryRun ? null : 'The next sweep goes on from there.');
  const work = async (vault: Vault): Promise<ExitCode> => {
    const plan = new Plan(invocation);
    const result = await withProgress(invocation, 'Sweeping', async (call) =>
      vault.sweep({
        ...call,
        ignoreGrace: flags.now === true,
        dryRun,
        onPlanned: plan.add,
      }),
    );
    await plan.end();
    if (options.json === true) {
      const { retainedUntilMs, ...rest } = result;
      const retainedUntil = asTime(retainedUntilMs);
      await output.json({ ...rest, retainedUntil, expired: result.expired.map(fileAsJson), dryRun });
    }
    if (!dryRun) return reportSweep(invocation, result);
    const waiting =
      result.objectsWaiting === 0 ? '' : `, besides ${count(result.objectsWaiting, 'object')} chosen before`;
    terminal.summary(
      `Would remove ${count(result.expired.length, 'expired file')}, and free the space of ${count(result.filesRemoved, 'file')} and ${count(result.objectsRemoved, 'object')} (${showSize(result.bytesRemoved)})${waiting}. This goes by this machine's clock, ${showTime(invocation.clock.now())}, which only a sweep compares with the buckets' own. Nothing was changed.`,
      { ...factsOf(result), dryRun },
    );
    return warnOfHeldUp(terminal, result, dryRun);
  };
  return withVault(invocation, noted(invocation, dryRun ? null : 'sweep', work));
}

function factsOf({
  expired,
  filesRemoved,
  objectsRemoved,
  bytesRemoved,
}: SweepResult): Record<string, unknown> {
  return { filesExpired: expired.length, filesRemoved, objectsRemoved, bytesRemoved };
}

/** What could not be removed since it is locked. */
export function describeRetained({
  objectsRetained,
  retainedUntilMs,
}: Pick<SweepResult, 'objectsRetained' | 'retainedUntilMs'>): string {
  const until = retainedUntilMs === null ? '' : ` until ${showTime(retainedUntilMs)}`;
  const what = `${count(objectsRetained, 'object is', 'objects are')} locked${until}`;
  return `${what}, and stay${objectsRetained === 1 ? 's' : ''}: "vault sweep" removes ${objectsRetained === 1 ? 'it' : 'them'} then.`;
}

/** Says what a sweep did, and what it could not do. */
export function reportSweep({ terminal }: Pick<Invocation, 'terminal'>, result: SweepResult): ExitCode {
  const { expired, objectsRemoved, objectsWaiting, unreachable } = result;
  if (expired.length > 0) {
    terminal.note(
      `Removed ${count(expired.length, 'expired file')}: "vault undelete" can bring ${expired.length === 1 ? 'it' : 'them'} back within seven days.`,
    );
  }
  const removed =
    objectsRemoved > 0
      ? `Removed ${count(objectsRemoved, 'object')}, ${showSize(result.bytesRemoved)}, that nothing needs.`
      : objectsWaiting > 0
        ? 'Nothing was removed yet.'
        : 'There was nothing to remove.';
  terminal.summary(unreachable.length === 0 ? removed : null, { ...factsOf(result), dryRun: false });
  if (objectsWaiting > 0) {
    terminal.note(
      `${count(objectsWaiting, 'object')} will go with the next sweep: a put that began before is still running, or was killed less than a day ago.`,
    );
  }
  if (result.objectsRetained > 0) terminal.note(describeRetained(result));
  return warnOfHeldUp(terminal, result, false);
}

/** Says what keeps a sweep from its work (or would), and how catalog and buckets disagree. */
function warnOfHeldUp(
  terminal: Invocation['terminal'],
  { blockedBy, unreachable, filesMissing, filesLearned }: SweepResult,
  dryRun: boolean,
): ExitCode {
  const was = dryRun ? 'would be' : 'was';
  let code: ExitCode = DONE;
  const attention = (message: string, kind: string): void => {
    terminal.warn(message, { kind });
    code = ATTENTION;
  };
  if (unreachable.length > 0) {
    attention(
      `No space ${was} freed, since not every bucket can be asked: ${unreachable.join(', ')}. Run "vault sweep" again when they can.`,
      'bucket-down',
    );
  }
  if (blockedBy !== null) {
    attention(`No shard ${was} removed. ${blockedBy}`, 'blocked');
  }
  if (warnOfUnlisted(terminal, filesLearned, dryRun) !== DONE) code = ATTENTION;
  if (filesMissing.length > 0) {
    attention(
      `The catalog lists ${count(filesMissing.length, 'file')} that no bucket has, lost or removed elsewhere: ${filesMissing[0]?.slice(0, 12)} ... "vault verify" tells more.`,
      'missing-files',
    );
  }
  return code;
}
