import { VaultError } from '../../errors.ts';
import type { FileInfo } from '../../vault/vault.ts';
import { fileAsJson, shortHash } from '../terminal/describe.ts';
import type { ExitCode } from '../exit.ts';
import { ATTENTION, DONE } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { surroundings, warnOfFile, warnTo } from '../arguments/invocation.ts';
import { catalogLocation } from '../arguments/options.ts';
import { readPassword } from '../arguments/password.ts';
import { Table } from '../terminal/table.ts';
import { styleFor } from '../terminal/terminal.ts';
import { count, showName } from '../terminal/text.ts';

export interface RecoverFlags {
  readonly bucket?: readonly string[];
}

/** `vault recover`: rebuilds the catalog from the buckets, and prints the files that are not whole. */
export async function recover(invocation: Invocation, flags: RecoverFlags): Promise<ExitCode> {
  const { output, options, environment, terminal } = invocation;
  const { bucket = [] } = flags;
  if (bucket.length === 0) {
    throw new VaultError(
      'invalid-input',
      'Say --bucket <folder, gs:// or s3:// URL> once for every bucket of the vault that can still be had.',
    );
  }
  const around = surroundings(invocation, bucket);
  const { recoverVault } = await import('../../compose.ts');
  const password = await readPassword({ ...invocation, purpose: 'enter', warn: warnOfFile(terminal) });
  const result = await terminal.withProgress('Recovering', async (report) =>
    recoverVault({
      ...around,
      db: catalogLocation(options, environment),
      buckets: bucket,
      password: () => Promise.resolve(password),
      onWarning: warnTo(terminal),
      onProgress: (progress) => report({ label: 'Recovering', ...progress }),
    }),
  );
  const { complete, degraded, lost, known, unreadableManifests, unusable } = result;
  if (options.json === true) {
    await output.json({ ...result, degraded: degraded.map(fileAsJson), lost: lost.map(fileAsJson) });
  } else {
    await printFiles(invocation, { degraded, lost });
  }
  terminal.note(
    `The catalog has ${count(complete + degraded.length + lost.length + known, 'file')} now${known > 0 ? `, ${known.toLocaleString('en-US')} of which it had before` : ''}. "vault ls" lists them.`,
  );
  for (const { url, message } of unusable) {
    terminal.warn(`${url} could not be used: ${message}`, { kind: 'bucket-down', bucket: url });
  }
  if (degraded.length > 0) {
    terminal.warn(
      `${count(degraded.length, 'file lacks', 'files lack')} some pieces and can be read. "vault repair" completes ${degraded.length === 1 ? 'it' : 'them'}; if a bucket was left out, run "vault recover" with it as well first.`,
      { kind: 'degraded' },
    );
  }
  const beyond = lost.length + unreadableManifests.length;
  if (beyond > 0) {
    throw new VaultError(
      'damaged',
      `${count(beyond, 'file')} cannot be read from these buckets. If a bucket was left out or was down, run "vault recover" again with it.`,
    );
  }
  return degraded.length + unusable.length > 0 ? ATTENTION : DONE;
}

async function printFiles(
  { output, environment }: Invocation,
  groups: { readonly degraded: readonly FileInfo[]; readonly lost: readonly FileInfo[] },
): Promise<void> {
  const rows = [
    ...groups.lost.map(({ hash, name }) => [shortHash(hash), 'lost', showName(name)]),
    ...groups.degraded.map(({ hash, name }) => [shortHash(hash), 'degraded', showName(name)]),
  ];
  if (rows.length === 0) return;
  const style = styleFor(process.stdout, environment);
  const table = new Table(
    [
      { heading: 'HASH', align: 'left' },
      { heading: 'CONDITION', align: 'left' },
      { heading: 'NAME', align: 'left' },
    ],
    { width: output.width, styleHeading: (line) => style('bold', line) },
  );
  await output.write(table.page(rows));
}
