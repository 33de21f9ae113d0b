/**
 * Reads chunks back: asks the catalog where the shards lie, fetches any k of them, opens the chunk, and goes to any
 * length to find other shards when that fails. What comes out has been proved to be the chunk with its id.
 */
import { randomInt } from 'node:crypto';
import type { ChunkRow } from '../catalog/catalog.ts';
import { isVaultError, VaultError } from '../errors.ts';
import { payloadBody, payloadSize, SEAL_OVERHEAD } from '../format/chunk.ts';
import type { TableEntry } from '../format/manifest.ts';
import { formatRedundancy } from '../format/shard.ts';
import { batched, gather } from '../pipeline.ts';
import { readOrder } from '../placement.ts';
import type { VaultBucket } from './bucket-set.ts';
import { payloadOf } from './chunk-memory.ts';
import type { ChunkMemory } from './chunk-memory.ts';
import { HEDGE_MS } from './manifests.ts';
import { ShardProblems } from './shard-problems.ts';
import type { Session } from './session.ts';
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
    const candidates = order.flatMap((index) => recordedShard(row, index, this.#session.buckets) ?? []);
    const fetched = await this.#fetch(candidates, { need: row.k, sealedSize: row.sealedSize, signal });
    if (fetched.length < row.k) return false;
    if (await openFrom(this.#session, memory, row, fetched)) {
      for (const { object } of fetched) this.#keepSpare(object);
      return true;
    }
    // Some of them lie. Whose checksum is wrong is easily told; then the others are worth fetching too.
    const intact = await this.#intact(fetched);
    const seen = new Set(fetched.map((shard) => shard.candidate));
    const rest = candidates.filter((candidate) => !seen.has(candidate));
    const others = await this.#fetch(rest, { need: rest.length, sealedSize: row.sealedSize, signal });
    return this.#openAny(memory, row, [...intact, ...(await this.#intact(others))]);
  }

  /** Tries every shard of the chunk that any bucket has: the catalog may be wrong, the buckets prove themselves. */
  async #readAnywhere(
    memory: ChunkMemory,
    { id, sealedSize }: Pick<CodedChunk, 'id' | 'sealedSize'>,
    signal: AbortSignal,
  ): Promise<boolean> {
    const found = await Promise.all(
      this.#session.buckets.all.map((bucket) => this.#findShards(bucket, id, signal)),
    );
    const groups = Map.groupBy(found.flat(), ({ name }) => formatRedundancy(name));
    for (const candidates of groups.values()) {
      const [first] = candidates;
      if (first === undefined) continue;
      const { k, m } = first.name;
      const fetched = await this.#fetch(candidates, { need: candidates.length, sealedSize, signal });
      if (await this.#openAny(memory, { id, k, m, sealedSize }, await this.#intact(fetched))) return true;
    }
    return false;
  }

  async #findShards(bucket: VaultBucket, chunkId: string, signal: AbortSignal): Promise<ShardCandidate[]> {
    try {
      return await findShards(bucket, chunkId, signal);
    } catch (error) {
      if (!isVaultError(error) || error.code === 'interrupted') throw error;
      this.problems.add({ bucket, chunkId, index: null, error });
      return [];
    }
  }

  /** Fetches as many shards as are needed; those that cannot be had are noted as problems. */
  #fetch(
    candidates: readonly ShardCandidate[],
    {
      need,
      sealedSize,
      signal,
    }: { readonly need: number; readonly sealedSize: number; readonly signal: AbortSignal },
  ): Promise<FetchedShard[]> {
    const ask = async (candidate: ShardCandidate, aborted: AbortSignal): Promise<FetchedShard | null> => {
      try {
        return await fetchShard(candidate, sealedSize, { signal: aborted, spare: this.#spare.pop() });
      } catch (error) {
        if (aborted.aborted) return null;
        if (!isVaultError(error)) throw error;
        const { bucket, name } = candidate;
        this.problems.add({ bucket, chunkId: name.chunkId, index: name.index, error });
        return null;
      }
    };
    return gather(candidates, ask, { need, hedgeMs: HEDGE_MS, signal });
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

  /** Opens the chunk from any k of these shards, and notes those that do not fit together. */
  async #openAny(memory: ChunkMemory, chunk: CodedChunk, shards: readonly FetchedShard[]): Promise<boolean> {
    const opened = await openFromAny(this.#session, memory, chunk, shards);
    if (opened?.atOnce === true) return true;
    for (const { candidate } of shards.length < chunk.k ? [] : (opened?.others ?? shards)) {
      const { bucket, name } = candidate;
      const error = new VaultError('damaged', `A shard in ${bucket.url} may not be the one that was stored.`);
      this.problems.add({ bucket, chunkId: name.chunkId, index: name.index, error });
    }
    return opened !== null;
  }
}
