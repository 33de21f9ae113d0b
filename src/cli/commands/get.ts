import { lstat, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { VaultError } from '../../errors.ts';
import { restoreFile } from '../../vault/read/restore.ts';
import type { StoredFile } from '../../vault/read/get.ts';
import { fileAsJson } from '../terminal/describe.ts';
import type { ExitCode } from '../exit.ts';
import { DONE } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { warnOfFile, warnTo, withVault } from '../arguments/invocation.ts';
import { nameAsTyped } from '../arguments/options.ts';
import type { PasswordRequest } from '../arguments/password.ts';
import type { ProgressReport } from '../terminal/progress.ts';
import { quote, showName, showSize } from '../terminal/text.ts';

export interface GetFlags {
  readonly output?: string;
  readonly force?: boolean;
  readonly lockPasswordFile?: string;
  readonly lockPasswordCommand?: string;
}

/** Longest file name that file systems take, in bytes. */
const MAX_BASE_NAME_SIZE = 255;

/** Names of what this process has open, whatever that is: `/dev/stdout` is a link that must not be replaced by a file. */
const OWN_DESCRIPTOR = /^\/dev\/(stdin|stdout|stderr|fd\/.*)$|^\/proc\/[^/]+\/fd\//;

/** Where the bytes go. */
type Target =
  | { readonly kind: 'stdout' }
  | { readonly kind: 'folder'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string };

/** `vault get`: writes one file, whole and verified, or pours it into standard output. */
export async function get(invocation: Invocation, reference: string, flags: GetFlags): Promise<ExitCode> {
  const { output, options, terminal, signal } = invocation;
  const existing = flags.force === true ? 'replace' : 'refuse';
  const target = await targetOf(flags.output ?? '.', existing);
  if (target.kind === 'stdout' && options.json === true) {
    throw new VaultError('invalid-input', '--json and "-o -" both want standard output. Choose one.');
  }
  if (target.kind === 'stdout') output.requireOpen();
  return withVault(invocation, async (vault) => {
    const onWarning = warnTo(terminal);
    const { readPassword, PASSWORD_TRIES } = await import('../arguments/password.ts');
    const file = await vault.get(nameAsTyped(reference), {
      signal,
      onWarning,
      lockPasswordTries: PASSWORD_TRIES,
      lockPassword: ({ name }, refused) => readPassword({ ...lockRequest(invocation, flags, name), refused }),
    });
    if (target.kind === 'stdout') {
      await pour(file, invocation);
      return DONE;
    }
    const path = target.kind === 'folder' ? join(target.path, baseNameOf(file.name)) : target.path;
    await terminal.withProgress(file.name, async (report) =>
      restoreFile(file, path, {
        existing,
        signal,
        onWarning,
        onProgress: (progress) => report({ label: file.name, ...progress }),
      }),
    );
    if (options.json === true) await output.json({ ...fileAsJson(file), path });
    terminal.note(`Wrote ${showName(path)} (${showSize(file.contentSize)}).`);
    return DONE;
  });
}

/** What it takes to get the password of a locked file. */
function lockRequest(
  invocation: Invocation,
  { lockPasswordFile: passwordFile, lockPasswordCommand: passwordCommand }: GetFlags,
  name: string,
): PasswordRequest {
  const options = {
    ...(passwordFile !== undefined && { passwordFile }),
    ...(passwordCommand !== undefined && { passwordCommand }),
  };
  const warn = warnOfFile(invocation.terminal);
  return { ...invocation, options, purpose: 'unlock', file: showName(name), warn };
}

/**
 * Looks at the target before anything is opened or asked.
 *
 * @throws `already-exists`
 */
async function targetOf(path: string, existing: 'refuse' | 'replace'): Promise<Target> {
  if (path === '-') return { kind: 'stdout' };
  if (path === '') throw new VaultError('invalid-input', '-o needs a path, or "-" for standard output.');
  const found = await stat(path).catch(() => null);
  if (found?.isDirectory() === true) return { kind: 'folder', path };
  // A link to nothing is there, too.
  const itself = await lstat(path).catch(() => null);
  if (itself === null) return { kind: 'file', path };
  if ((found !== null && !found.isFile()) || OWN_DESCRIPTOR.test(resolve(path))) {
    // It would be replaced by a file of that name: not what anybody wants of /dev/null.
    throw new VaultError(
      'invalid-input',
      `${quote(path)} is a device or a pipe. Use standard output: "-o - > ${path}".`,
    );
  }
  if (existing === 'refuse') {
    throw new VaultError(
      'already-exists',
      `${quote(path)} exists and was not overwritten. Use --force to replace it.`,
    );
  }
  return { kind: 'file', path };
}

/** The last part of a stored name, if a file can have it; a name never leads out of the folder. */
function baseNameOf(name: string): string {
  const base = basename(name);
  if (base === '' || base === '.' || base === '..' || Buffer.byteLength(base) > MAX_BASE_NAME_SIZE) {
    throw new VaultError(
      'invalid-input',
      `The name ${quote(name)} cannot be that of a file here. Say where to write it with -o <path>.`,
    );
  }
  return base;
}

/** Writes the content to standard output, with progress unless that would be written into what is shown. */
async function pour(file: StoredFile, { output, terminal, signal }: Invocation): Promise<void> {
  const work = async (report: ProgressReport): Promise<void> => {
    const content = file.content({
      signal,
      onWarning: warnTo(terminal),
      onProgress: (progress) => report({ label: file.name, ...progress }),
    });
    for await (const bytes of content) {
      if (await output.write(bytes)) continue;
      throw new VaultError(
        'unavailable',
        'Whoever read standard output has gone before the whole file was written.',
      );
    }
  };
  await (output.isTerminal ? work(() => undefined) : terminal.withProgress(file.name, work));
}
