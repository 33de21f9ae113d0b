/** Reading a file back. */
import { isVaultError, throwIfAborted, VaultError } from '../../errors.ts';
import { fileTimeOfMs } from '../../format/file-time.ts';
import { decodeTable, TABLE_ENTRY_SIZE, tableShape } from '../../format/manifest.ts';
import type { Manifest, ManifestHead, TableEntry, TableShape } from '../../format/manifest.ts';
import { Lender } from '../../concurrency/semaphore.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import { allocateChunkMemory, chunkMemorySize, chunksInFlight } from '../chunks/chunk-memory.ts';
import { ChunkSource } from '../chunks/chunk-source.ts';
import type { WantedChunk } from '../chunks/chunk-source.ts';
import { resolveFile } from '../files/files.ts';
import { readManifest } from '../files/manifests.ts';
import { infoOf } from '../write/put.ts';
import type { Session } from '../session.ts';
import type { CallOptions, StoredFile } from '../vault.ts';

/** See `Vault.get`. */
export async function getFile(
  session: Session,
  reference: string,
  options: CallOptions = {},
): Promise<StoredFile> {
  const { hash, name } = (await resolveFile(session, reference)).info;
  try {
    const manifest = await readManifest(session, hash, options);
    return {
      ...infoOf(hash, manifest.head),
      modified: manifest.head.modifiedAtMs === null ? null : fileTimeOfMs(manifest.head.modifiedAtMs),
      async *content(call) {
        try {
          yield* readContent(session, manifest, call);
        } catch (error) {
          throw await whyUnreadable(session, { hash, name }, error);
        }
      },
    };
  } catch (error) {
    throw await whyUnreadable(session, { hash, name }, error);
  }
}

/** What to say of a file that cannot be read: if it has just been removed, nothing is damaged. */
async function whyUnreadable(
  session: Session,
  { hash, name }: { readonly hash: string; readonly name: string },
  error: unknown,
): Promise<unknown> {
  if (!isVaultError(error, 'damaged')) return error;
  try {
    const [visible] = await session.catalog.filesByHash(hash, 1);
    if (visible !== undefined) return error;
  } catch {
    return error;
  }
  return new VaultError('file-not-found', `"${name}" was removed while it was read.`, { cause: error });
}

/** The file's bytes, run by run; see `StoredFile.content`. */
export async function* readContent(
  session: Session,
  manifest: Manifest,
  options: CallOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { head } = manifest;
  const source = new ChunkSource(session, head.chunkSize);
  const inFlight = chunksInFlight(session.limits, chunkMemorySize(head.chunkSize, null) * 2);
  const lender = new Lender(inFlight + 1, () => allocateChunkMemory(head.chunkSize, null));
  let doneBytes = 0;
  options.onProgress?.({ doneBytes, totalBytes: head.size });
  const bodies = mapOrdered(
    fileEntries(session, manifest, options),
    async (entry, signal) => {
      const memory = await lender.borrow();
      return { memory, body: await source.read(memory, entry, signal) };
    },
    { inFlight, signal: options.signal },
  );
  for await (const { memory, body } of bodies) {
    yield body;
    lender.giveBack(memory);
    throwIfAborted(options.signal);
    doneBytes += body.length;
    options.onProgress?.({ doneBytes, totalBytes: head.size });
  }
  for (const warning of source.problems.warnings()) options.onWarning?.(warning);
}

/** The file's own chunks in order; see `entriesAtDepth`. */
export function fileEntries(
  session: Session,
  manifest: Manifest,
  options: CallOptions = {},
): AsyncGenerator<WantedChunk, void, undefined> {
  return entriesAtDepth(session, manifest, 0, options);
}

/**
 * The chunks that a table of some depth lists, in order, out of the manifest or the chunks that hold the table. At
 * every depth they have the number and the lengths that follow from the head.
 *
 * @param depth 0 for the file's own chunks; more for those that hold the table of the depth below, up to the head's
 * @throws `damaged` if a table contradicts the head; as reading the chunks of the tables above
 */
export async function* entriesAtDepth(
  session: Session,
  { head, table }: Manifest,
  depth: number,
  options: CallOptions = {},
): AsyncGenerator<WantedChunk, void, undefined> {
  let entries: AsyncIterable<TableEntry> | Iterable<TableEntry> = table;
  for (let at = head.tableDepth; at > depth; at -= 1) {
    entries = tableEntries(session, head, checked(entries, tableShape(head, at)), options);
  }
  yield* checked(entries, tableShape(head, depth));
}

/** Holds entries to the shape that they must have together. */
async function* checked(
  entries: AsyncIterable<TableEntry> | Iterable<TableEntry>,
  shape: TableShape,
): AsyncGenerator<WantedChunk, void, undefined> {
  const contradiction = new VaultError('damaged', 'A manifest lists chunks that do not make up the file.');
  let at = 0;
  for await (const entry of entries) {
    if (at === shape.count || entry.length !== shape.lengthOf(at)) throw contradiction;
    at += 1;
    yield { ...entry, isLast: at === shape.count };
  }
  if (at !== shape.count) throw contradiction;
}

/** The entries that lie in chunks. */
async function* tableEntries(
  session: Session,
  head: ManifestHead,
  chunks: AsyncIterable<WantedChunk>,
  options: CallOptions,
): AsyncGenerator<TableEntry, void, undefined> {
  const source = new ChunkSource(session, head.chunkSize);
  const bodies = mapOrdered(
    chunks,
    async (entry, signal) => {
      const memory = allocateChunkMemory(head.chunkSize, null);
      return source.read(memory, entry, signal);
    },
    { inFlight: 2, signal: options.signal },
  );
  // An entry may begin in one chunk and end in the next.
  let rest = Buffer.alloc(0);
  for await (const body of bodies) {
    const bytes = Buffer.concat([rest, body]);
    const whole = bytes.length - (bytes.length % TABLE_ENTRY_SIZE);
    rest = bytes.subarray(whole);
    yield* decodeTable(bytes.subarray(0, whole), head.chunkSize);
  }
  if (rest.length > 0) throw new VaultError('damaged', 'A manifest has a table that is not whole.');
  for (const warning of source.problems.warnings()) options.onWarning?.(warning);
}
