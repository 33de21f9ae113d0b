/** From a source's bytes to stored chunks and the tables that list them. */
import { mostBody } from '../../format/manifest.ts';
import type { ContentTable, FolderPart, IdsTable } from '../../format/manifest.ts';
import { MAX_TABLE_BODY } from '../../format/tables.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import type { Lender } from '../../concurrency/semaphore.ts';
import { payloadSize } from '../../format/chunk.ts';
import { bodyOf } from '../chunks/chunk-memory.ts';
import type { ChunkMemory } from '../chunks/chunk-memory.ts';
import type { WriterKeys } from '../../crypto/keys.ts';
import type { Compression } from '../../format/keyring.ts';
import type { Retaining } from '../buckets/retaining.ts';
import type { CallOptions, Warning } from '../call.ts';
import { idOfRef } from '../files/tables.ts';
import type { Session } from '../session.ts';
import { ChunkWriter } from './chunk-writer.ts';
import type { StoredChunk } from './chunk-writer.ts';
import { chunked } from './chunked.ts';
import { ContentCutter } from './content-cutter.ts';
import { cutByContent } from './cut-by-content.ts';
import type { Guarded } from '../protocol/guarded.ts';
import type { OpenSource } from './file-source.ts';
import type { RememberedFile } from './remembered-file.ts';
import { TableWriter } from './table-writer.ts';

/** The keys that make ids of bodies: a writer's, or a locked file's own. */
export type DedupKeys = Pick<WriterKeys, 'content' | 'table'>;

export interface StoredContent {
  readonly table: ContentTable;
  /** Null for a file. */
  readonly folder: FolderPart | null;
  readonly ids: IdsTable;
  /** Chunks of the content. */
  readonly chunks: number;
  readonly indexChunks: number;
  readonly chunksStored: number;
  readonly degradedChunks: number;
  /** Bytes of the source in chunks that were stored now. */
  readonly newBytes: number;
  /** Bytes sent to buckets. */
  readonly bytesStored: number;
}

export const NOTHING_STORED = { chunksStored: 0, degradedChunks: 0, newBytes: 0, bytesStored: 0 };

/** `fixed`: chunks of one size, but for the last. `content`: where the bytes say so, from 256 KiB to 4 MiB, about 1 MiB on average. */
export type Chunking = 'fixed' | 'content';

export interface ContentCall extends CallOptions {
  readonly chunking: Chunking;
  /** Bytes of a full chunk of `fixed` chunking. */
  readonly chunkSize: number;
  readonly compression: Compression;
  /** What has been read of the source already. */
  readonly beginning: Uint8Array;
  readonly remembered?: RememberedFile | null | undefined;
  readonly guarded: Guarded;
  readonly retaining?: Retaining | null | undefined;
  readonly dedup: DedupKeys;
  readonly dryRun?: boolean | undefined;
  readonly signal: AbortSignal;
}

/** What storing needs in every case: who stores chunks, and who writes the tables of them. */
export function startStoring(
  session: Session,
  call: Pick<
    ContentCall,
    'guarded' | 'retaining' | 'compression' | 'dedup' | 'dryRun' | 'signal' | 'onWarning'
  >,
  most: number,
): { readonly writer: ChunkWriter; readonly tables: TableWriter } {
  const { guarded, retaining = null, compression, dedup, dryRun = false, signal } = call;
  const warn = (warning: Warning): void => call.onWarning?.(warning);
  const writer = new ChunkWriter(session, {
    guarded,
    retaining,
    chunkSize: most,
    compression,
    dryRun,
    onWarning: warn,
  });
  const memory = session.memory.share(MAX_TABLE_BODY, session.keyring.keyring.redundancy).lender;
  const tables = new TableWriter(async (bytes) => {
    const lent = await memory.borrow();
    bodyOf(lent).set(bytes);
    const body = { length: bytes.length, full: false, dedupKey: dedup.table };
    return writer.store(lent, body, signal, memory);
  });
  return { writer, tables };
}

/** Stores every chunk of a source, and of its tables if they outgrow the manifest. What is remembered and unchanged is not read. */
export async function storeContent(
  session: Session,
  source: OpenSource,
  call: ContentCall,
): Promise<StoredContent> {
  const { signal, chunking } = call;
  const chunkSize = chunking === 'content' ? null : call.chunkSize;
  const { writer, tables } = startStoring(session, call, mostBody({ chunkSize }));
  const { remembered } = call;
  let size = 0;
  let chunks = 0;
  const add = async (chunk: StoredChunk): Promise<void> => {
    await tables.add(chunk);
    remembered?.note(chunk.ref);
    size += chunk.ref.length;
    chunks += 1;
    call.onProgress?.({ doneBytes: size, totalBytes: source.size });
  };
  call.onProgress?.({ doneBytes: 0, totalBytes: source.size });
  const unread = (await remembered?.find(writer, chunkSize, signal)) ?? null;
  if (unread !== null) {
    for (const ref of unread.refs()) {
      const { id } = idOfRef(ref);
      await add({ ref, id: { id, padded: payloadSize(ref.length, ref.length === chunkSize) } });
    }
  } else {
    for await (const chunk of storeRead(session, source, { call, writer, chunkSize })) await add(chunk);
    await source.verify();
  }
  await remembered?.end();
  const { content, ids } = await tables.finish();
  await writer.finish();
  const { bytesStored } = writer.uploader;
  const table = { size, chunkSize, ...content, inline: null };
  return { table, folder: null, ids, chunks, indexChunks: 0, ...writer.totals, bytesStored };
}

/** Reads a source to its end, and stores it chunk by chunk. */
function storeRead(
  session: Session,
  source: OpenSource,
  p: { readonly call: ContentCall; readonly writer: ChunkWriter; readonly chunkSize: number | null },
): AsyncIterable<StoredChunk> {
  const { call, writer, chunkSize } = p;
  const { signal, chunking, dedup } = call;
  const { memory } = writer;
  const read = readAfter(call.beginning, source);
  return mapOrdered(
    (aborted) => {
      const readOn = (target: Uint8Array): Promise<number> => read(target, aborted);
      const bodies = bodiesOf(memory, mostBody({ chunkSize }));
      return chunking === 'content'
        ? cutByContent(readOn, bodies, new ContentCutter(session.keys.writer.cut))
        : chunked(readOn, bodies);
    },
    (chunk, aborted) => {
      const full = chunk.length === chunkSize;
      return writer.store(chunk.memory, { length: chunk.length, full, dedupKey: dedup.content }, aborted);
    },
    { inFlight: writer.inFlight, signal, discard: (chunk) => memory.giveBack(chunk.memory) },
  );
}

/** Memory as those take it who fill it. @param size of a full body */
export function bodiesOf(
  memory: Lender<ChunkMemory>,
  size: number,
): {
  borrow(): Promise<ChunkMemory>;
  bodyOf(lent: ChunkMemory): Uint8Array;
  giveBack(lent: ChunkMemory): void;
} {
  return {
    borrow: () => memory.borrow(),
    bodyOf: (lent) => bodyOf(lent).subarray(0, size),
    giveBack: memory.giveBack.bind(memory),
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
