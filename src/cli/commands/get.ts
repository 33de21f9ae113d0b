import { lstat, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { isVaultError, VaultError } from '../../errors.ts';
import { restoreFile } from '../../vault/read/restore.ts';
import type { StoredFile } from '../../vault/read/get.ts';
import type { Vault } from '../../vault/vault.ts';
import { fileAsJson } from '../terminal/describe.ts';
import type { ExitCode } from '../exit.ts';
import { exitCodeOf, gravest } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { warnOfFile, warnTo, withVault } from '../arguments/invocation.ts';
import type { PasswordRequest } from '../arguments/password.ts';
import { meansSeveral, quotingAdvice, withFilesMeant } from '../arguments/references.ts';
import type { ProgressReport } from '../terminal/progress.ts';
import { reportError } from '../terminal/report.ts';
import { count, quote, showName, showSize } from '../terminal/text.ts';

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

/** Bytes by which a text is told. */
const LOOKED_AT = 64 * 1024;

/** Where the bytes go. */
type Target =
  | { readonly kind: 'stdout' }
  | { readonly kind: 'folder'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string };

/**
 * `vault get`: writes files, each whole and verified, or pours them into standard output one after the other. Of several into a
 * folder, one that fails stops no other.
 */
export async function get(
  invocation: Invocation,
  references: readonly string[],
  flags: GetFlags,
): Promise<ExitCode> {
  const { output, options } = invocation;
  const existing = flags.force === true ? 'replace' : 'refuse';
  const several = meansSeveral(references);
  const target = await targetOf(flags.output ?? '.', { existing, several });
  if (target.kind === 'stdout' && options.json === true) {
    throw new VaultError(
      'invalid-input',
      "--json and a file's bytes both want standard output. Choose one of them.",
    );
  }
  if (target.kind === 'stdout') output.requireOpen();
  return withVault(invocation, async (vault) =>
    withFilesMeant(vault, { verb: 'get', references }, async (meant) => {
      const codes: ExitCode[] = [];
      const written = new Map<string, StoredFile>();
      const unknown: string[] = [];
      let bytes = 0;
      invocation.interruption.kept = () =>
        several && written.size > 0
          ? `${written.size.toLocaleString('en-US')} of ${count(meant.length, 'file')} are written, each whole.`
          : null;
      for (const reference of meant) {
        try {
          bytes += await getOne(invocation, vault, { reference, target, existing, written, flags });
        } catch (error) {
          if (!several || target.kind === 'stdout' || !isOfOneFile(error)) throw error;
          if (isVaultError(error, 'file-not-found')) unknown.push(reference);
          codes.push(exitCodeOf(error));
          reportError(error, invocation);
        }
      }
      const advice = await quotingAdvice('get', unknown);
      if (advice !== null) invocation.terminal.warn(advice, { kind: 'pattern' });
      const files = meant.length - codes.length;
      const described = `Wrote ${count(files, 'file')}, ${showSize(bytes)}.`;
      invocation.terminal.summary(
        target.kind === 'stdout' ? (output.isTerminal ? null : described) : several ? described : null,
        { files, failed: codes.length, bytes },
      );
      return gravest(codes);
    }),
  );
}

/** Whether the next file may fare better. */
function isOfOneFile(error: unknown): boolean {
  return isVaultError(
    error,
    'file-not-found',
    'already-exists',
    'invalid-input',
    'damaged',
    'object-missing',
    'unsupported',
    'wrong-password',
  );
}

/** @returns how many bytes were written */
async function getOne(
  invocation: Invocation,
  vault: Vault,
  one: {
    readonly reference: string;
    readonly target: Target;
    readonly existing: 'refuse' | 'replace';
    /** What this command has written, by path. */
    readonly written: Map<string, StoredFile>;
    readonly flags: GetFlags;
  },
): Promise<number> {
  const { output, options, terminal, signal } = invocation;
  const { target, existing, written } = one;
  const onWarning = warnTo(terminal);
  const { readPassword, PASSWORD_TRIES } = await import('../arguments/password.ts');
  const file = await vault.get(one.reference, {
    signal,
    onWarning,
    lockPasswordTries: PASSWORD_TRIES,
    lockPassword: ({ name }, refused) =>
      readPassword({ ...lockRequest(invocation, one.flags, name), refused }),
  });
  if (target.kind === 'stdout') {
    await pour(file, invocation, existing === 'replace');
    return file.contentSize;
  }
  const path = target.kind === 'folder' ? join(target.path, baseNameOf(file.name)) : target.path;
  const other = written.get(path);
  if (other?.hash === file.hash) return 0;
  if (other !== undefined) {
    throw new VaultError(
      'already-exists',
      `${quote(path)} is ${quote(other.name)} now, and ${quote(file.name)} would replace it. Get that one by itself, with -o <path>.`,
    );
  }
  await terminal.withProgress(file.name, async (report) =>
    restoreFile(file, path, {
      existing,
      signal,
      onWarning,
      onProgress: (progress) => report({ label: file.name, ...progress }),
    }),
  );
  written.set(path, file);
  if (options.json === true) await output.json({ ...fileAsJson(file), path });
  terminal.note(`Wrote ${showName(path)} (${showSize(file.contentSize)}).`);
  return file.contentSize;
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
 * @throws `already-exists`; `invalid-input` if it cannot be written to
 */
async function targetOf(
  path: string,
  { existing, several }: { readonly existing: 'refuse' | 'replace'; readonly several: boolean },
): Promise<Target> {
  if (path === '-') return { kind: 'stdout' };
  if (path === '') throw new VaultError('invalid-input', '-o needs a path, or "-" for standard output.');
  const found = await stat(path).catch(() => null);
  if (found?.isDirectory() === true) return { kind: 'folder', path };
  if (several) {
    throw new VaultError(
      'invalid-input',
      `Several files need a folder, and ${quote(path)} is none. Make it, or say another one with -o <folder>.`,
    );
  }
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

/** Whether bytes are the beginning of a text that a terminal shows. */
function isText(bytes: Uint8Array): boolean {
  if (bytes.includes(0)) return false;
  try {
    // A character that is cut short at the end is none that is wrong.
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}

/** Writes the content to standard output, with progress unless that would be written into what is shown. */
async function pour(
  file: StoredFile,
  { output, terminal, signal }: Invocation,
  anyway: boolean,
): Promise<void> {
  let looked = anyway || !output.isTerminal;
  const work = async (report: ProgressReport): Promise<void> => {
    const content = file.content({
      signal,
      onWarning: warnTo(terminal),
      onProgress: (progress) => report({ label: file.name, ...progress }),
    });
    for await (const bytes of content) {
      if (!looked && !isText(bytes.subarray(0, LOOKED_AT))) {
        throw new VaultError(
          'invalid-input',
          `${quote(file.name)} is no text, and would garble the terminal. Write it to a file with "vault get -o <path>", or say "vault get -o - --force".`,
        );
      }
      looked = true;
      if (await output.write(bytes)) continue;
      throw new VaultError(
        'unavailable',
        'Whoever read standard output has gone before the whole file was written.',
      );
    }
  };
  await (output.isTerminal ? work(() => undefined) : terminal.withProgress(file.name, work));
}
