/**
 * Removing what nothing needs any more. It trusts objects, never rows: what is live is what the manifests in the buckets say. The
 * order of its steps keeps it safe beside running puts and other sweeps; ARCHITECTURE.md, "Removal", has the argument.
 *
 * 1. the ids of all live manifests; 2. what goes, by object name, into a signed list in every bucket; 3. the markers that stand
 * then are waited for; 4. a second look, also at what the markers name; then the objects go, and the list is done.
 */
import { VaultError } from '../../errors.ts';
import { manifestObjectName, parseManifestObjectName } from '../../format/manifest.ts';
import { MAX_WAITS, type SweepList } from '../../format/removal.ts';
import { parseShardObjectName } from '../../format/shard.ts';
import { slicesOf } from '../../concurrency/batched.ts';
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { removeFrom, REMOVALS_AT_ONCE } from '../buckets/spread.ts';
import { isEnough, mostSealedOf, objectNameOf, rowOfSet, setsOf } from '../chunks/shard-sets.ts';
import type { ShardSet } from '../chunks/shard-sets.ts';
import { listChunks } from '../chunks/chunk-listing.ts';
import { IdSet } from '../chunks/id-set.ts';
import type { Session } from '../session.ts';
import { TRUSTED_FOR_MS } from '../protocol/put-guard.ts';
import { requireRightClock, Stopwatch } from '../protocol/clocks.ts';
import { putList, readLists, writeLists, type Lists } from '../protocol/lists.ts';
import { askEveryBucket, requireSameBuckets, warnOfCatalog } from './every-bucket.ts';
import { filesChosenBy, findLive, type LiveFiles, type LiveOptions } from './live.ts';
import { awaitMarkers, listMarkers, outlived, readMarkedIds } from '../protocol/markers.ts';
import type { MarkerOptions } from '../protocol/markers.ts';
import { planRemoval, removals, type FoundObject, type RemovalPlan } from './plan.ts';
import { expireFile } from './rm.ts';
import { nothingRemoved, type SweepOptions, type SweepResult } from './sweep-call.ts';
import { expiredShares } from './shares.ts';
import { tidy } from './tidy.ts';

/** Rows of the catalog changed at once. */
const ROWS_AT_ONCE = 500;

export async function sweep(session: Session, options: SweepOptions = {}): Promise<SweepResult> {
  const notes = options.dryRun !== true && (await warnOfCatalog(session, options));
  const { usable, unreachable } = await askEveryBucket(session, options);
  if (unreachable.length > 0) return nothingRemoved(unreachable);
  const pass = new Sweep(session, usable, { ...options, notes });
  return pass.run();
}

/** `notes`: whether the catalog takes what it comes to. */
interface Notes {
  readonly notes: boolean;
}

class Sweep {
  readonly #session: Session;
  readonly #buckets: readonly VaultBucket[];
  readonly #options: SweepOptions & Notes;
  readonly #done: { -readonly [name in keyof SweepResult]: SweepResult[name] } = nothingRemoved([]);
  /** Runs since the clock was found right. */
  #found: Stopwatch | null = null;
  /** Markers that are older than their names say. */
  #outlived: ReadonlySet<string> = new Set();

  constructor(session: Session, buckets: readonly VaultBucket[], options: SweepOptions & Notes) {
    this.#session = session;
    this.#buckets = buckets;
    this.#options = options;
  }

  async run(): Promise<SweepResult> {
    const dryRun = this.#options.dryRun === true;
    if (!dryRun) await this.#requireRightClock();
    // What an earlier sweep has left comes first: its lists stand already.
    const lists = await this.#readLists();
    if (!dryRun) await this.#resume(lists.filter(({ doneAtMs }) => doneAtMs === null));
    const live = await this.#findLive();
    // What comes up later is of puts that have begun since.
    const { filesLearned } = this.#done;
    const { expired, blockedBy, settled, missing: filesMissing } = live;
    const foreignObjects = dryRun ? await this.#tell(live, lists) : await this.#act(live);
    await this.#removeShares(dryRun);
    if (!dryRun) await this.#tidy(settled);
    return { ...this.#done, expired, foreignObjects, filesLearned, filesMissing, blockedBy };
  }

  /** @param settled files that no bucket lists, whose records of removal go */
  async #tidy(settled: readonly string[]): Promise<void> {
    const { signal, follows = false } = this.#options;
    // A disk that has gone since it was asked shows none of its files, which would be back with it.
    const isSure =
      !follows ||
      settled.length === 0 ||
      (await this.#session.buckets.check(this.#buckets, signal, { anew: true })).failed.length === 0;
    await tidy(this.#session, this.#buckets, { settled: isSure ? settled : [], signal });
  }

  /** Removes, round by round. @returns objects that are nobody's to remove */
  async #act(first: LiveFiles): Promise<number> {
    const { signal, onStep } = this.#options;
    for (const info of first.expired) {
      await expireFile(this.#session, info, this.#options);
      onStep?.({ what: 'expired', on: info.name });
    }
    for (let live = first; ; live = await this.#findLive()) {
      const named = new Set((await this.#readLists()).flatMap(({ objects }) => objects));
      const plan = await planRemoval(this.#session, this.#buckets, { live, named, signal });
      const written = await writeLists(this.#session, this.#buckets, plan.names, signal);
      await this.#settle(written, plan.found);
      if (!plan.more || this.#done.objectsWaiting > 0) return plan.foreign;
    }
  }

  /** Tells what would go. @returns as `#act` */
  async #tell(live: LiveFiles, lists: readonly SweepList[]): Promise<number> {
    const { signal, onPlanned } = this.#options;
    const unknown = { bytes: null, file: null, bucket: null };
    for (const { hash, name, writer } of live.expired) {
      const object = manifestObjectName(hash);
      await onPlanned?.({ ...unknown, action: 'hide', object, reason: 'expired', file: name, writer });
    }
    for (const object of lists.flatMap(({ doneAtMs, objects }) => (doneAtMs === null ? objects : []))) {
      this.#done.objectsWaiting += 1;
      await onPlanned?.({ ...unknown, action: 'remove', object, reason: 'chosen' });
    }
    const named = new Set(lists.flatMap(({ objects }) => objects));
    let foreign = 0;
    const onForeign = (): void => {
      foreign += 1;
    };
    for await (const steps of removals(this.#session, this.#buckets, { live, named, onForeign, signal })) {
      for (const { step } of steps) {
        this.#done.objectsRemoved += 1;
        this.#done.bytesRemoved += step.bytes;
        await onPlanned?.(step);
      }
    }
    this.#done.filesRemoved = live.dead.length;
    return foreign;
  }

  /** Nobody relies on what has expired: it goes without a list. */
  async #removeShares(dryRun: boolean): Promise<void> {
    const { signal, onPlanned } = this.#options;
    const expired = await Array.fromAsync(expiredShares(this.#buckets, this.#session.clock.now(), signal));
    if (!dryRun && expired.length > 0) await this.#requireRightClock();
    for (const step of expired) {
      if (!dryRun)
        await this.#removeObject(step.object, signal, { bytes: step.bytes, holders: this.#buckets });
      else {
        this.#done.objectsRemoved += 1;
        this.#done.bytesRemoved += step.bytes;
        await onPlanned?.(step);
      }
    }
  }

  async #requireRightClock(): Promise<void> {
    if (this.#found?.isSteady === true) return;
    const { clock } = this.#session;
    const found = new Stopwatch(clock);
    await requireRightClock(clock, this.#buckets, 'Nothing was removed', this.#options.signal);
    this.#found = found;
  }

  /** @param marked ids that are live besides. @param chosenAtMs see `LiveOptions` */
  async #findLive(
    marked = new IdSet(),
    chosenAtMs: LiveOptions['chosenAtMs'] = new Map(),
  ): Promise<LiveFiles> {
    const live = await findLive(this.#session, this.#buckets, {
      nowMs: this.#session.clock.now(),
      ignoreGrace: this.#options.ignoreGrace === true,
      write: this.#options.notes,
      marked,
      chosenAtMs,
      signal: this.#options.signal,
    });
    this.#done.filesLearned += live.learned;
    return live;
  }

  async #readLists(): Promise<Lists> {
    const lists = await readLists(this.#session, this.#buckets, this.#options.signal);
    this.#outlived = outlived(lists, this.#session.clock.now());
    return lists;
  }

  get #markers(): MarkerOptions {
    return { known: this.#outlived, signal: this.#options.signal };
  }

  #putList(list: SweepList, replace = true): Promise<void> {
    return putList(this.#session, this.#buckets, list, this.#options.signal, replace);
  }

  /** Goes on with what an earlier sweep has left. One that was cut short may have left its list in some buckets only. */
  async #resume(lists: readonly SweepList[]): Promise<void> {
    for (const list of lists) if (list.waitsFor === null) await this.#putList(list, false);
    await this.#settle(lists);
  }

  /**
   * Steps 3 and 4 for lists that stand in every bucket.
   *
   * @param found what has just been listed of what is to go, and where; all buckets are asked where that is not known
   */
  async #settle(lists: readonly SweepList[], found: RemovalPlan['found'] = new Map()): Promise<void> {
    if (lists.length === 0) return;
    // The markers that stand now, after the lists do, are those to wait for; a list that was left by an earlier sweep
    // knows its own.
    const { young } = await listMarkers(this.#buckets, this.#session.clock.now(), this.#markers);
    // What is written into a list stays: none that is young may be missing there.
    await this.#requireRightClock();
    const waiting: SweepList[] = [];
    for (const list of lists) {
      if (list.waitsFor !== null) {
        waiting.push(list);
        continue;
      }
      if (young.size > MAX_WAITS) {
        this.#tooManyMarkers(young.size, list);
        continue;
      }
      // Its time is that from which they have been known.
      const known = { ...list, atMs: this.#session.clock.now(), waitsFor: [...young] };
      if (young.size > 0) await this.#putList(known);
      waiting.push(known);
    }
    const ready = await this.#awaitMarkers(waiting);
    for (const list of waiting) if (!ready.includes(list)) this.#done.objectsWaiting += list.objects.length;
    if (ready.length > 0) await this.#remove(ready, found);
  }

  #tooManyMarkers(found: number, { objects }: SweepList): void {
    this.#done.objectsWaiting += objects.length;
    const message = `There are ${found} markers of running puts, more than can be waited for. If they are still there in a day, somebody floods the buckets: take the rights away, and remove what lies below puts/.`;
    this.#options.onWarning?.({ kind: 'marker-flood', message, bucket: null });
  }

  /** Waits until the markers that lists wait for are gone or a day old. @returns the lists that need not wait any longer */
  async #awaitMarkers(lists: readonly SweepList[]): Promise<readonly SweepList[]> {
    let ready: readonly SweepList[] = [];
    const how = { ...this.#markers, waitMs: this.#options.waitMs };
    await awaitMarkers(this.#session, this.#buckets, how, (young) => {
      ready = lists.filter(({ waitsFor }) => !(waitsFor ?? []).some((name) => young.has(name)));
      return ready.length === lists.length;
    });
    return ready;
  }

  /** Looks again, and removes what may still go. */
  async #remove(ready: readonly SweepList[], found: RemovalPlan['found']): Promise<void> {
    const { signal } = this.#options;
    await this.#requireRightClock();
    const age = new Stopwatch(this.#session.clock);
    await requireSameBuckets(this.#session, this.#buckets, signal);
    const standing = await this.#readLists();
    const undone = standing.filter(({ doneAtMs }) => doneAtMs === null);
    // While this waited, or slept, others may have done a list and taken it away: what it names counts as there since.
    const lists = ready.filter(({ id }) => undone.some((list) => list.id === id));
    const named = new Set(standing.flatMap(({ objects }) => objects));
    // Markers first: a put that renews has either its new marker here, or its manifest in what is looked through after it.
    const marked = new IdSet();
    for await (const ids of readMarkedIds(this.#session, this.#buckets, this.#markers))
      for (const id of ids) marked.add(id);
    // What a list names is half gone, perhaps: whether its grace counts was decided by who wrote that.
    const live = await this.#findLive(marked, filesChosenBy(undone));
    const names = lists.flatMap(({ objects }) => objects);
    const parts = new Set(names.flatMap((name) => ((found.get(name)?.isPart ?? true) ? [idOf(name)] : [])));
    const { spared, staying } = await this.#look(names, { live, named, parts });
    const dead = new Set(live.dead.map(({ hash }) => hash));
    const going = names.filter((name) => {
      const hash = parseManifestObjectName(name);
      return hash === null ? live.blockedBy === null && !spared.has(idOf(name)) : dead.has(hash);
    });
    const removed: string[] = [];
    const remove = async (name: string, aborted: AbortSignal): Promise<void> => {
      // A machine that slept: its lists may have gone meanwhile, and their objects be needed again.
      if (age.elapsedMs >= TRUSTED_FOR_MS) throw sleptTooLong();
      if (await this.#removeObject(name, aborted, found.get(name))) removed.push(name);
    };
    // Files first: one that can be brought back has all its chunks, wherever this ends.
    const { files = [], shards = [] } = Object.groupBy(going, (name) =>
      parseManifestObjectName(name) === null ? 'shards' : 'files',
    );
    for (const some of [files, shards])
      await forEachBounded(some, remove, { inFlight: REMOVALS_AT_ONCE, signal });
    // What is kept stays known: it is no live file's, so that a later sweep chooses it again once this list has gone.
    const known = (id: string): boolean => live.ids.has(id) || staying.has(id);
    const gone = new Set(removed.flatMap((name) => (known(idOf(name)) ? [] : [idOf(name)])));
    await this.#forget(
      [...gone].filter((id) => id !== ''),
      removed.flatMap((name) => parseManifestObjectName(name) ?? []),
    );
    await this.#record(going.flatMap((name) => staying.get(idOf(name)) ?? []));
    for (const list of lists) await this.#putList({ ...list, doneAtMs: this.#session.clock.now() });
  }

  /**
   * Looks at the chunks that are live now, and at those of which lists may name a part only.
   *
   * @param now what is live, what lists name, and chunks that have more than that, perhaps
   * @returns `spared`: live ones that would not keep a complete set outside of all lists, of which nothing goes; `staying`: the set that
   *   each of the others keeps
   */
  async #look(
    names: readonly string[],
    now: {
      readonly live: LiveFiles;
      readonly named: ReadonlySet<string>;
      readonly parts: ReadonlySet<string>;
    },
  ): Promise<{ readonly spared: ReadonlySet<string>; readonly staying: ReadonlyMap<string, ShardSet> }> {
    const { live, named, parts } = now;
    const { signal } = this.#options;
    const asked = new Set(names.map(idOf).filter((id) => id !== '' && (live.ids.has(id) || parts.has(id))));
    const spared = new Set([...asked].filter((id) => live.ids.has(id)));
    const staying = new Map<string, ShardSet>();
    if (asked.size === 0) return { spared, staying };
    const { m } = this.#session.keyring.keyring.redundancy;
    for await (const { id, shards } of listChunks(this.#buckets, { signal })) {
      if (!asked.has(id)) continue;
      const sets = setsOf(shards.filter((shard) => !named.has(objectNameOf(shard))));
      // A file that has been removed since may be brought back.
      const kept = spared.has(id) ? sets.find((set) => isEnough(set, m)) : sets[0];
      if (kept === undefined) continue;
      spared.delete(id);
      staying.set(id, kept);
    }
    return { spared, staying };
  }

  /** Tells the catalog where those are that stay, since what it knew may have gone. */
  async #record(sets: readonly ShardSet[]): Promise<void> {
    if (!this.#options.notes) return;
    const rows = [...new Set(sets)].map((set) => rowOfSet(set, mostSealedOf(set)));
    for (const some of slicesOf(rows, ROWS_AT_ONCE)) await this.#session.catalog.chunks.put(some);
  }

  /** @returns whether it has gone; a lock may keep it */
  async #removeObject(
    name: string,
    signal: AbortSignal | undefined,
    { bytes, holders }: Omit<FoundObject, 'isPart'> = { bytes: 0, holders: [] },
  ): Promise<boolean> {
    const from = holders.length > 0 ? this.#buckets.filter((each) => holders.includes(each)) : this.#buckets;
    const { failed } = await removeFrom(from, name, signal, { unlessRetained: true });
    const fatal = failed.find(({ error }) => error.code !== 'retained');
    // The list stays: the next sweep goes on.
    if (fatal !== undefined) throw fatal.error;
    if (failed.length > 0) {
      this.#done.objectsRetained += 1;
      const ends = failed.map(({ error }) => error.retainedUntilMs ?? 0);
      this.#done.retainedUntilMs = Math.max(this.#done.retainedUntilMs ?? 0, ...ends) || null;
      return false;
    }
    this.#done.objectsRemoved += 1;
    this.#done.bytesRemoved += bytes;
    this.#options.onStep?.({ what: 'removed', on: name });
    if (parseManifestObjectName(name) !== null) this.#done.filesRemoved += 1;
    return true;
  }

  async #forget(ids: readonly string[], hashes: readonly string[]): Promise<void> {
    if (!this.#options.notes) return;
    const { chunks, files } = this.#session.catalog;
    for (const some of slicesOf(ids, ROWS_AT_ONCE)) await chunks.forget(some);
    for (const some of slicesOf(hashes, ROWS_AT_ONCE)) await files.forget(some);
  }
}

function sleptTooLong(): VaultError {
  return new VaultError('unavailable', 'This sweep has slept for too long and stops. Sweep again.');
}

/** The chunk that an object is of; '' for another kind. */
function idOf(name: string): string {
  return parseShardObjectName(name)?.chunkId ?? '';
}
