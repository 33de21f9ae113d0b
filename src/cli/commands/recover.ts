import { invalidInput, type VaultError } from '../../errors.ts';
import type { SyncResult } from '../../vault/recover/recover.ts';
import { ATTENTION, DAMAGED, DONE, type ExitCode } from '../exit.ts';
import { surroundings, withProgress, type Invocation } from '../arguments/invocation.ts';
import { catalogLocation, type Flags } from '../arguments/options.ts';
import { expectQuestion, PASSWORD_TRIES, readTriedPassword, refusalOf } from '../arguments/password.ts';
import { giveTyped } from '../terminal/typed-ahead.ts';
import { count, grouped } from '../terminal/text.ts';
import { recoverVault } from '../../compose.ts';

export type RecoverFlags = Flags<never, 'dryRun', 'bucket'>;

/** What could not be looked at. */
export function recoveredAsJson({
  unreadableManifests,
  unknown,
  unusable,
}: SyncResult): Record<string, unknown> {
  return {
    unreadableManifests,
    filesUnknown: unknown,
    unusable: unusable.map(({ url, message }) => ({ url, error: message })),
  };
}

export function warnOfUnusable(
  terminal: Invocation['terminal'],
  unusable: SyncResult['unusable'],
  advice = '',
): void {
  for (const { url, message } of unusable) {
    terminal.warn(`${url} could not be used: ${message}${advice}`, { kind: 'bucket-down', bucket: url });
  }
}

/** What there is to say of files that could not be looked into. */
export function describeUnknown({ length }: readonly string[]): string {
  return `${count(length, 'file')} could not be looked at now, or only by a newer version.`;
}

/** `vault recover`: rebuilds the catalog from the buckets, from what the buckets list. */
export async function recover(invocation: Invocation, flags: RecoverFlags): Promise<ExitCode> {
  const { output, options, environment, terminal } = invocation;
  const { bucket = [], dryRun = false } = flags;
  if (bucket.length === 0) {
    throw invalidInput(
      'Use --bucket <folder, gs:// or s3:// URL> for each bucket of the vault that you still have.',
    );
  }
  const around = surroundings(invocation, bucket);
  const request = { ...invocation, purpose: 'enter' } as const;
  const ask = async (refused: VaultError | null): Promise<string> => {
    expectQuestion(request);
    return readTriedPassword({ ...request, refused });
  };
  // Before anything is made: without a password there is nothing to begin.
  const first = await ask(null);
  if (!dryRun)
    invocation.interruption.kept = () => 'What was rebuilt stays: the same command goes on from there.';
  const result = await withProgress(invocation, 'Recovering', async (call) =>
    recoverVault({
      ...call,
      ...around,
      db: catalogLocation(options, environment),
      buckets: bucket,
      dryRun,
      passwordTries: PASSWORD_TRIES,
      password: async (refused) => (refused === null ? first : terminal.asking(async () => ask(refused))),
      onProgress(progress) {
        giveTyped({ shown: true });
        call.onProgress?.(progress);
      },
    }),
  ).catch((error: unknown) => {
    throw refusalOf(error, request, 'the buckets given do not know it yet: give more of the vault’s buckets');
  });
  const { vaultId, learned, known, hidden, unreadableManifests, missing, unknown, unusable } = result;
  const facts = { filesLearned: learned, filesKnown: known, removed: hidden, dryRun };
  if (options.json === true) {
    await output.json({
      vaultId,
      ...facts,
      filesMissing: missing,
      ...recoveredAsJson(result),
    });
  }
  const removed = hidden > 0 ? ` ${count(hidden, 'removed file')} can still be brought back.` : '';
  const advice = dryRun ? ' Nothing was changed.' : ' "vault ls" lists them, "vault verify" checks them.';
  terminal.summary(
    `The catalog ${dryRun ? 'would have' : 'has'} ${count(learned + known - hidden, 'file')}${dryRun ? '' : ' now'}${known > 0 ? `; ${grouped(known)} it had before${hidden > 0 ? ', removed ones among them' : ''}` : ''}.${removed}${advice}`,
    facts,
  );
  warnOfUnusable(terminal, unusable);
  if (missing.length > 0) {
    terminal.warn(
      `The catalog lists ${count(missing.length, 'file')} that none of these buckets has: lost, or removed elsewhere. "vault verify" names ${missing.length === 1 ? 'it' : 'them'}.`,
      { kind: 'missing-files' },
    );
  }
  if (unknown.length > 0) terminal.warn(describeUnknown(unknown), { kind: 'unknown-files' });
  if (unreadableManifests.length > 0) {
    terminal.warn(
      `${count(unreadableManifests.length, 'file')} cannot be read from these buckets. If a bucket was left out or was down, run "vault recover" again with it.`,
      { kind: 'lost' },
    );
    return DAMAGED;
  }
  return unusable.length + missing.length + unknown.length > 0 ? ATTENTION : DONE;
}
