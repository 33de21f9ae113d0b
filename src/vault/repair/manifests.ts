/** Copies of manifests: every bucket has every one that is needed. */
import { isVaultError } from '../../errors.ts';
import { MANIFEST_PREFIX, manifestObjectName, parseManifestObjectName } from '../../format/manifest.ts';
import type { DeletionRecord } from '../../format/removal.ts';
import { describeFailure, notListing, type ReadBucket } from '../buckets/bucket-set.ts';
import { storing } from '../buckets/steps.ts';
import { mergedListing } from '../buckets/merged-listing.ts';
import { spread } from '../buckets/spread.ts';
import type { CallOptions } from '../call.ts';
import { IdSet } from '../chunks/id-set.ts';
import { openManifest } from '../files/catch-up.ts';
import { joinFiles, type JoinedFile } from '../files/file-join.ts';
import { differInSize, goodHolders } from '../files/manifest-holders.ts';
import { readManifestBytes } from '../files/manifests.ts';
import type { ReadSession } from '../session.ts';
import { isOver, type FileState } from './files.ts';
import type { Ground } from './ground.ts';

export interface ManifestRepairOptions extends CallOptions {
  /** Whether all copies are read, and not only those that are listed in different sizes. */
  readonly reads: boolean;
  readonly deletions: ReadonlyMap<string, DeletionRecord>;
  /** Those files alone, by hash; null for all. */
  readonly only: ReadonlySet<string> | null;
}

export interface RepairedManifests {
  /** Copies stored, and their bytes (or what would be). */
  readonly stored: number;
  readonly bytes: number;
  /** Whether a bucket that takes nothing lacks a copy. */
  readonly refused: boolean;
  readonly states: ReadonlyMap<string, FileState>;
}

/** Gives every bucket every manifest of a file that can be read or brought back. */
export async function repairManifests(
  session: ReadSession,
  ground: Ground,
  options: ManifestRepairOptions,
): Promise<RepairedManifests> {
  const { signal, deletions, only } = options;
  const states = new Map<string, FileState>();
  const counts = { stored: 0, bytes: 0, refused: false };
  const taken = new Map<ReadBucket, IdSet>();
  for await (const { hash, holders, row } of joinFiles(session, ground.sources, {
    signal,
    onFailure: ground.noteFailure,
  })) {
    const deletion = deletions.get(hash);
    if (deletion !== undefined && isOver(session, ground, hash, deletion)) continue;
    if (holders.length === 0) continue;
    if (only !== null && !only.has(hash)) continue;
    const state = await repairOne(session, ground, { hash, holders, row, counts, taken, ...options });
    if (state !== 'whole') states.set(hash, state);
  }
  for (const [bucket, hashes] of taken) await confirmCopies(ground, bucket, hashes, signal);
  return { ...counts, states };
}

/** Looks whether a bucket lists the manifests that it has taken. */
async function confirmCopies(
  ground: Ground,
  bucket: ReadBucket,
  hashes: IdSet,
  signal: AbortSignal | undefined,
): Promise<void> {
  let kept = 0;
  const listed = mergedListing([bucket], MANIFEST_PREFIX, { signal, onFailure: ground.noteFailure });
  for await (const { name } of listed) {
    const hash = parseManifestObjectName(name);
    if (hash !== null && hashes.has(hash)) kept += 1;
  }
  if (kept < hashes.size) ground.noteFailure({ bucket, error: notListing(bucket, 'manifests') });
}

async function repairOne(
  session: ReadSession,
  ground: Ground,
  file: ManifestRepairOptions & {
    readonly hash: string;
    readonly holders: JoinedFile['holders'];
    readonly row: JoinedFile['row'];
    readonly counts: { stored: number; bytes: number; refused: boolean };
    readonly taken: Map<ReadBucket, IdSet>;
  },
): Promise<FileState> {
  const { hash, holders, counts, signal } = file;
  const reads = file.reads || differInSize(holders);
  const holding = holders.map(({ bucket }) => bucket);
  const good = await goodHolders(hash, holders, { reads, onFailure: ground.noteFailure, signal });
  const lacks = ({ id }: ReadBucket): boolean => !good.some((bucket) => bucket.id === id);
  const lacking = ground.targets.filter(lacks);
  counts.refused ||= ground.refusing.some(({ bucket }) => bucket.state === 'active' && lacks(bucket));
  if (lacking.length === 0) return 'whole';
  // Whatever has its own hash for a name could be spread so: what the catalog does not know is looked into.
  if (file.row === null && (await isForeign(session, hash, holding, signal))) return 'whole';
  const name = manifestObjectName(hash);
  const from = good.length > 0 ? good : holding;
  const read = async (): Promise<Uint8Array> =>
    (await readManifestBytes(session, hash, { from, signal })).bytes;
  try {
    const known = reads ? await read() : null;
    const size = known?.length ?? holders[0]?.size ?? 0;
    const steps = lacking.map((bucket) => {
      const reason = holding.includes(bucket) ? 'damaged' : 'missing';
      return storing(name, bucket, { reason, bytes: size });
    });
    const told = { size, failed: 0 };
    const copied = await ground.take(steps, told, async ({ buckets }) => {
      const bytes = known ?? (await read());
      // Under a marker that stands, so that no sweep has removed the others meanwhile.
      await ground.keep(signal);
      const to = lacking.map((bucket) => buckets.ours(bucket));
      const { failed } = await spread(to, { name, bytes }, { signal, replace: true });
      if (failed.length < lacking.length) file.onStep?.({ what: 'stored', on: name });
      for (const bucket of lacking) {
        if (failed.some((failure) => failure.bucket.id === bucket.id)) continue;
        const hashes = file.taken.get(bucket) ?? new IdSet();
        hashes.add(hash);
        file.taken.set(bucket, hashes);
      }
      for (const failure of failed) {
        if (failure.error.code !== 'retained') {
          ground.noteFailure(failure);
          continue;
        }
        // A damaged copy that a lock keeps cannot be replaced before its end; the bucket is none the worse.
        file.onWarning?.({
          kind: 'bucket-down',
          message: describeFailure(failure),
          bucket: failure.bucket.url,
        });
      }
      return { size: bytes.length, failed: failed.length };
    });
    counts.stored += lacking.length - copied.failed;
    counts.bytes += (lacking.length - copied.failed) * copied.size;
    return copied.failed > 0 ? 'degraded' : 'whole';
  } catch (error) {
    if (isVaultError(error, 'damaged', 'object-missing')) return ground.isComplete ? 'lost' : 'unknown';
    if (isVaultError(error, 'unavailable', 'denied')) return 'unknown';
    throw error;
  }
}

/** Whether an object that goes by its hash is no manifest of this vault. */
async function isForeign(
  session: ReadSession,
  hash: string,
  from: readonly ReadBucket[],
  signal: AbortSignal | undefined,
): Promise<boolean> {
  try {
    return (await openManifest(session, hash, from, signal)) === 'foreign';
  } catch (error) {
    if (!isVaultError(error, 'unavailable', 'denied', 'unsupported')) throw error;
    return false;
  }
}
