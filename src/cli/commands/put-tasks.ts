/** What a put is asked to store: paths, where they come from, and what is left out of folders. */
import { readFile, stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import { invalidInput, messageOf } from '../../errors.ts';
import type { FolderSource } from '../../vault/folders/folder-source.ts';
import type { FileSource } from '../../vault/write/file-source.ts';
import { fileSource } from '../../vault/write/source.ts';
import { ifGiven, nameAsTyped, nameOfPath, parseSize, plainName, type Flags } from '../arguments/options.ts';
import { commandSource, standardInput } from '../arguments/put-sources.ts';
import { whyUnreadable } from '../terminal/streams.ts';
import { quote } from '../terminal/text.ts';

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
  const paths = [...typed, ...(await listedPaths(flags))];
  const { fromCommand, allowEmpty = false } = flags;
  if (fromCommand !== undefined) {
    if (paths.length > 0) throw invalidInput('--from-command takes the place of paths: leave them away.');
    if (flags.name === undefined)
      throw invalidInput('What a command prints has no name of its own: use --name <name>.');
    return [{ source: commandSource(fromCommand, allowEmpty), name: nameAsTyped(flags.name), size: null }];
  }
  if (paths.length === 0) throw invalidInput(`Missing required argument 'path'. See "vault put --help".`);
  checkPaths(paths, flags);
  const settings = await folderSettings(flags, excludes);
  const tasks = mapOrdered(paths, async (path) => taskOf(path, flags, settings), { inFlight: ASKED_AT_ONCE });
  return Array.fromAsync(tasks);
}

/** Paths that are looked at together: of many thousands at once each would take 2 KiB. */
const ASKED_AT_ONCE = 16;

async function listedPaths({ filesFrom, null: byNul = false }: TaskFlags): Promise<readonly string[]> {
  if (filesFrom === undefined) {
    if (byNul) throw invalidInput('-0 goes with --files-from.');
    return [];
  }
  const text = (await readGiven(filesFrom, '--files-from')).toString();
  return text.split(byNul ? '\0' : /\r?\n/).filter((path) => path !== '');
}

/** @param excludes what the settings leave out; the flags come after that, so that they can take it back */
export async function folderSettings(flags: TaskFlags, excludes: readonly string[]): Promise<FolderSettings> {
  const { exclude = [], excludeFrom = [], excludeLargerThan: larger } = flags;
  const files = await Promise.all(excludeFrom.map(async (path) => readGiven(path, '--exclude-from')));
  return {
    excludes: [...excludes, ...files, ...exclude],
    excludeCaches: flags.excludeCaches,
    largest: ifGiven(larger, parseSize, '--exclude-larger-than'),
    oneFileSystem: flags.oneFileSystem,
    forceRead: flags.forceRead,
  };
}

async function readGiven(path: string, option: string): Promise<Buffer> {
  try {
    return path === '-' ? await buffer(process.stdin) : await readFile(path);
  } catch (cause) {
    throw invalidInput(`${option} ${quote(path)} cannot be read: ${messageOf(cause)}.`, cause);
  }
}

function checkPaths(paths: readonly string[], flags: TaskFlags): void {
  const streams = [...paths, flags.filesFrom, ...(flags.excludeFrom ?? [])].filter((path) => path === '-');
  if (streams.length > 1) {
    throw invalidInput('Standard input ("-") can be read only once.');
  }
  const unreadable = paths.includes('-') ? whyUnreadable() : null;
  if (unreadable !== null) {
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
  let size: number | null = null;
  try {
    const stats = await stat(path);
    if (stats.isDirectory()) {
      return { source: { ...settings, root: path }, name: name ?? nameOfFolder(path), size: null };
    }
    if (stats.isFile()) size = stats.size;
  } catch {
    // Opening it will say what is wrong.
    size = 0;
  }
  return {
    source: fileSource(path, { forceRead: settings.forceRead }),
    name: name ?? nameOfPath(path),
    size,
  };
}

/** As for a file; a folder that is only pointed at goes by its own name. */
function nameOfFolder(path: string): string {
  const name = plainName(path);
  return /^(\.\.?\/)*\.\.?$/.test(name) ? basename(resolve(path)) || '/' : name;
}
