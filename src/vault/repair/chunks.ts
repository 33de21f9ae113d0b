/** Which chunks need repair, and repairing them, file by file. */
import { isVaultError } from '../../errors.ts';
import { payloadSize } from '../../format/chunk.ts';
import type { DeletionRecord } from '../../format/removal.ts';
import type { Redundancy } from '../../format/shard.ts';
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import { notListing } from '../buckets/bucket-set.ts';
import type { CallOptions } from '../call.ts';
import type { ChunkProof } from '../chunks/chunk-jobs.ts';
import type { ListedChunk } from '../chunks/chunk-listing.ts';
import { IdSet } from '../chunks/id-set.ts';
import { readManifest } from '../files/manifests.ts';
import type { FileRecord } from '../files/records.ts';
import { writerOf } from '../files/writers.ts';
import { contentsOf, idOfRef, neededChunks, provingRefs } from '../files/tables.ts';
import type { ReadSession } from '../session.ts';
import { takeCensus } from './census.ts';
import { filesToRepair, warnOfEpoch, type FileState, type RepairFile } from './files.ts';
import type { Ground } from './ground.ts';
import { Rebuild, type NeedyChunk, type Rebuilt } from './rebuild.ts';
import type { RepairOptions } from './options.ts';

export interface RepairedChunks {
  readonly repaired: number;
  readonly degraded: number;
  readonly unknown: number;
  readonly lost: number;
  readonly notOpened: number;
  readonly shardsStored: number;
  readonly bytesStored: number;
  readonly objectsReplaced: number;
  /** Rows of files that the catalog did not have, or not as they should be. */
  readonly learned: number;
  /** Files that it did not list, see `RepairFile`. */
  readonly unlisted: number;
  readonly placesRepaired: number;
  /** Files that are not whole, by hash. */
  readonly states: ReadonlyMap<string, FileState>;
}

export interface ChunkRepairOptions
  extends CallOptions, Pick<RepairOptions, 'references' | 'depth' | 'redundancy'> {
  readonly deletions: ReadonlyMap<string, DeletionRecord>;
  /** Chunks that are needed though no file says so yet. */
  readonly marked?: ReadonlySet<string> | undefined;
  /** Told of objects that have been replaced. */
  readonly onReplaced: (objectName: string) => Promise<void>;
}

/** Repairs the chunks of files that can be read or brought back: all, or those of the given ones. */
export async function repairChunks(
  session: ReadSession,
  ground: Ground,
  options: ChunkRepairOptions,
): Promise<RepairedChunks> {
  const { signal, references, redundancy = null } = options;
  const reads = options.depth === 'data';
  // Where no thread can be started that is no fault of a chunk.
  if (reads) session.workers.warm(1, 'open', Infinity);
  const counting = { redundancy, signal };
  const spare = session.keyring.keyring.redundancy.m;
  const census = await takeCensus(session, ground, {
    ...counting,
    spare,
    places: references === undefined,
  });
  const work = new ChunkRepair(session, ground, { ...options, whole: reads ? null : census.whole });
  await work.plan();
  await work.act();
  // A bucket may say that it has taken what it has not.
  const unconfirmed = await unconfirmedRepairs(session, ground, work, counting);
  const { degraded, unknown, lost, notOpened, learned, unlisted, objectsReplaced, states, rebuild } = work;
  return {
    repaired: rebuild.repaired.size - unconfirmed,
    degraded: degraded.size + unconfirmed,
    unknown: unknown.size,
    lost: lost.size,
    notOpened,
    shardsStored: rebuild.shardsStored,
    bytesStored: rebuild.bytesStored,
    objectsReplaced,
    learned,
    unlisted,
    placesRepaired: census.placesRepaired,
    states,
  };
}

/** How many of the chunks that are said to be whole now are not listed so. What a bucket has taken and does not list it has failed at. */
async function unconfirmedRepairs(
  session: ReadSession,
  ground: Ground,
  { rebuilt, rebuild: { taken } }: Pick<ChunkRepair, 'rebuilt' | 'rebuild'>,
  counting: { readonly redundancy: Redundancy | null; readonly signal: AbortSignal | undefined },
): Promise<number> {
  if (taken.size === 0) return 0;
  let confirmed = 0;
  const onWhole = (id: string): void => {
    if (rebuilt.has(id)) confirmed += 1;
  };
  const kept = new Map<number, number>();
  const onListed = ({ id, shards }: ListedChunk): void => {
    for (const number of new Set(shards.map(({ bucket }) => bucket.number)))
      if (taken.get(number)?.has(id) === true) kept.set(number, (kept.get(number) ?? 0) + 1);
  };
  // Those have been read or made here: however they are coded, they are no one bucket's word.
  await takeCensus(session, ground, { ...counting, spare: 0, places: false, onWhole, onListed });
  for (const bucket of ground.sources) {
    const { size } = taken.get(bucket.number) ?? new IdSet();
    if ((kept.get(bucket.number) ?? 0) < size)
      ground.noteFailure({ bucket, error: notListing(bucket, 'shards') });
  }
  return rebuilt.size - confirmed;
}

/** Chunks repaired at once. */
const IN_FLIGHT = 8;

class ChunkRepair {
  readonly #session: ReadSession;
  readonly #ground: Ground;
  readonly #options: ChunkRepairOptions & { readonly whole: IdSet | null };
  #rebuild: Rebuild | null = null;
  readonly #done = new IdSet();
  readonly degraded = new IdSet();
  readonly unknown = new IdSet();
  readonly lost = new IdSet();
  /** Chunks that were made whole in earnest. */
  readonly rebuilt = new IdSet();
  notOpened = 0;
  learned = 0;
  unlisted = 0;
  objectsReplaced = 0;
  readonly states = new Map<string, FileState>();
  /** Files that need chunks which they do not prove, by hash. */
  readonly #unopened = new Set<string>();
  #needy = 0;
  #totalBytes = 0;
  #doneBytes = 0;

  constructor(
    session: ReadSession,
    ground: Ground,
    options: ChunkRepairOptions & { readonly whole: IdSet | null },
  ) {
    this.#session = session;
    this.#ground = ground;
    this.#options = options;
  }

  get rebuild(): Rebuild {
    this.#rebuild ??= new Rebuild(this.#session, {
      ground: this.#ground,
      redundancy: this.#options.redundancy ?? null,
      reads: this.#options.depth === 'data',
      expected: this.#needy,
      onWarning: (warning) => this.#options.onWarning?.(warning),
      onReplaced: async (name) => {
        this.objectsReplaced += 1;
        await this.#options.onReplaced(name);
      },
    });
    return this.#rebuild;
  }

  /** Counts what there is to do, so that it is known how far the work has come. */
  async plan(): Promise<void> {
    const counted = new IdSet();
    const count = (id: string, padded: number): void => {
      if (this.#options.whole?.has(id) === true || !counted.add(id)) return;
      this.#needy += 1;
      this.#totalBytes += padded;
    };
    let warned = false;
    for await (const file of this.#files()) {
      if (file.learned) this.learned += 1;
      if (file.unlisted === true) this.unlisted += 1;
      this.#note(file.hash, file.state);
      if (file.record === null) continue;
      warned ||= warnOfEpoch(this.#session, file.record, this.#options.onWarning);
      await this.#bearing(file, async ({ ids }) => {
        for await (const run of neededChunks(this.#session, ids, this.#reading)) {
          for (const { id, padded } of run) count(id, padded);
        }
      });
    }
    for (const id of this.#options.marked ?? []) count(id, 0);
    this.#tell();
  }

  async act(): Promise<void> {
    if (this.#needy === 0) return;
    for await (const file of this.#files()) {
      await this.#bearing(file, (record) => this.#repairProved(record));
    }
    // What nobody here can open goes by checksums alone, and by the length that a file gives. Who can only store may name chunks of
    // others, and comes last.
    for (const byFull of this.#unopened.size === 0 ? [] : [true, false]) {
      for await (const file of this.#files()) {
        if (!this.#unopened.has(file.hash)) continue;
        await this.#bearing(file, async (record) => {
          if (writerOf(this.#session, record.row.writer).isFull !== byFull) return;
          await this.#each(this.#unproved(record));
          await this.#noteOutcome(record);
        });
      }
    }
    await this.#each([...(this.#options.marked ?? [])].map((id) => ({ id, padded: null, proof: null })));
  }

  #files(): AsyncGenerator<RepairFile, void, undefined> {
    return filesToRepair(this.#session, this.#ground, this.#options);
  }

  get #reading(): { readonly signal: AbortSignal | undefined } {
    return { signal: this.#options.signal };
  }

  /** Does something with a file that may turn out not to be readable. */
  async #bearing(file: RepairFile, work: (record: FileRecord) => Promise<void>): Promise<void> {
    if (file.record === null) return;
    try {
      await work(file.record);
    } catch (error) {
      // A table that cannot be read: the file cannot be, either.
      if (isVaultError(error, 'damaged')) {
        this.#note(file.hash, this.#ground.isComplete ? 'lost' : 'unknown');
      } else if (isVaultError(error, 'unavailable', 'denied', 'unsupported')) {
        this.#note(file.hash, 'unknown');
      } else throw error;
    }
  }

  /** Repairs what a file proves of its chunks. */
  async #repairProved(record: FileRecord): Promise<void> {
    const { info, ids } = record;
    if (await this.#isNeedy(record)) {
      if (ids.depth !== 0) await this.#each(this.#proved(ids.refs, ids.depth - 1, null));
      const { content } = await readManifest(this.#session, info.hash, this.#reading);
      if (content !== null) {
        for (const { table } of contentsOf(info, content)) {
          await this.#each(this.#proved(table.refs, table.depth, table.chunkSize));
        }
      }
      if (await this.#isNeedy(record)) {
        this.#unopened.add(info.hash);
        return;
      }
    }
    await this.#noteOutcome(record);
  }

  async #noteOutcome({ info, ids }: FileRecord): Promise<void> {
    for await (const run of neededChunks(this.#session, ids, this.#reading)) {
      for (const { id } of run) {
        if (this.lost.has(id)) this.#note(info.hash, 'lost');
        else if (this.degraded.has(id)) this.#note(info.hash, 'degraded');
        else if (this.unknown.has(id)) this.#note(info.hash, 'unknown');
      }
    }
  }

  #isDue(id: string): boolean {
    return this.#options.whole?.has(id) !== true && !this.#done.has(id);
  }

  async #isNeedy({ ids }: FileRecord): Promise<boolean> {
    for await (const run of neededChunks(this.#session, ids, this.#reading)) {
      if (run.some(({ id }) => this.#isDue(id))) return true;
    }
    return false;
  }

  async *#proved(
    refs: Parameters<typeof provingRefs>[1],
    depth: number,
    chunkSize: number | null,
  ): AsyncGenerator<NeedyChunk & { readonly proof: ChunkProof }, void, undefined> {
    for await (const ref of provingRefs(this.#session, refs, depth, this.#reading)) {
      const { id } = idOfRef(ref);
      yield { id, padded: payloadSize(ref.length, ref.length === chunkSize), proof: ref };
    }
  }

  async *#unproved({ ids }: FileRecord): AsyncGenerator<NeedyChunk, void, undefined> {
    for await (const run of neededChunks(this.#session, ids, this.#reading)) {
      for (const { id, padded } of run) {
        if (!this.#isDue(id)) continue;
        this.notOpened += 1;
        yield { id, padded, proof: null };
      }
    }
  }

  async #each(chunks: AsyncIterable<NeedyChunk> | Iterable<NeedyChunk>): Promise<void> {
    await forEachBounded(
      chunks,
      async (chunk, aborted) => {
        const { id } = chunk;
        if (!this.#isDue(id)) return;
        this.#done.add(id);
        await this.#count(id, await this.rebuild.run(chunk, aborted));
        this.#doneBytes += chunk.padded ?? 0;
        this.#tell();
      },
      { inFlight: IN_FLIGHT, signal: this.#options.signal },
    );
  }

  async #count(id: string, outcome: Rebuilt): Promise<void> {
    if (outcome === 'repaired') {
      await this.#ground.take([], undefined, () => {
        this.rebuilt.add(id);
        this.#options.onStep?.({ what: 'repaired', on: `chunk ${id}` });
        return Promise.resolve();
      });
    }
    if (outcome === 'degraded') this.degraded.add(id);
    if (outcome === 'unknown') this.unknown.add(id);
    if (outcome === 'lost') this.lost.add(id);
  }

  #note(hash: string, state: FileState): void {
    const known = this.states.get(hash) ?? 'whole';
    if (SEVERITY.indexOf(state) > SEVERITY.indexOf(known)) this.states.set(hash, state);
  }

  #tell(): void {
    this.#options.onProgress?.({ doneBytes: this.#doneBytes, totalBytes: this.#totalBytes });
  }
}

const SEVERITY: readonly FileState[] = ['whole', 'unknown', 'degraded', 'lost'];
