/** Checks runs of chunks, by listings or by reading, and records in the catalog what is lost. */
import type { ChunkRow } from '../../catalog/catalog.ts';
import type { ListedObject } from '../../buckets/bucket.ts';
import { isVaultError } from '../../errors.ts';
import { CHUNK_PREFIX } from '../../format/shard.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { correctedRow, examineChunk, isLost, isThere, shardStem, verdictByListing } from './examine.ts';
import type { Verdict } from './examine.ts';
import type { Findings } from './findings.ts';
import { ListingCursor } from '../buckets/listing-cursor.ts';
import type { Session } from '../session.ts';
import { recordedShard } from '../chunks/shards.ts';
import { Workshop } from '../chunks/workbench.ts';

/** Rows checked together. */
export const CHECK_BATCH = 500;
/** How often a row that changes while it is looked at is looked at again. */
const MOST_LOOKS = 5;

export interface ChunkCheckOptions {
  /** Buckets that can be listed. */
  readonly usable: readonly VaultBucket[];
  readonly findings: Findings;
  /** Whether to read a chunk, and not only to look for it in listings. */
  readonly reads: () => boolean;
  readonly signal: AbortSignal | undefined;
  /** Told the sealed bytes of each batch. */
  readonly onChecked: (bytes: number) => void;
}

export class ChunkCheck {
  readonly #session: Session;
  readonly #options: ChunkCheckOptions;
  readonly #workshop: Workshop;

  constructor(session: Session, options: ChunkCheckOptions) {
    this.#session = session;
    this.#options = options;
    this.#workshop = new Workshop(session.limits.chunkMemory);
  }

  /**
   * Checks chunks in the order of their ids, in one pass of each bucket's listing.
   *
   * @param from the first id, or any that is not greater; '' for all
   */
  async run(rows: AsyncIterable<ChunkRow> | Iterable<ChunkRow>, from: string): Promise<void> {
    const { usable, signal, findings } = this.#options;
    const after = from === '' ? '' : CHUNK_PREFIX + from;
    const cursors = usable.map(
      (bucket) => new ListingCursor(bucket, { prefix: CHUNK_PREFIX, after, signal }),
    );
    try {
      let listed: Verdict[] = [];
      let read: ChunkRow[] = [];
      const flush = async (): Promise<void> => {
        await this.#settle(listed, read);
        listed = [];
        read = [];
      };
      for await (const row of rows) {
        await this.#session.buckets.learn(row.shards);
        if (this.#options.reads()) read.push(row);
        else listed.push(verdictByListing(row, await take(cursors, row.id), this.#session.buckets));
        for (const { bucket, failure } of cursors) {
          if (failure !== null) findings.bucketFailed(bucket, failure);
        }
        if (listed.length + read.length === CHECK_BATCH) await flush();
      }
      await flush();
    } finally {
      await Promise.allSettled(cursors.map((cursor) => cursor.close()));
    }
  }

  async #settle(listed: readonly Verdict[], rows: readonly ChunkRow[]): Promise<void> {
    const trusted = new Map<VaultBucket, Promise<boolean>>();
    const trusts = (bucket: VaultBucket): Promise<boolean> => {
      const known = trusted.get(bucket) ?? this.#confirm(bucket);
      trusted.set(bucket, known);
      return known;
    };
    const { signal } = this.#options;
    const byListing = mapOrdered(
      listed,
      (verdict, aborted) => this.#confirmed(verdict, { trusts, signal: aborted }),
      { inFlight: this.#session.limits.chunksInFlight, signal },
    );
    const byReading = mapOrdered(
      rows,
      async (row, aborted) => {
        const verdict = await this.#examine(row, aborted);
        return this.#confirmed(verdict, { trusts, signal: aborted });
      },
      { inFlight: this.#session.limits.chunksInFlight, signal },
    );
    const verdicts: Verdict[] = [];
    for (const confirmed of [byListing, byReading]) {
      for await (const verdict of confirmed) if (verdict !== null) verdicts.push(verdict);
    }
    await this.#options.findings.addChunks(verdicts);
    this.#options.onChecked(verdicts.reduce((sum, { sealedSize }) => sum + sealedSize, 0));
  }

  async #examine(row: ChunkRow, signal: AbortSignal): Promise<Verdict> {
    return this.#workshop.use(row, row, async (bench) => {
      const { objects: _, ...verdict } = await examineChunk(this.#session, row, { bench, signal });
      return verdict;
    });
  }

  /**
   * A second look at what seems to be lost, before the catalog is told so: it may have been stored after the listing had
   * passed its place, or have been moved, or the bucket may no longer be what it was.
   *
   * @returns what stands, and is recorded; null if the chunk has gone meanwhile
   */
  async #confirmed(
    first: Verdict,
    {
      trusts,
      signal,
    }: { readonly trusts: (bucket: VaultBucket) => Promise<boolean>; readonly signal: AbortSignal },
  ): Promise<Verdict | null> {
    let verdict = first;
    for (let look = 1; needsRecording(verdict); look += 1) {
      verdict = await this.#withoutDistrusted(await this.#lookAgain(verdict, signal), trusts);
      if (!needsRecording(verdict)) break;
      if (await this.#session.catalog.replaceChunk(verdict.row, correctedRow(verdict))) break;
      const row = (await this.#session.catalog.locateChunks([verdict.row.id])).get(verdict.row.id);
      if (row === undefined || look === MOST_LOOKS) return null;
      await this.#session.buckets.learn(row.shards);
      verdict = { ...verdict, row, sealedSize: row.sealedSize, states: row.shards.map(() => 'missing') };
    }
    return verdict;
  }

  async #lookAgain(verdict: Verdict, signal: AbortSignal): Promise<Verdict> {
    const { row, states } = verdict;
    // Whether something else lies in a shard's place is told by reading; whether anything does, by asking.
    if (states.includes('damaged') || verdict.sealedSize !== row.sealedSize)
      return this.#examine(row, signal);
    const again = await Promise.all(
      states.map(async (state, index) => {
        const shard = recordedShard(row, index, this.#session.buckets);
        if (row.shards[index] === null) return 'unstored';
        return state === 'missing' && shard !== null ? isThere(shard, signal) : state;
      }),
    );
    const good = again.filter((state) => state === 'good').length;
    return { ...verdict, states: again, readable: verdict.readable || good >= row.k };
  }

  /** Believes no bucket's loss whose marker is not there just now: it may be an unmounted disk, or a proxy's error page. */
  async #withoutDistrusted(
    verdict: Verdict,
    trusts: (bucket: VaultBucket) => Promise<boolean>,
  ): Promise<Verdict> {
    const states = await Promise.all(
      verdict.states.map(async (state, index) => {
        if (!isLost(state)) return state;
        const shard = recordedShard(verdict.row, index, this.#session.buckets);
        return shard === null || (await trusts(shard.bucket)) ? state : 'unknown';
      }),
    );
    return { ...verdict, states };
  }

  async #confirm(bucket: VaultBucket): Promise<boolean> {
    try {
      await bucket.confirm(this.#options.signal);
      return true;
    } catch (error) {
      if (!isVaultError(error) || error.code === 'interrupted') throw error;
      this.#options.findings.bucketFailed(bucket, error);
      return false;
    }
  }
}

function needsRecording({ row, sealedSize, states }: Verdict): boolean {
  return sealedSize !== row.sealedSize || states.some(isLost);
}

async function take(
  cursors: readonly ListingCursor[],
  chunkId: string,
): Promise<Map<VaultBucket, readonly ListedObject[] | null>> {
  const listed = await Promise.all(cursors.map((cursor) => cursor.take(shardStem(chunkId))));
  return new Map(cursors.map(({ bucket }, i) => [bucket, listed[i] ?? null]));
}
