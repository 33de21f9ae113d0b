/**
 * The marker under which a process stores chunks, and relies on chunks that are there: as long as it stands, no sweep removes
 * what it may have seen. ARCHITECTURE.md, "Removal", has the argument.
 *
 * The order is everything: first the marker, in every bucket that can be reached; then the lists of removal, whose objects count as
 * absent; then the look at what is there. A sweep writes its list first and looks for markers after that, so of the two at
 * least one sees the other.
 */
import { randomBytes } from 'node:crypto';
import type { ReadableBucket } from '../../buckets/bucket.ts';
import { sealPutMarker } from '../../crypto/put-marker.ts';
import { untilAborted } from '../../concurrency/until-aborted.ts';
import { isFailure, VaultError } from '../../errors.ts';
import { MAX_MARKER_IDS } from '../../format/limits.ts';
import { parseSweepObjectName, putMarkerName, SWEEP_PREFIX } from '../../format/removal.ts';
import type { BucketFailure, ReadBucket, VaultBucket } from '../buckets/bucket-set.ts';
import { checkEach, tooFewBuckets } from '../buckets/bucket-set.ts';
import { removeFrom, spread } from '../buckets/spread.ts';
import { Presence } from '../chunks/presence.ts';
import { BucketClocks, Stopwatch } from './clocks.ts';
import { refreshKeyring, withoutKeyring } from '../keys/keyring-store.ts';
import { readList } from './lists.ts';
import type { ReadSession, Session } from '../session.ts';
import type { Guarded, PutGuard } from './guarded.ts';

/** After this long a new marker takes the place of the old one. */
export const RENEW_AFTER_MS = 4 * 3_600_000;
/** A hash is acknowledged only under a marker that is younger. */
export const TRUSTED_FOR_MS = 12 * 3_600_000;
/** A marker that is older belongs to nobody: its process is dead, or will notice how old it is. */
export const MARKER_LIFETIME_MS = 24 * 3_600_000;
/** How long a marker stays for the next file, in milliseconds. */
const LINGER_MS = 2_000;
/** After this long a bucket that could not be used is asked again. */
const ASK_AGAIN_MS = 60_000;

/** One marker and what was seen under it. */
interface Standing {
  readonly presence: Presence;
  readonly everywhere: Presence;
  readonly targets: readonly VaultBucket[];
  readonly failed: readonly BucketFailure[];
  /** Names of all objects that lists of removal name. */
  readonly absent: ReadonlySet<string>;
  /** The marker's objects, and who was given them: also one that took them and did not say so. */
  readonly names: readonly string[];
  readonly given: readonly VaultBucket[];
  readonly age: Stopwatch;
  /** What the buckets that took the marker say of the time. */
  readonly clocks: BucketClocks;
  /** When those that could not be used are asked again, how long after that once more, and whether one has answered. */
  readonly again: { atMs: number; readonly pauseMs: number; answered: boolean };
}

class GuardedPut implements Guarded {
  readonly #guard: MarkerGuard;
  #standing: Standing;

  constructor(guard: MarkerGuard, standing: Standing) {
    this.#guard = guard;
    this.#standing = standing;
  }

  get presence(): Presence {
    return this.#standing.presence;
  }

  get everywhere(): Presence {
    return this.#standing.everywhere;
  }

  get targets(): readonly VaultBucket[] {
    return this.#standing.targets;
  }

  get failed(): readonly BucketFailure[] {
    return this.#standing.failed;
  }

  get clocks(): BucketClocks {
    return this.#standing.clocks;
  }

  isNamed(objectName: string): boolean {
    return this.#standing.absent.has(objectName);
  }

  note(chunkId: string): void {
    this.#guard.ids.add(chunkId);
  }

  async keep(signal?: AbortSignal): Promise<void> {
    await this.#guard.keep(this, signal);
  }

  /** The marker as it stands now. Only the guard asks and changes this. */
  get standing(): Standing {
    return this.#standing;
  }

  set standing(next: Standing) {
    this.#standing = next;
  }
}

export class MarkerGuard implements PutGuard {
  #session: Session | null = null;
  #current: Promise<GuardedPut> | null = null;
  /** What `#current` came to; null while it begins. */
  #stands: GuardedPut | null = null;
  /** Stops what begins or is renewed when nobody waits for it any more: one user's interruption is not the others'. */
  #unwanted = new AbortController();
  #renewing: Promise<void> | null = null;
  /** What was stopped: it ends with its markers gone, which takes as long as a bucket that is away. */
  #stopped: Promise<unknown> = Promise.resolve();
  #users = 0;
  #lingering: NodeJS.Timeout | null = null;
  /** Chunks that this process has stored or found under its markers. */
  readonly ids = new Set<string>();

  /** Ties the guard to its session. */
  attach(session: Session): void {
    this.#session = session;
  }

  async run<T>(work: (guarded: Guarded) => Promise<T>, signal?: AbortSignal): Promise<T> {
    this.#stopLingering();
    // A marker that lingered while the machine slept.
    if (this.#users === 0 && this.#stands !== null && this.#ageOf(this.#stands) >= RENEW_AFTER_MS)
      void this.end();
    this.#users += 1;
    try {
      const guarded = await untilAborted(this.#current ?? this.#begin(), signal);
      if (this.#ageOf(guarded) < TRUSTED_FOR_MS) await this.keep(guarded, signal);
      return await work(guarded);
    } finally {
      this.#users -= 1;
      if (this.#users === 0) {
        this.#stop();
        this.#lingering = setTimeout(() => void this.end(), LINGER_MS);
        this.#lingering.unref();
      }
    }
  }

  /** Renews the marker when it is due. */
  async keep(guarded: GuardedPut, signal: AbortSignal | undefined): Promise<void> {
    const age = this.#ageOf(guarded);
    const isDue = age >= RENEW_AFTER_MS || guarded.standing.again.answered;
    if (!isDue && this.#renewing === null) {
      // Nobody waits for it.
      this.#askAgain(guarded.standing).catch(() => undefined);
      return;
    }
    if (age < TRUSTED_FOR_MS) {
      this.#renewing ??= this.#startRenewing(guarded);
      try {
        await untilAborted(this.#renewing, signal);
      } catch (error) {
        // The one that stands is good still.
        if (age >= RENEW_AFTER_MS || !isFailure(error)) throw error;
      }
    }
    if (this.#ageOf(guarded) < TRUSTED_FOR_MS) return;
    if (this.#stands === guarded) {
      this.#current = null;
      this.#stands = null;
    }
    await removeMarkers(guarded.standing);
    throw new VaultError(
      'stale',
      'This put has slept for too long, and what it found may be gone. It starts over.',
    );
  }

  /** Stops what begins or is renewed. Who comes meanwhile has nothing to do with it. */
  #stop(): void {
    this.#unwanted.abort();
    this.#unwanted = new AbortController();
    const stopped: Promise<unknown>[] = [this.#stopped];
    if (this.#renewing !== null) stopped.push(this.#renewing);
    if (this.#stands === null && this.#current !== null) {
      stopped.push(this.#current.then(({ standing }) => removeMarkers(standing)));
      this.#current = null;
    }
    this.#renewing = null;
    this.#stopped = Promise.allSettled(stopped);
  }

  #ageOf({ standing }: GuardedPut): number {
    return standing.age.elapsedMs;
  }

  async end(): Promise<void> {
    this.#stopLingering();
    if (this.#users > 0) return;
    const ending = this.#current;
    // At once: who comes while this waits must not find a marker that is about to go.
    this.#current = null;
    this.#stands = null;
    this.ids.clear();
    const [ended] = await Promise.allSettled([ending, this.#stopped]);
    if (ended.status === 'fulfilled' && ended.value !== null) await removeMarkers(ended.value.standing);
  }

  #begin(): Promise<GuardedPut> {
    const beginning = begin(this.#required(), [], this.#unwanted.signal).then((standing) => {
      const guarded = new GuardedPut(this, standing);
      if (this.#current === beginning) this.#stands = guarded;
      return guarded;
    });
    this.#current = beginning;
    // Whoever waits for it is told; the next put begins anew.
    beginning.catch(() => {
      if (this.#current === beginning) this.#current = null;
    });
    return beginning;
  }

  /** Asks those that could not be used whether they answer by now. If one does, the marker is due. */
  async #askAgain({ again, age, failed, presence, everywhere }: Standing): Promise<void> {
    if (age.elapsedMs < again.atMs) return;
    again.atMs = age.elapsedMs + again.pauseMs;
    const unused = [...failed, ...presence.failures, ...everywhere.failures];
    const numbers = new Set(unused.map(({ bucket }) => bucket.number));
    const { buckets } = this.#required();
    const asked = buckets.all.filter(({ number }) => numbers.has(number));
    const { usable } = await buckets.check(asked, this.#unwanted.signal, { anew: true });
    again.answered ||= usable.length > 0;
  }

  #startRenewing(guarded: GuardedPut): Promise<void> {
    guarded.standing.again.answered = false;
    const renewing = this.#renew(guarded).finally(() => {
      if (this.#renewing === renewing) this.#renewing = null;
    });
    return renewing;
  }

  async #renew(guarded: GuardedPut): Promise<void> {
    const { signal } = this.#unwanted;
    const old = guarded.standing;
    const next = await begin(this.#required(), [...this.ids], signal, old);
    // One that was stopped and came to stand all the same: another may have taken the old one's place.
    const isWanted = !signal.aborted;
    if (isWanted) guarded.standing = next;
    await removeMarkers(isWanted ? old : next);
  }

  #stopLingering(): void {
    if (this.#lingering !== null) clearTimeout(this.#lingering);
    this.#lingering = null;
  }

  #required(): Session {
    if (this.#session === null) throw new Error('The guard has no session yet');
    return this.#session;
  }
}

/** Marker, then lists. @param ids chunks that the process relies on already. @param old the marker that this one renews */
async function begin(
  session: Session,
  ids: readonly string[],
  signal: AbortSignal | undefined,
  old: Standing | null = null,
): Promise<Standing> {
  await refreshKeyring(session, signal);
  const { usable, failed: unusable } = await session.buckets.check(session.buckets.all, signal);
  const failed = [...unusable];
  const age = new Stopwatch(session.clock);
  // A clock that has been set back would make it seem older than it is.
  const beganAtMs = Math.max(session.clock.now(), Math.round(old?.age.shownMs ?? -Infinity));
  const clocks = new BucketClocks(session.clock);
  const names: string[] = [];
  // One that answers and is of no use all the same is not the reason for a renewal every minute.
  const pauseMs = old !== null && old.age.elapsedMs < RENEW_AFTER_MS ? 2 * old.again.pauseMs : ASK_AGAIN_MS;
  let holders = usable;
  /** Those that answer and take no marker. What they list counts: a sweep sees the marker in any bucket, and has its list in each. */
  const refusing: VaultBucket[] = [];
  const mark = async (atMs: number): Promise<void> => {
    for (let at = 0; at === 0 || at < ids.length; at += MAX_MARKER_IDS) {
      const name = putMarkerName(atMs, randomBytes(8).toString('hex'));
      const bytes = sealPutMarker(session.keys, ids.slice(at, at + MAX_MARKER_IDS));
      names.push(name);
      const taken = await spread(holders, { name, bytes }, { clocks, signal });
      holders = taken.usable;
      failed.push(...taken.failed);
      for (const { bucket, error } of taken.failed) {
        const refused = error.code === 'unavailable' ? undefined : usable.find(({ id }) => id === bucket.id);
        if (refused !== undefined) refusing.push(refused);
      }
    }
  };
  try {
    await mark(beganAtMs);
    // Sweeps on other machines go by the time in its name: one of either clock, so that it is young by the right one.
    if (clocks.offMs !== 0) await mark(Math.round(beganAtMs + clocks.offMs));
    if (holders.length === 0)
      throw tooFewBuckets('No bucket takes the marker of this put, so nothing was stored.', failed);
    // The keyring once more, now that the marker stands: whoever takes a bucket out of the vault says so in the keyring first and
    // looks for markers after that, so of the two at least one sees the other.
    const [lists, looked] = await Promise.allSettled([
      readSweepLists(session, holders, signal),
      refreshKeyring(session, signal, { from: [...holders, ...refusing] }),
    ]);
    const { absent, failed: unlisted } = resultOf(lists);
    const marked = holders.filter((bucket) => !unlisted.some((failure) => failure.bucket === bucket));
    if (marked.length === 0)
      throw tooFewBuckets('No bucket shows its lists of removal, so nothing was stored.', unlisted);
    const { without, usable: asked, failed: unasked } = resultOf(looked);
    const more = [...unasked, ...without.map(withoutKeyring)];
    failed.push(...more.filter(({ bucket }) => marked.some((one) => one === bucket)));
    const readable = [...marked, ...refusing];
    const staying = readable.filter((bucket) => asked.includes(bucket) && !without.includes(bucket));
    const sources = session.buckets.active.filter(({ id }) => staying.some((bucket) => bucket.id === id));
    const targets = sources.filter(({ id }) => marked.some((bucket) => bucket.id === id));
    // A marker in buckets alone that are being emptied goes with them.
    if (targets.length === 0)
      throw tooFewBuckets('No bucket that stays in the vault can be used, so nothing was changed.', failed);
    return {
      // What lies in a bucket that is being emptied does not count as stored.
      presence: new Presence(sources, session.clock, absent),
      everywhere: new Presence(readable, session.clock, absent),
      targets,
      failed: [...failed, ...unlisted],
      absent,
      names,
      given: usable,
      age,
      clocks,
      again: { atMs: pauseMs, pauseMs, answered: false },
    };
  } catch (error) {
    // Else every sweep would wait for it, for a day.
    await removeMarkers({ names, given: usable });
    throw error;
  }
}

/** What a put that stores nothing works with: what is there now, without a marker. Its word is good for that moment. */
export async function withoutMarker(session: Session, signal: AbortSignal | undefined): Promise<Guarded> {
  const { usable, failed } = await session.buckets.check(session.buckets.all, signal);
  const { absent, failed: unlisted } = await readSweepLists(session, usable, signal);
  const targets = usable.filter(({ state }) => state === 'active');
  return {
    presence: new Presence(targets, session.clock, absent),
    everywhere: new Presence(usable, session.clock, absent),
    targets,
    failed: [...failed, ...unlisted],
    clocks: new BucketClocks(session.clock),
    isNamed: (name) => absent.has(name),
    note: () => undefined,
    keep: () => Promise.resolve(),
  };
}

function resultOf<T>(settled: PromiseSettledResult<T>): T {
  if (settled.status === 'rejected') throw settled.reason;
  return settled.value;
}

async function removeMarkers({ names, given }: Pick<Standing, 'names' | 'given'>): Promise<void> {
  for (const name of names) await removeFrom(given, name);
}

/** The names of all objects that any list of removal names, done or not. */
export async function readSweepLists(
  session: ReadSession,
  buckets: readonly ReadBucket[],
  signal?: AbortSignal,
): Promise<{ readonly absent: ReadonlySet<string>; readonly failed: readonly BucketFailure[] }> {
  const absent = new Set<string>();
  const known = new Set<string>();
  const read = async (bucket: ReadBucket, storage: ReadableBucket, aborted: AbortSignal): Promise<void> => {
    for await (const { name } of storage.list(SWEEP_PREFIX, { signal: aborted })) {
      const id = parseSweepObjectName(name);
      if (id === null || known.has(id)) continue;
      const list = await readList(session, bucket, id, aborted);
      if (list === null) continue;
      for (const object of list.objects) absent.add(object);
      known.add(id);
    }
  };
  const { failed } = await checkEach(
    buckets,
    (bucket) => bucket.attempt((storage, aborted) => read(bucket, storage, aborted), signal),
    (usable) => usable.length > 0,
  );
  return { absent, failed };
}
