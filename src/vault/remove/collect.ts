/** Removing the objects whose removal is owed. */
import type { GarbageRow } from '../../catalog/catalog.ts';
import { isVaultError } from '../../errors.ts';
import { manifestObjectName } from '../../format/manifest.ts';
import { shardObjectName } from '../../format/shard.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import { settleAll } from '../../concurrency/gather.ts';
import type { BucketFailure, VaultBucket } from '../buckets/bucket-set.ts';
import { withSignal } from '../session.ts';
import type { Session } from '../session.ts';
import type { CallOptions } from '../vault.ts';

export interface Collected {
  readonly objectsRemoved: number;
  /** Objects still owed, because their bucket could not be used. */
  readonly objectsOwed: number;
  /** One failure for each bucket that could not be used. */
  readonly failures: readonly BucketFailure[];
}

/** Rows under way at once. */
const IN_FLIGHT = 16;
/** Rows settled in one transaction. */
const BATCH = 200;

/**
 * Removes all objects that are owed, and strikes out what has gone: objects first, then the record of them, so
 * that a crash in between repeats a removal instead of forgetting one.
 */
export async function collectGarbage(session: Session, options: CallOptions = {}): Promise<Collected> {
  const failures = new Map<VaultBucket, BucketFailure>();
  let objectsRemoved = 0;
  let objectsOwed = 0;
  let settled: { row: GarbageRow; owed: GarbageRow['places'] }[] = [];
  const settle = async (): Promise<void> => {
    if (settled.length > 0) await session.catalog.settleGarbage(settled);
    settled = [];
  };

  const removeRow = async (row: GarbageRow, signal: AbortSignal): Promise<(typeof settled)[number]> => {
    await session.buckets.learn(row.places);
    const owed = await settleAll(
      row.places.map(async (place) => {
        const bucket = session.buckets.byNumber(place.bucket);
        // A bucket that the vault has given up owes nothing.
        if (bucket === null) return [];
        if (failures.has(bucket)) return [place];
        try {
          await (await bucket.checked(signal)).remove(owedObjectName(row, place), withSignal(signal));
          objectsRemoved += 1;
          return [];
        } catch (error) {
          if (!isVaultError(error) || error.code === 'interrupted') throw error;
          failures.set(bucket, { bucket, error });
          return [place];
        }
      }),
    );
    return { row, owed: owed.flat() };
  };
  const rows = mapOrdered(session.catalog.garbage(), removeRow, {
    inFlight: IN_FLIGHT,
    signal: options.signal,
  });
  try {
    for await (const outcome of rows) {
      objectsOwed += outcome.owed.length;
      if (outcome.owed.length === outcome.row.places.length && outcome.owed.length > 0) continue;
      settled.push(outcome);
      if (settled.length >= BATCH) await settle();
    }
  } finally {
    // Also when interrupted: what has gone is struck out.
    await settle();
  }
  return { objectsRemoved, objectsOwed, failures: [...failures.values()] };
}

/** The name of an object whose removal is owed. */
export function owedObjectName(row: GarbageRow, place: GarbageRow['places'][number]): string {
  if (row.kind === 'manifest') return manifestObjectName(row.id);
  const { index, generation } = place;
  return shardObjectName({ chunkId: row.id, index, k: row.k, m: row.m, generation });
}
