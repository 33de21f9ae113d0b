/**
 * Where somebody can only store, what a listing shows is worth less: under the id of a chunk that is gone, such a writer could have
 * put anything. There a chunk counts as present by its name alone while a live file of the writer itself needs it: it was stored or
 * read for that file, and what live files need is never removed. Any other is read before it is relied upon.
 */
import { coalesced } from '../../concurrency/coalesced.ts';
import { isVaultError } from '../../errors.ts';
import { goodShards } from '../chunks/good-shards.ts';
import type { ChunkProof } from '../chunks/chunk-jobs.ts';
import { IdSet } from '../chunks/id-set.ts';
import type { Presence } from '../chunks/presence.ts';
import type { ShardSet } from '../chunks/shard-sets.ts';
import { mostSealed } from '../chunks/shards.ts';
import { joinFiles } from '../files/file-join.ts';
import { openFileRowIfIntact } from '../files/records.ts';
import { neededChunks } from '../files/tables.ts';
import { trustsAllWriters } from '../files/writers.ts';
import type { Guarded } from '../protocol/guarded.ts';
import { listDeletions } from '../protocol/deletions.ts';
import type { Session } from '../session.ts';

/** Those seen under one marker, for all puts that run under it. */
const found = new WeakMap<Presence, OwnChunks>();

export function ownChunks(session: Session, guarded: Guarded): OwnChunks {
  const known = found.get(guarded.presence);
  if (known !== undefined) return known;
  const own = new OwnChunks(session, guarded);
  found.set(guarded.presence, own);
  return own;
}

export class OwnChunks {
  readonly #session: Session;
  readonly #guarded: Guarded;
  readonly #relied = new IdSet();
  #filesRead = false;
  /** For all who ask at once. */
  readonly #readFilesOnce = coalesced(
    async (signal) => {
      if (!this.#filesRead) await this.#readFiles(signal);
      this.#filesRead = true;
    },
    { joins: true },
  );

  constructor(session: Session, guarded: Guarded) {
    this.#session = session;
    this.#guarded = guarded;
  }

  /** Notes a chunk that this process has stored, or has read and found right. */
  note(chunkId: string): void {
    this.#relied.add(chunkId);
  }

  /**
   * Whether the listed shards of a chunk may be relied upon unread. Always, where nobody can only store, and for who can only store
   * itself, as it cannot read.
   *
   * @throws `interrupted`; what the catalog says
   */
  async has(chunkId: string, signal: AbortSignal): Promise<boolean> {
    if (this.#session.keys.full === null || trustsAllWriters(this.#session)) return true;
    if (this.#relied.has(chunkId)) return true;
    if (!this.#filesRead) await this.#readFilesOnce(signal);
    return this.#relied.has(chunkId);
  }

  /** Of each set the shards that have been read and give the chunk. */
  async read(
    sets: readonly ShardSet[],
    proof: ChunkProof,
    signal: AbortSignal,
  ): Promise<readonly ShardSet[]> {
    const proved: ShardSet[] = [];
    for (const set of sets) {
      const most = mostSealed(proof.length);
      const { good } = await goodShards(this.#session, set, { proof, most, all: true, signal });
      proved.push({ ...set, shards: good });
    }
    return proved;
  }

  /** By the names of manifests and records of removal in the buckets, and by rows that only a full key can have written. */
  async #readFiles(signal: AbortSignal): Promise<void> {
    const session = this.#session;
    const { targets } = this.#guarded;
    const deletions = await listDeletions(session, targets, { signal, onFailure: leaveOut });
    const nowMs = session.clock.now();
    for await (const { hash, holders, row } of joinFiles(session, targets, { signal, onFailure: leaveOut })) {
      if (row?.writer !== session.keys.writer.id || holders.length === 0) continue;
      const deletion = deletions.get(hash);
      if (deletion?.live === false && deletion.atMs + deletion.graceMs <= nowMs) continue;
      const record = openFileRowIfIntact(session, row);
      if (record?.isProven !== true) continue;
      try {
        for await (const run of neededChunks(session, record.ids, { signal })) {
          for (const { id } of run) this.#relied.add(id);
        }
      } catch (error) {
        // A table that cannot be read: what it names is read chunk by chunk.
        if (!isVaultError(error, 'damaged', 'unavailable', 'denied', 'unsupported')) throw error;
      }
    }
  }
}

/** A bucket that cannot be listed vouches for nothing. */
function leaveOut(): void {
  // What it alone has is read.
}
