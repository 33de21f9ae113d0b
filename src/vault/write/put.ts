/**
 * Storing a file. The order of writes is what keeps the promises: marker, shards, manifests, then the one transaction that
 * makes the file visible.
 */
import { randomBytes } from 'node:crypto';
import { untilAborted } from '../../concurrency/until-aborted.ts';
import { lockedDedupKeys } from '../../crypto/manifest.ts';
import { isLocal } from '../../disk/local.ts';
import { invalidInput, isVaultError, throwIfAborted, VaultError } from '../../errors.ts';
import { INLINE_SIZE, MAX_NAME_SIZE } from '../../format/manifest.ts';
import type { ContentTable } from '../../format/manifest.ts';
import { MAX_CHUNK_SIZE, MIN_CHUNK_SIZE } from '../../format/limits.ts';
import { formatRedundancy } from '../../format/shard.ts';
import { tooFewBuckets } from '../buckets/bucket-set.ts';
import { startRetaining } from '../buckets/retaining.ts';
import type { Retaining } from '../buckets/retaining.ts';
import type { CallOptions, Warning } from '../call.ts';
import type { FolderSource } from '../folders/folder-source.ts';
import { LocalLogWriter, logSize } from '../folders/local-log.ts';
import type { LogPlace } from '../folders/local-log.ts';
import { ownEntries } from '../folders/own-places.ts';
import { ScanAhead } from '../folders/scan-ahead.ts';
import type { Session } from '../session.ts';
import { NOTHING_STORED, storeContent } from './content.ts';
import type { StoredContent } from './content.ts';
import type { FileSource, OpenSource } from './file-source.ts';
import { finishPut, warnOf, warnOfClock } from './finish-put.ts';
import type { SourceFacts } from './finish-put.ts';
import { storeFolder } from './folder-content.ts';
import type { PutCall, PutOptions, PutResult } from './put-call.ts';
import { LEAST_REMEMBERED, RememberedFile } from './remembered-file.ts';
import type { Guarded } from '../protocol/guarded.ts';
import { withoutMarker } from '../protocol/put-guard.ts';

/** Bytes of the log of about a thousand files: as long as some hundred files are looked at, a thread takes to start. */
const LARGE_LOG = 100_000;

/** How often a put whose marker became too old (a machine that slept) begins again. */
const MOST_STARTS = 3;

/** See `Vault.put`. */
export async function putSource(
  session: Session,
  source: FileSource | FolderSource,
  options: PutOptions,
): Promise<PutResult> {
  const { keyring } = session.keyring;
  const isFolder = 'root' in source;
  checkOptions(options, isFolder);
  const { retaining, isEnough } = await retainingOf(session, options);
  const call = {
    ...options,
    retaining,
    retainedEnough: isEnough,
    chunking: options.chunking ?? 'fixed',
    onWarning: oncePerBucket(options.onWarning),
    chunkSize: options.chunkSize ?? keyring.chunkSize,
    compression: options.compression ?? keyring.compression,
  };
  const { turns } = session.memory.share(call.chunkSize, keyring.redundancy);
  // Cutting by content never holds one piece of memory while it waits for another.
  let turn = isFolder || call.chunking === 'content' ? null : await turns.borrow();
  const endTurn = (): void => {
    if (turn !== null) turns.giveBack(turn);
    turn = null;
  };
  // The same for every start: a manifest that came to stand as the marker was too old has its chunks then.
  const contentKey = randomBytes(32);
  try {
    for (let starts = 1; ; starts += 1) {
      throwIfAborted(options.signal);
      try {
        return await (isFolder
          ? putFolder(session, source, call, contentKey)
          : putFile(session, source, { call, contentKey, endTurn }));
      } catch (error) {
        if (!isVaultError(error, 'stale')) throw error;
        if (!(isFolder || source.reopens) || starts === MOST_STARTS) throw sleptTooLong(call.name, error);
      }
    }
  } finally {
    endTurn();
  }
}

/** What keeps all that is stored, if it is to be kept. */
async function retainingOf(
  session: Session,
  options: PutOptions,
): Promise<{ readonly retaining: Retaining | null; readonly isEnough: boolean }> {
  const { retainUntilMs: untilMs = null } = options;
  if (untilMs === null) return { retaining: null, isEnough: true };
  if (untilMs <= session.clock.now()) {
    throw invalidInput('What is stored cannot be locked until a time that is over.');
  }
  return requireRetention(session, untilMs, options);
}

/** Asks the buckets whether they can lock, and warns of those that cannot. @throws `invalid-input` if none can, or what they said */
export function requireRetention(
  session: Session,
  untilMs: number,
  options: CallOptions = {},
): ReturnType<typeof startRetaining> {
  const { m: spare } = session.keyring.keyring.redundancy;
  return startRetaining(session.buckets.active, { untilMs, spare }, options);
}

function sleptTooLong(name: string, cause: VaultError): VaultError {
  const message = `This put has slept for too long, so "${name}" is not stored. Put it again. If "vault verify" finds a version of it lost that was stored now, nobody was given its hash: "vault rm" removes it.`;
  return new VaultError('stale', message, { cause });
}

/** A bucket that is away is in the way of several steps of a put, and told of once. */
function oncePerBucket(onWarning: CallOptions['onWarning']): (warning: Warning) => void {
  const told = new Set<string | null>();
  return (warning) => {
    if (warning.kind === 'bucket-down') {
      if (told.has(warning.bucket)) return;
      told.add(warning.bucket);
    }
    onWarning?.(warning);
  };
}

function checkOptions({ name, chunking, chunkSize, lock }: PutOptions, isFolder: boolean): void {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0 || bytes > MAX_NAME_SIZE || name.includes('\0')) {
    throw invalidInput(`A name has 1 to ${MAX_NAME_SIZE} bytes and no NUL; this one has ${bytes}.`);
  }
  if (!name.isWellFormed()) {
    throw invalidInput('A name must be valid Unicode; this one is not.');
  }
  if (
    chunkSize !== undefined &&
    (!Number.isInteger(chunkSize) || chunkSize < MIN_CHUNK_SIZE || chunkSize > MAX_CHUNK_SIZE)
  ) {
    throw invalidInput(`A chunk has 64 KiB to 64 MiB; ${chunkSize} bytes were asked for.`);
  }
  if ((chunking === 'content' || isFolder) && chunkSize !== undefined) {
    throw invalidInput('Chunks that are cut by content have no size to choose.');
  }
  if (chunking === 'content' && !isFolder && lock !== undefined) {
    throw invalidInput(
      'A locked file shares no chunks with others: to cut it by content would gain nothing.',
    );
  }
  if (lock?.password === '') throw invalidInput('The password of a lock is empty.');
}

interface FilePut {
  readonly call: PutCall;
  readonly contentKey: Buffer;
  /** Lets another put have its chunks in memory. */
  readonly endTurn: () => void;
}

async function putFile(session: Session, source: FileSource, p: FilePut): Promise<PutResult> {
  const readAtMs = session.clock.now();
  const opened = await source.open(p.call.signal);
  try {
    const { label, forceRead = false } = source;
    return await putOpened(session, opened, { ...p, label, forceRead, readAtMs });
  } finally {
    await opened.close();
  }
}

/** A small file needs no marker, unless it turns out not to be small: nothing but its manifest is stored. */
async function putOpened(
  session: Session,
  source: OpenSource,
  p: FilePut & { readonly label: string; readonly forceRead: boolean; readonly readAtMs: number },
): Promise<PutResult> {
  const { call, label, forceRead, readAtMs, contentKey } = p;
  const signal = call.signal ?? new AbortController().signal;
  const dedup = call.lock === undefined ? session.keys.writer : lockedDedupKeys(contentKey);
  const identity = source.identity ?? null;
  if (identity !== null && source.modified === null) {
    const message = `${label} has a time of modification that no calendar has, and is stored without one.`;
    call.onWarning?.({ kind: 'not-kept', message, bucket: null });
  }
  const isLarge = identity !== null && identity.size >= LEAST_REMEMBERED;
  const beginning = isLarge ? Buffer.alloc(0) : await readBeginning(source, signal);
  if (!isLarge && beginning.length <= INLINE_SIZE) {
    await source.verify();
    const content = inlineContent(beginning, call.chunkSize);
    call.onProgress?.({ doneBytes: beginning.length, totalBytes: source.size });
    p.endTurn();
    return finishPut(session, source, { call, content, contentKey, guarded: null });
  }
  const cut = `${call.chunking} ${call.chunkSize}`;
  return remembering(session, isLarge ? label : null, call, async (place, log) => {
    const remembered =
      identity === null || place === null
        ? null
        : new RememberedFile(identity, { place, cut, log, readAtMs, forceRead });
    // Threads start while the buckets are asked.
    if (!((await remembered?.recall()) ?? false)) {
      const bytes = source.size ?? beginning.length;
      session.workers.warm(Math.ceil(bytes / call.chunkSize), 'seal', bytes);
    }
    return underMarker(session, { ...call, signal }, contentKey, async (guarded) => {
      const content = await storeContent(session, source, {
        ...call,
        beginning,
        remembered,
        guarded,
        dedup,
        signal,
      });
      return { content, facts: source };
    });
  });
}

async function putFolder(
  session: Session,
  given: FolderSource,
  call: PutCall,
  contentKey: Buffer,
): Promise<PutResult> {
  const source = { ...given, own: await ownEntries(session, given.root, call.signal) };
  const signal = call.signal ?? new AbortController().signal;
  const dedup = call.lock === undefined ? session.keys.writer : lockedDedupKeys(contentKey);
  return remembering(session, source.root, call, async (log, known) => {
    const isLarge = log !== null && source.forceRead !== true && (await logSize(log)) >= LARGE_LOG;
    // Where most is as it was, looking at it is most of the work. A thread that waits for a disk which does not answer could not be
    // ended; and beside many chunks that are stored it takes much memory.
    const inThread = isLarge && (await untilAborted(isLocal(source.root), signal));
    const scan = inThread ? new ScanAhead(source) : null;
    try {
      return await underMarker(session, { ...call, signal }, contentKey, async (guarded) =>
        storeFolder(session, source, { ...call, guarded, dedup, signal, log, known, scan }),
      );
    } finally {
      await scan?.end(signal);
    }
  });
}

/**
 * Puts with what the last put of this name has remembered, and remembers this one.
 *
 * @param what path of the source; null for one of which nothing is remembered
 * @param store given where that is, and where it is noted what is stored now; null for nowhere
 */
async function remembering(
  { logFolder: folder, keys }: Session,
  what: string | null,
  call: PutCall,
  store: (place: LogPlace | null, log: LocalLogWriter | null) => Promise<PutResult>,
): Promise<PutResult> {
  // Of what is locked nothing is remembered: it would tell what is in it.
  const isKept = what !== null && folder !== null && call.lock === undefined;
  const place = isKept ? { folder, keys, name: call.name } : null;
  const log = place === null || call.dryRun === true ? null : new LocalLogWriter(place);
  try {
    const result = await store(place, log);
    // What is remembered is what is stored: only now.
    const problem = (await log?.commit()) ?? null;
    if (problem !== null) {
      const message = `What was stored of ${what ?? call.name} could not be remembered here (${problem}): the next put reads all of it.`;
      call.onWarning?.({ kind: 'not-remembered', message, bucket: null });
    }
    return result;
  } finally {
    await log?.discard();
  }
}

/** Stores chunks under a marker, and then all that makes them a file or folder. */
async function underMarker(
  session: Session,
  call: PutCall & { readonly signal: AbortSignal },
  contentKey: Buffer,
  store: (guarded: Guarded) => Promise<{ readonly content: StoredContent; readonly facts: SourceFacts }>,
): Promise<PutResult> {
  const run: Session['guard']['run'] =
    call.dryRun === true
      ? async (work) => work(await withoutMarker(session, call.signal))
      : (work, aborted) => session.guard.run(work, aborted);
  return run(async (guarded) => {
    requireTargets(session, guarded);
    warnOf(guarded.failed, call);
    warnOfClock(guarded.clocks, call);
    const { content, facts } = await store(guarded);
    await guarded.keep(call.signal);
    return finishPut(session, facts, { call, content, contentKey, guarded });
  }, call.signal);
}

/** Reads until it is known whether the source is small. @returns at most one byte more than fits into a manifest */
async function readBeginning(source: OpenSource, signal: AbortSignal): Promise<Buffer> {
  // One that grows meanwhile is refused: no byte more than one tells.
  const target = Buffer.allocUnsafeSlow(Math.min(INLINE_SIZE, source.size ?? INLINE_SIZE) + 1);
  return target.subarray(0, await source.read(target, signal));
}

/** It has no chunks, so how they would be cut is not kept. */
function inlineContent(body: Uint8Array, chunkSize: number): StoredContent {
  const table: ContentTable = { size: body.length, chunkSize, depth: 0, refs: [], inline: body };
  return { table, folder: null, ids: { depth: 0, ids: [] }, chunks: 0, indexChunks: 0, ...NOTHING_STORED };
}

/** @throws what a bucket said, or `unavailable`, if the buckets that take objects are fewer than a chunk needs */
function requireTargets(session: Session, { targets, failed }: Guarded): void {
  const { redundancy } = session.keyring.keyring;
  if (targets.length >= redundancy.k) return;
  throw tooFewBuckets(
    `Only ${targets.length} of the vault's buckets can be written to, and ${formatRedundancy(redundancy)} needs at least ${redundancy.k}.`,
    failed,
  );
}
