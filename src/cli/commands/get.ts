import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { invalidInput, isVaultError, VaultError } from '../../errors.ts';
import { restoreFile, type RestorableFile } from '../../vault/read/restore.ts';
import type { Vault } from '../../vault/vault.ts';
import { fileAsJson } from '../../vault/files/as-json.ts';
import { ATTENTION, DONE, exitCodeOf, worst, type ExitCode } from '../exit.ts';
import { warnTo, withVault, type Invocation } from '../arguments/invocation.ts';
import type { Flags } from '../arguments/options.ts';
import { quotingAdvice, withFilesMeant } from '../arguments/references.ts';
import { lookAtTarget } from '../arguments/output-file.ts';
import { WILDCARD } from '../arguments/pattern.ts';
import { collectRarely } from '../../concurrency/heap.ts';
import type { ProgressReport } from '../terminal/progress.ts';
import { reportError } from '../terminal/report.ts';
import { count, grouped, quote, showName, showSize } from '../terminal/text.ts';

import * as tree from './get-folder.ts';
import { findLocked, type LockFlags } from './lock-password.ts';

export type GetFlags = LockFlags & Flags<'output', 'force' | 'owner'>;

/** Longest file name that file systems take, in bytes. */
const MAX_BASE_NAME_SIZE = 255;

/** Bytes of a file that is worth a larger heap. */
const LARGE = 8 * 1024 * 1024;

/** Bytes by which a text is told. */
const LOOKED_AT = 64 * 1024;

/** Where the bytes go. */
type Target =
  | { readonly kind: 'stdout' }
  | { readonly kind: 'folder'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string };

/**
 * `vault get`: writes files, each whole and verified, or prints them to standard output one after the other. Of several into a
 * folder, one that fails stops no other.
 */
export async function get(
  invocation: Invocation,
  references: readonly string[],
  flags: GetFlags,
): Promise<ExitCode> {
  const { output, options } = invocation;
  const existing = flags.force === true ? 'replace' : 'refuse';
  const target = await targetOf(flags.output ?? '.', { existing, several: references.length > 1 });
  if (target.kind === 'stdout' && options.json === true) {
    throw invalidInput("--json and a file's bytes both want standard output. Choose one of them.");
  }
  const typed = { verb: 'get', references, repeats: target.kind === 'stdout' };
  return withVault(invocation, async (vault) =>
    withFilesMeant(vault, typed, async (meant, several) => {
      if (several) requireFolder(target);
      if (target.kind === 'stdout') await requireFiles(invocation, vault, { references: meant, flags });
      const codes: ExitCode[] = [];
      const written: Written = new Map();
      const joined = new Set<string>();
      const unknown: string[] = [];
      let bytes = 0;
      let done = 0;
      invocation.interruption.kept = () =>
        several && written.size > 0
          ? `${grouped(written.size)} of ${count(meant.length, 'file')} are written, each whole.`
          : null;
      for (const reference of meant) {
        try {
          if (joined.has(reference)) {
            done += 1;
            codes.push(DONE);
            continue;
          }
          const got = await getOne(invocation, vault, {
            reference,
            references: meant,
            target,
            existing,
            written,
            joined,
            flags,
            several,
          });
          bytes += got.bytes;
          done += 1;
          codes.push(got.code);
        } catch (error) {
          if (!several || target.kind === 'stdout' || !isOfOneFile(error)) throw error;
          if (isVaultError(error, 'file-not-found')) unknown.push(reference);
          codes.push(exitCodeOf(error));
          reportError(error, invocation);
        }
      }
      const advice = await quotingAdvice('get', unknown);
      if (advice !== null) invocation.terminal.warn(advice, { kind: 'pattern' });
      const failed = codes.length - done;
      const files = meant.length - failed;
      const described = `Wrote ${count(files, 'file')}, ${showSize(bytes)}.`;
      const shown = target.kind === 'stdout' ? !output.isTerminal : several;
      invocation.terminal.summary(shown ? described : null, { files, failed, bytes });
      return worst(codes);
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

/** What this command has written, by path. */
type Written = Map<string, { readonly hash: string; readonly name: string }>;

interface One {
  readonly reference: string;
  /** All that are meant. */
  readonly references: readonly string[];
  readonly target: Target;
  readonly existing: 'refuse' | 'replace';
  readonly written: Written;
  /** What was written with one that came before. */
  readonly joined: Set<string>;
  readonly flags: GetFlags;
  readonly several: boolean;
}

/** What came of a reference. */
interface Got {
  readonly code: ExitCode;
  readonly bytes: number;
}

async function getOne(invocation: Invocation, vault: Vault, one: One): Promise<Got> {
  const found = await findLocked(invocation, vault, one.reference, one.flags);
  if (found.kind === 'folder') return getFolder(invocation, vault, found, one);
  const { file } = found;
  return writeFile(invocation, one, {
    file,
    name: file.name,
    size: file.contentSize,
    hash: file.hash,
    json: fileAsJson(file),
  });
}

/** A folder, a part of it, or one file in it. */
async function getFolder(
  invocation: Invocation,
  vault: Vault,
  { folder, path }: tree.InFolder,
  one: One,
): Promise<Got> {
  const { target, flags } = one;
  const { selected, name, isPattern, joined } = await tree.selectPart(
    invocation,
    { folder, path },
    patternsAfter(invocation, vault, one),
  );
  if (isPattern) requireFolder(target);
  const part = path === '' ? folder.name : `${folder.name}/${path}`;
  const hash = path === '' ? folder.hash : `${folder.hash}/${path}`;
  if (selected.only?.kind === 'file') {
    const file = tree.entryAsFile(selected, selected.only, flags.owner);
    const json = { ...fileAsJson(folder), entry: path };
    return writeFile(invocation, one, { file, name, size: file.size, hash, json });
  }
  if (target.kind === 'stdout') {
    return tree.pourTar(invocation, selected, baseNameOf(name));
  }
  if (selected.only !== null) {
    throw invalidInput(
      `${quote(name)} is neither a file nor a folder. Get the folder that it is in, or write a tar archive with -o -.`,
    );
  }
  const isNamed = flags.output !== undefined && !one.several && !isPattern;
  const place = isNamed ? target.path : join(target.path, baseNameOf(name));
  if (isWritten(one.written, place, { hash, name: part })) return { code: DONE, bytes: 0 };
  one.written.set(place, { hash, name: part });
  const got = await tree.restoreFolder(invocation, folder, selected, {
    path: place,
    force: one.existing === 'replace',
    owner: flags.owner,
  });
  for (const reference of joined) one.joined.add(reference);
  return got;
}

/** What those of the patterns mean that come later: in a folder they have one place, so that they are written together. */
async function* patternsAfter(
  invocation: Invocation,
  vault: Vault,
  { reference, references, flags }: One,
): AsyncGenerator<tree.InFolder & { readonly reference: string }, void, undefined> {
  for (const later of references.slice(references.indexOf(reference) + 1)) {
    if (!WILDCARD.test(later)) continue;
    try {
      const found = await findLocked(invocation, vault, later, flags);
      if (found.kind === 'folder') yield { ...found, reference: later };
    } catch (error) {
      // That is told when its turn comes.
      if (!isOfOneFile(error)) throw error;
    }
  }
}

/** @throws `already-exists` if another file has been written there by this command. @returns whether this very one has */
function isWritten(
  written: Written,
  path: string,
  one: { readonly hash: string; readonly name: string },
): boolean {
  const other = written.get(path);
  if (other === undefined || other.hash === one.hash) return other !== undefined;
  throw new VaultError(
    'already-exists',
    `${quote(path)} is ${quote(other.name)} now, and ${quote(one.name)} would replace it. Get that one by itself, with -o <path>.`,
  );
}

/** What is written as one file: a stored one, or one out of a folder. */
interface Writable {
  readonly file: RestorableFile;
  readonly name: string;
  readonly size: number;
  readonly hash: string;
  readonly json: Readonly<Record<string, unknown>>;
}

async function writeFile(invocation: Invocation, one: One, what: Writable): Promise<Got> {
  const { output, options, terminal, signal } = invocation;
  const { target, existing, written } = one;
  const { file, name, size: bytes } = what;
  if (bytes >= LARGE) collectRarely();
  if (target.kind === 'stdout') {
    await printContent(what, invocation, existing === 'replace');
    return { code: DONE, bytes };
  }
  const path = target.kind === 'folder' ? join(target.path, baseNameOf(name)) : target.path;
  if (isWritten(written, path, what)) return { code: DONE, bytes: 0 };
  let code: ExitCode = DONE;
  const warn = warnTo(terminal);
  await terminal.withProgress(name, async (report) =>
    restoreFile(file, path, {
      existing,
      signal,
      onWarning: (warning) => {
        if (warning.kind === 'not-kept') code = ATTENTION;
        warn(warning);
      },
      onProgress: (progress) => report({ label: name, ...progress }),
    }),
  );
  written.set(path, what);
  if (options.json === true) await output.json({ ...what.json, path });
  terminal.note(`Wrote ${showName(path)} (${showSize(bytes)}).`);
  return { code, bytes };
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
  if (path === '') throw invalidInput('-o needs a path, or "-" for standard output.');
  const found = await stat(path).catch(() => null);
  if (found?.isDirectory() === true) return { kind: 'folder', path };
  if (several) requireFolder({ kind: 'file', path });
  const itself = await lookAtTarget(path);
  if (itself === null) return { kind: 'file', path };
  if (existing === 'refuse') {
    const advice = itself.isSymbolicLink()
      ? 'It is a symbolic link: --force replaces that, and what it leads to stays as it is.'
      : 'Use --force to replace it.';
    throw new VaultError('already-exists', `${quote(path)} exists and was not overwritten. ${advice}`);
  }
  return { kind: 'file', path };
}

/** @throws `invalid-input` for a folder among several things for standard output: its archive would end where the next thing begins */
async function requireFiles(
  invocation: Invocation,
  vault: Vault,
  { references, flags }: Pick<One, 'references' | 'flags'>,
): Promise<void> {
  if (references.length < 2) return;
  for (const reference of references) {
    const name = await folderMeant(invocation, vault, { reference, flags });
    if (name === null) continue;
    throw invalidInput(
      `${quote(name)} is a folder, which goes to standard output by itself: as a tar archive, whose end is the end of everything. Get it alone, or get all of it with -o <folder>.`,
    );
  }
}

/** @returns the name of what is written as an archive; null if it is none. What is wrong with it is told when its turn comes */
async function folderMeant(
  invocation: Invocation,
  vault: Vault,
  { reference, flags }: Pick<One, 'reference' | 'flags'>,
): Promise<string | null> {
  try {
    // Of whole files nothing is read, nor is a password asked for.
    const { kind, name } = await vault.resolve(reference);
    return kind === 'folder' ? name : null;
  } catch (error) {
    if (!isOfOneFile(error)) throw error;
  }
  try {
    const found = await findLocked(invocation, vault, reference, flags);
    if (found.kind === 'file') return null;
    const { selected, name } = await tree.selectPart(invocation, found);
    return selected.only?.kind === 'file' ? null : name;
  } catch (error) {
    if (!isOfOneFile(error)) throw error;
    return null;
  }
}

/** @throws `invalid-input` for a target that can take one file alone */
function requireFolder(target: Target): void {
  if (target.kind !== 'file') return;
  throw invalidInput(
    `Several files need a folder, and ${quote(target.path)} is not one. Create it, or name another one with -o <folder>.`,
  );
}

/** The last part of a stored name, if a file can have it; a name never leads out of the folder. */
function baseNameOf(name: string): string {
  const base = basename(name);
  if (base === '' || base === '.' || base === '..' || Buffer.byteLength(base) > MAX_BASE_NAME_SIZE) {
    throw invalidInput(
      `The name ${quote(name)} is not possible for a file here. Choose where to write it with -o <path>.`,
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
async function printContent(
  { file, name }: Writable,
  { output, terminal, signal }: Invocation,
  anyway: boolean,
): Promise<void> {
  let looked = anyway || !output.isTerminal;
  const work = async (report: ProgressReport): Promise<void> => {
    const content = file.content({
      signal,
      onWarning: warnTo(terminal),
      onProgress: (progress) => report({ label: name, ...progress }),
    });
    for await (const bytes of content) {
      if (!looked && !isText(bytes.subarray(0, LOOKED_AT))) {
        throw invalidInput(
          `${quote(name)} is not text, and would garble the terminal. Write it to a file with "vault get -o <path>", or use "vault get -o - --force".`,
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
  await (output.isTerminal ? work(() => undefined) : terminal.withProgress(name, work));
}
