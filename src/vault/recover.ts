/**
 * Rebuilding a lost catalog from the buckets and a password: listings and manifests tell everything; no chunk is read, unless
 * it holds a table, and nothing is written to the buckets.
 */
import type { Catalog } from '../catalog/catalog.ts';
import type { Bucket } from '../buckets/bucket.ts';
import { drawGeneration } from '../crypto/keys.ts';
import type { Subkeys } from '../crypto/keys.ts';
import { openManifest, startContentTag } from '../crypto/seal.ts';
import { isVaultError, messageOf, throwIfAborted, VaultError } from '../errors.ts';
import { KEYSLOT_PREFIX, MAX_JSON_OBJECT_SIZE } from '../format/keyslot.ts';
import {
  encodeTable,
  MANIFEST_PREFIX,
  manifestObjectName,
  MAX_MANIFEST_SIZE,
  parseManifestObjectName,
} from '../format/manifest.ts';
import type { Manifest } from '../format/manifest.ts';
import { payloadSize, SEAL_OVERHEAD } from '../format/chunk.ts';
import { mapOrdered } from '../pipeline.ts';
import { readMarker } from './bucket-set.ts';
import type { BucketOpener, VaultBucket } from './bucket-set.ts';
import type { WantedChunk } from './chunk-source.ts';
import { defaultRedundancy } from './create.ts';
import { sealFileRow } from './files.ts';
import { fileEntries } from './get.ts';
import { openSession } from './open.ts';
import type { OpenVaultParts } from './open.ts';
import { infoOf } from './put.ts';
import { openSettings, sealBucketUrl, sealSettings, withSignal } from './session.ts';
import type { Session } from './session.ts';
import { listShards } from './shard-index.ts';
import type { ShardIndex } from './shard-index.ts';
import { unlockKeyslots } from './unlock.ts';
import type { CallOptions, FileInfo } from './vault.ts';

export interface RecoverOptions extends CallOptions {
  readonly catalog: Catalog;
  /** URLs of the buckets, normalised: all that can be had. */
  readonly urls: readonly string[];
  readonly opener: BucketOpener;
  /** Gives the password; asked once, when a bucket has shown that there is a vault. */
  readonly password: () => Promise<string>;
  /** What the vault is opened with afterwards. */
  readonly parts: Omit<OpenVaultParts, 'catalog' | 'opener' | 'password'>;
}

export interface RecoverResult {
  readonly vaultId: string;
  /** Files of which every shard is there. */
  readonly complete: number;
  /** Files that can be read, though some shards or manifests are missing; `repair` completes them. */
  readonly degraded: readonly FileInfo[];
  /** Files of which some chunk has fewer shards than it needs. They are listed all the same. */
  readonly lost: readonly FileInfo[];
  /** Hashes of manifests that no bucket has intact: files whose names are not known any more. */
  readonly unreadableManifests: readonly string[];
  /** Files that the catalog had already, from an earlier run. */
  readonly known: number;
  /** Buckets that could not be used, and why. */
  readonly unusable: readonly { readonly url: string; readonly message: string }[];
}

/** Manifests fetched at once. */
const IN_FLIGHT = 16;
/** Chunks recorded in one transaction. */
const BATCH = 500;

/** A manifest that was found. */
interface FoundManifest {
  readonly hash: string;
  readonly manifest: Manifest;
  /** How many buckets have it. */
  readonly copies: number;
}

/**
 * Rebuilds the catalog. Repeating it goes on where it was cut short, and finds what has been put by others meanwhile.
 *
 * @throws `no-vault` if no bucket has a marker; `invalid-input` if the buckets belong to different vaults, or the catalog
 *   describes another one; `wrong-password`; `unavailable` if no bucket can be reached
 */
export async function recoverCatalog(options: RecoverOptions): Promise<RecoverResult> {
  const { catalog, signal } = options;
  const unusable: { url: string; message: string }[] = [];
  const found = await findBuckets(options, unusable);
  const [{ vaultId }] = found;
  const existing = await catalog.vault();
  if (existing !== null && existing.id !== vaultId) {
    throw new VaultError(
      'invalid-input',
      `${catalog.label} describes another vault than these buckets. Name another place with --db.`,
    );
  }
  const bodies = await readKeyslots(
    found.map(({ bucket }) => bucket),
    signal,
  );
  const keys = await unlockKeyslots([...bodies.values()], vaultId, await options.password());
  await describeVault(options, { vaultId, keys, bodies, found });

  const session = await openSession({
    ...options.parts,
    catalog,
    opener: options.opener,
    password: () => Promise.reject(new Error('The vault is unlocked already')),
    unlocked: keys,
  });
  try {
    const result = await recoverFiles(session, options);
    return { vaultId, unusable, ...result };
  } finally {
    await session.workers.close();
    await session.buckets.close();
  }
}

interface FoundBucket {
  readonly url: string;
  readonly bucket: Bucket;
  readonly vaultId: string;
  readonly bucketId: string;
}

async function findBuckets(
  options: RecoverOptions,
  unusable: { url: string; message: string }[],
): Promise<readonly [FoundBucket, ...FoundBucket[]]> {
  const found: FoundBucket[] = [];
  const errors: VaultError[] = [];
  for (const url of options.urls) {
    try {
      const bucket = await options.opener(url);
      const marker = await readMarker(bucket, options.signal);
      if (marker === null) {
        throw new VaultError(
          'bucket-missing',
          `${url} has no marker of a vault. Is its disk mounted, is the URL right?`,
        );
      }
      found.push({ url, bucket, ...marker });
    } catch (error) {
      if (!isVaultError(error) || error.code === 'interrupted') throw error;
      errors.push(error);
      unusable.push({ url, message: error.message });
    }
  }
  const [first, ...others] = found;
  if (first === undefined) {
    const outage = errors.find((error) => error.code !== 'bucket-missing');
    throw new VaultError(
      outage?.code ?? 'no-vault',
      `None of the buckets can be used. ${errors.map(messageOf).join(' ')}`,
      { cause: errors[0] },
    );
  }
  const stranger = others.find(({ vaultId }) => vaultId !== first.vaultId);
  if (stranger !== undefined) {
    throw new VaultError('invalid-input', `${first.url} and ${stranger.url} belong to different vaults.`);
  }
  const twice = others.find(({ bucketId }, i) =>
    found.slice(0, i + 1).some((other) => other.bucketId === bucketId),
  );
  if (twice !== undefined) {
    throw new VaultError('invalid-input', `${twice.url} is the same bucket as another of those given.`);
  }
  return [first, ...others];
}

/** The keyslots of all buckets, by id. A bucket without any, or with damaged ones, is no reason to stop. */
async function readKeyslots(
  buckets: readonly Bucket[],
  signal: AbortSignal | undefined,
): Promise<Map<string, Uint8Array>> {
  const bodies = new Map<string, Uint8Array>();
  for (const bucket of buckets) {
    try {
      for await (const { name } of bucket.list(KEYSLOT_PREFIX, withSignal(signal))) {
        const id = /^keyslots\/([0-9a-f]{32})\.json$/.exec(name)?.[1];
        if (id === undefined || bodies.has(id)) continue;
        bodies.set(id, await bucket.get(name, { maxSize: MAX_JSON_OBJECT_SIZE, ...withSignal(signal) }));
      }
    } catch (error) {
      if (!isVaultError(error) || error.code === 'interrupted') throw error;
    }
  }
  return bodies;
}

/** Writes vault, keyslots and buckets into the catalog, as far as they are not there. */
async function describeVault(
  { catalog }: RecoverOptions,
  {
    vaultId,
    keys,
    bodies,
    found,
  }: {
    readonly vaultId: string;
    readonly keys: Subkeys;
    readonly bodies: ReadonlyMap<string, Uint8Array>;
    readonly found: readonly FoundBucket[];
  },
): Promise<void> {
  // Until the newest manifest tells what files were stored with.
  const settings = sealSettings(keys, { redundancy: defaultRedundancy(found.length) });
  await catalog.create(
    { id: vaultId, settings },
    [...bodies].map(([id, body]) => ({ id, body })),
  );
  const known = new Map((await catalog.buckets()).map((bucket) => [bucket.id, bucket]));
  for (const { bucketId, url } of found) {
    if (known.has(bucketId)) continue;
    await catalog.putBucket({ id: bucketId, state: 'active', record: sealBucketUrl(keys, bucketId, url) });
  }
}

type FilesResult = Omit<RecoverResult, 'vaultId' | 'unusable'>;

async function recoverFiles(session: Session, options: RecoverOptions): Promise<FilesResult> {
  const { usable } = await session.buckets.check(session.buckets.all, options.signal);
  const copies = await listManifests(usable, options.signal);
  const known = new Set<string>();
  const hashes = [...copies.keys()];
  for (let at = 0; at < hashes.length; at += BATCH) {
    for (const hash of await session.catalog.knownManifests(hashes.slice(at, at + BATCH))) known.add(hash);
  }
  const unreadableManifests: string[] = [];
  const manifests: FoundManifest[] = [];
  let done = known.size;
  const fetched = mapOrdered(
    hashes.filter((hash) => !known.has(hash)),
    async (hash, signal) => ({
      hash,
      manifest: await readAnyManifest(session, copies.get(hash) ?? [], { hash, signal }),
    }),
    { inFlight: IN_FLIGHT, signal: options.signal },
  );
  for await (const { hash, manifest } of fetched) {
    if (manifest === null) unreadableManifests.push(hash);
    else manifests.push({ hash, manifest, copies: copies.get(hash)?.length ?? 0 });
    done += 1;
    options.onProgress?.({ doneBytes: done, totalBytes: hashes.length * 2 });
  }
  // Oldest first, so that the order of versions is the one they were put in.
  manifests.sort((a, b) => a.manifest.head.createdAtMs - b.manifest.head.createdAtMs);
  const index = await listShards(usable, options.signal);
  const newest = manifests.at(-1);
  if (newest !== undefined && known.size === 0) await keepRedundancy(session, newest.manifest);

  const result = { complete: 0, degraded: [] as FileInfo[], lost: [] as FileInfo[] };
  for (const file of manifests) {
    throwIfAborted(options.signal);
    const state = await recoverFile(session, file, index);
    const info = infoOf(file.hash, file.manifest.head);
    if (state === 'complete') result.complete += 1;
    else result[state].push(info);
    done += 1;
    options.onProgress?.({ doneBytes: done, totalBytes: hashes.length * 2 });
  }
  return { ...result, unreadableManifests, known: known.size };
}

/** Which buckets have which manifest. */
async function listManifests(
  buckets: readonly VaultBucket[],
  signal: AbortSignal | undefined,
): Promise<Map<string, VaultBucket[]>> {
  const copies = new Map<string, VaultBucket[]>();
  for (const bucket of buckets) {
    const storage = await bucket.open();
    for await (const { name } of storage.list(MANIFEST_PREFIX, withSignal(signal))) {
      const hash = parseManifestObjectName(name);
      if (hash === null) continue;
      const holders = copies.get(hash) ?? [];
      holders.push(bucket);
      copies.set(hash, holders);
    }
  }
  return copies;
}

/** A manifest from the first bucket that has it intact; null if none has. */
async function readAnyManifest(
  session: Session,
  holders: readonly VaultBucket[],
  { hash, signal }: { readonly hash: string; readonly signal: AbortSignal },
): Promise<Manifest | null> {
  for (const holder of holders) {
    try {
      const storage = await holder.open();
      const sealed = await storage.get(manifestObjectName(hash), {
        maxSize: MAX_MANIFEST_SIZE,
        ...withSignal(signal),
      });
      return openManifest(session.keys, sealed, hash);
    } catch (error) {
      if (!isVaultError(error, 'damaged', 'object-missing', 'unsupported')) throw error;
    }
  }
  return null;
}

/** New files are stored as the newest one was. */
async function keepRedundancy(session: Session, { head }: Manifest): Promise<void> {
  const row = await session.catalog.vault();
  if (row === null) return;
  const settings = { redundancy: head.redundancy };
  const { k, m } = openSettings(session.keys, row.settings).redundancy;
  if (k === head.redundancy.k && m === head.redundancy.m) return;
  if (await session.catalog.updateSettings(row.settings, sealSettings(session.keys, settings))) {
    session.settings = settings;
  }
}

/** Records one file and its chunks. */
async function recoverFile(
  session: Session,
  { hash, manifest, copies }: FoundManifest,
  index: ShardIndex,
): Promise<'complete' | 'degraded' | 'lost'> {
  const { catalog } = session;
  const { head } = manifest;
  const generation = drawGeneration();
  await catalog.beginPut({ generation, owner: session.processes.self });
  await catalog.announceManifest(generation, hash);
  const states = new Set<'degraded' | 'lost'>();
  if (copies < Math.min(head.redundancy.m + 1, session.buckets.all.length)) states.add('degraded');
  const tag = startContentTag(session.keys, head.chunkSize);

  const record = async (entries: readonly WantedChunk[]): Promise<void> => {
    const rows = new Map(
      entries.flatMap(({ chunkId, length, isLast }) => {
        const sealedSize = payloadSize(length, { chunkSize: head.chunkSize, isLast }) + SEAL_OVERHEAD;
        const row = index.rowOf(chunkId, sealedSize);
        if (row === null) return [];
        return [[chunkId, row] as const];
      }),
    );
    for (const { chunkId } of entries) {
      const row = rows.get(chunkId);
      const shards = row?.shards.filter((place) => place !== null).length ?? 0;
      if (row === undefined || shards < row.k) states.add('lost');
      else if (shards < row.k + row.m) states.add('degraded');
    }
    await catalog.recordChunks(generation, [...rows.values()]);
  };
  try {
    // The chunks of the table first: the file's own are read out of them.
    if (head.tableDepth > 0) await record(withLastMarked(manifest));
    const entries = entriesOf(session, manifest);
    for (;;) {
      const batch = await takeSome(entries, BATCH);
      if (batch.length === 0) break;
      tag.update(encodeTable(batch));
      await record(batch);
    }
  } catch (error) {
    if (!isVaultError(error, 'damaged', 'unavailable')) throw error;
    states.add('lost');
  }
  await catalog.commitPut(generation, sealFileRow(session, hash, head, tag.digest('hex')));
  return states.has('lost') ? 'lost' : states.has('degraded') ? 'degraded' : 'complete';
}

function entriesOf(session: Session, manifest: Manifest): AsyncIterator<WantedChunk> {
  return fileEntries(session, manifest)[Symbol.asyncIterator]();
}

async function takeSome(entries: AsyncIterator<WantedChunk>, most: number): Promise<WantedChunk[]> {
  const taken: WantedChunk[] = [];
  while (taken.length < most) {
    const next = await entries.next();
    if (next.done === true) break;
    taken.push(next.value);
  }
  return taken;
}

function withLastMarked({ table }: Manifest): WantedChunk[] {
  return table.map((entry, i) => ({ ...entry, isLast: i === table.length - 1 }));
}
