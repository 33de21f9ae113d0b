/** From the content of a stored file or folder to the same content under the keys of another writer, chunk by chunk. */
import type { OpenedContent, OpenedManifest } from '../../crypto/manifest.ts';
import { mostBody } from '../../format/manifest.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import type { CallOptions } from '../call.ts';
import { ChunkReader } from '../chunks/chunk-reader.ts';
import { contentRefs, contentsOf } from '../files/tables.ts';
import type { Guarded } from '../protocol/guarded.ts';
import type { Session } from '../session.ts';
import { startStoring, type StoredContent } from '../write/content.ts';

/**
 * Stores the chunks of a content, cut where they were cut, and its tables.
 *
 * @param session of the writer whose they are to be
 * @param call `onBytes`: told of what is stored
 * @throws as reading and storing chunks
 */
export async function storeAnew(
  session: Session,
  { head, content }: Pick<OpenedManifest, 'head'> & { readonly content: OpenedContent },
  call: CallOptions & {
    readonly guarded: Guarded;
    readonly signal: AbortSignal;
    readonly onBytes: (count: number) => void;
  },
): Promise<StoredContent> {
  const { guarded, signal, onWarning, onBytes } = call;
  const { compression } = session.keyring.keyring;
  const dedup = session.keys.writer;
  const how = { guarded, compression, dedup, signal, onWarning };
  const { writer, tables } = startStoring(session, how, mostBody(content.table));
  const reader = new ChunkReader(session);
  for (const [at, { table, chunks }] of contentsOf(head, content).entries()) {
    if (table.inline !== null) continue;
    const dedupKey = at === 0 ? dedup.content : dedup.index;
    const stored = mapOrdered(
      contentRefs(session, { table, chunks }, { signal }),
      async (ref, aborted) => {
        const memory = await writer.memory.borrow();
        try {
          await reader.read(memory, ref, aborted);
        } catch (error) {
          writer.memory.giveBack(memory);
          throw error;
        }
        const body = { length: ref.length, full: ref.length === table.chunkSize, dedupKey };
        return writer.store(memory, body, aborted);
      },
      { inFlight: writer.inFlight, signal },
    );
    for await (const chunk of stored) {
      await (at === 0 ? tables.add(chunk) : tables.addIndex(chunk));
      onBytes(at === 0 ? chunk.ref.length : 0);
    }
  }
  const top = await tables.finish();
  await writer.finish();
  for (const warning of reader.problems.warnings()) onWarning?.(warning);
  const { table, folder } = content;
  return {
    table: { ...table, ...top.content },
    folder: folder === null ? null : { ...folder, index: { ...folder.index, ...top.index } },
    ids: top.ids,
    chunks: head.chunks,
    indexChunks: head.indexChunks,
    ...writer.totals,
    bytesStored: writer.uploader.bytesStored,
  };
}
