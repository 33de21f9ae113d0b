/** A file's facts and where its shards lie. */
import { shardObjectSize } from '../../format/shard.ts';
import { payloadSize, SEAL_OVERHEAD } from '../../format/chunk.ts';
import { fileEntries } from './get.ts';
import type { WantedChunk } from '../chunks/chunk-source.ts';
import { resolveFile } from '../files/files.ts';
import { readManifest } from '../files/manifests.ts';
import { infoOf } from '../write/put.ts';
import type { Session } from '../session.ts';
import type { CallOptions, ChunkPlacement, FileDetails } from '../vault.ts';

const BATCH = 500;

/** See `Vault.inspect`. */
export async function inspectFile(
  session: Session,
  reference: string,
  options: CallOptions = {},
): Promise<FileDetails> {
  const { info } = await resolveFile(session, reference);
  const manifest = await readManifest(session, info.hash, options);
  const placement: ChunkPlacement[] = [];
  let storedBytes = 0;
  let batch: WantedChunk[] = [];
  const flush = async (): Promise<void> => {
    const rows = await session.catalog.locateChunks([...new Set(batch.map(({ chunkId }) => chunkId))]);
    for (const { chunkId, length, isLast } of batch) {
      const row = rows.get(chunkId);
      const shards = (row?.shards ?? []).map((place) =>
        place === null ? null : (session.buckets.byNumber(place.bucket)?.url ?? null),
      );
      const { k, m } = row ?? manifest.head.redundancy;
      const sealedSize = payloadSize(length, { chunkSize: manifest.head.chunkSize, isLast }) + SEAL_OVERHEAD;
      storedBytes += shards.filter((url) => url !== null).length * shardObjectSize(sealedSize, k);
      placement.push({ chunkId, length, redundancy: { k, m }, shards });
    }
    batch = [];
  };
  for await (const entry of fileEntries(session, manifest, options)) {
    batch.push(entry);
    if (batch.length === BATCH) await flush();
  }
  await flush();
  return { ...infoOf(info.hash, manifest.head), storedBytes, placement };
}
