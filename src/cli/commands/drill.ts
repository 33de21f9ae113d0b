import { tmpdir } from 'node:os';
import { VaultError } from '../../errors.ts';
import { ATTENTION, exitCodeOf, worst, type ExitCode } from '../exit.ts';
import { noted, surroundings, warnTo, withVault, type Invocation } from '../arguments/invocation.ts';
import { ifGiven, parseCount, parseFraction, type Flags } from '../arguments/options.ts';
import { PASSWORD_TRIES, readPassword } from '../arguments/password.ts';
import { reportError } from '../terminal/report.ts';
import { describeUnknown, recoveredAsJson } from './recover.ts';
import { count, grouped, quote, showDuration, showSize } from '../terminal/text.ts';
import { drillVault, type DrillReport } from '../../compose.ts';

export type DrillFlags = Flags<'files' | 'sample', never, 'bucket'>;

interface Plan {
  readonly buckets: readonly string[];
  readonly files: number;
  readonly sample: number | undefined;
  readonly password: (refused: VaultError | null) => Promise<string>;
}

const USUAL_FILES = 10;
const MAX_FILES = 1_000_000;

/**
 * `vault drill`: restores random files from the buckets and the password alone, and throws them away. Where the buckets are is all
 * that is taken from the catalog, which learns how it went; with `--bucket` not even that.
 */
export async function drill(invocation: Invocation, flags: DrillFlags): Promise<ExitCode> {
  const { terminal } = invocation;
  const sample = ifGiven(flags.sample, parseFraction, '--sample');
  const usual = sample === undefined ? USUAL_FILES : 1;
  const files = parseCount(flags.files ?? String(usual), '--files', { min: 1, max: MAX_FILES });
  const { bucket: buckets = [] } = flags;
  if (buckets.length > 0) {
    const request = { ...invocation, purpose: 'enter' } as const;
    let last = await readPassword(request);
    const password: Plan['password'] = async (refused) => {
      if (refused !== null) last = await terminal.asking(async () => readPassword({ ...request, refused }));
      return last;
    };
    return run(invocation, { buckets, files, sample, password });
  }
  let right = '';
  return withVault(
    invocation,
    noted(invocation, 'drill', async (vault) =>
      run(invocation, {
        buckets: vault.buckets.map(({ url }) => url),
        files,
        sample,
        password: async () => right,
      }),
    ),
    (password) => (right = password),
  );
}

async function run(invocation: Invocation, { buckets, files, sample, password }: Plan): Promise<ExitCode> {
  const { terminal } = invocation;
  const report = await terminal.withProgress('Rebuilding the catalog', async (tell) =>
    drillVault({
      ...surroundings(invocation, buckets),
      buckets,
      files,
      ...(sample !== undefined && { sample }),
      password,
      passwordTries: PASSWORD_TRIES,
      folder: tmpdir(),
      onWarning: warnTo(terminal),
      onProgress: (progress) => tell({ label: 'Restoring', ...progress }),
    }),
  );
  return conclude(invocation, report);
}

async function conclude(invocation: Invocation, report: DrillReport): Promise<ExitCode> {
  const { output, options, terminal } = invocation;
  const { files, entries, bytes, locked, failures, recovered } = report;
  const { unreadableManifests, unknown, unusable } = recovered;
  const found = recovered.learned - recovered.hidden;
  const facts = { files, failed: failures.length, entries, bytes, locked, found };
  if (options.json === true) {
    await output.json({
      ...facts,
      failures: failures.map(({ hash, name, error }) => ({
        hash,
        name,
        error: { code: error.code, message: error.message, exit: exitCodeOf(error) },
      })),
      ...recoveredAsJson(recovered),
    });
  }
  const codes: ExitCode[] = [];
  const attention = (message: string, kind: string, bucket: string | null = null): void => {
    // Reading the files may have met the same bucket.
    const topic = bucket === null ? message : `down ${bucket}`;
    terminal.warn(message, { kind, ...(bucket !== null && { bucket }) }, topic);
    codes.push(ATTENTION);
  };
  for (const { url, message } of unusable) {
    attention(`${url} could not be used: ${message}`, 'bucket-down', url);
  }
  if (unknown.length > 0) attention(describeUnknown(unknown), 'unknown-files');
  const errors = failures.map(
    ({ name, error }) => new VaultError(error.code, `${quote(name)} was not restored. ${error.message}`),
  );
  if (unreadableManifests.length > 0) {
    const which = count(unreadableManifests.length, 'file');
    errors.push(new VaultError('damaged', `${which} cannot be read from these buckets: "vault verify".`));
  }
  for (const error of errors) {
    reportError(error, invocation);
    codes.push(exitCodeOf(error));
  }
  const tried = files + failures.length;
  if (tried === 0) attention('Nothing was restored: there is no file that this password opens.', 'nothing');
  const some = entries > 0 ? ` (${count(entries, 'file')} of the folders)` : '';
  terminal.summary(
    `Restored ${grouped(files)} of ${count(tried, 'file')}${some}, ${showSize(bytes)}, from the buckets and the password alone in ${showDuration(terminal.elapsedMs)}. Nothing of it was kept.`,
    facts,
  );
  return worst(codes);
}
