/** From a source's bytes to stored chunks and the tables that list them. */
import type { ContentTable, IdsTable } from '../../format/manifest.ts';
import { MAX_TABLE_BODY } from '../../format/tables.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import { bodyOf } from '../chunks/chunk-memory.ts';
import type { WriterKeys } from '../../crypto/keys.ts';
import type { Compression } from '../../format/keyring.ts';
import type { CallOptions, Warning } from '../call.ts';
import type { Session } from '../session.ts';
import { ChunkWriter } from './chunk-writer.ts';
import { chunked } from './chunked.ts';
import type { Guarded } from '../protocol/guarded.ts';
import type { OpenSource } from './file-source.ts';
import { TableWriter } from './table-writer.ts';

/** The keys that make ids of bodies: a writer's, or a locked file's own. */
export type DedupKeys = Pick<WriterKeys, 'content' | 'table'>;

export interface StoredContent {
  readonly table: ContentTable;
  readonly ids: IdsTable;
  /** Chunks of the content. */
  readonly chunks: number;
  readonly chunksStored: number;
  readonly degradedChunks: number;
  /** Bytes of the source in chunks that were stored now. */
  readonly newBytes: number;
  /** Bytes sent to buckets. */
  readonly bytesStored: number;
}

export interface ContentCall extends CallOptions {
  /** Bytes of a full chunk. */
  readonly chunkSize: number;
  readonly compression: Compression;
  /** What has been read of the source already. */
  readonly beginning: Uint8Array;
  readonly guarded: Guarded;
  readonly dedup: DedupKeys;
  readonly dryRun?: boolean | undefined;
  readonly signal: AbortSignal;
}

/** Stores every chunk of a source, and of its tables if they outgrow the manifest. */
export async function storeContent(
  session: Session,
  source: OpenSource,
  call: ContentCall,
): Promise<StoredContent> {
  const { signal, chunkSize, guarded, compression, dedup } = call;
  const warn = (warning: Warning): void => call.onWarning?.(warning);
  const writer = new ChunkWriter(session, {
    guarded,
    chunkSize,
    compression,
    dryRun: call.dryRun === true,
    onWarning: warn,
  });
  const tableMemory = session.memory.share(MAX_TABLE_BODY, session.keyring.keyring.redundancy).lender;
  const tables = new TableWriter(async (bytes) => {
    const lent = await tableMemory.borrow();
    bodyOf(lent).set(bytes);
    const body = { length: bytes.length, full: false, dedupKey: dedup.table };
    return writer.store(lent, body, signal, tableMemory);
  });
  const memory = {
    borrow: () => writer.memory.borrow(),
    bodyOf,
    giveBack: writer.memory.giveBack.bind(writer.memory),
  };
  let size = 0;
  let chunks = 0;
  call.onProgress?.({ doneBytes: 0, totalBytes: source.size });
  const read = readAfter(call.beginning, source);
  const stored = mapOrdered(
    (aborted) => chunked((target) => read(target, aborted), memory),
    (chunk, aborted) => {
      const full = chunk.length === chunkSize;
      return writer.store(chunk.memory, { length: chunk.length, full, dedupKey: dedup.content }, aborted);
    },
    { inFlight: writer.inFlight, signal, discard: (chunk) => writer.memory.giveBack(chunk.memory) },
  );
  for await (const chunk of stored) {
    await tables.add(chunk);
    size += chunk.ref.length;
    chunks += 1;
    call.onProgress?.({ doneBytes: size, totalBytes: source.size });
  }
  const { depth, refs, ids } = await tables.finish();
  await writer.finish();
  const { bytesStored } = writer.uploader;
  return {
    table: { size, chunkSize, depth, refs, inline: null },
    ids,
    chunks,
    ...writer.totals,
    bytesStored,
  };
}

/** Reads what has been read before, and then the source. */
function readAfter(
  beginning: Uint8Array,
  source: OpenSource,
): (target: Uint8Array, signal: AbortSignal) => Promise<number> {
  let left = beginning;
  return async (target, signal) => {
    const part = left.subarray(0, target.length);
    target.set(part);
    left = left.subarray(part.length);
    if (part.length === target.length) return part.length;
    return part.length + (await source.read(target.subarray(part.length), signal));
  };
}
