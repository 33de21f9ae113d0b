/** Reading files for a check: as `get` does, and every shard besides. */
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import { idEntry } from '../../crypto/manifest.ts';
import { VaultError } from '../../errors.ts';
import { mostBody, type ChunkId, type ChunkRef } from '../../format/manifest.ts';
import { chunkMemorySize, chunksInFlight } from '../chunks/chunk-memory.ts';
import type { IdSet } from '../chunks/id-set.ts';
import { mostSealed } from '../chunks/shards.ts';
import { manifestOpener } from '../files/manifests.ts';
import type { FileRecord } from '../files/records.ts';
import type { Session } from '../session.ts';
import type { ChunkCensus } from './census.ts';
import { mostSealedOf } from './chunk-judgement.ts';
import { ChunkExaminer } from './examine.ts';
import { everyRef } from './file-refs.ts';
import type { Findings } from './findings.ts';

export interface FileReadingOptions {
  readonly census: ChunkCensus;
  readonly findings: Findings;
  /** Asks all buckets for their markers, and notes those that have none any more. */
  readonly confirm: () => Promise<void>;
  /** Whether to read the next chunk. */
  readonly reads: () => boolean;
  readonly onRead: (bytes: number) => void;
  readonly signal: AbortSignal | undefined;
}

export class FileReading {
  readonly #session: Session;
  readonly #options: FileReadingOptions;
  readonly #examiner: ChunkExaminer;

  constructor(session: Session, options: FileReadingOptions) {
    this.#session = session;
    this.#options = options;
    this.#examiner = new ChunkExaminer(session, options);
  }

  /**
   * Reads a file or folder that is not locked.
   *
   * @param file `bytes`: its manifest. `listed`: the chunks that it says it needs
   * @throws `damaged` where `get` refuses it, or if it needs chunks that it does not list, which a sweep would remove
   */
  async read(
    record: FileRecord,
    file: { readonly bytes: Uint8Array; readonly listed: IdSet },
  ): Promise<void> {
    const { signal, onRead } = this.#options;
    const { hash, name } = record.info;
    const manifest = manifestOpener(this.#session).open(file.bytes, hash);
    const { content } = manifest;
    if (content === null) return;
    const { chunkSize } = content.table;
    await forEachBounded(
      everyRef(this.#session, manifest, content, signal),
      async ({ ref, isTable }, aborted) => {
        const chunk = idEntry(ref, isTable ? null : chunkSize);
        if (!file.listed.has(chunk.id)) {
          throw new VaultError('damaged', `The manifest of "${name}" does not list all of its chunks.`);
        }
        await this.#examine(chunk, { record, ref, signal: aborted });
        onRead(ref.length);
      },
      { inFlight: this.#inFlight(record), signal },
    );
  }

  /** Reads chunks of a locked file, which nobody here can open: their shards are held to their checksums. */
  async readLocked(record: FileRecord, chunks: readonly ChunkId[]): Promise<void> {
    const { signal, onRead } = this.#options;
    await forEachBounded(
      chunks,
      async (chunk, aborted) => {
        await this.#examine(chunk, { record, ref: null, signal: aborted });
        onRead(chunk.padded);
      },
      { inFlight: this.#inFlight(record), signal },
    );
  }

  #inFlight({ info }: FileRecord): number {
    return chunksInFlight(this.#session.limits, 3 * chunkMemorySize(mostBody(info), info.redundancy));
  }

  async #examine(
    chunk: ChunkId,
    how: { readonly record: FileRecord; readonly ref: ChunkRef | null; readonly signal: AbortSignal },
  ): Promise<void> {
    const { record, ref, signal } = how;
    const { census, findings } = this.#options;
    const slot = census.slotOf(chunk.id);
    const proof = ref === null ? 0 : (ref.hash.readUInt32BE(0) ^ ref.length) >>> 0;
    const known = census.proofOf(slot);
    if (known === proof || (known !== null && ref === null) || !this.#options.reads()) return;
    const judgement = await this.#examiner.examine(
      {
        id: chunk.id,
        proof: ref,
        most: ref === null ? mostSealedOf(chunk.padded) : mostSealed(ref.length),
        length: ref?.length ?? chunk.padded,
        spare: spareOf(this.#session, record),
      },
      signal,
    );
    // Somebody else says that this chunk holds something else: that is this file's affair.
    if (known !== null && known !== 0) {
      findings.addFile(record.info.hash, record, judgement.condition, judgement.problems);
    } else census.settle(slot, judgement, proof);
  }
}

/** How many buckets may be lost without losing a file: what it was put with, and no more than the vault asks for now. */
export function spareOf({ keyring }: Session, { info }: FileRecord): number {
  return Math.min(info.redundancy.m, keyring.keyring.redundancy.m);
}
