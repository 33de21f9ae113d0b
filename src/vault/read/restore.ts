/** Writing a stored file into the file system, whole or not at all. */
import { randomBytes } from 'node:crypto';
import { link, lstat, open as openFile, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { untilAborted } from '../../concurrency/until-aborted.ts';
import { invalidInput, isVaultError, systemCode, throwIfAborted, VaultError } from '../../errors.ts';
import { systemClock } from '../../host.ts';
import type { FileTime } from '../../format/file-time.ts';
import type { CallOptions } from '../call.ts';
import { lacking, reasonOf, setAttributes, type NotKept } from './attributes.ts';
import { LeftBehind, whileDated } from './left-behind.ts';
import { impossibleName, restoreError } from './restore-error.ts';
import { ContentWriter, isUnsupported } from './content-writer.ts';

/** What is restored of a file; a `StoredFile` is one. */
export interface RestorableFile {
  /** Permission bits; null leaves those of a new file, which only its owner may read. */
  readonly mode: number | null;
  /** Modification time; null leaves the present. */
  readonly modified: FileTime | null;
  /**
   * Sets what it has on the file that was written, by its descriptor; unless it is there, `mode` and `modified` are set.
   * @returns what the file system at the path did not take
   */
  readonly setOn?: (
    fd: number,
    options: { readonly path: string; readonly signal: AbortSignal | undefined },
  ) => Promise<NotKept[]>;
  /** Its bytes in order, each run verified and valid until the next one is asked for. */
  content(options: CallOptions): AsyncIterable<Uint8Array>;
}

export interface RestoreOptions extends CallOptions {
  /** What to do if the target exists. */
  readonly existing: 'refuse' | 'replace';
}

/**
 * Writes a file beside its target, makes it durable, and only then gives it the target's name: nobody ever sees a
 * partial or unverified file there, and when this returns a power cut takes nothing away. Long runs of zeros become holes.
 * Modification time and permission bits (`0o777`) are those of the file that was put, the time to the microsecond.
 *
 * A target that is a symbolic link counts as existing, whatever it points to. To replace it replaces the link: what it
 * points to stays as it is.
 *
 * What the file system does not take beside the bytes (time, permissions, syncing) is told to `onWarning`, once, as `not-kept`.
 *
 * @param path the target; its folder must exist
 * @param options `signal`: ends it at once, also while a disk does not answer
 * @throws `already-exists`; `invalid-input` if the target is a folder, a device or a pipe, if its folder does not exist, or if the
 *   name cannot be one there; `denied`; `storage-full`; `unavailable` if writing or syncing fails; `interrupted`; what
 *   reading the file throws. The target is then as it was, unless the message says that it is written
 */
export async function restoreFile(
  file: RestorableFile,
  path: string,
  options: RestoreOptions,
): Promise<void> {
  const { signal, existing } = options;
  throwIfAborted(signal);
  await untilAborted(checkTarget(path, existing), signal);
  const unfinished = join(dirname(path), unfinishedName(basename(path)));
  const left = await untilAborted(leftOf(path), signal);
  const notKept: NotKept[] = [];
  let handle: FileHandle | null = null;
  try {
    handle = await openNew(unfinished, signal);
    await writeContent(handle, file.content(options), signal);
    const setting = file.setOn?.(handle.fd, { path: unfinished, signal }) ?? setAttributes(handle, file);
    notKept.push(...(await untilAborted(setting, signal)));
    notKept.push(...(await untilAborted(sync(handle), signal)));
    // Some file systems (NFS, quotas) tell only now what could not be written.
    await untilAborted(handle.close(), signal);
    throwIfAborted(signal);
    notKept.push(...(await giveName(unfinished, path, existing)));
  } catch (error) {
    await discard(unfinished, handle, signal);
    throw isVaultError(error) ? error : restoreError(path, error);
  }
  notKept.push(...(await syncFolder(path)));
  await left?.remove(signal);
  if (notKept.length === 0) return;
  options.onWarning?.({
    kind: 'not-kept',
    message: `${path} is written and verified${lacking(notKept)}.`,
    bucket: null,
  });
}

/** More bytes may take seconds to sync. */
const MANY_BYTES = 8 * 1024 * 1024;

async function writeContent(
  handle: FileHandle,
  content: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const writer = new ContentWriter(handle, signal);
  const date = async (): Promise<void> => {
    const now = systemClock.now() / 1000;
    await handle.utimes(now, now);
  };
  const write = async (): Promise<void> => {
    let size = 0;
    for await (const bytes of content) {
      await writer.write(bytes);
      size += bytes.length;
    }
    await writer.finish();
    // What is set on it is synced once more, which is soon done then.
    if (size > MANY_BYTES) await untilAborted(sync(handle), signal);
  };
  await whileDated(date, write, signal);
}

/** Bytes of the target's name that its unfinished file shows. With what is around them they fit where names are shortest (eCryptfs: 143). */
const SHOWN_NAME_SIZE = 100;

/** A name for a file in the making: hidden, random, and telling which file it is. */
function unfinishedName(base: string): string {
  return `${unfinishedStart(base)}${randomBytes(6).toString('hex')}.partial`;
}

function unfinishedStart(base: string): string {
  const bytes = Buffer.from(base);
  let end = Math.min(bytes.length, SHOWN_NAME_SIZE);
  // Never within a character, whose later bytes are 0b10xxxxxx.
  while (end < bytes.length && end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return `.${bytes.toString('utf8', 0, end)}.`;
}

/** The folder that was looked at last: where several files are written, what was left before them is seen once. */
let lastListed: { readonly folder: string; readonly names: Promise<readonly string[]> } | null = null;

/** What killed restores of the same target have left beside it. */
async function leftOf(path: string): Promise<LeftBehind | null> {
  const [folder, start] = [dirname(path), unfinishedStart(basename(path))];
  return LeftBehind.find(
    {
      names: async () => {
        if (lastListed?.folder !== folder) lastListed = { folder, names: readdir(folder) };
        return lastListed.names;
      },
      look: async (name) => lstat(join(folder, name), { bigint: true }),
      remove: async (name) => rm(join(folder, name)),
    },
    (name) => name.startsWith(start) && /^[0-9a-f]{12}\.partial$/.test(name.slice(start.length)),
  );
}

async function checkTarget(path: string, existing: RestoreOptions['existing']): Promise<void> {
  const found = await lstat(path).catch((error: unknown) => {
    // Better said now than when everything has been fetched. Of other failures the first write tells.
    const code = systemCode(error) ?? '';
    if (['ENAMETOOLONG', 'EINVAL', 'EILSEQ', 'ELOOP'].includes(code)) throw impossibleName(path, error);
    return null;
  });
  if (found === null) {
    if (!path.endsWith('/')) return;
    throw invalidInput(`There is no folder ${path}. Make it, or name the file to write.`);
  }
  const meant = found.isSymbolicLink() ? await stat(path).catch(() => null) : found;
  if (meant?.isDirectory() === true) {
    throw invalidInput(`${path} is a folder. Name the file to write.`);
  }
  if (existing === 'refuse') throw exists(path);
  if (!found.isFile() && !found.isSymbolicLink()) {
    throw invalidInput(`${path} is a device or a pipe, and is not replaced by a file.`);
  }
}

async function openNew(path: string, signal: AbortSignal | undefined): Promise<FileHandle> {
  const opening = openFile(path, 'wx', 0o600);
  try {
    return await untilAborted(opening, signal);
  } catch (error) {
    // It may yet be made, when nobody wants it any more.
    if (isVaultError(error)) {
      void opening.then(async (handle) => discard(path, handle, undefined)).catch(() => undefined);
    }
    throw error;
  }
}

/** Makes a file's bytes durable. @returns that it cannot be done here, if so */
async function sync(handle: FileHandle): Promise<NotKept[]> {
  try {
    await handle.sync();
    return [];
  } catch (error) {
    if (!isUnsupported(error)) throw error;
    return [`syncing the file (${reasonOf(error)})`];
  }
}

/** Gives a finished file its name; with `refuse` unless something has got that name meanwhile. */
async function giveName(from: string, to: string, existing: RestoreOptions['existing']): Promise<NotKept[]> {
  if (existing === 'replace') {
    await rename(from, to);
    return [];
  }
  try {
    await link(from, to);
  } catch (error) {
    if (systemCode(error) === 'EEXIST' && !(await isSameFile(from, to))) throw exists(to);
    if (systemCode(error) !== 'EEXIST') {
      // File systems without hard links: the check at the start, and this one, are the best there is.
      if ((await lstat(to).catch(() => null)) !== null) throw exists(to);
      await rename(from, to);
      return [];
    }
  }
  try {
    // Somebody else may have taken it for a leftover.
    await rm(from, { force: true });
    return [];
  } catch (error) {
    return [`removal of its second name ${basename(from)} (${reasonOf(error)})`];
  }
}

/** Whether two names are one file's: over a network a link may be made, its answer lost, and the second attempt refused. */
async function isSameFile(one: string, other: string): Promise<boolean> {
  try {
    const [a, b] = await Promise.all([lstat(one, { bigint: true }), lstat(other, { bigint: true })]);
    return a.ino === b.ino && a.dev === b.dev && a.nlink > 1n;
  } catch {
    return false;
  }
}

/**
 * Makes a file's name durable.
 *
 * @returns that it cannot be done here, if so
 * @throws what the disk says; the file has its name then
 */
async function syncFolder(path: string): Promise<NotKept[]> {
  let folder: FileHandle | null = null;
  try {
    folder = await openFile(dirname(path), 'r');
    await folder.sync();
    return [];
  } catch (error) {
    // A folder that one may write to but not read cannot be opened for it.
    const mayNot = ['EACCES', 'EPERM'].includes(systemCode(error) ?? '');
    if (mayNot || isUnsupported(error)) return [`syncing the folder (${reasonOf(error)})`];
    throw new VaultError(
      'unavailable',
      `${path} is written, but a power cut may take it away: syncing its folder failed (${reasonOf(error)}).`,
      { cause: error },
    );
  } finally {
    await folder?.close().catch(() => undefined);
  }
}

/** How long an interrupted restore tries to clean up after itself, in milliseconds: the disk may not answer. */
const CLEAN_UP_MS = 500;

/** Removes an unfinished file. Never fails: what led here is what the user is told. */
async function discard(
  unfinished: string,
  handle: FileHandle | null,
  signal: AbortSignal | undefined,
): Promise<void> {
  const gone = Promise.allSettled([
    handle?.close(),
    ...(handle === null ? [] : [rm(unfinished, { force: true })]),
  ]);
  if (signal?.aborted !== true) {
    await gone;
    return;
  }
  const patience = new AbortController();
  await Promise.race([
    gone,
    delay(CLEAN_UP_MS, undefined, { signal: patience.signal }).catch(() => undefined),
  ]);
  patience.abort();
}

function exists(path: string): VaultError {
  return new VaultError(
    'already-exists',
    `${path} exists and was not overwritten. Use --force to replace it.`,
  );
}
