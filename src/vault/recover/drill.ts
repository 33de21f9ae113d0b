/** A restore drill: random files, and random ones of random folders, are read as `get` reads them, and thrown away. */
import { isFailure, throwIfAborted, VaultError } from '../../errors.ts';
import type { CallOptions } from '../call.ts';
import { openFileRowIfIntact, type FileInfo } from '../files/records.ts';
import type { Session } from '../session.ts';
import { findStored, type StoredFolder } from '../folders/stored-folder.ts';
import { withHoles } from '../folders/with-holes.ts';

export interface DrillOptions extends CallOptions {
  /** How many files and folders, and how many files of each of those; all if there are no more. */
  readonly files: number;
  /** As many as this fraction of all files, if that is more. */
  readonly sample?: number | undefined;
  /** Chance: 0 up to 1, as `Math.random`. */
  readonly random?: (() => number) | undefined;
}

export interface DrillResult {
  /** Files of which every byte came back, and folders of which every chosen file did. */
  readonly files: number;
  /** Files in those folders. */
  readonly entries: number;
  /** Their bytes. */
  readonly bytes: number;
  /** Locked files that there are, which nobody but the owner of their passwords can try. */
  readonly locked: number;
  readonly failures: readonly DrillFailure[];
}

export interface DrillFailure {
  readonly hash: string;
  readonly name: string;
  readonly error: VaultError;
}

/** What counts as progress; of a folder little is read. */
function sizeOf({ kind, size }: FileInfo): number {
  return kind === 'folder' ? 0 : (size ?? 0);
}

export async function drillFiles(session: Session, options: DrillOptions): Promise<DrillResult> {
  const { signal } = options;
  const { chosen, locked } = await choose(session, options);
  const totalBytes = chosen.reduce((sum, info) => sum + sizeOf(info), 0);
  const failures: DrillFailure[] = [];
  let [files, entries, bytes, begun] = [0, 0, 0, 0];
  for (const info of chosen) {
    const { hash, name } = info;
    throwIfAborted(signal);
    try {
      const read = await readOne(session, hash, {
        ...options,
        onProgress: ({ doneBytes }) => options.onProgress?.({ doneBytes: begun + doneBytes, totalBytes }),
      });
      files += 1;
      entries += read.entries;
      bytes += read.bytes;
    } catch (error) {
      if (!isFailure(error)) throw error;
      // One that is removed for good meanwhile is nobody's loss.
      if (error.code !== 'file-not-found') failures.push({ hash, name, error });
    }
    begun += sizeOf(info);
  }
  return { files, entries, bytes, locked, failures };
}

async function readOne(
  session: Session,
  hash: string,
  options: DrillOptions,
): Promise<{ readonly entries: number; readonly bytes: number }> {
  const found = await findStored(session, hash, options);
  if (found.kind === 'folder') return readSome(found.folder, options);
  const { file } = found;
  let bytes = 0;
  for await (const { length } of file.content(options)) bytes += length;
  if (bytes === file.contentSize) return { entries: 0, bytes };
  throw new VaultError('damaged', `"${file.name}" has ${bytes} bytes instead of ${file.contentSize}.`);
}

/** Reads a folder's index, and random files of it. */
async function readSome(
  folder: StoredFolder,
  { files, random = Math.random, signal, onWarning }: DrillOptions,
): Promise<{ readonly entries: number; readonly bytes: number }> {
  const call = { signal, onWarning };
  const chosen = new Reservoir<string>(files, random);
  for await (const { path, content } of folder.list(call)) if (content !== null) chosen.add(path.toString());
  if (chosen.items.length === 0) return { entries: 0, bytes: 0 };
  const paths = new Set(chosen.items);
  const selected = await folder.select({ matches: (path) => paths.has(path) }, call);
  const reader = selected.reader();
  let bytes = 0;
  try {
    for await (const entry of selected.entries()) {
      if (entry.content === null) continue;
      for await (const piece of withHoles(entry, reader.readContent(entry, signal)))
        bytes += typeof piece === 'number' ? piece : piece.length;
    }
  } finally {
    await reader.close();
  }
  return { entries: chosen.items.length, bytes };
}

/** Some of what comes by: however much does, each is in it with the same chance. */
class Reservoir<T> {
  readonly items: T[] = [];
  readonly #most: number;
  readonly #random: () => number;
  #seen = 0;

  constructor(most: number, random: () => number) {
    this.#most = most;
    this.#random = random;
  }

  add(item: T): void {
    this.#seen += 1;
    const full = this.items.length >= this.#most;
    const at = full ? Math.floor(this.#random() * this.#seen) : this.items.length;
    if (at < this.#most) this.items[at] = item;
  }
}

/** Random files, each version as likely as any other. */
async function choose(
  session: Session,
  { files, sample = 0, random = Math.random, signal }: DrillOptions,
): Promise<{ readonly chosen: readonly FileInfo[]; readonly locked: number }> {
  const { files: all } = await session.catalog.files.counts();
  const amount = Math.max(files, Math.ceil(sample * all));
  const chosen = new Reservoir<FileInfo>(amount, random);
  let locked = 0;
  for await (const row of session.catalog.files.list({ all: true, signal })) {
    const info = openFileRowIfIntact(session, row)?.info;
    if (info === undefined) continue;
    if (info.locked) {
      locked += 1;
      continue;
    }
    chosen.add(info);
  }
  return { chosen: chosen.items, locked };
}
