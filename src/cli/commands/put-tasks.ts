/** What a put is asked to store: paths, where they come from, and what is left out of folders. */
import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import { lstat, stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import { invalidInput, messageOf } from '../../errors.ts';
import { bytesOfPath, diskPath, type DiskPath } from '../../vault/folders/disk-path.ts';
import type { FolderSource } from '../../vault/folders/folder-source.ts';
import type { FileSource } from '../../vault/write/file-source.ts';
import { fileSource } from '../../vault/write/source.ts';
import { workingFolder } from '../arguments/intact.ts';
import { ifGiven, nameAsTyped, nameOfPath, parseSize, plainName, type Flags } from '../arguments/options.ts';
import { commandSource, standardInput } from '../arguments/put-sources.ts';
import { whyUnreadable } from '../terminal/streams.ts';
import { quote, showPath, showSize } from '../terminal/text.ts';

/** What is to be stored, under which name. */
export interface Task {
  readonly source: FileSource | FolderSource;
  readonly name: string;
  /** Bytes; null where it is not known beforehand. */
  readonly size: number | null;
}

export type TaskFlags = Flags<
  'name' | 'fromCommand' | 'filesFrom' | 'excludeLargerThan',
  'allowEmpty' | 'null' | 'oneFileSystem' | 'excludeCaches' | 'forceRead',
  'exclude' | 'excludeFrom'
>;

type FolderSettings = Omit<FolderSource, 'root'>;

/**
 * @param typed the paths on the command line; `excludes`: what the settings leave out of folders
 * @throws `invalid-input`; `file-not-found`
 */
export async function tasksOf(
  typed: readonly string[],
  flags: TaskFlags,
  excludes: readonly string[],
): Promise<readonly Task[]> {
  const listed = await listedPaths(flags);
  const paths = [...typed, ...listed.paths];
  const { fromCommand, filesFrom, allowEmpty = false } = flags;
  if (fromCommand !== undefined) {
    if (paths.length > 0 || filesFrom !== undefined)
      throw invalidInput('--from-command takes the place of paths: leave them away.');
    if (flags.name === undefined)
      throw invalidInput('What a command prints has no name of its own: use --name <name>.');
    const { exclude, excludeFrom, excludeCaches, excludeLargerThan, oneFileSystem, forceRead } = flags;
    const ofPaths = [exclude, excludeFrom, excludeCaches, excludeLargerThan, oneFileSystem, forceRead];
    if (ofPaths.some((flag) => flag !== undefined))
      throw invalidInput(
        '--from-command stores what a command prints: --force-read, --one-file-system and --exclude with its like are for files and folders. Leave them away.',
      );
    if (fromCommand.trim() === '') throw invalidInput('--from-command needs a command.');
    return [{ source: commandSource(fromCommand, allowEmpty), name: nameAsTyped(flags.name), size: null }];
  }
  const isNothing = paths.length + listed.refused.length === 0;
  if (isNothing && filesFrom !== undefined) {
    if (allowEmpty) return [];
    throw invalidInput(
      `The list of --files-from ${quote(filesFrom)} is empty, so nothing was stored. With --allow-empty that is well.`,
    );
  }
  if (isNothing) throw invalidInput(`Missing required argument "path". See "vault put --help".`);
  const settings = await folderSettings(flags, excludes, paths);
  const tasks = mapOrdered(paths, async (path) => taskOf(path, flags, settings), { inFlight: ASKED_AT_ONCE });
  return [...(await Array.fromAsync(tasks)), ...listed.refused.map(refusedTask)];
}

/** Paths that are looked at together: of many thousands at once each would take 2 KiB. */
const ASKED_AT_ONCE = 16;

interface ListedPaths {
  readonly paths: readonly string[];
  /** Those that are no UTF-8. */
  readonly refused: readonly DiskPath[];
}

async function listedPaths({ filesFrom, null: byNul = false }: TaskFlags): Promise<ListedPaths> {
  const paths: string[] = [];
  const refused: DiskPath[] = [];
  if (filesFrom === undefined) {
    if (byNul) throw invalidInput('-0 goes with --files-from.');
    return { paths, refused };
  }
  const bytes = await readGiven(filesFrom, '--files-from', MAX_PATHS_SIZE);
  if (!byNul)
    requireText(bytes, `--files-from ${quote(filesFrom)}`, '; what find -print0 prints goes with -0');
  for (const written of diskPath(bytes).split(byNul ? '\0' : '\n')) {
    const line = byNul ? written : await lineMeant(written);
    const path = bytesOfPath(line);
    if (!isUtf8(path)) refused.push(line);
    else if (line !== '') paths.push(path.toString());
  }
  return { paths, refused };
}

/** A line without the marks of editors: a byte order mark at its beginning, a carriage return at its end. A file's name may have them. */
async function lineMeant(written: DiskPath): Promise<DiskPath> {
  const line = written.replace(/^\u00EF\u00BB\u00BF/, '').replace(/\r$/, '');
  if (line === written) return line;
  return lstat(bytesOfPath(written)).then(
    () => written,
    () => line,
  );
}

/** A path that could be taken for another one, which does not keep the others from being stored. */
function refusedTask(path: DiskPath): Task {
  const label = showPath(bytesOfPath(path));
  const open = async (): Promise<never> =>
    Promise.reject(
      invalidInput(
        `${label} in the list of --files-from is not UTF-8 text, and could be taken for another file. Rename it, store it with "vault put - --name <name> < file", or store the folder that it is in.`,
      ),
    );
  return { source: { label, reopens: true, open }, name: label, size: 0 };
}

/**
 * @param excludes what the settings leave out; the flags come after that, so that they can take it back
 * @param paths what is to be stored
 * @throws `invalid-input`
 */
export async function folderSettings(
  flags: TaskFlags,
  excludes: readonly string[],
  paths: readonly string[] = [],
): Promise<FolderSettings> {
  checkPaths(paths, flags);
  const { exclude = [], excludeFrom = [], excludeLargerThan: larger } = flags;
  const files = await Promise.all(
    excludeFrom.map(async (path) => readGiven(path, '--exclude-from', MAX_PATTERNS_SIZE)),
  );
  files.forEach((bytes, at) => requireText(bytes, `--exclude-from ${quote(excludeFrom[at] ?? '')}`));
  return {
    excludes: [...excludes, ...files, ...exclude],
    excludeCaches: flags.excludeCaches,
    largest: ifGiven(larger, parseSize, '--exclude-larger-than'),
    oneFileSystem: flags.oneFileSystem,
    forceRead: flags.forceRead,
  };
}

/** Most bytes of a file of patterns, and of a list of paths: what is longer is something else, or has no end. */
const MAX_PATTERNS_SIZE = 16 * 1024 * 1024;
const MAX_PATHS_SIZE = 256 * 1024 * 1024;

async function readGiven(path: string, option: string, most: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  try {
    const unreadable = whyUnreadable(path);
    if (unreadable !== null) throw new Error(`standard input ${unreadable}; send it a file or a pipe`);
    const stream: AsyncIterable<Buffer> = path === '-' ? process.stdin : createReadStream(path);
    for await (const part of stream) {
      size += part.length;
      if (size > most) throw new Error(`it is longer than ${showSize(most)}`);
      parts.push(part);
    }
    return Buffer.concat(parts);
  } catch (cause) {
    throw invalidInput(`${option} ${quote(path)} cannot be read: ${messageOf(cause)}.`, cause);
  }
}

/** Lines of UTF-16, say, would be paths that are not there, and patterns that fit nothing. @throws `invalid-input` */
function requireText(bytes: Buffer, what: string, advice = ''): void {
  if (!bytes.includes(0)) return;
  throw invalidInput(`${what} is no list of lines: it has NUL bytes. Write it in UTF-8${advice}.`);
}

function checkPaths(paths: readonly string[], flags: TaskFlags): void {
  const streams = [...paths, flags.filesFrom, ...(flags.excludeFrom ?? [])].filter((path) => path === '-');
  if (streams.length > 1) {
    throw invalidInput('Standard input ("-") can be read only once.');
  }
  const unreadable = paths.map(whyUnreadable).find((why) => why !== null);
  if (unreadable !== undefined) {
    throw invalidInput(
      `Standard input ${unreadable}, so there is nothing to store. Send it a file or a pipe; "--allow-empty < /dev/null" stores an empty file.`,
    );
  }
  if (flags.name !== undefined && paths.length > 1) {
    throw invalidInput('--name goes with one file; several files keep their own names.');
  }
  if (paths.includes('-') && flags.name === undefined) {
    throw invalidInput('Standard input has no name of its own: use --name <name>.');
  }
}

async function taskOf(path: string, flags: TaskFlags, settings: FolderSettings): Promise<Task> {
  const name = flags.name === undefined ? null : nameAsTyped(flags.name);
  if (path === '-') {
    return { source: standardInput(flags.allowEmpty === true), name: name ?? path, size: null };
  }
  // Opening it will say what is wrong.
  const stats = await stat(path).catch(() => null);
  if (stats?.isDirectory() === true) {
    // What has no name any more is the working folder, which has been removed: that is no empty folder.
    if (stats.nlink === 0) workingFolder();
    return { source: { ...settings, root: path }, name: name ?? nameOfFolder(path), size: null };
  }
  const size = stats === null ? 0 : stats.isFile() ? stats.size : null;
  return {
    source: fileSource(path, { forceRead: settings.forceRead }),
    name: name ?? nameOfPath(path),
    size,
  };
}

/** As for a file; a folder that is only pointed at goes by its own name. */
function nameOfFolder(path: string): string {
  const name = plainName(path);
  return /^(\.\.?\/)*\.\.?$/.test(name) ? basename(resolve(workingFolder(), path)) || '/' : name;
}
