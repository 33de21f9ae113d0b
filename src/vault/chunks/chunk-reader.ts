/**
 * Reads chunks back: asks the catalog where the shards were last seen, fetches any k of them, opens the chunk, and goes to any
 * length to find other shards when that fails. What comes out has been proved to be the chunk of its reference.
 */
import { randomInt } from 'node:crypto';
import { idOfTag } from '../../crypto/chunk.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import type { ChunkRow } from '../../catalog/catalog.ts';
import type { ChunkRef } from '../../format/manifest.ts';
import { shardObjectName, type Redundancy } from '../../format/shard.ts';
import { gather } from '../../concurrency/gather.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';
import type { ReadSession } from '../session.ts';
import { payloadOf, type ChunkMemory } from './chunk-memory.ts';
import { readOrder } from './placement.ts';
import { Presence } from './presence.ts';
import { isComplete, objectNameOf, shardsOfRow, type ShardSet } from './shard-sets.ts';
import { rowLocator } from './row-locator.ts';
import { ShardProblems } from './shard-problems.ts';
import { checkShards, fetchShard, mostSealed, openFrom, openFromAny } from './shards.ts';
import type { FetchedShard, ShardCandidate } from './shards.ts';

/** After this long without an answer the next bucket is asked as well. */
export const HEDGE_MS = 3_000;
/** Shards whose memory is kept for others. */
const MOST_SPARE = 32;

/** A chunk of which shards have been fetched. */
export interface FetchedChunk {
  readonly ref: ChunkRef;
  readonly id: string;
  /** What the catalog records of it. */
  readonly row: ChunkRow | null;
  /** Whom else to ask; what is asked leaves it. */
  readonly candidates: Set<ShardCandidate>;
  /** k of them, unless they could not be had. */
  readonly shards: readonly FetchedShard[];
}

/** A shard that its bucket does not have. */
interface Absent {
  readonly candidate: ShardCandidate;
  readonly error: VaultError;
}

export class ChunkReader {
  readonly #session: ReadSession;
  readonly #rowOf: (id: string) => Promise<ChunkRow | undefined>;
  /** What the buckets list, for when the catalog is wrong; read only then. */
  #presence: Presence | null = null;
  /** Memory of shards that have been opened, for those to come: fresh pages cost more than reading does. */
  readonly #spare: ArrayBuffer[] = [];
  /** Everything that was wrong and was got round, or not. */
  readonly problems = new ShardProblems();
  /** Of chunks that are being read, shards that were not where the catalog records them: it may be old. */
  readonly #absent = new Map<string, Absent[]>();
  /** Buckets that have been found to have lost something: what else they lack is not looked for. */
  readonly #lossy = new Set<ReadBucket>();

  constructor(session: ReadSession) {
    this.#session = session;
    this.#rowOf = rowLocator(session);
  }

  /**
   * Reads a chunk into memory.
   *
   * @returns its body, a view of that memory
   * @throws `damaged` if no k shards give it back and every bucket that may have one has answered; `unavailable` otherwise
   */
  async read(memory: ChunkMemory, ref: ChunkRef, signal: AbortSignal): Promise<Uint8Array> {
    return this.open(memory, await this.fetch(ref, signal), signal);
  }

  /** Fetches shards that the catalog records, as many as open the chunk: the part of `read` that takes no memory for the body. */
  async fetch(ref: ChunkRef, signal: AbortSignal): Promise<FetchedChunk> {
    const id = idOfTag(ref.tag);
    const row = await this.#rowOf(id);
    if (row === undefined) return { ref, id, row: null, candidates: new Set(), shards: [] };
    const order = readOrder(row, this.problems.downBuckets, (below) => randomInt(below));
    const recorded = shardsOfRow(row, this.#session.buckets.all);
    const candidates = new Set(order.flatMap((index) => recorded.filter(({ name }) => name.index === index)));
    const most = mostSealed(ref.length);
    const shards = await this.#fetch(candidates, { need: row.k, most, signal });
    return { ref, id, row, candidates, shards };
  }

  /** Opens a chunk of which shards have been fetched, in memory; goes to any length if they do not suffice. As `read`. */
  async open(
    memory: ChunkMemory,
    { ref, id, row, candidates, shards }: FetchedChunk,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const found: { redundancy: Redundancy | null } = { redundancy: row };
    const opened =
      (row !== null && (await this.#readFrom(memory, ref, { candidates, k: row.k, shards, signal }))) ||
      (await this.#readAnywhere(memory, ref, { id, found, signal }));
    const absent = this.#absent.get(id) ?? [];
    this.#absent.delete(id);
    for (const each of absent) {
      if (opened && (await this.#isElsewhere(each, signal))) continue;
      const { bucket, name } = each.candidate;
      this.problems.add({ bucket, chunkId: id, index: name.index, error: each.error });
    }
    if (!opened) throw this.problems.lost(id, found.redundancy);
    return payloadOf(memory, ref.length);
  }

  /** Whether a chunk is whole without a shard that is missing: somebody has stored it anew since the catalog heard of it. */
  async #isElsewhere({ candidate: { bucket, name } }: Absent, signal: AbortSignal): Promise<boolean> {
    if (this.#lossy.has(bucket)) return false;
    const object = shardObjectName(name);
    const { sets } = await this.#listed.soon(name.chunkId, HEDGE_MS, signal);
    const isWhole = sets.some((set) => {
      const shards = set.shards.filter((one) => one.bucket !== bucket || objectNameOf(one) !== object);
      return isComplete({ ...set, shards });
    });
    if (!isWhole) this.#lossy.add(bucket);
    return isWhole;
  }

  get #listed(): Presence {
    this.#presence ??= new Presence(this.#session.buckets.all, this.#session.clock);
    return this.#presence;
  }

  /** Tries every shard of the chunk that any bucket lists: the catalog may be wrong, the buckets prove themselves. */
  async #readAnywhere(
    memory: ChunkMemory,
    ref: ChunkRef,
    {
      id,
      found,
      signal,
    }: {
      readonly id: string;
      readonly found: { redundancy: Redundancy | null };
      readonly signal: AbortSignal;
    },
  ): Promise<boolean> {
    const presence = this.#listed;
    const soon = await presence.soon(id, HEDGE_MS, signal);
    const tryAll = async (sets: readonly ShardSet[]): Promise<boolean> => {
      for (const { bucket, error } of presence.failures) {
        this.problems.add({ bucket, chunkId: id, index: null, error });
      }
      for (const { k, m, shards } of sets) {
        found.redundancy ??= { k, m };
        const candidates = new Set<ShardCandidate>(shards);
        const first = await this.#fetch(candidates, { need: k, most: mostSealed(ref.length), signal });
        if (await this.#readFrom(memory, ref, { candidates, k, shards: first, signal })) return true;
      }
      return false;
    };
    if (await tryAll(soon.sets)) return true;
    return soon.complete ? false : tryAll(await presence.sets(id, signal));
  }

  /** Tries shards, and then other candidates of their set, until k of them open the chunk. */
  async #readFrom(
    memory: ChunkMemory,
    ref: ChunkRef,
    {
      candidates,
      k,
      shards,
      signal,
    }: {
      readonly candidates: Set<ShardCandidate>;
      readonly k: number;
      readonly shards: readonly FetchedShard[];
      readonly signal: AbortSignal;
    },
  ): Promise<boolean> {
    const most = mostSealed(ref.length);
    let fetched = shards;
    if (
      distinct(fetched) >= k &&
      fetched.length === k &&
      (await openFrom(this.#session, memory, ref, fetched))
    ) {
      for (const { object } of fetched) this.#keepSpare(object);
      return true;
    }
    // Some of them lie. Others take their places, no more of them than are needed: one may be slow to come.
    const pool: FetchedShard[] = [];
    while (fetched.length > 0) {
      if (await this.#openWith(memory, ref, { pool, added: fetched })) return true;
      fetched = await this.#fetch(candidates, { need: Math.max(1, k - pool.length), most, signal });
    }
    // Enough of them have right checksums, and yet they do not fit together.
    if (distinct(pool) >= k) this.#noteMisfits(pool);
    return false;
  }

  /**
   * Fetches as many shards as are needed; those that cannot be had are noted as problems.
   *
   * @param candidates whom to ask, in order; those that gave a shard or have none leave it, and those that were too late
   *   move to its end
   */
  async #fetch(
    candidates: Set<ShardCandidate>,
    { need, most, signal }: { readonly need: number; readonly most: number; readonly signal: AbortSignal },
  ): Promise<FetchedShard[]> {
    const asked = new Set<ShardCandidate>();
    const done = new Set<ShardCandidate>();
    const ask = async (candidate: ShardCandidate, aborted: AbortSignal): Promise<FetchedShard | null> => {
      const { bucket, name } = candidate;
      asked.add(candidate);
      try {
        const shard = await fetchShard(candidate, most, { signal: aborted, spare: this.#spare.pop() });
        this.problems.noteAnswer(bucket);
        return shard;
      } catch (error) {
        if (aborted.aborted) return null;
        if (!isVaultError(error)) throw error;
        if (isVaultError(error, 'object-missing')) this.#noteAbsent({ candidate, error });
        else this.problems.add({ bucket, chunkId: name.chunkId, index: name.index, error });
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

  #noteAbsent(absent: Absent): void {
    const { chunkId } = absent.candidate.name;
    this.#absent.set(chunkId, [...(this.#absent.get(chunkId) ?? []), absent]);
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
    ref: ChunkRef,
    { pool, added }: { readonly pool: FetchedShard[]; readonly added: readonly FetchedShard[] },
  ): Promise<boolean> {
    for (const shard of await this.#intact(added)) {
      pool.unshift(shard);
      const opened = await openFromAny(this.#session, memory, ref, pool, { withFirst: true });
      if (opened !== null) {
        this.#noteMisfits(opened.misfits);
        return true;
      }
    }
    return false;
  }

  #noteMisfits(shards: readonly FetchedShard[]): void {
    for (const { candidate, tooNew = false } of shards) {
      const { bucket, name } = candidate;
      const error = tooNew
        ? new VaultError(
            'unsupported',
            `A shard in ${bucket.url} is of a codec that only a newer version knows.`,
          )
        : new VaultError('damaged', `A shard in ${bucket.url} is not the one that was stored.`);
      this.problems.add({ bucket, chunkId: name.chunkId, index: name.index, error });
    }
  }
}

function distinct(shards: readonly FetchedShard[]): number {
  return new Set(shards.map(({ candidate }) => candidate.name.index)).size;
}
