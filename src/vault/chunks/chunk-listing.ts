/** What buckets list below `chunks/`, chunk by chunk. */
import { CHUNK_PREFIX } from '../../format/shard.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';
import { mergedListing, type MergeOptions } from '../buckets/merged-listing.ts';
import { shardsOf, type ListedShard } from './shard-sets.ts';

/** Shards of one chunk that are looked at: a hostile listing has any number. */
const MOST_OF_A_CHUNK = 1_024;

export interface ListedChunk {
  /** 64 hex digits. */
  readonly id: string;
  readonly shards: readonly ListedShard[];
}

/**
 * Every chunk that any of the buckets lists a shard of, by id.
 *
 * @param options `onForeign`: told of objects that are no shards
 */
export async function* listChunks(
  buckets: readonly ReadBucket[],
  options: MergeOptions & { readonly onForeign?: ((name: string) => void) | undefined } = {},
): AsyncGenerator<ListedChunk, void, undefined> {
  let id = '';
  let shards: ListedShard[] = [];
  for await (const entry of mergedListing(buckets, CHUNK_PREFIX, options)) {
    const some = shardsOf(entry);
    const [first] = some;
    if (first === undefined) {
      options.onForeign?.(entry.name);
      continue;
    }
    if (first.name.chunkId !== id) {
      if (shards.length > 0) yield { id, shards };
      id = first.name.chunkId;
      shards = [];
    }
    if (shards.length < MOST_OF_A_CHUNK) shards.push(...some);
  }
  if (shards.length > 0) yield { id, shards };
}
