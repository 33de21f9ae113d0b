/** Filling a catalog with the files that the buckets have, by listings and manifests. */
import type { ChunkRow } from '../../catalog/catalog.ts';
import { drawGeneration } from '../../crypto/keys.ts';
import { openManifest, startContentTag } from '../../crypto/seal.ts';
import { isVaultError, throwIfAborted } from '../../errors.ts';
import { payloadSize, SEAL_OVERHEAD } from '../../format/chunk.ts';
import {
  encodeTable,
  MANIFEST_PREFIX,
  manifestObjectName,
  MAX_MANIFEST_SIZE,
  parseManifestObjectName,
} from '../../format/manifest.ts';
import type { Manifest } from '../../format/manifest.ts';
import type { Redundancy, ShardName } from '../../format/shard.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import type { WantedChunk } from '../chunks/chunk-source.ts';
import { owedObjectName } from '../remove/collect.ts';
import { sealFileRow } from '../files/files.ts';
import { fileEntries } from '../read/get.ts';
import { infoOf } from '../write/put.ts';
import { changeSettings, withSignal } from '../session.ts';
import type { Session } from '../session.ts';
import { listShards } from '../chunks/shard-index.ts';
import type { ShardIndex } from '../chunks/shard-index.ts';
import type { CallOptions, FileInfo } from '../vault.ts';

export interface RecoveredFiles {
  /** Files of which every shard is there. */
  readonly complete: number;
  /** Files that can be read, though some shards or manifests are missing; `repair` completes them. */
  readonly degraded: readonly FileInfo[];
  /**
   * Files of which some chunk has fewer shards than it needs. They are listed all the same, unless it is their list of
   * chunks that cannot be read.
   */
  readonly lost: readonly FileInfo[];
  /** Hashes of manifests that no bucket has intact: files whose names are not known any more. */
  readonly unreadableManifests: readonly string[];
  /** Files that the catalog had already, from an earlier run. */
  readonly known: number;
}

/** Manifests fetched at once. */
const IN_FLIGHT = 16;
/** Chunks recorded in one transaction. */
const BATCH = 500;

/** A manifest that was found. */
interface FoundManifest {
  readonly hash: string;
  readonly manifest: Manifest;
  /** How many buckets have it. */
  readonly copies: number;
}

/**
 * Records the files that the buckets have and the catalog does not.
 *
 * @throws what the buckets and the catalog say; what was recorded stays
 */
export async function recoverFiles(session: Session, options: CallOptions): Promise<RecoveredFiles> {
  const { usable } = await session.buckets.check(session.buckets.all, options.signal);
  const copies = await listManifests(usable, options.signal);
  const known = new Set<string>();
  const listed = [...copies.keys()];
  for (let at = 0; at < listed.length; at += BATCH) {
    for (const hash of await session.catalog.knownManifests(listed.slice(at, at + BATCH))) known.add(hash);
  }
  // In this order: a file that somebody removes meanwhile is known still, or its manifest is owed by now, or has gone.
  const doomed = await findDoomed(session);
  for (const hash of doomed.manifests) copies.delete(hash);
  const hashes = [...copies.keys()];
  const unreadableManifests: string[] = [];
  const manifests: FoundManifest[] = [];
  let done = known.size;
  const fetched = mapOrdered(
    hashes.filter((hash) => !known.has(hash)),
    async (hash, signal) => ({
      hash,
      manifest: await readAnyManifest(session, copies.get(hash) ?? [], { hash, signal }),
    }),
    { inFlight: IN_FLIGHT, signal: options.signal },
  );
  for await (const { hash, manifest } of fetched) {
    if (manifest === null) unreadableManifests.push(hash);
    else if (manifest !== 'gone') manifests.push({ hash, manifest, copies: copies.get(hash)?.length ?? 0 });
    done += 1;
    options.onProgress?.({ doneBytes: done, totalBytes: hashes.length * 2 });
  }
  // Oldest first, so that the order of versions is the one they were put in.
  manifests.sort((a, b) => a.manifest.head.createdAtMs - b.manifest.head.createdAtMs);
  const index = await listShards(usable, {
    passesOver: (bucket, name, shard) => doomed.hasShard(bucket, name, shard),
    signal: options.signal,
  });
  const newest = manifests.at(-1);
  if (newest !== undefined && known.size === 0) await keepRedundancy(session, newest.manifest);

  const result = { complete: 0, degraded: [] as FileInfo[], lost: [] as FileInfo[] };
  for (const file of manifests) {
    throwIfAborted(options.signal);
    const state = await recoverFile(session, file, index);
    const info = infoOf(file.hash, file.manifest.head);
    if (state === 'complete') result.complete += 1;
    else result[state].push(info);
    done += 1;
    options.onProgress?.({ doneBytes: done, totalBytes: hashes.length * 2 });
  }
  await completeChunks(session, index, options.signal);
  await changeSettings(session, ({ redundancy }) => ({ redundancy }));
  return { ...result, unreadableManifests, known: known.size };
}

/** What a catalog that is there already says is to go: it must not come back. */
interface Doomed {
  /** Hashes of manifests that are owed. */
  readonly manifests: ReadonlySet<string>;
  /** Whether a shard is owed, or that of a put that is dead or still under way. */
  hasShard(bucket: VaultBucket, name: string, shard: ShardName): boolean;
}

async function findDoomed({ catalog }: Session): Promise<Doomed> {
  const manifests = new Set<string>();
  const shards = new Set<string>();
  for await (const row of catalog.garbage()) {
    if (row.kind === 'manifest') manifests.add(row.id);
    else for (const place of row.places) shards.add(`${place.bucket} ${owedObjectName(row, place)}`);
  }
  const generations = new Set(await catalog.deadPuts());
  for (const { generation } of await catalog.pendingPuts()) generations.add(generation);
  return {
    manifests,
    hasShard: ({ number }, name, { generation }) =>
      generations.has(generation) || shards.has(`${number} ${name}`),
  };
}

/** Gives the chunks that lack shards what the buckets have of them: an earlier run may have had fewer buckets. */
async function completeChunks(
  session: Session,
  index: ShardIndex,
  signal: AbortSignal | undefined,
): Promise<void> {
  for await (const row of session.catalog.listChunks(withSignal(signal))) {
    const completed = index.completed(row);
    // If somebody else changes the row meanwhile, it is for the better.
    if (completed !== null) await session.catalog.replaceChunk(row, completed);
  }
}

/** Which buckets have which manifest. */
async function listManifests(
  buckets: readonly VaultBucket[],
  signal: AbortSignal | undefined,
): Promise<Map<string, VaultBucket[]>> {
  const copies = new Map<string, VaultBucket[]>();
  for (const bucket of buckets) {
    const storage = await bucket.open();
    for await (const { name } of storage.list(MANIFEST_PREFIX, withSignal(signal))) {
      const hash = parseManifestObjectName(name);
      if (hash === null) continue;
      const holders = copies.get(hash) ?? [];
      holders.push(bucket);
      copies.set(hash, holders);
    }
  }
  return copies;
}

/**
 * A manifest from the first bucket that has it intact; null if none has; `gone` if all of them have it no more, since
 * somebody has removed the file.
 */
async function readAnyManifest(
  session: Session,
  holders: readonly VaultBucket[],
  { hash, signal }: { readonly hash: string; readonly signal: AbortSignal },
): Promise<Manifest | 'gone' | null> {
  let missing = 0;
  for (const holder of holders) {
    try {
      const storage = await holder.open();
      const sealed = await storage.get(manifestObjectName(hash), {
        maxSize: MAX_MANIFEST_SIZE,
        ...withSignal(signal),
      });
      return openManifest(session.keys, sealed, hash);
    } catch (error) {
      if (isVaultError(error, 'object-missing')) missing += 1;
      else if (!isVaultError(error, 'damaged', 'unsupported')) throw error;
    }
  }
  return missing === holders.length ? 'gone' : null;
}

/** New files are stored as the newest one was. */
async function keepRedundancy(session: Session, { head }: Manifest): Promise<void> {
  const { redundancy } = head;
  await changeSettings(session, (settings) => ({ ...settings, redundancy }));
}

/** Records one file and its chunks. */
async function recoverFile(
  session: Session,
  { hash, manifest, copies }: FoundManifest,
  index: ShardIndex,
): Promise<'complete' | 'degraded' | 'lost'> {
  const { catalog } = session;
  const { head } = manifest;
  const generation = drawGeneration();
  await catalog.beginPut({ generation, owner: session.processes.self, objects: 'found' });
  const states = new Set<'degraded' | 'lost'>();
  if (copies < Math.min(head.redundancy.m + 1, session.buckets.all.length)) states.add('degraded');
  const tag = startContentTag(session.keys, head.chunkSize);

  const record = async (entries: readonly WantedChunk[]): Promise<void> => {
    const rows = new Map<string, ChunkRow>();
    for (const { chunkId, length, isLast } of entries) {
      const sealedSize = payloadSize(length, { chunkSize: head.chunkSize, isLast }) + SEAL_OVERHEAD;
      // Also if no bucket has any: a bucket that comes back, or a put of the same content, completes it.
      const row = index.rowOf(chunkId, sealedSize) ?? emptyRow(chunkId, sealedSize, head.redundancy);
      rows.set(chunkId, row);
      const shards = row.shards.filter((place) => place !== null).length;
      if (shards < row.k) states.add('lost');
      else if (shards < row.k + row.m) states.add('degraded');
    }
    await catalog.recordChunks(generation, [...rows.values()]);
  };
  try {
    // The chunks of the table first: the file's own are read out of them.
    if (head.tableDepth > 0) await record(withLastMarked(manifest));
    const entries = entriesOf(session, manifest);
    for (;;) {
      const batch = await takeSome(entries, BATCH);
      if (batch.length === 0) break;
      tag.update(encodeTable(batch));
      await record(batch);
    }
  } catch (error) {
    if (!isVaultError(error, 'damaged', 'unavailable')) throw error;
    // Its chunks are not all known, so it stays unknown: as a file it would not keep them.
    await catalog.discardPut(generation);
    return 'lost';
  }
  await catalog.commitPut(generation, sealFileRow(session, hash, head, tag.digest('hex')));
  return states.has('lost') ? 'lost' : states.has('degraded') ? 'degraded' : 'complete';
}

function emptyRow(id: string, sealedSize: number, { k, m }: Redundancy): ChunkRow {
  return { id, k, m, sealedSize, shards: Array.from<null>({ length: k + m }).fill(null) };
}

function entriesOf(session: Session, manifest: Manifest): AsyncIterator<WantedChunk> {
  return fileEntries(session, manifest)[Symbol.asyncIterator]();
}

async function takeSome(entries: AsyncIterator<WantedChunk>, most: number): Promise<WantedChunk[]> {
  const taken: WantedChunk[] = [];
  while (taken.length < most) {
    const next = await entries.next();
    if (next.done === true) break;
    taken.push(next.value);
  }
  return taken;
}

function withLastMarked({ table }: Manifest): WantedChunk[] {
  return table.map((entry, i) => ({ ...entry, isLast: i === table.length - 1 }));
}
