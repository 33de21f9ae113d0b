import { invalidInput, VaultError } from '../../errors.ts';
import { fileAsJson } from '../../vault/files/as-json.ts';
import { ATTENTION, DONE, worst, type ExitCode } from '../exit.ts';
import { warnTo, withProgress, withVault, type Invocation } from '../arguments/invocation.ts';
import { parseDurationMs, type Flags } from '../arguments/options.ts';
import { withFilesMeant } from '../arguments/references.ts';
import type { Vault } from '../../vault/vault.ts';
import { referenceOf } from '../terminal/describe.ts';
import { count, grouped, showDuration, showName } from '../terminal/text.ts';
import { describeRetained, reportSweep } from './sweep.ts';

export type RmFlags = Flags<'grace', 'allVersions' | 'now' | 'dryRun'>;

/** `vault rm`: hides files, all that are named or none; with `--now` what only they used goes at once. */
export async function rm(
  invocation: Invocation,
  references: readonly string[],
  flags: RmFlags,
): Promise<ExitCode> {
  const { output, options, terminal, signal } = invocation;
  const { allVersions, now = false, dryRun = false } = flags;
  const graceMs = graceOf(flags);
  return withVault(invocation, async (vault) => {
    const onWarning = warnTo(terminal);
    const denied = dryRun ? [] : await vault.removalDenied({ now, signal });
    const may = `These credentials may remove nothing from ${denied.join(', ')}`;
    const isForNothing = now && denied.length > 0;
    const { removed, unlisted, gone, unreachable } = await withFilesMeant(
      vault,
      { verb: 'rm', references },
      async (meant) =>
        vault.remove(meant, { allVersions, graceMs, dryRun: dryRun || isForNothing, signal, onWarning }),
      { all: allVersions, signal },
    );
    if (isForNothing)
      throw new VaultError('denied', `${may}, so nothing was removed. Without --now the file is hidden.`);
    if (denied.length > 0)
      terminal.warn(`${may}: files are hidden, and a sweep with more rights has to free their space.`, {
        kind: 'no-delete',
      });
    if (options.json === true) for (const file of removed) await output.json(fileAsJson(file));
    const files = removed.length + unlisted.length;
    const facts = { files, dryRun };
    if (dryRun) {
      if (options.json !== true)
        for (const name of [...removed.map((file) => showName(referenceOf(file))), ...unlisted])
          await output.line(name);
      terminal.summary(`Would remove ${count(files, 'file')}. Nothing was changed.`, facts);
      return warnOfUntold(terminal, unreachable, dryRun);
    }
    const what = `Removed ${count(files, 'file')}.`;
    const back = `"vault undelete" brings ${files === 1 ? 'it' : 'them'} back within ${graceMs === undefined ? 'seven days' : showDuration(graceMs)}; after that "vault sweep" frees the space.`;
    const removal = { files, gone: gone.length };
    return concludeRemoval(invocation, vault, { ...removal, unreachable, now, what, back, facts });
  });
}

/** How long the files can be brought back, in milliseconds; undefined for the usual. @throws `invalid-input` */
function graceOf({ now = false, grace }: RmFlags): number | undefined {
  if (grace === undefined) return now ? 0 : undefined;
  if (now) throw invalidInput('Use --now or --grace, not both.');
  return parseDurationMs(grace, '--grace');
}

/** Says what was removed; frees the space at once if that is what was asked for. */
export async function concludeRemoval(
  invocation: Invocation,
  vault: Vault,
  removal: {
    /** Of so many files, those that no bucket had any more. */
    readonly files: number;
    readonly gone: number;
    /** URLs of buckets that could not be told. */
    readonly unreachable: readonly string[];
    readonly now: boolean;
    readonly what: string;
    /** How it comes back, unless it goes at once. */
    readonly back: string;
    readonly facts: Readonly<Record<string, unknown>>;
  },
): Promise<ExitCode> {
  const { terminal } = invocation;
  const { files, gone, unreachable, now, what, back, facts } = removal;
  const codes: ExitCode[] = [warnOfUntold(terminal, unreachable, false)];
  const said = [what];
  if (!now && gone < files) said.push(back);
  if (gone > 0)
    said.push(
      `No bucket had ${gone < files ? `${grouped(gone)} of them` : 'that'} any more: nothing brings ${gone === 1 ? 'it' : 'them'} back.`,
    );
  terminal.summary(said.join(' '), facts);
  if (now) {
    const result = await withProgress(invocation, 'Sweeping', async (call) =>
      vault.sweep({ ...call, follows: true }),
    );
    codes.push(reportSweep(invocation, result));
    if (result.objectsRetained > 0) {
      terminal.warn(`Not all of it is gone. ${describeRetained(result)}`, { kind: 'retained' });
      codes.push(ATTENTION);
    }
  }
  return worst(codes);
}

/** Says which buckets do not hear of a removal (or would not). */
export function warnOfUntold(
  terminal: Invocation['terminal'],
  unreachable: readonly string[],
  dryRun: boolean,
): ExitCode {
  if (unreachable.length === 0) return DONE;
  const [could, others] = dryRun ? ['cannot be told', 'can'] : ['could not be told', 'have been'];
  terminal.warn(
    `${unreachable.join(', ')} ${could} of the removal. The other buckets ${others}, and that is enough for "vault sweep".`,
    { kind: 'bucket-down' },
  );
  return ATTENTION;
}

/** `vault undelete`: brings removed files back, all that are named or none. */
export async function undelete(invocation: Invocation, references: readonly string[]): Promise<ExitCode> {
  const { output, options, terminal, signal } = invocation;
  return withVault(invocation, async (vault) => {
    const { restored, unreachable } = await withFilesMeant(
      vault,
      { verb: 'undelete', references },
      async (meant) => vault.undelete(meant, { signal, onWarning: warnTo(terminal) }),
      { deleted: true, signal },
    );
    if (options.json === true) for (const file of restored) await output.json(fileAsJson(file));
    terminal.summary(`Brought back ${count(restored.length, 'file')}.`, { files: restored.length });
    if (unreachable.length === 0) return DONE;
    terminal.warn(`${unreachable.join(', ')} could not be told. The other buckets have been.`, {
      kind: 'bucket-down',
    });
    return ATTENTION;
  });
}
