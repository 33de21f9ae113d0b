/**
 * Making chunks whole: their missing shards are made anew from the others and stored in buckets that have none of the
 * chunk. New objects first, then the row, and only then does anything go.
 */
import type { ChunkRow, ShardPlace } from '../../catalog/catalog.ts';
import { isVaultError } from '../../errors.ts';
import type { Redundancy } from '../../format/shard.ts';
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { conditionOf, examineChunk, examineShard, isLost } from '../verify/examine.ts';
import type { Examination, ShardState } from '../verify/examine.ts';
import type { Session } from '../session.ts';
import { ShardUploader } from '../chunks/shard-uploader.ts';
import { recordedShard } from '../chunks/shards.ts';
import type { Warning } from '../vault.ts';
import { keepSpare, Workshop } from '../chunks/workbench.ts';

export interface RebuildOptions {
  /** Of a pending put that stands for this work. */
  readonly generation: string;
  /** Buckets that take shards. */
  readonly targets: readonly VaultBucket[];
  /** A bucket to be emptied; null for none. `gone`: it will never answer again. */
  readonly leaving: { readonly bucket: VaultBucket; readonly gone: boolean } | null;
  /** What chunks shall be coded with; null for as they are. */
  readonly redundancy: Redundancy | null;
  readonly onWarning: (warning: Warning) => void;
  readonly onRebuilt: (bytes: number) => void;
}

/** Rows claimed in one transaction. */
const BATCH = 200;
/** How often a chunk whose row changes meanwhile is tried again. */
const MOST_TRIES = 3;

export class Rebuild {
  readonly #session: Session;
  readonly #options: RebuildOptions;
  readonly #workshop: Workshop;
  readonly uploader: ShardUploader;
  /** Chunks of which something could be done. */
  chunksRepaired = 0;

  constructor(session: Session, options: RebuildOptions) {
    this.#session = session;
    this.#options = options;
    this.#workshop = new Workshop(session.limits.chunkMemory);
    const { generation, targets: buckets, onWarning } = options;
    this.uploader = new ShardUploader({ all: session.buckets, buckets, generation, onWarning });
  }

  /** Does what can be done for those of the chunks that need it. */
  async run(rows: AsyncIterable<ChunkRow> | Iterable<ChunkRow>, signal: AbortSignal): Promise<void> {
    let batch: string[] = [];
    const flush = async (): Promise<void> => {
      // Claimed, so that nobody removes the chunks meanwhile; and their rows as they are now.
      const claimed = await this.#session.catalog.claimChunks(this.#options.generation, [...new Set(batch)]);
      batch = [];
      for (const row of claimed.values()) await this.#session.buckets.learn(row.shards);
      await forEachBounded(claimed.values(), (row, aborted) => this.#rebuild(row, aborted), {
        inFlight: this.#session.limits.chunksInFlight,
        signal,
      });
    };
    for await (const row of rows) {
      await this.#session.buckets.learn(row.shards);
      if (!this.#needsWork(row)) continue;
      batch.push(row.id);
      if (batch.length === BATCH) await flush();
    }
    if (batch.length > 0) await flush();
  }

  #needsWork(row: ChunkRow): boolean {
    return this.#isOtherCode(row) || this.#keptPlaces(row).includes(null);
  }

  #isOtherCode({ k, m }: Redundancy): boolean {
    const { redundancy } = this.#options;
    return redundancy !== null && (redundancy.k !== k || redundancy.m !== m);
  }

  /** The places that may stay: in a bucket of the vault that is not to be emptied, and one a bucket. */
  #keptPlaces(row: ChunkRow): (ShardPlace | null)[] {
    const used = new Set<number>();
    return row.shards.map((place, index) => {
      const bucket = recordedShard(row, index, this.#session.buckets)?.bucket;
      if (bucket === undefined || bucket === this.#options.leaving?.bucket || used.has(bucket.number)) {
        return null;
      }
      used.add(bucket.number);
      return place ?? null;
    });
  }

  async #rebuild(row: ChunkRow, signal: AbortSignal): Promise<void> {
    let current = row;
    for (let tries = 1; tries <= MOST_TRIES && this.#needsWork(current); tries += 1) {
      if (await this.#rebuildOnce(current, signal)) return;
      // Somebody has changed the row meanwhile; the claim keeps the chunk itself.
      const found = await this.#session.catalog.locateChunks([current.id]);
      current = found.get(current.id) ?? current;
      await this.#session.buckets.learn(current.shards);
    }
  }

  /** @returns whether that was all; false if the row has changed meanwhile */
  async #rebuildOnce(row: ChunkRow, signal: AbortSignal): Promise<boolean> {
    const next =
      (await this.#codedAnew(row, signal)) ??
      (await this.#moved(row, signal)) ??
      (await this.#completed(row, signal));
    if (sameRow(row, next)) return true;
    try {
      const { generation } = this.#options;
      if (await this.#session.catalog.replaceChunk(row, next, { generation })) {
        this.chunksRepaired += 1;
        this.#options.onRebuilt(row.sealedSize);
        return true;
      }
    } catch (error) {
      // This work was taken for dead, and nobody knows what has just been sent.
      if (isVaultError(error, 'stale')) await this.uploader.removeUploads([next]);
      throw error;
    }
    await this.uploader.removeUploads([next]);
    return false;
  }

  /** The row with all shards in the other redundancy; null if none is asked for, or it would be worse than what is there. */
  async #codedAnew(row: ChunkRow, signal: AbortSignal): Promise<ChunkRow | null> {
    const { redundancy } = this.#options;
    if (redundancy === null || !this.#isOtherCode(row)) return null;
    const { k, m } = redundancy;
    return this.#workshop.use(row, redundancy, async (bench) => {
      const how = { bench, signal, redundancy };
      const { states, sealedSize, objects } = await examineChunk(this.#session, row, how);
      if (objects === null) return null;
      const shards = objects.map(() => null);
      const next = await this.uploader.upload({ id: row.id, k, m, sealedSize, shards }, objects, signal);
      const stored = countStored(next);
      const spare = states.filter((state) => state === 'good' || state === 'unknown').length - row.k;
      if (stored === k + m || (stored >= k && stored - k >= spare)) return next;
      await this.uploader.removeUploads([next]);
      return null;
    });
  }

  /** The row with the shards that lie in the bucket to be emptied copied elsewhere; null if that is not all there is to do. */
  async #moved(row: ChunkRow, signal: AbortSignal): Promise<ChunkRow | null> {
    const kept = this.#keptPlaces(row);
    const shards = kept.map((place, index) => {
      return place === null ? recordedShard(row, index, this.#session.buckets) : null;
    });
    const leaving = shards.flatMap((shard) => shard ?? []);
    const missing = kept.filter((place) => place === null).length;
    if (leaving.length < missing || this.#options.leaving?.gone !== false) return null;
    return this.#workshop.use(row, row, async (bench) => {
      const objects = Array.from<Uint8Array | null>({ length: kept.length }).fill(null);
      for (const shard of leaving) {
        const { sealedSize } = row;
        const { object } = await examineShard(this.#session, shard, { bench, sealedSize, signal });
        // Not as it should be: then it is made anew from the others.
        if (object === null) return null;
        objects[shard.name.index] = object;
      }
      const next = await this.uploader.upload({ ...row, shards: kept }, objects, signal);
      keepSpare(
        bench,
        objects.flatMap((object) => (object === null ? [] : [{ object }])),
      );
      return withOldPlaces(row, next);
    });
  }

  /** The row with everything that can be had; at worst as it was. */
  async #completed(row: ChunkRow, signal: AbortSignal): Promise<ChunkRow> {
    return this.#workshop.use(row, row, async (bench) => {
      const examined = this.#withoutGone(await examineChunk(this.#session, row, { bench, signal }));
      const { states, sealedSize, objects } = examined;
      if (objects === null) return conditionOf(examined) === 'lost' ? this.#withoutLeaving(row) : row;
      const kept = this.#keptPlaces(row).map((place, i) => (isLost(states[i] ?? 'unknown') ? null : place));
      const next = await this.uploader.upload({ ...row, sealedSize, shards: kept }, objects, signal);
      const whole = withOldPlaces(row, next);
      if (!this.#mayGiveUp(next)) return whole;
      const given = this.#withoutLeaving(whole);
      // Never below what can be read: then the old place stays, and with it the bucket.
      return countStored(given) >= row.k ? given : whole;
    });
  }

  /** A bucket that is gone does not come back: what lies there is missing. */
  #withoutGone(examined: Examination): Examination {
    const { leaving } = this.#options;
    if (leaving?.gone !== true) return examined;
    const states = examined.states.map((state, index): ShardState => {
      const inGone = examined.row.shards[index]?.bucket === leaving.bucket.number;
      return inGone && state === 'unknown' ? 'missing' : state;
    });
    return { ...examined, states };
  }

  /** Whether a shard in the bucket that is gone has nowhere else to go, for want of buckets and not because one is down. */
  #mayGiveUp(row: ChunkRow): boolean {
    if (this.#options.leaving?.gone !== true) return false;
    const used = new Set(row.shards.map((place) => place?.bucket));
    return this.#session.buckets.all.every(
      (bucket) => bucket === this.#options.leaving?.bucket || used.has(bucket.number),
    );
  }

  #withoutLeaving(row: ChunkRow): ChunkRow {
    const { leaving } = this.#options;
    if (leaving?.gone !== true) return row;
    const shards = row.shards.map((place) => (place?.bucket === leaving.bucket.number ? null : place));
    return { ...row, shards };
  }
}

/** Puts old places back where no new one was found: what seems lost now may be there tomorrow. */
function withOldPlaces(old: ChunkRow, next: ChunkRow): ChunkRow {
  return { ...next, shards: next.shards.map((place, index) => place ?? old.shards[index] ?? null) };
}

function countStored({ shards }: ChunkRow): number {
  return shards.filter((place) => place !== null).length;
}

function sameRow(a: ChunkRow, b: ChunkRow): boolean {
  return (
    a.k === b.k &&
    a.m === b.m &&
    a.sealedSize === b.sealedSize &&
    a.shards.every((place, i) => {
      const other = b.shards[i] ?? null;
      return place?.bucket === other?.bucket && place?.generation === other?.generation;
    })
  );
}
