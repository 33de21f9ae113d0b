/** A file's facts and where its shards lie, by the placements: what is said about safety is what is there. */
import { payloadSize, SEAL_OVERHEAD } from '../../format/chunk.ts';
import { manifestObjectName, type ChunkId } from '../../format/manifest.ts';
import { shardObjectSize, type Redundancy } from '../../format/shard.ts';
import { mergedListing, type MergedEntry } from '../buckets/merged-listing.ts';
import { describeFailure } from '../buckets/bucket-set.ts';
import type { CallOptions } from '../call.ts';
import { placeOf } from '../chunks/places.ts';
import { Presence } from '../chunks/presence.ts';
import { shardsOfRow } from '../chunks/shard-sets.ts';
import type { FileInfo } from '../files/records.ts';
import { resolveFile } from '../files/resolve.ts';
import { neededChunks } from '../files/tables.ts';
import type { Session } from '../session.ts';
import { slicesOf } from '../../concurrency/batched.ts';

export interface FileDetails extends FileInfo {
  /**
   * Bytes of this file's chunks in all buckets, as they list them; each counts once, and in full if others share it. Of an inline file, those of
   * its manifest in the buckets that answer.
   */
  readonly storedBytes: number;
  /** The weakest redundancy among its chunks, as they lie; null if the file is inline. */
  readonly placed: Redundancy | null;
  /** How many buckets may be lost without losing the file, as its chunks lie. */
  readonly survives: number;
  /** Of each chunk once, in the order in which they come. */
  readonly placement: readonly ChunkPlacement[];
}

export interface ChunkPlacement {
  readonly chunkId: string;
  /** Bytes of the chunk's payload, at most. */
  readonly length: number;
  readonly redundancy: Redundancy;
  /** Bytes of the object that each of its shards is. */
  readonly shardBytes: number;
  /** Bucket URLs by shard index; null where a shard is not stored, and an empty list for a chunk that no bucket has. */
  readonly shards: readonly (string | null)[];
}

const BATCH = 500;

export async function inspectFile(
  session: Session,
  reference: string,
  options: CallOptions = {},
): Promise<FileDetails> {
  const { info, ids } = await resolveFile(session, reference);
  const placement: ChunkPlacement[] = [];
  const seen = new Set<string>();
  const presence = new Presence(session.buckets.all, session.clock);
  let storedBytes = 0;
  for await (const run of neededChunks(session, ids, options)) {
    const fresh = run.filter(({ id }) => seen.size < seen.add(id).size);
    for (const some of slicesOf(fresh, BATCH)) {
      const how = { asked: info.redundancy, presence, signal: options.signal };
      for (const place of await placementsOf(session, some, how)) {
        placement.push(place);
        storedBytes += place.shards.filter((url) => url !== null).length * place.shardBytes;
      }
    }
  }
  for (const failure of presence.failures)
    options.onWarning?.({
      kind: 'bucket-down',
      message: `${describeFailure(failure)} What lies there is told by the catalog.`,
      bucket: failure.bucket.url,
    });
  const spare = placement.map(({ redundancy, shards }) => {
    const stored = new Set(shards.filter((url) => url !== null)).size;
    return { redundancy, survives: stored - redundancy.k };
  });
  const weakest = spare.toSorted((a, b) => a.survives - b.survives)[0] ?? null;
  const copies = placement.length === 0 ? await manifestCopies(session, info.hash, options) : [];
  return {
    ...info,
    storedBytes: copies.reduce((sum, { size }) => sum + size, storedBytes),
    placed: weakest?.redundancy ?? null,
    survives: Math.max(0, placement.length === 0 ? copies.length - 1 : (weakest?.survives ?? 0)),
    placement,
  };
}

/** The copies of a manifest in the buckets that answer. */
async function manifestCopies(
  session: Session,
  hash: string,
  { signal }: CallOptions,
): Promise<MergedEntry['holders']> {
  const name = manifestObjectName(hash);
  const listing = mergedListing(session.buckets.active, name, { signal, onFailure: () => undefined });
  for await (const entry of listing) if (entry.name === name) return entry.holders;
  return [];
}

async function placementsOf(
  session: Session,
  chunks: readonly ChunkId[],
  how: {
    readonly asked: Redundancy;
    readonly presence: Presence;
    readonly signal: AbortSignal | undefined;
  },
): Promise<ChunkPlacement[]> {
  const { asked, presence, signal } = how;
  const rows = await session.catalog.chunks.locate(chunks.map(({ id }) => id));
  return Promise.all(
    chunks.map(async ({ id, padded }) => {
      const row = rows.get(id);
      const listed = (await presence.sets(id, signal)).flatMap((set) => set.shards);
      // Of buckets that do not answer only the catalog can tell.
      const silent = presence.failures.map(({ bucket }) => bucket);
      const unseen = row === undefined ? [] : shardsOfRow(row, silent);
      const place = placeOf([...listed, ...unseen], row, session.keyring.keyring.redundancy.m);
      const shards = (place?.shards ?? []).map((shard) =>
        shard === null ? null : (session.buckets.byNumber(shard.bucket)?.url ?? null),
      );
      const { k, m } = place ?? row ?? asked;
      const sealedSize = place?.sealedSize ?? payloadSize(padded, true) + SEAL_OVERHEAD;
      const shardBytes = shardObjectSize(sealedSize, k);
      return { chunkId: id, length: padded, redundancy: { k, m }, shardBytes, shards };
    }),
  );
}
