/** The objects that live files need, bucket by bucket: what is to be kept from being removed. */
import { keyringObjectName } from '../../format/keyring.ts';
import { manifestObjectName } from '../../format/manifest.ts';
import { MARKER_NAME } from '../../format/marker.ts';
import type { BucketFailure, ReadBucket } from '../buckets/bucket-set.ts';
import { mergedListing } from '../buckets/merged-listing.ts';
import type { HeldObject } from '../buckets/retaining.ts';
import { listChunks } from '../chunks/chunk-listing.ts';
import { IdSet } from '../chunks/id-set.ts';
import { chosenShards, objectNameOf, setsOf } from '../chunks/shard-sets.ts';
import type { ReadSession } from '../session.ts';
import { listDeletions } from '../protocol/deletions.ts';
import { readSweepLists } from '../protocol/put-guard.ts';
import { isVaultError } from '../../errors.ts';
import { recognise } from './catch-up.ts';
import { joinFiles, type JoinedFile } from './file-join.ts';
import type { FileRecord } from './records.ts';
import { resolveFile } from './resolve.ts';
import { neededChunks } from './tables.ts';
import { trustsAllWriters } from './writers.ts';

export interface NeededOptions {
  /** Those files alone; all live ones unless given. */
  readonly references?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told of buckets that do not answer. */
  readonly onFailure: (failure: BucketFailure) => void;
  /** Told of files of which it is not known what they need. */
  readonly onUnknown?: ((hash: string) => void) | undefined;
}

/** What a vault is opened with, in every bucket: by name. */
export function sharedNames({ keyring: { keyring } }: Pick<ReadSession, 'keyring'>): readonly string[] {
  return [MARKER_NAME, keyringObjectName(keyring.epoch)];
}

/**
 * Manifests of live files, and of each of their chunks the shards of its fullest set, or all of them where somebody may have put false
 * ones there, as far as the buckets list them. What a list of
 * removal names is on its way out, and left out.
 */
export async function* neededObjects(
  session: ReadSession,
  buckets: readonly ReadBucket[],
  options: NeededOptions,
): AsyncGenerator<HeldObject, void, undefined> {
  const { signal, onFailure } = options;
  const { absent } = await readSweepLists(session, buckets, signal);
  const ids = new IdSet();
  for await (const { hash, record, holders } of liveFiles(session, buckets, options)) {
    const name = manifestObjectName(hash);
    for await (const run of neededOf(session, record, options)) for (const { id } of run) ids.add(id);
    if (absent.has(name)) continue;
    for (const { bucket, retainedUntilMs } of holders) yield { bucket, name, retainedUntilMs };
  }
  for await (const { id, shards } of listChunks(buckets, { signal, onFailure })) {
    if (!ids.has(id)) continue;
    const lasting = shards.filter((shard) => !absent.has(objectNameOf(shard)));
    const [fullest] = setsOf(lasting);
    if (fullest === undefined) continue;
    // Beside shards that are false, the right ones may be fewer.
    const needed = trustsAllWriters(session) ? chosenShards(fullest).values() : lasting;
    for (const shard of needed) {
      const { bucket, retainedUntilMs } = shard;
      yield { bucket, name: objectNameOf(shard), retainedUntilMs };
    }
  }
}

async function* liveFiles(
  session: ReadSession,
  buckets: readonly ReadBucket[],
  { references, signal, onFailure, onUnknown }: NeededOptions,
): AsyncGenerator<JoinedFile & { readonly record: FileRecord }, void, undefined> {
  for (const reference of references ?? []) {
    const record = await resolveFile(session, reference);
    const { hash } = record.info;
    const name = manifestObjectName(hash);
    for await (const listed of mergedListing(buckets, name, { signal, onFailure }))
      if (listed.name === name) yield { hash, record, row: record.row, holders: listed.holders };
  }
  if (references !== undefined) return;
  const deletions = await listDeletions(session, buckets, { signal, onFailure });
  for await (const file of joinFiles(session, buckets, { signal, onFailure })) {
    const { hash, holders } = file;
    const deletion = deletions.get(hash) ?? null;
    if (holders.length === 0 || deletion?.live === false) continue;
    try {
      const known = await recognise(session, file, { deletion, signal });
      if (known.kind === 'known' || known.kind === 'learned') yield { ...file, record: known.record };
      if (known.kind === 'unreadable') onUnknown?.(hash);
    } catch (error) {
      if (!isVaultError(error, 'unsupported', 'unavailable', 'denied', 'damaged')) throw error;
      onUnknown?.(hash);
    }
  }
}

/** The chunks of a file, as far as its tables can be read. */
async function* neededOf(
  session: ReadSession,
  { ids, info: { hash } }: FileRecord,
  { signal, onUnknown }: NeededOptions,
): ReturnType<typeof neededChunks> {
  try {
    yield* neededChunks(session, ids, { signal });
  } catch (error) {
    if (!isVaultError(error, 'unavailable', 'damaged', 'denied', 'object-missing', 'unsupported'))
      throw error;
    onUnknown?.(hash);
  }
}
