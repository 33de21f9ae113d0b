import type { ExitCode } from '../exit.ts';
import { ATTENTION, DAMAGED, DONE } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import {
  bucketReferenceOf,
  bucketUrlOf,
  heedful,
  withPreparedBucketUrl,
  withProgress,
  withVault,
} from '../arguments/invocation.ts';
import { conditionColumn, stateOf } from '../terminal/describe.ts';
import { Plan } from '../terminal/plan.ts';
import { tableFor } from '../terminal/table.ts';
import type { BucketReport } from '../../vault/manage/buckets.ts';
import type { RemoveBucketResult } from '../../vault/manage/remove-bucket.ts';
import type { Vault } from '../../vault/vault.ts';
import { count, grouped, showName, showSize, showTime } from '../terminal/text.ts';
import { asTime } from '../../vault/files/as-json.ts';

/** Kinds of buckets by the scheme of their URLs. */
const KINDS = new Map([
  ['file:', 'folder'],
  ['gs:', 'gcs'],
  ['s3:', 's3'],
]);

/** `vault bucket ls`: the vault's buckets, and what they hold. */
export async function listBuckets(invocation: Invocation): Promise<ExitCode> {
  const { output, options, terminal } = invocation;
  return withVault(invocation, async (vault) => {
    const buckets = await withProgress(invocation, 'Listing', async (call) => vault.bucketReport(call));
    if (options.json === true) {
      for (const bucket of buckets) {
        const kind = KINDS.get(new URL(bucket.url).protocol) ?? 'unknown';
        await output.json({ ...bucket, kind, reachable: bucket.error === null });
      }
    } else {
      await printBucketReports(invocation, buckets);
    }
    const down = buckets.filter(({ error }) => error !== null);
    for (const { url, error } of down) terminal.warn(error ?? url, { kind: 'bucket-down', bucket: url });
    const objects = buckets.reduce((sum, bucket) => sum + (bucket.objects ?? 0), 0);
    const bytes = buckets.reduce((sum, bucket) => sum + (bucket.bytes ?? 0), 0);
    terminal.summary(`${count(buckets.length, 'bucket')}, ${count(objects, 'object')}, ${showSize(bytes)}.`, {
      buckets: buckets.length,
      objects,
      bytes,
    });
    return down.length === 0 ? DONE : ATTENTION;
  });
}

/** Prints the buckets and what they hold, a line each; why one cannot be used is for a warning to say. */
export async function printBucketReports(
  invocation: Pick<Invocation, 'output' | 'environment'>,
  buckets: readonly BucketReport[],
): Promise<void> {
  const state = conditionColumn(invocation, 'STATE');
  const table = tableFor(invocation, ['~BUCKET', '>OBJECTS', '>SIZE', state], { piped: true });
  const rows = buckets.map((bucket) => [
    showName(bucket.url),
    bucket.objects === null ? '?' : grouped(bucket.objects),
    bucket.bytes === null ? '?' : showSize(bucket.bytes),
    stateOf(bucket),
  ]);
  await invocation.output.write(table.page(rows));
}

export async function addBucket(invocation: Invocation, url: string): Promise<ExitCode> {
  const { output, options, terminal, signal } = invocation;
  return withVault(invocation, async (vault) => {
    // No folder is made where a key can only store.
    await vault.ready();
    const bucket = await withPreparedBucketUrl(url, (place) => vault.addBucket(place, { signal }));
    if (options.json === true) await output.json({ ...bucket });
    terminal.note(
      `Added ${bucket.url}. New files use it from now on; what is stored stays where it is.\nAdd it to your list of buckets: that list and the password are all it takes to get everything back.`,
    );
    return DONE;
  });
}

export interface RemoveBucketFlags {
  readonly gone?: boolean;
  readonly dryRun?: boolean;
}

/** `vault bucket rm`, and `vault repair --forget-bucket`. */
export async function removeBucket(
  invocation: Invocation,
  reference: string,
  flags: RemoveBucketFlags,
): Promise<ExitCode> {
  const { output, options, terminal } = invocation;
  const dryRun = flags.dryRun === true;
  const bucket = await bucketReferenceOf(reference);
  return withVault(invocation, async (vault) => {
    if (!dryRun) {
      invocation.interruption.kept = () => 'What has moved need not move again: repeat the command.';
    }
    const plan = new Plan(invocation);
    const result = await withProgress(invocation, 'Moving', async (call) =>
      vault.removeBucket(bucket, {
        ...call,
        gone: flags.gone,
        dryRun,
        onPlanned: plan.add,
      }),
    );
    await plan.end();
    const { retainedUntilMs, ...rest } = result;
    const retainedUntil = asTime(retainedUntilMs);
    if (options.json === true) await output.json({ ...rest, retainedUntil, dryRun });
    terminal.summary(null, { shardsMoved: result.shardsMoved, removed: result.removed, dryRun });
    const code = dryRun
      ? reportPlan(invocation, result, flags.gone === true)
      : reportRemoval(invocation, vault, result);
    return result.filesLost.length > 0 ? warnOfLost(terminal, result.filesLost) : code;
  });
}

/** Says what would become of a bucket that were taken out. */
function reportPlan(
  { terminal }: Pick<Invocation, 'terminal'>,
  { shardsMoved, manifestsCopied, chunksDegraded, sharesEnded, reasons }: RemoveBucketResult,
  gone: boolean,
): ExitCode {
  const stays = reasons.length > 0;
  const then = gone || stays ? '' : ', and then remove what the vault has in this one';
  terminal.note(
    `Would store ${count(shardsMoved, 'shard')} and ${count(manifestsCopied, 'manifest')} in the other buckets${then}. Nothing was changed.`,
  );
  if (sharesEnded > 0)
    terminal.note(`${linksOf(sharesEnded)} would end with it: "vault share ls" shows them.`);
  if (!stays && chunksDegraded === 0) return DONE;
  if (!stays) {
    terminal.warn('Not everything would be whole then.', { kind: 'degraded' });
    return ATTENTION;
  }
  terminal.warn(`The bucket would still be part of the vault. ${reasons.join(' ')}`, { kind: 'not-removed' });
  return ATTENTION;
}

/** Says what became of a bucket that was to be taken out, and whether the others are enough. */
function reportRemoval(
  { terminal }: Pick<Invocation, 'terminal'>,
  vault: Vault,
  result: RemoveBucketResult,
): ExitCode {
  const { removed, shardsMoved, chunksDegraded, reasons, objectsRetained, retainedUntilMs, sharesEnded } =
    result;
  if (removed) {
    terminal.note(
      `Stored ${count(shardsMoved, 'shard')} in the other buckets. The bucket is no longer part of the vault.`,
    );
    if (sharesEnded > 0) terminal.note(`${linksOf(sharesEnded)} ended with it.`);
    const advice = adviceOnTooFew(vault) ?? (chunksDegraded > 0 ? 'Run "vault repair".' : null);
    if (objectsRetained > 0) {
      const until = retainedUntilMs === null ? '' : ` until ${showTime(retainedUntilMs)}`;
      const message = `${count(objectsRetained, 'object is', 'objects are')} locked there${until}, and stay. Repeat this command then, with the bucket's URL.`;
      terminal.warn(message, { kind: 'retained' });
    }
    if (advice === null) return objectsRetained > 0 ? ATTENTION : DONE;
    terminal.warn(`Not everything is whole now. ${advice}`, { kind: 'degraded' });
    return ATTENTION;
  }
  terminal.warn(
    `The bucket is still part of the vault. ${reasons.join(' ')} Repeat this command when that is over; what has moved need not move again.`,
    { kind: 'not-removed' },
  );
  return ATTENTION;
}

function linksOf(shares: number): string {
  return `${count(shares, 'link')} of "vault share"`;
}

/** Says how many files nothing can bring back. */
export function warnOfLost(terminal: Invocation['terminal'], { length }: readonly string[]): ExitCode {
  terminal.warn(
    `${count(length, 'file')} can no longer be read: "vault verify" names ${length === 1 ? 'it' : 'them'}.`,
    { kind: 'lost' },
  );
  return DAMAGED;
}

/** What to do about having fewer buckets than the redundancy needs; null if there are enough. */
export function adviceOnTooFew({ buckets, redundancy: { k, m } }: Vault): string | null {
  const active = buckets.filter(({ state }) => state === 'active').length;
  if (active >= k + m) return null;
  return `${k}+${m} needs ${k + m} buckets, and the vault has ${active}: add one with "vault bucket add", or choose less with "vault repair --redundancy". Then run "vault repair" again.`;
}

export async function setBucketUrl(
  invocation: Invocation,
  reference: string,
  url: string,
): Promise<ExitCode> {
  const { output, options, terminal, signal } = invocation;
  const { onWarning, exit } = heedful(invocation);
  return withVault(invocation, async (vault) => {
    const bucket = await vault.setBucketUrl(await bucketReferenceOf(reference), await bucketUrlOf(url), {
      signal,
      onWarning,
    });
    if (options.json === true) await output.json({ ...bucket });
    terminal.note(`The bucket's URL is ${bucket.url} from now on.`);
    return exit();
  });
}
