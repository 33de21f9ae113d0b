/** Giving every bucket its copy of every manifest. */
import { drawGeneration } from '../crypto/keys.ts';
import { isVaultError } from '../errors.ts';
import { manifestObjectName } from '../format/manifest.ts';
import { forEachBounded, Lender } from '../pipeline.ts';
import type { VaultBucket } from './bucket-set.ts';
import { unreadableAs } from './file-chunks.ts';
import type { Findings, ManifestVerdict } from './findings.ts';
import { withLease } from './lease.ts';
import { hashesInOrder, readCopies, walkManifests } from './manifest-copies.ts';
import { readManifestObject } from './manifests.ts';
import { withSignal } from './session.ts';
import type { Session } from './session.ts';

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
  const lanes = new Lender<Lane>(LANES, () => ({ generation: drawGeneration(), begun: null }));
  const opened = new Set<Lane>();

  const store = async (verdict: ManifestVerdict, lane: Lane, sealed: Uint8Array): Promise<void> => {
    const { hash, copies } = verdict;
    lane.begun ??= session.catalog.beginPut({ generation: lane.generation, owner: session.processes.self });
    opened.add(lane);
    await lane.begun;
    await withLease(session.catalog, lane.generation, signal, async (aborted) => {
      await session.catalog.announceManifest(lane.generation, hash);
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
    const places = targets.map(({ number }) => ({ index: 0, bucket: number, generation: '' }));
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
  for (const { generation } of opened) await session.catalog.discardPut(generation);
  return totals;
}

interface Lane {
  readonly generation: string;
  begun: Promise<void> | null;
}

function manifestProblems({ copies }: ManifestVerdict): Parameters<Findings['addFile']>[2] {
  return [...copies].map(([bucket, state]) => ({
    what: 'manifest',
    // Every copy has been read by now, and none is intact.
    problem: state === 'good' ? 'damaged' : state,
    bucket: bucket.url,
  }));
}
