/** Every chunk of a file or folder that is not locked, with what proves it: for checks that read everything. */
import type { OpenedManifest } from '../../crypto/manifest.ts';
import { decodeRefs, type ChunkRef, type ContentPart } from '../../format/manifest.ts';
import { allocateChunkMemory } from '../chunks/chunk-memory.ts';
import { ChunkReader } from '../chunks/chunk-reader.ts';
import { contentRefs, contentsOf } from '../files/tables.ts';
import type { Session } from '../session.ts';

/**
 * Its content's chunks in order, a folder's index's, then those of its tables.
 *
 * @throws `damaged` if the tables contradict the manifest; as reading the chunks of the tables
 */
export async function* everyRef(
  session: Session,
  { head, ids }: Pick<OpenedManifest, 'head' | 'ids'>,
  content: ContentPart,
  signal: AbortSignal | undefined,
): AsyncGenerator<{ readonly ref: ChunkRef; readonly isTable: boolean }, void, undefined> {
  const contents = contentsOf(head, content).filter(({ table }) => table.inline === null);
  for (const one of contents) {
    for await (const ref of contentRefs(session, one, { signal })) yield { ref, isTable: false };
  }
  const roots = [...contents.map(({ table }) => table), ...(ids.depth === 0 ? [] : [ids])];
  for (const { refs, depth } of roots) {
    for await (const ref of tableRefs(session, refs, depth, signal)) yield { ref, isTable: true };
  }
}

/** The chunks that a table's parts lie in. @param depth of the refs: of 0 they are no table's */
async function* tableRefs(
  session: Session,
  refs: readonly ChunkRef[],
  depth: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<ChunkRef, void, undefined> {
  if (depth === 0) return;
  yield* refs;
  if (depth === 1) return;
  const reader = new ChunkReader(session);
  for (const ref of refs) {
    const memory = allocateChunkMemory(ref.length, null);
    const body = await reader.read(memory, ref, signal ?? new AbortController().signal);
    yield* tableRefs(session, decodeRefs(body), depth - 1, signal);
  }
}
