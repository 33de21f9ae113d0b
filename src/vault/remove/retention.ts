/**
 * Which versions of a name a set of rules keeps. The rules mean what restic's mean: hours, days and so on count only if they have a
 * version, of each the newest is kept, and as long as a rule is not used up, the oldest version is kept as well. Two things differ,
 * since clocks can be wrong: versions are in the order of their numbers, and one that is dated in the future is kept and counts
 * for nothing, as does one that the next sweep removes or that is in no bucket. Who can only store may lie about times and store any
 * number of versions: theirs count by days where others count one by one.
 *
 * Hours, days, weeks (from Monday), months and years are those of this machine's time zone.
 */
import { invalidInput } from '../../errors.ts';
import type { FileInfo } from '../files/records.ts';
import { isFuture } from '../protocol/clocks.ts';

/** The rules that count. */
const COUNTED = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const;
type CountedRule = (typeof COUNTED)[number];

/** How many to keep by each rule, at least 1; a version that any rule keeps stays. */
export type RetentionRules = { readonly [rule in CountedRule]?: number | undefined } & {
  /** Keeps what was stored less than so many milliseconds before the newest version. */
  readonly withinMs?: number | undefined;
};

/** Why a version stays: a rule, or why none applies to it. */
export type KeepReason =
  CountedRule | 'within' | 'oldest' | 'future' | 'late' | 'flood' | 'expired' | 'missing';

/** Whether a rule is why a version stays. */
export function isRule(reason: KeepReason): boolean {
  return !['future', 'late', 'flood', 'expired', 'missing'].includes(reason);
}

/** A version, and why it stays; it goes if nothing is said. */
export interface Judgement<T> {
  readonly version: T;
  readonly reasons: readonly KeepReason[];
}

/** @throws `invalid-input` for no rule at all, which would keep nothing, and for one that keeps less than one version */
export function requireRules({ withinMs, ...counts }: RetentionRules): void {
  const given = [...COUNTED.map((rule) => counts[rule]), withinMs].filter((amount) => amount !== undefined);
  if (given.length === 0) {
    throw invalidInput(
      'Choose which versions to keep: --keep-last, --keep-hourly, --keep-daily, --keep-weekly, --keep-monthly, --keep-yearly <n> or --keep-within <duration>.',
    );
  }
  if (given.every((amount) => Number.isSafeInteger(amount) && amount > 0)) return;
  throw invalidInput('A rule keeps a whole number of versions, and at least one.');
}

/**
 * Judges the versions of one name. The newest version that a rule applies to always stays.
 *
 * @param versions newest first
 * @param options `missing`: those that are in no bucket. `late`: those that are dated back. `byDays`: whether the newest of each of the
 *   last days are kept, rather than the last
 */
export function judgeVersions<T extends Pick<FileInfo, 'createdAtMs' | 'expiresAtMs'>>(
  versions: readonly T[],
  { withinMs, ...counts }: RetentionRules,
  {
    nowMs,
    missing = new Set(),
    late = new Set(),
    byDays = false,
  }: {
    readonly nowMs: number;
    readonly missing?: ReadonlySet<T>;
    readonly late?: ReadonlySet<T>;
    readonly byDays?: boolean;
  },
): readonly Judgement<T>[] {
  const asideFor = (version: T): KeepReason[] => {
    if (missing.has(version)) return ['missing'];
    if (version.expiresAtMs !== null && version.expiresAtMs <= nowMs) return ['expired'];
    if (late.has(version)) return ['late'];
    return isFuture(version.createdAtMs, nowMs) ? ['future'] : [];
  };
  const judged = versions.map((version) => ({ version, reasons: asideFor(version) }));
  const counted = judged.filter(({ reasons }) => reasons.length === 0);
  const [newest] = counted;
  const oldest = counted.at(-1);
  if (newest === undefined || oldest === undefined) return judged;
  let unused = false;
  for (const rule of COUNTED) {
    const most = counts[rule] ?? 0;
    const met = new Set<string>();
    for (const [at, { version, reasons }] of counted.entries()) {
      if (met.size === most) break;
      const by = rule === 'last' && byDays ? 'daily' : rule;
      const period = PERIOD[by](new Date(version.createdAtMs), at);
      if (!met.has(period)) reasons.push(rule);
      met.add(period);
    }
    unused ||= met.size < most;
  }
  const sinceMs = withinMs === undefined ? Infinity : newest.version.createdAtMs - withinMs;
  for (const { version, reasons } of counted) if (version.createdAtMs > sinceMs) reasons.push('within');
  if (unused && oldest.reasons.length === 0) oldest.reasons.push('oldest');
  return judged;
}

const yearly = (date: Date): string => String(date.getFullYear());
const monthly = (date: Date): string => `${yearly(date)}-${date.getMonth()}`;
const daily = (date: Date): string => `${monthly(date)}-${date.getDate()}`;

/** What of a date makes a period of its own; `at`: how many versions are newer. */
const PERIOD: Readonly<Record<CountedRule, (date: Date, at: number) => string>> = {
  last: (_, at) => String(at),
  hourly: (date) => `${daily(date)} ${date.getHours()}`,
  daily,
  weekly(date) {
    const monday = new Date(date);
    monday.setDate(date.getDate() - ((date.getDay() + 6) % 7));
    return daily(monday);
  },
  monthly,
  yearly,
};
