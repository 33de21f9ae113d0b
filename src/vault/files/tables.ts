/** The chunks of a file, out of its manifest and the chunks that hold its tables. */
import { idOfTag } from '../../crypto/chunk.ts';
import { VaultError } from '../../errors.ts';
import { payloadSize } from '../../format/chunk.ts';
import { decodeIds, decodeRefs, mostBody } from '../../format/manifest.ts';
import type {
  ChunkId,
  ChunkRef,
  ContentPart,
  ContentTable,
  IdsTable,
  ManifestHead,
} from '../../format/manifest.ts';
import { countTableEntries, ID_ENTRY_SIZE, REF_SIZE } from '../../format/tables.ts';
import { allocateChunkMemory } from '../chunks/chunk-memory.ts';
import { ChunkReader } from '../chunks/chunk-reader.ts';
import type { CallOptions } from '../call.ts';
import type { ReadSession } from '../session.ts';

/**
 * A content's own chunks in order, held to the size and number that the manifest says.
 *
 * @param chunks as the vault part has them
 * @throws `damaged` if the tables contradict the manifest; as reading the chunks of the tables
 */
export async function* contentRefs(
  session: ReadSession,
  { table, chunks }: { readonly table: ContentTable; readonly chunks: number },
  options: CallOptions = {},
): AsyncGenerator<ChunkRef, void, undefined> {
  let left = table.size;
  let count = 0;
  for await (const ref of refsBelow(session, table.refs, table.depth, options)) {
    const most = Math.min(left, mostBody(table));
    const fits = table.chunkSize === null ? ref.length <= most : ref.length === most;
    if (!fits || left === 0) throw contradiction();
    left -= ref.length;
    count += 1;
    yield ref;
  }
  if (left !== 0 || count !== chunks) throw contradiction();
}

/** What of a file or folder lies in chunks, if it is not inline: its content, and of a folder then its index. */
export function contentsOf(
  head: Pick<ManifestHead, 'chunks' | 'indexChunks'>,
  { table, folder }: ContentPart,
): { readonly table: ContentTable; readonly chunks: number }[] {
  const content = { table, chunks: head.chunks };
  return folder === null ? [content] : [content, { table: folder.index, chunks: head.indexChunks }];
}

/**
 * What proves chunks of a file, one by one: those below some references of a table, and those of the tables on the way.
 *
 * @param depth how many levels of tables there are below the references
 * @throws as reading the chunks of the tables
 */
export async function* provingRefs(
  session: ReadSession,
  refs: readonly ChunkRef[],
  depth: number,
  options: CallOptions = {},
): AsyncGenerator<ChunkRef, void, undefined> {
  for (const ref of refs) {
    yield ref;
    if (depth === 0) continue;
    for await (const body of tableBodies(session, [ref], REF_SIZE, options)) {
      yield* provingRefs(session, decodeRefs(body), depth - 1, options);
    }
  }
}

/**
 * The ids of every chunk that a file needs, in runs: those of its content, of its content's tables, and of the tables of ids.
 *
 * @throws as reading the chunks of the tables
 */
export async function* neededChunks(
  session: ReadSession,
  table: IdsTable,
  options: CallOptions = {},
): AsyncGenerator<readonly ChunkId[], void, undefined> {
  if (table.depth === 0) {
    yield table.ids;
    return;
  }
  yield table.refs.map(idOfRef);
  let refs: AsyncIterable<ChunkRef> | Iterable<ChunkRef> = table.refs;
  for (let depth: number = table.depth; depth > 1; depth -= 1) {
    const below: ChunkRef[] = [];
    for await (const body of tableBodies(session, refs, REF_SIZE, options)) {
      const some = decodeRefs(body);
      below.push(...some);
      yield some.map(idOfRef);
    }
    refs = below;
  }
  for await (const body of tableBodies(session, refs, ID_ENTRY_SIZE, options)) yield decodeIds(body);
}

/** A table chunk as an entry of a table of ids. */
export function idOfRef({ tag, length }: ChunkRef): ChunkId {
  return { id: idOfTag(tag), padded: payloadSize(length, false) };
}

/** The entries at the bottom of a tree of tables. */
async function* refsBelow(
  session: ReadSession,
  refs: AsyncIterable<ChunkRef> | Iterable<ChunkRef>,
  depth: number,
  options: CallOptions,
): AsyncGenerator<ChunkRef, void, undefined> {
  if (depth === 0) {
    yield* refs;
    return;
  }
  const inner = refsBelow(session, refs, depth - 1, options);
  for await (const body of tableBodies(session, inner, REF_SIZE, options)) yield* decodeRefs(body);
}

/** @param entrySize bytes of an entry in the bodies: a chunk that cannot hold such is not read */
async function* tableBodies(
  session: ReadSession,
  refs: AsyncIterable<ChunkRef> | Iterable<ChunkRef>,
  entrySize: number,
  options: CallOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new ChunkReader(session);
  const signal = options.signal ?? new AbortController().signal;
  for await (const ref of refs) {
    countTableEntries([ref], entrySize);
    yield await reader.read(allocateChunkMemory(ref.length, null), ref, signal);
  }
  for (const warning of reader.problems.warnings()) options.onWarning?.(warning);
}

function contradiction(): VaultError {
  return new VaultError('damaged', 'A manifest lists chunks that do not make up the file.');
}
