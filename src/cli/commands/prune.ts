import { invalidInput } from '../../errors.ts';
import type { WrittenFile } from '../../vault/files/writers.ts';
import type { PrunedName } from '../../vault/remove/prune.ts';
import { requireRules, type Judgement, type RetentionRules } from '../../vault/remove/retention.ts';
import { confirm } from '../arguments/confirm.ts';
import { warnTo, withProgress, withVault, type Invocation } from '../arguments/invocation.ts';
import { ifGiven, parseCount, parseDurationMs, type Flags } from '../arguments/options.ts';
import { withFilesMeant } from '../arguments/references.ts';
import { ATTENTION, DONE, worst, type ExitCode } from '../exit.ts';
import { referenceOf, shortHash } from '../terminal/describe.ts';
import { fileAsJson } from '../../vault/files/as-json.ts';
import { tableFor } from '../terminal/table.ts';
import { count, grouped, quote, showName, showTime } from '../terminal/text.ts';
import { concludeRemoval, warnOfUntold } from './rm.ts';

export type PruneFlags = Flags<
  'keepLast' | 'keepHourly' | 'keepDaily' | 'keepWeekly' | 'keepMonthly' | 'keepYearly' | 'keepWithin',
  'allowMany' | 'now' | 'yes' | 'dryRun'
>;

/** Most versions that a rule can be told to keep. */
const MOST = 999_999_999;

/** `vault prune`: removes the versions of each name that no rule keeps, as `rm` does. */
export async function prune(
  invocation: Invocation,
  references: readonly string[],
  flags: PruneFlags,
): Promise<ExitCode> {
  const { output, options, terminal, signal } = invocation;
  const { now = false, yes = false, dryRun = false, allowMany } = flags;
  const rules = rulesOf(flags);
  // Said also on a night on which nothing goes, rather than for the first time weeks later.
  if (!dryRun && !invocation.interactive) await confirm(invocation, 'This removes versions', yes);
  return withVault(invocation, async (vault) => {
    const total = new PruneTotal();
    const how = { dryRun, allowMany, passMissing: true, signal, onWarning: warnTo(terminal) };
    const print = printerOf(invocation);
    const plan = async (): Promise<void> =>
      withFilesMeant(
        vault,
        { verb: 'prune', references },
        async (meant) => {
          for await (const name of vault.planPrune(rules, { references: meant, ...how })) {
            total.add(name);
            if (dryRun) await print(name);
          }
        },
        { signal },
      );
    // What a dry run prints is progress enough.
    await (dryRun ? plan() : terminal.withProgress('Choosing', plan));
    const attention = total.warnOfOdd(invocation);
    const facts = { ...total.facts, dryRun };
    if (dryRun) {
      terminal.summary(`${total.describe('Would remove', 'keep')}. Nothing was changed.`, facts);
      if (total.going.length === 0) return attention;
      const { unreachable } = await vault.remove(total.going, how);
      return worst([attention, warnOfUntold(terminal, unreachable, dryRun)]);
    }
    if (total.going.length === 0) {
      terminal.summary('There was nothing to remove.', facts);
      return attention;
    }
    await confirm(invocation, total.describe('This removes', 'keeps'), yes);
    const { removed, gone, unreachable } = await withProgress(invocation, 'Removing', async (call) =>
      vault.remove(total.going, { ...call, passMissing: true, graceMs: now ? 0 : undefined }),
    );
    if (options.json === true) {
      for (const version of removed) await output.json(asJson({ version, reasons: [] }));
    }
    const others = total.going.length - removed.length;
    const already = others === 0 ? '' : ` ${grouped(others)} of them had gone meanwhile.`;
    const what = `${total.describe('Removed', 'kept')}.${already}`;
    const back =
      '"vault undelete <hash>" brings one back within seven days; "vault ls --deleted" shows them, and "vault sweep" frees the space after that.';
    return worst([
      attention,
      await concludeRemoval(invocation, vault, {
        files: removed.length,
        gone: gone.length,
        unreachable,
        now,
        what,
        back,
        facts,
      }),
    ]);
  });
}

/** @throws `invalid-input` */
function rulesOf(flags: PruneFlags): RetentionRules {
  const { keepLast, keepHourly, keepDaily, keepWeekly, keepMonthly, keepYearly, keepWithin } = flags;
  // To others `m` is a month, and to this a minute.
  if (keepWithin !== undefined && /\dm\s*$/i.test(keepWithin)) {
    throw invalidInput(
      `--keep-within ${quote(keepWithin)} could mean months or minutes. Say days, for example 180d, or "min".`,
    );
  }
  const rules = {
    last: most(keepLast, '--keep-last'),
    hourly: most(keepHourly, '--keep-hourly'),
    daily: most(keepDaily, '--keep-daily'),
    weekly: most(keepWeekly, '--keep-weekly'),
    monthly: most(keepMonthly, '--keep-monthly'),
    yearly: most(keepYearly, '--keep-yearly'),
    withinMs: ifGiven(keepWithin, parseDurationMs, '--keep-within'),
  };
  requireRules(rules);
  return rules;
}

function most(text: string | undefined, option: string): number | undefined {
  return text === undefined ? undefined : parseCount(text, option, { min: 1, max: MOST });
}

/** Why versions stay that somebody should look at. */
const ODD = ['future', 'late', 'flood', 'missing'] as const;
type OddReason = (typeof ODD)[number];

class PruneTotal {
  /** Hashes of versions that no rule keeps. */
  readonly going: string[] = [];
  #names = 0;
  #kept = 0;
  #bytes = 0;
  /** Versions that no rule applies to and somebody should look at. */
  readonly #odd: Readonly<Record<OddReason, WrittenFile[]>> = {
    future: [],
    late: [],
    flood: [],
    missing: [],
  };

  add(name: PrunedName): void {
    const before = this.going.length;
    for (const { version, reasons } of name) {
      if (reasons.length > 0) this.#kept += 1;
      else {
        this.going.push(version.hash);
        this.#bytes += version.size ?? 0;
      }
      for (const reason of ODD) if (reasons.includes(reason)) this.#odd[reason].push(version);
    }
    if (this.going.length > before) this.#names += 1;
  }

  get facts(): Readonly<Record<string, unknown>> {
    const { future, late, flood, missing } = this.#odd;
    return {
      files: this.going.length,
      names: this.#names,
      kept: this.#kept,
      bytes: this.#bytes,
      future: future.length,
      late: late.length,
      flood: flood.length,
      missing: missing.length,
    };
  }

  /** @param remove the verb in its form, and the same of `keep` */
  describe(remove: string, keep: string): string {
    return `${remove} ${count(this.going.length, 'version')} of ${count(this.#names, 'name')} and ${keep} ${grouped(this.#kept)}`;
  }

  /** Warns of versions that stay because something is wrong with them. */
  warnOfOdd({ terminal }: Invocation): ExitCode {
    let code: ExitCode = DONE;
    for (const reason of ODD) {
      const [first] = this.#odd[reason];
      if (first === undefined) continue;
      const amount = this.#odd[reason].length;
      const such = `such as ${showName(referenceOf(first))} of ${showTime(first.createdAtMs)}`;
      const remove = `"vault rm ${shortHash(first.hash)}" removes it.`;
      const many = (one: string, several: string): string => (amount === 1 ? one : several);
      const versions = `${count(amount, 'version')}${reason === 'flood' || reason === 'late' ? '' : many(' is', ' are')}`;
      const said = {
        future: {
          kind: 'clock',
          text: `dated in the future and kept, and no rule counts ${many('it', 'them')}, ${such}: this clock is wrong, or one was. ${remove}`,
        },
        late: {
          kind: 'clock',
          text: `came to the buckets long after the time that a machine gave which can only store, ${such}: kept, and no rule counts them. ${remove} Has somebody else that machine's key?`,
        },
        flood: {
          kind: 'flood',
          text: `that no rule keeps stayed, ${such}: more than are kept, and than were removed last week, of what a machine stored that can only store. Look at "vault ls --all"; --allow-many removes them.`,
        },
        missing: {
          kind: 'missing-files',
          text: `in the catalog and in no bucket, or removed there, ${such}; no rule counts ${many('it', 'them')}. "vault verify" tells more. Has an old copy of the catalog been put back?`,
        },
      };
      const { kind, text } = said[reason];
      terminal.warn(`${versions} ${text}`, { kind });
      code = ATTENTION;
    }
    return code;
  }
}

/** Prints what becomes of the versions of a name. */
function printerOf(invocation: Invocation): (name: PrunedName) => Promise<void> {
  const { output, options } = invocation;
  if (options.json === true) {
    return async (name) => {
      for (const judgement of name) await output.json(asJson(judgement));
    };
  }
  const table = tableFor(invocation, ['', 'HASH', 'STORED', 'WHY', 'NAME']);
  return async (name) => {
    const rows = name.map(({ version, reasons }) => [
      reasons.length > 0 ? 'keep' : 'remove',
      shortHash(version.hash),
      showTime(version.createdAtMs),
      reasons.length > 0 ? reasons.join(', ') : '-',
      showName(referenceOf(version)),
    ]);
    await output.write(table.page(rows));
  };
}

function asJson({ version, reasons }: Judgement<WrittenFile>): Record<string, unknown> {
  return { ...fileAsJson(version), kept: reasons.length > 0, reasons };
}
