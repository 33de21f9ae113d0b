/** Whether the two parts of a manifest say the same. FORMAT.md, "Agreement". */
import { VaultError } from '../errors.ts';
import { payloadSize } from '../format/chunk.ts';
import { canBe } from '../format/content-part.ts';
import { chunksOf } from '../format/manifest.ts';
import type { ChunkId, ChunkRef, ContentPart, ContentTable, VaultPart } from '../format/manifest.ts';
import { idOfTag } from './chunk.ts';

/**
 * How a chunk stands in a table of ids.
 *
 * @param chunkSize of the content that the chunk is of; null for a chunk of a table, and where chunks are cut by content
 */
export function idEntry(ref: ChunkRef, chunkSize: number | null): ChunkId {
  const padded = payloadSize(ref.length, ref.length === chunkSize);
  return { id: idOfTag(ref.tag), padded };
}

/** What the two parts both say must be the same, so that no two readers see two files. @throws `damaged` */
export function requireAgreement(
  { head, ids }: Pick<VaultPart, 'head' | 'ids'>,
  { table, folder }: ContentPart,
): void {
  const sameFolder =
    folder === null ||
    (head.incomplete === folder.incomplete &&
      (head.entries === null || head.entries === folder.entries) &&
      isCount(head.indexChunks, folder.index));
  const sameHead =
    head.kind === (folder === null ? 'file' : 'folder') &&
    (head.size === null || head.size === (folder ?? table).size) &&
    head.chunkSize === table.chunkSize &&
    isCount(head.chunks, table);
  if (!sameHead || !sameFolder) {
    throw new VaultError('damaged', 'The two parts of a manifest describe different contents.');
  }
  // A table of ids that lies in chunks is compared by whoever reads those.
  if (ids.depth !== 0) return;
  const contents = [{ chunks: head.chunks, table }];
  if (folder !== null) contents.push({ chunks: head.indexChunks, table: folder.index });
  if (!areListed(ids.ids, contents)) {
    throw new VaultError('damaged', 'The two parts of a manifest list different chunks.');
  }
}

/** Tables that are deeper than 1 are to be read for how many chunks there are: until then it can only be likely. */
function isCount(chunks: number, table: ContentTable): boolean {
  const own = chunksOf(table);
  return own === null ? chunks > 0 && canBe(chunks, table) : chunks === own;
}

/**
 * The contents' own chunks come first, one content's after the other's. The table chunks that the content part itself lists come last;
 * before those are the tables that only other tables list.
 */
function areListed(
  ids: readonly ChunkId[],
  contents: readonly { readonly chunks: number; readonly table: ContentTable }[],
): boolean {
  const needed = contents.reduce((sum, { chunks }) => sum + chunks, 0);
  const deep = contents.filter(({ table }) => table.depth > 0);
  const tops = deep.reduce((sum, { table }) => sum + table.refs.length, 0);
  if (deep.length === 0 ? ids.length !== needed : ids.length < needed + tops) return false;
  let next = 0;
  let top = ids.length - tops;
  for (const { chunks, table } of contents) {
    const { depth, refs, chunkSize } = table;
    const from = depth === 0 ? next : top;
    next += chunks;
    if (depth > 0) top += refs.length;
    if (!refs.every((ref, i) => isEntry(ids[from + i], idEntry(ref, depth === 0 ? chunkSize : null))))
      return false;
  }
  return true;
}

function isEntry(entry: ChunkId | undefined, expected: ChunkId): boolean {
  return entry !== undefined && entry.id === expected.id && entry.padded === expected.padded;
}
