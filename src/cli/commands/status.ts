import { invalidInput } from '../../errors.ts';
import { NOTED_VERBS } from '../../vault/read/runs.ts';
import { isFuture } from '../../vault/protocol/clocks.ts';
import type { VaultStatus } from '../../vault/read/status.ts';
import type { Vault } from '../../vault/vault.ts';
import { ATTENTION, DONE, type ExitCode } from '../exit.ts';
import { surroundings, withProgress, withVault, type Invocation } from '../arguments/invocation.ts';
import { catalogLocation, ifGiven, parseDurationMs, type Flags } from '../arguments/options.ts';
import { withFilesMeant } from '../arguments/references.ts';
import { asTime } from '../../vault/files/as-json.ts';
import { describeLeaving } from '../terminal/condition.ts';
import { tableFor } from '../terminal/table.ts';
import { count, grouped, quote, showDuration, showName, showSize, showTime } from '../terminal/text.ts';
import { printBucketReports } from './bucket.ts';
import { catalogMetricsText, metricsText, type Age, type Standing } from './status-metrics.ts';
import { catalogFacts } from '../../compose.ts';

export type StatusFlags = Flags<'maxAge', 'prometheus' | 'password'>;

/** `vault status`: what the vault holds and how safe it is, for people, programs and monitoring. */
export async function status(
  invocation: Invocation,
  names: readonly string[],
  flags: StatusFlags,
): Promise<ExitCode> {
  const { output, options, terminal, clock } = invocation;
  const maxAgeMs = ifGiven(flags.maxAge, parseDurationMs, '--max-age') ?? null;
  if (flags.prometheus === true && options.json === true) {
    throw invalidInput('--json and --prometheus both want standard output. Choose one.');
  }
  if (flags.password === false) return statusOfCatalog(invocation, names, { ...flags, maxAgeMs });
  return withVault(invocation, async (vault) => {
    const ages = await agesOf(invocation, vault, { names, maxAgeMs });
    const standing = await withProgress(invocation, 'Looking', async (call): Promise<Standing> => {
      const [found, buckets] = await Promise.all([vault.status(call), vault.bucketReport(call)]);
      const storedBytes = buckets.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
      return { ...found, buckets, storedBytes, ages };
    });
    const reasons = whatIsWrong(standing, { maxAgeMs, nowMs: clock.now() });
    if (options.json === true) await output.json(asJson(standing, vault));
    else if (flags.prometheus === true) await output.write(metricsText(standing, reasons.length === 0));
    else await print(invocation, standing);
    return concludeReasons(terminal, reasons, standing);
  });
}

export function concludeReasons(
  terminal: Invocation['terminal'],
  reasons: readonly Reason[],
  { files, versions }: Pick<VaultStatus, 'files' | 'versions'>,
): ExitCode {
  for (const { message, ...details } of reasons) terminal.warn(message, details);
  const [first] = reasons;
  const text =
    first === undefined ? 'Nothing needs attention.' : `${count(reasons.length, 'thing')} to look after.`;
  terminal.summary(text, { files, versions });
  return first === undefined ? DONE : ATTENTION;
}

/** @throws `file-not-found` */
async function agesOf(
  { signal, clock }: Invocation,
  vault: Vault,
  { names, maxAgeMs }: { readonly names: readonly string[]; readonly maxAgeMs: number | null },
): Promise<readonly Age[]> {
  if (names.length === 0) return [];
  return withFilesMeant(
    vault,
    { verb: 'status', references: names },
    async (meant) => {
      const ages: Age[] = [];
      for (const reference of meant) {
        const { name, createdAtMs } = await vault.inspect(reference, { signal });
        const nowMs = clock.now();
        const future = isFuture(createdAtMs, nowMs);
        const tooOld = maxAgeMs === null ? null : future || nowMs - createdAtMs > maxAgeMs;
        ages.push({ name, storedAtMs: createdAtMs, future, tooOld });
      }
      return ages;
    },
    { signal },
  );
}

interface Reason {
  readonly message: string;
  readonly kind: string;
  readonly bucket?: string;
}

function whatIsWrong(
  standing: Standing,
  { maxAgeMs, nowMs }: { readonly maxAgeMs: number | null; readonly nowMs: number },
): Reason[] {
  const { ages, buckets, degraded, changed } = standing;
  const reasons: Reason[] = [];
  const old = ages.filter(({ tooOld }) => tooOld === true);
  for (const { name, storedAtMs, future } of old) {
    const message = future
      ? `When ${quote(name)} was last stored is not known: it is dated in the future, ${showTime(storedAtMs)}.`
      : `${quote(name)} was last stored ${agoOf(nowMs - storedAtMs)}.`;
    reasons.push({ message, kind: 'too-old' });
  }
  reasons.push(...whatIsWrongOfTimes(standing, { maxAgeMs: ages.length === 0 ? maxAgeMs : null, nowMs }));
  const down = buckets.filter(({ error }) => error !== null);
  for (const { error, url } of down)
    reasons.push({ message: error ?? url, kind: 'bucket-down', bucket: url });
  for (const message of describeLeaving(buckets)) reasons.push({ message, kind: 'not-removed' });
  if (degraded > 0) {
    const advice =
      down.length > 0
        ? 'while not every bucket answers'
        : '"vault repair" replaces what is missing or damaged';
    reasons.push({
      message: `${count(degraded, 'version is less safe than it was', 'versions are less safe than they were')} stored for: ${advice}.`,
      kind: 'degraded',
    });
  }
  if (changed > 0) {
    reasons.push({
      message: `${count(changed, 'record')} of the catalog ${changed === 1 ? 'is' : 'are'} not what was written there: "vault repair" rebuilds them.`,
      kind: 'catalog',
    });
  }
  return reasons;
}

function whatIsWrongOfTimes(
  { future, newestAtMs }: Pick<VaultStatus, 'future' | 'newestAtMs'>,
  { maxAgeMs, nowMs }: { readonly maxAgeMs: number | null; readonly nowMs: number },
): Reason[] {
  const reasons: Reason[] = [];
  if (future > 0) {
    const [are, them] = future === 1 ? ['is', 'it'] : ['are', 'them'];
    const message = `${count(future, 'version')} ${are} dated in the future, so that no age counts ${them}: this clock is wrong, or one was. "vault ls --all" shows ${them}, and "vault rm" with the hash removes ${them}.`;
    reasons.push({ message, kind: 'clock' });
  }
  if (maxAgeMs === null || (newestAtMs !== null && nowMs - newestAtMs <= maxAgeMs)) return reasons;
  const nothing = future > 0 ? 'Nothing else is stored.' : 'Nothing is stored.';
  const message = newestAtMs === null ? nothing : `The newest file was stored ${agoOf(nowMs - newestAtMs)}.`;
  return [...reasons, { message, kind: 'too-old' }];
}

/** The part that needs no password: what the catalog says, as it says it. */
async function statusOfCatalog(
  invocation: Invocation,
  names: readonly string[],
  { maxAgeMs, prometheus }: StatusFlags & { readonly maxAgeMs: number | null },
): Promise<ExitCode> {
  const { output, options, environment, terminal, clock } = invocation;
  const nowMs = clock.now();
  if (names.length > 0) {
    throw invalidInput('Without the password no name is known: give none, or the password.');
  }
  const db = catalogLocation(options, environment);
  const { vaultId, ...facts } = await catalogFacts({ ...surroundings(invocation), db });
  const { newestAtMs, ...numbers } = facts;
  const { versions, removed } = numbers;
  const reasons = whatIsWrongOfTimes(facts, { maxAgeMs, nowMs });
  if (options.json === true)
    await output.json({ vaultId, ...numbers, newestAt: asTime(newestAtMs), checked: false });
  else if (prometheus === true) await output.write(catalogMetricsText(facts, reasons.length === 0));
  else {
    const lines = [
      ['versions', `${grouped(versions)} (${grouped(removed)} removed)`],
      newestFact(newestAtMs, nowMs),
    ];
    await output.write(
      `${factLines(lines)}\nBy the catalog alone: without the password nobody can check what it says, nor ask the buckets.\n`,
    );
  }
  for (const { message, ...details } of reasons) terminal.warn(message, details);
  terminal.summary(null, { versions });
  return reasons.length === 0 ? DONE : ATTENTION;
}

function newestFact(newestAtMs: number | null, nowMs: number): string[] {
  return ['newest', newestAtMs === null ? 'none' : `${showTime(newestAtMs)}, ${agoOf(nowMs - newestAtMs)}`];
}

function factLines(facts: readonly (readonly string[])[]): string {
  return facts.map(([label = '', value = '']) => `${label.padEnd(12)}${value}\n`).join('');
}

/** When each verb that looks after a vault ended last. */
function runFacts(runs: VaultStatus['runs'], nowMs: number): string[][] {
  return NOTED_VERBS.map((verb) => {
    const run = runs.find((one) => one.verb === verb);
    if (run === undefined) return [`last ${verb}`, 'not known'];
    const { exit, files, failed } = run.facts;
    const tried =
      verb === 'drill' && typeof files === 'number' && typeof failed === 'number'
        ? `: ${files} of ${files + failed}`
        : '';
    const how = exit === 0 ? '' : `, ended with ${String(exit)}`;
    const when = isFuture(run.endedAtMs, nowMs) ? 'in the future' : agoOf(nowMs - run.endedAtMs);
    return [`last ${verb}`, `${showTime(run.endedAtMs)}, ${when}${tried}${how}`];
  });
}

function agoOf(ageMs: number): string {
  return `${showDuration(ageMs)} ago`;
}

/** What part of the content need not be stored, being there already or compressed; null where the size of some is not known. */
function savingsOf({ locked, logicalBytes, uniqueBytes }: Standing): number | null {
  return locked > 0 || logicalBytes === 0 ? null : Math.max(0, 1 - uniqueBytes / logicalBytes);
}

function asJson(standing: Standing, { id }: Vault): Record<string, unknown> {
  const { newestAtMs, safety, ages, buckets, runs, ...numbers } = standing;
  return {
    vaultId: id,
    ...numbers,
    savings: savingsOf(standing),
    newestAt: asTime(newestAtMs),
    safety: bySafety(safety).map(([survives, files]) => ({ survives, files })),
    buckets: buckets.map(({ id: bucketId, url, state, objects, bytes, error }) => ({
      id: bucketId,
      url,
      state,
      objects,
      bytes,
      reachable: error === null,
      error,
    })),
    names: ages.map(({ name, storedAtMs, tooOld }) => ({
      name,
      createdAt: asTime(storedAtMs),
      tooOld,
    })),
    runs: runs.map(({ verb, endedAtMs, facts }) =>
      Object.assign({ verb, endedAt: asTime(endedAtMs) }, facts),
    ),
  };
}

/** The least safe first. */
function bySafety(safety: VaultStatus['safety']): (readonly [number, number])[] {
  return [...safety].toSorted(([a], [b]) => a - b);
}

async function print(invocation: Invocation, standing: Standing): Promise<void> {
  const { output } = invocation;
  const nowMs = invocation.clock.now();
  const { files, versions, removed, locked, logicalBytes, uniqueBytes, storedBytes, newestAtMs } = standing;
  const saved = savingsOf(standing);
  const more = [
    count(versions, 'version'),
    ...(removed > 0 ? [`${grouped(removed)} removed`] : []),
    ...(locked > 0 ? [`${grouped(locked)} locked`] : []),
  ];
  const facts = [
    ['files', `${grouped(files)} (${more.join(', ')})`],
    ['content', showSize(logicalBytes)],
    ['unique', `${showSize(uniqueBytes)}: each chunk once, compressed`],
    ...(saved === null ? [] : [['saved', `${Math.round(saved * 100)}% of the content`]]),
    ['in buckets', `${showSize(storedBytes)}: with redundancy`],
    newestFact(newestAtMs, nowMs),
    ...standing.ages.map(({ name, storedAtMs, future }) => [
      'newest of',
      `${showName(name)}: ${showTime(storedAtMs)}, ${future ? 'in the future' : agoOf(nowMs - storedAtMs)}`,
    ]),
    ...runFacts(standing.runs, nowMs),
  ];
  await output.write(factLines(facts));
  if (standing.safety.size > 0) {
    const table = tableFor(invocation, ['>VERSIONS', 'SAFETY'], { piped: true });
    const rows = bySafety(standing.safety).map(([survives, amount]) => [
      grouped(amount),
      describeSafety(survives),
    ]);
    await output.write(`\n${table.page(rows)}`);
  }
  await output.write('\n');
  await printBucketReports(invocation, standing.buckets);
}

function describeSafety(survives: number): string {
  if (survives < 0) return 'cannot be read now';
  return survives === 0
    ? 'survive the loss of no bucket'
    : `survive the loss of any ${count(survives, 'bucket')}`;
}
