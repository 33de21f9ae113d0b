import { dirname, isAbsolute, join, resolve } from 'node:path';
import { invalidInput, isFailure, isVaultError } from '../../errors.ts';
import { isDatabaseUrl } from '../../catalog/location.ts';
import { typedWord } from '../../shell-word.ts';
import type { Compression } from '../../format/keyring.ts';
import { formatRedundancy, type Redundancy } from '../../format/shard.ts';
import { defaultRedundancy } from '../../vault/manage/create.ts';
import type { Vault } from '../../vault/vault.ts';
import { DONE, type ExitCode } from '../exit.ts';
import { bucketUrlOf, surroundings, type Invocation } from '../arguments/invocation.ts';
import { workingFolder } from '../arguments/intact.ts';
import {
  catalogLocation,
  expandHome,
  ifGiven,
  parseCompression,
  parseRedundancyOption,
  parseSize,
  type Flags,
  type SharedOptions,
} from '../arguments/options.ts';
import { expectQuestion, passwordSource, readNewPassword } from '../arguments/password.ts';
import { askForChoice, askForText } from '../terminal/prompt.ts';
import { reportError } from '../terminal/report.ts';
import { count, showLines } from '../terminal/text.ts';
import { createVault, probeBucket, requireNoFiles } from '../../compose.ts';

export type InitFlags = Flags<'redundancy' | 'chunkSize' | 'compression', 'local', 'bucket'>;

/** What a new vault is made of; redundancy null for the usual one. */
interface Plan {
  readonly buckets: readonly string[];
  readonly redundancy: Redundancy | null;
  /** Bytes, and how to compress; undefined for the usual. */
  readonly chunkSize: number | undefined;
  readonly compression: Compression | undefined;
}

/** Folder buckets that `--local` makes. */
const LOCAL_BUCKETS = ['bucket-1', 'bucket-2', 'bucket-3'];

export async function init(invocation: Invocation, flags: InitFlags): Promise<ExitCode> {
  const { options, environment, interactive, terminal, output } = invocation;
  const db = catalogLocation(options, environment);
  const redundancy = ifGiven(flags.redundancy, parseRedundancyOption, '--redundancy') ?? null;
  const defaults = {
    chunkSize: ifGiven(flags.chunkSize, parseSize, '--chunk-size'),
    compression: ifGiven(flags.compression, parseCompression, '--compression'),
  };
  const given = givenBuckets(flags, db);
  if (given.length === 0 && !interactive) {
    throw invalidInput(
      'Where should the shards go? Use --bucket <folder, gs:// or s3:// URL> once for every bucket, or --local to try vault out with three folders on this machine.',
    );
  }
  // What is missing is said before the first question.
  passwordSource({ options, environment, interactive, purpose: 'choose' });
  const vault = await (given.length > 0
    ? make(invocation, { buckets: given, redundancy, ...defaults }, passwordOnce(invocation))
    : askAndMake(invocation, { redundancy, ...defaults }));
  try {
    const buckets = vault.buckets.map(({ url }) => url);
    const made = { vaultId: vault.id, redundancy: formatRedundancy(vault.redundancy), buckets };
    if (options.json === true) await output.json(made);
    terminal.summary(null, { buckets: buckets.length });
    terminal.note(summary({ buckets, redundancy: vault.redundancy, given: invocation.settled.given }));
  } finally {
    await vault.close();
  }
  return DONE;
}

async function make(invocation: Invocation, plan: Plan, password: () => Promise<string>): Promise<Vault> {
  expectQuestion({ ...invocation, purpose: 'choose' });
  return createVault({
    ...surroundings(invocation, plan.buckets),
    db: catalogLocation(invocation.options, invocation.environment),
    ...plan,
    password,
  });
}

/** Asks where the vault is to be, and makes it. If that fails, no answer is lost. */
async function askAndMake(invocation: Invocation, given: Omit<Plan, 'buckets'>): Promise<Vault> {
  const password = passwordOnce(invocation);
  // Nobody shall answer questions for a catalog that cannot be.
  await requireNoFiles({
    ...surroundings(invocation),
    db: catalogLocation(invocation.options, invocation.environment),
    password,
  });
  let previous: readonly string[] = [];
  for (;;) {
    const plan = await askForPlan(invocation, given, previous);
    try {
      return await make(invocation, plan, password);
    } catch (error) {
      if (!isFailure(error) || invocation.signal.aborted) throw error;
      reportError(error, invocation);
      const again = await askForChoice(
        {
          message: 'Nothing was made. Try again?',
          choices: [
            { value: true, name: 'yes, and look at the buckets once more' },
            { value: false, name: 'no' },
          ],
          usual: true,
        },
        invocation,
      );
      if (!again) throw error;
      previous = plan.buckets;
    }
  }
}

/** Gets the password when it is needed, and asks for it once. */
function passwordOnce(invocation: Invocation): () => Promise<string> {
  let password: Promise<string> | null = null;
  return async () => (password ??= readNewPassword({ ...invocation, purpose: 'choose' }));
}

function givenBuckets({ local, bucket = [] }: InitFlags, db: string): readonly string[] {
  if (local !== true) return bucket;
  if (bucket.length > 0) {
    throw invalidInput('Use --local or --bucket, not both: --local makes its own folders.');
  }
  if (isDatabaseUrl(db)) {
    throw invalidInput(
      '--local puts its folders beside an SQLite file, and --db or VAULT_DB names a Postgres server. Use --bucket instead.',
    );
  }
  return LOCAL_BUCKETS.map((name) => join(dirname(isAbsolute(db) ? db : resolve(workingFolder(), db)), name));
}

/** @param previous answers of a try that failed, which an empty line keeps */
async function askForPlan(
  invocation: Invocation,
  given: Omit<Plan, 'buckets'>,
  previous: readonly string[],
): Promise<Plan> {
  process.stderr.write(
    'Where should the shards go? Name the buckets one by one: a folder, gs://bucket/prefix or s3://bucket/prefix.\n' +
      'Three buckets in different places survive the loss of any one of them. An empty line ends the list.\n',
  );
  const buckets: string[] = [];
  for (;;) {
    const answer = await askForText(
      {
        message: `Bucket ${buckets.length + 1}:`,
        check: async (text) => checkBucket(text, buckets, invocation),
        usual: previous[buckets.length] ?? null,
      },
      invocation,
    );
    if (answer.trim() === '') break;
    buckets.push(await bucketUrlOf(typedBucket(answer, invocation)));
  }
  const redundancy = given.redundancy ?? (await askForRedundancy(buckets.length, invocation));
  return { ...given, buckets, redundancy };
}

function typedBucket(text: string, { environment }: Invocation): string {
  return expandHome(text.trim(), environment);
}

/** Looks at an answer at once: whether it names a bucket, which is none of those before, can be reached, and is in no vault. */
async function checkBucket(
  text: string,
  before: readonly string[],
  invocation: Invocation,
): Promise<true | string> {
  if (text.trim() === '') return before.length > 0 || 'A vault needs at least one bucket.';
  try {
    const place = typedBucket(text, invocation);
    const url = await probeBucket(place, surroundings(invocation, [place]));
    return !before.includes(url) || 'That one is in the list already.';
  } catch (error) {
    if (!isVaultError(error)) throw error;
    return showLines(error.message);
  }
}

async function askForRedundancy(buckets: number, invocation: Invocation): Promise<Redundancy> {
  const choices = redundancyChoices(buckets);
  const [only] = choices;
  if (only !== undefined && choices.length === 1) return only;
  return askForChoice(
    {
      message: 'How many buckets may be lost?',
      choices: choices.map((value) => ({ value, name: describeRedundancy(value, buckets) })),
      usual: choices.find((choice) => sameRedundancy(choice, defaultRedundancy(buckets))),
    },
    invocation,
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
function summary(made: {
  /** What the next command has to be told, too. */
  readonly given: Pick<SharedOptions, 'vault' | 'db'>;
  readonly redundancy: Redundancy;
  readonly buckets: readonly string[];
}): string {
  const { k, m } = made.redundancy;
  const survives =
    m === 0
      ? 'losing any bucket loses files'
      : `any ${m === 1 ? 'one bucket' : count(m, 'bucket')} may be lost, down or damaged`;
  const { vault: name, db } = made.given;
  const vault = name === undefined ? '' : ` --vault ${typedWord(name)}`;
  const catalog = db === undefined ? '' : ` --db ${isDatabaseUrl(db) ? '<url>' : typedWord(db)}`;
  return [
    `Made a vault with ${count(made.buckets.length, 'bucket')} and redundancy ${k}+${m}: ${survives}.`,
    ...made.buckets.map((url) => `  ${url}`),
    '',
    'Keep the password and this list of buckets in a safe place. They are all it takes to get everything',
    'back, even if this machine is gone; without the password nobody can, not even you.',
    '',
    `Next: vault${vault}${catalog} put <path>`,
  ].join('\n');
}
