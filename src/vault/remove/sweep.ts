/**
 * Removing what nothing needs any more. It trusts objects, never rows: what is live is what the manifests in the buckets say. The
 * order of its steps keeps it safe beside running puts and other sweeps; ARCHITECTURE.md, "Removal", has the argument.
 *
 * 1. the ids of all live manifests; 2. what goes, by object name, into a signed list in every bucket; 3. the markers that stand
 * then are waited for; 4. a second look, also at what the markers name; then the objects go, and the list is done.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { drawId } from '../../crypto/keys.ts';
import type { ChunkRow } from '../../catalog/catalog.ts';
import { openSweepList, signSweepList } from '../../crypto/signing.ts';
import { isVaultError, throwIfAborted } from '../../errors.ts';
import { parseManifestObjectName } from '../../format/manifest.ts';
import { MAX_SWEEP_OBJECTS } from '../../format/limits.ts';
import {
  deletionObjectName,
  MAX_SWEEP_SIZE,
  parseSweepObjectName,
  SWEEP_PREFIX,
  sweepObjectName,
} from '../../format/removal.ts';
import type { SweepList } from '../../format/removal.ts';
import { parseShardObjectName } from '../../format/shard.ts';
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import { describeFailure, tooFewBuckets } from '../buckets/bucket-set.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { mergedListing } from '../buckets/merged-listing.ts';
import { readCopy, removeFrom, spread } from '../buckets/spread.ts';
import { isComplete, objectNameOf, rowOfSet, sealedSizeByListing, setsOf } from '../chunks/shard-sets.ts';
import { listChunks } from '../chunks/chunk-listing.ts';
import type { FileInfo } from '../files/records.ts';
import type { CallOptions } from '../call.ts';
import { refreshKeyring } from '../keys/keyring-store.ts';
import type { Session } from '../session.ts';
import { GRACE_MS, writeDeletion } from './deletions.ts';
import { addMarkedIds, findLive, listMarkers } from './live.ts';
import type { LiveFiles } from './live.ts';
import { planRemoval } from './plan.ts';

/** Done lists stay for so long: longer than anybody's knowledge of what is there. */
const DONE_LISTS_STAY_MS = 3 * 86_400_000;
/** Removals under way at once. */
const IN_FLIGHT = 24;
/** How long to wait for running puts, in milliseconds, unless asked otherwise; a later sweep goes on. */
const WAIT_MS = 20_000;
const POLL_MS = 500;

export interface SweepOptions extends CallOptions {
  /** Whether removed files go whose grace is not over. */
  readonly ignoreGrace?: boolean | undefined;
  /** Only tells what would be removed. */
  readonly dryRun?: boolean | undefined;
  /** Milliseconds to wait for running puts. */
  readonly waitMs?: number | undefined;
}

export interface SweepResult {
  /** Files whose time was over: hidden now, and removed after their grace. */
  readonly expired: readonly FileInfo[];
  /** Files whose manifests were removed (with `dryRun`: would be). */
  readonly filesRemoved: number;
  /** Objects that were removed (with `dryRun`: would be), and their bytes where that is known. */
  readonly objectsRemoved: number;
  readonly bytesRemoved: number;
  /** Objects that wait for running puts: the next sweep removes them. */
  readonly objectsWaiting: number;
  /** Objects among the chunks that are no shards; they stay. */
  readonly foreignObjects: number;
  /** Files in the buckets that the catalog did not know, and knows now. */
  readonly filesLearned: number;
  /** Hashes of files that the catalog lists and no bucket has. */
  readonly filesMissing: readonly string[];
  /** Why no chunk was removed; null if nothing was in the way. */
  readonly blockedBy: string | null;
  /** Buckets that could not be asked: nothing was removed then. */
  readonly unreachable: readonly string[];
}

/** See `Vault.sweep`. */
export async function sweep(session: Session, options: SweepOptions = {}): Promise<SweepResult> {
  const { signal } = options;
  await refreshKeyring(session, signal);
  const { usable, failed } = await session.buckets.check(session.buckets.all, signal, { anew: true });
  for (const failure of failed) {
    options.onWarning?.({
      kind: 'bucket-down',
      message: describeFailure(failure),
      bucket: failure.bucket.url,
    });
  }
  if (usable.length === 0) throw tooFewBuckets("None of the vault's buckets can be used.", failed);
  if (failed.length > 0) return nothingRemoved(failed.map(({ bucket }) => bucket.url));
  const pass = new Sweep(session, usable, options);
  return pass.run();
}

function nothingRemoved(unreachable: readonly string[]): SweepResult {
  return {
    expired: [],
    filesRemoved: 0,
    objectsRemoved: 0,
    bytesRemoved: 0,
    objectsWaiting: 0,
    foreignObjects: 0,
    filesLearned: 0,
    filesMissing: [],
    blockedBy: null,
    unreachable,
  };
}

class Sweep {
  readonly #session: Session;
  readonly #buckets: readonly VaultBucket[];
  readonly #options: SweepOptions;
  #filesRemoved = 0;
  #objectsRemoved = 0;
  #bytesRemoved = 0;
  #objectsWaiting = 0;

  constructor(session: Session, buckets: readonly VaultBucket[], options: SweepOptions) {
    this.#session = session;
    this.#buckets = buckets;
    this.#options = options;
  }

  async run(): Promise<SweepResult> {
    const dryRun = this.#options.dryRun === true;
    // What an earlier sweep has left comes first: its lists stand already.
    const lists = await this.#readLists();
    if (!dryRun) await this.#resume(lists.filter(({ doneAtMs }) => doneAtMs === null));
    let live = await this.#findLive();
    const found = live;
    let foreign = 0;
    if (!dryRun) for (const { hash } of live.expired) await this.#expire(hash);
    for (;;) {
      const named = new Set((await this.#readLists()).flatMap(({ objects }) => objects));
      const plan = await planRemoval(this.#session, this.#buckets, {
        live,
        named,
        signal: this.#options.signal,
      });
      foreign = plan.foreign;
      if (dryRun) {
        this.#filesRemoved = live.dead.length;
        this.#objectsRemoved = plan.names.length;
        this.#bytesRemoved = plan.bytes;
        break;
      }
      const written = await this.#writeLists(plan.names);
      const before = this.#objectsRemoved;
      await this.#settle(written);
      if (this.#objectsRemoved > before) this.#bytesRemoved += plan.bytes;
      if (!plan.more || this.#objectsWaiting > 0) break;
      live = await this.#findLive();
    }
    if (!dryRun) await this.#tidy(found);
    return {
      expired: found.expired,
      filesRemoved: this.#filesRemoved,
      objectsRemoved: this.#objectsRemoved,
      bytesRemoved: this.#bytesRemoved,
      objectsWaiting: this.#objectsWaiting,
      foreignObjects: foreign,
      filesLearned: found.learned,
      filesMissing: found.missing,
      blockedBy: found.blockedBy,
      unreachable: [],
    };
  }

  #findLive(): Promise<LiveFiles> {
    return findLive(this.#session, this.#buckets, {
      nowMs: this.#session.now(),
      ignoreGrace: this.#options.ignoreGrace === true,
      write: this.#options.dryRun !== true,
      signal: this.#options.signal,
    });
  }

  /** A file whose time is over is removed as if somebody had asked for it: it can be brought back for a while. */
  async #expire(hash: string): Promise<void> {
    await writeDeletion(this.#session, { hash, live: false, graceMs: GRACE_MS }, this.#options.signal);
    await this.#session.catalog.files.hide([hash], this.#session.now());
  }

  /** Every list of removal, done or not. @throws `unavailable` where one cannot be read: what it names is not known then */
  async #readLists(): Promise<SweepList[]> {
    const { signal } = this.#options;
    const lists: SweepList[] = [];
    for await (const { name, holders } of mergedListing(this.#buckets, SWEEP_PREFIX, { signal })) {
      const id = parseSweepObjectName(name);
      if (id === null) continue;
      const copies: SweepList[] = [];
      for (const { bucket } of holders) {
        const bytes = await readCopy(bucket, name, { maxSize: MAX_SWEEP_SIZE, signal });
        if (bytes === null) continue;
        try {
          copies.push(openSweepList(this.#session.keys, bytes, id));
        } catch (error) {
          // What this vault has not signed says nothing.
          if (!isVaultError(error, 'damaged')) throw error;
        }
      }
      // A list that is done anywhere is done: that is written last.
      const [list] = copies.toSorted((a, b) => progressOf(b) - progressOf(a));
      if (list !== undefined) lists.push(list);
    }
    return lists;
  }

  /** Writes what is to go into lists, in every bucket. @throws what a bucket says; what was written is resumed by the next sweep */
  async #writeLists(names: readonly string[]): Promise<SweepList[]> {
    const lists: SweepList[] = [];
    for (let at = 0; at < names.length; at += MAX_SWEEP_OBJECTS) {
      const objects = names.slice(at, at + MAX_SWEEP_OBJECTS);
      const list = { id: drawId(), atMs: this.#session.now(), doneAtMs: null, waitsFor: null, objects };
      await this.#putList(list);
      lists.push(list);
    }
    return lists;
  }

  async #putList(list: SweepList): Promise<void> {
    const object = { name: sweepObjectName(list.id), bytes: signSweepList(this.#session.keys, list) };
    const { failed } = await spread(this.#buckets, object, { signal: this.#options.signal, replace: true });
    if (failed.length > 0)
      throw tooFewBuckets('Nothing was removed, since a bucket did not take the list.', failed);
  }

  /** Goes on with what an earlier sweep has left. One that was cut short may have left its list in some buckets only. */
  async #resume(lists: readonly SweepList[]): Promise<void> {
    for (const list of lists) if (list.waitsFor === null) await this.#putList(list);
    await this.#settle(lists);
  }

  /** Steps 3 and 4 for lists that stand in every bucket. */
  async #settle(lists: readonly SweepList[]): Promise<void> {
    if (lists.length === 0) return;
    const { signal } = this.#options;
    // The markers that stand now, after the lists do, are those to wait for; a list that was left by an earlier sweep
    // knows its own.
    const { young } = await listMarkers(this.#buckets, this.#session.now(), signal);
    const waiting: SweepList[] = [];
    for (const list of lists) {
      if (list.waitsFor !== null) {
        waiting.push(list);
        continue;
      }
      const known = { ...list, waitsFor: [...young] };
      if (young.size > 0) await this.#putList(known);
      waiting.push(known);
    }
    const ready = await this.#awaitMarkers(waiting);
    for (const list of waiting) if (!ready.includes(list)) this.#objectsWaiting += list.objects.length;
    if (ready.length > 0) await this.#remove(ready);
  }

  /** Waits until the markers that lists wait for are gone or a day old. @returns the lists that need not wait any longer */
  async #awaitMarkers(lists: readonly SweepList[]): Promise<readonly SweepList[]> {
    const { waitMs = WAIT_MS, signal } = this.#options;
    const until = performance.now() + waitMs;
    for (;;) {
      throwIfAborted(signal);
      const { young } = await listMarkers(this.#buckets, this.#session.now(), signal);
      const ready = lists.filter(({ waitsFor }) => !(waitsFor ?? []).some((name) => young.has(name)));
      if (ready.length === lists.length || performance.now() >= until) return ready;
      await sleep(Math.min(POLL_MS, waitMs), undefined, { signal }).catch(() => throwIfAborted(signal));
    }
  }

  /** Looks again, and removes what may still go. */
  async #remove(lists: readonly SweepList[]): Promise<void> {
    const { signal } = this.#options;
    const live = await this.#findLive();
    const { young } = await listMarkers(this.#buckets, this.#session.now(), signal);
    await addMarkedIds(this.#session, this.#buckets, young, live.ids, signal);
    const names = lists.flatMap(({ objects }) => objects);
    const { spared, kept } = await this.#keepers(names, live);
    const dead = new Set(live.dead.map(({ hash }) => hash));
    const going = names.filter((name) => {
      const hash = parseManifestObjectName(name);
      return hash === null ? live.blockedBy === null && !spared.has(idOf(name)) : dead.has(hash);
    });
    await forEachBounded(going, (name, aborted) => this.#removeObject(name, aborted), {
      inFlight: IN_FLIGHT,
      signal,
    });
    // What the catalog knew of a chunk may have been among what went.
    for (let at = 0; at < kept.length; at += 500) {
      await this.#session.catalog.chunks.put(kept.slice(at, at + 500));
    }
    const gone = new Set(going.flatMap((name) => (live.ids.has(idOf(name)) ? [] : [idOf(name)])));
    await this.#forget(
      [...gone].filter((id) => id !== ''),
      going.flatMap((name) => parseManifestObjectName(name) ?? []),
    );
    for (const list of lists) await this.#putList({ ...list, doneAtMs: this.#session.now() });
  }

  /**
   * Among the chunks of objects that are listed: `spared`, those that are live now and would not keep a complete set outside of
   * all lists, so that nothing of them goes; and of the other live ones the sets that are kept, as rows of the catalog.
   */
  async #keepers(
    names: readonly string[],
    live: LiveFiles,
  ): Promise<{ readonly spared: ReadonlySet<string>; readonly kept: readonly ChunkRow[] }> {
    const { signal } = this.#options;
    const wanted = new Set(names.map(idOf).filter((id) => id !== '' && live.ids.has(id)));
    const kept: ChunkRow[] = [];
    if (wanted.size === 0) return { spared: wanted, kept };
    const named = new Set((await this.#readLists()).flatMap(({ objects }) => objects));
    for await (const { id, shards } of listChunks(this.#buckets, { signal })) {
      if (!wanted.has(id)) continue;
      const rest = shards.filter((shard) => !named.has(objectNameOf(shard)));
      const set = setsOf(rest).find(isComplete);
      if (set === undefined) continue;
      wanted.delete(id);
      kept.push(rowOfSet(set, sealedSizeByListing(set)));
    }
    return { spared: wanted, kept };
  }

  async #removeObject(name: string, signal: AbortSignal): Promise<void> {
    const { failed } = await removeFrom(this.#buckets, name, signal);
    // The list stays: the next sweep goes on.
    if (failed[0] !== undefined) throw failed[0].error;
    this.#objectsRemoved += 1;
    if (parseManifestObjectName(name) !== null) this.#filesRemoved += 1;
  }

  async #forget(ids: readonly string[], hashes: readonly string[]): Promise<void> {
    for (let at = 0; at < ids.length; at += 500)
      await this.#session.catalog.chunks.forget(ids.slice(at, at + 500));
    for (let at = 0; at < hashes.length; at += 500) {
      await this.#session.catalog.files.forget(hashes.slice(at, at + 500));
    }
  }

  /** Removes records that have served: lists that were done days ago, markers of the dead, deletions that are over. */
  async #tidy(live: LiveFiles): Promise<void> {
    const { signal } = this.#options;
    const nowMs = this.#session.now();
    for (const { id, doneAtMs } of await this.#readLists()) {
      if (doneAtMs !== null && nowMs - doneAtMs >= DONE_LISTS_STAY_MS) {
        await removeFrom(this.#buckets, sweepObjectName(id), signal);
      }
    }
    const { old } = await listMarkers(this.#buckets, nowMs, signal);
    for (const name of [...old, ...live.settled.map(deletionObjectName)]) {
      await removeFrom(this.#buckets, name, signal);
    }
  }
}

/** How far a list has come: done, waiting, or just written. */
function progressOf({ doneAtMs, waitsFor }: SweepList): number {
  return doneAtMs !== null ? 2 : waitsFor === null ? 0 : 1;
}

/** The chunk that an object is of; '' for another kind. */
function idOf(name: string): string {
  return parseShardObjectName(name)?.chunkId ?? '';
}

/**
 * Puts objects that were replaced on a list of removal, for the next sweep: it looks again whether a complete set stands without
 * them.
 *
 * @param buckets all of the vault's; if one cannot be reached, nothing is listed, and they stay for now
 */
export async function listForRemoval(
  session: Session,
  buckets: readonly VaultBucket[],
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  if (buckets.length < session.buckets.all.length) return;
  for (let at = 0; at < names.length; at += MAX_SWEEP_OBJECTS) {
    const objects = names.slice(at, at + MAX_SWEEP_OBJECTS);
    const list = { id: drawId(), atMs: session.now(), doneAtMs: null, waitsFor: null, objects };
    const bytes = signSweepList(session.keys, list);
    await spread(buckets, { name: sweepObjectName(list.id), bytes }, { signal });
  }
}
