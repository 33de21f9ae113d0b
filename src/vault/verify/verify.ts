/** Looking whether everything is there, and right. */
import type { ChunkRow } from '../../catalog/catalog.ts';
import { VaultError } from '../../errors.ts';
import { payloadSize, SEAL_OVERHEAD } from '../../format/chunk.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import { describeFailure } from '../buckets/bucket-set.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { CHECK_BATCH, ChunkCheck } from './check.ts';
import { fileChunks, unreadableAs } from '../files/file-chunks.ts';
import type { ChunkRun } from '../files/file-chunks.ts';
import { isFileRowIntact, resolveFile } from '../files/files.ts';
import { Findings, manifestCondition } from './findings.ts';
import type { ManifestVerdict } from './findings.ts';
import { examineKeyslots } from '../buckets/keyslot-copies.ts';
import { filesInOrder, manifestCopiesNeeded, readCopies, walkManifests } from '../files/manifest-copies.ts';
import { withSignal } from '../session.ts';
import type { Session } from '../session.ts';
import type { CallOptions, VerifyOptions, VerifyResult } from '../vault.ts';

/** Manifests looked at once. */
const IN_FLIGHT = 8;
/** Chunks of given files that are sorted and looked for together. */
const SORTED_TOGETHER = 5_000;

/** See `Vault.verify`. */
export async function verifyVault(session: Session, options: VerifyOptions): Promise<VerifyResult> {
  const hashes = await hashesOf(session, options.references);
  const findings = new Findings(session, options, hashes === null ? null : new Set(hashes));
  const usable = await usableBuckets(session, findings, options);
  await examineKeyslots(session, usable, { findings, signal: options.signal });
  await new Verification(session, { ...options, usable, findings, hashes }).run();
  return findings.result(hashes === null ? (await session.catalog.counts()).files : hashes.length);
}

/** The hashes that references mean, in order; null for all files. */
export async function hashesOf(
  session: Session,
  references: readonly string[] | undefined,
): Promise<readonly string[] | null> {
  if (references === undefined) return null;
  const hashes = new Set<string>();
  for (const reference of references) hashes.add((await resolveFile(session, reference)).info.hash);
  return [...hashes].toSorted();
}

/** The buckets that can be asked, known by their markers as they are now. @throws if there is none */
export async function usableBuckets(
  session: Session,
  findings: Findings,
  options: CallOptions,
): Promise<readonly VaultBucket[]> {
  const { usable, failed } = await session.buckets.check(session.buckets.all, options.signal, {
    anew: true,
  });
  const [first] = failed;
  if (usable.length === 0 && first !== undefined) {
    throw new VaultError(
      first.error.code,
      `None of the vault's buckets can be used. ${failed.map(describeFailure).join(' ')}`,
      { cause: first.error },
    );
  }
  for (const { bucket, error } of failed) findings.bucketFailed(bucket, error);
  return usable;
}

interface VerificationOptions extends VerifyOptions {
  readonly usable: readonly VaultBucket[];
  readonly findings: Findings;
  /** Null for all files. */
  readonly hashes: readonly string[] | null;
}

/** One pass over chunks and manifests. */
export class Verification {
  readonly #session: Session;
  readonly #options: VerificationOptions;
  readonly #check: ChunkCheck;
  #doneBytes = 0;

  constructor(session: Session, options: VerificationOptions) {
    this.#session = session;
    this.#options = options;
    const { usable, findings, signal } = options;
    this.#check = new ChunkCheck(session, {
      usable,
      findings,
      signal,
      reads: () => this.#reads(),
      onChecked: (bytes) => {
        this.#doneBytes += bytes;
        options.onProgress?.({ doneBytes: this.#doneBytes, totalBytes: null });
      },
    });
  }

  async run(): Promise<void> {
    const { hashes, signal } = this.#options;
    if (hashes === null) await this.#check.run(this.#session.catalog.listChunks(withSignal(signal)), '');
    else for (const hash of hashes) await this.#checkFile(hash);
    await this.#checkManifests();
  }

  #reads(): boolean {
    const { depth, sample = 1, random = Math.random } = this.#options;
    return depth === 'data' && random() < sample;
  }

  async #checkManifests(): Promise<void> {
    const { hashes, usable, findings, signal } = this.#options;
    const walk = walkManifests(this.#session, {
      hashes: hashes ?? this.#hashesOfAll(),
      from: hashes?.[0] ?? '',
      usable,
      findings,
      signal,
    });
    const enough = manifestCopiesNeeded(this.#session);
    const verdicts = mapOrdered(walk, (verdict, aborted) => this.#secondLook(verdict, enough, aborted), {
      inFlight: IN_FLIGHT,
      signal,
    });
    for await (const verdict of verdicts) findings.addManifest(verdict, enough);
  }

  /** The hashes of all files, in order; rows that were changed are noted on the way. Those of given files have been opened. */
  async *#hashesOfAll(): AsyncGenerator<string, void, undefined> {
    for await (const row of filesInOrder(this.#session.catalog, this.#options.signal)) {
      if (!isFileRowIntact(this.#session, row)) {
        const problem = { what: 'record', problem: 'damaged', bucket: null } as const;
        this.#options.findings.addFile(row.hash, 'degraded', [problem]);
      }
      yield row.hash;
    }
  }

  async #secondLook(verdict: ManifestVerdict, enough: number, signal: AbortSignal): Promise<ManifestVerdict> {
    if (this.#reads()) {
      const read = await readCopies(verdict, 'good', signal);
      // Given files have their chunks looked up anyway.
      if (this.#options.hashes === null) await this.#checkRecords(verdict.hash, signal);
      return this.#secondLookAtMissing(read, enough, signal);
    }
    return this.#secondLookAtMissing(verdict, enough, signal);
  }

  /** A manifest may have been stored after the listing had passed its place. */
  async #secondLookAtMissing(
    verdict: ManifestVerdict,
    enough: number,
    signal: AbortSignal,
  ): Promise<ManifestVerdict> {
    return manifestCondition(verdict, enough) === 'whole' ? verdict : readCopies(verdict, 'missing', signal);
  }

  /** Whether the catalog knows every chunk of a file. */
  async #checkRecords(hash: string, signal: AbortSignal): Promise<void> {
    await this.#throughFile(hash, { most: CHECK_BATCH, signal }, async (run) => {
      await this.#rowsOf(hash, run);
    });
  }

  /** Checks the chunks of one file. */
  async #checkFile(hash: string): Promise<void> {
    const { signal } = this.#options;
    await this.#throughFile(hash, { most: SORTED_TOGETHER, signal }, async (run) => {
      const rows = await this.#rowsOf(hash, run);
      rows.sort((a, b) => (a.id < b.id ? -1 : 1));
      await this.#check.run(rows, rows[0]?.id ?? '');
    });
  }

  async #throughFile(
    hash: string,
    range: { readonly most: number; readonly signal: AbortSignal | undefined },
    work: (run: ChunkRun) => Promise<void>,
  ): Promise<void> {
    try {
      for await (const run of fileChunks(this.#session, hash, range)) await work(run);
    } catch (error) {
      // A manifest or table that cannot be read; more is told by the looks at their copies and shards.
      const condition = unreadableAs(error, range.signal);
      this.#options.findings.addFile(hash, condition, []);
    }
  }

  /** The catalog's rows of a file's chunks; what it does not know is noted. */
  async #rowsOf(hash: string, { head, entries }: ChunkRun): Promise<ChunkRow[]> {
    const found = new Map<string, ChunkRow>();
    let wrong = false;
    for (let at = 0; at < entries.length; at += CHECK_BATCH) {
      const batch = entries.slice(at, at + CHECK_BATCH);
      const ids = [...new Set(batch.map(({ chunkId }) => chunkId))];
      const rows = await this.#session.catalog.locateChunks(ids);
      for (const row of rows.values()) found.set(row.id, row);
      wrong ||= batch.some(({ chunkId, length, isLast }) => {
        const size = payloadSize(length, { chunkSize: head.chunkSize, isLast }) + SEAL_OVERHEAD;
        return rows.get(chunkId)?.sealedSize !== size;
      });
    }
    if (wrong) {
      this.#options.findings.addFile(hash, 'degraded', [
        { what: 'shards', problem: 'unrecorded', bucket: null },
      ]);
    }
    return [...found.values()];
  }
}
