/** A file's facts and where its shards lie, by the placements: what is said about safety is what is there. */
import { payloadSize, SEAL_OVERHEAD } from '../../format/chunk.ts';
import { manifestObjectName, type ChunkId } from '../../format/manifest.ts';
import { shardObjectSize, type Redundancy } from '../../format/shard.ts';
import { mergedListing, type MergedEntry } from '../buckets/merged-listing.ts';
import type { CallOptions } from '../call.ts';
import type { FileInfo } from '../files/records.ts';
import { resolveFile } from '../files/resolve.ts';
import { neededChunks } from '../files/tables.ts';
import type { Session } from '../session.ts';
import { slicesOf } from '../../concurrency/batched.ts';

export interface FileDetails extends FileInfo {
  /**
   * Bytes of this file's chunks in all buckets, as far as the catalog knows; shared chunks count in full. Of an inline file, those of
   * its manifest in the buckets that answer.
   */
  readonly storedBytes: number;
  /** The weakest redundancy among its chunks, as they lie; null if the file is inline or the catalog does not know them. */
  readonly placed: Redundancy | null;
  /** How many buckets may be lost without losing the file, as its chunks lie. */
  readonly survives: number;
  readonly placement: readonly ChunkPlacement[];
}

export interface ChunkPlacement {
  readonly chunkId: string;
  /** Bytes of the chunk's payload, at most. */
  readonly length: number;
  readonly redundancy: Redundancy;
  /** Bucket URLs by shard index; null where a shard is not stored, and an empty list for a chunk that the catalog does not know. */
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
  let storedBytes = 0;
  for await (const run of neededChunks(session, ids, options)) {
    for (const some of slicesOf(run, BATCH)) {
      for (const [place, bytes] of await placementsOf(session, some, info.redundancy)) {
        placement.push(place);
        storedBytes += bytes;
      }
    }
  }
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
  asked: Redundancy,
): Promise<(readonly [ChunkPlacement, number])[]> {
  const rows = await session.catalog.chunks.locate([...new Set(chunks.map(({ id }) => id))]);
  return chunks.map(({ id, padded }) => {
    const row = rows.get(id);
    const shards = (row?.shards ?? []).map((place) =>
      place === null ? null : (session.buckets.byNumber(place.bucket)?.url ?? null),
    );
    const { k, m } = row ?? asked;
    const sealedSize = row?.sealedSize ?? payloadSize(padded, true) + SEAL_OVERHEAD;
    const stored = shards.filter((url) => url !== null).length * shardObjectSize(sealedSize, k);
    return [{ chunkId: id, length: padded, redundancy: { k, m }, shards }, stored] as const;
  });
}
