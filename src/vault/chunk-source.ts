/**
 * Reads chunks back: asks the catalog where the shards lie, fetches any k of them, opens the chunk, and goes to any
 * length to find other shards when that fails. What comes out has been proved to be the chunk with its id.
 */
import { randomInt } from 'node:crypto';
import type { ChunkRow } from '../catalog/catalog.ts';
import { isVaultError, VaultError } from '../errors.ts';
import { payloadBody, payloadSize, SEAL_OVERHEAD } from '../format/chunk.ts';
import type { TableEntry } from '../format/manifest.ts';
import {
  CHUNK_PREFIX,
  formatRedundancy,
  parseShardHeader,
  parseShardObjectName,
  shardObjectName,
  shardObjectSize,
} from '../format/shard.ts';
import type { Redundancy, ShardName } from '../format/shard.ts';
import { batched, gather } from '../pipeline.ts';
import { readOrder } from '../placement.ts';
import type { VaultBucket } from './bucket-set.ts';
import { payloadOf } from './chunk-memory.ts';
import type { ChunkMemory } from './chunk-memory.ts';
import { HEDGE_MS } from './manifests.ts';
import { ShardProblems } from './shard-problems.ts';
import { withSignal } from './session.ts';
import type { Session } from './session.ts';

/** A shard object that has been fetched and has the header it should; its checksum has not been looked at. */
interface FetchedShard {
  readonly candidate: ShardCandidate;
  /** Its memory changes hands when a thread works on it, and comes back as another view. */
  object: Uint8Array;
}

/** A shard object that may exist. */
interface ShardCandidate {
  readonly bucket: VaultBucket;
  readonly name: ShardName;
}

/** A chunk to be read. */
export interface WantedChunk extends TableEntry {
  readonly isLast: boolean;
}

/** Shards whose memory is kept for others. */
const MOST_SPARE = 32;
/** Most combinations of shards to try when some of them lie. */
const MOST_COMBINATIONS = 2_000;

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
    const opened =
      (row !== undefined && (await this.#readRecorded(memory, size, row, signal))) ||
      (await this.#readAnywhere(memory, size, wanted.chunkId, signal));
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
  async #readRecorded(
    memory: ChunkMemory,
    size: number,
    row: ChunkRow,
    signal: AbortSignal,
  ): Promise<boolean> {
    const order = readOrder(row, { down: this.problems.downBuckets, inFlight: new Map() }, (below) =>
      randomInt(below),
    );
    const candidates = order.flatMap((index) => {
      const place = row.shards[index];
      const bucket = place && this.#session.buckets.byNumber(place.bucket);
      if (!bucket) return [];
      return [{ bucket, name: { chunkId: row.id, index, k: row.k, m: row.m, generation: place.generation } }];
    });
    const need = { need: row.k, hedgeMs: HEDGE_MS, signal };
    const fetched = await gather(
      candidates,
      (candidate, aborted) => this.#fetch(candidate, size, aborted),
      need,
    );
    if (fetched.length < row.k) return false;
    if (await this.#tryOpen(memory, size, row, fetched)) {
      for (const { object } of fetched) this.#keepSpare(object);
      return true;
    }
    // Some of them lie. Whose checksum is wrong is easily told; then the others are worth fetching too.
    const intact = await this.#intact(fetched);
    const seen = new Set(fetched.map((shard) => shard.candidate));
    const rest = candidates.filter((candidate) => !seen.has(candidate));
    const others = await gather(rest, (candidate, aborted) => this.#fetch(candidate, size, aborted), {
      need: rest.length,
      hedgeMs: HEDGE_MS,
      signal,
    });
    return this.#openAny(memory, size, row, [...intact, ...(await this.#intact(others))]);
  }

  /** Tries every shard of the chunk that any bucket has: the catalog may be wrong, the buckets prove themselves. */
  async #readAnywhere(
    memory: ChunkMemory,
    size: number,
    chunkId: string,
    signal: AbortSignal,
  ): Promise<boolean> {
    const found = await Promise.all(
      this.#session.buckets.all.map((bucket) => this.#listShards(bucket, chunkId, signal)),
    );
    const groups = Map.groupBy(found.flat(), ({ name }) => formatRedundancy(name));
    for (const candidates of groups.values()) {
      const name = candidates[0]?.name;
      if (name === undefined) continue;
      const fetched = await gather(
        candidates,
        (candidate, aborted) => this.#fetch(candidate, size, aborted),
        {
          need: candidates.length,
          hedgeMs: HEDGE_MS,
          signal,
        },
      );
      if (await this.#openAny(memory, size, { id: chunkId, ...name }, await this.#intact(fetched)))
        return true;
    }
    return false;
  }

  async #listShards(bucket: VaultBucket, chunkId: string, signal: AbortSignal): Promise<ShardCandidate[]> {
    const found: ShardCandidate[] = [];
    try {
      const prefix = `${CHUNK_PREFIX}${chunkId}.`;
      for await (const { name } of (await bucket.open()).list(prefix, withSignal(signal))) {
        const parsed = parseShardObjectName(name);
        if (parsed !== null) found.push({ bucket, name: parsed });
      }
    } catch (error) {
      if (!isVaultError(error) || error.code === 'interrupted') throw error;
      this.problems.add({ bucket, chunkId, index: null, error });
    }
    return found;
  }

  /** Fetches one shard object and checks that it is what its name says; null, and a problem noted, if it is not. */
  async #fetch(candidate: ShardCandidate, size: number, signal: AbortSignal): Promise<FetchedShard | null> {
    const { bucket, name } = candidate;
    const sealedSize = size + SEAL_OVERHEAD;
    try {
      const maxSize = shardObjectSize(sealedSize, name.k);
      const object = await (
        await bucket.open()
      ).get(shardObjectName(name), { maxSize, ...withSignal(signal) });
      const header = parseShardHeader(object);
      const same =
        header.chunkId === name.chunkId &&
        header.index === name.index &&
        header.k === name.k &&
        header.m === name.m &&
        header.sealedSize === sealedSize;
      if (!same)
        throw new VaultError(
          'damaged',
          `The bucket ${bucket.url} has another object in the place of a shard.`,
        );
      return { candidate, object };
    } catch (error) {
      if (signal.aborted) return null;
      if (!isVaultError(error)) throw error;
      this.problems.add({ bucket, chunkId: name.chunkId, index: name.index, error });
      return null;
    }
  }

  #keepSpare({ buffer }: Uint8Array): void {
    if (buffer instanceof ArrayBuffer && this.#spare.length < MOST_SPARE) this.#spare.push(buffer);
  }

  /** Opens a chunk from exactly k shards. */
  async #tryOpen(
    memory: ChunkMemory,
    size: number,
    chunk: Redundancy & { readonly id: string },
    shards: readonly FetchedShard[],
  ): Promise<boolean> {
    const objects = Array.from<Uint8Array | null>({ length: chunk.k + chunk.m }).fill(null);
    for (const { candidate, object } of shards) objects[candidate.name.index] = object;
    const redundancy = { k: chunk.k, m: chunk.m };
    const answer = await this.#session.workers.open(memory, size, chunk.id, { redundancy, objects });
    for (const shard of shards) shard.object = answer.objects[shard.candidate.name.index] ?? shard.object;
    return answer.opened;
  }

  /** The shards whose own checksum is right; the others are noted as problems. */
  async #intact(shards: readonly FetchedShard[]): Promise<FetchedShard[]> {
    if (shards.length === 0) return [];
    const checks = await this.#session.workers.check(shards.map(({ object }) => object));
    return shards.filter(({ candidate: { bucket, name } }, i) => {
      if (checks[i] === true) return true;
      const error = new VaultError('damaged', `A shard in ${bucket.url} does not match its checksum.`);
      this.problems.add({ bucket, chunkId: name.chunkId, index: name.index, error });
      return false;
    });
  }

  /**
   * Tries combinations of k shards until one opens: a bucket that lies can give its shards right checksums, and
   * only the seal tells.
   */
  async #openAny(
    memory: ChunkMemory,
    size: number,
    chunk: Redundancy & { readonly id: string },
    shards: readonly FetchedShard[],
  ): Promise<boolean> {
    let tried = 0;
    for (const picks of combinations(
      shards.map(({ candidate }) => candidate.name.index),
      chunk.k,
    )) {
      tried += 1;
      if (tried > MOST_COMBINATIONS) break;
      if (
        await this.#tryOpen(
          memory,
          size,
          chunk,
          picks.flatMap((at) => shards[at] ?? []),
        )
      ) {
        if (tried > 1) this.#noteLiars(shards.filter((_, at) => !picks.includes(at)));
        return true;
      }
    }
    if (tried > 0) this.#noteLiars(shards);
    return false;
  }

  /** Notes shards that have right checksums and yet do not fit together. */
  #noteLiars(shards: readonly FetchedShard[]): void {
    for (const { candidate } of shards) {
      const { bucket, name } = candidate;
      const error = new VaultError('damaged', `A shard in ${bucket.url} may not be the one that was stored.`);
      this.problems.add({ bucket, chunkId: name.chunkId, index: name.index, error });
    }
  }
}

/** Every choice of `count` positions whose shard indices differ, in order. */
function* combinations(indices: readonly number[], count: number, from = 0): Generator<number[]> {
  if (count === 0) {
    yield [];
    return;
  }
  for (let at = from; at <= indices.length - count; at += 1) {
    for (const rest of combinations(indices, count - 1, at + 1)) {
      if (rest.every((other) => indices[other] !== indices[at])) yield [at, ...rest];
    }
  }
}
