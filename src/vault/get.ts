/** Reading a file back. */
import { throwIfAborted } from '../errors.ts';
import { decodeTable, TABLE_ENTRY_SIZE } from '../format/manifest.ts';
import type { Manifest, ManifestHead, TableEntry } from '../format/manifest.ts';
import { VaultError } from '../errors.ts';
import { Lender, mapOrdered } from '../pipeline.ts';
import { allocateChunkMemory, chunkMemorySize, chunksInFlight } from './chunk-memory.ts';
import { ChunkSource } from './chunk-source.ts';
import type { WantedChunk } from './chunk-source.ts';
import { resolveFile } from './files.ts';
import { readManifest } from './manifests.ts';
import { infoOf } from './put.ts';
import type { Session } from './session.ts';
import type { CallOptions, StoredFile } from './vault.ts';

/** See `Vault.get`. */
export async function getFile(
  session: Session,
  reference: string,
  options: CallOptions = {},
): Promise<StoredFile> {
  const { info } = await resolveFile(session, reference);
  const manifest = await readManifest(session, info.hash, options);
  return {
    ...infoOf(info.hash, manifest.head),
    content: (call) => readContent(session, manifest, call),
  };
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

/**
 * The file's chunks in order, out of the manifest's table or the chunks that hold it, checked against the head: every chunk
 * but the last is full, and together they make the file's size.
 *
 * @throws `damaged` if the table contradicts the head
 */
export async function* fileEntries(
  session: Session,
  { head, table }: Manifest,
  options: CallOptions = {},
): AsyncGenerator<WantedChunk, void, undefined> {
  let entries: AsyncIterable<TableEntry> = inOrder(table);
  for (let depth = head.tableDepth; depth > 0; depth -= 1) {
    entries = tableEntries(session, head, withLast(entries), options);
  }
  let size = 0;
  let chunks = 0;
  for await (const entry of withLast(entries)) {
    if (!entry.isLast && entry.length !== head.chunkSize) break;
    size += entry.length;
    chunks += 1;
    if (size > head.size || chunks > head.chunks) break;
    yield entry;
  }
  if (size !== head.size || chunks !== head.chunks) {
    throw new VaultError('damaged', 'A manifest lists chunks that do not make up the file.');
  }
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

async function* inOrder<T>(list: readonly T[]): AsyncGenerator<T, void, undefined> {
  yield* list;
}

/** Marks the last entry, for which one is held back. */
async function* withLast(entries: AsyncIterable<TableEntry>): AsyncGenerator<WantedChunk, void, undefined> {
  let held: TableEntry | null = null;
  for await (const entry of entries) {
    if (held !== null) yield { ...held, isLast: false };
    held = entry;
  }
  if (held !== null) yield { ...held, isLast: true };
}
