import { dirname, join, resolve } from 'node:path';
import { VaultError } from '../../errors.ts';
import type { Redundancy } from '../../format/shard.ts';
import { formatRedundancy } from '../../format/shard.ts';
import { defaultRedundancy } from '../../vault/manage/create.ts';
import type { ExitCode } from '../exit.ts';
import { DONE } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { surroundings, warnOfFile } from '../arguments/invocation.ts';
import { catalogLocation, isPostgresUrl, parseRedundancyOption } from '../arguments/options.ts';
import { passwordSource, readPassword } from '../arguments/password.ts';
import { ask } from '../terminal/prompt.ts';
import { count, quote } from '../terminal/text.ts';

export interface InitFlags {
  readonly local?: boolean;
  readonly bucket?: readonly string[];
  readonly redundancy?: string;
}

/** What a new vault is made of; redundancy null for the usual one. */
interface Plan {
  readonly buckets: readonly string[];
  readonly redundancy: Redundancy | null;
}

/** Folder buckets that `--local` makes. */
const LOCAL_BUCKETS = ['bucket-1', 'bucket-2', 'bucket-3'];

/** `vault init`: makes a vault. */
export async function init(invocation: Invocation, flags: InitFlags): Promise<ExitCode> {
  const { options, environment, interactive, signal, terminal, output } = invocation;
  const db = catalogLocation(options, environment);
  const around = surroundings(invocation);
  const redundancy =
    flags.redundancy === undefined ? null : parseRedundancyOption(flags.redundancy, '--redundancy');
  const given = givenBuckets(flags, db);
  if (given.length === 0 && !interactive) {
    throw new VaultError(
      'invalid-input',
      'Where should the shards go? Say --bucket <folder, gs:// or s3:// URL> once for every bucket, or --local to try vault out with three folders on this machine.',
    );
  }
  // What is missing is said before the first question.
  passwordSource({ options, environment, interactive, purpose: 'choose' });
  const plan = given.length > 0 ? { buckets: given, redundancy } : await askForPlan(redundancy, signal);
  const { createVault } = await import('../../compose.ts');
  const vault = await createVault({
    db,
    buckets: plan.buckets,
    redundancy: plan.redundancy,
    password: async () => readPassword({ ...invocation, purpose: 'choose', warn: warnOfFile(terminal) }),
    ...around,
  });
  try {
    const buckets = vault.buckets().map(({ url }) => url);
    const made = { id: vault.id, redundancy: formatRedundancy(vault.redundancy), buckets };
    if (options.json === true) await output.json(made);
    terminal.note(farewell({ buckets, redundancy: vault.redundancy, db: options.db ?? null }));
  } finally {
    await vault.close();
  }
  return DONE;
}

function givenBuckets({ local, bucket = [] }: InitFlags, db: string): readonly string[] {
  if (local !== true) return bucket;
  if (bucket.length > 0) {
    throw new VaultError(
      'invalid-input',
      'Say --local or --bucket, not both: --local makes its own folders.',
    );
  }
  if (isPostgresUrl(db)) {
    throw new VaultError(
      'invalid-input',
      '--local puts its folders beside a SQLite file, and --db or VAULT_DB names a Postgres server. Say --bucket instead.',
    );
  }
  return LOCAL_BUCKETS.map((name) => join(dirname(resolve(db)), name));
}

async function askForPlan(redundancy: Redundancy | null, signal: AbortSignal): Promise<Plan> {
  process.stderr.write(
    'Where should the shards go? Name the buckets one by one: a folder, gs://bucket/prefix or s3://bucket/prefix.\n' +
      'Three buckets in different places survive the loss of any one of them. An empty line ends the list.\n',
  );
  const buckets: string[] = [];
  for (;;) {
    const answer = await ask(signal, async ({ input }, context) =>
      input(
        {
          message: `Bucket ${buckets.length + 1}:`,
          validate: (text) => {
            if (text.trim() === '') return buckets.length > 0 || 'A vault needs at least one bucket.';
            return !buckets.includes(text.trim()) || 'That one is in the list already.';
          },
        },
        context,
      ),
    );
    if (answer.trim() === '') break;
    buckets.push(answer.trim());
  }
  return { buckets, redundancy: redundancy ?? (await askForRedundancy(buckets.length, signal)) };
}

async function askForRedundancy(buckets: number, signal: AbortSignal): Promise<Redundancy> {
  const choices = redundancyChoices(buckets);
  const [only] = choices;
  if (only !== undefined && choices.length === 1) return only;
  const usual = choices.find((choice) => sameRedundancy(choice, defaultRedundancy(buckets)));
  return ask(signal, async ({ select }, context) =>
    select(
      {
        message: 'How many buckets may be lost?',
        choices: choices.map((value) => ({ value, name: describeRedundancy(value, buckets) })),
        ...(usual !== undefined && { default: usual }),
      },
      context,
    ),
  );
}

/** What makes sense for a number of buckets: none, one, two ... of them may be lost, up to half. */
export function redundancyChoices(buckets: number): Redundancy[] {
  const choices: Redundancy[] = [];
  for (let m = 0; m <= Math.min(3, buckets - 1); m += 1) {
    const k = m === 0 ? 1 : Math.max(1, Math.min(buckets - m, 2 * m));
    if (k < m) break;
    choices.push({ k, m });
  }
  return choices;
}

function describeRedundancy({ k, m }: Redundancy, buckets: number): string {
  const factor = (k + m) / k;
  const space = `takes ${Number.isInteger(factor) ? factor : factor.toFixed(2)} times the space`;
  if (m === 0) return `none   ${k}+${m}, ${space}; losing any bucket loses files`;
  const isDefault = sameRedundancy({ k, m }, defaultRedundancy(buckets));
  return `any ${m}  ${k}+${m}, ${space}${isDefault ? ' (usual)' : ''}`;
}

function sameRedundancy(a: Redundancy, b: Redundancy): boolean {
  return a.k === b.k && a.m === b.m;
}

/** What a person should know who has just made a vault. */
function farewell(made: {
  /** As given with --db; null if the next command finds the catalog without being told. */
  readonly db: string | null;
  readonly redundancy: Redundancy;
  readonly buckets: readonly string[];
}): string {
  const { k, m } = made.redundancy;
  const survives =
    m === 0
      ? 'losing any bucket loses files'
      : `any ${m === 1 ? 'one bucket' : count(m, 'bucket')} may be lost, down or damaged`;
  const db = made.db === null ? '' : isPostgresUrl(made.db) ? ' --db <url>' : ` --db ${quote(made.db)}`;
  return [
    `Made a vault with ${count(made.buckets.length, 'bucket')} and redundancy ${k}+${m}: ${survives}.`,
    ...made.buckets.map((url) => `  ${url}`),
    '',
    'Keep the password and this list of buckets in a safe place. They are all it takes to get everything',
    'back, even if this machine is gone; without the password nobody can, not even you.',
    '',
    `Next: vault put${db} <path>`,
  ].join('\n');
}
