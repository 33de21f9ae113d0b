/** Listing files by the catalog. */
import type { ListPosition } from '../../catalog/catalog.ts';
import { throwIfAborted, VaultError } from '../../errors.ts';
import type { CallOptions } from '../call.ts';
import { openFileRowIfIntact, type FileInfo } from '../files/records.ts';
import { resolveFile } from '../files/resolve.ts';
import { writerFinder, type WrittenFile } from '../files/writers.ts';
import type { Session } from '../session.ts';

export interface ListOptions extends CallOptions {
  /** Every version of a name, not the newest alone. */
  readonly all?: boolean | undefined;
  /** Only removed files that can still be brought back. */
  readonly deleted?: boolean | undefined;
  /** Goes on behind the last file of a list that began with the first one. */
  readonly after?: ListPosition | undefined;
}

/** A file in a list. */
export interface ListedFile extends WrittenFile {
  /** When it was removed; null unless it was. */
  readonly deletedAtMs: number | null;
}

export type FileFacts = FileInfo;

export async function factsOf(
  session: Session,
  reference: string,
  { hidden = false }: { readonly hidden?: boolean | undefined } = {},
): Promise<FileFacts> {
  return (await resolveFile(session, reference, { hidden })).info;
}

export async function* listFiles(
  session: Session,
  options: ListOptions = {},
): AsyncGenerator<ListedFile, void, undefined> {
  const { all = false, deleted: hidden = false, after, signal } = options;
  let changed = 0;
  const writer = writerFinder(session);
  for await (const row of session.catalog.files.list({ all: all || hidden, hidden, after, signal })) {
    throwIfAborted(signal);
    // Who can only store has sealed the names of what it has stored itself, and no others.
    if (session.keys.full === null && row.writer !== session.keys.writer.id) continue;
    const record = openFileRowIfIntact(session, row);
    if (record === null) changed += 1;
    else
      yield {
        ...record.info,
        deletedAtMs: row.hiddenAtMs,
        writer: writer(row.writer),
      };
  }
  if (changed > 0) {
    throw new VaultError(
      'damaged',
      `${changed} of the catalog’s records are not what was written there. "vault repair" rebuilds them from the buckets; what no bucket has goes with "vault rm --now" and the hash that "vault verify" tells.`,
    );
  }
}
