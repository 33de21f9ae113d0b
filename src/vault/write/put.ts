/**
 * Storing a file. The order of writes is what keeps the promises: marker, shards, manifests, then the one transaction that
 * makes the file visible.
 */
import { randomBytes } from 'node:crypto';
import { lockContentKey, lockedDedupKeys, manifestHash } from '../../crypto/manifest.ts';
import type { FileRow } from '../../catalog/catalog.ts';
import type { KdfCost } from '../../crypto/keys.ts';
import { isVaultError, throwIfAborted, VaultError } from '../../errors.ts';
import { INLINE_SIZE, manifestObjectName, MAX_NAME_SIZE } from '../../format/manifest.ts';
import type { ContentTable, ManifestHead } from '../../format/manifest.ts';
import type { Compression } from '../../format/keyring.ts';
import { MAX_CHUNK_SIZE, MIN_CHUNK_SIZE } from '../../format/limits.ts';
import { formatRedundancy } from '../../format/shard.ts';
import { describeFailure, tooFewBuckets } from '../buckets/bucket-set.ts';
import type { BucketFailure, VaultBucket } from '../buckets/bucket-set.ts';
import { spread } from '../buckets/spread.ts';
import type { CallOptions, Warning } from '../call.ts';
import { contentDigestOf, sealFileRow } from '../files/records.ts';
import type { FileInfo, FileRecord } from '../files/records.ts';
import { readManifestBytes } from '../files/manifests.ts';
import { refreshKeyring, withoutKeyring } from '../keys/keyring-store.ts';
import { BucketClocks, clockWarning } from '../protocol/clocks.ts';
import { isSurelyLive } from '../protocol/deletions.ts';
import type { Session } from '../session.ts';
import { storeContent } from './content.ts';
import type { DedupKeys, StoredContent } from './content.ts';
import type { FileSource, OpenSource } from './file-source.ts';
import type { Guarded } from '../protocol/guarded.ts';
import { withoutMarker } from '../protocol/put-guard.ts';
import { versionsOf } from './versions.ts';

export interface PutOptions extends CallOptions {
  /** What the file goes by: 1 byte to 16 KiB of UTF-8. */
  readonly name: string;
  /** Bytes; 64 KiB to 64 MiB. The vault's default unless given. */
  readonly chunkSize?: number | undefined;
  /** The vault's default unless given. */
  readonly compression?: Compression | undefined;
  /** When sweep removes it; null (default) for never. */
  readonly expiresAtMs?: number | null | undefined;
  /** The file's own password, without which its content cannot be read even with the vault's. */
  readonly lock?: { readonly password: string; readonly cost?: KdfCost | undefined } | undefined;
  /** Only tells what would be stored: the source is read, and nothing is written. */
  readonly dryRun?: boolean | undefined;
}

export interface PutResult extends FileInfo {
  /** With `dryRun` the hash is '' unless the file is unchanged. */
  readonly hash: string;
  /** Bytes of the source, also of a locked file. */
  readonly contentSize: number;
  /** The same content was there under the same name; `hash` is that file's, and no manifest was stored. */
  readonly unchanged: boolean;
  /** Chunks that the buckets did not have whole. */
  readonly chunksStored: number;
  /** Bytes of the source in those. */
  readonly bytesNew: number;
  /** Bytes sent to buckets: shards and manifests. */
  readonly bytesStored: number;
  /** Chunks of this file stored with fewer shards than the redundancy asks for; `repair` completes them. */
  readonly degradedChunks: number;
  /** Buckets that have the manifest. */
  readonly manifestCopies: number;
  /** Whether manifest or chunks have fewer copies than they would with every bucket at hand; `repair` completes them. */
  readonly degraded: boolean;
  /** The version before, if that is locked and this one is not. */
  readonly unlocks: FileInfo | null;
}

/** How often a put whose marker became too old (a machine that slept) begins again. */
const MOST_STARTS = 3;

/** See `Vault.put`. */
export async function putFile(session: Session, source: FileSource, options: PutOptions): Promise<PutResult> {
  const { keyring } = session.keyring;
  const call = {
    ...options,
    onWarning: oncePerBucket(options.onWarning),
    chunkSize: options.chunkSize ?? keyring.chunkSize,
    compression: options.compression ?? keyring.compression,
  };
  checkOptions(call);
  const { turns } = session.memory.share(call.chunkSize, keyring.redundancy);
  const turn = await turns.borrow();
  try {
    for (let starts = 1; ; starts += 1) {
      throwIfAborted(options.signal);
      const opened = await source.open(options.signal);
      try {
        return await putOnce(session, opened, call);
      } catch (error) {
        if (!isVaultError(error, 'stale') || !source.reopens || starts === MOST_STARTS) throw error;
      } finally {
        await opened.close();
      }
    }
  } finally {
    turns.giveBack(turn);
  }
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

function checkOptions({ name, chunkSize, lock }: PutCall): void {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0 || bytes > MAX_NAME_SIZE || name.includes('\0')) {
    throw new VaultError(
      'invalid-input',
      `A name has 1 to ${MAX_NAME_SIZE} bytes and no NUL; this one has ${bytes}.`,
    );
  }
  if (!name.isWellFormed()) {
    throw new VaultError('invalid-input', 'A name must be valid Unicode; this one is not.');
  }
  if (!Number.isInteger(chunkSize) || chunkSize < MIN_CHUNK_SIZE || chunkSize > MAX_CHUNK_SIZE) {
    throw new VaultError('invalid-input', `A chunk has 64 KiB to 64 MiB; ${chunkSize} bytes were asked for.`);
  }
  if (lock?.password === '') throw new VaultError('invalid-input', 'The password of a lock is empty.');
}

export interface PutCall extends PutOptions {
  readonly chunkSize: number;
  readonly compression: Compression;
}

/** A small file needs no marker, unless it turns out not to be small: nothing but its manifest is stored. */
async function putOnce(session: Session, source: OpenSource, call: PutCall): Promise<PutResult> {
  const signal = call.signal ?? new AbortController().signal;
  const contentKey = randomBytes(32);
  const dedup: DedupKeys = call.lock === undefined ? session.keys.writer : lockedDedupKeys(contentKey);
  const beginning = await readBeginning(source, signal);
  if (beginning.length <= INLINE_SIZE) {
    await source.verify();
    const content = inlineContent(beginning, call.chunkSize);
    call.onProgress?.({ doneBytes: beginning.length, totalBytes: source.size });
    return finishPut(session, source, { call, content, contentKey, guarded: null });
  }
  const run: Session['guard']['run'] =
    call.dryRun === true
      ? async (work) => work(await withoutMarker(session, signal))
      : (work, aborted) => session.guard.run(work, aborted);
  return run(async (guarded) => {
    requireTargets(session, guarded);
    warnOf(guarded.failed, call);
    warnOfClock(guarded.clocks, call);
    const content = await storeContent(session, source, { ...call, beginning, guarded, dedup, signal });
    await source.verify();
    await guarded.keep(signal);
    return finishPut(session, source, { call, content, contentKey, guarded });
  }, signal);
}

function warnOf(failed: readonly BucketFailure[], { onWarning }: CallOptions): void {
  for (const failure of failed) {
    onWarning?.({ kind: 'bucket-down', message: describeFailure(failure), bucket: failure.bucket.url });
  }
}

function warnOfClock(clocks: BucketClocks, { onWarning }: PutCall): void {
  const warning = clockWarning(clocks);
  if (warning !== null) onWarning?.(warning);
}

/** Reads until it is known whether the source is small. @returns at most one byte more than fits into a manifest */
async function readBeginning(source: OpenSource, signal: AbortSignal): Promise<Buffer> {
  const target = Buffer.alloc(INLINE_SIZE + 1);
  return target.subarray(0, await source.read(target, signal));
}

function inlineContent(body: Uint8Array, chunkSize: number): StoredContent {
  const table: ContentTable = { size: body.length, chunkSize, depth: 0, refs: [], inline: body };
  const none = { chunksStored: 0, degradedChunks: 0, newBytes: 0, bytesStored: 0 };
  return { table, ids: { depth: 0, ids: [] }, chunks: 0, ...none };
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

interface Finishing {
  readonly call: PutCall;
  readonly content: StoredContent;
  readonly contentKey: Buffer;
  /** Null for content that lies in the manifest. */
  readonly guarded: Guarded | null;
}

/** Everything after the last byte: the manifest, unless the newest version has this very content, and the catalog. */
async function finishPut(session: Session, source: OpenSource, finishing: Finishing): Promise<PutResult> {
  const { call, content, contentKey, guarded } = finishing;
  const { table, ids, chunksStored, degradedChunks, newBytes, bytesStored } = content;
  const sizes = { contentSize: table.size, chunksStored, degradedChunks, bytesNew: newBytes };
  const versions = await versionsOf(session, call.name, call.signal);
  const same = await findUnchanged(session, versions, { ...finishing, digest: contentDigestOf(table) });
  if (same !== null) {
    const degraded = degradedChunks > 0;
    return {
      ...same.info,
      ...sizes,
      unchanged: true,
      bytesStored,
      manifestCopies: 0,
      degraded,
      unlocks: null,
    };
  }
  const head = headOf(session, source, { call, content, versions });
  if (call.dryRun === true) {
    const none = { unchanged: false, bytesStored, manifestCopies: 0, degraded: false, unlocks: null };
    return { hash: '', ...head, ...sizes, ...none };
  }
  const lock =
    call.lock === undefined
      ? null
      : await lockContentKey(contentKey, call.lock.password, {
          vaultId: session.vaultId,
          cost: call.lock.cost,
        });
  const bytes = session.sealer.seal({ head, ids, content: table, contentKey, lock });
  const hash = manifestHash(bytes);
  const clocks = new BucketClocks(session);
  const { copies, failed } = await storeManifest(session, {
    hash,
    bytes,
    guarded,
    clocks,
    signal: call.signal,
  });
  warnOf(failed, call);
  warnOfClock(clocks, call);
  const missing = [...failed, ...(guarded?.failed ?? [])];
  const [before] = versions;
  const access = lock === null ? { content: contentKey } : { lock };
  const row = sealFileRow(session, {
    hash,
    writer: session.keys.writer.id,
    part: { head, ids, access },
    contentDigest: lock === null ? contentDigestOf(table) : null,
  });
  await list(session, row);
  return {
    hash,
    ...head,
    ...sizes,
    unchanged: false,
    bytesStored: bytesStored + copies * bytes.length,
    manifestCopies: copies,
    degraded: degradedChunks > 0 || missing.some(({ bucket }) => bucket.state === 'active'),
    unlocks: lock === null && before?.info.locked === true ? before.info : null,
  };
}

/** Makes a file visible whose manifest is stored. */
async function list(session: Session, row: FileRow): Promise<void> {
  try {
    await session.catalog.files.put([row]);
  } catch (error) {
    if (!isVaultError(error, 'storage-full', 'denied')) throw error;
    throw new VaultError(
      error.code,
      `${error.message} The file is in the buckets, and not in the catalog: "vault repair" adds it then.`,
      { cause: error },
    );
  }
}

function headOf(
  session: Session,
  source: OpenSource,
  {
    call,
    content,
    versions,
  }: { readonly call: PutCall; readonly content: StoredContent; readonly versions: readonly FileRecord[] },
): ManifestHead {
  const { redundancy, epoch } = session.keyring.keyring;
  const locked = call.lock !== undefined;
  return {
    kind: 'file',
    name: call.name,
    size: locked ? null : content.table.size,
    createdAtMs: session.now(),
    modified: source.modified,
    mode: source.mode,
    expiresAtMs: call.expiresAtMs ?? null,
    // The order of versions goes by this number: clocks can be wrong.
    version: Math.max(0, ...versions.map(({ info }) => info.version)) + 1,
    epoch,
    redundancy,
    chunkSize: call.chunkSize,
    chunks: content.chunks,
    locked,
  };
}

/** Stores the manifest in every bucket that can be reached. @returns how many have it, and which could not take it */
async function storeManifest(
  session: Session,
  manifest: {
    readonly hash: string;
    readonly bytes: Uint8Array;
    readonly guarded: Guarded | null;
    readonly clocks: BucketClocks;
    readonly signal: AbortSignal | undefined;
  },
): Promise<{ readonly copies: number; readonly failed: readonly BucketFailure[] }> {
  const { hash, bytes, guarded, clocks, signal } = manifest;
  const object = { name: manifestObjectName(hash), bytes };
  const { usable, failed } = await spread(guarded?.targets ?? session.buckets.active, object, {
    clocks,
    signal,
  });
  if (usable.length === 0) {
    throw tooFewBuckets('No bucket took the manifest, so the file was not stored. Try again.', failed);
  }
  const full = failed.find(({ error }) => error.code === 'storage-full');
  if (full !== undefined) throw full.error;
  throwIfAborted(signal);
  // A hash is acknowledged only under a marker that is young: else what it relies on may be gone.
  if (guarded !== null) await guarded.keep(signal);
  else await keepInVault(session, { object, stored: usable, signal });
  return { copies: usable.length, failed };
}

/**
 * Without a marker nobody waits for this put: a bucket that took the manifest may be leaving the vault. Whoever takes it out says so in
 * the keyring first and copies its manifests after that, so of the two at least one sees the other.
 */
async function keepInVault(
  session: Session,
  put: {
    readonly object: { readonly name: string; readonly bytes: Uint8Array };
    readonly stored: readonly VaultBucket[];
    readonly signal: AbortSignal | undefined;
  },
): Promise<void> {
  const { object, stored, signal } = put;
  const asked = await refreshKeyring(session, signal, { from: stored });
  const { active } = session.buckets;
  const has = new Set(asked.usable.filter((bucket) => !asked.without.includes(bucket)).map(({ id }) => id));
  if (stored.every(({ id }) => has.has(id) && active.some((bucket) => bucket.id === id))) return;
  const others = active.filter(({ id }) => !stored.some((bucket) => bucket.id === id));
  const { usable, failed } = await spread(others, object, { signal });
  if (usable.length > 0 || active.some(({ id }) => has.has(id))) return;
  throw tooFewBuckets('No bucket that stays in the vault took the manifest. Try again.', [
    ...failed,
    ...asked.failed,
    ...asked.without.map(withoutKeyring),
  ]);
}

/** The newest file of this name, if it has this content, lives as long as asked for, stands, and is not removed. */
async function findUnchanged(
  session: Session,
  versions: readonly FileRecord[],
  {
    call,
    digest,
    guarded,
  }: { readonly call: PutCall; readonly digest: string; readonly guarded: Guarded | null },
): Promise<FileRecord | null> {
  const [newest] = versions;
  if (newest === undefined || call.lock !== undefined || newest.contentDigest !== digest) return null;
  const { hash, expiresAtMs, chunkSize } = newest.info;
  if (chunkSize !== call.chunkSize || expiresAtMs !== (call.expiresAtMs ?? null)) return null;
  if (newest.row.writer !== session.keys.writer.id) return null;
  try {
    if (guarded?.isNamed(manifestObjectName(hash)) === true) return null;
    // A bucket that is down may have a record of its removal: then the content deserves a new manifest, too. The record goes when
    // the manifest is in no bucket, so it is asked for first.
    if (!(await isSurelyLive(session, hash, call.signal))) return null;
    // As many copies as a new manifest would have to have.
    const { active: from } = session.buckets;
    const copies = Math.min(session.keyring.keyring.redundancy.m + 1, from.length);
    await readManifestBytes(session, hash, { from, copies, signal: call.signal });
    return newest;
  } catch (error) {
    // Its manifest is lost or out of reach: then the content deserves a new one.
    if (isVaultError(error, 'damaged', 'unavailable', 'object-missing', 'denied')) return null;
    throw error;
  }
}
