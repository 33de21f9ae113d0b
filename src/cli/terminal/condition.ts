/** How files stand after a look at all their parts: for people, and as an exit code. */
import { asTime } from '../../vault/files/as-json.ts';
import { typedWord } from '../../shell-word.ts';
import type {
  BucketCondition,
  FileCondition,
  FileProblem,
  VerifyResult,
} from '../../vault/verify/condition.ts';
import { conditionColumn, referenceOf, shortHash, stateOf } from './describe.ts';
import { ATTENTION, DAMAGED, DONE, TOO_OLD, type ExitCode } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { tableFor } from './table.ts';
import { count, grouped, showDuration, showName, showTime } from './text.ts';

/** Prints the files that are not whole, a line each. */
export async function printFiles(invocation: Invocation, files: readonly FileCondition[]): Promise<void> {
  if (files.length === 0) return;
  const condition = conditionColumn(invocation, 'CONDITION');
  const table = tableFor(invocation, ['HASH', condition, '~NAME', 'WHAT IS WRONG'], { piped: true });
  const rows = files.map(({ hash, name, writer, condition: stands, problems }) => [
    shortHash(hash),
    stands,
    name === null ? '?' : showName(writer === null ? name : referenceOf({ name, writer })),
    [...new Set(problems.map(describeProblem))].join('; '),
  ]);
  await invocation.output.write(table.page(rows));
}

/** Prints what was found in every bucket, a line each. */
export async function printBuckets(
  invocation: Invocation,
  buckets: readonly BucketCondition[],
): Promise<void> {
  const state = conditionColumn(invocation, 'STATE');
  const table = tableFor(invocation, ['~BUCKET', '>SHARDS', '>MISSING', '>DAMAGED', state], { piped: true });
  const rows = buckets.map((bucket) => [
    showName(bucket.url),
    grouped(bucket.shards),
    // Not the manifests: of those, not every bucket needs a copy. Keyrings have a warning of their own.
    grouped(bucket.shardsMissing),
    grouped(bucket.shardsDamaged + bucket.manifestsDamaged),
    stateOf(bucket),
  ]);
  await invocation.output.write(table.page(rows));
}

/** What a bucket has against removal, and how much is locked there: a line, or none. */
export function describeRetention({ url, retention }: BucketCondition): string[] {
  if (retention === null) return [];
  const { lock, everyMs, versioning, softDeleteMs, locks } = retention;
  const has = [
    ...(lock === null ? [] : [`can lock objects (${lock})`]),
    ...(everyMs === null ? [] : [`keeps every object for ${showDuration(everyMs)}`]),
    ...(versioning === true ? ['keeps older versions'] : []),
    ...(softDeleteMs === null ? [] : [`can bring back what was removed for ${showDuration(softDeleteMs)}`]),
  ];
  if (has.length === 0) return [];
  const first = locks?.firstEndMs ?? null;
  const end = first === null ? '' : `, the first until ${showTime(first)}`;
  const kept =
    locks === null
      ? ''
      : `; of ${count(locks.objects, 'object')} that files need, ${grouped(locks.kept)} locked${end}`;
  return [`${showName(url)} ${has.join(', ')}${kept}.`];
}

/** The same for programs. */
export function bucketAsJson({ retention, ...bucket }: BucketCondition): Record<string, unknown> {
  if (retention === null) return { ...bucket, retention };
  const { everyMs, softDeleteMs, locks, ...policy } = retention;
  return {
    ...bucket,
    retention: {
      ...policy,
      everySeconds: secondsOf(everyMs),
      softDeleteSeconds: secondsOf(softDeleteMs),
      objects: locks?.objects ?? null,
      locked: locks?.kept ?? null,
      firstLockEnds: asTime(locks?.firstEndMs ?? null),
    },
  };
}

function secondsOf(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms / 1000);
}

function describeProblem({ what, problem, bucket }: FileProblem): string {
  const where = bucket === null ? '' : ` in ${bucket}`;
  switch (problem) {
    case 'missing':
      return `${what} missing${where}`;
    case 'damaged':
      return `${what} damaged${where}`;
    case 'unknown':
      return `${what} not seen${where}, which did not answer`;
    case 'unstored':
      return `${what} not stored`;
    case 'hidden':
      return `${what} hidden by the catalog, though nobody removed the file`;
    case 'too-new':
      return `${what}${where} of a newer version`;
  }
}

/**
 * Ends a command that has looked at everything: says what is to be done, if anything.
 *
 * @param advice what to do about what is degraded
 * @returns the exit code
 */
export function concludeOutcome({ terminal }: Invocation, result: VerifyResult, advice: string): ExitCode {
  const number = (condition: FileCondition['condition']): number =>
    result.affected.filter((file) => file.condition === condition && !isTooNew(file) && !isRecordOnly(file))
      .length;
  const nowhere = result.affected.filter((file) => isNowhere(file, result)).length;
  const lost = number('lost') - nowhere;
  if (result.outcome === 'whole') return DONE;
  for (const { url, keyringsWrong } of result.buckets) {
    if (keyringsWrong === 0) continue;
    const message = `The keyring in ${showName(url)} is not right: the newest one is missing or damaged, or another is there, which an old password may open. "vault repair" gives it the newest alone.`;
    terminal.warn(message, { kind: 'keyring', bucket: url });
  }
  for (const message of disagreements(result)) terminal.warn(message, { kind: 'catalog' });
  const degraded = describeDegraded(number('degraded'), number('unknown'), advice);
  if (degraded !== '') terminal.warn(degraded, { kind: 'degraded' });
  if (nowhere > 0) {
    terminal.warn(
      `${count(nowhere, 'file is', 'files are')} in no bucket: lost, or removed elsewhere. "vault rm <hash>" takes ${nowhere === 1 ? 'it' : 'each'} off the list.`,
      { kind: 'lost' },
    );
  }
  if (lost === 0) return nowhere > 0 ? DAMAGED : result.tooNew > 0 ? TOO_OLD : ATTENTION;
  terminal.warn(
    `${count(lost, 'file is', 'files are')} lost: too little is left of ${lost === 1 ? 'it' : 'them'}. If you have the same content elsewhere, put it again: that heals every file that shares it.${hasLostManifests(result) ? ' One whose manifests are lost stays so: "vault rm <hash>" takes it off the list.' : ''}`,
    { kind: 'lost' },
  );
  return DAMAGED;
}

/** Whether all that is against a file is that only a newer version can judge it: that is told by objects. */
function isTooNew({ condition, problems }: FileCondition): boolean {
  return condition === 'unknown' && problems.every(({ problem }) => problem === 'too-new');
}

/** Whether all that is against a file is that the catalog hides or lacks it: that is told of the catalog. */
function isRecordOnly({ problems }: FileCondition): boolean {
  return problems.every(({ what, problem }) => what === 'record' && problem !== 'damaged');
}

/** Whether a file is lost for want of its manifest, which nothing that is put again brings back. */
function hasLostManifests(result: VerifyResult): boolean {
  return result.affected.some(
    (file) =>
      file.condition === 'lost' &&
      file.problems.some(({ what }) => what === 'manifest') &&
      !isNowhere(file, result),
  );
}

/** Warns of files that only the buckets knew. @returns the exit code */
export function warnOfUnlisted(terminal: Invocation['terminal'], files: number, dryRun: boolean): ExitCode {
  if (files === 0) return DONE;
  terminal.warn(
    `The buckets hold ${count(files, 'file')} that the catalog did not know; "vault ls" lists ${files === 1 ? 'it' : 'them'} ${dryRun ? 'after "vault sync"' : 'now'}. Has an old copy of the catalog, or of a bucket, been put back?`,
    { kind: 'unknown-files' },
  );
  return ATTENTION;
}

/** What there is to say of buckets that take nothing new, since they are to go: nobody else ends that. */
export function describeLeaving(buckets: readonly Pick<BucketCondition, 'url' | 'state'>[]): string[] {
  return buckets.flatMap(({ url, state }) =>
    state === 'active'
      ? []
      : [
          `${showName(url)} is being taken out of the vault, or that was cut short: "vault bucket rm ${typedWord(url)}" ends it.`,
        ],
  );
}

/** Whether no bucket has a manifest of a file: it may be lost, and somebody may have removed it long ago. */
function isNowhere({ problems }: FileCondition, { buckets }: VerifyResult): boolean {
  const missing = problems.filter(({ what, problem }) => what === 'manifest' && problem === 'missing');
  return missing.length === buckets.length;
}

/** Where the catalog says other than the buckets. */
function disagreements(result: VerifyResult): string[] {
  const { filesUnlisted, filesHidden, filesShown, tooNew } = result;
  const changed = filesUnlisted + filesHidden + filesShown;
  return [
    ...(changed > 0
      ? [
          `The catalog disagreed with the buckets about ${count(changed, 'file')}. Another machine may have stored or removed what it says otherwise; if none has, it is an old copy, or was changed.`,
        ]
      : []),
    ...(tooNew > 0 ? [`${count(tooNew, 'object')} can only be judged by a newer version: use one.`] : []),
  ];
}

function describeDegraded(degraded: number, unknown: number, advice: string): string {
  const parts = [
    ...(degraded > 0
      ? [`${count(degraded, 'file is', 'files are')} not whole but can be read. ${advice}`]
      : []),
    ...(unknown > 0
      ? [`${count(unknown, 'file', 'files')} could not be checked completely, since a bucket did not answer.`]
      : []),
  ];
  return parts.join(' ');
}
