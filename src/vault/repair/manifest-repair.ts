/** Giving every bucket its copy of every manifest. */
import { drawGeneration } from '../../crypto/keys.ts';
import { isVaultError } from '../../errors.ts';
import { manifestObjectName } from '../../format/manifest.ts';
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import { Lender } from '../../concurrency/semaphore.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { unreadableAs } from '../files/file-chunks.ts';
import type { Findings, ManifestVerdict } from '../verify/findings.ts';
import { withLease } from '../write/lease.ts';
import { hashesInOrder, readCopies, walkManifests } from '../files/manifest-copies.ts';
import { readManifestObject } from '../files/manifests.ts';
import { withSignal } from '../session.ts';
import type { Session } from '../session.ts';

export interface ManifestRepairOptions {
  /** Hashes in order; null for all files. */
  readonly hashes: readonly string[] | null;
  /** Buckets that can be asked. */
  readonly usable: readonly VaultBucket[];
  /** Those of them that get copies. */
  readonly targets: readonly VaultBucket[];
  /** Whether copies are read, not only looked for. */
  readonly reads: boolean;
  /** Told of manifests that no bucket has intact, and of buckets that fail. */
  readonly findings: Findings;
  readonly signal: AbortSignal | undefined;
}

/** Copies under way at once, each under a pending put of its own. */
const LANES = 8;

export interface ManifestRepairResult {
  readonly manifestsStored: number;
  readonly bytesStored: number;
}

/**
 * Copies manifests into the buckets that lack them. Each is announced before it is stored, as by a put: if its file is
 * removed meanwhile, or this ends in the middle, the copy is removed as well.
 */
export async function repairManifests(
  session: Session,
  options: ManifestRepairOptions,
): Promise<ManifestRepairResult> {
  const { hashes, usable, targets, reads, findings, signal } = options;
  const totals = { manifestsStored: 0, bytesStored: 0 };
  const failed = new Set<VaultBucket>();
  const opened: Lane[] = [];
  const lanes = new Lender<Lane>(LANES, () => {
    const lane = { generation: null };
    opened.push(lane);
    return lane;
  });

  const store = async (verdict: ManifestVerdict, lane: Lane, sealed: Uint8Array): Promise<void> => {
    const { hash, copies } = verdict;
    const generation = await announce(session, lane, hash);
    await withLease(session.catalog, generation, signal, async (aborted) => {
      for (const bucket of targets.filter((target) => !failed.has(target))) {
        const state = copies.get(bucket);
        if (state !== 'missing' && state !== 'damaged') continue;
        try {
          const storage = await bucket.checked(aborted);
          await storage.put(manifestObjectName(hash), sealed, {
            signal: aborted,
            replace: state === 'damaged',
          });
          totals.manifestsStored += 1;
          totals.bytesStored += sealed.length;
        } catch (error) {
          if (!isVaultError(error) || error.code === 'interrupted') throw error;
          failed.add(bucket);
          findings.bucketFailed(bucket, error);
        }
      }
    });
    const [visible] = await session.catalog.filesByHash(hash, 1);
    if (visible !== undefined) return;
    const places = targets.map(({ number }) => ({ index: 0, bucket: number, generation }));
    await session.catalog.addGarbage([{ kind: 'manifest', id: hash, k: 0, m: 0, places }]);
  };

  const repair = async (verdict: ManifestVerdict, aborted: AbortSignal): Promise<void> => {
    const found = reads ? await readCopies(verdict, 'good', aborted) : verdict;
    const isWhole = targets.every(
      (bucket) => !['missing', 'damaged'].includes(found.copies.get(bucket) ?? ''),
    );
    if (isWhole) return;
    let sealed: Uint8Array;
    try {
      ({ sealed } = await readManifestObject(session, found.hash, withSignal(aborted)));
    } catch (error) {
      findings.addFile(found.hash, unreadableAs(error, aborted), manifestProblems(found));
      return;
    }
    const lane = await lanes.borrow();
    try {
      await store(found, lane, sealed);
    } finally {
      lanes.giveBack(lane);
    }
  };
  const walk = walkManifests(session, {
    hashes: hashes ?? hashesInOrder(session.catalog, signal),
    from: hashes?.[0] ?? '',
    usable,
    findings,
    signal,
  });
  await forEachBounded(walk, repair, { inFlight: LANES, signal });
  for (const { generation } of opened) if (generation !== null) await session.catalog.discardPut(generation);
  return totals;
}

/** Stands for one copying at a time. */
interface Lane {
  /** Of its pending put; null before the first copying. */
  generation: string | null;
}

/** Records what is about to be stored. @returns the generation that stands for it */
async function announce(session: Session, lane: Lane, hash: string): Promise<string> {
  if (lane.generation !== null) {
    try {
      await session.catalog.announceManifest(lane.generation, hash);
      return lane.generation;
    } catch (error) {
      // Long without work, it was taken for dead. What it has stored before is of visible files, or owed.
      if (!isVaultError(error, 'stale')) throw error;
    }
  }
  lane.generation = drawGeneration();
  await session.catalog.beginPut({ generation: lane.generation, owner: session.processes.self });
  await session.catalog.announceManifest(lane.generation, hash);
  return lane.generation;
}

function manifestProblems({ copies }: ManifestVerdict): Parameters<Findings['addFile']>[2] {
  return [...copies].map(([bucket, state]) => ({
    what: 'manifest',
    // Every copy has been read by now, and none is intact.
    problem: state === 'good' ? 'damaged' : state,
    bucket: bucket.url,
  }));
}
