/** Files and folders that were chosen or dropped. Only their names are read until they are sent. */

export interface Dropped {
  /** With the folders that it lies in. */
  readonly name: string;
  readonly file: () => Promise<File>;
}

export function droppedOf(files: Iterable<File>): Dropped[] {
  return [...files].map((file) => ({
    name: file.webkitRelativePath || file.name,
    file: () => Promise.resolve(file),
  }));
}

/** What a drop holds. Call it in the event: afterwards it is empty. */
export function entriesOf(transfer: DataTransfer): FileSystemEntry[] {
  return [...transfer.items].flatMap((item) => item.webkitGetAsEntry() ?? []);
}

export async function* walk(entries: readonly FileSystemEntry[]): AsyncGenerator<Dropped, void, undefined> {
  for (const entry of entries) {
    if (isFile(entry)) {
      yield {
        name: entry.fullPath.slice(1),
        file: () => new Promise((resolve, reject) => entry.file(resolve, reject)),
      };
    } else if (isFolder(entry)) {
      const reader = entry.createReader();
      for (;;) {
        // A hundred at a time, at most.
        const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
          reader.readEntries(resolve, reject),
        );
        if (some.length === 0) break;
        yield* walk(some);
      }
    }
  }
}

function isFile(entry: FileSystemEntry): entry is FileSystemFileEntry {
  return entry.isFile;
}

function isFolder(entry: FileSystemEntry): entry is FileSystemDirectoryEntry {
  return entry.isDirectory;
}
