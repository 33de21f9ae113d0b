/** Taking a bucket out of the vault: everything moves to the others first, under the same rules as every put and sweep. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isVaultError, throwIfAborted, VaultError } from '../../errors.ts';
import type { Bucket } from '../../buckets/bucket.ts';
import { MARKER_NAME } from '../../format/marker.ts';
import { formatRedundancy } from '../../format/shard.ts';
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import { readMarker, tooFewBuckets } from '../buckets/bucket-set.ts';
import type { BucketState, VaultBucket } from '../buckets/bucket-set.ts';
import type { CallOptions } from '../call.ts';
import { changeKeyring } from '../keys/keyring-store.ts';
import { listMarkers } from '../remove/live.ts';
import { repairManifests } from '../repair/manifests.ts';
import { repairChunks } from '../repair/chunks.ts';
import type { Session } from '../session.ts';
import { resolveBucket } from './buckets.ts';

export interface RemoveBucketOptions extends CallOptions {
  /** Whether the bucket will never answer again: what it held is made anew from the others. */
  readonly gone?: boolean | undefined;
  /** Milliseconds to wait for puts that began before. */
  readonly waitMs?: number | undefined;
  /** Only tells what would be moved. */
  readonly dryRun?: boolean | undefined;
}

export interface RemoveBucketResult {
  /** Whether it is no longer the vault's; else repeat the removal when what `reasons` names is over. */
  readonly removed: boolean;
  readonly shardsMoved: number;
  readonly manifestsCopied: number;
  readonly objectsRemoved: number;
  /** What kept the bucket from being taken out, a sentence each. */
  readonly reasons: readonly string[];
}

const WAIT_MS = 20_000;
const POLL_MS = 500;
/** Removals under way at once. */
const IN_FLIGHT = 16;

/**
 * See `Vault.removeBucket`.
 *
 * The bucket is first said to take nothing new, in the keyring; puts that began before have markers, and are waited for. What then
 * lies in it is stored elsewhere. Only then the keyring drops it, and its objects go.
 */
export async function removeBucket(
  session: Session,
  reference: string,
  options: RemoveBucketOptions = {},
): Promise<RemoveBucketResult> {
  const { signal, gone = false } = options;
  const leftover = await emptyLeftover(session, reference, signal);
  if (leftover !== null) return leftover;
  const { id } = resolveBucket(session, reference);
  const bucket = resolveBucket(session, id);
  requireRest(session, bucket, gone);
  if (!gone) await bucket.confirm(signal);
  if (options.dryRun !== true) await setState(session, id, { state: 'draining', gone, signal });
  const first = await moveAway(session, id, options);
  if (options.dryRun === true) return { ...first, removed: false, objectsRemoved: 0, reasons: [] };
  const reasons = await awaitPuts(session, options);
  // What such puts have stored meanwhile.
  const second = reasons.length > 0 ? NOTHING : await moveAway(session, id, options);
  const moved = {
    shardsMoved: first.shardsMoved + second.shardsMoved,
    manifestsCopied: first.manifestsCopied + second.manifestsCopied,
  };
  reasons.push(...(reasons.length > 0 ? first.reasons : second.reasons));
  if (reasons.length > 0) return { ...moved, removed: false, objectsRemoved: 0, reasons };
  const url = session.buckets.all.find((one) => one.id === id)?.url ?? reference;
  await setState(session, id, { state: null, gone, signal });
  const objectsRemoved = gone ? 0 : await emptyBucket(session, url, id, signal);
  await session.catalog.setup.removeBucket(bucket.number);
  return { ...moved, removed: true, objectsRemoved, reasons: [] };
}

const NOTHING = { shardsMoved: 0, manifestsCopied: 0, reasons: [] as readonly string[] };

function requireRest(session: Session, bucket: VaultBucket, gone: boolean): void {
  const { redundancy } = session.keyring.keyring;
  const rest = session.buckets.active.filter(({ id }) => id !== bucket.id).length;
  const needed = gone ? redundancy.k : redundancy.k + redundancy.m;
  if (rest >= needed) return;
  throw new VaultError(
    'invalid-input',
    `Without ${bucket.url} the vault has ${rest} buckets, and its redundancy ${formatRedundancy(redundancy)} needs ${needed}. Add another one first (vault bucket add), or choose less redundancy (vault repair --redundancy).`,
  );
}

/** Says in the keyring what a bucket is from now on. @param change `state`: null for no longer the vault's */
async function setState(
  session: Session,
  id: string,
  change: {
    readonly state: BucketState | null;
    readonly gone: boolean;
    readonly signal: AbortSignal | undefined;
  },
): Promise<void> {
  const { state, gone, signal } = change;
  await changeKeyring(
    session,
    (keyring) => {
      const known = keyring.buckets.find((one) => one.id === id);
      if (known === undefined || known.state === state) return null;
      const buckets = keyring.buckets.flatMap((one) => {
        if (one.id !== id) return [one];
        return state === null ? [] : [{ id, state }];
      });
      return { ...keyring, buckets };
    },
    { all: !gone, signal },
  );
}

/** Stores elsewhere what lies in the bucket. */
async function moveAway(
  session: Session,
  id: string,
  options: RemoveBucketOptions,
): Promise<{
  readonly shardsMoved: number;
  readonly manifestsCopied: number;
  readonly reasons: readonly string[];
}> {
  const { signal, gone = false, dryRun, onWarning, onProgress } = options;
  const others = session.buckets.all.filter((one) => !gone || one.id !== id);
  const { usable, failed } = await session.buckets.check(others, signal);
  if (usable.length === 0) throw tooFewBuckets("None of the vault's buckets can be used.", failed);
  const call = { signal, onWarning, onProgress, dryRun };
  const chunks = await repairChunks(session, usable, { ...call, redundancy: null });
  await session.guard.end();
  const manifests = dryRun === true ? { stored: 0 } : await repairManifests(session, usable, call);
  const reasons: string[] = failed.map(
    ({ bucket, error }) => `${bucket.url} cannot be used: ${error.message}`,
  );
  if (chunks.degraded > 0 && !gone) {
    reasons.push(`${chunks.degraded} chunks could not be stored whole in the other buckets.`);
  }
  return { shardsMoved: chunks.shardsStored, manifestsCopied: manifests.stored, reasons };
}

/** Waits for puts that began before the bucket took nothing new. @returns why it cannot go on, if they take too long */
async function awaitPuts(session: Session, options: RemoveBucketOptions): Promise<string[]> {
  const { signal, waitMs = WAIT_MS, gone = false } = options;
  if (gone) return [];
  const buckets = session.buckets.all;
  const { young: earlier } = await listMarkers(buckets, session.now(), signal);
  const until = performance.now() + waitMs;
  for (;;) {
    throwIfAborted(signal);
    const { young } = await listMarkers(buckets, session.now(), signal);
    const running = [...earlier].filter((name) => young.has(name)).length;
    if (running === 0) return [];
    if (performance.now() >= until) {
      return [`${running} puts that began before are still running, and may store shards in it.`];
    }
    await sleep(Math.min(POLL_MS, waitMs), undefined, { signal }).catch(() => throwIfAborted(signal));
  }
}

/** Goes on with a removal that was cut short after the keyring had dropped the bucket; null if this is none. */
async function emptyLeftover(
  session: Session,
  reference: string,
  signal: AbortSignal | undefined,
): Promise<RemoveBucketResult | null> {
  const { keyring } = session.keyring;
  if (
    session.buckets.all.some(({ url, id }) => url === reference || id.startsWith(reference.toLowerCase()))
  ) {
    return null;
  }
  let bucket: Bucket;
  try {
    bucket = await session.opener(reference);
  } catch (error) {
    if (isVaultError(error)) return null;
    throw error;
  }
  try {
    const marker = await readMarker(bucket, signal).catch(() => null);
    if (marker?.vaultId !== session.vaultId || keyring.buckets.some(({ id }) => id === marker.bucketId))
      return null;
  } finally {
    await bucket.close();
  }
  const objectsRemoved = await emptyBucket(session, reference, null, signal);
  return { removed: true, shardsMoved: 0, manifestsCopied: 0, objectsRemoved, reasons: [] };
}

/** Removes what the vault has in a bucket, its marker last, so that it stays known as the vault's until it is empty. */
async function emptyBucket(
  session: Session,
  url: string,
  id: string | null,
  signal: AbortSignal | undefined,
): Promise<number> {
  const bucket = await session.opener(url);
  try {
    const marker = await readMarker(bucket, signal);
    if (marker === null || marker.vaultId !== session.vaultId || (id !== null && marker.bucketId !== id))
      return 0;
    let removed = 0;
    for (const prefix of ['chunks/', 'manifests/', 'keyring/', 'deleted/', 'sweep/', 'puts/', 'shares/']) {
      await forEachBounded(
        bucket.list(prefix, { signal }),
        async ({ name }, aborted) => {
          await bucket.remove(name, { signal: aborted });
          removed += 1;
        },
        { inFlight: IN_FLIGHT, signal },
      );
    }
    await bucket.remove(MARKER_NAME, { signal });
    return removed + 1;
  } finally {
    await bucket.close();
  }
}
