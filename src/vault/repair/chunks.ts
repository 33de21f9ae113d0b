/** Which chunks need repair, and repairing them, file by file. */
import { isVaultError } from '../../errors.ts';
import type { Redundancy } from '../../format/shard.ts';
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { listChunks } from '../chunks/chunk-listing.ts';
import type { ChunkProof } from '../chunks/chunk-worker.ts';
import { IdSet } from '../chunks/id-set.ts';
import { learnFile } from '../files/catch-up.ts';
import { joinFiles } from '../files/file-join.ts';
import { readManifest } from '../files/manifests.ts';
import type { FileRecord } from '../files/records.ts';
import { resolveFile } from '../files/resolve.ts';
import { contentRefs, idOfRef, neededChunks } from '../files/tables.ts';
import { listDeletions } from '../remove/deletions.ts';
import type { Session } from '../session.ts';
import { isWhole, Rebuild } from './rebuild.ts';
import type { Rebuilt } from './rebuild.ts';
import type { RepairOptions } from './options.ts';

export interface RepairedChunks {
  readonly repaired: number;
  readonly degraded: number;
  readonly lost: number;
  readonly shardsStored: number;
  readonly bytesStored: number;
  /** Files that the catalog did not know. */
  readonly learned: number;
  /** Hashes of files with a chunk that cannot be had. */
  readonly filesLost: readonly string[];
  /** Names of objects that were replaced. */
  readonly damaged: readonly string[];
}

interface ChunkRepairOptions extends Omit<RepairOptions, 'redundancy'> {
  /** What chunks shall be coded with; null for as they are. */
  readonly redundancy: Redundancy | null;
}

/**
 * Repairs the chunks of live files: all, or those of the given ones.
 *
 * @param usable buckets that can be asked; those of them that are active take shards
 */
export async function repairChunks(
  session: Session,
  usable: readonly VaultBucket[],
  options: ChunkRepairOptions,
): Promise<RepairedChunks> {
  const { signal } = options;
  const reads = options.depth === 'data';
  const whole = reads ? null : await wholeChunks(usable, options);
  return session.guard.run(async (guarded) => {
    const rebuild = new Rebuild(session, {
      guarded,
      sources: usable,
      redundancy: options.redundancy,
      reads,
      onWarning: (warning) => options.onWarning?.(warning),
    });
    const work = new ChunkRepair(session, rebuild, { ...options, whole });
    let learned = 0;
    for await (const known of liveFiles(session, usable, options)) {
      if (known.learned) learned += 1;
      await work.repairFile(known.record);
    }
    const { repaired, degraded, lost, filesLost } = work;
    const { shardsStored, bytesStored } = rebuild.uploader;
    await guarded.keep(signal);
    return {
      repaired,
      degraded,
      lost,
      filesLost,
      learned,
      shardsStored,
      bytesStored,
      damaged: rebuild.damaged,
    };
  }, signal);
}

/** The chunks of which the listings show a complete set. */
async function wholeChunks(
  usable: readonly VaultBucket[],
  { redundancy, signal }: ChunkRepairOptions,
): Promise<IdSet> {
  const whole = new IdSet();
  for await (const { id, shards } of listChunks(usable, { signal, onFailure: () => undefined })) {
    if (isWhole(shards, redundancy)) whole.add(id);
  }
  return whole;
}

async function* liveFiles(
  session: Session,
  usable: readonly VaultBucket[],
  { references, signal, dryRun }: ChunkRepairOptions,
): AsyncGenerator<{ readonly record: FileRecord; readonly learned: boolean }, void, undefined> {
  if (references !== undefined) {
    for (const reference of references)
      yield { record: await resolveFile(session, reference), learned: false };
    return;
  }
  const deletions = await listDeletions(session, usable, signal);
  for await (const file of joinFiles(session, usable, { signal, onFailure: () => undefined })) {
    const deletion = deletions.get(file.hash) ?? null;
    if (file.holders.length === 0) continue;
    const known = await learnFile(session, file, { deletion, write: dryRun !== true, signal });
    if (known.kind === 'foreign' || known.kind === 'unreadable') continue;
    yield { record: known.record, learned: known.kind === 'learned' };
  }
}

/** Chunks repaired at once. */
const IN_FLIGHT = 8;

class ChunkRepair {
  readonly #session: Session;
  readonly #rebuild: Rebuild;
  readonly #options: ChunkRepairOptions & { readonly whole: IdSet | null };
  readonly #done = new IdSet();
  /** Chunks that cannot be had, so that every file with one is told. */
  readonly #lost = new Set<string>();
  repaired = 0;
  degraded = 0;
  readonly filesLost: string[] = [];
  #doneBytes = 0;

  constructor(
    session: Session,
    rebuild: Rebuild,
    options: ChunkRepairOptions & { readonly whole: IdSet | null },
  ) {
    this.#session = session;
    this.#rebuild = rebuild;
    this.#options = options;
  }

  get lost(): number {
    return this.#lost.size;
  }

  /** Repairs what a file needs. */
  async repairFile({ info, ids }: FileRecord): Promise<void> {
    const { signal } = this.#options;
    const lostBefore = this.#lost.size;
    let isLost = false;
    try {
      const needy = new Set<string>();
      for await (const run of neededChunks(this.#session, ids, { signal })) {
        for (const { id } of run) {
          isLost ||= this.#lost.has(id);
          if (this.#options.whole?.has(id) !== true && !this.#done.has(id)) needy.add(id);
        }
      }
      if (needy.size > 0) await this.#repairSome(info.hash, info.locked, needy);
    } catch (error) {
      // A table that cannot be read: the file cannot be, either.
      if (!isVaultError(error, 'damaged')) throw error;
      isLost = true;
    }
    if (isLost || this.#lost.size > lostBefore) this.filesLost.push(info.hash);
  }

  async #repairSome(hash: string, locked: boolean, needy: Set<string>): Promise<void> {
    const { signal } = this.#options;
    // The content's table tells what each body must be; what it does not list goes by checksums alone.
    if (!locked) {
      const { content } = await readManifest(this.#session, hash, { signal });
      const refs = content === null ? [] : contentRefs(this.#session, content.table, { signal });
      await forEachBounded(
        refs,
        async (ref, aborted) => {
          const { id } = idOfRef(ref);
          if (needy.delete(id)) await this.#one(id, ref, aborted);
        },
        { inFlight: IN_FLIGHT, signal },
      );
    }
    await forEachBounded([...needy], (id, aborted) => this.#one(id, null, aborted), {
      inFlight: IN_FLIGHT,
      signal,
    });
  }

  async #one(id: string, proof: ChunkProof | null, signal: AbortSignal): Promise<void> {
    this.#done.add(id);
    if (this.#options.dryRun === true) {
      this.repaired += 1;
      return;
    }
    this.#count(id, await this.#rebuild.run(id, proof, signal));
    this.#doneBytes += proof?.length ?? 0;
    this.#options.onProgress?.({ doneBytes: this.#doneBytes, totalBytes: null });
  }

  #count(id: string, outcome: Rebuilt): void {
    if (outcome === 'repaired') this.repaired += 1;
    if (outcome === 'degraded') this.degraded += 1;
    if (outcome === 'lost') this.#lost.add(id);
  }
}
