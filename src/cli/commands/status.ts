import { VaultError } from '../../errors.ts';
import type { VaultStatus } from '../../vault/read/status.ts';
import type { Vault } from '../../vault/vault.ts';
import type { ExitCode } from '../exit.ts';
import { ATTENTION, DONE } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { warnTo, withVault } from '../arguments/invocation.ts';
import { parseDurationMs } from '../arguments/options.ts';
import { withFilesMeant } from '../arguments/references.ts';
import { Table } from '../terminal/table.ts';
import { styleFor } from '../terminal/terminal.ts';
import { count, quote, showDuration, showName, showSize, showTime } from '../terminal/text.ts';
import { printBucketReports } from './bucket.ts';
import { metricsText } from './status-metrics.ts';
import type { Age, Standing } from './status-metrics.ts';

export interface StatusFlags {
  readonly maxAge?: string;
  readonly prometheus?: boolean;
}

/** `vault status`: what the vault holds and how safe it is, for people, programs and monitoring. */
export async function status(
  invocation: Invocation,
  names: readonly string[],
  flags: StatusFlags,
): Promise<ExitCode> {
  const { output, options, terminal, signal } = invocation;
  const maxAgeMs = flags.maxAge === undefined ? null : parseDurationMs(flags.maxAge, '--max-age');
  if (flags.prometheus === true && options.json === true) {
    throw new VaultError('invalid-input', '--json and --prometheus both want standard output. Choose one.');
  }
  return withVault(invocation, async (vault) => {
    const ages = await agesOf(invocation, vault, { names, maxAgeMs });
    const call = { signal, onWarning: warnTo(terminal) };
    const standing = await terminal.withProgress('Looking', async (): Promise<Standing> => {
      const [found, buckets] = await Promise.all([vault.status(call), vault.bucketReport(call)]);
      const storedBytes = buckets.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
      return { ...found, buckets, storedBytes, ages };
    });
    const reasons = whatIsWrong(standing, maxAgeMs);
    if (options.json === true) await output.json(asJson(standing, vault));
    else if (flags.prometheus === true) await output.write(metricsText(standing, reasons.length === 0));
    else await print(invocation, standing);
    for (const { message, kind } of reasons) terminal.warn(message, { kind });
    terminal.summary(
      reasons.length === 0 ? 'Nothing needs attention.' : `${count(reasons.length, 'thing')} to look after.`,
      { files: standing.files, versions: standing.versions },
    );
    return reasons.length === 0 ? DONE : ATTENTION;
  });
}

/** @throws `file-not-found` */
async function agesOf(
  { signal }: Invocation,
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
        const tooOld = maxAgeMs === null ? null : Date.now() - createdAtMs > maxAgeMs;
        ages.push({ name, storedAtMs: createdAtMs, tooOld });
      }
      return ages;
    },
    { signal },
  );
}

interface Reason {
  readonly message: string;
  readonly kind: string;
}

function whatIsWrong(standing: Standing, maxAgeMs: number | null): Reason[] {
  const { ages, buckets, degraded, changed, newestAtMs } = standing;
  const reasons: Reason[] = [];
  const old = ages.filter(({ tooOld }) => tooOld === true);
  for (const { name, storedAtMs } of old) {
    reasons.push({ message: `${quote(name)} was last stored ${agoOf(storedAtMs)}.`, kind: 'too-old' });
  }
  const newestIsOld = maxAgeMs !== null && (newestAtMs === null || Date.now() - newestAtMs > maxAgeMs);
  if (ages.length === 0 && newestIsOld) {
    const message =
      newestAtMs === null ? 'Nothing is stored.' : `The newest file was stored ${agoOf(newestAtMs)}.`;
    reasons.push({ message, kind: 'too-old' });
  }
  const down = buckets.filter(({ error }) => error !== null);
  for (const { error, url } of down) reasons.push({ message: error ?? url, kind: 'bucket-down' });
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
      message: `${count(changed, 'record')} of the catalog ${changed === 1 ? 'is' : 'are'} not what was written there: "vault repair" makes them anew.`,
      kind: 'catalog',
    });
  }
  return reasons;
}

function agoOf(ms: number): string {
  return `${showDuration(Date.now() - ms)} ago`;
}

function asJson(standing: Standing, { id }: Vault): Record<string, unknown> {
  const { newestAtMs, safety, ages, buckets, ...numbers } = standing;
  return {
    id,
    ...numbers,
    newestAt: newestAtMs === null ? null : new Date(newestAtMs).toISOString(),
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
      storedAt: new Date(storedAtMs).toISOString(),
      tooOld,
    })),
  };
}

/** The least safe first. */
function bySafety(safety: VaultStatus['safety']): (readonly [number, number])[] {
  return [...safety].toSorted(([a], [b]) => a - b);
}

async function print(invocation: Invocation, standing: Standing): Promise<void> {
  const { output, environment } = invocation;
  const { files, versions, removed, locked, logicalBytes, uniqueBytes, storedBytes, newestAtMs } = standing;
  const more = [
    count(versions, 'version'),
    ...(removed > 0 ? [`${removed.toLocaleString('en-US')} removed`] : []),
    ...(locked > 0 ? [`${locked.toLocaleString('en-US')} locked`] : []),
  ];
  const facts = [
    ['files', `${files.toLocaleString('en-US')} (${more.join(', ')})`],
    ['content', showSize(logicalBytes)],
    ['unique', `${showSize(uniqueBytes)}: each chunk once, compressed`],
    ['in buckets', `${showSize(storedBytes)}: with redundancy`],
    ['newest', newestAtMs === null ? 'none' : `${showTime(newestAtMs)}, ${agoOf(newestAtMs)}`],
    ...standing.ages.map(({ name, storedAtMs }) => [
      'newest of',
      `${showName(name)}: ${showTime(storedAtMs)}, ${agoOf(storedAtMs)}`,
    ]),
  ];
  await output.write(facts.map(([label = '', value = '']) => `${label.padEnd(12)}${value}\n`).join(''));
  const style = styleFor(process.stdout, environment);
  if (standing.safety.size > 0) {
    const table = new Table(
      [
        { heading: 'VERSIONS', align: 'right' },
        { heading: 'SAFETY', align: 'left' },
      ],
      { width: output.width, styleHeading: (line) => style('bold', line) },
    );
    const rows = bySafety(standing.safety).map(([survives, amount]) => [
      amount.toLocaleString('en-US'),
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
