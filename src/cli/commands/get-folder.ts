/** Getting folders back, and parts of them. */
import { invalidInput, VaultError } from '../../errors.ts';
import type { FolderEntry } from '../../format/folder-index.ts';
import { restoreSelected } from '../../vault/folders/restore-selected.ts';
import type { RestoredTree, TreeProblem } from '../../vault/folders/restore-tree.ts';
import type { SelectedEntries, Stored, StoredFolder } from '../../vault/folders/stored-folder.ts';
import { isAnyWanted, type Wanted } from '../../vault/folders/selection.ts';
import { setOnEntry } from '../../vault/folders/tree-metadata.ts';
import { tarStream } from '../../vault/folders/tar.ts';
import { wholeFile } from '../../vault/folders/with-holes.ts';
import type { RestorableFile } from '../../vault/read/restore.ts';
import { warnTo, type Invocation } from '../arguments/invocation.ts';
import { patternMatcher, WILDCARD } from '../arguments/pattern.ts';
import { ATTENTION, DAMAGED, DONE, type ExitCode } from '../exit.ts';
import { fileAsJson } from '../../vault/files/as-json.ts';
import type { ProgressReport } from '../terminal/progress.ts';
import { count, grouped, quote, showName, showSize } from '../terminal/text.ts';

/** What is behind a folder's name. */
export type InFolder = Pick<Extract<Stored, { readonly kind: 'folder' }>, 'folder' | 'path'>;

/** What of a folder is meant: what has exactly this path, else what fits it as a pattern. @returns null for all of it */
export async function wantedOf(
  { folder, path }: InFolder,
  signal: AbortSignal | undefined,
): Promise<Wanted | null> {
  const typed = path.replace(/\/+$/, '');
  if (typed === '') return null;
  const literal = { path: Buffer.from(typed) };
  if (!WILDCARD.test(typed) || (await isAnyWanted(folder.list({ signal }), literal))) return literal;
  // With a name before it: a pattern is compared with whole paths, and not with the last part of them.
  const fits = patternMatcher(`folder/${typed}`);
  return { matches: (entry) => entry !== '' && fits(`folder/${entry}`) };
}

/** What is meant of a folder, and what to call it. */
export interface Part {
  readonly selected: SelectedEntries;
  readonly name: string;
  /** Whether it is all that fits a pattern. */
  readonly isPattern: boolean;
  /** The other references that mean some of it. */
  readonly joined: readonly string[];
}

/** @param others of which a pattern takes the patterns of the same folder along @throws as `StoredFolder.select` */
export async function selectPart(
  { signal, terminal }: Invocation,
  { folder, path }: InFolder,
  others: AsyncIterable<InFolder & { readonly reference: string }> | null = null,
): Promise<Part> {
  const wanted = await wantedOf({ folder, path }, signal);
  const options = { signal, onWarning: warnTo(terminal) };
  let selected = await folder.select(wanted, options);
  const joined: string[] = [];
  if (wanted !== null && 'matches' in wanted && others !== null) {
    const fits = [wanted.matches];
    for await (const { reference, ...other } of others) {
      const more = other.folder.hash === folder.hash ? await wantedOf(other, signal) : null;
      if (more === null || 'path' in more || !(await isAnyWanted(folder.list({ signal }), more))) continue;
      joined.push(reference);
      fits.push(more.matches);
    }
    const matches = (entry: string): boolean => fits.some((one) => one(entry));
    if (joined.length > 0) selected = await folder.select({ matches }, options);
  }
  const isPart = path !== '' && wanted !== null && 'path' in wanted;
  const name = isPart ? `${folder.name}/${path}` : folder.name;
  return { selected, name, isPattern: wanted !== null && 'matches' in wanted, joined };
}

/** Whether owners are restored. @param owner as `--owner` says, if it is there */
function ownersAreSet(owner: boolean | undefined): boolean {
  return owner ?? process.getuid?.() === 0;
}

/** An entry that is a file by itself, to be written as a stored file is. @param owner see `ownersAreSet` */
export function entryAsFile(
  selected: SelectedEntries,
  entry: FolderEntry,
  owner?: boolean,
): RestorableFile & { readonly size: number } {
  const size = entry.content?.size ?? 0;
  return {
    mode: entry.mode,
    modified: entry.modified,
    setOn: async (fd, options) => setOnEntry(fd, entry, { ...options, owners: ownersAreSet(owner) }),
    size,
    async *content({ onProgress, signal }) {
      const reader = selected.reader();
      let doneBytes = 0;
      try {
        for await (const bytes of wholeFile(entry, reader.readContent(entry, signal))) {
          yield bytes;
          doneBytes += bytes.length;
          onProgress?.({ doneBytes, totalBytes: size });
        }
      } finally {
        await reader.close();
      }
    },
  };
}

/** Writes what is selected of a folder below a target. @returns how it went, and how many bytes of files that are */
export async function restoreFolder(
  invocation: Invocation,
  folder: StoredFolder,
  selected: SelectedEntries,
  {
    path,
    force,
    owner,
  }: { readonly path: string; readonly force: boolean; readonly owner: boolean | undefined },
): Promise<{ readonly code: ExitCode; readonly bytes: number }> {
  const { terminal, output, options, signal } = invocation;
  const problems: TreeProblem['kind'][] = [];
  const done = await terminal.withProgress(folder.name, (report) =>
    restoreSelected(selected, path, {
      force,
      owners: ownersAreSet(owner),
      signal,
      onBytes: counting(report, folder.name, selected.size),
      onProblem: ({ kind, message }) => {
        problems.push(kind);
        terminal.warn(message, { kind });
      },
    }),
  );
  if (options.json === true) await output.json({ ...fileAsJson(folder), path, ...countsOf(done) });
  terminal.note(`Wrote ${showName(path)} (${describe(done)}, ${showSize(selected.size)}).`);
  if (folder.incomplete) {
    terminal.warn(
      `${quote(folder.name)} is incomplete: not all in it could be read, or stood still, when it was stored.`,
      { kind: 'incomplete' },
    );
  }
  if (problems.includes('damaged')) return { code: DAMAGED, bytes: selected.size };
  return { code: problems.length > 0 ? ATTENTION : DONE, bytes: selected.size };
}

function counting(
  report: ProgressReport,
  label: string,
  totalBytes: number,
): (count: number, filesBefore?: number) => void {
  let doneBytes = 0;
  return (bytes, doneFiles) => {
    doneBytes += bytes;
    report({ label, doneBytes, totalBytes, doneFiles });
  };
}

function describe({ files, unchanged, missing }: RestoredTree): string {
  const more = [
    ...(unchanged > 0 ? [`${grouped(unchanged)} there already`] : []),
    ...(missing > 0 ? [`${grouped(missing)} not restored`] : []),
  ];
  return [count(files, 'file'), ...more].join(', ');
}

function countsOf({ files, unchanged, folders, symlinks, missing, notKept }: RestoredTree): object {
  return { files, unchanged, folders, symlinks, missing, notKept };
}

/** What is selected as a tar archive. */
export async function* tarOf(
  selected: SelectedEntries,
  prefix: string,
  signal: AbortSignal | undefined,
  onEntry: (entry: FolderEntry) => void = () => undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const entries = async function* (): AsyncGenerator<FolderEntry, void, undefined> {
    for await (const entry of selected.entries()) {
      onEntry(entry);
      yield entry;
    }
  };
  const reader = selected.reader();
  try {
    yield* tarStream(entries(), reader.readContent, { prefix, signal });
  } finally {
    await reader.close();
  }
}

/** Writes what is selected to standard output, as a tar archive. */
export async function pourTar(
  { output, terminal, signal }: Invocation,
  selected: SelectedEntries,
  name: string,
): Promise<{ readonly code: ExitCode; readonly bytes: number }> {
  if (output.isTerminal) {
    throw invalidInput(
      'A folder is written as a tar archive, which is not for a terminal. Send it to a file or a pipe.',
    );
  }
  let undated = 0;
  const onEntry = ({ modified }: FolderEntry): void => {
    if (modified === null) undated += 1;
  };
  await terminal.withProgress(name, async (report) => {
    const onBytes = counting(report, name, selected.size);
    for await (const bytes of tarOf(selected, name, signal, onEntry)) {
      onBytes(bytes.length);
      if (await output.write(bytes)) continue;
      throw new VaultError(
        'unavailable',
        'Whoever read standard output has gone before the whole archive was written.',
      );
    }
  });
  if (undated === 0) return { code: DONE, bytes: selected.size };
  const what = count(undated, 'entry has', 'entries have');
  terminal.warn(`${what} no time of modification, since none is stored: the archive says 1970.`, {
    kind: 'not-kept',
  });
  return { code: ATTENTION, bytes: selected.size };
}
