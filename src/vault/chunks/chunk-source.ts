/**
 * Reads chunks back: asks the catalog where the shards lie, fetches any k of them, opens the chunk, and goes to any
 * length to find other shards when that fails. What comes out has been proved to be the chunk with its id.
 */
import { randomInt } from 'node:crypto';
import type { ChunkRow } from '../../catalog/catalog.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { payloadBody, payloadSize, SEAL_OVERHEAD } from '../../format/chunk.ts';
import type { TableEntry } from '../../format/manifest.ts';
import { formatRedundancy } from '../../format/shard.ts';
import { batched } from '../../concurrency/batched.ts';
import { gather } from '../../concurrency/gather.ts';
import { readOrder } from './placement.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { payloadOf } from './chunk-memory.ts';
import type { ChunkMemory } from './chunk-memory.ts';
import { HEDGE_MS } from '../files/manifests.ts';
import { ShardProblems } from './shard-problems.ts';
import type { Session } from '../session.ts';
import { checkShards, fetchShard, findShards, openFrom, openFromAny, recordedShard } from './shards.ts';
import type { CodedChunk, FetchedShard, ShardCandidate } from './shards.ts';

/** A chunk to be read. */
export interface WantedChunk extends TableEntry {
  readonly isLast: boolean;
}

/** Shards whose memory is kept for others. */
const MOST_SPARE = 32;

export class ChunkSource {
  readonly #session: Session;
  readonly #chunkSize: number;
  readonly #locate: (id: string) => Promise<ChunkRow | undefined>;
  /** Memory of shards that have been opened, for those to come: fresh pages cost more than reading does. */
  readonly #spare: ArrayBuffer[] = [];
  /** Everything that was wrong and was got round, or not. */
  readonly problems = new ShardProblems();

  /** @param chunkSize the file's, in bytes */
  constructor(session: Session, chunkSize: number) {
    this.#session = session;
    this.#chunkSize = chunkSize;
    this.#locate = batched((ids) => session.catalog.locateChunks([...new Set(ids)]), {
      most: 500,
      inFlight: 2,
    });
  }

  /**
   * Reads a chunk into memory.
   *
   * @returns its body, a view of that memory
   * @throws `damaged` if no k shards give it back and every bucket that may have one has answered; `unavailable` otherwise
   */
  async read(memory: ChunkMemory, wanted: WantedChunk, signal: AbortSignal): Promise<Uint8Array> {
    const size = payloadSize(wanted.length, { chunkSize: this.#chunkSize, isLast: wanted.isLast });
    const row = await this.#locate(wanted.chunkId);
    await this.#session.buckets.learn(row?.shards ?? []);
    const sealedSize = size + SEAL_OVERHEAD;
    const opened =
      // The size is what the manifest says, whatever the row has.
      (row !== undefined && (await this.#readRecorded(memory, { ...row, sealedSize }, signal))) ||
      (await this.#readAnywhere(memory, { id: wanted.chunkId, sealedSize }, signal));
    if (!opened) throw this.problems.lost(wanted.chunkId, row ?? null);
    const body = payloadBody(payloadOf(memory, size));
    if (body.length !== wanted.length) {
      throw new VaultError(
        'damaged',
        `The chunk ${wanted.chunkId} does not have the length that the manifest says.`,
      );
    }
    return body;
  }

  /** Tries the shards that the catalog knows of. */
  async #readRecorded(memory: ChunkMemory, row: ChunkRow, signal: AbortSignal): Promise<boolean> {
    const order = readOrder(row, { down: this.problems.downBuckets, inFlight: new Map() }, (below) =>
      randomInt(below),
    );
    const { k, sealedSize } = row;
    const candidates = new Set(
      order.flatMap((index) => recordedShard(row, index, this.#session.buckets) ?? []),
    );
    let fetched = await this.#fetch(candidates, { need: k, sealedSize, signal });
    if (fetched.length < k) return false;
    if (await openFrom(this.#session, memory, row, fetched)) {
      for (const { object } of fetched) this.#keepSpare(object);
      return true;
    }
    // Some of them lie. Others take their places, no more of them than are needed: one may be slow to come.
    const pool: FetchedShard[] = [];
    while (fetched.length > 0) {
      if (await this.#openWith(memory, row, { pool, added: fetched })) return true;
      fetched = await this.#fetch(candidates, { need: Math.max(1, k - pool.length), sealedSize, signal });
    }
    return false;
  }

  /** Tries every shard of the chunk that any bucket has: the catalog may be wrong, the buckets prove themselves. */
  async #readAnywhere(
    memory: ChunkMemory,
    { id, sealedSize }: Pick<CodedChunk, 'id' | 'sealedSize'>,
    signal: AbortSignal,
  ): Promise<boolean> {
    /** Intact shards by redundancy, the latest first. */
    const pools = new Map<string, FetchedShard[]>();
    const openWith = async (fetched: readonly FetchedShard[]): Promise<boolean> => {
      for (const shard of fetched) {
        const { k, m } = shard.candidate.name;
        const key = formatRedundancy({ k, m });
        const pool = pools.get(key) ?? [];
        pools.set(key, pool);
        if (await this.#openWith(memory, { id, k, m, sealedSize }, { pool, added: [shard] })) return true;
      }
      return false;
    };
    // One after the other, as there is only one memory to open into, and nothing once the chunk is in it.
    let opening = Promise.resolve(false);
    const ask = async (bucket: VaultBucket, aborted: AbortSignal): Promise<VaultBucket | null> => {
      const candidates = new Set(await this.#findShards(bucket, id, aborted));
      const fetched = await this.#fetch(candidates, { need: candidates.size, sealedSize, signal: aborted });
      const before = opening;
      opening = (async () => (await before) || (await openWith(fetched)))();
      return (await opening) ? bucket : null;
    };
    const opened = await gather(this.#session.buckets.all, ask, { need: 1, hedgeMs: HEDGE_MS, signal });
    if (opened.length > 0) return true;
    for (const pool of pools.values()) {
      // Enough of them have right checksums, and yet they do not fit together.
      if (pool.length >= (pool[0]?.candidate.name.k ?? 0)) this.#noteMisfits(pool);
    }
    return false;
  }

  async #findShards(bucket: VaultBucket, chunkId: string, signal: AbortSignal): Promise<ShardCandidate[]> {
    try {
      return await findShards(bucket, chunkId, signal);
    } catch (error) {
      if (!isVaultError(error)) throw error;
      if (!signal.aborted) this.problems.add({ bucket, chunkId, index: null, error });
      return [];
    }
  }

  /**
   * Fetches as many shards as are needed; those that cannot be had are noted as problems.
   *
   * @param candidates whom to ask, in order; those that gave a shard or have none leave it, and those that were too late
   *   move to its end
   */
  async #fetch(
    candidates: Set<ShardCandidate>,
    {
      need,
      sealedSize,
      signal,
    }: { readonly need: number; readonly sealedSize: number; readonly signal: AbortSignal },
  ): Promise<FetchedShard[]> {
    const asked = new Set<ShardCandidate>();
    const done = new Set<ShardCandidate>();
    const ask = async (candidate: ShardCandidate, aborted: AbortSignal): Promise<FetchedShard | null> => {
      const { bucket, name } = candidate;
      asked.add(candidate);
      try {
        const shard = await fetchShard(candidate, sealedSize, { signal: aborted, spare: this.#spare.pop() });
        this.problems.noteAnswer(bucket);
        return shard;
      } catch (error) {
        if (aborted.aborted) return null;
        if (!isVaultError(error)) throw error;
        this.problems.add({ bucket, chunkId: name.chunkId, index: name.index, error });
        done.add(candidate);
        return null;
      }
    };
    const onSlow = ({ bucket }: ShardCandidate): void => this.problems.noteSlow(bucket);
    const fetched = await gather([...candidates], ask, { need, hedgeMs: HEDGE_MS, onSlow, signal });
    for (const { candidate } of fetched) done.add(candidate);
    for (const candidate of asked) {
      candidates.delete(candidate);
      if (!done.has(candidate)) candidates.add(candidate);
    }
    return fetched;
  }

  #keepSpare({ buffer }: Uint8Array): void {
    if (buffer instanceof ArrayBuffer && this.#spare.length < MOST_SPARE) this.#spare.push(buffer);
  }

  /** The shards whose own checksum is right; the others are noted as problems. */
  async #intact(shards: readonly FetchedShard[]): Promise<FetchedShard[]> {
    const checks = await checkShards(this.#session, shards);
    return shards.filter(({ candidate: { bucket, name } }, i) => {
      if (checks[i] === true) return true;
      const error = new VaultError('damaged', `A shard in ${bucket.url} does not match its checksum.`);
      this.problems.add({ bucket, chunkId: name.chunkId, index: name.index, error });
      return false;
    });
  }

  /**
   * Adds shards to a pool of intact ones that have not opened the chunk, and tries again with each.
   *
   * @returns whether the chunk is in memory; those that do not belong to it have been noted
   */
  async #openWith(
    memory: ChunkMemory,
    chunk: CodedChunk,
    { pool, added }: { readonly pool: FetchedShard[]; readonly added: readonly FetchedShard[] },
  ): Promise<boolean> {
    for (const shard of await this.#intact(added)) {
      pool.unshift(shard);
      const misfits = await openFromAny(this.#session, memory, chunk, pool, { withFirst: true });
      if (misfits !== null) {
        this.#noteMisfits(misfits);
        return true;
      }
    }
    return false;
  }

  #noteMisfits(shards: readonly FetchedShard[]): void {
    for (const { candidate } of shards) {
      const { bucket, name } = candidate;
      const error = new VaultError('damaged', `A shard in ${bucket.url} is not the one that was stored.`);
      this.problems.add({ bucket, chunkId: name.chunkId, index: name.index, error });
    }
  }
}
