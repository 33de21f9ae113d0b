/** The chunks of a file, out of its manifest and the chunks that hold its tables. */
import { idOfTag } from '../../crypto/chunk.ts';
import { VaultError } from '../../errors.ts';
import { payloadSize } from '../../format/chunk.ts';
import { MAX_CHUNK_SIZE } from '../../format/limits.ts';
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

/** A chunk, and what proves it. */
export interface ProvingRef {
  readonly ref: ChunkRef;
  /** Whether it holds a part of a table. */
  readonly isTable: boolean;
}

/**
 * What proves the chunks of a content and of its tables; held to the size and number that the manifest says as `contentRefs` does,
 * but each part of a table is read once, however often it is listed.
 *
 * @throws as `contentRefs`
 */
export async function* contentProof(
  session: ReadSession,
  { table, chunks }: { readonly table: ContentTable; readonly chunks: number },
  options: CallOptions = {},
): AsyncGenerator<ProvingRef, void, undefined> {
  const { size, refs, depth, chunkSize } = table;
  const sum = yield* refsOnce(session, refs, { ...options, depth, most: mostBody(table), sums: new Map() });
  const isCut = chunkSize === null || sum.short === 0 || (sum.short === 1 && sum.endsShort);
  if (!isCut || sum.bytes !== size || sum.chunks !== chunks) throw contradiction();
}

/**
 * What proves chunks of a file, one by one: those below some references of a table, and those of the tables on the way. Each part
 * of a table is read once, however often it is listed.
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
  const proof = refsOnce(session, refs, { ...options, depth, most: MAX_CHUNK_SIZE, sums: new Map() });
  for await (const { ref } of proof) yield ref;
}

/** What a part of a table comes to, with all that is below it. */
interface Sum {
  bytes: number;
  chunks: number;
  /** Chunks that have less than the most. */
  short: number;
  /** Whether the last one has. */
  endsShort: boolean;
}

/** @param how `most`: bytes of the largest chunk at the bottom. `sums`: of the parts that have been read */
async function* refsOnce(
  session: ReadSession,
  refs: readonly ChunkRef[],
  how: CallOptions & {
    readonly depth: number;
    readonly most: number;
    readonly sums: Map<string, Sum>;
  },
): AsyncGenerator<ProvingRef, Sum, undefined> {
  const { depth, most, sums } = how;
  const total: Sum = { bytes: 0, chunks: 0, short: 0, endsShort: false };
  for (const ref of refs) {
    const { length } = ref;
    if (depth === 0 && length > most) throw contradiction();
    const isShort = length < most;
    let sum: Sum | undefined = { bytes: length, chunks: 1, short: isShort ? 1 : 0, endsShort: isShort };
    if (depth > 0) sum = sums.get(keyOf(ref, depth));
    if (depth === 0 || sum === undefined) yield { ref, isTable: depth > 0 };
    if (sum === undefined) {
      sum = total;
      for await (const body of tableBodies(session, [ref], REF_SIZE, how))
        sum = yield* refsOnce(session, decodeRefs(body), { ...how, depth: depth - 1 });
      sums.set(keyOf(ref, depth), sum);
    }
    total.bytes += sum.bytes;
    total.chunks += sum.chunks;
    total.short += sum.short;
    total.endsShort = sum.endsShort;
  }
  return total;
}

function keyOf({ tag, hash, length }: ChunkRef, depth = 0): string {
  return `${tag.toString('latin1')}${hash.toString('latin1')}${length} ${depth}`;
}

/**
 * The ids of every chunk that a file needs, in runs: those of its content, of its content's tables, and of the tables of ids. What
 * a part of a table lists comes once, however often that is listed: a file may be many times what is stored of it.
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
  let refs = once(table.refs);
  yield refs.map(idOfRef);
  for (let depth: number = table.depth; depth > 1; depth -= 1) {
    const below = new Map<string, ChunkRef>();
    for await (const body of tableBodies(session, refs, REF_SIZE, options)) {
      const some = once(decodeRefs(body));
      for (const ref of some) below.set(keyOf(ref), ref);
      yield some.map(idOfRef);
    }
    refs = [...below.values()];
  }
  for await (const body of tableBodies(session, refs, ID_ENTRY_SIZE, options)) yield decodeIds(body);
}

/** The same references, each once. */
function once(refs: readonly ChunkRef[]): ChunkRef[] {
  return [...new Map(refs.map((ref) => [keyOf(ref), ref])).values()];
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
