/**
 * Storing a file. The order of writes is what keeps the promises: shards, then manifests, then the one transaction
 * that makes the file visible.
 */
import { drawGeneration } from '../../crypto/keys.ts';
import { manifestHash, nameTag, openManifest, sealManifest, startContentTag } from '../../crypto/seal.ts';
import { isVaultError, throwIfAborted, VaultError } from '../../errors.ts';
import { msOfFileTime } from '../../format/file-time.ts';
import { DEFAULT_CHUNK_SIZE, MAX_CHUNK_SIZE, MIN_CHUNK_SIZE } from '../../format/chunk.ts';
import { decodeTable, encodeTable, manifestObjectName, MAX_NAME_SIZE } from '../../format/manifest.ts';
import type { ManifestHead } from '../../format/manifest.ts';
import { formatRedundancy } from '../../format/shard.ts';
import { chunked } from './chunked.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import { describeFailure } from '../buckets/bucket-set.ts';
import type { BucketSet } from '../buckets/bucket-set.ts';
import { bodyOf } from '../chunks/chunk-memory.ts';
import { ChunkStore } from './chunk-store.ts';
import { openFileRow, sealFileRow } from '../files/files.ts';
import type { FileRecord } from '../files/files.ts';
import { withLease } from './lease.ts';
import { readManifestObject } from '../files/manifests.ts';
import type { Session } from '../session.ts';
import { TableWriter } from './table-writer.ts';
import type { FileInfo, FileSource, OpenSource, PutOptions, PutResult, Warning } from '../vault.ts';

/** How often a put that was swept while it ran (a machine that slept) begins again. */
const MOST_STARTS = 3;
/** Entries gathered before they go into the table. */
const ENTRIES_A_BATCH = 256;

/** See `Vault.put`. */
export async function putFile(session: Session, source: FileSource, options: PutOptions): Promise<PutResult> {
  const chunkSize = options.chunkSize ?? DEFAULT_CHUNK_SIZE;
  checkOptions(options.name, chunkSize);
  const { turns } = session.memory.share(chunkSize, session.settings.redundancy);
  const turn = await turns.borrow();
  try {
    for (let starts = 1; ; starts += 1) {
      throwIfAborted(options.signal);
      const opened = await source.open(options.signal);
      try {
        return await putOnce(session, opened, { ...options, chunkSize });
      } catch (error) {
        if (!isVaultError(error, 'stale') || !source.reopens || starts === MOST_STARTS) throw error;
      } finally {
        await opened.close();
      }
    }
  } finally {
    turns.giveBack(turn);
  }
}

function checkOptions(name: string, chunkSize: number): void {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0 || bytes > MAX_NAME_SIZE || name.includes('\0')) {
    throw new VaultError(
      'invalid-input',
      `A name has 1 to ${MAX_NAME_SIZE} bytes and no NUL; this one has ${bytes}.`,
    );
  }
  if (!name.isWellFormed())
    throw new VaultError('invalid-input', 'A name must be valid Unicode; this one is not.');
  if (!Number.isInteger(chunkSize) || chunkSize < MIN_CHUNK_SIZE || chunkSize > MAX_CHUNK_SIZE) {
    throw new VaultError('invalid-input', `A chunk has 64 KiB to 64 MiB; ${chunkSize} bytes were asked for.`);
  }
}

type PutCall = PutOptions & { readonly chunkSize: number };

async function putOnce(session: Session, source: OpenSource, options: PutCall): Promise<PutResult> {
  // Looked at first, so that a put that cannot be leaves nothing behind.
  let writable = await requireWritable(session, options);
  const generation = drawGeneration();
  await session.catalog.beginPut({ generation, owner: session.processes.self });
  return withLease(session.catalog, generation, options.signal, async (signal) => {
    if (await session.buckets.refresh()) writable = await requireWritable(session, options);
    for (const failure of writable.failed) {
      options.onWarning?.({
        kind: 'bucket-down',
        message: describeFailure(failure),
        bucket: failure.bucket.url,
      });
    }
    const warn = (warning: Warning): void => options.onWarning?.(warning);
    const { redundancy } = session.settings;
    const { chunkSize } = options;
    const buckets = writable.usable;
    const store = new ChunkStore(session, { generation, chunkSize, buckets, onWarning: warn });
    const content = await storeContent(session, source, store, { ...options, signal });
    await source.verify();
    const sizes = { chunksStored: store.totals.chunksStored, degradedChunks: store.totals.degradedChunks };

    const same = await findUnchanged(session, content, options);
    await store.uploader.oweDoubtful(session.catalog);
    if (same !== null) {
      await session.catalog.discardPut(generation);
      const { bytesStored } = store.uploader;
      const degraded = sizes.degradedChunks > 0;
      return { ...same.info, ...sizes, unchanged: true, bytesStored, manifestCopies: 0, degraded };
    }

    const head: ManifestHead = {
      name: options.name,
      size: content.size,
      createdAtMs: session.now(),
      modifiedAtMs: source.modified === null ? null : msOfFileTime(source.modified),
      mode: source.mode,
      expiresAtMs: options.expiresAtMs ?? null,
      chunkSize,
      redundancy,
      chunks: content.chunks,
      tableDepth: content.tableDepth,
    };
    const sealed = sealManifest(session.keys, { head, table: decodeTable(content.table, chunkSize) });
    const hash = manifestHash(sealed);
    await session.catalog.announceManifest(generation, hash);
    let copies: number;
    try {
      copies = await store.uploader.spread(manifestObjectName(hash), sealed, signal);
      if (copies === 0) {
        throw new VaultError(
          'unavailable',
          'No bucket took the manifest, so the file was not stored. Try again.',
        );
      }
      throwIfAborted(signal);
      await session.catalog.commitPut(generation, sealFileRow(session, hash, head, content.tag));
    } catch (error) {
      const swept =
        isVaultError(error, 'stale') ||
        (isVaultError(error, 'interrupted') && isVaultError(signal.reason, 'stale'));
      if (swept) await oweManifest(session, hash);
      throw error;
    }
    return {
      ...infoOf(hash, head),
      ...sizes,
      unchanged: false,
      bytesStored: store.uploader.bytesStored,
      manifestCopies: copies,
      degraded: sizes.degradedChunks > 0 || copies < redundancy.m + 1,
    };
  });
}

/**
 * The buckets that new shards can go to.
 *
 * @throws what a bucket said, or `unavailable`, if they are fewer than a chunk needs
 */
async function requireWritable(session: Session, { signal }: PutCall): ReturnType<BucketSet['writable']> {
  const { redundancy } = session.settings;
  const { usable, failed } = await session.buckets.writable(signal);
  if (usable.length >= redundancy.k) return { usable, failed };
  throw new VaultError(
    failed[0]?.error.code ?? 'unavailable',
    `Only ${usable.length} of the vault's buckets can be written to, and ${formatRedundancy(redundancy)} needs at least ${redundancy.k}. ${failed.map(describeFailure).join(' ')}`,
    { cause: failed[0]?.error },
  );
}

/**
 * Owes the removal of a manifest that may have been sent after its put was swept: nobody else knows of it, and its
 * chunks are gone.
 */
async function oweManifest(session: Session, hash: string): Promise<void> {
  const generation = drawGeneration();
  const places = session.buckets.all.map(({ number }) => ({ index: 0, bucket: number, generation }));
  await session.catalog.addGarbage([{ kind: 'manifest', id: hash, k: 0, m: 0, places }]);
}

/** What a manifest says, with the hash it goes by. */
export function infoOf(hash: string, head: ManifestHead): FileInfo {
  const { tableDepth: _, ...facts } = head;
  return { hash, ...facts };
}

interface StoredContent {
  /** Bytes. */
  readonly size: number;
  readonly chunks: number;
  /** The table's bytes at its depth. */
  readonly table: Buffer;
  readonly tableDepth: number;
  /** Keyed tag of the content, hex. */
  readonly tag: string;
}

/** Stores every chunk of a source, and the table if it outgrows the manifest. */
async function storeContent(
  session: Session,
  source: OpenSource,
  store: ChunkStore,
  options: PutCall & { readonly signal: AbortSignal },
): Promise<StoredContent> {
  const { signal, chunkSize } = options;
  const memory = {
    borrow: () => store.memory.borrow(),
    bodyOf,
    giveBack: store.memory.giveBack.bind(store.memory),
  };
  const tag = startContentTag(session.keys, chunkSize);
  const table = new TableWriter(chunkSize, async (bytes, isLast) => {
    const lent = await store.memory.borrow();
    bodyOf(lent).set(bytes);
    return store.store(lent, { length: bytes.length, isLast }, signal);
  });
  let size = 0;
  let chunks = 0;
  let gathered: { chunkId: string; length: number }[] = [];
  const flush = async (): Promise<void> => {
    tag.update(encodeTable(gathered));
    await table.add(gathered);
    gathered = [];
  };
  options.onProgress?.({ doneBytes: 0, totalBytes: source.size });
  const entries = mapOrdered(
    (aborted) => chunked((target) => source.read(target, aborted), memory),
    (chunk, aborted) => store.store(chunk.memory, chunk, aborted),
    // More than there is memory for: chunks that only wait for the catalog's answer hold none.
    {
      inFlight: store.inFlight * 4,
      signal,
      discard: (chunk) => {
        store.memory.giveBack(chunk.memory);
      },
    },
  );
  for await (const entry of entries) {
    gathered.push(entry);
    size += entry.length;
    chunks += 1;
    if (gathered.length === ENTRIES_A_BATCH) await flush();
    options.onProgress?.({ doneBytes: size, totalBytes: source.size });
  }
  await flush();
  const { bytes, depth } = await table.finish();
  return { size, chunks, table: bytes, tableDepth: depth, tag: tag.digest('hex') };
}

/**
 * The newest file of this name, if it has this content, lives as long as asked for, and can be read: then there is
 * nothing to store.
 */
async function findUnchanged(
  session: Session,
  content: StoredContent,
  options: PutCall,
): Promise<FileRecord | null> {
  const [newest] = await session.catalog.filesByName(nameTag(session.keys, options.name), 1);
  if (newest === undefined) return null;
  try {
    const record = openFileRow(session, newest);
    const same =
      record.contentTag === content.tag &&
      record.info.chunkSize === options.chunkSize &&
      record.info.expiresAtMs === (options.expiresAtMs ?? null);
    if (!same) return null;
    const { sealed } = await readManifestObject(session, newest.hash, options);
    openManifest(session.keys, sealed, newest.hash);
    return record;
  } catch (error) {
    // Its record was changed by somebody else, or its manifest is lost or out of reach: then the content deserves a new one.
    if (isVaultError(error, 'damaged', 'unavailable')) return null;
    throw error;
  }
}
