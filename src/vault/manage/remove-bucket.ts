/** Taking a bucket out of the vault: everything moves to the others first, under the same rules as every put and sweep. */
import { verifyKeyring } from '../../crypto/signing.ts';
import { invalidInput, isFailure, isVaultError, VaultError } from '../../errors.ts';
import type { Keyring } from '../../format/keyring.ts';
import { MARKER_NAME } from '../../format/marker.ts';
import { formatRedundancy } from '../../format/shard.ts';
import { batchesOf } from '../../concurrency/batched.ts';
import { countGoodShares, SHARES_PREFIX } from '../../format/share.ts';
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import { describeFailure, readMarker, tooFewBuckets, VaultBucket } from '../buckets/bucket-set.ts';
import type { BucketState } from '../buckets/bucket-set.ts';
import { REMOVALS_AT_ONCE } from '../buckets/spread.ts';
import type { PlanOptions } from '../call.ts';
import { openPlace, putPlace } from '../keys/bucket-places.ts';
import { readKeyrings } from '../keys/keyring-copies.ts';
import { afterChange, keptKeyring } from '../keys/change-outcome.ts';
import { changeKeyring, refreshKeyring } from '../keys/keyring-store.ts';
import { settleKeyring } from '../keys/settle-keyring.ts';
import { requireRightClock } from '../protocol/clocks.ts';
import { listDeletions } from '../protocol/deletions.ts';
import { readLists } from '../protocol/lists.ts';
import { awaitMarkers, listMarkers, outlived, readMarkedIds } from '../protocol/markers.ts';
import { repairChunks } from '../repair/chunks.ts';
import { repairDeletions } from '../repair/deletions.ts';
import { actingHands, tellingHands } from '../repair/ground.ts';
import type { Hands } from '../repair/ground.ts';
import { repairManifests } from '../repair/manifests.ts';
import type { ReadSession, Session } from '../session.ts';
import { requireNoBucket, takeMarker } from './add-bucket.ts';
import { atPlace, countShares, isIdPrefix, KINDS, means, resolveBucket } from './buckets.ts';

export interface RemoveBucketOptions extends PlanOptions {
  /** Whether the bucket will never answer again: what it held is made anew from the others. */
  readonly gone?: boolean | undefined;
  /** Milliseconds to wait for puts that began before. */
  readonly waitMs?: number | undefined;
}

export interface RemoveBucketResult {
  /** Whether it is no longer the vault's; else repeat the removal when what `reasons` names is over. */
  readonly removed: boolean;
  readonly shardsMoved: number;
  readonly manifestsCopied: number;
  /** Chunks that the other buckets do not have whole: of a bucket that is gone no reason to keep it. */
  readonly chunksDegraded: number;
  readonly objectsRemoved: number;
  /** Objects that a lock keeps in the bucket: repeat the removal when they can go. */
  readonly objectsRetained: number;
  /** When the last of those can go, in milliseconds since 1970; null where there is none, or it is not known. */
  readonly retainedUntilMs: number | null;
  /** Links of `vault share` to what lay in it, that were still good; of a bucket that is gone they are not known. */
  readonly sharesEnded: number;
  /** Hashes of files that cannot be read any more. */
  readonly filesLost: readonly string[];
  /** What kept the bucket from being taken out, a sentence each. */
  readonly reasons: readonly string[];
}

export async function removeBucket(
  session: Session,
  reference: string,
  options: RemoveBucketOptions = {},
): Promise<RemoveBucketResult> {
  const found = await find(session, reference, options);
  const isOurs = found instanceof VaultBucket;
  if (options.dryRun === true) {
    const hands = tellingHands(session, options);
    const moved = isOurs ? await moveAway(session, hands, found.id, options) : NOTHING_MOVED;
    return {
      ...moved,
      ...KEPT,
      sharesEnded: options.gone === true ? 0 : await countShares(session, found.url, options.signal),
    };
  }
  return isOurs ? takeOut(session, found, options) : emptyLeftover(session, found, options.signal);
}

/** The bucket that is to be removed, or what an earlier removal has left of one. @throws if it must stay */
async function find(
  session: Session,
  reference: string,
  { gone = false, dryRun: dry = false, signal }: RemoveBucketOptions,
): Promise<VaultBucket | Leftover> {
  const { failed } = await refreshKeyring(session, signal, { thorough: true, dry });
  const leftover = await findLeftover(session, reference, signal);
  if (leftover === null) {
    const bucket = resolveBucket(session, reference);
    requireRest(session.keyring.keyring, bucket, gone);
    if (gone) return bucket;
    await bucket.confirm(signal);
    // By the keyring that it has shown: one that has left the vault since is missed by nobody.
    const missed = failed.filter((one) => session.buckets.all.some(({ id }) => id === one.bucket.id));
    if (missed.length > 0) throw keptKeyring(missed);
    return bucket;
  }
  // A bucket that cannot be asked may have a newer keyring, which names this one.
  if (failed.length > 0 || (await knowsNewerKeyring(session, leftover.url, signal))) {
    throw new VaultError(
      'unavailable',
      `${leftover.url} may be a bucket of this vault that was added just now: not every bucket could be asked. Nothing was removed.`,
    );
  }
  return leftover;
}

/**
 * The bucket is first said to take nothing new, in the keyring; puts that began before have markers, and are waited for. What then
 * lies in it is stored elsewhere. Only then the keyring drops it, and its objects go.
 */
async function takeOut(
  session: Session,
  { id, number, url }: VaultBucket,
  options: RemoveBucketOptions,
): Promise<RemoveBucketResult> {
  const { signal, gone = false } = options;
  const hands = actingHands(session, signal);
  const move = async (): Promise<Moved> => {
    const moved = await moveAway(session, hands, id, options);
    await session.guard.end();
    return moved;
  };
  // Puts whose markers seem old would not be waited for.
  await requireRightClock(session.clock, session.buckets.all, 'The bucket stays', signal);
  await setState(session, { id, url }, { state: 'draining', gone, signal });
  // A marker of this process that lingers is nobody's.
  await session.guard.end();
  const earlier = gone ? new Set<string>() : await youngMarkers(session, signal);
  const first = await move();
  if (first.reasons.length > 0) return { ...first, ...KEPT, reasons: first.reasons };
  const running = await awaitPuts(session, earlier, options);
  if (running > 0) {
    const puts = running === 1 ? 'A put that began before has' : `${running} puts that began before have`;
    const reason = `${puts} not ended, and may store shards in it. One that was killed counts for a day, as does a killed "vault bucket rm".`;
    return { ...first, ...KEPT, reasons: [reason] };
  }
  // What such puts have stored meanwhile.
  const second = gone ? NOTHING_MOVED : await move();
  const moved = {
    shardsMoved: first.shardsMoved + second.shardsMoved,
    manifestsCopied: first.manifestsCopied + second.manifestsCopied,
    chunksDegraded: gone ? first.chunksDegraded : second.chunksDegraded,
    filesLost: gone ? first.filesLost : second.filesLost,
  };
  if (second.reasons.length > 0) return { ...moved, ...KEPT, reasons: second.reasons };
  // So that it is known by its id, too, if this is cut short after the keyring has dropped it.
  await putPlace(session, id, url);
  await setState(session, { id, url }, { state: null, gone, signal });
  const emptied = gone ? NOTHING_REMOVED : await emptyBucket(session, { url, id }, signal);
  await afterChange(() => session.catalog.setup.removeBucket(number));
  return { ...moved, removed: true, ...emptied, reasons: [] };
}

const NOTHING_REMOVED = { objectsRemoved: 0, objectsRetained: 0, retainedUntilMs: null, sharesEnded: 0 };
type Emptied = Pick<RemoveBucketResult, keyof typeof NOTHING_REMOVED>;
const KEPT = { removed: false, ...NOTHING_REMOVED } as const;
const NOTHING_MOVED: Moved = {
  shardsMoved: 0,
  manifestsCopied: 0,
  chunksDegraded: 0,
  filesLost: [],
  reasons: [],
};

/** @throws `invalid-input` if the redundancy needs more buckets than take new shards without this one */
function requireRest(
  { buckets, redundancy }: Keyring,
  { id, url }: Pick<VaultBucket, 'id' | 'url'>,
  gone: boolean,
): void {
  const rest = buckets.filter((one) => one.state === 'active' && one.id !== id).length;
  const needed = gone ? redundancy.k : redundancy.k + redundancy.m;
  if (rest >= needed) return;
  throw invalidInput(
    `Without ${url} the vault has ${rest} bucket${rest === 1 ? '' : 's'}, and its redundancy ${formatRedundancy(redundancy)} needs ${needed}. Add another one first (vault bucket add), or choose less redundancy (vault repair --redundancy).`,
  );
}

/** Says in the keyring what a bucket is from now on. @param change `state`: null for no longer the vault's */
async function setState(
  session: Session,
  bucket: Pick<VaultBucket, 'id' | 'url'>,
  change: {
    readonly state: BucketState | null;
    readonly gone: boolean;
    readonly signal: AbortSignal | undefined;
  },
): Promise<void> {
  const { state, gone, signal } = change;
  const { id } = bucket;
  await changeKeyring(
    session,
    (keyring) => {
      const known = keyring.buckets.find((one) => one.id === id);
      if (known === undefined || known.state === state) return null;
      // Others may be about to leave at the same time, or more redundancy may have been chosen since.
      requireRest(keyring, bucket, gone);
      const buckets = keyring.buckets.flatMap((one) => {
        if (one.id !== id) return [one];
        return state === null ? [] : [{ ...one, state }];
      });
      return { ...keyring, buckets };
    },
    { all: !gone, signal },
  );
}

type Moved = Pick<
  RemoveBucketResult,
  'shardsMoved' | 'manifestsCopied' | 'chunksDegraded' | 'filesLost' | 'reasons'
>;

/** Stores elsewhere what lies in the bucket. */
async function moveAway(
  session: ReadSession,
  hands: Hands,
  id: string,
  options: RemoveBucketOptions,
): Promise<Moved> {
  const { signal, gone = false, onWarning, onProgress } = options;
  const { usable, failed } = await session.buckets.check(session.buckets.all, signal);
  if (usable.length === 0) throw tooFewBuckets("None of the vault's buckets can be used.", failed);
  // Only a removal in earnest has said in the keyring that it takes nothing new.
  const how = { gone: gone ? id : undefined, leaving: id };
  const moved = await hands.onGround(usable, how, async (ground) => {
    const { sources, noteFailure: onFailure } = ground;
    const deletions = await listDeletions(session, sources, { signal, onFailure });
    await repairDeletions(session, ground, deletions, signal);
    const known = outlived(await readLists(session, sources, signal), session.clock.now());
    const marked = new Set<string>();
    for await (const ids of readMarkedIds(session, sources, { known, signal }))
      for (const each of ids) marked.add(each);
    const call = { signal, onWarning, onProgress, onReplaced: () => Promise.resolve() };
    const chunks = await repairChunks(session, ground, { ...call, deletions, marked });
    const manifests = await repairManifests(session, ground, {
      ...call,
      reads: false,
      deletions,
      only: null,
    });
    return { chunks, manifests, failed: ground.failed, refusing: ground.refusing };
  });
  const { chunks, manifests } = moved;
  const down = [...failed, ...moved.failed].filter(({ bucket }) => !gone || bucket.id !== id);
  const reasons = down.map(describeFailure);
  const chunksDegraded = chunks.degraded + chunks.unknown;
  if (!gone && chunksDegraded > 0)
    reasons.push(`Chunks that could not be stored whole in the other buckets: ${chunksDegraded}.`);
  const uncopied = [...manifests.states.values()].filter((state) => state !== 'lost').length;
  if (uncopied > 0) reasons.push(`${uncopied} manifests could not be copied to the other buckets.`);
  if (reasons.length > 0) reasons.push(...moved.refusing.map(describeFailure));
  const filesLost = [...chunks.states].flatMap(([hash, state]) => (state === 'lost' ? [hash] : []));
  const moves = { shardsMoved: chunks.shardsStored, manifestsCopied: manifests.stored };
  return { ...moves, chunksDegraded, filesLost, reasons };
}

async function youngMarkers(session: Session, signal: AbortSignal | undefined): Promise<ReadonlySet<string>> {
  const { all } = session.buckets;
  const nowMs = session.clock.now();
  const known = outlived(await readLists(session, all, signal), nowMs);
  return (await listMarkers(all, nowMs, { known, signal })).young;
}

/** Waits for puts that began before the bucket took nothing new. @returns how many are running still when it has taken too long */
async function awaitPuts(
  session: Session,
  earlier: ReadonlySet<string>,
  options: RemoveBucketOptions,
): Promise<number> {
  let running = earlier.size;
  if (running === 0) return 0;
  await awaitMarkers(session, session.buckets.all, options, (young) => {
    running = [...earlier].filter((name) => young.has(name)).length;
    return running === 0;
  });
  return running;
}

/** A place that the keyring does not name, or no longer. */
interface Leftover {
  readonly url: string;
  /** Null where only its marker tells it. */
  readonly id: string | null;
}

/** What a reference means that is no bucket of the vault: a place whose removal was cut short; null if it is none. */
async function findLeftover(
  session: Session,
  reference: string,
  signal: AbortSignal | undefined,
): Promise<Leftover | null> {
  const { all } = session.buckets;
  if (all.some((bucket) => means(reference, bucket))) return null;
  for (const row of await session.catalog.setup.buckets()) {
    if (all.some(({ id }) => id === row.id)) continue;
    const url = openPlace(session.keys, row);
    if (url !== null && means(reference, { id: row.id, url })) return { url, id: row.id };
  }
  if (isIdPrefix(reference)) return null;
  try {
    const marker = await atPlace(session, reference, (bucket) => readMarker(bucket, signal));
    const isOurs = marker?.vaultId === session.vaultId && !all.some(({ id }) => id === marker.bucketId);
    return isOurs ? { url: reference, id: null } : null;
  } catch (error) {
    if (isFailure(error)) return null;
    throw error;
  }
}

/** Goes on with a removal that was cut short after the keyring had dropped the bucket. */
async function emptyLeftover(
  session: Session,
  leftover: Leftover,
  signal: AbortSignal | undefined,
): Promise<RemoveBucketResult> {
  // It may be the only one that has the keyring that dropped it.
  const settled = await settleKeyring(session, session.buckets.all, { signal });
  if (settled.failed.length > 0)
    throw tooFewBuckets('A bucket could not be told. Repeat this.', settled.failed);
  const emptied = await emptyBucket(session, leftover, signal);
  const row = (await session.catalog.setup.buckets()).find(({ id }) => id === leftover.id);
  if (row !== undefined) await session.catalog.setup.removeBucket(row.number);
  return { ...NOTHING_MOVED, removed: true, ...emptied };
}

async function knowsNewerKeyring(
  session: Session,
  url: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const least = session.keyring.keyring.epoch + 1;
  const keyrings = await atPlace(session, url, (bucket) => readKeyrings(bucket, { least, signal }));
  return keyrings.some((bytes) => {
    try {
      verifyKeyring(session.keys, bytes);
      return true;
    } catch (error) {
      if (isVaultError(error, 'damaged')) return false;
      throw error;
    }
  });
}

/** Objects that are listed before it is looked once more whether they may go. */
const MOST_LISTED = 10_000;

/**
 * Removes what the vault has in a bucket: its keyring after all else, which tells those who still use it, and its marker last, so that
 * it stays known as the vault's until it is empty. What a lock keeps stays, and the marker with it.
 *
 * @throws `unavailable` if the place has become a bucket again, or may have
 */
async function emptyBucket(
  session: Session,
  { url, id }: Leftover,
  signal: AbortSignal | undefined,
): Promise<Emptied> {
  return atPlace(session, url, async (bucket) => {
    const marker = await readMarker(bucket, signal);
    if (marker === null || marker.vaultId !== session.vaultId || (id !== null && marker.bucketId !== id))
      return NOTHING_REMOVED;
    const shares: string[] = [];
    let removed = 0;
    let retained = 0;
    let untilMs = 0;
    const place = { id: marker.bucketId, url, bucket };
    const remove = async (name: string, work: () => Promise<void>): Promise<void> => {
      try {
        await work();
        removed += 1;
        if (name.startsWith(SHARES_PREFIX)) shares.push(name);
      } catch (error) {
        if (!isVaultError(error, 'retained')) throw error;
        retained += 1;
        untilMs = Math.max(untilMs, error.retainedUntilMs ?? 0);
      }
    };
    for (const [prefix, parse] of KINDS) {
      for await (const listed of batchesOf(bucket.list(prefix, { signal }), MOST_LISTED)) {
        // What was listed before was stored before anybody could take the place for a bucket again.
        await requireNoBucket(session, place, signal);
        await forEachBounded(
          // What others keep there is theirs.
          listed.filter(({ name }) => parse(name) !== null),
          ({ name }, aborted) =>
            remove(name, () => bucket.remove(name, { signal: aborted, unlessRetained: true })),
          { inFlight: REMOVALS_AT_ONCE, signal },
        );
      }
    }
    if (retained === 0) await remove(MARKER_NAME, () => takeMarker(session, place, { signal }));
    const sharesEnded = countGoodShares(shares, session.clock.now());
    const counts = { objectsRemoved: removed, objectsRetained: retained, sharesEnded };
    return { ...counts, retainedUntilMs: untilMs || null };
  });
}
