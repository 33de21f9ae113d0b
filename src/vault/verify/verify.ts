/**
 * Looking whether everything is there, and right. The buckets' listings and objects say what is there; the catalog is compared
 * with them, and catches up. Nothing is written to a bucket.
 */
import { manifestOpener, readManifestBytes } from '../files/manifests.ts';
import { isFailure, isVaultError } from '../../errors.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import type { BucketFailure } from '../buckets/bucket-set.ts';
import { doing, telling } from '../buckets/steps.ts';
import type { CallOptions } from '../call.ts';
import { IdSet } from '../chunks/id-set.ts';
import { joinFiles, type JoinedFile } from '../files/file-join.ts';
import { openFileRowIfIntact, type FileRecord } from '../files/records.ts';
import { absences } from '../files/removed-elsewhere.ts';
import { neededChunks } from '../files/tables.ts';
import { refreshKeyring } from '../keys/keyring-store.ts';
import type { Session } from '../session.ts';
import { askBuckets, takeCensus } from './ask-buckets.ts';
import { ChunkCensus } from './census.ts';
import { bySize, judgeChunk, type Judgement } from './chunk-judgement.ts';
import type { VerifyResult } from './condition.ts';
import { lookAtFile, readDeletions, type FileLook } from './file-look.ts';
import { FileReading, spareOf } from './file-reading.ts';
import { Findings } from './findings.ts';
import { givenFiles } from './given-files.ts';
import { checkKeyrings } from './keyring-check.ts';
import {
  copiesByListing,
  copyProblems,
  manifestCondition,
  manifestCopiesNeeded,
  readCopies,
} from './manifest-copies.ts';
import type { ManifestCopies } from './manifest-copies.ts';
import { lookAtRetention } from './retention.ts';
import { slicesOf } from '../../concurrency/batched.ts';

export interface VerifyOptions extends CallOptions {
  /** Hashes, prefixes or names; all files unless given. */
  readonly references?: readonly string[] | undefined;
  /** `listing`: everything is there and has the right size. `data`: everything is read and is right. */
  readonly depth: 'listing' | 'data';
  /** With depth `data`: the fraction of chunks and manifests to read, 0 to 1; the others are looked at by listings. */
  readonly sample?: number | undefined;
  /** Whether it is looked how much of what files need is locked: one request an object where listings do not tell. */
  readonly locks?: boolean | undefined;
  /** Chance, for the sample: 0 up to 1, as `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/** Files looked at together. */
const IN_FLIGHT = 8;
/** Those that are not whole, looked at again together. */
const BATCH = 200;

export async function verifyVault(session: Session, options: VerifyOptions): Promise<VerifyResult> {
  const { signal } = options;
  manifestOpener(session);
  // Where no thread can be started that is no fault of a chunk.
  if (options.depth === 'data') session.workers.warm(1, 'open', Infinity);
  // Their markers as they are now. Who has shown it is not asked again.
  const { usable: from } = await session.buckets.check(session.buckets.all, signal, { anew: true });
  await refreshKeyring(session, signal, { from });
  const findings = new Findings(session, options);
  await askBuckets(session, findings, signal);
  // Of given files only their chunks count: those are looked for one by one.
  const census = options.references === undefined ? await takeCensus(findings, signal) : new ChunkCensus();
  const catchUp = await findings.catalogCanCatchUp();
  await new Verification(session, { findings, census, catchUp }, options).run();
  const { references, locks = false } = options;
  await lookAtRetention(session, findings, { ...options, locks, references });
  return findings.result(census);
}

class Verification {
  readonly #session: Session;
  readonly #findings: Findings;
  readonly #options: VerifyOptions;
  readonly #census: ChunkCensus;
  readonly #catchUp: boolean;
  readonly #reading: FileReading;
  #deletions: Awaited<ReturnType<typeof readDeletions>> = new Map();
  /** Files that seem not to be whole, by hash: whether their manifests are to be read. */
  readonly #pending = new Map<string, { readonly manifest: boolean }>();
  #doneBytes = 0;

  constructor(
    session: Session,
    checked: { readonly findings: Findings; readonly census: ChunkCensus; readonly catchUp: boolean },
    options: VerifyOptions,
  ) {
    const { findings, census, catchUp } = checked;
    this.#session = session;
    this.#findings = findings;
    this.#census = census;
    this.#catchUp = catchUp;
    this.#options = options;
    this.#reading = new FileReading(session, {
      census,
      findings,
      confirm: () => this.#confirm(),
      reads: () => this.#reads(),
      onRead: (bytes) => this.#progress(bytes),
      signal: options.signal,
    });
  }

  async run(): Promise<void> {
    const { signal, references } = this.#options;
    const onFailure = this.#onFailure;
    await this.#readDeletions();
    const files =
      references === undefined
        ? joinFiles(this.#session, this.#findings.usable, { signal, onFailure })
        : givenFiles(this.#session, this.#findings.usable, { references, signal, onFailure });
    const looks = mapOrdered(files, (file, aborted) => this.#lookAt(file, aborted), {
      inFlight: IN_FLIGHT,
      signal,
    });
    for await (const look of looks) if (look !== null) await this.#add(look);
    await this.#judgeDoubtful();
    if (this.#pending.size > 0) await this.#readDeletions();
    for (const some of slicesOf([...this.#pending.keys()], BATCH)) await this.#conclude(some);
    await checkKeyrings(this.#session, this.#findings, signal);
    this.#findings.warnOfCatalog();
  }

  readonly #onFailure = (failure: BucketFailure): void => this.#findings.bucketFailed(failure);

  async #readDeletions(): Promise<void> {
    const { forged } = this.#findings;
    this.#deletions = await readDeletions(this.#session, this.#findings.usable, {
      signal: this.#options.signal,
      onFailure: this.#onFailure,
      onTooNew: () => {
        this.#findings.tooNew += 1;
      },
      onForged: (hash) => forged.add(hash),
    });
  }

  /** Asks the buckets for their markers: no loss is believed of one that has none just now, it may be an unmounted disk. */
  async #confirm(): Promise<void> {
    const { usable } = this.#findings;
    const { failed } = await this.#session.buckets.check(usable, this.#options.signal, { anew: true });
    for (const failure of failed) this.#findings.bucketFailed(failure);
  }

  #reads(): boolean {
    const { depth, sample = 1, random = Math.random } = this.#options;
    return depth === 'data' && random() < sample;
  }

  #lookAt(file: JoinedFile, signal: AbortSignal): Promise<FileLook | null> {
    const { usable, someUnreachable } = this.#findings;
    const how = { deletions: this.#deletions, usable, someUnreachable, write: this.#catchUp, signal };
    return lookAtFile(this.#session, file, how);
  }

  async #add(look: FileLook): Promise<void> {
    const { hash, standing, row, record } = look;
    const findings = this.#findings;
    if (standing === 'removed') findings.filesShown += 1;
    if (standing === 'foreign') findings.foreignObjects += 1;
    if (standing === 'removed' || standing === 'foreign') return;
    findings.files += 1;
    if (standing === 'too-new') {
      // What the catalog should have of it is for that version to say.
      findings.tooNew += 1;
      findings.addFile(hash, record, 'unknown', [{ what: 'manifest', problem: 'too-new', bucket: null }]);
      return;
    }
    // What could not be read the catalog does not know from now on, either.
    if (standing === 'live' && row === 'hidden') findings.filesHidden += 1;
    else if (standing === 'live' && row !== 'right') findings.filesUnlisted += 1;
    if (standing === 'missing' && row === 'broken') {
      // Nothing proves that there ever was such a file.
      const problem = { what: 'record', problem: 'damaged', bucket: null } as const;
      findings.addFile(hash, null, 'degraded', [problem]);
      return;
    }
    // One that it only did not know it has made anew.
    const isLearned = standing === 'live' && row === 'absent' && this.#catchUp;
    if (row !== 'right' && !isLearned) {
      const problem = row === 'hidden' ? 'hidden' : row === 'broken' ? 'damaged' : 'missing';
      findings.addFile(hash, record, 'degraded', [{ what: 'record', problem, bucket: null }]);
    }
    if (record?.info.locked === true) findings.notOpened += 1;
    const { copies, bytes } = await this.#copies(look);
    const isManifestWhole =
      copies !== null && manifestCondition(copies, manifestCopiesNeeded(this.#session)) === 'whole';
    if (isManifestWhole) findings.countCopies(copies);
    const isWhole = record === null ? false : await this.#addChunks(record, { look, bytes });
    const isDoubted = this.#pending.get(hash)?.manifest === true;
    if (!isManifestWhole || !isWhole) this.#pending.set(hash, { manifest: !isManifestWhole || isDoubted });
  }

  async #copies({ hash, holders }: FileLook): Promise<{
    readonly copies: ManifestCopies | null;
    readonly bytes: Uint8Array | null;
  }> {
    const { usable, unreachable } = this.#findings;
    const listed = copiesByListing(this.#session, holders, unreachable);
    if (!this.#reads()) return { copies: listed, bytes: null };
    const holding = new Set(holders.map(({ bucket }) => bucket));
    const read = await readCopies(this.#session, hash, {
      usable: usable.filter((bucket) => holding.has(bucket)),
      signal: this.#options.signal,
    });
    const copies = new Map(read.copies);
    for (const [bucket, state] of listed ?? []) if (!holding.has(bucket)) copies.set(bucket, state);
    return { copies, bytes: read.bytes };
  }

  /** Looks up a file's chunks, and reads those that are to be read. @returns whether all of them are whole */
  async #addChunks(
    record: FileRecord,
    { look, bytes }: { readonly look: FileLook; readonly bytes: Uint8Array | null },
  ): Promise<boolean> {
    const { signal, depth } = this.#options;
    const spare = spareOf(this.#session, record);
    const listed = new IdSet();
    try {
      for await (const run of neededChunks(this.#session, record.ids, { signal })) {
        const doubtful: string[] = [];
        for (const chunk of run) {
          if (this.#census.need(chunk, spare) === null) doubtful.push(chunk.id);
          if (depth === 'data') listed.add(chunk.id);
          else this.#progress(chunk.padded);
        }
        await this.#hint(doubtful);
        if (depth === 'data' && record.info.locked) await this.#reading.readLocked(record, run);
      }
      if (depth === 'data' && !record.info.locked) await this.#readFile(record, { look, bytes, listed });
      for await (const run of neededChunks(this.#session, record.ids, { signal })) {
        if (run.some(({ id }) => this.#census.judgementOf(id)?.condition !== 'whole')) return false;
      }
      return true;
    } catch (error) {
      this.#unreadable(record, error);
      return false;
    }
  }

  /** Asks the catalog where it has last seen chunks that are not whole: that tells which bucket lacks what. */
  async #hint(ids: readonly string[]): Promise<void> {
    const { catalog, buckets } = this.#session;
    for (const some of slicesOf(ids, BATCH)) {
      try {
        const rows = await catalog.chunks.locate([...new Set(some)]);
        for (const row of rows.values()) this.#census.hint(row, buckets);
      } catch (error) {
        // Rows that make no sense say nothing.
        if (!isVaultError(error, 'damaged')) throw error;
      }
    }
  }

  /** What an error says of a file whose manifest or tables cannot be read. @throws it, if it says nothing of that */
  #unreadable(record: FileRecord, error: unknown): void {
    const { hash } = record.info;
    if (!isFailure(error)) throw error;
    const problem = { what: 'manifest', bucket: null } as const;
    if (error.code === 'damaged') {
      this.#findings.addFile(hash, record, 'lost', [{ ...problem, problem: 'damaged' }]);
    } else if (error.code === 'unsupported') {
      this.#findings.tooNew += 1;
      this.#findings.addFile(hash, record, 'unknown', [{ ...problem, problem: 'too-new' }]);
    } else this.#findings.addFile(hash, record, 'unknown', [{ ...problem, problem: 'unknown' }]);
  }

  /** Reads a file as `get` does, and more: every shard of its chunks. */
  async #readFile(
    record: FileRecord,
    {
      look,
      bytes,
      listed,
    }: { readonly look: FileLook; readonly bytes: Uint8Array | null; readonly listed: IdSet },
  ): Promise<void> {
    const { hash } = record.info;
    const manifest = bytes ?? (await this.#manifestOf(look));
    if (manifest === null) this.#pending.set(hash, { manifest: true });
    else await this.#reading.read(record, { bytes: manifest, listed });
  }

  /** Null if no copy is right: which are wrong is told by reading each. */
  async #manifestOf({ hash, holders }: FileLook): Promise<Uint8Array | null> {
    const from = holders.map(({ bucket }) => bucket);
    try {
      return (await readManifestBytes(this.#session, hash, { from, signal: this.#options.signal })).bytes;
    } catch (error) {
      if (isVaultError(error, 'object-missing', 'damaged')) return null;
      throw error;
    }
  }

  #progress(bytes: number): void {
    this.#doneBytes += bytes;
    this.#options.onProgress?.({ doneBytes: this.#doneBytes, totalBytes: null });
  }

  // --- the second look --------------------------------------------------------------------------------

  /** Judges the chunks of which no complete set was listed, by what is listed now. */
  async #judgeDoubtful(): Promise<void> {
    const { signal } = this.#options;
    for (;;) {
      const before = this.#findings.unreachable.size;
      const slots: number[] = [];
      const judged: Judgement[] = [];
      const doubtful = this.#census.lookAgain(this.#findings.usable, { signal, onFailure: this.#onFailure });
      for await (const { slot, shards, padded, spare, hint } of doubtful) {
        const { fit, bad } = bySize(shards, padded);
        slots.push(slot);
        judged.push(
          this.#census.alike(
            judgeChunk({
              shards: fit,
              bad,
              spare,
              hint,
              buckets: this.#session.buckets.all,
              unreachable: this.#findings.unreachable,
              someUnreachable: this.#findings.someUnreachable,
              redundancy: this.#session.keyring.keyring.redundancy,
            }),
          ),
        );
      }
      if (slots.length > 0) await this.#confirm();
      if (this.#findings.unreachable.size > before) continue;
      for (const [i, judgement] of judged.entries()) this.#census.settle(slots[i] ?? 0, judgement);
      return;
    }
  }

  /** Tells of files that are not whole, unless they have been removed meanwhile. */
  async #conclude(hashes: readonly string[]): Promise<void> {
    const { signal } = this.#options;
    const rows = await this.#session.catalog.files.byHashes(hashes);
    const copies = new Map<string, ManifestCopies>();
    for (const hash of hashes) {
      if (this.#pending.get(hash)?.manifest !== true) continue;
      const { usable } = this.#findings;
      copies.set(hash, (await readCopies(this.#session, hash, { usable, signal })).copies);
    }
    if (copies.size > 0) await this.#confirm();
    const take = this.#catchUp ? doing(this.#session) : telling();
    const whyAbsent = absences(this.#session, take, { from: this.#findings.usable, signal });
    for (const hash of hashes) {
      const row = rows.get(hash) ?? null;
      const deletion = this.#deletions.get(hash);
      const found = copies.get(hash);
      const isNowhere = found !== undefined && [...found.values()].every((state) => state === 'missing');
      const why = isNowhere && row?.hiddenAtMs === null ? await whyAbsent(hash) : null;
      if (why === 'removed') this.#findings.filesShown += 1;
      if (why !== null || (isNowhere && row === null) || deletion?.live === false) {
        this.#findings.dropFile(hash);
        continue;
      }
      const record = row === null ? null : openFileRowIfIntact(this.#session, row);
      if (found !== undefined) this.#concludeManifest(hash, record, found);
      if (record !== null) await this.#concludeChunks(record);
    }
  }

  #concludeManifest(hash: string, record: FileRecord | null, found: ManifestCopies): void {
    const { unreachable } = this.#findings;
    const copies = new Map(
      [...found].map(([bucket, state]) => [bucket, unreachable.has(bucket) ? 'unknown' : state] as const),
    );
    this.#findings.countCopies(copies);
    const condition = manifestCondition(copies, manifestCopiesNeeded(this.#session));
    this.#findings.addFile(hash, record, condition, condition === 'whole' ? [] : copyProblems(copies));
  }

  async #concludeChunks(record: FileRecord): Promise<void> {
    const seen = new Set<Judgement>();
    try {
      for await (const run of neededChunks(this.#session, record.ids, { signal: this.#options.signal })) {
        for (const { id } of run) {
          const judgement = this.#census.judgementOf(id);
          if (judgement === null || seen.has(judgement)) continue;
          seen.add(judgement);
          this.#findings.addFile(record.info.hash, record, judgement.condition, judgement.problems);
        }
      }
    } catch (error) {
      this.#unreadable(record, error);
    }
  }
}
