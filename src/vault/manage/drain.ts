/** Taking a bucket out of the vault: everything moves to the others first. */
import type { ChunkRow } from '../../catalog/catalog.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { KEYSLOT_PREFIX, MARKER_NAME } from '../../format/keyslot.ts';
import { MANIFEST_PREFIX, parseManifestObjectName } from '../../format/manifest.ts';
import { CHUNK_PREFIX, formatRedundancy } from '../../format/shard.ts';
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import { drainingBucket, resolveBucket } from './bucket-admin.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { collectGarbage } from '../remove/collect.ts';
import { Findings } from '../verify/findings.ts';
import { LEASE_MS } from '../write/lease.ts';
import { repairManifests } from '../repair/manifest-repair.ts';
import { isInUse, rebuildChunks } from '../repair/repair.ts';
import { withSignal } from '../session.ts';
import type { Session } from '../session.ts';
import { isOurManifest } from '../remove/sweep.ts';
import type { CallOptions, RemoveBucketResult } from '../vault.ts';
import { usableBuckets } from '../verify/verify.ts';

/** Manifests looked up together. */
const BATCH = 500;
/** Removals under way at once. */
const IN_FLIGHT = 16;

/** See `Vault.removeBucket`. */
export async function removeBucket(
  session: Session,
  reference: string,
  options: CallOptions = {},
): Promise<RemoveBucketResult> {
  const { signal } = options;
  const found = resolveBucket(session, reference);
  checkRest(session, found);
  if (await isEmptied(session, found, options)) {
    await letGo(session, found);
    return { removed: true, shardsMoved: 0, manifestsCopied: 0, objectsRemoved: 0, reasons: [] };
  }
  await refuseUnknownFiles(session, found, signal);
  const bucket = await drainingBucket(session, found);
  await session.catalog.buryPuts({
    leaseMs: LEASE_MS,
    isGone: (owner) => session.processes.isGone(owner),
  });
  const earlier = (await session.catalog.pendingPuts()).map(({ generation }) => generation);

  const findings = new Findings(session, options, null);
  const usable = await usableBuckets(session, findings, options);
  const targets = usable.filter(({ state }) => state === 'active');
  const { uploader } = await rebuildChunks(session, {
    rows: rowsIn(session, bucket, signal),
    targets,
    leaving: { bucket, gone: false },
    redundancy: null,
    options,
  });
  const { manifestsStored } = await repairManifests(session, {
    hashes: null,
    usable,
    targets,
    reads: false,
    findings,
    signal,
  });
  const { objectsRemoved } = await collectGarbage(session, options);
  const moved = { shardsMoved: uploader.shardsStored, manifestsCopied: manifestsStored, objectsRemoved };
  const reasons = await reasonsToKeep(session, bucket, { findings, earlier, signal });
  if (reasons.length > 0) return { ...moved, removed: false, reasons };

  const emptied = await removeObjects(bucket, signal);
  await letGo(session, bucket);
  return { ...moved, objectsRemoved: objectsRemoved + emptied, removed: true, reasons: [] };
}

function checkRest(session: Session, bucket: VaultBucket): void {
  const { k, m } = session.settings.redundancy;
  const rest = session.buckets.all.filter((other) => other !== bucket && other.state === 'active').length;
  if (rest >= k + m) return;
  throw new VaultError(
    'invalid-input',
    `Without ${bucket.url} the vault has ${rest} buckets, and its redundancy ${formatRedundancy({ k, m })} needs ${k + m}. Add another one first (vault bucket add), or choose less redundancy (vault repair --redundancy).`,
  );
}

/** Whether an earlier removal was cut short when all objects had gone, so that only the catalog still knows the bucket. */
async function isEmptied(session: Session, bucket: VaultBucket, options: CallOptions): Promise<boolean> {
  if (bucket.state !== 'draining') return false;
  try {
    await bucket.confirm(options.signal);
    return false;
  } catch (error) {
    if (!isVaultError(error, 'bucket-missing')) throw error;
    if (await isInUse(session, bucket, options)) throw error;
    return true;
  }
}

/** Files that only `recover` knows may have their last copies here. */
async function refuseUnknownFiles(
  session: Session,
  bucket: VaultBucket,
  signal: AbortSignal | undefined,
): Promise<void> {
  const storage = await bucket.checked(signal);
  const owed = new Set<string>();
  for await (const row of session.catalog.garbage()) if (row.kind === 'manifest') owed.add(row.id);
  const unknown: string[] = [];
  let batch: { name: string; hash: string }[] = [];
  const flush = async (): Promise<void> => {
    const known = await session.catalog.knownManifests(batch.map(({ hash }) => hash));
    for (const { name, hash } of batch) {
      if (known.has(hash) || owed.has(hash)) continue;
      if (await isOurManifest(session, bucket, { name, hash, signal })) unknown.push(hash);
    }
    batch = [];
  };
  for await (const { name } of storage.list(MANIFEST_PREFIX, withSignal(signal))) {
    const hash = parseManifestObjectName(name);
    if (hash === null) continue;
    batch.push({ name, hash });
    if (batch.length === BATCH) await flush();
  }
  if (batch.length > 0) await flush();
  if (unknown.length === 0) return;
  throw new VaultError(
    'invalid-input',
    `${bucket.url} holds ${unknown.length} files of this vault that the catalog does not know. Bring them back first: vault recover`,
  );
}

async function* rowsIn(
  session: Session,
  { number }: VaultBucket,
  signal: AbortSignal | undefined,
): AsyncGenerator<ChunkRow, void, undefined> {
  for await (const row of session.catalog.listChunks(withSignal(signal))) {
    if (row.shards.some((place) => place?.bucket === number)) yield row;
  }
}

async function reasonsToKeep(
  session: Session,
  bucket: VaultBucket,
  {
    findings,
    earlier,
    signal,
  }: {
    readonly findings: Findings;
    readonly earlier: readonly string[];
    readonly signal: AbortSignal | undefined;
  },
): Promise<string[]> {
  const reasons: string[] = [];
  // Asked before the chunks are looked through: a put that has ended by now has recorded all of its own.
  const pending = new Set((await session.catalog.pendingPuts()).map(({ generation }) => generation));
  const running = earlier.filter((generation) => pending.has(generation)).length;
  if (running > 0) {
    reasons.push(
      `${running} puts that began before are still running and may store shards in ${bucket.url}.`,
    );
  }
  let left = 0;
  for await (const _ of rowsIn(session, bucket, signal)) left += 1;
  if (left > 0) {
    reasons.push(`${left} chunks have shards in ${bucket.url} that could not be moved to another bucket.`);
  }
  const { failedBuckets } = findings;
  // Each of the others that did not fail has every manifest by now.
  const holders = session.buckets.all.filter(
    ({ url, state }) => state === 'active' && !failedBuckets.includes(url),
  );
  if (holders.length < session.settings.redundancy.m + 1) {
    reasons.push(`Too few buckets have copies of all manifests: ${failedBuckets.join(', ')} cannot be used.`);
  }
  const { affected } = await findings.result(0);
  const lost = affected.filter(({ problems }) => problems.some(({ what }) => what === 'manifest')).length;
  if (lost > 0) reasons.push(`${lost} manifests could not be read, so they were not copied.`);
  return reasons;
}

/** Removes what the vault has in a bucket, its marker last, so that it stays known as the vault's until it is empty. */
async function removeObjects(bucket: VaultBucket, signal: AbortSignal | undefined): Promise<number> {
  const storage = await bucket.checked(signal);
  let removed = 0;
  for (const prefix of [CHUNK_PREFIX, MANIFEST_PREFIX, KEYSLOT_PREFIX]) {
    await forEachBounded(
      storage.list(prefix, withSignal(signal)),
      async ({ name }, aborted) => {
        await storage.remove(name, { signal: aborted });
        removed += 1;
      },
      { inFlight: IN_FLIGHT, signal },
    );
  }
  await storage.remove(MARKER_NAME, withSignal(signal));
  return removed + 1;
}

async function letGo(session: Session, bucket: VaultBucket): Promise<void> {
  await session.catalog.removeBucket(bucket.number);
  await session.buckets.drop(bucket.number);
}
