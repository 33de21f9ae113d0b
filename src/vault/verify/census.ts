/**
 * What the buckets list of all chunks, in 16 bytes a chunk: whether a complete set of shards lies in them, and where. Verify and
 * repair look up what files need. A chunk is known by 64 bits of its id.
 */
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import type { ChunkRow } from '../../catalog/catalog.ts';
import type { ChunkId } from '../../format/manifest.ts';
import { CHUNK_PREFIX, shardObjectSize, type Redundancy } from '../../format/shard.ts';
import type { BucketSet, ReadBucket } from '../buckets/bucket-set.ts';
import { mergedListing, type MergeOptions } from '../buckets/merged-listing.ts';
import { listChunks, type ListedChunk } from '../chunks/chunk-listing.ts';
import { chosenShards, shardsOf, type ListedShard } from '../chunks/shard-sets.ts';
import { completeSet, mostSealedOf, type Judgement, type PlacesHint } from './chunk-judgement.ts';
import { problemKey } from './condition.ts';

/** Entries of the first table; each further one is twice as large. */
const FIRST_SIZE = 1 << 12;
/** Tables are filled so far; then a further one is begun. */
const MOST_FULL = 0.7;
/** Words of an entry: 64 bits of the id, a value, and what is known. */
const WORDS = 4;
/** So many chunks are looked for one by one; more of them by another listing of everything. */
const FEW = 300;
const IN_FLIGHT = 8;

/** A complete set is listed; the value is the size of its objects, the index that of its places. */
const COMPLETE = 1;
/** No good set is listed; the value is what a file needs of it, once one does; the index that of a hint, or 0. */
const DOUBTFUL = 2;
/** It has been judged; the value is for who judged, the index that of the judgement. */
const JUDGED = 3;
const KIND_SHIFT = 28;
const NEEDED = 1 << 30;
const INDEX_MASK = (1 << KIND_SHIFT) - 1;
/** What a file needs of a doubtful chunk: the padded length, and above it how many buckets may be lost. */
const SPARE_UNIT = 2 ** 27;

/** A redundancy, and the buckets of a complete set. */
interface Places extends Redundancy {
  readonly judgement: Judgement;
}

/** A chunk that files need and of which no complete set was listed at first, and what is listed of it now. */
export interface DoubtfulChunk {
  /** For `settle`. */
  readonly slot: number;
  /** 64 hex digits; null if no bucket has any shard of it. */
  readonly id: string | null;
  readonly shards: readonly ListedShard[];
  /** The padded length that files give. */
  readonly padded: number;
  /** How many buckets may be lost, at least. */
  readonly spare: number;
  readonly hint: PlacesHint | null;
}

export class ChunkCensus {
  readonly #tables: { readonly words: Uint32Array; readonly base: number; count: number }[] = [];
  readonly #places = new Interned<Places>();
  readonly #hints = new Interned<PlacesHint>();
  readonly #judgements = new Interned<Judgement>();
  /** Needed chunks of which no complete set is known. */
  #doubtful = 0;

  static async take(
    buckets: readonly ReadBucket[],
    options: MergeOptions & { readonly onForeign?: ((name: string) => void) | undefined } = {},
  ): Promise<ChunkCensus> {
    const census = new ChunkCensus();
    for await (const chunk of listChunks(buckets, options)) census.#add(chunk);
    return census;
  }

  #add({ id, shards }: ListedChunk): void {
    const slot = this.#slotOf(id);
    const set = completeSet(shards);
    // Another chunk with the same 64 bits: both are looked at anew.
    if (this.#code(slot) !== 0 || set === null) {
      this.#write(slot, 0, DOUBTFUL << KIND_SHIFT);
      return;
    }
    const buckets = [...chosenShards(set).values()].map(({ bucket }) => bucket);
    const key = `${set.k}+${set.m} ${buckets
      .map(({ number }) => number)
      .toSorted((a, b) => a - b)
      .join(' ')}`;
    const index = this.#places.indexOf(key, () => ({
      k: set.k,
      m: set.m,
      judgement: {
        condition: 'whole',
        problems: [],
        shards: buckets.map((bucket) => ({ bucket, state: 'good' as const })),
      },
    }));
    this.#write(slot, set.objectSize, (COMPLETE << KIND_SHIFT) | index);
  }

  /**
   * Notes that a file needs a chunk.
   *
   * @param spare how many buckets may be lost without losing the chunk, at least
   * @returns how it stands; null if that is to be seen: it is among the doubtful ones from then on
   */
  need({ id, padded }: ChunkId, spare: number): Judgement | null {
    const slot = this.#slotOf(id);
    const code = this.#code(slot);
    const index = code & INDEX_MASK;
    switch ((code >> KIND_SHIFT) & 3) {
      case JUDGED: {
        this.#write(slot, this.#value(slot), code | NEEDED);
        return this.#judgements.at(index);
      }
      case COMPLETE: {
        const places = this.#places.at(index);
        // A file that says something else than one that fits, of the length, says nothing.
        const fits =
          (code & NEEDED) !== 0 || this.#value(slot) <= shardObjectSize(mostSealedOf(padded), places.k);
        if (fits && places.m >= spare) {
          this.#write(slot, this.#value(slot), code | NEEDED);
          return places.judgement;
        }
        break;
      }
      case DOUBTFUL: {
        if ((code & NEEDED) === 0) break;
        // The larger length has room for what another file says.
        const value = this.#value(slot);
        const most = Math.max(value % SPARE_UNIT, padded);
        this.#write(slot, most + Math.max(Math.floor(value / SPARE_UNIT), spare) * SPARE_UNIT, code);
        return null;
      }
    }
    this.#write(slot, padded + spare * SPARE_UNIT, (DOUBTFUL << KIND_SHIFT) | NEEDED);
    this.#doubtful += 1;
    return null;
  }

  /** How a needed chunk stands; null if it has not been judged. */
  judgementOf(id: string): Judgement | null {
    const slot = this.#find(id);
    if (slot === null) return null;
    const code = this.#code(slot);
    const index = code & INDEX_MASK;
    const kind = (code >> KIND_SHIFT) & 3;
    if (kind === JUDGED) return this.#judgements.at(index);
    return kind === COMPLETE ? this.#places.at(index).judgement : null;
  }

  /** Remembers of a doubtful chunk where the catalog has last seen its shards. */
  hint(row: ChunkRow, buckets: BucketSet): void {
    const slot = this.#find(row.id);
    if (slot === null || !this.#isDoubtful(slot)) return;
    const places = row.shards.map((place) => (place === null ? null : buckets.byNumber(place.bucket)));
    const key = `${row.k}+${row.m} ${places.map((bucket) => bucket?.number ?? 0).join(' ')}`;
    const index = this.#hints.indexOf(key, () => ({ k: row.k, m: row.m, buckets: places }));
    this.#write(slot, this.#value(slot), (DOUBTFUL << KIND_SHIFT) | NEEDED | index);
  }

  /** The slot of a needed chunk, for `settle` and `proofOf`. */
  slotOf(id: string): number {
    const slot = this.#find(id);
    if (slot === null) throw new RangeError('The census does not know this chunk.');
    return slot;
  }

  /**
   * Records how a needed chunk stands.
   *
   * @param proof 32 bits by which whoever judged knows again what it was judged by
   */
  settle(slot: number, judgement: Judgement, proof = 0): void {
    if (this.#isDoubtful(slot)) this.#doubtful -= 1;
    const index = this.#judgements.indexOf(judgementKey(judgement), () => judgement);
    this.#write(slot, proof >>> 0, (JUDGED << KIND_SHIFT) | NEEDED | index);
  }

  /** A judgement like this one, of which there is only one. */
  alike(judgement: Judgement): Judgement {
    return this.#judgements.at(this.#judgements.indexOf(judgementKey(judgement), () => judgement));
  }

  /** What a chunk was judged by; null if it has not been judged. */
  proofOf(slot: number): number | null {
    return ((this.#code(slot) >> KIND_SHIFT) & 3) === JUDGED ? this.#value(slot) : null;
  }

  /** The judgements of all needed chunks; those that are doubtful still are left out. */
  *needed(): Generator<Judgement, void, undefined> {
    for (const { words } of this.#tables) {
      for (let at = 3; at < words.length; at += WORDS) {
        const code = words[at] ?? 0;
        const kind = (code >> KIND_SHIFT) & 3;
        if ((code & NEEDED) === 0 || kind === DOUBTFUL) continue;
        const index = code & INDEX_MASK;
        yield kind === JUDGED ? this.#judgements.at(index) : this.#places.at(index).judgement;
      }
    }
  }

  /**
   * Looks again for every needed chunk of which no complete set was listed: what seems missing may have been stored since the
   * listing passed its place. One that no bucket has comes without shards.
   */
  async *lookAgain(
    buckets: readonly ReadBucket[],
    options: Pick<MergeOptions, 'signal' | 'onFailure'> = {},
  ): AsyncGenerator<DoubtfulChunk, void, undefined> {
    if (this.#doubtful <= FEW) {
      const looks = mapOrdered(
        [...this.#doubtfulSlots()],
        async (slot, signal) => this.#lookFor(slot, buckets, { ...options, signal }),
        { inFlight: IN_FLIGHT, signal: options.signal },
      );
      for await (const found of looks) yield* found;
      return;
    }
    const seen = new Set<number>();
    for await (const { id, shards } of listChunks(buckets, options)) {
      const slot = this.#find(id);
      if (slot === null || !this.#isDoubtful(slot)) continue;
      seen.add(slot);
      yield this.#doubt(slot, id, shards);
    }
    for (const slot of this.#doubtfulSlots()) if (!seen.has(slot)) yield this.#doubt(slot, null, []);
  }

  async #lookFor(
    slot: number,
    buckets: readonly ReadBucket[],
    options: MergeOptions,
  ): Promise<readonly DoubtfulChunk[]> {
    const { words, at } = this.#locate(slot);
    const digits = [words[at], words[at + 1]].map((word) => (word ?? 0).toString(16).padStart(8, '0'));
    const byId = new Map<string, ListedShard[]>();
    for await (const entry of mergedListing(buckets, CHUNK_PREFIX + digits.join(''), options)) {
      for (const shard of shardsOf(entry)) {
        const known = byId.get(shard.name.chunkId);
        if (known === undefined) byId.set(shard.name.chunkId, [shard]);
        else known.push(shard);
      }
    }
    if (byId.size === 0) return [this.#doubt(slot, null, [])];
    return [...byId].map(([id, shards]) => this.#doubt(slot, id, shards));
  }

  #doubt(slot: number, id: string | null, shards: readonly ListedShard[]): DoubtfulChunk {
    const index = this.#code(slot) & INDEX_MASK;
    const hint = index === 0 ? null : this.#hints.at(index);
    const value = this.#value(slot);
    return { slot, id, shards, padded: value % SPARE_UNIT, spare: Math.floor(value / SPARE_UNIT), hint };
  }

  *#doubtfulSlots(): Generator<number, void, undefined> {
    for (const { words, base } of this.#tables) {
      for (let entry = 0; entry < words.length / WORDS; entry += 1) {
        if (this.#isDoubtful(base + entry)) yield base + entry;
      }
    }
  }

  #isDoubtful(slot: number): boolean {
    const code = this.#code(slot);
    return ((code >> KIND_SHIFT) & 3) === DOUBTFUL && (code & NEEDED) !== 0;
  }

  // --- the table --------------------------------------------------------------------------------------

  #find(id: string): number | null {
    const [high, low] = fingerprint(id);
    for (const { words, base } of this.#tables) {
      const at = entryAt(words, high, low);
      if ((words[at + 3] ?? 0) !== 0) return base + at / WORDS;
    }
    return null;
  }

  /** The slot of an id: one that is there, or a new one whose code is to be written. */
  #slotOf(id: string): number {
    const found = this.#find(id);
    if (found !== null) return found;
    let table = this.#tables.at(-1);
    if (table === undefined || table.count >= (table.words.length / WORDS) * MOST_FULL) {
      const size = FIRST_SIZE << this.#tables.length;
      table = { words: new Uint32Array(size * WORDS), base: size - FIRST_SIZE, count: 0 };
      this.#tables.push(table);
    }
    const [high, low] = fingerprint(id);
    const at = entryAt(table.words, high, low);
    table.words[at] = high;
    table.words[at + 1] = low;
    table.count += 1;
    return table.base + at / WORDS;
  }

  #locate(slot: number): { readonly words: Uint32Array; readonly at: number } {
    const table = this.#tables.findLast(({ base }) => base <= slot);
    if (table === undefined) throw new RangeError('The census has no such slot.');
    return { words: table.words, at: (slot - table.base) * WORDS };
  }

  #code(slot: number): number {
    const { words, at } = this.#locate(slot);
    return words[at + 3] ?? 0;
  }

  #value(slot: number): number {
    const { words, at } = this.#locate(slot);
    return words[at + 2] ?? 0;
  }

  #write(slot: number, value: number, code: number): void {
    const { words, at } = this.#locate(slot);
    words[at + 2] = value;
    words[at + 3] = code;
  }
}

/** Things of which many are alike, each kept once; numbered from 1. */
class Interned<T> {
  readonly #indices = new Map<string, number>();
  readonly #things: T[] = [];

  indexOf(key: string, make: () => T): number {
    const known = this.#indices.get(key);
    if (known !== undefined) return known;
    this.#things.push(make());
    this.#indices.set(key, this.#things.length);
    return this.#things.length;
  }

  at(index: number): T {
    const thing = this.#things[index - 1];
    if (thing === undefined) throw new RangeError('The census has nothing of this number.');
    return thing;
  }
}

function judgementKey({ condition, problems, shards }: Judgement): string {
  const states = shards.map(({ bucket, state }) => `${bucket?.number ?? 0} ${state}`);
  return [condition, ...problems.map(problemKey), ...states.toSorted()].join('\n');
}

function fingerprint(id: string): readonly [number, number] {
  return [Number.parseInt(id.slice(0, 8), 16), Number.parseInt(id.slice(8, 16), 16)];
}

/** Where an entry is in a table, or would be. */
function entryAt(words: Uint32Array, high: number, low: number): number {
  const mask = words.length / WORDS - 1;
  // The ids come in order: what they begin with says nothing about where to begin.
  let entry = (low ^ (high >>> 7)) & mask;
  for (;;) {
    const at = entry * WORDS;
    if ((words[at + 3] ?? 0) === 0 || (words[at] === high && words[at + 1] === low)) return at;
    entry = (entry + 1) & mask;
  }
}
